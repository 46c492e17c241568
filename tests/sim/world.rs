//! The world around one engine: a network, a disk and a clock, all from one seed.
//!
//! It does what the shell does, in the same order: after each Input the wants are served, the turn ends, the append-only
//! file gets its bytes, orders are carried out, and only then replies may leave. What the shell leaves to chance (how much
//! a read finds, how much a socket takes, how long a file takes, when a connection breaks, when the machine stops) is
//! drawn. May not: know what the commands mean (`model`).

use std::collections::VecDeque;

use retrace::border::{
    Appended, Boot, CloseReason, Flush, Input, LogLevel, Order, Outcome, Peer, Reading, Want,
};
use retrace::config::{Appendfsync, Config};
use retrace::engine::Engine;
use retrace::state::{ConnId, UnixMicros};

use super::disk::Disk;
use super::model::{self, Args, Model};
use super::{Plan, Rng};

/// Clients that send what is drawn.
const CLIENTS: usize = 5;

/// The time at the start.
const START_US: i64 = 1_700_000_000_000_000;

/// Requests that a client may have sent ahead of their replies.
const AHEAD_MAX: usize = 40;

/// What the engine was told and gave, to be repeated.
#[derive(Clone)]
enum Noted {
    Start,
    Time(UnixMicros),
    TurnEnd(UnixMicros),
    Accept(ConnId, Peer),
    Read(ConnId, Vec<u8>),
    Closed(ConnId, CloseReason),
    Clock(UnixMicros),
    Reading,
    Done(u64, Outcome),
    Appended(Appended),
    Chunk(u64, Option<u64>, Vec<u8>),
    /// The socket was offered this, and took so much of it.
    Offered(ConnId, Vec<u8>, usize),
}

/// One thing that happens to the data as a whole, or not at all.
type Unit = Vec<Args>;

/// What becomes of a request when it arrives.
enum Arrival {
    /// It begins a transaction, or is queued in one: this is the reply.
    Said(&'static [u8]),
    /// It runs this, alone or as a transaction.
    Runs(Unit),
}

/// A request on its way.
struct Sent {
    arrival: Arrival,
    /// Where its bytes end in what its client has sent.
    ends: u64,
}

/// Replies that are to come.
struct Expected {
    bytes: Vec<u8>,
    /// How long the history is behind what they tell of, and whether that has changed anything.
    unit: usize,
    is_change: bool,
}

#[derive(Default)]
struct Caller {
    conn: Option<ConnId>,
    /// What was sent and has not arrived.
    wire: VecDeque<u8>,
    sent: VecDeque<Sent>,
    sent_bytes: u64,
    arrived_bytes: u64,
    expected: VecDeque<Expected>,
    /// What it has read that is no whole reply yet.
    received: Vec<u8>,
    /// It reads nothing any more, and has not said so.
    is_half_open: bool,
}

/// A change at its place in the history.
struct Change {
    unit: Unit,
    at_ms: i64,
}

pub struct World {
    plan: Plan,
    rng: Rng,
    engine: Engine,
    boot: Boot,
    noted: Vec<Noted>,
    now: UnixMicros,
    pub disk: Disk,
    callers: Vec<Caller>,
    operator: Option<ConnId>,
    model: Model,
    /// All that was done since the start, each with the time at which it was.
    history: Vec<Change>,
    /// How much of it must be there after a crash.
    promised: usize,
    /// How long the history was when each order to force the append-only file to disk was given.
    sync_marks: VecDeque<usize>,
    /// The data at the start of the history.
    base: Model,
    /// The time of the last turn, which is the engine's.
    turn_began: UnixMicros,
    number: u64,
    is_ready: bool,
    has_ended: bool,
    /// One line an event.
    pub events: Vec<String>,
    pub restarts: usize,
    step: usize,
}

/// What went wrong.
pub type Violation = String;

impl World {
    pub fn new(plan: Plan) -> World {
        let mut rng = Rng::new(plan.seed);
        let config = Config {
            appendonly: true,
            appendfsync: match plan.syncs_always {
                true => Appendfsync::Always,
                false => Appendfsync::Everysec,
            },
            save: Vec::new(),
            dir: b"/".to_vec(),
            auto_aof_rewrite_min_size: 2000,
            auto_aof_rewrite_percentage: 100,
            aof_use_rdb_preamble: rng.below(2) == 0,
            ..Config::default()
        };
        let boot = Boot {
            config,
            seed: plan.seed,
            pid: 1,
            now: UnixMicros(START_US),
            ..Boot::default()
        };
        let mut world = World {
            plan,
            rng,
            engine: Engine::new(boot.clone()).expect("the configuration is sound"),
            now: boot.now,
            boot,
            noted: Vec::new(),
            disk: Disk::default(),
            callers: (0..CLIENTS).map(|_| Caller::default()).collect(),
            operator: None,
            model: Model::default(),
            history: Vec::new(),
            promised: 0,
            sync_marks: VecDeque::new(),
            base: Model::default(),
            turn_began: UnixMicros(START_US),
            number: 0,
            is_ready: false,
            has_ended: false,
            events: Vec::new(),
            restarts: 0,
            step: 0,
        };
        world.disk.faults.lies = plan.lies;
        world
    }

