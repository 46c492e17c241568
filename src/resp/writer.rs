//! Reply writer: RESP2 and RESP3, straight into the client's output buffer.
//!
//! Small data is appended to one growing buffer; a large value is not copied but remembered with the position
//! at which it belongs. Protocol: <https://redis.io/docs/latest/develop/reference/protocol-spec/>.
//! Lives here: encoding and the output buffer. May not: commands, limits on the buffer, sockets.

use std::fmt::{Display, Write as _};
use std::io::IoSlice;

use bytes::Bytes;

use crate::types::grisu;

/// From this size on a value is shared with the output instead of copied into it.
pub const SHARE_MIN: usize = 16 * 1024;

/// Marks the place of an aggregate whose length is not known yet.
#[must_use = "the length has to be filled in"]
#[derive(Debug)]
pub struct Deferred {
    pos: usize,
    shared: usize,
}

/// One client's pending output, and the writer of replies into it.
pub struct Reply {
    buf: Vec<u8>,
    /// Large values and the position in `buf` before which each belongs.
    shared: Vec<(usize, Bytes)>,
    shared_bytes: usize,
    /// How much of the whole output the socket has taken.
    sent: usize,
    resp3: bool,
    muted: bool,
    /// Beyond this length of `buf` replies vanish, because more is pending than may be.
    buf_len_max: usize,
    is_cut: bool,
}

impl Default for Reply {
    fn default() -> Reply {
        Reply {
            buf: Vec::new(),
            shared: Vec::new(),
            shared_bytes: 0,
            sent: 0,
            resp3: false,
            muted: false,
            buf_len_max: usize::MAX,
            is_cut: false,
        }
    }
}

impl Reply {
    /// Speaks RESP3 from now on, or RESP2.
    pub fn set_resp3(&mut self, on: bool) {
        self.resp3 = on;
    }

    /// Whether RESP3 is spoken.
    #[inline]
    pub fn is_resp3(&self) -> bool {
        self.resp3
    }

    /// While muted, replies vanish (CLIENT REPLY).
    pub fn set_muted(&mut self, muted: bool) {
        self.muted = muted;
    }

    /// Whether replies vanish at the moment.
    pub fn is_muted(&self) -> bool {
        self.muted
    }

    /// Replies vanish from where on more than `pending_max` bytes are pending, until this is set again.
    #[inline]
    pub fn set_pending_max(&mut self, pending_max: usize) {
        self.buf_len_max = pending_max
            .saturating_add(self.sent)
            .saturating_sub(self.shared_bytes);
    }

    /// Whether a part of a reply has vanished, so that the connection has to end: a loop that replies may as well.
    #[inline]
    pub fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether what is to be written vanishes.
    #[inline]
    fn drops(&mut self) -> bool {
        (self.muted || self.buf.len() > self.buf_len_max) && self.drop_one()
    }

    #[cold]
    fn drop_one(&mut self) -> bool {
        self.is_cut |= !self.muted;
        true
    }

    /// A status line; `text` holds no line end.
    #[inline]
    pub fn simple(&mut self, text: &str) {
        self.raw(b"+");
        self.raw(text.as_bytes());
        self.raw(b"\r\n");
    }

