//! Script: the Lua host.
//!
//! Lives here: the Lua states and how a script stands still (`machine`), what scripts find in them (`sandbox` and the
//! libraries `cjson`, `msgpack`, `packed`, `bits`), Lua's own stack (`stack`) with the conversions of replies
//! (`convert`), the cache of scripts (`cache`)
//! and the function libraries (`library`). May not: run commands, which the engine does for a script that stands still.

pub mod bits;
pub mod cache;
pub mod cjson;
pub mod convert;
pub mod flags;
pub mod host;
pub mod library;
pub mod machine;
pub mod msgpack;
pub mod number;
pub mod packed;
mod register;
pub mod sandbox;
pub mod shared;
pub mod stack;

use sha1::{Digest, Sha1};

/// A script's name: the SHA-1 of its text.
pub type Sha = [u8; 20];

/// The name of a script.
pub fn sha1(text: &[u8]) -> Sha {
    Sha1::digest(text).into()
}

/// The same in hexadecimal.
pub fn sha1_hex(text: &[u8]) -> String {
    hex(&sha1(text))
}

/// Bytes in lower case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).unwrap_or('0');
    bytes
        .iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}
