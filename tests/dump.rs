//! DUMP and RESTORE: payloads cross between Retrace and a real server, in both directions, for every type and encoding.
//!
//! Where there is no real server those tests say so and pass.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use retrace::persist::payload::seal;
use support::durable::info;
use support::pair::OPTIONS;
use support::{Client, Rng, Server, Value, oracle_server, seed, wait_for};

/// Commands that make the key `k`, one value a line; `#` stands for numbers from 1 to 700, `$` for text of 20,000 bytes,
/// `@` for text that compresses badly.
const VALUES: &[&str] = &[
    "SET k bar",
    "SET k ''",
    "SET k 12",
    "SET k -12345",
    "SET k 2147483648",
    "SET k $",
    "SET k @",
    "PFADD k a b c d",
    "RPUSH k a b c 1 2 3",
    "RPUSH k #",
    "RPUSH k # $ a $ @",
    "CONFIG SET list-compress-depth 1 | RPUSH k # # # # @ # #",
    "CONFIG SET list-max-listpack-size 3 | RPUSH k # a '' 1 $",
    "DEBUG QUICKLIST-PACKED-THRESHOLD 100 | RPUSH k a $ # $ b",
    "SADD k 1 2 3",
    "SADD k 1 2 70000 -5",
    "SADD k 1 9223372036854775807 -9223372036854775808",
    "SADD k #",
    "SADD k a b 1 2 ''",
    "SADD k # a",
    "SADD k a $ 5",
    "ZADD k 1 a 2 b 2.5 c -inf d inf e 0 f -0.25 g",
    "ZADD k 1e300 a 3 $ 1 5",
    "CONFIG SET zset-max-listpack-entries 2 | ZADD k 1 a 1 b 1 c -7.5 d inf e",
    "HSET k f v 1 2 '' ''",
    "HSET k f $",
    "CONFIG SET hash-max-listpack-entries 2 | HSET k f v g 1 h 2 i @",
    "HSET k f v g w h x | HPEXPIREAT k 2000000000000 FIELDS 1 g",
    "HSET k f v g w | HPEXPIREAT k 2000000000000 FIELDS 2 f g | HPERSIST k FIELDS 2 f g",
    "CONFIG SET hash-max-listpack-entries 2 | HSET k f v g w h x | HPEXPIREAT k 2000000000000 FIELDS 1 g | \
     HPEXPIREAT k 2100000000000 FIELDS 1 h",
    "XADD k 1-1 f v | XADD k 1-2 f w | XADD k 5-0 g x h y",
    "XADD k 1-1 f v | XDEL k 1-1",
    "XADD k 4-1 f v | XADD k 5-7 f v | XDEL k 5-7 | XSETID k 5-9 ENTRIESADDED 10 MAXDELETEDID 2-0 | XSETID k 5-0 | XADD k 5-3 f w",
    "CONFIG SET stream-node-max-entries 2 | XADD k 1-1 f v | XADD k 1-2 f w | XADD k 5-0 g $ | XADD k 6-0 f 1 | XDEL k 1-2",
    "XADD k 1-1 f v | XADD k 2-1 f w | XADD k 3-1 f x | XGROUP CREATE k g 0 | XGROUP CREATE k empty $ | \
     XREADGROUP GROUP g c1 COUNT 1 STREAMS k > | XREADGROUP GROUP g c2 COUNT 1 STREAMS k > | XGROUP CREATECONSUMER k g c3",
];

