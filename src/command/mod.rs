//! Commands: their specs, their handlers, and how they are found.
//!
//! One file for each family; adding a command touches that file alone. May not: decide when a command runs
//! (`engine`), touch data other than through `state::keys`.

pub mod acl;
pub mod bitmap;
pub mod client;
pub mod cluster;
pub mod config;
pub mod connection;
pub mod ctx;
pub mod debug;
pub mod dump;
pub mod expire;
pub mod function;
pub mod generic;
pub mod geo;
pub mod hash;
pub mod hotkeys;
pub mod hyperloglog;
pub mod info;
pub mod introspection;
pub mod keys;
pub mod keyspace;
pub mod latency;
pub mod list;
pub mod memory;
pub mod permission;
pub mod persistence;
pub mod pubsub;
pub mod registry;
pub mod replication;
pub mod scan;
pub mod scripting;
pub mod server;
pub mod set;
pub mod slowlog;
pub mod sort;
pub mod spec;
pub mod stream;
pub mod string;
pub mod syntax;
pub mod tracking;
pub mod transaction;
pub mod zset;

pub use ctx::Ctx;
pub use registry::{Command, Registry};

pub use crate::state::{CommandError, CommandId};

use crate::resp::Args;

/// Runs one command: reads its arguments, refuses, changes, touches, replies, in that order.
pub type Handler = fn(&mut Ctx<'_>, Args<'_>) -> Result<(), CommandError>;

/// Stands in a container's spec: the registry never calls it, because it asks for a subcommand first.
pub fn container_only(_: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::Syntax)
}

/// Every family's commands.
pub const FAMILIES: &[&[spec::Spec]] = &[
    string::COMMANDS,
    connection::COMMANDS,
    info::COMMANDS,
    config::COMMANDS,
    slowlog::COMMANDS,
    latency::COMMANDS,
    hotkeys::COMMANDS,
    server::COMMANDS,
    client::COMMANDS,
    cluster::COMMANDS,
    replication::COMMANDS,
    introspection::COMMANDS,
    generic::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    keyspace::COMMANDS,
    memory::COMMANDS,
    persistence::COMMANDS,
    transaction::COMMANDS,
    scripting::COMMANDS,
    function::COMMANDS,
    acl::COMMANDS,
    pubsub::COMMANDS,
    tracking::COMMANDS,
    debug::COMMANDS,
    string::digest::COMMANDS,
    string::increx::COMMANDS,
    string::lcs::COMMANDS,
    string::many::COMMANDS,
    string::number::COMMANDS,
    string::range::COMMANDS,
    stream::add::COMMANDS,
    stream::claim::COMMANDS,
    stream::delete::COMMANDS,
    stream::group::COMMANDS,
    stream::idempotence::COMMANDS,
    stream::info::COMMANDS,
    stream::pending::COMMANDS,
    stream::range::COMMANDS,
    stream::read::COMMANDS,
    bitmap::COMMANDS,
    bitmap::field::COMMANDS,
    geo::COMMANDS,
    geo::search::COMMANDS,
    set::COMMANDS,
    set::algebra::COMMANDS,
    set::random::COMMANDS,
    sort::COMMANDS,
    zset::COMMANDS,
    zset::combine::COMMANDS,
    zset::pop::COMMANDS,
    zset::range::COMMANDS,
    hyperloglog::COMMANDS,
    dump::COMMANDS,
    list::COMMANDS,
    list::moves::COMMANDS,
    list::pops::COMMANDS,
    list::search::COMMANDS,
    hash::COMMANDS,
    hash::expire::COMMANDS,
    hash::extended::COMMANDS,
    hash::import::COMMANDS,
    hash::walk::COMMANDS,
];
