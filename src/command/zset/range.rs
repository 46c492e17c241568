//! Ranges of sorted sets, by rank, by score and by name: reading, storing, counting and removing them.
//!
//! Lives here: how an interval is written, and which ranks it covers. May not: the walk over members.

use super::{
    READ_FAST, READS_KEY, REMOVES_FROM_KEY, finish_removal, limits, reply_name, reply_pair,
};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::{Object, ZSet, ZSetRef};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::text::up_to_nul;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    ZCOUNT,
    ZLEXCOUNT,
    ZRANGE,
    ZRANGESTORE,
    ZRANGEBYSCORE,
    ZREVRANGEBYSCORE,
    ZRANGEBYLEX,
    ZREVRANGEBYLEX,
    ZREVRANGE,
    ZREMRANGEBYRANK,
    ZREMRANGEBYSCORE,
    ZREMRANGEBYLEX,
];

/// Which part of an interval is asked for.
const LIMIT: Arg = Arg::block(
    "limit",
    &[
        Arg::new("offset", ArgKind::Integer),
        Arg::new("count", ArgKind::Integer),
    ],
)
.token("LIMIT")
.optional();

/// What an interval is of, if not of ranks.
const SORT_BY: Arg = Arg::one_of(
    "sortby",
    &[Arg::word("byscore", "BYSCORE"), Arg::word("bylex", "BYLEX")],
)
.optional();

const WITHSCORES: Arg = Arg::word("withscores", "WITHSCORES").optional();

/// An end of an interval of scores.
#[derive(Clone, Copy, Debug, PartialEq)]
struct ScoreBound {
    score: f64,
    is_exclusive: bool,
}

impl ScoreBound {
    /// `1.5`, `(1.5` or an infinity. No text at all is zero, as the real server reads it.
    fn parse(text: &[u8]) -> Option<ScoreBound> {
        let text = up_to_nul(text);
        let (is_exclusive, number) = match text {
            [b'(', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let score: f64 = match number {
            b"" => 0.0,
            _ => std::str::from_utf8(number).ok()?.parse().ok()?,
        };
        (!score.is_nan()).then_some(ScoreBound {
            score,
            is_exclusive,
        })
    }
}

/// An end of an interval of names.
#[derive(Clone, Copy, Debug, PartialEq)]
enum LexBound<'a> {
    Lowest,
    Highest,
    Name { name: &'a [u8], is_exclusive: bool },
}

impl<'a> LexBound<'a> {
    /// `-`, `+`, `[name` or `(name`.
    fn parse(text: &'a [u8]) -> Option<LexBound<'a>> {
        match text {
            [b'-'] | [b'-', 0, ..] => Some(LexBound::Lowest),
            [b'+'] | [b'+', 0, ..] => Some(LexBound::Highest),
            [mark @ (b'[' | b'('), name @ ..] => Some(LexBound::Name {
                name,
                is_exclusive: *mark == b'(',
            }),
            _ => None,
        }
    }
}

/// An interval of a sorted set.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Interval<'a> {
    /// From one rank to another, both included; negative ones count from the end.
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Names(LexBound<'a>, LexBound<'a>),
}

/// By what a range is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

impl<'a> Interval<'a> {
    /// The interval between the arguments `low` and `high`.
    fn parse(
        args: Args<'a>,
        by: By,
        low: usize,
        high: usize,
    ) -> Result<Interval<'a>, CommandError> {
        let (low, high) = match by {
            By::Rank => return Ok(Interval::Ranks(int_arg(args, low)?, int_arg(args, high)?)),
            By::Score | By::Lex => (args.bytes(low), args.bytes(high)),
        };
        if by == By::Score {
            let ends = ScoreBound::parse(low).zip(ScoreBound::parse(high));
            let (low, high) = ends.ok_or(CommandError::text("ERR min or max is not a float"))?;
            return Ok(Interval::Scores(low, high));
        }
        let ends = LexBound::parse(low).zip(LexBound::parse(high));
        let (low, high) = ends.ok_or(CommandError::text(
            "ERR min or max not valid string range item",
        ))?;
        Ok(Interval::Names(low, high))
    }

    /// The first rank of the interval, in the walk's direction for an interval of ranks, and how many it covers.
    fn ranks(&self, zset: &ZSet) -> (usize, usize) {
        let (from, end) = match *self {
            Interval::Ranks(first, last) => return clamp_ranks(first, last, zset.len()),
            Interval::Scores(low, high) => (
                zset.count_scores(low.score, low.is_exclusive),
                zset.count_scores(high.score, !high.is_exclusive),
            ),
            Interval::Names(low, high) => (
                zset.count_before(|_, name| is_below(name, low, true)),
                zset.count_before(|_, name| is_below(name, high, false)),
            ),
        };
        (from, end.saturating_sub(from))
    }
}

/// Whether a name comes before the place of a bound; one that is the bound's own does for a lower bound that leaves
/// it out and for an upper bound that takes it in.
fn is_below(name: &[u8], bound: LexBound<'_>, is_low: bool) -> bool {
    match bound {
        LexBound::Lowest => false,
        LexBound::Highest => true,
        LexBound::Name {
            name: other,
            is_exclusive,
        } => name < other || (name == other && is_exclusive == is_low),
    }
}

fn clamp_ranks(first: i64, last: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_end = |rank: i64| {
        if rank < 0 {
            rank.saturating_add(len)
        } else {
            rank
        }
    };
    let (first, last) = (from_end(first).max(0), from_end(last).min(len - 1));
    if first > last {
        return (0, 0);
    }
    (first as usize, (last - first + 1) as usize)
}

pub const ZCOUNT: Spec = Spec {
    name: "zcount",
    arity: 4,
    flags: READ_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.0.0",
    summary: "Counts the members whose scores lie in an interval.",
    complexity: Some("O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("min", ArgKind::Double),
        Arg::new("max", ArgKind::Double),
    ],
    handler: zcount,
    ..Spec::DEFAULT
};

/// `ZCOUNT key min max`
fn zcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    count(ctx, args, By::Score)
}

