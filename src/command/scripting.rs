//! Scripts: EVAL and its forms, and the cache of scripts (SCRIPT).
//!
//! A handler here finds or compiles the script and checks whether it may run at all; the engine runs it behind the
//! handler (`engine::script`), as a script may stand still.

use std::rc::Rc;

use crate::border::LogLevel;
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::resp::Args;
use crate::script::flags::{ScriptFlags, of_script};
use crate::script::shared::Purpose;
use crate::script::stack::Anchor;
use crate::script::{Sha, hex};
use crate::state::Server;
use crate::state::scripting::{Prepared, Scripting};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[EVAL, EVAL_RO, EVALSHA, EVALSHA_RO, SCRIPT];

/// The flags that commands have which run scripts, and no others together.
pub const RUN_FLAGS: Flags = Flags::NOSCRIPT
    .or(Flags::STALE)
    .or(Flags::SKIP_MONITOR)
    .or(Flags::NO_MANDATORY_KEYS)
    .or(Flags::MOVABLEKEYS);

/// The keys of such a command, which may be written.
pub const KEYS: &[KeySpec] = &[KeySpec::keynum(
    2,
    1,
    1,
    KeyFlags::RW.or(KeyFlags::ACCESS).or(KeyFlags::UPDATE),
)];

/// The keys of such a command that only reads.
pub const KEYS_RO: &[KeySpec] = &[KeySpec::keynum(2, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))];

/// What follows behind a script's name or text.
pub const NUMKEYS: Arg = Arg::new("numkeys", ArgKind::Integer);
pub const SCRIPT_KEYS: Arg = Arg::key("key", 0).optional().multiple();
pub const SCRIPT_ARGS: Arg = Arg::new("arg", ArgKind::String).optional().multiple();

/// What all commands that run scripts say of themselves.
pub const RUN: Spec = Spec {
    arity: -3,
    flags: RUN_FLAGS.or(Flags::MAY_REPLICATE),
    acl: Categories::SCRIPTING,
    group: Group::Scripting,
    since: "7.0.0",
    complexity: Some("Depends on the script that is executed."),
    key_specs: KEYS,
    ..Spec::DEFAULT
};

/// The same for those that only read.
pub const RUN_RO: Spec = Spec {
    flags: RUN_FLAGS.or(Flags::READONLY),
    key_specs: KEYS_RO,
    ..RUN
};

pub const EVAL: Spec = Spec {
    name: "eval",
    since: "2.6.0",
    summary: "Runs a Lua script.",
    args: &[
        Arg::new("script", ArgKind::String),
        NUMKEYS,
        SCRIPT_KEYS,
        SCRIPT_ARGS,
    ],
    handler: eval,
    ..RUN
};

/// `EVAL script numkeys [key ...] [arg ...]`
fn eval(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_text(ctx, args, false)
}

pub const EVAL_RO: Spec = Spec {
    name: "eval_ro",
    summary: "Runs a Lua script that writes nothing.",
    args: EVAL.args,
    handler: eval_ro,
    ..RUN_RO
};

/// `EVAL_RO script numkeys [key ...] [arg ...]`
fn eval_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_text(ctx, args, true)
}

pub const EVALSHA: Spec = Spec {
    name: "evalsha",
    since: "2.6.0",
    summary: "Runs a Lua script by its SHA-1.",
    args: &[
        Arg::new("sha1", ArgKind::String),
        NUMKEYS,
        SCRIPT_KEYS,
        SCRIPT_ARGS,
    ],
    handler: evalsha,
    ..RUN
};

/// `EVALSHA sha1 numkeys [key ...] [arg ...]`
fn evalsha(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_sha(ctx, args, false)
}

pub const EVALSHA_RO: Spec = Spec {
    name: "evalsha_ro",
    summary: "Runs a Lua script by its SHA-1 that writes nothing.",
    args: EVALSHA.args,
    handler: evalsha_ro,
    ..RUN_RO
};

/// `EVALSHA_RO sha1 numkeys [key ...] [arg ...]`
fn evalsha_ro(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    run_sha(ctx, args, true)
}

