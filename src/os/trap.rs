//! Trap: signals that tell of a crash, and SIGALRM, caught where they strike.
//!
//! A handler may do next to nothing: whatever it interrupts may hold any lock and be in the middle of any change. So it
//! notes what happened and the stack it happened on in memory that is set aside, rings a bell, and leaves the telling to
//! the thread that answers it (`crash`), the watch. Behind SIGALRM the interrupted code goes on at once. After a crash it
//! stands still until the report is written, so that the report can look at what it was doing, and then the process ends
//! by the same signal. A stack that is damaged may make the look at it fail: then the same handler runs once more, and
//! what was found is told. What fails in the watch cuts the report short.
//!
//! Lives here: handlers and their notes. May not: write, or choose what is told.
//!
//! Invariants:
//! 1. A note belongs to who has moved its `state` from `FREE` to `TAKEN`, and to the watch from `FULL` on. Everything in it
//!    is atomic all the same. The note of a crash is written once in a process' life.
//! 2. From `READ` on the main thread, if the note is its own, stands still in the handler of a signal that ends the process,
//!    and never goes on with what it was doing.
#![allow(
    unsafe_code,
    reason = "handlers of signals that only a bug sends; there is no safe interface to them"
)]

use corosensei::stack::{DefaultStack, Stack};
use libc::{c_int, c_void, siginfo_t};
use nix::sys::pthread::{pthread_kill, pthread_self};
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, raise, sigaction};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::OnceLock;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU8, AtomicU32, AtomicUsize};

/// Signals that end the process, with a report.
const FATAL: [Signal; 5] = [
    Signal::SIGSEGV,
    Signal::SIGBUS,
    Signal::SIGFPE,
    Signal::SIGILL,
    Signal::SIGABRT,
];

/// Signals that end the process without a report, as they do any. The journal gets its last records first.
const ENDING: [Signal; 8] = [
    Signal::SIGQUIT,
    Signal::SIGTRAP,
    Signal::SIGUSR1,
    Signal::SIGXCPU,
    Signal::SIGXFSZ,
    Signal::SIGVTALRM,
    Signal::SIGPROF,
    Signal::SIGSYS,
];

/// Frames of a stack that are kept, from its top on.
const FRAMES_MAX: usize = 128;

/// How long a crash may wait for its report to begin, and for its end, in steps of a millisecond.
const WAIT_MS: u32 = 10_000;

/// A thread's room for handlers: also when its own stack is full, the stack's frames are to be found. What a thread has
/// from the start is enough for one handler, but not for what a crash in a handler needs.
const HANDLER_STACK: usize = 128 * 1024;

const FREE: u8 = 0;
const TAKEN: u8 = 1;
const FULL: u8 = 2;
/// The watch has read the note of a crash, and writes the report.
const READ: u8 = 3;
/// The report is written.
const TOLD: u8 = 4;

/// What a handler leaves for the watch.
struct Note {
    state: AtomicU8,
    /// Whose note it is.
    thread: AtomicUsize,
    signal: AtomicI32,
    code: AtomicI32,
    pid: AtomicI32,
    uid: AtomicU32,
    address: AtomicUsize,
    frames: [AtomicUsize; FRAMES_MAX],
    depth: AtomicUsize,
}

impl Note {
    const fn new() -> Note {
        Note {
            state: AtomicU8::new(FREE),
            thread: AtomicUsize::new(0),
            signal: AtomicI32::new(0),
            code: AtomicI32::new(0),
            pid: AtomicI32::new(0),
            uid: AtomicU32::new(0),
            address: AtomicUsize::new(0),
            frames: [const { AtomicUsize::new(0) }; FRAMES_MAX],
            depth: AtomicUsize::new(0),
        }
    }
}

/// Each has its own, so that a crash never waits for an alarm to be told: it may have come in the middle of noting one.
static CRASH: Note = Note::new();
static ALARM: Note = Note::new();

