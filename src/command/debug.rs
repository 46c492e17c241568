//! DEBUG: commands by which tests look into the server and bend its rules.
//!
//! One table names the subcommands with their syntax, so that HELP and the check of argument counts come from
//! the same place. May not: anything that a client needs in earnest.

mod collections;

use std::ops::RangeInclusive;

use crate::border::{Fault, LogLevel, Want};
use crate::command::config::order_rewrite;
use crate::command::ctx::{count_arg, int_arg, int32_arg};
use crate::command::generic::refcount;
use crate::command::spec::{Flags, Group, Spec};
use crate::command::syntax::help;
use crate::command::{CommandError, Ctx, Handler};
use crate::config::parse_memory;
use crate::keyspace::entry::{Entry, ValueRef};
use crate::keyspace::table::ArrayStats;
use crate::resp::Args;
use crate::state::keys::{Access, NewValue};
use crate::state::persistence::After;
use crate::state::restraint::Restraint;
use crate::state::server::REPLY_PEAK_RESET_MS;
use crate::state::waiting::Waiting;
use crate::types::decimal::parse_i64;
use crate::types::digest::Digest;
use crate::types::glob::glob_match;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[DEBUG];

pub const DEBUG: Spec = Spec {
    name: "debug",
    arity: -2,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE),
    group: Group::Server,
    since: "1.0.0",
    summary: "A container for commands that test the server itself.",
    syscmd: true,
    handler: debug,
    ..Spec::DEFAULT
};

/// One subcommand.
struct Sub {
    name: &'static str,
    /// How many arguments there may be, DEBUG and the subcommand's name included.
    argc: RangeInclusive<usize>,
    /// What follows the name in HELP: a line for each form.
    syntax: &'static str,
    text: &'static str,
    run: Handler,
}

const fn sub(
    name: &'static str,
    argc: RangeInclusive<usize>,
    syntax: &'static str,
    text: &'static str,
    run: Handler,
) -> Sub {
    Sub {
        name,
        argc,
        syntax,
        text,
        run,
    }
}

const ANY: usize = usize::MAX;

/// A listpack of one element below this still has a length of 32 bits.
const PACKED_THRESHOLD_MAX: u64 = (4 << 30) - (1 << 20);

