//! Transactions: what a client queues, and running it.
//!
//! A transaction runs to its end, whoever is still there to hear of it, and nobody sees half of it. Where a command in it
//! needs the shell, it stands still. For a [`Want`] nobody else runs before the answer; what an `Order` is for (CONFIG
//! REWRITE, the file of a FLUSHALL) is done later, and others wait until the whole transaction has run
//! ([`crate::state::restraint::Restraint::MIDWAY`]). Lives here: the queue, EXEC's loop, standing still and the end.
//! May not: know why a command waits.

use crate::border::Want;
use crate::command::permission::permit_queued;
use crate::command::{CommandId, transaction};
use crate::engine::Engine;
use crate::resp::{Args, OwnedArgs};
use crate::state::multi::Halt;
use crate::state::{Client, ClientFlags};

impl Engine {
    /// Whether the command is EXEC itself.
    pub(super) fn is_exec(&self, id: CommandId) -> bool {
        let command = self.registry.get(id);
        command.container.is_none() && command.spec.name == transaction::EXEC.name
    }

    /// Whether a transaction queues the command.
    pub(super) fn queues(&self, id: CommandId) -> bool {
        const RUN_AT_ONCE: [&str; 6] = ["exec", "discard", "multi", "watch", "quit", "reset"];
        let command = self.registry.get(id);
        command.container.is_some() || !RUN_AT_ONCE.contains(&command.spec.name)
    }

    /// Puts a command behind the others of its transaction.
    pub(super) fn queue(&mut self, client: &mut Client, id: CommandId, args: Args<'_>) {
        let flags = self.flags_with_script(client, id, args);
        client.last_command = Some(id);
        let is_dirty = self.server.watchers.is_dirty(client.conn);
        // One that will not run keeps no more than it has.
        if let Some(multi) = &mut client.multi
            && !multi.is_aborted
            && !is_dirty
        {
            multi.queue(id, args, flags);
        }
        let skips = ClientFlags::REPLY_SKIP.or(ClientFlags::REPLY_OFF);
        if !client.flags.has_any(skips) {
            client.reply.simple("QUEUED");
        }
    }

    /// Runs the transaction that EXEC began, up to its end or to a command behind which it stands still.
    pub(super) fn run_exec(&mut self, client: &mut Client) {
        let exec = client.last_command;
        client.flags.set(ClientFlags::IN_EXEC, true);
        while !client.is_waiting()
            && self.server.want.is_none()
            && let Some(multi) = &mut client.begun.exec
            && let Some((id, args)) = multi.queue.pop_front()
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
            if client.is_closing() {
                // What ended its own connection is the last that it hears of.
                client.reply.set_muted(true);
            }
            if client.begun.script {
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
            self.ask(client, Want::Clock);
        }
        client.flags.set(ClientFlags::IN_EXEC, false);
        client.last_command = exec;
    }

    /// Goes on with the transaction that stood still; says whether it has come to its end, with all that follows.
    pub(super) fn continue_exec(&mut self, client: &mut Client) -> bool {
        self.run_exec(client);
        if self.stands_still(client) {
            self.keep_effects(client);
            return false;
        }
        self.clock.is_timing = client.begun.command.is_some();
        self.end_exec(client);
        self.clock.is_timing = false;
        if client.begun.command.is_some() {
            self.ask(client, Want::Clock);
            return false;
        }
        true
    }

    /// Whether the client's transaction has not come to its end, after as much of it has run as can.
    pub(super) fn stands_still(&self, client: &Client) -> bool {
        let exec = client.begun.exec.as_ref();
        let has_more = exec.is_some_and(|exec| !exec.queue.is_empty());
        has_more || self.server.want.is_some() || client.begun.script
    }

    /// A transaction comes to a stand in its middle, for the first time: EXEC is kept as it came.
    pub(super) fn halt_exec(&mut self, client: &mut Client, argv: Args<'_>) {
        self.keep_effects(client);
        let exec = client.begun.exec.as_mut();
        if let Some(halt) = exec.and_then(|exec| exec.halt.as_mut()) {
            halt.argv = OwnedArgs::new(argv);
        }
    }

    /// What a transaction has caused so far waits with it, as ticks may run meanwhile, and other clients do where a script
    /// stands still that they may not end.
    fn keep_effects(&mut self, client: &mut Client) {
        self.hold_others(client);
        if let Some(exec) = &mut client.begun.exec {
            let halt = exec.halt.get_or_insert_default();
            halt.effects.append(&mut self.server.effects.propagated);
        }
    }

    /// Others wait while what the client has begun waits in its middle for the shell.
    pub(super) fn hold_others(&mut self, client: &Client) {
        self.server.hold_midway(client.awaits_answer());
    }

    /// A transaction that stood still has come to its end.
    pub(super) fn end_exec(&mut self, client: &mut Client) {
        self.server.hold_midway(false);
        if let Some(halt) = client.begun.exec.take().and_then(|exec| exec.halt) {
            let Halt { argv, mut effects } = *halt;
            let propagated = &mut self.server.effects.propagated;
            effects.append(propagated);
            *propagated = effects;
            // A script in it may have been the last to say which command runs.
            if let Ok(command) = self.registry.find(argv.args()) {
                let id = command.id;
                client.last_command = Some(id);
                if !self.server.monitors.is_empty() {
                    self.feed_monitors(client, argv.args(), id);
                }
            }
        }
        self.follow_up(client);
    }
}

