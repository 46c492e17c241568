//! Msgpack: the library `cmsgpack`, MessagePack as scripts know it from lua-cmsgpack 0.4.0.
//!
//! It knows the format as of before binary strings and extensions: strings are all there is. Tables are arrays when
//! their keys are 1 to n without a gap, an empty one too; what lies deeper than 16 tables is packed as nil.

use std::rc::Rc;

use mlua::{Lua, MultiValue, Table, Value};

use crate::script::host::{Arguments, Host, Raise};

/// What lies deeper is left out.
const DEPTH_MAX: usize = 16;

/// How many values Lua can return at once.
const RESULTS_MAX: usize = 7990;

/// How many values can be packed at once: real servers need room for as many again, and a call has 8000 places.
const ARGUMENTS_MAX: usize = 4000;

/// How deep data may nest that is unpacked; with more, real servers run into the limit of C calls.
const UNPACK_DEPTH_MAX: usize = 7900;

/// The library.
pub fn library(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    table.raw_set("pack", host.function(lua, pack)?)?;
    table.raw_set(
        "unpack",
        host.function_of_many(lua, |lua, args| unpack(lua, args, 0, 0, true))?,
    )?;
    let unpack_one = |lua: &Lua, args: &Arguments| {
        args.string(lua, 1)?;
        let offset = match args.get(2) {
            Value::Nil => 0,
            _ => args.int(lua, 2)?,
        };
        unpack(lua, args, 1, offset, false)
    };
    table.raw_set("unpack_one", host.function_of_many(lua, unpack_one)?)?;
    let unpack_limit = |lua: &Lua, args: &Arguments| {
        args.string(lua, 1)?;
        let limit = args.int(lua, 2)?;
        let offset = match args.get(3) {
            Value::Nil => 0,
            _ => args.int(lua, 3)?,
        };
        unpack(lua, args, limit, offset, limit == 0 && offset == 0)
    };
    table.raw_set("unpack_limit", host.function_of_many(lua, unpack_limit)?)?;
    table.raw_set("_NAME", "cmsgpack")?;
    table.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    table.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    table.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    Ok(table)
}

fn pack(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    if args.is_empty() {
        return Err(Raise::Argument(0, "MessagePack pack needs input.".into()));
    }
    if args.len() > ARGUMENTS_MAX {
        let why = "Too many arguments for MessagePack pack.";
        return Err(Raise::Argument(0, why.into()));
    }
    let mut out = Vec::new();
    for index in 1..=args.len() {
        write(&mut out, args.get(index), 0)?;
    }
    Ok(Value::String(lua.create_string(&out)?))
}

fn write(out: &mut Vec<u8>, value: &Value, depth: usize) -> mlua::Result<()> {
    match value {
        Value::String(text) => write_string(out, &text.as_bytes()),
        Value::Boolean(value) => out.push(if *value { 0xc3 } else { 0xc2 }),
        Value::Integer(number) => write_int(out, *number),
        Value::Number(number) => write_number(out, *number),
        Value::Table(table) if depth < DEPTH_MAX => write_table(out, table, depth)?,
        _ => out.push(0xc0),
    }
    Ok(())
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..32 => out.push(0xa0 | len as u8),
        len @ 32..0x100 => out.extend_from_slice(&[0xd9, len as u8]),
        len @ 0x100..0x1_0000 => write_head(out, 0xda, &(len as u16).to_be_bytes()),
        len => write_head(out, 0xdb, &(len as u32).to_be_bytes()),
    }
    out.extend_from_slice(text);
}

fn write_head(out: &mut Vec<u8>, mark: u8, bytes: &[u8]) {
    out.push(mark);
    out.extend_from_slice(bytes);
}

