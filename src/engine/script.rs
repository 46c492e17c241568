//! Scripts: running what EVAL and FCALL have prepared.
//!
//! A script runs until it asks for something ([`Event`]). A call of a command is run here and now, through the same
//! gates and handlers as a client's. A tick, after many instructions, is where the engine asks the shell for the time;
//! a script over the limit then stands still between turns, so that other clients are told that the server is busy, and
//! may end it. What a script waits for is always an answer of the shell, so a replay goes the same way.

use crate::acl::log::Context;
use crate::border::{LogLevel, Want};
use crate::command::spec::Flags;
use crate::command::{CommandError, CommandId, permission};
use crate::engine::Engine;
use crate::engine::loaded::LOADER;
use crate::resp::{Args, OwnedArgs, Reply};
use crate::script::convert::ErrorReply;
use crate::script::machine::{Answer, Ended, Event, Machine};
use crate::script::shared::Purpose;
use crate::state::effects::{Queue, Targets};
use crate::state::scripting::{Asked, Running};
use crate::state::{Client, ClientFlags, ConnId, Waiting};

/// With more calls of commands than this a script's duration is worth a clock reading.
const CALLS_LIGHT: u32 = 64;

/// Capacity that the buffer for replies to scripts keeps.
const REPLY_KEEP: usize = 64 * 1024;

/// The place of the script that runs, in whose name it does, and where its commands reply.
#[derive(Default)]
pub(super) struct ScriptSeat {
    /// Where the replies to its commands are written.
    reply: Reply,
    /// The flags of the client in whose name its commands run.
    saved_flags: ClientFlags,
    /// The client whose script counts as busy.
    pub(super) conn: Option<ConnId>,
}

/// How far a script came.
enum Progress {
    Ended(Ended),
    /// It waits for the shell, or for others to be served.
    StandsStill,
}

impl Engine {
    /// Runs what the command `id` has prepared; the result is that of the command, once there is one.
    pub(super) fn start_script(
        &mut self,
        client: &mut Client,
        id: CommandId,
    ) -> Option<Result<(), CommandError>> {
        let prepared = self.server.scripting.prepared.take()?;
        self.server.scripting.running = Some(Running {
            purpose: prepared.purpose,
            name: prepared.name,
            flags: prepared.flags,
            is_read_only: prepared.is_read_only,
            allows_oom: prepared.allows_oom,
            is_oom: prepared.is_oom,
            command: id,
            started: self.clock.last,
            elapsed_ms: 0,
            time: None,
            in_exec: client.flags.has(ClientFlags::IN_EXEC),
            dbid: client.dbid,
            has_written: false,
            slots: client.slots,
            calls: 0,
            is_heavy: false,
            asked: Asked::Nothing,
            has_clock: false,
            effects: Queue::default(),
            is_killed: false,
            argv: OwnedArgs::default(),
            replied_before: 0,
            is_sampled: false,
        });
        let is_resp3 = client.reply.is_resp3();
        self.run_script(client, Some(Answer::Run { is_resp3 }))
    }

    /// Goes on with the script that stood still; the result is that of its command, once there is one.
    pub(super) fn resume_script(
        &mut self,
        client: &mut Client,
    ) -> Option<Result<(), CommandError>> {
        let now = self.clock.last;
        let threshold_ms = self.server.config.busy_reply_threshold;
        let running = self.server.scripting.running.as_mut()?;
        let elapsed_ms = now.since(running.started) / 1000;
        running.elapsed_ms = elapsed_ms;
        let is_slow = threshold_ms > 0 && elapsed_ms >= threshold_ms as u64;
        if self.server.scripting.busy.is_some() {
            running.time = Some(now);
        }
        match std::mem::take(&mut running.asked) {
            Asked::Nothing => {}
            Asked::Answer => {
                let propagated = &mut self.server.effects.propagated;
                running.effects.append(propagated);
                std::mem::swap(&mut running.effects, propagated);
                self.server.hold_midway(false);
                return self.run_script(client, Some(Answer::Reply));
            }
            Asked::Timing => return self.run_script(client, Some(Answer::Reply)),
            Asked::Clock => {
                let seconds = now.since(self.server.started) as f64 / 1e6;
                return self.run_script(client, Some(Answer::Clock(seconds)));
            }
            Asked::Reading => {
                running.has_clock = true;
                return self.run_script(client, None);
            }
        }
        if is_slow && self.server.scripting.busy.is_none() {
            self.become_busy(client, elapsed_ms);
            return None;
        }
        let running = self.server.scripting.running.as_ref()?;
        let answer = match running.is_killed {
            true => Answer::Kill,
            false => Answer::Continue,
        };
        self.run_script(client, Some(answer))
    }

