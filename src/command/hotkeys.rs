//! HOTKEYS: which keys cost most, while someone watches. A command of Redis 8.6.
//!
//! Lives here: the request, and how the figures are told. What they are is in `state/hotkeys.rs`.

use crate::command::spec::{Arg, ArgKind, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::hotkeys::Watch;
use crate::types::decimal::parse_i64;
use crate::types::top_keys::TopKeys;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[HOTKEYS];

/// The process is read for its time, also at the end of a watch that is over.
const ADMIN: Flags = Flags::ADMIN.or(Flags::NOSCRIPT).or(Flags::NEEDS_READING);

/// How many keys are told unless it is said, and at most.
const COUNT_DEFAULT: usize = 10;
const COUNT_MAX: i64 = 64;

/// The most metrics there are.
const METRICS_MAX: i64 = 2;

/// The longest time that can be set, in seconds.
const DURATION_MAX_SECS: i64 = 1_000_000;

/// The slots of a cluster, from the first to the last: outside of one, all of them are watched.
const ALL_SLOTS: [i64; 2] = [0, 16383];

pub const HOTKEYS: Spec = Spec {
    name: "hotkeys",
    arity: -2,
    group: Group::Server,
    since: "8.6.0",
    summary: "Groups the commands that find the keys which cost most.",
    subcommands: &[
        HOTKEYS_GET,
        HOTKEYS_HELP,
        HOTKEYS_RESET,
        HOTKEYS_START,
        HOTKEYS_STOP,
    ],
    ..Spec::DEFAULT
};

pub const HOTKEYS_START: Spec = Spec {
    name: "start",
    arity: -2,
    flags: ADMIN,
    group: Group::Server,
    since: "8.6.0",
    summary: "Begins to watch what keys cost: time, bytes on the wire, or both.",
    complexity: Some("O(1)"),
    args: &[
        Arg::block(
            "metrics",
            &[
                Arg::new("count", ArgKind::Integer),
                Arg::word("cpu", "CPU").optional(),
                Arg::word("net", "NET").optional(),
            ],
        )
        .token("METRICS"),
        Arg::new("k", ArgKind::Integer).token("COUNT").optional(),
        Arg::new("seconds", ArgKind::Integer)
            .token("DURATION")
            .optional(),
        Arg::new("ratio", ArgKind::Integer)
            .token("SAMPLE")
            .optional(),
        Arg::block(
            "slots",
            &[
                Arg::new("count", ArgKind::Integer),
                Arg::new("slot", ArgKind::Integer).multiple(),
            ],
        )
        .token("SLOTS")
        .optional(),
    ],
    tips: &["request_policy:special"],
    handler: start,
    ..Spec::DEFAULT
};

/// `HOTKEYS START METRICS count [CPU] [NET] [COUNT k] [DURATION seconds] [SAMPLE ratio] [SLOTS count slot ...]`
fn start(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if ctx.server.hotkeys.is_active() {
        return Err(CommandError::text(
            "ERR hotkey tracking session already in progress",
        ));
    }
    let watch = parse_watch(args)?;
    ctx.server.start_hotkeys(watch);
    ctx.client.reply.ok();
    Ok(())
}

fn parse_watch(args: Args<'_>) -> Result<Watch, CommandError> {
    if !(args.len() > 3 && args.is(2, "METRICS")) {
        return Err(CommandError::text("ERR METRICS parameter is required"));
    }
    let mut watch = Watch {
        cpu: false,
        net: false,
        count: COUNT_DEFAULT,
        duration_us: None,
        sample_ratio: 1,
    };
    let metrics = number(args, 3, 1, METRICS_MAX)
        .ok_or(CommandError::text("ERR METRICS count must be > 0 and <= 2"))?;
    let mut at = 4 + parse_metrics(args, metrics as usize, &mut watch)?;
    while at < args.len() {
        let has_value = at + 1 < args.len();
        if has_value && args.is(at, "COUNT") {
            let count = number(args, at + 1, 1, COUNT_MAX);
            let count = count.ok_or(CommandError::text("ERR COUNT must be between 1 and 64"))?;
            watch.count = count as usize;
        } else if has_value && args.is(at, "DURATION") {
            let seconds = number(args, at + 1, 1, DURATION_MAX_SECS)
                .ok_or(CommandError::text("ERR DURATION be between 1 and 1000000"))?;
            watch.duration_us = Some(seconds * 1_000_000);
        } else if has_value && args.is(at, "SAMPLE") {
            let ratio = number(args, at + 1, 1, i64::from(i32::MAX));
            let ratio = ratio.ok_or(CommandError::text("ERR SAMPLE ratio must be positive"))?;
            watch.sample_ratio = ratio.unsigned_abs();
        } else if has_value && args.is(at, "SLOTS") {
            return Err(CommandError::text(
                "ERR SLOTS parameter cannot be used in non-cluster mode",
            ));
        } else {
            return Err(CommandError::Syntax);
        }
        at += 2;
    }
    Ok(watch)
}

/// The number at this argument, if it is one and in range.
fn number(args: Args<'_>, at: usize, min: i64, max: i64) -> Option<i64> {
    let number = args.get(at).and_then(parse_i64)?;
    (min..=max).contains(&number).then_some(number)
}

/// The names of as many metrics as were announced; says how many arguments they are. Names that are not known are
/// passed over, so that what later versions can measure does no harm.
fn parse_metrics(args: Args<'_>, count: usize, watch: &mut Watch) -> Result<usize, CommandError> {
    if args.len() < 4 + count {
        return Err(CommandError::text(
            "ERR METRICS count does not match number of metric types provided",
        ));
    }
    for at in 4..4 + count {
        let (metric, error) = if args.is(at, "CPU") {
            (&mut watch.cpu, "ERR METRICS CPU defined more than once!")
        } else if args.is(at, "NET") {
            (&mut watch.net, "ERR METRICS NET defined more than once!")
        } else {
            continue;
        };
        if std::mem::replace(metric, true) {
            return Err(CommandError::text(error));
        }
    }
    if !watch.cpu && !watch.net {
        return Err(CommandError::text(
            "ERR METRICS no valid metrics passed. Supported: CPU|NET",
        ));
    }
    Ok(count)
}

pub const HOTKEYS_STOP: Spec = Spec {
    name: "stop",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "8.6.0",
    summary: "Ends the watch; what it found stays.",
    complexity: Some("O(1)"),
    tips: &["request_policy:special"],
    handler: stop,
    ..Spec::DEFAULT
};

/// `HOTKEYS STOP`: null when nothing is being watched.
fn stop(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if !ctx.server.hotkeys.is_active() {
        ctx.client.reply.null();
        return Ok(());
    }
    ctx.server.stop_hotkeys();
    ctx.client.reply.ok();
    Ok(())
}

pub const HOTKEYS_RESET: Spec = Spec {
    name: "reset",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "8.6.0",
    summary: "Forgets what a watch that has ended found.",
    complexity: Some("O(1)"),
    tips: &["request_policy:special"],
    handler: reset,
    ..Spec::DEFAULT
};

/// `HOTKEYS RESET`
fn reset(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    if ctx.server.hotkeys.is_active() {
        return Err(CommandError::text(
            "ERR hotkey tracking session in progress, stop tracking first",
        ));
    }
    ctx.server.reset_hotkeys();
    ctx.client.reply.ok();
    Ok(())
}

pub const HOTKEYS_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    group: Group::Server,
    since: "8.6.1",
    summary: "Shows the forms of this command.",
    complexity: Some("O(1)"),
    handler: crate::command::syntax::container_help,
    ..Spec::DEFAULT
};

