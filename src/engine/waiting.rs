//! Waiting: how a client comes to a stand, and how it goes on.
//!
//! ```text
//!            runs                                   cannot go on, for one reason (state/client/waiting.rs)
//!   +--------------------+    Client::wait_for    +--------------------------------------------------+
//!   | process: begun     | ---------------------> | Want    Answer    Keys    Turn    Pause  Others  |
//!   | (script, EXEC,     |                        |                                   Save    Output |
//!   | command), parked,  |                        +--------------------------------------------------+
//!   | then what is read  |                          |                                 |
//!   +--------------------+    handle_clock, handle_reading: the Want is answered      | go_on
//!       ^      ^      ^---------------------------- +                                 v
//!       |      | run_ready                                            +-----------------------------+
//!       |      +------------------------------------------------------| ready: in the order in which |
//!       | handle_read            poll_resumed: the shell reads it     | the waits have ended         |
//!       +-------------------------------------------------------------+-----------------------------+
//! ```
//!
//! - A client enters a wait by [`Client::wait_for`] alone: the handler says so for keys and answers, the engine for the
//!   rest. It leaves by [`Engine::go_on`], which takes away what points to it and puts it behind those that may go on.
//!   Only a [`Want`] has no queue: nothing else has happened since, so its client goes on at once.
//! - Those that may go on run one after the other, as long as none of them wants something of the shell. Then the shell
//!   is told to read them, since what came meanwhile makes no further event.
//! - What continues is a stack: [`Engine::continue_begun`] goes on with the script, then the transaction, then the
//!   command's end. A client that has gone keeps its place until its stack is empty.
//! - Reasons that hold many are the server's, and [`Engine::end_shared_waits`] ends them for all.
//!
//! Lives here: entering for a want, leaving, the queue, answers. May not: know what a command, a script or a transaction
//! does; each has its own file.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

use crate::border::{Outcome, Want};
use crate::command::{CommandError, acl, config, persistence};
use crate::engine::Engine;
use crate::engine::loaded::LOADER;
use crate::state::server::{Awaiting, Continuation};
use crate::state::waiter::{Answer, Waiter};
use crate::state::{Client, ClientFlags, ConnId, Server, Waiting};

/// Pending output from which on a client waits until its socket has taken most of it; and how much may be left then.
pub(super) const PENDING_OUTPUT_MAX: usize = if cfg!(test) { 64 << 10 } else { 256 << 20 };
pub(super) const RESUME_BELOW: usize = PENDING_OUTPUT_MAX / 256;

/// Those whose waits have ended, in the order in which they did.
#[derive(Default)]
pub(super) struct Ready {
    queue: VecDeque<ConnId>,
    /// How many of the first have run, and are only to be read.
    ran: usize,
}

impl Ready {
    /// One more may go on.
    fn push(&mut self, conn: ConnId) {
        self.queue.push_back(conn);
    }

    /// The next that is to run, if the shell owes nobody an answer.
    fn next_to_run(&mut self) -> Option<ConnId> {
        let conn = *self.queue.get(self.ran)?;
        self.ran += 1;
        Some(conn)
    }

    /// The next that is to be read.
    fn next_to_read(&mut self) -> Option<ConnId> {
        self.ran = self.ran.checked_sub(1)?;
        self.queue.pop_front()
    }

    /// This one is gone.
    fn forget(&mut self, conn: ConnId) {
        let of_ran = self.queue.iter().take(self.ran);
        self.ran -= of_ran.filter(|of| **of == conn).count();
        self.queue.retain(|of| *of != conn);
    }
}

impl Engine {
    // --- coming to a stand, and going on ---

    /// Asks the shell for something that `client` needs to go on. Who waits for more than that goes on when that has come.
    pub(super) fn ask(&mut self, client: &mut Client, want: Want) {
        // A handler may have asked for more than a clock reading: a sleep, which ends with one.
        self.server.want.get_or_insert(want);
        self.asking = Some(client.conn);
        if !client.is_waiting() {
            client.wait_for(Waiting::Want);
        }
    }

    /// What was asked for is there: who asked goes on, and then those who were let go meanwhile.
    pub(super) fn answered(&mut self) {
        match self.asking.take() {
            Some(LOADER) => self.resume_loaded_script(),
            Some(conn) => {
                let client = self.server.clients.get_mut(conn);
                if let Some(client) = client
                    && matches!(client.waiting(), Some(Waiting::Want))
                {
                    client.stop_waiting();
                }
                self.process(conn);
            }
            None => {}
        }
        self.run_ready();
    }

