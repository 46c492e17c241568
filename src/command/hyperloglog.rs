//! HyperLogLog commands: estimates of how many distinct elements were added.
//!
//! A HyperLogLog is a string that GET and SET see as it is (`types::hyperloglog`), so every command checks it again.

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::string::with_bytes;
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, ValueRef};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key, NewValue};
use crate::types::hyperloglog::{self as hll, Corrupt, REGISTERS};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[PFADD, PFCOUNT, PFMERGE, PFDEBUG, PFSELFTEST];

/// The registers contradict the header.
impl From<Corrupt> for CommandError {
    fn from(_: Corrupt) -> CommandError {
        CommandError::text("INVALIDOBJ Corrupted HLL object detected")
    }
}

/// The entry of a key that holds a HyperLogLog if it is there.
fn lookup<'c>(
    ctx: &'c mut Ctx<'_>,
    key: Key<'_>,
    access: Access,
) -> Result<Option<&'c mut Entry>, CommandError> {
    let Some(entry) = ctx.server.string(ctx.client.dbid, key, access)? else {
        return Ok(None);
    };
    let is_valid = matches!(entry.value(), ValueRef::Str(bytes) if hll::is_valid(bytes));
    is_valid.then_some(Some(entry)).ok_or(CommandError::text(
        "WRONGTYPE Key is not a valid HyperLogLog string value.",
    ))
}

/// The same, with an empty one given to a key that is not there; says whether that was so.
fn lookup_or_insert<'c>(
    ctx: &'c mut Ctx<'_>,
    key: Key<'_>,
) -> Result<(&'c mut Entry, bool), CommandError> {
    let is_new = lookup(ctx, key, Access::Write)?.is_none();
    if is_new {
        let (dbid, empty) = (ctx.client.dbid, hll::new());
        ctx.server.store(dbid, key, NewValue::Str(&empty), None);
    }
    match lookup(ctx, key, Access::Peek)? {
        Some(entry) => {
            entry.mark_raw();
            Ok((entry, is_new))
        }
        None => Err(CommandError::NoSuchKey),
    }
}

/// Edits a HyperLogLog.
fn modify<R>(
    entry: &mut Entry,
    f: impl FnOnce(&mut Vec<u8>) -> Result<R, Corrupt>,
) -> Result<R, CommandError> {
    let result = entry.modify(f).ok_or(CommandError::WrongType)?;
    Ok(result?)
}

/// Size up to which a HyperLogLog stays sparse.
fn sparse_len_max(ctx: &Ctx<'_>) -> usize {
    usize::try_from(ctx.server.config.hll_sparse_max_bytes).unwrap_or(usize::MAX)
}

pub const PFADD: Spec = Spec {
    name: "pfadd",
    arity: -2,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Categories::HYPERLOGLOG,
    group: Group::HyperLogLog,
    since: "2.8.9",
    summary: "Adds elements to a HyperLogLog, which is created if its key does not exist.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[
        Arg::key("key", 0),
        Arg::new("element", ArgKind::String).optional().multiple(),
    ],
    handler: pfadd,
    ..Spec::DEFAULT
};

/// `PFADD key [element ...]`: 1 if the estimate may have changed.
fn pfadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let limit = sparse_len_max(ctx);
    let (entry, is_new) = lookup_or_insert(ctx, key)?;
    let mut changes = u64::from(is_new);
    if is_new || args.len() > 2 {
        changes += add_all(entry, args, limit)?;
    }
    if changes > 0 {
        if let Some(value) = entry.bytes_mut() {
            hll::mark_stale(value);
        }
        ctx.touch(key.bytes, Event::string("pfadd"));
        // Every change of a register counts.
        ctx.server.effects.dirty += changes - 1;
    }
    ctx.client.reply.int(i64::from(changes > 0));
    Ok(())
}

