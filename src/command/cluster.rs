//! CLUSTER and what belongs to it, as a server answers that is no node of a cluster.
//!
//! Subcommands and their shapes are known, so that wrong ones are refused for what is wrong about them and users' rules
//! can name them; what is right finds that there is no cluster. May not: know of slots or nodes.

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[ASKING, CLUSTER, READONLY, READWRITE];

/// The flags of a subcommand that changes the cluster.
const CHANGES: Flags = Flags::ADMIN.or(Flags::STALE).or(Flags::NO_ASYNC_LOADING);

const NONDETERMINISTIC: &[&str] = &["nondeterministic_output"];

const NODE: Arg = Arg::new("node-id", ArgKind::String);
const SLOT: Arg = Arg::new("slot", ArgKind::Integer);
const SLOTS: Arg = SLOT.multiple();
const TASK: Arg = Arg::new("task-id", ArgKind::String).token("ID");

const RANGE: &[Arg] = &[
    Arg::new("start-slot", ArgKind::Integer),
    Arg::new("end-slot", ArgKind::Integer),
];
const SLOT_RANGES: Arg = Arg::block("range", RANGE).multiple();

/// What every request gets whose shape is right.
fn no_cluster(_: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::text(
        "ERR This instance has cluster support disabled",
    ))
}

/// What the specs of this file have in common.
const HERE: Spec = Spec {
    group: Group::Cluster,
    since: "3.0.0",
    complexity: Some("O(1)"),
    handler: no_cluster,
    ..Spec::DEFAULT
};

pub const ASKING: Spec = Spec {
    name: "asking",
    arity: 1,
    flags: Flags::FAST,
    acl: Categories::CONNECTION,
    summary: "Tells a node that its slot's keys are asked for because another one sent the client there.",
    ..HERE
};

pub const READONLY: Spec = Spec {
    name: "readonly",
    arity: 1,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Categories::CONNECTION,
    summary: "Lets the connection read from a node that is a replica.",
    ..HERE
};

pub const READWRITE: Spec = Spec {
    name: "readwrite",
    arity: 1,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Categories::CONNECTION,
    summary: "Sends the connection's reads to primaries again.",
    ..HERE
};

pub const CLUSTER: Spec = Spec {
    name: "cluster",
    arity: -2,
    summary: "A container for commands about the cluster.",
    complexity: Some("Depends on subcommand."),
    subcommands: &[
        CLUSTER_ADDSLOTS,
        CLUSTER_ADDSLOTSRANGE,
        CLUSTER_BUMPEPOCH,
        CLUSTER_COUNT_FAILURE_REPORTS,
        CLUSTER_COUNTKEYSINSLOT,
        CLUSTER_DELSLOTS,
        CLUSTER_DELSLOTSRANGE,
        CLUSTER_FAILOVER,
        CLUSTER_FLUSHSLOTS,
        CLUSTER_FORGET,
        CLUSTER_GETKEYSINSLOT,
        CLUSTER_HELP,
        CLUSTER_INFO,
        CLUSTER_KEYSLOT,
        CLUSTER_LINKS,
        CLUSTER_MEET,
        CLUSTER_MIGRATION,
        CLUSTER_MYID,
        CLUSTER_MYSHARDID,
        CLUSTER_NODES,
        CLUSTER_REPLICAS,
        CLUSTER_REPLICATE,
        CLUSTER_RESET,
        CLUSTER_SAVECONFIG,
        CLUSTER_SET_CONFIG_EPOCH,
        CLUSTER_SETSLOT,
        CLUSTER_SHARDS,
        CLUSTER_SLAVES,
        CLUSTER_SLOT_STATS,
        CLUSTER_SLOTS,
        CLUSTER_SYNCSLOTS,
    ],
    handler: crate::command::container_only,
    ..HERE
};

pub const CLUSTER_ADDSLOTS: Spec = Spec {
    name: "addslots",
    arity: -3,
    flags: CHANGES,
    summary: "Gives hash slots to this node.",
    complexity: Some("O(N)"),
    args: &[SLOTS],
    ..HERE
};

pub const CLUSTER_ADDSLOTSRANGE: Spec = Spec {
    name: "addslotsrange",
    arity: -4,
    flags: CHANGES,
    since: "7.0.0",
    summary: "Gives ranges of hash slots to this node.",
    complexity: Some("O(N)"),
    args: &[SLOT_RANGES],
    ..HERE
};

