//! Executing one command: the gates, the handler, the accounts.

use std::borrow::Cow;

use crate::acl::log::Context;
use crate::border::{LogLevel, Want};
use crate::command::permission::{permit, permit_queued};
use crate::command::registry::{Command, Unknown};
use crate::command::slowlog::{REDACTED, is_secret};
use crate::command::spec::Flags;
use crate::command::tracking::track_reads;
use crate::command::{CommandError, CommandId, Ctx, Registry, pubsub, scripting, transaction};
use crate::engine::Engine;
use crate::engine::report::Seat;
use crate::resp::{Args, OwnedArgs};
use crate::state::effects::Queue;
use crate::state::error::up_to_nul;
use crate::state::eviction::Room;
use crate::state::monitor::Source;
use crate::state::persistence::Restraint;
use crate::state::{Client, ClientFlags, Server};

/// What comes after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The client's next command.
    Next,
    /// It ran, and its client's next command must wait.
    Stop,
    /// It ran, and a clock reading will say how long; its arguments are kept until then.
    Timing,
    /// It could not run yet.
    Wait,
}

/// What an interrupted transaction leaves for its end.
pub(super) struct Suspended {
    /// EXEC as it came.
    argv: OwnedArgs,
    pub(super) effects: Queue,
}

/// Clients that speak HTTP are logged no more often than this.
const HTTP_WARNING_INTERVAL_US: u64 = 60_000_000;

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
            let unknown = self.registry.find(args).err().unwrap_or(Unknown::Command);
            if matches!(unknown, Unknown::Command) && is_http(args) {
                self.abort_http(client);
                return Step::Stop;
            }
            let error = unknown.error(args);
            self.refuse(client, None, &error);
            return Step::Next;
        };
        let timed = self.is_timed(id, args);
        if timed && !self.clock.is_fresh {
            self.server.want = Some(Want::Clock);
            self.interrupted = Some(client.conn);
            return Step::Wait;
        }
        let command = self.registry.get(id);
        if let Err(error) = gate(&mut self.server, &self.registry, client, command, args) {
            self.refuse(client, Some(id), &error);
            return Step::Next;
        }
        if !self.server.restraint.is_none() {
            match self.restrain(client, id, args) {
                Ok(false) => {}
                Ok(true) => {
                    client.flags.set(ClientFlags::PAUSED, true);
                    return Step::Wait;
                }
                Err(error) => {
                    self.refuse(client, Some(id), &error);
                    return Step::Next;
                }
            }
        }
        if self.server.config.maxmemory > 0 {
            // The reading first: what room was made would have been forgotten behind it, and more keys would go.
            if self.awaits_reading(client, id) {
                return Step::Wait;
            }
            match self.room_for(client, id, args) {
                Some(Room::Enough | Room::Soon) => {}
                Some(Room::Nowhere) => {
                    self.refuse(client, Some(id), &CommandError::OutOfMemory);
                    return Step::Next;
                }
                None => return Step::Wait,
            }
        }
        if self.server.tracks_too_much() {
            self.server.shrink_tracking();
            self.deliver_pushes(client);
        }
        if self.is_paused(client, id, args) {
            client.flags.set(ClientFlags::PAUSED, true);
            return Step::Wait;
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
        // A transaction whose script stands still has run: what is left of it goes on by itself.
        let stands_still = client.flags.has(ClientFlags::SCRIPTING);
        if client.flags.has(ClientFlags::BLOCKED)
            || (stands_still && self.open_exec != Some(client.conn))
        {
            if is_sampled && let Some(running) = &mut self.server.scripting.running {
                running.is_heavy = true;
                running.is_sampled = true;
            }
            return Step::Wait;
        }
        let heavy_since = self.clock.heavy_since.take();
        if timed || heavy_since.is_some() {
            self.clock.exec_began = self.clock.exec_began.or(heavy_since);
            // A handler may have asked for more than a clock reading: a sleep, which ends with one.
            if !matches!(self.server.want, Some(Want::Sleep { .. })) {
                self.server.want = Some(Want::Clock);
            }
            self.interrupted = Some(client.conn);
            self.clock.is_fresh = false;
            self.clock.is_sampled = is_sampled;
            return Step::Timing;
        }
        self.clock.is_fresh = false;
        self.share_time(id);
        if client.is_closing() || client.flags.has(ClientFlags::AWAITING) {
            return Step::Stop;
        }
        Step::Next
    }

    /// Whether a process reading has to be taken before the command runs, which then is on its way.
    #[inline]
    fn awaits_reading(&mut self, client: &Client, id: CommandId) -> bool {
        let is_wanted = self.flags_of(client, id).has(Flags::NEEDS_READING)
            && !self.clock.reading_is_fresh
            && !(client.multi.is_some() && self.queues(id));
        if is_wanted {
            self.server.want = Some(Want::Reading);
            self.interrupted = Some(client.conn);
        }
        is_wanted
    }

    /// Makes room before a command, if that is needed, and says how it went for this one; `None` when the time that
    /// it took has to be known first.
    fn room_for(&mut self, client: &mut Client, id: CommandId, args: Args<'_>) -> Option<Room> {
        let room = match self.room_made.take() {
            Some(room) => room,
            None => {
                let before = self.server.stats.evicted_keys;
                let room = self.server.make_room();
                let gone = self.server.stats.evicted_keys - before;
                if gone > 0 {
                    // What it hears of the keys that went, it hears before the command's reply.
                    self.deliver_pushes(client);
                    self.follow_eviction();
                    if self.server.config.latency_monitor_threshold > 0 {
                        self.clock.eviction = Some(gone);
                        self.room_made = Some(room);
                        self.server.want = Some(Want::Clock);
                        self.interrupted = Some(client.conn);
                        return None;
                    }
                }
                room
            }
        };
        self.server.scripting.is_oom = room == Room::Nowhere;
        let may_grow = self.flags_with_script(client, id, args).has(Flags::DENYOOM)
            || client.multi.is_some() && self.queues(id);
        if room == Room::Enough {
            self.server.hold_growth(client.dbid);
        }
        let is_refused = may_grow && self.server.is_bound_by_memory(client.kind());
        Some(if is_refused { room } else { Room::Enough })
    }

    /// What follows from the eviction of keys.
    pub(super) fn follow_eviction(&mut self) {
        if self.server.effects.has_propagated() {
            self.server.flush_effects(false);
        }
        if self.server.waiters.has_ready() {
            self.serve_blocked();
        }
    }

    /// The command's flags; EXEC has those of all that it will run.
    fn flags_of(&self, client: &Client, id: CommandId) -> Flags {
        let flags = self.registry.get(id).spec.flags;
        match &client.multi {
            Some(multi) if self.is_exec(id) => flags.or(multi.flags),
            _ => flags,
        }
    }

    pub(super) fn is_exec(&self, id: CommandId) -> bool {
        let command = self.registry.get(id);
        command.container.is_none() && command.spec.name == transaction::EXEC.name
    }

    /// The same for the gates that ask what a command may do: of one that runs a script its script may know better.
    fn flags_with_script(&self, client: &Client, id: CommandId, args: Args<'_>) -> Flags {
        let (scripting, spec) = (&self.server.scripting, self.registry.get(id).spec);
        match &client.multi {
            Some(multi) if self.is_exec(id) => spec.flags.or(multi.flags),
            _ => scripting::flags_with_script(scripting, spec, args),
        }
    }

    /// Whether a transaction queues the command.
    fn queues(&self, id: CommandId) -> bool {
        const RUN_AT_ONCE: [&str; 6] = ["exec", "discard", "multi", "watch", "quit", "reset"];
        let command = self.registry.get(id);
        command.container.is_some() || !RUN_AT_ONCE.contains(&command.spec.name)
    }

    fn queue(&mut self, client: &mut Client, id: CommandId, args: Args<'_>) {
        let flags = self.flags_with_script(client, id, args);
        client.last_command = Some(id);
        if let Some(multi) = &mut client.multi {
            let args = OwnedArgs::new(args);
            multi.bytes += size_of::<(CommandId, OwnedArgs)>() + args.memory_bytes();
            multi.queue.push((id, args));
            multi.flags = multi.flags.or(flags);
        }
        let skips = ClientFlags::REPLY_SKIP.or(ClientFlags::REPLY_OFF);
        if !client.flags.has_any(skips) {
            client.reply.simple("QUEUED");
        }
    }

    /// Runs what EXEC took out of the queue; a command that waits for the shell interrupts it. For a `Want`
    /// nobody else runs before the answer; an `Order` (CONFIG REWRITE) is carried out at the end of the turn, and
    /// others are held until the whole transaction has run.
    pub(super) fn run_exec(&mut self, client: &mut Client) {
        let exec = client.last_command;
        client.flags.set(ClientFlags::IN_EXEC, true);
        let waits = ClientFlags::AWAITING.or(ClientFlags::SCRIPTING);
        while !client.flags.has_any(waits)
            && self.server.want.is_none()
            && let Some((id, args)) = client.exec.pop_front()
        {
            client.last_command = exec;
            let command = self.registry.get(id);
            let (server, registry) = (&mut self.server, &self.registry);
            if let Err(error) = permit_queued(server, client, registry, command, args.args()) {
                let line = error.line();
                self.server.count_error(&line);
                client.reply.error_bytes(&line);
                continue;
            }
            let hotkeys = &self.server.hotkeys;
            let is_watched = hotkeys.times();
            let is_sampled = hotkeys.times_next() && self.clock.is_fresh;
            self.call(client, args.args(), id, None);
            if client.flags.has(ClientFlags::SCRIPTING) {
                // It is accounted for when it has come to its end.
                if let Some(running) = &mut self.server.scripting.running {
                    running.is_sampled = is_sampled;
                }
                break;
            }
            if !(is_watched || self.is_timed(id, args.args())) {
                self.share_time(id);
                continue;
            }
            let call = match is_sampled {
                true => self.sampled_call(client, id, args.args()),
                false => self.timed_call(client, id, args.args()),
            };
            self.clock.timed.push(call);
            self.clock.is_fresh = false;
            if self.server.want.is_none() {
                self.server.want = Some(Want::Clock);
            }
        }
        client.flags.set(ClientFlags::IN_EXEC, false);
        client.last_command = exec;
    }

    /// A transaction waits for the shell: what it has caused so far waits with it, as ticks may run meanwhile, and other
    /// clients where a script stands still that they may end.
    fn suspend_exec(&mut self, client: &Client, args: Args<'_>) {
        self.hold_others(client);
        let suspended = Suspended {
            argv: OwnedArgs::new(args),
            effects: std::mem::take(&mut self.server.effects.propagated),
        };
        self.suspended.insert(client.conn, suspended);
    }

    /// The same once more.
    pub(super) fn suspend_again(&mut self, client: &Client) {
        self.hold_others(client);
        if let Some(suspended) = self.suspended.get_mut(&client.conn) {
            let propagated = &mut self.server.effects.propagated;
            suspended.effects.append(propagated);
        }
    }

    fn hold_others(&mut self, client: &Client) {
        let awaits = client.flags.has(ClientFlags::AWAITING);
        self.server.hold_for_exec(awaits);
    }

    /// A transaction that had to wait for the shell has come to its end.
    pub(super) fn end_exec(&mut self, client: &mut Client) {
        self.server.hold_for_exec(false);
        if self.open_exec == Some(client.conn) {
            self.open_exec = None;
        }
        if let Some(mut suspended) = self.suspended.remove(&client.conn) {
            let propagated = &mut self.server.effects.propagated;
            suspended.effects.append(propagated);
            *propagated = suspended.effects;
            // A script in it may have been the last to say which command runs.
            if let Ok(command) = self.registry.find(suspended.argv.args()) {
                let id = command.id;
                client.last_command = Some(id);
                if !self.server.monitors.is_empty() {
                    self.feed_monitors(client, suspended.argv.args(), id);
                }
            }
        }
        self.follow_up(client);
    }

    fn is_paused(&self, client: &Client, id: CommandId, args: Args<'_>) -> bool {
        let Some(pause) = self.server.pause else {
            return false;
        };
        let flags = self.flags_with_script(client, id, args);
        // A pause of all commands holds back CLIENT UNPAUSE too: it ends by its time alone.
        let may_write = flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        let is_held = if pause.writes_only { may_write } else { true };
        is_held && pause.until_ms > self.server.now_ms && !client.is_closing()
    }

    /// What a special state of the server means for a command: it may run, has to wait (true), or is refused.
    #[cold]
    fn restrain(
        &self,
        client: &Client,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<bool, CommandError> {
        let (restraint, flags) = (
            self.server.restraint,
            self.flags_with_script(client, id, args),
        );
        let name = self.registry.get(id).spec.name;
        if flags.has(Flags::WRITE) || name == "ping" {
            self.server.refuse_unsaved()?;
        }
        if restraint.has(Restraint::LOADING) && !flags.has(Flags::LOADING) {
            return Err(CommandError::Loading);
        }
        // The end of the server can be hurried up or called off while it saves.
        let is_held = restraint.has(Restraint::HELD) && name != "shutdown";
        Ok(is_held || restraint.has(Restraint::EXEC_OPEN))
    }

    /// Calls the handler and settles its effects and accounts.
    pub(super) fn call(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        id: CommandId,
        first_key: Option<(usize, u64)>,
    ) {
        let outer = std::mem::replace(&mut self.seat, Seat::of(client, &args));
        self.call_seated(client, args, id, first_key);
        self.seat = outer;
    }

    fn call_seated(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
        id: CommandId,
        first_key: Option<(usize, u64)>,
    ) {
        let command = self.registry.get(id);
        let handler = command.spec.handler;
        let is_again = client.blocked.is_some();
        let running = Some((client.conn, client.id));
        let outer = std::mem::replace(&mut self.server.running, running);
        client.last_command = Some(id);
        if let Some(trace) = &mut self.trace {
            let pos = client.replied_bytes + client.reply.pending() as u64;
            trace.push((client.conn, pos, describe(&command.full_name, args)));
        }
        let skips = ClientFlags::REPLY_SKIP.or(ClientFlags::REPLY_OFF);
        if client.flags.has_any(skips) {
            client.reply.set_muted(true);
        }
        self.server.no_touch = client.flags.has(ClientFlags::NO_TOUCH);
        let mut ctx = Ctx {
            server: &mut self.server,
            client,
            registry: &self.registry,
            command: id,
            first_key,
        };
        let dirty_before = ctx.server.effects.dirty;
        let replied_before = ctx.client.reply.written();
        let dbid = ctx.client.dbid;
        let result = handler(&mut ctx, args);
        if self.server.effects.propagating() {
            let writes = command.spec.flags.has(Flags::WRITE);
            let effects = &mut self.server.effects;
            effects.settle_request(dbid, args, writes, dirty_before);
        }

        // A script reads by its calls, whatever keys it was given.
        let is_script = client.flags.has(ClientFlags::SCRIPTING);
        let reads = command.spec.flags.has(Flags::READONLY) && !is_script;
        if reads && client.flags.has(ClientFlags::TRACKING) {
            track_reads(&mut self.server, client, command, args);
        }
        if client.flags.has(ClientFlags::BLOCKED) {
            self.enqueue_blocked(client); // it counts when it is served
        } else if client.flags.has(ClientFlags::SCRIPTING) {
            if !self.server.monitors.is_empty() {
                // In front of the commands that the script runs.
                let source = Source::Client(client);
                let argv = args.iter_from(0);
                self.server.feed_monitors(source, client.dbid, argv);
            }
            match self.start_script(client, id) {
                Some(result) => self.settle_call(client, id, result),
                None => {
                    if let Some(running) = &mut self.server.scripting.running {
                        running.argv = OwnedArgs::new(args);
                        running.replied_before = replied_before;
                    }
                    self.server.running = outer;
                    return; // it stands still
                }
            }
        } else {
            self.settle_call(client, id, result);
        }
        let is_part = ClientFlags::BLOCKED.or(ClientFlags::IN_SCRIPT);
        if self.server.hotkeys.is_active() && !client.flags.has_any(is_part) {
            let replied = client.reply.written().saturating_sub(replied_before);
            self.weigh_call(id, args, replied);
        }
        let is_watched = !self.server.monitors.is_empty() && !is_again;
        let follows_later = ClientFlags::IN_EXEC.or(ClientFlags::IN_SCRIPT);
        if client.flags.has_any(follows_later) {
            if is_watched {
                self.feed_monitors(client, args, id);
            }
            return; // the rest follows once, behind the last command
        }
        if !client.exec.is_empty() {
            self.run_exec(client);
            // One that waits for the shell, if only behind its last command, is followed up afterwards.
            let waits = self.server.want.is_some() || client.flags.has(ClientFlags::SCRIPTING);
            if waits {
                self.open_exec = Some(client.conn);
            }
            if waits || !client.exec.is_empty() {
                self.suspend_exec(client, args);
                self.server.running = outer;
                return;
            }
        }
        if is_watched {
            self.feed_monitors(client, args, id);
        }
        self.follow_up(client);
        self.server.running = outer;
    }

    /// Shows a command to those who watch, unless it is none of their business.
    fn feed_monitors(&mut self, client: &Client, args: Args<'_>, id: CommandId) {
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
        // In the middle of a script nobody is served: what it has pushed may not be all.
        if self.server.waiters.has_ready() && self.server.scripting.busy.is_none() {
            self.serve_blocked();
            // The clients served may have had something to say to this one.
            if !self.server.pushes.is_empty() {
                self.deliver_pushes(client);
            }
        }
        if !self.server.unblocked.is_empty() {
            self.end_unblocked();
        }
        if !self.server.doomed.is_empty() {
            self.close_doomed();
        }
        let passing = skips
            .or(ClientFlags::REPLY_SKIP_NEXT)
            .or(ClientFlags::CACHING);
        if client.flags.has_any(passing) || client.reply.is_muted() {
            let answer_follows = ClientFlags::BLOCKED.or(ClientFlags::AWAITING);
            match client.flags.has_any(answer_follows) {
                true => client.reply.set_muted(false),
                false => settle_reply_mode(client),
            }
            self.settle_caching(client, client.last_command);
        }
    }

    /// CLIENT CACHING concerns the next command alone, or the next transaction as a whole. Other subcommands of CLIENT
    /// are no next command.
    fn settle_caching(&self, client: &mut Client, id: Option<CommandId>) {
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

    /// Answers a command that a gate or the look-up refused.
    pub(super) fn refuse(
        &mut self,
        client: &mut Client,
        id: Option<CommandId>,
        error: &CommandError,
    ) {
        client.last_command = id;
        if let Some(id) = id {
            self.server.command_stats[usize::from(id.0)].rejected_calls += 1;
        }
        let is_exec = id.is_some_and(|id| self.is_exec(id));
        let mut line = error.line();
        if is_exec {
            // The transaction, if there is one, goes, and the answer says why.
            transaction::abandon(&mut self.server, client);
            let why = line.strip_prefix(b"ERR ").unwrap_or(&line);
            let text = b"EXECABORT Transaction discarded because of: ";
            line = Cow::Owned([text, why].concat());
        } else if let Some(multi) = &mut client.multi {
            multi.is_aborted = true;
        }
        self.server.count_error(&line);
        let skips = ClientFlags::REPLY_SKIP.or(ClientFlags::REPLY_OFF);
        if !client.flags.has_any(skips) {
            client.reply.error_bytes(&line);
        }
        if client.flags.has_any(skips.or(ClientFlags::REPLY_SKIP_NEXT)) {
            settle_reply_mode(client);
        }
        if client.flags.has(ClientFlags::CACHING) {
            self.settle_caching(client, id);
        }
    }

    /// Cuts off a client that speaks HTTP, before what its request's body holds can run as commands.
    fn abort_http(&mut self, client: &mut Client) {
        client.flags.set(ClientFlags::CLOSE_ASAP, true);
        let now = self.server.now;
        let is_due = |last| now.since(last) > HTTP_WARNING_INTERVAL_US;
        if self.http_warned.is_none_or(is_due) {
            self.http_warned = Some(now);
            let text = format!(
                "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to \
                 Redis: a web page may have made a browser talk to this server (Cross Protocol Scripting). \
                 Connection from {} aborted.",
                client.addr
            );
            self.server.log(LogLevel::Warning, text);
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

/// Whether this looks like a line of an HTTP request that a browser can be made to send.
fn is_http(args: Args<'_>) -> bool {
    let name = up_to_nul(args.bytes(0));
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// The one ordered list of reasons not to run a command.
#[inline]
fn gate(
    server: &mut Server,
    registry: &Registry,
    client: &mut Client,
    command: &Command,
    args: Args<'_>,
) -> Result<(), CommandError> {
    if !command.spec.accepts(args.len()) {
        return Err(CommandError::Arity(command.full_name.clone().into()));
    }
    if !command.spec.flags.has(Flags::NO_AUTH) && server.needs_auth(client) {
        return Err(CommandError::NoAuth);
    }
    if client.multi.is_some() && command.spec.flags.has(Flags::NO_MULTI) {
        return Err(CommandError::text(
            "ERR Command not allowed inside a transaction",
        ));
    }
    if let Some(purpose) = server.scripting.busy
        && !command.spec.flags.has(Flags::ALLOW_BUSY)
    {
        // A script of an append-only file is a part of loading.
        let is_loading = server.restraint.has(Restraint::LOADING);
        return Err(
            match is_loading && !command.spec.flags.has(Flags::LOADING) {
                true => CommandError::Loading,
                false => scripting::busy_error(purpose),
            },
        );
    }
    server.refuses_protected(client, command.spec.name, command.container.is_some())?;
    if !server.users.get(client.user).is_unrestricted() {
        let context = match client.multi {
            Some(_) => Context::Multi,
            None => Context::Toplevel,
        };
        client.last_command = Some(command.id); // the log shows what is refused
        permit(server, client, registry, command, args, context)?;
    }
    if client.is_in_subscriber_mode()
        && !pubsub::ALLOWED_TO_SUBSCRIBERS.contains(&command.full_name.as_str())
    {
        return Err(CommandError::NotForSubscribers(command.full_name.clone()));
    }
    if client.flags.has(ClientFlags::MONITOR) {
        let uses_data = [Flags::WRITE, Flags::READONLY, Flags::MAY_REPLICATE];
        if uses_data.iter().any(|flag| command.spec.flags.has(*flag)) {
            return Err(CommandError::text(
                "ERR Replica can't interact with the keyspace",
            ));
        }
    }
    Ok(())
}

/// CLIENT REPLY SKIP concerns the next command alone.
pub(super) fn settle_reply_mode(client: &mut Client) {
    let skip_next = client.flags.has(ClientFlags::REPLY_SKIP_NEXT);
    client.flags.set(ClientFlags::REPLY_SKIP, skip_next);
    client.flags.set(ClientFlags::REPLY_SKIP_NEXT, false);
    client.reply.set_muted(false);
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
    use super::*;
    use crate::border::{Boot, CloseReason, Order, Peer, Reading};
    use crate::config::Config;
    use crate::state::{ConnId, UnixMicros};

    /// An engine with one client, on a clock that only the test moves.
    struct Bench {
        engine: Engine,
        conn: ConnId,
        now_us: i64,
    }

    impl Bench {
        fn new(config: Config) -> Bench {
            let mut engine = Engine::new(Boot {
                config,
                config_file: None,
                rename_commands: Vec::new(),
                seed: 3,
                now: UnixMicros(0),
                pid: 1,
                executable: String::new(),
                os: String::new(),
                replaying: false,
                ..Boot::default()
            })
            .expect("no command is renamed");
            let conn = engine.handle_accept(Peer {
                addr: "/s:0".into(),
                local_addr: "/s:0".into(),
                is_unix: true,
                is_local: true,
                fd: 5,
            });
            Bench {
                engine,
                conn,
                now_us: 0,
            }
        }

        /// Sends this; every clock reading is `step_us` after the one before.
        fn send(&mut self, text: &[u8], step_us: i64) {
            self.engine.read_buffer(self.conn)[..text.len()].copy_from_slice(text);
            self.engine.handle_read(self.conn, text.len());
            self.answer_wants(step_us);
        }

        fn answer_wants(&mut self, step_us: i64) {
            while let Some(want) = self.engine.poll_want() {
                match want {
                    Want::Reading => self.engine.handle_reading(Reading::default()),
                    _ => {
                        self.now_us += step_us;
                        self.engine.handle_clock(UnixMicros(self.now_us));
                    }
                }
            }
        }

        fn figures(&self, name: &str) -> (u64, u64) {
            let command = self.engine.registry.by_full_name(name.as_bytes());
            let id = command.expect("a known command").id;
            let stats = &self.engine.server.command_stats[usize::from(id.0)];
            (stats.calls, stats.usec)
        }
    }

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
    fn a_transaction_that_waits_for_the_shell_ends_without_its_client() {
        let mut bench = Bench::new(Config::default());
        bench.engine.server.process.config_file = Some("conf".into());
        let peer = Peer {
            addr: "/s:0".into(),
            local_addr: "/s:0".into(),
            is_unix: true,
            is_local: true,
            fd: 6,
        };
        let leaving = bench.conn;
        bench.send(
            b"MULTI\r\nINCR n\r\nCONFIG REWRITE\r\nINCR n\r\nCONFIG REWRITE\r\nINCR n\r\nEXEC\r\nINCR n\r\n",
            10,
        );
        bench.engine.handle_closed(leaving, CloseReason::Error);
        bench.conn = bench.engine.handle_accept(peer);
        assert_ne!(bench.conn, leaving, "the place is not free yet");
        assert_eq!(bench.engine.server.clients.len(), 1);
        bench.send(b"GET n\r\n", 10);
        let said = bench.engine.output_slice(bench.conn);
        assert_eq!(said, Some(&b""[..]), "it waits for the end");
        let mut rewrites = 0;
        while let Some(order) = bench.engine.poll_order() {
            if let Order::RewriteConfig { ticket, .. } = order {
                rewrites += 1;
                bench.engine.handle_done(ticket, Ok(Vec::new()));
                bench.answer_wants(10);
            }
        }
        assert_eq!(rewrites, 2);
        bench.engine.handle_time(UnixMicros(bench.now_us));
        bench.answer_wants(10);
        let said = bench.engine.output_slice(bench.conn);
        assert_eq!(said, Some(&b"$1\r\n3\r\n"[..]));
        assert_eq!(bench.engine.server.clients.vacant(), leaving);
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
            let conn = bench.engine.handle_accept(Peer {
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