    /// A client's wait is over, whose reason was `was`: it goes on when its turn comes.
    pub(super) fn go_on(&mut self, client: &mut Client, was: &Waiting) {
        if let Waiting::Keys(wait) = was {
            self.server.waiters.remove(client.dbid, client.conn, wait);
            if !client.flags.has(ClientFlags::FLUSH_QUEUED) {
                client.flags.set(ClientFlags::FLUSH_QUEUED, true);
                self.server.queue_flush(client.conn);
            }
        }
        self.ready.push(client.conn);
    }

    /// The same for a client that is in its place, if it waits for something like this.
    fn go_on_at(&mut self, conn: ConnId, is_it: impl Fn(&Waiting) -> bool) {
        if let Some(mut client) = self.server.clients.take(conn) {
            if client.waiting().is_some_and(is_it)
                && let Some(was) = client.stop_waiting()
            {
                self.go_on(&mut client, &was);
            }
            self.server.clients.put_back(client);
        }
    }

    /// Runs what those who may go on were kept from, until one of them needs something from the shell; the rest go on
    /// when that is there.
    pub(super) fn run_ready(&mut self) {
        while self.server.want.is_none()
            && let Some(conn) = self.ready.next_to_run()
        {
            self.process(conn);
        }
    }

    /// Connections that may be read again, whether or not their sockets have said anything.
    pub fn poll_resumed(&mut self) -> Option<ConnId> {
        self.ready.next_to_read()
    }

    /// Whether the connection may be read now; if not, it will be in [`Engine::poll_resumed`].
    pub fn wants_read(&self, conn: ConnId) -> bool {
        self.server.clients.get(conn).is_some_and(|client| {
            client.waiting().is_none_or(Waiting::lets_read) && !client.is_closing()
        })
    }

    /// Goes on with what the client has begun, from the top of its stack; says whether all of it has come to its end.
    pub(super) fn continue_begun(&mut self, client: &mut Client) -> bool {
        (!client.begun.script || self.continue_script(client))
            && (client.begun.exec.is_none() || self.continue_exec(client))
    }

    /// Whether a transaction or a script of the client has begun and not come to its end.
    pub(super) fn has_begun(&self, client: &Client) -> bool {
        let has_script = client.begun.script && self.server.scripting.running.is_some();
        has_script || client.begun.exec.is_some()
    }

    /// A client goes: nothing here points to it any more.
    pub(super) fn forget_waiting(&mut self, conn: ConnId) {
        self.ready.forget(conn);
        if self.asking == Some(conn) {
            self.asking = None;
        }
    }

    // --- reasons that end without an answer ---

    /// Lets clients go on that were held with many others, when a pause is over, or something else that holds them was
    /// lifted. Those who are held for another reason as well are so once more.
    pub(super) fn end_shared_waits(&mut self) {
        let had_pause = !self.server.is_paused() && self.server.pause.take().is_some();
        if !had_pause && !self.server.unpaused {
            return;
        }
        self.server.unpaused = false;
        for client in self.server.clients.iter_mut() {
            if client.waiting().is_some_and(Waiting::is_shared) {
                client.stop_waiting();
                self.ready.push(client.conn);
            }
        }
        self.run_ready();
    }

    /// A turn begins: a script that runs for long goes on by one tick.
    pub(super) fn continue_busy_script(&mut self) {
        match self.script.conn {
            Some(LOADER) => return self.resume_loaded_script(),
            Some(conn) => self.go_on_at(conn, |waiting| matches!(waiting, Waiting::Turn)),
            None => {}
        }
        self.run_ready();
    }

    /// A client's socket has taken most of its output.
    pub(super) fn end_output_wait(&mut self, conn: ConnId) {
        self.go_on_at(conn, |waiting| matches!(waiting, Waiting::Output));
        self.run_ready();
    }

    // --- answers ---

    /// The shell has carried out the order with this ticket.
    pub fn handle_done(&mut self, ticket: u64, outcome: Outcome) {
        if self.server.settle_file(ticket, &outcome) {
            return self.settle_answers();
        }
        self.answer_order(|awaiting| awaiting.ticket == ticket, outcome);
        self.run_ready();
        self.close_doomed();
    }

