//! Loading: files of data become data, chunk by chunk, while clients are told to wait.
//!
//! The engine asks for one chunk at a time; what it was given is in the journal, so a recorded run that began with a
//! file replays without it. Lives here: the chunks, what a file is taken for, what follows at its end; in `ending` at the
//! end of all; in `keys` what is done with the items of a snapshot, in `commands` with the commands of an append-only file,
//! in `parts` the order of its parts. May not: know a file's format (`persist`).

mod commands;
mod ending;
mod keys;
mod parts;

use crate::border::{LogLevel, Order, Outcome};
use crate::keyspace::entry::Entry;
use crate::persist::aof::Commands;
use crate::persist::manifest::Manifest;
use crate::persist::rdb::{self, Decoder};
use crate::persist::value::Limits;
use crate::state::UnixMicros;
use crate::state::restraint::Restraint;
use crate::state::server::Server;
use crate::state::waiter::Then;
pub use commands::{Ran, Run, RunCommand};
use parts::AofParts;

/// What is asked for at a time, whatever is configured.
const CHUNK_MIN: usize = 1024;
const CHUNK_MAX: usize = 4 << 20;

/// Keys that are added at once, when what the first of them needs from memory has come.
const RUN_MAX: usize = 32;

/// Longer than any manifest.
const MANIFEST_MAX: usize = 1 << 20;

/// What the file that is read is taken for.
enum Stage {
    /// The list of an append-only file's parts.
    Manifest(Vec<u8>),
    /// There is no manifest: perhaps an append-only file of one part, as servers before 7.0 had it.
    Old,
    /// The manifest is written that lists such a file as a base.
    Listing(Manifest),
    /// The base is not in its folder; perhaps a move of it was interrupted.
    Moved,
    /// It is being moved there.
    Moving,
    /// A part of an append-only file, which may begin with a snapshot.
    Head,
    Rdb(Box<Decoder>),
    Commands(Box<Commands>),
}

/// What a load found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    pub keys: u64,
    /// Keys whose deadline had passed; they were left out.
    pub expired: u64,
    /// Keys that held nothing.
    pub empty: u64,
}

/// A load that runs.
pub struct Loading {
    pub started: UnixMicros,
    pub then: Then,
    /// Of the file that is read.
    pub file_bytes: u64,
    /// What a file says about the memory that its data took.
    pub used_memory: u64,
    figures: Figures,
    path: Vec<u8>,
    /// The chunk that was asked for, if one was.
    ticket: Option<u64>,
    /// A script runs; everything behind it waits.
    awaits_script: bool,
    /// What was read of the file.
    read_bytes: u64,
    stage: Stage,
    /// The file is loaded, and all that waits is a clock that tells how long it took.
    is_through: bool,
    /// Keys that were read and are still to be added to their database, with their hash and place in the file.
    run: Vec<(u64, u64, Entry)>,
    /// The parts, if it is an append-only file.
    aof: Option<AofParts>,
    dbid: u32,
    /// A key may be there already.
    merges: bool,
    /// When the next key may be loaded (`key-load-delay`).
    key_due_us: i64,
    /// Keys that share one microsecond of a negative delay.
    shared: i64,
}

impl Loading {
    /// How much of the file is loaded.
    pub fn loaded_bytes(&self) -> u64 {
        match &self.stage {
            Stage::Rdb(decoder) => decoder.pos(),
            Stage::Commands(commands) => commands.pos(),
            _ => 0,
        }
    }
}

impl Server {
    /// Loads what the disk has, at the start of the server.
    pub fn load_at_start(&mut self) {
        self.begin_loading(false, Then::Start, self.config.appendonly);
    }

    /// Begins to load the append-only file, or the file `dbfilename`.
    pub fn begin_loading(&mut self, merges: bool, then: Then, is_aof: bool) {
        self.restraint.set(Restraint::LOADING, true);
        self.expire_paused = true;
        // Without an append-only file it is read as well: one that is begun later must not take names that are in use.
        let reads_manifest = is_aof || then == Then::Start;
        if is_aof && then == Then::Start {
            self.make_aof_folder();
        }
        let mut loading = Box::new(Loading {
            started: self.now,
            then,
            file_bytes: 0,
            used_memory: 0,
            figures: Figures::default(),
            path: match reads_manifest {
                true => self.manifest_path(),
                false => self.config.dbfilename.clone(),
            },
            ticket: None,
            awaits_script: false,
            read_bytes: 0,
            stage: match reads_manifest {
                true => Stage::Manifest(Vec::new()),
                false => Stage::Rdb(Box::new(self.decoder())),
            },
            is_through: false,
            run: Vec::with_capacity(RUN_MAX),
            aof: is_aof.then(AofParts::default),
            dbid: 0,
            merges,
            key_due_us: self.now.0,
            shared: 0,
        });
        self.ask_chunk(&mut loading);
        self.persistence.loading = Some(loading);
    }

