//! Quicklist: a long list as a deque of listpacks, so that both ends are at hand and an edit moves few bytes.
//!
//! ```text
//! [packed] [packed] [squeezed] ... [squeezed] [plain] [packed]
//!  `-- depth --'                            `-- depth --'
//! ```
//!
//! A node is a listpack, or one large element by itself ("plain"), or either of them LZF-compressed. Where nodes are
//! split and joined follows real servers, so that both count the same nodes for the same commands; a deque in place of
//! linked nodes is our own, and finds an index by looking at 16 bytes a node.
//!
//! Lives here: nodes, edits, compression. May not: the encoding that users see (`keyspace::object::list`), config.
//!
//! Invariants, checked by `assert_valid` after each edit in tests:
//! 1. No node is empty, `len` is the sum of their elements, and a packed node's `count` is its listpack's.
//! 2. With a depth, the `depth` nodes at either end are not compressed; with none, no node is.
//! 3. A compressed block decompresses to what it was made of.

mod node;

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::listpack::Listpack;
use super::size_class::class_size;
use node::{ELEMENT_OVERHEAD, Node, has_room};
pub use node::{
    Element, End, Fill, Needle, NewElement, NodeRef, edge, remove_from_packed, walk_packed,
};

/// What one of two joined listpacks loses: header and end mark.
const LISTPACK_FRAME: usize = 7;

/// A list of listpacks.
#[derive(Clone)]
pub struct Quicklist {
    nodes: VecDeque<Node>,
    len: usize,
    fill: Fill,
    depth: u16,
}

impl Quicklist {
    /// A list without elements, whose nodes will be limited by `fill` and compressed behind `depth` at each end.
    pub fn new(fill: Fill, depth: u16) -> Quicklist {
        Quicklist {
            nodes: VecDeque::new(),
            len: 0,
            fill,
            depth,
        }
    }

    /// Drops up to `budget` nodes of a list that nobody will use again; returns how many.
    pub fn free_some(&mut self, budget: usize) -> usize {
        let nodes = self.nodes.len().min(budget);
        self.nodes.truncate(self.nodes.len() - nodes);
        nodes
    }

    /// Whether `free_some` has dropped all nodes.
    pub fn is_freed(&self) -> bool {
        self.nodes.is_empty()
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// How much goes into a node.
    pub fn fill(&self) -> Fill {
        self.fill
    }

    /// How many nodes at each end are never compressed; with zero, none are compressed anywhere.
    pub fn depth(&self) -> u16 {
        self.depth
    }

    /// Bytes of all nodes, uncompressed.
    pub fn raw_len(&self) -> usize {
        self.nodes.iter().map(Node::raw_len).sum()
    }

    /// Bytes of the only node and its elements, if there is one node and it is no large element.
    pub fn single_packed(&self) -> Option<(usize, usize)> {
        match self.nodes.len() {
            1 if !self.nodes[0].is_plain() => Some((self.nodes[0].raw_len(), self.len)),
            _ => None,
        }
    }

    /// The only node, if it is packed; the list is of no use then.
    pub fn take_single(&mut self) -> Option<Listpack> {
        self.single_packed()?;
        self.open(0);
        self.len = 0;
        match self.nodes.pop_front() {
            Some(Node::Packed { list, .. }) => Some(list),
            _ => None,
        }
    }

    /// Bytes that the list owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        class_size(size_of::<Quicklist>())
            + class_size(self.nodes.capacity() * size_of::<Node>())
            + self.nodes.iter().map(Node::memory_bytes).sum::<usize>()
    }

