//! Crash: a server that is killed at any moment comes back with a state that it had, and with all that it had promised.
//!
//! The load is transactions, each of which counts a step and changes something. So the number of the step says which
//! state is meant, and a model of the data says what has to be there then: no more, no less, no half transaction.
//!
//! `RETRACE_CRASHES` is the number of kills for each way of keeping data.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::durable::{copy, info, loaded};
use support::{Client, RETRACE, Rng, Server, count_from_env, request, seed, skipped};

/// Transactions that are sent at once.
const BATCH: usize = 8;
/// Replies to one: MULTI, two commands, EXEC.
const REPLIES: usize = 4;
/// Keys that do not change, so that a save takes a while.
const STILL: usize = 500;

/// What a key holds.
#[derive(Clone, Debug, PartialEq)]
enum Held {
    Text(String),
    List(Vec<String>),
    Set(BTreeMap<String, ()>),
    Map(BTreeMap<String, String>),
}

/// The data as it has to be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model(BTreeMap<String, Held>);

impl Model {
    /// Does what the commands of a step do.
    fn apply(&mut self, args: &[String]) {
        let key = args[1].clone();
        let (name, rest) = (args[0].as_str(), &args[2..]);
        match name {
            "DEL" => {
                self.0.remove(&key);
            }
            "SET" => {
                self.0.insert(key, Held::Text(rest[0].clone()));
            }
            "APPEND" => match self.0.entry(key).or_insert(Held::Text(String::new())) {
                Held::Text(text) => *text += &rest[0],
                other => panic!("{other:?}"),
            },
            "RPUSH" => match self.0.entry(key).or_insert(Held::List(Vec::new())) {
                Held::List(list) => list.push(rest[0].clone()),
                other => panic!("{other:?}"),
            },
            "SADD" => match self.0.entry(key).or_insert(Held::Set(BTreeMap::new())) {
                Held::Set(set) => {
                    set.insert(rest[0].clone(), ());
                }
                other => panic!("{other:?}"),
            },
            "HSET" | "ZADD" => match self.0.entry(key).or_insert(Held::Map(BTreeMap::new())) {
                Held::Map(map) => {
                    let (field, value) = match name {
                        "HSET" => (&rest[0], &rest[1]),
                        _ => (&rest[1], &rest[0]),
                    };
                    map.insert(field.clone(), value.clone());
                }
                other => panic!("{other:?}"),
            },
            _ => panic!("the model does not know {name}"),
        }
    }

    /// What a server holds of the same kinds of keys.
    fn of(client: &mut Client) -> Model {
        let mut model = Model::default();
        let strings = |client: &mut Client, line: &str| -> Vec<String> {
            match client.run(line) {
                support::Value::Array(values) => values.iter().map(support::Value::text).collect(),
                other => panic!("{line}: {other}"),
            }
        };
        for key in strings(client, "KEYS *") {
            let held = match key.split(':').next().unwrap_or_default() {
                "list" => Held::List(strings(client, &format!("LRANGE {key} 0 -1"))),
                "set" => {
                    let members = strings(client, &format!("SMEMBERS {key}"));
                    Held::Set(members.into_iter().map(|member| (member, ())).collect())
                }
                kind @ ("hash" | "zset") => {
                    let line = match kind {
                        "hash" => format!("HGETALL {key}"),
                        _ => format!("ZRANGE {key} 0 -1 WITHSCORES"),
                    };
                    let pairs = strings(client, &line);
                    let pairs = pairs.chunks_exact(2);
                    Held::Map(
                        pairs
                            .map(|pair| (pair[0].clone(), pair[1].clone()))
                            .collect(),
                    )
                }
                _ => Held::Text(client.run(&format!("GET {key}")).text()),
            };
            model.0.insert(key, held);
        }
        model
    }
}

