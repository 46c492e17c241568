//! Scripts: kinds that applications run (locks, queues, limiters) with clients at the same time, scripts that do not
//! end, attempts to get out of the sandbox, and that a recorded run of all that repeats.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use std::process::Command;
use std::thread;
use std::time::Duration;

use rustix::process::Signal;
use support::{Client, RETRACE, Server, Value, oracle_program, oracle_server, request, wait_for};

const UNLOCK: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

/// A sliding window: at most ARGV[3] calls in ARGV[2] milliseconds.
const LIMIT: &str = "
local now = tonumber(ARGV[1])
redis.call('zremrangebyscore', KEYS[1], '-inf', now - tonumber(ARGV[2]))
if redis.call('zcard', KEYS[1]) >= tonumber(ARGV[3]) then
  return redis.status_reply('LIMITED')
end
redis.call('zadd', KEYS[1], now, now .. ':' .. redis.call('incr', KEYS[1] .. ':seq'))
redis.call('pexpire', KEYS[1], ARGV[2])
return redis.status_reply('ALLOWED')";

/// A leaky bucket in a hash: capacity ARGV[2], ARGV[3] leak in a second.
const BUCKET: &str = "
local b = redis.call('hmget', KEYS[1], 'level', 'at')
local now, capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local level = math.max(0, (tonumber(b[1]) or 0) - (now - (tonumber(b[2]) or now)) / 1000 * rate)
local ok = level + 1 <= capacity
if ok then level = level + 1 end
redis.call('hset', KEYS[1], 'level', tostring(level), 'at', now)
return {ok and 1 or 0, tostring(level)}";

/// Takes a job from the wait list to the list of those that are worked on, and returns it with its data.
const TAKE: &str = "
local id = redis.call('rpoplpush', KEYS[1], KEYS[2])
if not id then return false end
local job = cjson.decode(redis.call('hget', KEYS[3], id))
job.attempts = job.attempts + 1
redis.call('hset', KEYS[3], id, cjson.encode(job))
return {id, job.attempts, cmsgpack.pack(job)}";

/// Ends a job, or puts it back for another attempt.
const FINISH: &str = "
redis.call('lrem', KEYS[2], 1, ARGV[1])
if ARGV[2] == 'ok' then
  redis.call('hdel', KEYS[3], ARGV[1])
  return redis.call('incr', KEYS[4])
end
redis.call('lpush', KEYS[1], ARGV[1])
return redis.call('get', KEYS[4]) or '0'";

fn eval(client: &mut Client, script: &str, keys: &[&str], args: &[&str]) -> Value {
    let count = keys.len().to_string();
    let mut call = vec!["EVAL", script, &count];
    call.extend(keys);
    call.extend(args);
    client.call(&call)
}

