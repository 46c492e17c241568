//! LATENCY: the slow moments that the monitor saw, and how long each command takes.

use std::fmt::Write as _;

use crate::command::registry::Command;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::latency::LatencySeries;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[LATENCY];

const ADMIN: Flags = Flags::ADMIN
    .or(Flags::NOSCRIPT)
    .or(Flags::LOADING)
    .or(Flags::STALE);
const SPECIAL: &[&str] = &[
    "nondeterministic_output",
    "request_policy:all_nodes",
    "response_policy:special",
];

pub const LATENCY: Spec = Spec {
    name: "latency",
    arity: -2,
    group: Group::Server,
    since: "2.8.13",
    summary: "Groups the commands about slow moments.",
    help: &[
        "DOCTOR",
        "GRAPH <event>",
        "HISTORY <event>",
        "LATEST",
        "RESET [<event> ...]",
        "HISTOGRAM [COMMAND ...]",
    ],
    subcommands: &[
        LATENCY_DOCTOR,
        LATENCY_GRAPH,
        LATENCY_HELP,
        LATENCY_HISTOGRAM,
        LATENCY_HISTORY,
        LATENCY_LATEST,
        LATENCY_RESET,
    ],
    ..Spec::DEFAULT
};

pub const LATENCY_DOCTOR: Spec = Spec {
    name: "doctor",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.8.13",
    summary: "Reports on slow moments in words, with advice.",
    complexity: Some("O(1)"),
    tips: SPECIAL,
    handler: doctor,
    ..Spec::DEFAULT
};

/// `LATENCY DOCTOR`
fn doctor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let threshold = ctx.server.config.latency_monitor_threshold;
    let events = &ctx.server.latency.events;
    let now_secs = ctx.server.now.secs();
    let mut text = String::new();
    if events.is_empty() && threshold == 0 {
        text.push_str(
            "The latency monitor is off, so there is nothing to report. Turn it on with \"CONFIG SET \
             latency-monitor-threshold <milliseconds>\" and ask again after a while.\n",
        );
    } else if events.is_empty() {
        text.push_str(
            "No latency spike was seen since the monitor was turned on or reset. There is nothing to worry about.\n",
        );
    } else {
        text.push_str("The monitor has seen latency spikes:\n\n");
        for (at, (event, series)) in events.iter().enumerate() {
            let _ = writeln!(text, "{}. {event}: {}", at + 1, diagnosis(series, now_secs));
        }
        text.push_str("\nWhat may help:\n\n");
        for line in advice(ctx) {
            let _ = writeln!(text, "- {line}");
        }
    }
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// One event's figures in a sentence.
fn diagnosis(series: &LatencySeries, now_secs: i64) -> String {
    let count = series.samples.len() as u64;
    let sum: u64 = series.samples.iter().map(|(_, ms)| ms).sum();
    let average = sum / count.max(1);
    let deviations = series.samples.iter().map(|(_, ms)| ms.abs_diff(average));
    let deviation = deviations.sum::<u64>() / count.max(1);
    let first = series.samples.first().map_or(now_secs, |(at, _)| *at);
    let period = (now_secs - first).max(1) as f64 / count.max(1) as f64;
    format!(
        "{count} latency spikes (average {average}ms, mean deviation {deviation}ms, period {period:.2} sec). \
         Worst all time event {}ms.",
        series.max_ms
    )
}

fn advice(ctx: &Ctx<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    let events = &ctx.server.latency.events;
    let slower_than = ctx.server.config.slowlog_log_slower_than;
    if events.contains_key("command") || events.contains_key("fast-command") {
        let threshold = ctx.server.config.latency_monitor_threshold;
        if slower_than < 0 {
            lines.push(
                "The slow log is off; with slowlog-log-slower-than set, it would name the commands that take long."
                    .to_owned(),
            );
        } else if slower_than / 1000 > threshold {
            lines.push(format!(
                "The slow log keeps only commands of more than {slower_than} microseconds, the latency monitor more: set \
                 slowlog-log-slower-than to {} to find those that made these spikes.",
                threshold * 1000
            ));
        } else {
            lines.push(
                "Look into the slow log (SLOWLOG GET) for the commands that take long.".to_owned(),
            );
        }
        lines.push(
            "A command over a large value holds up everyone else: split large values, and walk them with the SCAN \
             family."
                .to_owned(),
        );
    }
    if events.contains_key("fast-command") {
        lines.push(
            "Commands that should be fast were slow: look for other processes on this CPU, for swapping, and for a \
             virtual machine whose host is busy."
                .to_owned(),
        );
    }
    if events.contains_key("fork") {
        lines.push(
            "The step that began a snapshot took long: look for other processes on this CPU, and for functions of many \
             megabytes, which it writes at once."
                .to_owned(),
        );
    }
    if events.contains_key("aof-fsync-always") {
        lines.push(
            "Forcing the append-only file to disk holds up every write: appendfsync everysec does it beside them, and a \
             crash of the machine then costs a second."
                .to_owned(),
        );
    }
    if events.keys().any(|name| name.starts_with("aof-write")) {
        lines.push(
            "Writing the append-only file takes long: the disk is busy. See who else uses it; while a snapshot is \
             written, no-appendfsync-on-rewrite takes load from it."
                .to_owned(),
        );
    }
    if events.contains_key("expire-cycle") {
        lines.push(
            "Many keys, or large ones, expire at the same moment: spread their deadlines."
                .to_owned(),
        );
    }
    lines
}

