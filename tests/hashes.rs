//! Hashes: commands of newer servers than the one that the differential tests ask; the documentation decides.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::Server;

#[test]
fn himport_makes_hashes_of_fields_that_were_named_before() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    for (command, wanted) in [
        ("HIMPORT PREPARE u name email age", "OK"),
        ("HIMPORT SET k u ann a@b 7", "OK"),
        // The fields stand in their own order, not in that of their naming.
        (
            "HGETALL k",
            "[\"age\" \"7\" \"email\" \"a@b\" \"name\" \"ann\"]",
        ),
        (
            "HIMPORT SET k u ann a@b",
            "-ERR value count does not match the fieldset's field count",
        ),
        ("HIMPORT SET k v ann", "-ERR no such fieldset"),
        (
            "HIMPORT PREPARE v a b a",
            "-ERR duplicate field name in fieldset",
        ),
        ("HIMPORT SET k v 1 2 3", "-ERR no such fieldset"),
        ("HIMPORT PREPARE u x", "OK"),
        ("HIMPORT SET k u 1", "OK"),
        ("HGETALL k", "[\"x\" \"1\"]"),
        ("SET text value", "OK"),
        (
            "HIMPORT SET text u 1",
            "-WRONGTYPE Operation against a key holding the wrong kind of value",
        ),
        ("HIMPORT DISCARD nosuch", "0"),
        ("HIMPORT PREPARE v y", "OK"),
        ("HIMPORT DISCARD v", "1"),
        ("HIMPORT DISCARDALL", "1"),
        ("HIMPORT SET k u 1", "-ERR no such fieldset"),
        ("HGETALL k", "[\"x\" \"1\"]"),
    ] {
        assert_eq!(client.run(command).to_string(), wanted, "{command}");
    }
    client.run("HIMPORT PREPARE u x");
    let reply = other.run("HIMPORT SET k u 1").to_string();
    assert_eq!(reply, "-ERR no such fieldset");
    client.run("RESET");
    let reply = client.run("HIMPORT SET k u 1").to_string();
    assert_eq!(reply, "-ERR no such fieldset");
}

#[test]
fn named_fields_count_as_the_clients_memory() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut total = || {
        let line = client.run("CLIENT INFO").text();
        let behind = line
            .split("tot-mem=")
            .nth(1)
            .expect("the line has the field");
        let digits: String = behind.chars().take_while(char::is_ascii_digit).collect();
        (
            digits.parse::<usize>().expect("a number"),
            client.run("HIMPORT PREPARE wide a b c d e f g h i j"),
        )
    };
    let (before, _) = total();
    let (after, _) = total();
    assert!(after >= before + 10 * 24, "{before} then {after}");
}