#[rustfmt::skip]
const SUBCOMMANDS: &[Sub] = &[
    sub("AOF-FLUSH-SLEEP", 3..=3, " <microsec>", "How long to wait before what was changed is appended to the AOF.", aof_flush_sleep),
    sub("ASSERT", 2..=2, "", "End the process as a failed check would.", crash),
    sub("CHANGE-REPL-ID", 2..=2, "", "Take another replication ID.", change_repl_id),
    sub("CONFIG-REWRITE-FORCE-ALL", 2..=2, "", "Write the configuration to its file, parameters with their defaults too.", rewrite_config),
    sub("DIGEST", 2..=2, "", "A signature of all data, equal for equal data.", digest),
    sub("INTERNAL_SECRET", 2..=2, "", "What cluster nodes share; outside a cluster an error.", internal_secret),
    sub("DIGEST-VALUE", 2..=ANY, " <key> [<key> ...]", "A signature of each key's value.", digest_value),
    sub("ERROR", 3..=3, " <string>", "Reply with this error line.", error),
    sub("LEAK", 3..=3, " <string>", "Lose the memory of a copy of the string.", leak),
    sub("LOG", 3..=3, " <message>", "Write a line to the server's log.", log),
    sub("HTSTATS", 3..=4, " <dbid> [full]", "How full a database's table is.", htstats),
    sub("HTSTATS-KEY", 3..=4, " <key> [full]", "How full the table that holds a key's value is.", htstats_key),
    sub("LOADAOF", 2..=2, "", "Load the data again from the append-only file.", load_aof),
    sub("REPLICATE", 3..=ANY, " <string>", "Send a command to replicas without running it.", replicate),
    sub("OBJECT", 3..=3, " <key>", "How a key's value is kept.", object),
    sub("OOM", 2..=2, "", "End the process as if memory had run out.", crash),
    sub("PANIC", 2..=2, "", "End the process as a broken invariant would.", crash),
    sub("POPULATE", 3..=5, " <count> [<prefix>] [<size>]", "Add keys <prefix>:<number> that are not there yet, with values of this size.\nThey are not propagated.", populate),
    sub("PROTOCOL", 3..=3, " <type>", "Reply with a sample of a protocol type: string, integer, double, bignum,\nnull, array, set, map, attrib, push, verbatim, true, false.", protocol),
    sub("RELOAD", 2..=ANY, " [option ...]", "Save the data and load it again.", reload),
    sub("SDSLEN", 3..=3, " <key>", "Bytes of a key and of its string.", sdslen),
    sub("SEGFAULT", 2..=2, "", "End the process by the signal of a bad memory access.", segfault),
    sub("SET-ACTIVE-EXPIRE", 3..=3, " <0|1>", "Whether ticks look for keys whose deadline has passed.", active_expire),
    sub("QUICKLIST-PACKED-THRESHOLD", 3..=3, " <size>", "From which size on a list element gets a node of its own; 0 for the default.", packed_threshold),
    sub("SET-SKIP-CHECKSUM-VALIDATION", 3..=3, " <0|1>", "Whether checksums of loaded data are left alone.", skip_checksum),
    sub("SLEEP", 3..=3, " <seconds>", "Stand still for so long; decimals are allowed.", sleep),
    sub("STRINGMATCH-TEST", 2..=2, "", "Try the pattern matcher on random input.", match_test),
    sub("STRUCTSIZE", 2..=2, "", "Sizes of the basic structures.", struct_size),
    sub("LISTPACK", 3..=3, " <key>", "Write a listpack's elements to the log.", collections::listpack),
    sub("QUICKLIST", 3..=4, " <key> [<0|1>]", "Write a quicklist's nodes to the log, and with 1 their elements.", collections::quicklist),
    sub("CLIENT-EVICTION", 2..=2, "", "Show clients by the memory they use.", client_eviction),
    sub("PAUSE-CRON", 3..=3, " <0|1>", "Whether periodic work rests.", pause_cron),
    sub("REPLYBUFFER", 4..=4, " PEAK-RESET-TIME <NEVER||RESET|time>\n RESIZING <0|1>", "When reply buffers shrink.", reply_buffer),
    sub("DICT-RESIZING", 3..=3, " <0|1>", "Whether ticks carry on with the resizing of tables.", dict_resizing),
    sub("MARK-INTERNAL-CLIENT", 2..=3, " [UNMARK]", "Let this connection call internal commands (there are none).", mark_internal),
    sub("SET-DISABLE-DENY-SCRIPTS", 3..=3, " <0|1>", "Whether scripts may call what is denied to them.", deny_scripts),
];

/// `DEBUG subcommand ...`
fn debug(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.is(1, "HELP") && args.len() == 2 {
        let lines = SUBCOMMANDS.iter().flat_map(|sub| {
            let forms = sub.syntax.split('\n');
            forms.map(move |form| (format!("{}{form}", sub.name), sub.text))
        });
        let lines: Vec<(String, &str)> = lines.collect();
        let entries: Vec<(&str, &str)> = lines
            .iter()
            .map(|(line, text)| (line.as_str(), *text))
            .collect();
        help(&mut ctx.client.reply, "debug", &entries);
        return Ok(());
    }
    let sub = SUBCOMMANDS
        .iter()
        .find(|sub| args.is(1, sub.name) && sub.argc.contains(&args.len()));
    match sub {
        Some(sub) => (sub.run)(ctx, args),
        None => Err(unknown(args)),
    }
}

fn unknown(args: Args<'_>) -> CommandError {
    CommandError::subcommand_syntax(args.bytes(1), "DEBUG")
}

/// A switch as DEBUG reads it: any number but zero is on, and what is not a number is off.
fn switch(args: Args<'_>, index: usize) -> bool {
    let text = String::from_utf8_lossy(args.bytes(index));
    text.trim_start().parse::<i64>().unwrap_or(0) != 0
}

