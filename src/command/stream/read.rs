//! XREAD and XREADGROUP.

use super::{
    claim_argv, find, invalid_id, no_group, parse_strict_id, propagate_outcome, reply_entry,
    reply_id, reply_pairs, set_id_argv,
};
use crate::command::ctx::{int_arg, timeout_ms_arg};
use crate::command::spec::{
    Arg, ArgKind, BeginSearch, Categories, FindKeys, Flags, Group, KeyFlags, KeySpec, Spec,
};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Kind;
use crate::keyspace::object;
use crate::resp::Args;
use crate::resp::writer::Reply;
use crate::state::blocking::Wait;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::decimal::parse_i64;
use crate::types::stream::{self, Entry, Log, StreamId};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XREAD, XREADGROUP];

pub const XREAD: Spec = Spec {
    name: "xread",
    arity: -4,
    flags: Flags::READONLY.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Returns the entries of streams behind given IDs; waits for some if asked to.",
    key_specs: &[KeySpec {
        flags: KeyFlags::RO.or(KeyFlags::ACCESS).or(KeyFlags::INCOMPLETE),
        begin: BeginSearch::Keyword {
            keyword: "STREAMS",
            start_from: 1,
        },
        find: FindKeys::Range {
            last_key: -1,
            step: 1,
            limit: 2,
        },
    }],
    args: &[
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
        Arg::new("maxcount", ArgKind::Integer)
            .token("MAXCOUNT")
            .since("8.10.0")
            .optional(),
        Arg::new("maxsize", ArgKind::Integer)
            .token("MAXSIZE")
            .since("8.10.0")
            .optional(),
        Arg::new("milliseconds", ArgKind::Integer)
            .token("BLOCK")
            .optional(),
        Arg::block(
            "streams",
            &[
                Arg::key("key", 0).multiple(),
                Arg::new("id", ArgKind::String).multiple(),
            ],
        )
        .token("STREAMS"),
    ],
    history: &[("8.10.0", &["MAXCOUNT", "MAXSIZE"])],
    handler: xread,
    ..Spec::DEFAULT
};

/// `XREAD [options] STREAMS key [key ...] id [id ...]`
fn xread(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(ctx, args, false)?;
    // When it runs again, the IDs are those of the first time.
    let first_ids = ctx.memo().map(memo_ids);
    let mut ids = Vec::with_capacity(options.streams);
    for at in 0..options.streams {
        let id_at = options.id_at(at);
        let key = ctx.key(args, options.first_key + at);
        let found = find(ctx, key, Access::Read)?;
        let log = found.map(|stream| &stream.log);
        ids.push(match args.bytes(id_at) {
            b"$" => log.map_or(StreamId::MIN, |log| log.last_id),
            b"+" => log.map_or(StreamId::MIN, before_last),
            b">" => {
                return Err(CommandError::text(
                    "ERR The > ID can be specified only when calling XREADGROUP using the GROUP <group> \
                     <consumer> option.",
                ));
            }
            text => parse_strict_id(text, 0).ok_or_else(invalid_id)?,
        });
    }
    let ids = first_ids
        .filter(|first| first.len() == ids.len())
        .unwrap_or(ids);

    let mut output = Output::new(&mut ctx.client.reply, &options);
    for (at, after) in ids.iter().enumerate() {
        if output.is_full() {
            break;
        }
        let key_bytes = args.bytes(options.first_key + at);
        let key = ctx.server.key(key_bytes);
        let found = ctx
            .server
            .object::<object::Stream>(ctx.client.dbid, key, Access::Read)?;
        let Some(log) = found.map(|stream| &stream.get().log) else {
            continue;
        };
        let Some(start) = after.next().filter(|start| *start <= last_id(log)) else {
            continue;
        };
        output.begin_stream(&mut ctx.client.reply, key_bytes);
        for entry in log.range(start, StreamId::MAX).take(options.count) {
            let reply = &mut ctx.client.reply;
            if !output.entry(reply, |reply| reply_entry(reply, entry)) {
                break;
            }
        }
        output.end_stream(&mut ctx.client.reply);
    }
    if !output.finish(&mut ctx.client.reply) {
        let memo = ids.iter().flat_map(|id| [id.ms, id.seq]).collect();
        wait(ctx, args, &options, false, None, memo);
    }
    Ok(())
}

fn memo_ids(memo: &[u64]) -> Vec<StreamId> {
    let pairs = memo.chunks_exact(2);
    pairs.map(|pair| StreamId::new(pair[0], pair[1])).collect()
}

/// The last entry's ID, or 0-0.
fn last_id(log: &Log) -> StreamId {
    log.edge_id(true)
}

