//! Deadlines: the EXPIRE commands, TTL and its like, PERSIST.
//!
//! A key lives through its deadline's millisecond. A deadline that has passed already deletes at once.

use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    EXPIRE,
    PEXPIRE,
    EXPIREAT,
    PEXPIREAT,
    EXPIRETIME,
    PEXPIRETIME,
    TTL,
    PTTL,
    PERSIST,
];

const CONDITION: Arg = Arg::one_of(
    "condition",
    &[
        Arg::word("nx", "NX"),
        Arg::word("xx", "XX"),
        Arg::word("gt", "GT"),
        Arg::word("lt", "LT"),
    ],
)
.since("7.0.0")
.optional();

pub const EXPIRE: Spec = Spec {
    name: "expire",
    arity: -3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Gives a key a time to live in seconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("seconds", ArgKind::Integer),
        CONDITION,
    ],
    history: &[("7.0.0", &["NX", "XX", "GT", "LT"])],
    handler: expire,
    ..Spec::DEFAULT
};

/// `EXPIRE key seconds [NX | XX | GT | LT]`
fn expire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let base_ms = ctx.server.now_ms;
    set_deadline(ctx, args, "expire", 1000, base_ms)
}

pub const PEXPIRE: Spec = Spec {
    name: "pexpire",
    arity: -3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.6.0",
    summary: "Gives a key a time to live in milliseconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("milliseconds", ArgKind::Integer),
        CONDITION,
    ],
    history: &[("7.0.0", &["NX", "XX", "GT", "LT"])],
    handler: pexpire,
    ..Spec::DEFAULT
};

/// `PEXPIRE key milliseconds [NX | XX | GT | LT]`
fn pexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let base_ms = ctx.server.now_ms;
    set_deadline(ctx, args, "pexpire", 1, base_ms)
}

pub const EXPIREAT: Spec = Spec {
    name: "expireat",
    arity: -3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.2.0",
    summary: "Gives a key a deadline in Unix seconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("unix-time-seconds", ArgKind::UnixTime),
        CONDITION,
    ],
    history: &[("7.0.0", &["NX", "XX", "GT", "LT"])],
    handler: expireat,
    ..Spec::DEFAULT
};

/// `EXPIREAT key unix-time-seconds [NX | XX | GT | LT]`
fn expireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_deadline(ctx, args, "expireat", 1000, 0)
}

pub const PEXPIREAT: Spec = Spec {
    name: "pexpireat",
    arity: -3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.6.0",
    summary: "Gives a key a deadline in Unix milliseconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("unix-time-milliseconds", ArgKind::UnixTime),
        CONDITION,
    ],
    history: &[("7.0.0", &["NX", "XX", "GT", "LT"])],
    handler: pexpireat,
    ..Spec::DEFAULT
};

/// `PEXPIREAT key unix-time-milliseconds [NX | XX | GT | LT]`
fn pexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_deadline(ctx, args, "pexpireat", 1, 0)
}

/// On which condition a deadline is set.
#[derive(Clone, Copy, Debug, Default)]
struct Conditions {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
}

