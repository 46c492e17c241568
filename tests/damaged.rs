//! Damaged: RDB files that are cut, or have flipped bits, are refused in words or read as something sound.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use retrace::config::Config;
use retrace::keyspace::saving::Style;
use retrace::keyspace::table::HashSeed;
use retrace::persist::rdb::{self, Decoder, FileError, Item};
use retrace::persist::value::Limits;
use rustix::process::{Resource, Rlimit, setrlimit};
use support::durable::log_of_refusal;
use support::{
    RETRACE, Rng, Server, Value, count_from_env, real_server_in, samples, seed, wait_for,
};

/// More than this the whole process may not reserve: a length that is believed without its bytes ends the test.
const MEMORY_MAX: u64 = 2 << 30;

const STYLE: Style = Style {
    packs: true,
    idle_since: None,
    frequency_clock: None,
};

fn limits() -> Limits {
    Limits::new(&Config::default(), 0, HashSeed([7; 16]))
}

/// Reads a file to its end, and saves and reads again what it holds; returns how many keys.
fn read(bytes: &[u8], checks_crc: bool, limits: &Limits) -> Result<usize, FileError> {
    const CHUNK: usize = 512;
    let mut decoder = Decoder::new(0, checks_crc);
    let (mut rest, mut keys) = (bytes, 0);
    decoder.push(b"", rest.len() as u64);
    loop {
        match decoder.next(limits)? {
            None => {
                let (now, later) = rest.split_at(CHUNK.min(rest.len()));
                assert!(!now.is_empty(), "it wants more than there is");
                decoder.push(now, later.len() as u64);
                rest = later;
            }
            Some(Item::End) => return Ok(keys),
            Some(Item::Key(key)) => {
                let name = key.name.into_owned();
                let entry = key.value.into_entry(&name, key.deadline_ms, 0);
                let mut again = b"REDIS0012".to_vec();
                let piece = rdb::put_entry(&entry, &STYLE, 0, usize::MAX, &mut again);
                assert_eq!(piece, None);
                rdb::put_end(&mut again);
                again.extend_from_slice(&[0; 8]);
                let mut copy = Decoder::new(0, false);
                copy.push(&again, 0);
                copy.next(limits).expect("the version");
                match copy.next(limits) {
                    Ok(Some(Item::Key(key))) => assert_eq!(&key.name[..], name),
                    Ok(_) => panic!("what was saved is no key any more"),
                    Err(error) => panic!("what was saved is not read: {error}"),
                }
                keys += 1;
            }
            Some(_) => {}
        }
    }
}

#[test]
fn no_damage_does_harm() {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let files = samples::rdb_files();
    let limit = Rlimit {
        current: Some(MEMORY_MAX),
        maximum: Some(MEMORY_MAX),
    };
    setrlimit(Resource::As, limit).expect("it may be lowered");
    let limits = limits();
    for (name, file) in files {
        let keys = read(&file, true, &limits).expect("it is sound");
        assert!(keys > 25, "{name}: {keys}");
        // Each place in the first part, then every so many.
        let mut end = 0;
        while end < file.len() {
            let error = read(&file[..end], true, &limits).expect_err("it is cut");
            assert!(error.pos <= end as u64, "{name} cut at {end}: {error}");
            assert!(!error.what.is_empty());
            end += if end < 8192 { 1 } else { 61 };
        }
        // Without the checksum, so that the values' own checks are met.
        for _ in 0..count_from_env("RETRACE_DAMAGES", 1_500) {
            let mut bad = file.clone();
            for _ in 0..=rng.below(3) {
                let at = rng.below(bad.len());
                match rng.below(3) {
                    0 => bad[at] = *rng.pick(&[0, 0x7f, 0x80, 0x81, 0xc0, 0xc3, 0xfe, 0xff]),
                    1 => bad[at] = bad[at].wrapping_add(1),
                    _ => bad[at] ^= 1 << rng.below(8),
                }
            }
            if let Err(error) = read(&bad, false, &limits) {
                assert!(
                    error.pos <= bad.len() as u64,
                    "{error}, RETRACE_SEED={seed}"
                );
            }
            if bad != file && !bad.starts_with(b"REDIS000") {
                let told = read(&bad, true, &limits).is_err();
                // A checksum of zeros says that there is none.
                let has_sum = bad[bad.len() - 8..] != [0; 8];
                assert!(
                    told || !has_sum,
                    "{name}: nobody saw it, RETRACE_SEED={seed}"
                );
            }
        }
    }
}