/// The ID behind which only the last entry comes.
fn before_last(log: &Log) -> StreamId {
    last_id(log).prev().unwrap_or(log.last_id)
}

pub const XREADGROUP: Spec = Spec {
    name: "xreadgroup",
    arity: -7,
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Returns entries in the name of a group, new or pending ones; waits for some if asked to.",
    complexity: Some("O(M) or O(1) or O(N)"),
    key_specs: &[KeySpec {
        flags: KeyFlags::RO.or(KeyFlags::ACCESS).or(KeyFlags::INCOMPLETE),
        begin: BeginSearch::Keyword {
            keyword: "STREAMS",
            start_from: 4,
        },
        find: FindKeys::Range {
            last_key: -1,
            step: 1,
            limit: 2,
        },
    }],
    args: &[
        Arg::block(
            "group-block",
            &[
                Arg::new("group", ArgKind::String),
                Arg::new("consumer", ArgKind::String),
            ],
        )
        .token("GROUP"),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
        Arg::new("maxcount", ArgKind::Integer)
            .token("MAXCOUNT")
            .since("8.10.0")
            .optional(),
        Arg::new("maxsize", ArgKind::Integer)
            .token("MAXSIZE")
            .since("8.10.0")
            .optional(),
        Arg::new("milliseconds", ArgKind::Integer)
            .token("BLOCK")
            .optional(),
        Arg::new("min-idle-time", ArgKind::Integer)
            .token("CLAIM")
            .since("8.4.0")
            .optional(),
        Arg::word("noack", "NOACK").optional(),
        Arg::block(
            "streams",
            &[
                Arg::key("key", 0).multiple(),
                Arg::new("id", ArgKind::String).multiple(),
            ],
        )
        .token("STREAMS"),
    ],
    history: &[("8.4.0", &["CLAIM"]), ("8.10.0", &["MAXCOUNT", "MAXSIZE"])],
    handler: xreadgroup,
    ..Spec::DEFAULT
};

/// `XREADGROUP GROUP group consumer [options] STREAMS key [key ...] id [id ...]`
fn xreadgroup(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(ctx, args, true)?;
    let name = args.bytes(options.group_at);
    // `None` stands for `>`, new entries.
    let mut ids = Vec::with_capacity(options.streams);
    for at in 0..options.streams {
        let key = ctx.key(args, options.first_key + at);
        let found = find(ctx, key, Access::Read)?;
        if found.is_none_or(|stream| !stream.groups.contains_key(name)) {
            let behind = " in XREADGROUP with GROUP option";
            return Err(no_group(key.bytes, name, behind));
        }
        ids.push(match args.bytes(options.id_at(at)) {
            b">" => None,
            sign @ (b"$" | b"+") => return Err(meaningless(sign)),
            text => Some(parse_strict_id(text, 0).ok_or_else(invalid_id)?)
                .filter(|id| *id != StreamId::MAX),
        });
    }

    let mut output = Output::new(&mut ctx.client.reply, &options);
    for (at, after) in ids.iter().enumerate() {
        if !output.is_full() {
            let key = args.bytes(options.first_key + at);
            read_group(ctx, args, &options, &mut output, key, *after)?;
        }
    }
    ctx.server.effects.rewritten = true;
    if !output.finish(&mut ctx.client.reply) {
        let wake_ms = options
            .claim_idle
            .and_then(|idle| next_claim_ms(ctx, args, &options, idle));
        wait(ctx, args, &options, true, wake_ms, Vec::new());
    }
    Ok(())
}

fn meaningless(sign: &[u8]) -> CommandError {
    CommandError::text(match sign {
        b"$" => {
            "ERR The $ ID is meaningless in the context of XREADGROUP: you want to read the history of this \
             consumer by specifying a proper ID, or use the > ID to get new messages. The $ ID would just return \
             an empty result set."
        }
        _ => {
            "ERR The + ID is meaningless in the context of XREADGROUP: you want to read the history of this \
             consumer by specifying a proper ID, or use the > ID to get new messages. The + ID would just return \
             an empty result set."
        }
    })
}

