//! Bench: how long servers take to load files of data.
//!
//!     cargo bench --bench load [-- WORD]           WORD: only rows whose name holds it
//!
//! The first of the real servers on `PATH` (`redis-server`, `valkey-server`), or of those that `RETRACE_PEERS` names (paths,
//! separated by colons), makes the files; `RETRACE_FILES` is a folder where they are kept for the next time,
//! and `RETRACE_SERVER` another build of Retrace. It and each of the real servers load a copy, in turn and in alternating
//! order. Printed are the median of the seconds that the log tells, and of the time on the processor from the start of the
//! process until then. Only ratios from one run mean anything.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and measures time"
)]

mod servers;

use std::fs;
use std::io::{BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use servers::{median, order};

const ROUNDS: usize = 5;
/// Requests that are sent at once.
const BATCH: usize = 1000;
/// Of a file and a start, whatever the machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// What a server is told so that its files are as at the default, and no others come to be.
const ARGS: &[&str] = &["--port", "0", "--save", "", "--loglevel", "notice"];

/// Makes the arguments of one request by its number.
type Make = fn(usize) -> Vec<String>;

/// Name, number of requests, requests.
const ROWS: &[(&str, usize, Make)] = &[
    ("1M strings", 1_000_000, |number| {
        let value = format!("value:{number:026}");
        vec!["SET".to_owned(), format!("key:{number:012}"), value]
    }),
    ("100k hashes of 10 fields", 100_000, |number| {
        let mut args = vec!["HSET".to_owned(), format!("hash:{number:06}")];
        for field in 0..10 {
            args.extend([format!("field:{field}"), format!("value:{number}:{field}")]);
        }
        args
    }),
    ("a sorted set of 1M members", 1_000_000, |number| {
        // Scores in no order.
        let score = number.wrapping_mul(0x9e37_79b1) % 1_000_003;
        let member = format!("member:{number:08}");
        vec![
            "ZADD".to_owned(),
            "zset".to_owned(),
            score.to_string(),
            member,
        ]
    }),
];

struct Server {
    child: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(path: &Path, dir: &Path, has_aof: bool) -> Server {
        let socket = dir.join("socket");
        let appends = if has_aof { "yes" } else { "no" };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        // Valkey looks at the version of Redis' files before it looks at what is in them.
        let relaxed = match name.contains("valkey") {
            true => &["--rdb-version-check", "relaxed"][..],
            false => &[],
        };
        let child = Command::new(path)
            .args(ARGS)
            .args(relaxed)
            .args(["--appendonly", appends])
            .arg("--dir")
            .arg(dir)
            .arg("--unixsocket")
            .arg(&socket)
            .arg("--logfile")
            .arg(dir.join("log"))
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        Server { child }
    }

    /// Waits for a line of the log; returns what follows `mark` in it.
    fn wait_for(&self, dir: &Path, mark: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let log = fs::read_to_string(dir.join("log")).unwrap_or_default();
            let mut lines = log.lines().filter_map(|line| line.split_once(mark));
            if let Some((_, rest)) = lines.next() {
                return rest.to_owned();
            }
            assert!(Instant::now() < deadline, "no '{mark}' in: {log}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Seconds on the processor so far.
    fn cpu_secs(&self) -> f64 {
        let text =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let fields = text
            .rsplit(')')
            .next()
            .unwrap_or_default()
            .split_whitespace();
        let ticks: u64 = fields
            .skip(11)
            .take(2)
            .filter_map(|ticks| ticks.parse::<u64>().ok())
            .sum();
        ticks as f64 / 100.0
    }
}

/// Has a server make the files in `dir`: a snapshot, or the commands as they came.
fn make(server: &Path, dir: &Path, has_aof: bool, requests: usize, make: Make) {
    fs::create_dir_all(dir).expect("a folder");
    let server = Server::start(server, dir, has_aof);
    server.wait_for(dir, "Ready to accept connections");
    let mut socket = UnixStream::connect(dir.join("socket")).expect("it listens");
    let mut replies = BufReader::new(socket.try_clone().expect("a second handle"));
    let mut send = |requests: &[Vec<String>]| {
        let mut bytes = Vec::new();
        for args in requests {
            write!(bytes, "*{}\r\n", args.len()).expect("memory");
            for arg in args {
                write!(bytes, "${}\r\n{arg}\r\n", arg.len()).expect("memory");
            }
        }
        socket.write_all(&bytes).expect("it reads");
        // All replies are lines.
        let (mut lines, mut byte) = (0, [0]);
        while lines < requests.len() {
            replies.read_exact(&mut byte).expect("it answers");
            assert_ne!(byte[0], b'-', "a request is refused");
            if byte[0] == b'\n' {
                lines += 1;
            }
        }
    };
    let mut done = 0;
    while done < requests {
        let until = (done + BATCH).min(requests);
        let batch: Vec<Vec<String>> = (done..until).map(make).collect();
        send(&batch);
        done = until;
    }
    if !has_aof {
        send(&[vec!["SAVE".to_owned()]]);
    }
    drop(server);
    for name in ["log", "socket"] {
        let _ = fs::remove_file(dir.join(name));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").flatten() {
        let target = to.join(entry.file_name());
        match entry.path().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).expect("a file")),
        }
    }
}

