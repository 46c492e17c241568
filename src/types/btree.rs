//! Order tree: members by score and name, with ranks: an order-statistic B+tree.
//!
//! Lives here: the tree and its walks. May not: own the members (a table beside it does), replies, ranges as commands
//! write them.
//!
//! Leaves are dense vectors of (score, member). Inner nodes hold, for each child, how many entries are below it and a
//! copy of its first entry, so that neither a search by order nor one by rank reads more than one child a level.
//! There are no links between leaves: a walk goes from leaf to leaf by rank, which costs a descent for some fifty
//! entries.
//!
//! ```text
//!            inner: [count, first entry, node] [count, first entry, node] ...
//!                             |                         |
//!            leaf: [score, member] [score, member] ...  leaf: ...
//! ```
//!
//! A full leaf first moves entries to a neighbour that has room and only then is split, and every vector grows and
//! shrinks by the allocator's size classes: so a tree filled in random order takes about 18 bytes an entry. An entry
//! behind the last one starts a new leaf and leaves the full one full.
//!
//! Invariants, checked by `assert_valid` in tests:
//! 1. Entries are in order from leaf to leaf, by score and then by name; no two are equal, no score is NaN.
//! 2. All leaves lie equally deep; none is empty unless it is the root.
//! 3. `counts[i]` and `firsts[i]` are the number of entries below `nodes[i]` and the first of them.
//! 4. A leaf has at most `LEAF_MAX` entries, an inner node at most `FANOUT` children.

use std::cmp::Ordering;
use std::mem::size_of;

use super::size_class::class_size;

/// Entries of a leaf: one kibibyte of them. Shorter leaves make more inner nodes, longer ones cost more per edit.
const LEAF_MAX: usize = 64;
/// A leaf with fewer is merged with a neighbour when both fit `LEAF_MERGED` entries.
const LEAF_MIN: usize = LEAF_MAX / 4;
const LEAF_MERGED: usize = LEAF_MAX * 3 / 4;
/// Entries of a leaf, and children of an inner node, of a tree that is built at once: a whole size class, and some room.
const BUILT: usize = LEAF_MAX * 7 / 8;
/// A neighbour with more is not worth moving entries to.
const LEAF_ROOMY: usize = LEAF_MAX * 3 / 4;
/// Children of an inner node.
const FANOUT: usize = 64;
const FANOUT_MIN: usize = FANOUT / 4;
const FANOUT_MERGED: usize = FANOUT * 3 / 4;

/// How many entries ahead of a walk names are asked for.
const NAMES_AHEAD: usize = 6;

/// What an entry stands for: something small with a name.
pub trait Named: Copy {
    /// The name, by which entries of equal score are ordered.
    fn name(&self) -> &[u8];

    /// Asks the processor for the name ahead of its use.
    #[inline]
    fn prefetch(&self) {}
}

/// A score and whose it is.
#[derive(Clone, Copy, Debug)]
pub struct Scored<M> {
    pub score: f64,
    pub member: M,
}

impl<M: Named> Scored<M> {
    /// The order of the tree, against a score and a name.
    #[inline]
    pub fn cmp(&self, score: f64, name: &[u8]) -> Ordering {
        if self.score < score {
            Ordering::Less
        } else if self.score > score {
            Ordering::Greater
        } else {
            self.member.name().cmp(name)
        }
    }
}

