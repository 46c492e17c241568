//! Convert: replies as values of Lua, and values of Lua as replies.
//!
//! The rules are Redis': integers become numbers, bulk strings strings, nulls `false`, status and error lines tables
//! with the field `ok` or `err`; what RESP3 has beyond that becomes a table with one field that names its type. The
//! same tables, returned by a script, become what they stand for. Metatables have no say.

use crate::resp::Reply;
use crate::script::stack::{Kind, Stack};
use crate::types::decimal::parse_i64;

/// Puts the reply in `bytes`, which hold one whole reply, on top as a value. Says whether it is an error.
pub fn push_reply(stack: &mut Stack<'_>, bytes: &[u8]) -> bool {
    let mut reader = ReplyReader { bytes, pos: 0 };
    if bytes.first() == Some(&b'-') {
        let line = reader.line();
        assert!(stack.reserve(ROOM), "a call has room");
        push_error(stack, &line[1..], true);
        return true;
    }
    reader.push_value(stack);
    false
}

/// What one level of a reply takes on the stack.
const ROOM: i32 = 4;

/// How deep tables may lie in one another in a script's reply. Real servers stop where their Lua stack ends.
const DEPTH_MAX: u32 = 2000;

/// Reads what `resp::writer` wrote, so there is nothing to distrust; what is not there reads as empty.
struct ReplyReader<'a> {
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

    /// Puts the next value on top.
    fn push_value(&mut self, stack: &mut Stack<'_>) {
        assert!(
            stack.reserve(ROOM),
            "replies nest a few levels deep, which Lua has room for"
        );
        let line = self.line();
        let Some((mark, text)) = line.split_first() else {
            return stack.push_nil();
        };
        let number = || parse_i64(text).unwrap_or(0);
        match mark {
            b':' => stack.push_number(number() as f64),
            b'$' => match number() {
                -1 => stack.push_bool(false),
                len => stack.push_bytes(self.bulk(len)),
            },
            b'+' => tagged(stack, "ok", |stack| stack.push_bytes(text)),
            b'-' => push_error(stack, text, false),
            b'*' => match number() {
                -1 => stack.push_bool(false),
                len => self.push_array(stack, len),
            },
            b'_' => stack.push_nil(),
            b'#' => stack.push_bool(text == b"t"),
            b',' => tagged(stack, "double", |stack| stack.push_number(double(text))),
            b'(' => tagged(stack, "big_number", |stack| stack.push_bytes(text)),
            b'%' => tagged(stack, "map", |stack| self.push_map(stack, number())),
            b'~' => tagged(stack, "set", |stack| self.push_set(stack, number())),
            b'=' => {
                let (format, text) = self.bulk(number()).split_at_checked(4).unwrap_or_default();
                let format = format.strip_suffix(b":").unwrap_or(format);
                tagged(stack, "verbatim_string", |stack| {
                    assert!(stack.reserve(ROOM), "a level has room");
                    let verbatim = stack.push_table(0, 2);
                    stack.push_bytes(text);
                    stack.set_field(verbatim, "string");
                    stack.push_bytes(format);
                    stack.set_field(verbatim, "format");
                });
            }
            b'|' => {
                // Attributes say nothing to a script.
                self.push_map(stack, number());
                stack.truncate(stack.len() - 1);
                self.push_value(stack);
            }
            _ => stack.push_nil(),
        }
    }

    fn push_array(&mut self, stack: &mut Stack<'_>, len: i64) {
        let len = i32::try_from(len).unwrap_or(0);
        let table = stack.push_table(len as usize, 0);
        for index in 1..=len {
            self.push_value(stack);
            stack.set_element(table, index);
        }
    }

    fn push_map(&mut self, stack: &mut Stack<'_>, pairs: i64) {
        let table = stack.push_table(0, usize::try_from(pairs).unwrap_or(0));
        for _ in 0..pairs {
            self.push_value(stack);
            self.push_value(stack);
            stack.set_pair(table);
        }
    }

    fn push_set(&mut self, stack: &mut Stack<'_>, len: i64) {
        let table = stack.push_table(0, usize::try_from(len).unwrap_or(0));
        for _ in 0..len {
            self.push_value(stack);
            stack.push_bool(true);
            stack.set_pair(table);
        }
    }
}

