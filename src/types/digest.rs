//! Digest: the signature of data that DEBUG DIGEST prints, by which two servers find out whether they agree.
//!
//! SHA-1 in two ways: `mix` depends on the order in which parts come, `merge` does not, so that the parts of an
//! unordered collection may come in any. Lives here: the arithmetic. May not: know what is digested.

use sha1::{Digest as _, Sha1};

/// Bytes of a digest.
pub const DIGEST_LEN: usize = 20;

/// A digest under construction; it starts as zeros.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digest([u8; DIGEST_LEN]);

impl Digest {
    /// Adds a part whose place in the order matters.
    pub fn mix(&mut self, part: &[u8]) {
        self.merge(part);
        self.0 = Sha1::digest(self.0).into();
    }

    /// Adds a part whose place in the order does not matter.
    pub fn merge(&mut self, part: &[u8]) {
        for (byte, other) in self.0.iter_mut().zip(Sha1::digest(part)) {
            *byte ^= other;
        }
    }

    /// Adds another digest as a part whose place does not matter.
    pub fn merge_digest(&mut self, other: &Digest) {
        self.merge(&other.0);
    }

    /// As forty hexadecimal digits.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_value_has_the_digest_that_the_real_server_prints() {
        let mut digest = Digest::default();
        digest.mix(&0u32.to_be_bytes());
        digest.mix(b"v");
        assert_eq!(digest.hex(), "d79ee9fe5d5ad902d7f6620efc3b07b75ddd742f");
    }
}
