//! Pub/Sub commands: to subscribe, to publish, and to ask who listens.
//!
//! A subscription is confirmed by a message of its own, one for each name, in the form that published messages have
//! too. It belongs to the order of replies, unlike those.

use crate::command::spec::{Arg, ArgKind, Channels, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::effects::Targets;
use crate::state::subscriptions::Scope;
use crate::types::glob::glob_match;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[
    PSUBSCRIBE,
    PUBLISH,
    PUBSUB,
    PUNSUBSCRIBE,
    SPUBLISH,
    SSUBSCRIBE,
    SUBSCRIBE,
    SUNSUBSCRIBE,
    UNSUBSCRIBE,
];

/// What a RESP2 client with a subscription may send: any other reply would look like a message to it.
pub const ALLOWED_TO_SUBSCRIBERS: [&str; 9] = [
    "ping",
    "psubscribe",
    "punsubscribe",
    "quit",
    "reset",
    "ssubscribe",
    "subscribe",
    "sunsubscribe",
    "unsubscribe",
];

const SUBSCRIBES: Flags = Flags::PUBSUB
    .or(Flags::NOSCRIPT)
    .or(Flags::LOADING)
    .or(Flags::STALE);
const PUBLISHES: Flags = Flags::PUBSUB
    .or(Flags::MAY_REPLICATE)
    .or(Flags::LOADING)
    .or(Flags::STALE)
    .or(Flags::FAST);
const ASKS: Flags = Flags::PUBSUB.or(Flags::LOADING).or(Flags::STALE);

pub const SUBSCRIBE: Spec = Spec {
    name: "subscribe",
    arity: -2,
    flags: SUBSCRIBES,
    group: Group::PubSub,
    since: "2.0.0",
    summary: "Listens to channels.",
    complexity: Some("O(N)"),
    args: &[Arg::new("channel", ArgKind::String).multiple()],
    channels: Channels::All,
    handler: subscribe,
    ..Spec::DEFAULT
};

/// `SUBSCRIBE channel [channel ...]`
fn subscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    subscribe_to(ctx, args, Scope::Channel, "subscribe")
}

pub const PSUBSCRIBE: Spec = Spec {
    name: "psubscribe",
    arity: -2,
    flags: SUBSCRIBES,
    group: Group::PubSub,
    since: "2.0.0",
    summary: "Listens to all channels that match patterns.",
    complexity: Some("O(N)"),
    args: &[Arg::new("pattern", ArgKind::Pattern).multiple()],
    channels: Channels::AllPatterns,
    handler: psubscribe,
    ..Spec::DEFAULT
};

/// `PSUBSCRIBE pattern [pattern ...]`
fn psubscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    subscribe_to(ctx, args, Scope::Pattern, "psubscribe")
}

pub const SSUBSCRIBE: Spec = Spec {
    name: "ssubscribe",
    arity: -2,
    flags: SUBSCRIBES,
    group: Group::PubSub,
    since: "7.0.0",
    summary: "Listens to shard channels.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::NOT_KEY)],
    args: &[Arg::new("shardchannel", ArgKind::String).multiple()],
    channels: Channels::All,
    handler: ssubscribe,
    ..Spec::DEFAULT
};

/// `SSUBSCRIBE shardchannel [shardchannel ...]`
fn ssubscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    subscribe_to(ctx, args, Scope::Shard, "ssubscribe")
}

fn subscribe_to(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    scope: Scope,
    kind: &str,
) -> Result<(), CommandError> {
    for name in args.iter_from(1) {
        ctx.server.pubsub.subscribe(ctx.client, scope, name);
        confirm(ctx, scope, kind, Some(name));
    }
    Ok(())
}

/// The message that a subscription has begun or ended, with how many the client has now: CLIENT REPLY silences
/// replies, and this is none.
fn confirm(ctx: &mut Ctx<'_>, scope: Scope, kind: &str, name: Option<&[u8]>) {
    let client = &mut *ctx.client;
    let count = match scope {
        Scope::Shard => client.subscription_len(Scope::Shard),
        Scope::Channel | Scope::Pattern => {
            client.subscription_len(Scope::Channel) + client.subscription_len(Scope::Pattern)
        }
    };
    client.reply.set_muted(false);
    client.reply.push(3);
    client.reply.text(kind);
    match name {
        Some(name) => client.reply.bulk(name),
        None => client.reply.null(),
    }
    client.reply.len(count);
}

