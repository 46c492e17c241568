//! ZSet: members with scores, in the order of their scores.
//!
//! Lives here: both encodings and the change from one to the other. May not: options of commands, replies.
//!
//! A small sorted set is a listpack of member and score by turns, in order. A larger one, which OBJECT ENCODING calls
//! `skiplist`, is a table that owns the members, each with its score, and an order-statistic B+tree of (score, member)
//! beside it.
//!
//! Invariants:
//! 1. A listpack holds pairs of member and score, in the order of the tree, and each member once.
//! 2. The tree holds exactly one entry for each element of the table, with that element's score.
//! 3. Scores are never NaN.
#![allow(
    unsafe_code,
    reason = "the tree names members that the table beside it owns; copies would double their memory"
)]

use crate::keyspace::entry::Encoding;
use crate::keyspace::member::{MemberRef, ScoredMember};
use crate::keyspace::table::{ArrayStats, HashSeed, Table};
use crate::resp::writer::{format_digits, format_double};
use crate::types::btree::{Named, OrderTree, Scored};
use crate::types::decimal::parse_double;
use crate::types::digest::Digest;
use crate::types::listpack::{Item, Listpack, Pos, all_differ};
use crate::types::one_of::{Owned, one_of};
use crate::types::size_class::class_size;

/// A sorted set that is not packed.
pub type LargeZSet = Owned<Tree, 3>;

/// Elements of a new tree for which memory is asked at a time.
const RUN: usize = 32;
/// How many pops ahead a member is asked for; its bucket, whose place only its name tells, at half of that.
const POPS_AHEAD: usize = 8;

one_of! {
    /// A sorted set.
    pub ZSet, ZSetRef, ZSetMut {
        Listpack(Listpack),
        Tree(LargeZSet),
    }
}

/// The encoding of large sorted sets.
pub struct Tree {
    /// Refers to the members that the table owns, so it comes first and is dropped first.
    order: OrderTree<MemberRef<false>>,
    table: Table<ScoredMember>,
    member_bytes: usize,
}

/// What decides on the encoding, and the seed of the table.
#[derive(Clone, Copy, Debug)]
pub struct ZSetLimits {
    /// Most members of a listpack.
    pub entries: usize,
    /// Bytes of the longest member in a listpack.
    pub value: usize,
    pub seed: HashSeed,
}

impl ZSetLimits {
    fn allows(&self, len: usize, longest: usize) -> bool {
        len <= self.entries && longest <= self.value
    }
}

/// An element: its name and its score.
pub type Element<'a> = (Item<'a>, f64);

impl ZSet {
    /// An empty sorted set that is to take `len` members, the longest of so many bytes.
    pub fn new(len: usize, longest: usize, limits: &ZSetLimits) -> ZSet {
        if limits.allows(len, longest) {
            Listpack::new().into()
        } else {
            LargeZSet::new(Tree::new(limits.seed)).into()
        }
    }

    /// A sorted set of these elements in the smallest encoding allowed; of elements with the same name the first counts.
    pub fn from_elements<'a>(
        mut elements: impl Iterator<Item = (&'a [u8], f64)>,
        limits: &ZSetLimits,
    ) -> ZSet {
        let len = elements.size_hint().0;
        let mut table = Table::with_capacity(limits.seed, len);
        let mut entries = Vec::with_capacity(len);
        let (mut longest, mut member_bytes) = (0, 0);
        let mut run: [(u64, &[u8], f64); RUN] = [(0, b"", 0.0); RUN];
        loop {
            let mut count = 0;
            for (place, (member, score)) in run.iter_mut().zip(elements.by_ref()) {
                longest = longest.max(member.len());
                let hash = limits.seed.hash(member);
                table.prefetch_bucket(hash);
                *place = (hash, member, score);
                count += 1;
            }
            for &(hash, member, score) in &run[..count] {
                debug_assert!(!score.is_nan());
                if table.find(hash, member).is_none() {
                    let element = table.insert(hash, ScoredMember::with_score(member, score));
                    member_bytes += element.memory_bytes();
                    // SAFETY: the table keeps the element for as long as the tree has its entry (invariant 2).
                    let member = unsafe { element.to_ref() };
                    entries.push(Scored { score, member });
                }
            }
            if count < RUN {
                break;
            }
        }
        ZSet::from(LargeZSet::new(Tree {
            order: OrderTree::from_entries(entries),
            table,
            member_bytes,
        }))
        .packed_if_allowed(longest, limits)
    }

