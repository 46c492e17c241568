//! Set: an intset while all members are integers, a listpack while they are few and short, else a table.
//!
//! Lives here: the three encodings, when one turns into the next, and what all can do. May not: configuration
//! (callers pass [`SetLimits`]), random numbers of its own.
//!
//! A set never turns back into a smaller encoding by itself. Intset members ascend; listpack members stand in the
//! order in which they came.

use crate::keyspace::entry::Encoding;
use crate::keyspace::member::SetMember;
use crate::keyspace::table::{ArrayStats, HashSeed, Table};
use crate::types::decimal::parse_i64;
use crate::types::digest::Digest;
use crate::types::intset::{self, Intset};
use crate::types::listpack::{BYTES_MAX, Item, Listpack, all_differ};
use crate::types::one_of::{Owned, one_of};

/// Bytes that an integer takes in a listpack at most.
const PACKED_INT_MAX: usize = 11;

/// A set that is not packed.
pub type LargeSet = Owned<Table<SetMember>, 3>;

one_of! {
    /// A set.
    pub Set, SetRef, SetMut {
        Intset(Intset),
        Listpack(Listpack),
        Table(LargeSet),
    }
}

/// Up to where the small encodings go, and the hash of the large one.
#[derive(Clone, Copy, Debug)]
pub struct SetLimits {
    pub intset_entries: usize,
    pub listpack_entries: usize,
    /// Bytes of a listpack's member.
    pub listpack_value: usize,
    pub seed: HashSeed,
}

impl SetLimits {
    fn intset_len_max(&self) -> usize {
        self.intset_entries.min(intset::LEN_MAX)
    }
}

/// One of three iterators over the same items.
enum Either<A, B, C> {
    Intset(A),
    Listpack(B),
    Table(C),
}

impl<T, A, B, C> Iterator for Either<A, B, C>
where
    A: Iterator<Item = T>,
    B: Iterator<Item = T>,
    C: Iterator<Item = T>,
{
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        match self {
            Either::Intset(iter) => iter.next(),
            Either::Listpack(iter) => iter.next(),
            Either::Table(iter) => iter.next(),
        }
    }
}

impl Set {
    /// An empty set in the encoding for `first`, when about `expected` members are to come.
    pub fn for_members(first: &[u8], expected: usize, limits: &SetLimits) -> Set {
        if expected <= limits.intset_len_max() && parse_i64(first).is_some() {
            Intset::new().into()
        } else if expected <= limits.listpack_entries {
            Listpack::new().into()
        } else {
            LargeSet::new(Table::with_capacity(limits.seed, expected)).into()
        }
    }

    /// A table right away.
    pub fn new_table(seed: HashSeed) -> Set {
        LargeSet::new(Table::new(seed)).into()
    }

    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        match self.view() {
            SetRef::Intset(_) => Encoding::Intset,
            SetRef::Listpack(_) => Encoding::Listpack,
            SetRef::Table(_) => Encoding::Hashtable,
        }
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self.view() {
            SetRef::Intset(ints) => ints.len(),
            SetRef::Listpack(list) => list.len(),
            SetRef::Table(table) => table.len(),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The members: ascending, in order of arrival, or in the table's order.
    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        match self.view() {
            SetRef::Intset(ints) => Either::Intset(ints.iter().map(Item::Int)),
            SetRef::Listpack(list) => Either::Listpack(list.iter()),
            SetRef::Table(table) => {
                Either::Table(table.iter().map(|member| Item::Str(member.key())))
            }
        }
    }

    /// Whether a member comes twice, as it may in a listpack that was taken as it lay.
    pub fn has_twice(&self) -> bool {
        match self.view() {
            SetRef::Listpack(list) => !all_differ(list.iter()),
            SetRef::Intset(_) | SetRef::Table(_) => false,
        }
    }

    /// Whether `member` is in the set.
    #[inline]
    pub fn contains(&self, member: &[u8]) -> bool {
        match self.view() {
            SetRef::Intset(ints) => parse_i64(member).is_some_and(|value| ints.contains(value)),
            SetRef::Listpack(list) => list
                .first()
                .is_some_and(|first| list.find(first, member, 0).is_some()),
            SetRef::Table(table) => table.find(table.hash(member), member).is_some(),
        }
    }

