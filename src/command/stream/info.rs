//! XINFO: what a stream and its groups are made of.

use super::{find, no_such_group, reply_entry, reply_id};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::keyspace::object;
use crate::resp::Args;
use crate::resp::writer::Reply;
use crate::state::keys::Access;
use crate::types::stream::{self, Log, Stream, StreamId};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XINFO];

/// How many entries FULL shows unless told otherwise.
const FULL_COUNT: usize = 10;

pub const XINFO: Spec = Spec {
    name: "xinfo",
    arity: -2,
    group: Group::Stream,
    since: "5.0.0",
    summary: "A container for commands that look at streams.",
    help: &[
        "CONSUMERS <key> <groupname>",
        "GROUPS <key>",
        "STREAM <key> [FULL [COUNT <count>]",
    ],
    subcommands: &[XINFO_CONSUMERS, XINFO_GROUPS, XINFO_HELP, XINFO_STREAM],
    ..Spec::DEFAULT
};

/// The stream at argument 2, and where to reply.
fn open<'c>(
    ctx: &'c mut Ctx<'_>,
    args: Args<'_>,
) -> Result<(&'c Stream, &'c mut Reply, i64), CommandError> {
    let key = ctx.key(args, 2);
    let now_ms = ctx.server.now_ms;
    let found = ctx
        .server
        .object::<object::Stream>(ctx.client.dbid, key, Access::Read)?;
    let stream = found.ok_or(CommandError::NoSuchKey)?;
    Ok((stream.get(), &mut ctx.client.reply, now_ms))
}

pub const XINFO_STREAM: Spec = Spec {
    name: "stream",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Describes a stream.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "full-block",
            &[
                Arg::word("full", "FULL"),
                Arg::new("count", ArgKind::Integer)
                    .token("COUNT")
                    .optional(),
            ],
        )
        .optional(),
    ],
    history: &[
        ("6.0.0", &["FULL"]),
        (
            "7.0.0",
            &[
                "max-deleted-entry-id",
                "entries-added",
                "recorded-first-entry-id",
                "entries-read",
                "lag",
            ],
        ),
        ("7.2.0", &["active-time", "seen-time"]),
        (
            "8.6.0",
            &[
                "idmp-duration",
                "idmp-maxsize",
                "pids-tracked",
                "iids-tracked",
                "iids-added",
                "iids-duplicates",
                "IDMP",
            ],
        ),
        ("8.8.0", &["nacked-count", "FULL"]),
    ],
    handler: xinfo_stream,
    ..Spec::DEFAULT
};

/// `XINFO STREAM key [FULL [COUNT count]]`
fn xinfo_stream(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 2);
    if find(ctx, key, Access::Peek)?.is_none() {
        find(ctx, key, Access::Read)?; // which counts as a miss
        return Err(CommandError::NoSuchKey);
    }
    let is_full = args.len() > 3;
    let is_syntax_right = match args.len() {
        3 => true,
        4 => args.is(3, "FULL"),
        6 => args.is(3, "FULL") && args.is(4, "COUNT"),
        _ => false,
    };
    if !is_syntax_right {
        return Err(CommandError::subcommand_syntax(args.bytes(1), "XINFO"));
    }
    let count = match args.len() {
        6 => match int_arg(args, 5)? {
            0 => usize::MAX,
            count => usize::try_from(count).unwrap_or(FULL_COUNT),
        },
        _ => FULL_COUNT,
    };
    let (stream, reply, _) = open(ctx, args)?;
    let log = &stream.log;
    let extra = if stream.producers.is_some() { 6 } else { 0 };
    reply.map(if is_full { 9 } else { 10 } + extra);
    reply.text("length");
    reply.int(log.len() as i64);
    reply.text("radix-tree-keys");
    reply.len(log.blocks().len());
    reply.text("radix-tree-nodes");
    reply.len(log.radix_nodes());
    reply.text("last-generated-id");
    reply_id(reply, log.last_id);
    reply.text("max-deleted-entry-id");
    reply_id(reply, log.max_deleted_id);
    reply.text("entries-added");
    reply.int(log.entries_added as i64);
    reply.text("recorded-first-entry-id");
    reply_id(reply, log.first_id());
    reply_producers(reply, stream);
    if is_full {
        reply.text("entries");
        let begin = reply.array_begin();
        let mut len = 0;
        for entry in log.range(StreamId::MIN, StreamId::MAX).take(count) {
            reply_entry(reply, entry);
            len += 1;
        }
        reply.array_end(begin, len);
        reply.text("groups");
        reply.array(stream.groups.len());
        for (name, group) in &stream.groups {
            reply_group_full(reply, log, name, group, count);
        }
        return Ok(());
    }
    reply.text("groups");
    reply.len(stream.groups.len());
    let first = log.range(StreamId::MIN, StreamId::MAX).next();
    let last = log.range_back(StreamId::MIN, StreamId::MAX).next();
    for (field, entry) in [("first-entry", first), ("last-entry", last)] {
        reply.text(field);
        match entry {
            Some(entry) => reply_entry(reply, entry),
            None => reply.null(),
        }
    }
    Ok(())
}

