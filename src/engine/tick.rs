//! Ticks: what happens without a request. Everything is bounded by counts, so that a replay does the same.

use std::cmp::Ordering;

use crate::border::Want;
use crate::engine::Engine;
use crate::state::client::ClientKind;
use crate::state::keys::Key;
use crate::state::{ClientFlags, ConnId, UnixMicros};

/// A cycle that left expired keys behind is followed by another after this time. Together with the limits
/// below it bounds both how long a tick takes and what share of the time goes into expiry.
const BACKLOG_INTERVAL_US: i64 = 1000;
/// The longest time between two ticks, at one a second.
const TICK_INTERVAL_US_MAX: u64 = 1_000_000;

/// Per step of effort: what one cycle removes and looks at, all databases together. Measured on a million keys,
/// removing one takes 0.2 microseconds, 1.6 while each removal carries a rehash on as well; looking at a bucket
/// takes 0.06.
const CYCLE_COST: usize = 500;
const REHASH_COST: usize = 4;
const CYCLE_SEEN: usize = 2000;
const CYCLE_BUCKETS: usize = 4000;

/// Per step of effort: how many fields of hashes one cycle removes. One takes 0.6 microseconds.
const CYCLE_FIELDS: usize = 300;

/// Per step of effort: what a cycle looks at before it decides whether to go on.
const SAMPLE_KEYS: usize = 64;
const SAMPLE_BUCKETS: usize = 256;

/// A sample of which less than one key in this many was to be removed ends the database's turn.
const STALE_SHARE: usize = 10;

/// How many buckets ahead of the cycle the elements, and the buckets, are asked for.
const NEAR_AHEAD: usize = 4;
const FAR_AHEAD: usize = 10;

/// What an expire cycle has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Work {
    buckets: usize,
    seen: usize,
    removed: usize,
    /// `removed`, weighted.
    cost: usize,
}

impl Work {
    fn add(&mut self, other: Work) {
        self.buckets += other.buckets;
        self.seen += other.seen;
        self.removed += other.removed;
        self.cost += other.cost;
    }

    fn is_enough(self, effort: usize) -> bool {
        self.cost >= CYCLE_COST * effort
            || self.seen >= CYCLE_SEEN * effort
            || self.buckets >= CYCLE_BUCKETS * effort
    }
}

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

/// The expire cycle.
pub(super) struct Expiry {
    /// When it last ran.
    last: UnixMicros,
    /// The database that it begins with, and the one whose hashes' fields it begins with.
    db: usize,
    fields_db: usize,
    /// It left work behind, so the next tick comes soon.
    has_backlog: bool,
    /// Reused space for the keys that a sample found expired.
    keys: Vec<u8>,
}

