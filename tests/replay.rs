//! Replay: a recorded run repeats to the byte.
//!
//! Lives here: the load, and what may befall a journal. A failing seed is printed; `RETRACE_SEED` takes it back and
//! `RETRACE_COMMANDS` makes the load longer.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use support::grammar::{Words, generated, rules};
use support::{Address, Client, RETRACE, Rng, Server, count_from_env, request, seed, wait_for};
use xxhash_rust::xxh3::xxh3_64_with_seed;

fn replay(journal: &Path) -> (Output, String) {
    let output = Command::new(RETRACE)
        .arg("replay")
        .arg(journal)
        .output()
        .expect("it runs");
    let said = [&output.stdout[..], &output.stderr].concat();
    (output, String::from_utf8_lossy(&said).into_owned())
}

/// One random command. Those that this server does not know yet are answered too, so they may stay.
fn random_command(rng: &mut Rng) -> Vec<String> {
    const TEMPLATES: &[&str] = &[
        "SET k v",
        "SET k v",
        "SET k n",
        "SET k v PX ttl",
        "SET k v EX 1",
        "SET k v NX",
        "SET k v XX GET",
        "SET k v KEEPTTL",
        "GET k",
        "GET k",
        "GET k",
        "GETDEL k",
        "GETEX k PX ttl",
        "GETSET k v",
        "GETRANGE k 0 n",
        "SETRANGE k n v",
        "INCR k",
        "INCRBY k n",
        "DECR k",
        "INCRBYFLOAT k 1.5",
        "APPEND k v",
        "STRLEN k",
        "SUBSTR k 0 -1",
        "SET short n",
        "LCS short short",
        "MSET k v k v k n",
        "MGET k k k k",
        "MSETNX k v k v",
        "SETNX k v",
        "SETEX k 1 v",
        "PSETEX k ttl v",
        "DEL k",
        "DEL k k k",
        "UNLINK k k",
        "EXISTS k k",
        "TYPE k",
        "TOUCH k k",
        "RENAME k k",
        "RENAMENX k k",
        "COPY k k REPLACE",
        "EXPIRE k 1",
        "PEXPIRE k ttl",
        "PEXPIRE k ttl NX",
        "PEXPIRE k ttl GT",
        "PERSIST k",
        "TTL k",
        "PTTL k",
        "PEXPIRETIME k",
        "EXPIRE k 0",
        "RANDOMKEY",
        "RANDOMKEY",
        "RANDOMKEY",
        "KEYS *1*",
        "SCAN 0 COUNT n",
        "SCAN n COUNT 5",
        "DBSIZE",
        "MOVE k 1",
        "SELECT 1",
        "SELECT 0",
        "SWAPDB 0 1",
        "SETBIT k n 1",
        "GETBIT k n",
        "BITCOUNT k",
        "BITPOS k 1",
        "BITOP OR k k k",
        "BITFIELD k INCRBY u5 n 3",
        "BITFIELD_RO k GET u8 0",
        "INFO",
        "INFO everything",
        "INFO stats",
        "CONFIG GET *",
        "CONFIG SET hz 20",
        "CONFIG SET active-expire-effort 3",
        "CONFIG RESETSTAT",
        "CLIENT LIST",
        "CLIENT INFO",
        "CLIENT ID",
        "CLIENT SETNAME n",
        "CLIENT GETNAME",
        "CLIENT NO-EVICT on",
        "CLIENT REPLY ON",
        "HELLO 3",
        "HELLO 2",
        "RESET",
        "COMMAND COUNT",
        "COMMAND DOCS get",
        "COMMAND GETKEYS MSET k v k v",
        "TIME",
        "LOLWUT",
        "SLOWLOG GET",
        "SLOWLOG RESET",
        "LATENCY LATEST",
        "HOTKEYS START METRICS 2 CPU NET SAMPLE 3 COUNT 5",
        "HOTKEYS START METRICS 1 CPU DURATION 1",
        "HOTKEYS GET",
        "HOTKEYS GET",
        "HOTKEYS STOP",
        "HOTKEYS RESET",
        "MEMORY USAGE k",
        "MEMORY STATS",
        "MEMORY DOCTOR",
        "OBJECT ENCODING k",
        "OBJECT IDLETIME k",
        "OBJECT FREQ k",
        "DEBUG OBJECT k",
        "DEBUG SLEEP 0",
        "DEBUG HTSTATS 0",
        "DEBUG DIGEST",
        "ECHO v",
        "PUBLISH n v",
        "PUBLISH n v",
        "SPUBLISH n v",
        "PUBSUB CHANNELS",
        "PUBSUB NUMSUB n n",
        "PUBSUB NUMPAT",
        "CLIENT TRACKINGINFO",
        "CLIENT LIST TYPE pubsub",
        "PING",
        "FLUSHDB",
        "NOSUCH k v",
        "command:  GET key",
        "SET k",
        "MSETEX 1 k v PX ttl",
        "DELEX k IFEQ v",
        "DIGEST k",
        "INCREX k BYINT n",
    ];
    let mut template = *rng.pick(TEMPLATES);
    if template == "FLUSHDB" && !rng.one_in(20) {
        template = "SET k v PX ttl";
    }
    let word = |word: &str, rng: &mut Rng| match word {
        "k" => format!("key:{}", rng.below(200)),
        "short" => format!("short:{}", rng.below(3)), // LCS of two long values would take minutes
        "n" => rng.below(100).to_string(),
        "ttl" => (1 + rng.below(60)).to_string(),
        "v" => match rng.below(20) {
            0 => "long ".repeat(rng.below(15_000)),
            1..5 => rng.below(1000).to_string(),
            _ => format!("value {}", rng.below(50)),
        },
        other => other.to_owned(),
    };
    template.split(' ').map(|name| word(name, rng)).collect()
}