    /// Lets it run for so many steps.
    pub fn run(&mut self) -> Result<(), Violation> {
        self.start()?;
        for step in 0..self.plan.steps {
            self.step = step;
            self.take_step()?;
        }
        self.finish()
    }

    fn tell(&mut self, who: &str, what: &str, detail: &str) {
        let ms = (self.now.0 - START_US) / 1000;
        self.events.push(format!(
            "{:>6} {ms:>9} {who:<9} {what:<9} {detail}",
            self.step
        ));
    }

    // --- the shell ---

    /// Gives the engine an Input and notes it.
    fn feed(&mut self, noted: Noted) {
        apply(&mut self.engine, &noted);
        self.noted.push(noted);
    }

    fn start(&mut self) -> Result<(), Violation> {
        self.feed(Noted::Start);
        for _ in 0..10_000 {
            self.settle();
            if self.is_ready || self.has_ended {
                break;
            }
            self.work();
            self.turn(1000);
        }
        match self.is_ready {
            true => Ok(()),
            false => Err("the server does not come up again".to_owned()),
        }
    }

    /// What the shell does behind an Input.
    fn settle(&mut self) {
        loop {
            if let Some(want) = self.engine.poll_want() {
                match want {
                    Want::Reading => self.feed(Noted::Reading),
                    Want::Clock | Want::Sleep { .. } => {
                        self.now.0 += 1 + self.rng.below(50) as i64;
                        self.feed(Noted::Clock(self.now));
                    }
                }
                continue;
            }
            if self.engine.wants_turn_end() {
                self.now.0 += 1;
                self.feed(Noted::TurnEnd(self.now));
                continue;
            }
            if self.engine.is_opening_aof() && self.obey() {
                continue;
            }
            if self.append() || self.obey() {
                continue;
            }
            while self.engine.poll_resumed().is_some() {}
            return;
        }
    }

    /// Appends to the append-only file; says whether there was something.
    fn append(&mut self) -> bool {
        let Some(batch) = self.engine.take_aof_batch() else {
            return false;
        };
        let outcome = self.disk.append_batch(&batch, &mut self.rng);
        self.feed(Noted::Appended(Appended {
            now: self.now,
            write_us: 0,
            sync_us: batch.syncs.then_some(0),
        }));
        self.tell_aof(outcome);
        true
    }

    fn tell_aof(&mut self, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.feed(Noted::Done(Disk::AOF_TICKET, outcome));
        }
    }

    /// Carries out the next order; says whether there was one.
    fn obey(&mut self) -> bool {
        let Some(order) = self.engine.poll_order() else {
            return false;
        };
        match order {
            Order::Log { level, text } => {
                if level >= LogLevel::Notice {
                    self.tell("server", "log", &text);
                }
            }
            Order::ReadFile {
                ticket,
                path,
                pos,
                len,
            } => {
                let (size, bytes) = self.disk.read(&path, pos, len);
                self.feed(Noted::Chunk(ticket, size, bytes));
            }
            Order::WriteWhole {
                ticket,
                path,
                bytes,
            } => {
                let outcome = self.disk.write_whole(&path, &bytes, &mut self.rng);
                self.feed(Noted::Done(ticket, outcome));
            }
            Order::Rename { ticket, from, to } => {
                let outcome = self.disk.move_file(&from, &to);
                self.feed(Noted::Done(ticket, outcome));
            }
            Order::MakeFolder { ticket, .. } => self.feed(Noted::Done(ticket, Ok(Vec::new()))),
            Order::OpenAof {
                before,
                path,
                truncate_to,
            } => {
                let said = self
                    .disk
                    .open_aof(&before, &path, truncate_to, &mut self.rng);
                said.into_iter().for_each(|outcome| self.tell_aof(outcome));
            }
            Order::CloseAof { before } => self.disk.end_aof(&before, &mut self.rng),
            Order::RetryAof => {
                let outcome = self.disk.retry_aof(&mut self.rng);
                self.tell_aof(outcome);
            }
            Order::Ready => self.is_ready = true,
            Order::Exit { code } => {
                self.tell("server", "exit", &code.to_string());
                self.has_ended = true;
            }
            Order::LookAtConfig | Order::PurgeMemory => {}
            job => {
                if matches!(job, Order::SyncAof { .. }) {
                    self.sync_marks.push_back(self.history.len());
                }
                self.disk.order(job);
            }
        }
        true
    }

