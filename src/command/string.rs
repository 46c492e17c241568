//! String commands: one value as a whole.
//!
//! A value is an integer, a short string in its key's entry, or a buffer of its own; which one it is shows in
//! OBJECT ENCODING alone. Lives here: reading, replacing and deleting one string, and what the family shares.
//! May not: parse options (`options`), parts of strings (`range`), numbers (`number`, `increx`).

pub mod condition;
pub mod digest;
pub mod increx;
pub mod lcs;
pub mod many;
pub mod number;
pub mod options;
pub mod range;

use options::{Accepts, Options, Time};

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, Kind, ValueRef};
use crate::resp::{Args, Reply};
use crate::state::effects::Event;
use crate::state::keys::{Access, Key, NewValue};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[GET, GETDEL, GETEX, GETSET, PSETEX, SET, SETEX, SETNX];

/// A key at argument 1 that is read.
const READS_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))];
/// A key at argument 1 that is read and changed.
const UPDATES_KEY: &[KeySpec] = &[KeySpec::at(
    1,
    KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
)];
const WRITE_FAST: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST);

pub const GET: Spec = Spec {
    name: "get",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Returns a string.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0)],
    handler: get,
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

/// Calls `f` with an entry's string, written out if it is an integer; with an empty one if it is no string.
pub fn with_bytes<R>(entry: &Entry, f: impl FnOnce(&[u8]) -> R) -> R {
    match entry.value() {
        ValueRef::Int(value) => f(itoa::Buffer::new().format(value).as_bytes()),
        ValueRef::Str(bytes) => f(bytes),
        ValueRef::Object(_) => f(b""),
    }
}

pub const GETDEL: Spec = Spec {
    name: "getdel",
    arity: 2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "6.2.0",
    summary: "Returns a string and deletes it.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE),
    )],
    args: &[Arg::key("key", 0)],
    handler: getdel,
    ..Spec::DEFAULT
};

fn getdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    match ctx.server.string(ctx.client.dbid, key, Access::Read)? {
        Some(entry) => reply_value(&mut ctx.client.reply, entry),
        None => {
            ctx.client.reply.null();
            return Ok(());
        }
    }
    delete(ctx, key);
    Ok(())
}

/// Deletes a key that is there, and says so as DEL would.
fn delete(ctx: &mut Ctx<'_>, key: Key<'_>) {
    ctx.server.delete(ctx.client.dbid, key);
    ctx.touch(key.bytes, Event::generic("del"));
    ctx.propagate(&[b"DEL", key.bytes]);
}

/// Deletes a key that is there because it was given a deadline that has passed already.
fn delete_past(ctx: &mut Ctx<'_>, key: Key<'_>) {
    ctx.server.delete(ctx.client.dbid, key);
    ctx.touch(key.bytes, Event::generic("del"));
    let lazily = ctx.server.config.lazyfree_lazy_expire;
    let name: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
    ctx.propagate(&[name, key.bytes]);
}

pub const GETEX: Spec = Spec {
    name: "getex",
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STRING,
    group: Group::String,
    since: "6.2.0",
    summary: "Returns a string and changes when it expires.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    key_notes: &[(0, "A write, as the time to live may change.")],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "expiration",
            &[
                Arg::new("seconds", ArgKind::Integer).token("EX"),
                Arg::new("milliseconds", ArgKind::Integer).token("PX"),
                Arg::new("unix-time-seconds", ArgKind::UnixTime).token("EXAT"),
                Arg::new("unix-time-milliseconds", ArgKind::UnixTime).token("PXAT"),
                Arg::word("persist", "PERSIST"),
            ],
        )
        .optional(),
    ],
    handler: getex,
    ..Spec::DEFAULT
};

