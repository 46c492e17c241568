//! House: the plan of `docs/architecture.md`, held. What the code's own text says is compared with lists that stand here.
//!
//! Each failure names a file, a line and what to write instead. The lists of exceptions are there to shrink: an entry that
//! excuses nothing any more fails as well.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the sources are files"
)]

#[path = "house/source.rs"]
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use retrace::command::registry::Registry;
use retrace::config::PARAMS;
use source::{House, Source};

/// From the street to the cellar. A file belongs to the longest name that begins its path; it may import what stands
/// in rows below its own, and its own name. Names in one row do not know each other.
const LAYERS: &[&[&str]] = &[
    &["main"],
    &["check", "net"],
    &["disk"],
    &["os", "journal"],
    &["engine"],
    &["command"],
    &["state"],
    &["acl", "border"],
    &["persist", "script"],
    &["keyspace"],
    &["config"],
    &["resp"],
    &["types", "ids"],
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All sources, read once.
fn sources() -> &'static [Source] {
    static SOURCES: OnceLock<Vec<Source>> = OnceLock::new();
    SOURCES.get_or_init(|| source::read_all(root()))
}

/// Fails with every line, if there is one.
fn assert_none(lines: &[String]) {
    assert!(lines.is_empty(), "\n{}\n", lines.join("\n"));
}

/// An import between two files: who, what, in which line.
#[derive(Clone, Debug)]
struct Import {
    from: usize,
    to: usize,
    line: usize,
    what: String,
}

fn imports(sources: &[Source]) -> Vec<Import> {
    let house = House::new(sources);
    let mut imports = Vec::new();
    for (from, source) in sources.iter().enumerate() {
        for named in &source.named {
            let Some(to) = house.file_of(from, &named.path) else {
                continue;
            };
            imports.push(Import {
                from,
                to,
                line: named.line,
                what: named.path.join("::"),
            });
        }
    }
    imports.retain(|import| import.from != import.to);
    imports
}

/// The row and the name of the layer in which a file stands.
fn layer_of<'a>(layers: &[&[&'a str]], source: &Source) -> Option<(usize, &'a str)> {
    let rows = layers.iter().enumerate();
    let all = rows.flat_map(|(row, names)| names.iter().map(move |name| (row, *name)));
    let fitting = all.filter(|(_, name)| {
        let parts: Vec<&str> = name.split("::").collect();
        source
            .module
            .iter()
            .map(String::as_str)
            .take(parts.len())
            .eq(parts.iter().copied())
    });
    fitting.max_by_key(|(_, name)| name.len())
}

/// Imports that run upwards, or between names of one row.
fn upward(layers: &[&[&str]], sources: &[Source]) -> Vec<String> {
    let mut found = Vec::new();
    for import in imports(sources) {
        let (from, to) = (&sources[import.from], &sources[import.to]);
        let (Some((row, name)), Some((other_row, other))) =
            (layer_of(layers, from), layer_of(layers, to))
        else {
            continue;
        };
        if name != other && other_row <= row {
            found.push(format!(
                "{}:{}: {name} may not import {other} ({}): move what both need below both, or hand it in as an argument",
                from.path, import.line, import.what
            ));
        }
    }
    found
}

/// Circles between files. A file may look at those above it in its own folders, as a child at its parent.
fn circles(sources: &[Source]) -> Vec<String> {
    let is_child = |import: &Import| {
        let (child, parent) = (&sources[import.from].module, &sources[import.to].module);
        child.len() > parent.len() && child.starts_with(parent)
    };
    let imports: Vec<Import> = imports(sources)
        .into_iter()
        .filter(|i| !is_child(i))
        .collect();
    let mut below: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for import in &imports {
        below.entry(import.from).or_default().insert(import.to);
    }
    let reached: Vec<BTreeSet<usize>> = (0..sources.len())
        .map(|file| reached_from(&below, file))
        .collect();
    let in_circle = imports
        .iter()
        .filter(|import| reached[import.to].contains(&import.from));
    in_circle
        .map(|import| {
            let (from, to) = (&sources[import.from], &sources[import.to]);
            format!(
                "{}:{}: {} is part of a circle with {}: move what both need into a file below both",
                from.path, import.line, import.what, to.path
            )
        })
        .collect()
}

