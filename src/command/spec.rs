//! Spec: everything the server knows about a command, in one value.
//!
//! A command is its `Spec` and its handler, side by side in one family file. COMMAND, arity checks, key
//! extraction, ACL categories, HELP and the reference page in `docs/` all read the spec; nothing of it is
//! written a second time. Lives here: the types, their builders and what can be derived from them.
//! May not: the list of commands (`registry.rs`), handlers, replies.

pub use crate::acl::category::{CATEGORY_NAMES, Categories};
pub use crate::state::flags::{FLAG_NAMES, Flags};

use crate::command::Handler;

/// The documentation group of a command, by the name COMMAND DOCS gives it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Group {
    Bitmap,
    Cluster,
    Connection,
    Generic,
    Geo,
    Hash,
    HyperLogLog,
    List,
    PubSub,
    Scripting,
    Server,
    Set,
    SortedSet,
    Stream,
    String,
    Transactions,
}

impl Group {
    /// The group's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Group::Bitmap => "bitmap",
            Group::Cluster => "cluster",
            Group::Connection => "connection",
            Group::Generic => "generic",
            Group::Geo => "geo",
            Group::Hash => "hash",
            Group::HyperLogLog => "hyperloglog",
            Group::List => "list",
            Group::PubSub => "pubsub",
            Group::Scripting => "scripting",
            Group::Server => "server",
            Group::Set => "set",
            Group::SortedSet => "sorted-set",
            Group::Stream => "stream",
            Group::String => "string",
            Group::Transactions => "transactions",
        }
    }
}

/// What a command does with the keys of one key spec.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyFlags(pub u16);

/// Key flag names in COMMAND INFO's order; the position is the bit.
pub const KEY_FLAG_NAMES: [&str; 11] = [
    "RO",
    "RW",
    "OW",
    "RM",
    "access",
    "update",
    "insert",
    "delete",
    "not_key",
    "incomplete",
    "variable_flags",
];

impl KeyFlags {
    pub const RO: KeyFlags = KeyFlags(1);
    pub const RW: KeyFlags = KeyFlags(1 << 1);
    pub const OW: KeyFlags = KeyFlags(1 << 2);
    pub const RM: KeyFlags = KeyFlags(1 << 3);
    pub const ACCESS: KeyFlags = KeyFlags(1 << 4);
    pub const UPDATE: KeyFlags = KeyFlags(1 << 5);
    pub const INSERT: KeyFlags = KeyFlags(1 << 6);
    pub const DELETE: KeyFlags = KeyFlags(1 << 7);
    pub const NOT_KEY: KeyFlags = KeyFlags(1 << 8);
    pub const INCOMPLETE: KeyFlags = KeyFlags(1 << 9);
    pub const VARIABLE_FLAGS: KeyFlags = KeyFlags(1 << 10);

    /// Both sets together.
    pub const fn or(self, other: KeyFlags) -> KeyFlags {
        KeyFlags(self.0 | other.0)
    }

    /// Whether every flag of `other` is in this set.
    pub const fn has(self, other: KeyFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Where the search for a spec's keys begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BeginSearch {
    /// At this argument; the command's name is argument 0.
    Index(i32),
    /// Behind this word, looked for from argument `start_from` on (negative: backwards from the end).
    Keyword {
        keyword: &'static str,
        start_from: i32,
    },
    /// Only the command's own parser knows.
    Unknown,
}

/// How the keys lie behind the beginning.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FindKeys {
    /// From the beginning up to `last_key` (relative to the beginning; negative: from the last argument),
    /// every `step`-th; `limit` above 1 takes only that fraction of the arguments.
    Range {
        last_key: i32,
        step: i32,
        limit: i32,
    },
    /// A count stands at `keynum_index`, the first key at `first_key`, both relative to the beginning.
    Keynum {
        keynum_index: i32,
        first_key: i32,
        step: i32,
    },
    /// Only the command's own parser knows.
    Unknown,
}

/// One rule by which a command's keys are found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeySpec {
    pub flags: KeyFlags,
    pub begin: BeginSearch,
    pub find: FindKeys,
}

