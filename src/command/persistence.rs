//! Commands that bring the data to disk.

use crate::command::spec::{Arg, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::ClientFlags;
use crate::state::persistence::After;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[SAVE, BGSAVE, LASTSAVE];

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
    ctx.client.flags.set(ClientFlags::AWAITING, true);
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
