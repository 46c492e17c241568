//! Picture: everything that shows of a server's data, to be compared with what shows of another's.
//!
//! Each key has facts by name, so that a comparison can leave out what the servers, or a way through a file, do not keep.
//! May not: expect anything.

use std::collections::{BTreeMap, BTreeSet};

use super::{Client, Value, request};

/// What is told of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fact {
    Type,
    Encoding,
    /// What DEBUG DIGEST-VALUE says. Valkey has a digest of its own for hashes with deadlines.
    Digest,
    Deadline,
    /// A hash's fields with values and deadlines.
    Fields,
    /// A sorted set's members with scores, where no zero has a sign.
    Members,
    /// The sign of zeros among the scores: Redis' listpacks do not keep it, its other encoding does.
    Zeros,
    /// A stream and its groups, without times, nodes and deliveries.
    Stream,
    /// How far a stream's groups are behind, which Valkey computes in another way.
    Lag,
    /// Groups' consumers: those that got nothing are in no command that is appended.
    Consumers,
    /// How many nodes a stream has.
    Nodes,
    /// Entries that are there and were delivered to consumers, and when.
    Deliveries,
    /// The same of entries that are gone.
    GoneDeliveries,
    /// When consumers were there, and active.
    Seen,
}

/// All data.
#[derive(Clone, Debug)]
pub struct Picture {
    /// None where it is another than Redis'.
    pub digest: Option<String>,
    pub libraries: BTreeSet<String>,
    /// How many keys each database has.
    pub sizes: BTreeMap<u32, i64>,
    pub keys: BTreeMap<(u32, Vec<u8>), Shown>,
    /// Whether payloads, and nodes of lists, are compressed: each server does that in its own way.
    packs: bool,
    packs_nodes: bool,
}

/// One key.
#[derive(Clone, Debug)]
pub struct Shown {
    pub facts: BTreeMap<Fact, String>,
    pub has_field_deadlines: bool,
    has_zeros: bool,
    /// Seconds for which it was not used, or how often it was used, as eviction wants to know it.
    pub usage: Option<i64>,
    pub payload: Vec<u8>,
}

impl Shown {
    /// The payload without version and checksum.
    fn value(&self) -> &[u8] {
        &self.payload[..self.payload.len().saturating_sub(10)]
    }
}

/// Sends commands at once, and reads their replies.
pub fn ask<A: AsRef<[u8]>>(client: &mut Client, commands: &[Vec<A>]) -> Vec<Value> {
    // Not so many at once that a server would have to keep all replies.
    let mut replies = Vec::new();
    for some in commands.chunks(200) {
        let bytes: Vec<u8> = some.iter().flat_map(|args| request(args)).collect();
        client.send(&bytes);
        replies.extend(some.iter().map(|_| client.read()));
    }
    replies
}

fn bytes_of(value: &Value) -> Vec<u8> {
    match value {
        Value::Bulk(bytes) => bytes.clone(),
        other => panic!("no string: {other}"),
    }
}

fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) | Value::Set(items) => items,
        other => panic!("no list: {other}"),
    }
}

/// The value behind a name in a map.
fn of<'a>(map: &'a Value, name: &str) -> &'a Value {
    let Value::Map(pairs) = map else {
        panic!("no map: {map}");
    };
    let found = pairs.iter().find(|(key, _)| key.text() == name);
    &found.unwrap_or_else(|| panic!("no {name} in {map}")).1
}

/// A map without some of it.
fn without(map: &Value, names: &[&str]) -> String {
    let Value::Map(pairs) = map else {
        panic!("no map: {map}");
    };
    let kept = pairs.iter().map(|(key, value)| (key.text(), value));
    let kept = kept.filter(|(key, _)| !names.contains(&&key[..]));
    let kept: Vec<String> = kept.map(|(key, value)| format!("{key}={value}")).collect();
    kept.join(" ")
}

