//! Files of data: written by a thread of their own, which never sees the data itself, and read in chunks.
//!
//! Lives here: the thread, its orders and answers. May not: know what is in a file, but for the checksum at its end.

use crate::border::{FileStep, Outcome};
use crate::keyspace::alloc;
use crate::os::{plain, system, trap};
use crate::persist::payload;
use log::warn;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use rustix::io::Errno;

/// A file that is forced to disk in portions is so after so many bytes.
const SYNC_EVERY: u64 = 4 << 20;

/// A name in the file system.
pub fn path_of(bytes: &[u8]) -> PathBuf {
    Path::new(std::ffi::OsStr::from_bytes(bytes)).to_owned()
}

/// An order for the thread.
pub enum Job {
    Open {
        file: u64,
        path: PathBuf,
        syncs_often: bool,
    },
    Write {
        file: u64,
        ticket: u64,
        bytes: Vec<u8>,
    },
    End {
        file: u64,
        ticket: u64,
        has_checksum: bool,
        computes_checksum: bool,
        target: PathBuf,
    },
    Drop {
        file: u64,
    },
    /// Forces a file to disk that others write to.
    Sync {
        file: File,
        ticket: u64,
    },
    Remove {
        paths: Vec<PathBuf>,
        ticket: u64,
    },
    /// Gives blocks of memory back to the system that nobody uses. There is no answer to it.
    ReturnMemory,
}

/// What the thread has done: for which ticket, and how it went.
pub type Answer = (u64, Outcome);

/// The thread, from outside. It starts with the first order.
pub struct Writer {
    /// The list of CPUs that the thread may run on; empty for all.
    cpus: Vec<u8>,
    thread: Option<(Sender<Job>, JoinHandle<()>)>,
    answers: (Sender<Answer>, Receiver<Answer>),
    /// Orders that an answer will come to.
    open: usize,
}

impl Writer {
    /// A thread that will run on these CPUs, see `bio-cpulist`.
    pub fn new(cpus: &[u8]) -> Writer {
        Writer {
            cpus: cpus.to_vec(),
            thread: None,
            answers: channel(),
            open: 0,
        }
    }

    /// Gives the thread an order; `wake` is called on it behind each answer.
    pub fn order(&mut self, job: Job, wake: impl Fn() + Send + 'static) -> io::Result<()> {
        self.open += usize::from(!matches!(job, Job::Open { .. } | Job::Drop { .. }));
        if self.thread.is_none() {
            let (orders, jobs) = channel();
            let answers = self.answers.0.clone();
            let cpus = self.cpus.clone();
            let thread = std::thread::Builder::new()
                .name("files".to_owned())
                .spawn(move || {
                    if let Err(why) = system::pin_to_cpus(&cpus) {
                        warn!("bio-cpulist has no effect: {why}");
                    }
                    work(&jobs, &answers, wake);
                })?;
            self.thread = Some((orders, thread));
        }
        if let Some((orders, _)) = &self.thread {
            // A thread that has ended was told to; nobody waits for its answers then.
            let _ = orders.send(job);
        }
        Ok(())
    }

    /// The next answer, if there is one.
    pub fn poll(&mut self) -> Option<Answer> {
        if self.open == 0 {
            return None;
        }
        let answer = self.answers.1.try_recv().ok()?;
        self.open -= 1;
        Some(answer)
    }

    /// Waits until everything that was ordered is done.
    pub fn finish(&mut self) {
        if let Some((orders, thread)) = self.thread.take() {
            drop(orders);
            let _ = thread.join();
        }
    }
}

/// What failed, and why.
type Failure = (FileStep, io::Error);

/// One file that is being written.
struct Open {
    path: PathBuf,
    /// Once an order has failed, all that follow fail likewise.
    file: Result<File, Failure>,
    digest: crc::Digest<'static, u64, crc::Table<16>>,
    len: u64,
    unsynced: u64,
    syncs_often: bool,
}

fn work(jobs: &Receiver<Job>, answers: &Sender<Answer>, wake: impl Fn()) {
    trap::ready_thread();
    let mut files: BTreeMap<u64, Open> = BTreeMap::new();
    let answer = |ticket: u64, outcome: Result<u64, Failure>| {
        let outcome = outcome.map(|len| len.to_string().into_bytes());
        let outcome = outcome.map_err(|(step, error)| step.failed(&plain(&error)));
        let _ = answers.send((ticket, outcome));
        wake();
    };
    while let Ok(job) = jobs.recv() {
        match job {
            Job::Open {
                file,
                path,
                syncs_often,
            } => {
                let opened = File::create(&path).map_err(|error| (FileStep::Open, error));
                let open = Open {
                    path,
                    file: opened,
                    digest: payload::digest(),
                    len: 0,
                    unsynced: 0,
                    syncs_often,
                };
                files.insert(file, open);
            }
            Job::Write {
                file,
                ticket,
                bytes,
            } => {
                let written = match files.get_mut(&file) {
                    Some(open) => open.write(&bytes),
                    None => Err((FileStep::Write, ErrorKind::NotFound.into())),
                };
                answer(ticket, written);
            }
            Job::End {
                file,
                ticket,
                has_checksum,
                computes_checksum,
                target,
            } => {
                let ended = match files.remove(&file) {
                    Some(mut open) => {
                        let ended = open.end(has_checksum, computes_checksum, &target);
                        if ended.is_err() {
                            super::remove(&open.path);
                        }
                        ended
                    }
                    None => Err((FileStep::Write, ErrorKind::NotFound.into())),
                };
                answer(ticket, ended);
            }
            Job::Sync { file, ticket } => {
                let synced = file.sync_data();
                // What cannot be forced to disk at all, like a device, need not be.
                let synced = synced.or_else(|error| match error.kind() {
                    ErrorKind::InvalidInput => Ok(()),
                    _ => Err((FileStep::Sync, error)),
                });
                answer(ticket, synced.map(|()| 0));
            }
            Job::Remove { paths, ticket } => {
                paths.iter().for_each(|path| super::remove(path));
                answer(ticket, Ok(0));
            }
            Job::ReturnMemory => alloc::purge(),
            Job::Drop { file } => {
                if let Some(open) = files.remove(&file) {
                    super::remove(&open.path);
                }
            }
        }
    }
}

