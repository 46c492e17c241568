//! Reading or writing fields and something more at once: HGETDEL, HGETEX, HSETEX.

use super::expire::{
    COUNT_NOT_POSITIVE, deadline_arg, fields_arg, report_deadlines, report_deleted,
};
use super::{CHANGE_FAST, FIELDS, UPDATES_KEY, WRITE_FAST, reply_item, touch_times};
use crate::command::spec::{Arg, ArgKind, Categories, Group, KeyFlags, KeySpec, Spec};
use crate::command::string::options::Time;
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::Hash;
use crate::keyspace::object::hash::OldDeadline;
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::decimal::parse_i64;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[HGETDEL, HGETEX, HSETEX];

pub const HGETDEL: Spec = Spec {
    name: "hgetdel",
    arity: -5,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.0.0",
    summary: "Returns the values of fields and removes them.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE),
    )],
    args: &[Arg::key("key", 0), FIELDS],
    handler: hgetdel,
    ..Spec::DEFAULT
};

fn hgetdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let horizon_ms = ctx.server.field_horizon();
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Write)?;
    let first = fields_arg(args, 2, COUNT_NOT_POSITIVE)?;
    let reply = &mut ctx.client.reply;
    reply.array(args.len() - first);
    let Some(hash) = hash else {
        (first..args.len()).for_each(|_| reply.null());
        return Ok(());
    };
    let before = hash.min_deadline();
    let mut expired = Vec::new();
    let mut removed = 0;
    for field in args.iter_from(first) {
        match hash.get(field) {
            Some(found) if found.is_due(horizon_ms) => {
                expired.push(field);
                reply.null();
            }
            Some(found) => {
                reply_item(reply, found.value);
                hash.remove(field);
                removed += 1;
            }
            None => reply.null(),
        }
    }
    let after = hash.min_deadline();
    ctx.server
        .db(dbid)
        .move_field_deadline(key.hash, before, after);
    let has_expired = report_expired(ctx, key, &expired);
    if removed > 0 {
        touch_times(ctx, key, Event::hash("hdel"), removed);
        let mut argv: Vec<&[u8]> = vec![b"HDEL", key.bytes];
        argv.extend(args.iter_from(first));
        ctx.propagate(&argv);
    }
    if has_expired || removed > 0 {
        ctx.server.delete_emptied_hash(dbid, key);
    }
    Ok(())
}

/// Takes out the fields that were found with their deadline behind them; says whether there were any. A hash that
/// is left empty is for the caller to remove, once the rest is reported.
fn report_expired(ctx: &mut Ctx<'_>, key: Key<'_>, expired: &[&[u8]]) -> bool {
    let dbid = ctx.client.dbid;
    let has_expired =
        !expired.is_empty() && ctx.server.remove_expired_fields(dbid, key, expired) > 0;
    if has_expired {
        ctx.server
            .touch_also(dbid, key.bytes, Event::hash("hexpired"));
    }
    has_expired
}

/// What an option of HGETEX or HSETEX does to deadlines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Keep,
    Persist,
    Deadline(i64),
}

impl Change {
    /// The deadline at argument `index`, after the option `time`; or what the option says by itself.
    fn parse(
        args: Args<'_>,
        index: usize,
        time: Time,
        command: &'static str,
        now_ms: i64,
    ) -> Result<Change, CommandError> {
        let (unit_ms, base_ms) = match time {
            Time::Keep => return Ok(Change::Keep),
            Time::Persist => return Ok(Change::Persist),
            Time::Seconds => (1000, now_ms),
            Time::Milliseconds => (1, now_ms),
            Time::UnixSeconds => (1000, 0),
            Time::UnixMilliseconds => (1, 0),
        };
        deadline_arg(args, index, command, unit_ms, base_ms).map(Change::Deadline)
    }
}

pub const HGETEX: Spec = Spec {
    name: "hgetex",
    arity: -5,
    flags: CHANGE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.0.0",
    summary: "Returns the values of fields and changes when they expire.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
    )],
    key_notes: &[(0, "A write, as times to live may change.")],
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
        FIELDS,
    ],
    handler: hgetex,
    ..Spec::DEFAULT
};

