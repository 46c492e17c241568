//! ACL: users end to end: files, restarts, closed connections, and random rules compared with a real server.
//!
//! Where there is no real server the comparison says so and passes. A failing seed is printed; `RETRACE_SEED` takes it
//! back, `RETRACE_USERS` says how many users are made.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::process::Command;

use support::grammar::{Words, generated, rules};
use support::pair::{OPTIONS, Pair, difference, fail_with};
use support::{
    Client, RETRACE, Rng, Server, Value, count_from_env, oracle_server, request, seed, wait_for,
};

/// What the reply says, as a line.
fn said(client: &mut Client, line: &str) -> String {
    client.run(line).to_string()
}

#[track_caller]
fn expect(client: &mut Client, script: &[(&str, &str)]) {
    for (line, want) in script {
        let got = said(client, line);
        assert!(got.contains(want), "{line}: {got}, not {want}");
    }
}

// --- random rules ---

/// The commands and subcommands that both servers know.
fn common_commands(pair: &mut Pair) -> Vec<String> {
    let names = |client: &mut Client| match client.run("COMMAND LIST") {
        Value::Array(names) => names.iter().map(Value::text).collect::<Vec<_>>(),
        other => panic!("{other}"),
    };
    let real = names(&mut pair.real);
    let mut common = names(&mut pair.ours);
    common.retain(|name| real.contains(name));
    common.sort();
    assert!(common.len() > 100);
    common
}

const CATEGORIES: &[&str] = &[
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "geo",
    "stream",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "all",
    "ALL",
    "Read",
    "nosuch",
    "",
];

const PATTERNS: &[&str] = &[
    "key:*",
    "key:[0-3]",
    "*:1",
    "k?y:5",
    "*",
    "key:7",
    "",
    "nosuch",
    "a b",
    "\\*",
];

/// One rule, mostly a sound one.
fn random_rule(rng: &mut Rng, commands: &[String], depth: usize) -> String {
    let pattern = *rng.pick(PATTERNS);
    let command = rng.pick(commands).clone();
    let sign = if rng.one_in(2) { '+' } else { '-' };
    match rng.below(26) {
        0..6 => format!("{sign}{command}"),
        6 => format!("{sign}{}", command.to_uppercase()),
        7..10 => format!("{sign}@{}", rng.pick(CATEGORIES)),
        10 => format!(
            "+{command}|{}",
            rng.pick(&["0", "GET", "key:1", "", "KEY:1"])
        ),
        11 => (*rng.pick(&["+@all", "-@all", "allcommands", "nocommands"])).to_owned(),
        12..15 => format!("~{pattern}"),
        15 => format!("%R~{pattern}"),
        16 => format!("%W~{pattern}"),
        17 => format!(
            "%{}~{pattern}",
            rng.pick(&["RW", "rw", "WR", "", "RR", "X"])
        ),
        18 => format!("&{pattern}"),
        19 => (*rng.pick(&["resetkeys", "allkeys", "resetchannels", "allchannels"])).to_owned(),
        20 => (*rng.pick(&["on", "off", "ON", "reset", "nopass", "resetpass"])).to_owned(),
        21 => format!("{}pw{}", rng.pick(&[">", "<", "#", "!"]), rng.below(3)),
        22 => (*rng.pick(&[
            "sanitize-payload",
            "skip-sanitize-payload",
            "clearselectors",
            "x",
            "",
        ]))
        .to_owned(),
        _ if depth > 0 => "~key:1".to_owned(),
        _ => {
            let count = rng.below(4);
            let rules = (0..count).map(|_| random_rule(rng, commands, depth + 1));
            let inside = rules.collect::<Vec<_>>().join(" ");
            match rng.below(12) {
                0 => format!("({inside}"),
                1 => format!("( {inside} )"),
                _ => format!("({inside})"),
            }
        }
    }
}

