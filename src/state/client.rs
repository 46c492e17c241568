//! Clients: what the server knows of each connection.

pub mod waiting;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use crate::acl::UserId;
use crate::resp::{ArgPos, Parser, Reply};
use crate::state::multi::Multi;
use crate::state::slots::Slots;
use crate::state::subscriptions::{Scope, Subscriptions};
use crate::state::waiting::{Begun, Waiting};
use crate::state::{CommandError, CommandId, ConnId, UnixMicros};

/// A query buffer up to this size is left alone.
const QUERY_KEEP: usize = 32 * 1024;

/// A client that was quiet for so long gives its query buffer back.
const IDLE_US: u64 = 2_000_000;

/// The least and the most capacity that a reply buffer keeps between replies.
pub const REPLY_KEEP_MIN: usize = 1024;
const REPLY_KEEP_MAX: usize = 16 * 1024;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientKind {
    Normal,
    Replica,
    Master,
    PubSub,
}

impl ClientKind {
    /// The kind by its name in CLIENT LIST and CLIENT KILL, in any case.
    pub fn named(name: &[u8]) -> Option<ClientKind> {
        let names = [
            ("normal", ClientKind::Normal),
            ("replica", ClientKind::Replica),
            ("slave", ClientKind::Replica),
            ("master", ClientKind::Master),
            ("pubsub", ClientKind::PubSub),
        ];
        let found = names
            .iter()
            .find(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
        found.map(|(_, kind)| *kind)
    }
}

/// Whether `word` can stand in a line of CLIENT LIST: printable ASCII without spaces, or nothing.
pub fn is_plain_word(word: &[u8]) -> bool {
    word.iter().all(u8::is_ascii_graphic)
}

/// The refusal of a name that [`is_plain_word`] does not accept: `what` it would have named.
pub fn name_error(what: &[u8]) -> CommandError {
    CommandError::quoting(
        "ERR ",
        what,
        " cannot contain spaces, newlines or special characters.",
    )
}

/// What CLIENT SETNAME and HELLO name.
pub const CLIENT_NAMES: &[u8] = b"Client names";

/// A set of a client's states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientFlags(pub u32);

impl ClientFlags {
    /// Close once what is pending was written.
    pub const CLOSE_AFTER_REPLY: ClientFlags = ClientFlags(1);
    /// Close at once; pending output is dropped.
    pub const CLOSE_ASAP: ClientFlags = ClientFlags(1 << 1);
    pub const UNIX_SOCKET: ClientFlags = ClientFlags(1 << 2);
    pub const NO_EVICT: ClientFlags = ClientFlags(1 << 3);
    /// Reads do not count as use for eviction.
    pub const NO_TOUCH: ClientFlags = ClientFlags(1 << 4);
    /// CLIENT REPLY OFF.
    pub const REPLY_OFF: ClientFlags = ClientFlags(1 << 5);
    /// CLIENT REPLY SKIP was the last command: the next one's reply vanishes.
    pub const REPLY_SKIP_NEXT: ClientFlags = ClientFlags(1 << 6);
    /// This command's reply vanishes.
    pub const REPLY_SKIP: ClientFlags = ClientFlags(1 << 7);
    /// In the list of clients with output to offer.
    pub const FLUSH_QUEUED: ClientFlags = ClientFlags(1 << 8);
    /// The connection is closed; only what it had begun, a transaction or a script, goes on to its end.
    pub const GONE: ClientFlags = ClientFlags(1 << 9);
    /// A transaction's commands are being run.
    pub const IN_EXEC: ClientFlags = ClientFlags(1 << 15);
    /// A script's commands are being run, in the name of its caller.
    pub const IN_SCRIPT: ClientFlags = ClientFlags(1 << 31);
    /// Sees every command that runs (MONITOR).
    pub const MONITOR: ClientFlags = ClientFlags(1 << 24);
    /// Is told when keys change that it has read, or all keys of a kind (CLIENT TRACKING).
    pub const TRACKING: ClientFlags = ClientFlags(1 << 25);
    /// CLIENT CACHING was the last command: it decides about the keys of the next.
    pub const CACHING: ClientFlags = ClientFlags(1 << 26);
    /// The last read went into the engine's shared buffer.
    pub const SHARED_READ: ClientFlags = ClientFlags(1 << 13);

