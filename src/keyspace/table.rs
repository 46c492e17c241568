//! Table: the one hash table, under keys, hashes, sets and sorted sets.
//!
//! Lives here: buckets, chains, incremental rehash, SCAN cursors, random pick, prefetch.
//! May not: expiry rules, replies, config (callers pass thresholds), a generator of its own.
//!
//! A bucket is one cache line. Its first byte says which slots are taken and whether slot 6 is a link:
//!
//! ```text
//! byte   0        1 ......... 7     8 ....... 15         56 ...... 63
//!      [c|ppppppp][hash byte 0..6] [slot 0: handle] ... [slot 6: handle, or the next bucket when c = 1]
//! ```
//!
//! The bucket comes from the low bits of the hash, the hash byte from its top, so that one 64-bit compare
//! picks the slots worth looking at. An array of up to 1024 buckets is one block; a larger one is a directory
//! of such chunks. Chunks appear when first written to and go as soon as a rehash has passed them, so growing
//! a table of any size never zeroes or unmaps more than a few of them in one operation, and both arrays
//! together take little more than the larger one needs.
//!
//! ```text
//!   bits <= 10:  array -> [bucket; 2^bits]
//!   bits  > 10:  array -> [chunk; 2^(bits-10)],   chunk -> [bucket; 1024]
//! ```
//!
//! A rehash walks array 0 from bucket 0 up and moves each chain into array 1. An element with index `i` in
//! array 0 is there while `i >= migrated` and in array 1 afterwards, new ones too, so a look-up always reads
//! exactly one chain.
//!
//! Invariants, checked by `assert_valid` after each edit of a small table in debug builds:
//! 1. An element sits once, in the chain its hash names: of array 0 when its index there is at or above
//!    `migrated`, of array 1 otherwise. `migrated` is 0 when no rehash runs.
//! 2. Presence bit `i` is set exactly when `slots[i]` holds an element that this table owns; hash byte `i` is
//!    then the top byte of that element's hash. Present slots stand at the front, without a gap.
//! 3. The chain bit is set exactly when `slots[6]` holds the address of a live bucket that this chain alone
//!    owns; presence bit 6 is then clear.
//! 4. A chain is packed: all its buckets but the last are full, and an overflow bucket holds two or more.
//! 5. An array's block, directory and chunks are null or were allocated zeroed with the size that `bits`
//!    names; null reads as all empty. Chunks wholly below `migrated` are null.
//! 6. `len` counts the elements, `overflow` the overflow buckets, `Array::chunks` its blocks or chunks.
#![allow(
    unsafe_code,
    reason = "hand-laid buckets: tagged slots and links that safe types cannot express"
)]

mod bucket;
mod stats;
mod valid;

use std::alloc::{Layout, dealloc};
use std::hash::Hasher;
use std::mem::{ManuallyDrop, align_of, size_of};
use std::ptr;

use siphasher::sip::SipHasher13;

use bucket::{Array, Bucket, CHAINED, CHUNK, LINK, SLOTS, alloc_zeroed_or_abort};
pub use stats::ArrayStats;

/// Elements per bucket, on average, above which a table doubles. A lower limit costs memory, a higher one
/// lengthens chains, each a cache miss; benches/table.rs measures both.
const LOAD_MAX: usize = 6;
/// A shrinking table gets buckets for this load, half way to the next growth.
const LOAD_SHRUNK: usize = LOAD_MAX / 2;
/// Arrays of up to `2^AT_ONCE_BITS` buckets are rehashed in one go: it is less than a microsecond of work
/// and spares small tables the second array.
const AT_ONCE_BITS: u32 = 3;
/// Empty buckets that a rehash step may pass for each bucket it is asked to move.
const EMPTY_VISITS: usize = 10;
/// Random bucket picks before `random` falls back to walking, for tables much larger than their contents.
const RANDOM_TRIES: usize = 128;
/// Places of a chain that `random_fair` chooses from at least; it takes two more for each element of a mean chain.
const FAIR_PLACES_MIN: usize = 5;
/// Tries of `random_fair` that are looked ahead. Of the nearer ones the elements are fetched, of the others the chains. An
/// element takes three tries in a full table and seven in a sparse one.
const FAIR_TRIES_AHEAD: usize = 16;
const FAIR_TRIES_NEAR: usize = 6;
/// Elements below which a table is in the processor's caches.
const FAIR_AHEAD_LEN_MIN: usize = 1 << 14;

