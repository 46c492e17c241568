//! Pops from the first of several lists that has elements, and the commands that wait until one has.

use super::{POPPED, after_pop, end_arg, pop_range, reply_element};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Kind;
use crate::keyspace::object::List;
use crate::resp::Args;
use crate::state::blocking::Wait;
use crate::state::keys::{Access, Key};
use crate::types::decimal::parse_i64;
use crate::types::quicklist::End;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[BLMPOP, BLPOP, BRPOP, LMPOP];

const WAIT_ARGS: &[Arg] = &[
    Arg::key("key", 0).multiple(),
    Arg::new("timeout", ArgKind::Double),
];
const WHERE: Arg = Arg::one_of(
    "where",
    &[Arg::word("left", "LEFT"), Arg::word("right", "RIGHT")],
);

pub const BLPOP: Spec = Spec {
    name: "blpop",
    arity: -3,
    flags: Flags::WRITE.or(Flags::BLOCKING),
    acl: Categories::LIST,
    group: Group::List,
    since: "2.0.0",
    summary: "Removes the head of the first list that has one and returns it; waits until there is one.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -2, 1, POPPED)],
    args: WAIT_ARGS,
    history: &[("6.0.0", &["timeout"])],
    handler: blpop,
    ..Spec::DEFAULT
};

/// `BLPOP key [key ...] timeout`.
fn blpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop_or_wait(ctx, args, End::Head)
}

pub const BRPOP: Spec = Spec {
    name: "brpop",
    arity: -3,
    flags: Flags::WRITE.or(Flags::BLOCKING),
    acl: Categories::LIST,
    group: Group::List,
    since: "2.0.0",
    summary: "Removes the tail of the first list that has one and returns it; waits until there is one.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -2, 1, POPPED)],
    args: WAIT_ARGS,
    history: &[("6.0.0", &["timeout"])],
    handler: brpop,
    ..Spec::DEFAULT
};

fn brpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    pop_or_wait(ctx, args, End::Tail)
}

fn pop_or_wait(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<(), CommandError> {
    let last = args.len() - 1;
    let deadline_ms = ctx.timeout_arg(args, last)?;
    let keys = 1..last;
    let Some(key) = first_list(ctx, args, keys.clone())? else {
        wait_for(ctx, args, keys, deadline_ms, false);
        return Ok(());
    };
    ctx.client.reply.array(2);
    ctx.client.reply.bulk(key.bytes);
    let reply = &mut ctx.client.reply;
    let list = ctx
        .server
        .object::<List>(ctx.client.dbid, key, Access::Peek);
    if let Ok(Some(list)) = list {
        list.pop(end, |element| reply_element(reply, element));
    }
    after_pop(ctx, key, end, 1);
    ctx.propagate(&[pop_name(end), key.bytes]);
    Ok(())
}

pub const LMPOP: Spec = Spec {
    name: "lmpop",
    arity: -4,
    flags: Flags::WRITE.or(Flags::MOVABLEKEYS),
    acl: Categories::LIST,
    group: Group::List,
    since: "7.0.0",
    summary: "Removes elements from one end of the first list that has any and returns them.",
    complexity: Some("O(N+M)"),
    key_specs: &[KeySpec::keynum(1, 1, 1, POPPED)],
    args: &[
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key", 0).multiple(),
        WHERE,
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    handler: lmpop,
    ..Spec::DEFAULT
};

/// `LMPOP numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`.
fn lmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = MultiPop::parse(args, 1)?;
    match first_list(ctx, args, request.keys())? {
        Some(key) => request.pop(ctx, key),
        None => ctx.client.reply.null_array(),
    }
    Ok(())
}

pub const BLMPOP: Spec = Spec {
    name: "blmpop",
    arity: -5,
    flags: Flags::WRITE.or(Flags::BLOCKING).or(Flags::MOVABLEKEYS),
    acl: Categories::LIST,
    group: Group::List,
    since: "7.0.0",
    summary: "Removes elements from one end of the first list that has any and returns them; waits until one has.",
    complexity: Some("O(N+M)"),
    key_specs: &[KeySpec::keynum(2, 1, 1, POPPED)],
    args: &[
        Arg::new("timeout", ArgKind::Double),
        Arg::new("numkeys", ArgKind::Integer),
        Arg::key("key", 0).multiple(),
        WHERE,
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
    ],
    handler: blmpop,
    ..Spec::DEFAULT
};

/// `BLMPOP timeout numkeys key [key ...] <LEFT | RIGHT> [COUNT count]`.
fn blmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = MultiPop::parse(args, 2)?;
    let deadline_ms = ctx.timeout_arg(args, 1)?;
    match first_list(ctx, args, request.keys())? {
        Some(key) => request.pop(ctx, key),
        None => wait_for(ctx, args, request.keys(), deadline_ms, false),
    }
    Ok(())
}

