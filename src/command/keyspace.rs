//! Whole databases: their size, emptying and exchanging them; and TIME.

use crate::command::ctx::int32_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::restraint::Restraint;
use crate::state::{ClientFlags, Waiting};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[DBSIZE, FLUSHDB, FLUSHALL, SWAPDB, TIME];

pub const DBSIZE: Spec = Spec {
    name: "dbsize",
    arity: 1,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Server,
    since: "1.0.0",
    summary: "Counts the keys of the database.",
    complexity: Some("O(1)"),
    tips: &["request_policy:all_shards", "response_policy:agg_sum"],
    handler: dbsize,
    ..Spec::DEFAULT
};

/// `DBSIZE`: keys that have expired and are not removed yet count.
fn dbsize(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let len = ctx.server.db(ctx.client.dbid).len();
    ctx.client.reply.len(len);
    Ok(())
}

pub const FLUSHDB: Spec = Spec {
    name: "flushdb",
    arity: -1,
    flags: Flags::WRITE,
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    group: Group::Server,
    since: "1.0.0",
    summary: "Removes all keys of the database.",
    complexity: Some("O(N)"),
    args: &[Arg::one_of(
        "flush-type",
        &[
            Arg::word("async", "ASYNC").since("4.0.0"),
            Arg::word("sync", "SYNC").since("6.2.0"),
        ],
    )
    .optional()],
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    history: &[("4.0.0", &["ASYNC"]), ("6.2.0", &["SYNC"])],
    handler: flushdb,
    ..Spec::DEFAULT
};

/// `FLUSHDB [ASYNC | SYNC]`
fn flushdb(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_async = is_async(ctx, args)?;
    let waits = !is_async && ctx.may_wait();
    let removed = ctx.server.flush(ctx.client.dbid, is_async || waits);
    ctx.server.invalidate_all();
    ctx.server.effects.dirty += removed;
    ctx.propagate_always(args);
    reply_when_freed(ctx, waits);
    Ok(())
}

pub const FLUSHALL: Spec = Spec {
    name: "flushall",
    arity: -1,
    flags: Flags::WRITE,
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    group: Group::Server,
    since: "1.0.0",
    summary: "Removes all keys of all databases.",
    complexity: Some("O(N)"),
    args: &[Arg::one_of(
        "flush-type",
        &[
            Arg::word("async", "ASYNC").since("4.0.0"),
            Arg::word("sync", "SYNC").since("6.2.0"),
        ],
    )
    .optional()],
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    history: &[("4.0.0", &["ASYNC"]), ("6.2.0", &["SYNC"])],
    handler: flushall,
    ..Spec::DEFAULT
};

/// `FLUSHALL [ASYNC | SYNC]`
fn flushall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_async = is_async(ctx, args)?;
    let waits = !is_async && ctx.may_wait();
    ctx.server.drop_background_save();
    for dbid in 0..ctx.server.dbs.len() {
        let removed = ctx.server.flush(dbid as u32, is_async || waits);
        ctx.server.effects.dirty += removed;
    }
    ctx.server.invalidate_all();
    ctx.propagate_always(args);
    // The file of before would bring everything back at the next start.
    let is_loading = ctx.server.restraint.has(Restraint::LOADING);
    if !ctx.server.config.save.is_empty() && !is_loading {
        save_emptied(ctx);
    } else {
        reply_when_freed(ctx, waits);
    }
    Ok(())
}

/// Saves that nothing is left; the reply comes when that is on disk.
fn save_emptied(ctx: &mut Ctx<'_>) {
    let waiter = (ctx.client.conn, ctx.client.id);
    if ctx.may_wait() {
        tell_before_reply(ctx);
    }
    if ctx.client.flags.has(ClientFlags::IN_SCRIPT) {
        ctx.client.reply.ok(); // a script has its reply when it goes on
    }
    ctx.client.wait_for(Waiting::Answer);
    ctx.server.save_emptied(waiter);
}

/// Who waits for a flush hears before the reply that the keys are gone, however short the wait is, and of all other
/// changes up to then.
fn tell_before_reply(ctx: &mut Ctx<'_>) {
    if ctx.server.tracking.has_broadcasts() {
        ctx.server.broadcast_changes();
    }
    ctx.server.deliver_pushes(ctx.client);
}

/// Replies at once, or when what was removed is given back: others are served meanwhile.
fn reply_when_freed(ctx: &mut Ctx<'_>, waits: bool) {
    if waits {
        tell_before_reply(ctx);
    }
    if waits && !ctx.server.free_garbage() {
        ctx.client.wait_for(Waiting::Answer);
        let mark = ctx.server.garbage.mark();
        let waiter = (mark, ctx.client.conn, ctx.client.id);
        ctx.server.flush_waiters.push(waiter);
    } else {
        ctx.client.reply.ok();
    }
}

/// Whether a flush is to leave the freeing of memory to ticks.
fn is_async(ctx: &Ctx<'_>, args: Args<'_>) -> Result<bool, CommandError> {
    match args.len() {
        1 => Ok(ctx.server.config.lazyfree_lazy_user_flush),
        2 if args.is(1, "ASYNC") => Ok(true),
        2 if args.is(1, "SYNC") => Ok(false),
        _ => Err(CommandError::Syntax),
    }
}

pub const SWAPDB: Spec = Spec {
    name: "swapdb",
    arity: 3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    group: Group::Server,
    since: "4.0.0",
    summary: "Exchanges two databases.",
    complexity: Some("O(N)"),
    args: &[
        Arg::new("index1", ArgKind::Integer),
        Arg::new("index2", ArgKind::Integer),
    ],
    handler: swapdb,
    ..Spec::DEFAULT
};

/// `SWAPDB index1 index2`: every client sees the other database's keys under its own number at once.
fn swapdb(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let first = int32_arg(args, 1).map_err(|_| CommandError::text("ERR invalid first DB index"))?;
    let second =
        int32_arg(args, 2).map_err(|_| CommandError::text("ERR invalid second DB index"))?;
    let len = ctx.server.dbs.len();
    let checked = |index: i32| {
        usize::try_from(index)
            .ok()
            .filter(|index| *index < len)
            .ok_or(CommandError::DbIndex)
    };
    let (first, second) = (checked(first)?, checked(second)?);
    ctx.server.note_incompatible();
    ctx.server.dirty_watched(first as u32, second as u32);
    ctx.server.dirty_watched(second as u32, first as u32);
    ctx.server.dbs.swap(first, second);
    ctx.server.waiters.signal_db(first as u32);
    ctx.server.waiters.signal_db(second as u32);
    ctx.server.effects.dirty += 1;
    ctx.client.reply.ok();
    Ok(())
}

pub const TIME: Spec = Spec {
    name: "time",
    arity: 1,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    group: Group::Server,
    since: "2.6.0",
    summary: "Tells the server's time.",
    complexity: Some("O(1)"),
    tips: &["nondeterministic_output"],
    handler: time,
    ..Spec::DEFAULT
};

/// `TIME`: Unix seconds and the microseconds in them.
fn time(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let running = ctx.server.scripting.running.as_ref();
    let now = running
        .and_then(|running| running.time)
        .unwrap_or(ctx.server.now);
    ctx.client.reply.array(2);
    ctx.client.reply.bulk_int(now.secs());
    ctx.client.reply.bulk_int(now.0.rem_euclid(1_000_000));
    Ok(())
}
