//! CONFIG: reading and setting parameters, and making what was set take effect.
//!
//! Most parameters are read where they are used, so that setting them is all. What concerns sockets, file limits
//! or the working directory goes to the shell, one after the other; when one fails, all that was set is taken
//! back. May not: know any parameter's format (`crate::config`).

use crate::border::{LogLevel, Order, Outcome};
use crate::command::spec::{Arg, ArgKind, Flags, Group, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx, acl};
use crate::config::{Access, Guard, Param, Refusal, SetError, UNKNOWN_OPTION};
use crate::resp::Args;
use crate::state::restraint::Restraint;
use crate::state::server::{ConfigChange, Continuation};
use crate::state::{Client, ClientFlags, ConnId, Server, Waiting};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[CONFIG];

const ADMIN: Flags = Flags::ADMIN
    .or(Flags::NOSCRIPT)
    .or(Flags::LOADING)
    .or(Flags::STALE);
const TO_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

pub const CONFIG: Spec = Spec {
    name: "config",
    arity: -2,
    group: Group::Server,
    since: "2.0.0",
    summary: "Groups the commands that read and change the configuration.",
    help: &[
        "GET <pattern>",
        "SET <directive> <value>",
        "RESETSTAT",
        "REWRITE",
    ],
    subcommands: &[
        CONFIG_GET,
        CONFIG_HELP,
        CONFIG_RESETSTAT,
        CONFIG_REWRITE,
        CONFIG_SET,
    ],
    ..Spec::DEFAULT
};

pub const CONFIG_GET: Spec = Spec {
    name: "get",
    arity: -3,
    flags: ADMIN,
    group: Group::Server,
    since: "2.0.0",
    summary: "Tells the values of the parameters whose names match.",
    complexity: Some("O(N)"),
    args: &[Arg::new("parameter", ArgKind::String).multiple()],
    history: &[("7.0.0", &[])],
    handler: get,
    ..Spec::DEFAULT
};

/// `CONFIG GET pattern [pattern ...]`: each parameter that a pattern finds, once, with its value.
fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let patterns: Vec<&[u8]> = args.iter_from(2).collect();
    let found = ctx.server.config.matching(&patterns);
    ctx.client.reply.map(found.len());
    for (name, value) in found {
        ctx.client.reply.bulk(&name);
        ctx.client.reply.bulk(&value);
    }
    Ok(())
}

pub const CONFIG_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    group: Group::Server,
    since: "5.0.0",
    summary: "Shows the forms of this command.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const CONFIG_RESETSTAT: Spec = Spec {
    name: "resetstat",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.0.0",
    summary: "Sets the counters that INFO shows back to zero.",
    complexity: Some("O(1)"),
    tips: TO_ALL_NODES,
    handler: resetstat,
    ..Spec::DEFAULT
};

/// `CONFIG RESETSTAT`: counters, rates, and the figures of commands and errors start again.
fn resetstat(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.server.reset_stats();
    ctx.client.reply.ok();
    Ok(())
}

pub const CONFIG_REWRITE: Spec = Spec {
    name: "rewrite",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.8.0",
    summary: "Writes the configuration in force back to its file.",
    complexity: Some("O(1)"),
    tips: TO_ALL_NODES,
    handler: rewrite,
    ..Spec::DEFAULT
};

/// `CONFIG REWRITE`: the reply comes when the file is written.
fn rewrite(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    order_rewrite(ctx, false)
}

/// Has the configuration written, defaults too if `all` is to be written.
pub fn order_rewrite(ctx: &mut Ctx<'_>, all: bool) -> Result<(), CommandError> {
    if ctx.server.process.config_file.is_none() {
        return Err(CommandError::text(
            "ERR The server is running without a config file",
        ));
    }
    ctx.client.wait_for(Waiting::Answer);
    let then = Continuation::Reply {
        error_prefix: match all {
            false => "ERR Rewriting config file: ",
            true => "ERR CONFIG-REWRITE-FORCE-ALL failed: ",
        },
    };
    ctx.server
        .ask_shell((ctx.client.conn, ctx.client.id), then, |ticket| {
            Order::RewriteConfig { ticket, all }
        });
    Ok(())
}

