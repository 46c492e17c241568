//! Push: messages to clients beside the replies to their own commands.
//!
//! A message goes straight into its receiver's output, in the order in which messages are made. The one exception is
//! a receiver that is being given a reply: it gets the message behind that reply, and behind the whole of a
//! transaction. Such messages wait in [`Pushes`] until the engine follows the command up. Lives here: the way of a
//! message to its receivers, and the limits on output that piles up. May not: know what a message says.

use bytes::Bytes;

use crate::border::LogLevel;
use crate::config::OutputBufferLimit;
use crate::resp::Reply;
use crate::state::client::{Client, ClientFlags, ClientKind};
use crate::state::{ConnId, Server};

/// What fits into a client's plain reply buffer never counts against its limit, however small that is, so that
/// short replies get through.
const UNCOUNTED_OUTPUT: usize = 16 * 1024;

/// What may wait for a client that has not authenticated.
const UNAUTHENTICATED_OUTPUT_MAX: usize = 1024;

/// A message that may have many receivers: written once for each protocol that they speak.
pub struct Message<W> {
    write: W,
    /// In RESP2, in RESP3.
    forms: [Option<Bytes>; 2],
}

impl<W: Fn(&mut Reply)> Message<W> {
    /// The message that `write` writes, in whichever protocol the reply that it is given speaks.
    pub fn new(write: W) -> Message<W> {
        Message {
            write,
            forms: [None, None],
        }
    }

    fn form(&mut self, resp3: bool) -> &Bytes {
        let write = &self.write;
        self.forms[usize::from(resp3)].get_or_insert_with(|| {
            let mut reply = Reply::default();
            reply.set_resp3(resp3);
            write(&mut reply);
            reply.into_bytes()
        })
    }
}

/// Who of the clients that a message is sent to can take it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    Everyone,
    /// Who speaks RESP3, which alone has messages of its own.
    Resp3,
    /// Those, and in RESP2 who listens to channels, and expects messages therefore.
    Listeners,
}

impl Audience {
    fn includes(self, client: &Client) -> bool {
        match self {
            Audience::Everyone => true,
            Audience::Resp3 => client.reply.is_resp3(),
            Audience::Listeners => client.reply.is_resp3() || client.subscriptions.is_some(),
        }
    }
}

struct Waiting {
    conn: ConnId,
    audience: Audience,
    /// In both protocols: the client cannot be asked while its command runs.
    forms: [Bytes; 2],
}

/// Whether a client can be written to at the moment.
enum Readiness {
    Ready {
        resp3: bool,
    },
    /// It is being given a reply.
    Busy,
    /// It is closed, or about to be, or not of the audience.
    Gone,
}

/// Messages whose receivers are being given a reply, in order.
#[derive(Default)]
pub struct Pushes {
    waiting: Vec<Waiting>,
}

impl Pushes {
    /// Whether no message waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Forgets what waits for a client that goes.
    pub fn forget(&mut self, conn: ConnId) {
        self.waiting.retain(|waiting| waiting.conn != conn);
    }
}

impl Server {
    /// Sends a message to a client: at once, or behind the reply that it is being given.
    pub fn send<W: Fn(&mut Reply)>(&mut self, conn: ConnId, message: &mut Message<W>) {
        self.send_to(conn, Audience::Everyone, message);
    }

    /// Sends a message to a client if it is of this audience.
    pub fn send_to<W: Fn(&mut Reply)>(
        &mut self,
        conn: ConnId,
        audience: Audience,
        message: &mut Message<W>,
    ) {
        match self.readiness(conn, audience) {
            Readiness::Ready { resp3 } => self.push(conn, message.form(resp3)),
            Readiness::Busy => self.pushes.waiting.push(Waiting {
                conn,
                audience,
                forms: [message.form(false).clone(), message.form(true).clone()],
            }),
            Readiness::Gone => {}
        }
    }

