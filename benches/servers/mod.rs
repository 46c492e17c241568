//! Servers that benches drive side by side: this one, and real ones.
//!
//! The real ones are those on `PATH` (`redis-server`, `valkey-server`), or those that `RETRACE_PEERS` names (paths, separated
//! by colons). `RETRACE_SERVER` names another build of this one than cargo's own. `RETRACE_BENCH_ARGS` holds more words for
//! the command line of each, such as `--appendonly yes`.
#![allow(dead_code, reason = "each bench uses its own part")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// Tries to start a server on a port that nobody else has.
const STARTS: usize = 5;

/// A server that runs until this is dropped.
pub struct Server {
    pub name: String,
    child: Child,
    pub port: u16,
    /// Where its files go, if it has any.
    _dir: TempDir,
}

impl Server {
    /// Starts it on a free port, without files of data unless `RETRACE_BENCH_ARGS` says so, and waits until it listens.
    pub fn start(path: &Path) -> Server {
        // A port that was free may have gone to another server by then, which would answer in the place of this one, and
        // end under the hands of its client.
        for _ in 0..STARTS {
            if let Some(server) = Server::try_start(path) {
                return server;
            }
        }
        panic!("{}: it does not listen", path.display());
    }

    fn try_start(path: &Path) -> Option<Server> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = free.expect("a free port").port();
        let dir = TempDir::new().expect("a folder for files");
        let more = std::env::var("RETRACE_BENCH_ARGS").unwrap_or_default();
        let child = Command::new(path)
            .args(["--port", &port.to_string()])
            .args(["--save", "", "--appendonly", "no", "--dir"])
            .arg(dir.path())
            .args(more.split_whitespace())
            .stdout(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let mut server = Server {
            name: name.into_owned(),
            child,
            port,
            _dir: dir,
        };
        let deadline = Instant::now() + Duration::from_secs(20);
        while Instant::now() < deadline {
            match server.process_id() {
                Some(id) if id == server.child.id() => return Some(server),
                Some(_) => return None,
                None if !matches!(server.child.try_wait(), Ok(None)) => return None,
                None => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        None
    }

    /// The process that answers at the port, if one does.
    fn process_id(&self) -> Option<u32> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        // With nobody at the port, the kernel may connect a stream with itself.
        if stream.local_addr().ok()? == stream.peer_addr().ok()? {
            return None;
        }
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"INFO server\r\nQUIT\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let id = text
            .lines()
            .find_map(|line| line.strip_prefix("process_id:"));
        id?.parse().ok()
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }

    /// Nanoseconds that the process has run, all its threads together, where the system tells.
    pub fn cpu_ns(&self) -> Option<u64> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).ok()?;
        let of_task = |path: PathBuf| -> Option<u64> {
            let text = std::fs::read_to_string(path.join("schedstat")).ok()?;
            text.split_whitespace().next()?.parse().ok()
        };
        tasks.map(|task| of_task(task.ok()?.path())).sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This server, and behind it its peers.
pub fn paths() -> Vec<PathBuf> {
    let own = std::env::var_os("RETRACE_SERVER").map(PathBuf::from);
    let own = own.unwrap_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_retrace")));
    let peers: Vec<PathBuf> = match std::env::var_os("RETRACE_PEERS") {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => ["redis-server", "valkey-server"]
            .iter()
            .filter_map(|name| on_path(name))
            .collect(),
    };
    [vec![own], peers].concat()
}

/// All of them, started.
pub fn start_all() -> Vec<Server> {
    paths().iter().map(|path| Server::start(path)).collect()
}

/// The redis-benchmark beside one of the peers, or on `PATH`; says so where there is none.
pub fn redis_benchmark() -> Option<PathBuf> {
    let beside = paths()
        .iter()
        .skip(1)
        .filter_map(|peer| Some(peer.parent()?.join("redis-benchmark")))
        .find(|path| path.is_file());
    let found = beside.or_else(|| on_path("redis-benchmark"));
    if found.is_none() {
        println!("SKIPPED: no redis-benchmark on PATH, nor beside what RETRACE_PEERS names");
    }
    found
}

/// A program on `PATH`.
pub fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Which server's turn it is, round by round: in alternating order, so that none is always the first.
pub fn order(round: usize, servers: usize) -> Vec<usize> {
    let order = 0..servers;
    match round % 2 {
        0 => order.collect(),
        _ => order.rev().collect(),
    }
}

pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
