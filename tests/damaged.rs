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
use support::{Rng, count_from_env, samples, seed};

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
