//! Sorted set commands: adding, removing and asking for single members; random ones; ZSCAN.
//!
//! Ranges, pops and combinations of several sets have files of their own. May not: the order of members
//! (`keyspace::object::zset`).

pub mod combine;
pub mod pop;
pub mod range;

use crate::command::ctx::int_arg;
use crate::command::scan::{ScanOptions, Scanned, cursor_arg};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::zset::ZSetLimits;
use crate::keyspace::object::{ZSet, ZSetRef};
use crate::resp::{Args, Reply};
use crate::state::Server;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::decimal::{format_g17, parse_double};
use crate::types::listpack::Item;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    ZADD,
    ZINCRBY,
    ZREM,
    ZCARD,
    ZSCORE,
    ZMSCORE,
    ZRANK,
    ZREVRANK,
    ZRANDMEMBER,
    ZSCAN,
];

const READ_FAST: Flags = Flags::READONLY.or(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.or(Flags::FAST);
const READS_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))];
const REMOVES_FROM_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))];

/// So many scores are read without an allocation.
const SCORES_AT_HAND: usize = 8;

/// The thresholds of the encodings as they are configured now.
#[inline]
pub fn limits(server: &Server) -> ZSetLimits {
    ZSetLimits {
        entries: usize::try_from(server.config.zset_max_listpack_entries).unwrap_or(0),
        value: usize::try_from(server.config.zset_max_listpack_value).unwrap_or(0),
        seed: server.hash_seed,
    }
}

/// A member's name, as a bulk string.
#[inline]
pub fn reply_name(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(value) => reply.bulk_int(value),
        Item::Str(name) => reply.bulk(name),
    }
}

/// A member and its score; a pair of its own in RESP3.
#[inline]
pub fn reply_pair(reply: &mut Reply, item: Item<'_>, score: f64) {
    if reply.is_resp3() {
        reply.array(2);
    }
    reply_name(reply, item);
    reply.double(score);
}

/// Counts changes beyond the one that `touch` counts.
pub fn count_more(ctx: &mut Ctx<'_>, changes: usize) {
    ctx.server.effects.dirty += changes.saturating_sub(1) as u64;
}

/// What ZADD is to do with members that are there already, and with others.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddOptions {
    pub only_new: bool,
    pub only_present: bool,
    pub only_greater: bool,
    pub only_less: bool,
    /// The reply counts changed members too.
    pub counts_changed: bool,
    pub increments: bool,
}

/// What became of one member.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Added {
    New(f64),
    Changed(f64),
    /// The score that it has already.
    Same(f64),
    /// The options forbid it.
    Skipped,
    NotANumber,
}

impl AddOptions {
    /// The score that a member gets, if any, and what that means.
    fn decide(self, score: f64, old: Option<f64>) -> (Option<f64>, Added) {
        let Some(old) = old else {
            return match self.only_present {
                true => (None, Added::Skipped),
                false => (Some(score), Added::New(score)),
            };
        };
        if self.only_new {
            return (None, Added::Skipped);
        }
        let new = if self.increments { old + score } else { score };
        if new.is_nan() {
            (None, Added::NotANumber)
        } else if (self.only_less && new >= old) || (self.only_greater && new <= old) {
            (None, Added::Skipped)
        } else if new == old {
            (None, Added::Same(new))
        } else {
            (Some(new), Added::Changed(new))
        }
    }
}

pub const ZADD: Spec = Spec {
    name: "zadd",
    arity: -4,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Adds members with scores, or changes the scores of members that are there.",
    complexity: Some("O(log(N))"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of("condition", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")])
            .since("3.0.2")
            .optional(),
        Arg::one_of(
            "comparison",
            &[Arg::word("gt", "GT"), Arg::word("lt", "LT")],
        )
        .since("6.2.0")
        .optional(),
        Arg::word("change", "CH").since("3.0.2").optional(),
        Arg::word("increment", "INCR").since("3.0.2").optional(),
        Arg::block(
            "data",
            &[
                Arg::new("score", ArgKind::Double),
                Arg::new("member", ArgKind::String),
            ],
        )
        .multiple(),
    ],
    history: &[
        ("2.4.0", &[]),
        ("3.0.2", &["XX", "NX", "CH", "INCR"]),
        ("6.2.0", &["GT", "LT"]),
    ],
    handler: zadd,
    ..Spec::DEFAULT
};

/// `ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member ...]`
fn zadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut options = AddOptions::default();
    let mut index = 2;
    while index < args.len() {
        let word = args.bytes(index);
        // Most requests have no options: one look at the first byte says so.
        if !word.first().is_some_and(u8::is_ascii_alphabetic) {
            break;
        }
        let flag = if args.is(index, "NX") {
            &mut options.only_new
        } else if args.is(index, "XX") {
            &mut options.only_present
        } else if args.is(index, "CH") {
            &mut options.counts_changed
        } else if args.is(index, "INCR") {
            &mut options.increments
        } else if args.is(index, "GT") {
            &mut options.only_greater
        } else if args.is(index, "LT") {
            &mut options.only_less
        } else {
            break;
        };
        *flag = true;
        index += 1;
    }
    add(ctx, args, index, options)
}