fn reached_from(below: &BTreeMap<usize, BTreeSet<usize>>, start: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(file) = open.pop() {
        for next in below.get(&file).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(*next);
            }
        }
    }
    reached
}

#[test]
fn imports_run_downwards() {
    let sources = sources();
    let homeless = sources
        .iter()
        .filter(|source| !source.module.is_empty() && layer_of(LAYERS, source).is_none());
    let homeless = homeless.map(|source| format!("{}: give it a place in LAYERS", source.path));
    let mut found: Vec<String> = homeless.collect();
    for name in LAYERS.iter().copied().flatten() {
        let is_there =
            |source: &Source| layer_of(LAYERS, source).is_some_and(|(_, own)| own == *name);
        if !sources.iter().any(is_there) {
            found.push(format!("LAYERS: {name} has no file; take it out"));
        }
    }
    found.extend(upward(LAYERS, sources));
    assert_none(&found);
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    assert_none(&circles(sources()));
}

/// Files that are longer than [`FILE_LINES_MAX`], and why each is one.
const LONG_FILES: &[(&str, &str)] = &[];
const FILE_LINES_MAX: usize = 1000;

/// Functions that are longer than [`FUNCTION_LINES_MAX`], and why each is one.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[(
    "src/command/stream/read.rs",
    "read_group",
    "what is read, claimed and propagated shares the group, the reply and the list of commands",
)];
const FUNCTION_LINES_MAX: usize = 100;

/// What a list of exceptions excuses that is no exception any more.
fn stale<'a>(list: &str, listed: impl Iterator<Item = &'a str>, found: &[String]) -> Vec<String> {
    listed
        .filter(|name| !found.iter().any(|found| found == name))
        .map(|name| format!("{list}: {name} needs no excuse any more; take it out"))
        .collect()
}

#[test]
fn files_are_short() {
    let sources = sources();
    let long = sources
        .iter()
        .filter(|source| source.lines > FILE_LINES_MAX);
    let long: Vec<String> = long.map(|source| source.path.clone()).collect();
    let mut found = stale(
        "LONG_FILES",
        LONG_FILES.iter().map(|(path, _)| *path),
        &long,
    );
    for path in &long {
        if !LONG_FILES.iter().any(|(listed, _)| listed == path) {
            found.push(format!(
                "{path}: more than {FILE_LINES_MAX} lines: give one of its ideas a file of its own"
            ));
        }
    }
    assert_none(&found);
}

#[test]
fn functions_are_short() {
    let sources = sources();
    let mut long = Vec::new();
    let mut found = Vec::new();
    for source in sources {
        for function in source.functions() {
            if function.lines <= FUNCTION_LINES_MAX {
                continue;
            }
            let is_listed = LONG_FUNCTIONS
                .iter()
                .any(|(path, name, _)| *path == source.path && *name == function.name);
            long.push(function.name.clone());
            if !is_listed {
                found.push(format!(
                    "{}:{}: {} has {} lines: write it as a list of steps, or as a table",
                    source.path, function.line, function.name, function.lines
                ));
            }
        }
    }
    let listed = LONG_FUNCTIONS.iter().map(|(_, name, _)| *name);
    found.extend(stale("LONG_FUNCTIONS", listed, &long));
    assert_none(&found);
}

/// Files that no module declares.
fn dead(sources: &[Source]) -> Vec<String> {
    let by_module = |module: &[String]| sources.iter().find(|source| source.module == module);
    let is_root = |source: &Source| matches!(source.path.as_str(), "src/lib.rs" | "src/main.rs");
    let is_declared = |source: &Source| {
        let Some((name, parent)) = source.module.split_last() else {
            return false;
        };
        by_module(parent).is_some_and(|parent| parent.declared.contains_key(name))
    };
    let dead = sources
        .iter()
        .filter(|source| !is_root(source) && !is_declared(source));
    dead.map(|source| {
        format!(
            "{}: no module declares it: declare it or take it away",
            source.path
        )
    })
    .collect()
}

#[test]
fn every_file_is_part_of_the_house() {
    assert_none(&dead(sources()));
}

