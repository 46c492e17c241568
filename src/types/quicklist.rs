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

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::decimal::parse_i64;
use super::listpack::{Item, Listpack, Pos};
use super::lzf;
use super::size_class::class_size;

/// Node sizes that the fills -1 to -5 stand for.
const SIZES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// With a limit by count, a node still stays within so many bytes.
const SAFE_SIZE: usize = 8 << 10;
/// What an element is taken to need beyond its text when a node is asked whether it has room.
const ELEMENT_OVERHEAD: usize = 8;
/// What one of two joined listpacks loses: header and end mark.
const LISTPACK_FRAME: usize = 7;
/// Nodes shorter than this are not compressed.
const COMPRESS_MIN: usize = 48;
/// A compressed node has to be shorter by this at least.
const COMPRESS_GAIN: usize = 9;
/// Longest text of an integer.
const INT_TEXT_MAX: usize = 20;

/// How much goes into a node (`list-max-listpack-size`): a count, or one of five sizes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill(i16);

impl Fill {
    /// The fill that a configured number stands for; numbers out of range count as the nearest in it.
    pub fn new(configured: i64) -> Fill {
        Fill(configured.clamp(-(SIZES.len() as i64), i16::MAX.into()) as i16)
    }

    /// The number, as it is configured.
    pub fn number(self) -> i16 {
        self.0
    }

    /// The limits of a node in bytes and in elements; the one that does not apply is out of reach.
    pub fn limits(self) -> (usize, usize) {
        match self.0 {
            0.. => (usize::MAX, self.0.max(1) as usize),
            size => (SIZES[usize::from(size.unsigned_abs()) - 1], usize::MAX),
        }
    }

    /// Whether a listpack of so many bytes and elements is more than a node may hold.
    #[inline]
    pub fn is_exceeded_by(self, bytes: usize, count: usize) -> bool {
        match self.limits() {
            (usize::MAX, count_max) => bytes > SAFE_SIZE || count > count_max,
            (bytes_max, _) => bytes > bytes_max,
        }
    }

    /// Whether an element of `len` bytes gets a node of its own. A threshold of zero leaves that to the fill.
    #[inline]
    fn is_large(self, len: usize, packed_threshold: u64) -> bool {
        if packed_threshold != 0 {
            return len as u64 >= packed_threshold;
        }
        match self.limits() {
            (usize::MAX, _) => len > SAFE_SIZE,
            (bytes_max, _) => len > bytes_max,
        }
    }
}

/// An end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Head,
    Tail,
}

/// An element on its way in, with the buffer it came in if that may be kept.
#[derive(Clone, Debug)]
pub struct NewElement<'a> {
    pub text: &'a [u8],
    pub buffer: Option<Bytes>,
}

impl<'a> From<&'a [u8]> for NewElement<'a> {
    fn from(text: &'a [u8]) -> NewElement<'a> {
        NewElement { text, buffer: None }
    }
}

impl NewElement<'_> {
    fn into_plain(self) -> Node {
        let copy = || Bytes::copy_from_slice(self.text);
        Node::Plain(Box::new(self.buffer.unwrap_or_else(copy)))
    }

    fn into_packed(self) -> Node {
        let mut list = Listpack::new();
        list.push(self.text);
        Node::Packed { count: 1, list }
    }
}

