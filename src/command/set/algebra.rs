//! Algebra of sets: intersections, unions, differences, their sizes, and their storing.
//!
//! Every command here looks its keys up first, one after the other, and computes on what it found then.

use std::ops::Range;
use std::ptr;

use super::{limits, reply_item};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Entry;
use crate::keyspace::object::set::{Set, SetLimits};
use crate::keyspace::object::{Object, ObjectRef, SetRef};
use crate::resp::{Args, Reply};
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::hyperloglog;
use crate::types::intset::Intset;
use crate::types::listpack::{Item, Listpack};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    SINTER,
    SINTERCARD,
    SINTERSTORE,
    SUNION,
    SUNIONCARD,
    SUNIONSTORE,
    SDIFF,
    SDIFFCARD,
    SDIFFSTORE,
];

/// Looks up the sets at these arguments, in order: `None` for a key that is not there.
fn operands<'a>(
    ctx: &'a mut Ctx<'_>,
    args: Args<'_>,
    keys: Range<usize>,
) -> Result<(Vec<Option<&'a Set>>, &'a mut Reply), CommandError> {
    let mut present = Vec::with_capacity(keys.len());
    for index in keys.clone() {
        let key = ctx.key(args, index);
        present.push(ctx.object::<Set>(key, Access::Read)?.map(|_| key));
    }
    let db = ctx.server.dbs.get(ctx.client.dbid as usize);
    let found = present.into_iter().map(|key| {
        let key = key?;
        match db?.get(key.hash, key.bytes).and_then(Entry::object) {
            Some(ObjectRef::Set(set)) => Some(set),
            _ => None,
        }
    });
    Ok((found.collect(), &mut ctx.client.reply))
}

fn reply_set(reply: &mut Reply, set: &Set) {
    reply.set(set.len());
    for item in set.iter() {
        if reply.is_cut() {
            break;
        }
        reply_item(reply, item);
    }
}

/// Gives the key at argument 1 this set, or removes it if the set is empty, and replies its size.
fn store(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    set: Set,
    event: &'static str,
) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let len = set.len();
    if len > 0 {
        ctx.server
            .store_object(ctx.client.dbid, key, Object::Set(set));
        ctx.touch(key.bytes, Event::set(event));
    } else if ctx.server.delete(ctx.client.dbid, key) {
        ctx.touch(key.bytes, Event::generic("del"));
    }
    ctx.client.reply.len(len);
    Ok(())
}

/// The key count, the keys and the options of SINTERCARD and its sisters.
struct Counting {
    keys: Range<usize>,
    /// Counting stops here; `usize::MAX` when it does not.
    limit: usize,
    /// An estimate will do.
    is_approx: bool,
}

impl Counting {
    fn parse(args: Args<'_>, takes_approx: bool) -> Result<Counting, CommandError> {
        let count = int_arg(args, 1).ok().filter(|count| *count > 0);
        let count = count.ok_or(CommandError::text("ERR numkeys should be greater than 0"))?;
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        if count > args.len() - 2 {
            return Err(CommandError::text(
                "ERR Number of keys can't be greater than number of args",
            ));
        }
        let keys = 2..2 + count;
        let (mut limit, mut is_approx) = (0, false);
        let mut index = keys.end;
        while index < args.len() {
            if args.is(index, "LIMIT") && index + 1 < args.len() {
                let number = int_arg(args, index + 1).ok();
                let number = number.and_then(|number| usize::try_from(number).ok());
                limit = number.ok_or(CommandError::text("ERR LIMIT can't be negative"))?;
                index += 2;
            } else if takes_approx && args.is(index, "APPROX") {
                is_approx = true;
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        if limit == 0 {
            limit = usize::MAX;
        }
        Ok(Counting {
            keys,
            limit,
            is_approx,
        })
    }
}

/// The sets from the smallest on; `None` when one of them is missing, so that nothing is in all.
fn smallest_first<'a>(operands: &[Option<&'a Set>]) -> Option<Vec<&'a Set>> {
    let mut sets: Vec<&Set> = operands.iter().copied().collect::<Option<_>>()?;
    sets.sort_by_key(|set| set.len());
    Some(sets)
}

