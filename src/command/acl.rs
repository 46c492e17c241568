//! ACL: users and what each may do, as administrators see and change it.
//!
//! Lives here: the subcommands, and what a change means for clients of the user. May not: know the rules
//! (`crate::acl`), or whether a request is allowed (`permission.rs`).

use crate::acl::log::Entry;
use crate::acl::{BadRule, ChannelsLeft, Selector, Terms, User, UserId, file};
use crate::border::{LogLevel, Order, Outcome};
use crate::command::ctx::int_arg;
use crate::command::permission::check;
use crate::command::registry::Registry;
use crate::command::spec::{Arg, ArgKind, CATEGORY_NAMES, Flags, Group, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::config::PubsubDefault;
use crate::resp::{Args, Reply};
use crate::state::server::Continuation;
use crate::state::subscriptions::Scope;
use crate::state::{Client, ConnId, Server, Waiting};
use crate::types::text::{has_spaces, up_to_nul};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[ACL];

const PLAIN: Flags = Flags::NOSCRIPT.or(Flags::LOADING).or(Flags::STALE);
const ADMIN: Flags = PLAIN.or(Flags::ADMIN);
const TO_ALL_NODES: &[&str] = &["request_policy:all_nodes", "response_policy:all_succeeded"];

/// Bits of a password that ACL GENPASS makes when nothing is said, and at most.
const PASSWORD_BITS: i64 = 256;
const PASSWORD_BITS_MAX: i64 = 4096;

/// How many entries ACL LOG shows when nothing is said.
const LOG_ENTRIES: i64 = 10;

pub const ACL: Spec = Spec {
    name: "acl",
    arity: -2,
    group: Group::Server,
    since: "6.0.0",
    summary: "Groups the commands about users and their permissions.",
    help: &[
        "CAT [<category>]",
        "DELUSER <username> [<username> ...]",
        "DRYRUN <username> <command> [<arg> ...]",
        "GETUSER <username>",
        "GENPASS [<bits>]",
        "LIST",
        "LOAD",
        "LOG [<count> | RESET]",
        "SAVE",
        "SETUSER <username> <attribute> [<attribute> ...]",
        "USERS",
        "WHOAMI",
    ],
    subcommands: &[
        ACL_CAT,
        ACL_DELUSER,
        ACL_DRYRUN,
        ACL_GENPASS,
        ACL_GETUSER,
        ACL_HELP,
        ACL_LIST,
        ACL_LOAD,
        ACL_LOG,
        ACL_SAVE,
        ACL_SETUSER,
        ACL_USERS,
        ACL_WHOAMI,
    ],
    ..Spec::DEFAULT
};

/// What the subcommands have in common.
const SUBCOMMAND: Spec = Spec {
    group: Group::Server,
    since: "6.0.0",
    complexity: Some("O(1)"),
    ..Spec::DEFAULT
};

const USERNAME: Arg = Arg::new("username", ArgKind::String);

pub const ACL_CAT: Spec = Spec {
    name: "cat",
    arity: -2,
    flags: PLAIN,
    summary: "Lists the categories of commands, or the commands of one.",
    args: &[Arg::new("category", ArgKind::String).optional()],
    handler: cat,
    ..SUBCOMMAND
};

/// `ACL CAT [category]`
fn cat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let reply = &mut ctx.client.reply;
    match args.len() {
        2 => {
            reply.array(CATEGORY_NAMES.len());
            CATEGORY_NAMES.iter().for_each(|name| reply.text(name));
        }
        3 => {
            let name = args.bytes(2);
            let category = crate::acl::category(name);
            let unknown = || CommandError::quoting("ERR Unknown category '", name, "'");
            let category = category.ok_or_else(unknown)?;
            let commands = ctx.registry.all();
            let found = commands.filter(|command| command.spec.categories().has(category));
            let found: Vec<&str> = found.map(|command| command.full_name.as_str()).collect();
            reply.array(found.len());
            found.iter().for_each(|name| reply.text(name));
        }
        _ => return Err(CommandError::subcommand_syntax(args.bytes(1), "ACL")),
    }
    Ok(())
}

pub const ACL_DELUSER: Spec = Spec {
    name: "deluser",
    arity: -3,
    flags: ADMIN,
    summary: "Deletes users and closes their connections.",
    args: &[USERNAME.multiple()],
    tips: TO_ALL_NODES,
    handler: deluser,
    ..SUBCOMMAND
};

