//! Convert: replies as values of Lua, and values of Lua as replies.
//!
//! The rules are Redis': integers become numbers, bulk strings strings, nulls `false`, status and error lines tables
//! with the field `ok` or `err`; what RESP3 has beyond that becomes a table with one field that names its type. The
//! same tables, returned by a script, become what they stand for. Metatables have no say.

use mlua::{Lua, LuaString, Table, Value};

use crate::resp::Reply;
use crate::script::machine::{error_table, text_of};
use crate::types::decimal::parse_i64;

/// How deep tables may lie in one another in a script's reply. Real servers stop where their Lua stack ends.
const DEPTH_MAX: usize = 2000;

/// What a command has replied.
#[derive(Debug)]
pub enum Reply1 {
    Value(Value),
    /// The line without the mark in front.
    Error(Table),
}

/// The reply in `bytes`, which hold one whole reply.
pub fn to_lua(lua: &Lua, bytes: &[u8]) -> mlua::Result<Reply1> {
    let mut reader = ReplyReader { lua, bytes, pos: 0 };
    if bytes.first() == Some(&b'-') {
        let line = reader.line();
        return Ok(Reply1::Error(error_table(lua, &line[1..], true)?));
    }
    Ok(Reply1::Value(reader.value()?))
}

/// Reads what `resp::writer` wrote, so there is nothing to distrust; what is not there reads as empty.
struct ReplyReader<'a> {
    lua: &'a Lua,
    bytes: &'a [u8],
    pos: usize,
}

impl<'a> ReplyReader<'a> {
    /// The next line, its mark included.
    #[inline]
    fn line(&mut self) -> &'a [u8] {
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        let len = memchr::memchr(b'\r', rest).unwrap_or(rest.len());
        self.pos += len + 2;
        &rest[..len]
    }

    #[inline]
    fn bulk(&mut self, len: i64) -> &'a [u8] {
        let len = usize::try_from(len).unwrap_or(0);
        let rest = self.bytes.get(self.pos..).unwrap_or_default();
        self.pos += len + 2;
        rest.get(..len).unwrap_or_default()
    }

    fn value(&mut self) -> mlua::Result<Value> {
        let line = self.line();
        let Some((mark, text)) = line.split_first() else {
            return Ok(Value::Nil);
        };
        let number = || parse_i64(text).unwrap_or(0);
        Ok(match mark {
            b':' => Value::Integer(number()),
            b'$' => match number() {
                -1 => Value::Boolean(false),
                len => Value::String(self.lua.create_string(self.bulk(len))?),
            },
            b'+' => self.tagged("ok", Value::String(self.lua.create_string(text)?))?,
            b'-' => Value::Table(error_table(self.lua, text, false)?),
            b'*' => match number() {
                -1 => Value::Boolean(false),
                len => Value::Table(self.array(len)?),
            },
            b'_' => Value::Nil,
            b'#' => Value::Boolean(text == b"t"),
            b',' => self.tagged("double", Value::Number(double(text)))?,
            b'(' => self.tagged("big_number", Value::String(self.lua.create_string(text)?))?,
            b'%' => {
                let map = self.map(number())?;
                self.tagged("map", Value::Table(map))?
            }
            b'~' => {
                let set = self.set(number())?;
                self.tagged("set", Value::Table(set))?
            }
            b'=' => {
                let (format, text) = self.bulk(number()).split_at_checked(4).unwrap_or_default();
                let verbatim = self.lua.create_table_with_capacity(0, 2)?;
                verbatim.raw_set("string", self.lua.create_string(text)?)?;
                let format = format.strip_suffix(b":").unwrap_or(format);
                verbatim.raw_set("format", self.lua.create_string(format)?)?;
                self.tagged("verbatim_string", Value::Table(verbatim))?
            }
            b'|' => {
                self.map(number())?; // attributes say nothing to a script
                self.value()?
            }
            _ => Value::Nil,
        })
    }

    fn tagged(&self, name: &str, value: Value) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    }

    fn array(&mut self, len: i64) -> mlua::Result<Table> {
        let len = usize::try_from(len).unwrap_or(0);
        let table = self.lua.create_table_with_capacity(len, 0)?;
        for index in 1..=len {
            let value = self.value()?;
            table.raw_seti(index, value)?;
        }
        Ok(table)
    }

    fn map(&mut self, pairs: i64) -> mlua::Result<Table> {
        let table = self.lua.create_table()?;
        for _ in 0..pairs {
            let key = self.value()?;
            let value = self.value()?;
            if !key.is_nil() {
                table.raw_set(key, value)?;
            }
        }
        Ok(table)
    }

    fn set(&mut self, len: i64) -> mlua::Result<Table> {
        let table = self.lua.create_table()?;
        for _ in 0..len {
            let member = self.value()?;
            if !member.is_nil() {
                table.raw_set(member, true)?;
            }
        }
        Ok(table)
    }
}

fn double(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).unwrap_or("0");
    text.parse().unwrap_or(0.0)
}

/// Writes what a script has returned. `is_resp3` says what the script has set, which decides about booleans.
pub fn write_reply(
    lua: &Lua,
    reply: &mut Reply,
    value: &Value,
    is_resp3: bool,
) -> mlua::Result<Option<ErrorReply>> {
    // An error at the top is the reply itself, and counts as one.
    if let Value::Table(table) = value
        && let Some(error) = error_of(lua, table)?
    {
        return Ok(Some(error));
    }
    write(lua, reply, value, is_resp3, 0)?;
    Ok(None)
}