/// The flags of a command, which are those that its script has declared if it runs one that declares any.
pub fn flags_with_script(scripting: &Scripting, spec: &Spec, args: Args<'_>) -> Flags {
    if !spec.flags.has(RUN_FLAGS) || args.len() < 2 {
        return spec.flags;
    }
    let script = args.bytes(1);
    let cached = |sha: Option<Sha>| sha.and_then(|sha| scripting.cache.flags(&sha));
    let declared = match spec.name {
        "eval" | "eval_ro" => cached(scripting.cache.find(script))
            .or_else(|| of_script(script).ok().map(|(flags, _)| flags)),
        "evalsha" | "evalsha_ro" => cached(parse_sha(script)),
        _ => scripting
            .libraries
            .function(script)
            .map(|function| function.flags),
    };
    let Some(declared) = declared.filter(|flags| !flags.has(ScriptFlags::COMPAT)) else {
        return spec.flags;
    };
    let is_read_only = declared.has(ScriptFlags::NO_WRITES);
    let mut flags = spec.flags.without(Flags::MAY_REPLICATE.or(Flags::STALE));
    if !is_read_only {
        flags = flags.or(Flags::WRITE);
    }
    if !is_read_only && !declared.has(ScriptFlags::ALLOW_OOM) {
        flags = flags.or(Flags::DENYOOM);
    }
    if declared.has(ScriptFlags::ALLOW_STALE) {
        flags = flags.or(Flags::STALE);
    }
    flags
}

/// The number of keys at argument 2, which leaves no more arguments than there are.
pub fn numkeys(args: Args<'_>) -> Result<usize, CommandError> {
    let count = int_arg(args, 2)?;
    if count > args.len() as i64 - 3 {
        return Err(CommandError::text(
            "ERR Number of keys can't be greater than number of args",
        ));
    }
    usize::try_from(count).map_err(|_| CommandError::text("ERR Number of keys can't be negative"))
}

fn run_text(ctx: &mut Ctx<'_>, args: Args<'_>, is_ro: bool) -> Result<(), CommandError> {
    let numkeys = numkeys(args)?;
    let body = args.bytes(1);
    let sha = match ctx.server.scripting.cache.find(body) {
        Some(sha) => sha,
        None => load(ctx.server, body, false)?,
    };
    run(ctx, args, numkeys, sha, is_ro)
}

fn run_sha(ctx: &mut Ctx<'_>, args: Args<'_>, is_ro: bool) -> Result<(), CommandError> {
    // What cannot be a name is refused before the number of keys is looked at.
    if args.bytes(1).len() != size_of::<Sha>() * 2 {
        return Err(CommandError::NoScript);
    }
    let numkeys = numkeys(args)?;
    let sha = parse_sha(args.bytes(1)).filter(|sha| ctx.server.scripting.cache.has(sha));
    let sha = sha.ok_or(CommandError::NoScript)?;
    run(ctx, args, numkeys, sha, is_ro)
}

fn run(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    numkeys: usize,
    sha: Sha,
    is_ro: bool,
) -> Result<(), CommandError> {
    let found = ctx.server.scripting.cache.used(&sha);
    let (function, name, flags) = found.ok_or(CommandError::NoScript)?;
    prepare(
        ctx,
        args,
        numkeys,
        Purpose::Eval,
        name,
        function,
        flags,
        is_ro,
    )
}

/// Compiles a script into the cache.
fn load(server: &mut Server, body: &[u8], to_stay: bool) -> Result<Sha, CommandError> {
    server.ensure_machine(Purpose::Eval)?;
    let loaded = server.scripting.cache.load(body, to_stay);
    let (sha, evicted) = loaded.map_err(CommandError::Bytes)?;
    server.stats.evicted_scripts += u64::from(evicted);
    Ok(sha)
}

