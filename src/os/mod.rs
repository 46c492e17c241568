//! Os: what the operating system gives and takes, for the rest of the shell: the clock, readings and limits of the process,
//! its CPUs, and signals that tell of a crash.
//!
//! May not: know sockets, files of data or the engine.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the shell: clock and environment enter here"
)]

pub mod process;
pub mod system;
pub mod trap;

use std::io;

/// The system's own text for an error, without the number that Rust adds.
pub fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rfind(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}
