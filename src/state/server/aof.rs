//! Append-only file: every change as a command, so that a crash loses little or nothing.
//!
//! Lives here: what is appended, the manifest, when the file is forced to disk, who waits for that, what follows from
//! errors; in `opening`, which file that is; in `rewrite`, how it is written anew. May not: open files (the shell), load
//! them (`state::loading`), know what a command propagates (`state::effects`).
//!
//! The file consists of a base and of incremental files. A rewrite begins a new incremental file at the moment that
//! its snapshot shows; when the snapshot is whole, it becomes the base, and all older files go.

mod opening;
mod rewrite;

use crate::border::{FileStep, LogLevel, Order, Outcome};
use crate::config::Appendfsync;
use crate::persist::aof;
use crate::persist::manifest::{AofFile, Manifest};
use crate::state::effects::{Queue, Targets};
use crate::state::restraint::Restraint;
use crate::state::server::Server;
use crate::state::waiter::Answer;
use crate::state::waiter::Waiter;
use crate::state::{CommandError, UnixMicros};
use opening::Opening;
use rewrite::{Beginning, Finishing};

/// The ticket of everything that the shell says about writing the file.
pub const WRITE_TICKET: u64 = u64::MAX;

/// What the shell says when it has opened the file, and when it has but the one before did not take everything.
pub const OPENED: &[u8] = b"opened";
pub const OPENED_BEHIND_GAP: &[u8] = b"opened behind a gap";

/// After so many rewrites that failed, the next one waits: a minute at first, twice as long each time.
const FAILURES_MAX: u32 = 3;
const RETRY_MINUTES_MAX: i64 = 60;

/// Whether there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AofState {
    Off,
    On,
    /// It was switched on, and its first base is still to be written.
    Starting,
}

/// What is wrong with the file. Each kind is mended by itself, and while one is left, nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flaw {
    /// It cannot be opened or written.
    Write,
    /// It cannot be forced to disk.
    Sync,
    /// What is appended goes to a file that the manifest on disk does not list.
    Manifest,
    /// Some of what was appended is in no file: only a new base makes up for it.
    Gap,
}

/// A client that waits until what it did is on disk.
#[derive(Clone, Copy, Debug)]
struct Wait {
    waiter: Waiter,
    offset: u64,
    deadline_ms: Option<i64>,
    for_replicas: bool,
}

/// Bytes for the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    pub bytes: Vec<u8>,
    /// Force them to disk before any reply leaves.
    pub syncs: bool,
    /// How long to wait before they are written: tests look at what is not there yet (DEBUG AOF-FLUSH-SLEEP).
    pub delay_us: u64,
}

/// The append-only file.
pub struct Aof {
    pub state: AofState,
    pub manifest: Manifest,
    buffer: Vec<u8>,
    /// What was appended in this turn, and before it what could not be written. The shell has written the rest.
    pub turn_bytes: u64,
    /// There is a file that takes what is appended.
    is_open: bool,
    /// It has a temporary name, which no manifest lists.
    has_temporary: bool,
    /// The replication offset at which that begins.
    temporary_offset: i64,
    /// Another file is being opened, and listed in the manifest: what is in the buffer is for that one.
    opening: Option<Opening>,
    /// The server starts: without a file to append to, it does not.
    is_first: bool,
    /// The promise of `appendfsync always` cannot be kept: the server ends, and replies do not leave any more.
    pub is_lost: bool,
    dbid: Option<u32>,
    noted_secs: i64,
    /// The replication offset. No replica reads what would move it by its bytes, so each command that is propagated
    /// counts as one.
    pub repl_offset: i64,
    /// All bytes ever appended, and those of them that are known to be on disk.
    pub appended: u64,
    pub synced: u64,
    sync: Option<(u64, u64)>,
    synced_at: UnixMicros,
    pub base_bytes: u64,
    pub current_bytes: u64,
    /// What was appended since the running rewrite began.
    since_rewrite: u64,
    pub is_scheduled: bool,
    beginning: Option<Beginning>,
    /// The order for the folder of the files. Where something is appended, opening the file makes it.
    folder: Option<u64>,
    /// The order for the base of a file that is new when the server starts, and what is to be opened behind it.
    first_base: Option<(u64, Opening)>,
    new_base: Option<AofFile>,
    finishing: Option<Finishing>,
    /// The order for the manifest that lists the file which is appended to.
    manifest_ticket: Option<u64>,
    pub last_rewrite_ok: bool,
    pub last_rewrite_secs: Option<i64>,
    pub rewrites: u64,
    pub failures: u32,
    failed_at: i64,
    /// The log has been told that failures put the next rewrite off.
    is_limit_told: bool,
    flaws: Vec<(Flaw, String)>,
    pub delayed_syncs: u64,
    waits: Vec<Wait>,
}

