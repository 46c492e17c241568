//! Many clients in random waits of all kinds, against a plain model of who has asked for what.
//!
//! The model is a shell in small: what a client sends lies in its socket until the engine wants it read, a reader that was
//! turned away comes again only when it is named, orders are answered late and in any order, output is taken in pieces.
//! Each request has one reply, and every other one is an ECHO of its number, so that a client that was forgotten, served
//! twice or out of order is seen in what it has read.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::border::{CloseReason, Flush, Input, Order, Peer, Reading};
use crate::config::{Config, EvictionPolicy, Guard, SaveRule};
use crate::engine::bench::Bench;
use crate::state::UnixMicros;
use crate::state::meter::{Finding, Meter};
use crate::state::rng::Rng;

const CLIENTS: usize = 7;
const STEPS: usize = 400;
const KEYS: [&str; 2] = ["list", "other"];

/// One client as it sees itself.
#[derive(Default)]
struct Caller {
    conn: Option<ConnId>,
    /// Sent, and not read by the server.
    socket: Vec<u8>,
    /// A reader was turned away, and nothing will make it come again but the engine.
    turned_away: bool,
    /// By the number of the request, what its ECHO says.
    echoes: BTreeMap<usize, String>,
    sent: usize,
    received: Vec<u8>,
}

struct Model {
    bench: Bench,
    rng: Rng,
    callers: Vec<Caller>,
    /// Tickets of orders that are to be answered, and whether they are to read.
    tickets: Vec<(u64, bool)>,
    /// Reasons that were seen, by name.
    seen: BTreeSet<&'static str>,
    pushed: usize,
}

fn name_of(waiting: &Waiting) -> &'static str {
    match waiting {
        Waiting::Want => "want",
        Waiting::Answer => "answer",
        Waiting::Keys(_) => "keys",
        Waiting::Turn => "turn",
        Waiting::Pause => "pause",
        Waiting::Others => "others",
        Waiting::Save => "save",
        Waiting::Output => "output",
    }
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend_from_slice(format!("${}\r\n{word}\r\n", word.len()).as_bytes());
    }
    bytes
}

/// The length of the reply at the start of `bytes`, if it is whole.
fn reply_len(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || {
        std::str::from_utf8(&bytes[1..line - 2])
            .ok()?
            .parse::<i64>()
            .ok()
    };
    match bytes[0] {
        b'$' => match number()? {
            -1 => Some(line),
            len => (bytes.len() >= line + len as usize + 2).then_some(line + len as usize + 2),
        },
        b'*' => {
            let mut at = line;
            for _ in 0..number()?.max(0) {
                at += reply_len(bytes.get(at..).filter(|rest| !rest.is_empty())?)?;
            }
            Some(at)
        }
        _ => Some(line),
    }
}

