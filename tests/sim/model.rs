//! The plain model: the data types as anybody would write them down, with the replies of the commands that are drawn.
//!
//! A key's name tells its type, so that no command meets another. May not: know anything of the server.

use std::collections::{BTreeMap, BTreeSet};

use super::Rng;

/// One command's arguments.
pub type Args = Vec<String>;

#[derive(Clone, Debug, PartialEq)]
enum Value {
    Text(String),
    List(Vec<String>),
    Hash(BTreeMap<String, String>),
    Set(BTreeSet<String>),
    Sorted(BTreeMap<String, i64>),
    Stream(Vec<(u64, String)>, u64),
}

#[derive(Clone, Debug, PartialEq)]
struct Entry {
    value: Value,
    deadline_ms: Option<i64>,
}

/// The data, as they should be.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Model {
    keys: BTreeMap<String, Entry>,
}

/// How many keys there are of each type.
const KEYS: usize = 4;

fn bulk(text: &str) -> Vec<u8> {
    format!("${}\r\n{text}\r\n", text.len()).into_bytes()
}

fn int(number: i64) -> Vec<u8> {
    format!(":{number}\r\n").into_bytes()
}

fn array<I: AsRef<[u8]>>(items: &[I]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", items.len()).into_bytes();
    items
        .iter()
        .for_each(|item| bytes.extend_from_slice(item.as_ref()));
    bytes
}

const NIL: &[u8] = b"$-1\r\n";

fn words(args: &[&str]) -> Args {
    args.iter().map(|word| (*word).to_owned()).collect()
}

/// A command at random; `number` is used for nothing else.
pub fn draw(rng: &mut Rng, number: u64) -> Args {
    let key = |kind: &str, rng: &mut Rng| format!("{kind}{}", rng.below(KEYS));
    let part = format!("p{}", rng.below(12));
    let long = format!("v{number}{}", "x".repeat(rng.below(90)));
    match rng.below(100) {
        0..8 => words(&["SET", &key("t", rng), &long]),
        8..12 => words(&["APPEND", &key("t", rng), &part]),
        12..16 => words(&["GET", &key("t", rng)]),
        16..22 => words(&["INCRBY", &key("n", rng), &(rng.below(9)).to_string()]),
        22..30 => words(&["RPUSH", &key("l", rng), &long, &part]),
        30..34 => words(&["LPUSH", &key("l", rng), &part]),
        34..38 => words(&["LPOP", &key("l", rng)]),
        38..40 => words(&["LRANGE", &key("l", rng), "0", "-1"]),
        40..43 => words(&["LMOVE", &key("l", rng), &key("l", rng), "LEFT", "RIGHT"]),
        43..50 => words(&["HSET", &key("h", rng), &part, &long]),
        50..54 => words(&["HDEL", &key("h", rng), &part]),
        54..57 => words(&["HGET", &key("h", rng), &part]),
        57..64 => words(&["SADD", &key("s", rng), &part]),
        64..67 => words(&["SREM", &key("s", rng), &part]),
        67..69 => words(&["SMOVE", &key("s", rng), &key("s", rng), &part]),
        69..76 => words(&["ZADD", &key("z", rng), &rng.below(50).to_string(), &part]),
        76..79 => words(&["ZREM", &key("z", rng), &part]),
        79..81 => words(&["ZRANGE", &key("z", rng), "0", "-1"]),
        81..87 => words(&[
            "XADD",
            &key("x", rng),
            &format!("{}-1", number + 1),
            "f",
            &part,
        ]),
        87..89 => words(&["XTRIM", &key("x", rng), "MAXLEN", "5"]),
        89..92 => words(&[
            "DEL",
            &key(["t", "l", "h", "s", "z", "x"][rng.below(6)], rng),
        ]),
        92..96 => {
            let kind = ["t", "l", "h", "s", "z"][rng.below(5)];
            let ms = [20, 500, 5_000, 100_000][rng.below(4)].to_string();
            words(&["PEXPIRE", &key(kind, rng), &ms])
        }
        96..98 => words(&["PERSIST", &key(["t", "l", "h"][rng.below(3)], rng)]),
        98 => words(&["RENAME", "t0", "t1"]),
        _ if rng.one_in(8) => words(&["FLUSHALL"]),
        _ => words(&["EXISTS", &key("t", rng)]),
    }
}

impl Model {
    /// Forgets what has passed its deadline.
    pub fn expire(&mut self, now_ms: i64) {
        self.keys
            .retain(|_, entry| entry.deadline_ms.is_none_or(|at| now_ms <= at));
    }