pub const UNSUBSCRIBE: Spec = Spec {
    name: "unsubscribe",
    arity: -1,
    flags: SUBSCRIBES,
    group: Group::PubSub,
    since: "2.0.0",
    summary: "Stops listening to channels, or to all of them.",
    complexity: Some("O(N)"),
    args: &[Arg::new("channel", ArgKind::String).optional().multiple()],
    handler: unsubscribe,
    ..Spec::DEFAULT
};

/// `UNSUBSCRIBE [channel [channel ...]]`
fn unsubscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    unsubscribe_from(ctx, args, Scope::Channel, "unsubscribe")
}

pub const PUNSUBSCRIBE: Spec = Spec {
    name: "punsubscribe",
    arity: -1,
    flags: SUBSCRIBES,
    group: Group::PubSub,
    since: "2.0.0",
    summary: "Stops listening to patterns, or to all of them.",
    complexity: Some("O(N)"),
    args: &[Arg::new("pattern", ArgKind::Pattern).optional().multiple()],
    handler: punsubscribe,
    ..Spec::DEFAULT
};

/// `PUNSUBSCRIBE [pattern [pattern ...]]`
fn punsubscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    unsubscribe_from(ctx, args, Scope::Pattern, "punsubscribe")
}

pub const SUNSUBSCRIBE: Spec = Spec {
    name: "sunsubscribe",
    arity: -1,
    flags: SUBSCRIBES,
    group: Group::PubSub,
    since: "7.0.0",
    summary: "Stops listening to shard channels, or to all of them.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::range(1, -1, 1, KeyFlags::NOT_KEY)],
    args: &[Arg::new("shardchannel", ArgKind::String)
        .optional()
        .multiple()],
    handler: sunsubscribe,
    ..Spec::DEFAULT
};

/// `SUNSUBSCRIBE [shardchannel [shardchannel ...]]`
fn sunsubscribe(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    unsubscribe_from(ctx, args, Scope::Shard, "sunsubscribe")
}

/// Ends the subscriptions that are named, or all of a scope. Each is confirmed; with nothing to end, so is that.
fn unsubscribe_from(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    scope: Scope,
    kind: &str,
) -> Result<(), CommandError> {
    if args.len() > 1 {
        for name in args.iter_from(1) {
            ctx.server.pubsub.unsubscribe(ctx.client, scope, name);
            confirm(ctx, scope, kind, Some(name));
        }
        return Ok(());
    }
    let names: Vec<_> = match &ctx.client.subscriptions {
        Some(subscriptions) => subscriptions.names(scope).cloned().collect(),
        None => Vec::new(),
    };
    if names.is_empty() {
        confirm(ctx, scope, kind, None);
    }
    for name in names {
        ctx.server.pubsub.unsubscribe(ctx.client, scope, &name);
        confirm(ctx, scope, kind, Some(&name));
    }
    Ok(())
}

pub const PUBLISH: Spec = Spec {
    name: "publish",
    arity: 3,
    flags: PUBLISHES,
    group: Group::PubSub,
    since: "2.0.0",
    summary: "Sends a message to those who listen to a channel.",
    complexity: Some("O(N+M)"),
    args: &[
        Arg::new("channel", ArgKind::String),
        Arg::new("message", ArgKind::String),
    ],
    channels: Channels::First,
    handler: publish,
    ..Spec::DEFAULT
};

/// `PUBLISH channel message`
fn publish(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let receivers = ctx.server.publish(args.bytes(1), args.bytes(2));
    ctx.server.effects.forced = Targets::REPLICAS;
    ctx.client.reply.len(receivers);
    Ok(())
}

pub const SPUBLISH: Spec = Spec {
    name: "spublish",
    arity: 3,
    flags: PUBLISHES,
    group: Group::PubSub,
    since: "7.0.0",
    summary: "Sends a message to those who listen to a shard channel.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::NOT_KEY)],
    args: &[
        Arg::new("shardchannel", ArgKind::String),
        Arg::new("message", ArgKind::String),
    ],
    channels: Channels::First,
    handler: spublish,
    ..Spec::DEFAULT
};

/// `SPUBLISH shardchannel message`
fn spublish(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let receivers = ctx.server.publish_shard(args.bytes(1), args.bytes(2));
    ctx.server.effects.forced = Targets::REPLICAS;
    ctx.client.reply.len(receivers);
    Ok(())
}