impl Picture {
    /// Looks at all keys of a server that speaks RESP3 from here on, without a trace in what it knows of their use.
    pub fn of(client: &mut Client) -> Picture {
        for line in ["HELLO 3", "CLIENT NO-TOUCH ON"] {
            assert_eq!(client.run(line).error(), None, "{line}");
        }
        let config = |client: &mut Client, name: &str| {
            of(&client.run(&format!("CONFIG GET {name}")), name).text()
        };
        let policy = config(client, "maxmemory-policy");
        let usage = match () {
            () if policy.ends_with("lfu") => Some("FREQ"),
            () if policy.ends_with("lru") => Some("IDLETIME"),
            () => None,
        };
        let mut picture = Picture {
            digest: Some(client.run("DEBUG DIGEST").text()),
            libraries: libraries(client),
            sizes: BTreeMap::new(),
            keys: BTreeMap::new(),
            packs: config(client, "rdbcompression") == "yes",
            packs_nodes: config(client, "list-compress-depth") != "0",
        };
        for dbid in 0..16 {
            client.run(&format!("SELECT {dbid}"));
            let Value::Int(size) = client.run("DBSIZE") else {
                panic!("no size");
            };
            picture.sizes.insert(dbid, size);
            let keys = client.run("KEYS *");
            let keys: Vec<Vec<u8>> = items(&keys).iter().map(bytes_of).collect();
            for (key, shown) in look(client, &keys, usage) {
                picture.keys.insert((dbid, key), shown);
            }
        }
        client.run("SELECT 0");
        if client.run("INFO server").text().contains("valkey_version") {
            picture.forget_own_facts();
        }
        picture
    }

    /// Forgets what is not the same in Valkey: digests of hashes with deadlines of fields, encodings of such and of
    /// strings, zeros' signs in listpacks, how far a group is behind.
    fn forget_own_facts(&mut self) {
        for shown in self.keys.values_mut() {
            shown.facts.remove(&Fact::Zeros);
            shown.facts.remove(&Fact::Lag);
            if shown.has_field_deadlines || shown.has_zeros {
                shown.facts.remove(&Fact::Digest);
                self.digest = None;
            }
            if matches!(&shown.facts[&Fact::Type][..], "string" | "hash") {
                shown.facts.remove(&Fact::Encoding);
            }
        }
    }

    /// The keys of hashes in which fields have deadlines, or had them and are still written as if they could.
    pub fn with_field_deadlines(&self) -> Vec<(u32, Vec<u8>)> {
        let keys = self.keys.iter();
        let keys = keys.filter(|(_, shown)| {
            let encoding = shown.facts.get(&Fact::Encoding);
            shown.has_field_deadlines || encoding.is_some_and(|encoding| encoding == "listpackex")
        });
        keys.map(|(key, _)| key.clone()).collect()
    }

    /// What is not alike in these facts.
    pub fn differences(&self, other: &Picture, facts: &[Fact]) -> Vec<String> {
        let mut differences = Vec::new();
        if self.libraries != other.libraries {
            let text = format!("libraries: {:?} / {:?}", self.libraries, other.libraries);
            differences.push(text);
        }
        if self.sizes != other.sizes {
            let text = format!("sizes: {:?} / {:?}", self.sizes, other.sizes);
            differences.push(text);
        }
        let keys: BTreeSet<_> = self.keys.keys().chain(other.keys.keys()).collect();
        for key in keys {
            let name = format!("{} {}", key.0, short(&key.1.escape_ascii().to_string()));
            let (Some(one), Some(two)) = (self.keys.get(key), other.keys.get(key)) else {
                let is_first = self.keys.contains_key(key);
                let place = if is_first { "first" } else { "second" };
                differences.push(format!("{name}: only in the {place}"));
                continue;
            };
            for fact in facts {
                let is_signed = one.has_zeros && !facts.contains(&Fact::Zeros);
                if is_signed && *fact == Fact::Digest {
                    continue;
                }
                let (one, two) = (one.facts.get(fact), two.facts.get(fact));
                let is_known = one.is_some() && two.is_some();
                use Fact::{Digest, Encoding, Lag, Zeros};
                let may_lack = matches!(fact, Digest | Encoding | Lag | Zeros);
                if one != two && (is_known || !may_lack) {
                    differences.push(format!("{name}: {fact:?}: {}", apart(one, two)));
                }
            }
        }
        if let (Some(one), Some(two)) = (&self.digest, &other.digest)
            && one != two
            && differences.is_empty()
            && facts.contains(&Fact::Zeros)
        {
            differences.push(format!("digests: {one} / {two}"));
        }
        differences
    }

