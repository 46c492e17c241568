//! Stream ID: the place of an entry in its stream, milliseconds and a sequence number.

use std::fmt;

/// The ID of an entry; greater than those of all entries before it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct StreamId {
    pub ms: u64,
    pub seq: u64,
}

/// Longest text of an ID: two numbers of 20 digits and the dash.
pub const ID_TEXT_MAX: usize = 41;

impl StreamId {
    pub const MIN: StreamId = StreamId { ms: 0, seq: 0 };
    pub const MAX: StreamId = StreamId {
        ms: u64::MAX,
        seq: u64::MAX,
    };

    /// An ID of two numbers.
    pub const fn new(ms: u64, seq: u64) -> StreamId {
        StreamId { ms, seq }
    }

    /// The smallest ID that is greater.
    #[inline]
    pub fn next(self) -> Option<StreamId> {
        match self.seq.checked_add(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId::new(self.ms.checked_add(1)?, 0)),
        }
    }

    /// The greatest ID that is smaller.
    pub fn prev(self) -> Option<StreamId> {
        match self.seq.checked_sub(1) {
            Some(seq) => Some(StreamId { ms: self.ms, seq }),
            None => Some(StreamId::new(self.ms.checked_sub(1)?, u64::MAX)),
        }
    }

    /// Whether this is 0-0, which no entry has.
    pub fn is_zero(self) -> bool {
        self == StreamId::MIN
    }

    /// The ID as text, `ms-seq`, written into `buf`.
    #[inline]
    pub fn format(self, buf: &mut [u8; ID_TEXT_MAX]) -> &[u8] {
        let mut digits = itoa::Buffer::new();
        let ms = digits.format(self.ms).as_bytes();
        buf[..ms.len()].copy_from_slice(ms);
        buf[ms.len()] = b'-';
        let at = ms.len() + 1;
        let seq = digits.format(self.seq).as_bytes();
        let end = at + seq.len();
        buf[at..end].copy_from_slice(seq);
        &buf[..end]
    }

    /// The ID as text of its own.
    pub fn to_vec(self) -> Vec<u8> {
        self.format(&mut [0; ID_TEXT_MAX]).to_vec()
    }

    /// The sixteen bytes by which IDs sort as strings do: both numbers big-endian.
    pub fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.ms) << 64 | u128::from(self.seq)).to_be_bytes()
    }

    /// The ID of [`StreamId::to_bytes`].
    pub fn from_bytes(bytes: [u8; 16]) -> StreamId {
        let both = u128::from_be_bytes(bytes);
        StreamId::new((both >> 64) as u64, both as u64)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.seq)
    }
}