pub const ZINCRBY: Spec = Spec {
    name: "zincrby",
    arity: 4,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Adds to a member's score, which counts as zero if it is not there.",
    complexity: Some("O(log(N))"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
    )],
    args: &[
        Arg::key("key", 0),
        Arg::new("increment", ArgKind::Integer),
        Arg::new("member", ArgKind::String),
    ],
    handler: zincrby,
    ..Spec::DEFAULT
};

/// `ZINCRBY key increment member`
fn zincrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = AddOptions {
        increments: true,
        ..AddOptions::default()
    };
    add(ctx, args, 2, options)
}

/// Adds the pairs of score and member from argument `from` on.
fn add(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    from: usize,
    options: AddOptions,
) -> Result<(), CommandError> {
    let rest = args.len() - from;
    if rest == 0 || !rest.is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let count = rest / 2;
    if options.only_new && options.only_present {
        return Err(CommandError::text(
            "ERR XX and NX options at the same time are not compatible",
        ));
    }
    let conditions = [options.only_new, options.only_greater, options.only_less];
    if conditions.iter().filter(|on| **on).count() > 1 {
        return Err(CommandError::text(
            "ERR GT, LT, and/or NX options at the same time are not compatible",
        ));
    }
    if options.increments && count > 1 {
        return Err(CommandError::text(
            "ERR INCR option supports a single increment-element pair",
        ));
    }
    let mut at_hand = [0.0; SCORES_AT_HAND];
    let mut many = Vec::new();
    let scores = if count <= SCORES_AT_HAND {
        &mut at_hand[..count]
    } else {
        many.resize(count, 0.0);
        &mut many[..]
    };
    for (score, index) in scores.iter_mut().zip((from..).step_by(2)) {
        *score = parse_double(args.bytes(index)).ok_or(CommandError::NotFloat)?;
    }
    let names = (from + 1..args.len()).step_by(2).map(|at| args.bytes(at));
    let pairs = names.zip(scores.iter().copied());
    add_pairs(ctx, ctx.key(args, 1), pairs, options)
}

/// Adds pairs of member and score, of which there is at least one, and replies.
pub fn add_pairs<'b>(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    pairs: impl Iterator<Item = (&'b [u8], f64)> + Clone,
    options: AddOptions,
) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let (mut new, mut changed) = (0, 0);
    let mut last = Added::Skipped;
    let zset = if options.only_present {
        ctx.object::<ZSet>(key, Access::Write)?
    } else {
        let hint = pairs.clone();
        Some(ctx.object_or_insert(key, || {
            // Only the first member's length counts: a score of -0 before a long member is packed, and so becomes 0.
            let first = hint.clone().next().map_or(0, |(name, _)| name.len());
            ZSet::new(hint.count(), first, &limits)
        })?)
    };
    if let Some(zset) = zset {
        zset.expect(pairs.clone().count(), &limits);
        for (name, score) in pairs {
            zset.upsert(name, &limits, |old| {
                let (score, added) = options.decide(score, old);
                last = added;
                score
            });
            match last {
                Added::New(_) => new += 1,
                Added::Changed(_) => changed += 1,
                _ => {}
            }
        }
    }
    if last == Added::NotANumber {
        return Err(CommandError::text(
            "ERR resulting score is not a number (NaN)",
        ));
    }
    if new + changed > 0 {
        count_more(ctx, new + changed);
        let name = if options.increments { "zincr" } else { "zadd" };
        ctx.touch(key.bytes, Event::zset(name));
    }
    let reply = &mut ctx.client.reply;
    if options.increments {
        match last {
            Added::New(score) | Added::Changed(score) | Added::Same(score) => reply.double(score),
            Added::Skipped | Added::NotANumber => reply.null(),
        }
    } else {
        reply.len(if options.counts_changed {
            new + changed
        } else {
            new
        });
    }
    Ok(())
}

pub const ZREM: Spec = Spec {
    name: "zrem",
    arity: -3,
    flags: WRITE_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Removes members.",
    complexity: Some("O(M*log(N))"),
    key_specs: REMOVES_FROM_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String).multiple(),
    ],
    history: &[("2.4.0", &[])],
    handler: zrem,
    ..Spec::DEFAULT
};