pub const LATENCY_GRAPH: Spec = Spec {
    name: "graph",
    arity: 3,
    flags: ADMIN,
    group: Group::Server,
    since: "2.8.13",
    summary: "Draws the history of one event.",
    complexity: Some("O(1)"),
    args: &[Arg::new("event", ArgKind::String)],
    tips: SPECIAL,
    handler: graph,
    ..Spec::DEFAULT
};

/// `LATENCY GRAPH event`
fn graph(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let wanted = args.bytes(2);
    let now = ctx.server.now.secs();
    let Some((name, series)) = find(&ctx.server.latency.events, wanted) else {
        return Err(CommandError::quoting(
            "ERR No samples available for event '",
            wanted,
            "'",
        ));
    };
    let values = || series.samples.iter().map(|(_, ms)| *ms);
    let (high, low) = (values().max().unwrap_or(0), values().min().unwrap_or(0));
    let mut text = format!(
        "{name} - high {high} ms, low {low} ms (all time high {} ms)\n{}\n",
        series.max_ms,
        "-".repeat(GRAPH_WIDTH)
    );
    for samples in series.samples.chunks(GRAPH_WIDTH) {
        draw(&mut text, samples, (low, high), now);
    }
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn find<'a>(
    events: &'a std::collections::BTreeMap<&'static str, LatencySeries>,
    name: &[u8],
) -> Option<(&'static str, &'a LatencySeries)> {
    let mut events = events.iter();
    let found = events.find(|(known, _)| known.as_bytes() == name)?;
    Some((found.0, found.1))
}

const GRAPH_WIDTH: usize = 80;
const GRAPH_ROWS: usize = 4;
/// How the top of a column stands within its row, from low to high; below it the column is filled.
const TOPS: [char; 3] = ['_', 'o', '#'];

/// Columns for the samples, and below each how long ago it was, written downwards.
fn draw(text: &mut String, samples: &[(i64, u64)], (low, high): (u64, u64), now: i64) {
    let steps = TOPS.len() * GRAPH_ROWS;
    let height = |ms: u64| match high - low {
        0 => 0,
        range => ((ms - low) as usize * steps / range as usize).min(steps - 1),
    };
    for row in (0..GRAPH_ROWS).rev() {
        for (_, ms) in samples {
            let mark = match height(*ms).checked_sub(row * TOPS.len()) {
                None => ' ',
                Some(over) => TOPS.get(over).copied().unwrap_or('|'),
            };
            text.push(mark);
        }
        text.push('\n');
    }
    let labels: Vec<Vec<u8>> = samples
        .iter()
        .map(|(at, _)| age(now - at).into_bytes())
        .collect();
    let rows = labels.iter().map(Vec::len).max().unwrap_or(0);
    text.push_str(&" ".repeat(samples.len()));
    text.push('\n');
    for row in 0..rows {
        for label in &labels {
            text.push(label.get(row).map_or(' ', |byte| char::from(*byte)));
        }
        text.push('\n');
    }
}

/// A number of seconds in its largest whole unit.
fn age(secs: i64) -> String {
    match secs {
        ..60 => format!("{secs}s"),
        60..3600 => format!("{}m", secs / 60),
        3600..86400 => format!("{}h", secs / 3600),
        _ => format!("{}d", secs / 86400),
    }
}

pub const LATENCY_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    group: Group::Server,
    since: "2.8.13",
    summary: "Shows the forms of this command.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const LATENCY_HISTOGRAM: Spec = Spec {
    name: "histogram",
    arity: -2,
    flags: ADMIN,
    group: Group::Server,
    since: "7.0.0",
    summary: "Tells for commands how many calls took at most how long.",
    complexity: Some("O(N)"),
    args: &[Arg::new("command", ArgKind::String).optional().multiple()],
    tips: SPECIAL,
    handler: histogram,
    ..Spec::DEFAULT
};