/// Random lists of rules on both servers, and after each what the user has become and may do.
#[test]
fn random_rules_mean_the_same_as_on_a_real_server() {
    let Some(real) = oracle_server(OPTIONS) else {
        return;
    };
    let ours = Server::start(OPTIONS);
    let seed = seed();
    let mut rng = Rng::new(seed);
    let mut words = Words::new(seed);
    let families = [
        "strings", "keys", "lists", "hashes", "sets", "zsets", "geo", "streams",
    ];
    let requests: Vec<String> = families.iter().flat_map(|family| rules(family)).collect();
    let mut differences = Vec::new();
    for protocol in ["2", "3"] {
        let mut pair = Pair::new(&ours, &real, protocol);
        let commands = common_commands(&mut pair);
        for number in 0..count_from_env("RETRACE_USERS", 400) / 2 {
            let name = format!("u{}", number % 20);
            let count = rng.below(8);
            let mut setuser = vec!["ACL".to_owned(), "SETUSER".into(), name.clone()];
            // An error leaves the user as it is, so the shorter lists make more of a difference.
            setuser.extend((0..count).map(|_| random_rule(&mut rng, &commands, 0)));
            let mut batch: Vec<Vec<Vec<u8>>> = vec![
                setuser
                    .iter()
                    .map(|word| word.clone().into_bytes())
                    .collect(),
                [b"ACL".to_vec(), b"GETUSER".to_vec(), name.clone().into()].into(),
            ];
            for _ in 0..12 {
                let mut dryrun = vec![b"ACL".to_vec(), b"DRYRUN".to_vec(), name.clone().into()];
                dryrun.extend(match rng.below(4) {
                    0 => {
                        let name = rng.pick(&commands).replace('|', " ");
                        let words = name.split(' ').map(|word| word.as_bytes().to_vec());
                        words.chain([b"key:1".to_vec()]).collect()
                    }
                    _ => generated(&requests, &mut words),
                });
                batch.push(dryrun);
            }
            if number % 20 == 19 {
                batch.push(vec![b"ACL".to_vec(), b"LIST".to_vec()]);
            }
            let bytes: Vec<u8> = batch.iter().flat_map(|command| request(command)).collect();
            pair.ours.send(&bytes);
            pair.real.send(&bytes);
            for command in &batch {
                let (ours_said, real_said) = (pair.ours.next_reply(), pair.real.next_reply());
                if let Some(text) = difference(command, false, ours_said, real_said) {
                    let after = setuser.join(" ");
                    differences.push(format!("RESP{protocol}, after {after:?}: {text}"));
                }
            }
            if differences.len() > 30 {
                break;
            }
        }
        for client in [&mut pair.ours, &mut pair.real] {
            for number in 0..20 {
                client.run(&format!("ACL DELUSER u{number}"));
            }
        }
    }
    fail_with(differences, "random rules");
}

// --- files ---

/// Starts with these arguments in a folder with these files, and says what was on the output when it ended.
fn failed_start(files: &[(&str, &str)], args: &[&str]) -> String {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(dir.path().join(name), text).expect("writable");
    }
    let output = Command::new(RETRACE)
        .args(args)
        .args(["--port", "auto"])
        .current_dir(dir.path())
        .output()
        .expect("it runs");
    assert!(!output.status.success(), "{args:?} was accepted");
    let said = [&output.stdout[..], &output.stderr].concat();
    String::from_utf8_lossy(&said).into_owned()
}

