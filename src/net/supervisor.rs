//! Supervisor: the program that has started the server and wants to know how it gets on.

use crate::config::Supervised;
use crate::os::plain;
use log::{debug, info, warn};
use rustix::process::{Signal, getpid, kill_process};
use std::io;

/// Who looks after the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    /// Nobody.
    None,
    Systemd {
        /// It was not asked for by name.
        is_found: bool,
    },
    Upstart,
    /// It is asked for, and its socket or its variable is not there.
    Missing(&'static str),
    /// Its socket takes nothing.
    Deaf,
}

impl Supervisor {
    /// Who is there of those whom `supervised` allows. systemd hears at once that the server is being loaded.
    pub fn find(wanted: Supervised) -> Supervisor {
        let has = |variable: &str| std::env::var_os(variable).is_some();
        let is_found = wanted == Supervised::Auto;
        match wanted {
            Supervised::No => Supervisor::None,
            Supervised::Systemd | Supervised::Auto if has("NOTIFY_SOCKET") => {
                match notify("STATUS=Retrace is loading...\n") {
                    Ok(()) => Supervisor::Systemd { is_found },
                    Err(_) => Supervisor::Deaf,
                }
            }
            Supervised::Upstart | Supervised::Auto if has("UPSTART_JOB") => Supervisor::Upstart,
            Supervised::Auto => Supervisor::None,
            Supervised::Systemd => {
                Supervisor::Missing("systemd supervision error: NOTIFY_SOCKET not found!")
            }
            Supervised::Upstart => {
                Supervisor::Missing("upstart supervision requested, but UPSTART_JOB not found!")
            }
        }
    }

    /// Whether somebody looks after the server.
    pub fn is_there(self) -> bool {
        matches!(self, Supervisor::Systemd { .. } | Supervisor::Upstart)
    }

    /// Says in the log who it is; upstart expects the server to stop itself then, and lets it go on.
    pub fn say(self) {
        match self {
            Supervisor::None => {}
            Supervisor::Systemd { is_found } => {
                if is_found {
                    debug!("Systemd supervision detected.");
                }
                info!(
                    "Supervised by systemd. Please make sure you set appropriate values for TimeoutStartSec and \
                     TimeoutStopSec in your service unit."
                );
            }
            Supervisor::Upstart => {
                info!("Supervised by upstart, will stop to signal readiness.");
                let _ = kill_process(getpid(), Signal::STOP);
            }
            Supervisor::Missing(text) => warn!("{text}"),
            Supervisor::Deaf => warn!("systemd supervision error: NOTIFY_SOCKET takes nothing"),
        }
    }

    /// Tells systemd something.
    pub fn tell(self, text: &str) {
        if matches!(self, Supervisor::Systemd { .. })
            && let Err(error) = notify(text)
        {
            warn!("systemd supervision error: sd_notify: {}", plain(&error));
        }
    }
}

fn notify(text: &str) -> io::Result<()> {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else {
        return Ok(());
    };
    let socket = std::os::unix::net::UnixDatagram::unbound()?;
    #[cfg(target_os = "linux")]
    {
        use std::os::linux::net::SocketAddrExt;
        if let Some(name) = path.to_string_lossy().strip_prefix('@') {
            let addr = std::os::unix::net::SocketAddr::from_abstract_name(name)?;
            return socket.send_to_addr(text.as_bytes(), &addr).map(|_| ());
        }
    }
    socket.send_to(text.as_bytes(), path).map(|_| ())
}