fn hgetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let (now_ms, horizon_ms) = (ctx.server.now_ms, ctx.server.field_horizon());
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Write)?;
    let option = Time::at(args, 2).filter(|time| *time != Time::Keep);
    let (change, at) = match option {
        None => (Change::None, 2),
        Some(time) => {
            let at = 3 + usize::from(time.takes_number());
            (Change::parse(args, 3, time, "hgetex", now_ms)?, at)
        }
    };
    if at + 1 >= args.len() {
        return Err(CommandError::Arity(ctx.this().full_name.clone().into()));
    }
    let first = fields_arg(args, at, COUNT_NOT_POSITIVE)?;
    let reply = &mut ctx.client.reply;
    reply.array(args.len() - first);
    let Some(hash) = hash else {
        (first..args.len()).for_each(|_| reply.null());
        return Ok(());
    };

    let before = hash.min_deadline();
    if change != Change::None {
        hash.admit_deadlines();
    }
    let (mut expired, mut changed) = (Vec::new(), Vec::new());
    for field in args.iter_from(first) {
        let Some(found) = hash.get(field) else {
            reply.null();
            continue;
        };
        if found.is_due(horizon_ms) {
            expired.push(field);
            reply.null();
            continue;
        }
        reply_item(reply, found.value);
        match change {
            Change::None | Change::Keep => {}
            Change::Persist if found.deadline_ms.is_none() => {}
            Change::Persist => {
                hash.set_deadline(field, None);
                changed.push(field);
            }
            Change::Deadline(deadline) => {
                if deadline <= now_ms {
                    hash.remove(field);
                } else {
                    hash.set_deadline(field, Some(deadline));
                }
                changed.push(field);
            }
        }
    }
    let after = hash.min_deadline();
    ctx.server
        .db(dbid)
        .move_field_deadline(key.hash, before, after);

    let has_expired = report_expired(ctx, key, &expired);
    match change {
        Change::Deadline(deadline) => report_deadlines(ctx, key, deadline, &[], &changed),
        Change::Persist if !changed.is_empty() => {
            touch_times(ctx, key, Event::hash("hpersist"), changed.len());
            let mut digits = itoa::Buffer::new();
            let count = digits.format(changed.len()).as_bytes();
            let mut argv: Vec<&[u8]> = vec![b"HPERSIST", key.bytes, b"FIELDS", count];
            argv.extend_from_slice(&changed);
            ctx.propagate(&argv);
        }
        _ => {}
    }
    if has_expired {
        ctx.server.delete_emptied_hash(dbid, key);
    }
    Ok(())
}

/// What HSETEX asks of all its fields before it sets any of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Condition {
    AllMissing,
    AllPresent,
}

/// HSETEX's options and where its fields begin.
struct SetOptions {
    change: Change,
    condition: Option<Condition>,
    first: usize,
}

impl SetOptions {
    fn parse(ctx: &Ctx<'_>, args: Args<'_>) -> Result<SetOptions, CommandError> {
        let arity = || CommandError::Arity(ctx.this().full_name.clone().into());
        let mut options = SetOptions {
            change: Change::None,
            condition: None,
            first: 0,
        };
        let mut index = 2;
        while index < args.len() {
            if args.is(index, "FIELDS") {
                options.first = index + 2;
                if index + 3 >= args.len() {
                    return Err(arity());
                }
                let count = parse_i64(args.bytes(index + 1))
                    .filter(|count| (1..=i64::from(i32::MAX)).contains(count))
                    .ok_or(CommandError::text("ERR invalid number of fields"))?;
                let left = args.len() - options.first;
                if !left.is_multiple_of(2) || i64::try_from(left / 2) != Ok(count) {
                    return Err(arity());
                }
                return Ok(options);
            }
            let condition = match () {
                () if args.is(index, "FNX") => Some(Condition::AllMissing),
                () if args.is(index, "FXX") => Some(Condition::AllPresent),
                () => None,
            };
            if condition.is_some() {
                if options.condition.is_some() {
                    return Err(CommandError::text(
                        "ERR Only one of FXX or FNX arguments can be specified",
                    ));
                }
                options.condition = condition;
            } else if let Some(time) = Time::at(args, index).filter(|time| *time != Time::Persist) {
                if options.change != Change::None {
                    return Err(CommandError::text(
                        "ERR Only one of EX, PX, EXAT, PXAT or KEEPTTL arguments can be specified",
                    ));
                }
                if time.takes_number() {
                    index += 1;
                    if index >= args.len() {
                        return Err(CommandError::text("ERR missing expire time"));
                    }
                }
                let now_ms = ctx.server.now_ms;
                options.change = Change::parse(args, index, time, "hsetex", now_ms)?;
            } else {
                let word = args.bytes(index);
                return Err(CommandError::quoting("ERR unknown argument: ", word, ""));
            }
            index += 1;
        }
        Err(arity())
    }
}