impl Model {
    fn new(seed: u64) -> Model {
        let config = Config {
            save: vec![SaveRule {
                seconds: 1_000_000,
                changes: 1_000_000,
            }],
            enable_debug_command: Guard::Yes,
            maxmemory: 1 << 40,
            maxmemory_policy: EvictionPolicy::AllkeysRandom,
            latency_monitor_threshold: 1,
            busy_reply_threshold: 3,
            ..Config::default()
        };
        let mut bench = Bench::new(config);
        bench.engine.server.process.config_file = Some("conf".into());
        bench.engine.server.meter = Meter::replaying();
        let mut model = Model {
            bench,
            rng: Rng::new(seed),
            callers: Vec::new(),
            tickets: Vec::new(),
            seen: BTreeSet::new(),
            pushed: 0,
        };
        for _ in 0..CLIENTS {
            let conn = Some(model.accept());
            model.callers.push(Caller {
                conn,
                ..Caller::default()
            });
        }
        model
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.rng.next_u64() % bound as u64) as usize
    }

    fn accept(&mut self) -> ConnId {
        self.bench.engine.accept(Peer {
            addr: "/s:0".into(),
            local_addr: "/s:0".into(),
            is_unix: true,
            is_local: true,
            fd: 6,
        })
    }

    /// What the shell does behind each Input: wants are served, orders are kept, and who is named is read.
    fn settle(&mut self) {
        loop {
            for caller in &self.callers {
                let client = caller
                    .conn
                    .and_then(|conn| self.bench.engine.server.clients.get(conn));
                self.seen
                    .extend(client.and_then(Client::waiting).map(name_of));
            }
            if let Some(want) = self.bench.engine.poll_want() {
                let step_us = self.below(3000) as i64;
                match want {
                    Want::Reading => self.bench.engine.handle_reading(Reading::default()),
                    Want::Clock | Want::Sleep { .. } => {
                        self.bench.now_us += step_us;
                        self.bench
                            .engine
                            .handle_clock(UnixMicros(self.bench.now_us));
                    }
                }
                continue;
            }
            while let Some(order) = self.bench.engine.poll_order() {
                match order {
                    Order::RewriteConfig { ticket, .. }
                    | Order::WriteFile { ticket, .. }
                    | Order::EndFile { ticket, .. } => self.tickets.push((ticket, false)),
                    Order::ReadFile { ticket, .. } => self.tickets.push((ticket, true)),
                    _ => {}
                }
            }
            let Some(conn) = self.bench.engine.poll_resumed() else {
                return;
            };
            if let Some(at) = self
                .callers
                .iter()
                .position(|caller| caller.conn == Some(conn))
            {
                self.callers[at].turned_away = false;
                self.read(at);
            }
        }
    }

    /// Reads a caller's socket, as long as it is wanted.
    fn read(&mut self, at: usize) {
        let Some(conn) = self.callers[at].conn else {
            return;
        };
        if self.callers[at].socket.is_empty() || self.callers[at].turned_away {
            return;
        }
        if !self.bench.engine.wants_read(conn) {
            self.callers[at].turned_away = true;
            return;
        }
        let len = 1 + self.below(self.callers[at].socket.len());
        let bytes: Vec<u8> = self.callers[at].socket.drain(..len).collect();
        self.bench.engine.handle(&Input::Read {
            conn,
            bytes: &bytes,
        });
    }

    /// A caller's socket takes some of its output.
    fn write(&mut self, at: usize, most: usize) {
        let Some(conn) = self.callers[at].conn else {
            return;
        };
        let mut slices = Vec::new();
        self.bench.engine.output(conn, &mut slices);
        let mut bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        bytes.truncate(most);
        let flush = self.bench.engine.handle_wrote(conn, bytes.len());
        self.callers[at].received.extend(bytes);
        assert_ne!(flush, Flush::Close, "nobody is closed by the server");
    }

    fn send(&mut self, at: usize, words: &[&str]) {
        let caller = &mut self.callers[at];
        caller.socket.extend(request(words));
        caller.sent += 1;
        let echo = format!("{at}-{}", caller.sent);
        caller.socket.extend(request(&["ECHO", &echo]));
        caller.echoes.insert(caller.sent, echo);
        caller.sent += 1;
    }

    /// A caller asks for something at random.
    fn ask_something(&mut self, at: usize) {
        self.pushed += 1;
        let (key, number) = (KEYS[self.below(2)], self.pushed.to_string());
        let loops = ["5", "300000", "900000"][self.below(3)];
        let long = format!("local t = 0 for i = 1, {loops} do t = t + i end return t");
        match self.below(21) {
            0..3 => self.send(at, &["BLPOP", key, "0"]),
            3 => self.send(at, &["BLPOP", KEYS[0], KEYS[1], "0.05"]),
            4..7 => self.send(at, &["RPUSH", key, &number]),
            7 => self.send(at, &["CONFIG", "REWRITE"]),
            8 => {
                let middle: &[&[&str]] = &[
                    &["CONFIG", "REWRITE"],
                    &["FLUSHALL"],
                    &["EVAL", &long, "0"],
                    &["BLPOP", key, "0"],
                    &["DEBUG", "SLEEP", "0.001"],
                    &["INFO", "memory"],
                ];
                let chosen = middle[self.below(middle.len())];
                for words in [&["MULTI"], chosen, &["INCR", "n"], &["EXEC"]] {
                    self.send(at, words);
                }
            }
            9 => self.send(at, &["FLUSHALL", "SYNC"]),
            10 => self.send(at, &["SAVE"]),
            11 => self.send(at, &["CLIENT", "PAUSE", "20", "WRITE"]),
            12 => self.send(at, &["CLIENT", "PAUSE", "10", "ALL"]),
            13 => self.send(at, &["CLIENT", "UNPAUSE"]),
            14 => self.send(at, &["EVAL", &long, "0"]),
            15 => self.send(at, &["EVAL", "return redis.call('FLUSHALL', 'SYNC')", "0"]),
            16 => self.send(at, &["DEBUG", "SLEEP", "0.001"]),
            17 => self.send(at, &["INFO", "memory"]),
            18 => self.send(at, &["DEBUG", "RELOAD", "NOSAVE"]),
            19 => {
                let id = (1 + self.below(2 * CLIENTS)).to_string();
                self.send(at, &["CLIENT", "UNBLOCK", &id]);
            }
            _ => {
                // More than may wait for a socket before its client is no longer read.
                let len = (2 * PENDING_OUTPUT_MAX).to_string();
                self.send(at, &["EVAL", "return string.rep('x', ARGV[1])", "0", &len]);
            }
        }
    }

    fn answer_order(&mut self) {
        if self.tickets.is_empty() {
            return;
        }
        // The thread that writes files works in order; what fails is told as well.
        let (ticket, is_read) = self.tickets.remove(0);
        if is_read {
            // A file of nothing.
            let bytes = b"REDIS0012\xff\0\0\0\0\0\0\0\0";
            let size = Some(bytes.len() as u64);
            return self.bench.engine.handle_chunk(ticket, size, bytes);
        }
        let outcome = match self.below(5) {
            0 => Err("write: no space".to_owned()),
            _ => Ok(b"100".to_vec()),
        };
        self.bench.engine.handle_done(ticket, outcome);
    }

    fn turn(&mut self, step_us: i64) {
        self.bench.now_us += step_us;
        self.bench.engine.handle_time(UnixMicros(self.bench.now_us));
    }

    /// A caller hangs up, and another takes its place.
    fn replace(&mut self, at: usize) {
        if let Some(conn) = self.callers[at].conn.take() {
            self.bench.engine.handle_closed(conn, CloseReason::Error);
            self.settle();
            self.callers[at] = Caller {
                conn: Some(self.accept()),
                ..Caller::default()
            };
        }
    }

    fn step(&mut self) {
        let at = self.below(CLIENTS);
        match self.below(16) {
            0..6 => {
                self.ask_something(at);
                if self.below(4) == 0 {
                    let looks_before = self.below(4) as u64;
                    self.bench.engine.server.meter.feed([Finding {
                        looks_before,
                        used_bytes: 1 << 41,
                    }]);
                }
                self.read(at);
            }
            6..9 => self.read(at),
            9 => self.answer_order(),
            10..12 => {
                let most = [100, 1 << 20][self.below(2)];
                self.write(at, most);
            }
            12..15 => {
                let step_us = self.below(20_000) as i64;
                self.turn(step_us);
            }
            _ => {
                if self.below(8) == 0 {
                    self.replace(at);
                }
            }
        }
        self.settle();
        self.check_order();
    }

    /// What a caller has read so far is what it asked for, each reply once and in its place.
    fn check_order(&mut self) {
        for (at, caller) in self.callers.iter().enumerate() {
            let mut rest = &caller.received[..];
            let mut number = 0;
            while !rest.is_empty()
                && let Some(len) = reply_len(rest)
            {
                if let Some(echo) = caller.echoes.get(&number) {
                    let text = String::from_utf8_lossy(&rest[..len.min(200)]);
                    let want = format!("${}\r\n{echo}\r\n", echo.len());
                    // A script that runs for long, or a load, refuses everything, an ECHO too.
                    let refused = ["-BUSY", "-LOADING", "+QUEUED"];
                    assert!(
                        text == want || refused.iter().any(|start| text.starts_with(start)),
                        "client {at}, reply {number}: {text:?}, and not {want:?}"
                    );
                }
                rest = &rest[len..];
                number += 1;
            }
        }
    }

    /// Everything that somebody waits for comes; then nobody waits.
    fn finish(&mut self) {
        for round in 0.. {
            for at in 0..CLIENTS {
                self.write(at, usize::MAX);
                self.settle();
                self.read(at);
                self.settle();
            }
            self.bench.engine.server.meter = Meter::replaying();
            self.answer_order();
            self.settle();
            self.turn(50_000);
            self.settle();
            // Who still waits for a key gets what the model itself pushes.
            let blocked = |model: &Model| {
                let clients = model.bench.engine.server.clients.iter();
                clients.filter(|client| client.blocked().is_some()).count()
            };
            if blocked(self) > 0 && self.tickets.is_empty() {
                let key = KEYS[round % 2];
                self.bench.send(&request(&["RPUSH", key, "last"]), 10);
                self.settle();
            }
            let idle = self.callers.iter().all(|caller| caller.socket.is_empty());
            let clients = self.bench.engine.server.clients.iter();
            let waits: Vec<_> = clients
                .filter_map(|client| Some((client.conn, client.waiting().map(name_of)?)))
                .collect();
            if idle && self.tickets.is_empty() && waits.is_empty() {
                break;
            }
            assert!(round < 2000, "who waits for ever: {waits:?}");
        }
        for at in 0..CLIENTS {
            self.write(at, usize::MAX);
        }
    }

    fn check_end(&mut self) {
        self.check_order();
        for (at, caller) in self.callers.iter().enumerate() {
            let (mut rest, mut count) = (&caller.received[..], 0);
            while !rest.is_empty() {
                rest = &rest[reply_len(rest).expect("a whole reply")..];
                count += 1;
            }
            assert_eq!(count, caller.sent, "replies to client {at}");
        }
        let server = &self.bench.engine.server;
        assert_eq!(server.blocked_clients(), 0);
        assert!(server.waiters.is_empty() && server.waiters.deadline_len() == 0);
        assert!(server.awaiting.is_empty() && server.flush_waiters.is_empty());
        assert!(!server.is_midway());
    }
}

