//! The table against plain maps.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::keyspace::entry::{Entry, ValueRef};

const SEED: HashSeed = HashSeed(*b"0123456789abcdef");

fn entry(key: u32, value: i64) -> Entry {
    Entry::new_int(
        &key.to_be_bytes(),
        value,
        key.is_multiple_of(4).then_some(1),
        0,
    )
}

fn number(entry: &Entry) -> u32 {
    u32::from_be_bytes(entry.key().try_into().expect("four bytes"))
}

fn insert(table: &mut Table<Entry>, key: u32, value: i64) {
    let hash = SEED.hash(&key.to_be_bytes());
    match table.find_mut(hash, &key.to_be_bytes()) {
        Some(found) => *found = entry(key, value),
        None => _ = table.insert(hash, entry(key, value)),
    }
}

fn remove(table: &mut Table<Entry>, key: u32) -> Option<Entry> {
    table.remove(SEED.hash(&key.to_be_bytes()), &key.to_be_bytes())
}

fn find(table: &Table<Entry>, key: u32) -> Option<i64> {
    match table
        .find(SEED.hash(&key.to_be_bytes()), &key.to_be_bytes())?
        .value()
    {
        ValueRef::Int(value) => Some(value),
        _ => None,
    }
}

fn lcg(state: &mut u64) -> u64 {
    *state = state
        .wrapping_mul(6364136223846793005)
        .wrapping_add(1442695040888963407);
    *state >> 33
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u32, i64),
    Remove(u32),
    InsertRun(u32, u32),
    RemoveRun(u32, u32),
    Step(usize),
    Resize(usize),
    Drain(usize),
    Clear,
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..3000u32;
    prop_oneof![
        8 => (key.clone(), any::<i64>()).prop_map(|(key, value)| Op::Insert(key, value)),
        8 => key.clone().prop_map(Op::Remove),
        3 => (key.clone(), 0..1000u32).prop_map(|(from, len)| Op::InsertRun(from, len)),
        3 => (key, 0..1500u32).prop_map(|(from, len)| Op::RemoveRun(from, len)),
        2 => (0..20usize).prop_map(Op::Step),
        1 => (0..40_000usize).prop_map(Op::Resize),
        1 => (0..500usize).prop_map(Op::Drain),
        1 => Just(Op::Clear),
    ]
}

