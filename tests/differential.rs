//! Differential: the same commands to Retrace and to a real server, and replies that must be the same to the byte.
//!
//! Lives here: hand-written edge cases (`differential/*.txt`), raw bytes (`differential/wire.txt`), and commands out of a
//! grammar for each family. `RETRACE_SEED` and `RETRACE_COMMANDS` change what the grammar makes. Where there is no real
//! server the tests say so and pass.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::borrow::Cow;
use std::fs;
use std::path::Path;

use support::{Client, Rng, Server, Value, count_from_env, oracle_server, request, seed_from_env};

const OPTIONS: &[&str] = &["--save", "", "--enable-debug-command", "yes"];

/// Commands whose replies have no order of their own.
const UNORDERED: &[&str] = &["KEYS", "SCAN", "COMMAND", "CONFIG"];

/// A connection to each of the two servers.
struct Pair {
    ours: Client,
    real: Client,
}

impl Pair {
    fn new(ours: &Server, real: &Server, protocol: &str) -> Pair {
        let mut pair = Pair {
            ours: ours.connect(),
            real: real.connect(),
        };
        pair.quietly(&["HELLO", protocol]);
        pair
    }

    /// Runs a command on both without a look at what they say.
    fn quietly(&mut self, args: &[&str]) {
        for client in [&mut self.ours, &mut self.real] {
            client.send(&request(args));
            client.next_reply();
        }
    }
}

/// The items of every list within in an order that does not depend on the server.
fn sorted(value: Value) -> Value {
    let sort = |items: Vec<Value>| {
        let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
        items.sort_by_key(Value::to_string);
        items
    };
    match value {
        Value::Array(items) => Value::Array(sort(items)),
        Value::Set(items) => Value::Set(sort(items)),
        Value::Map(pairs) => {
            let mut pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            pairs.sort_by_key(|(key, _)| key.to_string());
            Value::Map(pairs)
        }
        other => other,
    }
}

/// A reply as it is compared. Errors are text here, so one that quotes bytes which are no UTF-8 has them replaced.
fn comparable(reply: &[u8]) -> Cow<'_, [u8]> {
    match reply.first() {
        Some(b'-') => String::from_utf8_lossy(reply)
            .into_owned()
            .into_bytes()
            .into(),
        _ => reply.into(),
    }
}

/// What the two said to one command, if it was not the same. With `is_loose` only the kind of reply must be the same:
/// its words are each server's own.
fn difference(
    command: &[Vec<u8>],
    is_loose: bool,
    ours: Option<(Value, Vec<u8>)>,
    real: Option<(Value, Vec<u8>)>,
) -> Option<String> {
    let bytes = |reply: &Option<(Value, Vec<u8>)>| reply.as_ref().map(|(_, bytes)| bytes.clone());
    let (our_bytes, real_bytes) = (bytes(&ours), bytes(&real));
    if our_bytes.as_deref().map(comparable) == real_bytes.as_deref().map(comparable) {
        return None;
    }
    if let (true, Some(ours), Some(real)) = (is_loose, &our_bytes, &real_bytes)
        && ours[0] == real[0]
    {
        return None;
    }
    let name = String::from_utf8_lossy(command.first().map_or(b"", |name| name)).to_uppercase();
    if let (Some((ours, _)), Some((real, _))) = (&ours, &real)
        && UNORDERED.contains(&name.as_str())
        && sorted(ours.clone()) == sorted(real.clone())
    {
        return None;
    }
    let shown = |bytes: Option<Vec<u8>>| match bytes {
        Some(bytes) => {
            let text = bytes.escape_ascii().to_string();
            text.chars().take(1500).collect()
        }
        None => "(connection closed)".to_owned(),
    };
    let words: Vec<String> = command
        .iter()
        .map(|word| format!("\"{}\"", word.escape_ascii()))
        .collect();
    Some(format!(
        "{}\n   ours: {}\n   real: {}",
        words.join(" "),
        shown(our_bytes),
        shown(real_bytes)
    ))
}

fn fail_with(differences: Vec<String>, what: &str) {
    if differences.is_empty() {
        return;
    }
    for difference in differences.iter().take(60) {
        println!("{difference}");
    }
    panic!("{what}: {} replies differ", differences.len());
}

/// The words of a line, quoted as in redis-cli.
fn words(line: &str) -> Vec<Vec<u8>> {
    retrace::config::split_args(line.as_bytes())
        .unwrap_or_else(|| panic!("unbalanced quotes: {line}"))
}

