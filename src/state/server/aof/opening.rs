//! Opening: which file is appended to: at the start, when appending is switched on or off, and when a file begins.
//!
//! A file is opened before the manifest lists it, and nothing goes there before that. What cannot be opened or listed leaves
//! the file before it in force.

use super::{AofState, Flaw};
use crate::border::{FileStep, LogLevel, Order, Outcome};
use crate::config::REDIS_VERSION;
use crate::persist::manifest::Manifest;
use crate::persist::{payload, rdb};
use crate::state::effects::Targets;
use crate::state::server::Server;
use crate::state::waiter::Waiter;

/// A file that the shell is to open, to go on there.
pub(super) struct Opening {
    pub(super) name: Vec<u8>,
    /// What the log is told when it is there, if anything.
    pub(super) line: Option<String>,
    /// The manifest lists it as soon as it is there.
    pub(super) is_listed_next: bool,
    /// The order for that manifest.
    pub(super) listing: Option<u64>,
}

impl Server {
    /// Goes on in this file, which the manifest is to list if it does not yet; what was appended so far goes to the one
    /// before.
    pub(super) fn open_aof(&mut self, opening: Opening, truncate_to: Option<u64>) {
        let before = std::mem::take(&mut self.aof.buffer);
        self.aof.dbid = None;
        self.aof.noted_secs = 0;
        self.order_aof(opening, before, truncate_to);
    }

    pub(super) fn order_aof(
        &mut self,
        opening: Opening,
        before: Vec<u8>,
        truncate_to: Option<u64>,
    ) {
        let path = self.aof_path(&opening.name);
        let aof = &mut self.aof;
        aof.is_open = true;
        aof.opening = Some(opening);
        self.orders.push_back(Order::OpenAof {
            before,
            path,
            truncate_to,
        });
    }

    /// Lets go of the file; what was appended so far goes there still.
    pub(super) fn close_aof(&mut self) {
        let aof = &mut self.aof;
        aof.sync = None;
        aof.is_open = false;
        aof.opening = None;
        aof.first_base = None;
        let before = std::mem::take(&mut aof.buffer);
        self.orders.push_back(Order::CloseAof { before });
    }

    /// `appendonly` was set to yes while the server runs: the first base comes from the data as it is, or as it is
    /// behind the transaction that runs. Says whether that begins now; the client will be told how that went.
    pub fn start_aof(&mut self, client: Option<Waiter>, in_exec: bool) -> bool {
        if self.aof.state != AofState::Off {
            return false;
        }
        self.aof.state = AofState::Starting;
        self.effects.listening = self.effects.listening.or(Targets::AOF);
        if self.is_rewriting() {
            // It began without a file for what comes behind it.
            let text = "AOF was enabled but there is already an AOF rewriting in background. Stopping background AOF \
                        and starting a rewrite now.";
            self.log(LogLevel::Notice, text);
            self.kill_rewrite();
        }
        let is_loading = self.persistence.loading.is_some();
        if self.persistence.snapshot.is_some() || self.is_rewriting() || is_loading {
            self.aof.is_scheduled = true;
            let text = "AOF was enabled but there is already another background operation. An AOF background was \
                        scheduled to start when possible.";
            self.log(LogLevel::Notice, text);
            return false;
        }
        if in_exec {
            self.aof.is_scheduled = true;
            let text = "AOF was enabled during a transaction. An AOF background was scheduled to start when possible.";
            self.log(LogLevel::Notice, text);
            return false;
        }
        self.begin_rewrite(client);
        true
    }

    /// `appendonly` was set to no.
    pub fn stop_aof(&mut self) {
        if self.aof.state == AofState::Off {
            return;
        }
        self.kill_rewrite();
        let was_on = self.aof.state == AofState::On;
        self.aof.state = AofState::Off;
        self.aof.is_scheduled = false;
        self.effects.listening = self.effects.listening.without(Targets::AOF);
        self.close_aof();
        self.aof_has_started(); // it does without
        if was_on {
            self.note_end_offset();
        }
        for flaw in [Flaw::Write, Flaw::Sync, Flaw::Manifest, Flaw::Gap] {
            self.mend_aof(flaw);
        }
        self.settle_waits(true);
    }

