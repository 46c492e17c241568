//! Keys of a request: which arguments are keys, and what the command does with each.
//!
//! Key specs say it for nearly all commands. A few need a parser of their own, because their keys, or what
//! happens to them, depend on options. May not: look the keys up.

use crate::command::registry::Command;
use crate::command::spec::{BeginSearch, FindKeys, Flags, KeyFlags, KeySpec, Spec};
use crate::command::string::condition::Condition;
use crate::resp::Args;
use crate::types::decimal::parse_i64;

/// The request does not follow the command's syntax, so its keys cannot be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidKeys;

/// Key arguments by index, in the order of the specs.
pub type Keys = Vec<(usize, KeyFlags)>;

/// The first and the last key, and the step between keys, in the form that COMMAND has had since its beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    pub first: i32,
    pub last: i32,
    pub step: i32,
}

/// Whether the command can have keys at all.
pub fn has_keys(spec: &Spec) -> bool {
    let is_key = |spec: &KeySpec| !spec.flags.has(KeyFlags::NOT_KEY);
    spec.key_specs.iter().any(is_key)
}

/// Whether the command can have arguments that a cluster keeps in slots: keys, or channels of its shards.
pub fn has_slots(spec: &Spec) -> bool {
    !spec.key_specs.is_empty() || spec.flags.has(Flags::MOVABLEKEYS)
}

/// The arguments of a request that a cluster keeps in slots.
pub fn slot_args(command: &Command, args: Args<'_>) -> Result<Keys, InvalidKeys> {
    match has_keys(command.spec) {
        true => keys_of(command, args),
        false => keys_by_specs(command.spec, args, KeyFlags(0)),
    }
}

/// The keys of a request, the container's name included in the counting. No request makes this fail otherwise
/// than by [`InvalidKeys`].
pub fn keys_of(command: &Command, args: Args<'_>) -> Result<Keys, InvalidKeys> {
    match command.full_name.as_str() {
        "set" => Ok(vec![(1, set_flags(args))]),
        "bitfield" => Ok(vec![(1, bitfield_flags(args))]),
        "sort" => Ok(sort_keys(args)),
        "sort_ro" => Ok(vec![(1, READ)]),
        "migrate" => Ok(migrate_keys(args)),
        "delex" => Ok(vec![(1, delex_flags(args))]),
        "georadius" => Ok(georadius_keys(command.spec, args, 6)),
        "georadiusbymember" => Ok(georadius_keys(command.spec, args, 5)),
        _ => keys_by_specs(command.spec, args, KeyFlags::NOT_KEY)
            .or_else(|_| keys_by_rough_count(command.spec, args)),
    }
}

const READ: KeyFlags = KeyFlags::RO.or(KeyFlags::ACCESS);
const OVERWRITE: KeyFlags = KeyFlags::OW.or(KeyFlags::UPDATE);
const READ_AND_UPDATE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE);
const READ_AND_DELETE: KeyFlags = KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::DELETE);

/// SET overwrites, unless it is asked for the old value too, or tells whether that is a given one.
fn set_flags(args: Args<'_>) -> KeyFlags {
    let reads = |at| args.is(at, "GET") || compares(args, at);
    match (3..args.len()).any(reads) {
        true => READ_AND_UPDATE,
        false => OVERWRITE,
    }
}

/// DELEX without a condition looks at nothing.
fn delex_flags(args: Args<'_>) -> KeyFlags {
    match args.len() {
        0..=2 => KeyFlags::RM.or(KeyFlags::DELETE),
        _ => READ_AND_DELETE,
    }
}

/// Whether argument `at` is a condition that compares, so that its outcome tells of the value.
fn compares(args: Args<'_>, at: usize) -> bool {
    Condition::at(args, at).is_some_and(Condition::compares)
}

/// BITFIELD only reads when all it is asked to do is GET.
fn bitfield_flags(args: Args<'_>) -> KeyFlags {
    let mut at = 2;
    while at < args.len() {
        let width = match () {
            _ if args.is(at, "GET") && at + 2 < args.len() => 3,
            _ if args.is(at, "OVERFLOW") => 2,
            _ => return READ_AND_UPDATE,
        };
        at += width;
    }
    READ
}

