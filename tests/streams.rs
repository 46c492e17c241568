//! Streams: what Redis 8.2 to 8.10 added to them, which the real server that `differential.rs` asks may not know.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::{Server, Value, request, wait_for};

/// Runs commands on an empty server; each stands with its reply behind ` => `.
fn check(script: &str) {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    let mut client = server.connect();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let (command, wanted) = line.split_once(" => ").unwrap_or((line, ""));
        let reply = client.run(command).to_string();
        assert!(
            wanted.is_empty() || reply == wanted,
            "{command}\n ours: {reply}\n want: {wanted}"
        );
    }
}

const TWO_GROUPS: &str = "
    XADD s 1-0 f v
    XADD s 2-0 f v
    XADD s 3-0 f v
    XGROUP CREATE s g 0
    XGROUP CREATE s h 0
";

#[test]
fn entries_are_deleted_with_what_refers_to_them() {
    check(&format!(
        "XDELEX nokey IDS 2 1-0 x => [-1 -1]
        {TWO_GROUPS}
        XREADGROUP GROUP g c COUNT 2 STREAMS s >
        XDELEX s ACKED IDS 2 1-0 9-0 => [2 2]
        XDELEX s KEEPREF IDS 1 1-0 => [1]
        XPENDING s g => [2 \"1-0\" \"2-0\" [[\"c\" \"2\"]]]
        XDELEX s DELREF IDS 3 1-0 2-0 2-0 => [-1 1 -1]
        XPENDING s g => [0 (nil) (nil) (nil)]
        XREADGROUP GROUP g c STREAMS s >
        XREADGROUP GROUP h c STREAMS s >
        XACK s g 3-0 => 1
        XDELEX s ACKED IDS 1 3-0 => [2]
        XACK s h 3-0 => 1
        XDELEX s IDS 1 3-0 ACKED => [1]
        XDELEX s KEEPREF DELREF IDS 1 1-0 => -ERR syntax error
        XDELEX s IDS 0 1-0 => -ERR Number of IDs must be a positive integer
        XDELEX s IDS 2 1-0 => -ERR The `numids` parameter must match the number of arguments
        XDELEX s IDS 1 1-0 2-0 => -ERR syntax error
        XDELEX s KEEPREF 1 2 => -ERR syntax error"
    ));
}

#[test]
fn entries_are_acknowledged_and_deleted_at_once() {
    check(&format!(
        "XACKDEL nokey g IDS 1 1-0 => [-1]
        {TWO_GROUPS}
        XACKDEL s nosuch IDS 1 x => [-1]
        XACKDEL s g IDS 1 x => -ERR Invalid stream ID specified as stream command argument
        XREADGROUP GROUP g c STREAMS s >
        XREADGROUP GROUP h c STREAMS s >
        XACKDEL s g ACKED IDS 2 1-0 2-0 => [2 2]
        XLEN s => 3
        XACKDEL s h ACKED IDS 2 1-0 2-0 => [1 1]
        XLEN s => 1
        XACKDEL s g KEEPREF IDS 1 3-0 => [1]
        XPENDING s h => [1 \"3-0\" \"3-0\" [[\"c\" \"1\"]]]
        XACKDEL s h DELREF IDS 1 3-0 => [1]
        XPENDING s h => [0 (nil) (nil) (nil)]"
    ));
}

#[test]
fn trims_mind_what_refers_to_entries() {
    check(&format!(
        "{TWO_GROUPS}
        XGROUP DESTROY s h
        XADD s MAXLEN = 1 ACKED 4-0 f v => \"4-0\"
        XLEN s => 4
        XREADGROUP GROUP g c COUNT 2 STREAMS s >
        XACK s g 2-0
        XTRIM s MAXLEN 1 ACKED => 1
        XRANGE s - 2 => [[\"1-0\" [\"f\" \"v\"]]]
        XTRIM s MINID 3 DELREF => 1
        XPENDING s g => [0 (nil) (nil) (nil)]
        XTRIM s MAXLEN 1 KEEPREF ACKED => -ERR syntax error
        XADD s MAXLEN 1 KEEPREF ACKED 9-9 f v => -ERR Invalid stream ID specified as stream command argument
        XTRIM s MAXLEN 0 KEEPREF => 2"
    ));
}

#[test]
fn a_trim_drops_references_to_what_was_deleted_before() {
    for (trim, reply, pending) in [
        (
            "XTRIM s MAXLEN 1 DELREF",
            "1",
            "[1 \"3-0\" \"3-0\" [[\"c\" \"1\"]]]",
        ),
        (
            "XTRIM s MAXLEN 2 DELREF",
            "0",
            "[2 \"2-0\" \"3-0\" [[\"c\" \"2\"]]]",
        ),
        (
            "XTRIM s MINID 3 DELREF",
            "1",
            "[1 \"3-0\" \"3-0\" [[\"c\" \"1\"]]]",
        ),
        ("XTRIM s MINID ~ 9 DELREF", "2", "[0 (nil) (nil) (nil)]"),
        ("XTRIM s MAXLEN 0 DELREF", "2", "[0 (nil) (nil) (nil)]"),
        (
            "XADD s MAXLEN 1 DELREF 4-0 f v",
            "\"4-0\"",
            "[0 (nil) (nil) (nil)]",
        ),
        (
            "XTRIM s MAXLEN 1 KEEPREF",
            "1",
            "[3 \"1-0\" \"3-0\" [[\"c\" \"3\"]]]",
        ),
        (
            "XDELEX s DELREF IDS 1 1-0",
            "[-1]",
            "[2 \"2-0\" \"3-0\" [[\"c\" \"2\"]]]",
        ),
    ] {
        check(&format!(
            "{TWO_GROUPS}
            XREADGROUP GROUP g c STREAMS s >
            XDEL s 1-0 => 1
            {trim} => {reply}
            XPENDING s g => {pending}"
        ));
    }
}

#[test]
fn pending_entries_are_given_back() {
    check(&format!(
        "{TWO_GROUPS}
        XREADGROUP GROUP g c STREAMS s >
        XNACK s g FAIL IDS 2 1-0 9-0 => 1
        XNACK s g SILENT IDS 1 2-0 => 1
        XNACK s g FATAL IDS 1 3-0 => 1
        XPENDING s g - + 9 => [[\"1-0\" \"\" -1 1] [\"2-0\" \"\" -1 0] [\"3-0\" \"\" -1 9223372036854775807]]
        XPENDING s g - + 9 c => []
        XNACK s g FAIL IDS 1 3-0 RETRYCOUNT 4 => 1
        XCLAIM s g d 1000000 3-0 JUSTID => [\"3-0\"]
        XREADGROUP GROUP g d COUNT 1 CLAIM 1000000 STREAMS s > => [[\"s\" [[\"1-0\" [\"f\" \"v\"] -1 1]]]]
        XAUTOCLAIM s g e 1000000 0 JUSTID => [\"0-0\" [\"2-0\"] []]
        XPENDING s g => [3 \"1-0\" \"3-0\" [[\"d\" \"2\"] [\"e\" \"1\"]]]
        XACK s g 1-0 2-0 3-0 => 3
        XNACK s g FAIL IDS 2 1-0 9-0 FORCE => 1
        XPENDING s g - + 9 => [[\"1-0\" \"\" -1 0]]
        XNACK s nosuch FAIL IDS 1 1-0 => -NOGROUP No such key 's' or consumer group 'nosuch'
        XNACK s g BAD IDS 1 1-0 => -ERR mode must be SILENT, FAIL, or FATAL
        XNACK s g FAIL FATAL IDS 1 1-0 => -ERR Unrecognized XNACK option 'FATAL'
        XNACK s g FAIL FORCE RETRYCOUNT 5 => -ERR syntax error, expected IDS keyword
        XNACK s g FAIL IDS x 1-0 => -ERR numids must be a positive integer
        XNACK s g FAIL IDS 2 1-0 => -ERR number of IDs doesn't match numids
        XNACK s g FAIL IDS 1 1-0 RETRYCOUNT -1 => -ERR Invalid RETRYCOUNT value, must be >= 0"
    ));
}

#[test]
fn group_readers_claim_before_they_read_on() {
    check(&format!(
        "{TWO_GROUPS}
        XREADGROUP GROUP g c COUNT 1 STREAMS s >
        XNACK s g FAIL IDS 1 1-0
        XREADGROUP GROUP g d COUNT 2 CLAIM 5 NOACK STREAMS s > => [[\"s\" [[\"1-0\" [\"f\" \"v\"] -1 1] [\"2-0\" [\"f\" \"v\"] 0 0]]]]
        XREADGROUP GROUP g d CLAIM 9223372036854775807 STREAMS s > => [[\"s\" [[\"3-0\" [\"f\" \"v\"] 0 0]]]]
        XDEL s 1-0
        XNACK s g FAIL IDS 1 1-0
        XREADGROUP GROUP g d CLAIM 1000000 STREAMS s > => (nil)
        XREADGROUP GROUP g d CLAIM x STREAMS s > => -ERR min-idle-time is not an integer or out of range
        XREADGROUP GROUP g d CLAIM -1 STREAMS s > => -ERR min-idle-time must be a positive integer
        XREAD CLAIM 1 STREAMS s 0 => -ERR The CLAIM option is only supported by XREADGROUP. You called XREAD instead."
    ));
}

#[test]
fn entries_given_back_are_taken_in_that_order_and_before_others() {
    check(&format!(
        "{TWO_GROUPS}
        XREADGROUP GROUP g c STREAMS s >
        XCLAIM s g c 0 2-0 TIME 0 JUSTID => [\"2-0\"]
        XNACK s g SILENT IDS 2 3-0 1-0 => 2
        XREADGROUP GROUP g d COUNT 2 CLAIM 0 STREAMS s > => [[\"s\" [[\"3-0\" [\"f\" \"v\"] -1 0] [\"1-0\" [\"f\" \"v\"] -1 0]]]]
        XNACK s g SILENT IDS 2 3-0 1-0 => 2
        XNACK s g SILENT IDS 1 3-0 => 1
        XREADGROUP GROUP g d COUNT 1 CLAIM 1000000 STREAMS s > => [[\"s\" [[\"1-0\" [\"f\" \"v\"] -1 0]]]]
        XREADGROUP GROUP g d COUNT 1 CLAIM 1000000 STREAMS s > => [[\"s\" [[\"3-0\" [\"f\" \"v\"] -1 0]]]]"
    ));
}

/// The idle time that the only entry of a reply had.
fn idle_of(reply: &Value) -> i64 {
    let text = reply.to_string();
    let before = text.strip_prefix("[[\"s\" [[\"1-0\" [\"f\" \"v\"] ");
    let idle = before.and_then(|rest| rest.split(' ').next());
    idle.and_then(|idle| idle.parse().ok())
        .unwrap_or_else(|| panic!("not the entry: {text}"))
}

#[test]
fn a_group_reader_that_waits_takes_entries_when_they_are_old_enough() {
    let server = Server::start(&[]);
    let (mut client, mut waiting) = (server.connect(), server.connect());
    client.run("XADD s 1-0 f v");
    client.run("XGROUP CREATE s g 0");
    client.run("XREADGROUP GROUP g c STREAMS s >");
    // The entry is pending before the wait begins.
    let reply = waiting.run("XREADGROUP GROUP g d BLOCK 60000 CLAIM 80 STREAMS s >");
    assert!((80..30_000).contains(&idle_of(&reply)), "{reply}");
    // Its age counts from the last delivery, also from one that comes during the wait.
    let command = "XREADGROUP GROUP g d BLOCK 60000 CLAIM 120 STREAMS s >";
    waiting.send(&request(&command.split(' ').collect::<Vec<_>>()));
    wait_for("a client that waits", || {
        let info = client.run("INFO clients").text();
        info.contains("blocked_clients:1").then_some(())
    });
    client.run("XCLAIM s g c 0 1-0 JUSTID");
    let reply = waiting.read();
    assert!((120..30_000).contains(&idle_of(&reply)), "{reply}");
    // What is given back is taken at once; a wait that is over is over.
    let command = "XREADGROUP GROUP g d BLOCK 60000 CLAIM 1000000 STREAMS s >";
    waiting.send(&request(&command.split(' ').collect::<Vec<_>>()));
    wait_for("a client that waits", || {
        let info = client.run("INFO clients").text();
        info.contains("blocked_clients:1").then_some(())
    });
    client.run("XNACK s g FAIL IDS 1 1-0");
    assert_eq!(idle_of(&waiting.read()), -1);
    let reply = waiting.run("XREADGROUP GROUP g d BLOCK 30 CLAIM 1000000 STREAMS s >");
    assert_eq!(reply.to_string(), "(nil)");
}

#[test]
fn what_streams_remember_of_producers_is_configured() {
    check(
        "CONFIG SET stream-idmp-maxsize 1 stream-idmp-duration 7 => OK
        XADD s IDMP p a * f v
        XADD s IDMP p b * f v
        XADD s IDMP p b * f v
        XLEN s => 2
        XADD s IDMP p a * f v
        XLEN s => 3
        CONFIG SET stream-idmp-maxsize 5 => OK
        XADD s IDMP p b * f v
        XLEN s => 4
        XADD t IDMP p a * f v
        XADD t IDMP p b * f v
        XADD t IDMP p a * f v
        XLEN t => 2
        CONFIG SET stream-idmp-duration 0 => -ERR CONFIG SET failed (possibly related to argument 'stream-idmp-duration') - argument must be between 1 and 86400 inclusive
        CONFIG SET stream-idmp-maxsize 10001 => -ERR CONFIG SET failed (possibly related to argument 'stream-idmp-maxsize') - argument must be between 1 and 10000 inclusive",
    );
}

#[test]
fn reads_are_bounded_over_all_streams() {
    check(&format!(
        "{TWO_GROUPS}
        XADD t 1-0 f v
        XREAD COUNT 2 MAXCOUNT 3 STREAMS t s t 0 0 0 => [[\"t\" [[\"1-0\" [\"f\" \"v\"]]]] [\"s\" [[\"1-0\" [\"f\" \"v\"]] [\"2-0\" [\"f\" \"v\"]]]]]
        XREAD MAXSIZE 1 STREAMS s t 0 0 => [[\"s\" [[\"1-0\" [\"f\" \"v\"]]]]]
        XREAD MAXSIZE 100000 STREAMS s t 2 0 => [[\"s\" [[\"3-0\" [\"f\" \"v\"]]]] [\"t\" [[\"1-0\" [\"f\" \"v\"]]]]]
        XREADGROUP GROUP g c MAXCOUNT 1 STREAMS s s > > => [[\"s\" [[\"1-0\" [\"f\" \"v\"]]]]]
        XREADGROUP GROUP g c MAXSIZE 60 STREAMS s s > > => [[\"s\" [[\"2-0\" [\"f\" \"v\"]]]]]
        XPENDING s g => [2 \"1-0\" \"2-0\" [[\"c\" \"2\"]]]"
    ));
}

#[test]
fn messages_with_an_idempotent_id_are_added_once() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let first = client.run("XADD s IDMP p 1 * f v");
    assert_eq!(client.run("XADD s IDMP p 1 MAXLEN 9 * f w"), first);
    assert_ne!(client.run("XADD s IDMP q 1 * f v"), first);
    let auto = client.run("XADD s IDMPAUTO p * f v");
    assert_eq!(client.run("XADD s IDMPAUTO p * f v"), auto);
    assert_ne!(client.run("XADD s IDMPAUTO p * f w"), auto);
    assert_eq!(client.run("XLEN s").to_string(), "4");
    let info = client.run("XINFO STREAM s").to_string();
    let tracked = "\"idmp-duration\" 100 \"idmp-maxsize\" 100 \"pids-tracked\" 2 \"iids-tracked\" 4 \
                   \"iids-added\" 4 \"iids-duplicates\" 2";
    assert!(info.contains(tracked), "{info}");
    for (options, wanted) in [
        (
            &["IDMP", "", "1"][..],
            "-ERR IDMP requires a non-empty producer ID",
        ),
        (
            &["IDMP", "p", ""],
            "-ERR IDMP requires a non-empty idempotent ID",
        ),
        (
            &["IDMPAUTO", ""],
            "-ERR IDMPAUTO requires a non-empty producer ID",
        ),
    ] {
        let command = [&["XADD", "s"], options, &["*", "f", "v"]].concat();
        assert_eq!(client.call(&command).to_string(), wanted);
    }
    for (command, wanted) in [
        (
            "XADD s IDMP p 1 1-1 f v",
            "-ERR IDMP/IDMPAUTO can be used only with auto-generated IDs",
        ),
        (
            "XADD s IDMP p 1 IDMPAUTO p * f v",
            "-ERR IDMP/IDMPAUTO specified multiple times",
        ),
        ("XADD nokey NOMKSTREAM IDMP p 1 * f v", "(nil)"),
        ("XCFGSET s", "-ERR syntax error"),
        ("XCFGSET nokey IDMP-MAXSIZE 1", "-ERR no such key"),
        (
            "XCFGSET s IDMP-MAXSIZE 0",
            "-ERR IDMP-MAXSIZE must be between 1 and 10000 entries",
        ),
        (
            "XCFGSET s IDMP-DURATION 86401",
            "-ERR IDMP-DURATION must be between 1 and 86400 seconds",
        ),
        (
            "XCFGSET s IDMP-DURATION x",
            "-ERR value is not an integer or out of range",
        ),
        ("XCFGSET s IDMP-MAXSIZE 1 IDMP-DURATION 5", "OK"),
        ("XADD t 1-1 f v", "\"1-1\""),
        ("XIDMPRECORD t p 1 1-1", "OK"),
        ("XIDMPRECORD t p 1 1-1", "OK"),
        ("XADD t IDMP p 1 * f v", "\"1-1\""),
        ("XIDMPRECORD t p 1 9-9", "-ERR no such stream entry"),
        ("XIDMPRECORD nokey p 1 1-1", "-ERR no such key"),
    ] {
        assert_eq!(client.run(command).to_string(), wanted, "{command}");
    }
}
