//! Sets: unordered collections of different members.
//!
//! Here are the commands about single members and whole sets; `set/algebra.rs` has those that combine sets,
//! `set/random.rs` those that pick members by chance. May not: know how a set is laid out.

pub mod algebra;
pub mod random;

use crate::command::scan::{ScanOptions, Scanned, cursor_arg};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::set::{Set, SetLimits};
use crate::resp::{Args, Reply};
use crate::state::Server;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::listpack::Item;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    SADD, SREM, SMOVE, SISMEMBER, SMISMEMBER, SCARD, SMEMBERS, SSCAN,
];

/// Where the encodings of sets end, as configured.
fn limits(server: &Server) -> SetLimits {
    let at_most = |value: i64| usize::try_from(value).unwrap_or(usize::MAX);
    SetLimits {
        intset_entries: at_most(server.config.set_max_intset_entries),
        listpack_entries: at_most(server.config.set_max_listpack_entries),
        listpack_value: at_most(server.config.set_max_listpack_value),
        seed: server.hash_seed,
    }
}

/// Reports one event for `changes` members that came or went.
fn touch_members(ctx: &mut Ctx<'_>, key: &[u8], event: &'static str, changes: usize) {
    ctx.touch(key, Event::set(event));
    ctx.server.effects.dirty += changes as u64 - 1;
}

/// A member as a bulk string.
#[inline]
fn reply_item(reply: &mut Reply, item: Item<'_>) {
    match item {
        Item::Int(value) => reply.bulk_int(value),
        Item::Str(text) => reply.bulk(text),
    }
}

pub const SADD: Spec = Spec {
    name: "sadd",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Adds members to a set, which is made when there is none.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String).multiple(),
    ],
    history: &[("2.4.0", &["member"])],
    handler: sadd,
    ..Spec::DEFAULT
};

/// `SADD key member [member ...]`
fn sadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let limits = limits(ctx.server);
    let expected = args.len() - 2;
    let mut is_new = false;
    let set = ctx.object_or_insert(key, || {
        is_new = true;
        Set::for_members(args.bytes(2), expected, &limits)
    })?;
    if !is_new {
        set.expect(expected, &limits);
    }
    let added = args
        .iter_from(2)
        .filter(|member| set.add(member, &limits))
        .count();
    if added > 0 {
        touch_members(ctx, key.bytes, "sadd", added);
    }
    ctx.client.reply.len(added);
    Ok(())
}

pub const SREM: Spec = Spec {
    name: "srem",
    arity: -3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Removes members from a set.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String).multiple(),
    ],
    history: &[("2.4.0", &["member"])],
    handler: srem,
    ..Spec::DEFAULT
};

/// `SREM key member [member ...]`
fn srem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let Some(set) = ctx.object::<Set>(key, Access::Write)? else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    let removed = args
        .iter_from(2)
        .filter(|member| set.remove(member))
        .count();
    let is_empty = set.is_empty();
    if removed > 0 {
        touch_members(ctx, key.bytes, "srem", removed);
    }
    if is_empty {
        ctx.delete_emptied(key);
    }
    ctx.client.reply.len(removed);
    Ok(())
}

pub const SMOVE: Spec = Spec {
    name: "smove",
    arity: 4,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Takes a member out of one set and puts it into another.",
    complexity: Some("O(1)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE)),
        KeySpec::at(2, KeyFlags::RW.or(KeyFlags::INSERT)),
    ],
    args: &[
        Arg::key("source", 0),
        Arg::key("destination", 1),
        Arg::new("member", ArgKind::String),
    ],
    handler: smove,
    ..Spec::DEFAULT
};

/// `SMOVE source destination member`
fn smove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (source, destination) = (ctx.key(args, 1), ctx.key(args, 2));
    let member = args.bytes(3);
    let is_member = match ctx.lookup(source, Access::Write) {
        None => {
            ctx.client.reply.int(0);
            return Ok(());
        }
        Some(_) => {
            let set = ctx.object::<Set>(source, Access::Peek)?;
            let is_member = set.is_some_and(|set| set.contains(member));
            ctx.object::<Set>(destination, Access::Write)?;
            is_member
        }
    };
    if is_member && source.bytes != destination.bytes {
        move_member(ctx, source, destination, member)?;
    }
    ctx.client.reply.int(i64::from(is_member));
    Ok(())
}