impl KeySpec {
    /// One key, at argument `index`.
    pub const fn at(index: i32, flags: KeyFlags) -> KeySpec {
        KeySpec::range(index, 0, 1, flags)
    }

    /// Keys from argument `index` to `last_key` (relative to `index`; -1 is the last argument), `step` apart.
    pub const fn range(index: i32, last_key: i32, step: i32, flags: KeyFlags) -> KeySpec {
        KeySpec {
            flags,
            begin: BeginSearch::Index(index),
            find: FindKeys::Range {
                last_key,
                step,
                limit: 0,
            },
        }
    }

    /// A key count at argument `index`, the keys `first_key` behind it, `step` apart.
    pub const fn keynum(index: i32, first_key: i32, step: i32, flags: KeyFlags) -> KeySpec {
        KeySpec {
            flags,
            begin: BeginSearch::Index(index),
            find: FindKeys::Keynum {
                keynum_index: 0,
                first_key,
                step,
            },
        }
    }
}

/// Which arguments of a command are channels that its user must be allowed to use. Commands that only end
/// subscriptions need no permission and have none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Channels {
    #[default]
    None,
    /// The first argument.
    First,
    /// All arguments.
    All,
    /// All arguments, each a pattern of channels.
    AllPatterns,
}

/// What an argument is, as COMMAND DOCS names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ArgKind {
    String,
    Integer,
    Double,
    Key,
    Pattern,
    UnixTime,
    PureToken,
    OneOf,
    Block,
}

impl ArgKind {
    /// The kind's name on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            ArgKind::String => "string",
            ArgKind::Integer => "integer",
            ArgKind::Double => "double",
            ArgKind::Key => "key",
            ArgKind::Pattern => "pattern",
            ArgKind::UnixTime => "unix-time",
            ArgKind::PureToken => "pure-token",
            ArgKind::OneOf => "oneof",
            ArgKind::Block => "block",
        }
    }
}

/// One argument in a command's syntax, from which COMMAND DOCS and the syntax line are made.
#[derive(Clone, Copy, Debug)]
pub struct Arg {
    pub name: &'static str,
    pub kind: ArgKind,
    pub token: Option<&'static str>,
    pub display: Option<&'static str>,
    pub key_spec: Option<u8>,
    pub since: Option<&'static str>,
    pub deprecated_since: Option<&'static str>,
    pub optional: bool,
    pub multiple: bool,
    pub multiple_token: bool,
    pub args: &'static [Arg],
}

impl Arg {
    /// An argument of a simple kind.
    pub const fn new(name: &'static str, kind: ArgKind) -> Arg {
        Arg {
            name,
            kind,
            token: None,
            display: None,
            key_spec: None,
            since: None,
            deprecated_since: None,
            optional: false,
            multiple: false,
            multiple_token: false,
            args: &[],
        }
    }

    /// A key found by key spec number `spec`.
    pub const fn key(name: &'static str, spec: u8) -> Arg {
        let mut arg = Arg::new(name, ArgKind::Key);
        arg.key_spec = Some(spec);
        arg
    }

    /// A word that stands for itself.
    pub const fn word(name: &'static str, token: &'static str) -> Arg {
        Arg::new(name, ArgKind::PureToken).token(token)
    }

    /// Exactly one of `args`.
    pub const fn one_of(name: &'static str, args: &'static [Arg]) -> Arg {
        let mut arg = Arg::new(name, ArgKind::OneOf);
        arg.args = args;
        arg
    }

    /// All of `args`, in order.
    pub const fn block(name: &'static str, args: &'static [Arg]) -> Arg {
        let mut arg = Arg::new(name, ArgKind::Block);
        arg.args = args;
        arg
    }

    /// Preceded by this word.
    pub const fn token(mut self, token: &'static str) -> Arg {
        self.token = Some(token);
        self
    }

    /// Shown in the syntax line under this name.
    pub const fn display(mut self, display: &'static str) -> Arg {
        self.display = Some(display);
        self
    }

    /// Found by key spec number `spec`.
    pub const fn key_spec(mut self, spec: u8) -> Arg {
        self.key_spec = Some(spec);
        self
    }

