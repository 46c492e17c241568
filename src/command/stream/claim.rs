//! XCLAIM and XAUTOCLAIM: pending entries change their consumers.

use super::{
    claim_argv, find, id_arg, no_group, parse_strict_id, propagate_outcome, reply_entry, reply_id,
    set_id_argv, start_arg,
};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object;
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::decimal::parse_i64;
use crate::types::stream::{self, Log, StreamId};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XCLAIM, XAUTOCLAIM];

/// How many pending entries XAUTOCLAIM looks at for each that it may claim.
const LOOKS_PER_CLAIM: usize = 10;
const AUTOCLAIM_COUNT: i64 = 100;
/// The count's limit: that many IDs are the largest array that a 64-bit size can name.
const AUTOCLAIM_COUNT_MAX: i64 = i64::MAX / 16;

/// What a claim does with the entries it takes.
struct Claim<'a> {
    key: &'a [u8],
    name: &'a [u8],
    owner: u32,
    delivered_ms: i64,
    deliveries: Option<u64>,
    just_id: bool,
    now_ms: i64,
    propagating: bool,
    /// What goes out for the entries so far.
    commands: Vec<Vec<Vec<u8>>>,
}

impl Claim<'_> {
    /// Whether the entry has waited long enough.
    fn is_idle(&self, nack: &stream::Nack, idle_min: i64) -> bool {
        idle_min <= 0 || nack.is_free() || self.now_ms - nack.delivered_ms >= idle_min
    }

    /// Makes a pending entry, which may be new, the claimer's.
    fn take(&mut self, group: &mut stream::Group, id: StreamId) {
        // A forced entry begins as one that was delivered once.
        let old = group.pending().get(&id).map_or(1, |nack| nack.deliveries);
        let deliveries = match self.deliveries {
            Some(deliveries) => deliveries,
            None if self.just_id => old,
            None => old.saturating_add(1),
        };
        group.assign(id, self.owner, self.delivered_ms, deliveries);
        if let Some(consumer) = group.consumer_mut(self.owner) {
            consumer.active_ms = self.now_ms;
        }
        self.report(group, id);
    }

    /// A pending entry whose stream entry is gone is forgotten; says whether there was one.
    fn forget(&mut self, group: &mut stream::Group, id: StreamId) -> bool {
        self.report(group, id);
        group.acknowledge(id)
    }

    fn report(&mut self, group: &stream::Group, id: StreamId) {
        if let (true, Some(nack)) = (self.propagating, group.pending().get(&id)) {
            let owner = group.owner_name(nack);
            let argv = claim_argv(self.key, self.name, group, id, owner, nack);
            self.commands.push(argv);
        }
    }
}

/// Finds the claiming consumer, or adds it; says whether it is new.
fn claimer(group: &mut stream::Group, name: &[u8], now_ms: i64) -> (u32, bool) {
    let found = group.find(name);
    let index = found.unwrap_or_else(|| group.add_consumer(name, now_ms));
    if let Some(consumer) = group.consumer_mut(index) {
        consumer.seen_ms = now_ms;
    }
    (index, found.is_none())
}

/// The stream at argument 1 and its group at argument 2.
fn group<'c>(
    ctx: &'c mut Ctx<'_>,
    args: Args<'_>,
) -> Result<(&'c Log, &'c mut stream::Group), CommandError> {
    let key = ctx.key(args, 1);
    let found = find(ctx, key, Access::Write)?;
    let missing = || no_group(key.bytes, args.bytes(2), "");
    let stream = found.ok_or_else(missing)?;
    let group = stream.groups.get_mut(args.bytes(2));
    Ok((&stream.log, group.ok_or_else(missing)?))
}

pub const XCLAIM: Spec = Spec {
    name: "xclaim",
    arity: -6,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Makes pending entries those of another consumer.",
    complexity: Some("O(log N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::new("consumer", ArgKind::String),
        Arg::new("min-idle-time", ArgKind::String),
        Arg::new("id", ArgKind::String).multiple(),
        Arg::new("ms", ArgKind::Integer).token("IDLE").optional(),
        Arg::new("unix-time-milliseconds", ArgKind::UnixTime)
            .token("TIME")
            .optional(),
        Arg::new("count", ArgKind::Integer)
            .token("RETRYCOUNT")
            .optional(),
        Arg::word("force", "FORCE").optional(),
        Arg::word("justid", "JUSTID").optional(),
        Arg::new("lastid", ArgKind::String)
            .token("LASTID")
            .optional(),
    ],
    tips: &["nondeterministic_output"],
    handler: xclaim,
    ..Spec::DEFAULT
};

