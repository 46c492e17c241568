//! Group: consumers that share a stream's entries, and the entries that they have yet to acknowledge.
//!
//! A pending entry is kept once, in the group, with its consumer's number; each consumer has the IDs of its own.
//!
//! Invariants:
//! 1. `owner` of every pending entry names a consumer whose `pending` holds the ID, or is nobody ([`NOBODY`]).
//! 2. Every ID of a consumer's `pending` is in the group's with that consumer as its owner.

use std::collections::{BTreeMap, BTreeSet};

use super::id::StreamId;
use super::log::Log;

/// The owner of entries that were given back.
pub const NOBODY: u32 = u32::MAX;

/// An entry that was delivered and not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Nack {
    /// When it was delivered last, in milliseconds since the epoch.
    pub delivered_ms: i64,
    /// How often it was delivered.
    pub deliveries: u64,
    owner: u32,
}

impl Nack {
    /// Whether the entry was given back and belongs to no consumer.
    pub fn is_free(&self) -> bool {
        self.owner == NOBODY
    }
}

/// One who reads in the name of a group.
#[derive(Clone, Debug)]
pub struct Consumer {
    name: Box<[u8]>,
    /// When it was last heard of.
    pub seen_ms: i64,
    /// When it last got an entry; -1 is never.
    pub active_ms: i64,
    pending: BTreeSet<StreamId>,
}

impl Consumer {
    /// Its name.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// The IDs of its pending entries.
    pub fn pending(&self) -> &BTreeSet<StreamId> {
        &self.pending
    }
}

/// A consumer group.
#[derive(Clone, Default)]
pub struct Group {
    /// The last entry that was delivered.
    pub last_id: StreamId,
    /// How many entries were read up to `last_id`, counted from the stream's very first; `None` is not known.
    pub entries_read: Option<u64>,
    pending: BTreeMap<StreamId, Nack>,
    consumers: Vec<Option<Consumer>>,
    names: BTreeMap<Box<[u8]>, u32>,
    /// The pending entries that belong to nobody, and when each was given back: the how-manieth of all.
    free: BTreeMap<StreamId, u64>,
    given_back: u64,
}

impl Group {
    /// A group that has read up to `last_id`.
    pub fn new(last_id: StreamId, entries_read: Option<u64>) -> Group {
        Group {
            last_id,
            entries_read,
            ..Group::default()
        }
    }

    /// The pending entries by ID.
    pub fn pending(&self) -> &BTreeMap<StreamId, Nack> {
        &self.pending
    }

    /// How many pending entries belong to nobody.
    pub fn free_len(&self) -> usize {
        self.free.len()
    }

    /// The pending entries of which `is_due` says that they may be taken: first those that were given back, in that
    /// order, then those that were delivered longest ago; `max` at most.
    pub fn claimable(
        &self,
        max: usize,
        mut is_due: impl FnMut(StreamId, &Nack) -> bool,
    ) -> Vec<(StreamId, Nack)> {
        let mut found: Vec<(StreamId, Nack)> = self
            .pending
            .iter()
            .filter(|(id, nack)| is_due(**id, nack))
            .map(|(id, nack)| (*id, *nack))
            .collect();
        let turn = |id: &StreamId| self.free.get(id).copied().unwrap_or(u64::MAX);
        found.sort_by_key(|(id, nack)| (turn(id), nack.delivered_ms, *id));
        found.truncate(max);
        found
    }

    /// The consumers by name, with their numbers.
    pub fn consumers(&self) -> impl ExactSizeIterator<Item = (u32, &Consumer)> {
        self.names.values().map(|index| {
            let consumer = self.consumers[*index as usize].as_ref();
            (*index, consumer.expect("a name leads to a consumer"))
        })
    }

    /// A consumer's number.
    pub fn find(&self, name: &[u8]) -> Option<u32> {
        self.names.get(name).copied()
    }

    /// The consumer of this number.
    pub fn consumer(&self, index: u32) -> Option<&Consumer> {
        self.consumers.get(index as usize)?.as_ref()
    }

    /// The consumer of this number, to change its times.
    pub fn consumer_mut(&mut self, index: u32) -> Option<&mut Consumer> {
        self.consumers.get_mut(index as usize)?.as_mut()
    }

    /// The name of a pending entry's consumer, empty if it belongs to nobody.
    pub fn owner_name(&self, nack: &Nack) -> &[u8] {
        self.consumer(nack.owner).map_or(b"", Consumer::name)
    }

    /// Adds a consumer that is not there; returns its number.
    pub fn add_consumer(&mut self, name: &[u8], now_ms: i64) -> u32 {
        let consumer = Consumer {
            name: name.into(),
            seen_ms: now_ms,
            active_ms: -1,
            pending: BTreeSet::new(),
        };
        let has_vacant = self.names.len() < self.consumers.len();
        let vacant = has_vacant.then(|| self.consumers.iter().position(Option::is_none));
        let vacant = vacant.flatten();
        let index = vacant.unwrap_or(self.consumers.len());
        match self.consumers.get_mut(index) {
            Some(slot) => *slot = Some(consumer),
            None => self.consumers.push(Some(consumer)),
        }
        self.names.insert(name.into(), index as u32);
        index as u32
    }

