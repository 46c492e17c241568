//! INCREX: adds to a number within bounds and sets its deadline, in one step.

use super::number::{float_of, int_of, store_text};
use super::options::Time;
use super::{UPDATES_KEY, WRITE_FAST, delete_past};
use crate::command::spec::{Arg, ArgKind, Categories, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Entry;
use crate::resp::{Args, Reply};
use crate::state::effects::Event;
use crate::state::keys::{Access, Key, NewValue};
use crate::types::decimal::parse_i64;
use crate::types::long_double::LongDouble;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[INCREX];

pub const INCREX: Spec = Spec {
    name: "increx",
    arity: -2,
    flags: WRITE_FAST,
    acl: Categories::STRING,
    group: Group::String,
    since: "8.8.0",
    summary: "Adds to a number within bounds and changes when it expires.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "increment",
            &[
                Arg::new("float", ArgKind::Double).token("BYFLOAT"),
                Arg::new("integer", ArgKind::Integer).token("BYINT"),
            ],
        )
        .optional(),
        Arg::word("saturate", "SATURATE").optional(),
        Arg::new("lowerbound", ArgKind::String)
            .token("LBOUND")
            .optional(),
        Arg::new("upperbound", ArgKind::String)
            .token("UBOUND")
            .optional(),
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
        Arg::word("enx", "ENX").optional(),
    ],
    handler: increx,
    ..Spec::DEFAULT
};

fn increx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args)?;
    if options.float.is_some() {
        run::<LongDouble>(ctx, args, &options)
    } else {
        run::<i64>(ctx, args, &options)
    }
}

/// Options as given: numbers, which an option that comes later may make integers or floats, as argument indexes.
#[derive(Default)]
struct Options {
    int: Option<usize>,
    float: Option<usize>,
    lower: Option<usize>,
    upper: Option<usize>,
    saturate: bool,
    time: Option<Time>,
    time_at: usize,
    only_without_deadline: bool,
}

