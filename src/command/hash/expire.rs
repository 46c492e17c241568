//! Deadlines of fields: setting them, asking for them, taking them away.

use super::{CHANGE_FAST, FIELDS, READ_FAST, READS_KEY, UPDATES_KEY, touch_times};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::Hash;
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::decimal::parse_i64;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    HEXPIRE,
    HPEXPIRE,
    HEXPIREAT,
    HPEXPIREAT,
    HTTL,
    HPTTL,
    HEXPIRETIME,
    HPEXPIRETIME,
    HPERSIST,
];

/// The latest deadline that a field can have, in milliseconds since 1970: 46 bits, as RDB files allow.
pub const DEADLINE_MAX: i64 = (1 << 46) - 1;

/// Replies about one field.
const NO_FIELD: i64 = -2;
const NO_DEADLINE: i64 = -1;
const REFUSED: i64 = 0;
const DONE: i64 = 1;
const DELETED: i64 = 2;

const CONDITION: Arg = Arg::one_of(
    "condition",
    &[
        Arg::word("nx", "NX"),
        Arg::word("xx", "XX"),
        Arg::word("gt", "GT"),
        Arg::word("lt", "LT"),
    ],
)
.optional();

pub const HEXPIRE: Spec = Spec {
    name: "hexpire",
    arity: -6,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Lets fields expire in some seconds.",
    complexity: Some("O(N)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("seconds", ArgKind::Integer),
        CONDITION,
        FIELDS,
    ],
    handler: hexpire,
    ..Spec::DEFAULT
};

fn hexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = ctx.server.now_ms;
    set_deadlines(ctx, args, "hexpire", 1000, now_ms)
}

pub const HPEXPIRE: Spec = Spec {
    name: "hpexpire",
    arity: -6,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Lets fields expire in some milliseconds.",
    complexity: Some("O(N)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("milliseconds", ArgKind::Integer),
        CONDITION,
        FIELDS,
    ],
    handler: hpexpire,
    ..Spec::DEFAULT
};

fn hpexpire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = ctx.server.now_ms;
    set_deadlines(ctx, args, "hpexpire", 1, now_ms)
}

pub const HEXPIREAT: Spec = Spec {
    name: "hexpireat",
    arity: -6,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Lets fields expire at a time in Unix seconds.",
    complexity: Some("O(N)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("unix-time-seconds", ArgKind::UnixTime),
        CONDITION,
        FIELDS,
    ],
    handler: hexpireat,
    ..Spec::DEFAULT
};

fn hexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_deadlines(ctx, args, "hexpireat", 1000, 0)
}

pub const HPEXPIREAT: Spec = Spec {
    name: "hpexpireat",
    arity: -6,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Lets fields expire at a time in Unix milliseconds.",
    complexity: Some("O(N)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("unix-time-milliseconds", ArgKind::UnixTime),
        CONDITION,
        FIELDS,
    ],
    handler: hpexpireat,
    ..Spec::DEFAULT
};

fn hpexpireat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    set_deadlines(ctx, args, "hpexpireat", 1, 0)
}

/// On which condition a deadline is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    None,
    Without,
    With,
    Later,
    Sooner,
}

