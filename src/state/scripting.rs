//! Scripting: Lua states come into being when they are first needed.

use crate::script::machine::{Machine, Purpose};
use crate::state::{CommandError, Server};

impl Server {
    /// Makes sure that there is a Lua state for this purpose.
    pub fn ensure_machine(&mut self, purpose: Purpose) -> Result<(), CommandError> {
        if self.scripting.machine(purpose).is_none() && self.scripting.running.is_none() {
            let seed = self.rng.next_u64();
            let deprecated_api = self.config.lua_enable_deprecated_api;
            let machine = Machine::new(purpose, seed, deprecated_api)
                .map_err(|error| CommandError::Bytes(format!("ERR {error}").into_bytes()))?;
            *self.scripting.machine(purpose) = Some(machine);
        }
        Ok(())
    }
}
