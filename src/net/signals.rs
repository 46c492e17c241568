//! Signals, brought into the poll loop through sockets.

use crate::border::Signal;
use mio::net::UnixStream;
use mio::{Interest, Registry, Token};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR2};
use signal_hook::{flag, low_level::pipe};
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Listens for SIGINT and SIGTERM. A SIGINT that comes while the loop has not taken the one before ends the process from
/// within its handler, however busy the loop is.
pub struct Signals {
    is_waiting: Arc<AtomicBool>,
    interrupt: UnixStream,
    terminate: UnixStream,
}

impl Signals {
    /// Takes the signals over; `tokens` are for the interrupt and the terminate signal.
    pub fn register(registry: &Registry, tokens: [Token; 2]) -> io::Result<Signals> {
        let is_waiting = Arc::new(AtomicBool::new(false));
        // In this order: the first SIGINT finds the flag unset, sets it, and the next one finds it set.
        flag::register_conditional_shutdown(SIGINT, 1, Arc::clone(&is_waiting))?;
        flag::register(SIGINT, Arc::clone(&is_waiting))?;
        // A lost terminal does not end a server, and who asks a real one's threads for their stacks does not either.
        for signal in [SIGHUP, SIGUSR2] {
            flag::register(signal, Arc::new(AtomicBool::new(false)))?;
        }
        let [interrupt, terminate] = tokens;
        Ok(Signals {
            is_waiting,
            interrupt: open(registry, SIGINT, interrupt)?,
            terminate: open(registry, SIGTERM, terminate)?,
        })
    }

    /// Empties both sockets; hands out what came.
    pub fn take(&mut self) -> impl Iterator<Item = Signal> + use<> {
        self.is_waiting.store(false, Ordering::SeqCst);
        let interrupt = drain(&mut self.interrupt).then_some(Signal::Interrupt);
        let terminate = drain(&mut self.terminate).then_some(Signal::Terminate);
        interrupt.into_iter().chain(terminate)
    }
}

fn open(registry: &Registry, signal: i32, token: Token) -> io::Result<UnixStream> {
    let (mut receiver, sender) = UnixStream::pair()?;
    registry.register(&mut receiver, token, Interest::READABLE)?;
    pipe::register(signal, std::os::fd::OwnedFd::from(sender))?;
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
