//! Packed: the library `struct`, values as C lays them out, after Roberto Ierusalimschy's library for Lua 5.1.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use crate::script::host::{Arguments, Host, Raise};

/// The largest integer and the largest alignment that a format may name.
const INT_SIZE_MAX: usize = 32;

/// What C aligns most.
const NATIVE_ALIGN: usize = 8;

/// The library.
pub fn library(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", host.function(lua, pack)?)?;
    table.raw_set("unpack", host.function_of_many(lua, unpack)?)?;
    table.raw_set("size", host.function(lua, size)?)?;
    Ok(table)
}

/// A format on the way through it.
struct Format<'a> {
    text: &'a [u8],
    pos: usize,
    is_little: bool,
    align: usize,
}

/// One option of a format.
#[derive(Clone, Copy)]
struct Item {
    letter: u8,
    size: usize,
    /// Bytes to pass over in front of it.
    padding: usize,
}

impl<'a> Format<'a> {
    fn new(text: &'a [u8]) -> Format<'a> {
        Format {
            text,
            pos: 0,
            is_little: true,
            align: 1,
        }
    }

    /// The number at this place of the format, if there is one.
    fn number(&mut self) -> Result<Option<usize>, Raise> {
        let mut value: Option<usize> = None;
        while let Some(digit @ b'0'..=b'9') = self.text.get(self.pos) {
            let digit = usize::from(digit - b'0');
            let so_far = value.unwrap_or(0);
            if so_far > (i32::MAX as usize - digit) / 10 {
                return Err(Raise::Text("integral size overflow".into()));
            }
            value = Some(so_far * 10 + digit);
            self.pos += 1;
        }
        Ok(value)
    }

    fn int_size(&mut self, default: usize) -> Result<usize, Raise> {
        let size = self.number()?.unwrap_or(default);
        if size > INT_SIZE_MAX {
            let text = format!("integral size {size} is larger than limit of {INT_SIZE_MAX}");
            return Err(Raise::Text(text));
        }
        Ok(size)
    }

    /// The next option, for which the data is `total` bytes long so far. What sets something, or is unknown, counts
    /// as one without size; see [`Format::control`].
    fn next(&mut self, total: usize) -> Result<Option<Item>, Raise> {
        let Some(letter) = self.text.get(self.pos).copied() else {
            return Ok(None);
        };
        self.pos += 1;
        let size = match letter {
            b'B' | b'b' | b'x' => 1,
            b'H' | b'h' => 2,
            b'L' | b'l' | b'T' | b'd' => 8,
            b'f' => 4,
            b'c' => self.number()?.unwrap_or(1),
            b'i' | b'I' => self.int_size(4)?,
            _ => 0,
        };
        let align = size.min(self.align);
        let padding = match align > 1 && letter != b'c' {
            true => align.wrapping_sub(total & (align - 1)) & (align - 1),
            false => 0,
        };
        Ok(Some(Item {
            letter,
            size,
            padding,
        }))
    }

    /// Obeys an option that sets something.
    fn control(&mut self, letter: u8) -> Result<(), Raise> {
        match letter {
            b' ' => {}
            b'>' => self.is_little = false,
            b'<' => self.is_little = true,
            b'!' => {
                let align = self.number()?.unwrap_or(NATIVE_ALIGN);
                if !align.is_power_of_two() {
                    return Err(Raise::Text(format!(
                        "alignment {align} is not a power of 2"
                    )));
                }
                self.align = align;
            }
            _ => {
                let letter = char::from(letter);
                let text = format!("invalid format option '{letter}'");
                return Err(Raise::Argument(1, text));
            }
        }
        Ok(())
    }
}

fn pack(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    let format = args.string(lua, 1)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let mut out: Vec<u8> = Vec::new();
    let mut index = 2;
    // As on real servers a nil stands behind the arguments.
    let number = |index: usize| match index > args.len() {
        true => Err(Raise::Argument(index, "number expected, got nil".into())),
        false => args.number(lua, index),
    };
    while let Some(item) = format.next(out.len())? {
        out.resize(out.len() + item.padding, 0);
        match item.letter {
            b'B' | b'b' | b'H' | b'h' | b'L' | b'l' | b'T' | b'i' | b'I' => {
                write_int(&mut out, number(index)?, item.size, format.is_little);
                index += 1;
            }
            b'x' => out.push(0),
            b'f' => {
                let bits = number(index)? as f32;
                let bytes = if format.is_little {
                    bits.to_le_bytes()
                } else {
                    bits.to_be_bytes()
                };
                out.extend_from_slice(&bytes);
                index += 1;
            }
            b'd' => {
                let bits = number(index)?;
                let bytes = if format.is_little {
                    bits.to_le_bytes()
                } else {
                    bits.to_be_bytes()
                };
                out.extend_from_slice(&bytes);
                index += 1;
            }
            b'c' | b's' => {
                let text = match index > args.len() {
                    true => return Err(Raise::Argument(index, "string expected, got nil".into())),
                    false => args.string(lua, index)?,
                };
                let text = text.as_bytes();
                let size = if item.size == 0 {
                    text.len()
                } else {
                    item.size
                };
                if text.len() < size {
                    return Err(Raise::Argument(index + 1, "string too short".into()));
                }
                index += 1;
                out.extend_from_slice(&text[..size]);
                if item.letter == b's' {
                    out.push(0);
                }
            }
            other => format.control(other)?,
        }
    }
    Ok(Value::String(lua.create_string(&out)?))
}

/// An integer of this size. Eight bytes are all that is known of it; with more the rest is zeros.
fn write_int(out: &mut Vec<u8>, number: f64, size: usize, is_little: bool) {
    let bits = to_bits(number);
    let at = out.len();
    out.extend((0..size).map(|byte| {
        if byte < 8 {
            (bits >> (byte * 8)) as u8
        } else {
            0
        }
    }));
    if !is_little {
        out[at..].reverse();
    }
}

/// A number as 64 bits, signed if it is negative, as x86 converts those that do not fit.
fn to_bits(number: f64) -> u64 {
    const SIGN: f64 = 9_223_372_036_854_775_808.0;
    match number {
        _ if number < 0.0 => match number >= -SIGN {
            true => number as i64 as u64,
            false => i64::MIN as u64,
        },
        _ if number < SIGN => number as u64,
        _ if number < SIGN * 2.0 => number as u64,
        _ if number.is_nan() => i64::MIN as u64,
        _ => 0,
    }
}

fn too_short() -> Raise {
    Raise::Argument(2, "data string too short".into())
}

fn unpack(lua: &Lua, args: &Arguments) -> Result<MultiValue, Raise> {
    let format = args.string(lua, 1)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let data = args.string(lua, 2)?;
    let data = data.as_bytes();
    let offset = match args.get(3) {
        Value::Nil => 1.0,
        _ => args.number(lua, 3)?,
    };
    // An offset is an unsigned number in C, so a negative one lies far behind the end.
    let offset = offset as i64;
    if offset == 0 {
        return Err(Raise::Argument(3, "offset must be 1 or greater".into()));
    }
    let mut pos = usize::try_from(offset).map_or(usize::MAX, |offset| offset - 1);
    let mut values: Vec<Value> = Vec::new();
    while let Some(item) = format.next(pos)? {
        let Item {
            letter,
            size,
            padding,
        } = item;
        pos = pos.saturating_add(padding);
        let rest = data.get(pos..).ok_or_else(too_short)?;
        if size > rest.len() {
            return Err(too_short());
        }
        if values.len() > 7900 {
            return Err(Raise::Text("stack overflow (too many results)".into()));
        }
        match letter {
            b'B' | b'b' | b'H' | b'h' | b'L' | b'l' | b'T' | b'i' | b'I' => {
                let is_signed = letter.is_ascii_lowercase();
                values.push(read_int(&rest[..size], format.is_little, is_signed));
            }
            b'f' => {
                let bytes = rest.first_chunk::<4>().copied().unwrap_or_default();
                let value = if format.is_little {
                    f32::from_le_bytes(bytes)
                } else {
                    f32::from_be_bytes(bytes)
                };
                values.push(Value::Number(value.into()));
            }
            b'd' => {
                let bytes = rest.first_chunk::<8>().copied().unwrap_or_default();
                let value = if format.is_little {
                    f64::from_le_bytes(bytes)
                } else {
                    f64::from_be_bytes(bytes)
                };
                values.push(Value::Number(value));
            }
            b'c' if size == 0 => {
                // A text that reads as a number is one here, as everywhere in Lua.
                let Some(len) = lua.coerce_number(values.pop().unwrap_or(Value::Nil))? else {
                    let text = "format 'c0' needs a previous size";
                    return Err(Raise::Text(text.into()));
                };
                let len = to_bits(len);
                let text = usize::try_from(len).ok().and_then(|len| rest.get(..len));
                let text = text.ok_or_else(too_short)?;
                values.push(Value::String(lua.create_string(text)?));
                pos += text.len();
            }
            b'c' => values.push(Value::String(lua.create_string(&rest[..size])?)),
            b's' => {
                let end = memchr::memchr(0, rest);
                let end = end.ok_or_else(|| Raise::Text("unfinished string in data".into()))?;
                values.push(Value::String(lua.create_string(&rest[..end])?));
                pos += end + 1;
            }
            b'x' => {}
            other => format.control(other)?,
        }
        pos += size;
    }
    values.push(Value::Integer(pos as i64 + 1));
    Ok(MultiValue::from_vec(values))
}

fn read_int(bytes: &[u8], is_little: bool, is_signed: bool) -> Value {
    let byte = |at: usize| match is_little {
        true => bytes[at],
        false => bytes[bytes.len() - 1 - at],
    };
    let bits =
        (0..bytes.len().min(8)).fold(0u64, |bits, at| bits | u64::from(byte(at)) << (at * 8));
    if !is_signed {
        return Value::Number(bits as f64);
    }
    // As on x86, where shifts count modulo 64: that is what extends the sign of longer numbers.
    let mask = u64::MAX << ((bytes.len() * 8).wrapping_sub(1) & 63);
    let extended = if bits & mask != 0 { bits | mask } else { bits };
    Value::Integer(extended as i64)
}

fn size(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    let format = args.string(lua, 1)?;
    let format = format.as_bytes();
    let mut format = Format::new(&format);
    let mut total: usize = 0;
    while let Some(item) = format.next(total)? {
        let no_size = match item.letter {
            b's' => Some("s"),
            b'c' if item.size == 0 => Some("c0"),
            _ => None,
        };
        if let Some(option) = no_size {
            let text = format!("option '{option}' has no fixed size");
            return Err(Raise::Argument(1, text));
        }
        // Unknown letters and digits are passed over here.
        if !item.letter.is_ascii_alphanumeric() {
            format.control(item.letter)?;
        }
        total += item.padding + item.size;
    }
    Ok(Value::Integer(total as i64))
}