/// Values as other servers and older ones have saved them: the type number and what follows.
const OLD: &[(&str, &[u8])] = &[
    ("list", b"\x01\x03\x01a\xc0\x05\x00"),
    ("set", b"\x02\x03\x01a\x01b\xc1\x10\x27"),
    ("set of integers", b"\x02\x02\xc0\x01\xc1\x10\x27"),
    ("set with a member twice", b"\x02\x02\x01a\x01a"),
    ("sorted set", b"\x03\x03\x01a\x031.5\x01b\xfe\x01c\xff"),
    ("sorted set with a score that is no number", b"\x03\x01\x01a\xfd"),
    ("sorted set 2", b"\x05\x01\x01a\x00\x00\x00\x00\x00\x00\xf8\x3f"),
    ("hash", b"\x04\x02\x01f\x01v\x01g\xc0\x01"),
    ("hash with a field twice", b"\x04\x02\x01f\x01v\x01f\xc0\x01"),
    ("zipmap", b"\x09\x18\x02\x03foo\x03\x00bar\x05hello\x05\x00world\xff"),
    ("list in a ziplist", b"\x0a\x12\x12\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xf3\xff\xff\xff\xff"),
    ("list in a ziplist", b"\x0a\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xf3\xff"),
    ("sorted set in a ziplist", b"\x0c\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xf3\xff"),
    ("hash in a ziplist", b"\x0d\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xf3\xff"),
    ("quicklist", b"\x0e\x02\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xf3\xff\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01b\x03\xfe\xff"),
    ("quicklist", b"\x0e\x02\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01a\x03\xf3\xff\x10\x10\x00\x00\x00\x0d\x00\x00\x00\x02\x00\x00\x01b\x03\xf4\xff"),
    ("empty list", b"\x01\x00"),
    ("empty set", b"\x02\x00"),
    ("empty hash", b"\x04\x00"),
    ("empty quicklist 2", b"\x12\x00"),
    ("quicklist 2 with an empty node", b"\x12\x01\x02\x07\x07\x00\x00\x00\x00\x00\xff"),
    ("quicklist 2 with an empty element", b"\x12\x01\x01\x00"),
    ("hash with deadlines of a release candidate", b"\x16\x02\x81\x00\x00\x01\xd1\xa9\x4a\x20\x00\x01f\x01v\x00\x01g\x01w"),
    ("hash with deadlines", b"\x18\x00\x20\x4a\xa9\xd1\x01\x00\x00\x02\x01\x01f\x01v\x00\x01g\x01w"),
    ("listpack with deadlines of a release candidate", b"\x17\x19\x19\x00\x00\x00\x03\x00\x81a\x02\x81b\x02\xf4\x00\x20\x4a\xa9\xd1\x01\x00\x00\x09\xff"),
    ("stream", b"\x0f\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x1d\x1d\x00\x00\x00\x0a\x00\x01\x01\x00\x01\x01\x01\x81f\x02\x00\x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01\xff\x01\x01\x01\x01\x01g\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x20\x4a\xa9\xd1\x01\x00\x00\x03\x01\x01c\x00\x20\x4a\xa9\xd1\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01"),
    ("stream with an entry that is pending for nobody", b"\x0f\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x1d\x1d\x00\x00\x00\x0a\x00\x01\x01\x00\x01\x01\x01\x81f\x02\x00\x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01\xff\x01\x01\x01\x01\x01g\x01\x01\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x00\x20\x4a\xa9\xd1\x01\x00\x00\x03\x01\x01c\x00\x20\x4a\xa9\xd1\x01\x00\x00\x00"),
    ("stream 2", b"\x13\x01\x10\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x01\x1d\x1d\x00\x00\x00\x0a\x00\x01\x01\x00\x01\x01\x01\x81f\x02\x00\x01\x02\x01\x00\x01\x00\x01\x81v\x02\x04\x01\xff\x01\x01\x01\x01\x01\x00\x00\x02\x01\x01g\x01\x01\x01\x00\x01\x01c\x00\x20\x4a\xa9\xd1\x01\x00\x00\x00"),
    ("stream with a wrong count", b"\x0f\x00\x05\x01\x01\x00"),
    ("module", b"\x07\x81\x00\x00\x00\x00\x00\x00\x00\x00\x00"),
    ("no type", b"\x08\x00"),
    ("no type", b"\x7f\x00"),
    ("nothing", b""),
    ("string of a length that is not there", b"\x00\x81\x7f\xff\xff\xff\xff\xff\xff\xff"),
    ("list of a count that is not there", b"\x01\x80\xff\xff\xff\xff\x01a"),
    ("set of a count that is not there", b"\x02\x81\x00\xff\xff\xff\xff\xff\xff\xff\x01a"),
    ("LZF string that claims too much", b"\x00\xc3\x02\x80\x7f\xff\xff\xff\x00a"),
];

/// Makes the key `k` by the commands of one line, under the defaults again.
fn make(client: &mut Client, line: &str) {
    client.run("DEL k");
    client.run(
        "CONFIG SET list-compress-depth 0 list-max-listpack-size -2 zset-max-listpack-entries 128",
    );
    client.run("CONFIG SET hash-max-listpack-entries 512 stream-node-max-entries 100");
    client.run("DEBUG QUICKLIST-PACKED-THRESHOLD 0");
    let mut rng = Rng::new(1);
    for command in line.split(" | ") {
        let mut argv: Vec<Vec<u8>> = Vec::new();
        for word in retrace::config::split_args(command.as_bytes()).expect("it is balanced") {
            match &word[..] {
                b"#" => argv.extend((1..=700).map(|number: i32| number.to_string().into_bytes())),
                b"$" if !command.starts_with("XGROUP") => argv.push(b"text ".repeat(4000)),
                b"@" => argv.push(rng.bytes(300)),
                _ => argv.push(word),
            }
        }
        let reply = client.call(&argv);
        assert_eq!(reply.error(), None, "{command}");
    }
}

