//! Writer: RDB bytes out of lengths, strings and numbers.
//!
//! Lives here: the primitives, in the forms that real servers choose. May not: know what values are made of them.

use super::reader::{LEN_32_MARK, LEN_64_MARK, STR_INT8, STR_INT16, STR_INT32, STR_LZF};
use crate::types::decimal::parse_i64;
use crate::types::lzf;

/// First bits of a length of 14 bits, and of what is no length.
const LEN_14_MARK: u8 = 0x40;
const ENCODED_MARK: u8 = 0xc0;
/// Longest text that may be kept as an integer of up to 32 bits.
const INT_TEXT_MAX: usize = 11;
/// Strings up to this long are not compressed.
const PLAIN_MAX: usize = 20;
/// A compressed string has to be shorter by this at least.
const PACKED_GAIN: usize = 4;

/// Appends to a buffer.
pub struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// Whether long strings are compressed (`rdbcompression`).
    packs: bool,
}

impl<'a> Writer<'a> {
    /// A writer at the end of `out`.
    pub fn new(out: &'a mut Vec<u8>, packs: bool) -> Writer<'a> {
        Writer { out, packs }
    }

    /// How much the buffer holds.
    pub fn position(&self) -> usize {
        self.out.len()
    }

    /// Bytes as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    /// A byte.
    pub fn byte(&mut self, byte: u8) {
        self.out.push(byte);
    }

    /// A number in as few bytes as its size allows, or how many things follow.
    pub fn number(&mut self, value: u64) {
        match value {
            0..0x40 => self.byte(value as u8),
            0x40..0x4000 => self.bytes(&(value as u16 | u16::from(LEN_14_MARK) << 8).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.byte(LEN_32_MARK);
                self.bytes(&(value as u32).to_be_bytes());
            }
            _ => {
                self.byte(LEN_64_MARK);
                self.bytes(&value.to_be_bytes());
            }
        }
    }

    /// How many things follow.
    pub fn count(&mut self, count: usize) {
        self.number(count as u64);
    }

    /// A string: as an integer if it reads as a small one, compressed if that is worth it, or as it is.
    pub fn string(&mut self, text: &[u8]) {
        if text.len() <= INT_TEXT_MAX
            && let Some(value) = parse_i64(text)
            && let Ok(value) = i32::try_from(value)
        {
            return self.small_int(value);
        }
        if self.packs
            && text.len() > PLAIN_MAX
            && let Some(packed) = lzf::compress(text, PACKED_GAIN)
        {
            self.byte(ENCODED_MARK | STR_LZF);
            self.count(packed.len());
            self.count(text.len());
            return self.bytes(&packed);
        }
        self.count(text.len());
        self.bytes(text);
    }

    /// An integer's text.
    pub fn int(&mut self, value: i64) {
        match i32::try_from(value) {
            Ok(small) => self.small_int(small),
            Err(_) => {
                let mut digits = itoa::Buffer::new();
                let text = digits.format(value).as_bytes();
                self.count(text.len());
                self.bytes(text);
            }
        }
    }

    fn small_int(&mut self, value: i32) {
        if let Ok(value) = i8::try_from(value) {
            self.byte(ENCODED_MARK | STR_INT8);
            self.bytes(&value.to_le_bytes());
        } else if let Ok(value) = i16::try_from(value) {
            self.byte(ENCODED_MARK | STR_INT16);
            self.bytes(&value.to_le_bytes());
        } else {
            self.byte(ENCODED_MARK | STR_INT32);
            self.bytes(&value.to_le_bytes());
        }
    }

    /// A number of eight bytes.
    pub fn double(&mut self, value: f64) {
        self.bytes(&value.to_le_bytes());
    }

    /// Milliseconds since 1970.
    pub fn millis(&mut self, value: i64) {
        self.bytes(&value.to_le_bytes());
    }
}