impl Options {
    /// Unlike those of SET, no option may be repeated.
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 2;
        while index < args.len() {
            let slot = if args.is(index, "BYINT") {
                Some(&mut options.int)
            } else if args.is(index, "BYFLOAT") {
                Some(&mut options.float)
            } else if args.is(index, "LBOUND") {
                Some(&mut options.lower)
            } else if args.is(index, "UBOUND") {
                Some(&mut options.upper)
            } else {
                None
            };
            let mut takes_number = slot.is_some();
            if let Some(slot) = slot {
                if slot.replace(index + 1).is_some() {
                    return Err(CommandError::Syntax);
                }
            } else if args.is(index, "SATURATE") && !options.saturate {
                options.saturate = true;
            } else if args.is(index, "ENX") && !options.only_without_deadline {
                options.only_without_deadline = true;
            } else {
                let time = Time::at(args, index).filter(|time| *time != Time::Keep);
                let time = time.ok_or(CommandError::Syntax)?;
                if options.time.replace(time).is_some() {
                    return Err(CommandError::Syntax);
                }
                options.time_at = index + 1;
                takes_number = time.takes_number();
            }
            index += 1 + usize::from(takes_number);
        }
        let persists = options.time == Some(Time::Persist);
        if index > args.len()
            || (options.int.is_some() && options.float.is_some())
            || (persists && options.only_without_deadline)
        {
            return Err(CommandError::Syntax);
        }
        if options.only_without_deadline && options.time.is_none() {
            return Err(CommandError::text("ERR ENX flag requires an expiration"));
        }
        Ok(options)
    }

    fn deadline(&self, args: Args<'_>, now_ms: i64) -> Result<Option<i64>, CommandError> {
        match self.time {
            Some(time) if time.takes_number() => {
                let number = args.bytes(self.time_at);
                time.deadline(number, now_ms, "increx").map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// What integers and floats do differently.
trait Number: Copy + PartialOrd {
    const EVENT: &'static str;
    const ZERO: Self;

    fn limits() -> (Self, Self);
    fn increment(args: Args<'_>, options: &Options) -> Result<Self, CommandError>;
    fn bound(text: &[u8], name: &str) -> Result<Self, CommandError>;
    fn of(entry: &Entry) -> Result<Self, CommandError>;
    /// The sum, or `None` where it passes the limits on the side to which `by` points.
    fn plus(self, by: Self) -> Option<Self>;
    /// What leads from `old` to `self`.
    fn change_from(self, old: Self) -> Result<Self, CommandError>;
    fn to_text(self) -> String;
    fn store(self, ctx: &mut Ctx<'_>, key: Key<'_>);
    fn reply(self, reply: &mut Reply);
}

impl Number for i64 {
    const EVENT: &'static str = "incrby";
    const ZERO: i64 = 0;

    fn limits() -> (i64, i64) {
        (i64::MIN, i64::MAX)
    }

    fn increment(args: Args<'_>, options: &Options) -> Result<i64, CommandError> {
        match options.int {
            None => Ok(1),
            Some(at) => parse_i64(args.bytes(at)).ok_or(CommandError::text(
                "ERR Increment is not an integer or out of range",
            )),
        }
    }

    fn bound(text: &[u8], name: &str) -> Result<i64, CommandError> {
        parse_i64(text).ok_or_else(|| {
            CommandError::text(format!("ERR {name} is not an integer or out of range"))
        })
    }

    fn of(entry: &Entry) -> Result<i64, CommandError> {
        int_of(entry)
    }

    fn plus(self, by: i64) -> Option<i64> {
        self.checked_add(by)
    }

    fn change_from(self, old: i64) -> Result<i64, CommandError> {
        self.checked_sub(old)
            .ok_or(CommandError::text("ERR applied increment would overflow"))
    }

    fn to_text(self) -> String {
        itoa::Buffer::new().format(self).to_owned()
    }

    fn store(self, ctx: &mut Ctx<'_>, key: Key<'_>) {
        match ctx.lookup(key, Access::Peek) {
            Some(entry) => entry.set_int(self),
            None => {
                let value = NewValue::Int(self);
                ctx.server.store(ctx.client.dbid, key, value, None);
            }
        }
    }

    fn reply(self, reply: &mut Reply) {
        reply.int(self);
    }
}

impl Number for LongDouble {
    const EVENT: &'static str = "incrbyfloat";
    const ZERO: LongDouble = LongDouble::ZERO;

    fn limits() -> (LongDouble, LongDouble) {
        (LongDouble::max().negated(), LongDouble::max())
    }

    fn increment(args: Args<'_>, options: &Options) -> Result<LongDouble, CommandError> {
        let text = options.float.map_or(&b"1"[..], |at| args.bytes(at));
        let by = LongDouble::parse(text)
            .ok_or(CommandError::text("ERR Increment is not a valid float"))?;
        if by.is_infinite() {
            return Err(CommandError::text(
                "ERR BYFLOAT increment cannot be Infinity",
            ));
        }
        Ok(by)
    }

    fn bound(text: &[u8], name: &str) -> Result<LongDouble, CommandError> {
        LongDouble::parse(text)
            .ok_or_else(|| CommandError::text(format!("ERR {name} is not a valid float")))
    }

    fn of(entry: &Entry) -> Result<LongDouble, CommandError> {
        let value = float_of(entry)?;
        if value.is_infinite() {
            return Err(CommandError::text("ERR value cannot be Infinity"));
        }
        Ok(value)
    }

    fn plus(self, by: LongDouble) -> Option<LongDouble> {
        Some(LongDouble::plus(self, by)).filter(|sum| sum.is_finite())
    }

    fn change_from(self, old: LongDouble) -> Result<LongDouble, CommandError> {
        Some(self.minus(old))
            .filter(|change| change.is_finite())
            .ok_or(CommandError::text(
                "ERR applied increment would be Infinity",
            ))
    }

    fn to_text(self) -> String {
        LongDouble::to_text(self)
    }

    fn store(self, ctx: &mut Ctx<'_>, key: Key<'_>) {
        store_text(ctx, key, &LongDouble::to_text(self));
    }

    fn reply(self, reply: &mut Reply) {
        let text = LongDouble::to_text(self);
        if reply.is_resp3() {
            reply.raw(b",");
            reply.raw(text.as_bytes());
            reply.raw(b"\r\n");
        } else {
            reply.text(&text);
        }
    }
}

fn run<N: Number>(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    options: &Options,
) -> Result<(), CommandError> {
    let by = N::increment(args, options)?;
    let (mut lower, mut upper) = N::limits();
    if let Some(at) = options.lower {
        lower = N::bound(args.bytes(at), "LBOUND")?;
    }
    if let Some(at) = options.upper {
        upper = N::bound(args.bytes(at), "UBOUND")?;
    }
    if lower > upper {
        return Err(CommandError::text(
            "ERR LBOUND can't be greater than UBOUND",
        ));
    }
    let now_ms = ctx.server.now_ms;
    let deadline = options.deadline(args, now_ms)?;
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let (old, had_deadline) = match ctx.server.string(dbid, key, Access::Write)? {
        Some(entry) => (N::of(entry)?, entry.expire().is_some()),
        None => (N::ZERO, false),
    };

    let sum = old.plus(by);
    let (value, change) = match sum {
        Some(sum) if sum >= lower && sum <= upper => (sum, by),
        _ if options.saturate => {
            let is_below = sum.map_or(by < N::ZERO, |sum| sum < lower);
            let bound = if is_below { lower } else { upper };
            (bound, bound.change_from(old)?)
        }
        _ => {
            reply_both(ctx, old, N::ZERO);
            return Ok(());
        }
    };

    let keeps_deadline = options.only_without_deadline && had_deadline;
    match deadline.filter(|_| !keeps_deadline) {
        Some(deadline) if deadline <= now_ms => {
            // The value would be gone at once; a key that was not there is not made for it.
            if ctx.lookup(key, Access::Peek).is_some() {
                delete_past(ctx, key);
            }
        }
        deadline => {
            value.store(ctx, key);
            ctx.touch(key.bytes, Event::string(N::EVENT));
            settle_deadline(ctx, key, options, deadline, had_deadline, &value.to_text());
        }
    }
    reply_both(ctx, value, change);
    Ok(())
}

/// Sets or clears the deadline, and propagates the outcome.
fn settle_deadline(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    options: &Options,
    deadline: Option<i64>,
    had_deadline: bool,
    text: &str,
) {
    let dbid = ctx.client.dbid;
    if let Some(deadline) = deadline {
        ctx.server.set_expire(dbid, key, Some(deadline));
        ctx.notify(key.bytes, Event::generic("expire"));
        super::propagate_set(ctx, key, text.as_bytes(), deadline);
    } else if options.time == Some(Time::Persist) && had_deadline {
        ctx.server.set_expire(dbid, key, None);
        ctx.notify(key.bytes, Event::generic("persist"));
        ctx.propagate(&[b"SET", key.bytes, text.as_bytes()]);
    } else {
        ctx.propagate(&[b"SET", key.bytes, text.as_bytes(), b"KEEPTTL"]);
    }
}

fn reply_both<N: Number>(ctx: &mut Ctx<'_>, value: N, change: N) {
    ctx.client.reply.array(2);
    value.reply(&mut ctx.client.reply);
    change.reply(&mut ctx.client.reply);
}