    /// The thread that writes files does its next job.
    fn work(&mut self) {
        let is_sync = self.disk.next_forces();
        if let Some((ticket, outcome)) = self.disk.work(&mut self.rng) {
            if is_sync
                && let Some(mark) = self.sync_marks.pop_front()
                && outcome.is_ok()
            {
                self.promised = self.promised.max(mark);
            }
            if let Err(why) = &outcome {
                self.tell("disk", "failed", why);
            }
            self.feed(Noted::Done(ticket, outcome));
            self.settle();
        }
    }

    fn turn(&mut self, us: i64) {
        self.now.0 += us;
        self.turn_began = self.now;
        self.feed(Noted::Time(self.now));
        self.settle();
    }

    fn accept(&mut self, port: usize) -> ConnId {
        // The lowest number that nobody has: the shell's table of connections gives them so.
        let taken = self.conns();
        let conn = (0..).map(ConnId).find(|conn| !taken.contains(conn));
        let conn = conn.expect("there is one");
        let peer = Peer {
            addr: format!("127.0.0.1:{port}"),
            local_addr: "127.0.0.1:6379".into(),
            is_unix: false,
            is_local: true,
            fd: port as i32,
        };
        self.feed(Noted::Accept(conn, peer));
        self.settle();
        conn
    }

    fn conns(&self) -> Vec<ConnId> {
        let callers = self.callers.iter().filter_map(|caller| caller.conn);
        callers.chain(self.operator).collect()
    }

    // --- what happens ---

    fn take_step(&mut self) -> Result<(), Violation> {
        if self.has_ended {
            return self.come_back(false);
        }
        let at = self.rng.below(CLIENTS);
        match self.rng.below(100) {
            0..25 => self.send(at),
            25..55 => self.deliver(at)?,
            55..75 => self.take_output(at)?,
            75..85 => self.work(),
            85..95 => {
                let us = [100, 3_000, 40_000, 700_000][self.rng.below(4)];
                let us = 1 + self.rng.below(us) as i64;
                self.turn(us);
            }
            95..97 => self.hang_up(at),
            97 => self.change_faults(),
            98 => self.operate(),
            _ if self.rng.below(6) == 0 => return self.come_back(true),
            _ => {}
        }
        Ok(())
    }

    /// A client sends a unit, all of it at once or in what the network makes of it.
    fn send(&mut self, at: usize) {
        if self.callers[at].conn.is_none() {
            let conn = self.accept(1000 + at);
            self.callers[at].conn = Some(conn);
            self.tell(&format!("client{at}"), "connect", &format!("{}", conn.0));
        }
        if self.callers[at].sent.len() > AHEAD_MAX {
            return;
        }
        let count = if self.rng.one_in(6) {
            2 + self.rng.below(3)
        } else {
            1
        };
        let mut unit = Unit::new();
        for _ in 0..count {
            self.number += 1;
            unit.push(model::draw(&mut self.rng, self.number));
        }
        if count == 1 {
            let args = unit[0].clone();
            return self.put_on_wire(at, &args, Arrival::Runs(unit));
        }
        self.put_on_wire(at, &vec!["MULTI".to_owned()], Arrival::Said(b"+OK\r\n"));
        for args in &unit {
            self.put_on_wire(at, args, Arrival::Said(b"+QUEUED\r\n"));
        }
        self.put_on_wire(at, &vec!["EXEC".to_owned()], Arrival::Runs(unit));
    }

    fn put_on_wire(&mut self, at: usize, args: &Args, arrival: Arrival) {
        let bytes = request(args);
        let caller = &mut self.callers[at];
        caller.sent_bytes += bytes.len() as u64;
        caller.wire.extend(bytes);
        let ends = caller.sent_bytes;
        caller.sent.push_back(Sent { arrival, ends });
    }

