//! Eviction: making room when the memory in use is above `maxmemory`.
//!
//! Lives here: when it has to be made, how much at a stretch, and all that follows from a key's going. May not: choose
//! the key (`keyspace::eviction`), refuse commands (`engine`).

use crate::config::{EvictionPolicy, MemoryLimit};
use crate::keyspace::eviction::{Pool, Search};
use crate::keyspace::usage::{Usage, UsageClock};
use crate::state::client::{Client, ClientFlags, ClientKind};
use crate::state::effects::{Event, EventClass};
use crate::state::keys::Key;
use crate::state::{ConnId, Server, UnixMicros};

/// What is evicted at a stretch for each step of `maxmemory-eviction-tenacity` up to 10. Measured at about a
/// microsecond for a small key, 10 are the half millisecond that the parameter stands for.
const STEP_KEYS: usize = 50;

/// The least that is evicted at a stretch, however little tenacity there is.
const KEYS_MIN: usize = 16;

/// Keys and elements of lazily removed values that are freed in place of one eviction.
const FREE_AT_ONCE: usize = 200;

/// A table whose growth is held back grows all the same at so many times the usual load, in sixteenths.
const HELD_LOAD: usize = 26;

/// The least that clients may take, whatever the limit says.
const CLIENTS_MEMORY_MIN: usize = 128 * 1024;

/// Whether there is room for what comes next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Room {
    /// As much as the limit allows.
    #[default]
    Enough,
    /// Not yet: more is evicted soon.
    Soon,
    /// There is nothing left to evict.
    Nowhere,
}

/// Where eviction stands.
#[derive(Default)]
pub struct Eviction {
    pub pool: Pool,
    /// Ticks go on with it.
    pub is_pending: bool,
    /// What had been pushed to clients when the turn began. Behind that, it waits for the turn's end.
    pushed_before: u64,
    /// Clients were told of keys that went: their buffers are given back as soon as they have heard it.
    pub has_told: bool,
    /// Since when there is more in use than allowed.
    exceeded_since: Option<UnixMicros>,
    /// How long that was, all the times before.
    exceeded_us: u64,
}

impl Eviction {
    /// Milliseconds for which memory was above the limit, altogether and since it is so now.
    pub fn exceeded_ms(&self, now: UnixMicros) -> (u64, u64) {
        let current = self.exceeded_since.map_or(0, |since| now.since(since));
        ((self.exceeded_us + current) / 1000, current / 1000)
    }

    /// The times start again from zero.
    pub fn reset_stats(&mut self, now: UnixMicros) {
        self.exceeded_us = 0;
        self.exceeded_since = self.exceeded_since.map(|_| now);
    }
}

impl Server {
    /// The clock of entries' use, as the parameters are now.
    pub(super) fn usage_clock(&self) -> UsageClock {
        let config = &self.config;
        UsageClock::new(
            config.maxmemory_policy.usage(),
            self.now.secs(),
            config.lfu_log_factor,
            config.lfu_decay_time,
        )
    }

    /// A parameter of eviction has changed.
    pub fn eviction_changed(&mut self) {
        let usage = self.usage.usage;
        self.usage = self.usage_clock();
        if usage != self.usage.usage {
            self.eviction.pool.clear();
        }
        if self.config.maxmemory == 0 {
            self.note_room(Room::Enough);
            for db in &mut self.dbs {
                db.table.hold_growth(false);
            }
        }
        self.eviction.is_pending = self.config.maxmemory > 0;
        self.recount_clients();
    }

    /// Memory that is in use and does not count against the limit, because evicting keys would make it grow.
    pub fn uncounted_memory(&self) -> u64 {
        self.aof.turn_bytes
    }

    /// Whether values of keys must be the keys' own, because each remembers its use.
    pub fn shares_values(&self) -> bool {
        self.config.maxmemory == 0 || !self.config.maxmemory_policy.needs_own_values()
    }

    /// A loop turn begins: what was said in the one before has left.
    pub fn begin_eviction_turn(&mut self) {
        self.eviction.pushed_before = self.pushed_bytes;
        self.eviction.has_told = false;
    }

    /// Evicts keys as long as more memory is in use than `maxmemory` allows, a bounded number of them.
    pub fn make_room(&mut self) -> Room {
        let room = self.evict_some();
        self.note_room(room);
        self.eviction.is_pending = room == Room::Soon;
        room
    }