/// The change of a step.
fn change(rng: &mut Rng, step: u64) -> Vec<String> {
    let n = rng.below(8);
    let words = match rng.below(12) {
        0 | 1 => format!("SET string:{n} {step}"),
        2 => format!("APPEND string:{n} {step},"),
        3 | 4 => format!("RPUSH list:{n} {step}"),
        5 => format!("SADD set:{n} {}", step % 300),
        6 => format!("SADD set:{n} member-{step}"),
        7 => format!("HSET hash:{n} field-{} {step}", step % 70),
        8 => format!("HSET hash:{n} {step} {}", "x".repeat(70)),
        9 => format!("ZADD zset:{n} {step} member-{}", step % 200),
        10 => format!("SET string:{n} {}", "y".repeat(step as usize % 3000)),
        _ => {
            let kinds = ["string", "list", "set", "hash", "zset"];
            format!("DEL {}:{n}", rng.pick(&kinds))
        }
    };
    words.split(' ').map(str::to_owned).collect()
}

/// A way of keeping data.
struct Way {
    name: &'static str,
    args: &'static [&'static str],
    /// The command that is sent now and then.
    saves: &'static str,
    /// Whether what was answered is there whatever happens.
    keeps_answered: bool,
    has_aof: bool,
}

/// Writes, kills, restarts and compares, over and over.
fn crash_over_and_over(way: &Way) {
    let seed = seed();
    let mut rng = Rng::new(seed);
    let mut model = Model::default();
    // All steps so far, for a state that lies before the one that the model shows.
    let mut history: Vec<Vec<String>> = Vec::new();
    let mut server = Server::start(way.args);
    let mut client = loaded(&server);
    for number in 0..STILL {
        let value = "still ".repeat(10);
        let args = ["SET".to_owned(), format!("still:{number}"), value];
        client.call(&args);
        model.apply(&args);
    }
    let still = model.clone();
    if !way.has_aof {
        assert_eq!(client.run("SAVE").text(), "OK");
    }
    let mut base = 0;
    for round in 0..count_from_env("RETRACE_CRASHES", 4) {
        let at = format!("{}, round {round}, RETRACE_SEED={seed}", way.name);
        // The model at the start of the round, and what was done since.
        let (mut steps, mut sent, mut answered) = (Vec::new(), base, base);
        let send = |client: &mut Client, rng: &mut Rng, sent: &mut u64, steps: &mut Vec<_>| {
            let mut bytes = Vec::new();
            for _ in 0..BATCH {
                *sent += 1;
                let args = change(rng, *sent);
                bytes.extend(request(&["MULTI"]));
                bytes.extend(request(&["INCR", "step"]));
                bytes.extend(request(&args));
                bytes.extend(request(&["EXEC"]));
                steps.push(args);
            }
            client.send(&bytes);
        };
        client.run("CONFIG SET rdb-key-save-delay 20");
        // States that a finished save has, the last one last.
        let (mut saved, mut saving) = (base, None);
        for _ in 0..rng.below(60) {
            send(&mut client, &mut rng, &mut sent, &mut steps);
            for _ in 0..BATCH * REPLIES {
                client.read();
            }
            answered = sent;
            if rng.one_in(8) {
                let is_saving = info(&mut client, "rdb_bgsave_in_progress") == "1"
                    || info(&mut client, "aof_rewrite_in_progress") == "1";
                if !is_saving {
                    saved = saving.take().unwrap_or(saved);
                    assert_eq!(client.run(way.saves).error(), None, "{at}");
                    saving = Some(answered);
                }
            }
        }
        for _ in 0..1 + rng.below(6) {
            send(&mut client, &mut rng, &mut sent, &mut steps);
        }
        std::thread::sleep(Duration::from_micros(rng.below(4_000) as u64));
        server.signal(Signal::KILL);
        server.wait_for_end();
        let mut replies = 0;
        while client.next_reply().is_some() {
            replies += 1;
        }
        answered += replies / REPLIES as u64;
        // Power that fails takes the end of what was not forced to disk.
        let dir = tempfile::tempdir().expect("a folder");
        copy(server.dir.path(), dir.path());
        let is_cut =
            way.has_aof && !way.keeps_answered && rng.one_in(2) && cut_tail(dir.path(), &mut rng);
        if !way.has_aof {
            let output = Command::new(RETRACE)
                .arg("check")
                .arg(dir.path().join("dump.rdb"))
                .output()
                .expect("it runs");
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success(), "{at}: {said}");
        }
        server = Server::start_in(dir, way.args);
        client = loaded(&server);
        let step: u64 = client.run("GET step").text().parse().unwrap_or(0);
        let promised = match way.has_aof {
            false => saved,
            true if is_cut => base.min(step),
            true => answered,
        };
        assert!(
            (promised..=sent).contains(&step),
            "{at}: step {step}, promised {promised}, sent {sent}"
        );
        if !way.has_aof {
            assert!(
                step == saved || Some(step) == saving,
                "{at}: step {step} is not that of a save, {saved} or {saving:?}"
            );
        }
        // What is cut off may reach behind the round's start.
        assert!(step >= base || is_cut, "{at}");
        history.truncate(base as usize);
        history.append(&mut steps);
        let mut from = base;
        if step < base {
            (model, from) = (still.clone(), 0);
        }
        history.truncate(step as usize);
        for args in &history[from as usize..] {
            model.apply(args);
        }
        let mut want = model.clone();
        if step > 0 {
            want.0
                .insert("step".to_owned(), Held::Text(step.to_string()));
        }
        let got = Model::of(&mut client);
        for (key, held) in &want.0 {
            assert_eq!(got.0.get(key), Some(held), "{at}: {key} at step {step}");
        }
        assert_eq!(got.0.len(), want.0.len(), "{at}: keys at step {step}");
        base = step;
    }
}

