//! Basics: connections and the wire, against the real binary.
//!
//! Lives here: what any client may do to a server, good or bad. May not: what single commands mean
//! (`differential.rs` asks a real server for that).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use support::{Address, Client, RETRACE, Rng, Server, Value, request, seed, wait_for};

fn ok() -> Value {
    Value::Simple("OK".into())
}

fn bulk(bytes: impl AsRef<[u8]>) -> Value {
    Value::Bulk(bytes.as_ref().to_vec())
}

fn pong() -> Value {
    Value::Simple("PONG".into())
}

#[test]
fn a_client_sets_and_gets() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    assert_eq!(client.run("PING"), pong());
    assert_eq!(client.run("PING hello"), bulk("hello"));
    assert_eq!(client.run("GET k"), Value::Null);
    assert_eq!(client.run("SET k v"), ok());
    assert_eq!(client.run("get k"), bulk("v"));
    let binary: Vec<u8> = (0..=255).collect();
    assert_eq!(client.call(&[b"SET", b"bin", &binary[..]]), ok());
    assert_eq!(client.call(&["GET", "bin"]), bulk(&binary));
    assert_eq!(client.call(&["SET", "", ""]), ok());
    assert_eq!(client.call(&["GET", ""]), bulk(""));
}

#[test]
fn the_redis_crate_gets_along() {
    let server = Server::start(&[]);
    let client = redis::Client::open(("127.0.0.1", server.port())).expect("an address");
    let mut connection = client.get_connection().expect("a connection");
    for n in 0..100 {
        let () = redis::cmd("SET")
            .arg(n)
            .arg(n * n)
            .query(&mut connection)
            .expect("SET");
    }
    let mut pipeline = redis::pipe();
    for n in 0..100 {
        pipeline.cmd("GET").arg(n);
    }
    let got: Vec<u64> = pipeline.query(&mut connection).expect("a pipeline");
    assert_eq!(got, (0..100).map(|n| n * n).collect::<Vec<_>>());
}

#[test]
fn ten_thousand_commands_in_one_write() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut bytes = Vec::new();
    for n in 0..5_000 {
        bytes.extend(request(&[
            "SET".into(),
            format!("key:{n}"),
            format!("value:{n}"),
        ]));
        bytes.extend(request(&["GET".into(), format!("key:{}", n / 2)]));
    }
    let mut writer = client.another_handle();
    let writing = std::thread::spawn(move || writer.send(&bytes));
    for n in 0..5_000 {
        assert_eq!(client.read(), ok());
        assert_eq!(client.read(), bulk(format!("value:{}", n / 2)));
    }
    writing.join().expect("written");
}

#[test]
fn one_byte_at_a_time() {
    let server = Server::start(&[]);
    let (mut slow, mut other) = (server.connect(), server.connect());
    let mut bytes = request(&["SET", "slow", "a value"]);
    bytes.extend(b"GET slow\r\n");
    bytes.extend(b"\r\n");
    bytes.extend(request(&["GET", "slow"]));
    for (at, byte) in bytes.iter().enumerate() {
        slow.send(&[*byte]);
        if at % 16 == 0 {
            assert_eq!(other.run("PING"), pong()); // the server has seen the byte by now
        }
    }
    assert_eq!(
        [slow.read(), slow.read(), slow.read()],
        [ok(), bulk("a value"), bulk("a value")]
    );
}

#[test]
fn inline_commands() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for (line, want) in [
        ("PING\r\n", pong()),
        ("PING\n", pong()),
        ("  ping   hello  \r\n", bulk("hello")),
        ("SET k \"a b\\x41\\n\"\r\n", ok()),
        ("GET k\r\n", bulk("a bA\n")),
        ("SET k 'it\\'s \\n'\r\n", ok()),
        ("GET k\r\n", bulk("it's \\n")),
        ("\r\n\n  \r\nGET nothing\r\n", Value::Null),
        ("*0\r\n*-1\r\nPING\r\n", pong()),
        ("SET \"\" ''\r\nGET ''\r\n", ok()),
    ] {
        client.send(line.as_bytes());
        assert_eq!(client.read(), want, "{line:?}");
    }
    assert_eq!(client.read(), bulk(""));
}

