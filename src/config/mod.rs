//! Config: the one table of parameters, and reading, setting, printing and rewriting through it.
//!
//! - `params.rs`: one row for each parameter; `Config` and its defaults are made from the rows.
//! - `kinds.rs`, `values.rs`: how values of each kind are read, checked, printed.
//! - `file.rs`: configuration files and the command line.
//! - `rewrite.rs`: CONFIG REWRITE.
//! - `suggest.rs`: names that are no parameters, and which one a mistyped name was meant to be.
//!
//! May not: open files, read the environment, or make a change take effect; callers do that.

mod file;
mod kinds;
mod params;
mod rewrite;
mod suggest;
mod values;

use std::collections::{BTreeMap, BTreeSet};

pub use file::{
    Command, ConfigFileError, Host, Loaded, Options, REDIS_VERSION, REDIS_VERSION_NUM, load,
    split_args,
};
pub use kinds::{Lines, MemoryLimit, Named, Stage, ValueError, parse_memory, quote};
pub use params::{Config, PARAMS};
pub use rewrite::{Rewrite, rewrite};
pub use values::*;

use crate::types::glob::glob_match;

/// What is special about a parameter, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    pub const MUTABLE: Flags = Flags(0);
    /// Only a file or the command line sets it.
    pub const IMMUTABLE: Flags = Flags(1);
    /// CONFIG SET needs `enable-protected-configs`.
    pub const PROTECTED: Flags = Flags(2);
    /// No pattern finds it, only its exact name.
    pub const HIDDEN: Flags = Flags(4);
    /// Its value is kept out of logs.
    pub const SENSITIVE: Flags = Flags(8);
    /// Its value is several words.
    pub const MULTI_ARG: Flags = Flags(16);
    /// CONFIG SET refuses it while a dataset is loading.
    pub const DENY_LOADING: Flags = Flags(32);

    /// Both sets together.
    pub const fn and(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// Whether every flag of `other` is set.
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Parameters that are about what there is none of here: I/O threads, child processes, another allocator, modules. Their
/// rows say so.
const WITHOUT_EFFECT: [&str; 7] = [
    "aof-rewrite-cpulist",
    "bgsave-cpulist",
    "crash-memcheck-enabled",
    "enable-module-command",
    "ignore-warnings",
    "io-threads",
    "jemalloc-bg-thread",
];

type ParseFn = fn(&mut Config, &[&[u8]], Stage) -> Result<(), ValueError>;

/// One parameter: a row of the table.
pub struct Param {
    pub name: &'static str,
    /// An older name for the same value.
    pub alias: Option<&'static str>,
    pub flags: Flags,
    doc: &'static str,
    parse: ParseFn,
    print: fn(&Config) -> Vec<u8>,
    lines: fn(&Config, &Config) -> Lines,
    describe: fn() -> String,
}

impl std::fmt::Debug for Param {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Param {
    /// The parameter called `name`, by either of its names, in any case.
    pub fn find(name: &[u8]) -> Option<&'static Param> {
        let is_it = |known: &str| name.eq_ignore_ascii_case(known.as_bytes());
        PARAMS
            .iter()
            .find(|param| is_it(param.name) || param.alias.is_some_and(is_it))
    }

    /// What it trades, and what to choose when unsure.
    pub fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    /// Which values are allowed, in words.
    pub fn values(&self) -> String {
        (self.describe)()
    }

    /// Its value as CONFIG GET prints it.
    pub fn get(&self, config: &Config) -> Vec<u8> {
        (self.print)(config)
    }

    /// Gives it the value which `args` stand for.
    fn set(&self, config: &mut Config, args: &[&[u8]], stage: Stage) -> Result<(), ValueError> {
        match args {
            [line] if self.flags.contains(Flags::MULTI_ARG) => {
                let words: Vec<&[u8]> = match line.is_empty() {
                    true => Vec::new(),
                    false => line.split(|byte| *byte == b' ').collect(),
                };
                (self.parse)(config, &words, stage)
            }
            _ => (self.parse)(config, args, stage),
        }
    }

    /// The name it goes by when asked for as `asked`.
    fn name_for(&self, asked: &[u8]) -> &'static str {
        self.alias
            .filter(|alias| asked.eq_ignore_ascii_case(alias.as_bytes()))
            .unwrap_or(self.name)
    }
}

/// What may be set: everything, or what a client may set just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// A file, the command line, or the server itself.
    Startup,
    /// CONFIG SET; `protected`: this client may set protected parameters.
    Runtime { protected: bool, loading: bool },
}

/// What CONFIG SET says of a name that it does not know, up to the name.
pub const UNKNOWN_OPTION: &str = "ERR Unknown option or number of arguments for CONFIG SET - '";

/// Why CONFIG SET was refused; `Display` is the error line the client reads.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The name is a client's bytes, which need not be text: whoever can replies them as they are.
    #[error("{UNKNOWN_OPTION}{}'", String::from_utf8_lossy(.0))]
    Unknown(Vec<u8>),
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    #[error("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}")]
    Refused { name: String, why: Refusal },
}

/// The reason within a `SetError`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("can't set immutable config")]
    Immutable,
    #[error("can't set protected config")]
    Protected,
    #[error("duplicate parameter")]
    Duplicate,
    #[error(transparent)]
    Value(#[from] ValueError),
    /// What the server found when it tried to apply the new value.
    #[error("{0}")]
    Apply(String),
}

