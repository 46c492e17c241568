//! Retrace.
#![deny(unsafe_code)]

pub mod config;
pub mod types;
