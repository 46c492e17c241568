//! AOF files: manifests and ends of files that are odd in every way are taken or refused as a real server takes them.
//!
//! Each case says what has to come of it, so that the tests mean something where there is no real server; where there
//! is one, the same is asked of it.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use support::durable::{info, loaded, wait_for_rewrite};
use support::{Address, Client, RETRACE, Server, Value, oracle_program, oracle_server};
use support::{request, wait_for};

const BASE: &str = "appendonly.aof.1.base.aof";
const INCR: &str = "appendonly.aof.1.incr.aof";
const MANIFEST: &str = "appendonlydir/appendonly.aof.manifest";

/// What comes of starting with these files.
#[derive(Debug, PartialEq)]
enum Came {
    /// The keys, and the manifest as it is then.
    Loaded(Vec<String>, String),
    /// The log.
    Refused(String),
}

/// Starts a server of this program with files in the folder of the append-only files.
fn start(program: &Path, files: &[(&str, Vec<u8>)]) -> Came {
    let dir = tempfile::tempdir().expect("a folder");
    let folder = dir.path().join("appendonlydir");
    fs::create_dir(&folder).expect("a folder");
    for (name, bytes) in files {
        fs::write(folder.join(name), bytes).expect("a file");
    }
    let socket = dir.path().join("socket");
    let log = dir.path().join("log");
    let mut child = Command::new(program)
        .args(["--port", "0", "--save", "", "--appendonly", "yes"])
        .arg("--unixsocket")
        .arg(&socket)
        .current_dir(dir.path())
        .stdout(Stdio::from(fs::File::create(&log).expect("a file")))
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let came = wait_for("the start", || {
        if child.try_wait().expect("our child").is_some() {
            let log = fs::read(&log).expect("a file");
            return Some(Came::Refused(String::from_utf8_lossy(&log).into_owned()));
        }
        // It may end just now, or load still.
        let mut client = Client::try_connect(&Address::Unix(socket.clone())).ok()?;
        client.try_send(b"KEYS *\r\n").ok()?;
        let (Value::Array(keys), _) = client.next_reply()? else {
            return None;
        };
        let mut keys: Vec<String> = keys.iter().map(Value::text).collect();
        keys.sort();
        let manifest = fs::read(dir.path().join(MANIFEST)).expect("a file");
        let manifest = String::from_utf8_lossy(&manifest).into_owned();
        Some(Came::Loaded(keys, manifest))
    });
    let _ = child.kill();
    child.wait().expect("it ends");
    came
}

/// The servers to ask: this one, and a real one where there is one.
fn programs() -> Vec<PathBuf> {
    let ours = PathBuf::from(RETRACE);
    let real = oracle_program("redis-server");
    [Some(ours), real].into_iter().flatten().collect()
}

