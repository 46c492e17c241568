//! Replication as far as a server has it that is always a primary and has no replicas: ROLE, and the wish to follow
//! nobody.

use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[REPLICAOF, ROLE, SLAVEOF];

pub const REPLICAOF: Spec = Spec {
    name: "replicaof",
    arity: 3,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::STALE)
        .or(Flags::NO_ASYNC_LOADING),
    group: Group::Server,
    since: "5.0.0",
    summary: "Makes the server the replica of another, or a primary.",
    complexity: Some("O(1)"),
    args: &[Arg::one_of(
        "args",
        &[
            Arg::block(
                "host-port",
                &[
                    Arg::new("host", ArgKind::String),
                    Arg::new("port", ArgKind::Integer),
                ],
            ),
            Arg::block("no-one", &[Arg::word("no", "NO"), Arg::word("one", "ONE")]),
        ],
    )],
    handler: replicaof,
    ..Spec::DEFAULT
};

/// `REPLICAOF host port | NO ONE`: the server follows nobody, and cannot yet.
fn replicaof(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.is(1, "NO") && args.is(2, "ONE") {
        ctx.client.reply.ok();
        return Ok(());
    }
    let is_port = int_arg(args, 2).is_ok_and(|port| (0..=i64::from(u16::MAX)).contains(&port));
    let text = match is_port {
        true => "ERR This server does not replicate yet, so it can follow no other",
        false => "ERR Invalid master port",
    };
    Err(CommandError::text(text))
}

pub const SLAVEOF: Spec = Spec {
    name: "slaveof",
    since: "1.0.0",
    deprecated_since: Some("5.0.0"),
    replaced_by: Some("`REPLICAOF`"),
    ..REPLICAOF
};

pub const ROLE: Spec = Spec {
    name: "role",
    arity: 1,
    flags: Flags::NOSCRIPT
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::FAST),
    acl: Categories::DANGEROUS.or(Categories::ADMIN),
    group: Group::Server,
    since: "2.8.12",
    summary: "Tells the server's part in replication.",
    complexity: Some("O(1)"),
    handler: role,
    ..Spec::DEFAULT
};

/// `ROLE`: a primary, its replication offset, its replicas.
fn role(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.array(3);
    ctx.client.reply.text("master");
    ctx.client.reply.int(ctx.server.aof.repl_offset);
    ctx.client.reply.array(0);
    Ok(())
}