impl Open {
    /// Does this with the file, if nothing has failed so far.
    fn with(
        &mut self,
        step: FileStep,
        work: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> Result<(), Failure> {
        let file = self.file.as_mut().map_err(|why| copy(why))?;
        work(file).map_err(|error| {
            let failure = (step, error);
            self.file = Err(copy(&failure));
            failure
        })
    }

    fn write(&mut self, bytes: &[u8]) -> Result<u64, Failure> {
        self.with(FileStep::Write, |file| file.write_all(bytes))?;
        self.digest.update(bytes);
        self.len += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.syncs_often && self.unsynced >= SYNC_EVERY {
            self.unsynced = 0;
            self.with(FileStep::Sync, |file| file.sync_data())?;
        }
        Ok(self.len)
    }

    fn end(&mut self, has_checksum: bool, computes: bool, target: &Path) -> Result<u64, Failure> {
        if has_checksum {
            let digest = std::mem::replace(&mut self.digest, payload::digest());
            let sum = if computes { digest.finalize() } else { 0 };
            self.write(&sum.to_le_bytes())?;
        }
        self.with(FileStep::Sync, |file| file.sync_all())?;
        let moved = make_folder_of(target)
            .and_then(|()| fs::rename(&self.path, target))
            .and_then(|()| sync_folder(target));
        moved.map_err(|error| (FileStep::Rename, error))?;
        Ok(self.len)
    }
}

/// The same failure once more: it is told at every order for the file.
fn copy((step, error): &Failure) -> Failure {
    let error = match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => error.kind().into(),
    };
    (*step, error)
}

/// Writes a file in one step, in a folder that is made if it is not there.
pub fn write_bytes(path: &Path, bytes: &[u8]) -> Result<(), (FileStep, io::Error)> {
    let at = |step| move |error| (step, error);
    make_folder_of(path).map_err(at(FileStep::Folder))?;
    let name = path.file_name().unwrap_or_default();
    let mut aside = OsString::from("temp-");
    aside.push(name);
    let aside = path.with_file_name(aside);
    let written = File::create(&aside)
        .map_err(at(FileStep::Open))
        .and_then(|mut file| {
            file.write_all(bytes).map_err(at(FileStep::Write))?;
            file.sync_all().map_err(at(FileStep::Sync))?;
            fs::rename(&aside, path).map_err(at(FileStep::Rename))?;
            sync_folder(path).map_err(at(FileStep::Sync))
        });
    if written.is_err() {
        super::remove(&aside);
    }
    written
}

/// Gives a file another name.
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    sync_folder(to)
}

/// Makes the folder that a file is to be in, if it is not there.
pub fn make_folder_of(path: &Path) -> io::Result<()> {
    match path.parent().filter(|path| !path.as_os_str().is_empty()) {
        Some(folder) => make_folder(folder),
        None => Ok(()),
    }
}

/// Makes a folder if it is not there.
pub fn make_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path).map_err(|error| match error.kind() {
        // What is there is something else.
        ErrorKind::AlreadyExists => Errno::NOTDIR.into(),
        _ => error,
    })
}

/// A new name is on disk when its folder is.
pub fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|path| !path.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The file that is being loaded, kept open between chunks.
#[derive(Default)]
pub struct ChunkReader {
    open: Option<(Vec<u8>, File)>,
    buffer: Vec<u8>,
}

impl ChunkReader {
    /// Reads up to `len` bytes from `pos` on: the file's length, or none if there is no such file, and the bytes.
    pub fn read(
        &mut self,
        path: &[u8],
        pos: u64,
        len: usize,
    ) -> Result<(Option<u64>, &[u8]), String> {
        match self.read_at(path, pos, len) {
            Ok((size, count)) => Ok((Some(size), &self.buffer[..count])),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok((None, &[])),
            Err(error) => Err(plain(&error)),
        }
    }

    fn read_at(&mut self, path: &[u8], pos: u64, len: usize) -> io::Result<(u64, usize)> {
        let is_it = |(of, _): &(Vec<u8>, File)| *of == path;
        // From the start it is opened anew: there may be another file of that name by now.
        if pos == 0 || !self.open.as_ref().is_some_and(is_it) {
            self.open = None;
            let file = OpenOptions::new().read(true).open(path_of(path))?;
            self.open = Some((path.to_vec(), file));
        }
        let Some((_, file)) = &mut self.open else {
            return Err(ErrorKind::NotFound.into());
        };
        let size = file.metadata()?.len();
        file.seek(SeekFrom::Start(pos))?;
        self.buffer.clear();
        let count = file.take(len as u64).read_to_end(&mut self.buffer)?;
        if count == 0 || pos + count as u64 >= size {
            self.open = None;
        }
        Ok((size, count))
    }
}
