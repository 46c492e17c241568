//! Process: what the configuration asks of the kernel, seen from outside.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::{RETRACE, Server, Value};

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
