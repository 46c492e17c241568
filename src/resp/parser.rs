//! Request parser: turns bytes into commands, incrementally.
//!
//! A command's arguments are (offset, length) pairs into the client's query buffer, relative to the start of
//! that command, so the buffer may be compacted between reads. The parser keeps where it stopped and never
//! looks at a byte twice. A bulk of [`BIG_BULK`] bytes or more gets a buffer of its own ([`Parser::big_space`]),
//! which becomes the value without a copy.
//!
//! Protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>. Inline commands are split as the
//! real server splits them: double quotes with backslash escapes, single quotes with `\'` only.

use bytes::Bytes;

use crate::types::decimal::parse_i64;

/// From this size on a bulk argument is read straight into its own buffer.
pub const BIG_BULK: usize = 32 * 1024;

/// The longest inline command, and the longest line of a multi-bulk header.
pub const INLINE_MAX: usize = 64 * 1024;

/// The most arguments a command may have.
const MULTIBULK_MAX: i64 = i32::MAX as i64;

/// What a client that has not authenticated may send.
const MULTIBULK_MAX_UNAUTHENTICATED: i64 = 10;
const BULK_MAX_UNAUTHENTICATED: i64 = 16 * 1024;

/// Bytes of the line end behind a bulk.
const LINE_END: usize = 2;

/// Marks an argument that lies in its own buffer; the rest of the offset is its index there.
const BIG_MARK: u32 = 1 << 31;

/// Where one argument lies: in the query buffer, or in the list of big bulks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ArgPos {
    pos: u32,
    len: u32,
}

/// The arguments of one command, the name first.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    argv: &'a [ArgPos],
    big: &'a [Bytes],
}

impl<'a> Args<'a> {
    /// The arguments `argv` of a command whose first byte is `buf[0]`.
    pub fn new(buf: &'a [u8], argv: &'a [ArgPos], big: &'a [Bytes]) -> Args<'a> {
        Args { buf, argv, big }
    }

    /// How many there are, the command's name included.
    #[inline]
    pub fn len(&self) -> usize {
        self.argv.len()
    }

    /// Whether there is nothing at all, not even a name.
    pub fn is_empty(&self) -> bool {
        self.argv.is_empty()
    }

    /// Argument `index`, or an empty slice when there is none.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let at = self.argv.get(index)?;
        Some(self.at(*at))
    }

    /// Argument `index`; an empty slice stands for one that is not there, so no request can make this fail.
    #[inline]
    pub fn bytes(&self, index: usize) -> &'a [u8] {
        match self.argv.get(index) {
            Some(at) => self.at(*at),
            None => b"",
        }
    }

    #[inline]
    fn at(&self, at: ArgPos) -> &'a [u8] {
        if at.pos & BIG_MARK != 0 {
            let index = (at.pos & !BIG_MARK) as usize;
            return self.big.get(index).map_or(b"", |big| &big[..]);
        }
        let start = at.pos as usize;
        self.buf.get(start..start + at.len as usize).unwrap_or(b"")
    }

    /// Argument `index` as a buffer that can be kept without a copy, when it came in one.
    #[inline]
    pub fn shared(&self, index: usize) -> Option<Bytes> {
        let at = self.argv.get(index)?;
        if at.pos & BIG_MARK == 0 {
            return None;
        }
        self.big.get((at.pos & !BIG_MARK) as usize).cloned()
    }

    /// All arguments from `start` on.
    pub fn iter_from(&self, start: usize) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let args = *self;
        (start..args.len()).map(move |i| args.bytes(i))
    }

    /// These arguments without the first `count`: a command that stands as arguments of another.
    pub fn without(&self, count: usize) -> Args<'a> {
        Args {
            argv: self.argv.get(count..).unwrap_or(&[]),
            ..*self
        }
    }

    /// Whether argument `index` is this word, in any case of letters.
    #[inline]
    pub fn is(&self, index: usize, word: &str) -> bool {
        self.bytes(index).eq_ignore_ascii_case(word.as_bytes())
    }

    /// Bytes of all arguments together.
    pub fn total_bytes(&self) -> usize {
        self.argv.iter().map(|at| self.at(*at).len()).sum()
    }

    /// Bytes of the request that these arguments make, as clients write it: an array of strings.
    pub fn wire_bytes(&self) -> usize {
        let head = |number: usize| 3 + number.checked_ilog10().map_or(1, |log| log as usize + 1);
        let args = self.argv.iter().map(|at| self.at(*at).len());
        head(self.argv.len()) + args.map(|len| head(len) + len + 2).sum::<usize>()
    }
}

