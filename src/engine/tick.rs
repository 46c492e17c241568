//! Ticks: what happens without a request. Everything is bounded by counts, so that a replay does the same.

use std::cmp::Ordering;

use crate::border::Want;
use crate::engine::Engine;
use crate::engine::expiry::BACKLOG_INTERVAL_US;
use crate::state::client::ClientKind;
use crate::state::{ClientFlags, ConnId, UnixMicros};

/// The longest time between two ticks, at one a second.
const TICK_INTERVAL_US_MAX: u64 = 1_000_000;

/// Buckets that a tick migrates of each table that is being resized.
const REHASH_BUCKETS: usize = 400;

/// Clients that a tick looks after, at least.
const CLIENTS_MIN: usize = 5;

const RATE_INTERVAL_US: u64 = 100_000;

/// How often the process is read, so that the peak of used memory is known without a command that asks.
const READING_INTERVAL_US: i64 = 1_000_000;

/// What a tick did that is worth timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticked {
    expired: bool,
}

/// What happens `hz` times a second, or more rarely.
pub(super) struct Cron {
    next: UnixMicros,
    next_reading: UnixMicros,
    rates_sampled: UnixMicros,
    /// Where the walk over the clients goes on.
    clients_seen: usize,
}

impl Cron {
    pub(super) fn new(now: UnixMicros) -> Cron {
        Cron {
            next: now,
            next_reading: now,
            rates_sampled: now,
            clients_seen: 0,
        }
    }
}

impl Engine {
    /// When the shell is to wake the engine at the latest.
    pub fn next_tick(&self) -> Option<UnixMicros> {
        if self.server.scripting.busy.is_some() {
            return Some(self.server.now); // it goes on at once
        }
        let mut at = match self.is_set_back() {
            true => self.server.now,
            false => self.cron.next,
        };
        if self.expiry.has_backlog() || !self.server.garbage.is_empty() {
            at = at.min(UnixMicros(self.server.now.0 + BACKLOG_INTERVAL_US));
        }
        if let Some(pause) = self.server.pause {
            at = at.min(UnixMicros(pause.until_ms.saturating_mul(1000)));
        }
        if let Some(deadline_ms) = self.server.waiters.next_deadline_ms() {
            at = at.min(UnixMicros(
                deadline_ms.saturating_add(1).saturating_mul(1000),
            ));
        }
        if let Some(wake_ms) = self.server.waiters.next_wake_ms()
            && !self.server.is_paused()
            && !self.server.is_midway()
        {
            at = at.min(UnixMicros(wake_ms.saturating_mul(1000)));
        }
        let evicts = self.server.eviction.is_pending && !self.server.is_midway();
        if self.server.unpaused || evicts {
            at = self.server.now;
        }
        if let Some(deadline_ms) = self.server.aof_wait_due_ms() {
            at = at.min(UnixMicros(deadline_ms.saturating_mul(1000)));
        }
        for due in [self.server.snapshot_due(), self.server.loading_due()] {
            at = at.min(due.unwrap_or(at));
        }
        Some(at)
    }

    /// Whether the clock was set back since the last tick: the next would not come before it had caught up.
    fn is_set_back(&self) -> bool {
        self.cron.next.since(self.server.now) > TICK_INTERVAL_US_MAX
    }

