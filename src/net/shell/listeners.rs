//! Listeners of the running server: who waits is accepted, and CONFIG SET changes where to listen.

use super::{LISTENERS_START, Shell};
use crate::border::{CloseReason, Peer};
use crate::disk;
use crate::ids::ConnId;
use crate::net::listen::{self, ListenError, ListenSocket, Listener};
use crate::net::settings::{self, Listening};
use crate::net::stream::{Conn, Stream, set_options, tcp_peer, unix_peer};
use crate::os::plain;
use log::warn;
use mio::Token;
use std::io::{self, ErrorKind};

/// How often the log tells that there is no file left for a new client.
const ACCEPT_LOG_INTERVAL_US: i64 = 1_000_000;

impl Shell {
    pub(super) fn listener_event(&mut self, token: Token) {
        if let Some(index) = self
            .listener_tokens
            .iter()
            .position(|&known| known == token)
        {
            self.listeners[index].waiting = true;
            self.is_accepting = true;
        }
    }

    /// Accepts who waits, in one turn no more than `max-new-connections-per-cycle`.
    pub(super) fn accept(&mut self) {
        let config = self.driver.engine().config();
        let keepalive_s = settings::keepalive_s(config);
        let mut budget = settings::accepts_max(config);
        self.out_of_files = false;
        for index in 0..self.listeners.len() {
            while self.listeners[index].waiting && budget > 0 && !self.out_of_files {
                match accept_one(&self.listeners[index].socket, keepalive_s) {
                    Ok((stream, peer)) => {
                        budget -= 1;
                        self.welcome(stream, peer);
                    }
                    Err(error) => self.accept_failed(index, &error),
                }
            }
        }
        self.is_accepting = self.listeners.iter().any(|listener| listener.waiting);
    }

    pub(super) fn accept_failed(&mut self, index: usize, error: &io::Error) {
        let is_out_of_files = [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE]
            .iter()
            .any(|errno| Some(errno.raw_os_error()) == error.raw_os_error());
        match error.kind() {
            ErrorKind::WouldBlock => self.listeners[index].waiting = false,
            // The client gave up, or a signal came: the next one may be fine.
            ErrorKind::ConnectionAborted | ErrorKind::Interrupted => {}
            _ => {
                // Without an edge to come: stay "waiting" when files may become free again.
                self.out_of_files = is_out_of_files;
                self.listeners[index].waiting = is_out_of_files;
                let age = self.now.0.wrapping_sub(self.out_of_files_logged.0);
                if !(0..ACCEPT_LOG_INTERVAL_US).contains(&age) {
                    self.out_of_files_logged = self.now;
                    warn!("Accepting client connection: {}", plain(error));
                }
            }
        }
    }

    pub(super) fn welcome(&mut self, stream: Stream, peer: Peer) {
        while let Some(left) = self.driver.poll_left() {
            self.conns.try_remove(left.0 as usize);
        }
        let mut state = Conn::new(stream);
        let place = self.conns.vacant_entry();
        let token = Token(place.key());
        let conn = ConnId(token.0 as u32);
        let registered = state.stream.register(self.poll.registry(), token);
        place.insert(Some(state));
        self.driver.accept(conn, peer);
        if let Err(error) = registered {
            warn!("Error registering a client's socket: {}", plain(&error));
            self.close(conn, CloseReason::Error);
        }
    }

    /// Makes `listeners` the ones that are listened to; those that were already stay registered.
    pub(super) fn adopt(&mut self, listeners: Vec<Listener>) -> io::Result<()> {
        self.listener_tokens.clear();
        self.listeners = listeners;
        for listener in &mut self.listeners {
            let token = Token(LISTENERS_START + self.listeners_made);
            self.listeners_made += 1;
            listener.register(self.poll.registry(), token)?;
            self.listener_tokens.push(token);
            // Clients that came before the registration, or between two of them.
            listener.waiting = true;
        }
        self.is_accepting = true;
        Ok(())
    }

    /// Listens as the configuration says now. On failure everything is as it was.
    pub(super) fn relisten(&mut self) -> Result<(), String> {
        let wanted = Listening::of(self.driver.engine().config());
        let mut warnings = Vec::new();
        let mut old = std::mem::take(&mut self.listeners);
        for listener in &mut old {
            listener.deregister(self.poll.registry());
        }
        let mut result = listen::open(&wanted, &mut old, &mut warnings);
        if let Err(ListenError::Tcp { in_use: true, .. }) = result {
            // It may be ourselves who is in the way: `127.0.0.1` blocks `*` on the same port.
            let closed: Vec<_> = old.iter().filter_map(Listener::tcp_addr).collect();
            old.retain(|listener| listener.path().is_some());
            warnings.clear();
            result = listen::open(&wanted, &mut old, &mut warnings);
            if result.is_err() {
                old.retain(|listener| listener.path().is_some());
                listen::reopen(closed, &wanted, &mut old);
            }
        }
        for warning in &warnings {
            warn!("{warning}");
        }
        let (listeners, outcome) = match result {
            Ok(opened) => {
                for path in old.iter().filter_map(Listener::path) {
                    if !opened
                        .listeners
                        .iter()
                        .any(|listener| listener.path() == Some(path))
                    {
                        disk::remove(path);
                    }
                }
                (opened.listeners, Ok(()))
            }
            Err(error) => {
                warn!("{error}");
                (old, Err(error.to_string()))
            }
        };
        self.adopt(listeners).map_err(|error| plain(&error))?;
        outcome
    }
}

fn accept_one(socket: &ListenSocket, keepalive_s: u32) -> io::Result<(Stream, Peer)> {
    match socket {
        ListenSocket::Tcp { socket, .. } => {
            let (stream, addr) = socket.accept()?;
            set_options(&stream, keepalive_s);
            let peer = tcp_peer(&stream, addr);
            Ok((Stream::Tcp(stream), peer))
        }
        ListenSocket::Unix { socket, path, .. } => {
            let (stream, _) = socket.accept()?;
            let peer = unix_peer(&stream, path);
            Ok((Stream::Unix(stream), peer))
        }
    }
}
