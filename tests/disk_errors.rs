//! Disk errors: what clients are told, what the log says and how it ends when files of data cannot be written.
//!
//! The texts are those of a real server that was put into the same states. Files stand in the way as folders, devices
//! stand for disks: `/dev/full` has no room, `/dev/null` cannot be forced to disk; where mounting is allowed there is
//! a small file system too, which fills up and is given room again.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use rustix::process::Signal;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use support::durable::{
    copy_aof, info, loaded, wait_for_rewrite, wait_for_rewrite_end, wait_for_save,
};
use support::{
    Client, RETRACE, Server, Value, oracle_program, oracle_server, request, skipped, wait_for,
};

const NOT_SAVED: &str = "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to \
                         disk. Commands that may modify the data set are disabled, because this instance is \
                         configured to report errors during writes if RDB snapshotting fails \
                         (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB \
                         error.";

const NO_ROOM: &str = "MISCONF Errors writing to the AOF file: No space left on device";

const PART: &str = "appendonlydir/appendonly.aof.1.incr.aof";

/// How often the log has this.
fn logged(server: &Server, text: &str) -> usize {
    server.log().matches(text).count()
}

fn error(client: &mut Client, line: &str) -> String {
    let reply = client.run(line);
    reply.error().unwrap_or_default().to_owned()
}

/// A server with a new append-only file whose incremental part is this device.
fn appending_to(device: &str, args: &[&str]) -> Server {
    let dir = tempfile::tempdir().expect("a folder");
    fs::create_dir(dir.path().join("appendonlydir")).expect("a folder");
    symlink(device, dir.path().join(PART)).expect("a link");
    let mut all = vec!["--save", "", "--appendonly", "yes"];
    all.extend(args);
    Server::start_in(dir, &all)
}

/// Files that are not whole.
fn temporary_files(server: &Server) -> Vec<String> {
    fs::read_dir(server.dir.path())
        .expect("a folder")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.starts_with("temp-"))
        .collect()
}

#[test]
fn what_cannot_be_saved_is_not_changed_any_more() {
    let server = Server::start(&["--save", "3600 1", "--enable-debug-command", "yes"]);
    let temp = format!("temp-{}.rdb", server.pid());
    let dir = fs::canonicalize(server.dir.path()).expect("a folder");
    let dir = dir.display();
    let opening = format!(
        "Failed opening the temp RDB file {temp} (in server root dir {dir}) for saving: Is a directory"
    );
    let moving = format!(
        "Error moving temp DB file {temp} on the final destination dump.rdb (in server root dir {dir}): Is a directory"
    );
    let mut client = server.connect();
    client.run("SET a 1");
    for (round, (way, why)) in [(1, (temp.as_str(), &opening)), (2, ("dump.rdb", &moving))] {
        let _ = fs::remove_file(server.path(way));
        fs::create_dir(server.path(way)).expect("a folder in the way");
        assert_eq!(error(&mut client, "SAVE"), "ERR");
        assert_eq!(error(&mut client, "DEBUG RELOAD"), "ERR");
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        assert_eq!(client.run("SET a 1").text(), "OK");
        assert_eq!(client.run("BGSAVE").text(), "Background saving started");
        wait_for_save(&mut client);
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
        assert_eq!(logged(&server, why), 3, "{}", server.log());
        for line in ["SET a 2", "PING"] {
            assert_eq!(error(&mut client, line), NOT_SAVED, "{line}");
        }
        assert_eq!(client.run("GET a").text(), "1");
        client.run("MULTI");
        assert_eq!(error(&mut client, "SET a 2"), NOT_SAVED);
        assert_eq!(
            error(&mut client, "EXEC"),
            "EXECABORT Transaction discarded because of previous errors."
        );
        let script = "#!lua\nreturn redis.call('set', 'a', '2')";
        let refused = client.call(&["EVAL", script, "0"]);
        assert_eq!(refused.error(), Some(NOT_SAVED));
        let script = "#!lua flags=no-writes\nreturn redis.call('get', 'a')";
        assert_eq!(client.call(&["EVAL", script, "0"]).text(), "1");
        // Without save points, or when it is said that errors do not matter, they do not.
        for (off, on) in [
            (
                "CONFIG SET stop-writes-on-bgsave-error no",
                "CONFIG SET stop-writes-on-bgsave-error yes",
            ),
            ("CONFIG SET save ''", "CONFIG SET save '3600 1'"),
        ] {
            let words = |line: &str| -> Vec<String> {
                let words = line.splitn(4, ' ');
                words
                    .map(|word| word.trim_matches('\'').to_owned())
                    .collect()
            };
            client.call(&words(off));
            assert_eq!(client.run("SET a 1").text(), "OK", "{off}");
            client.call(&words(on));
            assert_eq!(error(&mut client, "SET a 2"), NOT_SAVED, "{on}");
        }
        // An end with a last save is not possible, and the server lives on.
        assert_eq!(
            error(&mut client, "SHUTDOWN"),
            "ERR Errors trying to SHUTDOWN. Check logs."
        );
        server.signal(Signal::INT);
        let text = "Error trying to save the DB, can't exit.";
        wait_for("the signal's save", || {
            (logged(&server, text) == 2 * round).then_some(())
        });
        fs::remove_dir(server.path(way)).expect("it is empty");
        // A save that a client waits for mends it too.
        let how = if way == "dump.rdb" { "SAVE" } else { "BGSAVE" };
        client.run(how);
        wait_for_save(&mut client);
        assert_eq!(client.run("SET a 1").text(), "OK");
        assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "ok");
        assert!(temporary_files(&server).is_empty());
    }
}