#[test]
fn users_that_are_not_sound_keep_the_server_from_starting() {
    let twice = "Error in user declaration 'foo': Duplicate user found. A user can only be defined once in config \
                 files";
    for (args, want) in [
        (&["--user", "foo", "--user", "foo"][..], twice),
        (
            &["--user", "foo", "on", "xx"],
            "Error in user declaration 'foo': Syntax error",
        ),
        (
            &["--user", "foo", "on", "(+get"],
            "Error in user declaration 'foo': Wrong format",
        ),
        (
            &["--user", "foo", "on", "+nosuch"],
            "Error loading ACL rule '+nosuch' for the user named 'foo': Unknown command or category name in ACL",
        ),
        (
            &["--user", "foo", "on", "+nosuch"],
            "Critical error while loading ACLs. Exiting.",
        ),
        (
            &["--user", "a b", "on"],
            "Spaces not allowed in ACL usernames",
        ),
        (
            &["--user", "foo", "on", "--aclfile", "users.acl"],
            "please define either an ACL file or declare users directly in your redis.conf, but not both.",
        ),
        (
            &["--aclfile", "nosuch.acl"],
            "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file 'nosuch.acl': No such file \
             or directory",
        ),
        (
            &["--aclfile", "users.acl"],
            "Aborting Redis startup because of ACL errors: users.acl:2: Syntax error. WARNING: ACL errors detected, no \
             change to the previously active ACL rules was performed",
        ),
        (
            &[
                "--rename-command",
                "get",
                "fetch",
                "--user",
                "foo",
                "on",
                "+fetch",
            ],
            "Error loading ACL rule '+fetch'",
        ),
    ] {
        let said = failed_start(&[("users.acl", "user a on\nuser b xx\n")], args);
        assert!(said.contains(want), "{args:?}: {said}");
    }
}

#[test]
fn users_of_the_configuration_survive_a_rewrite() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("retrace.conf");
    let text = "requirepass secret\nuser limited on >pw +@all -flushdb ~a* resetchannels\n";
    fs::write(&file, text).expect("writable");
    let file_name = file.to_str().expect("plain");
    let dir_name = dir.path().to_str().expect("plain");
    let args = [file_name, "--dir", dir_name];
    let server = Server::start(&args);
    let mut client = server.connect();
    expect(
        &mut client,
        &[
            ("PING", "NOAUTH"),
            ("AUTH limited pw", "OK"),
            ("FLUSHDB", "NOPERM"),
            ("GET b", "NOPERM"),
            ("AUTH default secret", "OK"),
            ("ACL SETUSER other on nopass (%R~x +get)", "OK"),
            ("CONFIG REWRITE", "OK"),
        ],
    );
    let text = fs::read_to_string(&file).expect("readable");
    assert!(!text.contains(">pw"), "{text}");
    drop(server);

    let server = Server::start(&args);
    let mut client = server.connect();
    expect(
        &mut client,
        &[
            ("PING", "NOAUTH"),
            ("AUTH other any", "OK"),
            ("GET x", "nil"),
            ("SET x 1", "NOPERM"),
            ("AUTH limited pw", "OK"),
            ("FLUSHDB", "NOPERM"),
            ("AUTH default secret", "OK"),
            ("ACL USERS", "other"),
        ],
    );
}