/// What was left behind in a text of Rust.
fn leftovers(path: &str, text: &str) -> Vec<String> {
    const MACROS: [&str; 3] = ["dbg", "todo", "unimplemented"];
    const MARKS: [&str; 3] = ["TODO", "FIXME", "XXX"];
    let parts = source::Parts::of(text);
    let mut found = Vec::new();
    for pair in source::words_of(&parts.code).windows(2) {
        if MACROS.contains(&pair[0].text.as_str()) && pair[1].text == "!" {
            let (line, name) = (pair[0].line, &pair[0].text);
            found.push(format!("{path}:{line}: {name}!: write what belongs there"));
        }
    }
    for word in source::words_of(&parts.comments) {
        if MARKS.contains(&word.text.as_str()) {
            let (line, mark) = (word.line, &word.text);
            found.push(format!(
                "{path}:{line}: {mark}: do it, or say as a fact how it is"
            ));
        }
    }
    found
}

#[test]
fn nothing_is_left_behind() {
    let folders = ["src", "tests", "benches", "fuzz/src", "fuzz/targets"];
    let paths = folders
        .iter()
        .flat_map(|folder| source::paths_below(root(), folder, "rs"));
    let found: Vec<String> = paths
        .flat_map(|path| {
            let text = std::fs::read_to_string(root().join(&path)).expect("a source file is text");
            leftovers(&path, &text)
        })
        .collect();
    assert_none(&found);
}

#[test]
fn the_page_shows_this_plan() {
    let page = std::fs::read_to_string(root().join("docs/architecture.md")).expect("the page");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let rows = LAYERS.iter().map(|names| {
        let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        names.join(", ")
    });
    let plan = format!(
        "Imports run downwards: {}.",
        rows.collect::<Vec<_>>().join(" > ")
    );
    let mut found = Vec::new();
    if !words(&page).contains(&plan) {
        found.push(format!("docs/architecture.md: it has to say: {plan}"));
    }
    for name in LAYERS.iter().copied().flatten() {
        let is_told = [format!("| `{name}/` |"), format!("| `{name}.rs` |")];
        if !is_told.iter().any(|row| page.contains(row)) {
            found.push(format!(
                "docs/architecture.md: the house has no row for {name}"
            ));
        }
    }
    assert_none(&found);
}

/// Parameters that nothing reads, by what will bring it or why nothing can.
const UNREAD: &[(&str, &[&str])] = &[
    (
        "there is nothing here that it could steer: no defragmentation, no child processes, no threads for I/O, no modules, \
         no start-up check that stops, one collation",
        &[
            "active-defrag-cycle-max",
            "active-defrag-cycle-min",
            "active-defrag-ignore-bytes",
            "active-defrag-max-scan-fields",
            "active-defrag-threshold-lower",
            "active-defrag-threshold-upper",
            "activedefrag",
            "aof-rewrite-cpulist",
            "bgsave-cpulist",
            "crash-memcheck-enabled",
            "enable-module-command",
            "ignore-warnings",
            "io-threads",
            "jemalloc-bg-thread",
            "locale-collate",
        ],
    ),
    (
        "replication brings it",
        &[
            "bind-source-addr",
            "masterauth",
            "masteruser",
            "propagation-error-behavior",
            "rdb-del-sync-files",
            "repl-backlog-ttl",
            "repl-disable-tcp-nodelay",
            "repl-diskless-load",
            "repl-diskless-sync",
            "repl-diskless-sync-delay",
            "repl-diskless-sync-max-replicas",
            "repl-ping-replica-period",
            "repl-rdb-channel",
            "repl-timeout",
            "replica-announce-ip",
            "replica-announce-port",
            "replica-announced",
            "replica-full-sync-buffer-limit",
            "replica-ignore-disk-write-errors",
            "replica-ignore-maxmemory",
            "replica-lazy-flush",
            "replica-priority",
            "replica-read-only",
            "replica-serve-stale-data",
            "replicaof",
            "shutdown-timeout",
        ],
    ),
    (
        "the cluster brings it",
        &[
            "cluster-allow-pubsubshard-when-down",
            "cluster-allow-reads-when-down",
            "cluster-allow-replica-migration",
            "cluster-announce-bus-port",
            "cluster-announce-hostname",
            "cluster-announce-human-nodename",
            "cluster-announce-ip",
            "cluster-announce-port",
            "cluster-announce-tls-port",
            "cluster-config-file",
            "cluster-enabled",
            "cluster-link-sendbuf-limit",
            "cluster-migration-barrier",
            "cluster-node-timeout",
            "cluster-ping-interval",
            "cluster-port",
            "cluster-preferred-endpoint-type",
            "cluster-replica-no-failover",
            "cluster-replica-validity-factor",
            "cluster-require-full-coverage",
        ],
    ),
    (
        "TLS brings it",
        &[
            "max-new-tls-connections-per-cycle",
            "tls-auth-clients",
            "tls-ca-cert-dir",
            "tls-ca-cert-file",
            "tls-cert-file",
            "tls-ciphers",
            "tls-ciphersuites",
            "tls-client-cert-file",
            "tls-client-key-file",
            "tls-client-key-file-pass",
            "tls-cluster",
            "tls-dh-params-file",
            "tls-key-file",
            "tls-key-file-pass",
            "tls-prefer-server-ciphers",
            "tls-protocols",
            "tls-replication",
            "tls-session-cache-size",
            "tls-session-cache-timeout",
            "tls-session-caching",
        ],
    ),
];

