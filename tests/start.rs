//! Start: what the command line and configuration files ask for, what whoever starts the server is told, and what a run
//! leaves behind: recordings, port files.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use support::pair::words;
use support::{Address, Client, RETRACE, Server, Value, oracle_server, wait_for};

/// A program of ours that is to end by itself.
fn run_in(dir: &Path, args: &[&str], stdin: &[u8]) -> Output {
    let mut child = Command::new(RETRACE)
        .args(args)
        .current_dir(dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let mut pipe = child.stdin.take().expect("a pipe");
    let _ = pipe.write_all(stdin); // who does not read it need not
    drop(pipe);
    child.wait_with_output().expect("it ends")
}

/// What it said, to whichever place.
fn said(output: &Output) -> String {
    [&output.stdout[..], &output.stderr[..]]
        .map(String::from_utf8_lossy)
        .concat()
}

/// A start that is refused with these words.
fn refused(dir: &Path, args: &[&str], words: &str) {
    let output = run_in(dir, args, b"");
    let text = said(&output);
    assert!(text.contains(words), "{args:?}: {text}");
    assert_eq!(output.status.code(), Some(1), "{args:?}: {text}");
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

#[test]
fn what_is_not_there_yet_ends_the_start() {
    let dir = folder();
    for (args, words) in [
        (
            ["--cluster-enabled", "yes"],
            "so cluster-enabled has to stay off",
        ),
        (
            ["--replicaof", "127.0.0.1 1"],
            "so replicaof has to stay unset",
        ),
        (
            ["--slaveof", "127.0.0.1 1"],
            "so replicaof has to stay unset",
        ),
        (["--tls-port", "1"], "so tls-port has to stay off"),
        (["--loadmodule", "m.so"], "Modules cannot be loaded"),
        (
            ["--prot", "1"],
            "Unknown option '--prot' on the command line. Did you mean --port?",
        ),
    ] {
        refused(
            dir.path(),
            &[&["--port", "auto"], &args[..]].concat(),
            words,
        );
    }
    let server = Server::start(&["--io-threads", "4", "--cluster-enabled", "no"]);
    assert!(
        server
            .log()
            .contains("without effect in this server: io-threads\n")
    );
    let mut client = server.connect();
    for name in ["cluster-enabled", "replicaof"] {
        let error = client.call(&["CONFIG", "SET", name, "yes"]);
        let text = error.error().expect("an error").to_owned();
        assert!(text.ends_with("can't set immutable config"), "{text}");
    }
}

#[test]
fn writes_need_replicas_where_they_are_asked_for() {
    let script = |script: &str| format!("EVAL \"{script}\" 0");
    let lines = [
        "SET a 1".to_owned(),
        "GET a".to_owned(),
        "FLUSHALL".to_owned(),
        "PUBLISH a b".to_owned(),
        "PFADD h x".to_owned(),
        "BLPOP l 1".to_owned(),
        "FUNCTION FLUSH".to_owned(),
        script("return redis.call('set','a',1)"),
        script("return redis.pcall('set','a',1)"),
        script("return redis.call('get','a')"),
        script("#!lua\\nreturn 1"),
        script("#!lua flags=no-writes\\nreturn 1"),
        "EVAL_RO \"return redis.call('set','a',1)\" 0".to_owned(),
        "MULTI".to_owned(),
        "SET a 1".to_owned(),
        "EXEC".to_owned(),
        "CONFIG SET min-replicas-to-write 0".to_owned(),
        "MULTI".to_owned(),
        "SET a 1".to_owned(),
        "CONFIG SET min-slaves-to-write 1".to_owned(),
        "SET b 2".to_owned(),
        "EXEC".to_owned(),
        "CONFIG SET maxmemory 1".to_owned(),
        "SET a 1".to_owned(),
        "CONFIG SET maxmemory 0 min-replicas-max-lag 0".to_owned(),
        "SET a 1".to_owned(),
        "CONFIG SET min-replicas-max-lag 10".to_owned(),
    ];
    let args = ["--save", "", "--min-replicas-to-write", "1"];
    let ours = Server::start(&args);
    let mut client = ours.connect();
    let answers = |client: &mut Client| -> Vec<Value> {
        lines.iter().map(|line| client.call(&words(line))).collect()
    };
    let got = answers(&mut client);
    assert_eq!(
        got[0].error(),
        Some("NOREPLICAS Not enough good replicas to write.")
    );
    let late = |first: &mut Client, second: &mut Client| {
        second.run("CONFIG SET min-replicas-to-write 0");
        first.run("MULTI");
        first.run("SET a 2");
        second.run("CONFIG SET min-replicas-to-write 1");
        first.run("EXEC")
    };
    let exec = late(&mut client, &mut ours.connect());
    let Some(real) = oracle_server(&args) else {
        return;
    };
    let mut other = real.connect();
    for ((line, got), want) in lines.iter().zip(got).zip(answers(&mut other)) {
        assert_eq!(got, want, "{line}");
    }
    assert_eq!(exec, late(&mut other, &mut real.connect()));
    let good = |client: &mut Client| {
        let info = client.run("INFO replication").text();
        info.contains("min_slaves_good_slaves:0")
    };
    assert!(good(&mut client) && good(&mut other));
}

/// What was written before is let through when it is loaded.
#[test]
fn files_load_without_replicas() {
    let server = Server::start(&["--appendonly", "yes", "--save", ""]);
    let mut client = server.connect();
    client.run("SET a 1");
    client.call(&["EVAL", "return redis.call('set','b',2)", "0"]);
    client.send(b"SHUTDOWN\r\n");
    let args = ["--appendonly", "yes", "--min-replicas-to-write", "1"];
    let again = Server::start_in(server.into_dir(), &args);
    let mut client = again.connect();
    wait_for("the keys", || {
        (client.run("DBSIZE") == Value::Int(2)).then_some(())
    });
}

#[test]
fn each_folder_is_entered_when_it_is_read() {
    let dir = folder();
    fs::create_dir_all(dir.path().join("a/b")).expect("folders");
    fs::write(dir.path().join("f"), "save ''\ndir a\ninclude i\n").expect("written");
    fs::write(dir.path().join("a/i"), "dir b\n").expect("written");
    fs::write(dir.path().join("g"), "save ''\ndir nowhere\n").expect("written");
    let want = dir.path().join("a/b").canonicalize().expect("there");
    let port_file = dir.path().join("port");
    let text = run_in(dir.path(), &["g", "--dir", "a"], b"");
    assert_eq!(
        String::from_utf8_lossy(&text.stderr),
        "\n*** FATAL CONFIG FILE ERROR (Redis 8.0.6) ***\nReading the configuration file, at line 2\n\
         >>> 'dir nowhere'\nNo such file or directory\n"
    );
    assert_eq!(text.status.code(), Some(1));
    let server = Server::start_in(dir, &["f"]);
    assert!(port_file.exists());
    let mut client = server.connect();
    let want = want.to_string_lossy();
    let there = [
        Value::Bulk(b"dir".into()),
        Value::Bulk(want.as_bytes().into()),
    ];
    assert_eq!(client.run("CONFIG GET dir"), Value::Array(there.into()));
    // The configuration file is where it was.
    assert_eq!(client.run("CONFIG REWRITE"), Value::Simple("OK".into()));
    let text = fs::read_to_string(server.path("f")).expect("there");
    assert!(
        text.contains(&format!("dir \"{want}\"")) || text.contains(&format!("dir {want}")),
        "{text}"
    );
}

#[test]
fn options_of_our_own_work_in_a_file() {
    let dir = folder();
    let file = dir.path().join("f");
    fs::write(
        &file,
        "save ''\nport auto\nport-file told\nrecord run\nseed 7\n",
    )
    .expect("written");
    let mut child = Command::new(RETRACE)
        .arg(&file)
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let told = dir.path().join("told");
    let port = wait_for("the port", || {
        fs::read_to_string(&told).ok()?.trim().parse().ok()
    });
    let mut client = Client::connect(&Address::Tcp(port));
    assert_eq!(client.run("CONFIG REWRITE"), Value::Simple("OK".into()));
    let text = fs::read_to_string(&file).expect("there");
    assert!(
        text.starts_with("save \"\"\nport auto\nport-file told\nrecord run\nseed 7\n"),
        "{text}"
    );
    client.run("SET a 1");
    client.send(b"SHUTDOWN\r\n");
    assert!(child.wait().expect("ended").success());
    assert!(!told.exists(), "where there is no server, there is no port");
    let replay = run_in(dir.path(), &["replay", "run"], b"");
    assert!(replay.status.success(), "{}", said(&replay));
}

#[test]
fn standard_input_is_a_file() {
    let dir = folder();
    let wrong = b"port auto\nmaxmemmory 1\n";
    for args in [&["-"][..], &["-", "--save", ""], &["--save", "", "-"]] {
        let text = said(&run_in(dir.path(), args, wrong));
        let want =
            "Unknown directive 'maxmemmory' at line 2 of standard input. Did you mean maxmemory?";
        assert!(text.contains(want), "{args:?}: {text}");
    }
}

#[test]
fn what_fails_in_the_background_is_told_in_front() {
    let dir = folder();
    let port = Server::start(&[]).port();
    let taken = Server::start(&["--save", ""]);
    let taken = taken.port().to_string();
    let output = run_in(dir.path(), &["--port", &taken, "--daemonize", "yes"], b"");
    assert_eq!(output.status.code(), Some(1));
    let text = said(&output);
    assert!(text.contains("bind: Address already in use"), "{text}");
    assert!(
        text.contains(&format!(
            "Failed listening on port {taken} (tcp), aborting."
        )),
        "{text}"
    );
    let args = [
        "--port",
        "0",
        "--unixsocket",
        "no/where",
        "--daemonize",
        "yes",
    ];
    refused(
        dir.path(),
        &args,
        "Failed opening Unix socket: bind: No such file or directory",
    );

    let port = port.to_string();
    let args = [
        "--port",
        &port,
        "--daemonize",
        "yes",
        "--pidfile",
        "pid",
        "--logfile",
        "log",
    ];
    let output = run_in(dir.path(), &args, b"");
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let mut client = Client::connect(&Address::Tcp(port.parse().expect("a port")));
    assert_eq!(client.run("PING").text(), "PONG");
    client.send(b"SHUTDOWN NOSAVE\r\n");
    wait_for("its end", || {
        (!dir.path().join("pid").exists()).then_some(())
    });
}

#[test]
fn systemd_hears_how_the_server_gets_on() {
    let dir = folder();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a limit");
    let hear = || {
        let mut bytes = [0; 200];
        let len = socket.recv(&mut bytes).expect("a message");
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    };
    let mut child = Command::new(RETRACE)
        .args([
            "--port",
            "auto",
            "--port-file",
            "port",
            "--supervised",
            "auto",
            "--daemonize",
            "yes",
        ])
        .args(["--loglevel", "debug"])
        .env("NOTIFY_SOCKET", &path)
        .current_dir(dir.path())
        .stdout(fs::File::create(dir.path().join("log")).expect("a file"))
        .spawn()
        .expect("it starts");
    assert_eq!(hear(), "STATUS=Retrace is loading...\n");
    assert_eq!(hear(), "STATUS=Ready to accept connections\n");
    assert_eq!(hear(), "READY=1\n");
    let port = fs::read_to_string(dir.path().join("port")).expect("it is ready");
    let mut client = Client::connect(&Address::Tcp(port.trim().parse().expect("a port")));
    client.send(b"SHUTDOWN\r\n");
    assert_eq!(hear(), "STOPPING=1\n");
    // Who looks after it goes on doing so: it does not go to the background.
    assert!(child.wait().expect("our child").success());
    let log = fs::read_to_string(dir.path().join("log")).expect("a log");
    for line in [
        "Systemd supervision detected.",
        "Supervised by systemd. Please make sure",
    ] {
        assert!(log.contains(line), "{log}");
    }
}

/// An older recording at the same path may be the one of a crash.
#[test]
fn recordings_are_kept_and_are_their_owners_alone() {
    let mut dir = folder();
    for name in ["run", "run.1", "run.2"] {
        let server = Server::start_in(dir, &["--record", "run", "--save", ""]);
        server.connect().run("SET a 1");
        assert!(
            server.log().contains(&format!("is recorded to {name}\n")),
            "{}",
            server.log()
        );
        let mode = fs::metadata(server.path(name))
            .expect("there")
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
        server.signal(Signal::TERM);
        dir = server.into_dir();
        let replay = run_in(dir.path(), &["replay", name], b"");
        assert!(replay.status.success(), "{}", said(&replay));
    }
    let keep = |name: &str| fs::read(dir.path().join(name)).expect("there");
    let before = keep("run");
    fs::write(dir.path().join("data"), "REDIS0012").expect("written");
    let base = ["--port", "auto", "--save", ""];
    for (args, words) in [
        (&["--record", "data"][..], "what lies there is no recording"),
        (
            &["--record", "dump.rdb"],
            "record and dbfilename name the same file",
        ),
        (
            &["--record", "x", "--port-file", "x"],
            "port-file and record name the same file",
        ),
        (
            &["--record", "x", "--logfile", "./x"],
            "record and logfile name the same file",
        ),
        (
            &["--record", "run", "--unixsocket", "run"],
            "record and unixsocket name the same file",
        ),
        (
            &["--record", "run", "--pidfile", "run"],
            "record and pidfile name the same file",
        ),
        (&["--port-file", "data"], "what lies there is no port file"),
        (&["--port-file", "run"], "what lies there is no port file"),
        (
            &["--port-file", "dump.rdb"],
            "port-file and dbfilename name the same file",
        ),
    ] {
        refused(dir.path(), &[&base[..], args].concat(), words);
    }
    assert_eq!(keep("run"), before);
    assert_eq!(keep("data"), b"REDIS0012");
}

#[test]
fn the_journal_has_its_end_whatever_ends_the_server() {
    for signal in [Signal::QUIT, Signal::XFSZ, Signal::USR1] {
        let mut server = Server::start(&["--record", "run", "--save", ""]);
        let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).expect("there");
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
        let ignored = u64::from_str_radix(ignored.expect("a mask").trim(), 16).expect("a mask");
        if ignored >> (signal.as_raw() - 1) & 1 == 1 {
            continue; // whoever runs the tests has switched it off
        }
        let mut client = server.connect();
        client.run("SET first 1");
        client.run("SET last 1");
        // The reply of a command is behind it in the journal: it is there once the next is.
        server.signal(signal);
        assert_eq!(server.wait_for_end().signal(), Some(signal.as_raw()));
        assert!(!server.path("port").exists());
        let replay = run_in(server.dir.path(), &["replay", "run"], b"");
        let text = said(&replay);
        assert!(
            replay.status.success() && text.contains("2 commands"),
            "{text}"
        );
    }
}

#[test]
fn replay_says_by_its_exit_code_how_a_journal_ends() {
    let server = Server::start(&["--record", "run", "--save", ""]);
    server.connect().run("SET a 1");
    server.signal(Signal::TERM);
    let folder = server.into_dir();
    let dir = folder.path();
    let code = |name: &str| run_in(dir, &["replay", name], b"").status.code();
    let bytes = fs::read(dir.join("run")).expect("there");
    for (name, len) in [
        ("whole", bytes.len()),
        ("cut", bytes.len() - 1),
        ("head", 20),
        ("magic", 5),
        ("empty", 0),
    ] {
        fs::write(dir.join(name), &bytes[..len]).expect("written");
        assert_eq!(
            code(name),
            Some(if len == bytes.len() { 0 } else { 3 }),
            "{name}"
        );
    }
    fs::write(dir.join("other"), "something else").expect("written");
    assert_eq!(code("other"), Some(2));
    for (args, want) in [
        (["replay", "--help"], "usage: retrace replay"),
        (["check", "--help"], "usage: retrace check"),
        (["--test-memory", "1"], "The memory passed."),
    ] {
        let output = run_in(dir, &args, b"");
        assert!(
            output.status.success() && said(&output).contains(want),
            "{}",
            said(&output)
        );
    }
    assert!(said(&run_in(dir, &["--check-system"], b"")).contains("[clock]..."));
}

#[test]
fn a_check_shows_no_passwords() {
    let dir = folder();
    fs::write(dir.path().join("f"), "user bob on >s3cret ~* +@all\n").expect("written");
    let args = [
        "f",
        "--record",
        "run",
        "--requirepass",
        "s3cret",
        "--masterauth",
        "s3cret",
        "--save",
        "",
    ];
    let server = Server::start_in(dir, &args);
    server.signal(Signal::TERM);
    let dir = server.into_dir();
    let text = said(&run_in(dir.path(), &["check", "run"], b""));
    assert!(
        text.contains("requirepass (not shown)\n") && text.contains("user bob (not shown)\n"),
        "{text}"
    );
    assert!(text.contains("sound") && !text.contains("s3cret"), "{text}");
}

#[test]
fn a_journal_that_ends_for_want_of_room_shows_in_info() {
    let plain = Server::start(&["--save", ""]);
    let state = |client: &mut Client| {
        let info = client.run("INFO persistence").text();
        let lines = info.lines().filter(|line| line.starts_with("journal_"));
        lines.collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        state(&mut plain.connect()),
        "journal_enabled:0 journal_last_write_status:ok"
    );
    // Of a limit on the length of files, only the journal hears.
    let dir = folder();
    let mut child = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 64; exec \"$0\" \"$@\"",
            RETRACE,
        ])
        .args([
            "--record",
            "run",
            "--port",
            "auto",
            "--port-file",
            "port",
            "--save",
            "",
        ])
        .current_dir(dir.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let port_file = dir.path().join("port");
    let port = wait_for("the port", || {
        fs::read_to_string(&port_file).ok()?.trim().parse().ok()
    });
    let mut client = Client::connect(&Address::Tcp(port));
    assert_eq!(
        state(&mut client),
        "journal_enabled:1 journal_last_write_status:ok"
    );
    let value = "x".repeat(200_000);
    client.call(&["SET", "a", &value]);
    wait_for("the journal's end", || {
        (state(&mut client) == "journal_enabled:0 journal_last_write_status:err").then_some(())
    });
    client.send(b"SHUTDOWN\r\n");
    assert!(child.wait().expect("our child").success());
}

