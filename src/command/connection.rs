//! Connection commands: who the client is, which protocol it speaks, which database it works on.
//!
//! CLIENT has a file of its own (`client.rs`).

use crate::acl::{DEFAULT_NAME, UserId};
use crate::command::ctx::int_arg;
use crate::command::permission::note_login;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::transaction::unwatch_all;
use crate::command::{CommandError, Ctx};
use crate::config::REDIS_VERSION;
use crate::resp::Args;
use crate::state::ClientFlags;
use crate::state::client::{CLIENT_NAMES, is_plain_word, name_error};
use crate::types::decimal::parse_i64;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[AUTH, ECHO, HELLO, PING, QUIT, RESET, SELECT];

/// The flags of what a client may send before it has logged in.
const BEFORE_AUTH: Flags = Flags::NOSCRIPT
    .or(Flags::LOADING)
    .or(Flags::STALE)
    .or(Flags::FAST)
    .or(Flags::NO_AUTH)
    .or(Flags::ALLOW_BUSY);

pub const AUTH: Spec = Spec {
    name: "auth",
    arity: -2,
    flags: BEFORE_AUTH,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "1.0.0",
    summary: "Logs the connection in as a user.",
    complexity: Some("O(N)"),
    args: &[
        Arg::new("username", ArgKind::String)
            .since("6.0.0")
            .optional(),
        Arg::new("password", ArgKind::String),
    ],
    history: &[("6.0.0", &[])],
    handler: auth,
    ..Spec::DEFAULT
};

/// `AUTH [username] password`: logs in.
fn auth(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let default = ctx.server.users.default_user();
    let (user, password) = match args.len() {
        2 if default.has_no_password() => {
            return Err(CommandError::text(
                "ERR AUTH <password> called without any password configured for the default user. Are you sure \
                 your configuration is correct?",
            ));
        }
        2 => (DEFAULT_NAME, args.bytes(1)),
        3 => (args.bytes(1), args.bytes(2)),
        _ => return Err(CommandError::Syntax),
    };
    log_in(ctx, args, user, password)?;
    ctx.client.reply.ok();
    Ok(())
}

/// Logs the client in as `user`, or refuses: the one place that decides who may be who.
fn log_in(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    user: &[u8],
    password: &[u8],
) -> Result<(), CommandError> {
    let users = &ctx.server.users;
    let found = users.find(user);
    let Some(id) = found.filter(|id| users.get(*id).accepts(password)) else {
        note_login(ctx.server, ctx.client, ctx.registry, args, user);
        return Err(CommandError::WrongPass);
    };
    ctx.client.authenticated = true;
    ctx.client.user = id;
    Ok(())
}

pub const ECHO: Spec = Spec {
    name: "echo",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "1.0.0",
    summary: "Answers with the message it was given.",
    complexity: Some("O(1)"),
    args: &[Arg::new("message", ArgKind::String)],
    handler: echo,
    ..Spec::DEFAULT
};

/// `ECHO message`
fn echo(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.bulk(args.bytes(1));
    Ok(())
}

pub const HELLO: Spec = Spec {
    name: "hello",
    arity: -1,
    flags: BEFORE_AUTH,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.0.0",
    summary: "Chooses the protocol version, and can log in and name the connection at the same time.",
    complexity: Some("O(1)"),
    args: &[Arg::block(
        "arguments",
        &[
            Arg::new("protover", ArgKind::Integer),
            Arg::block(
                "auth",
                &[
                    Arg::new("username", ArgKind::String),
                    Arg::new("password", ArgKind::String),
                ],
            )
            .token("AUTH")
            .optional(),
            Arg::new("clientname", ArgKind::String)
                .token("SETNAME")
                .optional(),
        ],
    )
    .optional()],
    history: &[("6.2.0", &["protover"])],
    handler: hello,
    ..Spec::DEFAULT
};

