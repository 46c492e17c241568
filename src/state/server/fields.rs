//! Fields: the deadlines of hashes' fields, and the way in which a field goes when its own has passed.
//!
//! A field whose deadline has passed is not there for any reader. It is taken out by the command that meets it, or
//! by a tick. Either reports it by the event `hexpired`, and propagates an HDEL.

use crate::keyspace::db::Db;
use crate::keyspace::entry::Entry;
use crate::keyspace::object::hash::HashLimits;
use crate::keyspace::object::hash::{Found, OldDeadline};
use crate::keyspace::object::{Hash, ObjectType};
use crate::state::CommandError;
use crate::state::effects::{Effects, Event};
use crate::state::keys::Access;
use crate::state::keys::Key;
use crate::state::server::Server;

impl Server {
    /// The time before which fields' deadlines have passed.
    #[inline]
    pub fn field_horizon(&self) -> i64 {
        if self.expire_paused {
            i64::MIN
        } else {
            self.now_ms
        }
    }

    /// Up to where hashes stay packed.
    #[inline]
    pub fn hash_limits(&self) -> HashLimits {
        let config = &self.config;
        HashLimits {
            entries: usize::try_from(config.hash_max_listpack_entries).unwrap_or(usize::MAX),
            value_bytes: usize::try_from(config.hash_max_listpack_value).unwrap_or(usize::MAX),
            seed: self.hash_seed,
        }
    }

    /// Calls `read` with the field of a hash, if it is there and its deadline is not behind it. A field whose
    /// deadline has passed is removed on the way.
    #[inline]
    pub fn live_field<R>(
        &mut self,
        dbid: u32,
        key: Key<'_>,
        field: &[u8],
        access: Access,
        read: impl FnOnce(Option<Found<'_>>) -> R,
    ) -> Result<R, CommandError> {
        let horizon_ms = self.field_horizon();
        let Some(hash) = self.object::<Hash>(dbid, key, access)? else {
            return Ok(read(None));
        };
        match hash.get(field) {
            Some(found) if found.is_due(horizon_ms) => {}
            found => return Ok(read(found)),
        }
        self.expire_fields(dbid, key, &[field]);
        Ok(read(None))
    }

    /// Gives a field of the hash at `key`, which is made when absent, a value; says whether the field is new. The
    /// caller touches the key.
    pub fn put_field(
        &mut self,
        dbid: u32,
        key: Key<'_>,
        field: &[u8],
        value: &[u8],
        old_deadline: OldDeadline,
    ) -> Result<bool, CommandError> {
        let limits = self.hash_limits();
        let hash = self.object_or_insert(dbid, key, Hash::default)?;
        let before = hash.min_deadline();
        let is_new = hash.set(field, value, old_deadline, &limits);
        let after = hash.min_deadline();
        self.db(dbid).move_field_deadline(key.hash, before, after);
        Ok(is_new)
    }

    /// Edits the hash at a key, as it lies there, and keeps account of the soonest deadline in it. `None` when
    /// there is no hash.
    pub fn edit_hash<R>(
        &mut self,
        dbid: u32,
        key: Key<'_>,
        edit: impl FnOnce(&mut Hash) -> R,
    ) -> Option<R> {
        edit_in(self.db(dbid), key, edit)
    }

    /// Takes fields out that a command has found with their deadline behind them; says how many there were. The
    /// caller reports it, and removes a hash that is left empty. A pause holds the fields in memory.
    pub fn remove_expired_fields(&mut self, dbid: u32, key: Key<'_>, fields: &[&[u8]]) -> usize {
        if self.is_paused() {
            return 0;
        }
        let (db, effects) = self.db_and_effects(dbid);
        let mut removed = 0;
        edit_in(db, key, |hash| {
            for field in fields {
                if hash.remove(field) {
                    effects.propagate(dbid, &[b"HDEL", key.bytes, field]);
                    removed += 1;
                }
            }
        });
        self.stats.expired_subkeys += removed as u64;
        removed
    }

    /// [`Server::remove_expired_fields`] with all that follows from it; says whether the key went too.
    pub fn expire_fields(&mut self, dbid: u32, key: Key<'_>, fields: &[&[u8]]) -> bool {
        self.remove_expired_fields(dbid, key, fields) > 0 && self.report_hexpired(dbid, key)
    }

    /// Takes the fields out whose deadline has passed, `max` at most, with all that follows from it; says how many
    /// there were.
    pub fn expire_due_fields(&mut self, dbid: u32, key: Key<'_>, max: usize) -> usize {
        if self.is_paused() {
            return 0;
        }
        let horizon_ms = self.field_horizon();
        let (db, effects) = self.db_and_effects(dbid);
        let removed = edit_in(db, key, |hash| {
            hash.take_due(horizon_ms, max, |field| {
                effects.propagate(dbid, &[b"HDEL", key.bytes, field]);
            })
        });
        let removed = removed.unwrap_or(0);
        if removed > 0 {
            self.stats.expired_subkeys += removed as u64;
            self.report_hexpired(dbid, key);
        }
        removed
    }

    fn db_and_effects(&mut self, dbid: u32) -> (&mut Db, &mut Effects) {
        let last = self.dbs.len() - 1;
        (&mut self.dbs[last.min(dbid as usize)], &mut self.effects)
    }

    /// Reports that fields have expired, and removes the hash if these were its last; says whether it did.
    fn report_hexpired(&mut self, dbid: u32, key: Key<'_>) -> bool {
        self.touch_also(dbid, key.bytes, Event::hash("hexpired"));
        self.delete_emptied_hash(dbid, key)
    }

    /// Removes a hash that has no field left; says whether it did.
    pub fn delete_emptied_hash(&mut self, dbid: u32, key: Key<'_>) -> bool {
        let is_emptied = self.edit_hash(dbid, key, |hash| hash.is_empty()) == Some(true);
        if is_emptied {
            self.delete(dbid, key);
            self.touch_also(dbid, key.bytes, Event::generic("del"));
        }
        is_emptied
    }
}

fn edit_in<R>(db: &mut Db, key: Key<'_>, edit: impl FnOnce(&mut Hash) -> R) -> Option<R> {
    let entry = db.get_mut(key.hash, key.bytes);
    let hash = entry
        .and_then(Entry::object_mut)
        .and_then(Hash::from_object)?;
    let before = hash.min_deadline();
    let result = edit(hash);
    let after = hash.min_deadline();
    db.move_field_deadline(key.hash, before, after);
    Some(result)
}
