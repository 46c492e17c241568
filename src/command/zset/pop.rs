//! Taking members off either end of sorted sets, with and without waiting for them.

use super::{WRITE_FAST, finish_removal, reply_name};
use crate::command::ctx::count_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Kind;
use crate::keyspace::object::ZSet;
use crate::resp::Args;
use crate::state::blocking::Wait;
use crate::state::keys::{Access, Key};
use crate::types::decimal::parse_i64;
use crate::types::listpack::Item;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[ZPOPMIN, ZPOPMAX, ZMPOP, BZPOPMIN, BZPOPMAX, BZMPOP];

const POPS_KEY: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

/// The end of the order that members are taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn event(self) -> &'static str {
        match self {
            End::Min => "zpopmin",
            End::Max => "zpopmax",
        }
    }
}

/// How a pop is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Shape {
    /// Names and scores by turns.
    Flat,
    /// A list of pairs.
    Pairs,
    /// The key, and names and scores by turns behind it.
    KeyAndFlat,
    /// The key and a list of pairs.
    KeyAndPairs,
}

pub const ZPOPMIN: Spec = Spec {
    name: "zpopmin",
    arity: -2,
    flags: WRITE_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "5.0.0",
    summary: "Removes and returns the members with the lowest scores.",
    complexity: Some("O(log(N)*M)"),
    key_specs: &[KeySpec::at(1, POPS_KEY)],
    args: &[
        Arg::key("key", 0),
        Arg::new("count", ArgKind::Integer).optional(),
    ],
    handler: zpopmin,
    ..Spec::DEFAULT
};

/// `ZPOPMIN key [count]`
fn zpopmin(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop_one_key(ctx, args, End::Min)
}

pub const ZPOPMAX: Spec = Spec {
    name: "zpopmax",
    arity: -2,
    flags: WRITE_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "5.0.0",
    summary: "Removes and returns the members with the highest scores.",
    complexity: Some("O(log(N)*M)"),
    key_specs: &[KeySpec::at(1, POPS_KEY)],
    args: &[
        Arg::key("key", 0),
        Arg::new("count", ArgKind::Integer).optional(),
    ],
    handler: zpopmax,
    ..Spec::DEFAULT
};

/// `ZPOPMAX key [count]`
fn zpopmax(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop_one_key(ctx, args, End::Max)
}

fn pop_one_key(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    let has_count = args.len() == 3;
    let count = if has_count { count_arg(args, 2)? } else { 1 };
    let key = ctx.key(args, 1);
    let shape = if has_count && ctx.client.reply.is_resp3() {
        Shape::Pairs
    } else {
        Shape::Flat
    };
    if ctx.object::<ZSet>(key, Access::Write)?.is_none() || count == 0 {
        ctx.client.reply.array(0);
        return Ok(());
    }
    pop(ctx, key, end, count, shape)?;
    Ok(())
}

/// Pops up to `count` members, at least one, of a sorted set that is there, and replies; says how many it was.
fn pop(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    end: End,
    count: usize,
    shape: Shape,
) -> Result<usize, CommandError> {
    let dbid = ctx.client.dbid;
    let Some(zset) = ctx.server.object::<ZSet>(dbid, key, Access::Peek)? else {
        return Ok(0);
    };
    let len = zset.len();
    let popped = count.min(len);
    let reply = &mut ctx.client.reply;
    match shape {
        Shape::Flat => reply.array(popped * 2),
        Shape::Pairs => reply.array(popped),
        Shape::KeyAndFlat => {
            reply.array(popped * 2 + 1);
            reply.bulk(key.bytes);
        }
        Shape::KeyAndPairs => {
            reply.array(2);
            reply.bulk(key.bytes);
            reply.array(popped);
        }
    }
    let in_pairs = matches!(shape, Shape::Pairs | Shape::KeyAndPairs);
    let mut write = |name: Item<'_>, score: f64| {
        if in_pairs {
            reply.array(2);
        }
        reply_name(reply, name);
        reply.double(score);
    };
    match end {
        End::Min => zset.drain(0, popped, write),
        End::Max => {
            for (name, score) in zset.range(len - 1, popped, true) {
                write(name, score);
            }
            zset.drain(len - popped, popped, |_, _| {});
        }
    }
    zset.prefetch_pops(end == End::Max);
    finish_removal(ctx, key, popped, popped == len, end.event());
    Ok(popped)
}

