//! LZF: the compression of RDB files and of lists' inner nodes.
//!
//! Lives here: the compressor, and a thin wrapper that never trusts a length from outside. May not: know what is
//! compressed.
//!
//! ```text
//! [n - 1: 000nnnnn] and n literal bytes
//! [length - 2: 3 bits, 7 means that a byte with more follows] [distance - 1: 13 bits]     a repetition
//! ```
//!
//! A compressor in a crate clears a table of 64 KiB for each call, which takes ten times as long as compressing a
//! value of a hundred bytes. Here the table grows with the input.

/// Blocks shorter than this are left as they are.
pub const INPUT_MIN: usize = 5;
/// The most that one byte of a compressed block can stand for is 264 bytes in 3: what claims more is damaged.
const EXPANSION_MAX: usize = 88;
const LITERALS_MAX: usize = 32;
const MATCH_MIN: usize = 3;
const MATCH_MAX: usize = 264;
const DISTANCE_MAX: usize = 1 << 13;
/// A repetition of this length or more has a byte of length of its own.
const LONG_MATCH: usize = 9;

/// `bytes` in less room, at least `gain` bytes less; `None` when that cannot be had.
pub fn compress(bytes: &[u8], gain: usize) -> Option<Vec<u8>> {
    if bytes.len() < INPUT_MIN {
        return None;
    }
    let room = bytes.len().checked_sub(gain)?;
    match bytes.len() {
        ..256 => compress_with::<7>(bytes, room),
        256..4096 => compress_with::<10>(bytes, room),
        _ => compress_with::<14>(bytes, room),
    }
}

/// Compresses with a table of `2^BITS` places where three bytes were seen last.
fn compress_with<const BITS: u32>(bytes: &[u8], room: usize) -> Option<Vec<u8>> {
    let mut seen = vec![0u32; 1 << BITS]; // places plus one; 0 is none
    let mut out = Vec::with_capacity(room.min(bytes.len() / 2 + 16));
    let place_of = |three: &[u8; 3]| {
        let word = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        (word.wrapping_mul(0x9e37_79b1) >> (u32::BITS - BITS)) as usize
    };
    let (mut at, mut literals_from) = (0, 0);
    while let Some(three) = bytes[at..].first_chunk::<MATCH_MIN>() {
        let place = place_of(three);
        let before = seen[place] as usize;
        seen[place] = at as u32 + 1;
        let is_match = before > 0 && at - (before - 1) <= DISTANCE_MAX && {
            bytes[before - 1..].starts_with(three)
        };
        if !is_match {
            at += 1;
            continue;
        }
        let distance = at - (before - 1);
        let longest = MATCH_MAX.min(bytes.len() - at);
        let same = bytes[at..at + longest].iter().zip(&bytes[before - 1..]);
        let len = same.take_while(|(a, b)| a == b).count();
        put_literals(&mut out, &bytes[literals_from..at]);
        let (short, high) = (len - 2, (distance - 1) >> 8);
        if len < LONG_MATCH {
            out.push((short << 5 | high) as u8);
        } else {
            out.push((7 << 5 | high) as u8);
            out.push((short - 7) as u8);
        }
        out.push((distance - 1) as u8);
        if out.len() > room {
            return None;
        }
        // What follows often goes on from the end of the repetition.
        for inner in [at + len - 2, at + len - 1] {
            if let Some(three) = bytes[inner..].first_chunk::<MATCH_MIN>() {
                seen[place_of(three)] = inner as u32 + 1;
            }
        }
        at += len;
        literals_from = at;
    }
    put_literals(&mut out, &bytes[literals_from..]);
    if out.len() > room {
        return None;
    }
    out.shrink_to_fit();
    Some(out)
}

fn put_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(LITERALS_MAX) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

/// The `len` bytes that `compressed` stands for; `None` when it is damaged or stands for another number of bytes.
pub fn decompress(compressed: &[u8], len: usize) -> Option<Vec<u8>> {
    if len > compressed.len().saturating_mul(EXPANSION_MAX) {
        return None;
    }
    lzf_rust::decompress_into_vec(compressed, len).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_repeats_becomes_short_and_comes_back() {
        let text = b"abcabcabcabcabcabc, abcabcabc and so on and so on and so on".repeat(20);
        let small = compress(&text, 1).expect("the text repeats");
        assert!(small.len() < text.len() / 4);
        assert_eq!(decompress(&small, text.len()), Some(text.clone()));
        assert_eq!(decompress(&small, text.len() - 1), None);
        assert_eq!(decompress(&small, text.len() + 1), None);
        assert_eq!(decompress(&small, usize::MAX), None);
    }

    #[test]
    fn whatever_is_compressed_comes_back() {
        let mut rng = crate::state::Rng::new(11);
        for round in 0..3000 {
            let len = 5 + rng.below(if round % 50 == 0 { 70_000 } else { 600 }) as usize;
            let letters = 1 + rng.below(40);
            let bytes: Vec<u8> = (0..len).map(|_| rng.below(letters) as u8).collect();
            if let Some(small) = compress(&bytes, 0) {
                assert!(small.len() <= len);
                assert_eq!(decompress(&small, len), Some(bytes), "round {round}");
            }
        }
    }

    #[test]
    fn what_gains_too_little_is_refused() {
        assert_eq!(compress(b"", 0), None);
        assert_eq!(compress(b"abcdefghijklmnopqrstuvwxyz", 1), None);
        let zeros = [0; 100];
        let small = compress(&zeros, 1).map(|small| small.len());
        assert!(small.is_some_and(|len| len < 10));
        assert_eq!(compress(&zeros, 99), None);
    }

    #[test]
    fn a_block_of_a_real_server_is_read() {
        // 200 letters: a literal, 187 + 9 bytes from one before, a literal.
        let block = [1, 97, 97, 224, 187, 0, 1, 97, 97];
        assert_eq!(decompress(&block, 200), Some(vec![b'a'; 200]));
        for len in 0..block.len() {
            assert_eq!(decompress(&block[..len], 200), None);
        }
    }
}
