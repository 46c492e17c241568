//! Hashes: fields and their values.
//!
//! Here are the commands on fields as they are; `hash/` has those about deadlines (`expire`, `extended`), those that
//! walk or pick (`walk`), and the import of many hashes with the same fields (`import`).

pub mod expire;
pub mod extended;
pub mod import;
pub mod walk;

use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::Hash;
use crate::keyspace::object::hash::{Found, OldDeadline};
use crate::resp::{Args, Reply};
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::decimal::parse_i64;
use crate::types::listpack::Item;
use crate::types::long_double::LongDouble;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    HSET,
    HSETNX,
    HGET,
    HMSET,
    HMGET,
    HDEL,
    HLEN,
    HSTRLEN,
    HKEYS,
    HVALS,
    HGETALL,
    HEXISTS,
    HINCRBY,
    HINCRBYFLOAT,
];

const WRITE_FAST: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);
const CHANGE_FAST: Flags = Flags::WRITE.or(Flags::FAST);
const READ_FAST: Flags = Flags::READONLY.or(Flags::FAST);

const READS_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))];
const UPDATES_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))];

/// `FIELDS numfields field [field ...]`
const FIELDS: Arg = Arg::block(
    "fields",
    &[
        Arg::new("numfields", ArgKind::Integer),
        Arg::new("field", ArgKind::String).multiple(),
    ],
)
.token("FIELDS");

pub const HSET: Spec = Spec {
    name: "hset",
    arity: -4,
    flags: WRITE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Sets fields of a hash, which is created when absent.",
    complexity: Some("O(1) or O(N)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "data",
            &[
                Arg::new("field", ArgKind::String),
                Arg::new("value", ArgKind::String),
            ],
        )
        .multiple(),
    ],
    history: &[("4.0.0", &["field", "value"])],
    handler: hset,
    ..Spec::DEFAULT
};

fn hset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let created = set_pairs(ctx, args)?;
    ctx.client.reply.len(created);
    Ok(())
}

pub const HMSET: Spec = Spec {
    name: "hmset",
    arity: -4,
    flags: WRITE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Sets fields of a hash; HSET does the same and counts the new ones.",
    complexity: Some("O(N)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "data",
            &[
                Arg::new("field", ArgKind::String),
                Arg::new("value", ArgKind::String),
            ],
        )
        .multiple(),
    ],
    deprecated_since: Some("4.0.0"),
    replaced_by: Some("`HSET`"),
    handler: hmset,
    ..Spec::DEFAULT
};

fn hmset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_pairs(ctx, args)?;
    ctx.client.reply.ok();
    Ok(())
}

/// Sets the fields from argument 2 on; says how many of them are new.
fn set_pairs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<usize, CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Arity(ctx.this().full_name.clone().into()));
    }
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let limits = ctx.server.hash_limits();
    let hash = ctx
        .server
        .object_or_insert::<Hash>(dbid, key, Hash::default)?;
    let before = hash.min_deadline();
    hash.prepare(args.iter_from(2), args.len() - 2, &limits);
    let mut created = 0;
    for index in (2..args.len()).step_by(2) {
        let (field, value) = (args.bytes(index), args.bytes(index + 1));
        created += usize::from(hash.set(field, value, OldDeadline::Clear, &limits));
    }
    let after = hash.min_deadline();
    ctx.server
        .db(dbid)
        .move_field_deadline(key.hash, before, after);
    touch_times(ctx, key, Event::hash("hset"), args.len() / 2 - 1);
    Ok(created)
}

/// Reports one event for `changes` changes.
fn touch_times(ctx: &mut Ctx<'_>, key: Key<'_>, event: Event, changes: usize) {
    ctx.touch(key.bytes, event);
    ctx.server.effects.dirty += changes.saturating_sub(1) as u64;
}

fn reply_item(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(value) => reply.bulk_int(value),
        Item::Str(bytes) => reply.bulk(bytes),
    }
}

fn reply_value(reply: &mut Reply, found: Option<Found<'_>>) {
    match found {
        Some(found) => reply_item(reply, found.value),
        None => reply.null(),
    }
}

pub const HSETNX: Spec = Spec {
    name: "hsetnx",
    arity: 4,
    flags: WRITE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Sets a field of a hash if it is not there yet.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[
        Arg::key("key", 0),
        Arg::new("field", ArgKind::String),
        Arg::new("value", ArgKind::String),
    ],
    handler: hsetnx,
    ..Spec::DEFAULT
};