static BELL: OnceLock<UnixStream> = OnceLock::new();
/// The main thread, as the system's thread library knows it, and the watch.
static MAIN: AtomicUsize = AtomicUsize::new(0);
static WATCH: AtomicUsize = AtomicUsize::new(0);
static REPORTS: AtomicBool = AtomicBool::new(true);
/// What ends a report whose writer has failed itself. It runs in a handler.
static CUT_SHORT: OnceLock<fn()> = OnceLock::new();
/// The handlers before ours, by their place in [`FATAL`]: Rust's own tells of a stack that has overflowed.
static BEFORE: [OnceLock<SigHandler>; FATAL.len()] = [const { OnceLock::new() }; FATAL.len()];

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
    /// The process is about to end by a signal that tells of no crash.
    End,
}

/// What happened, and where.
#[derive(Clone, Debug)]
pub struct Incident {
    pub cause: Cause,
    frames: [usize; FRAMES_MAX],
    depth: usize,
    /// It happened on the main thread.
    pub on_main: bool,
}

impl Incident {
    /// Addresses of the calls under way, the innermost first.
    pub fn frames(&self) -> &[usize] {
        &self.frames[..self.depth]
    }
}

/// Takes the signals over, on the main thread. From now on `bell` gets a byte for each incident. `cut_short` runs in a
/// handler when the watch itself fails.
pub fn arm(bell: UnixStream, cut_short: fn()) -> io::Result<()> {
    bell.set_nonblocking(true)?;
    let _ = CUT_SHORT.set(cut_short);
    let _ = BELL.set(bell);
    MAIN.store(this_thread(), SeqCst);
    // The first look for a stack's frames may allocate, which a handler may not.
    note_frames(&ALARM);
    give_handler_stack()?;
    for (signal, before) in FATAL.iter().zip(&BEFORE) {
        let _ = before.set(handle(*signal, SigHandler::SigAction(on_crash))?);
    }
    handle(Signal::SIGALRM, SigHandler::SigAction(on_alarm))?;
    for signal in ENDING {
        // What whoever started the server has switched off stays so.
        let before = handle(signal, SigHandler::SigAction(on_end))?;
        if matches!(before, SigHandler::SigIgn) {
            handle(signal, SigHandler::SigIgn)?;
        }
    }
    Ok(())
}

/// The thread that calls this answers the bell.
pub fn begin_watch() {
    WATCH.store(this_thread(), SeqCst);
    ready_thread();
}

/// Gets the calling thread ready for a crash. Without that, it may leave no report.
pub fn ready_thread() {
    // The thread has a smaller stack for handlers already.
    let _ = give_handler_stack();
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

/// Sends the calling thread the signal of a bad memory access.
pub fn fault() {
    let _ = raise(Signal::SIGSEGV);
}

/// Sends the process SIGALRM, which the main thread gets.
pub fn alarm() {
    let pid = rustix::process::getpid();
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::ALARM);
}

/// The incident that the bell was rung for, if it was for one. Each is handed out once.
pub fn take() -> Option<Incident> {
    take_from(&CRASH, READ).or_else(|| take_from(&ALARM, FREE))
}

/// Whether a signal, by its number, tells of no crash.
fn is_ending(signal: c_int) -> bool {
    ENDING.iter().any(|ending| *ending as c_int == signal)
}

/// What a note has, which gets the state `next` when everything is copied.
fn take_from(note: &Note, next: u8) -> Option<Incident> {
    if note.state.load(Acquire) != FULL {
        return None;
    }
    let (signal, code) = (note.signal.load(Relaxed), note.code.load(Relaxed));
    let (pid, uid) = (note.pid.load(Relaxed), note.uid.load(Relaxed));
    let cause = match signal {
        _ if signal == Signal::SIGALRM as c_int => Cause::Alarm {
            is_own: pid == own_pid(),
        },
        _ if is_ending(signal) => Cause::End,
        _ => Cause::Crash {
            signal,
            code,
            sender: is_sent(code).then_some((pid, uid)),
            address: note.address.load(Relaxed),
        },
    };
    // Nothing is allocated: there may be no memory left, and the journal is to get its end.
    let incident = Incident {
        cause,
        frames: std::array::from_fn(|at| note.frames[at].load(Relaxed)),
        depth: note.depth.load(Relaxed).min(FRAMES_MAX),
        on_main: note.thread.load(Relaxed) == MAIN.load(Relaxed),
    };
    note.state.store(next, Release);
    Some(incident)
}

