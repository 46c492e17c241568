//! Persistence: when the data goes to disk, and what follows when it is there, or is not.
//!
//! Lives here: SAVE, BGSAVE and save points, the end of a snapshot, the end of the server with its last save, the
//! figures of INFO; in `emptied`, the file of a FLUSHALL. May not: touch the data (`state::snapshot`,
//! `state::loading`), open files (the shell).

mod emptied;

use std::collections::VecDeque;

use crate::border::{FileStep, INSISTS, LogLevel, Order, Outcome};
use crate::config::ShutdownFlags;
use crate::state::aof::AofState;
use crate::state::loading::{Figures, Loading};
use crate::state::restraint::Restraint;
use crate::state::server::Server;
use crate::state::snapshot::{Ended, Purpose, Snapshot};
use crate::state::waiter::{Answer, Then, Waiter};
use crate::state::{CommandError, UnixMicros};
use emptied::Emptied;

/// After a failed save, the next one that a save point asks for comes after so many seconds.
const RETRY_SECS: i64 = 5;

/// A save failed that a client has waited for. The log says why.
const NOT_SAVED: CommandError = CommandError::Text(std::borrow::Cow::Borrowed("ERR"));

/// What is done when a save that someone waits for has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum After {
    /// The waiting client, if there is one, gets its reply.
    Reply,
    /// The data is loaded again (DEBUG RELOAD), in place of what is there or beside it.
    Reload { flushes: bool, merges: bool },
    /// The server ends.
    ShutDown,
}

/// What cannot begin before a save is through.
enum Queued {
    /// Of the data as they will be.
    Snapshot {
        waiter: Option<Waiter>,
        after: After,
    },
    /// Of what a flush has left.
    Emptied(Emptied),
    /// None: what is saved is to be loaded again, once all is that was asked for before.
    Reload {
        waiter: Waiter,
        flushes: bool,
        merges: bool,
    },
}

/// An end of the server that was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Shutdown {
    flags: ShutdownFlags,
    waiter: Option<Waiter>,
    /// The next tick begins it; else it waits for the last save.
    is_pending: bool,
}

/// The state of everything that has to do with files of data.
pub struct Persistence {
    pub snapshot: Option<Box<Snapshot>>,
    pub loading: Option<Box<Loading>>,
    after: After,
    queue: VecDeque<Queued>,
    /// Files of flushes on their way to the disk.
    emptied: Vec<Emptied>,
    /// BGSAVE SCHEDULE: as soon as there is room for it.
    pub is_scheduled: bool,
    pub shutdown: Option<Shutdown>,
    /// Clients whose commands are done, and with what result.
    pub answers: Vec<(Waiter, Answer)>,
    pub last_save_secs: i64,
    last_try_secs: i64,
    pub last_save_ok: bool,
    /// How long the last background save took.
    pub last_duration_secs: Option<i64>,
    /// Saves that were asked for and begun.
    pub saves: u64,
    /// A snapshot has begun in the background, and no clock was read since.
    pub start_is_untimed: bool,
    /// What the last load found.
    pub loaded: Figures,
}

impl Persistence {
    /// At the start of the server.
    pub fn new(now: UnixMicros) -> Persistence {
        Persistence {
            snapshot: None,
            loading: None,
            after: After::Reply,
            queue: VecDeque::new(),
            emptied: Vec::new(),
            is_scheduled: false,
            shutdown: None,
            answers: Vec::new(),
            last_save_secs: now.secs(),
            last_try_secs: 0,
            last_save_ok: true,
            last_duration_secs: None,
            saves: 0,
            start_is_untimed: false,
            loaded: Figures::default(),
        }
    }

    /// Whether a background save runs.
    pub fn is_saving(&self) -> bool {
        let snapshot = self.snapshot.as_ref();
        snapshot.is_some_and(|snapshot| snapshot.purpose == Purpose::Background)
    }
}

