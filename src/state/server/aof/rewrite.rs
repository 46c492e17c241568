//! Rewriting the append-only file: from the moment that a new base shows to its place in the manifest.
//!
//! A first base makes the files of before worthless, so these stay in force until it is whole: what is appended
//! meanwhile goes to a file with a temporary name, which no manifest lists. The end takes several orders, one after
//! the other, so that the manifest never lists what is not there: the incremental file gets its name, then the new
//! manifest is written, and only then are the old files removed.

use super::{AofState, FAILURES_MAX, Flaw, Opening, RETRY_MINUTES_MAX};
use crate::border::{FileStep, LogLevel, Order, Outcome};
use crate::persist::manifest::{AofFile, Manifest};
use crate::state::server::Server;
use crate::state::snapshot::{Ended, Purpose, Snapshot};
use crate::state::waiter::Answer;
use crate::state::waiter::Then;
use crate::state::waiter::Waiter;

/// A rewrite before it runs: what comes behind its base needs a place first. Nobody is told of it until there is one.
pub(super) struct Beginning {
    /// Who asked for it, and waits to hear whether it runs.
    client: Option<Waiter>,
}

/// A rewrite whose base is whole, on its way into the manifest.
pub(super) struct Finishing {
    ticket: u64,
    /// The manifest as it is to become.
    manifest: Manifest,
    /// The file that was appended to under a temporary name, with its real one, until it has that.
    renames: Option<AofFile>,
    base_bytes: u64,
    /// Appending begins with this base. It does not if it was switched off meanwhile.
    pub(super) starts: bool,
}

impl Server {
    /// Whether a rewrite runs.
    pub fn is_rewriting(&self) -> bool {
        let snapshot = self.persistence.snapshot.as_ref();
        snapshot.is_some_and(|snapshot| snapshot.purpose == Purpose::AofBase)
            || self.aof.finishing.is_some()
    }

    /// Begins a rewrite, and tells the client how that went. There must be no snapshot.
    pub fn begin_rewrite(&mut self, client: Option<Waiter>) {
        self.aof.beginning = Some(Beginning { client });
        let base = self.aof.manifest.next_base(
            &self.config.appendfilename,
            self.config.aof_use_rdb_preamble,
        );
        let target = self.aof_path(&base.name);
        self.aof.new_base = Some(base);
        self.begin_snapshot(Purpose::AofBase, &target, None);
    }

    /// The moment that the new base shows: what comes behind it goes to a new file.
    pub fn switch_aof(&mut self) {
        self.aof.since_rewrite = 0;
        let name = match self.aof.state {
            AofState::Off => return self.make_aof_folder(),
            AofState::Starting => self.temporary_name(),
            AofState::On => {
                let name = self.config.appendfilename.clone();
                let offset = self.aof.repl_offset;
                self.aof.manifest.add_incremental(&name, offset).name
            }
        };
        self.aof.has_temporary = self.aof.state == AofState::Starting;
        self.aof.temporary_offset = self.aof.repl_offset;
        let shown = name.escape_ascii();
        let line = format!("Creating AOF incr file {shown} on background rewrite");
        let opening = Opening {
            name,
            line: Some(line),
            is_listed_next: self.aof.state == AofState::On,
            listing: None,
        };
        self.open_aof(opening, Some(0));
    }

    /// There is a place for what comes behind the new base.
    pub(super) fn rewrite_has_begun(&mut self) {
        let Some(beginning) = self.aof.beginning.take() else {
            return;
        };
        let text = format!(
            "Background append only file rewriting started by pid {}",
            self.process.pid
        );
        self.log(LogLevel::Notice, text);
        self.aof.is_scheduled = false;
        self.aof.rewrites += 1;
        self.stats.snapshots += 1;
        self.tell_beginning(beginning.client, Ok(Vec::new()));
    }

    /// There is no place for what comes behind the new base, so there is no use in a base. The log has been told why.
    fn rewrite_has_not_begun(&mut self) {
        let Some(beginning) = self.aof.beginning.take() else {
            return; // it was given up meanwhile
        };
        self.aof.new_base = None;
        self.aof.last_rewrite_ok = false;
        self.abort_snapshot();
        if std::mem::take(&mut self.aof.has_temporary) {
            self.close_aof();
        }
        self.tell_beginning(beginning.client, Err(String::new()));
        self.save_queued();
    }

    fn tell_beginning(&mut self, client: Option<Waiter>, outcome: Outcome) {
        if let Some(client) = client {
            let answer = Answer::Outcome(outcome);
            self.persistence.answers.push((client, answer));
        }
    }

    /// Has the folder of the files made.
    pub fn make_aof_folder(&mut self) {
        let ticket = self.next_ticket();
        self.aof.folder = Some(ticket);
        let path = self.config.appenddirname.clone();
        self.orders.push_back(Order::MakeFolder { ticket, path });
    }