#[test]
fn a_server_refuses_a_damaged_file_in_one_line_and_leaves_it() {
    let mut rng = Rng::new(seed());
    for (name, file) in samples::rdb_files() {
        for round in 0..6 {
            let mut bad = file.clone();
            if round % 2 == 0 {
                bad.truncate(20 + rng.below(file.len() - 20));
            } else {
                let at = 9 + rng.below(file.len() - 9);
                bad[at] ^= 1 << rng.below(8);
            }
            println!("{name} {round}");
            let log = log_of_refusal(&bad);
            let last = log.lines().last().unwrap_or_default();
            assert!(
                last.contains("dump.rdb") && last.contains("at byte "),
                "{last}"
            );
        }
    }
}

/// A stream as a file has it that a server before the first release of 5.0 wrote: what is said of it is not what it holds.
/// A real server takes it, so its owner has to be able to start this one as well.
#[test]
fn what_a_real_server_loads_is_put_right_and_told() {
    let args = ["--save", "", "--rdbchecksum", "no"];
    let server = Server::start(&args);
    let mut client = server.connect();
    for id in 1..=3 {
        client.run(&format!("XADD s {id}-1 field value"));
    }
    client.run("SAVE");
    client.send(b"SHUTDOWN\r\n");
    let dir = server.into_dir();
    let path = dir.path().join("dump.rdb");
    let good = std::fs::read(&path).expect("saved");
    // Length, last ID, first ID, greatest removed ID, entries ever added, groups.
    let facts = [3, 3, 1, 1, 1, 0, 0, 3, 0];
    let at = good.windows(facts.len()).position(|window| window == facts);
    let at = at.expect("the stream's facts");
    // The first of the block's two counts follows the listpack's own header.
    let count_at = (0..at)
        .rev()
        .find(|&at| good[at..].starts_with(&[3, 1, 0, 1, 1, 1]));
    let count_at = count_at.expect("the block's counts");
    let changed = |at: usize, instead: &[u8]| [&good[..at], instead, &good[at + 1..]].concat();
    for (bytes, what) in [
        (
            changed(at, &[0x40, 120]),
            "its length was said to be 120, and it has 3 entries",
        ),
        (
            changed(at + 1, &[2]),
            "its last ID was said to be 2-1, and an entry has 3-1",
        ),
        (
            changed(count_at, &[2]),
            "a block's counts were not those of its entries",
        ),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("dump.rdb");
        std::fs::write(&path, &bytes).expect("written");
        let check = std::process::Command::new(RETRACE)
            .arg("check")
            .arg(&path)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&check.stdout).into_owned();
        assert!(check.status.success(), "{said}");
        assert!(
            said.contains(&format!("repairable: key 's' of database 0: {what}")),
            "{said}"
        );
        let server = Server::start_in(dir, &args);
        let mut client = server.connect();
        wait_for("the key", || {
            (client.run("XLEN s") == Value::Int(3)).then_some(())
        });
        let line = format!("Key s of database 0 was put right: {what}");
        assert!(server.log().contains(&line), "{}", server.log());
        assert_eq!(client.run("XADD s * field value").error(), None);
        assert_eq!(client.run("XLEN s"), Value::Int(4));
        assert!(!format!("{:?}", client.run("XRANGE s - +")).is_empty());

        let dir = tempfile::tempdir().expect("a folder");
        std::fs::write(dir.path().join("dump.rdb"), &bytes).expect("written");
        let Some(real) = real_server_in("redis-server", dir, &args) else {
            continue;
        };
        let mut client = real.connect();
        wait_for("the key", || {
            (client.run("EXISTS s") == Value::Int(1)).then_some(())
        });
    }
}

