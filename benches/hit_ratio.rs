//! Bench: how often a cache that evicts finds what it is asked for, beside real servers.
//!
//!     cargo bench --bench hit_ratio [-- SECONDS [POLICY]]         300, and all of them, without
//!
//! Drives Retrace and its peers (see `servers`) with the same accesses: keys drawn from a Zipf distribution by a generator
//! with a fixed seed, read, and written when they were missing. Each server gets the memory in which it holds the same
//! number of keys, so that the figures compare decisions, not bytes.
//!
//! Servers remember the last use by the second, so the accesses come at a pace at which a key stays for many seconds:
//! as fast as possible, every key would have been used this second, and one as good as another. Every row and server
//! has a process of its own, and all run at the same time. What is printed is the share of reads that found their key,
//! after a first tenth, and how many keys were held on average.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and talks to them"
)]

mod servers;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

use servers::Server;

/// Different keys, and how many of them fit.
const KEYS: usize = 100_000;
const FITTING: usize = 10_000;

/// The exponent of the distribution: the n-th key is drawn 1 / n^EXPONENT times as often as the first.
const EXPONENT: f64 = 0.99;

const SECONDS: u64 = 300;
const ACCESSES_A_SECOND: usize = 2000;

/// Accesses before the pace begins, which fill the cache. From the second half of these on, up to the end of the first
/// tenth of the others, the limit is corrected after so many.
const FILLING: usize = 200_000;
const CORRECTING: usize = 2000;

/// Reads that are sent together.
const BATCH: usize = 20;

/// Long enough that what a server needs beside values makes little difference.
const VALUE_LEN: usize = 400;

const ROWS: &[(&str, u32)] = &[
    ("allkeys-lru", 5),
    ("allkeys-lru", 10),
    ("allkeys-lfu", 5),
    ("allkeys-lfu", 10),
    ("allkeys-random", 5),
];

struct Client {
    stream: BufReader<TcpStream>,
    value: String,
    zipf: Zipf,
}

impl Client {
    fn send(&mut self, lines: &str) {
        let stream = self.stream.get_mut();
        stream.write_all(lines.as_bytes()).expect("it takes it");
    }

    /// One reply; none for a null.
    fn read(&mut self) -> Option<String> {
        let mut line = String::new();
        self.stream.read_line(&mut line).expect("a reply");
        assert!(!line.starts_with('-'), "{line}");
        let Some(len) = line.strip_prefix('$') else {
            return Some(line.trim_end().to_owned());
        };
        let len = usize::try_from(len.trim_end().parse::<i64>().expect("a length")).ok()?;
        let mut body = vec![0; len + 2];
        self.stream.read_exact(&mut body).expect("a whole reply");
        body.truncate(len);
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n"));
        self.read().unwrap_or_default()
    }

    fn used_memory(&mut self) -> f64 {
        let text = self.ask("INFO memory");
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix("used_memory:"));
        value
            .and_then(|value| value.parse().ok())
            .expect("a figure")
    }

    fn keys_held(&mut self) -> f64 {
        let reply = self.ask("DBSIZE");
        reply.trim_start_matches(':').parse().expect("a number")
    }

    /// Reads a batch of keys and writes those that were missing; says how many were there.
    fn access(&mut self) -> usize {
        let keys: Vec<usize> = (0..BATCH).map(|_| self.zipf.next()).collect();
        let gets = keys.iter().map(|key| format!("GET key:{key}\r\n"));
        let text: String = gets.collect();
        self.send(&text);
        let mut missing = Vec::new();
        for key in &keys {
            if self.read().is_none() && !missing.contains(key) {
                missing.push(*key);
            }
        }
        let value = &self.value;
        let sets = missing
            .iter()
            .map(|key| format!("SET key:{key} {value}\r\n"));
        let text: String = sets.collect();
        self.send(&text);
        for _ in &missing {
            self.read();
        }
        BATCH - missing.len()
    }
}

/// The accesses: the same ones for every server.
struct Zipf {
    cumulated: Vec<f64>,
    state: u64,
}

impl Zipf {
    fn new() -> Zipf {
        let mut sum = 0.0;
        let cumulated = (1..=KEYS).map(|n| {
            sum += (n as f64).powf(-EXPONENT);
            sum
        });
        Zipf {
            cumulated: cumulated.collect(),
            state: 0x9e37_79b9_7f4a_7c15,
        }
    }

