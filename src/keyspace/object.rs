//! Object: what an entry points to when its value is not a string.
//!
//! Lives here: the sum of those types and the questions every one of them answers.
//! May not: the types themselves (`types`), commands.

use super::entry::{Encoding, Kind};
use super::table::ArrayStats;
use crate::types::digest::Digest;

/// A list, set, sorted set, hash or stream. Each type adds its variant here, and an arm to every method.
pub enum Object {}

impl Object {
    /// The type that TYPE names; it never changes.
    pub fn kind(&self) -> Kind {
        match *self {}
    }

    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        match *self {}
    }

    /// A deep copy, for COPY.
    pub fn duplicate(&self) -> Object {
        match *self {}
    }

    /// Adds the value to a digest of the data set (DEBUG DIGEST).
    pub fn digest(&self, _digest: &mut Digest) {
        match *self {}
    }

    /// The table that holds the value's elements, for DEBUG HTSTATS-KEY.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        match *self {}
    }

    /// Bytes of the value, with `self`.
    pub fn memory_bytes(&self) -> usize {
        match *self {}
    }
}