#[test]
fn a_lock_is_held_by_one_at_a_time() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    let sha = client.call(&["SCRIPT", "LOAD", UNLOCK]).text();
    let workers: Vec<_> = (0..4)
        .map(|worker| {
            let mut client = server.connect();
            let (sha, token) = (sha.clone(), format!("t{worker}"));
            thread::spawn(move || {
                for _ in 0..50 {
                    wait_for("the lock", || {
                        let set = client.call(&["SET", "lock", &token, "NX", "PX", "60000"]);
                        (set.text() == "OK").then_some(())
                    });
                    // Nobody else may be between these two.
                    let before: i64 = client.run("GET count").text().parse().unwrap_or(0);
                    client.call(&["SET", "count", &(before + 1).to_string()]);
                    assert_eq!(
                        client.call(&["EVALSHA", &sha, "1", "lock", "other"]).text(),
                        "0"
                    );
                    assert_eq!(
                        client.call(&["EVALSHA", &sha, "1", "lock", &token]).text(),
                        "1"
                    );
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("it works");
    }
    assert_eq!(client.run("GET count").text(), "200");
}

#[test]
fn limiters_let_as_many_through_as_they_should() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    let mut said = |now: &str| eval(&mut client, LIMIT, &["w"], &[now, "1000", "3"]).text();
    let answers: Vec<String> = ["0", "10", "20", "30", "999", "1001", "1002"]
        .map(&mut said)
        .into();
    assert_eq!(
        answers,
        [
            "ALLOWED", "ALLOWED", "ALLOWED", "LIMITED", "LIMITED", "ALLOWED", "LIMITED"
        ]
    );
    let mut level = |now: &str| match eval(&mut client, BUCKET, &["b"], &[now, "2", "1"]) {
        Value::Array(items) => format!("{} {}", items[0].text(), items[1].text()),
        other => other.text(),
    };
    let levels: Vec<String> = ["0", "0", "0", "500", "1500"].map(&mut level).into();
    assert_eq!(levels, ["1 1", "1 2", "0 2", "0 1.5", "1 1.5"]);

    // Several at once share what there is, to the last of it.
    let workers: Vec<_> = (0..6)
        .map(|_| {
            let mut client = server.connect();
            std::thread::spawn(move || {
                let (mut allowed, mut taken) = (0, 0);
                for _ in 0..50 {
                    let said = eval(&mut client, LIMIT, &["many"], &["0", "1000", "100"]);
                    allowed += usize::from(said.text() == "ALLOWED");
                    let said = eval(&mut client, BUCKET, &["leaky"], &["0", "70", "1"]);
                    let has_room = |items: &Vec<Value>| items[0].text() == "1";
                    taken += usize::from(matches!(said, Value::Array(items) if has_room(&items)));
                }
                (allowed, taken)
            })
        })
        .collect();
    let shares = workers
        .into_iter()
        .map(|worker| worker.join().expect("it works"));
    let sum = shares.fold((0, 0), |sum, share| (sum.0 + share.0, sum.1 + share.1));
    assert_eq!(sum, (100, 70));
}

#[test]
fn a_job_queue_loses_nothing_though_jobs_fail() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    const JOBS: usize = 120;
    for id in 0..JOBS {
        let id = id.to_string();
        let job = format!("{{\"name\":\"job {id}\",\"attempts\":0}}");
        client.call(&["HSET", "jobs", &id, &job]);
        client.call(&["LPUSH", "wait", &id]);
    }
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let mut client = server.connect();
            thread::spawn(move || {
                loop {
                    let taken = eval(&mut client, TAKE, &["wait", "active", "jobs"], &[]);
                    let Value::Array(items) = taken else {
                        if client.run("HLEN jobs").text() == "0" {
                            return;
                        }
                        continue;
                    };
                    let (id, attempts) = (items[0].text(), items[1].text());
                    // Every third job fails the first time.
                    let is_ok = attempts != "1" || id.parse::<usize>().expect("a number") % 3 != 0;
                    let outcome = if is_ok { "ok" } else { "failed" };
                    let keys = ["wait", "active", "jobs", "done"];
                    eval(&mut client, FINISH, &keys, &[&id, outcome]);
                }
            })
        })
        .collect();
    for worker in workers {
        worker.join().expect("it works");
    }
    assert_eq!(client.run("GET done").text(), JOBS.to_string());
    assert_eq!(client.run("LLEN active").text(), "0");
    assert_eq!(client.run("LLEN wait").text(), "0");
}

/// What another client is told once the script counts as busy.
fn wait_until_busy(client: &mut Client) -> String {
    wait_for("the script to count as busy", || {
        let reply = client.run("GET x");
        reply
            .error()
            .filter(|error| error.starts_with("BUSY"))
            .map(str::to_owned)
    })
}

