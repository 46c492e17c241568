//! Blocking: what a client waits for that found nothing to pop or to read.
//!
//! A handler that cannot serve its client calls [`Ctx::block`](crate::command::Ctx::block) and returns without a
//! reply. The engine keeps the command and runs it again when one of the keys may serve it: the handler then
//! finds what it looks for, or blocks again in its old place in the queue.

use crate::keyspace::entry::Kind;

/// What is replied when the time is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReply {
    Null,
    NullArray,
}

/// What a handler asks for when it blocks.
#[derive(Clone, Debug)]
pub struct Wait {
    /// Any of these keys in the client's database may serve the command.
    pub keys: Vec<Vec<u8>>,
    /// A key serves only when it holds a value of this type.
    pub kind: Kind,
    /// The command runs again at any change of a key, its removal included, not only when it holds `kind`.
    pub on_any_change: bool,
    /// `None` waits for ever. Only the first time counts; a command that blocks again keeps its deadline.
    pub deadline_ms: Option<i64>,
    pub on_timeout: TimeoutReply,
    /// What the handler wants to know when it runs again, see [`Ctx::memo`](crate::command::Ctx::memo).
    pub memo: Vec<u64>,
}
