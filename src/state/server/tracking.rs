//! Tracking: who is to be told that a key has changed, because a copy of it may lie in a cache.
//!
//! Two ways. A client that tracks what it reads stands in the table at each key that it has read since the key last
//! changed; the change takes the key out of the table. A client that broadcasts names prefixes instead, and is told of
//! all changes of keys that begin with one, once a turn. Clients that have gone stay in the table until a key of theirs
//! changes: a connection's number with the client's id tells who is still the same.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::resp::Reply;
use crate::state::client::ClientFlags;
use crate::state::push::{Audience, Message};
use crate::state::{Client, ConnId, Server};

/// Keys above the limit that are taken out of the table at once; more each time that it was not enough.
const EVICT_KEYS: usize = 100;

/// Where RESP2 clients that another one's messages are redirected to hear them.
const CHANNEL: &str = "__redis__:invalidate";

/// What decides about the keys that a client reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// All of them are tracked.
    #[default]
    All,
    /// Those of a command behind CLIENT CACHING YES.
    OptIn,
    /// Those of a command that is not behind CLIENT CACHING NO.
    OptOut,
}

/// What a prefix takes beside its own bytes, with the client and in the index of prefixes.
const PREFIX_BYTES: usize = 64;

/// How one client tracks.
#[derive(Clone, Debug, Default)]
pub struct Mode {
    pub id: u64,
    /// The id of the client that hears it instead, and its connection.
    pub redirect: Option<(u64, ConnId)>,
    /// That one was not there any more when there was something to say.
    pub is_broken: bool,
    pub is_broadcast: bool,
    pub choice: Choice,
    /// It is not told of its own changes.
    pub no_loop: bool,
    pub prefixes: BTreeSet<Arc<[u8]>>,
}

/// Who broadcasts for a prefix, and the keys that changed in this turn, with the ids of those who changed them last.
#[derive(Default)]
struct Prefix {
    clients: BTreeSet<ConnId>,
    changed: BTreeMap<Vec<u8>, Option<u64>>,
}

/// Who tracks what.
#[derive(Default)]
pub struct Tracking {
    modes: BTreeMap<ConnId, Mode>,
    keys: BTreeMap<Box<[u8]>, Vec<(ConnId, u64)>>,
    items: usize,
    prefixes: BTreeMap<Arc<[u8]>, Prefix>,
    /// How many prefixes there are of each length.
    lengths: BTreeMap<usize, usize>,
    has_broadcasts: bool,
    /// The key that was taken out last because there were too many.
    evicted: Box<[u8]>,
    /// How often in a row that was not enough.
    strain: usize,
}

impl Tracking {
    /// Whether a change of a key concerns nobody.
    #[inline]
    pub fn is_idle(&self) -> bool {
        self.keys.is_empty() && self.prefixes.is_empty()
    }

    /// How many clients track.
    pub fn client_len(&self) -> usize {
        self.modes.len()
    }

    /// How many keys are in the table.
    pub fn key_len(&self) -> usize {
        self.keys.len()
    }

    /// How many clients stand at all keys of the table together.
    pub fn item_len(&self) -> usize {
        self.items
    }

    /// How many prefixes are broadcast.
    pub fn prefix_len(&self) -> usize {
        self.prefixes.len()
    }

    /// How a client tracks, if it does.
    pub fn mode(&self, conn: ConnId) -> Option<&Mode> {
        self.modes.get(&conn)
    }

    /// Whether there is something to be said at the end of the turn.
    #[inline]
    pub fn has_broadcasts(&self) -> bool {
        self.has_broadcasts
    }

    /// The client tracks in this way from now on; prefixes that it has already stay.
    pub fn start(&mut self, client: &mut Client, mut mode: Mode) {
        client.flags.set(ClientFlags::TRACKING, true);
        let conn = client.conn;
        for prefix in mode.prefixes.clone() {
            let of_prefix = self.prefixes.entry(prefix).or_insert_with_key(|prefix| {
                *self.lengths.entry(prefix.len()).or_default() += 1;
                Prefix::default()
            });
            of_prefix.clients.insert(conn);
        }
        if let Some(before) = self.modes.remove(&conn) {
            mode.prefixes.extend(before.prefixes);
        }
        let bytes = mode
            .prefixes
            .iter()
            .map(|prefix| PREFIX_BYTES + prefix.len());
        client.prefix_bytes = bytes.sum();
        self.modes.insert(conn, mode);
    }

    /// The client no longer tracks. What the table says of it is forgotten key by key.
    pub fn stop(&mut self, client: &mut Client) {
        let flags = ClientFlags::TRACKING.or(ClientFlags::CACHING);
        client.flags.set(flags, false);
        client.prefix_bytes = 0;
        let Some(mode) = self.modes.remove(&client.conn) else {
            return;
        };
        for prefix in &mode.prefixes {
            if let Some(of_prefix) = self.prefixes.get_mut(prefix) {
                of_prefix.clients.remove(&client.conn);
                if of_prefix.clients.is_empty() {
                    self.prefixes.remove(prefix);
                    if let Some(count) = self.lengths.get_mut(&prefix.len()) {
                        *count -= 1;
                    }
                    self.lengths.retain(|_, count| *count > 0);
                }
            }
        }
    }