/// Addresses of the calls under way on the calling thread, the innermost first; not for handlers.
pub fn own_frames() -> Vec<usize> {
    let mut frames = Vec::new();
    backtrace::trace(|frame| {
        frames.push(frame.ip().addr());
        frames.len() < FRAMES_MAX
    });
    frames
}

/// The crash is told: who waits for that goes on, to the end.
pub fn told() {
    CRASH.state.store(TOLD, SeqCst);
}

/// Whether the main thread stands still in its handler because of this incident, for good; for the watch, which alone may
/// know it.
pub fn is_stopped(incident: &Incident) -> bool {
    incident.on_main && is_watch() && CRASH.state.load(SeqCst) == READ
}

/// Whether the calling thread is the main one.
pub fn is_main() -> bool {
    MAIN.load(Relaxed) == this_thread()
}

// --- on the thread that is interrupted ---

/// A signal that ends the process.
extern "C" fn on_crash(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let Ok(signal) = Signal::try_from(signal) else {
        return; // none of ours
    };
    let facts = facts(info);
    let is_sent = is_sent(facts.code);
    let has_watch = REPORTS.load(Relaxed) && BELL.get().is_some();
    if has_watch && is_sent && facts.pid != own_pid() && !is_main() {
        return forward(signal);
    }
    if !is_sent {
        run_before(signal, info, context);
    }
    if has_watch {
        have_told(signal, &facts);
    }
    // Back in the code that failed, it fails again, now without us. A signal that was sent comes again.
    let _ = handle(signal, SigHandler::SigDfl);
    if is_sent {
        let _ = raise(signal);
    }
}

/// A signal that ends the process, and tells of no crash.
extern "C" fn on_end(signal: c_int, info: *mut siginfo_t, _: *mut c_void) {
    let Ok(signal) = Signal::try_from(signal) else {
        return; // none of ours
    };
    // A file that the watch cannot make longer is an error that it sees.
    if is_watch() {
        return;
    }
    if !is_main() {
        return forward(signal);
    }
    if BELL.get().is_some() {
        have_told(signal, &facts(info));
    }
    let _ = handle(signal, SigHandler::SigDfl);
    let _ = raise(signal);
}

/// Has the watch write the report, and waits for it.
fn have_told(signal: Signal, facts: &Facts) {
    if is_watch() {
        if let Some(cut_short) = CUT_SHORT.get() {
            cut_short();
        }
        // Whoever waits for the report ends the process, and by the signal that the report is about.
        if CRASH.state.swap(TOLD, SeqCst) == READ {
            (0..WAIT_MS).for_each(|_| pause());
        }
        return;
    }
    if claim(&CRASH) {
        fill(&CRASH, signal, facts);
        note_frames(&CRASH);
        send(&CRASH);
    } else if CRASH.state.load(SeqCst) == TAKEN && CRASH.thread.load(Relaxed) == this_thread() {
        // It is the look at the stack that has failed.
        send(&CRASH);
    }
    // The watch may have an alarm to tell first, and then takes its time for the report.
    for stage in [READ, TOLD] {
        let mut left_ms = WAIT_MS;
        while CRASH.state.load(SeqCst) < stage && left_ms > 0 {
            pause();
            left_ms -= 1;
        }
    }
}

/// Somebody wants to know what the main thread is doing.
extern "C" fn on_alarm(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    let errno = errno::errno();
    if !is_main() {
        forward(Signal::SIGALRM);
    } else if claim(&ALARM) {
        fill(&ALARM, Signal::SIGALRM, &facts(info));
        note_frames(&ALARM);
        send(&ALARM);
    }
    errno::set_errno(errno);
}

/// Makes a note ours.
fn claim(note: &Note) -> bool {
    let claimed = note.state.compare_exchange(FREE, TAKEN, SeqCst, Relaxed);
    if claimed.is_ok() {
        note.thread.store(this_thread(), Relaxed);
    }
    claimed.is_ok()
}

fn fill(note: &Note, signal: Signal, facts: &Facts) {
    note.signal.store(signal as c_int, Relaxed);
    note.code.store(facts.code, Relaxed);
    note.pid.store(facts.pid, Relaxed);
    note.uid.store(facts.uid, Relaxed);
    note.address.store(facts.address, Relaxed);
}

