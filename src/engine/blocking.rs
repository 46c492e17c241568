//! Blocking: serving clients whose commands wait for a key, and ending waits whose time is up.
//!
//! A blocked client's command stays what it has begun, and is run again as it stands: whoever is served
//! gets its reply from the handler itself.

use crate::acl::log::Context;
use crate::command::CommandError;
use crate::command::permission::permit;
use crate::engine::Engine;
use crate::engine::gates::slots::look_at_slots;
use crate::resp::Args;
use crate::state::blocking::Wait;
use crate::state::client::Parked;
use crate::state::keys::Access;
use crate::state::{Client, ClientFlags, ConnId, Waiting};

impl Engine {
    /// Runs the commands of those who wait for a key that has changed, as long as commands change such keys.
    pub(super) fn serve_blocked(&mut self) {
        if self.is_serving {
            return; // the loop below sees what the served commands signal
        }
        self.is_serving = true;
        while let Some(((dbid, key), waiting)) = self.server.waiters.take_ready() {
            for conn in waiting {
                self.serve_one(dbid, &key, conn);
            }
        }
        self.is_serving = false;
    }

    /// Runs a blocked client's command again, if the key may serve it now.
    fn serve_one(&mut self, dbid: u32, key: &[u8], conn: ConnId) {
        let found = self.server.key(key);
        let kind = self
            .server
            .lookup(dbid, found, Access::Peek)
            .map(|entry| entry.kind());
        let Some(client) = self.server.clients.get(conn) else {
            return;
        };
        let may_serve = |wait: &Wait| wait.on_any_change || kind == Some(wait.kind);
        if client.is_closing() || !client.blocked().is_some_and(may_serve) {
            return;
        }
        if let Some(mut client) = self.server.clients.take(conn) {
            self.run_again(&mut client);
            self.server.clients.put_back(client);
        }
    }

    /// Runs the command of a blocked client again: its wait is over, or it blocks once more and keeps its place.
    fn run_again(&mut self, client: &mut Client) {
        let Some(parked) = client.begun.command.take() else {
            return;
        };
        if let Some(Waiting::Keys(wait)) = client.stop_waiting() {
            self.server.waiters.forget_wake(client.conn, &wait);
            client.begun.waited = Some(wait);
        }
        client
            .reply
            .set_pending_max(self.server.pending_max(client));
        let query = std::mem::take(&mut client.query);
        let args = Args::new(
            &query[client.query_pos..client.query_end],
            &parked.argv,
            &parked.big,
        );
        if let Ok(command) = self.registry.find(args) {
            let id = command.id;
            if self.is_paused(client, id, args) {
                client.query = query;
                return self.hold_served(client, parked);
            }
            let (server, registry) = (&mut self.server, &self.registry);
            let command = registry.get(id);
            match permit(server, client, registry, command, args, Context::Toplevel) {
                Ok(()) => {
                    if server.counts_incompatible() {
                        look_at_slots(server, registry, client, command, args);
                    }
                    let is_sampled = self.server.hotkeys.times_next();
                    self.call(client, args, id, None);
                    if client.blocked().is_none() {
                        self.time_served(client, id, args, is_sampled);
                    }
                }
                Err(error) => self.refuse(client, Some(id), &error),
            }
        }
        client.query = query;
        let waited = client.begun.waited.take();
        if client.blocked().is_some() {
            client.begun.command = Some(parked);
            return;
        }
        client.query_pos += parked.len;
        if let Some(wait) = waited {
            self.go_on(client, &Waiting::Keys(wait));
        }
    }

    /// What would serve a client has come in a pause: it leaves the queues of its keys, and its command comes to the gates
    /// again when the pause is over.
    fn hold_served(&mut self, client: &mut Client, parked: Parked) {
        if let Some(wait) = client.begun.waited.take() {
            self.server.waiters.remove(client.dbid, client.conn, &wait);
        }
        client.parked.push_front(parked);
        client.wait_for(Waiting::Pause);
    }

    /// Ends a wait without having served it: with this error, or as if its time were up.
    fn end_wait(&mut self, conn: ConnId, error: Option<CommandError>) {
        let Some(mut client) = self.server.clients.take(conn) else {
            return;
        };
        if client.blocked().is_some()
            && let Some(was) = client.stop_waiting()
        {
            let parked = client.begun.command.take();
            let is_muted = client
                .flags
                .has_any(ClientFlags::REPLY_OFF.or(ClientFlags::REPLY_SKIP));
            client.reply.set_muted(is_muted);
            let replied_before = client.reply.written();
            if error.is_none() {
                client.reply.null_array();
            }
            let id = client.last_command;
            if let Some(id) = id {
                self.settle_call(&mut client, id, error.map_or(Ok(()), Err));
            }
            client.settle_reply_mode();
            if let Some(parked) = parked {
                let bytes = &client.query[client.query_pos..client.query_end];
                let args = Args::new(bytes, &parked.argv, &parked.big);
                if let Some(id) = id {
                    if self.server.hotkeys.is_active() {
                        let replied = client.reply.written().saturating_sub(replied_before);
                        self.weigh_call(id, args, replied);
                    }
                    self.time_served(&client, id, args, false);
                }
                client.query_pos += parked.len;
            }
            self.go_on(&mut client, &was);
        }
        self.server.clients.put_back(client);
    }

    /// Runs the commands again that were to look by now, whether a key has changed or not.
    pub(super) fn wake_waits(&mut self) {
        let now_ms = self.server.now_ms;
        for conn in self.server.waiters.woken(now_ms) {
            let Some(mut client) = self.server.clients.take(conn) else {
                continue;
            };
            if !client.is_closing() && client.blocked().is_some() {
                self.run_again(&mut client);
            }
            self.server.clients.put_back(client);
        }
    }

    /// Ends the waits whose deadline has passed.
    pub(super) fn end_due_waits(&mut self) {
        let now_ms = self.server.now_ms;
        for conn in self.server.waiters.due(now_ms) {
            self.end_wait(conn, None);
        }
    }

    /// Ends the waits that CLIENT UNBLOCK named.
    pub(super) fn end_unblocked(&mut self) {
        for (conn, with_error) in std::mem::take(&mut self.server.unblocked) {
            let error = with_error.then_some(CommandError::Unblocked);
            self.end_wait(conn, error);
        }
    }

    /// Forgets what a client that goes was waiting for, watching or listening to.
    pub(super) fn forget_blocked(&mut self, conn: ConnId) {
        let Some(client) = self.server.clients.get_mut(conn) else {
            return;
        };
        self.server.watchers.unwatch(conn, &mut client.watched);
        self.server.pubsub.unsubscribe_all(client);
        self.server.tracking.stop(client);
        self.server.monitors.remove(&conn);
        if let Some(wait) = client.blocked() {
            self.server.waiters.remove(client.dbid, conn, wait);
        }
    }
}
