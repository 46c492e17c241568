//! Transactions: MULTI queues, EXEC runs what was queued, WATCH makes it depend on keys.
//!
//! Commands reach the queue in `engine::exec`, behind the same gates that they pass when they run at once.

use crate::command::spec::{Arg, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::keys::Access;
use crate::state::multi::watch_bytes;
use crate::state::{Client, Server};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[MULTI, EXEC, DISCARD, WATCH, UNWATCH];

const FLAGS: Flags = Flags::NOSCRIPT
    .or(Flags::LOADING)
    .or(Flags::STALE)
    .or(Flags::FAST)
    .or(Flags::ALLOW_BUSY);

pub const MULTI: Spec = Spec {
    name: "multi",
    arity: 1,
    flags: FLAGS,
    acl: Categories::TRANSACTION,
    group: Group::Transactions,
    since: "1.2.0",
    summary: "Begins a transaction: the commands that follow wait for EXEC.",
    complexity: Some("O(1)"),
    handler: multi,
    ..Spec::DEFAULT
};

/// `MULTI`
fn multi(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if ctx.client.multi.is_some() {
        return Err(CommandError::text("ERR MULTI calls can not be nested"));
    }
    ctx.client.multi = Some(Box::default());
    ctx.client.reply.ok();
    Ok(())
}

pub const EXEC: Spec = Spec {
    name: "exec",
    arity: 1,
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::SKIP_SLOWLOG),
    acl: Categories::TRANSACTION,
    group: Group::Transactions,
    since: "1.2.0",
    summary: "Runs the queued commands, with nothing else in between.",
    complexity: Some("Depends on commands in the transaction"),
    handler: exec,
    ..Spec::DEFAULT
};

/// `EXEC`: replies the length of the array; the engine runs the commands, and each adds its reply.
fn exec(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let Some(multi) = ctx.client.multi.take() else {
        return Err(CommandError::text("ERR EXEC without MULTI"));
    };
    // A watched key whose deadline has passed is removed by the look, and has changed by that.
    for (dbid, key) in ctx.client.watched.clone() {
        let key = ctx.server.key(&key);
        ctx.server.lookup(dbid, key, Access::Peek);
    }
    let is_dirty = ctx.server.watchers.is_dirty(ctx.client.conn);
    unwatch_all(ctx.server, ctx.client);
    if multi.is_aborted {
        return Err(CommandError::text(
            "EXECABORT Transaction discarded because of previous errors.",
        ));
    }
    if is_dirty {
        ctx.client.reply.null_array();
        return Ok(());
    }
    ctx.client.reply.array(multi.queue.len());
    ctx.client.begun.exec = Some(multi);
    Ok(())
}

pub const DISCARD: Spec = Spec {
    name: "discard",
    arity: 1,
    flags: FLAGS,
    acl: Categories::TRANSACTION,
    group: Group::Transactions,
    since: "2.0.0",
    summary: "Forgets the queued commands and the watched keys.",
    complexity: Some("O(N)"),
    handler: discard,
    ..Spec::DEFAULT
};

/// `DISCARD`
fn discard(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if ctx.client.multi.is_none() {
        return Err(CommandError::text("ERR DISCARD without MULTI"));
    }
    abandon(ctx.server, ctx.client);
    ctx.client.reply.ok();
    Ok(())
}

pub const WATCH: Spec = Spec {
    name: "watch",
    arity: -2,
    flags: FLAGS,
    acl: Categories::TRANSACTION,
    group: Group::Transactions,
    since: "2.2.0",
    summary: "Makes the next EXEC run only if the keys have not changed until then.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RO)],
    args: &[Arg::key("key", 0).multiple()],
    handler: watch,
    ..Spec::DEFAULT
};

/// `WATCH key [key ...]`
fn watch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if ctx.client.multi.is_some() {
        return Err(CommandError::text("ERR WATCH inside MULTI is not allowed"));
    }
    let (conn, dbid) = (ctx.client.conn, ctx.client.dbid);
    for key in args.iter_from(1) {
        // One that has expired counts as missing from the beginning.
        let found = ctx.server.key(key);
        ctx.server.lookup(dbid, found, Access::Peek);
        let watched = &mut ctx.client.watched;
        if ctx.server.watchers.watch(conn, dbid, key, watched) {
            ctx.client.watched_bytes += watch_bytes(key);
        }
    }
    ctx.client.reply.ok();
    Ok(())
}

pub const UNWATCH: Spec = Spec {
    name: "unwatch",
    arity: 1,
    flags: FLAGS,
    acl: Categories::TRANSACTION,
    group: Group::Transactions,
    since: "2.2.0",
    summary: "Forgets the watched keys.",
    complexity: Some("O(1)"),
    handler: unwatch,
    ..Spec::DEFAULT
};

/// `UNWATCH`
fn unwatch(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    unwatch_all(ctx.server, ctx.client);
    ctx.client.reply.ok();
    Ok(())
}

/// The client's transaction ends, if there is one, and with it all that it watches.
pub fn abandon(server: &mut Server, client: &mut Client) {
    client.multi = None;
    unwatch_all(server, client);
}

/// The client watches nothing any more.
pub fn unwatch_all(server: &mut Server, client: &mut Client) {
    server.watchers.unwatch(client.conn, &mut client.watched);
    client.watched_bytes = 0;
}
