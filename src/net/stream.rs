//! A connection's socket, TCP or unix, and what the loop remembers about it.

use crate::border::Peer;
use mio::event::Source;
use mio::net::{TcpStream, UnixStream};
use mio::{Interest, Registry, Token};
use std::io::{self, IoSlice, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Duration;

/// The socket of a client.
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Stream {
    #[inline]
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(bytes),
            Stream::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write_vectored(slices),
            Stream::Unix(stream) => stream.write_vectored(slices),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stream {
    /// Asks for both directions at once: edges come by themselves and the socket is never registered again.
    pub fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE | Interest::WRITABLE;
        match self {
            Stream::Tcp(stream) => stream.register(registry, token, interest),
            Stream::Unix(stream) => stream.register(registry, token, interest),
        }
    }
}

/// Sets what every client's TCP socket gets. A refusal is harmless: the socket may be gone already.
pub fn set_options(stream: &TcpStream, keepalive_s: u32) {
    let _ = stream.set_nodelay(true);
    if keepalive_s > 0 {
        let probe = socket2::TcpKeepalive::new()
            .with_time(Duration::from_secs(keepalive_s.into()))
            .with_interval(Duration::from_secs((keepalive_s / 3).max(1).into()))
            .with_retries(3);
        let _ = socket2::SockRef::from(stream).set_tcp_keepalive(&probe);
    }
}

/// How the engine knows a TCP client.
pub fn tcp_peer(stream: &TcpStream, addr: SocketAddr) -> Peer {
    Peer {
        addr: addr.to_string(),
        local_addr: stream
            .local_addr()
            .map_or_else(|_| "?:0".to_owned(), |addr| addr.to_string()),
        is_unix: false,
        is_local: addr.ip().is_loopback(),
        fd: stream.as_raw_fd(),
    }
}

/// How the engine knows a client of the unix socket at `path`.
pub fn unix_peer(stream: &UnixStream, path: &Path) -> Peer {
    let addr = format!("{}:0", path.display());
    Peer {
        local_addr: addr.clone(),
        addr,
        is_unix: true,
        is_local: true,
        fd: stream.as_raw_fd(),
    }
}

/// A connection as the loop sees it.
pub struct Conn {
    pub stream: Stream,
    /// The socket took less than it was offered; a writable edge will come.
    pub full: bool,
    /// The other side sends no more: a short read is not the end, the zero after it is.
    pub read_closed: bool,
    /// Waits in the list of those that still have something to read.
    pub queued: bool,
}

impl Conn {
    pub fn new(stream: Stream) -> Conn {
        Conn {
            stream,
            full: false,
            read_closed: false,
            queued: false,
        }
    }
}
