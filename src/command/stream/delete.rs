//! XDEL, XDELEX, XACKDEL.

use std::ops::Range;

use super::add::references_at;
use super::{find, id_args};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::decimal::parse_i64;
use crate::types::stream::{References, Stream, StreamId};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XDEL, XDELEX, XACKDEL];

/// What is replied for each entry.
const MISSING: i64 = -1;
const DELETED: i64 = 1;
const REFERENCED: i64 = 2;

pub const XDEL: Spec = Spec {
    name: "xdel",
    arity: -3,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Removes entries from a stream.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("id", ArgKind::String).multiple(),
    ],
    handler: xdel,
    ..Spec::DEFAULT
};

/// `XDEL key id [id ...]`
fn xdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let Some(stream) = find(ctx, key, Access::Write)? else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    let ids = id_args(args, 2..args.len())?;
    let deleted = ids.iter().filter(|id| stream.delete(**id)).count();
    report(ctx, key.bytes, deleted);
    ctx.client.reply.len(deleted);
    Ok(())
}

fn report(ctx: &mut Ctx<'_>, key: &[u8], deleted: usize) {
    if deleted > 0 {
        ctx.touch(key, Event::stream("xdel"));
        super::count_changes(ctx, deleted - 1);
    }
}

/// The options of XDELEX and XACKDEL, in any order: the arguments that are IDs, which nobody reads where there is
/// nothing to delete, and what becomes of references to them.
fn parse(args: Args<'_>, start: usize) -> Result<(Range<usize>, References), CommandError> {
    let (mut ids, mut references) = (None, None);
    let mut index = start;
    while index < args.len() {
        if let Some(given) = references_at(args, index).filter(|_| references.is_none()) {
            references = Some(given);
            index += 1;
        } else if args.is(index, "IDS") && ids.is_none() && index + 1 < args.len() {
            let count = parse_i64(args.bytes(index + 1))
                .and_then(|count| usize::try_from(count).ok())
                .filter(|count| *count > 0)
                .ok_or(CommandError::text(
                    "ERR Number of IDs must be a positive integer",
                ))?;
            let first = index + 2;
            if count > args.len() - first {
                return Err(CommandError::text(
                    "ERR The `numids` parameter must match the number of arguments",
                ));
            }
            ids = Some(first..first + count);
            index = first + count;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    let ids = ids.ok_or(CommandError::Syntax)?;
    Ok((ids, references.unwrap_or_default()))
}

/// Removes an entry as `references` allows; says what became of it and whether anything changed.
fn delete_one(stream: &mut Stream, id: StreamId, references: References) -> (i64, bool) {
    let mut has_dropped = false;
    match references {
        References::Keep => {}
        References::Remove => {
            let is_pending =
                |group: &crate::types::stream::Group| group.pending().contains_key(&id);
            has_dropped = stream.groups.values().any(is_pending);
            stream.remove_references(id);
        }
        References::Respect => {
            // So is one that is still to come, or gone, as long as a group may be given it or has it.
            if stream.is_referenced(id) {
                return (REFERENCED, false);
            }
        }
    }
    match stream.delete(id) {
        true => (DELETED, true),
        false => (MISSING, has_dropped),
    }
}

pub const XDELEX: Spec = Spec {
    name: "xdelex",
    arity: -5,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "8.2.0",
    summary: "Removes entries from a stream, minding the groups that refer to them.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::one_of(
            "condition",
            &[
                Arg::word("keepref", "KEEPREF"),
                Arg::word("delref", "DELREF"),
                Arg::word("acked", "ACKED"),
            ],
        )
        .optional(),
        Arg::block(
            "ids",
            &[
                Arg::new("numids", ArgKind::Integer),
                Arg::new("id", ArgKind::String).multiple(),
            ],
        )
        .token("IDS"),
    ],
    handler: xdelex,
    ..Spec::DEFAULT
};

/// `XDELEX key [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
fn xdelex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    // A value of another type is refused before the options are.
    find(ctx, key, Access::Write)?;
    let (ids, references) = parse(args, 2)?;
    let mut outcomes = vec![MISSING; ids.len()];
    let (mut deleted, mut dropped) = (0, 0);
    if let Some(stream) = find(ctx, key, Access::Peek)? {
        let ids = id_args(args, ids)?;
        for (outcome, id) in outcomes.iter_mut().zip(&ids) {
            let (result, has_changed) = delete_one(stream, *id, references);
            *outcome = result;
            deleted += usize::from(result == DELETED);
            dropped += usize::from(has_changed && result != DELETED);
        }
    }
    report(ctx, key.bytes, deleted);
    super::count_changes(ctx, dropped);
    reply_outcomes(ctx, &outcomes);
    Ok(())
}

fn reply_outcomes(ctx: &mut Ctx<'_>, outcomes: &[i64]) {
    ctx.client.reply.array(outcomes.len());
    for outcome in outcomes {
        ctx.client.reply.int(*outcome);
    }
}

pub const XACKDEL: Spec = Spec {
    name: "xackdel",
    arity: -6,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "8.2.0",
    summary: "Acknowledges entries and removes them from the stream, minding the groups that refer to them.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(
        1,
        KeyFlags::RW.or(KeyFlags::UPDATE).or(KeyFlags::DELETE),
    )],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::one_of(
            "condition",
            &[
                Arg::word("keepref", "KEEPREF"),
                Arg::word("delref", "DELREF"),
                Arg::word("acked", "ACKED"),
            ],
        )
        .optional(),
        Arg::block(
            "ids",
            &[
                Arg::new("numids", ArgKind::Integer),
                Arg::new("id", ArgKind::String).multiple(),
            ],
        )
        .token("IDS"),
    ],
    handler: xackdel,
    ..Spec::DEFAULT
};

/// `XACKDEL key group [KEEPREF | DELREF | ACKED] IDS numids id [id ...]`
fn xackdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (key, name) = (ctx.key(args, 1), args.bytes(2));
    find(ctx, key, Access::Write)?;
    let (ids, references) = parse(args, 3)?;
    let mut outcomes = vec![MISSING; ids.len()];
    let (mut deleted, mut acknowledged) = (0, 0);
    let stream = find(ctx, key, Access::Peek)?;
    if let Some(stream) = stream.filter(|stream| stream.groups.contains_key(name)) {
        let ids = id_args(args, ids)?;
        for (outcome, id) in outcomes.iter_mut().zip(&ids) {
            // Only what the group was given is acknowledged, and only that is removed.
            if !stream
                .groups
                .get_mut(name)
                .is_some_and(|group| group.acknowledge(*id))
            {
                continue;
            }
            acknowledged += 1;
            // A pending entry whose stream entry is gone already is done with all the same.
            let (result, _) = delete_one(stream, *id, references);
            *outcome = if result == REFERENCED {
                REFERENCED
            } else {
                DELETED
            };
            deleted += usize::from(result == DELETED);
        }
    }
    report(ctx, key.bytes, deleted);
    super::count_changes(ctx, acknowledged);
    reply_outcomes(ctx, &outcomes);
    Ok(())
}
