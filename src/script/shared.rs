//! Shared: what a Lua state's functions, its machine and the engine have in common.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::Function;

use crate::resp::{OwnedArgs, Reply};
use crate::script::flags::ScriptFlags;
use crate::script::stack::Anchor;

/// How many instructions of Lua pass between two ticks.
pub const TICK_INSTRUCTIONS: u32 = 100_000;

/// What a machine's scripts may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Eval,
    Functions,
}

/// A line that a script has written to the log: its level from 0 (debug) to 3, and the text.
pub type LogLine = (u8, Vec<u8>);

/// What the script's functions and the engine share.
#[derive(Default)]
pub struct Shared {
    /// The command of the last call.
    pub args: RefCell<OwnedArgs>,
    /// What a command replies to the script, and then what the script replies.
    pub reply: RefCell<Reply>,
    /// The script wants replies in RESP3.
    pub resp3: Cell<bool>,
    /// Where to the script's writes are propagated, see `redis.set_repl`.
    pub repl: Cell<u8>,
    pub logs: RefCell<Vec<LogLine>>,
    /// The function library that is being loaded collects its functions here.
    pub loading: RefCell<Option<Draft>>,
    /// Instructions are counted against this many ticks while a library is loaded.
    pub load_ticks: Cell<u32>,
    /// The state of `math.random`, which all machines share.
    pub rng48: Rc<Cell<u64>>,
    pub(super) killed: Cell<bool>,
    /// The script is where it can stand still. It is not while the collector ends objects of its own.
    pub(super) can_wait: Cell<bool>,
}

/// Propagation to the AOF and to replicas, the flags of `redis.set_repl`.
pub const REPL_AOF: u8 = 1;
pub const REPL_REPLICA: u8 = 2;
pub const REPL_ALL: u8 = 3;

/// A function of a library.
pub struct LibraryFunction {
    pub name: Vec<u8>,
    /// Where the machine keeps the function.
    pub slot: Option<Anchor>,
    pub flags: ScriptFlags,
    pub description: Option<Vec<u8>>,
}

/// The functions that a library registers while it is loaded; they have no numbers yet.
pub type Draft = BTreeMap<Vec<u8>, (Function, LibraryFunction)>;
