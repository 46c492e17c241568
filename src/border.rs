//! Inputs and orders: the border between the shell and the engine.
//!
//! An Input is anything the shell learns that can change what the engine does. The same start and the same
//! Inputs in the same order give the same output bytes, which is what a journal relies on. Lives here: the
//! types that cross the border, in both directions. May not: anything that acts.

use crate::config::Config;
use crate::ids::{ConnId, UnixMicros};

/// Where a connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// `ip:port` of the other side, or `path:0` for a unix socket.
    pub addr: String,
    /// `ip:port` of our side, or `path:0` for a unix socket.
    pub local_addr: String,
    pub is_unix: bool,
    /// From this machine: loopback or a unix socket. Protected mode lets only these in.
    pub is_local: bool,
    /// The socket's file descriptor number, which CLIENT LIST shows.
    pub fd: i32,
}

/// Why a connection ended from the outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// The other side closed it in order.
    Eof,
    /// Reading or writing failed.
    Error,
}

/// What the process looks like from outside the engine, taken when a command asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    pub used_memory: u64,
    pub rss_bytes: u64,
    pub system_memory_bytes: u64,
    /// Microseconds of CPU: system and user time of the process, its children, and the main thread.
    pub cpu_sys_us: u64,
    pub cpu_user_us: u64,
    pub cpu_sys_children_us: u64,
    pub cpu_user_children_us: u64,
    pub cpu_sys_main_thread_us: u64,
    pub cpu_user_main_thread_us: u64,
}

/// How long it took to append to the append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// The clock when that was done.
    pub now: UnixMicros,
    pub write_us: u64,
    /// With `appendfsync always`: forcing what was written to disk.
    pub sync_us: Option<u64>,
}

/// A signal that concerns the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    Interrupt,
    Terminate,
}

impl Signal {
    /// What the log says when it comes.
    pub fn announcement(self) -> &'static str {
        match self {
            Signal::Interrupt => "Received SIGINT scheduling shutdown...",
            Signal::Terminate => "Received SIGTERM scheduling shutdown...",
        }
    }
}

/// What the log says when the end is asked for again, and comes at once.
pub const INSISTS: &str = "You insist... exiting now.";

/// The shell's answer to an [`Order`] that carries a ticket: what it found (often nothing), or what went wrong.
pub type Outcome = Result<Vec<u8>, String>;

/// Which step of an order for a file of data failed. The text of such an [`Outcome`] begins with the step's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileStep {
    /// Making the folder.
    Folder,
    Open,
    Write,
    /// Some of it was written and taken back. The log has been told.
    ShortWrite,
    Sync,
    Rename,
}

impl FileStep {
    const ALL: [(FileStep, &str); 6] = [
        (FileStep::Folder, "folder: "),
        (FileStep::Open, "open: "),
        (FileStep::Write, "write: "),
        (FileStep::ShortWrite, "short write: "),
        (FileStep::Sync, "fsync: "),
        (FileStep::Rename, "rename: "),
    ];

    /// The text of an outcome: this step failed, and why.
    pub fn failed(self, why: &str) -> String {
        let named = FileStep::ALL.iter().find(|(step, _)| *step == self);
        format!("{}{why}", named.map_or("", |(_, name)| name))
    }

    /// Which step failed, and why. What names no step is about writing.
    pub fn split(text: &str) -> (FileStep, &str) {
        FileStep::ALL
            .iter()
            .find_map(|(step, name)| Some((*step, text.strip_prefix(name)?)))
            .unwrap_or((FileStep::Write, text))
    }
}

/// One thing that the engine learns.
#[derive(Clone, Debug, PartialEq)]
pub enum Input<'a> {
    /// The clock at the start of a loop turn; it stands still until the next.
    Time(UnixMicros),
    /// The clock at the end of a loop turn in which commands ran whose time is still to be shared out.
    TurnEnd(UnixMicros),
    /// A connection was accepted. Its number is one that no other has, see [`ConnId`].
    Accept {
        conn: ConnId,
        peer: Peer,
    },
    /// Bytes arrived.
    Read {
        conn: ConnId,
        bytes: &'a [u8],
    },
    /// The other side is gone.
    Closed {
        conn: ConnId,
        reason: CloseReason,
    },
    /// The socket took this many of the pending reply bytes.
    Wrote {
        conn: ConnId,
        len: usize,
    },
    /// Answer to [`Want::Clock`] and [`Want::Sleep`].
    Clock(UnixMicros),
    /// Answer to [`Want::Reading`].
    Reading(Reading),
    /// Answer to an order with a ticket.
    Done {
        ticket: u64,
        outcome: Outcome,
    },
    /// The append-only file was given what commands had changed.
    Appended(Appended),
    Signal(Signal),
    /// Answer to [`Order::ReadFile`].
    Chunk {
        ticket: u64,
        /// The file's length; `None` when there is no such file.
        size: Option<u64>,
        /// What was read; nothing at the file's end.
        bytes: &'a [u8],
    },
}

/// What the engine must be given before it goes on; the shell serves it at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A clock reading, to time the command that just ran.
    Clock,
    /// The server stands still for this many microseconds; then a clock reading.
    Sleep { us: u64 },
    /// A process reading, for a command that reports one.
    Reading,
}

