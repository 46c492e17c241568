//! Hash: fields with their values, of which each may have a deadline of its own.
//!
//! Lives here: the three encodings, when one turns into the next, and the order of deadlines. May not: clocks
//! (callers pass the time before which a deadline has passed), replies, events.
//!
//! ```text
//! Listpack    field, value, field, value ...               no field has or had a deadline
//! ListpackEx  field, value, deadline, field ...            deadline 0: none
//! Table       a block for each field, its word the deadline; and the deadlines in order
//! ```
//!
//! Invariants:
//! 1. Packed fields are distinct and come in pairs or triples.
//! 2. Triples are in the order of their deadlines, those without one last: as RDB files have them.
//! 3. `Fields::deadlines` has the deadline and the hash of every field of the table that has a deadline. Two fields
//!    that share both share the entry too, so that one of them may outlive its deadline until it is looked up:
//!    with 64 bits of a keyed hash, and in one millisecond, that is not going to happen.

use std::collections::BTreeSet;

use crate::keyspace::entry::Encoding;
use crate::keyspace::member::HashField;
use crate::keyspace::table::{ArrayStats, HashSeed, Table};
use crate::types::decimal::parse_i64;
use crate::types::digest::Digest;
use crate::types::listpack::{Item, Listpack, Pos, all_differ};
use crate::types::one_of::{Owned, one_of};
use crate::types::size_class::class_size;

const PAIR: usize = 2;
const TRIPLE: usize = 3;

/// What a node of a `BTreeSet` adds to each entry, about.
const INDEX_BYTES: usize = 24;

/// A packed hash that has deadlines: rare enough to pay for a box around the listpack.
pub type Timed = Owned<Listpack, 2>;
/// A hash that is not packed.
pub type LargeHash = Owned<Fields, 3>;

one_of! {
    /// A hash.
    pub Hash, HashRef, HashMut {
        Listpack(Listpack),
        ListpackEx(Timed),
        Table(LargeHash),
    }
}

/// The fields of a hash that is not packed.
pub struct Fields {
    table: Table<HashField>,
    /// Deadline and hash of each field that has a deadline, the soonest first.
    deadlines: BTreeSet<(i64, u64)>,
}

/// Up to where a hash stays packed, and the seed of the table that it becomes.
#[derive(Clone, Copy, Debug)]
pub struct HashLimits {
    pub entries: usize,
    pub value_bytes: usize,
    pub seed: HashSeed,
}

/// A field's value and deadline.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found<'a> {
    pub value: Item<'a>,
    pub deadline_ms: Option<i64>,
}

impl Found<'_> {
    /// Whether the deadline lies before `horizon_ms`.
    #[inline]
    pub fn is_due(&self, horizon_ms: i64) -> bool {
        self.deadline_ms.is_some_and(|at| at < horizon_ms)
    }
}

/// What becomes of the deadline of a field that is given another value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldDeadline {
    Keep,
    Clear,
}

/// Why a listpack is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BadFields {
    /// There are no whole pairs, or deadlines are no numbers or out of order.
    Form,
    /// A field comes twice.
    Twice,
}

impl Default for Hash {
    fn default() -> Hash {
        Listpack::new().into()
    }
}

impl Fields {
    fn new(seed: HashSeed, capacity: usize) -> Fields {
        Fields {
            table: Table::with_capacity(seed, capacity),
            deadlines: BTreeSet::new(),
        }
    }

    /// Adds a field that is not there.
    #[inline]
    fn add(&mut self, hash: u64, field: &[u8], value: &[u8], deadline_ms: Option<i64>) {
        if let Some(deadline) = deadline_ms {
            self.deadlines.insert((deadline, hash));
        }
        self.table
            .insert(hash, HashField::new(field, value, deadline_ms));
    }

    fn remove(&mut self, hash: u64, field: &[u8]) -> Option<HashField> {
        let removed = self.table.remove(hash, field)?;
        if let Some(deadline) = removed.deadline_ms() {
            self.deadlines.remove(&(deadline, hash));
        }
        Some(removed)
    }

    fn set_deadline(&mut self, hash: u64, field: &[u8], deadline_ms: Option<i64>) -> bool {
        let Some(found) = self.table.find_mut(hash, field) else {
            return false;
        };
        if let Some(old) = found.deadline_ms() {
            self.deadlines.remove(&(old, hash));
        }
        if let Some(new) = deadline_ms {
            self.deadlines.insert((new, hash));
        }
        found.set_deadline_ms(deadline_ms);
        true
    }
}