    /// A sorted set of the members of a table, with the seed of `limits`, in the smallest encoding allowed.
    pub fn from_members(table: Table<ScoredMember>, limits: &ZSetLimits) -> ZSet {
        let (mut longest, mut member_bytes) = (0, 0);
        let mut entries = Vec::with_capacity(table.len());
        entries.extend(table.iter().map(|element| {
            longest = longest.max(element.key().len());
            member_bytes += element.memory_bytes();
            Scored {
                score: element.score(),
                // SAFETY: the table keeps the element for as long as the tree has its entry (invariant 2).
                member: unsafe { element.to_ref() },
            }
        }));
        ZSet::from(LargeZSet::new(Tree {
            order: OrderTree::from_entries(entries),
            table,
            member_bytes,
        }))
        .packed_if_allowed(longest, limits)
    }

    fn packed_if_allowed(mut self, longest: usize, limits: &ZSetLimits) -> ZSet {
        if limits.allows(self.len(), longest) {
            self.pack();
        }
        self
    }

    /// A sorted set out of a listpack from outside, if that holds sound pairs in order; a longer one than `limits`
    /// allow becomes a tree.
    pub fn from_listpack(pairs: Listpack, limits: &ZSetLimits) -> Option<ZSet> {
        if !pairs.len().is_multiple_of(2) || !all_differ(pairs.iter().step_by(2)) {
            return None;
        }
        let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
        let mut items = pairs.iter();
        let mut last: Option<(f64, Item<'_>)> = None;
        let mut longest = 0;
        while let (Some(member), Some(score)) = (items.next(), items.next()) {
            let score = score_of(score)?;
            let [a, b] = &mut digits;
            if let Some((last_score, last)) = last
                && !is_before(last_score, last.bytes(a), score, member.bytes(b))
            {
                return None;
            }
            longest = longest.max(member.len());
            last = Some((score, member));
        }
        drop(items);
        let count = pairs.len() / 2;
        let mut zset = ZSet::from(pairs);
        if !limits.allows(count, longest) {
            zset.unpack(limits.seed);
        }
        Some(zset)
    }

    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        match self.view() {
            ZSetRef::Listpack(_) => Encoding::Listpack,
            ZSetRef::Tree(_) => Encoding::Skiplist,
        }
    }

