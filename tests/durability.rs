//! Durability: what is on disk is what was in memory, at one moment, and comes back.
//!
//! Files cross between Retrace and real servers in both directions; where there is no real server those tests say so
//! and pass.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use rustix::process::Signal;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use support::durable::{copy_aof, info, loaded, log_of_refusal, wait_for_rewrite, wait_for_save};
use support::grammar::{Words, generated, rules};
use support::{
    Client, RETRACE, Rng, Server, Value, oracle_program, oracle_server, real_server_in, request,
    seed, wait_for,
};

const QUIET: &[&str] = &["--save", "", "--enable-debug-command", "yes"];

fn digest(client: &mut Client) -> String {
    client.run("DEBUG DIGEST").text()
}

/// The keys that two servers do not have alike.
fn differing(a: &mut Client, b: &mut Client) -> Vec<String> {
    let mut differing = Vec::new();
    for dbid in 0..16 {
        let mut keys = BTreeSet::new();
        for client in [&mut *a, &mut *b] {
            client.run(&format!("SELECT {dbid}"));
            if let Value::Array(names) = client.run("KEYS *") {
                keys.extend(names.iter().map(Value::text));
            }
        }
        for key in keys {
            let said = [&mut *a, &mut *b].map(|client| {
                ["DEBUG DIGEST-VALUE", "PEXPIRETIME", "TYPE", "DUMP"].map(|command| {
                    let mut words: Vec<&str> = command.split(' ').collect();
                    words.push(&key);
                    client.call(&words).to_string()
                })
            });
            if said[0] != said[1] {
                differing.push(format!("{dbid}: {key}: {said:?}"));
            }
        }
    }
    differing
}

/// A server in a new folder with these files in it.
fn start_with(files: &[(&str, &Path)], args: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, path) in files {
        fs::copy(path, dir.path().join(name)).expect("a file");
    }
    Server::start_in(dir, args)
}

/// Values of every type, small and large, some with deadlines far away.
fn fill(client: &mut Client) {
    let numbers: Vec<String> = (0..20_000).map(|number| number.to_string()).collect();
    let with = |words: &[&str], from: usize, count: usize| -> Vec<String> {
        let words = words.iter().map(|word| (*word).to_owned());
        words
            .chain(numbers[from..from + count].iter().cloned())
            .collect()
    };
    for command in [
        with(&["SADD", "set:large"], 0, 20_000),
        with(&["SADD", "set:ints"], 0, 100),
        with(&["SADD", "set:small", "a", "b"], 0, 10),
        with(&["RPUSH", "list:large"], 0, 20_000),
        with(&["RPUSH", "list:small"], 0, 10),
        with(&["HSET", "hash:large"], 0, 20_000),
        with(&["HSET", "hash:small"], 0, 20),
        with(&["HSET", "hash:deadlines"], 0, 2_000),
        with(
            &[
                "HPEXPIREAT",
                "hash:deadlines",
                "4000000000000",
                "FIELDS",
                "4",
            ],
            0,
            4,
        ),
        with(&["HSET", "hash:packed", "f", "v", "g", "w"], 0, 0),
        with(
            &[
                "HPEXPIREAT",
                "hash:packed",
                "4000000000000",
                "FIELDS",
                "1",
                "f",
            ],
            0,
            0,
        ),
        with(&["ZADD", "zset:large"], 0, 20_000),
        with(&["ZADD", "zset:small"], 0, 20),
        with(&["SET", "string:large", &"x".repeat(300_000)], 0, 0),
        with(
            &["SET", "string:deadline", "v", "PXAT", "4000000000000"],
            0,
            0,
        ),
        with(&["XGROUP", "CREATE", "stream", "g", "0", "MKSTREAM"], 0, 0),
    ] {
        assert_eq!(client.call(&command).error(), None);
    }
    for number in &numbers[..2_000] {
        client.send(&request(&["SET", &format!("key:{number}"), number]));
        client.send(&request(&["XADD", "stream", "*", "field", number]));
    }
    for _ in 0..4_000 {
        client.read();
    }
    client.run("XREADGROUP GROUP g c COUNT 100 STREAMS stream >");
    client.run("SELECT 3");
    client.run("SET elsewhere 1");
    client.run("SELECT 0");
}

/// Random commands that change data; nothing that expires soon, and nothing that waits.
fn random_commands(words: &mut Words, rules: &[String], count: usize) -> Vec<Vec<Vec<u8>>> {
    let is_fit = |command: &[Vec<u8>]| {
        let upper: Vec<Vec<u8>> = command.iter().map(|arg| arg.to_ascii_uppercase()).collect();
        let name = String::from_utf8_lossy(&upper[0]).into_owned();
        let clocks: [&[u8]; 4] = [b"EX", b"PX", b"EXAT", b"PXAT"];
        let names = [
            "EXPIRE", "SETEX", "DEBUG", "OBJECT", "RESTORE", "SELECT", "INCREX",
        ];
        !names.iter().any(|word| name.contains(word))
            && !name.starts_with('B')
            && !upper
                .iter()
                .any(|arg| clocks.contains(&&arg[..]) || arg == b"BLOCK")
    };
    let mut commands = Vec::new();
    while commands.len() < count {
        let command = generated(rules, words);
        if is_fit(&command) {
            commands.push(command);
        }
    }
    commands
}