    fn evict_some(&mut self) -> Room {
        // A pause keeps the data set as it is, what is being loaded was there before, and a script that stands still
        // shall find the keys that it has seen.
        let is_busy = self.scripting.busy.is_some();
        let is_safe = !self.is_paused() && !is_busy && self.persistence.loading.is_none();
        if self.config.maxmemory == 0 || !is_safe {
            return Room::Enough;
        }
        let limit = self
            .config
            .maxmemory
            .saturating_add(self.uncounted_memory());
        // What clients are told of the keys that go would have further keys go.
        let begun = self.pushed_bytes;
        let waits = begun.wrapping_sub(self.eviction.pushed_before);
        let allowed = limit.saturating_add(waits);
        if self.meter.above(allowed).is_none() {
            return Room::Enough;
        }
        self.look_for_scripts_garbage();
        for _ in 0..keys_at_a_stretch(self.config.maxmemory_eviction_tenacity) {
            if !self.garbage.is_empty() {
                // What is on its way out need not push others out.
                let freed = self.garbage.free_some(FREE_AT_ONCE);
                self.stats.lazyfreed_objects += freed as u64;
            } else if self.collects_for_room() {
                // Nor need what scripts have left behind.
            } else if !self.evict_one() {
                return Room::Nowhere;
            }
            let waits = self.pushed_bytes.wrapping_sub(self.eviction.pushed_before);
            self.eviction.has_told |= self.pushed_bytes != begun;
            let allowed = limit.saturating_add(waits);
            if self.meter.above(allowed).is_none() {
                return Room::Enough;
            }
        }
        Room::Soon
    }

    /// Evicts one key, or gets nearer to finding one; false if there is none.
    fn evict_one(&mut self) -> bool {
        if self.config.maxmemory_policy == EvictionPolicy::NoEviction {
            return false;
        }
        let mut pool = std::mem::take(&mut self.eviction.pool);
        let samples = usize::try_from(self.config.maxmemory_samples).unwrap_or(1);
        let rng = &mut self.rng;
        let found = pool.search(
            &mut self.dbs,
            self.config.maxmemory_policy,
            &self.usage,
            samples,
            &mut || rng.next_u64(),
        );
        self.eviction.pool = pool;
        match found {
            Search::Nothing => return false,
            Search::NotYet => {}
            Search::Found(victim) => {
                let key = Key {
                    bytes: &victim.key,
                    hash: victim.hash,
                };
                self.evict(victim.dbid, key);
            }
        }
        true
    }

    fn evict(&mut self, dbid: u32, key: Key<'_>) {
        let Some(entry) = self.db(dbid).remove(key.hash, key.bytes) else {
            return;
        };
        let is_lazy = self.config.lazyfree_lazy_eviction;
        self.release(entry, is_lazy);
        self.stats.evicted_keys += 1;
        let verb: &[u8] = if is_lazy { b"UNLINK" } else { b"DEL" };
        self.effects.propagate(dbid, &[verb, key.bytes]);
        let event = Event {
            class: EventClass::Evicted,
            name: "evicted",
        };
        self.notify(dbid, key.bytes, event);
    }

    /// Keeps the account of the time above the limit.
    fn note_room(&mut self, room: Room) {
        let eviction = &mut self.eviction;
        match (room, eviction.exceeded_since) {
            (Room::Enough, Some(since)) => {
                eviction.exceeded_us += self.now.since(since);
                eviction.exceeded_since = None;
            }
            (Room::Soon | Room::Nowhere, None) => eviction.exceeded_since = Some(self.now),
            _ => {}
        }
    }

    /// Keeps a database's table from growing where that alone would have keys evicted.
    pub fn hold_growth(&mut self, dbid: u32) {
        let limit = self
            .config
            .maxmemory
            .saturating_add(self.uncounted_memory());
        let table = &self.db(dbid).table;
        if let Some(bytes) = table.growth_bytes() {
            let is_overdue = table.load_sixteenths() >= HELD_LOAD;
            let fits = self.meter.above(limit.saturating_sub(bytes)).is_none();
            self.db(dbid).table.hold_growth(!is_overdue && !fits);
        }
    }

