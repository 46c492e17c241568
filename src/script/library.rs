//! Library: function libraries, which FUNCTION LOAD brings and FCALL calls.
//!
//! A library's code runs once, when it is loaded, and registers its functions. For that time it finds nothing but a
//! small table `redis`; its functions, when they are called, find what scripts do. Both come through one table of
//! globals, empty and read-only, whose metatable says where to look further.

use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::{Function, Lua, MultiValue, Table, Value};

use crate::config::split_args;
use crate::script::cache::compile;
use crate::script::flags::ScriptFlags;
use crate::script::machine::{Machine, Shared, text_of};
use crate::script::sandbox::{Arguments, Host, Raise, raise_line};
use crate::script::stack::Anchor;

/// How many times 100 000 instructions a library's code may run. Real servers give it half a second.
const LOAD_TICKS: u32 = 500;

/// What the functions of libraries are called in errors.
const CHUNK_NAME: &str = "@user_function";

/// A function of a library.
pub struct LibraryFunction {
    pub name: Vec<u8>,
    /// Where the machine keeps the function.
    pub slot: Option<Anchor>,
    pub flags: ScriptFlags,
    pub description: Option<Vec<u8>>,
}

/// A library. Its functions are found by their names in lower case.
pub struct Library {
    pub code: Vec<u8>,
    pub functions: BTreeMap<Vec<u8>, LibraryFunction>,
}

/// The functions that a library registers while it is loaded; they have no numbers yet.
pub type Draft = BTreeMap<Vec<u8>, (Function, LibraryFunction)>;

/// The tables by which code of libraries sees its globals.
pub struct Views {
    /// The globals of all libraries' code.
    env: Table,
    /// Its metatable.
    meta: Table,
    /// What a library finds while it is loaded.
    loading: Table,
}

/// All libraries, and the Lua state that they are in.
#[derive(Default)]
pub struct Libraries {
    pub machine: Option<Machine>,
    libraries: BTreeMap<Vec<u8>, Library>,
    /// The library of each function, by the function's name in lower case.
    owners: BTreeMap<Vec<u8>, Vec<u8>>,
}

/// What happens to libraries that are there when others are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    Flush,
    Append,
    Replace,
}

impl Libraries {
    /// The libraries by name.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Library)> {
        self.libraries
            .iter()
            .map(|(name, library)| (&name[..], library))
    }

    /// How many libraries there are.
    pub fn len(&self) -> usize {
        self.libraries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.libraries.is_empty()
    }

    /// How many functions there are.
    pub fn function_count(&self) -> usize {
        self.owners.len()
    }

    /// Memory of the code and what is kept with it, in bytes.
    pub fn bytes(&self) -> usize {
        let of_function =
            |function: &LibraryFunction| size_of::<LibraryFunction>() + 2 * function.name.len();
        let of_library = |(name, library): (&Vec<u8>, &Library)| {
            let functions: usize = library.functions.values().map(of_function).sum();
            size_of::<Library>() + name.len() + library.code.len() + functions
        };
        self.libraries.iter().map(of_library).sum()
    }

    /// A function by its name, in any case.
    pub fn function(&self, name: &[u8]) -> Option<&LibraryFunction> {
        let name = name.to_ascii_lowercase();
        let library = self.libraries.get(self.owners.get(&name)?)?;
        library.functions.get(&name)
    }

    /// Loads a library; says its name. The machine is there.
    pub fn load(&mut self, code: &[u8], replaces: bool) -> Result<Vec<u8>, Vec<u8>> {
        let (name, start) = header(code)?;
        if !replaces && self.libraries.contains_key(&name) {
            return Err(exists(&name));
        }
        let functions = self.run_code(&code[start..])?;
        let library = Library {
            code: code.to_vec(),
            functions,
        };
        self.check_names(&name, &library)?;
        self.put(name.clone(), library);
        Ok(name)
    }

    /// Runs a library's code and returns what it registers.
    fn run_code(&self, code: &[u8]) -> Result<BTreeMap<Vec<u8>, LibraryFunction>, Vec<u8>> {
        let Some(machine) = &self.machine else {
            return Err(b"ERR the Lua state is in use".to_vec());
        };
        let failed = |error: mlua::Error| format!("ERR {error}").into_bytes();
        let Some(views) = &machine.views else {
            return Err(b"ERR the Lua state has no libraries".to_vec());
        };
        let function = compile(machine, code, CHUNK_NAME)
            .map_err(|text| [&b"ERR Error compiling function: "[..], &text].concat())?;
        function
            .set_environment(views.env.clone())
            .map_err(failed)?;
        machine
            .host
            .set_readonly(&views.meta, false)
            .map_err(failed)?;
        views
            .meta
            .raw_set("__index", &views.loading)
            .map_err(failed)?;
        machine.shared.load_ticks.set(LOAD_TICKS);
        *machine.shared.loading.borrow_mut() = Some(Draft::new());
        let result = machine.host.run_library(function);
        let draft = machine.shared.loading.borrow_mut().take();
        let globals = machine.lua.globals();
        views.meta.raw_set("__index", globals).map_err(failed)?;
        machine
            .host
            .set_readonly(&views.meta, true)
            .map_err(failed)?;
        machine
            .host
            .reset_tick(crate::script::machine::TICK_INSTRUCTIONS)
            .map_err(failed)?;
        let error = match result.map_err(failed)? {
            Ok(_) => {
                let draft = draft.unwrap_or_default();
                if draft.is_empty() {
                    return Err(b"ERR No functions registered".to_vec());
                }
                let mut functions = BTreeMap::new();
                for (key, (function, mut entry)) in draft {
                    entry.slot = Some(machine.keep(function).map_err(failed)?);
                    functions.insert(key, entry);
                }
                return Ok(functions);
            }
            Err(Value::Table(table)) => table.raw_get("err").map_err(failed)?,
            Err(_) => Value::Nil,
        };
        let text = match error {
            Value::String(line) => line.as_bytes().to_vec(),
            _ => b"ERR unknown error".to_vec(),
        };
        Err([&b"ERR Error registering functions: "[..], &text].concat())
    }

    /// Whether another library has a function of the same name.
    fn check_names(&self, name: &[u8], library: &Library) -> Result<(), Vec<u8>> {
        for (key, function) in &library.functions {
            if self.owners.get(key).is_some_and(|owner| owner != name) {
                return Err([b"ERR Function ", &function.name[..], b" already exists"].concat());
            }
        }
        Ok(())
    }

    fn put(&mut self, name: Vec<u8>, library: Library) {
        self.delete(&name);
        for key in library.functions.keys() {
            self.owners.insert(key.clone(), name.clone());
        }
        self.libraries.insert(name, library);
    }

    /// Deletes a library; says whether it was there.
    pub fn delete(&mut self, name: &[u8]) -> bool {
        let Some(library) = self.libraries.remove(name) else {
            return false;
        };
        for (key, function) in &library.functions {
            self.owners.remove(key);
            if let (Some(machine), Some(slot)) = (&self.machine, function.slot) {
                machine.forget(slot);
            }
        }
        true
    }

    /// Deletes all libraries, and the state with all that they left in it.
    pub fn flush(&mut self) {
        *self = Libraries::default();
    }

    /// Loads these libraries, all or none of them. The machine is there.
    pub fn restore(&mut self, codes: &[Vec<u8>], policy: Policy) -> Result<(), Vec<u8>> {
        let mut restored = Libraries::default();
        for code in codes {
            let (name, start) = header(code)?;
            if restored.libraries.contains_key(&name) {
                return Err(exists(&name));
            }
            let functions = self.run_code(&code[start..])?;
            let library = Library {
                code: code.clone(),
                functions,
            };
            restored.check_names(&name, &library)?;
            restored.put(name, library);
        }
        if policy == Policy::Flush {
            restored.machine = self.machine.take();
            *self = restored;
            return Ok(());
        }
        for name in restored.libraries.keys() {
            if policy == Policy::Append && self.libraries.contains_key(name) {
                return Err([b"ERR Library ", &name[..], b" already exists"].concat());
            }
        }
        // A function's name is free when its library is about to be replaced.
        for (key, function) in restored
            .libraries
            .values()
            .flat_map(|library| &library.functions)
        {
            let owner = self.owners.get(key);
            if owner.is_some_and(|owner| !restored.libraries.contains_key(owner)) {
                return Err([b"ERR Function ", &function.name[..], b" already exists"].concat());
            }
        }
        for name in restored.libraries.keys() {
            self.delete(name);
        }
        for (name, library) in restored.libraries {
            self.put(name, library);
        }
        Ok(())
    }
}