    /// Keys that have other payloads, though they are in an encoding that each server writes in the same way: no table
    /// has an order that means anything. Keys of the types in `but` are left out.
    pub fn payload_differences(&self, other: &Picture, but: &[&str]) -> Vec<String> {
        let mut differences = Vec::new();
        if self.packs || other.packs {
            return differences;
        }
        let packs_nodes = self.packs_nodes || other.packs_nodes;
        for (key, shown) in &self.keys {
            let Some(theirs) = other.keys.get(key) else {
                continue;
            };
            let encodings = [shown, theirs].map(|shown| shown.facts.get(&Fact::Encoding));
            let [Some(encoding), Some(_)] = encodings else {
                continue;
            };
            let encoding = &encoding[..];
            let is_own = encoding == "hashtable" || (encoding == "quicklist" && packs_nodes);
            let has_signs =
                |shown: &Shown| !shown.has_zeros || shown.facts.contains_key(&Fact::Zeros);
            let is_own = is_own
                || but.contains(&&shown.facts[&Fact::Type][..])
                || !(has_signs(shown) && has_signs(theirs));
            if !is_own && shown.value() != theirs.value() {
                let (one, two) = (shown.value(), theirs.value());
                let texts = [one, two].map(|value| value.escape_ascii().to_string());
                let name = short(&key.1.escape_ascii().to_string());
                let text = apart(Some(&texts[0]), Some(&texts[1]));
                differences.push(format!("{} {name}: {encoding} payload: {text}", key.0));
            }
        }
        differences
    }

    /// Keys that are told to be used in another way, but for so many seconds.
    pub fn usage_differences(&self, other: &Picture, slack: i64) -> Vec<String> {
        let mut differences = Vec::new();
        for (key, shown) in &self.keys {
            let theirs = other.keys.get(key).and_then(|shown| shown.usage);
            let is_near = match (shown.usage, theirs) {
                (Some(one), Some(two)) => (one - two).abs() <= slack,
                (one, two) => one == two,
            };
            if !is_near {
                let name = key.1.escape_ascii();
                differences.push(format!("{} {name}: {:?} / {theirs:?}", key.0, shown.usage));
            }
        }
        differences
    }
}

fn short(text: &str) -> String {
    text.chars().take(400).collect()
}

/// Two texts from where they begin to differ.
fn apart(one: Option<&String>, two: Option<&String>) -> String {
    let (Some(one), Some(two)) = (one, two) else {
        let shown = |text: Option<&String>| text.map(|text| short(text));
        return format!("{:?} / {:?}", shown(one), shown(two));
    };
    let same = one.bytes().zip(two.bytes()).take_while(|(a, b)| a == b);
    let from = same.count().saturating_sub(60);
    let shown = |text: &str| String::from_utf8_lossy(&text.as_bytes()[from..]).into_owned();
    format!(
        "from {from}\n    {}\n    {}",
        short(&shown(one)),
        short(&shown(two))
    )
}

fn libraries(client: &mut Client) -> BTreeSet<String> {
    let list = client.run("FUNCTION LIST WITHCODE");
    let libraries = items(&list).iter().map(|library| {
        let functions = items(of(library, "functions"));
        let mut functions: Vec<String> = functions.iter().map(Value::to_string).collect();
        functions.sort();
        format!("{} {functions:?}", without(library, &["functions"]))
    });
    libraries.collect()
}

/// The keys of one database.
fn look(client: &mut Client, keys: &[Vec<u8>], usage: Option<&str>) -> Vec<(Vec<u8>, Shown)> {
    let about = |words: &[&str], key: &[u8]| -> Vec<Vec<u8>> {
        let words = words.iter().map(|word| word.as_bytes().to_vec());
        words.chain([key.to_vec()]).collect()
    };
    let mut commands = Vec::new();
    for key in keys {
        // Before anything else, because it might change it.
        commands.push(about(&["OBJECT", usage.unwrap_or("ENCODING")], key));
        commands.push(about(&["TYPE"], key));
        commands.push(about(&["OBJECT", "ENCODING"], key));
        commands.push(about(&["DEBUG", "DIGEST-VALUE"], key));
        commands.push(about(&["PEXPIRETIME"], key));
        commands.push(about(&["DUMP"], key));
    }
    let replies = ask(client, &commands);
    let mut shown = Vec::new();
    for (key, replies) in keys.iter().zip(replies.chunks_exact(6)) {
        // It may have gone since its name was told, even in the middle of these questions.
        if replies[0] == Value::Null || replies[5] == Value::Null {
            continue;
        }
        let mut facts = BTreeMap::from([
            (Fact::Type, replies[1].text()),
            (Fact::Encoding, replies[2].text()),
            (Fact::Digest, items(&replies[3])[0].text()),
            (Fact::Deadline, replies[4].to_string()),
        ]);
        // What is stored of several sets is in an encoding that follows the order of the members that were met.
        if key.starts_with(b"stored:") {
            facts.remove(&Fact::Encoding);
        }
        let (mut has_field_deadlines, mut has_zeros) = (false, false);
        match &facts[&Fact::Type][..] {
            "hash" => {
                let fields = fields_of(client, key);
                has_field_deadlines = fields.iter().any(|(_, deadline)| *deadline != -1);
                facts.insert(Fact::Fields, format!("{fields:?}"));
            }
            "zset" => {
                let mut command = about(&["ZRANGE"], key);
                command.extend(["0", "-1", "WITHSCORES"].map(|word| word.as_bytes().to_vec()));
                let members = client.call(&command).to_string();
                // A member cannot be taken for a score: it ends in a quote.
                has_zeros = members.contains(" 0]") || members.contains(" -0]");
                let plain = members.replace(" -0]", " 0]");
                facts.insert(Fact::Members, plain);
                facts.insert(Fact::Zeros, members);
            }
            "stream" => {
                let mut command = about(&["XINFO", "STREAM"], key);
                command.extend(["FULL", "COUNT", "0"].map(|word| word.as_bytes().to_vec()));
                facts.extend(stream_facts(&client.call(&command)));
            }
            _ => {}
        }
        let usage = usage.map(|_| match replies[0] {
            Value::Int(number) => number,
            ref other => panic!("no number: {other}"),
        });
        let shown_key = Shown {
            facts,
            has_field_deadlines,
            has_zeros,
            usage,
            payload: bytes_of(&replies[5]),
        };
        shown.push((key.clone(), shown_key));
    }
    shown
}

