//! Variety: random commands that make large data sets of every type in every encoding, the same from the same seed.
//!
//! A key's name tells its type, so that most commands find what they are for; limits of encodings change in between, so
//! that values outlive the limits under which they were made. Nothing here depends on the clock or on the order in which
//! a server keeps members, and all deadlines are far away. May not: expect anything.

use std::collections::BTreeMap;

use super::Rng;

/// A command's arguments.
pub type Args = Vec<Vec<u8>>;

/// The databases that are used.
const DBS: &[u32] = &[0, 1, 9, 15];

/// Numbers at which an encoding of integers ends, and around which another one begins.
const BORDERS: &[i64] = &[
    0,
    -1,
    12,
    13,
    127,
    128,
    -128,
    -129,
    255,
    256,
    4095,
    4096,
    -4096,
    -4097,
    8191,
    8192,
    i16::MAX as i64,
    i16::MAX as i64 + 1,
    i16::MIN as i64,
    i16::MIN as i64 - 1,
    (1 << 23) - 1,
    1 << 23,
    -(1 << 23),
    -(1 << 23) - 1,
    i32::MAX as i64,
    i32::MAX as i64 + 1,
    i32::MIN as i64,
    i32::MIN as i64 - 1,
    u32::MAX as i64,
    i64::MAX,
    i64::MIN,
];

/// Lengths at which an encoding of strings, or of their lengths, ends.
const LENGTHS: &[usize] = &[
    1, 4, 11, 12, 19, 20, 21, 22, 44, 45, 63, 64, 65, 127, 128, 255, 256, 4095, 4096, 8191, 8192,
    8193, 16383, 16384,
];

/// What looks like a number and is none, or not in its only form.
const ODD: &[&str] = &[
    "",
    " ",
    "-0",
    "+5",
    "007",
    " 5",
    "1.0",
    "1e3",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551615",
    "inf",
];

/// Limits of encodings, and values that make something of them.
const LIMITS: &[(&str, &[&str])] = &[
    (
        "list-max-listpack-size",
        &["-5", "-4", "-3", "-2", "-1", "1", "3", "128"],
    ),
    ("list-compress-depth", &["0", "0", "1", "2"]),
    ("set-max-intset-entries", &["0", "4", "100", "512"]),
    ("set-max-listpack-entries", &["0", "4", "128", "128"]),
    ("set-max-listpack-value", &["8", "64"]),
    ("hash-max-listpack-entries", &["0", "4", "128", "512"]),
    ("hash-max-listpack-value", &["8", "64", "5000"]),
    ("zset-max-listpack-entries", &["0", "4", "128", "128"]),
    ("zset-max-listpack-value", &["8", "64"]),
    ("stream-node-max-entries", &["0", "1", "3", "100"]),
    ("stream-node-max-bytes", &["0", "100", "4096"]),
];

/// A random value of each limit, as arguments of a server.
pub fn limits(rng: &mut Rng) -> Vec<String> {
    let mut args = Vec::new();
    for (name, values) in LIMITS {
        args.extend([format!("--{name}"), (*rng.pick(values)).to_owned()]);
    }
    args
}

/// What has been said of a stream, so that later commands can name it.
#[derive(Clone, Default)]
struct Said {
    ids: Vec<String>,
}

/// Makes commands.
pub struct Variety {
    rng: Rng,
    /// Keys of each type.
    keys: usize,
    /// How many elements a command may add.
    most: usize,
    /// Counts up stream IDs.
    ms: u64,
    /// Whether the key that was named last takes few and short elements only, so that it stays packed.
    is_tame: bool,
    streams: BTreeMap<Vec<u8>, Said>,
    /// Whether fields get deadlines.
    pub has_field_deadlines: bool,
    /// A deadline that is not far away, for half of the keys and fields that get one.
    pub soon_ms: Option<i64>,
}

fn args(words: &[&str]) -> Args {
    words.iter().map(|word| word.as_bytes().to_vec()).collect()
}

impl Variety {
    /// `keys` of each type, and commands that add at most `most` elements each.
    pub fn new(seed: u64, keys: usize, most: usize) -> Variety {
        Variety {
            rng: Rng::new(seed),
            keys,
            most,
            ms: 1,
            is_tame: false,
            streams: BTreeMap::new(),
            has_field_deadlines: true,
            soon_ms: None,
        }
    }

