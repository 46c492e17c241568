//! Log: the entries of a stream, in blocks by ID, and what is remembered of those that are gone.
//!
//! Blocks are added behind the last and vanish mostly at the front, so a ring of them, searched by halves, finds,
//! adds and trims without a tree. Lives here: entries. May not: groups, which entries outlive.
//!
//! Invariants:
//! 1. Blocks are in the order of their first IDs; every entry of a block lies before the first of the next.
//! 2. No block is without entries; `len` is the number of all.
//! 3. `first_id` is the ID of the first entry, or 0-0 without any.

use std::collections::VecDeque;

use super::block::{Block, Pairs, Spot};
use super::id::StreamId;
use super::radix;

/// How large blocks may become, as `stream-node-max-bytes` and `stream-node-max-entries` say; 0 is no limit.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bytes: usize,
    pub entries: usize,
}

/// No block and no entry passes this size.
pub const BYTES_MAX: usize = 1 << 30;

/// The entries of a stream.
#[derive(Clone, Default)]
pub struct Log {
    blocks: VecDeque<Block>,
    len: u64,
    /// The greatest ID ever given, whether or not its entry is still there.
    pub last_id: StreamId,
    first_id: StreamId,
    /// The greatest ID that was deleted by itself, not trimmed; 0-0 if none was.
    pub max_deleted_id: StreamId,
    /// How many entries there ever were.
    pub entries_added: u64,
}

/// An entry as iterators find it.
#[derive(Clone, Copy)]
pub struct Entry<'a> {
    block: &'a Block,
    spot: Spot,
}

impl<'a> Entry<'a> {
    /// Its ID.
    #[inline]
    pub fn id(&self) -> StreamId {
        self.spot.id
    }

    /// How many fields it has.
    #[inline]
    pub fn len(&self) -> usize {
        self.spot.fields
    }

    /// Whether it has no field, which a loaded one may.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its fields and values.
    #[inline]
    pub fn pairs(&self) -> Pairs<'a> {
        self.block.pairs(&self.spot)
    }
}

/// What is trimmed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keep {
    /// The newest so many entries stay.
    Newest(u64),
    /// Entries from this ID on stay.
    From(StreamId),
}

impl Log {
    /// Drops up to `budget` blocks of a log that nobody will use again; returns how many.
    pub fn free_some(&mut self, budget: usize) -> usize {
        let blocks = self.blocks.len().min(budget);
        self.blocks.truncate(self.blocks.len() - blocks);
        blocks
    }

    /// Whether `free_some` has dropped all blocks.
    pub fn is_freed(&self) -> bool {
        self.blocks.is_empty()
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The ID of the first entry, or 0-0.
    #[inline]
    pub fn first_id(&self) -> StreamId {
        self.first_id
    }

    /// The blocks in order.
    pub fn blocks(&self) -> impl ExactSizeIterator<Item = &Block> {
        self.blocks.iter()
    }

    /// How many nodes a radix tree over the blocks' first IDs has, which XINFO STREAM shows.
    pub fn radix_nodes(&self) -> usize {
        radix::count_nodes(self.blocks.iter().map(|block| block.first().to_bytes()))
    }

    /// Bytes that the entries take.
    pub fn memory_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(Block::memory_bytes).sum();
        blocks + self.blocks.capacity() * size_of::<Block>()
    }

