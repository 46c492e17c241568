//! Crash: the thread that tells of crashes, and of a main thread that does not get on.
//!
//! It sleeps until a handler leaves a note (`trap`), or, with `watchdog-period`, until it is time to see whether the poll
//! loop has turned. What it writes goes past every lock that the main thread may hold. A panic is told by the thread that
//! panics: first what it says and where, from its hook, and the rest by the server's owner, when the stack is unwound. The
//! marks of a report are those that tools look for in a log.

use super::log as server_log;
use super::look::{self, Still, Witness};
use crate::border::Fault;
use crate::config::REDIS_VERSION;
use crate::os::process;
use crate::os::trap::{self, Cause, Incident};
use std::ffi::c_void;
use std::fmt::Write as _;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// `watchdog-period`; 0 while there is none.
static PERIOD_MS: AtomicU64 = AtomicU64::new(0);
/// Turns of the loop, counted while there is a period.
static TURNS: AtomicU64 = AtomicU64::new(0);
/// The next SIGALRM is ours.
static IS_LATE: AtomicBool = AtomicBool::new(false);
/// A report is begun and not ended.
static IS_BEGUN: AtomicBool = AtomicBool::new(false);

/// Without what is in front of a line.
const START: &str = "\n\n=== REDIS BUG REPORT START: Cut & paste starting from here ===\n";
const END: &str = "\n=== REDIS BUG REPORT END. Make sure to include from START to END. ===\n";

/// From now on crashes are reported. Call on the main thread, once, when the process has gone to where it stays.
pub fn attend() -> io::Result<()> {
    let (bell, ear) = UnixStream::pair()?;
    let watch = std::thread::Builder::new().name("watch".to_owned());
    watch.spawn(move || watch_over(ear))?;
    trap::arm(bell, cut_short)?;
    panic::set_hook(Box::new(|info| {
        // What a report cannot be told says so itself.
        if trap::is_watch() || IS_BEGUN.load(Ordering::Relaxed) {
            return;
        }
        if info.payload().is::<Fault>() {
            return trap::fault();
        }
        let text = info.to_string();
        let is_shown = look::is_shown_here();
        if !trap::reports() {
            server_log::urgent(&format!("Retrace stops: {text}"));
        } else {
            begin_report(&text);
            if is_shown {
                tell_stack(&trap::own_frames());
            }
        }
        if !is_shown {
            // Nobody tells the rest, and what this thread leaves undone, somebody may wait for.
            std::process::abort();
        }
    }));
    Ok(())
}

/// The poll loop turns.
#[inline]
pub fn turn() {
    if PERIOD_MS.load(Ordering::Relaxed) > 0 {
        TURNS.fetch_add(1, Ordering::Relaxed);
    }
}

/// After how long without a turn of the loop the log tells where it is; 0 is never.
pub fn set_watchdog(period_ms: u64) {
    if PERIOD_MS.swap(period_ms, Ordering::Relaxed) != period_ms {
        trap::ring();
    }
}

fn watch_over(mut ear: UnixStream) {
    trap::begin_watch();
    let mut watchdog = Watchdog::new(0);
    loop {
        let period_ms = PERIOD_MS.load(Ordering::Relaxed);
        if watchdog.period_ms != period_ms {
            watchdog = Watchdog::new(period_ms);
        }
        let _ = ear.set_read_timeout(watchdog.nap());
        let _ = ear.read(&mut [0; 64]);
        while let Some(incident) = trap::take() {
            if panic::catch_unwind(AssertUnwindSafe(|| tell(&incident))).is_err() {
                cut_short();
            }
            if !matches!(incident.cause, Cause::Alarm { .. }) {
                trap::told();
            }
        }
        if watchdog.is_late() {
            IS_LATE.store(true, Ordering::Relaxed);
            trap::alarm();
        }
    }
}

/// Sees whether the loop turns.
struct Watchdog {
    period_ms: u64,
    turns: u64,
    since: Instant,
    is_told: bool,
}

impl Watchdog {
    fn new(period_ms: u64) -> Watchdog {
        Watchdog {
            period_ms,
            turns: TURNS.load(Ordering::Relaxed),
            since: Instant::now(),
            is_told: false,
        }
    }

    /// Until it is time to look again.
    fn nap(&self) -> Option<Duration> {
        (self.period_ms > 0).then(|| Duration::from_millis((self.period_ms / 4).max(1)))
    }

    /// Whether there was no turn for too long; says so once.
    fn is_late(&mut self) -> bool {
        let turns = TURNS.load(Ordering::Relaxed);
        if self.period_ms == 0 || turns != self.turns {
            *self = Watchdog::new(self.period_ms);
            return false;
        }
        let is_late = self.since.elapsed() >= Duration::from_millis(self.period_ms);
        is_late && !std::mem::replace(&mut self.is_told, true)
    }
}

fn tell(incident: &Incident) {
    match &incident.cause {
        Cause::Alarm { is_own } => {
            let is_late = IS_LATE.swap(false, Ordering::Relaxed) && *is_own;
            server_log::urgent(match is_late {
                true => "--- WATCHDOG TIMER EXPIRED ---",
                false => "Received SIGALRM",
            });
            tell_stack(incident.frames());
            server_log::urgent("--------");
        }
        Cause::End => {
            look::look(incident, |server, _| server.end_at_once());
        }
        Cause::Crash { .. } => report(incident),
    }
    // What was read of the program's own file is no more needed.
    backtrace::clear_symbol_cache();
}

