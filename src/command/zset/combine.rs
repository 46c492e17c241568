//! Unions, intersections and differences of sorted sets, of which plain sets may be some.
//!
//! Lives here: the requests, weights and aggregates. May not: storing a result (`range`).

use std::ops::Range;

use super::range::store_result;
use super::{limits, reply_name, reply_pair};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Entry, Kind};
use crate::keyspace::member::ScoredMember;
use crate::keyspace::object::zset::ZSetLimits;
use crate::keyspace::object::{ObjectRef, Set, ZSet};
use crate::keyspace::table::Table;
use crate::resp::Args;
use crate::state::keys::Access;
use crate::types::decimal::{parse_double, parse_i64};
use crate::types::listpack::Item;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[
    ZUNION,
    ZINTER,
    ZDIFF,
    ZUNIONSTORE,
    ZINTERSTORE,
    ZDIFFSTORE,
    ZINTERCARD,
];

const READ_MOVABLE: Flags = Flags::READONLY.or(Flags::MOVABLEKEYS);
const STORE_MOVABLE: Flags = Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS);
const READS_KEYS: &[KeySpec] = &[KeySpec::keynum(1, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))];
const STORES_FROM_KEYS: &[KeySpec] = &[
    KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE)),
    KeySpec::keynum(2, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS)),
];
/// The ways to make one score out of several.
const AGGREGATE: Arg = Arg::one_of(
    "aggregate",
    &[
        Arg::word("sum", "SUM"),
        Arg::word("min", "MIN"),
        Arg::word("max", "MAX"),
        Arg::word("count", "COUNT").since("8.8.0"),
    ],
)
.token("AGGREGATE")
.optional();
const WEIGHTS: Arg = Arg::new("weight", ArgKind::Integer)
    .token("WEIGHTS")
    .optional()
    .multiple();
const NUMKEYS: Arg = Arg::new("numkeys", ArgKind::Integer);

/// What is done with the sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Inter,
    Diff,
}

/// How scores of one member in several sets become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
    /// Scores do not matter: the weights of the sets that have the member are added.
    Count,
}

impl Aggregate {
    /// What one set contributes, which is no number for infinity times zero.
    fn contribution(self, score: f64, weight: f64) -> f64 {
        match self {
            Aggregate::Count => weight,
            _ => score * weight,
        }
    }

    fn combine(self, a: f64, b: f64) -> f64 {
        match self {
            Aggregate::Sum | Aggregate::Count => no_nan(a + b),
            Aggregate::Min => {
                if b < a {
                    b
                } else {
                    a
                }
            }
            Aggregate::Max => {
                if b > a {
                    b
                } else {
                    a
                }
            }
        }
    }
}