    /// How many members there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self.view() {
            ZSetRef::Listpack(pairs) => pairs.len() / 2,
            ZSetRef::Tree(tree) => tree.order.len(),
        }
    }

    /// Whether there is no member.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The score of a member.
    #[inline]
    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self.view() {
            ZSetRef::Listpack(pairs) => find(pairs, member).map(|(_, score)| score),
            ZSetRef::Tree(tree) => tree.find(member).map(ScoredMember::score),
        }
    }

    /// How many members come before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self.view() {
            ZSetRef::Listpack(pairs) => {
                let mut at = pairs.first();
                let mut rank = 0;
                while let Some(pos) = at {
                    let score_pos = pairs.next(pos)?;
                    if pairs.get(pos).is(member) {
                        return Some((rank, score_at(pairs, score_pos)));
                    }
                    rank += 1;
                    at = pairs.next(score_pos);
                }
                None
            }
            ZSetRef::Tree(tree) => {
                let score = tree.find(member)?.score();
                Some((tree.order.rank(score, member), score))
            }
        }
    }

    /// Lets `decide` choose a member's score: it is given the present one, if the member is there, and returns the
    /// new one, or `None` to leave things as they are. NaN is not a score.
    #[inline]
    pub fn upsert(
        &mut self,
        member: &[u8],
        limits: &ZSetLimits,
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        let pairs = match self.view_mut() {
            ZSetMut::Tree(tree) => return tree.upsert(member, decide),
            ZSetMut::Listpack(pairs) => pairs,
        };
        let found = find(pairs, member);
        let Some(new) = decide(found.map(|(_, score)| score)) else {
            return;
        };
        debug_assert!(!new.is_nan());
        if let Some((pos, old)) = found {
            if new != old {
                pairs.remove(pos, 2);
                insert_pair(pairs, member, new);
            }
        } else if limits.allows(pairs.len() / 2 + 1, member.len())
            && pairs.has_room(member.len(), 2)
        {
            insert_pair(pairs, member, new);
        } else if let ZSetMut::Tree(tree) = self.unpack(limits.seed).view_mut() {
            tree.upsert(member, |_| Some(new));
        }
    }

    /// Prepares for up to `len` members at once: more than a listpack may hold make it a tree, even if in the end
    /// few of them are new.
    #[inline]
    pub fn expect(&mut self, len: usize, limits: &ZSetLimits) {
        if len > limits.entries && matches!(self.view(), ZSetRef::Listpack(_)) {
            self.unpack(limits.seed);
        }
    }

    /// Adds a member, or gives it another score.
    pub fn set(&mut self, member: &[u8], score: f64, limits: &ZSetLimits) {
        self.upsert(member, limits, |_| Some(score));
    }

    /// Removes a member; returns the score that it had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self.view_mut() {
            ZSetMut::Listpack(pairs) => {
                let (pos, score) = find(pairs, member)?;
                pairs.remove(pos, 2);
                Some(score)
            }
            ZSetMut::Tree(tree) => tree.remove(member),
        }
    }

    /// Removes `count` members from rank `from` on, and hands each to `f` before.
    pub fn drain(&mut self, from: usize, count: usize, mut f: impl FnMut(Item<'_>, f64)) {
        match self.view_mut() {
            ZSetMut::Listpack(pairs) => {
                let count = count.min((pairs.len() / 2).saturating_sub(from));
                for (item, score) in ZSetRange::packed(pairs, from, count, false) {
                    f(item, score);
                }
                if count > 0
                    && let Some(pos) = pairs.seek(from as i64 * 2)
                {
                    pairs.remove(pos, count * 2);
                }
            }
            ZSetMut::Tree(tree) => {
                let Tree {
                    table,
                    order,
                    member_bytes,
                } = &mut **tree;
                order.drain(from, count, |entry| {
                    let name = entry.member.name();
                    f(Item::Str(name), entry.score);
                    let removed = table.remove(table.hash(name), name);
                    *member_bytes -= removed.map_or(0, |member| member.memory_bytes());
                });
            }
        }
    }

    /// Asks the processor for what the next pops at one end will touch: who takes a member mostly takes the ones
    /// behind it soon after, and each was last touched when it was added.
    #[inline]
    pub fn prefetch_pops(&self, is_max: bool) {
        let ZSetRef::Tree(tree) = self.view() else {
            return;
        };
        let at = |ahead: usize| {
            let rank = if is_max {
                tree.order.len().checked_sub(1 + ahead)?
            } else {
                ahead
            };
            tree.order.get(rank)
        };
        if let Some(far) = at(POPS_AHEAD) {
            far.member.prefetch();
        }
        if let Some(near) = at(POPS_AHEAD / 2) {
            tree.table
                .prefetch_bucket(tree.table.hash(near.member.name()));
        }
    }

    /// How many members come before the first for which `is_before` is false. It has to be true for a first part
    /// of the members and false for the rest.
    pub fn count_before(&self, mut is_before: impl FnMut(f64, &[u8]) -> bool) -> usize {
        match self.view() {
            ZSetRef::Listpack(_) => self
                .range(0, usize::MAX, false)
                .take_while(|(item, score)| is_before(*score, item.bytes(&mut itoa::Buffer::new())))
                .count(),
            ZSetRef::Tree(tree) => tree
                .order
                .count_before(|entry| is_before(entry.score, entry.member.name())),
        }
    }

    /// How many members have a lower score than this, or with `or_equal` none that is higher.
    pub fn count_scores(&self, score: f64, or_equal: bool) -> usize {
        match self.view() {
            ZSetRef::Listpack(_) => {
                self.count_before(|other, _| other < score || (or_equal && other == score))
            }
            ZSetRef::Tree(tree) => tree.order.count_scores(score, or_equal),
        }
    }

    /// Up to `count` elements from rank `from` on, downwards when `reverse`.
    pub fn range(&self, from: usize, count: usize, reverse: bool) -> ZSetRange<'_> {
        match self.view() {
            ZSetRef::Listpack(pairs) => {
                let len = pairs.len() / 2;
                let left = if reverse {
                    from + 1
                } else {
                    len.saturating_sub(from)
                };
                let left = if from < len { left.min(count) } else { 0 };
                ZSetRange::packed(pairs, from, left, reverse)
            }
            ZSetRef::Tree(tree) if reverse => {
                ZSetRange::Tree(Box::new(tree.order.range_down(from, count)))
            }
            ZSetRef::Tree(tree) => ZSetRange::Tree(Box::new(tree.order.range(from, count))),
        }
    }

    /// All elements in order.
    pub fn iter(&self) -> ZSetRange<'_> {
        self.range(0, usize::MAX, false)
    }

    /// Visits the elements at a cursor of ZSCAN and returns the next cursor. A small set is visited at once.
    pub fn scan(&self, cursor: u64, f: &mut dyn FnMut(Item<'_>, f64)) -> u64 {
        match self.view() {
            ZSetRef::Listpack(_) => {
                for (item, score) in self.iter() {
                    f(item, score);
                }
                0
            }
            ZSetRef::Tree(tree) => tree.table.scan(cursor, &mut |member| {
                f(Item::Str(member.key()), member.score());
            }),
        }
    }

    /// Becomes a listpack; the caller has checked the limits.
    fn pack(&mut self) {
        let mut pairs = Listpack::new();
        for (item, score) in self.iter() {
            let mut digits = itoa::Buffer::new();
            let text = format_double(score);
            pairs.extend(&[item.bytes(&mut digits), score_text(&text)]);
        }
        *self = pairs.into();
    }

    /// Becomes a tree.
    fn unpack(&mut self, seed: HashSeed) -> &mut ZSet {
        let mut tree = Tree::new(seed);
        for (item, score) in self.iter() {
            tree.insert(item.bytes(&mut itoa::Buffer::new()), score);
        }
        *self = LargeZSet::new(tree).into();
        self
    }

    /// A deep copy.
    pub fn duplicate(&self) -> ZSet {
        match self.view() {
            ZSetRef::Listpack(pairs) => pairs.clone().into(),
            ZSetRef::Tree(tree) => {
                let mut copy = Tree::new(*tree.table.seed());
                copy.table = Table::with_capacity(*tree.table.seed(), tree.table.len());
                for entry in tree.order.range(0, usize::MAX) {
                    copy.insert(entry.member.name(), entry.score);
                }
                LargeZSet::new(copy).into()
            }
        }
    }

    /// Adds the value to a digest of the data set.
    pub fn digest(&self, digest: &mut Digest) {
        for (item, score) in self.iter() {
            let mut one = Digest::default();
            one.mix(item.bytes(&mut itoa::Buffer::new()));
            one.mix(format_digits(score).as_bytes());
            digest.merge_digest(&one);
        }
    }

    /// The table that holds the members.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        match self.view() {
            ZSetRef::Listpack(_) => None,
            ZSetRef::Tree(tree) => Some(tree.table.stats()),
        }
    }

    /// The table of members, unless they are packed.
    #[inline]
    pub fn table(&self) -> Option<&Table<ScoredMember>> {
        match self.view() {
            ZSetRef::Tree(tree) => Some(&tree.table),
            _ => None,
        }
    }

    /// Frees about `budget` elements of a value that nobody will use again; returns how many.
    pub fn free_some(&mut self, budget: usize) -> usize {
        let ZSetMut::Tree(tree) = self.view_mut() else {
            return 0;
        };
        // The order goes first, with its references to the members.
        tree.order = OrderTree::new();
        tree.table.drain_some(budget, &mut drop)
    }

    /// Whether `free_some` has left nothing to speak of.
    pub fn is_freed(&self) -> bool {
        match self.view() {
            ZSetRef::Tree(tree) => tree.table.is_empty(),
            ZSetRef::Listpack(_) => true,
        }
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        match self.view() {
            ZSetRef::Listpack(pairs) => pairs.memory_bytes(),
            ZSetRef::Tree(tree) => {
                class_size(size_of::<Tree>())
                    + tree.member_bytes
                    + tree.table.memory_bytes()
                    + tree.order.memory_bytes()
            }
        }
    }
}