    /// How much memory all clients together may take, if that is limited. Too little would keep everyone out.
    pub fn clients_limit(&self) -> Option<usize> {
        let limit = match self.config.maxmemory_clients {
            MemoryLimit::Bytes(bytes) => usize::try_from(bytes).unwrap_or(0),
            MemoryLimit::Percent(percent) => {
                let share = u128::from(self.config.maxmemory) * u128::from(percent) / 100;
                usize::try_from(share).unwrap_or(usize::MAX)
            }
        };
        (limit > 0).then_some(limit.max(CLIENTS_MEMORY_MIN))
    }

    /// Counts anew what a client takes of the limit on all clients' memory.
    #[inline]
    pub fn count_client(&mut self, client: &mut Client) {
        if self.config.maxmemory_clients != MemoryLimit::Bytes(0) {
            self.count_bytes_of(client);
        }
    }

    fn count_bytes_of(&mut self, client: &mut Client) {
        let is_limited = matches!(client.kind(), ClientKind::Normal | ClientKind::PubSub);
        let bytes = match is_limited && !client.flags.has(ClientFlags::CLOSE_ASAP) {
            true => client.charged_bytes(),
            false => 0,
        };
        self.clients_memory = self.clients_memory + bytes - client.counted_bytes;
        client.counted_bytes = bytes;
    }

    /// [`Server::count_client`] for one that is not taken out.
    #[inline]
    pub fn count_client_at(&mut self, conn: ConnId) {
        if self.config.maxmemory_clients != MemoryLimit::Bytes(0)
            && let Some(mut client) = self.clients.take(conn)
        {
            self.count_bytes_of(&mut client);
            self.clients.put_back(client);
        }
    }

    /// The limit on clients' memory has changed: all that are not taken out are counted anew.
    fn recount_clients(&mut self) {
        let is_on = self.clients_limit().is_some();
        for slot in 0..self.clients.place_count() {
            let conn = ConnId(slot as u32);
            if is_on {
                self.count_client_at(conn);
            } else if let Some(client) = self.clients.get_mut(conn) {
                self.clients_memory -= client.counted_bytes;
                client.counted_bytes = 0;
            }
        }
    }

    /// The client whose closing relieves clients' memory most, if it is above its limit.
    pub fn client_to_evict(&self) -> Option<ConnId> {
        let limit = self.clients_limit()?;
        if self.clients_memory <= limit {
            return None;
        }
        let clients = self.clients.iter().filter(|client| {
            client.counted_bytes > 0
                && !client
                    .flags
                    .has_any(ClientFlags::NO_EVICT.or(ClientFlags::CLOSE_ASAP))
        });
        // Of equals the one in the highest slot, so that it is always the same.
        clients
            .max_by_key(|client| client.counted_bytes)
            .map(|client| client.conn)
    }

    /// Whether a client's commands may be refused for want of memory: not those that come from a primary.
    pub fn is_bound_by_memory(&self, kind: ClientKind) -> bool {
        kind != ClientKind::Master
    }

    /// A key was changed, where entries remember that. The key may be gone.
    #[cold]
    pub(super) fn stamp_change(&mut self, dbid: u32, key: &[u8]) {
        let (key, secs) = (self.key(key), self.usage.secs);
        if let Some(entry) = self.db(dbid).get_mut(key.hash, key.bytes) {
            entry.set_lru(secs);
        }
    }

    /// Whether entries remember changes.
    #[inline]
    pub(super) fn remembers_changes(&self) -> bool {
        self.usage.usage == Usage::LastChange
    }
}

/// How many keys are evicted before others get their turn: in proportion to the tenacity up to 10, from there on
/// growing by fifteen percent a step, without an end at 100.
fn keys_at_a_stretch(tenacity: i64) -> usize {
    let tenacity = usize::try_from(tenacity).unwrap_or(0);
    match tenacity {
        0..=10 => (STEP_KEYS * tenacity).max(KEYS_MIN),
        100.. => usize::MAX,
        _ => {
            // Fixed point: 16 bits behind the point.
            let start = (STEP_KEYS as u128 * 10) << 16;
            let keys = (10..tenacity).fold(start, |keys, _| keys * 115 / 100);
            usize::try_from(keys >> 16).unwrap_or(usize::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenacity_is_a_number_of_keys() {
        for (tenacity, want) in [
            (0, 16),
            (1, 50),
            (10, 500),
            (11, 575),
            (50, 133_931),
            (99, 126_290_000),
            (100, usize::MAX),
        ] {
            let keys = keys_at_a_stretch(tenacity);
            let near = keys.abs_diff(want) <= want / 1000;
            assert!(near, "{tenacity}: {keys}");
        }
    }
}
