//! LPOS: where in a list the elements of a given value are.

use super::{READS_KEY, int_above_min};
use crate::command::ctx::count_arg;
use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::keyspace::object::List;
use crate::resp::Args;
use crate::state::keys::Access;
use crate::types::quicklist::{End, Needle};

/// The commands of this file.
pub const COMMANDS: &[Spec] = &[LPOS];

pub const LPOS: Spec = Spec {
    name: "lpos",
    arity: -3,
    flags: Flags::READONLY,
    acl: Categories::LIST,
    group: Group::List,
    since: "6.0.6",
    summary: "Returns the places of a list's elements that have a given value.",
    complexity: Some("O(N)"),
    key_specs: READS_KEY,
    args: &[
        Arg::key("key", 0),
        Arg::new("element", ArgKind::String),
        Arg::new("rank", ArgKind::Integer).token("RANK").optional(),
        Arg::new("num-matches", ArgKind::Integer)
            .token("COUNT")
            .optional(),
        Arg::new("len", ArgKind::Integer).token("MAXLEN").optional(),
    ],
    handler: lpos,
    ..Spec::DEFAULT
};

/// What LPOS asks for.
struct Options {
    /// From which end on.
    from: End,
    /// How many matches are passed over.
    skipped: u64,
    /// How many matches are asked for, zero for all; without it one is, and the reply is no array.
    count: Option<usize>,
    /// How many elements are looked at, zero for all.
    looked_at_max: usize,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, CommandError> {
        let mut options = Options {
            from: End::Head,
            skipped: 0,
            count: None,
            looked_at_max: 0,
        };
        for index in (3..args.len()).step_by(2) {
            if index + 1 >= args.len() {
                return Err(CommandError::Syntax);
            }
            let value = index + 1;
            if args.is(index, "RANK") {
                let rank = int_above_min(args, value)?;
                if rank == 0 {
                    return Err(CommandError::text(
                        "ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... \
                         or use negative to start from the end of the list",
                    ));
                }
                options.from = if rank < 0 { End::Tail } else { End::Head };
                options.skipped = rank.unsigned_abs() - 1;
            } else if args.is(index, "COUNT") {
                let error = |_| CommandError::text("ERR COUNT can't be negative");
                options.count = Some(count_arg(args, value).map_err(error)?);
            } else if args.is(index, "MAXLEN") {
                let error = |_| CommandError::text("ERR MAXLEN can't be negative");
                options.looked_at_max = count_arg(args, value).map_err(error)?;
            } else {
                return Err(CommandError::Syntax);
            }
        }
        Ok(options)
    }

    /// Calls `found` with the place of each match that is asked for.
    fn search(&self, list: &List, needle: &Needle<'_>, mut found: impl FnMut(usize)) {
        let len = list.len();
        let looked_at_max = match self.looked_at_max {
            0 => len,
            max => max.min(len),
        };
        let (first, towards) = match self.from {
            End::Head => (0, End::Tail),
            End::Tail => (len - 1, End::Head),
        };
        let mut skipped = self.skipped;
        let mut wanted = match self.count.unwrap_or(1) {
            0 => usize::MAX,
            count => count,
        };
        let mut seen = 0;
        list.walk(first, towards, |element| {
            if needle.is(element) {
                if skipped > 0 {
                    skipped -= 1;
                } else {
                    found(match towards {
                        End::Tail => seen,
                        End::Head => len - 1 - seen,
                    });
                    wanted -= 1;
                }
            }
            seen += 1;
            seen < looked_at_max && wanted > 0
        });
    }
}

/// `LPOS key element [RANK rank] [COUNT num-matches] [MAXLEN len]`.
fn lpos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let options = Options::parse(args)?;
    let key = ctx.key(args, 1);
    let reply = &mut ctx.client.reply;
    let list = ctx
        .server
        .object::<List>(ctx.client.dbid, key, Access::Read)?
        .filter(|list| !list.is_empty());
    let needle = Needle::new(args.bytes(2));
    if options.count.is_none() {
        let mut place = None;
        if let Some(list) = list {
            options.search(list, &needle, |index| place = Some(index));
        }
        match place {
            Some(place) => reply.len(place),
            None => reply.null(),
        }
        return Ok(());
    }
    let array = reply.array_begin();
    let mut matches = 0;
    if let Some(list) = list {
        options.search(list, &needle, |index| {
            reply.len(index);
            matches += 1;
        });
    }
    reply.array_end(array, matches);
    Ok(())
}