    fn decoder(&self) -> Decoder {
        Decoder::new(0, self.config.rdbchecksum && !self.debug.skip_checksum)
    }

    fn ask_chunk(&mut self, loading: &mut Loading) {
        let ticket = self.next_ticket();
        loading.ticket = Some(ticket);
        let len = self.config.loading_process_events_interval_bytes;
        self.orders.push_back(Order::ReadFile {
            ticket,
            path: loading.path.clone(),
            pos: loading.read_bytes,
            len: usize::try_from(len)
                .unwrap_or(CHUNK_MIN)
                .clamp(CHUNK_MIN, CHUNK_MAX),
        });
    }

    fn ask_next_chunk(&mut self) {
        if let Some(mut loading) = self.persistence.loading.take() {
            self.ask_chunk(&mut loading);
            self.persistence.loading = Some(loading);
        }
    }

    /// When loading wants to go on by itself; nothing when it waits for the shell, or there is none.
    pub fn loading_due(&self) -> Option<UnixMicros> {
        let loading = self.persistence.loading.as_ref()?;
        match loading.ticket.is_some() || loading.awaits_script {
            true => None,
            false => Some(UnixMicros(loading.key_due_us)),
        }
    }

    /// The shell has read a chunk of a file that has `size` bytes; `None` when there is no such file.
    pub fn take_chunk(
        &mut self,
        ticket: u64,
        size: Option<u64>,
        bytes: &[u8],
        run: &mut RunCommand<'_>,
    ) {
        let Some(loading) = &mut self.persistence.loading else {
            return;
        };
        if loading.ticket != Some(ticket) {
            return;
        }
        loading.ticket = None;
        let Some(size) = size else {
            return self.file_missing();
        };
        loading.file_bytes = size;
        loading.read_bytes += bytes.len() as u64;
        // A file that became shorter meanwhile ends here.
        let beyond = match bytes.is_empty() {
            true => 0,
            false => size.saturating_sub(loading.read_bytes),
        };
        match &mut loading.stage {
            Stage::Rdb(decoder) => decoder.push(bytes, beyond),
            Stage::Commands(commands) => commands.push(bytes, beyond),
            Stage::Manifest(text) => {
                text.extend_from_slice(bytes);
                if beyond == 0 || text.len() > MANIFEST_MAX {
                    return self.take_manifest();
                }
                return self.ask_next_chunk();
            }
            // Nothing is read while these wait for the shell.
            Stage::Listing(_) | Stage::Moving => return,
            Stage::Old => return self.upgrade_aof(),
            Stage::Moved => return self.move_base(),
            Stage::Head if rdb::is_rdb(bytes) => {
                let mut decoder = Box::new(Decoder::new(
                    0,
                    self.config.rdbchecksum && !self.debug.skip_checksum,
                ));
                decoder.push(bytes, beyond);
                loading.stage = Stage::Rdb(decoder);
                let aof = loading.aof.as_ref();
                let is_old = aof.is_some_and(|aof| aof.name == self.config.appendfilename);
                let text = match is_old {
                    true => "Reading RDB preamble from AOF file...",
                    false => "Reading RDB base file on AOF loading...",
                };
                self.log(LogLevel::Notice, text);
            }
            Stage::Head => {
                let commands = Commands::new(0, bytes.to_vec(), beyond);
                loading.stage = Stage::Commands(Box::new(commands));
            }
        }
        self.advance_loading(run);
    }

    /// Goes on with what is at hand.
    pub fn advance_loading(&mut self, run: &mut RunCommand<'_>) {
        let Some(mut loading) = self.persistence.loading.take() else {
            return;
        };
        if loading.ticket.is_some() || loading.awaits_script {
            self.persistence.loading = Some(loading);
            return;
        }
        if std::mem::take(&mut loading.is_through) {
            return self.end_file(loading, run);
        }
        let limits = Limits::new(
            &self.config,
            self.debug.quicklist_packed_threshold,
            self.hash_seed,
        );
        loop {
            if self.config.key_load_delay == 0 {
                loading.key_due_us = self.now.0;
            } else if loading.key_due_us > self.now.0 {
                match self.add_run(&mut loading) {
                    Ok(()) => break,
                    Err(error) => return self.loading_failed(&loading, &error.to_string()),
                }
            }
            let mut step = match &loading.stage {
                Stage::Rdb(_) => self.load_item(&mut loading, &limits),
                _ => self.load_command(&mut loading, run),
            };
            if step.as_ref().is_ok_and(|step| *step != Step::On) {
                step = self.add_run(&mut loading).and(step);
            }
            match step {
                Ok(Step::On) => {}
                Ok(Step::Script) => {
                    loading.awaits_script = true;
                    break;
                }
                Ok(Step::More) => {
                    self.ask_chunk(&mut loading);
                    break;
                }
                Ok(Step::End) => {
                    loading.is_through = true;
                    loading.key_due_us = self.now.0;
                    break;
                }
                Err(error) => return self.loading_failed(&loading, &error.to_string()),
            }
        }
        self.persistence.loading = Some(loading);
    }