#[test]
fn an_acl_file_is_loaded_saved_and_loaded_again() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("users.acl");
    let alice = "user alice on nopass +@all ~*\n";
    fs::write(&path, alice).expect("writable");
    let dir_name = dir.path().to_str().expect("plain").to_owned();
    let server = Server::start_in(dir, &["--dir", &dir_name, "--aclfile", "users.acl"]);
    let mut client = server.connect();
    let (mut stays, mut goes) = (server.connect(), server.connect());
    expect(&mut client, &[("ACL SETUSER bob on >pw +@all ~b*", "OK")]);
    expect(&mut stays, &[("AUTH alice x", "OK")]);
    expect(&mut goes, &[("AUTH bob pw", "OK"), ("GET b", "nil")]);

    // As it stands nothing changes for anyone.
    expect(&mut client, &[("ACL SAVE", "OK"), ("ACL LOAD", "OK")]);
    expect(&mut stays, &[("PING", "PONG")]);
    expect(&mut goes, &[("PING", "PONG")]);
    let saved = fs::read_to_string(&path).expect("readable");
    assert_eq!(saved.lines().count(), 3, "{saved}");
    assert!(!saved.contains("pw"), "{saved}");

    // A file with errors changes nothing.
    fs::write(&path, "user alice on\nuser bob xx\n").expect("writable");
    expect(
        &mut client,
        &[("ACL LOAD", "ERR users.acl:2: Syntax error.")],
    );
    expect(&mut goes, &[("ACL WHOAMI", "bob")]);

    // Who is no longer in it has to go, and what is changed counts at once.
    fs::write(&path, "user alice on nopass +@all ~a*\n").expect("writable");
    expect(&mut client, &[("ACL LOAD", "OK")]);
    assert!(goes.is_closed());
    expect(&mut stays, &[("GET b", "NOPERM"), ("GET a", "nil")]);
    fs::remove_file(&path).expect("there");
    expect(
        &mut client,
        &[
            (
                "ACL LOAD",
                "ERR Error loading ACLs, opening file 'users.acl': No such file or directory",
            ),
            ("ACL USERS", "alice"),
        ],
    );

    // The one that loads may be gone itself, behind its answer.
    fs::write(&path, "").expect("writable");
    expect(&mut stays, &[("ACL LOAD", "OK")]);
    assert!(stays.is_closed());
    // The file takes part in a transaction.
    expect(
        &mut client,
        &[
            ("MULTI", "OK"),
            ("ACL SAVE", "QUEUED"),
            ("ACL USERS", "QUEUED"),
        ],
    );
    assert_eq!(said(&mut client, "EXEC"), "[OK [\"default\"]]");
}

// --- clients ---

#[test]
fn clients_of_a_deleted_user_are_closed() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    let (mut one, mut waits, mut asks) = (server.connect(), server.connect(), server.connect());
    expect(
        &mut admin,
        &[("ACL SETUSER u on nopass allcommands allkeys", "OK")],
    );
    for client in [&mut one, &mut waits, &mut asks] {
        expect(client, &[("AUTH u x", "OK")]);
    }
    waits.send(&request(&["BLPOP", "list", "0"]));
    wait_for("the blocked client", || {
        said(&mut admin, "INFO clients")
            .contains("blocked_clients:1")
            .then_some(())
    });
    assert_eq!(said(&mut asks, "ACL DELUSER u"), "1");
    for mut client in [one, waits, asks] {
        assert!(client.is_closed());
    }
    expect(&mut admin, &[("RPUSH list x", "1"), ("LLEN list", "1")]);
}

#[test]
fn who_listens_to_what_it_may_not_hear_any_more_is_closed() {
    let server = Server::start(&[]);
    let mut admin = server.connect();
    for (verb, name, lost, kept) in [
        ("SUBSCRIBE", "foo:1", "&foo:2", "&foo:1 &bar"),
        ("SSUBSCRIBE", "foo:1", "", "&foo:*"),
        ("PSUBSCRIBE", "foo:*", "&foo:?", "&x &foo:*"),
        ("SUBSCRIBE", "any", "&other", "allchannels"),
    ] {
        let (mut listens, mut listens_and_sets) = (server.connect(), server.connect());
        let all = "ACL SETUSER u reset on nopass +@all allchannels";
        let to = |rules: &str| format!("ACL SETUSER u resetchannels {rules}");
        expect(&mut admin, &[(all, "OK")]);
        for client in [&mut listens, &mut listens_and_sets] {
            expect(client, &[("HELLO 3 AUTH u x", "redis")]);
            client.send(&request(&[verb, name]));
            client.read();
        }
        expect(
            &mut admin,
            &[(&to(kept), "OK"), (all, "OK"), (&to(kept), "OK")],
        );
        expect(&mut listens, &[("PING", "PONG")]);
        expect(&mut listens_and_sets, &[(&to(lost), "OK")]);
        assert!(
            listens.is_closed() && listens_and_sets.is_closed(),
            "{verb} {name}"
        );
        assert_eq!(said(&mut admin, "CLIENT KILL USER u"), "0");
    }
}