/// A table on top whose only field is what `push` pushes.
fn tagged(stack: &mut Stack<'_>, name: &str, push: impl FnOnce(&mut Stack<'_>)) {
    let table = stack.push_table(0, 1);
    push(stack);
    assert!(stack.reserve(1), "a level has room");
    stack.set_field(table, name);
}

fn double(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).unwrap_or("0");
    text.parse().unwrap_or(0.0)
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

/// Writes what a script has returned, which lies on top at `at`. An error is the result instead: it is the reply
/// itself, and counts as one. `is_resp3` says what the script has set, which decides about booleans.
pub fn write_reply(
    stack: &mut Stack<'_>,
    at: i32,
    reply: &mut Reply,
    is_resp3: bool,
) -> Option<ErrorReply> {
    if stack.kind(at) == Kind::Table
        && stack.reserve(ROOM)
        && let Some(error) = error_of(stack, at)
    {
        return Some(error);
    }
    write(stack, at, reply, is_resp3, 0);
    None
}

/// The error that a script has raised as the table at `at`.
pub fn raised(stack: &mut Stack<'_>, at: i32) -> ErrorReply {
    assert!(stack.reserve(ROOM), "the script has left its room");
    error_of(stack, at).unwrap_or_else(|| ErrorReply {
        line: b"ERR unknown error".to_vec(),
        is_counted: false,
        place: place_of(stack, at),
    })
}

/// The table's error, if it stands for one.
fn error_of(stack: &mut Stack<'_>, table: i32) -> Option<ErrorReply> {
    let line = bytes_field(stack, table, "err")?;
    let place = place_of(stack, table);
    let counted = stack.push_field(table, "ignore_error_stats_update");
    let is_counted = stack.kind(counted) == Kind::Boolean && stack.is_true(counted);
    stack.truncate(counted - 1);
    Some(ErrorReply {
        line,
        is_counted,
        place,
    })
}

/// Where an error was raised, as its table says.
fn place_of(stack: &mut Stack<'_>, table: i32) -> Option<(Vec<u8>, i64)> {
    let source = bytes_field(stack, table, "source")?;
    let line = stack.push_field(table, "line");
    let number = stack.number(line).and_then(whole);
    stack.truncate(line - 1);
    Some((source, number?))
}

/// A copy of a field that is a string.
fn bytes_field(stack: &mut Stack<'_>, table: i32, name: &str) -> Option<Vec<u8>> {
    let at = stack.push_field(table, name);
    let bytes = stack.bytes(at).map(<[u8]>::to_vec);
    stack.truncate(at - 1);
    bytes
}

/// Writes the value at `at`, which lies on top.
fn write(stack: &mut Stack<'_>, at: i32, reply: &mut Reply, is_resp3: bool, depth: u32) {
    match stack.kind(at) {
        Kind::String => reply.bulk(stack.bytes(at).unwrap_or_default()),
        Kind::Number => reply.int(truncated(stack.number(at).unwrap_or_default())),
        Kind::Boolean if is_resp3 => reply.boolean(stack.is_true(at)),
        Kind::Boolean if stack.is_true(at) => reply.int(1),
        Kind::Table if depth < DEPTH_MAX && stack.reserve(ROOM) => {
            write_table(stack, at, reply, is_resp3, depth + 1);
        }
        Kind::Table => reply.error_bytes(b"ERR reached lua stack limit"),
        _ => reply.null(),
    }
}

/// A number's whole part; those that 64 bits do not hold become the smallest one, as x86 converts them.
fn truncated(number: f64) -> i64 {
    whole(number.trunc()).unwrap_or(i64::MIN)
}