    /// Takes an answer of the shell, if it concerns the folder. Without one no rewrite begins, and no server starts.
    pub(super) fn settle_folder(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        if self.aof.folder.take_if(|of| *of == ticket).is_none() {
            return false;
        }
        let loading = self.persistence.loading.as_ref();
        let is_starting = loading.is_some_and(|loading| loading.then == Then::Start);
        match outcome {
            Ok(_) if is_starting => {}
            Ok(_) => self.rewrite_has_begun(),
            Err(why) => {
                let line = self.no_folder(why);
                self.log(LogLevel::Warning, line);
                match is_starting {
                    true => self.orders.push_back(Order::Exit { code: 1 }),
                    false => self.rewrite_has_not_begun(),
                }
            }
        }
        true
    }

    /// What the log is told of a folder that could not be made.
    pub(super) fn no_folder(&self, why: &str) -> String {
        let name = self.config.appenddirname.escape_ascii();
        format!("Can't open or create append-only dir {name}: {why}")
    }

    /// The file for what comes behind the new base could not be opened, or not be listed: everything goes on in the one
    /// before, if there is one.
    pub(super) fn give_up_switch(&mut self) {
        if !self.aof.has_temporary {
            self.aof.manifest.drop_incremental();
        }
        self.rewrite_has_not_begun();
    }

    fn temporary_name(&self) -> Vec<u8> {
        [b"temp-", &self.config.appendfilename[..], b".incr"].concat()
    }

    /// A rewrite has ended.
    pub fn end_rewrite(&mut self, snapshot: &Snapshot, ended: Ended) {
        let secs = self.now.since(snapshot.started) / 1_000_000;
        self.aof.last_rewrite_secs = i64::try_from(secs).ok();
        let Some(base) = self.aof.new_base.take() else {
            return;
        };
        let (temp, name) = (
            snapshot.temp.escape_ascii().to_string(),
            base.name.escape_ascii().to_string(),
        );
        let bytes = match ended {
            Ended::Whole { bytes } => bytes,
            Ended::Failed(why) => {
                let line = match FileStep::split(&why) {
                    (FileStep::Open, why) => {
                        format!("Opening the temp file for the AOF rewrite failed: {why}")
                    }
                    (FileStep::Rename, why) => format!(
                        "Error trying to rename the temporary AOF base file {temp} into {name}: {why}"
                    ),
                    (_, why) => format!("Write error writing append only file on disk: {why}"),
                };
                self.log(LogLevel::Warning, line);
                return self.rewrite_failed();
            }
        };
        for line in [
            format!("Successfully created the temporary AOF base file {temp}"),
            "Background AOF rewrite terminated with success".to_owned(),
            format!("Successfully renamed the temporary AOF base file {temp} into {name}"),
        ] {
            self.log(LogLevel::Notice, line);
        }
        let mut manifest = self.aof.manifest.clone();
        let renames = self.aof.has_temporary.then(|| {
            let name = self.config.appendfilename.clone();
            manifest.add_incremental(&name, self.aof.temporary_offset)
        });
        let keeps = usize::from(self.aof.state != AofState::Off);
        manifest.replace_base(base, keeps);
        let ticket = self.next_ticket();
        self.orders.push_back(match &renames {
            Some(file) => Order::Rename {
                ticket,
                from: self.aof_path(&self.temporary_name()),
                to: self.aof_path(&file.name),
            },
            None => self.order_manifest(ticket, &manifest),
        });
        self.aof.finishing = Some(Finishing {
            ticket,
            manifest,
            renames,
            base_bytes: bytes + self.aof.since_rewrite,
            starts: self.aof.state == AofState::Starting,
        });
    }

    /// Takes an answer of the shell, if it concerns a rewrite that is being finished.
    pub(super) fn settle_finishing(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        if self.aof.finishing.as_ref().map(|at| at.ticket) != Some(ticket) {
            return false;
        }
        let Some(mut at) = self.aof.finishing.take() else {
            return false;
        };
        let temporary = self.temporary_name().escape_ascii().to_string();
        match (at.renames.take(), outcome) {
            (Some(file), Ok(_)) => {
                let name = file.name.escape_ascii();
                let text = format!(
                    "Successfully renamed the temporary AOF incr file {temporary} into {name}"
                );
                self.log(LogLevel::Notice, text);
                self.aof.has_temporary = false;
                at.ticket = self.next_ticket();
                let order = self.order_manifest(at.ticket, &at.manifest);
                self.orders.push_back(order);
                self.aof.finishing = Some(at);
            }
            (Some(file), Err(why)) => {
                let name = file.name.escape_ascii();
                let text = format!(
                    "Error trying to rename the temporary AOF incr file {temporary} into {name}: {why}"
                );
                self.log(LogLevel::Warning, text);
                self.rewrite_failed();
            }
            (None, Ok(_)) => self.rewrite_succeeded(at),
            // The files that the manifest on disk lists are all there still.
            (None, Err(why)) => {
                self.tell_no_manifest(why);
                if at.starts {
                    self.aof.has_temporary = true;
                }
                self.rewrite_failed();
            }
        }
        true
    }

