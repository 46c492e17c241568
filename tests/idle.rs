//! Idle: ten thousand connections that do nothing, and fifty that work among them; memory that is not in use any more.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::time::Instant;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use support::{Address, Client, Server, Value, request, skipped, wait_for};

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

/// A real server is at 16 MB a fifth of a second after the same.
#[test]
fn memory_that_was_freed_goes_back_to_the_system() {
    const MB: usize = 1 << 20;
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    let value = vec![b'x'; MB];
    let fill = |client: &mut Client| {
        for n in 0..200 {
            client.call(&[b"SET", format!("key:{n}").as_bytes(), &value]);
        }
        assert!(server.own_rss_bytes() > 200 << 20);
    };
    for flush in ["FLUSHALL", "FLUSHALL ASYNC"] {
        fill(&mut client);
        assert_eq!(client.run(flush), Value::Simple("OK".into()));
        wait_for("the memory", || {
            (server.own_rss_bytes() < 48 << 20).then_some(())
        });
    }
    // Also what lies between blocks that stay.
    fill(&mut client);
    for n in (0..200).step_by(2) {
        client.call(&["DEL", &format!("key:{n}")]);
    }
    wait_for("half of it", || {
        (server.own_rss_bytes() < 148 << 20).then_some(())
    });
    assert_eq!(client.run("DBSIZE"), Value::Int(100));
    // Small blocks as well, and what commands took that were never whole.
    client.run("FLUSHALL");
    let (mut requests, value) = (Vec::new(), "v".repeat(500));
    for n in 0..100_000 {
        requests.extend(request(&["SET", &format!("small:{n}"), &value]));
    }
    client.send(&requests);
    (0..100_000).for_each(|_| drop(client.read()));
    assert!(server.own_rss_bytes() > 60 << 20);
    client.run("FLUSHALL");
    let mut begun: Vec<Client> = (0..300).map(|_| server.connect()).collect();
    for client in &mut begun {
        client.send(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$400000\r\n");
        client.send(&vec![b'x'; 300_000]);
    }
    wait_for("the requests", || {
        (server.own_rss_bytes() > 90 << 20).then_some(())
    });
    drop(begun);
    wait_for("the memory", || {
        (server.own_rss_bytes() < 48 << 20).then_some(())
    });
}
