//! Intset: a set of integers as one sorted block, as RDB files and DUMP payloads hold it.
//!
//! Lives here: the format, its edits, and the check of a block from outside. May not: when a set stops being one.
//!
//! The handle is one pointer; the block says its own length:
//!
//! ```text
//! [width: u32 le, 2, 4 or 8] [values: u32 le] [value: width bytes, le, signed]*
//! ```
//!
//! The width grows with the first value that does not fit and never shrinks again.
//!
//! Invariants:
//! 1. The width is 2, 4 or 8.
//! 2. Values ascend, none comes twice.

use super::block::{Block, Counted};
use super::one_of::Handle;

const HEADER: usize = 8;
/// Values that an intset takes at most, whatever is configured: its length has to fit 32 bits of bytes.
pub const LEN_MAX: usize = 1 << 28;

/// An owned intset.
#[repr(transparent)]
#[derive(Clone)]
pub struct Intset(Block<Counted>);

#[allow(unsafe_code, reason = "a promise about the struct's form, no access")]
// SAFETY: the struct is its block in other clothes.
unsafe impl Handle for Intset {
    const TAG: usize = <Block<Counted> as Handle>::TAG;
}

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

/// Bytes that a value needs at least.
fn width_for(value: i64) -> usize {
    if i16::try_from(value).is_ok() {
        2
    } else if i32::try_from(value).is_ok() {
        4
    } else {
        8
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    let le = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(le) as usize)
}

/// The values of an intset, how wide each is and how many there are, if its header and its length agree.
fn parts(bytes: &[u8]) -> Option<(&[u8], usize, usize)> {
    let width = u32_at(bytes, 0).filter(|width| matches!(width, 2 | 4 | 8))?;
    let len = u32_at(bytes, 4).filter(|len| *len <= LEN_MAX)?;
    let values = bytes.get(HEADER..)?;
    (values.len() == len * width).then_some((values, width, len))
}

/// Value number `index` of a block whose values are `width` bytes each.
#[inline]
fn value_at(values: &[u8], width: usize, index: usize) -> i64 {
    let at = index * width;
    match width {
        2 => i16::from_le_bytes([values[at], values[at + 1]]).into(),
        4 => {
            let le = [values[at], values[at + 1], values[at + 2], values[at + 3]];
            i32::from_le_bytes(le).into()
        }
        _ => {
            let mut le = [0; 8];
            le.copy_from_slice(&values[at..at + 8]);
            i64::from_le_bytes(le)
        }
    }
}

impl Intset {
    /// An intset without values.
    pub fn new() -> Intset {
        Intset::from_sound(&[2, 0, 0, 0, 0, 0, 0, 0])
    }

    /// A copy of bytes from outside, if they are a sound intset to the last byte.
    pub fn from_bytes(bytes: &[u8]) -> Option<Intset> {
        let (values, width, len) = parts(bytes)?;
        let ascends = |at: usize| value_at(values, width, at - 1) < value_at(values, width, at);
        (1..len).all(ascends).then(|| Intset::from_sound(bytes))
    }

    /// The values of bytes from outside that have the form of an intset, in whatever order they are.
    pub fn values_of(bytes: &[u8]) -> Option<Vec<i64>> {
        let (values, width, len) = parts(bytes)?;
        Some((0..len).map(|at| value_at(values, width, at)).collect())
    }

    fn from_sound(bytes: &[u8]) -> Intset {
        Intset(Block::new(bytes))
    }

