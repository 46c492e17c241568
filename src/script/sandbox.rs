//! Sandbox: what scripts find in a Lua state, and that they cannot change it.
//!
//! All scripts share one state, so nothing that one leaves may reach another: globals, libraries and the metatable of
//! strings are read-only, and there is no way to files, to other programs or to bytecode. What is needed for that from
//! inside of Lua is `lhost.c`, see `lua/README.md`.

use std::rc::Rc;

use mlua::{Function, IntoLua, Lua, MultiValue, Table, Value};

use crate::config::{REDIS_VERSION, REDIS_VERSION_NUM};
use crate::script::host::{Arguments, Host, Raise, error_table, raise_line, text_of};
use crate::script::shared::{Purpose, REPL_ALL, REPL_AOF, REPL_REPLICA, Shared};
use crate::script::{bits, cjson, msgpack, packed, register};

/// Globals of Lua that scripts do not get.
const WITHDRAWN: [&str; 5] = ["dofile", "loadfile", "print", "__host", "module"];

/// Those that only old scripts get, when the configuration says so.
const DEPRECATED: [&str; 3] = ["getfenv", "setfenv", "newproxy"];

/// The functions that need the engine.
pub struct Live {
    pub call: Function,
    pub pcall: Function,
    pub may_call: Function,
    pub clock: Function,
}

/// Makes a fresh state into what scripts find.
pub fn set_up(
    lua: &Lua,
    host: &Rc<Host>,
    shared: &Rc<Shared>,
    purpose: Purpose,
    deprecated_api: bool,
    live: Live,
) -> mlua::Result<Option<register::Views>> {
    let globals = lua.globals();
    for name in WITHDRAWN {
        globals.raw_set(name, Value::Nil)?;
    }
    if !deprecated_api {
        for name in DEPRECATED {
            globals.raw_set(name, Value::Nil)?;
        }
    }
    globals.raw_set("pcall", &host.pcall)?;
    let os = lua.create_table()?;
    os.raw_set("clock", &live.clock)?;
    globals.raw_set("os", os)?;
    random(lua, host, shared, &globals.raw_get("math")?)?;
    globals.raw_set("cjson", cjson::library(lua, host)?)?;
    globals.raw_set("cmsgpack", msgpack::library(lua, host)?)?;
    globals.raw_set("struct", packed::library(lua, host)?)?;
    globals.raw_set("bit", bits::library(lua, host)?)?;
    let redis = redis_table(lua, host, shared, purpose, live)?;
    globals.raw_set("redis", redis)?;
    let guard = lua.create_table()?;
    guard.raw_set("__index", host.missing())?;
    globals.set_metatable(Some(guard.clone()))?;
    for pair in globals.pairs::<Value, Value>() {
        if let Value::Table(table) = pair?.1 {
            host.set_readonly(&table, true)?;
        }
    }
    // The strings' metatable has the library `string` in its field `__index`.
    let strings: Table = lua
        .load("return getmetatable('')")
        .set_name("=setup")
        .eval()?;
    let redis = globals.raw_get("redis")?;
    for table in [&guard, &strings, &globals] {
        host.set_readonly(table, true)?;
    }
    Ok(match purpose {
        Purpose::Eval => None,
        Purpose::Functions => Some(register::set_up(lua, host, shared, &redis)?),
    })
}

/// The table `redis` without what only function libraries have.
fn redis_table(
    lua: &Lua,
    host: &Rc<Host>,
    shared: &Rc<Shared>,
    purpose: Purpose,
    live: Live,
) -> mlua::Result<Table> {
    let redis = lua.create_table()?;
    redis.raw_set("call", live.call)?;
    redis.raw_set("pcall", live.pcall)?;
    redis.raw_set("acl_check_cmd", live.may_call)?;
    redis.raw_set("sha1hex", host.function(lua, sha1hex)?)?;
    redis.raw_set("error_reply", host.function(lua, error_reply)?)?;
    redis.raw_set("status_reply", host.function(lua, status_reply)?)?;
    let of_run = Rc::clone(shared);
    redis.raw_set(
        "setresp",
        host.function(lua, move |lua, args| setresp(lua, args, &of_run))?,
    )?;
    let of_run = Rc::clone(shared);
    redis.raw_set(
        "set_repl",
        host.function(lua, move |lua, args| set_repl(lua, args, &of_run))?,
    )?;
    let of_run = Rc::clone(shared);
    redis.raw_set(
        "log",
        host.function(lua, move |lua, args| log(lua, args, &of_run))?,
    )?;
    if purpose == Purpose::Eval {
        // There is no debugger to stop for, and effects are what is always replicated.
        let no = host.function(lua, |_, _| Ok(Value::Boolean(false)))?;
        redis.raw_set("breakpoint", no)?;
        let nothing = host.function_of_many(lua, |_, _| Ok(MultiValue::new()))?;
        redis.raw_set("debug", nothing)?;
        let yes = host.function(lua, |_, _| Ok(Value::Boolean(true)))?;
        redis.raw_set("replicate_commands", yes)?;
    }
    for (level, name) in ["LOG_DEBUG", "LOG_VERBOSE", "LOG_NOTICE", "LOG_WARNING"]
        .iter()
        .enumerate()
    {
        redis.raw_set(*name, level)?;
    }
    for (name, flags) in [
        ("REPL_NONE", 0),
        ("REPL_AOF", REPL_AOF),
        ("REPL_SLAVE", REPL_REPLICA),
        ("REPL_REPLICA", REPL_REPLICA),
        ("REPL_ALL", REPL_ALL),
    ] {
        redis.raw_set(name, flags)?;
    }
    redis.raw_set("REDIS_VERSION", REDIS_VERSION)?;
    redis.raw_set("REDIS_VERSION_NUM", REDIS_VERSION_NUM)?;
    Ok(redis)
}

