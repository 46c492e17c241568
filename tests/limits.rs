//! Limits: what happens when memory, and what clients take of it, reaches what is allowed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::{Client, Server, Value, wait_for};

/// A figure of INFO.
fn figure(client: &mut Client, section: &str, name: &str) -> u64 {
    let text = client.run(&format!("INFO {section}")).text();
    let found = text
        .lines()
        .find_map(|line| line.strip_prefix(&format!("{name}:")[..]));
    found
        .and_then(|value| value.trim().parse().ok())
        .unwrap_or_else(|| panic!("no {name} in {text}"))
}

const POLICIES: [&str; 9] = [
    "allkeys-lru",
    "allkeys-lfu",
    "allkeys-lrm",
    "allkeys-random",
    "volatile-lru",
    "volatile-lfu",
    "volatile-lrm",
    "volatile-random",
    "volatile-ttl",
];

#[test]
fn the_limit_holds_under_every_policy() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    for policy in POLICIES {
        client.run("CONFIG SET maxmemory 0");
        client.run("FLUSHALL");
        client.run(&format!("CONFIG SET maxmemory-policy {policy}"));
        let limit = figure(&mut client, "memory", "used_memory") + (1 << 20);
        client.run(&format!("CONFIG SET maxmemory {limit}"));
        client.run("CONFIG RESETSTAT");
        for n in 0..300 {
            let reply = client.call(&[
                "SET",
                &format!("key:{n}"),
                &"x".repeat(10_000),
                "EX",
                "1000",
            ]);
            assert_eq!(reply.text(), "OK", "{policy}");
        }
        let used = figure(&mut client, "memory", "used_memory");
        assert!(used < limit + 20_000, "{policy}: {used} of {limit}");
        let keys = client
            .run("DBSIZE")
            .text()
            .parse::<u64>()
            .expect("a number");
        let evicted = figure(&mut client, "stats", "evicted_keys");
        // One more may go for the sake of INFO itself.
        assert!((300..=301).contains(&(keys + evicted)), "{policy}");
        assert!((80..=110).contains(&keys), "{policy}: {keys}");
    }
}

#[test]
fn nothing_is_evicted_that_has_no_deadline_when_only_others_may_go() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    for policy in &POLICIES[4..] {
        client.run("CONFIG SET maxmemory 0");
        client.run("FLUSHALL");
        client.run(&format!("CONFIG SET maxmemory-policy {policy}"));
        for n in 0..20 {
            client.call(&["SET", &format!("keep:{n}"), &"x".repeat(10_000)]);
            client.call(&["SET", &format!("go:{n}"), &"x".repeat(10_000), "EX", "1000"]);
        }
        let limit = figure(&mut client, "memory", "used_memory");
        client.run(&format!("CONFIG SET maxmemory {limit}"));
        let mut refused = 0;
        for n in 0..40 {
            let reply = client
                .call(&["SET", &format!("new:{n}"), &"x".repeat(10_000)])
                .text();
            refused += u32::from(reply.contains("OOM command not allowed"));
        }
        assert!((15..30).contains(&refused), "{policy}: {refused}");
        for n in 0..20 {
            assert_eq!(
                client.run(&format!("EXISTS keep:{n}")).text(),
                "1",
                "{policy}"
            );
        }
        assert_eq!(client.run("GET nothing"), Value::Null, "reads go on");
    }
}

#[test]
fn what_is_above_the_limit_goes_without_a_command() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    for n in 0..5_000 {
        client.call(&["SET", &format!("key:{n}"), "value"]);
    }
    client.run("CONFIG SET maxmemory-policy allkeys-lru");
    client.run("CONFIG SET maxmemory 1");
    // Reads ask for no room, and are answered meanwhile.
    wait_for("all keys are evicted", || {
        (client.run("DBSIZE").text() == "0").then_some(())
    });
    assert_eq!(figure(&mut client, "stats", "evicted_keys"), 5_000);
    let reply = client.run("SET k v").text();
    assert!(reply.contains("OOM"), "{reply}");
    client.run("CONFIG SET maxmemory 0");
    assert_eq!(client.run("SET k v").text(), "OK");
}

#[test]
fn a_transaction_that_finds_no_room_says_so() {
    let server = Server::start(&["--save", ""]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.run("MULTI");
    client.run("SET a 1");
    other.run("CONFIG SET maxmemory 1");
    let oom = "OOM command not allowed when used memory > 'maxmemory'.";
    let want = format!("EXECABORT Transaction discarded because of: {oom}");
    assert!(client.run("EXEC").text().ends_with(&want));
    assert!(client.run("EXEC").text().contains("EXEC without MULTI"));
    client.run("MULTI");
    assert!(client.run("GET a").text().ends_with(oom), "queues grow too");
    assert!(
        client
            .run("EXEC")
            .text()
            .contains("because of previous errors")
    );
}