/// A command's arguments in memory of their own, to be run later.
#[derive(Clone, Debug, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    argv: Vec<ArgPos>,
    big: Vec<Bytes>,
}

impl OwnedArgs {
    /// A copy of the arguments; those with a buffer of their own share it.
    pub fn new(args: Args<'_>) -> OwnedArgs {
        let mut owned = OwnedArgs::default();
        for index in 0..args.len() {
            let len = args.bytes(index).len() as u32;
            let pos = match args.shared(index) {
                Some(big) => {
                    owned.big.push(big);
                    BIG_MARK | (owned.big.len() - 1) as u32
                }
                None => {
                    let pos = owned.bytes.len() as u32;
                    owned.bytes.extend_from_slice(args.bytes(index));
                    pos
                }
            };
            owned.argv.push(ArgPos { pos, len });
        }
        owned
    }

    /// Forgets the arguments and keeps their memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.argv.clear();
        self.big.clear();
    }

    /// Adds an argument; says whether there was room for it.
    pub fn push(&mut self, bytes: &[u8]) -> bool {
        let Ok(len) = u32::try_from(bytes.len()) else {
            return false;
        };
        let pos = if bytes.len() >= BIG_BULK {
            self.big.push(Bytes::copy_from_slice(bytes));
            BIG_MARK | (self.big.len() - 1) as u32
        } else {
            let pos = self.bytes.len() as u32;
            if pos >= BIG_MARK - BIG_BULK as u32 {
                return false;
            }
            self.bytes.extend_from_slice(bytes);
            pos
        };
        self.argv.push(ArgPos { pos, len });
        true
    }

    /// The arguments, as handlers take them.
    pub fn args(&self) -> Args<'_> {
        Args::new(&self.bytes, &self.argv, &self.big)
    }

    /// Memory that they take.
    pub fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
            + self.argv.capacity() * size_of::<ArgPos>()
            + self.big.iter().map(Bytes::len).sum::<usize>()
    }
}

/// Why a request cannot be understood. `Display` is the error line's text behind `ERR Protocol error: `.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    #[error("too big inline request")]
    InlineTooBig,
    #[error("unbalanced quotes in request")]
    UnbalancedQuotes,
    #[error("too big mbulk count string")]
    MultibulkLineTooBig,
    #[error("invalid multibulk length")]
    MultibulkLength,
    #[error("unauthenticated multibulk length")]
    MultibulkUnauthenticated,
    #[error("too big bulk count string")]
    BulkLineTooBig,
    #[error("expected '$', got '{}'", String::from_utf8_lossy(&[*.0]))]
    ExpectedDollar(u8),
    #[error("invalid bulk length")]
    BulkLength,
    #[error("unauthenticated bulk length")]
    BulkUnauthenticated,
}

impl ProtocolError {
    /// The same for the log, which has words of its own for some.
    pub fn in_log(&self) -> String {
        match self {
            ProtocolError::MultibulkLength => "invalid mbulk count".to_owned(),
            ProtocolError::MultibulkUnauthenticated => "unauth mbulk count".to_owned(),
            ProtocolError::BulkUnauthenticated => "unauth bulk length".to_owned(),
            ProtocolError::ExpectedDollar(_) => "expected $ but got something else".to_owned(),
            other => other.to_string(),
        }
    }
}

/// What a client may send at the moment.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    pub bulk_len_max: i64,
    pub authenticated: bool,
}

/// How far a call of [`Parser::parse`] came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// A whole command of this many bytes stands at the start of the buffer; its arguments were appended.
    /// It may have no arguments (an empty line, `*0`), and is then to be passed over.
    Command { len: usize },
    /// More bytes are needed.
    Incomplete,
}

