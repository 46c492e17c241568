//! Multi: a transaction that a client queues and runs, and the keys that it watches.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::resp::{Args, OwnedArgs};
use crate::state::effects::Queue;
use crate::state::flags::Flags;
use crate::state::{CommandId, ConnId};

/// What a watched key takes beside its own bytes, with the client and in the index of watched keys.
const WATCH_BYTES: usize = 128;

/// What a queued argument counts beside its own bytes.
const ARG_BYTES: usize = 8;

/// What a client has said since MULTI, and then what EXEC has still to run of it.
#[derive(Default)]
pub struct Multi {
    pub queue: VecDeque<(CommandId, OwnedArgs)>,
    /// The flags of all queued commands together.
    pub flags: Flags,
    /// Memory that the queue takes.
    pub bytes: usize,
    /// What of that are the commands' arguments, as `client-query-buffer-limit` counts them: bytes not yet executed.
    pub args_bytes: usize,
    /// A command was refused on its way into the queue, so EXEC will run none.
    pub is_aborted: bool,
    /// It stands still in its middle, or has done so.
    pub halt: Option<Box<Halt>>,
}

/// What a transaction that stands still leaves for its end.
#[derive(Default)]
pub struct Halt {
    /// EXEC as it came.
    pub argv: OwnedArgs,
    /// What it has caused so far, and what is not to be sent before the rest has run.
    pub effects: Queue,
}

impl Multi {
    /// Puts a command behind the others.
    pub fn queue(&mut self, id: CommandId, args: Args<'_>, flags: Flags) {
        self.args_bytes += args.total_bytes() + args.len() * ARG_BYTES;
        let args = OwnedArgs::new(args);
        self.bytes += size_of::<(CommandId, OwnedArgs)>() + args.memory_bytes();
        self.queue.push_back((id, args));
        self.flags = self.flags.or(flags);
    }
}

/// Memory that a client's watching a key takes.
pub fn watch_bytes(key: &[u8]) -> usize {
    WATCH_BYTES + 2 * key.len()
}

/// Who watches which keys, and for whom one of them has changed.
#[derive(Default)]
pub struct Watchers {
    watched: BTreeMap<(u32, Vec<u8>), BTreeSet<ConnId>>,
    dirty: BTreeSet<ConnId>,
    clients: usize,
}

impl Watchers {
    /// Whether nobody watches a key.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// How many keys are watched.
    pub fn key_len(&self) -> usize {
        self.watched.len()
    }

    /// How many clients watch keys.
    pub fn client_len(&self) -> usize {
        self.clients
    }

    /// The client watches a key from now on; it watches `others` already. Says whether that key is new to it.
    pub fn watch(
        &mut self,
        conn: ConnId,
        dbid: u32,
        key: &[u8],
        others: &mut Vec<(u32, Vec<u8>)>,
    ) -> bool {
        let place = (dbid, key.to_vec());
        if !self.watched.entry(place.clone()).or_default().insert(conn) {
            return false;
        }
        self.clients += usize::from(others.is_empty());
        others.push(place);
        true
    }

    /// The client watches nothing any more.
    pub fn unwatch(&mut self, conn: ConnId, keys: &mut Vec<(u32, Vec<u8>)>) {
        self.clients -= usize::from(!keys.is_empty());
        for place in keys.drain(..) {
            if let Some(conns) = self.watched.get_mut(&place) {
                conns.remove(&conn);
                if conns.is_empty() {
                    self.watched.remove(&place);
                }
            }
        }
        self.dirty.remove(&conn);
    }

    /// Whether a key that the client watches has changed.
    pub fn is_dirty(&self, conn: ConnId) -> bool {
        self.dirty.contains(&conn)
    }

    /// A key has changed.
    pub fn signal(&mut self, dbid: u32, key: &[u8]) {
        if let Some(conns) = self.watched.get(&(dbid, key.to_vec())) {
            self.dirty.extend(conns);
        }
    }

    /// The watched keys of a database.
    pub fn keys_of(&self, dbid: u32) -> Vec<Vec<u8>> {
        let keys = self.watched.range((dbid, Vec::new())..);
        let of_db = keys.take_while(|((of, _), _)| *of == dbid);
        of_db.map(|((_, key), _)| key.clone()).collect()
    }
}
