//! Executing one command: past the gates, the handler, what follows, the accounts.

use crate::border::Want;
use crate::command::registry::Unknown;
use crate::command::slowlog::{REDACTED, is_secret};
use crate::command::spec::Flags;
use crate::command::tracking::track_reads;
use crate::command::{CommandError, CommandId, Ctx};
use crate::engine::Engine;
use crate::engine::gates::{gate, is_http};
use crate::engine::report::Seated;
use crate::resp::{Args, OwnedArgs};
use crate::state::eviction::Room;
use crate::state::monitor::Source;
use crate::state::{Client, ClientFlags, Waiting};

/// What comes after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The client's next command.
    Next,
    /// It ran, and its client's next command must wait.
    Stop,
    /// It has begun, and its arguments are kept until it has come to its end.
    Begun,
    /// It could not run yet.
    Wait,
}

/// Why a command does not run now.
enum Hindrance {
    /// It is refused with this error.
    Refused(CommandError),
    /// Its client waits, and it comes to the gates again.
    Waits,
}

impl From<CommandError> for Hindrance {
    fn from(error: CommandError) -> Hindrance {
        Hindrance::Refused(error)
    }
}

impl Engine {
    /// Runs one command, unless something has to happen before.
    pub(super) fn execute(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        command: Option<CommandId>,
        first_key: Option<(usize, u64)>,
    ) -> Step {
        if args.is_empty() {
            return Step::Next;
        }
        let Some(id) = command else {
            return self.execute_unknown(client, args);
        };
        let timed = self.is_timed(id, args);
        match self.admit(client, id, args, timed) {
            Ok(()) => {}
            Err(Hindrance::Refused(error)) => {
                if self.is_exec(id) && !self.server.monitors.is_empty() {
                    self.feed_monitors(client, args, id);
                }
                self.refuse(client, Some(id), &error);
                return Step::Next;
            }
            Err(Hindrance::Waits) => return Step::Wait,
        }
        if client.multi.is_some() && self.queues(id) {
            self.queue(client, id, args);
            return Step::Next;
        }
        if self.awaits_reading(client, id) {
            return Step::Wait;
        }
        if timed && self.is_exec(id) {
            self.clock.exec_began = Some(self.clock.last);
        }
        let is_sampled = timed && self.server.hotkeys.times_next();
        self.clock.is_timing = timed;
        self.call(client, args, id, first_key);
        self.clock.is_timing = false;
        self.conclude(client, id, timed, is_sampled)
    }

    /// There is no such command.
    fn execute_unknown(&mut self, client: &mut Client, args: Args<'_>) -> Step {
        let unknown = self.registry.find(args).err().unwrap_or(Unknown::Command);
        if matches!(unknown, Unknown::Command) && is_http(args) {
            self.abort_http(client);
            return Step::Stop;
        }
        let error = unknown.error(args);
        self.refuse(client, None, &error);
        Step::Next
    }

    /// Whether the command may run now, or be queued: one reason against it after the other.
    #[inline]
    fn admit(
        &mut self,
        client: &mut Client,
        id: CommandId,
        args: Args<'_>,
        timed: bool,
    ) -> Result<(), Hindrance> {
        if timed && !self.clock.is_fresh {
            self.ask(client, Want::Clock);
            return Err(Hindrance::Waits);
        }
        let command = self.registry.get(id);
        gate(&mut self.server, &self.registry, client, command, args)?;
        if !self.server.restraint.is_none() {
            self.restrain(client, id, args)?;
        }
        if self.server.config.maxmemory > 0 {
            self.find_room(client, id, args)?;
        }
        if self.server.lacks_replicas()
            && self.flags_with_script(client, id, args).has(Flags::WRITE)
        {
            self.server.refuse_unreplicated()?;
        }
        if self.server.tracks_too_much() {
            self.server.shrink_tracking();
            self.deliver_pushes(client);
        }
        if self.is_paused(client, id, args) {
            client.wait_for(Waiting::Pause);
            return Err(Hindrance::Waits);
        }
        Ok(())
    }