/// `ACL DELUSER username [username ...]`
fn deluser(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let find = |name| ctx.server.users.find(name);
    let found: Vec<UserId> = args.iter_from(2).filter_map(find).collect();
    if found.contains(&UserId::DEFAULT) {
        return Err(CommandError::text(
            "ERR The 'default' user cannot be removed",
        ));
    }
    let mut deleted = 0;
    for id in found {
        // A name may have been given twice.
        if ctx.server.users.is_used(id) {
            deleted += 1;
            close_clients_of(ctx.server, ctx.client, id);
            ctx.server.users.remove(id);
        }
    }
    ctx.client.reply.len(deleted);
    Ok(())
}

/// Closes the clients of a user; the one that asks (`current`) when it has its answer.
fn close_clients_of(server: &mut Server, current: &mut Client, user: UserId) {
    for client in server.clients.iter_mut() {
        if client.user == user {
            log_out(client);
            server.doomed.push(client.conn);
        }
    }
    if current.user == user {
        log_out(current);
        current.close_after_reply();
    }
}

/// What the client still has in line runs as someone who has not logged in.
fn log_out(client: &mut Client) {
    client.user = UserId::DEFAULT;
    client.authenticated = false;
}

pub const ACL_DRYRUN: Spec = Spec {
    name: "dryrun",
    arity: -4,
    flags: ADMIN,
    since: "7.0.0",
    summary: "Tells whether a user may run a command, without running it.",
    args: &[
        USERNAME,
        Arg::new("command", ArgKind::String),
        Arg::new("arg", ArgKind::String).optional().multiple(),
    ],
    handler: dryrun,
    ..SUBCOMMAND
};

/// `ACL DRYRUN username command [arg [arg ...]]`
fn dryrun(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let user = ctx.server.users.named(args.bytes(2));
    let user =
        user.ok_or_else(|| CommandError::quoting("ERR User '", args.bytes(2), "' not found"))?;
    let request = args.without(3);
    let command = ctx
        .registry
        .find(request)
        .map_err(|_| CommandError::quoting("ERR Command '", request.bytes(0), "' not found"))?;
    if !command.spec.accepts(request.len()) {
        return Err(CommandError::Arity(command.full_name.clone().into()));
    }
    match check(user, command, request) {
        Ok(()) => ctx.client.reply.ok(),
        Err(denial) => {
            let text = denial.full_text(user, command, request);
            ctx.client.reply.bulk(&text);
        }
    }
    Ok(())
}

pub const ACL_GENPASS: Spec = Spec {
    name: "genpass",
    arity: -2,
    flags: PLAIN,
    summary: "Makes a password that nobody can guess.",
    args: &[Arg::new("bits", ArgKind::Integer).optional()],
    handler: genpass,
    ..SUBCOMMAND
};

/// `ACL GENPASS [bits]`: hexadecimal digits with at least so many bits.
fn genpass(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let bits = match args.len() {
        2 => PASSWORD_BITS,
        3 => int_arg(args, 2)?,
        _ => return Err(CommandError::subcommand_syntax(args.bytes(1), "ACL")),
    };
    if !(1..=PASSWORD_BITS_MAX).contains(&bits) {
        return Err(CommandError::text(format!(
            "ERR ACL GENPASS argument must be the number of bits for the output password, a positive number up to \
             {PASSWORD_BITS_MAX}"
        )));
    }
    let digits = (bits as usize).div_ceil(4);
    let password = ctx.server.secrets.hex(digits);
    ctx.client.reply.bulk(password.as_bytes());
    Ok(())
}

pub const ACL_GETUSER: Spec = Spec {
    name: "getuser",
    arity: 3,
    flags: ADMIN,
    summary: "Shows a user: flags, hashes of passwords, and rules.",
    complexity: Some("O(N)"),
    args: &[USERNAME],
    history: &[("6.2.0", &[]), ("7.0.0", &[])],
    handler: getuser,
    ..SUBCOMMAND
};

/// `ACL GETUSER username`
fn getuser(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let reply = &mut ctx.client.reply;
    let Some(user) = ctx.server.users.named(args.bytes(2)) else {
        reply.null();
        return Ok(());
    };
    reply.map(6);
    reply.text("flags");
    let flags = user.flag_names();
    reply.set(flags.len());
    flags.iter().for_each(|name| reply.text(name));
    reply.text("passwords");
    reply.array(user.passwords().len());
    for hash in user.passwords() {
        reply.text(&hash.hex());
    }
    reply_selector(reply, user.root());
    reply.text("selectors");
    reply.array(user.selectors().len());
    for selector in user.selectors() {
        reply.map(3);
        reply_selector(reply, selector);
    }
    Ok(())
}