pub const ZLEXCOUNT: Spec = Spec {
    name: "zlexcount",
    arity: 4,
    flags: READ_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.8.9",
    summary: "Counts the members whose names lie in an interval, when all scores are the same.",
    complexity: Some("O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("min", ArgKind::String),
        Arg::new("max", ArgKind::String),
    ],
    handler: zlexcount,
    ..Spec::DEFAULT
};

/// `ZLEXCOUNT key min max`
fn zlexcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    count(ctx, args, By::Lex)
}

fn count(ctx: &mut Ctx<'_>, args: Args<'_>, by: By) -> Result<(), CommandError> {
    let interval = Interval::parse(args, by, 2, 3)?;
    let key = ctx.key(args, 1);
    let zset = ctx.object::<ZSet>(key, Access::Read)?;
    let count = zset.map_or(0, |zset| interval.ranks(zset).1);
    ctx.client.reply.len(count);
    Ok(())
}

/// A request for a range.
#[derive(Clone, Copy, Debug)]
struct Request<'a> {
    interval: Interval<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    limit: i64,
}

/// Which options a command takes and what it is without them.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// `None` where the options choose.
    by: Option<By>,
    reverse: Option<bool>,
    stores: bool,
}

impl<'a> Request<'a> {
    /// The request whose first bound is argument `from`.
    fn parse(args: Args<'a>, from: usize, form: Form) -> Result<Request<'a>, CommandError> {
        let (mut by, mut reverse) = (form.by, form.reverse);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut index = from + 2;
        while index < args.len() {
            if !form.stores && args.is(index, "WITHSCORES") {
                with_scores = true;
            } else if args.is(index, "LIMIT") && index + 2 < args.len() {
                offset = int_arg(args, index + 1)?;
                limit = int_arg(args, index + 2)?;
                index += 2;
            } else if reverse.is_none() && args.is(index, "REV") {
                reverse = Some(true);
            } else if by.is_none() && args.is(index, "BYLEX") {
                by = Some(By::Lex);
            } else if by.is_none() && args.is(index, "BYSCORE") {
                by = Some(By::Score);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        let (by, reverse) = (by.unwrap_or(By::Rank), reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(CommandError::text(
                "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
            ));
        }
        if with_scores && by == By::Lex {
            return Err(CommandError::text(
                "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
            ));
        }
        let swaps = reverse && by != By::Rank;
        let (low, high) = if swaps {
            (from + 1, from)
        } else {
            (from, from + 1)
        };
        Ok(Request {
            interval: Interval::parse(args, by, low, high)?,
            reverse,
            with_scores,
            offset,
            limit,
        })
    }

    /// The rank at which the walk begins, and how many members it passes.
    fn walk(&self, zset: &ZSet) -> (usize, usize) {
        let (from, count) = self.interval.ranks(zset);
        if let Interval::Ranks(..) = self.interval {
            let start = if self.reverse {
                (zset.len() - 1).wrapping_sub(from)
            } else {
                from
            };
            return (start, count);
        }
        // A negative offset counts from the interval's far end, but in a listpack it leads nowhere.
        let skipped = match usize::try_from(self.offset) {
            Ok(offset) => offset,
            Err(_) if matches!(zset.view(), ZSetRef::Listpack(_)) => count,
            Err(_) => {
                let back = usize::try_from(self.offset.unsigned_abs()).unwrap_or(usize::MAX);
                count.checked_sub(back).unwrap_or(count)
            }
        };
        let left = count.saturating_sub(skipped);
        let limit = usize::try_from(self.limit).unwrap_or(usize::MAX);
        if left == 0 {
            return (0, 0);
        }
        let start = if self.reverse {
            from + count - 1 - skipped
        } else {
            from + skipped
        };
        (start, left.min(limit))
    }
}

/// Reads a range and replies with it.
fn reply_range(ctx: &mut Ctx<'_>, args: Args<'_>, form: Form) -> Result<(), CommandError> {
    let request = Request::parse(args, 2, form)?;
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let zset = ctx.server.object::<ZSet>(dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let Some(zset) = zset else {
        reply.array(0);
        return Ok(());
    };
    let (start, count) = request.walk(zset);
    let is_flat = request.with_scores && !reply.is_resp3();
    reply.array(if is_flat { count * 2 } else { count });
    for (name, score) in zset.range(start, count, request.reverse) {
        if reply.is_cut() {
            break;
        }
        if request.with_scores {
            reply_pair(reply, name, score);
        } else {
            reply_name(reply, name);
        }
    }
    Ok(())
}

pub const ZRANGE: Spec = Spec {
    name: "zrange",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Returns members by rank, by score or by name, in either direction.",
    complexity: Some("O(log(N)+M)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("start", ArgKind::String),
        Arg::new("stop", ArgKind::String),
        SORT_BY.since("6.2.0"),
        Arg::word("rev", "REV").since("6.2.0").optional(),
        LIMIT.since("6.2.0"),
        WITHSCORES,
    ],
    history: &[("6.2.0", &["REV", "BYSCORE", "BYLEX", "LIMIT"])],
    handler: zrange,
    ..Spec::DEFAULT
};

/// `ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]`
fn zrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let form = Form {
        by: None,
        reverse: None,
        stores: false,
    };
    reply_range(ctx, args, form)
}

/// A form that leaves nothing to options but LIMIT and WITHSCORES.
const fn fixed(by: By, reverse: bool) -> Form {
    Form {
        by: Some(by),
        reverse: Some(reverse),
        stores: false,
    }
}

pub const ZREVRANGE: Spec = Spec {
    name: "zrevrange",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Returns members by rank, counted from the highest score.",
    complexity: Some("O(log(N)+M)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("start", ArgKind::Integer),
        Arg::new("stop", ArgKind::Integer),
        WITHSCORES,
    ],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`ZRANGE` with the `REV` argument"),
    handler: zrevrange,
    ..Spec::DEFAULT
};

/// `ZREVRANGE key start stop [WITHSCORES]`
fn zrevrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(ctx, args, fixed(By::Rank, true))
}

pub const ZRANGEBYSCORE: Spec = Spec {
    name: "zrangebyscore",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.0.5",
    summary: "Returns the members whose scores lie in an interval.",
    complexity: Some("O(log(N)+M) or O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("min", ArgKind::Double),
        Arg::new("max", ArgKind::Double),
        Arg::word("withscores", "WITHSCORES")
            .since("2.0.0")
            .optional(),
        LIMIT,
    ],
    history: &[("2.0.0", &["WITHSCORES"])],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`ZRANGE` with the `BYSCORE` argument"),
    handler: zrangebyscore,
    ..Spec::DEFAULT
};

/// `ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]`
fn zrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(ctx, args, fixed(By::Score, false))
}

pub const ZREVRANGEBYSCORE: Spec = Spec {
    name: "zrevrangebyscore",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.2.0",
    summary: "Returns the members whose scores lie in an interval, the highest first.",
    complexity: Some("O(log(N)+M) or O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("max", ArgKind::Double),
        Arg::new("min", ArgKind::Double),
        WITHSCORES,
        LIMIT,
    ],
    history: &[("2.1.6", &["min", "max"])],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`ZRANGE` with the `REV`, `BYSCORE` argument"),
    handler: zrevrangebyscore,
    ..Spec::DEFAULT
};

/// `ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]`
fn zrevrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(ctx, args, fixed(By::Score, true))
}

