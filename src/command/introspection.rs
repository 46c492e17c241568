//! COMMAND: the commands described, all from their specs.
//!
//! Lives here: the shapes of COMMAND INFO and COMMAND DOCS, COMMAND LIST's filters, COMMAND GETKEYS. May not:
//! know anything about a command that its spec does not say.

use crate::command::keys::{self, Keys, key_range};
use crate::command::registry::{Command, Registry};
use crate::command::spec::{
    Arg, ArgKind, BeginSearch, CATEGORY_NAMES, Categories, FLAG_NAMES, FindKeys, Flags, Group,
    KEY_FLAG_NAMES, KeyFlags, KeySpec, Spec,
};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::resp::{Args, Reply};
use crate::types::glob::glob_match;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[COMMAND];

const ANYTIME: Flags = Flags::LOADING.or(Flags::STALE);

pub const COMMAND: Spec = Spec {
    name: "command",
    arity: -1,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "2.8.13",
    summary: "Describes all commands.",
    complexity: Some("O(N)"),
    tips: &["nondeterministic_output_order"],
    handler: command,
    help: &[
        "(no subcommand)",
        "COUNT",
        "LIST",
        "INFO [<command-name> ...]",
        "DOCS [<command-name> ...]",
        "GETKEYS <full-command>",
        "GETKEYSANDFLAGS <full-command>",
    ],
    subcommands: &[
        COMMAND_COUNT,
        COMMAND_DOCS,
        COMMAND_GETKEYS,
        COMMAND_GETKEYSANDFLAGS,
        COMMAND_HELP,
        COMMAND_INFO,
        COMMAND_LIST,
    ],
    ..Spec::DEFAULT
};

pub const COMMAND_COUNT: Spec = Spec {
    name: "count",
    arity: 2,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "2.8.13",
    summary: "Counts the commands.",
    complexity: Some("O(1)"),
    handler: count,
    ..Spec::DEFAULT
};

pub const COMMAND_DOCS: Spec = Spec {
    name: "docs",
    arity: -2,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "7.0.0",
    summary: "Documents commands.",
    complexity: Some("O(N)"),
    args: &[Arg::new("command-name", ArgKind::String)
        .optional()
        .multiple()],
    tips: &["nondeterministic_output_order"],
    handler: docs,
    ..Spec::DEFAULT
};

pub const COMMAND_GETKEYS: Spec = Spec {
    name: "getkeys",
    arity: -3,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "2.8.13",
    summary: "Finds the keys in a whole command.",
    complexity: Some("O(N)"),
    args: &[
        Arg::new("command", ArgKind::String),
        Arg::new("arg", ArgKind::String).optional().multiple(),
    ],
    handler: getkeys,
    ..Spec::DEFAULT
};

pub const COMMAND_GETKEYSANDFLAGS: Spec = Spec {
    name: "getkeysandflags",
    arity: -3,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "7.0.0",
    summary: "Finds the keys in a whole command, and what it does with each.",
    complexity: Some("O(N)"),
    args: &[
        Arg::new("command", ArgKind::String),
        Arg::new("arg", ArgKind::String).optional().multiple(),
    ],
    handler: getkeysandflags,
    ..Spec::DEFAULT
};

pub const COMMAND_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "5.0.0",
    summary: "Lists the subcommands.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const COMMAND_INFO: Spec = Spec {
    name: "info",
    arity: -2,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "2.8.13",
    summary: "Describes commands.",
    complexity: Some("O(N)"),
    args: &[Arg::new("command-name", ArgKind::String)
        .optional()
        .multiple()],
    tips: &["nondeterministic_output_order"],
    history: &[("7.0.0", &[])],
    handler: info,
    ..Spec::DEFAULT
};

pub const COMMAND_LIST: Spec = Spec {
    name: "list",
    arity: -2,
    flags: ANYTIME,
    acl: Categories::CONNECTION,
    group: Group::Server,
    since: "7.0.0",
    summary: "Lists the names of commands.",
    complexity: Some("O(N)"),
    args: &[Arg::one_of(
        "filterby",
        &[
            Arg::new("module-name", ArgKind::String).token("MODULE"),
            Arg::new("category", ArgKind::String).token("ACLCAT"),
            Arg::new("pattern", ArgKind::Pattern).token("PATTERN"),
        ],
    )
    .token("FILTERBY")
    .optional()],
    tips: &["nondeterministic_output_order"],
    handler: list,
    ..Spec::DEFAULT
};