/// An error that a script has returned or raised.
#[derive(Debug, PartialEq)]
pub struct ErrorReply {
    pub line: Vec<u8>,
    /// The command that failed has been counted.
    pub is_counted: bool,
    /// Where it was raised.
    pub place: Option<(Vec<u8>, i64)>,
}

/// The table's error, if it stands for one.
pub fn error_of(lua: &Lua, table: &Table) -> mlua::Result<Option<ErrorReply>> {
    let Value::String(line) = table.raw_get("err")? else {
        return Ok(None);
    };
    let line = line.as_bytes().to_vec();
    let place = place_of(lua, table)?;
    let is_counted = matches!(
        table.raw_get("ignore_error_stats_update")?,
        Value::Boolean(true)
    );
    Ok(Some(ErrorReply {
        line,
        is_counted,
        place,
    }))
}

/// Where an error was raised, as its table says.
pub fn place_of(lua: &Lua, table: &Table) -> mlua::Result<Option<(Vec<u8>, i64)>> {
    let source = text_of(lua, &table.raw_get("source")?);
    Ok(match (source, table.raw_get("line")?) {
        (Some(source), Value::Integer(at)) => Some((source.as_bytes().to_vec(), at)),
        _ => None,
    })
}

fn write(
    lua: &Lua,
    reply: &mut Reply,
    value: &Value,
    is_resp3: bool,
    depth: usize,
) -> mlua::Result<()> {
    if depth > DEPTH_MAX {
        reply.error_bytes(b"ERR reached lua stack limit");
        return Ok(());
    }
    match value {
        Value::String(text) => reply.bulk(&text.as_bytes()),
        Value::Integer(number) => reply.int(*number),
        Value::Number(number) => reply.int(whole(*number)),
        Value::Boolean(value) if is_resp3 => reply.boolean(*value),
        Value::Boolean(true) => reply.int(1),
        Value::Table(table) => write_table(lua, reply, table, is_resp3, depth)?,
        _ => reply.null(),
    }
    Ok(())
}

/// A number's whole part; those that 64 bits do not hold become the smallest one, as x86 converts them.
fn whole(number: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    match (-LIMIT..LIMIT).contains(&number) {
        true => number as i64,
        false => i64::MIN,
    }
}

fn write_table(
    lua: &Lua,
    reply: &mut Reply,
    table: &Table,
    is_resp3: bool,
    depth: usize,
) -> mlua::Result<()> {
    if let Some(error) = error_of(lua, table)? {
        reply.error_bytes(&error.line);
        return Ok(());
    }
    if let Value::String(status) = table.raw_get("ok")? {
        reply.raw(b"+");
        reply.raw(&one_line(&status));
        reply.raw(b"\r\n");
        return Ok(());
    }
    match table.raw_get("double")? {
        Value::Integer(number) => {
            reply.double(number as f64);
            return Ok(());
        }
        Value::Number(number) => {
            reply.double(number);
            return Ok(());
        }
        _ => {}
    }
    if let Value::Table(map) = table.raw_get("map")? {
        return write_map(lua, reply, &map, is_resp3, depth);
    }
    if let Value::Table(set) = table.raw_get("set")? {
        return write_set(lua, reply, &set, is_resp3, depth);
    }
    if let Value::String(digits) = table.raw_get("big_number")? {
        reply.big_number(&String::from_utf8_lossy(&one_line(&digits)));
        return Ok(());
    }
    if let Value::Table(verbatim) = table.raw_get("verbatim_string")? {
        let format = verbatim.raw_get("format")?;
        let text = verbatim.raw_get("string")?;
        if let (Value::String(format), Value::String(text)) = (format, text) {
            let mut mark = format.as_bytes().to_vec();
            mark.resize(3, b' ');
            reply.verbatim(&String::from_utf8_lossy(&mark), &text.as_bytes());
            return Ok(());
        }
    }
    let begin = reply.array_begin();
    let mut len = 0;
    loop {
        let element: Value = table.raw_get(len + 1)?;
        if element.is_nil() {
            break;
        }
        len += 1;
        write(lua, reply, &element, is_resp3, depth + 1)?;
    }
    reply.array_end(begin, len);
    Ok(())
}

fn write_map(
    lua: &Lua,
    reply: &mut Reply,
    map: &Table,
    is_resp3: bool,
    depth: usize,
) -> mlua::Result<()> {
    let begin = reply.array_begin();
    let mut pairs = 0;
    for pair in map.pairs::<Value, Value>() {
        let (key, value) = pair?;
        write(lua, reply, &key, is_resp3, depth + 1)?;
        write(lua, reply, &value, is_resp3, depth + 1)?;
        pairs += 1;
    }
    reply.map_end(begin, pairs);
    Ok(())
}

fn write_set(
    lua: &Lua,
    reply: &mut Reply,
    set: &Table,
    is_resp3: bool,
    depth: usize,
) -> mlua::Result<()> {
    let begin = reply.array_begin();
    let mut len = 0;
    for pair in set.pairs::<Value, Value>() {
        write(lua, reply, &pair?.0, is_resp3, depth + 1)?;
        len += 1;
    }
    reply.set_end(begin, len);
    Ok(())
}

/// Text without line ends, which would end the reply.
fn one_line(text: &LuaString) -> Vec<u8> {
    let text = text.as_bytes();
    let bytes = text.iter();
    bytes
        .map(|byte| {
            if matches!(byte, b'\r' | b'\n') {
                b' '
            } else {
                *byte
            }
        })
        .collect()
}