/// The state of one client's request stream between reads.
#[derive(Default)]
pub struct Parser {
    /// Bytes of the current command that are parsed already.
    pos: usize,
    /// Arguments still to come, when inside a multi-bulk.
    args_left: i64,
    /// Length of the bulk whose body is awaited.
    bulk_len: Option<usize>,
    /// Arguments of the unfinished command.
    argv: Vec<ArgPos>,
    /// The unfinished command's big bulk that is being filled, and how far it is.
    filling: Option<(Vec<u8>, usize)>,
    /// The current command's finished big bulks.
    big: Vec<Bytes>,
}

impl Parser {
    /// How much of the current command's bytes is understood, and gathered.
    pub fn parsed_bytes(&self) -> usize {
        self.pos
    }

    /// Bytes of the arguments gathered so far for an unfinished command.
    pub fn pending_args_bytes(&self) -> usize {
        self.argv.iter().map(|at| at.len as usize).sum()
    }

    /// Memory that the unfinished command holds beside the query buffer.
    pub fn memory_bytes(&self) -> usize {
        self.argv.capacity() * size_of::<ArgPos>()
            + self.filling.as_ref().map_or(0, |(b, _)| b.capacity())
            + self.big.iter().map(|b| b.len()).sum::<usize>()
    }

    /// Space for the rest of a big bulk, which is to be filled before the query buffer.
    pub fn big_space(&mut self) -> Option<&mut [u8]> {
        let (body, filled) = self.filling.as_mut()?;
        // An idle client's body may have been cut to what is there.
        if let Some(len) = self.bulk_len
            && body.len() < len + LINE_END
        {
            body.resize(len + LINE_END, 0);
        }
        body.get_mut(*filled..).filter(|space| !space.is_empty())
    }

    /// Capacity of the big bulk that is being filled.
    pub fn big_capacity(&self) -> usize {
        self.filling.as_ref().map_or(0, |(body, _)| body.capacity())
    }

    /// Bytes of the big bulk that have arrived.
    pub fn big_len(&self) -> usize {
        self.filling.as_ref().map_or(0, |(_, filled)| *filled)
    }

    /// The bytes of the big bulk that have arrived, while one is being filled.
    pub fn big_body(&self) -> Option<&[u8]> {
        let (body, filled) = self.filling.as_ref()?;
        body.get(..*filled)
    }

    /// Gives back the memory that a big bulk has not filled yet; it comes again with the next bytes.
    pub fn trim(&mut self) {
        if let Some((body, filled)) = self.filling.as_mut() {
            body.truncate(*filled);
            body.shrink_to_fit();
        }
    }

    /// `len` bytes were put into [`Parser::big_space`].
    pub fn big_filled(&mut self, len: usize) {
        if let Some((body, filled)) = self.filling.as_mut() {
            *filled = (*filled + len).min(body.len());
        }
    }

    /// Takes the big bulks of the command that was parsed last.
    pub fn take_big(&mut self) -> Vec<Bytes> {
        std::mem::take(&mut self.big)
    }

    /// Whether the command that was parsed last has big bulks.
    pub fn has_big(&self) -> bool {
        !self.big.is_empty()
    }

    /// Parses one command from `buf`, which starts with the first byte of that command. Its arguments are
    /// appended to `argv`. On [`Parsed::Incomplete`] call again with the same bytes and more behind them;
    /// bytes that went into a big bulk are no longer in `buf` (`consumed` says how many were moved out of it).
    pub fn parse(
        &mut self,
        buf: &mut QueryView<'_>,
        argv: &mut Vec<ArgPos>,
        limits: Limits,
    ) -> Result<Parsed, ProtocolError> {
        if self.args_left == 0 && self.pos == 0 {
            match buf.bytes().first() {
                None => return Ok(Parsed::Incomplete),
                Some(b'*') => {}
                Some(_) => return self.parse_inline(buf.bytes(), argv),
            }
        }
        self.parse_multibulk(buf, argv, limits)
    }

