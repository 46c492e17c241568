//! Eviction: which key to give up next, when memory has reached its limit.
//!
//! An approximation as Redis has it (its "LRU" since version 3): a few keys are sampled at a time, and the best
//! candidates of all samples so far wait in a small pool. It departs from there in four places: what is sampled are
//! whole buckets, so a sample is a little larger than asked for; a candidate that was used since it was sampled is
//! dropped from the pool instead of evicted; of two with the same LFU counter, the one that has lost less of it to
//! decay goes first, for it was never used as often (with what `benches/eviction.rs` simulates, that is worth 1.6
//! points of the hit ratio); and chance decides between those that are alike in this too. Were it the order of a bucket,
//! the newest keys would be the first to go, as they take the places of those that went before.
//!
//! Lives here: the scores, the pool. May not: know how use is remembered (`usage`), remove anything, know how much memory there is
//! (`state::eviction` does).

use crate::config::EvictionPolicy;
use crate::keyspace::db::Db;
use crate::keyspace::entry::Entry;
use crate::keyspace::table::Element;
use crate::keyspace::usage::{LFU_MAX, Usage, UsageClock};

/// Candidates that wait.
const POOL_LEN: usize = 16;

/// Buckets that one sample looks at, at most.
const SAMPLE_BUCKETS: usize = 1024;

/// With fewer keys with a deadline than one in so many, samples of these are taken in the order of a walk, so that
/// a whole walk finds every one of them.
const SPARSE: usize = 8;

impl EvictionPolicy {
    /// What entries remember under this policy.
    pub fn usage(self) -> Usage {
        match self {
            EvictionPolicy::VolatileLfu | EvictionPolicy::AllkeysLfu => Usage::Frequency,
            EvictionPolicy::VolatileLrm | EvictionPolicy::AllkeysLrm => Usage::LastChange,
            _ => Usage::LastUse,
        }
    }

    /// Whether only keys with a deadline may go.
    pub fn is_volatile(self) -> bool {
        matches!(
            self,
            EvictionPolicy::VolatileLru
                | EvictionPolicy::VolatileLfu
                | EvictionPolicy::VolatileLrm
                | EvictionPolicy::VolatileRandom
                | EvictionPolicy::VolatileTtl
        )
    }

    /// Whether any key is as good as another.
    pub fn is_random(self) -> bool {
        matches!(
            self,
            EvictionPolicy::VolatileRandom | EvictionPolicy::AllkeysRandom
        )
    }

    /// Whether keys' last use or frequency decides, so that values with both cannot be shared.
    pub fn needs_own_values(self) -> bool {
        !self.is_random()
            && !matches!(
                self,
                EvictionPolicy::NoEviction | EvictionPolicy::VolatileTtl
            )
    }
}

/// How good an entry is to evict; a higher score goes first.
fn score(clock: &UsageClock, policy: EvictionPolicy, entry: &Entry) -> u64 {
    if policy == EvictionPolicy::VolatileTtl {
        let deadline = entry.expire().unwrap_or(i64::MAX);
        return u64::MAX - u64::try_from(deadline).unwrap_or(0);
    }
    match clock.usage {
        Usage::Frequency => {
            // Decay goes on below zero, so that those that nobody wants any more differ too.
            let undecayed = entry.lru() & LFU_MAX;
            let lost = LFU_MAX - undecayed + clock.decay(entry.lru());
            u64::from(lost << 8 | (LFU_MAX - undecayed))
        }
        Usage::LastUse | Usage::LastChange => u64::from(clock.idle_secs(entry.lru())),
    }
}

/// A key that was sampled, and how good it was to evict.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Candidate {
    score: u64,
    /// Which of two with the same score goes first: the one with the greater luck, so to speak.
    luck: u64,
    dbid: u32,
    hash: u64,
    key: Vec<u8>,
}

impl Candidate {
    fn rank(&self) -> (u64, u64) {
        (self.score, self.luck)
    }
}

/// A key that is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Victim {
    pub dbid: u32,
    pub hash: u64,
    pub key: Vec<u8>,
}

/// What a search for a victim came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    Found(Victim),
    /// It has looked at as much as one step may.
    NotYet,
    /// There is no key that may go.
    Nothing,
}

/// The candidates, and where searches go on.
#[derive(Default)]
pub struct Pool {
    /// The best one last.
    candidates: Vec<Candidate>,
    /// The database that the next random victim comes from.
    next_db: usize,
}

impl Pool {
    /// Forgets all candidates: the policy has changed, or the data set.
    pub fn clear(&mut self) {
        self.candidates.clear();
    }

