//! Listeners: from `bind`, `port` and `unixsocket` to sockets that wait for clients.

use super::settings::Listening;
use crate::os::plain;
use mio::net::{TcpListener, UnixListener};
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, Socket, Type};
use std::fs::Permissions;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// One word of `bind`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BindAddr {
    /// An address that this machine does not have is no error.
    pub optional: bool,
    pub host: Host,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    Ip(IpAddr),
    Name(String),
}

impl BindAddr {
    pub fn parse(word: &str) -> BindAddr {
        let (optional, word) = word
            .strip_prefix('-')
            .map_or((false, word), |rest| (true, rest));
        let host = match word {
            "*" => Host::Ip(Ipv4Addr::UNSPECIFIED.into()),
            "::*" => Host::Ip(Ipv6Addr::UNSPECIFIED.into()),
            _ => word
                .parse()
                .map_or_else(|_| Host::Name(word.to_owned()), Host::Ip),
        };
        BindAddr { optional, host }
    }

    fn resolve(&self, port: u16) -> io::Result<SocketAddr> {
        match &self.host {
            Host::Ip(ip) => Ok(SocketAddr::new(*ip, port)),
            Host::Name(name) => (name.as_str(), port)
                .to_socket_addrs()?
                .next()
                .ok_or_else(|| io::Error::from(ErrorKind::AddrNotAvailable)),
        }
    }
}

/// A socket that accepts clients.
pub struct Listener {
    pub socket: ListenSocket,
    /// Clients may be waiting: an edge came and not all of them were accepted yet.
    pub waiting: bool,
}

pub enum ListenSocket {
    Tcp {
        socket: TcpListener,
        asked: String,
        addr: SocketAddr,
    },
    Unix {
        socket: UnixListener,
        path: PathBuf,
        mode: u32,
    },
}

impl Listener {
    fn new(socket: ListenSocket) -> Listener {
        Listener {
            socket,
            waiting: false,
        }
    }

    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            ListenSocket::Tcp { socket, .. } => {
                registry.register(socket, token, Interest::READABLE)
            }
            ListenSocket::Unix { socket, .. } => {
                registry.register(socket, token, Interest::READABLE)
            }
        }
    }

    pub fn deregister(&mut self, registry: &Registry) {
        let _ = match &mut self.socket {
            ListenSocket::Tcp { socket, .. } => registry.deregister(socket),
            ListenSocket::Unix { socket, .. } => registry.deregister(socket),
        };
    }

    /// The unix socket's file.
    pub fn path(&self) -> Option<&Path> {
        match &self.socket {
            ListenSocket::Tcp { .. } => None,
            ListenSocket::Unix { path, .. } => Some(path),
        }
    }

    /// The word of `bind` and the address that came of it.
    pub fn tcp_addr(&self) -> Option<(String, SocketAddr)> {
        match &self.socket {
            ListenSocket::Tcp { asked, addr, .. } => Some((asked.clone(), *addr)),
            ListenSocket::Unix { .. } => None,
        }
    }
}

/// Listening failed. `Display` is the line for the log.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    #[error("Failed listening on port {port} (tcp), aborting.")]
    Tcp { port: u16, in_use: bool },
    #[error("Failed opening Unix socket: {0}")]
    Unix(String),
    #[error("Configured to not listen anywhere, exiting.")]
    Nowhere,
}

/// What opening found out: the listeners, and the warnings for the log.
pub struct Opened {
    pub listeners: Vec<Listener>,
    /// The TCP port, the chosen one if it was to be chosen; 0 without TCP.
    pub port: u16,
}

/// Opens everything that `wanted` asks for, or nothing. Warnings are pushed as they come.
///
/// A socket of `kept` that is wanted still is moved over instead of being opened a second time.
pub fn open(
    wanted: &Listening,
    kept: &mut Vec<Listener>,
    warnings: &mut Vec<String>,
) -> Result<Opened, ListenError> {
    let mut opened = Opened {
        listeners: Vec::new(),
        port: if wanted.auto_port { 0 } else { wanted.port },
    };
    let result = open_into(&mut opened, wanted, kept, warnings);
    match result {
        Ok(()) if opened.listeners.is_empty() => Err(ListenError::Nowhere),
        Ok(()) => Ok(opened),
        Err(error) => {
            // What was moved over goes back, so that the caller is where it was.
            kept.append(&mut opened.listeners);
            Err(error)
        }
    }
}

