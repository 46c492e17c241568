//! Scripting: scripts as handlers and the engine see them: what is prepared, what runs, what they take.
//!
//! Lua states come into being when they are first needed. May not: know what is in one (`script`).

use std::cell::Cell;
use std::rc::Rc;

use crate::resp::OwnedArgs;
use crate::script::cache::Cache;
use crate::script::flags::ScriptFlags;
use crate::script::library::Libraries;
use crate::script::machine::{Machine, RANDOM_START};
use crate::script::shared::Purpose;
use crate::state::effects::Queue;
use crate::state::slots::Slots;
use crate::state::{CommandError, CommandId, Server, UnixMicros};

/// A script or function that is about to run, which lies on its machine's stack.
pub struct Prepared {
    pub purpose: Purpose,
    /// The script's SHA-1 or the function's name.
    pub name: Rc<str>,
    pub flags: ScriptFlags,
    /// It was called by a command that may not write, or has said that it does not.
    pub is_read_only: bool,
    /// It may write although memory is short.
    pub allows_oom: bool,
    /// Memory is short.
    pub is_oom: bool,
}

/// What a script has asked for that stands still.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asked {
    /// Nothing: it has run for long, and others look after what they have to do.
    #[default]
    Nothing,
    /// A reading of the process or the clock, for a command that runs then.
    Reading,
    /// The clock that times a command which has run, and whose reply is there already.
    Timing,
    /// A clock reading of its own.
    Clock,
    /// What the shell is to do about a command that has run, and whose reply is there already.
    Answer,
}

/// A script that runs, or stands still.
pub struct Running {
    pub purpose: Purpose,
    pub name: Rc<str>,
    pub flags: ScriptFlags,
    pub is_read_only: bool,
    pub allows_oom: bool,
    /// Memory was short when it began.
    pub is_oom: bool,
    /// The command that runs it.
    pub command: CommandId,
    pub started: UnixMicros,
    /// How long it has run, at the last tick.
    pub elapsed_ms: u64,
    /// What TIME says, once others are served in between: only until then does it stand still with everything else.
    pub time: Option<UnixMicros>,
    /// It was called from a transaction.
    pub in_exec: bool,
    /// Its caller's database, to which the caller returns.
    pub dbid: u32,
    pub has_written: bool,
    /// The slots of the keys that it was given, and of those that it has used.
    pub slots: Slots,
    /// Commands that it has called, until there are many.
    pub calls: u32,
    /// It took a while, so that its duration is worth a clock reading.
    pub is_heavy: bool,
    /// What it has asked for that stands still.
    pub asked: Asked,
    /// A clock was read for the command that comes next.
    pub has_clock: bool,
    /// What it has caused up to then, which is not the server's to send until the script has ended.
    pub effects: Queue,
    pub is_killed: bool,
    /// The command as it came, kept once the script stands still, and where its reply began.
    pub argv: OwnedArgs,
    pub replied_before: usize,
    /// It is sampled by those who watch what keys cost.
    pub is_sampled: bool,
}

/// Steps of the collector behind a script and in a tick, once there is much garbage, and in place of one eviction.
const SCRIPT_STEPS: u32 = 8;
const TICK_STEPS: u32 = 400;
const EVICTION_STEPS: u32 = 2;

const PURPOSES: [Purpose; 2] = [Purpose::Eval, Purpose::Functions];

/// All about scripts that handlers can reach.
pub struct Scripting {
    pub cache: Cache,
    pub libraries: Libraries,
    /// What the handler that runs has prepared; the engine runs it behind the handler.
    pub prepared: Option<Prepared>,
    /// The script that runs or stands still.
    pub running: Option<Running>,
    /// Eviction has found nothing more to evict before the last command. It says something while `maxmemory` is set.
    pub is_oom: bool,
    /// The script that stands still has taken so long that others are told so.
    pub busy: Option<Purpose>,
    /// The state of `math.random`.
    rng48: Rc<Cell<u64>>,
}

impl Default for Scripting {
    fn default() -> Scripting {
        Scripting {
            cache: Cache::default(),
            libraries: Libraries::default(),
            prepared: None,
            running: None,
            is_oom: false,
            busy: None,
            rng48: Rc::new(Cell::new(RANDOM_START)),
        }
    }
}

