//! Ctx: what a handler may know of the world and do to it.

use crate::command::CommandError;
use crate::command::CommandId;
use crate::command::registry::{Command, Registry};
use crate::keyspace::entry::Entry;
use crate::resp::Args;
use crate::resp::parser::parse_i64;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key, NewValue};
use crate::state::{Client, Server};

/// The world of one command.
pub struct Ctx<'a> {
    pub server: &'a mut Server,
    /// Who sent the command. It is not in `server.clients` meanwhile.
    pub client: &'a mut Client,
    pub registry: &'a Registry,
    /// The command that runs.
    pub command: CommandId,
    /// The hash of the key at this argument, computed ahead of time.
    pub first_key: Option<(usize, u64)>,
}

impl<'a> Ctx<'a> {
    /// The key at argument `index`, with its hash.
    #[inline]
    pub fn key<'b>(&self, args: Args<'b>, index: usize) -> Key<'b> {
        let bytes = args.bytes(index);
        match self.first_key {
            Some((at, hash)) if at == index => Key { bytes, hash },
            _ => self.server.key(bytes),
        }
    }

    /// The running command's entry in the registry.
    pub fn this(&self) -> &'a Command {
        self.registry.get(self.command)
    }

    /// Looks a key up in the client's database.
    #[inline]
    pub fn lookup(&mut self, key: Key<'_>, access: Access) -> Option<&mut Entry> {
        self.server.lookup(self.client.dbid, key, access)
    }

    /// Gives `key` the value at argument `index`, and this deadline or none. The caller touches it.
    #[inline]
    pub fn store(&mut self, key: Key<'_>, args: Args<'_>, index: usize, deadline_ms: Option<i64>) {
        let value = NewValue::from_arg(args, index);
        self.server.store(self.client.dbid, key, value, deadline_ms);
    }

    /// Reports a change of a key: the one way by which a write's effects leave.
    #[inline]
    pub fn touch(&mut self, key: &[u8], event: Event) {
        self.server.touch(self.client.dbid, key, event);
    }

    /// What goes to the AOF and the replicas in place of the request.
    pub fn propagate(&mut self, argv: &[&[u8]]) {
        self.server.effects.rewritten = true;
        self.server.effects.propagate(self.client.dbid, argv);
    }
}

/// The integer at argument `index`.
#[inline]
pub fn int_arg(args: Args<'_>, index: usize) -> Result<i64, CommandError> {
    parse_i64(args.bytes(index)).ok_or(CommandError::NotInteger)
}
