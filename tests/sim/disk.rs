//! A disk that forgets: files in memory that know which of their bytes, and which of their names, would outlive a crash.
//!
//! It carries out the orders for files as `src/disk` does: one file after the other, each answer with its ticket. Faults
//! are what real disks do: full, broken when forced, slow, and after a crash a file ends anywhere behind what was forced.
//! All files lie in one folder as far as its names are concerned. May not: know what is in a file, but for its checksum.

use std::collections::{BTreeMap, VecDeque};

use retrace::border::{FileStep, Order, Outcome};
use retrace::persist::payload;
use retrace::state::aof::{Batch, OPENED, OPENED_BEHIND_GAP, WRITE_TICKET};

use super::Rng;

/// What the disk does wrong at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Writes end with ENOSPC, some of them in their middle.
    pub is_full: bool,
    /// The same for files that are written aside, not for what is appended.
    pub is_full_aside: bool,
    /// Forcing to disk ends with EIO.
    pub cannot_sync: bool,
    /// It says that it has forced bytes to disk, and has not: a lie that a test plants.
    pub lies: bool,
}

#[derive(Default)]
struct Node {
    data: Vec<u8>,
    /// So many bytes are on disk.
    synced: usize,
}

/// A change of the folder that a crash may still undo.
enum Renaming {
    Put(Vec<u8>, usize),
    Removed(Vec<u8>),
}

/// A file that is being written under a temporary name.
struct Writer {
    path: Vec<u8>,
    node: usize,
    failed: Option<String>,
}

#[derive(Default)]
struct AofFile {
    node: Option<usize>,
    pending: Vec<u8>,
    written: u64,
    has_failed: bool,
    syncs: bool,
}

#[derive(Default)]
pub struct Disk {
    pub faults: Faults,
    nodes: Vec<Node>,
    names: BTreeMap<Vec<u8>, usize>,
    on_disk: BTreeMap<Vec<u8>, usize>,
    /// What has happened to the names since the folder was forced to disk, oldest first.
    renamings: Vec<Renaming>,
    writers: BTreeMap<u64, Writer>,
    jobs: VecDeque<Order>,
    aof: AofFile,
}

const FULL: &str = "No space left on device";
const BROKEN: &str = "Input/output error";

impl Disk {
    // --- what the files' thread does ---

    /// Takes an order for the thread that writes files.
    pub fn order(&mut self, job: Order) {
        self.jobs.push_back(job);
    }

    /// Whether the thread has something to do.
    pub fn is_busy(&self) -> bool {
        !self.jobs.is_empty()
    }

    /// Whether the thread's next job is to force the append-only file to disk.
    pub fn next_forces(&self) -> bool {
        matches!(self.jobs.front(), Some(Order::SyncAof { .. }))
    }

    /// Does the thread's next job; the answer, if it has one.
    pub fn work(&mut self, rng: &mut Rng) -> Option<(u64, Outcome)> {
        match self.jobs.pop_front()? {
            Order::OpenFile { file, path, .. } => {
                let node = self.create(&path);
                let failed = None;
                self.writers.insert(file, Writer { path, node, failed });
                None
            }
            Order::WriteFile {
                file,
                ticket,
                bytes,
            } => Some((ticket, self.write_file(file, &bytes, rng))),
            Order::EndFile {
                file,
                ticket,
                has_checksum,
                computes_checksum,
                target,
            } => {
                let outcome = self.end_file(file, has_checksum, computes_checksum, &target, rng);
                Some((ticket, outcome))
            }
            Order::DropFile { file } => {
                if let Some(writer) = self.writers.remove(&file) {
                    self.remove(&writer.path);
                }
                None
            }
            Order::SyncAof { ticket } => {
                let outcome = match self.aof.node {
                    Some(node) => self.sync(node),
                    None => Ok(()),
                };
                Some((
                    ticket,
                    said(outcome.map_err(|why| FileStep::Sync.failed(&why))),
                ))
            }
            Order::RemoveFiles { ticket, paths } => {
                paths.iter().for_each(|path| self.remove(path));
                Some((ticket, Ok(b"0".to_vec())))
            }
            _ => None,
        }
    }

    fn write_file(&mut self, file: u64, bytes: &[u8], rng: &mut Rng) -> Outcome {
        let Some(writer) = self.writers.get(&file) else {
            return Err(FileStep::Write.failed("No such file or directory"));
        };
        if let Some(why) = &writer.failed {
            return Err(why.clone());
        }
        let node = writer.node;
        let written = self
            .append(node, bytes, rng)
            .map_err(|(_, why)| FileStep::Write.failed(&why));
        if let (Err(why), Some(writer)) = (&written, self.writers.get_mut(&file)) {
            writer.failed = Some(why.clone());
        }
        written.map(|()| self.nodes[node].data.len().to_string().into_bytes())
    }