/// Hands a note to the watch.
fn send(note: &Note) {
    note.state.store(FULL, Release);
    ring();
}

/// For a millisecond.
fn pause() {
    let _ = rustix::thread::nanosleep(&rustix::thread::Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    });
}

/// Whether a process sent the signal: a fault has a code of its own. Some systems count codes of sent ones from here on.
fn is_sent(code: i32) -> bool {
    code <= 0 || code > 0xffff
}

/// What the system tells of a signal.
#[derive(Default)]
struct Facts {
    code: i32,
    pid: i32,
    uid: u32,
    address: usize,
}

fn facts(info: *mut siginfo_t) -> Facts {
    if info.is_null() {
        return Facts::default();
    }
    // SAFETY: the system hands a handler that was registered with SA_SIGINFO a valid pointer. Each of the fields is there
    // in every kind of signal, if only as other fields' bytes, and any bytes are numbers.
    unsafe {
        let info = &*info;
        Facts {
            code: info.si_code,
            pid: info.si_pid(),
            uid: info.si_uid(),
            address: info.si_addr().addr(),
        }
    }
}

/// Notes the stack of the calling thread. Each frame counts as soon as it is there: the next step may fail.
#[inline(never)]
fn note_frames(note: &Note) {
    note.depth.store(0, Relaxed);
    // SAFETY: it is only the synchronisation between threads that is left out, for what is looked up; this looks nothing
    // up. Walking the stack neither allocates nor locks but at its first time, which `arm` has been.
    unsafe {
        backtrace::trace_unsynchronized(|frame| {
            let address = frame.ip().addr();
            let depth = note.depth.load(Relaxed);
            if let Some(place) = note.frames.get(depth).filter(|_| address != 0) {
                place.store(address, Relaxed);
                note.depth.store(depth + 1, Relaxed);
            }
            address != 0 && depth < FRAMES_MAX
        });
    }
}

/// Runs the handler before ours.
fn run_before(signal: Signal, info: *mut siginfo_t, context: *mut c_void) {
    let place = FATAL.iter().position(|of| *of == signal);
    if let Some(SigHandler::SigAction(before)) = place.and_then(|place| BEFORE[place].get()) {
        before(signal as c_int, info, context);
        // That one may have given the signal back to the system, and more may come before the report is written.
        let _ = handle(signal, SigHandler::SigAction(on_crash));
    }
}

/// Registers a handler; the one before it.
fn handle(signal: Signal, handler: SigHandler) -> io::Result<SigHandler> {
    let mut flags = SaFlags::SA_SIGINFO | SaFlags::SA_ONSTACK | SaFlags::SA_RESTART;
    if signal != Signal::SIGALRM {
        // What fails in a handler comes to it as well; else the system would end the process there and then.
        flags |= SaFlags::SA_NODEFER;
    }
    let action = SigAction::new(handler, flags, SigSet::empty());
    // SAFETY: the handlers of this file do what is allowed in one: they use atomics, walk the stack, and make system
    // calls. It may be called in a handler.
    let before = unsafe { sigaction(signal, &action) }?;
    Ok(before.handler())
}

/// Passes a signal on to the main thread, which it is about.
fn forward(signal: Signal) {
    let errno = errno::errno();
    let _ = pthread_kill(MAIN.load(SeqCst) as libc::pthread_t, signal);
    errno::set_errno(errno);
}

fn this_thread() -> usize {
    pthread_self() as usize
}

fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_pid()
}

/// Gives the calling thread a stack for handlers, for good, with a page below it that nobody may touch. It takes no memory
/// before it is used.
fn give_handler_stack() -> io::Result<()> {
    let memory = DefaultStack::new(HANDLER_STACK)?;
    let given = libc::stack_t {
        ss_sp: ptr::with_exposed_provenance_mut(memory.base().get() - HANDLER_STACK),
        ss_flags: 0,
        ss_size: HANDLER_STACK,
    };
    // SAFETY: so many bytes below its base are the stack's, valid for good because it is never dropped, and nobody else
    // uses them.
    match unsafe { libc::sigaltstack(&given, ptr::null_mut()) } {
        0 => {
            std::mem::forget(memory);
            Ok(())
        }
        _ => Err(io::Error::last_os_error()),
    }
}