impl Config {
    /// The value of the parameter called `name`, as CONFIG GET prints it; it need not be UTF-8.
    pub fn get(&self, name: &str) -> Option<Vec<u8>> {
        Param::find(name.as_bytes()).map(|param| param.get(self))
    }

    /// What `CONFIG GET patterns...` replies, by name and each once; a name asked for exactly keeps its spelling.
    pub fn matching(&self, patterns: &[&[u8]]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: BTreeMap<Vec<u8>, (Vec<u8>, &Param)> = BTreeMap::new();
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"*?[".contains(byte)) {
                if let Some(param) = Param::find(pattern) {
                    found
                        .entry(pattern.to_ascii_lowercase())
                        .or_insert_with(|| (pattern.to_vec(), param));
                }
                continue;
            }
            for param in PARAMS
                .iter()
                .filter(|param| !param.flags.contains(Flags::HIDDEN))
            {
                for name in [Some(param.name), param.alias].into_iter().flatten() {
                    if glob_match(pattern, name.as_bytes(), true) {
                        found
                            .entry(name.into())
                            .or_insert_with(|| (name.into(), param));
                    }
                }
            }
        }
        found
            .into_values()
            .map(|(name, param)| (name, param.get(self)))
            .collect()
    }

    /// Sets all of `pairs` or none; returns the parameters whose value differs now, for the caller to apply.
    pub fn set_many(
        &mut self,
        pairs: &[(&[u8], &[u8])],
        access: Access,
    ) -> Result<Vec<&'static Param>, SetError> {
        let params = self.check_names(pairs, access)?;
        let mut changed = self.clone();
        for ((asked, value), param) in pairs.iter().zip(&params) {
            let set = param.set(&mut changed, &[value], Stage::Runtime);
            set.map_err(|error| SetError::Refused {
                name: param.name_for(asked).into(),
                why: error.into(),
            })?;
        }
        changed.round_values();

        let differs = |param: &&Param| param.get(self) != param.get(&changed);
        let differing: Vec<&'static Param> = params.into_iter().filter(differs).collect();
        *self = changed;
        Ok(differing)
    }

    /// What is asked for that this server does not do yet, in the words with which it refuses to start.
    pub fn wants_absent(&self) -> Option<String> {
        if let Some(name) = self.wants_tls() {
            return Some(format!(
                "Failed to configure TLS: this server speaks none, so {name} has to stay off."
            ));
        }
        let text = match () {
            _ if self.cluster_enabled => {
                "Failed to become a cluster node: this server is none yet, so cluster-enabled has to stay off."
            }
            _ if self.replicaof.is_some() => {
                "Failed to follow a primary: this server does not replicate yet, so replicaof has to stay unset."
            }
            _ => return None,
        };
        Some(text.to_owned())
    }

    /// Parameters that have another value than by default although nothing comes of that here, by design.
    pub fn set_in_vain(&self) -> Vec<&'static str> {
        let default = Config::default();
        let in_vain = PARAMS.iter().filter(|param| {
            WITHOUT_EFFECT.contains(&param.name) && param.get(self) != param.get(&default)
        });
        in_vain.map(|param| param.name).collect()
    }

    /// The parameter that asks for connections by TLS, which there are none of.
    pub fn wants_tls(&self) -> Option<&'static str> {
        match () {
            _ if self.tls_port != 0 => Some("tls-port"),
            _ if self.tls_cluster => Some("tls-cluster"),
            _ if self.tls_replication => Some("tls-replication"),
            _ => None,
        }
    }

    /// The parameters of `pairs`, or the first reason to refuse their names. To be loading outweighs the rest.
    fn check_names(
        &self,
        pairs: &[(&[u8], &[u8])],
        access: Access,
    ) -> Result<Vec<&'static Param>, SetError> {
        let mut params = Vec::with_capacity(pairs.len());
        let mut names = BTreeSet::new();
        let mut refusal = None;
        for (asked, _) in pairs {
            let Some(param) = Param::find(asked) else {
                refusal.get_or_insert(SetError::Unknown(asked.to_vec()));
                continue;
            };
            let shown = || String::from_utf8_lossy(asked).into_owned();
            params.push(param);
            let fresh = names.insert(param.name_for(asked));
            let why = match access {
                Access::Runtime { .. } if param.flags.contains(Flags::IMMUTABLE) => {
                    Some(Refusal::Immutable)
                }
                Access::Runtime {
                    protected: false, ..
                } if param.flags.contains(Flags::PROTECTED) => Some(Refusal::Protected),
                Access::Runtime { loading: true, .. }
                    if param.flags.contains(Flags::DENY_LOADING) =>
                {
                    return Err(SetError::Loading);
                }
                _ if !fresh => Some(Refusal::Duplicate),
                _ => None,
            };
            if let Some(why) = why {
                refusal.get_or_insert(SetError::Refused { name: shown(), why });
            }
        }
        refusal.map_or(Ok(params), Err)
    }

    /// Moves values that are allowed but not usable to the nearest one that is.
    fn round_values(&mut self) {
        self.hz = self.hz.clamp(1, 500);
        self.repl_backlog_size = self.repl_backlog_size.max(16 << 10);
        if self.watchdog_period > 0 {
            self.watchdog_period = self.watchdog_period.max(2 * (1000 / self.hz)); // two ticks
        }
    }
}

#[cfg(test)]
mod tests;