/// The key of the table's hash. SipHash-1-3 keeps clients from choosing keys that collide, and gives the
/// same value on every platform.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct HashSeed(pub [u8; 16]);

impl HashSeed {
    /// The hash that every method of a table with this seed expects for `key`.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        let mut hasher = SipHasher13::new_with_key(&self.0);
        hasher.write(key);
        hasher.finish()
    }
}

/// Whether two keys are the same. Keys are mostly a few words long: comparing these in place beats a call.
#[inline]
fn is_same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    let (Some(a_last), Some(b_last)) = (a.last_chunk::<8>(), b.last_chunk::<8>()) else {
        return a == b;
    };
    if a.len() > 64 {
        return a == b;
    }
    let whole = a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0);
    let diff = whole.fold(0, |diff, (a, b)| {
        diff | (u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b))
    });
    diff | (u64::from_le_bytes(*a_last) ^ u64::from_le_bytes(*b_last)) == 0
}

/// An owned handle of 8 bytes, like a `Box`, to something with a key. `Table` refuses other sizes when compiled.
pub trait Element {
    /// The key it is found by; it stays the same while the element is in a table.
    fn key(&self) -> &[u8];

    /// A tag kept in the handle itself: this must not touch the memory behind it.
    #[inline]
    fn is_volatile(&self) -> bool {
        false
    }
}

/// Where a look-up ended: the first bucket of the chain, and the bucket and slot of the element in it.
struct Found<E> {
    head: *mut Bucket<E>,
    bucket: *mut Bucket<E>,
    slot: usize,
}

/// What `random_fair` chooses among.
struct FairChoice {
    /// Chains of array 0.
    left: usize,
    /// Chains of both arrays.
    total: u64,
    /// Places of a chain, most of them empty.
    places: u64,
}

/// A hash table of handles. The caller computes each hash once, with [`HashSeed::hash`] and the table's seed.
pub struct Table<E: Element> {
    arrays: [Array<E>; 2],
    /// Buckets of array 0 that the running rehash has emptied.
    migrated: usize,
    rehashing: bool,
    /// The owner has no memory for a larger array at the moment.
    growth_held: bool,
    len: usize,
    overflow: usize,
    seed: HashSeed,
}

// SAFETY: a table owns its elements and buckets alone (invariants 2, 3, 5) and has no interior mutability, so
// it may cross and be read from threads exactly as its elements may.
unsafe impl<E: Element + Send> Send for Table<E> {}
// SAFETY: as above.
unsafe impl<E: Element + Sync> Sync for Table<E> {}