    /// What the command replies, and its effect.
    pub fn run(&mut self, args: &Args, now_ms: i64) -> Vec<u8> {
        self.expire(now_ms);
        let arg = |at: usize| args[at].as_str();
        let key = args.get(1).cloned().unwrap_or_default();
        let reply = match arg(0) {
            "SET" => {
                let value = Value::Text(arg(2).to_owned());
                self.keys.insert(
                    key.clone(),
                    Entry {
                        value,
                        deadline_ms: None,
                    },
                );
                b"+OK\r\n".to_vec()
            }
            "APPEND" => {
                let text = self.text(&key);
                text.push_str(arg(2));
                int(text.len() as i64)
            }
            "GET" => match self.keys.get(&key).map(|entry| &entry.value) {
                Some(Value::Text(text)) => bulk(text),
                _ => NIL.to_vec(),
            },
            "INCRBY" => {
                let text = self.text(&key);
                let sum =
                    text.parse::<i64>().unwrap_or(0) + arg(2).parse::<i64>().expect("a number");
                *text = sum.to_string();
                int(sum)
            }
            "RPUSH" => {
                let list = self.list(&key);
                list.extend(args[2..].iter().cloned());
                int(list.len() as i64)
            }
            "LPUSH" => {
                let list = self.list(&key);
                list.insert(0, arg(2).to_owned());
                int(list.len() as i64)
            }
            "LPOP" => self.pop(&key).map_or(NIL.to_vec(), |item| bulk(&item)),
            "LRANGE" => {
                let list = self.peek_list(&key);
                array(&list.iter().map(|item| bulk(item)).collect::<Vec<_>>())
            }
            "LMOVE" if key == arg(2) => {
                let list = self.list(&key);
                match list.is_empty() {
                    true => NIL.to_vec(),
                    false => {
                        list.rotate_left(1);
                        list.last().map_or(NIL.to_vec(), |item| bulk(item))
                    }
                }
            }
            "LMOVE" => match self.pop(&key) {
                Some(item) => {
                    self.list(arg(2)).push(item.clone());
                    bulk(&item)
                }
                None => NIL.to_vec(),
            },
            "HSET" => int(self
                .hash(&key)
                .insert(arg(2).into(), arg(3).into())
                .is_none()
                .into()),
            "HDEL" => int(self.hash(&key).remove(arg(2)).is_some().into()),
            "HGET" => self
                .hash(&key)
                .get(arg(2))
                .map_or(NIL.to_vec(), |value| bulk(value)),
            "SADD" => int(self.set(&key).insert(arg(2).into()).into()),
            "SREM" => int(self.set(&key).remove(arg(2)).into()),
            "SMOVE" => {
                let is_there = self.set(&key).remove(arg(3));
                if is_there {
                    self.set(arg(2)).insert(arg(3).into());
                }
                int(is_there.into())
            }
            "ZADD" => {
                let score = arg(2).parse().expect("a number");
                int(self
                    .sorted(&key)
                    .insert(arg(3).into(), score)
                    .is_none()
                    .into())
            }
            "ZREM" => int(self.sorted(&key).remove(arg(2)).is_some().into()),
            "ZRANGE" => {
                let mut members: Vec<_> = self
                    .sorted(&key)
                    .iter()
                    .map(|(of, at)| (*at, of.clone()))
                    .collect();
                members.sort();
                array(&members.iter().map(|(_, of)| bulk(of)).collect::<Vec<_>>())
            }
            "XADD" => {
                let id: u64 = arg(2)
                    .strip_suffix("-1")
                    .and_then(|ms| ms.parse().ok())
                    .expect("an ID");
                let (entries, last) = self.stream(&key);
                if id <= *last {
                    return b"-ERR The ID specified in XADD is equal or smaller than the target stream top item\r\n"
                        .to_vec();
                }
                entries.push((id, arg(4).to_owned()));
                *last = id;
                bulk(arg(2))
            }
            "XTRIM" => match self.keys.contains_key(&key) {
                true => {
                    let (entries, _) = self.stream(&key);
                    let gone = entries.len().saturating_sub(5);
                    entries.drain(..gone);
                    int(gone as i64)
                }
                false => int(0),
            },
            "DEL" => int(self.keys.remove(&key).is_some().into()),
            "EXISTS" => int(self.keys.contains_key(&key).into()),
            "PEXPIRE" => match self.keys.get_mut(&key) {
                Some(entry) => {
                    entry.deadline_ms = Some(now_ms + arg(2).parse::<i64>().expect("a number"));
                    int(1)
                }
                None => int(0),
            },
            "PERSIST" => {
                let entry = self.keys.get_mut(&key);
                int(entry
                    .and_then(|entry| entry.deadline_ms.take())
                    .is_some()
                    .into())
            }
            "RENAME" => match self.keys.remove(&key) {
                Some(entry) => {
                    self.keys.insert(arg(2).to_owned(), entry);
                    b"+OK\r\n".to_vec()
                }
                None => b"-ERR no such key\r\n".to_vec(),
            },
            "FLUSHALL" => {
                self.keys.clear();
                b"+OK\r\n".to_vec()
            }
            other => unreachable!("{other} is not drawn"),
        };
        self.keys.retain(|_, entry| !is_empty(&entry.value));
        reply
    }

    fn value(&mut self, key: &str, empty: Value) -> &mut Value {
        let fresh = || Entry {
            value: empty,
            deadline_ms: None,
        };
        &mut self.keys.entry(key.to_owned()).or_insert_with(fresh).value
    }

