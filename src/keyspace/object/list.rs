//! List: a listpack while it is small, then a quicklist.
//!
//! Lives here: which of the two it is, and every operation in both. May not: commands, config (callers pass limits).

use crate::keyspace::entry::Encoding;
use crate::keyspace::table::ArrayStats;
use crate::types::digest::Digest;
use crate::types::listpack::Listpack;
use crate::types::one_of::{Owned, one_of};
use crate::types::quicklist::{
    Element, End, Fill, Needle, NewElement, Quicklist, edge, remove_from_packed, walk_packed,
};

/// What decides a list's encoding.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub fill: Fill,
    /// How many nodes at each end are never compressed; zero compresses none.
    pub depth: u16,
    /// Elements from this size on get a node of their own; zero leaves that to `fill`.
    pub packed_threshold: u64,
}

impl Limits {
    /// The limits as they are configured.
    pub fn new(fill: i64, depth: i64, packed_threshold: u64) -> Limits {
        Limits {
            fill: Fill::new(fill),
            depth: depth.clamp(0, u16::MAX.into()) as u16,
            packed_threshold,
        }
    }
}

/// A list that is not packed.
pub type LargeList = Owned<Quicklist, 3>;

one_of! {
    /// A list.
    pub List, ListRef, ListMut {
        Listpack(Listpack),
        Quicklist(LargeList),
    }
}

impl Default for List {
    fn default() -> List {
        Listpack::new().into()
    }
}