pub const CLUSTER_BUMPEPOCH: Spec = Spec {
    name: "bumpepoch",
    arity: 2,
    flags: CHANGES,
    summary: "Raises the epoch of the configuration.",
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_COUNT_FAILURE_REPORTS: Spec = Spec {
    name: "count-failure-reports",
    arity: 3,
    flags: Flags::ADMIN.or(Flags::STALE),
    summary: "Counts the nodes that hold another for failed.",
    complexity: Some("O(N)"),
    args: &[NODE],
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_COUNTKEYSINSLOT: Spec = Spec {
    name: "countkeysinslot",
    arity: 3,
    flags: Flags::STALE,
    summary: "Counts the keys of a hash slot.",
    args: &[SLOT],
    ..HERE
};

pub const CLUSTER_DELSLOTS: Spec = Spec {
    name: "delslots",
    arity: -3,
    flags: CHANGES,
    summary: "Takes hash slots from this node.",
    complexity: Some("O(N)"),
    args: &[SLOTS],
    ..HERE
};

pub const CLUSTER_DELSLOTSRANGE: Spec = Spec {
    name: "delslotsrange",
    arity: -4,
    flags: CHANGES,
    since: "7.0.0",
    summary: "Takes ranges of hash slots from this node.",
    complexity: Some("O(N)"),
    args: &[SLOT_RANGES],
    ..HERE
};

pub const CLUSTER_FAILOVER: Spec = Spec {
    name: "failover",
    arity: -2,
    flags: CHANGES,
    summary: "Makes a replica take its primary's place.",
    args: &[Arg::one_of(
        "options",
        &[
            Arg::word("force", "FORCE"),
            Arg::word("takeover", "TAKEOVER"),
        ],
    )
    .optional()],
    ..HERE
};

pub const CLUSTER_FLUSHSLOTS: Spec = Spec {
    name: "flushslots",
    arity: 2,
    flags: CHANGES,
    summary: "Takes all hash slots from this node.",
    ..HERE
};

pub const CLUSTER_FORGET: Spec = Spec {
    name: "forget",
    arity: 3,
    flags: CHANGES,
    summary: "Removes a node from those that are known.",
    args: &[NODE],
    ..HERE
};

pub const CLUSTER_GETKEYSINSLOT: Spec = Spec {
    name: "getkeysinslot",
    arity: 4,
    flags: Flags::STALE,
    summary: "Lists keys of a hash slot.",
    complexity: Some("O(N)"),
    args: &[SLOT, Arg::new("count", ArgKind::Integer)],
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    since: "5.0.0",
    summary: "Lists the subcommands.",
    ..HERE
};

pub const CLUSTER_INFO: Spec = Spec {
    name: "info",
    arity: 2,
    flags: Flags::STALE,
    summary: "Tells the state of the cluster as this node sees it.",
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_KEYSLOT: Spec = Spec {
    name: "keyslot",
    arity: 3,
    flags: Flags::STALE,
    summary: "Tells the hash slot of a key.",
    complexity: Some("O(N)"),
    args: &[Arg::new("key", ArgKind::String)],
    ..HERE
};

pub const CLUSTER_LINKS: Spec = Spec {
    name: "links",
    arity: 2,
    flags: Flags::STALE,
    since: "7.0.0",
    summary: "Lists the connections to other nodes.",
    complexity: Some("O(N)"),
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_MEET: Spec = Spec {
    name: "meet",
    arity: -4,
    flags: CHANGES,
    summary: "Makes another node known to this one.",
    args: &[
        Arg::new("ip", ArgKind::String),
        Arg::new("port", ArgKind::Integer),
        Arg::new("cluster-bus-port", ArgKind::Integer)
            .since("4.0.0")
            .optional(),
    ],
    history: &[("4.0.0", &["cluster_bus_port"])],
    ..HERE
};

pub const CLUSTER_MIGRATION: Spec = Spec {
    name: "migration",
    arity: -4,
    flags: CHANGES,
    since: "8.4.0",
    summary: "Moves hash slots to this node with their keys, or tells how far that is.",
    complexity: Some("O(N)"),
    args: &[Arg::one_of(
        "subcommand",
        &[
            Arg::block("import", RANGE).token("IMPORT").multiple(),
            Arg::one_of("cancel", &[TASK, Arg::word("all", "ALL")]).token("CANCEL"),
            Arg::one_of(
                "status",
                &[TASK.optional(), Arg::word("all", "ALL").optional()],
            )
            .token("STATUS"),
        ],
    )],
    ..HERE
};

pub const CLUSTER_MYID: Spec = Spec {
    name: "myid",
    arity: 2,
    flags: Flags::STALE,
    summary: "Tells this node's id.",
    ..HERE
};

pub const CLUSTER_MYSHARDID: Spec = Spec {
    name: "myshardid",
    arity: 2,
    flags: Flags::STALE,
    since: "7.2.0",
    summary: "Tells the id of this node's shard.",
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_NODES: Spec = Spec {
    name: "nodes",
    arity: 2,
    flags: Flags::STALE,
    summary: "Lists the nodes with their slots.",
    complexity: Some("O(N)"),
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_REPLICAS: Spec = Spec {
    name: "replicas",
    arity: 3,
    flags: Flags::ADMIN.or(Flags::STALE),
    since: "5.0.0",
    summary: "Lists the replicas of a primary.",
    complexity: Some("O(N)"),
    args: &[NODE],
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_REPLICATE: Spec = Spec {
    name: "replicate",
    arity: 3,
    flags: CHANGES,
    summary: "Makes this node the replica of another.",
    args: &[NODE],
    ..HERE
};

pub const CLUSTER_RESET: Spec = Spec {
    name: "reset",
    arity: -2,
    flags: Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::STALE),
    summary: "Makes this node forget the cluster.",
    complexity: Some("O(N)"),
    args: &[Arg::one_of(
        "reset-type",
        &[Arg::word("hard", "HARD"), Arg::word("soft", "SOFT")],
    )
    .optional()],
    ..HERE
};

pub const CLUSTER_SAVECONFIG: Spec = Spec {
    name: "saveconfig",
    arity: 2,
    flags: CHANGES,
    summary: "Writes the cluster's configuration to disk.",
    ..HERE
};

pub const CLUSTER_SET_CONFIG_EPOCH: Spec = Spec {
    name: "set-config-epoch",
    arity: 3,
    flags: CHANGES,
    summary: "Sets the configuration epoch of a new node.",
    args: &[Arg::new("config-epoch", ArgKind::Integer)],
    ..HERE
};

pub const CLUSTER_SETSLOT: Spec = Spec {
    name: "setslot",
    arity: -4,
    flags: CHANGES,
    summary: "Says which node a hash slot belongs to, comes from or goes to.",
    args: &[
        SLOT,
        Arg::one_of(
            "subcommand",
            &[
                Arg::new("importing", ArgKind::String)
                    .token("IMPORTING")
                    .display("node-id"),
                Arg::new("migrating", ArgKind::String)
                    .token("MIGRATING")
                    .display("node-id"),
                Arg::new("node", ArgKind::String)
                    .token("NODE")
                    .display("node-id"),
                Arg::word("stable", "STABLE"),
            ],
        ),
    ],
    ..HERE
};

pub const CLUSTER_SHARDS: Spec = Spec {
    name: "shards",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    since: "7.0.0",
    summary: "Lists the shards with their slots and nodes.",
    complexity: Some("O(N)"),
    tips: NONDETERMINISTIC,
    ..HERE
};

pub const CLUSTER_SLAVES: Spec = Spec {
    name: "slaves",
    arity: 3,
    flags: Flags::ADMIN.or(Flags::STALE),
    summary: "Lists the replicas of a primary.",
    complexity: Some("O(N)"),
    args: &[NODE],
    tips: NONDETERMINISTIC,
    deprecated_since: Some("5.0.0"),
    replaced_by: Some("`CLUSTER REPLICAS`"),
    ..HERE
};

pub const CLUSTER_SLOT_STATS: Spec = Spec {
    name: "slot-stats",
    arity: -4,
    flags: Flags::LOADING.or(Flags::STALE),
    since: "8.2.0",
    summary: "Tells what hash slots hold and cost.",
    complexity: Some("O(N), or O(N*log(N)) when they are put in order"),
    args: &[Arg::one_of(
        "filter",
        &[
            Arg::block("slotsrange", RANGE).token("SLOTSRANGE"),
            Arg::block(
                "orderby",
                &[
                    Arg::new("metric", ArgKind::String),
                    Arg::new("limit", ArgKind::Integer)
                        .token("LIMIT")
                        .optional(),
                    Arg::one_of(
                        "order",
                        &[Arg::word("asc", "ASC"), Arg::word("desc", "DESC")],
                    )
                    .optional(),
                ],
            )
            .token("ORDERBY"),
        ],
    )],
    tips: &["nondeterministic_output", "request_policy:all_shards"],
    ..HERE
};

pub const CLUSTER_SLOTS: Spec = Spec {
    name: "slots",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "Lists ranges of slots with their nodes.",
    complexity: Some("O(N)"),
    tips: NONDETERMINISTIC,
    history: &[("4.0.0", &[]), ("7.0.0", &[])],
    deprecated_since: Some("7.0.0"),
    replaced_by: Some("`CLUSTER SHARDS`"),
    ..HERE
};

pub const CLUSTER_SYNCSLOTS: Spec = Spec {
    name: "syncslots",
    arity: -3,
    flags: CHANGES,
    since: "8.4.0",
    summary: "Is what nodes say to each other while slots are moved.",
    args: &[Arg::one_of(
        "subcommand",
        &[
            Arg::block(
                "sync",
                &[
                    Arg::new("task-id", ArgKind::String),
                    Arg::block("slot-range", RANGE).multiple(),
                ],
            )
            .token("SYNC"),
            Arg::new("task-id", ArgKind::String).token("RDBCHANNEL"),
            Arg::word("snapshot-eof", "SNAPSHOT-EOF"),
            Arg::word("stream-eof", "STREAM-EOF"),
            Arg::block(
                "ack",
                &[
                    Arg::new("state", ArgKind::String),
                    Arg::new("offset", ArgKind::Integer),
                ],
            )
            .token("ACK"),
            Arg::new("error", ArgKind::String).token("FAIL"),
            Arg::block(
                "conf",
                &[
                    Arg::new("option", ArgKind::String).multiple(),
                    Arg::new("value", ArgKind::String).multiple(),
                ],
            )
            .token("CONF"),
        ],
    )],
    tips: NONDETERMINISTIC,
    ..HERE
};
