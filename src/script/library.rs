//! Library: function libraries, which FUNCTION LOAD brings and FCALL calls.
//!
//! A library's code runs once, when it is loaded, and registers its functions. For that time it finds nothing but a
//! small table `redis`; its functions, when they are called, find what scripts do. Both come through one table of
//! globals, empty and read-only, whose metatable says where to look further.

use std::collections::BTreeMap;

use mlua::Value;

use crate::config::split_args;
use crate::script::cache::compile;
use crate::script::machine::Machine;
use crate::script::register::{BAD_NAME, is_name};
use crate::script::shared::{Draft, LibraryFunction, TICK_INSTRUCTIONS};

/// How many times 100 000 instructions a library's code may run. Real servers give it half a second.
const LOAD_TICKS: u32 = 500;

/// What the functions of libraries are called in errors.
const CHUNK_NAME: &str = "@user_function";

/// A library. Its functions are found by their names in lower case.
pub struct Library {
    pub code: Vec<u8>,
    pub functions: BTreeMap<Vec<u8>, LibraryFunction>,
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
        machine.host.reset_tick(TICK_INSTRUCTIONS).map_err(failed)?;
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