impl Conditions {
    fn parse(args: Args<'_>) -> Result<Conditions, CommandError> {
        let mut conditions = Conditions::default();
        for (index, arg) in (3..).zip(args.iter_from(3)) {
            let condition = match () {
                () if args.is(index, "NX") => &mut conditions.nx,
                () if args.is(index, "XX") => &mut conditions.xx,
                () if args.is(index, "GT") => &mut conditions.gt,
                () if args.is(index, "LT") => &mut conditions.lt,
                () => return Err(CommandError::quoting("ERR Unsupported option ", arg, "")),
            };
            *condition = true;
        }
        let Conditions { nx, xx, gt, lt } = conditions;
        if nx && (xx || gt || lt) {
            return Err(CommandError::text(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if gt && lt {
            return Err(CommandError::text(
                "ERR GT and LT options at the same time are not compatible",
            ));
        }
        Ok(conditions)
    }

    /// Whether `deadline` may take the place of `current`; a key without one counts as living for ever.
    fn allow(self, current: Option<i64>, deadline: i64) -> bool {
        match current {
            Some(current) => {
                !(self.nx || (self.gt && deadline <= current) || (self.lt && deadline >= current))
            }
            None => !(self.xx || self.gt),
        }
    }
}

fn set_deadline(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    name: &'static str,
    unit_ms: i64,
    base_ms: i64,
) -> Result<(), CommandError> {
    let conditions = Conditions::parse(args)?;
    let deadline = int_arg(args, 2)?
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .ok_or(CommandError::InvalidExpire(name))?;
    let key = ctx.key(args, 1);
    let Some(current) = ctx.lookup(key, Access::Write).map(|entry| entry.expire()) else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    if !conditions.allow(current, deadline) {
        ctx.client.reply.int(0);
        return Ok(());
    }
    if deadline <= ctx.server.removal_horizon() {
        ctx.server.delete(ctx.client.dbid, key);
        ctx.touch(key.bytes, Event::generic("del"));
        let verb = ctx.server.expire_verb();
        ctx.propagate(&[verb, key.bytes]);
    } else {
        ctx.server.set_expire(ctx.client.dbid, key, Some(deadline));
        ctx.touch(key.bytes, Event::generic("expire"));
        propagate_deadline(ctx, args, key, deadline);
    }
    ctx.client.reply.int(1);
    Ok(())
}

fn propagate_deadline(ctx: &mut Ctx<'_>, args: Args<'_>, key: Key<'_>, deadline: i64) {
    let mut digits = itoa::Buffer::new();
    let deadline = digits.format(deadline).as_bytes();
    let mut argv: Vec<&[u8]> = vec![b"PEXPIREAT", key.bytes, deadline];
    argv.extend(args.iter_from(3));
    ctx.propagate(&argv);
}

pub const EXPIRETIME: Spec = Spec {
    name: "expiretime",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "7.0.0",
    summary: "Tells a key's deadline in Unix seconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: expiretime,
    ..Spec::DEFAULT
};

/// `EXPIRETIME key`
fn expiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadline(ctx, args, |deadline, _| round_to_secs(deadline));
    Ok(())
}

pub const PEXPIRETIME: Spec = Spec {
    name: "pexpiretime",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "7.0.0",
    summary: "Tells a key's deadline in Unix milliseconds.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    handler: pexpiretime,
    ..Spec::DEFAULT
};

/// `PEXPIRETIME key`
fn pexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadline(ctx, args, |deadline, _| deadline);
    Ok(())
}

pub const TTL: Spec = Spec {
    name: "ttl",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Tells how many seconds a key has to live.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output"],
    history: &[("2.8.0", &[])],
    handler: ttl,
    ..Spec::DEFAULT
};

/// `TTL key`
fn ttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadline(ctx, args, |deadline, now_ms| {
        round_to_secs(deadline.saturating_sub(now_ms).max(0))
    });
    Ok(())
}

pub const PTTL: Spec = Spec {
    name: "pttl",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.6.0",
    summary: "Tells how many milliseconds a key has to live.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output"],
    history: &[("2.8.0", &[])],
    handler: pttl,
    ..Spec::DEFAULT
};

/// `PTTL key`
fn pttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadline(ctx, args, |deadline, now_ms| {
        deadline.saturating_sub(now_ms).max(0)
    });
    Ok(())
}

fn round_to_secs(ms: i64) -> i64 {
    // Half a second up, without going beyond the largest number on the way.
    ms / 1000 + (ms % 1000 + 500) / 1000
}

/// Replies with what `shown` makes of the deadline and the time; -1 without a deadline, -2 without a key.
fn reply_deadline(ctx: &mut Ctx<'_>, args: Args<'_>, shown: fn(i64, i64) -> i64) {
    let now_ms = ctx.server.now_ms;
    let key = ctx.key(args, 1);
    let reply = match ctx.lookup(key, Access::ReadNoTouch) {
        None => -2,
        Some(entry) => entry
            .expire()
            .map_or(-1, |deadline| shown(deadline, now_ms)),
    };
    ctx.client.reply.int(reply);
}

pub const PERSIST: Spec = Spec {
    name: "persist",
    arity: 2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.2.0",
    summary: "Takes a key's deadline away.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[Arg::key("key", 0)],
    handler: persist,
    ..Spec::DEFAULT
};

/// `PERSIST key`
fn persist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let has_deadline = ctx
        .lookup(key, Access::Write)
        .is_some_and(|entry| entry.expire().is_some());
    if has_deadline {
        ctx.server.set_expire(ctx.client.dbid, key, None);
        ctx.touch(key.bytes, Event::generic("persist"));
    }
    ctx.client.reply.int(i64::from(has_deadline));
    Ok(())
}