    /// The nodes from number `from` on, in order, as RDB files hold them: a listpack, or one large element. Ends
    /// early when `f` says so.
    pub fn walk_nodes(&self, from: usize, mut f: impl FnMut(NodeRef<'_>) -> bool) {
        for node in self.nodes.iter().skip(from) {
            let opened = node.opened();
            let goes_on = match opened.as_ref().unwrap_or(node) {
                Node::Packed { list, .. } => f(NodeRef::Packed(list)),
                Node::Plain(bytes) => f(NodeRef::Plain(bytes)),
                Node::Squeezed { .. } => true,
            };
            if !goes_on {
                return;
            }
        }
    }

    /// Adds a node with the elements of a listpack at the tail; an empty one adds none.
    pub fn push_listpack(&mut self, list: Listpack) {
        let count = list.len();
        if count > 0 {
            let node = Node::Packed {
                count: count as u32,
                list,
            };
            self.push_node(node);
        }
    }

    /// Adds a large element in a node of its own at the tail.
    pub fn push_plain(&mut self, bytes: Bytes) {
        self.push_node(Node::Plain(Box::new(bytes)));
    }

    fn push_node(&mut self, node: Node) {
        self.len += node.count();
        self.nodes.push_back(node);
        self.settle(0..0);
    }

    /// Adds an element at one end.
    #[inline]
    pub fn push(&mut self, end: End, element: NewElement<'_>, packed_threshold: u64) {
        let node = match end {
            End::Head => self.nodes.front_mut(),
            End::Tail => self.nodes.back_mut(),
        };
        let len = element.text.len();
        self.len += 1;
        if let Some(Node::Packed { count, list }) = node
            && has_room(self.fill, (list, *count), len, packed_threshold)
        {
            match end {
                End::Head => list.push_front(element.text),
                End::Tail => list.push(element.text),
            }
            *count += 1;
            return;
        }
        let node = match self.fill.is_large(len, packed_threshold) {
            true => element.into_plain(),
            false => element.into_packed(),
        };
        match end {
            End::Head => self.nodes.push_front(node),
            End::Tail => self.nodes.push_back(node),
        }
        self.settle(0..0);
    }

    /// Takes the element at one end out, after `f` has seen it.
    #[inline]
    pub fn pop<R>(&mut self, end: End, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        let index = match end {
            End::Head => 0,
            End::Tail => self.nodes.len().checked_sub(1)?,
        };
        self.open(index);
        let result = match self.nodes.get_mut(index)? {
            Node::Packed { count, list } => {
                let pos = edge(list, end)?;
                let result = f(Element::Packed(list.get(pos)));
                self.len -= 1;
                if *count > 1 {
                    list.remove(pos, 1);
                    *count -= 1;
                    return Some(result);
                }
                result
            }
            Node::Plain(bytes) => {
                let result = f(Element::Plain(bytes));
                self.len -= 1;
                result
            }
            Node::Squeezed { .. } => return None,
        };
        match end {
            End::Head => self.nodes.pop_front(),
            End::Tail => self.nodes.pop_back(),
        };
        self.settle(0..0);
        Some(result)
    }

    /// Calls `f` with the elements from number `index` on, towards the tail or towards the head, until it returns
    /// false.
    pub fn walk(&self, index: usize, towards: End, mut f: impl FnMut(Element<'_>) -> bool) {
        let Some((node, offset)) = self.locate(index) else {
            return;
        };
        let mut from = Some(offset);
        match towards {
            End::Tail => {
                for node in self.nodes.iter().skip(node) {
                    if !node.walk(from.take().unwrap_or(0), towards, &mut f) {
                        return;
                    }
                }
            }
            End::Head => {
                for node in self.nodes.iter().take(node + 1).rev() {
                    let last = node.count() - 1;
                    if !node.walk(from.take().unwrap_or(last), towards, &mut f) {
                        return;
                    }
                }
            }
        }
    }

    /// Adds an element before or behind element number `index`, which is there.
    pub fn insert(
        &mut self,
        index: usize,
        behind: bool,
        element: NewElement<'_>,
        packed_threshold: u64,
    ) {
        let Some((at, offset)) = self.locate(index) else {
            return;
        };
        self.len += 1;
        let is_edge = match behind {
            true => offset + 1 == self.nodes[at].count(),
            false => offset == 0,
        };
        // Where a node would go that lies beside this one, and the node that is there now.
        let beside = at + usize::from(behind);
        if self.fill.is_large(element.text.len(), packed_threshold) {
            let node = element.into_plain();
            if !is_edge {
                let tail = self.split(at, offset + usize::from(behind));
                self.nodes.insert(at + 1, tail);
                self.nodes.insert(at + 1, node);
            } else {
                self.nodes.insert(beside, node);
            }
            self.settle(at..at + 3);
            return;
        }
        if self.node_has_room(at, element.text.len(), packed_threshold) {
            self.insert_into(at, offset + usize::from(behind), element.text);
        } else if is_edge {
            let neighbour = if behind {
                Some(at + 1)
            } else {
                at.checked_sub(1)
            };
            let neighbour = neighbour
                .filter(|index| self.node_has_room(*index, element.text.len(), packed_threshold));
            match neighbour {
                Some(index) => {
                    let offset = if behind { 0 } else { self.nodes[index].count() };
                    self.insert_into(index, offset, element.text);
                }
                None => self.nodes.insert(beside, element.into_packed()),
            }
        } else {
            let tail = self.split(at, offset + usize::from(behind));
            self.nodes.insert(at + 1, tail);
            if behind {
                self.insert_into(at + 1, 0, element.text);
                self.merge_around(at);
            } else {
                let end = self.nodes[at].count();
                self.insert_into(at, end, element.text);
                self.merge_around(at + 1);
            }
        }
        self.settle(at.saturating_sub(2)..at + 4);
    }

    /// Puts another element in the place of number `index`; says whether that is there.
    pub fn replace(
        &mut self,
        index: usize,
        element: NewElement<'_>,
        packed_threshold: u64,
    ) -> bool {
        let Some((at, offset)) = self.locate(index) else {
            return false;
        };
        self.open(at);
        let is_large = self.fill.is_large(element.text.len(), packed_threshold);
        match &mut self.nodes[at] {
            Node::Packed { list, .. } if !is_large && list.has_room(element.text.len(), 1) => {
                if let Some(pos) = list.seek(offset as i64) {
                    list.replace(pos, element.text);
                }
            }
            Node::Plain(_) if is_large => self.nodes[at] = element.into_plain(),
            Node::Plain(_) => {
                self.insert(index, true, element, packed_threshold);
                self.remove_node(at);
            }
            _ => self.replace_apart(at, offset, element, is_large),
        }
        self.settle(at.saturating_sub(2)..at + 4);
        true
    }

    /// Replaces an element of a packed node by one that gets a node of its own.
    fn replace_apart(&mut self, at: usize, offset: usize, element: NewElement<'_>, is_large: bool) {
        let node = match is_large {
            true => element.into_plain(),
            false => element.into_packed(),
        };
        if offset + 1 < self.nodes[at].count() {
            let tail = self.split(at, offset + 1);
            self.nodes.insert(at + 1, tail);
        }
        self.nodes.insert(at + 1, node);
        self.len += 1;
        let left = self.nodes[at].count();
        if left == 1 {
            self.remove_node(at);
        } else {
            self.remove_from_node(at, left - 1, 1);
            self.merge_around(at + 1);
        }
    }

    /// Removes `count` elements from number `index` on, or as many as there are.
    pub fn remove_range(&mut self, index: usize, count: usize) {
        let Some((mut at, mut offset)) = self.locate(index) else {
            return;
        };
        let mut left = count.min(self.len - index);
        while left > 0 && at < self.nodes.len() {
            let held = self.nodes[at].count();
            let here = (held - offset).min(left);
            if here == held {
                self.remove_node(at);
            } else {
                self.remove_from_node(at, offset, here);
                self.squeeze(at);
                at += 1;
            }
            left -= here;
            offset = 0;
        }
        self.settle(0..0);
    }

    /// Removes up to `limit` elements that are `needle`, from the given end on; says how many.
    pub fn remove_matching(&mut self, needle: &Needle<'_>, from: End, limit: usize) -> usize {
        let mut removed = 0;
        let mut done = 0;
        // Nodes that are left stay behind the place that is looked at, on whichever side that is.
        while removed < limit && done < self.nodes.len() {
            let at = match from {
                End::Head => done,
                End::Tail => self.nodes.len() - 1 - done,
            };
            let mut is_here = false;
            self.nodes[at].walk(0, End::Tail, &mut |element| {
                is_here = needle.is(element);
                !is_here
            });
            if !is_here {
                done += 1;
                continue;
            }
            self.open(at);
            let here = match &mut self.nodes[at] {
                Node::Packed { count, list } => {
                    let here = remove_from_packed(list, needle, from, limit - removed);
                    *count -= here as u32;
                    here
                }
                _ => 1,
            };
            removed += here;
            self.len -= here;
            let is_gone = match &self.nodes[at] {
                Node::Packed { count, .. } => *count == 0,
                _ => true,
            };
            if is_gone {
                self.nodes.remove(at);
            } else {
                self.squeeze(at);
                done += 1;
            }
        }
        self.settle(0..0);
        removed
    }

    /// The node that holds element number `index`, and the element's number in it; looked for from the nearer end.
    fn locate(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            let mut before = 0;
            for (at, node) in self.nodes.iter().enumerate() {
                if index < before + node.count() {
                    return Some((at, index - before));
                }
                before += node.count();
            }
        } else {
            let mut before = self.len;
            for (at, node) in self.nodes.iter().enumerate().rev() {
                before -= node.count();
                if index >= before {
                    return Some((at, index - before));
                }
            }
        }
        None
    }

    fn node_has_room(&self, at: usize, len: usize, packed_threshold: u64) -> bool {
        match self.nodes.get(at) {
            Some(Node::Packed { count, list }) => {
                has_room(self.fill, (list, *count), len, packed_threshold)
            }
            Some(Node::Squeezed { count, block }) if !block.is_plain => {
                !self.fill.is_large(len, packed_threshold)
                    && !self
                        .fill
                        .is_exceeded_by(block.raw_len + len + ELEMENT_OVERHEAD, *count as usize + 1)
            }
            _ => false,
        }
    }

    /// Adds an element to a packed node, as number `offset` in it.
    fn insert_into(&mut self, at: usize, offset: usize, text: &[u8]) {
        self.open(at);
        if let Some(Node::Packed { count, list }) = self.nodes.get_mut(at) {
            let pos = match offset == *count as usize {
                true => None,
                false => list.seek(offset as i64),
            };
            list.insert(pos, text);
            *count += 1;
        }
    }

    /// Cuts a packed node before its element number `offset`; returns what is behind. Neither part is empty.
    fn split(&mut self, at: usize, offset: usize) -> Node {
        self.open(at);
        let Node::Packed { count, list } = &mut self.nodes[at] else {
            unreachable!("a node that holds one element is not split");
        };
        let pos = list.seek(offset as i64);
        let tail = list.split_off(pos.expect("the cut is within the node"));
        let tail_count = *count - offset as u32;
        *count = offset as u32;
        Node::Packed {
            count: tail_count,
            list: tail,
        }
    }

    fn remove_from_node(&mut self, at: usize, offset: usize, removed: usize) {
        self.open(at);
        if let Some(Node::Packed { count, list }) = self.nodes.get_mut(at) {
            list.remove_range(offset as i64, removed);
            *count -= removed as u32;
            self.len -= removed;
        }
    }

    fn remove_node(&mut self, at: usize) {
        if let Some(node) = self.nodes.remove(at) {
            self.len -= node.count();
        }
    }

    /// After a split: joins what fits into one node, around node `at`.
    fn merge_around(&mut self, mut at: usize) {
        if at >= 2 && self.merge(at - 2) {
            at -= 1;
        }
        self.merge(at + 1);
        if at >= 1 && self.merge(at - 1) {
            at -= 1;
        }
        self.merge(at);
    }

    /// Joins a node and the one behind it, if both are packed and fit into one.
    fn merge(&mut self, at: usize) -> bool {
        let (Some(a), Some(b)) = (self.nodes.get(at), self.nodes.get(at + 1)) else {
            return false;
        };
        let bytes = (a.raw_len() + b.raw_len()).saturating_sub(LISTPACK_FRAME);
        if a.is_plain() || b.is_plain() || self.fill.is_exceeded_by(bytes, a.count() + b.count()) {
            return false;
        }
        self.open(at);
        self.open(at + 1);
        let Some(Node::Packed {
            count: more,
            list: tail,
        }) = self.nodes.remove(at + 1)
        else {
            return false;
        };
        if let Node::Packed { count, list } = &mut self.nodes[at] {
            list.append(&tail);
            *count += more;
        }
        true
    }

    /// Decompresses a node in its place.
    #[inline]
    fn open(&mut self, at: usize) {
        if self.depth > 0
            && let Some(node) = self.nodes.get_mut(at)
            && let Some(opened) = node.opened()
        {
            *node = opened;
        }
    }

    /// Compresses a node in its place, if it lies far enough inside.
    fn squeeze(&mut self, at: usize) {
        let depth = usize::from(self.depth);
        if depth > 0
            && at >= depth
            && at + depth < self.nodes.len()
            && let Some(squeezed) = self.nodes[at].squeezed()
        {
            self.nodes[at] = squeezed;
        }
    }

    /// After nodes came or went, or some in `around` were opened: makes invariant 2 hold, and compresses those again
    /// that lie inside.
    fn settle(&mut self, around: Range<usize>) {
        /// No edit moves more nodes than this over the border.
        const BORDER: usize = 3;
        if self.depth == 0 {
            return;
        }
        let (depth, len) = (usize::from(self.depth), self.nodes.len());
        for at in 0..depth.min(len) {
            self.open(at);
            self.open(len - 1 - at);
        }
        if len <= 2 * depth {
            return;
        }
        let inside = depth..len - depth;
        let first = inside.start..inside.start + BORDER;
        let last = inside.end.saturating_sub(BORDER)..inside.end;
        for at in around.chain(first).chain(last) {
            self.squeeze(at);
        }
    }

    /// Checks the invariants.
    #[cfg(test)]
    fn assert_valid(&self) {
        let depth = usize::from(self.depth);
        let mut total = 0;
        for (at, node) in self.nodes.iter().enumerate() {
            assert!(node.count() > 0, "invariant 1");
            total += node.count();
            let is_end = at < depth || at + depth >= self.nodes.len();
            match node {
                Node::Packed { count, list } => assert_eq!(*count as usize, list.len()),
                Node::Plain(_) => {}
                Node::Squeezed { .. } => assert!(depth > 0 && !is_end, "invariant 2"),
            }
            if depth > 0 && !is_end {
                assert!(
                    node.squeezed().is_none(),
                    "node {at} of {} is open",
                    self.nodes.len()
                );
            }
        }
        assert_eq!(total, self.len, "invariant 1");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that differ from seed to seed.
    struct Dice(u64);

    impl Dice {
        fn below(&mut self, n: usize) -> usize {
            self.0 = self
                .0
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((self.0 >> 33) as usize) % n.max(1)
        }

        fn text(&mut self) -> Vec<u8> {
            match self.below(12) {
                0..4 => self.below(1000).to_string().into_bytes(),
                4..8 => vec![b'a' + self.below(3) as u8],
                8..10 => b"some text, some text".repeat(1 + self.below(9)),
                10 => vec![b'x'; self.below(2000)],
                _ => vec![b'L'; 8000 + self.below(500)],
            }
        }
    }

    fn texts(list: &Quicklist, from: usize, towards: End) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        list.walk(from, towards, |element| {
            all.push(element.to_vec());
            true
        });
        all
    }

    fn remove_from_model(model: &mut Vec<Vec<u8>>, text: &[u8], from: End, limit: usize) -> usize {
        let mut removed = 0;
        for step in 0..model.len() {
            let at = match from {
                End::Head => step - removed,
                End::Tail => model.len() - 1 - (step - removed),
            };
            // From the tail, those that were removed no longer count.
            if removed < limit && model[at] == text {
                model.remove(at);
                removed += 1;
            }
        }
        removed
    }

    /// Random edits on a list and on a vector.
    fn compare(fill: i64, depth: u16, packed_threshold: u64, seed: u64) {
        let mut dice = Dice(seed);
        let mut list = Quicklist::new(Fill::new(fill), depth);
        let mut model: Vec<Vec<u8>> = Vec::new();
        for step in 0..400 {
            let text = dice.text();
            let index = dice.below(model.len() + 1);
            let end = [End::Head, End::Tail][dice.below(2)];
            let element = NewElement::from(&text[..]);
            match dice.below(10) {
                0 | 1 => {
                    list.push(end, element, packed_threshold);
                    let at = if end == End::Head { 0 } else { model.len() };
                    model.insert(at, text);
                }
                2 => {
                    let popped = list.pop(end, |element| element.to_vec());
                    let wanted = match end {
                        End::Head if model.is_empty() => None,
                        End::Head => Some(model.remove(0)),
                        End::Tail => model.pop(),
                    };
                    assert_eq!(popped, wanted);
                }
                3..6 if index < model.len() => {
                    let behind = dice.below(2) == 1;
                    list.insert(index, behind, element, packed_threshold);
                    model.insert(index + usize::from(behind), text);
                }
                6 | 7 => {
                    let is_there = list.replace(index, element, packed_threshold);
                    assert_eq!(is_there, index < model.len());
                    if is_there {
                        model[index] = text;
                    }
                }
                8 if model.len() > 40 => {
                    let count = dice.below(30);
                    list.remove_range(index, count);
                    model.drain(index..(index + count).min(model.len()));
                }
                9 if dice.below(4) == 0 => {
                    let limit = 1 + dice.below(3);
                    let removed = list.remove_matching(&Needle::new(&text), end, limit);
                    assert_eq!(removed, remove_from_model(&mut model, &text, end, limit));
                }
                _ => {}
            }
            list.assert_valid();
            assert_eq!(list.len(), model.len(), "step {step}");
            if step % 20 == 0 {
                let from = dice.below(model.len());
                assert_eq!(
                    texts(&list, from, End::Tail),
                    model[from.min(model.len())..]
                );
                let mut backwards = texts(&list, from, End::Head);
                backwards.reverse();
                assert_eq!(backwards, model[..(from + 1).min(model.len())]);
            }
        }
        assert_eq!(texts(&list.clone(), 0, End::Tail), model);
    }

    #[test]
    fn edits_do_what_a_vector_does_whatever_the_limits() {
        for (number, fill) in [-1, -2, -5, 0, 1, 2, 5, 128].into_iter().enumerate() {
            for depth in [0, 1, 2] {
                for packed_threshold in [0, 1, 5, 100] {
                    compare(fill, depth, packed_threshold, 77 + number as u64);
                }
            }
        }
    }

    #[test]
    fn inner_nodes_are_compressed_and_the_ends_are_not() {
        let mut list = Quicklist::new(Fill::new(-1), 1);
        for _ in 0..4000 {
            list.push(End::Tail, NewElement::from(&b"the same again"[..]), 0);
        }
        list.assert_valid();
        let squeezed = |node: &&Node| matches!(node, Node::Squeezed { .. });
        let inside = list.nodes.iter().filter(squeezed).count();
        assert_eq!(inside, list.node_count() - 2);
        assert!(list.memory_bytes() < list.raw_len() / 4);
    }

    #[test]
    fn a_node_of_the_deque_is_two_words() {
        assert_eq!(size_of::<Node>(), 16);
    }

    #[test]
    fn configured_fills_name_their_limits() {
        for (configured, bytes, count) in [
            (-1, 4096, usize::MAX),
            (-2, 8192, usize::MAX),
            (-5, 65536, usize::MAX),
            (-99, 65536, usize::MAX),
            (0, usize::MAX, 1),
            (7, usize::MAX, 7),
            (1 << 40, usize::MAX, 32767),
        ] {
            assert_eq!(Fill::new(configured).limits(), (bytes, count));
        }
        assert!(
            Fill::new(100).is_exceeded_by(8193, 1) && !Fill::new(100).is_exceeded_by(8192, 100)
        );
    }
}
