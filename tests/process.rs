//! Process: what the configuration asks of the kernel, seen from outside.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use rustix::process::Signal;
use std::os::unix::process::ExitStatusExt;
use support::{RETRACE, Server, Value, wait_for};

fn proc_file(server: &Server, name: &str) -> String {
    let path = format!("/proc/{}/{name}", server.pid());
    std::fs::read_to_string(path).expect("the server runs on a system with /proc")
}

fn oom_score(server: &Server) -> i64 {
    let text = proc_file(server, "oom_score_adj");
    text.trim().parse().expect("a number")
}

#[test]
fn the_oom_score_follows_its_parameters_and_returns() {
    let server = Server::start(&[]);
    let base = oom_score(&server);
    let mut client = server.connect();
    let ok = Value::Simple("OK".into());
    // The range ends at 1000, and only a privileged process may go down.
    let steps = [5, 7, 11].map(|step| step.min(1000 - base));
    let mut set = |pairs: &[&str]| {
        let args = [&["CONFIG", "SET"], pairs].concat();
        assert_eq!(client.call(&args), ok, "{args:?}");
    };
    let values = |own: i64| format!("{own} 0 0");

    set(&["oom-score-adj-values", &values(steps[0])]);
    assert_eq!(oom_score(&server), base, "off: the file is left alone");
    set(&["oom-score-adj", "yes"]);
    assert_eq!(oom_score(&server), base + steps[0]);
    let relative = values(steps[1]);
    set(&[
        "oom-score-adj-values",
        &relative,
        "oom-score-adj",
        "relative",
    ]);
    assert_eq!(oom_score(&server), base + steps[1]);
    let absolute = values(base + steps[2]);
    set(&[
        "oom-score-adj",
        "absolute",
        "oom-score-adj-values",
        &absolute,
    ]);
    assert_eq!(oom_score(&server), base + steps[2]);
    if may_lower(&server) {
        set(&["oom-score-adj", "no"]);
        assert_eq!(oom_score(&server), base);
    }
}

/// Whether the server may make itself less likely to be chosen: it has CAP_SYS_RESOURCE, bit 24.
fn may_lower(server: &Server) -> bool {
    let status = proc_file(server, "status");
    let line = status.lines().find(|line| line.starts_with("CapEff:"));
    let bits = line.and_then(|line| u64::from_str_radix(line[7..].trim(), 16).ok());
    bits.is_some_and(|bits| bits & (1 << 24) != 0)
}

#[test]
fn the_title_says_where_it_listens_and_follows_its_template() {
    let title = |server: &Server| {
        proc_file(server, "cmdline")
            .trim_end_matches('\0')
            .to_owned()
    };
    let server = Server::start(&["--bind", "127.0.0.1"]);
    let mut client = server.connect();
    assert_eq!(
        title(&server),
        format!("{RETRACE} 127.0.0.1:{}", server.port())
    );
    let set = [
        "CONFIG",
        "SET",
        "proc-title-template",
        "TEST {port} {{ {unixsocket}",
    ];
    assert_eq!(client.call(&set), Value::Simple("OK".into()));
    assert_eq!(title(&server), format!("TEST {} {{", server.port()));
    let long = "x".repeat(20_000);
    client.call(&["CONFIG", "SET", "proc-title-template", &long]);
    assert_eq!(title(&server).len(), long.len());
    let error = client.call(&["CONFIG", "SET", "proc-title-template", "{nothing}"]);
    assert!(
        error
            .error()
            .is_some_and(|text| text.contains("template format is invalid"))
    );
    // The environment stays readable, and memory goes on to be had.
    assert!(proc_file(&server, "environ").contains("PATH="));
    client.run("SET key value");
    assert_eq!(client.run("GET key").text(), "value");
    let plain = Server::start(&["--set-proc-title", "no"]);
    assert!(title(&plain).contains("--set-proc-title"));
}