impl Condition {
    const WORDS: [(&'static str, Condition); 4] = [
        ("NX", Condition::Without),
        ("XX", Condition::With),
        ("GT", Condition::Later),
        ("LT", Condition::Sooner),
    ];

    fn at(args: Args<'_>, index: usize) -> Option<Condition> {
        let found = Condition::WORDS
            .iter()
            .find(|(word, _)| args.is(index, word));
        found.map(|(_, condition)| *condition)
    }

    /// Whether `deadline` may take the place of `current`; a field without one counts as living for ever.
    fn allows(self, current: Option<i64>, deadline: i64) -> bool {
        match (self, current) {
            (Condition::None, _) => true,
            (Condition::Without, current) => current.is_none(),
            (Condition::With, current) => current.is_some(),
            (Condition::Later, Some(current)) => deadline > current,
            (Condition::Later, None) => false,
            (Condition::Sooner, Some(current)) => deadline < current,
            (Condition::Sooner, None) => true,
        }
    }
}

/// The deadline in milliseconds since 1970 that argument `index` means, in units of `unit_ms` from `base_ms` on.
pub fn deadline_arg(
    args: Args<'_>,
    index: usize,
    command: &'static str,
    unit_ms: i64,
    base_ms: i64,
) -> Result<i64, CommandError> {
    let number = int_arg(args, index)?;
    if number < 0 {
        return Err(CommandError::text("ERR invalid expire time, must be >= 0"));
    }
    number
        .checked_mul(unit_ms)
        .and_then(|ms| ms.checked_add(base_ms))
        .filter(|deadline| *deadline <= DEADLINE_MAX)
        .ok_or(CommandError::InvalidExpire(command))
}

/// Checks `FIELDS numfields field [field ...]` from argument `index` on, up to the end; says where the fields begin.
/// `not_positive` is the answer to a count that is no positive number.
pub fn fields_arg(
    args: Args<'_>,
    index: usize,
    not_positive: &'static str,
) -> Result<usize, CommandError> {
    if !args.is(index, "FIELDS") {
        return Err(CommandError::text(
            "ERR Mandatory argument FIELDS is missing or not at the right position",
        ));
    }
    let first = index + 2;
    let count = args.get(index + 1).and_then(parse_i64);
    let Some(count) = count.filter(|count| *count > 0) else {
        return Err(CommandError::text(not_positive));
    };
    if usize::try_from(count) != Ok(args.len().saturating_sub(first)) {
        return Err(CommandError::text(
            "ERR The `numfields` parameter must match the number of arguments",
        ));
    }
    Ok(first)
}

/// The answer of most commands to a count of fields that is no positive number.
pub const COUNT_NOT_POSITIVE: &str = "ERR Number of fields must be a positive integer";

fn set_deadlines(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    name: &'static str,
    unit_ms: i64,
    base_ms: i64,
) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let removal_ms = ctx.server.removal_horizon();
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Write)?;
    let deadline = deadline_arg(args, 2, name, unit_ms, base_ms)?;
    let condition = Condition::at(args, 3).unwrap_or(Condition::None);
    let has_condition = condition != Condition::None;
    let first = fields_arg(
        args,
        3 + usize::from(has_condition),
        "ERR Parameter `numFields` should be greater than 0",
    )?;
    ctx.client.reply.array(args.len() - first);
    let Some(hash) = hash else {
        (first..args.len()).for_each(|_| ctx.client.reply.int(NO_FIELD));
        return Ok(());
    };

    let is_past = deadline <= removal_ms;
    let mut changed: Vec<&[u8]> = Vec::new();
    let before = hash.min_deadline();
    hash.admit_deadlines();
    for field in args.iter_from(first) {
        let outcome = match hash.get(field) {
            None => NO_FIELD,
            Some(found) if !condition.allows(found.deadline_ms, deadline) => REFUSED,
            Some(_) => {
                changed.push(field);
                if is_past {
                    hash.remove(field);
                    DELETED
                } else {
                    hash.set_deadline(field, Some(deadline));
                    DONE
                }
            }
        };
        ctx.client.reply.int(outcome);
    }
    let after = hash.min_deadline();
    ctx.server
        .db(dbid)
        .move_field_deadline(key.hash, before, after);

    let words: &[&[u8]] = if has_condition { &[args.bytes(3)] } else { &[] };
    report_deadlines(ctx, key, deadline, words, &changed);
    Ok(())
}

/// Reports that fields were given this deadline, or were removed because it has passed. `words` are those to be
/// propagated before FIELDS.
pub fn report_deadlines(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    deadline: i64,
    words: &[&[u8]],
    changed: &[&[u8]],
) {
    if changed.is_empty() {
        return;
    }
    if deadline <= ctx.server.removal_horizon() {
        report_deleted(ctx, key, changed);
        return;
    }
    touch_times(ctx, key, Event::hash("hexpire"), changed.len());
    let mut digits = [itoa::Buffer::new(), itoa::Buffer::new()];
    let [first, second] = &mut digits;
    let mut argv: Vec<&[u8]> = vec![b"HPEXPIREAT", key.bytes, first.format(deadline).as_bytes()];
    argv.extend_from_slice(words);
    argv.extend_from_slice(&[b"FIELDS", second.format(changed.len()).as_bytes()]);
    argv.extend_from_slice(changed);
    ctx.propagate(&argv);
}