/// The members of the first set that are in all.
fn common<'a>(sets: &'a [&'a Set]) -> impl Iterator<Item = Item<'a>> {
    let first = sets.first();
    first.into_iter().flat_map(move |first| {
        let others = || sets.iter().filter(|set| !ptr::eq(**set, *first));
        first
            .iter()
            .filter(move |item| others().all(|set| set.contains_item(*item)))
    })
}

pub const SINTER: Spec = Spec {
    name: "sinter",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Returns what is in all of several sets.",
    complexity: Some("O(N*M)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["nondeterministic_output_order"],
    handler: sinter,
    ..Spec::DEFAULT
};

/// `SINTER key [key ...]`
fn sinter(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (operands, reply) = operands(ctx, args, 1..args.len())?;
    let Some(sets) = smallest_first(&operands) else {
        reply.set(0);
        return Ok(());
    };
    let start = reply.array_begin();
    let mut len = 0;
    for item in common(&sets) {
        reply_item(reply, item);
        len += 1;
        if reply.is_cut() {
            break;
        }
    }
    reply.set_end(start, len);
    Ok(())
}

pub const SINTERCARD: Spec = Spec {
    name: "sintercard",
    arity: -3,
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: Categories::SET,
    group: Group::Set,
    since: "7.0.0",
    summary: "Counts what is in all of several sets.",
    complexity: Some("O(N*M)"),
    key_specs: &[KeySpec::keynum(1, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key", 0).multiple(),
        Arg::new("limit", ArgKind::Integer)
            .token("LIMIT")
            .optional(),
    ],
    handler: sintercard,
    ..Spec::DEFAULT
};

/// `SINTERCARD numkeys key [key ...] [LIMIT limit]`
fn sintercard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let counting = Counting::parse(args, false)?;
    let (operands, reply) = operands(ctx, args, counting.keys)?;
    let sets = smallest_first(&operands);
    reply.len(sets.map_or(0, |sets| common(&sets).take(counting.limit).count()));
    Ok(())
}

pub const SINTERSTORE: Spec = Spec {
    name: "sinterstore",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Stores what is in all of several sets.",
    complexity: Some("O(N*M)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::range(2, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[Arg::key("destination", 0), Arg::key("key", 1).multiple()],
    handler: sinterstore,
    ..Spec::DEFAULT
};

/// `SINTERSTORE destination key [key ...]`
fn sinterstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let (operands, _) = operands(ctx, args, 2..args.len())?;
    let sets = smallest_first(&operands).unwrap_or_default();
    let mut result = match sets.first().map(|set| set.view()) {
        Some(SetRef::Table(_) | SetRef::Listpack(_)) => Set::from(Listpack::new()),
        Some(SetRef::Intset(_)) | None => Set::from(Intset::new()),
    };
    for item in common(&sets) {
        result.add_item(item, &limits);
    }
    result.pack_ints(&limits);
    store(ctx, args, result, "sinterstore")
}

/// What is in any of the sets, or as much of it as makes `limit` members.
fn union(sets: &[Option<&Set>], mut result: Set, limit: usize, limits: &SetLimits) -> Set {
    for item in sets.iter().flatten().flat_map(|set| set.iter()) {
        if result.len() >= limit {
            break;
        }
        result.add_item(item, limits);
    }
    result
}

/// About how many members are in any of the sets, without a union of them: as a HyperLogLog counts.
fn estimate(sets: &[Option<&Set>]) -> usize {
    let mut seen = hyperloglog::new_dense();
    for item in sets.iter().flatten().flat_map(|set| set.iter()) {
        hyperloglog::add_dense(&mut seen, item.bytes(&mut itoa::Buffer::new()));
    }
    // A value of our own is sound.
    let estimate = hyperloglog::estimate(&seen).unwrap_or(0);
    usize::try_from(estimate).unwrap_or(usize::MAX)
}

/// What a union or difference that nobody keeps is collected in: what is quick to search.
fn scratch(sets: &[Option<&Set>], limits: &SetLimits) -> Set {
    let is_ints = |set: &&Set| matches!(set.view(), SetRef::Intset(_));
    if sets.iter().flatten().all(is_ints) {
        Set::from(Intset::new())
    } else {
        Set::new_table(limits.seed)
    }
}

pub const SUNION: Spec = Spec {
    name: "sunion",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Returns what is in any of several sets.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["nondeterministic_output_order"],
    handler: sunion,
    ..Spec::DEFAULT
};

/// `SUNION key [key ...]`
fn sunion(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let (sets, reply) = operands(ctx, args, 1..args.len())?;
    match sets[..] {
        [Some(only)] if !only.has_twice() => reply_set(reply, only),
        _ => reply_set(
            reply,
            &union(&sets, scratch(&sets, &limits), usize::MAX, &limits),
        ),
    }
    Ok(())
}

pub const SUNIONCARD: Spec = Spec {
    name: "sunioncard",
    arity: -3,
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: Categories::SET,
    group: Group::Set,
    since: "8.10.0",
    summary: "Counts what is in any of several sets.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::keynum(1, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key", 0).multiple(),
        Arg::word("approx", "APPROX").optional(),
        Arg::new("limit", ArgKind::Integer)
            .token("LIMIT")
            .optional(),
    ],
    handler: sunioncard,
    ..Spec::DEFAULT
};

