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
use mlua::{Lua, LuaOptions, StdLib};

use crate::resp::Args;
use crate::resp::writer::format_double;
use crate::script::convert::{self, ErrorReply, push_error, whole};
use crate::script::host::Host;
use crate::script::register::Views;
use crate::script::sandbox;
use crate::script::shared::{Purpose, REPL_ALL, Shared, TICK_INSTRUCTIONS};
use crate::script::stack::{self, Anchor, Kind, Outcome, Stack};

/// Where `math.random` begins in every server: the state of a generator of POSIX that nobody has seeded.
pub const RANDOM_START: u64 = 0x1234_abcd_330e;

/// Address space for a script's C stack; only what is used takes memory. Lua nests at most 200 calls through C, and a
/// pattern match has its own bound.
const STACK_BYTES: usize = 16 << 20;

/// The error of Lua that no handler has made a table of.
const NO_MEMORY: &[u8] = b"not enough memory";

/// Capacity that the buffer for replies keeps.
const REPLY_KEEP: usize = 64 * 1024;

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
    Done(Ended),
}

/// How a script has ended.
pub enum Ended {
    /// What it has returned is in [`Shared::reply`].
    Replied,
    /// It has returned an error.
    Returned(ErrorReply),
    /// It has raised an error.
    Raised(ErrorReply),
    /// Lua itself has failed.
    Broken,
}

/// What a script gets.
pub enum Answer {
    /// To run, as [`Machine::load`] has said. Its result is written in this version of the protocol.
    Run {
        is_resp3: bool,
    },
    /// What the command has replied is in [`Shared::reply`].
    Reply,
    /// The command was not run.
    Refused {
        line: Vec<u8>,
        is_counted: bool,
    },
    /// Whether the command may be run.
    May(bool),
    Continue,
    Kill,
    Clock(f64),
}

/// One Lua state with its stack.
pub struct Machine {
    pub lua: Lua,
    pub shared: Rc<Shared>,
    pub host: Rc<Host>,
    /// How the code of libraries sees its globals.
    pub views: Option<Views>,
    /// `Host::run`, as the stack has it.
    run: Anchor,
    /// What lies on the stack when no script is loaded.
    base: i32,
    collection: Collection,
    /// It is gone only while it is being dropped.
    fiber: Option<Coroutine<Answer, Event, ()>>,
    is_running: bool,
}

impl Machine {
    /// A machine that waits for its first script. `rng48` is the state of `math.random`.
    pub fn new(
        purpose: Purpose,
        rng48: &Rc<Cell<u64>>,
        deprecated_api: bool,
    ) -> mlua::Result<Machine> {
        let libs = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libs, LuaOptions::new())?;
        let shared = Rc::new(Shared {
            rng48: Rc::clone(rng48),
            ..Shared::default()
        });
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
        Ok(Machine {
            run: host.run_anchor(&lua)?,
            base: Stack::of(&lua).len(),
            collection: Collection::new(lua.used_memory()),
            lua,
            shared,
            host,
            views: views.take(),
            fiber: Some(fiber),
            is_running: false,
        })
    }

    /// Puts a kept function onto the stack, to be run next: the arguments from `first` on are `numkeys` keys and what
    /// else it gets. With `is_eval` they are the globals KEYS and ARGV, otherwise the function's arguments.
    pub fn load(
        &self,
        function: Anchor,
        args: Args<'_>,
        first: usize,
        numkeys: usize,
        is_eval: bool,
    ) {
        let mut stack = Stack::of(&self.lua);
        stack.truncate(self.base);
        assert!(stack.reserve(6), "nothing else is on the stack");
        stack.push_anchored(self.run);
        stack.push_anchored(function);
        for (from, to) in [(first, first + numkeys), (first + numkeys, args.len())] {
            let table = stack.push_table(to - from, 0);
            for (index, at) in (1..).zip(from..to) {
                stack.push_bytes(args.bytes(at));
                stack.set_element(table, index);
            }
        }
        stack.push_bool(is_eval);
    }

    /// Lets the script go on with this answer until its next event.
    pub fn resume(&mut self, answer: Answer) -> Event {
        self.is_running = true;
        self.collection.is_settled = false;
        if let Answer::Run { .. } = answer {
            self.shared.killed.set(false);
            self.shared.resp3.set(false);
            self.shared.repl.set(REPL_ALL);
        }
        let Some(fiber) = self.fiber.as_mut().filter(|fiber| !fiber.done()) else {
            return Event::Done(Ended::Broken);
        };
        self.shared.can_wait.set(true);
        let event = match fiber.resume(answer) {
            CoroutineResult::Yield(event) => event,
            CoroutineResult::Return(()) => Event::Done(Ended::Broken),
        };
        self.shared.can_wait.set(false);
        self.is_running = !matches!(event, Event::Done(_));
        event
    }

    /// Keeps a function.
    pub fn keep(&self, function: mlua::Function) -> mlua::Result<Anchor> {
        Anchor::new(&self.lua, function)
    }

    /// Forgets a function.
    pub fn forget(&self, function: Anchor) {
        function.release(&self.lua);
    }

    /// What the Lua state takes, in bytes.
    pub fn heap_bytes(&self) -> u64 {
        self.lua.used_memory() as u64
    }

    /// The size from which on garbage is collected beyond what Lua collects by itself. It is a good deal less when
    /// memory is short; what has been collected since the last script is then taken for no garbage.
    pub fn garbage_limit(&self, is_short: bool) -> u64 {
        let settled = self.collection.settled_bytes;
        match is_short {
            false => settled * 3 + 256 * 1024,
            true if self.collection.is_settled => u64::MAX,
            true => settled + settled / 4 + 64 * 1024,
        }
    }

    /// All that is garbage now is collected from here on, by [`Machine::collect_some`].
    pub fn begin_collection(&mut self) {
        if !self.is_collecting() {
            self.collection.cycles_left = CYCLES;
        }
    }

    pub fn is_collecting(&self) -> bool {
        self.collection.cycles_left > 0
    }

    /// Goes on with a collection that has begun. A step is a few microseconds' work.
    pub fn collect_some(&mut self, steps: u32) {
        if !self.is_collecting() {
            return;
        }
        // The collector fails with Lua's memory alone, and then there is nothing to go on with.
        if self.host.collect(steps).unwrap_or(true) {
            self.collection.cycles_left -= 1;
            if !self.is_collecting() {
                self.collection.settled_bytes = self.heap_bytes();
                self.collection.is_settled = true;
            }
        }
    }
}