/// Changes to what is large and is saved in pieces, and to whole databases.
fn large_change(rng: &mut Rng) -> String {
    let n = rng.below(20_000);
    match rng.below(22) {
        0 => format!("SREM set:large {n}"),
        1 => format!("SADD set:large m{n}"),
        2 => "SPOP set:large".to_owned(),
        3 => "LPOP list:large".to_owned(),
        4 => format!("LSET list:large {} x", n / 2),
        5 => format!("HSET hash:large {n} x"),
        6 => format!("HDEL hash:large {n}"),
        7 => format!("ZADD zset:large 5 {n}"),
        8 => "ZPOPMIN zset:large".to_owned(),
        9 => "XADD stream * more 1".to_owned(),
        10 => "XREADGROUP GROUP g c COUNT 1 STREAMS stream >".to_owned(),
        11 => format!("SETRANGE string:large {n} y"),
        12 => "RENAME hash:large hash:renamed".to_owned(),
        13 => "RENAME hash:renamed hash:large".to_owned(),
        14 => "COPY zset:large zset:copy REPLACE".to_owned(),
        15 => format!("DEL key:{}", n % 2_000),
        16 => format!("SET key:{} changed", n % 2_000),
        17 => format!("PEXPIREAT key:{} 4100000000000", n % 2_000),
        18 => "SWAPDB 0 3".to_owned(),
        19 if rng.one_in(20) => "FLUSHDB".to_owned(),
        20 => format!(
            "HPEXPIREAT hash:deadlines 4200000000000 FIELDS 1 {}",
            n % 2_000 * 2
        ),
        _ => format!("APPEND key:{} more", n % 2_000),
    }
}

#[test]
fn a_snapshot_shows_one_moment_whatever_happens_meanwhile() {
    let seed = seed();
    let families = [
        "strings",
        "keys",
        "bits",
        "hyperloglogs",
        "lists",
        "hashes",
        "sets",
        "zsets",
        "geo",
        "streams",
    ];
    let all: Vec<String> = families.iter().flat_map(|family| rules(family)).collect();
    let mut rng = Rng::new(seed);
    let mut words = Words::new(seed);
    let server = Server::start(QUIET);
    let mut client = server.connect();
    for round in 0..6 {
        client.run("FLUSHALL");
        fill(&mut client);
        for command in random_commands(&mut words, &all, 2_000) {
            client.call(&command);
        }
        client.run("SELECT 0");
        client.run(&format!(
            "CONFIG SET rdb-key-save-delay {}",
            rng.pick(&[0, 20, 100])
        ));
        let want = digest(&mut client);
        assert_eq!(client.run("BGSAVE").text(), "Background saving started");
        let mut changes = 0;
        while changes < 500 || info(&mut client, "rdb_bgsave_in_progress") == "1" {
            for command in random_commands(&mut words, &all, 20) {
                client.call(&command);
            }
            for _ in 0..20 {
                client.run(&large_change(&mut rng));
            }
            changes += 40;
        }
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        let copy = start_with(&[("dump.rdb", &server.path("dump.rdb"))], QUIET);
        let got = digest(&mut loaded(&copy));
        assert_eq!(got, want, "round {round}, RETRACE_SEED={seed}");
    }
}

/// A real server, or Valkey, that has loaded these files.
fn real_server(program: &str, files: &[(&str, &Path)]) -> Option<(Server, Client)> {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, path) in files {
        fs::copy(path, dir.path().join(name)).expect("a file");
    }
    real_server_with(program, dir, &[])
}

/// The same in a folder that holds them already, with more arguments.
fn real_server_with(
    program: &str,
    dir: tempfile::TempDir,
    args: &[&str],
) -> Option<(Server, Client)> {
    let args = [&["--enable-debug-command", "yes"], args].concat();
    let server = real_server_in(program, dir, &args)?;
    let client = loaded(&server);
    Some((server, client))
}

#[test]
fn files_cross_to_real_servers_and_back() {
    for program in ["redis-server", "valkey-server"] {
        let is_valkey = program == "valkey-server";
        let Some((server, mut real)) = real_server(program, &[]) else {
            return;
        };
        fill(&mut real);
        assert_eq!(real.run("SAVE").text(), "OK");
        let without_deadlines = |client: &mut Client| {
            // Valkey's digest of a hash with deadlines is another, and it cannot read Redis' form of one.
            let deadlines = client.run("HPEXPIRETIME hash:deadlines FIELDS 3 0 2 4");
            assert_eq!(deadlines.to_string(), "[4000000000000 4000000000000 -1]");
            assert_eq!(client.run("HLEN hash:deadlines").to_string(), "1000");
            client.run("DEL hash:deadlines hash:packed");
        };
        if is_valkey {
            without_deadlines(&mut real);
        }
        let want = digest(&mut real);
        let ours = start_with(&[("dump.rdb", &server.path("dump.rdb"))], QUIET);
        let mut client = loaded(&ours);
        if is_valkey {
            without_deadlines(&mut client);
        }
        assert_eq!(digest(&mut client), want, "{program}'s file here");
        assert_eq!(client.run("SAVE").text(), "OK");
        let file = ours.path("dump.rdb");
        let Some((_server, mut real)) = real_server(program, &[("dump.rdb", &file)]) else {
            return;
        };
        assert_eq!(digest(&mut real), want, "our file in {program}");
        if let Some(check) = oracle_program("redis-check-rdb") {
            let output = Command::new(check).arg(&file).output();
            let output = output.expect("it runs");
            assert!(output.status.success(), "{output:?}");
        }
    }
}

