//! Selector: one set of permissions. A request is allowed when one selector of its user allows all of it.
//!
//! Commands are bits by command id. Beside the bits stand the rules that set them, in the shortest form that
//! gives the same bits: a rule takes out the earlier ones about the same name and about its subcommands, and
//! `@all` takes out all. That text is what ACL LIST shows, and what a later version would read.

use std::collections::BTreeMap;

use super::catalogue::{Catalogue, Known};
use super::category::category;
use super::rule::{RuleError, Terms};
use crate::ids::CommandId;
use crate::types::glob::glob_match;
use crate::types::text::{has_spaces, up_to_nul};

/// What is done with a key, or allowed to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyAccess {
    pub read: bool,
    pub write: bool,
}

impl KeyAccess {
    pub const ALL: KeyAccess = KeyAccess {
        read: true,
        write: true,
    };

    /// Whether this allows what `wanted` does.
    fn covers(self, wanted: KeyAccess) -> bool {
        (self.read || !wanted.read) && (self.write || !wanted.write)
    }
}

/// Keys that may be used, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
struct KeyPattern {
    access: KeyAccess,
    pattern: Vec<u8>,
}

/// One set of permissions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector {
    all_keys: bool,
    all_channels: bool,
    /// Every command, and nothing was taken away since.
    all_commands: bool,
    /// Begins with `+@all`: what the rules do not name is allowed.
    by_default: bool,
    /// A bit for each command that may run, by id. The bits behind the end are as `by_default` says.
    allowed: Vec<u64>,
    /// Commands that may run with one of these as first argument although their bit is not set.
    first_args: BTreeMap<CommandId, Vec<Vec<u8>>>,
    keys: Vec<KeyPattern>,
    channels: Vec<Vec<u8>>,
    /// Allowed or not, and what: a command, `command|sub`, `@category`, in lower case.
    rules: Vec<(bool, Vec<u8>)>,
}

impl Selector {
    /// No permissions, but for channels when `acl-pubsub-default` grants them.
    pub fn new(all_channels: bool) -> Selector {
        Selector {
            all_channels,
            ..Selector::default()
        }
    }

    /// All permissions.
    pub fn unrestricted() -> Selector {
        Selector {
            all_keys: true,
            all_channels: true,
            all_commands: true,
            by_default: true,
            ..Selector::default()
        }
    }

    /// Whether it allows whatever there is.
    pub fn is_unrestricted(&self) -> bool {
        self.all_commands && self.all_keys && self.all_channels
    }

    /// Whether the command may run with this first argument.
    pub fn allows_command(&self, id: CommandId, first_arg: Option<&[u8]>) -> bool {
        if self.all_commands || self.bit(id) {
            return true;
        }
        let (Some(args), Some(first)) = (self.first_args.get(&id), first_arg) else {
            return false;
        };
        args.iter().any(|arg| arg.eq_ignore_ascii_case(first))
    }

    /// Whether all keys may be used in any way.
    pub fn allows_all_keys(&self) -> bool {
        self.all_keys
    }

    /// Whether this may be done with the key.
    pub fn allows_key(&self, key: &[u8], wanted: KeyAccess) -> bool {
        self.all_keys
            || self
                .keys
                .iter()
                .any(|known| known.access.covers(wanted) && glob_match(&known.pattern, key, false))
    }

    /// Whether this may be done with every key there can be.
    pub fn allows_any_key(&self, wanted: KeyAccess) -> bool {
        let is_any = |known: &KeyPattern| known.access.covers(wanted) && known.pattern == b"*";
        self.all_keys || self.keys.iter().any(is_any)
    }

    /// Whether all channels may be used.
    pub fn allows_all_channels(&self) -> bool {
        self.all_channels
    }

    /// The channels that may be used, as patterns, apart from [`Selector::allows_all_channels`].
    pub fn channels(&self) -> &[Vec<u8>] {
        &self.channels
    }

