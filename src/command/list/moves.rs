//! Moves from one list to another, or within one, and the commands that wait until there is something to move.
//!
//! What is moved is taken out first and put in then, so that source and destination may be one list.

use super::pops::{positive, wait_for};
use super::{
    POPPED, WRITE, end_arg, limits, pop_event, push_event, reply_element, settle, store_new, touch,
};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::List;
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::quicklist::{Element, End, NewElement};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[BLMOVE, BLMOVEM, BRPOPLPUSH, LMOVE, LMOVEM, RPOPLPUSH];

const KEYS: &[KeySpec] = &[
    KeySpec::at(1, POPPED),
    KeySpec::at(2, KeyFlags::RW.or(KeyFlags::INSERT)),
];
const SOURCE: Arg = Arg::key("source", 0);
const DESTINATION: Arg = Arg::key("destination", 1);
const WHEREFROM: Arg = Arg::one_of("wherefrom", ENDS);
const WHERETO: Arg = Arg::one_of("whereto", ENDS);
const ENDS: &[Arg] = &[Arg::word("left", "LEFT"), Arg::word("right", "RIGHT")];
const TIMEOUT: Arg = Arg::new("timeout", ArgKind::Double);
const HOW_MANY: Arg = Arg::block(
    "how-many",
    &[
        Arg::one_of(
            "selector",
            &[
                Arg::new("count", ArgKind::Integer).token("COUNT"),
                Arg::new("exactly", ArgKind::Integer).token("EXACTLY"),
            ],
        ),
        Arg::one_of(
            "ordering",
            &[Arg::word("obo", "OBO"), Arg::word("bulk", "BULK")],
        ),
    ],
)
.optional();

pub const LMOVE: Spec = Spec {
    name: "lmove",
    arity: 5,
    flags: WRITE,
    acl: Categories::LIST,
    group: Group::List,
    since: "6.2.0",
    summary: "Moves an element from one end of a list to one end of another and returns it.",
    complexity: Some("O(1)"),
    key_specs: KEYS,
    args: &[SOURCE, DESTINATION, WHEREFROM, WHERETO],
    handler: lmove,
    ..Spec::DEFAULT
};

/// `LMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT>`.
fn lmove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (end_arg(args, 3)?, end_arg(args, 4)?);
    if !move_one(ctx, args, from, to)? {
        ctx.client.reply.null();
    }
    Ok(())
}

pub const RPOPLPUSH: Spec = Spec {
    name: "rpoplpush",
    arity: 3,
    flags: WRITE,
    acl: Categories::LIST,
    group: Group::List,
    since: "1.2.0",
    summary: "Moves the tail of a list to the head of another and returns it.",
    complexity: Some("O(1)"),
    key_specs: KEYS,
    args: &[SOURCE, DESTINATION],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`LMOVE` with the `RIGHT`, `LEFT` argument"),
    handler: rpoplpush,
    ..Spec::DEFAULT
};

/// `RPOPLPUSH source destination`.
fn rpoplpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !move_one(ctx, args, End::Tail, End::Head)? {
        ctx.client.reply.null();
    }
    Ok(())
}

pub const BLMOVE: Spec = Spec {
    name: "blmove",
    arity: 6,
    flags: WRITE.or(Flags::BLOCKING),
    acl: Categories::LIST,
    group: Group::List,
    since: "6.2.0",
    summary: "Moves an element from one end of a list to one end of another and returns it; waits until there is one.",
    complexity: Some("O(1)"),
    key_specs: KEYS,
    args: &[SOURCE, DESTINATION, WHEREFROM, WHERETO, TIMEOUT],
    handler: blmove,
    ..Spec::DEFAULT
};

/// `BLMOVE source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout`.
fn blmove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (from, to) = (end_arg(args, 3)?, end_arg(args, 4)?);
    let deadline_ms = ctx.timeout_arg(args, 5)?;
    if move_one(ctx, args, from, to)? {
        let argv = [1, 2, 3, 4].map(|index| args.bytes(index));
        ctx.propagate(&[b"LMOVE", argv[0], argv[1], argv[2], argv[3]]);
    } else {
        wait_for(ctx, args, 1..2, deadline_ms, true);
    }
    Ok(())
}