    /// Goes on where the last file ends, whose length is known; says whether the manifest told the offset, which is not
    /// true of the file any more once it is appended to.
    pub(super) fn resume_offset(&mut self, last_bytes: u64) -> bool {
        let Some(last) = self.aof.manifest.incremental.last_mut() else {
            return false;
        };
        let end = last.end_offset.take().filter(|offset| *offset != -1);
        let start = last.start_offset.filter(|offset| *offset != -1);
        let by_bytes = start.map(|start| start.saturating_add_unsigned(last_bytes));
        if let Some(offset) = end.or(by_bytes) {
            self.aof.repl_offset = offset;
        }
        end.is_some()
    }

    /// Everything is loaded, and `appendonly` says yes: goes on behind what was loaded. `bytes` are those of the base,
    /// of all files and of the last one.
    pub fn resume_aof(
        &mut self,
        manifest: Manifest,
        bytes: (u64, u64, u64),
        truncate_to: Option<u64>,
    ) {
        self.aof.manifest = manifest;
        self.aof.state = AofState::On;
        self.effects.listening = self.effects.listening.or(Targets::AOF);
        (self.aof.base_bytes, self.aof.current_bytes) = (bytes.0, bytes.1);
        let had_end = self.resume_offset(bytes.2);
        let name = self.config.appendfilename.clone();
        let is_new = self.aof.manifest.files().next().is_none();
        let base = is_new.then(|| self.put_first_base(&name));
        let last = self.aof.manifest.incremental.last().cloned();
        let (file, is_new_file) = match last {
            Some(file) => (file, false),
            None => {
                let offset = self.aof.repl_offset;
                (self.aof.manifest.add_incremental(&name, offset), true)
            }
        };
        let does = if is_new_file { "Creating" } else { "Opening" };
        let shown = file.name.escape_ascii();
        let line = format!("{does} AOF incr file {shown} on server start");
        self.aof.is_first = true;
        let opening = Opening {
            name: file.name,
            line: Some(line),
            is_listed_next: is_new_file || had_end,
            listing: None,
        };
        match base {
            Some(ticket) => {
                self.aof.first_base = Some((ticket, opening));
                // What clients change from now on is kept for the file.
                self.aof.is_open = true;
            }
            None => self.open_aof(opening, truncate_to),
        }
        self.drop_history();
    }

    /// A new append-only file begins with a base that holds nothing; returns the ticket of the order for it.
    pub(super) fn put_first_base(&mut self, name: &[u8]) -> u64 {
        let is_rdb = self.config.aof_use_rdb_preamble;
        let base = self.aof.manifest.next_base(name, is_rdb);
        let mut bytes = Vec::new();
        if is_rdb {
            rdb::put_start(
                &mut bytes,
                &rdb::Facts {
                    redis_version: REDIS_VERSION,
                    now_secs: self.now.secs(),
                    used_memory: self.reading.used_memory,
                    is_aof_base: true,
                },
            );
            rdb::put_end(&mut bytes);
            let sum = payload::crc64(&bytes);
            bytes.extend_from_slice(&sum.to_le_bytes());
        }
        let (ticket, path) = (self.next_ticket(), self.aof_path(&base.name));
        self.orders.push_back(Order::WriteWhole {
            ticket,
            path,
            bytes,
        });
        self.aof.manifest.replace_base(base, 0);
        ticket
    }

