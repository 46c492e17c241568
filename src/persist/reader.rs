//! Reader: a cursor over RDB bytes.
//!
//! Lives here: lengths, strings, numbers, IDs. May not: know what values are made of them.

use std::borrow::Cow;

use super::RdbError;
use crate::types::decimal::parse_double;
use crate::types::lzf;

/// First two bits of a length: what follows.
const LEN_14: u8 = 0b01;
const LEN_LONG: u8 = 0b10;
const ENCODED: u8 = 0b11;
/// Bytes that announce a length of 32 or 64 bits.
pub(super) const LEN_32_MARK: u8 = 0x80;
pub(super) const LEN_64_MARK: u8 = 0x81;
/// What an encoded string is, in the low six bits of its first byte.
pub(super) const STR_INT8: u8 = 0;
pub(super) const STR_INT16: u8 = 1;
pub(super) const STR_INT32: u8 = 2;
pub(super) const STR_LZF: u8 = 3;
/// Lengths of a number's text that are no lengths.
const TEXT_NAN: u8 = 253;
const TEXT_INF: u8 = 254;
const TEXT_NEG_INF: u8 = 255;

/// A length, or what stands in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Length {
    Plain(u64),
    Encoded(u8),
}

/// A string as it was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Text<'a> {
    Int(i64),
    Bytes(Cow<'a, [u8]>),
}

impl<'a> Text<'a> {
    /// The text of it.
    pub fn into_bytes(self) -> Cow<'a, [u8]> {
        match self {
            Text::Int(value) => Cow::Owned(value.to_string().into_bytes()),
            Text::Bytes(bytes) => bytes,
        }
    }
}

/// The bytes that are still to be read.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// How many more bytes there are that are not at hand yet.
    beyond: u64,
}

