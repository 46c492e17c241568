//! Trap: signals that tell of a crash, and SIGALRM, caught where they strike.
//!
//! A handler may do next to nothing: whatever it interrupts may hold any lock and be in the middle of any change. So it
//! notes what happened and the stack it happened on in memory that is set aside, rings a bell, and leaves the telling to
//! the thread that answers it (`crash`). Behind SIGALRM the interrupted code goes on at once. After a crash it stands
//! still until the report is written, so that the report can look at what it was doing, and then the process ends by
//! the same signal. A panic takes the same way, from its hook.
//!
//! Lives here: handlers, the note, the look at a thread that stands still. May not: write, or choose what is told.
//!
//! Invariants:
//! 1. The note belongs to who has moved `state` from `FREE` to `TAKEN`, and to the watch from `FULL` on until it moves it
//!    back. Everything in it is atomic all the same.
//! 2. `LOOKED_AT` points to the server from [`show`] until the guard that it returns is dropped, both on the main thread.
//! 3. While [`look`] runs, the main thread stands still, in a handler or in the panic's hook, and does not go on with what
//!    it was doing before the look is over.
#![allow(
    unsafe_code,
    reason = "handlers of signals that only a bug sends, and a look at what a thread was doing that stands still in one; \
              there is no safe interface to either"
)]

use super::serve::Server;
use crate::resp::Args;
use crate::state::Client;
use libc::{SIGABRT, SIGALRM, SIGBUS, SIGFPE, SIGILL, SIGSEGV, c_int, c_void, siginfo_t};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicUsize};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

/// Signals that end the process, with a report.
const FATAL: [c_int; 5] = [SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT];

/// Frames of a stack that are kept, from its top on.
const FRAMES_MAX: usize = 128;

/// How long a crash may wait for its report, in steps of a millisecond.
const WAIT_MS: u32 = 10_000;

/// The main thread's room for handlers: also when its own stack is full, the stack's frames are to be found.
const HANDLER_STACK: usize = 128 * 1024;

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const FULL: u8 = 2;

/// What stands for a signal in the note of a panic.
const PANIC: c_int = 0;

/// What a handler leaves for the watch.
struct Note {
    state: AtomicU8,
    signal: AtomicI32,
    code: AtomicI32,
    pid: AtomicI32,
    uid: AtomicU32,
    address: AtomicUsize,
    on_main: AtomicBool,
    frames: [AtomicUsize; FRAMES_MAX],
    depth: AtomicUsize,
}

static NOTE: Note = Note {
    state: AtomicU8::new(FREE),
    signal: AtomicI32::new(0),
    code: AtomicI32::new(0),
    pid: AtomicI32::new(0),
    uid: AtomicU32::new(0),
    address: AtomicUsize::new(0),
    on_main: AtomicBool::new(false),
    frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
    depth: AtomicUsize::new(0),
};

static BELL: OnceLock<UnixStream> = OnceLock::new();
/// The main thread, as the system's thread library knows it, and the watch.
static MAIN: AtomicUsize = AtomicUsize::new(0);
static WATCH: AtomicUsize = AtomicUsize::new(0);
static REPORTS: AtomicBool = AtomicBool::new(true);
/// A crash has come that a report is written of; there is no second one.
static CRASHED: AtomicBool = AtomicBool::new(false);
static IS_TOLD: AtomicBool = AtomicBool::new(false);
/// What a panic said.
static MESSAGE: Mutex<String> = Mutex::new(String::new());
static LOOKED_AT: AtomicPtr<Server> = AtomicPtr::new(ptr::null_mut());
/// The handlers before ours, by their place in [`FATAL`]: Rust's own tells of a stack that has overflowed.
static BEFORE: [AtomicUsize; FATAL.len()] = [const { AtomicUsize::new(0) }; FATAL.len()];

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The process is about to end by this signal. `sender` is the process that sent it, and its user, if one did;
    /// else the bad memory access was at `address`.
    Crash {
        signal: i32,
        code: i32,
        sender: Option<(i32, u32)>,
        address: usize,
    },
    Alarm {
        /// The process sent it to itself.
        is_own: bool,
    },
    Panic(String),
}

