//! Cache: the scripts of EVAL by their SHA-1, compiled.
//!
//! A script stays until SCRIPT FLUSH when it came by SCRIPT LOAD; of those that only EVAL brought, the ones used last
//! stay, [`EVAL_SCRIPTS_MAX`] of them.

use std::collections::BTreeMap;
use std::rc::Rc;

use mlua::Function;
use xxhash_rust::xxh3::xxh3_64;

use crate::script::flags::{self, ScriptFlags};
use crate::script::machine::Machine;
use crate::script::stack::Anchor;
use crate::script::{Sha, hex, sha1};

/// Scripts kept that nobody has asked to keep.
const EVAL_SCRIPTS_MAX: usize = 500;

/// A compiled script.
pub struct Script {
    /// Where the machine keeps the function.
    slot: Anchor,
    /// Its SHA-1 in hexadecimal.
    name: Rc<str>,
    pub flags: ScriptFlags,
    body: Vec<u8>,
    /// Only EVAL brought it: it may be evicted.
    is_evictable: bool,
    last_use: u64,
}

/// The scripts, and the Lua state that they are compiled in.
#[derive(Default)]
pub struct Cache {
    pub machine: Option<Machine>,
    scripts: BTreeMap<Sha, Script>,
    /// Their names by a quick hash of their text, so that EVAL need not compute SHA-1 each time.
    by_hash: BTreeMap<u64, Sha>,
    evictable: usize,
    uses: u64,
}

impl Cache {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.scripts.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.scripts.is_empty()
    }

    /// Memory of the texts and what is kept with each, in bytes.
    pub fn bytes(&self) -> usize {
        let each = size_of::<Script>() + size_of::<Sha>() * 2 + size_of::<u64>();
        let texts: usize = self.scripts.values().map(|script| script.body.len()).sum();
        texts + self.scripts.len() * each
    }

    /// Whether a script of this name is there.
    pub fn has(&self, sha: &Sha) -> bool {
        self.scripts.contains_key(sha)
    }

    /// What the script of this name says of itself.
    pub fn flags(&self, sha: &Sha) -> Option<ScriptFlags> {
        self.scripts.get(sha).map(|script| script.flags)
    }

    /// The function of the script of this name, which is about to be used.
    pub fn used(&mut self, sha: &Sha) -> Option<(Anchor, Rc<str>, ScriptFlags)> {
        self.uses += 1;
        let script = self.scripts.get_mut(sha)?;
        script.last_use = self.uses;
        Some((script.slot, Rc::clone(&script.name), script.flags))
    }

    /// The name of the script with this text, if it is there.
    pub fn find(&self, body: &[u8]) -> Option<Sha> {
        let sha = self.by_hash.get(&xxh3_64(body))?;
        let script = self.scripts.get(sha)?;
        (script.body == body).then_some(*sha)
    }

    /// Compiles a script that is not there, or makes sure that it stays; also says whether another one went for it.
    /// The machine is there.
    pub fn load(&mut self, body: &[u8], to_stay: bool) -> Result<(Sha, bool), Vec<u8>> {
        let sha = sha1(body);
        if let Some(script) = self.scripts.get_mut(&sha) {
            if to_stay && script.is_evictable {
                script.is_evictable = false;
                self.evictable -= 1;
            }
            return Ok((sha, false));
        }
        let (flags, start) = flags::of_script(body)?;
        let Some(machine) = &self.machine else {
            return Err(b"ERR the Lua state is in use".to_vec());
        };
        let compiled = compile(machine, &body[start..], "@user_script");
        let function = compiled.map_err(|text| {
            [&b"ERR Error compiling script (new function): "[..], &text].concat()
        })?;
        let slot = machine.keep(function);
        let slot = slot.map_err(|error| format!("ERR {error}").into_bytes())?;
        let evicts = !to_stay && self.evictable >= EVAL_SCRIPTS_MAX;
        if evicts {
            self.evict_one();
        }
        self.evictable += usize::from(!to_stay);
        self.uses += 1;
        let script = Script {
            slot,
            name: hex(&sha).into(),
            flags,
            body: body.to_vec(),
            is_evictable: !to_stay,
            last_use: self.uses,
        };
        self.scripts.insert(sha, script);
        self.by_hash.insert(xxh3_64(body), sha);
        Ok((sha, evicts))
    }

    fn evict_one(&mut self) {
        let evictable = self
            .scripts
            .iter()
            .filter(|(_, script)| script.is_evictable);
        let Some(sha) = evictable
            .min_by_key(|(_, script)| script.last_use)
            .map(|(sha, _)| *sha)
        else {
            return;
        };
        if let Some(script) = self.scripts.remove(&sha) {
            self.by_hash.remove(&xxh3_64(&script.body));
            self.evictable -= 1;
            if let Some(machine) = &self.machine {
                machine.forget(script.slot);
            }
        }
    }

    /// Forgets all scripts, and the state with all that they left in it.
    pub fn flush(&mut self) {
        *self = Cache::default();
    }
}

/// Compiles a text; an error is Lua's, with the place in front.
pub fn compile(machine: &Machine, text: &[u8], name: &str) -> Result<Function, Vec<u8>> {
    let chunk = machine.lua.load(text).set_name(name);
    let chunk = chunk.set_mode(mlua::chunk::ChunkMode::Text);
    chunk.into_function().map_err(|error| match error {
        mlua::Error::SyntaxError { message, .. } => message.into_bytes(),
        other => other.to_string().into_bytes(),
    })
}
