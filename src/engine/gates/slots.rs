//! Slots: which of the commands that run a cluster would refuse because of their keys' slots.
//!
//! A command that comes from a client is looked at in front of the gates that ask whether there is room or time for it,
//! and so again when it has waited and is run once more; EXEC by all keys of what is queued. What a script calls is held
//! against the keys that were declared, unless it may use any slot. All of this is a sample and a count
//! ([`crate::state::slots`]); nothing is refused. May not: look at anything unless the count is asked for.

use crate::command::keys::{has_slots, slot_args};
use crate::command::registry::{Command, Registry};
use crate::command::{CommandId, transaction};
use crate::engine::Engine;
use crate::resp::Args;
use crate::script::flags::ScriptFlags;
use crate::state::slots::{CrossSlot, Slots};
use crate::state::{Client, Server};

/// Looks at what a client asks for, and keeps what it found for the commands that this one runs.
#[cold]
pub(in crate::engine) fn look_at_slots(
    server: &mut Server,
    registry: &Registry,
    client: &mut Client,
    command: &Command,
    args: Args<'_>,
) {
    let is_exec = command.spec.name == transaction::EXEC.name && command.container.is_none();
    if !is_exec && !has_slots(command.spec) {
        return;
    }
    client.slots = Slots::Settled;
    if !server.samples_incompatible() {
        return;
    }
    let found = match (&client.multi, is_exec) {
        (Some(multi), true) => multi.queue.iter().try_fold(Slots::None, |slots, queued| {
            let (id, args) = queued;
            slots.and(slots_of(registry.get(*id), args.args())?)
        }),
        (None, true) => Ok(Slots::None),
        _ => slots_of(command, args),
    };
    match found {
        Ok(slots) => client.slots = slots,
        Err(CrossSlot) => server.stats.cluster_incompatible_ops += 1,
    }
}

impl Engine {
    /// The same for a command that a script calls.
    pub(in crate::engine) fn look_at_call_slots(&mut self, id: CommandId, args: Args<'_>) {
        let Some(running) = &mut self.server.scripting.running else {
            return;
        };
        if running.slots == Slots::Settled {
            return;
        }
        let free = [ScriptFlags::COMPAT, ScriptFlags::ALLOW_CROSS_SLOT_KEYS];
        let is_free = free.iter().any(|flag| running.flags.has(*flag));
        let found = slots_of(self.registry.get(id), args).and_then(|slots| match is_free {
            true => Ok(running.slots),
            false => running.slots.and(slots),
        });
        running.slots = found.unwrap_or(Slots::Settled);
        if found.is_err() {
            self.server.stats.cluster_incompatible_ops += 1;
        }
    }
}

/// The slots of a request's keys; of one whose keys cannot be told there are none.
fn slots_of(command: &Command, args: Args<'_>) -> Result<Slots, CrossSlot> {
    let keys = slot_args(command, args).unwrap_or_default();
    Slots::of(keys.iter().map(|(at, _)| args.bytes(*at)))
}
