//! The append-only file as the shell has it: what is appended is written at once, and what could not be written is kept.
//!
//! May not: decide when the file is forced to disk, or what an error means (`state::aof`).

use crate::border::{FileStep, Outcome};
use crate::os::{plain, process};
use crate::state::aof::{Batch, OPENED, OPENED_BEHIND_GAP};
use log::warn;
use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

/// The file that is appended to.
#[derive(Default)]
pub struct AofFile {
    file: Option<File>,
    /// What could not be written yet.
    pending: Vec<u8>,
    /// All bytes written since the start, to any file.
    written: u64,
    has_failed: bool,
    syncs: bool,
    /// How long the last batch was forced to disk.
    sync_us: Option<u64>,
}

/// Why bytes were not written, and how many of them the file has kept all the same.
struct Failure {
    step: FileStep,
    error: io::Error,
    kept: usize,
}

impl AofFile {
    /// Appends a batch; says what the engine has to know about it, if anything.
    pub fn append(&mut self, batch: &Batch) -> Option<Outcome> {
        if batch.delay_us > 0 {
            std::thread::sleep(Duration::from_micros(batch.delay_us));
        }
        self.syncs = batch.syncs;
        if self.pending.is_empty() && !self.has_failed {
            match self.write(&batch.bytes) {
                Ok(()) => return self.settle(),
                Err(failure) => {
                    self.pending.extend_from_slice(&batch.bytes[failure.kept..]);
                    return self.fail(failure.step, &failure.error);
                }
            }
        }
        self.pending.extend_from_slice(&batch.bytes);
        self.retry()
    }

    /// How long the last batch was forced to disk, if it was; said once.
    pub fn take_sync_us(&mut self) -> Option<u64> {
        self.sync_us.take()
    }

    /// Tries again to write what is left.
    pub fn retry(&mut self) -> Option<Outcome> {
        let pending = std::mem::take(&mut self.pending);
        match self.write(&pending) {
            Ok(()) => self.settle(),
            Err(failure) => {
                self.pending = pending[failure.kept..].to_vec();
                self.fail(failure.step, &failure.error)
            }
        }
    }

    /// Everything is written.
    fn settle(&mut self) -> Option<Outcome> {
        let had_failed = std::mem::take(&mut self.has_failed);
        if self.syncs {
            let began = process::clock();
            let synced = self.file.as_ref().map_or(Ok(()), File::sync_data);
            self.sync_us = Some(process::clock().since(began));
            return match synced {
                Ok(()) => Some(Ok(self.written.to_string().into_bytes())),
                Err(error) => self.fail(FileStep::Sync, &error),
            };
        }
        had_failed.then(|| Ok(Vec::new()))
    }

    /// Tells of a failure, once.
    fn fail(&mut self, step: FileStep, error: &io::Error) -> Option<Outcome> {
        let is_known = std::mem::replace(&mut self.has_failed, true);
        (!is_known).then(|| Err(step.failed(&plain(error))))
    }

    /// Writes all of it, or says why not.
    fn write(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let Some(file) = &mut self.file else {
            return match bytes.is_empty() {
                true => Ok(()),
                false => Err(Failure {
                    step: FileStep::Write,
                    error: ErrorKind::NotFound.into(),
                    kept: 0,
                }),
            };
        };
        let mut done = 0;
        let error = loop {
            if done == bytes.len() {
                self.written += done as u64;
                return Ok(());
            }
            match file.write(&bytes[done..]) {
                Ok(0) => break ErrorKind::WriteZero.into(),
                Ok(len) => done += len,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => break error,
            }
        };
        let step = match done {
            0 => FileStep::Write,
            _ => FileStep::ShortWrite,
        };
        // Half a command at the end would have to be cut off if the server stopped now.
        if done > 0 {
            if !self.has_failed {
                warn!(
                    "Short write while writing to the AOF file: (nwritten={done}, expected={})",
                    bytes.len()
                );
            }
            let len = file.metadata().map(|about| about.len());
            match len.and_then(|len| file.set_len(len.saturating_sub(done as u64))) {
                Ok(()) => done = 0,
                Err(why) => warn!(
                    "Could not remove short write from the append-only file. Redis may refuse to load the AOF the \
                     next time it starts. ftruncate: {}",
                    plain(&why)
                ),
            }
        }
        self.written += done as u64;
        Err(Failure {
            step,
            error,
            kept: done,
        })
    }

    /// Appends the last bytes, without the promise that they are on disk; says what the engine has to know.
    pub fn append_last(&mut self, bytes: &[u8]) -> Option<Outcome> {
        self.pending.extend_from_slice(bytes);
        self.retry()
    }

    /// Goes on in this file and lets go of the one before, unless it cannot be opened.
    pub fn switch(&mut self, path: &Path, truncate_to: Option<u64>) -> (Option<File>, Outcome) {
        let file = match open(path, truncate_to) {
            Ok(file) => file,
            Err((step, error)) => return (None, Err(step.failed(&plain(&error)))),
        };
        self.has_failed = false;
        let (has_gap, old) = (!self.pending.is_empty(), self.close());
        self.file = Some(file);
        let outcome = if has_gap { OPENED_BEHIND_GAP } else { OPENED };
        (old, Ok(outcome.to_vec()))
    }

    /// Lets go of the file. What it did not take is lost.
    pub fn close(&mut self) -> Option<File> {
        self.written += self.pending.len() as u64;
        self.pending.clear();
        self.has_failed = false;
        self.file.take()
    }

    /// A second handle, for who forces the file to disk.
    pub fn handle(&self) -> io::Result<File> {
        match &self.file {
            Some(file) => file.try_clone(),
            None => Err(ErrorKind::NotFound.into()),
        }
    }

    /// Forces everything to disk, at the end.
    pub fn sync(&mut self) {
        if let Some(file) = &self.file
            && let Err(error) = file.sync_data()
        {
            warn!("Fail to fsync the AOF file: {}.", plain(&error));
        }
    }
}

fn open(path: &Path, truncate_to: Option<u64>) -> Result<File, (FileStep, io::Error)> {
    super::files::make_folder_of(path).map_err(|error| (FileStep::Folder, error))?;
    let open = || {
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        if let Some(len) = truncate_to {
            file.set_len(len)?;
            file.sync_data()?;
        }
        super::files::sync_folder(path)?;
        Ok(file)
    };
    open().map_err(|error| (FileStep::Open, error))
}
