//! Expiry: keys and fields whose deadline has passed go in bounded cycles.

use crate::engine::Engine;
use crate::state::UnixMicros;
use crate::state::keys::Key;

/// A cycle that left expired keys behind is followed by another after this time. Together with the limits
/// below it bounds both how long a tick takes and what share of the time goes into expiry.
pub(super) const BACKLOG_INTERVAL_US: i64 = 1000;

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
pub(super) struct Work {
    buckets: usize,
    seen: usize,
    pub(super) removed: usize,
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

    /// Whether it left work behind.
    pub(super) fn has_backlog(&self) -> bool {
        self.has_backlog
    }

    /// Whether it is time to go on with what it left behind.
    pub(super) fn goes_on(&self, now: UnixMicros) -> bool {
        self.has_backlog && now.since(self.last) >= BACKLOG_INTERVAL_US as u64
    }
}

impl Engine {
    /// Removes keys whose deadline has passed: a bounded number of them, of all databases together.
    pub(super) fn expire_cycle(&mut self) -> Work {
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
    pub(super) fn expire_fields(&mut self) -> usize {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::border::Boot;
    use crate::config::{Config, KeyspaceEvents};
    use crate::keyspace::object::hash::OldDeadline;
    use crate::keyspace::object::{Hash, ObjectType};
    use crate::state::effects::Targets;
    use crate::state::keys::NewValue;
    use crate::state::subscriptions::Scope;
    use crate::state::{Client, ConnId};

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
}
