//! Bits: a byte string seen as a row of bits, the most significant bit of the first byte first.
//!
//! Lives here: counting, searching, fields of up to 64 bits, and operations over several strings. May not: commands.
//! Loops over bytes are written so that the compiler makes vector code of them.

/// How many bits are set.
pub fn count_ones(bytes: &[u8]) -> u64 {
    let words = bytes.chunks_exact(8);
    let rest: u64 = words
        .remainder()
        .iter()
        .map(|b| u64::from(b.count_ones()))
        .sum();
    words
        .map(|word| u64::from(word_of(word).count_ones()))
        .sum::<u64>()
        + rest
}

/// How many of the bits `first..=last` are set. Both lie within `bytes`.
pub fn count_ones_between(bytes: &[u8], first: usize, last: usize) -> u64 {
    let (Some(head), Some(tail)) = (bytes.get(first / 8), bytes.get(last / 8)) else {
        return 0;
    };
    let head_outside = head & !from_bit(first);
    let tail_outside = tail & !up_to_bit(last);
    let all = count_ones(&bytes[first / 8..=last / 8]);
    all - u64::from(head_outside.count_ones()) - u64::from(tail_outside.count_ones())
}

/// The first of the bits `first..=last` that is `wanted`. Both lie within `bytes`.
pub fn find(bytes: &[u8], wanted: bool, first: usize, last: usize) -> Option<usize> {
    // From here on a one is looked for.
    let flip = if wanted { 0 } else { 0xff };
    let in_byte = |at: usize, byte: u8| (byte != 0).then(|| at * 8 + byte.leading_zeros() as usize);
    let (first_at, last_at) = (first / 8, last / 8);
    let head = (bytes.get(first_at)? ^ flip) & from_bit(first);
    let tail = (bytes.get(last_at)? ^ flip) & up_to_bit(last);
    if first_at == last_at {
        return in_byte(first_at, head & tail);
    }
    if head != 0 {
        return in_byte(first_at, head);
    }
    let middle = &bytes[first_at + 1..last_at];
    let skipped = skip_equal(middle, flip);
    match middle.get(skipped) {
        Some(byte) => in_byte(first_at + 1 + skipped, byte ^ flip),
        None => in_byte(last_at, tail),
    }
}

/// How many bytes at the start are `byte`, which is 0 or 255.
fn skip_equal(bytes: &[u8], byte: u8) -> usize {
    let whole = u64::from_ne_bytes([byte; 8]);
    // Without a branch for each word, so that a block is compared at once.
    let differs = |word: &[u8]| word_of(word) ^ whole;
    let all_differences = |block: &[u8]| {
        let words = block.chunks_exact(8);
        words.fold(0, |all, word| all | differs(word))
    };
    let blocks = bytes
        .chunks_exact(64)
        .take_while(|block| all_differences(block) == 0)
        .count();
    let start = blocks * 64;
    let rest = bytes[start..].iter().take_while(|b| **b == byte).count();
    start + rest
}

/// Whether the bit at `offset` is set; bits behind the end are not.
pub fn get(bytes: &[u8], offset: u64) -> bool {
    usize::try_from(offset / 8)
        .ok()
        .and_then(|at| bytes.get(at))
        .is_some_and(|byte| byte >> (7 - offset % 8) & 1 == 1)
}

/// The field of `width` bits (1 to 64) at `offset`, as an unsigned number; bits behind the end are zeros.
pub fn get_field(bytes: &[u8], offset: u64, width: u32) -> u64 {
    let window = read_window(bytes, offset);
    let shift = WINDOW_BITS - (offset % 8) as u32 - width;
    (window >> shift) as u64 & mask(width)
}

/// Overwrites the field of `width` bits (1 to 64) at `offset`, all of which lies within `bytes`.
pub fn set_field(bytes: &mut [u8], offset: u64, width: u32, value: u64) {
    let shift = WINDOW_BITS - (offset % 8) as u32 - width;
    let cleared = read_window(bytes, offset) & !(u128::from(mask(width)) << shift);
    let window = cleared | u128::from(value & mask(width)) << shift;
    let start = usize::try_from(offset / 8).unwrap_or(usize::MAX);
    let image = (window << (128 - WINDOW_BITS)).to_be_bytes();
    for (byte, new) in bytes
        .iter_mut()
        .skip(start)
        .zip(&image[..WINDOW_BITS as usize / 8])
    {
        *byte = *new;
    }
}

/// A field of 64 bits that begins in the middle of a byte lies in nine of them.
const WINDOW_BITS: u32 = 72;

/// Nine bytes from the one with bit `offset` on, as a number of 72 bits.
fn read_window(bytes: &[u8], offset: u64) -> u128 {
    let start = usize::try_from(offset / 8).unwrap_or(usize::MAX);
    let mut image = [0; 16];
    let present = bytes.get(start..).unwrap_or(&[]);
    let len = present.len().min(WINDOW_BITS as usize / 8);
    image[..len].copy_from_slice(&present[..len]);
    u128::from_be_bytes(image) >> (128 - WINDOW_BITS)
}

/// The lowest `width` bits (1 to 64).
pub fn mask(width: u32) -> u64 {
    u64::MAX >> (64 - width)
}

fn from_bit(offset: usize) -> u8 {
    0xff >> (offset % 8)
}

fn up_to_bit(offset: usize) -> u8 {
    0xff << (7 - offset % 8)
}

fn word_of(bytes: &[u8]) -> u64 {
    bytes.try_into().map_or(0, u64::from_ne_bytes)
}