#[test]
fn a_script_without_end_is_killed_unless_it_has_written() {
    let server = Server::start(&["--save", "", "--busy-reply-threshold", "20"]);
    let (mut one, mut two) = (server.connect(), server.connect());
    assert!(two.run("SCRIPT KILL").text().starts_with("NOTBUSY"));
    for script in [
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "while true do redis.pcall('ping') end",
        "local t = {} for i = 1, 9 do t[i] = i end table.sort(t, function(a, b) while true do end end)",
        "local co = coroutine.wrap(function() while true do end end) co()",
        "string.gsub('aaa', 'a', function() while true do end end)",
    ] {
        one.send(&request(&["EVAL", script, "0"]));
        one.send(b"PING\r\n");
        assert_eq!(
            wait_until_busy(&mut two),
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        );
        assert!(two.run("FUNCTION KILL").text().starts_with("BUSY"));
        assert_eq!(two.run("SCRIPT KILL").text(), "OK");
        let error = one.read().text();
        assert!(
            error.contains("Script killed by user with SCRIPT KILL..."),
            "{script}: {error}"
        );
        assert_eq!(one.read().text(), "PONG");
        assert_eq!(two.run("GET x"), Value::Null);
    }
    let code = "#!lua name=l\nredis.register_function('f', function() while true do end end)";
    two.call(&["FUNCTION", "LOAD", code]);
    one.send(&request(&["FCALL", "f", "0"]));
    assert!(wait_until_busy(&mut two).contains("FUNCTION KILL"));
    let stats = two.run("FUNCTION STATS").to_string();
    assert!(
        stats.contains("FCALL") && stats.contains("duration_ms"),
        "{stats}"
    );
    assert_eq!(two.run("FUNCTION KILL").text(), "OK");
    assert!(one.read().text().contains("killed"));
    one.send(&request(&[
        "EVAL",
        "redis.call('set', 'x', 1) while true do end",
        "0",
    ]));
    wait_until_busy(&mut two);
    assert!(two.run("SCRIPT KILL").text().starts_with("UNKILLABLE"));
    assert!(two.run("SHUTDOWN").text().starts_with("BUSY"));
    two.send(b"SHUTDOWN NOSAVE\r\n");
    let mut server = server;
    assert!(server.wait_for_end().success());
}

#[test]
fn a_script_goes_on_when_its_caller_is_gone() {
    let server = Server::start(&["--save", "", "--busy-reply-threshold", "10"]);
    let mut two = server.connect();
    let mut one = server.connect();
    let script = "redis.call('set', 'x', 'begun') local i = 0 while i < 3e7 do i = i + 1 end \
                  redis.call('set', 'x', 'ended')";
    one.send(&request(&["MULTI"]));
    one.send(&request(&["EVAL", script, "0"]));
    one.send(&request(&["SET", "y", "behind"]));
    one.send(&request(&["EXEC"]));
    wait_until_busy(&mut two);
    drop(one);
    wait_for("the end of the script", || {
        (two.run("GET x").text() == "ended").then_some(())
    });
    assert_eq!(two.run("GET y").text(), "behind");
    assert_eq!(two.run("PING").text(), "PONG");
}

#[test]
fn a_transaction_goes_on_behind_a_script_that_stood_still() {
    let server = Server::start(&["--save", "", "--busy-reply-threshold", "10"]);
    let (mut one, mut two) = (server.connect(), server.connect());
    let script = "local i = 0 while i < 2e7 do i = i + 1 end return redis.call('incr', KEYS[1])";
    one.send(&request(&["MULTI"]));
    one.send(&request(&["EVAL", script, "1", "n"]));
    one.send(&request(&["EVAL", "return os.clock() > 0", "0"]));
    one.send(&request(&["INCR", "n"]));
    one.send(&request(&["EXEC"]));
    one.send(&request(&["GET", "n"]));
    wait_until_busy(&mut two);
    for _ in 0..4 {
        one.read();
    }
    assert_eq!(one.read().to_string(), "[1 1 2]");
    assert_eq!(one.read().text(), "2");
    // What was pushed for a client that waits is not served in the middle.
    two.send(&request(&["BLPOP", "list", "0"]));
    let push = "redis.call('rpush', 'list', 'a') local i = 0 while i < 2e7 do i = i + 1 end \
                redis.call('rpush', 'list', 'b') return redis.call('llen', 'list')";
    assert_eq!(eval(&mut one, push, &[], &[]).text(), "2");
    assert_eq!(two.read().to_string(), "[\"list\" \"a\"]");
}