    /// Known from this version on.
    pub const fn since(mut self, version: &'static str) -> Arg {
        self.since = Some(version);
        self
    }

    /// Discouraged from this version on.
    pub const fn deprecated_since(mut self, version: &'static str) -> Arg {
        self.deprecated_since = Some(version);
        self
    }

    /// May be left out.
    pub const fn optional(mut self) -> Arg {
        self.optional = true;
        self
    }

    /// May be repeated.
    pub const fn multiple(mut self) -> Arg {
        self.multiple = true;
        self
    }

    /// May be repeated together with its token.
    pub const fn multiple_token(mut self) -> Arg {
        self.multiple = true;
        self.multiple_token = true;
        self
    }
}

/// One command or subcommand.
#[derive(Clone, Copy)]
pub struct Spec {
    /// Lower case; of a subcommand, its own word without the container's.
    pub name: &'static str,
    /// Counts the name (and the container's); -3 means "at least 3".
    pub arity: i32,
    pub flags: Flags,
    /// Categories beyond those which the flags imply (see [`Spec::categories`]).
    pub acl: Categories,
    pub group: Group,
    /// The Redis version that has it first.
    pub since: &'static str,
    pub summary: &'static str,
    pub complexity: Option<&'static str>,
    pub key_specs: &'static [KeySpec],
    /// Of commands that speak or listen on channels, where these stand.
    pub channels: Channels,
    /// What there is to say about a key spec, by its number.
    pub key_notes: &'static [(usize, &'static str)],
    pub args: &'static [Arg],
    pub tips: &'static [&'static str],
    /// Which version added which options.
    pub history: &'static [(&'static str, &'static [&'static str])],
    pub deprecated_since: Option<&'static str>,
    pub replaced_by: Option<&'static str>,
    /// An internal command that clients have no use for.
    pub syscmd: bool,
    pub subcommands: &'static [Spec],
    /// Of a container, the lines of syntax that its HELP shows, in their order. They name arguments in their own way
    /// and may give a subcommand several lines, or stand for the container alone. None: as the arguments say.
    pub help: &'static [&'static str],
    pub handler: Handler,
}

impl Spec {
    /// What a spec has when it says nothing else; `handler` is refused by the registry if it stays.
    pub const DEFAULT: Spec = Spec {
        name: "",
        arity: 0,
        flags: Flags::NONE,
        acl: Categories::NONE,
        group: Group::Generic,
        since: "1.0.0",
        summary: "",
        complexity: None,
        key_specs: &[],
        channels: Channels::None,
        key_notes: &[],
        args: &[],
        tips: &[],
        history: &[],
        deprecated_since: None,
        replaced_by: None,
        syscmd: false,
        subcommands: &[],
        help: &[],
        handler: crate::command::container_only,
    };

    /// All ACL categories: the spec's own and those that its flags imply.
    pub const fn categories(&self) -> Categories {
        let mut set = self.acl;
        if self.flags.has(Flags::WRITE) {
            set = set.or(Categories::WRITE);
        }
        // Scripting commands may read or write as they please, so "readonly" says nothing about them.
        if self.flags.has(Flags::READONLY) && !self.acl.has(Categories::SCRIPTING) {
            set = set.or(Categories::READ);
        }
        if self.flags.has(Flags::ADMIN) {
            set = set.or(Categories::ADMIN).or(Categories::DANGEROUS);
        }
        if self.flags.has(Flags::PUBSUB) {
            set = set.or(Categories::PUBSUB);
        }
        if self.flags.has(Flags::BLOCKING) {
            set = set.or(Categories::BLOCKING);
        }
        if self.flags.has(Flags::FAST) {
            set = set.or(Categories::FAST);
        } else {
            set = set.or(Categories::SLOW);
        }
        set
    }

    /// Whether it runs a script or a function.
    pub fn runs_script(&self) -> bool {
        self.group == Group::Scripting && self.flags.has(Flags::MOVABLEKEYS)
    }

    /// Whether `argc` arguments, the name included, satisfy the arity.
    pub const fn accepts(&self, argc: usize) -> bool {
        if self.arity >= 0 {
            argc == self.arity as usize
        } else {
            argc >= (-self.arity) as usize
        }
    }
}
