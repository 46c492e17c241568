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

/// What the tables cannot say.
const NOTES: &str = "
## Notes

- `HOTKEYS`: figures of a key are at least what it cost, and exact while fewer than 16 keys for each one that is told were
  used. A key's time is told in whole microseconds of the server's clock, which is read around each sampled command: with
  `CPU` and no `SAMPLE`, that costs each command two readings. Bytes of a request are those of its form as an array of
  strings. `SLOTS` is refused outside of a cluster. What the watch itself takes is not told in `INFO hotkeys`.
";

#[test]
fn the_compatibility_table_agrees_with_the_registry() {
    let registry = Registry::new(&[]).expect("no renames, no trouble");
    let mut commands: Vec<&Command> = registry.top_level().collect();
    commands.sort_by_key(|command| (command.spec.group.name(), &command.full_name));
    let mut out = String::from(
        "# Commands\n\nMade from the command registry by `tests/docs.rs`; do not edit. A command that is not here is answered\nwith `ERR unknown command`. *Since* is the Redis version that has it first; *arity* counts the name, and a negative one\nis a least number.\n",
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
    out.push_str(NOTES);
    check("compatibility.md", &out);
}

#[test]
fn the_configuration_page_agrees_with_the_parameters() {
    let config = Config::default();
    let mut out = String::from(
        "# Configuration\n\nMade from the parameter table by `tests/docs.rs`; do not edit. Each parameter can stand in a configuration file\n(`name value`), on the command line (`--name value`), and, if it says *at run time*, in `CONFIG SET name value`.\n",
    );
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