/// Sends one file's commands in RESP2, then in RESP3, on empty servers.
fn compare_file(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/differential")
        .join(name);
    let text = fs::read_to_string(&path).expect("the test's file");
    let mut differences = Vec::new();
    for protocol in ["2", "3"] {
        let Some(real) = oracle_server(OPTIONS) else {
            return;
        };
        let ours = Server::start(OPTIONS);
        let mut pair = Pair::new(&ours, &real, protocol);
        for (number, line) in text.lines().enumerate() {
            match line.split_whitespace().collect::<Vec<_>>()[..] {
                [] => {}
                [comment, ..] if comment.starts_with('#') => {}
                ["!flush"] => pair.quietly(&["FLUSHALL"]),
                ["!protocol", version] => pair.quietly(&["HELLO", version]),
                _ => {
                    let (line, is_loose) = match line.strip_prefix("~ ") {
                        Some(line) => (line, true),
                        None => (line, false),
                    };
                    let command = words(line);
                    pair.ours.send(&request(&command));
                    pair.real.send(&request(&command));
                    let (ours_said, real_said) = (pair.ours.next_reply(), pair.real.next_reply());
                    let is_over = ours_said.is_none() || real_said.is_none() || line == "QUIT";
                    if let Some(text) = difference(&command, is_loose, ours_said, real_said) {
                        differences.push(format!("{name}:{} RESP{protocol}: {text}", number + 1));
                    }
                    if is_over {
                        pair = Pair::new(&ours, &real, protocol);
                    }
                }
            }
        }
    }
    fail_with(differences, name);
}

#[test]
fn strings_by_hand() {
    compare_file("strings.txt");
}

#[test]
fn keys_by_hand() {
    compare_file("keys.txt");
}

#[test]
fn bits_by_hand() {
    compare_file("bits.txt");
}

#[test]
fn hyperloglogs_by_hand() {
    compare_file("hyperloglog.txt");
}

#[test]
fn connections_by_hand() {
    compare_file("connection.txt");
}

/// The bytes of a line of `wire.txt`.
fn unescape(line: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = line;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        rest = &rest[at + 1..];
        let (byte, len) = match rest.as_bytes()[0] {
            b'r' => (vec![b'\r'], 1),
            b'n' => (vec![b'\n'], 1),
            b't' => (vec![b'\t'], 1),
            b'x' => (
                vec![u8::from_str_radix(&rest[1..3], 16).expect("two hex digits")],
                3,
            ),
            b'{' => {
                let end = rest.find('}').expect("a closing brace");
                let (count, what) = rest[1..end].split_once('*').expect("count*what");
                (
                    what.repeat(count.parse().expect("a count")).into_bytes(),
                    end + 1,
                )
            }
            other => (vec![other], 1),
        };
        bytes.extend(byte);
        rest = &rest[len..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    bytes
}

fn answer_to(server: &Server, bytes: &[u8]) -> Vec<u8> {
    let mut client = server.connect();
    let _ = client.try_send(bytes); // who sends nonsense may find the door closed
    client.half_close();
    client.read_to_end()
}

#[test]
fn bytes_on_the_wire() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    let mut differences = Vec::new();
    for line in include_str!("differential/wire.txt")
        .lines()
        .filter(|line| !line.starts_with('#'))
    {
        // What is known to differ must differ, so that the mark goes when the difference does.
        let (line, is_known) = match line.strip_prefix("!known ") {
            Some(line) => (line, true),
            None => (line, false),
        };
        let bytes = unescape(line);
        let (ours_said, real_said) = (answer_to(&ours, &bytes), answer_to(&real, &bytes));
        if (comparable(&ours_said) != comparable(&real_said)) != is_known {
            differences.push(format!(
                "{line}\n   ours: {}\n   real: {}",
                ours_said.escape_ascii(),
                real_said.escape_ascii()
            ));
        }
    }
    fail_with(differences, "wire.txt");
}

