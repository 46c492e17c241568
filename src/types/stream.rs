//! Stream: entries that are only added at the end, and groups of consumers that work through them.
//!
//! Lives here: the parts together. May not: commands, clocks, replies.

pub mod block;
pub mod group;
pub mod id;
pub mod idempotence;
pub mod log;
pub mod radix;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

pub use block::Block;
pub use group::{Consumer, Group, NOBODY, Nack};
pub use id::{ID_TEXT_MAX, StreamId};
pub use idempotence::Producers;
pub use log::{Entry, Keep, Limits, Log};

/// A stream.
#[derive(Clone, Default)]
pub struct Stream {
    pub log: Log,
    pub groups: BTreeMap<Box<[u8]>, Group>,
    /// What was sent with an idempotent ID; streams that never saw one have none.
    pub producers: Option<Box<Producers>>,
}

/// What becomes of the entries that groups refer to when they are to be removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum References {
    /// Pending entries stay in the groups.
    #[default]
    Keep,
    /// They go from all groups too.
    Remove,
    /// Entries stay that a group has not read or not acknowledged.
    Respect,
}

/// What a trim removed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Trimmed {
    pub entries: u64,
    /// What was pending in groups.
    pub references: usize,
}

impl Stream {
    /// Removes the entry `id`, and reports whether it was there.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let is_deleted = self.log.delete(id);
        if is_deleted && id > self.log.max_deleted_id {
            self.log.max_deleted_id = id;
        }
        is_deleted
    }

    /// Whether a group has yet to read or to acknowledge the entry.
    pub fn is_referenced(&self, id: StreamId) -> bool {
        is_referenced(&self.groups, id)
    }

    /// Makes every group forget a pending entry.
    pub fn remove_references(&mut self, id: StreamId) {
        remove_references(&mut self.groups, id);
    }

    /// Removes entries from the front; see [`Log::trim`]. When references are to go, nothing before the first entry
    /// that is left is pending any more, what was deleted before included.
    pub fn trim(
        &mut self,
        keep: Keep,
        whole_blocks: bool,
        budget: u64,
        references: References,
    ) -> Trimmed {
        let groups = &mut self.groups;
        let mut may_go = |id| !is_referenced(groups, id);
        let may_go: Option<&mut dyn FnMut(StreamId) -> bool> = match references {
            References::Respect => Some(&mut may_go),
            _ => None,
        };
        let entries = self.log.trim(keep, whole_blocks, budget, may_go);
        let mut dropped = 0;
        if references == References::Remove {
            let first = (!self.log.is_empty()).then(|| self.log.first_id());
            let groups = self.groups.values_mut();
            dropped = groups.map(|group| group.acknowledge_before(first)).sum();
        }
        Trimmed {
            entries,
            references: dropped,
        }
    }

    /// Bytes that the stream takes.
    pub fn memory_bytes(&self) -> usize {
        let groups = self
            .groups
            .iter()
            .map(|(name, group)| name.len() + size_of::<Group>() + group.memory_bytes());
        let producers = self.producers.as_ref();
        size_of::<Stream>()
            + self.log.memory_bytes()
            + groups.sum::<usize>()
            + producers.map_or(0, |producers| producers.memory_bytes())
    }
}

fn is_referenced(groups: &BTreeMap<Box<[u8]>, Group>, id: StreamId) -> bool {
    let is_due = |group: &Group| group.last_id < id || group.pending().contains_key(&id);
    groups.values().any(is_due)
}

fn remove_references(groups: &mut BTreeMap<Box<[u8]>, Group>, id: StreamId) {
    for group in groups.values_mut() {
        group.acknowledge(id);
    }
}