#[test]
fn a_file_that_is_not_sound_is_told_in_one_line_and_stays() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("SET key value");
    client.run("RPUSH list 1 2 3");
    client.run("SAVE");
    let sound = fs::read(server.path("dump.rdb")).expect("a file");
    let mut cases: Vec<(Vec<u8>, &str)> = vec![
        (
            sound[..sound.len() - 12].to_vec(),
            "the file ends too early",
        ),
        (sound[..sound.len() - 3].to_vec(), "the file ends too early"),
        (b"REDIS".to_vec(), "the file ends too early"),
        (Vec::new(), "the file ends too early"),
        (b"no such file at all".to_vec(), "Wrong signature"),
        (
            b"REDIS0099 and what follows".to_vec(),
            "Can't handle RDB format version 0099",
        ),
    ];
    let mut bad_sum = sound.clone();
    *bad_sum.last_mut().expect("bytes") ^= 1;
    cases.push((bad_sum, "CRC error"));
    let at = sound
        .windows(5)
        .position(|bytes| bytes == b"value")
        .expect("it is there");
    let mut bad_type = sound.clone();
    bad_type[at - 6] = 99;
    cases.push((bad_type, "a value of type 99, which is not known here,"));
    for (bytes, why) in cases {
        let log = log_of_refusal(&bytes);
        let last = log.lines().last().unwrap_or_default();
        let head = "Fatal error loading the DB: dump.rdb cannot be loaded: ";
        assert!(last.contains(head), "{last}");
        assert!(last.contains(why) && last.contains("at byte "), "{last}");
    }
}

#[test]
fn the_data_is_saved_at_the_end_and_loaded_at_the_start() {
    for how in ["SIGTERM", "SHUTDOWN", "SHUTDOWN NOSAVE", "SHUTDOWN SAVE"] {
        let save = if how == "SHUTDOWN SAVE" { "" } else { "3600 1" };
        let mut server = Server::start(&["--save", save]);
        let mut client = server.connect();
        client.run("SET a 1");
        match how {
            "SIGTERM" => server.signal(Signal::TERM),
            _ => client.send(&request(&how.split(' ').collect::<Vec<_>>())),
        }
        assert!(server.wait_for_end().success());
        let path = server.path("dump.rdb");
        assert_eq!(path.exists(), how != "SHUTDOWN NOSAVE", "{how}");
        if path.exists() {
            let next = start_with(&[("dump.rdb", &path)], &[]);
            assert_eq!(
                loaded(&next).run("GET a"),
                Value::Bulk(b"1".to_vec()),
                "{how}"
            );
        }
    }
}

#[test]
fn save_points_and_reloads() {
    let server = Server::start(&["--save", "1 2", "--enable-debug-command", "yes"]);
    let mut client = server.connect();
    client.run("SET a 1");
    client.run("SET b 1");
    wait_for("the save point", || {
        (info(&mut client, "rdb_saves") == "1").then_some(())
    });
    wait_for_save(&mut client);
    assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "0");
    fill(&mut client);
    let want = digest(&mut client);
    // What comes behind the reload waits for it.
    client.send(&request(&["DEBUG", "RELOAD"]));
    assert_eq!(digest(&mut server.connect()).len(), 40);
    assert_eq!(client.read().text(), "OK");
    assert_eq!(digest(&mut client), want);
    client.run("SET c 1");
    assert_eq!(client.run("DEBUG RELOAD NOSAVE").text(), "OK");
    assert_eq!(client.run("EXISTS c").text(), "0");
    client.run("SET c 1");
    assert_eq!(client.run("DEBUG RELOAD NOSAVE NOFLUSH MERGE").text(), "OK");
    assert_eq!(client.run("EXISTS c").text(), "1");
    let refused = client.run("DEBUG RELOAD NOSAVE NOFLUSH");
    assert!(refused.error().is_some(), "keys come twice: {refused}");
}

#[test]
fn a_run_that_began_with_a_file_replays_without_it() {
    let first = Server::start(&[]);
    let mut client = first.connect();
    fill(&mut client);
    client.run("SAVE");
    let dir = tempfile::tempdir().expect("a folder");
    fs::copy(first.path("dump.rdb"), dir.path().join("dump.rdb")).expect("a file");
    let journal = dir.path().join("journal");
    let args = [
        "--record",
        journal.to_str().expect("plain"),
        "--enable-debug-command",
        "yes",
    ];
    let mut server = Server::start_in(dir, &args);
    let mut client = loaded(&server);
    client.run("SET more 1");
    digest(&mut client);
    client.run("BGSAVE");
    client.run("INFO persistence");
    wait_for_save(&mut client);
    client.run("DEBUG RELOAD");
    digest(&mut client);
    server.signal(Signal::TERM);
    assert!(server.wait_for_end().success());
    fs::remove_file(server.path("dump.rdb")).expect("it is there");
    let output = Command::new(RETRACE).arg("replay").arg(&journal).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("identical"),
        "{text}"
    );
}

/// A figure of INFO.
fn figure(client: &mut Client, name: &str) -> u64 {
    let text = client.call(&["INFO", "everything", "debug"]).text();
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let found = lines.find(|(key, _)| *key == name);
    let value = found.and_then(|(_, value)| value.parse().ok());
    value.unwrap_or_else(|| panic!("INFO has no number {name}"))
}

