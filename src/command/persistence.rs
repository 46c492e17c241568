//! Commands that bring the data to disk.

use crate::border::Outcome;
use crate::command::ctx::{count_arg, int_arg, timeout_ms_arg};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::aof::AofState;
use crate::state::persistence::After;
use crate::state::server::Continuation;
use crate::state::{ClientFlags, Waiting};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[SAVE, BGSAVE, LASTSAVE, BGREWRITEAOF, WAITAOF];

pub const SAVE: Spec = Spec {
    name: "save",
    arity: 1,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::NO_ASYNC_LOADING)
        .or(Flags::NO_MULTI),
    group: Group::Server,
    since: "1.0.0",
    summary: "Saves the data to disk and replies when it is there.",
    complexity: Some("O(N)"),
    handler: save,
    ..Spec::DEFAULT
};

/// `SAVE`: the data as it is now. Other clients go on meanwhile.
fn save(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if ctx.server.persistence.is_saving() {
        return Err(SAVING);
    }
    ctx.client.wait_for(Waiting::Answer);
    let waiter = (ctx.client.conn, ctx.client.id);
    ctx.server.save_for(Some(waiter), After::Reply);
    Ok(())
}

const SAVING: CommandError = CommandError::Text(std::borrow::Cow::Borrowed(
    "ERR Background save already in progress",
));

pub const BGSAVE: Spec = Spec {
    name: "bgsave",
    arity: -1,
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING),
    group: Group::Server,
    since: "1.0.0",
    summary: "Saves the data to disk in the background.",
    complexity: Some("O(1)"),
    args: &[Arg::word("schedule", "SCHEDULE").since("3.2.2").optional()],
    history: &[("3.2.2", &["SCHEDULE"])],
    handler: bgsave,
    ..Spec::DEFAULT
};

/// `BGSAVE [SCHEDULE]`: the data as it is now; with SCHEDULE, as soon as nothing else is being saved.
fn bgsave(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let schedules = match args.len() {
        1 => false,
        2 if args.is(1, "SCHEDULE") => true,
        _ => return Err(CommandError::Syntax),
    };
    if ctx.server.persistence.is_saving() {
        return Err(SAVING);
    }
    let is_busy = ctx.server.persistence.snapshot.is_some();
    let in_exec = ctx.client.flags.has(ClientFlags::IN_EXEC);
    if is_busy || in_exec {
        if !schedules && !in_exec {
            return Err(CommandError::text(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order \
                 to schedule a BGSAVE whenever possible.",
            ));
        }
        ctx.server.persistence.is_scheduled = true;
        ctx.client.reply.simple("Background saving scheduled");
        return Ok(());
    }
    ctx.server.save_in_background();
    ctx.client.reply.simple("Background saving started");
    Ok(())
}

pub const LASTSAVE: Spec = Spec {
    name: "lastsave",
    arity: 1,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Categories::DANGEROUS.or(Categories::ADMIN),
    group: Group::Server,
    since: "1.0.0",
    summary: "Tells when the data was last as it is on disk.",
    complexity: Some("O(1)"),
    tips: &["nondeterministic_output"],
    handler: lastsave,
    ..Spec::DEFAULT
};

/// `LASTSAVE`: in seconds; without any save, the server's start.
fn lastsave(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.int(ctx.server.persistence.last_save_secs);
    Ok(())
}

pub const BGREWRITEAOF: Spec = Spec {
    name: "bgrewriteaof",
    arity: 1,
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NO_ASYNC_LOADING),
    group: Group::Server,
    since: "1.0.0",
    summary: "Writes the append-only file anew, without what is history.",
    complexity: Some("O(1)"),
    handler: bgrewriteaof,
    ..Spec::DEFAULT
};

/// `BGREWRITEAOF`: from the data as it is now, or as soon as nothing else is being saved.
fn bgrewriteaof(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if ctx.server.is_rewriting() {
        return Err(CommandError::text(
            "ERR Background append only file rewriting already in progress",
        ));
    }
    let is_busy = ctx.server.persistence.snapshot.is_some();
    if is_busy || ctx.client.flags.has(ClientFlags::IN_EXEC) {
        ctx.server.aof.is_scheduled = true;
        let text = "Background append only file rewriting scheduled";
        ctx.client.reply.simple(text);
        return Ok(());
    }
    let waiter = (ctx.client.conn, ctx.client.id);
    ctx.client.wait_for(Waiting::Answer);
    ctx.server.await_shell(waiter, Continuation::Rewrite);
    ctx.server.begin_rewrite(Some(waiter));
    Ok(())
}

/// What BGREWRITEAOF replies when it is known whether the rewrite runs.
pub fn begun(outcome: &Outcome) -> Result<&'static str, CommandError> {
    match outcome {
        Ok(_) => Ok("Background append only file rewriting started"),
        Err(_) => Err(CommandError::text(
            "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
        )),
    }
}

pub const WAITAOF: Spec = Spec {
    name: "waitaof",
    arity: 4,
    flags: Flags::BLOCKING,
    acl: Categories::CONNECTION,
    group: Group::Generic,
    since: "7.2.0",
    summary: "Waits until the connection's changes are on disk, here and at replicas.",
    complexity: Some("O(1)"),
    args: &[
        Arg::new("numlocal", ArgKind::Integer),
        Arg::new("numreplicas", ArgKind::Integer),
        Arg::new("timeout", ArgKind::Integer),
    ],
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    handler: waitaof,
    ..Spec::DEFAULT
};

/// `WAITAOF numlocal numreplicas timeout`: replies on how many disks the changes are.
fn waitaof(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let local = int_arg(args, 1)?;
    if !(0..=1).contains(&local) {
        return Err(CommandError::NotBetween(0, 1));
    }
    let replicas = count_arg(args, 2)?;
    let timeout_ms = timeout_ms_arg(ctx, args, 3)?;
    if local > 0 && ctx.server.aof.state == AofState::Off {
        return Err(CommandError::text(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    let is_synced = ctx.server.is_aof_synced();
    let is_enough = replicas == 0 && (local == 0 || is_synced);
    let at_once = ClientFlags::IN_EXEC.or(ClientFlags::IN_SCRIPT);
    if is_enough || ctx.client.flags.has_any(at_once) {
        ctx.client.reply.array(2);
        ctx.client.reply.int(i64::from(is_synced));
        ctx.client.reply.int(0);
        return Ok(());
    }
    ctx.client.wait_for(Waiting::Answer);
    let waiter = (ctx.client.conn, ctx.client.id);
    let now_ms = ctx.server.now_ms;
    let deadline = (timeout_ms > 0).then(|| now_ms.saturating_add(timeout_ms as i64));
    ctx.server.wait_for_aof(waiter, deadline, replicas > 0);
    Ok(())
}
