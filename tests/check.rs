//! Check: what `retrace check` says of files that servers wrote, sound and damaged, is what the real tools say.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Client, RETRACE, Rng, Server, count_from_env, oracle_program, oracle_server};
use support::{samples, seed, wait_for};

/// Runs a program with this on its standard input; returns its exit code and what it printed.
fn run(program: &Path, args: &[&str], input: &str) -> (Option<i32>, String) {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    // It may end without having read.
    let _ = child
        .stdin
        .take()
        .expect("piped")
        .write_all(input.as_bytes());
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].concat();
    (
        output.status.code(),
        String::from_utf8_lossy(&said).into_owned(),
    )
}

fn check(path: &Path) -> (Option<i32>, String) {
    run(Path::new(RETRACE), &["check", text(path)], "")
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a plain path")
}

/// The number behind a word in the text of a real tool.
fn figure(said: &str, word: &str) -> Option<u64> {
    let (_, rest) = said.split_once(word)?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

#[test]
fn rdb_files_are_sound_or_broken_as_the_real_tool_finds_them() {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let real = oracle_program("redis-check-rdb");
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("dump.rdb");
    for (name, file) in samples::rdb_files() {
        fs::write(&path, &file).expect("a file");
        let (code, said) = check(&path);
        assert_eq!(code, Some(0), "{name}: {said}");
        for line in [
            "rdb-version 0012",
            "redis-ver 8.0.6",
            "database 0: ",
            "  string: 10 keys",
            "  hash: 4 keys",
            "database 3: 1 key, ",
            "sound",
        ] {
            assert!(said.contains(line), "{name}: {line}\n{said}");
        }
        assert!(said.contains("largest: key '"), "{said}");
        assert!(said.contains(" 2 with deadlines of fields"), "{said}");
        assert_eq!(said.contains("1 library of functions"), name == "real");
        if let Some(real) = &real {
            let (code, theirs) = run(real, &[text(&path)], "");
            assert_eq!(code, Some(0), "{theirs}");
            let volatile = theirs.contains("[info] 1 expires");
            assert_eq!(volatile, said.contains("1 with a deadline"), "{theirs}");
        }
        for _ in 0..count_from_env("RETRACE_DAMAGES", 24) {
            let mut bad = file.clone();
            let damage = match rng.below(2) {
                0 => {
                    let at = rng.below(file.len());
                    bad.truncate(at);
                    format!("cut off at byte {at}")
                }
                _ => {
                    let (at, bit) = (9 + rng.below(file.len() - 9), rng.below(8));
                    bad[at] ^= 1 << bit;
                    format!("bit {bit} of byte {at}")
                }
            };
            fs::write(&path, &bad).expect("a file");
            let (code, said) = check(&path);
            let what = format!("{name}, seed {seed}, {damage}: {said}");
            assert_eq!(code, Some(1), "{what}");
            assert!(said.contains("broken at byte "), "{what}");
            if let Some(real) = &real {
                let (code, theirs) = run(real, &[text(&path)], "");
                assert_ne!(code, Some(0), "{what}\n{theirs}");
            }
        }
        // Behind the end there may be anything.
        let longer = [&file[..], b"something else"].concat();
        fs::write(&path, &longer).expect("a file");
        let (code, said) = check(&path);
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("14 bytes follow the end"), "{said}");
    }
}

#[test]
fn a_broken_rdb_file_is_told_with_its_keys() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    client.run("SET first 1");
    let one = samples::saved(&server, &mut client);
    client.run("FLUSHALL");
    client.run("RPUSH broken abc def");
    let file = samples::saved(&server, &mut client);
    let path = server.path("cut.rdb");
    // The end, the checksum, and the end of the listpack.
    fs::write(&path, &file[..file.len() - 11]).expect("a file");
    let (code, said) = check(&path);
    assert_eq!(code, Some(1));
    let at = file.len() - 11;
    let want = format!("broken at byte {at}: the file ends too early, in key 'broken'\n");
    assert!(said.contains(&want), "{said}");
    let mut bad = one.clone();
    let sum = bad.len() - 1;
    bad[sum] ^= 1;
    fs::write(&path, &bad).expect("a file");
    let (_, said) = check(&path);
    assert!(said.contains("CRC error"), "{said}");
    assert!(
        said.contains("last whole key: 'first' of database 0"),
        "{said}"
    );
    let (code, said) = run(Path::new(RETRACE), &["check", "--fix", text(&path)], "y\n");
    assert_eq!(code, Some(1));
    assert!(said.contains("cannot be fixed"), "{said}");
    assert_eq!(fs::read(&path).expect("it is there"), bad);
}

