//! Idle: ten thousand connections that do nothing, and fifty that work among them.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Address, Client, Server, Value, skipped};

/// Room for this many connections here, or as many as there may be.
fn connections(wanted: usize) -> usize {
    let spare = 300;
    let limit = getrlimit(Resource::Nofile);
    let most = limit.maximum.unwrap_or(u64::MAX);
    let raised = Rlimit {
        current: Some(
            most.min((wanted + spare) as u64)
                .max(limit.current.unwrap_or(0)),
        ),
        maximum: limit.maximum,
    };
    let _ = setrlimit(Resource::Nofile, raised);
    let have = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX) as usize;
    if have < wanted + spare {
        let fewer = have.saturating_sub(spare);
        skipped(&format!(
            "{fewer} idle connections instead of {wanted}: only {have} open files are allowed"
        ));
        return fewer;
    }
    wanted
}

#[test]
fn ten_thousand_idle_connections_and_fifty_busy_ones() {
    const BUSY: usize = 50;
    const ROUNDS: usize = 200;
    let count = connections(10_000);
    let server = Server::start(&["--maxclients", &(count + BUSY + 10).to_string()]);
    let before = server.rss_bytes();
    let mut idle: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    for client in idle.iter_mut().step_by(100) {
        assert_eq!(client.run("PING"), Value::Simple("PONG".into()));
    }
    let each = server.rss_bytes().saturating_sub(before) / count.max(1) as u64;

    let address = Address::Tcp(server.port());
    let began = Instant::now();
    let threads: Vec<_> = (0..BUSY)
        .map(|n| {
            let address = address.clone();
            std::thread::spawn(move || {
                let mut client = Client::connect(&address);
                for round in 0..ROUNDS {
                    let key = format!("{n}:{round}");
                    assert_eq!(
                        client.call(&["SET", &key, &key]),
                        Value::Simple("OK".into())
                    );
                    assert_eq!(client.call(&["GET", &key]), Value::Bulk(key.into_bytes()));
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("a busy client ends well");
    }
    let rate = (BUSY * ROUNDS * 2) as f64 / began.elapsed().as_secs_f64();
    println!("{count} idle connections of {each} bytes each; {rate:.0} commands/s beside them");
    assert!(
        each < 20_000,
        "{each} bytes for a connection that does nothing"
    );

    for client in idle.iter_mut().rev().step_by(97) {
        assert_eq!(client.run("PING"), Value::Simple("PONG".into()));
    }
}
