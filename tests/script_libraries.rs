//! Script libraries: generated calls of `cjson`, `cmsgpack`, `struct` and `bit` give what a real server's give.
//!
//! A failing seed is printed; `RETRACE_SEED` takes it back and `RETRACE_CALLS` makes it more of them. Where there is no
//! real server the test says so and passes.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

mod support;

use support::{Rng, Server, count_from_env, oracle_server, request, seed, skipped};

/// What comes in front of each call: a value of any kind in a form to compare.
const SHOW: &str = "
local function show(v, d)
  d = d or 0
  if v == cjson.null then return 'null' end
  if type(v) == 'string' then return (v:gsub('.', function(c) return string.format('%02x', c:byte()) end)) end
  if type(v) ~= 'table' then return type(v) == 'number' and string.format('%.17g', v) or tostring(v) end
  if d > 20 then return '...' end
  local parts = {}
  for k, e in pairs(v) do parts[#parts + 1] = show(k, d + 1) .. '=' .. show(e, d + 1) end
  table.sort(parts)
  return '{' .. table.concat(parts, ',') .. '}'
end
local function all(...)
  local out = {}
  for i = 1, select('#', ...) do out[i] = show((select(i, ...))) end
  return table.concat(out, ' ')
end
local function try(f, ...)
  local r = {pcall(f, ...)}
  return all(unpack(r, 1, table.maxn(r)))
end
local out = {}
";

/// A string of Lua with these bytes.
fn quoted(bytes: &[u8]) -> String {
    let escaped: String = bytes.iter().map(|byte| format!("\\{byte:03}")).collect();
    format!("'{escaped}'")
}

fn number(rng: &mut Rng) -> String {
    match rng.below(12) {
        0 => (rng.below(300) as i64 - 150).to_string(),
        1 => format!("2^{}", rng.below(70)),
        2 => format!("-2^{}", rng.below(70)),
        3 => format!("2^{}+{}", rng.below(53), rng.below(3)),
        4 => format!("-2^{}-{}", rng.below(53), rng.below(3)),
        5 => format!("{}/{}", rng.below(1000), rng.below(1000) + 1),
        6 => format!("{}e{}", rng.below(100_000), rng.below(60) as i64 - 30),
        7 => format!("{}.5", rng.below(1 << 20)),
        8 => "-0.0".to_owned(),
        9 => format!("{}", rng.next() >> rng.below(64)),
        _ => rng.below(20).to_string(),
    }
}

fn text(rng: &mut Rng) -> String {
    let len = match rng.below(8) {
        0 => 31 + rng.below(3),
        1 => 255 + rng.below(3),
        _ => rng.below(8),
    };
    match rng.below(3) {
        0 => quoted(&rng.bytes(len)),
        1 => quoted(&b"\"\\/\x08\t\n\x7f\x00abc"[..len.min(11)]),
        _ => quoted(&b"abcdefgh"[..len.min(8)]),
    }
}

/// A key: real servers hash all of a long string, which this one does not, so the order would differ.
fn key(rng: &mut Rng) -> String {
    let len = rng.below(70);
    quoted(&rng.bytes(len))
}

/// A value of Lua, written in Lua.
fn value(rng: &mut Rng, depth: usize) -> String {
    match rng.below(if depth > 3 { 5 } else { 9 }) {
        0 | 1 => number(rng),
        2 => text(rng),
        3 => rng
            .pick(&["true", "false", "nil", "cjson.null"])
            .to_string(),
        4 => rng
            .pick(&["0/0", "1/0", "-1/0", "print", "{}", "type"])
            .replace("print", "pcall"),
        5 => {
            let items: Vec<String> = (0..rng.below(20)).map(|_| value(rng, depth + 1)).collect();
            format!("{{{}}}", items.join(","))
        }
        6 => {
            // One key: the order of several is the order of the hash, which is compared too.
            let items: Vec<String> = (0..rng.below(5))
                .map(|_| format!("[{}]={}", key(rng), value(rng, depth + 1)))
                .collect();
            format!("{{{}}}", items.join(","))
        }
        7 => {
            let items: Vec<String> = (0..rng.below(5))
                .map(|_| format!("[{}]={}", rng.below(14), value(rng, depth + 1)))
                .collect();
            format!("{{{}}}", items.join(","))
        }
        _ => format!("{{{},x={}}}", value(rng, depth + 1), value(rng, depth + 1)),
    }
}

/// A text that may be JSON.
fn json(rng: &mut Rng, depth: usize) -> String {
    match rng.below(if depth > 3 { 6 } else { 9 }) {
        0 => (rng.below(300) as i64 - 150).to_string(),
        1 => rng
            .pick(&[
                "1e5",
                "-1.5",
                "0x10",
                "012",
                "1.",
                "-",
                "+1",
                "nan",
                "inf",
                "-Infinity",
                "1e",
                "1E+2",
                "0.1e-3",
            ])
            .to_string(),
        2 => rng
            .pick(&["true", "false", "null", "nul", "True", "", "}", ",", ":"])
            .to_string(),
        3 => format!(
            "\"{}\"",
            rng.pick(&[
                "a",
                "\\n",
                "\\u00e9",
                "\\ud83d\\ude00",
                "\\ud800",
                "\\x",
                "\\u12",
                "\u{e9}",
                "\\/"
            ])
        ),
        4 => "\"abc\"".to_owned(),
        5 => "[]".to_owned(),
        6 => {
            let items: Vec<String> = (0..rng.below(5)).map(|_| json(rng, depth + 1)).collect();
            format!(
                "[{}]",
                items.join(rng.pick::<&str>(&[",", ",", ",", " , ", " "]))
            )
        }
        7 => {
            let items: Vec<String> = (0..rng.below(4))
                .map(|at| format!("\"k{at}\":{}", json(rng, depth + 1)))
                .collect();
            format!("{{{}}}", items.join(","))
        }
        _ => format!(" [ {} ] ", json(rng, depth + 1)),
    }
}

fn format_of_struct(rng: &mut Rng) -> String {
    let items = [
        "b", "B", "h", "H", "l", "L", "T", "f", "d", "s", "i", "I", "x", " ", "<", ">", "!", "!4",
        "!2",
    ];
    let mut format = String::new();
    for _ in 0..rng.below(7) {
        match rng.below(12) {
            0 => format.push_str(&format!("i{}", rng.below(34))),
            1 => format.push_str(&format!("I{}", rng.below(34))),
            2 => format.push_str(&format!("c{}", rng.below(5))),
            3 if rng.one_in(20) => {
                format.push_str(rng.pick::<&str>(&["q", "!3", "!33", "c99999999999", "=", "5"]))
            }
            _ => format.push_str(rng.pick::<&str>(&items)),
        }
    }
    format
}

/// One call, which appends what it gives to `out`.
fn call(rng: &mut Rng) -> String {
    let expression = match rng.below(10) {
        0 | 1 => format!("try(cjson.encode, {})", value(rng, 0)),
        2 | 3 => format!("try(cjson.decode, {})", quoted(json(rng, 0).as_bytes())),
        4 => {
            let values: Vec<String> = (0..rng.below(4)).map(|_| value(rng, 0)).collect();
            format!(
                "try(cmsgpack.pack{}{})",
                if values.is_empty() { "" } else { ", " },
                values.join(", ")
            )
        }
        5 => {
            let len = rng.below(12);
            let mut bytes = rng.bytes(len);
            if let Some(first) = bytes.first_mut() {
                *first = *rng.pick(&[
                    0x93, 0x82, 0xa3, 0xc0, 0xca, 0xcb, 0xcd, 0xd1, 0xd9, 0xdc, 0xde, 0xc1, 0xe0,
                    0xcf, 0xd3,
                ]);
            }
            let data = quoted(&bytes);
            match rng.below(3) {
                0 => format!("try(cmsgpack.unpack, {data})"),
                1 => format!(
                    "try(cmsgpack.unpack_one, {data}, {})",
                    rng.below(14) as i64 - 1
                ),
                _ => format!(
                    "try(cmsgpack.unpack_limit, {data}, {}, {})",
                    rng.below(4) as i64 - 1,
                    rng.below(5)
                ),
            }
        }
        6 => {
            let args: Vec<String> = (0..rng.below(6))
                .map(|_| {
                    if rng.one_in(3) {
                        text(rng)
                    } else {
                        number(rng)
                    }
                })
                .collect();
            let comma = if args.is_empty() { "" } else { ", " };
            format!(
                "try(struct.pack, '{}'{comma}{})",
                format_of_struct(rng),
                args.join(", ")
            )
        }
        7 => {
            let len = rng.below(24);
            let data = quoted(&rng.bytes(len));
            format!(
                "try(struct.unpack, '{}', {data}, {})",
                format_of_struct(rng),
                rng.below(5) + 1
            )
        }
        8 if rng.one_in(3) => format!("try(struct.size, '{}')", format_of_struct(rng)),
        _ => {
            let name = rng.pick(&[
                "tobit", "tohex", "bnot", "band", "bor", "bxor", "lshift", "rshift", "arshift",
                "rol", "ror", "bswap",
            ]);
            format!("try(bit.{name}, {}, {})", number(rng), number(rng))
        }
    };
    format!("out[#out + 1] = {expression}\n")
}

#[test]
fn the_libraries_give_what_a_real_server_gives() {
    let Some(real) = oracle_server(&["--save", ""]) else {
        return skipped("no real server");
    };
    let ours = Server::start(&["--save", ""]);
    let (mut ours, mut real) = (ours.connect(), real.connect());
    let seed = seed();
    let mut rng = Rng::new(seed);
    const EACH: usize = 25;
    let rounds = count_from_env("RETRACE_CALLS", 20_000) / EACH;
    let mut differences = Vec::new();
    for _ in 0..rounds {
        let calls: Vec<String> = (0..EACH).map(|_| call(&mut rng)).collect();
        let script = format!("{SHOW}{}return out", calls.concat());
        let request = request(&["EVAL", &script, "0"]);
        ours.send(&request);
        real.send(&request);
        let (got, wanted) = (ours.read(), real.read());
        if got == wanted {
            continue;
        }
        let (support::Value::Array(got), support::Value::Array(wanted)) = (&got, &wanted) else {
            differences.push(format!("{got}\n  instead of {wanted}\n  {script}"));
            continue;
        };
        for ((got, wanted), call) in got.iter().zip(wanted).zip(&calls) {
            if got != wanted {
                let (got, wanted) = (got.text(), wanted.text());
                differences.push(format!("{}  {got}\n  instead of\n  {wanted}", call));
            }
        }
    }
    let shown = differences
        .iter()
        .take(20)
        .cloned()
        .collect::<Vec<_>>()
        .join("\n");
    assert!(
        differences.is_empty(),
        "seed {seed}: {} differences\n{shown}",
        differences.len()
    );
}
