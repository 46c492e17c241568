//! XADD and XTRIM.

use xxhash_rust::xxh3::xxh3_128;

use super::{
    GivenId, find, invalid_id, parse_given_id, parse_strict_id, propagate_instead, reply_id,
};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object;
use crate::resp::Args;
use crate::state::effects::Event;
use crate::state::keys::{Access, Key};
use crate::types::stream::log::BYTES_MAX;
use crate::types::stream::{Keep, Limits, Log, References, Stream, StreamId, Trimmed};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[XADD, XTRIM];

/// Without a LIMIT an approximate trim looks at so many blocks' worth of entries, within these bounds.
const TRIM_BLOCKS: i64 = 100;
const TRIM_DEFAULT: i64 = 10_000;
const TRIM_MAX: i64 = 1_000_000;

/// What is to be trimmed, as XADD and XTRIM read it.
#[derive(Clone, Copy, Debug, Default)]
struct Trim {
    keep: Option<Keep>,
    is_approximate: bool,
    /// The argument that says how much is kept.
    keep_at: usize,
    limit: Option<u64>,
    limit_at: Option<usize>,
    references: References,
    has_references: bool,
}

/// How XADD marks its message so that it is taken once.
#[derive(Clone, Copy, Debug)]
struct Message {
    producer_at: usize,
    /// Without one the message's contents stand for it.
    id_at: Option<usize>,
}

/// Options of XADD and XTRIM, up to the ID.
#[derive(Clone, Copy, Debug, Default)]
struct Options {
    trim: Trim,
    no_create: bool,
    message: Option<Message>,
    /// `None` is `*`.
    id: Option<GivenId>,
    /// The argument that is the ID, or behind the last.
    id_at: usize,
}

impl Options {
    fn parse(ctx: &Ctx<'_>, args: Args<'_>, is_add: bool) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 2;
        while index < args.len() {
            let behind = args.len() - 1 - index;
            if is_add && args.bytes(index) == b"*" {
                break;
            }
            let references = references_at(args, index);
            // A second one is taken for what may follow.
            if let Some(references) = references.filter(|_| !options.trim.has_references) {
                options.trim.references = references;
                options.trim.has_references = true;
            } else if is_add && args.is(index, "NOMKSTREAM") {
                options.no_create = true;
            } else if is_add && args.is(index, "IDMPAUTO") && behind > 0 {
                options.set_message(args, index + 1, None)?;
                index += 1;
            } else if is_add && args.is(index, "IDMP") && behind > 1 {
                options.set_message(args, index + 1, Some(index + 2))?;
                index += 2;
            } else if let Some(used) = options.trim.parse_at(args, index)? {
                index += used;
            } else if is_add {
                let given = parse_given_id(args.bytes(index), 0);
                options.id = Some(given.ok_or_else(invalid_id)?);
                break;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        options.id_at = index;
        options.trim.check(ctx, is_add)?;
        if options.message.is_some() && options.id.is_some() {
            return Err(CommandError::text(
                "ERR IDMP/IDMPAUTO can be used only with auto-generated IDs",
            ));
        }
        Ok(options)
    }

    fn set_message(
        &mut self,
        args: Args<'_>,
        producer_at: usize,
        id_at: Option<usize>,
    ) -> Result<(), CommandError> {
        let error = match id_at {
            _ if self.message.is_some() => "ERR IDMP/IDMPAUTO specified multiple times",
            Some(_) if args.bytes(producer_at).is_empty() => {
                "ERR IDMP requires a non-empty producer ID"
            }
            None if args.bytes(producer_at).is_empty() => {
                "ERR IDMPAUTO requires a non-empty producer ID"
            }
            Some(at) if args.bytes(at).is_empty() => "ERR IDMP requires a non-empty idempotent ID",
            _ => {
                self.message = Some(Message { producer_at, id_at });
                return Ok(());
            }
        };
        Err(CommandError::text(error))
    }
}

/// What argument `index` says about groups that refer to removed entries.
pub(super) fn references_at(args: Args<'_>, index: usize) -> Option<References> {
    match () {
        () if args.is(index, "KEEPREF") => Some(References::Keep),
        () if args.is(index, "DELREF") => Some(References::Remove),
        () if args.is(index, "ACKED") => Some(References::Respect),
        () => None,
    }
}

impl Trim {
    /// Reads the option at argument `index`, if it is one about trimming; says how many arguments it has.
    fn parse_at(&mut self, args: Args<'_>, index: usize) -> Result<Option<usize>, CommandError> {
        let behind = args.len() - 1 - index;
        let (is_len, is_id) = (args.is(index, "MAXLEN"), args.is(index, "MINID"));
        if behind > 0 && (is_len || is_id) {
            if self.keep.is_some() {
                return Err(CommandError::text(
                    "ERR syntax error, MAXLEN and MINID options at the same time are not compatible",
                ));
            }
            let operator = args.bytes(index + 1);
            let has_operator = behind > 1 && matches!(operator, b"~" | b"=");
            let at = index + 1 + usize::from(has_operator);
            self.is_approximate = has_operator && operator == b"~";
            self.keep_at = at;
            self.keep = Some(if is_len {
                let len = u64::try_from(int_arg(args, at)?);
                let error = "ERR The MAXLEN argument must be >= 0.";
                Keep::Newest(len.map_err(|_| CommandError::text(error))?)
            } else {
                Keep::From(parse_strict_id(args.bytes(at), 0).ok_or_else(invalid_id)?)
            });
            return Ok(Some(at - index));
        }
        if behind > 0 && args.is(index, "LIMIT") {
            let limit = u64::try_from(int_arg(args, index + 1)?);
            let error = "ERR The LIMIT argument must be >= 0.";
            self.limit = Some(limit.map_err(|_| CommandError::text(error))?);
            self.limit_at = Some(index + 1);
            return Ok(Some(1));
        }
        Ok(None)
    }