/// `SUNIONCARD numkeys key [key ...] [APPROX] [LIMIT limit]`
fn sunioncard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let counting = Counting::parse(args, true)?;
    let limits = limits(ctx.server);
    let (sets, reply) = operands(ctx, args, counting.keys)?;
    let len = match sets[..] {
        [Some(only)] => only.len(),
        _ if counting.is_approx => estimate(&sets),
        _ => union(&sets, scratch(&sets, &limits), counting.limit, &limits).len(),
    };
    reply.len(len.min(counting.limit));
    Ok(())
}

pub const SUNIONSTORE: Spec = Spec {
    name: "sunionstore",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Stores what is in any of several sets.",
    complexity: Some("O(N)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::range(2, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[Arg::key("destination", 0), Arg::key("key", 1).multiple()],
    handler: sunionstore,
    ..Spec::DEFAULT
};

/// `SUNIONSTORE destination key [key ...]`
fn sunionstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let (sets, _) = operands(ctx, args, 2..args.len())?;
    let result = union(&sets, Set::from(Intset::new()), usize::MAX, &limits);
    store(ctx, args, result, "sunionstore")
}

/// How to find what is in the first of several sets and in none of the others.
enum Difference<'a> {
    /// Look each member of the first set up in the others, the largest one first.
    LookUp(&'a Set, Vec<&'a Set>),
    /// Copy the first set and remove the members of the others.
    Remove(&'a Set, Vec<&'a Set>),
    /// The first set is missing, or is among the others too.
    Empty,
}

impl<'a> Difference<'a> {
    fn plan(sets: &[Option<&'a Set>]) -> Difference<'a> {
        let [Some(first), others @ ..] = sets else {
            return Difference::Empty;
        };
        let mut others: Vec<&Set> = others.iter().copied().flatten().collect();
        if others.iter().any(|set| ptr::eq(*set, *first)) {
            return Difference::Empty;
        }
        // Look-ups mostly end at the first or second set, removals never do.
        let look_ups = first.len() * (others.len() + 1) / 2;
        let removals = others.iter().map(|set| set.len()).sum::<usize>() + first.len();
        // A copy has each member once.
        if look_ups <= removals && !first.has_twice() {
            others.sort_by_key(|set| std::cmp::Reverse(set.len()));
            Difference::LookUp(first, others)
        } else {
            Difference::Remove(first, others)
        }
    }

    /// Calls `f` for each member of the difference until it returns false; `scratch` is what a copy starts as.
    fn for_each(&self, scratch: Set, limits: &SetLimits, mut f: impl FnMut(Item<'_>) -> bool) {
        match self {
            Difference::Empty => {}
            Difference::LookUp(first, others) => {
                let kept = |item: &Item<'_>| !others.iter().any(|set| set.contains_item(*item));
                let _ = first.iter().filter(kept).all(f);
            }
            Difference::Remove(first, others) => {
                let rest = Self::removed(first, others, scratch, limits);
                let _ = rest.iter().all(&mut f);
            }
        }
    }

    /// The difference as a set of its own, which grows from `result`.
    fn collect(&self, mut result: Set, limits: &SetLimits) -> Set {
        if let Difference::Remove(first, others) = self {
            return Self::removed(first, others, result, limits);
        }
        let nothing = Set::from(Intset::new());
        self.for_each(nothing, limits, |item| {
            result.add_item(item, limits);
            true
        });
        result
    }

    fn removed(first: &Set, others: &[&Set], mut result: Set, limits: &SetLimits) -> Set {
        for item in first.iter() {
            result.add_item(item, limits);
        }
        for set in others {
            for item in set.iter() {
                result.remove_item(item);
            }
            if result.is_empty() {
                break;
            }
        }
        result
    }
}

pub const SDIFF: Spec = Spec {
    name: "sdiff",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Returns what is in the first set and in none of the others.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0).multiple()],
    tips: &["nondeterministic_output_order"],
    handler: sdiff,
    ..Spec::DEFAULT
};

/// `SDIFF key [key ...]`
fn sdiff(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let (sets, reply) = operands(ctx, args, 1..args.len())?;
    let start = reply.array_begin();
    let mut len = 0;
    Difference::plan(&sets).for_each(scratch(&sets, &limits), &limits, |item| {
        reply_item(reply, item);
        len += 1;
        !reply.is_cut()
    });
    reply.set_end(start, len);
    Ok(())
}

pub const SDIFFCARD: Spec = Spec {
    name: "sdiffcard",
    arity: -3,
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: Categories::SET,
    group: Group::Set,
    since: "8.10.0",
    summary: "Counts what is in the first set and in none of the others.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::keynum(1, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key", 0).multiple(),
        Arg::new("limit", ArgKind::Integer)
            .token("LIMIT")
            .optional(),
    ],
    handler: sdiffcard,
    ..Spec::DEFAULT
};

