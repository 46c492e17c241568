//! Cjson: the library `cjson`, JSON as scripts know it from Lua CJSON 2.1.
//!
//! No crate reads JSON as loosely as it does: numbers are what C's `strtod` takes (hexadecimal, `nan`, `infinity`,
//! leading zeros), strings may hold any byte, and errors name tokens by its names. A table is an array when its keys are
//! whole numbers from 1 on and few are missing, otherwise an object; an empty one is an object.

use std::cell::Cell;
use std::rc::Rc;

use mlua::{IntoLua, Lua, MultiValue, Table, Value};

use crate::script::host::{Arguments, Host, Raise, type_name};
use crate::script::number::{self, Strtod};

/// What scripts can set. It holds for all scripts, as on real servers.
struct Settings {
    sparse_convert: Cell<bool>,
    sparse_ratio: Cell<i32>,
    sparse_safe: Cell<i32>,
    encode_depth: Cell<i32>,
    decode_depth: Cell<i32>,
    precision: Cell<i32>,
    keep_buffer: Cell<bool>,
    encode_invalid: Cell<Invalid>,
    decode_invalid: Cell<bool>,
}

/// What becomes of numbers that JSON does not have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Invalid {
    Refused,
    Allowed,
    Null,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            sparse_convert: Cell::new(false),
            sparse_ratio: Cell::new(2),
            sparse_safe: Cell::new(10),
            encode_depth: Cell::new(1000),
            decode_depth: Cell::new(1000),
            precision: Cell::new(14),
            keep_buffer: Cell::new(true),
            encode_invalid: Cell::new(Invalid::Refused),
            decode_invalid: Cell::new(true),
        }
    }
}

/// The library, with settings of its own.
pub fn library(lua: &Lua, host: &Rc<Host>) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    let settings = Rc::new(Settings::default());
    type Setting = fn(&Settings, &Lua, &Arguments) -> Result<MultiValue, Raise>;
    let setters: [(&str, Setting); 7] = [
        ("encode_sparse_array", encode_sparse_array),
        ("encode_max_depth", |settings, lua, args| {
            depth(&settings.encode_depth, lua, args)
        }),
        ("decode_max_depth", |settings, lua, args| {
            depth(&settings.decode_depth, lua, args)
        }),
        ("encode_number_precision", |settings, lua, args| {
            integer(&settings.precision, lua, args, 1, 1, 14)?;
            one(lua, settings.precision.get())
        }),
        ("encode_keep_buffer", |settings, lua, args| {
            boolean(&settings.keep_buffer, lua, args)
        }),
        ("encode_invalid_numbers", encode_invalid_numbers),
        ("decode_invalid_numbers", |settings, lua, args| {
            boolean(&settings.decode_invalid, lua, args)
        }),
    ];
    for (name, setter) in setters {
        let settings = Rc::clone(&settings);
        let function = move |lua: &Lua, args: &Arguments| setter(&settings, lua, args);
        table.raw_set(name, host.function_of_many(lua, function)?)?;
    }
    let of_encode = Rc::clone(&settings);
    let encode = move |lua: &Lua, args: &Arguments| {
        only_argument(args)?;
        let mut encoder = Encoder {
            settings: &of_encode,
            out: Vec::new(),
        };
        encoder.value(args.get(1), 0)?;
        Ok(Value::String(lua.create_string(&encoder.out)?))
    };
    table.raw_set("encode", host.function(lua, encode)?)?;
    let decode = move |lua: &Lua, args: &Arguments| {
        only_argument(args)?;
        let text = args.string(lua, 1)?;
        let text = text.as_bytes();
        if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
            let why = "JSON parser does not support UTF-16 or UTF-32";
            return Err(Raise::Text(why.into()));
        }
        let mut decoder = Decoder {
            lua,
            settings: &settings,
            text: &text,
            pos: 0,
            depth: 0,
        };
        decoder.whole()
    };
    table.raw_set("decode", host.function(lua, decode)?)?;
    let for_new = Rc::clone(host);
    let new = move |lua: &Lua, _: &Arguments| Ok(Value::Table(library(lua, &for_new)?));
    table.raw_set("new", host.function(lua, new)?)?;
    table.raw_set("null", Value::NULL)?;
    table.raw_set("_NAME", "cjson")?;
    table.raw_set("_VERSION", "2.1.0")?;
    Ok(table)
}