impl Server {
    /// Begins a background save. There must be no snapshot.
    pub fn save_in_background(&mut self) {
        self.persistence.is_scheduled = false;
        self.persistence.last_try_secs = self.now.secs();
        let text = format!("Background saving started by pid {}", self.process.pid);
        self.log(LogLevel::Notice, text);
        let target = self.config.dbfilename.clone();
        self.persistence.after = After::Reply;
        self.persistence.saves += 1;
        self.stats.snapshots += 1;
        self.begin_snapshot(Purpose::Background, &target, None);
    }

    /// Saves for someone who waits; when a snapshot runs, behind it.
    pub fn save_for(&mut self, waiter: Option<Waiter>, after: After) {
        if self.persistence.snapshot.is_some() {
            let queued = Queued::Snapshot { waiter, after };
            return self.persistence.queue.push_back(queued);
        }
        let target = self.config.dbfilename.clone();
        self.persistence.after = after;
        self.persistence.saves += u64::from(after == After::Reply);
        self.begin_snapshot(Purpose::Foreground, &target, waiter);
    }

    /// A tick's share: save points, what was put off, an end that a signal asked for.
    pub fn persistence_cron(&mut self) {
        if self.persistence.shutdown.is_some_and(|end| end.is_pending) {
            self.begin_shutdown();
        }
        if !self.may_begin_snapshot() {
            return;
        }
        let now = self.now.secs();
        let state = &self.persistence;
        let may_retry = state.last_save_ok || now - state.last_try_secs > RETRY_SECS;
        if state.is_scheduled && may_retry {
            return self.save_in_background();
        }
        let since = now - state.last_save_secs;
        let dirty = self.effects.dirty;
        let is_due = |rule: &&crate::config::SaveRule| {
            u64::try_from(rule.changes).is_ok_and(|changes| dirty >= changes)
                && since > rule.seconds
        };
        if dirty > 0
            && may_retry
            && let Some(rule) = self.config.save.iter().find(is_due)
        {
            let text = format!(
                "{} changes in {} seconds. Saving...",
                rule.changes, rule.seconds
            );
            self.log(LogLevel::Notice, text);
            self.save_in_background();
        }
    }

    /// The shell has carried out an order; says whether it was one of the files here.
    pub fn settle_file(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        if self.settle_aof(ticket, outcome)
            || self.settle_emptied(ticket, outcome)
            || self.settle_loading(ticket, outcome)
        {
            return true;
        }
        match self.settle_snapshot(ticket, outcome) {
            Some((snapshot, ended)) => self.end_snapshot(&snapshot, ended),
            None => return false,
        }
        true
    }

    fn end_snapshot(&mut self, snapshot: &Snapshot, ended: Ended) {
        if snapshot.purpose == Purpose::AofBase {
            self.end_rewrite(snapshot, ended);
            return self.save_queued();
        }
        let is_background = snapshot.purpose == Purpose::Background;
        let result = match ended {
            Ended::Whole { .. } => {
                self.log(LogLevel::Notice, "DB saved on disk");
                self.persistence.last_save_secs = self.now.secs();
                self.effects.dirty = self.effects.dirty.saturating_sub(snapshot.dirty_before);
                if is_background {
                    self.log(
                        LogLevel::Notice,
                        "Background saving terminated with success",
                    );
                }
                self.saved(true);
                Ok(())
            }
            Ended::Failed(why) => {
                self.log(LogLevel::Warning, self.why_not_saved(&snapshot.temp, &why));
                if is_background {
                    self.log(LogLevel::Warning, "Background saving error");
                }
                // A save that a client waits for tells it, and nobody else.
                if is_background {
                    self.saved(false);
                }
                Err(())
            }
        };
        if is_background {
            let secs = self.now.since(snapshot.started) / 1_000_000;
            self.persistence.last_duration_secs = i64::try_from(secs).ok();
        }
        self.follow_save(snapshot.waiter, result);
    }

