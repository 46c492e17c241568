//! Limits: what happens when memory, and what clients take of it, reaches what is allowed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::{Client, Server, Value, oracle_server, wait_for};

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
}

/// Both servers, where there is a real one to compare with.
fn servers(args: &[&str]) -> Vec<Server> {
    let ours = Server::start(&[&["--save", ""], args].concat());
    [Some(ours), oracle_server(args)]
        .into_iter()
        .flatten()
        .collect()
}

/// Sends a request and says what came back, or that the connection was closed.
fn ask(client: &mut Client, args: &[&[u8]]) -> String {
    let is_sent = client.try_send(&support::request(args)).is_ok();
    let reply = is_sent.then(|| client.next_reply()).flatten();
    reply.map_or("closed".into(), |(value, _)| value.text())
}

#[test]
fn a_transaction_counts_as_bytes_that_wait_to_be_executed() {
    for server in servers(&["--client-query-buffer-limit", "1mb"]) {
        let mut client = server.connect();
        client.run("MULTI");
        let replies = (0..30).map(|_| ask(&mut client, &[b"SET", b"k", &[b'x'; 100_000]]));
        let queued = replies.take_while(|reply| reply == "QUEUED").count();
        assert_eq!(queued, 10, "the eleventh is too much");
        let mut client = server.connect();
        client.run("MULTI");
        client.run("SET k 12345");
        let list = server.connect().run("CLIENT LIST").text();
        assert!(list.contains(" multi-mem=33 "), "{list}");
        // Of one that will not run nothing is kept.
        client.run("NOSUCH");
        for _ in 0..30 {
            assert_eq!(
                ask(&mut client, &[b"SET", b"k", &[b'x'; 100_000]]),
                "QUEUED"
            );
        }
        assert!(client.run("EXEC").text().starts_with("EXECABORT"));
        let figure = figure(
            &mut client,
            "stats",
            "client_query_buffer_limit_disconnections",
        );
        assert_eq!(figure, 1);
    }
}

#[test]
fn the_limit_of_a_query_is_on_what_belongs_to_no_whole_argument() {
    let big = vec![b'x'; (1 << 20) - 1];
    for server in servers(&["--client-query-buffer-limit", "1mb"]) {
        let mut client = server.connect();
        let values: Vec<&[u8]> = [&b"MSET"[..]]
            .into_iter()
            .chain([&b"k"[..], &big[..400_000]].into_iter().cycle().take(10))
            .collect();
        assert_eq!(ask(&mut client, &values), "OK");
        let values: Vec<&[u8]> = [&b"RPUSH"[..], b"list"]
            .into_iter()
            .chain(std::iter::repeat_n(&big[..1000], 3000))
            .collect();
        assert_eq!(ask(&mut client, &values), "3000");
        // The line end behind an argument counts.
        let largest = &big[..big.len() - 1];
        assert_eq!(ask(&mut client, &[b"SET", b"k", largest]), "OK");
        assert_eq!(ask(&mut client, &[b"SET", b"k", &big]), "closed");
        // A command that waits is no longer part of the query; what stands behind it is.
        let mut client = server.connect();
        let queue = support::request(&[&b"BLPOP"[..], &big[..600_000], b"0"]);
        client.send(&queue);
        let next = support::request(&[&b"SET"[..], b"k", &big[..600_000]]);
        let (once, twice) = (&next[..], [&next[..], &next[..]].concat());
        client.send(once);
        let mut other = server.connect();
        wait_for("a client to wait with all that it has sent", || {
            let list = other.run("CLIENT LIST").text();
            let mut lines = list.lines();
            let line = lines.find(|line| line.contains("cmd=blpop"))?;
            line.contains(&format!(" qbuf={} ", once.len()))
                .then_some(())
        });
        let _ = client.try_send(&twice);
        assert!(client.is_closed());
        let log = server.log();
        let line = log
            .lines()
            .rfind(|line| line.contains("reached max query buffer length"))
            .expect("a line in the log");
        let sample = r#" (qbuf initial bytes: "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$600000\r\n"#;
        assert!(line.contains(sample), "{line}");
        assert!(line.contains(" cmd=blpop "), "{line}");
    }
}

