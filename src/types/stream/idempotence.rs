//! Idempotence: which messages of which producers a stream has taken already, so that one sent twice is added once.

use std::collections::{BTreeMap, VecDeque};

use super::id::StreamId;

/// What was sent with an idempotent ID.
#[derive(Clone, Debug)]
pub struct Producers {
    /// How long an idempotent ID is remembered.
    pub duration_secs: u64,
    /// How many are remembered of one producer.
    pub max_len: usize,
    /// Messages ever added with an idempotent ID.
    pub added: u64,
    /// Messages that were not added because they were there.
    pub duplicates: u64,
    by_name: BTreeMap<Box<[u8]>, Producer>,
}

/// One producer's idempotent IDs, oldest first in `order`.
#[derive(Clone, Debug, Default)]
struct Producer {
    known: BTreeMap<Box<[u8]>, StreamId>,
    order: VecDeque<(i64, Box<[u8]>)>,
}

impl Producers {
    /// No producers, under these limits.
    pub fn new(duration_secs: u64, max_len: usize) -> Producers {
        Producers {
            duration_secs,
            max_len,
            added: 0,
            duplicates: 0,
            by_name: BTreeMap::new(),
        }
    }

    /// Changes the limits; what was remembered under others is forgotten.
    pub fn configure(&mut self, duration_secs: u64, max_len: usize) {
        if (self.duration_secs, self.max_len) != (duration_secs, max_len) {
            self.by_name.clear();
        }
        self.duration_secs = duration_secs;
        self.max_len = max_len;
    }

    /// How many producers are known.
    pub fn producer_count(&self) -> usize {
        self.by_name.len()
    }

    /// How many idempotent IDs are known.
    pub fn id_count(&self) -> usize {
        self.by_name.values().map(|one| one.known.len()).sum()
    }

    /// The entry that a producer's message became.
    pub fn get(&self, producer: &[u8], message: &[u8]) -> Option<StreamId> {
        self.by_name.get(producer)?.known.get(message).copied()
    }

    /// Remembers the entry that a producer's message became.
    pub fn insert(&mut self, producer: &[u8], message: &[u8], id: StreamId, now_ms: i64) {
        let max_len = self.max_len;
        let one = self.by_name.entry(producer.into()).or_default();
        if one.known.insert(message.into(), id).is_none() {
            one.order.push_back((now_ms, message.into()));
        }
        while one.known.len() > max_len
            && let Some((_, oldest)) = one.order.pop_front()
        {
            one.known.remove(&oldest);
        }
    }

    /// Forgets what has been remembered long enough.
    pub fn expire(&mut self, now_ms: i64) {
        let kept_ms = i64::try_from(self.duration_secs.saturating_mul(1000)).unwrap_or(i64::MAX);
        let oldest = now_ms.saturating_sub(kept_ms);
        self.by_name.retain(|_, one| {
            while one.order.front().is_some_and(|(at, _)| *at <= oldest)
                && let Some((_, message)) = one.order.pop_front()
            {
                one.known.remove(&message);
            }
            !one.known.is_empty()
        });
    }

    /// Everything that is remembered, a producer's oldest first: its name, the message's ID, the entry and when it
    /// was added.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8], StreamId, i64)> {
        self.by_name.iter().flat_map(|(name, one)| {
            one.order.iter().filter_map(move |(at, message)| {
                Some((&name[..], &message[..], *one.known.get(message)?, *at))
            })
        })
    }

    /// Bytes that all this takes, about.
    pub fn memory_bytes(&self) -> usize {
        let producers = self.by_name.iter().map(|(name, one)| {
            let ids: usize = one.known.keys().map(|message| 2 * message.len() + 80).sum();
            name.len() + size_of::<Producer>() + ids
        });
        size_of::<Producers>() + producers.sum::<usize>()
    }
}
