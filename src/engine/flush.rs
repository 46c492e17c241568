//! Output: what clients' sockets are offered, and what follows when they took it.

use std::io::IoSlice;

use crate::border::Flush;
use crate::engine::Engine;
use crate::engine::waiting::RESUME_BELOW;
use crate::state::client::REPLY_KEEP_MIN;
use crate::state::{ClientFlags, ConnId, Waiting};

/// The most pieces that one write is given.
const SLICES_MAX: usize = 64;

impl Engine {
    /// The next connection whose socket is to be offered its output.
    pub fn poll_flush(&mut self) -> Option<ConnId> {
        let replies = self.server.flush_queue.pop_front();
        let conn = replies.or_else(|| self.server.push_queue.pop_front())?;
        if let Some(client) = self.server.clients.get_mut(conn) {
            client.flags.set(ClientFlags::FLUSH_QUEUED, false);
        }
        Some(conn)
    }

    /// The connection's socket was offered its output, in a run that is repeated.
    pub fn unqueue_flush(&mut self, conn: ConnId) {
        if let Some(client) = self.server.clients.get_mut(conn)
            && client.flags.has(ClientFlags::FLUSH_QUEUED)
        {
            client.flags.set(ClientFlags::FLUSH_QUEUED, false);
            let server = &mut self.server;
            for queue in [&mut server.flush_queue, &mut server.push_queue] {
                if queue.front() == Some(&conn) {
                    queue.pop_front();
                    return;
                }
            }
            server.flush_queue.retain(|of| *of != conn);
            server.push_queue.retain(|of| *of != conn);
        }
    }

    /// The connection's pending output, when it lies in one piece; nothing for an unknown connection.
    #[inline]
    pub fn output_slice(&self, conn: ConnId) -> Option<&[u8]> {
        match self.server.clients.get(conn) {
            Some(client) if client.flags.has(ClientFlags::CLOSE_ASAP) => Some(&[]),
            Some(client) => client.reply.single_slice(),
            None => Some(&[]),
        }
    }

    /// The connection's pending output, in order.
    pub fn output<'a>(&'a self, conn: ConnId, slices: &mut Vec<IoSlice<'a>>) {
        if let Some(client) = self.server.clients.get(conn)
            && !client.flags.has(ClientFlags::CLOSE_ASAP)
        {
            client.reply.slices(slices, SLICES_MAX);
        }
    }

    /// The socket took `len` bytes of the output; says what becomes of the connection.
    pub fn handle_wrote(&mut self, conn: ConnId, len: usize) -> Flush {
        let Some(client) = self.server.clients.get_mut(conn) else {
            return Flush::Close;
        };
        self.server.stats.writes_processed += 1;
        self.server.stats.net_output_bytes += len as u64;
        client.net_output_bytes += len as u64;
        client.replied_bytes += len as u64;
        client.note_reply_peak();
        client.reply.advance(len);
        if self.server.eviction.has_told {
            client.reply.shrink(REPLY_KEEP_MIN);
        }
        self.server.count_client_at(conn);
        let Some(client) = self.server.clients.get_mut(conn) else {
            return Flush::Close;
        };
        let pending = client.reply.pending();
        let drained = pending == 0;
        let asap = client.flags.has(ClientFlags::CLOSE_ASAP);
        if asap || (drained && client.flags.has(ClientFlags::CLOSE_AFTER_REPLY)) {
            self.part_with(conn);
            return Flush::Close;
        }
        if pending < RESUME_BELOW && matches!(client.waiting(), Some(Waiting::Output)) {
            self.end_output_wait(conn);
        }
        if drained && let Some(trace) = &mut self.trace {
            trace.retain(|(of, ..)| *of != conn);
        }
        if drained {
            Flush::Drained
        } else {
            Flush::Pending
        }
    }
}