/// Seconds that a server says it took, and those on the processor.
fn measure(server: &Path, files: &Path, has_aof: bool) -> (f64, f64) {
    let dir = tempfile::tempdir().expect("a folder");
    copy(files, dir.path());
    let server = Server::start(server, dir.path(), has_aof);
    let mark = match has_aof {
        true => "DB loaded from append only file: ",
        false => "DB loaded from disk: ",
    };
    let rest = server.wait_for(dir.path(), mark);
    let cpu = server.cpu_secs();
    let secs = rest.split(' ').next().and_then(|secs| secs.parse().ok());
    (secs.expect("a number of seconds"), cpu)
}

fn main() {
    let only = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .unwrap_or_default();
    let servers = servers::paths();
    let Some(maker) = servers.get(1) else {
        println!("SKIPPED: no redis-server or valkey-server on PATH, and RETRACE_PEERS names none");
        return;
    };
    let temporary = tempfile::tempdir().expect("a folder");
    let kept = std::env::var_os("RETRACE_FILES").map(PathBuf::from);
    let root = kept.as_deref().unwrap_or(temporary.path());

    print!("| seconds (on the processor) |");
    for server in &servers {
        let name = server.file_name().unwrap_or_default();
        print!(" {} |", name.to_string_lossy());
    }
    println!(" ratio to the best peer |");
    println!("|---|{}", "---:|".repeat(servers.len() + 1));
    for has_aof in [false, true] {
        for (name, requests, request) in ROWS {
            let kind = if has_aof { "AOF" } else { "RDB" };
            let name = format!("{kind}, {name}");
            if !name.contains(&only) {
                continue;
            }
            let files = root.join(name.replace([' ', ','], "-"));
            if !files.is_dir() {
                make(maker, &files, has_aof, *requests, *request);
            }
            let mut figures = vec![(Vec::new(), Vec::new()); servers.len()];
            for round in 0..ROUNDS {
                for index in order(round, servers.len()) {
                    let (secs, cpu) = measure(&servers[index], &files, has_aof);
                    figures[index].0.push(secs);
                    figures[index].1.push(cpu);
                }
            }
            let medians: Vec<(f64, f64)> = figures
                .into_iter()
                .map(|(secs, cpu)| (median(secs), median(cpu)))
                .collect();
            print!("| {name} |");
            for (secs, cpu) in &medians {
                print!(" {secs:.3} ({cpu:.2}) |");
            }
            let best = |of: fn(&(f64, f64)) -> f64| medians[1..].iter().map(of).reduce(f64::min);
            match (best(|pair| pair.0), best(|pair| pair.1)) {
                (Some(secs), Some(cpu)) => {
                    println!(
                        " x{:.2} (x{:.2}) |",
                        secs / medians[0].0,
                        cpu / medians[0].1
                    );
                }
                _ => println!(" - |"),
            }
        }
    }
}