pub const HSETEX: Spec = Spec {
    name: "hsetex",
    arity: -6,
    flags: WRITE_FAST,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "8.0.0",
    summary: "Sets fields and when they expire.",
    complexity: Some("O(N)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "condition",
            &[Arg::word("fnx", "FNX"), Arg::word("fxx", "FXX")],
        )
        .optional(),
        Arg::one_of(
            "expiration",
            &[
                Arg::new("seconds", ArgKind::Integer).token("EX"),
                Arg::new("milliseconds", ArgKind::Integer).token("PX"),
                Arg::new("unix-time-seconds", ArgKind::UnixTime).token("EXAT"),
                Arg::new("unix-time-milliseconds", ArgKind::UnixTime).token("PXAT"),
                Arg::word("keepttl", "KEEPTTL"),
            ],
        )
        .optional(),
        Arg::block(
            "fields",
            &[
                Arg::new("numfields", ArgKind::Integer),
                Arg::block(
                    "data",
                    &[
                        Arg::new("field", ArgKind::String),
                        Arg::new("value", ArgKind::String),
                    ],
                )
                .multiple(),
            ],
        )
        .token("FIELDS"),
    ],
    handler: hsetex,
    ..Spec::DEFAULT
};

fn hsetex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = SetOptions::parse(ctx, args)?;
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let horizon_ms = ctx.server.field_horizon();
    let names = || args.iter_from(options.first).step_by(2);

    let mut expired = Vec::new();
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Write)?;
    let holds = match (options.condition, hash) {
        (None, _) | (Some(Condition::AllMissing), None) => true,
        (Some(Condition::AllPresent), None) => false,
        (Some(condition), Some(hash)) => names().all(|field| {
            let found = hash.get(field);
            let is_due = found.is_some_and(|found| found.is_due(horizon_ms));
            if is_due {
                expired.push(field);
            }
            (found.is_some() && !is_due) == (condition == Condition::AllPresent)
        }),
    };
    let has_expired = report_expired(ctx, key, &expired);
    if !holds {
        if has_expired {
            ctx.server.delete_emptied_hash(dbid, key);
        }
        ctx.client.reply.int(0);
        return Ok(());
    }
    set_fields(ctx, args, key, &options)?;
    ctx.client.reply.int(1);
    Ok(())
}

/// Sets the fields, whatever was there, and reports it.
fn set_fields(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    key: Key<'_>,
    options: &SetOptions,
) -> Result<(), CommandError> {
    let dbid = ctx.client.dbid;
    let limits = ctx.server.hash_limits();
    let removal_ms = ctx.server.removal_horizon();
    let first = options.first;
    let old_deadline = match options.change {
        Change::Keep => OldDeadline::Keep,
        _ => OldDeadline::Clear,
    };
    let hash = ctx
        .server
        .object_or_insert::<Hash>(dbid, key, Hash::default)?;
    let before = hash.min_deadline();
    hash.prepare(args.iter_from(first), args.len() - first, &limits);
    if matches!(options.change, Change::Deadline(_)) {
        hash.admit_deadlines();
    }
    let mut removed: Vec<&[u8]> = Vec::new();
    for index in (first..args.len()).step_by(2) {
        let (field, value) = (args.bytes(index), args.bytes(index + 1));
        hash.set(field, value, old_deadline, &limits);
        match options.change {
            Change::Deadline(deadline) if deadline <= removal_ms => {
                hash.remove(field);
                removed.push(field);
            }
            Change::Deadline(deadline) => _ = hash.set_deadline(field, Some(deadline)),
            _ => {}
        }
    }
    let after = hash.min_deadline();
    ctx.server
        .db(dbid)
        .move_field_deadline(key.hash, before, after);

    touch_times(ctx, key, Event::hash("hset"), (args.len() - first) / 2);
    match options.change {
        Change::Deadline(deadline) if deadline > removal_ms => {
            ctx.notify(key.bytes, Event::hash("hexpire"));
            propagate_set(ctx, args, key, options, deadline);
        }
        Change::Deadline(_) => report_deleted(ctx, key, &removed),
        _ => {}
    }
    Ok(())
}

/// The request with its deadline as Unix milliseconds.
fn propagate_set(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    key: Key<'_>,
    options: &SetOptions,
    deadline: i64,
) {
    let mut digits = itoa::Buffer::new();
    let mut argv: Vec<&[u8]> = vec![b"HSETEX", key.bytes];
    match options.condition {
        Some(Condition::AllMissing) => argv.push(b"FNX"),
        Some(Condition::AllPresent) => argv.push(b"FXX"),
        None => {}
    }
    argv.extend_from_slice(&[b"PXAT", digits.format(deadline).as_bytes()]);
    argv.extend(args.iter_from(options.first - 2));
    ctx.propagate(&argv);
}
