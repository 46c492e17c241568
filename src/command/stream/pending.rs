//! XACK, XPENDING, XNACK: what a group was given and has not finished.

use super::{end_arg, find, id_args, no_group, reply_id, start_arg};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object;
use crate::resp::Args;
use crate::resp::writer::Reply;
use crate::state::keys::Access;
use crate::types::decimal::parse_i64;
use crate::types::stream::{self, NOBODY, Nack, StreamId};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XACK, XPENDING, XNACK];

/// How often an entry was delivered that nobody can handle.
const FATAL_DELIVERIES: u64 = i64::MAX as u64;

pub const XACK: Spec = Spec {
    name: "xack",
    arity: -4,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Acknowledges entries that a group was given.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::new("id", ArgKind::String).multiple(),
    ],
    handler: xack,
    ..Spec::DEFAULT
};

/// `XACK key group id [id ...]`
fn xack(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let found = find(ctx, key, Access::ReadWrite)?;
    let Some(group) = found.and_then(|stream| stream.groups.get_mut(args.bytes(2))) else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    let ids = id_args(args, 3..args.len())?;
    let done = ids.iter().filter(|id| group.acknowledge(**id)).count();
    super::count_changes(ctx, done);
    ctx.client.reply.len(done);
    Ok(())
}

pub const XPENDING: Spec = Spec {
    name: "xpending",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Returns what a group was given and has not acknowledged.",
    complexity: Some("O(N) or O(1) or O(M)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::block(
            "filters",
            &[
                Arg::new("min-idle-time", ArgKind::Integer)
                    .token("IDLE")
                    .since("6.2.0")
                    .optional(),
                Arg::new("start", ArgKind::String),
                Arg::new("end", ArgKind::String),
                Arg::new("count", ArgKind::Integer),
                Arg::new("consumer", ArgKind::String).optional(),
            ],
        )
        .optional(),
    ],
    tips: &["nondeterministic_output"],
    history: &[("6.2.0", &["IDLE"])],
    handler: xpending,
    ..Spec::DEFAULT
};

/// Which pending entries are listed.
struct Filter {
    start: StreamId,
    end: StreamId,
    count: usize,
    idle_min: i64,
    consumer_at: Option<usize>,
}

/// `XPENDING key group [[IDLE min-idle-time] start end count [consumer]]`
fn xpending(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let filter = match args.len() {
        3 => None,
        6..=9 => Some(parse_filter(args)?),
        _ => return Err(CommandError::Syntax),
    };
    let (key, name) = (ctx.key(args, 1), args.bytes(2));
    let now_ms = ctx.server.now_ms;
    let found = ctx
        .server
        .object::<object::Stream>(ctx.client.dbid, key, Access::Read)?;
    let group = found.and_then(|stream| stream.get().groups.get(name));
    let group = group.ok_or_else(|| no_group(key.bytes, name, ""))?;
    let reply = &mut ctx.client.reply;
    match filter {
        None => summarize(reply, group),
        Some(filter) => {
            let consumer = filter.consumer_at.map(|at| args.bytes(at));
            list(reply, group, &filter, consumer, now_ms);
        }
    }
    Ok(())
}

fn parse_filter(args: Args<'_>) -> Result<Filter, CommandError> {
    let (mut idle_min, mut at) = (0, 3);
    if args.is(at, "IDLE") {
        idle_min = int_arg(args, at + 1)?;
        if args.len() < 8 {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    let count = int_arg(args, at + 2)?;
    Ok(Filter {
        start: start_arg(args, at)?,
        end: end_arg(args, at + 1)?,
        count: usize::try_from(count).unwrap_or(0),
        idle_min,
        consumer_at: (at + 3 < args.len()).then_some(at + 3),
    })
}

fn summarize(reply: &mut Reply, group: &stream::Group) {
    let pending = group.pending();
    reply.array(4);
    reply.len(pending.len());
    let (Some((first, _)), Some((last, _))) = (pending.first_key_value(), pending.last_key_value())
    else {
        reply.null();
        reply.null();
        reply.null_array();
        return;
    };
    reply_id(reply, *first);
    reply_id(reply, *last);
    let busy = || {
        group
            .consumers()
            .filter(|(_, consumer)| !consumer.pending().is_empty())
    };
    reply.array(busy().count());
    for (_, consumer) in busy() {
        reply.array(2);
        reply.bulk(consumer.name());
        reply.bulk_int(consumer.pending().len() as i64);
    }
}

fn list(
    reply: &mut Reply,
    group: &stream::Group,
    filter: &Filter,
    consumer: Option<&[u8]>,
    now_ms: i64,
) {
    if filter.start > filter.end {
        return reply.array(0);
    }
    let range = filter.start..=filter.end;
    let is_idle =
        |nack: &Nack| filter.idle_min <= 0 || now_ms - nack.delivered_ms >= filter.idle_min;
    let begin = reply.array_begin();
    let mut len = 0;
    let mut one = |id: StreamId, nack: &Nack| {
        if len < filter.count && is_idle(nack) {
            reply.array(4);
            reply_id(reply, id);
            reply.bulk(group.owner_name(nack));
            reply.int(match nack.is_free() {
                true => -1,
                false => (now_ms - nack.delivered_ms).max(0),
            });
            reply.int(nack.deliveries as i64);
            len += 1;
        }
        len < filter.count
    };
    match consumer {
        None => {
            group
                .pending()
                .range(range)
                .all(|(id, nack)| one(*id, nack));
        }
        Some(name) => {
            let consumer = group.find(name).and_then(|index| group.consumer(index));
            let ids = consumer
                .into_iter()
                .flat_map(|one| one.pending().range(range.clone()));
            let mut pairs = ids.filter_map(|id| Some((*id, group.pending().get(id)?)));
            pairs.all(|(id, nack)| one(id, nack));
        }
    }
    reply.array_end(begin, len);
}

pub const XNACK: Spec = Spec {
    name: "xnack",
    arity: -7,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "8.8.0",
    summary: "Gives pending entries back to their group, for other consumers to take.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::one_of(
            "mode",
            &[
                Arg::word("silent", "SILENT"),
                Arg::word("fail", "FAIL"),
                Arg::word("fatal", "FATAL"),
            ],
        ),
        Arg::block(
            "ids",
            &[
                Arg::new("numids", ArgKind::Integer),
                Arg::new("id", ArgKind::String).multiple(),
            ],
        )
        .token("IDS"),
        Arg::new("count", ArgKind::Integer)
            .token("RETRYCOUNT")
            .optional(),
        Arg::word("force", "FORCE").optional(),
    ],
    handler: xnack,
    ..Spec::DEFAULT
};