#[test]
fn a_blocked_command_is_refused_when_it_is_no_longer_allowed() {
    let server = Server::start(&[]);
    let (mut admin, mut waits) = (server.connect(), server.connect());
    expect(&mut admin, &[("ACL SETUSER u on nopass +@all ~*", "OK")]);
    expect(&mut waits, &[("AUTH u x", "OK")]);
    waits.send(&request(&["BLPOP", "list", "0"]));
    wait_for("the blocked client", || {
        said(&mut admin, "INFO clients")
            .contains("blocked_clients:1")
            .then_some(())
    });
    expect(
        &mut admin,
        &[("ACL SETUSER u resetkeys", "OK"), ("RPUSH list x", "1")],
    );
    assert_eq!(
        waits.read().error(),
        Some("NOPERM No permissions to access a key")
    );
    expect(&mut waits, &[("PING", "PONG")]);
    expect(
        &mut admin,
        &[
            ("LLEN list", "1"),
            (
                "INFO commandstats",
                "cmdstat_blpop:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1",
            ),
        ],
    );
}

#[test]
fn the_log_says_who_was_refused_what() {
    let server = Server::start(&[]);
    let (mut admin, mut client) = (server.connect(), server.connect());
    expect(
        &mut admin,
        &[("ACL SETUSER u on nopass +@all -incr ~a*", "OK")],
    );
    expect(
        &mut client,
        &[
            ("AUTH u x", "OK"),
            ("GET b", "NOPERM"),
            ("MGET a b c", "NOPERM"),
            (
                "INCR a",
                "NOPERM User u has no permissions to run the 'incr' command",
            ),
            ("MULTI", "OK"),
            ("SET a 1", "QUEUED"),
            ("SET a2 1", "QUEUED"),
        ],
    );
    expect(&mut admin, &[("ACL SETUSER u resetkeys ~a2", "OK")]);
    let replies = said(&mut client, "EXEC");
    assert!(
        replies.contains("no permission to touch the specified keys") && replies.ends_with("OK]"),
        "{replies}"
    );
    expect(&mut client, &[("AUTH u2 x", "WRONGPASS")]);
    let Value::Array(entries) = admin.run("ACL LOG") else {
        panic!("a list");
    };
    let shown: Vec<String> = entries
        .iter()
        .map(|entry| {
            let Value::Array(fields) = entry else {
                panic!("{entry}");
            };
            assert_eq!(fields.len(), 20);
            let of = |at: usize| fields[at].text();
            assert!(fields[13].text().contains("user=u "), "{entry}");
            let count = fields[1].to_string();
            format!("{count} {} {} {} {}", of(3), of(5), of(7), of(9))
        })
        .collect();
    assert_eq!(
        shown,
        [
            "1 auth toplevel AUTH u2",
            "1 key multi a u",
            "1 command toplevel incr u",
            "2 key toplevel b u",
        ]
    );
    let stats = said(&mut admin, "INFO stats");
    for line in [
        "acl_access_denied_auth:1",
        "acl_access_denied_cmd:1",
        "acl_access_denied_key:3",
        "acl_access_denied_channel:0",
    ] {
        assert!(stats.contains(line), "{line}: {stats}");
    }
}

#[test]
fn permissions_go_by_the_names_that_commands_have_without_renaming() {
    let server = Server::start(&[
        "--rename-command",
        "get",
        "fetch",
        "--user",
        "u",
        "on",
        "nopass",
        "+get",
        "~*",
    ]);
    let mut client = server.connect();
    expect(
        &mut client,
        &[
            ("AUTH u x", "OK"),
            ("FETCH a", "nil"),
            ("GET a", "ERR unknown command"),
            (
                "SET a 1",
                "NOPERM User u has no permissions to run the 'set' command",
            ),
        ],
    );
}