fn apply(table: &mut Table<Entry>, model: &mut BTreeMap<u32, i64>, op: &Op) {
    match *op {
        Op::Insert(key, value) => {
            insert(table, key, value);
            model.insert(key, value);
        }
        Op::Remove(key) => {
            assert_eq!(remove(table, key).is_some(), model.remove(&key).is_some())
        }
        Op::InsertRun(from, len) => (from..from + len).for_each(|key| {
            insert(table, key, 1);
            model.insert(key, 1);
        }),
        Op::RemoveRun(from, len) => (from..from + len).for_each(|key| {
            assert_eq!(remove(table, key).is_some(), model.remove(&key).is_some());
        }),
        Op::Step(buckets) => _ = table.rehash_step(buckets),
        Op::Resize(len) => _ = table.resize_to(len),
        Op::Drain(n) => {
            let want = n.min(table.len());
            assert_eq!(table.drain_some(n, &mut drop), want);
            let left: BTreeSet<u32> = table.iter().map(number).collect();
            model.retain(|key, _| left.contains(key));
        }
        Op::Clear => {
            table.clear();
            model.clear();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn edits_agree_with_a_plain_map(ops in prop::collection::vec(op(), 1..60)) {
        let mut table = Table::new(SEED);
        let mut model = BTreeMap::new();
        for op in &ops {
            apply(&mut table, &mut model, op);
            table.assert_valid();
            prop_assert_eq!(table.len(), model.len());
        }
        let seen: BTreeSet<u32> = table.iter().map(number).collect();
        prop_assert_eq!(seen.len(), table.iter().count());
        prop_assert!(seen.iter().eq(model.keys()));
        for key in 0..4500u32 {
            let hash = SEED.hash(&key.to_be_bytes());
            table.prefetch_bucket(hash);
            table.prefetch_element(hash);
            prop_assert_eq!(find(&table, key), model.get(&key).copied());
        }
    }

    #[test]
    fn a_walk_sees_all_that_stays(ops in prop::collection::vec(op(), 1..60), volatile in any::<bool>()) {
        let mut table = Table::new(SEED);
        let mut model = BTreeMap::new();
        apply(&mut table, &mut model, &Op::InsertRun(0, 1500));
        let mut stays: BTreeSet<u32> = model.keys().copied().collect();
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        for op in ops.iter().filter(|op| !matches!(op, Op::Clear | Op::Drain(_))).chain(std::iter::repeat(&Op::Step(1))) {
            let mut note = |entry: &Entry| {
                assert!(!volatile || entry.expire().is_some());
                seen.insert(number(entry));
            };
            cursor = if volatile { table.scan_volatile(cursor, &mut note) } else { table.scan(cursor, &mut note) };
            if cursor == 0 {
                break;
            }
            apply(&mut table, &mut model, op);
            stays.retain(|key| model.contains_key(key));
        }
        stays.retain(|key| !volatile || key.is_multiple_of(4));
        prop_assert!(stays.is_subset(&seen), "missed {:?}", stays.difference(&seen).collect::<Vec<_>>());
    }
}

#[test]
fn an_empty_table_owns_nothing() {
    let mut table: Table<Entry> = Table::new(SEED);
    assert_eq!(
        (table.memory_bytes(), table.scan(0, &mut |_| unreachable!())),
        (0, 0)
    );
    assert!(table.random(&mut |_| 0).is_none());
    insert(&mut table, 1, 1);
    assert_eq!((table.memory_bytes(), table.bucket_counts()), (64, (1, 0)));
    remove(&mut table, 1);
    assert_eq!(table.memory_bytes(), 0);
}

#[test]
fn it_grows_and_shrinks_through_chunked_arrays() {
    let mut table = Table::new(SEED);
    let keys = 60_000;
    for key in 0..keys {
        insert(&mut table, key, i64::from(key));
    }
    assert!(table.bucket_counts().0 > CHUNK);
    table.assert_valid();
    let stats = table.stats();
    assert_eq!(
        stats.0.len + stats.1.map_or(0, |second| second.len),
        keys as usize
    );
    assert_eq!(stats.0.chains_by_len.iter().sum::<usize>(), stats.0.buckets);
    for key in 0..keys {
        assert!(remove(&mut table, key).is_some());
        assert_eq!(
            find(&table, key + 1),
            (key + 1 < keys).then_some(i64::from(key) + 1)
        );
    }
    table.assert_valid();
    while table.rehash_step(100) {}
    assert!(table.memory_bytes() < 1024, "{}", table.memory_bytes());
}

#[test]
fn a_chain_closes_over_any_hole() {
    for len in 1..30 {
        for hole in 0..len {
            // Growth is held off by hand: all elements are pushed to one bucket.
            let mut table: Table<Entry> = Table::new(SEED);
            for key in 0..len {
                let head = table.arrays[0].bucket_or_new(0);
                let hash = SEED.hash(&u32::to_be_bytes(key));
                // SAFETY: the head was made above.
                unsafe { table.push(head, tag_of(hash), entry(key, 0)) };
                table.len += 1;
            }
            table.assert_valid();
            assert!(remove(&mut table, hole).is_some());
            table.assert_valid();
            assert_eq!(table.iter().count() as u32, len - 1);
            assert!((0..len).all(|key| find(&table, key).is_some() == (key != hole)));
        }
    }
}

#[test]
fn a_fair_pick_prefers_no_element() {
    // Sizes in the middle of a rehash are among them.
    for len in [1u32, 7, 8, 50, 777, 6200] {
        let mut table = Table::new(SEED);
        for key in 0..len {
            insert(&mut table, key, 0);
        }
        let (mut state, mut seen) = (1, vec![0u32; len as usize]);
        let mut rand = |bound: u64| (lcg(&mut state) >> 3) % bound;
        for _ in 0..len * 100 {
            let picked = table.random_fair(&mut rand).map(number);
            seen[picked.expect("an element") as usize] += 1;
        }
        // A hundred each are expected, ten more or less is one standard deviation.
        let chi: f64 = seen
            .iter()
            .map(|n| (f64::from(*n) - 100.0).powi(2) / 100.0)
            .sum();
        let bound = f64::from(len) + 4.0 * (2.0 * f64::from(len)).sqrt();
        assert!(chi < bound, "{len} elements: {chi}");
    }
}

#[test]
fn looking_ahead_of_a_fair_pick_changes_nothing() {
    // From growing to shrinking, with a rehash on the way each time.
    let mut table = Table::new(SEED);
    (0..40_000).for_each(|key| insert(&mut table, key, 0));
    let mut state = 1;
    while !table.is_empty() {
        let mut ahead = state;
        table.prefetch_random_fair(&mut |bound| (lcg(&mut ahead) >> 3) % bound);
        let picked = table
            .random_fair(&mut |bound| (lcg(&mut state) >> 3) % bound)
            .map(number)
            .expect("an element");
        assert!(remove(&mut table, picked).is_some());
    }
}

#[test]
fn random_reaches_every_element() {
    let mut table = Table::new(SEED);
    (0..400).for_each(|key| insert(&mut table, key, 0));
    let (mut state, mut hits) = (1, BTreeMap::new());
    for _ in 0..40_000 {
        let pick = table
            .random(&mut |bound| lcg(&mut state) % bound)
            .expect("not empty");
        *hits.entry(number(pick)).or_insert(0) += 1;
    }
    assert_eq!(hits.len(), 400);
    assert!(
        hits.values().all(|&hits| (10..800).contains(&hits)),
        "{hits:?}"
    );
    let mut sparse = Table::with_capacity(SEED, 1_000_000);
    insert(&mut sparse, 7, 0);
    assert_eq!(sparse.random(&mut |bound| bound - 1).map(number), Some(7));
}

#[test]
fn the_hash_is_the_same_everywhere() {
    assert_eq!(SEED.hash(b"retrace"), 1_391_939_854_565_773_028);
}
