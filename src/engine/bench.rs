//! A bench for the engine's own tests: one client, and a clock that only the test moves.

use crate::border::{Boot, Peer, Reading, Want};
use crate::config::Config;
use crate::engine::Engine;
use crate::state::{ConnId, UnixMicros};

/// An engine with one client, on a clock that only the test moves.
pub struct Bench {
    pub engine: Engine,
    pub conn: ConnId,
    pub now_us: i64,
}

impl Engine {
    /// Accepts a connection at the lowest place that is free.
    pub fn accept(&mut self, peer: Peer) -> ConnId {
        let conns = (0..).map(ConnId);
        let conn = conns.into_iter().find(|conn| self.can_accept(*conn));
        let conn = conn.expect("there is always one more");
        self.handle_accept(conn, peer);
        conn
    }
}

impl Bench {
    pub fn new(config: Config) -> Bench {
        let mut engine = Engine::new(Boot {
            config,
            seed: 3,
            pid: 1,
            ..Boot::default()
        })
        .expect("no command is renamed");
        let conn = engine.accept(Peer {
            addr: "/s:0".into(),
            local_addr: "/s:0".into(),
            is_unix: true,
            is_local: true,
            fd: 5,
        });
        Bench {
            engine,
            conn,
            now_us: 0,
        }
    }

    /// Sends this; every clock reading is `step_us` after the one before.
    pub fn send(&mut self, text: &[u8], step_us: i64) {
        self.engine.read_buffer(self.conn)[..text.len()].copy_from_slice(text);
        self.engine.handle_read(self.conn, text.len());
        self.answer_wants(step_us);
    }

    pub fn answer_wants(&mut self, step_us: i64) {
        while let Some(want) = self.engine.poll_want() {
            match want {
                Want::Reading => self.engine.handle_reading(Reading::default()),
                _ => {
                    self.now_us += step_us;
                    self.engine.handle_clock(UnixMicros(self.now_us));
                }
            }
        }
    }

    pub fn figures(&self, name: &str) -> (u64, u64) {
        let command = self.engine.registry.by_full_name(name.as_bytes());
        let id = command.expect("a known command").id;
        let stats = &self.engine.server.command_stats[usize::from(id.0)];
        (stats.calls, stats.usec)
    }
}