    /// `+OK`.
    #[inline]
    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }

    /// An error line. Line ends in the text become spaces, since they would end the reply.
    pub fn error(&mut self, error: &dyn Display) {
        if self.drops() {
            return;
        }
        let start = self.buf.len();
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = write!(text, "{error}");
        self.buf.push(b'-');
        self.buf
            .extend_from_slice(text.trim_end_matches(['\r', '\n']).as_bytes());
        for byte in &mut self.buf[start..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.buf.extend_from_slice(b"\r\n");
    }

    /// An error line given as bytes, which need not be text.
    pub fn error_bytes(&mut self, text: &[u8]) {
        if self.drops() {
            return;
        }
        self.buf.push(b'-');
        self.buf.extend(
            text.iter()
                .map(|b| if matches!(b, b'\r' | b'\n') { b' ' } else { *b }),
        );
        self.buf.extend_from_slice(b"\r\n");
    }

    /// An integer.
    #[inline]
    pub fn int(&mut self, value: i64) {
        if self.drops() {
            return;
        }
        if let 0..=9 = value {
            self.buf
                .extend_from_slice(&[b':', b'0' + value as u8, b'\r', b'\n']);
            return;
        }
        self.header(b':', value);
    }

    /// A count of things.
    #[inline]
    pub fn len(&mut self, value: usize) {
        self.int(i64::try_from(value).unwrap_or(i64::MAX));
    }

    /// A bulk string, copied.
    #[inline]
    pub fn bulk(&mut self, bytes: &[u8]) {
        if self.drops() {
            return;
        }
        let len = bytes.len();
        if len < 10 {
            self.buf.reserve(len + 6);
            self.buf
                .extend_from_slice(&[b'$', b'0' + len as u8, b'\r', b'\n']);
        } else {
            self.buf.reserve(len + 24);
            self.header(b'$', len as i64);
        }
        self.buf.extend_from_slice(bytes);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// A bulk string whose buffer is shared when that is worth it.
    pub fn bulk_shared(&mut self, bytes: Bytes) {
        if self.drops() {
            return;
        }
        if bytes.len() < SHARE_MIN {
            return self.bulk(&bytes);
        }
        self.header(b'$', bytes.len() as i64);
        self.shared_bytes += bytes.len();
        self.buf_len_max = self.buf_len_max.saturating_sub(bytes.len());
        self.shared.push((self.buf.len(), bytes));
        self.buf.extend_from_slice(b"\r\n");
    }

    /// A bulk string made from text.
    pub fn text(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }

    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, value: i64) {
        self.bulk(itoa::Buffer::new().format(value).as_bytes());
    }

    /// The null reply: a null bulk in RESP2.
    #[inline]
    pub fn null(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The null reply where RESP2 has a null array.
    pub fn null_array(&mut self) {
        self.raw(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// Begins an array of `len` elements.
    #[inline]
    pub fn array(&mut self, len: usize) {
        self.aggregate(b'*', len);
    }

    /// Begins a map of `pairs`; in RESP2 an array of twice as many elements.
    pub fn map(&mut self, pairs: usize) {
        if self.resp3 {
            self.aggregate(b'%', pairs);
        } else {
            self.aggregate(b'*', pairs * 2);
        }
    }

    /// Begins a set; in RESP2 an array.
    pub fn set(&mut self, len: usize) {
        self.aggregate(if self.resp3 { b'~' } else { b'*' }, len);
    }

    /// Begins an out-of-band message; in RESP2 an array.
    pub fn push(&mut self, len: usize) {
        self.aggregate(if self.resp3 { b'>' } else { b'*' }, len);
    }

    /// A double; in RESP2 a bulk string.
    #[inline]
    pub fn double(&mut self, value: f64) {
        if let Some(whole) = as_whole(value)
            && !self.drops()
        {
            return if self.resp3 {
                self.header(b',', whole);
            } else {
                self.bulk_int(whole);
            };
        }
        let text = format_double(value);
        if self.resp3 {
            self.raw(b",");
            self.raw(text.as_bytes());
            self.raw(b"\r\n");
        } else {
            self.text(&text);
        }
    }

    /// A boolean; in RESP2 an integer.
    pub fn boolean(&mut self, value: bool) {
        match (self.resp3, value) {
            (true, true) => self.raw(b"#t\r\n"),
            (true, false) => self.raw(b"#f\r\n"),
            (false, _) => self.int(i64::from(value)),
        }
    }

    /// A number of any size in decimal digits; in RESP2 a bulk string.
    pub fn big_number(&mut self, digits: &str) {
        if self.resp3 {
            self.raw(b"(");
            self.raw(digits.as_bytes());
            self.raw(b"\r\n");
        } else {
            self.text(digits);
        }
    }

    /// Text with a three letter format (`txt`, `mkd`); in RESP2 a bulk string.
    pub fn verbatim(&mut self, format: &str, text: &[u8]) {
        if !self.resp3 {
            return self.bulk(text);
        }
        self.header_unless_muted(b'=', (text.len() + 4) as i64);
        self.raw(format.as_bytes());
        self.raw(b":");
        self.raw(text);
        self.raw(b"\r\n");
    }

    /// Begins an attribute of `pairs` (RESP3 only).
    pub fn attribute(&mut self, pairs: usize) {
        self.aggregate(b'|', pairs);
    }

    /// Begins an array whose length is given later by [`Reply::array_end`].
    pub fn array_begin(&mut self) -> Deferred {
        Deferred {
            pos: self.buf.len(),
            shared: self.shared.len(),
        }
    }

    /// Ends an array begun with [`Reply::array_begin`].
    pub fn array_end(&mut self, at: Deferred, len: usize) {
        self.aggregate_end(at, b'*', len);
    }

    /// Ends a map begun with [`Reply::array_begin`].
    pub fn map_end(&mut self, at: Deferred, pairs: usize) {
        if self.resp3 {
            self.aggregate_end(at, b'%', pairs);
        } else {
            self.aggregate_end(at, b'*', pairs * 2);
        }
    }

    /// Ends a set begun with [`Reply::array_begin`].
    pub fn set_end(&mut self, at: Deferred, len: usize) {
        let mark = if self.resp3 { b'~' } else { b'*' };
        self.aggregate_end(at, mark, len);
    }

    fn aggregate_end(&mut self, at: Deferred, mark: u8, len: usize) {
        if self.drops() {
            return;
        }
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(len).as_bytes();
        let head = [mark]
            .into_iter()
            .chain(digits.iter().copied())
            .chain(*b"\r\n");
        self.buf.splice(at.pos..at.pos, head);
        for (pos, _) in &mut self.shared[at.shared..] {
            *pos += digits.len() + 3;
        }
    }

    /// Takes back everything written since `mark` (from [`Reply::array_begin`]).
    pub fn rewind(&mut self, mark: &Deferred) {
        self.buf.truncate(mark.pos);
        for (_, bytes) in self.shared.drain(mark.shared..) {
            self.shared_bytes -= bytes.len();
        }
    }

    /// Bytes that are in the protocol's form already.
    #[inline]
    pub fn raw(&mut self, bytes: &[u8]) {
        if !self.drops() {
            self.buf.extend_from_slice(bytes);
        }
    }

    /// A message in the protocol's form, muted or not; a large one is shared.
    pub fn push_bytes(&mut self, bytes: &Bytes) {
        if bytes.len() < SHARE_MIN {
            self.buf.extend_from_slice(bytes);
        } else {
            self.shared_bytes += bytes.len();
            self.shared.push((self.buf.len(), bytes.clone()));
        }
    }

    /// All that was written, none of which has been sent, in one piece.
    pub fn into_bytes(self) -> Bytes {
        if self.shared.is_empty() {
            return self.buf.into();
        }
        self.to_vec().into()
    }

    /// A copy of what is pending, in one piece.
    pub fn to_vec(&self) -> Vec<u8> {
        let mut slices = Vec::new();
        self.slices(&mut slices, usize::MAX);
        let pieces = slices.iter().flat_map(|piece| piece.iter().copied());
        pieces.collect()
    }

    #[inline]
    fn aggregate(&mut self, mark: u8, len: usize) {
        self.header_unless_muted(mark, i64::try_from(len).unwrap_or(i64::MAX));
    }

    fn header_unless_muted(&mut self, mark: u8, value: i64) {
        if !self.drops() {
            self.header(mark, value);
        }
    }

    #[inline]
    fn header(&mut self, mark: u8, value: i64) {
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(value).as_bytes();
        self.buf.reserve(digits.len() + 3);
        self.buf.push(mark);
        self.buf.extend_from_slice(digits);
        self.buf.extend_from_slice(b"\r\n");
    }

    /// Bytes that wait for the socket.
    #[inline]
    pub fn pending(&self) -> usize {
        self.buf.len() + self.shared_bytes - self.sent
    }

    /// All bytes written since the buffer was last empty, sent or not: a position to compare replies by.
    pub fn written(&self) -> usize {
        self.buf.len() + self.shared_bytes
    }

    /// Memory that the buffer holds beside shared values.
    pub fn capacity(&self) -> usize {
        self.buf.capacity()
    }

    /// How many shared values wait.
    pub fn shared_count(&self) -> usize {
        self.shared.len()
    }

    /// Bytes of shared values that wait.
    pub fn shared_len(&self) -> usize {
        self.shared_bytes
    }

    /// Gives the buffer's memory back when nothing is pending.
    pub fn shrink(&mut self, capacity: usize) {
        if self.pending() == 0 {
            self.buf.shrink_to(capacity);
        }
    }

    /// Forgets what is pending.
    pub fn discard(&mut self) {
        self.buf.clear();
        self.shared.clear();
        self.shared_bytes = 0;
        self.sent = 0;
    }

    /// The pending bytes when they lie in one piece.
    #[inline]
    pub fn single_slice(&self) -> Option<&[u8]> {
        self.shared.is_empty().then(|| &self.buf[self.sent..])
    }

    /// Appends the pending bytes to `slices`, at most `max` pieces.
    pub fn slices<'a>(&'a self, slices: &mut Vec<IoSlice<'a>>, max: usize) {
        let mut skip = self.sent;
        let mut from = 0;
        let tail = (self.buf.len(), None);
        let parts = self.shared.iter().map(|(pos, bytes)| (*pos, Some(bytes)));
        for (pos, bytes) in parts.chain([tail]) {
            let both = [&self.buf[from..pos], bytes.map_or(&[], |b| &b[..])];
            from = pos;
            for piece in both {
                let cut = skip.min(piece.len());
                skip -= cut;
                if cut < piece.len() && slices.len() < max {
                    slices.push(IoSlice::new(&piece[cut..]));
                }
            }
        }
    }

    /// The socket took `len` of the pending bytes.
    #[inline]
    pub fn advance(&mut self, len: usize) {
        self.sent += len;
        if self.sent >= self.buf.len() + self.shared_bytes {
            self.buf.clear();
            self.shared.clear();
            self.shared_bytes = 0;
            self.sent = 0;
            self.buf_len_max = usize::MAX; // it is for the run in which it was set
        } else if self.shared.is_empty() && self.sent > 64 * 1024 && self.sent > self.buf.len() / 2
        {
            self.buf.drain(..self.sent);
            self.sent = 0;
        } else if !self.shared.is_empty() {
            self.drop_sent_values();
        }
    }

    /// Lets go of shared values that are sent whole, so that their memory does not wait for the rest.
    fn drop_sent_values(&mut self) {
        let (mut gone, mut end_of_gone, mut total) = (0, 0, 0);
        for (pos, bytes) in &self.shared {
            if pos + total + bytes.len() > self.sent {
                break;
            }
            total += bytes.len();
            end_of_gone = *pos;
            gone += 1;
        }
        if gone == 0 || (gone < 64 && gone < self.shared.len()) {
            return;
        }
        self.shared.drain(..gone);
        self.shared_bytes -= total;
        self.buf.drain(..end_of_gone);
        self.sent -= total + end_of_gone;
        for (pos, _) in &mut self.shared {
            *pos -= end_of_gone;
        }
    }
}

/// Doubles that are printed in full, as integers: whole ones up to 2^62, but not minus zero.
#[inline]
fn as_whole(value: f64) -> Option<i64> {
    const WHOLE_MAX: f64 = (1u64 << 62) as f64;
    let whole = value as i64;
    let is_whole = whole as f64 == value && value.abs() <= WHOLE_MAX;
    (is_whole && (whole != 0 || value.is_sign_positive())).then_some(whole)
}

/// A double as replies show it: few digits that read back the same, `inf`, `-inf`, `nan`.
pub fn format_double(value: f64) -> String {
    match as_whole(value) {
        Some(whole) => itoa::Buffer::new().format(whole).to_owned(),
        None => format_digits(value),
    }
}

/// The same without the exception that integers make: those with many zeros get an exponent.
pub fn format_digits(value: f64) -> String {
    if value.is_nan() {
        return "nan".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.into();
    }
    if value == 0.0 {
        return if value.is_sign_negative() { "-0" } else { "0" }.into();
    }
    let sign = if value < 0.0 { "-" } else { "" };
    let (digits, len, scale) = grisu::digits(value.abs());
    place_digits(
        sign,
        std::str::from_utf8(&digits[..len]).unwrap_or("0"),
        scale,
    )
}

/// Puts digits, which are to be multiplied by ten to the `scale`, into the layout that the real server's printer
/// chooses: plain as long as few zeros or few digits before the point are needed, with an exponent otherwise.
fn place_digits(sign: &str, digits: &str, scale: i32) -> String {
    let count = digits.len() as i32;
    let point = count + scale;
    let magnitude = (point - 1).abs();

    let mut out = String::from(sign);
    if scale >= 0 && magnitude < count + 7 {
        out.push_str(digits);
        out.extend(std::iter::repeat_n('0', scale as usize));
    } else if scale < 0 && (scale > -7 || magnitude < 4) {
        if point <= 0 {
            out.push_str("0.");
            out.extend(std::iter::repeat_n('0', -point as usize));
            out.push_str(digits);
        } else {
            let (before, behind) = digits.split_at(point as usize);
            let _ = write!(out, "{before}.{behind}");
        }
    } else {
        let (first, more) = digits.split_at(1);
        let dot = if more.is_empty() { "" } else { "." };
        let exponent_sign = if point < 1 { '-' } else { '+' };
        let _ = write!(out, "{first}{dot}{more}e{exponent_sign}{magnitude}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(f: impl FnOnce(&mut Reply)) -> String {
        let mut reply = Reply::default();
        f(&mut reply);
        String::from_utf8_lossy(&gather(&reply)).into_owned()
    }

    fn gather(reply: &Reply) -> Vec<u8> {
        let mut slices = Vec::new();
        reply.slices(&mut slices, 1000);
        slices.iter().flat_map(|s| s.to_vec()).collect()
    }

    #[test]
    fn replies_have_the_wire_form() {
        assert_eq!(written(|r| r.bulk(b"abc")), "$3\r\nabc\r\n");
        assert_eq!(written(|r| r.bulk(b"0123456789")), "$10\r\n0123456789\r\n");
        assert_eq!(written(|r| r.int(-12)), ":-12\r\n");
        assert_eq!(written(|r| r.error(&"ERR a\r\nb")), "-ERR a  b\r\n");
        assert_eq!(written(|r| r.map(2)), "*4\r\n");
        let deferred = written(|r| {
            r.ok();
            let at = r.array_begin();
            r.int(1);
            r.int(2);
            r.array_end(at, 2);
        });
        assert_eq!(deferred, "+OK\r\n*2\r\n:1\r\n:2\r\n");
    }

    #[test]
    fn shared_values_keep_their_place_however_they_are_taken() {
        let big = Bytes::from(vec![b'x'; SHARE_MIN]);
        let mut reply = Reply::default();
        for _ in 0..3 {
            reply.int(5);
            reply.bulk_shared(big.clone());
        }
        let whole = gather(&reply);
        assert_eq!(whole.len(), reply.pending());
        for step in [1000, 4099, 16390, 20000] {
            let mut reply = Reply::default();
            for _ in 0..3 {
                reply.int(5);
                reply.bulk_shared(big.clone());
            }
            let mut got = Vec::new();
            while reply.pending() > 0 {
                let next = gather(&reply);
                let n = step.min(next.len());
                got.extend_from_slice(&next[..n]);
                reply.advance(n);
            }
            assert_eq!(got, whole, "step {step}");
        }
    }

    #[test]
    fn doubles_print_as_the_real_server_prints_them() {
        for (value, text) in [
            (0.1, "0.1"),
            (3.0, "3"),
            (-0.0, "-0"),
            (1e20, "1e+20"),
            (1e18, "1000000000000000000"),
            (4611686018427387904.0, "4611686018427387904"),
            (5e18, "5e+18"),
            (1e-6, "0.000001"),
            (12345.67890123456, "1.234567890123456e+4"),
            (1.5e300, "1.5e+300"),
            (1e-7, "1e-7"),
            (123456.789, "123456.789"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(format_double(value), text);
        }
    }
}