#[test]
fn what_files_cost_is_told_and_replays() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = dir.path().join("journal");
    let record = ["--record", journal.to_str().expect("plain")];
    let mut server = Server::start_in(dir, &[QUIET, &record].concat());
    let mut client = server.connect();
    client.run("SET k 1");
    assert_eq!(figure(&mut client, "eventloop_duration_aof_sum"), 0);
    assert_eq!(figure(&mut client, "latest_fork_usec"), 0);

    client.run("BGSAVE");
    assert!(figure(&mut client, "latest_fork_usec") > 0);
    wait_for_save(&mut client);
    client.run("CONFIG RESETSTAT");
    assert_eq!(figure(&mut client, "latest_fork_usec"), 0);
    client.run("CONFIG SET appendonly yes appendfsync always");
    wait_for_rewrite(&mut client);
    assert!(figure(&mut client, "latest_fork_usec") > 0);

    client.run("CONFIG SET latency-monitor-threshold 1");
    client.run("DEBUG AOF-FLUSH-SLEEP 3000");
    let before = figure(&mut client, "eventloop_duration_aof_sum");
    let loop_before = figure(&mut client, "eventloop_duration_sum");
    client.run("SET k 2");
    let appending = figure(&mut client, "eventloop_duration_aof_sum") - before;
    assert!(appending >= 3000, "{appending}");
    // The loop's own time holds what it appends.
    let looping = figure(&mut client, "eventloop_duration_sum") - loop_before;
    assert!(looping >= 3000, "{looping}");
    let latest = client.run("LATENCY LATEST").to_string();
    for event in ["aof-write", "aof-write-alone"] {
        assert!(latest.contains(&format!("\"{event}\"")), "{latest}");
    }
    let doctor = client.run("LATENCY DOCTOR").text();
    assert!(doctor.contains("Writing the append-only file"), "{doctor}");
    client.run("DEBUG AOF-FLUSH-SLEEP 0");
    client.run("SET k 3");
    server.signal(Signal::TERM);
    assert!(server.wait_for_end().success());
    let output = Command::new(RETRACE).arg("replay").arg(&journal).output();
    let text = String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned();
    assert!(text.contains("identical"), "{text}");
}

/// A server with an append-only file.
const APPENDING: &[&str] = &[
    "--appendonly",
    "yes",
    "--save",
    "",
    "--enable-debug-command",
    "yes",
];

#[test]
fn what_was_appended_comes_back() {
    let seed = seed();
    let families = [
        "strings",
        "keys",
        "bits",
        "hyperloglogs",
        "lists",
        "hashes",
        "sets",
        "zsets",
        "geo",
        "streams",
    ];
    let all: Vec<String> = families.iter().flat_map(|family| rules(family)).collect();
    let mut words = Words::new(seed);
    let mut rng = Rng::new(seed);
    for preamble in ["yes", "no"] {
        let mut args = APPENDING.to_vec();
        args.extend(["--aof-use-rdb-preamble", preamble, "--appendfsync", "no"]);
        let server = Server::start(&args);
        let mut client = server.connect();
        fill(&mut client);
        for round in 0..4 {
            for command in random_commands(&mut words, &all, 3_000) {
                client.call(&command);
            }
            client.run("SELECT 0");
            if round == 2 {
                client.run("CONFIG SET rdb-key-save-delay 20");
                let started = client.run("BGREWRITEAOF").text();
                assert_eq!(started, "Background append only file rewriting started");
                for _ in 0..500 {
                    client.run(&large_change(&mut rng));
                    for command in random_commands(&mut words, &all, 2) {
                        client.call(&command);
                    }
                }
                client.run("CONFIG SET rdb-key-save-delay 0");
                wait_for_rewrite(&mut client);
            }
            let want = digest(&mut client);
            let copy = Server::start_in(copy_aof(server.dir.path()), &args);
            let mut copied = loaded(&copy);
            if digest(&mut copied) != want {
                let keys = differing(&mut client, &mut copied).join("\n");
                panic!("round {round}, preamble {preamble}, RETRACE_SEED={seed}:\n{keys}");
            }
            if round == 3 {
                assert_eq!(client.run("DEBUG LOADAOF").text(), "OK");
                assert_eq!(digest(&mut client), want);
            }
        }
    }
}

#[test]
fn append_only_files_cross_to_real_servers_and_back() {
    for program in ["redis-server", "valkey-server"] {
        append_only_files_cross(program);
    }
}

fn append_only_files_cross(program: &str) {
    let dir = tempfile::tempdir().expect("a folder");
    let appending = &["--appendonly", "yes"];
    let Some((server, mut real)) = real_server_with(program, dir, appending) else {
        return;
    };
    fill(&mut real);
    if program == "valkey-server" {
        // Its digest of these is another, and it cannot read Redis' form of them.
        real.run("DEL hash:deadlines hash:packed");
    }
    real.run("BGREWRITEAOF");
    wait_for_rewrite(&mut real);
    real.run("SET behind 1");
    real.run("INCR counter");
    let want = digest(&mut real);
    let ours = Server::start_in(copy_aof(server.dir.path()), APPENDING);
    let mut client = loaded(&ours);
    assert_eq!(digest(&mut client), want, "{program}'s file here");
    client.run("INCR counter");
    client.run("BGREWRITEAOF");
    wait_for_rewrite(&mut client);
    client.run("SPOP set:large 3");
    client.run("MULTI");
    client.run("INCR counter");
    client.run("INCRBYFLOAT float 1.5");
    client.run("EXEC");
    let want = digest(&mut client);
    let copy = copy_aof(ours.dir.path());
    let Some((_server, mut real)) = real_server_with(program, copy, appending) else {
        return;
    };
    assert_eq!(digest(&mut real), want, "our file in {program}");
}

/// Files of old versions, with encodings that nobody writes any more.
#[test]
fn old_files_load_as_in_a_real_server() {
    let assets = support::oracle_dir().map(|dir| dir.join("../suite/tests/assets"));
    let Some(files) = assets.and_then(|assets| fs::read_dir(assets).ok()) else {
        return support::skipped("no old files");
    };
    for path in files.flatten().map(|entry| entry.path()) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // That one is not sound.
        if !name.ends_with(".rdb") || name == "corrupt_ziplist.rdb" {
            continue;
        }
        let Some((_server, mut real)) = real_server("redis-server", &[("dump.rdb", &path)]) else {
            return;
        };
        let want = (digest(&mut real), real.run("DBSIZE").to_string());
        let ours = start_with(&[("dump.rdb", &path)], QUIET);
        let mut client = loaded(&ours);
        let got = (digest(&mut client), client.run("DBSIZE").to_string());
        assert_eq!(got, want, "{name}");
    }
}