    /// Writes the messages that waited for the end of `client`'s command behind its reply, and those for others that
    /// can take them by now.
    pub fn deliver_pushes(&mut self, client: &mut Client) {
        let waiting = std::mem::take(&mut self.pushes.waiting);
        // What was published comes before the word that a cache is out of date.
        let (published, invalid): (Vec<_>, Vec<_>) = waiting
            .into_iter()
            .partition(|message| message.audience == Audience::Everyone);
        for message in published.into_iter().chain(invalid) {
            let conn = message.conn;
            if conn == client.conn {
                if !client.is_closing() && message.audience.includes(client) {
                    let form = usize::from(client.reply.is_resp3());
                    client.reply.push_bytes(&message.forms[form]);
                }
                continue;
            }
            match self.readiness(conn, message.audience) {
                Readiness::Ready { resp3 } => self.push(conn, &message.forms[usize::from(resp3)]),
                Readiness::Busy => self.pushes.waiting.push(message),
                Readiness::Gone => {}
            }
        }
    }

    #[inline]
    fn readiness(&self, conn: ConnId, audience: Audience) -> Readiness {
        match self.clients.get(conn) {
            Some(client) if client.is_closing() => Readiness::Gone,
            Some(client) if client.is_mid_reply() => Readiness::Busy,
            Some(client) if !audience.includes(client) => Readiness::Gone,
            Some(client) => Readiness::Ready {
                resp3: client.reply.is_resp3(),
            },
            None if self.clients.is_used(conn) => Readiness::Busy,
            None => Readiness::Gone,
        }
    }

    /// Writes to a client beside a reply, and has its socket offered it, unless too much waits there.
    fn push(&mut self, conn: ConnId, bytes: &Bytes) {
        let Some(client) = self.clients.get_mut(conn) else {
            return;
        };
        let before = client.reply.capacity();
        client.reply.push_bytes(bytes);
        let grown = client.reply.capacity() - before;
        self.pushed_bytes = self.pushed_bytes.wrapping_add(grown as u64);
        let is_large = client.reply.pending() > UNAUTHENTICATED_OUTPUT_MAX;
        self.queue_output(conn);
        // Below that no limit can be reached.
        if is_large && let Some(mut client) = self.clients.take(conn) {
            self.check_output_limit(&mut client);
            self.count_client(&mut client);
            self.clients.put_back(client);
        }
    }