/// How many entries come before a score and a name.
///
/// Scores lie in the entries, names elsewhere in memory. So the scores come first: those of a node are all counted, since
/// sixty-four loads that do not wait for each other take less time than the six of a binary search, of which each waits
/// for memory and then for the branch. When many entries share the score looked for, the names that the next three steps
/// may compare are asked for at once.
#[inline]
fn position<M: Named>(entries: &[Scored<M>], score: f64, name: &[u8]) -> usize {
    let mut low = entries.iter().filter(|entry| entry.score < score).count();
    if entries.get(low).is_none_or(|entry| entry.score != score) {
        return low;
    }
    let mut high = low + entries[low..].partition_point(|entry| entry.score <= score);
    let mut step = 0;
    while low < high {
        let len = high - low;
        if step % 3 == 0 && len > 2 {
            for eighth in 1..8 {
                entries[low + len * eighth / 8].member.prefetch();
            }
        }
        step += 1;
        let middle = low + len / 2;
        if entries[middle].member.name() < name {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The tree.
pub struct OrderTree<M> {
    root: Node<M>,
    len: usize,
}

enum Node<M> {
    Leaf(Vec<Scored<M>>),
    Inner(Box<Inner<M>>),
}

struct Inner<M> {
    counts: Vec<usize>,
    firsts: Vec<Scored<M>>,
    nodes: Vec<Node<M>>,
}

/// How many things fit the size class that `len` of them take.
#[inline]
fn class_len<T>(len: usize) -> usize {
    class_size(len * size_of::<T>()) / size_of::<T>()
}

/// Makes room for one more, by a size class at a time.
#[inline]
fn grow<T>(vec: &mut Vec<T>) {
    if vec.len() == vec.capacity() {
        vec.reserve_exact(class_len::<T>(vec.len() + 1) - vec.len());
    }
}

/// How many of `len` things go into each of as few nodes as take them, as evenly as can be.
fn shares(len: usize) -> impl Iterator<Item = usize> {
    let nodes = len.div_ceil(BUILT);
    (0..nodes).map(move |node| len * (node + 1) / nodes - len * node / nodes)
}

/// Gives memory back once a class with some room to spare is enough.
#[inline]
fn shrink<T>(vec: &mut Vec<T>) {
    let enough = class_len::<T>(vec.len() + LEAF_MAX / 8);
    if enough < vec.capacity() {
        vec.shrink_to(enough);
    }
}

fn class_bytes<T>(vec: &Vec<T>) -> usize {
    match vec.capacity() {
        0 => 0,
        capacity => class_size(capacity * size_of::<T>()),
    }
}

impl<M: Named> Default for OrderTree<M> {
    fn default() -> OrderTree<M> {
        OrderTree::new()
    }
}

impl<M: Named> OrderTree<M> {
    /// A tree without entries.
    pub fn new() -> OrderTree<M> {
        OrderTree {
            root: Node::Leaf(Vec::new()),
            len: 0,
        }
    }

    /// A tree of these entries, no two of them equal, built from the bottom. It is quickest for entries that are in
    /// order, upwards or downwards.
    pub fn from_entries(mut entries: Vec<Scored<M>>) -> OrderTree<M> {
        let order = |a: &Scored<M>, b: &Scored<M>| a.cmp(b.score, b.member.name());
        if entries.is_sorted_by(|a, b| order(a, b).is_gt()) {
            entries.reverse();
        } else if !entries.is_sorted_by(|a, b| order(a, b).is_lt()) {
            entries.sort_unstable_by(order);
        }
        let len = entries.len();
        let mut left = &entries[..];
        let mut level: Vec<Node<M>> = shares(len)
            .map(|count| {
                let (share, rest) = left.split_at(count);
                left = rest;
                let mut leaf = Vec::with_capacity(class_len::<Scored<M>>(count));
                leaf.extend_from_slice(share);
                Node::Leaf(leaf)
            })
            .collect();
        drop(entries);
        while level.len() > 1 {
            let shares = shares(level.len());
            let mut nodes = level.into_iter();
            level = shares
                .map(|count| {
                    let mut inner = Inner::with_capacity(count);
                    nodes.by_ref().take(count).for_each(|node| inner.push(node));
                    Node::Inner(Box::new(inner))
                })
                .collect();
        }
        OrderTree {
            root: level.pop().unwrap_or(Node::Leaf(Vec::new())),
            len,
        }
    }

    /// How many entries there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry that is not there yet.
    pub fn insert(&mut self, entry: Scored<M>) {
        self.len += 1;
        if self.root.is_full() {
            let old = std::mem::replace(&mut self.root, Node::Leaf(Vec::new()));
            let mut inner = Inner::with_capacity(2);
            inner.push(old);
            self.root = Node::Inner(Box::new(inner));
        }
        let name = entry.member.name();
        let mut node = &mut self.root;
        loop {
            match node {
                Node::Leaf(entries) => {
                    let at = position(entries, entry.score, name);
                    grow(entries);
                    entries.insert(at, entry);
                    return;
                }
                Node::Inner(inner) => {
                    let mut at = inner.child_for(entry.score, name);
                    if inner.nodes[at].is_full() {
                        inner.make_room(at, &entry);
                        at = inner.child_for(entry.score, name);
                    }
                    inner.counts[at] += 1;
                    if at == 0 && inner.firsts[0].cmp(entry.score, name).is_gt() {
                        inner.firsts[0] = entry;
                    }
                    node = &mut inner.nodes[at];
                }
            }
        }
    }

    /// Takes out the entry with this score and name; says whether it was there.
    pub fn remove(&mut self, score: f64, name: &[u8]) -> bool {
        let removed = self.root.remove(score, name);
        if removed {
            self.len -= 1;
            self.lower_root();
        }
        removed
    }

    /// Gives the entry of `old` score and this name a new score.
    pub fn change_score(&mut self, old: f64, member: M, new: f64) {
        if !self.root.change_in_place(old, member.name(), new) {
            let was_there = self.remove(old, member.name());
            debug_assert!(was_there);
            self.insert(Scored { score: new, member });
        }
    }

    /// Takes out `count` entries from rank `from` on and hands each to `f`, in order.
    pub fn drain(&mut self, from: usize, count: usize, mut f: impl FnMut(Scored<M>)) {
        let count = count.min(self.len.saturating_sub(from));
        if count > 0 {
            self.root.drain(from, count, &mut f);
            self.len -= count;
            self.lower_root();
        }
    }

    fn lower_root(&mut self) {
        while let Node::Inner(inner) = &mut self.root {
            match inner.nodes.len() {
                0 => self.root = Node::Leaf(Vec::new()),
                1 => {
                    if let Some(only) = inner.nodes.pop() {
                        self.root = only;
                    }
                }
                _ => return,
            }
        }
    }

    /// How many entries come before the first for which `is_before` is false. It has to be true for a first part of
    /// the entries and false for the rest.
    pub fn count_before(&self, mut is_before: impl FnMut(&Scored<M>) -> bool) -> usize {
        self.count_by(|entries| entries.partition_point(&mut is_before))
    }

    /// How many entries have a lower score than this, or with `or_equal` none that is higher.
    pub fn count_scores(&self, score: f64, or_equal: bool) -> usize {
        self.count_by(|entries| {
            let is_before = |entry: &&Scored<M>| match or_equal {
                true => entry.score <= score,
                false => entry.score < score,
            };
            entries.iter().filter(is_before).count()
        })
    }

    /// How many entries come before a place that `count_in` tells of each node on the way.
    #[inline]
    fn count_by(&self, mut count_in: impl FnMut(&[Scored<M>]) -> usize) -> usize {
        let mut rank = 0;
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return rank + count_in(entries),
                Node::Inner(inner) => {
                    let Some(at) = count_in(&inner.firsts).checked_sub(1) else {
                        return rank;
                    };
                    rank += inner.counts[..at].iter().sum::<usize>();
                    node = &inner.nodes[at];
                }
            }
        }
    }

    /// The rank of the entry with this score and name, or the one that it would get.
    #[inline]
    pub fn rank(&self, score: f64, name: &[u8]) -> usize {
        let mut rank = 0;
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return rank + position(entries, score, name),
                Node::Inner(inner) => {
                    let at = inner.child_for(score, name);
                    rank += inner.counts[..at].iter().sum::<usize>();
                    node = &inner.nodes[at];
                }
            }
        }
    }

    /// The leaf that holds rank `rank`, and the rank's index in it.
    fn leaf_of(&self, mut rank: usize) -> (&[Scored<M>], usize) {
        let mut node = &self.root;
        loop {
            match node {
                Node::Leaf(entries) => return (entries, rank),
                Node::Inner(inner) => {
                    let mut at = 0;
                    while at + 1 < inner.counts.len() && rank >= inner.counts[at] {
                        rank -= inner.counts[at];
                        at += 1;
                    }
                    node = &inner.nodes[at];
                }
            }
        }
    }

    /// The entry of rank `rank`.
    pub fn get(&self, rank: usize) -> Option<&Scored<M>> {
        let (entries, index) = self.leaf_of(rank);
        entries.get(index)
    }

    /// Up to `count` entries upwards from rank `from` on.
    pub fn range(&self, from: usize, count: usize) -> impl Iterator<Item = &Scored<M>> {
        let mut next = from;
        let end = from.saturating_add(count).min(self.len);
        let mut leaf: std::slice::Iter<'_, Scored<M>> = [].iter();
        std::iter::from_fn(move || {
            if next >= end {
                return None;
            }
            if leaf.as_slice().is_empty() {
                let (entries, index) = self.leaf_of(next);
                leaf = entries.get(index..)?.iter();
            }
            next += 1;
            if let Some(far) = leaf.as_slice().get(NAMES_AHEAD) {
                far.member.prefetch();
            }
            leaf.next()
        })
    }

    /// Up to `count` entries downwards from rank `from` on.
    pub fn range_down(&self, from: usize, count: usize) -> impl Iterator<Item = &Scored<M>> {
        let mut left = if from < self.len {
            count.min(from + 1)
        } else {
            0
        };
        let mut next = from;
        let mut leaf: std::slice::Iter<'_, Scored<M>> = [].iter();
        std::iter::from_fn(move || {
            if left == 0 {
                return None;
            }
            if leaf.as_slice().is_empty() {
                let (entries, index) = self.leaf_of(next);
                leaf = entries.get(..=index)?.iter();
            }
            left -= 1;
            next = next.saturating_sub(1);
            if let Some(far) = leaf.as_slice().iter().nth_back(NAMES_AHEAD) {
                far.member.prefetch();
            }
            leaf.next_back()
        })
    }

    /// Bytes that the nodes take.
    pub fn memory_bytes(&self) -> usize {
        self.root.memory_bytes()
    }

    /// How many levels of nodes there are.
    pub fn depth(&self) -> usize {
        let mut depth = 1;
        let mut node = &self.root;
        while let Node::Inner(inner) = node {
            depth += 1;
            node = &inner.nodes[0];
        }
        depth
    }

    /// Panics if an invariant does not hold.
    #[cfg(test)]
    fn assert_valid(&self) {
        let mut all = Vec::new();
        self.root.assert_valid(&mut all);
        assert_eq!(all.len(), self.len);
        for pair in all.windows(2) {
            assert!(pair[0].cmp(pair[1].score, pair[1].member.name()).is_lt());
        }
    }
}

