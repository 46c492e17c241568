//! Bench: the table at a million keys, under the allocator that the server runs with.
//!
//! Keys of 16 bytes, values of 32, as in the project's throughput figures. Each figure is for one key.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use retrace::keyspace::alloc::Counting;
use retrace::keyspace::entry::{Entry, ValueRef};
use retrace::keyspace::table::{HashSeed, Table};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const SEED: HashSeed = HashSeed(*b"0123456789abcdef");
const KEYS: u64 = 1_000_000;

fn key(n: u64) -> [u8; 16] {
    let mut key = *b"key:000000000000";
    let mut rest = n;
    for digit in key[4..].iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    key
}

/// Key numbers in an order that the processor cannot foresee.
fn shuffled(n: u64) -> u64 {
    n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20
}

fn filled(keys: u64) -> Table<Entry> {
    let mut table = Table::new(SEED);
    for n in 0..keys {
        let key = key(n);
        table.insert(SEED.hash(&key), Entry::new_str(&key, &[b'v'; 32], None, 0));
    }
    while table.rehash_step(1000) {}
    table
}

fn touch(entry: Option<&Entry>) -> u64 {
    match entry.map(Entry::value) {
        Some(ValueRef::Str(value)) => u64::from(value[value.len() - 1]),
        _ => 0,
    }
}

/// Looks keys up in batches of `batch`: hash all, fetch buckets, fetch elements, then find.
fn batch_find(table: &Table<Entry>, from: u64, batch: usize) -> u64 {
    let mut keys = [([0; 16], 0); 64];
    for (i, slot) in keys[..batch].iter_mut().enumerate() {
        let key = key(shuffled(from + i as u64) % KEYS);
        *slot = (key, SEED.hash(&key));
        table.prefetch_bucket(slot.1);
    }
    for (_, hash) in &keys[..batch] {
        table.prefetch_element(*hash);
    }
    keys[..batch]
        .iter()
        .map(|(key, hash)| touch(table.find(*hash, key)))
        .sum()
}

fn bench(c: &mut Criterion) {
    let table = filled(KEYS);
    let mut group = c.benchmark_group("table");
    group
        .measurement_time(Duration::from_secs(2))
        .warm_up_time(Duration::from_secs(1))
        .sample_size(20);
    let mut n = 0;
    let mut next = |by: u64| {
        n += by;
        n
    };
    group.throughput(Throughput::Elements(1));
    group.bench_function("hash", |b| b.iter(|| SEED.hash(&black_box(key(1)))));
    group.bench_function("find hit", |b| {
        b.iter(|| {
            let key = key(shuffled(next(1)) % KEYS);
            touch(table.find(SEED.hash(&key), &key))
        })
    });
    group.bench_function("find miss", |b| {
        b.iter(|| {
            let key = key(KEYS + shuffled(next(1)) % KEYS);
            touch(table.find(SEED.hash(&key), &key))
        })
    });
    for batch in [16, 64] {
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_function(format!("find in batches of {batch}"), |b| {
            b.iter(|| batch_find(&table, next(batch as u64), batch))
        });
    }
    group.throughput(Throughput::Elements(100_000));
    group.sample_size(10);
    group.bench_function("insert 100k into an empty table", |b| {
        b.iter_batched(|| (), |()| filled(100_000), BatchSize::PerIteration)
    });
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