fn dump(client: &mut Client) -> Vec<u8> {
    match client.run("DUMP k") {
        Value::Bulk(payload) => payload,
        other => panic!("DUMP said {other}"),
    }
}

fn restore(client: &mut Client, payload: &[u8]) -> String {
    let command: [&[u8]; 5] = [b"RESTORE", b"k", b"0", payload, b"REPLACE"];
    client.call(&command).to_string()
}

/// All that shows of the value at `k`.
fn look(client: &mut Client) -> String {
    let kind = client.run("TYPE k").text();
    let mut commands = vec!["DEBUG DIGEST-VALUE k", "OBJECT ENCODING k", "TTL k"];
    match &kind[..] {
        "hash" => commands.extend([
            "HPEXPIRETIME k FIELDS 3 f g h",
            "HPEXPIRETIME k FIELDS 2 a i",
        ]),
        "stream" => commands.extend(["XINFO STREAM k", "XINFO STREAM k FULL COUNT 0"]),
        "zset" => commands.push("ZRANGE k 0 -1 WITHSCORES"),
        _ => {}
    }
    let replies = commands
        .iter()
        .map(|command| client.run(command).to_string());
    kind + ": " + &replies.collect::<Vec<_>>().join("; ")
}

#[test]
fn payloads_cross_both_ways() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    for protocol in [&ours, &real] {
        let (mut from, mut to) = match std::ptr::eq(protocol, &ours) {
            true => (ours.connect(), real.connect()),
            false => (real.connect(), ours.connect()),
        };
        for packs in ["yes", "no"] {
            from.run(&format!("CONFIG SET rdbcompression {packs}"));
            for line in VALUES {
                make(&mut from, line);
                make(&mut to, line);
                let payload = dump(&mut from);
                // What is read is in the encoding that the reader would choose, so both read it.
                assert_eq!(restore(&mut from, &payload), "OK", "{line}");
                let wanted = look(&mut from);
                assert_eq!(restore(&mut to, &payload), "OK", "{line}");
                assert_eq!(look(&mut to), wanted, "{line}");
            }
        }
    }
}

#[test]
fn old_values_are_read_as_a_real_server_reads_them() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let server = Server::start(OPTIONS);
    let (mut ours, mut real) = (server.connect(), real.connect());
    // Retrace always looks nearly as closely as a real server does when it is told to.
    for client in [&mut ours, &mut real] {
        client.run("CONFIG SET sanitize-dump-payload yes");
    }
    for (what, value) in OLD {
        let mut payload = value.to_vec();
        seal(&mut payload);
        let said = [&mut ours, &mut real].map(|client| {
            client.run("DEL k");
            client.run("CONFIG RESETSTAT");
            let said = restore(client, &payload);
            // A real server may have looked into the checksum before it refuses something.
            let looked_at = (said == "OK").then(|| sanitizations(client));
            (said, look(client), looked_at)
        });
        assert_eq!(said[0], said[1], "{what}");
    }
}

/// How many packed values were looked at in full.
fn sanitizations(client: &mut Client) -> String {
    info(client, "dump_payload_sanitizations")
}

/// A set in a listpack: 0, 2, _3, _3.
const TWICE: &[u8] =
    b"\x14\x13\x13\x00\x00\x00\x04\x00\x00\x01\x02\x01\x82\x5f\x33\x03\x82\x5f\x33\x03\xff";

