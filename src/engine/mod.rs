//! Engine: the deterministic state machine between the shell and the commands.
//!
//! It learns by `handle_*`, is asked by `poll_*`, and never calls out: the same start and the same Inputs give
//! the same output. Lives here: clients' coming and going, the way of a request from bytes to reply, gates,
//! ticks. May not: name a clock, a file, a socket or a thread.

#[cfg(test)]
mod bench;
mod blocking;
mod exec;
mod expiry;
mod flush;
mod gates;
mod loaded;
mod report;
mod run;
mod script;
mod tick;
mod timing;
mod transaction;
mod waiting;

use crate::border::{
    Appended, Boot, CloseReason, Input, LogLevel, Order, Peer, Reading, Signal, Want,
};
use crate::command::client::describe;
use crate::command::{CommandError, Registry, acl};
use crate::config::Config;
use crate::engine::expiry::Expiry;
use crate::engine::loaded::{Runner, loading_client};
use crate::engine::script::ScriptSeat;
use crate::engine::tick::Cron;
use crate::engine::timing::Clock;
use crate::engine::waiting::Ready;
use crate::resp::{ArgPos, OwnedArgs};
use crate::state::aof::Batch;
use crate::state::loading::RunCommand;
use crate::state::meter::{Finding, Meter};
use crate::state::server::{Process, Recording};
use crate::state::{Client, ClientFlags, ConnId, Server, UnixMicros};

/// Space offered for one read.
const READ_CHUNK: usize = 16 * 1024;

/// The state machine.
pub struct Engine {
    server: Server,
    registry: Registry,

    /// Where bytes of clients without an unfinished request are read to, so that idle clients own no buffer.
    shared_read: Vec<u8>,
    /// Reused space for one run of commands.
    batch: Vec<run::Request>,
    argv: Vec<ArgPos>,

    /// The client for which the shell was asked for what is wanted.
    asking: Option<ConnId>,
    /// Those whose waits have ended.
    ready: Ready,
    /// When a client that speaks HTTP was last logged.
    http_warned: Option<UnixMicros>,
    /// Commands processed up to the turn's start.
    commands_before: u64,
    clock: Clock,
    cron: Cron,
    expiry: Expiry,
    script: ScriptSeat,

    /// Blocked clients are being served.
    is_serving: bool,
    /// In whose name the commands of a file run that is loaded.
    loading_client: Option<Box<Client>>,
    /// Where the command that runs is to be found, for the report of a crash.
    seat: report::Seat,
    trace: Option<Vec<(ConnId, u64, String)>>,
}

impl Engine {
    /// An engine that has seen nothing yet. Fails when a command cannot be renamed as configured, its users are not
    /// sound, or it is to be what it is not yet.
    pub fn new(boot: Boot) -> Result<Engine, String> {
        let registry = Registry::new(&boot.rename_commands)?;
        if let Some(text) = boot.config.wants_absent() {
            return Err(text);
        }
        let process = Process {
            pid: boot.pid,
            executable: boot.executable,
            os: boot.os,
            config_file: boot.config_file,
            secret: boot.secret,
            recording: match boot.is_recorded {
                true => Recording::On,
                false => Recording::Off,
            },
        };
        let mut server = Server::new(boot.config, process, boot.seed, boot.now);
        acl::begin(
            &mut server,
            &registry,
            &boot.users,
            boot.acl_file.as_deref(),
        )?;
        server.eviction_changed();
        server.command_stats = vec![Default::default(); registry.len()];
        Ok(Engine {
            server,
            registry,
            shared_read: Vec::new(),
            batch: Vec::new(),
            argv: Vec::new(),
            asking: None,
            ready: Ready::default(),
            http_warned: None,
            commands_before: 0,
            clock: Clock::new(boot.now),
            cron: Cron::new(boot.now),
            expiry: Expiry::new(boot.now),
            script: ScriptSeat::default(),
            is_serving: false,
            loading_client: None,
            seat: report::Seat::default(),
            trace: boot.replaying.then(Vec::new),
        })
    }