impl Hash {
    /// A hash from the listpack of an RDB file or a DUMP payload, which has been checked to be sound. It is
    /// refused if it is not made of pairs, or of triples with deadlines in order, or if a field comes twice.
    pub fn from_listpack(list: Listpack, has_deadlines: bool) -> Result<Hash, BadFields> {
        let step = if has_deadlines { TRIPLE } else { PAIR };
        if !list.len().is_multiple_of(step) {
            return Err(BadFields::Form);
        }
        if !all_differ(list.iter().step_by(step)) {
            return Err(BadFields::Twice);
        }
        let hash = if has_deadlines {
            Hash::from(Timed::new(list))
        } else {
            Hash::from(list)
        };
        if !has_deadlines {
            return Ok(hash);
        }
        let mut last = Some(i64::MIN);
        for (_, found) in hash.iter() {
            let in_order = match (last, found.deadline_ms) {
                (Some(last), Some(deadline)) => last <= deadline,
                (None, Some(_)) => false,
                (_, None) => true,
            };
            if !in_order {
                return Err(BadFields::Form);
            }
            last = found.deadline_ms;
        }
        // A deadline that is no number would read as none; it is refused here and never met later.
        let is_number = |list: &Listpack| {
            list.iter()
                .skip(PAIR)
                .step_by(TRIPLE)
                .all(|item| item.int().is_some_and(|deadline| deadline >= 0))
        };
        match hash.view() {
            HashRef::ListpackEx(list) if !is_number(list) => Err(BadFields::Form),
            _ => Ok(hash),
        }
    }

    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        match self.view() {
            HashRef::Listpack(_) => Encoding::Listpack,
            HashRef::ListpackEx(_) => Encoding::ListpackEx,
            HashRef::Table(_) => Encoding::Hashtable,
        }
    }

    /// How many fields there are, those whose deadline has passed included.
    #[inline]
    pub fn len(&self) -> usize {
        match self.view() {
            HashRef::Listpack(list) => list.len() / PAIR,
            HashRef::ListpackEx(list) => list.len() / TRIPLE,
            HashRef::Table(fields) => fields.table.len(),
        }
    }

    /// Whether there is no field.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self.view() {
            HashRef::Listpack(list) => list.is_empty(),
            HashRef::ListpackEx(list) => list.is_empty(),
            HashRef::Table(fields) => fields.table.is_empty(),
        }
    }

    /// A deep copy.
    pub fn duplicate(&self) -> Hash {
        match self.view() {
            HashRef::Listpack(list) => list.clone().into(),
            HashRef::ListpackEx(list) => Timed::new(Listpack::clone(list)).into(),
            HashRef::Table(fields) => {
                let table = &fields.table;
                let mut copy = Fields::new(*table.seed(), table.len());
                for field in table.iter() {
                    copy.table.insert(table.hash(field.key()), field.clone());
                }
                copy.deadlines.clone_from(&fields.deadlines);
                LargeHash::new(copy).into()
            }
        }
    }

    /// Adds the value to a digest of the data set.
    pub fn digest(&self, digest: &mut Digest) {
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [first, second] = &mut digits;
        for (field, found) in self.iter() {
            let mut one = Digest::default();
            one.mix(field.bytes(first));
            one.mix(found.value.bytes(second));
            if found.deadline_ms.is_some() {
                one.merge(b"!!hexpire!!");
            }
            digest.merge_digest(&one);
        }
    }

    /// The table that holds the fields.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        match self.view() {
            HashRef::Table(fields) => Some(fields.table.stats()),
            _ => None,
        }
    }

    /// Frees about `budget` elements of a value that nobody will use again; returns how many.
    pub fn free_some(&mut self, budget: usize) -> usize {
        let HashMut::Table(fields) = self.view_mut() else {
            return 0;
        };
        let deadlines = fields.deadlines.len().min(budget);
        for _ in 0..deadlines {
            fields.deadlines.pop_first();
        }
        deadlines + fields.table.drain_some(budget - deadlines, &mut drop)
    }

    /// Whether `free_some` has left nothing to speak of.
    pub fn is_freed(&self) -> bool {
        match self.view() {
            HashRef::Table(fields) => fields.table.is_empty(),
            HashRef::Listpack(_) | HashRef::ListpackEx(_) => true,
        }
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        match self.view() {
            HashRef::Listpack(list) => list.memory_bytes(),
            HashRef::ListpackEx(list) => class_size(size_of::<Listpack>()) + list.memory_bytes(),
            HashRef::Table(fields) => {
                let blocks: usize = fields.table.iter().map(HashField::memory_bytes).sum();
                size_of::<Fields>()
                    + fields.table.memory_bytes()
                    + blocks
                    + fields.deadlines.len() * INDEX_BYTES
            }
        }
    }

    /// The listpack of a packed hash, as it is saved, and whether it has deadlines in it.
    pub fn packed(&self) -> Option<(&Listpack, bool)> {
        match self.view() {
            HashRef::Listpack(list) => Some((list, false)),
            HashRef::ListpackEx(list) => Some((list, true)),
            HashRef::Table(_) => None,
        }
    }

    /// The table of a hash that is not packed.
    #[inline]
    pub fn table(&self) -> Option<&Table<HashField>> {
        match self.view() {
            HashRef::Table(fields) => Some(&fields.table),
            _ => None,
        }
    }

    /// Every field with what belongs to it.
    pub fn iter(&self) -> Iter<'_> {
        match self.view() {
            HashRef::Listpack(list) => Iter::Packed {
                list,
                at: list.first(),
                has_deadlines: false,
            },
            HashRef::ListpackEx(list) => Iter::Packed {
                list,
                at: list.first(),
                has_deadlines: true,
            },
            HashRef::Table(fields) => Iter::Table(Box::new(fields.table.iter())),
        }
    }

    /// A field's value and deadline.
    #[inline]
    pub fn get(&self, field: &[u8]) -> Option<Found<'_>> {
        match self.view() {
            HashRef::Listpack(list) => {
                let at = find(list, field, PAIR)?;
                Some(Found {
                    value: list.get(list.next(at)?),
                    deadline_ms: None,
                })
            }
            HashRef::ListpackEx(list) => {
                let value = list.next(find(list, field, TRIPLE)?)?;
                Some(Found {
                    value: list.get(value),
                    deadline_ms: deadline_at(list, list.next(value)?),
                })
            }
            HashRef::Table(fields) => {
                let found = fields.table.find(fields.table.hash(field), field)?;
                Some(Found {
                    value: Item::Str(found.value()),
                    deadline_ms: found.deadline_ms(),
                })
            }
        }
    }

    /// Makes the hash ready for `texts`, `len` fields and values: it stops being packed here if one of them is
    /// too long, or if there are too many of them.
    pub fn prepare<'a>(
        &mut self,
        texts: impl Iterator<Item = &'a [u8]>,
        len: usize,
        limits: &HashLimits,
    ) {
        let Some((list, _)) = self.packed() else {
            return;
        };
        let count = len / PAIR;
        if count > limits.entries {
            return self.unpack(limits, count);
        }
        let mut total = 0usize;
        for text in texts {
            if text.len() > limits.value_bytes {
                return self.unpack(limits, count);
            }
            total = total.saturating_add(text.len());
        }
        if !list.has_room(total, count * TRIPLE) {
            self.unpack(limits, count);
        }
    }

    /// Gives a field a value; says whether the field is new. A field that has a deadline keeps or loses it.
    #[inline]
    pub fn set(
        &mut self,
        field: &[u8],
        value: &[u8],
        old_deadline: OldDeadline,
        limits: &HashLimits,
    ) -> bool {
        if let Some((list, _)) = self.packed() {
            let longest = field.len().max(value.len());
            let total = field.len().saturating_add(value.len());
            if longest > limits.value_bytes || !list.has_room(total, TRIPLE) {
                self.unpack(limits, 1);
            }
        }
        let is_new = match self.view_mut() {
            HashMut::Listpack(list) => match find(list, field, PAIR).and_then(|at| list.next(at)) {
                Some(at) => {
                    list.replace(at, value);
                    false
                }
                None => {
                    list.extend(&[field, value]);
                    true
                }
            },
            HashMut::ListpackEx(list) => match find(list, field, TRIPLE) {
                Some(at) => {
                    let value_at = list.next(at);
                    if let Some(value_at) = value_at {
                        list.replace(value_at, value);
                    }
                    let deadline = value_at
                        .and_then(|at| list.next(at))
                        .and_then(|at| deadline_at(list, at));
                    if old_deadline == OldDeadline::Clear && deadline.is_some() {
                        list.remove(at, TRIPLE);
                        insert_by_deadline(list, field, value, None);
                    }
                    false
                }
                None => {
                    insert_by_deadline(list, field, value, None);
                    true
                }
            },
            HashMut::Table(fields) => {
                let hash = fields.table.hash(field);
                match fields.table.find_mut(hash, field) {
                    Some(found) => {
                        found.set_value(value);
                        if old_deadline == OldDeadline::Clear
                            && let Some(deadline) = found.deadline_ms()
                        {
                            found.set_deadline_ms(None);
                            fields.deadlines.remove(&(deadline, hash));
                        }
                        false
                    }
                    None => {
                        fields.add(hash, field, value, None);
                        true
                    }
                }
            }
        };
        // Also one that is only overwritten, where the limit is lower than it was.
        if self.packed().is_some() && self.len() > limits.entries {
            self.unpack(limits, 0);
        }
        is_new
    }

    /// Gives a field that is there a deadline, another one or none; says whether it is there.
    pub fn set_deadline(&mut self, field: &[u8], deadline_ms: Option<i64>) -> bool {
        self.admit_deadlines();
        match self.view_mut() {
            HashMut::Listpack(_) => false,
            HashMut::ListpackEx(list) => {
                let Some(at) = find(list, field, TRIPLE) else {
                    return false;
                };
                let Some(value) = list.next(at).map(|at| list.get(at).to_vec()) else {
                    return false;
                };
                list.remove(at, TRIPLE);
                insert_by_deadline(list, field, &value, deadline_ms);
                true
            }
            HashMut::Table(fields) => {
                let hash = fields.table.hash(field);
                fields.set_deadline(hash, field, deadline_ms)
            }
        }
    }

    /// Turns pairs into triples, so that fields can have deadlines.
    pub fn admit_deadlines(&mut self) {
        let HashRef::Listpack(list) = self.view() else {
            return;
        };
        let mut with_deadlines = Listpack::new();
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [first, second] = &mut digits;
        let mut items = list.iter();
        while let (Some(field), Some(value)) = (items.next(), items.next()) {
            let triple = [field.bytes(first), value.bytes(second), b"0"];
            with_deadlines.insert_triple(None, triple);
        }
        drop(items);
        *self = Timed::new(with_deadlines).into();
    }

    /// Takes a field out; says whether it was there.
    #[inline]
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match self.view_mut() {
            HashMut::Listpack(list) => remove_packed(list, field, PAIR),
            HashMut::ListpackEx(list) => remove_packed(list, field, TRIPLE),
            HashMut::Table(fields) => {
                let hash = fields.table.hash(field);
                fields.remove(hash, field).is_some()
            }
        }
    }

    /// The soonest deadline of a field, passed or not.
    #[inline]
    pub fn min_deadline(&self) -> Option<i64> {
        match self.view() {
            HashRef::Listpack(_) => None,
            HashRef::ListpackEx(list) => deadline_at(list, list.seek(PAIR as i64)?),
            HashRef::Table(fields) => fields.deadlines.first().map(|(deadline, _)| *deadline),
        }
    }

    /// How many fields have a deadline before `horizon_ms`.
    pub fn due_len(&self, horizon_ms: i64) -> usize {
        if self.min_deadline().is_none_or(|first| first >= horizon_ms) {
            return 0;
        }
        match self.view() {
            HashRef::Table(fields) => fields.deadlines.range(..(horizon_ms, 0)).count(),
            _ => self
                .iter()
                .take_while(|(_, found)| found.is_due(horizon_ms))
                .count(),
        }
    }

    /// Takes the fields out whose deadline lies before `horizon_ms`, the soonest first and `max` at most, and
    /// calls `f` with each field's name; says how many there were.
    pub fn take_due(&mut self, horizon_ms: i64, max: usize, mut f: impl FnMut(&[u8])) -> usize {
        let mut taken = 0;
        match self.view_mut() {
            HashMut::Listpack(_) => {}
            HashMut::ListpackEx(list) => {
                let mut digits = itoa::Buffer::new();
                let mut at = list.first();
                while taken < max
                    && let Some(field) = at
                {
                    let deadline = list
                        .next(field)
                        .and_then(|value| list.next(value))
                        .and_then(|at| deadline_at(list, at));
                    if deadline.is_none_or(|deadline| deadline >= horizon_ms) {
                        break;
                    }
                    f(list.get(field).bytes(&mut digits));
                    // One step behind the triple's last element.
                    at = list
                        .next(field)
                        .and_then(|value| list.next(value))
                        .and_then(|deadline| list.next(deadline));
                    taken += 1;
                }
                if let Some(first) = list.first() {
                    list.remove(first, taken * TRIPLE);
                }
            }
            HashMut::Table(fields) => {
                while taken < max
                    && let Some((deadline, hash)) = fields.deadlines.first().copied()
                    && deadline < horizon_ms
                {
                    let is_it = |field: &HashField| field.deadline_ms() == Some(deadline);
                    let name = fields
                        .table
                        .find_by_hash(hash, is_it)
                        .map(|field| field.key().to_vec());
                    if let Some(name) = name {
                        fields.table.remove(hash, &name);
                        f(&name);
                        taken += 1;
                    }
                    fields.deadlines.remove(&(deadline, hash));
                }
            }
        }
        taken
    }

    /// Calls `f` for some fields of a hash that is not packed and returns the next cursor, as [`Table::scan`].
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(&HashField)) -> u64 {
        match self.view() {
            HashRef::Table(fields) => fields.table.scan(cursor, f),
            _ => 0,
        }
    }

    /// Puts the fields into a table with room for `more`.
    fn unpack(&mut self, limits: &HashLimits, more: usize) {
        let Some((list, _)) = self.packed() else {
            return;
        };
        let len = list.len() / PAIR + more;
        let mut fields = Fields::new(limits.seed, len);
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let [first, second] = &mut digits;
        for (field, found) in self.iter() {
            let (field, value) = (field.bytes(first), found.value.bytes(second));
            fields.add(limits.seed.hash(field), field, value, found.deadline_ms);
        }
        *self = LargeHash::new(fields).into();
    }
}

