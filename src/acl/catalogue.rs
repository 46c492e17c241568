//! Catalogue: what permissions know of the commands. The registry of commands hands it in.

use super::category::Categories;
use crate::ids::CommandId;

/// A command or subcommand, by the name that it has whatever the configuration calls it.
#[derive(Debug)]
pub struct Known {
    pub id: CommandId,
    /// `config|get` for a subcommand.
    pub full_name: String,
    /// Of a subcommand, the command it belongs to.
    pub container: Option<CommandId>,
    pub subcommands: Vec<CommandId>,
    pub categories: Categories,
}

impl Known {
    /// Its name without that of its container.
    fn own_name(&self) -> &[u8] {
        let name = self.full_name.as_bytes();
        let at = name.iter().position(|byte| *byte == b'|');
        &name[at.map_or(0, |at| at + 1)..]
    }
}

/// Commands and subcommands of real servers that are not there yet, by groups of the same categories. Rules may name them,
/// so that users' files for a real server load.
const ABSENT: &[(Categories, &[&str])] = &[
    (
        Categories::ADMIN
            .or(Categories::DANGEROUS)
            .or(Categories::SLOW),
        &[
            "failover",
            "module|load",
            "module|loadex",
            "module|unload",
            "psync",
            "replconf",
            "sync",
        ],
    ),
    (
        Categories::KEYSPACE
            .or(Categories::WRITE)
            .or(Categories::DANGEROUS)
            .or(Categories::SLOW),
        &["migrate"],
    ),
    (Categories::WRITE, &["vadd", "vrem", "vsetattr"]),
    (
        Categories::READ,
        &[
            "vcard",
            "vdim",
            "vemb",
            "vgetattr",
            "vinfo",
            "vismember",
            "vlinks",
            "vrandmember",
            "vsim",
        ],
    ),
];

/// All commands and subcommands, by id.
#[derive(Debug, Default)]
pub struct Catalogue(Vec<Known>);

impl Catalogue {
    /// Adds the command with the next id.
    pub fn push(&mut self, known: Known) {
        debug_assert_eq!(
            usize::from(known.id.0),
            self.0.len(),
            "ids follow each other"
        );
        self.0.push(known);
    }

    /// Adds, behind all commands that there are, those that are not there yet and go by a name that no command has.
    pub fn push_absent(&mut self) {
        for (categories, names) in ABSENT {
            for name in *names {
                if self.find(name.as_bytes()).is_some() {
                    continue;
                }
                let id = CommandId(u16::try_from(self.0.len()).expect("commands are few"));
                let container = name.split_once('|').and_then(|(container, _)| {
                    let container = self.find(container.as_bytes())?.id;
                    self.0[usize::from(container.0)].subcommands.push(id);
                    Some(container)
                });
                self.push(Known {
                    id,
                    full_name: (*name).to_owned(),
                    container,
                    subcommands: Vec::new(),
                    categories: *categories,
                });
            }
        }
    }

    /// A command by its id, which the catalogue has given.
    pub fn get(&self, id: CommandId) -> &Known {
        &self.0[usize::from(id.0)]
    }

    /// All commands and subcommands.
    pub fn all(&self) -> impl Iterator<Item = &Known> {
        self.0.iter()
    }

    /// A command or, written `config|get`, a subcommand, by name in any case.
    pub fn find(&self, name: &[u8]) -> Option<&Known> {
        let (name, sub) = match name.iter().position(|byte| *byte == b'|') {
            None => (name, None),
            Some(at) => (&name[..at], Some(&name[at + 1..])),
        };
        let mut commands = self.all().filter(|known| known.container.is_none());
        let command = commands.find(|known| known.own_name().eq_ignore_ascii_case(name));
        match sub {
            None => command,
            Some(sub) => self.subcommand(command?, sub),
        }
    }

    /// A container's subcommand by its name, in any case.
    pub fn subcommand(&self, container: &Known, name: &[u8]) -> Option<&Known> {
        let mut subcommands = container.subcommands.iter().map(|id| self.get(*id));
        subcommands.find(|sub| sub.own_name().eq_ignore_ascii_case(name))
    }
}
