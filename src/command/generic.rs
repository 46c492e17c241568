//! Generic commands: what can be done with a key whatever it holds.

use crate::command::ctx::{db_arg, int_arg, timeout_ms_arg};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, ValueRef};
use crate::keyspace::usage::Usage;
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    DEL, UNLINK, EXISTS, TOUCH, TYPE, RENAME, RENAMENX, COPY, MOVE, OBJECT, WAIT,
];

/// Keys of one command that are fetched ahead together: about as many misses as a core can have under way.
const PREFETCH_KEYS: usize = 16;

/// Integers below this are one shared object in the real server, which shows in their reference count.
const SHARED_INTS: i64 = 10_000;

/// Calls `f` for every argument from the first on, all of which are keys.
fn each_key<'b>(
    ctx: &mut Ctx<'_>,
    args: Args<'b>,
    mut f: impl FnMut(&mut Ctx<'_>, Key<'b>) -> bool,
) -> i64 {
    if args.len() == 2 {
        let key = ctx.key(args, 1);
        return i64::from(f(ctx, key));
    }
    let mut hits = 0;
    for first in (1..args.len()).step_by(PREFETCH_KEYS) {
        let mut keys = [Key {
            bytes: b"",
            hash: 0,
        }; PREFETCH_KEYS];
        let len = PREFETCH_KEYS.min(args.len() - first);
        let keys = &mut keys[..len];
        let dbid = ctx.client.dbid;
        for (key, index) in keys.iter_mut().zip(first..) {
            *key = ctx.key(args, index);
            ctx.server.db(dbid).table.prefetch_bucket(key.hash);
        }
        for key in &*keys {
            ctx.server.db(dbid).table.prefetch_element(key.hash);
        }
        for key in &*keys {
            hits += i64::from(f(ctx, *key));
        }
    }
    hits
}

pub const DEL: Spec = Spec {
    name: "del",
    arity: -2,
    flags: Flags::WRITE,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Removes keys with whatever they hold.",
    complexity: Some("O(N) or O(M) or O(1)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RM.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    handler: del,
    ..Spec::DEFAULT
};

/// `DEL key [key ...]`
fn del(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(ctx, args, ctx.server.config.lazyfree_lazy_user_del)
}

fn remove(ctx: &mut Ctx<'_>, args: Args<'_>, lazily: bool) -> Result<(), CommandError> {
    let deleted = each_key(ctx, args, |ctx, key| {
        let was_there = ctx.server.delete_live(ctx.client.dbid, key, lazily);
        if was_there {
            ctx.touch(key.bytes, Event::generic("del"));
        }
        was_there
    });
    ctx.client.reply.int(deleted);
    Ok(())
}

pub const UNLINK: Spec = Spec {
    name: "unlink",
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "4.0.0",
    summary: "Removes keys; large values are given back to memory a piece at a time, later.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RM.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    handler: unlink,
    ..Spec::DEFAULT
};

/// `UNLINK key [key ...]`
fn unlink(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    remove(ctx, args, true)
}

pub const EXISTS: Spec = Spec {
    name: "exists",
    arity: -2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Counts how many of the keys exist.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RO)],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    history: &[("3.0.3", &["key"])],
    handler: exists,
    ..Spec::DEFAULT
};

/// `EXISTS key [key ...]`: a key named twice counts twice.
fn exists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let found = each_key(ctx, args, |ctx, key| {
        ctx.lookup(key, Access::ReadNoTouch).is_some()
    });
    ctx.client.reply.int(found);
    Ok(())
}

pub const TOUCH: Spec = Spec {
    name: "touch",
    arity: -2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "3.2.1",
    summary: "Marks keys as used and counts those that exist.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RO)],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["request_policy:multi_shard", "response_policy:agg_sum"],
    handler: touch,
    ..Spec::DEFAULT
};

/// `TOUCH key [key ...]`
fn touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    // This is what the command is for, so CLIENT NO-TOUCH does not hold here.
    ctx.server.no_touch = false;
    let found = each_key(ctx, args, |ctx, key| {
        ctx.lookup(key, Access::Read).is_some()
    });
    ctx.client.reply.int(found);
    Ok(())
}

pub const TYPE: Spec = Spec {
    name: "type",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Tells the type of the value at a key.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: type_of,
    ..Spec::DEFAULT
};

/// `TYPE key`
fn type_of(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let kind = ctx
        .lookup(key, Access::ReadNoTouch)
        .map(|entry| entry.kind());
    ctx.client
        .reply
        .simple(kind.map_or("none", |kind| kind.name()));
    Ok(())
}