/// The fields of `config` that are read outside of its own folder.
fn read_fields(sources: &[Source]) -> BTreeSet<String> {
    let mut fields = BTreeSet::new();
    for source in sources
        .iter()
        .filter(|source| !source.path.starts_with("src/config/"))
    {
        for at in 0..source.words.len() {
            let here: Vec<&str> = source.words[at..]
                .iter()
                .take(5)
                .map(|w| w.text.as_str())
                .collect();
            match here[..] {
                ["config", ".", field, ..] | ["config", "(", ")", ".", field] => {
                    fields.insert(field.to_string());
                }
                _ => {}
            }
        }
    }
    fields
}

#[test]
fn every_parameter_is_read() {
    let read = read_fields(sources());
    let names = PARAMS.iter().map(|param| param.name);
    let unread = names.filter(|name| !read.contains(&name.replace('-', "_")));
    let unread: Vec<String> = unread.map(str::to_string).collect();
    let excused: Vec<&str> = UNREAD
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let mut found = stale("UNREAD", excused.iter().copied(), &unread);
    for name in unread
        .iter()
        .filter(|name| !excused.contains(&name.as_str()))
    {
        found.push(format!(
            "src/config/params.rs: nothing reads {name}: let it have its effect, or list it in UNREAD with what will"
        ));
    }
    assert_none(&found);
}

/// The real server that cases are compared with. It knows no later command.
const COMPARED_WITH: [u32; 2] = [8, 0];

/// Commands that it knows and no case compares with it, and why.
const UNCOMPARED: &[(&str, &str)] = &[];

/// The number of a version as [`COMPARED_WITH`] has it.
fn version(text: &str) -> Vec<u32> {
    text.split('.')
        .take(2)
        .map(|part| part.parse().expect("a number"))
        .collect()
}

/// Everything that tests say: the files of `tests/`, and what stands behind the code of a source.
fn texts_of_tests() -> String {
    let mut all = String::new();
    for extension in ["rs", "txt"] {
        for path in source::paths_below(root(), "tests", extension) {
            all += &std::fs::read_to_string(root().join(path)).expect("tests are text");
        }
    }
    for path in source::paths_below(root(), "src", "rs") {
        let text = std::fs::read_to_string(root().join(&path)).expect("a source file is text");
        let start = match path.ends_with("/tests.rs") {
            true => Some(0),
            false => text.find("#[cfg(test)]"),
        };
        all += start.map_or("", |start| &text[start..]);
    }
    all.to_ascii_uppercase()
}

/// The commands that cases of `tests/differential/` run, in upper case, with up to one subcommand.
fn compared() -> BTreeSet<String> {
    let mut commands = BTreeSet::new();
    for path in source::paths_below(root(), "tests/differential", "txt") {
        let text = std::fs::read_to_string(root().join(path)).expect("cases are text");
        for line in text.lines() {
            let line = match line.split_once([':', '>']) {
                Some((client, rest)) if client.len() == 1 => rest,
                _ => line,
            };
            let upper = line.to_ascii_uppercase();
            let mut words = upper.split_whitespace();
            let Some(name) = words.next() else { continue };
            if let Some(sub) = words.next() {
                commands.insert(format!("{name}|{sub}"));
            }
            commands.insert(name.to_string());
        }
    }
    commands
}