/// A field of a client in CLIENT LIST, if the client is there.
fn field(client: &mut Client, name: &str, field: &str) -> Option<u64> {
    let text = client.run("CLIENT LIST").text();
    let line = text
        .lines()
        .find(|line| line.contains(&format!(" name={name} ")))?;
    let mut fields = line.split(' ');
    let value = fields.find_map(|part| part.strip_prefix(&format!("{field}=")[..]))?;
    value.parse().ok()
}

/// A client of this name that has sent the beginning of a large request.
fn holding(server: &Server, name: &str, bytes: usize) -> Client {
    let mut client = server.connect();
    client.run(&format!("CLIENT SETNAME {name}"));
    client.send(format!("*2\r\n${bytes}\r\n").as_bytes());
    client.send(&vec![b'x'; bytes]);
    client
}

#[test]
fn the_largest_clients_go_first_and_only_as_many_as_must() {
    let server = Server::start(&["--save", ""]);
    let mut control = server.connect();
    control.run("CLIENT SETNAME control");
    control.run("CLIENT NO-EVICT on");
    let mut held = Vec::new();
    for (name, bytes) in [("small", 200_000), ("large", 1 << 20), ("middle", 500_000)] {
        held.push(holding(&server, name, bytes));
        wait_for("the request to arrive", || {
            field(&mut control, name, "qbuf").filter(|held| *held == bytes as u64)
        });
    }
    control.run("CONFIG SET maxmemory-clients 800000");
    assert_eq!(field(&mut control, "large", "id"), None);
    assert!(field(&mut control, "middle", "id").is_some());
    assert!(field(&mut control, "small", "id").is_some());
    assert_eq!(figure(&mut control, "stats", "evicted_clients"), 1);
    // Of what a percentage of no limit would be, nothing is evicted.
    control.run("CONFIG SET maxmemory-clients 1%");
    assert!(field(&mut control, "middle", "id").is_some());
    control.run("CONFIG SET maxmemory 30mb");
    assert_eq!(field(&mut control, "middle", "id"), None);
    assert!(field(&mut control, "small", "id").is_some());
    control.run("CONFIG SET maxmemory-clients 1");
    wait_for("the last one to go", || {
        field(&mut control, "small", "id").is_none().then_some(())
    });
    assert!(
        control.run("PING").text() == "PONG",
        "who must not be evicted stays"
    );
}

#[test]
fn queued_commands_and_watched_keys_count() {
    let server = Server::start(&["--save", "", "--maxmemory-clients", "200kb"]);
    let mut control = server.connect();
    control.run("CLIENT NO-EVICT on");
    let mut queuing = server.connect();
    queuing.run("CLIENT SETNAME queuing");
    queuing.run("MULTI");
    while queuing
        .try_send(&support::request(&["SET", "k", &"x".repeat(5_000)]))
        .is_ok()
        && queuing.next_reply().is_some()
    {}
    assert_eq!(field(&mut control, "queuing", "id"), None);
    let mut watching = server.connect();
    watching.run("CLIENT SETNAME watching");
    for n in 0.. {
        let is_sent = watching
            .try_send(&support::request(&["WATCH", &format!("key:{n}")]))
            .is_ok();
        if !is_sent || watching.next_reply().is_none() {
            break;
        }
    }
    assert_eq!(field(&mut control, "watching", "id"), None);
    assert_eq!(figure(&mut control, "stats", "evicted_clients"), 2);
}

