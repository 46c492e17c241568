//! Crashes: what the log has of a server that ends by a signal or a panic, or that does not get on.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::{Duration, Instant};
use support::{Client, RETRACE, Server, request, wait_for};

const START: &str = "=== REDIS BUG REPORT START";
const END: &str = "=== REDIS BUG REPORT END";

const DEBUG: &[&str] = &["--save", "", "--enable-debug-command", "yes"];

/// Starts a long sleep, and returns when the server is in the middle of it.
fn fall_asleep(server: &Server, secs: &str) -> Client {
    fall_asleep_behind(server, b"", secs)
}

/// The same behind another command of the same client.
fn fall_asleep_behind(server: &Server, first: &[u8], secs: &str) -> Client {
    let mut client = server.connect();
    client.send(&[first, &request(&["DEBUG", "SLEEP", secs])].concat());
    // While it is not in a sleep, it wakes ten times a second.
    let (mut naps, mut since) = (naps(server), Instant::now());
    wait_for("the sleep", || {
        let now = self::naps(server);
        if now != naps {
            (naps, since) = (now, Instant::now());
        }
        (since.elapsed() > Duration::from_millis(400)).then_some(())
    });
    client
}

/// How often the main thread has gone to sleep, where the system tells.
fn naps(server: &Server) -> Option<String> {
    let status =
        std::fs::read_to_string(format!("/proc/{0}/task/{0}/status", server.pid())).ok()?;
    let mut lines = status.lines();
    let line = lines.find(|line| line.starts_with("voluntary_ctxt_switches:"));
    line.map(str::to_owned)
}

/// A report that is whole, and the only one.
fn report_of(server: &Server) -> String {
    let log = server.log();
    assert_eq!(log.matches(START).count(), 1, "{log}");
    let (_, report) = log.split_once(START).expect("it is there");
    let (report, _) = report.split_once(END).expect("it is whole");
    report.to_owned()
}

/// The lines of a section.
fn section<'a>(report: &'a str, title: &str) -> &'a str {
    let head = format!("------ {title} ------\n");
    let (_, rest) = report
        .split_once(&head)
        .unwrap_or_else(|| panic!("no {title} in {report}"));
    rest.split("\n------ ").next().unwrap_or(rest)
}

/// Whether a stack names the poll loop. How much of a function's path is told depends on the build.
fn shows_loop(stack: &str) -> bool {
    let mut calls = stack.lines();
    calls.any(|call| call.contains("turn at ") && call.contains("net/shell.rs"))
}

#[test]
fn a_signal_from_outside_leaves_a_report_and_ends_the_server() {
    for signal in [
        Signal::SEGV,
        Signal::BUS,
        Signal::FPE,
        Signal::ILL,
        Signal::ABORT,
    ] {
        let mut server = Server::start(DEBUG);
        let mut client = server.connect();
        client.run("SET key value");
        client.run("CLIENT SETNAME mine");
        client.run("CONFIG SET maxmemory 12345678 requirepass secretword");
        server.signal(signal);
        let status = server.wait_for_end();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
        let report = report_of(&server);
        let line = format!("crashed by signal: {}, si_code: 0", signal.as_raw());
        assert!(report.contains(&line), "{report}");
        let sender = format!("Killed by PID: {},", std::process::id());
        assert!(report.contains(&sender), "{report}");
        assert!(shows_loop(section(&report, "STACK TRACE")), "{report}");
        assert!(
            section(&report, "INFO OUTPUT").contains("db0:keys=1,"),
            "{report}"
        );
        assert!(
            section(&report, "CLIENT LIST OUTPUT").contains(" name=mine "),
            "{report}"
        );
        let config = section(&report, "CONFIG DEBUG OUTPUT");
        assert!(config.contains("maxmemory 12345678\n"), "{config}");
        assert!(!report.contains("secretword"), "{report}");
        assert!(!report.contains("CURRENT CLIENT"), "{report}");
    }
}

