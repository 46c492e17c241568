//! HOTKEYS: which keys cost most. No server of the version that all else is compared with has it, so what it replies
//! is spelled out here.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::{Client, Server, Value, wait_for};

/// The report as text, and what one of its fields holds.
struct Report(Vec<(Value, Value)>);

impl Report {
    fn ask(client: &mut Client) -> Option<Report> {
        match client.run("HOTKEYS GET") {
            Value::Null => None,
            Value::Array(mut reports) => {
                assert_eq!(reports.len(), 1);
                match reports.remove(0) {
                    Value::Map(pairs) => Some(Report(pairs)),
                    Value::Array(flat) => {
                        let pairs = flat
                            .chunks(2)
                            .map(|pair| (pair[0].clone(), pair[1].clone()));
                        Some(Report(pairs.collect()))
                    }
                    other => panic!("{other}"),
                }
            }
            other => panic!("{other}"),
        }
    }

    fn find(&self, name: &str) -> Option<&Value> {
        let mut pairs = self.0.iter();
        pairs.find_map(|(key, value)| (key.text() == name).then_some(value))
    }

    fn int(&self, name: &str) -> i64 {
        match self.find(name) {
            Some(Value::Int(value)) => *value,
            other => panic!("{name}: {other:?}"),
        }
    }

    /// Keys with what they cost.
    fn keys(&self, name: &str) -> Vec<(String, i64)> {
        let Some(Value::Array(flat)) = self.find(name) else {
            panic!("{name}: {:?}", self.find(name));
        };
        let cost = |value: &Value| match value {
            Value::Int(cost) => *cost,
            other => panic!("{other}"),
        };
        let pairs = flat.chunks(2).map(|pair| (pair[0].text(), cost(&pair[1])));
        pairs.collect()
    }
}

#[test]
fn what_is_asked_for_wrongly_is_refused() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let cases = [
        ("START", "METRICS parameter is required"),
        ("START COUNT 3", "METRICS parameter is required"),
        ("START METRICS", "METRICS parameter is required"),
        ("START METRICS 0", "METRICS count must be > 0 and <= 2"),
        ("START METRICS -1", "METRICS count must be > 0 and <= 2"),
        ("START METRICS x CPU", "METRICS count must be > 0 and <= 2"),
        (
            "START METRICS 3 CPU NET",
            "METRICS count must be > 0 and <= 2",
        ),
        (
            "START METRICS 2 CPU",
            "METRICS count does not match number of metric types provided",
        ),
        ("START METRICS 1 CPU NET", "syntax error"),
        (
            "START METRICS 2 GPU NYET",
            "METRICS no valid metrics passed. Supported: CPU|NET",
        ),
        (
            "START METRICS 2 CPU cpu",
            "METRICS CPU defined more than once!",
        ),
        (
            "START METRICS 2 NET NET",
            "METRICS NET defined more than once!",
        ),
        (
            "START METRICS 1 CPU COUNT 0",
            "COUNT must be between 1 and 64",
        ),
        (
            "START METRICS 1 CPU COUNT 65",
            "COUNT must be between 1 and 64",
        ),
        ("START METRICS 1 CPU COUNT", "syntax error"),
        (
            "START METRICS 1 CPU DURATION 1000001",
            "DURATION be between 1 and 1000000",
        ),
        (
            "START METRICS 1 CPU SAMPLE 0",
            "SAMPLE ratio must be positive",
        ),
        (
            "START METRICS 1 CPU SLOTS 2 0 5",
            "SLOTS parameter cannot be used in non-cluster mode",
        ),
        (
            "STOP now",
            "wrong number of arguments for 'hotkeys|stop' command",
        ),
        ("NOSUCH", "unknown subcommand 'NOSUCH'. Try HOTKEYS HELP."),
    ];
    for (request, want) in cases {
        let reply = client.run(&format!("HOTKEYS {request}"));
        assert_eq!(reply.text(), format!("ERR {want}"), "{request}");
    }
    assert_eq!(client.run("HOTKEYS GET"), Value::Null);
    assert_eq!(client.run("HOTKEYS STOP"), Value::Null);
    assert_eq!(client.run("HOTKEYS RESET").text(), "OK");
    assert_eq!(client.run("HOTKEYS START METRICS 2 GPU cpu").text(), "OK");
    assert_eq!(
        client.run("HOTKEYS START METRICS 1 NET").text(),
        "ERR hotkey tracking session already in progress"
    );
    assert_eq!(
        client.run("HOTKEYS RESET").text(),
        "ERR hotkey tracking session in progress, stop tracking first"
    );
}

