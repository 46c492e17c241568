//! Look: what a report of a crash sees of the server, while the main thread stands still.
//!
//! Invariants:
//! 1. `LOOKED_AT` points to a pointer to the server while [`shown`] runs, on the main thread, and is null otherwise.
//! 2. While [`look`] runs, the main thread stands still in the handler of a signal that ends the process, and never goes
//!    on with what it was doing ([`trap::is_stopped`]).
#![allow(
    unsafe_code,
    reason = "a look at what a thread was doing that stands still in a handler; there is no safe interface to it"
)]

use super::driver::Driver;
use crate::engine::Engine;
use crate::os::trap::{self, Incident};
use crate::resp::Args;
use crate::state::Client;
use std::ptr;
use std::sync::atomic::AtomicPtr;
use std::sync::atomic::Ordering::SeqCst;

/// What a report asks the server for.
pub trait Witness {
    fn driver(&mut self) -> &mut Driver;

    /// The process is about to end, out of order: the journal gets what led to it. For that, nothing is allocated.
    fn end_at_once(&mut self);

    /// After a crash: what is not to be left in the file system is removed.
    fn remove_files(&mut self);
}

static LOOKED_AT: AtomicPtr<*mut dyn Witness> = AtomicPtr::new(ptr::null_mut());

/// Runs something with the server; meanwhile a report of a crash may look at it.
pub fn shown<S: Witness + 'static, R>(server: &mut S, run: impl FnOnce(&mut S) -> R) -> R {
    struct Shown;
    impl Drop for Shown {
        fn drop(&mut self) {
            LOOKED_AT.store(ptr::null_mut(), SeqCst);
        }
    }
    let server = ptr::from_mut(server);
    let mut witness: *mut dyn Witness = server;
    LOOKED_AT.store(&raw mut witness, SeqCst);
    let _shown = Shown;
    // SAFETY: the pointer comes from the only reference to the server, which is not used meanwhile.
    run(unsafe { &mut *server })
}

/// Whether the calling thread is in the middle of [`shown`].
pub fn is_shown_here() -> bool {
    trap::is_main() && !LOOKED_AT.load(SeqCst).is_null()
}

/// The main thread stands still. Only a look has this.
pub struct Still(());

/// Looks at the server while the main thread stands still because of a crash; for the watch only.
pub fn look<R>(incident: &Incident, see: impl FnOnce(&mut dyn Witness, &Still) -> R) -> Option<R> {
    let place = LOOKED_AT.load(SeqCst);
    if !trap::is_stopped(incident) || place.is_null() {
        return None;
    }
    // SAFETY: the server is there (invariant 1), and what the main thread did before its handler happened before this, by
    // way of the note. The main thread has references of its own to the server, so by the letter this one may not be
    // made. What that rule protects is code that goes on to use its references, and there is none: the main thread never
    // gets back to it (invariant 2), whatever is changed here. What it had in registers is missing, and the server may be
    // in the middle of a change: then a look may fail, even with a crash, and on that the report ends.
    Some(see(unsafe { &mut **place }, &Still(())))
}

/// Looks at the command that runs, if one does.
pub fn look_at_running<R>(
    _: &Still,
    engine: &Engine,
    see: impl FnOnce(&Client, Args<'_>) -> R,
) -> Option<R> {
    let (client, args) = engine.running_at()?;
    let client = ptr::with_exposed_provenance::<Client>(client);
    let args = ptr::with_exposed_provenance::<Args<'_>>(args);
    // SAFETY: the engine has made the addresses from references, and keeps them as long as these live (`Engine::call`):
    // both are on the stack of the main thread or below it, and that stands still. For the rest, see `look`.
    Some(unsafe { see(&*client, *args) })
}
