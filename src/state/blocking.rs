//! Blocking: what a client waits for that found nothing to pop or to read.
//!
//! A handler that cannot serve its client calls [`Ctx::block`](crate::command::Ctx::block) and returns without a
//! reply. The engine keeps the command and runs it again when one of the keys may serve it: the handler then
//! finds what it looks for, or blocks again in its old place in the queue.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::keyspace::entry::Kind;
use crate::state::ConnId;

/// What a handler asks for when it blocks.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Any of these keys in the client's database may serve the command.
    pub keys: Vec<Vec<u8>>,
    /// A key serves only when it holds a value of this type.
    pub kind: Kind,
    /// The command runs again at any change of a key, its removal included, not only when it holds `kind`.
    pub on_any_change: bool,
    /// The command also runs again at this time, the first millisecond at which it may find something even if no key
    /// has changed; `None` if only a change can help.
    pub wake_ms: Option<i64>,
    /// `None` waits for ever. Only the first time counts; a command that blocks again keeps its deadline.
    pub deadline_ms: Option<i64>,
    /// The reply is one element, so that in a transaction, where nothing waits, it is a null. Otherwise, and always
    /// when the time is up, it is a null array.
    pub is_single: bool,
    /// What the handler wants to know when it runs again, see [`Ctx::memo`](crate::command::Ctx::memo).
    pub memo: Vec<u64>,
}

/// The number of a database and a key in it.
type Place = (u32, Vec<u8>);

/// Who waits for which keys, which of those keys have changed, and when the waits end.
#[derive(Default)]
pub struct Waiters {
    /// By database and key, those who wait, in the order in which they came.
    queues: BTreeMap<Place, VecDeque<ConnId>>,
    deadlines: BTreeSet<(i64, ConnId)>,
    /// When commands run again by themselves.
    wakes: BTreeSet<(i64, ConnId)>,
    /// Keys that changed and are waited for, in the order of their changes, each once.
    ready: VecDeque<Place>,
    blocked: usize,
}

