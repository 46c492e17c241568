//! CLIENT TRACKING and its like: being told when keys change; and MONITOR, which tells of every command.

use std::sync::Arc;

use crate::command::ctx::int_arg;
use crate::command::keys::keys_of;
use crate::command::registry::Command;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::tracking::{Choice, Mode};
use crate::state::{Client, ClientFlags, Server};

/// The commands beside the subcommands of CLIENT.
pub const COMMANDS: &[Spec] = &[MONITOR];

const PLAIN: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);

pub const CLIENT_TRACKING: Spec = Spec {
    name: "tracking",
    arity: -3,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.0.0",
    summary: "Switches messages about changed keys on or off, for caches at the client's side.",
    complexity: Some("O(1)"),
    args: &[
        Arg::one_of("status", &[Arg::word("on", "ON"), Arg::word("off", "OFF")]),
        Arg::new("client-id", ArgKind::Integer)
            .token("REDIRECT")
            .optional(),
        Arg::new("prefix", ArgKind::String)
            .token("PREFIX")
            .optional()
            .multiple_token(),
        Arg::word("bcast", "BCAST").optional(),
        Arg::word("optin", "OPTIN").optional(),
        Arg::word("optout", "OPTOUT").optional(),
        Arg::word("noloop", "NOLOOP").optional(),
    ],
    handler: tracking,
    ..Spec::DEFAULT
};

/// `CLIENT TRACKING ON|OFF [REDIRECT client-id] [PREFIX prefix ...] [BCAST] [OPTIN] [OPTOUT] [NOLOOP]`
fn tracking(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut mode = Mode {
        id: ctx.client.id,
        ..Mode::default()
    };
    let (mut opts_in, mut opts_out) = (false, false);
    let mut prefixes: Vec<&[u8]> = Vec::new();
    let mut at = 3;
    while at < args.len() {
        let has_value = at + 1 < args.len();
        if args.is(at, "REDIRECT") && has_value {
            at += 1;
            if mode.redirect.is_some() {
                return Err(CommandError::text(
                    "ERR A client can only redirect to a single other client",
                ));
            }
            let id = u64::try_from(int_arg(args, at)?).unwrap_or(0);
            let conn = ctx.server.clients.conn_of(id);
            let conn = conn.ok_or(CommandError::text(
                "ERR The client ID you want redirect to does not exist",
            ))?;
            mode.redirect = Some((id, conn));
        } else if args.is(at, "BCAST") {
            mode.is_broadcast = true;
        } else if args.is(at, "OPTIN") {
            opts_in = true;
        } else if args.is(at, "OPTOUT") {
            opts_out = true;
        } else if args.is(at, "NOLOOP") {
            mode.no_loop = true;
        } else if args.is(at, "PREFIX") && has_value {
            at += 1;
            prefixes.push(args.bytes(at));
        } else {
            return Err(CommandError::Syntax);
        }
        at += 1;
    }
    if args.is(2, "OFF") {
        ctx.server.tracking.stop(ctx.client);
        ctx.client.reply.ok();
        return Ok(());
    }
    if !args.is(2, "ON") {
        return Err(CommandError::Syntax);
    }
    mode.choice = match (opts_in, opts_out) {
        (true, _) => Choice::OptIn,
        (false, true) => Choice::OptOut,
        (false, false) => Choice::All,
    };
    let old = ctx.server.tracking.mode(ctx.client.conn);
    check_mode(&mode, old, opts_in && opts_out, &prefixes)?;
    if mode.is_broadcast && prefixes.is_empty() {
        prefixes.push(b"");
    }
    mode.prefixes = prefixes.into_iter().map(Arc::from).collect();
    ctx.server.tracking.start(ctx.client, mode);
    ctx.client.reply.ok();
    Ok(())
}