/// A test of the redis crate keeps the server busy this way; such a script did not end.
const WAIT_BY_TIME: &str = "local function now() local t = redis.call('TIME') return t[1] * 1e6 + t[2] end \
                            redis.call('SET', 'x', 'v', 'PX', '40') local start, steps = now(), 0 \
                            for i = 1, 100 do if now() ~= start then steps = steps + 1 end end \
                            while now() < start + 8e4 do end \
                            return {steps, redis.call('EXISTS', 'x'), redis.call('PTTL', 'x')}";

#[test]
fn a_script_can_wait_for_a_time_to_come() {
    let server = Server::start(&["--save", "", "--busy-reply-threshold", "30"]);
    let mut client = server.connect();
    // Keys do not see the time go by.
    let reply = eval(&mut client, WAIT_BY_TIME, &[], &[]);
    assert_eq!(reply.to_string(), "[0 1 40]");
    client.send(&request(&["MULTI"]));
    client.send(&request(&["EVAL", WAIT_BY_TIME, "0"]));
    client.send(&request(&["EXEC"]));
    client.read();
    client.read();
    assert_eq!(client.read().to_string(), "[[0 1 40]]");
    assert_eq!(client.run("EXISTS x").text(), "0");
}

#[test]
fn a_recorded_run_with_scripts_that_stand_still_repeats() {
    let dir = tempfile::tempdir().expect("a folder");
    let journal = dir.path().join("journal");
    let record = journal.to_str().expect("a plain path");
    let server = Server::start(&[
        "--save",
        "",
        "--busy-reply-threshold",
        "10",
        "--record",
        record,
    ]);
    let (mut one, mut two) = (server.connect(), server.connect());
    one.send(&request(&["EVAL", "while true do end", "0"]));
    wait_until_busy(&mut two);
    two.run("SCRIPT KILL");
    one.read();
    let script = "local s = os.clock() local t = {} for i = 1, 40 do t[{}] = i t[tostring({})] = i end \
                  local out = {} for k, v in pairs(t) do out[#out + 1] = v end \
                  out[#out + 1] = tostring(math.random()) out[#out + 1] = tostring(out) \
                  out[#out + 1] = tostring(os.clock() - s) out[#out + 1] = redis.call('info', 'memory') \
                  out[#out + 1] = tostring(print or redis.call) return out";
    eval(&mut one, WAIT_BY_TIME, &[], &[]);
    for _ in 0..5 {
        eval(&mut one, script, &[], &[]);
        eval(
            &mut two,
            "for i = 1, 3e5 do redis.call('incr', KEYS[1]) end return redis.call('time')",
            &["n"],
            &[],
        );
    }
    drop((one, two));
    server.terminate();
    let output = Command::new(RETRACE)
        .arg("replay")
        .arg(&journal)
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
}

/// Leaves 60 MB of strings behind.
const LARGE: &str =
    "local t = {} for i = 1, 60 do t[i] = string.rep('x', 1000000) .. i end return #t";
/// Leaves 20 MB of small tables behind.
const SMALL: &str = "local t = {} for i = 1, 200000 do t[i] = {i, tostring(i)} end return #t";

/// The field of INFO memory with this name.
fn memory(client: &mut Client, name: &str) -> u64 {
    let info = client.run("INFO memory").text();
    let line = info.lines().find_map(|line| line.strip_prefix(name));
    let value = line.and_then(|line| line.strip_prefix(':'));
    value.expect(name).parse().expect("a number")
}