fn write_int(out: &mut Vec<u8>, number: i64) {
    match number {
        0..0x80 => out.push(number as u8),
        0x80..0x100 => write_head(out, 0xcc, &[number as u8]),
        0x100..0x1_0000 => write_head(out, 0xcd, &(number as u16).to_be_bytes()),
        0x1_0000..0x1_0000_0000 => write_head(out, 0xce, &(number as u32).to_be_bytes()),
        0x1_0000_0000.. => write_head(out, 0xcf, &number.to_be_bytes()),
        -32..0 => out.push(number as u8),
        -0x80..-32 => write_head(out, 0xd0, &[number as u8]),
        -0x8000..-0x80 => write_head(out, 0xd1, &(number as i16).to_be_bytes()),
        -0x8000_0000..-0x8000 => write_head(out, 0xd2, &(number as i32).to_be_bytes()),
        _ => write_head(out, 0xd3, &number.to_be_bytes()),
    }
}

/// A number that is not a 64-bit integer, in four bytes if that loses nothing.
fn write_number(out: &mut Vec<u8>, number: f64) {
    if number == 0.0 {
        return out.push(0); // minus zero equals the integer
    }
    let short = number as f32;
    if f64::from(short) == number {
        write_head(out, 0xca, &short.to_be_bytes());
    } else {
        write_head(out, 0xcb, &number.to_be_bytes());
    }
}

fn write_table(out: &mut Vec<u8>, table: &Table, depth: usize) -> mlua::Result<()> {
    if let Some(len) = array_len(table)? {
        match len {
            0..16 => out.push(0x90 | len as u8),
            16..0x1_0000 => write_head(out, 0xdc, &(len as u16).to_be_bytes()),
            _ => write_head(out, 0xdd, &(len as u32).to_be_bytes()),
        }
        for index in 1..=len {
            write(out, &table.raw_get(index)?, depth + 1)?;
        }
        return Ok(());
    }
    let mut len = 0u32;
    for pair in table.pairs::<Value, Value>() {
        pair?;
        len += 1;
    }
    match len {
        0..16 => out.push(0x80 | len as u8),
        16..0x1_0000 => write_head(out, 0xde, &(len as u16).to_be_bytes()),
        _ => write_head(out, 0xdf, &len.to_be_bytes()),
    }
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        write(out, &key, depth + 1)?;
        write(out, &value, depth + 1)?;
    }
    Ok(())
}

/// The length of a table that is an array.
fn array_len(table: &Table) -> mlua::Result<Option<usize>> {
    let (mut most, mut count) = (0, 0);
    for pair in table.pairs::<Value, Value>() {
        match pair?.0 {
            Value::Integer(key) if key > 0 => {
                most = most.max(key as usize);
                count += 1;
            }
            _ => return Ok(None),
        }
    }
    Ok((most == count).then_some(most))
}

/// Unpacks at most `limit` values (0: all) from `offset` on. Unless all are asked for, the place where to go on
/// comes first, -1 at the end.
fn unpack(
    lua: &Lua,
    args: &Arguments,
    limit: i32,
    offset: i32,
    is_full: bool,
) -> Result<MultiValue, Raise> {
    let text = args.string(lua, 1)?;
    let text = text.as_bytes();
    let len = text.len();
    if offset < 0 || limit < 0 {
        return Err(Raise::Text(format!(
            "Invalid request to unpack with offset of {offset} and limit of {len}."
        )));
    }
    let offset = offset as usize;
    if offset > len {
        return Err(Raise::Text(format!(
            "Start offset {offset} greater than input length {len}."
        )));
    }
    let limit = if is_full { usize::MAX } else { limit as usize };
    let mut reader = Reader {
        lua,
        text: &text,
        pos: offset,
    };
    let mut values = MultiValue::new();
    while reader.pos < len && values.len() < limit {
        if values.len() >= RESULTS_MAX {
            let why = "too many return values at once; use unpack_one or unpack_limit instead.";
            return Err(Raise::Text(format!("stack overflow ({why})")));
        }
        values.push_back(reader.value(0)?);
    }
    if !is_full {
        let next = if reader.pos < len {
            reader.pos as i64
        } else {
            -1
        };
        values.push_front(Value::Integer(next));
    }
    Ok(values)
}

