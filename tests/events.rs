//! Events: the keyspace events that commands cause, in the order in which a real server publishes them.
//!
//! Lives here: cases by hand (`differential/events.txt`) and random commands of all families. Where there is no real
//! server the tests say so and pass.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::time::Duration;

use support::grammar::{Words, generated, rules};
use support::pair::{OPTIONS, fail_with, words};
use support::{Client, Server, count_from_env, oracle_server, request, seed, wait_for};

/// Where the sender says that a command's events are over.
const END: &str = "__key-end";

/// A server, a client that sends commands, and one that hears of events.
struct Side {
    sender: Client,
    other: Client,
    control: Client,
    listener: Client,
}

impl Side {
    fn new(server: &Server) -> Side {
        let mut side = Side {
            sender: server.connect(),
            other: server.connect(),
            control: server.connect(),
            listener: server.connect(),
        };
        side.control.run("FLUSHALL");
        side.listener.run("PSUBSCRIBE __key*");
        side
    }

    /// Sends commands at once; returns for each what was heard of it.
    fn events(&mut self, commands: &[Vec<Vec<u8>>]) -> Vec<Vec<String>> {
        let end = request(&["PUBLISH", END, ""]);
        let mut bytes = Vec::new();
        for command in commands {
            bytes.extend(request(command));
            bytes.extend(&end);
        }
        self.sender.send(&bytes);
        let mut all = vec![Vec::new()];
        while all.len() <= commands.len() {
            let message = self.listener.read().to_string();
            match message.contains(END) {
                true => all.push(Vec::new()),
                false => all.last_mut().expect("one at least").push(message),
            }
        }
        all.pop();
        for _ in 0..commands.len() * 2 {
            self.sender.read();
        }
        all
    }

    /// The events of one command in a transaction, where the end would be queued too, are heard behind EXEC.
    fn quietly(&mut self, command: &[Vec<u8>]) {
        self.sender.send(&request(command));
        self.sender.read();
    }

    fn wait_for_blocked(&mut self) {
        let control = &mut self.control;
        wait_for("a blocked client", || {
            let info = control.run("INFO clients").text();
            info.contains("blocked_clients:1\r\n").then_some(())
        });
    }
}

#[test]
fn events_by_hand() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    let mut sides = [Side::new(&ours), Side::new(&real)];
    let mut differences = Vec::new();
    let mut in_multi = false;
    let text = include_str!("differential/events.txt");
    for (number, line) in text.lines().enumerate() {
        let parts: Vec<&str> = line.split_whitespace().collect();
        match parts[..] {
            [] => {}
            [comment, ..] if comment.starts_with('#') => {}
            ["!flags", flags] => {
                for side in &mut sides {
                    let set = ["CONFIG", "SET", "notify-keyspace-events", flags];
                    assert_eq!(side.control.call(&set).text(), "OK");
                }
            }
            ["!flush"] => sides.iter_mut().for_each(|side| {
                side.control.run("FLUSHALL");
            }),
            ["!sleep", ms] => {
                std::thread::sleep(Duration::from_millis(ms.parse().expect("a number")));
            }
            ["!blocked"] => sides.iter_mut().for_each(Side::wait_for_blocked),
            ["B>", ..] => {
                let command = words(line.trim_start_matches("B> "));
                for side in &mut sides {
                    side.other.send(&request(&command));
                }
            }
            _ => {
                let command = words(line);
                in_multi = (in_multi || line == "MULTI") && line != "EXEC";
                if in_multi {
                    sides.iter_mut().for_each(|side| side.quietly(&command));
                    continue;
                }
                let heard = sides
                    .each_mut()
                    .map(|side| side.events(std::slice::from_ref(&command)).concat());
                if heard[0] != heard[1] {
                    differences.push(format!(
                        "events.txt:{} {line}\n   ours: {}\n   real: {}",
                        number + 1,
                        heard[0].join(" "),
                        heard[1].join(" ")
                    ));
                }
            }
        }
    }
    fail_with(differences, "events.txt");
}

/// Random commands of one family; `flags` besides `KEA`. Keys that expire do so at times of their own, so that is not
/// looked at.
fn compare_generated(family: &str) {
    const BATCH: usize = 50;
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let seed = seed();
    let count = count_from_env("RETRACE_COMMANDS", 5_000);
    let ours = Server::start(OPTIONS);
    let mut sides = [Side::new(&ours), Side::new(&real)];
    for side in &mut sides {
        side.control
            .run("CONFIG SET notify-keyspace-events KEg$lshztn");
    }
    let rules = rules(family);
    let mut words = Words::new(seed);
    let (mut differences, mut heard) = (Vec::new(), 0);
    for _ in 0..count / BATCH {
        let commands: Vec<Vec<Vec<u8>>> =
            (0..BATCH).map(|_| generated(&rules, &mut words)).collect();
        let [ours, real] = sides.each_mut().map(|side| side.events(&commands));
        heard += real.concat().len();
        for ((command, ours), real) in commands.iter().zip(ours).zip(real) {
            if ours != real {
                let command: Vec<_> = command
                    .iter()
                    .map(|arg| arg.escape_ascii().to_string())
                    .collect();
                differences.push(format!(
                    "{}\n   ours: {}\n   real: {}",
                    command.join(" "),
                    ours.join(" "),
                    real.join(" ")
                ));
            }
        }
        if differences.len() > 100 {
            break;
        }
    }
    fail_with(differences, family);
    assert!(heard > count / 10, "only {heard} events");
}

