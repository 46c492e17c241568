//! The log: `log` and `env_logger` with the line format of Redis.
//!
//! `pid:role dd Mon yyyy HH:MM:SS.mmm <.|-|*|#> message`. The file is opened for every line, so that moving it away
//! is all that rotating takes.

use crate::border::LogLevel;
use crate::config::SyslogFacility;
use crate::os::process;
use chrono::{DateTime, Local};
use env_logger::{Builder, Target};
use log::{Level, LevelFilter, Record};
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock};
use syslog::{Facility, Formatter3164, Logger, LoggerBackend};

/// Lines of other crates are not ours to print.
const TARGET: &str = "retrace";

static LOGFILE: OnceLock<Option<PathBuf>> = OnceLock::new();
static SYSLOG: OnceLock<Mutex<Logger<LoggerBackend, Formatter3164>>> = OnceLock::new();
static STARTED: AtomicBool = AtomicBool::new(false);

/// Where lines go: the log file, or standard output.
struct Sink;

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match LOGFILE.get().and_then(Option::as_ref) {
            Some(path) => OpenOptions::new()
                .create(true)
                .append(true)
                .open(path)?
                .write_all(bytes)?,
            None => {
                let mut out = io::stdout().lock();
                out.write_all(bytes)?;
                out.flush()?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Sends each line to the system's log as well, under this name. A system without one is no error, as for `syslog(3)`.
pub fn use_syslog(ident: &str, facility: SyslogFacility) {
    let facility = match facility {
        SyslogFacility::User => Facility::LOG_USER,
        SyslogFacility::Local0 => Facility::LOG_LOCAL0,
        SyslogFacility::Local1 => Facility::LOG_LOCAL1,
        SyslogFacility::Local2 => Facility::LOG_LOCAL2,
        SyslogFacility::Local3 => Facility::LOG_LOCAL3,
        SyslogFacility::Local4 => Facility::LOG_LOCAL4,
        SyslogFacility::Local5 => Facility::LOG_LOCAL5,
        SyslogFacility::Local6 => Facility::LOG_LOCAL6,
        SyslogFacility::Local7 => Facility::LOG_LOCAL7,
    };
    let formatter = Formatter3164 {
        facility,
        hostname: None,
        process: ident.to_owned(),
        pid: std::process::id(),
    };
    if let Ok(logger) = syslog::unix(formatter) {
        let _ = SYSLOG.set(Mutex::new(logger));
    }
}

/// A line for the system's log, which adds its own time and name.
fn to_syslog(level: Level, text: &str) {
    let Some(Ok(mut logger)) = SYSLOG.get().map(Mutex::lock) else {
        return;
    };
    // What the system's log does not take is lost; the line stands in our own.
    let _ = match level {
        Level::Trace => logger.debug(text),
        Level::Debug => logger.info(text),
        Level::Info => logger.notice(text),
        Level::Warn | Level::Error => logger.warning(text),
    };
}

/// Starts logging. Call once; a second call changes the level only.
pub fn init(logfile: Option<PathBuf>, level: Option<LogLevel>) {
    let _ = LOGFILE.set(logfile);
    let _ = Builder::new()
        .filter_level(LevelFilter::Off)
        .filter_module(TARGET, LevelFilter::Trace)
        .target(Target::Pipe(Box::new(Sink)))
        .format(|out, record: &Record| {
            let text = record.args().to_string();
            to_syslog(record.level(), &text);
            let line = line(std::process::id(), role(), now(), record.level(), &text);
            out.write_all(line.as_bytes())
        })
        .try_init();
    set_level(level);
}

/// From now on lines are a server's, not those of a program that is starting.
pub fn set_started() {
    STARTED.store(true, Ordering::Relaxed);
}

/// What the shell's own lines must reach to be printed.
pub fn set_level(level: Option<LogLevel>) {
    log::set_max_level(level.map_or(LevelFilter::Off, |level| level_of(level).to_level_filter()));
}

/// Prints a line whose level was compared already.
pub fn write(level: LogLevel, text: &str) {
    let args = format_args!("{text}");
    log::logger().log(
        &Record::builder()
            .target(TARGET)
            .level(level_of(level))
            .args(args)
            .build(),
    );
}

/// Prints text as it is, without what is in front of a line.
pub fn raw(text: &str) {
    let _ = Sink.write_all(text.as_bytes());
}

/// Prints a line of a report, whatever the level, past every lock that a thread which stands still may hold.
pub fn urgent(text: &str) {
    if let Some(mut logger) = SYSLOG.get().and_then(|logger| logger.try_lock().ok()) {
        let _ = logger.warning(text);
    }
    let pid = std::process::id();
    urgent_raw(&line(pid, role(), now(), Level::Warn, text));
}

/// The same without what is in front of a line.
pub fn urgent_raw(text: &str) {
    if LOGFILE.get().and_then(Option::as_ref).is_some() {
        return raw(text);
    }
    let mut rest = text.as_bytes();
    while let Ok(len @ 1..) = rustix::io::write(rustix::stdio::stdout(), rest) {
        rest = &rest[len..];
        if rest.is_empty() {
            return;
        }
    }
}

/// The shell's clock, which stays within what can be printed, as a local time.
fn now() -> DateTime<Local> {
    let now = DateTime::from_timestamp_micros(process::clock().0);
    now.unwrap_or_default().with_timezone(&Local)
}

/// The letter of what the process is doing.
fn role() -> char {
    match STARTED.load(Ordering::Relaxed) {
        true => 'M',
        false => 'C',
    }
}

fn level_of(level: LogLevel) -> Level {
    match level {
        LogLevel::Debug => Level::Trace,
        LogLevel::Verbose => Level::Debug,
        LogLevel::Notice => Level::Info,
        LogLevel::Warning => Level::Warn,
    }
}

fn line(pid: u32, role: char, now: DateTime<Local>, level: Level, text: &str) -> String {
    let mark = match level {
        Level::Trace => '.',
        Level::Debug => '-',
        Level::Info => '*',
        Level::Warn | Level::Error => '#',
    };
    format!(
        "{pid}:{role} {} {mark} {text}\n",
        now.format("%d %b %Y %H:%M:%S%.3f")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    #[test]
    fn a_line_looks_like_one_of_redis() {
        let now = Local
            .with_ymd_and_hms(2024, 3, 9, 7, 5, 1)
            .single()
            .expect("a time that exists");
        let now = now + chrono::TimeDelta::milliseconds(42);
        assert_eq!(
            line(77, 'M', now, Level::Info, "Server initialized"),
            "77:M 09 Mar 2024 07:05:01.042 * Server initialized\n"
        );
        assert_eq!(
            line(1, 'C', now, Level::Warn, "x"),
            "1:C 09 Mar 2024 07:05:01.042 # x\n"
        );
        assert_eq!(
            line(1, 'M', now, Level::Debug, "x"),
            "1:M 09 Mar 2024 07:05:01.042 - x\n"
        );
        assert_eq!(
            line(1, 'M', now, Level::Trace, "x"),
            "1:M 09 Mar 2024 07:05:01.042 . x\n"
        );
    }
}