/// Adds the elements from argument 2 on; says how many of them changed a register.
fn add_all(entry: &mut Entry, args: Args<'_>, limit: usize) -> Result<u64, CommandError> {
    let is_dense = matches!(entry.value(), ValueRef::Str(bytes) if !hll::is_sparse(bytes));
    if is_dense && let Some(value) = entry.bytes_mut() {
        // Its length will not change, so neither does its block.
        let added = args.iter_from(2);
        return Ok(added
            .map(|element| u64::from(hll::add_dense(value, element)))
            .sum());
    }
    modify(entry, |value| {
        let mut changes = 0;
        for element in args.iter_from(2) {
            changes += u64::from(hll::add(value, element, limit)?);
        }
        Ok(changes)
    })
}

pub const PFCOUNT: Spec = Spec {
    name: "pfcount",
    arity: -2,
    flags: Flags::READONLY.or(Flags::MAY_REPLICATE),
    acl: Categories::HYPERLOGLOG,
    group: Group::HyperLogLog,
    since: "2.8.9",
    summary: "Estimates how many distinct elements were added to HyperLogLogs.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RW.or(KeyFlags::ACCESS))],
    key_notes: &[(
        0,
        "A write, as the estimate is kept in the key and goes to replicas with it.",
    )],
    args: &[Arg::key("key", 0).multiple()],
    handler: pfcount,
    ..Spec::DEFAULT
};

/// `PFCOUNT key [key ...]`: of several keys, the estimate of their union.
fn pfcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let estimate = if args.len() == 2 {
        let key = ctx.key(args, 1);
        let dirty_before = ctx.server.effects.dirty;
        let estimate = estimate_one(ctx, key)?;
        // It is no command that writes, but now it has.
        if ctx.server.effects.dirty != dirty_before {
            ctx.propagate_always(args);
        }
        estimate
    } else {
        let mut union = Union::new();
        for index in 1..args.len() {
            let key = ctx.key(args, index);
            union.add(ctx, key)?;
        }
        hll::estimate_registers(&union.registers)
    };
    ctx.client.reply.int(estimate.cast_signed());
    Ok(())
}