#[test]
fn a_flush_is_answered_when_the_memory_is_back_and_others_are_served_meanwhile() {
    let server = Server::start(&["--save", "", "--enable-debug-command", "yes"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    client.run("DEBUG POPULATE 100000");
    client.run("CONFIG RESETSTAT");
    client.send(b"FLUSHALL\r\nPING\r\nFLUSHDB\r\n");
    assert_eq!(other.run("DBSIZE").text(), "0");
    assert_eq!(client.read().text(), "OK");
    assert_eq!(client.read().text(), "PONG");
    assert_eq!(client.read().text(), "OK");
    assert_eq!(figure(&mut other, "memory", "lazyfreed_objects"), 100_000);
    assert_eq!(figure(&mut other, "memory", "lazyfree_pending_objects"), 0);
    // In a transaction nothing waits, and nothing is freed lazily.
    client.run("DEBUG POPULATE 5000");
    client.run("MULTI");
    client.run("FLUSHALL");
    client.run("EXEC");
    assert_eq!(figure(&mut other, "memory", "lazyfreed_objects"), 100_000);
}

#[test]
fn commands_of_transactions_and_served_clients_are_in_the_slow_log() {
    let server = Server::start(&["--save", "", "--slowlog-log-slower-than", "0"]);
    let (mut client, mut waiting) = (server.connect(), server.connect());
    waiting.send(&support::request(&["BLPOP", "list", "0"]));
    wait_for("a client to wait", || {
        (figure(&mut client, "clients", "blocked_clients") == 1).then_some(())
    });
    client.run("MULTI");
    client.run("SLOWLOG RESET");
    client.run("LPUSH list x y");
    client.run("EXEC");
    waiting.read();
    let Value::Array(entries) = client.run("SLOWLOG GET") else {
        panic!("no list");
    };
    let logged: Vec<String> = entries
        .iter()
        .map(|entry| match entry {
            Value::Array(parts) => parts[3].to_string(),
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(
        logged,
        [
            r#"["BLPOP" "list" "0"]"#,
            r#"["LPUSH" "list" "x" "y"]"#,
            r#"["SLOWLOG" "RESET"]"#
        ]
    );
    let stats = client.run("INFO commandstats").text();
    for name in [
        "cmdstat_exec:calls=1,",
        "cmdstat_blpop:calls=1,",
        "cmdstat_lpush:calls=1,",
    ] {
        assert!(stats.contains(name), "{name} in {stats}");
    }
}

/// INFO waits for a reading of the process, and with the latency monitor on for a clock behind an eviction: as each wait
/// made it begin anew, each made room again for what the messages about the keys before had taken, until none was left.
#[test]
fn a_command_that_waits_makes_room_once() {
    let server = Server::start(&["--save", "", "--latency-monitor-threshold", "1"]);
    let mut client = server.connect();
    client.run("CONFIG SET maxmemory-policy allkeys-lru");
    client.run("CONFIG SET maxmemory-eviction-tenacity 100");
    let mut listeners: Vec<Client> = (0..10).map(|_| server.connect()).collect();
    for listener in &mut listeners {
        listener.run("HELLO 3");
        listener.run("CLIENT TRACKING on");
    }
    for n in 0..300 {
        let key = format!("{n}{}", "x".repeat(1000));
        client.call(&["SET", &key, "x"]);
        for listener in &mut listeners {
            listener.call(&["GET", &key]);
        }
    }
    let used = figure(&mut client, "memory", "used_memory");
    client.run(&format!("CONFIG SET maxmemory {}", used - 40_000));
    let evicted = figure(&mut client, "stats", "evicted_keys");
    assert!((1..100).contains(&evicted), "{evicted}");
}

#[test]
fn waits_that_end_unserved_are_in_the_slow_log() {
    let server = Server::start(&["--save", "", "--slowlog-log-slower-than", "0"]);
    let (mut client, mut waiting) = (server.connect(), server.connect());
    waiting.run("BLPOP list 0.05");
    let id = waiting.run("CLIENT ID").to_string();
    waiting.send(&support::request(&["BLPOP", "list", "0"]));
    wait_for("a client to wait", || {
        (figure(&mut client, "clients", "blocked_clients") == 1).then_some(())
    });
    client.run(&format!("CLIENT UNBLOCK {id} ERROR"));
    assert!(waiting.read().text().starts_with("UNBLOCKED"));
    let logged = wait_for("the log", || {
        let text = client.run("SLOWLOG GET -1").to_string();
        (text.matches("BLPOP").count() == 2).then_some(text)
    });
    assert!(logged.contains(r#"["BLPOP" "list" "0.05"]"#), "{logged}");
    let stats = client.run("INFO commandstats").text();
    assert!(stats.contains("cmdstat_blpop:calls=2,"), "{stats}");
}

#[test]
fn a_client_is_listed_with_the_last_command_that_was_understood() {
    let server = Server::start(&[]);
    let (mut client, mut other) = (server.connect(), server.connect());
    other.run("CLIENT SETNAME other");
    let cases = [
        ("GET", "get"),
        ("PING", "ping"),
        ("nosuch", "NULL"),
        ("CLIENT nosuch", "NULL"),
        ("MULTI", "multi"),
        ("SET a b", "set"),
        ("GET", "get"),
        ("DISCARD", "discard"),
        ("CONFIG SET nosuch x", "config|set"),
    ];
    for (command, want) in cases {
        other.run(command);
        let list = client.run("CLIENT LIST").text();
        let line = list.lines().find(|line| line.contains("name=other"));
        let shown = line.expect("it is there");
        assert!(
            shown.contains(&format!(" cmd={want} ")),
            "{command}: {shown}"
        );
    }
}

/// In place of byte 0, to which the product of the number and the width wrapped around, nothing is written.
#[test]
fn places_whose_arithmetic_overflows_are_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("SET b abc");
    let refused = "ERR bit offset is not an integer or out of range";
    for (width, place) in [
        ("u8", "#2305843009213693952"),
        ("u8", "#2305843009213693953"),
        ("i64", "#288230376151711744"),
        ("u63", "#9223372036854775807"),
        ("u2", "#9223372036854775807"),
        ("u1", "#9223372036854775807"),
        ("u1", "#4294967296"),
        ("u8", "#536870912"),
        ("u8", "9223372036854775807"),
    ] {
        for command in [
            format!("BITFIELD b SET {width} {place} 1"),
            format!("BITFIELD b INCRBY {width} {place} 1"),
            format!("BITFIELD b GET {width} {place}"),
            format!("BITFIELD_RO b GET {width} {place}"),
        ] {
            assert_eq!(client.run(&command).text(), refused, "{command}");
        }
    }
    for (command, error) in [
        ("SETBIT b 9223372036854775807 1", refused),
        ("GETBIT b 4294967296", refused),
        (
            "SETRANGE b 9223372036854775807 x",
            "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        (
            "SETRANGE b 536870911 xx",
            "ERR string exceeds maximum allowed size (proto-max-bulk-len)",
        ),
        (
            "GETEX b EX 9223372036854775807",
            "ERR invalid expire time in 'getex' command",
        ),
        (
            "GETEX b EX 9223372036854775",
            "ERR invalid expire time in 'getex' command",
        ),
        (
            "LPOS b x RANK -9223372036854775808",
            "ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
    ] {
        assert_eq!(client.run(command).text(), error, "{command}");
    }
    assert_eq!(client.run("GET b").text(), "abc");
}

/// A reply that nobody will get was written to its end: a gigabyte, and seconds in which nobody else was served.
#[test]
fn a_reply_that_passes_the_hard_limit_is_not_written_to_its_end() {
    for server in servers(&[]) {
        let mut other = server.connect();
        other.call(&[
            "CONFIG",
            "SET",
            "client-output-buffer-limit",
            "normal 5mb 2mb 3",
        ]);
        let long = "x".repeat(100);
        for n in 0..300 {
            let member = format!("{n}{long}");
            other.call(&["SADD", "set", &member]);
            other.call(&["HSET", "hash", &member, &long]);
            other.call(&["ZADD", "zset", "1", &member]);
        }
        other.run("SADD few a b c");
        other.run("HSET pairs a 1 b 2");
        other.run("ZADD scores 1 a 2 b");
        let closed = "client_output_buffer_limit_disconnections";
        let before = figure(&mut other, "stats", closed);
        let commands = [
            "SRANDMEMBER set -50000000",
            "SRANDMEMBER few -50000000",
            "HRANDFIELD hash -50000000",
            "HRANDFIELD hash -50000000 WITHVALUES",
            "HRANDFIELD pairs -50000000 WITHVALUES",
            "ZRANDMEMBER zset -50000000",
            "ZRANDMEMBER zset -50000000 WITHSCORES",
            "ZRANDMEMBER scores -50000000",
        ];
        for command in commands {
            let mut client = server.connect();
            let began = cpu_seconds(&mut other);
            // What stands behind it does not run any more.
            client.send(format!("{command}\r\nSET late {command}\r\n").as_bytes());
            client.read_to_end();
            let used = cpu_seconds(&mut other) - began;
            assert!(used < 3.0, "{command}: {used}");
            assert_eq!(other.run("GET late"), Value::Null, "{command}");
        }
        let after = figure(&mut other, "stats", closed);
        assert_eq!(after - before, commands.len() as u64);
        // In a transaction the other commands run, unheard.
        let mut client = server.connect();
        client.send(b"MULTI\r\nSRANDMEMBER few -50000000\r\nINCR n\r\nEXEC\r\nINCR n\r\n");
        client.read_to_end();
        assert_eq!(other.run("GET n").text(), "1");
    }
}

#[test]
fn a_reply_below_the_hard_limit_is_whole() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    client.call(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 1mb 0 0 pubsub 0 0 0",
    ]);
    client.run("SADD few a b c");
    for _ in 0..3 {
        let Value::Array(members) = client.run("SRANDMEMBER few -60000") else {
            panic!("no list");
        };
        assert_eq!(members.len(), 60_000);
    }
    // Who listens has a limit of its own, here none.
    client.run("HELLO 3");
    client.send(b"SUBSCRIBE news\r\nSRANDMEMBER few -200000\r\n");
    assert!(matches!(client.read(), Value::Push(_)));
    let reply = client.read();
    assert!(matches!(&reply, Value::Array(members) if members.len() == 200_000));
    // Nor has a script's reply to itself.
    let script = "return #redis.call('srandmember', 'few', -1000000)";
    assert_eq!(client.call(&["EVAL", script, "0"]).to_string(), "1000000");
}

#[test]
fn a_count_that_no_memory_could_hold_is_only_counted() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    client.call(&[
        "CONFIG",
        "SET",
        "client-output-buffer-limit",
        "normal 1mb 0 0",
    ]);
    client.run("ZADD z 1 a");
    client.run("SADD s a");
    client.run("HSET h f v");
    for command in ["ZRANDMEMBER z", "SRANDMEMBER s", "HRANDFIELD h"] {
        let mut victim = server.connect();
        victim.send(format!("{command} -9223372036854775807\r\n").as_bytes());
        victim.read_to_end();
        assert_eq!(client.run("PING").text(), "PONG", "{command}");
        let none = format!(
            "{}nokey -9223372036854775807",
            command.trim_end_matches(['z', 's', 'h'])
        );
        assert_eq!(client.run(&none).to_string(), "[]");
    }
}

/// Seconds of processor time that the server has used, which does not depend on what else runs.
fn cpu_seconds(client: &mut Client) -> f64 {
    let text = client.run("INFO cpu").text();
    let of = |name: &str| -> f64 {
        let found = text.lines().find_map(|line| line.strip_prefix(name));
        found
            .and_then(|value| value.trim().parse().ok())
            .expect(name)
    };
    of("used_cpu_user:") + of("used_cpu_sys:")
}

/// Each key was compared with all that were watched already, so that these took seven seconds.
#[test]
fn watching_many_keys_takes_as_long_as_they_are_many() {
    let server = Server::start(&["--save", "", "--databases", "1000000"]);
    let (mut client, mut other) = (server.connect(), server.connect());
    let keys: Vec<String> = (0..60_000).map(|n| format!("key:{n}")).collect();
    let mut watch = vec!["WATCH"];
    watch.extend(keys.iter().map(String::as_str));
    watch.push("key:0");
    let began = cpu_seconds(&mut other);
    assert_eq!(client.call(&watch).text(), "OK");
    assert_eq!(figure(&mut other, "clients", "total_watched_keys"), 60_000);
    other.run("SET key:59999 x");
    client.run("MULTI");
    assert_eq!(client.run("EXEC"), Value::Null);
    assert_eq!(figure(&mut other, "clients", "total_watched_keys"), 0);
    client.call(&watch);
    client.run("UNWATCH");
    // Databases that nobody used are passed over.
    other.run("SELECT 999999");
    other.run("SET a b");
    for _ in 0..10 {
        assert_eq!(client.run("FLUSHALL").text(), "OK");
    }
    assert_eq!(other.run("DBSIZE").to_string(), "0");
    let used = cpu_seconds(&mut other) - began;
    assert!(used < 10.0, "{used}");
}