    /// Whether a member of another set is in this one.
    #[inline]
    pub fn contains_item(&self, item: Item<'_>) -> bool {
        match (self.view(), item) {
            (SetRef::Intset(ints), Item::Int(value)) => ints.contains(value),
            _ => self.contains(item.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Gets ready for about `expected` members more: when the small encodings will not hold as many, it does not
    /// wait for them to be full.
    pub fn expect(&mut self, expected: usize, limits: &SetLimits) {
        let too_many = match self.view_mut() {
            SetMut::Intset(_) => expected > limits.intset_len_max(),
            SetMut::Listpack(_) => expected > limits.listpack_entries,
            SetMut::Table(_) => false,
        };
        if too_many {
            self.make_table(limits, expected);
        }
    }

    /// Adds a member; whether it was not there yet.
    #[inline]
    pub fn add(&mut self, member: &[u8], limits: &SetLimits) -> bool {
        match self.view_mut() {
            SetMut::Table(table) => {
                let hash = table.hash(member);
                let is_new = table.find(hash, member).is_none();
                if is_new {
                    table.insert(hash, SetMember::new(member));
                }
                is_new
            }
            SetMut::Listpack(list) => {
                let found = list.first().and_then(|first| list.find(first, member, 0));
                if found.is_some() {
                    return false;
                }
                if list.len() < limits.listpack_entries
                    && member.len() <= limits.listpack_value
                    && list.has_room(member.len(), 1)
                {
                    list.push(member);
                    return true;
                }
                let len = list.len();
                self.make_table(limits, len + 1);
                self.add(member, limits)
            }
            SetMut::Intset(_) => match parse_i64(member) {
                Some(value) => self.add_int(value, limits),
                None => {
                    self.leave_intset(member, limits);
                    self.add(member, limits)
                }
            },
        }
    }

    /// Adds a member of another set; whether it was not there yet.
    #[inline]
    pub fn add_item(&mut self, item: Item<'_>, limits: &SetLimits) -> bool {
        match (self.view(), item) {
            (SetRef::Intset(_), Item::Int(value)) => self.add_int(value, limits),
            _ => self.add(item.bytes(&mut itoa::Buffer::new()), limits),
        }
    }

    fn add_int(&mut self, value: i64, limits: &SetLimits) -> bool {
        let SetMut::Intset(ints) = self.view_mut() else {
            return self.add(itoa::Buffer::new().format(value).as_bytes(), limits);
        };
        let is_new = ints.insert(value);
        if is_new && ints.len() > limits.intset_len_max() {
            self.make_table(limits, self.len());
        }
        is_new
    }

    /// Turns an intset into what can hold `member`, which is no integer, too.
    fn leave_intset(&mut self, member: &[u8], limits: &SetLimits) {
        let SetMut::Intset(ints) = self.view_mut() else {
            return;
        };
        let digits = |value: Option<i64>| value.map_or(0, |value| Item::Int(value).len());
        let longest = digits(ints.first()).max(digits(ints.last()));
        let packed = ints.len().saturating_mul(PACKED_INT_MAX);
        if ints.len() < limits.listpack_entries
            && member.len() <= limits.listpack_value
            && longest <= limits.listpack_value
            && packed.saturating_add(member.len()) < BYTES_MAX / 2
        {
            let mut list = Listpack::new();
            for value in ints.iter() {
                list.push_int(value);
            }
            *self = list.into();
        } else {
            self.make_table(limits, self.len() + 1);
        }
    }

    fn make_table(&mut self, limits: &SetLimits, expected: usize) {
        let expected = expected.max(self.len());
        let mut table = Table::with_capacity(limits.seed, expected);
        let mut digits = itoa::Buffer::new();
        for item in self.iter() {
            let member = item.bytes(&mut digits);
            let hash = table.hash(member);
            // A listpack that was taken as it lay may have a member twice.
            if table.find(hash, member).is_none() {
                table.insert(hash, SetMember::new(member));
            }
        }
        *self = LargeSet::new(table).into();
    }

    /// Becomes an intset if all members are integers and few enough.
    pub fn pack_ints(&mut self, limits: &SetLimits) {
        if matches!(self.view(), SetRef::Intset(_)) || self.len() > limits.intset_len_max() {
            return;
        }
        let value = |item: Item<'_>| match item {
            Item::Int(value) => Some(value),
            Item::Str(text) => parse_i64(text),
        };
        let values: Option<Vec<i64>> = self.iter().map(value).collect();
        if let Some(mut values) = values {
            values.sort_unstable();
            values.dedup();
            *self = values.into_iter().collect::<Intset>().into();
        }
    }

    /// Removes a member; whether it was there.
    #[inline]
    pub fn remove(&mut self, member: &[u8]) -> bool {
        match self.view_mut() {
            SetMut::Intset(ints) => parse_i64(member).is_some_and(|value| ints.remove(value)),
            SetMut::Listpack(list) => {
                let found = list.first().and_then(|first| list.find(first, member, 0));
                if let Some(pos) = found {
                    list.remove(pos, 1);
                }
                found.is_some()
            }
            SetMut::Table(table) => {
                let hash = table.hash(member);
                table.remove(hash, member).is_some()
            }
        }
    }

    /// Removes a member of another set; whether it was there.
    pub fn remove_item(&mut self, item: Item<'_>) -> bool {
        match (self.view_mut(), item) {
            (SetMut::Intset(ints), Item::Int(value)) => ints.remove(value),
            _ => self.remove(item.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// A random member, all equally likely. `rand` returns a number below the bound it is given.
    pub fn random(&self, rand: &mut dyn FnMut(u64) -> u64) -> Option<Item<'_>> {
        match self.view() {
            SetRef::Table(table) => table
                .random_fair(rand)
                .map(|member| Item::Str(member.key())),
            SetRef::Intset(ints) => ints.get(rand(ints.len() as u64) as usize).map(Item::Int),
            SetRef::Listpack(list) => {
                let index = rand(list.len() as u64);
                list.seek(index as i64).map(|pos| list.get(pos))
            }
        }
    }

    /// Asks the processor for what the next calls of `random` will look at, if `rand` gives the numbers that they
    /// will be given.
    #[inline]
    pub fn prefetch_random(&self, rand: &mut dyn FnMut(u64) -> u64) {
        if let SetRef::Table(table) = self.view() {
            table.prefetch_random_fair(rand);
        }
    }

    /// `count` different members, all choices equally likely, in the set's own order; all if it has no more.
    pub fn sample(&self, count: usize, rand: &mut dyn FnMut(u64) -> u64) -> Vec<Item<'_>> {
        let mut wanted = count.min(self.len());
        let mut left = self.len();
        let mut picked = Vec::with_capacity(wanted);
        // Selection sampling: each is taken with the share of those still wanted in those still to come (Knuth,
        // volume 2, algorithm S).
        for item in self.iter() {
            if wanted == 0 {
                break;
            }
            if rand(left as u64) < wanted as u64 {
                picked.push(item);
                wanted -= 1;
            }
            left -= 1;
        }
        picked
    }

    /// Does up to `buckets` pieces of a rehash that is under way, for commands that only read.
    pub fn rehash_step(&mut self, buckets: usize) {
        if let SetMut::Table(table) = self.view_mut() {
            table.rehash_step(buckets);
        }
    }

    /// Calls `f` for the members at `cursor` and returns the next cursor; 0 starts and ends a walk. What is not a
    /// table is walked in one go.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(Item<'_>)) -> u64 {
        match self.view() {
            SetRef::Table(table) => table.scan(cursor, &mut |member| f(Item::Str(member.key()))),
            _ => {
                self.iter().for_each(f);
                0
            }
        }
    }

    /// A deep copy.
    pub fn duplicate(&self) -> Set {
        match self.view() {
            SetRef::Intset(ints) => ints.clone().into(),
            SetRef::Listpack(list) => list.clone().into(),
            SetRef::Table(table) => {
                let mut copy = Table::with_capacity(*table.seed(), table.len());
                for member in table.iter() {
                    copy.insert(table.hash(member.key()), member.clone());
                }
                LargeSet::new(copy).into()
            }
        }
    }

    /// Adds the value to a digest of the data set.
    pub fn digest(&self, digest: &mut Digest) {
        let mut digits = itoa::Buffer::new();
        for item in self.iter() {
            digest.merge(item.bytes(&mut digits));
        }
    }

    /// The table that holds the elements.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        match self.view() {
            SetRef::Table(table) => Some(table.stats()),
            _ => None,
        }
    }

