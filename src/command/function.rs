//! Functions: FCALL, and the libraries that it calls (FUNCTION).

use crate::command::scripting::{self, FLUSH_TYPE, NUMKEYS, RUN, RUN_RO, SCRIPT_ARGS, SCRIPT_KEYS};
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::persist::payload;
use crate::persist::reader::Reader;
use crate::persist::writer::Writer;
use crate::resp::Args;
use crate::script::library::Policy;
use crate::script::shared::LibraryFunction;
use crate::script::shared::Purpose;
use crate::types::decimal::parse_i64;
use crate::types::glob::glob_match;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[FCALL, FCALL_RO, FUNCTION];

/// Marks a library in RDB files and payloads.
const LIBRARY_MARK: u8 = 245;

pub const FCALL: Spec = Spec {
    name: "fcall",
    summary: "Calls a function of a library.",
    complexity: Some("Depends on the function that is executed."),
    args: &[
        Arg::new("function", ArgKind::String),
        NUMKEYS,
        SCRIPT_KEYS,
        SCRIPT_ARGS,
    ],
    handler: fcall,
    ..RUN
};

/// `FCALL function numkeys [key ...] [arg ...]`
fn fcall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    call(ctx, args, false)
}

pub const FCALL_RO: Spec = Spec {
    name: "fcall_ro",
    summary: "Calls a function of a library that writes nothing.",
    complexity: FCALL.complexity,
    args: FCALL.args,
    handler: fcall_ro,
    ..RUN_RO
};

/// `FCALL_RO function numkeys [key ...] [arg ...]`
fn fcall_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    call(ctx, args, true)
}

fn call(ctx: &mut Ctx<'_>, args: Args<'_>, is_ro: bool) -> Result<(), CommandError> {
    let found = ctx.server.scripting.libraries.function(args.bytes(1));
    let Some(found) = found else {
        return Err(CommandError::text("ERR Function not found"));
    };
    let name = String::from_utf8_lossy(&found.name).into();
    let (Some(function), flags) = (found.slot, found.flags) else {
        return Err(CommandError::text("ERR Function not found"));
    };
    let numkeys = match parse_i64(args.bytes(2)) {
        Some(_) => scripting::numkeys(args)?,
        None => return Err(CommandError::text("ERR Bad number of keys provided")),
    };
    let purpose = Purpose::Functions;
    scripting::prepare(ctx, args, numkeys, purpose, name, function, flags, is_ro)
}

pub const FUNCTION: Spec = Spec {
    name: "function",
    arity: -2,
    group: Group::Scripting,
    since: "7.0.0",
    summary: "Groups the commands about function libraries.",
    complexity: Some("Depends on subcommand."),
    help: &[
        "LOAD [REPLACE] <FUNCTION CODE>",
        "DELETE <LIBRARY NAME>",
        "LIST [LIBRARYNAME PATTERN] [WITHCODE]",
        "STATS",
        "KILL",
        "FLUSH [ASYNC|SYNC]",
        "DUMP",
        "RESTORE <PAYLOAD> [FLUSH|APPEND|REPLACE]",
    ],
    subcommands: &[
        FUNCTION_DELETE,
        FUNCTION_DUMP,
        FUNCTION_FLUSH,
        FUNCTION_HELP,
        FUNCTION_KILL,
        FUNCTION_LIST,
        FUNCTION_LOAD,
        FUNCTION_RESTORE,
        FUNCTION_STATS,
    ],
    ..Spec::DEFAULT
};

const SUBCOMMAND: Spec = Spec {
    flags: Flags::NOSCRIPT,
    acl: Categories::SCRIPTING,
    group: Group::Scripting,
    since: "7.0.0",
    ..Spec::DEFAULT
};

/// What a change of all libraries says to proxies.
const ALL_SHARDS: &[&str] = &["request_policy:all_shards", "response_policy:all_succeeded"];

pub const FUNCTION_DELETE: Spec = Spec {
    name: "delete",
    arity: 3,
    flags: Flags::NOSCRIPT.or(Flags::WRITE),
    summary: "Takes a library away, with all of its functions.",
    complexity: Some("O(1)"),
    tips: ALL_SHARDS,
    args: &[Arg::new("library-name", ArgKind::String)],
    handler: delete,
    ..SUBCOMMAND
};

/// `FUNCTION DELETE library-name`
fn delete(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if !ctx.server.scripting.libraries.delete(args.bytes(2)) {
        return Err(CommandError::text("ERR Library not found"));
    }
    ctx.server.effects.dirty += 1;
    ctx.client.reply.ok();
    Ok(())
}

