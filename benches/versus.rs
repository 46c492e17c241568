//! Bench: side by side with real servers, through redis-benchmark.
//!
//!     cargo bench --bench versus [-- WORD]         WORD: only rows whose name holds it
//!
//! Drives Retrace and each of the servers on `PATH` (`redis-server`, `valkey-server`), or those that `RETRACE_PEERS` names
//! (paths, separated by colons), in turn and in alternating order, and prints requests per second: the median of the rounds.
//! Only ratios from one run mean anything.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and measures time"
)]

use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;

/// Name, arguments of redis-benchmark, requests.
const ROWS: &[(&str, &str, u32)] = &[
    ("PING P1", "-t ping_mbulk -P 1", 100_000),
    ("SET P1", "-t set -r 1000000 -P 1", 100_000),
    ("GET P1", "-t get -r 1000000 -P 1", 100_000),
    ("SET P16", "-t set -r 1000000 -P 16", 1_000_000),
    ("GET P16", "-t get -r 1000000 -P 16", 1_000_000),
    ("INCR P16", "-t incr -r 1000000 -P 16", 1_000_000),
    ("MSET(10) P16", "-t mset -r 1000000 -P 16", 200_000),
    ("SET P64", "-t set -r 1000000 -P 64", 2_000_000),
    ("GET P64", "-t get -r 1000000 -P 64", 2_000_000),
    ("SET 4KiB P16", "-t set -r 10000 -d 4096 -P 16", 200_000),
    ("GET 4KiB P16", "-t get -r 10000 -d 4096 -P 16", 200_000),
    (
        "SET EX P16",
        "-r 1000000 -P 16 SET key:__rand_int__ xyz EX 1000",
        1_000_000,
    ),
];

struct Server {
    name: String,
    child: Child,
    port: u16,
}

impl Server {
    fn start(path: &Path) -> Server {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let child = Command::new(path)
            .args([
                "--port",
                &port.to_string(),
                "--save",
                "",
                "--appendonly",
                "no",
            ])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            assert!(
                Instant::now() < deadline,
                "{} does not listen",
                path.display()
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        let name = path
            .file_name()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Server { name, child, port }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Requests per second.
fn measure(benchmark: &Path, server: &Server, args: &str, requests: u32) -> f64 {
    let (options, command) = match args.find(" SET ") {
        Some(at) => args.split_at(at),
        None => (args, ""),
    };
    let output = Command::new(benchmark)
        .args([
            "-p",
            &server.port.to_string(),
            "-n",
            &requests.to_string(),
            "--csv",
        ])
        .args(options.split_whitespace())
        .args(command.split_whitespace())
        .output()
        .expect("redis-benchmark runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let figure = text
        .lines()
        .last()
        .and_then(|line| line.split("\",\"").nth(1)?.trim_matches('"').parse().ok());
    figure.unwrap_or_else(|| panic!("{}: {args}: {text}", server.name))
}

fn main() {
    let only = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .unwrap_or_default();
    let peers: Vec<PathBuf> = match std::env::var_os("RETRACE_PEERS") {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => ["redis-server", "valkey-server"]
            .iter()
            .filter_map(|name| on_path(name))
            .collect(),
    };
    let beside = peers
        .iter()
        .filter_map(|peer| Some(peer.parent()?.join("redis-benchmark")))
        .find(|path| path.is_file());
    let Some(benchmark) = beside.or_else(|| on_path("redis-benchmark")) else {
        println!("SKIPPED: no redis-benchmark on PATH, nor beside what RETRACE_PEERS names");
        return;
    };
    let mut servers = vec![Server::start(Path::new(env!("CARGO_BIN_EXE_retrace")))];
    servers.extend(peers.iter().map(|path| Server::start(path)));

    print!("| requests/s |");
    servers
        .iter()
        .for_each(|server| print!(" {} |", server.name));
    println!(" ratio to the best peer |");
    println!("|---|{}", "---:|".repeat(servers.len() + 1));
    for (name, args, requests) in ROWS.iter().filter(|(name, ..)| name.contains(&only)) {
        let mut figures = vec![Vec::new(); servers.len()];
        for round in 0..ROUNDS {
            let mut order: Vec<usize> = (0..servers.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                figures[index].push(measure(&benchmark, &servers[index], args, *requests));
            }
        }
        let medians: Vec<f64> = figures
            .into_iter()
            .map(|mut rounds| {
                rounds.sort_by(f64::total_cmp);
                rounds[ROUNDS / 2]
            })
            .collect();
        print!("| {name} |");
        medians.iter().for_each(|rate| print!(" {rate:.0} |"));
        match medians[1..].iter().copied().reduce(f64::max) {
            Some(best) => println!(" {:.2} |", medians[0] / best),
            None => println!(" - |"),
        }
    }
}