#[test]
fn protocol_errors_are_told_and_end_the_connection() {
    let server = Server::start(&["--loglevel", "verbose"]);
    let long = "x".repeat(70_000);
    for (bytes, want) in [
        ("*a\r\n", "invalid multibulk length"),
        ("*2147483648\r\n", "invalid multibulk length"),
        ("*1\r\n:1\r\n", "expected '$', got ':'"),
        ("*1\r\nPING\r\n", "expected '$', got 'P'"),
        ("*1\r\n$-1\r\n", "invalid bulk length"),
        ("*1\r\n$abc\r\n", "invalid bulk length"),
        ("*1\r\n$536870913\r\n", "invalid bulk length"),
        ("GET \"k\r\n", "unbalanced quotes in request"),
        ("GET \"k\"x\r\n", "unbalanced quotes in request"),
        (&long, "too big inline request"),
        (&format!("*{long}"), "too big mbulk count string"),
        (&format!("*1\r\n${long}"), "too big bulk count string"),
    ] {
        let mut client = server.connect();
        client.send(b"SET before 1\r\n");
        assert_eq!(client.read(), ok());
        let shown = &bytes[..bytes.len().min(30)];
        let _ = client.try_send(bytes.as_bytes());
        assert_eq!(
            client.read(),
            Value::Error(format!("ERR Protocol error: {want}")),
            "{shown:?}"
        );
        assert!(client.is_closed(), "{shown:?}");
    }
    assert!(server.log().contains("Protocol error"), "{}", server.log());
    assert_eq!(server.connect().run("PING"), pong());
}

/// Bytes that look like requests from afar.
fn garbage(rng: &mut Rng) -> Vec<u8> {
    let len = 1 + rng.below(2_000);
    match rng.below(4) {
        0 => rng.bytes(len),
        1 => {
            let alphabet = b"*$:+-0123456789\r\n\r\n\r\nGETSPING \"'\\x";
            (0..len).map(|_| *rng.pick(alphabet)).collect()
        }
        _ => {
            let mut bytes = Vec::new();
            for n in 0..1 + rng.below(40) {
                let key = format!("k{n}");
                bytes.extend(match rng.below(4) {
                    0 => request(&["SET", &key, &"v".repeat(n * 7)]),
                    1 => request(&["GET", &key]),
                    2 => b"GET \"a key\"\r\n".to_vec(),
                    _ => request(&["PING"]),
                });
            }
            for _ in 0..1 + rng.below(6) {
                if bytes.len() < 2 {
                    break;
                }
                let at = rng.below(bytes.len());
                match rng.below(4) {
                    0 => bytes[at] ^= 1 << rng.below(8),
                    1 => drop(bytes.remove(at)),
                    2 => bytes.insert(at, rng.next() as u8),
                    _ => bytes.truncate(at.max(1)),
                }
            }
            bytes
        }
    }
}

#[test]
fn garbage_of_every_kind_harms_nobody() {
    let mut server = Server::start(&[]);
    let mut rng = Rng::new(seed());
    let mut witness = server.connect();
    for round in 0..600 {
        let bytes = garbage(&mut rng);
        let mut client = server.connect();
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let cut = if rng.one_in(2) {
                rest.len()
            } else {
                1 + rng.below(rest.len())
            };
            if client.try_send(&rest[..cut]).is_err() {
                break; // it had enough, which is its right
            }
            rest = &rest[cut..];
        }
        if !rng.one_in(4) {
            client.half_close();
            client.read_to_end(); // the connection ends
        }
        if round % 20 == 0 {
            assert_eq!(
                witness.run("PING"),
                pong(),
                "after {:?}",
                bytes.escape_ascii().to_string()
            );
        }
    }
    assert_eq!(witness.run("PING"), pong());
    assert!(server.is_alive());
}