fn write_table(stack: &mut Stack<'_>, table: i32, reply: &mut Reply, is_resp3: bool, depth: u32) {
    if let Some(error) = error_of(stack, table) {
        return reply.error_bytes(&error.line);
    }
    if let Some(status) = bytes_field(stack, table, "ok") {
        reply.raw(b"+");
        reply.raw(&one_line(status));
        return reply.raw(b"\r\n");
    }
    let double = stack.push_field(table, "double");
    let number = stack.number(double);
    stack.truncate(table);
    if let Some(number) = number {
        return reply.double(number);
    }
    let map = stack.push_field(table, "map");
    if stack.kind(map) == Kind::Table {
        write_map(stack, map, reply, is_resp3, depth);
        return stack.truncate(table);
    }
    stack.truncate(table);
    let set = stack.push_field(table, "set");
    if stack.kind(set) == Kind::Table {
        write_set(stack, set, reply, is_resp3, depth);
        return stack.truncate(table);
    }
    stack.truncate(table);
    if let Some(digits) = bytes_field(stack, table, "big_number") {
        return reply.big_number(&String::from_utf8_lossy(&one_line(digits)));
    }
    let verbatim = stack.push_field(table, "verbatim_string");
    if stack.kind(verbatim) == Kind::Table {
        let format = bytes_field(stack, verbatim, "format");
        let text = bytes_field(stack, verbatim, "string");
        if let (Some(mut mark), Some(text)) = (format, text) {
            mark.resize(3, b' ');
            reply.verbatim(&String::from_utf8_lossy(&mark), &text);
            return stack.truncate(table);
        }
    }
    stack.truncate(table);
    let begin = reply.array_begin();
    let mut len = 0;
    loop {
        stack.push_element(table, len + 1);
        let element = stack.len();
        if stack.kind(element) == Kind::Nil {
            break;
        }
        len += 1;
        write(stack, element, reply, is_resp3, depth);
        stack.truncate(table);
    }
    stack.truncate(table);
    reply.array_end(begin, len as usize);
}

fn write_map(stack: &mut Stack<'_>, map: i32, reply: &mut Reply, is_resp3: bool, depth: u32) {
    let begin = reply.array_begin();
    let mut pairs = 0;
    stack.each_pair(map, |stack, key| {
        write_copy(stack, key, reply, is_resp3, depth);
        write(stack, key + 1, reply, is_resp3, depth);
        pairs += 1;
    });
    reply.map_end(begin, pairs);
}

fn write_set(stack: &mut Stack<'_>, set: i32, reply: &mut Reply, is_resp3: bool, depth: u32) {
    let begin = reply.array_begin();
    let mut len = 0;
    stack.each_pair(set, |stack, member| {
        write_copy(stack, member, reply, is_resp3, depth);
        len += 1;
    });
    reply.set_end(begin, len);
}

/// Writes a value that does not lie on top.
fn write_copy(stack: &mut Stack<'_>, at: i32, reply: &mut Reply, is_resp3: bool, depth: u32) {
    if !stack.reserve(1) {
        return reply.error_bytes(b"ERR reached lua stack limit");
    }
    stack.push_copy(at);
    let copy = stack.len();
    write(stack, copy, reply, is_resp3, depth);
    stack.truncate(copy - 1);
}

/// Text without line ends, which would end the reply.
fn one_line(mut text: Vec<u8>) -> Vec<u8> {
    for byte in &mut text {
        if matches!(byte, b'\r' | b'\n') {
            *byte = b' ';
        }
    }
    text
}

/// An error on top: a table with the line in `err`. A counted one is in the error statistics already.
pub fn push_error(stack: &mut Stack<'_>, line: &[u8], is_counted: bool) {
    let table = stack.push_table(0, 1 + usize::from(is_counted));
    stack.push_bytes(line);
    stack.set_field(table, "err");
    if is_counted {
        stack.push_bool(true);
        stack.set_field(table, "ignore_error_stats_update");
    }
}

