//! Sets: commands of newer servers than the one that the differential tests ask; the documentation decides.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::Server;

#[test]
fn members_of_unions_and_differences_are_counted() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("SADD ints 1 2 3 4 5");
    client.run("SADD others 4 5 6");
    client.run("SADD words 1 two three");
    for number in 0..1000 {
        client.run(&format!("SADD large member:{number}"));
    }
    client.run("SET text x");
    for (command, want) in [
        ("SUNIONCARD 2 ints others", "6"),
        ("SUNIONCARD 3 ints others words", "8"),
        ("SUNIONCARD 1 ints", "5"),
        ("SUNIONCARD 1 ints LIMIT 2", "2"),
        ("SUNIONCARD 2 ints others LIMIT 4", "4"),
        ("SUNIONCARD 2 ints others LIMIT 0", "6"),
        ("SUNIONCARD 2 ints nokey", "5"),
        ("SUNIONCARD 1 nokey", "0"),
        ("SUNIONCARD 2 large ints", "1005"),
        ("SUNIONCARD 2 ints others APPROX", "6"),
        ("SUNIONCARD 2 ints others APPROX LIMIT 3", "3"),
        ("SDIFFCARD 2 ints others", "3"),
        ("SDIFFCARD 2 ints others LIMIT 2", "2"),
        ("SDIFFCARD 2 ints others LIMIT 0", "3"),
        ("SDIFFCARD 2 ints ints", "0"),
        ("SDIFFCARD 2 ints nokey", "5"),
        ("SDIFFCARD 2 nokey ints", "0"),
        ("SDIFFCARD 3 large ints words", "1000"),
        ("SDIFFCARD 2 words ints", "2"),
    ] {
        assert_eq!(client.run(command).text(), want, "{command}");
    }
    for name in ["SUNIONCARD", "SDIFFCARD"] {
        for (args, want) in [
            ("0 ints", "ERR numkeys should be greater than 0"),
            ("x ints", "ERR numkeys should be greater than 0"),
            (
                "2 ints",
                "ERR Number of keys can't be greater than number of args",
            ),
            ("1 ints LIMIT -1", "ERR LIMIT can't be negative"),
            ("1 ints LIMIT x", "ERR LIMIT can't be negative"),
            ("1 ints LIMIT", "ERR syntax error"),
            ("1 ints more", "ERR syntax error"),
            (
                "2 ints text",
                "WRONGTYPE Operation against a key holding the wrong kind of value",
            ),
        ] {
            assert_eq!(
                client.run(&format!("{name} {args}")).text(),
                want,
                "{name} {args}"
            );
        }
    }
    assert_eq!(
        client.run("SDIFFCARD 1 ints APPROX").text(),
        "ERR syntax error"
    );
}

#[test]
fn an_estimate_of_a_union_is_near_and_the_same_each_time() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for number in 0..2000 {
        client.run(&format!("SADD a {number} x:{number}"));
        client.run(&format!("SADD b {number} y:{number}"));
    }
    let told: i64 = client
        .run("SUNIONCARD 2 a b APPROX")
        .text()
        .parse()
        .expect("a number");
    assert!((5700..=6300).contains(&told), "{told} of 6000");
    assert_eq!(
        client.run("SUNIONCARD 2 b a APPROX").text(),
        told.to_string()
    );
}
