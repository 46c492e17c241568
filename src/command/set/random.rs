//! Members by chance: SPOP and SRANDMEMBER.
//!
//! All choices come from the engine's generator, so a replay makes the same ones.

use super::{limits, reply_item};
use crate::command::ctx::{count_arg, int_arg};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::set::{Set, SetLimits, SetMut, SetRef};
use crate::keyspace::table::Table;
use crate::resp::{Args, Reply};
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::state::rng::Rng;
use crate::types::listpack::{Item, Listpack};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[SPOP, SRANDMEMBER];

/// Members that one propagated SREM names at most.
const BATCH: usize = 1024;
/// Pieces of a running rehash that a choice of several members does on its way at most.
const REHASH_STEPS_MAX: usize = 100;
/// A pop that leaves less than one member for this many popped builds the set anew from those left.
const POPPED_PER_LEFT: usize = 5;
/// A choice of more than one member in this many walks the set once instead of picking again and again.
const MEMBERS_PER_PICK: usize = 3;

pub const SPOP: Spec = Spec {
    name: "spop",
    arity: -2,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Removes members by chance and returns them.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE),
    )],
    args: &[
        Arg::key("key", 0),
        Arg::new("count", ArgKind::Integer)
            .since("3.2.0")
            .optional(),
    ],
    tips: &["nondeterministic_output"],
    history: &[("3.2.0", &["count"])],
    handler: spop,
    ..Spec::DEFAULT
};

/// `SPOP key [count]`
fn spop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    match args.len() {
        2 => pop_one(ctx, ctx.key(args, 1)),
        3 => {
            let count = count_arg(args, 2)?;
            pop_many(ctx, ctx.key(args, 1), count)
        }
        _ => Err(CommandError::Syntax),
    }
}

fn pop_one(ctx: &mut Ctx<'_>, key: Key<'_>) -> Result<(), CommandError> {
    // The generator is taken along, as the set is borrowed from beside it.
    let mut rng = ctx.server.rng.clone();
    let set = ctx.object::<Set>(key, Access::Write)?;
    let picked = set.and_then(|set| {
        let member = pop_random(set, &mut rng)?;
        Some((member, set.is_empty()))
    });
    ctx.server.rng = rng;
    let Some((member, is_empty)) = picked else {
        ctx.client.reply.null();
        return Ok(());
    };
    ctx.touch(key.bytes, Event::set("spop"));
    ctx.propagate(&[b"SREM", key.bytes, &member]);
    if is_empty {
        ctx.delete_emptied(key);
    }
    ctx.client.reply.bulk(&member);
    Ok(())
}

fn pop_random(set: &mut Set, rng: &mut Rng) -> Option<Vec<u8>> {
    let member = set.random(&mut |bound| rng.below(bound))?.to_vec();
    set.remove(&member);
    // The next pop, if this is a run of them, is given the numbers that a copy of the generator gives now.
    let mut ahead = rng.clone();
    set.prefetch_random(&mut |bound| ahead.below(bound));
    Some(member)
}

fn pop_many(ctx: &mut Ctx<'_>, key: Key<'_>, count: usize) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let mut rng = ctx.server.rng.clone();
    let set = ctx.object::<Set>(key, Access::Write)?;
    let Some(set) = set.filter(|_| count > 0) else {
        ctx.client.reply.set(0);
        return Ok(());
    };
    let is_all = count >= set.len();
    let popped: Vec<Vec<u8>> = if is_all {
        set.iter().map(Item::to_vec).collect()
    } else {
        pop_some(set, count, &limits, &mut rng)
    };
    ctx.server.rng = rng;
    ctx.touch(key.bytes, Event::set("spop"));
    ctx.server.effects.dirty += popped.len() as u64 - 1;
    if is_all {
        let verb: &[u8] = if ctx.server.config.lazyfree_lazy_server_del {
            b"UNLINK"
        } else {
            b"DEL"
        };
        ctx.delete_emptied(key);
        ctx.propagate(&[verb, key.bytes]);
    } else {
        for members in popped.chunks(BATCH) {
            let mut argv: Vec<&[u8]> = vec![b"SREM", key.bytes];
            argv.extend(members.iter().map(Vec::as_slice));
            ctx.propagate_anyway(&argv);
        }
    }
    let reply = &mut ctx.client.reply;
    reply.set(popped.len());
    for member in &popped {
        reply.bulk(member);
    }
    Ok(())
}