    /// Adds an entry; `id` is greater than `last_id`.
    pub fn push<'a>(
        &mut self,
        id: StreamId,
        pairs: impl Iterator<Item = (&'a [u8], &'a [u8])> + Clone,
        limits: Limits,
    ) {
        let added: usize = pairs
            .clone()
            .map(|(field, value)| field.len() + value.len())
            .sum();
        let bytes_max = match limits.bytes {
            1..BYTES_MAX => limits.bytes,
            _ => BYTES_MAX,
        };
        let is_full = |block: &Block| {
            block.byte_len() + added >= bytes_max
                || (limits.entries > 0 && block.len() + block.deleted() >= limits.entries)
        };
        match self.blocks.back_mut() {
            Some(block) if !is_full(block) => block.push(id, pairs, bytes_max),
            last => {
                if let Some(block) = last {
                    block.close();
                }
                let mut block = Block::new(id, pairs.clone());
                block.push(id, pairs, bytes_max);
                self.blocks.push_back(block);
            }
        }
        self.entries_added += 1;
        self.last_id = id;
        if self.len == 0 {
            self.first_id = id;
        }
        self.len += 1;
    }

    /// Adds a block from outside behind the last; says whether it fits there.
    pub fn push_block(&mut self, block: Block) -> bool {
        let begin = block.spot(block.begin()).map(|spot| spot.id);
        let last = self.blocks.back().and_then(|last| {
            let at = last.before(last.end())?;
            last.spot(at).map(|spot| spot.id)
        });
        if begin.is_none_or(|begin| begin < block.first())
            || last.is_some_and(|last| last >= block.first())
        {
            return false;
        }
        self.len += block.len() as u64;
        self.blocks.push_back(block);
        if self.blocks.len() == 1 {
            self.first_id = self.edge_id(false);
        }
        true
    }

    /// The number of the block in which `id` is, if it is anywhere.
    #[inline]
    fn block_of(&self, id: StreamId) -> Option<usize> {
        match self.blocks.back() {
            Some(last) if last.first() <= id => Some(self.blocks.len() - 1),
            _ => self
                .blocks
                .partition_point(|block| block.first() <= id)
                .checked_sub(1),
        }
    }

    /// Where the entry of this ID lies.
    fn find(&self, id: StreamId) -> Option<(usize, Spot)> {
        let index = self.block_of(id)?;
        let block = &self.blocks[index];
        let mut at = block.begin();
        while let Some(spot) = block.spot(at) {
            if spot.id >= id {
                return (spot.id == id && !spot.is_deleted()).then_some((index, spot));
            }
            at = block.behind(&spot);
        }
        None
    }

    /// Whether there is an entry of this ID.
    pub fn contains(&self, id: StreamId) -> bool {
        self.find(id).is_some()
    }

    /// The entry of this ID.
    pub fn get(&self, id: StreamId) -> Option<Entry<'_>> {
        let (index, spot) = self.find(id)?;
        let block = &self.blocks[index];
        Some(Entry { block, spot })
    }

    /// The entries from `start` to `end`, both included, in order.
    pub fn range(&self, start: StreamId, end: StreamId) -> Range<'_> {
        let block = self.block_of(start).unwrap_or(0);
        Range {
            log: self,
            block,
            at: self.blocks.get(block).map_or(0, Block::begin),
            start,
            end,
        }
    }

    /// The entries from `end` down to `start`, both included.
    pub fn range_back(&self, start: StreamId, end: StreamId) -> RangeBack<'_> {
        let block = self.block_of(end);
        RangeBack {
            log: self,
            at: block.map_or(0, |index| self.blocks[index].end()),
            block,
            start,
            end,
        }
    }

    /// The ID of the first or last entry, or 0-0.
    pub fn edge_id(&self, last: bool) -> StreamId {
        let entry = match last {
            true => self.range_back(StreamId::MIN, StreamId::MAX).next(),
            false => self.range(StreamId::MIN, StreamId::MAX).next(),
        };
        entry.map_or(StreamId::MIN, |entry| entry.id())
    }

    /// Removes the entry of this ID; says whether it was there. The caller minds `max_deleted_id`.
    pub fn delete(&mut self, id: StreamId) -> bool {
        let Some((index, spot)) = self.find(id) else {
            return false;
        };
        self.blocks[index].mark_deleted(&spot);
        self.settle(index, 1);
        self.restore_first(id);
        true
    }

    /// Counts entries of a block that were marked, and drops it if none is left; says whether it was dropped.
    fn settle(&mut self, index: usize, marked: usize) -> bool {
        let block = &mut self.blocks[index];
        self.len -= marked as u64;
        if block.len() <= marked {
            self.blocks.remove(index);
            return true;
        }
        if marked > 0 {
            block.count_deleted(marked);
        }
        false
    }

    /// After `id` went: whether it was the first is seen from its place.
    fn restore_first(&mut self, id: StreamId) {
        if id == self.first_id || self.len == 0 {
            self.first_id = self.edge_id(false);
        }
    }

    /// Removes entries from the front, for which `may_go` answers and does what else has to be done, until
    /// `keep` is reached. With `whole_blocks` a block goes whole or not at all, and the work ends before more than
    /// `budget` entries are gone, unless that is 0. Returns how many went.
    ///
    /// `may_go` is `None` where every entry may go without further ado.
    pub fn trim(
        &mut self,
        keep: Keep,
        whole_blocks: bool,
        budget: u64,
        mut may_go: Option<&mut dyn FnMut(StreamId) -> bool>,
    ) -> u64 {
        let mut gone = 0;
        let mut index = 0;
        while let Some(block) = self.blocks.get(index) {
            let entries = block.len() as u64;
            if matches!(keep, Keep::Newest(len) if self.len <= len)
                || (budget > 0 && gone + entries > budget)
            {
                break;
            }
            let is_spare = match keep {
                Keep::Newest(len) => self.len - entries >= len,
                Keep::From(id) => block
                    .before(block.end())
                    .and_then(|at| block.spot(at))
                    .is_some_and(|spot| spot.id < id),
            };
            if is_spare && may_go.is_none() {
                self.blocks.remove(index);
                self.len -= entries;
                gone += entries;
                continue;
            }
            if whole_blocks && !is_spare {
                break;
            }
            let (marked, reached) = self.trim_block(index, keep, &mut may_go);
            gone += marked as u64;
            if !self.settle(index, marked) {
                index += 1;
            }
            if reached {
                break;
            }
        }
        if gone > 0 {
            self.first_id = self.edge_id(false);
        }
        gone
    }

    /// Marks entries of one block; says how many and whether `keep` is reached.
    fn trim_block(
        &mut self,
        index: usize,
        keep: Keep,
        may_go: &mut Option<&mut dyn FnMut(StreamId) -> bool>,
    ) -> (usize, bool) {
        let block = &mut self.blocks[index];
        let mut marked = 0;
        let mut at = block.begin();
        while let Some(spot) = block.spot(at) {
            let is_reached = match keep {
                Keep::Newest(len) => self.len - marked as u64 <= len,
                Keep::From(id) => spot.id >= id,
            };
            if is_reached {
                return (marked, true);
            }
            if !spot.is_deleted() && may_go.as_mut().is_none_or(|may_go| may_go(spot.id)) {
                block.mark_deleted(&spot);
                marked += 1;
            }
            at = block.behind(&spot);
        }
        (marked, false)
    }
}