    /// Feeds any Input: the form that replay uses.
    pub fn handle(&mut self, input: &Input<'_>) {
        match input {
            Input::Time(now) => self.handle_time(*now),
            Input::TurnEnd(now) => self.handle_turn_end(*now),
            Input::Accept { conn, peer } => self.handle_accept(*conn, peer.clone()),
            Input::Read { conn, bytes } => {
                let mut rest = *bytes;
                if rest.is_empty() {
                    self.read_buffer(*conn);
                }
                while !rest.is_empty() {
                    let space = self.read_buffer(*conn);
                    if space.is_empty() {
                        return;
                    }
                    let len = rest.len().min(space.len());
                    let (now, later) = rest.split_at(len);
                    space[..len].copy_from_slice(now);
                    self.handle_read(*conn, len);
                    rest = later;
                }
            }
            Input::Closed { conn, reason } => self.handle_closed(*conn, *reason),
            Input::Wrote { conn, len } => {
                self.handle_wrote(*conn, *len);
            }
            Input::Clock(now) => self.handle_clock(*now),
            Input::Reading(reading) => self.handle_reading(*reading),
            Input::Done { ticket, outcome } => self.handle_done(*ticket, outcome.clone()),
            Input::Appended(appended) => self.handle_appended(*appended),
            Input::Signal(signal) => self.handle_signal(*signal),
            Input::Chunk {
                ticket,
                size,
                bytes,
            } => self.handle_chunk(*ticket, *size, bytes),
        }
    }

    /// The journal has ended: it could not be written any more. INFO shows it; no other answer depends on it.
    pub fn handle_journal_lost(&mut self) {
        self.server.process.recording = Recording::Lost;
    }

    /// The server starts: it loads what it left behind. Only then do clients get what they ask for.
    pub fn handle_start(&mut self) {
        self.server.load_at_start();
    }

    /// A chunk of a file that is loaded.
    pub fn handle_chunk(&mut self, ticket: u64, size: Option<u64>, bytes: &[u8]) {
        self.with_loader(|server, run| server.take_chunk(ticket, size, bytes, run));
        self.settle_answers();
    }

    /// What the append-only file gets before replies leave.
    pub fn take_aof_batch(&mut self) -> Option<Batch> {
        self.server.take_aof_batch()
    }

    /// How long it took to append that.
    pub fn handle_appended(&mut self, appended: Appended) {
        self.count_appended(appended);
    }

    /// Whether replies leave when what they tell of is on disk, and not before.
    #[inline]
    pub fn syncs_always(&self) -> bool {
        self.server.effects.propagating() && self.server.syncs_always()
    }

    /// Whether no reply leaves any more: they would promise what cannot be kept.
    #[inline]
    pub fn withholds_replies(&self) -> bool {
        self.server.aof.is_lost
    }

    /// Whether the append-only file goes on in another file, which the shell is still to open.
    #[inline]
    pub fn is_opening_aof(&self) -> bool {
        self.server.aof.is_opening()
    }

