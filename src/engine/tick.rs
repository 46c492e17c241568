//! Ticks: what happens without a request. Everything is bounded by counts, so that a replay does the same.

use crate::border::Want;
use crate::engine::Engine;
use crate::state::keys::Key;
use crate::state::{ClientFlags, ConnId, UnixMicros};

/// A tick that left expired keys behind is followed by another after this time.
const BACKLOG_INTERVAL_US: i64 = 1000;

/// Expired keys that one tick removes at most, and buckets it looks at, for each step of effort.
const EXPIRED_MAX: usize = 400;
const EXPIRE_BUCKETS: usize = 1500;

/// Buckets that a tick migrates of each table that is being resized.
const REHASH_BUCKETS: usize = 400;

/// Elements of dropped tables that a tick frees.
const LAZY_FREE: usize = 2000;

/// Clients that a tick looks after, at least.
const CLIENTS_MIN: usize = 5;

const RATE_INTERVAL_US: u64 = 100_000;

/// How often the process is read, so that the peak of used memory is known without a command that asks.
const READING_INTERVAL_US: i64 = 1_000_000;

impl Engine {
    /// When the shell is to wake the engine at the latest.
    pub fn next_tick(&self) -> Option<UnixMicros> {
        let mut at = self.next_cron;
        if self.expire_backlog || !self.graveyard.is_empty() {
            at = at.min(UnixMicros(self.server.now.0 + BACKLOG_INTERVAL_US));
        }
        Some(at)
    }

    pub(super) fn tick(&mut self) {
        let now = self.server.now;
        self.end_pause();
        let cron = now >= self.next_cron;
        if cron {
            let hz = self.server.config.hz.clamp(1, 500);
            self.next_cron = UnixMicros(now.0 + 1_000_000 / hz);
            self.server.cron_loops += 1;
            self.sample_rates();
            self.rehash_tables();
            self.look_after_clients();
            self.ask_for_reading(now);
        }
        if self.server.active_expire && (cron || self.expire_backlog) {
            self.expire_cycle();
        }
        self.server.adopt_dropped(&mut self.graveyard);
        self.free_dropped();
    }