/// How XNACK changes the number of deliveries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Silent,
    Fail,
    Fatal,
}

/// Options of XNACK behind its mode.
struct NackOptions {
    ids: Vec<StreamId>,
    deliveries: Option<u64>,
    force: bool,
}

/// `XNACK key group <SILENT | FAIL | FATAL> IDS numids id [id ...] [RETRYCOUNT count] [FORCE]`
fn xnack(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (ctx.key(args, 1), args.bytes(2));
    let found = find(ctx, key, Access::Write)?;
    if found.is_none_or(|stream| !stream.groups.contains_key(name)) {
        return Err(no_group(key.bytes, name, ""));
    }
    let mode = match () {
        () if args.is(3, "SILENT") => Mode::Silent,
        () if args.is(3, "FAIL") => Mode::Fail,
        () if args.is(3, "FATAL") => Mode::Fatal,
        () => {
            return Err(CommandError::text(
                "ERR mode must be SILENT, FAIL, or FATAL",
            ));
        }
    };
    let options = parse_nack(args)?;
    let stream = super::again(ctx, key)?;
    let (log, groups) = (&stream.log, &mut stream.groups);
    let mut released = 0;
    if let Some(group) = groups.get_mut(name) {
        for id in &options.ids {
            let old = match group.pending().get(id) {
                Some(nack) => nack.deliveries,
                None if options.force && log.contains(*id) => 0,
                None => continue,
            };
            let deliveries = options.deliveries.unwrap_or(match mode {
                Mode::Silent => old.saturating_sub(1),
                Mode::Fail => old,
                Mode::Fatal => FATAL_DELIVERIES,
            });
            group.assign(*id, NOBODY, 0, deliveries);
            released += 1;
        }
    }
    super::count_changes(ctx, released);
    super::pending_changed(ctx, key.bytes);
    ctx.client.reply.len(released);
    Ok(())
}

fn parse_nack(args: Args<'_>) -> Result<NackOptions, CommandError> {
    let mut ids = None;
    let (mut deliveries, mut force) = (None, false);
    let mut index = 4;
    while index < args.len() {
        let has_next = index + 1 < args.len();
        if args.is(index, "IDS") && ids.is_none() && has_next {
            let count = parse_i64(args.bytes(index + 1))
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| *count > 0)
                .ok_or(CommandError::text("ERR numids must be a positive integer"))?;
            let first = index + 2;
            if count > args.len() - first {
                return Err(CommandError::text("ERR number of IDs doesn't match numids"));
            }
            ids = Some(id_args(args, first..first + count)?);
            index = first + count;
        } else if args.is(index, "RETRYCOUNT") && has_next {
            let error = CommandError::text("ERR Invalid RETRYCOUNT value, must be >= 0");
            deliveries = Some(u64::try_from(int_arg(args, index + 1)?).map_err(|_| error)?);
            index += 2;
        } else if args.is(index, "FORCE") {
            force = true;
            index += 1;
        } else {
            let option = args.bytes(index);
            return Err(CommandError::quoting(
                "ERR Unrecognized XNACK option '",
                option,
                "'",
            ));
        }
    }
    let missing = CommandError::text("ERR syntax error, expected IDS keyword");
    Ok(NackOptions {
        ids: ids.ok_or(missing)?,
        deliveries,
        force,
    })
}