    fn parse_inline(
        &mut self,
        buf: &[u8],
        argv: &mut Vec<ArgPos>,
    ) -> Result<Parsed, ProtocolError> {
        // The real server searches a C string: behind a NUL it sees no line end, and waits for one in vain.
        let end = memchr::memchr2(b'\n', 0, buf).filter(|at| buf[*at] == b'\n');
        let Some(newline) = end else {
            if buf.len() > INLINE_MAX {
                return Err(ProtocolError::InlineTooBig);
            }
            return Ok(Parsed::Incomplete);
        };
        let mut line = &buf[..newline];
        if let [head @ .., b'\r'] = line {
            line = head;
        }
        let words = split_inline(line).ok_or(ProtocolError::UnbalancedQuotes)?;
        for word in words {
            match word {
                Word::Plain { pos, len } => argv.push(ArgPos {
                    pos: pos as u32,
                    len: len as u32,
                }),
                // A word that escapes changed has no place in the buffer, so it gets one of its own.
                Word::Unescaped(bytes) => {
                    argv.push(ArgPos {
                        pos: BIG_MARK | self.big.len() as u32,
                        len: bytes.len() as u32,
                    });
                    self.big.push(Bytes::from(bytes));
                }
            }
        }
        Ok(Parsed::Command { len: newline + 1 })
    }

    fn parse_multibulk(
        &mut self,
        view: &mut QueryView<'_>,
        argv: &mut Vec<ArgPos>,
        limits: Limits,
    ) -> Result<Parsed, ProtocolError> {
        let direct = self.argv.is_empty();
        let base = argv.len();
        if self.args_left == 0 {
            let buf = view.bytes();
            let (count, next) = if let [b'*', d @ b'1'..=b'9', b'\r', _, ..] = buf {
                (i64::from(d - b'0'), 4)
            } else {
                let Some((line_end, next)) = find_line(buf, 1) else {
                    if buf.len() > INLINE_MAX {
                        return Err(ProtocolError::MultibulkLineTooBig);
                    }
                    return Ok(Parsed::Incomplete);
                };
                let count = parse_len(&buf[1..line_end])
                    .filter(|n| *n <= MULTIBULK_MAX)
                    .ok_or(ProtocolError::MultibulkLength)?;
                (count, next)
            };
            if count > MULTIBULK_MAX_UNAUTHENTICATED && !limits.authenticated {
                return Err(ProtocolError::MultibulkUnauthenticated);
            }
            if count <= 0 {
                return Ok(Parsed::Command { len: next });
            }
            self.pos = next;
            self.args_left = count;
        }

        // The common case is a whole command in the buffer: its arguments go straight to the caller's list.
        // Only one that is cut off is kept in `self.argv` until the rest arrives.
        loop {
            if self.args_left == 0 {
                if !direct {
                    argv.append(&mut self.argv);
                    self.argv = Vec::new(); // commands that come in pieces are few, and some are huge
                }
                let len = self.pos;
                self.pos = 0;
                return Ok(Parsed::Command { len });
            }
            let step = self.parse_bulk(view, limits);
            match step {
                Ok(Some(at)) => {
                    self.args_left -= 1;
                    if direct {
                        argv.push(at)
                    } else {
                        self.argv.push(at)
                    }
                }
                Ok(None) => {
                    if direct {
                        self.argv.extend_from_slice(&argv[base..]);
                        argv.truncate(base);
                    }
                    return Ok(Parsed::Incomplete);
                }
                Err(error) => {
                    argv.truncate(base);
                    return Err(error);
                }
            }
        }
    }