    /// Removes a consumer with its pending entries; says how many those were.
    pub fn remove_consumer(&mut self, name: &[u8]) -> Option<usize> {
        let index = self.names.remove(name)?;
        let consumer = self.consumers.get_mut(index as usize)?.take()?;
        for id in &consumer.pending {
            self.pending.remove(id);
        }
        Some(consumer.pending.len())
    }

    /// Makes an entry pending with `owner`, whoever had it before.
    pub fn assign(&mut self, id: StreamId, owner: u32, delivered_ms: i64, deliveries: u64) {
        let nack = Nack {
            delivered_ms,
            deliveries,
            owner,
        };
        let old = self.pending.insert(id, nack);
        if let Some(old) = old
            && old.owner != owner
        {
            self.disown(id, old.owner);
        }
        match self.consumer_mut(owner) {
            Some(consumer) => {
                consumer.pending.insert(id);
            }
            None => {
                self.given_back += 1;
                self.free.insert(id, self.given_back);
            }
        }
    }

    /// A pending entry was delivered again, to the same consumer.
    pub fn redeliver(&mut self, id: StreamId, now_ms: i64) {
        if let Some(nack) = self.pending.get_mut(&id) {
            nack.delivered_ms = now_ms;
            nack.deliveries = nack.deliveries.saturating_add(1);
        }
    }

    /// An entry is pending no more; says whether it was.
    pub fn acknowledge(&mut self, id: StreamId) -> bool {
        let Some(nack) = self.pending.remove(&id) else {
            return false;
        };
        self.disown(id, nack.owner);
        true
    }

    /// No entry before `first` is pending any more, or none at all; says how many were.
    pub fn acknowledge_before(&mut self, first: Option<StreamId>) -> usize {
        let mut gone = 0;
        while let Some((&id, _)) = self.pending.first_key_value()
            && first.is_none_or(|first| id < first)
        {
            self.acknowledge(id);
            gone += 1;
        }
        gone
    }

    fn disown(&mut self, id: StreamId, owner: u32) {
        match self.consumer_mut(owner) {
            Some(consumer) => {
                consumer.pending.remove(&id);
            }
            None => {
                self.free.remove(&id);
            }
        }
    }

    /// The group is given the entry `id` of `log`, which lies behind `last_id`.
    pub fn advance(&mut self, log: &Log, id: StreamId) {
        match &mut self.entries_read {
            Some(count) if self.last_id >= log.first_id() && !log.has_gap_from(self.last_id) => {
                *count += 1;
            }
            count if log.entries_added > 0 => *count = log.position_of(id),
            _ => {}
        }
        self.last_id = id;
    }

    /// How many entries the group has yet to read; `None` is not known. Less than none is what follows from an
    /// `entries_read` that was set too high.
    pub fn lag(&self, log: &Log) -> Option<i64> {
        if log.entries_added == 0 || log.is_empty() {
            return Some(0);
        }
        if self.last_id < log.first_id() && log.max_deleted_id < log.first_id() {
            return Some(log.len() as i64);
        }
        let read = match self.entries_read {
            Some(count) if !log.has_gap_from(self.last_id) => Some(count),
            _ => log.position_of(self.last_id),
        };
        read.map(|read| log.entries_added.wrapping_sub(read) as i64)
    }

    /// Bytes that the group takes, about.
    pub fn memory_bytes(&self) -> usize {
        let free = self.free.len() * size_of::<(StreamId, u64)>();
        let pending = self.pending.len() * (size_of::<StreamId>() * 2 + size_of::<Nack>()) + free;
        let consumers = self.consumers.capacity() * size_of::<Option<Consumer>>();
        let names: usize = self.names.keys().map(|name| 2 * name.len() + 32).sum();
        pending + consumers + names
    }
}

impl Log {
    /// Whether an entry was deleted by itself at or behind `start`.
    pub fn has_gap_from(&self, start: StreamId) -> bool {
        !self.is_empty()
            && !self.max_deleted_id.is_zero()
            && self.first_id() <= self.max_deleted_id
            && start <= self.max_deleted_id
    }

    /// The how-manieth entry of all that ever were this is, as far as that can be told.
    pub fn position_of(&self, id: StreamId) -> Option<u64> {
        if self.entries_added == 0 {
            return Some(0);
        }
        if self.is_empty() && id <= self.last_id {
            return Some(self.entries_added);
        }
        if !id.is_zero() && id < self.max_deleted_id {
            return None;
        }
        if id == self.last_id {
            return Some(self.entries_added);
        }
        if id > self.last_id {
            return None;
        }
        let is_whole = self.max_deleted_id.is_zero() || self.max_deleted_id < self.first_id();
        let before = self.entries_added.wrapping_sub(self.len());
        match id.cmp(&self.first_id()) {
            std::cmp::Ordering::Less if is_whole => Some(before),
            std::cmp::Ordering::Equal if is_whole => Some(before + 1),
            _ => None,
        }
    }
}
