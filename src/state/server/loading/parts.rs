//! The parts of an append-only file: which there are, and in what order they are loaded.
//!
//! Lives here: the manifest, and what servers before 7.0 left. May not: read a part (its parent does).

use std::collections::VecDeque;

use super::{Loading, Stage};
use crate::border::{LogLevel, Order};
use crate::persist::manifest::Manifest;
use crate::state::Server;

/// An append-only file that is loaded.
#[derive(Default)]
pub(super) struct AofParts {
    pub(super) manifest: Manifest,
    /// Names of the parts that are still to be loaded, the next one last.
    pub(super) left: Vec<Vec<u8>>,
    pub(super) name: Vec<u8>,
    /// Where a transaction began that has not ended, and its commands.
    pub(super) open: Option<(u64, Vec<Vec<Vec<u8>>>)>,
    /// The commands of a transaction that are still to be run.
    pub(super) to_run: VecDeque<Vec<Vec<u8>>>,
    pub(super) base_bytes: u64,
    pub(super) bytes: u64,
    /// Of the file that was loaded last.
    pub(super) last_bytes: u64,
    /// The last file ends within a command: here.
    pub(super) truncate_to: Option<u64>,
}

impl Server {
    /// A manifest is at hand.
    pub(super) fn take_manifest(&mut self) {
        let Some(mut loading) = self.persistence.loading.take() else {
            return;
        };
        let Stage::Manifest(text) = &loading.stage else {
            return;
        };
        match Manifest::parse(text) {
            Ok(manifest) if loading.aof.is_none() => {
                self.aof.manifest = manifest;
                self.go_on_with_rdb(loading);
            }
            Err((line, error)) if loading.aof.is_none() => {
                let path = loading.path.escape_ascii();
                let text = format!("{path} is passed over: {error} (line {line})");
                self.log(LogLevel::Warning, text);
                self.go_on_with_rdb(loading);
            }
            Ok(manifest) => {
                self.begin_parts(&mut loading, manifest);
                self.next_part(loading);
            }
            Err((line, error)) => {
                self.loading_failed(&loading, &format!("{error} (line {line})"));
            }
        }
    }

    /// There is no append-only file to load.
    pub(super) fn go_on_with_rdb(&mut self, mut loading: Box<Loading>) {
        loading.path = self.config.dbfilename.clone();
        loading.read_bytes = 0;
        loading.stage = Stage::Rdb(Box::new(self.decoder()));
        self.ask_chunk(&mut loading);
        self.persistence.loading = Some(loading);
    }

    fn begin_parts(&mut self, loading: &mut Loading, manifest: Manifest) {
        let mut left: Vec<Vec<u8>> = manifest.files().map(|file| file.name.clone()).collect();
        left.reverse();
        loading.aof = Some(AofParts {
            manifest,
            left,
            ..AofParts::default()
        });
    }

    /// Goes on with the next part of an append-only file, or ends.
    pub(super) fn next_part(&mut self, mut loading: Box<Loading>) {
        let Some(aof) = &mut loading.aof else {
            return self.end_loading(&mut loading);
        };
        let Some(name) = aof.left.pop() else {
            return self.end_loading(&mut loading);
        };
        loading.path = self.aof_path(&name);
        aof.name = name;
        aof.open = None;
        loading.read_bytes = 0;
        loading.dbid = 0;
        loading.stage = Stage::Head;
        self.ask_chunk(&mut loading);
        self.persistence.loading = Some(loading);
    }

    /// There is an append-only file of one part: it becomes the base of one of several. A server that stops in the
    /// middle of this finds it in either place.
    pub(super) fn upgrade_aof(&mut self) {
        let Some(mut loading) = self.persistence.loading.take() else {
            return;
        };
        let manifest = Manifest::upgrade(&self.config.appendfilename);
        let (ticket, path) = (self.next_ticket(), self.manifest_path());
        self.orders.push_back(Order::WriteWhole {
            ticket,
            path,
            bytes: manifest.to_text(),
        });
        loading.ticket = Some(ticket);
        loading.stage = Stage::Listing(manifest);
        self.persistence.loading = Some(loading);
    }

    /// The manifest lists it.
    pub(super) fn listed_old(&mut self, mut loading: Box<Loading>, manifest: Manifest) {
        self.begin_parts(&mut loading, manifest);
        // It is read when it is moved.
        if let Some(aof) = &mut loading.aof {
            aof.left.pop();
        }
        self.order_move(loading);
    }

    /// The base is where servers before 7.0 had it.
    pub(super) fn move_base(&mut self) {
        if let Some(loading) = self.persistence.loading.take() {
            self.order_move(loading);
        }
    }

    fn order_move(&mut self, mut loading: Box<Loading>) {
        let ticket = self.next_ticket();
        let from = self.config.appendfilename.clone();
        let to = self.aof_path(&from);
        self.orders.push_back(Order::Rename { ticket, from, to });
        loading.ticket = Some(ticket);
        loading.stage = Stage::Moving;
        self.persistence.loading = Some(loading);
    }

    /// The base is in its folder now.
    pub(super) fn moved_old(&mut self, mut loading: Box<Loading>) {
        let name = self.config.appendfilename.clone();
        let text = format!(
            "Successfully migrated an old-style AOF file ({}) into the AOF directory ({}).",
            name.escape_ascii(),
            self.config.appenddirname.escape_ascii()
        );
        self.log(LogLevel::Notice, text);
        if let Some(aof) = &mut loading.aof {
            aof.left.push(name);
        }
        self.next_part(loading);
    }
}