/// Takes `count` members out of a set that has more.
fn pop_some(set: &mut Set, count: usize, limits: &SetLimits, rng: &mut Rng) -> Vec<Vec<u8>> {
    let left = set.len() - count;
    if !matches!(set.view(), SetRef::Table(_)) {
        let picked = set.sample(count, &mut |bound| rng.below(bound));
        let picked: Vec<Vec<u8>> = picked.into_iter().map(Item::to_vec).collect();
        remove_in_order(set, &picked);
        return picked;
    }
    if left * POPPED_PER_LEFT > count {
        let pick = |_| pop_random(set, rng);
        return (0..count).filter_map(pick).collect();
    }
    let mut rest = Set::from(Listpack::new());
    for _ in 0..left {
        if let Some(member) = pop_random(set, rng) {
            rest.add(&member, limits);
        }
    }
    let popped = std::mem::replace(set, rest);
    popped.iter().map(Item::to_vec).collect()
}

/// Removes members that come in the set's own order.
fn remove_in_order(set: &mut Set, members: &[Vec<u8>]) {
    let SetMut::Listpack(list) = set.view_mut() else {
        for member in members {
            set.remove(member);
        }
        return;
    };
    let mut at = list.first();
    for member in members {
        while let Some(pos) = at {
            let is_it = list.get(pos).is(member);
            at = if is_it {
                list.remove(pos, 1)
            } else {
                list.next(pos)
            };
            if is_it {
                break;
            }
        }
    }
}

pub const SRANDMEMBER: Spec = Spec {
    name: "srandmember",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Returns members by chance.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key", 0),
        Arg::new("count", ArgKind::Integer)
            .since("2.6.0")
            .optional(),
    ],
    tips: &["nondeterministic_output"],
    history: &[("2.6.0", &["count"])],
    handler: srandmember,
    ..Spec::DEFAULT
};

/// `SRANDMEMBER key [count]`
fn srandmember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        3 => Some(int_arg(args, 2)?),
        _ => return Err(CommandError::Syntax),
    };
    if count == Some(i64::MIN) {
        return Err(CommandError::NotBetween(-i64::MAX, i64::MAX));
    }
    let key = ctx.key(args, 1);
    let mut rng = ctx.server.rng.clone();
    let set = ctx
        .server
        .object::<Set>(ctx.client.dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let mut rand = |bound| rng.below(bound);
    match (set, count) {
        (None, None) => reply.null(),
        (None, Some(_)) | (_, Some(0)) => reply.array(0),
        (Some(set), None) => match set.random(&mut rand) {
            Some(item) => reply_item(reply, item),
            None => reply.null(),
        },
        (Some(set), Some(count)) => {
            let wanted = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
            set.rehash_step(wanted.min(REHASH_STEPS_MAX));
            if count < 0 {
                reply_repeating(reply, set, wanted, &mut rand);
            } else {
                reply_different(reply, set, wanted, &mut rand);
            }
        }
    }
    ctx.server.rng = rng;
    Ok(())
}

/// `count` members, each chosen from all.
fn reply_repeating(reply: &mut Reply, set: &Set, count: usize, rand: &mut dyn FnMut(u64) -> u64) {
    reply.array(count);
    if let SetRef::Table(_) | SetRef::Intset(_) = set.view() {
        for _ in 0..count {
            match set.random(rand) {
                Some(item) if !reply.is_cut() => reply_item(reply, item),
                _ => break,
            }
        }
        return;
    }
    // A place in a listpack is found by walking there, so it is walked once.
    let items: Vec<Item<'_>> = set.iter().collect();
    for _ in 0..count {
        if reply.is_cut() {
            break;
        }
        reply_item(reply, items[rand(items.len() as u64) as usize]);
    }
}

/// `count` different members, or all if there are no more.
fn reply_different(reply: &mut Reply, set: &Set, count: usize, rand: &mut dyn FnMut(u64) -> u64) {
    let count = count.min(set.len());
    reply.array(count);
    if let SetRef::Table(table) = set.view()
        && count.saturating_mul(MEMBERS_PER_PICK) <= set.len()
    {
        let mut picked = Table::with_capacity(*table.seed(), count);
        while picked.len() < count && !reply.is_cut() {
            let Some(member) = table.random_fair(rand) else {
                break;
            };
            let hash = picked.hash(member.key());
            if picked.find(hash, member.key()).is_none() {
                reply.bulk(member.key());
                picked.insert(hash, member.clone());
            }
        }
        return;
    }
    for item in set.sample(count, rand) {
        reply_item(reply, item);
    }
}