impl Aof {
    /// None yet.
    pub fn new(now: UnixMicros) -> Aof {
        Aof {
            state: AofState::Off,
            manifest: Manifest::default(),
            buffer: Vec::new(),
            turn_bytes: 0,
            is_open: false,
            has_temporary: false,
            temporary_offset: 0,
            opening: None,
            is_first: false,
            is_lost: false,
            dbid: None,
            noted_secs: 0,
            repl_offset: 0,
            appended: 0,
            synced: 0,
            sync: None,
            synced_at: now,
            base_bytes: 0,
            current_bytes: 0,
            since_rewrite: 0,
            is_scheduled: false,
            beginning: None,
            folder: None,
            first_base: None,
            new_base: None,
            finishing: None,
            manifest_ticket: None,
            last_rewrite_ok: true,
            last_rewrite_secs: None,
            rewrites: 0,
            failures: 0,
            failed_at: 0,
            is_limit_told: false,
            flaws: Vec::new(),
            delayed_syncs: 0,
            waits: Vec::new(),
        }
    }

    /// Whether bytes are being forced to disk.
    pub fn is_syncing(&self) -> bool {
        self.sync.is_some()
    }

    /// Whether the next bytes are for a file that is still to be opened.
    pub fn is_opening(&self) -> bool {
        self.opening.is_some() || self.first_base.is_some()
    }

    /// A new turn begins.
    #[inline]
    pub fn begin_turn(&mut self) {
        // What could not be written is kept.
        if self.flaws.is_empty() {
            self.turn_bytes = 0;
        }
    }
}

impl Server {
    /// A path in the folder of the append-only files.
    pub fn aof_path(&self, name: &[u8]) -> Vec<u8> {
        [&self.config.appenddirname[..], b"/", name].concat()
    }

    /// Where the manifest is.
    pub fn manifest_path(&self) -> Vec<u8> {
        let name = [&self.config.appendfilename[..], b".manifest"].concat();
        self.aof_path(&name)
    }

    /// Sends what commands have caused on its way; more than one effect of one command or transaction goes as a
    /// transaction.
    pub fn flush_effects(&mut self, is_one: bool) {
        if self.scripting.busy.is_some() {
            return; // a script stands still, and what waits here is a part of what it does
        }
        let mut propagated = std::mem::take(&mut self.effects.propagated);
        if self.aof.state != AofState::Off && !self.restraint.has(Restraint::LOADING) {
            self.append(&propagated, is_one);
        }
        propagated.clear();
        self.effects.propagated = propagated;
    }