#[test]
fn what_reaches_files_or_innards_has_to_be_allowed_first() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    expect(
        &mut client,
        &[
            ("CONFIG SET dir /tmp", "can't set protected config"),
            ("CONFIG SET dbfilename x", "can't set protected config"),
            ("DEBUG SLEEP 0", "ERR DEBUG command not allowed."),
            (
                "CONFIG SET enable-debug-command yes",
                "can't set immutable config",
            ),
            (
                "CONFIG SET enable-protected-configs yes",
                "can't set immutable config",
            ),
        ],
    );
    let server = Server::start(&[
        "--enable-debug-command",
        "local",
        "--enable-protected-configs",
        "local",
    ]);
    let mut client = server.connect();
    expect(
        &mut client,
        &[("DEBUG SLEEP 0", "OK"), ("CONFIG SET dbfilename x", "OK")],
    );
}

#[test]
fn passwords_stay_out_of_the_log_of_slow_commands_and_out_of_replies() {
    let server = Server::start(&["--slowlog-log-slower-than", "0"]);
    let mut client = server.connect();
    expect(
        &mut client,
        &[
            ("ACL SETUSER u on >hidden +@all", "OK"),
            ("CONFIG SET requirepass hidden", "OK"),
            ("AUTH u hidden", "OK"),
            ("HELLO 2 AUTH u hidden", "redis"),
            ("AUTH u hiddenwrong", "WRONGPASS"),
        ],
    );
    for line in ["SLOWLOG GET 100", "ACL LIST", "ACL GETUSER u", "ACL LOG"] {
        let reply = said(&mut client, line);
        assert!(!reply.contains("hidden"), "{line}: {reply}");
    }
    assert!(!server.log().contains("hidden"));
}

// --- keys that a command uses ---

/// Keys of all types that a user must neither see nor change, each with a text in it that nothing else has.
const SECRETS: &[&str] = &[
    "SET secret:0 classified",
    "SET secret:1 classified:1",
    "RPUSH secret:2 classified classified:2",
    "SADD secret:3 classified classified:3",
    "HSET secret:4 classified classified",
    "ZADD secret:5 1 classified",
    "XADD secret:6 1-1 classified classified",
    "GEOADD secret:7 15 37 classified",
];

/// Families whose commands name keys.
const FAMILIES: &[&str] = &[
    "strings",
    "keys",
    "bits",
    "hyperloglogs",
    "lists",
    "hashes",
    "sets",
    "zsets",
    "geo",
    "streams",
    "scripts",
    "chance",
];

/// Some of a command's keys become secret ones, and some of its options stand there twice.
fn disturbed(mut command: Vec<Vec<u8>>, rng: &mut Rng) -> Vec<Vec<u8>> {
    if rng.one_in(2) && command.len() > 2 {
        let from = 1 + rng.below(command.len() - 1);
        let until = command.len().min(from + 1 + rng.below(3));
        let again = command[from..until].to_vec();
        command.extend(again);
    }
    if rng.one_in(4) {
        for _ in 0..1 + rng.below(2) {
            let word = *rng.pick(&["STORE", "STOREDIST", "GET", "COUNT", "IFEQ", "LIMIT"]);
            command.push(word.into());
            command.push(format!("key:{}", rng.below(8)).into());
        }
    }
    for word in command.iter_mut().skip(1) {
        if word.starts_with(b"key:") && rng.one_in(3) {
            *word = format!("secret:{}", rng.below(8)).into();
        }
    }
    command
}