    pub(super) fn tick(&mut self) {
        let now = self.server.now;
        self.end_shared_waits();
        self.end_due_waits();
        // What looks at the data or changes them by itself comes behind the transaction that has begun.
        let wakes = self.server.waiters.next_wake_ms().is_some();
        if wakes && !self.server.is_paused() && !self.server.is_midway() {
            self.wake_waits();
        }
        self.run_ready();
        let is_due = now >= self.cron.next || self.is_set_back();
        let cron = is_due && !self.server.debug.cron_paused && !self.server.is_midway();
        if is_due {
            self.cron.next = UnixMicros(now.0 + 1_000_000 / self.server.hz());
        }
        self.server.advance_snapshot();
        self.with_loader(|server, run| server.advance_loading(run));
        self.server.settle_waits(false);
        if cron {
            self.server.persistence_cron();
            self.server.aof_cron();
            self.server.cron_loops += 1;
            self.sample_rates();
            self.rehash_tables();
            self.server.tend_scripts();
            self.look_after_clients();
            self.evict_clients();
            if self.server.tracks_too_much() {
                self.server.shrink_tracking();
            }
        }
        let goes_on = self.expiry.goes_on(now);
        let may_expire =
            self.server.active_expire && !self.server.is_paused() && !self.server.expire_paused;
        let expires = may_expire && (cron || goes_on) && !self.server.is_midway();
        let mut expired = false;
        if expires {
            expired = self.expire_cycle().removed > 0;
            expired |= self.expire_fields() > 0;
        }
        if self.server.eviction.is_pending && !self.server.is_midway() {
            self.server.make_room();
            self.follow_eviction();
        }
        // What expires by itself is no transaction.
        if self.server.effects.has_propagated() {
            self.server.flush_effects(false);
        }
        self.server.free_garbage();
        if !self.server.flush_waiters.is_empty() {
            self.answer_flushes();
        }
        // What a released client wants comes first; this tick's time then goes into no account.
        if (cron || expired) && self.server.want.is_none() {
            self.clock.tick = Some(Ticked { expired });
            self.server.want = Some(Want::Clock);
        }
        // Waits that have ended may be for the slow log.
        if !self.clock.timed.is_empty() && self.server.want.is_none() {
            self.server.want = Some(Want::Clock);
        }
    }

    fn sample_rates(&mut self) {
        let now = self.server.now;
        let elapsed_us = now.since(self.cron.rates_sampled);
        if elapsed_us < RATE_INTERVAL_US {
            return;
        }
        self.cron.rates_sampled = now;
        let server = &mut self.server;
        let stats = &server.stats;
        server.ops_rate.sample(stats.commands_processed, elapsed_us);
        server.cycle_rate.sample(stats.cycles, elapsed_us);
        server.cycle_us_rate.sample(stats.cycle_us, elapsed_us);
        server.input_rate.sample(stats.net_input_bytes, elapsed_us);
        server
            .output_rate
            .sample(stats.net_output_bytes, elapsed_us);
    }

    /// A tick's duration is known.
    pub(super) fn finish_tick(&mut self, tick: Ticked, now: UnixMicros, elapsed_us: u64) {
        self.server.stats.cron_us += elapsed_us;
        if tick.expired {
            self.server.stats.expire_cycle_cpu_us += elapsed_us;
            self.server.sample_latency("expire-cycle", elapsed_us);
        }
        if now >= self.cron.next_reading || self.server.hotkeys.is_due(self.server.now) {
            self.cron.next_reading = UnixMicros(now.0 + READING_INTERVAL_US);
            self.server.want = Some(Want::Reading);
        }
    }

    fn rehash_tables(&mut self) {
        if !self.server.config.activerehashing || !self.server.debug.dict_resizing {
            return;
        }
        for db in &mut self.server.dbs {
            db.table.rehash_step(REHASH_BUCKETS);
        }
    }

    /// Idle timeouts and buffers that became too large, for a share of the clients.
    fn look_after_clients(&mut self) {
        let count = self.server.clients.place_count();
        let hz = self.server.hz() as usize;
        let share = (count / hz).max(CLIENTS_MIN).min(count);
        for _ in 0..share {
            self.cron.clients_seen = (self.cron.clients_seen + 1) % count.max(1);
            let conn = ConnId(self.cron.clients_seen as u32);
            self.look_after_client(conn);
        }
    }