/// Fields and their values, with deadlines.
fn fields_of(client: &mut Client, key: &[u8]) -> BTreeSet<(String, i64)> {
    let all = client.call(&[b"HGETALL", key]);
    let Value::Map(pairs) = all else {
        panic!("no map: {all}");
    };
    let mut fields = BTreeSet::new();
    for some in pairs.chunks(500) {
        let count = some.len().to_string().into_bytes();
        let mut command = vec![b"HPEXPIRETIME".to_vec(), key.to_vec()];
        command.extend([b"FIELDS".to_vec(), count]);
        command.extend(some.iter().map(|(field, _)| bytes_of(field)));
        let deadlines = client.call(&command);
        for ((field, value), deadline) in some.iter().zip(items(&deadlines)) {
            let Value::Int(deadline) = deadline else {
                panic!("no deadline: {deadline}");
            };
            fields.insert((format!("{field}={value}"), *deadline));
        }
    }
    fields
}

/// What XINFO STREAM FULL says, by what files and commands keep of it.
fn stream_facts(full: &Value) -> BTreeMap<Fact, String> {
    let nodes = ["radix-tree-keys", "radix-tree-nodes"];
    let entries = items(of(full, "entries"));
    let ids: BTreeSet<String> = entries
        .iter()
        .map(|entry| items(entry)[0].to_string())
        .collect();
    let mut texts: BTreeMap<Fact, Vec<String>> = BTreeMap::new();
    let mut add = |fact: Fact, text: String| texts.entry(fact).or_default().push(text);
    add(
        Fact::Stream,
        without(full, &[&nodes[..], &["groups"]].concat()),
    );
    for name in nodes {
        add(Fact::Nodes, of(full, name).to_string());
    }
    for group in items(of(full, "groups")) {
        let name = of(group, "name");
        let rest = without(group, &["lag", "pending", "pel-count", "consumers"]);
        add(Fact::Stream, rest);
        add(Fact::Lag, of(group, "lag").to_string());
        let pending = |pel: &Value| -> Vec<(bool, String)> {
            let entries = items(pel).iter();
            let entries = entries.map(|entry| {
                (
                    ids.contains(&items(entry)[0].to_string()),
                    entry.to_string(),
                )
            });
            entries.collect()
        };
        let fact = |is_there: bool| match is_there {
            true => Fact::Deliveries,
            false => Fact::GoneDeliveries,
        };
        for (is_there, entry) in pending(of(group, "pending")) {
            add(fact(is_there), format!("{name} {entry}"));
        }
        for consumer in items(of(group, "consumers")) {
            let who = of(consumer, "name");
            add(Fact::Consumers, format!("{name} {who}"));
            for (is_there, entry) in pending(of(consumer, "pending")) {
                add(fact(is_there), format!("{name} {who} {entry}"));
            }
            let times = without(consumer, &["pending", "pel-count", "name"]);
            add(Fact::Seen, format!("{name} {who} {times}"));
        }
    }
    let texts = texts.into_iter();
    texts
        .map(|(fact, lines)| (fact, lines.join("; ")))
        .collect()
}
