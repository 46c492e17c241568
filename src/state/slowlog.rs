//! The log of slow commands.

use std::collections::VecDeque;

/// The most arguments that are kept, and the most bytes of one.
const ARGS_MAX: usize = 32;
const ARG_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    pub id: u64,
    pub unix_secs: i64,
    pub duration_us: u64,
    pub argv: Vec<Vec<u8>>,
    pub addr: String,
    pub name: Vec<u8>,
}

/// The latest slow commands, newest first.
#[derive(Clone, Debug, Default)]
pub struct SlowLog {
    pub entries: VecDeque<SlowEntry>,
    next_id: u64,
}

impl SlowLog {
    /// Adds an entry and drops what is beyond `max`.
    pub fn push(&mut self, mut entry: SlowEntry, max: usize) {
        if max == 0 {
            return; // not even its number is used up
        }
        entry.id = self.next_id;
        self.next_id += 1;
        self.entries.push_front(entry);
        self.trim(max);
    }

    /// Drops the oldest entries beyond `max`.
    pub fn trim(&mut self, max: usize) {
        self.entries.truncate(max);
    }
}

/// The arguments as the log keeps them: long lists and long strings are cut, with a remark of how much.
pub fn trim_args<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>) -> Vec<Vec<u8>> {
    let argc = args.len();
    let shown = if argc > ARGS_MAX { ARGS_MAX - 1 } else { argc };
    let mut out: Vec<Vec<u8>> = args.take(shown).map(trim_arg).collect();
    if argc > shown {
        out.push(format!("... ({} more arguments)", argc - shown).into_bytes());
    }
    out
}

fn trim_arg(arg: &[u8]) -> Vec<u8> {
    match arg.get(..ARG_BYTES_MAX) {
        Some(head) if arg.len() > ARG_BYTES_MAX => {
            let more = arg.len() - ARG_BYTES_MAX;
            let mut out = head.to_vec();
            out.extend_from_slice(format!("... ({more} more bytes)").as_bytes());
            out
        }
        _ => arg.to_vec(),
    }
}