#[test]
fn manifests_are_read_as_the_real_server_reads_them() {
    let set = |key: &str| request(&["SET", key, "1"]);
    let (base, incr) = (
        format!("file {BASE} seq 1 type b\n"),
        format!("file {INCR} seq 1 type i\n"),
    );
    let both = format!("{base}{incr}");
    let second = "file second.aof seq 2 type i\n";
    let comment = |len: usize| format!("#{}\n{both}", "x".repeat(len - 1));
    let format = "Invalid AOF manifest file format";
    let too_long = "The AOF manifest file contains too long line";
    let order = "Found a non-monotonic sequence number";
    let kind = "Unknown AOF file type";
    let path = "File can't be a path, just a filename";
    for (text, want) in [
        (both.clone(), Ok("base incr")),
        (format!("{base}{incr}{second}"), Ok("base incr second")),
        (format!("{incr}{second}{base}"), Ok("base incr second")),
        (base.clone(), Ok("base")),
        (incr.clone(), Ok("incr")),
        (String::new(), Err("Found an empty AOF manifest")),
        ("\n".to_owned(), Err(format)),
        (format!("{base}\n{incr}"), Err(format)),
        (format!("{base}  \n{incr}"), Err(format)),
        (format!("# note\n{both}# note\n"), Ok("base incr")),
        (format!(" # note\n{both}"), Err(format)),
        (comment(1023), Ok("base incr")),
        // What is left of a longer one is a line by itself.
        (comment(1024), Err(format)),
        (comment(1100), Err(format)),
        (both.trim_end().to_owned(), Err(too_long)),
        (both.replace('\n', "\r\n"), Ok("base incr")),
        (both.replace(' ', "\t \t"), Ok("base incr")),
        (both.replace(" seq", "\x0bseq"), Err(format)),
        (both.replace(" seq", "\x0cseq"), Err(format)),
        (both.replace(" seq", " \x0b\x0cseq"), Ok("base incr")),
        (both.replace("type b", "type b\0"), Err(too_long)),
        (both.replace("file", "FILE"), Ok("base incr")),
        (both.replace("type b", "type B"), Err(kind)),
        (both.replace("type b", "type x"), Err(kind)),
        (both.replace("type i", "type index"), Ok("base incr")),
        (both.replace("type i", "type \"\""), Err(format)),
        (both.replace("type i", "type"), Err(format)),
        (both.replace(" type i", ""), Err(format)),
        (both.replace("type i", "type i word"), Err(format)),
        (both.replace("type i", "type i some word"), Ok("base incr")),
        (both.replace("seq 1 type i", "seq 0 type i"), Err(format)),
        (both.replace("seq 1 type i", "seq x type i"), Err(format)),
        (both.replace("seq 1 type i", "seq -1 type i"), Err(order)),
        (
            both.replace("seq 1 type i", "seq +1x type i"),
            Ok("base incr"),
        ),
        (
            both.replace("seq 1 type i", "seq 99999999999999999999 type i"),
            Ok("base incr"),
        ),
        (format!("{both}{incr}"), Err(order)),
        (format!("{base}{second}{incr}"), Err(order)),
        (format!("{base}{both}"), Err("Found duplicate base file")),
        (both.replace(BASE, &format!("./{BASE}")), Err(path)),
        (both.replace(BASE, &format!("\"{BASE}\"")), Ok("base incr")),
        (both.replace(BASE, &format!("\"{BASE}")), Err(format)),
        ("nonsense\n".to_owned(), Err(format)),
        (
            format!("{both}file third.aof seq 2 type i\n"),
            Err("No such file"),
        ),
        (
            format!("{both}file old.aof seq 1 type h\n"),
            Ok("base incr"),
        ),
        (
            both.replace("type i", "type i startoffset 5"),
            Ok("base incr"),
        ),
        (
            both.replace("type i", "type i startoffset 5x endoffset -7"),
            Ok("base incr"),
        ),
    ] {
        let files = [
            ("appendonly.aof.manifest", text.clone().into_bytes()),
            (BASE, set("base")),
            (INCR, set("incr")),
            ("second.aof", set("second")),
        ];
        let mut manifests = Vec::new();
        for program in programs() {
            let came = start(&program, &files);
            match (&came, want) {
                (Came::Loaded(keys, manifest), Ok(want)) => {
                    assert_eq!(keys.join(" "), want, "{program:?}: {text:?}");
                    manifests.push(manifest.clone());
                }
                (Came::Refused(log), Err(want)) => {
                    assert!(log.contains(want), "{program:?}: {text:?}: {log}");
                }
                _ => panic!("{program:?}: {text:?}: {came:?}"),
            }
        }
        // What they have made of it is the same too.
        manifests.dedup();
        assert!(manifests.len() < 2, "{text:?}: {manifests:?}");
    }
}

#[test]
fn ends_of_files_are_cut_off_or_refused_as_the_real_server_does() {
    let select = request(&["SELECT", "0"]);
    let command = |line: &str| request(&line.split(' ').collect::<Vec<_>>());
    for (lines, torn, want) in [
        (&["MULTI", "SET a 1"][..], "", Ok("")),
        // The arguments are counted only where the command runs.
        (&["MULTI", "SET a"], "", Ok("")),
        (&["MULTI", "NOPE a"], "", Err("Unknown command 'NOPE'")),
        (&["MULTI", "SET a 1", "NOPE a"], "", Err("Unknown command")),
        (&["MULTI", "NOPE a", "EXEC"], "", Err("Unknown command")),
        (
            &["MULTI", "NOPE a"],
            "*2\r\n$3\r\nGE",
            Err("Unknown command"),
        ),
        (
            &["MULTI", "CONFIG NOPE", "SET a 1"],
            "",
            Err("Unknown command 'CONFIG'"),
        ),
        (
            &["CONFIG NOPE", "SET a 1"],
            "",
            Err("Unknown command 'CONFIG'"),
        ),
        (&["MULTI", "SET a 1"], "*2\r\n$3\r\nGE", Ok("")),
        (&["SET a 1"], "*2\r\n$3\r\nGE", Ok("a")),
        (&["SET a 1", "MULTI more", "SET b 1"], "", Ok("a")),
        (&["MULTI", "SET a 1", "EXEC more", "SET b 1"], "", Ok("a b")),
        (&["EXEC", "SET a 1"], "", Ok("a")),
        (&["MULTI", "SET a 1", "DISCARD", "SET b 1"], "", Ok("")),
        (&["MULTI", "MULTI", "SET a 1", "EXEC"], "", Ok("a")),
    ] {
        let mut bytes = select.clone();
        bytes.extend(lines.iter().flat_map(|line| command(line)));
        bytes.extend_from_slice(torn.as_bytes());
        let manifest = format!("file {INCR} seq 1 type i\n").into_bytes();
        let files = [("appendonly.aof.manifest", manifest), (INCR, bytes)];
        for program in programs() {
            match (start(&program, &files), want) {
                (Came::Loaded(keys, _), Ok(want)) => {
                    assert_eq!(keys.join(" "), want, "{program:?}: {lines:?} {torn:?}");
                }
                (Came::Refused(log), Err(want)) => {
                    assert!(log.contains(want), "{program:?}: {lines:?}: {log}");
                }
                (came, _) => panic!("{program:?}: {lines:?} {torn:?}: {came:?}"),
            }
        }
    }
}

