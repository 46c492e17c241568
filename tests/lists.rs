//! Lists: commands of newer servers than the one that the differential tests ask; the documentation decides.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::{Client, Server, Value, request, wait_for};

/// A reply in one line: the elements of an array, `nil`, a number, or an error's text.
fn line(value: &Value) -> String {
    match value {
        Value::Null => "nil".to_owned(),
        Value::Array(items) => {
            let items: Vec<String> = items.iter().map(Value::text).collect();
            items.join(" ")
        }
        other => other.text(),
    }
}

fn said(client: &mut Client, command: &str) -> String {
    line(&client.run(command))
}

#[test]
fn lmovem_moves_one_by_one_or_in_bulk() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (from, to, order, moved, left) in [
        ("LEFT", "LEFT", "OBO", "2 1", "3 4"),
        ("LEFT", "RIGHT", "OBO", "1 2", "3 4"),
        ("RIGHT", "LEFT", "OBO", "3 4", "1 2"),
        ("RIGHT", "RIGHT", "OBO", "4 3", "1 2"),
        ("LEFT", "LEFT", "BULK", "1 2", "3 4"),
        ("LEFT", "RIGHT", "BULK", "1 2", "3 4"),
        ("RIGHT", "LEFT", "BULK", "3 4", "1 2"),
        ("RIGHT", "RIGHT", "BULK", "3 4", "1 2"),
    ] {
        client.run("FLUSHALL");
        client.run("RPUSH k 1 2 3 4");
        client.run("RPUSH d x");
        let reply = said(
            &mut client,
            &format!("LMOVEM k d {from} {to} COUNT 2 {order}"),
        );
        assert_eq!(reply, moved, "{from} {to} {order}");
        assert_eq!(said(&mut client, "LRANGE k 0 -1"), left);
        let together = match to {
            "LEFT" => format!("{moved} x"),
            _ => format!("x {moved}"),
        };
        assert_eq!(said(&mut client, "LRANGE d 0 -1"), together);
    }
}

#[test]
fn lmovem_within_one_list_and_with_too_few_elements() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (command, reply, list) in [
        ("LMOVEM k k LEFT LEFT EXACTLY 2 OBO", "b a", "b a c"),
        ("LMOVEM k k LEFT LEFT EXACTLY 2 BULK", "b a", "b a c"),
        ("LMOVEM k k LEFT RIGHT", "b", "a c b"),
        ("LMOVEM k k LEFT RIGHT EXACTLY 4 BULK", "nil", "a c b"),
        ("LMOVEM k k LEFT RIGHT COUNT 4 BULK", "a c b", "a c b"),
        ("LMOVEM no k LEFT RIGHT", "nil", "a c b"),
        ("LMOVEM no k LEFT RIGHT COUNT 2 OBO", "nil", "a c b"),
        ("LMOVEM no k LEFT RIGHT EXACTLY 1 OBO", "nil", "a c b"),
        ("LMOVEM k k LEFT RIGHT COUNT 1", "ERR syntax error", "a c b"),
        (
            "LMOVEM k k LEFT RIGHT COUNT 0 OBO",
            "ERR count should be greater than 0",
            "a c b",
        ),
    ] {
        if client.run("EXISTS k").text() == "0" {
            client.run("RPUSH k a b c");
        }
        assert_eq!(said(&mut client, command), reply, "{command}");
        assert_eq!(said(&mut client, "LRANGE k 0 -1"), list, "{command}");
    }
}

#[test]
fn blmovem_waits_until_there_are_enough() {
    let server = Server::start(&[]);
    let (mut waiting, mut client) = (server.connect(), server.connect());
    waiting.send(&request(&[
        "BLMOVEM", "k", "d", "LEFT", "LEFT", "0", "EXACTLY", "3", "BULK",
    ]));
    wait_for("the client to block", || {
        let info = client.run("INFO clients").text();
        info.contains("blocked_clients:1").then_some(())
    });
    assert_eq!(said(&mut client, "RPUSH k 1 2"), "2");
    assert_eq!(said(&mut client, "LLEN k"), "2");
    assert_eq!(said(&mut client, "RPUSH k 3 4"), "4");
    assert_eq!(line(&waiting.read()), "1 2 3");
    assert_eq!(said(&mut client, "LRANGE d 0 -1"), "1 2 3");
    assert_eq!(said(&mut waiting, "BLMOVEM no d LEFT LEFT 0.01"), "nil");
}