#[test]
fn a_member_that_comes_twice_is_taken_where_nobody_asks_for_a_closer_look() {
    let mut payload = TWICE.to_vec();
    seal(&mut payload);
    let mut both = vec![Server::start(OPTIONS)];
    both.extend(oracle_server(OPTIONS));
    for server in &both {
        let mut client = server.connect();
        client.run("ACL SETUSER trusted on nopass ~* +@all skip-sanitize-payload");
        for (mode, user, said, looked_at) in [
            ("no", "default", "OK", "0"),
            ("yes", "default", "-ERR Bad data format", "1"),
            ("yes", "trusted", "-ERR Bad data format", "1"),
            ("clients", "default", "-ERR Bad data format", "1"),
            ("clients", "trusted", "OK", "0"),
        ] {
            client.run(&format!("CONFIG SET sanitize-dump-payload {mode}"));
            client.run(&format!("AUTH {user} ''"));
            client.run("DEL k");
            client.run("CONFIG RESETSTAT");
            assert_eq!(restore(&mut client, &payload), said, "{mode} {user}");
            assert_eq!(sanitizations(&mut client), looked_at, "{mode} {user}");
        }
        // It counts for two, until a command looks at what it is.
        for (line, said) in [
            ("OBJECT ENCODING k", "\"listpack\""),
            ("SCARD k", "4"),
            ("SISMEMBER k _3", "1"),
            ("SDIFFSTORE d k", "3"),
            ("SDIFF k", "[\"0\" \"2\" \"_3\"]"),
            ("SDIFF k nokey", "[\"0\" \"2\" \"_3\"]"),
            ("SUNION k", "[\"0\" \"2\" \"_3\"]"),
            ("SREM k _3", "1"),
            ("SISMEMBER k _3", "1"),
            ("SREM k _3", "1"),
            ("SISMEMBER k _3", "0"),
        ] {
            let mut reply = client.run(line);
            if let Value::Array(members) = &mut reply {
                members.sort_by_key(Value::to_string);
            }
            assert_eq!(reply.to_string(), said, "{line}");
        }
    }
    // A file with it is read again, and not by who looks closer.
    let mut client = both[0].connect();
    for (mode, said, looked_at) in [("no", "OK", "0"), ("clients", "OK", "0"), ("yes", "", "1")] {
        client.run("CONFIG SET sanitize-dump-payload no");
        client.run("FLUSHALL");
        restore(&mut client, &payload);
        client.run(&format!("CONFIG SET sanitize-dump-payload {mode}"));
        client.run("CONFIG RESETSTAT");
        let reply = client.run("DEBUG RELOAD");
        assert_eq!(reply.error().is_none(), !said.is_empty(), "{mode}: {reply}");
        assert_eq!(sanitizations(&mut client), looked_at, "{mode}");
    }
    // A table has it once.
    client.run("CONFIG SET sanitize-dump-payload no");
    client.run("DEL k");
    restore(&mut client, &payload);
    client.run("CONFIG SET set-max-listpack-value 1");
    client.run("SADD k long");
    assert_eq!(client.run("OBJECT ENCODING k").to_string(), "\"hashtable\"");
    assert_eq!(client.run("SCARD k").to_string(), "4");
}

#[test]
fn the_log_says_why_a_payload_is_refused() {
    let server = Server::start(&["--loglevel", "verbose"]);
    let mut client = server.connect();
    for (value, why) in [
        (&b"\x0e\x01\x02ab"[..], "Ziplist integrity check failed"),
        (b"\x10\x00", "Hash listpack integrity check failed"),
        (b"\x09\x02\x00\xff", "Zipmap integrity check failed"),
        (b"\x0b\x01a", "Intset integrity check failed"),
        (b"\x02\x02\x01a\x01a", "Duplicate set members detected"),
        (b"\x04\x02\x01a\x01b\x01a\x01b", "Hash with dup elements"),
    ] {
        let mut payload = value.to_vec();
        seal(&mut payload);
        assert_eq!(restore(&mut client, &payload), "-ERR Bad data format");
        let line = format!("-> {why}.");
        wait_for("the reason", || server.log().contains(&line).then_some(()));
    }
}

#[test]
fn damaged_payloads_are_refused_or_harmless() {
    let mut server = Server::start(OPTIONS);
    let mut client = server.connect();
    let mut rng = Rng::new(seed());
    for line in VALUES {
        make(&mut client, line);
        let payload = dump(&mut client);
        let value = &payload[..payload.len() - 10];
        for _ in 0..60 {
            let mut bad = value.to_vec();
            for _ in 0..1 + rng.below(3) {
                // Most of what matters stands in front.
                let reach = if rng.one_in(2) { 40 } else { bad.len() };
                let at = rng.below(bad.len().min(reach).max(1));
                match rng.below(4) {
                    0 => bad.truncate(at + 1),
                    1 => bad[at] ^= 1 << rng.below(8),
                    2 => bad[at] = *rng.pick(&[0, 1, 0x7f, 0x80, 0x81, 0xc3, 0xfe, 0xff]),
                    _ => drop(bad.remove(at)),
                }
                if bad.is_empty() {
                    bad.push(0);
                }
            }
            seal(&mut bad);
            if restore(&mut client, &bad) != "OK" {
                continue;
            }
            let kept = dump(&mut client);
            assert_eq!(restore(&mut client, &kept), "OK", "{line}: {bad:?}");
            for command in [
                "APPEND k x",
                "LRANGE k 0 -1",
                "LINSERT k AFTER a b",
                "LPOP k 2",
                "SPOP k 2",
                "SADD k new",
                "ZADD k 5 new",
                "ZPOPMIN k",
                "HSET k new v",
                "HDEL k f",
                "HGETALL k",
                "XADD k * f v",
                "XDEL k 1-1",
                "XAUTOCLAIM k g c 0 0",
                "XTRIM k MAXLEN 1",
                "PFADD k x",
                "PFCOUNT k",
            ] {
                client.run(command);
            }
        }
    }
    assert!(server.is_alive());
}