/// Families and what their commands look like. `[a]` may be left out, `(a|b)` is one of them; small words stand for
/// values, all others for themselves. What depends on the clock is not here.
const GRAMMAR: &[(&str, &[&str])] = &[
    (
        "strings",
        &[
            "SET key value [(NX|XX)] [GET] [(KEEPTTL|EXAT far|PXAT farms|EX bad|PXAT bad)]",
            "SET key int",
            "GET key",
            "GET key",
            "GETDEL key",
            "GETEX key [(PERSIST|EXAT at|PXAT at)]",
            "GETSET key value",
            "SETNX key value",
            "SETEX key bad value",
            "PSETEX key bad value",
            "MSET key value [key int] [key value]",
            "MSETNX key value [key value]",
            "MGET key key [key]",
            "APPEND key value",
            "STRLEN key",
            "SETRANGE key small value",
            "GETRANGE key index index",
            "SUBSTR key index index",
            "INCR key",
            "DECR key",
            "INCRBY key int",
            "DECRBY key int",
            "INCRBYFLOAT key float",
            "LCS key key [LEN] [IDX] [MINMATCHLEN small] [WITHMATCHLEN]",
        ],
    ),
    (
        "keys",
        &[
            "SET key value [PXAT farms]",
            "DEL key [key]",
            "UNLINK key [key]",
            "EXISTS key [key] [key]",
            "TYPE key",
            "TOUCH key key",
            "RENAME key key",
            "RENAMENX key key",
            "COPY key key [DB db] [REPLACE]",
            "MOVE key db",
            "SELECT db",
            "SWAPDB db db",
            "EXPIREAT key at [(NX|XX|GT|LT)] [(NX|XX|GT|LT)]",
            "PEXPIREAT key at [(NX|XX|GT|LT)]",
            "EXPIRE key bad [(NX|XX|GT|LT)]",
            "PEXPIRE key bad",
            "PERSIST key",
            "EXPIRETIME key",
            "PEXPIRETIME key",
            "DBSIZE",
            "KEYS pattern",
            "SCAN 0 [MATCH pattern] COUNT 100000 [TYPE string]",
            "OBJECT ENCODING key",
            "DEBUG DIGEST-VALUE key",
            "FLUSHDB (SYNC|ASYNC)",
        ],
    ),
    (
        "bits",
        &[
            "SET key value",
            "GET key",
            "DEL key",
            "SETBIT key small bit",
            "SETBIT key offset bit",
            "GETBIT key offset",
            "BITCOUNT key [index index [(BIT|BYTE)]]",
            "BITPOS key bit [index [index [(BIT|BYTE)]]]",
            "BITOP (AND|OR|XOR) key key key [key]",
            "BITOP NOT key key",
            "BITFIELD key [OVERFLOW (WRAP|SAT|FAIL)] (SET|INCRBY) width place int [GET width place]",
            "BITFIELD key GET width place [OVERFLOW (SAT|FAIL) INCRBY width place int] [SET width place int]",
            "BITFIELD_RO key GET width place [GET width place]",
            "STRLEN key",
            "APPEND key value",
        ],
    ),
];

/// The word that `name` stands for.
fn word(name: &str, rng: &mut Rng) -> Vec<u8> {
    const INTS: &[i64] = &[
        0,
        1,
        -1,
        2,
        7,
        10,
        100,
        255,
        256,
        -128,
        9999,
        i64::MAX,
        i64::MIN,
        i64::MAX - 1,
    ];
    const ODD: &[&str] = &[
        "",
        " ",
        "0x10",
        "1e3",
        "-0",
        "+1",
        "01",
        "1.5",
        "9223372036854775808",
        "abc",
        "nan",
        "inf",
        "-",
        "\n",
    ];
    let text = match name {
        "key" => format!("key:{}", rng.below(8)),
        "value" => match rng.below(12) {
            0 => String::new(),
            1 => rng.pick(ODD).to_string(),
            2 => "long".repeat(rng.below(40)),
            3 => "x".repeat(44 + rng.below(2)),
            4 => format!("{}.{}", rng.below(100), rng.below(100)),
            5 => {
                let len = rng.below(12);
                return rng.bytes(len);
            }
            6..9 => rng.pick(INTS).to_string(),
            _ => "hello world"[rng.below(6)..].to_owned(),
        },
        "int" if rng.one_in(12) => rng.pick(ODD).to_string(),
        "int" => rng.pick(INTS).to_string(),
        "small" => (rng.below(40) as i64 - i64::from(rng.one_in(20))).to_string(),
        "index" => (rng.below(30) as i64 - 15).to_string(),
        "float" => rng
            .pick(&[
                "0.1",
                "1",
                "-2.5",
                "3e5",
                "1e-5",
                "100",
                "0",
                "nan",
                "abc",
                "1e308",
                "12345678901234567",
            ])
            .to_string(),
        "bad" => rng
            .pick(&[
                "0",
                "-1",
                "abc",
                "",
                "9223372036854775807",
                "-9223372036854775808",
                "1.5",
            ])
            .to_string(),
        // Long gone, or so far away that both servers agree about it.
        "at" => rng
            .pick(&[
                "1",
                "99999999999",
                "88888888888",
                "99999999999999",
                "9223372036854775807",
                "0",
                "-1",
                "abc",
            ])
            .to_string(),
        "far" => rng.pick(&["99999999999", "88888888888"]).to_string(),
        "farms" => rng.pick(&["99999999999999", "88888888888888"]).to_string(),
        "db" => rng
            .pick(&["0", "0", "1", "2", "15", "16", "-1", "x"])
            .to_string(),
        "bit" => rng.pick(&["0", "1", "1", "2", "x"]).to_string(),
        "offset" => rng
            .pick(&["0", "1", "7", "8", "100", "1000", "-1", "4294967296", "x"])
            .to_string(),
        "width" => rng
            .pick(&[
                "u8", "i8", "u4", "i5", "u63", "i64", "u1", "i1", "u64", "i65", "u0", "x",
            ])
            .to_string(),
        "place" => rng
            .pick(&["0", "3", "#0", "#2", "17", "#7", "100", "-1", "#x"])
            .to_string(),
        "pattern" => rng
            .pick(&[
                "*",
                "key:*",
                "key:[1-3]",
                "key:?",
                "k*:[^2]",
                "nothing",
                "key:\\1",
                "[",
                "*:*4",
            ])
            .to_string(),
        literal => literal.to_owned(),
    };
    text.into_bytes()
}