    fn look_after_client(&mut self, conn: ConnId) {
        let now = self.server.now;
        let timeout = self.server.config.timeout;
        let Some(mut client) = self.server.clients.take(conn) else {
            return;
        };
        let idle_us = now.since(client.last_interaction);
        client.trim_query(idle_us);
        if self.server.debug.reply_buffer_resizing {
            let stats = &mut self.server.stats;
            match client.fit_reply(now, self.server.reply_peak_reset_ms) {
                Ordering::Less => stats.reply_buffer_shrinks += 1,
                Ordering::Equal => {}
                Ordering::Greater => stats.reply_buffer_expands += 1,
            }
        }
        // Who takes nothing and is sent nothing reaches the soft limit by the time alone.
        self.server.check_output_limit(&mut client);
        let waits = client.is_held();
        let listens = client.kind() != ClientKind::Normal || client.flags.has(ClientFlags::MONITOR);
        if timeout > 0 && idle_us > timeout as u64 * 1_000_000 && !waits && !listens {
            client.flags.set(ClientFlags::CLOSE_ASAP, true);
            self.server
                .log(crate::border::LogLevel::Verbose, "Closing idle client");
        }
        let closes = client.flags.has(ClientFlags::CLOSE_ASAP);
        self.server.count_client(&mut client);
        self.server.clients.put_back(client);
        if closes {
            self.server.queue_output(conn);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::border::{Boot, FileStep, Input, Order, Outcome, Peer, Reading};
    use crate::config::{Appendfsync, Config, Guard};
    use crate::state::aof::{OPENED, WRITE_TICKET};

    fn local_peer() -> Peer {
        Peer {
            addr: "127.0.0.1:1".to_owned(),
            local_addr: "127.0.0.1:2".to_owned(),
            is_unix: false,
            is_local: true,
            fd: 3,
        }
    }

    /// Does what a shell would, but that forcing the file to disk ends like this.
    fn obey(engine: &mut Engine, synced: &Outcome) {
        while let Some(order) = engine.poll_order() {
            match order {
                Order::ReadFile { ticket, .. } => engine.handle_chunk(ticket, None, &[]),
                Order::OpenAof { .. } => engine.handle_done(WRITE_TICKET, Ok(OPENED.to_vec())),
                Order::SyncAof { ticket } => engine.handle_done(ticket, synced.clone()),
                Order::WriteWhole { ticket, .. } => engine.handle_done(ticket, Ok(Vec::new())),
                _ => {}
            }
        }
        while engine.take_aof_batch().is_some() {}
    }

    /// An engine that appends to a new file.
    fn appending() -> Engine {
        let boot = Boot {
            config: Config {
                appendonly: true,
                ..Config::default()
            },
            ..Boot::default()
        };
        Engine::new(boot).expect("no command is renamed")
    }

    #[test]
    fn what_is_changed_before_a_new_file_is_open_goes_there() {
        let mut engine = appending();
        engine.handle_start();
        let conn = engine.accept(local_peer());
        let set = |engine: &mut Engine, key: &str| {
            let bytes = format!("*3\r\n$3\r\nSET\r\n$1\r\n{key}\r\n$1\r\n1\r\n");
            let bytes = bytes.as_bytes();
            engine.handle(&Input::Read { conn, bytes });
        };
        let mut files = 0;
        while let Some(order) = engine.poll_order() {
            match order {
                Order::ReadFile { ticket, .. } => {
                    engine.handle_chunk(ticket, None, &[]);
                    set(&mut engine, "a");
                }
                Order::WriteWhole { ticket, .. } => {
                    set(&mut engine, "b");
                    assert_eq!(engine.take_aof_batch(), None, "there is no file yet");
                    engine.handle_done(ticket, Ok(Vec::new()));
                }
                Order::OpenAof { before, .. } => {
                    assert_eq!(before, b"", "there was no file before");
                    engine.handle_done(WRITE_TICKET, Ok(OPENED.to_vec()));
                    files += 1;
                }
                _ => {}
            }
        }
        assert_eq!(files, 1);
        let bytes = engine.take_aof_batch().expect("what was changed").bytes;
        let text = String::from_utf8(bytes).expect("plain");
        let words = text
            .split("\r\n")
            .filter(|word| !word.starts_with(['*', '$']));
        // One b comes with the base, one with the manifest.
        let words: Vec<&str> = words.collect();
        assert_eq!(words.join(" "), "SELECT 0 SET a 1 SET b 1 SET b 1 ");
    }

    /// Gives the engine bytes of a client, and the clock readings that it asks for.
    fn send(engine: &mut Engine, conn: ConnId, bytes: &[u8]) {
        engine.handle(&Input::Read { conn, bytes });
        while engine.poll_want().is_some() {
            engine.handle_clock(UnixMicros(1));
        }
    }

    #[test]
    fn a_server_that_stops_appending_before_it_began_is_ready_as_well() {
        let mut engine = appending();
        engine.handle_start();
        let conn = engine.accept(local_peer());
        let bytes = b"*4\r\n$6\r\nCONFIG\r\n$3\r\nSET\r\n$10\r\nappendonly\r\n$2\r\nno\r\n";
        let mut ready = 0;
        while let Some(order) = engine.poll_order() {
            match order {
                Order::ReadFile { ticket, .. } => {
                    engine.handle_chunk(ticket, None, &[]);
                    send(&mut engine, conn, bytes);
                }
                Order::WriteWhole { ticket, .. } => engine.handle_done(ticket, Ok(Vec::new())),
                Order::Ready => ready += 1,
                Order::OpenAof { .. } => panic!("nothing is appended any more"),
                _ => {}
            }
        }
        assert_eq!(ready, 1);
    }

    #[test]
    fn a_rewrite_begins_beside_a_load_that_a_client_asked_for() {
        let boot = Boot {
            config: Config {
                enable_debug_command: Guard::Yes,
                ..Config::default()
            },
            ..Boot::default()
        };
        for made in [Ok(Vec::new()), Err("Not a directory".to_owned())] {
            let mut engine = Engine::new(boot.clone()).expect("no command is renamed");
            engine.handle_start();
            obey(&mut engine, &Ok(Vec::new()));
            let (one, other) = (engine.accept(local_peer()), engine.accept(local_peer()));
            for (conn, bytes) in [
                (one, &b"BGREWRITEAOF\r\n"[..]),
                (other, b"DEBUG RELOAD NOSAVE\r\n"),
            ] {
                send(&mut engine, conn, bytes);
            }
            while let Some(order) = engine.poll_order() {
                match order {
                    Order::MakeFolder { ticket, .. } => engine.handle_done(ticket, made.clone()),
                    Order::Exit { .. } => panic!("it serves clients"),
                    _ => {}
                }
            }
            let reply = engine.output_slice(one).unwrap_or_default();
            let want: &[u8] = match made {
                Ok(_) => b"+Background append only file rewriting started",
                Err(_) => b"-ERR Can't execute an AOF background rewriting.",
            };
            assert!(reply.starts_with(want), "{}", reply.escape_ascii());
        }
    }

    #[test]
    fn a_file_that_is_not_forced_to_disk_refuses_writes_until_it_is() {
        let mut engine = appending();
        let synced: Outcome = Ok(b"0".to_vec());
        let failed: Outcome = Err(FileStep::Sync.failed("Input/output error"));
        engine.handle_start();
        obey(&mut engine, &synced);
        let conn = engine.accept(local_peer());
        let ask = |engine: &mut Engine, request: &[u8]| {
            engine.handle(&Input::Read {
                conn,
                bytes: request,
            });
            let reply = engine.output_slice(conn).unwrap_or_default().to_vec();
            engine.handle_wrote(conn, reply.len());
            String::from_utf8_lossy(&reply).into_owned()
        };
        let mut now = UnixMicros(10_000_000);
        let tick = |engine: &mut Engine, now: &mut UnixMicros, outcome: &Outcome| {
            now.0 += 1_100_000;
            engine.handle_time(*now);
            while let Some(want) = engine.poll_want() {
                match want {
                    Want::Reading => engine.handle_reading(Reading::default()),
                    _ => engine.handle_clock(*now),
                }
            }
            obey(engine, outcome);
        };
        assert_eq!(ask(&mut engine, b"SET a 1\r\n"), "+OK\r\n");
        tick(&mut engine, &mut now, &failed);
        let refused = "-MISCONF Errors writing to the AOF file: Input/output error\r\n";
        assert_eq!(ask(&mut engine, b"SET a 2\r\n"), refused);
        assert_eq!(ask(&mut engine, b"GET a\r\n"), "$1\r\n1\r\n");
        tick(&mut engine, &mut now, &synced);
        assert_eq!(ask(&mut engine, b"SET a 3\r\n"), "+OK\r\n");
        assert!(!engine.withholds_replies());
        // With `always` there is no way on: the server ends, and nobody is told of what may be lost.
        engine.server.config.appendfsync = Appendfsync::Always;
        ask(&mut engine, b"SET a 4\r\n");
        engine.handle_done(WRITE_TICKET, failed);
        assert!(engine.withholds_replies());
        let mut ends = false;
        while let Some(order) = engine.poll_order() {
            ends |= order == Order::Exit { code: 1 };
        }
        assert!(ends);
    }
}
