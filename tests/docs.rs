//! Docs: the pages in `docs/` that are made from the code's own tables, and must agree with them.
//!
//! `RETRACE_UPDATE_DOCS=1 cargo test --test docs` writes them anew.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the pages are files"
)]

use std::fmt::Write;
use std::fs;
use std::path::Path;

use retrace::command::registry::{Command, Registry};
use retrace::command::spec::{self, FLAG_NAMES};
use retrace::config::{Config, Flags, PARAMS, Param};

fn check(name: &str, want: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("docs")
        .join(name);
    if std::env::var_os("RETRACE_UPDATE_DOCS").is_some() {
        fs::write(&path, want).expect("writable");
        return;
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differing = there
        .lines()
        .zip(want.lines())
        .find(|(there, want)| there != want);
    assert!(
        there == want,
        "docs/{name} is not what the code says (first at {differing:?}): RETRACE_UPDATE_DOCS=1 cargo test --test docs"
    );
}

/// Text that stays within its cell.
fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('\n', " ")
}

/// The flags that COMMAND INFO shows.
fn flags(set: spec::Flags) -> String {
    let names = FLAG_NAMES.iter().enumerate();
    let shown = names.filter(|(bit, _)| set.without(spec::Flags::HIDDEN).0 & (1 << bit) != 0);
    shown.map(|(_, name)| *name).collect::<Vec<_>>().join(" ")
}

fn command_row(out: &mut String, registry: &Registry, command: &Command) {
    let spec = command.spec;
    let name = command.full_name.replace('|', " ").to_uppercase();
    let keys = match spec.key_specs.len() {
        0 => "-",
        _ => "yes",
    };
    let _ = writeln!(
        out,
        "| `{name}` | {} | {} | {} | {keys} | {} |",
        spec.since,
        spec.arity,
        flags(spec.flags),
        cell(spec.summary)
    );
    let mut subcommands: Vec<&Command> = command
        .subcommands
        .iter()
        .map(|id| registry.get(*id))
        .collect();
    subcommands.sort_by_key(|sub| &sub.full_name);
    for sub in subcommands {
        command_row(out, registry, sub);
    }
}

/// Group, and commands of Redis 8.0 and later, with the version that has them first, that are not there.
#[rustfmt::skip]
const ABSENT: &[(&str, &[(&str, &str)])] = &[
    ("array", &[
        ("ARCOUNT", "8.8.0"),
        ("ARDEL", "8.8.0"),
        ("ARDELRANGE", "8.8.0"),
        ("ARGET", "8.8.0"),
        ("ARGETRANGE", "8.8.0"),
        ("ARGREP", "8.8.0"),
        ("ARINFO", "8.8.0"),
        ("ARINSERT", "8.8.0"),
        ("ARLASTITEMS", "8.8.0"),
        ("ARLEN", "8.8.0"),
        ("ARMGET", "8.8.0"),
        ("ARMSET", "8.8.0"),
        ("ARNEXT", "8.8.0"),
        ("AROP", "8.8.0"),
        ("ARRING", "8.8.0"),
        ("ARSCAN", "8.8.0"),
        ("ARSEEK", "8.8.0"),
        ("ARSET", "8.8.0"),
    ]),
    ("generic", &[
        ("MIGRATE", "2.6.0"),
    ]),
    ("server", &[
        ("BACKUP", "8.10.0"),
        ("BACKUP ABORT", "8.10.0"),
        ("BACKUP CLEANUP", "8.10.0"),
        ("BACKUP HELP", "8.10.0"),
        ("BACKUP LIST", "8.10.0"),
        ("BACKUP SEAL", "8.10.0"),
        ("BACKUP START", "8.10.0"),
        ("BACKUP STATUS", "8.10.0"),
        ("FAILOVER", "6.2.0"),
        ("MODULE LOAD", "4.0.0"),
        ("MODULE LOADEX", "7.0.0"),
        ("MODULE UNLOAD", "4.0.0"),
        ("PSYNC", "2.8.0"),
        ("REPLCONF", "3.0.0"),
        ("SYNC", "1.0.0"),
        ("TRIMSLOTS", "8.4.0"),
    ]),
    ("vector-set", &[
        ("VADD", "8.0.0"),
        ("VCARD", "8.0.0"),
        ("VDIM", "8.0.0"),
        ("VEMB", "8.0.0"),
        ("VGETATTR", "8.0.0"),
        ("VINFO", "8.0.0"),
        ("VISMEMBER", "8.0.0"),
        ("VLINKS", "8.0.0"),
        ("VRANDMEMBER", "8.0.0"),
        ("VRANGE", "8.4.0"),
        ("VREM", "8.0.0"),
        ("VSETATTR", "8.0.0"),
        ("VSIM", "8.0.0"),
    ]),
];