fn open_into(
    opened: &mut Opened,
    wanted: &Listening,
    kept: &mut Vec<Listener>,
    warnings: &mut Vec<String>,
) -> Result<(), ListenError> {
    if wanted.auto_port || wanted.port != 0 {
        for word in &wanted.bind {
            open_tcp(opened, wanted, word, kept, warnings)?;
        }
    }
    if let Some(path) = &wanted.unix_socket {
        let listener = match take_unix(kept, path, wanted.unix_socket_mode) {
            Some(listener) => listener,
            None => open_unix(path, wanted.unix_socket_mode, wanted.backlog)
                .map_err(ListenError::Unix)?,
        };
        opened.listeners.push(listener);
    }
    Ok(())
}

fn open_tcp(
    opened: &mut Opened,
    wanted: &Listening,
    word: &str,
    kept: &mut Vec<Listener>,
    warnings: &mut Vec<String>,
) -> Result<(), ListenError> {
    let port = opened.port;
    if port != 0
        && let Some(listener) = take_tcp(kept, word, port)
    {
        opened.listeners.push(listener);
        return Ok(());
    }
    let bind = BindAddr::parse(word);
    let error = match bind.resolve(port) {
        Ok(addr) => match bind_tcp(addr, wanted) {
            Ok(socket) => {
                let addr = socket.local_addr().unwrap_or(addr);
                opened.port = addr.port();
                let socket = ListenSocket::Tcp {
                    socket,
                    asked: word.to_owned(),
                    addr,
                };
                opened.listeners.push(Listener::new(socket));
                return Ok(());
            }
            Err((step, error)) => (format!("{step}{}", plain(&error)), Some(error)),
        },
        Err(error) => (
            plain(&error).replace("failed to lookup address information: ", ""),
            None,
        ),
    };
    let shown = word.strip_prefix('-').unwrap_or(word);
    warnings.push(format!(
        "Warning: Could not create server TCP listening socket {shown}:{port}: {}",
        error.0
    ));
    let code = error.1.as_ref().and_then(io::Error::raw_os_error);
    let is_absent = code == Some(rustix::io::Errno::ADDRNOTAVAIL.raw_os_error());
    if (bind.optional && is_absent) || code.is_some_and(is_unsupported) {
        return Ok(());
    }
    let in_use = code == Some(rustix::io::Errno::ADDRINUSE.raw_os_error());
    Err(ListenError::Tcp { port, in_use })
}

/// The machine knows no such family of addresses at all (IPv6 switched off): never an error.
fn is_unsupported(code: i32) -> bool {
    use rustix::io::Errno;
    [
        Errno::NOPROTOOPT,
        Errno::PROTONOSUPPORT,
        Errno::SOCKTNOSUPPORT,
        Errno::PFNOSUPPORT,
        Errno::AFNOSUPPORT,
    ]
    .iter()
    .any(|errno| errno.raw_os_error() == code)
}

fn bind_tcp(
    addr: SocketAddr,
    wanted: &Listening,
) -> Result<TcpListener, (&'static str, io::Error)> {
    let socket = Socket::new(
        Domain::for_address(addr),
        Type::STREAM.nonblocking(),
        Some(Protocol::TCP),
    )
    .map_err(|error| ("", error))?;
    if addr.is_ipv6() {
        socket
            .set_only_v6(true)
            .map_err(|error| ("setsockopt: ", error))?;
    }
    socket
        .set_reuse_address(true)
        .map_err(|error| ("setsockopt SO_REUSEADDR: ", error))?;
    #[cfg(target_os = "linux")]
    if wanted.mark != 0
        && let Err(error) = socket.set_mark(wanted.mark)
    {
        log::warn!("Could not mark a listening socket: {}", plain(&error));
    }
    socket
        .bind(&addr.into())
        .map_err(|error| ("bind: ", error))?;
    socket
        .listen(wanted.backlog)
        .map_err(|error| ("listen: ", error))?;
    Ok(TcpListener::from_std(socket.into()))
}