/// The sum of opposite infinities counts as zero. So does infinity times zero in a union, but in an intersection of
/// the first set alone: from another one it turns a sum into zero, and no minimum or maximum takes it.
fn no_nan(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

/// A set among the inputs.
#[derive(Clone, Copy)]
enum Source<'a> {
    Absent,
    ZSet(&'a ZSet),
    Set(&'a Set),
}

impl<'a> Source<'a> {
    fn of(entry: Option<&'a Entry>) -> Source<'a> {
        match entry.and_then(Entry::object) {
            Some(ObjectRef::ZSet(zset)) => Source::ZSet(zset),
            Some(ObjectRef::Set(set)) => Source::Set(set),
            _ => Source::Absent,
        }
    }

    fn len(self) -> usize {
        match self {
            Source::Absent => 0,
            Source::ZSet(zset) => zset.len(),
            Source::Set(set) => set.len(),
        }
    }

    /// The score of a member; all members of a plain set have 1.
    fn score(self, member: &[u8]) -> Option<f64> {
        match self {
            Source::Absent => None,
            Source::ZSet(zset) => zset.score(member),
            Source::Set(set) => set.contains(member).then_some(1.0),
        }
    }

    fn elements(self) -> Box<dyn Iterator<Item = (Item<'a>, f64)> + 'a> {
        match self {
            Source::Absent => Box::new(std::iter::empty()),
            Source::ZSet(zset) => Box::new(zset.iter()),
            Source::Set(set) => Box::new(set.iter().map(|item| (item, 1.0))),
        }
    }
}

/// A request for a combination.
struct Request {
    operation: Operation,
    keys: Range<usize>,
    weights: Vec<f64>,
    aggregate: Aggregate,
    with_scores: bool,
    /// Of ZINTERCARD: where counting ends; zero for nowhere.
    limit: usize,
}

/// Which options a command takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Replies,
    Stores,
    Counts,
}

impl Request {
    /// The request whose number of keys is argument `from`. The keys are looked up on the way, since a value of
    /// another type comes before wrong options.
    fn parse(
        ctx: &mut Ctx<'_>,
        args: Args<'_>,
        from: usize,
        operation: Operation,
        form: Form,
    ) -> Result<Request, CommandError> {
        let len = int_arg(args, from)?;
        if len < 1 {
            let name = ctx.this().spec.name;
            return Err(CommandError::text(format!(
                "ERR at least 1 input key is needed for '{name}' command"
            )));
        }
        let rest = args.len() - (from + 1);
        let len = usize::try_from(len).ok().filter(|len| *len <= rest);
        let len = len.ok_or(CommandError::Syntax)?;
        let keys = from + 1..from + 1 + len;
        for index in keys.clone() {
            let key = ctx.key(args, index);
            let kind = ctx.lookup(key, Access::Read).map(|entry| entry.kind());
            if !matches!(kind, None | Some(Kind::Set | Kind::ZSet)) {
                return Err(CommandError::WrongType);
            }
        }
        let mut request = Request {
            operation,
            weights: vec![1.0; len],
            aggregate: Aggregate::Sum,
            with_scores: false,
            limit: 0,
            keys,
        };
        request.parse_options(args, form)?;
        Ok(request)
    }

    fn parse_options(&mut self, args: Args<'_>, form: Form) -> Result<(), CommandError> {
        let takes_weights = self.operation != Operation::Diff && form != Form::Counts;
        let mut index = self.keys.end;
        while index < args.len() {
            let behind = args.len() - index - 1;
            if takes_weights && behind >= self.keys.len() && args.is(index, "WEIGHTS") {
                for weight in &mut self.weights {
                    index += 1;
                    *weight = parse_double(args.bytes(index))
                        .ok_or(CommandError::text("ERR weight value is not a float"))?;
                }
            } else if takes_weights && behind >= 1 && args.is(index, "AGGREGATE") {
                index += 1;
                self.aggregate = [
                    ("SUM", Aggregate::Sum),
                    ("MIN", Aggregate::Min),
                    ("MAX", Aggregate::Max),
                    ("COUNT", Aggregate::Count),
                ]
                .into_iter()
                .find(|(word, _)| args.is(index, word))
                .map(|(_, aggregate)| aggregate)
                .ok_or(CommandError::Syntax)?;
            } else if form == Form::Replies && args.is(index, "WITHSCORES") {
                self.with_scores = true;
            } else if form == Form::Counts && behind >= 1 && args.is(index, "LIMIT") {
                index += 1;
                self.limit = parse_i64(args.bytes(index))
                    .and_then(|limit| usize::try_from(limit).ok())
                    .ok_or(CommandError::text("ERR LIMIT can't be negative"))?;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(())
    }

    /// The inputs with their weights: in the order given for a difference, the smallest first otherwise, which is
    /// also the order in which scores are added.
    fn sources<'a>(&self, ctx: &'a Ctx<'_>, args: Args<'_>) -> Vec<(Source<'a>, f64)> {
        let db = ctx.server.dbs.get(ctx.client.dbid as usize);
        let sources = self.keys.clone().map(|index| {
            let key = ctx.key(args, index);
            Source::of(db.and_then(|db| db.get(key.hash, key.bytes)))
        });
        let mut sources: Vec<_> = sources.zip(self.weights.iter().copied()).collect();
        if self.operation != Operation::Diff {
            sources.sort_by_key(|(source, _)| source.len());
        }
        sources
    }

    /// The members of the result with their scores, in no particular order.
    fn run(&self, ctx: &Ctx<'_>, args: Args<'_>) -> Members {
        let sources = self.sources(ctx, args);
        let largest = sources.iter().map(|(source, _)| source.len()).max();
        let capacity = match self.operation {
            Operation::Union => largest.unwrap_or(0),
            Operation::Inter | Operation::Diff => 0,
        };
        let mut members = Members(Table::with_capacity(ctx.server.hash_seed, capacity));
        match self.operation {
            Operation::Union => {
                for (source, weight) in &sources {
                    for (item, score) in source.elements() {
                        let score = no_nan(self.aggregate.contribution(score, *weight));
                        members.merge(item, score, self.aggregate);
                    }
                }
            }
            Operation::Inter => intersect(&sources, self.aggregate, |name, score| {
                members.add(name, score);
                true
            }),
            Operation::Diff => {
                let (first, others) = (sources[0].0, &sources[1..]);
                for (item, score) in first.elements() {
                    let mut digits = itoa::Buffer::new();
                    let name = item.bytes(&mut digits);
                    if others.iter().all(|(other, _)| other.score(name).is_none()) {
                        members.add(name, score);
                    }
                }
            }
        }
        members
    }
}

/// Calls `f` for each member that all sources have, with its score, until it returns false.
fn intersect(
    sources: &[(Source<'_>, f64)],
    aggregate: Aggregate,
    mut f: impl FnMut(&[u8], f64) -> bool,
) {
    let Some(((first, weight), others)) = sources.split_first() else {
        return;
    };
    for (item, score) in first.elements() {
        let mut digits = itoa::Buffer::new();
        let name = item.bytes(&mut digits);
        let start = no_nan(aggregate.contribution(score, *weight));
        let total = others.iter().try_fold(start, |total, (other, weight)| {
            let score = other.score(name)?;
            Some(aggregate.combine(total, aggregate.contribution(score, *weight)))
        });
        if total.is_some_and(|total| !f(name, total)) {
            return;
        }
    }
}

/// Members under construction.
struct Members(Table<ScoredMember>);

impl Members {
    fn add(&mut self, name: &[u8], score: f64) {
        let hash = self.0.hash(name);
        self.0.insert(hash, ScoredMember::with_score(name, score));
    }

    fn merge(&mut self, item: Item<'_>, score: f64, aggregate: Aggregate) {
        let mut digits = itoa::Buffer::new();
        let name = item.bytes(&mut digits);
        match self.0.find_mut(self.0.hash(name), name) {
            Some(member) => member.set_score(aggregate.combine(member.score(), score)),
            None => self.add(name, score),
        }
    }
}

fn reply_combination(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    operation: Operation,
) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, 1, operation, Form::Replies)?;
    let members = request.run(ctx, args);
    // Only the order is wanted, and a tree gives it soonest.
    let limits = ZSetLimits {
        entries: 0,
        ..limits(ctx.server)
    };
    let zset = ZSet::from_members(members.0, &limits);
    let reply = &mut ctx.client.reply;
    let is_flat = request.with_scores && !reply.is_resp3();
    reply.array(if is_flat { zset.len() * 2 } else { zset.len() });
    for (name, score) in zset.iter() {
        if request.with_scores {
            reply_pair(reply, name, score);
        } else {
            reply_name(reply, name);
        }
    }
    Ok(())
}

fn store_combination(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    operation: Operation,
    event: &'static str,
) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, 2, operation, Form::Stores)?;
    let members = request.run(ctx, args);
    let zset = ZSet::from_members(members.0, &limits(ctx.server));
    let target = ctx.key(args, 1);
    store_result(ctx, target, Some(zset), event);
    Ok(())
}

pub const ZUNION: Spec = Spec {
    name: "zunion",
    arity: -3,
    flags: READ_MOVABLE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "6.2.0",
    summary: "Returns the members that any of the sets has.",
    complexity: Some("O(N)+O(M*log(M))"),
    key_specs: READS_KEYS,
    args: &[
        NUMKEYS,
        Arg::key("key", 0).multiple(),
        WEIGHTS,
        AGGREGATE,
        Arg::word("withscores", "WITHSCORES").optional(),
    ],
    history: &[("8.8.0", &["COUNT"])],
    handler: zunion,
    ..Spec::DEFAULT
};

/// `ZUNION numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>] [WITHSCORES]`
fn zunion(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_combination(ctx, args, Operation::Union)
}

pub const ZINTER: Spec = Spec {
    name: "zinter",
    arity: -3,
    flags: READ_MOVABLE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "6.2.0",
    summary: "Returns the members that all of the sets have.",
    complexity: Some("O(N*K)+O(M*log(M))"),
    key_specs: READS_KEYS,
    args: &[
        NUMKEYS,
        Arg::key("key", 0).multiple(),
        WEIGHTS,
        AGGREGATE,
        Arg::word("withscores", "WITHSCORES").optional(),
    ],
    history: &[("8.8.0", &["COUNT"])],
    handler: zinter,
    ..Spec::DEFAULT
};

/// `ZINTER numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>] [WITHSCORES]`
fn zinter(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_combination(ctx, args, Operation::Inter)
}

pub const ZDIFF: Spec = Spec {
    name: "zdiff",
    arity: -3,
    flags: READ_MOVABLE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "6.2.0",
    summary: "Returns the members that the first set has and none of the others.",
    complexity: Some("O(L + (N-K)log(N))"),
    key_specs: READS_KEYS,
    args: &[
        NUMKEYS,
        Arg::key("key", 0).multiple(),
        Arg::word("withscores", "WITHSCORES").optional(),
    ],
    handler: zdiff,
    ..Spec::DEFAULT
};

/// `ZDIFF numkeys key [key ...] [WITHSCORES]`
fn zdiff(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    reply_combination(ctx, args, Operation::Diff)
}

pub const ZUNIONSTORE: Spec = Spec {
    name: "zunionstore",
    arity: -4,
    flags: STORE_MOVABLE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.0.0",
    summary: "Stores the members that any of the sets has.",
    complexity: Some("O(N)+O(M log(M))"),
    key_specs: STORES_FROM_KEYS,
    args: &[
        Arg::key("destination", 0),
        NUMKEYS,
        Arg::key("key", 1).multiple(),
        WEIGHTS,
        AGGREGATE,
    ],
    history: &[("8.8.0", &["COUNT"])],
    handler: zunionstore,
    ..Spec::DEFAULT
};

/// `ZUNIONSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>]`
fn zunionstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_combination(ctx, args, Operation::Union, "zunionstore")
}

pub const ZINTERSTORE: Spec = Spec {
    name: "zinterstore",
    arity: -4,
    flags: STORE_MOVABLE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "2.0.0",
    summary: "Stores the members that all of the sets have.",
    complexity: Some("O(N*K)+O(M*log(M))"),
    key_specs: STORES_FROM_KEYS,
    args: &[
        Arg::key("destination", 0),
        NUMKEYS,
        Arg::key("key", 1).multiple(),
        WEIGHTS,
        AGGREGATE,
    ],
    history: &[("8.8.0", &["COUNT"])],
    handler: zinterstore,
    ..Spec::DEFAULT
};

/// `ZINTERSTORE destination numkeys key [key ...] [WEIGHTS weight [weight ...]] [AGGREGATE <SUM | MIN | MAX | COUNT>]`
fn zinterstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_combination(ctx, args, Operation::Inter, "zinterstore")
}