    /// The whole block, as it is saved.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.bytes()
    }

    #[inline]
    fn header(&self) -> [usize; 2] {
        let [a, b, c, d, e, f, g, h] = self.0.head();
        [[a, b, c, d], [e, f, g, h]].map(|word| u32::from_le_bytes(word) as usize)
    }

    /// Bytes of each value.
    #[inline]
    pub fn width(&self) -> usize {
        self.header()[0]
    }

    /// How many values there are.
    #[inline]
    pub fn len(&self) -> usize {
        self.header()[1]
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the block takes.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }

    /// Value number `index` from the smallest one on.
    #[inline]
    pub fn get(&self, index: usize) -> Option<i64> {
        let [width, len] = self.header();
        (index < len).then(|| value_at(&self.as_bytes()[HEADER..], width, index))
    }

    /// The smallest value.
    pub fn first(&self) -> Option<i64> {
        self.get(0)
    }

    /// The largest value.
    pub fn last(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The values in ascending order.
    pub fn iter(&self) -> impl Iterator<Item = i64> + '_ {
        let width = self.width();
        let values = &self.as_bytes()[HEADER..];
        (0..self.len()).map(move |index| value_at(values, width, index))
    }

    /// Whether `value` is in the set.
    #[inline]
    pub fn contains(&self, value: i64) -> bool {
        self.find(value).is_ok()
    }

    /// The value's index, or where it would be inserted.
    fn find(&self, value: i64) -> Result<usize, usize> {
        let [width, len] = self.header();
        let values = &self.as_bytes()[HEADER..];
        // Values are often added in ascending order.
        if len == 0 || value_at(values, width, len - 1) < value {
            return Err(len);
        }
        let (mut start, mut end) = (0, len);
        while start < end {
            let middle = start.midpoint(end);
            let at_middle = value_at(values, width, middle);
            if at_middle == value {
                return Ok(middle);
            }
            if at_middle < value {
                start = middle + 1;
            } else {
                end = middle;
            }
        }
        Err(start)
    }

    /// Adds a value; whether it was not there yet. The caller keeps below [`LEN_MAX`].
    pub fn insert(&mut self, value: i64) -> bool {
        let Err(index) = self.find(value) else {
            return false;
        };
        if width_for(value) > self.width() {
            self.widen(width_for(value));
        }
        let [width, len] = self.header();
        assert!(len < LEN_MAX, "callers keep below `LEN_MAX`");
        self.resize(width, len + 1);
        let (at, old_end) = (index * width, len * width);
        let values = self.0.body_mut();
        values.copy_within(at..old_end, at + width);
        values[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
        true
    }

    /// Removes a value; whether it was there.
    pub fn remove(&mut self, value: i64) -> bool {
        let Ok(index) = self.find(value) else {
            return false;
        };
        let [width, len] = self.header();
        let at = index * width;
        self.0.body_mut().copy_within(at + width.., at);
        self.resize(width, len - 1);
        true
    }

    fn widen(&mut self, width: usize) {
        let [old_width, len] = self.header();
        let mut wide = Intset::new();
        wide.resize(width, len);
        let old = &self.as_bytes()[HEADER..];
        for (index, out) in wide.0.body_mut().chunks_exact_mut(width).enumerate() {
            out.copy_from_slice(&value_at(old, old_width, index).to_le_bytes()[..width]);
        }
        *self = wide;
    }

    /// Makes room for `len` values of this width, or takes it away at the end; new ones are for the caller to fill.
    fn resize(&mut self, width: usize, len: usize) {
        let [a, b, c, d] = (width as u32).to_le_bytes();
        let [e, f, g, h] = (len as u32).to_le_bytes();
        self.0.resize([a, b, c, d, e, f, g, h]);
    }
}

impl FromIterator<i64> for Intset {
    fn from_iter<T: IntoIterator<Item = i64>>(values: T) -> Intset {
        let mut set = Intset::new();
        for value in values {
            set.insert(value);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::state::rng::Rng;

    #[test]
    fn random_edits_agree_with_a_plain_set() {
        for seed in 0..40 {
            let mut rng = Rng::new(seed);
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            // Each width gets its share of seeds that never leave it.
            let bits = [8, 20, 40, 64][seed as usize % 4];
            for _ in 0..400 {
                let value = (rng.next_u64() as i64) >> (64 - bits);
                let value = if rng.below(2) == 0 { value } else { value % 50 };
                if rng.below(3) == 0 {
                    assert_eq!(set.remove(value), model.remove(&value), "seed {seed}");
                } else {
                    assert_eq!(set.insert(value), model.insert(value), "seed {seed}");
                }
                assert_eq!(set.contains(value), model.contains(&value));
                assert_eq!(set.len(), model.len());
            }
            assert!(set.iter().eq(model.iter().copied()), "seed {seed}");
            assert_eq!(
                (set.first(), set.last()),
                (model.first().copied(), model.last().copied())
            );
            let copy = Intset::from_bytes(set.as_bytes()).expect("its own bytes are sound");
            assert!(copy.iter().eq(set.iter()));
        }
    }

    #[test]
    fn the_width_follows_the_widest_value() {
        let mut set = Intset::new();
        for (value, width) in [
            (1, 2),
            (i64::from(i16::MAX), 2),
            (i64::from(i16::MIN), 2),
            (i64::from(i16::MAX) + 1, 4),
            (i64::from(i32::MIN), 4),
            (i64::from(i32::MIN) - 1, 8),
            (i64::MAX, 8),
            (i64::MIN, 8),
        ] {
            assert!(set.insert(value));
            assert_eq!(set.width(), width, "{value}");
        }
        assert_eq!(set.first(), Some(i64::MIN));
        assert_eq!(set.len(), 8);
    }

    #[test]
    fn the_bytes_are_those_that_a_real_server_dumps() {
        let set: Intset = [3, 1, -1].into_iter().collect();
        assert_eq!(
            set.as_bytes(),
            [2, 0, 0, 0, 3, 0, 0, 0, 0xff, 0xff, 1, 0, 3, 0]
        );
    }

    #[test]
    fn unsound_bytes_are_refused() {
        for bytes in [
            &[][..],
            &[2, 0, 0, 0, 0, 0, 0],
            &[3, 0, 0, 0, 0, 0, 0, 0],
            &[2, 0, 0, 0, 1, 0, 0, 0],
            &[2, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0],
            &[2, 0, 0, 0, 2, 0, 0, 0, 1, 0, 1, 0],
            &[2, 0, 0, 0, 2, 0, 0, 0, 2, 0, 1, 0],
            &[8, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
        ] {
            assert!(Intset::from_bytes(bytes).is_none(), "{bytes:?}");
        }
        assert!(Intset::from_bytes(&[4, 0, 0, 0, 1, 0, 0, 0, 9, 0, 0, 0]).is_some());
    }
}