/// What LMPOP and BLMPOP ask for.
struct MultiPop {
    first_key: usize,
    key_count: usize,
    end: End,
    count: usize,
}

impl MultiPop {
    fn parse(args: Args<'_>, numkeys_at: usize) -> Result<MultiPop, CommandError> {
        let key_count = positive(args, numkeys_at).ok_or(CommandError::NumKeysNotPositive)?;
        let where_at = key_count.saturating_add(numkeys_at + 1);
        if where_at >= args.len() {
            return Err(CommandError::Syntax);
        }
        let end = end_arg(args, where_at)?;
        let count = match args.len() - where_at - 1 {
            0 => 1,
            1 => return Err(CommandError::Syntax),
            more => {
                if !args.is(where_at + 1, "COUNT") {
                    return Err(CommandError::Syntax);
                }
                let count = positive(args, where_at + 2).ok_or(CommandError::CountNotPositive)?;
                if more > 2 {
                    return Err(CommandError::Syntax);
                }
                count
            }
        };
        Ok(MultiPop {
            first_key: numkeys_at + 1,
            key_count,
            end,
            count,
        })
    }

    fn keys(&self) -> std::ops::Range<usize> {
        self.first_key..self.first_key + self.key_count
    }

    /// Pops from a list that has elements; replies with its key and them.
    fn pop(&self, ctx: &mut Ctx<'_>, key: Key<'_>) {
        ctx.client.reply.array(2);
        ctx.client.reply.bulk(key.bytes);
        let count = pop_range(ctx, key, self.end, self.count);
        let mut digits = itoa::Buffer::new();
        let count = digits.format(count).as_bytes();
        ctx.propagate(&[pop_name(self.end), key.bytes, count]);
    }
}

/// The number above zero at argument `index`.
pub(super) fn positive(args: Args<'_>, index: usize) -> Option<usize> {
    let value = parse_i64(args.bytes(index)).filter(|value| *value > 0)?;
    usize::try_from(value).ok()
}

fn pop_name(end: End) -> &'static [u8] {
    match end {
        End::Head => b"LPOP",
        End::Tail => b"RPOP",
    }
}

/// The first of the keys at these arguments that holds a list; whatever else one before it holds is an error.
fn first_list<'b>(
    ctx: &mut Ctx<'_>,
    args: Args<'b>,
    keys: std::ops::Range<usize>,
) -> Result<Option<Key<'b>>, CommandError> {
    for index in keys {
        let key = ctx.key(args, index);
        let list = ctx.object::<List>(key, Access::Write)?;
        if list.is_some_and(|list| !list.is_empty()) {
            return Ok(Some(key));
        }
    }
    Ok(None)
}

/// Makes the client wait for a list at one of the keys at these arguments.
pub(super) fn wait_for(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    keys: std::ops::Range<usize>,
    deadline_ms: Option<i64>,
    is_single: bool,
) {
    ctx.block(Wait {
        keys: keys.map(|index| args.bytes(index).to_vec()).collect(),
        kind: Kind::List,
        on_any_change: false,
        wake_ms: None,
        deadline_ms,
        is_single,
        memo: Vec::new(),
    });
}
