//! Bench: what a request of many commands costs, beside real servers.
//!
//!     cargo bench --bench commands [-- WORD]       WORD: only rows that hold it
//!
//! Fills Retrace and its peers (see `servers`) with the same data, then sends them each row through redis-benchmark at a
//! depth of 16, in turn and in alternating order, and prints CPU microseconds of the server for a request, the medians of the
//! rounds. The client is not measured, so a busy machine matters less than to requests per second. Only ratios from one run
//! mean anything.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "it starts servers and measures time"
)]

mod servers;

use std::path::Path;
use std::process::Command;

use servers::{Server, median, order};

const ROUNDS: usize = 3;

/// What `__rand_int__` stays below: in names of which there are many, and in those of small collections (`h:`, `s:`, ...).
const MANY: &str = "1000000";
const FEW: &str = "20000";

/// Scripts that make collections of exact contents.
const SCRIPTS: &[&str] = &[
    "for i = 0, 99 do redis.call('sadd', 's100', 'm' .. i) end",
    "for i = 0, 999 do redis.call('sadd', 's1000', 'x' .. 2 * i) redis.call('sadd', 's1000b', 'x' .. 3 * i) end",
    "for i = 0, 99 do redis.call('sadd', 'i100', i) redis.call('sadd', 'i100b', i + 50) end",
    "for i = 0, 99 do redis.call('hset', 'h100', 'f' .. i, 'v' .. i) redis.call('zadd', 'z100', i, 'm' .. i) end",
    "for i = 0, 999 do redis.call('hset', 'h1000', 'f' .. i, 'v' .. i) redis.call('zadd', 'z1000', i, 'm' .. i) end",
    "for i = 0, 999 do redis.call('zadd', 'z1000b', i, 'm' .. 2 * i) redis.call('pfadd', 'hll', i) end",
    "for i = 0, 99 do redis.call('rpush', 'l100', 'v' .. i) end",
    "for i = 0, 999 do redis.call('rpush', 'l1000', i * 7919 % 1000) redis.call('pfadd', 'hll2', i * 3) end",
    "for i = 0, 299 do redis.call('geoadd', 'geo', i % 100 / 10, i % 70 / 10, 'p' .. i) end",
    "redis.call('setbit', 'bits', 80000, 1) redis.call('set', 'big', string.rep('x', 10000))",
    "redis.call('xgroup', 'create', 'stream', 'group', '$', 'mkstream')",
];

/// Requests that make large collections, and many small ones.
const FILL: &[(u32, &str)] = &[
    (300_000, "SET key:__rand_int__ xxxxxxxxxxxxxxxx"),
    (300_000, "HSET bighash f:__rand_int__ v:__rand_int__"),
    (300_000, "SADD bigset m:__rand_int__"),
    (300_000, "SADD ints __rand_int__"),
    (300_000, "ZADD bigzset __rand_int__ m:__rand_int__"),
    (300_000, "RPUSH biglist value:__rand_int__"),
    (300_000, "XADD stream * f __rand_int__"),
    (200_000, "HSET h:__rand_int__ a 1 b 2 c 3 d hello e 5"),
    (200_000, "ZADD z:__rand_int__ 1 a 2 b 3 c"),
    (200_000, "SADD s:__rand_int__ a b c __rand_int__"),
];