/// What happened, and where.
#[derive(Clone, Debug)]
pub struct Incident {
    pub cause: Cause,
    /// Addresses of the calls under way, the innermost first.
    pub frames: Vec<usize>,
    /// It happened on the main thread.
    pub on_main: bool,
}

/// Takes the signals over, on the main thread. From now on `bell` gets a byte for each incident.
pub fn arm(bell: UnixStream) -> io::Result<()> {
    bell.set_nonblocking(true)?;
    let _ = BELL.set(bell);
    MAIN.store(this_thread(), SeqCst);
    // The first look for a stack's frames may allocate, which a handler may not.
    note_frames();
    give_handler_stack()?;
    for (signal, before) in FATAL.iter().zip(&BEFORE) {
        before.store(handle(*signal, on_crash)?, SeqCst);
    }
    handle(SIGALRM, on_alarm)?;
    Ok(())
}

/// The thread that calls this answers the bell.
pub fn begin_watch() {
    WATCH.store(this_thread(), SeqCst);
}

/// Whether the calling thread is the one that writes reports.
pub fn is_watch() -> bool {
    WATCH.load(Relaxed) == this_thread()
}

/// Whether a crash leaves a report.
pub fn reports() -> bool {
    REPORTS.load(Relaxed)
}

/// Switches reports of crashes on or off.
pub fn set_reports(on: bool) {
    REPORTS.store(on, Relaxed);
}

/// Rings the bell without an incident: the watch is to look at what has changed.
pub fn ring() {
    if let Some(mut bell) = BELL.get() {
        // A full bell has been rung.
        let _ = bell.write(b"!");
    }
}

/// Sends the process the signal of a bad memory access.
pub fn fault() {
    raise(SIGSEGV);
}

/// Sends the process SIGALRM, which the main thread gets.
pub fn alarm() {
    let pid = rustix::process::getpid();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::ALARM);
}

/// Leaves the note of a panic, and waits until it is told. Without a watch nothing happens.
pub fn panicked(message: String) {
    if BELL.get().is_none() || is_watch() || !claim() {
        return;
    }
    if let Ok(mut place) = MESSAGE.lock() {
        *place = message;
    }
    IS_TOLD.store(false, SeqCst);
    NOTE.signal.store(PANIC, Relaxed);
    NOTE.on_main.store(is_main(), Relaxed);
    note_frames();
    send_note();
    wait_until_told();
}

/// The incident that the bell was rung for, if it was for one.
pub fn take() -> Option<Incident> {
    if NOTE.state.load(Acquire) != FULL {
        return None;
    }
    let own_pid = rustix::process::getpid().as_raw_pid();
    let (signal, code) = (NOTE.signal.load(Relaxed), NOTE.code.load(Relaxed));
    let (pid, uid) = (NOTE.pid.load(Relaxed), NOTE.uid.load(Relaxed));
    let cause = match signal {
        PANIC => Cause::Panic(
            MESSAGE
                .lock()
                .map_or_else(|_| String::new(), |of| of.clone()),
        ),
        SIGALRM => Cause::Alarm {
            is_own: pid == own_pid,
        },
        _ => Cause::Crash {
            signal,
            code,
            sender: is_sent(code).then_some((pid, uid)),
            address: NOTE.address.load(Relaxed),
        },
    };
    let depth = NOTE.depth.load(Relaxed).min(FRAMES_MAX);
    let frames = NOTE.frames[..depth].iter();
    Some(Incident {
        cause,
        frames: frames.map(|frame| frame.load(Relaxed)).collect(),
        on_main: NOTE.on_main.load(Relaxed),
    })
}

/// The incident is told: whoever waits for that goes on, and the note is free.
pub fn told() {
    NOTE.state.store(FREE, Release);
    IS_TOLD.store(true, SeqCst);
}

/// Ends with what is shown.
pub struct Shown;