/// Cuts some bytes off the last incremental file, which goes on to be a prefix of the history; says whether it did.
fn cut_tail(dir: &Path, rng: &mut Rng) -> bool {
    let folder = dir.join("appendonlydir");
    let last = fs::read_dir(&folder)
        .expect("a folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.to_string_lossy().ends_with(".incr.aof"))
        .max_by_key(|path| {
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let seq = name
                .split('.')
                .nth(2)
                .and_then(|seq| seq.parse::<u64>().ok());
            seq.unwrap_or(0)
        });
    let Some(path) = last else {
        return false;
    };
    let len = fs::metadata(&path).expect("a file").len();
    let file = fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("a file");
    file.set_len(len - (rng.below(300) as u64).min(len))
        .expect("it is ours");
    true
}

#[test]
fn snapshots_survive_every_kill() {
    crash_over_and_over(&Way {
        name: "RDB",
        args: &["--save", ""],
        saves: "BGSAVE",
        keeps_answered: false,
        has_aof: false,
    });
}

/// Whether this server has an append-only file.
fn has_aof() -> bool {
    let server = Server::start(&["--save", "", "--appendonly", "yes"]);
    let mut client = loaded(&server);
    client.run("SET a 1");
    let has = info(&mut client, "aof_enabled") == "1" && server.path("appendonlydir").is_dir();
    if !has {
        skipped("no append-only file yet");
    }
    has
}

#[test]
fn what_was_answered_survives_every_kill() {
    if has_aof() {
        crash_over_and_over(&Way {
            name: "AOF, always",
            args: &[
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
            ],
            saves: "BGREWRITEAOF",
            keeps_answered: true,
            has_aof: true,
        });
    }
}

#[test]
fn a_log_that_lost_its_end_is_a_prefix_of_the_history() {
    if has_aof() {
        crash_over_and_over(&Way {
            name: "AOF, everysec",
            args: &[
                "--save",
                "",
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
            ],
            saves: "BGREWRITEAOF",
            keeps_answered: false,
            has_aof: true,
        });
    }
}