fn only_argument(args: &Arguments) -> Result<(), Raise> {
    match args.len() {
        1 => Ok(()),
        _ => Err(Raise::Argument(1, "expected 1 argument".into())),
    }
}

fn one(lua: &Lua, value: impl IntoLua) -> Result<MultiValue, Raise> {
    Ok(MultiValue::from_iter([value.into_lua(lua)?]))
}

fn too_many(args: &Arguments, most: usize) -> Result<(), Raise> {
    match args.len() > most {
        true => Err(Raise::Argument(most + 1, "found too many arguments".into())),
        false => Ok(()),
    }
}

/// Sets an integer if the argument is there.
fn integer(
    of: &Cell<i32>,
    lua: &Lua,
    args: &Arguments,
    index: usize,
    least: i32,
    most: i32,
) -> Result<(), Raise> {
    if args.get(index).is_nil() {
        return Ok(());
    }
    let value = args.int(lua, index)?;
    if !(least..=most).contains(&value) {
        let text = format!("expected integer between {least} and {most}");
        return Err(Raise::Argument(index, text));
    }
    of.set(value);
    Ok(())
}

fn depth(of: &Cell<i32>, lua: &Lua, args: &Arguments) -> Result<MultiValue, Raise> {
    too_many(args, 1)?;
    integer(of, lua, args, 1, 1, i32::MAX)?;
    one(lua, of.get())
}

/// A switch: a boolean, or the words `on` and `off`.
fn switch(args: &Arguments, index: usize) -> Result<Option<bool>, Raise> {
    match args.get(index) {
        Value::Nil => Ok(None),
        Value::Boolean(on) => Ok(Some(*on)),
        Value::String(word) => match &*word.as_bytes() {
            b"on" => Ok(Some(true)),
            b"off" => Ok(Some(false)),
            other => Err(invalid_option(index, other)),
        },
        _ => Err(args.wrong_type(index, "string")),
    }
}

fn invalid_option(index: usize, word: &[u8]) -> Raise {
    let word = String::from_utf8_lossy(word);
    Raise::Argument(index, format!("invalid option '{word}'"))
}

fn boolean(of: &Cell<bool>, lua: &Lua, args: &Arguments) -> Result<MultiValue, Raise> {
    too_many(args, 1)?;
    if let Some(on) = switch(args, 1)? {
        of.set(on);
    }
    one(lua, of.get())
}

fn encode_sparse_array(
    settings: &Settings,
    lua: &Lua,
    args: &Arguments,
) -> Result<MultiValue, Raise> {
    too_many(args, 3)?;
    if let Some(on) = switch(args, 1)? {
        settings.sparse_convert.set(on);
    }
    integer(&settings.sparse_ratio, lua, args, 2, 0, i32::MAX)?;
    integer(&settings.sparse_safe, lua, args, 3, 0, i32::MAX)?;
    Ok(MultiValue::from_iter([
        settings.sparse_convert.get().into_lua(lua)?,
        settings.sparse_ratio.get().into_lua(lua)?,
        settings.sparse_safe.get().into_lua(lua)?,
    ]))
}

fn encode_invalid_numbers(
    settings: &Settings,
    lua: &Lua,
    args: &Arguments,
) -> Result<MultiValue, Raise> {
    too_many(args, 1)?;
    match args.get(1) {
        Value::String(word) if *word.as_bytes() == *b"null" => {
            settings.encode_invalid.set(Invalid::Null);
        }
        _ => match switch(args, 1)? {
            Some(true) => settings.encode_invalid.set(Invalid::Allowed),
            Some(false) => settings.encode_invalid.set(Invalid::Refused),
            None => {}
        },
    }
    match settings.encode_invalid.get() {
        Invalid::Null => one(lua, "null"),
        other => one(lua, other == Invalid::Allowed),
    }
}

struct Encoder<'a> {
    settings: &'a Settings,
    out: Vec<u8>,
}

