//! Grammar: random commands for every family.
//!
//! `tests/grammar/<family>.txt` has a rule a line: `[a]` may be left out, `(a|b)` is one of them; small words stand for
//! values ([`word`]), all others for themselves.

use std::fs;
use std::path::Path;

use retrace::script::sha1_hex;

use super::Rng;

/// What words are made from.
pub struct Words {
    pub rng: Rng,
    /// Counts the stream IDs that were made to be higher than all before.
    ids: u64,
}

impl Words {
    /// The same words for the same seed.
    pub fn new(seed: u64) -> Words {
        Words {
            rng: Rng::new(seed),
            ids: 0,
        }
    }
}

/// What scripts do in many programs, and what they may not do.
const SCRIPTS: &[&str] = &[
    "return 1",
    "return redis.call('get', KEYS[1])",
    "return redis.call('set', KEYS[1], ARGV[1])",
    "return {KEYS[1], ARGV[1], #KEYS, #ARGV}",
    "return redis.pcall('incr', KEYS[1])",
    "return redis.call('incr', KEYS[1])",
    "local v = redis.call('lrange', KEYS[1], 0, -1) return v",
    "local v = redis.call('hgetall', KEYS[1]) return v",
    "redis.setresp(3) return redis.call('hgetall', KEYS[1])",
    "redis.call('set', KEYS[1], 'x') return redis.call('lpush', KEYS[1], 'x')",
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end",
    "return redis.error_reply(ARGV[1] or 'ERR none')",
    "return redis.status_reply('FINE')",
    "return {ok = 'FINE'}",
    "return {err = 'MINE is wrong'}",
    "error('mine')",
    "error({err = 'MINE of a table'})",
    "return unknown",
    "return {1, 2, nil, 4}",
    "return {1.9, true, false, {'deep', {double = 1.5}}}",
    "return redis.call('nosuch')",
    "return redis.call('get')",
    "return redis.call()",
    "return redis.call('subscribe', 'c')",
    "return tostring(redis.call('exists', KEYS[1], KEYS[2] or 'k')) .. ARGV[1]",
    "return cjson.encode({KEYS, ARGV})",
    "return redis.sha1hex(ARGV[1] or '')",
    "return",
    "syntax error",
    "",
    "#!lua flags=no-writes\nreturn redis.call('get', KEYS[1])",
    "#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], '1')",
    "#!lua\nreturn redis.call('set', KEYS[1], ARGV[1])",
    "#!lua name=x\nreturn 1",
    "#!lua flags=none\nreturn 1",
    "#!py\nreturn 1",
];

const LIBRARIES: &[&str] = &[
    "#!lua name=one\nredis.register_function('put', function(k, a) return redis.call('set', k[1], a[1]) end)",
    "#!lua name=one\nredis.register_function('put', function(k, a) return redis.call('set', k[1], a[1]) end)\n\
     redis.register_function{function_name='look', callback=function(k, a) return redis.call('get', k[1]) end, \
     flags={'no-writes'}}",
    "#!lua name=two\nredis.register_function{function_name='take', callback=function(k, a) return redis.call('del', \
     k[1]) end, description='takes'}\nredis.register_function('fails', function() error('mine') end)",
    "#!lua name=two\nredis.register_function('put', function(k, a) return 1 end)",
    "#!lua name=two\nreturn 1",
    "#!lua\nredis.register_function('put', function(k, a) return 1 end)",
    "#!lua name=three\nredis.register_function('put')",
    "#!lua name=three\nredis.call('get', 'x')",
    "#!lua name=bad-name\nreturn 1",
    "#!js name=one\nreturn 1",
    "no library",
];

/// The rules of a family.
pub fn rules(family: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/grammar")
        .join(family)
        .with_extension("txt");
    let text = fs::read_to_string(&path).expect("the family's grammar");
    let rules = text.lines().filter(|line| !line.is_empty());
    rules.map(str::to_owned).collect()
}