/// Cycles of Lua's collector that collect everything: the one under way may have seen as alive what has become garbage
/// since.
const CYCLES: u8 = 2;

/// Collecting beyond what Lua does by itself. Lua begins a cycle when memory has doubled since the last one, so what a
/// single script leaves behind would stay until others have left as much again.
struct Collection {
    /// The state's size behind the last collection.
    settled_bytes: u64,
    /// No script has run since.
    is_settled: bool,
    cycles_left: u8,
}

impl Collection {
    fn new(heap_bytes: usize) -> Collection {
        Collection {
            settled_bytes: heap_bytes as u64,
            is_settled: true,
            cycles_left: 0,
        }
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

/// What the functions work on that suspend.
struct Link<'a> {
    shared: &'a Shared,
    yielder: &'a Yielder<Answer, Event>,
}

impl Link<'_> {
    /// Stands still until the engine has an answer. Who waits holds nothing of the stack.
    fn wait(&self, event: Event) -> Answer {
        self.yielder.suspend(event)
    }
}

/// The life of a machine: sets the state up, then runs scripts one after the other.
fn serve(
    lua: &Lua,
    host: &Rc<Host>,
    shared: &Rc<Shared>,
    yielder: &Yielder<Answer, Event>,
    set_up: impl FnOnce(sandbox::Live) -> mlua::Result<()>,
) -> mlua::Result<()> {
    let link = Link { shared, yielder };
    let handlers: [stack::Handler<Link<'_>>; 5] = [
        |stack, link| call(stack, link, true),
        |stack, link| call(stack, link, false),
        |stack, link| may_call(stack, link),
        |stack, link| clock(stack, link),
        |stack, link| tick(stack, link),
    ];
    stack::lend(
        lua,
        &link,
        handlers,
        |[call, pcall, may_call, clock, tick]| {
            set_up(sandbox::Live {
                call,
                pcall,
                may_call,
                clock,
            })?;
            host.set_tick(tick, TICK_INSTRUCTIONS)?;
            let mut answer = link.wait(Event::Done(Ended::Replied));
            loop {
                let Answer::Run { is_resp3 } = answer else {
                    answer = link.wait(Event::Done(Ended::Broken));
                    continue;
                };
                let ended = run(&mut Stack::of(lua), shared, is_resp3);
                if shared.killed.get() {
                    // The hook that kills is at every instruction; back to ticks.
                    host.reset_tick(TICK_INSTRUCTIONS)?;
                }
                answer = link.wait(Event::Done(ended));
            }
        },
    )
}

/// Runs what [`Machine::load`] has put onto the stack, and writes what it returns.
fn run(stack: &mut Stack<'_>, shared: &Shared, is_resp3: bool) -> Ended {
    const ARGS: i32 = 4;
    let base = stack.len() - ARGS - 1;
    let has_run = stack.call(ARGS, 2);
    shared.can_wait.set(false);
    let (is_ok, value) = (base + 1, base + 2);
    let ended = if !has_run {
        Ended::Broken
    } else if stack.is_true(is_ok) {
        let mut reply = shared.reply.borrow_mut();
        reply.set_resp3(is_resp3);
        match convert::write_reply(stack, value, &mut reply, shared.resp3.get()) {
            None => Ended::Replied,
            Some(error) => Ended::Returned(error),
        }
    } else if stack.kind(value) == Kind::Table {
        Ended::Raised(convert::raised(stack, value))
    } else if stack.bytes(value) == Some(NO_MEMORY) {
        Ended::Raised(ErrorReply {
            line: [b"ERR ", NO_MEMORY].concat(),
            is_counted: false,
            place: None,
        })
    } else {
        Ended::Broken
    };
    stack.truncate(base);
    ended
}