/// What a server says of offsets while it is used, switched off and on, and ended.
fn offsets(server: Server) -> Vec<String> {
    let mut said = Vec::new();
    let mut client = loaded(&server);
    let mut tell = |server: &Server, client: &mut Client| {
        let manifest = fs::read_to_string(server.path(MANIFEST)).expect("a manifest");
        let offset = info(client, "master_repl_offset");
        let Value::Array(role) = client.run("ROLE") else {
            panic!("ROLE tells three things");
        };
        assert_eq!(role.get(1).map(Value::text).as_ref(), Some(&offset));
        said.push(format!("{offset} {manifest}"));
    };
    tell(&server, &mut client);
    for line in [
        "SET a 1",
        "GET a",
        "DEL nothing",
        "MSET a 1 b 1",
        "MULTI",
        "SET a 1",
        "SELECT 2",
        "SET b 1",
        "EXEC",
        "EVAL return(redis.call('set','c',1)) 0",
    ] {
        assert_eq!(client.run(line).error(), None, "{line}");
    }
    tell(&server, &mut client);
    client.run("BGREWRITEAOF");
    wait_for_rewrite(&mut client);
    tell(&server, &mut client);
    client.run("SET a 2");
    client.run("CONFIG SET appendonly no");
    tell(&server, &mut client);
    client.run("SET a 3");
    client.run("CONFIG SET appendonly yes");
    wait_for("the first base", || {
        let text = fs::read_to_string(server.path(MANIFEST)).ok()?;
        (text.contains(".3.base.") && !text.contains("type h")).then_some(())
    });
    wait_for_rewrite(&mut client);
    client.run("SET a 4");
    tell(&server, &mut client);
    drop(client);
    let dir = {
        server.signal(rustix::process::Signal::TERM);
        let mut server = server;
        assert!(server.wait_for_end().success());
        server.into_dir()
    };
    said.push(fs::read_to_string(dir.path().join(MANIFEST)).expect("a manifest"));
    // It goes on where it was, and after a crash behind the bytes of the last file.
    for is_killed in [false, true] {
        let copy = support::durable::copy_aof(dir.path());
        if is_killed {
            let path = copy.path().join(MANIFEST);
            let text = fs::read_to_string(&path).expect("a manifest");
            let cut = text.find(" endoffset").expect("it has one");
            fs::write(&path, format!("{}\n", &text[..cut])).expect("a file");
        }
        let again = Server::start_in(copy, &["--save", "", "--appendonly", "yes"]);
        let mut client = loaded(&again);
        let manifest = fs::read_to_string(again.path(MANIFEST)).expect("a manifest");
        said.push(format!(
            "{} {manifest}",
            info(&mut client, "master_repl_offset")
        ));
    }
    said
}

#[test]
fn the_manifest_tells_from_where_to_where_a_file_goes() {
    let args = ["--appendonly", "yes", "--auto-aof-rewrite-percentage", "0"];
    let ours = offsets(Server::start(&[&["--save", ""][..], &args].concat()));
    let part = |base: u64, seq: u64, rest: &str| {
        format!(
            "file appendonly.aof.{base}.base.rdb seq {base} type b\nfile appendonly.aof.{seq}.incr.aof seq {seq} type i {rest}\n"
        )
    };
    let last = part(3, 3, "startoffset 8");
    assert_eq!(
        ours[..7],
        [
            format!("0 {}", part(1, 1, "startoffset 0")),
            format!("7 {}", part(1, 1, "startoffset 0")),
            format!("7 {}", part(2, 2, "startoffset 7")),
            format!("8 {}", part(2, 2, "startoffset 7 endoffset 8")),
            format!("9 {last}"),
            part(3, 3, "startoffset 8 endoffset 9"),
            format!("9 {last}"),
        ]
    );
    if let Some(real) = oracle_server(&args) {
        assert_eq!(offsets(real), ours);
    }
}
