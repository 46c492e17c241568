//! BITFIELD and BITFIELD_RO: integers of any width at any bit of a string.

use super::{READS_KEY, bad_offset, check_offset, edit};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::string::with_bytes;
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::bits;
use crate::types::decimal::parse_i64;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[BITFIELD, BITFIELD_RO];

pub const BITFIELD: Spec = Spec {
    name: "bitfield",
    arity: -2,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    since: "3.2.0",
    summary: "Reads, writes and adds to integers of any width within a string.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW
            .or(KeyFlags::ACCESS)
            .or(KeyFlags::UPDATE)
            .or(KeyFlags::VARIABLE_FLAGS),
    )],
    key_notes: &[(0, "Reads the key and may change it.")],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "operation",
            &[
                Arg::block(
                    "get-block",
                    &[
                        Arg::new("encoding", ArgKind::String),
                        Arg::new("offset", ArgKind::Integer),
                    ],
                )
                .token("GET"),
                Arg::block(
                    "write",
                    &[
                        Arg::one_of(
                            "overflow-block",
                            &[
                                Arg::word("wrap", "WRAP"),
                                Arg::word("sat", "SAT"),
                                Arg::word("fail", "FAIL"),
                            ],
                        )
                        .token("OVERFLOW")
                        .optional(),
                        Arg::one_of(
                            "write-operation",
                            &[
                                Arg::block(
                                    "set-block",
                                    &[
                                        Arg::new("encoding", ArgKind::String),
                                        Arg::new("offset", ArgKind::Integer),
                                        Arg::new("value", ArgKind::Integer),
                                    ],
                                )
                                .token("SET"),
                                Arg::block(
                                    "incrby-block",
                                    &[
                                        Arg::new("encoding", ArgKind::String),
                                        Arg::new("offset", ArgKind::Integer),
                                        Arg::new("increment", ArgKind::Integer),
                                    ],
                                )
                                .token("INCRBY"),
                            ],
                        ),
                    ],
                ),
            ],
        )
        .optional()
        .multiple(),
    ],
    handler: bitfield,
    ..Spec::DEFAULT
};

fn bitfield(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let steps = parse(ctx, args)?;
    if steps.iter().all(|step| step.action == Action::Get) {
        return read(ctx, args, &steps);
    }
    let written = steps.iter().filter(|step| step.action != Action::Get);
    let last = written
        .map(|step| step.offset + u64::from(step.field.width) - 1)
        .max();
    let key = ctx.key(args, 1);
    let mut replies = Vec::with_capacity(steps.len());
    let mut written = 0;
    let mut changed = 0;
    let grown = edit(ctx, key, last.unwrap_or(0), |bytes| {
        for step in &steps {
            let old = step.field.read(bytes, step.offset);
            let (new, reply) = step.apply(old);
            if let Some(new) = new {
                step.field.write(bytes, step.offset, new);
                written += 1;
                changed += u64::from(step.field.read(bytes, step.offset) != old);
            }
            replies.push(reply);
        }
    })?;
    let changes = if grown { written } else { changed };
    if changes > 0 {
        ctx.touch(key.bytes, Event::string("setbit"));
        ctx.server.effects.dirty += changes - 1;
    }
    ctx.client.reply.array(replies.len());
    for reply in replies {
        match reply {
            Some(value) => ctx.client.reply.int(value),
            None => ctx.client.reply.null(),
        }
    }
    Ok(())
}

pub const BITFIELD_RO: Spec = Spec {
    name: "bitfield_ro",
    arity: -2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    since: "6.0.0",
    summary: "Reads integers of any width within a string.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "get-block",
            &[
                Arg::new("encoding", ArgKind::String),
                Arg::new("offset", ArgKind::Integer),
            ],
        )
        .token("GET")
        .optional()
        .multiple_token(),
    ],
    handler: bitfield_ro,
    ..Spec::DEFAULT
};

fn bitfield_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let steps = parse(ctx, args)?;
    if steps.iter().any(|step| step.action != Action::Get) {
        return Err(CommandError::text(
            "ERR BITFIELD_RO only supports the GET subcommand",
        ));
    }
    read(ctx, args, &steps)
}

fn read(ctx: &mut Ctx<'_>, args: Args<'_>, steps: &[Step]) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let found = ctx.server.string(ctx.client.dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let answer = |bytes: &[u8]| {
        reply.array(steps.len());
        for step in steps {
            reply.int(step.field.read(bytes, step.offset));
        }
    };
    match found {
        Some(entry) => with_bytes(entry, answer),
        None => {
            let mut answer = answer;
            answer(b"");
        }
    }
    Ok(())
}

/// What happens to a number that does not fit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// The type of a field. Unsigned ones have at most 63 bits, so that an `i64` holds any value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Field {
    signed: bool,
    width: u32,
}

/// One subcommand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Step {
    action: Action,
    field: Field,
    offset: u64,
    overflow: Overflow,
}