pub const BRPOPLPUSH: Spec = Spec {
    name: "brpoplpush",
    arity: 4,
    flags: WRITE.or(Flags::BLOCKING),
    acl: Categories::LIST,
    group: Group::List,
    since: "2.2.0",
    summary: "Moves the tail of a list to the head of another and returns it; waits until there is one.",
    complexity: Some("O(1)"),
    key_specs: KEYS,
    args: &[SOURCE, DESTINATION, TIMEOUT],
    history: &[("6.0.0", &["timeout"])],
    deprecated_since: Some("6.2.0"),
    replaced_by: Some("`BLMOVE` with the `RIGHT`, `LEFT` argument"),
    handler: brpoplpush,
    ..Spec::DEFAULT
};

/// `BRPOPLPUSH source destination timeout`.
fn brpoplpush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let deadline_ms = ctx.timeout_arg(args, 3)?;
    if move_one(ctx, args, End::Tail, End::Head)? {
        ctx.propagate(&[b"RPOPLPUSH", args.bytes(1), args.bytes(2)]);
    } else {
        wait_for(ctx, args, 1..2, deadline_ms, true);
    }
    Ok(())
}

/// Moves an element and replies with it; says whether there was one.
fn move_one(ctx: &mut Ctx<'_>, args: Args<'_>, from: End, to: End) -> Result<bool, CommandError> {
    let (source, destination) = (ctx.key(args, 1), ctx.key(args, 2));
    let Some(list) = ctx.object::<List>(source, Access::Write)? else {
        return Ok(false);
    };
    if list.is_empty() {
        return Ok(false);
    }
    ctx.object::<List>(destination, Access::Write)?;
    let reply = &mut ctx.client.reply;
    let list = ctx
        .server
        .object::<List>(ctx.client.dbid, source, Access::Peek)?;
    let taken = list.and_then(|list| {
        list.pop(from, |element| {
            reply_element(reply, element);
            Taken::new(element)
        })
    });
    let Some(taken) = taken else {
        return Ok(false);
    };
    put(ctx, destination, to, &[taken])?;
    after_move(ctx, source, from, 1);
    Ok(true)
}

pub const LMOVEM: Spec = Spec {
    name: "lmovem",
    arity: -5,
    flags: WRITE,
    acl: Categories::LIST,
    group: Group::List,
    since: "8.10.0",
    summary: "Moves several elements from one end of a list to one end of another and returns them.",
    complexity: Some("O(N)"),
    key_specs: KEYS,
    args: &[SOURCE, DESTINATION, WHEREFROM, WHERETO, HOW_MANY],
    handler: lmovem,
    ..Spec::DEFAULT
};

/// `LMOVEM source destination <LEFT | RIGHT> <LEFT | RIGHT> [<COUNT count | EXACTLY exactly> <OBO | BULK>]`.
fn lmovem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = MoveMany::parse(args, 5)?;
    if request.run(ctx, args)?.is_none() {
        ctx.client.reply.null_array();
    }
    Ok(())
}

pub const BLMOVEM: Spec = Spec {
    name: "blmovem",
    arity: -6,
    flags: WRITE.or(Flags::BLOCKING),
    acl: Categories::LIST,
    group: Group::List,
    since: "8.10.0",
    summary: "Moves several elements from one end of a list to one end of another and returns them; waits until there are enough.",
    complexity: Some("O(N)"),
    key_specs: KEYS,
    args: &[SOURCE, DESTINATION, WHEREFROM, WHERETO, TIMEOUT, HOW_MANY],
    handler: blmovem,
    ..Spec::DEFAULT
};

/// `BLMOVEM source destination <LEFT | RIGHT> <LEFT | RIGHT> timeout [<COUNT count | EXACTLY exactly> <OBO | BULK>]`.
fn blmovem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let request = MoveMany::parse(args, 6)?;
    let deadline_ms = ctx.timeout_arg(args, 5)?;
    if let Some(moved) = request.run(ctx, args)? {
        // What was moved, not what was asked for: who replays it may find more in the list.
        let mut digits = itoa::Buffer::new();
        let mut argv: Vec<&[u8]> = vec![b"LMOVEM"];
        argv.extend((1..5).map(|index| args.bytes(index)));
        argv.extend([&b"EXACTLY"[..], digits.format(moved).as_bytes()]);
        argv.push(if request.in_bulk { b"BULK" } else { b"OBO" });
        ctx.propagate(&argv);
    } else {
        wait_for(ctx, args, 1..2, deadline_ms, false);
    }
    Ok(())
}