/// Entries in order.
pub struct Range<'a> {
    log: &'a Log,
    block: usize,
    at: usize,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for Range<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let block = self.log.blocks.get(self.block)?;
            let Some(spot) = block.spot(self.at) else {
                self.block += 1;
                self.at = self.log.blocks.get(self.block)?.begin();
                continue;
            };
            if spot.id > self.end {
                return None;
            }
            self.at = block.behind(&spot);
            if spot.id >= self.start && !spot.is_deleted() {
                return Some(Entry { block, spot });
            }
        }
    }
}

/// Entries in the opposite order.
pub struct RangeBack<'a> {
    log: &'a Log,
    block: Option<usize>,
    at: usize,
    start: StreamId,
    end: StreamId,
}

impl<'a> Iterator for RangeBack<'a> {
    type Item = Entry<'a>;

    fn next(&mut self) -> Option<Entry<'a>> {
        loop {
            let index = self.block?;
            let block = self.log.blocks.get(index)?;
            let Some(at) = block.before(self.at) else {
                self.block = index.checked_sub(1);
                self.at = self.log.blocks.get(self.block?)?.end();
                continue;
            };
            let spot = block.spot(at)?;
            if spot.id < self.start {
                self.block = None;
                return None;
            }
            self.at = at;
            if spot.id <= self.end && !spot.is_deleted() {
                return Some(Entry { block, spot });
            }
        }
    }
}
