//! Garbage: what was removed and is given back to memory a piece at a time.
//!
//! Lives here: the queue of large values and flushed databases, and the work of one piece. May not: decide what is
//! removed lazily (callers), when a piece is due (`engine::tick`).

use std::collections::VecDeque;

use super::entry::Entry;
use super::object::Object;
use super::table::Table;

/// Values with no more elements than this are freed at once: a place in the queue would cost as much.
const SMALL: usize = 64;

enum Heap {
    Keys(Table<Entry>),
    Object(Object),
}

/// Removed values and databases, the oldest first.
#[derive(Default)]
pub struct Garbage {
    /// Each with the number of its coming; what is found inside of one has the same.
    heaps: VecDeque<(u64, Heap)>,
    /// The number of the last that came.
    last: u64,
}

impl Garbage {
    /// Whether nothing is left to free.
    pub fn is_empty(&self) -> bool {
        self.heaps.is_empty()
    }

    /// How many keys' values are left to free.
    pub fn len(&self) -> usize {
        let lens = self.heaps.iter().map(|(_, heap)| match heap {
            Heap::Keys(table) => table.len(),
            Heap::Object(_) => 1,
        });
        lens.sum()
    }

    /// Takes a removed entry; a small one is freed on the spot.
    pub fn add_entry(&mut self, entry: Entry) {
        self.last += 1;
        self.add_numbered(self.last, entry);
    }

    fn add_numbered(&mut self, number: u64, entry: Entry) {
        if entry.object().is_some_and(|object| object.len() > SMALL)
            && let Some(object) = entry.into_object()
        {
            self.heaps.push_back((number, Heap::Object(object)));
        }
    }

    /// Stands for all that has come so far.
    pub fn mark(&self) -> u64 {
        self.last
    }

    /// Whether all that had come at a mark is freed.
    pub fn is_freed_up_to(&self, mark: u64) -> bool {
        self.heaps.iter().all(|(number, _)| *number > mark)
    }

    /// Takes the table of a database that was emptied.
    pub fn add_keys(&mut self, table: Table<Entry>) {
        if !table.is_empty() {
            self.last += 1;
            self.heaps.push_back((self.last, Heap::Keys(table)));
        }
    }

    /// Frees about `budget` keys and elements; returns how many values are gone by it.
    pub fn free_some(&mut self, budget: usize) -> usize {
        let (mut left, mut gone) = (budget, 0);
        while left > 0
            && let Some((number, mut heap)) = self.heaps.pop_front()
        {
            let is_done = match &mut heap {
                Heap::Keys(table) => {
                    let before = self.heaps.len();
                    let freed =
                        table.drain_some(left, &mut |entry| self.add_numbered(number, entry));
                    gone += freed - (self.heaps.len() - before);
                    left -= freed.min(left);
                    table.is_empty()
                }
                Heap::Object(object) => {
                    left -= object.free_some(left).clamp(1, left);
                    object.is_freed()
                }
            };
            match (is_done, heap) {
                (false, heap) => self.heaps.push_front((number, heap)),
                (true, Heap::Object(_)) => gone += 1,
                (true, Heap::Keys(_)) => {}
            }
        }
        gone
    }
}