pub const ZRANGEBYLEX: Spec = Spec {
    name: "zrangebylex",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.8.9",
    summary: "Returns the members whose names lie in an interval, when all scores are the same.",
    complexity: Some("O(log(N)+M) or O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("min", ArgKind::String),
        Arg::new("max", ArgKind::String),
        LIMIT,
    ],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`ZRANGE` with the `BYLEX` argument"),
    handler: zrangebylex,
    ..Spec::DEFAULT
};

/// `ZRANGEBYLEX key min max [LIMIT offset count]`
fn zrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(ctx, args, fixed(By::Lex, false))
}

pub const ZREVRANGEBYLEX: Spec = Spec {
    name: "zrevrangebylex",
    arity: -4,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.8.9",
    summary: "Returns the members whose names lie in an interval, the last first, when all scores are the same.",
    complexity: Some("O(log(N)+M) or O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("max", ArgKind::String),
        Arg::new("min", ArgKind::String),
        LIMIT,
    ],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`ZRANGE` with the `REV`, `BYLEX` argument"),
    handler: zrevrangebylex,
    ..Spec::DEFAULT
};

/// `ZREVRANGEBYLEX key max min [LIMIT offset count]`
fn zrevrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_range(ctx, args, fixed(By::Lex, true))
}

pub const ZRANGESTORE: Spec = Spec {
    name: "zrangestore",
    arity: -5,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "6.2.0",
    summary: "Stores a range of one sorted set as another.",
    complexity: Some("O(log(N)+M)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::at(2, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[
        Arg::key("dst", 0),
        Arg::key("src", 1),
        Arg::new("min", ArgKind::String),
        Arg::new("max", ArgKind::String),
        SORT_BY,
        Arg::word("rev", "REV").optional(),
        LIMIT,
    ],
    handler: zrangestore,
    ..Spec::DEFAULT
};