    fn rewrite_succeeded(&mut self, at: Finishing) {
        let aof = &mut self.aof;
        aof.manifest = at.manifest;
        aof.base_bytes = at.base_bytes;
        aof.current_bytes = at.base_bytes;
        aof.last_rewrite_ok = true;
        aof.failures = 0;
        if at.starts {
            aof.state = AofState::On;
        }
        self.mend_aof(Flaw::Manifest);
        self.mend_aof(Flaw::Gap);
        self.drop_history();
        let text = "Background AOF rewrite finished successfully";
        self.log(LogLevel::Notice, text);
    }

    fn rewrite_failed(&mut self) {
        let text = "Background AOF rewrite terminated with error";
        self.log(LogLevel::Warning, text);
        self.aof.last_rewrite_ok = false;
        self.aof.failures += 1;
        self.aof.failed_at = self.now.secs();
        self.aof.is_limit_told = false;
        self.drop_temporary();
        // Without a base appending cannot begin, or a gap is left, so there will be another attempt.
        let has_gap = self.aof.flaws.iter().any(|(flaw, _)| *flaw == Flaw::Gap);
        self.aof.is_scheduled |= has_gap || self.aof.state == AofState::Starting;
    }

    /// What was appended to a file with a temporary name is worth nothing without the base that it began with.
    pub(super) fn drop_temporary(&mut self) {
        if !std::mem::take(&mut self.aof.has_temporary) {
            return;
        }
        let name = self.temporary_name();
        let text = format!(
            "Removing the temp incr aof file {} in the background",
            name.escape_ascii()
        );
        self.log(LogLevel::Notice, text);
        self.close_aof();
        let (ticket, path) = (self.next_ticket(), self.aof_path(&name));
        let paths = vec![path];
        self.orders.push_back(Order::RemoveFiles { ticket, paths });
    }

    /// The rewrite that runs is given up, because nobody wants it any more.
    pub fn kill_rewrite(&mut self) {
        let snapshot = self.persistence.snapshot.as_ref();
        if snapshot.is_some_and(|snapshot| snapshot.purpose == Purpose::AofBase) {
            let text = format!("Killing running AOF rewrite child: {}", self.process.pid);
            self.log(LogLevel::Notice, text);
            self.abort_snapshot();
            self.aof.new_base = None;
            // If it does not run yet, it could have.
            if let Some(beginning) = self.aof.beginning.take() {
                self.tell_beginning(beginning.client, Ok(Vec::new()));
            }
            self.drop_temporary();
            self.aof.is_scheduled |= self.aof.state == AofState::Starting;
        }
        if let Some(at) = &mut self.aof.finishing {
            at.starts = false;
        }
    }

    /// Has files removed that no data is read from any more.
    pub fn drop_history(&mut self) {
        if self.aof.manifest.history.is_empty() || self.config.aof_disable_auto_gc {
            return;
        }
        let mut paths = Vec::new();
        for file in std::mem::take(&mut self.aof.manifest.history) {
            let text = format!(
                "Removing the history file {} in the background",
                file.name.escape_ascii()
            );
            self.log(LogLevel::Notice, text);
            paths.push(self.aof_path(&file.name));
        }
        let ticket = self.next_ticket();
        self.orders.push_back(Order::RemoveFiles { ticket, paths });
        self.write_manifest();
    }

    /// Begins a rewrite that was put off, if it can be now.
    pub(super) fn rewrite_if_scheduled(&mut self) {
        if self.may_begin_snapshot()
            && self.aof.is_scheduled
            && !self.is_rewriting()
            && self.may_retry_rewrite()
        {
            self.begin_rewrite(None);
        }
    }

    /// Whether it is time for a rewrite that nobody asks for at this moment: after several failures it is put off.
    pub(super) fn may_retry_rewrite(&mut self) -> bool {
        let Some(over) = self.aof.failures.checked_sub(FAILURES_MAX) else {
            return true;
        };
        let minutes = (1i64 << over.min(6)).min(RETRY_MINUTES_MAX);
        if !std::mem::replace(&mut self.aof.is_limit_told, true) {
            let text = format!(
                "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {minutes} minutes"
            );
            self.log(LogLevel::Warning, text);
        }
        self.now.secs() - self.aof.failed_at >= minutes * 60
    }
}