    fn sample_rates(&mut self) {
        let now = self.server.now;
        let elapsed_us = now.since(self.last_rate_sample);
        if elapsed_us < RATE_INTERVAL_US {
            return;
        }
        self.last_rate_sample = now;
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

    fn ask_for_reading(&mut self, now: UnixMicros) {
        if now >= self.next_reading {
            self.next_reading = UnixMicros(now.0 + READING_INTERVAL_US);
            self.server.want.get_or_insert(Want::Reading);
        }
    }

    fn rehash_tables(&mut self) {
        if !self.server.config.activerehashing {
            return;
        }
        for db in &mut self.server.dbs {
            db.table.rehash_step(REHASH_BUCKETS);
        }
    }

    /// Removes keys whose deadline has passed, a bounded number of them.
    fn expire_cycle(&mut self) {
        let effort = self.server.config.active_expire_effort.clamp(1, 10) as usize;
        let mut budget = EXPIRED_MAX * (effort + 1);
        let mut buckets = EXPIRE_BUCKETS * (effort + 1);
        let mut backlog = false;
        let expired_before = self.server.stats.active_expired_keys;
        for dbid in 0..self.server.dbs.len() {
            if budget == 0 || buckets == 0 {
                backlog = true;
                break;
            }
            backlog |= self.expire_db(dbid as u32, &mut budget, &mut buckets);
        }
        if backlog {
            self.server.stats.expired_time_cap_reached += 1;
        }
        self.expire_backlog = backlog;
        let worked = self.server.stats.active_expired_keys > expired_before;
        if worked && self.server.config.latency_monitor_threshold > 0 {
            self.timing_expiry = true;
            self.server.want = Some(Want::Clock);
        }
    }

    /// One database's share of the cycle; says whether many expired keys are left.
    fn expire_db(&mut self, dbid: u32, budget: &mut usize, buckets: &mut usize) -> bool {
        let now_ms = self.server.now_ms;
        let mut due = Vec::new();
        let (mut seen, mut ttl_sum, mut wrapped) = (0u64, 0i64, false);
        let db = self.server.db(dbid);
        if db.volatile_len() == 0 {
            db.expire_cursor = 0;
            return false;
        }
        while *buckets > 0 && due.len() < *budget && !wrapped {
            *buckets -= 1;
            let cursor = db.expire_cursor;
            db.expire_cursor = db.table.scan_volatile(cursor, &mut |entry| {
                let Some(deadline) = entry.expire() else {
                    return;
                };
                seen += 1;
                if now_ms > deadline {
                    due.push(entry.key().to_vec());
                } else {
                    ttl_sum = ttl_sum.saturating_add(deadline - now_ms);
                }
            });
            wrapped = db.expire_cursor == 0;
        }
        let live = seen - due.len() as u64;
        if live > 0 {
            let mean = ttl_sum / live as i64;
            db.avg_ttl_ms = if db.avg_ttl_ms == 0 {
                mean
            } else {
                db.avg_ttl_ms + (mean - db.avg_ttl_ms) / 50
            };
        }
        let removed = due.len();
        *budget = budget.saturating_sub(removed);
        for key in due {
            let key = Key::new(&self.server.hash_seed, &key);
            self.server.delete_expired(dbid, key);
            self.server.stats.active_expired_keys += 1;
        }
        // A tenth of what was seen had expired: more of it lies further on.
        let stale = removed as u64 * 10 > seen;
        self.server.expire_sample(seen, removed as u64);
        !wrapped && stale
    }

    /// Idle timeouts and buffers that became too large, for a share of the clients.
    fn look_after_clients(&mut self) {
        let count = self.server.clients.slot_count();
        let hz = self.server.config.hz.clamp(1, 500) as usize;
        let share = (count / hz).max(CLIENTS_MIN).min(count);
        for _ in 0..share {
            self.client_cron_cursor = (self.client_cron_cursor + 1) % count.max(1);
            let conn = ConnId(self.client_cron_cursor as u32);
            self.look_after_client(conn);
        }
    }

    fn look_after_client(&mut self, conn: ConnId) {
        let now = self.server.now;
        let timeout = self.server.config.timeout;
        let peak_reset_ms = self.server.reply_peak_reset_ms;
        let Some(client) = self.server.clients.get_mut(conn) else {
            return;
        };
        let idle_us = now.since(client.last_interaction);
        client.trim_buffers(now, idle_us, peak_reset_ms);
        let waits = client
            .flags
            .has_any(ClientFlags::PAUSED.or(ClientFlags::AWAITING));
        if timeout > 0 && idle_us > timeout as u64 * 1_000_000 && !waits {
            client.flags.set(ClientFlags::CLOSE_ASAP, true);
            if !client.flags.has(ClientFlags::FLUSH_QUEUED) {
                client.flags.set(ClientFlags::FLUSH_QUEUED, true);
                self.server.queue_flush(conn);
            }
            self.server
                .log(crate::border::LogLevel::Verbose, "Closing idle client");
        }
    }

    /// Lets paused clients go on when their time is up, or the pause was lifted.
    fn end_pause(&mut self) {
        let now_ms = self.server.now_ms;
        if self
            .server
            .pause
            .is_some_and(|pause| pause.until_ms > now_ms)
        {
            return;
        }
        let had_pause = self.server.pause.take().is_some();
        if !had_pause && !self.server.unpaused {
            return;
        }
        self.server.unpaused = false;
        let held: Vec<ConnId> = self
            .server
            .clients
            .iter_mut()
            .filter(|client| client.flags.has(ClientFlags::PAUSED))
            .map(|client| {
                client.flags.set(ClientFlags::PAUSED, false);
                client.conn
            })
            .collect();
        self.resumed.extend(held);
    }

    /// Frees a piece of what asynchronous flushes left.
    fn free_dropped(&mut self) {
        let Some(table) = self.graveyard.last_mut() else {
            return;
        };
        let freed = table.drain_some(LAZY_FREE);
        self.server.stats.lazyfreed_objects += freed as u64;
        if table.is_empty() {
            self.graveyard.pop();
        }
    }
}
