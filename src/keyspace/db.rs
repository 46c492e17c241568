//! Db: one numbered database, a table of entries.
//!
//! Lives here: the table, the count of keys with a deadline, the cursor of the expire cycle, the order in which
//! hashes have fields to lose, and the part of a snapshot that sees to it that nothing changes unsaved. May not:
//! effects, statistics, replies (`state::keys` adds these), the format of a snapshot.
//!
//! A snapshot shows the data as it was when it began. Each entry has an epoch bit. It agrees with the database's for
//! all entries while no snapshot runs; a snapshot begins by turning the database's bit, and an entry that is saved has
//! its own turned too. Every change reaches an entry through [`Db::get_mut`], [`Db::remove`] or [`Db::set_expire`],
//! which save it first if that was not done; what is new is marked as saved. So the walk through the table may
//! take its time.

use std::collections::BTreeSet;

use crate::keyspace::entry::Entry;
use crate::keyspace::object::{Hash, ObjectRef};
use crate::keyspace::saving::{Saving, Walk};
use crate::keyspace::table::{Element, HashSeed, Table};

/// What one more sample leaves of the mean time to live, and after how many samples nothing is left.
const TTL_KEEP: f64 = 0.98;
const TTL_SAMPLES_MAX: u64 = 1000;

/// One database.
pub struct Db {
    pub table: Table<Entry>,
    /// Keys that have a deadline.
    volatile: usize,
    /// The soonest deadline of a field, and the key's hash, of each key that holds a hash with such fields.
    field_deadlines: BTreeSet<(i64, u64)>,
    /// Where the expire cycle goes on.
    pub expire_cursor: u64,
    /// Where the search for keys to evict goes on, if few of them have a deadline and only those may go.
    pub evict_cursor: u64,
    /// Mean time to live of the keys that the expire cycle saw lately, in milliseconds.
    pub avg_ttl_ms: i64,
    /// What the epoch bit of entries is that a running snapshot has, or that no snapshot runs.
    epoch: bool,
    /// The snapshot's part here, until it has all of this database.
    saving: Option<Box<Saving>>,
    /// A snapshot was given up, so entries' bits do not agree.
    is_mixed: bool,
}

impl Db {
    /// An empty database.
    pub fn new(seed: HashSeed) -> Db {
        Db {
            table: Table::new(seed),
            volatile: 0,
            field_deadlines: BTreeSet::new(),
            expire_cursor: 0,
            evict_cursor: 0,
            avg_ttl_ms: 0,
            epoch: false,
            saving: None,
            is_mixed: false,
        }
    }

    /// An empty database in the place of this one, which a snapshot may still be at.
    pub fn successor(&self) -> Db {
        Db {
            epoch: self.epoch,
            ..Db::new(*self.table.seed())
        }
    }

    /// How many keys there are, those expired and not yet removed included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.table.len() == 0
    }

    /// Whether there is no key, nor memory or a snapshot's note of keys that there were.
    #[inline]
    pub fn is_untouched(&self) -> bool {
        self.is_empty() && self.saving.is_none() && self.table.memory_bytes() == 0
    }

    /// How many keys have a deadline.
    #[inline]
    pub fn volatile_len(&self) -> usize {
        self.volatile
    }

    /// The entry of a key.
    #[inline]
    pub fn get(&self, hash: u64, key: &[u8]) -> Option<&Entry> {
        self.table.find(hash, key)
    }

    /// The entry of a key, to be changed; the deadline only by [`Db::set_expire`].
    #[inline]
    pub fn get_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        if self.saving.is_some() {
            self.keep(hash, key);
        }
        self.table.find_mut(hash, key)
    }

    /// The entry of a key, of which nothing is to be changed but the time of its last use.
    #[inline]
    pub fn get_used(&mut self, hash: u64, key: &[u8]) -> Option<&mut Entry> {
        self.table.find_mut(hash, key)
    }

    /// Adds the entry of a key that is not there.
    #[inline]
    pub fn insert(&mut self, hash: u64, mut entry: Entry) {
        entry.set_epoch(self.epoch);
        self.volatile += usize::from(entry.is_volatile());
        if let Some(deadline) = first_field_deadline(&entry) {
            self.field_deadlines.insert((deadline, hash));
        }
        self.table.insert(hash, entry);
    }

    /// Takes a key out.
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<Entry> {
        if self.saving.is_some() {
            self.keep(hash, key);
        }
        let entry = self.table.remove(hash, key)?;
        self.volatile -= usize::from(entry.is_volatile());
        if let Some(deadline) = first_field_deadline(&entry) {
            self.field_deadlines.remove(&(deadline, hash));
        }
        Some(entry)
    }

    /// How many keys hold a hash in which fields have deadlines.
    pub fn field_volatile_len(&self) -> usize {
        self.field_deadlines.len()
    }

    /// The soonest of a hash's field deadlines has changed in place.
    #[inline]
    pub fn move_field_deadline(&mut self, hash: u64, before: Option<i64>, after: Option<i64>) {
        if before == after {
            return;
        }
        if let Some(deadline) = before {
            self.field_deadlines.remove(&(deadline, hash));
        }
        if let Some(deadline) = after {
            self.field_deadlines.insert((deadline, hash));
        }
    }

    /// The hash that has the field with the soonest deadline, if that lies before `horizon_ms`.
    pub fn first_due_hash(&mut self, horizon_ms: i64) -> Option<&Entry> {
        loop {
            let (deadline, hash) = *self.field_deadlines.first()?;
            if deadline >= horizon_ms {
                return None;
            }
            let is_it = |entry: &Entry| first_field_deadline(entry) == Some(deadline);
            if self.table.find_by_hash(hash, is_it).is_some() {
                return self.table.find_by_hash(hash, is_it);
            }
            // Two keys with the same hash and the same deadline had one place between them.
            self.field_deadlines.remove(&(deadline, hash));
        }
    }

    /// Takes `samples` more times to live into the mean, `sum_ms` together; older ones fade.
    pub fn sample_ttl(&mut self, sum_ms: i64, samples: u64) {
        if samples == 0 {
            return;
        }
        let mean = sum_ms / i64::try_from(samples).unwrap_or(i64::MAX);
        if self.avg_ttl_ms == 0 {
            self.avg_ttl_ms = mean;
            return;
        }
        // A loop of multiplications comes out the same on every platform, which `powi` does not promise.
        let keep = (0..samples.min(TTL_SAMPLES_MAX)).fold(1.0, |keep, _| keep * TTL_KEEP);
        self.avg_ttl_ms = mean + ((self.avg_ttl_ms - mean) as f64 * keep) as i64;
    }

    /// Gives a key a deadline, another one, or none. Says whether the key is there.
    pub fn set_expire(&mut self, hash: u64, key: &[u8], deadline_ms: Option<i64>) -> bool {
        let Some(entry) = self.get_mut(hash, key) else {
            return false;
        };
        let before = entry.is_volatile();
        entry.set_expire(deadline_ms);
        let after = entry.is_volatile();
        self.volatile = self.volatile + usize::from(after) - usize::from(before);
        true
    }
}

