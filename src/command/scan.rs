//! Walks over the keyspace: SCAN, KEYS, RANDOMKEY; and the cursor and options that all SCAN commands share.

use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Kind;
use crate::resp::Args;
use crate::types::decimal::parse_u64;
use crate::types::glob::glob_match;
use crate::types::text::up_to_nul;

/// Keys that RANDOMKEY looks at for one that has not expired, while CLIENT PAUSE keeps those in place.
const PAUSED_TRIES: usize = 100;

/// The family's commands.
pub const COMMANDS: &[Spec] = &[KEYS, SCAN, RANDOMKEY];

/// Elements that a SCAN call returns about, unless COUNT says otherwise.
const COUNT_DEFAULT: usize = 10;

/// Chains that a call may visit for each element it is to return, so that a sparse table cannot hold it up.
const VISITS_PER_ELEMENT: usize = 10;

/// The options behind the cursor of a SCAN command.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    pub count: usize,
    /// `None` when every name matches.
    pub pattern: Option<&'a [u8]>,
    /// Of SCAN: the type's name.
    pub kind: Option<&'a [u8]>,
    /// Of HSCAN: fields without their values.
    pub no_values: bool,
}

/// The collection that is walked, which decides on the options.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scanned {
    Keyspace,
    Hash,
    Other,
}

impl<'a> ScanOptions<'a> {
    /// The options from argument `from` on.
    pub fn parse(
        args: Args<'a>,
        from: usize,
        scanned: Scanned,
    ) -> Result<ScanOptions<'a>, CommandError> {
        let mut options = ScanOptions {
            count: COUNT_DEFAULT,
            pattern: None,
            kind: None,
            no_values: false,
        };
        let mut index = from;
        while index < args.len() {
            let has_value = index + 1 < args.len();
            if args.is(index, "COUNT") && has_value {
                let count = int_arg(args, index + 1)?;
                options.count = usize::try_from(count).unwrap_or(0);
                if options.count == 0 {
                    return Err(CommandError::Syntax);
                }
            } else if args.is(index, "MATCH") && has_value {
                options.pattern = Some(args.bytes(index + 1)).filter(|pattern| *pattern != b"*");
            } else if args.is(index, "TYPE") && has_value && scanned == Scanned::Keyspace {
                options.kind = Some(args.bytes(index + 1));
            } else if args.is(index, "NOVALUES") {
                if scanned != Scanned::Hash {
                    return Err(CommandError::text(
                        "ERR NOVALUES option can only be used in HSCAN",
                    ));
                }
                options.no_values = true;
                index += 1;
                continue;
            } else {
                return Err(CommandError::Syntax);
            }
            index += 2;
        }
        Ok(options)
    }

    /// Whether an element of this name is wanted.
    #[inline]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.pattern
            .is_none_or(|pattern| glob_match(pattern, name, false))
    }

    /// Calls `step`, which takes a cursor and the elements found so far and returns both anew, until enough was
    /// found or visited, and returns the cursor to go on from.
    pub fn walk<T>(
        &self,
        mut cursor: u64,
        found: &mut Vec<T>,
        mut step: impl FnMut(u64, &mut Vec<T>) -> u64,
    ) -> u64 {
        let mut visits = self.count.saturating_mul(VISITS_PER_ELEMENT);
        loop {
            cursor = step(cursor, found);
            visits = visits.saturating_sub(1);
            if cursor == 0 || visits == 0 || found.len() >= self.count {
                return cursor;
            }
        }
    }
}

/// The cursor at argument `index`: any number of 64 bits, of what stands before a NUL.
pub fn cursor_arg(args: Args<'_>, index: usize) -> Result<u64, CommandError> {
    parse_u64(up_to_nul(args.bytes(index))).ok_or(CommandError::text("ERR invalid cursor"))
}

pub const SCAN: Spec = Spec {
    name: "scan",
    arity: -2,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "2.8.0",
    summary: "Walks the keys a few at a time.",
    complexity: Some("O(1) or O(N)"),
    args: &[
        Arg::new("cursor", ArgKind::Integer),
        Arg::new("pattern", ArgKind::Pattern)
            .token("MATCH")
            .optional(),
        Arg::new("count", ArgKind::Integer)
            .token("COUNT")
            .optional(),
        Arg::new("type", ArgKind::String)
            .token("TYPE")
            .since("6.0.0")
            .optional(),
    ],
    tips: &[
        "nondeterministic_output",
        "request_policy:special",
        "response_policy:special",
    ],
    history: &[("6.0.0", &["TYPE"])],
    handler: scan,
    ..Spec::DEFAULT
};

