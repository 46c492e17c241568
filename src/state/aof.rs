//! Append-only file: every change as a command, so that a crash loses little or nothing.
//!
//! Lives here: what is appended, the manifest, rewriting, when the file is forced to disk, who waits for that. May
//! not: open files (the shell), load them (`state::loading`), know what a command propagates (`state::effects`).
//!
//! The file consists of a base and of incremental files. A rewrite begins a new incremental file at the moment that
//! its snapshot shows; when the snapshot is whole, it becomes the base, and all older files go.

use crate::border::{LogLevel, Order, Outcome};
use crate::config::{Appendfsync, REDIS_VERSION};
use crate::persist::aof;
use crate::persist::manifest::{AofFile, Manifest};
use crate::persist::{payload, rdb};
use crate::state::effects::{Propagated, Targets};
use crate::state::persistence::{Answer, Restraint};
use crate::state::server::Server;
use crate::state::snapshot::{Ended, Purpose, Snapshot, Waiter};
use crate::state::{CommandError, UnixMicros};

/// The ticket of everything that the shell says about writing the file.
pub const WRITE_TICKET: u64 = u64::MAX;

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
}

/// The append-only file.
pub struct Aof {
    pub state: AofState,
    pub manifest: Manifest,
    buffer: Vec<u8>,
    /// What was appended in this turn; the shell has written the rest.
    pub turn_bytes: u64,
    /// Another file is being opened: what is in the buffer is for that one.
    is_opening: bool,
    dbid: Option<u32>,
    noted_secs: i64,
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
    new_base: Option<AofFile>,
    history_ticket: Option<u64>,
    pub last_rewrite_ok: bool,
    pub last_rewrite_secs: Option<i64>,
    pub rewrites: u64,
    pub failures: u32,
    failed_at: i64,
    write_error: String,
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
            is_opening: false,
            dbid: None,
            noted_secs: 0,
            appended: 0,
            synced: 0,
            sync: None,
            synced_at: now,
            base_bytes: 0,
            current_bytes: 0,
            since_rewrite: 0,
            is_scheduled: false,
            new_base: None,
            history_ticket: None,
            last_rewrite_ok: true,
            last_rewrite_secs: None,
            rewrites: 0,
            failures: 0,
            failed_at: 0,
            write_error: String::new(),
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
        self.is_opening
    }

    /// What the shell is to write now.
    pub fn take_batch(&mut self, syncs: bool) -> Option<Batch> {
        if self.buffer.is_empty() || self.is_opening {
            return None;
        }
        let bytes = std::mem::take(&mut self.buffer);
        Some(Batch { bytes, syncs })
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
        let propagated = std::mem::take(&mut self.effects.propagated);
        if self.aof.state != AofState::Off && !self.restraint.has(Restraint::LOADING) {
            self.append(&propagated, is_one);
        }
    }

    fn append(&mut self, propagated: &[Propagated], is_one: bool) {
        // Before the first base begins, it is the base that holds the changes.
        let waits = self.aof.state == AofState::Starting && !self.is_rewriting();
        if waits || propagated.is_empty() {
            return;
        }
        let secs = self.now.secs();
        let aof = &mut self.aof;
        let before = aof.buffer.len();
        if self.config.aof_timestamp_enabled && aof.noted_secs != secs {
            aof.noted_secs = secs;
            aof::put_time(&mut aof.buffer, secs);
        }
        let wraps = is_one && propagated.len() > 1;
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
            aof::put_command(&mut aof.buffer, &effect.argv);
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
        let syncs = self.syncs_always();
        self.aof.take_batch(syncs)
    }

    /// Whether a rewrite runs.
    pub fn is_rewriting(&self) -> bool {
        let snapshot = self.persistence.snapshot.as_ref();
        snapshot.is_some_and(|snapshot| snapshot.purpose == Purpose::AofBase)
    }

    /// Begins a rewrite. There must be no snapshot.
    pub fn begin_rewrite(&mut self) {
        self.aof.is_scheduled = false;
        let base = self.aof.manifest.next_base(
            &self.config.appendfilename,
            self.config.aof_use_rdb_preamble,
        );
        let target = self.aof_path(&base.name);
        self.aof.new_base = Some(base);
        let text = format!(
            "Background append only file rewriting started by pid {}",
            self.process.pid
        );
        self.log(LogLevel::Notice, text);
        self.begin_snapshot(Purpose::AofBase, &target, None);
    }

    /// The moment that the new base shows: what comes behind it goes to a new file.
    pub fn switch_aof(&mut self) {
        self.aof.since_rewrite = 0;
        if self.aof.state == AofState::Off {
            return;
        }
        let name = self.config.appendfilename.clone();
        let file = self.aof.manifest.add_incremental(&name);
        let text = format!(
            "Creating AOF incr file {} on background rewrite",
            file.name.escape_ascii()
        );
        self.log(LogLevel::Notice, text);
        self.open_aof(&file, Some(0));
        // A first base makes the files of before worthless, so these stay in force until it is whole.
        if self.aof.state == AofState::On {
            self.write_manifest();
        }
    }

    /// Goes on in this file; what was appended so far goes to the one before.
    fn open_aof(&mut self, file: &AofFile, truncate_to: Option<u64>) {
        let path = self.aof_path(&file.name);
        let bytes = std::mem::take(&mut self.aof.buffer);
        self.aof.dbid = None;
        self.aof.noted_secs = 0;
        self.aof.is_opening = true;
        self.orders.push_back(Order::OpenAof {
            before: bytes,
            path,
            truncate_to,
        });
    }

    fn write_manifest(&mut self) {
        let ticket = self.next_ticket();
        let path = self.manifest_path();
        let bytes = self.aof.manifest.to_text();
        self.orders.push_back(Order::WriteWhole {
            ticket,
            path,
            bytes,
        });
    }

    /// A rewrite has ended.
    pub fn end_rewrite(&mut self, snapshot: &Snapshot, ended: Ended) {
        let secs = self.now.since(snapshot.started) / 1_000_000;
        self.aof.last_rewrite_secs = i64::try_from(secs).ok();
        let base = self.aof.new_base.take();
        let bytes = match (ended, &base) {
            (Ended::Whole { bytes }, Some(_)) => bytes,
            (Ended::Failed(why), _) => return self.rewrite_failed(&why),
            (_, None) => return self.rewrite_failed("it was given up"),
        };
        self.log(
            LogLevel::Notice,
            "Background AOF rewrite terminated with success",
        );
        if let Some(base) = base {
            let keeps = usize::from(self.aof.state != AofState::Off);
            self.aof.manifest.replace_base(base, keeps);
        }
        let aof = &mut self.aof;
        aof.base_bytes = bytes + aof.since_rewrite;
        aof.current_bytes = aof.base_bytes;
        aof.rewrites += 1;
        aof.last_rewrite_ok = true;
        aof.failures = 0;
        if aof.state == AofState::Starting {
            aof.state = AofState::On;
        }
        self.write_manifest();
        self.drop_history();
        self.log(
            LogLevel::Notice,
            "Background AOF rewrite finished successfully",
        );
    }

    fn rewrite_failed(&mut self, why: &str) {
        let text = format!("Background AOF rewrite failed: {why}");
        self.log(LogLevel::Warning, text);
        self.aof.last_rewrite_ok = false;
        self.aof.failures += 1;
        self.aof.failed_at = self.now.secs();
    }

    /// Has files removed that no data is read from any more.
    fn drop_history(&mut self) {
        if self.aof.manifest.history.is_empty() || self.config.aof_disable_auto_gc {
            return;
        }
        let mut paths = Vec::new();
        for file in self.aof.manifest.history.clone() {
            let text = format!(
                "Removing the history file {} in the background",
                file.name.escape_ascii()
            );
            self.log(LogLevel::Notice, text);
            paths.push(self.aof_path(&file.name));
        }
        let ticket = self.next_ticket();
        self.aof.history_ticket = Some(ticket);
        self.orders.push_back(Order::RemoveFiles { ticket, paths });
    }

    /// `appendonly` was set to yes while the server runs: the first base comes from the data as it is, or as it is
    /// behind the transaction that runs.
    pub fn start_aof(&mut self, in_exec: bool) {
        if self.aof.state != AofState::Off {
            return;
        }
        self.aof.state = AofState::Starting;
        self.effects.listening = self.effects.listening.or(Targets::AOF);
        if self.persistence.snapshot.is_some() {
            self.aof.is_scheduled = true;
            let text = "AOF was enabled but there is already another background operation. An AOF background was \
                        scheduled to start when possible.";
            return self.log(LogLevel::Notice, text);
        }
        if in_exec {
            self.aof.is_scheduled = true;
            let text = "AOF was enabled during a transaction. An AOF background was scheduled to start when possible.";
            return self.log(LogLevel::Notice, text);
        }
        self.begin_rewrite();
    }

    /// `appendonly` was set to no.
    pub fn stop_aof(&mut self) {
        if self.aof.state == AofState::Off {
            return;
        }
        if self.is_rewriting() {
            self.abort_snapshot();
        }
        self.aof.state = AofState::Off;
        self.aof.is_scheduled = false;
        self.aof.sync = None;
        self.effects.listening = self.effects.listening.without(Targets::AOF);
        let bytes = std::mem::take(&mut self.aof.buffer);
        self.aof.is_opening = false;
        self.orders.push_back(Order::CloseAof { before: bytes });
        self.restraint.set(Restraint::AOF_FAILED, false);
        self.settle_waits(true);
    }

    /// Everything is loaded, and `appendonly` says yes: goes on behind what was loaded.
    pub fn resume_aof(&mut self, manifest: Manifest, bytes: (u64, u64), truncate_to: Option<u64>) {
        self.aof.manifest = manifest;
        self.aof.state = AofState::On;
        self.effects.listening = self.effects.listening.or(Targets::AOF);
        (self.aof.base_bytes, self.aof.current_bytes) = bytes;
        let name = self.config.appendfilename.clone();
        let is_new = self.aof.manifest.files().next().is_none();
        if is_new {
            self.put_first_base(&name);
        }
        let last = self.aof.manifest.incremental.last().cloned();
        let (file, is_new_file) = match last {
            Some(file) => (file, false),
            None => (self.aof.manifest.add_incremental(&name), true),
        };
        if is_new_file {
            let text = format!(
                "Creating AOF incr file {} on server start",
                file.name.escape_ascii()
            );
            self.log(LogLevel::Notice, text);
        } else {
            let text = format!(
                "Opening AOF incr file {} on server start",
                file.name.escape_ascii()
            );
            self.log(LogLevel::Notice, text);
        }
        self.open_aof(&file, truncate_to);
        if is_new_file {
            self.write_manifest();
        }
        self.drop_history();
    }

    /// A new append-only file begins with a base that holds nothing.
    fn put_first_base(&mut self, name: &[u8]) {
        let is_rdb = self.config.aof_use_rdb_preamble;
        let base = self.aof.manifest.next_base(name, is_rdb);
        let text = format!(
            "Creating AOF base file {} on server start",
            base.name.escape_ascii()
        );
        self.log(LogLevel::Notice, text);
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
        self.aof.base_bytes = bytes.len() as u64;
        self.aof.current_bytes = self.aof.base_bytes;
        let (ticket, path) = (self.next_ticket(), self.aof_path(&base.name));
        self.orders.push_back(Order::WriteWhole {
            ticket,
            path,
            bytes,
        });
        self.aof.manifest.replace_base(base, 0);
    }

    /// A tick's share: forcing the file to disk, rewrites that are due.
    pub fn aof_cron(&mut self) {
        if self.aof.state == AofState::Off {
            return self.rewrite_if_scheduled();
        }
        if self.restraint.has(Restraint::AOF_FAILED) {
            self.orders.push_back(Order::RetryAof);
        }
        let is_due = self.now.since(self.aof.synced_at) >= 1_000_000;
        let is_everysec = self.config.appendfsync == Appendfsync::Everysec;
        let is_held = self.config.no_appendfsync_on_rewrite && self.persistence.snapshot.is_some();
        if is_everysec && is_due && !is_held && self.aof.synced < self.aof.appended {
            match self.aof.sync {
                Some(_) => self.aof.delayed_syncs += 1,
                None => {
                    let ticket = self.next_ticket();
                    self.aof.sync = Some((ticket, self.aof.appended));
                    self.orders.push_back(Order::SyncAof { ticket });
                }
            }
            self.aof.synced_at = self.now;
        }
        self.rewrite_if_scheduled();
        if self.persistence.snapshot.is_some() || self.aof.state != AofState::On {
            return;
        }
        let percentage = self.config.auto_aof_rewrite_percentage;
        let aof = &self.aof;
        let min = u64::try_from(self.config.auto_aof_rewrite_min_size).unwrap_or(0);
        if percentage > 0 && aof.current_bytes > min && self.may_retry_rewrite() {
            let base = aof.base_bytes.max(1);
            let growth = (aof.current_bytes as i128 * 100 / i128::from(base)) - 100;
            if growth >= i128::from(percentage) {
                let text = format!("Starting automatic rewriting of AOF on {growth}% growth");
                self.log(LogLevel::Notice, text);
                self.begin_rewrite();
            }
        }
    }

    fn rewrite_if_scheduled(&mut self) {
        let is_free = self.persistence.snapshot.is_none() && self.persistence.loading.is_none();
        let wants = self.aof.is_scheduled || self.aof.state == AofState::Starting;
        if is_free && wants && self.may_retry_rewrite() {
            self.begin_rewrite();
        }
    }

    fn may_retry_rewrite(&self) -> bool {
        let over = self.aof.failures.checked_sub(FAILURES_MAX);
        let minutes = over.map_or(0, |over| (1i64 << over.min(6)).min(RETRY_MINUTES_MAX));
        self.now.secs() - self.aof.failed_at >= minutes * 60
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
                    self.settle_waits(false);
                }
                Err(why) => {
                    let text = format!("Forcing the append-only file to disk failed: {why}");
                    self.log(LogLevel::Warning, text);
                    self.aof_failed(why);
                }
            }
            return true;
        }
        if self.aof.history_ticket == Some(ticket) {
            self.aof.history_ticket = None;
            self.aof.manifest.history.clear();
            if self.aof.state != AofState::Off {
                self.write_manifest();
            }
            return true;
        }
        false
    }

    /// What the shell says about writing: an error, that it works again, or up to where everything is on disk.
    fn wrote_aof(&mut self, outcome: &Outcome) {
        match outcome {
            Ok(text) if text == b"opened" => self.aof.is_opening = false,
            Ok(text) => {
                if self.restraint.has(Restraint::AOF_FAILED) {
                    self.restraint.set(Restraint::AOF_FAILED, false);
                    let text = "AOF write error looks solved. The server can write again.";
                    self.log(LogLevel::Warning, text);
                }
                let offset = std::str::from_utf8(text).ok();
                if let Some(offset) = offset.and_then(|text| text.parse().ok()) {
                    self.aof.synced = self.aof.synced.max(offset);
                    self.settle_waits(false);
                }
            }
            Err(why) => {
                let text = format!("Error writing to the AOF file: {why}");
                self.log(LogLevel::Warning, text);
                self.aof.is_opening = false;
                self.aof_failed(why);
                if self.config.appendfsync == Appendfsync::Always {
                    let text = "Can't recover from AOF write error when the AOF fsync policy is 'always'. Exiting...";
                    self.log(LogLevel::Warning, text);
                    self.orders.push_back(Order::Exit { code: 1 });
                }
            }
        }
    }

    fn aof_failed(&mut self, why: &str) {
        self.aof.write_error = why.to_owned();
        self.restraint.set(Restraint::AOF_FAILED, true);
    }

    /// Why nothing can be appended, if so.
    pub fn aof_error(&self) -> Option<CommandError> {
        let is_failed = self.restraint.has(Restraint::AOF_FAILED);
        is_failed.then(|| {
            CommandError::text(format!(
                "MISCONF Errors writing to the AOF file: {}",
                self.aof.write_error
            ))
        })
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