    fn why_not_saved(&self, temp: &[u8], why: &str) -> String {
        let temp = temp.escape_ascii();
        let path = self.config.dbfilename.escape_ascii();
        let dir = self.config.dir.escape_ascii();
        match FileStep::split(why) {
            (FileStep::Folder | FileStep::Open, why) => format!(
                "Failed opening the temp RDB file {temp} (in server root dir {dir}) for saving: {why}"
            ),
            (FileStep::Write | FileStep::ShortWrite, why) => {
                format!("Write error while saving DB to the disk(rdbSaveRio): {why}")
            }
            (FileStep::Sync, why) => {
                format!("Write error while saving DB to the disk(fsync): {why}")
            }
            (FileStep::Rename, why) => format!(
                "Error moving temp DB file {temp} on the final destination {path} (in server root dir {dir}): {why}"
            ),
        }
    }

    /// Whether the last save succeeded decides whether writes are let through.
    fn saved(&mut self, is_ok: bool) {
        self.persistence.last_save_ok = is_ok;
        self.restraint.set(Restraint::SAVE_FAILED, !is_ok);
    }

    /// Refuses to change data that cannot be saved.
    pub fn refuse_unsaved(&self) -> Result<(), CommandError> {
        let config = &self.config;
        let must_save = config.stop_writes_on_bgsave_error && !config.save.is_empty();
        if must_save && self.restraint.has(Restraint::SAVE_FAILED) {
            return Err(CommandError::NotSaved);
        }
        self.aof_error().map_or(Ok(()), Err)
    }

    /// Whether `min-replicas-to-write` asks for replicas, of which there are none.
    #[inline]
    pub fn lacks_replicas(&self) -> bool {
        self.config.min_replicas_to_write > 0 && self.config.min_replicas_max_lag > 0
    }

    /// Refuses to change data that too few replicas would get. What is loaded was let through when it was written.
    pub fn refuse_unreplicated(&self) -> Result<(), CommandError> {
        match self.lacks_replicas() && !self.restraint.has(Restraint::LOADING) {
            true => Err(CommandError::NoReplicas),
            false => Ok(()),
        }
    }

    fn follow_save(&mut self, waiter: Option<Waiter>, result: Result<(), ()>) {
        match std::mem::replace(&mut self.persistence.after, After::Reply) {
            After::ShutDown => return self.end_shutdown(result.is_ok()),
            After::Reload { flushes, merges } if result.is_ok() => {
                if let Some(waiter) = waiter {
                    self.reload(waiter, flushes, merges);
                }
            }
            After::Reload { .. } => {
                self.hold(false);
                self.answer_later(waiter, Err(NOT_SAVED));
            }
            After::Reply => {
                self.answer_later(waiter, result.map_err(|()| NOT_SAVED));
            }
        }
        self.save_queued();
    }

    /// Begins what has waited for the end of a snapshot. Another client's transaction that waits in its middle is waited
    /// for as well, and what that one itself has asked for goes first.
    pub(super) fn save_queued(&mut self) {
        loop {
            let is_free = self.persistence.snapshot.is_none();
            let is_loading = self.persistence.loading.is_some();
            let may_begin = self.may_begin_snapshot();
            let queue = &self.persistence.queue;
            let mut places = 0..queue.len();
            let next = places.find(|at| match queue.get(*at) {
                // SAVE, which is in no transaction.
                Some(Queued::Snapshot {
                    after: After::Reply,
                    ..
                }) => may_begin,
                Some(Queued::Snapshot { .. }) => is_free && !is_loading,
                Some(Queued::Emptied(_)) => is_free,
                Some(Queued::Reload { .. }) => !is_loading && !self.has_save_on_its_way(*at),
                None => false,
            });
            match next.and_then(|at| self.persistence.queue.remove(at)) {
                Some(Queued::Snapshot { waiter, after }) => self.save_for(waiter, after),
                Some(Queued::Emptied(emptied)) => self.write_emptied(emptied),
                Some(Queued::Reload {
                    waiter,
                    flushes,
                    merges,
                }) => self.reload(waiter, flushes, merges),
                None => return,
            }
        }
    }

