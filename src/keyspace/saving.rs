//! Saving: what a running snapshot has of one database.
//!
//! Lives here: the walk through the table in bounded pieces, and the saving of an entry that is about to change. May
//! not: know the format; a function that it is given writes entries.
//!
//! What was saved waits in `out`, in the order of the file. While a large value lies there in part, other entries go
//! to `aside`, which follows when the value is complete.

use super::entry::Entry;
use super::table::Table;
use super::usage::UsageClock;

/// Writes an entry, or a piece of it from a position until the buffer is so long; returns where it goes on, or nothing
/// at the end.
pub type EncodeEntry = fn(&Entry, &Style, u64, usize, &mut Vec<u8>) -> Option<u64>;

/// What entries are to be written with.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Long strings are compressed.
    pub packs: bool,
    /// The clock by which idle times are told, when they are to be saved.
    pub idle_since: Option<u32>,
    /// The clock by which access frequencies are told, when they are to be saved.
    pub frequency_clock: Option<UsageClock>,
}

/// How much a piece of the walk may do.
#[derive(Clone, Copy, Debug)]
pub struct Walk {
    pub keys: usize,
    pub bytes: usize,
    /// Buckets looked at, so that a table with little in it has an end too.
    pub buckets: usize,
}

struct Partial {
    key: Box<[u8]>,
    at: u64,
}

/// The snapshot's part in a database.
pub struct Saving {
    /// The database's number when the snapshot began.
    pub dbid: u32,
    /// How many keys were saved.
    pub keys: usize,
    style: Style,
    encode: EncodeEntry,
    out: Vec<u8>,
    aside: Vec<u8>,
    partial: Option<Partial>,
    cursor: u64,
    is_walked: bool,
}

impl Saving {
    /// At the start of a snapshot.
    pub fn new(dbid: u32, style: Style, encode: EncodeEntry) -> Saving {
        Saving {
            dbid,
            keys: 0,
            style,
            encode,
            out: Vec::new(),
            aside: Vec::new(),
            partial: None,
            cursor: 0,
            is_walked: false,
        }
    }

    /// Whether every entry is saved.
    pub fn is_through(&self) -> bool {
        self.is_walked && self.partial.is_none()
    }

    /// Whether a value lies in `out` in part, so that nothing of another database may come behind it.
    pub fn is_within_value(&self) -> bool {
        self.partial.is_some()
    }

    /// Takes what was saved.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// How much waits to be taken.
    pub fn len(&self) -> usize {
        self.out.len() + self.aside.len()
    }

    /// Whether nothing waits to be taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Saves an entry as it is, before it changes.
    pub fn keep(&mut self, entry: &mut Entry, epoch: bool) {
        if let Some(partial) = &self.partial
            && *partial.key == *entry.key()
        {
            let from = partial.at;
            (self.encode)(entry, &self.style, from, usize::MAX, &mut self.out);
            self.end_value();
        } else if entry.epoch() != epoch {
            entry.set_epoch(epoch);
            self.keys += 1;
            let out = match self.partial {
                Some(_) => &mut self.aside,
                None => &mut self.out,
            };
            (self.encode)(entry, &self.style, 0, usize::MAX, out);
        }
    }

    /// Saves the next entries; says whether all are saved now.
    pub(super) fn walk(&mut self, table: &mut Table<Entry>, epoch: bool, limit: &mut Walk) -> bool {
        while !self.is_through() && limit.keys > 0 && limit.bytes > 0 && limit.buckets > 0 {
            if self.partial.is_some() {
                self.go_on(table, limit);
                continue;
            }
            limit.buckets -= 1;
            let mut is_left = false;
            let next = table.scan_mut(self.cursor, &mut |entry| {
                if entry.epoch() == epoch {
                    return;
                }
                // What does not fit any more is found again by the same cursor.
                if self.partial.is_some() || limit.keys == 0 {
                    is_left = true;
                    return;
                }
                self.start(entry, epoch, limit);
            });
            if !is_left {
                self.cursor = next;
                self.is_walked = next == 0;
            }
        }
        self.is_through()
    }

    fn start(&mut self, entry: &mut Entry, epoch: bool, limit: &mut Walk) {
        entry.set_epoch(epoch);
        self.keys += 1;
        limit.keys -= 1;
        let before = self.out.len();
        let stop_at = before.saturating_add(limit.bytes);
        let at = (self.encode)(entry, &self.style, 0, stop_at, &mut self.out);
        limit.bytes = limit.bytes.saturating_sub(self.out.len() - before);
        if let Some(at) = at {
            let key = entry.key().into();
            self.partial = Some(Partial { key, at });
        }
    }

    /// Goes on with the value that is saved in part.
    fn go_on(&mut self, table: &Table<Entry>, limit: &mut Walk) {
        let Some(partial) = &mut self.partial else {
            return;
        };
        let before = self.out.len();
        let stop_at = before.saturating_add(limit.bytes);
        let hash = table.hash(&partial.key);
        // It is there: whoever takes it out or changes it completes it first.
        let at = table.find(hash, &partial.key).and_then(|entry| {
            (self.encode)(entry, &self.style, partial.at, stop_at, &mut self.out)
        });
        match at {
            Some(at) => partial.at = at,
            None => self.end_value(),
        }
        limit.bytes = limit.bytes.saturating_sub(self.out.len() - before);
    }

    fn end_value(&mut self) {
        self.partial = None;
        self.out.append(&mut self.aside);
    }
}