/// SORT reads its key and overwrites the last one named by STORE; what BY and GET read, patterns say.
fn sort_keys(args: Args<'_>) -> Keys {
    let mut keys = vec![(1, READ)];
    let mut store = None;
    let mut at = 2;
    while at < args.len() {
        at += match () {
            _ if args.is(at, "LIMIT") => 3,
            _ if args.is(at, "GET") || args.is(at, "BY") => 2,
            _ if args.is(at, "STORE") && at + 1 < args.len() => {
                store = Some((at + 1, OVERWRITE));
                2
            }
            _ => 1,
        };
    }
    keys.extend(store);
    keys
}

/// What GEORADIUS reads, and every key that it names to be written, the options beginning at `start`: the specs see the
/// first of each word alone. One that ends with STORE names no key there.
fn georadius_keys(spec: &Spec, args: Args<'_>, start: usize) -> Keys {
    let is_store = |at: &usize| args.is(*at, "STORE") || args.is(*at, "STOREDIST");
    let mut keys = keys_by_specs(spec, args, KeyFlags::NOT_KEY).unwrap_or_else(|_| {
        let mut places = (5..args.len().saturating_sub(1)).filter(is_store);
        let last = places.next_back().map(|at| (at + 1, OVERWRITE));
        [(1, READ)].into_iter().chain(last).collect()
    });
    let mut at = start;
    while at + 1 < args.len() {
        let stores = is_store(&at);
        if stores && !keys.iter().any(|(known, _)| *known == at + 1) {
            keys.push((at + 1, OVERWRITE));
        }
        at += if stores || args.is(at, "COUNT") { 2 } else { 1 };
    }
    keys
}

/// MIGRATE's one key, or with an empty one those behind KEYS.
fn migrate_keys(args: Args<'_>) -> Keys {
    let one = vec![(3, READ_AND_DELETE)];
    let mut at = 6;
    while at < args.len() {
        at += match () {
            _ if args.is(at, "AUTH") => 2,
            _ if args.is(at, "AUTH2") => 3,
            _ if args.is(at, "KEYS") && args.bytes(3).is_empty() => {
                return (at + 1..args.len())
                    .map(|at| (at, READ_AND_DELETE))
                    .collect();
            }
            _ => 1,
        };
    }
    one
}

/// What the specs name, but for those specs that have any of these flags.
fn keys_by_specs(spec: &Spec, args: Args<'_>, but: KeyFlags) -> Result<Keys, InvalidKeys> {
    let mut keys = Keys::new();
    for key_spec in spec.key_specs {
        if key_spec.flags.0 & but.0 != 0 {
            continue;
        }
        let Some(begin) = find_begin(key_spec.begin, args)? else {
            continue;
        };
        let (first, last, step) = find_range(key_spec.find, begin, args)?;
        let argc = args.len() as i64;
        if first <= 0 || first >= argc || last >= argc || last < first || step <= 0 {
            return Err(InvalidKeys);
        }
        let places = (first..=last).step_by(step as usize);
        // That a spec may miss keys says nothing of those that it finds.
        let flags = KeyFlags(key_spec.flags.0 & !KeyFlags::INCOMPLETE.0);
        keys.extend(places.map(|at| (at as usize, flags)));
    }
    Ok(keys)
}

/// Where a spec's keys begin; nowhere when its word is not there.
fn find_begin(begin: BeginSearch, args: Args<'_>) -> Result<Option<i64>, InvalidKeys> {
    match begin {
        BeginSearch::Index(at) => Ok(Some(at.into())),
        BeginSearch::Unknown => Err(InvalidKeys),
        BeginSearch::Keyword {
            keyword,
            start_from,
        } => {
            let is_it = |at: &usize| args.is(*at, keyword);
            let found = if start_from >= 0 {
                (start_from as usize..args.len()).find(is_it)
            } else {
                let back = start_from.unsigned_abs() as usize;
                (1..(args.len() + 1).saturating_sub(back)).rev().find(is_it)
            };
            Ok(found.map(|at| at as i64 + 1))
        }
    }
}