#[cfg(test)]
mod tests {
    use crate::border::{CloseReason, Order, Peer, Signal};
    use crate::config::{Config, SaveRule};
    use crate::engine::bench::Bench;
    use crate::state::UnixMicros;

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
        bench.conn = bench.engine.accept(peer);
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
        assert!(bench.engine.can_accept(leaving));
    }

    /// The orders given so far, but for log lines.
    fn orders(bench: &mut Bench) -> Vec<Order> {
        let orders = std::iter::from_fn(|| bench.engine.poll_order());
        orders
            .filter(|order| !matches!(order, Order::Log { .. } | Order::Stopping))
            .collect()
    }

    #[test]
    fn no_file_shows_half_of_a_transaction_that_stands_still() {
        let mut bench = Bench::new(Config {
            save: vec![SaveRule {
                seconds: 0,
                changes: 1,
            }],
            ..Config::default()
        });
        bench.send(
            b"MULTI\r\nBGSAVE SCHEDULE\r\nFLUSHALL\r\nINCR n\r\nINCR n\r\nEXEC\r\n",
            10,
        );
        let flush = orders(&mut bench);
        let ends: Vec<u64> = flush
            .iter()
            .filter_map(|order| match order {
                Order::EndFile { ticket, .. } => Some(*ticket),
                _ => None,
            })
            .collect();
        assert_eq!((ends.len(), flush.len()), (1, 3), "{flush:?}");
        // Neither what was scheduled begins meanwhile, nor the end of the server.
        bench.engine.handle_signal(Signal::Terminate);
        for _ in 0..3 {
            bench.now_us += 2_000_000;
            bench.engine.handle_time(UnixMicros(bench.now_us));
            bench.answer_wants(10);
        }
        assert_eq!(orders(&mut bench), []);
        bench.engine.handle_done(ends[0], Ok(b"100".to_vec()));
        bench.answer_wants(10);
        assert_eq!(bench.engine.server.dbs[0].len(), 1);
        bench.now_us += 2_000_000;
        bench.engine.handle_time(UnixMicros(bench.now_us));
        let last = orders(&mut bench);
        assert!(
            matches!(last.first(), Some(Order::OpenFile { .. })),
            "{last:?}"
        );
    }

    #[test]
    fn what_a_flush_saves_is_on_disk_before_it_is_loaded_again() {
        for (request, failed, want) in [
            ("DEBUG RELOAD NOSAVE\r\nPING\r\n", false, "+OK\r\n+PONG\r\n"),
            ("DEBUG RELOAD NOSAVE\r\nPING\r\n", true, "+OK\r\n+PONG\r\n"),
            (
                "MULTI\r\nDEBUG RELOAD NOSAVE\r\nPING\r\nEXEC\r\n",
                false,
                "+OK\r\n+QUEUED\r\n+QUEUED\r\n*2\r\n+OK\r\n+PONG\r\n",
            ),
        ] {
            let mut bench = Bench::new(Config {
                save: vec![SaveRule {
                    seconds: 3600,
                    changes: 1,
                }],
                enable_debug_command: crate::config::Guard::Yes,
                ..Config::default()
            });
            let flushing = bench.conn;
            bench.send(b"SET a 1\r\nFLUSHALL\r\n", 10);
            let file = orders(&mut bench);
            let Some(Order::EndFile { ticket, .. }) = file.last() else {
                panic!("{file:?}");
            };
            bench.conn = bench.engine.accept(Peer {
                addr: "/s:0".into(),
                local_addr: "/s:0".into(),
                is_unix: true,
                is_local: true,
                fd: 6,
            });
            bench.send(request.as_bytes(), 10);
            bench.engine.handle_time(UnixMicros(bench.now_us));
            assert_eq!(orders(&mut bench), [], "the file is not there yet");
            let outcome = match failed {
                true => Err("write: no space".to_owned()),
                false => Ok(b"100".to_vec()),
            };
            bench.engine.handle_done(*ticket, outcome);
            bench.answer_wants(10);
            let said = bench.engine.output_slice(flushing);
            assert_eq!(said, Some(&b"+OK\r\n+OK\r\n"[..]));
            let next = orders(&mut bench);
            let [Order::ReadFile { ticket, .. }] = &next[..] else {
                panic!("{next:?}");
            };
            // A file of nothing.
            let bytes = b"REDIS0012\xff\0\0\0\0\0\0\0\0";
            bench
                .engine
                .handle_chunk(*ticket, Some(bytes.len() as u64), bytes);
            for _ in 0..2 {
                bench.engine.handle_time(UnixMicros(bench.now_us));
                bench.answer_wants(10);
            }
            let said = bench.engine.output_slice(bench.conn).unwrap_or_default();
            assert_eq!(String::from_utf8_lossy(said), want);
        }
    }
}