    /// Replies to those whose saves and loads are done.
    pub(super) fn settle_answers(&mut self) {
        // One that goes on may answer another.
        while !self.server.persistence.answers.is_empty() {
            let answers = std::mem::take(&mut self.server.persistence.answers);
            for (waiter, answer) in answers {
                self.settle_answer(waiter, answer);
                self.run_ready();
            }
        }
    }

    fn settle_answer(&mut self, waiter: Waiter, answer: Answer) {
        match answer {
            Answer::Ok => self.answer(waiter, Ok(())),
            Answer::Error(error) => self.answer(waiter, Err(error)),
            Answer::Outcome(outcome) => {
                self.answer_order(|awaiting| awaiting.client_id == waiter.1, outcome);
            }
            Answer::Synced { local } => self.answer_with(waiter, |_, client| {
                client.reply.array(2);
                client.reply.int(local as i64);
                client.reply.int(0);
            }),
        }
    }

    /// Goes on with what a client has asked for and the shell was to do first.
    fn answer_order(&mut self, is_it: impl Fn(&Awaiting) -> bool, outcome: Outcome) {
        let Some(at) = self.server.awaiting.iter().position(is_it) else {
            return;
        };
        let awaiting = self.server.awaiting.remove(at);
        let waiter = (awaiting.conn, awaiting.client_id);
        let result = match awaiting.then {
            Continuation::Reply { error_prefix } => match outcome {
                Ok(_) => Some(Ok(())),
                Err(why) => Some(Err(CommandError::text(format!("{error_prefix}{why}")))),
            },
            Continuation::ConfigSet(change) => {
                config::go_on(&mut self.server, waiter, change, outcome)
            }
            Continuation::AclLoad => {
                let (server, registry) = (&mut self.server, &self.registry);
                Some(acl::loaded(server, registry, awaiting.conn, outcome))
            }
            Continuation::AclSave => Some(acl::saved(outcome)),
            Continuation::Rewrite => match persistence::begun(&outcome) {
                Ok(text) => {
                    self.answer_with(waiter, |_, client| client.reply.simple(text));
                    None
                }
                Err(error) => Some(Err(error)),
            },
        };
        if let Some(result) = result {
            self.answer(waiter, result);
        }
    }

    /// Answers the flushes whose memory is given back.
    pub(super) fn answer_flushes(&mut self) {
        let waiters = std::mem::take(&mut self.server.flush_waiters);
        for (mark, conn, id) in waiters {
            if self.server.garbage.is_freed_up_to(mark) {
                self.answer((conn, id), Ok(()));
                self.run_ready();
            } else {
                self.server.flush_waiters.push((mark, conn, id));
            }
        }
    }

    /// Answers a command that waited for that: it replies, and its client goes on.
    fn answer(&mut self, waiter: Waiter, result: Result<(), CommandError>) {
        self.answer_with(waiter, |server, client| match result {
            Ok(()) => client.reply.ok(),
            Err(error) => {
                let line = error.line();
                server.count_error(&line);
                if let Some(id) = client.last_command {
                    server.command_stats[usize::from(id.0)].failed_calls += 1;
                }
                client.reply.error_bytes(&line);
            }
        });
    }

    fn answer_with(
        &mut self,
        (conn, client_id): Waiter,
        reply: impl FnOnce(&mut Server, &mut Client),
    ) {
        let Some(mut client) = self.server.clients.take(conn) else {
            return;
        };
        // Its connection's number may be another's by now.
        if client.id == client_id
            && client.awaits_answer()
            && let Some(was) = client.stop_waiting()
        {
            // A script has the reply to its call already.
            if !client.begun.script {
                let skips = ClientFlags::REPLY_SKIP.or(ClientFlags::REPLY_OFF);
                // Of a transaction that has ended its own connection it hears no more.
                let is_deaf = client.begun.exec.is_some() && client.is_closing();
                client
                    .reply
                    .set_muted(is_deaf || client.flags.has_any(skips));
                reply(&mut self.server, &mut client);
                // In a transaction, the reply that is skipped has more to come.
                if client.begun.exec.is_none() {
                    client.settle_reply_mode();
                }
                self.deliver_pushes(&mut client);
            }
            self.go_on(&mut client, &was);
        }
        self.server.clients.put_back(client);
    }
}
