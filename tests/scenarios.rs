//! Scenarios: several clients who wait for keys, watch them and queue commands, with the same transcript as a real server's.
//!
//! `differential/scenarios.txt` holds them, `differential/messages.txt` those of clients who are told something. Where there is no real server the test says so and passes.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::collections::BTreeMap;

use support::pair::{OPTIONS, fail_with, words};
use support::{Client, Server, oracle_server, request, wait_for};

/// One server with a scenario's clients, by name.
struct Stage<'a> {
    server: &'a Server,
    clients: BTreeMap<String, (Client, String)>,
    control: Client,
}

impl<'a> Stage<'a> {
    fn new(server: &'a Server) -> Stage<'a> {
        let mut control = server.connect();
        control.run("FLUSHALL");
        Stage {
            server,
            clients: BTreeMap::new(),
            control,
        }
    }

    fn client(&mut self, name: &str) -> &mut (Client, String) {
        let server = self.server;
        self.clients.entry(name.to_owned()).or_insert_with(|| {
            let mut client = server.connect();
            let id = client.run("CLIENT ID").to_string();
            (client, id.trim_start_matches(':').to_owned())
        })
    }

    /// `@A` is the id of client A.
    fn with_ids(&mut self, text: &str) -> String {
        let words = text.split(' ').map(|word| match word.as_bytes() {
            [b'@', b'A'..=b'Z'] => self.client(&word[1..]).1.clone(),
            _ => word.to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    /// Plays one line; returns what was read.
    fn play(&mut self, line: &str) -> Option<String> {
        match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["!blocked", count] => {
                let wanted = format!("blocked_clients:{count}\r\n");
                let control = &mut self.control;
                wait_for(&wanted, || {
                    let info = control.run("INFO clients").text();
                    info.contains(&wanted).then_some(())
                });
                None
            }
            ["!unblock", name, ref reason @ ..] => {
                let id = self.client(name).1.clone();
                let command = format!("CLIENT UNBLOCK {id} {}", reason.join(" "));
                Some(self.control.run(command.trim_end()).to_string())
            }
            ["!wait", name, key] => {
                let client = &mut self.client(name).0;
                wait_for("the key's end", || {
                    let left = client.run(&format!("PTTL {key}")).to_string();
                    (left.trim_start_matches(':') == "-2").then_some(())
                });
                None
            }
            ["!close", name] => {
                self.clients.remove(name);
                None
            }
            _ => {
                let (name, rest) = line.split_at(1);
                let rest = &self.with_ids(rest);
                let client = &mut self.client(name).0;
                let reads = !rest.starts_with('>');
                let is_shown = !rest.starts_with('!');
                if !rest.starts_with('<') {
                    client.send(&request(&words(rest[1..].trim())));
                }
                if rest.trim() == ": CLIENT ID" {
                    client.read();
                    return None;
                }
                let read = reads.then(|| client.read().to_string());
                read.filter(|_| is_shown)
            }
        }
    }
}

fn transcript(server: &Server, scenario: &str) -> String {
    let mut stage = Stage::new(server);
    let mut text = String::new();
    for line in scenario.lines().filter(|line| !line.trim().is_empty()) {
        text.push_str(line);
        if let Some(read) = stage.play(line) {
            text.push_str(" -> ");
            text.push_str(&read);
        }
        text.push('\n');
    }
    text
}

/// Plays one file's scenarios to both servers.
fn compare(file: &str, text: &str) {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    let only = std::env::var("RETRACE_SCENARIO").unwrap_or_default();
    let mut differences = Vec::new();
    for scenario in text.split("\n== ").skip(1) {
        let (name, body) = scenario.split_once('\n').expect("a name on its line");
        if !name.contains(&only) {
            continue;
        }
        println!("{name}");
        let (ours_said, real_said) = (transcript(&ours, body), transcript(&real, body));
        if ours_said != real_said {
            differences.push(format!(
                "{name}\n--- ours\n{ours_said}--- real\n{real_said}"
            ));
        }
    }
    fail_with(differences, file);
}

#[test]
fn clients_are_served_as_by_a_real_server() {
    compare("scenarios.txt", include_str!("differential/scenarios.txt"));
}

#[test]
fn messages_come_as_from_a_real_server() {
    compare("messages.txt", include_str!("differential/messages.txt"));
}