fn open_unix(path: &Path, mode: u32, backlog: i32) -> Result<Listener, String> {
    // A socket file outlives its server; what is at the path makes way, as with Redis.
    let _ = std::fs::remove_file(path);
    let at = |step: &str, error: io::Error| format!("{step}{}", plain(&error));
    let addr = socket2::SockAddr::unix(path).map_err(|error| at("", error))?;
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking(), None)
        .map_err(|error| at("socket: ", error))?;
    socket.bind(&addr).map_err(|error| at("bind: ", error))?;
    if mode != 0 {
        std::fs::set_permissions(path, Permissions::from_mode(mode))
            .map_err(|error| at("chmod: ", error))?;
    }
    socket
        .listen(backlog)
        .map_err(|error| at("listen: ", error))?;
    let socket = UnixListener::from_std(socket.into());
    Ok(Listener::new(ListenSocket::Unix {
        socket,
        path: path.to_owned(),
        mode,
    }))
}

/// Opens sockets again that were closed to make way for others; one that is lost now stays so.
pub fn reopen(closed: Vec<(String, SocketAddr)>, wanted: &Listening, into: &mut Vec<Listener>) {
    for (asked, addr) in closed {
        if let Ok(socket) = bind_tcp(addr, wanted) {
            into.push(Listener::new(ListenSocket::Tcp {
                socket,
                asked,
                addr,
            }));
        }
    }
}

fn take_tcp(kept: &mut Vec<Listener>, word: &str, port: u16) -> Option<Listener> {
    let index = kept.iter().position(|listener| {
        matches!(&listener.socket, ListenSocket::Tcp { asked, addr, .. } if asked == word && addr.port() == port)
    })?;
    Some(kept.remove(index))
}

fn take_unix(kept: &mut Vec<Listener>, wanted: &Path, wanted_mode: u32) -> Option<Listener> {
    let index = kept.iter().position(|listener| {
        matches!(&listener.socket, ListenSocket::Unix { path, mode, .. } if path == wanted && *mode == wanted_mode)
    })?;
    Some(kept.remove(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bind_words() {
        for (word, optional, host) in [
            ("*", false, Host::Ip("0.0.0.0".parse().expect("an address"))),
            ("-::*", true, Host::Ip("::".parse().expect("an address"))),
            ("::*", false, Host::Ip("::".parse().expect("an address"))),
            (
                "127.0.0.1",
                false,
                Host::Ip("127.0.0.1".parse().expect("an address")),
            ),
            ("-::1", true, Host::Ip("::1".parse().expect("an address"))),
            ("-localhost", true, Host::Name("localhost".into())),
        ] {
            assert_eq!(BindAddr::parse(word), BindAddr { optional, host }, "{word}");
        }
    }

    fn local(port: u16, auto_port: bool, bind: &[&str]) -> Listening {
        Listening {
            bind: bind.iter().map(|&word| word.to_owned()).collect(),
            port,
            auto_port,
            backlog: 16,
            mark: 0,
            unix_socket: None,
            unix_socket_mode: 0,
        }
    }

    #[test]
    fn a_chosen_port_is_told_and_kept_sockets_move_over() {
        let mut warnings = Vec::new();
        let first = open(
            &local(0, true, &["127.0.0.1"]),
            &mut Vec::new(),
            &mut warnings,
        )
        .expect("a free port");
        assert_ne!(first.port, 0);
        let mut kept = first.listeners;
        let second = open(
            &local(first.port, false, &["127.0.0.1"]),
            &mut kept,
            &mut warnings,
        )
        .expect("kept");
        assert_eq!(
            (second.listeners.len(), kept.len(), second.port),
            (1, 0, first.port)
        );
        let error = open(
            &local(first.port, false, &["127.0.0.1"]),
            &mut Vec::new(),
            &mut warnings,
        )
        .err();
        let text = error.expect("in use").to_string();
        assert_eq!(
            text,
            format!("Failed listening on port {} (tcp), aborting.", first.port)
        );
        let warning = warnings.last().expect("a warning");
        assert!(
            warning.ends_with(": bind: Address already in use"),
            "{warning}"
        );
    }

    #[test]
    fn an_optional_address_may_be_missing() {
        let mut warnings = Vec::new();
        // 192.0.2.0/24 is set aside for documentation; no machine has it.
        let wanted = local(0, true, &["127.0.0.1", "-192.0.2.7"]);
        assert_eq!(
            open(&wanted, &mut Vec::new(), &mut warnings)
                .expect("one is enough")
                .listeners
                .len(),
            1
        );
        let wanted = local(0, true, &["127.0.0.1", "192.0.2.7"]);
        assert!(open(&wanted, &mut Vec::new(), &mut warnings).is_err());
        assert!(matches!(
            open(&local(0, false, &["*"]), &mut Vec::new(), &mut warnings),
            Err(ListenError::Nowhere)
        ));
    }
}