/// The first of the keys at arguments `from..to` that holds a sorted set; one of another type is an error.
fn first_present<'b>(
    ctx: &mut Ctx<'_>,
    args: Args<'b>,
    keys: std::ops::Range<usize>,
) -> Result<Option<Key<'b>>, CommandError> {
    for index in keys {
        let key = ctx.key(args, index);
        if ctx
            .object::<ZSet>(key, Access::Write)?
            .is_some_and(|zset| !zset.is_empty())
        {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Propagates a pop that may have had several keys, or waited, as one of the key it hit.
fn propagate_pop(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: Option<usize>) {
    let name: &[u8] = match end {
        End::Min => b"ZPOPMIN",
        End::Max => b"ZPOPMAX",
    };
    match count {
        Some(count) => {
            let mut digits = itoa::Buffer::new();
            ctx.propagate(&[name, key, digits.format(count).as_bytes()]);
        }
        None => ctx.propagate(&[name, key]),
    }
}

fn wait(ctx: &mut Ctx<'_>, args: Args<'_>, keys: std::ops::Range<usize>, deadline_ms: Option<i64>) {
    ctx.block(Wait {
        keys: keys.map(|index| args.bytes(index).to_vec()).collect(),
        kind: Kind::ZSet,
        on_any_change: false,
        wake_ms: None,
        deadline_ms,
        is_single: false,
        memo: Vec::new(),
    });
}

pub const BZPOPMIN: Spec = Spec {
    name: "bzpopmin",
    arity: -3,
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::FAST),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "5.0.0",
    summary: "Removes and returns the member with the lowest score of the first key that has one, or waits for it.",
    complexity: Some("O(log(N))"),
    key_specs: &[KeySpec::range(1, -2, 1, POPS_KEY)],
    args: &[
        Arg::key("key", 0).multiple(),
        Arg::new("timeout", ArgKind::Double),
    ],
    history: &[("6.0.0", &["timeout"])],
    handler: bzpopmin,
    ..Spec::DEFAULT
};

/// `BZPOPMIN key [key ...] timeout`
fn bzpopmin(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop_or_wait(ctx, args, End::Min)
}

pub const BZPOPMAX: Spec = Spec {
    name: "bzpopmax",
    arity: -3,
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::FAST),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "5.0.0",
    summary: "Removes and returns the member with the highest score of the first key that has one, or waits for it.",
    complexity: Some("O(log(N))"),
    key_specs: &[KeySpec::range(1, -2, 1, POPS_KEY)],
    args: &[
        Arg::key("key", 0).multiple(),
        Arg::new("timeout", ArgKind::Double),
    ],
    history: &[("6.0.0", &["timeout"])],
    handler: bzpopmax,
    ..Spec::DEFAULT
};

/// `BZPOPMAX key [key ...] timeout`
fn bzpopmax(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop_or_wait(ctx, args, End::Max)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let deadline = ctx.timeout_arg(args, last)?;
    match first_present(ctx, args, 1..last)? {
        Some(key) => {
            pop(ctx, key, end, 1, Shape::KeyAndFlat)?;
            propagate_pop(ctx, key.bytes, end, None);
        }
        None => wait(ctx, args, 1..last, deadline),
    }
    Ok(())
}

/// The part that ZMPOP and BZMPOP share: `numkeys key [key ...] <MIN | MAX> [COUNT count]`.
struct Pops {
    keys: std::ops::Range<usize>,
    end: End,
    count: usize,
}

impl Pops {
    /// The request from the argument `from` on, where the number of keys stands.
    fn parse(args: Args<'_>, from: usize) -> Result<Pops, CommandError> {
        let above_zero = |index: usize, message: &'static str| {
            parse_i64(args.bytes(index))
                .filter(|number| *number > 0)
                .and_then(|number| usize::try_from(number).ok())
                .ok_or(CommandError::text(message))
        };
        let len = above_zero(from, "ERR numkeys should be greater than 0")?;
        let end_at = len.saturating_add(from + 1);
        let end = if args.is(end_at, "MIN") {
            End::Min
        } else if args.is(end_at, "MAX") {
            End::Max
        } else {
            return Err(CommandError::Syntax);
        };
        let mut count = None;
        let mut index = end_at + 1;
        while index < args.len() {
            if count.is_some() || !args.is(index, "COUNT") || index + 1 == args.len() {
                return Err(CommandError::Syntax);
            }
            count = Some(above_zero(index + 1, "ERR count should be greater than 0")?);
            index += 2;
        }
        Ok(Pops {
            keys: from + 1..end_at,
            end,
            count: count.unwrap_or(1),
        })
    }

    /// Pops from the first key that holds something; says whether there was one.
    fn run(&self, ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<bool, CommandError> {
        let Some(key) = first_present(ctx, args, self.keys.clone())? else {
            return Ok(false);
        };
        let popped = pop(ctx, key, self.end, self.count, Shape::KeyAndPairs)?;
        propagate_pop(ctx, key.bytes, self.end, Some(popped));
        Ok(true)
    }
}

pub const ZMPOP: Spec = Spec {
    name: "zmpop",
    arity: -4,
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "7.0.0",
    summary: "Removes and returns members with the lowest or highest scores of the first key that has some.",
    complexity: Some("O(K) + O(M*log(N))"),
    key_specs: &[KeySpec::keynum(1, 1, 1, POPS_KEY)],
    args: &[
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key", 0).multiple(),
        Arg::one_of("where", &[Arg::word("min", "MIN"), Arg::word("max", "MAX")]),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    handler: zmpop,
    ..Spec::DEFAULT
};

/// `ZMPOP numkeys key [key ...] <MIN | MAX> [COUNT count]`
fn zmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !Pops::parse(args, 1)?.run(ctx, args)? {
        ctx.client.reply.null_array();
    }
    Ok(())
}

pub const BZMPOP: Spec = Spec {
    name: "bzmpop",
    arity: -5,
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "7.0.0",
    summary: "Removes and returns members with the lowest or highest scores of the first key that has some, or waits.",
    complexity: Some("O(K) + O(M*log(N))"),
    key_specs: &[KeySpec::keynum(2, 1, 1, POPS_KEY)],
    args: &[
        Arg::new("timeout", ArgKind::Double),
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key", 0).multiple(),
        Arg::one_of("where", &[Arg::word("min", "MIN"), Arg::word("max", "MAX")]),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    handler: bzmpop,
    ..Spec::DEFAULT
};

/// `BZMPOP timeout numkeys key [key ...] <MIN | MAX> [COUNT count]`
fn bzmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let pops = Pops::parse(args, 2)?;
    let deadline = ctx.timeout_arg(args, 1)?;
    if !pops.run(ctx, args)? {
        wait(ctx, args, pops.keys, deadline);
    }
    Ok(())
}