#[test]
fn a_second_interrupt_ends_the_last_save() {
    let mut server = Server::start(&["--save", "3600 1", "--enable-debug-command", "yes"]);
    let mut client = server.connect();
    client.run("DEBUG POPULATE 100");
    client.run("SET a 1");
    client.run("CONFIG SET rdb-key-save-delay 10000000");
    server.signal(Signal::INT);
    wait_for("the last save", || {
        (!temporary_files(&server).is_empty()).then_some(())
    });
    server.signal(Signal::INT);
    assert_eq!(server.wait_for_end().code(), Some(1));
    assert_eq!(logged(&server, "You insist... exiting now."), 1);
    assert!(temporary_files(&server).is_empty());
    assert!(!server.path("dump.rdb").exists());
}

#[test]
fn a_full_disk_refuses_writes_until_the_file_is_written_anew() {
    for fsync in ["everysec", "no"] {
        let server = appending_to("/dev/full", &["--appendfsync", fsync]);
        let mut client = loaded(&server);
        assert_eq!(client.run("SET a 1").text(), "OK", "nobody knows yet");
        wait_for("the error", || {
            (error(&mut client, "SET a 2") == NO_ROOM).then_some(())
        });
        assert_eq!(error(&mut client, "PING"), NO_ROOM);
        assert_eq!(client.run("GET a").text(), "1");
        assert_eq!(info(&mut client, "aof_last_write_status"), "err");
        let text = "Error writing to the AOF file: No space left on device";
        assert_eq!(logged(&server, text), 1, "it is told once");
        let waiting: u64 = info(&mut client, "aof_buffer_length")
            .parse()
            .expect("a number");
        assert!(waiting > 0);
        assert_eq!(info(&mut client, "mem_aof_buffer"), waiting.to_string());
        assert_eq!(
            info(&mut client, "mem_not_counted_for_evict"),
            waiting.to_string()
        );
        // What no file has is in the new base.
        client.run("BGREWRITEAOF");
        wait_for_rewrite(&mut client);
        assert_eq!(client.run("SET b 2").text(), "OK");
        assert_eq!(info(&mut client, "aof_last_write_status"), "ok");
        assert_eq!(info(&mut client, "aof_buffer_length"), "0");
        let next = Server::start_in(
            copy_aof(server.dir.path()),
            &["--appendonly", "yes", "--save", ""],
        );
        assert_eq!(loaded(&next).run("MGET a b").to_string(), "[\"1\" \"2\"]");
    }
}