/// The three fields of a set of permissions.
fn reply_selector(reply: &mut Reply, selector: &Selector) {
    for (name, rules) in [
        ("commands", selector.describe_commands()),
        ("keys", selector.describe_keys()),
        ("channels", selector.describe_channels()),
    ] {
        reply.text(name);
        reply.bulk(&rules);
    }
}

pub const ACL_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    summary: "Shows the forms of this command.",
    handler: container_help,
    ..SUBCOMMAND
};

pub const ACL_LIST: Spec = Spec {
    name: "list",
    arity: 2,
    flags: ADMIN,
    summary: "Shows all users, each in one line as an ACL file has it.",
    complexity: Some("O(N)"),
    handler: list,
    ..SUBCOMMAND
};

/// `ACL LIST`
fn list(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let lines: Vec<Vec<u8>> = ctx.server.users.iter().map(User::describe).collect();
    ctx.client.reply.array(lines.len());
    lines.iter().for_each(|line| ctx.client.reply.bulk(line));
    Ok(())
}

pub const ACL_LOAD: Spec = Spec {
    name: "load",
    arity: 2,
    flags: ADMIN,
    summary: "Reads the users from the ACL file again.",
    complexity: Some("O(N)"),
    handler: load,
    ..SUBCOMMAND
};

/// `ACL LOAD`: the reply comes when the file is read.
fn load(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    needs_file(ctx)?;
    ctx.client.wait_for(Waiting::Answer);
    let client = (ctx.client.conn, ctx.client.id);
    let order = |ticket| Order::ReadAclFile { ticket };
    ctx.server.ask_shell(client, Continuation::AclLoad, order);
    Ok(())
}

fn needs_file(ctx: &Ctx<'_>) -> Result<(), CommandError> {
    if !ctx.server.config.aclfile.is_empty() {
        return Ok(());
    }
    Err(CommandError::text(
        "ERR This Redis instance is not configured to use an ACL file. You may want to specify users via the ACL \
         SETUSER command and then issue a CONFIG REWRITE (assuming you have a Redis configuration file set) in \
         order to store users in the Redis configuration.",
    ))
}

/// The shell has read the ACL file: its users take the place of all there are. Connections are closed whose user is
/// gone, or who listen to what their user may not hear any more.
pub fn loaded(
    server: &mut Server,
    registry: &Registry,
    current: ConnId,
    outcome: Outcome,
) -> Result<(), CommandError> {
    let path = String::from_utf8_lossy(&server.config.aclfile).into_owned();
    let users = outcome
        .map_err(|why| format!("Error loading ACLs, opening file '{path}': {why}"))
        .and_then(|text| {
            let mut terms = terms(server, registry);
            let users = file::parse(&text, &path, &mut terms)?;
            Ok((users, terms.deprecated))
        });
    let (new, deprecated) =
        users.map_err(|why| CommandError::Bytes(format!("ERR {why}").into()))?;
    log_deprecated(server, &deprecated);
    let gone: Vec<UserId> = server
        .users
        .ids()
        .filter(|id| new.named(server.users.get(*id).name()).is_none())
        .collect();
    for client in server.clients.iter_mut() {
        if gone.contains(&client.user) {
            log_out(client);
            server.doomed.push(client.conn);
        }
    }
    for id in gone {
        server.users.remove(id);
    }
    for user in new.iter() {
        put_user(server, None, user.clone());
    }
    // The one that loads gets its answer before it goes.
    if server.doomed.contains(&current) {
        server.doomed.retain(|conn| *conn != current);
        if let Some(client) = server.clients.get_mut(current) {
            client.close_after_reply();
        }
    }
    Ok(())
}

pub const ACL_LOG: Spec = Spec {
    name: "log",
    arity: -2,
    flags: ADMIN,
    summary: "Shows what was refused lately, or forgets it.",
    complexity: Some("O(N)"),
    args: &[Arg::one_of(
        "operation",
        &[
            Arg::new("count", ArgKind::Integer),
            Arg::word("reset", "RESET"),
        ],
    )
    .optional()],
    history: &[("7.2.0", &[])],
    handler: log,
    ..SUBCOMMAND
};