impl<M: Named> Inner<M> {
    fn with_capacity(capacity: usize) -> Inner<M> {
        Inner {
            counts: Vec::with_capacity(capacity),
            firsts: Vec::with_capacity(capacity),
            nodes: Vec::with_capacity(capacity),
        }
    }

    /// The child that holds or is to hold an entry: the last one whose first entry is not behind it.
    #[inline]
    fn child_for(&self, score: f64, name: &[u8]) -> usize {
        let before = position(&self.firsts, score, name);
        let is_first = self
            .firsts
            .get(before)
            .is_some_and(|first| first.score == score && first.member.name() == name);
        if is_first {
            before
        } else {
            before.saturating_sub(1)
        }
    }

    fn push(&mut self, node: Node<M>) {
        let at = self.nodes.len();
        let first = node.first().expect("children are not empty");
        self.put(at, first, node);
    }

    fn put(&mut self, at: usize, first: Scored<M>, node: Node<M>) {
        grow(&mut self.counts);
        grow(&mut self.firsts);
        grow(&mut self.nodes);
        self.counts.insert(at, node.count());
        self.firsts.insert(at, first);
        self.nodes.insert(at, node);
    }

    fn take(&mut self, at: usize) -> Node<M> {
        self.counts.remove(at);
        self.firsts.remove(at);
        self.nodes.remove(at)
    }

