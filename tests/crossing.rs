//! Crossing: random data of every type in every encoding goes through files and payloads between Retrace, a real Redis
//! and Valkey, and is the same on the other side.
//!
//! A round makes the same data on each of them by the same commands. What one of them saves, the others load, and what
//! shows of it there is compared: with what shows at the writer, and strictly among those who read the same file. Then
//! they save in their turn, and single values cross as payloads.
//!
//! `RETRACE_CROSSINGS` is the number of rounds, `RETRACE_CROSSING_SIZE` how many times larger than usual they are. A
//! round has a seed of its own, which a failure tells.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;
use support::durable::{copy_aof, loaded, wait_for_rewrite};
use support::picture::{Fact, Picture, Shown, ask};
use support::variety::{Args, Variety, limits};
use support::{
    Client, RETRACE, Rng, Server, count_from_env, oracle_program, real_server_in, seed, wait_for,
};

/// Seconds that may have passed between two looks at the same idle time.
const IDLE_SLACK: i64 = 60;

/// What a file of data keeps of it, whoever reads it: encodings follow the reader's limits.
const SAVED: &[Fact] = &[
    Fact::Type,
    Fact::Digest,
    Fact::Deadline,
    Fact::Fields,
    Fact::Members,
    Fact::Stream,
    Fact::Lag,
    Fact::Consumers,
    Fact::Nodes,
    Fact::Deliveries,
    Fact::GoneDeliveries,
    Fact::Seen,
];

/// What commands keep: they are run anew, so consumers were last seen when they ran.
const APPENDED: &[Fact] = &[
    Fact::Type,
    Fact::Digest,
    Fact::Deadline,
    Fact::Fields,
    Fact::Members,
    Fact::Stream,
    Fact::Lag,
    Fact::Deliveries,
];

/// What two servers make of the same commands, run at different times.
const MADE: &[Fact] = &[
    Fact::Type,
    Fact::Encoding,
    Fact::Digest,
    Fact::Deadline,
    Fact::Fields,
    Fact::Members,
    Fact::Zeros,
    Fact::Stream,
    Fact::Lag,
    Fact::Consumers,
    Fact::Nodes,
];

/// What two servers make of the same file.
const READ: &[Fact] = &[
    Fact::Type,
    Fact::Encoding,
    Fact::Digest,
    Fact::Deadline,
    Fact::Fields,
    Fact::Members,
    Fact::Zeros,
    Fact::Stream,
    Fact::Lag,
    Fact::Consumers,
    Fact::Nodes,
    Fact::Deliveries,
    Fact::GoneDeliveries,
];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Ours,
    Redis,
    Valkey,
}

impl Kind {
    fn start(self, dir: tempfile::TempDir, args: &[String]) -> Option<Server> {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        match self {
            Kind::Ours => Some(Server::start_in(
                dir,
                &[&["--save", ""][..], &args].concat(),
            )),
            Kind::Redis => real_server_in("redis-server", dir, &args),
            Kind::Valkey => real_server_in("valkey-server", dir, &args),
        }
    }
}

/// How the servers of a round are started.
struct Settings {
    /// What writers and readers share.
    shared: Vec<String>,
    writing: Vec<String>,
    reading: Vec<String>,
    has_preamble: bool,
}

impl Settings {
    fn new(rng: &mut Rng) -> Settings {
        let mut yes_no = || *rng.pick(&["yes", "no"]);
        let [packs, sums, preamble, timestamps] = [yes_no(), yes_no(), yes_no(), yes_no()];
        let policy = *rng.pick(&["noeviction", "allkeys-lru", "allkeys-lfu", "volatile-lru"]);
        let shared = [
            ("enable-debug-command", "yes"),
            ("auto-aof-rewrite-percentage", "0"),
            ("lfu-decay-time", "0"),
            ("rdbcompression", packs),
            ("rdbchecksum", sums),
            ("aof-use-rdb-preamble", preamble),
            ("aof-timestamp-enabled", timestamps),
            ("maxmemory-policy", policy),
        ];
        let shared = shared.iter();
        let shared = shared.flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()]);
        let writing = limits(rng);
        let reading = match rng.below(2) {
            0 => writing.clone(),
            _ => limits(rng),
        };
        Settings {
            shared: shared.collect(),
            writing,
            reading,
            has_preamble: preamble == "yes",
        }
    }
}