#[test]
fn a_report_tells_what_was_asked_for() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let shown = |client: &mut Client| client.run("INFO default").text().contains("# Hotkeys\r\n");
    assert!(!shown(&mut client));
    for (metrics, cpu, net) in [("1 CPU", true, false), ("1 net", false, true)] {
        client.run(&format!("HOTKEYS START METRICS {metrics} SAMPLE 5"));
        assert!(
            client
                .run("INFO")
                .text()
                .contains("hotkeys-tracking-active:1")
        );
        client.run("HOTKEYS STOP");
        assert!(
            client
                .run("INFO")
                .text()
                .contains("hotkeys-tracking-active:0")
        );
        let report = Report::ask(&mut client).expect("a watch has ended");
        let mut want = vec![
            "tracking-active",
            "sample-ratio",
            "selected-slots",
            "all-commands-all-slots-us",
            "net-bytes-all-commands-all-slots",
            "collection-start-time-unix-ms",
            "collection-duration-ms",
        ];
        if cpu {
            want.extend([
                "total-cpu-time-user-ms",
                "total-cpu-time-sys-ms",
                "by-cpu-time-us",
            ]);
        }
        if net {
            want.extend(["total-net-bytes", "by-net-bytes"]);
        }
        let names: Vec<String> = report.0.iter().map(|(name, _)| name.text()).collect();
        assert_eq!(names, want);
        assert_eq!(report.int("tracking-active"), 0);
        assert_eq!(report.int("sample-ratio"), 5);
        let slots = report.find("selected-slots").expect("always there");
        assert_eq!(
            slots.to_string(),
            Value::Array(vec![Value::Array(vec![Value::Int(0), Value::Int(16383)])]).to_string()
        );
        client.run("HELLO 3");
    }
    assert_eq!(client.run("HOTKEYS RESET").text(), "OK");
    assert_eq!(client.run("HOTKEYS GET"), Value::Null);
    assert!(!shown(&mut client));
}

#[test]
fn bytes_are_those_of_requests_and_replies() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("SET x 12345");
    client.run("HOTKEYS START METRICS 1 NET");
    client.run("GET x"); // 20 bytes, and 11 of reply
    client.run("MSET a 1 b 2"); // 42 bytes and 5: 23 each
    client.run("GET nosuch"); // 25 and 5
    client.run("PING"); // 14 and 7
    client.run("MULTI"); // 15 and 5
    client.run("INCR a"); // 21 bytes, and 4 of its reply within that of EXEC
    client.run("EXEC"); // 14 and 4
    client.call(&["EVAL", "return redis.call('get', KEYS[1])", "1", "x"]); // 68 and 11
    let report = Report::ask(&mut client).expect("it runs");
    let want = [("x", 31 + 79), ("a", 23 + 25), ("nosuch", 30), ("b", 23)];
    let want = want.map(|(key, bytes)| (key.to_owned(), bytes));
    assert_eq!(report.keys("by-net-bytes"), want);
    let all = 110 + 47 + 30 + 21 + 20 + 25 + 18;
    assert_eq!(report.int("net-bytes-all-commands-all-slots"), all);
    assert!(report.int("total-net-bytes") >= all);
}

