//! Bench: the longest reply that a client waits for while the keyspace grows and while a snapshot is taken, side by side with
//! real servers.
//!
//!     cargo bench --bench stall [-- KEYS]          3000000 without
//!
//! Starts each server in turn (see `servers`), on the first core where `taskset` is there, and lets a client of its own thread ask for one key
//! again and again; with `chrt` that thread is a real-time one, so that what it waits for is the server and not its own turn on
//! a core. Beside it `redis-benchmark` fills the keyspace; then, with the server free to use every core, a writer changes
//! 500 keys every ten milliseconds, for some seconds without and then with BGSAVE. The row without is what the machine and the
//! writes alone cost. Printed are the medians of the rounds.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and measures time"
)]

mod servers;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use servers::{Server, median, order};

const ROUNDS: usize = 3;
/// Between two requests of the client that measures.
const PAUSE: Duration = Duration::from_micros(200);
/// Keys that the writer changes at once, and between two times.
const WRITES: usize = 500;
const WRITES_PAUSE: Duration = Duration::from_millis(10);
/// How long the writer goes on without a snapshot.
const WITHOUT: Duration = Duration::from_secs(4);
const VALUE: usize = 64;
const PHASES: [&str; 3] = ["growth", "writes", "writes and BGSAVE"];

/// In milliseconds.
#[derive(Clone, Copy)]
struct Wait {
    longest: f64,
    /// 99.9 of a hundred replies came sooner.
    p999: f64,
}

/// Gives this thread the precedence of a real-time one, where the system lets it.
fn become_real_time() {
    let Ok(link) = std::fs::read_link("/proc/thread-self") else {
        return;
    };
    let Some(thread) = link.file_name() else {
        return;
    };
    let words = ["--fifo", "--pid", "20"];
    let command = Command::new("chrt").args(words).arg(thread).output();
    if !command.is_ok_and(|output| output.status.success()) {
        println!("no real-time client: it may wait for its own turn on a core");
    }
}

/// What a client that asks for one key waits for while `work` is done.
fn watch(server: &Server, work: impl FnOnce()) -> Wait {
    let stop = Arc::new(AtomicBool::new(false));
    let mut stream = server.connect();
    let client = thread::spawn({
        let stop = Arc::clone(&stop);
        move || {
            become_real_time();
            let mut waits = Vec::new();
            let mut space = [0; 4096];
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                stream
                    .write_all(b"*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n")
                    .expect("connected");
                assert_ne!(stream.read(&mut space).expect("a reply"), 0);
                waits.push(start.elapsed().as_secs_f64() * 1e3);
                thread::sleep(PAUSE);
            }
            waits
        }
    });
    work();
    stop.store(true, Ordering::Relaxed);
    let mut waits = client.join().expect("it only reads and writes");
    waits.sort_by(f64::total_cmp);
    Wait {
        longest: waits[waits.len() - 1],
        p999: waits[waits.len() * 999 / 1000],
    }
}

/// Fills the keyspace: each key twice as often as there are keys, so that nearly all come to be.
fn grow(server: &Server, benchmark: &Path, keys: usize) {
    let mut command = match servers::on_path("taskset") {
        Some(taskset) => {
            let mut command = Command::new(taskset);
            command.args(["-c", "1"]).arg(benchmark);
            command
        }
        None => Command::new(benchmark),
    };
    let status = command
        .args(["-p", &server.port.to_string(), "-t", "set", "-q"])
        .args(["-n", &(2 * keys).to_string(), "-r", &keys.to_string()])
        .args(["-d", &VALUE.to_string(), "-P", "16", "-c", "10"])
        .stdout(Stdio::null())
        .status();
    assert!(status.expect("redis-benchmark runs").success());
}

/// Changes keys until `is_done` says so.
fn write_until(server: &Server, keys: usize, mut is_done: impl FnMut() -> bool) {
    let mut stream = server.connect();
    let mut number = 0usize;
    let mut replies = vec![0; "+OK\r\n".len() * WRITES];
    while !is_done() {
        let mut commands = Vec::new();
        for _ in 0..WRITES {
            let key = number.wrapping_mul(7919) % keys;
            let value = number;
            write!(
                commands,
                "*3\r\n$3\r\nSET\r\n$16\r\nkey:{key:012}\r\n${VALUE}\r\n{value:0VALUE$}\r\n"
            )
            .expect("a buffer takes all");
            number += 1;
        }
        stream.write_all(&commands).expect("connected");
        stream.read_exact(&mut replies).expect("replies");
        thread::sleep(WRITES_PAUSE);
    }
}

fn ask(stream: &mut TcpStream, command: &str) -> String {
    stream.write_all(command.as_bytes()).expect("connected");
    let mut space = vec![0; 64 * 1024];
    let len = stream.read(&mut space).expect("a reply");
    String::from_utf8_lossy(&space[..len]).into_owned()
}

fn measure(path: &Path, benchmark: &Path, keys: usize) -> (String, [Wait; 3]) {
    let server = Server::start(path);
    let pin = |cores: &str| {
        let id = server.id().to_string();
        let words = ["-a", "-c", "-p", cores, &id];
        let _ = Command::new("taskset").args(words).output(); // not there: not pinned
    };
    pin("0");
    let growth = watch(&server, || grow(&server, benchmark, keys));
    let cores = thread::available_parallelism().map_or(1, usize::from);
    pin(&format!("0-{}", cores - 1));
    let without = watch(&server, || {
        let end = Instant::now() + WITHOUT;
        write_until(&server, keys, || Instant::now() >= end);
    });
    let mut stream = server.connect();
    let saving = watch(&server, || {
        let reply = ask(&mut stream, "BGSAVE\r\n");
        assert!(reply.starts_with('+'), "{reply}");
        let mut turn = 0;
        write_until(&server, keys, || {
            turn += 1;
            // Not each time: what INFO costs is not what is measured.
            turn % 20 == 0
                && ask(&mut stream, "INFO persistence\r\n").contains("rdb_bgsave_in_progress:0")
        });
    });
    (server.name.clone(), [growth, without, saving])
}

fn main() {
    let keys = std::env::args().skip(1).find_map(|arg| arg.parse().ok());
    let keys = keys.unwrap_or(3_000_000);
    let Some(benchmark) = servers::redis_benchmark() else {
        return;
    };
    let paths = servers::paths();
    let mut names = vec![String::new(); paths.len()];
    let mut figures = vec![Vec::new(); paths.len()];
    for round in 0..ROUNDS {
        for index in order(round, paths.len()) {
            let (name, waits) = measure(&paths[index], &benchmark, keys);
            names[index] = name;
            figures[index].push(waits);
        }
    }
    println!("{keys} keys; milliseconds, median of {ROUNDS} rounds");
    println!("| phase | server | longest reply | 99.9th percentile |");
    println!("|---|---|---:|---:|");
    for (phase, name) in PHASES.iter().enumerate() {
        for (server, rounds) in names.iter().zip(&figures) {
            let of = |figure: fn(&Wait) -> f64| {
                median(rounds.iter().map(|waits| figure(&waits[phase])).collect())
            };
            let (longest, p999) = (of(|wait| wait.longest), of(|wait| wait.p999));
            println!("| {name} | {server} | {longest:.2} | {p999:.2} |");
        }
    }
}
