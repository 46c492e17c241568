//! Waiter: a client whose command waits for files, and what follows when that is over.

use crate::border::Outcome;
use crate::state::{CommandError, ConnId};

/// A client that waits for an end.
pub type Waiter = (ConnId, u64);

/// What a client is told whose command waited for files.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Ok,
    Error(CommandError),
    /// What it waited for has gone like this, and what was put off goes on.
    Outcome(Outcome),
    /// Whether what it did is on the disk here (WAITAOF); replicas have none of it.
    Synced {
        local: u64,
    },
}

/// What is done when everything is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The server has started.
    Start,
    /// A client's DEBUG RELOAD is done.
    Reload(Waiter),
    /// A client's DEBUG LOADAOF is done.
    LoadAof(Waiter),
}
