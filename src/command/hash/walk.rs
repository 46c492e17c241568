//! Fields by chance and by cursor: HRANDFIELD, HSCAN.

use std::collections::BTreeSet;

use super::{READS_KEY, reply_item};
use crate::command::ctx::int_arg;
use crate::command::scan::{ScanOptions, Scanned, cursor_arg};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::member::HashField;
use crate::keyspace::object::Hash;
use crate::keyspace::table::Table;
use crate::resp::{Args, Reply};
use crate::state::Rng;
use crate::state::keys::Access;
use crate::types::listpack::Item;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[HRANDFIELD, HSCAN];

/// From this share of all fields on, distinct ones are picked in one walk over all: of that many single picks too
/// many would hit a field twice.
const WALK_SHARE: usize = 3;

pub const HRANDFIELD: Spec = Spec {
    name: "hrandfield",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "6.2.0",
    summary: "Picks fields of a hash by chance.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "options",
            &[
                Arg::new("count", ArgKind::Integer),
                Arg::word("withvalues", "WITHVALUES").optional(),
            ],
        )
        .optional(),
    ],
    tips: &["nondeterministic_output"],
    handler: hrandfield,
    ..Spec::DEFAULT
};

fn hrandfield(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => None,
        _ => Some(Count::parse(args)?),
    };
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    let horizon_ms = ctx.server.field_horizon();
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Read)?;
    let has_due = hash.is_some_and(|hash| hash.due_len(horizon_ms) > 0);
    if has_due {
        ctx.server.expire_due_fields(dbid, key, usize::MAX);
    }

    // The generator is taken out because the hash borrows the server it lies in.
    let mut rng = ctx.server.rng.clone();
    let hash = ctx.server.object::<Hash>(dbid, key, Access::Peek)?;
    let hash = hash.map(|hash| Pool::new(hash, horizon_ms));
    let reply = &mut ctx.client.reply;
    match (hash, count) {
        (None, None) => reply.null(),
        (None, Some(_)) => reply.array(0),
        (Some(pool), None) => match pool.pick(&mut rng) {
            Some((field, _)) => reply_item(reply, field),
            None => reply.null(),
        },
        (Some(pool), Some(count)) => pool.reply_some(reply, count, &mut rng),
    }
    ctx.server.rng = rng;
    Ok(())
}

/// How many fields HRANDFIELD is to return: distinct ones, or with a negative number any.
#[derive(Clone, Copy, Debug)]
struct Count {
    number: i64,
    with_values: bool,
}

impl Count {
    fn parse(args: Args<'_>) -> Result<Count, CommandError> {
        let number = int_arg(args, 2)?;
        if number == i64::MIN {
            return Err(CommandError::NotBetween(-i64::MAX, i64::MAX));
        }
        let with_values = args.len() == 4 && args.is(3, "WITHVALUES");
        if args.len() > 3 && !with_values {
            return Err(CommandError::Syntax);
        }
        if with_values && number.unsigned_abs() > i64::MAX as u64 / 2 {
            return Err(CommandError::OutOfRange);
        }
        Ok(Count {
            number,
            with_values,
        })
    }
}

/// The fields to pick from.
enum Pool<'a> {
    /// Of a packed hash; or of one that holds expired fields which may not be removed at the moment.
    Few(Vec<(Item<'a>, Item<'a>)>),
    Table(&'a Table<HashField>),
}

