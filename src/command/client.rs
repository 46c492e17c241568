//! CLIENT: what the server knows of its connections, and what they may change about themselves and each other.
//!
//! The client that runs a command is in `ctx.client`, all others are in `ctx.server.clients`. Lives here: the
//! subcommands; `client/line.rs` has the line that describes a client. May not: close or resume clients by itself (`engine` does).

mod line;

use crate::acl::UserId;
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::syntax::container_help;
use crate::command::tracking::{
    CLIENT_CACHING, CLIENT_GETREDIR, CLIENT_TRACKING, CLIENT_TRACKINGINFO,
};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::client::{CLIENT_NAMES, ClientKind, is_plain_word, name_error};
use crate::state::server::Pause;
use crate::state::{Client, ClientFlags, ConnId, UnixMicros};
use crate::types::decimal::parse_i64;
pub use line::{describe, own_line};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[CLIENT];

const PLAIN: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);
const ADMIN: Flags = PLAIN.or(Flags::ADMIN);
const HELP: Flags = Flags::LOADING.or(Flags::STALE);

pub const CLIENT: Spec = Spec {
    name: "client",
    arity: -2,
    group: Group::Connection,
    since: "2.4.0",
    summary: "A container for commands about connections.",
    help: &[
        "CACHING (YES|NO)",
        "GETREDIR",
        "GETNAME",
        "ID",
        "INFO",
        "KILL <ip:port>",
        "KILL <option> <value> [<option> <value> [...]]",
        "LIST [options ...]",
        "UNPAUSE",
        "PAUSE <timeout> [WRITE|ALL]",
        "REPLY (ON|OFF|SKIP)",
        "SETNAME <name>",
        "SETINFO <option> <value>",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "TRACKINGINFO",
        "NO-EVICT (ON|OFF)",
        "NO-TOUCH (ON|OFF)",
    ],
    subcommands: &[
        CLIENT_CACHING,
        CLIENT_GETNAME,
        CLIENT_GETREDIR,
        CLIENT_HELP,
        CLIENT_ID,
        CLIENT_INFO,
        CLIENT_KILL,
        CLIENT_LIST,
        CLIENT_NO_EVICT,
        CLIENT_NO_TOUCH,
        CLIENT_PAUSE,
        CLIENT_REPLY,
        CLIENT_SETINFO,
        CLIENT_SETNAME,
        CLIENT_TRACKING,
        CLIENT_TRACKINGINFO,
        CLIENT_UNBLOCK,
        CLIENT_UNPAUSE,
    ],
    ..Spec::DEFAULT
};

pub const CLIENT_GETNAME: Spec = Spec {
    name: "getname",
    arity: 2,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "2.6.9",
    summary: "Gives the connection's name.",
    complexity: Some("O(1)"),
    handler: getname,
    ..Spec::DEFAULT
};

/// `CLIENT GETNAME`
fn getname(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let client = &mut *ctx.client;
    if client.name.is_empty() {
        client.reply.null();
    } else {
        client.reply.bulk(&client.name);
    }
    Ok(())
}
pub const CLIENT_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: HELP,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "5.0.0",
    summary: "Lists the subcommands.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const CLIENT_ID: Spec = Spec {
    name: "id",
    arity: 2,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "5.0.0",
    summary: "Gives the connection's number.",
    complexity: Some("O(1)"),
    handler: id,
    ..Spec::DEFAULT
};

/// `CLIENT ID`
fn id(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let id = ctx.client.id;
    ctx.client.reply.int(id as i64);
    Ok(())
}
pub const CLIENT_INFO: Spec = Spec {
    name: "info",
    arity: 2,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.2.0",
    summary: "Describes the connection in one line.",
    complexity: Some("O(1)"),
    tips: &["nondeterministic_output"],
    handler: info,
    ..Spec::DEFAULT
};