    /// The client has read these keys.
    pub fn remember<'a>(&mut self, client: &Client, keys: impl Iterator<Item = &'a [u8]>) {
        let Some(mode) = self.modes.get(&client.conn) else {
            return;
        };
        let caching = client.flags.has(ClientFlags::CACHING);
        let is_wanted = match mode.choice {
            Choice::All => true,
            Choice::OptIn => caching,
            Choice::OptOut => !caching,
        };
        if mode.is_broadcast || !is_wanted {
            return;
        }
        let who = (client.conn, client.id);
        for key in keys {
            if let Some(readers) = self.keys.get_mut(key) {
                if !readers.contains(&who) {
                    readers.push(who);
                    self.items += 1;
                }
            } else {
                self.keys.insert(key.into(), vec![who]);
                self.items += 1;
            }
        }
    }

    /// A key has changed, by the client of this id: those who broadcast a prefix of it are told at the end of the turn.
    fn note_change(&mut self, key: &[u8], changer: Option<u64>) {
        for len in self.lengths.keys().take_while(|len| **len <= key.len()) {
            if let Some(prefix) = self.prefixes.get_mut(&key[..*len]) {
                prefix.changed.insert(key.to_vec(), changer);
                self.has_broadcasts = true;
            }
        }
    }
}

/// What a message says is out of date: these keys, or all.
fn say(keys: Option<&[&[u8]]>) -> Message<impl Fn(&mut Reply)> {
    Message::new(move |reply: &mut Reply| {
        if reply.is_resp3() {
            reply.push(2);
            reply.text("invalidate");
        } else {
            reply.push(3);
            reply.text("message");
            reply.text(CHANNEL);
        }
        match keys {
            Some(keys) => {
                reply.array(keys.len());
                for key in keys {
                    reply.bulk(key);
                }
            }
            None => reply.null(),
        }
    })
}

impl Server {
    /// A key has changed, by the command that runs or by itself: who may have a copy of it is told.
    pub fn invalidate(&mut self, key: &[u8], is_by_command: bool) {
        if !self.tracking.prefixes.is_empty() {
            let changer = self.running.filter(|_| is_by_command);
            self.tracking.note_change(key, changer.map(|(_, id)| id));
        }
        self.invalidate_readers(key, self.running.map(|(conn, _)| conn));
    }

    fn invalidate_readers(&mut self, key: &[u8], changer: Option<ConnId>) {
        let Some(readers) = self.tracking.keys.remove(key) else {
            return;
        };
        self.tracking.items -= readers.len();
        let keys = [key];
        let mut message = say(Some(&keys));
        for (conn, id) in readers {
            let Some(mode) = self.tracking.modes.get(&conn) else {
                continue;
            };
            let is_own = mode.no_loop && changer == Some(conn);
            if mode.id == id && !mode.is_broadcast && !is_own {
                self.tell_tracker(conn, &mut message);
            }
        }
    }

    /// All keys of a database are gone, or of all: whoever tracks is told that nothing it knows is valid.
    pub fn invalidate_all(&mut self) {
        let conns: Vec<ConnId> = self.tracking.modes.keys().copied().collect();
        let mut message = say(None);
        for conn in conns {
            self.tell_tracker(conn, &mut message);
        }
        self.tracking.keys.clear();
        self.tracking.items = 0;
    }

    /// Says what changed in this turn to those who broadcast.
    pub fn broadcast_changes(&mut self) {
        self.tracking.has_broadcasts = false;
        let mut all = Vec::new();
        for prefix in self.tracking.prefixes.values_mut() {
            if !prefix.changed.is_empty() {
                let conns: Vec<ConnId> = prefix.clients.iter().copied().collect();
                all.push((conns, std::mem::take(&mut prefix.changed)));
            }
        }
        for (conns, changed) in all {
            let keys: Vec<&[u8]> = changed.keys().map(Vec::as_slice).collect();
            let mut message = say(Some(&keys));
            for conn in conns {
                let Some(mode) = self.tracking.modes.get(&conn) else {
                    continue;
                };
                if !mode.no_loop {
                    self.tell_tracker(conn, &mut message);
                    continue;
                }
                let own = Some(mode.id);
                let others = changed.iter().filter(|(_, changer)| **changer != own);
                let keys: Vec<&[u8]> = others.map(|(key, _)| key.as_slice()).collect();
                if !keys.is_empty() {
                    self.tell_tracker(conn, &mut say(Some(&keys)));
                }
            }
        }
    }

