//! Retrace: a drop-in Redis server for development and test.
//!
//! The house, from the street to the cellar; imports run downwards:
//!
//! - [`net`], [`disk`]: the shell. Sockets, signals, files, clock. [`journal`] records what the shell feeds in.
//! - [`check`]: what is in a file on disk, and whether it is sound.
//! - [`os`]: the process, its clock and its crashes, for the rest of the shell.
//! - [`border`]: what crosses between the shell and the engine.
//! - [`engine`]: the deterministic state machine: clients, the way of a request, gates, ticks.
//! - [`command`]: specs and handlers, one file for each family.
//! - [`acl`]: users, what each may do, and what was refused.
//! - [`state`]: what handlers see: server, clients, effects, counters.
//! - [`script`]: the Lua host. [`persist`]: values in the RDB format.
//! - [`keyspace`], [`config`], [`resp`], [`types`]: data, parameters, wire protocol, data structures.
//! - [`ids`]: the numbers by which all of them speak of the same things.

#![deny(unsafe_code)]

pub mod acl;
pub mod border;
pub mod check;
pub mod command;
pub mod config;
pub mod disk;
pub mod engine;
pub mod ids;
pub mod journal;
pub mod keyspace;
pub mod net;
pub mod os;
pub mod persist;
pub mod resp;
pub mod script;
pub mod state;
pub mod types;
