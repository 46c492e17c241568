//! Transactions that the shell interrupts: one runs to its end without its client, and who watches sees them in order.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::process::Command;

use support::pair::OPTIONS;
use support::{Client, Server, oracle_server, request};

/// Several requests in one piece.
fn requests(lines: &[&str]) -> Vec<u8> {
    let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    words.flat_map(|words| request(&words)).collect()
}

/// A client whose connection the server has seen.
fn greeted(server: &Server) -> (Client, String) {
    let mut client = server.connect();
    let id = client.run("CLIENT ID").to_string();
    (client, id)
}

#[test]
fn a_transaction_that_waits_for_the_shell_survives_its_client() {
    let dir = tempfile::tempdir().expect("a folder");
    let (journal, config) = (dir.path().join("journal"), dir.path().join("conf"));
    fs::write(&config, "save \"\"\nenable-debug-command yes\n").expect("a file");
    let mut server = Server::start(&[
        config.to_str().expect("a plain path"),
        "--record",
        journal.to_str().expect("a plain path"),
    ]);
    let (mut sleeper, _) = greeted(&server);
    let (mut two, _) = greeted(&server);
    for round in 1..=6 {
        let (mut one, id) = greeted(&server);
        // While the server sleeps, all requests arrive, so that one turn serves them.
        sleeper.send(&requests(&["DEBUG SLEEP 0.05"]));
        one.send(&requests(&[
            "MULTI",
            "INCR n",
            "CONFIG REWRITE",
            "INCR n",
            "CONFIG SET maxclients 500",
            "CONFIG REWRITE",
            "RPUSH list x",
            "INCR n",
            "EXEC",
        ]));
        if round % 2 == 0 {
            // The end of a connection with a reply that was not read is a reset one.
            one.send(&requests(&["PING"]));
            drop(one);
        } else {
            let id = id.trim_start_matches(':');
            two.send(&requests(&[&format!("CLIENT KILL ID {id}")]));
            two.read();
        }
        sleeper.read();
        support::wait_for("the end of the transaction", || {
            (two.run("GET n").text() == (3 * round).to_string()).then_some(())
        });
        assert_eq!(two.run("LLEN list").to_string(), round.to_string());
    }
    sleeper.send(b"SHUTDOWN NOSAVE\r\n");
    server.wait_for_end();
    let replay = Command::new(env!("CARGO_BIN_EXE_retrace"))
        .arg("replay")
        .arg(&journal)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&replay.stdout);
    assert!(replay.status.success(), "{said}");
    assert!(said.contains("identical"), "{said}");
}

/// What a watcher sees while a transaction is interrupted and others write, without times and addresses.
fn watched(server: &Server) -> Vec<String> {
    let (mut watcher, _) = greeted(server);
    let (mut sleeper, _) = greeted(server);
    let ((mut one, _), (mut two, _)) = (greeted(server), greeted(server));
    watcher.run("MONITOR");
    sleeper.send(&requests(&["DEBUG SLEEP 0.05"]));
    one.send(&requests(&[
        "MULTI",
        "SET a 1",
        "CONFIG SET maxclients 501",
        "SET a 2",
        "SLOWLOG LEN",
        "INFO server",
        "CONFIG SET maxclients 502",
        "SET a 3",
        "EXEC",
        "SET a 4",
    ]));
    two.send(&requests(&["SET b 1", "SET b 2"]));
    sleeper.read();
    for _ in 0..10 {
        one.read();
    }
    two.read();
    two.read();
    two.run("ECHO end");
    let mut lines = Vec::new();
    while lines
        .last()
        .is_none_or(|line: &String| !line.contains("end"))
    {
        let line = watcher.read().text();
        let (_, command) = line.split_once("] ").expect("a time and an address");
        lines.push(command.to_owned());
    }
    lines
}

#[test]
fn who_watches_sees_an_interrupted_transaction_as_on_a_real_server() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    for _ in 0..3 {
        assert_eq!(watched(&ours), watched(&real));
    }
}

/// A client that waits is let go twice in one transaction, with an error: what that says, and how it is counted.
fn let_go_twice(server: &Server) -> Vec<String> {
    let ((mut one, id), (mut two, _)) = (greeted(server), greeted(server));
    let id = id.trim_start_matches(':');
    one.send(&requests(&["BLPOP nolist 0"]));
    support::wait_for("the client to wait", || {
        let info = two.run("INFO clients").text();
        info.contains("blocked_clients:1").then_some(())
    });
    let unblock = format!("CLIENT UNBLOCK {id} ERROR");
    two.send(&requests(&[
        "CONFIG RESETSTAT",
        "MULTI",
        &unblock,
        &unblock,
        "EXEC",
    ]));
    let mut said: Vec<String> = (0..5).map(|_| two.read().to_string()).collect();
    said.push(one.read().to_string());
    let stats = two.run("INFO commandstats").text();
    for name in ["cmdstat_client|unblock:", "cmdstat_blpop:"] {
        let line = stats.lines().find(|line| line.starts_with(name));
        let fields = line.unwrap_or_default().split(',');
        said.extend(
            fields
                .filter(|field| !field.contains("usec"))
                .map(str::to_owned),
        );
    }
    said
}

#[test]
fn to_let_a_client_go_with_an_error_is_a_call_that_failed() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    assert_eq!(let_go_twice(&ours), let_go_twice(&real));
}

#[test]
fn who_ends_its_own_connection_in_a_transaction_hears_no_more_of_it() {
    let ours = Server::start(OPTIONS);
    for server in [Some(ours), oracle_server(OPTIONS)].into_iter().flatten() {
        let (mut other, mut client) = (server.connect(), server.connect());
        let id = client.run("CLIENT ID").to_string();
        client.run("MULTI");
        client.run("SET n 1");
        client.run(&format!("CLIENT KILL ID {id} SKIPME no"));
        client.run("INCR n");
        client.run("GET");
        client.run("DISCARD");
        client.run("MULTI");
        client.run("SET n 1");
        client.run(&format!("CLIENT KILL ID {id} SKIPME no"));
        client.run("INCR n");
        client.run("LPUSH n x");
        client.send(&requests(&["EXEC", "INCR n"]));
        assert_eq!(client.read_to_end(), b"*4\r\n+OK\r\n:1\r\n");
        assert_eq!(other.run("GET n").text(), "2");

        other.run("ACL SETUSER guest on nopass ~* +@all");
        let mut client = server.connect();
        client.run("AUTH guest x");
        client.run("MULTI");
        client.run("ACL DELUSER guest");
        client.run("INCR n");
        client.send(&request(&["EXEC"]));
        assert_eq!(client.read_to_end(), b"*2\r\n:1\r\n");
        assert_eq!(other.run("GET n").text(), "3");
    }
}