/// `SDIFFCARD numkeys key [key ...] [LIMIT limit]`
fn sdiffcard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let counting = Counting::parse(args, false)?;
    let limits = limits(ctx.server);
    let (sets, reply) = operands(ctx, args, counting.keys)?;
    let mut len = 0;
    Difference::plan(&sets).for_each(scratch(&sets, &limits), &limits, |_| {
        len += 1;
        len < counting.limit
    });
    reply.len(len);
    Ok(())
}

pub const SDIFFSTORE: Spec = Spec {
    name: "sdiffstore",
    arity: -3,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::SET,
    group: Group::Set,
    since: "1.0.0",
    summary: "Stores what is in the first set and in none of the others.",
    complexity: Some("O(N)"),
    key_specs: &[
        KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
        KeySpec::range(2, -1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
    ],
    args: &[Arg::key("destination", 0), Arg::key("key", 1).multiple()],
    handler: sdiffstore,
    ..Spec::DEFAULT
};

/// `SDIFFSTORE destination key [key ...]`
fn sdiffstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let (sets, _) = operands(ctx, args, 2..args.len())?;
    let result = Difference::plan(&sets).collect(Set::from(Intset::new()), &limits);
    store(ctx, args, result, "sdiffstore")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::keyspace::table::HashSeed;
    use crate::state::rng::Rng;

    const LIMITS: SetLimits = SetLimits {
        intset_entries: 8,
        listpack_entries: 8,
        listpack_value: 10,
        seed: HashSeed(*b"0123456789abcdef"),
    };

    fn members(items: impl Iterator<Item = Vec<u8>>) -> BTreeSet<Vec<u8>> {
        items.collect()
    }

    #[test]
    fn an_estimate_of_a_union_is_close() {
        let (mut odd, mut third) = (Set::new_table(LIMITS.seed), Set::new_table(LIMITS.seed));
        for n in 0..60_000u32 {
            let name = format!("member:{n}");
            if n % 2 == 1 {
                odd.add(name.as_bytes(), &LIMITS);
            }
            if n % 3 == 0 {
                third.add(name.as_bytes(), &LIMITS);
            }
        }
        let estimated = estimate(&[Some(&odd), None, Some(&third), Some(&odd)]);
        assert!((39_000..=41_000).contains(&estimated), "{estimated}");
        assert_eq!(estimate(&[None]), 0);
    }

    #[test]
    fn every_combination_agrees_with_plain_sets() {
        for seed in 0..300 {
            let mut rng = Rng::new(seed);
            let mut owned: Vec<Set> = Vec::new();
            for _ in 0..=rng.below(4) {
                let is_ints = rng.below(2) == 0;
                let mut set = Set::from(Intset::new());
                for _ in 0..=rng.below(25) {
                    let number = rng.below(30);
                    let member = if is_ints || rng.below(2) == 0 {
                        number.to_string()
                    } else {
                        format!("m{number}")
                    };
                    set.add(member.as_bytes(), &LIMITS);
                }
                owned.push(set);
            }
            let sets: Vec<Option<&Set>> = owned.iter().map(Some).collect();
            let models: Vec<BTreeSet<Vec<u8>>> = owned
                .iter()
                .map(|set| members(set.iter().map(Item::to_vec)))
                .collect();
            let (first, others) = models.split_first().expect("at least one set");

            let all = smallest_first(&sets).expect("none is missing");
            let inter = members(common(&all).map(Item::to_vec));
            let is_common = |member: &&Vec<u8>| others.iter().all(|set| set.contains(*member));
            assert_eq!(inter, first.iter().filter(is_common).cloned().collect());

            let joined = union(&sets, scratch(&sets, &LIMITS), usize::MAX, &LIMITS);
            let model: BTreeSet<Vec<u8>> = models.iter().flatten().cloned().collect();
            assert_eq!(
                members(joined.iter().map(Item::to_vec)),
                model,
                "seed {seed}"
            );
            let limit = rng.below(10) as usize + 1;
            let some = union(&sets, scratch(&sets, &LIMITS), limit, &LIMITS);
            assert_eq!(some.len(), limit.min(model.len()));

            let plan = Difference::plan(&sets);
            let rest = plan.collect(Set::from(Intset::new()), &LIMITS);
            let is_own = |member: &&Vec<u8>| !others.iter().any(|set| set.contains(*member));
            let model: BTreeSet<Vec<u8>> = first.iter().filter(is_own).cloned().collect();
            assert_eq!(members(rest.iter().map(Item::to_vec)), model, "seed {seed}");
            let mut seen = 0;
            plan.for_each(scratch(&sets, &LIMITS), &LIMITS, |_| {
                seen += 1;
                seen < limit
            });
            assert_eq!(seen, limit.min(model.len()));
        }
    }
}