    /// Some of what a client has sent arrives; what is whole by then is run by both.
    fn deliver(&mut self, at: usize) -> Result<(), Violation> {
        let Some(conn) = self.callers[at].conn else {
            return Ok(());
        };
        if self.callers[at].wire.is_empty() || !self.engine.wants_read(conn) {
            return Ok(());
        }
        let most = self.callers[at].wire.len();
        let len = match self.rng.below(3) {
            0 => most,
            1 => 1 + self.rng.below(most),
            _ => 1 + self.rng.below(most.min(20)),
        };
        let caller = &mut self.callers[at];
        let bytes: Vec<u8> = caller.wire.drain(..len).collect();
        caller.arrived_bytes += len as u64;
        let arrived = caller.arrived_bytes;
        while let Some(sent) = self.callers[at].sent.front()
            && sent.ends <= arrived
            && let Some(sent) = self.callers[at].sent.pop_front()
        {
            self.expect(at, sent.arrival);
        }
        self.feed(Noted::Read(conn, bytes));
        self.settle();
        Ok(())
    }

    /// A request has arrived: the model runs what it runs, and its reply is to come.
    fn expect(&mut self, at: usize, arrival: Arrival) {
        let mut is_change = false;
        let bytes = match arrival {
            Arrival::Said(bytes) => bytes.to_vec(),
            Arrival::Runs(unit) => {
                let at_ms = self.turn_began.ms();
                self.model.expire(at_ms);
                let before = self.model.clone();
                let mut bytes = match unit.len() {
                    1 => Vec::new(),
                    count => format!("*{count}\r\n").into_bytes(),
                };
                for args in &unit {
                    bytes.extend(self.model.run(args, at_ms));
                }
                self.history.push(Change { unit, at_ms });
                is_change = self.model != before;
                bytes
            }
        };
        let unit = self.history.len();
        self.callers[at].expected.push_back(Expected {
            bytes,
            unit,
            is_change,
        });
    }

    fn take_output(&mut self, at: usize) -> Result<(), Violation> {
        let Some(conn) = self.callers[at].conn else {
            return Ok(());
        };
        if self.callers[at].is_half_open {
            return Ok(());
        }
        let most = match self.rng.below(3) {
            0 => 1 + self.rng.below(30),
            _ => usize::MAX,
        };
        let (bytes, flush) = self.offer(conn, most);
        self.callers[at].received.extend(bytes);
        let checked = self.check_replies(at);
        if flush == Flush::Close {
            self.callers[at] = Caller::default();
        }
        checked
    }

    /// Offers a socket its output; what it took, and what becomes of it.
    fn offer(&mut self, conn: ConnId, most: usize) -> (Vec<u8>, Flush) {
        if self.engine.withholds_replies() {
            return (Vec::new(), Flush::Pending);
        }
        let offered = output(&self.engine, conn);
        let taken = offered.len().min(most);
        let bytes = offered[..taken].to_vec();
        self.engine.unqueue_flush(conn);
        let flush = self.engine.handle_wrote(conn, taken);
        self.noted.push(Noted::Offered(conn, offered, taken));
        self.settle();
        (bytes, flush)
    }