/// The place of a packed field.
#[inline]
fn find(list: &Listpack, field: &[u8], step: usize) -> Option<Pos> {
    list.find(list.first()?, field, step - 1)
}

fn remove_packed(list: &mut Listpack, field: &[u8], step: usize) -> bool {
    let at = find(list, field, step);
    if let Some(at) = at {
        list.remove(at, step);
    }
    at.is_some()
}

fn deadline_at(list: &Listpack, at: Pos) -> Option<i64> {
    as_deadline(list.get(at))
}

fn as_deadline(item: Item<'_>) -> Option<i64> {
    let deadline = match item {
        Item::Int(deadline) => deadline,
        Item::Str(text) => parse_i64(text)?,
    };
    (deadline != 0).then_some(deadline)
}

/// Adds a triple where its deadline belongs, in front of those that have the same (invariant 2): the order shows.
fn insert_by_deadline(list: &mut Listpack, field: &[u8], value: &[u8], deadline_ms: Option<i64>) {
    let mut before = None;
    if let Some(deadline) = deadline_ms {
        let mut at = list.first();
        while let Some(start) = at {
            let Some(deadline_pos) = list.next(start).and_then(|value| list.next(value)) else {
                break;
            };
            if deadline_at(list, deadline_pos).is_none_or(|other| other >= deadline) {
                before = Some(start);
                break;
            }
            at = list.next(deadline_pos);
        }
    }
    let mut digits = itoa::Buffer::new();
    let deadline = digits.format(deadline_ms.unwrap_or(0)).as_bytes();
    list.insert_triple(before, [field, value, deadline]);
}

