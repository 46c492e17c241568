//! Hotkeys: which keys cost most time and most bytes on the wire, while someone has asked to watch (HOTKEYS).
//!
//! Lives here: the watch's settings, its figures, and when it ends. What a command cost is told by the engine. Of
//! a command that is sampled, each key is charged its part; the sample is drawn for the next command ahead of time,
//! because a command whose time is to be told needs a clock reading in front of it.

use crate::border::Reading;
use crate::state::rng::Rng;
use crate::state::{Server, UnixMicros};
use crate::types::top_keys::TopKeys;

/// For each key that is to be told, this many are counted: the more, the less is missed.
const COUNTERS_PER_KEY: usize = 16;

/// What to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watch {
    pub cpu: bool,
    pub net: bool,
    /// How many keys are told.
    pub count: usize,
    /// It ends by itself after this time, if any.
    pub duration_us: Option<i64>,
    /// One command in so many is sampled.
    pub sample_ratio: u64,
}

/// Counters of the process whose growth is told.
#[derive(Clone, Copy, Debug, Default)]
struct Counters {
    cpu_user_us: u64,
    cpu_sys_us: u64,
    net_bytes: u64,
}

/// A watch that runs or has ended.
#[derive(Clone, Debug)]
pub struct Session {
    pub watch: Watch,
    pub started: UnixMicros,
    /// When it ended, and the counters then.
    ended: Option<(UnixMicros, Counters)>,
    before: Counters,
    pub cpu: Option<TopKeys>,
    pub net: Option<TopKeys>,
    /// What all commands took, sampled or not.
    pub commands_us: u64,
    pub commands_bytes: u64,
    /// The command that began it has been settled, which it does not concern.
    has_begun: bool,
}

/// What has been used since a watch began, until now or its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Totals {
    pub duration_us: u64,
    pub cpu_user_us: u64,
    pub cpu_sys_us: u64,
    pub net_bytes: u64,
}

/// The watch, if there is or was one.
#[derive(Clone, Debug, Default)]
pub struct Hotkeys {
    session: Option<Box<Session>>,
    is_active: bool,
    /// It runs, and tells the time that keys take.
    times: bool,
    /// The next command is sampled.
    samples_next: bool,
}

impl Hotkeys {
    /// Whether a watch runs.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Whether a watch runs that tells time.
    #[inline]
    pub fn times(&self) -> bool {
        self.times
    }

    /// Whether the next command's time is to be told to [`Hotkeys::took`].
    pub fn times_next(&self) -> bool {
        self.times && self.samples_next
    }

    /// The watch that runs or ran last.
    pub fn session(&self) -> Option<&Session> {
        self.session.as_deref()
    }

    /// A command has run, with so many bytes of request and reply: `keys` gives those that it named.
    pub fn ran<'a>(&mut self, rng: &mut Rng, bytes: u64, keys: impl FnOnce() -> Vec<&'a [u8]>) {
        let is_sampled = self.samples_next;
        let Some(session) = self.session.as_mut().filter(|_| self.is_active) else {
            return;
        };
        if !std::mem::replace(&mut session.has_begun, true) {
            return;
        }
        session.commands_bytes += bytes;
        if is_sampled && let Some(net) = &mut session.net {
            charge(net, &keys(), bytes);
        }
        let ratio = session.watch.sample_ratio;
        self.samples_next = ratio <= 1 || rng.below(ratio) == 0;
    }

    /// A sampled command with these keys took so long.
    pub fn took(&mut self, keys: &[&[u8]], elapsed_us: u64) {
        let session = self.session.as_mut().filter(|_| self.times);
        if let Some(cpu) = session.and_then(|session| session.cpu.as_mut()) {
            charge(cpu, keys, elapsed_us);
        }
    }

    /// Commands took so long, sampled or not.
    pub fn spent(&mut self, elapsed_us: u64) {
        if let Some(session) = self.session.as_mut().filter(|_| self.is_active) {
            session.commands_us += elapsed_us;
        }
    }

    /// Whether the time that was set for the watch is over.
    pub fn is_due(&self, now: UnixMicros) -> bool {
        let session = self.session.as_ref().filter(|_| self.is_active);
        session.is_some_and(|session| {
            let duration = session.watch.duration_us;
            duration.is_some_and(|us| now.since(session.started) >= us.unsigned_abs())
        })
    }

    /// Memory that the watch takes.
    pub fn memory_bytes(&self) -> usize {
        self.session.as_ref().map_or(0, |session| {
            let tops = [&session.cpu, &session.net];
            let bytes = tops.into_iter().flatten().map(TopKeys::memory_bytes);
            size_of::<Session>() + bytes.sum::<usize>()
        })
    }

    /// Counters of the server are about to start again from zero, from these values.
    fn carry(&mut self, net_bytes: u64) {
        if let Some(session) = &mut self.session {
            session.before.net_bytes = session.before.net_bytes.wrapping_sub(net_bytes);
        }
    }
}

/// Each key of a command is charged an equal part.
fn charge(top: &mut TopKeys, keys: &[&[u8]], cost: u64) {
    let each = cost / (keys.len() as u64).max(1);
    for key in keys {
        top.add(key, each);
    }
}

impl Counters {
    fn read(server: &Server) -> Counters {
        let Reading {
            cpu_user_us,
            cpu_sys_us,
            ..
        } = server.reading;
        Counters {
            cpu_user_us,
            cpu_sys_us,
            net_bytes: server.stats.net_bytes(),
        }
    }
}