pub const HOTKEYS_GET: Spec = Spec {
    name: "get",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "8.6.0",
    summary: "Tells which keys cost most in the watch that runs or ran last.",
    complexity: Some("O(K)"),
    tips: &[
        "nondeterministic_output",
        "request_policy:special",
        "response_policy:special",
    ],
    handler: get,
    ..Spec::DEFAULT
};

/// `HOTKEYS GET`: a list of one map, so that those of several nodes can be joined; null when there is nothing to tell.
fn get(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let Some(session) = ctx.server.hotkeys.session() else {
        ctx.client.reply.null();
        return Ok(());
    };
    let int = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
    let totals = ctx.server.hotkeys_totals(session);
    let count = session.watch.count;
    let is_active = i64::from(ctx.server.hotkeys.is_active());
    let ms = |us: u64| int(us / 1000);

    let reply = &mut ctx.client.reply;
    reply.array(1);
    reply.map(7 + 3 * usize::from(session.cpu.is_some()) + 2 * usize::from(session.net.is_some()));
    reply.text("tracking-active");
    reply.int(is_active);
    reply.text("sample-ratio");
    reply.int(int(session.watch.sample_ratio));
    reply.text("selected-slots");
    reply.array(1);
    reply.array(ALL_SLOTS.len());
    ALL_SLOTS.iter().for_each(|slot| reply.int(*slot));
    reply.text("all-commands-all-slots-us");
    reply.int(int(session.commands_us));
    reply.text("net-bytes-all-commands-all-slots");
    reply.int(int(session.commands_bytes));
    reply.text("collection-start-time-unix-ms");
    reply.int(session.started.ms());
    reply.text("collection-duration-ms");
    reply.int(ms(totals.duration_us));
    if session.cpu.is_some() {
        reply.text("total-cpu-time-user-ms");
        reply.int(ms(totals.cpu_user_us));
        reply.text("total-cpu-time-sys-ms");
        reply.int(ms(totals.cpu_sys_us));
    }
    if session.net.is_some() {
        reply.text("total-net-bytes");
        reply.int(int(totals.net_bytes));
    }
    let tops: [(&str, &Option<TopKeys>); 2] = [
        ("by-cpu-time-us", &session.cpu),
        ("by-net-bytes", &session.net),
    ];
    for (name, top) in tops {
        let Some(top) = top else { continue };
        reply.text(name);
        let keys = top.heaviest(count);
        reply.array(keys.len() * 2);
        for (key, cost) in keys {
            reply.bulk(key);
            reply.int(int(cost));
        }
    }
    Ok(())
}
