//! List commands: what is added, read, changed and removed by its place in one list.
//!
//! Lives here: the commands on one list, and what the family shares. May not: pop from several lists or wait for one
//! (`pops`), move elements between lists (`moves`), look for elements (`search`), choose encodings
//! (`keyspace::object::list`).

pub mod moves;
pub mod pops;
pub mod search;

use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, SHARED_MIN};
use crate::keyspace::object::list::Limits;
use crate::keyspace::object::{List, Object};
use crate::resp::writer::SHARE_MIN;
use crate::resp::{Args, Reply};
use crate::state::Server;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::quicklist::{Element, End, Needle, NewElement};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    LINDEX, LINSERT, LLEN, LPOP, LPUSH, LPUSHX, LRANGE, LREM, LSET, LTRIM, RPOP, RPUSH, RPUSHX,
];

const WRITE: Flags = Flags::WRITE.or(Flags::DENYOOM);
const WRITE_FAST: Flags = WRITE.or(Flags::FAST);
/// Keys that elements are taken from.
const POPPED: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);
const READS_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))];
const INSERTS_INTO_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::INSERT))];
const REMOVES_FROM_KEY: &[KeySpec] = &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))];

const PUSH_ARGS: &[Arg] = &[
    Arg::key("key", 0),
    Arg::new("element", ArgKind::String).multiple(),
];
const POP_ARGS: &[Arg] = &[
    Arg::key("key", 0),
    Arg::new("count", ArgKind::Integer)
        .since("6.2.0")
        .optional(),
];
const RANGE_ARGS: &[Arg] = &[
    Arg::key("key", 0),
    Arg::new("start", ArgKind::Integer),
    Arg::new("stop", ArgKind::Integer),
];

pub const LPUSH: Spec = Spec {
    name: "lpush",
    arity: -3,
    flags: WRITE_FAST,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Adds elements at the head of a list, which is created if need be.",
    complexity: Some("O(1) or O(N)"),
    key_specs: INSERTS_INTO_KEY,
    args: PUSH_ARGS,
    history: &[("2.4.0", &["element"])],
    handler: lpush,
    ..Spec::DEFAULT
};

/// `LPUSH key element [element ...]`.
fn lpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Head, true)
}

pub const RPUSH: Spec = Spec {
    name: "rpush",
    arity: -3,
    flags: WRITE_FAST,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Adds elements at the tail of a list, which is created if need be.",
    complexity: Some("O(1) or O(N)"),
    key_specs: INSERTS_INTO_KEY,
    args: PUSH_ARGS,
    history: &[("2.4.0", &["element"])],
    handler: rpush,
    ..Spec::DEFAULT
};

fn rpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Tail, true)
}

pub const LPUSHX: Spec = Spec {
    name: "lpushx",
    arity: -3,
    flags: WRITE_FAST,
    acl: Categories::LIST,
    group: Group::List,
    since: "2.2.0",
    summary: "Adds elements at the head of a list if it exists.",
    complexity: Some("O(1) or O(N)"),
    key_specs: INSERTS_INTO_KEY,
    args: PUSH_ARGS,
    history: &[("4.0.0", &["element"])],
    handler: lpushx,
    ..Spec::DEFAULT
};

fn lpushx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Head, false)
}

pub const RPUSHX: Spec = Spec {
    name: "rpushx",
    arity: -3,
    flags: WRITE_FAST,
    acl: Categories::LIST,
    group: Group::List,
    since: "2.2.0",
    summary: "Adds elements at the tail of a list if it exists.",
    complexity: Some("O(1) or O(N)"),
    key_specs: INSERTS_INTO_KEY,
    args: PUSH_ARGS,
    history: &[("4.0.0", &["element"])],
    handler: rpushx,
    ..Spec::DEFAULT
};

fn rpushx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    push(ctx, args, End::Tail, false)
}

fn push(ctx: &mut Ctx<'_>, args: Args<'_>, end: End, creates: bool) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let limits = limits(ctx.server);
    let added = args.len() - 2;
    let push_all = |list: &mut List| {
        let bytes = args.iter_from(2).map(<[u8]>::len).sum();
        list.grow(&limits, bytes, added);
        for index in 2..args.len() {
            list.push(end, new_element(args, index), &limits);
        }
        list.len()
    };
    let len = match ctx.object::<List>(key, Access::Write)? {
        Some(list) => push_all(list),
        None if creates => {
            let mut list = List::default();
            let len = push_all(&mut list);
            store_new(ctx, key, list);
            len
        }
        None => {
            ctx.client.reply.int(0);
            return Ok(());
        }
    };
    touch(ctx, key, Event::list(push_event(end)), added);
    ctx.client.reply.len(len);
    Ok(())
}