impl Scripting {
    /// The place of a machine, which is empty until it is first needed and while the engine runs it.
    pub fn machine(&mut self, purpose: Purpose) -> &mut Option<Machine> {
        match purpose {
            Purpose::Eval => &mut self.cache.machine,
            Purpose::Functions => &mut self.libraries.machine,
        }
    }

    /// What scripts take, for INFO and MEMORY STATS.
    pub fn usage(&self) -> Usage {
        let vm = |machine: &Option<Machine>| {
            let bytes = machine.as_ref().map(|machine| machine.lua.used_memory());
            bytes.unwrap_or(0) as u64
        };
        Usage {
            vm_eval_bytes: vm(&self.cache.machine),
            vm_functions_bytes: vm(&self.libraries.machine),
            scripts: self.cache.len() as u64,
            scripts_bytes: self.cache.bytes() as u64,
            functions: self.libraries.function_count() as u64,
            libraries: self.libraries.len() as u64,
            functions_bytes: self.libraries.bytes() as u64,
        }
    }
}

/// What scripts take.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub vm_eval_bytes: u64,
    pub vm_functions_bytes: u64,
    pub scripts: u64,
    pub scripts_bytes: u64,
    pub functions: u64,
    pub libraries: u64,
    pub functions_bytes: u64,
}

impl Usage {
    /// Memory of both Lua states.
    pub fn vm_bytes(&self) -> u64 {
        self.vm_eval_bytes + self.vm_functions_bytes
    }
}

impl Server {
    /// Makes sure that there is a Lua state for this purpose.
    pub fn ensure_machine(&mut self, purpose: Purpose) -> Result<(), CommandError> {
        if self.scripting.machine(purpose).is_none() && self.scripting.running.is_none() {
            let deprecated_api = self.config.lua_enable_deprecated_api;
            let machine = Machine::new(purpose, &self.scripting.rng48, deprecated_api)
                .map_err(|error| CommandError::Bytes(format!("ERR {error}").into_bytes()))?;
            *self.scripting.machine(purpose) = Some(machine);
        }
        Ok(())
    }

    /// A script has ended: what it has left behind is collected bit by bit if it is much.
    pub fn tend_after_script(&mut self, purpose: Purpose) {
        self.look_for_garbage(purpose, false);
        self.collect_scripts(purpose, SCRIPT_STEPS);
    }

    /// The same from time to time, also behind what was loaded but not run.
    pub fn tend_scripts(&mut self) {
        for purpose in PURPOSES {
            self.look_for_garbage(purpose, false);
            self.collect_scripts(purpose, TICK_STEPS);
        }
    }

    /// Memory is short: what scripts have left behind goes before any key does.
    pub(super) fn look_for_scripts_garbage(&mut self) {
        for purpose in PURPOSES {
            self.look_for_garbage(purpose, true);
        }
    }

    /// Whether there was garbage of scripts to be collected instead of a key; some of it is. How long a collection
    /// takes follows from sizes of Lua states, so it is a finding as well.
    pub(super) fn collects_for_room(&mut self) -> bool {
        PURPOSES.into_iter().any(|purpose| {
            let Some(machine) = idle(&mut self.scripting, purpose) else {
                return false;
            };
            let goes_on = self.meter.finds(0, || u64::from(machine.is_collecting()));
            machine.collect_some(EVICTION_STEPS);
            goes_on.is_some()
        })
    }

    /// Whether a Lua state is so large that much of it must be garbage; then a collection begins.
    fn look_for_garbage(&mut self, purpose: Purpose, is_short: bool) {
        if let Some(machine) = idle(&mut self.scripting, purpose) {
            let limit = machine.garbage_limit(is_short);
            if self.meter.finds(limit, || machine.heap_bytes()).is_some() {
                machine.begin_collection();
            }
        }
    }

    fn collect_scripts(&mut self, purpose: Purpose, steps: u32) {
        if let Some(machine) = idle(&mut self.scripting, purpose) {
            machine.collect_some(steps);
        }
    }
}

/// The machine for this purpose, if there is one and no script stands still: a finalizer must not run in its midst.
fn idle(scripting: &mut Scripting, purpose: Purpose) -> Option<&mut Machine> {
    match scripting.running {
        Some(_) => None,
        None => scripting.machine(purpose).as_mut(),
    }
}