    /// Takes an answer of the shell, if it concerns a first base. Without one the server does not start: the manifest
    /// would list what is not there.
    pub(super) fn settle_first_base(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        let first_base = &mut self.aof.first_base;
        let Some((_, opening)) = first_base.take_if(|(of, _)| *of == ticket) else {
            return false;
        };
        match outcome {
            Ok(_) => {
                let base = self.aof.manifest.base.as_ref();
                let name = base.map_or(&b""[..], |base| &base.name).escape_ascii();
                let text = format!("Creating AOF base file {name} on server start");
                self.log(LogLevel::Notice, text);
                self.order_aof(opening, Vec::new(), None);
            }
            Err(why) => {
                let (step, why) = FileStep::split(why);
                let line = match step {
                    FileStep::Folder => self.no_folder(why),
                    FileStep::Rename => {
                        format!(
                            "Error moving temp append only file on the final destination: {why}"
                        )
                    }
                    _ => format!("Write error writing append only file on disk: {why}"),
                };
                self.log(LogLevel::Warning, line);
                self.aof.is_lost = true;
                self.orders.push_back(Order::Exit { code: 1 });
            }
        }
        true
    }

    /// From here on everything goes to the file that was to be opened.
    pub(super) fn opened_aof(&mut self, has_gap: bool) {
        if has_gap && self.aof.is_open {
            let write = self.aof.flaws.iter().find(|(of, _)| *of == Flaw::Write);
            let why = write.map_or_else(String::new, |(_, why)| why.clone());
            let text = "The AOF lacks what could not be written, until it is written anew";
            self.fail_aof(Flaw::Gap, &why, text);
        }
        let Some(mut opening) = self.aof.opening.take() else {
            return; // appending was switched off meanwhile
        };
        // Before the manifest lists it, nothing goes there.
        if opening.is_listed_next {
            opening.listing = Some(self.write_manifest());
            self.aof.opening = Some(opening);
        } else {
            self.aof_is_open(opening);
        }
    }

    /// The file that is appended to is there.
    pub(super) fn aof_is_open(&mut self, opening: Opening) {
        if let Some(line) = opening.line {
            self.log(LogLevel::Notice, line);
        }
        self.aof_has_started();
        self.rewrite_has_begun();
    }

    /// When the server starts, it has waited for this.
    pub(super) fn aof_has_started(&mut self) {
        if std::mem::take(&mut self.aof.is_first) {
            self.orders.push_back(Order::Ready);
        }
    }

    /// The file that was opened cannot be listed: the one before, which was let go of, is opened again.
    pub(super) fn go_back(&mut self) {
        let Some(last) = self.aof.manifest.incremental.last() else {
            return;
        };
        // What is in the buffer stays there: nothing of it was given to the file that is of no use.
        let opening = Opening {
            name: last.name.clone(),
            line: None,
            is_listed_next: false,
            listing: None,
        };
        self.order_aof(opening, Vec::new(), None);
    }

    /// The file that was to be opened could not be: everything goes on in the one before, if there is one.
    pub(super) fn not_opened_aof(&mut self, step: FileStep, why: &str) {
        let Some(opening) = self.aof.opening.take() else {
            return; // appending was switched off meanwhile
        };
        let name = opening.name.escape_ascii();
        let line = match step {
            FileStep::Folder => self.no_folder(why),
            _ => format!("Can't open the append-only file {name}: {why}"),
        };
        self.log(LogLevel::Warning, line);
        if self.aof.is_first {
            self.aof.is_lost = true;
            return self.orders.push_back(Order::Exit { code: 1 });
        }
        if !opening.is_listed_next && !self.aof.has_temporary {
            // What was to be opened again was not: the file that is there is not listed.
            let text = "The AOF lacks what is changed from here on, until it is written anew";
            self.aof.is_scheduled = true;
            return self.fail_aof(Flaw::Gap, why, text);
        }
        self.give_up_switch();
        // Any that was ordered meanwhile lists what is not there.
        if self.aof.manifest_ticket.is_some() {
            self.write_manifest();
        }
    }
}