    fn end_file(
        &mut self,
        file: u64,
        has_checksum: bool,
        computes_checksum: bool,
        target: &[u8],
        rng: &mut Rng,
    ) -> Outcome {
        let ended = self.try_end_file(file, has_checksum, computes_checksum, target, rng);
        if let Some(writer) = self.writers.remove(&file)
            && ended.is_err()
        {
            self.remove(&writer.path);
        }
        ended
    }

    fn try_end_file(
        &mut self,
        file: u64,
        has_checksum: bool,
        computes_checksum: bool,
        target: &[u8],
        rng: &mut Rng,
    ) -> Outcome {
        if has_checksum {
            let node = self.writers.get(&file).map(|writer| writer.node);
            let sum = match node {
                Some(node) if computes_checksum => payload::crc64(&self.nodes[node].data),
                _ => 0,
            };
            self.write_file(file, &sum.to_le_bytes(), rng)?;
        }
        let Some(writer) = self.writers.get(&file) else {
            return Err(FileStep::Write.failed("No such file or directory"));
        };
        let (node, path) = (writer.node, writer.path.clone());
        self.sync(node).map_err(|why| FileStep::Sync.failed(&why))?;
        self.rename(&path, target);
        self.sync_folder();
        Ok(self.nodes[node].data.len().to_string().into_bytes())
    }

    // --- what is done at once ---

    pub fn read(&self, path: &[u8], pos: u64, len: usize) -> (Option<u64>, Vec<u8>) {
        let Some(node) = self.names.get(path) else {
            return (None, Vec::new());
        };
        let data = &self.nodes[*node].data;
        let from = usize::try_from(pos).unwrap_or(usize::MAX).min(data.len());
        let to = from.saturating_add(len).min(data.len());
        (Some(data.len() as u64), data[from..to].to_vec())
    }

    /// Writes a file in one step, aside and then renamed.
    pub fn write_whole(&mut self, path: &[u8], bytes: &[u8], rng: &mut Rng) -> Outcome {
        let aside = [b"temp-", path].concat();
        let node = self.create(&aside);
        let written = self
            .append(node, bytes, rng)
            .map_err(|(_, why)| FileStep::Write.failed(&why))
            .and_then(|()| self.sync(node).map_err(|why| FileStep::Sync.failed(&why)));
        match written {
            Ok(()) => {
                self.rename(&aside, path);
                self.sync_folder();
                Ok(Vec::new())
            }
            Err(why) => {
                self.remove(&aside);
                Err(why)
            }
        }
    }

    pub fn move_file(&mut self, from: &[u8], to: &[u8]) -> Outcome {
        match self.names.contains_key(from) {
            true => {
                self.rename(from, to);
                self.sync_folder();
                Ok(Vec::new())
            }
            false => Err("No such file or directory".to_owned()),
        }
    }

    // --- the append-only file, as `disk::aof` has it ---

    pub fn append_batch(&mut self, batch: &Batch, rng: &mut Rng) -> Option<Outcome> {
        self.aof.syncs = batch.syncs;
        if self.aof.pending.is_empty() && !self.aof.has_failed {
            return match self.append_aof(&batch.bytes, rng) {
                Ok(()) => self.settle_aof(),
                Err((step, why)) => {
                    self.aof.pending.extend_from_slice(&batch.bytes);
                    self.fail_aof(step, &why)
                }
            };
        }
        self.aof.pending.extend_from_slice(&batch.bytes);
        self.retry_aof(rng)
    }

    pub fn retry_aof(&mut self, rng: &mut Rng) -> Option<Outcome> {
        let pending = std::mem::take(&mut self.aof.pending);
        match self.append_aof(&pending, rng) {
            Ok(()) => self.settle_aof(),
            Err((step, why)) => {
                self.aof.pending = pending;
                self.fail_aof(step, &why)
            }
        }
    }

    /// The file goes on in another one, behind these last bytes; what the engine is told.
    pub fn open_aof(
        &mut self,
        before: &[u8],
        path: &[u8],
        truncate_to: Option<u64>,
        rng: &mut Rng,
    ) -> [Option<Outcome>; 2] {
        self.aof.pending.extend_from_slice(before);
        let last = self.retry_aof(rng);
        let node = match self.names.get(path) {
            Some(node) => *node,
            None => self.create(path),
        };
        if let Some(len) = truncate_to {
            let file = &mut self.nodes[node];
            file.data.truncate(len as usize);
            file.synced = file.data.len();
        }
        self.sync_folder();
        let has_gap = !self.aof.pending.is_empty();
        if let Some(old) = self.close_aof() {
            let _ = self.sync(old);
        }
        self.aof.node = Some(node);
        let said = if has_gap { OPENED_BEHIND_GAP } else { OPENED };
        [last, Some(Ok(said.to_vec()))]
    }

    pub fn end_aof(&mut self, before: &[u8], rng: &mut Rng) {
        self.aof.pending.extend_from_slice(before);
        let _ = self.retry_aof(rng);
        if let Some(old) = self.close_aof() {
            let _ = self.sync(old);
        }
    }

    /// The ticket under which the engine hears of the append-only file.
    pub const AOF_TICKET: u64 = WRITE_TICKET;

