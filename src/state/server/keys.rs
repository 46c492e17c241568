//! Keys: every access of a command to the data goes through here.
//!
//! Lookups honour deadlines and count hits and misses; every change is reported by [`Server::touch`].

use bytes::Bytes;

use crate::config::KeyspaceEvents;
use crate::keyspace::db::Db;
use crate::keyspace::entry::{Entry, Kind, SHARED_MIN};
use crate::keyspace::object::{Object, ObjectType};
use crate::keyspace::table::{Element, HashSeed};
use crate::keyspace::usage::UsageClock;
use crate::resp::Args;
use crate::state::effects::{Event, EventClass};
use crate::state::restraint::Restraint;
use crate::state::server::Server;
use crate::state::{CommandError, Rng};
use crate::types::decimal::parse_i64;

/// Keys and elements of removed values that are freed at a stretch.
const LAZY_FREE: usize = 2000;

/// A key and its hash.
#[derive(Clone, Copy, Debug)]
pub struct Key<'a> {
    pub bytes: &'a [u8],
    pub hash: u64,
}

impl<'a> Key<'a> {
    /// Hashes a key.
    #[inline]
    pub fn new(seed: &HashSeed, bytes: &'a [u8]) -> Key<'a> {
        Key {
            bytes,
            hash: seed.hash(bytes),
        }
    }
}

/// How a lookup counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// A read: counts as hit or miss, and as use of the key.
    Read,
    /// A read that leaves no trace on the key, but counts.
    ReadNoTouch,
    /// The same, and a key that is not there is no event either.
    Inspect,
    /// A read of something that the reader changes: whoever looks up otherwise, but for `Write`, changes nothing.
    ReadWrite,
    /// A lookup for a change: no hit or miss, but use of the key.
    Write,
    /// Neither counts nor leaves a trace.
    Peek,
}

/// A string value on its way into the keyspace.
#[derive(Clone, Debug)]
pub enum NewValue<'a> {
    Int(i64),
    Str(&'a [u8]),
    /// In a buffer of its own, which is kept.
    Shared(Bytes),
}

impl<'a> NewValue<'a> {
    /// Argument `index` as a value: an integer if it reads as one, else the bytes as they came.
    #[inline]
    pub fn from_arg(args: Args<'a>, index: usize) -> NewValue<'a> {
        let bytes = args.bytes(index);
        if bytes.len() <= 20
            && let Some(value) = parse_i64(bytes)
        {
            return NewValue::Int(value);
        }
        if bytes.len() >= SHARED_MIN
            && let Some(shared) = args.shared(index)
        {
            return NewValue::Shared(shared);
        }
        NewValue::Str(bytes)
    }
}

/// An entry was used; not every moment and policy has something to remember of it.
#[inline]
fn mark_used(entry: &mut Entry, usage: &UsageClock, rng: &mut Rng) {
    entry.set_lru(usage.used(entry.lru(), || rng.next_u64()));
}

impl Server {
    /// The database `dbid`. Numbers are checked by SELECT and its like before they get here.
    #[inline]
    pub fn db(&mut self, dbid: u32) -> &mut Db {
        let last = self.dbs.len() - 1;
        &mut self.dbs[last.min(dbid as usize)]
    }

