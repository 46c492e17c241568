//! Machine: a Lua state on a stack of its own, so that a script can stand still in the middle.
//!
//! A script that calls a command, asks for the time, or has run for a while hands an [`Event`] to the engine and waits
//! for the [`Answer`]: nothing of the server is lent to it, and while it waits the engine may go back to the shell.
//! From the stack's point of view `redis.call` is an ordinary function that suspends inside. Lives here: the stack, the
//! events, the few functions that suspend. May not: decide what an event means.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use corosensei::stack::DefaultStack;
use corosensei::{Coroutine, CoroutineResult, Yielder};
use mlua::{Lua, LuaOptions, LuaString, MultiValue, StdLib, Table, Value};

use crate::resp::OwnedArgs;
use crate::resp::writer::format_double;
use crate::script::library::Views;
use crate::script::sandbox::{self, Host, Raise};

/// How many instructions of Lua pass between two ticks.
pub const TICK_INSTRUCTIONS: u32 = 100_000;

/// Compiled functions after which the garbage of compiling is collected.
const LOADS_TO_COLLECT: usize = 4096;

/// Address space for a script's C stack; only what is used takes memory. Lua nests at most 200 calls through C, and a
/// pattern match has its own bound.
const STACK_BYTES: usize = 16 << 20;

/// What a script asks for, or that it has ended.
pub enum Event {
    /// To run the command in [`Shared::args`].
    Call,
    /// To say whether the caller may run the command in [`Shared::args`].
    MayCall,
    /// To be let go on, or killed.
    Tick,
    /// The time of the process, in seconds.
    Clock,
    /// The script has returned this value, or an error, which is a table unless there was no memory for one.
    Done(Result<Value, Value>),
}

/// What a script gets.
pub enum Answer {
    Run(Job),
    /// The result of a call.
    Value(Value),
    /// The error of a call: a table.
    Error(Table),
    Continue,
    Kill,
    Clock(f64),
}

/// A script to run.
pub struct Job {
    pub function: mlua::Function,
    pub keys: Table,
    pub argv: Table,
    /// KEYS and ARGV are globals, not the arguments of a function.
    pub is_eval: bool,
}

/// A line that a script has written to the log: its level from 0 (debug) to 3, and the text.
pub type LogLine = (u8, Vec<u8>);

/// What the script's functions and the engine share.
#[derive(Default)]
pub struct Shared {
    /// The command of the last call.
    pub args: RefCell<OwnedArgs>,
    /// The script wants replies in RESP3.
    pub resp3: Cell<bool>,
    /// Where to the script's writes are propagated, see `redis.set_repl`.
    pub repl: Cell<u8>,
    pub logs: RefCell<Vec<LogLine>>,
    /// The function library that is being loaded collects its functions here.
    pub loading: RefCell<Option<crate::script::library::Draft>>,
    /// Instructions are counted against this many ticks while a library is loaded.
    pub load_ticks: Cell<u32>,
    /// The state of `math.random`.
    pub rng48: Cell<u64>,
    killed: Cell<bool>,
}

/// Propagation to the AOF and to replicas, the flags of `redis.set_repl`.
pub const REPL_AOF: u8 = 1;
pub const REPL_REPLICA: u8 = 2;
pub const REPL_ALL: u8 = 3;

/// One Lua state with its stack.
pub struct Machine {
    pub lua: Lua,
    pub shared: Rc<Shared>,
    pub host: Rc<Host>,
    /// How the code of libraries sees its globals.
    pub views: Option<Views>,
    /// Compiled functions by number. They are in a table of Lua, as there is little room for handles.
    functions: Table,
    next_slot: Cell<usize>,
    /// It is gone only while it is being dropped.
    fiber: Option<Coroutine<Answer, Event, ()>>,
    is_running: bool,
}

/// What a machine's scripts may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Eval,
    Functions,
}

