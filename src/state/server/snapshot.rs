//! Snapshot: all data as it was at one moment, written to a file piece by piece while commands go on.
//!
//! Lives here: the order of the work, from the first mark in the file to its last, and the end when it is given up.
//! What sees to it that nothing changes unsaved is in `keyspace::db`. May not: decide when a snapshot is due or what
//! follows from its end (`state::persistence`).

use crate::border::{Order, Outcome};
use crate::config::{EvictionPolicy as Policy, REDIS_VERSION};
use crate::keyspace::db::Db;
use crate::keyspace::saving::{EncodeEntry, Saving, Style, Walk};
use crate::persist::{aof, rdb};
use crate::state::UnixMicros;
use crate::state::server::Server;
use crate::state::waiter::Waiter;

/// What one slice does at most, so that no command waits long for it.
const SLICE: Walk = Walk {
    keys: 500,
    bytes: 48 * 1024,
    buckets: 2000,
};

/// Buckets that a slice mends after a snapshot that was given up.
const MEND_BUCKETS: usize = 2000;

/// Bytes are handed to the shell in portions of this size.
const PORTION: usize = 64 * 1024;

/// With so many bytes on their way to the disk, the walk waits.
const IN_FLIGHT_MAX: usize = 4 << 20;

/// What a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// The file `dbfilename`, while clients wait for nothing.
    Background,
    /// The same for a client that waits, or for an end of the server.
    Foreground,
    /// The base of an append-only file.
    AofBase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Entries' epoch bits are made to agree, in this database from this cursor on.
    Mending {
        db: usize,
        cursor: u64,
    },
    Walking,
    /// Everything is with the shell, which ends the file.
    Ending {
        ticket: u64,
    },
}

/// A snapshot that is being taken.
pub struct Snapshot {
    pub purpose: Purpose,
    pub started: UnixMicros,
    /// Changes that were counted when it began: these it holds.
    pub dirty_before: u64,
    pub keys_total: usize,
    /// Who gets a reply when it has ended.
    pub waiter: Option<Waiter>,
    /// The file consists of commands.
    is_commands: bool,
    keys_done: usize,
    phase: Phase,
    /// The shell's number for the file.
    file: u64,
    /// The file's name until it is whole.
    pub temp: Vec<u8>,
    /// Where the file comes in the end.
    target: Vec<u8>,
    /// Databases that were emptied before the walk was through with them.
    orphans: Vec<Db>,
    buffer: Vec<u8>,
    /// Which database the next key is of, for who reads the file.
    db_marked: Option<u32>,
    /// Within a value of this database.
    within: Option<u32>,
    in_flight: usize,
    /// Portions on their way: tickets and lengths.
    portions: Vec<(u64, usize)>,
    /// When the next key may be saved (`rdb-key-save-delay`).
    key_due_us: i64,
    /// Keys that share one microsecond of a negative delay.
    shared: i64,
}

impl Snapshot {
    /// Keys saved so far.
    pub fn keys_done(&self, dbs: &[Db]) -> usize {
        let of_dbs = dbs.iter().chain(&self.orphans).filter_map(Db::saved_keys);
        self.keys_done + of_dbs.sum::<usize>()
    }

    /// Takes what a database's part has, and marks in the buffer whose it is.
    fn collect(&mut self, saving: &mut Saving) {
        if !saving.is_empty() {
            if self.db_marked != Some(saving.dbid) {
                self.db_marked = Some(saving.dbid);
                match self.is_commands {
                    true => aof::put_select(&mut self.buffer, saving.dbid),
                    false => rdb::put_db(&mut self.buffer, saving.dbid),
                }
            }
            self.buffer.append(&mut saving.take());
        }
        self.within = saving.is_within_value().then_some(saving.dbid);
    }

    /// Takes an emptied database, if the snapshot still needs it; else it comes back.
    pub fn adopt(&mut self, db: Db) -> Option<Db> {
        if !db.is_saving() {
            return Some(db);
        }
        self.orphans.push(db);
        None
    }
}

/// How a snapshot's file became.
pub enum Ended {
    Whole { bytes: u64 },
    Failed(String),
}

impl Server {
    /// Begins a snapshot to `target`. There must be none.
    pub fn begin_snapshot(&mut self, purpose: Purpose, target: &[u8], waiter: Option<Waiter>) {
        let file = self.next_ticket();
        let temp = match purpose {
            Purpose::AofBase => format!("temp-rewriteaof-bg-{}.aof", self.process.pid).into_bytes(),
            _ => self.rdb_temp_name(),
        };
        self.persistence.start_is_untimed = purpose != Purpose::Foreground;
        self.orders.push_back(Order::OpenFile {
            file,
            path: temp.clone(),
            syncs_often: match purpose {
                Purpose::AofBase => self.config.aof_rewrite_incremental_fsync,
                _ => self.config.rdb_save_incremental_fsync,
            },
        });
        self.persistence.snapshot = Some(Box::new(Snapshot {
            purpose,
            started: self.now,
            dirty_before: self.effects.dirty,
            keys_total: 0,
            waiter,
            is_commands: purpose == Purpose::AofBase && !self.config.aof_use_rdb_preamble,
            keys_done: 0,
            phase: Phase::Mending { db: 0, cursor: 0 },
            file,
            temp,
            target: target.to_vec(),
            orphans: Vec::new(),
            buffer: Vec::new(),
            db_marked: None,
            within: None,
            in_flight: 0,
            portions: Vec::new(),
            key_due_us: self.now.0,
            shared: 0,
        }));
        // As a rule there is nothing to mend, and the snapshot shows this very moment.
        self.mend_epochs(MEND_BUCKETS);
    }

