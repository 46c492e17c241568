//! Registry: the commands by name, as this server calls them.
//!
//! Built once at the start from the families' specs and `rename-command`. Looking a name up hashes it without
//! regard to case into a table that is never more than a quarter full.

use crate::acl::{Catalogue, Known};
use crate::command::spec::{BeginSearch, FindKeys, Flags, Group, Spec};
use crate::command::{CommandError, CommandId, FAMILIES};
use crate::resp::Args;
use crate::state::error::QUOTED_MAX;
use crate::types::text::up_to_nul;

/// One command or subcommand with what the registry derives from its spec.
pub struct Command {
    pub id: CommandId,
    pub spec: &'static Spec,
    /// `config|get` for a subcommand.
    pub full_name: String,
    /// Of a subcommand, the command it belongs to.
    pub container: Option<CommandId>,
    pub subcommands: Vec<CommandId>,
    /// The argument that is the first key, when its place does not depend on the others.
    pub first_key: Option<u8>,
    /// The argument that names an element (field or member) of the value at the first key.
    pub element: Option<u8>,
    /// With more arguments than this its duration is measured with clock readings of its own; with fewer it
    /// shares its turn's. See `timed_above`.
    pub timed_above: usize,
}

impl Command {
    /// It as permissions know it.
    fn known(&self) -> Known {
        Known {
            id: self.id,
            full_name: self.full_name.clone(),
            container: self.container,
            subcommands: self.subcommands.clone(),
            categories: self.spec.categories(),
        }
    }
}

/// Why no command was found.
pub enum Unknown<'a> {
    Command,
    Subcommand(&'a Command),
}

/// All commands.
pub struct Registry {
    commands: Vec<Command>,
    /// Name, lower case, and command, by hash.
    slots: Vec<Option<(Box<[u8]>, CommandId)>>,
    top_level: Vec<CommandId>,
    catalogue: Catalogue,
}

/// Where a command of hashes, sets or sorted sets has its first field or member, when its syntax says so: behind the
/// key, or behind a score there.
fn element_arg(spec: &Spec) -> Option<u8> {
    const SCORES: [&str; 2] = ["zadd", "zincrby"];
    if SCORES.contains(&spec.name) {
        return Some(3);
    }
    let is_of_table = matches!(spec.group, Group::Hash | Group::Set | Group::SortedSet);
    let behind_key = spec.args.get(1).filter(|_| is_of_table)?;
    let first = behind_key.args.first().unwrap_or(behind_key);
    (matches!(first.name, "field" | "member") && behind_key.token.is_none()).then_some(2)
}

impl Registry {
    /// The registry after `renames` (old name, new name; an empty new name removes the command).
    pub fn new(renames: &[(String, String)]) -> Result<Registry, String> {
        let mut registry = Registry {
            commands: Vec::new(),
            slots: Vec::new(),
            top_level: Vec::new(),
            catalogue: Catalogue::default(),
        };
        for spec in FAMILIES.iter().copied().flatten() {
            let id = registry.add(spec, None);
            registry.top_level.push(id);
        }
        let mut names: Vec<(Vec<u8>, CommandId)> = registry
            .top_level
            .iter()
            .map(|id| (registry.get(*id).spec.name.as_bytes().to_vec(), *id))
            .collect();
        for (old, new) in renames {
            let old = old.to_ascii_lowercase().into_bytes();
            let Some(at) = names.iter().position(|(name, _)| *name == old) else {
                return Err("No such command in rename-command".into());
            };
            let (_, id) = names.remove(at);
            if new.is_empty() {
                continue;
            }
            let new = new.to_ascii_lowercase().into_bytes();
            if names.iter().any(|(name, _)| *name == new) {
                return Err("Target command name already exists".into());
            }
            names.push((new, id));
        }
        registry.slots = vec![None; (names.len() * 4).next_power_of_two()];
        for (name, id) in names {
            let mut at = registry.slot_of(&name);
            while registry.slots[at].is_some() {
                at = (at + 1) & (registry.slots.len() - 1);
            }
            registry.slots[at] = Some((name.into_boxed_slice(), id));
        }
        registry.commands.iter().for_each(|command| {
            registry.catalogue.push(command.known());
        });
        registry.catalogue.push_absent();
        Ok(registry)
    }

    fn add(&mut self, spec: &'static Spec, container: Option<CommandId>) -> CommandId {
        let id = CommandId(self.commands.len() as u16);
        let full_name = match container {
            Some(parent) => format!("{}|{}", self.get(parent).spec.name, spec.name),
            None => spec.name.to_owned(),
        };
        let first_key = spec
            .key_specs
            .first()
            .and_then(|keys| match (keys.begin, keys.find) {
                (BeginSearch::Index(at), FindKeys::Range { .. }) => u8::try_from(at).ok(),
                _ => None,
            });
        self.commands.push(Command {
            id,
            spec,
            full_name,
            container,
            subcommands: Vec::new(),
            first_key,
            element: element_arg(spec),
            timed_above: timed_above(spec),
        });
        for sub in spec.subcommands {
            let sub = self.add(sub, Some(id));
            self.commands[id.0 as usize].subcommands.push(sub);
        }
        id
    }