/// The commands of a round.
struct Script {
    /// What the new base of the append-only file holds.
    first: Vec<Args>,
    /// What follows it.
    second: Vec<Args>,
    seed: u64,
}

impl Script {
    /// Whether nodes of lists are compressed at any time; they may stay so.
    fn packs_nodes(&self, settings: &Settings) -> bool {
        let started = settings.writing.chunks(2);
        let mut started = started.map(|pair| [pair[0].trim_start_matches('-'), &pair[1]]);
        let is_on = |[name, value]: [&str; 2]| name == "list-compress-depth" && value != "0";
        let commands = self.first.iter().chain(&self.second);
        let mut set = commands.filter_map(|args| match &args[..] {
            [config, _, name, value] if config == b"CONFIG" => {
                Some([name, value].map(|word| std::str::from_utf8(word).unwrap_or_default()))
            }
            _ => None,
        });
        started.any(is_on) || set.any(is_on)
    }
}

/// Makes the data of a round on one of the servers.
fn write(kind: Kind, settings: &Settings, script: &Script) -> Option<(Server, Client)> {
    let args = [
        &settings.shared[..],
        &settings.writing,
        &["--appendonly".to_owned(), "yes".to_owned()],
    ];
    let server = kind.start(tempfile::tempdir().expect("a folder"), &args.concat())?;
    let mut client = loaded(&server);
    ask(&mut client, &script.first);
    mark_used(&mut client, script.seed);
    assert_eq!(client.run("BGREWRITEAOF").error(), None);
    wait_for_rewrite(&mut client);
    ask(&mut client, &script.second);
    Some((server, client))
}

/// Gives some of the keys a past.
fn mark_used(client: &mut Client, seed: u64) {
    let mut rng = Rng::new(seed);
    let policy = client.run("CONFIG GET maxmemory-policy").to_string();
    let picture = Picture::of(client);
    for ((dbid, key), shown) in &picture.keys {
        // What comes of a table's payload has the table's order.
        let has_order = !matches!(&shown.facts[&Fact::Type][..], "set" | "hash");
        if !rng.one_in(4) || !has_order {
            continue;
        }
        let (word, number) = match policy.contains("lfu") {
            true => ("FREQ", rng.below(256)),
            false => ("IDLETIME", rng.below(10_000) * 100),
        };
        client.run(&format!("SELECT {dbid}"));
        let mut command = restore(key, shown);
        command.extend([b"REPLACE".to_vec(), word.as_bytes().to_vec()]);
        command.push(number.to_string().into_bytes());
        assert_eq!(client.call(&command).error(), None);
    }
    client.run("SELECT 0");
    client.run("HELLO 2");
}

/// A file of data, or the folder of append-only files.
enum Files {
    Rdb(PathBuf),
    Aof(PathBuf),
}

impl Files {
    fn load(&self, kind: Kind, settings: &Settings) -> Option<(Server, Client)> {
        let mut args = [&settings.shared[..], &settings.reading].concat();
        let dir = match self {
            Files::Rdb(path) => {
                let dir = tempfile::tempdir().expect("a folder");
                fs::copy(path, dir.path().join("dump.rdb")).expect("a file");
                dir
            }
            Files::Aof(path) => {
                args.extend(["--appendonly".to_owned(), "yes".to_owned()]);
                copy_aof(path)
            }
        };
        let server = kind.start(dir, &args)?;
        let client = loaded(&server);
        Some((server, client))
    }
}

/// What was found in a round.
struct Findings {
    settings: Settings,
    differences: Vec<String>,
}

impl Findings {
    fn add(&mut self, what: &str, differences: Vec<String>) {
        let found = differences.into_iter();
        self.differences
            .extend(found.map(|difference| format!("{what}: {difference}")));
    }