#[test]
fn events_of_strings() {
    compare_generated("strings");
}

#[test]
fn events_of_keys() {
    compare_generated("keys");
}

#[test]
fn events_of_bits() {
    compare_generated("bits");
}

#[test]
fn events_of_hyperloglogs() {
    compare_generated("hyperloglogs");
}

#[test]
fn events_of_lists() {
    compare_generated("lists");
}

#[test]
fn events_of_hashes() {
    compare_generated("hashes");
}

#[test]
fn events_of_sets() {
    compare_generated("sets");
}

#[test]
fn events_of_zsets() {
    compare_generated("zsets");
}

#[test]
fn events_of_geo() {
    compare_generated("geo");
}

#[test]
fn events_of_streams() {
    compare_generated("streams");
}

/// Events that only later versions have, so that no real server is at hand: a value that was replaced as a whole says so
/// before the command's own event, a key that took another's place behind it.
#[test]
fn replaced_values_are_told() {
    let server = Server::start(OPTIONS);
    let mut side = Side::new(&server);
    let payload = {
        side.control.run("HSET h f v");
        match side.control.run("DUMP h") {
            support::Value::Bulk(bytes) => bytes,
            other => panic!("{other}"),
        }
    };
    side.sender.run("FLUSHALL");
    let set = ["CONFIG", "SET", "notify-keyspace-events", "EAoc"];
    assert_eq!(side.control.call(&set).text(), "OK");
    let shown = side.control.run("CONFIG GET notify-keyspace-events");
    assert!(shown.to_string().contains("AEoc"), "{shown}");
    let cases: &[(&str, &str)] = &[
        ("SET s v", "set s"),
        ("SET s w", "overwritten s, set s"),
        ("SET s 1 EX 100", "overwritten s, set s, expire s"),
        ("GETSET s 2", "overwritten s, set s"),
        ("MSET s 1 t 2", "overwritten s, set s, set t"),
        ("APPEND s x", "append s"),
        ("INCR t", "incrby t"),
        ("SETRANGE s 0 y", "setrange s"),
        ("SETBIT s 0 1", "setbit s"),
        ("BITOP AND s t t", "overwritten s, set s"),
        ("RPUSH l 3 1 2", "rpush l"),
        ("RPUSH l 4", "rpush l"),
        (
            "SORT l STORE s",
            "overwritten s, type_changed s, sortstore s",
        ),
        (
            "SETEX s 100 v",
            "overwritten s, type_changed s, set s, expire s",
        ),
        ("SADD a 1 2", "sadd a"),
        ("SUNIONSTORE a a", "overwritten a, sunionstore a"),
        (
            "SUNIONSTORE s a",
            "overwritten s, type_changed s, sunionstore s",
        ),
        ("SDIFFSTORE s a a", "del s"),
        (
            "ZUNIONSTORE t 1 a",
            "overwritten t, type_changed t, zunionstore t",
        ),
        (
            "ZRANGESTORE l t 0 -1",
            "overwritten l, type_changed l, zrangestore l",
        ),
        ("RENAME l t", "rename_from l, rename_to t, overwritten t"),
        ("SET s v", "set s"),
        ("COPY t s", ""),
        (
            "COPY t s REPLACE",
            "copy_to s, overwritten s, type_changed s",
        ),
        ("COPY t u", "copy_to u"),
        (
            "RENAME a s",
            "rename_from a, rename_to s, overwritten s, type_changed s",
        ),
        ("RENAME s a", "rename_from s, rename_to a"),
        ("RENAMENX a t", ""),
    ];
    let hear = |side: &mut Side, command: Vec<Vec<u8>>| -> String {
        let heard = side.events(&[command]).concat();
        let event = |message: &String| {
            let (_, rest) = message.split_once("__keyevent@0__:").expect("an event");
            let parts = rest.split(|c: char| !(c.is_alphanumeric() || c == '_'));
            parts
                .filter(|part| !part.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        heard.iter().map(event).collect::<Vec<_>>().join(", ")
    };
    for (command, want) in cases {
        assert_eq!(hear(&mut side, words(command)), *want, "{command}");
    }
    let restore = |key: &str, replace: bool| {
        let mut command = words(&format!("RESTORE {key} 0"));
        command.push(payload.clone());
        command.extend(replace.then(|| b"REPLACE".to_vec()));
        command
    };
    assert_eq!(hear(&mut side, restore("new", false)), "restore new");
    let want = "restore new, overwritten new";
    assert_eq!(hear(&mut side, restore("new", true)), want);
    let want = "restore t, overwritten t, type_changed t";
    assert_eq!(hear(&mut side, restore("t", true)), want);
    // Not among `A`.
    let set = ["CONFIG", "SET", "notify-keyspace-events", "EA"];
    assert_eq!(side.control.call(&set).text(), "OK");
    assert_eq!(hear(&mut side, words("SET t v")), "set t");
}
