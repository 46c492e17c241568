//! Stand-in until the real module is merged: answers +PONG to whatever arrives.

use crate::border::*;
use crate::config::Config;
use crate::state::{ConnId, UnixMicros};
use std::io::IoSlice;

#[derive(Default)]
struct Client {
    query: Vec<u8>,
    out: Vec<u8>,
    queued: bool,
}

pub struct Engine {
    config: Config,
    clients: Vec<Option<Client>>,
    flush: Vec<ConnId>,
    orders: Vec<Order>,
    now: UnixMicros,
    commands: u64,
}

impl Engine {
    pub fn new(boot: Boot) -> Result<Engine, String> {
        Ok(Engine {
            config: boot.config,
            clients: Vec::new(),
            flush: Vec::new(),
            orders: Vec::new(),
            now: boot.now,
            commands: 0,
        })
    }
    pub fn handle(&mut self, input: &Input<'_>) {
        match input {
            Input::Time(now) => self.handle_time(*now),
            Input::TurnEnd(_) => {}
            Input::Accept(peer) => {
                self.handle_accept(peer.clone());
            }
            Input::Read { conn, bytes } => {
                self.read_buffer(*conn)[..bytes.len()].copy_from_slice(bytes);
                self.handle_read(*conn, bytes.len());
            }
            Input::Closed { conn, reason } => self.handle_closed(*conn, *reason),
            Input::Wrote { conn, len } => {
                self.handle_wrote(*conn, *len);
            }
            Input::Clock(now) => self.handle_clock(*now),
            Input::Reading(reading) => self.handle_reading(*reading),
            Input::Done { ticket, outcome } => self.handle_done(*ticket, outcome.clone()),
            Input::Signal(signal) => self.handle_signal(*signal),
        }
    }
    pub fn handle_time(&mut self, now: UnixMicros) {
        self.now = now;
    }
    pub fn handle_accept(&mut self, _peer: Peer) -> ConnId {
        let index = self
            .clients
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.clients.len());
        if index == self.clients.len() {
            self.clients.push(None);
        }
        self.clients[index] = Some(Client {
            query: vec![0; 16384],
            ..Client::default()
        });
        ConnId(index as u32)
    }
    pub fn wants_read(&self, _conn: ConnId) -> bool {
        true
    }
    pub fn read_buffer(&mut self, conn: ConnId) -> &mut [u8] {
        &mut self.clients[conn.0 as usize].as_mut().expect("open").query
    }
    pub fn handle_read(&mut self, conn: ConnId, len: usize) {
        let client = self.clients[conn.0 as usize].as_mut().expect("open");
        for _ in 0..client.query[..len]
            .iter()
            .filter(|&&byte| byte == b'*')
            .count()
            .max(1)
        {
            client.out.extend_from_slice(b"+PONG\r\n");
            self.commands += 1;
        }
        if !client.queued {
            client.queued = true;
            self.flush.push(conn);
        }
    }
    pub fn handle_closed(&mut self, conn: ConnId, _reason: CloseReason) {
        self.clients[conn.0 as usize] = None;
    }
    pub fn poll_want(&mut self) -> Option<Want> {
        None
    }
    pub fn handle_clock(&mut self, _now: UnixMicros) {}
    pub fn handle_reading(&mut self, _reading: Reading) {}
    pub fn poll_resumed(&mut self) -> Option<ConnId> {
        None
    }
    pub fn poll_order(&mut self) -> Option<Order> {
        self.orders.pop()
    }
    pub fn handle_done(&mut self, _ticket: u64, _outcome: Outcome) {}
    pub fn handle_signal(&mut self, _signal: Signal) {
        self.orders.push(Order::Exit { code: 0 });
    }
    pub fn poll_flush(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.flush.pop() {
            if let Some(client) = &mut self.clients[conn.0 as usize] {
                client.queued = false;
                return Some(conn);
            }
        }
        None
    }
    pub fn handle_turn_end(&mut self, _now: UnixMicros) {}
    pub fn has_untimed(&self) -> bool {
        false
    }
    pub fn output_slice(&self, conn: ConnId) -> Option<&[u8]> {
        self.clients[conn.0 as usize]
            .as_ref()
            .map(|client| client.out.as_slice())
    }
    pub fn output<'a>(&'a self, conn: ConnId, slices: &mut Vec<IoSlice<'a>>) {
        if let Some(client) = &self.clients[conn.0 as usize]
            && !client.out.is_empty()
        {
            slices.push(IoSlice::new(&client.out));
        }
    }
    pub fn handle_wrote(&mut self, conn: ConnId, len: usize) -> Flush {
        let client = self.clients[conn.0 as usize].as_mut().expect("open");
        client.out.drain(..len);
        if client.out.is_empty() {
            Flush::Drained
        } else {
            Flush::Pending
        }
    }
    pub fn next_tick(&self) -> Option<UnixMicros> {
        Some(UnixMicros(self.now.0 + 100_000))
    }
    pub fn config(&self) -> &Config {
        &self.config
    }
    pub fn client_count(&self) -> usize {
        self.clients.iter().flatten().count()
    }
    pub fn commands_processed(&self) -> u64 {
        self.commands
    }
    pub fn take_trace(&mut self, _conn: ConnId) -> Vec<(u64, String)> {
        Vec::new()
    }
    pub fn running_command(&self) -> Option<&str> {
        None
    }
}