/// What LMOVEM and BLMOVEM ask for.
struct MoveMany {
    from: End,
    to: End,
    count: usize,
    /// Fewer than `count` are not moved.
    is_exact: bool,
    /// All at once, so that they keep their order; otherwise one by one.
    in_bulk: bool,
}

impl MoveMany {
    fn parse(args: Args<'_>, how_many_at: usize) -> Result<MoveMany, CommandError> {
        let mut request = MoveMany {
            from: end_arg(args, 3)?,
            to: end_arg(args, 4)?,
            count: 1,
            is_exact: false,
            in_bulk: false,
        };
        if args.len() == how_many_at {
            return Ok(request);
        }
        let order_at = how_many_at + 2;
        request.is_exact = args.is(how_many_at, "EXACTLY");
        request.in_bulk = args.is(order_at, "BULK");
        let is_known = (request.is_exact || args.is(how_many_at, "COUNT"))
            && (request.in_bulk || args.is(order_at, "OBO"));
        if !is_known || args.len() != order_at + 1 {
            return Err(CommandError::Syntax);
        }
        request.count = positive(args, how_many_at + 1).ok_or(CommandError::CountNotPositive)?;
        Ok(request)
    }

    /// Moves, and replies with what was moved in the order in which it lies in the destination; says how many
    /// elements that were, if there were enough.
    fn run(&self, ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Option<usize>, CommandError> {
        let (source, destination) = (ctx.key(args, 1), ctx.key(args, 2));
        let needed = if self.is_exact { self.count } else { 1 };
        let held = ctx.object::<List>(source, Access::Write)?;
        let held = held.map_or(0, |list| list.len());
        if held < needed {
            return Ok(None);
        }
        ctx.object::<List>(destination, Access::Write)?;
        let count = self.count.min(held);
        let mut taken = Vec::with_capacity(count);
        if let Some(list) = ctx.object::<List>(source, Access::Peek)? {
            for _ in 0..count {
                taken.extend(list.pop(self.from, Taken::new));
            }
        }
        // They are put in one after the other, so that the last one is outermost.
        let keeps_order = self.from != self.to;
        if self.in_bulk && !keeps_order {
            taken.reverse();
        }
        put(ctx, destination, self.to, &taken)?;
        if self.to == End::Head {
            taken.reverse();
        }
        ctx.client.reply.array(taken.len());
        for element in &taken {
            element.reply(ctx);
        }
        after_move(ctx, source, self.from, taken.len());
        Ok(Some(taken.len()))
    }
}

/// An element on its way from one list to another.
enum Taken {
    Text(Vec<u8>),
    Plain(bytes::Bytes),
}

impl Taken {
    fn new(element: Element<'_>) -> Taken {
        match element {
            Element::Plain(bytes) => Taken::Plain(bytes.clone()),
            Element::Packed(item) => Taken::Text(item.to_vec()),
        }
    }

    fn as_new(&self) -> NewElement<'_> {
        match self {
            Taken::Text(text) => NewElement::from(&text[..]),
            Taken::Plain(bytes) => NewElement {
                text: bytes,
                buffer: Some(bytes.clone()),
            },
        }
    }

    fn reply(&self, ctx: &mut Ctx<'_>) {
        match self {
            Taken::Text(text) => ctx.client.reply.bulk(text),
            Taken::Plain(bytes) => reply_element(&mut ctx.client.reply, Element::Plain(bytes)),
        }
    }
}

/// Adds elements at one end of a list, which is created if need be.
fn put(ctx: &mut Ctx<'_>, key: Key<'_>, end: End, elements: &[Taken]) -> Result<(), CommandError> {
    let limits = limits(ctx.server);
    let bytes = elements.iter().map(|taken| taken.as_new().text.len()).sum();
    let put_all = |list: &mut List| {
        list.grow(&limits, bytes, elements.len());
        for element in elements {
            list.push(end, element.as_new(), &limits);
        }
    };
    match ctx.object::<List>(key, Access::Peek)? {
        Some(list) => put_all(list),
        None => {
            let mut list = List::default();
            put_all(&mut list);
            store_new(ctx, key, list);
        }
    }
    touch(ctx, key, Event::list(push_event(end)), 0);
    Ok(())
}

/// What follows for the source when elements have been moved.
fn after_move(ctx: &mut Ctx<'_>, source: Key<'_>, from: End, count: usize) {
    touch(ctx, source, Event::list(pop_event(from)), count);
    settle(ctx, source);
}