    /// Loads files in several servers; returns what shows of them in each.
    fn load(
        &mut self,
        what: &str,
        files: &Files,
        readers: &[Kind],
        written: &Picture,
    ) -> Option<Vec<(Kind, Server, Client, Picture)>> {
        let mut read = Vec::new();
        for kind in readers {
            let (server, mut client) = files.load(*kind, &self.settings)?;
            let picture = Picture::of(&mut client);
            let name = format!("{what}, {kind:?} read");
            let facts = match (files, self.settings.has_preamble) {
                (Files::Rdb(_), _) => SAVED.to_vec(),
                // A file of commands alone knows no node.
                _ => APPENDED.to_vec(),
            };
            self.add(&name, written.differences(&picture, &facts));
            if let Files::Rdb(_) = files {
                let counts = self.settings.shared.iter().any(|arg| arg == "allkeys-lfu");
                let slack = if counts { 0 } else { IDLE_SLACK };
                self.add(&name, written.usage_differences(&picture, slack));
            }
            read.push((*kind, server, client, picture));
        }
        if let [(_, _, _, one), (kind, _, _, two)] = &read[..] {
            let name = format!("{what}, ours and {kind:?} read");
            let mut facts = READ.to_vec();
            let mut but = &["stream"][..];
            if let Files::Rdb(_) = files {
                facts.push(Fact::Seen);
                but = &[];
            }
            self.add(&name, one.differences(two, &facts));
            self.add(&name, one.payload_differences(two, but));
        }
        Some(read)
    }
}

/// Saves, and gives the file's place.
fn save(server: &Server, client: &mut Client) -> PathBuf {
    assert_eq!(client.run("SAVE").error(), None);
    server.path("dump.rdb")
}

/// The same payloads in an empty server.
fn restored(client: &mut Client, payloads: &Picture) -> Picture {
    client.run("FLUSHALL");
    for ((dbid, key), shown) in &payloads.keys {
        client.run(&format!("SELECT {dbid}"));
        let reply = client.call(&restore(key, shown));
        assert_eq!(reply.error(), None, "{}", key.escape_ascii());
    }
    Picture::of(client)
}

/// The command that makes a key from its payload.
fn restore(key: &[u8], shown: &Shown) -> Args {
    let deadline = match &shown.facts[&Fact::Deadline][..] {
        "-1" => "0",
        deadline => deadline,
    };
    let words = [
        b"RESTORE",
        key,
        deadline.as_bytes(),
        &shown.payload,
        b"ABSTTL",
    ];
    words.map(<[u8]>::to_vec).to_vec()
}

/// Payloads of one server in both.
fn payloads_cross(
    findings: &mut Findings,
    what: &str,
    read: &mut [(Kind, Server, Client, Picture)],
) {
    for from in 0..2 {
        let payloads = read[from].3.clone();
        let kind = read[from].0;
        let mut seen = Vec::new();
        for (_, _, client, _) in read.iter_mut() {
            seen.push(restored(client, &payloads));
        }
        let name = format!("{what}, payloads of {kind:?} in both");
        let facts = [READ, &[Fact::Seen]].concat();
        findings.add(&name, seen[0].differences(&seen[1], &facts));
        findings.add(&name, seen[0].payload_differences(&seen[1], &[]));
    }
}