/// One script's garbage once had every key evicted and every later write refused, for good.
#[test]
fn what_scripts_leave_behind_goes_before_any_key_and_a_replay_does_the_same() {
    for (policy, script) in [
        ("allkeys-lru", LARGE),
        ("allkeys-lru", SMALL),
        ("noeviction", LARGE),
        ("noeviction", SMALL),
    ] {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = dir.path().join("journal");
        let record = journal.to_str().expect("a plain path");
        let limit = if script == LARGE { "50mb" } else { "10mb" };
        let server = Server::start(&[
            "--save",
            "",
            "--maxmemory",
            limit,
            "--maxmemory-policy",
            policy,
            "--record",
            record,
        ]);
        let mut client = server.connect();
        for number in 0..1000 {
            client.call(&["SET", &format!("k{number}"), &"v".repeat(1000)]);
        }
        let library =
            format!("#!lua name=l\nredis.register_function('f', function() {script} end)");
        client.call(&["FUNCTION", "LOAD", &library]);
        for call in [&["EVAL", script, "0"], &["FCALL", "f", "0"]] {
            client.call(call);
            for number in 0..3 {
                assert_eq!(client.call(&["SET", "a", &number.to_string()]).text(), "OK");
            }
            assert_eq!(client.run("DBSIZE"), Value::Int(1001), "{policy}");
        }
        drop(client);
        server.terminate();
        let output = Command::new(RETRACE)
            .arg("replay")
            .arg(&journal)
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{policy}: {said}");
    }
}

#[test]
fn what_scripts_leave_behind_goes_without_a_limit_too() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    let library = format!("#!lua name=l\nredis.register_function('f', function() {SMALL} end)");
    client.call(&["FUNCTION", "LOAD", &library]);
    for (call, field) in [
        (&["EVAL", SMALL, "0"], "used_memory_vm_eval"),
        (&["EVAL", LARGE, "0"], "used_memory_vm_eval"),
        (&["FCALL", "f", "0"], "used_memory_vm_functions"),
    ] {
        client.call(call);
        wait_for("the garbage to go", || {
            (memory(&mut client, field) < 1_000_000).then_some(())
        });
    }
}

#[test]
fn nothing_leaves_the_sandbox_or_stays_in_it() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    for (script, error) in [
        ("x = 1", "Attempt to modify a readonly table"),
        ("_G.x = 1", "Attempt to modify a readonly table"),
        ("rawset(_G, 'x', 1)", "Attempt to modify a readonly table"),
        ("setmetatable(_G, {})", "Attempt to modify a readonly table"),
        (
            "getmetatable(_G).__index = {}",
            "Attempt to modify a readonly table",
        ),
        ("redis.call = 1", "Attempt to modify a readonly table"),
        ("string.format = 1", "Attempt to modify a readonly table"),
        (
            "table.insert(cjson, 1)",
            "Attempt to modify a readonly table",
        ),
        (
            "getmetatable('').__index = {}",
            "Attempt to modify a readonly table",
        ),
        (
            "getmetatable('').__add = 1",
            "Attempt to modify a readonly table",
        ),
        ("return os.execute('ls')", "attempt to call field 'execute'"),
        (
            "return io.open('/etc/passwd')",
            "nonexistent global variable 'io'",
        ),
        (
            "return require('os')",
            "nonexistent global variable 'require'",
        ),
        (
            "return debug.getinfo(1)",
            "nonexistent global variable 'debug'",
        ),
        (
            "return loadfile('x')",
            "nonexistent global variable 'loadfile'",
        ),
        (
            "return setfenv(1, {})",
            "nonexistent global variable 'setfenv'",
        ),
        ("return __host", "nonexistent global variable '__host'"),
        (
            "return loadstring(string.dump(function() return 1 end))()",
            "attempt to call a nil value",
        ),
        (
            "return unpack({}, -2147483648, 2147483647)",
            "too many results to unpack",
        ),
        (
            "return unpack({}, 0, 2147483647)",
            "too many results to unpack",
        ),
        (
            "return string.find(string.rep('a', 50000), string.rep('a?', 50000))",
            "pattern too complex",
        ),
        (
            "local function f() return f() + 1 end return f()",
            "stack overflow",
        ),
        (
            "local t = {} for i = 1, 300 do t = setmetatable({}, {__index = t}) end return t.x",
            "loop in gettable",
        ),
    ] {
        let reply = eval(&mut client, script, &[], &[]).text();
        assert!(reply.contains(error), "{script}: {reply}");
    }
    for (script, reply) in [
        // The largest index that there is.
        ("return #{unpack({}, 2147483646, 2147483647)}", "0"),
        // The collector runs while a chunk with a name of its own is parsed.
        (
            "for i = 1, 200 do loadstring(string.rep('local a = {} ', 50) .. string.rep(' ', i), '=' .. string.rep('n', i)) \
             collectgarbage() end return 'ok'",
            "ok",
        ),
        (
            "return loadstring('return [' .. string.rep('=', 100000) .. '[x]' .. string.rep('=', 100000) .. ']')()",
            "x",
        ),
        (
            "return loadstring('--[' .. string.rep('=', 100000) .. '[x')",
            "nil",
        ),
        ("return #bit.tohex(65535, -2147483648)", "8"),
        ("return #cjson.encode(string.rep('\\0', 100000))", "600002"),
    ] {
        let said = eval(&mut client, script, &[], &[]);
        let said = if said == Value::Null {
            "nil".to_owned()
        } else {
            said.text()
        };
        assert_eq!(said, reply, "{script}");
    }
    assert_eq!(client.run("PING").text(), "PONG");
}