/// `ZRANGESTORE dst src min max [BYSCORE | BYLEX] [REV] [LIMIT offset count]`
fn zrangestore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let form = Form {
        by: None,
        reverse: None,
        stores: true,
    };
    let request = Request::parse(args, 3, form)?;
    let (target, source) = (ctx.key(args, 1), ctx.key(args, 2));
    let limits = limits(ctx.server);
    let found = ctx.object::<ZSet>(source, Access::Read)?;
    let found = found.map(|zset| {
        let (start, count) = request.walk(zset);
        let hint = match request.interval {
            Interval::Ranks(..) => count,
            _ => 0,
        };
        let mut copy = ZSet::new(hint, 0, &limits);
        for (name, score) in zset.range(start, count, request.reverse) {
            copy.set(name.bytes(&mut itoa::Buffer::new()), score, &limits);
        }
        copy
    });
    store_result(ctx, target, found, "zrangestore");
    Ok(())
}

/// Stores a result and replies with its length; without members the key goes.
pub fn store_result(ctx: &mut Ctx<'_>, target: Key<'_>, zset: Option<ZSet>, event: &'static str) {
    let dbid = ctx.client.dbid;
    let len = zset.as_ref().map_or(0, ZSet::len);
    match zset {
        Some(zset) if len > 0 => {
            ctx.server.store_object(dbid, target, Object::ZSet(zset));
            ctx.touch(target.bytes, Event::zset(event));
        }
        _ => {
            if ctx
                .server
                .delete_live(dbid, target, ctx.server.config.lazyfree_lazy_server_del)
            {
                ctx.touch(target.bytes, Event::generic("del"));
            }
        }
    }
    ctx.client.reply.len(len);
}