    /// Whether nothing is in the way of a snapshot that nobody takes right now: half of what is being loaded is nothing
    /// to save, nor is half of what a transaction does.
    pub(super) fn may_begin_snapshot(&self) -> bool {
        self.persistence.snapshot.is_none()
            && self.persistence.loading.is_none()
            && !self.is_midway()
    }

    /// Whether a transaction or a script waits in its middle for the shell.
    pub fn is_midway(&self) -> bool {
        self.restraint.has(Restraint::MIDWAY)
    }

    fn answer_later(&mut self, waiter: Option<Waiter>, result: Result<(), CommandError>) {
        if let Some(waiter) = waiter {
            let answer = result.map_or_else(Answer::Error, |()| Answer::Ok);
            self.persistence.answers.push((waiter, answer));
        }
    }

    /// Whether a save that a client waits for is not on disk yet, be it one of the first `queued` in the queue.
    fn has_save_on_its_way(&self, queued: usize) -> bool {
        let state = &self.persistence;
        let is_saving = state
            .snapshot
            .as_ref()
            .is_some_and(|snapshot| snapshot.purpose == Purpose::Foreground);
        let mut before = state.queue.iter().take(queued);
        is_saving
            || !state.emptied.is_empty()
            || before.any(|queued| match queued {
                // Others' begin when the transaction that stands still, perhaps for this, is through.
                Queued::Snapshot { .. } => !self.is_midway(),
                Queued::Emptied(_) => true,
                Queued::Reload { .. } => false,
            })
    }

    /// DEBUG RELOAD NOSAVE: a real server has what clients saved before on disk by then.
    pub fn reload_saved(&mut self, waiter: Waiter, flushes: bool, merges: bool) {
        if !self.has_save_on_its_way(self.persistence.queue.len()) {
            return self.reload(waiter, flushes, merges);
        }
        self.hold(true);
        self.persistence.queue.push_back(Queued::Reload {
            waiter,
            flushes,
            merges,
        });
    }

    /// Loads the data set's file again for a client that waits.
    pub fn reload(&mut self, waiter: Waiter, flushes: bool, merges: bool) {
        if flushes {
            for dbid in 0..self.dbs.len() {
                self.flush(dbid as u32, false);
            }
            self.scripting.libraries.flush();
            self.invalidate_all();
        }
        self.hold(false);
        self.begin_loading(merges, Then::Reload(waiter), false);
    }

    /// Loads the append-only file again for a client that waits.
    pub fn reload_aof(&mut self, waiter: Waiter) {
        for dbid in 0..self.dbs.len() {
            self.flush(dbid as u32, false);
        }
        self.scripting.libraries.flush();
        self.invalidate_all();
        self.begin_loading(false, Then::LoadAof(waiter), true);
    }

    /// FLUSHALL: what a background save would save is not wanted any more.
    pub fn drop_background_save(&mut self) {
        if self.persistence.is_saving() {
            self.log(
                LogLevel::Notice,
                "The running background save is given up: all data was removed",
            );
            self.abort_snapshot();
        }
    }

    /// All clients but those who get a reply wait, or no longer do.
    pub fn hold(&mut self, on: bool) {
        self.hold_for(Restraint::HELD, on);
    }

    /// The same for a transaction or a script that has to wait in its middle.
    pub fn hold_midway(&mut self, on: bool) {
        self.hold_for(Restraint::MIDWAY, on);
    }

    fn hold_for(&mut self, reason: Restraint, on: bool) {
        let was = self.restraint.has(reason);
        self.restraint.set(reason, on);
        // The next tick lets them go on, as at the end of a pause.
        self.unpaused |= was && !on;
    }

    /// A client asks for the end of the server; says why not, if it cannot be.
    pub fn ask_shutdown(&mut self, flags: ShutdownFlags, waiter: Option<Waiter>) {
        self.persistence.shutdown = Some(Shutdown {
            flags,
            waiter,
            is_pending: true,
        });
        // Tests of a deferred end stop the ticks; a client's request does not wait for one.
        if waiter.is_some() || !self.debug.cron_paused {
            self.begin_shutdown();
        }
    }

