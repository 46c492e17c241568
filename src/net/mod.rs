//! The shell: sockets, the clock, signals, the log. It learns things and tells the engine; it decides nothing.
//!
//! Lives here: the poll loop, listeners, connections, signals, start and end of the server.
//! May not: know a command or look into the keyspace.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the shell: sockets, clock and environment enter here"
)]

pub mod checkup;
pub mod crash;
pub mod driver;
pub mod listen;
pub mod log;
mod look;
mod recording;
pub mod serve;
pub mod settings;
pub mod shell;
pub mod signals;
pub mod stream;
mod supervisor;
mod thrift;
mod title;