/// Checks whether a script may run, and leaves it for the engine to run.
#[expect(
    clippy::too_many_arguments,
    reason = "they are what the two families differ in"
)]
pub fn prepare(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    numkeys: usize,
    purpose: Purpose,
    name: Rc<str>,
    function: Anchor,
    flags: ScriptFlags,
    is_ro: bool,
) -> Result<(), CommandError> {
    if flags.has(ScriptFlags::NO_CLUSTER) {
        ctx.server.note_incompatible();
    }
    let is_compat = flags.has(ScriptFlags::COMPAT);
    if !is_compat && !flags.has(ScriptFlags::NO_WRITES) && is_ro {
        return Err(CommandError::text(
            "ERR Can not execute a script with write flag using *_ro command.",
        ));
    }
    if !is_compat && !flags.has(ScriptFlags::NO_WRITES) {
        ctx.server.refuse_unsaved()?;
        ctx.server.refuse_unreplicated()?;
    }
    let is_oom = ctx.server.config.maxmemory > 0 && ctx.server.scripting.is_oom;
    let is_exempt = flags.has(ScriptFlags::ALLOW_OOM) || flags.has(ScriptFlags::NO_WRITES);
    if is_oom && !is_compat && !is_exempt {
        return Err(CommandError::OutOfMemory);
    }
    let Some(machine) = ctx.server.scripting.machine(purpose).as_ref() else {
        return Err(CommandError::NoScript);
    };
    machine.load(function, args, 3, numkeys, purpose == Purpose::Eval);
    ctx.server.scripting.prepared = Some(Prepared {
        purpose,
        name,
        flags,
        is_read_only: is_ro || flags.has(ScriptFlags::NO_WRITES),
        allows_oom: flags.has(ScriptFlags::ALLOW_OOM),
        is_oom,
    });
    ctx.client.begun.script = true;
    Ok(())
}

/// A SHA-1 in hexadecimal, in any case.
fn parse_sha(text: &[u8]) -> Option<Sha> {
    let mut sha = Sha::default();
    if text.len() != sha.len() * 2 {
        return None;
    }
    for (byte, digits) in sha.iter_mut().zip(text.chunks_exact(2)) {
        let digit = |at: usize| char::from(digits[at]).to_digit(16);
        *byte = (digit(0)? * 16 + digit(1)?) as u8;
    }
    Some(sha)
}

pub const SCRIPT: Spec = Spec {
    name: "script",
    arity: -2,
    group: Group::Scripting,
    since: "2.6.0",
    summary: "Groups the commands about the cache of scripts.",
    complexity: Some("Depends on subcommand."),
    help: &[
        "DEBUG (YES|SYNC|NO)",
        "EXISTS <sha1> [<sha1> ...]",
        "FLUSH [ASYNC|SYNC]",
        "KILL",
        "LOAD <script>",
    ],
    subcommands: &[
        SCRIPT_DEBUG,
        SCRIPT_EXISTS,
        SCRIPT_FLUSH,
        SCRIPT_HELP,
        SCRIPT_KILL,
        SCRIPT_LOAD,
    ],
    ..Spec::DEFAULT
};

const SUBCOMMAND: Spec = Spec {
    flags: Flags::NOSCRIPT,
    acl: Categories::SCRIPTING,
    group: Group::Scripting,
    since: "2.6.0",
    ..Spec::DEFAULT
};

pub const SCRIPT_DEBUG: Spec = Spec {
    name: "debug",
    arity: 3,
    since: "3.2.0",
    summary: "Switches the debugging of scripts, of which this server has none.",
    complexity: Some("O(1)"),
    args: &[Arg::one_of(
        "mode",
        &[
            Arg::word("yes", "YES"),
            Arg::word("sync", "SYNC"),
            Arg::word("no", "NO"),
        ],
    )],
    handler: debug,
    ..SUBCOMMAND
};

/// `SCRIPT DEBUG YES | SYNC | NO`
fn debug(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.is(2, "no") {
        ctx.client.reply.ok();
        return Ok(());
    }
    if !args.is(2, "yes") && !args.is(2, "sync") {
        return Err(CommandError::text("ERR Use SCRIPT DEBUG YES/SYNC/NO"));
    }
    // Who asks takes no notice of a refusal, and would go on to run the script for good.
    ctx.client.close_after_reply();
    Err(CommandError::text("ERR this server has no Lua debugger"))
}

pub const SCRIPT_EXISTS: Spec = Spec {
    name: "exists",
    arity: -3,
    summary: "Tells of each SHA-1 whether its script is in the cache.",
    complexity: Some(
        "O(N) with N being the number of scripts to check (so checking a single script is an O(1) operation).",
    ),
    tips: &[
        "request_policy:all_shards",
        "response_policy:agg_logical_and",
    ],
    args: &[Arg::new("sha1", ArgKind::String).multiple()],
    handler: exists,
    ..SUBCOMMAND
};

