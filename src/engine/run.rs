//! Running a client's requests: parse a run of them, prefetch what they will touch, execute in order.

use bytes::Bytes;

use crate::border::LogLevel;
use crate::command::CommandId;
use crate::command::client::describe;
use crate::engine::exec::Step;
use crate::engine::waiting::PENDING_OUTPUT_MAX;
use crate::engine::{Engine, READ_CHUNK};
use crate::keyspace::entry::Entry;
use crate::keyspace::object::ObjectRef;
use crate::resp::parser::QueryView;
use crate::resp::{ArgPos, Args, Limits, Parsed, ProtocolError};
use crate::state::client::Parked;
use crate::state::monitor::escape;
use crate::state::{Client, ClientFlags, ConnId, Waiting};

/// The most commands that are parsed before the first of them runs, whatever `lookahead` says.
const BATCH_MAX: usize = 64;

/// Bytes of a request that is not understood which its log line shows.
const SAMPLE_MAX: usize = 128;

/// Bytes of a query that is too long which its log line shows.
const QUERY_SAMPLE: usize = 64;

/// Arguments that the list of a batch's arguments keeps room for; what a huge command needed goes back.
const ARGV_KEEP: usize = 16 * 1024;

/// One parsed request of a batch. Slots are reused and filled field by field: building a value and moving it in
/// costs more than parsing a short command.
#[derive(Default)]
pub(super) struct Request {
    /// Its first byte in the query buffer, and how many bytes it has.
    start: usize,
    len: usize,
    /// Its arguments in the batch's list.
    argv: (usize, usize),
    big: Vec<Bytes>,
    command: Option<CommandId>,
    /// It was found, and has no subcommands.
    is_plain: bool,
    first_key: Option<(usize, u64)>,
}

impl Request {
    /// Whether this request names the command that `args` name, letter by letter. A container's name alone says
    /// too little, so only commands without subcommands are compared.
    #[inline]
    fn is_same_name(&self, query: &[u8], argv: &[ArgPos], args: Args<'_>) -> bool {
        if !self.is_plain || self.argv.0 == self.argv.1 {
            return false;
        }
        let name = Args::new(
            &query[self.start..],
            &argv[self.argv.0..self.argv.1],
            &self.big,
        )
        .bytes(0);
        name == args.bytes(0)
    }
}

impl Engine {
    /// Runs what the client has sent, as far as it may.
    pub(super) fn process(&mut self, conn: ConnId) {
        let Some(mut client) = self.server.clients.take(conn) else {
            return;
        };
        self.check_query_limit(&mut client);
        let is_shared = client.flags.has(ClientFlags::SHARED_READ);
        let mut query = std::mem::take(if is_shared {
            &mut self.shared_read
        } else {
            &mut client.query
        });
        client.query_taken = query.len();
        self.run(&mut client, &mut query);
        client.query_taken = 0;
        if is_shared {
            client.flags.set(ClientFlags::SHARED_READ, false);
            let rest = &query[client.query_pos..client.query_end];
            let len = rest.len();
            if len > 0 {
                client.query_pos = 0;
                client.query_end = 0;
                client.query_space(len)[..len].copy_from_slice(rest);
            }
            client.query_pos = 0;
            client.query_end = len;
            self.shared_read = query;
        } else {
            client.query = query;
            if client.query_pos == client.query_end {
                client.query_pos = 0;
                client.query_end = 0;
                // It was a copy of what the shared buffer held while its commands waited.
                if client.query.len() < READ_CHUNK {
                    client.query = Vec::new();
                }
            }
        }
        client.query_peak = client.query_peak.max(client.query_end - client.query_pos);
        self.after_run(client);
    }

    /// Closes a client that has sent more than may wait to be executed.
    fn check_query_limit(&mut self, client: &mut Client) {
        let queued = client.multi.as_ref().map_or(0, |multi| multi.args_bytes);
        let pending = client.unparsed_bytes() + queued;
        let limit = self.server.config.client_query_buffer_limit;
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        if pending > limit && !client.is_closing() {
            client.flags.set(ClientFlags::CLOSE_ASAP, true);
            self.server.stats.query_buffer_limit_disconnections += 1;
            let line = describe(&self.server, client, &self.registry);
            let text = format!(
                "Closing client that reached max query buffer length: {} (qbuf initial bytes: \"{}\")",
                line.trim_end(),
                self.query_sample(client)
            );
            self.server.log(LogLevel::Warning, text);
        }
    }

