//! The whole way of a request without sockets: bytes into the query buffer, replies out of the reply buffer.
//!
//! `cargo bench --bench engine -- [KEYS]` prints nanoseconds of CPU time a command for pipelines of several
//! depths over KEYS random keys (a million unless told).

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a benchmark reads the clock"
)]

use std::time::Instant;

use retrace::border::{Boot, Flush, Peer};
use retrace::config::Config;
use retrace::engine::Engine;
use retrace::state::{ConnId, Rng, UnixMicros};

#[global_allocator]
static ALLOCATOR: retrace::keyspace::alloc::Counting = retrace::keyspace::alloc::Counting;

const COMMANDS: usize = 1_000_000;
/// The best of so many passes is shown: other work on the machine only adds.
const PASSES: usize = 5;

fn main() {
    let keys = std::env::args()
        .filter_map(|arg| arg.parse().ok())
        .next()
        .unwrap_or(1_000_000);
    let mut engine = Engine::new(Boot {
        config: Config::default(),
        config_file: None,
        rename_commands: Vec::new(),
        seed: 1,
        now: UnixMicros(1_700_000_000_000_000),
        pid: 1,
        executable: String::new(),
        os: String::new(),
        is_recorded: false,
        replaying: false,
        ..Boot::default()
    })
    .expect("the default configuration is sound");
    let conn = ConnId(0);
    engine.handle_accept(
        conn,
        Peer {
            addr: "127.0.0.1:1".into(),
            local_addr: "127.0.0.1:2".into(),
            is_unix: false,
            is_local: true,
            fd: 5,
        },
    );
    let mut rng = Rng::new(7);
    let all: Vec<u64> = (0..keys).collect();
    let fill = requests(all.iter().copied(), 64, set);
    println!("{:>8} {:>6} {:>10}", "command", "depth", "ns");
    report("SET new", 64, &mut engine, conn, &fill, all.len());
    for depth in [64, 16, 1] {
        for (name, command) in [
            ("GET", get as fn(u64) -> String),
            ("SET", set),
            ("PING", ping),
        ] {
            let random = (0..COMMANDS).map(|_| rng.below(keys));
            let pipelines = requests(random, depth, command);
            report(name, depth, &mut engine, conn, &pipelines, COMMANDS);
        }
    }
    small_collections(&mut engine, conn, (keys / 10).max(1), &mut rng);
}

/// Ten elements in each of `keys` hashes, sets, sorted sets and lists: what is asked of small encodings most.
fn small_collections(engine: &mut Engine, conn: ConnId, keys: u64, rng: &mut Rng) {
    for (name, line) in [
        ("HSET", "HSET h:{key} f{n} value:{n}"),
        ("HGET", "HGET h:{key} f{n}"),
        ("SADD", "SADD s:{key} member:{n}"),
        ("SISMEMB", "SISMEMBER s:{key} member:{n}"),
        ("ZADD", "ZADD z:{key} {n} member:{n}"),
        ("ZSCORE", "ZSCORE z:{key} member:{n}"),
        ("RPUSH", "RPUSH l:{key} value:{n}"),
        ("LPOP", "LPOP l:{key}"),
    ] {
        let pipelines: Vec<Vec<u8>> = (0..COMMANDS / 64)
            .map(|_| {
                let one = |_| {
                    let (key, n) = (rng.below(keys).to_string(), rng.below(10).to_string());
                    line.replace("{key}", &key).replace("{n}", &n) + "\r\n"
                };
                (0..64).map(one).collect::<String>().into_bytes()
            })
            .collect();
        report(name, 64, engine, conn, &pipelines, COMMANDS / 64 * 64);
    }
}

fn get(key: u64) -> String {
    format!("*2\r\n$3\r\nGET\r\n$16\r\nkey:{key:012}\r\n")
}

fn set(key: u64) -> String {
    format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n$3\r\nxyz\r\n")
}

fn ping(_: u64) -> String {
    "*1\r\n$4\r\nPING\r\n".into()
}

/// The commands in pipelines of `depth`.
fn requests(
    keys: impl Iterator<Item = u64>,
    depth: usize,
    command: fn(u64) -> String,
) -> Vec<Vec<u8>> {
    let all: Vec<String> = keys.map(command).collect();
    all.chunks(depth)
        .map(|chunk| chunk.concat().into_bytes())
        .collect()
}

fn report(
    name: &str,
    depth: usize,
    engine: &mut Engine,
    conn: ConnId,
    pipelines: &[Vec<u8>],
    commands: usize,
) {
    let passes = if name == "SET new" { 1 } else { PASSES };
    let best = (0..passes)
        .map(|_| pass(engine, conn, pipelines))
        .fold(f64::INFINITY, f64::min);
    let ns = best / commands as f64;
    println!("{name:>8} {depth:>6} {ns:>10.1}");
}

/// Runs all pipelines once; nanoseconds in all.
fn pass(engine: &mut Engine, conn: ConnId, pipelines: &[Vec<u8>]) -> f64 {
    let started = Instant::now();
    for (turn, bytes) in pipelines.iter().enumerate() {
        engine.handle_time(UnixMicros(1_700_000_000_000_000 + turn as i64 * 100));
        let mut rest = &bytes[..];
        while !rest.is_empty() {
            let space = engine.read_buffer(conn);
            let len = rest.len().min(space.len());
            space[..len].copy_from_slice(&rest[..len]);
            engine.handle_read(conn, len);
            rest = &rest[len..];
        }
        while let Some(conn) = engine.poll_flush() {
            let len = engine.output_slice(conn).map_or(0, <[u8]>::len);
            assert!(len >= 5, "every command has a reply");
            assert_eq!(engine.handle_wrote(conn, len), Flush::Drained);
        }
    }
    started.elapsed().as_nanos() as f64
}