pub const ZREMRANGEBYRANK: Spec = Spec {
    name: "zremrangebyrank",
    arity: 4,
    flags: Flags::WRITE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.0.0",
    summary: "Removes the members between two ranks.",
    complexity: Some("O(log(N)+M)"),
    key_specs: REMOVES_FROM_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("start", ArgKind::Integer),
        Arg::new("stop", ArgKind::Integer),
    ],
    handler: zremrangebyrank,
    ..Spec::DEFAULT
};

/// `ZREMRANGEBYRANK key start stop`
fn zremrangebyrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove_range(ctx, args, By::Rank, "zremrangebyrank")
}

pub const ZREMRANGEBYSCORE: Spec = Spec {
    name: "zremrangebyscore",
    arity: 4,
    flags: Flags::WRITE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Removes the members whose scores lie in an interval.",
    complexity: Some("O(log(N)+M)"),
    key_specs: REMOVES_FROM_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("min", ArgKind::Double),
        Arg::new("max", ArgKind::Double),
    ],
    handler: zremrangebyscore,
    ..Spec::DEFAULT
};

/// `ZREMRANGEBYSCORE key min max`
fn zremrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove_range(ctx, args, By::Score, "zremrangebyscore")
}

pub const ZREMRANGEBYLEX: Spec = Spec {
    name: "zremrangebylex",
    arity: 4,
    flags: Flags::WRITE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.8.9",
    summary: "Removes the members whose names lie in an interval, when all scores are the same.",
    complexity: Some("O(log(N)+M)"),
    key_specs: REMOVES_FROM_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("min", ArgKind::String),
        Arg::new("max", ArgKind::String),
    ],
    handler: zremrangebylex,
    ..Spec::DEFAULT
};

/// `ZREMRANGEBYLEX key min max`
fn zremrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove_range(ctx, args, By::Lex, "zremrangebylex")
}

fn remove_range(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    by: By,
    event: &'static str,
) -> Result<(), CommandError> {
    let interval = Interval::parse(args, by, 2, 3)?;
    let key = ctx.key(args, 1);
    let (mut removed, mut is_emptied) = (0, false);
    if let Some(zset) = ctx.object::<ZSet>(key, Access::Write)? {
        let (from, count) = interval.ranks(zset);
        zset.drain(from, count, |_, _| removed += 1);
        is_emptied = zset.is_empty();
    }
    finish_removal(ctx, key, removed, is_emptied, event);
    ctx.client.reply.len(removed);
    Ok(())
}