#[test]
fn big_values_make_the_round_trip() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut rng = Rng::new(1);
    for len in [32 * 1024 - 1, 32 * 1024, 1 << 20, 64 << 20] {
        let chunk = rng.bytes(4096);
        let value: Vec<u8> = chunk.iter().copied().cycle().take(len).collect();
        assert_eq!(client.call(&[b"SET", b"big", &value[..]]), ok(), "{len}");
        match client.call(&["GET", "big"]) {
            Value::Bulk(got) => assert!(got == value, "{len} bytes came back changed"),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_unix_socket_serves_as_well() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("socket");
    let text = path.to_str().expect("plain").to_owned();
    let server = Server::start(&["--unixsocket", &text, "--unixsocketperm", "700"]);
    let mut client = Client::connect(&Address::Unix(path.clone()));
    assert_eq!(client.run("SET k v"), ok());
    assert_eq!(server.connect().run("GET k"), bulk("v"));
    let mode = fs::metadata(&path).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    drop(client);
    server.terminate();
    assert!(!path.exists(), "the socket's file goes with the server");
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::start(&["--maxclients", "3"]);
    let mut clients: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    for client in &mut clients {
        assert_eq!(client.run("PING"), pong());
    }
    let mut late = server.connect();
    assert_eq!(
        late.read_to_end(),
        b"-ERR max number of clients reached\r\n"
    );
    clients.pop();
    wait_for("room for another client", || {
        let mut client = server.connect();
        client.try_send(b"PING\r\n").ok()?;
        match client.next_reply() {
            Some((Value::Simple(text), _)) if text == "PONG" => Some(()),
            _ => None,
        }
    });
}

#[test]
fn a_client_that_never_reads_disturbs_nobody() {
    let server = Server::start(&[]);
    let mut other = server.connect();
    let value = "x".repeat(100 * 1024);
    assert_eq!(other.call(&["SET", "v", &value]), ok());
    assert_eq!(other.run("PING"), pong());
    let rss_before = server.rss_bytes();

    let count = 2_000; // 200 MB of replies
    let mut greedy = server.connect();
    let mut writer = greedy.another_handle();
    let writing = std::thread::spawn(move || writer.send(&request(&["GET", "v"]).repeat(count)));
    let mut slowest = Duration::ZERO;
    for _ in 0..2_000 {
        let began = Instant::now();
        assert_eq!(other.run("PING"), pong());
        slowest = slowest.max(began.elapsed());
    }
    let grown = server.rss_bytes().saturating_sub(rss_before) >> 20;
    println!("slowest reply to the others: {slowest:?}; memory grew by {grown} MiB");
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    assert!(grown < 100, "{grown} MiB for replies that share one value");

    for _ in 0..count {
        match greedy.read() {
            Value::Bulk(got) => assert!(got == value.as_bytes()),
            other => panic!("{other:?}"),
        }
    }
    writing.join().expect("written");
    assert_eq!(greedy.run("PING"), pong());
}

#[test]
fn a_reply_beyond_the_limit_ends_the_connection() {
    let server = Server::start(&["--client-output-buffer-limit", "normal 5mb 0 0"]);
    let mut other = server.connect();
    assert_eq!(other.call(&["SET", "v", &"x".repeat(20 << 20)]), ok());
    let mut greedy = server.connect();
    greedy.send(&request(&["GET", "v"]));
    assert!(greedy.read_to_end().len() < 20 << 20);
    assert_eq!(other.run("PING"), pong());
}

#[test]
fn half_closed_clients_get_their_answers() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut bytes = request(&["PING"]).repeat(3);
    bytes.extend(b"*2\r\n$3\r\nGET\r\n$10\r\nunfin"); // and nothing for what is not whole
    client.send(&bytes);
    client.half_close();
    assert_eq!(client.read_to_end(), b"+PONG\r\n+PONG\r\n+PONG\r\n");
}

#[test]
fn sigterm_ends_it_in_order() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut server = Server::start(&["--pidfile", "server.pid", "--save", ""]);
        let pid = fs::read_to_string(server.path("server.pid")).expect("a pid file");
        assert_eq!(pid.trim(), server.pid().to_string());
        let mut client = server.connect();
        assert_eq!(client.run("SET k v"), ok());
        server.signal(signal);
        assert_eq!(server.wait_for_end().code(), Some(0));
        assert!(client.is_closed());
        assert!(
            !server.path("server.pid").exists(),
            "the pid file goes with the server"
        );
    }
}

#[test]
fn it_says_which_version_of_redis_it_is() {
    for option in ["-v", "--version"] {
        let output = Command::new(RETRACE).arg(option).output();
        let said = String::from_utf8(output.expect("it runs").stdout).expect("a line of text");
        let rest = said
            .strip_prefix("Redis server v=8.0.6 sha=")
            .expect("its version");
        assert!(rest.contains(" malloc=") && rest.contains(" bits=64 build="));
        assert!(rest.contains(" retrace=") && rest.ends_with('\n'));
    }
    // Clients take a server that gives its name in INFO for something else than Redis.
    let server = Server::start(&["--save", ""]);
    let info = server.connect().run("INFO server").text().to_owned();
    assert!(info.contains("\r\nretrace_version:") && !info.contains("server_name"));
}