    #[inline]
    fn parse_bulk(
        &mut self,
        view: &mut QueryView<'_>,
        limits: Limits,
    ) -> Result<Option<ArgPos>, ProtocolError> {
        let len = match self.bulk_len {
            Some(len) => len,
            None => {
                let buf = view.bytes();
                let Some(&first) = buf.get(self.pos) else {
                    return Ok(None);
                };
                if let Some((len, body)) = short_bulk(buf, self.pos) {
                    let next = body + len + 2;
                    if next > buf.len() {
                        return Ok(None);
                    }
                    self.pos = next;
                    return Ok(Some(ArgPos {
                        pos: body as u32,
                        len: len as u32,
                    }));
                }
                let Some((line_end, next)) = find_line(buf, self.pos) else {
                    if buf.len() - self.pos > INLINE_MAX {
                        return Err(ProtocolError::BulkLineTooBig);
                    }
                    return Ok(None);
                };
                if first != b'$' {
                    return Err(ProtocolError::ExpectedDollar(first));
                }
                let len = parse_len(&buf[self.pos + 1..line_end])
                    .filter(|n| *n >= 0 && *n <= limits.bulk_len_max)
                    .ok_or(ProtocolError::BulkLength)?;
                if len > BULK_MAX_UNAUTHENTICATED && !limits.authenticated {
                    return Err(ProtocolError::BulkUnauthenticated);
                }
                self.pos = next;
                let len = len as usize;
                if len >= BIG_BULK && !has_whole_bulk(buf, next, len) {
                    // The line end behind it is read along, so that it costs no read of its own.
                    let mut body = vec![0; len + LINE_END];
                    let there = view.take(next, len + LINE_END);
                    body[..there.len()].copy_from_slice(there);
                    self.filling = Some((body, there.len()));
                    view.drop_taken(next);
                }
                self.bulk_len = Some(len);
                len
            }
        };
        if let Some((mut body, filled)) = self.filling.take() {
            if filled < len + LINE_END {
                self.filling = Some((body, filled));
                return Ok(None);
            }
            self.bulk_len = None;
            body.truncate(len);
            let at = ArgPos {
                pos: BIG_MARK | self.big.len() as u32,
                len: len as u32,
            };
            self.big.push(Bytes::from(body));
            return Ok(Some(at));
        }
        if view.bytes().len() < self.pos + len + 2 {
            return Ok(None);
        }
        let at = ArgPos {
            pos: self.pos as u32,
            len: len as u32,
        };
        self.pos += len + 2;
        self.bulk_len = None;
        Ok(Some(at))
    }
}

/// The unparsed part of a query buffer, from which a big bulk's first bytes can be moved out.
pub struct QueryView<'a> {
    buf: &'a mut Vec<u8>,
    start: usize,
    end: usize,
    taken: usize,
}

impl<'a> QueryView<'a> {
    /// The bytes `start..end` of `buf`.
    pub fn new(buf: &'a mut Vec<u8>, start: usize, end: usize) -> QueryView<'a> {
        QueryView {
            buf,
            start,
            end,
            taken: 0,
        }
    }

    /// What is left after parsing: the end of the valid bytes.
    pub fn end(&self) -> usize {
        self.end
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        self.buf.get(self.start..self.end).unwrap_or(&[])
    }

    /// Up to `len` bytes from `pos` on, which the caller copies and then drops.
    fn take(&mut self, pos: usize, len: usize) -> &[u8] {
        let from = self.start + pos;
        let to = self.end.min(from + len);
        self.taken = to - from;
        &self.buf[from..to]
    }

    /// Closes the gap that [`QueryView::take`] left at `pos`.
    fn drop_taken(&mut self, pos: usize) {
        let from = self.start + pos;
        self.buf.copy_within(from + self.taken..self.end, from);
        self.end -= self.taken;
        self.taken = 0;
    }
}

/// The length and place of a bulk of at most 99 bytes whose header stands at `pos` in its plainest form.
#[inline]
fn short_bulk(buf: &[u8], pos: usize) -> Option<(usize, usize)> {
    match *buf.get(pos..pos + 5)? {
        [b'$', d @ b'0'..=b'9', b'\r', _, _] => Some((usize::from(d - b'0'), pos + 4)),
        [b'$', t @ b'1'..=b'9', d @ b'0'..=b'9', b'\r', _] => {
            Some((usize::from(t - b'0') * 10 + usize::from(d - b'0'), pos + 5))
        }
        _ => None,
    }
}

/// Whether `len` bytes and a line end stand at `pos` already, so that copying them out gains nothing.
fn has_whole_bulk(buf: &[u8], pos: usize, len: usize) -> bool {
    buf.len() >= pos + len + 2
}

/// The end of the line that starts at `pos` (its `\r`), and where the next one begins. The real server looks
/// for `\r` alone and takes the byte behind it for granted, so it must have arrived.
#[inline]
fn find_line(buf: &[u8], pos: usize) -> Option<(usize, usize)> {
    let rest = buf.get(pos..)?;
    // Header lines are a few bytes long: a plain loop beats a vector search.
    let near = rest.len().min(16);
    let found = match rest[..near].iter().position(|b| *b == b'\r') {
        Some(at) => at,
        None => near + memchr::memchr(b'\r', &rest[near..])?,
    };
    let end = pos + found;
    (end + 2 <= buf.len()).then_some((end, end + 2))
}

/// A decimal integer as lengths are written: an optional minus, no leading zeros, nothing else.
#[inline]
fn parse_len(text: &[u8]) -> Option<i64> {
    if let [d @ b'0'..=b'9'] = text {
        return Some(i64::from(d - b'0'));
    }
    if let [a @ b'1'..=b'9', b @ b'0'..=b'9'] = text {
        return Some(i64::from(a - b'0') * 10 + i64::from(b - b'0'));
    }
    parse_i64(text)
}

/// One word of an inline command.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Plain { pos: usize, len: usize },
    Unescaped(Vec<u8>),
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// Splits a line into words; `None` when a quote is not closed, or is followed by anything but a space.
fn split_inline(line: &[u8]) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut pos = 0;
    while let Some(byte) = line.get(pos) {
        if is_space(*byte) {
            pos += 1;
            continue;
        }
        let (word, next) = next_word(line, pos)?;
        words.push(word);
        pos = next;
    }
    Some(words)
}