    /// Whether the channel, or with `is_pattern` all channels that it finds, may be used.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        self.all_channels || channel_is_among(&self.channels, channel, is_pattern)
    }

    /// Applies one rule about commands, keys or channels.
    pub(super) fn apply(&mut self, rule: &[u8], terms: &mut Terms<'_>) -> Result<(), RuleError> {
        let word = up_to_nul(rule);
        let is = |name: &str| word.eq_ignore_ascii_case(name.as_bytes());
        if is("allkeys") || is("~*") {
            self.all_keys = true;
            self.keys.clear();
        } else if is("resetkeys") {
            self.all_keys = false;
            self.keys.clear();
        } else if is("allchannels") || is("&*") {
            self.all_channels = true;
            self.channels.clear();
        } else if is("resetchannels") {
            self.all_channels = false;
            self.channels.clear();
        } else if is("allcommands") || is("+@all") {
            self.set_all_commands(true);
        } else if is("nocommands") || is("-@all") {
            self.set_all_commands(false);
        } else {
            return match rule.first() {
                Some(b'~' | b'%') => self.add_key_pattern(rule),
                Some(b'&') => self.add_channel(&rule[1..]),
                Some(sign @ (b'+' | b'-')) => {
                    let allow = *sign == b'+';
                    match word[1..].strip_prefix(b"@") {
                        Some(category) => self.apply_category(category, allow, terms.catalogue),
                        None if allow => self.allow_command(&word[1..], terms),
                        None => self.deny_command(&word[1..], terms.catalogue),
                    }
                }
                _ => Err(RuleError::Syntax),
            };
        }
        Ok(())
    }

    fn set_all_commands(&mut self, allow: bool) {
        self.all_commands = allow;
        self.by_default = allow;
        self.allowed.clear();
        self.first_args.clear();
        self.rules.clear();
    }

    /// `~pattern`, or `%RW~pattern` with what may be done.
    fn add_key_pattern(&mut self, rule: &[u8]) -> Result<(), RuleError> {
        if self.all_keys {
            return Err(RuleError::KeysAfterAll);
        }
        let (access, pattern) = match rule.strip_prefix(b"%") {
            Some(rest) => parse_access(rest)?,
            None => (KeyAccess::ALL, &rule[1..]),
        };
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        match self.keys.iter_mut().find(|known| known.pattern == pattern) {
            Some(known) => {
                known.access.read |= access.read;
                known.access.write |= access.write;
            }
            None => self.keys.push(KeyPattern {
                access,
                pattern: pattern.to_vec(),
            }),
        }
        Ok(())
    }

    fn add_channel(&mut self, pattern: &[u8]) -> Result<(), RuleError> {
        if self.all_channels {
            return Err(RuleError::ChannelsAfterAll);
        }
        if has_spaces(pattern) {
            return Err(RuleError::Syntax);
        }
        if !self.channels.iter().any(|known| known == pattern) {
            self.channels.push(pattern.to_vec());
        }
        Ok(())
    }

    /// `+command`, `+command|subcommand`, or `+command|firstarg` for one that has no subcommands.
    fn allow_command(&mut self, name: &[u8], terms: &mut Terms<'_>) -> Result<(), RuleError> {
        let catalogue = terms.catalogue;
        let Some(at) = name.iter().rposition(|byte| *byte == b'|') else {
            let command = catalogue.find(name).ok_or(RuleError::UnknownName)?;
            self.set(command, true, catalogue);
            self.note(true, command.full_name.as_bytes());
            return Ok(());
        };
        let (first, second) = (&name[..at], &name[at + 1..]);
        let command = catalogue.find(first).ok_or(RuleError::UnknownName)?;
        if command.container.is_some() {
            return Err(RuleError::FirstArgOfSubcommand);
        }
        // A blank would end the rule when it is written down and read again.
        if second.is_empty() || has_spaces(second) {
            return Err(RuleError::Syntax);
        }
        if command.subcommands.is_empty() {
            terms.deprecated.push(name.to_vec());
            let args = self.first_args.entry(command.id).or_default();
            if !args.iter().any(|known| known.eq_ignore_ascii_case(second)) {
                args.push(second.to_vec());
            }
        } else {
            let sub = catalogue
                .subcommand(command, second)
                .ok_or(RuleError::UnknownName)?;
            self.set(sub, true, catalogue);
        }
        self.note(true, name);
        Ok(())
    }

    /// `-command` or `-command|subcommand`.
    fn deny_command(&mut self, name: &[u8], catalogue: &Catalogue) -> Result<(), RuleError> {
        let command = catalogue.find(name).ok_or(RuleError::UnknownName)?;
        self.set(command, false, catalogue);
        self.note(false, command.full_name.as_bytes());
        Ok(())
    }

    fn apply_category(
        &mut self,
        name: &[u8],
        allow: bool,
        catalogue: &Catalogue,
    ) -> Result<(), RuleError> {
        let category = category(name).ok_or(RuleError::UnknownName)?;
        for command in catalogue.all() {
            if command.categories.has(category) {
                self.set(command, allow, catalogue);
            }
        }
        self.note(allow, &[b"@", name].concat());
        Ok(())
    }

    /// Allows or denies a command with all its subcommands; what was said of its first arguments is void.
    fn set(&mut self, command: &Known, allow: bool, catalogue: &Catalogue) {
        self.set_bit(command.id, allow);
        self.first_args.remove(&command.id);
        for sub in &command.subcommands {
            self.set(catalogue.get(*sub), allow, catalogue);
        }
    }

    /// The bits of commands of which nothing was said.
    fn unsaid(&self) -> u64 {
        if self.by_default { u64::MAX } else { 0 }
    }

    fn bit(&self, id: CommandId) -> bool {
        let word = self.allowed.get(usize::from(id.0 / 64)).copied();
        word.unwrap_or(self.unsaid()) >> (id.0 % 64) & 1 == 1
    }

    fn set_bit(&mut self, id: CommandId, allow: bool) {
        let at = usize::from(id.0 / 64);
        if at >= self.allowed.len() {
            self.allowed.resize(at + 1, self.unsaid());
        }
        let bit = 1 << (id.0 % 64);
        if allow {
            self.allowed[at] |= bit;
        } else {
            self.allowed[at] &= !bit;
            self.all_commands = false;
        }
    }

    /// Adds a rule to the text, and takes out those that it makes void.
    fn note(&mut self, allow: bool, name: &[u8]) {
        let name = name.to_ascii_lowercase();
        self.rules.retain(|(_, known)| {
            let rest = known.strip_prefix(name.as_slice());
            !rest.is_some_and(|rest| rest.is_empty() || rest[0] == b'|')
        });
        self.rules.push((allow, name));
    }

    /// The rules about commands, as ACL GETUSER shows them.
    pub fn describe_commands(&self) -> Vec<u8> {
        let mut text = Vec::new();
        text.extend_from_slice(if self.by_default { b"+@all" } else { b"-@all" });
        for (allow, name) in &self.rules {
            text.push(b' ');
            text.push(if *allow { b'+' } else { b'-' });
            text.extend_from_slice(name);
        }
        text
    }

    /// The rules about keys.
    pub fn describe_keys(&self) -> Vec<u8> {
        if self.all_keys {
            return b"~*".to_vec();
        }
        let rules = self.keys.iter().map(|known| {
            let before: &[u8] = match (known.access.read, known.access.write) {
                (true, false) => b"%R~",
                (false, true) => b"%W~",
                _ => b"~",
            };
            [before, &known.pattern].concat()
        });
        rules.collect::<Vec<_>>().join(&b' ')
    }

    /// The rules about channels.
    pub fn describe_channels(&self) -> Vec<u8> {
        if self.all_channels {
            return b"&*".to_vec();
        }
        let rules = self
            .channels
            .iter()
            .map(|known| [b"&", &known[..]].concat());
        rules.collect::<Vec<_>>().join(&b' ')
    }

    /// All rules in one line, as ACL LIST shows them.
    pub fn describe(&self) -> Vec<u8> {
        let mut parts = Vec::new();
        parts.push(self.describe_keys());
        if !self.all_channels {
            parts.push(b"resetchannels".to_vec());
        }
        parts.push(self.describe_channels());
        parts.push(self.describe_commands());
        parts.retain(|part| !part.is_empty());
        parts.join(&b' ')
    }
}

/// Whether the channel is one of `known`, which are patterns. A pattern must be among them as it stands.
pub(super) fn channel_is_among(known: &[Vec<u8>], channel: &[u8], is_pattern: bool) -> bool {
    known.iter().any(|known| match is_pattern {
        true => known == channel,
        false => glob_match(known, channel, false),
    })
}

/// What may be done, and the pattern behind it. The `~` may be missing; then the pattern is empty.
fn parse_access(rule: &[u8]) -> Result<(KeyAccess, &[u8]), RuleError> {
    let mut access = KeyAccess::default();
    let mut rest = rule;
    while let Some((byte, behind)) = rest.split_first() {
        rest = behind;
        match byte.to_ascii_uppercase() {
            b'R' if !access.read => access.read = true,
            b'W' if !access.write => access.write = true,
            b'~' => break,
            _ => return Err(RuleError::Syntax),
        }
    }
    if access == KeyAccess::default() {
        return Err(RuleError::Syntax);
    }
    Ok((access, rest))
}
