//! The journal: every Input of a run, in order, so that the run can be repeated.
//!
//! Lives here: the file format, the writer that the shell's driver feeds, the reader, and `retrace replay`.
//! May not: sockets, clocks, the choice of a file (the shell opens it and hands over something to write to).
//!
//! ```text
//! file   = "RETRACEJ" version:u32 block(header) block(records)*
//! block  = payload_len:u32 checksum:u64 payload          checksum = xxh3-64 of the payload, seeded with the block's index
//! record = tag:u8 fields
//! ```
//!
//! Fixed-width numbers are little-endian. Inside a payload numbers are LEB128 varints, signed ones zigzag first, times
//! are differences in microseconds from the time before, bytes and texts carry their length. A record never crosses
//! a block, so a block that is torn or corrupt takes nothing with it but itself and what follows.
//!
//! The answers to a client are in it as *check records*: at each flush the number of bytes offered to the socket, how
//! many it took, the first [`HEAD_BYTES_MAX`] of them as they are, and a digest of all when there are more. They are an
//! Input (what a socket takes decides what is pending) and the proof of a replay at the same time.

pub mod header;
pub mod reader;
pub mod record;
pub mod replay;
mod varint;
pub mod writer;

pub use header::Header;
pub use reader::{JournalError, JournalReader, Tail};
pub use record::{Check, Record};
pub use writer::Recorder;

/// The first bytes of every journal.
pub const MAGIC: &[u8; 8] = b"RETRACEJ";

/// Raised with every change of the format; a reader knows its own version only.
pub const VERSION: u32 = 4;

/// So many reply bytes of a flush are kept as they are; a longer flush adds a digest of all its bytes.
pub const HEAD_BYTES_MAX: usize = 256;

/// A block is written once it holds this much. One record may make it longer.
const BLOCK_BYTES: usize = 64 * 1024;

/// Length and checksum in front of a block's payload.
const BLOCK_HEADER_BYTES: usize = 12;