/// An operation over the bits of several strings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Operation {
    And,
    Or,
    Xor,
    /// Of one string alone.
    Not,
    /// Set in the first, and in none of the others.
    Diff,
    /// Set in one of the others at least, and not in the first.
    Diff1,
    /// Set in the first, and in one of the others at least.
    AndOr,
    /// Set in exactly one.
    One,
}

impl Operation {
    /// The result over `sources`, as long as the longest; the others count as padded with zeros.
    pub fn over(self, sources: &[&[u8]]) -> Vec<u8> {
        let len = sources.iter().map(|source| source.len()).max().unwrap_or(0);
        let Some((first, others)) = sources.split_first() else {
            return Vec::new();
        };
        match self {
            Operation::And => {
                let mut out = padded(first, len);
                for other in others {
                    combine(&mut out, other, |a, b| a & b);
                    out[other.len()..].fill(0);
                }
                out
            }
            Operation::Or => {
                let mut out = padded(first, len);
                or_all(&mut out, others);
                out
            }
            Operation::Xor => {
                let mut out = padded(first, len);
                for other in others {
                    combine(&mut out, other, |a, b| a ^ b);
                }
                out
            }
            Operation::Not => first.iter().map(|byte| !byte).collect(),
            Operation::Diff => {
                let mut out = padded(first, len);
                for other in others {
                    combine(&mut out, other, |a, b| a & !b);
                }
                out
            }
            Operation::Diff1 => {
                let mut out = vec![0; len];
                or_all(&mut out, others);
                combine(&mut out, first, |a, b| a & !b);
                out
            }
            Operation::AndOr => {
                let mut out = vec![0; len];
                or_all(&mut out, others);
                combine(&mut out, first, |a, b| a & b);
                out[first.len()..].fill(0);
                out
            }
            Operation::One => {
                let mut out = padded(first, len);
                let mut repeated = vec![0; len];
                for other in others {
                    for ((once, twice), byte) in out.iter_mut().zip(&mut repeated).zip(*other) {
                        *twice |= *once & byte;
                        *once |= byte;
                    }
                }
                combine(&mut out, &repeated, |a, b| a & !b);
                out
            }
        }
    }
}

fn padded(source: &[u8], len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len);
    out.extend_from_slice(source);
    out.resize(len, 0);
    out
}

fn or_all(out: &mut [u8], sources: &[&[u8]]) {
    for source in sources {
        combine(out, source, |a, b| a | b);
    }
}

#[inline]
fn combine(out: &mut [u8], source: &[u8], f: impl Fn(u8, u8) -> u8) {
    for (byte, other) in out.iter_mut().zip(source) {
        *byte = f(*byte, *other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(len: usize) -> Vec<u8> {
        let mut state = 88172645463325252u64;
        (0..len)
            .map(|i| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Long runs of equal bytes make the search skip.
                match i % 150 {
                    0..60 => 0,
                    60..120 => 0xff,
                    _ => state as u8,
                }
            })
            .collect()
    }

    #[test]
    fn counting_and_searching_agree_with_bit_by_bit() {
        let bytes = sample(400);
        let last_bit = bytes.len() * 8 - 1;
        for first in (0..=last_bit).step_by(37) {
            for last in (first..=last_bit).step_by(53).chain([first, last_bit]) {
                let ones = (first..=last).filter(|i| get(&bytes, *i as u64)).count();
                assert_eq!(count_ones_between(&bytes, first, last), ones as u64);
                for wanted in [false, true] {
                    let naive = (first..=last).find(|i| get(&bytes, *i as u64) == wanted);
                    assert_eq!(find(&bytes, wanted, first, last), naive, "{first}..={last}");
                }
            }
        }
        assert_eq!(count_ones(&bytes), count_ones_between(&bytes, 0, last_bit));
    }

    #[test]
    fn fields_are_read_as_written_and_leave_the_rest_alone() {
        for width in 1..=64 {
            for offset in 0..20 {
                let mut bytes = sample(200)[120..140].to_vec();
                let before = bytes.clone();
                let value = 0x9e37_79b9_7f4a_7c15 & mask(width);
                set_field(&mut bytes, offset, width, value);
                assert_eq!(get_field(&bytes, offset, width), value);
                for bit in 0..160 {
                    if !(offset..offset + u64::from(width)).contains(&bit) {
                        assert_eq!(get(&bytes, bit), get(&before, bit));
                    }
                }
            }
        }
        assert_eq!(get_field(&[0xff], 4, 8), 0xf0);
        assert_eq!(get_field(&[0xff], u64::MAX - 100, 64), 0);
    }

    #[test]
    fn operations_pad_with_zeros() {
        let sources: [&[u8]; 3] = [&[0b1100, 0xff], &[0b1010], &[0b0110, 0x0f, 1]];
        let table = [
            (Operation::And, vec![0b0000, 0, 0]),
            (Operation::Or, vec![0b1110, 0xff, 1]),
            (Operation::Xor, vec![0b0000, 0xf0, 1]),
            (Operation::Diff, vec![0b0000, 0xf0, 0]),
            (Operation::Diff1, vec![0b0010, 0, 1]),
            (Operation::AndOr, vec![0b1100, 0x0f, 0]),
            (Operation::One, vec![0b0000, 0xf0, 1]),
        ];
        for (operation, want) in table {
            assert_eq!(operation.over(&sources), want, "{operation:?}");
        }
        assert_eq!(Operation::Not.over(&[&[0x0f, 0]]), [0xf0, 0xff]);
    }
}
