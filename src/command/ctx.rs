//! Ctx: what a handler may know of the world and do to it.

use std::ops::Range;

use crate::command::CommandError;
use crate::command::CommandId;
use crate::command::registry::{Command, Registry};
use crate::keyspace::entry::Entry;
use crate::keyspace::object::ObjectType;
use crate::resp::Args;
use crate::state::blocking::Wait;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key, NewValue};
use crate::state::{Client, ClientFlags, Server, Waiting};
use crate::types::decimal::parse_i64;
use crate::types::long_double::LongDouble;

/// How many keys of one command are asked for ahead of use.
const KEYS_AHEAD: usize = 16;

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

    /// Looks a key up that must hold a value of type `T` if it is there.
    #[inline]
    pub fn object<T: ObjectType>(
        &mut self,
        key: Key<'_>,
        access: Access,
    ) -> Result<Option<&mut T>, CommandError> {
        self.server.object(self.client.dbid, key, access)
    }

    /// Looks a key up that must hold a value of type `T`; a key that is not there is given `new`'s. The caller
    /// touches it.
    #[inline]
    pub fn object_or_insert<T: ObjectType>(
        &mut self,
        key: Key<'_>,
        new: impl FnOnce() -> T,
    ) -> Result<&mut T, CommandError> {
        self.server.object_or_insert(self.client.dbid, key, new)
    }

    /// Removes a key whose collection has lost its last element: the key goes, and the event `del` says so.
    pub fn delete_emptied(&mut self, key: Key<'_>) {
        self.server.delete(self.client.dbid, key);
        self.notify(key.bytes, Event::generic("del"));
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

    /// Reports an event that comes with a change, which was reported by [`Ctx::touch`].
    #[inline]
    pub fn notify(&mut self, key: &[u8], event: Event) {
        self.server.notify(self.client.dbid, key, event);
    }

    /// Calls `run` for the key at every `step`-th argument of `range`, with the index of the argument, until it
    /// returns false; says whether it never did. The memory of some keys at a time is asked for before the first
    /// of them is used, so that waiting for one overlaps with waiting for the others.
    pub fn for_each_key<'b>(
        &mut self,
        args: Args<'b>,
        range: Range<usize>,
        step: usize,
        mut run: impl FnMut(&mut Ctx<'_>, Key<'b>, usize) -> bool,
    ) -> bool {
        let mut start = range.start;
        while start < range.end {
            let mut keys = [Key {
                bytes: b"",
                hash: 0,
            }; KEYS_AHEAD];
            let indexes = (start..range.end).step_by(step);
            let used = indexes.len().min(KEYS_AHEAD);
            for (slot, index) in keys.iter_mut().zip(indexes.clone()) {
                *slot = self.key(args, index);
            }
            if used > 1 {
                let table = &self.server.db(self.client.dbid).table;
                for key in &keys[..used] {
                    table.prefetch_bucket(key.hash);
                }
                for key in &keys[..used] {
                    table.prefetch_element(key.hash);
                }
            }
            for (key, index) in keys[..used].iter().zip(indexes) {
                if !run(self, *key, index) {
                    return false;
                }
            }
            start += used * step;
        }
        true
    }

    /// Makes the client wait: its command runs again when a key may serve it. The handler has replied nothing
    /// and returns at once. In a transaction or script nothing waits: the reply is that of a timeout.
    pub fn block(&mut self, wait: Wait) {
        let at_once = ClientFlags::IN_EXEC.or(ClientFlags::IN_SCRIPT);
        if self.client.flags.has_any(at_once) {
            match wait.is_single {
                true => self.client.reply.null(),
                false => self.client.reply.null_array(),
            }
            return;
        }
        let wait = match &self.client.begun.waited {
            Some(first) => Wait {
                deadline_ms: first.deadline_ms,
                ..wait
            },
            None => wait,
        };
        self.client.wait_for(Waiting::Keys(Box::new(wait)));
    }

    /// Whether the client's reply may come later; in a transaction or script it may not.
    pub fn may_wait(&self) -> bool {
        let at_once = ClientFlags::IN_EXEC.or(ClientFlags::IN_SCRIPT);
        !self.client.flags.has_any(at_once)
    }

    /// The memo of the wait that this command blocked with, when it runs again.
    pub fn memo(&self) -> Option<&[u64]> {
        let waited = self.client.begun.waited.as_ref();
        waited.map(|wait| &wait.memo[..])
    }

    /// When a timeout in seconds at argument `index`, fractions allowed, is over; `None` for zero, which never is.
    pub fn timeout_arg(&self, args: Args<'_>, index: usize) -> Result<Option<i64>, CommandError> {
        let seconds = LongDouble::parse(args.bytes(index)).ok_or(CommandError::TimeoutNotFloat)?;
        let seconds = seconds.to_f64(); // a finite number may become infinite, which is out of range too
        let ms = (seconds * 1000.0).ceil();
        if ms < 0.0 {
            return Err(CommandError::TimeoutNegative);
        }
        // The first number that a 64-bit integer cannot hold is 2^63.
        if ms >= -(i64::MIN as f64) {
            return Err(CommandError::TimeoutOutOfRange);
        }
        match ms as i64 {
            0 => Ok(None),
            ms => match ms.checked_add(self.server.now_ms) {
                Some(deadline) => Ok(Some(deadline)),
                None => Err(CommandError::TimeoutOutOfRange),
            },
        }
    }

    /// What goes to the AOF and the replicas in place of the request.
    pub fn propagate(&mut self, argv: &[&[u8]]) {
        self.server.effects.substitute(self.client.dbid, argv);
    }

    /// The same, even if the request is that of a script which does not want its commands to go there.
    pub fn propagate_anyway(&mut self, argv: &[&[u8]]) {
        self.server.effects.rewritten = true;
        self.server.effects.propagate(self.client.dbid, argv);
    }

    /// Propagates the request as it came, even if it changed nothing here.
    pub fn propagate_always(&mut self, args: Args<'_>) {
        let argv: Vec<&[u8]> = args.iter_from(0).collect();
        self.propagate(&argv);
    }
}