struct Reader<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    pos: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Result<&'a [u8], Raise> {
        let rest = self.text.get(self.pos..).unwrap_or_default();
        let bytes = rest.get(..len);
        self.pos += len.min(rest.len());
        bytes.ok_or_else(|| Raise::Text("Missing bytes in input.".into()))
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Raise> {
        let mut bytes = [0; N];
        bytes.copy_from_slice(self.take(N)?);
        Ok(bytes)
    }

    fn value(&mut self, depth: usize) -> Result<Value, Raise> {
        if depth > UNPACK_DEPTH_MAX {
            return Err(Raise::Text("stack overflow".into()));
        }
        let mark = self.array::<1>()?[0];
        let number = |number: f64| Ok(Value::Number(number));
        match mark {
            0..0x80 => Ok(Value::Integer(mark.into())),
            0xe0.. => Ok(Value::Integer((mark as i8).into())),
            0x80..0x90 => self.map((mark & 15).into(), depth),
            0x90..0xa0 => self.list((mark & 15).into(), depth),
            0xa0..0xc0 => self.string((mark & 31).into()),
            0xc0 => Ok(Value::Nil),
            0xc2 | 0xc3 => Ok(Value::Boolean(mark == 0xc3)),
            0xca => number(f32::from_be_bytes(self.array()?).into()),
            0xcb => number(f64::from_be_bytes(self.array()?)),
            0xcc => Ok(Value::Integer(self.array::<1>()?[0].into())),
            0xcd => Ok(Value::Integer(u16::from_be_bytes(self.array()?).into())),
            0xce => Ok(Value::Integer(u32::from_be_bytes(self.array()?).into())),
            // Large unsigned numbers turn negative, as they do on real servers.
            0xcf => Ok(Value::Integer(i64::from_be_bytes(self.array()?))),
            0xd0 => Ok(Value::Integer(i8::from_be_bytes(self.array()?).into())),
            0xd1 => Ok(Value::Integer(i16::from_be_bytes(self.array()?).into())),
            0xd2 => Ok(Value::Integer(i32::from_be_bytes(self.array()?).into())),
            0xd3 => Ok(Value::Integer(i64::from_be_bytes(self.array()?))),
            0xd9 => {
                let len = self.array::<1>()?[0].into();
                self.string(len)
            }
            0xda => {
                let len = u16::from_be_bytes(self.array()?).into();
                self.string(len)
            }
            0xdb => {
                let len = u32::from_be_bytes(self.array()?) as usize;
                self.string(len)
            }
            0xdc => {
                let len = u16::from_be_bytes(self.array()?).into();
                self.list(len, depth)
            }
            0xdd => {
                let len = u32::from_be_bytes(self.array()?) as usize;
                self.list(len, depth)
            }
            0xde => {
                let len = u16::from_be_bytes(self.array()?).into();
                self.map(len, depth)
            }
            0xdf => {
                let len = u32::from_be_bytes(self.array()?) as usize;
                self.map(len, depth)
            }
            _ => Err(Raise::Text("Bad data format in input.".into())),
        }
    }

    fn string(&mut self, len: usize) -> Result<Value, Raise> {
        let bytes = self.take(len)?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn list(&mut self, len: usize, depth: usize) -> Result<Value, Raise> {
        let table = self.lua.create_table()?;
        for index in 1..=len {
            let value = self.value(depth + 1)?;
            table.raw_seti(index, value)?;
        }
        Ok(Value::Table(table))
    }

    fn map(&mut self, len: usize, depth: usize) -> Result<Value, Raise> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let key = self.value(depth + 1)?;
            let value = self.value(depth + 1)?;
            match &key {
                Value::Nil => return Err(raise_plain(self.lua, "table index is nil")),
                Value::Number(number) if number.is_nan() => {
                    return Err(raise_plain(self.lua, "table index is NaN"));
                }
                _ => table.raw_set(key, value)?,
            }
        }
        Ok(Value::Table(table))
    }
}

/// An error without a place in front.
fn raise_plain(lua: &Lua, text: &str) -> Raise {
    match lua.create_string(text) {
        Ok(text) => Raise::Value(Value::String(text)),
        Err(error) => Raise::Lua(error),
    }
}