fn output(command: &mut Command) -> (bool, String) {
    let output = command.output().expect("it runs");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// The number in front of a word.
fn before(text: &str, word: &str) -> u64 {
    let number = text.split_once(word).and_then(|(head, _)| {
        let number = head.rsplit([' ', '\n']).next()?;
        number.parse().ok()
    });
    number.unwrap_or(0)
}

/// Both tools find an RDB file sound, with the same counts.
fn check_rdb(findings: &mut Findings, what: &str, path: &Path, picture: &Picture, by: Kind) {
    let (is_sound, said) = output(Command::new(RETRACE).arg("check").arg(path));
    let mut counts = [0; 3];
    for line in said.lines().filter(|line| line.starts_with("database ")) {
        let words = [" key", " with a deadline", " with deadlines of fields"];
        for (count, word) in counts.iter_mut().zip(words) {
            *count += before(line, word);
        }
    }
    let keys = picture.keys.values();
    let volatile = keys.clone();
    let volatile = volatile.filter(|shown| shown.facts[&Fact::Deadline] != "-1");
    let subexpires = keys.clone().filter(|shown| shown.has_field_deadlines);
    let want = [keys.count(), volatile.count(), subexpires.count()].map(|count| count as u64);
    let libraries = picture.libraries.len() as u64;
    let functions = before(&said, " librar");
    if !is_sound || counts != want || functions != libraries {
        let text = format!("{want:?} keys, {libraries} libraries, check said: {said}");
        findings.add(what, vec![text]);
    }
    if by == Kind::Valkey {
        return; // Redis' tool does not know that version.
    }
    let Some(check) = oracle_program("redis-check-rdb") else {
        return;
    };
    let (is_sound, said) = output(Command::new(check).arg(path));
    let counts = [" keys read", " expires", " subexpires"].map(|word| before(&said, word));
    if !is_sound || counts != want {
        let text = format!("{want:?} keys, redis-check-rdb said: {said}");
        findings.add(what, vec![text]);
    }
}

fn check_aof(findings: &mut Findings, what: &str, dir: &Path, by: Kind) {
    let manifest = dir.join("appendonlydir/appendonly.aof.manifest");
    let (is_sound, said) = output(Command::new(RETRACE).arg("check").arg(&manifest));
    if !is_sound || !said.contains("all parts are sound: 2") {
        findings.add(what, vec![format!("check said: {said}")]);
    }
    if by == Kind::Valkey {
        return;
    }
    let Some(check) = oracle_program("redis-check-aof") else {
        return;
    };
    let (is_sound, said) = output(Command::new(check).arg(&manifest));
    if !is_sound || !said.contains("All AOF files and manifest are valid") {
        findings.add(what, vec![format!("redis-check-aof said: {said}")]);
    }
}

/// All that crosses in one round; none without a real server.
fn cross(seed: u64, size: usize) -> Option<Vec<String>> {
    let mut rng = Rng::new(seed);
    let settings = Settings::new(&mut rng);
    let mut variety = Variety::new(rng.next(), 6 + 2 * size, 100 * size);
    let count = 600 * size;
    let mut commands = |count: usize| (0..count).map(|_| variety.command()).collect();
    let script = Script {
        first: commands(count),
        second: commands(count / 3),
        seed,
    };
    variety.has_field_deadlines = false;
    let more: Vec<Args> = (0..count / 3).map(|_| variety.command()).collect();
    let mut findings = Findings {
        settings,
        differences: Vec::new(),
    };
    let mut made: Option<Picture> = None;
    for writer in [Kind::Ours, Kind::Redis, Kind::Valkey] {
        let (server, mut client) = write(writer, &findings.settings, &script)?;
        let picture = Picture::of(&mut client);
        if let Some(made) = &made {
            let what = format!("made by ours and {writer:?}");
            findings.add(&what, made.differences(&picture, MADE));
            // Streams tell times.
            let mut but = vec!["stream"];
            if script.packs_nodes(&findings.settings) {
                but.push("list");
            }
            findings.add(&what, made.payload_differences(&picture, &but));
        }
        let path = save(&server, &mut client);
        let what = format!("{writer:?} saved");
        check_rdb(&mut findings, &what, &path, &picture, writer);
        let readers = match writer {
            Kind::Valkey => [Kind::Ours, Kind::Valkey],
            _ => [Kind::Ours, Kind::Redis],
        };
        let mut read = findings.load(&what, &Files::Rdb(path), &readers, &picture)?;
        // What was loaded is saved in its turn.
        for (kind, server, client, picture) in &mut read {
            let readers = readers.iter().filter(|reader| *reader != kind);
            for reader in readers {
                let what = format!("{what}, {kind:?} read and saved");
                if *reader == Kind::Valkey {
                    *picture = without_field_deadlines(client, picture);
                }
                let path = save(server, client);
                check_rdb(&mut findings, &what, &path, picture, *kind);
                findings.load(&what, &Files::Rdb(path), &[*reader], picture)?;
            }
        }
        if writer != Kind::Valkey {
            payloads_cross(&mut findings, &what, &mut read);
        }
        let what = format!("{writer:?} appended");
        check_aof(&mut findings, &what, server.dir.path(), writer);
        let files = Files::Aof(server.dir.path().to_owned());
        findings.load(&what, &files, &readers, &picture)?;
        if writer == Kind::Ours {
            cross_to_valkey(&mut findings, &server, &mut client, &picture, &more)?;
        }
        made.get_or_insert(picture);
    }
    Some(findings.differences)
}

/// Our files in Valkey, which has a form of its own for deadlines of fields.
fn cross_to_valkey(
    findings: &mut Findings,
    server: &Server,
    client: &mut Client,
    picture: &Picture,
    more: &[Args],
) -> Option<()> {
    let readers = &[Kind::Valkey];
    let aof = Files::Aof(server.dir.path().to_owned());
    if !findings.settings.has_preamble {
        findings.load("Ours appended", &aof, readers, picture)?;
    }
    let picture = without_field_deadlines(client, picture);
    let path = save(server, client);
    let read = findings.load("Ours saved", &Files::Rdb(path), readers, &picture)?;
    for (_, _, mut client, theirs) in read {
        let seen = restored(&mut client, &picture);
        let what = "Ours saved, payloads in Valkey";
        findings.add(what, theirs.differences(&seen, &[Fact::Type, Fact::Digest]));
    }
    client.run("BGREWRITEAOF");
    wait_for_rewrite(client);
    ask(client, more);
    let picture = Picture::of(client);
    findings.load("Ours appended more", &aof, readers, &picture)?;
    Some(())
}

/// Removes the hashes in which fields have deadlines.
fn without_field_deadlines(client: &mut Client, picture: &Picture) -> Picture {
    for (dbid, key) in picture.with_field_deadlines() {
        client.run(&format!("SELECT {dbid}"));
        client.call(&[b"DEL", &key[..]]);
    }
    Picture::of(client)
}

#[test]
fn random_data_crosses_in_files_and_payloads() {
    let first = seed();
    let size = count_from_env("RETRACE_CROSSING_SIZE", 1);
    for round in 0..count_from_env("RETRACE_CROSSINGS", 1) {
        let seed = first.wrapping_add(round as u64);
        let Some(differences) = cross(seed, size) else {
            return;
        };
        if !differences.is_empty() {
            let shown = differences.iter().take(40).cloned();
            let text = shown.collect::<Vec<_>>().join("\n");
            panic!(
                "{} differences, RETRACE_SEED={seed}:\n{text}",
                differences.len()
            );
        }
    }
}

/// What expires while it lies on disk is gone when it is loaded, or soon after, and what is left is the same.
#[test]
fn what_expires_in_a_file_is_gone_everywhere() {
    let first = seed();
    let size = count_from_env("RETRACE_CROSSING_SIZE", 1);
    for round in 0..count_from_env("RETRACE_CROSSINGS", 1) {
        let seed = first.wrapping_add(round as u64);
        let mut rng = Rng::new(seed);
        let settings = Settings::new(&mut rng);
        let mut variety = Variety::new(rng.next(), 8 * size, 40 * size);
        let soon_ms = now_ms() + 1500 * size as i64;
        variety.soon_ms = Some(soon_ms);
        let args = [
            &settings.shared[..],
            &settings.writing,
            &["--appendonly".to_owned(), "yes".to_owned()],
        ];
        let server = Kind::Ours.start(tempfile::tempdir().expect("a folder"), &args.concat());
        let server = server.expect("ours starts");
        let mut client = loaded(&server);
        client.run("DEBUG SET-ACTIVE-EXPIRE 0");
        let commands: Vec<Args> = (0..600 * size).map(|_| variety.command()).collect();
        ask(&mut client, &commands);
        let path = save(&server, &mut client);
        let files = [Files::Rdb(path), Files::Aof(server.dir.path().to_owned())];
        wait_for("the deadline", || (now_ms() > soon_ms).then_some(()));
        for files in files {
            let mut readers = Vec::new();
            for kind in [Kind::Ours, Kind::Redis] {
                let Some(reader) = files.load(kind, &settings) else {
                    return;
                };
                readers.push(reader);
            }
            // What a load leaves of it goes in ticks.
            let mut differences = Vec::new();
            for _ in 0..100 {
                let pictures: Vec<Picture> = readers
                    .iter_mut()
                    .map(|(_, client)| Picture::of(client))
                    .collect();
                differences = pictures[0].differences(&pictures[1], READ);
                if differences.is_empty() {
                    break;
                }
                std::thread::sleep(std::time::Duration::from_millis(100));
            }
            let text = differences.join("\n");
            assert!(differences.is_empty(), "RETRACE_SEED={seed}:\n{text}");
        }
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}