    /// Looks for the next key to evict.
    pub fn search(
        &mut self,
        dbs: &mut [Db],
        policy: EvictionPolicy,
        clock: &UsageClock,
        samples: usize,
        random: &mut dyn FnMut() -> u64,
    ) -> Search {
        let may_go = |db: &Db| match policy.is_volatile() {
            true => db.volatile_len() > 0,
            false => !db.is_empty(),
        };
        if policy == EvictionPolicy::NoEviction || !dbs.iter().any(may_go) {
            return Search::Nothing;
        }
        if policy.is_random() {
            return self.search_random(dbs, policy, samples, random);
        }
        for (dbid, db) in dbs.iter_mut().enumerate().filter(|(_, db)| may_go(db)) {
            let dbid = dbid as u32;
            // Odd, so that each key has a luck of its own, and another one in the next search.
            let salt = random() | 1;
            sample(
                db,
                policy.is_volatile(),
                samples,
                random,
                &mut |entry, hash| {
                    let rank = (score(clock, policy, entry), hash.wrapping_mul(salt));
                    self.offer(rank, dbid, hash, entry.key());
                },
            );
        }
        while let Some(best) = self.candidates.pop() {
            let entry = dbs
                .get(best.dbid as usize)
                .and_then(|db| db.get(best.hash, &best.key));
            let is_good = entry.is_some_and(|entry| {
                (entry.is_volatile() || !policy.is_volatile())
                    && score(clock, policy, entry) >= best.score
            });
            if is_good {
                return Search::Found(Victim {
                    dbid: best.dbid,
                    hash: best.hash,
                    key: best.key,
                });
            }
        }
        Search::NotYet
    }

    /// Any key, of each database in turn.
    fn search_random(
        &mut self,
        dbs: &mut [Db],
        policy: EvictionPolicy,
        samples: usize,
        random: &mut dyn FnMut() -> u64,
    ) -> Search {
        for _ in 0..dbs.len() {
            let dbid = self.next_db % dbs.len();
            self.next_db = dbid + 1;
            let db = &mut dbs[dbid];
            let mut found = Vec::new();
            if policy.is_volatile() {
                if db.volatile_len() == 0 {
                    continue;
                }
                sample(db, true, samples, random, &mut |entry, hash| {
                    found.push((hash, entry.key().to_vec()));
                });
            } else {
                // Were keys of short chains to go sooner, as with a plain random pick, fewer reads would find theirs.
                let picked = db.table.random_fair(&mut |bound| below(random(), bound));
                found
                    .extend(picked.map(|entry| (db.table.hash(entry.key()), entry.key().to_vec())));
            }
            if found.is_empty() {
                continue;
            }
            let (hash, key) = found.swap_remove(below(random(), found.len() as u64) as usize);
            let dbid = dbid as u32;
            return Search::Found(Victim { dbid, hash, key });
        }
        Search::NotYet
    }

    /// Takes a candidate into the pool if it is better than one that is there, or there is room.
    fn offer(&mut self, rank: (u64, u64), dbid: u32, hash: u64, key: &[u8]) {
        let is_full = self.candidates.len() >= POOL_LEN;
        if is_full && self.candidates[0].rank() >= rank {
            return;
        }
        let same = |of: &Candidate| of.hash == hash && of.dbid == dbid && of.key == key;
        if let Some(known) = self.candidates.iter().position(same) {
            self.candidates.remove(known);
        } else if is_full {
            self.candidates.remove(0);
        }
        let at = self.candidates.partition_point(|of| of.rank() < rank);
        let candidate = Candidate {
            score: rank.0,
            luck: rank.1,
            dbid,
            hash,
            key: key.to_vec(),
        };
        self.candidates.insert(at, candidate);
    }
}

/// A number below `bound` out of 64 random bits.
fn below(bits: u64, bound: u64) -> u64 {
    ((u128::from(bits) * u128::from(bound)) >> 64) as u64
}