/// Options of XCLAIM, behind the IDs.
#[derive(Default)]
struct Options {
    delivered_ms: Option<i64>,
    deliveries: Option<u64>,
    force: bool,
    just_id: bool,
    last_id: StreamId,
}

impl Options {
    fn parse(args: Args<'_>, start: usize, now_ms: i64) -> Result<Options, CommandError> {
        let number = |index, error: &'static str| {
            parse_i64(args.bytes(index)).ok_or(CommandError::text(error))
        };
        let mut options = Options::default();
        let mut index = start;
        while index < args.len() {
            let has_next = index + 1 < args.len();
            let mut used = 2;
            if args.is(index, "FORCE") {
                options.force = true;
                used = 1;
            } else if args.is(index, "JUSTID") {
                options.just_id = true;
                used = 1;
            } else if args.is(index, "IDLE") && has_next {
                let idle = number(index + 1, "ERR Invalid IDLE option argument for XCLAIM")?;
                options.delivered_ms = Some(now_ms.wrapping_sub(idle));
            } else if args.is(index, "TIME") && has_next {
                let time = number(index + 1, "ERR Invalid TIME option argument for XCLAIM")?;
                options.delivered_ms = Some(time);
            } else if args.is(index, "RETRYCOUNT") && has_next {
                let error = "ERR Invalid RETRYCOUNT option argument for XCLAIM";
                options.deliveries = u64::try_from(number(index + 1, error)?).ok();
            } else if args.is(index, "LASTID") && has_next {
                options.last_id = id_arg(args, index + 1)?;
            } else {
                let option = args.bytes(index);
                let before = "ERR Unrecognized XCLAIM option '";
                return Err(CommandError::quoting(before, option, "'"));
            }
            index += used;
        }
        Ok(options)
    }
}

/// `XCLAIM key group consumer min-idle-time id [id ...] [options]`
fn xclaim(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    group(ctx, args)?;
    let idle_min = parse_i64(args.bytes(4)).ok_or(CommandError::text(
        "ERR Invalid min-idle-time argument for XCLAIM",
    ))?;
    let now_ms = ctx.server.now_ms;
    let ids: Vec<StreamId> = (5..args.len())
        .map_while(|index| parse_strict_id(args.bytes(index), 0))
        .collect();
    let options = Options::parse(args, 5 + ids.len(), now_ms)?;
    let (key, name) = (ctx.key(args, 1), args.bytes(2));
    let propagating = ctx.server.effects.propagating();
    let found = ctx
        .server
        .object::<object::Stream>(ctx.client.dbid, key, Access::ReadWrite)?;
    let stream = found.ok_or(CommandError::NoSuchKey)?.get_mut();
    let (log, groups) = (&stream.log, &mut stream.groups);
    let group = groups.get_mut(name).ok_or(CommandError::NoSuchKey)?;
    let mut must_set_id = options.last_id > group.last_id;
    if must_set_id {
        group.last_id = options.last_id;
    }
    let (owner, is_new) = claimer(group, args.bytes(3), now_ms);
    let delivered_ms = options.delivered_ms.filter(|at| (0..=now_ms).contains(at));
    let mut claim = Claim {
        key: key.bytes,
        name,
        owner,
        delivered_ms: delivered_ms.unwrap_or(now_ms),
        deliveries: options.deliveries,
        just_id: options.just_id,
        now_ms,
        propagating,
        commands: Vec::new(),
    };
    let reply = &mut ctx.client.reply;
    let begin = reply.array_begin();
    let (mut len, mut changes) = (0, 0);
    for id in ids {
        let Some(entry) = log.get(id) else {
            if claim.forget(group, id) {
                must_set_id = false;
                changes += 1;
            }
            continue;
        };
        match group.pending().get(&id) {
            Some(nack) if !claim.is_idle(nack, idle_min) => continue,
            None if !options.force => continue,
            _ => {}
        }
        claim.take(group, id);
        must_set_id = false;
        changes += 1;
        if options.just_id {
            reply_id(reply, id);
        } else {
            reply_entry(reply, entry);
        }
        len += 1;
    }
    reply.array_end(begin, len);
    if must_set_id {
        claim.commands.push(set_id_argv(key.bytes, name, group));
        changes += 1;
    }
    finish(ctx, claim, is_new, changes);
    Ok(())
}