#[test]
fn scripts_that_only_eval_brought_are_evicted_oldest_first() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    let kept = client.call(&["SCRIPT", "LOAD", "return 'kept'"]).text();
    for number in 0..501 {
        eval(&mut client, &format!("return {number}"), &[], &[]);
    }
    assert_eq!(client.call(&["EVALSHA", &kept, "0"]).text(), "kept");
    let info = client.run("INFO stats").text();
    assert!(info.contains("evicted_scripts:1\r\n"), "{info}");
    let info = client.run("INFO memory").text();
    assert!(info.contains("number_of_cached_scripts:501\r\n"), "{info}");
}

/// Old scripts may make objects with finalizers, which the collector runs in the middle of whatever allocates. They
/// once could have called the server while it was not theirs to call.
#[test]
fn finalizers_disturb_nobody() {
    let server = Server::start(&["--save", "", "--lua-enable-deprecated-api", "yes"]);
    let mut client = server.connect();
    const LITTER: &str = "
for i = 1, 200 do
  local object = newproxy(true)
  getmetatable(object).__gc = function()
    local called = redis.pcall('incr', 'finalized')
    if type(called) == 'table' then error(called.err) end
    error('a finalizer fails')
  end
end
return redis.call('incr', KEYS[1])";
    for round in 1..=200 {
        let said = eval(&mut client, LITTER, &["count"], &["some", "arguments"]);
        assert_eq!(said, Value::Int(round));
        client.call(&["EVAL", "return {ARGV, KEYS, {1, 2, 3}}", "1", "a", "b"]);
        client.call(&["EVAL", "return redis.call('mget', 'a', 'b', 'c')", "0"]);
    }
    assert_eq!(client.run("PING").text(), "PONG");
}

#[test]
fn long_replies_reach_a_script_and_leave_it() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    let long = "v".repeat(100_000);
    for key in ["a", "b"] {
        client.call(&["SET", key, &long]);
    }
    let Value::Array(values) = eval(&mut client, "return redis.call('mget', 'a', 'b')", &[], &[])
    else {
        panic!("an array is expected");
    };
    assert!(values.iter().all(|value| value.text() == long));
    let said = eval(&mut client, "return ARGV[1] .. KEYS[1]", &[&long], &[&long]);
    assert_eq!(said.text().len(), 200_000);
}