pub const RENAME: Spec = Spec {
    name: "rename",
    arity: 3,
    flags: Flags::WRITE,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Gives a key another name, over whatever had it.",
    complexity: Some("O(1)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2, KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    args: &[Arg::key("key", 0), Arg::key("newkey", 1)],
    handler: rename,
    ..Spec::DEFAULT
};

/// `RENAME key newkey`
fn rename(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    rename_key(ctx, args, true)?;
    ctx.client.reply.ok();
    Ok(())
}

pub const RENAMENX: Spec = Spec {
    name: "renamenx",
    arity: 3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Gives a key another name if nothing has it.",
    complexity: Some("O(1)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2, KeyFlags::OW.or(KeyFlags::INSERT)),
    ],
    args: &[Arg::key("key", 0), Arg::key("newkey", 1)],
    history: &[("3.2.0", &[])],
    handler: renamenx,
    ..Spec::DEFAULT
};

/// `RENAMENX key newkey`
fn renamenx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let renamed = rename_key(ctx, args, false)?;
    ctx.client.reply.int(i64::from(renamed));
    Ok(())
}

/// Says whether the key has another name now.
fn rename_key(ctx: &mut Ctx<'_>, args: Args<'_>, overwrite: bool) -> Result<bool, CommandError> {
    let (from, to) = (ctx.key(args, 1), ctx.key(args, 2));
    let dbid = ctx.client.dbid;
    if ctx.lookup(from, Access::Write).is_none() {
        return Err(CommandError::NoSuchKey);
    }
    if from.bytes == to.bytes {
        return Ok(false);
    }
    let replaced = ctx.lookup(to, Access::Write).map(|entry| entry.kind());
    if replaced.is_some() {
        if !overwrite {
            return Ok(false);
        }
        ctx.server.delete(dbid, to);
    }
    let Some(entry) = ctx.server.take(dbid, from) else {
        return Err(CommandError::NoSuchKey);
    };
    let kind = entry.kind();
    ctx.server.insert(dbid, to, entry.rename(to.bytes));
    ctx.touch(from.bytes, Event::generic("rename_from"));
    ctx.server
        .touch_also(dbid, to.bytes, Event::generic("rename_to"));
    if let Some(before) = replaced {
        ctx.server.announce_replaced(dbid, to.bytes, before, kind);
    }
    Ok(true)
}

pub const COPY: Spec = Spec {
    name: "copy",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "6.2.0",
    summary: "Copies a value to another key.",
    complexity: Some("O(N) or O(1)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS)),
        KeySpec::at(2, KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    args: &[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        Arg::new("destination-db", ArgKind::Integer)
            .token("DB")
            .optional(),
        Arg::word("replace", "REPLACE").optional(),
    ],
    handler: copy,
    ..Spec::DEFAULT
};

/// `COPY source destination [DB destination-db] [REPLACE]`
fn copy(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut to_db, mut replace, mut index) = (ctx.client.dbid, false, 3);
    while index < args.len() {
        if args.is(index, "REPLACE") {
            replace = true;
        } else if args.is(index, "DB") && index + 1 < args.len() {
            index += 1;
            to_db = db_arg(ctx, args, index)?;
        } else {
            return Err(CommandError::Syntax);
        }
        index += 1;
    }
    if to_db != ctx.client.dbid {
        ctx.server.note_incompatible();
    }
    let (from, to) = (ctx.key(args, 1), ctx.key(args, 2));
    if to_db == ctx.client.dbid && from.bytes == to.bytes {
        return Err(CommandError::SameObject);
    }
    let clock = ctx.server.usage.fresh();
    let Some(mut entry) = ctx
        .lookup(from, Access::Read)
        .map(|entry| entry.duplicate(to.bytes))
    else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    entry.set_lru(clock);
    let replaced = ctx.server.lookup(to_db, to, Access::Write);
    let replaced = replaced.map(|entry| entry.kind());
    if replaced.is_some() {
        if !replace {
            ctx.client.reply.int(0);
            return Ok(());
        }
        ctx.server.delete(to_db, to);
    }
    let kind = entry.kind();
    ctx.server.insert(to_db, to, entry);
    ctx.server.touch(to_db, to.bytes, Event::generic("copy_to"));
    if let Some(before) = replaced {
        ctx.server.announce_replaced(to_db, to.bytes, before, kind);
    }
    ctx.client.reply.int(1);
    Ok(())
}

pub const MOVE: Spec = Spec {
    name: "move",
    arity: 3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Takes a key to another database.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
    )],
    args: &[Arg::key("key", 0), Arg::new("db", ArgKind::Integer)],
    handler: move_key,
    ..Spec::DEFAULT
};

/// `MOVE key db`
fn move_key(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let to_db = db_arg(ctx, args, 2)?;
    let from_db = ctx.client.dbid;
    if to_db == from_db {
        return Err(CommandError::SameObject);
    }
    ctx.server.note_incompatible();
    let key = ctx.key(args, 1);
    let is_free = ctx.lookup(key, Access::Write).is_some()
        && ctx.server.lookup(to_db, key, Access::Write).is_none();
    if is_free && let Some(entry) = ctx.server.take(from_db, key) {
        ctx.server.insert(to_db, key, entry);
        ctx.touch(key.bytes, Event::generic("move_from"));
        ctx.server
            .touch_also(to_db, key.bytes, Event::generic("move_to"));
    }
    ctx.client.reply.int(i64::from(is_free));
    Ok(())
}