pub const LPOP: Spec = Spec {
    name: "lpop",
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Removes elements from the head of a list and returns them.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, POPPED)],
    args: POP_ARGS,
    history: &[("6.2.0", &["count"])],
    handler: lpop,
    ..Spec::DEFAULT
};

/// `LPOP key [count]`.
fn lpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Head)
}

pub const RPOP: Spec = Spec {
    name: "rpop",
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Removes elements from the tail of a list and returns them.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, POPPED)],
    args: POP_ARGS,
    history: &[("6.2.0", &["count"])],
    handler: rpop,
    ..Spec::DEFAULT
};

fn rpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop(ctx, args, End::Tail)
}

fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    if args.len() > 2 {
        return pop_many(ctx, args, end);
    }
    let key = ctx.key(args, 1);
    let reply = &mut ctx.client.reply;
    let list = ctx
        .server
        .object::<List>(ctx.client.dbid, key, Access::Write)?;
    let popped = list.and_then(|list| list.pop(end, |element| reply_element(reply, element)));
    match popped {
        Some(()) => after_pop(ctx, key, end, 1),
        None => ctx.client.reply.null(),
    }
    Ok(())
}

fn pop_many(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::Arity(ctx.this().spec.name.into()));
    }
    let count = crate::command::ctx::count_arg(args, 2)?;
    let key = ctx.key(args, 1);
    if ctx.object::<List>(key, Access::Write)?.is_none() {
        ctx.client.reply.null_array();
    } else if count == 0 {
        ctx.client.reply.array(0);
    } else {
        pop_range(ctx, key, end, count);
    }
    Ok(())
}

/// Takes up to `count` elements from one end of a list that is there, and replies with them in the order in which
/// they come out. Returns how many those are.
fn pop_range(ctx: &mut Ctx<'_>, key: Key<'_>, end: End, count: usize) -> usize {
    let reply = &mut ctx.client.reply;
    let list = ctx
        .server
        .object::<List>(ctx.client.dbid, key, Access::Peek);
    let Ok(Some(list)) = list else {
        return 0;
    };
    let len = list.len();
    let count = count.min(len);
    reply.array(count);
    match end {
        End::Head => {
            reply_walk(reply, list, 0, End::Tail, count);
            list.remove_range(0, count);
        }
        End::Tail => {
            reply_walk(reply, list, len - 1, End::Head, count);
            list.remove_range(len - count, count);
        }
    }
    after_pop(ctx, key, end, count);
    count
}

/// What follows when elements have been taken from one end of a list.
fn after_pop(ctx: &mut Ctx<'_>, key: Key<'_>, end: End, count: usize) {
    touch(ctx, key, Event::list(pop_event(end)), count);
    settle(ctx, key);
}

pub const LLEN: Spec = Spec {
    name: "llen",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Returns how many elements a list has.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: llen,
    ..Spec::DEFAULT
};

/// `LLEN key`.
fn llen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let list = ctx.object::<List>(key, Access::Read)?;
    let len = list.map_or(0, |list| list.len());
    ctx.client.reply.len(len);
    Ok(())
}

pub const LRANGE: Spec = Spec {
    name: "lrange",
    arity: 4,
    flags: Flags::READONLY,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Returns the elements between two places of a list.",
    complexity: Some("O(S+N)"),
    key_specs: READS_KEY,
    args: RANGE_ARGS,
    handler: lrange,
    ..Spec::DEFAULT
};

/// `LRANGE key start stop`.
fn lrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (int_arg(args, 2)?, int_arg(args, 3)?);
    let key = ctx.key(args, 1);
    let reply = &mut ctx.client.reply;
    let list = ctx
        .server
        .object::<List>(ctx.client.dbid, key, Access::Read)?;
    let Some(list) = list else {
        reply.array(0);
        return Ok(());
    };
    let (from, count) = span(start, stop, list.len());
    reply.array(count);
    if count > 0 {
        reply_walk(reply, list, from, End::Tail, count);
    }
    Ok(())
}

pub const LINDEX: Spec = Spec {
    name: "lindex",
    arity: 3,
    flags: Flags::READONLY,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Returns the element at one place of a list.",
    complexity: Some("O(N) or O(1)"),
    key_specs: READS_KEY,
    args: &[Arg::key("key", 0), Arg::new("index", ArgKind::Integer)],
    handler: lindex,
    ..Spec::DEFAULT
};

/// `LINDEX key index`.
fn lindex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let reply = &mut ctx.client.reply;
    let list = ctx
        .server
        .object::<List>(ctx.client.dbid, key, Access::Read)?;
    let Some(list) = list else {
        reply.null();
        return Ok(());
    };
    match place(int_arg(args, 2)?, list.len()) {
        Some(index) => reply_walk(reply, list, index, End::Tail, 1),
        None => reply.null(),
    }
    Ok(())
}