/// The part of a snapshot.
impl Db {
    /// A snapshot begins, for which this database has nothing, being empty.
    pub fn skip_saving(&mut self) {
        debug_assert!(self.is_empty());
        self.epoch = !self.epoch;
        self.is_mixed = false;
    }

    /// Begins a snapshot of this database. The bits must agree ([`Db::mend_epochs`]).
    pub fn begin_saving(&mut self, saving: Saving) {
        debug_assert!(!self.is_mixed && self.saving.is_none());
        self.epoch = !self.epoch;
        self.saving = Some(Box::new(saving));
    }

    /// What the running snapshot has of this database.
    pub fn saving(&mut self) -> Option<&mut Saving> {
        self.saving.as_deref_mut()
    }

    /// Whether a snapshot is not through with this database.
    pub fn is_saving(&self) -> bool {
        self.saving.is_some()
    }

    /// The number that this database had when the running snapshot began.
    pub fn saving_of(&self) -> Option<u32> {
        self.saving.as_ref().map(|saving| saving.dbid)
    }

    /// How many of the keys a running snapshot has.
    pub fn saved_keys(&self) -> Option<usize> {
        self.saving.as_ref().map(|saving| saving.keys)
    }

    /// Saves the next entries, `limit` bounds how much; says whether all are saved now.
    pub fn save_some(&mut self, limit: &mut Walk) -> bool {
        match &mut self.saving {
            Some(saving) => saving.walk(&mut self.table, self.epoch, limit),
            None => true,
        }
    }

    /// Ends the snapshot's part here, whether it has everything or is given up.
    pub fn end_saving(&mut self) -> Option<Box<Saving>> {
        let saving = self.saving.take()?;
        self.is_mixed = !saving.is_through();
        Some(saving)
    }

    /// Makes entries' bits agree again, `buckets` of the table at most from `cursor` on; returns the next cursor, 0 at
    /// the end. The cursor is 0 at the start too.
    pub fn mend_epochs(&mut self, mut cursor: u64, buckets: usize) -> u64 {
        if !self.is_mixed {
            return 0;
        }
        let epoch = self.epoch;
        for _ in 0..buckets {
            cursor = self
                .table
                .scan_mut(cursor, &mut |entry| entry.set_epoch(epoch));
            if cursor == 0 {
                self.is_mixed = false;
                return 0;
            }
        }
        cursor
    }

    /// A change is about to reach this key: a snapshot that has not saved it does so first.
    #[cold]
    fn keep(&mut self, hash: u64, key: &[u8]) {
        if let Some(saving) = &mut self.saving
            && let Some(entry) = self.table.find_mut(hash, key)
        {
            saving.keep(entry, self.epoch);
        }
    }
}

/// The soonest deadline of a field, if the entry holds a hash that has some.
#[inline]
fn first_field_deadline(entry: &Entry) -> Option<i64> {
    match entry.object()? {
        ObjectRef::Hash(hash) => Hash::min_deadline(hash),
        _ => None,
    }
}