/// One stream's part of XREADGROUP.
fn read_group(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    options: &Options,
    output: &mut Output,
    key: &[u8],
    after: Option<StreamId>,
) -> Result<(), CommandError> {
    let now_ms = ctx.server.now_ms;
    let propagating = ctx.server.effects.propagating();
    let (name, consumer) = (
        args.bytes(options.group_at),
        args.bytes(options.group_at + 1),
    );
    let hashed = ctx.server.key(key);
    let found = ctx
        .server
        .object::<object::Stream>(ctx.client.dbid, hashed, Access::ReadWrite)?;
    let Some(stream) = found.map(object::Stream::get_mut) else {
        return Ok(());
    };
    let (log, groups) = (&stream.log, &mut stream.groups);
    let Some(group) = groups.get_mut(name) else {
        return Ok(());
    };
    let known = group.find(consumer);
    let owner = known.unwrap_or_else(|| group.add_consumer(consumer, now_ms));
    if let Some(consumer) = group.consumer_mut(owner) {
        consumer.seen_ms = now_ms;
    }
    let reply = &mut ctx.client.reply;
    let mut commands: Vec<Vec<Vec<u8>>> = Vec::new();
    // Without NOACK the consumer comes to be by what is delivered to it.
    if propagating && known.is_none() && options.no_ack {
        let argv = [b"XGROUP", &b"CREATECONSUMER"[..], key, name, consumer];
        commands.push(argv.iter().map(|arg| arg.to_vec()).collect());
    }
    let mut deliver = |group: &mut stream::Group, id: StreamId, deliveries: u64| {
        group.assign(id, owner, now_ms, deliveries);
        if let Some(consumer) = group.consumer_mut(owner) {
            consumer.active_ms = now_ms;
        }
        if let (true, Some(nack)) = (propagating, group.pending().get(&id)) {
            commands.push(claim_argv(key, name, group, id, consumer, nack));
        }
    };
    let (mut is_new_read, mut claimed) = (false, 0);
    match after {
        Some(after) => {
            output.begin_stream(reply, key);
            history(reply, output, options, log, group, (owner, after, now_ms));
            output.end_stream(reply);
        }
        None => {
            let claims = match options.claim_idle {
                Some(idle_min) => group.claimable(options.count, |id, nack| {
                    (nack.is_free() || now_ms - nack.delivered_ms >= idle_min) && log.contains(id)
                }),
                None => Vec::new(),
            };
            let start = group.last_id.next().filter(|start| *start <= last_id(log));
            if !claims.is_empty() || start.is_some() {
                output.begin_stream(reply, key);
                for (id, nack) in &claims {
                    let Some(entry) = log.get(*id) else {
                        continue;
                    };
                    let idle = if nack.is_free() {
                        -1
                    } else {
                        now_ms - nack.delivered_ms
                    };
                    let is_taken = output.entry(reply, |reply| {
                        reply_delivery(reply, entry, idle, nack.deliveries);
                    });
                    if !is_taken {
                        break;
                    }
                    deliver(group, *id, nack.deliveries.saturating_add(1));
                    claimed += 1;
                }
                let left = options.count - claimed;
                let news = start
                    .into_iter()
                    .flat_map(|start| log.range(start, StreamId::MAX));
                for entry in news.take(left) {
                    let id = entry.id();
                    let is_taken = output.entry(reply, |reply| match options.claim_idle {
                        Some(_) => reply_delivery(reply, entry, 0, 0),
                        None => reply_entry(reply, entry),
                    });
                    if !is_taken {
                        break;
                    }
                    group.advance(log, id);
                    is_new_read = true;
                    if !options.no_ack {
                        deliver(group, id, 1);
                    }
                }
                output.end_stream(reply);
            }
        }
    }
    if propagating && is_new_read {
        commands.push(set_id_argv(key, name, group));
    }
    if known.is_none() {
        super::announce(ctx, key, Event::stream("xgroup-createconsumer"));
    }
    super::count_changes(ctx, (is_new_read || claimed > 0).into());
    super::pending_changed(ctx, key);
    propagate_outcome(ctx, &commands);
    Ok(())
}

/// An entry with how long ago it was delivered last and how often it was, as CLAIM wants it.
fn reply_delivery(reply: &mut Reply, entry: Entry<'_>, idle_ms: i64, deliveries: u64) {
    reply.array(4);
    reply_id(reply, entry.id());
    reply_pairs(reply, entry);
    reply.int(idle_ms);
    reply.int(deliveries as i64);
}

/// The pending entries of a consumer behind `after`: each counts as delivered once more.
fn history(
    reply: &mut Reply,
    output: &mut Output,
    options: &Options,
    log: &Log,
    group: &mut stream::Group,
    (owner, after, now_ms): (u32, StreamId, i64),
) {
    let Some(start) = after.next() else {
        return;
    };
    let pending = group
        .consumer(owner)
        .map(|consumer| consumer.pending().range(start..));
    let ids: Vec<StreamId> = pending
        .into_iter()
        .flatten()
        .take(options.count)
        .copied()
        .collect();
    for id in ids {
        let entry = log.get(id);
        let is_taken = output.entry(reply, |reply| match entry {
            Some(entry) => reply_entry(reply, entry),
            None => {
                reply.array(2);
                reply_id(reply, id);
                reply.null_array();
            }
        });
        if !is_taken {
            break;
        }
        if entry.is_some() {
            group.redeliver(id, now_ms);
        }
    }
}