/// Takes one rule's words up to the end of its group; `is_on` says whether they are wanted.
fn expand<'a>(rule: &'a str, rng: &mut Rng, is_on: bool, out: &mut Vec<Vec<u8>>) -> &'a str {
    let mut rest = rule;
    loop {
        rest = rest.trim_start();
        match rest.as_bytes().first() {
            None | Some(b']' | b')' | b'|') => return rest,
            Some(b'[') => {
                let wanted = is_on && rng.one_in(2);
                rest = expand(&rest[1..], rng, wanted, out)
                    .strip_prefix(']')
                    .expect("a closed group");
            }
            Some(b'(') => {
                // Which of the alternatives, told by counting those at this depth.
                let (mut depth, mut count) = (0, 1);
                for byte in rest.bytes() {
                    match byte {
                        b'(' | b'[' => depth += 1,
                        b')' | b']' => depth -= 1,
                        b'|' if depth == 1 => count += 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
                let choice = rng.below(count);
                for index in 0..count {
                    rest = expand(&rest[1..], rng, is_on && index == choice, out);
                }
                rest = rest.strip_prefix(')').expect("a closed group");
            }
            Some(_) => {
                let end = rest
                    .find([' ', '[', ']', '(', ')', '|'])
                    .unwrap_or(rest.len());
                if is_on {
                    out.push(word(&rest[..end], rng));
                }
                rest = &rest[end..];
            }
        }
    }
}

fn generated(rules: &[&str], rng: &mut Rng) -> Vec<Vec<u8>> {
    let mut command = Vec::new();
    let rule = *rng.pick(rules);
    expand(rule, rng, true, &mut command);
    match rng.below(40) {
        0 => drop(command.pop()),
        1 => command.push(word("int", rng)),
        2 => {
            let at = rng.below(command.len());
            command[at] = word("int", rng);
        }
        3 => command[0].make_ascii_lowercase(),
        _ => {}
    }
    if command.is_empty() {
        command.push(b"PING".to_vec());
    }
    command
}

fn compare_generated(family: &str) {
    const BATCH: usize = 50;
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let seed = seed_from_env().unwrap_or(1);
    let count = count_from_env("RETRACE_COMMANDS", 20_000) / 2;
    println!("RETRACE_SEED={seed}");
    let rules = GRAMMAR
        .iter()
        .find(|(name, _)| *name == family)
        .expect("a family")
        .1;
    let mut differences = Vec::new();
    for protocol in ["2", "3"] {
        let ours = Server::start(OPTIONS);
        let mut pair = Pair::new(&ours, &real, protocol);
        pair.quietly(&["FLUSHALL"]);
        let mut rng = Rng::new(seed);
        'batches: for batch in 0..count / BATCH {
            let commands: Vec<Vec<Vec<u8>>> =
                (0..BATCH).map(|_| generated(rules, &mut rng)).collect();
            let bytes: Vec<u8> = commands
                .iter()
                .flat_map(|command| request(command))
                .collect();
            pair.ours.send(&bytes);
            pair.real.send(&bytes);
            for (index, command) in commands.iter().enumerate() {
                let (ours_said, real_said) = (pair.ours.next_reply(), pair.real.next_reply());
                let is_over = ours_said.is_none() || real_said.is_none();
                if let Some(text) = difference(command, false, ours_said, real_said) {
                    differences.push(format!(
                        "{family}, command {} RESP{protocol}: {text}",
                        batch * BATCH + index
                    ));
                }
                if is_over || differences.len() > 100 {
                    break 'batches;
                }
            }
        }
        pair.quietly(&["FLUSHALL"]);
    }
    fail_with(differences, family);
}

#[test]
fn strings_generated() {
    compare_generated("strings");
}

#[test]
fn keys_generated() {
    compare_generated("keys");
}

#[test]
fn bits_generated() {
    compare_generated("bits");
}