impl<'a> Pool<'a> {
    fn new(hash: &'a Hash, horizon_ms: i64) -> Pool<'a> {
        match hash.table() {
            Some(table) if hash.due_len(horizon_ms) == 0 => Pool::Table(table),
            _ => Pool::Few(
                hash.iter()
                    .filter(|(_, found)| !found.is_due(horizon_ms))
                    .map(|(field, found)| (field, found.value))
                    .collect(),
            ),
        }
    }

    fn len(&self) -> usize {
        match self {
            Pool::Few(fields) => fields.len(),
            Pool::Table(table) => table.len(),
        }
    }

    fn pick(&self, rng: &mut Rng) -> Option<(Item<'a>, Item<'a>)> {
        match self {
            Pool::Few(fields) if fields.is_empty() => None,
            Pool::Few(fields) => fields.get(rng.below(fields.len() as u64) as usize).copied(),
            Pool::Table(table) => table
                .random_fair(&mut |bound| rng.below(bound))
                .map(|field| (Item::Str(field.key()), Item::Str(field.value()))),
        }
    }

    fn reply_some(&self, reply: &mut Reply, count: Count, rng: &mut Rng) {
        let wanted = usize::try_from(count.number.unsigned_abs()).unwrap_or(usize::MAX);
        let len = self.len();
        let returned = match count.number {
            ..0 if len > 0 => wanted,
            _ => wanted.min(len),
        };
        let has_pairs = count.with_values && reply.is_resp3();
        reply.array(match count.with_values {
            true if !has_pairs => returned.saturating_mul(2),
            _ => returned,
        });
        let mut show = |(field, value): (Item<'_>, Item<'_>)| {
            if has_pairs {
                reply.array(2);
            }
            reply_item(reply, field);
            if count.with_values {
                reply_item(reply, value);
            }
            !reply.is_cut()
        };
        if count.number < 0 {
            for _ in 0..returned {
                if !self.pick(rng).is_some_and(&mut show) {
                    break;
                }
            }
            return;
        }
        match self {
            Pool::Table(table) if wanted.saturating_mul(WALK_SHARE) < len => {
                let mut seen = BTreeSet::new();
                while seen.len() < wanted
                    && let Some(field) = table.random_fair(&mut |bound| rng.below(bound))
                {
                    let pair = (Item::Str(field.key()), Item::Str(field.value()));
                    if seen.insert(field.key()) && !show(pair) {
                        break;
                    }
                }
            }
            Pool::Table(table) => {
                let fields = table
                    .iter()
                    .map(|field| (Item::Str(field.key()), Item::Str(field.value())));
                choose(fields, len, returned, rng).all(show);
            }
            Pool::Few(fields) => {
                choose(fields.iter().copied(), len, returned, rng).all(show);
            }
        }
    }
}

/// Chooses `wanted` of `len` elements in their order, every selection as likely as any other (Knuth, The Art of
/// Computer Programming 2, 3.4.2, algorithm S).
fn choose<T>(
    all: impl Iterator<Item = T>,
    len: usize,
    wanted: usize,
    rng: &mut Rng,
) -> impl Iterator<Item = T> {
    let (mut left, mut wanted) = (len as u64, wanted as u64);
    all.filter(move |_| {
        let takes = wanted > 0 && rng.below(left.max(1)) < wanted;
        left = left.saturating_sub(1);
        wanted -= u64::from(takes);
        takes
    })
}

pub const HSCAN: Spec = Spec {
    name: "hscan",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::HASH,
    group: Group::Hash,
    since: "2.8.0",
    summary: "Walks the fields of a hash a few at a time.",
    complexity: Some("O(1) or O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("cursor", ArgKind::Integer),
        Arg::new("pattern", ArgKind::Pattern)
            .token("MATCH")
            .optional(),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
        Arg::word("novalues", "NOVALUES").optional(),
    ],
    tips: &["nondeterministic_output"],
    handler: hscan,
    ..Spec::DEFAULT
};

fn hscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = cursor_arg(args, 2)?;
    let key = ctx.key(args, 1);
    let horizon_ms = ctx.server.field_horizon();
    let hash = ctx
        .server
        .object::<Hash>(ctx.client.dbid, key, Access::Read)?;
    let reply = &mut ctx.client.reply;
    let Some(hash) = hash else {
        reply.array(2);
        reply.text("0");
        reply.array(0);
        return Ok(());
    };
    let options = ScanOptions::parse(args, 3, Scanned::Hash)?;
    if hash.table().is_none() {
        reply_packed(reply, hash, &options, horizon_ms);
        return Ok(());
    }
    let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let next = options.walk(cursor, &mut found, |cursor, found| {
        hash.scan(cursor, &mut |field| {
            let is_due = field.deadline_ms().is_some_and(|at| at < horizon_ms);
            if !is_due && options.matches(field.key()) {
                let value = if options.no_values {
                    Vec::new()
                } else {
                    field.value().to_vec()
                };
                found.push((field.key().to_vec(), value));
            }
        })
    });
    reply.array(2);
    reply.text(itoa::Buffer::new().format(next));
    reply.array(found.len() * if options.no_values { 1 } else { 2 });
    for (field, value) in &found {
        reply.bulk(field);
        if !options.no_values {
            reply.bulk(value);
        }
    }
    Ok(())
}

/// A packed hash is scanned in one go.
fn reply_packed(reply: &mut Reply, hash: &Hash, options: &ScanOptions<'_>, horizon_ms: i64) {
    reply.array(2);
    reply.text("0");
    let begin = reply.array_begin();
    let mut len = 0;
    let mut digits = itoa::Buffer::new();
    for (field, found) in hash.iter() {
        if found.is_due(horizon_ms) || !options.matches(field.bytes(&mut digits)) {
            continue;
        }
        reply_item(reply, field);
        len += 1;
        if !options.no_values {
            reply_item(reply, found.value);
            len += 1;
        }
    }
    reply.array_end(begin, len);
}
