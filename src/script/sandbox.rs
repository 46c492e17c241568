//! Sandbox: what scripts find in a Lua state, and that they cannot change it.
//!
//! All scripts share one state, so nothing that one leaves may reach another: globals, libraries and the metatable of
//! strings are read-only, and there is no way to files, to other programs or to bytecode. What is needed for that from
//! inside of Lua is `lhost.c`, see `lua/README.md`.

use std::rc::Rc;

use mlua::{Function, IntoLua, IntoLuaMulti, LightUserData, Lua, MultiValue, Table, Value};

use crate::config::{REDIS_VERSION, REDIS_VERSION_NUM};
use crate::script::machine::{
    Purpose, REPL_ALL, REPL_AOF, REPL_REPLICA, Shared, error_table, text_of,
};
use crate::script::stack::Anchor;
use crate::script::{bits, cjson, library, msgpack, packed};

/// What the C side takes as the request to raise what lies in the cell. It is an address that nothing has.
const RAISE: usize = 1;

/// Kinds of errors, as `lhost.c` numbers them.
const PLAIN: i32 = 0;
const WITH_PLACE: i32 = 1;
const ARGUMENT: i32 = 2;

/// Globals of Lua that scripts do not get.
const WITHDRAWN: [&str; 5] = ["dofile", "loadfile", "print", "__host", "module"];

/// Those that only old scripts get, when the configuration says so.
const DEPRECATED: [&str; 3] = ["getfenv", "setfenv", "newproxy"];

/// How a library function fails.
#[derive(Debug)]
pub enum Raise {
    /// With a text, which gets the place of the call in front.
    Text(String),
    /// Because of the argument with this number, counted from 1.
    Argument(usize, String),
    /// With this value.
    Value(Value),
    /// Lua itself has failed, for lack of memory.
    Lua(mlua::Error),
}

impl From<mlua::Error> for Raise {
    fn from(error: mlua::Error) -> Raise {
        Raise::Lua(error)
    }
}

/// The functions of `lhost.c`.
pub struct Host {
    run: Function,
    raising: Function,
    readonly: Function,
    sethook: Function,
    tick: std::cell::RefCell<Option<Function>>,
    pcall: Function,
    missing: Function,
    /// Where the error to raise is put.
    cell: Table,
}

impl Host {
    /// Takes them from a fresh state.
    pub fn take(lua: &Lua) -> mlua::Result<Host> {
        let table: Table = lua.globals().get("__host")?;
        Ok(Host {
            run: table.get("run")?,
            raising: table.get("raising")?,
            readonly: table.get("readonly")?,
            sethook: table.get("sethook")?,
            tick: Default::default(),
            pcall: table.get("pcall")?,
            missing: table.get("missing")?,
            cell: lua.create_table_with_capacity(2, 0)?,
        })
    }

    /// Lets `tick` be called every so many instructions.
    pub fn set_tick(&self, tick: Function, instructions: u32) -> mlua::Result<()> {
        *self.tick.borrow_mut() = Some(tick);
        self.reset_tick(instructions)
    }

    pub fn reset_tick(&self, instructions: u32) -> mlua::Result<()> {
        let tick = self.tick.borrow().clone();
        self.sethook.call((tick, instructions))
    }

    /// What runs a script, for the stack.
    pub fn run_anchor(&self, lua: &Lua) -> mlua::Result<Anchor> {
        Anchor::new(lua, &self.run)
    }

    /// Runs the code of a library, which returns nothing of worth.
    pub fn run_library(&self, code: Function) -> mlua::Result<Result<Value, Value>> {
        let (is_ok, value): (bool, Value) = self.run.call((code, Value::Nil, Value::Nil, false))?;
        Ok(if is_ok { Ok(value) } else { Err(value) })
    }

    /// Nobody changes the table from now on, or may again.
    pub fn set_readonly(&self, table: &Table, on: bool) -> mlua::Result<()> {
        self.readonly.call((table, on))
    }

    /// The function that refuses to look a global up.
    pub fn missing(&self) -> &Function {
        &self.missing
    }

    /// A function that raises what `function` puts into the cell.
    pub fn raising(&self, function: Function) -> mlua::Result<Function> {
        self.raising.call((function, &self.cell))
    }

