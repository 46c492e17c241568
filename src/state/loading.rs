//! Loading: files of data become data, chunk by chunk, while clients are told to wait.
//!
//! The engine asks for one chunk at a time; what it was given is in the journal, so a recorded run that began with a
//! file replays without it. Lives here: the order of files, the keys, the figures, what follows at the end. May not:
//! know a file's format (`persist`).

use crate::border::{LogLevel, Order, Outcome};
use crate::keyspace::eviction::Usage;
use crate::persist::rdb::{Decoder, FileError, Item, Key as FileKey};
use crate::persist::value::Limits;
use crate::script::machine::Purpose;
use crate::state::persistence::Restraint;
use crate::state::server::Server;
use crate::state::snapshot::Waiter;
use crate::state::{CommandError, UnixMicros};

/// What is asked for at a time, whatever is configured.
const CHUNK_MIN: usize = 1024;
const CHUNK_MAX: usize = 4 << 20;

/// Tables are made ready for no more keys than would fit into the file with so many bytes each.
const KEY_BYTES_MIN: u64 = 4;

/// Keys that hold nothing are named in the log up to this many.
const EMPTY_NAMED_MAX: u64 = 10;

/// What is done when everything is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The server has started.
    Start,
    /// A client's DEBUG RELOAD is done.
    Reload(Waiter),
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
    /// What was read of the file.
    read_bytes: u64,
    decoder: Decoder,
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
        self.decoder.pos()
    }
}

impl Server {
    /// Loads what the disk has, at the start of the server.
    pub fn load_at_start(&mut self) {
        self.begin_loading(false, Then::Start);
    }

    /// Begins to load the file `dbfilename`.
    pub fn begin_loading(&mut self, merges: bool, then: Then) {
        self.restraint.set(Restraint::LOADING, true);
        self.expire_paused = true;
        let mut loading = Box::new(Loading {
            started: self.now,
            then,
            file_bytes: 0,
            used_memory: 0,
            figures: Figures::default(),
            path: self.config.dbfilename.clone(),
            ticket: None,
            read_bytes: 0,
            decoder: Decoder::new(0, self.config.rdbchecksum && !self.debug.skip_checksum),
            dbid: 0,
            merges,
            key_due_us: self.now.0,
            shared: 0,
        });
        self.ask_chunk(&mut loading);
        self.persistence.loading = Some(loading);
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

    /// When loading wants to go on by itself; nothing when it waits for the shell, or there is none.
    pub fn loading_due(&self) -> Option<UnixMicros> {
        let loading = self.persistence.loading.as_ref()?;
        match loading.ticket {
            Some(_) => None,
            None => Some(UnixMicros(loading.key_due_us)),
        }
    }

    /// The shell has read a chunk of a file that has `size` bytes; `None` when there is no such file.
    pub fn take_chunk(&mut self, ticket: u64, size: Option<u64>, bytes: &[u8]) {
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
        loading.decoder.push(bytes, beyond);
        self.advance_loading();
    }

    /// Goes on with what is at hand.
    pub fn advance_loading(&mut self) {
        let Some(mut loading) = self.persistence.loading.take() else {
            return;
        };
        if loading.ticket.is_some() {
            self.persistence.loading = Some(loading);
            return;
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
                break;
            }
            match self.load_item(&mut loading, &limits) {
                Ok(Step::On) => {}
                Ok(Step::More) => {
                    self.ask_chunk(&mut loading);
                    break;
                }
                Ok(Step::End) => return self.end_loading(&loading),
                Err(error) => return self.loading_failed(&loading, &error.to_string()),
            }
        }
        self.persistence.loading = Some(loading);
    }

