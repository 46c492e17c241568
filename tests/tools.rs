//! Tools: redis-cli and redis-benchmark against the server. Skipped, loudly, where they are not installed.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use support::{Server, oracle_program, request, wait_for};

/// Runs a tool against the server with something on its standard input; returns all that it said.
fn run(tool: &Path, server: &Server, args: &[&str], input: &[u8]) -> String {
    let mut child = Command::new(tool)
        .args(["-p", &server.port().to_string()])
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the tool starts");
    child
        .stdin
        .take()
        .expect("piped")
        .write_all(input)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(
        output.status.success(),
        "{args:?}: {}\n{said}",
        output.status
    );
    said
}

/// The same for a tool that goes on until it is stopped.
fn run_for(tool: &Path, server: &Server, args: &[&str], until: &str) -> String {
    let out = server.path("tool-output");
    let file = std::fs::File::create(&out).expect("writable");
    let mut child = Command::new(tool)
        .args(["-p", &server.port().to_string()])
        .args(args)
        .stdin(Stdio::null())
        .stdout(file)
        .spawn()
        .expect("the tool starts");
    let said = wait_for(until, || {
        let said = std::fs::read_to_string(&out).ok()?;
        said.contains(until).then_some(said)
    });
    child.kill().expect("our child");
    child.wait().expect("our child");
    said
}

#[test]
fn redis_cli_works_in_all_its_modes() {
    let Some(cli) = oracle_program("redis-cli") else {
        return;
    };
    let server = Server::start(&[]);

    let said = run(
        &cli,
        &server,
        &[],
        b"SET k \"a value\"\nGET k\nINCR n\nNOSUCH\nHELLO 3\nCONFIG GET hz\n",
    );
    for text in [
        "OK",
        "a value",
        "1",
        "ERR unknown command",
        "standalone",
        "hz",
    ] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    let said = run(&cli, &server, &["-3", "--json", "CONFIG", "GET", "hz"], b"");
    assert_eq!(said.trim(), r#"{"hz":"10"}"#);

    let mut bytes = Vec::new();
    for n in 0..5_000 {
        bytes.extend(request(&[
            "SET".into(),
            format!("pipe:{n}"),
            "x".repeat(n % 100),
        ]));
    }
    let said = run(&cli, &server, &["--pipe"], &bytes);
    assert!(said.contains("errors: 0, replies: 5000"), "{said}");

    let said = run(&cli, &server, &["--scan", "--pattern", "pipe:*"], b"");
    let mut keys: Vec<&str> = said.lines().collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 5_000);

    let said = run(&cli, &server, &["--bigkeys"], b"");
    assert!(
        said.contains("Biggest string found") && said.contains("has 99 bytes"),
        "{said}"
    );
    let said = run(&cli, &server, &["--memkeys"], b"");
    assert!(said.contains("Biggest string found"), "{said}");

    let said = run_for(&cli, &server, &["--stat", "-i", "0.01"], "5002");
    assert!(said.contains("clients"), "{said}");
    let said = run(&cli, &server, &["--latency", "--raw", "-i", "0.2"], b"");
    assert_eq!(
        said.split_whitespace().count(),
        4,
        "min, max, mean, count: {said}"
    );
}

#[test]
fn redis_benchmark_runs_its_string_tests() {
    let Some(benchmark) = oracle_program("redis-benchmark") else {
        return;
    };
    let server = Server::start(&[]);
    let said = run(
        &benchmark,
        &server,
        &["-n", "1000", "-q", "-t", "ping,set,get,incr,mset"],
        b"",
    );
    for text in [
        "PING_INLINE:",
        "PING_MBULK:",
        "SET:",
        "GET:",
        "INCR:",
        "MSET (10 keys):",
    ] {
        assert!(said.contains(text), "no {text:?} in {said}");
    }
    let said = run(
        &benchmark,
        &server,
        &[
            "-n", "10000", "-P", "64", "-r", "1000", "-q", "--csv", "-t", "set,get",
        ],
        b"",
    );
    assert!(
        said.contains("\"SET\"") && said.contains("\"GET\""),
        "{said}"
    );
}
