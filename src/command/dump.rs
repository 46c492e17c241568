//! DUMP and RESTORE: values on their way from a server to another.
//!
//! Payloads are checked in full, but for members that come twice where `sanitize-dump-payload` lets them pass: nothing that
//! could do harm goes into the data.
//! May not: know the format (`persist`).
use bytes::Bytes;

use crate::border::LogLevel;
use crate::command::ctx::int_arg;
use crate::command::generic::is_lfu;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::config::SanitizePayload;

use crate::persist::payload;
use crate::persist::rdb::shown;
use crate::persist::reader::Reader;
use crate::persist::value::{self, Limits, Value};
use crate::resp::Args;
use crate::resp::writer::SHARE_MIN;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[DUMP, RESTORE, RESTORE_ASKING];

/// Seconds until the clock of entries comes round.
const CLOCK_MAX: i64 = (1 << 24) - 1;

pub const DUMP: Spec = Spec {
    name: "dump",
    arity: 2,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.6.0",
    summary: "Returns a value as bytes that RESTORE takes, here or on another server.",
    complexity: Some("O(1) or O(N*M) or O(1)+O(1*M)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[Arg::key("key", 0)],
    tips: &["nondeterministic_output"],
    handler: dump,
    ..Spec::DEFAULT
};

/// `DUMP key`
fn dump(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let key = ctx.key(args, 1);
    let packs = ctx.server.config.rdbcompression;
    let Some(entry) = ctx.lookup(key, Access::Read) else {
        ctx.client.reply.null();
        return Ok(());
    };
    let mut bytes = Vec::new();
    value::encode(entry, packs, &mut bytes);
    payload::seal(&mut bytes);
    if bytes.len() < SHARE_MIN {
        ctx.client.reply.bulk(&bytes);
    } else {
        ctx.client.reply.bulk_shared(Bytes::from(bytes));
    }
    Ok(())
}

const RESTORE_ARGS: &[Arg] = &[
    Arg::key("key", 0),
    Arg::new("ttl", ArgKind::Integer),
    Arg::new("serialized-value", ArgKind::String),
    Arg::word("replace", "REPLACE").since("3.0.0").optional(),
    Arg::word("absttl", "ABSTTL").since("5.0.0").optional(),
    Arg::new("seconds", ArgKind::Integer)
        .token("IDLETIME")
        .since("5.0.0")
        .optional(),
    Arg::new("frequency", ArgKind::Integer)
        .token("FREQ")
        .since("5.0.0")
        .optional(),
];

pub const RESTORE: Spec = Spec {
    name: "restore",
    arity: -4,
    flags: Flags::WRITE.or(Flags::DENYOOM),
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    group: Group::Generic,
    since: "2.6.0",
    summary: "Stores the value that DUMP returned.",
    complexity: Some("O(1) or O(N*M) or O(1)+O(1*M) or O(N*M*log(N)) or O(log(N))"),
    key_specs: &[KeySpec::at(1, KeyFlags::OW.or(KeyFlags::UPDATE))],
    args: RESTORE_ARGS,
    history: &[
        ("3.0.0", &["REPLACE"]),
        ("5.0.0", &["ABSTTL"]),
        ("5.0.0", &["IDLETIME", "FREQ"]),
    ],
    handler: restore,
    ..Spec::DEFAULT
};

pub const RESTORE_ASKING: Spec = Spec {
    name: "restore-asking",
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::ASKING),
    group: Group::Server,
    since: "3.0.0",
    summary: "Is RESTORE, for a key that another cluster node is still giving away.",
    syscmd: true,
    ..RESTORE
};

/// What RESTORE was told beside key, TTL and payload.
#[derive(Default)]
struct Options {
    replaces: bool,
    is_deadline: bool,
    idle_secs: Option<i64>,
    frequency: Option<i64>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 4;
        while index < args.len() {
            let has_value = index + 1 < args.len();
            if args.is(index, "REPLACE") {
                options.replaces = true;
            } else if args.is(index, "ABSTTL") {
                options.is_deadline = true;
            } else if args.is(index, "IDLETIME") && has_value && options.frequency.is_none() {
                index += 1;
                let secs = int_arg(args, index)?;
                if secs < 0 {
                    let text = "ERR Invalid IDLETIME value, must be >= 0";
                    return Err(CommandError::text(text));
                }
                options.idle_secs = Some(secs);
            } else if args.is(index, "FREQ") && has_value && options.idle_secs.is_none() {
                index += 1;
                let frequency = int_arg(args, index)?;
                if !(0..=255).contains(&frequency) {
                    let text = "ERR Invalid FREQ value, must be >= 0 and <= 255";
                    return Err(CommandError::text(text));
                }
                options.frequency = Some(frequency);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// The clock of an entry that was used as the options say.
    fn clock(&self, ctx: &Ctx<'_>) -> u32 {
        let usage = &ctx.server.usage;
        let now = i64::from(usage.secs);
        let clock = match (is_lfu(ctx), self.frequency, self.idle_secs) {
            (true, Some(frequency), _) => usage.with_count(frequency as u32).into(),
            // A time before the clock's last turn: as long ago as it can tell from the future.
            (false, _, Some(secs)) if secs > now => (now + CLOCK_MAX / 2) % CLOCK_MAX,
            (false, _, Some(secs)) => now - secs,
            _ => usage.fresh().into(),
        };
        clock as u32
    }
}

/// `RESTORE key ttl payload [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]`
fn restore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args)?;
    let key = ctx.key(args, 1);
    let dbid = ctx.client.dbid;
    if !options.replaces && ctx.lookup(key, Access::Write).is_some() {
        return Err(CommandError::text(
            "BUSYKEY Target key name already exists.",
        ));
    }
    let ttl = int_arg(args, 2)?;
    if ttl < 0 {
        return Err(CommandError::text("ERR Invalid TTL value, must be >= 0"));
    }
    let value = decode(ctx, key, args.bytes(3))?;

