//! String commands.
//!
//! A value is an integer, a short string in its key's entry, or a buffer of its own; which one it is shows in
//! OBJECT ENCODING alone.

use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, ValueRef};
use crate::resp::parser::parse_i64;
use crate::resp::{Args, Reply};
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[GET, SET];

pub const GET: Spec = Spec {
    name: "get",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "WRITE ME: one sentence in our own words",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: get,
    ..Spec::DEFAULT
};

pub const SET: Spec = Spec {
    name: "set",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "WRITE ME: one sentence in our own words",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW
            .or(KeyFlags::ACCESS)
            .or(KeyFlags::UPDATE)
            .or(KeyFlags::VARIABLE_FLAGS),
    )],
    args: &[
        Arg::key("key", 0),
        Arg::new("value", ArgKind::String),
        Arg::one_of(
            "condition",
            &[
                Arg::word("nx", "NX"),
                Arg::word("xx", "XX"),
                Arg::new("ifeq-value", ArgKind::String)
                    .token("IFEQ")
                    .since("8.4.0"),
                Arg::new("ifne-value", ArgKind::String)
                    .token("IFNE")
                    .since("8.4.0"),
                Arg::new("ifdeq-digest", ArgKind::String)
                    .token("IFDEQ")
                    .since("8.4.0"),
                Arg::new("ifdne-digest", ArgKind::String)
                    .token("IFDNE")
                    .since("8.4.0"),
            ],
        )
        .since("2.6.12")
        .optional(),
        Arg::word("get", "GET").since("6.2.0").optional(),
        Arg::one_of(
            "expiration",
            &[
                Arg::new("seconds", ArgKind::Integer)
                    .token("EX")
                    .since("2.6.12"),
                Arg::new("milliseconds", ArgKind::Integer)
                    .token("PX")
                    .since("2.6.12"),
                Arg::new("unix-time-seconds", ArgKind::UnixTime)
                    .token("EXAT")
                    .since("6.2.0"),
                Arg::new("unix-time-milliseconds", ArgKind::UnixTime)
                    .token("PXAT")
                    .since("6.2.0"),
                Arg::word("keepttl", "KEEPTTL").since("6.0.0"),
            ],
        )
        .optional(),
    ],
    history: &[
        ("2.6.12", &["EX", "PX", "NX", "XX"]),
        ("6.0.0", &["KEEPTTL"]),
        ("6.2.0", &["GET", "EXAT", "PXAT"]),
        ("7.0.0", &["NX", "GET"]),
        ("8.4.0", &["IFEQ", "IFNE", "IFDEQ", "IFDNE"]),
    ],
    handler: set,
    ..Spec::DEFAULT
};

/// `GET key`: the string at `key`.
fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    match ctx.server.string(ctx.client.dbid, key, Access::Read)? {
        Some(entry) => reply_value(&mut ctx.client.reply, entry),
        None => ctx.client.reply.null(),
    }
    Ok(())
}

/// Replies with an entry's string; a large one is shared with the output, not copied.
#[inline]
pub fn reply_value(reply: &mut Reply, entry: &Entry) {
    match entry.value() {
        ValueRef::Int(value) => reply.bulk_int(value),
        ValueRef::Str(bytes) if bytes.len() < crate::resp::writer::SHARE_MIN => reply.bulk(bytes),
        ValueRef::Str(bytes) => match entry.shared_bytes() {
            Some(shared) => reply.bulk_shared(shared),
            None => reply.bulk(bytes),
        },
        ValueRef::Object(_) => reply.null(),
    }
}

fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    if args.len() > 3 {
        return Err(CommandError::Syntax);
    }
    ctx.store(key, args, 2, None);
    ctx.touch(key.bytes, Event::string("set"));
    ctx.client.reply.ok();
    Ok(())
}