impl Encoder<'_> {
    fn refused(value: &Value, why: &str) -> Raise {
        Raise::Text(format!("Cannot serialise {}: {why}", type_name(value)))
    }

    fn value(&mut self, value: &Value, depth: i32) -> Result<(), Raise> {
        match value {
            Value::String(text) => self.string(&text.as_bytes()),
            Value::Integer(number) => self.number(value, *number as f64)?,
            Value::Number(number) => self.number(value, *number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            Value::LightUserData(null) if null.0.is_null() => self.out.extend_from_slice(b"null"),
            Value::Table(table) => self.table(value, table, depth + 1)?,
            _ => return Err(Encoder::refused(value, "type not supported")),
        }
        Ok(())
    }

    fn number(&mut self, value: &Value, number: f64) -> Result<(), Raise> {
        if !number.is_finite() {
            match self.settings.encode_invalid.get() {
                Invalid::Refused => return Err(Encoder::refused(value, "must not be NaN or Inf")),
                Invalid::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                Invalid::Allowed if number.is_nan() => {
                    self.out.extend_from_slice(b"nan");
                    return Ok(());
                }
                Invalid::Allowed => {}
            }
        }
        number::write_general(
            &mut self.out,
            number,
            self.settings.precision.get() as usize,
        );
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        for byte in text {
            match byte {
                b'"' => self.out.extend_from_slice(b"\\\""),
                b'\\' => self.out.extend_from_slice(b"\\\\"),
                b'/' => self.out.extend_from_slice(b"\\/"),
                8 => self.out.extend_from_slice(b"\\b"),
                9 => self.out.extend_from_slice(b"\\t"),
                10 => self.out.extend_from_slice(b"\\n"),
                12 => self.out.extend_from_slice(b"\\f"),
                13 => self.out.extend_from_slice(b"\\r"),
                0..32 | 127 => self
                    .out
                    .extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => self.out.push(*byte),
            }
        }
        self.out.push(b'"');
    }

    fn table(&mut self, value: &Value, table: &Table, depth: i32) -> Result<(), Raise> {
        if depth > self.settings.encode_depth.get() {
            let text = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(Raise::Text(text));
        }
        match self.array_len(value, table)? {
            Some(len) => {
                self.out.push(b'[');
                for index in 1..=len {
                    if index > 1 {
                        self.out.push(b',');
                    }
                    self.value(&table.raw_get(index)?, depth)?;
                }
                self.out.push(b']');
            }
            None => self.object(table, depth)?,
        }
        Ok(())
    }

    /// The length of a table that is an array.
    fn array_len(&self, value: &Value, table: &Table) -> Result<Option<i32>, Raise> {
        let (mut most, mut items) = (0, 0);
        for pair in table.pairs::<Value, Value>() {
            let key = match pair?.0 {
                Value::Integer(key) => key as f64,
                Value::Number(key) => key,
                _ => return Ok(None),
            };
            if key < 1.0 || key.floor() != key {
                return Ok(None);
            }
            if key > f64::from(most) {
                most = as_int_of_c(key);
            }
            items += 1;
        }
        let (ratio, safe) = (
            self.settings.sparse_ratio.get(),
            self.settings.sparse_safe.get(),
        );
        let limit = items * i64::from(ratio);
        if ratio > 0 && i64::from(most) > limit && most > safe {
            return match self.settings.sparse_convert.get() {
                true => Ok(None),
                false => Err(Encoder::refused(value, "excessively sparse array")),
            };
        }
        Ok((most > 0).then_some(most))
    }

    fn object(&mut self, table: &Table, depth: i32) -> Result<(), Raise> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            match &key {
                Value::String(text) => self.string(&text.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    let number = match &key {
                        Value::Integer(number) => *number as f64,
                        Value::Number(number) => *number,
                        _ => 0.0,
                    };
                    self.out.push(b'"');
                    self.number(&key, number)?;
                    self.out.push(b'"');
                }
                _ => {
                    return Err(Encoder::refused(
                        &key,
                        "table key must be a number or string",
                    ));
                }
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }
}

/// A number as an `int` of C, as x86 converts it. A key that does not fit makes of a table an object, unless a smaller
/// one comes behind it.
fn as_int_of_c(number: f64) -> i32 {
    match number < -f64::from(i32::MIN) {
        true => number as i32,
        false => i32::MIN,
    }
}

