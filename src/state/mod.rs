//! State: what the server knows, as command handlers see it.
//!
//! Lives here: the clients, the counters, the logs of slow commands and latency events, the queues of what is
//! to leave the engine. All of them are parts of the [`Server`], and what they do together, by topic, has a file each below
//! `server`: the operations on keys, for one. May not: decide what a command means (`command`), or when one runs
//! (`engine`).

pub mod blocking;
pub mod client;
pub mod clients;
pub mod debug;
pub mod effects;
pub mod error;
pub mod flags;
pub mod histogram;
pub mod latency;
pub mod meter;
pub mod multi;
pub mod restraint;
pub mod rng;
pub mod secret;
pub mod server;
pub mod slowlog;
pub mod stats;
pub mod subscriptions;
pub mod waiter;

pub use client::{Client, ClientFlags, waiting};
pub use clients::Clients;
pub use effects::{Event, EventClass};
pub use error::CommandError;
pub use rng::Rng;
pub use server::keys::Key;
pub use server::{
    Server, aof, eviction, fields, hotkeys, keys, loading, monitor, persistence, pubsub, push,
    scripting, slots, snapshot, tracking,
};
pub use waiting::Waiting;

pub use crate::ids::{CommandId, ConnId, UnixMicros};
