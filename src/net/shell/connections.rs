//! Connections: reading from clients' sockets and writing to them.

use super::Shell;
use crate::border::{CloseReason, Flush};
use crate::ids::ConnId;
use crate::net::driver::ReadResult;
use crate::net::stream::Conn;
use mio::event::Event;
use std::io::ErrorKind;

/// Reads of one client in a turn, and writes to one: after that the others have their turn.
const READS_MAX: usize = 4;
const WRITES_MAX: usize = 16;

impl Shell {
    /// Goes on where the turn before left off.
    pub(super) fn take_unfinished(&mut self) {
        if !self.ready.is_empty() {
            let mut ready =
                std::mem::replace(&mut self.ready, std::mem::take(&mut self.ready_spare));
            for conn in ready.drain(..) {
                if let Some(state) = self.conn_mut(conn) {
                    state.queued = false;
                    self.read(conn);
                }
            }
            self.ready_spare = ready;
        }
    }

    #[inline]
    pub(super) fn conn_mut(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(conn.0 as usize)?.as_mut()
    }

    pub(super) fn conn_event(&mut self, conn: ConnId, event: &Event) {
        let Some(state) = self.conn_mut(conn) else {
            return; // closed earlier in this turn
        };
        let read_closed = event.is_read_closed();
        state.read_closed |= read_closed;
        if event.is_writable() && state.full {
            state.full = false;
            self.unflushed.push(conn);
        }
        let is_gone = event.is_error() || (read_closed && event.is_write_closed());
        if is_gone && !self.driver.engine().wants_read(conn) {
            self.close(conn, CloseReason::Error);
        } else if event.is_readable() || read_closed || is_gone {
            self.read(conn);
        }
    }

    /// Reads what is there, at most [`READS_MAX`] times.
    pub(super) fn read(&mut self, conn: ConnId) {
        let Some(Some(state)) = self.conns.get_mut(conn.0 as usize) else {
            return;
        };
        for reads in 0..READS_MAX {
            if !self.driver.engine().wants_read(conn) {
                return; // poll_resumed names it when it does
            }
            let reason = match self.driver.read(conn, &mut state.stream) {
                Ok(ReadResult::Short) if !state.read_closed => return,
                // The end comes with the next turn: what was asked before it is answered first.
                Ok(ReadResult::Short) => break,
                Ok(ReadResult::Full) => continue,
                Ok(ReadResult::Eof) if reads > 0 => break,
                Ok(ReadResult::Eof) => CloseReason::Eof,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted => continue,
                    _ => CloseReason::Error,
                },
            };
            return self.close(conn, reason);
        }
        self.read_next_turn(conn);
    }

    pub(super) fn read_next_turn(&mut self, conn: ConnId) {
        if let Some(Some(state)) = self.conns.get_mut(conn.0 as usize)
            && !state.queued
        {
            state.queued = true;
            self.ready.push(conn);
        }
    }

    pub(super) fn close(&mut self, conn: ConnId, reason: CloseReason) {
        self.driver.closed(conn, reason);
        self.disconnect(conn);
    }

    /// Closes the socket.
    pub(super) fn disconnect(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.get_mut(conn.0 as usize) {
            *state = None;
        }
    }

    /// Offers every client its replies.
    pub(super) fn flush(&mut self) {
        // A reply would tell of what is not on disk.
        if self.driver.engine().withholds_replies() {
            return;
        }
        if !self.unflushed.is_empty() {
            let mut unflushed = std::mem::replace(
                &mut self.unflushed,
                std::mem::take(&mut self.unflushed_spare),
            );
            for conn in unflushed.drain(..) {
                self.flush_conn(conn);
            }
            self.unflushed_spare = unflushed;
        }
        while let Some(conn) = self.driver.poll_flush() {
            self.flush_conn(conn);
        }
    }

    pub(super) fn flush_conn(&mut self, conn: ConnId) {
        let Some(Some(state)) = self.conns.get_mut(conn.0 as usize) else {
            return;
        };
        if state.full {
            if self.driver.blocked(conn) == Flush::Close {
                self.disconnect(conn);
            }
            return;
        }
        for _ in 0..WRITES_MAX {
            match self.driver.write(conn, &mut state.stream) {
                Ok(result) => match result.flush {
                    Flush::Drained => return,
                    Flush::Close => return self.disconnect(conn),
                    Flush::Pending if result.is_full => {
                        state.full = true;
                        return;
                    }
                    Flush::Pending => {}
                },
                Err(_) => return self.close(conn, CloseReason::Error),
            }
        }
        self.unflushed.push(conn);
    }
}