    /// SHUTDOWN ABORT; says whether there was one to call off.
    pub fn cancel_shutdown(&mut self) -> bool {
        let Some(end) = self.persistence.shutdown.take() else {
            return false;
        };
        self.log(LogLevel::Notice, "Shutdown manually aborted.");
        if !end.is_pending {
            self.abort_snapshot();
            self.persistence.after = After::Reply;
            self.hold(false);
        }
        let text = "ERR Errors trying to SHUTDOWN. Check logs.";
        self.answer_later(end.waiter, Err(CommandError::text(text)));
        true
    }

    /// A second SIGINT: at once, without a save.
    pub fn insist_on_shutdown(&mut self) {
        self.log(LogLevel::Warning, INSISTS);
        self.abort_snapshot();
        self.orders.push_back(Order::Exit { code: 1 });
    }

    fn begin_shutdown(&mut self) {
        // A save that a client waits for comes to its end first, and so does a transaction; the next tick sees.
        let snapshot = self.persistence.snapshot.as_ref();
        let is_awaited =
            snapshot.is_some_and(|snapshot| snapshot.waiter.is_some()) || self.is_midway();
        let Some(end) = self.persistence.shutdown.as_mut().filter(|_| !is_awaited) else {
            return;
        };
        end.is_pending = false;
        let flags = end.flags;
        self.orders.push_back(Order::Stopping);
        self.log(LogLevel::Notice, "User requested shutdown...");
        if self.aof.state == AofState::Starting && self.is_rewriting() {
            if !flags.contains(ShutdownFlags::FORCE) {
                self.log(LogLevel::Warning, "Writing initial AOF, can't exit.");
                return self.shutdown_failed();
            }
            let text = "Writing initial AOF. Exit anyway.";
            self.log(LogLevel::Warning, text);
        }
        if self.is_rewriting() {
            let text = "There is a child rewriting the AOF. Killing it!";
            self.log(LogLevel::Warning, text);
            self.kill_rewrite();
        }
        if self.persistence.snapshot.is_some() {
            let text = "There is a child saving an .rdb. Killing it!";
            self.log(LogLevel::Warning, text);
            self.abort_snapshot();
        }
        let is_loading = self.persistence.loading.is_some();
        let saves = flags.contains(ShutdownFlags::SAVE) || !self.config.save.is_empty();
        if saves && !flags.contains(ShutdownFlags::NOSAVE) && !is_loading {
            let text = "Saving the final RDB snapshot before exiting.";
            self.log(LogLevel::Notice, text);
            self.hold(true);
            return self.save_for(None, After::ShutDown);
        }
        self.exit();
    }

    /// The last save has ended.
    fn end_shutdown(&mut self, is_saved: bool) {
        let Some(end) = &self.persistence.shutdown else {
            return;
        };
        if is_saved {
            return self.exit();
        }
        if end.flags.contains(ShutdownFlags::FORCE) {
            let text = "Error trying to save the DB. Exit anyway.";
            self.log(LogLevel::Warning, text);
            return self.exit();
        }
        self.hold(false);
        self.log(
            LogLevel::Warning,
            "Error trying to save the DB, can't exit.",
        );
        self.shutdown_failed();
    }

    fn shutdown_failed(&mut self) {
        let end = self.persistence.shutdown.take();
        let waiter = end.and_then(|end| end.waiter);
        let text = "Errors trying to shut down the server. Check the logs for more information.";
        self.log(LogLevel::Warning, text);
        let text = "ERR Errors trying to SHUTDOWN. Check logs.";
        self.answer_later(waiter, Err(CommandError::text(text)));
    }

    fn exit(&mut self) {
        if self.aof.state != AofState::Off {
            self.log(LogLevel::Notice, "Calling fsync() on the AOF file.");
        }
        if self.aof.state == AofState::On {
            self.note_end_offset();
        }
        self.log(LogLevel::Warning, "Redis is now ready to exit, bye bye...");
        self.orders.push_back(Order::Exit { code: 0 });
    }
}