pub const PUBSUB: Spec = Spec {
    name: "pubsub",
    arity: -2,
    group: Group::PubSub,
    since: "2.8.0",
    summary: "A container for commands that tell who listens to what.",
    help: &[
        "CHANNELS [<pattern>]",
        "NUMPAT",
        "NUMSUB [<channel> ...]",
        "SHARDCHANNELS [<pattern>]",
        "SHARDNUMSUB [<shardchannel> ...]",
    ],
    subcommands: &[
        PUBSUB_CHANNELS,
        PUBSUB_HELP,
        PUBSUB_NUMPAT,
        PUBSUB_NUMSUB,
        PUBSUB_SHARDCHANNELS,
        PUBSUB_SHARDNUMSUB,
    ],
    ..Spec::DEFAULT
};

pub const PUBSUB_CHANNELS: Spec = Spec {
    name: "channels",
    arity: -2,
    flags: ASKS,
    group: Group::PubSub,
    since: "2.8.0",
    summary: "Lists the channels that someone listens to.",
    complexity: Some("O(N)"),
    args: &[Arg::new("pattern", ArgKind::Pattern).optional()],
    handler: channels,
    ..Spec::DEFAULT
};

/// `PUBSUB CHANNELS [pattern]`
fn channels(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list_names(ctx, args, Scope::Channel)
}

pub const PUBSUB_SHARDCHANNELS: Spec = Spec {
    name: "shardchannels",
    arity: -2,
    flags: ASKS,
    group: Group::PubSub,
    since: "7.0.0",
    summary: "Lists the shard channels that someone listens to.",
    complexity: Some("O(N)"),
    args: &[Arg::new("pattern", ArgKind::Pattern).optional()],
    handler: shardchannels,
    ..Spec::DEFAULT
};

/// `PUBSUB SHARDCHANNELS [pattern]`
fn shardchannels(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    list_names(ctx, args, Scope::Shard)
}

fn list_names(ctx: &mut Ctx<'_>, args: Args<'_>, scope: Scope) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args.bytes(1), "PUBSUB"));
    }
    let pattern = args.get(2);
    let is_wanted = |name: &&[u8]| pattern.is_none_or(|pattern| glob_match(pattern, name, false));
    let reply = &mut ctx.client.reply;
    let start = reply.array_begin();
    let mut count = 0;
    for name in ctx.server.pubsub.names(scope).filter(is_wanted) {
        reply.bulk(name);
        count += 1;
    }
    reply.array_end(start, count);
    Ok(())
}

pub const PUBSUB_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    group: Group::PubSub,
    since: "6.2.0",
    summary: "Lists the subcommands.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const PUBSUB_NUMPAT: Spec = Spec {
    name: "numpat",
    arity: 2,
    flags: ASKS,
    group: Group::PubSub,
    since: "2.8.0",
    summary: "Counts the different patterns that someone listens to.",
    complexity: Some("O(1)"),
    handler: numpat,
    ..Spec::DEFAULT
};

/// `PUBSUB NUMPAT`
fn numpat(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.len(ctx.server.pubsub.len(Scope::Pattern));
    Ok(())
}

pub const PUBSUB_NUMSUB: Spec = Spec {
    name: "numsub",
    arity: -2,
    flags: ASKS,
    group: Group::PubSub,
    since: "2.8.0",
    summary: "Tells how many listen to each of the given channels.",
    complexity: Some("O(N)"),
    args: &[Arg::new("channel", ArgKind::String).optional().multiple()],
    handler: numsub,
    ..Spec::DEFAULT
};

/// `PUBSUB NUMSUB [channel [channel ...]]`
fn numsub(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    count_listeners(ctx, args, Scope::Channel)
}

pub const PUBSUB_SHARDNUMSUB: Spec = Spec {
    name: "shardnumsub",
    arity: -2,
    flags: ASKS,
    group: Group::PubSub,
    since: "7.0.0",
    summary: "Tells how many listen to each of the given shard channels.",
    complexity: Some("O(N)"),
    args: &[Arg::new("shardchannel", ArgKind::String)
        .optional()
        .multiple()],
    handler: shardnumsub,
    ..Spec::DEFAULT
};

/// `PUBSUB SHARDNUMSUB [shardchannel [shardchannel ...]]`
fn shardnumsub(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    count_listeners(ctx, args, Scope::Shard)
}

/// Names and counts in turn: an array in RESP3 too.
fn count_listeners(ctx: &mut Ctx<'_>, args: Args<'_>, scope: Scope) -> Result<(), CommandError> {
    let reply = &mut ctx.client.reply;
    reply.array((args.len() - 2) * 2);
    for name in args.iter_from(2) {
        reply.bulk(name);
        reply.len(ctx.server.pubsub.listener_len(scope, name));
    }
    Ok(())
}
