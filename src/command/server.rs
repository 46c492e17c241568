//! Commands about the server as a whole: its end, its role, its modules, and some art.

use crate::command::ctx::int_arg;
use crate::command::scripting::busy_error;
use crate::command::spec::{Arg, ArgKind, Flags, Group, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::config::{REDIS_VERSION, ShutdownFlags};
use crate::resp::Args;
use crate::state::{Rng, Waiting};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[SHUTDOWN, LOLWUT, MODULE];

pub const SHUTDOWN: Spec = Spec {
    name: "shutdown",
    arity: -1,
    flags: Flags::ADMIN
        .or(Flags::NOSCRIPT)
        .or(Flags::LOADING)
        .or(Flags::STALE)
        .or(Flags::NO_MULTI)
        .or(Flags::ALLOW_BUSY),
    group: Group::Server,
    since: "1.0.0",
    summary: "Ends the server.",
    complexity: Some("O(N) or O(1)"),
    args: &[
        Arg::one_of(
            "save-selector",
            &[Arg::word("nosave", "NOSAVE"), Arg::word("save", "SAVE")],
        )
        .optional(),
        Arg::word("now", "NOW").since("7.0.0").optional(),
        Arg::word("force", "FORCE").since("7.0.0").optional(),
        Arg::word("abort", "ABORT").since("7.0.0").optional(),
    ],
    history: &[("7.0.0", &["NOW", "FORCE", "ABORT"])],
    handler: shutdown,
    ..Spec::DEFAULT
};

/// `SHUTDOWN [NOSAVE | SAVE] [NOW] [FORCE] [ABORT]`: there is a reply only when the end cannot be.
fn shutdown(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let mut seen = [false; 5];
    for at in 1..args.len() {
        let words = ["nosave", "save", "now", "force", "abort"];
        let word = words.iter().position(|word| args.is(at, word));
        seen[word.ok_or(CommandError::Syntax)?] = true;
    }
    let [nosave, save, now, force, abort] = seen;
    if (nosave && save) || (abort && (nosave || save || now || force)) {
        return Err(CommandError::Syntax);
    }
    if abort {
        if !ctx.server.cancel_shutdown() {
            return Err(CommandError::text("ERR No shutdown in progress."));
        }
        ctx.client.reply.ok();
        return Ok(());
    }

    if let Some(purpose) = ctx.server.scripting.busy.filter(|_| !nosave) {
        return Err(busy_error(purpose));
    }

    let mut flags = ShutdownFlags::DEFAULT;
    for (is_on, flag) in [
        (nosave, ShutdownFlags::NOSAVE),
        (save, ShutdownFlags::SAVE),
        (now, ShutdownFlags::NOW),
        (force, ShutdownFlags::FORCE),
    ] {
        if is_on {
            flags = flags.with(flag);
        }
    }
    let waiter = (ctx.client.conn, ctx.client.id);
    ctx.client.wait_for(Waiting::Answer);
    ctx.server.ask_shutdown(flags, Some(waiter));
    Ok(())
}

pub const LOLWUT: Spec = Spec {
    name: "lolwut",
    arity: -1,
    flags: Flags::READONLY.or(Flags::FAST),
    group: Group::Server,
    since: "5.0.0",
    summary: "Draws a picture and tells the version.",
    args: &[Arg::new("version", ArgKind::Integer)
        .token("VERSION")
        .optional()],
    handler: lolwut,
    ..Spec::DEFAULT
};

/// `LOLWUT [VERSION version] [columns [rows]]`: a maze to be retraced.
fn lolwut(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let has_version = args.len() >= 3 && args.is(1, "version");
    let version = if has_version { int_arg(args, 2)? } else { 8 };
    let mut size = [24usize, 8];
    let first = if has_version { 3 } else { 1 };
    for (at, len) in size.iter_mut().enumerate() {
        if first + at < args.len() {
            *len = int_arg(args, first + at)?.clamp(1, 80) as usize;
        }
    }
    let mut text = String::new();
    if (5..=8).contains(&version) {
        text = maze(&mut ctx.server.rng, size[0], size[1]);
        text.push_str("\nThere is one way between any two places here. Retrace it.\n");
    }
    text.push_str(&format!("Redis ver. {REDIS_VERSION}\n"));
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// A maze of `columns` by `rows` cells in which exactly one way leads from any cell to any other: walls go down
/// along a random walk that turns back where it cannot go on.
fn maze(rng: &mut Rng, columns: usize, rows: usize) -> String {
    let at = |x: usize, y: usize| y * columns + x;
    let mut visited = vec![false; columns * rows];
    let mut open_right = visited.clone();
    let mut open_down = visited.clone();
    let mut way = vec![(0, 0)];
    visited[0] = true;
    while let Some(&(x, y)) = way.last() {
        let mut around = Vec::with_capacity(4);
        if x > 0 && !visited[at(x - 1, y)] {
            around.push((x - 1, y));
        }
        if x + 1 < columns && !visited[at(x + 1, y)] {
            around.push((x + 1, y));
        }
        if y > 0 && !visited[at(x, y - 1)] {
            around.push((x, y - 1));
        }
        if y + 1 < rows && !visited[at(x, y + 1)] {
            around.push((x, y + 1));
        }
        if around.is_empty() {
            way.pop();
            continue;
        }
        let (next_x, next_y) = around[rng.below(around.len() as u64) as usize];
        if next_y == y {
            open_right[at(x.min(next_x), y)] = true;
        } else {
            open_down[at(x, y.min(next_y))] = true;
        }
        visited[at(next_x, next_y)] = true;
        way.push((next_x, next_y));
    }

    let mut text = format!(" {}\n", "_".repeat(columns * 2 - 1));
    for y in 0..rows {
        text.push('|');
        for x in 0..columns {
            text.push(if open_down[at(x, y)] { ' ' } else { '_' });
            text.push(match (open_right[at(x, y)], open_down[at(x, y)]) {
                (false, _) => '|',
                (true, true) => ' ',
                (true, false) => '_',
            });
        }
        text.push('\n');
    }
    text
}

pub const MODULE: Spec = Spec {
    name: "module",
    arity: -2,
    group: Group::Server,
    since: "4.0.0",
    summary: "Groups the commands about modules.",
    subcommands: &[MODULE_HELP, MODULE_LIST],
    ..Spec::DEFAULT
};

pub const MODULE_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    group: Group::Server,
    since: "5.0.0",
    summary: "Shows the forms of this command.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const MODULE_LIST: Spec = Spec {
    name: "list",
    arity: 2,
    flags: Flags::ADMIN.or(Flags::NOSCRIPT),
    group: Group::Server,
    since: "4.0.0",
    summary: "Lists the modules in use.",
    complexity: Some("O(N)"),
    tips: &["nondeterministic_output_order"],
    handler: module_list,
    ..Spec::DEFAULT
};

/// `MODULE LIST`: this server loads none.
fn module_list(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.client.reply.array(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_maze_has_as_many_openings_as_a_tree_has_edges() {
        for seed in 0..20 {
            let text = maze(&mut Rng::new(seed), 7, 5);
            let rows: Vec<&[u8]> = text.lines().skip(1).map(str::as_bytes).collect();
            let (mut right, mut down) = (0, 0);
            for row in &rows {
                assert_eq!(row.len(), 15);
                right += (0..6).filter(|x| row[x * 2 + 2] != b'|').count();
                down += (0..7).filter(|x| row[x * 2 + 1] == b' ').count();
            }
            assert_eq!(right + down, 7 * 5 - 1, "seed {seed}\n{text}");
        }
    }
}