/// `CLIENT INFO`
fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let line = own_line(ctx.server, ctx.client, ctx.registry, args);
    ctx.client.reply.verbatim("txt", line.as_bytes());
    Ok(())
}
pub const CLIENT_KILL: Spec = Spec {
    name: "kill",
    arity: -3,
    flags: ADMIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "2.4.0",
    summary: "Closes connections that match filters.",
    complexity: Some("O(N)"),
    args: &[Arg::one_of(
        "filter",
        &[
            Arg::new("old-format", ArgKind::String)
                .display("ip:port")
                .deprecated_since("2.8.12"),
            Arg::one_of(
                "new-format",
                &[
                    Arg::new("client-id", ArgKind::Integer)
                        .token("ID")
                        .since("2.8.12")
                        .optional(),
                    Arg::one_of(
                        "client-type",
                        &[
                            Arg::word("normal", "NORMAL"),
                            Arg::word("master", "MASTER").since("3.2.0"),
                            Arg::word("slave", "SLAVE"),
                            Arg::word("replica", "REPLICA").since("5.0.0"),
                            Arg::word("pubsub", "PUBSUB"),
                        ],
                    )
                    .token("TYPE")
                    .since("2.8.12")
                    .optional(),
                    Arg::new("username", ArgKind::String)
                        .token("USER")
                        .optional(),
                    Arg::new("addr", ArgKind::String)
                        .token("ADDR")
                        .display("ip:port")
                        .optional(),
                    Arg::new("laddr", ArgKind::String)
                        .token("LADDR")
                        .display("ip:port")
                        .since("6.2.0")
                        .optional(),
                    Arg::one_of("skipme", &[Arg::word("yes", "YES"), Arg::word("no", "NO")])
                        .token("SKIPME")
                        .optional(),
                    Arg::new("maxage", ArgKind::Integer)
                        .token("MAXAGE")
                        .since("7.4.0")
                        .optional(),
                ],
            )
            .multiple(),
        ],
    )],
    history: &[
        ("2.8.12", &[]),
        ("2.8.12", &["ID"]),
        ("3.2.0", &["master", "TYPE"]),
        ("5.0.0", &["slave", "TYPE", "replica"]),
        ("6.2.0", &["LADDR"]),
        ("7.4.0", &["MAXAGE"]),
    ],
    handler: kill,
    ..Spec::DEFAULT
};

/// `CLIENT KILL ip:port`, or `CLIENT KILL filter value [filter value ...]`.
fn kill(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 3 {
        let filter = Filter {
            addr: Some(args.bytes(2)),
            ..Filter::default()
        };
        if close_matching(ctx, &filter) == 0 {
            return Err(CommandError::text("ERR No such client"));
        }
        ctx.client.reply.ok();
        return Ok(());
    }
    let filter = parse_filter(ctx, args)?;
    let killed = close_matching(ctx, &filter);
    ctx.client.reply.len(killed);
    Ok(())
}

/// What the clients to be closed have in common.
#[derive(Default)]
struct Filter<'a> {
    id: Option<u64>,
    kind: Option<ClientKind>,
    user: Option<UserId>,
    addr: Option<&'a [u8]>,
    local_addr: Option<&'a [u8]>,
    age_min_secs: Option<u64>,
    skips_me: bool,
}

impl Filter<'_> {
    fn matches(&self, client: &Client, now: UnixMicros) -> bool {
        let is = |wanted: Option<&[u8]>, value: &str| wanted.is_none_or(|w| w == value.as_bytes());
        self.id.is_none_or(|id| id == client.id)
            && self.kind.is_none_or(|kind| kind == client.kind())
            && self.user.is_none_or(|user| user == client.user)
            && is(self.addr, &client.addr)
            && is(self.local_addr, &client.local_addr)
            && self
                .age_min_secs
                .is_none_or(|age| client.age_secs(now) >= age)
    }
}

fn parse_filter<'a>(ctx: &Ctx<'_>, args: Args<'a>) -> Result<Filter<'a>, CommandError> {
    let mut filter = Filter {
        skips_me: true,
        ..Filter::default()
    };
    for at in (2..args.len()).step_by(2) {
        let value = args.get(at + 1).ok_or(CommandError::Syntax)?;
        if args.is(at, "ID") {
            let id = parse_i64(value)
                .filter(|id| *id > 0)
                .ok_or(CommandError::text("ERR client-id should be greater than 0"))?;
            filter.id = u64::try_from(id).ok();
        } else if args.is(at, "TYPE") {
            filter.kind = Some(parse_kind(value)?);
        } else if args.is(at, "ADDR") {
            filter.addr = Some(value);
        } else if args.is(at, "LADDR") {
            filter.local_addr = Some(value);
        } else if args.is(at, "USER") {
            let user = ctx.server.users.find(value);
            let unknown = || CommandError::quoting("ERR No such user '", value, "'");
            filter.user = Some(user.ok_or_else(unknown)?);
        } else if args.is(at, "SKIPME") {
            filter.skips_me = match () {
                _ if args.is(at + 1, "YES") => true,
                _ if args.is(at + 1, "NO") => false,
                _ => return Err(CommandError::Syntax),
            };
        } else if args.is(at, "MAXAGE") {
            let age = parse_i64(value).ok_or(CommandError::text(
                "ERR maxage is not an integer or out of range",
            ))?;
            if age <= 0 {
                return Err(CommandError::text("ERR maxage should be greater than 0"));
            }
            filter.age_min_secs = u64::try_from(age).ok();
        } else {
            return Err(CommandError::Syntax);
        }
    }
    Ok(filter)
}

