//! Retrace.

#![deny(unsafe_code)]

pub mod keyspace;