pub const LINSERT: Spec = Spec {
    name: "linsert",
    arity: 5,
    flags: WRITE,
    acl: Categories::LIST,
    group: Group::List,
    since: "2.2.0",
    summary: "Adds an element to a list, next to the first one that has the given value.",
    complexity: Some("O(N) or O(1)"),
    key_specs: INSERTS_INTO_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "where",
            &[Arg::word("before", "BEFORE"), Arg::word("after", "AFTER")],
        ),
        Arg::new("pivot", ArgKind::String),
        Arg::new("element", ArgKind::String),
    ],
    handler: linsert,
    ..Spec::DEFAULT
};

/// `LINSERT key <BEFORE | AFTER> pivot element`.
fn linsert(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let behind = args.is(2, "AFTER");
    if !behind && !args.is(2, "BEFORE") {
        return Err(CommandError::Syntax);
    }
    let key = ctx.key(args, 1);
    let limits = limits(ctx.server);
    let Some(list) = ctx.object::<List>(key, Access::Write)? else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    // As in real servers, the encoding grows even if the pivot is not found then.
    list.grow(&limits, args.bytes(4).len(), 1);
    let Some(index) = list.position(&Needle::new(args.bytes(3))) else {
        ctx.client.reply.int(-1);
        return Ok(());
    };
    list.insert(index, behind, new_element(args, 4), &limits);
    let len = list.len();
    ctx.touch(key.bytes, Event::list("linsert"));
    ctx.client.reply.len(len);
    Ok(())
}

pub const LSET: Spec = Spec {
    name: "lset",
    arity: 4,
    flags: WRITE,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Replaces the element at one place of a list.",
    complexity: Some("O(N) or O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("index", ArgKind::Integer),
        Arg::new("element", ArgKind::String),
    ],
    handler: lset,
    ..Spec::DEFAULT
};

/// `LSET key index element`.
fn lset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let limits = limits(ctx.server);
    let Some(list) = ctx.object::<List>(key, Access::Write)? else {
        return Err(CommandError::NoSuchKey);
    };
    // Real servers keep 32 bits of the number, here alone: 4294967296 is the head.
    let index = i64::from(int_arg(args, 2)? as i32);
    list.grow(&limits, args.bytes(3).len(), 1);
    let replaced = place(index, list.len())
        .is_some_and(|index| list.replace(index, new_element(args, 3), &limits));
    if !replaced {
        return Err(CommandError::text("ERR index out of range"));
    }
    list.shrink(&limits);
    ctx.touch(key.bytes, Event::list("lset"));
    ctx.client.reply.ok();
    Ok(())
}

pub const LTRIM: Spec = Spec {
    name: "ltrim",
    arity: 4,
    flags: Flags::WRITE,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Removes the elements of a list that are not between two places.",
    complexity: Some("O(N)"),
    key_specs: REMOVES_FROM_KEY,
    args: RANGE_ARGS,
    handler: ltrim,
    ..Spec::DEFAULT
};

/// `LTRIM key start stop`.
fn ltrim(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (start, stop) = (int_arg(args, 2)?, int_arg(args, 3)?);
    let key = ctx.key(args, 1);
    if let Some(list) = ctx.object::<List>(key, Access::Write)? {
        let len = list.len();
        let (from, count) = span(start, stop, len);
        // Both are number 0 where nothing stays: all goes from the head.
        let (before, behind) = match count {
            0 => (len, 0),
            _ => (from, len - from - count),
        };
        list.remove_range(0, before);
        if behind > 0 {
            list.remove_range(count, behind);
        }
        touch(ctx, key, Event::list("ltrim"), before + behind);
        settle(ctx, key);
    }
    ctx.client.reply.ok();
    Ok(())
}

pub const LREM: Spec = Spec {
    name: "lrem",
    arity: 4,
    flags: Flags::WRITE,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.0.0",
    summary: "Removes elements of a given value from a list.",
    complexity: Some("O(N+M)"),
    key_specs: REMOVES_FROM_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("count", ArgKind::Integer),
        Arg::new("element", ArgKind::String),
    ],
    handler: lrem,
    ..Spec::DEFAULT
};

/// `LREM key count element`: a negative count removes from the tail on, zero removes all.
fn lrem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = int_above_min(args, 2)?;
    let key = ctx.key(args, 1);
    let Some(list) = ctx.object::<List>(key, Access::Write)? else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    let limit = match count.unsigned_abs() {
        0 => usize::MAX,
        limit => usize::try_from(limit).unwrap_or(usize::MAX),
    };
    let from = if count < 0 { End::Tail } else { End::Head };
    let removed = list.remove_matching(&Needle::new(args.bytes(3)), from, limit);
    if removed > 0 {
        touch(ctx, key, Event::list("lrem"), removed);
        settle(ctx, key);
    }
    ctx.client.reply.len(removed);
    Ok(())
}