/// Refuses options that do not go together, or not with how the client tracks already.
fn check_mode(
    mode: &Mode,
    old: Option<&Mode>,
    both_choices: bool,
    prefixes: &[&[u8]],
) -> Result<(), CommandError> {
    let refuse = |text| Err(CommandError::text(text));
    if !prefixes.is_empty() && !mode.is_broadcast {
        return refuse("ERR PREFIX option requires BCAST mode to be enabled");
    }
    if old.is_some_and(|old| old.is_broadcast != mode.is_broadcast) {
        return refuse(
            "ERR You can't switch BCAST mode on/off before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        );
    }
    if mode.is_broadcast && mode.choice != Choice::All {
        return refuse("ERR OPTIN and OPTOUT are not compatible with BCAST");
    }
    if both_choices {
        return refuse("ERR You can't specify both OPTIN mode and OPTOUT mode");
    }
    let old_choice = old.map_or(Choice::All, |old| old.choice);
    if old_choice != Choice::All && mode.choice != Choice::All && old_choice != mode.choice {
        return refuse(
            "ERR You can't switch OPTIN/OPTOUT mode before disabling tracking for this client, and then \
             re-enabling it with a different mode.",
        );
    }
    for (at, prefix) in prefixes.iter().enumerate() {
        let overlaps = |other: &[u8]| other.starts_with(prefix) || prefix.starts_with(other);
        let overlap = |with: &[u8], which: &str| {
            let text = [
                b"ERR Prefix '",
                *prefix,
                b"' overlaps with ",
                which.as_bytes(),
                b" prefix '",
                with,
                b"'. Prefixes for a single client must not overlap.",
            ];
            CommandError::Bytes(text.concat())
        };
        let existing = old.iter().flat_map(|old| &old.prefixes);
        if let Some(other) = existing.into_iter().find(|other| overlaps(other)) {
            return Err(overlap(other, "an existing"));
        }
        let mut later = prefixes[at + 1..].iter();
        if let Some(other) = later.find(|other| overlaps(other)) {
            return Err(overlap(other, "another provided"));
        }
    }
    Ok(())
}

pub const CLIENT_CACHING: Spec = Spec {
    name: "caching",
    arity: 3,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.0.0",
    summary: "Says whether the keys of the next command are tracked.",
    complexity: Some("O(1)"),
    args: &[Arg::one_of(
        "mode",
        &[Arg::word("yes", "YES"), Arg::word("no", "NO")],
    )],
    handler: caching,
    ..Spec::DEFAULT
};

/// `CLIENT CACHING YES|NO`
fn caching(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let Some(mode) = ctx.server.tracking.mode(ctx.client.conn) else {
        return Err(CommandError::text(
            "ERR CLIENT CACHING can be called only when the client is in tracking mode with OPTIN or OPTOUT mode \
             enabled",
        ));
    };
    if args.is(2, "YES") {
        if mode.choice != Choice::OptIn {
            return Err(CommandError::text(
                "ERR CLIENT CACHING YES is only valid when tracking is enabled in OPTIN mode.",
            ));
        }
    } else if !args.is(2, "NO") {
        return Err(CommandError::Syntax);
    } else if mode.choice != Choice::OptOut {
        return Err(CommandError::text(
            "ERR CLIENT CACHING NO is only valid when tracking is enabled in OPTOUT mode.",
        ));
    }
    ctx.client.flags.set(ClientFlags::CACHING, true);
    ctx.client.reply.ok();
    Ok(())
}

pub const CLIENT_GETREDIR: Spec = Spec {
    name: "getredir",
    arity: 2,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.0.0",
    summary: "Tells which client hears of changed keys in this one's place.",
    complexity: Some("O(1)"),
    handler: getredir,
    ..Spec::DEFAULT
};

/// `CLIENT GETREDIR`
fn getredir(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let redirect = redirect_of(ctx.server, ctx.client);
    ctx.client.reply.int(redirect);
    Ok(())
}

/// The id of the client that another's messages go to: 0 for itself, -1 when it does not track.
pub fn redirect_of(server: &Server, client: &Client) -> i64 {
    let mode = server.tracking.mode(client.conn);
    mode.map_or(-1, |mode| mode.redirect.map_or(0, |(id, _)| id as i64))
}

pub const CLIENT_TRACKINGINFO: Spec = Spec {
    name: "trackinginfo",
    arity: 2,
    flags: PLAIN,
    acl: Categories::CONNECTION,
    group: Group::Connection,
    since: "6.2.0",
    summary: "Tells how the connection tracks keys.",
    complexity: Some("O(1)"),
    handler: trackinginfo,
    ..Spec::DEFAULT
};

/// `CLIENT TRACKINGINFO`
fn trackinginfo(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let redirect = redirect_of(ctx.server, ctx.client);
    let mode = ctx.server.tracking.mode(ctx.client.conn);
    let caching = ctx.client.flags.has(ClientFlags::CACHING);
    let mut flags = vec![if mode.is_some() { "on" } else { "off" }];
    if let Some(mode) = mode {
        let choice = match mode.choice {
            Choice::All => None,
            Choice::OptIn => Some(("optin", "caching-yes")),
            Choice::OptOut => Some(("optout", "caching-no")),
        };
        flags.extend(mode.is_broadcast.then_some("bcast"));
        flags.extend(choice.map(|(name, _)| name));
        flags.extend(choice.filter(|_| caching).map(|(_, name)| name));
        flags.extend(mode.no_loop.then_some("noloop"));
        flags.extend(mode.is_broken.then_some("broken_redirect"));
    }
    let reply = &mut ctx.client.reply;
    reply.map(3);
    reply.text("flags");
    reply.set(flags.len());
    for flag in flags {
        reply.text(flag);
    }
    reply.text("redirect");
    reply.int(redirect);
    reply.text("prefixes");
    reply.array(mode.map_or(0, |mode| mode.prefixes.len()));
    for prefix in mode.iter().flat_map(|mode| &mode.prefixes) {
        reply.bulk(prefix);
    }
    Ok(())
}

/// Remembers the keys that a command has read for a client that tracks them.
pub fn track_reads(server: &mut Server, client: &Client, command: &Command, args: Args<'_>) {
    if let Ok(keys) = keys_of(command, args) {
        let keys = keys.iter().map(|(index, _)| args.bytes(*index));
        server.tracking.remember(client, keys);
    }
}

pub const MONITOR: Spec = Spec {
    name: "monitor",
    arity: 1,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE),
    group: Group::Server,
    since: "1.0.0",
    summary: "Shows every command that the server runs, as it runs.",
    handler: monitor,
    ..Spec::DEFAULT
};

/// `MONITOR`: who watches already is not answered.
fn monitor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if ctx.client.flags.has(ClientFlags::IN_EXEC) {
        return Err(CommandError::text(
            "ERR MONITOR isn't allowed for DENY BLOCKING client",
        ));
    }
    if ctx.server.monitors.insert(ctx.client.conn) {
        ctx.client.flags.set(ClientFlags::MONITOR, true);
        ctx.client.reply.ok();
    }
    Ok(())
}
