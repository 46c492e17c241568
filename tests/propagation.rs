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
use support::pair::{OPTIONS, fail_with};
use support::{Client, Server, count_from_env, oracle_server, request, seed_from_env};

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

fn run(client: &mut Client, commands: &[Vec<Vec<u8>>]) {
    for batch in commands.chunks(50) {
        let mut bytes = Vec::new();
        for (index, command) in batch.iter().enumerate() {
            bytes.extend(request(&["SET", MARK, &index.to_string()]));
            bytes.extend(request(command));
        }
        client.send(&bytes);
        for _ in 0..batch.len() * 2 {
            client.read();
        }
    }
}

fn compare(family: &str) {
    let args: Vec<&str> = OPTIONS
        .iter()
        .copied()
        .chain(["--appendonly", "yes", "--appendfsync", "no"])
        .collect();
    let Some(real) = oracle_server(&args) else {
        return;
    };
    let ours = Server::start(&args);
    let seed = seed_from_env().unwrap_or(1);
    let count = count_from_env("RETRACE_COMMANDS", 3_000);
    println!("RETRACE_SEED={seed}");
    let rules = rules(family);
    let mut words = Words::new(seed);
    let is_fit = |command: &Vec<Vec<u8>>| {
        let name = command[0].to_ascii_uppercase();
        // Connections of their own would be needed for what waits.
        !matches!(
            &name[..],
            b"SELECT" | b"SWAPDB" | b"MOVE" | b"DEBUG" | b"HELLO"
        ) && !name.starts_with(b"BL")
            && !name.starts_with(b"BZ")
            && !name.starts_with(b"BR")
    };
    let commands: Vec<Vec<Vec<u8>>> = std::iter::repeat_with(|| generated(&rules, &mut words))
        .filter(is_fit)
        .take(count)
        .collect();
    for server in [&ours, &real] {
        run(&mut server.connect(), &commands);
    }
    let (got, want) = (appended(ours.dir.path()), appended(real.dir.path()));
    assert_eq!(want.len(), commands.len(), "the real server's file");
    let mut differences = Vec::new();
    for (index, command) in commands.iter().enumerate() {
        // The real server's command for an approximate MINID that trims nothing removes everything when it is repeated.
        let is_known = command.iter().any(|arg| arg == b"~");
        let (got, want) = (got.get(index), want.get(index));
        if is_known {
            continue;
        }
        if got != want {
            let words: Vec<&[u8]> = command.iter().map(Vec::as_slice).collect();
            differences.push(format!(
                "{family} {index}: {}\n    ours {got:?}\n    real {want:?}",
                shown(&words)
            ));
        }
    }
    fail_with(differences, family);
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