/// The word that `name` stands for.
fn word(name: &str, words: &mut Words) -> Vec<u8> {
    let rng = &mut words.rng;
    const INTS: &[i64] = &[
        0,
        1,
        -1,
        2,
        7,
        10,
        100,
        255,
        256,
        -128,
        9999,
        i64::MAX,
        i64::MIN,
        i64::MAX - 1,
        // Where a product with a width of up to 64, or a sum of two, leaves 64 bits or 32.
        1 << 31,
        (1 << 31) - 1,
        -(1 << 31),
        1 << 32,
        (1 << 32) - 1,
        1 << 57,
        1 << 60,
        1 << 61,
        1 << 62,
        -(1 << 61),
        i64::MIN + 1,
    ];
    const ODD: &[&str] = &[
        "",
        " ",
        "0x10",
        "1e3",
        "-0",
        "+1",
        "01",
        "1.5",
        "9223372036854775808",
        "abc",
        "nan",
        "inf",
        "-",
        "\n",
    ];
    let text = match name {
        "key" => format!("key:{}", rng.below(8)),
        "value" => match rng.below(12) {
            0 => String::new(),
            1 => rng.pick(ODD).to_string(),
            2 => "long".repeat(rng.below(40)),
            3 => "x".repeat(44 + rng.below(2)),
            4 => format!("{}.{}", rng.below(100), rng.below(100)),
            5 => {
                let len = rng.below(12);
                return rng.bytes(len);
            }
            6..9 => rng.pick(INTS).to_string(),
            _ => "hello world"[rng.below(6)..].to_owned(),
        },
        "int" if rng.one_in(12) => rng.pick(ODD).to_string(),
        "int" => rng.pick(INTS).to_string(),
        "small" => (rng.below(40) as i64 - i64::from(rng.one_in(20))).to_string(),
        "index" => (rng.below(30) as i64 - 15).to_string(),
        "float" => rng
            .pick(&[
                "0.1",
                "1",
                "-2.5",
                "3e5",
                "1e-5",
                "100",
                "0",
                "nan",
                "abc",
                "1e308",
                "12345678901234567",
            ])
            .to_string(),
        "bad" => rng
            .pick(&[
                "0",
                "-1",
                "abc",
                "",
                "9223372036854775807",
                "-9223372036854775808",
                "1.5",
            ])
            .to_string(),
        // Long gone, or so far away that both servers agree about it.
        "at" => rng
            .pick(&[
                "1",
                "99999999999",
                "88888888888",
                "99999999999999",
                "9223372036854775807",
                "0",
                "-1",
                "abc",
            ])
            .to_string(),
        "far" => rng.pick(&["99999999999", "88888888888"]).to_string(),
        "farms" => rng.pick(&["99999999999999", "88888888888888"]).to_string(),
        "db" => rng
            .pick(&["0", "0", "1", "2", "15", "16", "-1", "x"])
            .to_string(),
        "bit" => rng.pick(&["0", "1", "1", "2", "x"]).to_string(),
        "offset" => rng
            .pick(&["0", "1", "7", "8", "100", "1000", "-1", "4294967296", "x"])
            .to_string(),
        "width" => rng
            .pick(&[
                "u8", "i8", "u4", "i5", "u63", "i64", "u1", "i1", "u64", "i65", "u0", "x",
            ])
            .to_string(),
        "place" => rng
            .pick(&["0", "3", "#0", "#2", "17", "#7", "100", "-1", "#x"])
            .to_string(),
        "pattern" => rng
            .pick(&[
                "*",
                "key:*",
                "key:[1-3]",
                "key:?",
                "k*:[^2]",
                "nothing",
                "key:\\1",
                "[",
                "*:*4",
            ])
            .to_string(),
        "item" => match rng.below(8) {
            0 => String::new(),
            1 => "long".repeat(rng.below(60)),
            2 => rng.pick(INTS).to_string(),
            3 => "x".repeat(rng.below(6) * 1000),
            _ => format!("i{}", rng.below(6)),
        },
        "field" | "member" => match rng.below(16) {
            0 => String::new(),
            1 => "long".repeat(rng.below(30)),
            2 => rng.pick(INTS).to_string(),
            3 => {
                let len = rng.below(5);
                return rng.bytes(len);
            }
            _ => format!("m{}", rng.below(24)),
        },
        "score" => match rng.below(4) {
            0 => rng
                .pick(&[
                    "inf",
                    "-inf",
                    "+inf",
                    "nan",
                    "abc",
                    "1e400",
                    "-0",
                    "0x10",
                    "",
                    " 1",
                    "1e-320",
                    "infinity",
                    "3.0000000000000001",
                    "12345678901234567890",
                ])
                .to_string(),
            1 => format!("{}.{}", rng.below(100), rng.below(1000)),
            2 => format!("-{}e{}", rng.below(100), rng.below(20)),
            _ => rng.below(30).to_string(),
        },
        "bound" => {
            let open = if rng.one_in(4) { "(" } else { "" };
            match rng.below(10) {
                0 => format!("{open}-inf"),
                1 => format!("{open}+inf"),
                2 => rng
                    .pick(&["abc", "nan", "(", "", "((1", "1e400"])
                    .to_string(),
                _ => format!("{open}{}", rng.below(40) as i64 - 5),
            }
        }
        "lex" => match rng.below(10) {
            0 | 1 => "-".to_owned(),
            2 | 3 => "+".to_owned(),
            4 => rng.pick(&["", "m1", "[", "(", "[\u{0}"]).to_string(),
            5..8 => format!("[m{}", rng.below(24)),
            _ => format!("(m{}", rng.below(24)),
        },
        "lon" => match rng.below(20) {
            0 => rng
                .pick(&["181", "-181", "abc", "nan", "180", "-180"])
                .to_string(),
            _ => format!("{}.{:05}", rng.below(40) as i64 - 20, rng.below(100_000)),
        },
        "lat" => match rng.below(20) {
            0 => rng
                .pick(&["86", "-86", "abc", "85.05112878", "-85.05112878"])
                .to_string(),
            _ => format!("{}.{:05}", rng.below(60) as i64 - 30, rng.below(100_000)),
        },
        "unit" => rng.pick(&["m", "km", "mi", "ft", "KM", "x"]).to_string(),
        "radius" => rng
            .pick(&[
                "0", "1", "100", "500.5", "3000", "100000", "20000000", "-1", "abc",
            ])
            .to_string(),
        "sid" => match rng.below(30) {
            0 => rng
                .pick(&[
                    "0",
                    "0-0",
                    "abc",
                    "1-",
                    "-1",
                    "1-2-3",
                    "18446744073709551615",
                    "18446744073709551616-1",
                    "5-18446744073709551615",
                ])
                .to_string(),
            1 => format!("{}-*", rng.below(60)),
            2..10 => rng.below(80).to_string(),
            _ => format!("{}-{}", rng.below(80), rng.below(5)),
        },
        "range" => match rng.below(8) {
            0 | 1 => "-".to_owned(),
            2 | 3 => "+".to_owned(),
            4 => format!("({}-{}", rng.below(80), rng.below(5)),
            5 => rng.pick(&["(-", "(+", "abc", "("]).to_string(),
            _ => rng.below(80).to_string(),
        },
        "newid" => {
            words.ids += 1 + u64::from(rng.one_in(3));
            format!("{}-{}", 1000 + words.ids / 4, words.ids % 4)
        }
        "group" => format!("g{}", rng.below(3)),
        "consumer" => format!("c{}", rng.below(3)),
        "numkeys" => rng
            .pick(&["1", "1", "1", "2", "2", "2", "0", "-1", "x", "3"])
            .to_string(),
        "timeout" => rng
            .pick(&[
                "0.01", "0.001", "0.01", "0.002", "-1", "abc", "1e400", "nan",
            ])
            .to_string(),
        "script" => rng.pick(SCRIPTS).to_string(),
        "sha" => match rng.below(12) {
            0 => rng
                .pick(&["", "abc", "ffffffffffffffffffffffffffffffffffffffff"])
                .to_string(),
            1 => sha1_hex(rng.pick(SCRIPTS).as_bytes()).to_uppercase(),
            _ => sha1_hex(rng.pick(SCRIPTS).as_bytes()),
        },
        "function" => rng
            .pick(&["put", "put", "take", "look", "look", "fails", "none", ""])
            .to_string(),
        "library" => rng
            .pick(&["one", "two", "one*", "none", "*", ""])
            .to_string(),
        "libcode" => rng.pick(LIBRARIES).to_string(),
        literal => literal.to_owned(),
    };
    text.into_bytes()
}