/// From now on a report may look at the server, until what this returns is dropped.
pub fn show(server: &mut Server) -> Shown {
    LOOKED_AT.store(ptr::from_mut(server), SeqCst);
    Shown
}

impl Drop for Shown {
    fn drop(&mut self) {
        LOOKED_AT.store(ptr::null_mut(), SeqCst);
    }
}

/// Looks at the server while the main thread stands still because of an incident on it; for the watch only.
pub fn look<R>(incident: &Incident, see: impl FnOnce(&mut Server) -> R) -> Option<R> {
    let may = incident.on_main && is_watch() && !matches!(incident.cause, Cause::Alarm { .. });
    let server = LOOKED_AT.load(SeqCst);
    if !may || server.is_null() {
        return None;
    }
    // SAFETY: the server is there (invariant 2) and nobody else uses it (invariant 3). It may be in the middle of a
    // change; then this look, and no other, fails, and the process is about to end.
    Some(see(unsafe { &mut *server }))
}

/// Looks at the command that runs, whose client and arguments are at these addresses; within [`look`] only.
pub fn look_at_running<R>(
    (client, args): (usize, usize),
    see: impl FnOnce(&Client, Args<'_>) -> R,
) -> R {
    let client = ptr::with_exposed_provenance::<Client>(client);
    let args = ptr::with_exposed_provenance::<Args<'_>>(args);
    // SAFETY: the engine keeps the addresses from the start of a command to its end (`Engine::call`), both are on the
    // stack of the main thread or below it, and that stands still (invariant 3).
    unsafe { see(&*client, *args) }
}

// --- on the thread that is interrupted ---

type Handler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// A signal that ends the process.
extern "C" fn on_crash(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    run_before(signal, info, context);
    let (code, pid, uid, address) = facts(info);
    let is_sent = is_sent(code);
    if REPORTS.load(Relaxed) && BELL.get().is_some() {
        if is_sent && pid != own_pid() && !is_main() {
            return forward(signal);
        }
        // The report itself may be what crashes: then there is no more to tell.
        if !CRASHED.swap(true, SeqCst) && !is_watch() && claim() {
            IS_TOLD.store(false, SeqCst);
            NOTE.signal.store(signal, Relaxed);
            NOTE.code.store(code, Relaxed);
            NOTE.pid.store(pid, Relaxed);
            NOTE.uid.store(uid, Relaxed);
            NOTE.address.store(address, Relaxed);
            NOTE.on_main.store(is_main(), Relaxed);
            note_frames();
            send_note();
        }
        if !is_watch() {
            wait_until_told();
        }
    }
    // Back in the code that failed, it fails again, now without us. A signal that was sent comes again behind this.
    reset(signal);
    if is_sent {
        raise(signal);
    }
}

/// Somebody wants to know what the main thread is doing.
extern "C" fn on_alarm(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    let errno = errno::errno();
    let (_, pid, ..) = facts(info);
    if !is_main() {
        forward(signal);
    } else if NOTE
        .state
        .compare_exchange(FREE, TAKEN, SeqCst, Relaxed)
        .is_ok()
    {
        NOTE.signal.store(signal, Relaxed);
        NOTE.pid.store(pid, Relaxed);
        NOTE.on_main.store(true, Relaxed);
        note_frames();
        send_note();
    }
    errno::set_errno(errno);
}

/// Makes the note ours, after a while if it is being told.
fn claim() -> bool {
    for _ in 0..WAIT_MS {
        if NOTE
            .state
            .compare_exchange(FREE, TAKEN, SeqCst, Relaxed)
            .is_ok()
        {
            return true;
        }
        pause();
    }
    false
}

fn send_note() {
    NOTE.state.store(FULL, Release);
    ring();
}

fn wait_until_told() {
    for _ in 0..WAIT_MS {
        if IS_TOLD.load(SeqCst) {
            return;
        }
        pause();
    }
}

fn pause() {
    let millisecond = Duration::from_millis(1);
    let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
        tv_sec: 0,
        tv_nsec: millisecond.subsec_nanos().into(),
    });
}

