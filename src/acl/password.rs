//! Passwords: only their SHA-256 is kept, and comparing takes the same time whatever the guess.

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

/// The hash of a password. `Debug` shows nothing of it, so that no report can hold one by accident.
#[derive(Clone, Copy)]
pub struct PasswordHash([u8; 32]);

impl std::fmt::Debug for PasswordHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PasswordHash(..)")
    }
}

impl PartialEq for PasswordHash {
    fn eq(&self, other: &PasswordHash) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for PasswordHash {}

impl PasswordHash {
    /// The hash of this password.
    pub fn of(password: &[u8]) -> PasswordHash {
        PasswordHash(Sha256::digest(password).into())
    }

    /// A hash as rules write it: 64 lower case hexadecimal digits.
    pub fn parse(text: &[u8]) -> Option<PasswordHash> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Some(byte - b'0'),
            b'a'..=b'f' => Some(byte - b'a' + 10),
            _ => None,
        };
        if text.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
            *byte = digit(pair[0])? << 4 | digit(pair[1])?;
        }
        Some(PasswordHash(hash))
    }

    /// The hash as rules write it.
    pub fn hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_written_and_read_in_lower_case_alone() {
        let hash = PasswordHash::of(b"abc");
        let text = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(hash.hex(), text);
        assert_eq!(PasswordHash::parse(text.as_bytes()), Some(hash));
        let upper = text.to_ascii_uppercase();
        for bad in [&text[1..], &upper, &text.replace('a', "g"), ""] {
            assert_eq!(PasswordHash::parse(bad.as_bytes()), None, "{bad}");
        }
        assert_ne!(PasswordHash::of(b"abd"), hash);
        assert_eq!(format!("{hash:?}"), "PasswordHash(..)");
    }
}