/// What both commands are asked for.
struct Options {
    /// The most entries of one stream.
    count: usize,
    /// The most entries of all streams.
    count_max: usize,
    /// About the most bytes of the reply.
    size_max: usize,
    /// Whether to wait, and until when.
    block: Option<Option<i64>>,
    /// The argument that is the group's name; the consumer's follows.
    group_at: usize,
    no_ack: bool,
    claim_idle: Option<i64>,
    first_key: usize,
    streams: usize,
}

impl Options {
    fn id_at(&self, stream: usize) -> usize {
        self.first_key + self.streams + stream
    }

    fn parse(ctx: &Ctx<'_>, args: Args<'_>, is_group: bool) -> Result<Options, CommandError> {
        let mut options = Options {
            count: usize::MAX,
            count_max: usize::MAX,
            size_max: usize::MAX,
            block: None,
            group_at: 0,
            no_ack: false,
            claim_idle: None,
            first_key: 0,
            streams: 0,
        };
        let mut index = 1;
        while index < args.len() {
            let behind = args.len() - 1 - index;
            if args.is(index, "STREAMS") && behind > 0 {
                options.first_key = index + 1;
                options.streams = behind / 2;
                if behind % 2 == 1 {
                    return Err(unbalanced(is_group));
                }
                break;
            }
            let used = options.parse_one(ctx, args, index, is_group)?;
            index += used.ok_or(CommandError::Syntax)?;
        }
        if options.first_key == 0 {
            return Err(CommandError::Syntax);
        }
        if is_group && options.group_at == 0 {
            return Err(CommandError::text(
                "ERR Missing GROUP option for XREADGROUP",
            ));
        }
        let has_count = options.count != usize::MAX;
        if has_count && options.count_max < options.count {
            return Err(CommandError::text(
                "ERR MAXCOUNT must be greater than or equal to COUNT",
            ));
        }
        Ok(options)
    }

    /// Reads the option at argument `index`; says how many arguments it has.
    fn parse_one(
        &mut self,
        ctx: &Ctx<'_>,
        args: Args<'_>,
        index: usize,
        is_group: bool,
    ) -> Result<Option<usize>, CommandError> {
        let behind = args.len() - 1 - index;
        let only_group = |option: &str| {
            CommandError::text(format!(
                "ERR The {option} option is only supported by XREADGROUP. You called XREAD instead."
            ))
        };
        if args.is(index, "BLOCK") && behind > 0 {
            let timeout = timeout_ms_arg(ctx, args, index + 1)?;
            let deadline = ctx.server.now_ms.saturating_add_unsigned(timeout);
            self.block = Some((timeout > 0).then_some(deadline));
        } else if args.is(index, "COUNT") && behind > 0 {
            let count = usize::try_from(int_arg(args, index + 1)?).unwrap_or(0);
            self.count = if count == 0 { usize::MAX } else { count };
        } else if args.is(index, "MAXCOUNT") && behind > 0 {
            self.count_max = positive(args, index + 1, "ERR MAXCOUNT must be positive")?;
        } else if args.is(index, "MAXSIZE") && behind > 0 {
            self.size_max = positive(args, index + 1, "ERR MAXSIZE must be positive")?;
        } else if args.is(index, "GROUP") && behind > 1 {
            if !is_group {
                return Err(only_group("GROUP"));
            }
            self.group_at = index + 1;
            return Ok(Some(3));
        } else if args.is(index, "CLAIM") && behind > 0 {
            if !is_group {
                return Err(only_group("CLAIM"));
            }
            let idle = parse_i64(args.bytes(index + 1)).ok_or(CommandError::text(
                "ERR min-idle-time is not an integer or out of range",
            ))?;
            if idle < 0 {
                return Err(CommandError::text(
                    "ERR min-idle-time must be a positive integer",
                ));
            }
            self.claim_idle = Some(idle);
        } else if args.is(index, "NOACK") {
            if !is_group {
                return Err(only_group("NOACK"));
            }
            self.no_ack = true;
            return Ok(Some(1));
        } else {
            return Ok(None);
        }
        Ok(Some(2))
    }
}

fn positive(args: Args<'_>, index: usize, error: &'static str) -> Result<usize, CommandError> {
    let value = int_arg(args, index)?;
    usize::try_from(value)
        .ok()
        .filter(|value| *value > 0)
        .ok_or(CommandError::text(error))
}

