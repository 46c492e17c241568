//! Persist: values as bytes that other servers read, in Redis' RDB format.
//!
//! Lives here: one value's encoding and decoding (`value`, with a file for each type), the primitives that they are made
//! of (`reader`, `writer`, `piece`), formats that old servers wrote (`ziplist`), the payload of DUMP (`payload`), and
//! what stands around the values in a file (`rdb`). May not: open files, clocks, replies.
//!
//! Bytes from outside are checked here once and completely: what decoding returns keeps every invariant of its type.
//! A length is believed when as many bytes are there, so that no input makes it allocate much more than it is long.

pub mod aof;
pub mod manifest;
pub mod payload;
pub mod piece;
pub mod rdb;
pub mod reader;
pub mod value;
pub mod writer;
pub mod ziplist;

/// Why bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RdbError {
    /// More bytes would be needed. A file's loader reads on and tries again.
    #[error("the data ends within a value")]
    Truncated,
    #[error("there is no value type {0}")]
    UnknownType(u8),
    #[error("a value that may not be empty is")]
    Empty,
    #[error("{0}")]
    Corrupt(&'static str),
}
