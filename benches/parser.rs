//! Bench: the request parser. Each figure is for one command.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use retrace::resp::parser::QueryView;
use retrace::resp::{Limits, Parsed, Parser};

const LIMITS: Limits = Limits {
    bulk_len_max: 512 << 20,
    authenticated: true,
};

const COMMANDS: u64 = 1_000;

/// Parses a buffer that holds whole commands; returns how many.
fn parse_all(buf: &mut Vec<u8>) -> u64 {
    let (mut parser, mut argv) = (Parser::default(), Vec::new());
    let (mut start, end, mut count) = (0, buf.len(), 0);
    while start < end {
        argv.clear();
        let mut view = QueryView::new(buf, start, end);
        match parser.parse(&mut view, &mut argv, LIMITS) {
            Ok(Parsed::Command { len }) => start += len,
            other => panic!("whole commands only: {other:?}"),
        }
        black_box(&argv);
        count += 1;
    }
    count
}

fn parser(c: &mut Criterion) {
    let mut group = c.benchmark_group("parser");
    group.throughput(Throughput::Elements(COMMANDS));
    let value = "v".repeat(32);
    let mset: String = (0..10)
        .map(|n| format!("$16\r\nkey:{n:012}\r\n$32\r\n{value}\r\n"))
        .collect();
    for (name, command) in [
        ("ping", "*1\r\n$4\r\nPING\r\n".to_owned()),
        (
            "get",
            "*2\r\n$3\r\nGET\r\n$16\r\nkey:000000000001\r\n".to_owned(),
        ),
        (
            "set",
            format!("*3\r\n$3\r\nSET\r\n$16\r\nkey:000000000001\r\n$32\r\n{value}\r\n"),
        ),
        ("mset of 10", format!("*21\r\n$4\r\nMSET\r\n{mset}")),
        ("inline get", "GET key:000000000001\r\n".to_owned()),
        ("inline get, quoted", "GET \"key:\\x41\"\r\n".to_owned()),
    ] {
        let mut buf = command.repeat(COMMANDS as usize).into_bytes();
        group.bench_function(name, |b| {
            b.iter(|| assert_eq!(parse_all(&mut buf), COMMANDS))
        });
    }
    group.finish();
}

criterion_group!(benches, parser);
criterion_main!(benches);