fn unbalanced(is_group: bool) -> CommandError {
    CommandError::text(if is_group {
        "ERR Unbalanced 'xreadgroup' list of streams: for each stream key an ID or '>' must be specified."
    } else {
        "ERR Unbalanced 'xread' list of streams: for each stream key an ID, '+', or '$' must be specified."
    })
}

/// The reply in the making, and how much of it there may be.
struct Output {
    begin: Option<crate::resp::writer::Deferred>,
    stream: Option<crate::resp::writer::Deferred>,
    start: usize,
    streams: usize,
    entries: usize,
    entries_here: usize,
    count_max: usize,
    size_max: usize,
    is_full: bool,
}

impl Output {
    fn new(reply: &mut Reply, options: &Options) -> Output {
        Output {
            start: reply.written(),
            begin: Some(reply.array_begin()),
            stream: None,
            streams: 0,
            entries: 0,
            entries_here: 0,
            count_max: options.count_max,
            size_max: options.size_max,
            is_full: false,
        }
    }

    fn is_full(&self) -> bool {
        self.is_full
    }

    fn begin_stream(&mut self, reply: &mut Reply, key: &[u8]) {
        if !reply.is_resp3() {
            reply.array(2);
        }
        reply.bulk(key);
        self.streams += 1;
        self.entries_here = 0;
        self.stream = Some(reply.array_begin());
    }

    /// Adds an entry, unless that would be too much; says whether it was added. The first always is.
    fn entry(&mut self, reply: &mut Reply, write: impl FnOnce(&mut Reply)) -> bool {
        if self.entries >= self.count_max {
            self.is_full = true;
            return false;
        }
        let mark = reply.array_begin();
        write(reply);
        let size = reply.written().saturating_sub(self.start);
        if self.entries > 0 && size > self.size_max {
            reply.rewind(&mark);
            self.is_full = true;
            return false;
        }
        self.entries += 1;
        self.entries_here += 1;
        self.is_full = self.entries >= self.count_max || size >= self.size_max;
        true
    }

    fn end_stream(&mut self, reply: &mut Reply) {
        if let Some(begin) = self.stream.take() {
            reply.array_end(begin, self.entries_here);
        }
    }

    /// Ends the reply, if there is any; says whether there is.
    fn finish(mut self, reply: &mut Reply) -> bool {
        match self.begin.take() {
            Some(begin) if self.streams > 0 && reply.is_resp3() => {
                reply.map_end(begin, self.streams);
            }
            Some(begin) if self.streams > 0 => reply.array_end(begin, self.streams),
            _ => {}
        }
        self.streams > 0
    }
}

/// When the first pending entry will have been idle for as long as CLAIM asks. What becomes pending later is looked at
/// when it does: see [`super::pending_changed`].
fn next_claim_ms(ctx: &mut Ctx<'_>, args: Args<'_>, options: &Options, idle: i64) -> Option<i64> {
    let dbid = ctx.client.dbid;
    let name = args.bytes(options.group_at);
    let mut first: Option<i64> = None;
    for at in 0..options.streams {
        if args.bytes(options.id_at(at)) != b">" {
            continue;
        }
        let key = ctx.key(args, options.first_key + at);
        let found = ctx
            .server
            .object::<object::Stream>(dbid, key, Access::Peek)
            .ok()
            .flatten();
        let Some(stream) = found.map(|stream| stream.get()) else {
            continue;
        };
        let pending = stream.groups.get(name).map(stream::Group::pending);
        let due = pending
            .into_iter()
            .flatten()
            .filter(|(id, _)| stream.log.contains(**id))
            .map(|(_, nack)| nack.delivered_ms.saturating_add(idle))
            .min();
        first = first.into_iter().chain(due).min();
    }
    // A client that waits for entries to age is told apart from others even while there are none.
    Some(first.unwrap_or(NEVER_MS))
}

/// Later than any time that comes; far enough from the largest number to be counted in microseconds.
const NEVER_MS: i64 = i64::MAX / 1_000_000;

/// Nothing was found: waits, if asked to.
fn wait(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    options: &Options,
    is_group: bool,
    wake_ms: Option<i64>,
    memo: Vec<u64>,
) {
    let Some(deadline_ms) = options.block else {
        ctx.client.reply.null_array();
        return;
    };
    let keys = options.first_key..options.first_key + options.streams;
    ctx.block(Wait {
        keys: keys.map(|index| args.bytes(index).to_vec()).collect(),
        kind: Kind::Stream,
        on_any_change: is_group,
        wake_ms,
        deadline_ms,
        is_single: false,
        memo,
    });
}
