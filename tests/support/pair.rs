//! Pair: the same commands to Retrace and to a real server, and what they said compared.

use std::borrow::Cow;

use super::{Client, Server, Value, request};

/// How both servers are started.
pub const OPTIONS: &[&str] = &["--save", "", "--enable-debug-command", "yes"];

/// Commands whose replies have no order of their own.
const UNORDERED: &[&str] = &[
    "KEYS",
    "SCAN",
    "COMMAND",
    "CONFIG",
    "FUNCTION",
    "SMEMBERS",
    "SUNION",
    "SINTER",
    "SDIFF",
    "SPOP",
    "SRANDMEMBER",
    "SSCAN",
    "HGETALL",
    "HKEYS",
    "HVALS",
    "HRANDFIELD",
    "HSCAN",
    "ZSCAN",
];

/// A connection to each of the two servers.
pub struct Pair {
    pub ours: Client,
    pub real: Client,
}

impl Pair {
    /// Connects to both in this version of RESP.
    pub fn new(ours: &Server, real: &Server, protocol: &str) -> Pair {
        let mut pair = Pair {
            ours: ours.connect(),
            real: real.connect(),
        };
        pair.quietly(&["HELLO", protocol]);
        pair
    }

    /// Runs a command on both without a look at what they say.
    pub fn quietly(&mut self, args: &[&str]) {
        for client in [&mut self.ours, &mut self.real] {
            client.send(&request(args));
            client.next_reply();
        }
    }
}

/// The items of every list within in an order that does not depend on the server.
fn sorted(value: Value) -> Value {
    let sort = |items: Vec<Value>| {
        let mut items: Vec<Value> = items.into_iter().map(sorted).collect();
        items.sort_by_key(Value::to_string);
        items
    };
    match value {
        Value::Array(items) => Value::Array(sort(items)),
        Value::Set(items) => Value::Set(sort(items)),
        Value::Map(pairs) => {
            let mut pairs: Vec<_> = pairs.into_iter().map(|(k, v)| (k, sorted(v))).collect();
            pairs.sort_by_key(|(key, _)| key.to_string());
            Value::Map(pairs)
        }
        other => other,
    }
}

/// A reply as it is compared. Errors are text here, so one that quotes bytes which are no UTF-8 has them replaced.
pub fn comparable(reply: &[u8]) -> Cow<'_, [u8]> {
    match reply.first() {
        Some(b'-') => String::from_utf8_lossy(reply)
            .into_owned()
            .into_bytes()
            .into(),
        _ => reply.into(),
    }
}

/// What the two said to one command, if it was not the same. With `is_loose` only the kind of reply must be the same:
/// its words are each server's own.
pub fn difference(
    command: &[Vec<u8>],
    is_loose: bool,
    ours: Option<(Value, Vec<u8>)>,
    real: Option<(Value, Vec<u8>)>,
) -> Option<String> {
    let bytes = |reply: &Option<(Value, Vec<u8>)>| reply.as_ref().map(|(_, bytes)| bytes.clone());
    let (our_bytes, real_bytes) = (bytes(&ours), bytes(&real));
    if our_bytes.as_deref().map(comparable) == real_bytes.as_deref().map(comparable) {
        return None;
    }
    if let (true, Some(ours), Some(real)) = (is_loose, &our_bytes, &real_bytes)
        && ours[0] == real[0]
    {
        return None;
    }
    let name = String::from_utf8_lossy(command.first().map_or(b"", |name| name)).to_uppercase();
    if let (Some((ours, _)), Some((real, _))) = (&ours, &real)
        && UNORDERED.contains(&name.as_str())
        && sorted(ours.clone()) == sorted(real.clone())
    {
        return None;
    }
    let shown = |bytes: Option<Vec<u8>>| match bytes {
        Some(bytes) => {
            let text = bytes.escape_ascii().to_string();
            text.chars().take(1500).collect()
        }
        None => "(connection closed)".to_owned(),
    };
    let words: Vec<String> = command
        .iter()
        .map(|word| format!("\"{}\"", word.escape_ascii()))
        .collect();
    Some(format!(
        "{}\n   ours: {}\n   real: {}",
        words.join(" "),
        shown(our_bytes),
        shown(real_bytes)
    ))
}

/// Fails with the first differences, if there are any.
pub fn fail_with(differences: Vec<String>, what: &str) {
    if differences.is_empty() {
        return;
    }
    for difference in differences.iter().take(60) {
        println!("{difference}");
    }
    panic!("{what}: {} replies differ", differences.len());
}

/// The words of a line, quoted as in redis-cli.
pub fn words(line: &str) -> Vec<Vec<u8>> {
    retrace::config::split_args(line.as_bytes())
        .unwrap_or_else(|| panic!("unbalanced quotes: {line}"))
}