    /// What a function has to return so that this is raised.
    pub fn raise(&self, lua: &Lua, raise: Raise) -> mlua::Result<Value> {
        let (kind, value) = match raise {
            Raise::Text(text) => (WITH_PLACE, text.into_lua(lua)?),
            Raise::Argument(index, text) => (ARGUMENT + index as i32, text.into_lua(lua)?),
            Raise::Value(value) => (PLAIN, value),
            Raise::Lua(error) => return Err(error),
        };
        self.cell.raw_seti(1, kind)?;
        self.cell.raw_seti(2, value)?;
        let mark = std::ptr::without_provenance_mut(RAISE);
        Ok(Value::LightUserData(LightUserData(mark)))
    }

    /// A library function that returns one value.
    pub fn function(
        self: &Rc<Self>,
        lua: &Lua,
        function: impl Fn(&Lua, &Arguments) -> Result<Value, Raise> + 'static,
    ) -> mlua::Result<Function> {
        let host = Rc::clone(self);
        let inner = lua.create_function(move |lua, args: MultiValue| {
            match function(lua, &Arguments(args)) {
                Ok(value) => Ok(value),
                Err(raise) => host.raise(lua, raise),
            }
        })?;
        self.raising(inner)
    }

    /// A library function that returns any number of values.
    pub fn function_of_many(
        self: &Rc<Self>,
        lua: &Lua,
        function: impl Fn(&Lua, &Arguments) -> Result<MultiValue, Raise> + 'static,
    ) -> mlua::Result<Function> {
        let host = Rc::clone(self);
        let inner = lua.create_function(move |lua, args: MultiValue| {
            match function(lua, &Arguments(args)) {
                Ok(values) => Ok(values),
                Err(raise) => host.raise(lua, raise)?.into_lua_multi(lua),
            }
        })?;
        self.raising(inner)
    }
}

/// The arguments of a library function, counted from 1 as Lua does.
pub struct Arguments(pub MultiValue);

impl Arguments {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn get(&self, index: usize) -> &Value {
        self.0.get(index.wrapping_sub(1)).unwrap_or(&Value::Nil)
    }

    /// The refusal of an argument that is not a `wanted`.
    pub fn wrong_type(&self, index: usize, wanted: &str) -> Raise {
        let got = match index > self.len() {
            true => "no value",
            false => type_name(self.get(index)),
        };
        Raise::Argument(index, format!("{wanted} expected, got {got}"))
    }

    /// A number; text that reads as one counts.
    pub fn number(&self, lua: &Lua, index: usize) -> Result<f64, Raise> {
        let number = match self.get(index) {
            Value::Integer(number) => Some(*number as f64),
            Value::Number(number) => Some(*number),
            text @ Value::String(_) => lua.coerce_number(text.clone())?,
            _ => None,
        };
        number.ok_or_else(|| self.wrong_type(index, "number"))
    }

    /// A number cut to 32 bits, as C does it.
    pub fn int(&self, lua: &Lua, index: usize) -> Result<i32, Raise> {
        Ok(self.number(lua, index)? as i64 as i32)
    }

    /// A string; a number counts as its text.
    pub fn string(&self, lua: &Lua, index: usize) -> Result<mlua::LuaString, Raise> {
        text_of(lua, self.get(index)).ok_or_else(|| self.wrong_type(index, "string"))
    }

    /// A table.
    pub fn table(&self, index: usize) -> Result<&Table, Raise> {
        match self.get(index) {
            Value::Table(table) => Ok(table),
            _ => Err(self.wrong_type(index, "table")),
        }
    }
}

/// The name of a value's type as scripts know it.
pub fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

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
) -> mlua::Result<Option<library::Views>> {
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
    guard.raw_set("__index", &host.missing)?;
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
        Purpose::Functions => Some(library::set_up(lua, host, shared, &redis)?),
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

/// An error table as something to raise.
pub fn raise_line(lua: &Lua, line: &str) -> Raise {
    match error_table(lua, line.as_bytes()) {
        Ok(table) => Raise::Value(Value::Table(table)),
        Err(error) => Raise::Lua(error),
    }
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
    match args.number(lua, 1) {
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
/// seed gives the same numbers on every server.
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