    /// Sends a message to a client that tracks, or to the one that it has named for that.
    fn tell_tracker<W: Fn(&mut Reply)>(&mut self, conn: ConnId, message: &mut Message<W>) {
        let Some(mode) = self.tracking.modes.get_mut(&conn) else {
            return;
        };
        let Some((id, target)) = mode.redirect else {
            return self.send_to(conn, Audience::Resp3, message);
        };
        if self.clients.is_connected(target, id) {
            return self.send_to(target, Audience::Listeners, message);
        }
        mode.is_broken = true;
        let mut message = Message::new(|reply: &mut Reply| {
            reply.push(2);
            reply.text("tracking-redir-broken");
            reply.int(id as i64);
        });
        self.send_to(conn, Audience::Resp3, &mut message);
    }

    /// Whether the table holds more keys than it may.
    #[inline]
    pub fn tracks_too_much(&self) -> bool {
        let max = usize::try_from(self.config.tracking_table_max_keys).unwrap_or(0);
        max > 0 && self.tracking.key_len() > max
    }

    /// Takes keys out of the table that are above its limit, a bounded number of them, as if they had changed: one
    /// behind the other in the order of their names, so that all have their turn.
    pub fn shrink_tracking(&mut self) {
        let effort = EVICT_KEYS * (self.tracking.strain + 1);
        for _ in 0..effort {
            if !self.tracks_too_much() {
                break;
            }
            let last = std::mem::take(&mut self.tracking.evicted);
            let behind = (
                std::ops::Bound::Excluded(&last[..]),
                std::ops::Bound::Unbounded,
            );
            let keys = &self.tracking.keys;
            let next = keys.range::<[u8], _>(behind).next();
            let Some((key, _)) = next.or_else(|| keys.first_key_value()) else {
                break;
            };
            let key = key.clone();
            self.invalidate_readers(&key, None);
            self.tracking.evicted = key;
        }
        self.tracking.strain = match self.tracks_too_much() {
            true => self.tracking.strain + 1,
            false => 0,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::state::UnixMicros;
    use crate::state::server::Process;

    fn server_with_tracker(mode: Mode) -> Server {
        let mut server = Server::new(Config::default(), Process::default(), 1, UnixMicros(0));
        let mut client = Client::new(ConnId(0), 1, UnixMicros(0));
        client.reply.set_resp3(true);
        server.tracking.start(&mut client, Mode { id: 1, ..mode });
        server.clients.insert(Box::new(client));
        server
    }

    fn read(server: &mut Server, keys: &[&str]) {
        let client = server.clients.take(ConnId(0)).expect("it is there");
        server
            .tracking
            .remember(&client, keys.iter().map(|key| key.as_bytes()));
        server.clients.put_back(client);
    }

    fn heard(server: &Server) -> String {
        let client = server.clients.get(ConnId(0)).expect("it is there");
        let bytes = client.reply.single_slice().expect("one piece");
        String::from_utf8_lossy(bytes).replace("\r\n", " ")
    }

    #[test]
    fn a_reader_is_told_of_the_first_change() {
        let mut server = server_with_tracker(Mode::default());
        read(&mut server, &["a", "b", "a"]);
        assert_eq!(
            (server.tracking.key_len(), server.tracking.item_len()),
            (2, 2)
        );
        for key in ["a", "a", "c"] {
            server.invalidate(key.as_bytes(), true);
        }
        assert_eq!(heard(&server), ">2 $10 invalidate *1 $1 a ");
        assert_eq!(
            (server.tracking.key_len(), server.tracking.item_len()),
            (1, 1)
        );
    }

    #[test]
    fn a_full_table_gives_up_keys_in_turn() {
        let mut server = server_with_tracker(Mode::default());
        server.config.tracking_table_max_keys = 2;
        read(&mut server, &["a", "b", "c", "d"]);
        server.shrink_tracking();
        assert!(!server.tracks_too_much());
        read(&mut server, &["a"]);
        server.shrink_tracking();
        let said = heard(&server);
        let order: Vec<usize> = ["a", "b", "c"]
            .iter()
            .map(|key| said.find(&format!("$1 {key} ")).expect("it was given up"))
            .collect();
        assert!(order.is_sorted(), "{said}");
    }

    #[test]
    fn prefixes_come_and_go_with_their_clients() {
        let prefixes = [&b"a"[..], b"bb"].map(Arc::from).into_iter().collect();
        let mut server = server_with_tracker(Mode {
            is_broadcast: true,
            prefixes,
            ..Mode::default()
        });
        for key in ["ax", "b", "bbx", "ax", "c"] {
            server.invalidate(key.as_bytes(), true);
        }
        assert!(server.tracking.has_broadcasts());
        server.broadcast_changes();
        assert_eq!(
            heard(&server),
            ">2 $10 invalidate *1 $2 ax >2 $10 invalidate *1 $3 bbx "
        );
        let mut client = server.clients.take(ConnId(0)).expect("it is there");
        server.tracking.stop(&mut client);
        assert!(server.tracking.is_idle() && server.tracking.lengths.is_empty());
        assert_eq!(server.tracking.client_len(), 0);
    }
}