/// Shows `samples` keys of a database or a few more, those with a deadline only if `volatile` says so.
fn sample(
    db: &mut Db,
    volatile: bool,
    samples: usize,
    random: &mut dyn FnMut() -> u64,
    see: &mut dyn FnMut(&Entry, u64),
) {
    let walks = volatile && db.volatile_len() * SPARSE < db.len();
    let mut cursor = if walks { db.evict_cursor } else { random() };
    let table = &db.table;
    let mut seen = 0;
    for _ in 0..SAMPLE_BUCKETS {
        let mut show = |entry: &Entry| {
            seen += 1;
            see(entry, table.hash(entry.key()));
        };
        cursor = match volatile {
            true => table.scan_volatile(cursor, &mut show),
            false => table.scan(cursor, &mut show),
        };
        if seen >= samples {
            break;
        }
    }
    if walks {
        db.evict_cursor = cursor;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::table::HashSeed;

    fn clock(usage: Usage, secs: i64) -> UsageClock {
        UsageClock::new(usage, secs, 10, 1)
    }

    #[test]
    fn a_counter_grows_slowly_and_decays_by_the_minute() {
        let at = |minutes: i64| clock(Usage::Frequency, minutes * 60);
        let start = at(100).fresh();
        assert_eq!(at(100).count(start), 5);
        assert_eq!(at(103).count(start), 2);
        assert_eq!(at(200).count(start), 0);
        // Over the end of the 16 bits.
        let late = at(65535).fresh();
        assert_eq!(at(65537).count(late), 3);
        assert_eq!(
            at(100).used(start, || u64::MAX) & 255,
            6,
            "the first use always counts"
        );
        let six = at(100).with_count(6);
        assert_eq!(at(100).used(six, || u64::MAX) & 255, 6);
        assert_eq!(at(100).used(six, || u64::MAX / 11) & 255, 7);
        let full = at(100).with_count(255);
        assert_eq!(at(100).used(full, || 0) & 255, 255);
        let never = UsageClock::new(Usage::Frequency, 6000, 10, 0);
        assert_eq!(never.count(start), 5, "no decay at all");
    }

    #[test]
    fn seconds_go_round() {
        let early = clock(Usage::LastUse, 0xff_ffff);
        let late = clock(Usage::LastUse, 0x100_0004);
        assert_eq!(late.idle_secs(early.fresh()), 5);
        let changed = clock(Usage::LastChange, 77);
        assert_eq!(changed.used(3, || 0), 3, "a use is no change");
    }

    fn db_of(seed: HashSeed, keys: &[(&str, Option<i64>, u32)]) -> Db {
        let mut db = Db::new(seed);
        for (key, deadline, used) in keys {
            let entry = Entry::new_str(key.as_bytes(), b"v", *deadline, *used);
            db.insert(seed.hash(key.as_bytes()), entry);
        }
        db
    }

    fn victims(dbs: &mut [Db], policy: EvictionPolicy, now: i64, count: usize) -> Vec<String> {
        let clock = clock(policy.usage(), now);
        let mut pool = Pool::default();
        let mut rng = crate::state::Rng::new(1);
        let mut gone = Vec::new();
        for _ in 0..count {
            match pool.search(dbs, policy, &clock, 64, &mut || rng.next_u64()) {
                Search::Found(victim) => {
                    dbs[victim.dbid as usize].remove(victim.hash, &victim.key);
                    gone.push(String::from_utf8_lossy(&victim.key).into_owned());
                }
                Search::NotYet => gone.push("not yet".into()),
                Search::Nothing => gone.push("nothing".into()),
            }
        }
        gone
    }

    #[test]
    fn victims_come_in_the_order_of_the_policy() {
        let seed = HashSeed([3; 16]);
        let keys = [
            ("a", None, 40),
            ("b", Some(900), 30),
            ("c", Some(500), 20),
            ("d", Some(700), 10),
        ];
        for (policy, want) in [
            (EvictionPolicy::AllkeysLru, "d c b a nothing"),
            (EvictionPolicy::VolatileLru, "d c b nothing nothing"),
            (EvictionPolicy::VolatileTtl, "c d b nothing nothing"),
            (
                EvictionPolicy::NoEviction,
                "nothing nothing nothing nothing nothing",
            ),
        ] {
            let mut dbs = [db_of(seed, &keys), db_of(seed, &[])];
            assert_eq!(
                victims(&mut dbs, policy, 50, 5).join(" "),
                want,
                "{policy:?}"
            );
        }
        let counted: Vec<_> = [("x", 9), ("y", 200), ("z", 3)]
            .map(|(key, count)| (key, None, clock(Usage::Frequency, 50).with_count(count)))
            .into();
        let mut dbs = [db_of(seed, &counted)];
        assert_eq!(
            victims(&mut dbs, EvictionPolicy::AllkeysLfu, 50, 3).join(" "),
            "z x y"
        );
    }

    #[test]
    fn of_equal_counters_the_one_goes_that_was_never_higher() {
        let seed = HashSeed([3; 16]);
        let at = |minutes: i64, count| clock(Usage::Frequency, minutes * 60).with_count(count);
        let keys = [
            ("never", None, at(100, 5)),
            ("once", None, at(98, 7)),
            ("hot", None, at(10, 95)),
            ("warm", None, at(100, 6)),
            // All three have a counter of zero by now; the longer nothing was left to decay, the sooner they go.
            ("long gone", None, at(10, 30)),
            ("gone", None, at(60, 30)),
            ("new and gone", None, at(85, 5)),
        ];
        let mut dbs = [db_of(seed, &keys)];
        let gone = victims(&mut dbs, EvictionPolicy::AllkeysLfu, 100 * 60, 7);
        let want = [
            "long gone",
            "new and gone",
            "gone",
            "never",
            "once",
            "hot",
            "warm",
        ];
        assert_eq!(gone, want);
    }

    #[test]
    fn the_newest_keys_of_a_bucket_are_not_the_first_to_go() {
        // The story: of keys with the same score the first ones of a bucket came into the pool, and these were the
        // newest ones, which take the places of those that went before.
        let seed = HashSeed([11; 16]);
        let mut dbs = [db_of(seed, &[])];
        let clock = clock(Usage::Frequency, 6000);
        let (mut pool, mut rng) = (Pool::default(), crate::state::Rng::new(1));
        let mut ages = Vec::new();
        for number in 0..40_000u32 {
            let key = number.to_be_bytes();
            dbs[0].insert(
                seed.hash(&key),
                Entry::new_str(&key, b"", None, clock.fresh()),
            );
            if dbs[0].len() <= 1000 {
                continue;
            }
            let policy = EvictionPolicy::AllkeysLfu;
            let found = pool.search(&mut dbs, policy, &clock, 5, &mut || rng.next_u64());
            if let Search::Found(victim) = found {
                dbs[0].remove(victim.hash, &victim.key);
                let born = u32::from_be_bytes(victim.key.try_into().expect("four bytes"));
                ages.push(number - born);
            }
        }
        // Half of those that go at random are younger than 693.
        ages.sort_unstable();
        let median = ages[ages.len() / 2];
        assert!((630..760).contains(&median), "{median}");
    }

    #[test]
    fn random_victims_are_of_every_database_and_all_of_them() {
        let seed = HashSeed([5; 16]);
        for policy in [
            EvictionPolicy::AllkeysRandom,
            EvictionPolicy::VolatileRandom,
        ] {
            let names = ["a", "b", "c"].map(|key| (key, Some(1), 0));
            let mut dbs = [db_of(seed, &names), db_of(seed, &names)];
            let mut gone = victims(&mut dbs, policy, 50, 7);
            gone.sort();
            assert_eq!(gone.join(" "), "a a b b c c nothing");
        }
    }

    #[test]
    fn a_candidate_that_was_used_meanwhile_stays() {
        let seed = HashSeed([7; 16]);
        let mut dbs = [db_of(
            seed,
            &[("a", None, 1), ("b", None, 2), ("c", None, 3)],
        )];
        let (mut pool, mut rng) = (Pool::default(), crate::state::Rng::new(1));
        let policy = EvictionPolicy::AllkeysLru;
        let mut search = |dbs: &mut [Db], now| {
            let clock = clock(Usage::LastUse, now);
            pool.search(dbs, policy, &clock, 64, &mut || rng.next_u64())
        };
        let first = search(&mut dbs, 10);
        assert!(matches!(first, Search::Found(victim) if victim.key == b"a"));
        let hash = seed.hash(b"a");
        dbs[0]
            .get_mut(hash, b"a")
            .expect("it was not removed")
            .set_lru(10);
        let second = search(&mut dbs, 10);
        assert!(matches!(second, Search::Found(victim) if victim.key == b"b"));
        dbs[0].remove(seed.hash(b"c"), b"c");
        let third = search(&mut dbs, 10);
        assert!(matches!(third, Search::Found(victim) if victim.key == b"b"));
    }

    #[test]
    fn the_few_with_a_deadline_are_found_among_many() {
        let seed = HashSeed([9; 16]);
        let mut db = db_of(seed, &[]);
        for number in 0..200_000u32 {
            let key = number.to_be_bytes();
            let deadline = (number % 50_000 == 7).then_some(100);
            db.insert(seed.hash(&key), Entry::new_str(&key, b"v", deadline, 0));
        }
        let mut dbs = [db];
        let gone = victims(&mut dbs, EvictionPolicy::VolatileLru, 50, 400);
        let found = gone
            .iter()
            .filter(|name| !["not yet", "nothing"].contains(&&name[..]));
        assert_eq!(found.count(), 4);
        assert_eq!(gone.last().map(String::as_str), Some("nothing"));
    }
}