pub const FUNCTION_DUMP: Spec = Spec {
    name: "dump",
    arity: 2,
    summary: "Returns all libraries as bytes that FUNCTION RESTORE takes.",
    complexity: Some("O(N) where N is the number of functions"),
    handler: dump,
    ..SUBCOMMAND
};

/// `FUNCTION DUMP`
fn dump(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let mut bytes = Vec::new();
    let mut writer = Writer::new(&mut bytes, ctx.server.config.rdbcompression);
    for (_, library) in ctx.server.scripting.libraries.iter() {
        writer.byte(LIBRARY_MARK);
        writer.string(&library.code);
    }
    payload::seal(&mut bytes);
    ctx.client.reply.bulk(&bytes);
    Ok(())
}

pub const FUNCTION_FLUSH: Spec = Spec {
    name: "flush",
    arity: -2,
    flags: Flags::NOSCRIPT.or(Flags::WRITE),
    summary: "Deletes all libraries.",
    complexity: Some("O(N) where N is the number of functions deleted"),
    tips: ALL_SHARDS,
    args: &[FLUSH_TYPE],
    handler: flush,
    ..SUBCOMMAND
};

/// `FUNCTION FLUSH [ASYNC | SYNC]`: libraries are small enough to be freed at once either way.
fn flush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 3 {
        return Err(CommandError::subcommand_syntax(args.bytes(1), "FUNCTION"));
    }
    if args.len() == 3 && !args.is(2, "sync") && !args.is(2, "async") {
        return Err(CommandError::text(
            "ERR FUNCTION FLUSH only supports SYNC|ASYNC option",
        ));
    }
    if args.is(2, "async") {
        let functions = ctx.server.scripting.libraries.function_count();
        ctx.server.stats.lazyfreed_objects += functions as u64 + 1; // the Lua state is one too
    }
    ctx.server.scripting.libraries.flush();
    ctx.server.effects.dirty += 1;
    ctx.client.reply.ok();
    Ok(())
}

pub const FUNCTION_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "Shows the forms of this command.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..SUBCOMMAND
};

pub const FUNCTION_KILL: Spec = Spec {
    name: "kill",
    arity: 2,
    flags: Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
    summary: "Ends the function that runs, unless it has written.",
    complexity: Some("O(1)"),
    tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
    handler: kill,
    ..SUBCOMMAND
};

/// `FUNCTION KILL`
fn kill(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    scripting::kill(ctx, Purpose::Functions)
}

pub const FUNCTION_LIST: Spec = Spec {
    name: "list",
    arity: -2,
    summary: "Tells of the libraries and their functions.",
    complexity: Some("O(N) where N is the number of functions"),
    tips: &["nondeterministic_output_order"],
    args: &[
        Arg::new("library-name-pattern", ArgKind::String)
            .token("LIBRARYNAME")
            .optional(),
        Arg::word("withcode", "WITHCODE").optional(),
    ],
    handler: list,
    ..SUBCOMMAND
};

/// `FUNCTION LIST [LIBRARYNAME library-name-pattern] [WITHCODE]`
fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut pattern, mut has_code) = (None, false);
    let mut index = 2;
    while index < args.len() {
        if !has_code && args.is(index, "withcode") {
            has_code = true;
        } else if pattern.is_none() && args.is(index, "libraryname") {
            index += 1;
            pattern = args.get(index);
            if pattern.is_none() {
                return Err(CommandError::text(
                    "ERR library name argument was not given",
                ));
            }
        } else {
            return Err(CommandError::quoting(
                "ERR Unknown argument ",
                args.bytes(index),
                "",
            ));
        }
        index += 1;
    }
    let reply = &mut ctx.client.reply;
    let begin = reply.array_begin();
    let mut len = 0;
    for (name, library) in ctx.server.scripting.libraries.iter() {
        if pattern.is_some_and(|pattern| !glob_match(pattern, name, true)) {
            continue;
        }
        len += 1;
        reply.map(if has_code { 4 } else { 3 });
        reply.text("library_name");
        reply.bulk(name);
        reply.text("engine");
        reply.text("LUA");
        reply.text("functions");
        reply.array(library.functions.len());
        for function in library.functions.values() {
            list_function(reply, function);
        }
        if has_code {
            reply.text("library_code");
            reply.bulk(&library.code);
        }
    }
    reply.array_end(begin, len);
    Ok(())
}

fn list_function(reply: &mut crate::resp::Reply, function: &LibraryFunction) {
    reply.map(3);
    reply.text("name");
    reply.bulk(&function.name);
    reply.text("description");
    match &function.description {
        Some(text) => reply.bulk(text),
        None => reply.null(),
    }
    reply.text("flags");
    reply.set(function.flags.names().count());
    for name in function.flags.names() {
        reply.simple(name);
    }
}