fn active_expire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.server.active_expire = switch(args, 2);
    ctx.client.reply.ok();
    Ok(())
}

fn pause_cron(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.server.debug.cron_paused = switch(args, 2);
    ctx.client.reply.ok();
    Ok(())
}

fn aof_flush_sleep(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let text = String::from_utf8_lossy(args.bytes(2));
    ctx.server.debug.aof_flush_sleep_us = text.trim().parse().unwrap_or(0);
    ctx.client.reply.ok();
    Ok(())
}

fn dict_resizing(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.server.debug.dict_resizing = switch(args, 2);
    ctx.client.reply.ok();
    Ok(())
}

fn rewrite_config(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    order_rewrite(ctx, true)
}

fn deny_scripts(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.server.debug.deny_scripts_disabled = switch(args, 2);
    ctx.client.reply.ok();
    Ok(())
}

fn skip_checksum(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.server.debug.skip_checksum = switch(args, 2);
    ctx.client.reply.ok();
    Ok(())
}

fn mark_internal(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.len() == 3 && !args.is(2, "UNMARK") {
        return Err(unknown(args));
    }
    ctx.client.reply.ok();
    Ok(())
}

fn reply_buffer(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    if args.is(2, "PEAK-RESET-TIME") {
        ctx.server.reply_peak_reset_ms = match () {
            () if args.is(3, "NEVER") => -1,
            () if args.is(3, "RESET") => REPLY_PEAK_RESET_MS,
            () => int_arg(args, 3)?,
        };
    } else if args.is(2, "RESIZING") {
        ctx.server.debug.reply_buffer_resizing = switch(args, 3);
    } else {
        return Err(unknown(args));
    }
    ctx.client.reply.ok();
    Ok(())
}

fn packed_threshold(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let bytes = parse_memory(args.bytes(2)).and_then(|bytes| u64::try_from(bytes).ok());
    let Some(bytes) = bytes.filter(|bytes| *bytes <= PACKED_THRESHOLD_MAX) else {
        return Err(CommandError::text(
            "ERR argument must be a memory value bigger than 1 and smaller than 4gb",
        ));
    };
    ctx.server.debug.quicklist_packed_threshold = bytes;
    ctx.client.reply.ok();
    Ok(())
}

fn sleep(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let text = String::from_utf8_lossy(args.bytes(2));
    // What is not a number is no time at all; the conversion to an integer saturates.
    let secs: f64 = text.parse().unwrap_or(0.0);
    let us = (secs * 1e6) as u64;
    ctx.server.want = Some(Want::Sleep { us });
    ctx.client.reply.ok();
    Ok(())
}

fn log(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let message = String::from_utf8_lossy(args.bytes(2));
    ctx.server
        .log(LogLevel::Warning, format!("DEBUG LOG: {message}"));
    ctx.client.reply.ok();
    Ok(())
}

fn error(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.error_bytes(args.bytes(2));
    Ok(())
}

fn leak(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    std::mem::forget(args.bytes(2).to_vec());
    ctx.client.reply.ok();
    Ok(())
}

/// Ends the process the way a broken invariant does, report and all: that is what is asked for.
fn crash(_: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = args.bytes(1).to_ascii_uppercase();
    let what = match &name[..] {
        b"ASSERT" => "=== ASSERTION FAILED === ",
        b"OOM" => "Out Of Memory: ",
        _ => "",
    };
    panic!("{what}DEBUG {} was called", name.escape_ascii());
}

/// The signal comes from the shell, in the middle of this.
fn segfault(_: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    std::panic::panic_any(Fault);
}