/// `COMMAND`: describes all commands.
fn command(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let registry = ctx.registry;
    ctx.client.reply.array(registry.top_level().count());
    for command in registry.top_level() {
        reply_info(&mut ctx.client.reply, registry, command);
    }
    Ok(())
}

/// `COMMAND COUNT`
fn count(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.len(ctx.registry.top_level().count());
    Ok(())
}

/// `COMMAND INFO [command-name ...]`
fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 2 {
        return command(ctx, args);
    }
    ctx.client.reply.array(args.len() - 2);
    for name in args.iter_from(2) {
        match by_full_name(ctx.registry, name) {
            Some(command) => reply_info(&mut ctx.client.reply, ctx.registry, command),
            None => ctx.client.reply.null(),
        }
    }
    Ok(())
}

/// `COMMAND DOCS [command-name ...]`: names of no command are passed over.
fn docs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let commands: Vec<&Command> = if args.len() == 2 {
        ctx.registry.top_level().collect()
    } else {
        let names = args.iter_from(2);
        names
            .filter_map(|name| by_full_name(ctx.registry, name))
            .collect()
    };
    ctx.client.reply.map(commands.len());
    for command in commands {
        ctx.client.reply.text(&command.full_name);
        reply_docs(&mut ctx.client.reply, ctx.registry, command);
    }
    Ok(())
}

/// `COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]`
fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let value = args.bytes(4);
    let mut names: Vec<&str> = match args.len() {
        2 => ctx
            .registry
            .all()
            .map(|command| command.full_name.as_str())
            .collect(),
        5 if args.is(2, "FILTERBY") => {
            let filter: &dyn Fn(&&Command) -> bool = match () {
                // None of the commands comes from a module.
                _ if args.is(3, "MODULE") => &|_| false,
                _ if args.is(3, "ACLCAT") => &|command| in_category(command, value),
                _ if args.is(3, "PATTERN") => {
                    &|command| glob_match(value, command.full_name.as_bytes(), true)
                }
                _ => return Err(CommandError::Syntax),
            };
            let commands = ctx.registry.all().filter(filter);
            commands.map(|command| command.full_name.as_str()).collect()
        }
        _ => return Err(CommandError::Syntax),
    };
    names.sort_unstable();
    ctx.client.reply.array(names.len());
    for name in names {
        ctx.client.reply.text(name);
    }
    Ok(())
}

fn in_category(command: &Command, name: &[u8]) -> bool {
    let names = CATEGORY_NAMES.iter();
    let mut found = names
        .zip(0..)
        .filter(|(known, _)| known.as_bytes().eq_ignore_ascii_case(name));
    found.any(|(_, bit)| command.spec.categories().has(Categories(1 << bit)))
}

/// `COMMAND GETKEYS command [arg ...]`
fn getkeys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let keys = keys_in(ctx, args.without(2))?;
    ctx.client.reply.array(keys.len());
    for (at, _) in keys {
        ctx.client.reply.bulk(args.bytes(at + 2));
    }
    Ok(())
}

/// `COMMAND GETKEYSANDFLAGS command [arg ...]`
fn getkeysandflags(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let keys = keys_in(ctx, args.without(2))?;
    ctx.client.reply.array(keys.len());
    for (at, flags) in keys {
        ctx.client.reply.array(2);
        ctx.client.reply.bulk(args.bytes(at + 2));
        reply_key_flags(&mut ctx.client.reply, flags);
    }
    Ok(())
}

/// The keys in a request that is quoted in another.
fn keys_in(ctx: &Ctx<'_>, request: Args<'_>) -> Result<Keys, CommandError> {
    let command = ctx
        .registry
        .find(request)
        .map_err(|_| CommandError::text("ERR Invalid command specified"))?;
    if !keys::has_keys(command.spec) {
        return Err(CommandError::text("ERR The command has no key arguments"));
    }
    if !command.spec.accepts(request.len()) {
        return Err(CommandError::text(
            "ERR Invalid number of arguments specified for command",
        ));
    }
    let keys = keys::keys_of(command, request).unwrap_or_default();
    if keys.is_empty() && !command.spec.flags.has(Flags::NO_MANDATORY_KEYS) {
        return Err(CommandError::text(
            "ERR Invalid arguments specified for command",
        ));
    }
    Ok(keys)
}

