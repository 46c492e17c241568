//! Connection commands.

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[PING];

pub const PING: Spec = Spec {
    name: "ping",
    arity: -1,
    flags: Flags::FAST,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "1.0.0",
    summary: "WRITE ME: one sentence in our own words",
    complexity: Some("O(1)"),
    args: &[Arg::new("message", ArgKind::String).optional()],
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    handler: ping,
    ..Spec::DEFAULT
};

/// `PING [message]`: answers, so that the other side knows that someone is there.
fn ping(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 2 {
        return Err(CommandError::Arity("ping".into()));
    }
    match args.get(1) {
        Some(message) => ctx.client.reply.bulk(message),
        None => ctx.client.reply.simple("PONG"),
    }
    Ok(())
}