    /// Refuses what does not fit together, and finds the limit that was not given.
    fn check(&mut self, ctx: &Ctx<'_>, is_add: bool) -> Result<(), CommandError> {
        match (self.keep, self.limit) {
            (None, Some(1..)) => Err(CommandError::text(
                "ERR syntax error, LIMIT cannot be used without specifying a trimming strategy",
            )),
            (None, _) if !is_add => Err(CommandError::text(
                "ERR syntax error, XTRIM must be called with a trimming strategy",
            )),
            (_, Some(_)) if !self.is_approximate => Err(CommandError::text(
                "ERR syntax error, LIMIT cannot be used without the special ~ option",
            )),
            (_, None) if self.is_approximate => {
                let per_block = ctx.server.config.stream_node_max_entries;
                let limit = match per_block.saturating_mul(TRIM_BLOCKS) {
                    ..=0 => TRIM_DEFAULT,
                    limit => limit.min(TRIM_MAX),
                };
                self.limit = Some(limit.unsigned_abs());
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Trims; says what went.
    fn run(&self, stream: &mut Stream) -> Trimmed {
        let Some(keep) = self.keep else {
            return Trimmed::default();
        };
        let limit = self.limit.unwrap_or(0);
        stream.trim(keep, self.is_approximate, limit, self.references)
    }
}

pub const XADD: Spec = Spec {
    name: "xadd",
    arity: -5,
    flags: Flags::WRITE.or(Flags::DENYOOM).or(Flags::FAST),
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Adds an entry to a stream, which is created when there is none.",
    complexity: Some("O(1) or O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::UPDATE))],
    key_notes: &[(
        0,
        "An update as well as an insert, as it may trim the stream.",
    )],
    args: &[
        Arg::key("key", 0),
        Arg::word("nomkstream", "NOMKSTREAM")
            .since("6.2.0")
            .optional(),
        Arg::one_of(
            "condition",
            &[
                Arg::word("keepref", "KEEPREF"),
                Arg::word("delref", "DELREF"),
                Arg::word("acked", "ACKED"),
            ],
        )
        .optional(),
        Arg::one_of(
            "idmp",
            &[
                Arg::new("pid", ArgKind::String).token("IDMPAUTO"),
                Arg::block(
                    "idmp",
                    &[
                        Arg::new("pid", ArgKind::String),
                        Arg::new("iid", ArgKind::String),
                    ],
                )
                .token("IDMP"),
            ],
        )
        .since("8.6.0")
        .optional(),
        Arg::block(
            "trim",
            &[
                Arg::one_of(
                    "strategy",
                    &[
                        Arg::word("maxlen", "MAXLEN"),
                        Arg::word("minid", "MINID").since("6.2.0"),
                    ],
                ),
                Arg::one_of(
                    "operator",
                    &[Arg::word("equal", "="), Arg::word("approximately", "~")],
                )
                .optional(),
                Arg::new("threshold", ArgKind::String),
                Arg::new("count", ArgKind::Integer)
                    .token("LIMIT")
                    .since("6.2.0")
                    .optional(),
            ],
        )
        .optional(),
        Arg::one_of(
            "id-selector",
            &[Arg::word("auto-id", "*"), Arg::new("id", ArgKind::String)],
        ),
        Arg::block(
            "data",
            &[
                Arg::new("field", ArgKind::String),
                Arg::new("value", ArgKind::String),
            ],
        )
        .multiple(),
    ],
    tips: &["nondeterministic_output"],
    history: &[
        ("6.2.0", &["NOMKSTREAM", "MINID", "LIMIT"]),
        ("7.0.0", &["<ms>-*"]),
        ("8.2.0", &["KEEPREF", "DELREF", "ACKED"]),
    ],
    handler: xadd,
    ..Spec::DEFAULT
};

/// `XADD key [options] <* | id> field value [field value ...]`
fn xadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(ctx, args, true)?;
    let data_at = options.id_at + 1;
    let data_len = args.len().saturating_sub(data_at);
    if data_len < 2 || data_len % 2 == 1 {
        return Err(CommandError::Arity("xadd".into()));
    }
    if options.id == Some(GivenId::Whole(StreamId::MIN)) {
        return Err(CommandError::text(
            "ERR The ID specified in XADD must be greater than 0-0",
        ));
    }
    let key = ctx.key(args, 1);
    let pairs = (0..data_len / 2).map(move |pair| {
        (
            args.bytes(data_at + 2 * pair),
            args.bytes(data_at + 2 * pair + 1),
        )
    });
    if options.no_create && find(ctx, key, Access::Write)?.is_none() {
        ctx.client.reply.null();
        return Ok(());
    }
    if args.total_bytes() > BYTES_MAX {
        return Err(CommandError::text(
            "ERR Elements are too large to be stored",
        ));
    }
    let config = &ctx.server.config;
    let limits = Limits {
        bytes: usize::try_from(config.stream_node_max_bytes).unwrap_or(0),
        entries: usize::try_from(config.stream_node_max_entries).unwrap_or(0),
    };
    let now_ms = ctx.server.now_ms;
    let memory = super::idempotence::defaults(ctx);
    let stream = ctx
        .object_or_insert::<object::Stream>(key, object::Stream::default)?
        .get_mut();
    let contents;
    let message = match options.message {
        None => None,
        Some(message) => {
            let id = match message.id_at {
                Some(at) => args.bytes(at),
                None => {
                    contents = contents_id(pairs.clone());
                    &contents[..]
                }
            };
            Some((args.bytes(message.producer_at), id))
        }
    };
    if let Some((producer, id)) = message {
        let producers = super::idempotence::producers(stream, memory);
        producers.expire(now_ms);
        if let Some(known) = producers.get(producer, id) {
            producers.duplicates += 1;
            reply_id(&mut ctx.client.reply, known);
            return Ok(());
        }
    }
    let id = choose_id(&stream.log, options.id, now_ms)?;
    stream.log.push(id, pairs, limits);
    let trimmed = options.trim.run(stream);
    if let Some((producer, message)) = message {
        let producers = super::idempotence::producers(stream, memory);
        producers.added += 1;
        producers.insert(producer, message, id, now_ms);
    }
    ctx.touch(key.bytes, Event::stream("xadd"));
    if trimmed.entries > 0 {
        ctx.notify(key.bytes, Event::stream("xtrim"));
    }
    if ctx.server.effects.propagating() {
        propagate_add(ctx, args, key, &options, id, message)?;
    }
    reply_id(&mut ctx.client.reply, id);
    Ok(())
}

/// The ID of a new entry: what was given, made whole.
fn choose_id(log: &Log, given: Option<GivenId>, now_ms: i64) -> Result<StreamId, CommandError> {
    let last = log.last_id;
    let exhausted = "ERR The stream has exhausted the last possible ID, unable to add more items";
    if last == StreamId::MAX {
        return Err(CommandError::text(exhausted));
    }
    let id = match given {
        None if now_ms.unsigned_abs() > last.ms => Some(StreamId::new(now_ms.unsigned_abs(), 0)),
        None => last.next(),
        Some(GivenId::Whole(id)) => Some(id),
        Some(GivenId::OpenSeq(ms)) if ms == last.ms => {
            last.seq.checked_add(1).map(|seq| StreamId::new(ms, seq))
        }
        Some(GivenId::OpenSeq(ms)) => Some(StreamId::new(ms, 0)),
    };
    id.filter(|id| *id > last).ok_or(CommandError::text(
        "ERR The ID specified in XADD is equal or smaller than the target stream top item",
    ))
}

/// What stands for a message that has no idempotent ID of its own: a hash of its fields and values.
fn contents_id<'a>(pairs: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> [u8; 16] {
    let mut bytes = Vec::new();
    for (field, value) in pairs {
        for part in [field, value] {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
    }
    xxh3_128(&bytes).to_be_bytes()
}

/// Propagates an addition with the ID that was chosen and the trim that was made.
fn propagate_add(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    key: Key<'_>,
    options: &Options,
    id: StreamId,
    message: Option<(&[u8], &[u8])>,
) -> Result<(), CommandError> {
    let mark = options.message.map(|message| {
        let last = message.id_at.unwrap_or(message.producer_at);
        message.producer_at - 1..=last
    });
    let is_mark = |index| mark.as_ref().is_some_and(|mark| mark.contains(&index));
    let mut argv = exact_argv(ctx, args, key, &options.trim)?;
    // An ID that was given goes out as it was.
    if !matches!(options.id, Some(GivenId::Whole(_))) {
        argv[options.id_at] = Some(id.to_vec());
    }
    let kept = (0..).zip(argv).filter(|(index, _)| !is_mark(*index));
    let mut commands = vec![kept.filter_map(|(_, arg)| arg).collect()];
    if let Some((producer, message)) = message {
        let parts = [b"XIDMPRECORD", key.bytes, producer, message, &id.to_vec()];
        commands.push(parts.iter().map(|part| part.to_vec()).collect());
    }
    propagate_instead(ctx, &commands);
    Ok(())
}

/// The request with an approximate trim replaced by the exact one that it amounted to, and without a limit, which
/// exact ones do not have.
fn exact_argv(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    key: Key<'_>,
    trim: &Trim,
) -> Result<Vec<Option<Vec<u8>>>, CommandError> {
    let mut argv: Vec<Option<Vec<u8>>> = args.iter_from(0).map(|arg| Some(arg.to_vec())).collect();
    if trim.keep.is_some() && trim.is_approximate {
        let log = &super::again(ctx, key)?.log;
        argv[trim.keep_at - 1] = Some(b"=".to_vec());
        argv[trim.keep_at] = Some(match trim.keep {
            Some(Keep::Newest(_)) => log.len().to_string().into_bytes(),
            // Nothing was left, so whoever repeats it leaves nothing either.
            _ if log.is_empty() => StreamId::MAX.to_vec(),
            _ => log.first_id().to_vec(),
        });
        if let Some(at) = trim.limit_at {
            argv[at - 1] = None;
            argv[at] = None;
        }
    }
    Ok(argv)
}

pub const XTRIM: Spec = Spec {
    name: "xtrim",
    arity: -4,
    flags: Flags::WRITE,
    acl: Categories::STREAM,
    group: Group::Stream,
    since: "5.0.0",
    summary: "Removes entries from the beginning of a stream.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(1, KeyFlags::RW.or(KeyFlags::DELETE))],
    args: &[
        Arg::key("key", 0),
        Arg::block(
            "trim",
            &[
                Arg::one_of(
                    "strategy",
                    &[
                        Arg::word("maxlen", "MAXLEN"),
                        Arg::word("minid", "MINID").since("6.2.0"),
                    ],
                ),
                Arg::one_of(
                    "operator",
                    &[Arg::word("equal", "="), Arg::word("approximately", "~")],
                )
                .optional(),
                Arg::new("threshold", ArgKind::String),
                Arg::new("count", ArgKind::Integer)
                    .token("LIMIT")
                    .since("6.2.0")
                    .optional(),
                Arg::one_of(
                    "condition",
                    &[
                        Arg::word("keepref", "KEEPREF"),
                        Arg::word("delref", "DELREF"),
                        Arg::word("acked", "ACKED"),
                    ],
                )
                .optional(),
            ],
        ),
    ],
    tips: &["nondeterministic_output"],
    history: &[
        ("6.2.0", &["MINID", "LIMIT"]),
        ("8.2.0", &["KEEPREF", "DELREF", "ACKED"]),
    ],
    handler: xtrim,
    ..Spec::DEFAULT
};

/// `XTRIM key <MAXLEN | MINID> [= | ~] threshold [LIMIT count] [KEEPREF | DELREF | ACKED]`
fn xtrim(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(ctx, args, false)?;
    let key = ctx.key(args, 1);
    let Some(stream) = find(ctx, key, Access::Write)? else {
        ctx.client.reply.int(0);
        return Ok(());
    };
    let Trimmed {
        entries,
        references,
    } = options.trim.run(stream);
    if entries > 0 {
        ctx.touch(key.bytes, Event::stream("xtrim"));
        super::count_changes(ctx, entries as usize - 1);
    } else {
        super::count_changes(ctx, references);
    }
    let has_changed = entries > 0 || references > 0;
    if has_changed && ctx.server.effects.propagating() && options.trim.is_approximate {
        let argv = exact_argv(ctx, args, key, &options.trim)?;
        propagate_instead(ctx, &[argv.into_iter().flatten().collect()]);
    }
    ctx.client.reply.int(entries as i64);
    Ok(())
}