#[test]
fn nobody_is_forgotten_served_twice_or_out_of_order() {
    let mut seen = BTreeSet::new();
    for seed in 1..=60 {
        let mut model = Model::new(seed);
        for _ in 0..STEPS {
            model.step();
        }
        model.finish();
        model.check_end();
        seen.extend(model.seen);
    }
    let all = [
        "answer", "keys", "others", "output", "pause", "save", "turn", "want",
    ];
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), all);
}

#[test]
fn who_came_first_to_a_key_is_served_first() {
    for seed in 1..=20 {
        let mut model = Model::new(seed);
        let mut order: Vec<usize> = (0..CLIENTS).collect();
        for at in 0..CLIENTS {
            let other = at + model.below(CLIENTS - at);
            order.swap(at, other);
        }
        for at in &order {
            model.send(*at, &["BLPOP", "list", "0"]);
            while !model.callers[*at].socket.is_empty() {
                model.read(*at);
                model.settle();
            }
        }
        let words: Vec<String> = (0..CLIENTS).map(|number| number.to_string()).collect();
        let mut push = vec!["RPUSH", "list"];
        push.extend(words.iter().map(String::as_str));
        model.bench.send(&request(&push), 10);
        model.settle();
        for (number, at) in order.into_iter().enumerate() {
            model.write(at, usize::MAX);
            let want = format!("*2\r\n$4\r\nlist\r\n$1\r\n{number}\r\n");
            assert!(model.callers[at].received.starts_with(want.as_bytes()));
        }
    }
}