/// First key, last key and step of what a spec describes from `begin` on.
fn find_range(find: FindKeys, begin: i64, args: Args<'_>) -> Result<(i64, i64, i64), InvalidKeys> {
    let argc = args.len() as i64;
    match find {
        FindKeys::Unknown => Err(InvalidKeys),
        FindKeys::Range {
            last_key,
            step,
            limit,
        } => {
            let last_key = i64::from(last_key);
            let last = match last_key {
                0.. => begin + last_key,
                _ if limit > 1 => begin + (argc - begin) / i64::from(limit) + last_key,
                _ => argc + last_key,
            };
            Ok((begin, last, step.into()))
        }
        FindKeys::Keynum {
            keynum_index,
            first_key,
            step,
        } => {
            let count = usize::try_from(begin + i64::from(keynum_index)).ok();
            let count = count.and_then(|at| parse_i64(args.get(at)?));
            let count = count
                .filter(|n| (1..=argc).contains(n))
                .ok_or(InvalidKeys)?;
            let first = begin + i64::from(first_key);
            Ok((first, first + (count - 1) * i64::from(step), step.into()))
        }
    }
}

/// The keys of a request whose count of keys is no plain number: as many as the text begins with, and behind them the
/// one that is written to. What is done with them nobody says; the command itself refuses the request.
fn keys_by_rough_count(spec: &Spec, args: Args<'_>) -> Result<Keys, InvalidKeys> {
    let (mut counted, mut fixed) = (Keys::new(), Keys::new());
    for key_spec in spec.key_specs {
        let BeginSearch::Index(begin) = key_spec.begin else {
            return Err(InvalidKeys);
        };
        let FindKeys::Keynum {
            keynum_index,
            first_key,
            ..
        } = key_spec.find
        else {
            fixed.push((begin as usize, KeyFlags(0)));
            continue;
        };
        let (at, first) = (
            (begin + keynum_index) as usize,
            (begin + first_key) as usize,
        );
        let count = args.get(at).map_or(0, leading_int);
        let count = usize::try_from(count).unwrap_or(0);
        if count == 0 || count > args.len().saturating_sub(first) {
            return Err(InvalidKeys);
        }
        counted.extend((first..first + count).map(|at| (at, KeyFlags(0))));
    }
    if counted.is_empty() {
        return Err(InvalidKeys);
    }
    counted.extend(fixed);
    Ok(counted)
}

/// The number that an argument begins with, as C's `atoi` reads it: space and a sign may lead, what follows is left
/// alone, and only 32 bits of it count.
fn leading_int(bytes: &[u8]) -> i64 {
    let is_space = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0x0b;
    let start = bytes.iter().take_while(|byte| is_space(byte)).count();
    let (sign, rest) = match &bytes[start..] {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit());
    let value = digits.fold(0i64, |value, digit| {
        let digit = i64::from(digit - b'0') * sign;
        value.saturating_mul(10).saturating_add(digit)
    });
    i64::from(value as i32)
}

