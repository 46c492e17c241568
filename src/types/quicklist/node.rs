//! Node: one link of a quicklist, and elements on their way in and out.
//!
//! Lives here: what fits into a node, what it looks like compressed, and walks through one listpack, which short lists
//! use as well. May not: the order of nodes.

use bytes::Bytes;

use crate::types::decimal::parse_i64;
use crate::types::listpack::{Item, Listpack, Pos};
use crate::types::lzf;
use crate::types::size_class::class_size;

/// Node sizes that the fills -1 to -5 stand for.
const SIZES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// With a limit by count, a node still stays within so many bytes.
const SAFE_SIZE: usize = 8 << 10;
/// What an element is taken to need beyond its text when a node is asked whether it has room.
pub(super) const ELEMENT_OVERHEAD: usize = 8;
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
    pub(super) fn is_large(self, len: usize, packed_threshold: u64) -> bool {
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
    pub(super) fn into_plain(self) -> Node {
        let copy = || Bytes::copy_from_slice(self.text);
        Node::Plain(Box::new(self.buffer.unwrap_or_else(copy)))
    }

    pub(super) fn into_packed(self) -> Node {
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
pub(super) enum Node {
    Packed { count: u32, list: Listpack },
    Plain(Box<Bytes>),
    Squeezed { count: u32, block: Box<Squeezed> },
}

/// A compressed node.
#[derive(Clone)]
pub(super) struct Squeezed {
    pub(super) is_plain: bool,
    pub(super) raw_len: usize,
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
    pub(super) fn count(&self) -> usize {
        match self {
            Node::Packed { count, .. } | Node::Squeezed { count, .. } => *count as usize,
            Node::Plain(_) => 1,
        }
    }

    /// Bytes of the listpack or of the large element, uncompressed.
    pub(super) fn raw_len(&self) -> usize {
        match self {
            Node::Packed { list, .. } => list.byte_len(),
            Node::Plain(bytes) => bytes.len(),
            Node::Squeezed { block, .. } => block.raw_len,
        }
    }

    pub(super) fn is_plain(&self) -> bool {
        match self {
            Node::Packed { .. } => false,
            Node::Plain(_) => true,
            Node::Squeezed { block, .. } => block.is_plain,
        }
    }

    /// The node as it was before it was compressed, if it is.
    pub(super) fn opened(&self) -> Option<Node> {
        let Node::Squeezed { count, block } = self else {
            return None;
        };
        let raw =
            lzf::decompress(&block.bytes, block.raw_len).expect("invariant 3 of the quicklist");
        Some(match block.is_plain {
            true => Node::Plain(Box::new(Bytes::from(raw))),
            false => Node::Packed {
                count: *count,
                list: Listpack::from_sound(&raw),
            },
        })
    }

    /// The node compressed, if it is not and that is worth it.
    pub(super) fn squeezed(&self) -> Option<Node> {
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
    pub(super) fn walk(
        &self,
        from: usize,
        towards: End,
        f: &mut impl FnMut(Element<'_>) -> bool,
    ) -> bool {
        match self {
            Node::Plain(bytes) => f(Element::Plain(bytes)),
            Node::Packed { list, .. } => walk_packed(list, from, towards, f),
            Node::Squeezed { .. } => match self.opened() {
                Some(node) => node.walk(from, towards, f),
                None => true,
            },
        }
    }

    pub(super) fn memory_bytes(&self) -> usize {
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

/// Whether a packed node takes one more element of `len` bytes.
#[inline]
pub(super) fn has_room(
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