/// Requests, and one of them.
const ROWS: &[(u32, &str)] = &[
    (200_000, "APPEND app:__rand_int__ x"),
    (300_000, "GETRANGE big 100 200"),
    (300_000, "EXISTS key:__rand_int__"),
    (300_000, "TTL key:__rand_int__"),
    (200_000, "EXPIRE key:__rand_int__ 1000"),
    (200_000, "DEL del:__rand_int__"),
    (
        100_000,
        "MGET key:__rand_int__ key:__rand_int__ key:__rand_int__ key:__rand_int__ key:__rand_int__",
    ),
    (200_000, "SETNX new:__rand_int__ v"),
    (200_000, "SET key:__rand_int__ v GET"),
    (200_000, "GETEX key:__rand_int__ EX 100"),
    (200_000, "INCRBYFLOAT float:__rand_int__ 1.5"),
    (200_000, "GETDEL key:__rand_int__"),
    (100_000, "COPY big copy REPLACE"),
    (50_000, "BITCOUNT bits"),
    (50_000, "BITPOS bits 1"),
    (300_000, "HGET h:__rand_int__ d"),
    (200_000, "HMGET h:__rand_int__ a c e"),
    (200_000, "HINCRBY h:__rand_int__ a 1"),
    (100_000, "HGETALL h:__rand_int__"),
    (30_000, "HGETALL h100"),
    (5_000, "HGETALL h1000"),
    (200_000, "HEXISTS bighash f:__rand_int__"),
    (200_000, "HDEL bighash f:__rand_int__"),
    (100_000, "HRANDFIELD bighash 5"),
    (30_000, "HSCAN bighash __rand_int__ COUNT 10"),
    (100_000, "HEXPIRE h:__rand_int__ 100 FIELDS 1 a"),
    (300_000, "SISMEMBER bigset m:__rand_int__"),
    (300_000, "SISMEMBER ints __rand_int__"),
    (200_000, "SREM bigset m:__rand_int__"),
    (100_000, "SRANDMEMBER bigset 5"),
    (20_000, "SMEMBERS s100"),
    (3_000, "SINTER s1000 s1000b"),
    (3_000, "SUNION s1000 s1000b"),
    (3_000, "SDIFF s1000 s1000b"),
    (20_000, "SINTER i100 i100b"),
    (20_000, "SUNION i100 i100b"),
    (300_000, "ZADD z:__rand_int__ 5 x"),
    (300_000, "ZSCORE bigzset m:__rand_int__"),
    (300_000, "ZRANK bigzset m:__rand_int__"),
    (200_000, "ZINCRBY bigzset 1 m:__rand_int__"),
    (200_000, "ZREM bigzset m:__rand_int__"),
    (100_000, "ZCOUNT bigzset 1000 __rand_int__"),
    (30_000, "ZRANGE z100 0 -1"),
    (3_000, "ZRANGE z1000 0 -1 WITHSCORES"),
    (30_000, "ZREVRANGE bigzset 0 20"),
    (100_000, "ZRANGEBYSCORE bigzset __rand_int__ +inf LIMIT 0 5"),
    (2_000, "ZUNION 2 z1000 z1000b"),
    (2_000, "ZINTER 2 z1000 z1000b"),
    (2_000, "ZUNIONSTORE out 2 z1000 z1000b"),
    (200_000, "LPUSH new-list:__rand_int__ v"),
    (200_000, "RPOP biglist"),
    (50_000, "LINDEX biglist 50000"),
    (3_000, "LRANGE l1000 0 -1"),
    (100_000, "LMOVE l100 l100 LEFT RIGHT"),
    (100_000, "LSET l100 50 v"),
    (20_000, "LPOS l1000 999"),
    (3_000, "SORT l1000"),
    (3_000, "SORT l1000 ALPHA"),
    (2_000, "SORT l1000 BY key:* GET #"),
    (100_000, "XADD capped MAXLEN ~ 1000 * f __rand_int__"),
    (50_000, "XRANGE stream - + COUNT 10"),
    (50_000, "XREAD COUNT 10 STREAMS stream 0"),
    (
        50_000,
        "XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >",
    ),
    (200_000, "PFADD hll3 __rand_int__"),
    (3_000, "PFCOUNT hll hll2"),
    (10_000, "GEOSEARCH geo FROMLONLAT 3 3 BYRADIUS 100 km"),
    (30_000, "SCAN __rand_int__ COUNT 10"),
    (100_000, "RANDOMKEY"),
    (30_000, "EVAL return(1) 0"),
    (
        30_000,
        "EVAL return(redis.call('hgetall',KEYS[1])) 1 h:__rand_int__",
    ),
    (30_000, "EVAL return(cjson.encode({a=1,b={1,2,3}})) 0"),
    (100_000, "PUBLISH channel hello"),
    (100_000, "DUMP h100"),
    (30_000, "INFO"),
];

fn run(benchmark: &Path, server: &Server, requests: u32, words: &[&str]) {
    let is_small = |word: &&str| word.as_bytes().get(1) == Some(&b':');
    let range = match words.get(1).filter(|word| is_small(word)) {
        Some(_) => FEW,
        None => MANY,
    };
    let output = Command::new(benchmark)
        .args(["-p", &server.port.to_string(), "-n", &requests.to_string()])
        .args(["-P", "16", "--csv", "-r", range])
        .args(words)
        .output()
        .expect("redis-benchmark runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(!said.contains("rror"), "{}: {words:?}: {said}", server.name);
}

fn words(row: &str) -> Vec<&str> {
    row.split(' ').collect()
}

fn main() {
    let only = std::env::args()
        .skip(1)
        .find(|arg| !arg.starts_with('-'))
        .unwrap_or_default();
    let Some(benchmark) = servers::redis_benchmark() else {
        return;
    };
    let servers = servers::start_all();
    for server in &servers {
        for script in SCRIPTS {
            run(
                &benchmark,
                server,
                1,
                &["-c", "1", "-P", "1", "EVAL", script, "0"],
            );
        }
        for (requests, row) in FILL {
            run(&benchmark, server, *requests, &words(row));
        }
    }
    print!("| CPU us |");
    servers
        .iter()
        .for_each(|server| print!(" {} |", server.name));
    println!(" ratio to the best peer |");
    println!("|---|{}", "---:|".repeat(servers.len() + 1));
    for (requests, row) in ROWS.iter().filter(|(_, row)| row.contains(&only)) {
        let mut costs = vec![Vec::new(); servers.len()];
        for round in 0..ROUNDS {
            for index in order(round, servers.len()) {
                let server = &servers[index];
                let before = server.cpu_ns().unwrap_or(0);
                run(&benchmark, server, *requests, &words(row));
                let spent = server.cpu_ns().unwrap_or(0) - before;
                costs[index].push(spent as f64 / 1000.0 / f64::from(*requests));
            }
        }
        let costs: Vec<f64> = costs.into_iter().map(median).collect();
        print!("| {} |", row.replace("__rand_int__", "n"));
        costs.iter().for_each(|cost| print!(" {cost:.2} |"));
        match costs[1..].iter().copied().reduce(f64::min) {
            Some(least) => println!(" {:.2} |", costs[0] / least),
            None => println!(" - |"),
        }
    }
}