#[test]
fn a_crash_tells_of_the_command_that_ran() {
    for (hides, word) in [("no", "\"SEGFAULT\""), ("yes", "*redacted*")] {
        let mut server = Server::start(&[DEBUG, &["--hide-user-data-from-log", hides]].concat());
        let mut client = server.connect();
        client.run("CLIENT SETNAME mine");
        client.send(&request(&["MULTI"]));
        client.send(&request(&["SET", "key", "value"]));
        client.send(&request(&["DEBUG", "SEGFAULT", "value"]));
        client.send(&request(&["DEBUG", "SEGFAULT"]));
        client.send(&request(&["EXEC"]));
        client.read_to_end();
        let status = server.wait_for_end();
        assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()), "{status}");
        let report = report_of(&server);
        assert!(
            section(&report, "STACK TRACE").contains("command::debug::segfault"),
            "{report}"
        );
        let current = section(&report, "CURRENT CLIENT INFO");
        assert!(current.contains(" name=mine "), "{current}");
        for line in [
            "argc: '2'",
            "argv[0]: '\"DEBUG\"'",
            &format!("argv[1]: '{word}'"),
        ] {
            assert!(current.contains(line), "{line} in {current}");
        }
    }
}

#[test]
fn panics_leave_the_same_report() {
    for (command, says) in [
        ("DEBUG PANIC", "DEBUG PANIC was called"),
        ("DEBUG ASSERT", "=== ASSERTION FAILED ==="),
        ("DEBUG OOM", "Out Of Memory"),
    ] {
        for exits in [false, true] {
            let exit = ["--use-exit-on-panic", if exits { "yes" } else { "no" }];
            let mut server = Server::start(&[DEBUG, &exit].concat());
            let mut client = server.connect();
            client.send(&request(&command.split(' ').collect::<Vec<_>>()));
            client.read_to_end();
            let status = server.wait_for_end();
            match exits {
                true => assert_eq!(status.code(), Some(1), "{status}"),
                false => assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}"),
            }
            let report = report_of(&server);
            assert!(report.contains(says), "{report}");
            assert!(
                section(&report, "STACK TRACE").contains("command::debug::crash"),
                "{report}"
            );
            assert!(
                section(&report, "INFO OUTPUT").contains("redis_version:"),
                "{report}"
            );
            let current = section(&report, "CURRENT CLIENT INFO");
            assert!(current.contains("argv[0]: '\"DEBUG\"'"), "{current}");
        }
    }
}

#[test]
fn without_a_report_the_end_is_the_same() {
    let mut server = Server::start(&[DEBUG, &["--crash-log-enabled", "no"]].concat());
    server.signal(Signal::SEGV);
    let status = server.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()), "{status}");
    assert!(!server.log().contains(START));

    // What is set holds from the next command on.
    let mut server = Server::start(DEBUG);
    let mut client = server.connect();
    client.run("CONFIG SET crash-log-enabled no");
    client.send(&request(&["DEBUG", "PANIC"]));
    client.read_to_end();
    let status = server.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
    let log = server.log();
    assert!(
        log.contains("Retrace stops: ") && !log.contains(START),
        "{log}"
    );
}

#[test]
fn in_the_background_the_report_goes_to_the_log_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = |name: &str| dir.path().join(name);
    let started = Command::new(RETRACE)
        .args([
            "--daemonize",
            "yes",
            "--logfile",
            "out.log",
            "--pidfile",
            "pid",
            "--save",
            "",
        ])
        .args(["--port", "auto", "--port-file", "port"])
        .current_dir(dir.path())
        .status()
        .expect("it runs");
    assert!(started.success());
    wait_for("the port", || path("port").exists().then_some(()));
    let pid = std::fs::read_to_string(path("pid")).expect("a file");
    let pid = pid
        .trim()
        .parse()
        .ok()
        .and_then(Pid::from_raw)
        .expect("a number");
    kill_process(pid, Signal::SEGV).expect("it is there");
    wait_for("the end", || test_kill_process(pid).is_err().then_some(()));
    let log = std::fs::read_to_string(path("out.log")).expect("a file");
    assert!(log.contains(START) && log.contains(END), "{log}");
    assert!(
        !path("pid").exists(),
        "as a real server, it takes that with it"
    );
}