fn parse_kind(name: &[u8]) -> Result<ClientKind, CommandError> {
    ClientKind::named(name)
        .ok_or_else(|| CommandError::quoting("ERR Unknown client type '", name, "'"))
}

/// Closes the clients that match; the one that asks is closed when it has its answer. Returns how many.
fn close_matching(ctx: &mut Ctx<'_>, filter: &Filter<'_>) -> usize {
    let now = ctx.server.now;
    let others = ctx.server.clients.iter();
    let others = others.filter(|client| !client.is_closing() && filter.matches(client, now));
    let doomed: Vec<_> = others.map(|client| client.conn).collect();
    let mut killed = doomed.len();
    ctx.server.doomed.extend(doomed);
    if !filter.skips_me && filter.matches(ctx.client, now) {
        ctx.client.close_after_reply();
        killed += 1;
    }
    killed
}
pub const CLIENT_LIST: Spec = Spec {
    name: "list",
    arity: -2,
    flags: ADMIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "2.4.0",
    summary: "Describes the open connections, one line each.",
    complexity: Some("O(N)"),
    args: &[
        Arg::one_of(
            "client-type",
            &[
                Arg::word("normal", "NORMAL"),
                Arg::word("master", "MASTER"),
                Arg::word("replica", "REPLICA"),
                Arg::word("pubsub", "PUBSUB"),
            ],
        )
        .token("TYPE")
        .since("5.0.0")
        .optional(),
        Arg::new("client-id", ArgKind::Integer)
            .token("ID")
            .since("6.2.0")
            .optional()
            .multiple(),
    ],
    tips: &["nondeterministic_output"],
    history: &[
        ("2.8.12", &["id"]),
        ("5.0.0", &["TYPE"]),
        ("6.0.0", &["user"]),
        ("6.2.0", &["argv-mem", "tot-mem", "laddr", "redir", "ID"]),
        ("7.0.0", &["resp", "multi-mem", "rbs", "rbp"]),
        ("7.0.3", &["ssub"]),
        ("7.2.0", &["lib-name", "lib-ver"]),
        ("7.4.0", &["watch"]),
        ("8.0.0", &["io-thread"]),
    ],
    handler: list,
    ..Spec::DEFAULT
};

/// `CLIENT LIST [TYPE type] [ID client-id ...]`
fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut kind, mut ids) = (None, None);
    if args.len() == 4 && args.is(2, "TYPE") {
        kind = Some(parse_kind(args.bytes(3))?);
    } else if args.len() > 3 && args.is(2, "ID") {
        let parsed: Option<Vec<i64>> = args.iter_from(3).map(parse_i64).collect();
        ids = Some(parsed.ok_or(CommandError::text("ERR Invalid client ID"))?);
    } else if args.len() > 2 {
        return Err(CommandError::Syntax);
    }
    let own = own_line(ctx.server, ctx.client, ctx.registry, args);
    let mut lines: Vec<(u64, String)> = ctx
        .server
        .clients
        .iter()
        .filter(|client| !client.is_closing() && kind.is_none_or(|kind| kind == client.kind()))
        .map(|client| (client.id, describe(ctx.server, client, ctx.registry)))
        .collect();
    if kind.is_none_or(|kind| kind == ctx.client.kind()) {
        lines.push((ctx.client.id, own));
    }
    lines.sort_by_key(|(id, _)| *id);
    let text: String = match ids {
        None => lines.into_iter().map(|(_, line)| line).collect(),
        // As asked, in that order.
        Some(ids) => ids
            .iter()
            .filter_map(|id| {
                let id = u64::try_from(*id).ok()?;
                let at = lines.binary_search_by_key(&id, |(id, _)| *id).ok()?;
                Some(lines[at].1.as_str())
            })
            .collect(),
    };
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

