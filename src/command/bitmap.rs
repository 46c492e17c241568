//! Bitmap commands: strings as rows of bits.
//!
//! Lives here: single bits, counting, searching, combining. May not: the arithmetic (`types::bits`), fields of
//! several bits (`field`).

pub mod field;

use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::string::range::{clamp_ends, clamp_range};
use crate::command::string::{max_len, store_raw, with_bytes};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, ValueRef};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::bits::{self, Operation};
use crate::types::decimal::parse_i64;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[BITCOUNT, BITOP, BITPOS, GETBIT, SETBIT];

/// A key at argument 1 that is read.
const READS_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))];
/// A key at argument 1 that is read and changed.
const UPDATES_KEY: &[KeySpec] = &[KeySpec::at(
    1,
    KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
)];

pub const GETBIT: Spec = Spec {
    name: "getbit",
    arity: 3,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    since: "2.2.0",
    summary: "Returns a bit of a string.",
    complexity: Some("O(1)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), Arg::new("offset", ArgKind::Integer)],
    handler: getbit,
    ..Spec::DEFAULT
};

fn getbit(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = offset_arg(ctx, args.bytes(2))?;
    let key = ctx.key(args, 1);
    let found = ctx.server.string(ctx.client.dbid, key, Access::Read)?;
    let bit = found.is_some_and(|entry| with_bytes(entry, |bytes| bits::get(bytes, offset)));
    ctx.client.reply.int(i64::from(bit));
    Ok(())
}

pub const SETBIT: Spec = Spec {
    name: "setbit",
    arity: 4,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    since: "2.2.0",
    summary: "Sets or clears a bit of a string and returns what it was.",
    complexity: Some("O(1)"),
    key_specs: UPDATES_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("offset", ArgKind::Integer),
        Arg::new("value", ArgKind::Integer),
    ],
    handler: setbit,
    ..Spec::DEFAULT
};

fn setbit(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let offset = offset_arg(ctx, args.bytes(2))?;
    let bit = parse_i64(args.bytes(3)).filter(|bit| matches!(bit, 0 | 1));
    let bit = bit.ok_or(CommandError::text(
        "ERR bit is not an integer or out of range",
    ))?;
    let key = ctx.key(args, 1);
    let mut old = 0;
    let grown = edit(ctx, key, offset, |bytes| {
        old = bits::get_field(bytes, offset, 1) as i64;
        bits::set_field(bytes, offset, 1, bit as u64);
    })?;
    if grown || old != bit {
        ctx.touch(key.bytes, Event::string("setbit"));
    }
    ctx.client.reply.int(old);
    Ok(())
}

/// Lets `f` change the bits of the string at `key`, which is made or grown to hold the bit `last`; says whether
/// that was needed.
fn edit(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    last: u64,
    f: impl FnOnce(&mut [u8]),
) -> Result<bool, CommandError> {
    let len = usize::try_from(last / 8 + 1).map_err(|_| bad_offset())?;
    let Some(entry) = ctx.server.string(ctx.client.dbid, key, Access::Write)? else {
        let mut bytes = vec![0; len];
        f(&mut bytes);
        store_raw(ctx, key, bytes);
        return Ok(true);
    };
    let grows = entry.str_len() < len;
    if grows {
        entry.modify(|bytes| {
            bytes.resize(len, 0);
            f(bytes);
        });
    } else if let Some(bytes) = entry.bytes_mut() {
        f(bytes);
    }
    Ok(grows)
}

/// A bit's place: not negative, and within the longest string.
fn offset_arg(ctx: &Ctx<'_>, text: &[u8]) -> Result<u64, CommandError> {
    let offset = parse_i64(text).ok_or_else(bad_offset)?;
    check_offset(ctx, offset)
}

fn check_offset(ctx: &Ctx<'_>, offset: i64) -> Result<u64, CommandError> {
    let offset = u64::try_from(offset).map_err(|_| bad_offset())?;
    if offset / 8 >= max_len(ctx) as u64 {
        return Err(bad_offset());
    }
    Ok(offset)
}