    /// The next command.
    pub fn command(&mut self) -> Args {
        match self.rng.below(100) {
            0..4 => {
                let dbid = *self.rng.pick(DBS);
                args(&["SELECT", &dbid.to_string()])
            }
            4 => {
                let (name, values) = *self.rng.pick(LIMITS);
                let value = *self.rng.pick(values);
                args(&["CONFIG", "SET", name, value])
            }
            5 => self.library(),
            6..13 => self.keyspace(),
            13..30 => self.string(),
            30..45 => self.list(),
            45..58 => self.set(),
            58..72 => self.hash(),
            72..85 => self.zset(),
            _ => self.stream(),
        }
    }

    /// A key of this type, at times with a name that is a matter of its own.
    fn key(&mut self, kind: &str) -> Vec<u8> {
        let index = self.rng.below(self.keys);
        self.is_tame = index % 2 == 1;
        match (kind, index) {
            ("string", 0) => Vec::new(),
            ("string", 1) => b"12345".to_vec(),
            ("string", 2) => b"-9223372036854775808".to_vec(),
            ("list", 0) => b"a name that repeats, ".repeat(20),
            ("set", 0) => b"\x00\xff\r\n \"\\".to_vec(),
            ("hash", 0) => vec![0xfe; 70],
            ("zset", 0) => b"70000".to_vec(),
            _ => format!("{kind}:{index}").into_bytes(),
        }
    }