/// All fields of a hash, with their values and deadlines.
pub enum Iter<'a> {
    Packed {
        list: &'a Listpack,
        at: Option<Pos>,
        has_deadlines: bool,
    },
    Table(Box<dyn Iterator<Item = &'a HashField> + 'a>),
}

impl<'a> Iterator for Iter<'a> {
    type Item = (Item<'a>, Found<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Iter::Packed {
                list,
                at,
                has_deadlines,
            } => {
                let field = (*at)?;
                let value = list.next(field)?;
                *at = list.next(value);
                let mut deadline_ms = None;
                if *has_deadlines && let Some(pos) = *at {
                    deadline_ms = deadline_at(list, pos);
                    *at = list.next(pos);
                }
                let value = list.get(value);
                Some((list.get(field), Found { value, deadline_ms }))
            }
            Iter::Table(fields) => {
                let field = fields.next()?;
                let found = Found {
                    value: Item::Str(field.value()),
                    deadline_ms: field.deadline_ms(),
                };
                Some((Item::Str(field.key()), found))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::types::listpack::is_sound;

    const SEED: HashSeed = HashSeed(*b"0123456789abcdef");

    type Model = BTreeMap<Vec<u8>, (Vec<u8>, Option<i64>)>;

    fn limits(entries: usize, value_bytes: usize) -> HashLimits {
        HashLimits {
            entries,
            value_bytes,
            seed: SEED,
        }
    }

    fn contents(hash: &Hash) -> Model {
        hash.iter()
            .map(|(field, found)| (field.to_vec(), (found.value.to_vec(), found.deadline_ms)))
            .collect()
    }

    fn assert_valid(hash: &Hash) {
        if let Some((list, has_deadlines)) = hash.packed() {
            assert!(is_sound(list.as_bytes()));
            assert!(Hash::from_listpack(list.clone(), has_deadlines).is_ok());
        }
        if let HashRef::Table(fields) = hash.view() {
            fields.table.assert_valid();
            let indexed: BTreeSet<(i64, u64)> = fields
                .table
                .iter()
                .filter_map(|field| {
                    let hash = fields.table.hash(field.key());
                    field.deadline_ms().map(|deadline| (deadline, hash))
                })
                .collect();
            assert_eq!(indexed, fields.deadlines);
        }
    }

    #[test]
    fn edits_do_what_a_plain_map_does() {
        for (entries, with_deadlines) in [(8, false), (8, true), (512, true), (0, true)] {
            let limits = limits(entries, 64);
            let (mut hash, mut model) = (Hash::default(), Model::new());
            let mut state = 77u64;
            let mut next = |bound: u64| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                (state >> 33) % bound
            };
            for step in 0..6000 {
                let field = match next(3) {
                    0 => next(20).to_string(),
                    _ => format!("field{}", next(20)),
                }
                .into_bytes();
                let deadline = next(1000) as i64 + 1;
                match next(8) {
                    0..3 => {
                        let value = format!("{}", next(100_000)).into_bytes();
                        let keep = next(2) == 0;
                        let old = if keep {
                            OldDeadline::Keep
                        } else {
                            OldDeadline::Clear
                        };
                        let before = model.get(&field).cloned();
                        let is_new = hash.set(&field, &value, old, &limits);
                        assert_eq!(is_new, before.is_none());
                        let kept = before.and_then(|(_, at)| at).filter(|_| keep);
                        model.insert(field, (value, kept));
                    }
                    3 => assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                    4 | 5 if with_deadlines => {
                        let to = (next(4) > 0).then_some(deadline);
                        let entry = model.get_mut(&field);
                        assert_eq!(hash.set_deadline(&field, to), entry.is_some());
                        if let Some((_, at)) = entry {
                            *at = to;
                        }
                    }
                    6 if step % 20 == 0 => {
                        let horizon = next(300) as i64;
                        let due = model
                            .values()
                            .filter(|(_, at)| at.is_some_and(|at| at < horizon))
                            .count();
                        assert_eq!(hash.due_len(horizon), due);
                        let mut names = Vec::new();
                        let taken = hash.take_due(horizon, 3, |name| names.push(name.to_vec()));
                        assert_eq!(taken, due.min(3));
                        for name in names {
                            let (_, at) = model.remove(&name).expect("it was there");
                            assert!(at.is_some_and(|at| at < horizon));
                        }
                    }
                    _ => {
                        let found = hash
                            .get(&field)
                            .map(|found| (found.value.to_vec(), found.deadline_ms));
                        assert_eq!(found.as_ref(), model.get(&field));
                    }
                }
                let first = model.values().filter_map(|(_, at)| *at).min();
                assert_eq!(hash.min_deadline(), first, "step {step}");
                assert_eq!(hash.len(), model.len());
                if step % 40 == 0 {
                    assert_valid(&hash);
                    assert_eq!(contents(&hash), model);
                    let copy = hash.duplicate();
                    assert_valid(&copy);
                    assert_eq!(contents(&copy), model);
                }
            }
        }
    }

