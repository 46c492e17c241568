//! LCS: the longest common subsequence of two strings.
//!
//! The table of subsequence lengths is filled row by row and walked back from its end; see Wagner and Fischer,
//! "The string-to-string correction problem" (1974). Where both directions are as good, the walk goes back in the
//! second string, which decides between subsequences of the same length.

use super::{max_len, with_bytes};
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::entry::Kind;
use crate::resp::Args;
use crate::state::keys::Access;

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[LCS];

pub const LCS: Spec = Spec {
    name: "lcs",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::STRING,
    group: Group::String,
    since: "7.0.0",
    summary: "Finds the longest subsequence that two strings have in common.",
    complexity: Some("O(N*M)"),
    key_specs: &[KeySpec::range(1, 1, 1, KeyFlags::RO.or(KeyFlags::ACCESS))],
    args: &[
        Arg::key("key1", 0),
        Arg::key("key2", 0),
        Arg::word("len", "LEN").optional(),
        Arg::word("idx", "IDX").optional(),
        Arg::new("min-match-len", ArgKind::Integer)
            .token("MINMATCHLEN")
            .optional(),
        Arg::word("withmatchlen", "WITHMATCHLEN").optional(),
    ],
    handler: lcs,
    ..Spec::DEFAULT
};

fn lcs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let a = operand(ctx, args, 1)?;
    let b = operand(ctx, args, 2)?;
    let (Some(a), Some(b)) = (a, b) else {
        return Err(CommandError::text(
            "ERR The specified keys must contain string values",
        ));
    };
    let options = Options::parse(args)?;
    if a.len().max(b.len()) >= u32::MAX as usize - 1 {
        return Err(CommandError::text("ERR String too long for LCS"));
    }
    let bytes = (a.len() + 1) as u128 * (b.len() + 1) as u128 * size_of::<u32>() as u128;
    if bytes > max_len(ctx) as u128 {
        return Err(CommandError::text(
            "ERR Insufficient memory, transient memory for LCS exceeds proto-max-bulk-len",
        ));
    }

    let lengths = Lengths::of(&a, &b);
    let len = lengths.at(a.len(), b.len()) as usize;
    let reply = &mut ctx.client.reply;
    if options.indexes {
        let matches = lengths.matches(&a, &b);
        reply.map(2);
        reply.text("matches");
        let kept = matches.iter().filter(|run| run.len >= options.min_len);
        reply.array(kept.clone().count());
        for run in kept {
            reply.array(2 + usize::from(options.with_len));
            for start in [run.a, run.b] {
                reply.array(2);
                reply.len(start);
                reply.len(start + run.len - 1);
            }
            if options.with_len {
                reply.len(run.len);
            }
        }
        reply.text("len");
        reply.len(len);
    } else if options.len {
        reply.len(len);
    } else {
        let mut common = Vec::with_capacity(len);
        for run in lengths.matches(&a, &b).iter().rev() {
            common.extend_from_slice(&a[run.a..run.a + run.len]);
        }
        reply.bulk(&common);
    }
    Ok(())
}

/// The string at argument `index`, empty if there is none; `None` for another type.
fn operand(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    index: usize,
) -> Result<Option<Vec<u8>>, CommandError> {
    let key = ctx.key(args, index);
    Ok(match ctx.lookup(key, Access::Read) {
        None => Some(Vec::new()),
        Some(entry) if entry.kind() == Kind::String => Some(with_bytes(entry, <[u8]>::to_vec)),
        Some(_) => None,
    })
}

#[derive(Default)]
struct Options {
    len: bool,
    indexes: bool,
    with_len: bool,
    min_len: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = 3;
        while index < args.len() {
            if args.is(index, "LEN") {
                options.len = true;
            } else if args.is(index, "IDX") {
                options.indexes = true;
            } else if args.is(index, "WITHMATCHLEN") {
                options.with_len = true;
            } else if args.is(index, "MINMATCHLEN") && index + 1 < args.len() {
                index += 1;
                options.min_len = usize::try_from(int_arg(args, index)?).unwrap_or(0);
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        if options.len && options.indexes {
            return Err(CommandError::text(
                "ERR If you want both the length and indexes, please just use IDX.",
            ));
        }
        Ok(options)
    }
}

/// For every pair of prefixes, the length of their longest common subsequence.
struct Lengths {
    table: Vec<u32>,
    width: usize,
}

/// Bytes that are the same in both strings: where they start, and how many they are.
struct Match {
    a: usize,
    b: usize,
    len: usize,
}

impl Lengths {
    fn of(a: &[u8], b: &[u8]) -> Lengths {
        let width = b.len() + 1;
        let mut table = vec![0u32; (a.len() + 1) * width];
        for (i, byte) in a.iter().enumerate() {
            let (above, row) = table[i * width..(i + 2) * width].split_at_mut(width);
            for (j, other) in b.iter().enumerate() {
                row[j + 1] = if byte == other {
                    above[j] + 1
                } else {
                    above[j + 1].max(row[j])
                };
            }
        }
        Lengths { table, width }
    }

    fn at(&self, a_len: usize, b_len: usize) -> u32 {
        self.table[a_len * self.width + b_len]
    }

    /// The common subsequence as runs that lie without a gap in both strings, last first.
    fn matches(&self, a: &[u8], b: &[u8]) -> Vec<Match> {
        let (mut i, mut j) = (a.len(), b.len());
        let mut runs: Vec<Match> = Vec::new();
        while i > 0 && j > 0 {
            if a[i - 1] == b[j - 1] {
                i -= 1;
                j -= 1;
                match runs.last_mut() {
                    Some(run) if run.a == i + 1 && run.b == j + 1 => {
                        run.a = i;
                        run.b = j;
                        run.len += 1;
                    }
                    _ => runs.push(Match { a: i, b: j, len: 1 }),
                }
            } else if self.at(i - 1, j) > self.at(i, j - 1) {
                i -= 1;
            } else {
                j -= 1;
            }
        }
        runs
    }
}