    /// What a special state of the server means for a command.
    #[cold]
    fn restrain(
        &self,
        client: &mut Client,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<(), Hindrance> {
        if let Some(waiting) = self.restraint_of(client, id, args)? {
            client.wait_for(waiting);
            return Err(Hindrance::Waits);
        }
        Ok(())
    }

    /// Whether memory suffices for a command.
    #[cold]
    fn find_room(
        &mut self,
        client: &mut Client,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<(), Hindrance> {
        // The reading first: what room was made would have been forgotten behind it, and more keys would go.
        if self.awaits_reading(client, id) {
            return Err(Hindrance::Waits);
        }
        match self.room_for(client, id, args) {
            Some(Room::Enough | Room::Soon) => Ok(()),
            Some(Room::Nowhere) => Err(Hindrance::Refused(CommandError::OutOfMemory)),
            None => Err(Hindrance::Waits),
        }
    }

    /// What comes behind a command that was called: it may wait in its middle, or for its duration to be known.
    #[inline]
    fn conclude(
        &mut self,
        client: &mut Client,
        id: CommandId,
        timed: bool,
        is_sampled: bool,
    ) -> Step {
        // A transaction whose script stands still has run: what is left of it goes on by itself.
        let stands_still = client.begun.script && client.begun.exec.is_none();
        if stands_still || client.blocked().is_some() {
            if is_sampled && let Some(running) = &mut self.server.scripting.running {
                running.is_heavy = true;
                running.is_sampled = true;
            }
            return Step::Begun;
        }
        let heavy_since = self.clock.heavy_since.take();
        if timed || heavy_since.is_some() {
            self.clock.exec_began = self.clock.exec_began.or(heavy_since);
            self.ask(client, Want::Clock);
            self.clock.is_fresh = false;
            self.clock.is_sampled = is_sampled;
            return Step::Begun;
        }
        self.clock.is_fresh = false;
        self.share_time(id);
        match client.is_closing() || client.is_waiting() {
            true => Step::Stop,
            false => Step::Next,
        }
    }

    /// Whether a process reading has to be taken before the command runs, which then is on its way.
    #[inline]
    fn awaits_reading(&mut self, client: &mut Client, id: CommandId) -> bool {
        let is_wanted = self.flags_of(client, id).has(Flags::NEEDS_READING)
            && !self.clock.reading_is_fresh
            && !(client.multi.is_some() && self.queues(id));
        if is_wanted {
            self.ask(client, Want::Reading);
        }
        is_wanted
    }

    /// Calls the handler and settles its effects and accounts.
    pub(super) fn call(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        id: CommandId,
        first_key: Option<(usize, u64)>,
    ) {
        let outer = self.seat.take(client, &args);
        let seated = Seated {
            engine: self,
            client,
            args,
            outer,
        };
        seated
            .engine
            .call_seated(seated.client, args, id, first_key);
        seated.engine.seat.give_back(outer);
        // Nothing but a panic drops it.
        std::mem::forget(seated);
    }

    /// The steps of a call: the handler, what the reading of keys means, the command's end, and what follows from it.
    fn call_seated(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        id: CommandId,
        first_key: Option<(usize, u64)>,
    ) {
        let running = Some((client.conn, client.id));
        let outer = std::mem::replace(&mut self.server.running, running);
        let is_again = client.begun.waited.is_some();
        let replied_before = client.reply.written();
        self.prepare_call(client, args, id);
        let result = self.run_handler(client, args, id, first_key);
        self.note_reads(client, args, id);
        if self.end_call(client, args, id, result, replied_before) {
            self.weigh_if_watched(client, id, args, replied_before);
            self.follow_call(client, args, id, is_again);
        }
        self.server.running = outer;
    }

    /// What is known of a command before its handler runs.
    #[inline]
    fn prepare_call(&mut self, client: &mut Client, args: Args<'_>, id: CommandId) {
        client.last_command = Some(id);
        if let Some(trace) = &mut self.trace {
            let pos = client.replied_bytes + client.reply.pending() as u64;
            let name = &self.registry.get(id).full_name;
            trace.push((client.conn, pos, describe(name, args)));
        }
        let skips = ClientFlags::REPLY_SKIP.or(ClientFlags::REPLY_OFF);
        if client.flags.has_any(skips) {
            client.reply.set_muted(true);
        }
        self.server.no_touch = client.flags.has(ClientFlags::NO_TOUCH);
    }

    #[inline]
    fn run_handler(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        id: CommandId,
        first_key: Option<(usize, u64)>,
    ) -> Result<(), CommandError> {
        let spec = self.registry.get(id).spec;
        let dirty_before = self.server.effects.dirty;
        let dbid = client.dbid;
        let mut ctx = Ctx {
            server: &mut self.server,
            client,
            registry: &self.registry,
            command: id,
            first_key,
        };
        let result = (spec.handler)(&mut ctx, args);
        if client.reply.is_cut() {
            self.server.check_output_limit(client);
        }
        if self.server.effects.propagating() {
            let writes = spec.flags.has(Flags::WRITE);
            let effects = &mut self.server.effects;
            effects.settle_request(dbid, args, writes, dirty_before);
        }
        result
    }

    /// A tracking client has seen the keys that its command reads.
    #[inline]
    fn note_reads(&mut self, client: &mut Client, args: Args<'_>, id: CommandId) {
        if !client.flags.has(ClientFlags::TRACKING) {
            return;
        }
        let command = self.registry.get(id);
        // A script reads by its calls, whatever keys it was given.
        if command.spec.flags.has(Flags::READONLY) && !client.begun.script {
            track_reads(&mut self.server, client, command, args);
        }
    }

    /// Counts a command and replies its error, if it has come to its end; runs the script that it has prepared. Says
    /// whether there is something to follow up: nothing while the script stands still.
    #[inline]
    fn end_call(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        id: CommandId,
        result: Result<(), CommandError>,
        replied_before: usize,
    ) -> bool {
        if !self.server.monitors.is_empty() && self.registry.get(id).spec.runs_script() {
            // In front of the commands that the script runs, and also when it does not get as far as that.
            let source = Source::Client(client);
            let argv = args.iter_from(0);
            self.server.feed_monitors(source, client.dbid, argv);
        }
        if client.begun.script {
            return self.begin_script(client, args, id, replied_before);
        }
        match client.blocked() {
            // It counts when it is served.
            Some(wait) => self.server.waiters.add(client.dbid, client.conn, wait),
            None => self.settle_call(client, id, result),
        }
        true
    }

    /// Runs the script that the command has prepared; says whether it has come to its end.
    fn begin_script(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        id: CommandId,
        replied_before: usize,
    ) -> bool {
        match self.start_script(client, id) {
            Some(result) => self.settle_call(client, id, result),
            None => {
                if let Some(running) = &mut self.server.scripting.running {
                    running.argv = OwnedArgs::new(args);
                    running.replied_before = replied_before;
                }
                return false;
            }
        }
        true
    }

    #[inline]
    fn weigh_if_watched(
        &mut self,
        client: &Client,
        id: CommandId,
        args: Args<'_>,
        replied_before: usize,
    ) {
        let is_whole = !client.flags.has(ClientFlags::IN_SCRIPT) && client.blocked().is_none();
        if self.server.hotkeys.is_active() && is_whole {
            let replied = client.reply.written().saturating_sub(replied_before);
            self.weigh_call(id, args, replied);
        }
    }

    /// What comes behind a command by itself: the transaction that it has begun, those who watch, and all that follows
    /// from it. In a transaction or a script that comes behind the last command.
    #[inline]
    fn follow_call(&mut self, client: &mut Client, args: Args<'_>, id: CommandId, is_again: bool) {
        let is_watched = !self.server.monitors.is_empty() && !is_again;
        let follows_later = ClientFlags::IN_EXEC.or(ClientFlags::IN_SCRIPT);
        if client.flags.has_any(follows_later) {
            if is_watched {
                self.feed_monitors(client, args, id);
            }
            return;
        }
        if client.begun.exec.is_some() {
            self.run_exec(client);
            if self.stands_still(client) {
                return self.halt_exec(client, args);
            }
            client.begun.exec = None;
        }
        if is_watched {
            self.feed_monitors(client, args, id);
        }
        self.follow_up(client);
    }

    /// Shows a command to those who watch, unless it is none of their business.
    pub(super) fn feed_monitors(&mut self, client: &Client, args: Args<'_>, id: CommandId) {
        let command = self.registry.get(id);
        let flags = command.spec.flags;
        if flags.has(Flags::SKIP_MONITOR) || flags.has(Flags::ADMIN) {
            return;
        }
        let argv = (0..args.len()).map(|at| match is_secret(&command.full_name, args, at) {
            true => REDACTED,
            false => args.bytes(at),
        });
        let source = match client.flags.has(ClientFlags::IN_SCRIPT) {
            true => Source::Script,
            false => Source::Client(client),
        };
        self.server.feed_monitors(source, client.dbid, argv);
    }

    /// What follows from a command, or from a whole transaction.
    pub(super) fn follow_up(&mut self, client: &mut Client) {
        let skips = ClientFlags::REPLY_SKIP.or(ClientFlags::REPLY_OFF);
        if self.server.effects.has_propagated() {
            // What a walk through all keys finds expired is no transaction.
            let name = client
                .last_command
                .map(|id| self.registry.get(id).spec.name);
            let is_walk = matches!(name, Some("scan" | "keys" | "randomkey"));
            self.server.flush_effects(!is_walk);
        }
        if !self.server.pushes.is_empty() {
            self.deliver_pushes(client);
        }
        // Who was let go or is to be closed is not served by what the command has changed as well.
        if !self.server.unblocked.is_empty() {
            self.end_unblocked();
        }
        if !self.server.doomed.is_empty() {
            self.close_doomed();
        }
        // In the middle of a script nobody is served: what it has pushed may not be all.
        if self.server.waiters.has_ready() && self.server.scripting.busy.is_none() {
            self.serve_blocked();
            // The clients served may have had something to say to this one.
            if !self.server.pushes.is_empty() {
                self.deliver_pushes(client);
            }
        }
        let passing = skips
            .or(ClientFlags::REPLY_SKIP_NEXT)
            .or(ClientFlags::CACHING);
        if client.flags.has_any(passing) || client.reply.is_muted() {
            match client.blocked().is_some() || client.awaits_answer() {
                true => client.reply.set_muted(false),
                false => client.settle_reply_mode(),
            }
            self.settle_caching(client, client.last_command);
        }
    }

    /// CLIENT CACHING concerns the next command alone, or the next transaction as a whole. Other subcommands of CLIENT
    /// are no next command.
    pub(super) fn settle_caching(&self, client: &mut Client, id: Option<CommandId>) {
        let name = id.map_or("", |id| self.registry.get(id).full_name.as_str());
        let is_client = name.starts_with("client|") && name != "client|setinfo";
        if client.multi.is_none() && !is_client {
            client.flags.set(ClientFlags::CACHING, false);
        }
    }

    /// Counts a command that has run, and replies its error.
    #[inline]
    pub(super) fn settle_call(
        &mut self,
        client: &mut Client,
        id: CommandId,
        result: Result<(), CommandError>,
    ) {
        self.server.stats.commands_processed += 1;
        client.commands += 1;
        let stats = &mut self.server.command_stats[usize::from(id.0)];
        stats.calls += 1;
        if let Err(error) = result {
            stats.failed_calls += 1;
            let line = error.line();
            if !matches!(error, CommandError::Counted(_)) {
                self.server.count_error(&line);
            }
            client.reply.error_bytes(&line);
        }
    }

    /// Delivers what waited for the end of `client`'s command, unless its reply is still to come.
    pub(super) fn deliver_pushes(&mut self, client: &mut Client) {
        if !client.is_mid_reply() {
            self.server.deliver_pushes(client);
        }
    }

    /// Closes the clients that a command wanted closed.
    pub(super) fn close_doomed(&mut self) {
        for conn in std::mem::take(&mut self.server.doomed) {
            self.server.close_asap(conn);
        }
    }
}

/// A command in a form to read, for the report of a replay.
fn describe(command: &str, args: Args<'_>) -> String {
    let mut text = String::new();
    for (at, arg) in args.iter_from(0).take(16).enumerate() {
        if !text.is_empty() {
            text.push(' ');
        }
        let arg = if is_secret(command, args, at) {
            REDACTED
        } else {
            arg
        };
        let shown = &arg[..arg.len().min(64)];
        text.push_str(&shown.escape_ascii().to_string());
        if arg.len() > shown.len() {
            text.push_str("...");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use crate::border::Peer;
    use crate::config::Config;
    use crate::engine::bench::Bench;
    use crate::state::UnixMicros;

    #[test]
    fn untimed_commands_share_the_whole_time_of_their_turn() {
        let mut bench = Bench::new(Config::default());
        bench.send(
            b"PING\r\nLASTSAVE\r\nPING\r\nLASTSAVE\r\nPING\r\nPING\r\n",
            0,
        );
        bench.engine.handle_turn_end(UnixMicros(7));
        let (ping, lastsave) = (bench.figures("ping"), bench.figures("lastsave"));
        assert_eq!((ping.0, lastsave.0), (4, 2));
        assert_eq!(ping.1 + lastsave.1, 7);
    }

    #[test]
    fn a_timed_command_takes_no_time_of_those_before_it() {
        let mut bench = Bench::new(Config::default());
        // Three readings: before the first SLOWLOG, behind it, and likewise around the second.
        bench.send(b"PING\r\nSLOWLOG LEN\r\nPING\r\nSLOWLOG LEN\r\n", 10);
        assert_eq!(bench.figures("slowlog|len"), (2, 20));
        assert_eq!(bench.figures("ping"), (2, 20));
    }

    #[test]
    fn only_long_argument_lists_are_timed_on_their_own() {
        let mut bench = Bench::new(Config::default());
        bench.send(b"MSET a 1\r\nDEL a\r\nMSET a 1\r\nDEL a\r\n", 10);
        assert_eq!(bench.now_us, 0, "no clock reading was wanted");
        let many = format!("DEL{}\r\n", " a".repeat(64));
        bench.send(many.as_bytes(), 10);
        assert!(bench.now_us > 0);
    }

    #[test]
    fn strangers_are_let_in_once_the_default_user_has_a_password() {
        let mut bench = Bench::new(Config::default());
        let greeting = |bench: &mut Bench| {
            let conn = bench.engine.accept(Peer {
                addr: "10.0.0.1:1".into(),
                local_addr: "10.0.0.2:2".into(),
                is_unix: false,
                is_local: false,
                fd: 6,
            });
            let said = bench.engine.output_slice(conn).unwrap_or_default();
            String::from_utf8_lossy(&said[..said.len().min(7)]).into_owned()
        };
        assert_eq!(greeting(&mut bench), "-DENIED");
        bench.send(b"ACL SETUSER default >pw\r\n", 1);
        assert_eq!(greeting(&mut bench), "");
        bench.send(b"ACL SETUSER default nopass off\r\n", 1);
        assert_eq!(greeting(&mut bench), "-DENIED");
        bench.send(b"CONFIG SET protected-mode no\r\n", 1);
        assert_eq!(greeting(&mut bench), "");
    }

    #[test]
    fn secrets_do_not_reach_the_slow_log() {
        let mut bench = Bench::new(Config {
            slowlog_log_slower_than: 0,
            ..Config::default()
        });
        bench.send(b"CONFIG SET masterauth abc maxmemory 0\r\nPING\r\n", 10);
        let logged: Vec<String> = bench
            .engine
            .server
            .slowlog
            .entries
            .iter()
            .map(|entry| String::from_utf8_lossy(&entry.argv.join(&b' ')).into_owned())
            .collect();
        assert_eq!(
            logged,
            ["PING", "CONFIG SET masterauth (redacted) maxmemory 0"]
        );
    }
}
