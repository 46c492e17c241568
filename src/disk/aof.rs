//! The append-only file as the shell has it: what is appended is written at once, and what could not be written is kept.
//!
//! May not: decide when the file is forced to disk, or what an error means (`state::aof`).

use crate::border::Outcome;
use crate::net::listen::plain;
use crate::state::aof::Batch;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::Path;

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
}

impl AofFile {
    /// Appends a batch; says what the engine has to know about it, if anything.
    pub fn append(&mut self, batch: &Batch) -> Option<Outcome> {
        self.syncs = batch.syncs;
        if self.pending.is_empty() && !self.has_failed {
            match self.write(&batch.bytes) {
                Ok(()) => return self.settle(),
                Err((error, done)) => {
                    self.pending.extend_from_slice(&batch.bytes[done..]);
                    return self.fail(&error);
                }
            }
        }
        self.pending.extend_from_slice(&batch.bytes);
        self.retry()
    }

    /// Tries again to write what is left.
    pub fn retry(&mut self) -> Option<Outcome> {
        let pending = std::mem::take(&mut self.pending);
        match self.write(&pending) {
            Ok(()) => self.settle(),
            Err((error, done)) => {
                self.pending = pending[done..].to_vec();
                self.fail(&error)
            }
        }
    }

    /// Everything is written.
    fn settle(&mut self) -> Option<Outcome> {
        let had_failed = std::mem::take(&mut self.has_failed);
        if self.syncs {
            let synced = self.file.as_ref().map_or(Ok(()), File::sync_data);
            return match synced {
                Ok(()) => Some(Ok(self.written.to_string().into_bytes())),
                Err(error) => self.fail(&error),
            };
        }
        had_failed.then(|| Ok(Vec::new()))
    }

    /// Tells of a failure, once.
    fn fail(&mut self, error: &io::Error) -> Option<Outcome> {
        let is_known = std::mem::replace(&mut self.has_failed, true);
        (!is_known).then(|| Err(plain(error)))
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), (io::Error, usize)> {
        let Some(file) = &mut self.file else {
            return match bytes.is_empty() {
                true => Ok(()),
                false => Err((ErrorKind::NotFound.into(), 0)),
            };
        };
        let mut done = 0;
        while done < bytes.len() {
            match file.write(&bytes[done..]) {
                Ok(0) => return Err((ErrorKind::WriteZero.into(), done)),
                Ok(len) => {
                    done += len;
                    self.written += len as u64;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err((error, done)),
            }
        }
        Ok(())
    }

    /// Appends the last bytes to the file and lets go of it.
    pub fn replace(&mut self, before: &[u8]) -> Option<File> {
        self.pending.extend_from_slice(before);
        let pending = std::mem::take(&mut self.pending);
        // What a full disk does not take now is in the new base, or lost with an error that was told.
        if let Err((_, done)) = self.write(&pending) {
            self.written += (pending.len() - done) as u64;
        }
        self.file.take()
    }

    /// Goes on in this file.
    pub fn open(&mut self, path: &Path, truncate_to: Option<u64>) -> Outcome {
        let opened = open(path, truncate_to);
        match opened {
            Ok(file) => {
                self.file = Some(file);
                Ok(b"opened".to_vec())
            }
            Err(error) => {
                self.has_failed = true;
                Err(plain(&error))
            }
        }
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
            log::warn!(
                "Forcing the append-only file to disk failed: {}",
                plain(&error)
            );
        }
    }
}

fn open(path: &Path, truncate_to: Option<u64>) -> io::Result<File> {
    if let Some(folder) = path.parent().filter(|path| !path.as_os_str().is_empty()) {
        fs::create_dir_all(folder)?;
    }
    let file = OpenOptions::new().append(true).create(true).open(path)?;
    if let Some(len) = truncate_to {
        file.set_len(len)?;
        file.sync_data()?;
    }
    super::files::sync_folder(path)?;
    Ok(file)
}