/// `DEBUG RELOAD [NOSAVE] [NOFLUSH] [MERGE]`: other clients wait while the data is saved, and are told that it is
/// being loaded afterwards.
fn reload(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (mut saves, mut flushes, mut merges) = (true, true, false);
    for index in 2..args.len() {
        match () {
            () if args.is(index, "NOSAVE") => saves = false,
            () if args.is(index, "NOFLUSH") => flushes = false,
            () if args.is(index, "MERGE") => merges = true,
            () => {
                return Err(CommandError::text(
                    "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
                ));
            }
        }
    }
    refuse_if_loading(ctx)?;
    ctx.client.wait_for(Waiting::Answer);
    let waiter = (ctx.client.conn, ctx.client.id);
    if saves {
        ctx.server.hold(true);
        ctx.server
            .save_for(Some(waiter), After::Reload { flushes, merges });
    } else {
        ctx.server.reload_saved(waiter, flushes, merges);
    }
    Ok(())
}

/// Other DEBUG commands may be used meanwhile, but not to load something else.
fn refuse_if_loading(ctx: &Ctx<'_>) -> Result<(), CommandError> {
    match ctx.server.restraint.has(Restraint::LOADING) {
        true => Err(CommandError::Loading),
        false => Ok(()),
    }
}

fn load_aof(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    refuse_if_loading(ctx)?;
    ctx.client.wait_for(Waiting::Answer);
    let waiter = (ctx.client.conn, ctx.client.id);
    ctx.server.reload_aof(waiter);
    Ok(())
}

fn internal_secret(_: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::text("ERR Internal secret is missing"))
}

fn client_eviction(_: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    Err(CommandError::text("ERR maxmemory-clients is disabled."))
}

fn change_repl_id(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.server.log(
        LogLevel::Notice,
        "Changing replication IDs after receiving change-repl-id",
    );
    ctx.client.reply.ok();
    Ok(())
}

fn replicate(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let argv: Vec<&[u8]> = args.iter_from(2).collect();
    ctx.propagate(&argv);
    ctx.client.reply.ok();
    Ok(())
}

fn struct_size(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let text = format!(
        "bits:{} entry:{} value:{} client:{} server:{}",
        usize::BITS,
        size_of::<Entry>(),
        size_of::<NewValue<'_>>(),
        size_of::<crate::state::Client>(),
        size_of::<crate::state::Server>(),
    );
    ctx.client.reply.simple(&text);
    Ok(())
}

fn match_test(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    const ROUNDS: usize = 10_000;
    const LEN_MAX: u64 = 32;
    let rng = &mut ctx.server.rng;
    let mut matches = 0;
    for _ in 0..ROUNDS {
        let mut random = |bytes: &[u8]| -> Vec<u8> {
            let len = rng.below(LEN_MAX);
            let pick = |_| bytes[rng.below(bytes.len() as u64) as usize];
            (0..len).map(pick).collect()
        };
        let (pattern, text) = (random(b"*?[]^-\\ab"), random(b"ab-"));
        matches += usize::from(glob_match(&pattern, &text, false));
    }
    let text = format!("The matcher came back {ROUNDS} times, {matches} times with a match");
    ctx.client.reply.simple(&text);
    Ok(())
}

fn digest(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let mut all = Digest::default();
    for (dbid, db) in (0u32..).zip(&ctx.server.dbs) {
        if db.is_empty() {
            continue;
        }
        all.mix(&dbid.to_be_bytes());
        for entry in db.table.iter() {
            let mut one = Digest::default();
            one.mix(entry.key());
            digest_entry(&mut one, entry);
            all.merge_digest(&one);
        }
    }
    ctx.client.reply.simple(&all.hex());
    Ok(())
}

fn digest_value(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.array(args.len() - 2);
    for index in 2..args.len() {
        let mut digest = Digest::default();
        let key = ctx.key(args, index);
        if let Some(entry) = ctx.lookup(key, Access::Peek) {
            digest_entry(&mut digest, entry);
        }
        ctx.client.reply.simple(&digest.hex());
    }
    Ok(())
}

/// Adds type, value and the fact of having a deadline, which itself may differ between servers.
fn digest_entry(digest: &mut Digest, entry: &Entry) {
    digest.mix(&entry.kind().digest_number().to_be_bytes());
    match entry.value() {
        ValueRef::Int(value) => digest.mix(itoa::Buffer::new().format(value).as_bytes()),
        ValueRef::Str(value) => digest.mix(value),
        ValueRef::Object(object) => object.digest(digest),
    }
    if entry.expire().is_some() {
        digest.merge(b"!!expire!!");
    }
}