/// A number that is an integer of 64 bits.
pub fn whole(number: f64) -> Option<i64> {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    let is_whole = number.trunc() == number && (-LIMIT..LIMIT).contains(&number);
    is_whole.then_some(number as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use mlua::Lua;

    /// What a script with this text replies, or its error.
    fn returned(text: &str, is_resp3: bool) -> Result<String, ErrorReply> {
        let lua = Lua::new();
        let function = lua.load(text).into_function().expect("it compiles");
        let anchor = crate::script::stack::Anchor::new(&lua, function).expect("there is room");
        let mut stack = Stack::of(&lua);
        assert!(stack.reserve(1));
        stack.push_anchored(anchor);
        assert!(stack.call(0, 1), "{text}");
        let mut reply = Reply::default();
        let at = stack.len();
        let error = write_reply(&mut stack, at, &mut reply, is_resp3);
        assert_eq!(stack.len(), at);
        let text = String::from_utf8_lossy(&reply.to_vec()).replace("\r\n", "|");
        error.map_or(Ok(text), Err)
    }

    #[test]
    fn values_become_replies() {
        for (text, want) in [
            ("return 'a'", "$1|a|"),
            ("return 3.9", ":3|"),
            ("return 1e300", ":-9223372036854775808|"),
            ("return true", ":1|"),
            ("return {1, {2, 'x'}, nil, 4}", "*2|:1|*2|:2|$1|x|"),
            ("return {ok='a\\nb'}", "+a b|"),
            ("return {1, {err='E x'}}", "*2|:1|-E x|"),
            ("return {double=1.5}", "$3|1.5|"),
            ("return {map={a={set={x=true}}}}", "*2|$1|a|*1|$1|x|"),
            ("return {big_number='1\\r2'}", "$3|1 2|"),
        ] {
            assert_eq!(returned(text, false), Ok(want.into()), "{text}");
        }
        let error = returned("return {err='MY line', source='s', line=7}", false);
        let want = ErrorReply {
            line: b"MY line".to_vec(),
            is_counted: false,
            place: Some((b"s".to_vec(), 7)),
        };
        assert_eq!(error, Err(want));
    }

    /// Runs on a stack as large as a machine's.
    fn on_large_stack(test: impl FnOnce() + 'static) {
        let stack = corosensei::stack::DefaultStack::new(16 << 20).expect("there is room");
        let run = |_: &corosensei::Yielder<(), ()>, ()| test();
        corosensei::Coroutine::with_stack(stack, run).resume(());
    }

    #[test]
    fn a_nest_of_tables_ends_somewhere() {
        on_large_stack(|| {
            let nest = |levels: u32| {
                format!("local t = {{}}; for i = 1, {levels} do t = {{t}} end; return t")
            };
            let reply = |levels| returned(&nest(levels), false).expect("it is no error");
            assert!(!reply(500).contains("limit"));
            assert!(reply(DEPTH_MAX + 1).contains("stack limit"));
        });
    }

    #[test]
    fn replies_become_values() {
        let lua = Lua::new();
        for (bytes, want) in [
            (&b":7\r\n"[..], "7"),
            (b"$-1\r\n", "false"),
            (b"+OK\r\n", "{ok=OK}"),
            (
                b"*3\r\n:1\r\n*1\r\n$1\r\na\r\n*-1\r\n",
                "{1=1 2={1=a} 3=false}",
            ),
            (b"%1\r\n+a\r\n_\r\n", "{map={}}"),
            (b"~1\r\n:5\r\n", "{set={5=true}}"),
            (
                b"=7\r\ntxt:abc\r\n",
                "{verbatim_string={format=txt string=abc}}",
            ),
            (b",1.5\r\n", "{double=1.5}"),
            (b"|1\r\n+a\r\n:1\r\n#t\r\n", "true"),
            (b"-ERR x\r\n", "{err=ERR x ignore_error_stats_update=true}"),
        ] {
            let mut stack = Stack::of(&lua);
            let base = stack.len();
            let is_error = push_reply(&mut stack, bytes);
            assert_eq!((is_error, stack.len()), (bytes[0] == b'-', base + 1));
            assert_eq!(shown(&mut stack, base + 1), want);
            stack.truncate(base);
        }
    }

    fn shown(stack: &mut Stack<'_>, at: i32) -> String {
        match stack.kind(at) {
            Kind::String => String::from_utf8_lossy(stack.bytes(at).unwrap_or_default()).into(),
            Kind::Number => stack.number(at).unwrap_or_default().to_string(),
            Kind::Boolean => stack.is_true(at).to_string(),
            Kind::Table => {
                let mut pairs = Vec::new();
                assert!(stack.reserve(ROOM));
                stack.each_pair(at, |stack, key| {
                    pairs.push(format!("{}={}", shown(stack, key), shown(stack, key + 1)));
                });
                pairs.sort();
                format!("{{{}}}", pairs.join(" "))
            }
            kind => format!("{kind:?}"),
        }
    }
}
