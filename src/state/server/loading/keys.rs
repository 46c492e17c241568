//! The items of a snapshot: what each becomes, above all the keys.
//!
//! Keys are added in runs, so that memory can be asked for what they will touch. Lives here: the data and the figures. May
//! not: know where the items come from, or what follows behind the last one (its parent does).

use super::{Figures, Loading, RUN_MAX, Stage, Step};
use crate::border::LogLevel;
use crate::keyspace::usage::Usage;
use crate::persist::rdb::{Decoder, FileError, Item, Key as FileKey};
use crate::persist::value::Limits;
use crate::script::shared::Purpose;
use crate::state::CommandError;
use crate::state::server::Server;

/// Keys that hold nothing are named in the log up to this many.
const EMPTY_NAMED_MAX: u64 = 10;

/// Tables are made ready for no more keys than would fit into the file with so many bytes each.
const KEY_BYTES_MIN: u64 = 4;

impl Server {
    pub(super) fn load_item(
        &mut self,
        loading: &mut Loading,
        limits: &Limits,
    ) -> Result<Step, FileError> {
        let mut stage = std::mem::replace(&mut loading.stage, Stage::Head);
        let step = match &mut stage {
            Stage::Rdb(decoder) => self.load_item_of(decoder, loading, limits),
            _ => Ok(Step::End),
        };
        loading.stage = stage;
        step
    }

    fn load_item_of(
        &mut self,
        decoder: &mut Decoder,
        loading: &mut Loading,
        limits: &Limits,
    ) -> Result<Step, FileError> {
        let pos = decoder.pos();
        let item = decoder.next(limits);
        self.stats.dump_payload_sanitizations += limits.take_looked_at();
        let repairs = limits.take_repairs();
        let Some(item) = item? else {
            return Ok(Step::More);
        };
        if let Item::Key(key) = &item {
            for what in repairs {
                let text = format!(
                    "Key {} of database {} was put right: {what}",
                    key.name.escape_ascii(),
                    loading.dbid
                );
                self.log(LogLevel::Warning, text);
            }
        }
        if !matches!(item, Item::Key(_)) && !loading.run.is_empty() {
            // What follows is of another kind, or for another database.
            let item = self.add_run(loading).map(|()| item);
            return item.and_then(|item| self.take_item(item, pos, loading));
        }
        self.take_item(item, pos, loading)
    }

    /// Does what an item at `pos` of the file asks for.
    fn take_item(
        &mut self,
        item: Item<'_>,
        pos: u64,
        loading: &mut Loading,
    ) -> Result<Step, FileError> {
        let fail = |what: String| Err(FileError { pos, what });
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
                // What an append-only file's base holds is kept until the file itself removes it.
                let keeps_due = loading.aof.is_some();
                let is_due = |deadline: i64| deadline < self.now_ms && !keeps_due;
                if key.deadline_ms.is_some_and(is_due) {
                    loading.figures.expired += 1;
                } else {
                    self.read_key(key, pos, loading);
                    if loading.run.len() == RUN_MAX {
                        self.add_run(loading)?;
                    }
                }
                self.delay_key(loading);
            }
            Item::End => return Ok(Step::End),
        }
        Ok(Step::On)
    }

    /// Makes the entry of a key; it is added with others.
    fn read_key(&mut self, key: FileKey<'_>, pos: u64, loading: &mut Loading) {
        let clock = self.clock_of(key.idle_secs, key.frequency);
        let hash = self.hash_seed.hash(&key.name);
        self.db(loading.dbid).table.prefetch_bucket(hash);
        let entry = key.value.into_entry(&key.name, key.deadline_ms, clock);
        loading.run.push((hash, pos, entry));
    }

    /// Adds the keys that were read. The buckets that they go into were asked for when they were.
    pub(super) fn add_run(&mut self, loading: &mut Loading) -> Result<(), FileError> {
        let dbid = loading.dbid;
        let db = self.db(dbid);
        let mut run = std::mem::take(&mut loading.run);
        loading.figures.keys += run.len() as u64;
        for (hash, pos, entry) in run.drain(..) {
            if db.get(hash, entry.key()).is_some() {
                if !loading.merges {
                    let name = entry.key().escape_ascii();
                    let what = format!("key '{name}' comes twice in database {dbid}");
                    return Err(FileError { pos, what });
                }
                db.remove(hash, entry.key());
            }
            db.insert(hash, entry);
        }
        loading.run = run;
        Ok(())
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

    pub(super) fn note_keys(&mut self, loading: &Loading) {
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
    }
}
