//! Slot: the part of a cluster's keys that a key belongs to.
//!
//! A key's slot is the CRC-16 (XMODEM) of its bytes modulo 16384; if it has a tag, `{...}` with something between the
//! first brace and the next closing one, that of the tag alone.

use crc::{CRC_16_XMODEM, Crc};

/// How many slots there are.
const SLOTS: u16 = 16384;

static CRC: Crc<u16> = Crc::<u16>::new(&CRC_16_XMODEM);

/// The slot of a key.
pub fn of_key(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let behind = &key[open + 1..];
        let len = memchr::memchr(b'}', behind)?;
        (len > 0).then_some(&behind[..len])
    });
    CRC.checksum(tag.unwrap_or(key)) % SLOTS
}

/// The one slot of all keys that match a pattern, if the pattern shows that there is one: it has a tag before anything
/// that stands for other bytes, or nothing that does.
pub fn of_pattern(pattern: &[u8]) -> Option<u16> {
    let mut open = None;
    for (at, byte) in pattern.iter().enumerate() {
        match (byte, open) {
            (b'*' | b'?' | b'[' | b'\\', _) => return None,
            (b'{', None) => open = Some(at),
            (b'}', Some(from)) if at > from + 1 => return Some(of_key(pattern)),
            // An empty tag is none, and a key has only one chance of a tag.
            (b'}', Some(_)) => open = Some(pattern.len()),
            _ => {}
        }
    }
    Some(of_key(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_real_servers() {
        // As CLUSTER KEYSLOT tells them.
        for (key, slot) in [
            ("", 0),
            ("foo", 12182),
            ("bar", 5061),
            ("{foo}bar", 12182),
            ("x{foo}{bar}", 12182),
            ("123456789", 12739),
        ] {
            assert_eq!(of_key(key.as_bytes()), slot, "{key}");
        }
        assert_eq!(of_key(b"{}{foo}"), CRC.checksum(b"{}{foo}") % SLOTS);
        assert_eq!(of_key(b"{foo"), CRC.checksum(b"{foo") % SLOTS);
    }

    #[test]
    fn a_pattern_has_a_slot_if_its_tag_comes_first_or_it_names_one_key() {
        let foo = Some(of_key(b"foo"));
        for (pattern, slot) in [
            ("{foo}*", foo),
            ("a]}{foo}?", foo),
            ("foo", foo),
            ("{foo}->*", foo),
            ("foo*", None),
            ("*{foo}", None),
            ("[a]{foo}", None),
            ("\\{foo}", None),
            ("{foo*}", None),
            ("{}{foo}*", None),
            ("{}{foo}", Some(of_key(b"{}{foo}"))),
        ] {
            assert_eq!(of_pattern(pattern.as_bytes()), slot, "{pattern}");
        }
    }
}