    /// Brings count and first entry of a child up to date.
    fn refresh(&mut self, at: usize) {
        self.counts[at] = self.nodes[at].count();
        if let Some(first) = self.nodes[at].first() {
            self.firsts[at] = first;
        }
    }

    /// Makes room in or beside the full child `at`, into which `entry` is to go.
    fn make_room(&mut self, at: usize, entry: &Scored<M>) {
        let name = entry.member.name();
        let is_last = at + 1 == self.nodes.len();
        match &mut self.nodes[at] {
            Node::Leaf(entries) => {
                let last = entries.last().expect("it is full");
                if is_last && last.cmp(entry.score, name).is_lt() {
                    // Entries come in order: the new leaf gets this one first, and the old one stays full.
                    return self.put(at + 1, *entry, Node::Leaf(Vec::new()));
                }
                if self.shift_left(at) || self.shift_right(at) {
                    return;
                }
                let Node::Leaf(entries) = &mut self.nodes[at] else {
                    return;
                };
                let tail = entries.split_off(LEAF_MAX / 2);
                shrink(entries);
                self.refresh(at);
                self.put(at + 1, tail[0], Node::Leaf(tail));
            }
            Node::Inner(inner) => {
                let last = inner.firsts.last().expect("it is full");
                let comes_last = is_last && last.cmp(entry.score, name).is_lt();
                let keep = if comes_last { FANOUT - 1 } else { FANOUT / 2 };
                let tail = Inner {
                    counts: inner.counts.split_off(keep),
                    firsts: inner.firsts.split_off(keep),
                    nodes: inner.nodes.split_off(keep),
                };
                inner.shrink();
                self.refresh(at);
                self.put(at + 1, tail.firsts[0], Node::Inner(Box::new(tail)));
            }
        }
    }