/// What ends a word without quotes: not all of what is skipped between words.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn next_word(line: &[u8], start: usize) -> Option<(Word, usize)> {
    let plain_end = line[start..]
        .iter()
        .position(|b| ends_word(*b) || matches!(b, b'"' | b'\'' | 0))
        .map_or(line.len(), |n| start + n);
    if plain_end == line.len() || ends_word(line[plain_end]) {
        let word = Word::Plain {
            pos: start,
            len: plain_end - start,
        };
        return Some((word, plain_end));
    }
    let mut word = line[start..plain_end].to_vec();
    let mut pos = plain_end;
    while let Some(&byte) = line.get(pos) {
        match byte {
            b'"' => pos = double_quoted(line, pos + 1, &mut word)?,
            b'\'' => pos = single_quoted(line, pos + 1, &mut word)?,
            // The real server's splitter works on a C string: a NUL ends the line.
            0 => return Some((Word::Unescaped(word), line.len())),
            b if ends_word(b) => break,
            b => {
                word.push(b);
                pos += 1;
                continue;
            }
        }
        if line.get(pos).is_some_and(|b| !is_space(*b)) {
            return None;
        }
        break;
    }
    Some((Word::Unescaped(word), pos))
}

/// Reads up to the closing double quote; returns the position behind it.
fn double_quoted(line: &[u8], mut pos: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line.get(pos..)? {
            [b'\\', b'x', high, low, ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                word.push(hex_digit(*high) << 4 | hex_digit(*low));
                pos += 4;
            }
            [b'\\', escaped, ..] => {
                word.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                pos += 2;
            }
            [b'"', ..] => return Some(pos + 1),
            [byte, ..] => {
                word.push(*byte);
                pos += 1;
            }
            [] => return None,
        }
    }
}

/// Reads up to the closing single quote; returns the position behind it.
fn single_quoted(line: &[u8], mut pos: usize, word: &mut Vec<u8>) -> Option<usize> {
    loop {
        match line.get(pos..)? {
            [b'\\', b'\'', ..] => {
                word.push(b'\'');
                pos += 2;
            }
            [b'\'', ..] => return Some(pos + 1),
            [byte, ..] => {
                word.push(*byte);
                pos += 1;
            }
            [] => return None,
        }
    }
}