fn object(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let (clock, shares) = (ctx.server.usage, ctx.server.shares_values());
    let key = ctx.key(args, 2);
    // An address would differ from run to run; the key's hash serves as well to tell values apart.
    let place = key.hash >> 16;
    // A look at what is in memory: it finds a key whose deadline has passed, and leaves it there.
    let Some(entry) = ctx.server.db(ctx.client.dbid).get(key.hash, key.bytes) else {
        return Err(CommandError::NoSuchKey);
    };
    let text = format!(
        "Value at:{place:#x} refcount:{} encoding:{} serializedlength:{} lru:{} lru_seconds_idle:{}{}",
        refcount(entry, shares),
        entry.encoding().name(),
        serialized_len(entry),
        entry.lru(),
        clock.idle_secs(entry.lru()),
        entry.object().map_or_else(String::new, collections::extra),
    );
    ctx.client.reply.simple(&text);
    Ok(())
}

/// Bytes of the value in an RDB file; strings are taken as not compressed.
fn serialized_len(entry: &Entry) -> usize {
    let int_len = |value: i64| match value {
        -0x80..=0x7f => Some(2),
        -0x8000..=0x7fff => Some(3),
        -0x8000_0000..=0x7fff_ffff => Some(5),
        _ => None,
    };
    let str_len = |len: usize| match len {
        0..=63 => len + 1,
        64..=16383 => len + 2,
        _ => len + 5,
    };
    match entry.value() {
        ValueRef::Int(value) => int_len(value).unwrap_or_else(|| str_len(entry.str_len())),
        ValueRef::Str(value) => parse_i64(value)
            .and_then(int_len)
            .unwrap_or_else(|| str_len(value.len())),
        ValueRef::Object(object) => object.memory_bytes(),
    }
}

fn sdslen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 2);
    let Some(entry) = ctx.lookup(key, Access::Peek) else {
        return Err(CommandError::NoSuchKey);
    };
    let ValueRef::Str(value) = entry.value() else {
        return Err(CommandError::text("ERR Not an sds encoded string."));
    };
    let (key_len, value_len) = (entry.key().len(), value.len());
    let spare = entry.memory_bytes().saturating_sub(key_len + value_len);
    let text = format!(
        "key_sds_len:{key_len}, key_sds_avail:0, key_zmalloc: {key_len}, \
         val_sds_len:{value_len}, val_sds_avail:0, val_zmalloc: {}",
        value_len + spare
    );
    ctx.client.reply.simple(&text);
    Ok(())
}

fn populate(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = count_arg(args, 2)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = if args.len() > 4 {
        count_arg(args, 4)?
    } else {
        0
    };
    let max = ctx.server.config.proto_max_bulk_len;
    if i64::try_from(size).map_or(true, |size| size > max) {
        return Err(CommandError::StringTooLong);
    }
    let dbid = ctx.client.dbid;
    let (mut name, mut value) = (Vec::new(), Vec::new());
    let mut digits = itoa::Buffer::new();
    for number in 0..count {
        let digits = digits.format(number).as_bytes();
        name.clear();
        name.extend_from_slice(prefix);
        name.push(b':');
        name.extend_from_slice(digits);
        let key = ctx.server.key(&name);
        if ctx.lookup(key, Access::Write).is_some() {
            continue;
        }
        value.clear();
        value.extend_from_slice(b"value:");
        value.extend_from_slice(digits);
        if size > 0 {
            value.resize(size, 0);
        }
        ctx.server.store(dbid, key, NewValue::Str(&value), None);
    }
    ctx.client.reply.ok();
    Ok(())
}

