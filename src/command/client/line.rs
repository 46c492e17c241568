//! The line that CLIENT LIST, CLIENT INFO and the log have of a client.

use crate::command::registry::Registry;
use crate::command::tracking::redirect_of;
use crate::resp::Args;
use crate::state::subscriptions::Scope;
use crate::state::{Client, ClientFlags, Server};

/// What the output buffers of CLIENT LIST are counted in.
const REPLY_BLOCK: usize = 16 * 1024;

/// Sizes of what a client holds, in bytes.
struct Buffers {
    query: usize,
    query_free: usize,
    argv: usize,
    total: usize,
    /// The socket was full, and not all of the output is written.
    waits_for_socket: bool,
}

impl Buffers {
    fn of(client: &Client) -> Buffers {
        let used = client.unparsed_bytes();
        let held = client.query.len() + client.parser.big_capacity();
        let argv = match client.commands().next() {
            Some(command) => command.len,
            None => client.parser.pending_args_bytes(),
        };
        Buffers {
            waits_for_socket: client.reply.pending() > 0
                && !client.flags.has(ClientFlags::FLUSH_QUEUED),
            query: used,
            query_free: held.saturating_sub(used),
            argv,
            total: client.charged_bytes(),
        }
    }
}

/// The line of the client whose command runs, or was refused. Its query is in the engine's hands meanwhile.
pub fn own_line(server: &Server, client: &Client, registry: &Registry, args: Args<'_>) -> String {
    let mut buffers = Buffers::of(client);
    let used = client.query_end - client.query_pos;
    let held = client.query_taken.max(used);
    buffers.waits_for_socket = false;
    buffers.query = used;
    buffers.query_free = held - used;
    buffers.argv = args.iter_from(0).map(<[u8]>::len).sum();
    line(server, client, registry, &buffers)
}

/// A client that is not running a command in one line.
pub fn describe(server: &Server, client: &Client, registry: &Registry) -> String {
    line(server, client, registry, &Buffers::of(client))
}

/// One client in one line, as CLIENT LIST has it.
fn line(server: &Server, client: &Client, registry: &Registry, buffers: &Buffers) -> String {
    let now = server.now;
    let command = client
        .last_command
        .map_or("NULL", |id| registry.get(id).full_name.as_str());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    // The first bytes count as the reply buffer's, what is beyond and what is shared as a list of blocks behind it.
    let shared = client.reply.shared_len();
    let copied = client.reply.pending().saturating_sub(shared);
    let in_buffer = copied.min(REPLY_BLOCK);
    let listed = copied - in_buffer;
    let queued = client.multi.as_ref().map(|multi| multi.queue.len() as i64);
    format!(
        "id={} addr={} laddr={} fd={} name={} age={} idle={} flags={} db={} sub={} psub={} ssub={} multi={} watch={} \
         qbuf={} qbuf-free={} argv-mem={} multi-mem={} rbs={} rbp={} obl={} oll={} omem={} tot-mem={} events={} \
         cmd={command} user={} redir={} resp={} lib-name={} lib-ver={} io-thread=0 tot-net-in={} tot-net-out={} \
         tot-cmds={}\n",
        client.id,
        client.addr,
        client.local_addr,
        client.fd,
        text(&client.name),
        client.age_secs(now),
        now.since(client.last_interaction) / 1_000_000,
        flag_letters(server, client),
        client.dbid,
        client.subscription_len(Scope::Channel),
        client.subscription_len(Scope::Pattern),
        client.subscription_len(Scope::Shard),
        queued.unwrap_or(-1),
        client.watched.len(),
        buffers.query,
        buffers.query_free,
        buffers.argv,
        client.multi.as_ref().map_or(0, |multi| multi.args_bytes),
        client.reply_keep,
        client.reply_peak,
        in_buffer,
        client.reply.shared_count() + listed.div_ceil(REPLY_BLOCK),
        listed + shared,
        buffers.total,
        if buffers.waits_for_socket { "rw" } else { "r" },
        text(server.users.get(client.user).name()),
        redirect_of(server, client),
        if client.reply.is_resp3() { 3 } else { 2 },
        text(&client.lib_name),
        text(&client.lib_ver),
        client.net_input_bytes,
        client.net_output_bytes,
        client.commands,
    )
}

/// A letter for each state that CLIENT LIST shows.
fn flag_letters(server: &Server, client: &Client) -> String {
    let mode = server.tracking.mode(client.conn);
    let has = |flag: ClientFlags| client.flags.has_any(flag);
    let letters = [
        ('O', has(ClientFlags::MONITOR)),
        ('P', client.subscriptions.is_some()),
        ('x', client.multi.is_some()),
        ('b', client.is_held()),
        ('t', mode.is_some()),
        ('R', mode.is_some_and(|mode| mode.is_broken)),
        ('B', mode.is_some_and(|mode| mode.is_broadcast)),
        ('c', has(ClientFlags::CLOSE_AFTER_REPLY)),
        ('A', has(ClientFlags::CLOSE_ASAP)),
        ('U', has(ClientFlags::UNIX_SOCKET)),
        ('e', has(ClientFlags::NO_EVICT)),
        ('T', has(ClientFlags::NO_TOUCH)),
    ];
    let shown = letters.iter().filter(|(_, is_so)| *is_so);
    let shown: String = shown.map(|(letter, _)| *letter).collect();
    if shown.is_empty() { "N".into() } else { shown }
}