pub const CONFIG_SET: Spec = Spec {
    name: "set",
    arity: -4,
    flags: ADMIN,
    group: Group::Server,
    since: "2.0.0",
    summary: "Gives parameters new values, all of them or none.",
    complexity: Some("O(N)"),
    args: &[Arg::block(
        "data",
        &[
            Arg::new("parameter", ArgKind::String),
            Arg::new("value", ArgKind::String),
        ],
    )
    .multiple()],
    tips: TO_ALL_NODES,
    history: &[("7.0.0", &[])],
    handler: set,
    ..Spec::DEFAULT
};

/// Parameters that take effect in the shell; a list of changes is applied from its end.
const APPLIED_BY_SHELL: [&str; 7] = [
    "appendonly",
    "port",
    "bind",
    "maxclients",
    "oom-score-adj",
    "oom-score-adj-values",
    "dir",
];

/// `CONFIG SET parameter value [parameter value ...]`: when the shell has to do something first, the reply comes
/// after that.
fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !args.len().is_multiple_of(2) {
        return Err(CommandError::Syntax);
    }
    let pairs: Vec<(&[u8], &[u8])> = (2..args.len())
        .step_by(2)
        .map(|at| (args.bytes(at), args.bytes(at + 1)))
        .collect();
    let access = Access::Runtime {
        protected: may_set_protected(ctx.server, ctx.client),
        loading: ctx.server.restraint.has(Restraint::LOADING),
    };
    let old = ctx.server.config.clone();
    let changed = ctx.server.config.set_many(&pairs, access);
    let changed = changed.map_err(|error| match error {
        SetError::Unknown(name) => CommandError::quoting(UNKNOWN_OPTION, &name, "'"),
        error => CommandError::text(error.to_string()),
    })?;

    if let Some(name) = ctx.server.config.wants_tls() {
        ctx.server.config = old;
        let text =
            format!("Failed to configure TLS: this server speaks none, so {name} stays off.");
        ctx.server.log(LogLevel::Warning, text);
        let error = SetError::Refused {
            name: name.to_owned(),
            why: Refusal::Apply("Unable to update TLS configuration. Check server logs.".into()),
        };
        return Err(CommandError::text(error.to_string()));
    }

    apply_here(ctx.server, &changed);
    if !changed.is_empty() {
        ctx.server.orders.push_back(Order::LookAtConfig);
    }
    let mut to_apply = Vec::new();
    for name in APPLIED_BY_SHELL {
        if changed.iter().any(|param| param.name == name) {
            to_apply.push(name);
        }
    }
    let change = ConfigChange {
        before: changed
            .iter()
            .map(|param| (param.name, param.get(&old)))
            .collect(),
        applying: "",
        to_apply,
        applied: Vec::new(),
        in_exec: ctx.client.flags.has(ClientFlags::IN_EXEC),
    };
    match apply_next(ctx.server, (ctx.client.conn, ctx.client.id), change) {
        Some(result) => {
            result?;
            ctx.client.reply.ok();
        }
        None => ctx.client.wait_for(Waiting::Answer),
    }
    Ok(())
}

fn may_set_protected(server: &Server, client: &Client) -> bool {
    match server.config.enable_protected_configs {
        Guard::Yes => true,
        Guard::Local => client.is_local(),
        Guard::No => false,
    }
}

