//! Permission: whether a user may run a request, and what happens when not.
//!
//! The engine asks in its gate, again for every command that EXEC runs and when a blocked command runs again; a
//! script asks for each of its calls. May not: know how permissions are kept (`crate::acl`).

use crate::acl::log::{Context, Entry, Reason};
use crate::acl::{KeyAccess, Selector, User};
use crate::command::CommandError;
use crate::command::client::own_line;
use crate::command::keys::{self, Keys};
use crate::command::registry::{Command, Registry};
use crate::command::spec::{Channels, Flags, KeyFlags};
use crate::resp::Args;
use crate::state::{Client, Server};

/// What a user may not do: run the command, or use the key or channel at an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Denial {
    Command,
    Key(usize),
    Channel(usize),
}

/// Whether the client may run this request. A refusal is counted and logged, and comes back as the error to reply.
/// Nearly every client may do everything, and for those this is one look.
#[inline]
pub fn permit(
    server: &mut Server,
    client: &Client,
    registry: &Registry,
    command: &Command,
    args: Args<'_>,
    context: Context,
) -> Result<(), CommandError> {
    let user = server.users.get(client.user);
    if user.is_unrestricted() {
        return Ok(());
    }
    let Err(denial) = check(user, command, args) else {
        return Ok(());
    };
    let text = denial.text(user, command);
    note(server, client, registry, command, args, (denial, context));
    Err(CommandError::Bytes([b"NOPERM ", &text[..]].concat()))
}

/// The same for a command that was queued when it was still allowed.
pub fn permit_queued(
    server: &mut Server,
    client: &Client,
    registry: &Registry,
    command: &Command,
    args: Args<'_>,
) -> Result<(), CommandError> {
    let user = server.users.get(client.user);
    if user.is_unrestricted() {
        return Ok(());
    }
    let Err(denial) = check(user, command, args) else {
        return Ok(());
    };
    note(
        server,
        client,
        registry,
        command,
        args,
        (denial, Context::Multi),
    );
    let why = match denial {
        Denial::Command => "no permission to execute the command or subcommand",
        Denial::Key(_) => "no permission to touch the specified keys",
        Denial::Channel(_) => {
            "no permission to access one of the channels used as arguments to the command or subcommand"
        }
    };
    Err(CommandError::text(format!(
        "NOPERM ACLs rules changed between the moment the transaction was accumulated and the EXEC call. This \
         command is no longer allowed for the following reason: {why}"
    )))
}

/// Counts and logs what was refused.
fn note(
    server: &mut Server,
    client: &Client,
    registry: &Registry,
    command: &Command,
    args: Args<'_>,
    (denial, context): (Denial, Context),
) {
    let stats = &mut server.stats;
    let (reason, object) = match denial {
        Denial::Command => {
            stats.acl_denied_cmd += 1;
            (Reason::Command, command.full_name.as_bytes())
        }
        Denial::Key(at) => {
            stats.acl_denied_key += 1;
            (Reason::Key, args.bytes(at))
        }
        Denial::Channel(at) => {
            stats.acl_denied_channel += 1;
            (Reason::Channel, args.bytes(at))
        }
    };
    let username = server.users.get(client.user).name().to_vec();
    log(
        server,
        client,
        registry,
        args,
        (reason, context),
        object,
        username,
    );
}

/// Counts and logs a login that was refused.
pub fn note_login(
    server: &mut Server,
    client: &Client,
    registry: &Registry,
    args: Args<'_>,
    username: &[u8],
) {
    server.stats.acl_denied_auth += 1;
    let context = match client.multi {
        Some(_) => Context::Multi,
        None => Context::Toplevel,
    };
    let why = (Reason::Auth, context);
    log(
        server,
        client,
        registry,
        args,
        why,
        args.bytes(0),
        username.to_vec(),
    );
}

fn log(
    server: &mut Server,
    client: &Client,
    registry: &Registry,
    args: Args<'_>,
    (reason, context): (Reason, Context),
    object: &[u8],
    username: Vec<u8>,
) {
    let client_info = own_line(server, client, registry, args);
    let entry = Entry {
        count: 1,
        reason,
        context,
        object: object.to_vec(),
        username,
        client_info: client_info.trim_end().to_owned(),
        id: 0,
        created_ms: server.now_ms,
        updated_ms: server.now_ms,
    };
    let max = usize::try_from(server.config.acllog_max_len).unwrap_or(usize::MAX);
    server.acl_log.add(entry, max);
}