#[test]
fn every_key_that_a_command_uses_is_asked_for() {
    let server = Server::start(OPTIONS);
    let (mut client, mut owner) = (server.connect(), server.connect());
    owner.run(
        "ACL SETUSER guest on nopass ~key:* +@all -@admin -@dangerous +sort -swapdb -move -select",
    );
    client.run("AUTH guest x");
    for secret in SECRETS {
        owner.run(secret);
    }
    let names: Vec<String> = (0..8).map(|n| format!("secret:{n}")).collect();
    let mut look = vec!["DEBUG", "DIGEST-VALUE"];
    look.extend(names.iter().map(String::as_str));
    let before = owner.call(&look).to_string();

    let mut words = Words::new(seed());
    let mut rng = words.rng.clone();
    let count = count_from_env("RETRACE_COMMANDS", 12_000);
    let (mut refused, mut ran) = (0, 0);
    for family in FAMILIES {
        let rules = rules(family);
        for _ in 0..count / FAMILIES.len() {
            let command = disturbed(generated(&rules, &mut words), &mut rng);
            let shown: Vec<String> = command
                .iter()
                .map(|word| word.escape_ascii().to_string())
                .collect();
            let shown = shown.join(" ");
            let reply = client.call(&command).to_string();
            refused += usize::from(reply.starts_with("-NOPERM"));
            ran += usize::from(!reply.starts_with('-') && shown.contains("key:"));
            assert!(!reply.contains("classified"), "{shown}: {reply}");
            let after = owner.call(&look).to_string();
            assert_eq!(after, before, "{shown}: {reply}");
        }
    }
    assert!(
        refused > count / 20 && ran > count / 20,
        "{refused} refused, {ran} ran"
    );
}

#[test]
fn an_option_that_stands_there_twice_hides_no_key() {
    let server = Server::start(&[]);
    let (mut client, mut owner) = (server.connect(), server.connect());
    owner.run("ACL SETUSER guest on nopass ~a* %R~r* %W~w* +@all");
    client.run("AUTH guest x");
    client.run("GEOADD a 15 37 m");
    client.run("RPUSH al 1 2");
    owner.run("SET word hidden");
    let no = "-NOPERM No permissions to access a key";
    expect(
        &mut client,
        &[
            ("GEORADIUS a 15 37 100 km STORE a1 STORE b", no),
            ("GEORADIUS a 15 37 100 km STORE b STORE a1", no),
            ("GEORADIUS a 15 37 100 km STOREDIST a1 COUNT 1 STORE b", no),
            ("GEORADIUS a 15 37 100 km STOREDIST a1 STOREDIST b ASC", no),
            ("GEORADIUS a 15 37 100 km STORE a1 STORE", "-ERR syntax"),
            ("GEORADIUS a 15 37 100 km STORE a1 STORE a2", "1"),
            ("GEORADIUSBYMEMBER a m 100 km STORE a1 STORE b", no),
            ("GEORADIUSBYMEMBER a m 100 km STORE a1 STOREDIST w", "1"),
            ("SORT al STORE a1 STORE b", no),
            ("SORT al STORE b STORE a1", "2"),
            // What compares tells of the value, so that a guess at a time would find it.
            ("SET word x IFEQ y", no),
            ("SET word x EX 10 IFNE hidden", no),
            ("SET word x IFDEQ 0123456789abcdef", no),
            ("SET word x GET", no),
            ("DELEX word IFEQ hidden", no),
            ("DELEX word IFDNE 0123456789abcdef", no),
            ("SET word x XX", "OK"),
            ("DELEX word", "1"),
            ("INCREX word", no),
            ("DIGEST word", no),
            ("DELEX ro", no),
        ],
    );
}

/// Files of users for a real server name its commands, also those that are not there yet.
#[test]
fn rules_name_commands_that_are_absent() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    for rules in [
        "reset -@all +vadd +migrate +module|load +FAILOVER",
        "reset +@all -migrate -module|loadex -VSIM -cluster|slots",
        "reset -@all +@dangerous -sync",
        "reset -@all +module -module|load +cluster +psync",
        "reset -@all +module|nope",
        "reset -@all +nope",
    ] {
        let ask = |client: &mut support::Client| {
            let set = client.run(&format!("ACL SETUSER u {rules}"));
            (set, client.run("ACL LIST"))
        };
        let got = ask(&mut client);
        assert_eq!(got.0.error().is_some(), rules.contains("nope"), "{rules}");
        if let Some(real) = support::oracle_server(&["--save", ""]) {
            let mut other = real.connect();
            if !rules.contains("nope") {
                assert_eq!(got, ask(&mut other), "{rules}");
            }
        }
    }
}
