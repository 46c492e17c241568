//! Start: the command line, then the server or a sub-command.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the shell: the command line enters here"
)]

use retrace::config::{Command, REDIS_VERSION};
use retrace::journal::JournalError;
use retrace::journal::reader::Tail;
use retrace::journal::replay::{self, ReplayError};
use retrace::net::checkup;
use retrace::net::serve::{read_command_line, serve};
use std::fs::File;
use std::os::unix::ffi::OsStringExt;
use std::process::ExitCode;
use std::time::Instant;

/// Counts every byte, so that `used_memory` is exact.
#[global_allocator]
static ALLOCATOR: retrace::keyspace::alloc::Counting = retrace::keyspace::alloc::Counting;

const HELP: &str = "\
Retrace: a drop-in Redis server for development and test. Every run can be recorded and replayed.

usage: retrace [FILE] [--DIRECTIVE VALUE ...] [-]   run the server
       retrace replay JOURNAL                       repeat a recorded run and compare every reply
       retrace check [--fix] FILE                   say what is in an RDB file, an append-only file or a journal,
                                                    and whether it is sound; --fix cuts off a torn append-only file
       retrace --test-memory MEGABYTES              look for bad memory
       retrace --check-system                       look for settings of the system that slow a server down
       retrace -v | --version
       retrace -h | --help

FILE is a configuration file as for Redis; - in front or at the end reads more of it from standard input; every
directive of it can be given as an option, which wins. Beside them, in files too (\"record run.journal\"):
       --port auto        listen on a free port, named in the \"Ready to accept connections\" line
       --port-file PATH   write the port to PATH once clients can connect
       --record JOURNAL   record the run
       --seed N           start the random numbers here instead of anywhere

examples:
       retrace --port 7777 --maxmemory 1gb
       retrace /etc/redis/redis.conf --loglevel verbose
       retrace --port auto --port-file port --record run.journal --save ''
";

fn main() -> ExitCode {
    let args: Vec<Vec<u8>> = std::env::args_os()
        .skip(1)
        .map(OsStringExt::into_vec)
        .collect();
    match args.first().map(Vec::as_slice) {
        Some(b"replay") => match &args[1..] {
            [help] if asks_for_help(help) => print(REPLAY_HELP),
            [journal] => replay_file(&String::from_utf8_lossy(journal)),
            _ => {
                eprint!("{REPLAY_HELP}");
                ExitCode::from(2)
            }
        },
        Some(b"check") => match &args[1..] {
            [help] if asks_for_help(help) => print(retrace::check::HELP),
            rest => ExitCode::from(retrace::check::run(rest)),
        },
        Some(b"--test-memory") => ExitCode::from(checkup::test_memory(&args[1..])),
        Some(b"--check-system") => ExitCode::from(checkup::check_system()),
        _ => run(&args),
    }
}

/// Runs the server as the command line says, or answers it.
fn run(args: &[Vec<u8>]) -> ExitCode {
    match read_command_line(args) {
        Ok(Command::Run(loaded)) => ExitCode::from(u8::try_from(serve(*loaded)).unwrap_or(1)),
        Ok(Command::Version) => {
            // Test frameworks read the version of Redis out of this line, some as the first number with a point in it.
            println!(
                "Redis server v={REDIS_VERSION} sha=00000000:0 malloc=mimalloc bits={} build=0 retrace={}",
                usize::BITS,
                env!("CARGO_PKG_VERSION"),
            );
            ExitCode::SUCCESS
        }
        Ok(Command::Help) => {
            print!("{HELP}");
            ExitCode::SUCCESS
        }
        Err(text) => {
            eprintln!("{text}");
            ExitCode::FAILURE
        }
    }
}

/// Whether a sub-command is asked what it does.
fn asks_for_help(arg: &[u8]) -> bool {
    matches!(arg, b"-h" | b"--help")
}

fn print(text: &str) -> ExitCode {
    print!("{text}");
    ExitCode::SUCCESS
}

const REPLAY_HELP: &str = "\
usage: retrace replay JOURNAL

Repeats a run that was recorded with --record, without a socket, and compares every reply byte with what was sent.

exit code  0  identical, to the end
           1  a reply differs: the first difference is printed
           2  the file cannot be read, or is no journal of this version
           3  the journal is cut off, damaged or empty: what is sound of it is identical
";

/// The exit codes are those of [`REPLAY_HELP`].
const CUT_OFF: u8 = 3;

fn replay_file(path: &str) -> ExitCode {
    let started = Instant::now();
    let report = match File::open(path)
        .map_err(|error| ReplayError::Journal(JournalError::Io(error)))
        .and_then(replay::replay)
    {
        Ok(report) => report,
        Err(error) => {
            eprintln!("retrace: {path}: {error}");
            return match error {
                ReplayError::Journal(JournalError::Empty) => ExitCode::from(CUT_OFF),
                _ => ExitCode::from(2),
            };
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} commands in {seconds:.2} s ({:.0} commands/s), {} records, {} reply bytes compared",
        report.commands,
        report.commands as f64 / seconds.max(1e-9),
        report.records,
        report.reply_bytes
    );
    let is_whole = report.tail == Tail::Clean;
    match report.tail {
        Tail::Clean => {}
        Tail::Torn { sound_bytes } => println!("the journal is cut off behind byte {sound_bytes}"),
        Tail::Corrupt { sound_bytes } => {
            println!("the journal is damaged behind byte {sound_bytes}")
        }
    }
    match report.difference {
        None if is_whole => {
            println!("identical");
            ExitCode::SUCCESS
        }
        None => {
            println!("identical up to there");
            ExitCode::from(CUT_OFF)
        }
        Some(difference) => {
            println!("{difference}");
            ExitCode::FAILURE
        }
    }
}
