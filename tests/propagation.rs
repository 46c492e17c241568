//! Propagation: what commands append to the append-only file is what a real server appends, command by command.
//!
//! The commands are those of the grammars; `RETRACE_SEED` and `RETRACE_COMMANDS` (for each family) change what is made.
//! Where there is no real server the tests say so and pass.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use retrace::persist::aof::{Commands, Part};
use std::fs;
use std::path::Path;
use support::grammar::{Words, generated, rules};
use support::pair::{OPTIONS, fail_with, words};
use support::{Client, Server, count_from_env, oracle_server, request, seed};

/// What stands between the commands, so that it is known what each has appended.
const MARK: &str = "mark";

/// The commands in the newest file, those of each command of ours together.
fn appended(dir: &Path) -> Vec<Vec<String>> {
    let path = dir.join("appendonlydir/appendonly.aof.1.incr.aof");
    let bytes = fs::read(path).expect("a file");
    let mut commands = Commands::new(0, bytes, 0);
    let mut sections = Vec::new();
    while let Ok(Some(part)) = commands.next_part() {
        let Part::Command(args) = part else {
            continue;
        };
        let words: Vec<&[u8]> = args.iter().map(|arg| commands.bytes(arg)).collect();
        if words.get(1) == Some(&MARK.as_bytes()) {
            sections.push(Vec::new());
        } else if let Some(section) = sections.last_mut() {
            section.push(shown(&words));
        }
    }
    sections
}

/// A command for comparison: its name in capitals, times of now left out.
fn shown(words: &[&[u8]]) -> String {
    let is_time = |word: &[u8]| {
        word.len() == 13 && word.starts_with(b"1") && word.iter().all(u8::is_ascii_digit)
    };
    let words = words.iter().enumerate().map(|(index, word)| match index {
        0 => word.to_ascii_uppercase().escape_ascii().to_string(),
        _ if is_time(word) => "<ms>".to_owned(),
        _ => word[..word.len().min(60)].escape_ascii().to_string(),
    });
    words.collect::<Vec<_>>().join(" ")
}

/// One command, or several that belong together: a transaction.
type Unit = Vec<Vec<Vec<u8>>>;

fn run(client: &mut Client, units: &[Unit]) {
    for (batch, units) in units.chunks(50).enumerate() {
        let mut bytes = Vec::new();
        for (index, unit) in units.iter().enumerate() {
            let index = batch * 50 + index;
            bytes.extend(request(&["SET", MARK, &index.to_string()]));
            bytes.extend(unit.iter().flat_map(|command| request(command)));
        }
        client.send(&bytes);
        let replies: usize = units.iter().map(|unit| unit.len() + 1).sum();
        for _ in 0..replies {
            client.read();
        }
    }
}

/// Whether the other server's file can be held against ours.
fn is_fit(command: &[Vec<u8>]) -> bool {
    let name = command[0].to_ascii_uppercase();
    // Connections of their own would be needed for what waits.
    !matches!(
        &name[..],
        b"SELECT" | b"SWAPDB" | b"MOVE" | b"DEBUG" | b"HELLO"
    ) && !name.starts_with(b"BL")
        && !name.starts_with(b"BZ")
        && !name.starts_with(b"BR")
}

/// The real server's command for an approximate MINID that trims nothing removes everything when it is repeated.
fn is_known_to_differ(command: &[Vec<u8>]) -> bool {
    command.iter().any(|arg| arg == b"~")
}

/// Runs the units on both servers, and finds what they have appended for each.
fn compare_units(what: &str, units: &[Unit]) {
    let args: Vec<&str> = OPTIONS
        .iter()
        .copied()
        .chain(["--appendonly", "yes", "--appendfsync", "no"])
        .collect();
    let Some(real) = oracle_server(&args) else {
        return;
    };
    let ours = Server::start(&args);
    for server in [&ours, &real] {
        run(&mut server.connect(), units);
    }
    let (got, want) = (appended(ours.dir.path()), appended(real.dir.path()));
    assert_eq!(want.len(), units.len(), "the real server's file");
    let mut differences = Vec::new();
    for (index, unit) in units.iter().enumerate() {
        let (got, want) = (got.get(index), want.get(index));
        if got != want && !unit.iter().any(|command| is_known_to_differ(command)) {
            let shown: Vec<String> = unit
                .iter()
                .map(|command| shown(&command.iter().map(Vec::as_slice).collect::<Vec<_>>()))
                .collect();
            differences.push(format!(
                "{what} {index}: {}\n    ours {got:?}\n    real {want:?}",
                shown.join(" | ")
            ));
        }
    }
    fail_with(differences, what);
}