    /// The first bytes of what the client has sent and is not parsed.
    fn query_sample(&self, client: &Client) -> String {
        let query = match client.flags.has(ClientFlags::SHARED_READ) {
            true => &self.shared_read,
            false => &client.query,
        };
        let from = client.query_pos + client.parsed_bytes();
        let bytes = match client.parser.big_body() {
            Some(body) if client.commands().next().is_none() => body,
            _ => query.get(from..client.query_end).unwrap_or_default(),
        };
        let mut text = String::new();
        escape(&bytes[..bytes.len().min(QUERY_SAMPLE)], &mut text);
        text
    }

    /// Puts the client back and sees to its output.
    fn after_run(&mut self, mut client: Box<Client>) {
        let conn = client.conn;
        // Who waits for something else is not read either.
        if client.reply.pending() > PENDING_OUTPUT_MAX && !client.is_waiting() {
            client.wait_for(Waiting::Output);
        }
        self.server.check_output_limit(&mut client);
        // What it holds only until the shell has answered, such as a copy of its command, is not counted.
        let is_asking = self.asking == Some(conn);
        if !is_asking {
            self.server.count_client(&mut client);
        }
        let is_gone = client.flags.has(ClientFlags::GONE);
        let is_over = is_gone && !self.has_begun(&client);
        let has_output = (client.reply.pending() > 0 || client.is_closing()) && !is_gone;
        if has_output && !client.flags.has(ClientFlags::FLUSH_QUEUED) {
            client.flags.set(ClientFlags::FLUSH_QUEUED, true);
            self.server.queue_flush(conn);
        }
        self.server.clients.put_back(client);
        if is_over && !is_asking {
            self.forget(conn);
        }
        if !is_asking {
            self.evict_clients();
        }
    }

    /// Closes the largest clients as long as all together take more than `maxmemory-clients`.
    #[inline]
    pub(super) fn evict_clients(&mut self) {
        if self.server.clients_memory > 0 {
            self.evict_largest_clients();
        }
    }

    fn evict_largest_clients(&mut self) {
        while let Some(conn) = self.server.client_to_evict() {
            if let Some(client) = self.server.clients.get(conn) {
                let line = describe(&self.server, client, &self.registry);
                let text = format!("Evicting client: {}", line.trim_end());
                self.server.log(LogLevel::Notice, text);
            }
            self.server.close_asap(conn);
            self.server.stats.evicted_clients += 1;
        }
    }

    fn run(&mut self, client: &mut Client, query: &mut Vec<u8>) {
        client
            .reply
            .set_pending_max(self.server.pending_max(client));
        if client.is_waiting() || !self.continue_begun(client) {
            return;
        }
        if !self.run_parked(client, query) {
            return;
        }
        let mut slots = std::mem::take(&mut self.batch);
        let mut argv = std::mem::take(&mut self.argv);
        slots.resize_with(BATCH_MAX, Request::default);
        let lookahead = usize::try_from(self.server.config.lookahead).unwrap_or(1);
        let lookahead = lookahead.clamp(1, BATCH_MAX);
        loop {
            argv.clear();
            let ahead = &mut slots[..lookahead];
            let (count, failure) = self.parse_batch(client, query, ahead, &mut argv);
            let batch = &mut slots[..count];
            if !batch.is_empty() && !self.run_batch(client, query, batch, &argv) {
                break;
            }
            if let Some(error) = failure {
                self.protocol_error(client, &error, query);
                break;
            }
            if count == 0 {
                break;
            }
        }
        self.batch = slots;
        if argv.capacity() <= ARGV_KEEP {
            self.argv = argv;
        }
    }

