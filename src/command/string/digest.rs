//! Digests of strings: DIGEST, and DELEX, which compares before it deletes.

use super::condition::{Condition, digest_of};
use super::{READS_KEY, delete};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Kind;
use crate::resp::Args;
use crate::state::keys::Access;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[DELEX, DIGEST];

pub const DIGEST: Spec = Spec {
    name: "digest",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "8.4.0",
    summary: "Returns the 64-bit XXH3 digest of a string in hexadecimal.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0)],
    handler: digest,
    ..Spec::DEFAULT
};

fn digest(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    match ctx.server.string(ctx.client.dbid, key, Access::Read)? {
        Some(entry) => ctx.client.reply.text(&digest_of(entry)),
        None => ctx.client.reply.null(),
    }
    Ok(())
}

pub const DELEX: Spec = Spec {
    name: "delex",
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "8.4.0",
    summary: "Deletes a key if its string, or the digest of its string, is or is not what is given.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW
            .or(KeyFlags::DELETE)
            .or(KeyFlags::VARIABLE_FLAGS),
    )],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "condition",
            &[
                Arg::new("ifeq-value", ArgKind::String).token("IFEQ"),
                Arg::new("ifne-value", ArgKind::String).token("IFNE"),
                Arg::new("ifdeq-digest", ArgKind::String).token("IFDEQ"),
                Arg::new("ifdne-digest", ArgKind::String).token("IFDNE"),
            ],
        )
        .optional(),
    ],
    handler: delex,
    ..Spec::DEFAULT
};

fn delex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !matches!(args.len(), 2 | 4) {
        return Err(CommandError::Arity("delex".into()));
    }
    let key = ctx.key(args, 1);
    let Some(entry) = ctx.server.lookup(ctx.client.dbid, key, Access::Write) else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    if args.len() == 4 {
        if entry.kind() != Kind::String {
            return Err(CommandError::text(
                "ERR Key should be of string type if conditions are specified",
            ));
        }
        let condition = Condition::at(args, 2).filter(|condition| condition.compares());
        let condition = condition.ok_or(CommandError::text(
            "ERR Invalid condition. Use IFEQ, IFNE, IFDEQ, or IFDNE",
        ))?;
        if !condition.holds_for(entry, args.bytes(3))? {
            ctx.client.reply.int(0);
            return Ok(());
        }
    }
    delete(ctx, key);
    ctx.client.reply.int(1);
    Ok(())
}