/// A client that sends `count` commands in pipelines of every size, reads them all, and comes back now and then.
fn load(address: &Address, seed: u64, count: usize) {
    const FAMILIES: [&str; 8] = [
        "lists",
        "hashes",
        "sets",
        "zsets",
        "geo",
        "streams",
        "hyperloglogs",
        "chance",
    ];
    let families: Vec<String> = FAMILIES.iter().flat_map(|family| rules(family)).collect();
    let mut words = Words::new(seed);
    let mut rng = Rng::new(seed);
    let mut client = Client::connect(address);
    let mut left = count;
    while left > 0 {
        let depth = [1, 1, 1, 5, 50][rng.below(5)].min(left);
        let mut bytes = Vec::new();
        for _ in 0..depth {
            bytes.extend(match rng.one_in(2) {
                true => request(&generated(&families, &mut words)),
                false => request(&random_command(&mut rng)),
            });
        }
        left -= depth;
        client.send(&bytes);
        match rng.below(60) {
            // Gone with replies on their way, or in the middle of a request, or after half a goodbye.
            0 => client = Client::connect(address),
            1 => {
                let _ = client.try_send(b"*3\r\n$3\r\nSET\r\n$40000\r\nhalf");
                client = Client::connect(address);
            }
            2 => {
                client.half_close();
                client.read_to_end();
                client = Client::connect(address);
            }
            3 => {
                client.send(b"*1\r\n$nonsense\r\n");
                client.read_to_end();
                client = Client::connect(address);
            }
            _ => {
                for _ in 0..depth {
                    client.next_reply().expect("a reply");
                }
            }
        }
    }
}