fn hsetnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (ctx.key(args, 1), args.bytes(2));
    let dbid = ctx.client.dbid;
    let is_there = ctx
        .server
        .live_field(dbid, key, field, Access::Write, |found| found.is_some())?;
    if !is_there {
        ctx.server
            .put_field(dbid, key, field, args.bytes(3), OldDeadline::Clear)?;
        ctx.touch(key.bytes, Event::hash("hset"));
    }
    ctx.client.reply.int(i64::from(!is_there));
    Ok(())
}

pub const HGET: Spec = Spec {
    name: "hget",
    arity: 3,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Returns the value of a field.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), Arg::new("field", ArgKind::String)],
    handler: hget,
    ..Spec::DEFAULT
};

fn hget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (ctx.key(args, 1), args.bytes(2));
    let reply = &mut ctx.client.reply;
    ctx.server
        .live_field(ctx.client.dbid, key, field, Access::Read, |found| {
            reply_value(reply, found);
        })
}

pub const HMGET: Spec = Spec {
    name: "hmget",
    arity: -3,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Returns the values of several fields.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("field", ArgKind::String).multiple(),
    ],
    handler: hmget,
    ..Spec::DEFAULT
};

fn hmget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let horizon_ms = ctx.server.field_horizon();
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    reply.array(args.len() - 2);
    let mut expired = Vec::new();
    for field in args.iter_from(2) {
        let found = hash.as_ref().and_then(|hash| hash.get(field));
        if found.is_some_and(|found| found.is_due(horizon_ms)) {
            expired.push(field);
            reply.null();
        } else {
            reply_value(reply, found);
        }
    }
    if !expired.is_empty() {
        ctx.server.expire_fields(dbid, key, &expired);
    }
    Ok(())
}

pub const HDEL: Spec = Spec {
    name: "hdel",
    arity: -3,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Removes fields; the hash goes with its last one.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("field", ArgKind::String).multiple(),
    ],
    history: &[("2.4.0", &["field"])],
    handler: hdel,
    ..Spec::DEFAULT
};

/// `HDEL key field [field ...]`: whether a deadline has passed is not looked at.
fn hdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let Some(hash) = ctx.server.object::<Hash>(dbid, key, Access::Write)? else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    let before = hash.min_deadline();
    let mut removed = 0;
    for field in args.iter_from(2) {
        removed += usize::from(hash.remove(field));
        if hash.is_empty() {
            break;
        }
    }
    let after = hash.min_deadline();
    if removed > 0 {
        ctx.server
            .db(dbid)
            .move_field_deadline(key.hash, before, after);
        touch_times(ctx, key, Event::hash("hdel"), removed);
        ctx.server.delete_emptied_hash(dbid, key);
    }
    ctx.client.reply.len(removed);
    Ok(())
}

pub const HLEN: Spec = Spec {
    name: "hlen",
    arity: 2,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Counts the fields of a hash.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: hlen,
    ..Spec::DEFAULT
};

/// `HLEN key`: fields that have expired and are not removed yet count.
fn hlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let hash = ctx.object::<Hash>(key, Access::Read)?;
    let len = hash.map_or(0, |hash| hash.len());
    ctx.client.reply.len(len);
    Ok(())
}

pub const HSTRLEN: Spec = Spec {
    name: "hstrlen",
    arity: 3,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "3.2.0",
    summary: "Tells how long a field's value is.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0), Arg::new("field", ArgKind::String)],
    handler: hstrlen,
    ..Spec::DEFAULT
};

fn hstrlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (ctx.key(args, 1), args.bytes(2));
    let len = ctx
        .server
        .live_field(ctx.client.dbid, key, field, Access::Read, |found| {
            found.map_or(0, |found| found.value.len())
        })?;
    ctx.client.reply.len(len);
    Ok(())
}

pub const HEXISTS: Spec = Spec {
    name: "hexists",
    arity: 3,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Tells whether a hash has a field.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0), Arg::new("field", ArgKind::String)],
    handler: hexists,
    ..Spec::DEFAULT
};

fn hexists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, field) = (ctx.key(args, 1), args.bytes(2));
    let is_there = ctx
        .server
        .live_field(ctx.client.dbid, key, field, Access::Read, |found| {
            found.is_some()
        })?;
    ctx.client.reply.int(i64::from(is_there));
    Ok(())
}

pub const HKEYS: Spec = Spec {
    name: "hkeys",
    arity: 2,
    flags: Flags::READONLY,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Lists the fields of a hash.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output_order"],
    handler: hkeys,
    ..Spec::DEFAULT
};

fn hkeys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, Reply::array, |reply, field, _| {
        reply_item(reply, field);
    })
}