    /// Moves entries of the full leaf `at` to its left neighbour, if that has room.
    fn shift_left(&mut self, at: usize) -> bool {
        let Some(left) = at.checked_sub(1) else {
            return false;
        };
        let [Node::Leaf(to), Node::Leaf(from)] = &mut self.nodes[left..=at] else {
            return false;
        };
        if to.len() > LEAF_ROOMY {
            return false;
        }
        let moved = (from.len() - to.len()) / 2;
        to.reserve_exact(class_len::<Scored<M>>(to.len() + moved) - to.len());
        to.extend(from.drain(..moved));
        shrink(from);
        self.refresh(left);
        self.refresh(at);
        true
    }

    /// Moves entries of the full leaf `at` to its right neighbour, if that has room.
    fn shift_right(&mut self, at: usize) -> bool {
        let right = at + 1;
        let Some([Node::Leaf(from), Node::Leaf(to)]) = self.nodes.get_mut(at..=right) else {
            return false;
        };
        if to.len() > LEAF_ROOMY {
            return false;
        }
        let keep = from.len() - (from.len() - to.len()) / 2;
        let moved = from.len() - keep;
        to.reserve_exact(class_len::<Scored<M>>(to.len() + moved) - to.len());
        to.splice(0..0, from.drain(keep..));
        shrink(from);
        self.refresh(at);
        self.refresh(right);
        true
    }

    /// Merges child `at`, which has lost entries, with a neighbour if both are small enough; drops it when empty.
    fn settle(&mut self, at: usize) {
        if at >= self.nodes.len() {
            return;
        }
        if self.counts[at] == 0 {
            self.take(at);
            return self.shrink();
        }
        if !self.nodes[at].is_sparse() {
            return;
        }
        for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
            if left + 1 < self.nodes.len() && self.nodes[left].merges_with(&self.nodes[left + 1]) {
                let right = self.take(left + 1);
                self.nodes[left].append(right);
                self.refresh(left);
                return self.shrink();
            }
        }
    }

    fn shrink(&mut self) {
        shrink(&mut self.counts);
        shrink(&mut self.firsts);
        shrink(&mut self.nodes);
    }

    /// Drops children without entries.
    fn drop_empty(&mut self) {
        let mut kept = 0;
        for at in 0..self.nodes.len() {
            if self.counts[at] > 0 {
                self.counts.swap(kept, at);
                self.firsts.swap(kept, at);
                self.nodes.swap(kept, at);
                kept += 1;
            }
        }
        self.counts.truncate(kept);
        self.firsts.truncate(kept);
        self.nodes.truncate(kept);
        self.shrink();
    }
}

impl<M: Named> Node<M> {
    #[inline]
    fn is_full(&self) -> bool {
        match self {
            Node::Leaf(entries) => entries.len() == LEAF_MAX,
            Node::Inner(inner) => inner.nodes.len() == FANOUT,
        }
    }

    fn is_sparse(&self) -> bool {
        match self {
            Node::Leaf(entries) => entries.len() < LEAF_MIN,
            Node::Inner(inner) => inner.nodes.len() < FANOUT_MIN,
        }
    }

    fn merges_with(&self, other: &Node<M>) -> bool {
        match (self, other) {
            (Node::Leaf(a), Node::Leaf(b)) => a.len() + b.len() <= LEAF_MERGED,
            (Node::Inner(a), Node::Inner(b)) => a.nodes.len() + b.nodes.len() <= FANOUT_MERGED,
            _ => false,
        }
    }

    /// Adds the contents of the node behind this one.
    fn append(&mut self, other: Node<M>) {
        match (self, other) {
            (Node::Leaf(a), Node::Leaf(mut b)) => a.append(&mut b),
            (Node::Inner(a), Node::Inner(mut b)) => {
                a.counts.append(&mut b.counts);
                a.firsts.append(&mut b.firsts);
                a.nodes.append(&mut b.nodes);
            }
            _ => unreachable!("by invariant 2 neighbours are of a kind"),
        }
    }

