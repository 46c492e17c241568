//! State: what the server knows, as command handlers see it.
//!
//! Lives here: the clients, the counters, the logs of slow commands and latency events, the queues of what is
//! to leave the engine, and the operations on keys that go with all of these ([`Server`]). May not: decide what
//! a command means (`command`), or when one runs (`engine`).

pub mod aof;
pub mod blocking;
pub mod client;
pub mod debug;
pub mod effects;
pub mod error;
pub mod eviction;
pub mod fields;
pub mod flags;
pub mod histogram;
pub mod hotkeys;
pub mod keys;
pub mod latency;
pub mod loading;
pub mod meter;
pub mod monitor;
pub mod multi;
pub mod persistence;
pub mod pubsub;
pub mod push;
pub mod rng;
pub mod scripting;
pub mod secret;
pub mod server;
pub mod slots;
pub mod slowlog;
pub mod snapshot;
pub mod stats;
pub mod tracking;

pub use client::{Client, ClientFlags, Clients};
pub use effects::{Event, EventClass};
pub use error::CommandError;
pub use keys::Key;
pub use rng::Rng;
pub use server::Server;

pub use crate::ids::{CommandId, ConnId, UnixMicros};