    fn close_aof(&mut self) -> Option<usize> {
        self.aof.written += self.aof.pending.len() as u64;
        self.aof.pending.clear();
        self.aof.has_failed = false;
        self.aof.node.take()
    }

    fn append_aof(&mut self, bytes: &[u8], rng: &mut Rng) -> Result<(), (FileStep, String)> {
        let Some(node) = self.aof.node else {
            return match bytes.is_empty() {
                true => Ok(()),
                false => Err((FileStep::Write, "No such file or directory".to_owned())),
            };
        };
        match self.append(node, bytes, rng) {
            Ok(()) => {
                self.aof.written += bytes.len() as u64;
                Ok(())
            }
            Err((done, why)) => {
                // Half a command would have to be cut off at the next start.
                let file = &mut self.nodes[node];
                file.data.truncate(file.data.len() - done);
                let step = if done == 0 {
                    FileStep::Write
                } else {
                    FileStep::ShortWrite
                };
                Err((step, why))
            }
        }
    }

    fn settle_aof(&mut self) -> Option<Outcome> {
        let had_failed = std::mem::take(&mut self.aof.has_failed);
        if self.aof.syncs {
            let synced = self.aof.node.map_or(Ok(()), |node| self.sync(node));
            return match synced {
                Ok(()) => Some(Ok(self.aof.written.to_string().into_bytes())),
                Err(why) => self.fail_aof(FileStep::Sync, &why),
            };
        }
        had_failed.then(|| Ok(Vec::new()))
    }

    fn fail_aof(&mut self, step: FileStep, why: &str) -> Option<Outcome> {
        let is_known = std::mem::replace(&mut self.aof.has_failed, true);
        (!is_known).then(|| Err(step.failed(why)))
    }

    // --- files and names ---

    fn create(&mut self, path: &[u8]) -> usize {
        let node = self.nodes.len();
        self.nodes.push(Node::default());
        self.put(path, node);
        node
    }

    /// Appends to a file; on a full disk says how much was taken all the same.
    fn append(&mut self, node: usize, bytes: &[u8], rng: &mut Rng) -> Result<(), (usize, String)> {
        let is_aside = self.aof.node != Some(node);
        let is_full = self.faults.is_full || self.faults.is_full_aside && is_aside;
        let taken = match is_full && !bytes.is_empty() {
            true => rng.below(bytes.len()),
            false => bytes.len(),
        };
        self.nodes[node].data.extend_from_slice(&bytes[..taken]);
        match taken == bytes.len() {
            true => Ok(()),
            false => Err((taken, FULL.to_owned())),
        }
    }

    fn sync(&mut self, node: usize) -> Result<(), String> {
        if self.faults.cannot_sync {
            return Err(BROKEN.to_owned());
        }
        if !self.faults.lies {
            let file = &mut self.nodes[node];
            file.synced = file.data.len();
        }
        Ok(())
    }

    fn put(&mut self, path: &[u8], node: usize) {
        self.names.insert(path.to_vec(), node);
        self.renamings.push(Renaming::Put(path.to_vec(), node));
    }

    fn remove(&mut self, path: &[u8]) {
        if self.names.remove(path).is_some() {
            self.renamings.push(Renaming::Removed(path.to_vec()));
        }
    }

    fn rename(&mut self, from: &[u8], to: &[u8]) {
        if let Some(node) = self.names.remove(from) {
            self.renamings.push(Renaming::Removed(from.to_vec()));
            self.put(to, node);
        }
    }

    fn sync_folder(&mut self) {
        self.on_disk = self.names.clone();
        self.renamings.clear();
    }

    /// The machine stops: of what was not forced to disk a part is there, in the order in which it happened, and the rest is
    /// gone.
    pub fn crash(&mut self, rng: &mut Rng) {
        for node in &mut self.nodes {
            let synced = node.synced.min(node.data.len());
            let kept = synced + rng.below(node.data.len() - synced + 1);
            node.data.truncate(kept);
            node.synced = kept;
        }
        let kept = rng.below(self.renamings.len() + 1);
        for renaming in self.renamings.drain(..).take(kept) {
            match renaming {
                Renaming::Put(path, node) => self.on_disk.insert(path, node),
                Renaming::Removed(path) => self.on_disk.remove(&path),
            };
        }
        self.names = self.on_disk.clone();
        self.stop();
    }

    /// The process ends: what it was writing is given up, and what it has written stays.
    pub fn stop(&mut self) {
        self.jobs.clear();
        self.writers.clear();
        self.aof = AofFile::default();
        self.faults = Faults::default();
    }

    /// The files that are there, with their lengths, for a report.
    pub fn listing(&self) -> String {
        let names = self.names.iter();
        let lines = names.map(|(path, node)| {
            let file = &self.nodes[*node];
            format!(
                "{} {} ({} forced)\n",
                path.escape_ascii(),
                file.data.len(),
                file.synced
            )
        });
        lines.collect()
    }
}

fn said(outcome: Result<(), String>) -> Outcome {
    outcome.map(|()| b"0".to_vec())
}
