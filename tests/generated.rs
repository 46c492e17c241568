//! Generated: commands out of a grammar for each family, to Retrace and to a real server, whose replies must be the same
//! to the byte.
//!
//! `grammar/<family>.txt` holds it. What depends on the clock or on chance is not there. `RETRACE_SEED` and
//! `RETRACE_COMMANDS` (for each family) change what is made. Where there is no real server the tests say so and pass.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::grammar::{Words, generated, rules};
use support::pair::{OPTIONS, Pair, difference, fail_with};
use support::{Server, count_from_env, oracle_server, request, seed};

fn compare_generated(family: &str) {
    const BATCH: usize = 50;
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let seed = seed();
    let count = count_from_env("RETRACE_COMMANDS", 20_000) / 2;
    let rules = rules(family);
    let mut differences = Vec::new();
    for protocol in ["2", "3"] {
        let ours = Server::start(OPTIONS);
        let mut pair = Pair::new(&ours, &real, protocol);
        pair.quietly(&["FLUSHALL"]);
        pair.quietly(&["SCRIPT", "FLUSH"]);
        // One by one: after FUNCTION FLUSH and some commands more, a real server of 8.0.6 ends.
        for library in ["one", "two", "three"] {
            pair.quietly(&["FUNCTION", "DELETE", library]);
        }
        let mut words = Words::new(seed);
        'batches: for batch in 0..count / BATCH {
            let commands: Vec<Vec<Vec<u8>>> =
                (0..BATCH).map(|_| generated(&rules, &mut words)).collect();
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
fn strings() {
    compare_generated("strings");
}

#[test]
fn keys() {
    compare_generated("keys");
}

#[test]
fn bits() {
    compare_generated("bits");
}

#[test]
fn hyperloglogs() {
    compare_generated("hyperloglogs");
}

#[test]
fn lists() {
    compare_generated("lists");
}

#[test]
fn hashes() {
    compare_generated("hashes");
}

#[test]
fn sets() {
    compare_generated("sets");
}

#[test]
fn zsets() {
    compare_generated("zsets");
}

#[test]
fn geo() {
    compare_generated("geo");
}

#[test]
fn scripts() {
    compare_generated("scripts");
}

#[test]
fn streams() {
    compare_generated("streams");
}

#[test]
fn clusters() {
    compare_generated("cluster");
}
