//! HIMPORT: many hashes with the same fields, whose names are sent once.
//!
//! The names are the connection's own: they go with it, or with RESET.

use std::collections::BTreeSet;

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::hash::OldDeadline;
use crate::keyspace::object::{Hash, ObjectType};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[HIMPORT];

const ALL_SHARDS: &[&str] = &["request_policy:all_shards"];

pub const HIMPORT: Spec = Spec {
    name: "himport",
    arity: -2,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.10.0",
    summary: "A container for commands that create many hashes with the same fields.",
    subcommands: &[
        HIMPORT_DISCARD,
        HIMPORT_DISCARDALL,
        HIMPORT_PREPARE,
        HIMPORT_SET,
    ],
    ..Spec::DEFAULT
};

pub const HIMPORT_PREPARE: Spec = Spec {
    name: "prepare",
    arity: -4,
    flags: Flags::DENYOOM,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.10.0",
    summary: "Names a list of fields on this connection.",
    complexity: Some("O(N*log(N))"),
    args: &[
        Arg::new("fieldset-name", ArgKind::String),
        Arg::new("field", ArgKind::String).multiple(),
    ],
    tips: ALL_SHARDS,
    handler: prepare,
    ..Spec::DEFAULT
};

fn prepare(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut names = BTreeSet::new();
    if !args.iter_from(3).all(|field| names.insert(field)) {
        return Err(CommandError::text("ERR duplicate field name in fieldset"));
    }
    let fields = args.iter_from(3).map(<[u8]>::to_vec).collect();
    let name = args.bytes(2).to_vec();
    ctx.client.fieldsets.insert(name, fields);
    ctx.client.reply.ok();
    Ok(())
}

pub const HIMPORT_SET: Spec = Spec {
    name: "set",
    arity: -5,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.10.0",
    summary: "Creates a hash from a list of fields and their values.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(2, KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("fieldset-name", ArgKind::String),
        Arg::new("value", ArgKind::String).multiple(),
    ],
    handler: set,
    ..Spec::DEFAULT
};

/// `HIMPORT SET key fieldset-name value [value ...]`: takes the place of another hash, but of nothing else.
fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(fields) = ctx.client.fieldsets.get(args.bytes(3)) else {
        return Err(CommandError::text("ERR no such fieldset"));
    };
    if fields.len() != args.len() - 4 {
        return Err(CommandError::text(
            "ERR value count does not match the fieldset's field count",
        ));
    }
    let key = ctx.key(args, 2);
    let dbid = ctx.client.dbid;
    let replaces = ctx
        .server
        .object::<Hash>(dbid, key, Access::Write)?
        .is_some();

    let limits = ctx.server.hash_limits();
    let mut hash = Hash::default();
    let texts = fields.iter().map(Vec::as_slice).chain(args.iter_from(4));
    hash.prepare(texts, fields.len() * 2, &limits);
    let mut argv: Vec<&[u8]> = vec![b"HSET", key.bytes];
    // Hashes of the same fields have them in the same order, in whichever they were named.
    let mut pairs: Vec<(&Vec<u8>, &[u8])> = fields.iter().zip(args.iter_from(4)).collect();
    pairs.sort_unstable_by_key(|(field, _)| *field);
    for (field, value) in pairs {
        hash.set(field, value, OldDeadline::Clear, &limits);
        argv.extend_from_slice(&[field, value]);
    }
    ctx.server.store_object(dbid, key, hash.into_object());
    ctx.server.touch(dbid, key.bytes, Event::hash("hset"));
    let effects = &mut ctx.server.effects;
    if replaces {
        effects.substitute(dbid, &[b"DEL", key.bytes]);
    }
    effects.substitute(dbid, &argv);
    ctx.client.reply.ok();
    Ok(())
}

pub const HIMPORT_DISCARD: Spec = Spec {
    name: "discard",
    arity: 3,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.10.0",
    summary: "Forgets one list of fields.",
    complexity: Some("O(N)"),
    args: &[Arg::new("fieldset-name", ArgKind::String)],
    tips: ALL_SHARDS,
    handler: discard,
    ..Spec::DEFAULT
};

fn discard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let removed = ctx.client.fieldsets.remove(args.bytes(2)).is_some();
    ctx.client.reply.int(i64::from(removed));
    Ok(())
}

pub const HIMPORT_DISCARDALL: Spec = Spec {
    name: "discardall",
    arity: 2,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.10.0",
    summary: "Forgets all lists of fields.",
    complexity: Some("O(N)"),
    tips: ALL_SHARDS,
    handler: discardall,
    ..Spec::DEFAULT
};

fn discardall(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let removed = ctx.client.fieldsets.len();
    ctx.client.fieldsets.clear();
    ctx.client.reply.len(removed);
    Ok(())
}