    fn append(&mut self, propagated: &Queue, is_one: bool) {
        if propagated.is_empty() {
            return;
        }
        let wraps = is_one && propagated.len() > 1;
        let count = propagated.len() + if wraps { 2 } else { 0 };
        self.aof.repl_offset = self.aof.repl_offset.saturating_add(count as i64);
        // Before the first base begins there is no file: it is the base that holds the changes.
        if !self.aof.is_open {
            return;
        }
        let secs = self.now.secs();
        let aof = &mut self.aof;
        let before = aof.buffer.len();
        if self.config.aof_timestamp_enabled && aof.noted_secs != secs {
            aof.noted_secs = secs;
            aof::put_time(&mut aof.buffer, secs);
        }
        for (index, effect) in propagated.iter().enumerate() {
            if wraps && index == 0 {
                aof::put_command(&mut aof.buffer, &["MULTI"]);
            }
            if effect.targets.and(Targets::AOF).is_none() {
                continue;
            }
            if aof.dbid != Some(effect.dbid) {
                aof.dbid = Some(effect.dbid);
                aof::put_select(&mut aof.buffer, effect.dbid);
            }
            aof.buffer.extend_from_slice(effect.bytes);
        }
        if wraps {
            aof::put_command(&mut aof.buffer, &["EXEC"]);
        }
        let added = (aof.buffer.len() - before) as u64;
        aof.appended += added;
        aof.current_bytes += added;
        aof.since_rewrite += added;
        aof.turn_bytes += added;
    }

    /// Whether replies wait until what they tell of is on disk.
    #[inline]
    pub fn syncs_always(&self) -> bool {
        self.config.appendfsync == Appendfsync::Always
    }

    /// What the shell is to write before replies leave.
    pub fn take_aof_batch(&mut self) -> Option<Batch> {
        if self.aof.buffer.is_empty() || self.aof.is_opening() {
            return None;
        }
        Some(Batch {
            bytes: std::mem::take(&mut self.aof.buffer),
            syncs: self.syncs_always(),
            delay_us: self.debug.aof_flush_sleep_us,
        })
    }

    fn order_manifest(&self, ticket: u64, manifest: &Manifest) -> Order {
        Order::WriteWhole {
            ticket,
            path: self.manifest_path(),
            bytes: manifest.to_text(),
        }
    }

    fn write_manifest(&mut self) -> u64 {
        let ticket = self.next_ticket();
        self.aof.manifest_ticket = Some(ticket);
        let order = self.order_manifest(ticket, &self.aof.manifest);
        self.orders.push_back(order);
        ticket
    }

    /// Nothing is appended any more: the manifest says how far the last file goes.
    pub fn note_end_offset(&mut self) {
        let offset = self.aof.repl_offset;
        let Some(last) = self.aof.manifest.incremental.last_mut() else {
            return;
        };
        last.end_offset = Some(offset);
        // Nobody waits for it, and without it the next start goes by the length of the file.
        self.write_manifest();
    }

    /// A tick's share: forcing the file to disk, rewrites that are due.
    pub fn aof_cron(&mut self) {
        if self.aof.state == AofState::Off {
            return self.rewrite_if_scheduled();
        }
        for (flaw, _) in self.aof.flaws.clone() {
            match flaw {
                Flaw::Write => self.orders.push_back(Order::RetryAof),
                Flaw::Manifest => {
                    self.write_manifest();
                }
                // The next attempt, a second later, or the rewrite's end tells.
                Flaw::Sync | Flaw::Gap => {}
            }
        }
        let is_due = self.now.since(self.aof.synced_at) >= 1_000_000;
        let is_everysec = self.config.appendfsync == Appendfsync::Everysec;
        let is_held = self.config.no_appendfsync_on_rewrite && self.persistence.snapshot.is_some();
        let has_unsynced = self.aof.is_open && self.aof.synced < self.aof.appended;
        if is_everysec && is_due && !is_held && has_unsynced {
            match self.aof.sync {
                Some(_) => {
                    self.aof.delayed_syncs += 1;
                    let text = "Asynchronous AOF fsync is taking too long (disk is busy?). Writing the AOF buffer \
                                without waiting for fsync to complete, this may slow down Redis.";
                    self.log(LogLevel::Notice, text);
                }
                None => {
                    let ticket = self.next_ticket();
                    self.aof.sync = Some((ticket, self.aof.appended));
                    self.orders.push_back(Order::SyncAof { ticket });
                }
            }
            self.aof.synced_at = self.now;
        }
        self.rewrite_if_scheduled();
        let is_busy = !self.may_begin_snapshot() || self.is_rewriting();
        if is_busy || self.aof.state != AofState::On {
            return;
        }
        let percentage = self.config.auto_aof_rewrite_percentage;
        let (base, current) = (self.aof.base_bytes.max(1), self.aof.current_bytes);
        let min = u64::try_from(self.config.auto_aof_rewrite_min_size).unwrap_or(0);
        if percentage > 0 && current > min {
            let growth = (i128::from(current) * 100 / i128::from(base)) - 100;
            if growth >= i128::from(percentage) && self.may_retry_rewrite() {
                let text = format!("Starting automatic rewriting of AOF on {growth}% growth");
                self.log(LogLevel::Notice, text);
                self.begin_rewrite(None);
            }
        }
    }