/// A manifest that came in two chunks was taken for the end of the data.
#[test]
fn a_manifest_may_be_longer_than_a_chunk() {
    let args = ["--appendonly", "yes", "--save", ""];
    let server = Server::start(&args);
    assert_eq!(server.connect().run("SET k v").text(), "OK");
    server.signal(Signal::TERM);
    let dir = server.into_dir();
    let path = dir.path().join("appendonlydir/appendonly.aof.manifest");
    let manifest = fs::read_to_string(&path).expect("a manifest");
    let notes = "# a line that says nothing\n".repeat(100);
    fs::write(&path, notes + &manifest).expect("it is ours");
    let mut args = args.to_vec();
    args.extend(["--loading-process-events-interval-bytes", "1024"]);
    let server = Server::start_in(dir, &args);
    let mut client = server.connect();
    wait_for("the data", || {
        client.run("PING").error().is_none().then_some(())
    });
    assert_eq!(client.run("GET k").text(), "v");
}

#[test]
fn a_torn_end_is_cut_off_and_everything_else_is_told() {
    let server = Server::start(APPENDING);
    let mut client = server.connect();
    client.run("SET a 1");
    client.run("SET b 2");
    let folder = |dir: &Path| dir.join("appendonlydir");
    let part = "appendonly.aof.1.incr.aof";
    let sound = fs::read(folder(server.dir.path()).join(part)).expect("a file");
    let start = |bytes: &[u8], truncated: &'static str| {
        let dir = copy_aof(server.dir.path());
        fs::write(folder(dir.path()).join(part), bytes).expect("a file");
        let mut args = APPENDING.to_vec();
        args.extend(["--aof-load-truncated", truncated]);
        (dir, args)
    };
    let (dir, args) = start(&sound[..sound.len() - 3], "yes");
    let next = Server::start_in(dir, &args);
    let mut client = loaded(&next);
    assert_eq!(client.run("DBSIZE"), Value::Int(1));
    client.run("SET c 3");
    let again = Server::start_in(copy_aof(next.dir.path()), APPENDING);
    assert_eq!(loaded(&again).run("DBSIZE"), Value::Int(2));
    let mut damaged = sound.clone();
    damaged.splice(0..0, *b"!!!");
    for (bytes, truncated, why) in [
        (
            &sound[..sound.len() - 3],
            "no",
            "Unexpected end of file reading the append only file",
        ),
        (
            &damaged[..],
            "yes",
            "Bad file format reading the append only file",
        ),
        (
            b"*1\r\n$4\r\nWHAT\r\n",
            "yes",
            "Unknown command 'WHAT' reading the append only file",
        ),
    ] {
        let (dir, args) = start(bytes, truncated);
        let output = Command::new(RETRACE)
            .args(["--port", "auto"])
            .args(&args)
            .current_dir(dir.path())
            .output()
            .expect("it runs");
        let log = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(1), "{log}");
        let last = log.lines().last().unwrap_or_default();
        assert!(last.contains(why) && last.contains(part), "{last}");
        assert_eq!(
            fs::read(folder(dir.path()).join(part)).expect("still there"),
            bytes
        );
    }
}

#[test]
fn a_flush_is_saved_and_what_follows_in_its_transaction_is_not() {
    let server = Server::start(&["--save", "3600 1"]);
    let mut client = server.connect();
    for (commands, changes) in [
        (&["SET a 1", "FLUSHALL"][..], "0"),
        (&["MULTI", "SET a 1", "FLUSHALL", "EXEC"], "0"),
        (&["MULTI", "FLUSHALL", "SET a 1", "SET b 1", "EXEC"], "2"),
        (
            &["EVAL redis.call('flushall')redis.call('set','a',1) 0"],
            "1",
        ),
        (
            &["EVAL redis.call('flushall')redis.call('flushall')redis.call('set','a',1) 0"],
            "1",
        ),
        (
            &[
                "MULTI",
                "FLUSHALL",
                "EVAL redis.call('set','a',1)redis.call('flushall')redis.call('set','b',1) 0",
                "EVAL redis.call('flushall') 0",
                "SET a 1",
                "EVAL redis.call('set','b',1)redis.call('set','c',1) 0",
                "EXEC",
            ],
            "3",
        ),
        (
            &["MULTI", "SET a 1", "EVAL redis.call('flushall') 0", "EXEC"],
            "0",
        ),
    ] {
        for command in commands {
            client.run(command);
        }
        // The reply comes when the file is there.
        assert_eq!(
            info(&mut client, "rdb_changes_since_last_save"),
            changes,
            "{commands:?}"
        );
        assert!(server.path("dump.rdb").exists());
        // A flush does not count as one.
        assert_eq!(info(&mut client, "rdb_saves"), "0");
    }
    let saved = fs::copy(server.path("dump.rdb"), server.path("copy.rdb"));
    assert!(saved.is_ok_and(|len| len < 200));
}

/// A client of a server that rewrites its append-only file, with so many microseconds for each of fifty keys.
fn rewriting(server: &Server, delay_us: u32) -> Client {
    let mut client = loaded(server);
    for key in 0..50 {
        client.run(&format!("SET key:{key} 1"));
    }
    client.run(&format!("CONFIG SET rdb-key-save-delay {delay_us}"));
    assert_eq!(client.run("BGREWRITEAOF").error(), None);
    wait_for("the rewrite", || {
        (info(&mut client, "aof_rewrite_in_progress") == "1").then_some(())
    });
    client
}

