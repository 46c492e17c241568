//! Bench: how often a cache that evicts finds what it is asked for, beside real servers.
//!
//!     cargo bench --bench hit_ratio [-- ACCESSES]
//!
//! Drives Retrace and each of the servers on `PATH` (`redis-server`, `valkey-server`), or those that `RETRACE_PEERS` names
//! (paths, separated by colons), with the same accesses: keys drawn from a Zipf distribution by a generator with a fixed
//! seed, read, and written when they were missing. Each server gets the memory in which it holds the same number of keys, so
//! that the figures compare decisions, not bytes. What is printed is the share of reads that found their key, after a
//! first tenth that fills the cache.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and talks to them"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Different keys, and how many of them fit.
const KEYS: usize = 100_000;
const FITTING: usize = 10_000;

/// The exponent of the distribution: the n-th key is drawn 1 / n^EXPONENT times as often as the first.
const EXPONENT: f64 = 0.99;

const ACCESSES: usize = 1_000_000;

/// Reads that are sent together.
const BATCH: usize = 32;

const VALUE: &str = "0123456789abcdefghijklmnopqrstuvwxyz0123456789abcdefghijklmnopqr";

const ROWS: &[(&str, u32)] = &[
    ("allkeys-lru", 5),
    ("allkeys-lru", 10),
    ("allkeys-lfu", 5),
    ("allkeys-lfu", 10),
    ("allkeys-random", 5),
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
            .args(["--port", &port.to_string(), "--save", ""])
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Server {
            name: name.into_owned(),
            child,
            port,
        }
    }

    fn connect(&self) -> Client {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)) {
                stream.set_nodelay(true).expect("a TCP socket");
                return Client(BufReader::new(stream));
            }
            assert!(Instant::now() < deadline, "{} does not listen", self.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, lines: &str) {
        self.0
            .get_mut()
            .write_all(lines.as_bytes())
            .expect("the server takes it");
    }

    /// One reply; none for a null.
    fn read(&mut self) -> Option<String> {
        let mut line = String::new();
        self.0.read_line(&mut line).expect("a reply");
        assert!(!line.starts_with('-'), "{line}");
        let Some(len) = line.strip_prefix('$') else {
            return Some(line.trim_end().to_owned());
        };
        let len = usize::try_from(len.trim_end().parse::<i64>().expect("a length")).ok()?;
        let mut body = vec![0; len + 2];
        self.0.read_exact(&mut body).expect("a whole reply");
        body.truncate(len);
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    fn ask(&mut self, line: &str) -> String {
        self.send(&format!("{line}\r\n"));
        self.read().unwrap_or_default()
    }

    fn figure(&mut self, name: &str) -> u64 {
        let text = self.ask("INFO memory");
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        value
            .and_then(|value| value.parse().ok())
            .expect("a figure")
    }

    /// Empties the server, and waits for the memory.
    fn empty(&mut self) {
        self.ask("CONFIG SET maxmemory 0");
        self.ask("FLUSHALL SYNC");
        while self.figure("lazyfree_pending_objects") > 0 {
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn write_all(&mut self, keys: impl Iterator<Item = usize>) {
        let mut text = String::new();
        let mut count = 0;
        for key in keys {
            text.push_str(&format!("SET key:{key} {VALUE}\r\n"));
            count += 1;
        }
        self.send(&text);
        for _ in 0..count {
            self.read();
        }
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

/// The limit at which a server that evicts holds [`FITTING`] keys: guessed, tried and corrected.
fn limit_for_fitting(client: &mut Client) -> u64 {
    client.empty();
    let empty = client.figure("used_memory");
    for start in (0..FITTING).step_by(100) {
        client.write_all(start..start + 100);
    }
    let mut limit = client.figure("used_memory");
    for _ in 0..6 {
        client.empty();
        client.ask("CONFIG SET maxmemory-policy allkeys-random");
        client.ask(&format!("CONFIG SET maxmemory {limit}"));
        for start in (0..4 * FITTING).step_by(BATCH) {
            client.write_all(start..start + BATCH);
        }
        let held = client.ask("DBSIZE");
        let held: f64 = held.trim_start_matches(':').parse().expect("a number");
        let each = (limit - empty) as f64 / held;
        limit = (limit as f64 + (FITTING as f64 - held) * each) as u64;
    }
    limit
}

/// The share of reads that found their key, in percent, and how many keys there are at the end.
fn measure(server: &Server, (policy, samples): (&str, u32), accesses: usize) -> (f64, String) {
    let mut client = server.connect();
    let limit = limit_for_fitting(&mut client);
    client.empty();
    client.ask(&format!("CONFIG SET maxmemory-policy {policy}"));
    client.ask(&format!("CONFIG SET maxmemory-samples {samples}"));
    client.ask(&format!("CONFIG SET maxmemory {limit}"));
    let mut zipf = Zipf::new();
    let (mut hits, mut reads) = (0, 0);
    for batch in 0..accesses / BATCH {
        let keys: Vec<usize> = (0..BATCH).map(|_| zipf.next()).collect();
        let text: String = keys
            .iter()
            .map(|key| format!("GET key:{key}\r\n"))
            .collect();
        client.send(&text);
        let mut missing = Vec::new();
        for key in &keys {
            if client.read().is_none() && !missing.contains(key) {
                missing.push(*key);
            }
        }
        if batch * BATCH > accesses / 10 {
            hits += BATCH - missing.len();
            reads += BATCH;
        }
        client.write_all(missing.into_iter());
    }
    (hits as f64 * 100.0 / reads as f64, client.ask("DBSIZE"))
}

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let accesses = numbers.next().unwrap_or(ACCESSES);
    let peers: Vec<PathBuf> = match std::env::var_os("RETRACE_PEERS") {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => ["redis-server", "valkey-server"]
            .iter()
            .filter_map(|name| on_path(name))
            .collect(),
    };
    let own = std::env::var_os("RETRACE_SERVER").map(PathBuf::from);
    let own = own.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_retrace")));
    let mut servers = vec![Server::start(&own)];
    servers.extend(peers.iter().map(|path| Server::start(path)));
    print!("| hits, % (keys held) | samples |");
    servers
        .iter()
        .for_each(|server| print!(" {} |", server.name));
    println!("\n|---|---:|{}", "---:|".repeat(servers.len()));
    for row in ROWS {
        print!("| {} | {} |", row.0, row.1);
        for server in &servers {
            let (share, keys) = measure(server, *row, accesses);
            print!(" {share:.2} ({}) |", keys.trim_start_matches(':'));
        }
        println!();
    }
}