    /// The shell has carried out an order; says whether it was one of the files here.
    pub fn settle_aof(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        if ticket == WRITE_TICKET {
            self.wrote_aof(outcome);
            return true;
        }
        if let Some((of, offset)) = self.aof.sync
            && of == ticket
        {
            self.aof.sync = None;
            match outcome {
                Ok(_) => {
                    self.aof.synced = self.aof.synced.max(offset);
                    self.mend_aof(Flaw::Sync);
                    self.settle_waits(false);
                }
                Err(why) => {
                    let (_, why) = FileStep::split(why);
                    let text = format!("Fail to fsync the AOF file: {why}");
                    self.fail_aof(Flaw::Sync, why, &text);
                }
            }
            return true;
        }
        if self.aof.manifest_ticket == Some(ticket) {
            self.aof.manifest_ticket = None;
            let opening = &mut self.aof.opening;
            let opened = opening.take_if(|opening| opening.listing == Some(ticket));
            match outcome {
                Ok(_) => {
                    self.mend_aof(Flaw::Manifest);
                    if let Some(opened) = opened {
                        self.aof_is_open(opened);
                    }
                }
                Err(why) => {
                    self.tell_no_manifest(why);
                    let (_, why) = FileStep::split(why);
                    if opened.is_some() && !self.aof.is_first {
                        self.give_up_switch();
                        self.go_back();
                    } else if self.aof.is_open {
                        self.fail_aof(Flaw::Manifest, why, "");
                    }
                }
            }
            return true;
        }
        self.settle_first_base(ticket, outcome)
            || self.settle_folder(ticket, outcome)
            || self.settle_finishing(ticket, outcome)
    }

    /// Says why the manifest was not written.
    pub(super) fn tell_no_manifest(&mut self, why: &str) {
        let name = [&self.config.appendfilename[..], b".manifest"].concat();
        let name = name.escape_ascii();
        let line = match FileStep::split(why) {
            (FileStep::Folder, why) => self.no_folder(why),
            (FileStep::Open, why) => format!("Can't open the AOF manifest file temp-{name}: {why}"),
            (FileStep::Write | FileStep::ShortWrite, why) => {
                format!("Error trying to write the temporary AOF manifest file temp-{name}: {why}")
            }
            (FileStep::Sync, why) => format!("Fail to fsync the temp AOF file temp-{name}: {why}."),
            (FileStep::Rename, why) => format!(
                "Error trying to rename the temporary AOF manifest file temp-{name} into {name}: {why}"
            ),
        };
        self.log(LogLevel::Warning, line);
    }