impl Server {
    /// Begins to watch; the process was read for it.
    pub fn start_hotkeys(&mut self, watch: Watch) {
        let counters = watch.count.saturating_mul(COUNTERS_PER_KEY);
        self.hotkeys = Hotkeys {
            session: Some(Box::new(Session {
                watch,
                started: self.now,
                ended: None,
                before: Counters::read(self),
                cpu: watch.cpu.then(|| TopKeys::new(counters)),
                net: watch.net.then(|| TopKeys::new(counters)),
                commands_us: 0,
                commands_bytes: 0,
                has_begun: false,
            })),
            is_active: true,
            times: watch.cpu,
            samples_next: watch.sample_ratio <= 1 || self.rng.below(watch.sample_ratio) == 0,
        };
    }

    /// Ends the watch, if one runs; what it found stays.
    pub fn stop_hotkeys(&mut self) {
        let counters = Counters::read(self);
        let now = self.now;
        let hotkeys = &mut self.hotkeys;
        if let Some(session) = hotkeys.session.as_mut().filter(|_| hotkeys.is_active) {
            session.ended = Some((now, counters));
        }
        hotkeys.is_active = false;
        hotkeys.times = false;
        hotkeys.samples_next = false;
    }

    /// Ends the watch whose time is over; the process was read just now.
    pub fn end_due_hotkeys(&mut self) {
        if self.hotkeys.is_due(self.now) {
            self.stop_hotkeys();
        }
    }

    /// Forgets the watch.
    pub fn reset_hotkeys(&mut self) {
        self.hotkeys = Hotkeys::default();
    }

    /// The counters that INFO shows are about to start from zero.
    pub fn carry_hotkeys(&mut self) {
        self.hotkeys.carry(self.stats.net_bytes());
    }

    /// What has been used since the watch began.
    pub fn hotkeys_totals(&self, session: &Session) -> Totals {
        let (until, after) = match session.ended {
            Some(end) => end,
            None => (self.now, Counters::read(self)),
        };
        let before = session.before;
        Totals {
            duration_us: until.since(session.started),
            cpu_user_us: after.cpu_user_us.saturating_sub(before.cpu_user_us),
            cpu_sys_us: after.cpu_sys_us.saturating_sub(before.cpu_sys_us),
            // The count before is below zero, in effect, once counters have started again.
            net_bytes: after.net_bytes.wrapping_sub(before.net_bytes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::state::server::Process;

    const WATCH: Watch = Watch {
        cpu: true,
        net: true,
        count: 2,
        duration_us: None,
        sample_ratio: 1,
    };

    fn watched(watch: Watch) -> Server {
        let mut server = Server::new(Config::default(), Process::default(), 7, UnixMicros(5));
        server.start_hotkeys(watch);
        let rng = &mut Rng::new(1);
        server.hotkeys.ran(rng, 999, Vec::new); // the command that started it
        server
    }

    #[test]
    fn the_keys_of_a_command_share_its_cost() {
        let mut server = watched(WATCH);
        let rng = &mut Rng::new(1);
        server.hotkeys.ran(rng, 90, || vec![b"a", b"b", b"a"]);
        server.hotkeys.ran(rng, 10, Vec::new);
        server.hotkeys.took(&[b"b", b"c"], 8);
        let session = server.hotkeys.session().expect("it runs");
        let heaviest = |top: &Option<TopKeys>| -> Vec<(Vec<u8>, u64)> {
            let top = top.as_ref().expect("it was asked for");
            let keys = top.heaviest(9).into_iter();
            keys.map(|(key, cost)| (key.to_vec(), cost)).collect()
        };
        let want = [(b"a".to_vec(), 60), (b"b".to_vec(), 30)];
        assert_eq!(heaviest(&session.net), want);
        assert_eq!(
            heaviest(&session.cpu),
            [(b"b".to_vec(), 4), (b"c".to_vec(), 4)]
        );
        assert_eq!(session.commands_bytes, 100);
    }

    #[test]
    fn totals_outlive_a_reset_of_the_counters_and_stand_still_at_the_end() {
        let mut server = Server::new(Config::default(), Process::default(), 7, UnixMicros(0));
        server.stats.net_input_bytes = 1000;
        server.start_hotkeys(Watch {
            duration_us: Some(50),
            ..WATCH
        });
        server.stats.net_output_bytes = 30;
        server.reset_stats();
        server.stats.net_input_bytes = 12;
        server.set_now(UnixMicros(49));
        server.end_due_hotkeys();
        assert!(server.hotkeys.is_active());
        server.set_now(UnixMicros(60));
        server.end_due_hotkeys();
        assert!(!server.hotkeys.is_active());
        server.stats.net_input_bytes = 500;
        server.set_now(UnixMicros(90));
        let session = server.hotkeys.session().expect("it is kept").clone();
        let totals = server.hotkeys_totals(&session);
        assert_eq!((totals.duration_us, totals.net_bytes), (60, 42));
    }

    #[test]
    fn one_command_in_so_many_is_sampled() {
        let mut server = watched(Watch {
            sample_ratio: 10,
            ..WATCH
        });
        let rng = &mut Rng::new(3);
        for _ in 0..10_000 {
            server.hotkeys.ran(rng, 1, || vec![b"k"]);
        }
        let session = server.hotkeys.session().expect("it runs");
        let net = session.net.as_ref().expect("it was asked for");
        let sampled = net.heaviest(1)[0].1;
        assert!((800..1200).contains(&sampled), "{sampled}");
        assert_eq!(session.commands_bytes, 10_000);
    }
}