    /// What a client has read is what the model replies; what it has read of a change is promised, if replies wait for
    /// the disk.
    fn check_replies(&mut self, at: usize) -> Result<(), Violation> {
        let caller = &mut self.callers[at];
        while let Some(expected) = caller.expected.front() {
            let len = caller.received.len().min(expected.bytes.len());
            if caller.received[..len] != expected.bytes[..len] {
                return Err(format!(
                    "client{at} reads\n  {}\nand the model says\n  {}\nbehind {:?}",
                    caller.received[..caller.received.len().min(300)].escape_ascii(),
                    expected.bytes.escape_ascii(),
                    self.history[..expected.unit]
                        .last()
                        .map(|change| &change.unit),
                ));
            }
            if len < expected.bytes.len() {
                return Ok(());
            }
            caller.received.drain(..len);
            if self.plan.syncs_always && expected.is_change {
                self.promised = self.promised.max(expected.unit);
            }
            caller.expected.pop_front();
        }
        match caller.received.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "client{at} reads what nobody has asked for: {}",
                caller.received.escape_ascii()
            )),
        }
    }

    /// A client goes, with what it has sent in the air: it closes in order, or only stops reading.
    fn hang_up(&mut self, at: usize) {
        let Some(conn) = self.callers[at].conn else {
            return;
        };
        if self.rng.below(3) == 0 {
            self.callers[at].is_half_open = true;
            self.tell(&format!("client{at}"), "deaf", "");
            return;
        }
        self.tell(&format!("client{at}"), "closes", "");
        self.feed(Noted::Closed(conn, CloseReason::Error));
        self.callers[at] = Caller::default();
        self.settle();
    }

    /// The disk becomes worse, or well again.
    fn change_faults(&mut self) {
        if !self.plan.has_disk_faults {
            return;
        }
        let faults = &mut self.disk.faults;
        match self.rng.below(4) {
            // With everysec a client is told that writes are refused, of which the model knows nothing.
            0 if self.plan.syncs_always => faults.is_full = true,
            1 if self.plan.syncs_always => faults.cannot_sync = true,
            2 => faults.is_full_aside = true,
            _ => {
                let lies = faults.lies;
                *faults = Default::default();
                faults.lies = lies;
            }
        }
        let detail = format!("{:?}", self.disk.faults);
        self.tell("disk", "is", &detail);
    }

    /// Someone looks after the server.
    fn operate(&mut self) {
        let conn = match self.operator {
            Some(conn) => conn,
            None => self.accept(999),
        };
        self.operator = Some(conn);
        let requests = [
            "BGREWRITEAOF",
            "BGREWRITEAOF",
            "CLIENT LIST",
            "INFO",
            "DBSIZE",
        ];
        let line = requests[self.rng.below(requests.len())];
        self.tell("operator", "asks", line);
        self.feed(Noted::Read(conn, format!("{line}\r\n").into_bytes()));
        self.settle();
        self.offer(conn, usize::MAX);
    }

    // --- ends and starts ---

    /// The server ends, or the machine does, and comes back: what was promised is there, and nothing by halves.
    fn come_back(&mut self, is_crash: bool) -> Result<(), Violation> {
        self.check_replay()?;
        self.restarts += 1;
        match is_crash {
            true => {
                self.disk.crash(&mut self.rng);
                let files = self.disk.listing().trim_end().replace('\n', ", ");
                self.tell("machine", "crashes", &files);
            }
            false => self.disk.stop(),
        }
        self.disk.faults.lies = self.plan.lies;
        self.now.0 += 1_000_000;
        self.turn_began = self.now;
        self.boot.now = self.now;
        self.engine = Engine::new(self.boot.clone()).expect("the configuration is sound");
        self.noted.clear();
        self.callers = (0..CLIENTS).map(|_| Caller::default()).collect();
        (self.operator, self.is_ready, self.has_ended) = (None, false, false);
        self.sync_marks.clear();
        self.start()?;
        let found = self.picture()?;
        let now_ms = self.turn_began.ms();
        let mut model = self.base.clone();
        let mut there = None;
        for at in 0..=self.history.len() {
            if at >= self.promised && model.picture(now_ms) == found {
                there = Some((at, model.clone()));
            }
            if let Some(change) = self.history.get(at) {
                for args in &change.unit {
                    model.run(args, change.at_ms);
                }
            }
        }
        let Some((at, model)) = there else {
            return Err(format!(
                "what is there after the start is no state from {} to {} of what was done:\n  {}\nand at the end that \
                 should be\n  {}",
                self.promised,
                self.history.len(),
                found.join("\n  "),
                model.picture(now_ms).join("\n  "),
            ));
        };
        let detail = format!(
            "with {at} of {}, {} promised",
            self.history.len(),
            self.promised
        );
        self.tell("server", "is back", &detail);
        self.history.truncate(at);
        // Behind a crash all that is there is on disk; behind an end of the process some of it may still be lost.
        if is_crash {
            self.base = model.clone();
            self.history.clear();
            self.promised = 0;
        }
        self.model = model;
        Ok(())
    }

    /// All data, as somebody reads them.
    fn picture(&mut self) -> Result<Vec<String>, Violation> {
        let conn = self.accept(998);
        let mut lines = Vec::new();
        for key in model::keys() {
            let mut texts = Vec::new();
            for args in model::reads(&key) {
                self.feed(Noted::Read(conn, request(&args)));
                self.settle();
                let (bytes, _) = self.offer(conn, usize::MAX);
                texts.push(
                    texts_of(&bytes).ok_or_else(|| {
                        format!("{args:?} has the reply {}", bytes.escape_ascii())
                    })?,
                );
            }
            let value = texts.pop().unwrap_or_default();
            lines.extend(model::line(&key, &texts.concat().concat(), value));
        }
        self.feed(Noted::Closed(conn, CloseReason::Eof));
        self.settle();
        Ok(lines)
    }

    /// Everything that was sent arrives and is answered; the data are as the model has them.
    fn finish(&mut self) -> Result<(), Violation> {
        if self.has_ended {
            self.come_back(false)?;
        }
        for at in 0..CLIENTS {
            self.callers[at].is_half_open = false;
            while !self.callers[at].wire.is_empty() {
                self.deliver(at)?;
                if self.has_ended {
                    return self.come_back(false);
                }
            }
        }
        for at in 0..CLIENTS {
            while self.callers[at]
                .conn
                .is_some_and(|conn| !output(&self.engine, conn).is_empty())
            {
                self.take_output(at)?;
                if self.has_ended {
                    return self.come_back(false);
                }
            }
            if !self.callers[at].expected.is_empty() {
                return Err(format!(
                    "client{at} waits for {} replies",
                    self.callers[at].expected.len()
                ));
            }
        }
        let (found, want) = (self.picture()?, self.model.picture(self.turn_began.ms()));
        if found != want {
            return Err(format!(
                "the data are\n  {}\nand should be\n  {}",
                found.join("\n  "),
                want.join("\n  ")
            ));
        }
        self.check_replay()
    }

    /// The same Inputs give the same output.
    fn check_replay(&self) -> Result<(), Violation> {
        let mut engine = Engine::new(self.boot.clone()).expect("the configuration is sound");
        for (at, noted) in self.noted.iter().enumerate() {
            if let Noted::Offered(conn, offered, _) = noted
                && output(&engine, *conn) != *offered
            {
                return Err(format!(
                    "Input {at}, repeated, gives connection {}\n  {}\nand gave\n  {}",
                    conn.0,
                    output(&engine, *conn).escape_ascii(),
                    offered.escape_ascii()
                ));
            }
            apply(&mut engine, noted);
            while engine.poll_resumed().is_some() {}
            while engine.poll_order().is_some() {}
            while engine.take_aof_batch().is_some() {}
        }
        Ok(())
    }
}