/// `ZREM key member [member ...]`
fn zrem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let mut removed = 0;
    let mut is_emptied = false;
    if let Some(zset) = ctx.object::<ZSet>(key, Access::Write)? {
        for name in args.iter_from(2) {
            removed += usize::from(zset.remove(name).is_some());
            is_emptied = zset.is_empty();
            if is_emptied {
                break;
            }
        }
    }
    finish_removal(ctx, key, removed, is_emptied, "zrem");
    ctx.client.reply.len(removed);
    Ok(())
}

/// Reports that `removed` members have gone from a key, and the key with the last one.
pub fn finish_removal(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    removed: usize,
    is_emptied: bool,
    event: &'static str,
) {
    if removed > 0 {
        count_more(ctx, removed);
        ctx.touch(key.bytes, Event::zset(event));
        if is_emptied {
            ctx.delete_emptied(key);
        }
    }
}

pub const ZCARD: Spec = Spec {
    name: "zcard",
    arity: 2,
    flags: READ_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Counts the members.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: zcard,
    ..Spec::DEFAULT
};

/// `ZCARD key`
fn zcard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let len = ctx
        .object::<ZSet>(key, Access::Read)?
        .map_or(0, |zset| zset.len());
    ctx.client.reply.len(len);
    Ok(())
}

pub const ZSCORE: Spec = Spec {
    name: "zscore",
    arity: 3,
    flags: READ_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "1.2.0",
    summary: "Returns a member's score.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), Arg::new("member", ArgKind::String)],
    handler: zscore,
    ..Spec::DEFAULT
};

/// `ZSCORE key member`
fn zscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let zset = ctx.object::<ZSet>(key, Access::Read)?;
    let score = zset.and_then(|zset| zset.score(args.bytes(2)));
    reply_score(&mut ctx.client.reply, score);
    Ok(())
}

fn reply_score(reply: &mut Reply, score: Option<f64>) {
    match score {
        Some(score) => reply.double(score),
        None => reply.null(),
    }
}

pub const ZMSCORE: Spec = Spec {
    name: "zmscore",
    arity: -3,
    flags: READ_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "6.2.0",
    summary: "Returns the scores of several members.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String).multiple(),
    ],
    handler: zmscore,
    ..Spec::DEFAULT
};

/// `ZMSCORE key member [member ...]`
fn zmscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let zset = ctx.server.object::<ZSet>(dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    reply.array(args.len() - 2);
    for name in args.iter_from(2) {
        let score = zset.as_ref().and_then(|zset| zset.score(name));
        reply_score(reply, score);
    }
    Ok(())
}

pub const ZRANK: Spec = Spec {
    name: "zrank",
    arity: -3,
    flags: READ_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.0.0",
    summary: "Returns how many members come before one, counted from the lowest score.",
    complexity: Some("O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String),
        Arg::word("withscore", "WITHSCORE").optional(),
    ],
    history: &[("7.2.0", &["WITHSCORE"])],
    handler: zrank,
    ..Spec::DEFAULT
};

/// `ZRANK key member [WITHSCORE]`
fn zrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(ctx, args, false)
}

pub const ZREVRANK: Spec = Spec {
    name: "zrevrank",
    arity: -3,
    flags: READ_FAST,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.0.0",
    summary: "Returns how many members come before one, counted from the highest score.",
    complexity: Some("O(log(N))"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String),
        Arg::word("withscore", "WITHSCORE").optional(),
    ],
    history: &[("7.2.0", &["WITHSCORE"])],
    handler: zrevrank,
    ..Spec::DEFAULT
};

/// `ZREVRANK key member [WITHSCORE]`
fn zrevrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rank(ctx, args, true)
}

fn rank(ctx: &mut Ctx<'_>, args: Args<'_>, reverse: bool) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::Arity(ctx.this().spec.name.into()));
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "WITHSCORE") {
        return Err(CommandError::Syntax);
    }
    let key = ctx.key(args, 1);
    let found = ctx.object::<ZSet>(key, Access::Read)?.and_then(|zset| {
        let (rank, score) = zset.rank(args.bytes(2))?;
        let rank = if reverse { zset.len() - 1 - rank } else { rank };
        Some((rank, score))
    });
    let reply = &mut ctx.client.reply;
    match found {
        Some((rank, score)) => {
            if with_score {
                reply.array(2);
            }
            reply.len(rank);
            if with_score {
                reply.double(score);
            }
        }
        None if with_score => reply.null_array(),
        None => reply.null(),
    }
    Ok(())
}