/// Commands that end up in an append-only file, with transactions.
fn write_some(client: &mut Client) {
    samples::fill(client);
    for line in [
        "MULTI",
        "SET t 1",
        "INCR t",
        "EXEC",
        "DEL t",
        "SELECT 3",
        "APPEND elsewhere 2",
    ] {
        assert_eq!(client.run(line).error(), None, "{line}");
    }
}

/// Append-only files, one of commands alone, one that begins with a snapshot.
fn aof_files() -> Option<Vec<Vec<u8>>> {
    let server = oracle_server(&["--appendonly", "yes", "--aof-timestamp-enabled", "yes"])?;
    let mut client = server.connect();
    write_some(&mut client);
    let folder = server.path("appendonlydir");
    let commands = fs::read(folder.join("appendonly.aof.1.incr.aof")).expect("it is written");
    client.run("BGREWRITEAOF");
    let base = folder.join("appendonly.aof.2.base.rdb");
    wait_for("the rewrite", || base.exists().then_some(()));
    let base = fs::read(base).expect("it is written");
    Some(vec![commands.clone(), [base, commands].concat()])
}

/// What both tools find in this damaged file, and that a repair ends where both say. `damage` tells what was done to it.
fn agrees_on_damage(path: &Path, bad: &[u8], real: &Path, damage: &str) {
    fs::write(path, bad).expect("a file");
    let (code, said) = check(path);
    let (theirs, they_said) = run(real, &[text(path)], "");
    let both = format!("{damage}\n{said}\n{they_said}");
    // It reads lengths as C does, and takes half an annotation, which would swallow what is appended, and a command of
    // no arguments, with which no server starts: it may go on where this stops, and find the next flaw or none.
    let is_laxer = ["is not ", "of 0 arguments", "annotation"]
        .iter()
        .any(|part| said.contains(part));
    if is_laxer && code == Some(1) && theirs == Some(0) {
        return;
    }
    assert_eq!(code, theirs, "{both}");
    if code == Some(0) {
        return;
    }
    let sound = figure(&said, "the first ").expect("it says so");
    let they_found = figure(&they_said, "ok_up_to=").expect("it says so");
    match is_laxer {
        true => assert!(sound <= they_found, "{both}"),
        false => assert_eq!(sound, they_found, "{both}"),
    }
    let (code, _) = run(Path::new(RETRACE), &["check", "--fix", text(path)], "n\n");
    assert_eq!(code, Some(1), "{both}");
    assert_eq!(fs::read(path).expect("it is there"), bad, "{damage}");
    let (code, said) = run(Path::new(RETRACE), &["check", "--fix", text(path)], "y\n");
    assert_eq!(code, Some(0), "{damage}\n{said}");
    let left = fs::read(path).expect("it is there");
    assert_eq!(left, bad[..sound as usize], "{damage}");
    assert_eq!(check(path).0, Some(0), "{both}");
    assert_eq!(run(real, &[text(path)], "").0, Some(0), "{both}");
}

/// The places of what this is in a file.
fn places(file: &[u8], what: &[u8]) -> Vec<usize> {
    let windows = file.windows(what.len()).enumerate();
    let places = windows.filter_map(|(at, window)| (window == what).then_some(at));
    places.collect()
}