fn absent_commands(out: &mut String, registry: &Registry) {
    out.push_str(
        "\n## Absent\n\nCommands of Redis 8.0 and later that are not there, and the version that has them first.\n",
    );
    for (group, commands) in ABSENT {
        let _ = write!(out, "\n### {group}\n\n| command | since |\n|---|---|\n");
        for (name, since) in *commands {
            let full_name = name.replace(' ', "|").to_lowercase();
            let is_there = registry.by_full_name(full_name.as_bytes()).is_some();
            assert!(!is_there, "{name} is there: take it off the list");
            let _ = writeln!(out, "| `{name}` | {since} |");
        }
    }
}

/// What the tables cannot say.
const NOTES: &str = "
## Notes

- `CLUSTER` with all its subcommands, `READONLY`, `READWRITE` and `ASKING` answer as on a server without cluster mode, which
  this one always is. `REPLICAOF NO ONE` is fine; a host and a port are refused, as this server does not replicate yet.
- `GEORADIUS` and `GEORADIUSBYMEMBER` with several `STORE` or `STOREDIST` write to the last one. All of them are keys to users'
  rules and `COMMAND GETKEYS`; Redis 8.0 sees the first of each. Conditions of `SET` and `DELEX` that compare need leave to read
  the key. A place of `BITFIELD` that overflows when it is multiplied by the field's width is refused; Redis 8.0 takes what is
  left of it. `XTRIM` and `XADD` with `DELREF` leave nothing pending before the first entry, whatever was deleted before.
- `HOTKEYS`: figures of a key are at least what it cost, and exact while fewer than 16 keys for each one that is told were
  used. A key's time is told in whole microseconds of the server's clock, which is read around each sampled command: with
  `CPU` and no `SAMPLE`, that costs each command two readings. Bytes of a request are those of its form as an array of
  strings. `SLOTS` is refused outside of a cluster. What the watch itself takes is not told in `INFO hotkeys`.
- `INFO`: nothing is forked, so a snapshot in the background stands for a fork. `latest_fork_usec`, and the event `fork` of
  `LATENCY`, tell how long the step (a command or a tick) took in which the last one began, by the clock readings around it;
  with a large keyspace that is where a fork would take long, and a snapshot does not. Figures of copied memory
  (`current_cow_size`, `rdb_last_cow_size` and the like) stay 0, because none is copied. `eventloop_duration_sum` ends before
  the replies of a turn are written to their sockets. `LATENCY` has no events for what a thread beside does here, such as
  renaming and removing files.
";

#[test]
fn the_compatibility_table_agrees_with_the_registry() {
    let registry = Registry::new(&[]).expect("no renames, no trouble");
    let mut commands: Vec<&Command> = registry.top_level().collect();
    commands.sort_by_key(|command| (command.spec.group.name(), &command.full_name));
    let mut out = String::from(
        "# Commands\n\nMade from the command registry by `tests/docs.rs`; do not edit. A command that is not here, or stands\nunder *Absent*, is answered with `ERR unknown command` or `ERR unknown subcommand`. *Since* is the Redis version that has it first; *arity* counts the name, and a negative one\nis a least number.\n",
    );
    let mut group = "";
    for command in commands {
        if command.spec.group.name() != group {
            group = command.spec.group.name();
            let _ = write!(
                out,
                "\n## {group}\n\n| command | since | arity | flags | keys | what it does |\n|---|---|---|---|---|---|\n"
            );
        }
        command_row(&mut out, &registry, command);
    }
    absent_commands(&mut out, &registry);
    out.push_str(NOTES);
    check("compatibility.md", &out);
}

/// What a file and the command line may have beside parameters and the directives of a real server.
const OWN_OPTIONS: &str = "
A name that nobody knows ends the start: the message says where it stands, and which one was probably meant. So does what
is not there yet: `cluster-enabled yes`, `replicaof`, `loadmodule`, TLS. Parameters for what this server has none of by
design (I/O threads, child processes) are taken, and the log names those that are set.