/// The keys as one range from the front, as far as that can say it.
pub fn key_range(spec: &Spec) -> KeyRange {
    let ranges = spec
        .key_specs
        .iter()
        .map(|key_spec| match (key_spec.begin, key_spec.find) {
            (BeginSearch::Index(first), FindKeys::Range { last_key, step, .. }) => {
                let last = if last_key < 0 {
                    last_key
                } else {
                    first + last_key
                };
                Some(KeyRange { first, last, step })
            }
            _ => None,
        });
    let ranges: Vec<Option<KeyRange>> = ranges.collect();
    if let [Some(only)] = ranges[..] {
        return only;
    }
    let mut whole = KeyRange::default();
    for range in ranges.into_iter().flatten() {
        // Ranges that do not follow each other, or leave arguments out, cannot be joined.
        let follows = whole.step == 0 || whole.last == range.first - 1;
        if range.step == 1 && follows {
            let first = if whole.step == 0 {
                range.first
            } else {
                whole.first
            };
            whole = KeyRange { first, ..range };
        }
    }
    whole
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::parser::QueryView;
    use crate::resp::{Limits, Parser};
    use crate::state::CommandId;

    const LAST: FindKeys = FindKeys::Range {
        last_key: -1,
        step: 1,
        limit: 2,
    };
    const SPECS: &[(&str, &[KeySpec])] = &[
        ("get", &[KeySpec::at(1, READ)]),
        ("mset", &[KeySpec::range(1, -1, 2, OVERWRITE)]),
        ("blpop", &[KeySpec::range(1, -2, 1, READ)]),
        ("lmove", &[KeySpec::at(1, READ), KeySpec::at(2, OVERWRITE)]),
        (
            "zunionstore",
            &[KeySpec::at(1, OVERWRITE), KeySpec::keynum(2, 1, 1, READ)],
        ),
        (
            "xread",
            &[KeySpec {
                flags: READ,
                begin: BeginSearch::Keyword {
                    keyword: "STREAMS",
                    start_from: 1,
                },
                find: LAST,
            }],
        ),
        ("sort", &[KeySpec::at(1, READ)]),
        ("migrate", &[KeySpec::at(3, READ_AND_DELETE)]),
    ];

    fn command(name: &str) -> Command {
        let found = SPECS.iter().find(|(known, _)| *known == name);
        let key_specs = found.expect("the tests name known commands").1;
        Command {
            id: CommandId(0),
            spec: Box::leak(Box::new(Spec {
                key_specs,
                ..Spec::DEFAULT
            })),
            full_name: name.to_owned(),
            container: None,
            subcommands: Vec::new(),
            first_key: None,
            element: None,
            timed_above: usize::MAX,
        }
    }

    fn keys(line: &str) -> String {
        let mut query = format!("{line}\r\n").into_bytes();
        let (mut parser, mut argv) = (Parser::default(), Vec::new());
        let len = query.len();
        let limits = Limits {
            bulk_len_max: 1000,
            authenticated: true,
        };
        let mut view = QueryView::new(&mut query, 0, len);
        parser
            .parse(&mut view, &mut argv, limits)
            .expect("a whole line");
        let big = parser.take_big();
        let args = Args::new(&query, &argv, &big);
        let name = String::from_utf8_lossy(args.bytes(0)).into_owned();
        match keys_of(&command(&name), args) {
            Err(InvalidKeys) => "invalid".into(),
            Ok(keys) => {
                let keys = keys
                    .iter()
                    .map(|(at, _)| String::from_utf8_lossy(args.bytes(*at)));
                keys.collect::<Vec<_>>().join(" ")
            }
        }
    }

    #[test]
    fn keys_are_found_as_the_specs_say() {
        for (line, want) in [
            ("get a", "a"),
            ("mset a 1 b 2", "a b"),
            ("blpop a b 0", "a b"),
            ("zunionstore d 2 a b", "d a b"),
            ("zunionstore d 5 a", "invalid"),
            ("zunionstore d 0 a", "invalid"),
            ("zunionstore d -1 a", "invalid"),
            ("zunionstore d 9223372036854775807 a", "invalid"),
            ("xread count 2 streams a b 0 0", "a b"),
            ("xread count 2 streams a b 0", "a"),
            ("xread count 2 streams", "invalid"),
            ("sort a by b get c store d store e limit 0 1", "a e"),
            ("sort a store", "a"),
            ("migrate h 1 k 0 5", "k"),
            ("migrate h 1 \"\" 0 5 COPY KEYS a b", "a b"),
        ] {
            assert_eq!(keys(line), want, "{line}");
        }
    }

    #[test]
    fn ranges_that_follow_each_other_are_one() {
        let range = |name: &str| {
            let range = key_range(command(name).spec);
            (range.first, range.last, range.step)
        };
        assert_eq!(range("mset"), (1, -1, 2));
        assert_eq!(range("lmove"), (1, 2, 1));
        assert_eq!(range("zunionstore"), (1, 1, 1));
        assert_eq!(range("xread"), (0, 0, 0));
    }
}