/// What is remembered of messages sent twice; streams that never saw an idempotent ID show nothing of it.
fn reply_producers(reply: &mut Reply, stream: &Stream) {
    let Some(producers) = &stream.producers else {
        return;
    };
    let fields = [
        ("idmp-duration", producers.duration_secs as i64),
        ("idmp-maxsize", producers.max_len as i64),
        ("pids-tracked", producers.producer_count() as i64),
        ("iids-tracked", producers.id_count() as i64),
        ("iids-added", producers.added as i64),
        ("iids-duplicates", producers.duplicates as i64),
    ];
    for (field, value) in fields {
        reply.text(field);
        reply.int(value);
    }
}

fn reply_known(reply: &mut Reply, value: Option<i64>) {
    match value {
        Some(value) => reply.int(value),
        None => reply.null(),
    }
}

/// What both forms say of how far a group is.
fn reply_progress(reply: &mut Reply, log: &Log, group: &stream::Group) {
    reply.text("last-delivered-id");
    reply_id(reply, group.last_id);
    reply.text("entries-read");
    reply_known(reply, group.entries_read.map(|read| read as i64));
    reply.text("lag");
    reply_known(reply, group.lag(log));
}

fn reply_group_full(
    reply: &mut Reply,
    log: &Log,
    name: &[u8],
    group: &stream::Group,
    count: usize,
) {
    let has_free = group.free_len() > 0;
    reply.map(7 + usize::from(has_free));
    reply.text("name");
    reply.bulk(name);
    reply_progress(reply, log, group);
    reply.text("pel-count");
    reply.len(group.pending().len());
    if has_free {
        reply.text("nacked-count");
        reply.len(group.free_len());
    }
    reply.text("pending");
    reply.array(group.pending().len().min(count));
    for (id, nack) in group.pending().iter().take(count) {
        reply.array(4);
        reply_id(reply, *id);
        reply.bulk(group.owner_name(nack));
        reply.int(nack.delivered_ms);
        reply.int(nack.deliveries as i64);
    }
    reply.text("consumers");
    reply.array(group.consumers().len());
    for (_, consumer) in group.consumers() {
        reply.map(5);
        reply.text("name");
        reply.bulk(consumer.name());
        reply.text("seen-time");
        reply.int(consumer.seen_ms);
        reply.text("active-time");
        reply.int(consumer.active_ms);
        reply.text("pel-count");
        reply.len(consumer.pending().len());
        reply.text("pending");
        reply.array(consumer.pending().len().min(count));
        for id in consumer.pending().iter().take(count) {
            let nack = group.pending().get(id);
            reply.array(3);
            reply_id(reply, *id);
            reply.int(nack.map_or(0, |nack| nack.delivered_ms));
            reply.int(nack.map_or(0, |nack| nack.deliveries as i64));
        }
    }
}

pub const XINFO_GROUPS: Spec = Spec {
    name: "groups",
    arity: 3,
    flags: Flags::READONLY,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Lists the groups of a stream.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    history: &[("7.0.0", &["entries-read", "lag"])],
    handler: xinfo_groups,
    ..Spec::DEFAULT
};

/// `XINFO GROUPS key`
fn xinfo_groups(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (stream, reply, _) = open(ctx, args)?;
    reply.array(stream.groups.len());
    for (name, group) in &stream.groups {
        reply.map(6);
        reply.text("name");
        reply.bulk(name);
        reply.text("consumers");
        reply.len(group.consumers().len());
        reply.text("pending");
        reply.len(group.pending().len());
        reply_progress(reply, &stream.log, group);
    }
    Ok(())
}

pub const XINFO_CONSUMERS: Spec = Spec {
    name: "consumers",
    arity: 4,
    flags: Flags::READONLY,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Lists the consumers of a group.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0), Arg::new("group", ArgKind::String)],
    tips: &["nondeterministic_output"],
    history: &[("7.2.0", &["inactive", "idle"])],
    handler: xinfo_consumers,
    ..Spec::DEFAULT
};

/// `XINFO CONSUMERS key group`
fn xinfo_consumers(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (args.bytes(2), args.bytes(3));
    let (stream, reply, now_ms) = open(ctx, args)?;
    let group = stream.groups.get(name);
    let group = group.ok_or_else(|| no_such_group(key, name))?;
    reply.array(group.consumers().len());
    for (_, consumer) in group.consumers() {
        reply.map(4);
        reply.text("name");
        reply.bulk(consumer.name());
        reply.text("pending");
        reply.len(consumer.pending().len());
        reply.text("idle");
        reply.int((now_ms - consumer.seen_ms).max(0));
        reply.text("inactive");
        reply.int(match consumer.active_ms {
            -1 => -1,
            active_ms => (now_ms - active_ms).max(0),
        });
    }
    Ok(())
}

pub const XINFO_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Describes the subcommands of XINFO.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};
