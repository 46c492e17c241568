//! Differential: the same commands to Retrace and to a real server, and replies that must be the same to the byte.
//!
//! Lives here: hand-written edge cases (`differential/*.txt`) and raw bytes (`differential/wire.txt`).
//! Where there is no real server the tests say so and pass.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::path::Path;

use support::pair::{OPTIONS, Pair, comparable, difference, fail_with, words};
use support::{Client, Server, Value, oracle_server, request};

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

/// The keys that a listener has been told of since the last time, in the order of their names.
fn told(listener: &mut Client) -> Vec<String> {
    listener.send(&request(&["PING"]));
    let mut told = Vec::new();
    while let Value::Push(message) = listener.read() {
        told.extend(message.iter().skip(1).map(Value::to_string));
    }
    told.sort();
    told
}

/// Sends the commands of one file, and compares of which keys both servers tell who keeps copies of all that is there.
fn compare_told(name: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/differential")
        .join(name);
    let text = fs::read_to_string(&path).expect("the test's file");
    let Some(real) = oracle_server(OPTIONS) else {
        return Vec::new();
    };
    let ours = Server::start(OPTIONS);
    let mut pair = Pair::new(&ours, &real, "2");
    let mut listeners = Pair::new(&ours, &real, "3");
    listeners.quietly(&["CLIENT", "TRACKING", "ON", "BCAST"]);
    let mut differences = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = match line {
            "!flush" => "FLUSHALL",
            _ => line.strip_prefix("~ ").unwrap_or(line),
        };
        if line.is_empty() || line.starts_with(['#', '!']) {
            continue;
        }
        let command = words(line);
        for client in [&mut pair.ours, &mut pair.real] {
            client.send(&request(&command));
            client.read();
        }
        let (ours, real) = (told(&mut listeners.ours), told(&mut listeners.real));
        if ours != real {
            differences.push(format!(
                "{name}:{}: {line}\n   ours: {ours:?}\n   real: {real:?}",
                number + 1
            ));
        }
    }
    differences
}

#[test]
fn who_keeps_copies_is_told_of_the_same_changes() {
    let files = [
        "strings.txt",
        "keys.txt",
        "lists.txt",
        "bits.txt",
        "hyperloglog.txt",
        "hashes.txt",
        "sets.txt",
        "sort.txt",
        "zsets.txt",
        "geo.txt",
        "streams.txt",
    ];
    let differences = files.into_iter().flat_map(compare_told).collect();
    fail_with(differences, "changes that are told");
}

#[test]
fn strings_by_hand() {
    compare_file("strings.txt");
}

#[test]
fn users_by_hand() {
    compare_file("acl.txt");
}

#[test]
fn channels_of_users_by_hand() {
    compare_file("acl-channels.txt");
}

#[test]
fn keys_by_hand() {
    compare_file("keys.txt");
}

#[test]
fn lists_by_hand() {
    compare_file("lists.txt");
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
fn hashes_by_hand() {
    compare_file("hashes.txt");
}

#[test]
fn sets_by_hand() {
    compare_file("sets.txt");
}

#[test]
fn sort_by_hand() {
    compare_file("sort.txt");
}

#[test]
fn sorted_sets_by_hand() {
    compare_file("zsets.txt");
}

#[test]
fn the_server_by_hand() {
    compare_file("server.txt");
}

#[test]
fn places_by_hand() {
    compare_file("geo.txt");
}

#[test]
fn connections_by_hand() {
    compare_file("connection.txt");
}

#[test]
fn transactions_by_hand() {
    compare_file("transactions.txt");
}

#[test]
fn clusters_by_hand() {
    compare_file("cluster.txt");
}

#[test]
fn functions_by_hand() {
    compare_file("functions.txt");
}

#[test]
fn scripts_by_hand() {
    compare_file("scripts.txt");
}

#[test]
fn streams_by_hand() {
    compare_file("streams.txt");
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
        let ask = || (answer_to(&ours, &bytes), answer_to(&real, &bytes));
        let differs = |said: &(Vec<u8>, Vec<u8>)| comparable(&said.0) != comparable(&said.1);
        // A server that closes the door on what it has not read may take back what it said: that is asked again.
        let mut said = ask();
        for _ in 0..2 {
            if differs(&said) != is_known {
                said = ask();
            }
        }
        if differs(&said) != is_known {
            let (ours_said, real_said) = said;
            differences.push(format!(
                "{line}\n   ours: {}\n   real: {}",
                ours_said.escape_ascii(),
                real_said.escape_ascii()
            ));
        }
    }
    fail_with(differences, "wire.txt");
}

/// The lines of a HELP reply that name subcommands and their arguments.
fn syntax_lines(client: &mut support::Client, container: &str) -> Vec<String> {
    let reply = client.run(&format!("{container} HELP"));
    let support::Value::Array(lines) = reply else {
        panic!("{container}: {reply}");
    };
    let lines = lines.iter().skip(1).map(support::Value::text);
    lines.filter(|line| !line.starts_with(' ')).collect()
}

#[test]
fn help_names_what_there_is_as_a_real_server_does() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    let (mut our_client, mut real_client) = (ours.connect(), real.connect());
    // What is not there, because it is another server's inside.
    let absent = [
        "LOADEX",
        "UNLOAD",
        "CRASH-AND-RECOVER",
        "MALLCTL",
        "MALLCTL-STR",
        "DROP-CLUSTER-PACKET-FILTER",
        "RESTART",
        "REPL-PAUSE",
        "CLUSTERLINK",
    ];
    // What real servers have, too, and keep to themselves.
    let unlisted = "SET-DISABLE-DENY-SCRIPTS";
    for container in [
        "ACL", "CLIENT", "COMMAND", "CONFIG", "DEBUG", "FUNCTION", "LATENCY", "MEMORY", "MODULE",
        "OBJECT", "PUBSUB", "SCRIPT", "SLOWLOG", "XGROUP", "XINFO",
    ] {
        let mut ours = syntax_lines(&mut our_client, container);
        ours.retain(|line| !line.starts_with(unlisted));
        let mut wanted = syntax_lines(&mut real_client, container);
        wanted.retain(|line| {
            let word = line.split(' ').next().unwrap_or_default();
            let is_absent = absent.contains(&word)
                || (container, word) == ("MODULE", "LOAD")
                || (container, word) == ("DEBUG", "SCRIPT");
            !is_absent
        });
        assert_eq!(ours, wanted, "{container}");
    }
}