## Beside the parameters

Four options of Retrace's own, in a file (`record run.journal`) or on the command line (`--record run.journal`):

- `port auto`: listen on any free port. The log names it (`Ready to accept connections tcp port=`), and CONFIG REWRITE keeps the word.
- `port-file PATH`: write the port to PATH once clients can connect. The file of a server that was before is removed at the
  start, and this one's at the end. What is no port file is never written over.
- `record PATH`: record the run, for `retrace replay`. What lies at PATH is never written over: beside an older recording
  the new one is PATH.1, or the next that is free, and anything else there ends the start.
- `seed N`: start the random numbers here instead of anywhere.
";

#[test]
fn the_configuration_page_agrees_with_the_parameters() {
    let config = Config::default();
    let mut out = String::from(
        "# Configuration\n\nMade from the parameter table by `tests/docs.rs`; do not edit. Each parameter can stand in a configuration file\n(`name value`), on the command line (`--name value`), and, if it says *at run time*, in `CONFIG SET name value`.\n",
    );
    out.push_str(OWN_OPTIONS);
    let set_when = |param: &Param| {
        let when = match param.flags {
            flags if flags.contains(Flags::IMMUTABLE) => "at the start only",
            flags if flags.contains(Flags::PROTECTED) => {
                "at run time, with `enable-protected-configs`"
            }
            _ => "at run time",
        };
        when.to_owned()
    };
    for param in PARAMS
        .iter()
        .filter(|param| !param.flags.contains(Flags::HIDDEN))
    {
        let default = String::from_utf8_lossy(&param.get(&config)).into_owned();
        let _ = write!(out, "\n## {}\n\n{}\n\n", param.name, param.doc());
        let _ = writeln!(out, "- values: {}", param.values());
        let _ = writeln!(
            out,
            "- default: `{}`",
            if default.is_empty() { "\"\"" } else { &default }
        );
        let _ = writeln!(out, "- set: {}", set_when(param));
        if let Some(alias) = param.alias {
            let _ = writeln!(out, "- also called: {alias}");
        }
    }
    check("configuration.md", &out);
}

/// C sources that crates bring along, which cargo knows nothing of.
const SOURCES_IN_C: &[(&str, &str, &str)] = &[
    (
        "Lua 5.1.5, as the crate lua-src has it, with the edits of `lua/`",
        "retrace-lua",
        "MIT, Copyright 1994-2012 Lua.org, PUC-Rio",
    ),
    (
        "mimalloc",
        "libmimalloc-sys",
        "MIT, Copyright 2018-2025 Microsoft Corporation, Daan Leijen",
    ),
];

/// What is linked into the server on Linux: crates, without what only runs when they are built.
fn linked() -> String {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--locked", "--package", "retrace"])
        .args(["--edges", "normal,no-proc-macro"])
        .args(["--target", "x86_64-unknown-linux-gnu"])
        .args(["--charset", "ascii", "--format", "{p}: {l}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    let tree = String::from_utf8(output.stdout).expect("cargo writes UTF-8");
    let failure = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "cargo tree: {failure}");
    // A crate of this repository comes with its folder, which is another one everywhere.
    let line = |line: &str| match (line.find(" ("), line.find("): ")) {
        (Some(from), Some(to)) => format!("{}{}\n", &line[..from], &line[to + 1..]),
        _ => format!("{line}\n"),
    };
    tree.lines().map(line).collect()
}

#[test]
fn the_licences_are_those_of_what_is_linked() {
    let mut out = String::from(
        "# Licences\n\nMade from `cargo tree` by `tests/docs.rs`; do not edit. What is linked into the server for Linux, each crate with its version\nand its licence; `(*)` stands where a crate's own dependencies were shown before.\n\n```\n",
    );
    let tree = linked();
    out.push_str(&tree);
    out.push_str(
        "```\n\nCode in C comes with two of them:\n\n| what | with | licence |\n|---|---|---|\n",
    );
    for (what, with, licence) in SOURCES_IN_C {
        assert!(tree.contains(with), "{with} is not linked any more");
        let _ = writeln!(out, "| {what} | `{with}` | {licence} |");
    }
    check("licences.md", &out);
}