/// `HELLO [protover [AUTH username password] [SETNAME clientname]]`
fn hello(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let version = match args.get(1) {
        None => None,
        Some(text) => {
            let version = parse_i64(text).ok_or(CommandError::text(
                "ERR Protocol version is not an integer or out of range",
            ))?;
            if !(2..=3).contains(&version) {
                return Err(CommandError::NoProto);
            }
            Some(version)
        }
    };
    let (mut login, mut name) = (None, None);
    let mut at = 2;
    while at < args.len() {
        let left = args.len() - at - 1;
        if left >= 2 && args.is(at, "AUTH") {
            login = Some((args.bytes(at + 1), args.bytes(at + 2)));
            at += 3;
        } else if left >= 1 && args.is(at, "SETNAME") {
            name = Some(args.bytes(at + 1));
            if !is_plain_word(args.bytes(at + 1)) {
                return Err(name_error(CLIENT_NAMES));
            }
            at += 2;
        } else {
            return Err(CommandError::quoting(
                "ERR Syntax error in HELLO option '",
                args.bytes(at),
                "'",
            ));
        }
    }
    if let Some((user, password)) = login {
        log_in(ctx, args, user, password)?;
    }
    if ctx.server.needs_auth(ctx.client) {
        return Err(CommandError::text(
            "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO <proto> AUTH \
             <user> <pass> option can be used to authenticate the client and select the RESP protocol version at \
             the same time",
        ));
    }
    if let Some(name) = name {
        ctx.client.name = name.to_vec();
    }
    if let Some(version) = version {
        ctx.client.reply.set_resp3(version == 3);
    }
    let id = ctx.client.id as i64;
    let reply = &mut ctx.client.reply;
    let version = if reply.is_resp3() { 3 } else { 2 };
    reply.map(7);
    // Client libraries look for this name.
    reply.text("server");
    reply.text("redis");
    reply.text("version");
    reply.text(REDIS_VERSION);
    reply.text("proto");
    reply.int(version);
    reply.text("id");
    reply.int(id);
    reply.text("mode");
    reply.text("standalone");
    reply.text("role");
    reply.text("master");
    reply.text("modules");
    reply.array(0);
    Ok(())
}

pub const PING: Spec = Spec {
    name: "ping",
    arity: -1,
    flags: Flags::FAST,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "1.0.0",
    summary: "Shows that the server answers; with a message, gives it back.",
    complexity: Some("O(1)"),
    args: &[Arg::new("message", ArgKind::String).optional()],
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    handler: ping,
    ..Spec::DEFAULT
};

/// `PING [message]`: answers, so that the other side knows that someone is there.
fn ping(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 2 {
        return Err(CommandError::Arity("ping".into()));
    }
    let is_subscriber = ctx.client.is_in_subscriber_mode();
    match args.get(1) {
        message if is_subscriber => {
            ctx.client.reply.array(2);
            ctx.client.reply.text("pong");
            ctx.client.reply.bulk(message.unwrap_or_default());
        }
        Some(message) => ctx.client.reply.bulk(message),
        None => ctx.client.reply.simple("PONG"),
    }
    Ok(())
}

pub const QUIT: Spec = Spec {
    name: "quit",
    arity: -1,
    flags: BEFORE_AUTH,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "1.0.0",
    summary: "Ends the connection.",
    complexity: Some("O(1)"),
    deprecated_since: Some("7.2.0"),
    replaced_by: Some("closing the connection"),
    handler: quit,
    ..Spec::DEFAULT
};

/// `QUIT`: whatever else stands behind it is not looked at.
fn quit(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.ok();
    ctx.client.close_after_reply();
    Ok(())
}

pub const RESET: Spec = Spec {
    name: "reset",
    arity: 1,
    flags: BEFORE_AUTH,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.2.0",
    summary: "Puts the connection back into the state it had when it was opened.",
    complexity: Some("O(1)"),
    handler: reset,
    ..Spec::DEFAULT
};

/// `RESET`: the library's name and version stay, as they say what the connection is, not what was done on it.
fn reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let is_open = ctx.server.users.default_user().is_open();
    let client = &mut *ctx.client;
    let modes = [
        ClientFlags::NO_EVICT,
        ClientFlags::NO_TOUCH,
        ClientFlags::REPLY_OFF,
        ClientFlags::REPLY_SKIP_NEXT,
        ClientFlags::MONITOR,
    ];
    for mode in modes {
        client.flags.set(mode, false);
    }
    client.multi = None;
    unwatch_all(ctx.server, client);
    ctx.server.pubsub.unsubscribe_all(client);
    ctx.server.tracking.stop(client);
    ctx.server.monitors.remove(&client.conn);
    client.dbid = 0;
    client.name.clear();
    client.fieldsets.clear();
    client.user = UserId::DEFAULT;
    client.authenticated = is_open;
    client.reply.set_resp3(false);
    // CLIENT REPLY OFF ends before this reply, the skipping of a reply behind it.
    client
        .reply
        .set_muted(client.flags.has(ClientFlags::REPLY_SKIP));
    client.reply.simple("RESET");
    Ok(())
}

pub const SELECT: Spec = Spec {
    name: "select",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::FAST),
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "1.0.0",
    summary: "Chooses the database that the connection works on.",
    complexity: Some("O(1)"),
    args: &[Arg::new("index", ArgKind::Integer)],
    handler: select,
    ..Spec::DEFAULT
};

/// `SELECT index`
fn select(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let index = int_arg(args, 1)?;
    let index = i32::try_from(index)
        .map_err(|_| CommandError::NotBetween(i32::MIN.into(), i32::MAX.into()))?;
    if index != 0 {
        ctx.server.note_incompatible();
    }
    let dbid = u32::try_from(index)
        .ok()
        .filter(|dbid| (*dbid as usize) < ctx.server.dbs.len())
        .ok_or(CommandError::DbIndex)?;
    ctx.client.dbid = dbid;
    ctx.client.reply.ok();
    Ok(())
}