pub const CLIENT_NO_EVICT: Spec = Spec {
    name: "no-evict",
    arity: 3,
    flags: ADMIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "7.0.0",
    summary: "Protects the connection from being closed when clients' memory runs short.",
    complexity: Some("O(1)"),
    args: &[Arg::one_of(
        "enabled",
        &[Arg::word("on", "ON"), Arg::word("off", "OFF")],
    )],
    handler: no_evict,
    ..Spec::DEFAULT
};

/// `CLIENT NO-EVICT ON|OFF`
fn no_evict(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    switch(ctx, args, ClientFlags::NO_EVICT)
}

/// Sets or clears a state by the word at argument 2.
fn switch(ctx: &mut Ctx<'_>, args: Args<'_>, flag: ClientFlags) -> Result<(), CommandError> {
    let on = match () {
        _ if args.is(2, "ON") => true,
        _ if args.is(2, "OFF") => false,
        _ => return Err(CommandError::Syntax),
    };
    ctx.client.flags.set(flag, on);
    ctx.client.reply.ok();
    Ok(())
}
pub const CLIENT_NO_TOUCH: Spec = Spec {
    name: "no-touch",
    arity: 3,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "7.2.0",
    summary: "Leaves keys that the connection reads looking as unused as before.",
    complexity: Some("O(1)"),
    args: &[Arg::one_of(
        "enabled",
        &[Arg::word("on", "ON"), Arg::word("off", "OFF")],
    )],
    handler: no_touch,
    ..Spec::DEFAULT
};

/// `CLIENT NO-TOUCH ON|OFF`
fn no_touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    switch(ctx, args, ClientFlags::NO_TOUCH)
}
pub const CLIENT_PAUSE: Spec = Spec {
    name: "pause",
    arity: -3,
    flags: ADMIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "3.0.0",
    summary: "Holds back all commands, or those that may write, for a time.",
    complexity: Some("O(1)"),
    args: &[
        Arg::new("timeout", ArgKind::Integer),
        Arg::one_of(
            "mode",
            &[Arg::word("write", "WRITE"), Arg::word("all", "ALL")],
        )
        .since("6.2.0")
        .optional(),
    ],
    history: &[("6.2.0", &["CLIENT PAUSE WRITE", "mode"])],
    handler: pause,
    ..Spec::DEFAULT
};

/// `CLIENT PAUSE timeout [WRITE | ALL]`: a pause that holds already is never made shorter or milder.
fn pause(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(subcommand_syntax(args));
    }
    let writes_only = match args.len() {
        4 if args.is(3, "WRITE") => true,
        4 if !args.is(3, "ALL") => {
            return Err(CommandError::text(
                "ERR CLIENT PAUSE mode must be WRITE or ALL",
            ));
        }
        _ => false,
    };
    let timeout_ms = parse_i64(args.bytes(2)).ok_or(CommandError::TimeoutNotInteger)?;
    if timeout_ms < 0 {
        return Err(CommandError::TimeoutNegative);
    }
    let until_ms = ctx
        .server
        .now_ms
        .checked_add(timeout_ms)
        .ok_or(CommandError::text("ERR timeout is out of range"))?;
    let wanted = Pause {
        until_ms,
        writes_only,
    };
    ctx.server.pause = Some(match ctx.server.pause {
        Some(held) => Pause {
            until_ms: held.until_ms.max(wanted.until_ms),
            writes_only: held.writes_only && wanted.writes_only,
        },
        None => wanted,
    });
    ctx.client.reply.ok();
    Ok(())
}

/// The answer to a subcommand with more arguments than it knows.
fn subcommand_syntax(args: Args<'_>) -> CommandError {
    CommandError::subcommand_syntax(args.bytes(1), "CLIENT")
}

pub const CLIENT_REPLY: Spec = Spec {
    name: "reply",
    arity: 3,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "3.2.0",
    summary: "Switches the connection's replies on or off, or drops the next one.",
    complexity: Some("O(1)"),
    args: &[Arg::one_of(
        "action",
        &[
            Arg::word("on", "ON"),
            Arg::word("off", "OFF"),
            Arg::word("skip", "SKIP"),
        ],
    )],
    handler: reply,
    ..Spec::DEFAULT
};