/// What the engine itself has to do about new values.
fn apply_here(server: &mut Server, changed: &[&'static Param]) {
    if changed
        .iter()
        .any(|param| param.name == "aof-disable-auto-gc")
    {
        server.drop_history();
    }
    if changed.iter().any(|param| param.name == "slowlog-max-len") {
        server.slowlog.trim(server.slowlog_len_max());
    }
    if changed.iter().any(|param| param.name == "requirepass") {
        acl::require_password(server);
    }
    let concerns_eviction = |name: &str| name.starts_with("maxmemory") || name.starts_with("lfu-");
    if changed.iter().any(|param| concerns_eviction(param.name)) {
        server.eviction_changed();
    }
}

/// Switches the append-only file on or off; says whether the client waits for that.
fn apply_appendonly(server: &mut Server, client: Option<(ConnId, u64)>, in_exec: bool) -> bool {
    // Loading ends with what is set by then.
    if server.restraint.has(Restraint::LOADING) {
        return false;
    }
    if server.config.appendonly {
        return server.start_aof(client, in_exec);
    }
    server.stop_aof();
    false
}

/// Orders the next thing that the shell applies; the answer for the client when there is none left.
fn apply_next(
    server: &mut Server,
    client: (ConnId, u64),
    mut change: ConfigChange,
) -> Option<Result<(), CommandError>> {
    while let Some(name) = change.to_apply.pop() {
        // One order opens all listeners, and one adjusts the score.
        let is_done = |other| change.applied.contains(&other);
        if (name == "port" && is_done("bind"))
            || (name == "oom-score-adj" && is_done("oom-score-adj-values"))
        {
            continue;
        }
        if name == "appendonly" {
            if !apply_appendonly(server, Some(client), change.in_exec) {
                continue;
            }
            change.applying = name;
            server.await_shell(client, Continuation::ConfigSet(change));
            return None;
        }
        let maxclients = usize::try_from(server.config.maxclients).unwrap_or(usize::MAX);
        change.applying = name;
        let then = Continuation::ConfigSet(change);
        server.ask_shell(client, then, |ticket| match name {
            "dir" => Order::ChangeDir { ticket },
            "maxclients" => Order::RaiseFileLimit { ticket, maxclients },
            "oom-score-adj" | "oom-score-adj-values" => Order::AdjustOomScore { ticket },
            _ => Order::Listen { ticket },
        });
        return None;
    }
    Some(Ok(()))
}

/// The shell has applied one parameter, or could not: then everything goes back to what it was. The answer for
/// the client, if that was the last.
pub fn go_on(
    server: &mut Server,
    client: (ConnId, u64),
    mut change: ConfigChange,
    outcome: Outcome,
) -> Option<Result<(), CommandError>> {
    let name = change.applying;
    match outcome {
        Ok(found) => {
            if name == "dir" {
                server.config.dir = found;
            }
            change.applied.push(name);
            apply_next(server, client, change)
        }
        Err(why) => {
            if name == "appendonly" {
                let text = "Redis needs to enable the AOF but can't trigger a background AOF rewrite operation. Check \
                            the above logs for more info about the error.";
                server.log(LogLevel::Warning, text);
            }
            server.log(
                LogLevel::Warning,
                format!(
                    "Failed applying new configuration. Possibly related to new {name} setting. Restoring previous \
                     settings."
                ),
            );
            take_back(server, &change);
            let why = match name {
                "appendonly" => "Unable to turn on AOF. Check server logs.".to_owned(),
                "port" => "Unable to listen on this port. Check server logs.".to_owned(),
                "bind" => "Failed to bind to specified addresses.".to_owned(),
                _ => why,
            };
            let error = SetError::Refused {
                name: name.to_owned(),
                why: Refusal::Apply(why),
            };
            Some(Err(CommandError::text(error.to_string())))
        }
    }
}

/// Restores the values before, and what the shell has applied already.
fn take_back(server: &mut Server, change: &ConfigChange) {
    let before = change.before.iter();
    let pairs: Vec<(&[u8], &[u8])> = before
        .map(|(name, value)| (name.as_bytes(), value.as_slice()))
        .collect();
    let restored = server.config.set_many(&pairs, Access::Startup);
    debug_assert!(restored.is_ok(), "a value that was in force is allowed");
    let restored = restored.unwrap_or_default();
    apply_here(server, &restored);
    if restored.iter().any(|param| param.name == "appendonly") {
        apply_appendonly(server, None, false);
    }
    if change.applied.contains(&"dir") {
        let ticket = server.next_ticket();
        server.orders.push_back(Order::ChangeDir { ticket });
    }
    if change.applied.contains(&"oom-score-adj-values") || change.applied.contains(&"oom-score-adj")
    {
        let ticket = server.next_ticket();
        server.orders.push_back(Order::AdjustOomScore { ticket });
    }
}