fn bad_offset() -> CommandError {
    CommandError::text("ERR bit offset is not an integer or out of range")
}

type Clamp = fn(i64, i64, usize) -> Option<(usize, usize)>;

/// A range argument: two ends, and whether they count bits.
struct Span {
    start: i64,
    end: i64,
    in_bits: bool,
}

impl Span {
    /// The first and last bit of `bytes` that is meant, when `clamp` says how far the ends reach.
    fn bits_of(&self, bytes: &[u8], clamp: Clamp) -> Option<(usize, usize)> {
        if self.in_bits {
            return clamp(self.start, self.end, bytes.len() * 8);
        }
        let (first, last) = clamp(self.start, self.end, bytes.len())?;
        Some((first * 8, last * 8 + 7))
    }
}

/// Whether the unit at argument `index`, if there is one, is the bit.
fn unit_arg(args: Args<'_>, index: usize) -> Result<bool, CommandError> {
    if index >= args.len() || args.is(index, "BYTE") {
        Ok(false)
    } else if args.is(index, "BIT") {
        Ok(true)
    } else {
        Err(CommandError::Syntax)
    }
}

pub const BITCOUNT: Spec = Spec {
    name: "bitcount",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    since: "2.6.0",
    summary: "Counts the bits that are set in a string or a part of it.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "range",
            &[
                Arg::new("start", ArgKind::Integer),
                Arg::new("end", ArgKind::Integer),
                Arg::one_of(
                    "unit",
                    &[Arg::word("byte", "BYTE"), Arg::word("bit", "BIT")],
                )
                .since("7.0.0")
                .optional(),
            ],
        )
        .optional(),
    ],
    history: &[("7.0.0", &["BYTE|BIT"])],
    handler: bitcount,
    ..Spec::DEFAULT
};

fn bitcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let span = match args.len() {
        2 => None,
        4 | 5 => Some(Span {
            start: int_arg(args, 2)?,
            end: int_arg(args, 3)?,
            in_bits: unit_arg(args, 4)?,
        }),
        _ => return Err(CommandError::Syntax),
    };
    let key = ctx.key(args, 1);
    let found = ctx.server.string(ctx.client.dbid, key, Access::Read)?;
    let count = found.map_or(0, |entry| {
        with_bytes(entry, |bytes| match span {
            None => bits::count_ones(bytes),
            Some(span) => span.bits_of(bytes, clamp_range).map_or(0, |(first, last)| {
                bits::count_ones_between(bytes, first, last)
            }),
        })
    });
    ctx.client.reply.int(count as i64);
    Ok(())
}

pub const BITPOS: Spec = Spec {
    name: "bitpos",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    since: "2.8.7",
    summary: "Finds the first bit that is set, or the first that is not.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("bit", ArgKind::Integer),
        Arg::block(
            "range",
            &[
                Arg::new("start", ArgKind::Integer),
                Arg::block(
                    "end-unit-block",
                    &[
                        Arg::new("end", ArgKind::Integer),
                        Arg::one_of(
                            "unit",
                            &[Arg::word("byte", "BYTE"), Arg::word("bit", "BIT")],
                        )
                        .since("7.0.0")
                        .optional(),
                    ],
                )
                .optional(),
            ],
        )
        .optional(),
    ],
    history: &[("7.0.0", &["BYTE|BIT"])],
    handler: bitpos,
    ..Spec::DEFAULT
};

fn bitpos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted = match int_arg(args, 2)? {
        0 => false,
        1 => true,
        _ => return Err(CommandError::text("ERR The bit argument must be 1 or 0.")),
    };
    if args.len() > 6 {
        return Err(CommandError::Syntax);
    }
    let has_end = args.len() > 4;
    let start = if args.len() > 3 { int_arg(args, 3)? } else { 0 };
    let in_bits = unit_arg(args, 5)?;
    let end = if has_end { int_arg(args, 4)? } else { -1 };
    let span = Span {
        start,
        end,
        in_bits,
    };
    let key = ctx.key(args, 1);
    let pos = match ctx.server.string(ctx.client.dbid, key, Access::Read)? {
        None if wanted => None,
        None => Some(0),
        Some(entry) => with_bytes(entry, |bytes| {
            let (first, last) = span.bits_of(bytes, clamp_ends)?;
            let found = bits::find(bytes, wanted, first, last);
            // Without an end, zeros are thought to follow the string.
            found.or((!wanted && !has_end).then_some(bytes.len() * 8))
        }),
    };
    match pos {
        Some(pos) => ctx.client.reply.len(pos),
        None => ctx.client.reply.int(-1),
    }
    Ok(())
}

