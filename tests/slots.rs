//! Slots: what a cluster would refuse is counted as a real server counts it (`cluster-compatibility-sample-ratio`).
//!
//! The cases are in `slots.txt` with the counts of a real server, which is asked again where there is one.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::pair::words;
use support::{Client, Server, oracle_server, request, wait_for};

const ALL: [&str; 2] = ["--cluster-compatibility-sample-ratio", "100"];

/// How much was counted so far; nothing while nothing is counted.
fn counted(client: &mut Client) -> Option<i64> {
    let info = client.run("INFO stats").text();
    let found = info
        .lines()
        .find_map(|line| line.strip_prefix("cluster_incompatible_ops:"));
    found.map(|count| count.parse().expect("a count"))
}

/// Runs the cases; fails with those that were counted differently.
fn check(start: impl Fn() -> Server, name: &str) {
    let mut server = start();
    let (mut client, mut observer) = (server.connect(), server.connect());
    let mut wrong = Vec::new();
    for line in include_str!("slots.txt").lines() {
        if line.starts_with('#') {
            continue;
        }
        if line == "RESTART" {
            server = start();
            (client, observer) = (server.connect(), server.connect());
            continue;
        }
        let (count, command) = line.split_once(' ').expect("a count and a command");
        let args = words(command);
        let before = counted(&mut observer);
        client.send(&request(&args));
        // A reply for each channel.
        let replies = match args[0].ends_with(b"SUBSCRIBE") {
            true => args.len() - 1,
            false => 1,
        };
        let last = (0..replies).map(|_| client.read()).last();
        let raised = counted(&mut observer)
            .zip(before)
            .map(|(now, was)| now - was);
        if raised != count.parse().ok() {
            wrong.push(format!("{line}: {raised:?}, {last:?}"));
        }
    }
    assert!(wrong.is_empty(), "{name}:\n{}", wrong.join("\n"));
}

#[test]
fn what_a_cluster_would_refuse_is_counted_as_a_real_server_counts_it() {
    check(|| Server::start(&ALL), "here");
    if oracle_server(&[]).is_some() {
        check(|| oracle_server(&ALL).expect("a real server"), "there");
    }
}

#[test]
fn what_waits_is_counted_when_it_runs_again() {
    let server = Server::start(&ALL);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.send(&request(&["BLPOP", "l1", "l2", "0"]));
    wait_for("a blocked client", || {
        let info = other.run("INFO clients").text();
        info.contains("blocked_clients:1\r\n").then_some(())
    });
    assert_eq!(counted(&mut other), Some(1));
    other.run("RPUSH l2 x");
    client.read();
    assert_eq!(counted(&mut other), Some(2));
    // A transaction that will not run takes no more commands in.
    client.run("WATCH foo");
    other.run("SET foo 1");
    for line in ["MULTI", "SET foo 1", "SET bar 1"] {
        client.run(line);
    }
    assert!(other.run("CLIENT LIST").text().contains("multi=0"));
    client.run("EXEC");
    assert_eq!(counted(&mut other), Some(2));
}

#[test]
fn the_ratio_says_how_much_is_looked_at() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("MGET foo bar");
    assert_eq!(counted(&mut client), None);
    client.run("CONFIG SET cluster-compatibility-sample-ratio 30");
    assert_eq!(counted(&mut client), Some(0));
    for _ in 0..1000 {
        client.run("MGET foo bar");
    }
    let found = counted(&mut client).expect("a count");
    assert!((200..400).contains(&found), "{found}");
    client.run("CONFIG RESETSTAT");
    assert_eq!(counted(&mut client), Some(0));
}

#[test]
fn commands_that_only_newer_clusters_know_are_refused_as_the_others_are() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for command in [
        "CLUSTER SLOT-STATS SLOTSRANGE 0 1",
        "CLUSTER SYNCSLOTS SYNC id 0 1",
        "CLUSTER MIGRATION STATUS ALL",
    ] {
        let said = client.run(command).text();
        assert_eq!(
            said, "ERR This instance has cluster support disabled",
            "{command}"
        );
    }
}