/// `redis.call` and `redis.pcall`.
fn call(stack: &mut Stack<'_>, link: &Link<'_>, raises: bool) -> Outcome {
    if let Err(line) = gather(stack, link.shared) {
        return fail(stack, line, false, raises);
    }
    match link.wait(Event::Call) {
        Answer::Reply => {
            // The collector may run, but nothing that it runs may use the reply's buffer.
            link.shared.can_wait.set(false);
            let mut reply = link.shared.reply.borrow_mut();
            stack.truncate(0);
            let is_error = match reply.single_slice() {
                Some(bytes) => convert::push_reply(stack, bytes),
                None => convert::push_reply(stack, &reply.to_vec()),
            };
            reply.discard();
            reply.shrink(REPLY_KEEP);
            link.shared.can_wait.set(true);
            match is_error && raises {
                true => Outcome::Raises,
                false => Outcome::Returns,
            }
        }
        Answer::Refused { line, is_counted } => fail(stack, &line, is_counted, raises),
        _ => kill(stack, link.shared),
    }
}

/// `redis.acl_check_cmd`.
fn may_call(stack: &mut Stack<'_>, link: &Link<'_>) -> Outcome {
    if let Err(line) = gather(stack, link.shared) {
        return fail(stack, line, false, true);
    }
    match link.wait(Event::MayCall) {
        Answer::May(may) => {
            stack.truncate(0);
            assert!(stack.reserve(1), "a call has room");
            stack.push_bool(may);
            Outcome::Returns
        }
        Answer::Refused { line, .. } => fail(stack, &line, false, true),
        _ => kill(stack, link.shared),
    }
}

/// `os.clock`.
fn clock(stack: &mut Stack<'_>, link: &Link<'_>) -> Outcome {
    if !link.shared.can_wait.get() {
        return fail(stack, NOT_NOW, false, true);
    }
    let seconds = match link.wait(Event::Clock) {
        Answer::Clock(seconds) => seconds,
        _ => 0.0,
    };
    assert!(stack.reserve(1), "a call has room");
    stack.push_number(seconds);
    Outcome::Returns
}

/// What runs every so many instructions. Its result, unless it is nil, ends the script.
fn tick(stack: &mut Stack<'_>, link: &Link<'_>) -> Outcome {
    let shared = link.shared;
    assert!(stack.reserve(3), "a call has room");
    if shared.loading.borrow().is_some() {
        let left = shared.load_ticks.get();
        shared.load_ticks.set(left.saturating_sub(1));
        match left {
            0 => push_error(stack, b"ERR FUNCTION LOAD timeout", false),
            _ => stack.push_nil(),
        }
    } else if !shared.killed.get() && !matches!(link.wait(Event::Tick), Answer::Kill) {
        stack.push_nil();
    } else {
        shared.killed.set(true);
        push_error(stack, KILLED, false);
    }
    Outcome::Returns
}

/// What the collector's own calls, of a script's finalizers, are told.
const NOT_NOW: &[u8] = b"ERR a finalizer can't call the server";

const KILLED: &[u8] = b"ERR Script killed by user with SCRIPT KILL...";

/// Returns an error from a call, or raises it.
fn fail(stack: &mut Stack<'_>, line: &[u8], is_counted: bool, raises: bool) -> Outcome {
    stack.truncate(0);
    assert!(stack.reserve(3), "a call has room");
    push_error(stack, line, is_counted);
    match raises {
        true => Outcome::Raises,
        false => Outcome::Returns,
    }
}

/// From now on every instruction of the script fails.
fn kill(stack: &mut Stack<'_>, shared: &Shared) -> Outcome {
    shared.killed.set(true);
    fail(stack, KILLED, false, true)
}

/// Copies a call's arguments to where the engine finds them.
fn gather(stack: &Stack<'_>, shared: &Shared) -> Result<(), &'static [u8]> {
    if !shared.can_wait.get() {
        return Err(NOT_NOW);
    }
    if stack.is_empty() {
        return Err(b"ERR Please specify at least one argument for this redis lib call");
    }
    let mut owned = shared.args.borrow_mut();
    owned.clear();
    for at in 1..=stack.len() {
        let fits = if let Some(text) = stack.bytes(at) {
            owned.push(text)
        } else if let Some(number) = stack.number(at) {
            match whole(number) {
                Some(whole) => owned.push(itoa::Buffer::new().format(whole).as_bytes()),
                None => owned.push(number_arg(number).as_bytes()),
            }
        } else {
            return Err(b"ERR Lua redis lib command arguments must be strings or integers");
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