    /// A command by its id.
    #[inline]
    pub fn get(&self, id: CommandId) -> &Command {
        &self.commands[id.0 as usize]
    }

    /// What permissions know of the commands.
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// How many commands and subcommands there are.
    pub fn len(&self) -> usize {
        self.commands.len()
    }

    /// Whether there is no command.
    pub fn is_empty(&self) -> bool {
        self.commands.is_empty()
    }

    /// All commands that are not subcommands.
    pub fn top_level(&self) -> impl Iterator<Item = &Command> {
        self.top_level.iter().map(|id| self.get(*id))
    }

    /// All commands and subcommands.
    pub fn all(&self) -> impl Iterator<Item = &Command> {
        self.commands.iter()
    }

    /// The command that a request names, subcommand included. A container alone is found as itself.
    #[inline]
    pub fn find(&self, args: Args<'_>) -> Result<&Command, Unknown<'_>> {
        let command = self.by_name(args.bytes(0)).ok_or(Unknown::Command)?;
        if command.subcommands.is_empty() || args.len() < 2 {
            return Ok(command);
        }
        self.subcommand(command, args.bytes(1))
            .ok_or(Unknown::Subcommand(command))
    }

    /// A command by its name, in any case.
    #[inline]
    pub fn by_name(&self, name: &[u8]) -> Option<&Command> {
        let mut at = self.slot_of(name);
        while let Some((known, id)) = &self.slots[at] {
            if known.eq_ignore_ascii_case(name) {
                return Some(self.get(*id));
            }
            at = (at + 1) & (self.slots.len() - 1);
        }
        None
    }

    /// A command or, written `config|get`, a subcommand, by name in any case.
    pub fn by_full_name(&self, name: &[u8]) -> Option<&Command> {
        match name.iter().position(|byte| *byte == b'|') {
            None => self.by_name(name),
            Some(at) => self.subcommand(self.by_name(&name[..at])?, &name[at + 1..]),
        }
    }

    /// A container's subcommand by its name, in any case.
    pub fn subcommand(&self, container: &Command, name: &[u8]) -> Option<&Command> {
        container
            .subcommands
            .iter()
            .map(|id| self.get(*id))
            .find(|sub| sub.spec.name.as_bytes().eq_ignore_ascii_case(name))
    }

    #[inline]
    fn slot_of(&self, name: &[u8]) -> usize {
        let mut hash = name.len() as u64;
        for chunk in name.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            // Setting this bit makes letters of either case the same; what else it joins, the comparison parts.
            let word = u64::from_le_bytes(word) | 0x2020_2020_2020_2020;
            hash = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hash ^= hash >> 29;
        }
        hash as usize & (self.slots.len() - 1)
    }
}

/// Commands that are not O(1), yet take next to no time with few arguments: a clock reading each, for which the
/// rest of the pipeline's batch has to wait, would cost more than they do.
const SHORT_WITH_FEW_ARGS: &[&str] = &[
    "copy", "del", "getrange", "mset", "msetex", "msetnx", "substr",
];

/// With so many arguments, their names included, the commands above are still short.
const FEW_ARGS: usize = 64;

/// From how many arguments on a command is timed: never, always, or above a few.
fn timed_above(spec: &Spec) -> usize {
    let is_watched = spec.flags.has(Flags::NEEDS_READING) || spec.flags.has(Flags::ADMIN);
    let is_short = spec.flags.has(Flags::FAST) || spec.complexity == Some("O(1)");
    let is_string_or_generic = matches!(spec.group, Group::String | Group::Generic);
    match () {
        // The engine times a script when it turns out to take a while.
        () if spec.runs_script() => usize::MAX,
        () if is_watched => 0,
        () if is_short => usize::MAX,
        () if is_string_or_generic && SHORT_WITH_FEW_ARGS.contains(&spec.name) => FEW_ARGS,
        () => 0,
    }
}

impl Unknown<'_> {
    /// The error line for the request.
    pub fn error(&self, args: Args<'_>) -> CommandError {
        fn shown(bytes: &[u8], max: usize) -> &[u8] {
            up_to_nul(&bytes[..bytes.len().min(max)])
        }
        match self {
            Unknown::Subcommand(container) => CommandError::quoting(
                "ERR unknown subcommand '",
                shown(args.bytes(1), QUOTED_MAX),
                &format!("'. Try {} HELP.", container.spec.name.to_ascii_uppercase()),
            ),
            Unknown::Command => {
                let mut rest = Vec::new();
                for arg in args.iter_from(1) {
                    if rest.len() >= QUOTED_MAX {
                        break;
                    }
                    let arg = shown(arg, QUOTED_MAX - rest.len());
                    rest.extend([b"'", arg, b"' "].concat());
                }
                let name = shown(args.bytes(0), QUOTED_MAX);
                let middle = b"', with args beginning with: ";
                CommandError::Bytes([b"ERR unknown command '", name, middle, &rest].concat())
            }
        }
    }
}