    fn kind(&mut self) -> &'static str {
        const KINDS: &[&str] = &["string", "list", "set", "hash", "zset", "stream"];
        KINDS[self.rng.below(KINDS.len())]
    }

    fn deadline(&mut self) -> String {
        if let Some(soon) = self.soon_ms
            && self.rng.one_in(2)
        {
            return soon.to_string();
        }
        match self.rng.below(4) {
            0 => "4000000000000".to_owned(),
            1 => "70368744177663".to_owned(), // the last that a field may have
            _ => (4_000_000_000_000 + self.rng.below(1 << 40)).to_string(),
        }
    }

    fn int(&mut self) -> i64 {
        match self.rng.below(3) {
            0 => *self.rng.pick(BORDERS),
            1 => self.rng.below(2000) as i64 - 1000,
            _ => {
                let bits = self.rng.below(64);
                (self.rng.next() >> bits) as i64
            }
        }
    }

    /// Any bytes: most of them short.
    fn text(&mut self) -> Vec<u8> {
        if self.is_tame {
            return match self.rng.below(3) {
                0 => (self.rng.below(80_000) as i64 - 5000)
                    .to_string()
                    .into_bytes(),
                _ => format!("m{}", self.rng.below(40)).into_bytes(),
            };
        }
        match self.rng.below(16) {
            0..5 => self.int().to_string().into_bytes(),
            5 => self.rng.pick(ODD).as_bytes().to_vec(),
            6 => {
                let len = *self.rng.pick(LENGTHS);
                self.rng.bytes(len)
            }
            7 => {
                let len = *self.rng.pick(LENGTHS);
                let word = *self
                    .rng
                    .pick(&["x", "ab", "a sentence with an end. ", "0", "\0"]);
                word.bytes().cycle().take(len).collect()
            }
            8 => self.prose(),
            9 => {
                let len = self.rng.below(100);
                self.rng.bytes(len)
            }
            _ => {
                let number = self.rng.below(self.most * 2);
                format!("m{number}").into_bytes()
            }
        }
    }

    /// Words that come again at random, which compress in part.
    fn prose(&mut self) -> Vec<u8> {
        const WORDS: &[&str] = &["to ", "be ", "or ", "not ", "question ", "1600 ", "\n"];
        let mut text = Vec::new();
        for _ in 0..self.rng.below(300) {
            match self.rng.below(8) {
                0 => text.push(self.rng.next() as u8),
                _ => text.extend_from_slice(self.rng.pick(WORDS).as_bytes()),
            }
        }
        text
    }

    /// How many elements a command adds: few most of the time.
    fn count(&mut self) -> usize {
        1 + match self.rng.below(8) {
            _ if self.is_tame => self.rng.below(4),
            0 => self.rng.below(self.most),
            1 | 2 => self.rng.below(self.most / 8 + 1),
            _ => self.rng.below(6),
        }
    }

    fn texts(&mut self, command: &mut Args, count: usize) {
        for _ in 0..count {
            let text = self.text();
            command.push(text);
        }
    }

    fn library(&mut self) -> Args {
        let name = format!("library{}", self.rng.below(3));
        if self.rng.one_in(4) {
            return args(&["FUNCTION", "DELETE", &name]);
        }
        let filler = "-- what a function does\n".repeat(self.rng.below(20));
        let number = self.rng.below(100);
        let code = format!(
            "#!lua name={name}\n{filler}redis.register_function{{function_name='{name}_f', \
             callback=function() return {number} end, flags={{'no-writes'}}, description='d{number}'}}\n\
             redis.register_function('{name}_g', function(keys) return redis.call('GET', keys[1]) end)"
        );
        args(&["FUNCTION", "LOAD", "REPLACE", &code])
    }

    fn keyspace(&mut self) -> Args {
        let kind = self.kind();
        let (from, to) = (self.key(kind), self.key(kind));
        let dbid = self.rng.pick(DBS).to_string().into_bytes();
        let mut command = match self.rng.below(12) {
            0 => vec![b"RENAME".to_vec(), from, to],
            1 => vec![b"COPY".to_vec(), from, to, b"REPLACE".to_vec()],
            2 => vec![b"COPY".to_vec(), from, to, b"DB".to_vec(), dbid],
            3 => vec![b"MOVE".to_vec(), from, dbid],
            4 => vec![b"PERSIST".to_vec(), from],
            5 if self.rng.one_in(3) => {
                let other = self.rng.pick(DBS).to_string().into_bytes();
                vec![b"SWAPDB".to_vec(), dbid, other]
            }
            6 if self.rng.one_in(2) => vec![b"DEL".to_vec(), from],
            _ => vec![b"PEXPIREAT".to_vec(), from],
        };
        if command[0] == b"PEXPIREAT" {
            let deadline = match self.rng.below(6) {
                0 => "9000000000000000000".to_owned(),
                _ => self.deadline(),
            };
            command.push(deadline.into_bytes());
        }
        command
    }

    fn string(&mut self) -> Args {
        let key = self.key("string");
        let name = *self.rng.pick(&[
            "SET",
            "SET",
            "SET",
            "SET",
            "APPEND",
            "SETRANGE",
            "SETBIT",
            "INCRBY",
            "INCRBYFLOAT",
            "PFADD",
            "LARGE",
        ]);
        let mut command = vec![name.as_bytes().to_vec(), key];
        match name {
            "SET" => {
                self.texts(&mut command, 1);
                if self.rng.one_in(5) {
                    let deadline = self.deadline();
                    command.extend(args(&["PXAT", &deadline]));
                }
            }
            "APPEND" => self.texts(&mut command, 1),
            "SETRANGE" => {
                command.push(self.rng.below(300).to_string().into_bytes());
                self.texts(&mut command, 1);
            }
            "SETBIT" => {
                let bit = self.rng.below(2000).to_string();
                let on = self.rng.below(2).to_string();
                command.extend(args(&[&bit, &on]));
            }
            "INCRBY" => command.push(self.int().to_string().into_bytes()),
            "INCRBYFLOAT" => {
                let number = *self
                    .rng
                    .pick(&["0.1", "3", "-2.5e-3", "1e10", "123456.789"]);
                command.push(number.as_bytes().to_vec());
            }
            "PFADD" => {
                let index = self.rng.below(self.keys);
                command[1] = format!("hll:{index}").into_bytes();
                let count = self.count();
                self.texts(&mut command, count);
            }
            _ => {
                command[0] = b"SET".to_vec();
                let len = self.rng.below(self.most * 300);
                let value = match self.rng.below(3) {
                    0 => self.rng.bytes(len),
                    1 => vec![b'z'; len],
                    _ => self.prose().iter().copied().cycle().take(len).collect(),
                };
                command.push(value);
            }
        }
        command
    }

    fn list(&mut self) -> Args {
        let key = self.key("list");
        let name = *self.rng.pick(&[
            "RPUSH",
            "RPUSH",
            "LPUSH",
            "LPUSH",
            "LPOP",
            "RPOP",
            "LINSERT",
            "LSET",
            "LREM",
            "LTRIM",
            "LMOVE",
            "BIG",
            "THRESHOLD",
        ]);
        let mut command = vec![name.as_bytes().to_vec(), key];
        let index = |rng: &mut Rng| (rng.below(60) as i64 - 30).to_string().into_bytes();
        match name {
            "RPUSH" | "LPUSH" => {
                let count = self.count();
                self.texts(&mut command, count);
            }
            "LPOP" | "RPOP" => command.push(self.rng.below(5).to_string().into_bytes()),
            "LINSERT" => {
                let place = *self.rng.pick(&["BEFORE", "AFTER"]);
                command.push(place.as_bytes().to_vec());
                self.texts(&mut command, 2);
            }
            "LSET" => {
                command.push(index(&mut self.rng));
                self.texts(&mut command, 1);
            }
            "LREM" => {
                command.push(index(&mut self.rng));
                self.texts(&mut command, 1);
            }
            "LTRIM" => {
                let (from, to) = (self.rng.below(5), self.rng.below(8) + 1);
                command.extend(args(&[&from.to_string(), &format!("-{to}")]));
            }
            "LMOVE" => {
                command.push(self.key("list"));
                for _ in 0..2 {
                    let side = *self.rng.pick(&["LEFT", "RIGHT"]);
                    command.push(side.as_bytes().to_vec());
                }
            }
            "BIG" => {
                command[0] = self.rng.pick(&["RPUSH", "LPUSH"]).as_bytes().to_vec();
                let most = *self.rng.pick(&[400, 60_000]);
                let len = 8_000 + self.rng.below(most);
                let big = match self.rng.below(2) {
                    0 => self.rng.bytes(len),
                    _ => b"a big element "
                        .iter()
                        .copied()
                        .cycle()
                        .take(len)
                        .collect(),
                };
                command.push(big);
                self.texts(&mut command, 1);
            }
            _ => {
                let bytes = *self.rng.pick(&["0", "0", "60", "1000"]);
                return args(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", bytes]);
            }
        }
        command
    }

    fn set(&mut self) -> Args {
        let key = self.key("set");
        let name = *self.rng.pick(&[
            "INTS",
            "INTS",
            "INTS",
            "SADD",
            "SADD",
            "SADD",
            "SREM",
            "SREM",
            "SMOVE",
            "SUNIONSTORE",
            "SINTERSTORE",
            "SDIFFSTORE",
        ]);
        let mut command = vec![name.as_bytes().to_vec(), key];
        match name {
            "INTS" => {
                command[0] = b"SADD".to_vec();
                let bits = *self.rng.pick(&[16, 16, 32, 64]);
                for _ in 0..self.count() {
                    let number = match self.rng.below(20) {
                        0 if bits == 64 => *self.rng.pick(BORDERS),
                        _ => (self.rng.next() as i64) >> (64 - bits),
                    };
                    command.push(number.to_string().into_bytes());
                }
            }
            "SADD" => {
                let count = self.count();
                self.texts(&mut command, count);
            }
            "SREM" => self.texts(&mut command, 5),
            "SMOVE" => {
                command.push(self.key("set"));
                self.texts(&mut command, 1);
            }
            _ => {
                // The encoding of what is stored follows the order in which members come.
                let index = self.rng.below(self.keys);
                command[1] = format!("stored:{index}").into_bytes();
                for _ in 0..2 {
                    let key = self.key("set");
                    command.push(key);
                }
            }
        }
        command
    }

    fn field(&mut self) -> Vec<u8> {
        match self.rng.below(4) {
            0 => self.text(),
            _ if self.is_tame => format!("f{}", self.rng.below(12)).into_bytes(),
            _ => format!("f{}", self.rng.below(self.most)).into_bytes(),
        }
    }

    fn hash(&mut self) -> Args {
        let key = self.key("hash");
        let mut names = vec![
            "HSET",
            "HSET",
            "HSET",
            "HDEL",
            "HINCRBY",
            "HINCRBYFLOAT",
            "HSETNX",
        ];
        if self.has_field_deadlines {
            names.extend(["HPEXPIREAT", "HPEXPIREAT", "HPERSIST", "HSETEX"]);
        }
        let name = *self.rng.pick(&names);
        let mut command = vec![name.as_bytes().to_vec(), key];
        match name {
            "HSET" | "HSETNX" => {
                let count = if name == "HSET" { self.count() } else { 1 };
                for _ in 0..count {
                    let field = self.field();
                    command.push(field);
                    self.texts(&mut command, 1);
                }
            }
            "HDEL" => {
                for _ in 0..3 {
                    let field = self.field();
                    command.push(field);
                }
            }
            "HINCRBY" => {
                command.push(self.field());
                command.push(self.int().to_string().into_bytes());
            }
            "HINCRBYFLOAT" => {
                command.push(self.field());
                command.push(b"0.25".to_vec());
            }
            _ => {
                let deadline = self.deadline();
                match name {
                    "HPEXPIREAT" => command.push(deadline.into_bytes()),
                    "HSETEX" => command.extend(args(&["PXAT", &deadline])),
                    _ => {}
                }
                let count = 1 + self.rng.below(6);
                command.extend(args(&["FIELDS", &count.to_string()]));
                for _ in 0..count {
                    let field = self.field();
                    command.push(field);
                    if name == "HSETEX" {
                        self.texts(&mut command, 1);
                    }
                }
            }
        }
        command
    }

    fn score(&mut self) -> Vec<u8> {
        const ODD_SCORES: &[&str] = &[
            "inf",
            "-inf",
            "-0",
            "0",
            "5e-324",
            "-2.2250738585072011e-308",
            "1.7976931348623157e308",
            "0.1",
            "-0.30000000000000004",
            "1e300",
            "9007199254740993",
            "-9223372036854775808",
            "1e17",
            "123456789012345678",
        ];
        match self.rng.below(5) {
            0 => self.rng.pick(ODD_SCORES).as_bytes().to_vec(),
            1 => {
                let score = f64::from_bits(self.rng.next());
                let score = if score.is_nan() { 1.0 } else { score };
                format!("{score:e}").into_bytes()
            }
            2 => {
                let score = self.rng.next() as f64 / u64::MAX as f64;
                format!("{score:e}").into_bytes()
            }
            _ => (self.rng.below(20) as i64 - 5).to_string().into_bytes(),
        }
    }

    fn zset(&mut self) -> Args {
        let key = self.key("zset");
        let name = *self.rng.pick(&[
            "ZADD",
            "ZADD",
            "ZADD",
            "ZADD",
            "GEOADD",
            "ZINCRBY",
            "ZREM",
            "ZREM",
            "ZREMRANGEBYRANK",
            "ZPOPMIN",
            "ZUNIONSTORE",
            "ZRANGESTORE",
        ]);
        let mut command = vec![name.as_bytes().to_vec(), key];
        match name {
            "ZADD" => {
                for _ in 0..self.count() {
                    let score = self.score();
                    command.push(score);
                    self.texts(&mut command, 1);
                }
            }
            "GEOADD" => {
                let (x, y) = (self.rng.below(360_000), self.rng.below(160_000));
                let x = x as f64 / 1000.0 - 180.0;
                let y = y as f64 / 1000.0 - 80.0;
                command.extend(args(&[&x.to_string(), &y.to_string()]));
                self.texts(&mut command, 1);
            }
            "ZINCRBY" => {
                command.push(self.score());
                self.texts(&mut command, 1);
            }
            "ZREM" => self.texts(&mut command, 5),
            "ZREMRANGEBYRANK" => command.extend(args(&["0", "2"])),
            "ZPOPMIN" => command.push(b"2".to_vec()),
            "ZUNIONSTORE" => {
                command.push(b"2".to_vec());
                for kind in ["zset", "set"] {
                    let key = self.key(kind);
                    command.push(key);
                }
            }
            _ => {
                command.push(self.key("zset"));
                command.extend(args(&["0", "20"]));
            }
        }
        command
    }

    fn stream(&mut self) -> Args {
        let key = self.key("stream");
        let said = self.streams.entry(key.clone()).or_default().clone();
        let rng = &mut self.rng;
        let some_id = |rng: &mut Rng| match said.ids.len() {
            0 => "0-1".to_owned(),
            len => said.ids[rng.below(len)].clone(),
        };
        let group = format!("group{}", rng.below(3));
        let consumer = match rng.below(8) {
            0 => "a consumer whose name repeats, repeats, repeats, repeats".to_owned(),
            number => format!("c{number}"),
        };
        let text = |name: &str| name.as_bytes().to_vec();
        match rng.below(30) {
            0..14 => {
                let bits = rng.below(24);
                self.ms += (rng.below(3) * rng.below(1 << bits)) as u64;
                let last = format!("{}-", self.ms);
                if said.ids.last().is_some_and(|id| id.starts_with(&last)) {
                    self.ms += 1;
                }
                let bits = rng.below(64);
                let seq = (rng.next() >> bits) * u64::from(rng.one_in(2));
                let id = match rng.below(400) {
                    0 => "18446744073709551615-18446744073709551614".to_owned(),
                    _ => format!("{}-{}", self.ms, seq.max(1)),
                };
                self.streams
                    .entry(key.clone())
                    .or_default()
                    .ids
                    .push(id.clone());
                let mut command = vec![text("XADD"), key, text(&id)];
                let count = 1 + self.rng.below(3);
                for index in 0..count {
                    let field = match self.rng.below(4) {
                        0 => self.text(),
                        _ => format!("field{index}").into_bytes(),
                    };
                    command.push(field);
                    self.texts(&mut command, 1);
                }
                command
            }
            14..17 => {
                let mut command = vec![text("XDEL"), key];
                for _ in 0..1 + rng.below(4) {
                    command.push(text(&some_id(rng)));
                }
                command
            }
            17 => {
                let id = some_id(rng);
                let mode = match rng.below(3) {
                    0 => vec![text("MINID"), text(&id)],
                    1 => vec![text("MAXLEN"), text("~"), text("10")],
                    _ => vec![text("MAXLEN"), text(&rng.below(30).to_string())],
                };
                [vec![text("XTRIM"), key], mode].concat()
            }
            18..20 => {
                let id = match rng.below(3) {
                    0 => "$".to_owned(),
                    1 => "0".to_owned(),
                    _ => some_id(rng),
                };
                let mut command =
                    vec![text("XGROUP"), text("CREATE"), key, text(&group), text(&id)];
                if rng.one_in(2) {
                    command.push(text("MKSTREAM"));
                }
                if rng.one_in(4) {
                    let read = rng.below(20).to_string();
                    command.extend([text("ENTRIESREAD"), text(&read)]);
                }
                command
            }
            20..24 => {
                let count = (1 + rng.below(10)).to_string();
                let mut command = args(&["XREADGROUP", "GROUP", &group, &consumer]);
                command.extend(args(&["COUNT", &count]));
                if rng.one_in(6) {
                    command.push(text("NOACK"));
                }
                command.extend([text("STREAMS"), key, text(">")]);
                command
            }
            24 => vec![
                text("XACK"),
                key,
                text(&group),
                text(&some_id(rng)),
                text(&some_id(rng)),
            ],
            25 => {
                let mut command = vec![text("XCLAIM"), key, text(&group), text(&consumer)];
                command.extend([text("0"), text(&some_id(rng)), text(&some_id(rng))]);
                let time = (1_500_000_000_000 + rng.below(1 << 36)).to_string();
                command.extend(args(&["TIME", &time]));
                if rng.one_in(2) {
                    command.extend(args(&["RETRYCOUNT", &rng.below(300).to_string()]));
                }
                if rng.one_in(2) {
                    command.push(text("FORCE"));
                }
                if rng.one_in(2) {
                    command.push(text("JUSTID"));
                }
                command
            }
            26 => {
                let verb = *rng.pick(&["CREATECONSUMER", "CREATECONSUMER", "DELCONSUMER"]);
                vec![
                    text("XGROUP"),
                    text(verb),
                    key,
                    text(&group),
                    text(&consumer),
                ]
            }
            27 => {
                let id = some_id(rng);
                let (verb, rest) = match rng.below(3) {
                    0 => ("DESTROY", vec![]),
                    1 => ("SETID", vec![text(&id)]),
                    _ => {
                        let read = rng.below(20).to_string();
                        ("SETID", vec![text(&id), text("ENTRIESREAD"), text(&read)])
                    }
                };
                [vec![text("XGROUP"), text(verb), key, text(&group)], rest].concat()
            }
            28 => {
                let added = (self.rng.below(1000) + 300).to_string();
                let id = format!("{}-0", self.ms);
                let deleted = format!("{}-0", self.ms / 2);
                let mut command = vec![text("XSETID"), key, text(&id)];
                command.extend(args(&["ENTRIESADDED", &added, "MAXDELETEDID", &deleted]));
                command
            }
            _ => {
                let mut command = vec![text("XAUTOCLAIM"), key, text(&group), text(&consumer)];
                command.extend(args(&["0", "0", "COUNT", "5"]));
                if rng.one_in(2) {
                    command.push(text("JUSTID"));
                }
                command
            }
        }
    }
}