/// What flushes in the course of a rewrite are answered, and what is to be seen of them afterwards.
fn flushed_in_a_rewrite(server: &Server) -> Vec<String> {
    let mut client = rewriting(server, 10_000_000);
    let script = "EVAL redis.call('set','a',1)redis.call('flushall')redis.call('set','b',1) 0";
    let mut said = Vec::new();
    for lines in [
        &["FLUSHDB"][..],
        &["SET c 1", "FLUSHALL"],
        &["FLUSHALL SYNC"],
        &["FLUSHALL ASYNC"],
        &["MULTI", "SET a 1", "FLUSHALL", "SET b 1", "SET c 1", "EXEC"],
        &["MULTI", "SET a 1", "FLUSHALL", "EXEC"],
        &[script],
        &["MULTI", "SET d 1", script, "EXEC"],
        &["MULTI", "FLUSHALL", "FLUSHALL", script, "SET e 1", "EXEC"],
    ] {
        let _ = fs::remove_file(server.path("dump.rdb"));
        for line in lines {
            said.push(format!("{line}: {}", client.run(line)));
        }
        let is_saved = server.path("dump.rdb").exists();
        said.push(format!("a file: {is_saved}"));
        for name in [
            "rdb_changes_since_last_save",
            "rdb_saves",
            "rdb_bgsave_in_progress",
            "rdb_last_bgsave_status",
            "aof_rewrite_in_progress",
            "aof_last_bgrewrite_status",
        ] {
            said.push(format!("{name}: {}", info(&mut client, name)));
        }
    }
    // Of the last, a copy shows what was saved.
    fs::copy(server.path("dump.rdb"), server.path("copy.rdb")).expect("a file");
    client.run("CONFIG SET rdb-key-save-delay 0");
    said
}

#[test]
fn a_flush_in_the_course_of_a_rewrite_is_saved_as_on_a_real_server() {
    let args = &["--appendonly", "yes", "--save", "3600 1000"];
    let ours = Server::start(args);
    let said = flushed_in_a_rewrite(&ours);
    // What the rewrite makes is the data as they are in the end.
    let mut client = ours.connect();
    wait_for_rewrite(&mut client);
    let digest = client.run("DEBUG DIGEST").to_string();
    let files = copy_aof(ours.dir.path());
    let mut next = Server::start_in(files, args);
    let mut again = loaded(&next);
    assert_eq!(again.run("DEBUG DIGEST").to_string(), digest);
    assert_eq!(again.run("DBSIZE").to_string(), "2");
    drop(again);
    next.signal(rustix::process::Signal::TERM);
    next.wait_for_end();
    // The file of the last flush holds no key, and is whole.
    let dir = tempfile::tempdir().expect("a folder");
    fs::copy(ours.path("copy.rdb"), dir.path().join("dump.rdb")).expect("a file");
    let next = Server::start_in(dir, &[]);
    assert_eq!(loaded(&next).run("DBSIZE").to_string(), "0");
    let Some(real) = oracle_server(args) else {
        return;
    };
    assert_eq!(said, flushed_in_a_rewrite(&real));
}

#[test]
fn a_flush_comes_to_its_place_behind_what_another_client_saves() {
    let server = Server::start(&["--save", "3600 1000"]);
    let (mut one, mut two, mut three) = (loaded(&server), server.connect(), server.connect());
    for round in 0..10 {
        for key in 0..20 {
            one.run(&format!("SET key:{key} {round}"));
        }
        one.run("CONFIG SET rdb-key-save-delay 1000");
        one.send(b"SAVE\r\n");
        two.send(match round % 2 {
            0 => b"FLUSHALL\r\nSET a 1\r\n",
            _ => b"MULTI\r\nFLUSHALL\r\nSET a 1\r\nEXEC\r\n",
        });
        assert_eq!(one.read().text(), "OK");
        for _ in 0..[2, 4][round % 2] {
            assert_eq!(two.read().error(), None);
        }
        three.run("CONFIG SET rdb-key-save-delay 0");
        assert_eq!(info(&mut three, "rdb_changes_since_last_save"), "1");
        let dir = tempfile::tempdir().expect("a folder");
        fs::copy(server.path("dump.rdb"), dir.path().join("dump.rdb")).expect("a file");
        let next = Server::start_in(dir, &[]);
        assert_eq!(loaded(&next).run("DBSIZE").to_string(), "0");
    }
}

/// What three clients are told when one saves, the second flushes and the third loads what is saved.
fn reloaded_behind_a_flush(server: &Server, options: &str) -> Vec<String> {
    let mut clients = [loaded(server), server.connect(), server.connect()];
    let [one, two, three] = &mut clients;
    let mut said = Vec::new();
    for saves in [true, false] {
        for key in 0..20 {
            said.push(one.run(&format!("SET key:{key} 1")).to_string());
        }
        one.run("CONFIG SET rdb-key-save-delay 1000");
        if saves {
            one.send(b"SAVE\r\n");
        }
        two.send(b"FLUSHALL\r\n");
        wait_for("the flush", || {
            (three.run("DBSIZE") == Value::Int(0)).then_some(())
        });
        said.push(
            three
                .run(&format!("DEBUG RELOAD NOSAVE{options}"))
                .to_string(),
        );
        said.push(three.run("DBSIZE").to_string());
        if saves {
            said.push(one.read().to_string());
        }
        said.push(two.read().to_string());
        for client in [&mut *one, two, three] {
            said.push(client.run("SET a 1").to_string());
            client.run("CONFIG SET rdb-key-save-delay 0");
            said.push(client.run("FLUSHALL").to_string());
        }
    }
    said
}

