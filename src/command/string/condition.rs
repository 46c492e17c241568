//! Conditions: what a string, or its digest, is compared with before it is changed.
//!
//! A digest is the 64-bit XXH3 hash, seed 0, of a string's bytes, as sixteen hexadecimal digits.

use xxhash_rust::xxh3::xxh3_64;

use super::with_bytes;
use crate::command::CommandError;
use crate::keyspace::entry::Entry;
use crate::resp::Args;

/// Hexadecimal digits of a digest.
const DIGEST_LEN: usize = 16;

/// When a value may be stored.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Condition {
    Missing,
    Present,
    /// These are followed by what the old value, or its digest, is compared with.
    Equal,
    NotEqual,
    DigestEqual,
    DigestNotEqual,
}

impl Condition {
    const WORDS: [(&'static str, Condition); 6] = [
        ("NX", Condition::Missing),
        ("XX", Condition::Present),
        ("IFEQ", Condition::Equal),
        ("IFNE", Condition::NotEqual),
        ("IFDEQ", Condition::DigestEqual),
        ("IFDNE", Condition::DigestNotEqual),
    ];

    /// The condition that argument `index` names.
    pub fn at(args: Args<'_>, index: usize) -> Option<Condition> {
        let found = Condition::WORDS
            .iter()
            .find(|(word, _)| args.is(index, word));
        found.map(|(_, condition)| *condition)
    }

    /// Whether a value to compare with follows.
    pub fn compares(self) -> bool {
        !matches!(self, Condition::Missing | Condition::Present)
    }

    /// Whether it holds for a string; an error if `operand` is no digest where one is due.
    pub fn holds_for(self, entry: &Entry, operand: &[u8]) -> Result<bool, CommandError> {
        Ok(match self {
            Condition::Missing => false,
            Condition::Present => true,
            Condition::Equal => with_bytes(entry, |bytes| bytes == operand),
            Condition::NotEqual => with_bytes(entry, |bytes| bytes != operand),
            Condition::DigestEqual => {
                check_digest(operand)?;
                has_digest(entry, operand)
            }
            Condition::DigestNotEqual => {
                check_digest(operand)?;
                !has_digest(entry, operand)
            }
        })
    }

    /// Whether it holds for a key that is not there.
    pub fn holds_for_none(self) -> bool {
        matches!(
            self,
            Condition::Missing | Condition::NotEqual | Condition::DigestNotEqual
        )
    }
}

/// The digest of an entry's string.
pub fn digest_of(entry: &Entry) -> String {
    with_bytes(entry, |bytes| format!("{:0DIGEST_LEN$x}", xxh3_64(bytes)))
}

/// Whether an entry's string has this digest; the case of its digits does not matter.
fn has_digest(entry: &Entry, digest: &[u8]) -> bool {
    digest_of(entry).as_bytes().eq_ignore_ascii_case(digest)
}

/// Refuses what cannot be a digest for its length. Its digits are not looked at, as in Redis.
fn check_digest(digest: &[u8]) -> Result<(), CommandError> {
    if digest.len() == DIGEST_LEN {
        return Ok(());
    }
    Err(CommandError::text(
        "ERR must be exactly 16 hexadecimal characters",
    ))
}
