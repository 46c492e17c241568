//! SORT: the elements of a list, set or sorted set in the order of numbers or bytes, their own or other keys'.
//!
//! Lives here: the options, patterns that name other keys, and the order. May not: locales (bytes decide).
//!
//! What has no order of its own is brought into one where the outcome is kept: a set that is to be stored
//! unsorted is sorted by bytes, so that replicas store the same list.

use std::cmp::Ordering;
use std::ops::Range;

use crate::command::ctx::int_arg;
use crate::command::list::limits;
use crate::command::permission::may_read_any_key;
use crate::command::spec::{
    Arg, ArgKind, BeginSearch, Categories, FindKeys, Flags, Group, KeyFlags, KeySpec, Spec,
};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::{Kind, ValueRef};
use crate::keyspace::object::hash::Found;
use crate::keyspace::object::list::LargeList;
use crate::keyspace::object::{List, Object, ObjectRef};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::state::{ClientFlags, Server};
use crate::types::listpack::Item;
use crate::types::quicklist::{End, Quicklist};
use crate::types::slot;
use crate::types::text::up_to_nul;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[SORT, SORT_RO];

const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);

/// The key that is sorted, and those that BY and GET read, which the elements name.
const READ_KEYS: [KeySpec; 2] = [KeySpec::at(1, READ), unknown_keys(READ)];

const fn unknown_keys(flags: KeyFlags) -> KeySpec {
    KeySpec {
        flags,
        begin: BeginSearch::Unknown,
        find: FindKeys::Unknown,
    }
}

const ACL: Categories = Categories::SET
    .or(Categories::SORTEDSET)
    .or(Categories::LIST)
    .or(Categories::DANGEROUS);

const ARG_KEY: Arg = Arg::key("key", 0);
const ARG_BY: Arg = Arg::new("by-pattern", ArgKind::Pattern)
    .token("BY")
    .display("pattern")
    .key_spec(1)
    .optional();
const ARG_LIMIT: Arg = Arg::block(
    "limit",
    &[
        Arg::new("offset", ArgKind::Integer),
        Arg::new("count", ArgKind::Integer),
    ],
)
.token("LIMIT")
.optional();
const ARG_GET: Arg = Arg::new("get-pattern", ArgKind::Pattern)
    .token("GET")
    .display("pattern")
    .key_spec(1)
    .optional()
    .multiple_token();
const ARG_ORDER: Arg = Arg::one_of(
    "order",
    &[Arg::word("asc", "ASC"), Arg::word("desc", "DESC")],
)
.optional();
const ARG_ALPHA: Arg = Arg::word("sorting", "ALPHA").optional();
const ARG_STORE: Arg = Arg::key("destination", 2).token("STORE").optional();

pub const SORT: Spec = Spec {
    name: "sort",
    arity: -2,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::MOVABLEKEYS),
    acl: ACL,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Returns or stores the elements of a list, set or sorted set in order.",
    complexity: Some("O(N+M*log(M)) or O(N)"),
    key_specs: &[
        READ_KEYS[0],
        READ_KEYS[1],
        unknown_keys(KeyFlags::OW.or(KeyFlags::UPDATE)),
    ],
    key_notes: &[
        (
            1,
            "Keys that BY and GET name, which depend on what the sorted key holds.",
        ),
        (
            2,
            "The key behind STORE, which may stand anywhere behind the first.",
        ),
    ],
    args: &[
        ARG_KEY, ARG_BY, ARG_LIMIT, ARG_GET, ARG_ORDER, ARG_ALPHA, ARG_STORE,
    ],
    handler: sort,
    ..Spec::DEFAULT
};

/// `SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA] [STORE destination]`
fn sort(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(ctx, args, true)
}

pub const SORT_RO: Spec = Spec {
    name: "sort_ro",
    arity: -2,
    flags: Flags::READONLY.or(Flags::MOVABLEKEYS),
    acl: ACL,
    group: Group::Generic,
    since: "7.0.0",
    summary: "Returns the elements of a list, set or sorted set in order.",
    complexity: Some("O(N+M*log(M)) or O(N)"),
    key_specs: &READ_KEYS,
    key_notes: &[(
        1,
        "Keys that BY and GET name, which depend on what the sorted key holds.",
    )],
    args: &[ARG_KEY, ARG_BY, ARG_LIMIT, ARG_GET, ARG_ORDER, ARG_ALPHA],
    handler: sort_ro,
    ..Spec::DEFAULT
};