#[test]
fn with_always_no_reply_tells_of_what_is_not_on_disk() {
    for (device, why) in [
        (
            "/dev/full",
            "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...",
        ),
        (
            "/dev/null",
            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': Invalid argument. Exiting...",
        ),
    ] {
        let mut server = appending_to(device, &["--appendfsync", "always"]);
        let mut client = loaded(&server);
        client.send(&request(&["SET", "a", "1"]));
        assert_eq!(client.next_reply(), None);
        assert_eq!(server.wait_for_end().code(), Some(1));
        assert_eq!(logged(&server, why), 1, "{}", server.log());
    }
}

/// A file system of its own that has room for so many KiB, as long as it lives.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(kib: usize) -> Option<Mounted> {
        let dir = tempfile::tempdir().expect("a folder");
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={kib}k"), "tmpfs"])
            .arg(dir.path())
            .output();
        match mount {
            Ok(output) if output.status.success() => Some(Mounted(dir)),
            _ => {
                skipped("no file system can be mounted");
                None
            }
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: the server may still be there.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).output();
    }
}

#[test]
fn a_disk_that_has_room_again_takes_what_was_kept() {
    let Some(disk) = Mounted::new(640) else {
        return;
    };
    let place = disk.0.path().display().to_string();
    let server = Server::start(&[
        "--save",
        "3600 100000",
        "--appendonly",
        "yes",
        "--rdbcompression",
        "no",
        "--auto-aof-rewrite-percentage",
        "0",
        "--dir",
        &place,
    ]);
    let mut client = loaded(&server);
    client.run("SET small 1");
    let fill = disk.0.path().join("fill");
    fs::write(&fill, vec![0u8; 450_000]).expect("there is room for that");
    let part = disk.0.path().join(PART);
    let before = fs::metadata(&part).expect("a file").len();
    let large = "x".repeat(250_000);
    assert_eq!(client.call(&["SET", "large", &large]).text(), "OK");
    wait_for("the error", || {
        (error(&mut client, "SET a 2") == NO_ROOM).then_some(())
    });
    // No half of a command stays at the end.
    assert_eq!(fs::metadata(&part).expect("a file").len(), before);
    assert_eq!(
        logged(
            &server,
            "Short write while writing to the AOF file: (nwritten="
        ),
        1
    );
    client.run("BGSAVE");
    wait_for_save(&mut client);
    assert_eq!(info(&mut client, "rdb_last_bgsave_status"), "err");
    let text = "Write error while saving DB to the disk(rdbSaveRio): No space left on device";
    assert_eq!(logged(&server, text), 1, "{}", server.log());
    assert_eq!(
        error(&mut client, "SET a 2"),
        NOT_SAVED,
        "that is told first"
    );
    fs::remove_file(&fill).expect("ours");
    wait_for("room", || {
        (info(&mut client, "aof_last_write_status") == "ok").then_some(())
    });
    let text = "AOF write error looks solved, Redis can write again.";
    assert_eq!(logged(&server, text), 1);
    client.run("BGSAVE");
    wait_for_save(&mut client);
    assert_eq!(client.run("SET a 3").text(), "OK");
    let next = Server::start_in(
        copy_aof(disk.0.path()),
        &["--appendonly", "yes", "--save", ""],
    );
    let mut client = loaded(&next);
    assert_eq!(client.run("MGET small a").to_string(), "[\"1\" \"3\"]");
    assert_eq!(client.run("STRLEN large"), Value::Int(250_000));
}

