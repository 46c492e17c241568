//! Host: the few functions that only the inside of Lua can give (`lhost.c`), and how a library function of ours takes its
//! arguments and fails.

use std::rc::Rc;

use mlua::{
    Function, IntoLua, IntoLuaMulti, LightUserData, Lua, LuaString, MultiValue, Table, Value,
};

use crate::script::stack::Anchor;

/// What the C side takes as the request to raise what lies in the cell. It is an address that nothing has.
const RAISE: usize = 1;

/// Kinds of errors, as `lhost.c` numbers them.
const PLAIN: i32 = 0;
const WITH_PLACE: i32 = 1;
const ARGUMENT: i32 = 2;

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
    pub(super) pcall: Function,
    missing: Function,
    collect: Function,
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
            collect: table.get("collect")?,
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

    /// Lets the collector make so many steps; says whether a cycle has come to its end.
    pub fn collect(&self, steps: u32) -> mlua::Result<bool> {
        self.collect.call(steps)
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

/// An error as scripts see it: a table with the line in `err`.
pub fn error_table(lua: &Lua, line: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 1)?;
    table.raw_set("err", lua.create_string(line)?)?;
    Ok(table)
}

/// An error table as something to raise.
pub fn raise_line(lua: &Lua, line: &str) -> Raise {
    match error_table(lua, line.as_bytes()) {
        Ok(table) => Raise::Value(Value::Table(table)),
        Err(error) => Raise::Lua(error),
    }
}

/// A string's bytes, where a number counts as its text.
pub fn text_of(lua: &Lua, value: &Value) -> Option<LuaString> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Integer(_) | Value::Number(_) => lua.coerce_string(value.clone()).ok().flatten(),
        _ => None,
    }
}