    let before = ctx.server.db(dbid).get(key.hash, key.bytes);
    let before = before.map(|entry| entry.kind());
    let was_there = options.replaces
        && ctx
            .server
            .delete_live(dbid, key, ctx.server.config.lazyfree_lazy_server_del);
    let now_ms = ctx.server.now_ms;
    let deadline = match ttl {
        0 => None,
        _ if options.is_deadline => Some(ttl),
        // A sum beyond 64 bits comes out negative, so the key has expired already.
        _ => Some(ttl.wrapping_add(now_ms)),
    };
    let horizon_ms = ctx.server.removal_horizon();
    if deadline.is_some_and(|deadline| deadline <= horizon_ms) {
        if was_there {
            report_deleted(ctx, key);
        }
        ctx.client.reply.ok();
        return Ok(());
    }
    let clock = options.clock(ctx);
    let entry = value.into_entry(key.bytes, deadline, clock);
    let kind = entry.kind();
    ctx.server.insert(dbid, key, entry);
    ctx.touch(key.bytes, Event::generic("restore"));
    if let Some(before) = before.filter(|_| was_there) {
        ctx.server.announce_replaced(dbid, key.bytes, before, kind);
    }
    if let Some(deadline) = deadline
        && !options.is_deadline
    {
        propagate_deadline(ctx, args, deadline);
    }
    ctx.client.reply.ok();
    Ok(())
}

/// The value in a payload for a key.
fn decode<'a>(
    ctx: &mut Ctx<'_>,
    key: Key<'_>,
    payload: &'a [u8],
) -> Result<Value<'a>, CommandError> {
    let checks_crc = !ctx.server.debug.skip_checksum;
    let bytes = payload::open(payload, checks_crc)
        .map_err(|error| CommandError::text(format!("ERR {error}")))?;
    let mut limits = Limits::new(
        &ctx.server.config,
        ctx.server.debug.quicklist_packed_threshold,
        ctx.server.hash_seed,
    );
    // What is loaded counts as a file, and not as something that a client sends.
    let is_sent = ctx.server.persistence.loading.is_none();
    limits.is_strict |= ctx.server.config.sanitize_dump_payload == SanitizePayload::Clients
        && is_sent
        && !ctx.server.users.get(ctx.client.user).skips_sanitize();
    let mut reader = Reader::new(bytes);
    let value = reader
        .byte()
        .and_then(|kind| value::decode(kind, &mut reader, &limits));
    ctx.server.stats.dump_payload_sanitizations += limits.take_looked_at();
    value.map_err(|error| {
        // The reply does not say what is wrong with it.
        if ctx.server.logs(LogLevel::Verbose) {
            let pos = bytes.len() - reader.remaining();
            let name = shown(key.bytes);
            let line = format!("RESTORE of key '{name}' is refused at byte {pos} -> {error}.");
            ctx.server.log(LogLevel::Verbose, line);
        }
        CommandError::text("ERR Bad data format")
    })
}

/// A key was replaced by one that has expired already: it is gone.
fn report_deleted(ctx: &mut Ctx<'_>, key: Key<'_>) {
    ctx.touch(key.bytes, Event::generic("del"));
    let lazily = ctx.server.config.lazyfree_lazy_server_del;
    let name: &[u8] = if lazily { b"UNLINK" } else { b"DEL" };
    ctx.propagate(&[name, key.bytes]);
}

/// The command goes out with the deadline, not with the time left until then.
fn propagate_deadline(ctx: &mut Ctx<'_>, args: Args<'_>, deadline: i64) {
    let mut digits = itoa::Buffer::new();
    let mut argv: Vec<&[u8]> = args.iter_from(0).collect();
    argv[2] = digits.format(deadline).as_bytes();
    argv.push(b"ABSTTL");
    ctx.propagate(&argv);
}