    /// Runs the commands that had to wait; says whether all of them have run.
    fn run_parked(&mut self, client: &mut Client, query: &[u8]) -> bool {
        debug_assert!(client.begun.command.is_none(), "what has begun ends first");
        while !client.is_closing()
            && let Some(parked) = client.parked.pop_front()
        {
            let bytes = &query[client.query_pos..client.query_end];
            let args = Args::new(bytes, &parked.argv, &parked.big);
            let command = self.registry.find(args).ok().map(|command| command.id);
            let step = self.execute(client, args, command, None);
            match step {
                Step::Wait => client.parked.push_front(parked),
                Step::Begun => client.begun.command = Some(parked),
                Step::Next | Step::Stop => client.query_pos += parked.len,
            }
            if step != Step::Next {
                return false;
            }
        }
        !client.is_closing()
    }

    /// Parses as many whole requests as there are, up to the number of slots; says how many, and what is wrong
    /// with the bytes behind them.
    fn parse_batch(
        &mut self,
        client: &mut Client,
        query: &mut Vec<u8>,
        slots: &mut [Request],
        argv: &mut Vec<ArgPos>,
    ) -> (usize, Option<ProtocolError>) {
        let mut count = 0;
        let mut pos = client.query_pos;
        while count < slots.len() && pos <= client.query_end {
            let limits = Limits {
                bulk_len_max: self.server.config.proto_max_bulk_len,
                authenticated: !self.server.needs_auth(client),
            };
            let first = argv.len();
            let mut view = QueryView::new(query, pos, client.query_end);
            let parsed = client.parser.parse(&mut view, argv, limits);
            client.query_end = view.end();
            let len = match parsed {
                Ok(Parsed::Command { len }) => len,
                Ok(Parsed::Incomplete) => break,
                Err(error) => return (count, Some(error)),
            };
            let (before, rest) = slots.split_at_mut(count);
            let Some(slot) = rest.first_mut() else {
                break;
            };
            if client.parser.has_big() || !slot.big.is_empty() {
                slot.big = client.parser.take_big();
            }
            let args = Args::new(&query[pos..pos + len], &argv[first..], &slot.big);
            let found = match before.last() {
                // A pipeline mostly repeats one command: its name need not be looked up again.
                Some(last) if last.is_same_name(query, argv, args) => {
                    last.command.map(|id| self.registry.get(id))
                }
                _ if args.is_empty() => None,
                _ => self.registry.find(args).ok(),
            };
            slot.first_key = found.and_then(|command| {
                let at = usize::from(command.first_key?);
                let key = args.get(at)?;
                let hash = self.server.hash_seed.hash(key);
                self.server.db(client.dbid).table.prefetch_bucket(hash);
                Some((at, hash))
            });
            slot.start = pos;
            slot.len = len;
            slot.argv = (first, argv.len());
            slot.command = found.map(|command| command.id);
            slot.is_plain = found.is_some_and(|command| {
                command.container.is_none() && command.subcommands.is_empty()
            });
            count += 1;
            pos += len;
            // What a client may send depends on whether it has authenticated, which the next command may do.
            if self.server.needs_auth(client) {
                break;
            }
        }
        (count, None)
    }

    /// Executes a batch; says whether to go on parsing.
    fn run_batch(
        &mut self,
        client: &mut Client,
        query: &[u8],
        batch: &mut [Request],
        argv: &[ArgPos],
    ) -> bool {
        if batch.len() > 1 {
            let db = self.server.db(client.dbid);
            for (_, hash) in batch.iter().filter_map(|request| request.first_key) {
                db.table.prefetch_element(hash);
            }
            self.prefetch_elements(client.dbid, query, batch, argv);
        }
        for at in 0..batch.len() {
            let request = &batch[at];
            let step = if request.argv.0 == request.argv.1 {
                Step::Next
            } else {
                let bytes = &query[request.start..request.start + request.len];
                let args = Args::new(bytes, &argv[request.argv.0..request.argv.1], &request.big);
                self.execute(client, args, request.command, request.first_key)
            };
            if step == Step::Next {
                client.query_pos = request.start + request.len;
                continue;
            }
            let keep_from = match step {
                Step::Wait => at,
                Step::Begun => {
                    client.begun.command = Some(park(&mut batch[at], argv));
                    at + 1
                }
                Step::Next | Step::Stop => {
                    client.query_pos = request.start + request.len;
                    at + 1
                }
            };
            for request in &mut batch[keep_from..] {
                client.parked.push_back(park(request, argv));
            }
            return false;
        }
        true
    }