    /// The table of members, unless they are packed.
    #[inline]
    pub fn table(&self) -> Option<&Table<SetMember>> {
        match self.view() {
            SetRef::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Frees about `budget` elements of a value that nobody will use again; returns how many.
    pub fn free_some(&mut self, budget: usize) -> usize {
        match self.view_mut() {
            SetMut::Table(table) => table.drain_some(budget, &mut drop),
            SetMut::Intset(_) | SetMut::Listpack(_) => 0,
        }
    }

    /// Whether `free_some` has left nothing to speak of.
    pub fn is_freed(&self) -> bool {
        match self.view() {
            SetRef::Table(table) => table.is_empty(),
            SetRef::Intset(_) | SetRef::Listpack(_) => true,
        }
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        match self.view() {
            SetRef::Intset(ints) => ints.memory_bytes(),
            SetRef::Listpack(list) => list.memory_bytes(),
            SetRef::Table(table) => {
                let members: usize = table.iter().map(SetMember::memory_bytes).sum();
                size_of::<Table<SetMember>>() + table.memory_bytes() + members
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::state::rng::Rng;

    const LIMITS: SetLimits = SetLimits {
        intset_entries: 16,
        listpack_entries: 8,
        listpack_value: 10,
        seed: HashSeed(*b"0123456789abcdef"),
    };

    fn set_of(members: &[&str]) -> Set {
        let first = members.first().map_or("", |first| first);
        let mut set = Set::for_members(first.as_bytes(), 1, &LIMITS);
        for member in members {
            assert!(set.add(member.as_bytes(), &LIMITS), "{member}");
        }
        set
    }

    fn texts(set: &Set) -> Vec<Vec<u8>> {
        set.iter().map(Item::to_vec).collect()
    }

    #[test]
    fn a_handle_is_one_word() {
        assert_eq!(size_of::<Set>(), 8);
    }

    #[test]
    fn encodings_follow_the_members_and_the_limits() {
        let ints: Vec<String> = (0..17).map(|n| n.to_string()).collect();
        let ints: Vec<&str> = ints.iter().map(String::as_str).collect();
        let names = ["a", "b", "c", "d", "e", "f", "g", "h", "i"];
        let seven = [&ints[..7], &["x"]].concat();
        let eight = [&ints[..8], &["x"]].concat();
        for (members, want) in [
            (&ints[..16], Encoding::Intset),
            (&ints[..17], Encoding::Hashtable),
            (&names[..8], Encoding::Listpack),
            (&names[..9], Encoding::Hashtable),
            (&seven, Encoding::Listpack),
            (&eight, Encoding::Hashtable),
            (&["0123456789"], Encoding::Listpack),
            (&["0123456789x"], Encoding::Hashtable),
            (&["12345678901", "x"], Encoding::Hashtable),
            (&["007"], Encoding::Listpack),
        ] {
            let set = set_of(members);
            assert_eq!(set.encoding(), want, "{members:?}");
            assert_eq!(set.len(), members.len());
        }
    }

    #[test]
    fn random_edits_agree_with_a_plain_set() {
        for seed in 0..60 {
            let mut rng = Rng::new(seed);
            let mut set = Set::for_members(if seed % 2 == 0 { b"1" } else { b"x" }, 1, &LIMITS);
            let mut model: BTreeSet<Vec<u8>> = BTreeSet::new();
            let range = [6, 12, 300][seed as usize % 3];
            for _ in 0..500 {
                let number = rng.below(range);
                let member = match rng.below(8) {
                    0 if seed % 4 != 0 => format!("member{number}"),
                    _ => number.to_string(),
                };
                let member = member.into_bytes();
                if rng.below(3) == 0 {
                    assert_eq!(set.remove(&member), model.remove(&member), "seed {seed}");
                } else {
                    assert_eq!(set.add(&member, &LIMITS), model.insert(member.clone()));
                }
                assert_eq!(set.contains(&member), model.contains(&member));
                assert_eq!(set.len(), model.len());
            }
            let copy = set.duplicate();
            for set in [&set, &copy] {
                let members: BTreeSet<Vec<u8>> = texts(set).into_iter().collect();
                assert_eq!(members, model, "seed {seed}");
            }
            let mut scanned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, &mut |item| _ = scanned.insert(item.to_vec()));
                if cursor == 0 {
                    break;
                }
            }
            assert_eq!(scanned, model, "seed {seed}");
        }
    }

    #[test]
    fn samples_are_different_members_and_fair() {
        let mut rng = Rng::new(5);
        for len in [4, 8, 16, 40] {
            let members: Vec<String> = (0..len).map(|n| n.to_string()).collect();
            let members: Vec<&str> = members.iter().map(String::as_str).collect();
            let set = set_of(&members);
            let mut seen = vec![0; len];
            for _ in 0..1000 {
                let picked = set.sample(len / 4, &mut |bound| rng.below(bound));
                assert_eq!(picked.len(), len / 4);
                for item in picked {
                    let text = String::from_utf8(item.to_vec()).expect("digits");
                    seen[text.parse::<usize>().expect("a number")] += 1;
                }
            }
            assert!(seen.iter().all(|n| (190..310).contains(n)), "{seen:?}");
            assert_eq!(set.sample(99, &mut |bound| rng.below(bound)).len(), len);
        }
    }

    #[test]
    fn integers_in_a_table_pack_again_when_asked() {
        let ints: Vec<String> = (0..17).rev().map(|n| n.to_string()).collect();
        let ints: Vec<&str> = ints.iter().map(String::as_str).collect();
        let mut set = set_of(&ints);
        set.pack_ints(&LIMITS);
        assert_eq!(set.encoding(), Encoding::Hashtable, "too many");
        set.remove(b"5");
        set.pack_ints(&LIMITS);
        assert_eq!(set.encoding(), Encoding::Intset);
        assert_eq!(set.len(), 16);
        let mut names = set_of(&["1x", "2"]);
        names.pack_ints(&LIMITS);
        assert_eq!(names.encoding(), Encoding::Listpack);
    }
}