/// Reports what a claim changed.
fn finish(ctx: &mut Ctx<'_>, claim: Claim<'_>, is_new: bool, changes: usize) {
    let Claim { key, commands, .. } = claim;
    if is_new {
        super::announce(ctx, key, Event::stream("xgroup-createconsumer"));
    }
    super::count_changes(ctx, changes);
    super::pending_changed(ctx, key);
    propagate_outcome(ctx, &commands);
}

pub const XAUTOCLAIM: Spec = Spec {
    name: "xautoclaim",
    arity: -6,
    flags: Flags::WRITE.or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "6.2.0",
    summary: "Makes the pending entries that have waited long those of another consumer.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::new("consumer", ArgKind::String),
        Arg::new("min-idle-time", ArgKind::String),
        Arg::new("start", ArgKind::String),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
        Arg::word("justid", "JUSTID").optional(),
    ],
    tips: &["nondeterministic_output"],
    history: &[("7.0.0", &["PEL"])],
    handler: xautoclaim,
    ..Spec::DEFAULT
};

/// `XAUTOCLAIM key group consumer min-idle-time start [COUNT count] [JUSTID]`
fn xautoclaim(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let idle_min = parse_i64(args.bytes(4)).ok_or(CommandError::text(
        "ERR Invalid min-idle-time argument for XAUTOCLAIM",
    ))?;
    let start = start_arg(args, 5)?;
    let (mut count, mut just_id) = (AUTOCLAIM_COUNT, false);
    let mut index = 6;
    while index < args.len() {
        if args.is(index, "COUNT") && index + 1 < args.len() {
            count = int_arg(args, index + 1)
                .ok()
                .filter(|count| (1..=AUTOCLAIM_COUNT_MAX).contains(count))
                .ok_or(CommandError::text("ERR COUNT must be > 0"))?;
            index += 2;
        } else if args.is(index, "JUSTID") {
            just_id = true;
            index += 1;
        } else {
            return Err(CommandError::Syntax);
        }
    }
    group(ctx, args)?;
    let now_ms = ctx.server.now_ms;
    let (key, name) = (ctx.key(args, 1), args.bytes(2));
    let propagating = ctx.server.effects.propagating();
    let found = ctx
        .server
        .object::<object::Stream>(ctx.client.dbid, key, Access::ReadWrite)?;
    let stream = found.ok_or(CommandError::NoSuchKey)?.get_mut();
    let (log, groups) = (&stream.log, &mut stream.groups);
    let group = groups.get_mut(name).ok_or(CommandError::NoSuchKey)?;
    let (owner, is_new) = claimer(group, args.bytes(3), now_ms);
    let mut claim = Claim {
        key: key.bytes,
        name,
        owner,
        delivered_ms: now_ms,
        deliveries: None,
        just_id,
        now_ms,
        propagating,
        commands: Vec::new(),
    };
    // What is looked at, and where the next call goes on.
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut looks = count.saturating_mul(LOOKS_PER_CLAIM);
    let mut left = count;
    let mut next = Some(start);
    let (mut claimed, mut gone) = (Vec::new(), Vec::new());
    let mut cursor = StreamId::MIN;
    while let Some((id, nack)) = next.and_then(|from| group.pending().range(from..).next()) {
        let (id, nack) = (*id, *nack);
        if looks == 0 || left == 0 {
            cursor = id;
            break;
        }
        looks -= 1;
        next = id.next();
        if !log.contains(id) {
            claim.forget(group, id);
            gone.push(id);
            left -= 1;
        } else if claim.is_idle(&nack, idle_min) {
            claim.take(group, id);
            claimed.push(id);
            left -= 1;
        }
    }
    let reply = &mut ctx.client.reply;
    reply.array(3);
    reply_id(reply, cursor);
    reply.array(claimed.len());
    for id in &claimed {
        match log.get(*id) {
            Some(entry) if !just_id => reply_entry(reply, entry),
            _ => reply_id(reply, *id),
        }
    }
    reply.array(gone.len());
    for id in &gone {
        reply_id(reply, *id);
    }
    finish(ctx, claim, is_new, claimed.len() + gone.len());
    Ok(())
}