/// The limits of lists as they are configured.
#[inline]
pub fn limits(server: &Server) -> Limits {
    Limits::new(
        server.config.list_max_listpack_size,
        server.config.list_compress_depth,
        server.debug.quicklist_packed_threshold,
    )
}

/// The element at argument `index`, with the buffer it came in if it is worth keeping.
#[inline]
fn new_element<'a>(args: Args<'a>, index: usize) -> NewElement<'a> {
    let text = args.bytes(index);
    let buffer = match text.len() {
        SHARED_MIN.. => args.shared(index),
        _ => None,
    };
    NewElement { text, buffer }
}

/// Replies with an element; a large one is shared with the output, not copied.
#[inline]
fn reply_element(reply: &mut Reply, element: Element<'_>) {
    match element {
        Element::Plain(bytes) if bytes.len() >= SHARE_MIN => reply.bulk_shared(bytes.clone()),
        _ => reply.bulk(element.bytes(&mut itoa::Buffer::new())),
    }
}

/// Replies with `count` elements from number `from` on, of which there are as many.
fn reply_walk(reply: &mut Reply, list: &List, from: usize, towards: End, count: usize) {
    let mut left = count;
    list.walk(from, towards, |element| {
        reply_element(reply, element);
        left -= 1;
        left > 0 && !reply.is_cut()
    });
}

/// Gives a key that is not there a list.
fn store_new(ctx: &mut Ctx<'_>, key: Key<'_>, list: List) {
    let entry = Entry::new_object(
        key.bytes,
        Object::List(list),
        None,
        ctx.server.usage.fresh(),
    );
    ctx.server.insert(ctx.client.dbid, key, entry);
}

/// Reports one event of a key that counts as so many changes; none at all is still an event.
fn touch(ctx: &mut Ctx<'_>, key: Key<'_>, event: Event, changes: usize) {
    ctx.server.effects.dirty += changes as u64;
    ctx.server.touch_also(ctx.client.dbid, key.bytes, event);
}

/// After elements have gone: an empty list goes too, and a short one is kept in less room.
#[inline]
fn settle(ctx: &mut Ctx<'_>, key: Key<'_>) {
    let limits = limits(ctx.server);
    match ctx.object::<List>(key, Access::Peek) {
        Ok(Some(list)) if list.is_empty() => ctx.delete_emptied(key),
        Ok(Some(list)) => list.shrink(&limits),
        _ => {}
    }
}

fn push_event(end: End) -> &'static str {
    match end {
        End::Head => "lpush",
        End::Tail => "rpush",
    }
}

fn pop_event(end: End) -> &'static str {
    match end {
        End::Head => "lpop",
        End::Tail => "rpop",
    }
}

/// The number from the head that an index stands for, if there is such an element; a negative one counts from the
/// tail.
fn place(index: i64, len: usize) -> Option<usize> {
    let index = if index < 0 { index + len as i64 } else { index };
    usize::try_from(index).ok().filter(|index| *index < len)
}

/// The first place and the number of elements that two indexes stand for.
fn span(start: i64, stop: i64, len: usize) -> (usize, usize) {
    let len = len as i64;
    let from_head = |index: i64| if index < 0 { index + len } else { index };
    let first = from_head(start).max(0);
    let last = from_head(stop).min(len - 1);
    if first > last {
        return (0, 0);
    }
    (first as usize, (last - first + 1) as usize)
}

/// The integer at argument `index`, which may not be the one that has no opposite.
fn int_above_min(args: Args<'_>, index: usize) -> Result<i64, CommandError> {
    match int_arg(args, index)? {
        i64::MIN => Err(CommandError::NotBetween(-i64::MAX, i64::MAX)),
        value => Ok(value),
    }
}

/// The end that argument `index` names.
fn end_arg(args: Args<'_>, index: usize) -> Result<End, CommandError> {
    if args.is(index, "LEFT") {
        Ok(End::Head)
    } else if args.is(index, "RIGHT") {
        Ok(End::Tail)
    } else {
        Err(CommandError::Syntax)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indexes_count_from_either_end() {
        for (start, stop, want) in [
            (0, -1, (0, 5)),
            (-3, 1, (0, 0)),
            (-100, 100, (0, 5)),
            (1, 1, (1, 1)),
            (4, 9, (4, 1)),
            (5, 9, (0, 0)),
            (i64::MIN, i64::MAX, (0, 5)),
            (i64::MAX, i64::MIN, (0, 0)),
            (-2, -2, (3, 1)),
        ] {
            assert_eq!(span(start, stop, 5), want, "{start} {stop}");
        }
        assert_eq!(span(0, -1, 0), (0, 0));
        for (index, want) in [
            (0, Some(0)),
            (-5, Some(0)),
            (-6, None),
            (4, Some(4)),
            (5, None),
        ] {
            assert_eq!(place(index, 5), want);
        }
    }
}