/// A command by the name that COMMAND gives it: `get`, `config|get`.
fn by_full_name<'a>(registry: &'a Registry, name: &[u8]) -> Option<&'a Command> {
    let Some(at) = memchr::memchr(b'|', name) else {
        return registry.by_name(name);
    };
    let container = registry.by_name(&name[..at])?;
    registry.subcommand(container, &name[at + 1..])
}

fn reply_info(reply: &mut Reply, registry: &Registry, command: &Command) {
    let spec = command.spec;
    let range = key_range(spec);
    reply.array(10);
    reply.text(&command.full_name);
    reply.int(spec.arity.into());
    reply_flags(reply, spec.flags);
    for part in [range.first, range.last, range.step] {
        reply.int(part.into());
    }
    let categories = named_bits(spec.categories().0, &CATEGORY_NAMES);
    reply.set(categories.len());
    for name in categories {
        reply.simple(&format!("@{name}"));
    }
    reply.set(spec.tips.len());
    for tip in spec.tips {
        reply.text(tip);
    }
    reply.set(spec.key_specs.len());
    for (index, key_spec) in spec.key_specs.iter().enumerate() {
        let note = spec.key_notes.iter().find(|(of, _)| *of == index);
        reply_key_spec(reply, key_spec, note.map(|(_, note)| *note));
    }
    match command.subcommands.len() {
        // The real server's choice of shapes.
        0 => reply.set(0),
        len => reply.array(len),
    }
    for id in &command.subcommands {
        reply_info(reply, registry, registry.get(*id));
    }
}

fn reply_flags(reply: &mut Reply, flags: Flags) {
    // The last of the flags is our own affair.
    let shown = named_bits(flags.without(Flags::HIDDEN).0, &FLAG_NAMES);
    reply_status_set(reply, &shown);
}

fn reply_key_flags(reply: &mut Reply, flags: KeyFlags) {
    reply_status_set(reply, &named_bits(flags.0.into(), &KEY_FLAG_NAMES));
}

fn reply_status_set(reply: &mut Reply, names: &[&str]) {
    reply.set(names.len());
    for name in names {
        reply.simple(name);
    }
}