fn getex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, 2, Accepts::GETEX)?;
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let now_ms = ctx.server.now_ms;
    let name = ctx.this().spec.name;
    let Some(entry) = ctx.server.string(dbid, key, Access::Read)? else {
        ctx.client.reply.null();
        return Ok(());
    };
    let deadline = options.deadline(args, now_ms, name)?;
    reply_value(&mut ctx.client.reply, entry);
    let had_deadline = entry.expire().is_some();
    match deadline {
        Some(deadline) if deadline <= now_ms => delete_past(ctx, key),
        Some(deadline) => {
            ctx.server.set_expire(dbid, key, Some(deadline));
            ctx.touch(key.bytes, Event::generic("expire"));
            let mut digits = itoa::Buffer::new();
            ctx.propagate(&[b"PEXPIREAT", key.bytes, digits.format(deadline).as_bytes()]);
        }
        None if options.time == Some(Time::Persist) && had_deadline => {
            ctx.server.set_expire(dbid, key, None);
            ctx.touch(key.bytes, Event::generic("persist"));
            ctx.propagate(&[b"PERSIST", key.bytes]);
        }
        None => {}
    }
    Ok(())
}

pub const GETSET: Spec = Spec {
    name: "getset",
    arity: 3,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Replaces a string and returns what it was.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[Arg::key("key", 0), Arg::new("value", ArgKind::String)],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`SET` with the `GET` argument"),
    handler: getset,
    ..Spec::DEFAULT
};

fn getset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    match ctx.server.string(ctx.client.dbid, key, Access::Read)? {
        Some(entry) => reply_value(&mut ctx.client.reply, entry),
        None => ctx.client.reply.null(),
    }
    ctx.store(key, args, 2, None);
    ctx.touch(key.bytes, Event::string("set"));
    ctx.propagate(&[b"SET", key.bytes, args.bytes(2)]);
    Ok(())
}

pub const SET: Spec = Spec {
    name: "set",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Stores a string, on conditions and with an expiry if asked to.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW
            .or(KeyFlags::ACCESS)
            .or(KeyFlags::UPDATE)
            .or(KeyFlags::VARIABLE_FLAGS),
    )],
    key_notes: &[(0, "An access as well as a write if there is a `GET`.")],
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

/// `SET key value [options]`.
fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return set_with_options(ctx, args);
    }
    let key = ctx.key(args, 1);
    ctx.store(key, args, 2, None);
    ctx.touch(key.bytes, Event::string("set"));
    ctx.client.reply.ok();
    Ok(())
}

#[inline(never)]
fn set_with_options(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, 3, Accepts::SET)?;
    let deadline = options.deadline(args, ctx.server.now_ms, "set")?;
    let key = ctx.key(args, 1);
    let access = if options.get {
        Access::Read
    } else {
        Access::Write
    };
    let mut kept = None;
    if options.reads_old_value() {
        let found = ctx.server.lookup(ctx.client.dbid, key, access);
        if options.get
            && found
                .as_ref()
                .is_some_and(|entry| entry.kind() != Kind::String)
        {
            return Err(CommandError::WrongType);
        }
        let holds = options.condition_holds(args, found.as_deref())?;
        kept = found.as_ref().and_then(|entry| entry.expire());
        match found {
            Some(entry) if options.get => reply_value(&mut ctx.client.reply, entry),
            None if options.get => ctx.client.reply.null(),
            _ if !holds => ctx.client.reply.null(),
            _ => {}
        }
        if !holds {
            return Ok(());
        }
    }
    let keeps = options.time == Some(Time::Keep);
    ctx.store(key, args, 2, if keeps { kept } else { deadline });
    ctx.touch(key.bytes, Event::string("set"));
    match deadline {
        Some(deadline) => {
            ctx.notify(key.bytes, Event::generic("expire"));
            let is_absolute = (3..args.len()).any(|index| args.is(index, "PXAT"));
            if is_absolute {
                ctx.propagate_always(args);
            } else {
                propagate_set(ctx, key, args.bytes(2), deadline);
            }
        }
        None if options.get => propagate_without_get(ctx, args),
        None => {}
    }
    if !options.get {
        ctx.client.reply.ok();
    }
    Ok(())
}