impl Field {
    fn parse(text: &[u8]) -> Result<Field, CommandError> {
        let (signed, digits) = match text {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => return Err(bad_type()),
        };
        let max = if signed { 64 } else { 63 };
        parse_i64(digits)
            .filter(|width| (1..=max).contains(width))
            .and_then(|width| u32::try_from(width).ok())
            .map(|width| Field { signed, width })
            .ok_or_else(bad_type)
    }

    fn min(self) -> i128 {
        if self.signed {
            -(1 << (self.width - 1))
        } else {
            0
        }
    }

    fn max(self) -> i128 {
        (1 << (self.width - u32::from(self.signed))) - 1
    }

    fn read(self, bytes: &[u8], offset: u64) -> i64 {
        self.interpret(bits::get_field(bytes, offset, self.width))
    }

    fn write(self, bytes: &mut [u8], offset: u64, value: i64) {
        bits::set_field(bytes, offset, self.width, value as u64);
    }

    /// The number that the lowest bits of `raw` mean.
    fn interpret(self, raw: u64) -> i64 {
        let unused = 64 - self.width;
        if self.signed {
            ((raw << unused) as i64) >> unused
        } else {
            (raw << unused >> unused) as i64
        }
    }
}

impl Step {
    /// What to write over `old`, if anything, and what to reply: `None` for a failed overflow.
    fn apply(&self, old: i64) -> (Option<i64>, Option<i64>) {
        match self.action {
            Action::Get => (None, Some(old)),
            Action::Set(value) => {
                // To an unsigned field, a negative number is one far too great.
                let value = if self.field.signed && self.saturates_upwards(value) {
                    self.field.max()
                } else if self.field.signed {
                    i128::from(value)
                } else {
                    i128::from(value as u64)
                };
                let new = self.fit(value);
                (new, new.map(|_| old))
            }
            Action::Add(by) => {
                let new = self.fit(i128::from(old) + i128::from(by));
                (new, new)
            }
        }
    }

    /// Redis takes the distance from a number to the field's maximum in 64 bits. For the lowest numbers it
    /// wraps around, so that they look too great and not too small.
    fn saturates_upwards(&self, value: i64) -> bool {
        let distance = self.field.max() - i128::from(value);
        let wraps = distance > i128::from(i64::MAX) && self.field.width < 64;
        wraps && self.overflow == Overflow::Saturate
    }

    fn fit(&self, value: i128) -> Option<i64> {
        let (min, max) = (self.field.min(), self.field.max());
        if (min..=max).contains(&value) {
            return Some(value as i64);
        }
        match self.overflow {
            Overflow::Wrap => Some(self.field.interpret(value as u64)),
            Overflow::Saturate => Some(value.clamp(min, max) as i64),
            Overflow::Fail => None,
        }
    }
}

fn parse(ctx: &Ctx<'_>, args: Args<'_>) -> Result<Vec<Step>, CommandError> {
    let mut steps = Vec::new();
    let mut overflow = Overflow::Wrap;
    let mut index = 2;
    while index < args.len() {
        let left = args.len() - index - 1;
        if args.is(index, "OVERFLOW") && left >= 1 {
            overflow = overflow_arg(args, index + 1)?;
            index += 2;
            continue;
        }
        let is_get = args.is(index, "GET") && left >= 2;
        let is_set = args.is(index, "SET") && left >= 3;
        let is_add = args.is(index, "INCRBY") && left >= 3;
        if !is_get && !is_set && !is_add {
            return Err(CommandError::Syntax);
        }
        let field = Field::parse(args.bytes(index + 1))?;
        let offset = offset_arg(ctx, args.bytes(index + 2), field)?;
        let action = if is_get {
            Action::Get
        } else if is_set {
            Action::Set(int_arg(args, index + 3)?)
        } else {
            Action::Add(int_arg(args, index + 3)?)
        };
        steps.push(Step {
            action,
            field,
            offset,
            overflow,
        });
        index += if is_get { 3 } else { 4 };
    }
    Ok(steps)
}

fn overflow_arg(args: Args<'_>, index: usize) -> Result<Overflow, CommandError> {
    if args.is(index, "WRAP") {
        Ok(Overflow::Wrap)
    } else if args.is(index, "SAT") {
        Ok(Overflow::Saturate)
    } else if args.is(index, "FAIL") {
        Ok(Overflow::Fail)
    } else {
        Err(CommandError::text("ERR Invalid OVERFLOW type specified"))
    }
}

/// A field's place: a bit, or after `#` a number of fields of this width.
fn offset_arg(ctx: &Ctx<'_>, text: &[u8], field: Field) -> Result<u64, CommandError> {
    let (digits, unit) = match text {
        [b'#', digits @ ..] => (digits, i64::from(field.width)),
        _ => (text, 1),
    };
    let number = parse_i64(digits).ok_or_else(bad_offset)?;
    check_offset(ctx, number.checked_mul(unit).ok_or_else(bad_offset)?)
}

fn bad_type() -> CommandError {
    CommandError::text(
        "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
    )
}