/// Moves what is in the source to another set.
fn move_member(
    ctx: &mut Ctx<'_>,
    source: Key<'_>,
    destination: Key<'_>,
    member: &[u8],
) -> Result<(), CommandError> {
    let mut is_empty = false;
    if let Some(set) = ctx.object::<Set>(source, Access::Peek)? {
        set.remove(member);
        is_empty = set.is_empty();
    }
    ctx.touch(source.bytes, Event::set("srem"));
    if is_empty {
        ctx.delete_emptied(source);
    }
    let limits = limits(ctx.server);
    let set = ctx.object_or_insert(destination, || Set::for_members(member, 1, &limits))?;
    if set.add(member, &limits) {
        ctx.touch(destination.bytes, Event::set("sadd"));
    }
    Ok(())
}

pub const SISMEMBER: Spec = Spec {
    name: "sismember",
    arity: 3,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Tells whether something is a member of a set.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0), Arg::new("member", ArgKind::String)],
    handler: sismember,
    ..Spec::DEFAULT
};

/// `SISMEMBER key member`
fn sismember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let set = ctx.object::<Set>(ctx.key(args, 1), Access::Read)?;
    let is_member = set.is_some_and(|set| set.contains(args.bytes(2)));
    ctx.client.reply.int(i64::from(is_member));
    Ok(())
}

pub const SMISMEMBER: Spec = Spec {
    name: "smismember",
    arity: -3,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::SET,
    group: Group::Set,
    since: "6.2.0",
    summary: "Tells of several things whether they are members of a set.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::new("member", ArgKind::String).multiple(),
    ],
    handler: smismember,
    ..Spec::DEFAULT
};

/// `SMISMEMBER key member [member ...]`
fn smismember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let set = ctx
        .server
        .object::<Set>(ctx.client.dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    reply.array(args.len() - 2);
    for member in args.iter_from(2) {
        let is_member = set.as_ref().is_some_and(|set| set.contains(member));
        reply.int(i64::from(is_member));
    }
    Ok(())
}

pub const SCARD: Spec = Spec {
    name: "scard",
    arity: 2,
    flags: Flags::READONLY.or(Flags::FAST),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Counts the members of a set.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO)],
    args: &[Arg::key("key", 0)],
    handler: scard,
    ..Spec::DEFAULT
};

/// `SCARD key`
fn scard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let set = ctx.object::<Set>(ctx.key(args, 1), Access::Read)?;
    let len = set.map_or(0, |set| set.len());
    ctx.client.reply.len(len);
    Ok(())
}

pub const SMEMBERS: Spec = Spec {
    name: "smembers",
    arity: 2,
    flags: Flags::READONLY,
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Gives every member that a set has.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output_order"],
    handler: smembers,
    ..Spec::DEFAULT
};

/// `SMEMBERS key`
fn smembers(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let set = ctx
        .server
        .object::<Set>(ctx.client.dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    reply.set(set.as_ref().map_or(0, |set| set.len()));
    for item in set.iter().flat_map(|set| set.iter()) {
        if reply.is_cut() {
            break;
        }
        reply_item(reply, item);
    }
    Ok(())
}

pub const SSCAN: Spec = Spec {
    name: "sscan",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::SET,
    group: Group::Set,
    since: "2.8.0",
    summary: "Walks the members of a set a few at a time.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::new("cursor", ArgKind::Integer),
        Arg::new("pattern", ArgKind::Pattern)
            .token("MATCH")
            .optional(),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    tips: &["nondeterministic_output"],
    handler: sscan,
    ..Spec::DEFAULT
};

/// `SSCAN key cursor [MATCH pattern] [COUNT count]`
fn sscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = cursor_arg(args, 2)?;
    let key = ctx.key(args, 1);
    let set = ctx
        .server
        .object::<Set>(ctx.client.dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let Some(set) = set else {
        // Nobody has looked at the options then.
        reply.array(2);
        reply.text("0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Scanned::Other)?;
    let mut members: Vec<Vec<u8>> = Vec::new();
    let mut digits = itoa::Buffer::new();
    let next = options.walk(cursor, &mut members, |cursor, members| {
        set.scan(cursor, &mut |item| {
            let member = item.bytes(&mut digits);
            if options.matches(member) {
                members.push(member.to_vec());
            }
        })
    });
    reply.array(2);
    reply.text(itoa::Buffer::new().format(next));
    reply.array(members.len());
    for member in &members {
        reply.bulk(member);
    }
    Ok(())
}