    /// Whether all of `other` are set.
    #[inline]
    pub fn has(self, other: ClientFlags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether any of `other` is set.
    #[inline]
    pub fn has_any(self, other: ClientFlags) -> bool {
        self.0 & other.0 != 0
    }

    /// Both sets together.
    pub const fn or(self, other: ClientFlags) -> ClientFlags {
        ClientFlags(self.0 | other.0)
    }

    /// Sets or clears `other`.
    #[inline]
    pub fn set(&mut self, other: ClientFlags, on: bool) {
        if on {
            self.0 |= other.0;
        } else {
            self.0 &= !other.0;
        }
    }
}

/// A command that is parsed and could not run yet.
pub struct Parked {
    pub argv: Vec<ArgPos>,
    pub big: Vec<Bytes>,
    /// Its bytes in the query buffer, from the position on.
    pub len: usize,
}

/// One connection.
pub struct Client {
    pub conn: ConnId,
    /// Counts up over the server's life, as CLIENT ID shows it.
    pub id: u64,
    pub addr: String,
    pub local_addr: String,
    pub fd: i32,
    pub flags: ClientFlags,
    pub dbid: u32,
    pub authenticated: bool,
    /// Who the client is logged in as.
    pub user: UserId,
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_ver: Vec<u8>,
    /// Lists of fields by name (HIMPORT).
    pub fieldsets: BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    pub created: UnixMicros,
    pub last_interaction: UnixMicros,
    pub last_command: Option<CommandId>,
    /// The slots of that command's keys, while a cluster's rules are looked at.
    pub slots: Slots,

    pub parser: Parser,
    /// Bytes received and not executed: `query[query_pos..query_end]`. What lies behind is space.
    pub query: Vec<u8>,
    pub query_pos: usize,
    pub query_end: usize,
    /// The largest query lately, by which the buffer is shrunk.
    pub query_peak: usize,
    /// While its commands run, the engine has its query buffer; this was the buffer's size.
    pub query_taken: usize,
    /// Parsed commands that could not run yet, oldest first; their bytes stand at `query_pos`, behind those of the command
    /// that has begun.
    pub parked: VecDeque<Parked>,
    /// Why it cannot go on, if it cannot.
    pub(super) waiting: Option<Waiting>,
    /// What continues when it can.
    pub begun: Begun,
    /// The transaction that is being queued.
    pub multi: Option<Box<Multi>>,
    /// The keys that it watches, with their databases.
    pub watched: Vec<(u32, Vec<u8>)>,
    /// Memory that watching them takes.
    pub watched_bytes: usize,
    /// Memory of the prefixes that it broadcasts.
    pub prefix_bytes: usize,
    /// The channels and patterns that it listens to, if any.
    pub subscriptions: Option<Box<Subscriptions>>,

    pub reply: Reply,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub commands: u64,
    /// Reply bytes written since the start: a position in the reply stream.
    pub replied_bytes: u64,
    /// The capacity that the reply buffer keeps between replies, its highest use lately, and since when.
    pub reply_keep: usize,
    pub reply_peak: usize,
    pub reply_peak_at: UnixMicros,
    /// When the soft output limit was first exceeded.
    pub soft_limit_since: Option<UnixMicros>,
    /// What is counted of it against `maxmemory-clients`.
    pub counted_bytes: usize,
}

impl Client {
    /// A fresh client, its own name and database still at their defaults.
    pub fn new(conn: ConnId, id: u64, now: UnixMicros) -> Client {
        Client {
            conn,
            id,
            addr: String::new(),
            local_addr: String::new(),
            fd: -1,
            flags: ClientFlags::default(),
            dbid: 0,
            authenticated: false,
            user: UserId::DEFAULT,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            fieldsets: BTreeMap::new(),
            created: now,
            last_interaction: now,
            last_command: None,
            slots: Slots::None,
            parser: Parser::default(),
            query: Vec::new(),
            query_pos: 0,
            query_end: 0,
            query_peak: 0,
            query_taken: 0,
            parked: VecDeque::new(),
            waiting: None,
            begun: Begun::default(),
            multi: None,
            watched: Vec::new(),
            watched_bytes: 0,
            prefix_bytes: 0,
            subscriptions: None,
            reply: Reply::default(),
            net_input_bytes: 0,
            net_output_bytes: 0,
            commands: 0,
            replied_bytes: 0,
            reply_keep: REPLY_KEEP_MAX,
            reply_peak: 0,
            reply_peak_at: now,
            soft_limit_since: None,
            counted_bytes: 0,
        }
    }