/// A string stored with a deadline goes out with the deadline, not with the time left until then.
fn propagate_set(ctx: &mut Ctx<'_>, key: Key<'_>, value: &[u8], deadline: i64) {
    let mut digits = itoa::Buffer::new();
    let digits = digits.format(deadline).as_bytes();
    ctx.propagate(&[b"SET", key.bytes, value, b"PXAT", digits]);
}

/// What SET replied does not matter to those who repeat it.
fn propagate_without_get(ctx: &mut Ctx<'_>, args: Args<'_>) {
    let is_kept = |index: &usize| *index < 3 || !args.is(*index, "GET");
    let argv: Vec<&[u8]> = (0..args.len())
        .filter(is_kept)
        .map(|index| args.bytes(index))
        .collect();
    ctx.propagate(&argv);
}

pub const SETNX: Spec = Spec {
    name: "setnx",
    arity: 3,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "1.0.0",
    summary: "Stores a string if its key does not exist.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::OW.or(KeyFlags::INSERT))],
    args: &[Arg::key("key", 0), Arg::new("value", ArgKind::String)],
    deprecated_since: Some("2.6.12"),
    replaced_by: Some("`SET` with the `NX` argument"),
    handler: setnx,
    ..Spec::DEFAULT
};

fn setnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    if ctx.lookup(key, Access::Write).is_some() {
        ctx.client.reply.int(0);
        return Ok(());
    }
    ctx.store(key, args, 2, None);
    ctx.touch(key.bytes, Event::string("set"));
    ctx.client.reply.int(1);
    Ok(())
}

pub const SETEX: Spec = Spec {
    name: "setex",
    arity: 4,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STRING,
    group: Group::String,
    since: "2.0.0",
    summary: "Stores a string that expires after a number of seconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("seconds", ArgKind::Integer),
        Arg::new("value", ArgKind::String),
    ],
    deprecated_since: Some("2.6.12"),
    replaced_by: Some("`SET` with the `EX` argument"),
    handler: setex,
    ..Spec::DEFAULT
};

fn setex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_for(ctx, args, Time::Seconds)
}

pub const PSETEX: Spec = Spec {
    name: "psetex",
    arity: 4,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STRING,
    group: Group::String,
    since: "2.6.0",
    summary: "Stores a string that expires after a number of milliseconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("milliseconds", ArgKind::Integer),
        Arg::new("value", ArgKind::String),
    ],
    deprecated_since: Some("2.6.12"),
    replaced_by: Some("`SET` with the `PX` argument"),
    handler: psetex,
    ..Spec::DEFAULT
};

fn psetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_for(ctx, args, Time::Milliseconds)
}

fn set_for(ctx: &mut Ctx<'_>, args: Args<'_>, time: Time) -> Result<(), CommandError> {
    let deadline = time.deadline(args.bytes(2), ctx.server.now_ms, ctx.this().spec.name)?;
    let key = ctx.key(args, 1);
    ctx.store(key, args, 3, Some(deadline));
    ctx.touch(key.bytes, Event::string("set"));
    ctx.notify(key.bytes, Event::generic("expire"));
    propagate_set(ctx, key, args.bytes(3), deadline);
    ctx.client.reply.ok();
    Ok(())
}

/// Gives a key the result of an edit, and no deadline; OBJECT ENCODING calls it raw whatever its length.
pub fn store_raw(ctx: &mut Ctx<'_>, key: Key<'_>, value: Vec<u8>) {
    let value = NewValue::Shared(value.into());
    ctx.server.store(ctx.client.dbid, key, value, None);
    if let Some(entry) = ctx.lookup(key, Access::Peek) {
        entry.mark_raw();
    }
}

/// Length that no string may pass: `proto-max-bulk-len`.
pub fn max_len(ctx: &Ctx<'_>) -> usize {
    usize::try_from(ctx.server.config.proto_max_bulk_len).unwrap_or(usize::MAX)
}

/// Refuses to make a string longer than `max_len`.
pub fn check_len(max_len: usize, old_len: usize, more: usize) -> Result<(), CommandError> {
    match old_len.checked_add(more) {
        Some(len) if len <= max_len => Ok(()),
        _ => Err(CommandError::StringTooLong),
    }
}