pub const ZDIFFSTORE: Spec = Spec {
    name: "zdiffstore",
    arity: -4,
    flags: STORE_MOVABLE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "6.2.0",
    summary: "Stores the members that the first set has and none of the others.",
    complexity: Some("O(L + (N-K)log(N))"),
    key_specs: STORES_FROM_KEYS,
    args: &[
        Arg::key("destination", 0),
        NUMKEYS,
        Arg::key("key", 1).multiple(),
    ],
    handler: zdiffstore,
    ..Spec::DEFAULT
};

/// `ZDIFFSTORE destination numkeys key [key ...]`
fn zdiffstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    store_combination(ctx, args, Operation::Diff, "zdiffstore")
}

pub const ZINTERCARD: Spec = Spec {
    name: "zintercard",
    arity: -3,
    flags: READ_MOVABLE,
    acl: Categories::SORTEDSET,
    group: Group::SortedSet,
    since: "7.0.0",
    summary: "Counts the members that all of the sets have.",
    complexity: Some("O(N*K)"),
    key_specs: READS_KEYS,
    args: &[
        NUMKEYS,
        Arg::key("key", 0).multiple(),
        Arg::new("limit", ArgKind::Integer)
            .token("LIMIT")
            .optional(),
    ],
    handler: zintercard,
    ..Spec::DEFAULT
};

/// `ZINTERCARD numkeys key [key ...] [LIMIT limit]`
fn zintercard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = Request::parse(ctx, args, 1, Operation::Inter, Form::Counts)?;
    let mut count = 0;
    intersect(&request.sources(ctx, args), Aggregate::Sum, |_, _| {
        count += 1;
        count != request.limit
    });
    ctx.client.reply.len(count);
    Ok(())
}