    /// Whether the client is on this machine: a unix socket or a loopback address.
    pub fn is_local(&self) -> bool {
        self.flags.has(ClientFlags::UNIX_SOCKET)
            || self.addr.starts_with("127.")
            || self.addr.starts_with("[::1]")
    }

    /// What the connection is for.
    pub fn kind(&self) -> ClientKind {
        match self.subscriptions {
            Some(_) => ClientKind::PubSub,
            None => ClientKind::Normal,
        }
    }

    /// How many names of this scope it listens to.
    pub fn subscription_len(&self, scope: Scope) -> usize {
        let subscriptions = self.subscriptions.as_ref();
        subscriptions.map_or(0, |names| names.len(scope))
    }

    /// Memory that its subscriptions take.
    pub fn subscriptions_bytes(&self) -> usize {
        let subscriptions = self.subscriptions.as_ref();
        subscriptions.map_or(0, |names| names.memory_bytes())
    }

    /// Whether every message to it has the form of a published one, because it listens and RESP2 knows no other way
    /// to tell replies and messages apart.
    #[inline]
    pub fn is_in_subscriber_mode(&self) -> bool {
        self.subscriptions.is_some() && !self.reply.is_resp3()
    }

    /// Bytes of the lists of fields that it has named.
    pub fn fieldset_bytes(&self) -> usize {
        let lists = self.fieldsets.iter().map(|(name, fields)| {
            let texts: usize = fields.iter().map(Vec::capacity).sum();
            name.capacity() + texts + (fields.len() + 2) * size_of::<Vec<u8>>()
        });
        lists.sum()
    }

    /// Whole seconds since the connection was accepted.
    pub fn age_secs(&self, now: UnixMicros) -> u64 {
        now.since(self.created) / 1_000_000
    }

    /// Memory that the client takes, values that wait to be written and belong to keys as well included.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Client>()
            + self.query.capacity().max(self.query_taken)
            + self.parser.memory_bytes()
            + self.reply.capacity()
            + self.reply.shared_len()
            + self.multi_bytes()
            + self.watched_bytes
            + self.prefix_bytes
            + self.fieldset_bytes()
            + self.subscriptions_bytes()
            + self.addr.len()
            + self.local_addr.len()
            + self.name.len()
            + self.lib_name.len()
            + self.lib_ver.len()
    }

    /// Memory that the client is charged with: what it takes, and the room that is kept for short replies as if it
    /// were in use, so that no short reply changes what it is charged.
    pub fn charged_bytes(&self) -> usize {
        let kept = self.reply_keep.saturating_sub(self.reply.capacity());
        self.memory_bytes() + kept
    }

    /// Its commands that are parsed and have not come to their end, oldest first.
    pub fn commands(&self) -> impl Iterator<Item = &Parked> {
        self.begun.command.iter().chain(&self.parked)
    }

    /// How many bytes from `query_pos` on are parsed: a command that waits to run, or whole arguments of one that is
    /// not complete. Behind a command that waits all counts as unparsed, though the engine may have looked ahead.
    pub fn parsed_bytes(&self) -> usize {
        match self.commands().next() {
            Some(command) => command.len,
            None => self.parser.parsed_bytes(),
        }
    }

    /// Bytes that have arrived and belong to no whole argument, nor to a command that is about to run.
    pub fn unparsed_bytes(&self) -> usize {
        let held = self.query_end - self.query_pos;
        let later = self.commands().skip(1);
        let big_later = later.flat_map(|command| command.big.iter().map(|big| big.len()));
        held.saturating_sub(self.parsed_bytes()) + self.parser.big_len() + big_later.sum::<usize>()
    }