/// What the server is asked for, and the headline of the answer. If its thread stands still, there is more to see.
type Question = (
    &'static str,
    fn(&mut dyn Witness, Option<&Still>) -> Option<String>,
);

const QUESTIONS: &[Question] = &[
    ("INFO OUTPUT", |server, _| {
        let reading = process::reading();
        Some(server.driver().ask(|engine| engine.report_info(reading)))
    }),
    ("CLIENT LIST OUTPUT", |server, _| {
        Some(server.driver().engine().report_clients())
    }),
    ("CURRENT CLIENT INFO", |server, still| {
        let engine = server.driver().engine();
        let told = engine.broken_off().map(str::to_owned);
        told.or_else(|| {
            look::look_at_running(still?, engine, |client, args| {
                engine.report_request(client, args)
            })
        })
    }),
    ("CURRENT SCRIPT", |server, _| {
        server.driver().engine().report_script()
    }),
    ("CONFIG DEBUG OUTPUT", |server, _| {
        Some(server.driver().engine().report_config())
    }),
];

/// The report of a crash, on the watch.
fn report(incident: &Incident) {
    // First what others need, and while nothing is allocated: it may be memory that there is none of.
    let ended = panic::catch_unwind(AssertUnwindSafe(|| {
        look::look(incident, |server, _| server.end_at_once());
    }));
    begin_report(&headline(&incident.cause));
    tell_stack(incident.frames());
    if !incident.on_main {
        server_log::urgent(
            "It was not the thread that serves clients, of which there is no more to tell",
        );
    }
    if ended.is_err() {
        server_log::urgent("The journal lacks its end");
    }
    let _ = panic::catch_unwind(AssertUnwindSafe(|| {
        look::look(incident, |server, _| server.remove_files())
    }));
    ask(|question| look::look(incident, |server, still| question(server, Some(still)))?);
    end_report();
}

/// The rest of a panic's report, if one is begun; from the owner of the server, whose stack is unwound.
pub(super) fn tell_rest(server: &mut dyn Witness) {
    if IS_BEGUN.load(Ordering::Relaxed) {
        ask(|question| question(server, None));
        end_report();
    }
}

/// Asks one question after the other, each for itself: something has gone wrong, so any of them may fail.
fn ask(
    mut ask: impl FnMut(fn(&mut dyn Witness, Option<&Still>) -> Option<String>) -> Option<String>,
) {
    for (title, question) in QUESTIONS {
        match panic::catch_unwind(AssertUnwindSafe(|| ask(*question))) {
            Ok(None) => {}
            Ok(Some(text)) => section(title, &text),
            Err(_) => section(title, "(it cannot be told)\n"),
        }
    }
}

/// What was begun by a panic that ended in a crash goes on.
fn begin_report(headline: &str) {
    if !IS_BEGUN.swap(true, Ordering::Relaxed) {
        server_log::urgent_raw(START);
    }
    let version = env!("CARGO_PKG_VERSION");
    let os = process::os();
    let text = format!("Retrace {version} (Redis {REDIS_VERSION}) on {os}: {headline}");
    text.lines().for_each(server_log::urgent);
}

fn end_report() {
    server_log::urgent_raw(END);
    IS_BEGUN.store(false, Ordering::Relaxed);
}

/// The thread that tells of crashes fails itself: a report that is begun ends here. May be called in the handler of a
/// signal: nothing is allocated, unless the name of the log file is very long.
fn cut_short() {
    if IS_BEGUN.load(Ordering::Relaxed) {
        server_log::urgent_raw("\n(more cannot be told: the report itself has failed)\n");
        server_log::urgent_raw(END);
    } else {
        server_log::urgent_raw("The thread that tells of crashes has failed.\n");
    }
}

/// What happened, in a few lines.
fn headline(cause: &Cause) -> String {
    let Cause::Crash {
        signal,
        code,
        sender,
        address,
    } = cause
    else {
        return String::new();
    };
    let what = match sender {
        Some((pid, _)) if pid.unsigned_abs() == std::process::id() => {
            "The server itself sent it".to_owned()
        }
        Some((pid, uid)) => format!("Killed by PID: {pid}, UID: {uid}"),
        None => format!("Accessing address: {address:#x}"),
    };
    format!("crashed by signal: {signal}, si_code: {code}\n{what}")
}

fn section(title: &str, text: &str) {
    let end = if text.ends_with('\n') { "" } else { "\n" };
    server_log::urgent_raw(&format!("\n------ {title} ------\n{text}{end}"));
}

/// The calls under way, by name, and with their place in the source where that is known.
fn tell_stack(frames: &[usize]) {
    let mut calls = Vec::new();
    for frame in frames {
        let mut names = String::new();
        backtrace::resolve(
            std::ptr::without_provenance_mut::<c_void>(*frame),
            |symbol| {
                let name = symbol.name().map(|name| format!("{name:#}"));
                let _ = write!(names, "{}", name.as_deref().unwrap_or("?"));
                if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
                    let _ = write!(names, " at {}:{line}", file.display());
                }
                names.push('\n');
            },
        );
        if names.is_empty() {
            names.push_str("?\n");
        }
        calls.push(format!("[{frame:#x}] {names}"));
    }
    // The handler's own calls are above what it interrupted.
    let own = calls
        .iter()
        .take(8)
        .rposition(|call| call.contains("retrace::os::trap::"));
    let calls = calls.split_off(own.map_or(0, |at| at + 1));
    section("STACK TRACE", &calls.concat());
    server_log::urgent_raw("\n------ STACK TRACE DONE ------\n");
}