impl Machine {
    /// A machine that waits for its first script. `seed` is where `math.random` begins.
    pub fn new(purpose: Purpose, seed: u64, deprecated_api: bool) -> mlua::Result<Machine> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libs, LuaOptions::new())?;
        let shared = Rc::new(Shared::default());
        shared.rng48.set(seed & ((1 << 48) - 1));
        shared.repl.set(REPL_ALL);
        let host = Rc::new(Host::take(&lua)?);
        let stack = DefaultStack::new(STACK_BYTES).map_err(mlua::Error::external)?;
        let (inner, inner_shared) = (lua.clone(), Rc::clone(&shared));
        let inner_host = Rc::clone(&host);
        let views = Rc::new(RefCell::new(None));
        let inner_views = Rc::clone(&views);
        let failure = Rc::new(RefCell::new(None));
        let inner_failure = Rc::clone(&failure);
        let mut fiber = Coroutine::with_stack(stack, move |yielder, _| {
            let set_up = |live| {
                let made = sandbox::set_up(
                    &inner,
                    &inner_host,
                    &inner_shared,
                    purpose,
                    deprecated_api,
                    live,
                );
                *inner_views.borrow_mut() = made?;
                Ok(())
            };
            let served = serve(&inner, &inner_host, &inner_shared, yielder, set_up);
            *inner_failure.borrow_mut() = served.err();
        });
        // Up to the point where it waits for a script.
        let started = fiber.resume(Answer::Continue);
        if let CoroutineResult::Return(()) = started {
            let error = failure.borrow_mut().take();
            return Err(error.unwrap_or(mlua::Error::runtime("the Lua state cannot be set up")));
        }
        let functions = lua.create_table()?;
        Ok(Machine {
            functions,
            next_slot: Cell::new(1),
            lua,
            shared,
            host,
            views: views.take(),
            fiber: Some(fiber),
            is_running: false,
        })
    }

    /// Lets the script go on with this answer until its next event.
    pub fn resume(&mut self, answer: Answer) -> Event {
        self.is_running = true;
        if let Answer::Run(_) = answer {
            self.shared.killed.set(false);
            self.shared.resp3.set(false);
            self.shared.repl.set(REPL_ALL);
        }
        let Some(fiber) = self.fiber.as_mut().filter(|fiber| !fiber.done()) else {
            return Event::Done(Err(Value::Nil));
        };
        let event = match fiber.resume(answer) {
            CoroutineResult::Yield(event) => event,
            CoroutineResult::Return(()) => Event::Done(Err(Value::Nil)),
        };
        self.is_running = !matches!(event, Event::Done(_));
        event
    }

    /// Keeps a function; the result is its number.
    pub fn keep(&self, function: mlua::Function) -> mlua::Result<usize> {
        let slot = self.next_slot.get();
        self.functions.raw_seti(slot, function)?;
        self.next_slot.set(slot + 1);
        // What compiling left behind would otherwise wait until as much again is there.
        if slot.is_multiple_of(LOADS_TO_COLLECT) {
            self.lua.gc_collect()?;
        }
        Ok(slot)
    }

    /// The function with this number.
    pub fn kept(&self, slot: usize) -> Option<mlua::Function> {
        self.functions.raw_get(slot).ok()
    }

    /// Forgets a function. What fails for lack of memory fails elsewhere soon enough.
    pub fn forget(&self, slot: usize) {
        let _ = self.functions.raw_seti(slot, Value::Nil);
    }

    /// An error as scripts see it: a table with the line in `err`.
    pub fn error_table(&self, line: &[u8], is_counted: bool) -> mlua::Result<Table> {
        error_table(&self.lua, line, is_counted)
    }
}

impl Drop for Machine {
    /// A stack with frames of C on it cannot be unwound: the script is brought to its end first.
    fn drop(&mut self) {
        while self.is_running {
            self.resume(Answer::Kill);
        }
        if let Some(fiber) = &mut self.fiber
            && !fiber.done()
        {
            fiber.force_unwind();
        }
    }
}

/// See [`Machine::error_table`].
pub fn error_table(lua: &Lua, line: &[u8], is_counted: bool) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string(line)?)?;
    if is_counted {
        table.raw_set("ignore_error_stats_update", true)?;
    }
    Ok(table)
}