/// What a server tells others of scripts that run, and of such that do not get as far as that.
const TOLD: &[&[&str]] = &[
    &[
        "EVAL",
        "redis.call('set', KEYS[1], 'v') redis.pcall('incr', KEYS[1]) redis.pcall('nope') return 1",
        "1",
        "k",
    ],
    &[
        "EVAL",
        "redis.pcall('get') redis.call('slowlog', 'len') redis.pcall('acl', 'setuser', 'x', '>secret')",
        "0",
    ],
    &[
        "EVAL",
        "redis.setresp(3) redis.call('hgetall', 'x') redis.pcall('blpop', 'none', 0)",
        "0",
    ],
    &[
        "FUNCTION",
        "LOAD",
        "#!lua name=l\nredis.register_function('f', function(k) return redis.call('get', k[1]) end)",
    ],
    &["FCALL", "f", "1", "k"],
    &["FCALL", "f", "-1"],
    &["FCALL_RO", "f", "1", "k"],
    &["FCALL", "none", "0"],
    &["FCALL", "none", "3", "a"],
    &["EVALSHA", "1fa00e76656cc152ad327c13fe365858fd7be306", "0"],
    &["EVALSHA_RO", "short", "0"],
    &["EVAL", "return 1", "2", "k"],
    &["EVAL", "return 1", "-1"],
    &["EVAL", "return 1", "x"],
    &["EVAL", "does not compile", "0"],
    &["EVAL", "#!lua flags=bogus\nreturn 1", "0"],
    &["EVAL_RO", "return redis.call('set', 'a', 'b')", "0"],
    &["EVAL"],
    &["MULTI"],
    &["EVAL", "return redis.call('get', 'x')", "0"],
    &["EVALSHA", "1fa00e76656cc152ad327c13fe365858fd7be306", "0"],
    &["FCALL", "none", "0"],
    &["INCR", "y"],
    &["EXEC"],
];

#[test]
fn the_slow_log_has_what_scripts_call_as_on_a_real_server() {
    const ARGS: [&str; 4] = ["--save", "", "--slowlog-log-slower-than", "0"];
    let Some(real) = oracle_server(&ARGS) else {
        return;
    };
    let ours = Server::start(&ARGS);
    let [ours, real] = [&ours, &real].map(|server| {
        let mut client = server.connect();
        for call in TOLD {
            client.call(call);
        }
        let Value::Array(entries) = client.run("SLOWLOG GET 128") else {
            panic!("an array is expected");
        };
        let shown = entries.into_iter().map(|entry| {
            let Value::Array(fields) = entry else {
                panic!("an array is expected");
            };
            let has_addr = !fields[4].text().is_empty();
            let argv = match &fields[3] {
                Value::Array(argv) => argv.iter().map(Value::text).collect::<Vec<_>>().join(" "),
                other => other.text(),
            };
            (fields[0].clone(), argv, has_addr)
        });
        shown.collect::<Vec<_>>()
    });
    assert_eq!(format!("{ours:#?}"), format!("{real:#?}"));
}

/// With the usual threshold a clock is read for what may take long.
#[test]
fn the_slow_log_has_the_command_that_made_a_script_slow() {
    let server = Server::start(&["--save", "", "--slowlog-log-slower-than", "10000"]);
    let mut client = server.connect();
    const FILL: &str = "for i = 1, 200000 do redis.call('rpush', KEYS[1], 'element') end";
    eval(&mut client, FILL, &["list"], &[]);
    client.run("SLOWLOG RESET");
    const SLOW: &str =
        "for i = 1, 5 do redis.call('sort', KEYS[1], 'alpha') end redis.call('get', 'a')";
    eval(&mut client, SLOW, &["list"], &[]);
    // The calls of SORT, and the script.
    assert_eq!(client.run("SLOWLOG LEN"), Value::Int(6));
}

#[test]
fn who_watches_sees_scripts_that_fail_before_they_start() {
    let Some(real) = oracle_server(&["--save", ""]) else {
        return;
    };
    let ours = Server::start(&["--save", ""]);
    let [ours, real] = [&ours, &real].map(|server| {
        let (mut client, mut monitor) = (server.connect(), server.connect());
        monitor.run("MONITOR");
        for call in TOLD {
            client.call(call);
        }
        client.run("ECHO end");
        let mut lines = Vec::new();
        loop {
            let line = monitor.read().text();
            let (_, rest) = line.split_once('[').expect("a line of a monitor");
            let (source, command) = rest.split_once("] ").expect("a line of a monitor");
            lines.push((source.ends_with("lua"), command.to_owned()));
            if command == "\"ECHO\" \"end\"" {
                return lines;
            }
        }
    });
    for (ours, real) in ours.iter().zip(&real) {
        assert_eq!(ours, real);
    }
    assert_eq!(ours.len(), real.len());
}