/// `ACL LOG [count | RESET]`
fn log(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let count = match args.len() {
        2 => LOG_ENTRIES,
        3 if args.is(2, "RESET") => {
            ctx.server.acl_log.reset();
            ctx.client.reply.ok();
            return Ok(());
        }
        3 => int_arg(args, 2)?.max(0),
        _ => return Err(CommandError::subcommand_syntax(args.bytes(1), "ACL")),
    };
    let entries = ctx.server.acl_log.iter();
    let count = usize::try_from(count)
        .unwrap_or(usize::MAX)
        .min(entries.len());
    let reply = &mut ctx.client.reply;
    reply.array(count);
    for entry in entries.take(count) {
        reply_entry(reply, entry, ctx.server.now_ms);
    }
    Ok(())
}

fn reply_entry(reply: &mut Reply, entry: &Entry, now_ms: i64) {
    reply.map(10);
    reply.text("count");
    reply.int(entry.count as i64);
    reply.text("reason");
    reply.text(entry.reason.name());
    reply.text("context");
    reply.text(entry.context.name());
    reply.text("object");
    reply.bulk(&entry.object);
    reply.text("username");
    reply.bulk(&entry.username);
    reply.text("age-seconds");
    reply.double((now_ms - entry.updated_ms) as f64 / 1000.0);
    reply.text("client-info");
    reply.text(&entry.client_info);
    reply.text("entry-id");
    reply.int(entry.id as i64);
    reply.text("timestamp-created");
    reply.int(entry.created_ms);
    reply.text("timestamp-last-updated");
    reply.int(entry.updated_ms);
}

pub const ACL_SAVE: Spec = Spec {
    name: "save",
    arity: 2,
    flags: ADMIN,
    summary: "Writes the users to the ACL file.",
    complexity: Some("O(N)"),
    tips: TO_ALL_NODES,
    handler: save,
    ..SUBCOMMAND
};

/// `ACL SAVE`: the reply comes when the file is written.
fn save(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    needs_file(ctx)?;
    ctx.client.wait_for(Waiting::Answer);
    let client = (ctx.client.conn, ctx.client.id);
    let text = file::print(&ctx.server.users);
    let order = |ticket| Order::WriteAclFile { ticket, text };
    ctx.server.ask_shell(client, Continuation::AclSave, order);
    Ok(())
}

/// The shell has written the ACL file, or could not: the log says why.
pub fn saved(outcome: Outcome) -> Result<(), CommandError> {
    outcome.map(|_| ()).map_err(|_| {
        CommandError::text(
            "ERR There was an error trying to save the ACLs. Please check the server logs for more information",
        )
    })
}

pub const ACL_SETUSER: Spec = Spec {
    name: "setuser",
    arity: -3,
    flags: ADMIN,
    summary: "Creates a user or changes one by rules.",
    complexity: Some("O(N)"),
    args: &[
        USERNAME,
        Arg::new("rule", ArgKind::String).optional().multiple(),
    ],
    tips: TO_ALL_NODES,
    history: &[("6.2.0", &[]), ("7.0.0", &[])],
    handler: setuser,
    ..SUBCOMMAND
};

/// `ACL SETUSER username [rule [rule ...]]`: all rules or none.
fn setuser(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let name = args.bytes(2);
    if has_spaces(name) {
        return Err(CommandError::text(
            "ERR Usernames can't contain spaces or null characters",
        ));
    }
    let mut terms = terms(ctx.server, ctx.registry);
    let mut user = match ctx.server.users.named(name) {
        Some(user) => user.clone(),
        None => User::new(name, terms.all_channels),
    };
    let applied = user.apply_all(args.iter_from(3), &mut terms);
    log_deprecated(ctx.server, &terms.deprecated);
    applied.map_err(|bad| match bad {
        BadRule::Rule(rule, error) => CommandError::quoting(
            "ERR Error in ACL SETUSER modifier '",
            &rule,
            &format!("': {error}"),
        ),
        BadRule::Unmatched(begin) => CommandError::quoting(
            "ERR Unmatched parenthesis in acl selector starting at '",
            &begin,
            "'.",
        ),
    })?;
    put_user(ctx.server, Some(ctx.client), user);
    ctx.client.reply.ok();
    Ok(())
}