#[test]
fn the_log_tells_what_is_wrong_with_a_request_from_where_it_is_wrong() {
    let options = ["--loglevel", "verbose", "--hide-user-data-from-log", "yes"];
    for (sent, why, shown) in [
        (
            &b"*2\r\n$4\r\nPING\r\nsecret\r\n"[..],
            "expected $ but got something else",
            "'secret..'",
        ),
        (
            b"*1\r\n$4\r\nPING\r\n*1\r\n$-9\r\n",
            "invalid bulk length",
            "'$-9..'",
        ),
        (b"*x\r\n", "invalid mbulk count", "'*x..'"),
        (
            b"set \"secret\r\n",
            "unbalanced quotes in request",
            "'set \"secret..'",
        ),
    ] {
        let server = Server::start(&options);
        let mut client = server.connect();
        client.send(sent);
        client.read_to_end();
        let line = wait_for("the log's line", || {
            let log = server.log();
            let line = log.lines().find(|line| line.contains("Protocol error"));
            line.map(str::to_owned)
        });
        assert!(
            line.contains(&format!("Protocol error ({why}) from client: ")),
            "{line}"
        );
        assert!(
            line.ends_with(&format!("Query buffer during protocol error: {shown}")),
            "{line}"
        );
    }
}

#[test]
fn a_busy_server_is_caught_in_the_middle() {
    let mut server = Server::start(DEBUG);
    let _sleeper = fall_asleep(&server, "60");
    server.signal(Signal::ABORT);
    let status = server.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
    let report = report_of(&server);
    assert!(
        section(&report, "STACK TRACE").contains("Driver::serve"),
        "{report}"
    );
    assert!(
        section(&report, "CLIENT LIST OUTPUT").contains(" cmd=debug "),
        "{report}"
    );
}

#[test]
fn a_recorded_run_that_crashed_replays() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = dir.path().join("journal");
    let record = ["--record", journal.to_str().expect("plain")];
    let mut server = Server::start_in(dir, &[DEBUG, &record].concat());
    let mut client = server.connect();
    for step in 0..100 {
        client.call(&["SET", "key", &step.to_string()]);
    }
    server.signal(Signal::SEGV);
    server.wait_for_end();
    report_of(&server);
    let output = Command::new(RETRACE).arg("replay").arg(&journal).output();
    let text = String::from_utf8_lossy(&output.expect("it runs").stdout).into_owned();
    assert!(text.contains("identical"), "{text}");
    // Nothing is missing: what came last was not a second old.
    assert!(text.starts_with("100 commands"), "{text}");
}

#[test]
fn sigalrm_tells_where_the_server_is_and_lets_it_go_on() {
    let server = Server::start(DEBUG);
    let mut sleeper = fall_asleep(&server, "2");
    server.signal(Signal::ALARM);
    wait_for("the stack", || {
        server.log().contains("STACK TRACE DONE").then_some(())
    });
    let log = server.log();
    assert!(log.contains("Received SIGALRM"), "{log}");
    assert!(
        section(&log, "STACK TRACE").contains("Driver::serve"),
        "{log}"
    );
    assert_eq!(sleeper.read().text(), "OK");
    for count in 2..5 {
        server.signal(Signal::ALARM);
        wait_for("one more", || {
            (server.log().matches("STACK TRACE DONE").count() == count).then_some(())
        });
    }
    assert_eq!(server.connect().run("PING").text(), "PONG");
    assert!(!server.log().contains(START));
    server.terminate();
}

#[test]
fn the_watchdog_tells_of_a_loop_that_does_not_turn() {
    let server = Server::start(DEBUG);
    let mut client = server.connect();
    client.run("CONFIG SET watchdog-period 200");
    assert_eq!(client.run("DEBUG SLEEP 1").text(), "OK");
    wait_for("the watchdog", || {
        server.log().contains("STACK TRACE DONE").then_some(())
    });
    let log = server.log();
    assert!(log.contains("--- WATCHDOG TIMER EXPIRED ---"), "{log}");
    assert!(
        section(&log, "STACK TRACE").contains("Driver::serve"),
        "{log}"
    );
    client.run("CONFIG SET watchdog-period 0");
    let told = server.log().matches("WATCHDOG").count();
    client.run("DEBUG SLEEP 0.5");
    assert_eq!(server.log().matches("WATCHDOG").count(), told);
}

/// The threads of a server by this name.
fn threads(server: &Server, name: &str) -> Vec<Pid> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a folder");
    tasks
        .flatten()
        .filter(|task| {
            let comm = std::fs::read_to_string(task.path().join("comm"));
            comm.is_ok_and(|comm| comm.trim() == name)
        })
        .filter_map(|task| Pid::from_raw(task.file_name().to_str()?.parse().ok()?))
        .collect()
}