/// A function of Lua that takes for ever has no ticks, so the loop does not turn and takes no signal.
#[test]
fn signals_end_a_server_that_hangs_in_a_function_of_lua() {
    const HANGS: &str = "return string.rep('a', 1e6):find(string.rep('a?', 40) .. 'b')";
    for (first, name) in [(Signal::TERM, "SIGTERM"), (Signal::INT, "SIGINT")] {
        let mut server = Server::start(&["--save", ""]);
        let mut client = server.connect();
        client.send(&request(&["EVAL", HANGS, "0"]));
        thread::sleep(Duration::from_millis(500));
        server.signal(first);
        thread::sleep(Duration::from_millis(300));
        assert!(server.is_alive());
        server.signal(Signal::INT);
        assert_eq!(server.wait_for_end().code(), Some(1));
        let log = server.log();
        assert!(
            log.contains(&format!("Received {name} scheduling shutdown...")),
            "{log}"
        );
        assert!(log.contains("You insist... exiting now."), "{log}");
    }
}

#[test]
fn a_script_that_cannot_allocate_gets_an_error() {
    let server = Server::start(&["--save", ""]);
    let mut client = server.connect();
    client.run("SET k v");
    // 100 MB more than it has; the figures are of pages.
    let pages = std::fs::read_to_string(format!("/proc/{}/statm", server.pid()));
    let pages = pages.expect("Linux says so");
    let pages: u64 = pages
        .split(' ')
        .next()
        .and_then(|text| text.parse().ok())
        .expect("a number");
    let bytes = Some(pages * rustix::param::page_size() as u64 + 100_000_000);
    let limit = rustix::process::Rlimit {
        current: bytes,
        maximum: bytes,
    };
    let pid = rustix::process::Pid::from_raw(server.pid() as i32);
    rustix::process::prlimit(pid, rustix::process::Resource::As, limit)
        .expect("a limit can be set");
    for script in [
        "local s = 'x' while true do s = s .. s end",
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {string.rep('x', 1000000)} while true do t = {table.concat({t[1], t[1]})} end",
    ] {
        let said = eval(&mut client, script, &[], &[]).text();
        assert!(said.starts_with("ERR "), "{said}");
        assert!(said.contains("not enough memory"), "{said}");
        assert_eq!(client.run("GET k").text(), "v");
    }
    // What the script goes on with after it has caught the error is its own.
    let caught = "local ok, why = pcall(function() local s = 'x' while true do s = s .. s end end) return {tostring(ok), why}";
    let said = format!("{:?}", eval(&mut client, caught, &[], &[]));
    let want = Value::Array(
        ["false", "not enough memory"]
            .map(|text| Value::Bulk(text.into()))
            .into(),
    );
    assert_eq!(said, format!("{want:?}"));
}

/// redis-cli takes no notice of a refusal of SCRIPT DEBUG, and once ran the script for good.
#[test]
fn a_script_to_be_debugged_is_not_run() {
    let Some(cli) = oracle_program("redis-cli") else {
        return;
    };
    let server = Server::start(&["--save", ""]);
    let script = server.path("script.lua");
    std::fs::write(&script, "redis.call('set', 'ran', 'yes')").expect("writable");
    for mode in ["--ldb", "--ldb-sync-mode"] {
        let output = Command::new(&cli)
            .args(["-p", &server.port().to_string(), mode, "--eval"])
            .arg(&script)
            .stdin(std::process::Stdio::null())
            .output()
            .expect("it runs");
        assert!(!output.status.success(), "{output:?}");
        assert_eq!(server.connect().run("GET ran"), Value::Null);
    }
}