/// The estimate of one key, which is kept in its value until registers change.
fn estimate_one(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<u64, CommandError> {
    let Some(entry) = lookup(ctx, key, Access::ReadWrite)? else {
        return Ok(0);
    };
    entry.mark_raw();
    if let Some(stored) = with_bytes(entry, hll::stored_estimate) {
        return Ok(stored);
    }
    let estimate = with_bytes(entry, hll::estimate)?;
    if let Some(value) = entry.bytes_mut() {
        hll::store_estimate(value, estimate);
    }
    ctx.server.touch_silently(ctx.client.dbid, key.bytes);
    Ok(estimate)
}

/// The registers of several HyperLogLogs, each the highest of its place.
struct Union {
    registers: Box<hll::Registers>,
    /// Whether one of them was dense.
    is_dense: bool,
}

impl Union {
    fn new() -> Union {
        Union {
            registers: Box::new([0; REGISTERS]),
            is_dense: false,
        }
    }

    /// Takes in what `key` holds, if it is there.
    fn add(&mut self, ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<(), CommandError> {
        if let Some(entry) = lookup(ctx, key, Access::Read)? {
            with_bytes(entry, |value| {
                self.is_dense |= !hll::is_sparse(value);
                hll::merge(&mut self.registers, value)
            })?;
        }
        Ok(())
    }
}

pub const PFMERGE: Spec = Spec {
    name: "pfmerge",
    arity: -2,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::HYPERLOGLOG,
    group: Group::HyperLogLog,
    since: "2.8.9",
    summary: "Adds HyperLogLogs to another, as if all their elements had been added to it.",
    complexity: Some("O(N)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::INSERT)),
        KeySpec::range(2, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[
        Arg::key("destkey", 0),
        Arg::key("sourcekey", 1).optional().multiple(),
    ],
    handler: pfmerge,
    ..Spec::DEFAULT
};

/// `PFMERGE destkey [sourcekey ...]`
fn pfmerge(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut union = Union::new();
    for index in 1..args.len() {
        let key = ctx.key(args, index);
        union.add(ctx, key)?;
    }
    let key = ctx.key(args, 1);
    let limit = sparse_len_max(ctx);
    let (entry, _) = lookup_or_insert(ctx, key)?;
    modify(entry, |value| {
        if union.is_dense {
            hll::to_dense(value)?;
        }
        hll::absorb(value, &union.registers, limit)?;
        hll::mark_stale(value);
        Ok(())
    })?;
    ctx.touch(key.bytes, Event::string("pfadd"));
    ctx.client.reply.ok();
    Ok(())
}

pub const PFDEBUG: Spec = Spec {
    name: "pfdebug",
    arity: 3,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::ADMIN),
    acl: Categories::HYPERLOGLOG,
    group: Group::HyperLogLog,
    since: "2.8.9",
    summary: "Shows the inside of a HyperLogLog.",
    key_specs: &[KeySpec::at(2, KeyFlags::RW.or(KeyFlags::ACCESS))],
    args: &[Arg::new("subcommand", ArgKind::String), Arg::key("key", 0)],
    syscmd: true,
    handler: pfdebug,
    ..Spec::DEFAULT
};

/// `PFDEBUG <GETREG | DECODE | ENCODING | TODENSE> key`, and `PFDEBUG SIMD <ON | OFF>`.
fn pfdebug(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.is(1, "SIMD") {
        return simd(ctx, args);
    }
    let key = ctx.key(args, 2);
    let Some(entry) = lookup(ctx, key, Access::Write)? else {
        return Err(CommandError::text("ERR The specified key does not exist"));
    };
    entry.mark_raw();
    let was_sparse = with_bytes(entry, hll::is_sparse);
    if args.is(1, "GETREG") {
        modify(entry, hll::to_dense)?;
        let registers = with_bytes(entry, hll::registers)?;
        ctx.server.effects.dirty += u64::from(was_sparse);
        ctx.client.reply.array(REGISTERS);
        for register in *registers {
            ctx.client.reply.int(register.into());
        }
    } else if args.is(1, "DECODE") {
        if !was_sparse {
            return Err(CommandError::text("ERR HLL encoding is not sparse"));
        }
        let words = with_bytes(entry, hll::describe);
        ctx.client.reply.text(&words);
    } else if args.is(1, "ENCODING") {
        let name = if was_sparse { "sparse" } else { "dense" };
        ctx.client.reply.simple(name);
    } else if args.is(1, "TODENSE") {
        modify(entry, hll::to_dense)?;
        ctx.server.effects.dirty += u64::from(was_sparse);
        ctx.client.reply.int(was_sparse.into());
    } else {
        let name = args.bytes(1);
        return Err(CommandError::quoting(
            "ERR Unknown PFDEBUG subcommand '",
            name,
            "'",
        ));
    }
    Ok(())
}

/// Which instructions the real server merges registers with; here the compiler chooses, so nothing is switched.
fn simd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let word = if args.is(2, "ON") {
        "enabled"
    } else if args.is(2, "OFF") {
        "disabled"
    } else {
        return Err(CommandError::text("ERR Argument must be ON or OFF"));
    };
    ctx.client.reply.simple(word);
    Ok(())
}

pub const PFSELFTEST: Spec = Spec {
    name: "pfselftest",
    arity: 1,
    flags: Flags::ADMIN,
    acl: Categories::HYPERLOGLOG,
    group: Group::HyperLogLog,
    since: "2.8.9",
    summary: "Tests registers and estimates of HyperLogLogs.",
    syscmd: true,
    handler: pfselftest,
    ..Spec::DEFAULT
};

/// `PFSELFTEST`
fn pfselftest(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    hll::self_test().map_err(CommandError::text)?;
    ctx.client.reply.ok();
    Ok(())
}