    #[test]
    fn a_hash_stays_packed_up_to_its_limits() {
        let limits = limits(3, 5);
        let set = |hash: &mut Hash, field: &[u8], value: &[u8]| {
            hash.set(field, value, OldDeadline::Clear, &limits);
            hash.encoding()
        };
        let mut hash = Hash::default();
        for field in [b"a", b"b", b"c", b"a"] {
            assert_eq!(set(&mut hash, field, b"12345"), Encoding::Listpack);
        }
        assert!(hash.set_deadline(b"b", Some(7)));
        assert_eq!(hash.encoding(), Encoding::ListpackEx);
        assert_eq!(set(&mut hash, b"d", b"1"), Encoding::Hashtable);
        assert_eq!(hash.min_deadline(), Some(7));
        let mut long = Hash::default();
        assert_eq!(set(&mut long, b"a", b"123456"), Encoding::Hashtable);
        let mut many = Hash::default();
        many.prepare([b"x".as_slice(); 8].into_iter(), 8, &limits);
        assert_eq!(many.encoding(), Encoding::Hashtable);
    }

    #[test]
    fn triples_are_in_the_order_of_their_deadlines() {
        let limits = limits(512, 64);
        let mut hash = Hash::default();
        for field in [b"a", b"b", b"c", b"d"] {
            hash.set(field, b"v", OldDeadline::Clear, &limits);
        }
        hash.set_deadline(b"c", Some(9));
        hash.set_deadline(b"a", Some(5));
        hash.set_deadline(b"b", Some(9));
        let order = |hash: &Hash| -> Vec<u8> {
            hash.iter().flat_map(|(field, _)| field.to_vec()).collect()
        };
        assert_eq!(order(&hash), b"abcd");
        hash.set(b"a", b"w", OldDeadline::Clear, &limits);
        assert_eq!(order(&hash), b"bcda");
        hash.set(b"c", b"w", OldDeadline::Keep, &limits);
        assert_eq!(order(&hash), b"bcda");
    }