/// A client that has itself told what others do, and does a little itself, until `is_over`. What it hears is not looked
/// at: a slow one reads too little to hear all.
fn listen(address: &Address, seed: u64, is_slow: bool, is_over: &AtomicBool) {
    const COMMANDS: &[&str] = &[
        "HELLO 3",
        "HELLO 2",
        "SUBSCRIBE n n n",
        "PSUBSCRIBE __key* n*",
        "SSUBSCRIBE n n",
        "UNSUBSCRIBE n",
        "UNSUBSCRIBE",
        "PUNSUBSCRIBE",
        "SUNSUBSCRIBE",
        "PUBLISH n v",
        "MULTI",
        "EXEC",
        "CLIENT TRACKING ON",
        "CLIENT TRACKING ON NOLOOP",
        "CLIENT TRACKING ON OPTIN",
        "CLIENT CACHING YES",
        "CLIENT TRACKING ON BCAST PREFIX key:1",
        "CLIENT TRACKING ON REDIRECT n",
        "CLIENT TRACKING OFF",
        "CLIENT TRACKINGINFO",
        "CLIENT REPLY SKIP",
        "CLIENT INFO",
        "MGET k k k",
        "HGETALL k",
        "SET k v",
        "BLPOP k 0.01",
        "MONITOR",
        "RESET",
        "QUIT",
    ];
    let Address::Tcp(port) = *address else {
        panic!("a TCP server is expected");
    };
    let mut rng = Rng::new(seed);
    let mut space = vec![0; 64 * 1024];
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let patience = Some(Duration::from_millis(2));
        stream.set_read_timeout(patience).expect("not zero");
        stream
    };
    let mut stream = connect();
    while !is_over.load(Ordering::Relaxed) {
        let command: Vec<String> = rng
            .pick(COMMANDS)
            .split(' ')
            .map(|word| match word {
                "k" => format!("key:{}", rng.below(200)),
                "n" => rng.below(100).to_string(),
                other => other.to_owned(),
            })
            .collect();
        let is_sent = stream.write_all(&request(&command)).is_ok();
        let is_read = is_slow || !matches!(stream.read(&mut space), Ok(0));
        if is_slow {
            std::thread::sleep(Duration::from_millis(2));
        }
        if !is_sent || !is_read || rng.one_in(200) {
            stream = connect();
        }
    }
}

/// Runs a mixed load on a server that records; returns the folder with `journal` in it, and keeps the server's end.
fn record(args: &[&str], clients: usize, commands: usize, seed: u64) -> tempfile::TempDir {
    let keep = tempfile::tempdir().expect("a folder");
    let journal = keep.path().join("journal");
    let mut all = vec!["--record", journal.to_str().expect("plain"), "--save", ""];
    all.extend(args);
    let server = Server::start(&all);
    let address = Address::Tcp(server.port());
    let threads: Vec<_> = (0..clients)
        .map(|n| {
            let address = address.clone();
            std::thread::spawn(move || {
                load(&address, seed.wrapping_add(n as u64), commands / clients)
            })
        })
        .collect();
    let is_over = Arc::new(AtomicBool::new(false));
    let listeners: Vec<_> = (0..6)
        .map(|n| {
            let (address, is_over) = (address.clone(), Arc::clone(&is_over));
            let seed = seed.wrapping_add(1000 + n);
            std::thread::spawn(move || listen(&address, seed, n == 0, &is_over))
        })
        .collect();
    for thread in threads {
        thread.join().expect("the load runs to its end");
    }
    is_over.store(true, Ordering::Relaxed);
    for listener in listeners {
        listener.join().expect("a listener sees the end");
    }
    server.terminate();
    keep
}

/// Keeps the journal of a failure where it can be found.
fn assert_identical(journal: &Path, seed: u64) -> String {
    assert_ends(journal, seed, 0)
}

/// The same for a journal that is not whole.
fn assert_identical_so_far(journal: &Path, seed: u64) -> String {
    assert_ends(journal, seed, 3)
}

fn assert_ends(journal: &Path, seed: u64, code: i32) -> String {
    let (output, said) = replay(journal);
    if output.status.code() != Some(code) || !said.contains("identical") {
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("journal-{seed}"));
        fs::copy(journal, &kept).expect("writable");
        panic!("{}\n{said}\nkept as {}", output.status, kept.display());
    }
    said
}

#[test]
fn a_mixed_load_of_many_clients_replays_identically() {
    let seed = seed();
    let commands = count_from_env("RETRACE_COMMANDS", 30_000);
    let args = [
        "--enable-debug-command",
        "yes",
        "--notify-keyspace-events",
        "KEAmn",
        "--tracking-table-max-keys",
        "50",
        "--client-output-buffer-limit",
        "pubsub 1mb 256kb 1",
    ];
    let dir = record(&args, 20, commands, seed);
    println!("{}", assert_identical(&dir.path().join("journal"), seed));
}