pub const HVALS: Spec = Spec {
    name: "hvals",
    arity: 2,
    flags: Flags::READONLY,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Lists the values of a hash.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output_order"],
    handler: hvals,
    ..Spec::DEFAULT
};

fn hvals(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, Reply::array, |reply, _, value| {
        reply_item(reply, value);
    })
}

pub const HGETALL: Spec = Spec {
    name: "hgetall",
    arity: 2,
    flags: Flags::READONLY,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Lists the fields of a hash with their values.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output_order"],
    handler: hgetall,
    ..Spec::DEFAULT
};

fn hgetall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list(ctx, args, Reply::map, |reply, field, value| {
        reply_item(reply, field);
        reply_item(reply, value);
    })
}

/// Replies with what `show` makes of each field; those that have expired are passed over, and stay.
fn list(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    begin: fn(&mut Reply, usize),
    show: impl Fn(&mut Reply, Item<'_>, Item<'_>),
) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let horizon_ms = ctx.server.field_horizon();
    let hash = ctx
        .server
        .object::<Hash>(ctx.client.dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let Some(hash) = hash else {
        begin(reply, 0);
        return Ok(());
    };
    begin(reply, hash.len() - hash.due_len(horizon_ms));
    for (field, found) in hash.iter() {
        if !found.is_due(horizon_ms) {
            show(reply, field, found.value);
        }
        if reply.is_cut() {
            break;
        }
    }
    Ok(())
}

pub const HINCRBY: Spec = Spec {
    name: "hincrby",
    arity: 4,
    flags: WRITE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.0.0",
    summary: "Adds to the integer in a field; a missing one counts as zero.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
    )],
    args: &[
        Arg::key("key", 0),
        Arg::new("field", ArgKind::String),
        Arg::new("increment", ArgKind::Integer),
    ],
    handler: hincrby,
    ..Spec::DEFAULT
};

fn hincrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = int_arg(args, 3)?;
    let (key, field) = (ctx.key(args, 1), args.bytes(2));
    let dbid = ctx.client.dbid;
    let old = ctx
        .server
        .live_field(dbid, key, field, Access::Write, |found| {
            match found.map(|found| found.value) {
                None => Some(0),
                Some(Item::Int(value)) => Some(value),
                Some(Item::Str(text)) => parse_i64(text),
            }
        })?
        .ok_or(CommandError::text("ERR hash value is not an integer"))?;
    let value = old.checked_add(by).ok_or(CommandError::Overflow)?;

    let mut digits = itoa::Buffer::new();
    let text = digits.format(value).as_bytes();
    ctx.server
        .put_field(dbid, key, field, text, OldDeadline::Keep)?;
    ctx.touch(key.bytes, Event::hash("hincrby"));
    ctx.client.reply.int(value);
    Ok(())
}

pub const HINCRBYFLOAT: Spec = Spec {
    name: "hincrbyfloat",
    arity: 4,
    flags: WRITE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.6.0",
    summary: "Adds to the number in a field; a missing one counts as zero.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
    )],
    args: &[
        Arg::key("key", 0),
        Arg::new("field", ArgKind::String),
        Arg::new("increment", ArgKind::Double),
    ],
    handler: hincrbyfloat,
    ..Spec::DEFAULT
};

fn hincrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = LongDouble::parse(args.bytes(3)).ok_or(CommandError::NotFloat)?;
    if !by.is_finite() {
        return Err(CommandError::text("ERR value is NaN or Infinity"));
    }
    let (key, field) = (ctx.key(args, 1), args.bytes(2));
    let dbid = ctx.client.dbid;
    let old = ctx
        .server
        .live_field(dbid, key, field, Access::Write, |found| {
            match found.map(|found| found.value) {
                None => Some(LongDouble::ZERO),
                Some(Item::Int(value)) => Some(LongDouble::from_i64(value)),
                Some(Item::Str(text)) => LongDouble::parse(text),
            }
        })?
        .ok_or(CommandError::text("ERR hash value is not a float"))?;
    let value = old.plus(by);
    if !value.is_finite() {
        return Err(CommandError::NanOrInfinity);
    }

    let text = value.to_text();
    let bytes = text.as_bytes();
    ctx.server
        .put_field(dbid, key, field, bytes, OldDeadline::Keep)?;
    ctx.touch(key.bytes, Event::hash("hincrbyfloat"));
    ctx.propagate(&[
        b"HSETEX", key.bytes, b"KEEPTTL", b"FIELDS", b"1", field, bytes,
    ]);
    ctx.client.reply.text(&text);
    Ok(())
}