impl Tree {
    fn new(seed: HashSeed) -> Tree {
        Tree {
            table: Table::new(seed),
            order: OrderTree::new(),
            member_bytes: 0,
        }
    }

    #[inline]
    fn find(&self, member: &[u8]) -> Option<&ScoredMember> {
        self.table.find(self.table.hash(member), member)
    }

    #[inline]
    fn upsert(&mut self, member: &[u8], decide: impl FnOnce(Option<f64>) -> Option<f64>) {
        self.upsert_hashed(self.table.hash(member), member, decide);
    }

    #[inline]
    fn upsert_hashed(
        &mut self,
        hash: u64,
        member: &[u8],
        decide: impl FnOnce(Option<f64>) -> Option<f64>,
    ) {
        match self.table.find_mut(hash, member) {
            Some(element) => {
                let old = element.score();
                if let Some(new) = decide(Some(old))
                    && new != old
                {
                    debug_assert!(!new.is_nan());
                    element.set_score(new);
                    // SAFETY: the table keeps the element for as long as the tree has its entry (invariant 2).
                    let handle = unsafe { element.to_ref() };
                    self.order.change_score(old, handle, new);
                }
            }
            None => {
                if let Some(score) = decide(None) {
                    self.insert_hashed(hash, member, score);
                }
            }
        }
    }

