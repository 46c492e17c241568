//! Strings that are numbers: INCR, DECR, INCRBY, DECRBY, INCRBYFLOAT.

use super::{UPDATES_KEY, WRITE_FAST, with_bytes};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, ValueRef};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key, NewValue};
use crate::types::decimal::parse_i64;
use crate::types::long_double::LongDouble;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[DECR, DECRBY, INCR, INCRBY, INCRBYFLOAT];

pub const INCR: Spec = Spec {
    name: "incr",
    arity: 2,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Adds one to an integer; a missing one counts as 0.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[Arg::key("key", 0)],
    handler: incr,
    ..Spec::DEFAULT
};

fn incr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args, 1)
}

pub const DECR: Spec = Spec {
    name: "decr",
    arity: 2,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Takes one from an integer; a missing one counts as 0.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[Arg::key("key", 0)],
    handler: decr,
    ..Spec::DEFAULT
};

fn decr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args, -1)
}

pub const INCRBY: Spec = Spec {
    name: "incrby",
    arity: 3,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Adds a number to an integer; a missing one counts as 0.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[Arg::key("key", 0), Arg::new("increment", ArgKind::Integer)],
    handler: incrby,
    ..Spec::DEFAULT
};

fn incrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    add(ctx, args, int_arg(args, 2)?)
}

pub const DECRBY: Spec = Spec {
    name: "decrby",
    arity: 3,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Takes a number from an integer; a missing one counts as 0.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[Arg::key("key", 0), Arg::new("decrement", ArgKind::Integer)],
    handler: decrby,
    ..Spec::DEFAULT
};

fn decrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let by = int_arg(args, 2)?;
    add(
        ctx,
        args,
        by.checked_neg().ok_or(CommandError::DecrementOverflow)?,
    )
}

#[inline]
fn add(ctx: &mut Ctx<'_>, args: Args<'_>, by: i64) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let value = match ctx.server.string(dbid, key, Access::Write)? {
        Some(entry) => {
            let value = int_of(entry)?
                .checked_add(by)
                .ok_or(CommandError::Overflow)?;
            entry.set_int(value);
            value
        }
        None => {
            let entry = Entry::new_int(key.bytes, by, None, ctx.server.usage.fresh());
            ctx.server.insert(dbid, key, entry);
            by
        }
    };
    ctx.touch(key.bytes, Event::string("incrby"));
    ctx.client.reply.int(value);
    Ok(())
}

/// The integer that an entry's string is.
#[inline]
pub fn int_of(entry: &Entry) -> Result<i64, CommandError> {
    match entry.value() {
        ValueRef::Int(value) => Some(value),
        ValueRef::Str(bytes) => parse_i64(bytes),
        ValueRef::Object(_) => None,
    }
    .ok_or(CommandError::NotInteger)
}

/// The number that an entry's string is.
pub fn float_of(entry: &Entry) -> Result<LongDouble, CommandError> {
    match entry.value() {
        ValueRef::Int(value) => Ok(LongDouble::from_i64(value)),
        _ => with_bytes(entry, LongDouble::parse).ok_or(CommandError::NotFloat),
    }
}

pub const INCRBYFLOAT: Spec = Spec {
    name: "incrbyfloat",
    arity: 3,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "2.6.0",
    summary: "Adds a floating point number to a number; a missing one counts as 0.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[Arg::key("key", 0), Arg::new("increment", ArgKind::Double)],
    handler: incrbyfloat,
    ..Spec::DEFAULT
};

fn incrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let old = match ctx.server.string(ctx.client.dbid, key, Access::Write)? {
        Some(entry) => float_of(entry)?,
        None => LongDouble::ZERO,
    };
    let by = LongDouble::parse(args.bytes(2)).ok_or(CommandError::NotFloat)?;
    let value = old.plus(by);
    if !value.is_finite() {
        return Err(CommandError::NanOrInfinity);
    }
    let text = value.to_text();
    store_text(ctx, key, &text);
    ctx.touch(key.bytes, Event::string("incrbyfloat"));
    ctx.propagate(&[b"SET", key.bytes, text.as_bytes(), b"KEEPTTL"]);
    ctx.client.reply.text(&text);
    Ok(())
}

/// Gives a key a text that stays one even if it reads as an integer, keeping its deadline.
pub fn store_text(ctx: &mut Ctx<'_>, key: Key<'_>, text: &str) {
    match ctx.lookup(key, Access::Peek) {
        Some(entry) => entry.set_str(text.as_bytes()),
        None => {
            let value = NewValue::Str(text.as_bytes());
            ctx.server.store(ctx.client.dbid, key, value, None);
        }
    }
}
