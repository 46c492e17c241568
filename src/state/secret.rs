//! Secrets: what nobody can guess who sees other random numbers of the server: passwords, and the key of its hashes.
//!
//! SHA-256 over a key and a counter. The key comes from the operating system with the start, and is in the journal
//! with everything else that a run begins with; the plain generator (`rng.rs`) shows its state to whoever sees some
//! of its numbers, and INFO shows some.

use sha2::{Digest, Sha256};

/// A source of secrets.
#[derive(Clone)]
pub struct Secrets {
    key: [u8; 32],
    counter: u64,
}

impl Secrets {
    pub fn new(key: [u8; 32]) -> Secrets {
        Secrets { key, counter: 0 }
    }

    /// `len` lower case hexadecimal digits.
    pub fn hex(&mut self, len: usize) -> String {
        let mut text = String::with_capacity(len + 64);
        while text.len() < len {
            for byte in self.block() {
                text += &format!("{byte:02x}");
            }
        }
        text.truncate(len);
        text
    }

    /// A key for a keyed function.
    pub fn key(&mut self) -> [u8; 16] {
        let mut key = [0; 16];
        key.copy_from_slice(&self.block()[..16]);
        key
    }

    fn block(&mut self) -> [u8; 32] {
        let mut hash = Sha256::new();
        hash.update(self.key);
        hash.update(self.counter.to_le_bytes());
        self.counter += 1;
        hash.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_their_length_and_never_repeat() {
        let (mut a, mut b) = (Secrets::new([7; 32]), Secrets::new([7; 32]));
        let mut seen = std::collections::BTreeSet::new();
        for len in [64, 1, 1024, 65, 64] {
            let text = a.hex(len);
            assert_eq!(text.len(), len);
            assert_eq!(text, b.hex(len), "the same key gives the same secrets");
            assert!(len < 64 || seen.insert(text[..64].to_owned()));
        }
        assert_ne!(Secrets::new([8; 32]).hex(64), Secrets::new([7; 32]).hex(64));
    }
}