/// How loud a log line is, in Redis' terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    Debug,
    Verbose,
    Notice,
    Warning,
}

/// What the engine asks the shell to do.
#[derive(Clone, Debug, PartialEq)]
pub enum Order {
    /// Write a log line. The engine has applied `loglevel` already.
    Log { level: LogLevel, text: String },
    /// Write the configuration (as `engine.config()` stands) back to its file, then answer. With `all`, what has
    /// its default is written too.
    RewriteConfig { ticket: u64, all: bool },
    /// Listen as `engine.config()` now says (`bind`, `port`, `unixsocket`), then answer. On failure the
    /// listeners stay as they were.
    Listen { ticket: u64 },
    /// Make room for `maxclients` file descriptors, then answer.
    RaiseFileLimit { ticket: u64, maxclients: usize },
    /// Make `dir` of `engine.config()` the working directory, then answer with its absolute path.
    ChangeDir { ticket: u64 },
    /// Read the ACL file that `engine.config()` names, then answer with its text.
    ReadAclFile { ticket: u64 },
    /// Make this the text of the ACL file that `engine.config()` names, then answer.
    WriteAclFile { ticket: u64, text: Vec<u8> },
    /// Give the process the place among the kernel's victims that `oom-score-adj` of `engine.config()` says, then
    /// answer.
    AdjustOomScore { ticket: u64 },
    /// The configuration has changed: follow it in what needs no answer.
    LookAtConfig,
    /// Give unused memory back to the system.
    PurgeMemory,
    /// Read up to `len` bytes of a file from `pos` on; the answer is an [`Input::Chunk`], or that it failed.
    ReadFile {
        ticket: u64,
        path: Vec<u8>,
        pos: u64,
        len: usize,
    },
    /// Begin a new file at `path`, to be known by this number. With `syncs_often` it is forced to disk in portions,
    /// against one long wait at the end. There is no answer: what fails is told by the next order for the file.
    OpenFile {
        file: u64,
        path: Vec<u8>,
        syncs_often: bool,
    },
    /// Write this behind what the file has, then answer.
    WriteFile {
        file: u64,
        ticket: u64,
        bytes: Vec<u8>,
    },
    /// End the file with its checksum, or zeros in its place, if it has one; force it to disk and give it the name
    /// `target`, then answer with its length.
    EndFile {
        file: u64,
        ticket: u64,
        has_checksum: bool,
        computes_checksum: bool,
        target: Vec<u8>,
    },
    /// Give a file up and remove it.
    DropFile { file: u64 },
    /// Write this to the file at `path`, in one step: who reads it sees what was there before, or all of it. Then
    /// answer. The folder is made if it is not there.
    WriteWhole {
        ticket: u64,
        path: Vec<u8>,
        bytes: Vec<u8>,
    },
    /// Give a file another name, then answer.
    Rename {
        ticket: u64,
        from: Vec<u8>,
        to: Vec<u8>,
    },
    /// Make this folder if it is not there, then answer.
    MakeFolder { ticket: u64, path: Vec<u8> },
    /// Remove these files in the background, then answer.
    RemoveFiles { ticket: u64, paths: Vec<Vec<u8>> },
    /// Append this to the append-only file, then go on with the file at `path`, which is cut off first if a length
    /// is given. The answers of these orders and of writing come with [`crate::state::aof::WRITE_TICKET`].
    OpenAof {
        before: Vec<u8>,
        path: Vec<u8>,
        truncate_to: Option<u64>,
    },
    /// Append this to the append-only file and close it.
    CloseAof { before: Vec<u8> },
    /// Force the append-only file to disk in the background, then answer.
    SyncAof { ticket: u64 },
    /// Try again to write what could not be written.
    RetryAof,
    /// The data is loaded: say that clients are served now.
    Ready,
    /// The server has begun to end.
    Stopping,
    /// End the process with this exit code; replies still pending are written first, as far as sockets take them.
    Exit { code: i32 },
}

/// What is to happen to a connection after its output was offered to the socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Nothing is left to send.
    Drained,
    /// The socket is full; go on when it is writable again.
    Pending,
    /// Close the socket. The engine has forgotten the client.
    Close,
}

/// What a panic carries by which the engine asks for the signal of a bad memory access.
#[derive(Clone, Copy, Debug)]
pub struct Fault;

/// Everything that an engine starts from; a journal begins with it.
#[derive(Clone, Debug, Default)]
pub struct Boot {
    pub config: Config,
    /// Absolute path of the configuration file, if one was read.
    pub config_file: Option<String>,
    /// `rename-command` directives: old name, new name.
    pub rename_commands: Vec<(String, String)>,
    /// `user` directives: name and rules.
    pub users: Vec<Vec<Vec<u8>>>,
    /// The text of the ACL file, if one is configured.
    pub acl_file: Option<Vec<u8>>,
    /// What passwords are made from; unlike all that `seed` gives, nobody outside can learn it.
    pub secret: [u8; 32],
    pub seed: u64,
    pub now: UnixMicros,
    pub pid: u32,
    pub executable: String,
    /// Kernel name, release and machine.
    pub os: String,
    /// The run is recorded, as every run is that is repeated.
    pub is_recorded: bool,
    /// This engine repeats a recorded run: it keeps a trace of commands for the report of a difference.
    pub replaying: bool,
}