impl<'a> Reader<'a> {
    /// A cursor at the start of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader::within(bytes, 0)
    }

    /// The same when `beyond` more bytes follow that are not at hand. What claims to be longer than all of that is
    /// corrupt, and not truncated.
    pub fn within(bytes: &'a [u8], beyond: u64) -> Reader<'a> {
        Reader {
            rest: bytes,
            beyond,
        }
    }

    /// What is wrong with something that needs so many bytes, more than are at hand.
    fn lacking(&self, len: u64) -> RdbError {
        match len > self.beyond.saturating_add(self.rest.len() as u64) && self.beyond > 0 {
            true => RdbError::Corrupt("Bad length: the file is not that long"),
            false => RdbError::Truncated,
        }
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], RdbError> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(self.lacking(len as u64));
        };
        self.rest = rest;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], RdbError> {
        let (head, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(RdbError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }

    /// The next byte.
    pub fn byte(&mut self) -> Result<u8, RdbError> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn length(&mut self) -> Result<Length, RdbError> {
        let first = self.byte()?;
        let low = first & 0x3f;
        Ok(match first >> 6 {
            ENCODED => Length::Encoded(low),
            LEN_LONG => Length::Plain(match first {
                LEN_32_MARK => u32::from_be_bytes(self.array()?).into(),
                LEN_64_MARK => u64::from_be_bytes(self.array()?),
                _ => return Err(RdbError::Corrupt("Unknown length encoding")),
            }),
            LEN_14 => Length::Plain(u64::from(low) << 8 | u64::from(self.byte()?)),
            _ => Length::Plain(low.into()),
        })
    }

    /// A number that is saved as lengths are.
    pub fn number(&mut self) -> Result<u64, RdbError> {
        match self.length()? {
            Length::Plain(value) => Ok(value),
            Length::Encoded(_) => Err(RdbError::Corrupt("Unknown length encoding")),
        }
    }

    /// How many things follow, each of which takes a byte at least.
    pub fn count(&mut self) -> Result<usize, RdbError> {
        let count = self.number()?;
        match usize::try_from(count) {
            Ok(count) if count <= self.remaining() => Ok(count),
            _ => Err(self.lacking(count)),
        }
    }

    /// The same for what may not be empty.
    pub fn count_not_zero(&mut self) -> Result<usize, RdbError> {
        match self.count()? {
            0 => Err(RdbError::Empty),
            count => Ok(count),
        }
    }

    /// A string, as it was saved.
    pub fn text(&mut self) -> Result<Text<'a>, RdbError> {
        let encoding = match self.length()? {
            Length::Plain(len) => {
                let len = usize::try_from(len).map_err(|_| RdbError::Truncated)?;
                return Ok(Text::Bytes(Cow::Borrowed(self.bytes(len)?)));
            }
            Length::Encoded(encoding) => encoding,
        };
        Ok(match encoding {
            STR_INT8 => Text::Int(i8::from_le_bytes(self.array()?).into()),
            STR_INT16 => Text::Int(i16::from_le_bytes(self.array()?).into()),
            STR_INT32 => Text::Int(i32::from_le_bytes(self.array()?).into()),
            STR_LZF => {
                let packed_len = self.count()?;
                let len = self.number()?;
                let packed = self.bytes(packed_len)?;
                let len = usize::try_from(len)
                    .map_err(|_| RdbError::Corrupt("Invalid LZF compressed string"))?;
                let bytes = lzf::decompress(packed, len)
                    .ok_or(RdbError::Corrupt("Invalid LZF compressed string"))?;
                Text::Bytes(Cow::Owned(bytes))
            }
            _ => return Err(RdbError::Corrupt("Unknown RDB string encoding type")),
        })
    }

    /// A string's bytes.
    pub fn string(&mut self) -> Result<Cow<'a, [u8]>, RdbError> {
        Ok(self.text()?.into_bytes())
    }

    /// A number of eight bytes.
    pub fn double(&mut self) -> Result<f64, RdbError> {
        Ok(f64::from_le_bytes(self.array()?))
    }

    /// A number as text, in the way of servers before 4.0.
    pub fn double_text(&mut self) -> Result<f64, RdbError> {
        match self.byte()? {
            TEXT_NAN => Ok(f64::NAN),
            TEXT_INF => Ok(f64::INFINITY),
            TEXT_NEG_INF => Ok(f64::NEG_INFINITY),
            len => {
                let text = self.bytes(len.into())?;
                parse_double(text.trim_ascii()).ok_or(RdbError::Corrupt("Bad number"))
            }
        }
    }

    /// Milliseconds since 1970.
    pub fn millis(&mut self) -> Result<i64, RdbError> {
        Ok(i64::from_le_bytes(self.array()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::persist::writer::Writer;

    #[test]
    fn what_is_written_is_read() {
        let lens = [
            0,
            1,
            63,
            64,
            16383,
            16384,
            1 << 20,
            u32::MAX.into(),
            1 << 32,
            u64::MAX,
        ];
        let mut out = Vec::new();
        let mut writer = Writer::new(&mut out, true);
        let texts = [
            "",
            "0",
            "-1",
            "127",
            "-128",
            "128",
            "32767",
            "-32769",
            "2147483647",
            "2147483648",
            "007",
            "abc",
        ];
        let long = b"a long text, long enough to be packed; a long text, long enough to be packed"
            .to_vec();
        lens.iter().for_each(|len| writer.number(*len));
        texts.iter().for_each(|text| writer.string(text.as_bytes()));
        writer.string(&long);
        writer.double(-0.5);
        writer.millis(-7);
        let mut reader = Reader::new(&out);
        for len in lens {
            assert_eq!(reader.number(), Ok(len));
        }
        for text in texts {
            assert_eq!(reader.string().as_deref(), Ok(text.as_bytes()));
        }
        assert_eq!(reader.string().as_deref(), Ok(&long[..]));
        assert_eq!(reader.double(), Ok(-0.5));
        assert_eq!(reader.millis(), Ok(-7));
        assert_eq!(reader.byte(), Err(RdbError::Truncated));
        for end in 0..out.len() {
            let mut reader = Reader::new(&out[..end]);
            while reader.string().is_ok() {}
        }
    }

    #[test]
    fn a_length_is_believed_when_the_bytes_are_there() {
        for bytes in [
            &[0x81, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff][..],
            &[0x80, 0xff, 0xff, 0xff, 0xff, 1],
            &[3, 1, 2],
        ] {
            assert_eq!(Reader::new(bytes).count(), Err(RdbError::Truncated));
            assert_eq!(Reader::new(bytes).text(), Err(RdbError::Truncated));
        }
        // One packed byte cannot be a thousand.
        let packed = [0xc3, 1, 0x43, 0xe8, 0];
        assert_eq!(
            Reader::new(&packed).text(),
            Err(RdbError::Corrupt("Invalid LZF compressed string"))
        );
    }

    #[test]
    fn numbers_as_text() {
        for (bytes, want) in [
            (&b"\x031.5"[..], 1.5),
            (b"\xfe", f64::INFINITY),
            (b"\xff", f64::NEG_INFINITY),
            (b"\x17-1.0000000000000002e+20", -1.000_000_000_000_000_2e20),
        ] {
            assert_eq!(Reader::new(bytes).double_text(), Ok(want));
        }
        assert!(Reader::new(b"\xfd").double_text().is_ok_and(f64::is_nan));
        assert!(Reader::new(b"\x01x").double_text().is_err());
    }
}
