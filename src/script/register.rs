//! Register: what the code of a library finds while it is loaded, and `redis.register_function`.

use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use crate::script::flags::ScriptFlags;
use crate::script::host::{Arguments, Host, Raise, raise_line, text_of};
use crate::script::shared::{LibraryFunction, Shared};

/// The tables by which code of libraries sees its globals.
pub struct Views {
    /// The globals of all libraries' code.
    pub env: Table,
    /// Its metatable.
    pub meta: Table,
    /// What a library finds while it is loaded.
    pub loading: Table,
}

/// Whether this can be the name of a library or function.
pub fn is_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(is_plain)
}

/// What is said of one that cannot.
pub const BAD_NAME: &str = "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// Prepares a state for libraries.
pub fn set_up(
    lua: &Lua,
    host: &Rc<Host>,
    shared: &Rc<Shared>,
    redis: &Table,
) -> mlua::Result<Views> {
    let of_load = Rc::clone(shared);
    let register = move |lua: &Lua, args: &Arguments| register(lua, args, &of_load);
    let refusing = lua.create_table()?;
    refusing.raw_set("__index", host.missing())?;
    let api = lua.create_table()?;
    for pair in redis.pairs::<Value, Value>() {
        let (name, value) = pair?;
        let is_constant = !matches!(value, Value::Function(_));
        let is_log = matches!(&name, Value::String(name) if *name.as_bytes() == *b"log");
        if is_constant || is_log {
            api.raw_set(name, value)?;
        }
    }
    api.raw_set("register_function", host.function_of_many(lua, register)?)?;
    api.set_metatable(Some(refusing.clone()))?;
    let loading = lua.create_table()?;
    loading.raw_set("redis", &api)?;
    loading.set_metatable(Some(refusing.clone()))?;
    let meta = lua.create_table()?;
    meta.raw_set("__index", lua.globals())?;
    let env = lua.create_table()?;
    env.set_metatable(Some(meta.clone()))?;
    for table in [&api, &loading, &refusing, &env, &meta] {
        host.set_readonly(table, true)?;
    }
    Ok(Views { env, meta, loading })
}

/// `redis.register_function(name, callback)`, or with a table of named arguments.
fn register(lua: &Lua, args: &Arguments, shared: &Shared) -> Result<MultiValue, Raise> {
    let refuse = |text: &str| raise_line(lua, text);
    let function = match args.len() {
        1 => match args.get(1) {
            Value::Table(table) => named_arguments(lua, table)?,
            _ => {
                return Err(refuse(
                    "ERR calling redis.register_function with a single argument is only applicable to Lua table \
                     (representing named arguments).",
                ));
            }
        },
        2 => {
            let name = text_of(lua, args.get(1)).ok_or_else(|| {
                refuse("ERR first argument to redis.register_function must be a string")
            });
            let Value::Function(function) = args.get(2) else {
                name?;
                return Err(refuse(
                    "ERR second argument to redis.register_function must be a function",
                ));
            };
            let entry = LibraryFunction {
                name: name?.as_bytes().to_vec(),
                slot: None,
                flags: ScriptFlags::default(),
                description: None,
            };
            (function.clone(), entry)
        }
        _ => {
            return Err(refuse(
                "ERR wrong number of arguments to redis.register_function",
            ));
        }
    };
    let (_, entry) = &function;
    if !is_name(&entry.name) {
        return Err(refuse(BAD_NAME));
    }
    let mut loading = shared.loading.borrow_mut();
    let Some(draft) = loading.as_mut() else {
        return Err(refuse(
            "ERR redis.register_function can only be called on FUNCTION LOAD command",
        ));
    };
    let key = entry.name.to_ascii_lowercase();
    if draft.contains_key(&key) {
        return Err(refuse("ERR Function already exists in the library"));
    }
    draft.insert(key, function);
    Ok(MultiValue::new())
}

fn named_arguments(lua: &Lua, table: &Table) -> Result<(Function, LibraryFunction), Raise> {
    let refuse = |text: &str| raise_line(lua, text);
    let (mut name, mut callback, mut description) = (None, None, None);
    let mut flags = ScriptFlags::default();
    for pair in table.pairs::<Value, Value>() {
        let (key, value) = pair?;
        let Value::String(key) = key else {
            return Err(refuse(
                "ERR unknown argument given to redis.register_function",
            ));
        };
        match &*key.as_bytes() {
            b"function_name" => {
                let text = text_of(lua, &value).ok_or_else(|| {
                    refuse("ERR function_name argument given to redis.register_function must be a string")
                })?;
                name = Some(text.as_bytes().to_vec());
            }
            b"description" => {
                let text = text_of(lua, &value).ok_or_else(|| {
                    refuse("ERR description argument given to redis.register_function must be a string")
                })?;
                description = Some(text.as_bytes().to_vec());
            }
            b"callback" => match value {
                Value::Function(function) => callback = Some(function),
                _ => {
                    return Err(refuse(
                        "ERR callback argument given to redis.register_function must be a function",
                    ));
                }
            },
            b"flags" => {
                let Value::Table(list) = value else {
                    return Err(refuse(
                        "ERR flags argument to redis.register_function must be a table representing function flags",
                    ));
                };
                for index in 1.. {
                    let flag = match list.raw_get::<Value>(index)? {
                        Value::Nil => break,
                        Value::String(name) => ScriptFlags::named(&name.as_bytes()),
                        _ => None,
                    };
                    flags = flags.or(flag.ok_or_else(|| refuse("ERR unknown flag given"))?);
                }
            }
            _ => {
                return Err(refuse(
                    "ERR unknown argument given to redis.register_function",
                ));
            }
        }
    }
    let name = name
        .ok_or_else(|| refuse("ERR redis.register_function must get a function name argument"))?;
    let function = callback
        .ok_or_else(|| refuse("ERR redis.register_function must get a callback argument"))?;
    let entry = LibraryFunction {
        name,
        slot: None,
        flags,
        description,
    };
    Ok((function, entry))
}
