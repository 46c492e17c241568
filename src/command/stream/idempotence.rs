//! XCFGSET and XIDMPRECORD: what streams remember of messages that may be sent twice.

use super::{find, id_arg};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::stream::{Producers, Stream};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XCFGSET, XIDMPRECORD];

const DURATION_SECS_MAX: i64 = 86_400;
const MAX_LEN_MAX: i64 = 10_000;

/// For how many seconds a stream remembers messages unless it is told otherwise, and how many of a producer.
pub(super) fn defaults(ctx: &Ctx<'_>) -> (u64, usize) {
    let config = &ctx.server.config;
    (
        config.stream_idmp_duration.unsigned_abs(),
        usize::try_from(config.stream_idmp_maxsize).unwrap_or(0),
    )
}

/// The stream's memory of messages, begun under these defaults if there is none.
pub(super) fn producers(stream: &mut Stream, defaults: (u64, usize)) -> &mut Producers {
    let new = || Box::new(Producers::new(defaults.0, defaults.1));
    stream.producers.get_or_insert_with(new)
}

pub const XCFGSET: Spec = Spec {
    name: "xcfgset",
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "8.6.0",
    summary: "Sets how long and how many idempotent IDs a stream remembers.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("idmp-duration", ArgKind::Integer)
            .token("IDMP-DURATION")
            .optional(),
        Arg::new("idmp-maxsize", ArgKind::Integer)
            .token("IDMP-MAXSIZE")
            .optional(),
    ],
    handler: xcfgset,
    ..Spec::DEFAULT
};

/// `XCFGSET key [IDMP-DURATION seconds] [IDMP-MAXSIZE count]`
fn xcfgset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let number = |index, max, error: &'static str| match int_arg(args, index)? {
        value if (1..=max).contains(&value) => Ok(value),
        _ => Err(CommandError::text(error)),
    };
    let (mut duration, mut max_len) = (None, None);
    let mut index = 2;
    while index < args.len() {
        let has_next = index + 1 < args.len();
        if args.is(index, "IDMP-DURATION") && has_next {
            let error = "ERR IDMP-DURATION must be between 1 and 86400 seconds";
            duration = Some(number(index + 1, DURATION_SECS_MAX, error)?.unsigned_abs());
        } else if args.is(index, "IDMP-MAXSIZE") && has_next {
            let error = "ERR IDMP-MAXSIZE must be between 1 and 10000 entries";
            max_len = Some(number(index + 1, MAX_LEN_MAX, error)? as usize);
        } else {
            return Err(CommandError::Syntax);
        }
        index += 2;
    }
    if duration.is_none() && max_len.is_none() {
        return Err(CommandError::Syntax);
    }
    let (key, defaults) = (ctx.key(args, 1), defaults(ctx));
    let stream = find(ctx, key, Access::Write)?.ok_or(CommandError::NoSuchKey)?;
    let producers = producers(stream, defaults);
    let duration = duration.unwrap_or(producers.duration_secs);
    let max_len = max_len.unwrap_or(producers.max_len);
    producers.configure(duration, max_len);
    super::announce(ctx, key.bytes, Event::stream("xcfgset"));
    ctx.client.reply.ok();
    Ok(())
}

pub const XIDMPRECORD: Spec = Spec {
    name: "xidmprecord",
    arity: 5,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "8.6.2",
    summary: "Records the idempotent ID of an entry that is there already; the server itself uses it.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("pid", ArgKind::String),
        Arg::new("iid", ArgKind::String),
        Arg::new("stream-id", ArgKind::String),
    ],
    handler: xidmprecord,
    ..Spec::DEFAULT
};

/// `XIDMPRECORD key pid iid stream-id`
fn xidmprecord(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, producer, message) = (ctx.key(args, 1), args.bytes(2), args.bytes(3));
    if producer.is_empty() || message.is_empty() {
        return Err(CommandError::text(
            "ERR XIDMPRECORD requires a non-empty producer ID and idempotent ID",
        ));
    }
    let id = id_arg(args, 4)?;
    let (now_ms, defaults) = (ctx.server.now_ms, defaults(ctx));
    let stream = find(ctx, key, Access::Write)?.ok_or(CommandError::NoSuchKey)?;
    if !stream.log.contains(id) {
        return Err(CommandError::text("ERR no such stream entry"));
    }
    let producers = producers(stream, defaults);
    match producers.get(producer, message) {
        Some(known) if known != id => {
            return Err(CommandError::text(
                "ERR the idempotent ID belongs to another stream entry",
            ));
        }
        Some(_) => {}
        None => {
            producers.added += 1;
            producers.insert(producer, message, id, now_ms);
            super::count_changes(ctx, 1);
        }
    }
    ctx.client.reply.ok();
    Ok(())
}