    /// From now on others are told that a script runs.
    fn become_busy(&mut self, client: &mut Client, elapsed_ms: u64) {
        let Some(running) = &mut self.server.scripting.running else {
            return;
        };
        let command = match running.purpose {
            Purpose::Eval => "SCRIPT KILL",
            Purpose::Functions => "FUNCTION KILL",
        };
        let text = format!(
            "Slow script detected: still in execution after {elapsed_ms} milliseconds. You can try killing the script \
             using the {command} command. Script name is: {}.",
            running.name
        );
        self.server.scripting.busy = Some(running.purpose);
        self.script.conn = Some(client.conn);
        client.wait_for(Waiting::Turn);
        self.server.log(LogLevel::Warning, text);
    }

    /// Lets the script go on until it ends or has to stand still: with this answer to what it has asked for, or none yet
    /// because the call that it asks for is only made now.
    fn run_script(
        &mut self,
        client: &mut Client,
        answer: Option<Answer>,
    ) -> Option<Result<(), CommandError>> {
        let running = self.server.scripting.running.as_ref()?;
        let (purpose, dbid) = (running.purpose, running.dbid);
        let mut machine = self.server.scripting.machine(purpose).take()?;
        self.enter_script(client);
        let progress = self.serve_script(client, &mut machine, answer);
        self.leave_script(client);
        self.log_lines(&machine);
        let result = match progress {
            Progress::StandsStill => {
                if let Some(running) = &mut self.server.scripting.running
                    && running.asked == Asked::Answer
                {
                    running.effects = std::mem::take(&mut self.server.effects.propagated);
                    self.hold_others(client);
                }
                None
            }
            Progress::Ended(result) => {
                client.begun.script = false;
                client.dbid = dbid;
                let result = self.end_script(client, &machine, result);
                if let Some(running) = self.server.scripting.running.take() {
                    client.last_command = Some(running.command);
                    let args = running.argv.args();
                    // One that has not stood still is weighed with its command.
                    if self.server.hotkeys.is_active() && !args.is_empty() {
                        let line = result.as_ref().err().map(|error| error.line().len());
                        let written = client.reply.written() + line.map_or(0, |len| len + 3);
                        let replied = written.saturating_sub(running.replied_before);
                        self.weigh_call(running.command, args, replied);
                        if running.in_exec && running.is_sampled {
                            // No clock is read behind it, so what it took since its last tick is left out.
                            let keys = self.keys_among(running.command, args);
                            let elapsed_us = self.clock.last.since(running.started);
                            self.server.hotkeys.took(&keys, elapsed_us);
                        }
                        self.clock.is_sampled = running.is_sampled && !running.in_exec;
                    }
                    self.clock.heavy_since = running.is_heavy.then_some(running.started);
                    if running.in_exec && !args.is_empty() {
                        // No clock is read behind it, so what it took since the last reading is left out.
                        let elapsed_us = self.clock.last.since(running.started);
                        self.account(running.command, elapsed_us, |engine| {
                            engine.timed_call(client, running.command, args)
                        });
                    }
                }
                self.server.scripting.busy = None;
                self.script.conn = None;
                Some(result)
            }
        };
        *self.server.scripting.machine(purpose) = Some(machine);
        if result.is_some() {
            self.server.tend_after_script(purpose);
        }
        result
    }

    /// The client speaks for the script: replies go to the script, in the protocol that it has chosen.
    fn enter_script(&mut self, client: &mut Client) {
        std::mem::swap(&mut client.reply, &mut self.script.reply);
        let muting = ClientFlags::REPLY_OFF
            .or(ClientFlags::REPLY_SKIP)
            .or(ClientFlags::REPLY_SKIP_NEXT);
        self.script.saved_flags = client.flags;
        client.flags.set(muting, false);
        client.flags.set(ClientFlags::IN_SCRIPT, true);
        client.begun.script = false;
    }

    fn leave_script(&mut self, client: &mut Client) {
        std::mem::swap(&mut client.reply, &mut self.script.reply);
        client.flags = self.script.saved_flags;
        client.begun.script = true;
        if self.script.reply.capacity() > REPLY_KEEP {
            self.script.reply = Reply::default();
        }
    }

    fn serve_script(
        &mut self,
        client: &mut Client,
        machine: &mut Machine,
        answer: Option<Answer>,
    ) -> Progress {
        let mut event = match answer {
            Some(answer) => machine.resume(answer),
            None => Event::Call,
        };
        loop {
            let answer = match event {
                Event::Done(ended) => return Progress::Ended(ended),
                Event::Call => match self.call_for_script(client, machine) {
                    Some(answer) => answer,
                    None => return Progress::StandsStill,
                },
                Event::MayCall => self.may_script_call(client, machine),
                Event::Tick => {
                    if let Some(running) = &mut self.server.scripting.running {
                        running.is_heavy = true;
                    }
                    match self.server.scripting.busy {
                        Some(_) => client.wait_for(Waiting::Turn),
                        None => self.ask(client, Want::Clock),
                    }
                    return Progress::StandsStill;
                }
                Event::Clock => {
                    if let Some(running) = &mut self.server.scripting.running {
                        running.asked = Asked::Clock;
                    }
                    self.ask(client, Want::Clock);
                    return Progress::StandsStill;
                }
            };
            event = machine.resume(answer);
        }
    }

