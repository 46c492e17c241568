//! Log: commands and logins that were refused lately, equal ones as one entry.

use std::collections::VecDeque;

/// Entries that are looked at for an equal one.
const LOOK_BACK: usize = 10;

/// What is further apart is not put together.
const GROUPING_MS: i64 = 60_000;

/// What was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    Command,
    Key,
    Channel,
    Auth,
}

impl Reason {
    pub fn name(self) -> &'static str {
        match self {
            Reason::Command => "command",
            Reason::Key => "key",
            Reason::Channel => "channel",
            Reason::Auth => "auth",
        }
    }
}

/// Where it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    Toplevel,
    Multi,
    Script,
    Module,
}

impl Context {
    pub fn name(self) -> &'static str {
        match self {
            Context::Toplevel => "toplevel",
            Context::Multi => "multi",
            Context::Script => "lua",
            Context::Module => "module",
        }
    }
}

/// One refusal, or several equal ones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub count: u64,
    pub reason: Reason,
    pub context: Context,
    /// The command, key or channel.
    pub object: Vec<u8>,
    pub username: Vec<u8>,
    /// The client's line, without the break at its end.
    pub client_info: String,
    pub id: u64,
    pub created_ms: i64,
    pub updated_ms: i64,
}

impl Entry {
    fn is_like(&self, other: &Entry) -> bool {
        self.reason == other.reason
            && self.context == other.context
            && self.updated_ms.abs_diff(other.updated_ms) <= GROUPING_MS as u64
            && self.object == other.object
            && self.username == other.username
    }
}

/// The entries, newest first.
#[derive(Clone, Debug, Default)]
pub struct Log {
    entries: VecDeque<Entry>,
    next_id: u64,
}

impl Log {
    /// Adds a refusal; of its fields `count`, `id` and `created_ms` are filled in here.
    pub fn add(&mut self, new: Entry, len_max: usize) {
        if len_max == 0 {
            self.entries.clear();
            return;
        }
        let mut lately = self.entries.iter().take(LOOK_BACK);
        let like = lately.position(|entry| entry.is_like(&new));
        let entry = match like.and_then(|at| self.entries.remove(at)) {
            Some(old) => Entry {
                count: old.count + 1,
                id: old.id,
                created_ms: old.created_ms,
                ..new
            },
            None => {
                let id = self.next_id;
                self.next_id += 1;
                Entry {
                    count: 1,
                    id,
                    created_ms: new.updated_ms,
                    ..new
                }
            }
        };
        self.entries.push_front(entry);
        self.entries.truncate(len_max);
    }

    /// The entries, newest first.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Entry> {
        self.entries.iter()
    }

    /// Forgets all entries; numbers go on.
    pub fn reset(&mut self) {
        self.entries.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str, at_ms: i64) -> Entry {
        Entry {
            count: 0,
            reason: Reason::Key,
            context: Context::Toplevel,
            object: object.into(),
            username: b"u".to_vec(),
            client_info: String::new(),
            id: 0,
            created_ms: 0,
            updated_ms: at_ms,
        }
    }

    fn shown(log: &Log) -> String {
        let entries = log.iter().map(|entry| {
            let object = String::from_utf8_lossy(&entry.object);
            format!("{object}:{}x{}", entry.id, entry.count)
        });
        entries.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn equal_refusals_within_a_minute_are_one() {
        let mut log = Log::default();
        for (object, at_ms) in [("a", 0), ("b", 1), ("a", 60_000), ("a", 120_001)] {
            log.add(entry(object, at_ms), 128);
        }
        assert_eq!(shown(&log), "a:2x1 a:0x2 b:1x1");
        log.reset();
        log.add(entry("c", 0), 128);
        assert_eq!(shown(&log), "c:3x1");
    }

    #[test]
    fn the_log_holds_no_more_than_it_may() {
        let mut log = Log::default();
        for object in ["a", "b", "c"] {
            log.add(entry(object, 0), 2);
        }
        assert_eq!(shown(&log), "c:2x1 b:1x1");
        log.add(entry("d", 0), 0);
        assert_eq!(shown(&log), "");
    }
}
