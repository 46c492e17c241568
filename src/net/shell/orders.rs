//! Orders: what the engine has the shell do, each in a few lines.

use super::Shell;
use crate::border::{FileStep, Order, Outcome};
use crate::disk;
use crate::disk::files::{self, Job, path_of};
use crate::keyspace::alloc;
use crate::net::log as server_log;
use crate::os::{plain, process};
use crate::state::aof::WRITE_TICKET;
use log::{error, info, warn};
use std::sync::Arc;

/// What came of an order.
enum Obeyed {
    /// Nothing is to be told of it, or later.
    Quietly,
    /// The engine has heard how it went, and clients may wait for that.
    Told,
    /// That was the end, with this exit code.
    Exit(i32),
}

impl Shell {
    /// Does what the engine ordered; the exit code if that was the end.
    pub(super) fn obey_orders(&mut self) -> Option<i32> {
        let mut exit = None;
        let mut has_told = false;
        while let Some(order) = self.driver.poll_order() {
            match self.obey(order) {
                Obeyed::Quietly => {}
                Obeyed::Told => has_told = true,
                Obeyed::Exit(code) => exit = Some(code),
            }
        }
        if has_told || exit.is_some() {
            self.driver.turn_end();
            self.write_aof();
            self.flush();
        }
        exit
    }

    fn obey(&mut self, order: Order) -> Obeyed {
        match order {
            Order::Log { level, text } => server_log::write(level, &text),
            Order::LookAtConfig => self.care(),
            Order::PurgeMemory => alloc::purge(),
            Order::ReadFile { .. } => self.read_next = Some(order),
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
            Order::Exit { code } => return Obeyed::Exit(code),
            Order::RewriteConfig { ticket, all } => {
                let outcome = self.rewrite_config(all);
                return self.told(ticket, outcome);
            }
            Order::Listen { ticket } => {
                let outcome = self.relisten();
                return self.told(ticket, nothing(outcome));
            }
            Order::RaiseFileLimit { ticket, maxclients } => {
                return self.told(ticket, nothing(make_room(maxclients)));
            }
            Order::ChangeDir { ticket } => {
                let outcome = disk::change_dir(&self.driver.engine().config().dir);
                return self.told(ticket, outcome);
            }
            Order::ReadAclFile { ticket } => {
                let outcome = disk::read_acl_file(&self.driver.engine().config().aclfile);
                return self.told(ticket, outcome);
            }
            Order::WriteAclFile { ticket, text } => {
                let outcome = self.write_acl_file(&text);
                return self.told(ticket, outcome);
            }
            Order::AdjustOomScore { ticket } => {
                let outcome = self.oom_score.apply(self.driver.engine().config());
                return self.told(ticket, nothing(outcome));
            }
            Order::OpenFile { .. }
            | Order::WriteFile { .. }
            | Order::EndFile { .. }
            | Order::RemoveFiles { .. }
            | Order::DropFile { .. } => job_of(order)
                .into_iter()
                .for_each(|job| self.order_file(job)),
            Order::WriteWhole {
                ticket,
                path,
                bytes,
            } => {
                let written = files::write_bytes(&path_of(&path), &bytes);
                let failed = |(step, error): (FileStep, _)| step.failed(&plain(&error));
                return self.told(ticket, nothing(written.map_err(failed)));
            }
            Order::Rename { ticket, from, to } => {
                let renamed = files::rename(&path_of(&from), &path_of(&to));
                let outcome = renamed.map_err(|error| plain(&error));
                return self.told(ticket, nothing(outcome));
            }
            Order::MakeFolder { ticket, path } => {
                let made = files::make_folder(&path_of(&path));
                let outcome = made.map_err(|error| plain(&error));
                return self.told(ticket, nothing(outcome));
            }
            Order::OpenAof {
                before,
                path,
                truncate_to,
            } => {
                self.open_aof(&before, &path, truncate_to);
                return Obeyed::Told;
            }
            Order::CloseAof { before } => self.close_aof(&before),
            Order::SyncAof { ticket } => match self.aof.handle() {
                Ok(file) => self.order_file(Job::Sync { file, ticket }),
                Err(error) => self.driver.done(ticket, Err(plain(&error))),
            },
            Order::RetryAof => {
                let outcome = self.aof.retry();
                self.tell_aof(outcome);
            }
        }
        Obeyed::Quietly
    }

    /// Tells the engine how an order went.
    fn told(&mut self, ticket: u64, outcome: Outcome) -> Obeyed {
        self.driver.done(ticket, outcome);
        Obeyed::Told
    }

    fn rewrite_config(&self, all: bool) -> Outcome {
        let outcome = disk::rewrite_config(self.driver.engine(), all, self.auto_port);
        match &outcome {
            Ok(()) => info!("CONFIG REWRITE executed with success."),
            Err(why) => warn!("CONFIG REWRITE failed: {why}"),
        }
        nothing(outcome)
    }

    fn write_acl_file(&self, text: &[u8]) -> Outcome {
        let outcome = disk::write_acl_file(&self.driver.engine().config().aclfile, text);
        if let Err(why) = &outcome {
            warn!("Writing the ACL file for ACL SAVE: {why}");
        }
        nothing(outcome)
    }

    /// From now on another file is appended to.
    fn open_aof(&mut self, before: &[u8], path: &[u8], truncate_to: Option<u64>) {
        let outcome = self.aof.append_last(before);
        self.tell_aof(outcome);
        let (old, outcome) = self.aof.switch(&path_of(path), truncate_to);
        self.sync_old(old);
        self.tell_aof(Some(outcome));
    }

    /// Nothing is appended any more.
    fn close_aof(&mut self, before: &[u8]) {
        // Nobody waits for what is written here, so nobody is told how it went.
        let _ = self.aof.append_last(before);
        let old = self.aof.close();
        self.sync_old(old);
    }

    /// Has a file forced to disk that nothing is appended to any more.
    pub(super) fn sync_old(&mut self, file: Option<std::fs::File>) {
        if let Some(file) = file {
            // Its answer says nothing: what is forced to disk later comes behind it.
            self.order_file(Job::Sync { file, ticket: 0 });
        }
    }

    pub(super) fn tell_aof(&mut self, outcome: Option<Outcome>) {
        if let Some(outcome) = outcome {
            self.driver.done(WRITE_TICKET, outcome);
        }
    }

    /// Gives the thread that writes files an order.
    pub(super) fn order_file(&mut self, job: Job) {
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
}

/// An outcome that has nothing to say when it went well.
fn nothing(outcome: Result<(), String>) -> Outcome {
    outcome.map(|()| Vec::new())
}

/// What the thread for files is to do about an order, if it is one for it.
fn job_of(order: Order) -> Option<Job> {
    Some(match order {
        Order::OpenFile {
            file,
            path,
            syncs_often,
        } => Job::Open {
            file,
            path: path_of(&path),
            syncs_often,
        },
        Order::WriteFile {
            file,
            ticket,
            bytes,
        } => Job::Write {
            file,
            ticket,
            bytes,
        },
        Order::EndFile {
            file,
            ticket,
            has_checksum,
            computes_checksum,
            target,
        } => Job::End {
            file,
            ticket,
            has_checksum,
            computes_checksum,
            target: path_of(&target),
        },
        Order::RemoveFiles { ticket, paths } => Job::Remove {
            paths: paths.iter().map(|path| path_of(path)).collect(),
            ticket,
        },
        Order::DropFile { file } => Job::Drop { file },
        _ => return None,
    })
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