/// The life of a machine: sets the state up, then runs scripts one after the other.
fn serve(
    lua: &Lua,
    host: &Rc<Host>,
    shared: &Rc<Shared>,
    yielder: &Yielder<Answer, Event>,
    set_up: impl FnOnce(sandbox::Live) -> mlua::Result<()>,
) -> mlua::Result<()> {
    lua.scope(|scope| {
        let call = |raises: bool| {
            move |lua: &Lua, args: MultiValue| -> mlua::Result<Value> {
                if let Err(text) = gather(shared, &args) {
                    return failed(lua, host, raises, error_table(lua, text, false)?);
                }
                match yielder.suspend(Event::Call) {
                    Answer::Value(value) => Ok(value),
                    Answer::Error(table) => failed(lua, host, raises, table),
                    _ => failed(lua, host, true, killed_error(lua, shared)?),
                }
            }
        };
        let may_call = |lua: &Lua, args: MultiValue| -> mlua::Result<Value> {
            if let Err(text) = gather(shared, &args) {
                return failed(lua, host, true, error_table(lua, text, false)?);
            }
            match yielder.suspend(Event::MayCall) {
                Answer::Value(value) => Ok(value),
                Answer::Error(table) => failed(lua, host, true, table),
                _ => failed(lua, host, true, killed_error(lua, shared)?),
            }
        };
        let tick = |lua: &Lua, ()| -> mlua::Result<Value> {
            if shared.loading.borrow().is_some() {
                let left = shared.load_ticks.get();
                shared.load_ticks.set(left.saturating_sub(1));
                return Ok(match left {
                    0 => Value::Table(error_table(lua, b"ERR FUNCTION LOAD timeout", false)?),
                    _ => Value::Nil,
                });
            }
            if !shared.killed.get() && !matches!(yielder.suspend(Event::Tick), Answer::Kill) {
                return Ok(Value::Nil);
            }
            Ok(Value::Table(killed_error(lua, shared)?))
        };
        let clock = |_: &Lua, ()| -> mlua::Result<f64> {
            Ok(match yielder.suspend(Event::Clock) {
                Answer::Clock(seconds) => seconds,
                _ => 0.0,
            })
        };
        let live = sandbox::Live {
            call: scope.create_function(call(true))?,
            pcall: scope.create_function(call(false))?,
            may_call: scope.create_function(may_call)?,
            clock: scope.create_function(clock)?,
        };
        set_up(live)?;
        host.set_tick(scope.create_function(tick)?, TICK_INSTRUCTIONS)?;
        let mut answer = yielder.suspend(Event::Done(Ok(Value::Nil)));
        loop {
            let Answer::Run(job) = answer else {
                answer = yielder.suspend(Event::Done(Err(Value::Nil)));
                continue;
            };
            let result = host.run(job);
            if shared.killed.get() {
                // The hook that kills is at every instruction; back to ticks.
                host.reset_tick(TICK_INSTRUCTIONS)?;
            }
            let result = result.unwrap_or_else(|error| {
                let text = format!("ERR {error}");
                Err(match error_table(lua, text.as_bytes(), false) {
                    Ok(table) => Value::Table(table),
                    Err(_) => Value::Nil,
                })
            });
            answer = yielder.suspend(Event::Done(result));
        }
    })
}

/// Returns an error from a call, or raises it.
fn failed(lua: &Lua, host: &Host, raises: bool, table: Table) -> mlua::Result<Value> {
    match raises {
        true => host.raise(lua, Raise::Value(Value::Table(table))),
        false => Ok(Value::Table(table)),
    }
}

/// From now on every instruction of the script fails.
fn killed_error(lua: &Lua, shared: &Shared) -> mlua::Result<Table> {
    shared.killed.set(true);
    let line = b"ERR Script killed by user with SCRIPT KILL...";
    error_table(lua, line, false)
}

/// Copies a call's arguments to where the engine finds them.
fn gather(shared: &Shared, args: &MultiValue) -> Result<(), &'static [u8]> {
    if args.is_empty() {
        return Err(b"ERR Please specify at least one argument for this redis lib call");
    }
    let mut owned = shared.args.borrow_mut();
    owned.clear();
    for arg in args.iter() {
        let fits = match arg {
            Value::String(text) => owned.push(&text.as_bytes()),
            Value::Integer(number) => owned.push(itoa::Buffer::new().format(*number).as_bytes()),
            Value::Number(number) => owned.push(number_arg(*number).as_bytes()),
            _ => return Err(b"ERR Lua redis lib command arguments must be strings or integers"),
        };
        if !fits {
            return Err(b"ERR the command is too long");
        }
    }
    Ok(())
}

/// A number as the argument of a command.
fn number_arg(number: f64) -> String {
    match number.is_nan() && number.is_sign_negative() {
        true => "-nan".into(),
        false if number == 0.0 => "0".into(),
        false => format_double(number),
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