    /// The name of the file `dbfilename` until it is whole.
    pub(super) fn rdb_temp_name(&self) -> Vec<u8> {
        format!("temp-{}.rdb", self.process.pid).into_bytes()
    }

    /// Makes entries agree, after a snapshot that was given up, before the next one takes the data as they are.
    fn mend_epochs(&mut self, buckets: usize) {
        let Some(mut snapshot) = self.persistence.snapshot.take() else {
            return;
        };
        if let Phase::Mending { db, cursor } = &mut snapshot.phase {
            while let Some(at) = self.dbs.get_mut(*db) {
                *cursor = at.mend_epochs(*cursor, buckets);
                if *cursor != 0 {
                    break;
                }
                *db += 1;
            }
            if *db >= self.dbs.len() {
                self.start_walking(&mut snapshot);
            }
        }
        self.persistence.snapshot = Some(snapshot);
    }

    /// The moment whose data the snapshot shows.
    fn start_walking(&mut self, snapshot: &mut Snapshot) {
        let is_aof_base = snapshot.purpose == Purpose::AofBase;
        if is_aof_base {
            self.switch_aof();
        }
        if snapshot.is_commands {
            if self.config.aof_timestamp_enabled {
                aof::put_time(&mut snapshot.buffer, self.now.secs());
            }
            for (_, library) in self.scripting.libraries.iter() {
                aof::put_command(
                    &mut snapshot.buffer,
                    &[&b"FUNCTION"[..], b"LOAD", &library.code[..]],
                );
            }
        } else {
            self.put_rdb_start(&mut snapshot.buffer, is_aof_base);
        }
        let encode: EncodeEntry = match snapshot.is_commands {
            true => aof::put_entry,
            false => rdb::put_entry,
        };
        let policy = self.config.maxmemory_policy;
        let style = Style {
            packs: self.config.rdbcompression,
            idle_since: matches!(policy, Policy::AllkeysLru | Policy::VolatileLru)
                .then_some(self.usage.secs),
            frequency_clock: matches!(policy, Policy::AllkeysLfu | Policy::VolatileLfu)
                .then_some(self.usage),
        };
        for (dbid, db) in (0u32..).zip(&mut self.dbs) {
            if db.is_empty() {
                db.skip_saving();
                continue;
            }
            if !snapshot.is_commands {
                rdb::put_db(&mut snapshot.buffer, dbid);
                rdb::put_sizes(&mut snapshot.buffer, db.len(), db.volatile_len());
                snapshot.db_marked = Some(dbid);
            }
            snapshot.keys_total += db.len();
            db.begin_saving(Saving::new(dbid, style, encode));
        }
        snapshot.dirty_before = self.effects.dirty;
        snapshot.phase = Phase::Walking;
    }

    /// What stands in a file in front of the keys.
    pub(super) fn put_rdb_start(&self, buffer: &mut Vec<u8>, is_aof_base: bool) {
        rdb::put_start(
            buffer,
            &rdb::Facts {
                redis_version: REDIS_VERSION,
                now_secs: self.now.secs(),
                used_memory: self.reading.used_memory,
                is_aof_base,
            },
        );
        for (_, library) in self.scripting.libraries.iter() {
            rdb::put_function(buffer, &library.code, self.config.rdbcompression);
        }
    }

    /// When the snapshot wants to go on; nothing when it waits for the shell, or there is none.
    pub fn snapshot_due(&self) -> Option<UnixMicros> {
        let snapshot = self.persistence.snapshot.as_ref()?;
        match snapshot.phase {
            Phase::Ending { .. } => None,
            Phase::Walking if snapshot.in_flight > IN_FLIGHT_MAX => None,
            _ if self.config.rdb_key_save_delay != 0 => Some(UnixMicros(snapshot.key_due_us)),
            _ => Some(self.now),
        }
    }

    /// Does a bounded piece of the running snapshot.
    pub fn advance_snapshot(&mut self) {
        let Some(snapshot) = &self.persistence.snapshot else {
            // The one before may have been given up.
            return self.save_queued();
        };
        match snapshot.phase {
            Phase::Mending { .. } => self.mend_epochs(MEND_BUCKETS),
            Phase::Walking => self.walk_snapshot(),
            Phase::Ending { .. } => {}
        }
    }

