//! Bench: one publisher, many subscribers, side by side with real servers.
//!
//!     cargo bench --bench publish [-- SUBSCRIBERS [MESSAGES]]         1000 and 5000 without
//!
//! Starts Retrace and each of the servers on `PATH` (`redis-server`, `valkey-server`), or those that `RETRACE_PEERS` names
//! (paths, separated by colons). To each in turn a publisher sends messages of 100 bytes, one at a time and in pipelines of
//! 16, and the time is taken until every subscriber has read all of them. Printed are messages a second and, where the system
//! tells it, the server's CPU time for each delivery: the median of the rounds. Only ratios from one run mean anything.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and measures time"
)]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const ROUNDS: usize = 3;
const DEPTHS: [usize; 2] = [1, 16];
const PAYLOAD: usize = 100;
const CHANNEL: &str = "news";

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
        let name = path.file_name();
        let name = name.map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        Server { name, child, port }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).expect("it listens");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }

    /// Nanoseconds that the process has run, all its threads together.
    fn cpu_ns(&self) -> Option<u64> {
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

fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file())
}

/// Connections that listen, in one poll.
struct Listeners {
    poll: Poll,
    streams: Vec<mio::net::TcpStream>,
}

impl Listeners {
    fn subscribe(server: &Server, count: usize) -> Listeners {
        let poll = Poll::new().expect("a poll");
        let mut streams = Vec::new();
        for token in 0..count {
            let mut stream = server.connect();
            let command = format!("SUBSCRIBE {CHANNEL}\r\n");
            stream.write_all(command.as_bytes()).expect("connected");
            let confirmation = format!("*3\r\n$9\r\nsubscribe\r\n$4\r\n{CHANNEL}\r\n:1\r\n");
            let mut read = vec![0; confirmation.len()];
            stream.read_exact(&mut read).expect("a confirmation");
            assert_eq!(read, confirmation.as_bytes());
            stream.set_nonblocking(true).expect("a socket");
            let mut stream = mio::net::TcpStream::from_std(stream);
            let registry = poll.registry();
            registry
                .register(&mut stream, Token(token), Interest::READABLE)
                .expect("registered once");
            streams.push(stream);
        }
        Listeners { poll, streams }
    }

    /// Reads until so many bytes have come to all of them together.
    fn read(&mut self, mut left: usize) {
        let mut events = Events::with_capacity(1024);
        let mut space = vec![0; 256 * 1024];
        while left > 0 {
            self.poll.poll(&mut events, None).expect("a poll");
            for event in &events {
                let stream = &mut self.streams[event.token().0];
                loop {
                    match stream.read(&mut space) {
                        Ok(0) => panic!("a subscriber was cut off"),
                        Ok(len) => left -= len,
                        Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        }
    }
}

/// Messages a second, and nanoseconds of the server's CPU for each delivery.
fn measure(
    server: &Server,
    subscribers: usize,
    messages: usize,
    depth: usize,
) -> (f64, Option<f64>) {
    let mut listeners = Listeners::subscribe(server, subscribers);
    let mut publisher = server.connect();
    let payload = "x".repeat(PAYLOAD);
    let command = format!(
        "*3\r\n$7\r\nPUBLISH\r\n${}\r\n{CHANNEL}\r\n${PAYLOAD}\r\n{payload}\r\n",
        CHANNEL.len()
    );
    let message = format!(
        "*3\r\n$7\r\nmessage\r\n${}\r\n{CHANNEL}\r\n${PAYLOAD}\r\n{payload}\r\n",
        CHANNEL.len()
    );
    let reply = format!(":{subscribers}\r\n");
    let messages = messages / depth * depth;
    let (cpu, start) = (server.cpu_ns(), Instant::now());
    let thread = std::thread::spawn(move || {
        let commands = command.repeat(depth);
        let mut replies = vec![0; reply.len() * depth];
        for _ in 0..messages / depth {
            publisher.write_all(commands.as_bytes()).expect("connected");
            publisher.read_exact(&mut replies).expect("replies");
            assert!(replies.starts_with(reply.as_bytes()));
        }
    });
    listeners.read(message.len() * messages * subscribers);
    let elapsed = start.elapsed();
    thread.join().expect("all is published");
    let cpu = server
        .cpu_ns()
        .zip(cpu)
        .map(|(after, before)| after - before);
    let deliveries = (messages * subscribers) as f64;
    (
        messages as f64 / elapsed.as_secs_f64(),
        cpu.map(|ns| ns as f64 / deliveries),
    )
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    let mut numbers = std::env::args().skip(1).filter_map(|arg| arg.parse().ok());
    let subscribers = numbers.next().unwrap_or(1000);
    let messages = numbers.next().unwrap_or(5000);
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised); // with too few files, connecting says so
    let peers: Vec<PathBuf> = match std::env::var_os("RETRACE_PEERS") {
        Some(paths) => std::env::split_paths(&paths).collect(),
        None => ["redis-server", "valkey-server"]
            .iter()
            .filter_map(|name| on_path(name))
            .collect(),
    };
    let mut servers = vec![Server::start(Path::new(env!("CARGO_BIN_EXE_retrace")))];
    servers.extend(peers.iter().map(|path| Server::start(path)));
    println!("{subscribers} subscribers, {messages} messages of {PAYLOAD} bytes");
    println!("| server | pipeline | messages/s | server CPU ns/delivery |");
    println!("|---|---:|---:|---:|");
    for depth in DEPTHS {
        let mut figures = vec![(Vec::new(), Vec::new()); servers.len()];
        for round in 0..ROUNDS {
            let mut order: Vec<usize> = (0..servers.len()).collect();
            if round % 2 == 1 {
                order.reverse();
            }
            for index in order {
                let (rate, cpu) = measure(&servers[index], subscribers, messages, depth);
                figures[index].0.push(rate);
                figures[index].1.extend(cpu);
            }
        }
        for (server, (rates, cpus)) in servers.iter().zip(figures) {
            let cpu = match cpus.is_empty() {
                true => "-".to_owned(),
                false => format!("{:.0}", median(cpus)),
            };
            let rate = median(rates);
            println!("| {} | {depth} | {rate:.0} | {cpu} |", server.name);
        }
    }
}