    /// A key with its hash.
    #[inline]
    pub fn key<'a>(&self, bytes: &'a [u8]) -> Key<'a> {
        Key::new(&self.hash_seed, bytes)
    }

    /// The entry of a live key. A key whose deadline has passed is removed on the way and counts as missing.
    #[inline]
    pub fn lookup(&mut self, dbid: u32, key: Key<'_>, access: Access) -> Option<&mut Entry> {
        if self.db(dbid).volatile_len() > 0 {
            if self.pause.is_some() && self.hides(dbid, key, access) {
                self.stats.keyspace_misses += 1;
                self.announce_miss(dbid, key);
                return None;
            }
            self.expire_if_due(dbid, key);
        }
        let wanted = self.config.notify_keyspace_events;
        if wanted.contains(KeyspaceEvents::KEY_MISS)
            && matches!(
                access,
                Access::Read | Access::ReadNoTouch | Access::ReadWrite
            )
            && self.db(dbid).get(key.hash, key.bytes).is_none()
        {
            self.announce_miss(dbid, key);
        }
        let no_touch = self.no_touch;
        // The database is borrowed by its field so that the counters stay reachable.
        let last = self.dbs.len() - 1;
        let db = &mut self.dbs[last.min(dbid as usize)];
        let found = match access {
            Access::Write | Access::ReadWrite => db.get_mut(key.hash, key.bytes),
            _ => db.get_used(key.hash, key.bytes),
        };
        match access {
            Access::Read | Access::ReadNoTouch | Access::ReadWrite | Access::Inspect => match found
            {
                Some(_) => self.stats.keyspace_hits += 1,
                None => self.stats.keyspace_misses += 1,
            },
            Access::Write | Access::Peek => {}
        }
        let entry = found?;
        if matches!(access, Access::Read | Access::Write | Access::ReadWrite)
            && !no_touch
            && entry.lru() != self.usage.settled
        {
            mark_used(entry, &self.usage, &mut self.rng);
        }
        Some(entry)
    }

    /// A reader finds no key.
    #[cold]
    fn announce_miss(&mut self, dbid: u32, key: Key<'_>) {
        let event = Event {
            class: EventClass::KeyMiss,
            name: "keymiss",
        };
        self.announce(dbid, key.bytes, event);
    }

    /// Looks a key up that must hold a string if it is there.
    #[inline]
    pub fn string(
        &mut self,
        dbid: u32,
        key: Key<'_>,
        access: Access,
    ) -> Result<Option<&mut Entry>, CommandError> {
        match self.lookup(dbid, key, access) {
            Some(entry) if entry.kind() == Kind::String => Ok(Some(entry)),
            Some(_) => Err(CommandError::WrongType),
            None => Ok(None),
        }
    }

    /// Looks a key up that must hold a value of type `T` if it is there.
    #[inline]
    pub fn object<T: ObjectType>(
        &mut self,
        dbid: u32,
        key: Key<'_>,
        access: Access,
    ) -> Result<Option<&mut T>, CommandError> {
        match self.lookup(dbid, key, access) {
            Some(entry) => entry
                .object_mut()
                .and_then(T::from_object)
                .map(Some)
                .ok_or(CommandError::WrongType),
            None => Ok(None),
        }
    }

    /// Looks a key up that must hold a value of type `T`; a key that is not there is given `new`'s. The caller
    /// touches it, or removes it again if the value stays empty.
    #[inline]
    pub fn object_or_insert<T: ObjectType>(
        &mut self,
        dbid: u32,
        key: Key<'_>,
        new: impl FnOnce() -> T,
    ) -> Result<&mut T, CommandError> {
        // Looked up twice: the borrow of the first would have to outlive the insertion.
        if self.object::<T>(dbid, key, Access::Write)?.is_none() {
            let entry = Entry::new_object(key.bytes, new().into_object(), None, self.usage.fresh());
            self.insert(dbid, key, entry);
        }
        self.db(dbid)
            .get_mut(key.hash, key.bytes)
            .and_then(Entry::object_mut)
            .and_then(T::from_object)
            .ok_or(CommandError::WrongType)
    }

    /// Gives `key` this value of another type than string, whatever it held, and no deadline. The caller touches
    /// it.
    pub fn store_object(&mut self, dbid: u32, key: Key<'_>, value: Object) {
        if self.db(dbid).volatile_len() > 0 {
            self.expire_if_due(dbid, key);
        }
        let entry = Entry::new_object(key.bytes, value, None, self.usage.fresh());
        match self.db(dbid).remove(key.hash, key.bytes) {
            // The key was there before, so it is not a new one.
            Some(old) => {
                let (before, after) = (old.kind(), entry.kind());
                self.release(old, self.config.lazyfree_lazy_server_del);
                self.db(dbid).insert(key.hash, entry);
                self.announce_replaced(dbid, key.bytes, before, after);
            }
            None => self.insert(dbid, key, entry),
        }
    }

    /// Gives `key` this value, whatever it held, and this deadline or none. The caller touches it.
    #[inline]
    pub fn store(
        &mut self,
        dbid: u32,
        key: Key<'_>,
        value: NewValue<'_>,
        deadline_ms: Option<i64>,
    ) {
        if self.db(dbid).volatile_len() > 0 {
            self.expire_if_due(dbid, key);
        }
        let last = self.dbs.len() - 1;
        let db = &mut self.dbs[last.min(dbid as usize)];
        let found = db.get_mut(key.hash, key.bytes);
        let before = found.as_ref().map(|entry| entry.kind());
        let is_object = before.is_some_and(|kind| kind != Kind::String);
        if let Some(entry) = found
            && !is_object
        {
            let resets = entry.is_volatile() || deadline_ms.is_some();
            match value {
                NewValue::Int(value) => entry.set_int(value),
                NewValue::Str(bytes) => entry.set_str(bytes),
                NewValue::Shared(bytes) => entry.set_bytes(bytes),
            }
            if entry.lru() != self.usage.settled {
                mark_used(entry, &self.usage, &mut self.rng);
            }
            if resets {
                db.set_expire(key.hash, key.bytes, deadline_ms);
            }
            self.announce_replaced(dbid, key.bytes, Kind::String, Kind::String);
            return;
        }
        let clock = self.usage.fresh();
        let entry = match value {
            NewValue::Int(value) => Entry::new_int(key.bytes, value, deadline_ms, clock),
            NewValue::Str(bytes) => Entry::new_str(key.bytes, bytes, deadline_ms, clock),
            NewValue::Shared(bytes) => Entry::new_bytes(key.bytes, bytes, deadline_ms, clock),
        };
        if let Some(before) = before {
            // It goes as a whole, with what the database knows of it; the key itself is not new.
            self.delete(dbid, key);
            self.db(dbid).insert(key.hash, entry);
            self.announce_replaced(dbid, key.bytes, before, Kind::String);
        } else {
            self.insert(dbid, key, entry);
        }
    }

    /// Whether CLIENT PAUSE keeps the key in memory though its deadline has passed: readers do not see it.
    fn hides(&mut self, dbid: u32, key: Key<'_>, access: Access) -> bool {
        let now_ms = self.now_ms;
        !matches!(access, Access::Write | Access::Peek)
            && self.is_paused()
            && !self.expire_paused
            && self
                .db(dbid)
                .get(key.hash, key.bytes)
                .and_then(Entry::expire)
                .is_some_and(|deadline| now_ms > deadline)
    }

    /// A deadline that is set to this time or one before removes at once. Not so while a file is loaded: what it
    /// does later is meant for what was there then.
    pub fn removal_horizon(&self) -> i64 {
        match self.restraint.has(Restraint::LOADING) {
            true => i64::MIN,
            false => self.now_ms,
        }
    }

    /// Removes the key if its deadline has passed; says whether it did.
    pub fn expire_if_due(&mut self, dbid: u32, key: Key<'_>) -> bool {
        let now_ms = self.now_ms;
        let due = |entry: &Entry| {
            entry.is_volatile() && entry.expire().is_some_and(|deadline| now_ms > deadline)
        };
        if self.expire_paused || !self.db(dbid).get(key.hash, key.bytes).is_some_and(due) {
            return false;
        }
        self.delete_expired(dbid, key);
        self.stats.lazy_expired_keys += 1;
        true
    }

    /// Removes a key whose deadline has passed, with all that follows from it; says whether it was there.
    pub fn delete_expired(&mut self, dbid: u32, key: Key<'_>) -> bool {
        let Some(entry) = self.db(dbid).remove(key.hash, key.bytes) else {
            return false;
        };
        self.release(entry, self.config.lazyfree_lazy_expire);
        self.report_expired(dbid, key.bytes);
        true
    }

    /// What follows from the removal of a key whose deadline has passed.
    fn report_expired(&mut self, dbid: u32, key: &[u8]) {
        self.stats.expired_keys += 1;
        self.effects.propagate(dbid, &[self.expire_verb(), key]);
        let event = Event {
            class: EventClass::Expired,
            name: "expired",
        };
        self.announce(dbid, key, event);
        self.signal(dbid, key, false);
    }

    /// The command by which the removal of a key that has expired is propagated.
    pub fn expire_verb(&self) -> &'static [u8] {
        if self.config.lazyfree_lazy_expire {
            b"UNLINK"
        } else {
            b"DEL"
        }
    }

    /// Removes a key, its value lazily or at once; says whether it was there and alive. The caller touches it.
    pub fn delete_live(&mut self, dbid: u32, key: Key<'_>, lazily: bool) -> bool {
        let Some(entry) = self.db(dbid).remove(key.hash, key.bytes) else {
            return false;
        };
        let is_due = self.is_due(&entry);
        self.release(entry, lazily);
        if is_due {
            self.stats.lazy_expired_keys += 1;
            self.report_expired(dbid, key.bytes);
        }
        !is_due
    }

    /// Whether an entry's deadline has passed, so that it counts as gone.
    #[inline]
    pub fn is_due(&self, entry: &Entry) -> bool {
        !self.expire_paused
            && entry
                .expire()
                .is_some_and(|deadline| self.now_ms > deadline)
    }

    /// Takes a key's entry out, to be put elsewhere. The caller touches it.
    pub fn take(&mut self, dbid: u32, key: Key<'_>) -> Option<Entry> {
        self.db(dbid).remove(key.hash, key.bytes)
    }

    /// Removes a key; says whether it was there. The caller touches it.
    pub fn delete(&mut self, dbid: u32, key: Key<'_>) -> bool {
        match self.db(dbid).remove(key.hash, key.bytes) {
            Some(entry) => {
                self.release(entry, self.config.lazyfree_lazy_server_del);
                true
            }
            None => false,
        }
    }

    /// Lets a removed entry go; lazily, that is in ticks, or at once.
    pub fn release(&mut self, entry: Entry, lazily: bool) {
        if lazily {
            self.garbage.add_entry(entry);
        }
    }

    /// Frees a piece of what was removed lazily; says whether all of it is gone.
    pub fn free_garbage(&mut self) -> bool {
        let freed = self.garbage.free_some(LAZY_FREE);
        self.stats.lazyfreed_objects += freed as u64;
        self.garbage.is_empty()
    }

    /// All watched keys of database `dbid` that are there, or in database `other`, are about to change.
    pub fn dirty_watched(&mut self, dbid: u32, other: u32) {
        for key in self.watchers.keys_of(dbid) {
            let found = self.key(&key);
            // What has expired in the other one is no change for who watches a key that is not there.
            if other != dbid {
                self.expire_if_due(other, found);
            }
            let mut dbs = [dbid, other].into_iter();
            if dbs.any(|dbid| self.db(dbid).get(found.hash, &key).is_some()) {
                self.watchers.signal(dbid, &key);
            }
        }
    }

    /// Empties a database; says how many keys it held. With `is_async` the memory is given back in ticks.
    pub fn flush(&mut self, dbid: u32, is_async: bool) -> u64 {
        // There may be a million databases, most of which were never used.
        if self.db(dbid).is_untouched() {
            return 0;
        }
        self.dirty_watched(dbid, dbid);
        let empty = self.db(dbid).successor();
        let old = std::mem::replace(self.db(dbid), empty);
        let removed = old.len() as u64;
        // A running snapshot that is not through with it keeps it until then.
        let old = match &mut self.persistence.snapshot {
            Some(snapshot) => snapshot.adopt(old),
            None => Some(old),
        };
        if is_async
            && removed > 0
            && let Some(old) = old
        {
            self.garbage.add_keys(old.table);
        }
        self.waiters.signal_db(dbid);
        removed
    }

    /// Adds the entry of a key that is not there. The caller touches it.
    #[inline]
    pub fn insert(&mut self, dbid: u32, key: Key<'_>, entry: Entry) {
        self.db(dbid).insert(key.hash, entry);
        let event = Event {
            class: EventClass::New,
            name: "new",
        };
        self.announce(dbid, key.bytes, event);
    }

    /// Sets or clears a key's deadline; says whether the key is there. The caller touches it.
    pub fn set_expire(&mut self, dbid: u32, key: Key<'_>, deadline_ms: Option<i64>) -> bool {
        self.db(dbid).set_expire(key.hash, key.bytes, deadline_ms)
    }

    /// Every change of a key ends here: it makes the data set differ from what was saved, and it is an event.
    #[inline]
    pub fn touch(&mut self, dbid: u32, key: &[u8], event: Event) {
        self.effects.dirty += 1;
        self.touch_also(dbid, key, event);
    }

    /// The second key of one change (RENAME's target): all that [`Server::touch`] does, but the change is
    /// counted once.
    #[inline]
    pub fn touch_also(&mut self, dbid: u32, key: &[u8], event: Event) {
        self.stamp(dbid, key);
        self.notify(dbid, key, event);
    }

    /// Reports a change of a key's value that is no event: only who keeps a copy, waits for the key or watches it has
    /// to know.
    pub fn touch_silently(&mut self, dbid: u32, key: &[u8]) {
        self.effects.dirty += 1;
        self.stamp(dbid, key);
        self.signal(dbid, key, true);
    }

    #[inline]
    fn stamp(&mut self, dbid: u32, key: &[u8]) {
        if self.remembers_changes() {
            self.stamp_change(dbid, key);
        }
    }

    /// Publishes an event that goes with no change of the key's value: nobody who waits for the key or watches it has
    /// to know.
    #[inline]
    pub fn announce(&mut self, dbid: u32, key: &[u8], event: Event) {
        if !self.config.notify_keyspace_events.is_empty() {
            self.publish_event(dbid, key, event);
        }
    }

    /// Publishes that a key's value as a whole was replaced by another, of these types. It comes with a change that is
    /// reported by itself: behind this where a command writes a value, before it where a key takes another's place.
    #[inline]
    pub fn announce_replaced(&mut self, dbid: u32, key: &[u8], before: Kind, after: Kind) {
        if !self.config.notify_keyspace_events.is_empty() {
            self.publish_replaced(dbid, key, before, after);
        }
    }

    #[cold]
    fn publish_replaced(&mut self, dbid: u32, key: &[u8], before: Kind, after: Kind) {
        let event = Event {
            class: EventClass::Overwritten,
            name: "overwritten",
        };
        self.publish_event(dbid, key, event);
        if before != after {
            let event = Event {
                class: EventClass::TypeChanged,
                name: "type_changed",
            };
            self.publish_event(dbid, key, event);
        }
    }

    /// Reports a change of a key with its event, to those who asked for its class.
    #[inline]
    pub fn notify(&mut self, dbid: u32, key: &[u8], event: Event) {
        self.signal(dbid, key, true);
        self.announce(dbid, key, event);
    }

    /// A key has changed, by the command that runs or by itself: caches, who waits for it and who watches it have to
    /// know.
    #[inline]
    pub fn signal(&mut self, dbid: u32, key: &[u8], is_by_command: bool) {
        if !self.tracking.is_idle() {
            self.invalidate(key, is_by_command);
        }
        if !self.waiters.is_empty() {
            self.waiters.signal(dbid, key);
        }
        if !self.watchers.is_empty() {
            self.watchers.signal(dbid, key);
        }
    }
}