fn hex_digit(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        _ => digit.wrapping_sub(b'A').wrapping_add(10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits {
        bulk_len_max: 512 << 20,
        authenticated: true,
    };

    /// Feeds `input` in pieces of `step` bytes; returns the commands, or the error behind them.
    fn run(input: &[u8], step: usize) -> (Vec<Vec<Vec<u8>>>, Option<ProtocolError>) {
        let (mut parser, mut buf, mut end) = (Parser::default(), Vec::new(), 0);
        let mut commands = Vec::new();
        let mut rest = input;
        while !rest.is_empty() {
            let n = step.min(rest.len());
            let n = match parser.big_space() {
                Some(space) => {
                    let n = n.min(space.len());
                    space[..n].copy_from_slice(&rest[..n]);
                    parser.big_filled(n);
                    n
                }
                None => {
                    buf.truncate(end);
                    buf.extend_from_slice(&rest[..n]);
                    end += n;
                    n
                }
            };
            rest = &rest[n..];
            loop {
                let mut argv = Vec::new();
                let mut view = QueryView::new(&mut buf, 0, end);
                let parsed = parser.parse(&mut view, &mut argv, LIMITS);
                end = view.end();
                match parsed {
                    Ok(Parsed::Command { len }) => {
                        let big = parser.take_big();
                        let args = Args::new(&buf, &argv, &big);
                        if !args.is_empty() {
                            commands.push(args.iter_from(0).map(<[u8]>::to_vec).collect());
                        }
                        buf.drain(..len);
                        end -= len;
                    }
                    Ok(Parsed::Incomplete) => break,
                    Err(error) => return (commands, Some(error)),
                }
            }
        }
        (commands, None)
    }

    fn words(line: &str) -> Vec<Vec<Vec<u8>>> {
        run(line.as_bytes(), 1000).0
    }

    #[test]
    fn a_command_is_the_same_however_it_is_cut() {
        let mut input = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$40000\r\n".to_vec();
        input.extend(vec![b'x'; 40000]);
        input.extend(b"\r\n*1\r\n$4\r\nPING\r\n  \r\nGET  \"a b\"\r\n*0\r\n*-1\r\n");
        let whole = run(&input, input.len());
        assert_eq!(whole.0.len(), 3);
        assert_eq!(whole.0[0][2].len(), 40000);
        for step in [1, 2, 3, 7, 16, 1000, 39999, 40010] {
            assert_eq!(run(&input, step), whole, "step {step}");
        }
    }

    #[test]
    fn inline_words_are_split_as_a_shell_would() {
        let one = |w: &[&str]| vec![w.iter().map(|s| s.as_bytes().to_vec()).collect::<Vec<_>>()];
        assert_eq!(words("set k \"a\\x41\\n\"\r\n"), one(&["set", "k", "aA\n"]));
        assert_eq!(words("set k 'it\\'s'\n"), one(&["set", "k", "it's"]));
        assert_eq!(words("a\"b\" c\r\n"), one(&["ab", "c"]));
        assert_eq!(
            run(b"a \"b\r\n", 99).1,
            Some(ProtocolError::UnbalancedQuotes)
        );
        assert_eq!(
            run(b"a \"b\"c\r\n", 99).1,
            Some(ProtocolError::UnbalancedQuotes)
        );
    }

    #[test]
    fn limits_are_named() {
        let fail = |input: &[u8]| run(input, 1 << 20).1;
        assert_eq!(
            fail(b"*3\r\n+x\r\n"),
            Some(ProtocolError::ExpectedDollar(b'+'))
        );
        assert_eq!(fail(b"*x\r\n"), Some(ProtocolError::MultibulkLength));
        assert_eq!(fail(b"*1\r\n$-1\r\n"), Some(ProtocolError::BulkLength));
        assert_eq!(
            fail(b"*1\r\n$600000000\r\n"),
            Some(ProtocolError::BulkLength)
        );
        assert_eq!(fail(&vec![b'a'; 70000]), Some(ProtocolError::InlineTooBig));
        let mut long = b"*".to_vec();
        long.extend(vec![b'1'; 70000]);
        assert_eq!(fail(&long), Some(ProtocolError::MultibulkLineTooBig));
    }

    #[test]
    fn only_canonical_integers_parse() {
        for (text, want) in [
            ("-7", Some(-7)),
            ("07", None),
            ("+7", None),
            ("", None),
            ("-", None),
            ("-0", None),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-9223372036854775808", Some(i64::MIN)),
            ("-9223372036854775809", None),
        ] {
            assert_eq!(parse_i64(text.as_bytes()), want, "{text:?}");
        }
    }
}
