//! Stats: what a table takes, and how long its chains are.

use super::bucket::{Array, Bucket};
use super::{Element, Table};

/// Classes of the histogram in [`ArrayStats`]; the last one also counts everything longer.
pub const CHAIN_CLASSES: usize = 32;

/// What DEBUG HTSTATS tells of one array.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ArrayStats {
    pub buckets: usize,
    pub len: usize,
    pub overflow_buckets: usize,
    /// Elements in the longest chain.
    pub chain_len_max: usize,
    /// How many chains hold `i` elements; the last class also counts all longer ones.
    pub chains_by_len: [usize; CHAIN_CLASSES],
}

impl<E: Element> Table<E> {
    /// Bytes that buckets and directories take, without the elements behind the handles.
    pub fn memory_bytes(&self) -> usize {
        let arrays: usize = self.arrays.iter().map(Array::memory_bytes).sum();
        arrays + self.overflow * size_of::<Bucket<E>>()
    }

    /// Buckets of both arrays, chained ones left out; the second is 0 when no rehash runs.
    pub fn bucket_counts(&self) -> (usize, usize) {
        let first = if self.arrays[0].bits == 0 && self.arrays[0].chunks == 0 {
            0
        } else {
            self.arrays[0].buckets()
        };
        (
            first,
            if self.rehashing {
                self.arrays[1].buckets()
            } else {
                0
            },
        )
    }

    /// Chain lengths of both arrays, the second only while a rehash runs. Walks the whole table.
    pub fn stats(&self) -> (ArrayStats, Option<ArrayStats>) {
        (
            self.array_stats(0),
            self.rehashing.then(|| self.array_stats(1)),
        )
    }

    fn array_stats(&self, which: usize) -> ArrayStats {
        let array = &self.arrays[which];
        let first = if which == 0 { self.migrated } else { 0 };
        let mut stats = ArrayStats {
            buckets: array.buckets(),
            len: 0,
            overflow_buckets: 0,
            chain_len_max: 0,
            chains_by_len: [0; CHAIN_CLASSES],
        };
        stats.chains_by_len[0] = first;
        for index in first..array.buckets() {
            let head = array.bucket(index);
            let chain_len = self.chain(head).count();
            stats.len += chain_len;
            stats.overflow_buckets += self.chain_buckets(head).count().saturating_sub(1);
            stats.chain_len_max = stats.chain_len_max.max(chain_len);
            stats.chains_by_len[chain_len.min(CHAIN_CLASSES - 1)] += 1;
        }
        stats
    }
}