/// Takes one rule's words up to the end of its group; `is_on` says whether they are wanted.
fn expand<'a>(rule: &'a str, words: &mut Words, is_on: bool, out: &mut Vec<Vec<u8>>) -> &'a str {
    let mut rest = rule;
    loop {
        rest = rest.trim_start();
        match rest.as_bytes().first() {
            None | Some(b']' | b')' | b'|') => return rest,
            Some(b'[') => {
                let wanted = is_on && words.rng.one_in(2);
                rest = expand(&rest[1..], words, wanted, out)
                    .strip_prefix(']')
                    .expect("a closed group");
            }
            Some(b'(') => {
                // Which of the alternatives, told by counting those at this depth.
                let (mut depth, mut count) = (0, 1);
                for byte in rest.bytes() {
                    match byte {
                        b'(' | b'[' => depth += 1,
                        b')' | b']' => depth -= 1,
                        b'|' if depth == 1 => count += 1,
                        _ => {}
                    }
                    if depth == 0 {
                        break;
                    }
                }
                let choice = words.rng.below(count);
                for index in 0..count {
                    rest = expand(&rest[1..], words, is_on && index == choice, out);
                }
                rest = rest.strip_prefix(')').expect("a closed group");
            }
            Some(_) => {
                let end = rest
                    .find([' ', '[', ']', '(', ')', '|'])
                    .unwrap_or(rest.len());
                if is_on {
                    out.push(word(&rest[..end], words));
                }
                rest = &rest[end..];
            }
        }
    }
}

