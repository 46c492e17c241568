//! IDs as commands read them; what goes to the AOF and to replicas, which must give the same stream on any machine
//! at any time.

use super::*;
use crate::command::Registry;
use crate::config::Config;
use crate::resp::parser::QueryView;
use crate::resp::{Limits, Parser};
use crate::state::effects::Targets;
use crate::state::server::Process;
use crate::state::{Client, ConnId, Server, UnixMicros};

const NOW: UnixMicros = UnixMicros(5_000_000);

/// Runs the lines of a script at millisecond 5000; returns what each propagates in place of itself.
fn propagated(script: &str) -> Vec<String> {
    let registry = Registry::new(&[]).expect("no command is renamed");
    let mut server = Server::new(Config::default(), Process::default(), 1, NOW);
    server.set_now(NOW);
    server.effects.listening = Targets::ALL;
    let mut client = Client::new(ConnId(0), 1, NOW);
    let mut all = Vec::new();
    for line in script
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
    {
        let mut bytes = format!("{line}\r\n").into_bytes();
        let end = bytes.len();
        let mut parser = Parser::default();
        let mut argv = Vec::new();
        let limits = Limits {
            bulk_len_max: 1000,
            authenticated: true,
        };
        let mut view = QueryView::new(&mut bytes, 0, end);
        parser
            .parse(&mut view, &mut argv, limits)
            .expect("the script is well-formed");
        let args = Args::new(&bytes, &argv, &[]);
        let command = registry
            .find(args)
            .ok()
            .expect("the script names known commands");
        server.effects.propagated.clear();
        let mut ctx = Ctx {
            server: &mut server,
            client: &mut client,
            registry: &registry,
            command: command.id,
            first_key: None,
        };
        (command.spec.handler)(&mut ctx, args).expect("the script has no errors");
        all.extend(server.effects.propagated.texts());
    }
    all
}

#[test]
fn additions_go_out_with_the_id_and_the_trim_that_they_came_to() {
    let said = propagated(
        "XADD s 1 f v
        XADD s * f v
        XADD s 5000-* f v
        XADD s MAXLEN ~ 1 LIMIT 5 6000 f v
        XADD s MINID ~ 1 6001-* f v
        XADD s NOMKSTREAM IDMP p i MAXLEN ~ 9 LIMIT 3 * f v
        XADD s MAXLEN ~ 9 IDMP p j * f v
        XTRIM s MAXLEN ~ 2
        XTRIM s MAXLEN 3",
    );
    assert_eq!(
        said,
        [
            "XADD s 1 f v",
            "XADD s 5000-0 f v",
            "XADD s 5000-1 f v",
            "XADD s MAXLEN = 4 6000 f v",
            "XADD s MINID = 1-0 6001-0 f v",
            "XADD s NOMKSTREAM MAXLEN = 6 6001-1 f v",
            "XIDMPRECORD s p i 6001-1",
            "XADD s MAXLEN = 7 6001-2 f v",
            "XIDMPRECORD s p j 6001-2",
        ]
    );
}

#[test]
fn what_groups_do_goes_out_as_claims() {
    let said = propagated(
        "XADD s 1 f v
        XADD s 2 f v
        XADD s 3 f v
        XGROUP CREATE s g 0
        XREADGROUP GROUP g c COUNT 2 STREAMS s >
        XREADGROUP GROUP g c NOACK STREAMS s >
        XREADGROUP GROUP g c STREAMS s 0
        XCLAIM s g d 0 2 9
        XCLAIM s g d 0 9 LASTID 7
        XDEL s 1
        XAUTOCLAIM s g d 0 0 JUSTID",
    );
    assert_eq!(
        said[3..],
        [
            "XCLAIM s g c 0 1-0 TIME 5000 RETRYCOUNT 1 FORCE JUSTID LASTID 1-0",
            "XCLAIM s g c 0 2-0 TIME 5000 RETRYCOUNT 1 FORCE JUSTID LASTID 2-0",
            "XGROUP SETID s g 2-0 ENTRIESREAD 2",
            "XGROUP SETID s g 3-0 ENTRIESREAD 3",
            "XCLAIM s g d 0 2-0 TIME 5000 RETRYCOUNT 3 FORCE JUSTID LASTID 3-0",
            "XGROUP SETID s g 7-0 ENTRIESREAD 3",
            "XCLAIM s g c 0 1-0 TIME 5000 RETRYCOUNT 2 FORCE JUSTID LASTID 7-0",
            "XCLAIM s g d 0 2-0 TIME 5000 RETRYCOUNT 3 FORCE JUSTID LASTID 7-0",
        ]
    );
}

#[test]
fn ids_are_read_as_the_real_server_reads_them() {
    let id = |ms, seq| Some(StreamId::new(ms, seq));
    for (text, want) in [
        ("5-1", id(5, 1)),
        ("5", id(5, 9)),
        ("007-01", id(7, 1)),
        ("+5- 7", id(5, 7)),
        ("1- -1", id(1, u64::MAX)),
        ("1--1", None),
        ("1--01", id(1, u64::MAX)),
        ("", None),
        ("-", None),
        ("+", None),
        ("5-", None),
        ("-5", None),
        ("5-*", None),
        (
            "18446744073709551615-18446744073709551615",
            Some(StreamId::MAX),
        ),
        ("18446744073709551616", None),
    ] {
        assert_eq!(parse_strict_id(text.as_bytes(), 9), want, "{text}");
    }
    assert_eq!(parse_given_id(b"5-*", 0), Some(GivenId::OpenSeq(5)));
    assert_eq!(parse_id(b"-", 0), Some(StreamId::MIN));
}