/// The file of before was loaded where that of the flush was still on its way.
#[test]
fn what_another_client_flushes_is_on_disk_when_it_is_loaded_again() {
    let args = &["--save", "3600 1000", "--enable-debug-command", "yes"];
    for options in ["", " NOFLUSH", " NOFLUSH MERGE"] {
        let said = reloaded_behind_a_flush(&Server::start(args), options);
        assert!(
            said.iter().all(|said| ["OK", "0"].contains(&&said[..])),
            "{said:?}"
        );
        let Some(real) = oracle_server(&["--enable-debug-command", "yes"]) else {
            return;
        };
        real.connect().call(&["CONFIG", "SET", "save", "3600 1000"]);
        assert_eq!(said, reloaded_behind_a_flush(&real, options), "{options}");
    }
}

#[test]
fn a_transaction_that_reloads_goes_before_a_save_that_waits() {
    let server = Server::start(&["--save", "3600 1000", "--enable-debug-command", "yes"]);
    let (mut one, mut two) = (rewriting(&server, 5000), server.connect());
    // The rewrite is in the way of both, and then the transaction is in the way of the save.
    two.send(b"SAVE\r\n");
    wait_for("the save", || {
        let list = one.run("CLIENT LIST").text();
        list.contains("cmd=save").then_some(())
    });
    one.send(&requests(&[
        "MULTI",
        "SET a 1",
        "DEBUG RELOAD",
        "SET b 1",
        "FLUSHALL",
        "SET c 1",
        "EXEC",
    ]));
    for _ in 0..6 {
        assert_eq!(one.read().error(), None);
    }
    assert_eq!(one.read().to_string(), "[OK OK OK OK OK]");
    assert_eq!(two.read().text(), "OK");
    assert_eq!(info(&mut one, "rdb_changes_since_last_save"), "0");
    assert_eq!(one.run("DBSIZE").to_string(), "1");
}

#[test]
fn a_flush_that_cannot_be_saved_has_flushed() {
    let server = Server::start(&["--save", "3600 1000", "--dbfilename", "dump.rdb"]);
    let mut client = loaded(&server);
    // Where the file is to be, a folder with something in it is in its way.
    fs::create_dir_all(server.path("dump.rdb/x")).expect("a folder");
    client.run("MSET a 1 b 1");
    assert_eq!(client.run("FLUSHALL").text(), "OK");
    assert_eq!(client.run("DBSIZE").to_string(), "0");
    assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "4");
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
    let text = "Error moving temp DB file temp-";
    wait_for("the log", || server.log().contains(text).then_some(()));
    fs::remove_dir_all(server.path("dump.rdb")).expect("a folder");
    assert_eq!(client.run("FLUSHALL").text(), "OK");
    assert_eq!(info(&mut client, "rdb_changes_since_last_save"), "0");
}

/// A pipeline of these lines.
fn requests(lines: &[&str]) -> Vec<u8> {
    let words = lines.iter().map(|line| line.split(' ').collect::<Vec<_>>());
    words.flat_map(|words| request(&words)).collect()
}

#[test]
fn nobody_sees_half_of_a_transaction_that_flushes_and_saves() {
    let args = ["--save", "3600 1", "--appendonly", "yes"];
    let server = Server::start(&args);
    let mut client = loaded(&server);
    let mut other = server.connect();
    client.run("MSET a 1 b 1");
    let script =
        "EVAL redis.call('set','c',1)redis.call('flushall')redis.call('mset','a',1,'b',1) 0";
    for round in 0..20 {
        let wanted: &[&str] = match round % 3 {
            0 => &["MULTI", "SET c 1", "FLUSHALL", "MSET a 1 b 1", "EXEC"],
            1 => &[script],
            _ => &["MULTI", "FLUSHALL", script, "EXEC"],
        };
        client.send(&requests(wanted));
        for _ in 0..4 {
            assert_eq!(other.run("DBSIZE"), Value::Int(2), "{wanted:?}");
        }
        for line in wanted {
            assert_eq!(client.read().error(), None, "{line}");
        }
        assert_eq!(other.run("DBSIZE"), Value::Int(2));
    }
    // In the append-only file they are as whole.
    let file = fs::read(server.path("appendonlydir/appendonly.aof.1.incr.aof")).expect("a file");
    let text = String::from_utf8_lossy(&file);
    let last = text.rsplit("MULTI").next().unwrap_or_default();
    let words = last
        .split("\r\n")
        .filter(|word| !word.starts_with(['*', '$']));
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let want = "set c 1 flushall mset a 1 b 1 EXEC";
    assert_eq!(words.join(" "), want);
    // One that has gone meanwhile has run its transaction all the same.
    client.send(&requests(&[script]));
    drop(client);
    wait_for("the script's end", || {
        (info(&mut other, "rdb_changes_since_last_save") == "2").then_some(())
    });
    assert_eq!(other.run("DBSIZE"), Value::Int(2));
    // The end of the server is asked for while a flush is being saved.
    let mut client = server.connect();
    client.send(b"MULTI\r\nFLUSHALL\r\nSET d 1\r\nEXEC\r\n");
    server.signal(rustix::process::Signal::TERM);
    let mut server = server;
    assert!(server.wait_for_end().success());
}