    fn walk_snapshot(&mut self) {
        let Some(mut snapshot) = self.persistence.snapshot.take() else {
            return;
        };
        let mut limit = SLICE;
        let delay = self.config.rdb_key_save_delay;
        let waited_us = self.now.0 - snapshot.key_due_us;
        let due = match delay {
            0 => i64::MAX,
            1.. => waited_us / delay,
            // So many keys take one microsecond together.
            _ => waited_us.saturating_mul(-delay) - snapshot.shared,
        };
        limit.keys = limit.keys.min(usize::try_from(due).unwrap_or(0));
        if snapshot.in_flight > IN_FLIGHT_MAX {
            limit.keys = 0;
        }
        let keys_before = limit.keys;
        let is_through = self.walk_some(&mut snapshot, &mut limit);
        let keys = (keys_before - limit.keys) as i64;
        match delay {
            0 => snapshot.key_due_us = self.now.0,
            1.. => snapshot.key_due_us = snapshot.key_due_us.saturating_add(keys * delay),
            _ => {
                snapshot.shared += keys;
                snapshot.key_due_us += snapshot.shared / -delay;
                snapshot.shared %= -delay;
            }
        }
        if is_through && !snapshot.is_commands {
            rdb::put_end(&mut snapshot.buffer);
        }
        if is_through || snapshot.buffer.len() >= PORTION {
            self.send_portion(&mut snapshot);
        }
        if is_through {
            let ticket = self.next_ticket();
            snapshot.phase = Phase::Ending { ticket };
            self.orders.push_back(Order::EndFile {
                file: snapshot.file,
                ticket,
                has_checksum: !snapshot.is_commands,
                computes_checksum: self.config.rdbchecksum,
                target: snapshot.target.clone(),
            });
        }
        self.persistence.snapshot = Some(snapshot);
    }

    /// Saves up to the limit; says whether that was the last.
    fn walk_some(&mut self, snapshot: &mut Snapshot, limit: &mut Walk) -> bool {
        // What was saved because it was about to change goes first, as far as no value is in the way.
        if snapshot.within.is_none() {
            let mut orphans = std::mem::take(&mut snapshot.orphans);
            for db in self.dbs.iter_mut().chain(&mut orphans) {
                if let Some(saving) = db.saving() {
                    snapshot.collect(saving);
                }
            }
            snapshot.orphans = orphans;
        }
        loop {
            let mut orphans = std::mem::take(&mut snapshot.orphans);
            let within = snapshot.within;
            let is_next = |db: &Db| match within {
                Some(dbid) => db.saving_of() == Some(dbid),
                None => db.is_saving(),
            };
            let next = self
                .dbs
                .iter_mut()
                .chain(&mut orphans)
                .find(|db| is_next(db));
            let Some(db) = next else {
                snapshot.orphans = orphans;
                return true;
            };
            let is_through = db.save_some(limit);
            if let Some(saving) = db.saving() {
                snapshot.collect(saving);
            }
            if is_through && let Some(saving) = db.end_saving() {
                snapshot.keys_done += saving.keys;
            }
            orphans.retain_mut(|db| {
                let is_needed = db.is_saving();
                if !is_needed {
                    let empty = db.successor();
                    self.garbage.add_keys(std::mem::replace(db, empty).table);
                }
                is_needed
            });
            snapshot.orphans = orphans;
            if !is_through {
                return false;
            }
        }
    }

    fn send_portion(&mut self, snapshot: &mut Snapshot) {
        if snapshot.buffer.is_empty() {
            return;
        }
        let bytes = std::mem::take(&mut snapshot.buffer);
        let ticket = self.next_ticket();
        snapshot.in_flight += bytes.len();
        snapshot.portions.push((ticket, bytes.len()));
        self.orders.push_back(Order::WriteFile {
            file: snapshot.file,
            ticket,
            bytes,
        });
    }

    /// Takes an answer of the shell, if it concerns the snapshot; says how the file became, once that is known.
    pub fn settle_snapshot(
        &mut self,
        ticket: u64,
        outcome: &Outcome,
    ) -> Option<(Box<Snapshot>, Ended)> {
        let snapshot = self.persistence.snapshot.as_mut()?;
        let is_end = snapshot.phase == Phase::Ending { ticket };
        if !is_end {
            let at = snapshot.portions.iter().position(|(of, _)| *of == ticket)?;
            let (_, len) = snapshot.portions.swap_remove(at);
            snapshot.in_flight -= len;
        }
        match outcome {
            Err(why) => {
                let why = why.clone();
                Some((self.abort_snapshot()?, Ended::Failed(why)))
            }
            Ok(bytes) if is_end => {
                let bytes = std::str::from_utf8(bytes)
                    .ok()
                    .and_then(|text| text.parse().ok());
                let bytes = bytes.unwrap_or(0);
                let snapshot = self.persistence.snapshot.take()?;
                Some((snapshot, Ended::Whole { bytes }))
            }
            Ok(_) => None,
        }
    }

    /// Gives the running snapshot up; its file goes.
    pub fn abort_snapshot(&mut self) -> Option<Box<Snapshot>> {
        let snapshot = self.persistence.snapshot.take()?;
        for db in &mut self.dbs {
            db.end_saving();
        }
        self.orders.push_back(Order::DropFile {
            file: snapshot.file,
        });
        Some(snapshot)
    }
}
