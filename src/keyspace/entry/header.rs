//! Header: the first word of an entry.
//!
//! Lives here: how the word's bits are laid out (the picture is in the parent module), and the form
//! of the value that follows from them. May not: touch a block.

use super::{AREA_VEC, EMBSTR_MAX, LONG_KEY};
use crate::keyspace::kind::Kind;

/// How a string entry is labelled: the part of `Encoding` that the header keeps.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Label {
    Int,
    EmbStr,
    Raw,
}

impl Label {
    pub(super) fn for_len(len: usize) -> Label {
        if len <= EMBSTR_MAX {
            Label::EmbStr
        } else {
            Label::Raw
        }
    }
}

/// Where the value is (invariant 3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Int,
    Inline,
    Vec,
    Bytes,
    Object,
}

/// The header word.
#[derive(Clone, Copy)]
pub(super) struct Header(pub(super) u64);

impl Header {
    pub(super) const EPOCH: u64 = 1 << 8;
    pub(super) const MIRROR: u64 = 1 << 9;

    pub(super) fn new(kind: Kind, key_len: usize, lru: u32) -> Header {
        Header(
            kind as u64 | u64::from(lru & 0xff_ffff) << 16 | (key_len.min(LONG_KEY) as u64) << 40,
        )
    }

    #[inline]
    pub(super) fn with_value(self, label: Label, area: usize, low: u16) -> Header {
        debug_assert!(area.is_multiple_of(4) && area <= 60);
        Header(
            (self.0 & !(0xffff << 48 | 0xf << 12 | 0xf << 4))
                | (label as u64) << 4
                | (area as u64) << 10
                | u64::from(low) << 48,
        )
    }

    #[inline]
    pub(super) fn with_expire(self, on: bool) -> Header {
        Header(if on {
            self.0 | Header::MIRROR
        } else {
            self.0 & !Header::MIRROR
        })
    }

    #[inline]
    pub(super) fn kind(self) -> Kind {
        Kind::ALL[(self.0 & 0xf) as usize % Kind::ALL.len()]
    }

    #[inline]
    pub(super) fn is_string(self) -> bool {
        self.0 & 0xf == Kind::String as u64
    }

    #[inline]
    pub(super) fn label(self) -> Label {
        match self.0 >> 4 & 0xf {
            0 => Label::Int,
            1 => Label::EmbStr,
            _ => Label::Raw,
        }
    }

    #[inline]
    pub(super) fn form(self) -> Form {
        if !self.is_string() {
            return Form::Object;
        }
        match (self.label(), self.area()) {
            (Label::Int, _) => Form::Int,
            (_, 0) => Form::Inline,
            (_, AREA_VEC) => Form::Vec,
            _ => Form::Bytes,
        }
    }

    #[inline]
    pub(super) fn area(self) -> usize {
        (self.0 >> 10 & 0x3c) as usize
    }

    #[inline]
    pub(super) fn lru(self) -> u32 {
        (self.0 >> 16 & 0xff_ffff) as u32
    }

    #[inline]
    pub(super) fn short_key_len(self) -> usize {
        (self.0 >> 40 & 0xff) as usize
    }

    #[inline]
    pub(super) fn low(self) -> u16 {
        (self.0 >> 48) as u16
    }

    #[inline]
    pub(super) fn inline_len(self) -> usize {
        if self.form() == Form::Inline {
            self.low() as usize
        } else {
            0
        }
    }
}