#[test]
fn the_log_says_where_it_listens() {
    let server = Server::start(&["--always-show-logo", "yes"]);
    let ready = format!("Ready to accept connections tcp port={}", server.port());
    wait_for("the line that says so", || {
        server.log().contains(&ready).then_some(())
    });
    let log = server.log();
    for text in [&format!("PID: {}", server.pid()), "Server initialized"] {
        assert!(log.contains(text), "no {text:?} in\n{log}");
    }
}

#[test]
fn a_configuration_file_starts_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("server.conf");
    let text =
        "# a comment\n\nmaxclients 2\ntimeout 0\nloglevel \"verbose\"\ninclude more.conf\nport 1\n";
    fs::write(&file, text).expect("writable");
    fs::write(dir.path().join("more.conf"), "tcp-keepalive 60\n").expect("writable");
    let server = Server::start_in(dir, &["server.conf"]); // --port comes behind the file and wins
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        assert_eq!(client.run("PING"), pong());
    }
    assert_eq!(
        server.connect().read_to_end(),
        b"-ERR max number of clients reached\r\n"
    );
}

#[test]
fn a_bad_configuration_is_named_and_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("bad.conf");
    fs::write(&file, "port 0\nmaxmemory-policy wrong\n").expect("writable");
    let output = Command::new(RETRACE).arg(&file).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for text in [
        "FATAL CONFIG FILE ERROR",
        "at line 2",
        "maxmemory-policy wrong",
        "argument(s) must be one of",
    ] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
}

#[test]
fn a_port_in_use_is_named() {
    let server = Server::start(&[]);
    let port = server.port().to_string();
    let output = Command::new(RETRACE)
        .args(["--port", &port])
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(said.contains("Failed listening on port"), "{said}");
}

#[test]
fn idle_clients_are_closed_after_their_timeout() {
    let server = Server::start(&["--timeout", "1"]);
    let mut client = server.connect();
    assert_eq!(client.run("PING"), pong());
    let began = Instant::now();
    assert!(client.is_closed());
    let took = began.elapsed();
    assert!(took > Duration::from_millis(900), "{took:?}");
    assert_eq!(server.connect().run("PING"), pong());
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    let server = Server::start(&[]);
    let mut witness = server.connect();
    let files = || {
        fs::read_dir(format!("/proc/{}/fd", server.pid()))
            .expect("ours")
            .count()
    };
    assert_eq!(witness.run("PING"), pong());
    let before = files();
    for round in 0..300 {
        let mut client = server.connect();
        match round % 3 {
            0 => client.send(b"PING\r\n"),
            1 => client.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$50000\r\nhalf"),
            _ => {}
        }
    }
    wait_for("the descriptors to be closed", || {
        assert_eq!(witness.run("PING"), pong());
        (files() <= before).then_some(())
    });
}

#[test]
fn who_asks_a_full_buffer_and_hangs_up_is_answered() {
    let server = Server::start(&["--enable-debug-command", "yes"]);
    for len in [16 << 10, 32 << 10, 64 << 10, (64 << 10) - 1] {
        let (mut sleeper, mut client) = (server.connect(), server.connect());
        client.run("PING");
        // All of it, and the end, lie there when the server looks.
        sleeper.send(&request(&["DEBUG", "SLEEP", "0.1"]));
        let count = len / 6;
        let mut bytes = "PING\r\n".repeat(count).into_bytes();
        bytes.resize(len, b'\n');
        client.send(&bytes);
        client.half_close();
        let answers = client.read_to_end();
        assert_eq!(answers.len(), count * "+PONG\r\n".len(), "{len} bytes");
    }
}

#[test]
fn a_primary_that_cannot_be_followed_is_not_taken_for_one() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for command in ["REPLICAOF 127.0.0.1 6379", "SLAVEOF host 0"] {
        let reply = client.run(command).text();
        assert!(
            reply.starts_with("ERR This server does not replicate yet"),
            "{reply}"
        );
    }
    assert_eq!(client.run("ROLE").to_string(), r#"["master" 0 []]"#);
    let info = client.run("INFO replication").text();
    assert!(info.contains("role:master\r\nconnected_slaves:0"), "{info}");
}