/// `SCAN cursor [MATCH pattern] [COUNT count] [TYPE type]`
fn scan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let cursor = cursor_arg(args, 1)?;
    let options = ScanOptions::parse(args, 2, Scanned::Keyspace)?;
    // A type that nothing has is not an error.
    let kind = options.kind.map(Kind::from_name);
    let dbid = ctx.client.dbid;
    let mut due: Vec<Vec<u8>> = Vec::new();
    let mut keys: Vec<Vec<u8>> = Vec::new();
    let server = &*ctx.server;
    let Some(db) = server.dbs.get(dbid as usize) else {
        return Err(CommandError::DbIndex);
    };
    let next = options.walk(cursor, &mut keys, |cursor, keys| {
        db.table.scan(cursor, &mut |entry| {
            if !options.matches(entry.key()) {
                return;
            }
            if server.is_due(entry) {
                due.push(entry.key().to_vec());
            } else if kind.is_none_or(|kind| kind == Some(entry.kind())) {
                keys.push(entry.key().to_vec());
            }
        })
    });
    for key in &due {
        let key = ctx.server.key(key);
        ctx.server.expire_if_due(dbid, key);
    }
    let reply = &mut ctx.client.reply;
    reply.array(2);
    reply.text(itoa::Buffer::new().format(next));
    reply.array(keys.len());
    for key in &keys {
        reply.bulk(key);
    }
    Ok(())
}

pub const KEYS: Spec = Spec {
    name: "keys",
    arity: 2,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE.or(Categories::DANGEROUS),
    group: Group::Generic,
    since: "1.0.0",
    summary: "Lists all keys that match a pattern.",
    complexity: Some("O(N)"),
    args: &[Arg::new("pattern", ArgKind::Pattern)],
    tips: &["request_policy:all_shards", "nondeterministic_output_order"],
    handler: keys,
    ..Spec::DEFAULT
};

/// `KEYS pattern`
fn keys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let pattern = args.bytes(1);
    let all = pattern == b"*";
    let server = &*ctx.server;
    let Some(db) = server.dbs.get(ctx.client.dbid as usize) else {
        return Err(CommandError::DbIndex);
    };
    let reply = &mut ctx.client.reply;
    let start = reply.array_begin();
    let mut len = 0;
    for entry in db.table.iter() {
        if (all || glob_match(pattern, entry.key(), false)) && !server.is_due(entry) {
            reply.bulk(entry.key());
            len += 1;
            if reply.is_cut() {
                break;
            }
        }
    }
    reply.array_end(start, len);
    Ok(())
}

pub const RANDOMKEY: Spec = Spec {
    name: "randomkey",
    arity: 1,
    flags: Flags::READONLY,
    acl: Categories::KEYSPACE,
    group: Group::Generic,
    since: "1.0.0",
    summary: "Picks a key by chance.",
    complexity: Some("O(1)"),
    tips: &[
        "request_policy:all_shards",
        "response_policy:special",
        "nondeterministic_output",
    ],
    handler: randomkey,
    ..Spec::DEFAULT
};

/// `RANDOMKEY`
fn randomkey(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let dbid = ctx.client.dbid;
    let mut tries = 0;
    loop {
        let server = &mut *ctx.server;
        let rng = &mut server.rng;
        let Some(db) = server.dbs.get(dbid as usize) else {
            return Err(CommandError::DbIndex);
        };
        let Some(entry) = db.table.random(&mut |bound| rng.below(bound)) else {
            ctx.client.reply.null();
            return Ok(());
        };
        let key = entry.key().to_vec();
        let is_due = server.is_due(entry);
        if is_due && server.is_paused() {
            // Nothing is removed now; if all that come up have expired, one of them has to do.
            tries += 1;
            if tries < PAUSED_TRIES {
                continue;
            }
        } else if is_due {
            // It is removed and another one picked, so this ends.
            server.expire_if_due(dbid, server.key(&key));
            continue;
        }
        ctx.client.reply.bulk(&key);
        return Ok(());
    }
}