#[test]
fn the_server_stays_on_its_cpus() {
    let server = Server::start(&["--server-cpulist", "0"]);
    let status = proc_file(&server, "status");
    let line = status
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list:"));
    assert_eq!(line, Some("Cpus_allowed_list:\t0"));
    let bad = Server::start(&["--server-cpulist", "3-1"]);
    assert!(bad.log().contains("server-cpulist has no effect"));
}

#[test]
fn many_clients_make_more_ticks() {
    let server = Server::start(&["--hz", "1"]);
    let mut client = server.connect();
    let hz = |client: &mut support::Client| {
        let info = client.run("INFO server").text();
        let line = info.lines().find_map(|line| line.strip_prefix("hz:"));
        line.expect("INFO has it").trim().to_owned()
    };
    assert_eq!(hz(&mut client), "1");
    let _others: Vec<_> = (0..250).map(|_| server.connect()).collect();
    support::wait_for("the clients to be accepted", || {
        (hz(&mut client) == "2").then_some(())
    });
    assert_eq!(
        client.run("CONFIG SET dynamic-hz no"),
        Value::Simple("OK".into())
    );
    assert_eq!(hz(&mut client), "1");
}

/// As a real server of version 8.0.6 takes them. Those of a crash are in `crashes.rs`.
/// Whether a server ignores a signal because whoever started it did.
fn is_ignored(server: &Server, signal: Signal) -> bool {
    let status = proc_file(server, "status");
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal.as_raw() - 1) & 1 == 1)
}

#[test]
fn signals_do_what_they_do_to_a_real_server() {
    let mut server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    for signal in [
        Signal::HUP,
        Signal::PIPE,
        Signal::USR2,
        Signal::ALARM,
        Signal::CHILD,
        Signal::CONT,
        Signal::URG,
        Signal::WINCH,
    ] {
        server.signal(signal);
        assert_eq!(client.run("PING").text(), "PONG", "{signal:?}");
    }
    assert!(server.is_alive());
    for signal in [
        Signal::QUIT,
        Signal::TRAP,
        Signal::USR1,
        Signal::XCPU,
        Signal::XFSZ,
        Signal::VTALARM,
        Signal::PROF,
        Signal::SYS,
    ] {
        let mut server = Server::start(&["--save", ""]);
        // What the one who runs the tests has switched off stays so, as for any program.
        if is_ignored(&server, signal) {
            continue;
        }
        server.signal(signal);
        let status = server.wait_for_end();
        assert_eq!(status.signal(), Some(signal.as_raw()), "{status}");
    }
    for (signal, says) in [
        (Signal::INT, "Received SIGINT scheduling shutdown..."),
        (Signal::TERM, "Received SIGTERM scheduling shutdown..."),
    ] {
        let mut server = Server::start(&["--save", ""]);
        server.signal(signal);
        let status = server.wait_for_end();
        assert_eq!(status.code(), Some(0), "{signal:?}");
        assert!(server.log().contains(says), "{}", server.log());
        assert!(server.log().contains("ready to exit, bye bye..."));
    }
    // One that comes while the server is stopped is there when it goes on.
    let mut server = Server::start(&["--save", ""]);
    server.signal(Signal::STOP);
    wait_for("the stop", || {
        proc_file(&server, "status")
            .contains("State:\tT")
            .then_some(())
    });
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    assert!(server.wait_for_end().success());
}

/// Memory is not taken in pages of two megabytes, of which a start would touch some.
#[test]
fn a_start_takes_little_memory() {
    let server = Server::start(&["--save", ""]);
    server.connect().run("PING");
    let status = proc_file(&server, "status");
    let line = status.lines().find(|line| line.starts_with("RssAnon:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    // A system that has large pages always is another matter.
    let thp = "/sys/kernel/mm/transparent_hugepage/enabled";
    let is_always = std::fs::read_to_string(thp).is_ok_and(|text| text.contains("[always]"));
    assert!(is_always || kib.is_some_and(|kib| kib < 3000), "{line:?}");
}