    fn load_item(&mut self, loading: &mut Loading, limits: &Limits) -> Result<Step, FileError> {
        let pos = loading.decoder.pos();
        let fail = |what: String| Err(FileError { pos, what });
        let Some(item) = loading.decoder.next(limits)? else {
            return Ok(Step::More);
        };
        match item {
            Item::Aux { name, value } => {
                let (name, value) = (name.into_owned(), value.into_owned());
                self.note_fact(loading, &name, &value);
            }
            Item::SelectDb(dbid) if dbid as usize >= self.dbs.len() => {
                let count = self.dbs.len();
                return fail(format!(
                    "the data is of a server with more than {count} databases (database {dbid})"
                ));
            }
            Item::SelectDb(dbid) => loading.dbid = dbid,
            Item::Sizes { keys, .. } => {
                let keys = keys.min(loading.file_bytes / KEY_BYTES_MIN);
                let dbid = loading.dbid;
                let len = self.db(dbid).len() + usize::try_from(keys).unwrap_or(0);
                self.db(dbid).table.expand(len);
            }
            Item::Function(code) => {
                let code = code.into_owned();
                let loaded = self.ensure_machine(Purpose::Functions).and_then(|()| {
                    let loaded = self.scripting.libraries.load(&code, loading.merges);
                    loaded.map_err(CommandError::Bytes)
                });
                if let Err(error) = loaded {
                    return fail(format!("a library of functions does not load: {error}"));
                }
            }
            Item::Empty(name) => {
                loading.figures.empty += 1;
                if loading.figures.empty <= EMPTY_NAMED_MAX {
                    let text = format!("rdbLoadObject skipping empty key: {}", name.escape_ascii());
                    self.log(LogLevel::Notice, text);
                }
            }
            Item::Key(key) => {
                let dbid = loading.dbid;
                let merges = loading.merges;
                let loaded = self.load_key(dbid, key, merges);
                match loaded {
                    Ok(true) => loading.figures.keys += 1,
                    Ok(false) => loading.figures.expired += 1,
                    Err(what) => return fail(what),
                }
                self.delay_key(loading);
            }
            Item::End => return Ok(Step::End),
        }
        Ok(Step::On)
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

    /// Adds a key; says whether it was, because its deadline may have passed, or why it cannot be.
    fn load_key(&mut self, dbid: u32, key: FileKey<'_>, merges: bool) -> Result<bool, String> {
        let is_due = key
            .deadline_ms
            .is_some_and(|deadline| deadline < self.now_ms);
        if is_due {
            return Ok(false);
        }
        let clock = self.clock_of(key.idle_secs, key.frequency);
        let hash = self.hash_seed.hash(&key.name);
        let db = self.db(dbid);
        if db.get(hash, &key.name).is_some() {
            if !merges {
                let name = key.name.escape_ascii();
                return Err(format!("key '{name}' comes twice in database {dbid}"));
            }
            db.remove(hash, &key.name);
        }
        let entry = key.value.into_entry(&key.name, key.deadline_ms, clock);
        db.insert(hash, entry);
        Ok(true)
    }

    /// What an entry's clock is when it was last used so long ago, or so often.
    pub fn clock_of(&self, idle_secs: Option<u64>, frequency: Option<u8>) -> u32 {
        let usage = &self.usage;
        match (usage.usage, idle_secs, frequency) {
            (Usage::Frequency, _, Some(frequency)) => usage.with_count(frequency.into()),
            (Usage::LastUse, Some(secs), _) => {
                let secs = u32::try_from(secs).unwrap_or(u32::MAX);
                usage.secs.wrapping_sub(secs) & 0xff_ffff
            }
            _ => usage.fresh(),
        }
    }

    fn note_fact(&mut self, loading: &mut Loading, name: &[u8], value: &[u8]) {
        let text = String::from_utf8_lossy(value);
        let line = match name {
            b"redis-ver" | b"valkey-ver" => format!("Loading RDB produced by version {text}"),
            b"ctime" => {
                let age = self.now.secs() - text.parse::<i64>().unwrap_or(0);
                format!("RDB age {} seconds", age.max(0))
            }
            b"used-mem" => {
                let bytes: u64 = text.parse().unwrap_or(0);
                loading.used_memory = bytes;
                let mib = bytes as f64 / (1 << 20) as f64;
                format!("RDB memory usage when created {mib:.2} Mb")
            }
            b"aof-base" if value == b"1" => "RDB is base AOF".to_owned(),
            _ => return,
        };
        self.log(LogLevel::Notice, line);
    }

    fn end_loading(&mut self, loading: &Loading) {
        let Figures {
            keys,
            expired,
            empty,
        } = loading.figures;
        let tail = match empty {
            0 => String::new(),
            _ => format!(", empty keys skipped: {empty}"),
        };
        self.log(
            LogLevel::Notice,
            format!("Done loading RDB, keys loaded: {keys}, keys expired: {expired}{tail}."),
        );
        self.persistence.loaded = loading.figures;
        let secs = self.now.since(loading.started) as f64 / 1e6;
        if loading.then == Then::Start {
            let text = format!("DB loaded from disk: {secs:.3} seconds");
            self.log(LogLevel::Notice, text);
        }
        self.loading_is_over(loading.then, Ok(()));
    }

    fn file_missing(&mut self) {
        let Some(loading) = self.persistence.loading.take() else {
            return;
        };
        match loading.then {
            // A new server has nothing to load.
            Then::Start => self.loading_is_over(Then::Start, Ok(())),
            Then::Reload(_) => self.loading_failed(&loading, "No such file or directory"),
        }
    }

    /// The shell cannot read the file; says whether it is one that is being loaded.
    pub fn fail_loading(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        let waited = self
            .persistence
            .loading
            .as_ref()
            .map(|loading| loading.ticket);
        if waited != Some(Some(ticket)) {
            return false;
        }
        if let (Some(loading), Err(why)) = (self.persistence.loading.take(), outcome) {
            self.loading_failed(&loading, why);
        }
        true
    }

    fn loading_failed(&mut self, loading: &Loading, why: &str) {
        let path = loading.path.escape_ascii();
        match loading.then {
            Then::Start => {
                let text = format!("Fatal error loading the DB from {path}: {why}. Exiting.");
                self.log(LogLevel::Warning, text);
                self.orders.push_back(Order::Exit { code: 1 });
            }
            Then::Reload(_) => {
                let text = format!("Error loading the DB from {path}: {why}.");
                self.log(LogLevel::Warning, text);
                let text = "ERR Error trying to load the RDB dump, check server logs.";
                self.loading_is_over(loading.then, Err(CommandError::text(text)));
            }
        }
    }

    fn loading_is_over(&mut self, then: Then, result: Result<(), CommandError>) {
        self.restraint.set(Restraint::LOADING, false);
        self.expire_paused = false;
        match then {
            Then::Start => self.orders.push_back(Order::Ready),
            Then::Reload(waiter) => {
                if result.is_ok() {
                    self.log(LogLevel::Warning, "DB reloaded by DEBUG RELOAD");
                }
                self.persistence.answers.push((waiter, result));
            }
        }
    }
}

/// What comes of trying to load one more item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    On,
    /// More of the file is needed.
    More,
    End,
}