#[allow(
    clippy::approx_constant,
    reason = "the number that clients' tests expect here"
)]
fn protocol(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    const FOLLOWS: &str = "Some real reply following the ";
    let reply = &mut ctx.client.reply;
    let name = args.bytes(2).to_ascii_lowercase();
    match &name[..] {
        b"string" => reply.text("Hello World"),
        b"integer" => reply.int(12345),
        b"double" => reply.double(3.141),
        b"bignum" => reply.big_number("1234567999999999999999999999999999999"),
        b"null" => reply.null(),
        b"array" | b"set" => {
            if name == b"set" {
                reply.set(3);
            } else {
                reply.array(3);
            }
            (0..3).for_each(|n| reply.int(n));
        }
        b"map" => {
            reply.map(3);
            for n in 0..3 {
                reply.int(n);
                reply.boolean(n == 1);
            }
        }
        b"attrib" => {
            if reply.is_resp3() {
                reply.attribute(1);
                reply.text("key-popularity");
                reply.array(2);
                reply.text("key:123");
                reply.int(90);
            }
            reply.text(&format!("{FOLLOWS}attribute"));
        }
        b"push" => {
            if !reply.is_resp3() {
                return Err(CommandError::text(
                    "ERR RESP2 is not supported by this command",
                ));
            }
            reply.text(&format!("{FOLLOWS}push reply"));
            reply.push(2);
            reply.text("server-cpu-usage");
            reply.int(42);
        }
        b"verbatim" => reply.verbatim("txt", b"This is a verbatim\nstring"),
        b"true" => reply.boolean(true),
        b"false" => reply.boolean(false),
        _ => {
            return Err(CommandError::text(
                "ERR Wrong protocol type name. Please use one of the following: \
                 string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    Ok(())
}

fn htstats(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let dbid = int32_arg(args, 2)?;
    let db = usize::try_from(dbid)
        .ok()
        .and_then(|dbid| ctx.server.dbs.get(dbid));
    let Some(db) = db else {
        return Err(CommandError::text("ERR Out of range database"));
    };
    let stats = db.table.stats();
    let mut text = String::from("[Dictionary HT]\n");
    text.push_str(&describe_arrays(&stats, args.is(3, "full")));
    // Deadlines lie in the entries, there is no table of their own.
    text.push_str("[Expires HT]\n");
    if db.volatile_len() > 0 {
        text.push_str(&format!(" number of elements: {}\n", db.volatile_len()));
    }
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn htstats_key(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let is_full = args.is(3, "full");
    let key = ctx.key(args, 2);
    let Some(entry) = ctx.lookup(key, Access::Peek) else {
        return Err(CommandError::NoSuchKey);
    };
    let Some(stats) = entry.object().and_then(|object| object.table_stats()) else {
        return Err(CommandError::text(
            "ERR The value stored at the specified key is not represented using an hash table",
        ));
    };
    let text = describe_arrays(&stats, is_full);
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

fn describe_arrays(stats: &(ArrayStats, Option<ArrayStats>), is_full: bool) -> String {
    let mut text = describe_array(0, "main hash table", &stats.0, is_full);
    if let Some(second) = &stats.1 {
        text.push_str(&describe_array(1, "rehashing target", second, is_full));
    }
    text
}

fn describe_array(index: usize, role: &str, stats: &ArrayStats, is_full: bool) -> String {
    let mut text = format!("Hash table {index} stats ({role}):\n");
    if stats.len == 0 {
        text.push_str("No stats available for empty dictionaries\n");
        return text;
    }
    text.push_str(&format!(
        " table size: {}\n number of elements: {}\n",
        stats.buckets, stats.len
    ));
    if !is_full {
        return text;
    }
    let used = stats.buckets - stats.chains_by_len[0];
    let mean = stats.len as f64 / used.max(1) as f64;
    text.push_str(&format!(
        " different slots: {used}\n max chain length: {}\n avg chain length (counted): {mean:.2}\n \
         avg chain length (computed): {mean:.2}\n Chain length distribution:\n",
        stats.chain_len_max
    ));
    for (len, count) in stats.chains_by_len.iter().enumerate() {
        if *count > 0 {
            let share = *count as f64 * 100.0 / stats.buckets as f64;
            text.push_str(&format!("   {len}: {count} ({share:.2}%)\n"));
        }
    }
    text
}