/// `CLIENT REPLY ON|OFF|SKIP`
fn reply(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let client = &mut *ctx.client;
    if args.is(2, "ON") {
        client.flags.set(ClientFlags::REPLY_OFF, false);
        client.flags.set(ClientFlags::REPLY_SKIP, false);
        client.reply.set_muted(false);
        client.reply.ok();
    } else if args.is(2, "OFF") {
        client.flags.set(ClientFlags::REPLY_OFF, true);
    } else if !args.is(2, "SKIP") {
        return Err(CommandError::Syntax);
    } else if !client.flags.has(ClientFlags::REPLY_OFF) {
        client.flags.set(ClientFlags::REPLY_SKIP_NEXT, true);
    }
    Ok(())
}
pub const CLIENT_SETINFO: Spec = Spec {
    name: "setinfo",
    arity: 4,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "7.2.0",
    summary: "Tells the server which library the connection uses.",
    complexity: Some("O(1)"),
    args: &[Arg::one_of(
        "attr",
        &[
            Arg::new("libname", ArgKind::String).token("LIB-NAME"),
            Arg::new("libver", ArgKind::String).token("LIB-VER"),
        ],
    )],
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    handler: setinfo,
    ..Spec::DEFAULT
};

/// `CLIENT SETINFO LIB-NAME|LIB-VER value`
fn setinfo(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let field = match () {
        _ if args.is(2, "LIB-NAME") => &mut ctx.client.lib_name,
        _ if args.is(2, "LIB-VER") => &mut ctx.client.lib_ver,
        _ => {
            return Err(CommandError::quoting(
                "ERR Unrecognized option '",
                args.bytes(2),
                "'",
            ));
        }
    };
    if !is_plain_word(args.bytes(3)) {
        return Err(name_error(args.bytes(2)));
    }
    *field = args.bytes(3).to_vec();
    ctx.client.reply.ok();
    Ok(())
}
pub const CLIENT_SETNAME: Spec = Spec {
    name: "setname",
    arity: 3,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "2.6.9",
    summary: "Names the connection.",
    complexity: Some("O(1)"),
    args: &[Arg::new("connection-name", ArgKind::String)],
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    handler: setname,
    ..Spec::DEFAULT
};

/// `CLIENT SETNAME connection-name`: an empty name takes it away.
fn setname(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !is_plain_word(args.bytes(2)) {
        return Err(name_error(CLIENT_NAMES));
    }
    ctx.client.name = args.bytes(2).to_vec();
    ctx.client.reply.ok();
    Ok(())
}
pub const CLIENT_UNBLOCK: Spec = Spec {
    name: "unblock",
    arity: -3,
    flags: ADMIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "5.0.0",
    summary: "Ends the waiting of a client that is blocked by a command.",
    complexity: Some("O(log N)"),
    args: &[
        Arg::new("client-id", ArgKind::Integer),
        Arg::one_of(
            "unblock-type",
            &[Arg::word("timeout", "TIMEOUT"), Arg::word("error", "ERROR")],
        )
        .optional(),
    ],
    handler: unblock,
    ..Spec::DEFAULT
};

/// `CLIENT UNBLOCK client-id [TIMEOUT | ERROR]`: a client that CLIENT PAUSE holds is not blocked in this sense.
fn unblock(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(subcommand_syntax(args));
    }
    if args.len() == 4 && !args.is(3, "TIMEOUT") && !args.is(3, "ERROR") {
        return Err(CommandError::text(
            "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR",
        ));
    }
    let id = int_arg(args, 2)?;
    let mut clients = ctx.server.clients.iter();
    let found =
        clients.find(|client| u64::try_from(id) == Ok(client.id) && client.blocked().is_some());
    // One that is named twice in a transaction is let go once.
    let is_let_go = |conn: &ConnId| {
        let mut let_go = ctx.server.unblocked.iter();
        let_go.any(|(of, _)| of == conn)
    };
    let conn = found.map(|client| client.conn);
    let conn = conn.filter(|conn| !is_let_go(conn));
    if let Some(conn) = conn {
        let with_error = args.len() == 4 && args.is(3, "ERROR");
        ctx.server.unblocked.push((conn, with_error));
        // An error that came of a call makes it one that failed, whoever is told.
        let stats = &mut ctx.server.command_stats[usize::from(ctx.command.0)];
        stats.failed_calls += u64::from(with_error);
    }
    ctx.client.reply.int(conn.is_some().into());
    Ok(())
}
pub const CLIENT_UNPAUSE: Spec = Spec {
    name: "unpause",
    arity: 2,
    flags: ADMIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.2.0",
    summary: "Lets held back commands go on.",
    complexity: Some("O(N)"),
    handler: unpause,
    ..Spec::DEFAULT
};

/// `CLIENT UNPAUSE`
fn unpause(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if ctx.server.pause.take().is_some() {
        ctx.server.unpaused = true;
    }
    ctx.client.reply.ok();
    Ok(())
}