    /// What the shell says about writing: an error, that it works again, or up to where everything is on disk.
    fn wrote_aof(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(text) => {
                if text == OPENED || text == OPENED_BEHIND_GAP {
                    self.opened_aof(text == OPENED_BEHIND_GAP);
                }
                self.mend_aof(Flaw::Write);
                let offset = std::str::from_utf8(text).ok();
                if let Some(offset) = offset.and_then(|text| text.parse().ok()) {
                    self.aof.synced = self.aof.synced.max(offset);
                    self.mend_aof(Flaw::Sync);
                    self.settle_waits(false);
                }
            }
            Err(why) => {
                let (step, why) = FileStep::split(why);
                let is_always = self.config.appendfsync == Appendfsync::Always;
                match step {
                    FileStep::Folder | FileStep::Open => self.not_opened_aof(step, why),
                    FileStep::Sync if is_always => {
                        let text = format!(
                            "Can't persist AOF for fsync error when the AOF fsync policy is 'always': {why}. Exiting..."
                        );
                        self.fail_aof(Flaw::Sync, why, &text);
                    }
                    FileStep::Sync => {
                        let text = format!("Fail to fsync the AOF file: {why}");
                        self.fail_aof(Flaw::Sync, why, &text);
                    }
                    _ => {
                        let text = format!("Error writing to the AOF file: {why}");
                        let is_told = step == FileStep::ShortWrite;
                        self.fail_aof(Flaw::Write, why, if is_told { "" } else { &text });
                        if is_always {
                            let text = "Can't recover from AOF write error when the AOF fsync policy is 'always'. \
                                        Exiting...";
                            self.log(LogLevel::Warning, text);
                        }
                    }
                }
            }
        }
    }

    /// Something is wrong with the file. Nothing is changed any more until it is mended; but a server that has just
    /// started, or that promised that every reply tells of what is on disk, ends.
    fn fail_aof(&mut self, flaw: Flaw, why: &str, text: &str) {
        if self.aof.flaws.iter().any(|(known, _)| *known == flaw) {
            return;
        }
        if !text.is_empty() {
            self.log(LogLevel::Warning, text);
        }
        self.aof.flaws.push((flaw, why.to_owned()));
        self.restraint.set(Restraint::AOF_FAILED, true);
        if self.aof.is_first || self.config.appendfsync == Appendfsync::Always {
            self.aof.is_lost = true;
            self.orders.push_back(Order::Exit { code: 1 });
        }
    }

    /// This is not wrong with the file any more.
    fn mend_aof(&mut self, flaw: Flaw) {
        if self.aof.flaws.is_empty() {
            return;
        }
        self.aof.flaws.retain(|(of, _)| *of != flaw);
        if self.aof.flaws.is_empty() {
            self.restraint.set(Restraint::AOF_FAILED, false);
            if flaw == Flaw::Write && self.aof.state != AofState::Off {
                let text = "AOF write error looks solved, Redis can write again.";
                self.log(LogLevel::Warning, text);
            }
        }
    }

    /// Why nothing can be appended, if so.
    pub fn aof_error(&self) -> Option<CommandError> {
        let (_, why) = self.aof.flaws.first()?;
        Some(CommandError::text(format!(
            "MISCONF Errors writing to the AOF file: {why}"
        )))
    }

    /// Whether everything that was appended is on disk.
    pub fn is_aof_synced(&self) -> bool {
        self.aof.state != AofState::Off && self.aof.synced >= self.aof.appended
    }

    /// Makes a client wait until everything that was appended so far is on disk, or for replicas, which are none.
    pub fn wait_for_aof(&mut self, waiter: Waiter, deadline_ms: Option<i64>, for_replicas: bool) {
        self.aof.waits.push(Wait {
            waiter,
            offset: self.aof.appended,
            deadline_ms,
            for_replicas,
        });
    }

    /// Answers those whose bytes are on disk, or whose time is up; all of them if `is_over`.
    pub fn settle_waits(&mut self, is_over: bool) {
        let (synced, now_ms) = (self.aof.synced, self.now_ms);
        let answers = &mut self.persistence.answers;
        self.aof.waits.retain(|wait| {
            let is_synced = synced >= wait.offset;
            let is_late = wait.deadline_ms.is_some_and(|deadline| deadline <= now_ms);
            let ends = (is_synced && !wait.for_replicas) || is_late || is_over;
            if ends {
                let local = u64::from(is_synced);
                answers.push((wait.waiter, Answer::Synced { local }));
            }
            !ends
        });
    }

    /// When the first wait's time is up.
    pub fn aof_wait_due_ms(&self) -> Option<i64> {
        self.aof
            .waits
            .iter()
            .filter_map(|wait| wait.deadline_ms)
            .min()
    }
}