pub const OBJECT: Spec = Spec {
    name: "object",
    arity: -2,
    group: Group::Generic,
    since: "2.2.3",
    summary: "A container for commands about how values are kept.",
    help: &[
        "ENCODING <key>",
        "FREQ <key>",
        "IDLETIME <key>",
        "REFCOUNT <key>",
    ],
    subcommands: &[
        OBJECT_ENCODING,
        OBJECT_FREQ,
        OBJECT_HELP,
        OBJECT_IDLETIME,
        OBJECT_REFCOUNT,
    ],
    ..Spec::DEFAULT
};

pub const OBJECT_ENCODING: Spec = Spec {
    name: "encoding",
    arity: 3,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.2.3",
    summary: "Tells how the value at a key is kept.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output"],
    handler: object_encoding,
    ..Spec::DEFAULT
};

/// `OBJECT ENCODING key`
fn object_encoding(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 2);
    match ctx.lookup(key, Access::Inspect).map(|e| e.encoding()) {
        Some(encoding) => ctx.client.reply.text(encoding.name()),
        None => ctx.client.reply.null(),
    }
    Ok(())
}

pub const OBJECT_REFCOUNT: Spec = Spec {
    name: "refcount",
    arity: 3,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.2.3",
    summary: "Tells how many references there are to a value.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output"],
    handler: object_refcount,
    ..Spec::DEFAULT
};

/// `OBJECT REFCOUNT key`
fn object_refcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 2);
    let shares = ctx.server.shares_values();
    match ctx
        .lookup(key, Access::Inspect)
        .map(|e| refcount(e, shares))
    {
        Some(count) => ctx.client.reply.int(count),
        None => ctx.client.reply.null(),
    }
    Ok(())
}

/// The count that the real server shows for such a value; `shares` says whether it would share small integers.
pub fn refcount(entry: &Entry, shares: bool) -> i64 {
    match entry.value() {
        ValueRef::Int(0..SHARED_INTS) if shares => i32::MAX.into(),
        _ => 1,
    }
}

pub const OBJECT_IDLETIME: Spec = Spec {
    name: "idletime",
    arity: 3,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.2.3",
    summary: "Tells for how many seconds a key was not used.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output"],
    handler: object_idletime,
    ..Spec::DEFAULT
};

/// `OBJECT IDLETIME key`
fn object_idletime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 2);
    let clock = ctx.server.usage;
    match ctx.lookup(key, Access::Inspect).map(|e| e.lru()) {
        None => ctx.client.reply.null(),
        Some(_) if is_lfu(ctx) => return Err(wrong_policy("is selected, idle time")),
        Some(used) => ctx.client.reply.int(clock.idle_secs(used).into()),
    }
    Ok(())
}

pub const OBJECT_FREQ: Spec = Spec {
    name: "freq",
    arity: 3,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "4.0.0",
    summary: "Tells how often a key is used, on a logarithmic scale.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output"],
    handler: object_freq,
    ..Spec::DEFAULT
};

/// `OBJECT FREQ key`
fn object_freq(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 2);
    let clock = ctx.server.usage;
    let used = ctx.lookup(key, Access::Inspect).map(|e| e.lru());
    match used {
        None => ctx.client.reply.null(),
        Some(used) if is_lfu(ctx) => ctx.client.reply.int(clock.count(used).into()),
        Some(_) => return Err(wrong_policy("is not selected, access frequency")),
    }
    Ok(())
}

/// Whether entries count how often they are used, not when.
pub fn is_lfu(ctx: &Ctx<'_>) -> bool {
    ctx.server.usage.usage == Usage::Frequency
}

fn wrong_policy(what: &str) -> CommandError {
    CommandError::text(format!(
        "ERR An LFU maxmemory policy {what} not tracked. Please note that when switching between \
         policies at runtime LRU and LFU data will take some time to adjust."
    ))
}

pub const OBJECT_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "6.2.0",
    summary: "Explains the subcommands.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const WAIT: Spec = Spec {
    name: "wait",
    arity: 3,
    flags: Flags::BLOCKING,
    acl: Categories::CONNECTION,
    group: Group::Generic,
    since: "3.0.0",
    summary: "Waits until replicas have received this client's writes.",
    complexity: Some("O(1)"),
    args: &[
        Arg::new("numreplicas", ArgKind::Integer),
        Arg::new("timeout", ArgKind::Integer),
    ],
    tips: &["request_policy:all_shards", "response_policy:agg_min"],
    handler: wait,
    ..Spec::DEFAULT
};

/// `WAIT numreplicas timeout`: there are no replicas that an answer could come from.
fn wait(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    int_arg(args, 1)?;
    timeout_ms_arg(ctx, args, 2)?;
    ctx.client.reply.int(0);
    Ok(())
}
