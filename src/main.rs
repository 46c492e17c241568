//! Start: the command line, then the server or a sub-command.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the shell: the command line enters here"
)]

use retrace::config::{Command, REDIS_VERSION};
use retrace::journal::reader::Tail;
use retrace::journal::replay;
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
       retrace -v | --version
       retrace -h | --help

FILE is a configuration file as for Redis; - reads more of it from standard input; every directive of it
can be given as an option, which wins. Beside them:
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
        Some(b"replay") => match args.get(1).filter(|_| args.len() == 2) {
            Some(journal) => replay_file(&String::from_utf8_lossy(journal)),
            None => {
                eprintln!("usage: retrace replay JOURNAL");
                ExitCode::from(2)
            }
        },
        Some(b"check") => ExitCode::from(retrace::check::run(&args[1..])),
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

/// Exit code 0: identical, 1: a difference, 2: not readable.
fn replay_file(path: &str) -> ExitCode {
    let started = Instant::now();
    let report = match File::open(path)
        .map_err(|error| error.to_string())
        .and_then(|file| replay::replay(file).map_err(|error| error.to_string()))
    {
        Ok(report) => report,
        Err(text) => {
            eprintln!("retrace: {path}: {text}");
            return ExitCode::from(2);
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
    match report.tail {
        Tail::Clean => {}
        Tail::Torn { sound_bytes } => println!("the journal is cut off behind byte {sound_bytes}"),
        Tail::Corrupt { sound_bytes } => {
            println!("the journal is damaged behind byte {sound_bytes}")
        }
    }
    match report.difference {
        None => {
            println!("identical");
            ExitCode::SUCCESS
        }
        Some(difference) => {
            println!("{difference}");
            ExitCode::FAILURE
        }
    }
}
