//! Shell: the poll loop. One turn polls, reads, lets the engine work, writes, and obeys the engine's orders.
//!
//! Everything is edge-triggered and registered once. A socket that was read short or written short is drained or
//! full until its next edge; no second system call is made to learn it.
//!
//! Lives here: the loop, and what it looks after by itself. Connections, listeners and orders have a file each below.

mod connections;
mod listeners;
mod orders;

use super::driver::Driver;
use super::listen::Listener;
use super::settings;
use super::signals::Signals;
use super::stream::Conn;
use super::thrift::{Step, Thrift};
use super::title::Title;
use super::{crash, log as server_log};
use crate::border::{Appended, Order};
use crate::disk::aof::AofFile;
use crate::disk::files::{ChunkReader, Job, Writer};
use crate::keyspace::alloc;
use crate::os::system::OomScore;
use crate::os::{plain, process, trap};
use crate::state::{ConnId, UnixMicros};
use log::error;
use mio::{Events, Poll, Token, Waker};
use slab::Slab;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

const EVENTS_MAX: usize = 1024;
/// With no file left for a new client: how long until the next attempt.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// Events after which replies leave although the turn goes on: the first clients can work meanwhile.
const FLUSH_EVERY: usize = 2;
/// How often the loop looks after itself: the journal's age, the log level.
const CARE_INTERVAL_US: i64 = 1_000_000;

/// Tokens below are connections, by their [`ConnId`].
const LISTENERS_START: usize = 1 << 31;
const INTERRUPT: Token = Token(usize::MAX - 1);
const TERMINATE: Token = Token(usize::MAX - 2);
const FILES: Token = Token(usize::MAX - 3);

/// The running server.
pub struct Shell {
    poll: Poll,
    driver: Driver,
    signals: Signals,
    listeners: Vec<Listener>,
    /// Counts the listeners there ever were: the token of a closed one is not given to another.
    listeners_made: usize,
    listener_tokens: Vec<Token>,
    /// By [`ConnId`]. A connection that is closed keeps its place until the engine has let it go.
    conns: Slab<Option<Conn>>,
    /// Clients whose last read filled its space.
    ready: Vec<ConnId>,
    ready_spare: Vec<ConnId>,
    /// Clients to be flushed although the engine has not named them: writable again, or not finished last time.
    unflushed: Vec<ConnId>,
    unflushed_spare: Vec<ConnId>,
    is_accepting: bool,
    out_of_files: bool,
    out_of_files_logged: UnixMicros,
    oom_score: OomScore,
    title: Title,
    now: UnixMicros,
    cared_at: UnixMicros,
    /// The thread that writes files of data, and what it wakes us with.
    files: Writer,
    waker: Arc<Waker>,
    chunks: ChunkReader,
    aof: AofFile,
    /// An order to read that waits for the next turn, so that clients have theirs between two chunks.
    read_next: Option<Order>,
    thrift: Thrift,
    on_ready: Option<OnReady>,
    /// What is said when the server begins to end.
    on_stop: Option<Box<dyn FnOnce()>>,
    /// The port that was chosen because any will do.
    auto_port: Option<u16>,
}

/// What is said when clients are served.
pub type OnReady = Box<dyn FnOnce(&[Listener])>;

impl Shell {
    /// Takes over signals and listeners. Nothing is accepted before [`Shell::run`].
    pub fn new(driver: Driver, listeners: Vec<Listener>) -> io::Result<Shell> {
        let poll = Poll::new()?;
        let signals = Signals::register(poll.registry(), [INTERRUPT, TERMINATE])?;
        let waker = Arc::new(Waker::new(poll.registry(), FILES)?);
        let now = process::clock();
        let files = Writer::new(&driver.engine().config().bio_cpulist);
        let mut shell = Shell {
            poll,
            driver,
            signals,
            listeners: Vec::new(),
            listeners_made: 0,
            listener_tokens: Vec::new(),
            conns: Slab::new(),
            ready: Vec::new(),
            ready_spare: Vec::new(),
            unflushed: Vec::new(),
            unflushed_spare: Vec::new(),
            is_accepting: false,
            out_of_files: false,
            out_of_files_logged: UnixMicros(0),
            oom_score: OomScore::default(),
            title: Title::default(),
            now,
            cared_at: now,
            files,
            waker,
            chunks: ChunkReader::default(),
            aof: AofFile::default(),
            read_next: None,
            thrift: Thrift::default(),
            on_ready: None,
            on_stop: None,
            auto_port: None,
        };
        shell.adopt(listeners)?;
        // The log says why it failed; the server starts all the same.
        let _ = shell.oom_score.apply(shell.driver.engine().config());
        shell.care();
        Ok(shell)
    }

    pub fn driver(&mut self) -> &mut Driver {
        &mut self.driver
    }

    /// What to say once the data is loaded.
    pub fn set_on_ready(&mut self, say: OnReady) {
        self.on_ready = Some(say);
    }

    /// What to say when the server begins to end.
    pub fn set_on_stop(&mut self, say: Box<dyn FnOnce()>) {
        self.on_stop = Some(say);
    }

    /// The configuration says that any port will do, and this one was chosen.
    pub fn set_auto_port(&mut self, port: u16) {
        self.auto_port = Some(port);
    }

    pub fn listeners(&self) -> &[Listener] {
        &self.listeners
    }