#[test]
fn limits_and_timeouts_replay_as_well() {
    let seed = seed();
    let args = [
        "--maxclients",
        "12",
        "--timeout",
        "1",
        "--maxmemory",
        "3mb",
        "--maxmemory-policy",
        "allkeys-random",
    ];
    let keep = tempfile::tempdir().expect("a folder");
    let journal = keep.path().join("journal");
    let mut all = vec!["--record", journal.to_str().expect("plain")];
    all.extend(args);
    let server = Server::start(&all);
    let address = Address::Tcp(server.port());
    let idle: Vec<Client> = (0..6).map(|_| server.connect()).collect();
    load(&address, seed, 2_000);
    for mut client in (0..12).map(|_| server.connect()).collect::<Vec<_>>() {
        client.half_close();
        client.read_to_end(); // some were one too many
    }
    for mut client in idle {
        client.read_to_end(); // until their time is up
    }
    server.terminate();
    println!("{}", assert_identical(&journal, seed));
}

/// What makes the server evict keys and clients, hold commands back and close connections.
const TROUBLE: &[&str] = &[
    "CONFIG SET maxmemory-policy allkeys-lru",
    "CONFIG SET maxmemory-policy allkeys-lfu",
    "CONFIG SET maxmemory-policy allkeys-lrm",
    "CONFIG SET maxmemory-policy allkeys-random",
    "CONFIG SET maxmemory-policy volatile-lru",
    "CONFIG SET maxmemory-policy volatile-ttl",
    "CONFIG SET maxmemory-policy volatile-random",
    "CONFIG SET maxmemory-policy noeviction",
    "CONFIG SET maxmemory 3mb",
    "CONFIG SET maxmemory 4mb",
    "CONFIG SET maxmemory 0",
    "CONFIG SET maxmemory-samples 10",
    "CONFIG SET maxmemory-eviction-tenacity 0",
    "CONFIG SET maxmemory-eviction-tenacity 50",
    "CONFIG SET lazyfree-lazy-eviction yes",
    "CONFIG SET latency-monitor-threshold 1",
    "CONFIG SET latency-monitor-threshold 0",
    "CONFIG SET maxmemory-clients 1mb",
    "CONFIG SET maxmemory-clients 0",
    "CLIENT PAUSE 20 WRITE",
    "CLIENT PAUSE 10 ALL",
    "CLIENT UNPAUSE",
    "CLIENT KILL TYPE normal SKIPME yes",
    "CLIENT KILL MAXAGE 1",
    "CLIENT NO-EVICT on",
    "CLIENT NO-TOUCH on",
    "INFO everything",
    "CLIENT LIST",
    "LATENCY LATEST",
];

/// A client that stirs trouble among its other commands, and comes back when it is closed. Says how many
/// commands it was not allowed to run.
fn troubled_load(address: &Address, trouble: &[&str], seed: u64, rounds: usize) -> usize {
    let mut rng = Rng::new(seed);
    let mut client = Client::connect(address);
    let mut denied = 0;
    for _ in 0..rounds {
        let depth = [1, 5, 30][rng.below(3)];
        let mut bytes = Vec::new();
        for _ in 0..depth {
            let command = match rng.below(25) {
                0 => rng.pick(trouble).split(' ').map(str::to_owned).collect(),
                1..5 => {
                    let (key, value) = (
                        format!("big:{}", rng.below(300)),
                        "x".repeat(rng.below(40_000)),
                    );
                    vec!["SET".to_owned(), key, value]
                }
                _ => random_command(&mut rng),
            };
            bytes.extend(request(&command));
        }
        let is_sent = client.try_send(&bytes).is_ok();
        let mut read = || {
            let (reply, _) = client.next_reply()?;
            let is_denial = reply.error().is_some_and(|text| text.starts_with("NOPERM"));
            denied += usize::from(is_denial);
            Some(())
        };
        if !is_sent || !(0..depth).all(|_| read().is_some()) {
            client = Client::connect(address);
        }
    }
    denied
}