    /// Adds a member that is not there.
    fn insert(&mut self, member: &[u8], score: f64) {
        self.insert_hashed(self.table.hash(member), member, score);
    }

    fn insert_hashed(&mut self, hash: u64, member: &[u8], score: f64) {
        debug_assert!(!score.is_nan());
        let element = ScoredMember::with_score(member, score);
        self.member_bytes += element.memory_bytes();
        let element = self.table.insert(hash, element);
        // SAFETY: as in `upsert`.
        let member = unsafe { element.to_ref() };
        self.order.insert(Scored { score, member });
    }

    fn remove(&mut self, member: &[u8]) -> Option<f64> {
        let hash = self.table.hash(member);
        let score = self.table.find(hash, member)?.score();
        let was_there = self.order.remove(score, member);
        debug_assert!(was_there, "invariant 2");
        let element = self.table.remove(hash, member)?;
        self.member_bytes -= element.memory_bytes();
        Some(score)
    }
}

/// A walk over elements.
pub enum ZSetRange<'a> {
    Packed {
        pairs: &'a Listpack,
        /// The next element's name.
        at: Option<Pos>,
        left: usize,
        reverse: bool,
    },
    Tree(Box<dyn Iterator<Item = &'a Scored<MemberRef<false>>> + 'a>),
}

impl<'a> ZSetRange<'a> {
    fn packed(pairs: &'a Listpack, from: usize, left: usize, reverse: bool) -> ZSetRange<'a> {
        let at = if left > 0 {
            pairs.seek(from as i64 * 2)
        } else {
            None
        };
        ZSetRange::Packed {
            pairs,
            at,
            left,
            reverse,
        }
    }
}

impl<'a> Iterator for ZSetRange<'a> {
    type Item = Element<'a>;

    #[inline]
    fn next(&mut self) -> Option<Element<'a>> {
        match self {
            ZSetRange::Packed {
                pairs,
                at,
                left,
                reverse,
            } => {
                *left = left.checked_sub(1)?;
                let pos = (*at)?;
                let score_pos = pairs.next(pos)?;
                *at = if *reverse {
                    pairs.prev(pos).and_then(|score| pairs.prev(score))
                } else {
                    pairs.next(score_pos)
                };
                Some((pairs.get(pos), score_at(pairs, score_pos)))
            }
            ZSetRange::Tree(entries) => entries
                .next()
                .map(|entry| (Item::Str(entry.member.name()), entry.score)),
        }
    }
}

