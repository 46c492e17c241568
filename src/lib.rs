//! Retrace.
#![deny(unsafe_code)]

pub mod border;
pub mod config;
pub mod disk;
pub mod engine;
pub mod journal;
pub mod keyspace;
pub mod net;
pub mod state;