    /// The last that was given a deadline came behind the others with the same one, which DUMP and HGETALL show.
    #[test]
    fn of_fields_with_the_same_deadline_the_latest_comes_first() {
        let limits = limits(8, 64);
        let mut hash = Hash::default();
        for field in ["a", "b", "c", "d"] {
            hash.set(field.as_bytes(), b"v", OldDeadline::Keep, &limits);
        }
        let order = |hash: &Hash| -> Vec<u8> {
            hash.iter().flat_map(|(field, _)| field.to_vec()).collect()
        };
        for (field, deadline, want) in [
            ("a", Some(5), "abcd"),
            ("b", Some(5), "bacd"),
            ("c", Some(7), "bacd"),
            ("d", Some(5), "dbac"),
            ("b", None, "dacb"),
            ("a", Some(5), "adcb"),
        ] {
            assert!(hash.set_deadline(field.as_bytes(), deadline));
            assert_eq!(order(&hash), want.as_bytes(), "{field}");
        }
    }

    #[test]
    fn listpacks_that_are_no_hash_are_refused() {
        let list = |items: &[&str]| {
            let mut list = Listpack::new();
            items.iter().for_each(|item| list.push(item.as_bytes()));
            list
        };
        for (items, has_deadlines, is_hash) in [
            (&["a", "1", "b", "2"][..], false, true),
            (&["a", "1", "b"], false, false),
            (&["a", "1", "a", "2"], false, false),
            (&["a", "1", "5", "b", "2", "0"], true, true),
            (&["a", "1", "0", "b", "2", "5"], true, false),
            (&["a", "1", "6", "b", "2", "5"], true, false),
            (&["a", "1", "x", "b", "2", "0"], true, false),
            (&["a", "1", "-5"], true, false),
            (&["a", "1", "5", "b", "2"], true, false),
        ] {
            let hash = Hash::from_listpack(list(items), has_deadlines);
            assert_eq!(hash.is_ok(), is_hash, "{items:?}");
        }
    }
}
