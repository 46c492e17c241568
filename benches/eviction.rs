//! Bench: how often a cache finds what it is asked for, by who is evicted; simulated, without a server.
//!
//!     cargo bench --bench eviction [-- SEEDS [SECONDS [ACCESSES]]]         5 seeds of 300 seconds, 2000 accesses in each
//!
//! The accesses of `hit_ratio`, with the engine's own table, entries and choice of victims, but a clock that does not
//! wait: a run takes a second where the servers take five minutes, and the mean of several seeds says what differs by
//! a few hundredths of a point. Each policy is measured twice: with the same keys in demand all the time, and with a
//! demand that drifts, so that who only remembers what once was loses. Beside the engine two caches that need none: one
//! that knows how often each key is drawn, which is the most that any policy can reach, and one that evicts as Redis
//! documents it: the worst of a few keys sampled alike, with a pool of 16.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it is a bench, with words on its command line"
)]

use std::collections::HashMap;

use retrace::config::EvictionPolicy;
use retrace::keyspace::db::Db;
use retrace::keyspace::entry::Entry;
use retrace::keyspace::eviction::{Pool, Search};
use retrace::keyspace::table::HashSeed;
use retrace::keyspace::usage::UsageClock;
use retrace::state::Rng;

/// As in `hit_ratio`.
const KEYS: usize = 100_000;
const FITTING: usize = 10_000;
const EXPONENT: f64 = 0.99;
const FILLING: usize = 200_000;
const BATCH: usize = 20;

/// Where the demand drifts, it moves on by one key after so many accesses.
const STEADY: usize = 400;

/// When it begins, by the clock.
const START_SECS: i64 = 1_700_000_017;

const POLICIES: &[(EvictionPolicy, usize)] = &[
    (EvictionPolicy::AllkeysLru, 5),
    (EvictionPolicy::AllkeysLru, 10),
    (EvictionPolicy::AllkeysLfu, 5),
    (EvictionPolicy::AllkeysLfu, 10),
    (EvictionPolicy::AllkeysRandom, 5),
];

/// A cache of [`FITTING`] keys.
trait Cache {
    /// Reads a key; whether it was there.
    fn read(&mut self, key: usize, secs: i64) -> bool;
    /// Adds a key that is not there, and evicts.
    fn write(&mut self, key: usize, secs: i64);
}

/// The engine's.
struct Engine {
    dbs: [Db; 1],
    pool: Pool,
    policy: EvictionPolicy,
    samples: usize,
    rng: Rng,
}

impl Engine {
    fn new(policy: EvictionPolicy, samples: usize, seed: u64) -> Engine {
        let mut rng = Rng::new(seed);
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&rng.next_u64().to_le_bytes());
        bytes[8..].copy_from_slice(&rng.next_u64().to_le_bytes());
        Engine {
            dbs: [Db::new(HashSeed(bytes))],
            pool: Pool::default(),
            policy,
            samples,
            rng,
        }
    }

    fn clock(&self, secs: i64) -> UsageClock {
        UsageClock::new(self.policy.usage(), secs, 10, 1)
    }
}

impl Cache for Engine {
    fn read(&mut self, key: usize, secs: i64) -> bool {
        let clock = self.clock(secs);
        let key = key.to_le_bytes();
        let db = &mut self.dbs[0];
        let hash = db.table.hash(&key);
        let rng = &mut self.rng;
        let Some(entry) = db.get_used(hash, &key) else {
            return false;
        };
        entry.set_lru(clock.used(entry.lru(), || rng.next_u64()));
        true
    }

    fn write(&mut self, key: usize, secs: i64) {
        let clock = self.clock(secs);
        let key = key.to_le_bytes();
        let db = &mut self.dbs[0];
        let hash = db.table.hash(&key);
        db.insert(hash, Entry::new_str(&key, b"", None, clock.fresh()));
        db.table.rehash_step(1);
        let rng = &mut self.rng;
        let random = &mut || rng.next_u64();
        while self.dbs[0].len() > FITTING {
            let (dbs, policy) = (&mut self.dbs, self.policy);
            match self.pool.search(dbs, policy, &clock, self.samples, random) {
                Search::Found(victim) => drop(self.dbs[0].remove(victim.hash, &victim.key)),
                Search::NotYet => {}
                Search::Nothing => return,
            }
        }
    }
}

/// One that evicts as Redis documents it.
struct Documented {
    clock: Engine,
    place: HashMap<usize, usize>,
    keys: Vec<(usize, u32)>,
    pool: Vec<(u32, usize)>,
}

impl Documented {
    fn new(policy: EvictionPolicy, samples: usize, seed: u64) -> Documented {
        Documented {
            clock: Engine::new(policy, samples, seed),
            place: HashMap::new(),
            keys: Vec::new(),
            pool: Vec::new(),
        }
    }

    fn score(&self, secs: i64, remembered: u32) -> u32 {
        let clock = self.clock.clock(secs);
        match self.clock.policy {
            EvictionPolicy::AllkeysLfu => 255 - clock.count(remembered),
            _ => clock.idle_secs(remembered),
        }
    }

    fn evict(&mut self, key: usize) -> bool {
        let Some(at) = self.place.remove(&key) else {
            return false;
        };
        self.keys.swap_remove(at);
        if let Some((moved, _)) = self.keys.get(at) {
            self.place.insert(*moved, at);
        }
        true
    }