pub const BITOP: Spec = Spec {
    name: "bitop",
    arity: -4,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::BITMAP,
    group: Group::Bitmap,
    since: "2.6.0",
    summary: "Combines the bits of several strings and stores the result.",
    complexity: Some("O(N)"),
    key_specs: &[
        KeySpec::at(2, KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::range(3, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[
        Arg::one_of(
            "operation",
            &[
                Arg::word("and", "AND"),
                Arg::word("or", "OR"),
                Arg::word("xor", "XOR"),
                Arg::word("not", "NOT"),
                Arg::word("diff", "DIFF"),
                Arg::word("diff1", "DIFF1"),
                Arg::word("andor", "ANDOR"),
                Arg::word("one", "ONE"),
            ],
        ),
        Arg::key("destkey", 0),
        Arg::key("key", 1).multiple(),
    ],
    handler: bitop,
    ..Spec::DEFAULT
};

fn bitop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (name, operation) = OPERATIONS
        .iter()
        .find(|(name, _)| args.is(1, name))
        .ok_or(CommandError::Syntax)?;
    let operands = args.len() - 3;
    match operation {
        Operation::Not if operands != 1 => {
            return Err(CommandError::text(
                "ERR BITOP NOT must be called with a single source key.",
            ));
        }
        Operation::Diff | Operation::Diff1 | Operation::AndOr if operands < 2 => {
            return Err(CommandError::text(format!(
                "ERR BITOP {name} must be called with at least two source keys."
            )));
        }
        _ => {}
    }
    let result = combine(ctx, args, *operation)?;
    let key = ctx.key(args, 2);
    let len = result.len();
    let existed = ctx.lookup(key, Access::Write).is_some();
    if len > 0 {
        store_raw(ctx, key, result);
        ctx.touch(key.bytes, Event::string("set"));
    } else if existed {
        ctx.server.delete(ctx.client.dbid, key);
        ctx.touch(key.bytes, Event::generic("del"));
    }
    ctx.client.reply.len(len);
    Ok(())
}

const OPERATIONS: [(&str, Operation); 8] = [
    ("AND", Operation::And),
    ("OR", Operation::Or),
    ("XOR", Operation::Xor),
    ("NOT", Operation::Not),
    ("DIFF", Operation::Diff),
    ("DIFF1", Operation::Diff1),
    ("ANDOR", Operation::AndOr),
    ("ONE", Operation::One),
];

/// The operation over the strings from argument 3 on; a key that is not there stands for an empty string.
fn combine(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    operation: Operation,
) -> Result<Vec<u8>, CommandError> {
    let dbid = ctx.client.dbid;
    let keys: Vec<Key<'_>> = (3..args.len()).map(|index| ctx.key(args, index)).collect();
    for key in &keys {
        // Removes what has expired and counts; the strings are borrowed together below.
        ctx.server.string(dbid, *key, Access::Read)?;
    }
    let mut digits = vec![itoa::Buffer::new(); keys.len()];
    let db = ctx.server.db(dbid);
    let sources: Vec<&[u8]> = keys
        .iter()
        .zip(&mut digits)
        .map(
            |(key, digits)| match db.get(key.hash, key.bytes).map(Entry::value) {
                Some(ValueRef::Int(value)) => digits.format(value).as_bytes(),
                Some(ValueRef::Str(bytes)) => bytes,
                _ => &[],
            },
        )
        .collect();
    Ok(operation.over(&sources))
}