    /// Runs until the engine orders the end; returns the exit code.
    pub fn run(&mut self) -> io::Result<i32> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        self.driver.start();
        let mut exit = self.obey_orders();
        loop {
            if let Some(code) = exit {
                self.write_aof();
                // What the end comes from need not be told twice.
                if !self.driver.engine().withholds_replies() {
                    self.aof.sync();
                }
                self.files.finish();
                return Ok(code);
            }
            exit = self.turn(&mut events)?;
        }
    }

    fn turn(&mut self, events: &mut Events) -> io::Result<Option<i32>> {
        match self.poll.poll(events, self.timeout()) {
            Err(error) if error.kind() != ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        crash::turn();
        self.now = process::clock();
        self.driver.time(self.now);
        self.take_answers();
        self.read_chunk();
        self.take_unfinished();
        for (count, event) in events.iter().enumerate() {
            // When each reply waits for the disk, or the log has lines to come, all replies of a turn wait together.
            let engine = self.driver.engine();
            if count % FLUSH_EVERY == FLUSH_EVERY - 1
                && !engine.syncs_always()
                && !engine.has_log_lines()
            {
                self.driver.turn_end();
                self.write_aof();
                self.flush();
            }
            match event.token() {
                INTERRUPT | TERMINATE => {
                    for signal in self.signals.take() {
                        self.driver.signal(signal);
                    }
                }
                FILES => {} // the answers were taken already
                Token(token) if token >= LISTENERS_START => self.listener_event(Token(token)),
                Token(token) => self.conn_event(ConnId(token as u32), event),
            }
        }
        if self.is_accepting {
            self.accept();
        }
        while let Some(conn) = self.driver.poll_resumed() {
            self.read(conn);
        }
        self.driver.turn_end();
        // Bytes for a file that is still to be opened wait for that.
        let mut exit = None;
        if self.driver.engine().is_opening_aof() {
            exit = self.obey_orders();
        }
        self.write_aof();
        // The log tells of a command before its client hears of it. What an answer let go on may append more.
        let exit = exit.or_else(|| self.obey_orders());
        self.write_aof();
        self.flush();
        // Writing may have made room for more commands, and no edge will come for what waits already.
        while let Some(conn) = self.driver.poll_resumed() {
            self.read_next_turn(conn);
        }
        if !(0..CARE_INTERVAL_US).contains(&self.now.0.wrapping_sub(self.cared_at.0)) {
            self.care();
        }
        if self.thrift.is_due(self.now) {
            self.return_memory(events.is_empty());
        }
        Ok(exit)
    }

    /// Gives memory back to the system that is not in use any more.
    fn return_memory(&mut self, is_idle: bool) {
        let used = alloc::used_memory() as u64;
        match self
            .thrift
            .look(self.now, used, process::own_rss_bytes(), is_idle)
        {
            None => {}
            Some(Step::Aside) => self.order_file(Job::ReturnMemory),
            Some(Step::Here) => alloc::purge(),
        }
    }

    /// Until the engine's next tick; none at all when something is left to do.
    fn timeout(&self) -> Option<Duration> {
        if !self.ready.is_empty()
            || !self.unflushed.is_empty()
            || self.read_next.is_some()
            || (self.is_accepting && !self.out_of_files)
        {
            return Some(Duration::ZERO);
        }
        let tick = self.driver.engine().next_tick().map(|tick| {
            Duration::from_micros(u64::try_from(tick.0.saturating_sub(self.now.0)).unwrap_or(0))
        });
        if self.is_accepting {
            Some(tick.unwrap_or(ACCEPT_RETRY).min(ACCEPT_RETRY))
        } else {
            tick
        }
    }

    /// Takes what the thread that writes files has done.
    fn take_answers(&mut self) {
        while let Some((ticket, outcome)) = self.files.poll() {
            self.driver.done(ticket, outcome);
        }
    }

    /// Reads the chunk of a file that the engine waits for.
    fn read_chunk(&mut self) {
        if let Some(Order::ReadFile {
            ticket,
            path,
            pos,
            len,
        }) = self.read_next.take()
        {
            match self.chunks.read(&path, pos, len) {
                Ok((size, bytes)) => self.driver.chunk(ticket, size, bytes),
                Err(why) => self.driver.done(ticket, Err(why)),
            }
        }
    }

    /// Appends what commands have changed to the append-only file.
    fn write_aof(&mut self) {
        while let Some(batch) = self.driver.take_aof_batch() {
            let began = process::clock();
            let outcome = self.aof.append(&batch);
            let now = process::clock();
            let sync_us = self.aof.take_sync_us();
            self.driver.appended(Appended {
                now,
                write_us: now.since(began).saturating_sub(sync_us.unwrap_or(0)),
                sync_us,
            });
            self.tell_aof(outcome);
        }
    }

    fn care(&mut self) {
        self.cared_at = self.now;
        let config = self.driver.engine().config();
        server_log::set_level(settings::log_level(config));
        trap::set_reports(config.crash_log_enabled);
        let config_file = self.driver.engine().config_file();
        self.title.follow(config, config_file);
        crash::set_watchdog(u64::try_from(config.watchdog_period).unwrap_or(0));
        if let Some(error) = self.driver.take_journal_error() {
            error!(
                "Recording ends here, the journal cannot be written: {}",
                plain(&error)
            );
        }
    }
}