/// The byte of a hash that its bucket keeps.
#[inline]
fn tag_of(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// Elements that an array of `2^bits` buckets takes before it grows. A single bucket may fill up.
#[inline]
fn len_max(bits: u32) -> usize {
    if bits == 0 { SLOTS } else { LOAD_MAX << bits }
}

fn bits_for(len: usize) -> u32 {
    if len <= SLOTS {
        0
    } else {
        len.div_ceil(LOAD_MAX).next_power_of_two().trailing_zeros()
    }
}

/// The cursor after `cursor` in reverse binary order: it counts from the top bit of `mask` down, so that the
/// buckets a bucket splits into, or is merged with, lie on the same side of the cursor as itself.
#[inline]
fn next_cursor(cursor: u64, mask: u64) -> u64 {
    (cursor | !mask)
        .reverse_bits()
        .wrapping_add(1)
        .reverse_bits()
}

/// Asks the processor for what lies at an address, which need not be valid.
#[inline(always)]
pub(super) fn prefetch(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch is a hint: it reads nothing and cannot fault, whatever the address.
    unsafe {
        core::arch::x86_64::_mm_prefetch::<{ core::arch::x86_64::_MM_HINT_T0 }>(address.cast());
    }
    #[cfg(target_arch = "aarch64")]
    // SAFETY: as above.
    unsafe {
        core::arch::asm!("prfm pldl1keep, [{0}]", in(reg) address, options(nostack, preserves_flags, readonly));
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let _ = address;
}

impl<E: Element> Table<E> {
    const HANDLE_IS_8_BYTES: () =
        assert!(size_of::<E>() == 8 && align_of::<E>() == 8 && size_of::<Bucket<E>>() == 64);

    /// An empty table, which owns no memory.
    pub fn new(seed: HashSeed) -> Table<E> {
        let () = Self::HANDLE_IS_8_BYTES;
        Table {
            arrays: [Array::empty(), Array::empty()],
            migrated: 0,
            rehashing: false,
            growth_held: false,
            len: 0,
            overflow: 0,
            seed,
        }
    }

    /// An empty table that takes `capacity` elements without a rehash.
    pub fn with_capacity(seed: HashSeed, capacity: usize) -> Table<E> {
        let mut table = Table::new(seed);
        table.arrays[0] = Array::new(bits_for(capacity));
        table
    }

    /// The seed that hashes for this table are made with.
    #[inline]
    pub fn seed(&self) -> &HashSeed {
        &self.seed
    }

    /// The hash of `key` under this table's seed.
    #[inline]
    pub fn hash(&self, key: &[u8]) -> u64 {
        self.seed.hash(key)
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The element with this key.
    #[inline]
    pub fn find(&self, hash: u64, key: &[u8]) -> Option<&E> {
        let found = self.locate(hash, key)?;
        // SAFETY: invariant 2: `locate` returns a present slot, borrowed here for as long as the table is.
        Some(unsafe { (*found.bucket).element(found.slot) })
    }

    /// The element with this key, to edit or to replace by one with the same key.
    #[inline]
    pub fn find_mut(&mut self, hash: u64, key: &[u8]) -> Option<&mut E> {
        let found = self.locate(hash, key)?;
        // SAFETY: invariant 2: the slot is present, and the table is borrowed mutably for the same time.
        Some(unsafe { &mut *(&raw mut (*found.bucket).slots[found.slot].element).cast::<E>() })
    }

    /// The first element with this hash of which `is_it` says that it is the one: for a caller that has kept the
    /// hash and not the key.
    pub fn find_by_hash(&self, hash: u64, is_it: impl Fn(&E) -> bool) -> Option<&E> {
        let tag = tag_of(hash);
        self.chain_buckets(self.head(hash)).find_map(|bucket| {
            (0..bucket.count())
                .filter(|slot| bucket.tag(*slot) == tag)
                // SAFETY: invariant 2: present slots stand at the front.
                .map(|slot| unsafe { bucket.element(slot) })
                .find(|element| self.hash(element.key()) == hash && is_it(element))
        })
    }

    /// Adds an element whose key is not in the table yet, as the caller has checked. Does a bounded piece of
    /// a pending rehash first.
    #[inline]
    pub fn insert(&mut self, hash: u64, element: E) -> &mut E {
        debug_assert_eq!(hash, self.hash(element.key()));
        debug_assert!(self.locate(hash, element.key()).is_none());
        if self.rehashing || self.len >= len_max(self.arrays[0].bits) {
            self.advance_for_insert();
        }
        let index = self.arrays[0].index(hash);
        let head = if index >= self.migrated {
            self.arrays[0].bucket_or_new(index)
        } else {
            let index = self.arrays[1].index(hash);
            self.arrays[1].bucket_or_new(index)
        };
        self.len += 1;
        // SAFETY: invariant 5: `head` is a live bucket of this table.
        let slot = unsafe { self.push(head, tag_of(hash), element) };
        self.assert_small();
        // SAFETY: invariant 2: `push` returns the slot it has just filled; the table stays borrowed.
        unsafe { &mut *slot }
    }

    /// Takes the element with this key out. Does a bounded piece of a pending rehash.
    #[inline]
    pub fn remove(&mut self, hash: u64, key: &[u8]) -> Option<E> {
        let found = self.locate(hash, key)?;
        // SAFETY: invariant 2: `locate` returns a present slot of a chain of this table.
        let element = unsafe { self.take(found) };
        self.len -= 1;
        self.advance_for_remove();
        self.assert_small();
        Some(element)
    }

    /// Asks the processor for the bucket that `hash` names. The first of two steps ahead of a look-up.
    #[inline]
    pub fn prefetch_bucket(&self, hash: u64) {
        prefetch(self.head(hash).cast());
    }

    /// Asks the processor for the elements whose hash byte fits. Reads the bucket, so call it some dozen
    /// nanoseconds after `prefetch_bucket`.
    #[inline]
    pub fn prefetch_element(&self, hash: u64) {
        let head = self.head(hash);
        if head.is_null() {
            return;
        }
        // SAFETY: invariant 5: a bucket that is not null is live.
        let bucket = unsafe { &*head };
        let mut matches = bucket.matches(tag_of(hash));
        if matches == 0 {
            prefetch(bucket.next().cast());
        }
        while matches != 0 {
            let slot = (matches.trailing_zeros() / 8) as usize - 1;
            // SAFETY: a slot is 8 initialised bytes (invariant 5: zeroed) and the address is not followed.
            prefetch(unsafe { bucket.slots[slot].address });
            matches &= matches - 1;
        }
    }

    /// Calls `f` for every element of the chain at `cursor`, in both arrays during a rehash, and returns the
    /// next cursor; 0 starts and ends a walk. An element that is in the table from a walk's start to its end
    /// is seen at least once, whatever the table does in between; others may or may not be, and some twice.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(&E)) -> u64 {
        self.scan_chains(cursor, |element| f(element))
    }

    /// `scan` for the elements whose handle says that they are volatile; does not touch what is behind others.
    pub fn scan_volatile(&self, cursor: u64, f: &mut dyn FnMut(&E)) -> u64 {
        self.scan_chains(cursor, |element| {
            if element.is_volatile() {
                f(element);
            }
        })
    }

    /// `scan` that lets `f` change what it sees: anything about an element but its key.
    pub fn scan_mut(&mut self, cursor: u64, f: &mut dyn FnMut(&mut E)) -> u64 {
        self.scan_buckets(cursor, |bucket| {
            // SAFETY: invariants 3 and 5: heads and links lead to live buckets, which the exclusive borrow of the
            // table makes ours alone; each is left before the next one is looked at.
            let bucket = unsafe { &mut *bucket };
            for slot in 0..bucket.count() {
                // SAFETY: invariant 2: present slots stand at the front and hold elements.
                f(unsafe { &mut bucket.slots[slot].element });
            }
        })
    }

    /// The cursor that a walk is most likely to have after `cursor`, for fetching ahead of it.
    #[inline]
    pub fn cursor_ahead(&self, cursor: u64) -> u64 {
        next_cursor(cursor, self.arrays[0].buckets() as u64 - 1)
    }

    /// Asks the processor for the volatile elements of the bucket at `cursor`, which should be at hand itself
    /// (`prefetch_bucket` takes a cursor for a hash).
    #[inline]
    pub fn prefetch_volatile(&self, cursor: u64) {
        let head = self.head(cursor);
        if head.is_null() {
            return;
        }
        // SAFETY: invariant 5: a bucket that is not null is live.
        let bucket = unsafe { &*head };
        for slot in 0..bucket.count() {
            // SAFETY: invariant 2: present slots stand at the front; the address is not followed.
            unsafe {
                if bucket.element(slot).is_volatile() {
                    prefetch(bucket.slots[slot].address);
                }
            }
        }
    }

    /// A random element: of a random bucket that is not empty, a random one of its chain. `rand` returns a
    /// number below the bound it is given. Elements of short chains come up more often than others.
    pub fn random(&self, rand: &mut dyn FnMut(u64) -> u64) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        let left = self.arrays[0].buckets() - self.migrated;
        let total = left
            + if self.rehashing {
                self.arrays[1].buckets()
            } else {
                0
            };
        let head_at = |pick: usize| {
            if pick < left {
                self.arrays[0].bucket(self.migrated + pick)
            } else {
                self.arrays[1].bucket(pick - left)
            }
        };
        let mut pick = rand(total as u64) as usize;
        for tries in 1.. {
            let head = head_at(pick);
            let chain_len = self.chain(head).count();
            if chain_len > 0 {
                return self.chain(head).nth(rand(chain_len as u64) as usize);
            }
            pick = if tries < RANDOM_TRIES {
                rand(total as u64) as usize
            } else {
                (pick + 1) % total
            };
        }
        None
    }

    /// A random element, all about equally likely: a random place in a random bucket, again and again until
    /// something is there. Only what lies beyond the longest chains to be expected comes up a little less often.
    pub fn random_fair(&self, rand: &mut dyn FnMut(u64) -> u64) -> Option<&E> {
        if self.len == 0 {
            return None;
        }
        let choice = self.fair_choice();
        for _ in 0..RANDOM_TRIES {
            let (head, place) = self.fair_try(&choice, rand);
            if let Some(element) = self.chain(head).nth(place) {
                return Some(element);
            }
        }
        self.random(rand)
    }

    /// Asks the processor for what the next calls of `random_fair` will look at, if the table stays as it is and
    /// `rand` gives the numbers that they will be given. Small tables are at hand anyway.
    #[inline]
    pub fn prefetch_random_fair(&self, rand: &mut dyn FnMut(u64) -> u64) {
        if self.len < FAIR_AHEAD_LEN_MIN {
            return;
        }
        let choice = self.fair_choice();
        for ahead in 0..FAIR_TRIES_AHEAD {
            let (head, place) = self.fair_try(&choice, rand);
            if ahead >= FAIR_TRIES_NEAR {
                prefetch(head.cast());
            } else if !head.is_null() {
                // SAFETY: invariant 5: a bucket that is not null is live.
                let bucket = unsafe { &*head };
                if place < bucket.count() {
                    // SAFETY: a slot is 8 initialised bytes (invariant 5: zeroed) and the address is not followed.
                    prefetch(unsafe { bucket.slots[place].address });
                }
            }
        }
    }

    fn fair_choice(&self) -> FairChoice {
        let left = self.arrays[0].buckets() - self.migrated;
        let (total, smaller) = if self.rehashing {
            let second = self.arrays[1].buckets();
            (left + second, second.min(self.arrays[0].buckets()))
        } else {
            (left, left)
        };
        FairChoice {
            left,
            total: total as u64,
            places: (2 * self.len.div_ceil(smaller) + FAIR_PLACES_MIN) as u64,
        }
    }

    /// One try of `random_fair`: the chain, and the place in it where an element may be.
    #[inline]
    fn fair_try(
        &self,
        choice: &FairChoice,
        rand: &mut dyn FnMut(u64) -> u64,
    ) -> (*mut Bucket<E>, usize) {
        let pick = rand(choice.total) as usize;
        let head = if pick < choice.left {
            self.arrays[0].bucket(self.migrated + pick)
        } else {
            self.arrays[1].bucket(pick - choice.left)
        };
        (head, rand(choice.places) as usize)
    }

    /// Every element, in the order of the buckets.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.heads().flat_map(|head| self.chain(head))
    }

    /// Whether elements are on their way to a larger or smaller array.
    #[inline]
    pub fn is_rehashing(&self) -> bool {
        self.rehashing
    }

    /// Moves up to `buckets` chains on; true while there is more to do.
    pub fn rehash_step(&mut self, buckets: usize) -> bool {
        let mut moves_left = buckets;
        let mut visits_left = buckets.saturating_mul(EMPTY_VISITS);
        while self.rehashing && moves_left > 0 && visits_left > 0 {
            visits_left -= 1;
            if self.migrate_bucket() {
                moves_left -= 1;
            }
        }
        self.rehashing
    }

    /// The bytes of the larger array, if the next insertion begins to move to one.
    #[inline]
    pub fn growth_bytes(&self) -> Option<u64> {
        let is_full = !self.rehashing && self.len >= len_max(self.arrays[0].bits);
        is_full.then(|| (size_of::<Bucket<E>>() as u64) << (self.arrays[0].bits + 1))
    }

    /// How full the table is, in sixteenths of what it holds before it grows.
    pub fn load_sixteenths(&self) -> usize {
        self.len.saturating_mul(16) / len_max(self.arrays[0].bits)
    }

    /// Keeps the table from growing, or lets it: without growth its chains become longer.
    pub fn hold_growth(&mut self, is_held: bool) {
        self.growth_held = is_held;
    }

    /// Resizes for `len` elements, never below what is there now; the work is spread over later edits. False
    /// when a rehash is running or the size is right already.
    pub fn resize_to(&mut self, len: usize) -> bool {
        let bits = bits_for(len.max(self.len));
        if self.rehashing || bits == self.arrays[0].bits {
            return false;
        }
        self.start_rehash(bits);
        true
    }

    /// `resize_to` that only grows.
    pub fn expand(&mut self, len: usize) -> bool {
        bits_for(len) > self.arrays[0].bits && self.resize_to(len)
    }

    /// Drops all elements and gives back all memory, at once.
    pub fn clear(&mut self) {
        while !self.is_empty() {
            self.drain_some(usize::MAX, &mut drop);
        }
        self.arrays[0].free();
        self.arrays[1].free();
        self.migrated = 0;
        self.rehashing = false;
        self.assert_small();
    }

    /// Hands up to `n` elements to `f`, and frees the chunks this empties; returns how many. For a table taken out
    /// of use whose freeing should not take long: what is left can still be found, but `scan` does not stay cheap.
    pub fn drain_some(&mut self, n: usize, f: &mut dyn FnMut(E)) -> usize {
        let mut dropped = 0;
        while dropped < n && self.len > 0 {
            if !self.rehashing {
                // A rehash to nowhere: it never moves an element, because each chain is empty by its turn.
                self.arrays[1] = Array::empty();
                self.rehashing = true;
            }
            let head = self.arrays[0].bucket(self.migrated);
            if head.is_null() {
                self.pass_bucket();
                continue;
            }
            // SAFETY: invariant 5: a bucket that is not null is live.
            while dropped < n && unsafe { (*head).count() } > 0 {
                // SAFETY: as above, and the chain is not empty.
                let element = unsafe { self.pop(head) };
                self.len -= 1;
                dropped += 1;
                f(element.1);
            }
            // SAFETY: as above.
            if unsafe { (*head).count() } == 0 {
                self.pass_bucket();
            }
        }
        self.assert_small();
        dropped
    }

    /// The first bucket of the one chain that an element with `hash` can be in, or null.
    #[inline]
    fn head(&self, hash: u64) -> *mut Bucket<E> {
        let index = self.arrays[0].index(hash);
        if index >= self.migrated {
            self.arrays[0].bucket(index)
        } else {
            self.arrays[1].bucket(self.arrays[1].index(hash))
        }
    }

    #[inline]
    fn locate(&self, hash: u64, key: &[u8]) -> Option<Found<E>> {
        let head = self.head(hash);
        let tag = tag_of(hash);
        let mut at = head;
        while !at.is_null() {
            // SAFETY: invariants 3 and 5: heads and links that are not null point to live buckets.
            let bucket = unsafe { &*at };
            let mut matches = bucket.matches(tag);
            while matches != 0 {
                let slot = (matches.trailing_zeros() / 8) as usize - 1;
                // SAFETY: invariant 2, after the check of the presence bit.
                if bucket.is_present(slot) && is_same(unsafe { bucket.element(slot) }.key(), key) {
                    return Some(Found {
                        head,
                        bucket: at,
                        slot,
                    });
                }
                matches &= matches - 1;
            }
            at = bucket.next();
        }
        None
    }

    /// Adds an element at the end of the chain and returns its place.
    ///
    /// # Safety
    /// `head` is the first bucket of a chain of this table.
    #[inline]
    unsafe fn push(&mut self, head: *mut Bucket<E>, tag: u8, element: E) -> *mut E {
        debug_assert!(!head.is_null());
        let mut last = head;
        // SAFETY: invariants 3 and 5: `last` goes from live bucket to live bucket; only the last, which is not
        // chained, is written to, at its first absent slot (invariant 2).
        unsafe {
            while (*last).is_chained() {
                last = (*last).next();
            }
            let mut slot = (*last).count();
            if slot == SLOTS {
                last = self.push_bucket(last);
                slot = 1;
            }
            (*last).put(slot, tag, element);
            (&raw mut (*last).slots[slot].element).cast()
        }
    }

    /// Chains a new bucket to a full one and moves the element of the last slot there, which makes room for
    /// the link.
    ///
    /// # Safety
    /// `last` is a live bucket, full and not chained.
    #[cold]
    unsafe fn push_bucket(&mut self, last: *mut Bucket<E>) -> *mut Bucket<E> {
        let next: *mut Bucket<E> = alloc_zeroed_or_abort(Layout::new::<Bucket<E>>()).cast();
        self.overflow += 1;
        // SAFETY: the caller promises a full `last`; `next` is new, zeroed and so empty (invariants 2, 3).
        unsafe {
            debug_assert!((*last).count() == SLOTS);
            let (tag, element) = (*last).pop();
            (*next).put(0, tag, element);
            (*last).slots[LINK].next = next;
            (*last).meta |= CHAINED;
        }
        next
    }

    /// Takes the last element off the chain, and a bucket that is left with one element too (invariant 4).
    ///
    /// # Safety
    /// `head` is a live first bucket and the chain is not empty.
    #[inline]
    unsafe fn pop(&mut self, head: *mut Bucket<E>) -> (u8, E) {
        let (mut before, mut last) = (ptr::null_mut(), head);
        // SAFETY: invariants 3 and 5: all buckets on the way are live; by invariant 4 an overflow bucket has two
        // elements before and one after the first pop, which then fills the slot of the link.
        unsafe {
            while (*last).is_chained() {
                before = last;
                last = (*last).next();
            }
            let popped = (*last).pop();
            if !before.is_null() && (*last).count() == 1 {
                let (tag, element) = (*last).pop();
                (*before).meta &= !CHAINED;
                (*before).put(LINK, tag, element);
                self.free_overflow(last);
            }
            popped
        }
    }

    /// Takes the element out and fills its place with the last one of the chain.
    ///
    /// # Safety
    /// `found` names a present slot of this table.
    #[inline]
    unsafe fn take(&mut self, found: Found<E>) -> E {
        let Found { head, bucket, slot } = found;
        // SAFETY: the caller promises presence, so the chain is not empty and `bucket` is live. When the last
        // element is another one, its pop freed `bucket` only if `bucket` held the chain's last two elements;
        // that case is told apart by looking at them first.
        unsafe {
            debug_assert!((*bucket).is_present(slot));
            if bucket != head && !(*bucket).is_chained() && (*bucket).count() == 2 {
                // The bucket goes: leave the survivor in slot 0, then drop the bucket by popping the other.
                if slot == 0 {
                    (*bucket).swap_first_two();
                }
                return self.pop(head).1;
            }
            let (tag, last) = self.pop(head);
            if (*bucket).is_present(slot) {
                // The hole is still in place, so the popped element was another one: it moves in.
                let hole =
                    std::mem::replace(&mut (*bucket).slots[slot].element, ManuallyDrop::new(last));
                let shift = 8 * (slot as u32 + 1);
                (*bucket).meta = ((*bucket).meta & !(0xff << shift)) | (u64::from(tag) << shift);
                return ManuallyDrop::into_inner(hole);
            }
            last
        }
    }

    /// # Safety
    /// `bucket` is an overflow bucket that nothing links to any more and that is empty.
    unsafe fn free_overflow(&mut self, bucket: *mut Bucket<E>) {
        // SAFETY: invariant 3: it came from `push_bucket` with this layout, and the caller has unlinked it.
        unsafe {
            debug_assert!((*bucket).count() == 0);
            dealloc(bucket.cast(), Layout::new::<Bucket<E>>());
        }
        self.overflow -= 1;
    }

    #[cold]
    #[inline(never)]
    fn advance_for_insert(&mut self) {
        if self.rehashing {
            // Growing, one bucket an insert is done after a sixth of the inserts that the next growth takes.
            let grows = self.arrays[1].bits > self.arrays[0].bits;
            self.rehash_step(if grows { 1 } else { 2 });
        } else if !self.growth_held {
            self.start_rehash(self.arrays[0].bits + 1);
        }
    }

    #[inline]
    fn advance_for_remove(&mut self) {
        if self.rehashing {
            self.rehash_step(2);
        } else if self.len * 8 < self.arrays[0].buckets() * SLOTS {
            self.shrink();
        }
    }

    #[cold]
    fn shrink(&mut self) {
        let bits = self
            .len
            .div_ceil(LOAD_SHRUNK)
            .next_power_of_two()
            .trailing_zeros();
        if bits < self.arrays[0].bits {
            self.start_rehash(bits);
        } else if self.len == 0 {
            self.arrays[0].free();
        }
    }

    fn start_rehash(&mut self, bits: u32) {
        debug_assert!(!self.rehashing && self.migrated == 0);
        self.arrays[1] = Array::new(bits);
        self.rehashing = true;
        if self.len == 0 {
            self.finish_rehash();
        } else if self.arrays[0].bits <= AT_ONCE_BITS {
            while self.rehashing {
                self.migrate_bucket();
            }
        }
    }

    /// Moves the chain at `migrated` to array 1; whether there was anything to move.
    fn migrate_bucket(&mut self) -> bool {
        let head = self.arrays[0].bucket(self.migrated);
        // SAFETY: invariant 5: a bucket that is not null is live.
        let moves = !head.is_null() && unsafe { (*head).count() } > 0;
        if moves {
            // SAFETY: as above; the loop pops until the head is empty.
            while unsafe { (*head).count() } > 0 {
                // SAFETY: as above.
                let (_, element) = unsafe { self.pop(head) };
                let hash = self.seed.hash(element.key());
                let index = self.arrays[1].index(hash);
                let target = self.arrays[1].bucket_or_new(index);
                // SAFETY: invariant 5: `target` is a live bucket of array 1.
                unsafe { self.push(target, tag_of(hash), element) };
            }
        }
        self.pass_bucket();
        if self.rehashing {
            self.prefetch_migration();
        }
        moves
    }

    /// Fetches what the next step will read, so that it does not wait for a miss in each key.
    #[inline]
    fn prefetch_migration(&self) {
        let head = self.arrays[0].bucket(self.migrated);
        if !head.is_null() {
            // SAFETY: invariant 5: a bucket that is not null is live; slots are initialised and not followed.
            unsafe {
                for slot in 0..(*head).count() {
                    prefetch((*head).slots[slot].address);
                }
            }
            prefetch(head.wrapping_add(1).cast());
        }
    }

    /// Counts the bucket at `migrated`, which is empty, as done.
    fn pass_bucket(&mut self) {
        let passed = self.migrated;
        self.migrated += 1;
        if self.migrated == self.arrays[0].buckets() {
            self.finish_rehash();
        } else if self.migrated.is_multiple_of(CHUNK) {
            self.arrays[0].free_chunk(passed);
        }
    }

    fn finish_rehash(&mut self) {
        self.arrays.swap(0, 1);
        self.arrays[1].free();
        self.migrated = 0;
        self.rehashing = false;
    }

    #[inline]
    fn scan_chains(&self, cursor: u64, mut visit: impl FnMut(&E)) -> u64 {
        self.scan_buckets(cursor, |bucket| {
            // SAFETY: invariants 3 and 5: heads and links lead to live buckets, borrowed with the table.
            let bucket = unsafe { &*bucket };
            // SAFETY: invariant 2: present slots stand at the front.
            (0..bucket.count()).for_each(|slot| visit(unsafe { bucket.element(slot) }));
        })
    }

    /// The buckets of the chain at `cursor`, one after the other, and the next cursor.
    #[inline]
    fn scan_buckets(&self, mut cursor: u64, mut visit: impl FnMut(*mut Bucket<E>)) -> u64 {
        if self.len == 0 {
            return 0;
        }
        let mask = |which: usize| self.arrays[which].buckets() as u64 - 1;
        let mut visit_chain = |which: usize, cursor: u64| {
            let index = (cursor & mask(which)) as usize;
            if which == 1 || index >= self.migrated {
                let mut at = self.arrays[which].bucket(index);
                while !at.is_null() {
                    // SAFETY: invariants 3 and 5: a head or link that is not null is a live bucket.
                    let next = unsafe { (*at).next() };
                    visit(at);
                    at = next;
                }
            }
        };
        if !self.rehashing {
            visit_chain(0, cursor);
            return next_cursor(cursor, mask(0));
        }
        let (small, large) = if mask(0) <= mask(1) { (0, 1) } else { (1, 0) };
        visit_chain(small, cursor);
        loop {
            visit_chain(large, cursor);
            cursor = next_cursor(cursor, mask(large));
            if cursor & (mask(0) ^ mask(1)) == 0 {
                return cursor;
            }
        }
    }

    /// The first buckets of all chains that may hold something.
    fn heads(&self) -> impl Iterator<Item = *mut Bucket<E>> {
        let first =
            (self.migrated..self.arrays[0].buckets()).map(|index| self.arrays[0].bucket(index));
        let second = (0..self.bucket_counts().1).map(|index| self.arrays[1].bucket(index));
        first.chain(second).filter(|head| !head.is_null())
    }

    #[inline]
    fn chain_buckets(&self, head: *mut Bucket<E>) -> impl Iterator<Item = &Bucket<E>> {
        let mut at = head;
        std::iter::from_fn(move || {
            // SAFETY: invariants 3 and 5: heads and links that are not null point to buckets that live as long
            // as the table is borrowed.
            let bucket = unsafe { at.as_ref() }?;
            at = bucket.next();
            Some(bucket)
        })
    }

    #[inline]
    fn chain(&self, head: *mut Bucket<E>) -> impl Iterator<Item = &E> {
        self.chain_buckets(head).flat_map(|bucket| {
            // SAFETY: invariant 2: present slots stand at the front.
            (0..bucket.count()).map(move |slot| unsafe { bucket.element(slot) })
        })
    }

    #[inline]
    fn assert_small(&self) {
        #[cfg(debug_assertions)]
        if self.len < 64 && self.arrays[0].bits <= 6 && self.arrays[1].bits <= 6 {
            self.assert_valid();
        }
    }
}

impl<E: Element> Drop for Table<E> {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests;
