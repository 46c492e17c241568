//! Shell: the poll loop. One turn polls, reads, lets the engine work, writes, and obeys the engine's orders.
//!
//! Everything is edge-triggered and registered once. A socket that was read short or written short is drained or
//! full until its next edge; no second system call is made to learn it.

use super::driver::{Driver, ReadResult};
use super::listen::{self, ListenError, ListenSocket, Listener};
use super::settings::{self, Listening};
use super::signals::Signals;
use super::stream::{Conn, Stream, set_options, tcp_peer, unix_peer};
use super::thrift::{Step, Thrift};
use super::title::Title;
use super::{crash, log as server_log};
use crate::border::{Appended, CloseReason, FileStep, Flush, Order, Outcome, Peer};
use crate::disk;
use crate::disk::aof::AofFile;
use crate::disk::files::{self, ChunkReader, Job, Writer, path_of};
use crate::keyspace::alloc;
use crate::os::system::OomScore;
use crate::os::{plain, process, trap};
use crate::state::aof::WRITE_TICKET;
use crate::state::{ConnId, UnixMicros};
use log::{error, info, warn};
use mio::event::Event;
use mio::{Events, Poll, Token, Waker};
use slab::Slab;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::time::Duration;

const EVENTS_MAX: usize = 1024;
/// Reads of one client in a turn, and writes to one: after that the others have their turn.
const READS_MAX: usize = 4;
const WRITES_MAX: usize = 16;
/// With no file left for a new client: how long until the next attempt, and how often that is logged.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);
const ACCEPT_LOG_INTERVAL_US: i64 = 1_000_000;
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
            .look(self.now, used, process::rss_bytes(), is_idle)
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

    fn tell_aof(&mut self, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.driver.done(WRITE_TICKET, outcome);
        }
    }

    /// Has a file forced to disk that nothing is appended to any more.
    fn sync_old(&mut self, file: Option<std::fs::File>) {
        if let Some(file) = file {
            // Its answer says nothing: what is forced to disk later comes behind it.
            self.order_file(Job::Sync { file, ticket: 0 });
        }
    }

    /// Gives the thread that writes files an order.
    fn order_file(&mut self, job: Job) {
        let waker = Arc::clone(&self.waker);
        let wake = move || {
            // A waker fails when the loop is gone, and then nobody waits.
            let _ = waker.wake();
        };
        if let Err(error) = self.files.order(job, wake) {
            error!(
                "The thread that writes files cannot be started: {}",
                plain(&error)
            );
        }
    }

    /// Goes on where the turn before left off.
    fn take_unfinished(&mut self) {
        if !self.ready.is_empty() {
            let mut ready =
                std::mem::replace(&mut self.ready, std::mem::take(&mut self.ready_spare));
            for conn in ready.drain(..) {
                if let Some(state) = self.conn_mut(conn) {
                    state.queued = false;
                    self.read(conn);
                }
            }
            self.ready_spare = ready;
        }
    }

    // --- connections ---

    #[inline]
    fn conn_mut(&mut self, conn: ConnId) -> Option<&mut Conn> {
        self.conns.get_mut(conn.0 as usize)?.as_mut()
    }

    fn conn_event(&mut self, conn: ConnId, event: &Event) {
        let Some(state) = self.conn_mut(conn) else {
            return; // closed earlier in this turn
        };
        let read_closed = event.is_read_closed();
        state.read_closed |= read_closed;
        if event.is_writable() && state.full {
            state.full = false;
            self.unflushed.push(conn);
        }
        let is_gone = event.is_error() || (read_closed && event.is_write_closed());
        if is_gone && !self.driver.engine().wants_read(conn) {
            self.close(conn, CloseReason::Error);
        } else if event.is_readable() || read_closed || is_gone {
            self.read(conn);
        }
    }

    /// Reads what is there, at most [`READS_MAX`] times.
    fn read(&mut self, conn: ConnId) {
        let Some(Some(state)) = self.conns.get_mut(conn.0 as usize) else {
            return;
        };
        for reads in 0..READS_MAX {
            if !self.driver.engine().wants_read(conn) {
                return; // poll_resumed names it when it does
            }
            let reason = match self.driver.read(conn, &mut state.stream) {
                Ok(ReadResult::Short) if !state.read_closed => return,
                // The end comes with the next turn: what was asked before it is answered first.
                Ok(ReadResult::Short) => break,
                Ok(ReadResult::Full) => continue,
                Ok(ReadResult::Eof) if reads > 0 => break,
                Ok(ReadResult::Eof) => CloseReason::Eof,
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => return,
                    ErrorKind::Interrupted => continue,
                    _ => CloseReason::Error,
                },
            };
            return self.close(conn, reason);
        }
        self.read_next_turn(conn);
    }

    fn read_next_turn(&mut self, conn: ConnId) {
        if let Some(Some(state)) = self.conns.get_mut(conn.0 as usize)
            && !state.queued
        {
            state.queued = true;
            self.ready.push(conn);
        }
    }

    fn close(&mut self, conn: ConnId, reason: CloseReason) {
        self.driver.closed(conn, reason);
        self.disconnect(conn);
    }

    /// Closes the socket.
    fn disconnect(&mut self, conn: ConnId) {
        if let Some(state) = self.conns.get_mut(conn.0 as usize) {
            *state = None;
        }
    }

    /// Offers every client its replies.
    fn flush(&mut self) {
        // A reply would tell of what is not on disk.
        if self.driver.engine().withholds_replies() {
            return;
        }
        if !self.unflushed.is_empty() {
            let mut unflushed = std::mem::replace(
                &mut self.unflushed,
                std::mem::take(&mut self.unflushed_spare),
            );
            for conn in unflushed.drain(..) {
                self.flush_conn(conn);
            }
            self.unflushed_spare = unflushed;
        }
        while let Some(conn) = self.driver.poll_flush() {
            self.flush_conn(conn);
        }
    }

    fn flush_conn(&mut self, conn: ConnId) {
        let Some(Some(state)) = self.conns.get_mut(conn.0 as usize) else {
            return;
        };
        if state.full {
            if self.driver.blocked(conn) == Flush::Close {
                self.disconnect(conn);
            }
            return;
        }
        for _ in 0..WRITES_MAX {
            match self.driver.write(conn, &mut state.stream) {
                Ok(result) => match result.flush {
                    Flush::Drained => return,
                    Flush::Close => return self.disconnect(conn),
                    Flush::Pending if result.is_full => {
                        state.full = true;
                        return;
                    }
                    Flush::Pending => {}
                },
                Err(_) => return self.close(conn, CloseReason::Error),
            }
        }
        self.unflushed.push(conn);
    }

    // --- listeners ---

    fn listener_event(&mut self, token: Token) {
        if let Some(index) = self
            .listener_tokens
            .iter()
            .position(|&known| known == token)
        {
            self.listeners[index].waiting = true;
            self.is_accepting = true;
        }
    }

    /// Accepts who waits, in one turn no more than `max-new-connections-per-cycle`.
    fn accept(&mut self) {
        let config = self.driver.engine().config();
        let keepalive_s = settings::keepalive_s(config);
        let mut budget = settings::accepts_max(config);
        self.out_of_files = false;
        for index in 0..self.listeners.len() {
            while self.listeners[index].waiting && budget > 0 && !self.out_of_files {
                match accept_one(&self.listeners[index].socket, keepalive_s) {
                    Ok((stream, peer)) => {
                        budget -= 1;
                        self.welcome(stream, peer);
                    }
                    Err(error) => self.accept_failed(index, &error),
                }
            }
        }
        self.is_accepting = self.listeners.iter().any(|listener| listener.waiting);
    }

    fn accept_failed(&mut self, index: usize, error: &io::Error) {
        let is_out_of_files = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
            .iter()
            .any(|errno| Some(errno.raw_os_error()) == error.raw_os_error());
        match error.kind() {
            ErrorKind::WouldBlock => self.listeners[index].waiting = false,
            // The client gave up, or a signal came: the next one may be fine.
            ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
            _ => {
                // Without an edge to come: stay "waiting" when files may become free again.
                self.out_of_files = is_out_of_files;
                self.listeners[index].waiting = is_out_of_files;
                let age = self.now.0.wrapping_sub(self.out_of_files_logged.0);
                if !(0..ACCEPT_LOG_INTERVAL_US).contains(&age) {
                    self.out_of_files_logged = self.now;
                    warn!("Accepting client connection: {}", plain(error));
                }
            }
        }
    }

    fn welcome(&mut self, stream: Stream, peer: Peer) {
        while let Some(left) = self.driver.poll_left() {
            self.conns.try_remove(left.0 as usize);
        }
        let mut state = Conn::new(stream);
        let place = self.conns.vacant_entry();
        let token = Token(place.key());
        let conn = ConnId(token.0 as u32);
        let registered = state.stream.register(self.poll.registry(), token);
        place.insert(Some(state));
        self.driver.accept(conn, peer);
        if let Err(error) = registered {
            warn!("Error registering a client's socket: {}", plain(&error));
            self.close(conn, CloseReason::Error);
        }
    }

    /// Makes `listeners` the ones that are listened to; those that were already stay registered.
    fn adopt(&mut self, listeners: Vec<Listener>) -> io::Result<()> {
        self.listener_tokens.clear();
        self.listeners = listeners;
        for listener in &mut self.listeners {
            let token = Token(LISTENERS_START + self.listeners_made);
            self.listeners_made += 1;
            listener.register(self.poll.registry(), token)?;
            self.listener_tokens.push(token);
            // Clients that came before the registration, or between two of them.
            listener.waiting = true;
        }
        self.is_accepting = true;
        Ok(())
    }

    /// Listens as the configuration says now. On failure everything is as it was.
    fn relisten(&mut self) -> Result<(), String> {
        let wanted = Listening::of(self.driver.engine().config());
        let mut warnings = Vec::new();
        let mut old = std::mem::take(&mut self.listeners);
        for listener in &mut old {
            listener.deregister(self.poll.registry());
        }
        let mut result = listen::open(&wanted, &mut old, &mut warnings);
        if let Err(ListenError::Tcp { in_use: true, .. }) = result {
            // It may be ourselves who is in the way: `127.0.0.1` blocks `*` on the same port.
            let closed: Vec<_> = old.iter().filter_map(Listener::tcp_addr).collect();
            old.retain(|listener| listener.path().is_some());
            warnings.clear();
            result = listen::open(&wanted, &mut old, &mut warnings);
            if result.is_err() {
                old.retain(|listener| listener.path().is_some());
                listen::reopen(closed, &wanted, &mut old);
            }
        }
        for warning in &warnings {
            warn!("{warning}");
        }
        let (listeners, outcome) = match result {
            Ok(opened) => {
                for path in old.iter().filter_map(Listener::path) {
                    if !opened
                        .listeners
                        .iter()
                        .any(|listener| listener.path() == Some(path))
                    {
                        disk::remove(path);
                    }
                }
                (opened.listeners, Ok(()))
            }
            Err(error) => {
                warn!("{error}");
                (old, Err(error.to_string()))
            }
        };
        self.adopt(listeners).map_err(|error| plain(&error))?;
        outcome
    }

    // --- orders ---

    /// Does what the engine ordered; the exit code if that was the end.
    fn obey_orders(&mut self) -> Option<i32> {
        let mut exit = None;
        let mut has_answered = false;
        while let Some(order) = self.driver.poll_order() {
            match order {
                Order::Log { level, text } => server_log::write(level, &text),
                Order::RewriteConfig { ticket, all } => {
                    let outcome = disk::rewrite_config(self.driver.engine(), all, self.auto_port);
                    match &outcome {
                        Ok(()) => info!("CONFIG REWRITE executed with success."),
                        Err(why) => warn!("CONFIG REWRITE failed: {why}"),
                    }
                    self.driver.done(ticket, outcome.map(|()| Vec::new()));
                    has_answered = true;
                }
                Order::Listen { ticket } => {
                    let outcome = self.relisten();
                    self.driver.done(ticket, outcome.map(|()| Vec::new()));
                    has_answered = true;
                }
                Order::RaiseFileLimit { ticket, maxclients } => {
                    let outcome = make_room(maxclients);
                    self.driver.done(ticket, outcome.map(|()| Vec::new()));
                    has_answered = true;
                }
                Order::ChangeDir { ticket } => {
                    let outcome = disk::change_dir(&self.driver.engine().config().dir);
                    self.driver.done(ticket, outcome);
                    has_answered = true;
                }
                Order::ReadAclFile { ticket } => {
                    let outcome = disk::read_acl_file(&self.driver.engine().config().aclfile);
                    self.driver.done(ticket, outcome);
                    has_answered = true;
                }
                Order::WriteAclFile { ticket, text } => {
                    let path = &self.driver.engine().config().aclfile;
                    let outcome = disk::write_acl_file(path, &text);
                    if let Err(why) = &outcome {
                        warn!("Writing the ACL file for ACL SAVE: {why}");
                    }
                    self.driver.done(ticket, outcome.map(|()| Vec::new()));
                    has_answered = true;
                }
                Order::AdjustOomScore { ticket } => {
                    let outcome = self.oom_score.apply(self.driver.engine().config());
                    self.driver.done(ticket, outcome.map(|()| Vec::new()));
                    has_answered = true;
                }
                Order::LookAtConfig => self.care(),
                Order::PurgeMemory => alloc::purge(),
                Order::ReadFile { .. } => self.read_next = Some(order),
                Order::OpenFile {
                    file,
                    path,
                    syncs_often,
                } => self.order_file(Job::Open {
                    file,
                    path: path_of(&path),
                    syncs_often,
                }),
                Order::WriteFile {
                    file,
                    ticket,
                    bytes,
                } => self.order_file(Job::Write {
                    file,
                    ticket,
                    bytes,
                }),
                Order::EndFile {
                    file,
                    ticket,
                    has_checksum,
                    computes_checksum,
                    target,
                } => self.order_file(Job::End {
                    file,
                    ticket,
                    has_checksum,
                    computes_checksum,
                    target: path_of(&target),
                }),
                Order::WriteWhole {
                    ticket,
                    path,
                    bytes,
                } => {
                    let written = files::write_bytes(&path_of(&path), &bytes);
                    let failed = |(step, error): (FileStep, _)| step.failed(&plain(&error));
                    let outcome = written.map(|()| Vec::new()).map_err(failed);
                    self.driver.done(ticket, outcome);
                    has_answered = true;
                }
                Order::Rename { ticket, from, to } => {
                    let renamed = files::rename(&path_of(&from), &path_of(&to));
                    let outcome = renamed.map(|()| Vec::new());
                    self.driver
                        .done(ticket, outcome.map_err(|error| plain(&error)));
                }
                Order::MakeFolder { ticket, path } => {
                    let made = files::make_folder(&path_of(&path));
                    let outcome = made.map(|()| Vec::new());
                    self.driver
                        .done(ticket, outcome.map_err(|error| plain(&error)));
                    has_answered = true;
                }
                Order::RemoveFiles { ticket, paths } => {
                    let paths = paths.iter().map(|path| path_of(path)).collect();
                    self.order_file(Job::Remove { paths, ticket });
                }
                Order::OpenAof {
                    before,
                    path,
                    truncate_to,
                } => {
                    let outcome = self.aof.append_last(&before);
                    self.tell_aof(outcome);
                    let (old, outcome) = self.aof.switch(&path_of(&path), truncate_to);
                    self.sync_old(old);
                    self.tell_aof(Some(outcome));
                    has_answered = true;
                }
                Order::CloseAof { before } => {
                    // Nobody waits for what is written here, so nobody is told how it went.
                    let _ = self.aof.append_last(&before);
                    let old = self.aof.close();
                    self.sync_old(old);
                }
                Order::SyncAof { ticket } => match self.aof.handle() {
                    Ok(file) => self.order_file(Job::Sync { file, ticket }),
                    Err(error) => self.driver.done(ticket, Err(plain(&error))),
                },
                Order::RetryAof => {
                    let outcome = self.aof.retry();
                    self.tell_aof(outcome);
                }
                Order::DropFile { file } => self.order_file(Job::Drop { file }),
                Order::Ready => {
                    if let Some(say) = self.on_ready.take() {
                        say(&self.listeners);
                    }
                }
                Order::Stopping => {
                    if let Some(say) = self.on_stop.take() {
                        say();
                    }
                }
                Order::Exit { code } => exit = Some(code),
            }
        }
        if has_answered || exit.is_some() {
            self.driver.turn_end();
            self.write_aof();
            self.flush();
        }
        exit
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

fn accept_one(socket: &ListenSocket, keepalive_s: u32) -> io::Result<(Stream, Peer)> {
    match socket {
        ListenSocket::Tcp { socket, .. } => {
            let (stream, addr) = socket.accept()?;
            set_options(&stream, keepalive_s);
            let peer = tcp_peer(&stream, addr);
            Ok((Stream::Tcp(stream), peer))
        }
        ListenSocket::Unix { socket, path, .. } => {
            let (stream, _) = socket.accept()?;
            let peer = unix_peer(&stream, path);
            Ok((Stream::Unix(stream), peer))
        }
    }
}

/// Room for `max_clients`, all of them or none.
fn make_room(max_clients: usize) -> Result<(), String> {
    let limit = process::raise_file_limit(max_clients)?;
    if limit.max_clients < max_clients {
        return Err(format!(
            "The operating system is not able to handle the specified number of clients, try with {}",
            limit.max_clients
        ));
    }
    for (_, line) in limit.lines {
        info!("{line}");
    }
    Ok(())
}