#[test]
fn append_only_files_are_sound_or_broken_as_the_real_tool_finds_them() {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let (Some(real), Some(files)) = (oracle_program("redis-check-aof"), aof_files()) else {
        return;
    };
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("one.aof");
    for file in files {
        fs::write(&path, &file).expect("a file");
        let (code, said) = check(&path);
        assert_eq!(code, Some(0), "{said}");
        // A read by a group is written as two commands.
        assert!(said.contains("2 transactions\n"), "{said}");
        assert!(said.contains("  APPEND 1\n"), "{said}");
        let commands_at = if file.starts_with(b"REDIS") {
            figure(&said, "commands from byte ").expect("it says so") as usize
        } else {
            0
        };
        for _ in 0..count_from_env("RETRACE_DAMAGES", 40) {
            let mut bad = file.clone();
            let at = commands_at + rng.below(file.len() - commands_at);
            let bit = rng.below(8);
            let damage = match rng.below(2) {
                0 => {
                    bad.truncate(at);
                    format!("cut off at byte {at}")
                }
                _ => {
                    bad[at] ^= 1 << bit;
                    format!("bit {bit} of byte {at}")
                }
            };
            agrees_on_damage(&path, &bad, &real, &format!("seed {seed}, {damage}"));
        }
        // Random damage once in many runs finds where the tools are at odds: a command of no arguments is one to the real
        // tool, and an annotation without its end takes the next line with it.
        let from = places(&file, b"#TS:")[0];
        let end = from + places(&file[from..], b"\n")[0];
        let counts = [b"*1\r\n", b"*2\r\n"].map(|count| end + places(&file[end..], count)[0] + 1);
        for (at, bit) in [(end, 0), (end, 6), (counts[0], 0), (counts[1], 1)] {
            let mut bad = file.clone();
            bad[at] ^= 1 << bit;
            agrees_on_damage(&path, &bad, &real, &format!("bit {bit} of byte {at}"));
        }
        // Damage within the snapshot cannot be cut off.
        if commands_at > 0 {
            let mut bad = file.clone();
            bad[commands_at / 2] ^= 1;
            fs::write(&path, &bad).expect("a file");
            let (code, said) = run(Path::new(RETRACE), &["check", "--fix", text(&path)], "y\n");
            assert_eq!(code, Some(1), "{said}");
            assert_eq!(fs::read(&path).expect("it is there"), bad);
        }
    }
    fs::write(&path, b"").expect("a file");
    assert_eq!(
        (check(&path).0, run(&real, &[text(&path)], "").0),
        (Some(0), Some(0))
    );
}

#[test]
fn a_journal_is_told_and_so_is_its_torn_end() {
    let server = Server::start(&["--record", "run.journal", "--save", ""]);
    let mut client = server.connect();
    client.run("SET a 1");
    let dir = server.dir.path().to_owned();
    let journal = dir.join("run.journal");
    let copy = tempfile::tempdir().expect("a folder");
    drop(client);
    server.signal(rustix::process::Signal::TERM);
    let mut server = server;
    assert!(server.wait_for_end().success());
    let (code, said) = check(&journal);
    assert_eq!(code, Some(0), "{said}");
    for part in [
        "run.journal: journal, ",
        "written by version ",
        "1 connections accepted",
        "sound",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let bytes = fs::read(&journal).expect("it is there");
    let torn = copy.path().join("torn.journal");
    fs::write(&torn, &bytes[..bytes.len() - 5]).expect("a file");
    let (code, said) = check(&torn);
    assert_eq!(code, Some(1));
    assert!(said.contains("the journal is cut off"), "{said}");
    let mut bad = bytes.clone();
    let last = bad.len() - 1;
    bad[last] ^= 1;
    fs::write(&torn, &bad).expect("a file");
    assert!(check(&torn).1.contains("the journal is damaged"));
}

#[test]
fn what_is_no_such_file_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let other = dir.path().join("other");
    fs::write(&other, b"some text\n").expect("a file");
    for (path, why) in [
        (dir.path().join("nowhere"), "No such file"),
        (dir.path().to_owned(), "not a regular file"),
        (other, "neither an RDB file"),
    ] {
        let (code, said) = check(&path);
        assert_eq!(code, Some(1));
        assert!(said.contains(why), "{said}");
    }
    for args in [
        &["check"][..],
        &["check", "--fix"],
        &["check", "a", "b"],
        &["check", "--all", "a"],
    ] {
        let (code, said) = run(Path::new(RETRACE), args, "");
        assert_eq!(code, Some(1));
        assert!(said.starts_with("usage: retrace check"), "{said}");
    }
}