    /// Gives loading a way to run the commands of an append-only file. Where one is a script, that runs to its end
    /// before loading goes on.
    fn with_loader(&mut self, load: impl FnOnce(&mut Server, &mut RunCommand<'_>)) {
        self.load_up_to_script(load);
        while self.server.loading_awaits_script() && self.server.scripting.running.is_none() {
            self.run_loaded_script(|engine, client| {
                let id = client.last_command?;
                engine.start_script(client, id)
            });
        }
    }

    /// Goes on with the script that loading waits for, and with loading once that is through.
    fn run_loaded_script(
        &mut self,
        run: impl FnOnce(&mut Engine, &mut Client) -> Option<Result<(), CommandError>>,
    ) {
        let Some(mut client) = self.loading_client.take() else {
            return;
        };
        client.stop_waiting();
        let result = run(self, &mut client);
        self.loading_client = Some(client);
        if result.is_some() || self.server.scripting.running.is_none() {
            // What it has changed is in the file already.
            self.server.flush_effects(false);
            self.server.end_loaded_script();
            self.load_up_to_script(|server, run| server.advance_loading(run));
        }
    }

    /// The script that loading waits for can go on.
    pub(super) fn resume_loaded_script(&mut self) {
        self.run_loaded_script(Engine::resume_script);
        self.with_loader(|_, _| {});
        self.settle_answers();
    }

    fn load_up_to_script(&mut self, load: impl FnOnce(&mut Server, &mut RunCommand<'_>)) {
        if self.server.persistence.loading.is_none() {
            return;
        }
        let now = self.server.now;
        let mut client = self
            .loading_client
            .take()
            .unwrap_or_else(|| loading_client(now));
        let mut runner = Runner {
            registry: &self.registry,
            client: &mut client,
            owned: OwnedArgs::default(),
        };
        load(&mut self.server, &mut runner);
        if self.server.persistence.loading.is_some() {
            self.loading_client = Some(client);
        }
    }

    /// The clock at the start of a loop turn. Runs the ticks that are due.
    pub fn handle_time(&mut self, now: UnixMicros) {
        self.count_turn();
        if self.server.scripting.busy.is_some() {
            // For a script the time stands still, and so do the ticks.
            self.clock.last = now;
            self.continue_busy_script();
            return;
        }
        self.server.set_now(now);
        self.clock.last = now;
        self.clock.is_fresh = false;
        self.server.aof.begin_turn();
        self.server.begin_eviction_turn();
        self.tick();
        self.settle_answers();
    }

    /// The turn that ends was as long as the clock readings in it tell.
    fn count_turn(&mut self) {
        let elapsed_us = self.clock.last.since(self.server.now);
        let stats = &mut self.server.stats;
        stats.cycles += 1;
        stats.cycle_us += elapsed_us;
        stats.cycle_us_max = stats.cycle_us_max.max(elapsed_us);
        let commands = stats
            .commands_processed
            .saturating_sub(self.commands_before);
        stats.cycle_commands_max = stats.cycle_commands_max.max(commands);
        self.commands_before = stats.commands_processed;
    }

    /// The clock at the end of a loop turn in which something was read: the commands that were not timed
    /// one by one share what has passed. Then clients are told of the changes that they asked to hear of once a turn.
    pub fn handle_turn_end(&mut self, now: UnixMicros) {
        self.time_snapshot_start(now);
        self.settle_untimed(now);
        if self.server.tracking.has_broadcasts() {
            self.server.broadcast_changes();
        }
    }

    /// Whether a connection of this number can come: the shell gives only such ones, but a journal may say anything.
    pub fn can_accept(&self, conn: ConnId) -> bool {
        self.server.clients.is_free(conn)
    }

    /// A connection was accepted, and its number is free. One that is refused gets its error and is closed at the next flush.
    pub fn handle_accept(&mut self, conn: ConnId, peer: Peer) {
        let id = self.server.next_client_id;
        self.server.next_client_id += 1;
        let mut client = Box::new(Client::new(conn, id, self.server.now));
        client.flags.set(ClientFlags::UNIX_SOCKET, peer.is_unix);
        client.fd = peer.fd;
        client.authenticated = self.server.users.default_user().is_open();
        let refusal = self.refusal(&peer);
        client.addr = peer.addr;
        client.local_addr = peer.local_addr;
        match refusal {
            Some(text) => {
                self.server.stats.rejected_connections += 1;
                client.reply.error(&text);
                client.close_after_reply();
                client.flags.set(ClientFlags::FLUSH_QUEUED, true);
                self.server.queue_flush(conn);
            }
            None => {
                self.server.stats.connections_received += 1;
                if self.server.logs(LogLevel::Verbose) {
                    let text = format!("Accepted {}", client.addr);
                    self.server.log(LogLevel::Verbose, text);
                }
            }
        }
        self.server.clients.insert(client);
    }

    /// The next connection whose number can be used again: nothing of it is left.
    pub fn poll_left(&mut self) -> Option<ConnId> {
        self.server.clients.poll_left()
    }

    fn refusal(&self, peer: &Peer) -> Option<&'static str> {
        let config = &self.server.config;
        if self.server.clients.len() as i64 >= config.maxclients {
            return Some("ERR max number of clients reached");
        }
        let has_no_password = self.server.users.default_user().has_no_password();
        if config.protected_mode && has_no_password && !peer.is_local {
            return Some(
                "DENIED Retrace is running in protected mode because protected mode is enabled and no password \
                 is set for the default user. In this mode connections are only accepted from the loopback \
                 interface. To connect from other computers, either set a password for the default user, or \
                 run 'CONFIG SET protected-mode no' from the server's own machine, or start the server with \
                 '--protected-mode no'.",
            );
        }
        None
    }

    /// Space for the connection's next bytes; empty only if there is no such connection.
    pub fn read_buffer(&mut self, conn: ConnId) -> &mut [u8] {
        let Some(client) = self.server.clients.get_mut(conn) else {
            return &mut [];
        };
        let has_big_space = client.parser.big_space().is_some();
        let is_fresh = client.query_pos == client.query_end && !has_big_space;
        client.flags.set(ClientFlags::SHARED_READ, is_fresh);
        if is_fresh {
            if self.shared_read.len() < READ_CHUNK {
                self.shared_read.resize(READ_CHUNK, 0);
            }
            return &mut self.shared_read[..READ_CHUNK];
        }
        if has_big_space {
            return client.parser.big_space().unwrap_or_default();
        }
        client.query_space(READ_CHUNK)
    }

    /// `len` bytes were put at the start of the space from [`Engine::read_buffer`].
    pub fn handle_read(&mut self, conn: ConnId, len: usize) {
        let Some(client) = self.server.clients.get_mut(conn) else {
            return;
        };
        // What passed in the read is no command's time.
        self.clock.is_fresh = false;
        self.server.stats.reads_processed += 1;
        self.server.stats.net_input_bytes += len as u64;
        client.net_input_bytes += len as u64;
        client.last_interaction = self.server.now;
        if client.flags.has(ClientFlags::SHARED_READ) {
            client.query_pos = 0;
            client.query_end = len;
        } else if client.parser.big_space().is_some() {
            client.parser.big_filled(len);
        } else {
            client.query_end += len;
        }
        self.server.count_client_at(conn);
        self.evict_clients();
        self.process(conn);
        self.run_ready();
    }

    /// The other side is gone; the connection's number is free afterwards.
    pub fn handle_closed(&mut self, conn: ConnId, reason: CloseReason) {
        let Some(client) = self.server.clients.get(conn) else {
            return;
        };
        if self.server.logs(LogLevel::Verbose) {
            let line = describe(&self.server, client, &self.registry);
            let what = match reason {
                CloseReason::Eof => "Client closed connection",
                CloseReason::Error => "Error on connection",
            };
            let text = format!("{what} {}", line.trim_end());
            self.server.log(LogLevel::Verbose, text);
        }
        self.part_with(conn);
    }

    /// What the shell must give before anything else goes on.
    pub fn poll_want(&mut self) -> Option<Want> {
        self.server.want
    }

    /// The clock that was asked for: the command that ran is timed, and its client goes on.
    pub fn handle_clock(&mut self, now: UnixMicros) {
        // Who slept finds the time gone on, although the turn is the same; for a script it stands still.
        let is_in_script = self.server.scripting.running.is_some();
        if matches!(self.server.want, Some(Want::Sleep { .. })) && !is_in_script {
            self.server.set_now(now);
        }
        self.server.want = None;
        self.finish_timed(now);
        self.answered();
    }

    /// The process reading that was asked for.
    pub fn handle_reading(&mut self, reading: Reading) {
        self.server.want = None;
        self.server.reading = reading;
        if self.server.startup_memory == 0 {
            self.server.startup_memory = reading.used_memory;
        }
        self.server.peak_memory = self.server.peak_memory.max(reading.used_memory);
        self.server.end_due_hotkeys();
        self.clock.reading_is_fresh = true;
        self.answered();
        self.clock.reading_is_fresh = false;
    }

    /// Whether the shell has lines to write to the log.
    #[inline]
    pub fn has_log_lines(&self) -> bool {
        let mut orders = self.server.orders.iter();
        orders.any(|order| matches!(order, Order::Log { .. }))
    }

    /// What the shell is to do.
    pub fn poll_order(&mut self) -> Option<Order> {
        self.server.orders.pop_front()
    }

    /// A signal asks for the end.
    pub fn handle_signal(&mut self, signal: Signal) {
        let is_again = self.server.persistence.shutdown.is_some();
        if is_again {
            if signal == Signal::Interrupt {
                self.server.insist_on_shutdown();
            }
            return;
        }
        let config = &self.server.config;
        let flags = match signal {
            Signal::Interrupt => config.shutdown_on_sigint,
            Signal::Terminate => config.shutdown_on_sigterm,
        };
        self.server.log(LogLevel::Warning, signal.announcement());
        self.server.ask_shutdown(flags, None);
        self.settle_answers();
    }

    /// The configuration as it stands.
    pub fn config(&self) -> &Config {
        &self.server.config
    }

    /// Commands executed since the start or the last CONFIG RESETSTAT.
    pub fn commands_processed(&self) -> u64 {
        self.server.stats.commands_processed
    }

    /// Whether the turn's end is to be told: commands ran whose time is not settled, or changes are to be broadcast.
    pub fn wants_turn_end(&self) -> bool {
        !self.clock.untimed.is_empty() || self.server.tracking.has_broadcasts()
    }

    /// The commands that `conn` ran since its output was last drained: where each one's reply begins in the
    /// reply stream, and its text. Kept only by an engine that replays.
    pub fn command_trace(&self, conn: ConnId) -> Vec<(u64, String)> {
        let trace = self.trace.iter().flatten();
        trace
            .filter(|(of, ..)| *of == conn)
            .map(|(_, pos, text)| (*pos, text.clone()))
            .collect()
    }

    /// The users as lines of a configuration file: `user NAME rules...`.
    pub fn user_lines(&self) -> Vec<String> {
        let users = self.server.users.iter();
        users
            .map(|user| String::from_utf8_lossy(&user.describe()).into_owned())
            .collect()
    }

    /// From now on the meter's findings are noted, to be taken after each Input.
    pub fn note_findings(&mut self) {
        self.server.meter.start_noting();
    }

    /// Whether the last Input made the meter find something.
    #[inline]
    pub fn has_findings(&self) -> bool {
        self.server.meter.has_noted()
    }

    /// What the meter found in the course of the last Input.
    pub fn take_findings(&mut self) -> Vec<Finding> {
        self.server.meter.take_noted()
    }

    /// From now on the meter finds what it is fed, and nothing by itself: a recorded run is repeated.
    pub fn repeat_findings(&mut self) {
        self.server.meter = Meter::replaying();
    }

    /// What the meter will find in the course of the next Input, when a run is repeated.
    pub fn feed_findings(&mut self, findings: &[Finding]) {
        self.server.meter.feed(findings.iter().copied());
    }

    /// How many of the findings fed nobody has asked for.
    pub fn unasked_findings(&self) -> usize {
        self.server.meter.unasked()
    }

    /// The configuration file that CONFIG REWRITE writes to.
    pub fn config_file(&self) -> Option<&str> {
        self.server.process.config_file.as_deref()
    }

    /// The connection is closed. Its client is forgotten, unless a transaction or a script of it has begun: that has
    /// been accepted, and goes on to its end whoever is still there to hear of it.
    fn part_with(&mut self, conn: ConnId) {
        let client = self.server.clients.get(conn);
        if client.is_some_and(|client| self.has_begun(client)) {
            self.server.clients.retire(conn);
            self.server.count_client_at(conn);
        } else {
            self.forget(conn);
        }
    }

    /// Drops a client and everything that points to it.
    fn forget(&mut self, conn: ConnId) {
        self.forget_blocked(conn);
        let client = self.server.clients.remove(conn);
        self.server.clients_memory -= client.as_ref().map_or(0, |client| client.counted_bytes);
        if client.is_some_and(|client| client.flags.has(ClientFlags::FLUSH_QUEUED)) {
            self.server.flush_queue.retain(|of| *of != conn);
            self.server.push_queue.retain(|of| *of != conn);
        }
        self.server.pushes.forget(conn);
        self.forget_waiting(conn);
        if let Some(trace) = &mut self.trace {
            trace.retain(|(of, ..)| *of != conn);
        }
    }
}