    /// Memory of the queued commands of a transaction.
    pub fn multi_bytes(&self) -> usize {
        self.multi.as_ref().map_or(0, |multi| multi.bytes)
    }

    /// Takes note of how much of the reply buffer is in use.
    #[inline]
    pub fn note_reply_peak(&mut self) {
        let used = self.reply.pending().min(self.reply_keep);
        self.reply_peak = self.reply_peak.max(used);
    }

    /// Gives back query memory that the client did not need lately.
    pub fn trim_query(&mut self, idle_us: u64) {
        let pending = self.query_end - self.query_pos;
        let is_idle = idle_us > IDLE_US;
        let wasteful = self.query.len() > QUERY_KEEP && self.query_peak < self.query.len() / 2;
        if wasteful || (is_idle && self.query.len() > pending) {
            self.query.copy_within(self.query_pos..self.query_end, 0);
            self.query_end = pending;
            self.query_pos = 0;
            self.query
                .truncate(pending.max(if is_idle { 0 } else { self.query_peak }));
            self.query.shrink_to_fit();
        }
        if is_idle {
            self.parser.trim();
        }
        self.query_peak = pending;
    }

    /// Fits the reply buffer's capacity to its use: halved and more when most of it lay idle, doubled when all
    /// of it was used. The peak is forgotten after `peak_reset_ms`, or never when that is negative. Says whether what is
    /// kept became less or more.
    pub fn fit_reply(&mut self, now: UnixMicros, peak_reset_ms: i64) -> std::cmp::Ordering {
        let before = self.reply_keep;
        let half = self.reply_keep / 2;
        if half >= REPLY_KEEP_MIN && self.reply_peak < half {
            self.reply_keep = (self.reply_peak + 1).max(REPLY_KEEP_MIN);
        } else if self.reply_keep < REPLY_KEEP_MAX && self.reply_peak >= self.reply_keep {
            self.reply_keep = (self.reply_keep * 2).min(REPLY_KEEP_MAX);
        }
        self.reply.shrink(self.reply_keep);
        let since_ms = now.since(self.reply_peak_at) / 1000;
        if u64::try_from(peak_reset_ms).is_ok_and(|limit| since_ms > limit) {
            self.reply_peak = self.reply.pending().min(self.reply_keep);
            self.reply_peak_at = now;
        }
        self.reply_keep.cmp(&before)
    }

    /// Space for `len` more bytes behind the query; what was executed is dropped first.
    pub fn query_space(&mut self, len: usize) -> &mut [u8] {
        if self.query_pos > 0 {
            self.query.copy_within(self.query_pos..self.query_end, 0);
            self.query_end -= self.query_pos;
            self.query_pos = 0;
        }
        let wanted = self.query_end + len;
        if self.query.len() < wanted {
            self.query.resize(wanted, 0);
        }
        &mut self.query[self.query_end..]
    }

    /// Closes the connection once its pending output was written.
    pub fn close_after_reply(&mut self) {
        self.flags.set(ClientFlags::CLOSE_AFTER_REPLY, true);
    }

    /// Whether a reply is begun and not complete, so that nothing else may be written: a transaction, or a command,
    /// waits for the shell.
    #[inline]
    pub fn is_mid_reply(&self) -> bool {
        self.begun.exec.is_some() || self.awaits_answer()
    }

    /// CLIENT REPLY SKIP concerns the next command alone: one has run.
    pub fn settle_reply_mode(&mut self) {
        let skip_next = self.flags.has(ClientFlags::REPLY_SKIP_NEXT);
        self.flags.set(ClientFlags::REPLY_SKIP, skip_next);
        self.flags.set(ClientFlags::REPLY_SKIP_NEXT, false);
        self.reply.set_muted(false);
    }

    /// Whether the connection is about to be closed, so that no further command of it runs.
    pub fn is_closing(&self) -> bool {
        self.flags
            .has_any(ClientFlags::CLOSE_AFTER_REPLY.or(ClientFlags::CLOSE_ASAP))
    }
}
