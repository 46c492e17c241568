//! LZF: the compression of RDB files and of lists' inner nodes.
//!
//! Lives here: a thin wrapper that says when compression is worth it and never trusts a length from outside.
//! May not: know what is compressed.

/// Blocks shorter than this are left as they are.
pub const INPUT_MIN: usize = 5;
/// The most that one byte of a compressed block can stand for is 264 bytes in 3: what claims more is damaged.
const EXPANSION_MAX: usize = 88;

/// `bytes` in less room, at least `gain` bytes less; `None` when that cannot be had.
pub fn compress(bytes: &[u8], gain: usize) -> Option<Vec<u8>> {
    if bytes.len() < INPUT_MIN {
        return None;
    }
    let mut out = vec![0; bytes.len().checked_sub(gain)?];
    let len = lzf_rust::compress(bytes, &mut out).ok()?;
    out.truncate(len);
    out.shrink_to_fit();
    Some(out)
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