fn sha1hex(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    if args.len() != 1 {
        return Err(raise_line(lua, "ERR wrong number of arguments"));
    }
    let hex = match text_of(lua, args.get(1)) {
        Some(text) => crate::script::sha1_hex(&text.as_bytes()),
        None => crate::script::sha1_hex(b""),
    };
    Ok(hex.into_lua(lua)?)
}

/// The only argument, if it is a string.
fn only_string(args: &Arguments) -> Option<&mlua::LuaString> {
    match (args.len(), args.get(1)) {
        (1, Value::String(text)) => Some(text),
        _ => None,
    }
}

fn error_reply(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    let Some(text) = only_string(args) else {
        let table = error_table(lua, b"ERR wrong number or type of arguments")?;
        return Ok(Value::Table(table));
    };
    let text = text.as_bytes();
    let text = text.strip_prefix(b"-").unwrap_or(&text);
    let end = text.iter().rposition(|byte| !matches!(byte, b'\r' | b'\n'));
    let text = &text[..end.map_or(0, |at| at + 1)];
    let line = match text.contains(&b' ') {
        true => text.to_vec(),
        false => [b"ERR ", text].concat(),
    };
    Ok(Value::Table(error_table(lua, &line)?))
}

fn status_reply(lua: &Lua, args: &Arguments) -> Result<Value, Raise> {
    let Some(text) = only_string(args) else {
        let table = error_table(lua, b"ERR wrong number or type of arguments")?;
        return Ok(Value::Table(table));
    };
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set("ok", text)?;
    Ok(Value::Table(table))
}

fn setresp(lua: &Lua, args: &Arguments, shared: &Shared) -> Result<Value, Raise> {
    if args.len() != 1 {
        return Err(raise_line(
            lua,
            "ERR redis.setresp() requires one argument.",
        ));
    }
    match args.number(lua, 1).map(f64::trunc) {
        Ok(2.0) => shared.resp3.set(false),
        Ok(3.0) => shared.resp3.set(true),
        _ => return Err(raise_line(lua, "ERR RESP version must be 2 or 3.")),
    }
    Ok(Value::Nil)
}

fn set_repl(lua: &Lua, args: &Arguments, shared: &Shared) -> Result<Value, Raise> {
    if args.len() != 1 {
        return Err(raise_line(
            lua,
            "ERR redis.set_repl() requires one argument.",
        ));
    }
    let flags = args.number(lua, 1).unwrap_or(0.0) as i64;
    match u8::try_from(flags) {
        Ok(flags @ 0..=REPL_ALL) => shared.repl.set(flags),
        _ => {
            let line =
                "ERR Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.";
            return Err(raise_line(lua, line));
        }
    }
    Ok(Value::Nil)
}

fn log(lua: &Lua, args: &Arguments, shared: &Shared) -> Result<Value, Raise> {
    if args.len() < 2 {
        return Err(raise_line(
            lua,
            "ERR redis.log() requires two arguments or more.",
        ));
    }
    let level = match args.number(lua, 1) {
        Ok(level) => level,
        Err(_) => {
            return Err(raise_line(
                lua,
                "ERR First argument must be a number (log level).",
            ));
        }
    };
    let Some(level) = u8::try_from(level as i64).ok().filter(|level| *level <= 3) else {
        return Err(raise_line(lua, "ERR Invalid log level."));
    };
    let mut text = Vec::new();
    for index in 2..=args.len() {
        let Some(part) = text_of(lua, args.get(index)) else {
            continue;
        };
        if !text.is_empty() {
            text.push(b' ');
        }
        text.extend_from_slice(&part.as_bytes());
    }
    shared.logs.borrow_mut().push((level, text));
    Ok(Value::Nil)
}

/// The largest number that the generator below gives, and one more than `math.random` makes of it.
const RANDOM_MAX: f64 = 0x7fff_ffff as f64;

/// `math.random` and `math.randomseed` on the generator of the C function `lrand48`, which POSIX defines: the same
/// seed gives the same numbers on every server, and so does none.
fn random(lua: &Lua, host: &Rc<Host>, shared: &Rc<Shared>, math: &Table) -> mlua::Result<()> {
    let of_state = Rc::clone(shared);
    let random = move |lua: &Lua, args: &Arguments| {
        let state = of_state.rng48.get();
        let state = state.wrapping_mul(0x5_deec_e66d).wrapping_add(11) & ((1 << 48) - 1);
        of_state.rng48.set(state);
        let bits = (state >> 17) % 0x7fff_ffff;
        let share = bits as f64 / RANDOM_MAX;
        let empty = |index| Raise::Argument(index, "interval is empty".into());
        match args.len() {
            0 => Ok(Value::Number(share)),
            1 => {
                let most = args.int(lua, 1)?;
                if most < 1 {
                    return Err(empty(1));
                }
                Ok(Value::Number((share * f64::from(most)).floor() + 1.0))
            }
            2 => {
                let (least, most) = (args.int(lua, 1)?, args.int(lua, 2)?);
                if least > most {
                    return Err(empty(2));
                }
                let width = most.wrapping_sub(least).wrapping_add(1);
                Ok(Value::Number(
                    (share * f64::from(width)).floor() + f64::from(least),
                ))
            }
            _ => Err(Raise::Text("wrong number of arguments".into())),
        }
    };
    math.raw_set("random", host.function(lua, random)?)?;
    let of_state = Rc::clone(shared);
    let seed = move |lua: &Lua, args: &Arguments| {
        let seed = args.int(lua, 1)? as u32;
        of_state.rng48.set((u64::from(seed) << 16) + 0x330e);
        Ok(MultiValue::new())
    };
    math.raw_set("randomseed", host.function_of_many(lua, seed)?)
}