    /// Puts the client on the list of those with output to offer, unless it stands there already.
    pub fn queue_output(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn)
            && !client.flags.has(ClientFlags::FLUSH_QUEUED)
        {
            client.flags.set(ClientFlags::FLUSH_QUEUED, true);
            self.push_queue.push_back(conn);
        }
    }

    /// Has a client closed that is not taken out; what waits for its socket is dropped.
    pub fn close_asap(&mut self, conn: ConnId) {
        if let Some(client) = self.clients.get_mut(conn) {
            client.flags.set(ClientFlags::CLOSE_ASAP, true);
            self.count_client_at(conn);
            self.queue_output(conn);
        }
    }

    /// What `client-output-buffer-limit` allows the client's kind.
    fn output_limit(&self, client: &Client) -> OutputBufferLimit {
        let limits = &self.config.client_output_buffer_limit;
        match client.kind() {
            ClientKind::PubSub => limits.pubsub,
            ClientKind::Replica => limits.replica,
            ClientKind::Normal | ClientKind::Master => limits.normal,
        }
    }

    /// The most bytes that may be pending for a client: with more it is closed, so its replies need not be written to
    /// their end.
    #[inline]
    pub fn pending_max(&self, client: &Client) -> usize {
        match usize::try_from(self.output_limit(client).hard) {
            Ok(0) | Err(_) => usize::MAX,
            Ok(hard) => hard.max(UNCOUNTED_OUTPUT),
        }
    }

    /// Closes a client that lets more output pile up than `client-output-buffer-limit` allows its kind.
    pub fn check_output_limit(&mut self, client: &mut Client) {
        let pending = client.reply.pending();
        let now = self.now;
        let limit = self.output_limit(client);
        let piled_up = if pending > UNCOUNTED_OUTPUT {
            pending
        } else {
            0
        };
        let above = |bytes: i64| usize::try_from(bytes).is_ok_and(|max| max > 0 && piled_up > max);
        if !above(limit.soft) {
            client.soft_limit_since = None;
        } else if client.soft_limit_since.is_none() {
            client.soft_limit_since = Some(now);
        }
        let soft_us = u64::try_from(limit.soft_seconds)
            .unwrap_or(0)
            .saturating_mul(1_000_000);
        let is_over_soft = client
            .soft_limit_since
            .is_some_and(|since| now.since(since) > soft_us);
        let is_over_hard = above(limit.hard) || client.reply.is_cut();
        let is_stranger = pending > UNAUTHENTICATED_OUTPUT_MAX && self.needs_auth(client);
        if client.flags.has(ClientFlags::CLOSE_ASAP)
            || !(is_over_soft || is_over_hard || is_stranger)
        {
            return;
        }
        client.flags.set(ClientFlags::CLOSE_ASAP, true);
        self.stats.output_buffer_limit_disconnections += 1;
        let text = format!(
            "Client id={} addr={} scheduled to be closed ASAP for overcoming of output buffer limits.",
            client.id, client.addr
        );
        self.log(LogLevel::Warning, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::state::UnixMicros;
    use crate::state::server::Process;

    fn server(clients: u32) -> Server {
        let mut server = Server::new(Config::default(), Process::default(), 1, UnixMicros(0));
        for n in 0..clients {
            let client = Client::new(ConnId(n), u64::from(n) + 1, UnixMicros(0));
            server.clients.insert(Box::new(client));
        }
        server
    }

    fn greeting(text: &'static str) -> Message<impl Fn(&mut Reply)> {
        Message::new(move |reply: &mut Reply| {
            reply.push(1);
            reply.text(text);
        })
    }

    fn text(client: &Client) -> String {
        String::from_utf8_lossy(client.reply.single_slice().expect("one piece")).into_owned()
    }

    fn output(server: &Server, conn: u32) -> String {
        text(server.clients.get(ConnId(conn)).expect("it is there"))
    }

    #[test]
    fn each_receiver_is_spoken_to_in_its_protocol_and_offered_its_output_once() {
        let mut server = server(2);
        let third = server.clients.get_mut(ConnId(1)).expect("it is there");
        third.reply.set_resp3(true);
        third.reply.set_muted(true);
        let mut message = greeting("hi");
        for conn in [0, 1, 0, 7] {
            server.send(ConnId(conn), &mut message);
        }
        assert_eq!(output(&server, 0), "*1\r\n$2\r\nhi\r\n*1\r\n$2\r\nhi\r\n");
        assert_eq!(output(&server, 1), ">1\r\n$2\r\nhi\r\n");
        assert_eq!(server.push_queue, [ConnId(0), ConnId(1)]);
    }

    #[test]
    fn who_is_being_answered_hears_it_behind_the_answer_and_invalidations_last() {
        let mut server = server(3);
        let mut running = server.clients.take(ConnId(1)).expect("it is there");
        let outer = server.clients.take(ConnId(2)).expect("it is there");
        server.send_to(ConnId(1), Audience::Resp3, &mut greeting("b"));
        server.send(ConnId(1), &mut greeting("a"));
        running.reply.set_resp3(true);
        server.send(ConnId(2), &mut greeting("c"));
        running.reply.ok();
        server.deliver_pushes(&mut running);
        assert_eq!(text(&running), "+OK\r\n>1\r\n$1\r\na\r\n>1\r\n$1\r\nb\r\n");
        assert!(!server.pushes.is_empty(), "the other one's waits on");
        server.clients.put_back(outer);
        server.deliver_pushes(&mut running);
        assert!(server.pushes.is_empty());
        assert_eq!(output(&server, 2), "*1\r\n$1\r\nc\r\n");
    }

    #[test]
    fn a_receiver_that_takes_nothing_is_closed_at_its_limit() {
        let mut server = server(1);
        let letters: &'static str = "a".repeat(20_000).leak();
        server.config.client_output_buffer_limit.normal.hard = 70_000;
        let mut message = greeting(letters);
        for _ in 0..10 {
            server.send(ConnId(0), &mut message);
        }
        let client = server.clients.get(ConnId(0)).expect("it is there");
        assert!(client.flags.has(ClientFlags::CLOSE_ASAP));
        assert_eq!(client.reply.shared_count(), 4, "large ones are not copied");
        assert_eq!(server.stats.output_buffer_limit_disconnections, 1);
        assert_eq!(server.push_queue.len(), 1);
    }
}