    /// Puts the next key off, as `key-load-delay` asks.
    fn delay_key(&self, loading: &mut Loading) {
        let delay = self.config.key_load_delay;
        if delay > 0 {
            loading.key_due_us = loading.key_due_us.saturating_add(delay);
        } else if delay < 0 {
            loading.shared += 1;
            if loading.shared >= -delay {
                loading.shared = 0;
                loading.key_due_us += 1;
            }
        }
    }

    /// A file is loaded to its end.
    fn end_file(&mut self, mut loading: Box<Loading>, run: &mut RunCommand<'_>) {
        let Some(aof) = &mut loading.aof else {
            return self.end_loading(&mut loading);
        };
        // Behind a snapshot there may be commands.
        if let Stage::Rdb(decoder) = std::mem::replace(&mut loading.stage, Stage::Head) {
            let pos = decoder.pos();
            let rest = decoder.into_rest();
            let beyond = loading.file_bytes.saturating_sub(pos + rest.len() as u64);
            loading.stage = Stage::Commands(Box::new(Commands::new(pos, rest, beyond)));
            self.note_keys(&loading);
            if beyond > 0 || loading.file_bytes > pos {
                self.log(LogLevel::Notice, "Reading the remaining AOF tail...");
            }
            self.persistence.loading = Some(loading);
            return self.advance_loading(run);
        }
        aof.last_bytes = aof.truncate_to.unwrap_or(loading.file_bytes);
        aof.bytes += aof.last_bytes;
        let is_base = aof
            .manifest
            .base
            .as_ref()
            .is_some_and(|base| base.name == aof.name);
        if is_base {
            aof.base_bytes = loading.file_bytes;
        }
        let kind = if is_base { "base" } else { "incr" };
        let secs = self.now.since(loading.started) as f64 / 1e6;
        let name = aof.name.escape_ascii().to_string();
        if loading.file_bytes > 0 {
            let text = format!("DB loaded from {kind} file {name}: {secs:.3} seconds");
            self.log(LogLevel::Notice, text);
        }
        // What follows is of another connection: it begins with database 0.
        run.begin();
        self.next_part(loading);
    }

    fn file_missing(&mut self) {
        let Some(mut loading) = self.persistence.loading.take() else {
            return;
        };
        if matches!(loading.stage, Stage::Manifest(_)) && loading.aof.is_none() {
            return self.go_on_with_rdb(loading);
        }
        let old_name = self.config.appendfilename.clone();
        let next = match (&loading.stage, &loading.aof) {
            (Stage::Manifest(_), _) => Some(Stage::Old),
            (Stage::Head, Some(aof)) if aof.name == old_name => Some(Stage::Moved),
            _ => None,
        };
        if let Some(stage) = next {
            loading.path = old_name;
            loading.stage = stage;
            self.ask_chunk(&mut loading);
            self.persistence.loading = Some(loading);
            return;
        }
        match (&loading.stage, loading.then) {
            // A new server has nothing to load; who asks for an append-only file expects one.
            (Stage::Old, Then::Start | Then::Reload(_)) | (Stage::Rdb(_), Then::Start) => {
                let aof = loading.aof.take();
                self.loading_is_over(loading.then, aof, Ok(()));
            }
            _ => self.loading_failed(&loading, "No such file or directory"),
        }
    }

    /// The shell cannot read the file, or has done what comes before; says whether it is one that is being loaded.
    pub fn settle_loading(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        let waited = self
            .persistence
            .loading
            .as_ref()
            .map(|loading| loading.ticket);
        if waited != Some(Some(ticket)) {
            return false;
        }
        let Some(mut loading) = self.persistence.loading.take() else {
            return true;
        };
        loading.ticket = None;
        match (std::mem::replace(&mut loading.stage, Stage::Head), outcome) {
            (Stage::Listing(manifest), Ok(_)) => self.listed_old(loading, manifest),
            (Stage::Listing(_), Err(why)) => {
                self.tell_no_manifest(why);
                self.loading_failed(&loading, why);
            }
            (Stage::Moving, Ok(_)) => self.moved_old(loading),
            (Stage::Moving, Err(why)) => {
                let name = self.config.appendfilename.escape_ascii();
                let folder = self.config.appenddirname.escape_ascii();
                let text = format!(
                    "Error trying to move the old AOF file {name} into dir {folder}: {why}"
                );
                self.log(LogLevel::Warning, text);
                self.loading_failed(&loading, why);
            }
            (stage, Err(why)) => {
                loading.stage = stage;
                self.loading_failed(&loading, why);
            }
            // What is read comes in chunks.
            (_, Ok(_)) => {}
        }
        true
    }
}

/// What comes of trying to load one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    On,
    /// A script is to run first.
    Script,
    /// More of the file is needed.
    More,
    End,
}