/// The integer at argument `index`.
#[inline]
pub fn int_arg(args: Args<'_>, index: usize) -> Result<i64, CommandError> {
    parse_i64(args.bytes(index)).ok_or(CommandError::NotInteger)
}

/// The integer at argument `index`, which has to fit 32 bits.
pub fn int32_arg(args: Args<'_>, index: usize) -> Result<i32, CommandError> {
    let out_of_range = CommandError::NotBetween(i32::MIN.into(), i32::MAX.into());
    i32::try_from(int_arg(args, index)?).map_err(|_| out_of_range)
}

/// The number of a database at argument `index`.
pub fn db_arg(ctx: &Ctx<'_>, args: Args<'_>, index: usize) -> Result<u32, CommandError> {
    let dbid = u32::try_from(int32_arg(args, index)?).map_err(|_| CommandError::DbIndex)?;
    if dbid as usize >= ctx.server.dbs.len() {
        return Err(CommandError::DbIndex);
    }
    Ok(dbid)
}

/// A positive number, or zero, at argument `index`.
pub fn count_arg(args: Args<'_>, index: usize) -> Result<usize, CommandError> {
    parse_i64(args.bytes(index))
        .and_then(|value| usize::try_from(value).ok())
        .ok_or(CommandError::NotPositive)
}

/// A time to wait, in milliseconds, at argument `index`; zero means for ever.
pub fn timeout_ms_arg(ctx: &Ctx<'_>, args: Args<'_>, index: usize) -> Result<u64, CommandError> {
    let timeout = parse_i64(args.bytes(index)).ok_or(CommandError::TimeoutNotInteger)?;
    if timeout.checked_add(ctx.server.now_ms).is_none() {
        return Err(CommandError::TimeoutOutOfRange);
    }
    u64::try_from(timeout).map_err(|_| CommandError::TimeoutNegative)
}
