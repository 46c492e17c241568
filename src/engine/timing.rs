//! Timing: whose time passed between two clock readings, and who is told of it.
//!
//! A reading costs more than most commands, so those that cannot take long share the time of their turn. The others,
//! and all while someone looks for short durations, get a reading before and one behind: also each command of a
//! transaction, which goes on after it. Clients that a command serves run right behind it; these share its time.
//! Lives here: the accounts, the slow log, the latency monitor. May not: run anything.

use crate::border::Appended;
use crate::command::CommandId;
use crate::command::keys::keys_of;
use crate::command::slowlog::{REDACTED, is_secret};
use crate::command::spec::Flags;
use crate::engine::Engine;
use crate::engine::tick::Ticked;
use crate::resp::Args;
use crate::state::eviction::Room;
use crate::state::slowlog::{SlowEntry, trim_args};
use crate::state::{Client, ClientFlags, UnixMicros};

/// Thresholds below this are served by timing every command.
const TIME_ALL_BELOW_US: i64 = 10_000;

/// A command that has run and whose duration is not known yet, as the slow log would have it.
pub(super) struct TimedCall {
    id: CommandId,
    argv: Vec<Vec<u8>>,
    addr: String,
    name: Vec<u8>,
    /// The keys that its time is charged to, if it is sampled.
    keys: Vec<Vec<u8>>,
}

/// What is known of the time, and what waits for the next clock reading to be told its own.
pub(super) struct Clock {
    /// The latest reading, which may be later than the Input's `now`.
    pub(super) last: UnixMicros,
    /// Whether `last` was taken after all that ran so far.
    pub(super) is_fresh: bool,
    /// Whether the process was read for the command that is about to run.
    pub(super) reading_is_fresh: bool,
    /// Commands since the last reading that share the time until the next.
    pub(super) untimed: Vec<(CommandId, u64)>,
    /// Commands of transactions and of clients that were served.
    pub(super) timed: Vec<TimedCall>,
    /// A command runs, or is followed up, behind which a clock is read.
    pub(super) is_timing: bool,
    /// The command that waits for a reading behind it is sampled by those who watch what keys cost.
    pub(super) is_sampled: bool,
    /// When the transaction or script began that is timed as a whole.
    pub(super) exec_began: Option<UnixMicros>,
    /// The script that has just ended took a while and began then.
    pub(super) heavy_since: Option<UnixMicros>,
    /// The tick that ran.
    pub(super) tick: Option<Ticked>,
    /// How many keys went when eviction made room, and what room that is for the command in front of which the clock is
    /// read.
    pub(super) eviction: Option<u64>,
    pub(super) room: Option<Room>,
}

impl Clock {
    pub(super) fn new(now: UnixMicros) -> Clock {
        Clock {
            last: now,
            is_fresh: false,
            reading_is_fresh: false,
            untimed: Vec::new(),
            timed: Vec::new(),
            is_timing: false,
            is_sampled: false,
            exec_began: None,
            heavy_since: None,
            tick: None,
            eviction: None,
            room: None,
        }
    }
}

impl Engine {
    /// Whether every command is to be timed, because someone looks for short durations.
    pub(super) fn times_all(&self) -> bool {
        let config = &self.server.config;
        let slowlog = config.slowlog_log_slower_than;
        (0..TIME_ALL_BELOW_US).contains(&slowlog) || config.latency_monitor_threshold > 0
    }

    /// Whether a command gets a clock reading of its own.
    #[inline]
    pub(super) fn is_timed(&self, id: CommandId, args: Args<'_>) -> bool {
        args.len() > self.registry.get(id).timed_above
            || (self.times_all() | self.server.hotkeys.times()) && self.is_timed_for_others(id)
    }

    /// Whether a short command gets one all the same. While someone watches what keys cost, a sampled command does, and
    /// transactions do, whose commands may be sampled.
    #[cold]
    fn is_timed_for_others(&self, id: CommandId) -> bool {
        self.times_all() || self.server.hotkeys.times_next() || self.is_exec(id)
    }