    fn text(&mut self, key: &str) -> &mut String {
        match self.value(key, Value::Text(String::new())) {
            Value::Text(text) => text,
            other => unreachable!("{key} is a string: {other:?}"),
        }
    }

    fn list(&mut self, key: &str) -> &mut Vec<String> {
        match self.value(key, Value::List(Vec::new())) {
            Value::List(list) => list,
            other => unreachable!("{key} is a list: {other:?}"),
        }
    }

    fn peek_list(&mut self, key: &str) -> Vec<String> {
        self.list(key).clone()
    }

    fn pop(&mut self, key: &str) -> Option<String> {
        let list = self.list(key);
        let item = (!list.is_empty()).then(|| list.remove(0));
        if list.is_empty() {
            self.keys.remove(key); // with its deadline, should the same key be pushed to
        }
        item
    }

    fn hash(&mut self, key: &str) -> &mut BTreeMap<String, String> {
        match self.value(key, Value::Hash(BTreeMap::new())) {
            Value::Hash(hash) => hash,
            other => unreachable!("{key} is a hash: {other:?}"),
        }
    }

    fn set(&mut self, key: &str) -> &mut BTreeSet<String> {
        match self.value(key, Value::Set(BTreeSet::new())) {
            Value::Set(set) => set,
            other => unreachable!("{key} is a set: {other:?}"),
        }
    }

    fn sorted(&mut self, key: &str) -> &mut BTreeMap<String, i64> {
        match self.value(key, Value::Sorted(BTreeMap::new())) {
            Value::Sorted(sorted) => sorted,
            other => unreachable!("{key} is a sorted set: {other:?}"),
        }
    }

    fn stream(&mut self, key: &str) -> (&mut Vec<(u64, String)>, &mut u64) {
        match self.value(key, Value::Stream(Vec::new(), 0)) {
            Value::Stream(entries, last) => (entries, last),
            other => unreachable!("{key} is a stream: {other:?}"),
        }
    }

    /// Everything in a form to compare, at this time.
    pub fn picture(&self, now_ms: i64) -> Vec<String> {
        let living = self
            .keys
            .iter()
            .filter(|(_, entry)| entry.deadline_ms.is_none_or(|at| now_ms <= at));
        let lines = living.map(|(key, entry)| {
            let value = match &entry.value {
                Value::Text(text) => vec![text.clone()],
                Value::List(items) => items.clone(),
                Value::Hash(hash) => hash
                    .iter()
                    .flat_map(|(of, value)| [of.clone(), value.clone()])
                    .collect(),
                Value::Set(set) => set.iter().cloned().collect(),
                Value::Sorted(sorted) => {
                    let mut members: Vec<_> =
                        sorted.iter().map(|(of, at)| (*at, of.clone())).collect();
                    members.sort();
                    members
                        .into_iter()
                        .flat_map(|(at, of)| [of, at.to_string()])
                        .collect()
                }
                Value::Stream(entries, _) => {
                    let entries = entries.iter();
                    entries
                        .flat_map(|(id, value)| [format!("{id}-1"), "f".into(), value.clone()])
                        .collect()
                }
            };
            format!(
                "{key} {} {}",
                entry.deadline_ms.unwrap_or(-1),
                value.join(" ")
            )
        });
        lines.collect()
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Text(_) | Value::Stream(..) => false,
        Value::List(list) => list.is_empty(),
        Value::Hash(hash) => hash.is_empty(),
        Value::Set(set) => set.is_empty(),
        Value::Sorted(sorted) => sorted.is_empty(),
    }
}

/// The commands whose replies make a picture of a key.
pub fn reads(key: &str) -> Vec<Args> {
    let value: &[&str] = match &key[..1] {
        "t" | "n" => &["GET", key],
        "l" => &["LRANGE", key, "0", "-1"],
        "h" => &["HGETALL", key],
        "s" => &["SMEMBERS", key],
        "z" => &["ZRANGE", key, "0", "-1", "WITHSCORES"],
        _ => &["XRANGE", key, "-", "+"],
    };
    vec![words(&["PEXPIRETIME", key]), words(value)]
}

/// All keys that there may be.
pub fn keys() -> Vec<String> {
    let kinds = ["h", "l", "n", "s", "t", "x", "z"];
    let keys = kinds
        .iter()
        .flat_map(|kind| (0..KEYS).map(move |at| format!("{kind}{at}")));
    keys.collect()
}

/// One line of the picture, of the texts in the replies to [`reads`].
pub fn line(key: &str, deadline: &str, mut texts: Vec<String>) -> Option<String> {
    if deadline == "-2" {
        return None;
    }
    match &key[..1] {
        "s" => texts.sort(),
        "h" => {
            let mut pairs: Vec<_> = texts.chunks(2).map(<[String]>::to_vec).collect();
            pairs.sort();
            texts = pairs.concat();
        }
        _ => {}
    }
    Some(format!("{key} {deadline} {}", texts.join(" ")))
}
