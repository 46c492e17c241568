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
pub mod waiting;

pub use client::{Client, ClientFlags, Clients};
pub use effects::{Event, EventClass};
pub use error::CommandError;
pub use keys::Key;
pub use rng::Rng;
pub use server::Server;
pub use waiting::Waiting;

/// Names a connection: the engine's slot for it, reused after it is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// Names a command or subcommand in the registry; stable for one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u16);

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// Whole milliseconds since the epoch.
    #[inline]
    pub fn ms(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole seconds since the epoch.
    #[inline]
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Microseconds from `earlier` to here; zero when the clock was set back.
    #[inline]
    pub fn since(self, earlier: UnixMicros) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
