//! Samples: small data sets that hold every type in every encoding, on any server.

use super::{Client, Server, request};

/// Fills an empty server. What takes other limits than the usual ones to be small comes last.
pub fn fill(client: &mut Client) {
    let run = |client: &mut Client, line: &str| {
        let reply = client.run(line);
        assert_eq!(reply.error(), None, "{line}");
    };
    let long = "a text that repeats, ".repeat(20);
    for args in [
        ["SET", "string:long", &long],
        ["RPUSH", "list:long", &long],
        ["SADD", "set:long", &long],
    ] {
        assert_eq!(client.call(&args).error(), None);
    }
    for line in [
        "SET string:int8 -7",
        "SET string:int16 3000",
        "SET string:int32 -70000",
        "SET string:int64 5000000000",
        "SET string:short hello",
        "SET string:deadline v PXAT 4000000000000",
        "SET string:empty 0",
        "SETRANGE string:empty 0 x",
        "SETBIT bits 200 1",
        "PFADD hll a b c",
        "RPUSH list:small a -1 300 70000 5000000000 7",
        "SADD set:ints16 1 2 3",
        "SADD set:ints32 1 70000",
        "SADD set:ints64 1 5000000000",
        "SADD set:small a b 1",
        "ZADD zset:small 1 a 2.5 b -inf c +inf d",
        "HSET hash:small f v n 7",
        "HSET hash:packed f v g w",
        "HPEXPIREAT hash:packed 4000000000000 FIELDS 1 f",
        "XADD stream 1-1 f v g w",
        "XADD stream 1-2 f v g w",
        "XADD stream 2-1 other 7",
        "XDEL stream 1-2",
        "XGROUP CREATE stream group 0",
        "XREADGROUP GROUP group consumer COUNT 1 STREAMS stream >",
        "XGROUP CREATECONSUMER stream group idle",
        "XGROUP CREATE empty-stream group $ MKSTREAM",
        "CONFIG SET list-max-listpack-size 3 list-compress-depth 1",
        "CONFIG SET set-max-listpack-entries 2 set-max-intset-entries 2",
        "CONFIG SET zset-max-listpack-entries 2 hash-max-listpack-entries 2",
        "SADD set:table a b c 1 2 3",
        "ZADD zset:tree 1 a 2.5 b -inf c +inf d",
        "HSET hash:table a 1 b 2 c text",
        "HSET hash:deadlines a 1 b 2 c text",
        "HPEXPIREAT hash:deadlines 4000000000000 FIELDS 2 a c",
        "SELECT 3",
        "SET elsewhere 1",
        "SELECT 0",
    ] {
        run(client, line);
    }
    for number in 0..12 {
        let element = format!("{number} {}", "x".repeat(90));
        client.send(&request(&["RPUSH", "list:nodes", &element]));
        client.read();
    }
    run(client, "CONFIG SET list-max-listpack-size -2");
}

/// The file that a server saves of its data.
pub fn saved(server: &Server, client: &mut Client) -> Vec<u8> {
    assert_eq!(client.run("SAVE").text(), "OK");
    std::fs::read(server.path("dump.rdb")).expect("it was saved")
}

/// RDB files with every type and encoding: ours, and a real server's where there is one.
pub fn rdb_files() -> Vec<(&'static str, Vec<u8>)> {
    let ours = Server::start(&["--save", ""]);
    let mut files = Vec::new();
    for (name, server) in [("ours", Some(ours)), ("real", super::oracle_server(&[]))] {
        let Some(server) = server else {
            continue;
        };
        let mut client = server.connect();
        fill(&mut client);
        if name == "real" {
            let code = "#!lua name=lib\nredis.register_function('f', function() return 1 end)";
            assert_eq!(client.call(&["FUNCTION", "LOAD", code]).text(), "lib");
        }
        files.push((name, saved(&server, &mut client)));
    }
    files
}