fn compare(family: &str) {
    let seed = seed();
    let count = count_from_env("RETRACE_COMMANDS", 3_000);
    let rules = rules(family);
    let mut words = Words::new(seed);
    let units: Vec<Unit> = std::iter::repeat_with(|| generated(&rules, &mut words))
        .filter(|command| is_fit(command))
        .take(count)
        .map(|command| vec![command])
        .collect();
    compare_units(family, &units);
}

/// Commands of all families; of those that wait or choose at random, none.
const FAMILIES: [&str; 9] = [
    "strings",
    "keys",
    "bits",
    "hyperloglogs",
    "lists",
    "hashes",
    "sets",
    "zsets",
    "streams",
];

/// Makes units out of several commands of all families each.
fn compare_several(what: &str, make: impl Fn(&mut Words, Vec<Vec<Vec<u8>>>) -> Unit) {
    let seed = seed();
    let count = count_from_env("RETRACE_COMMANDS", 3_000);
    let rules: Vec<String> = FAMILIES.iter().flat_map(|family| rules(family)).collect();
    let mut words = Words::new(seed);
    let mut units = Vec::new();
    while units.len() < count {
        let len = words.rng.below(4);
        let commands = std::iter::repeat_with(|| generated(&rules, &mut words))
            .filter(|command| is_fit(command) && !is_known_to_differ(command))
            .take(len)
            .collect();
        units.push(make(&mut words, commands));
    }
    compare_units(what, &units);
}

#[test]
fn transactions() {
    let word = |text: &str| vec![text.as_bytes().to_vec()];
    compare_several("transactions", |_, commands| {
        let mut unit = vec![word("MULTI")];
        unit.extend(commands);
        unit.push(word("EXEC"));
        unit
    });
}

/// Calls the commands that its arguments hold: for each what `redis.set_repl` is to be, how many words it has, its words.
const CALLER: &str = "local i = 1 while i <= #ARGV do redis.set_repl(tonumber(ARGV[i])) local n = tonumber(ARGV[i + 1]) \
                      local c = {} for j = 1, n do c[j] = ARGV[i + 1 + j] end redis.pcall(unpack(c)) i = i + 2 + n end";

#[test]
fn scripts() {
    compare_several("scripts", |words, commands| {
        let mut script: Vec<Vec<u8>> = ["EVAL", CALLER, "0"]
            .iter()
            .map(|word| word.as_bytes().to_vec())
            .collect();
        for command in commands {
            let targets = if words.rng.one_in(3) {
                words.rng.below(4)
            } else {
                3
            };
            script.push(targets.to_string().into_bytes());
            script.push(command.len().to_string().into_bytes());
            script.extend(command);
        }
        vec![script]
    });
}

/// What the grammars do not have: databases, messages, functions, flushes, scripts in transactions, commands that wait
/// served by transactions.
#[test]
fn conversations() {
    let text = include_str!("propagation.txt");
    let units: Vec<Unit> = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split(" | ").map(words).collect())
        .collect();
    compare_units("conversations", &units);
}

#[test]
fn strings() {
    compare("strings");
}

#[test]
fn keys() {
    compare("keys");
}

#[test]
fn bits() {
    compare("bits");
}

#[test]
fn hyperloglogs() {
    compare("hyperloglogs");
}

#[test]
fn lists() {
    compare("lists");
}

#[test]
fn hashes() {
    compare("hashes");
}

#[test]
fn sets() {
    compare("sets");
}

#[test]
fn zsets() {
    compare("zsets");
}

#[test]
fn geo() {
    compare("geo");
}

#[test]
fn streams() {
    compare("streams");
}