/// Reports that fields were removed because they were given a deadline that has passed.
pub fn report_deleted(ctx: &mut Ctx<'_>, key: Key<'_>, fields: &[&[u8]]) {
    touch_times(ctx, key, Event::hash("hdel"), fields.len());
    ctx.server.stats.expired_subkeys += fields.len() as u64;
    for field in fields {
        ctx.propagate_anyway(&[b"HDEL", key.bytes, field]);
    }
    let dbid = ctx.client.dbid;
    ctx.server.delete_emptied_hash(dbid, key);
}

pub const HTTL: Spec = Spec {
    name: "httl",
    arity: -5,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Tells in how many seconds fields expire.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), FIELDS],
    tips: &["nondeterministic_output"],
    handler: httl,
    ..Spec::DEFAULT
};

fn httl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(ctx, args, |deadline, now_ms| {
        (deadline - now_ms + 999) / 1000
    })
}

pub const HPTTL: Spec = Spec {
    name: "hpttl",
    arity: -5,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Tells in how many milliseconds fields expire.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), FIELDS],
    tips: &["nondeterministic_output"],
    handler: hpttl,
    ..Spec::DEFAULT
};

fn hpttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(ctx, args, |deadline, now_ms| deadline - now_ms)
}

pub const HEXPIRETIME: Spec = Spec {
    name: "hexpiretime",
    arity: -5,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Tells when fields expire, in Unix seconds.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), FIELDS],
    handler: hexpiretime,
    ..Spec::DEFAULT
};

fn hexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(ctx, args, |deadline, _| (deadline + 999) / 1000)
}

pub const HPEXPIRETIME: Spec = Spec {
    name: "hpexpiretime",
    arity: -5,
    flags: READ_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Tells when fields expire, in Unix milliseconds.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), FIELDS],
    handler: hpexpiretime,
    ..Spec::DEFAULT
};

fn hpexpiretime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_deadlines(ctx, args, |deadline, _| deadline)
}

/// Replies with what `shown` makes of each field's deadline and the time. Fields that have expired stay.
fn reply_deadlines(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    shown: fn(i64, i64) -> i64,
) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let now_ms = ctx.server.now_ms;
    let horizon_ms = ctx.server.field_horizon();
    let hash = ctx
        .server
        .object::<Hash>(ctx.client.dbid, key, Access::Read)?;
    let first = fields_arg(args, 2, COUNT_NOT_POSITIVE)?;
    let reply = &mut ctx.client.reply;
    reply.array(args.len() - first);
    for field in args.iter_from(first) {
        let found = hash.as_ref().and_then(|hash| hash.get(field));
        reply.int(match found {
            None => NO_FIELD,
            Some(found) if found.is_due(horizon_ms) => NO_FIELD,
            Some(found) => found
                .deadline_ms
                .map_or(NO_DEADLINE, |deadline| shown(deadline, now_ms)),
        });
    }
    Ok(())
}

pub const HPERSIST: Spec = Spec {
    name: "hpersist",
    arity: -5,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "7.4.0",
    summary: "Takes the deadlines of fields away.",
    complexity: Some("O(N)"),
    key_specs: UPDATES_KEY,
    args: &[Arg::key("key", 0), FIELDS],
    handler: hpersist,
    ..Spec::DEFAULT
};

fn hpersist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let horizon_ms = ctx.server.field_horizon();
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Write)?;
    let first = fields_arg(args, 2, COUNT_NOT_POSITIVE)?;
    ctx.client.reply.array(args.len() - first);
    let Some(hash) = hash else {
        (first..args.len()).for_each(|_| ctx.client.reply.int(NO_FIELD));
        return Ok(());
    };
    let before = hash.min_deadline();
    let mut changed = 0;
    for field in args.iter_from(first) {
        let outcome = match hash.get(field) {
            None => NO_FIELD,
            Some(found) if found.is_due(horizon_ms) => NO_FIELD,
            Some(found) if found.deadline_ms.is_none() => NO_DEADLINE,
            Some(_) => {
                hash.set_deadline(field, None);
                changed += 1;
                DONE
            }
        };
        ctx.client.reply.int(outcome);
    }
    let after = hash.min_deadline();
    if changed > 0 {
        ctx.server
            .db(dbid)
            .move_field_deadline(key.hash, before, after);
        touch_times(ctx, key, Event::hash("hpersist"), changed);
    }
    Ok(())
}
