//! Syntax lines: how a command is written, in one line, made from its spec's arguments.
//!
//! Words stand for themselves in capitals, values by their names; `[...]` may be left out, `<a | b>` is a choice,
//! `...` may be repeated. Lives here: the rendering alone, and HELP, which consists of it. May not: read requests.

use crate::command::spec::{Arg, ArgKind, Spec};
use crate::command::{CommandError, Ctx};
use crate::resp::{Args, Reply};

/// The syntax line of a command: `SET key value [NX | XX] ...`. `full_name` is `config|get` for a subcommand.
pub fn syntax_line(full_name: &str, spec: &Spec) -> String {
    let name = full_name.replace('|', " ").to_ascii_uppercase();
    let args = arguments(spec.args);
    if args.is_empty() {
        name
    } else {
        format!("{name} {args}")
    }
}

/// Arguments in order, each in its notation.
fn arguments(args: &[Arg]) -> String {
    let shown: Vec<String> = args.iter().map(argument).collect();
    shown.join(" ")
}

fn argument(arg: &Arg) -> String {
    let token = match arg.token {
        Some("") => "\"\"",
        Some(token) => token,
        None => "",
    };
    // The brackets of an optional choice enclose it well enough.
    let is_enclosed = arg.optional && token.is_empty() && !arg.multiple;
    let value = match arg.kind {
        ArgKind::PureToken => String::new(),
        ArgKind::Block => arguments(arg.args),
        ArgKind::OneOf => {
            let choices: Vec<String> = arg.args.iter().map(argument).collect();
            let choices = choices.join(" | ");
            if is_enclosed {
                choices
            } else {
                format!("<{choices}>")
            }
        }
        _ => arg.display.unwrap_or(arg.name).to_owned(),
    };
    let once = if token.is_empty() || value.is_empty() {
        format!("{token}{value}")
    } else {
        format!("{token} {value}")
    };
    let all = match (arg.multiple, arg.multiple_token) {
        (false, _) => once,
        (true, true) => format!("{once} [{once} ...]"),
        (true, false) => format!("{once} [{value} ...]"),
    };
    if arg.optional {
        format!("[{all}]")
    } else {
        all
    }
}

/// The HELP subcommand of every container whose subcommands have specs: one line of syntax and one of summary
/// for each. A family's `help` spec names this as its handler.
pub fn container_help(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let Some(container) = ctx.this().container else {
        return Err(CommandError::Syntax);
    };
    let container = ctx.registry.get(container);
    let specs: Vec<&Spec> = container
        .subcommands
        .iter()
        .map(|id| ctx.registry.get(*id).spec)
        .filter(|spec| spec.name != "help")
        .collect();
    let derived: Vec<String> = match container.spec.help {
        [] => specs
            .iter()
            .map(|spec| syntax_line(spec.name, spec))
            .collect(),
        lines => lines.iter().map(|line| (*line).to_owned()).collect(),
    };
    let entries: Vec<(&str, &str)> = derived
        .iter()
        .map(|line| {
            let word = line.split(' ').next().unwrap_or_default();
            let spec = specs
                .iter()
                .find(|spec| word.eq_ignore_ascii_case(spec.name));
            let spec = spec.copied().unwrap_or(container.spec);
            (line.as_str(), spec.summary)
        })
        .collect();
    help(&mut ctx.client.reply, container.spec.name, &entries);
    Ok(())
}

/// A HELP reply: an array of status lines, for each entry its syntax and, indented, its text. Text may have
/// several lines. The entry of HELP itself is added.
pub fn help(reply: &mut Reply, container: &str, entries: &[(&str, &str)]) {
    let lines = 1 + entries
        .iter()
        .map(|(_, text)| 1 + text.lines().count())
        .sum::<usize>();
    reply.array(lines + 2);
    reply.simple(&format!(
        "{} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        container.to_ascii_uppercase()
    ));
    for (syntax, text) in entries.iter().chain(&[("HELP", "Print this help.")]) {
        reply.simple(syntax);
        for line in text.lines() {
            reply.simple(&format!("    {line}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: Arg = Arg::key("key", 0);
    const CASES: &[(&str, &[Arg])] = &[
        ("ping", &[]),
        ("config|resetstat", &[]),
        ("mget", &[KEY.multiple()]),
        (
            "set",
            &[
                KEY,
                Arg::one_of("c", &[Arg::word("nx", "NX"), Arg::word("xx", "XX")]).optional(),
            ],
        ),
        (
            "zadd",
            &[
                KEY,
                Arg::block(
                    "data",
                    &[
                        Arg::new("score", ArgKind::Double),
                        Arg::new("member", ArgKind::String),
                    ],
                )
                .multiple(),
            ],
        ),
        (
            "hello",
            &[Arg::block(
                "arguments",
                &[
                    Arg::new("protover", ArgKind::Integer),
                    Arg::block(
                        "auth",
                        &[
                            Arg::new("username", ArgKind::String),
                            Arg::new("password", ArgKind::String),
                        ],
                    )
                    .token("AUTH")
                    .optional(),
                ],
            )
            .optional()],
        ),
        (
            "client|list",
            &[Arg::one_of(
                "type",
                &[Arg::word("normal", "NORMAL"), Arg::word("pubsub", "PUBSUB")],
            )
            .token("TYPE")
            .optional()],
        ),
        (
            "client|tracking",
            &[Arg::new("prefix", ArgKind::String)
                .token("PREFIX")
                .optional()
                .multiple_token()],
        ),
        (
            "client|reply",
            &[Arg::one_of(
                "action",
                &[Arg::word("on", "ON"), Arg::word("off", "OFF")],
            )],
        ),
    ];

    #[test]
    fn lines_read_as_the_documentation_writes_them() {
        let lines: Vec<String> = CASES
            .iter()
            .map(|(name, args)| {
                let spec = Spec {
                    args,
                    ..Spec::DEFAULT
                };
                syntax_line(name, &spec)
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"), @r"
        PING
        CONFIG RESETSTAT
        MGET key [key ...]
        SET key [NX | XX]
        ZADD key score member [score member ...]
        HELLO [protover [AUTH username password]]
        CLIENT LIST [TYPE <NORMAL | PUBSUB>]
        CLIENT TRACKING [PREFIX prefix [PREFIX prefix ...]]
        CLIENT REPLY <ON | OFF>
        ");
    }
}
