//! The file of a FLUSHALL: that no key is left.
//!
//! What it holds is known at once, so it takes no snapshot, and nothing is in its way while one is taken of the data of
//! before for the append-only file. The shell writes file after file, so this one comes to its place behind all that
//! were ordered before.

use super::{Answer, Queued};
use crate::border::{LogLevel, Order, Outcome};
use crate::persist::rdb;
use crate::state::server::Server;
use crate::state::snapshot::Purpose;
use crate::state::waiter::Waiter;

/// A flush whose file is not on disk yet.
pub(super) struct Emptied {
    bytes: Vec<u8>,
    /// The order behind which it is.
    ticket: u64,
    temp: Vec<u8>,
    /// The changes that the file makes good for.
    changes: u64,
    waiter: Waiter,
}

impl Server {
    /// Saves that all keys are gone, as they are at this moment; then `waiter` is answered, whether or not the file
    /// could be written, because the flush has done its work.
    pub fn save_emptied(&mut self, waiter: Waiter) {
        let mut bytes = Vec::new();
        self.put_rdb_start(&mut bytes, false);
        rdb::put_end(&mut bytes);
        let emptied = Emptied {
            bytes,
            ticket: self.next_ticket(),
            temp: self.rdb_temp_name(),
            changes: std::mem::take(&mut self.effects.dirty),
            waiter,
        };
        match &mut self.persistence.snapshot {
            // What another client saves is of before, and must not come to its place behind this.
            Some(snapshot) if snapshot.purpose != Purpose::AofBase => {
                snapshot.dirty_before = 0;
                let queue = &mut self.persistence.queue;
                queue.push_back(Queued::Emptied(emptied));
            }
            _ => self.write_emptied(emptied),
        }
    }

    pub(super) fn write_emptied(&mut self, mut emptied: Emptied) {
        let file = self.next_ticket();
        let portion = self.next_ticket();
        self.orders.extend([
            Order::OpenFile {
                file,
                path: emptied.temp.clone(),
                syncs_often: false,
            },
            Order::WriteFile {
                file,
                ticket: portion,
                bytes: std::mem::take(&mut emptied.bytes),
            },
            Order::EndFile {
                file,
                ticket: emptied.ticket,
                has_checksum: true,
                computes_checksum: self.config.rdbchecksum,
                target: self.config.dbfilename.clone(),
            },
        ]);
        self.persistence.emptied.push(emptied);
    }

    /// Takes an answer of the shell, if it concerns such a file.
    pub(super) fn settle_emptied(&mut self, ticket: u64, outcome: &Outcome) -> bool {
        let mut emptied = self.persistence.emptied.iter();
        let Some(at) = emptied.position(|emptied| emptied.ticket == ticket) else {
            return false;
        };
        let emptied = self.persistence.emptied.remove(at);
        match outcome {
            Ok(_) => {
                self.log(LogLevel::Notice, "DB saved on disk");
                self.persistence.last_save_secs = self.now.secs();
                self.saved(true);
            }
            Err(why) => {
                self.log(LogLevel::Warning, self.why_not_saved(&emptied.temp, why));
                self.effects.dirty = self.effects.dirty.saturating_add(emptied.changes);
            }
        }
        let answer = (emptied.waiter, Answer::Ok);
        self.persistence.answers.push(answer);
        // What was saved may be waited for, to be loaded again.
        self.save_queued();
        true
    }
}
