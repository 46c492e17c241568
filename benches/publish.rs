//! Bench: one publisher, many subscribers, side by side with real servers.
//!
//!     cargo bench --bench publish [-- SUBSCRIBERS [MESSAGES]]         1000 and 5000 without
//!
//! Starts Retrace and its peers (see `servers`). To each in turn a publisher sends messages of 100 bytes, one at a time and in pipelines of
//! 16, and the time is taken until every subscriber has read all of them. Printed are messages a second and, where the system
//! tells it, the server's CPU time for each delivery: the median of the rounds. Only ratios from one run mean anything.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and measures time"
)]

mod servers;

use std::io::{ErrorKind, Read, Write};
use std::time::Instant;

use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use servers::{Server, median, order};

const ROUNDS: usize = 3;
const DEPTHS: [usize; 2] = [1, 16];
const PAYLOAD: usize = 100;
const CHANNEL: &str = "news";

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
    let servers = servers::start_all();
    println!("{subscribers} subscribers, {messages} messages of {PAYLOAD} bytes");
    println!("| server | pipeline | messages/s | server CPU ns/delivery |");
    println!("|---|---:|---:|---:|");
    for depth in DEPTHS {
        let mut figures = vec![(Vec::new(), Vec::new()); servers.len()];
        for round in 0..ROUNDS {
            for index in order(round, servers.len()) {
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
