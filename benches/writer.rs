//! Bench: the reply writer. Each figure is for one reply.

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use retrace::resp::Reply;

const REPLIES: usize = 1_000;

fn writer(c: &mut Criterion) {
    let mut group = c.benchmark_group("writer");
    group.throughput(Throughput::Elements(REPLIES as u64));
    let mut bench = |name: &str, write: &dyn Fn(&mut Reply, usize)| {
        let mut reply = Reply::default();
        group.bench_function(name, |b| {
            b.iter(|| {
                for n in 0..REPLIES {
                    write(&mut reply, n);
                }
                black_box(reply.pending());
                let len = reply.pending();
                reply.advance(len);
            });
        });
    };
    bench("ok", &|reply, _| reply.ok());
    bench("int", &|reply, n| reply.int(n as i64 * 1_000_003));
    bench("bulk of 32", &|reply, _| reply.bulk(&[b'v'; 32]));
    bench("null", &|reply, _| reply.null());
    bench("array of 10 bulks", &|reply, _| {
        reply.array(10);
        for _ in 0..10 {
            reply.bulk(b"0123456789abcdef");
        }
    });
    let shared = Bytes::from(vec![b'x'; 64 * 1024]);
    bench("shared bulk of 64 KiB", &|reply, _| {
        reply.bulk_shared(shared.clone())
    });
    group.finish();
}

criterion_group!(benches, writer);
criterion_main!(benches);