/// A listpack of short texts.
fn listpack(texts: &[&str]) -> Vec<u8> {
    let mut entries = Vec::new();
    for text in texts {
        entries.push(0x80 | text.len() as u8);
        entries.extend_from_slice(text.as_bytes());
        entries.push(text.len() as u8 + 1);
    }
    let mut bytes = (entries.len() as u32 + 7).to_le_bytes().to_vec();
    bytes.extend((texts.len() as u16).to_le_bytes());
    bytes.extend(entries);
    bytes.push(0xff);
    bytes
}

#[test]
fn packed_values_that_real_servers_do_not_look_into_are_put_right() {
    let intset = [
        &2u32.to_le_bytes()[..],
        &4u32.to_le_bytes(),
        &[3, 0, 1, 0, 2, 0, 1, 0],
    ]
    .concat();
    let cases = [
        (
            11,
            intset,
            "SMEMBERS k",
            "1 2 3",
            Some("its integers were not in their order"),
        ),
        (
            16,
            listpack(&["a", "x", "a", "y", "b", "z"]),
            "HGETALL k",
            "a x b z",
            Some("a name came twice"),
        ),
        (
            17,
            listpack(&["b", "2", "a", "1"]),
            "ZRANGE k 0 -1",
            "a b",
            Some("its members were not in their order"),
        ),
        (
            17,
            listpack(&["a", "1", "b", "2", "a", "3"]),
            "ZRANGE k 0 -1 WITHSCORES",
            "a 1 b 2",
            Some("a name came twice"),
        ),
        (20, listpack(&["x", "y"]), "SMEMBERS k", "x y", None),
    ];
    for (kind, value, read, want, what) in cases {
        let mut bytes = b"REDIS0012\xfe\x00".to_vec();
        bytes.extend([kind, 1, b'k', value.len() as u8]);
        bytes.extend(value);
        bytes.push(0xff);
        bytes.extend([0; 8]); // no checksum
        let put = || {
            let dir = tempfile::tempdir().expect("a folder");
            std::fs::write(dir.path().join("dump.rdb"), &bytes).expect("written");
            dir
        };
        let args = ["--appendonly", "no"];
        let server = Server::start_in(put(), &args);
        let mut client = server.connect();
        wait_for("the key", || {
            (client.run("EXISTS k") == Value::Int(1)).then_some(())
        });
        let Value::Array(items) = client.run(read) else {
            panic!("{read} of type {kind}");
        };
        let texts: Vec<String> = items.iter().map(Value::text).collect();
        assert_eq!(texts.join(" "), want, "{read} of type {kind}");
        let line = what.map(|what| format!("Key k of database 0 was put right: {what}"));
        let has_line = server.log().contains("was put right");
        assert_eq!(has_line, line.is_some(), "{}", server.log());
        assert!(line.is_none_or(|line| server.log().contains(&line)));
        // Who wants to have them looked into is told.
        if let Some(what) = what {
            let log = refusal_of(put());
            assert!(log.contains("integrity check failed"), "{log}");
            let dir = put();
            let check = std::process::Command::new(RETRACE)
                .arg("check")
                .arg(dir.path().join("dump.rdb"))
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&check.stdout).into_owned();
            let line = format!("repairable: key 'k' of database 0: {what}");
            assert!(check.status.success() && said.contains(&line), "{said}");
        }
        let Some(real) = real_server_in("redis-server", put(), &args) else {
            continue;
        };
        let mut client = real.connect();
        wait_for("the key", || {
            (client.run("EXISTS k") == Value::Int(1)).then_some(())
        });
    }
}

/// What a server says that is to look into packed values and ends at its start.
fn refusal_of(dir: tempfile::TempDir) -> String {
    let out = std::process::Command::new(RETRACE)
        .args([
            "--port",
            "0",
            "--unixsocket",
            "socket",
            "--sanitize-dump-payload",
            "yes",
        ])
        .current_dir(dir.path())
        .output()
        .expect("it runs");
    assert!(!out.status.success());
    String::from_utf8_lossy(&out.stdout).into_owned()
}