impl Waiters {
    /// Whether nobody waits.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.queues.is_empty()
    }

    /// How many clients wait.
    pub fn blocked_len(&self) -> usize {
        self.blocked
    }

    /// How many keys are waited for.
    pub fn key_len(&self) -> usize {
        self.queues.len()
    }

    /// How many clients wait no longer than until a deadline.
    pub fn deadline_len(&self) -> usize {
        self.deadlines.len()
    }

    /// Puts a client behind those who wait already, or leaves it in its place.
    pub fn add(&mut self, dbid: u32, conn: ConnId, wait: &Wait) {
        // A key may be named twice.
        let mut is_new = false;
        for key in &wait.keys {
            let queue = self.queues.entry((dbid, key.clone())).or_default();
            if !queue.contains(&conn) {
                queue.push_back(conn);
                is_new = true;
            }
        }
        if is_new {
            self.blocked += 1;
            self.deadlines.extend(wait.deadline_ms.map(|at| (at, conn)));
        }
        self.wakes.extend(wait.wake_ms.map(|at| (at, conn)));
    }

    /// Takes a client out of all queues.
    pub fn remove(&mut self, dbid: u32, conn: ConnId, wait: &Wait) {
        for key in &wait.keys {
            let place = (dbid, key.clone());
            if let Some(queue) = self.queues.get_mut(&place) {
                queue.retain(|of| *of != conn);
                if queue.is_empty() {
                    self.queues.remove(&place);
                }
            }
        }
        self.blocked -= 1;
        if let Some(at) = wait.deadline_ms {
            self.deadlines.remove(&(at, conn));
        }
        self.forget_wake(conn, wait);
    }

    /// A client's command is about to run again, whatever woke it.
    pub fn forget_wake(&mut self, conn: ConnId, wait: &Wait) {
        if let Some(at) = wait.wake_ms {
            self.wakes.remove(&(at, conn));
        }
    }

    /// A key has changed: who waits for it will be looked at after the command.
    pub fn signal(&mut self, dbid: u32, key: &[u8]) {
        let place = (dbid, key.to_vec());
        if self.queues.contains_key(&place) && !self.ready.contains(&place) {
            self.ready.push_back(place);
        }
    }

    /// All keys of a database may have changed.
    pub fn signal_db(&mut self, dbid: u32) {
        let first = (dbid, Vec::new());
        let keys = self.queues.range(first..).map(|(place, _)| place);
        let of_db: Vec<_> = keys.take_while(|(of, _)| *of == dbid).cloned().collect();
        for (dbid, key) in of_db {
            self.signal(dbid, &key);
        }
    }

    /// Whether a key waits to be looked at.
    #[inline]
    pub fn has_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next key that changed, with those who wait for it.
    pub fn take_ready(&mut self) -> Option<(Place, Vec<ConnId>)> {
        let place = self.ready.pop_front()?;
        let waiting = self
            .queues
            .get(&place)
            .map(|queue| queue.iter().copied().collect());
        Some((place, waiting.unwrap_or_default()))
    }

    /// The clients whose deadline has passed, the earliest first.
    pub fn due(&self, now_ms: i64) -> Vec<ConnId> {
        let passed = self.deadlines.iter().take_while(|(at, _)| *at < now_ms);
        passed.map(|(_, conn)| *conn).collect()
    }

    /// When the first wait ends.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// The clients whose commands are to run again by now, the earliest first.
    pub fn woken(&self, now_ms: i64) -> Vec<ConnId> {
        let passed = self.wakes.iter().take_while(|(at, _)| *at <= now_ms);
        passed.map(|(_, conn)| *conn).collect()
    }

    /// When the first command is to run again by itself.
    pub fn next_wake_ms(&self) -> Option<i64> {
        self.wakes.first().map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(keys: &[&str], deadline_ms: Option<i64>) -> Wait {
        Wait {
            keys: keys.iter().map(|key| key.as_bytes().to_vec()).collect(),
            kind: Kind::List,
            on_any_change: false,
            wake_ms: None,
            deadline_ms,
            is_single: false,
            memo: Vec::new(),
        }
    }

    #[test]
    fn who_came_first_is_first_and_keeps_its_place() {
        let mut waiters = Waiters::default();
        let (one, two) = (wait(&["a", "b", "a"], Some(7)), wait(&["b"], Some(5)));
        waiters.add(0, ConnId(1), &one);
        waiters.add(0, ConnId(2), &two);
        waiters.add(0, ConnId(1), &one);
        assert_eq!(
            (waiters.blocked_len(), waiters.next_deadline_ms()),
            (2, Some(5))
        );
        waiters.signal(1, b"b");
        waiters.signal(0, b"c");
        assert!(!waiters.has_ready());
        waiters.signal(0, b"b");
        waiters.signal(0, b"a");
        waiters.signal(0, b"b");
        let (place, conns) = waiters.take_ready().expect("a key changed");
        assert_eq!(
            (place.1, conns),
            (b"b".to_vec(), vec![ConnId(1), ConnId(2)])
        );
        assert!(waiters.take_ready().is_some() && waiters.take_ready().is_none());
        waiters.remove(0, ConnId(1), &one);
        waiters.remove(0, ConnId(2), &two);
        assert!(waiters.is_empty() && waiters.next_deadline_ms().is_none());
        assert_eq!(waiters.blocked_len(), 0);
    }

    #[test]
    fn a_wait_that_wakes_by_itself_does_so_until_it_runs_again() {
        let mut waiters = Waiters::default();
        let at = |wake_ms| Wait {
            wake_ms: Some(wake_ms),
            ..wait(&["a"], None)
        };
        waiters.add(0, ConnId(1), &at(9));
        waiters.add(0, ConnId(2), &at(7));
        assert_eq!(
            (waiters.next_wake_ms(), waiters.woken(6)),
            (Some(7), vec![])
        );
        assert_eq!(waiters.woken(9), [ConnId(2), ConnId(1)]);
        waiters.forget_wake(ConnId(2), &at(7));
        waiters.add(0, ConnId(2), &at(20));
        assert_eq!(
            (waiters.blocked_len(), waiters.woken(9)),
            (2, vec![ConnId(1)])
        );
        waiters.remove(0, ConnId(1), &at(9));
        assert_eq!(waiters.next_wake_ms(), Some(20));
    }

    #[test]
    fn a_database_is_signalled_alone() {
        let mut waiters = Waiters::default();
        for dbid in 0..3 {
            waiters.add(dbid, ConnId(dbid), &wait(&["k"], None));
        }
        waiters.signal_db(1);
        assert_eq!(waiters.take_ready().map(|(place, _)| place.0), Some(1));
        assert!(!waiters.has_ready());
    }
}