    /// Asks for the memory of the elements that the batch will look for in large collections: first for all their
    /// buckets, then for what these point to.
    fn prefetch_elements(&self, dbid: u32, query: &[u8], batch: &[Request], argv: &[ArgPos]) {
        let Some(db) = self.server.dbs.get(dbid as usize) else {
            return;
        };
        let mut wanted = [None; BATCH_MAX];
        let mut last = None;
        for (request, wanted) in batch.iter().zip(&mut wanted) {
            let (Some(id), Some((key_at, key_hash))) = (request.command, request.first_key) else {
                continue;
            };
            let Some(element_at) = self.registry.get(id).element else {
                continue;
            };
            let bytes = &query[request.start..request.start + request.len];
            let args = Args::new(bytes, &argv[request.argv.0..request.argv.1], &request.big);
            let (Some(key), Some(element)) = (args.get(key_at), args.get(element_at.into())) else {
                continue;
            };
            // Batches mostly stay with one key.
            let table = match last {
                Some((known, table)) if known == key => table,
                _ => db
                    .get(key_hash, key)
                    .and_then(Entry::object)
                    .and_then(ObjectRef::elements),
            };
            last = Some((key, table));
            *wanted = table.map(|table| (table, self.server.hash_seed.hash(element)));
            if let Some((table, hash)) = wanted {
                table.prefetch_bucket(*hash);
            }
        }
        for (table, hash) in wanted.into_iter().flatten() {
            table.prefetch_element(hash);
        }
    }

    /// Answers a request that cannot be understood, and closes.
    fn protocol_error(&mut self, client: &mut Client, error: &ProtocolError, query: &[u8]) {
        if self.server.logs(LogLevel::Verbose) {
            // From where it cannot be understood; like a real server, whatever `hide-user-data-from-log` says.
            let rest = &query[client.query_pos..client.query_end];
            let sample = sample_of(rest.get(client.parser.parsed_bytes()..).unwrap_or(rest));
            let line = describe(&self.server, client, &self.registry);
            let text = format!(
                "Protocol error ({}) from client: {}. Query buffer during protocol error: {}",
                error.in_log(),
                line.trim_end(),
                sample
            );
            self.server.log(LogLevel::Verbose, text);
        }
        let text = format!("ERR Protocol error: {error}");
        self.server.count_error(text.as_bytes());
        client.reply.error(&text);
        client.close_after_reply();
    }
}

/// What a client sent, as far as a log line has room for it: both ends of a long text, and a point for each byte that
/// is no letter or sign.
fn sample_of(bytes: &[u8]) -> String {
    let shown = |bytes: &[u8]| -> String {
        let is_shown = |byte: &u8| (b' '..=b'~').contains(byte);
        bytes
            .iter()
            .map(|byte| if is_shown(byte) { *byte as char } else { '.' })
            .collect()
    };
    if bytes.len() < SAMPLE_MAX {
        return format!("'{}'", shown(bytes));
    }
    let half = SAMPLE_MAX / 2;
    format!(
        "'{}' (... more {} bytes ...) '{}'",
        shown(&bytes[..half]),
        bytes.len() - SAMPLE_MAX,
        shown(&bytes[bytes.len() - half..])
    )
}

/// A request in a form that outlives its batch.
fn park(request: &mut Request, argv: &[ArgPos]) -> Parked {
    Parked {
        argv: argv[request.argv.0..request.argv.1].to_vec(),
        big: std::mem::take(&mut request.big),
        len: request.len,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_shows_both_ends() {
        assert_eq!(sample_of(b"$abc\r\n\xff~"), "'$abc...~'");
        let long = [vec![b'a'; 100], vec![b'b'; 100]].concat();
        let want = format!(
            "'{}' (... more 72 bytes ...) '{}'",
            "a".repeat(64),
            "b".repeat(64)
        );
        assert_eq!(sample_of(&long), want);
    }
}
