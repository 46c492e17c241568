//! Gates: the reasons not to run a command, or not yet.
//!
//! Lives here: what a client, the server's state, a pause or full memory mean for a command, in one ordered list each,
//! and what follows from a refusal. May not: run anything, or know what a command does beyond its flags.

pub(super) mod slots;

use std::borrow::Cow;

use crate::acl::log::Context;
use crate::border::{LogLevel, Want};
use crate::command::permission::permit;
use crate::command::registry::Command;
use crate::command::spec::Flags;
use crate::command::{CommandError, CommandId, Registry, pubsub, scripting, transaction};
use crate::engine::Engine;
use crate::engine::gates::slots::look_at_slots;
use crate::resp::Args;
use crate::state::eviction::Room;
use crate::state::restraint::Restraint;
use crate::state::{Client, ClientFlags, Server, Waiting};
use crate::types::text::up_to_nul;

/// Clients that speak HTTP are logged no more often than this.
const HTTP_WARNING_INTERVAL_US: u64 = 60_000_000;

impl Engine {
    /// Makes room before a command, if that is needed, and says how it went for this one; `None` when the time that
    /// it took has to be known first.
    pub(super) fn room_for(
        &mut self,
        client: &mut Client,
        id: CommandId,
        args: Args<'_>,
    ) -> Option<Room> {
        let room = match self.clock.room.take() {
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
                        self.clock.room = Some(room);
                        self.ask(client, Want::Clock);
                        return None;
                    }
                }
                room
            }
        };
        self.server.scripting.is_oom = room == Room::Nowhere;
        // A transaction queues what needs no room, and is refused as a whole at its EXEC.
        let may_grow = self.flags_with_script(client, id, args).has(Flags::DENYOOM);
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
    pub(super) fn flags_of(&self, client: &Client, id: CommandId) -> Flags {
        let flags = self.registry.get(id).spec.flags;
        match &client.multi {
            Some(multi) if self.is_exec(id) => flags.or(multi.flags),
            _ => flags,
        }
    }

    /// The same for the gates that ask what a command may do: of one that runs a script its script may know better.
    pub(super) fn flags_with_script(
        &self,
        client: &Client,
        id: CommandId,
        args: Args<'_>,
    ) -> Flags {
        let (scripting, spec) = (&self.server.scripting, self.registry.get(id).spec);
        match &client.multi {
            Some(multi) if self.is_exec(id) => spec.flags.or(multi.flags),
            _ => scripting::flags_with_script(scripting, spec, args),
        }
    }

    pub(super) fn is_paused(&self, client: &Client, id: CommandId, args: Args<'_>) -> bool {
        let Some(pause) = self.server.pause else {
            return false;
        };
        let flags = self.flags_with_script(client, id, args);
        // A pause of all commands holds back CLIENT UNPAUSE too: it ends by its time alone.
        let may_write = flags.has(Flags::WRITE) || flags.has(Flags::MAY_REPLICATE);
        let is_held = if pause.writes_only { may_write } else { true };
        is_held && pause.until_ms > self.server.now_ms && !client.is_closing()
    }

    /// What a special state of the server means for a command: it may run, has to wait, or is refused.
    pub(super) fn restraint_of(
        &self,
        client: &Client,
        id: CommandId,
        args: Args<'_>,
    ) -> Result<Option<Waiting>, CommandError> {
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
        Ok(match () {
            () if restraint.has(Restraint::MIDWAY) => Some(Waiting::Others),
            () if is_held => Some(Waiting::Save),
            () => None,
        })
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
            client.settle_reply_mode();
        }
        if client.flags.has(ClientFlags::CACHING) {
            self.settle_caching(client, id);
        }
    }

    /// Cuts off a client that speaks HTTP, before what its request's body holds can run as commands.
    pub(super) fn abort_http(&mut self, client: &mut Client) {
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
}

/// Whether this looks like a line of an HTTP request that a browser can be made to send.
pub(super) fn is_http(args: Args<'_>) -> bool {
    let name = up_to_nul(args.bytes(0));
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

/// The one ordered list of reasons not to run a command.
#[inline]
pub(super) fn gate(
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
    if server.counts_incompatible() {
        look_at_slots(server, registry, client, command, args);
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