impl List {
    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        match self.view() {
            ListRef::Listpack(_) => Encoding::Listpack,
            ListRef::Quicklist(_) => Encoding::Quicklist,
        }
    }

    /// How many elements there are.
    #[inline]
    pub fn len(&self) -> usize {
        match self.view() {
            ListRef::Listpack(list) => list.len(),
            ListRef::Quicklist(list) => list.len(),
        }
    }

    /// Whether there is no element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        match self.view() {
            ListRef::Listpack(list) => list.is_empty(),
            ListRef::Quicklist(list) => list.is_empty(),
        }
    }

    /// A deep copy.
    pub fn duplicate(&self) -> List {
        match self.view() {
            ListRef::Listpack(list) => list.clone().into(),
            ListRef::Quicklist(list) => LargeList::new(Quicklist::clone(list)).into(),
        }
    }

    /// Adds the value to a digest of the data set.
    pub fn digest(&self, digest: &mut Digest) {
        let mut digits = itoa::Buffer::new();
        self.walk(0, End::Tail, |element| {
            digest.mix(element.bytes(&mut digits));
            true
        });
    }

    /// The table that holds the elements: lists have none.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        None
    }

    /// Frees about `budget` elements of a value that nobody will use again; returns how many.
    pub fn free_some(&mut self, budget: usize) -> usize {
        match self.view_mut() {
            ListMut::Listpack(_) => 0,
            ListMut::Quicklist(list) => list.free_some(budget),
        }
    }

    /// Whether `free_some` has left nothing to speak of.
    pub fn is_freed(&self) -> bool {
        match self.view() {
            ListRef::Listpack(_) => true,
            ListRef::Quicklist(list) => list.is_freed(),
        }
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        match self.view() {
            ListRef::Listpack(list) => list.memory_bytes(),
            ListRef::Quicklist(list) => list.memory_bytes(),
        }
    }

    /// The quicklist, if it is one.
    pub fn quicklist(&self) -> Option<&Quicklist> {
        match self.view() {
            ListRef::Listpack(_) => None,
            ListRef::Quicklist(list) => Some(list),
        }
    }

    /// The listpack, if it is one.
    pub fn listpack(&self) -> Option<&Listpack> {
        match self.view() {
            ListRef::Listpack(list) => Some(list),
            ListRef::Quicklist(_) => None,
        }
    }

    /// Turns a listpack into a quicklist if `count` more elements of `bytes` together would be too much for it.
    #[inline]
    pub fn grow(&mut self, limits: &Limits, bytes: usize, count: usize) {
        if let ListMut::Listpack(list) = self.view_mut()
            && limits
                .fill
                .is_exceeded_by(list.byte_len().saturating_add(bytes), list.len() + count)
        {
            let mut quicklist = LargeList::new(Quicklist::new(limits.fill, limits.depth));
            quicklist.push_listpack(std::mem::take(list));
            *self = quicklist.into();
        }
    }

    /// Turns a quicklist of one node into a listpack if it fills no more than half of what one may hold.
    #[inline]
    pub fn shrink(&mut self, limits: &Limits) {
        self.shrink_below(limits, 2);
    }

    /// Turns a quicklist of one node into a listpack if it is within the limits: what has been loaded is brought
    /// into the encoding that this server would have chosen.
    pub fn shrink_loaded(&mut self, limits: &Limits) {
        self.shrink_below(limits, 1);
    }

    #[inline]
    fn shrink_below(&mut self, limits: &Limits, divisor: usize) {
        let ListMut::Quicklist(list) = self.view_mut() else {
            return;
        };
        let Some((bytes, count)) = list.single_packed() else {
            return;
        };
        let (bytes_max, count_max) = limits.fill.limits();
        if bytes <= bytes_max / divisor
            && count <= count_max / divisor
            && let Some(packed) = list.take_single()
        {
            *self = packed.into();
        }
    }

    /// Adds an element at one end. The caller has made room by [`List::grow`].
    #[inline]
    pub fn push(&mut self, end: End, element: NewElement<'_>, limits: &Limits) {
        match (self.view_mut(), end) {
            (ListMut::Listpack(list), End::Head) => list.push_front(element.text),
            (ListMut::Listpack(list), End::Tail) => list.push(element.text),
            (ListMut::Quicklist(list), end) => list.push(end, element, limits.packed_threshold),
        }
    }

    /// Takes the element at one end out, after `f` has seen it.
    #[inline]
    pub fn pop<R>(&mut self, end: End, f: impl FnOnce(Element<'_>) -> R) -> Option<R> {
        match self.view_mut() {
            ListMut::Listpack(list) => {
                let pos = edge(list, end)?;
                let result = f(Element::Packed(list.get(pos)));
                list.remove(pos, 1);
                Some(result)
            }
            ListMut::Quicklist(list) => list.pop(end, f),
        }
    }

    /// Calls `f` with the elements from number `index` on, towards the tail or towards the head, until it returns
    /// false.
    #[inline]
    pub fn walk(&self, index: usize, towards: End, mut f: impl FnMut(Element<'_>) -> bool) {
        match self.view() {
            ListRef::Listpack(list) => {
                walk_packed(list, index, towards, &mut f);
            }
            ListRef::Quicklist(list) => list.walk(index, towards, f),
        }
    }

    /// Adds an element before or behind element number `index`, which is there. The caller has made room by
    /// [`List::grow`].
    pub fn insert(&mut self, index: usize, behind: bool, element: NewElement<'_>, limits: &Limits) {
        match self.view_mut() {
            ListMut::Listpack(list) => {
                let pos = list.seek((index + usize::from(behind)) as i64);
                list.insert(pos, element.text);
            }
            ListMut::Quicklist(list) => {
                list.insert(index, behind, element, limits.packed_threshold)
            }
        }
    }

    /// Puts another element in the place of number `index`; says whether that is there. The caller has made room by
    /// [`List::grow`].
    pub fn replace(&mut self, index: usize, element: NewElement<'_>, limits: &Limits) -> bool {
        match self.view_mut() {
            ListMut::Listpack(list) => match list.seek(index as i64) {
                Some(pos) => {
                    list.replace(pos, element.text);
                    true
                }
                None => false,
            },
            ListMut::Quicklist(list) => list.replace(index, element, limits.packed_threshold),
        }
    }

    /// Removes `count` elements from number `index` on, or as many as there are.
    pub fn remove_range(&mut self, index: usize, count: usize) {
        match self.view_mut() {
            ListMut::Listpack(list) => list.remove_range(index as i64, count),
            ListMut::Quicklist(list) => list.remove_range(index, count),
        }
    }

    /// Removes up to `limit` elements that are `needle`, from the given end on; says how many.
    pub fn remove_matching(&mut self, needle: &Needle<'_>, from: End, limit: usize) -> usize {
        match self.view_mut() {
            ListMut::Listpack(list) => remove_from_packed(list, needle, from, limit),
            ListMut::Quicklist(list) => list.remove_matching(needle, from, limit),
        }
    }

    /// The number of the first element that is `needle`.
    pub fn position(&self, needle: &Needle<'_>) -> Option<usize> {
        let (mut index, mut found) = (0, None);
        self.walk(0, End::Tail, |element| {
            if needle.is(element) {
                found = Some(index);
            }
            index += 1;
            found.is_none()
        });
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(limits: &Limits, count: usize) -> List {
        let mut list = List::default();
        for _ in 0..count {
            list.grow(limits, 10, 1);
            list.push(End::Tail, NewElement::from(&b"0123456789"[..]), limits);
        }
        list
    }

    #[test]
    fn a_list_takes_little_room_in_its_entry() {
        assert!(size_of::<List>() <= 16);
    }

    #[test]
    fn a_list_grows_into_a_quicklist_and_shrinks_back_at_half() {
        for (fill, full, half) in [(-1, 340, 170), (128, 128, 64), (1, 1, 0)] {
            let limits = Limits::new(fill, 0, 0);
            let mut list = pushed(&limits, full);
            assert_eq!(list.encoding(), Encoding::Listpack, "{fill}");
            list.grow(&limits, 10, 1);
            assert_eq!(list.encoding(), Encoding::Quicklist, "{fill}");
            while list.len() > half {
                list.shrink(&limits);
                assert_eq!(
                    list.encoding(),
                    Encoding::Quicklist,
                    "{fill} {}",
                    list.len()
                );
                assert_eq!(
                    list.pop(End::Head, |element| element.to_vec()),
                    Some(b"0123456789".to_vec())
                );
            }
            list.shrink(&limits);
            let is_listpack = list.encoding() == Encoding::Listpack;
            assert_eq!(is_listpack, half > 0, "{fill}");
            assert_eq!(list.len(), half);
        }
    }

    #[test]
    fn what_was_loaded_may_fill_a_listpack_to_the_brim() {
        let limits = Limits::new(4, 0, 0);
        let mut quicklist = Quicklist::new(limits.fill, 0);
        for _ in 0..4 {
            quicklist.push(End::Tail, NewElement::from(&b"x"[..]), 0);
        }
        let mut list = List::from(LargeList::new(quicklist));
        list.shrink(&limits);
        assert_eq!(list.encoding(), Encoding::Quicklist);
        list.shrink_loaded(&limits);
        assert_eq!((list.encoding(), list.len()), (Encoding::Listpack, 4));
    }
}