/// The names of the bits that are set.
fn named_bits(bits: u32, names: &[&'static str]) -> Vec<&'static str> {
    let names = names.iter().zip(0..);
    let set = names.filter(|(_, bit)| bits >> bit & 1 == 1);
    set.map(|(name, _)| *name).collect()
}

fn reply_key_spec(reply: &mut Reply, spec: &KeySpec, note: Option<&str>) {
    reply.map(3 + usize::from(note.is_some()));
    if let Some(note) = note {
        reply.text("notes");
        reply.bulk(note.as_bytes());
    }
    reply.text("flags");
    reply_key_flags(reply, spec.flags);
    reply.text("begin_search");
    match spec.begin {
        BeginSearch::Index(at) => reply_typed(reply, "index", &[("index", at)], None),
        BeginSearch::Keyword {
            keyword,
            start_from,
        } => reply_typed(
            reply,
            "keyword",
            &[("startfrom", start_from)],
            Some(keyword),
        ),
        BeginSearch::Unknown => reply_typed(reply, "unknown", &[], None),
    }
    reply.text("find_keys");
    match spec.find {
        FindKeys::Range {
            last_key,
            step,
            limit,
        } => {
            let figures = [("lastkey", last_key), ("keystep", step), ("limit", limit)];
            reply_typed(reply, "range", &figures, None);
        }
        FindKeys::Keynum {
            keynum_index,
            first_key,
            step,
        } => {
            let figures = [
                ("keynumidx", keynum_index),
                ("firstkey", first_key),
                ("keystep", step),
            ];
            reply_typed(reply, "keynum", &figures, None);
        }
        FindKeys::Unknown => reply_typed(reply, "unknown", &[], None),
    }
}

/// One half of a key spec: its type, and the figures of that type.
fn reply_typed(reply: &mut Reply, kind: &str, figures: &[(&str, i32)], keyword: Option<&str>) {
    reply.map(2);
    reply.text("type");
    reply.text(kind);
    reply.text("spec");
    reply.map(figures.len() + usize::from(keyword.is_some()));
    if let Some(keyword) = keyword {
        reply.text("keyword");
        reply.text(keyword);
    }
    for (name, value) in figures {
        reply.text(name);
        reply.int((*value).into());
    }
}

fn reply_docs(reply: &mut Reply, registry: &Registry, command: &Command) {
    let spec = command.spec;
    let at = reply.array_begin();
    let mut fields = 3;
    for (name, value) in [
        ("summary", spec.summary),
        ("since", spec.since),
        ("group", spec.group.name()),
    ] {
        reply.text(name);
        reply.text(value);
    }
    let of_subcommands = (!command.subcommands.is_empty()).then_some("That of the subcommand.");
    if let Some(complexity) = spec.complexity.or(of_subcommands) {
        fields += 1;
        reply.text("complexity");
        reply.text(complexity);
    }
    let doc_flags = [
        (spec.deprecated_since.is_some(), "deprecated"),
        (spec.syscmd, "syscmd"),
    ];
    let doc_flags: Vec<&str> = doc_flags
        .iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1)
        .collect();
    if !doc_flags.is_empty() {
        fields += 1;
        reply.text("doc_flags");
        reply_status_set(reply, &doc_flags);
    }
    let optional = [
        ("deprecated_since", spec.deprecated_since),
        ("replaced_by", spec.replaced_by),
    ];
    for (name, value) in optional {
        let Some(value) = value else {
            continue;
        };
        fields += 1;
        reply.text(name);
        reply.text(value);
    }
    if !spec.history.is_empty() {
        fields += 1;
        reply.text("history");
        reply.set(spec.history.len());
        for (version, options) in spec.history {
            reply.array(2);
            reply.text(version);
            reply.text(&change(options));
        }
    }
    if !spec.args.is_empty() {
        fields += 1;
        reply.text("arguments");
        reply_arguments(reply, spec.args);
    }
    if !command.subcommands.is_empty() {
        fields += 1;
        reply.text("subcommands");
        reply.map(command.subcommands.len());
        for id in &command.subcommands {
            let sub = registry.get(*id);
            reply.text(&sub.full_name);
            reply_docs(reply, registry, sub);
        }
    }
    reply.map_end(at, fields);
}

/// What a version changed, in words.
fn change(options: &[&str]) -> String {
    if options.is_empty() {
        return "Changed what the command does or accepts.".into();
    }
    format!("Added {}.", options.join(", "))
}

fn reply_arguments(reply: &mut Reply, args: &[Arg]) {
    reply.array(args.len());
    for arg in args {
        reply_argument(reply, arg);
    }
}

fn reply_argument(reply: &mut Reply, arg: &Arg) {
    let is_group = matches!(arg.kind, ArgKind::OneOf | ArgKind::Block);
    let at = reply.array_begin();
    let mut fields = 2;
    reply.text("name");
    reply.text(arg.name);
    reply.text("type");
    reply.text(arg.kind.name());
    if !is_group {
        fields += 1;
        reply.text("display_text");
        reply.text(arg.display.unwrap_or(arg.name));
    }
    if let Some(key_spec) = arg.key_spec {
        fields += 1;
        reply.text("key_spec_index");
        reply.int(key_spec.into());
    }
    let optional = [
        ("token", arg.token),
        ("since", arg.since),
        ("deprecated_since", arg.deprecated_since),
    ];
    for (name, value) in optional {
        let Some(value) = value else {
            continue;
        };
        fields += 1;
        reply.text(name);
        reply.text(value);
    }
    let flags = [
        (arg.optional, "optional"),
        (arg.multiple, "multiple"),
        (arg.multiple_token, "multiple_token"),
    ];
    let flags: Vec<&str> = flags
        .iter()
        .filter(|flag| flag.0)
        .map(|flag| flag.1)
        .collect();
    if !flags.is_empty() {
        fields += 1;
        reply.text("flags");
        reply_status_set(reply, &flags);
    }
    if is_group {
        fields += 1;
        reply.text("arguments");
        reply_arguments(reply, arg.args);
    }
    reply.map_end(at, fields);
}