#[test]
fn a_torn_transaction_is_cut_off_as_a_whole() {
    let server = Server::start(APPENDING);
    let mut client = server.connect();
    client.run("SET a 1");
    let part = "appendonlydir/appendonly.aof.1.incr.aof";
    let begun = fs::read(server.path(part)).expect("a file").len();
    for command in ["MULTI", "SET b 2", "SET c 3", "EXEC"] {
        client.run(command);
    }
    let whole = fs::read(server.path(part)).expect("a file");
    let exec = request(&["EXEC"]).len();
    let without_exec = whole.len() - exec;
    for cut in [begun + 15, without_exec, whole.len() - 1, begun + 1] {
        let dir = copy_aof(server.dir.path());
        fs::write(dir.path().join(part), &whole[..cut]).expect("a file");
        let next = Server::start_in(dir, APPENDING);
        let mut client = loaded(&next);
        assert_eq!(client.run("DBSIZE"), Value::Int(1), "cut at {cut}");
        assert_eq!(fs::read(next.path(part)).expect("a file").len(), begun);
        let log = next.log();
        let reverts = log.contains(
            "# Revert incomplete MULTI/EXEC transaction in AOF file appendonly.aof.1.incr.aof",
        );
        // Only where whole commands end, as the real server says it.
        assert_eq!(reverts, cut == begun + 15 || cut == without_exec, "{log}");
        let cuts =
            format!("!!! Truncating the AOF appendonly.aof.1.incr.aof at offset {begun} !!!");
        assert!(log.contains(&cuts), "{log}");
        // What is appended next counts.
        client.run("SET d 1");
        let again = Server::start_in(copy_aof(next.dir.path()), APPENDING);
        assert_eq!(loaded(&again).run("DBSIZE"), Value::Int(2));
    }
}

#[test]
fn appending_is_switched_on_and_off_while_the_server_runs() {
    let server = Server::start(QUIET);
    let mut client = server.connect();
    client.run("SET before 1");
    assert_eq!(client.run("CONFIG SET appendonly yes").text(), "OK");
    client.run("SET behind 1");
    wait_for_rewrite(&mut client);
    assert_eq!(info(&mut client, "aof_enabled"), "1");
    client.run("CONFIG SET appendfsync always");
    client.run("SET synced 1");
    assert_eq!(client.run("WAITAOF 1 0 0").to_string(), "[1 0]");
    let copy = Server::start_in(copy_aof(server.dir.path()), APPENDING);
    assert_eq!(loaded(&copy).run("DBSIZE"), Value::Int(3));
    client.run("CONFIG SET appendonly no");
    client.run("SET unseen 1");
    let copy = Server::start_in(copy_aof(server.dir.path()), APPENDING);
    assert_eq!(loaded(&copy).run("DBSIZE"), Value::Int(3));
    // An append-only file that is begun anew takes no name of the one before.
    client.run("CONFIG SET appendonly yes");
    wait_for_rewrite(&mut client);
    let copy = Server::start_in(copy_aof(server.dir.path()), APPENDING);
    assert_eq!(loaded(&copy).run("DBSIZE"), Value::Int(4));
}

/// How a server is made to keep what it acknowledges, and for how long it may forget it.
const PROMISES: &[(&[&str], Option<u64>)] = &[
    (
        &[
            "--appendonly",
            "yes",
            "--appendfsync",
            "always",
            "--save",
            "",
        ],
        Some(0),
    ),
    (
        &[
            "--appendonly",
            "yes",
            "--appendfsync",
            "everysec",
            "--save",
            "",
        ],
        Some(2),
    ),
    (&["--save", "1 1"], None),
];

/// A server that is killed at any moment has, when it starts again, all that it had promised to keep, and what it has is
/// what was there at some moment. `RETRACE_CRASHES` is the number of rounds.
#[test]
fn a_killed_server_keeps_its_promise() {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let rounds = support::count_from_env("RETRACE_CRASHES", 6);
    for round in 0..rounds {
        let (args, promise) = &PROMISES[round % PROMISES.len()];
        let mut args = args.to_vec();
        args.extend([
            "--auto-aof-rewrite-min-size",
            "1kb",
            "--enable-debug-command",
            "yes",
        ]);
        let mut dir = tempfile::tempdir().expect("a folder");
        let mut last_kept = 0i64;
        for _ in 0..3 {
            let server = Server::start_in(dir, &args);
            let mut client = loaded(&server);
            let first = last_kept + 1;
            let started = std::time::Instant::now();
            let until = std::time::Duration::from_millis(20 + rng.below(400) as u64);
            // Each write names the one before: a gap would show.
            let (mut sent, mut acknowledged) = (last_kept, Vec::new());
            while started.elapsed() < until {
                let mut bytes = Vec::new();
                let batch = 1 + rng.below(20);
                for _ in 0..batch {
                    sent += 1;
                    bytes.extend(request(&["RPUSH", "log", &sent.to_string()]));
                }
                client.send(&bytes);
                for _ in 0..batch {
                    client.read();
                }
                acknowledged.push((started.elapsed(), sent));
                if rng.one_in(200) {
                    client.run("BGREWRITEAOF");
                }
            }
            server.signal(Signal::KILL);
            let killed = started.elapsed();
            dir = server.into_dir();
            let next = Server::start_in(dir, &args);
            let mut client = loaded(&next);
            let Value::Int(kept) = client.run("LLEN log") else {
                panic!("no length");
            };
            let promised = promise.map_or(0, |secs| {
                let old = std::time::Duration::from_secs(secs);
                let kept = acknowledged.iter().filter(|(at, _)| *at + old <= killed);
                kept.map(|(_, sent)| *sent).max().unwrap_or(first - 1)
            });
            assert!(
                kept >= promised,
                "{kept} of {promised}, round {round}, RETRACE_SEED={seed}"
            );
            for at in [0, kept / 2, kept - 1] {
                if at >= 0 && kept > 0 {
                    let element = client.run(&format!("LINDEX log {at}"));
                    assert_eq!(element.text(), (at + 1).to_string(), "RETRACE_SEED={seed}");
                }
            }
            last_kept = kept;
            next.signal(Signal::KILL);
            dir = next.into_dir();
        }
    }
}