/// Adds the user or puts it in the place of the one with its name, for whose clients it then counts. `current` is
/// the client whose command does that.
fn put_user(server: &mut Server, current: Option<&mut Client>, user: User) {
    let before = server.users.named(user.name());
    let left = before.and_then(|before| before.channels_left(&user));
    let id = server.users.put(user);
    let Some(left) = left.filter(|_| !server.pubsub.is_empty()) else {
        return;
    };
    for client in server.clients.iter_mut() {
        if client.user == id && !may_listen_on(client, &left) {
            log_out(client);
            server.doomed.push(client.conn);
        }
    }
    if let Some(client) = current
        && client.user == id
        && !may_listen_on(client, &left)
    {
        log_out(client);
        client.close_after_reply();
    }
}

/// Whether the client may keep all its subscriptions.
fn may_listen_on(client: &Client, left: &ChannelsLeft) -> bool {
    let Some(subscriptions) = &client.subscriptions else {
        return true;
    };
    [Scope::Channel, Scope::Pattern, Scope::Shard]
        .into_iter()
        .all(|scope| {
            let mut names = subscriptions.names(scope);
            names.all(|name| left.allow(name, scope == Scope::Pattern))
        })
}

/// What rules are read against.
fn terms<'a>(server: &Server, registry: &'a Registry) -> Terms<'a> {
    let default = server.config.acl_pubsub_default;
    Terms::new(registry.catalogue(), default == PubsubDefault::AllChannels)
}

/// Warns of rules that allow a command for some first arguments alone: they look like protection and are easily
/// got around.
fn log_deprecated(server: &mut Server, offenders: &[Vec<u8>]) {
    for offender in offenders {
        let text = format!(
            "Deprecation warning: Allowing a first arg of an otherwise blocked command is a misuse of ACL and may \
             get disabled in the future (offender: +{})",
            String::from_utf8_lossy(up_to_nul(offender))
        );
        server.log(LogLevel::Warning, text);
    }
}

/// Makes the users that the server begins with: the default one, those of the configuration or of the ACL file.
/// An error is the lines that the log ends with.
pub fn begin(
    server: &mut Server,
    registry: &Registry,
    declared: &[Vec<Vec<u8>>],
    file_text: Option<&[u8]>,
) -> Result<(), String> {
    require_password(server);
    let mut terms = terms(server, registry);
    if let Some(text) = file_text {
        if !declared.is_empty() {
            return Err(
                "Configuring Redis with users defined in redis.conf and at the same setting an ACL file path is \
                 invalid. This setup is very likely to lead to configuration errors and security holes, please \
                 define either an ACL file or declare users directly in your redis.conf, but not both."
                    .to_owned(),
            );
        }
        let path = String::from_utf8_lossy(&server.config.aclfile).into_owned();
        server.users = file::parse(text, &path, &mut terms)
            .map_err(|why| format!("Aborting Redis startup because of ACL errors: {why}"))?;
    } else {
        file::declare(&mut server.users, declared, &mut terms)
            .map_err(|why| format!("{why}\nCritical error while loading ACLs. Exiting."))?;
        for words in declared {
            warn_if_disabled(server, words);
        }
    }
    log_deprecated(server, &terms.deprecated);
    Ok(())
}

fn warn_if_disabled(server: &mut Server, words: &[Vec<u8>]) {
    let user = words.first().and_then(|name| server.users.named(name));
    if let Some(user) = user
        && !user.is_on()
    {
        let text = format!(
            "The user '{}' is disabled (there is no 'on' modifier in the user description). Make sure this is not \
             a configuration error.",
            String::from_utf8_lossy(user.name())
        );
        server.log(LogLevel::Notice, text);
    }
}

/// Gives the default user the password of `requirepass`, and no other.
pub fn require_password(server: &mut Server) {
    let mut default = server.users.default_user().clone();
    default.set_only_password(&server.config.requirepass);
    server.users.put(default);
}

pub const ACL_USERS: Spec = Spec {
    name: "users",
    arity: 2,
    flags: ADMIN,
    summary: "Lists the names of all users.",
    complexity: Some("O(N)"),
    handler: users,
    ..SUBCOMMAND
};

/// `ACL USERS`
fn users(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let reply = &mut ctx.client.reply;
    reply.array(ctx.server.users.iter().count());
    for user in ctx.server.users.iter() {
        reply.bulk(user.name());
    }
    Ok(())
}

pub const ACL_WHOAMI: Spec = Spec {
    name: "whoami",
    arity: 2,
    flags: PLAIN,
    summary: "Tells the name of the user that the connection is logged in as.",
    handler: whoami,
    ..SUBCOMMAND
};

/// `ACL WHOAMI`
fn whoami(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let user = ctx.server.users.get(ctx.client.user);
    ctx.client.reply.bulk(user.name());
    Ok(())
}
