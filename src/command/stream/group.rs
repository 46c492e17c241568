//! XGROUP: the groups of a stream and their consumers.

use super::{announce, find, id_arg, invalid_id, no_such_group, parse_id};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::keyspace::object;
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::Access;
use crate::types::stream::{self, Log, Stream};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XGROUP];

pub const XGROUP: Spec = Spec {
    name: "xgroup",
    arity: -2,
    group: Group::Stream,
    since: "5.0.0",
    summary: "A container for commands that manage consumer groups.",
    help: &[
        "CREATE <key> <groupname> <id|$> [option]",
        "CREATECONSUMER <key> <groupname> <consumer>",
        "DELCONSUMER <key> <groupname> <consumer>",
        "DESTROY <key> <groupname>",
        "SETID <key> <groupname> <id|$> [ENTRIESREAD entries_read]",
    ],
    subcommands: &[
        XGROUP_CREATE,
        XGROUP_CREATECONSUMER,
        XGROUP_DELCONSUMER,
        XGROUP_DESTROY,
        XGROUP_HELP,
        XGROUP_SETID,
    ],
    ..Spec::DEFAULT
};

/// Options behind the ID of CREATE and SETID.
#[derive(Clone, Copy, Default)]
struct Options {
    creates_stream: bool,
    entries_read: Option<u64>,
}

impl Options {
    fn parse(args: Args<'_>, takes_mkstream: bool) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 5;
        while index < args.len() {
            if takes_mkstream && args.is(index, "MKSTREAM") {
                options.creates_stream = true;
                index += 1;
            } else if args.is(index, "ENTRIESREAD") && index + 1 < args.len() {
                let value = int_arg(args, index + 1)?;
                if value < -1 {
                    return Err(CommandError::text(
                        "ERR value for ENTRIESREAD must be positive or -1",
                    ));
                }
                options.entries_read = u64::try_from(value).ok();
                index += 2;
            } else {
                return Err(CommandError::subcommand_syntax(args.bytes(1), "XGROUP"));
            }
        }
        Ok(options)
    }
}

/// The stream at argument 2, which has to be there.
fn stream<'c>(ctx: &'c mut Ctx<'_>, args: Args<'_>) -> Result<&'c mut Stream, CommandError> {
    let key = ctx.key(args, 2);
    find(ctx, key, Access::Write)?.ok_or(CommandError::text(
        "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the \
         MKSTREAM option to create an empty stream automatically.",
    ))
}

/// The group at arguments 2 and 3, which has to be there, and its stream's entries.
fn group<'c>(
    ctx: &'c mut Ctx<'_>,
    args: Args<'_>,
) -> Result<(&'c mut stream::Group, &'c Log), CommandError> {
    let (key, name) = (args.bytes(2), args.bytes(3));
    let stream = stream(ctx, args)?;
    let group = stream.groups.get_mut(name);
    let group = group.ok_or_else(|| no_such_group(key, name))?;
    Ok((group, &stream.log))
}

pub const XGROUP_CREATE: Spec = Spec {
    name: "create",
    arity: -5,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Makes a consumer group for a stream.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::one_of(
            "id-selector",
            &[Arg::new("id", ArgKind::String), Arg::word("new-id", "$")],
        ),
        Arg::word("mkstream", "MKSTREAM").optional(),
        Arg::new("entriesread", ArgKind::Integer)
            .token("ENTRIESREAD")
            .display("entries-read")
            .optional(),
    ],
    history: &[("7.0.0", &["entries_read"])],
    handler: xgroup_create,
    ..Spec::DEFAULT
};

/// `XGROUP CREATE key group <id | $> [MKSTREAM] [ENTRIESREAD entries-read]`
fn xgroup_create(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, true)?;
    let (key, name) = (ctx.key(args, 2), args.bytes(3));
    let found = find(ctx, key, Access::Write)?;
    let last = found.map(|stream| stream.log.last_id);
    if last.is_none() && !options.creates_stream {
        stream(ctx, args)?;
    }
    let id = match args.bytes(4) {
        b"$" => last.unwrap_or_default(),
        _ => id_arg(args, 4)?,
    };
    let stream = ctx
        .object_or_insert::<object::Stream>(key, object::Stream::default)?
        .get_mut();
    if stream.groups.contains_key(name) {
        return Err(CommandError::text(
            "BUSYGROUP Consumer Group name already exists",
        ));
    }
    let group = stream::Group::new(id, options.entries_read);
    stream.groups.insert(name.into(), group);
    let event = Event::stream("xgroup-create");
    match last {
        Some(_) => announce(ctx, key.bytes, event),
        None => ctx.touch(key.bytes, event),
    }
    ctx.client.reply.ok();
    Ok(())
}

