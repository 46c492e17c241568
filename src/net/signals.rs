//! Signals, brought into the poll loop through sockets; and the end, when the loop does not take them.

use super::log as server_log;
use crate::border::{INSISTS, Signal};
use crate::os::trap;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::{flag, low_level};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

/// A loop that turns has taken a signal by then.
const GRACE: Duration = Duration::from_millis(100);

/// Listens for SIGINT and SIGTERM. A SIGINT that comes while the loop has not taken a signal before it ends the process,
/// however long the loop hangs.
pub struct Signals {
    pending: Arc<Pending>,
    interrupt: UnixStream,
    terminate: UnixStream,
}

/// What the thread beside the loop has to know.
#[derive(Default)]
struct Pending {
    /// A SIGTERM has come that the loop has not taken.
    terminate: Arc<AtomicBool>,
    /// How often the loop has taken signals.
    taken: AtomicU64,
}

impl Signals {
    /// Takes the signals over; `tokens` are for the interrupt and the terminate signal.
    pub fn register(registry: &Registry, tokens: [Token; 2]) -> io::Result<Signals> {
        let pending = Arc::new(Pending::default());
        flag::register(SIGTERM, Arc::clone(&pending.terminate))?;
        let (ear, sender) = std::os::unix::net::UnixStream::pair()?;
        low_level::pipe::register(SIGINT, std::os::fd::OwnedFd::from(sender))?;
        let seen = Arc::clone(&pending);
        let beside = std::thread::Builder::new().name("signals".to_owned());
        beside.spawn(move || listen(ear, &seen))?;
        // A lost terminal does not end a server, and who asks a real one's threads for their stacks does not either.
        for signal in [SIGHUP, SIGUSR2] {
            flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let [interrupt, terminate] = tokens;
        Ok(Signals {
            pending,
            interrupt: open(registry, SIGINT, interrupt)?,
            terminate: open(registry, SIGTERM, terminate)?,
        })
    }

    /// Empties both sockets; hands out what came.
    pub fn take(&mut self) -> impl Iterator<Item = Signal> + use<> {
        self.pending.taken.fetch_add(1, SeqCst);
        self.pending.terminate.store(false, SeqCst);
        let interrupt = drain(&mut self.interrupt).then_some(Signal::Interrupt);
        let terminate = drain(&mut self.terminate).then_some(Signal::Terminate);
        interrupt.into_iter().chain(terminate)
    }
}

/// The thread beside the loop: sees each SIGINT, and ends the process when another signal before it was not taken.
fn listen(mut ear: std::os::unix::net::UnixStream, pending: &Pending) {
    trap::ready_thread();
    // How often signals had been taken when the last SIGINT came.
    let mut last = None;
    let mut byte = [0];
    while let Ok(1) = ear.read(&mut byte) {
        let taken = pending.taken.load(SeqCst);
        let first = match pending.terminate.load(SeqCst) {
            true => Some(Signal::Terminate),
            false => (last == Some(taken)).then_some(Signal::Interrupt),
        };
        last = Some(taken);
        let Some(first) = first else { continue };
        std::thread::sleep(GRACE);
        if pending.taken.load(SeqCst) == taken {
            server_log::urgent(first.announcement());
            server_log::urgent(INSISTS);
            low_level::exit(1);
        }
    }
}

fn open(registry: &Registry, signal: i32, token: Token) -> io::Result<UnixStream> {
    let (mut receiver, sender) = UnixStream::pair()?;
    registry.register(&mut receiver, token, Interest::READABLE)?;
    low_level::pipe::register(signal, std::os::fd::OwnedFd::from(sender))?;
    Ok(receiver)
}

fn drain(socket: &mut UnixStream) -> bool {
    let mut bytes = [0; 16];
    let mut any = false;
    while matches!(socket.read(&mut bytes), Ok(len) if len > 0) {
        any = true;
    }
    any
}