/// Whether a process sent the signal: a fault has a code of its own. Some systems count codes of sent ones from here on.
fn is_sent(code: i32) -> bool {
    code <= 0 || code > 0xffff
}

/// The signal's code, who sent it, and the address that it is about.
fn facts(info: *mut siginfo_t) -> (i32, i32, u32, usize) {
    if info.is_null() {
        return (0, 0, 0, 0);
    }
    // SAFETY: the system hands a handler that was registered with SA_SIGINFO a valid pointer. Each of the fields is there
    // in every kind of signal, if only as other fields' bytes, and any bytes are numbers.
    unsafe {
        let info = &*info;
        (
            info.si_code,
            info.si_pid(),
            info.si_uid(),
            info.si_addr().addr(),
        )
    }
}

/// Notes the stack of the calling thread.
#[inline(never)]
fn note_frames() {
    let mut depth = 0;
    // SAFETY: it is only the synchronisation between threads that is left out, for what is looked up; this looks nothing
    // up. Walking the stack neither allocates nor locks but at its first time, which `arm` has been.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            let address = frame.ip().addr();
            if let Some(place) = NOTE.frames.get(depth).filter(|_| address != 0) {
                place.store(address, Relaxed);
                depth += 1;
            }
            address != 0 && depth < FRAMES_MAX
        });
    }
    NOTE.depth.store(depth, Relaxed);
}

/// Runs the handler before ours.
fn run_before(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let place = FATAL.iter().position(|of| *of == signal);
    let before = place.map_or(0, |place| BEFORE[place].load(SeqCst));
    if before != 0 {
        // SAFETY: `handle` has seen that this is a handler with the same arguments, and these are the ones it would have
        // been given.
        let before: Handler = unsafe { std::mem::transmute::<usize, Handler>(before) };
        before(signal, info, context);
    }
}

/// Registers a handler; the address of the one before, if that has the same arguments, else 0.
fn handle(signal: c_int, handler: Handler) -> io::Result<usize> {
    // SAFETY: all zeros is a value of both; the pointers are valid for the call. The handler does what is allowed in one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        let mut before: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_RESTART;
        if libc::sigaction(signal, &action, &mut before) != 0 {
            return Err(io::Error::last_os_error());
        }
        let is_none = [libc::SIG_DFL, libc::SIG_IGN].contains(&before.sa_sigaction);
        let is_alike = before.sa_flags & libc::SA_SIGINFO != 0 && !is_none;
        Ok(if is_alike { before.sa_sigaction } else { 0 })
    }
}

/// From now on the signal does what it does without a handler.
fn reset(signal: c_int) {
    // SAFETY: as in `handle`; there is no handler.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        libc::sigaction(signal, &action, ptr::null_mut());
    }
}

/// Sends the calling thread a signal.
fn raise(signal: c_int) {
    // SAFETY: no memory is concerned, and it may be called in a handler.
    unsafe { libc::raise(signal) };
}

/// Passes a signal on to the main thread, which it is about.
fn forward(signal: c_int) {
    // SAFETY: the main thread lives as long as the process. It may be called in a handler.
    unsafe { libc::pthread_kill(MAIN.load(SeqCst) as libc::pthread_t, signal) };
}

fn this_thread() -> usize {
    // SAFETY: it cannot fail, and may be called in a handler.
    (unsafe { libc::pthread_self() }) as usize
}

fn is_main() -> bool {
    MAIN.load(Relaxed) == this_thread()
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// Gives the calling thread a stack for handlers, for good.
fn give_handler_stack() -> io::Result<()> {
    let memory = Box::leak(vec![0u8; HANDLER_STACK].into_boxed_slice());
    let stack = libc::stack_t {
        ss_sp: memory.as_mut_ptr().cast(),
        ss_flags: 0,
        ss_size: memory.len(),
    };
    // SAFETY: the memory is valid, and nobody else ever uses it.
    match unsafe { libc::sigaltstack(&stack, ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
