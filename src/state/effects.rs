//! Effects: what a write causes beyond the data.
//!
//! Every write handler reports through [`Server::touch`](crate::state::Server::touch), and what it reports
//! waits here until the engine has run the command to its end. Lives here: the queues and the kinds of
//! events. May not: deliver anything.

use crate::config::KeyspaceEvents;
use crate::persist::aof::put_args;
use crate::resp::Args;
use crate::script::shared::{REPL_ALL, REPL_AOF, REPL_REPLICA};

/// The class of a keyspace event: one letter of `notify-keyspace-events`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventClass {
    Generic,
    String,
    List,
    Set,
    Hash,
    ZSet,
    Stream,
    Expired,
    Evicted,
    New,
    KeyMiss,
    Overwritten,
    TypeChanged,
}

impl EventClass {
    /// The flag of `notify-keyspace-events` that switches the class on.
    pub const fn flag(self) -> KeyspaceEvents {
        match self {
            EventClass::Generic => KeyspaceEvents::GENERIC,
            EventClass::String => KeyspaceEvents::STRING,
            EventClass::List => KeyspaceEvents::LIST,
            EventClass::Set => KeyspaceEvents::SET,
            EventClass::Hash => KeyspaceEvents::HASH,
            EventClass::ZSet => KeyspaceEvents::ZSET,
            EventClass::Stream => KeyspaceEvents::STREAM,
            EventClass::Expired => KeyspaceEvents::EXPIRED,
            EventClass::Evicted => KeyspaceEvents::EVICTED,
            EventClass::New => KeyspaceEvents::NEW,
            EventClass::KeyMiss => KeyspaceEvents::KEY_MISS,
            EventClass::Overwritten => KeyspaceEvents::OVERWRITTEN,
            EventClass::TypeChanged => KeyspaceEvents::TYPE_CHANGED,
        }
    }
}

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    pub class: EventClass,
    pub name: &'static str,
}

impl Event {
    /// An event that any type of key can have.
    pub const fn generic(name: &'static str) -> Event {
        Event {
            class: EventClass::Generic,
            name,
        }
    }

    /// An event of a string.
    pub const fn string(name: &'static str) -> Event {
        Event {
            class: EventClass::String,
            name,
        }
    }

    /// An event of a list.
    pub const fn list(name: &'static str) -> Event {
        Event {
            class: EventClass::List,
            name,
        }
    }

    /// An event of a set.
    pub const fn set(name: &'static str) -> Event {
        Event {
            class: EventClass::Set,
            name,
        }
    }

    /// An event of a sorted set.
    pub const fn zset(name: &'static str) -> Event {
        Event {
            class: EventClass::ZSet,
            name,
        }
    }

    /// An event of a hash.
    pub const fn hash(name: &'static str) -> Event {
        Event {
            class: EventClass::Hash,
            name,
        }
    }

    /// An event of a stream.
    pub const fn stream(name: &'static str) -> Event {
        Event {
            class: EventClass::Stream,
            name,
        }
    }
}

/// Where to a command is propagated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Targets(u8);

impl Targets {
    pub const NONE: Targets = Targets(0);
    pub const AOF: Targets = Targets(REPL_AOF);
    pub const REPLICAS: Targets = Targets(REPL_REPLICA);
    pub const ALL: Targets = Targets(REPL_ALL);

    /// The targets with the numbers that `redis.set_repl` knows.
    pub const fn from_script(flags: u8) -> Targets {
        Targets(flags).and(Targets::ALL)
    }

    /// The targets that both name.
    #[inline]
    pub const fn and(self, other: Targets) -> Targets {
        Targets(self.0 & other.0)
    }

    /// The targets that one of them names.
    #[inline]
    pub const fn or(self, other: Targets) -> Targets {
        Targets(self.0 | other.0)
    }

    /// The targets without those of `other`.
    pub const fn without(self, other: Targets) -> Targets {
        Targets(self.0 & !other.0)
    }

    #[inline]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// A command as it goes to the AOF and to replicas, with the database it is meant for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagated<'a> {
    pub targets: Targets,
    pub dbid: u32,
    /// The command as RESP writes it.
    pub bytes: &'a [u8],
}

/// Commands on their way to the AOF and to replicas, one behind the other in one buffer.
#[derive(Debug, Default)]
pub struct Queue {
    /// Where to, for which database, and how many bytes it takes.
    commands: Vec<(Targets, u32, usize)>,
    bytes: Vec<u8>,
}