    /// Runs the command that the script has asked for, unless process figures have to be read first.
    fn call_for_script(&mut self, client: &mut Client, machine: &Machine) -> Option<Answer> {
        let owned = machine.shared.args.take();
        client.reply.set_resp3(machine.shared.resp3.get());
        self.server.effects.allowed = Targets::from_script(machine.shared.repl.get());
        let refused = self.call_or_refuse(client, owned.args());
        self.server.effects.allowed = Targets::ALL;
        *machine.shared.args.borrow_mut() = owned;
        match refused {
            Ok(None) => {
                std::mem::swap(&mut client.reply, &mut *machine.shared.reply.borrow_mut());
                if client.awaits_answer() {
                    return self.stand_still_for(Asked::Answer);
                }
                if self.clock.timed.is_empty() {
                    return Some(Answer::Reply);
                }
                self.ask(client, Want::Clock);
                self.stand_still_for(Asked::Timing)
            }
            Ok(Some(want)) => {
                self.ask(client, want);
                self.stand_still_for(Asked::Reading)
            }
            Err(error) => {
                let line = error.line().into_owned();
                self.server.count_error(&line);
                client.reply.discard();
                Some(Answer::Refused {
                    line,
                    is_counted: true,
                })
            }
        }
    }

    /// The script that runs goes on when it has this.
    fn stand_still_for(&mut self, asked: Asked) -> Option<Answer> {
        if let Some(running) = &mut self.server.scripting.running {
            running.asked = asked;
            running.is_heavy = true;
        }
        None
    }

    /// The gates that are a script's own; then the command runs, unless a reading of the process or of the clock has to
    /// come first. A clock is read in front of it only while someone looks for short durations; otherwise what the script
    /// has done since the last reading counts as well, which is a tick's work at most.
    fn call_or_refuse(
        &mut self,
        client: &mut Client,
        args: Args<'_>,
    ) -> Result<Option<Want>, CommandError> {
        let Ok(command) = self.registry.find(args) else {
            return Err(CommandError::text(
                "ERR Unknown Redis command called from script",
            ));
        };
        let (id, spec) = (command.id, command.spec);
        let is_loaded = client.conn == LOADER;
        let times_all = self.times_all() && !is_loaded;
        let is_timed = args.len() > command.timed_above || times_all;
        if spec.flags.has(Flags::NEEDS_READING) && !self.clock.reading_is_fresh {
            return Ok(Some(Want::Reading));
        }
        if let Some(running) = &mut self.server.scripting.running
            && !std::mem::take(&mut running.has_clock)
            && times_all
        {
            return Ok(Some(Want::Clock));
        }
        let refusal = self.refusal_for_script(client, id, args);
        if let Err(error) = refusal {
            self.server.command_stats[usize::from(id.0)].rejected_calls += 1;
            return Err(error);
        }
        if self.server.counts_incompatible() && client.conn != LOADER {
            self.look_at_call_slots(id, args);
        }
        if let Some(running) = &mut self.server.scripting.running {
            running.has_written |= spec.flags.has(Flags::WRITE);
            running.calls = running.calls.saturating_add(1);
            running.is_heavy |= is_timed || running.calls > CALLS_LIGHT;
        }
        self.call(client, args, id, None);
        match is_timed && !is_loaded {
            true => {
                let call = self.timed_call(client, id, args);
                self.clock.timed.push(call);
                self.clock.is_fresh = false;
            }
            false => self.share_time(id),
        }
        Ok(None)
    }