pub const ZRANDMEMBER: Spec = Spec {
    name: "zrandmember",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "6.2.0",
    summary: "Picks members by chance.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "options",
            &[
                Arg::new("count", ArgKind::Integer),
                Arg::word("withscores", "WITHSCORES").optional(),
            ],
        )
        .optional(),
    ],
    tips: &["nondeterministic_output"],
    handler: zrandmember,
    ..Spec::DEFAULT
};

/// `ZRANDMEMBER key [count [WITHSCORES]]`
fn zrandmember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        return random_one(ctx, args);
    }
    let count = int_arg(args, 2)?;
    if count == i64::MIN {
        return Err(CommandError::NotBetween(-i64::MAX, i64::MAX));
    }
    let with_scores = args.len() == 4;
    if args.len() > 4 || (with_scores && !args.is(3, "WITHSCORES")) {
        return Err(CommandError::Syntax);
    }
    if with_scores && count.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(CommandError::OutOfRange);
    }
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    // The generator is taken out because the sorted set borrows the server it lies in.
    let mut rng = ctx.server.rng.clone();
    let mut below = |bound| rng.below(bound);
    let zset = ctx.server.object::<ZSet>(dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let Some(zset) = zset else {
        reply.array(0);
        return Ok(());
    };
    let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let returned = if count < 0 {
        wanted
    } else {
        wanted.min(zset.len())
    };
    let width = if with_scores && !reply.is_resp3() {
        2
    } else {
        1
    };
    reply.array(returned * width);
    let mut show = |rank| {
        if let Some((name, score)) = zset.range(rank, 1, false).next() {
            match with_scores {
                true => reply_pair(reply, name, score),
                false => reply_name(reply, name),
            }
        }
        !reply.is_cut()
    };
    if count < 0 {
        let len = zset.len() as u64;
        (0..returned).all(|_| show(below(len) as usize));
    } else {
        pick_ranks(&mut below, zset.len(), wanted)
            .into_iter()
            .all(show);
    }
    ctx.server.rng = rng;
    Ok(())
}

fn random_one(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let len = ctx
        .object::<ZSet>(key, Access::Read)?
        .map_or(0, |zset| zset.len());
    let rank = ctx.server.rng.below(len as u64) as usize;
    let zset = ctx.server.object::<ZSet>(dbid, key, Access::Peek)?;
    match zset.and_then(|zset| zset.range(rank, 1, false).next()) {
        Some((name, _)) => reply_name(&mut ctx.client.reply, name),
        None => ctx.client.reply.null(),
    }
    Ok(())
}

/// Different ranks below `len`, picked by chance: as many as wanted, or all.
fn pick_ranks(below: &mut dyn FnMut(u64) -> u64, len: usize, wanted: usize) -> Vec<usize> {
    if wanted >= len {
        return (0..len).collect();
    }
    // Floyd's sampling: every subset is equally likely, and the work is that of the smaller part.
    let mut picked = std::collections::BTreeSet::new();
    for bound in len - wanted..len {
        let rank = below(bound as u64 + 1) as usize;
        if !picked.insert(rank) {
            picked.insert(bound);
        }
    }
    let mut ranks: Vec<usize> = picked.into_iter().collect();
    for at in (1..ranks.len()).rev() {
        ranks.swap(at, below(at as u64 + 1) as usize);
    }
    ranks
}

pub const ZSCAN: Spec = Spec {
    name: "zscan",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.8.0",
    summary: "Walks the members and their scores a few at a time.",
    complexity: Some("O(1) or O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("cursor", ArgKind::Integer),
        Arg::new("pattern", ArgKind::Pattern)
            .token("MATCH")
            .optional(),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    tips: &["nondeterministic_output"],
    handler: zscan,
    ..Spec::DEFAULT
};

/// `ZSCAN key cursor [MATCH pattern] [COUNT count]`
fn zscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = cursor_arg(args, 2)?;
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let zset = ctx.server.object::<ZSet>(dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let Some(zset) = zset else {
        reply.array(2);
        reply.bulk(b"0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Scanned::Other)?;
    let is_packed = matches!(zset.view(), ZSetRef::Listpack(_));
    let mut found: Vec<(Vec<u8>, f64)> = Vec::new();
    let next = options.walk(cursor, &mut found, |cursor, found| {
        zset.scan(cursor, &mut |item, score| {
            let mut digits = itoa::Buffer::new();
            let name = item.bytes(&mut digits);
            if options.matches(name) {
                found.push((name.to_vec(), score));
            }
        })
    });
    reply.array(2);
    reply.text(itoa::Buffer::new().format(next));
    reply.array(found.len() * 2);
    for (name, score) in &found {
        reply.bulk(name);
        // A listpack shows its own text, a table all digits.
        if is_packed {
            reply.text(&crate::resp::writer::format_double(*score));
        } else {
            reply.text(&format_g17(*score));
        }
    }
    Ok(())
}