impl Queue {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is none.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// The commands in order.
    pub fn iter(&self) -> impl Iterator<Item = Propagated<'_>> {
        let mut rest = &self.bytes[..];
        self.commands.iter().map(move |&(targets, dbid, len)| {
            let (bytes, behind) = rest.split_at(len);
            rest = behind;
            Propagated {
                targets,
                dbid,
                bytes,
            }
        })
    }

    /// Takes the commands of another one, which is empty then, behind its own.
    pub fn append(&mut self, other: &mut Queue) {
        self.commands.append(&mut other.commands);
        self.bytes.append(&mut other.bytes);
    }

    /// Forgets the commands; memory for short ones stays.
    pub fn clear(&mut self) {
        self.commands.clear();
        self.bytes.clear();
        self.commands.shrink_to(QUEUE_KEEP);
        self.bytes.shrink_to(QUEUE_KEEP_BYTES);
    }

    fn push<'a>(
        &mut self,
        targets: Targets,
        dbid: u32,
        argc: usize,
        args: impl Iterator<Item = &'a [u8]>,
    ) {
        let before = self.bytes.len();
        put_args(&mut self.bytes, argc, args);
        self.commands
            .push((targets, dbid, self.bytes.len() - before));
    }

    /// The commands as one would type them; arguments have no line ends.
    #[cfg(test)]
    pub fn texts(&self) -> Vec<String> {
        let text = |command: Propagated<'_>| {
            let text = String::from_utf8_lossy(command.bytes).into_owned();
            let args = text.split("\r\n").skip(2).step_by(2);
            args.collect::<Vec<_>>().join(" ")
        };
        self.iter().map(text).collect()
    }
}

/// Commands, and bytes of commands, for which a queue keeps memory.
const QUEUE_KEEP: usize = 1024;
const QUEUE_KEEP_BYTES: usize = 64 * 1024;

/// Waiting effects.
pub struct Effects {
    /// Changes since the last save, which INFO shows and `save` points count.
    pub dirty: u64,
    /// Who reads `propagated`: without an AOF or a replica nothing is collected.
    pub listening: Targets,
    pub propagated: Queue,
    /// The handler has said what is to be propagated in place of the request.
    pub rewritten: bool,
    /// The handler wants the request itself to go to these, whether or not it has changed anything.
    pub forced: Targets,
    /// Where to the commands of the script that runs may go, see `redis.set_repl`; to all while none runs.
    pub allowed: Targets,
}

impl Default for Effects {
    fn default() -> Effects {
        Effects {
            dirty: 0,
            listening: Targets::NONE,
            propagated: Queue::default(),
            rewritten: false,
            forced: Targets::NONE,
            allowed: Targets::ALL,
        }
    }
}

impl Effects {
    /// Whether anyone reads what is propagated.
    #[inline]
    pub fn propagating(&self) -> bool {
        !self.listening.is_none()
    }

    /// A command has run. If it changed something and has not said what stands for that, the request itself is what
    /// is propagated. `dirty_before` is the count of changes before it ran.
    pub fn settle_request(&mut self, dbid: u32, args: Args<'_>, writes: bool, dirty_before: u64) {
        let is_rewritten = std::mem::take(&mut self.rewritten);
        let mut targets = std::mem::take(&mut self.forced);
        if writes && !is_rewritten && self.dirty != dirty_before {
            targets = Targets::ALL;
        }
        let targets = targets.and(self.allowed).and(self.listening);
        if !targets.is_none() {
            let queue = &mut self.propagated;
            queue.push(targets, dbid, args.len(), args.iter_from(0));
        }
    }

    /// Whether something waits to be sent.
    #[inline]
    pub fn has_propagated(&self) -> bool {
        !self.propagated.is_empty()
    }

    /// Queues `argv` for the AOF and the replicas, whatever a script has said about its commands: what it tells of
    /// has happened beside them.
    pub fn propagate(&mut self, dbid: u32, argv: &[&[u8]]) {
        self.push(Targets::ALL, dbid, argv);
    }

    /// Queues `argv` in place of the request, for those to whom the request may go.
    pub fn substitute(&mut self, dbid: u32, argv: &[&[u8]]) {
        self.rewritten = true;
        self.push(self.allowed, dbid, argv);
    }

    fn push(&mut self, targets: Targets, dbid: u32, argv: &[&[u8]]) {
        let targets = targets.and(self.listening);
        if !targets.is_none() {
            let queue = &mut self.propagated;
            queue.push(targets, dbid, argv.len(), argv.iter().copied());
        }
    }
}