fn exists(name: &[u8]) -> Vec<u8> {
    [b"ERR Library '", name, b"' already exists"].concat()
}

/// Whether this can be the name of a library or function.
fn is_name(name: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
    !name.is_empty() && name.iter().all(is_plain)
}

const BAD_NAME: &str = "ERR Library names can only contain letters, numbers, or underscores(_) and must be at least one character long";

/// The name in a library's first line, and where its code begins.
fn header(code: &[u8]) -> Result<(Vec<u8>, usize), Vec<u8>> {
    let text = |text: &str| text.as_bytes().to_vec();
    if !code.starts_with(b"#!") {
        return Err(text("ERR Missing library metadata"));
    }
    let Some(end) = memchr::memchr(b'\n', code) else {
        return Err(text("ERR Invalid library metadata"));
    };
    let words = split_args(&code[..end]).ok_or_else(|| text("ERR Invalid library metadata"))?;
    let (engine, options) = words
        .split_first()
        .ok_or_else(|| text("ERR Invalid library metadata"))?;
    let mut name = None;
    for option in options {
        let Some(value) = option.strip_prefix(b"name=") else {
            return Err([b"ERR Invalid metadata value given: ", &option[..]].concat());
        };
        if name.replace(value.to_vec()).is_some() {
            return Err(text(
                "ERR Invalid metadata value, name argument was given multiple times",
            ));
        }
    }
    let name = name.ok_or_else(|| text("ERR Library name was not given"))?;
    if !is_name(&name) {
        return Err(text(BAD_NAME));
    }
    if !engine[2..].eq_ignore_ascii_case(b"lua") {
        return Err([b"ERR Engine '", &engine[2..], b"' not found"].concat());
    }
    Ok((name, end))
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_has_to_name_the_library_and_nothing_else() {
        assert_eq!(header(b"#!lua name=a_1\nx"), Ok((b"a_1".to_vec(), 14)));
        assert_eq!(header(b"#!LUA  name=\"a\"\n"), Ok((b"a".to_vec(), 15)));
        for (code, error) in [
            ("x", "ERR Missing library metadata"),
            ("#!lua name=a", "ERR Invalid library metadata"),
            ("#!lua\n", "ERR Library name was not given"),
            ("#!lua name=a b\n", "ERR Invalid metadata value given: b"),
            ("#!foo name=a\n", "ERR Engine 'foo' not found"),
            ("#!lua name=\n", BAD_NAME),
        ] {
            assert_eq!(
                header(code.as_bytes()),
                Err(error.as_bytes().to_vec()),
                "{code}"
            );
        }
    }
}