/// A folder with an append-only file in parts, by each server.
fn aof_folders() -> Vec<(&'static str, Server)> {
    let args = ["--appendonly", "yes"];
    let ours = Server::start(&["--save", "", args[0], args[1]]);
    let servers = [("ours", Some(ours)), ("real", oracle_server(&args))];
    let servers = servers
        .into_iter()
        .filter_map(|(name, server)| Some((name, server?)));
    servers
        .map(|(name, server)| {
            let mut client = server.connect();
            wait_for("the start", || {
                client.run("PING").error().is_none().then_some(())
            });
            write_some(&mut client);
            client.run("BGREWRITEAOF");
            let folder = server.path("appendonlydir");
            let manifest = folder.join("appendonly.aof.manifest");
            wait_for("the rewrite", || {
                let text = fs::read_to_string(&manifest).ok()?;
                let is_new = text.contains(".2.base.rdb") && !text.contains("type h");
                is_new.then_some(())
            });
            // This is in the last part.
            client.run("SET after 1");
            client.run("RPUSH after:list 1 2");
            (name, server)
        })
        .collect()
}

#[test]
fn an_append_only_file_in_parts_is_told_part_by_part() {
    let real = oracle_program("redis-check-aof");
    for (name, server) in aof_folders() {
        let folder = server.path("appendonlydir");
        let manifest = folder.join("appendonly.aof.manifest");
        let last = fs::read_to_string(&manifest).expect("it is there");
        let last = last
            .lines()
            .last()
            .and_then(|line| line.split(' ').nth(1))
            .expect("a part");
        let base = folder.join("appendonly.aof.2.base.rdb");
        let last = folder.join(last);
        let agree = |want: i32, what: &str| -> String {
            let (code, said) = check(&manifest);
            assert_eq!(code, Some(want), "{name}, {what}: {said}");
            if let Some(real) = &real {
                let (code, theirs) = run(real, &[text(&manifest)], "");
                assert_eq!(code, Some(want), "{name}, {what}: {theirs}");
            }
            said
        };
        let said = agree(0, "sound");
        assert!(said.contains("all parts are sound: "), "{said}");
        assert!(said.contains("2.base.rdb: RDB file"), "{said}");
        assert!(said.contains("  RPUSH 1\n"), "{said}");

        // Torn at the end: it can be cut off there.
        let whole = fs::read(&last).expect("it is there");
        fs::write(&last, &whole[..whole.len() - 3]).expect("a file");
        let said = agree(1, "torn");
        assert!(said.contains("1 part is broken"), "{said}");
        let (code, said) = run(
            Path::new(RETRACE),
            &["check", "--fix", text(&manifest)],
            "y\n",
        );
        assert_eq!(code, Some(0), "{said}");
        agree(0, "fixed");

        // The base cannot be.
        let bytes = fs::read(&base).expect("it is there");
        fs::write(&base, &bytes[..bytes.len() - 3]).expect("a file");
        let said = agree(1, "the base is torn");
        assert!(said.contains("the file ends too early"), "{said}");
        let (code, _) = run(
            Path::new(RETRACE),
            &["check", "--fix", text(&manifest)],
            "y\n",
        );
        assert_eq!(code, Some(1));
        fs::write(&base, &bytes).expect("a file");

        let lines = fs::read_to_string(&manifest).expect("it is there");
        for (bad, why) in [
            (lines.replace("type i", "type x"), "broken in line 2: "),
            (lines.replace("seq", "sequence"), "broken in line 1: "),
            (lines.replace(".base.rdb", ".nowhere"), "No such file"),
        ] {
            fs::write(&manifest, &bad).expect("a file");
            let said = agree(1, &bad);
            assert!(said.contains(why), "{bad}: {said}");
        }
        // To the real tool this is a sound file of no commands, but no server starts with it.
        fs::write(&manifest, b"").expect("a file");
        let (code, said) = check(&manifest);
        assert_eq!(code, Some(1));
        assert!(said.contains("Found an empty AOF manifest"), "{said}");
    }
}