pub const XGROUP_SETID: Spec = Spec {
    name: "setid",
    arity: -5,
    flags: Flags::WRITE,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Sets the last entry that a group has been given.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RW.or(KeyFlags::UPDATE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::one_of(
            "id-selector",
            &[Arg::new("id", ArgKind::String), Arg::word("new-id", "$")],
        ),
        Arg::new("entriesread", ArgKind::Integer)
            .token("ENTRIESREAD")
            .display("entries-read")
            .optional(),
    ],
    history: &[("7.0.0", &["entries_read"])],
    handler: xgroup_setid,
    ..Spec::DEFAULT
};

/// `XGROUP SETID key group <id | $> [ENTRIESREAD entries-read]`
fn xgroup_setid(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args, false)?;
    let (group, log) = group(ctx, args)?;
    group.last_id = match args.bytes(4) {
        b"$" => log.last_id,
        // Other than CREATE this takes `-` and `+` too.
        text => parse_id(text, 0).ok_or_else(invalid_id)?,
    };
    group.entries_read = options.entries_read;
    announce(ctx, args.bytes(2), Event::stream("xgroup-setid"));
    ctx.client.reply.ok();
    Ok(())
}

pub const XGROUP_DESTROY: Spec = Spec {
    name: "destroy",
    arity: 4,
    flags: Flags::WRITE,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Removes a consumer group.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[Arg::key("key", 0), Arg::new("group", ArgKind::String)],
    handler: xgroup_destroy,
    ..Spec::DEFAULT
};

/// `XGROUP DESTROY key group`
fn xgroup_destroy(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let removed = stream(ctx, args)?.groups.remove(args.bytes(3)).is_some();
    if removed {
        announce(ctx, args.bytes(2), Event::stream("xgroup-destroy"));
        // Those who read in the group's name wait in vain.
        ctx.server.waiters.signal(ctx.client.dbid, args.bytes(2));
    }
    ctx.client.reply.int(removed.into());
    Ok(())
}

pub const XGROUP_CREATECONSUMER: Spec = Spec {
    name: "createconsumer",
    arity: 5,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "6.2.0",
    summary: "Creates a consumer in a group.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RW.or(KeyFlags::INSERT))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::new("consumer", ArgKind::String),
    ],
    handler: xgroup_createconsumer,
    ..Spec::DEFAULT
};

/// `XGROUP CREATECONSUMER key group consumer`
fn xgroup_createconsumer(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let now_ms = ctx.server.now_ms;
    let (group, _) = group(ctx, args)?;
    let is_new = group.find(args.bytes(4)).is_none();
    if is_new {
        group.add_consumer(args.bytes(4), now_ms);
        announce(ctx, args.bytes(2), Event::stream("xgroup-createconsumer"));
    }
    ctx.client.reply.int(is_new.into());
    Ok(())
}

pub const XGROUP_DELCONSUMER: Spec = Spec {
    name: "delconsumer",
    arity: 5,
    flags: Flags::WRITE,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Removes a consumer from its group.",
    complexity: Some("O(1)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::new("group", ArgKind::String),
        Arg::new("consumer", ArgKind::String),
    ],
    handler: xgroup_delconsumer,
    ..Spec::DEFAULT
};

/// `XGROUP DELCONSUMER key group consumer`
fn xgroup_delconsumer(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (group, _) = group(ctx, args)?;
    let pending = group.remove_consumer(args.bytes(4));
    if pending.is_some() {
        announce(ctx, args.bytes(2), Event::stream("xgroup-delconsumer"));
    }
    ctx.client.reply.len(pending.unwrap_or(0));
    Ok(())
}

pub const XGROUP_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Describes the subcommands of XGROUP.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};