#[test]
fn every_command_is_compared_with_a_real_server() {
    let registry = Registry::new(&[]).expect("no command is renamed");
    let (compared, tests) = (compared(), texts_of_tests());
    let (mut missing, mut found) = (Vec::new(), Vec::new());
    for command in registry.all() {
        let name = command.full_name.to_uppercase();
        let is_later = version(command.spec.since)[..] > COMPARED_WITH[..];
        if is_later && !name.split('|').all(|word| tests.contains(word)) {
            found.push(format!("{name}: no test names it: give it one"));
        }
        if !is_later && !compared.contains(&name) {
            missing.push(command.full_name.clone());
        }
    }
    let is_excused = |name: &str| UNCOMPARED.iter().any(|(listed, _)| *listed == name);
    for name in missing.iter().filter(|name| !is_excused(name)) {
        found.push(format!(
            "{name}: give it a case in tests/differential, or list it in UNCOMPARED with the reason"
        ));
    }
    found.extend(stale(
        "UNCOMPARED",
        UNCOMPARED.iter().map(|(name, _)| *name),
        &missing,
    ));
    assert_none(&found);
}

mod itself {
    use super::*;

    fn house(files: &[(&str, &str)]) -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect()
    }

    #[test]
    fn an_import_upwards_is_found() {
        let sources = house(&[
            ("src/lib.rs", ""),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "pub struct B;\nfn f() { crate::a::g() }"),
        ]);
        assert_eq!(upward(&[&["a"], &["b"]], &sources).len(), 1);
        assert!(
            upward(&[&["a"], &["b"]], &sources)[0].starts_with("src/b.rs:2: b may not import a")
        );
        assert_eq!(upward(&[&["a", "b"]], &sources).len(), 2, "names of a row");
    }

    #[test]
    fn a_circle_is_found_unless_it_is_of_parent_and_child() {
        let circle = house(&[
            ("src/lib.rs", ""),
            ("src/a.rs", "use crate::b::B; pub struct A;"),
            ("src/b.rs", "use crate::c::C; pub struct B;"),
            ("src/c.rs", "use crate::a::A; pub struct C;"),
        ]);
        assert_eq!(circles(&circle).len(), 3);
        let family = house(&[
            ("src/lib.rs", ""),
            ("src/a.rs", "mod b; use b::B; pub struct A;"),
            ("src/a/b.rs", "use super::A; pub struct B;"),
        ]);
        assert_eq!(circles(&family), Vec::<String>::new());
        let round_a_parent = house(&[
            ("src/lib.rs", ""),
            ("src/a.rs", "mod b; use b::B; pub struct A;"),
            ("src/a/b.rs", "use crate::c::C; pub struct B;"),
            ("src/c.rs", "use crate::a::A; pub struct C;"),
        ]);
        assert_eq!(circles(&round_a_parent).len(), 3);
    }

    #[test]
    fn a_file_that_nobody_declares_is_dead() {
        let sources = house(&[
            ("src/lib.rs", "pub mod a;"),
            ("src/a/mod.rs", "#[cfg(test)] mod tests;"),
            ("src/a/tests.rs", ""),
            ("src/a/b.rs", ""),
        ]);
        let dead = dead(&sources);
        assert!(
            dead.len() == 1 && dead[0].starts_with("src/a/b.rs:"),
            "{dead:?}"
        );
    }

    #[test]
    fn leftovers_are_found_in_code_and_comments_alone() {
        let mark = ["TO", "DO"].concat();
        assert_eq!(
            leftovers("f", &format!("// {mark}: x\nfn f() {{ dbg!(1) }}")).len(),
            2
        );
        assert_eq!(
            leftovers("f", &format!("let a = \"{mark}\"; dbg(1);")),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_field_counts_as_read_outside_of_its_folder() {
        let sources = house(&[
            ("src/config/mod.rs", "fn f() { self.config.a }"),
            (
                "src/b.rs",
                "fn f() { self.config.b + server.config().c + other.d }",
            ),
        ]);
        let read: Vec<String> = read_fields(&sources).into_iter().collect();
        assert_eq!(read, ["b", "c"]);
    }
}
