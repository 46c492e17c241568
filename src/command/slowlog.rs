//! SLOWLOG: the slow commands that were kept, and what of a command must not be kept.

use crate::command::spec::{Arg, ArgKind, Flags, Group, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::config::{self, Param};
use crate::resp::Args;
use crate::types::decimal::parse_i64;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[SLOWLOG];

const ADMIN: Flags = Flags::ADMIN.or(Flags::LOADING).or(Flags::STALE);

/// Entries that SLOWLOG GET shows when it is not told how many.
const SHOWN_BY_DEFAULT: usize = 10;

pub const SLOWLOG: Spec = Spec {
    name: "slowlog",
    arity: -2,
    group: Group::Server,
    since: "2.2.12",
    summary: "Groups the commands about the log of slow commands.",
    help: &["GET [<count>]", "LEN", "RESET"],
    subcommands: &[SLOWLOG_GET, SLOWLOG_HELP, SLOWLOG_LEN, SLOWLOG_RESET],
    ..Spec::DEFAULT
};

pub const SLOWLOG_GET: Spec = Spec {
    name: "get",
    arity: -2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.2.12",
    summary: "Shows the latest slow commands.",
    complexity: Some("O(N)"),
    args: &[Arg::new("count", ArgKind::Integer).optional()],
    tips: &["request_policy:all_nodes", "nondeterministic_output"],
    history: &[("4.0.0", &[]), ("8.10.0", &[])],
    handler: get,
    ..Spec::DEFAULT
};

/// `SLOWLOG GET [count]`: -1 shows all.
fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args.bytes(1), "SLOWLOG"));
    }
    let count = match args.get(2).map(parse_i64) {
        None => SHOWN_BY_DEFAULT,
        Some(Some(-1)) => usize::MAX,
        Some(count) => {
            count
                .and_then(|count| usize::try_from(count).ok())
                .ok_or(CommandError::text(
                    "ERR count should be greater than or equal to -1",
                ))?
        }
    };

    let entries = &ctx.server.slowlog.entries;
    let reply = &mut ctx.client.reply;
    reply.array(entries.len().min(count));
    for entry in entries.iter().take(count) {
        reply.array(6);
        reply.int(i64::try_from(entry.id).unwrap_or(i64::MAX));
        reply.int(entry.unix_secs);
        reply.int(i64::try_from(entry.duration_us).unwrap_or(i64::MAX));
        reply.array(entry.argv.len());
        for arg in &entry.argv {
            reply.bulk(arg);
        }
        reply.text(&entry.addr);
        reply.bulk(&entry.name);
    }
    Ok(())
}

pub const SLOWLOG_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    group: Group::Server,
    since: "6.2.0",
    summary: "Shows the forms of this command.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const SLOWLOG_LEN: Spec = Spec {
    name: "len",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.2.12",
    summary: "Counts the slow commands that are kept.",
    complexity: Some("O(1)"),
    tips: &[
        "request_policy:all_nodes",
        "response_policy:agg_sum",
        "nondeterministic_output",
    ],
    handler: len,
    ..Spec::DEFAULT
};

/// `SLOWLOG LEN`
fn len(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.len(ctx.server.slowlog.entries.len());
    Ok(())
}

pub const SLOWLOG_RESET: Spec = Spec {
    name: "reset",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.2.12",
    summary: "Forgets the slow commands that are kept.",
    complexity: Some("O(N)"),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    handler: reset,
    ..Spec::DEFAULT
};

/// `SLOWLOG RESET`
fn reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.server.slowlog.entries.clear();
    ctx.client.reply.ok();
    Ok(())
}

/// Stands for an argument that must not be kept.
pub const REDACTED: &[u8] = b"(redacted)";

/// Whether argument `index` of a command (by its full name) is a password or its like, or says who has which
/// rights: then no log may keep it.
pub fn is_secret(command: &str, args: Args<'_>, index: usize) -> bool {
    match command {
        "auth" => index >= 1,
        "acl|setuser" | "acl|deluser" | "acl|getuser" => index >= 2,
        "config|set" => index >= 3 && index % 2 == 1 && is_sensitive_param(args.bytes(index - 1)),
        // The word itself may follow a protocol version or an option that takes no argument.
        "hello" => (2..index).rev().take(2).any(|at| args.is(at, "auth")),
        "migrate" => {
            (index >= 7 && args.is(index - 1, "auth"))
                || (6..index).rev().take(2).any(|at| args.is(at, "auth2"))
        }
        _ => false,
    }
}

fn is_sensitive_param(name: &[u8]) -> bool {
    Param::find(name).is_some_and(|param| param.flags.contains(config::Flags::SENSITIVE))
}