    fn next(&mut self) -> usize {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        let share = (self.state >> 11) as f64 / (1u64 << 53) as f64;
        let wanted = share * self.cumulated[KEYS - 1];
        self.cumulated
            .partition_point(|sum| *sum < wanted)
            .min(KEYS - 1)
    }
}

/// The share of reads that found their key, in percent, and how many keys there were.
fn measure(path: &Path, (policy, samples): (&str, u32), seconds: u64) -> (f64, f64) {
    let server = Server::start(path);
    let mut client = Client {
        stream: BufReader::new(server.connect()),
        value: "v".repeat(VALUE_LEN),
        zipf: Zipf::new(),
    };
    client.ask(&format!("CONFIG SET maxmemory-policy {policy}"));
    client.ask(&format!("CONFIG SET maxmemory-samples {samples}"));
    let mut limit = Limit::guess(&mut client);
    for done in (0..FILLING).step_by(BATCH) {
        if done >= FILLING / 2 && done % CORRECTING == 0 {
            limit.correct(&mut client);
        }
        client.access();
    }

    let accesses = seconds as usize * ACCESSES_A_SECOND;
    let start = Instant::now();
    let (mut hits, mut reads, mut held) = (0, 0, Vec::new());
    for done in (0..accesses).step_by(BATCH) {
        let due = Duration::from_secs_f64(done as f64 / ACCESSES_A_SECOND as f64);
        std::thread::sleep(due.saturating_sub(start.elapsed()));
        let found = client.access();
        if done < accesses / 10 {
            if done % CORRECTING == 0 {
                limit.correct(&mut client);
            }
            continue;
        }
        hits += found;
        reads += BATCH;
        if done % ACCESSES_A_SECOND == 0 {
            held.push(client.keys_held());
        }
    }
    let mean = held.iter().sum::<f64>() / held.len() as f64;
    (hits as f64 * 100.0 / reads as f64, mean)
}

/// The limit at which a server holds [`FITTING`] keys: guessed from what as many keys take, then corrected.
struct Limit {
    bytes: f64,
    bytes_a_key: f64,
}

impl Limit {
    fn guess(client: &mut Client) -> Limit {
        let empty = client.used_memory();
        while client.keys_held() < FITTING as f64 {
            client.access();
        }
        let bytes = client.used_memory();
        let limit = Limit {
            bytes,
            bytes_a_key: (bytes - empty) / FITTING as f64,
        };
        client.ask(&format!("CONFIG SET maxmemory {bytes:.0}"));
        limit
    }

    fn correct(&mut self, client: &mut Client) {
        let missing = FITTING as f64 - client.keys_held();
        self.bytes += missing * self.bytes_a_key / 2.0;
        client.ask(&format!("CONFIG SET maxmemory {:.0}", self.bytes));
    }
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let seconds = numbers.next().unwrap_or(SECONDS);
    let policy = std::env::args()
        .skip(1)
        .find(|arg| arg.starts_with("allkeys"));
    let is_wanted = |row: &&(&str, u32)| policy.as_ref().is_none_or(|policy| policy == row.0);
    let rows: Vec<_> = ROWS.iter().filter(is_wanted).collect();
    let paths = servers::paths();
    let figures = std::thread::scope(|scope| {
        let start = |row| {
            let runs = paths
                .iter()
                .map(|path| scope.spawn(move || measure(path, row, seconds)));
            runs.collect::<Vec<_>>()
        };
        let runs: Vec<Vec<_>> = rows.iter().map(|row| start(**row)).collect();
        let join = |run: std::thread::ScopedJoinHandle<'_, _>| run.join().expect("a figure");
        let runs = runs.into_iter();
        runs.map(|row| row.into_iter().map(join).collect::<Vec<_>>())
            .collect::<Vec<_>>()
    });
    print!("| hits, % (keys held) | samples |");
    for path in &paths {
        let name = path.file_name().unwrap_or_default();
        print!(" {} |", name.to_string_lossy());
    }
    println!("\n|---|---:|{}", "---:|".repeat(paths.len()));
    for (row, figures) in rows.iter().zip(figures) {
        print!("| {} | {} |", row.0, row.1);
        for (share, keys) in figures {
            print!(" {share:.2} ({keys:.0}) |");
        }
        println!();
    }
}