/// `SCRIPT EXISTS sha1 [sha1 ...]`
fn exists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.array(args.len() - 2);
    for text in args.iter_from(2) {
        let sha = parse_sha(text);
        let is_there = sha.is_some_and(|sha| ctx.server.scripting.cache.has(&sha));
        ctx.client.reply.int(i64::from(is_there));
    }
    Ok(())
}

/// How a flush is done.
pub const FLUSH_TYPE: Arg = Arg::one_of(
    "flush-type",
    &[Arg::word("async", "ASYNC"), Arg::word("sync", "SYNC")],
)
.optional();

pub const SCRIPT_FLUSH: Spec = Spec {
    name: "flush",
    arity: -2,
    summary: "Forgets all scripts in the cache.",
    complexity: Some("O(N) with N being the number of scripts in cache"),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    history: &[("6.2.0", &["ASYNC", "SYNC"])],
    args: &[FLUSH_TYPE.since("6.2.0")],
    handler: flush,
    ..SUBCOMMAND
};

/// `SCRIPT FLUSH [ASYNC | SYNC]`: the cache is small enough to be freed at once either way.
fn flush(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_known =
        args.len() == 2 || (args.len() == 3 && (args.is(2, "sync") || args.is(2, "async")));
    if !is_known {
        return Err(CommandError::text(
            "ERR SCRIPT FLUSH only support SYNC|ASYNC option",
        ));
    }
    if args.is(2, "async") {
        ctx.server.stats.lazyfreed_objects += ctx.server.scripting.cache.len() as u64;
    }
    ctx.server.scripting.cache.flush();
    ctx.client.reply.ok();
    Ok(())
}

pub const SCRIPT_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    since: "5.0.0",
    summary: "Shows the forms of this command.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..SUBCOMMAND
};

pub const SCRIPT_KILL: Spec = Spec {
    name: "kill",
    arity: 2,
    flags: Flags::NOSCRIPT.or(Flags::ALLOW_BUSY),
    summary: "Ends the script that runs, unless it has written.",
    complexity: Some("O(1)"),
    tips: &["request_policy:all_shards", "response_policy:one_succeeded"],
    handler: kill_script,
    ..SUBCOMMAND
};

/// `SCRIPT KILL`
fn kill_script(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    kill(ctx, Purpose::Eval)
}

/// Ends the script that runs, if it is of this kind and has not written.
pub fn kill(ctx: &mut Ctx<'_>, purpose: Purpose) -> Result<(), CommandError> {
    let Some(running) = &mut ctx.server.scripting.running else {
        return Err(CommandError::text(
            "NOTBUSY No scripts in execution right now.",
        ));
    };
    if running.has_written {
        return Err(CommandError::text(
            "UNKILLABLE Sorry the script already executed write commands against the dataset. You can either wait the \
             script termination or kill the server in a hard way using the SHUTDOWN NOSAVE command.",
        ));
    }
    if running.purpose != purpose {
        return Err(busy_error(running.purpose));
    }
    running.is_killed = true;
    let text = "A client has asked to kill the running script.";
    ctx.server.log(LogLevel::Notice, text);
    ctx.client.reply.ok();
    Ok(())
}

/// What others are told while a script has run for long.
pub fn busy_error(purpose: Purpose) -> CommandError {
    CommandError::text(match purpose {
        Purpose::Eval => {
            "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE."
        }
        Purpose::Functions => {
            "BUSY Redis is busy running a script. You can only call FUNCTION KILL or SHUTDOWN NOSAVE."
        }
    })
}

pub const SCRIPT_LOAD: Spec = Spec {
    name: "load",
    arity: 3,
    flags: Flags::NOSCRIPT.or(Flags::STALE),
    summary: "Puts a script into the cache, to stay there.",
    complexity: Some("O(N) with N being the length in bytes of the script body."),
    tips: &["request_policy:all_nodes", "response_policy:all_succeeded"],
    args: &[Arg::new("script", ArgKind::String)],
    handler: load_script,
    ..SUBCOMMAND
};

/// `SCRIPT LOAD script`
fn load_script(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let sha = load(ctx.server, args.bytes(2), true)?;
    ctx.client.reply.text(&hex(&sha));
    Ok(())
}