    fn count(&self) -> usize {
        match self {
            Node::Leaf(entries) => entries.len(),
            Node::Inner(inner) => inner.counts.iter().sum(),
        }
    }

    fn first(&self) -> Option<Scored<M>> {
        match self {
            Node::Leaf(entries) => entries.first().copied(),
            Node::Inner(inner) => inner.firsts.first().copied(),
        }
    }

    fn remove(&mut self, score: f64, name: &[u8]) -> bool {
        match self {
            Node::Leaf(entries) => {
                let at = position(entries, score, name);
                if !entries.get(at).is_some_and(|e| e.cmp(score, name).is_eq()) {
                    return false;
                }
                entries.remove(at);
                shrink(entries);
                true
            }
            Node::Inner(inner) => {
                let at = inner.child_for(score, name);
                if !inner.nodes[at].remove(score, name) {
                    return false;
                }
                inner.counts[at] -= 1;
                if let Some(first) = inner.nodes[at].first() {
                    inner.firsts[at] = first;
                }
                inner.settle(at);
                true
            }
        }
    }

    fn drain(&mut self, mut from: usize, mut count: usize, f: &mut dyn FnMut(Scored<M>)) {
        match self {
            Node::Leaf(entries) => {
                entries.drain(from..from + count).for_each(f);
                shrink(entries);
            }
            Node::Inner(inner) => {
                let (mut at, mut emptied) = (0, 0);
                let mut touched = 0;
                while count > 0 {
                    let here = inner.counts[at];
                    if from >= here {
                        from -= here;
                        at += 1;
                        continue;
                    }
                    let taken = count.min(here - from);
                    inner.nodes[at].drain(from, taken, f);
                    inner.counts[at] -= taken;
                    if taken == here {
                        emptied += 1;
                    } else {
                        touched = at + 1 - emptied;
                        if let Some(first) = inner.nodes[at].first() {
                            inner.firsts[at] = first;
                        }
                    }
                    count -= taken;
                    from = 0;
                    at += 1;
                }
                if emptied > 0 {
                    inner.drop_empty();
                }
                // At most the two children at the ends of the gap are left with too few.
                if touched > 0 {
                    inner.settle(touched - 1);
                    inner.settle(touched.saturating_sub(2));
                }
            }
        }
    }

    /// Changes a score where that leaves the order within one leaf as it is and its first entry alone.
    fn change_in_place(&mut self, old: f64, name: &[u8], new: f64) -> bool {
        match self {
            Node::Leaf(entries) => {
                let at = position(entries, old, name);
                let fits = at > 0
                    && at + 1 < entries.len()
                    && entries[at - 1].cmp(new, name).is_lt()
                    && entries[at + 1].cmp(new, name).is_gt();
                if fits {
                    entries[at].score = new;
                }
                fits
            }
            Node::Inner(inner) => {
                let at = inner.child_for(old, name);
                inner.nodes[at].change_in_place(old, name, new)
            }
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Node::Leaf(entries) => class_bytes(entries),
            Node::Inner(inner) => {
                let below: usize = inner.nodes.iter().map(Node::memory_bytes).sum();
                below
                    + class_size(size_of::<Inner<M>>())
                    + class_bytes(&inner.counts)
                    + class_bytes(&inner.firsts)
                    + class_bytes(&inner.nodes)
            }
        }
    }

    #[cfg(test)]
    fn assert_valid(&self, all: &mut Vec<Scored<M>>) -> usize {
        match self {
            Node::Leaf(entries) => {
                assert!(entries.len() <= LEAF_MAX);
                all.extend(entries);
                1
            }
            Node::Inner(inner) => {
                assert!(inner.nodes.len() <= FANOUT && !inner.nodes.is_empty());
                let mut depth = 0;
                for (at, node) in inner.nodes.iter().enumerate() {
                    let before = all.len();
                    let below = node.assert_valid(all);
                    assert!(depth == 0 || depth == below);
                    depth = below;
                    assert!(inner.counts[at] > 0);
                    assert_eq!(all.len() - before, inner.counts[at]);
                    let first = inner.firsts[at];
                    assert!(all[before].cmp(first.score, first.member.name()).is_eq());
                }
                depth + 1
            }
        }
    }
}

#[cfg(test)]
mod tests;