    fn refusal_for_script(
        &mut self,
        client: &mut Client,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<(), CommandError> {
        let command = self.registry.get(id);
        let (spec, is_subcommand) = (command.spec, command.container.is_some());
        if !spec.accepts(args.len()) {
            return Err(CommandError::text(
                "ERR Wrong number of args calling Redis command from script",
            ));
        }
        // What is loaded was let through when it was written.
        if client.conn == LOADER {
            return Ok(());
        }
        if spec.flags.has(Flags::NOSCRIPT) && !self.server.debug.deny_scripts_disabled {
            return Err(CommandError::text(
                "ERR This Redis command is not allowed from script",
            ));
        }
        if spec.flags.has(Flags::WRITE) {
            self.server.refuse_unsaved()?;
        }
        if let Some(running) = &self.server.scripting.running {
            let writes = spec.flags.has(Flags::WRITE) || spec.flags.has(Flags::MAY_REPLICATE);
            if writes && running.is_read_only {
                return Err(CommandError::text(
                    "ERR Write commands are not allowed from read-only scripts.",
                ));
            }
            if spec.flags.has(Flags::WRITE) {
                self.server.refuse_unreplicated()?;
            }
            // Who has begun to write may end it.
            let is_held = running.is_oom && !running.allows_oom && !running.has_written;
            if is_held && spec.flags.has(Flags::DENYOOM) {
                return Err(CommandError::OutOfMemory);
            }
        }
        self.server
            .refuses_protected(client, spec.name, is_subcommand)?;
        let user = self.server.users.get(client.user);
        if user.is_unrestricted() {
            return Ok(());
        }
        let Err(denial) = permission::check(user, command, args) else {
            return Ok(());
        };
        let text = denial.text(user, command);
        let registry = &self.registry;
        let logged = permission::permit(
            &mut self.server,
            client,
            registry,
            command,
            args,
            Context::Script,
        );
        logged
            .map_err(|_| CommandError::Bytes([&b"ERR ACL failure in script: "[..], &text].concat()))
    }

    /// Whether the caller may run the command that the script names.
    fn may_script_call(&mut self, client: &Client, machine: &Machine) -> Answer {
        let args = machine.shared.args.borrow();
        let args = args.args();
        let Ok(command) = self.registry.find(args) else {
            let line = b"ERR Invalid command passed to redis.acl_check_cmd()";
            return Answer::Refused {
                line: line.to_vec(),
                is_counted: false,
            };
        };
        let user = self.server.users.get(client.user);
        Answer::May(permission::check(user, command, args).is_ok())
    }

    /// Hands on what the script has said for the log.
    fn log_lines(&mut self, machine: &Machine) {
        if machine.shared.logs.borrow().is_empty() {
            return;
        }
        for (level, text) in machine.shared.logs.take() {
            let level = match level {
                0 => LogLevel::Debug,
                1 => LogLevel::Verbose,
                2 => LogLevel::Notice,
                _ => LogLevel::Warning,
            };
            self.server.log(level, String::from_utf8_lossy(&text));
        }
    }

    /// Replies what the script has returned.
    fn end_script(
        &mut self,
        client: &mut Client,
        machine: &Machine,
        ended: Ended,
    ) -> Result<(), CommandError> {
        let error = match ended {
            Ended::Replied => {
                let mut reply = machine.shared.reply.borrow_mut();
                match reply.single_slice() {
                    Some(bytes) => client.reply.raw(bytes),
                    None => client.reply.raw(&reply.to_vec()),
                }
                reply.discard();
                reply.shrink(REPLY_KEEP);
                return Ok(());
            }
            Ended::Returned(error) => ErrorReply {
                place: None,
                ..error
            },
            Ended::Raised(error) => error,
            Ended::Broken => {
                let name = self.script_name();
                let text = format!("ERR Error running script {name}, execution failure");
                return Err(CommandError::Bytes(text.into_bytes()));
            }
        };
        let mut line = error.line;
        if let Some((source, at)) = error.place {
            let name = self.script_name();
            line.extend_from_slice(format!(" script: {name}, on ").as_bytes());
            line.extend_from_slice(&source);
            line.extend_from_slice(format!(":{at}.").as_bytes());
        }
        match error.is_counted {
            true => Err(CommandError::Counted(line)),
            false => Err(CommandError::Bytes(line)),
        }
    }

    fn script_name(&self) -> &str {
        let running = &self.server.scripting.running;
        running.as_ref().map_or("", |running| &running.name)
    }

    /// Goes on with the client's script; says whether it has come to its end, and its command with it.
    pub(super) fn continue_script(&mut self, client: &mut Client) -> bool {
        let running = self.server.scripting.running.as_ref();
        let in_exec = running.is_some_and(|running| running.in_exec);
        match self.resume_script(client) {
            Some(result) => self.settle_script(client, result, in_exec),
            None => false,
        }
    }

    /// The script's command has ended, which stood still in between: what is left to do for its client. Says whether
    /// the client can go on at once.
    fn settle_script(
        &mut self,
        client: &mut Client,
        result: Result<(), CommandError>,
        in_exec: bool,
    ) -> bool {
        if let Some(id) = client.last_command {
            self.settle_call(client, id, result);
        }
        if in_exec {
            return true;
        }
        self.follow_up(client);
        if let Some(started) = self.clock.heavy_since.take() {
            self.clock.exec_began = Some(started);
            self.ask(client, Want::Clock);
            return false;
        }
        if let Some(command) = client.begun.command.take() {
            client.query_pos += command.len;
        }
        true
    }
}