fn output(engine: &Engine, conn: ConnId) -> Vec<u8> {
    let mut slices = Vec::new();
    engine.output(conn, &mut slices);
    slices.iter().flat_map(|slice| slice.to_vec()).collect()
}

fn apply(engine: &mut Engine, noted: &Noted) {
    let input = match noted {
        Noted::Start => return engine.handle_start(),
        Noted::Offered(conn, _, taken) => {
            engine.unqueue_flush(*conn);
            engine.handle_wrote(*conn, *taken);
            return;
        }
        Noted::Time(now) => Input::Time(*now),
        Noted::TurnEnd(now) => Input::TurnEnd(*now),
        Noted::Accept(conn, peer) => Input::Accept {
            conn: *conn,
            peer: peer.clone(),
        },
        Noted::Read(conn, bytes) => Input::Read { conn: *conn, bytes },
        Noted::Closed(conn, reason) => Input::Closed {
            conn: *conn,
            reason: *reason,
        },
        Noted::Clock(now) => Input::Clock(*now),
        Noted::Reading => Input::Reading(Reading::default()),
        Noted::Done(ticket, outcome) => Input::Done {
            ticket: *ticket,
            outcome: outcome.clone(),
        },
        Noted::Appended(appended) => Input::Appended(*appended),
        Noted::Chunk(ticket, size, bytes) => Input::Chunk {
            ticket: *ticket,
            size: *size,
            bytes,
        },
    };
    engine.handle(&input);
}

fn request(args: &Args) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n{arg}\r\n", arg.len()).into_bytes());
    }
    bytes
}

/// The numbers and texts of a reply, however they are nested; nothing if it is an error or not whole.
fn texts_of(bytes: &[u8]) -> Option<Vec<String>> {
    let text = std::str::from_utf8(bytes).ok()?;
    let mut texts = Vec::new();
    let mut lines = text.split_terminator("\r\n");
    while let Some(line) = lines.next() {
        match line.split_at_checked(1)? {
            (":", number) => texts.push(number.to_owned()),
            ("*", _) | ("$", "-1") => {}
            ("$", _) => texts.push(lines.next()?.to_owned()),
            _ => return None,
        }
    }
    Some(texts)
}