/// An element in a list.
#[derive(Clone, Copy, Debug)]
pub enum Element<'a> {
    Packed(Item<'a>),
    Plain(&'a Bytes),
}

impl<'a> Element<'a> {
    /// The element as text; integers are written into `digits`.
    #[inline]
    pub fn bytes(self, digits: &'a mut itoa::Buffer) -> &'a [u8] {
        match self {
            Element::Packed(item) => item.bytes(digits),
            Element::Plain(bytes) => bytes,
        }
    }

    /// The element as text of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }
}

/// A text that elements are compared with.
#[derive(Clone, Copy, Debug)]
pub struct Needle<'a> {
    text: &'a [u8],
    int: Option<i64>,
}

impl<'a> Needle<'a> {
    /// Prepares the comparison.
    pub fn new(text: &'a [u8]) -> Needle<'a> {
        let short = Some(text).filter(|text| text.len() <= INT_TEXT_MAX);
        Needle {
            text,
            int: short.and_then(parse_i64),
        }
    }

    /// Whether the element is this text.
    #[inline]
    pub fn is(&self, element: Element<'_>) -> bool {
        match element {
            Element::Packed(Item::Int(value)) => self.int == Some(value),
            Element::Packed(Item::Str(text)) => text == self.text,
            Element::Plain(bytes) => *bytes == self.text,
        }
    }
}

/// Sixteen bytes each: the deque of them is what a look-up by index walks.
enum Node {
    Packed { count: u32, list: Listpack },
    Plain(Box<Bytes>),
    Squeezed { count: u32, block: Box<Squeezed> },
}

/// A compressed node.
#[derive(Clone)]
struct Squeezed {
    is_plain: bool,
    raw_len: usize,
    bytes: Box<[u8]>,
}

impl Clone for Node {
    fn clone(&self) -> Node {
        match self {
            Node::Packed { count, list } => Node::Packed {
                count: *count,
                list: list.clone(),
            },
            Node::Plain(bytes) => Node::Plain(bytes.clone()),
            Node::Squeezed { count, block } => Node::Squeezed {
                count: *count,
                block: block.clone(),
            },
        }
    }
}

impl Node {
    #[inline]
    fn count(&self) -> usize {
        match self {
            Node::Packed { count, .. } | Node::Squeezed { count, .. } => *count as usize,
            Node::Plain(_) => 1,
        }
    }

    /// Bytes of the listpack or of the large element, uncompressed.
    fn raw_len(&self) -> usize {
        match self {
            Node::Packed { list, .. } => list.byte_len(),
            Node::Plain(bytes) => bytes.len(),
            Node::Squeezed { block, .. } => block.raw_len,
        }
    }

    fn is_plain(&self) -> bool {
        match self {
            Node::Packed { .. } => false,
            Node::Plain(_) => true,
            Node::Squeezed { block, .. } => block.is_plain,
        }
    }

    /// The node as it was before it was compressed, if it is.
    fn opened(&self) -> Option<Node> {
        let Node::Squeezed { count, block } = self else {
            return None;
        };
        let raw = lzf::decompress(&block.bytes, block.raw_len).expect("invariant 3");
        Some(match block.is_plain {
            true => Node::Plain(Box::new(Bytes::from(raw))),
            false => Node::Packed {
                count: *count,
                list: Listpack::from_sound(&raw),
            },
        })
    }

    /// The node compressed, if it is not and that is worth it.
    fn squeezed(&self) -> Option<Node> {
        let raw = match self {
            Node::Packed { list, .. } => list.as_bytes(),
            Node::Plain(bytes) => bytes,
            Node::Squeezed { .. } => return None,
        };
        if raw.len() < COMPRESS_MIN {
            return None;
        }
        let block = Box::new(Squeezed {
            is_plain: self.is_plain(),
            raw_len: raw.len(),
            bytes: lzf::compress(raw, COMPRESS_GAIN)?.into_boxed_slice(),
        });
        let count = self.count() as u32;
        Some(Node::Squeezed { count, block })
    }

    /// Calls `f` with the elements from number `from` on, towards the tail or towards the head, until it returns
    /// false; says whether it never did.
    fn walk(&self, from: usize, towards: End, f: &mut impl FnMut(Element<'_>) -> bool) -> bool {
        match self {
            Node::Plain(bytes) => f(Element::Plain(bytes)),
            Node::Packed { list, .. } => walk_packed(list, from, towards, f),
            Node::Squeezed { .. } => match self.opened() {
                Some(node) => node.walk(from, towards, f),
                None => true,
            },
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Node::Packed { list, .. } => list.memory_bytes(),
            Node::Plain(bytes) => class_size(size_of::<Bytes>()) + class_size(bytes.len()),
            Node::Squeezed { block, .. } => {
                class_size(size_of::<Squeezed>()) + class_size(block.bytes.len())
            }
        }
    }
}

/// Calls `f` with a listpack's elements from number `from` on, towards the tail or towards the head, until it returns
/// false; says whether it never did.
pub fn walk_packed(
    list: &Listpack,
    from: usize,
    towards: End,
    f: &mut impl FnMut(Element<'_>) -> bool,
) -> bool {
    let Some(pos) = list.seek(from as i64) else {
        return true;
    };
    match towards {
        End::Tail => list.iter_from(pos).all(|item| f(Element::Packed(item))),
        End::Head => std::iter::successors(Some(pos), |pos| list.prev(*pos))
            .all(|pos| f(Element::Packed(list.get(pos)))),
    }
}

/// Removes up to `limit` elements that are `needle` from a listpack, from the given end on; says how many.
pub fn remove_from_packed(
    list: &mut Listpack,
    needle: &Needle<'_>,
    from: End,
    limit: usize,
) -> usize {
    let mut removed = 0;
    let mut at = edge(list, from);
    while let Some(pos) = at
        && removed < limit
    {
        let is_it = needle.is(Element::Packed(list.get(pos)));
        at = match (from, is_it) {
            (End::Head, true) => list.remove(pos, 1),
            (End::Head, false) => list.next(pos),
            (End::Tail, _) => list.prev(pos),
        };
        if is_it && from == End::Tail {
            list.remove(pos, 1);
        }
        removed += usize::from(is_it);
    }
    removed
}

/// The element at one end of a listpack.
#[inline]
pub fn edge(list: &Listpack, end: End) -> Option<Pos> {
    match end {
        End::Head => list.first(),
        End::Tail => list.last(),
    }
}

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

    /// Every node in order, as RDB files hold them: a listpack, or one large element.
    pub fn for_each_node(&self, mut f: impl FnMut(NodeRef<'_>)) {
        for node in &self.nodes {
            let opened = node.opened();
            match opened.as_ref().unwrap_or(node) {
                Node::Packed { list, .. } => f(NodeRef::Packed(list)),
                Node::Plain(bytes) => f(NodeRef::Plain(bytes)),
                Node::Squeezed { .. } => {}
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

/// Whether a packed node takes one more element of `len` bytes.
#[inline]
fn has_room(
    fill: Fill,
    (list, count): (&Listpack, u32),
    len: usize,
    packed_threshold: u64,
) -> bool {
    !fill.is_large(len, packed_threshold)
        && !fill.is_exceeded_by(
            list.byte_len()
                .saturating_add(len)
                .saturating_add(ELEMENT_OVERHEAD),
            count as usize + 1,
        )
}

/// A node as RDB files know it.
pub enum NodeRef<'a> {
    Packed(&'a Listpack),
    Plain(&'a Bytes),
}