#[test]
fn evictions_pauses_and_kills_replay_as_well() {
    let seed = seed();
    let keep = tempfile::tempdir().expect("a folder");
    let journal = keep.path().join("journal");
    let server = Server::start(&["--record", journal.to_str().expect("plain"), "--save", ""]);
    let address = Address::Tcp(server.port());
    let threads: Vec<_> = (0..8)
        .map(|n| {
            let address = address.clone();
            let rounds = count_from_env("RETRACE_COMMANDS", 2_400) / 8;
            std::thread::spawn(move || {
                troubled_load(&address, TROUBLE, seed.wrapping_add(n), rounds)
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("the load runs to its end");
    }
    let mut client = server.connect();
    client.run("CONFIG SET maxmemory 0");
    client.run("CLIENT UNPAUSE");
    let stats = client.run("INFO stats").text();
    let evicted = stats
        .lines()
        .find_map(|line| line.strip_prefix("evicted_keys:"));
    assert_ne!(evicted, None);
    println!("evicted keys: {evicted:?}");
    server.terminate();
    println!("{}", assert_identical(&journal, seed));
}

/// Everything that goes to disk and comes from there, next to all else that is not plain.
const EVERYTHING: &[&str] = &[
    "BGSAVE",
    "BGSAVE SCHEDULE",
    "BGREWRITEAOF",
    "SAVE",
    "LASTSAVE",
    "CONFIG SET appendonly yes",
    "CONFIG SET appendonly yes",
    "CONFIG SET appendonly no",
    "CONFIG SET appendfsync always",
    "CONFIG SET appendfsync everysec",
    "CONFIG SET aof-use-rdb-preamble no",
    "CONFIG SET aof-use-rdb-preamble yes",
    "CONFIG REWRITE",
    "WAITAOF 0 0 10",
    "WAITAOF 1 0 5",
    "DEBUG RELOAD",
    "DEBUG LOADAOF",
    "FLUSHALL",
    "FLUSHALL ASYNC",
    "MULTI",
    "EXEC",
    "EXEC",
    "DISCARD",
    "WATCH key:1 key:2",
    "EVAL redis.call('incr',KEYS[1])return(redis.call('time')) 1 counter",
    "EVAL redis.call('set','a',1)redis.call('flushall')redis.call('set','a',2) 0",
    "EVAL for(i)=1,3(do)end 0",
    "EVAL local(t)=1 0",
    "EVAL return(redis.call('keys','*')) 0",
    "FCALL add 1 counter",
    "FCALL_RO look 1 counter",
    "FUNCTION DUMP",
    "FUNCTION LIST",
    "SCRIPT FLUSH",
    "HSET hash f 1 g 2",
    "HPEXPIRE hash 5 FIELDS 2 f g",
    "HGETALL hash",
    "SET key:1 x PX 3",
    "BLPOP list 0.01",
    "BLMOVE list list:2 LEFT RIGHT 0.01",
    "BZPOPMIN zset 0.01",
    "RPUSH list x",
    "ZADD zset 1 a",
    "CONFIG SET maxmemory 3mb",
    "CONFIG SET maxmemory 0",
    "CONFIG SET maxmemory-policy allkeys-lru",
    "CONFIG SET maxmemory-policy volatile-ttl",
    "CONFIG SET maxmemory-policy noeviction",
    "INFO everything",
];

#[test]
fn files_scripts_evictions_and_all_else_replay_in_one_run() {
    let seed = seed();
    let keep = tempfile::tempdir().expect("a folder");
    let journal = keep.path().join("journal");
    let config = keep.path().join("conf");
    fs::write(&config, "save 1 50\nenable-debug-command yes\n").expect("writable");
    let server = Server::start(&[
        config.to_str().expect("plain"),
        "--record",
        journal.to_str().expect("plain"),
        "--appendonly",
        "yes",
        "--auto-aof-rewrite-min-size",
        "200kb",
        "--notify-keyspace-events",
        "KEA",
    ]);
    let address = Address::Tcp(server.port());
    let library = "#!lua name=lib\n\
        redis.register_function('add', function(keys) return redis.call('incr', keys[1]) end)\n\
        redis.register_function{function_name='look', flags={'no-writes'}, callback=function(keys)\n\
        return redis.pcall('get', keys[1]) end}";
    let loaded = server.connect().call(&["FUNCTION", "LOAD", library]);
    assert_eq!(loaded.text(), "lib");
    let is_over = Arc::new(AtomicBool::new(false));
    let listeners: Vec<_> = (0..4)
        .map(|n| {
            let (address, is_over) = (address.clone(), Arc::clone(&is_over));
            let seed = seed.wrapping_add(1000 + n);
            std::thread::spawn(move || listen(&address, seed, n == 0, &is_over))
        })
        .collect();
    let threads: Vec<_> = (0..6)
        .map(|n| {
            let address = address.clone();
            let rounds = count_from_env("RETRACE_COMMANDS", 900) / 6;
            std::thread::spawn(move || {
                troubled_load(&address, EVERYTHING, seed.wrapping_add(n), rounds)
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("the load runs to its end");
    }
    is_over.store(true, Ordering::Relaxed);
    for listener in listeners {
        listener.join().expect("a listener sees the end");
    }
    // While the first base of an append-only file is written, a server does not end.
    let mut client = server.connect();
    wait_for("the rewrites", || {
        let text = client.run("INFO persistence").text();
        let is_done =
            text.contains("aof_rewrite_in_progress:0") && text.contains("aof_rewrite_scheduled:0");
        is_done.then_some(())
    });
    server.terminate();
    println!("{}", assert_identical(&journal, seed));

    // So does the run up to any moment.
    let whole = fs::read(&journal).expect("recorded");
    let blocks = blocks(&whole);
    let mut rng = Rng::new(seed);
    for _ in 0..3 {
        let (start, len) = blocks[1 + rng.below(blocks.len() - 1)];
        fs::write(&journal, &whole[..start + len]).expect("writable");
        assert_identical(&journal, seed);
    }
}

/// Users come, go, log in and are refused.
const USERS: &[&str] = &[
    "ACL SETUSER one on nopass +@all -@dangerous ~key:* ~short:*",
    "ACL SETUSER one on >pw -@write",
    "ACL SETUSER one +@all %R~key:1* (+set ~key:2*)",
    "ACL SETUSER one resetkeys nosuchrule",
    "ACL SETUSER two reset on >pw +@all ~*",
    "ACL SETUSER two off",
    "ACL SETUSER three on nopass allcommands allkeys allchannels",
    "ACL SETUSER three -get -acl|whoami +select|0",
    "ACL DELUSER one nosuch",
    "ACL DELUSER two three",
    "AUTH one x",
    "AUTH two pw",
    "AUTH two wrong",
    "AUTH three x",
    "HELLO 3 AUTH one pw SETNAME named",
    "AUTH default x",
    "RESET",
    "MULTI",
    "EXEC",
    "DISCARD",
    "BLPOP list 0.01",
    "RPUSH list x",
    "ACL WHOAMI",
    "ACL LIST",
    "ACL GETUSER one",
    "ACL LOG",
    "ACL LOG RESET",
    "ACL GENPASS",
    "ACL GENPASS 5",
    "ACL CAT read",
    "ACL DRYRUN one get key:1",
    "ACL SAVE",
    "ACL LOAD",
    "CONFIG SET acllog-max-len 3",
    "CLIENT KILL USER one",
    "CLIENT LIST",
    "INFO everything",
];

#[test]
fn users_logins_and_refusals_replay_as_well() {
    let seed = seed();
    let keep = tempfile::tempdir().expect("a folder");
    let journal = keep.path().join("journal");
    let users = keep.path().join("users.acl");
    fs::write(&users, "user one on >pw +@all ~*\n").expect("writable");
    let server = Server::start(&[
        "--record",
        journal.to_str().expect("plain"),
        "--aclfile",
        users.to_str().expect("plain"),
    ]);
    let address = Address::Tcp(server.port());
    let threads: Vec<_> = (0..6)
        .map(|n| {
            let address = address.clone();
            let rounds = count_from_env("RETRACE_COMMANDS", 2_400) / 6;
            std::thread::spawn(move || troubled_load(&address, USERS, seed.wrapping_add(n), rounds))
        })
        .collect();
    let denied = threads
        .into_iter()
        .map(|thread| thread.join().expect("the load runs to its end"));
    let denied: usize = denied.sum();
    assert!(denied > 0, "nobody was refused anything");
    server.terminate();
    fs::remove_file(&users).expect("there"); // what it held is in the journal
    println!("{}", assert_identical(&journal, seed));
}

/// The blocks of a journal: where each payload starts, and how long it is.
fn blocks(journal: &[u8]) -> Vec<(usize, usize)> {
    let mut blocks = Vec::new();
    let mut at = 12;
    while at + 12 <= journal.len() {
        let len = u32::from_le_bytes(journal[at..at + 4].try_into().expect("four bytes")) as usize;
        blocks.push((at + 12, len));
        at += 12 + len;
    }
    blocks
}

#[test]
fn a_changed_reply_is_named() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal");
    let server = Server::start(&["--record", path.to_str().expect("plain")]);
    let mut client = server.connect();
    for n in 0..50 {
        client.call(&["SET", &format!("key:{n}"), "v"]);
    }
    client.call(&["SET", "key", "the value in question"]);
    assert_eq!(client.run("GET key").text(), "the value in question");
    server.terminate();
    let mut journal = fs::read(&path).expect("recorded");

    // The value stands in it twice: in the request, and in the reply, which is changed here under a right checksum.
    let needle = b"the value in question";
    let at = journal
        .windows(needle.len())
        .rposition(|bytes| bytes == needle)
        .expect("a reply");
    journal[at] = b'T';
    let (index, (start, len)) = blocks(&journal)
        .into_iter()
        .enumerate()
        .find(|(_, (start, len))| (*start..start + len).contains(&at))
        .expect("a block around it");
    let checksum = xxh3_64_with_seed(&journal[start..start + len], index as u64);
    journal[start - 8..start].copy_from_slice(&checksum.to_le_bytes());
    fs::write(&path, &journal).expect("writable");

    let (output, said) = replay(&path);
    assert_eq!(output.status.code(), Some(1), "{said}");
    for text in [
        "replies differ: client ",
        "command:  GET key",
        "The value in question",
        "the value in question",
    ] {
        assert!(said.contains(text), "no {text:?} in\n{said}");
    }
    assert!(!said.contains("identical"), "{said}");
}

#[test]
fn a_torn_tail_costs_the_tail_only() {
    let seed = seed();
    let dir = record(&[], 4, 2_000, seed);
    let path = dir.path().join("journal");
    let whole = fs::read(&path).expect("recorded");
    let mut rng = Rng::new(seed);
    let start = blocks(&whole)[1].0;
    for _ in 0..6 {
        let cut = start + rng.below(whole.len() - start);
        fs::write(&path, &whole[..cut]).expect("writable");
        let said = assert_identical_so_far(&path, seed);
        assert!(said.contains("cut off behind byte"), "cut at {cut}: {said}");
    }
    // A bit that toppled on the disk: what stands before it is still good.
    let mut damaged = whole.clone();
    let last = blocks(&whole).pop().expect("blocks");
    damaged[last.0 + last.1 / 2] ^= 4;
    fs::write(&path, &damaged).expect("writable");
    let said = assert_identical_so_far(&path, seed);
    assert!(said.contains("damaged behind byte"), "{said}");
}

#[test]
fn what_is_no_journal_is_refused() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("journal");
    fs::write(&path, "REDIS0011 something else").expect("writable");
    let (output, said) = replay(&path);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("not a journal"), "{said}");
    let (output, _) = replay(&dir.path().join("nothing"));
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = || {
        let server = Server::start(&["--seed", "42"]);
        let mut client = server.connect();
        for n in 0..100 {
            client.call(&["SET", &format!("key:{n}"), "v"]);
        }
        (0..50)
            .map(|_| client.run("RANDOMKEY").text())
            .collect::<Vec<_>>()
    };
    assert_eq!(run(), run());
}

/// The host's own keys in Lua's tables are addresses. They hashed as such, so the collector went through a table in
/// another order in each process, and stood elsewhere when INFO asked for the size of the state.
#[test]
fn a_lua_state_has_the_same_size_in_every_process() {
    let sizes: Vec<String> = (0..8)
        .map(|_| {
            let server = Server::start(&["--save", "", "--seed", "1"]);
            let mut client = server.connect();
            let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
            assert_eq!(client.call(&["FUNCTION", "LOAD", code]).text(), "lib");
            client.run("EVAL return{} 0");
            let info = client.run("INFO memory").text();
            let lines = info.lines();
            lines
                .filter(|line| line.starts_with("used_memory_vm_"))
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    assert!(
        sizes.iter().all(|size| *size == sizes[0]) && sizes[0].contains("vm_functions"),
        "{sizes:#?}"
    );
}