/// `LATENCY HISTOGRAM [command ...]`: a container stands for its subcommands; unknown names are passed over.
fn histogram(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let at = ctx.client.reply.array_begin();
    let mut shown = 0;
    if args.len() == 2 {
        for command in ctx.registry.all() {
            shown += show_histogram(ctx, command);
        }
    }
    for name in args.iter_from(2) {
        let Some(command) = ctx.registry.by_full_name(name) else {
            continue;
        };
        shown += show_histogram(ctx, command);
        for id in &command.subcommands {
            shown += show_histogram(ctx, ctx.registry.get(*id));
        }
    }
    ctx.client.reply.map_end(at, shown);
    Ok(())
}

/// One command's pair in the reply, if it was called; says how many pairs that makes.
fn show_histogram(ctx: &mut Ctx<'_>, command: &Command) -> usize {
    let Some(stats) = ctx.server.command_stats.get(usize::from(command.id.0)) else {
        return 0;
    };
    let total = stats.durations.total();
    if total == 0 {
        return 0;
    }
    let steps = stats.durations.doublings();
    let reply = &mut ctx.client.reply;
    reply.text(&command.full_name);
    reply.map(2);
    reply.text("calls");
    reply.int(i64::try_from(total).unwrap_or(i64::MAX));
    reply.text("histogram_usec");
    reply.map(steps.len());
    for (end_ns, count) in steps {
        reply.int(i64::try_from(end_ns / 1000).unwrap_or(i64::MAX));
        reply.int(i64::try_from(count).unwrap_or(i64::MAX));
    }
    1
}

pub const LATENCY_HISTORY: Spec = Spec {
    name: "history",
    arity: 3,
    flags: ADMIN,
    group: Group::Server,
    since: "2.8.13",
    summary: "Lists when one event was slow, and how slow.",
    complexity: Some("O(1)"),
    args: &[Arg::new("event", ArgKind::String)],
    tips: SPECIAL,
    handler: history,
    ..Spec::DEFAULT
};

/// `LATENCY HISTORY event`
fn history(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let series = find(&ctx.server.latency.events, args.bytes(2));
    let samples = series.map_or(&[][..], |(_, series)| &series.samples);
    ctx.client.reply.array(samples.len());
    for (at, ms) in samples {
        ctx.client.reply.array(2);
        ctx.client.reply.int(*at);
        ctx.client.reply.int(i64::try_from(*ms).unwrap_or(i64::MAX));
    }
    Ok(())
}

pub const LATENCY_LATEST: Spec = Spec {
    name: "latest",
    arity: 2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.8.13",
    summary: "Lists every event with its latest and its worst duration.",
    complexity: Some("O(1)"),
    tips: SPECIAL,
    handler: latest,
    ..Spec::DEFAULT
};

/// `LATENCY LATEST`
fn latest(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let events = &ctx.server.latency.events;
    let reply = &mut ctx.client.reply;
    reply.array(events.len());
    for (name, series) in events {
        let (at, ms) = series.samples.last().copied().unwrap_or_default();
        reply.array(4);
        reply.text(name);
        reply.int(at);
        reply.int(i64::try_from(ms).unwrap_or(i64::MAX));
        reply.int(i64::try_from(series.max_ms).unwrap_or(i64::MAX));
    }
    Ok(())
}

pub const LATENCY_RESET: Spec = Spec {
    name: "reset",
    arity: -2,
    flags: ADMIN,
    group: Group::Server,
    since: "2.8.13",
    summary: "Forgets the history of events.",
    complexity: Some("O(1)"),
    args: &[Arg::new("event", ArgKind::String).optional().multiple()],
    tips: &["request_policy:all_nodes", "response_policy:agg_sum"],
    handler: reset,
    ..Spec::DEFAULT
};

/// `LATENCY RESET [event ...]`: replies with the number of events that were forgotten.
fn reset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let events = &mut ctx.server.latency.events;
    let before = events.len();
    if args.len() == 2 {
        events.clear();
    }
    for name in args.iter_from(2) {
        events.retain(|known, _| known.as_bytes() != name);
    }
    let gone = before - events.len();
    ctx.client.reply.len(gone);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_graph_has_a_column_for_each_sample() {
        let mut text = String::new();
        draw(&mut text, &[(100, 10), (101, 20), (165, 30)], (10, 30), 165);
        assert_eq!(text, "  #\n _|\n ||\n_||\n   \n110\nmms\n");
        let mut text = String::new();
        draw(&mut text, &[(0, 7)], (7, 7), 90_000);
        assert_eq!(text, " \n \n \n_\n \n1\nd\n");
    }
}
