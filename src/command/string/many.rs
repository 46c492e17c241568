//! Commands over many strings: MGET, MSET, MSETNX, MSETEX.
//!
//! They ask for the memory of some keys ahead of using it, see [`Ctx::for_each_key`].

use super::options::{Accepts, Options, Time};
use super::reply_value;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::decimal::parse_i64;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[MGET, MSET, MSETEX, MSETNX];

pub const MGET: Spec = Spec {
    name: "mget",
    arity: -2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Returns several strings, and null for each that is missing or no string.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["request_policy:multi_shard"],
    handler: mget,
    ..Spec::DEFAULT
};

fn mget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.array(args.len() - 1);
    ctx.for_each_key(args, 1..args.len(), 1, |ctx, key, _| {
        match ctx.server.lookup(ctx.client.dbid, key, Access::Read) {
            // What is no string is replied as null.
            Some(entry) => reply_value(&mut ctx.client.reply, entry),
            None => ctx.client.reply.null(),
        }
        !ctx.client.reply.is_cut()
    });
    Ok(())
}

pub const MSET: Spec = Spec {
    name: "mset",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.1",
    summary: "Stores several strings at once.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 2, KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[Arg::block(
        "data",
        &[Arg::key("key", 0), Arg::new("value", ArgKind::String)],
    )
    .multiple()],
    tips: &[
        "request_policy:multi_shard",
        "response_policy:all_succeeded",
    ],
    handler: mset,
    ..Spec::DEFAULT
};

fn mset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    check_pairs(ctx, args)?;
    store_pairs(ctx, args, 1..args.len());
    ctx.client.reply.ok();
    Ok(())
}

pub const MSETNX: Spec = Spec {
    name: "msetnx",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.1",
    summary: "Stores several strings at once if none of their keys exists.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 2, KeyFlags::OW.or(KeyFlags::INSERT))],
    args: &[Arg::block(
        "data",
        &[Arg::key("key", 0), Arg::new("value", ArgKind::String)],
    )
    .multiple()],
    handler: msetnx,
    ..Spec::DEFAULT
};

fn msetnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    check_pairs(ctx, args)?;
    let all = 1..args.len();
    let free = ctx.for_each_key(args, all.clone(), 2, |ctx, key, _| {
        ctx.lookup(key, Access::Write).is_none()
    });
    if free {
        store_pairs(ctx, args, all);
    }
    ctx.client.reply.int(i64::from(free));
    Ok(())
}

fn check_pairs(ctx: &Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len().is_multiple_of(2) {
        return Err(CommandError::Arity(ctx.this().spec.name.into()));
    }
    Ok(())
}

fn store_pairs(ctx: &mut Ctx<'_>, args: Args<'_>, range: std::ops::Range<usize>) {
    ctx.for_each_key(args, range, 2, |ctx, key, index| {
        ctx.store(key, args, index + 1, None);
        ctx.touch(key.bytes, Event::string("set"));
        true
    });
}

pub const MSETEX: Spec = Spec {
    name: "msetex",
    arity: -4,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: Categories::STRING,
    group: Group::String,
    since: "8.4.0",
    summary: "Stores several strings at once, on a condition and with an expiry if asked to.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::keynum(1, 1, 2, KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::new("numkeys", ArgKind::Integer),
        Arg::block(
            "data",
            &[Arg::key("key", 0), Arg::new("value", ArgKind::String)],
        )
        .multiple(),
        Arg::one_of("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")]).optional(),
        Arg::one_of(
            "expiration",
            &[
                Arg::new("seconds", ArgKind::Integer).token("EX"),
                Arg::new("milliseconds", ArgKind::Integer).token("PX"),
                Arg::new("unix-time-seconds", ArgKind::UnixTime).token("EXAT"),
                Arg::new("unix-time-milliseconds", ArgKind::UnixTime).token("PXAT"),
                Arg::word("keepttl", "KEEPTTL"),
            ],
        )
        .optional(),
    ],
    tips: &[
        "request_policy:multi_shard",
        "response_policy:all_succeeded",
    ],
    handler: msetex,
    ..Spec::DEFAULT
};

fn msetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let pairs = parse_i64(args.bytes(1))
        .and_then(|count| i32::try_from(count).ok())
        .and_then(|count| usize::try_from(count).ok())
        .filter(|count| *count > 0)
        .ok_or(CommandError::text("ERR invalid numkeys value"))?;
    if pairs > (args.len() - 2) / 2 {
        return Err(CommandError::text("ERR wrong number of key-value pairs"));
    }
    let range = 2..2 + pairs * 2;
    let options = Options::parse(args, range.end, Accepts::MSETEX)?;
    let deadline = options.deadline(args, ctx.server.now_ms, "msetex")?;
    if options.condition.is_some() {
        let holds = ctx.for_each_key(args, range.clone(), 2, |ctx, key, _| {
            let found = ctx.server.lookup(ctx.client.dbid, key, Access::Write);
            // Neither condition compares, so this cannot fail.
            options
                .condition_holds(args, found.as_deref())
                .unwrap_or(false)
        });
        if !holds {
            ctx.client.reply.int(0);
            return Ok(());
        }
    }
    let keeps = options.time == Some(Time::Keep);
    ctx.for_each_key(args, range.clone(), 2, |ctx, key, index| {
        let mut deadline = deadline;
        if keeps {
            deadline = ctx
                .lookup(key, Access::Peek)
                .and_then(|entry| entry.expire());
        }
        ctx.store(key, args, index + 1, deadline);
        ctx.touch(key.bytes, Event::string("set"));
        if deadline.is_some() && !keeps {
            ctx.notify(key.bytes, Event::generic("expire"));
        }
        true
    });
    if let Some(deadline) = deadline {
        let mut digits = itoa::Buffer::new();
        let mut argv: Vec<&[u8]> = (0..range.end).map(|index| args.bytes(index)).collect();
        argv.extend([b"PXAT", digits.format(deadline).as_bytes()]);
        ctx.propagate(&argv);
    }
    ctx.client.reply.int(1);
    Ok(())
}