impl Expiry {
    pub(super) fn new(now: UnixMicros) -> Expiry {
        Expiry {
            last: now,
            db: 0,
            fields_db: 0,
            has_backlog: false,
            keys: Vec::new(),
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
        if self.expiry.has_backlog || !self.server.garbage.is_empty() {
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
        let goes_on =
            self.expiry.has_backlog && now.since(self.expiry.last) >= BACKLOG_INTERVAL_US as u64;
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

    /// Removes keys whose deadline has passed: a bounded number of them, of all databases together.
    fn expire_cycle(&mut self) -> Work {
        let effort = self.server.config.active_expire_effort.clamp(1, 10) as usize;
        let mut work = Work::default();
        let dbs = self.server.dbs.len();
        self.expiry.has_backlog = false;
        for turn in 0..dbs {
            // The database that reaches the limit is the first of the next cycle.
            let dbid = (self.expiry.db + turn) % dbs;
            self.expire_in(dbid as u32, effort, &mut work);
            if work.is_enough(effort) {
                self.expiry.db = dbid;
                break;
            }
        }
        self.expiry.last = self.server.now;
        self.server
            .expire_sample(work.seen as u64, work.removed as u64);
        work
    }

    /// One database's part of the cycle: goes on from sample to sample as long as they hold many keys to
    /// remove. At the limit it leaves the rest to the next cycle, which then comes soon.
    fn expire_in(&mut self, dbid: u32, effort: usize, work: &mut Work) {
        let mut walked = Work::default();
        let mut scatter = false;
        let buckets = self.server.db(dbid).table.bucket_counts();
        let buckets = buckets.0 + buckets.1;
        loop {
            if self.server.db(dbid).volatile_len() == 0 || walked.buckets >= buckets {
                return;
            }
            let sample = self.expire_sample(dbid, effort, scatter);
            work.add(sample);
            walked.add(sample);
            let is_full = sample.removed >= SAMPLE_KEYS * effort;
            let is_stale =
                is_full || (sample.removed > 0 && sample.removed * STALE_SHARE >= sample.seen);
            if work.is_enough(effort) {
                self.expiry.has_backlog = is_stale;
                self.server.stats.expired_time_cap_reached += u64::from(is_stale);
                return;
            }
            // Deleting in the order of the walk would leave the rest crowded into few buckets when the table
            // shrinks, with chains of hundreds; so while there is much to delete, samples start anywhere.
            scatter = is_stale;
            // Nothing seen says nothing: keys with a deadline are sparse here.
            if sample.seen > 0 && !is_stale {
                return;
            }
        }
    }

    /// Looks at some keys with a deadline and removes those that have passed it: the next ones in order, or with
    /// `scatter` those at a random place.
    fn expire_sample(&mut self, dbid: u32, effort: usize, scatter: bool) -> Work {
        let now_ms = self.server.now_ms;
        let (mut keys, mut ends) = (std::mem::take(&mut self.expiry.keys), Vec::new());
        let (mut ttl_sum, mut work) = (0i64, Work::default());
        let random_cursor = scatter.then(|| self.server.rng.next_u64());
        let db = self.server.db(dbid);
        let table = &db.table;
        let mut cursor = random_cursor.unwrap_or(db.expire_cursor);
        let (mut near, mut far) = (cursor, cursor);
        for step in 0..FAR_AHEAD {
            table.prefetch_bucket(far);
            far = table.cursor_ahead(far);
            if step < NEAR_AHEAD {
                near = far;
            }
        }
        while work.seen < SAMPLE_KEYS * effort && work.buckets < SAMPLE_BUCKETS * effort {
            work.buckets += 1;
            table.prefetch_bucket(far);
            far = table.cursor_ahead(far);
            table.prefetch_volatile(near);
            near = table.cursor_ahead(near);
            cursor = table.scan_volatile(cursor, &mut |entry| {
                let Some(deadline) = entry.expire() else {
                    return;
                };
                work.seen += 1;
                // A step over a table that shrinks may see more than a sample; the rest waits for the next.
                if now_ms > deadline && ends.len() < SAMPLE_KEYS * effort {
                    keys.extend_from_slice(entry.key());
                    ends.push(keys.len());
                } else {
                    ttl_sum = ttl_sum.saturating_add((deadline - now_ms).max(0));
                }
            });
        }
        if !scatter {
            db.expire_cursor = cursor;
        }
        db.sample_ttl(ttl_sum, (work.seen - ends.len()) as u64);
        let mut start = 0;
        for end in ends {
            let key = Key::new(&self.server.hash_seed, &keys[start..end]);
            // During a rehash the walk may have met a key twice.
            work.removed += usize::from(self.server.delete_expired(dbid, key));
            start = end;
        }
        let is_rehashing = self.server.db(dbid).table.is_rehashing();
        work.cost = work.removed * if is_rehashing { REHASH_COST } else { 1 };
        self.server.stats.active_expired_keys += work.removed as u64;
        keys.clear();
        self.expiry.keys = keys;
        work
    }

    /// Removes fields of hashes whose deadline has passed: the soonest of each database first, a bounded number of
    /// them, of all databases together. Says how many went.
    fn expire_fields(&mut self) -> usize {
        let effort = self.server.config.active_expire_effort.clamp(1, 10) as usize;
        let budget = CYCLE_FIELDS * effort;
        let dbs = self.server.dbs.len();
        let horizon_ms = self.server.field_horizon();
        let (mut removed, mut spent) = (0, 0);
        for turn in 0..dbs {
            // The database that reaches the limit is the first of the next cycle.
            let dbid = (self.expiry.fields_db + turn) % dbs;
            while let Some(entry) = self.server.db(dbid as u32).first_due_hash(horizon_ms) {
                if spent >= budget {
                    self.expiry.fields_db = dbid;
                    self.expiry.has_backlog = true;
                    return removed;
                }
                let name = entry.key().to_vec();
                let key = self.server.key(&name);
                let count = self
                    .server
                    .expire_due_fields(dbid as u32, key, budget - spent);
                removed += count;
                spent += count.max(1);
            }
        }
        removed
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
    use crate::config::{Appendfsync, Config, Guard, KeyspaceEvents};
    use crate::keyspace::object::hash::OldDeadline;
    use crate::keyspace::object::{Hash, ObjectType};
    use crate::state::Client;
    use crate::state::aof::{OPENED, WRITE_TICKET};
    use crate::state::effects::Targets;
    use crate::state::keys::NewValue;
    use crate::state::subscriptions::Scope;

    /// More keys than one step of a walk sees in these tests.
    const STEP_KEYS: usize = 100;

    fn engine() -> Engine {
        let boot = Boot {
            config: Config::default(),
            seed: 7,
            pid: 1,
            ..Boot::default()
        };
        Engine::new(boot).expect("no command is renamed")
    }

    /// Adds keys `from..to` to a database, all with this deadline or none.
    fn fill(engine: &mut Engine, dbid: u32, keys: std::ops::Range<u32>, deadline: Option<i64>) {
        for number in keys {
            let name = number.to_be_bytes();
            let key = engine.server.key(&name);
            engine.server.store(dbid, key, NewValue::Int(1), deadline);
        }
    }

    /// Runs one cycle at this time and checks that it kept to its limits.
    fn cycle(engine: &mut Engine, now_ms: i64) -> Work {
        engine.server.set_now(UnixMicros(now_ms * 1000));
        let work = engine.expire_cycle();
        // The last sample may begin just below the limit, and its last step may see several long chains.
        assert!(
            work.cost < CYCLE_COST + SAMPLE_KEYS * REHASH_COST,
            "{work:?}"
        );
        assert!(work.seen < CYCLE_SEEN + SAMPLE_KEYS + STEP_KEYS, "{work:?}");
        assert!(work.buckets < CYCLE_BUCKETS + SAMPLE_BUCKETS, "{work:?}");
        work
    }

    #[test]
    fn keys_that_expire_together_go_in_bounded_cycles() {
        let mut engine = engine();
        let keys = 100_000;
        fill(&mut engine, 0, 0..keys, Some(1000));
        assert_eq!(
            cycle(&mut engine, 1000).removed,
            0,
            "the deadline's millisecond is lived through"
        );
        let mut cycles = 0;
        while !engine.server.db(0).is_empty() {
            cycle(&mut engine, 1001 + cycles);
            cycles += 1;
        }
        assert!(
            cycles <= 20 + i64::from(keys) / (CYCLE_COST / REHASH_COST) as i64,
            "{cycles}"
        );
        assert_eq!(engine.server.stats.active_expired_keys, u64::from(keys));
        assert!(engine.server.stats.expired_time_cap_reached > 0);
        cycle(&mut engine, 5000);
        assert!(!engine.expiry.has_backlog, "nothing is left to do");
    }

    #[test]
    fn a_cycle_over_living_keys_ends_after_one_sample() {
        let mut engine = engine();
        fill(&mut engine, 0, 0..50_000, Some(1_000_000));
        let work = cycle(&mut engine, 10);
        assert!(work.seen < SAMPLE_KEYS + 32, "{work:?}");
        assert!(!engine.expiry.has_backlog);
        assert!((999_000..=1_000_000).contains(&engine.server.db(0).avg_ttl_ms));
    }

    #[test]
    fn a_few_expired_keys_among_many_others_are_found() {
        let mut engine = engine();
        fill(&mut engine, 3, 0..60_000, None);
        fill(&mut engine, 3, 60_000..60_010, Some(5));
        let cycles = (0..100).take_while(|at| {
            cycle(&mut engine, 10 + at);
            engine.server.db(3).volatile_len() > 0
        });
        assert!(cycles.count() < 10);
        assert_eq!(engine.server.db(3).len(), 60_000);
    }

    #[test]
    fn the_backlog_is_worked_off_in_ticks_a_millisecond_apart() {
        let mut engine = engine();
        fill(&mut engine, 0, 0..5_000, Some(1));
        engine.handle_time(UnixMicros(200_000));
        let left = engine.server.db(0).len();
        assert!(left < 5_000);
        engine.handle_time(UnixMicros(200_500));
        assert_eq!(
            engine.server.db(0).len(),
            left,
            "half a millisecond later is too soon"
        );
        assert_eq!(engine.next_tick(), Some(UnixMicros(201_500)));
        engine.handle_time(UnixMicros(201_500));
        assert!(engine.server.db(0).len() < left);
    }

    #[test]
    fn fields_that_expire_together_go_in_bounded_cycles() {
        let mut engine = engine();
        let config = &mut engine.server.config;
        config.notify_keyspace_events = KeyspaceEvents::parse(b"gE").expect("known letters");
        let mut listener = Client::new(ConnId(0), 1, UnixMicros(0));
        engine
            .server
            .pubsub
            .subscribe(&mut listener, Scope::Pattern, b"*");
        engine.server.clients.insert(Box::new(listener));
        engine.server.effects.listening = Targets::ALL;
        let fields = 3 * CYCLE_FIELDS as i64;
        // One hash loses all its fields, one all but one, one of another database none.
        for (dbid, name, stays, deadline) in [
            (0, b"a", false, 1000),
            (0, b"b", true, 1000),
            (3, b"c", false, 9000),
        ] {
            let limits = engine.server.hash_limits();
            let mut hash = Hash::default();
            for number in 0..fields {
                let field = number.to_be_bytes();
                hash.set(&field, b"v", OldDeadline::Clear, &limits);
                hash.set_deadline(&field, Some(deadline));
            }
            if stays {
                hash.set(b"stays", b"v", OldDeadline::Clear, &limits);
            }
            let key = engine.server.key(name);
            engine.server.store_object(dbid, key, hash.into_object());
        }
        assert_eq!(engine.server.db(0).field_volatile_len(), 2);
        let at = |engine: &mut Engine, ms: i64| engine.server.set_now(UnixMicros(ms * 1000));
        at(&mut engine, 1000);
        assert_eq!(
            engine.expire_fields(),
            0,
            "the deadline's millisecond is lived through"
        );
        at(&mut engine, 1001);
        let mut cycles = 0;
        while engine.server.db(0).field_volatile_len() > 0 {
            engine.expiry.has_backlog = false;
            assert!(engine.expire_fields() <= CYCLE_FIELDS);
            cycles += 1;
            assert_eq!(engine.expiry.has_backlog, cycles < 6);
        }
        assert_eq!(cycles, 6);
        assert_eq!(engine.server.stats.expired_subkeys, 2 * fields as u64);
        assert_eq!(engine.server.effects.propagated.len(), 2 * fields as usize);
        let heard = engine.server.clients.get(ConnId(0)).expect("the listener");
        let heard = heard.reply.single_slice().expect("one piece").to_vec();
        let heard = String::from_utf8_lossy(&heard).into_owned();
        assert_eq!(heard.matches("__keyevent@0__:del").count(), 1);
        assert_eq!(
            (engine.server.db(0).len(), engine.server.db(3).len()),
            (1, 1)
        );
        assert_eq!(engine.server.db(3).field_volatile_len(), 1);
        engine.server.flush(3, false);
        assert_eq!(engine.server.db(3).field_volatile_len(), 0);
    }

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