/// Whether the user may run this request. One selector has to allow all of it; of several refusals the one that
/// came furthest counts: the last key or channel that no selector allows, else the command.
pub fn check(user: &User, command: &Command, args: Args<'_>) -> Result<(), Denial> {
    let mut keys = None;
    let mut worst = Denial::Command;
    for selector in user.all_selectors() {
        match check_selector(selector, command, args, &mut keys) {
            Ok(()) => return Ok(()),
            Err(denial) => worst = worst.max(denial),
        }
    }
    Err(worst)
}

fn check_selector(
    selector: &Selector,
    command: &Command,
    args: Args<'_>,
    keys: &mut Option<Keys>,
) -> Result<(), Denial> {
    let first_arg = if command.container.is_some() { 2 } else { 1 };
    // What may be sent before the login is always allowed.
    if !command.spec.flags.has(Flags::NO_AUTH)
        && !selector.allows_command(command.id, args.get(first_arg))
    {
        return Err(Denial::Command);
    }
    if !selector.allows_all_keys() && keys::has_keys(command.spec) {
        // A request whose keys cannot be told will fail for its syntax.
        let keys = keys.get_or_insert_with(|| keys::keys_of(command, args).unwrap_or_default());
        let denied = keys
            .iter()
            .find(|(at, flags)| !selector.allows_key(args.bytes(*at), access_of(*flags)));
        if let Some((at, _)) = denied {
            return Err(Denial::Key(*at));
        }
    }
    if !selector.allows_all_channels() {
        let (channels, is_pattern) = channels_of(command.spec.channels, args);
        for at in channels {
            if !selector.allows_channel(args.bytes(at), is_pattern) {
                return Err(Denial::Channel(at));
            }
        }
    }
    Ok(())
}

/// What a command that has these flags for a key does with it. Asking whether it exists is neither.
fn access_of(flags: KeyFlags) -> KeyAccess {
    let writes = [KeyFlags::UPDATE, KeyFlags::INSERT, KeyFlags::DELETE];
    KeyAccess {
        read: flags.has(KeyFlags::ACCESS),
        write: writes.iter().any(|flag| flags.has(*flag)),
    }
}

/// The arguments that are channels, and whether they are patterns.
fn channels_of(channels: Channels, args: Args<'_>) -> (std::ops::Range<usize>, bool) {
    match channels {
        Channels::None => (0..0, false),
        Channels::First => (1..args.len().min(2), false),
        Channels::All => (1..args.len(), false),
        Channels::AllPatterns => (1..args.len(), true),
    }
}

/// Whether the client may run this request, and could if it read any other key as well: SORT asks, whose BY and GET
/// read keys that nobody can tell before.
pub fn may_read_any_key(
    server: &Server,
    client: &Client,
    command: &Command,
    args: Args<'_>,
) -> bool {
    let user = server.users.get(client.user);
    let wanted = KeyAccess {
        read: true,
        write: false,
    };
    user.is_unrestricted()
        || user.all_selectors().any(|selector| {
            selector.allows_any_key(wanted)
                && check_selector(selector, command, args, &mut None).is_ok()
        })
}

impl Denial {
    /// The refusal as clients read it, without its code. It does not name the key, which may be a secret to those who
    /// read the client's errors.
    pub fn text(self, user: &User, command: &Command) -> Vec<u8> {
        match self {
            Denial::Command => [
                b"User ",
                user.name(),
                b" has no permissions to run the '",
                command.full_name.as_bytes(),
                b"' command",
            ]
            .concat(),
            Denial::Key(_) => b"No permissions to access a key".to_vec(),
            Denial::Channel(_) => b"No permissions to access a channel".to_vec(),
        }
    }

    /// The refusal with all that is known of it, for administrators.
    pub fn full_text(self, user: &User, command: &Command, args: Args<'_>) -> Vec<u8> {
        let (what, at) = match self {
            Denial::Command => return self.text(user, command),
            Denial::Key(at) => ("key", at),
            Denial::Channel(at) => ("channel", at),
        };
        let end = format!("' {what}");
        [
            b"User ",
            user.name(),
            b" has no permissions to access the '",
            args.bytes(at),
            end.as_bytes(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_that_speaks_or_listens_says_where() {
        let registry = Registry::new(&[]).expect("no command is renamed");
        for command in registry.all() {
            let name = command.spec.name;
            let speaks = name.ends_with("publish");
            let listens = name.ends_with("subscribe") && !name.contains("unsub");
            let has_channels = command.spec.channels != Channels::None;
            assert_eq!(has_channels, speaks || listens, "{name}");
        }
    }
}