#[test]
fn a_script_is_caught_where_it_stands() {
    let mut server = Server::start(&["--save", "", "--busy-reply-threshold", "1"]);
    let mut caller = server.connect();
    caller.send(&request(&["EVAL", "while true do end", "0"]));
    let mut other = server.connect();
    wait_for("the script", || {
        other.run("PING").text().starts_with("BUSY").then_some(())
    });
    server.signal(Signal::SEGV);
    let status = server.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()), "{status}");
    let report = report_of(&server);
    assert!(
        shows_loop(section(&report, "STACK TRACE")),
        "also from a stack of its own: {report}"
    );
    let script = section(&report, "CURRENT SCRIPT");
    assert!(
        script.contains("argv[1]: '\"while true do end\"'"),
        "{script}"
    );
}

#[test]
fn a_snapshot_and_a_load_are_caught_as_well() {
    let dir = tempfile::tempdir().expect("a folder");
    let mut server = Server::start_in(dir, DEBUG);
    let mut client = server.connect();
    client.run("DEBUG POPULATE 100000 key 100");
    client.run("SAVE");
    let _sleeper = fall_asleep_behind(&server, &request(&["BGSAVE"]), "60");
    server.signal(Signal::BUS);
    server.wait_for_end();
    let report = report_of(&server);
    let info = section(&report, "INFO OUTPUT");
    assert!(info.contains("rdb_bgsave_in_progress:1"), "{info}");

    // The file that was there before is sound.
    let slow = ["--key-load-delay", "1000"];
    let mut server = Server::start_in(server.into_dir(), &[DEBUG, &slow].concat());
    let mut client = server.connect();
    assert!(client.run("GET key:1").text().starts_with("LOADING"));
    server.signal(Signal::FPE);
    let status = server.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::FPE.as_raw()), "{status}");
    let report = report_of(&server);
    assert!(section(&report, "INFO OUTPUT").contains("loading:1"));
}

#[test]
fn a_signal_that_reaches_another_thread_is_about_the_main_one() {
    for name in ["watch", "files"] {
        let mut server = Server::start(&["--save", ""]);
        let mut client = server.connect();
        client.run("BGSAVE"); // the thread for files begins with the first one
        let thread = wait_for("the thread", || threads(&server, name).pop());
        kill_process(thread, Signal::ALARM).expect("it is there");
        wait_for("the stack", || {
            server.log().contains("STACK TRACE DONE").then_some(())
        });
        let log = server.log();
        assert!(shows_loop(section(&log, "STACK TRACE")), "{log}");
        kill_process(thread, Signal::SEGV).expect("it is there");
        let status = server.wait_for_end();
        assert_eq!(status.signal(), Some(Signal::SEGV.as_raw()), "{status}");
        let report = report_of(&server);
        let stack = section(&report, "STACK TRACE");
        assert!(shows_loop(stack), "{report}");
        assert!(report.contains("------ INFO OUTPUT"), "{report}");
    }
}

#[test]
fn a_thousand_alarms_lose_no_reply() {
    let server = Server::start(&["--save", "", "--appendonly", "yes"]);
    let mut client = server.connect();
    let (rounds, batch) = (1000, 50);
    let mut next = 0;
    for round in 0..rounds {
        client.send(&request(&["INCR", "count"]).repeat(batch));
        server.signal(Signal::ALARM);
        if round % 7 == 0 {
            server.signal(Signal::ALARM);
        }
        for _ in 0..batch {
            next += 1;
            assert_eq!(client.read(), support::Value::Int(next));
        }
    }
    wait_for("the last stack", || {
        let log = server.log();
        let (begun, done) = (log.matches("Received SIGALRM"), log.matches("TRACE DONE"));
        let (begun, done) = (begun.count(), done.count());
        (begun > 0 && begun == done).then_some(())
    });
    assert!(!server.log().contains(START));
    server.terminate();
}

#[test]
fn a_crash_right_behind_an_alarm_is_told() {
    let mut server = Server::start(DEBUG);
    server.signal(Signal::ALARM);
    server.signal(Signal::ABORT);
    let status = server.wait_for_end();
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()), "{status}");
    report_of(&server);
}