#[test]
fn a_rewrite_that_fails_loses_nothing() {
    let server = Server::start(&["--save", "", "--appendonly", "yes"]);
    let temp = format!("temp-rewriteaof-bg-{}.aof", server.pid());
    fs::create_dir(server.path(&temp)).expect("a folder in the way");
    let mut client = loaded(&server);
    for round in 1..=3 {
        client.run(&format!("SET before:{round} 1"));
        client.run("BGREWRITEAOF");
        wait_for_rewrite_end(&mut client);
        assert_eq!(info(&mut client, "aof_last_bgrewrite_status"), "err");
        let failures = info(&mut client, "aof_rewrites_consecutive_failures");
        assert_eq!(failures, round.to_string());
        assert_eq!(client.run(&format!("SET behind:{round} 1")).text(), "OK");
    }
    let text = "Background AOF rewrite terminated with error";
    assert_eq!(logged(&server, text), 3);
    // By themselves rewrites are put off now; what is asked for is not.
    client.run("CONFIG SET auto-aof-rewrite-min-size 1");
    client.run("CONFIG SET auto-aof-rewrite-percentage 1");
    wait_for("the limit", || {
        let text = "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in 1 minutes";
        (logged(&server, text) == 1).then_some(())
    });
    let args = &["--appendonly", "yes", "--save", ""];
    let next = Server::start_in(copy_aof(server.dir.path()), args);
    assert_eq!(loaded(&next).run("DBSIZE"), Value::Int(6));
    fs::remove_dir(server.path(&temp)).expect("it is empty");
    client.run("BGREWRITEAOF");
    wait_for_rewrite(&mut client);
    assert_eq!(info(&mut client, "aof_rewrites_consecutive_failures"), "0");
    let next = Server::start_in(copy_aof(server.dir.path()), args);
    assert_eq!(loaded(&next).run("DBSIZE"), Value::Int(6));
}

#[test]
fn appending_begins_with_a_whole_base_or_not_at_all() {
    let server = Server::start(&["--save", ""]);
    let temp = format!("temp-rewriteaof-bg-{}.aof", server.pid());
    fs::create_dir(server.path(&temp)).expect("a folder in the way");
    let mut client = loaded(&server);
    client.run("SET before 1");
    assert_eq!(client.run("CONFIG SET appendonly yes").text(), "OK");
    let text = "Removing the temp incr aof file temp-appendonly.aof.incr in the background";
    wait_for("the first attempt", || {
        (logged(&server, text) > 0).then_some(())
    });
    assert_eq!(client.run("SET meanwhile 1").text(), "OK");
    let manifest = "appendonlydir/appendonly.aof.manifest";
    assert!(!server.path(manifest).exists());
    fs::remove_dir(server.path(&temp)).expect("it is empty");
    if info(&mut client, "aof_rewrites_consecutive_failures").as_str() >= "3" {
        client.run("BGREWRITEAOF");
    }
    wait_for_rewrite(&mut client);
    client.run("SET behind 1");
    let folder: Vec<String> = {
        let entries = fs::read_dir(server.path("appendonlydir")).expect("a folder");
        let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    };
    assert_eq!(
        folder,
        [
            "appendonly.aof.1.base.rdb",
            "appendonly.aof.1.incr.aof",
            "appendonly.aof.manifest"
        ]
    );
    let args = &["--appendonly", "yes", "--save", ""];
    let next = Server::start_in(copy_aof(server.dir.path()), args);
    assert_eq!(loaded(&next).run("DBSIZE"), Value::Int(3));
    // Switched off while the base is written, it leaves nothing of it.
    client.run("CONFIG SET appendonly no");
    client.run("CONFIG SET rdb-key-save-delay 10000000");
    client.run("CONFIG SET appendonly yes");
    client.run("CONFIG SET appendonly no");
    wait_for("tidiness", || {
        let file = server.path("appendonlydir/temp-appendonly.aof.incr");
        let is_killed = logged(&server, "Killing running AOF rewrite child") == 1;
        (is_killed && !file.exists() && temporary_files(&server).is_empty()).then_some(())
    });
}