    /// What the slow log would say of a command, with what is secret left out.
    pub(super) fn timed_call(&self, client: &Client, id: CommandId, args: Args<'_>) -> TimedCall {
        let command = self.registry.get(id);
        let argv = (0..args.len()).map(|at| match is_secret(&command.full_name, args, at) {
            true => REDACTED,
            false => args.bytes(at),
        });
        // What a script calls comes from nowhere.
        let (addr, name) = match client.flags.has(ClientFlags::IN_SCRIPT) {
            true => Default::default(),
            false => (client.addr.clone(), client.name.clone()),
        };
        TimedCall {
            id,
            argv: trim_args(argv),
            addr,
            name,
            keys: Vec::new(),
        }
    }

    /// The same for a command that is sampled by those who watch what keys cost.
    pub(super) fn sampled_call(&self, client: &Client, id: CommandId, args: Args<'_>) -> TimedCall {
        let keys = self.keys_among(id, args).into_iter().map(<[u8]>::to_vec);
        TimedCall {
            keys: keys.collect(),
            ..self.timed_call(client, id, args)
        }
    }

    /// The keys that a request names.
    pub(super) fn keys_among<'a>(&self, id: CommandId, args: Args<'a>) -> Vec<&'a [u8]> {
        let keys = keys_of(self.registry.get(id), args).unwrap_or_default();
        keys.iter().map(|(at, _)| args.bytes(*at)).collect()
    }

    /// A command has run while someone watches what keys cost; `replied` is how many bytes its reply has.
    #[cold]
    pub(super) fn weigh_call(&mut self, id: CommandId, args: Args<'_>, replied: usize) {
        let bytes = args.wire_bytes() + replied;
        let mut hotkeys = std::mem::take(&mut self.server.hotkeys);
        let mut rng = self.server.rng.clone();
        hotkeys.ran(&mut rng, bytes as u64, || self.keys_among(id, args));
        self.server.rng = rng;
        self.server.hotkeys = hotkeys;
    }

    /// The clock was read: what it timed is settled.
    pub(super) fn finish_timed(&mut self, now: UnixMicros) {
        self.time_snapshot_start(now);
        if let Some(tick) = self.clock.tick.take() {
            self.finish_tick(tick, now, now.since(self.clock.last));
            self.clock.last = now;
        }
        if let Some(keys) = self.clock.eviction.take() {
            // No clock is read for each key: all of them took as long.
            let elapsed_us = now.since(self.clock.last);
            let each_us = elapsed_us.checked_div(keys).unwrap_or(0);
            self.server.sample_latency("eviction-del", each_us);
            self.server.sample_latency("eviction-cycle", elapsed_us);
            self.clock.last = now;
        }
        let elapsed_us = now.since(self.clock.last);
        let mut client = self.asking.and_then(|conn| self.server.clients.take(conn));
        let begun = client.as_ref().map(|client| &client.begun);
        // A transaction's own time ends behind its last command, and a script's behind its end.
        let is_open = begun.is_some_and(|begun| begun.exec.is_some() || begun.script);
        let ends = begun.is_some_and(|begun| begun.command.is_some()) && !is_open;
        if !ends && self.clock.timed.is_empty() {
            self.settle_untimed(now);
        }
        self.clock.last = now;
        self.clock.is_fresh = true;
        let began = self.clock.exec_began.take_if(|_| !is_open);
        let calls = std::mem::take(&mut self.clock.timed);
        let sharing = calls.len() + usize::from(ends && began.is_none());
        let each_us = elapsed_us / (sharing as u64).max(1);
        if ends
            && let Some(client) = &mut client
            && let Some(done) = client.begun.command.take()
        {
            if let Some(id) = client.last_command {
                let bytes = &client.query[client.query_pos..client.query_end];
                let args = Args::new(bytes, &done.argv, &done.big);
                let whole_us = began.map_or(each_us, |began| now.since(began));
                if std::mem::take(&mut self.clock.is_sampled) {
                    let keys = self.keys_among(id, args);
                    self.server.hotkeys.took(&keys, whole_us);
                }
                self.account(id, whole_us, |engine| engine.timed_call(client, id, args));
            }
            client.query_pos += done.len;
        }
        for call in calls {
            if !call.keys.is_empty() {
                let keys: Vec<&[u8]> = call.keys.iter().map(Vec::as_slice).collect();
                self.server.hotkeys.took(&keys, each_us);
            }
            self.account(call.id, each_us, |_| call);
        }
        if let Some(client) = client {
            self.server.clients.put_back(client);
        }
    }

    /// A command has taken so long; `call` says what the slow log would have of it.
    pub(super) fn account(
        &mut self,
        id: CommandId,
        elapsed_us: u64,
        call: impl FnOnce(&Engine) -> TimedCall,
    ) {
        self.server.record_duration(id, elapsed_us, 1);
        let flags = self.registry.get(id).spec.flags;
        let event = match flags.has(Flags::FAST) {
            true => "fast-command",
            false => "command",
        };
        self.server.sample_latency(event, elapsed_us);
        let threshold = self.server.config.slowlog_log_slower_than;
        let is_slow = u64::try_from(threshold).is_ok_and(|t| elapsed_us >= t);
        if is_slow && !flags.has(Flags::SKIP_SLOWLOG) {
            let call = call(self);
            let entry = SlowEntry {
                id: 0,
                unix_secs: self.server.now.secs(),
                duration_us: elapsed_us,
                argv: call.argv,
                addr: call.addr,
                name: call.name,
            };
            let max = self.server.slowlog_len_max();
            self.server.slowlog.push(entry, max);
        }
    }

    /// The step behind which this clock is read may have begun a snapshot: as long as that took, nobody was served, as it
    /// is with a fork.
    #[inline]
    pub(super) fn time_snapshot_start(&mut self, now: UnixMicros) {
        if std::mem::take(&mut self.server.persistence.start_is_untimed) {
            let elapsed_us = now.since(self.clock.last);
            self.server.stats.snapshot_start_us = elapsed_us;
            self.server.sample_latency("fork", elapsed_us);
        }
    }

    /// The append-only file was given what commands had changed.
    pub(super) fn count_appended(&mut self, appended: Appended) {
        let sync_us = appended.sync_us.unwrap_or(0);
        let whole_us = appended.write_us.saturating_add(sync_us);
        // What ran before and was not timed ended when this began.
        let began = UnixMicros(appended.now.0.saturating_sub_unsigned(whole_us));
        self.settle_untimed(began.max(self.clock.last));
        self.clock.last = appended.now;
        let server = &mut self.server;
        server.stats.aof_us += whole_us;
        server.sample_latency("aof-write", appended.write_us);
        let event = match () {
            () if server.aof.is_syncing() => "aof-write-pending-fsync",
            () if server.persistence.snapshot.is_some() => "aof-write-active-child",
            () => "aof-write-alone",
        };
        server.sample_latency(event, appended.write_us);
        if let Some(sync_us) = appended.sync_us {
            server.sample_latency("aof-fsync-always", sync_us);
        }
    }

    /// A command has run that gets no clock reading of its own.
    #[inline]
    pub(super) fn share_time(&mut self, id: CommandId) {
        match self.clock.untimed.last_mut() {
            Some((last, count)) if *last == id => *count += 1,
            _ => self.clock.untimed.push((id, 1)),
        }
    }

    /// A client was served, in the time of the command that served it.
    pub(super) fn time_served(
        &mut self,
        client: &Client,
        id: CommandId,
        args: Args<'_>,
        is_sampled: bool,
    ) {
        let is_watched = self.clock.is_timing && self.server.hotkeys.times();
        if self.times_all() || is_watched {
            let call = match is_sampled && is_watched {
                true => self.sampled_call(client, id, args),
                false => self.timed_call(client, id, args),
            };
            self.clock.timed.push(call);
        } else {
            self.share_time(id);
        }
    }

    /// Shares the time since the last clock reading among the commands that ran in it.
    pub(super) fn settle_untimed(&mut self, now: UnixMicros) {
        let total: u64 = self.clock.untimed.iter().map(|(_, count)| count).sum();
        if total == 0 {
            return;
        }
        let elapsed_us = now.since(self.clock.last);
        let mut untimed = std::mem::take(&mut self.clock.untimed);
        let mut before = 0;
        for (id, count) in untimed.drain(..) {
            // From one mark to the next, so that the shares add up to the whole.
            let share = elapsed_us * (before + count) / total - elapsed_us * before / total;
            self.server.record_duration(id, share, count);
            before += count;
        }
        self.clock.untimed = untimed;
        self.clock.last = now;
    }
}
