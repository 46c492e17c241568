//! Monitors: clients that see every command that runs.

use std::fmt::Write as _;

use crate::resp::Reply;
use crate::state::client::{Client, ClientFlags};
use crate::state::push::Message;
use crate::state::{ConnId, Server};

/// Who runs a command.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    Client(&'a Client),
    /// A script, which has no address.
    Script,
}

impl Server {
    /// Shows a command that has run to those who watch. `dbid` is the database it leaves the client in, `argv` has no
    /// secrets in it any more.
    pub fn feed_monitors<'a>(
        &mut self,
        source: Source<'_>,
        dbid: u32,
        argv: impl Iterator<Item = &'a [u8]>,
    ) {
        let now = self.now;
        let mut line = String::new();
        // Writing to a String cannot fail.
        let _ = write!(
            line,
            "+{}.{:06} [{dbid} ",
            now.secs(),
            now.0.rem_euclid(1_000_000)
        );
        match source {
            Source::Client(client) if client.flags.has(ClientFlags::UNIX_SOCKET) => {
                let path = client.addr.trim_end_matches(":0");
                let _ = write!(line, "unix:{path}");
            }
            Source::Client(client) => line.push_str(&client.addr),
            Source::Script => line.push_str("lua"),
        }
        line.push(']');
        for arg in argv {
            line.push_str(" \"");
            escape(arg, &mut line);
            line.push('"');
        }
        line.push_str("\r\n");
        let running = match source {
            Source::Client(client) => Some(client),
            Source::Script => None,
        };
        let mut message = Message::new(|reply: &mut Reply| reply.raw(line.as_bytes()));
        let silent = ClientFlags::REPLY_OFF.or(ClientFlags::REPLY_SKIP);
        let hears = |client: &Client| !client.flags.has_any(silent);
        for conn in self.monitors.iter().copied().collect::<Vec<ConnId>>() {
            let client = running.filter(|client| client.conn == conn);
            // These are no messages in the sense of the protocol, so CLIENT REPLY silences them.
            if client.or_else(|| self.clients.get(conn)).is_none_or(hears) {
                self.send(conn, &mut message);
            }
        }
    }
}

/// Appends bytes as they stand between quotes: what does not print, in its escaped form.
pub fn escape(bytes: &[u8], line: &mut String) {
    for byte in bytes {
        match byte {
            b'\\' | b'"' => {
                line.push('\\');
                line.push(char::from(*byte));
            }
            b'\n' => line.push_str("\\n"),
            b'\r' => line.push_str("\\r"),
            b'\t' => line.push_str("\\t"),
            0x07 => line.push_str("\\a"),
            0x08 => line.push_str("\\b"),
            b' '..=b'~' => line.push(char::from(*byte)),
            _ => {
                let _ = write!(line, "\\x{byte:02x}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_print_is_escaped() {
        let mut line = String::new();
        escape(b"a\x00\xff\"\\\n\r\t\x07\x08 ~\x7f", &mut line);
        assert_eq!(line, "a\\x00\\xff\\\"\\\\\\n\\r\\t\\a\\b ~\\x7f");
    }
}