/// One step of a test that two servers are put through.
#[derive(Clone, Copy, Debug)]
enum Step {
    Ask(&'static str),
    /// Something stands in the way here: a folder, or a file where a folder is to be.
    Block(&'static str),
    BlockFolder(&'static str),
    Unblock(&'static str),
    /// Until no rewrite runs or is to run.
    Rest,
    /// Until the log has this.
    Log(&'static str),
}

/// What a server replies, what it says of its append-only file behind each step, and its log of it.
fn told(server: &Server, steps: &[Step]) -> (Vec<String>, Vec<String>) {
    let (mut client, mut eye) = (loaded(server), server.connect());
    let mut told = Vec::new();
    for step in steps {
        match *step {
            Step::Ask(line) => told.push(format!("{line}: {:?}", client.run(line))),
            Step::Block(path) => fs::create_dir_all(server.path(path)).expect("a folder"),
            Step::BlockFolder(path) => fs::write(server.path(path), "").expect("a file"),
            Step::Unblock(path) => match server.path(path).is_dir() {
                true => fs::remove_dir(server.path(path)).expect("it is empty"),
                false => fs::remove_file(server.path(path)).expect("it is there"),
            },
            Step::Rest => wait_for_rewrite_end(&mut eye),
            Step::Log(text) => wait_for("the log", || (logged(server, text) > 0).then_some(())),
        }
        if matches!(step, Step::Ask(line) if line.starts_with("EXEC")) {
            continue; // the next tick may have tried already
        }
        for name in [
            "aof_enabled",
            "aof_last_bgrewrite_status",
            "aof_rewrites_consecutive_failures",
            "aof_current_size",
        ] {
            // A rewrite that has begun may be done already.
            if !matches!(step, Step::Ask(_)) || name == "aof_enabled" {
                told.push(format!("{step:?} {name}:{}", info(&mut eye, name)));
            }
        }
    }
    if let Ok(manifest) = fs::read_to_string(server.path("appendonlydir/appendonly.aof.manifest")) {
        told.push(manifest);
    }
    let log = server.log();
    let lines = log.lines().filter_map(|line| {
        let (_, text) = line.split_once(['*', '#'])?;
        let ours = ["AOF", "append", "configuration. Possibly"];
        let is_about = ours.iter().any(|word| text.contains(word)) && !text.contains("CoW");
        let plain = text.split(['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
        let words: Vec<&str> = plain.filter(|word| !word.is_empty()).collect();
        is_about.then(|| words.join("N"))
    });
    let mut log: Vec<String> = lines.collect();
    log.dedup(); // how often a tick tries is a matter of time
    (told, log)
}

#[test]
fn a_rewrite_begins_where_it_finds_a_place_or_says_that_it_does_not() {
    use Step::{Ask, Block, BlockFolder, Log, Rest, Unblock};
    const FOLDER: &str = "appendonlydir";
    const NEXT: &str = "appendonlydir/appendonly.aof.2.incr.aof";
    const FIRST: &str = "appendonlydir/temp-appendonly.aof.incr";
    const LIST: &str = "appendonlydir/temp-appendonly.aof.manifest";
    let off: &[Step] = &[
        Ask("SET a 1"),
        BlockFolder(FOLDER),
        Ask("BGREWRITEAOF"),
        Ask("CONFIG SET appendonly yes"),
        Ask("CONFIG SET maxmemory 100mb appendonly yes appendfsync always"),
        Ask("CONFIG GET maxmemory"),
        Ask("CONFIG GET appendfsync"),
        Ask("SET b 1"),
        Unblock(FOLDER),
        Ask("BGREWRITEAOF"),
        Rest,
        Block(FIRST),
        Ask("CONFIG SET appendonly yes"),
        Ask("CONFIG GET appendonly"),
        Ask("WAITAOF 1 0 1"),
        Unblock(FIRST),
        Ask("CONFIG SET appendonly yes"),
        Rest,
        Ask("SET c 1"),
    ];
    let scheduled: &[Step] = &[
        Block(FIRST),
        Ask("SET a 1"),
        Ask("MULTI"),
        Ask("CONFIG SET appendonly yes"),
        Ask("EXEC"),
        Log("Can't open the append-only file temp-appendonly.aof.incr: "),
        Ask("INFO nothing"),
        Ask("SET b 1"),
        Unblock(FIRST),
        Rest,
        Ask("SET c 1"),
    ];
    let on: &[Step] = &[
        Ask("SET a 1"),
        Block(NEXT),
        Ask("BGREWRITEAOF"),
        Ask("SET b 1"),
        Block(LIST),
        Unblock(NEXT),
        Ask("BGREWRITEAOF"),
        Ask("SET b 1"),
        Rest,
        Unblock(LIST),
        Ask("BGREWRITEAOF"),
        Rest,
        Ask("SET c 1"),
    ];
    let numbered: &[Step] = &[
        Ask("SET a 1"),
        Ask("CONFIG SET appendonly yes"),
        Rest,
        Ask("BGREWRITEAOF"),
        Rest,
        Ask("SET b 1"),
        Ask("CONFIG SET appendonly no"),
        Ask("BGREWRITEAOF"),
        Rest,
        Ask("DEBUG LOADAOF"),
        Ask("CONFIG SET appendonly yes"),
        Rest,
        Ask("SET c 1"),
    ];
    for (steps, is_on) in [
        (off, "no"),
        (scheduled, "no"),
        (on, "yes"),
        (numbered, "no"),
    ] {
        let args = [
            "--save",
            "",
            "--enable-debug-command",
            "yes",
            "--appendonly",
            is_on,
        ];
        let ours = Server::start(&args);
        let said = told(&ours, steps);
        if let Some(real) = oracle_server(&args) {
            let want = told(&real, steps);
            for (said, want) in [(&said.0, want.0), (&said.1, want.1)] {
                let pairs = said.iter().zip(&want);
                let other = pairs.clone().position(|(said, want)| said != want);
                let at = other.unwrap_or(pairs.len()).saturating_sub(2);
                assert!(
                    *said == want,
                    "{:#?}\nreally {:#?}",
                    &said[at..],
                    &want[at..]
                );
            }
        }
        let mut client = loaded(&ours);
        let replies = said.0.join("\n");
        assert!(replies.contains("SET c 1: Simple(\"OK\")"), "{replies}");
        assert_eq!(info(&mut client, "aof_enabled"), "1");
        let next = Server::start_in(copy_aof(ours.dir.path()), &["--appendonly", "yes"]);
        assert_eq!(loaded(&next).run("DBSIZE"), Value::Int(3));
    }
}

#[test]
fn without_a_file_to_append_to_the_server_does_not_start() {
    const FOLDER: &str = "appendonlydir";
    const BASE: &str = "appendonlydir/appendonly.aof.1.base.rdb";
    const LIST: &str = "appendonlydir/appendonly.aof.manifest";
    const NEW_LIST: &str = "appendonlydir/temp-appendonly.aof.manifest";
    let old: &[(&str, &str)] = &[("appendonly.aof", "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n")];
    let file_for_folder: &[(&str, &str)] = &[(FOLDER, "")];
    for (files, folder, want) in [
        (&[][..], PART, "Can't open the append-only file "),
        (&[], BASE, "Error moving temp append only file "),
        (&[], NEW_LIST, "Can't open the AOF manifest file "),
        (
            file_for_folder,
            "other",
            "Can't open or create append-only dir ",
        ),
        (old, NEW_LIST, "Can't open the AOF manifest file "),
        (
            old,
            "appendonlydir/appendonly.aof",
            "Error trying to move the old AOF file ",
        ),
        // What each says of a folder in place of its manifest is its own matter.
        (&[], LIST, ""),
    ] {
        let in_vain = |program: &Path| {
            let dir = tempfile::tempdir().expect("a folder");
            fs::create_dir_all(dir.path().join(folder)).expect("a folder in the way");
            for (name, text) in files {
                fs::write(dir.path().join(name), text).expect("a file");
            }
            let log = start_in_vain(program, dir.path());
            assert!(!log.contains("Ready to accept"), "{log}");
            for (name, text) in files {
                let kept = fs::read_to_string(dir.path().join(name));
                assert_eq!(kept.expect("it is left as it was"), *text);
            }
            let line = log
                .lines()
                .find(|line| line.contains(" # ") && line.contains(want));
            let (_, text) = line
                .and_then(|line| line.split_once(" # "))
                .unwrap_or_default();
            assert!(!text.is_empty(), "{folder}, {want}: {log}");
            text.to_owned()
        };
        let said = in_vain(Path::new(RETRACE));
        if let Some(real) = oracle_program("redis-server")
            && !want.is_empty()
        {
            assert_eq!(said, in_vain(&real));
        }
    }
}

/// Starts a server with an append-only file, which must end at once; returns its log.
fn start_in_vain(program: &Path, dir: &Path) -> String {
    let output = Command::new(program)
        .args(["--port", "0", "--unixsocket", "socket", "--save", ""])
        .args(["--appendonly", "yes"])
        .current_dir(dir)
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Servers before 7.0 appended scripts as they came.
#[test]
fn scripts_in_an_append_only_file_run_when_it_is_loaded() {
    let dir = tempfile::tempdir().expect("a folder");
    let slow = "for i = 1, 3000000 do end redis.call('incr', KEYS[1]) \
                for i = 1, 3000 do redis.call('incr', KEYS[2]) end return 'done'";
    let mut file = Vec::new();
    for words in [
        &["SELECT", "3"][..],
        &[
            "EVAL",
            "redis.call('set', KEYS[1], ARGV[1])",
            "1",
            "k",
            "100",
        ],
        &["MULTI"],
        &["EVAL", slow, "2", "k", "n"],
        &["INCR", "k"],
        &["EXEC"],
        &["INCR", "k"],
    ] {
        file.extend(request(words));
    }
    fs::write(dir.path().join("appendonly.aof"), file).expect("a file");
    let args = &[
        "--appendonly",
        "yes",
        "--save",
        "",
        "--enable-debug-command",
        "yes",
        "--busy-reply-threshold",
        "1",
    ];
    let server = Server::start_in(dir, args);
    let mut client = loaded(&server);
    client.run("SELECT 3");
    let want = "[\"103\" \"3000\"]";
    assert_eq!(client.run("MGET k n").to_string(), want);
    assert_eq!(client.run("DEBUG LOADAOF").text(), "OK");
    assert_eq!(client.run("MGET k n").to_string(), want);
    assert!(logged(&server, "Slow script detected") > 0);
}

/// What the disk did is in the journal, so a run with all of these states replays without one.
#[test]
fn a_run_with_disk_errors_replays() {
    let keep = tempfile::tempdir().expect("a folder");
    let journal = keep.path().join("journal");
    let dir = tempfile::tempdir().expect("a folder");
    let mut file = Vec::new();
    file.extend(request(&["SET", "old", "1"]));
    let script = "for i = 1, 100 do redis.call('rpush', KEYS[1], i) end";
    file.extend(request(&["EVAL", script, "1", "list"]));
    fs::write(dir.path().join("appendonly.aof"), file).expect("a file");
    let args = &[
        "--record",
        journal.to_str().expect("plain"),
        "--save",
        "3600 1",
        "--appendonly",
        "yes",
        "--enable-debug-command",
        "yes",
    ];
    let mut server = Server::start_in(dir, args);
    let mut client = loaded(&server);
    client.run("LLEN list");
    let folders = [
        format!("temp-rewriteaof-bg-{}.aof", server.pid()),
        format!("temp-{}.rdb", server.pid()),
    ];
    for is_in_the_way in [true, false] {
        for folder in &folders {
            match is_in_the_way {
                true => fs::create_dir(server.path(folder)).expect("a folder in the way"),
                false => fs::remove_dir(server.path(folder)).expect("it is empty"),
            }
        }
        for line in [
            "DEBUG AOF-FLUSH-SLEEP 1000",
            "SET a 1",
            "BGREWRITEAOF",
            "SET b 2",
            "INFO persistence",
        ] {
            client.run(line);
        }
        wait_for_rewrite_end(&mut client);
        client.run("BGSAVE");
        wait_for_save(&mut client);
        for line in [
            "SET c 3",
            "SAVE",
            "CONFIG SET appendonly no",
            "SET d 4",
            "CONFIG SET appendonly yes",
            "INFO memory",
            "CONFIG SET rdb-key-save-delay -10",
        ] {
            client.run(line);
        }
    }
    wait_for_rewrite(&mut client);
    client.run("CONFIG SET appendfsync always");
    client.run("INCR e");
    client.run("DEBUG LOADAOF");
    client.run("DEBUG DIGEST");
    client.run("INFO everything");
    server.signal(Signal::TERM);
    assert!(server.wait_for_end().success(), "{}", server.log());
    let output = Command::new(RETRACE).arg("replay").arg(&journal).output();
    let output = output.expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success() && text.contains("identical"),
        "{text}"
    );
}