/// The order of members.
fn is_before(score: f64, name: &[u8], other_score: f64, other_name: &[u8]) -> bool {
    score < other_score || (score == other_score && name < other_name)
}

/// The score that an element of a listpack stands for; nothing if it is no number.
pub fn score_of(item: Item<'_>) -> Option<f64> {
    match item {
        Item::Int(value) => Some(value as f64),
        Item::Str(text) => parse_double(text),
    }
}

fn score_at(pairs: &Listpack, pos: Pos) -> f64 {
    // By invariant 1 there is a score; listpacks from outside are checked before they become sorted sets.
    score_of(pairs.get(pos)).unwrap_or(0.0)
}

/// Where a member is, and its score.
fn find(pairs: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let pos = pairs.find(pairs.first()?, member, 1)?;
    Some((pos, score_at(pairs, pairs.next(pos)?)))
}

/// Minus zero is kept as zero, as integers are.
fn score_text(text: &str) -> &[u8] {
    if text == "-0" { b"0" } else { text.as_bytes() }
}

/// Adds a member that is not there in its place.
fn insert_pair(pairs: &mut Listpack, member: &[u8], score: f64) {
    let mut at = pairs.first();
    while let Some(pos) = at {
        let Some(score_pos) = pairs.next(pos) else {
            break;
        };
        let other_score = score_at(pairs, score_pos);
        if other_score > score {
            break;
        }
        let mut digits = itoa::Buffer::new();
        if other_score == score && pairs.get(pos).bytes(&mut digits) > member {
            break;
        }
        at = pairs.next(score_pos);
    }
    let text = format_double(score);
    pairs.insert_pair(at, member, score_text(&text));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn limits(entries: usize) -> ZSetLimits {
        ZSetLimits {
            entries,
            value: 64,
            seed: HashSeed([7; 16]),
        }
    }

    fn elements(zset: &ZSet) -> Vec<(Vec<u8>, f64)> {
        zset.iter()
            .map(|(item, score)| (item.to_vec(), score))
            .collect()
    }

    fn sorted(model: &BTreeMap<Vec<u8>, f64>) -> Vec<(Vec<u8>, f64)> {
        let mut all: Vec<_> = model
            .iter()
            .map(|(name, score)| (name.clone(), *score))
            .collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        all
    }

    #[test]
    fn both_encodings_do_what_a_map_does() {
        for entries in [0, 50, 1000] {
            let limits = limits(entries);
            let mut zset = ZSet::new(0, 0, &limits);
            let mut model = BTreeMap::new();
            let mut state = 99u64;
            let mut below = |n: usize| {
                state = state
                    .wrapping_mul(6364136223846793005)
                    .wrapping_add(1442695040888963407);
                ((state >> 33) as usize) % n.max(1)
            };
            for step in 0..6000 {
                let name = match below(3) {
                    0 => below(60).to_string(),
                    1 => format!("m{}", below(60)),
                    _ => format!("name:{:050}", below(60)),
                }
                .into_bytes();
                let score = match below(4) {
                    0 => below(10) as f64,
                    1 => below(1000) as f64 / 8.0 - 60.0,
                    2 => f64::INFINITY,
                    _ => 1.0 / (1 + below(1000)) as f64,
                };
                match below(12) {
                    0..6 => {
                        zset.set(&name, score, &limits);
                        model.insert(name, score);
                    }
                    6..8 => assert_eq!(zset.remove(&name), model.remove(&name)),
                    8 => {
                        let all = sorted(&model);
                        let rank = all.iter().position(|(other, _)| *other == name);
                        assert_eq!(zset.rank(&name), rank.map(|rank| (rank, all[rank].1)));
                        assert_eq!(zset.score(&name), model.get(&name).copied());
                    }
                    9 if step % 20 == 0 => {
                        let (from, count) = (below(model.len() + 1), below(20));
                        let mut gone = Vec::new();
                        zset.drain(from, count, |item, score| gone.push((item.to_vec(), score)));
                        let want: Vec<_> =
                            sorted(&model).into_iter().skip(from).take(count).collect();
                        assert_eq!(gone, want);
                        for (name, _) in gone {
                            model.remove(&name);
                        }
                    }
                    10 => {
                        let rank = below(model.len() + 1);
                        let down: Vec<_> = zset
                            .range(rank, 7, true)
                            .map(|(item, score)| (item.to_vec(), score))
                            .collect();
                        let all = sorted(&model);
                        let want: Vec<_> = if rank < all.len() {
                            all[..=rank].iter().rev().take(7).cloned().collect()
                        } else {
                            Vec::new()
                        };
                        assert_eq!(down, want);
                    }
                    _ => {
                        let before = zset.count_before(|s, n| is_before(s, n, score, &name));
                        let want = sorted(&model)
                            .iter()
                            .filter(|(n, s)| is_before(*s, n, score, &name))
                            .count();
                        assert_eq!(before, want);
                    }
                }
                if step % 100 == 0 {
                    assert_eq!(elements(&zset), sorted(&model));
                    assert_eq!(elements(&zset.duplicate()), sorted(&model));
                }
            }
            assert_eq!(elements(&zset), sorted(&model));
            assert_eq!(zset.encoding() == Encoding::Listpack, entries == 1000);
            let (mut ours, mut copy) = (Digest::default(), Digest::default());
            zset.digest(&mut ours);
            ZSet::from_elements(
                model.iter().map(|(name, score)| (&name[..], *score)),
                &limits,
            )
            .digest(&mut copy);
            assert_eq!(ours, copy);
        }
    }

    #[test]
    fn a_member_takes_at_most_68_bytes() {
        let limits = limits(0);
        let mut zset = ZSet::new(0, 0, &limits);
        for i in 0..200_000u64 {
            let scattered = i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            zset.set(
                format!("member:{i:010}").as_bytes(),
                scattered as f64,
                &limits,
            );
        }
        let ZSetRef::Tree(tree) = zset.view() else {
            panic!("it is large");
        };
        let each = |bytes: usize| bytes as f64 / zset.len() as f64;
        assert!(
            each(tree.order.memory_bytes()) < 19.0,
            "{}",
            each(tree.order.memory_bytes())
        );
        assert!(each(tree.member_bytes) <= 32.0);
    }

    #[test]
    fn of_elements_with_the_same_name_the_first_counts() {
        let names: Vec<String> = (0..100).map(|i| format!("member:{}", i % 70)).collect();
        let elements = names.iter().zip(0i32..);
        let zset = ZSet::from_elements(
            elements.map(|(name, score)| (name.as_bytes(), f64::from(-score))),
            &limits(2),
        );
        assert_eq!((zset.len(), zset.iter().count()), (70, 70));
        assert_eq!(zset.rank(b"member:69"), Some((0, -69.0)));
        assert_eq!(zset.rank(b"member:0"), Some((69, 0.0)));
    }

    #[test]
    fn damaged_listpacks_are_refused() {
        let pack = |items: &[&[u8]]| {
            let mut pairs = Listpack::new();
            pairs.extend(items);
            ZSet::from_listpack(pairs, &limits(2))
        };
        assert!(pack(&[b"a"]).is_none());
        assert!(pack(&[b"a", b"x"]).is_none());
        assert!(pack(&[b"a", b"2", b"b", b"1"]).is_none());
        assert!(pack(&[b"a", b"1", b"a", b"2"]).is_none());
        assert!(pack(&[b"a", b"nan"]).is_none());
        let two = pack(&[b"a", b"1", b"b", b"2"]).map(|zset| zset.encoding());
        assert_eq!(two, Some(Encoding::Listpack));
        let three = pack(&[b"a", b"1", b"b", b"2", b"c", b"inf"]).map(|zset| zset.encoding());
        assert_eq!(three, Some(Encoding::Skiplist));
    }
}
