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
use support::{Client, Server, count_from_env, oracle_server, request, seed_from_env, wait_for};

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
    let seed = seed_from_env().unwrap_or(1);
    let count = count_from_env("RETRACE_COMMANDS", 5_000);
    println!("RETRACE_SEED={seed}");
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