/// What the text consists of, by the names that errors have for it.
enum Token {
    ObjBegin,
    ObjEnd,
    ArrBegin,
    ArrEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

impl Token {
    fn name(&self) -> &'static str {
        match self {
            Token::ObjBegin => "T_OBJ_BEGIN",
            Token::ObjEnd => "T_OBJ_END",
            Token::ArrBegin => "T_ARR_BEGIN",
            Token::ArrEnd => "T_ARR_END",
            Token::String(_) => "T_STRING",
            Token::Number(_) => "T_NUMBER",
            Token::Boolean(_) => "T_BOOLEAN",
            Token::Null => "T_NULL",
            Token::Colon => "T_COLON",
            Token::Comma => "T_COMMA",
            Token::End => "T_END",
            Token::Error(what) => what,
        }
    }
}

struct Decoder<'a> {
    lua: &'a Lua,
    settings: &'a Settings,
    text: &'a [u8],
    pos: usize,
    depth: i32,
}

impl Decoder<'_> {
    fn whole(&mut self) -> Result<Value, Raise> {
        let (token, at) = self.token();
        let value = self.value(token, at)?;
        match self.token() {
            (Token::End, _) => Ok(value),
            (token, at) => Err(Decoder::unexpected("the end", &token, at)),
        }
    }

    fn unexpected(wanted: &str, found: &Token, at: usize) -> Raise {
        let found = found.name();
        Raise::Text(format!(
            "Expected {wanted} but found {found} at character {}",
            at + 1
        ))
    }

    fn peek(&self) -> u8 {
        // As in C, where the text ends with a NUL, one inside ends it too.
        self.text.get(self.pos).copied().unwrap_or(0)
    }

    /// The next token and where it begins.
    fn token(&mut self) -> (Token, usize) {
        while matches!(self.peek(), b' ' | b'\t' | b'\n' | b'\r') {
            self.pos += 1;
        }
        let start = self.pos;
        let single = match self.peek() {
            b'{' => Token::ObjBegin,
            b'}' => Token::ObjEnd,
            b'[' => Token::ArrBegin,
            b']' => Token::ArrEnd,
            b':' => Token::Colon,
            b',' => Token::Comma,
            0 => return (Token::End, start),
            b'"' => return self.string(),
            b'-' | b'+' | b'0'..=b'9' | b'i' | b'I' | b'N' => return (self.number(), start),
            b'n' if !self.text[start..].starts_with(b"null") => return (self.number(), start),
            b't' | b'f' | b'n' => return (self.word(), start),
            _ => Token::Error("invalid token"),
        };
        self.pos += 1;
        (single, start)
    }

    fn word(&mut self) -> Token {
        let words = [
            (&b"true"[..], Token::Boolean(true)),
            (b"false", Token::Boolean(false)),
            (b"null", Token::Null),
        ];
        for (word, token) in words {
            if self.text[self.pos..].starts_with(word) {
                self.pos += word.len();
                return token;
            }
        }
        Token::Error("invalid token")
    }

    fn number(&mut self) -> Token {
        let text = &self.text[self.pos..];
        let unsigned = text.strip_prefix(b"-").unwrap_or(text);
        let is_word = matches!(unsigned.first(), Some(b'i' | b'I' | b'n' | b'N'));
        let is_odd = is_word || is_odd_number(unsigned);
        if is_word && number::strtod(text).is_none() {
            return Token::Error("invalid token");
        }
        if is_odd && !self.settings.decode_invalid.get() {
            return Token::Error("invalid number");
        }
        match number::strtod(text) {
            Some(Strtod { value, len }) => {
                self.pos += len;
                Token::Number(value)
            }
            None => Token::Error("invalid number"),
        }
    }

    fn string(&mut self) -> (Token, usize) {
        let start = self.pos;
        self.pos += 1;
        let mut out = Vec::new();
        loop {
            let rest = &self.text[self.pos.min(self.text.len())..];
            let plain = memchr::memchr3(b'"', b'\\', 0, rest).unwrap_or(rest.len());
            out.extend_from_slice(&rest[..plain]);
            self.pos += plain;
            match self.text.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return (Token::String(out), start);
                }
                Some(b'\\') => {
                    if let Err(what) = self.escape(&mut out) {
                        return (Token::Error(what), self.pos);
                    }
                }
                Some(_) if self.pos + 1 < self.text.len() => {
                    out.push(0);
                    self.pos += 1;
                }
                _ => return (Token::Error("unexpected end of string"), self.pos),
            }
        }
    }

    /// An escape, whose backslash is at `pos`.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        let escaped = match self.text.get(self.pos + 1) {
            Some(b'"') => b'"',
            Some(b'\\') => b'\\',
            Some(b'/') => b'/',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => return self.unicode(out),
            _ => return Err("invalid escape code"),
        };
        out.push(escaped);
        self.pos += 2;
        Ok(())
    }

    /// The four digits behind a `\u` at `at`.
    fn hex4(&self, at: usize) -> Option<u32> {
        let digits = self.text.get(at + 2..at + 6)?;
        digits.iter().try_fold(0, |value, digit| {
            Some(value * 16 + char::from(*digit).to_digit(16)?)
        })
    }

    fn unicode(&mut self, out: &mut Vec<u8>) -> Result<(), &'static str> {
        const WRONG: &str = "invalid unicode escape code";
        let mut code = self.hex4(self.pos).ok_or(WRONG)?;
        let mut len = 6;
        if code & 0xf800 == 0xd800 {
            let low_at = self.pos + 6;
            let is_pair = code < 0xdc00 && self.text.get(low_at..low_at + 2) == Some(&b"\\u"[..]);
            let low = self
                .hex4(low_at)
                .filter(|low| is_pair && low & 0xfc00 == 0xdc00);
            let low = low.ok_or(WRONG)?;
            code = 0x10000 + ((code & 0x3ff) << 10 | (low & 0x3ff));
            len = 12;
        }
        let character = char::from_u32(code).ok_or(WRONG)?;
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
        self.pos += len;
        Ok(())
    }

    fn value(&mut self, token: Token, at: usize) -> Result<Value, Raise> {
        Ok(match token {
            Token::String(text) => Value::String(self.lua.create_string(&text)?),
            Token::Number(number) => Value::Number(number),
            Token::Boolean(value) => Value::Boolean(value),
            Token::Null => Value::NULL,
            Token::ObjBegin => self.object()?,
            Token::ArrBegin => self.array()?,
            other => return Err(Decoder::unexpected("value", &other, at)),
        })
    }

    fn descend(&mut self) -> Result<(), Raise> {
        self.depth += 1;
        if self.depth > self.settings.decode_depth.get() {
            return Err(Raise::Text(format!(
                "Found too many nested data structures ({}) at character {}",
                self.depth, self.pos
            )));
        }
        Ok(())
    }

    fn array(&mut self) -> Result<Value, Raise> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let (mut token, mut at) = self.token();
        if !matches!(token, Token::ArrEnd) {
            for index in 1.. {
                let value = self.value(token, at)?;
                table.raw_seti(index, value)?;
                (token, at) = self.token();
                match token {
                    Token::ArrEnd => break,
                    Token::Comma => (token, at) = self.token(),
                    other => return Err(Decoder::unexpected("comma or array end", &other, at)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }

    fn object(&mut self) -> Result<Value, Raise> {
        self.descend()?;
        let table = self.lua.create_table()?;
        let (mut token, mut at) = self.token();
        if !matches!(token, Token::ObjEnd) {
            loop {
                let Token::String(key) = token else {
                    return Err(Decoder::unexpected("object key string", &token, at));
                };
                let key = self.lua.create_string(&key)?;
                (token, at) = self.token();
                if !matches!(token, Token::Colon) {
                    return Err(Decoder::unexpected("colon", &token, at));
                }
                (token, at) = self.token();
                let value = self.value(token, at)?;
                table.raw_set(key, value)?;
                (token, at) = self.token();
                match token {
                    Token::ObjEnd => break,
                    Token::Comma => (token, at) = self.token(),
                    other => return Err(Decoder::unexpected("comma or object end", &other, at)),
                }
            }
        }
        self.depth -= 1;
        Ok(Value::Table(table))
    }
}

/// Whether a number is written as JSON does not write one although `strtod` takes it.
fn is_odd_number(unsigned: &[u8]) -> bool {
    let is_hex = matches!(unsigned, [b'0', b'x' | b'X', ..]);
    let has_zeros = matches!(unsigned, [b'0', b'0'..=b'9', ..]);
    is_hex || has_zeros || !matches!(unsigned.first(), Some(b'0'..=b'9'))
}