pub const FUNCTION_LOAD: Spec = Spec {
    name: "load",
    arity: -3,
    flags: Flags::NOSCRIPT.or(Flags::WRITE).or(Flags::DENYOOM),
    summary: "Loads a library.",
    complexity: Some("O(1) (considering compilation time is redundant)"),
    tips: ALL_SHARDS,
    args: &[
        Arg::word("replace", "REPLACE").optional(),
        Arg::new("function-code", ArgKind::String),
    ],
    handler: load,
    ..SUBCOMMAND
};

/// `FUNCTION LOAD [REPLACE] function-code`
fn load(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let code_at = args.len() - 1;
    let mut replaces = false;
    for index in 2..code_at {
        if !args.is(index, "replace") {
            let option = args.bytes(index);
            return Err(CommandError::quoting(
                "ERR Unknown option given: ",
                option,
                "",
            ));
        }
        replaces = true;
    }
    ctx.server.ensure_machine(Purpose::Functions)?;
    let libraries = &mut ctx.server.scripting.libraries;
    let name = libraries.load(args.bytes(code_at), replaces);
    let name = name.map_err(CommandError::Bytes)?;
    ctx.server.effects.dirty += 1;
    ctx.client.reply.bulk(&name);
    Ok(())
}

pub const FUNCTION_RESTORE: Spec = Spec {
    name: "restore",
    arity: -3,
    flags: Flags::NOSCRIPT.or(Flags::WRITE).or(Flags::DENYOOM),
    summary: "Loads the libraries that FUNCTION DUMP returned.",
    complexity: Some("O(N) where N is the number of functions on the payload"),
    tips: ALL_SHARDS,
    args: &[
        Arg::new("serialized-value", ArgKind::String),
        Arg::one_of(
            "policy",
            &[
                Arg::word("flush", "FLUSH"),
                Arg::word("append", "APPEND"),
                Arg::word("replace", "REPLACE"),
            ],
        )
        .optional(),
    ],
    handler: restore,
    ..SUBCOMMAND
};

/// `FUNCTION RESTORE serialized-value [FLUSH | APPEND | REPLACE]`
fn restore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() > 4 {
        return Err(CommandError::subcommand_syntax(args.bytes(1), "FUNCTION"));
    }
    let policy = match args.len() {
        3 => Policy::Append,
        _ if args.is(3, "append") => Policy::Append,
        _ if args.is(3, "replace") => Policy::Replace,
        _ if args.is(3, "flush") => Policy::Flush,
        _ => {
            return Err(CommandError::text(
                "ERR Wrong restore policy given, value should be either FLUSH, APPEND or REPLACE.",
            ));
        }
    };
    let opened = payload::open(args.bytes(2), true);
    let bytes = opened.map_err(|error| CommandError::text(format!("ERR {error}")))?;
    let mut reader = Reader::new(bytes);
    let mut codes = Vec::new();
    while reader.remaining() > 0 {
        if !matches!(reader.byte(), Ok(LIBRARY_MARK)) {
            return Err(CommandError::text("ERR given type is not a function"));
        }
        let code = reader
            .string()
            .map_err(|_| CommandError::text("ERR Failed loading library data"))?;
        codes.push(code.into_owned());
    }
    ctx.server.ensure_machine(Purpose::Functions)?;
    let restored = ctx.server.scripting.libraries.restore(&codes, policy);
    restored.map_err(CommandError::Bytes)?;
    ctx.server.effects.dirty += 1;
    ctx.client.reply.ok();
    Ok(())
}

pub const FUNCTION_STATS: Spec = Spec {
    name: "stats",
    arity: 2,
    flags: Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
    summary: "Tells of the function that runs, and how many there are.",
    complexity: Some("O(1)"),
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    handler: stats,
    ..SUBCOMMAND
};

/// `FUNCTION STATS`
fn stats(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let scripting = &ctx.server.scripting;
    let reply = &mut ctx.client.reply;
    if let Some(running) = &scripting.running
        && running.purpose == Purpose::Eval
    {
        return Err(scripting::busy_error(Purpose::Eval));
    }
    reply.map(2);
    reply.text("running_script");
    match &scripting.running {
        None => reply.null(),
        Some(running) => {
            reply.map(3);
            reply.text("name");
            reply.text(&running.name);
            reply.text("command");
            let args = running.argv.args();
            reply.array(args.len());
            for arg in args.iter_from(0) {
                reply.bulk(arg);
            }
            reply.text("duration_ms");
            reply.int(running.elapsed_ms as i64);
        }
    }
    reply.text("engines");
    reply.map(1);
    reply.text("LUA");
    reply.map(2);
    reply.text("libraries_count");
    reply.len(scripting.libraries.len());
    reply.text("functions_count");
    reply.len(scripting.libraries.function_count());
    Ok(())
}
