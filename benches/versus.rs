//! Bench: side by side with real servers, through redis-benchmark.
//!
//!     cargo bench --bench versus [-- WORD]         WORD: only rows whose name holds it
//!
//! Drives Retrace and its peers (see `servers`) in turn and in alternating order, and prints requests per second and, where
//! the system tells, CPU microseconds of the server for a request: the medians of the rounds. Only ratios from one run mean
//! anything.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and measures time"
)]

mod servers;

use std::path::Path;
use std::process::Command;

use servers::{Server, median, order};

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
    let Some(benchmark) = servers::redis_benchmark() else {
        return;
    };
    let servers = servers::start_all();

    print!("| requests/s (CPU us) |");
    servers
        .iter()
        .for_each(|server| print!(" {} |", server.name));
    println!(" ratio to the best peer (CPU) |");
    println!("|---|{}", "---:|".repeat(servers.len() + 1));
    for (name, args, requests) in ROWS.iter().filter(|(name, ..)| name.contains(&only)) {
        let (mut rates, mut cpu) = (
            vec![Vec::new(); servers.len()],
            vec![Vec::new(); servers.len()],
        );
        for round in 0..ROUNDS {
            for index in order(round, servers.len()) {
                let server = &servers[index];
                let before = server.cpu_ns();
                rates[index].push(measure(&benchmark, server, args, *requests));
                let spent = server
                    .cpu_ns()
                    .zip(before)
                    .map(|(now, before)| now - before);
                let each = spent.map_or(f64::NAN, |spent| spent as f64 / 1000.0);
                cpu[index].push(each / f64::from(*requests));
            }
        }
        let rates: Vec<f64> = rates.into_iter().map(median).collect();
        let cpu: Vec<f64> = cpu.into_iter().map(median).collect();
        print!("| {name} |");
        rates
            .iter()
            .zip(&cpu)
            .for_each(|(rate, cpu)| print!(" {rate:.0} ({cpu:.2}) |"));
        let best = rates[1..].iter().copied().reduce(f64::max);
        match best.zip(cpu[1..].iter().copied().reduce(f64::min)) {
            Some((rate, least)) => println!(" {:.2} ({:.2}) |", rates[0] / rate, cpu[0] / least),
            None => println!(" - |"),
        }
    }
}