/// A command out of the rules; now and then one that is wrong.
pub fn generated(rules: &[String], words: &mut Words) -> Vec<Vec<u8>> {
    let mut command = Vec::new();
    let rule = words.rng.pick(rules).as_str();
    expand(rule, words, true, &mut command);
    // A wrong word here would bring in chance, a deadline soon, a wait without end, or a cursor between buckets, where
    // what lies behind depends on the hash.
    const SOUND: [&str; 15] = [
        "SCAN",
        "SPOP",
        "SRANDMEMBER",
        "HRANDFIELD",
        "ZRANDMEMBER",
        "SSCAN",
        "HSCAN",
        "ZSCAN",
        "BLPOP",
        "BRPOP",
        "BLMOVE",
        "BLMPOP",
        "BZPOPMIN",
        "BZPOPMAX",
        "BZMPOP",
    ];
    let is_same_scored = command.get(1).is_some_and(|key| key == b"same");
    let name = String::from_utf8_lossy(&command[0]).into_owned();
    if SOUND.contains(&name.as_str())
        || is_same_scored
        || rule.contains("BLOCK")
        || rule.contains("bad")
    {
        return command;
    }
    match words.rng.below(40) {
        0 => drop(command.pop()),
        1 => command.push(word("int", words)),
        2 => {
            let at = words.rng.below(command.len());
            command[at] = word("int", words);
        }
        3 => command[0].make_ascii_lowercase(),
        _ => {}
    }
    if command.is_empty() {
        command.push(b"PING".to_vec());
    }
    command
}