    fn sampled(&mut self) -> usize {
        (self.clock.rng.next_u64() % self.keys.len() as u64) as usize
    }
}

impl Cache for Documented {
    fn read(&mut self, key: usize, secs: i64) -> bool {
        let clock = self.clock.clock(secs);
        let Some(&at) = self.place.get(&key) else {
            return false;
        };
        let rng = &mut self.clock.rng;
        self.keys[at].1 = clock.used(self.keys[at].1, || rng.next_u64());
        true
    }

    fn write(&mut self, key: usize, secs: i64) {
        let fresh = self.clock.clock(secs).fresh();
        self.place.insert(key, self.keys.len());
        self.keys.push((key, fresh));
        while self.keys.len() > FITTING {
            if self.clock.policy.is_random() {
                let at = self.sampled();
                self.evict(self.keys[at].0);
                continue;
            }
            for _ in 0..self.clock.samples {
                let at = self.sampled();
                let (key, remembered) = self.keys[at];
                let score = self.score(secs, remembered);
                if self.pool.len() >= 16 {
                    if self.pool[0].0 >= score {
                        continue;
                    }
                    self.pool.remove(0);
                }
                let at = self.pool.partition_point(|(of, _)| *of < score);
                self.pool.insert(at, (score, key));
            }
            while let Some((_, key)) = self.pool.pop() {
                if self.evict(key) {
                    break;
                }
            }
        }
    }
}

/// Holds the keys that are drawn most.
struct Ideal;

impl Cache for Ideal {
    fn read(&mut self, key: usize, _secs: i64) -> bool {
        key < FITTING
    }

    fn write(&mut self, _key: usize, _secs: i64) {}
}

/// Keys as they are drawn, the one that is drawn most first.
struct Zipf {
    cumulated: Vec<f64>,
    rng: Rng,
}

impl Zipf {
    fn new(seed: u64) -> Zipf {
        let mut sum = 0.0;
        let cumulated = (1..=KEYS).map(|n| {
            sum += (n as f64).powf(-EXPONENT);
            sum
        });
        Zipf {
            cumulated: cumulated.collect(),
            rng: Rng::new(seed),
        }
    }

    fn next(&mut self) -> usize {
        let share = (self.rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        let wanted = share * self.cumulated[KEYS - 1];
        let at = self.cumulated.partition_point(|sum| *sum < wanted);
        at.min(KEYS - 1)
    }
}

/// How long, and how fast.
#[derive(Clone, Copy)]
struct Load {
    seconds: usize,
    accesses_a_second: usize,
}

/// The share of reads that found their key, in percent.
fn measure(cache: &mut dyn Cache, seed: u64, load: Load, drifts: bool) -> f64 {
    let mut zipf = Zipf::new(seed);
    let accesses = load.seconds * load.accesses_a_second;
    let (mut hits, mut reads) = (0, 0);
    for done in (0..FILLING + accesses).step_by(BATCH) {
        let paced = done.saturating_sub(FILLING);
        let secs = START_SECS + (paced / load.accesses_a_second) as i64;
        let moved = if drifts { paced / STEADY } else { 0 };
        let drawn = (0..BATCH).map(|_| (zipf.next() + moved) % KEYS);
        let keys: Vec<usize> = drawn.collect();
        let mut missing = Vec::new();
        let mut found = BATCH;
        for key in keys {
            if !cache.read(key, secs) {
                found -= 1;
                if !missing.contains(&key) {
                    missing.push(key);
                }
            }
        }
        for key in missing {
            cache.write(key, secs);
        }
        if paced >= accesses / 10 {
            hits += found;
            reads += BATCH;
        }
    }
    hits as f64 * 100.0 / reads as f64
}

/// Mean and standard deviation of the mean.
fn mean(figures: &[f64]) -> (f64, f64) {
    let len = figures.len() as f64;
    let mean = figures.iter().sum::<f64>() / len;
    let squares = figures.iter().map(|figure| (figure - mean).powi(2));
    let variance = squares.sum::<f64>() / (len - 1.0).max(1.0);
    (mean, (variance / len).sqrt())
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let seeds: usize = numbers.next().unwrap_or(5);
    let load = Load {
        seconds: numbers.next().unwrap_or(300),
        accesses_a_second: numbers.next().unwrap_or(2000).max(1),
    };
    println!("| hits, % | samples | engine | as documented | difference |");
    println!("|---|---:|---:|---:|---:|");
    for (policy, samples) in POLICIES {
        for drifts in [false, true] {
            let runs = (1..=seeds as u64).map(|seed| {
                let mut engine = Engine::new(*policy, *samples, seed);
                let mut documented = Documented::new(*policy, *samples, seed);
                let ours = measure(&mut engine, seed, load, drifts);
                (ours, measure(&mut documented, seed, load, drifts))
            });
            let (ours, theirs): (Vec<f64>, Vec<f64>) = runs.unzip();
            let pairs = ours.iter().zip(&theirs);
            let (difference, spread) = mean(&pairs.map(|(a, b)| a - b).collect::<Vec<_>>());
            let (ours, theirs) = (mean(&ours).0, mean(&theirs).0);
            let demand = if drifts { ", drifting" } else { "" };
            println!(
                "| {policy:?}{demand} | {samples} | {ours:.2} | {theirs:.2} | {difference:+.2} ±{spread:.2} |"
            );
        }
    }
    let ideal = measure(&mut Ideal, 1, load, false);
    println!("| the keys drawn most | | {ideal:.2} | | |");
}