/// A clock that stands before 1970, or is set there while the server runs.
#[test]
fn a_clock_before_the_epoch_ends_nothing() {
    const SHIM: &str = "
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <time.h>
        #include <unistd.h>
        int clock_gettime(clockid_t id, struct timespec *at) {
            static int (*real)(clockid_t, struct timespec *);
            if (!real) real = dlsym(RTLD_NEXT, \"clock_gettime\");
            int result = real(id, at);
            if (id == CLOCK_REALTIME && access(\"early\", F_OK) == 0) at->tv_sec -= 3000000000L;
            return result;
        }";
    let dir = folder();
    let (source, shim) = (dir.path().join("shim.c"), dir.path().join("shim.so"));
    fs::write(&source, SHIM).expect("written");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&shim, &source])
        .arg("-ldl")
        .status();
    if !built.is_ok_and(|status| status.success()) {
        return support::skipped("there is no C compiler");
    }
    for is_early_at_first in [true, false] {
        let early = dir.path().join("early");
        let set_early = |on: bool| match on {
            true => fs::write(&early, "").expect("written"),
            false => fs::remove_file(&early).expect("there"),
        };
        let port_file = dir.path().join("port");
        if is_early_at_first {
            set_early(true);
        }
        let mut child = Command::new(RETRACE)
            .args([
                "--port",
                "auto",
                "--port-file",
                "port",
                "--save",
                "",
                "--record",
                "run",
            ])
            .env("LD_PRELOAD", &shim)
            .current_dir(dir.path())
            .stdout(fs::File::create(dir.path().join("log")).expect("a file"))
            .stderr(fs::File::create(dir.path().join("errors")).expect("a file"))
            .spawn()
            .expect("it starts");
        let port = wait_for("the port", || {
            assert!(
                child.try_wait().expect("our child").is_none(),
                "it has ended"
            );
            fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        let mut client = Client::connect(&Address::Tcp(port));
        set_early(!is_early_at_first);
        client.run("SET key value PX 50");
        // Ticks go on: they alone remove a key that nobody asks for.
        wait_for("the key's end", || {
            (client.run("DBSIZE") == Value::Int(0)).then_some(())
        });
        assert_eq!(client.run("PING").text(), "PONG");
        client.send(b"SHUTDOWN\r\n");
        assert!(child.wait().expect("our child").success());
        let _ = fs::remove_file(&early);
    }
}

#[test]
fn what_cannot_be_loaded_is_told_by_its_kind() {
    let server = Server::start(&["--save", "", "--enable-debug-command", "yes"]);
    let error = server.connect().run("DEBUG LOADAOF");
    let want = "ERR Error trying to load the AOF files, check server logs.";
    assert_eq!(error.error(), Some(want));

    let manifest = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    for (file, text, words) in [
        (
            "dump.rdb",
            "GARBAGE....",
            "Terminating server after rdb file reading failure",
        ),
        (
            "appendonlydir/appendonly.aof.manifest",
            "file x seq\n",
            "after AOF manifest file reading failure",
        ),
        (
            "appendonlydir/appendonly.aof.1.incr.aof",
            "garbage\r\n",
            "after AOF file reading failure",
        ),
    ] {
        let dir = folder();
        fs::create_dir(dir.path().join("appendonlydir")).expect("a folder");
        let in_aof = file.starts_with("append");
        if in_aof {
            fs::write(
                dir.path().join("appendonlydir/appendonly.aof.manifest"),
                manifest,
            )
            .expect("written");
        }
        fs::write(dir.path().join(file), text).expect("written");
        let appends = if in_aof { "yes" } else { "no" };
        refused(
            dir.path(),
            &["--port", "auto", "--appendonly", appends],
            words,
        );
    }
}