/// `SORT_RO key [BY pattern] [LIMIT offset count] [GET pattern ...] [ASC | DESC] [ALPHA]`
fn sort_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run(ctx, args, false)
}

/// What is to be done.
#[derive(Default)]
struct Options<'a> {
    by: Option<&'a [u8]>,
    gets: Vec<&'a [u8]>,
    descending: bool,
    alpha: bool,
    offset: i64,
    /// Negative for all.
    count: i64,
    store: Option<usize>,
}

impl<'a> Options<'a> {
    /// `may_read_any_key` is asked when the options name keys by patterns, and `on_pattern` is told the pattern.
    fn parse(
        args: Args<'a>,
        may_store: bool,
        may_read_any_key: &dyn Fn() -> bool,
        on_pattern: &mut dyn FnMut(&[u8]),
    ) -> Result<Options<'a>, CommandError> {
        let denied = |option: &str| {
            CommandError::text(format!(
                "ERR {option} option of SORT denied due to insufficient ACL permissions."
            ))
        };
        let mut options = Options {
            count: -1,
            ..Options::default()
        };
        let mut index = 2;
        while index < args.len() {
            let values = args.len() - index - 1;
            if args.is(index, "ASC") {
                options.descending = false;
            } else if args.is(index, "DESC") {
                options.descending = true;
            } else if args.is(index, "ALPHA") {
                options.alpha = true;
            } else if args.is(index, "LIMIT") && values >= 2 {
                options.offset = int_arg(args, index + 1)?;
                options.count = int_arg(args, index + 2)?;
                index += 2;
            } else if may_store && args.is(index, "STORE") && values >= 1 {
                options.store = Some(index + 1);
                index += 1;
            } else if args.is(index, "BY") && values >= 1 {
                options.by = Some(args.bytes(index + 1));
                if !options.keeps_order() {
                    on_pattern(args.bytes(index + 1));
                }
                if !options.keeps_order() && !may_read_any_key() {
                    return Err(denied("BY"));
                }
                index += 1;
            } else if args.is(index, "GET") && values >= 1 {
                if args.bytes(index + 1) != b"#" {
                    on_pattern(args.bytes(index + 1));
                }
                if !may_read_any_key() {
                    return Err(denied("GET"));
                }
                options.gets.push(args.bytes(index + 1));
                index += 1;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// BY something that names the same key for all elements leaves them as they are.
    fn keeps_order(&self) -> bool {
        self.by.is_some_and(|pattern| star_in(pattern).is_none())
    }

    /// The part of `len` elements that LIMIT leaves.
    fn window(&self, len: usize) -> Range<usize> {
        let offset = usize::try_from(self.offset).unwrap_or(0).min(len);
        let left = len - offset;
        let count = usize::try_from(self.count).map_or(left, |count| count.min(left));
        offset..offset + count
    }
}

/// An element and what it is sorted by.
struct Row {
    element: Vec<u8>,
    number: f64,
    /// With BY and ALPHA: the other key's value, if it has one.
    text: Option<Vec<u8>>,
}

fn run(ctx: &mut Ctx<'_>, args: Args<'_>, may_store: bool) -> Result<(), CommandError> {
    let may_read = || may_read_any_key(ctx.server, ctx.client, ctx.this(), args);
    // Keys that a cluster would have to look for elsewhere.
    let mut foreign = 0;
    let home = ctx.server.counts_incompatible();
    let home = home.then(|| slot::of_key(args.bytes(1)));
    let mut on_pattern = |pattern: &[u8]| {
        let is_foreign = home.is_some() && slot::of_pattern(pattern) != home;
        foreign += u32::from(is_foreign);
    };
    let options = Options::parse(args, may_store, &may_read, &mut on_pattern);
    for _ in 0..foreign {
        ctx.server.note_incompatible();
    }
    let mut options = options?;
    let mut keeps_order = options.keeps_order();
    let key = ctx.key(args, 1);
    // A key or a script must not depend on the order in which a set happens to be.
    let is_for_others = options.store.is_some() || ctx.client.flags.has(ClientFlags::IN_SCRIPT);
    let (elements, window) = match ctx.lookup(key, Access::Read) {
        None => (Vec::new(), 0..0),
        Some(entry) => {
            let sortable = entry
                .object()
                .filter(|object| !matches!(object, ObjectRef::Hash(_) | ObjectRef::Stream(_)));
            let object = sortable.ok_or(CommandError::WrongType)?;
            let is_set = object.kind() == Kind::Set;
            if is_set && keeps_order && is_for_others {
                keeps_order = false;
                options.alpha = true;
                options.by = None;
            }
            let window = options.window(object.len());
            if is_set || !keeps_order {
                (elements_of(object, 0..object.len(), false), window)
            } else {
                let shown = 0..window.len();
                (elements_of(object, window, options.descending), shown)
            }
        }
    };
    let elements = if keeps_order {
        elements
    } else {
        sorted(ctx, elements, &options)?
    };
    let shown = &elements[window];
    match options.store {
        Some(index) => {
            let destination = ctx.key(args, index);
            store(ctx, destination, shown, &options);
        }
        None => reply(ctx, shown, &options),
    }
    Ok(())
}

/// Some elements of a value that can be sorted, in its own order, or counted from its end. A set is taken whole.
fn elements_of(object: ObjectRef<'_>, range: Range<usize>, from_end: bool) -> Vec<Vec<u8>> {
    if range.is_empty() {
        return Vec::new();
    }
    let first = if from_end {
        object.len() - 1 - range.start
    } else {
        range.start
    };
    match object {
        ObjectRef::Set(set) => set.iter().map(Item::to_vec).collect(),
        ObjectRef::ZSet(zset) => zset
            .range(first, range.len(), from_end)
            .map(|(item, _)| item.to_vec())
            .collect(),
        ObjectRef::List(list) => {
            let towards = if from_end { End::Head } else { End::Tail };
            let mut elements = Vec::with_capacity(range.len());
            list.walk(first, towards, |element| {
                elements.push(element.to_vec());
                elements.len() < range.len()
            });
            elements
        }
        ObjectRef::Hash(_) | ObjectRef::Stream(_) => Vec::new(),
    }
}

/// The value of a hash's field. A field whose deadline has passed is gone for readers.
fn hash_value(ctx: &mut Ctx<'_>, key: Key<'_>, field: &[u8]) -> Option<Vec<u8>> {
    let dbid = ctx.client.dbid;
    let read = |found: Option<Found<'_>>| found.map(|found| found.value.to_vec());
    ctx.server
        .live_field(dbid, key, field, Access::Read, read)
        .ok()?
}

/// A list of these elements, in the encoding that suits it.
fn new_list(server: &Server, elements: &[Vec<u8>]) -> List {
    let limits = limits(server);
    let mut list = List::from(LargeList::new(Quicklist::new(limits.fill, limits.depth)));
    for element in elements {
        list.push(End::Tail, element.as_slice().into(), &limits);
    }
    list.shrink_loaded(&limits);
    list
}

fn sorted(
    ctx: &mut Ctx<'_>,
    elements: Vec<Vec<u8>>,
    options: &Options<'_>,
) -> Result<Vec<Vec<u8>>, CommandError> {
    let mut rows = Vec::with_capacity(elements.len());
    let mut all_numbers = true;
    for element in elements {
        let text = match options.by {
            Some(pattern) => value_named(ctx, pattern, &element),
            None => None,
        };
        let mut number = 0.0;
        if !options.alpha {
            let by = if options.by.is_some() {
                text.as_deref()
            } else {
                Some(&element[..])
            };
            // An element without a value to sort by counts as zero.
            let parsed = by.map_or(Some(0.0), number_in);
            all_numbers &= parsed.is_some();
            number = parsed.unwrap_or(0.0);
        }
        rows.push(Row {
            element,
            number,
            text,
        });
    }
    if !all_numbers {
        return Err(CommandError::text(
            "ERR One or more scores can't be converted into double",
        ));
    }
    // The sort is stable, so elements with equal values stay as they were.
    rows.sort_by(|a, b| {
        let order = compare(a, b, options);
        if options.descending {
            order.reverse()
        } else {
            order
        }
    });
    Ok(rows.into_iter().map(|row| row.element).collect())
}

/// The number that a text is, read up to a NUL; nothing at all counts as zero. Unlike arguments, elements are never
/// read as hexadecimal.
fn number_in(text: &[u8]) -> Option<f64> {
    match up_to_nul(text) {
        b"" => Some(0.0),
        text => {
            let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
            (!number.is_nan()).then_some(number)
        }
    }
}

fn compare(a: &Row, b: &Row, options: &Options<'_>) -> Ordering {
    match (options.alpha, options.by) {
        (false, _) => a
            .number
            .partial_cmp(&b.number)
            .unwrap_or(Ordering::Equal)
            .then_with(|| a.element.cmp(&b.element)),
        (true, None) => a.element.cmp(&b.element),
        // What has no value comes first.
        (true, Some(_)) => a.text.cmp(&b.text),
    }
}

fn reply(ctx: &mut Ctx<'_>, elements: &[Vec<u8>], options: &Options<'_>) {
    let columns = options.gets.len().max(1);
    ctx.client.reply.array(elements.len() * columns);
    for element in elements {
        if ctx.client.reply.is_cut() {
            break;
        }
        if options.gets.is_empty() {
            ctx.client.reply.bulk(element);
        }
        for pattern in &options.gets {
            match value_named(ctx, pattern, element) {
                Some(value) => ctx.client.reply.bulk(&value),
                None => ctx.client.reply.null(),
            }
        }
    }
}

/// Makes the destination a list of the elements, or of what GET finds for them, and replies its length.
fn store(ctx: &mut Ctx<'_>, key: Key<'_>, elements: &[Vec<u8>], options: &Options<'_>) {
    let dbid = ctx.client.dbid;
    let mut found = Vec::new();
    for element in elements {
        for pattern in &options.gets {
            found.push(value_named(ctx, pattern, element).unwrap_or_default());
        }
    }
    let values = if options.gets.is_empty() {
        elements
    } else {
        &found
    };
    if !values.is_empty() {
        let list = new_list(ctx.server, values);
        ctx.server.store_object(dbid, key, Object::List(list));
        ctx.touch(key.bytes, Event::list("sortstore"));
        ctx.server.effects.dirty += values.len() as u64 - 1;
    } else if ctx.server.delete(dbid, key) {
        ctx.touch(key.bytes, Event::generic("del"));
    }
    ctx.client.reply.len(values.len());
}

/// Where a pattern's star is. Patterns end at a NUL.
fn star_in(pattern: &[u8]) -> Option<usize> {
    memchr::memchr(b'*', up_to_nul(pattern))
}

/// The value that a pattern names for an element: `#` is the element, `*` stands for it in the name of a string or,
/// with `->` and a field behind, of a hash.
fn value_named(ctx: &mut Ctx<'_>, pattern: &[u8], element: &[u8]) -> Option<Vec<u8>> {
    if pattern.first() == Some(&b'#') && up_to_nul(pattern).len() == 1 {
        return Some(element.to_vec());
    }
    let star = star_in(pattern)?;
    let (before, behind) = (&pattern[..star], &pattern[star + 1..]);
    let arrow = memchr::memmem::find(up_to_nul(behind), b"->");
    let (behind, field) = match arrow {
        Some(at) if !up_to_nul(&behind[at + 2..]).is_empty() => {
            (&behind[..at], Some(&behind[at + 2..]))
        }
        _ => (behind, None),
    };
    let name = [before, element, behind].concat();
    let key = Key::new(&ctx.server.hash_seed, &name);
    if let Some(field) = field {
        return hash_value(ctx, key, field);
    }
    match ctx.lookup(key, Access::Read)?.value() {
        ValueRef::Int(value) => Some(itoa::Buffer::new().format(value).into()),
        ValueRef::Str(text) => Some(text.to_vec()),
        ValueRef::Object(_) => None,
    }
}