#[test]
fn a_client_that_is_served_and_a_script_that_stands_still_are_weighed_once() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    let mut waiting = server.connect();
    client.run("HOTKEYS START METRICS 2 CPU NET");
    waiting.send(&support::request(&["BLPOP", "list", "0"]));
    wait_for("the client to block", || {
        let text = client.run("INFO clients").text();
        text.contains("blocked_clients:1").then_some(())
    });
    client.run("RPUSH list v"); // 33 bytes and 4
    waiting.read(); // 31 bytes, and 4 + 10 + 7 of reply
    let script = "local n = 0 for i = 1, 1000000 do n = n + i end return 5";
    client.call(&["EVAL", script, "1", "slow"]);
    let report = Report::ask(&mut client).expect("it runs");
    let bytes = report.keys("by-net-bytes");
    let eval = 4 + 10 + (5 + script.len() as i64 + 2) + 7 + 10 + 4;
    let find = |key: &str| {
        bytes
            .iter()
            .find(|found| found.0 == key)
            .map(|found| found.1)
    };
    assert_eq!(find("list"), Some(37 + 31 + 21));
    assert_eq!(find("slow"), Some(eval));
    let times = report.keys("by-cpu-time-us");
    assert_eq!(times[0].0, "slow");
    assert!(times[0].1 > 100, "{times:?}");
    assert!(times.iter().any(|(key, _)| key == "list"));
    assert!(report.int("all-commands-all-slots-us") >= times[0].1);

    // The same within a transaction, whose other commands are told one by one.
    for line in ["MULTI", "RPUSH other 1 2 3"] {
        client.run(line);
    }
    client.call(&["EVAL", script, "1", "held"]);
    client.run("LRANGE other 0 -1");
    client.run("EXEC");
    let report = Report::ask(&mut client).expect("it runs");
    let times = report.keys("by-cpu-time-us");
    let find = |key: &str| {
        times
            .iter()
            .find(|found| found.0 == key)
            .map(|found| found.1)
    };
    let held = find("held").expect("told");
    assert!(held > 100, "{times:?}");
    assert!(find("other").is_some_and(|us| us < held));
}

#[test]
fn the_keys_that_take_longest_are_found_in_a_sample() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    for n in 0..3000 {
        client.run(&format!("RPUSH big {n}"));
    }
    client.run("HOTKEYS START METRICS 2 CPU NET COUNT 3 SAMPLE 10");
    for round in 0..3000 {
        client.run(&format!("SET cold:{round} v"));
        if round % 10 == 0 {
            client.run("LINDEX big 1500");
            client.run("LRANGE big 0 -1");
        }
    }
    client.run("HOTKEYS STOP");
    let report = Report::ask(&mut client).expect("it is kept");
    for name in ["by-cpu-time-us", "by-net-bytes"] {
        let keys = report.keys(name);
        assert!(keys.len() <= 3);
        assert_eq!(keys[0].0, "big", "{name}: {keys:?}");
    }
    let net = report.int("net-bytes-all-commands-all-slots");
    let sampled = report.keys("by-net-bytes")[0].1;
    assert!((net / 30..net / 3).contains(&sampled), "{sampled} of {net}");
}

#[test]
fn a_watch_ends_when_its_time_is_over() {
    let server = Server::start(&[]);
    let mut client = server.connect();
    client.run("HOTKEYS START METRICS 1 CPU DURATION 1");
    client.run("SET k v");
    let report = wait_for("its end", || {
        let report = Report::ask(&mut client).expect("there is one");
        (report.int("tracking-active") == 0).then_some(report)
    });
    assert!(report.int("collection-duration-ms") >= 1000);
    assert_eq!(report.keys("by-cpu-time-us")[0].0, "k");
    // Another can follow; what the first has found is gone then.
    client.run("HOTKEYS START METRICS 1 NET");
    let report = Report::ask(&mut client).expect("it runs");
    assert_eq!(report.int("tracking-active"), 1);
    assert!(report.find("by-cpu-time-us").is_none());
}
