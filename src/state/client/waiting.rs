//! Waiting: why a client cannot go on, and what of it has begun meanwhile.
//!
//! A client that cannot go on has one reason, and a stack of at most three steps that continue when the reason is gone.
//! Reasons that hold many at a time (a pause, a transaction in its middle, a save that all wait for) are the server's
//! ([`Restraint`](crate::state::restraint::Restraint), [`Pause`](crate::state::server::Pause)) and become a client's
//! own when it comes to them. Lives here: the reasons, the stack, and the only two functions by which a client enters and
//! leaves them. May not: decide what follows (`engine/waiting.rs`).

use crate::state::blocking::Wait;
use crate::state::client::{Client, Parked};
use crate::state::multi::Multi;

/// Why a client cannot go on.
#[derive(Debug)]
pub enum Waiting {
    /// The shell's answer to a [`Want`](crate::border::Want): in front of its command, behind it, or in the middle of
    /// its script. Nothing else happens before it.
    Want,
    /// What its command has asked for and others do: an order of the shell, a save, a load, the freeing of a flush. The
    /// reply comes with the answer.
    Answer,
    /// One of these keys, or the end of its time.
    Keys(Box<Wait>),
    /// Its script runs for long, and goes on by one tick in each turn.
    Turn,
    /// CLIENT PAUSE is over.
    Pause,
    /// Another's transaction or script that stands still in its middle has come to its end.
    Others,
    /// A save, or the end of the server, that concerns all data is through.
    Save,
    /// Its socket has taken most of its output.
    Output,
}

impl Waiting {
    /// Whether the reason holds many clients at a time, and ends for all of them at once.
    pub fn is_shared(&self) -> bool {
        matches!(self, Waiting::Pause | Waiting::Others | Waiting::Save)
    }

    /// Whether the client's socket is read all the same, so that what it sends is there when its wait ends, and its going
    /// away is seen.
    pub fn lets_read(&self) -> bool {
        match self {
            Waiting::Keys(_) | Waiting::Answer => true,
            Waiting::Pause | Waiting::Others | Waiting::Save => true,
            // Nothing happens before the answer; a script runs as if it stood in a call; its output is what is too much.
            Waiting::Want | Waiting::Turn | Waiting::Output => false,
        }
    }
}

/// What a client has begun and not brought to its end. The topmost step goes on first: the script, then the transaction
/// that called it, then the command itself.
#[derive(Default)]
pub struct Begun {
    /// Top: the command's script stands still. On its way there, the handler has prepared one.
    pub script: bool,
    /// Middle: the transaction that EXEC runs.
    pub exec: Option<Box<Multi>>,
    /// Bottom: the command, whose bytes stand first in the query buffer. It is blocked, or its script stands still, or it
    /// has run and its duration is not known yet.
    pub command: Option<Parked>,
    /// What the command has waited for that runs again now.
    pub waited: Option<Box<Wait>>,
}

impl Client {
    /// The client cannot go on for this reason. It has none yet: what it waits for otherwise has to end first.
    #[inline]
    pub fn wait_for(&mut self, waiting: Waiting) {
        debug_assert!(
            self.waiting.is_none(),
            "it waits already: {:?}, and now {waiting:?}",
            self.waiting
        );
        self.waiting = Some(waiting);
    }

    /// The reason is gone; says which it was.
    #[inline]
    pub fn stop_waiting(&mut self) -> Option<Waiting> {
        self.waiting.take()
    }

    /// Why the client cannot go on, if it cannot.
    #[inline]
    pub fn waiting(&self) -> Option<&Waiting> {
        self.waiting.as_ref()
    }

    /// Whether the client cannot go on.
    #[inline]
    pub fn is_waiting(&self) -> bool {
        self.waiting.is_some()
    }

    /// Whether it waits for the answer to what its command has asked for.
    #[inline]
    pub fn awaits_answer(&self) -> bool {
        matches!(self.waiting, Some(Waiting::Answer))
    }

    /// What it waits for, if that is a key.
    #[inline]
    pub fn blocked(&self) -> Option<&Wait> {
        match &self.waiting {
            Some(Waiting::Keys(wait)) => Some(wait),
            _ => None,
        }
    }

    /// Whether it counts as blocked in INFO: by keys, or by what holds many.
    pub fn counts_as_blocked(&self) -> bool {
        self.waiting
            .as_ref()
            .is_some_and(|waiting| waiting.is_shared() || matches!(waiting, Waiting::Keys(_)))
    }

    /// Whether CLIENT LIST shows it as blocked, and no timeout for idle clients ends it: it waits for others, not for the
    /// machine.
    pub fn is_held(&self) -> bool {
        self.counts_as_blocked() || self.awaits_answer()
    }
}
