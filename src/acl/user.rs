//! User: flags, passwords and selectors, and the rules that change them.

use std::borrow::Cow;

use super::password::PasswordHash;
use super::rule::{BadRule, RuleError, Terms};
use super::selector::{Selector, channel_is_among};
use crate::config::split_args;
use crate::types::text::up_to_nul;

/// The name of the default user.
pub const DEFAULT_NAME: &[u8] = b"default";

/// One user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    name: Vec<u8>,
    is_on: bool,
    /// Any password will do.
    nopass: bool,
    /// RESTORE trusts what it gets from this user.
    skips_sanitize: bool,
    passwords: Vec<PasswordHash>,
    /// What the user may do beyond what its selectors say.
    root: Selector,
    selectors: Vec<Selector>,
    /// Kept beside the selectors because every command asks.
    is_unrestricted: bool,
}

impl User {
    /// A user that is off, has no password and may do nothing.
    pub fn new(name: &[u8], all_channels: bool) -> User {
        User {
            name: name.to_vec(),
            is_on: false,
            nopass: false,
            skips_sanitize: false,
            passwords: Vec::new(),
            root: Selector::new(all_channels),
            selectors: Vec::new(),
            is_unrestricted: false,
        }
    }

    /// The default user as it is when nothing is said about it: everything is allowed, and nobody has to log in.
    pub fn open_default() -> User {
        User {
            is_on: true,
            nopass: true,
            root: Selector::unrestricted(),
            is_unrestricted: true,
            ..User::new(DEFAULT_NAME, false)
        }
    }

    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Whether someone can log in as this user.
    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Whether anyone is this user without saying a password.
    pub fn is_open(&self) -> bool {
        self.is_on && self.nopass
    }

    /// Whether it needs no password, on or off.
    pub fn has_no_password(&self) -> bool {
        self.nopass
    }

    /// Whether RESTORE trusts what this user sends.
    pub fn skips_sanitize(&self) -> bool {
        self.skips_sanitize
    }

    /// Whether it may do everything.
    #[inline]
    pub fn is_unrestricted(&self) -> bool {
        self.is_unrestricted
    }

    /// Whether someone who knows this password may log in.
    pub fn accepts(&self, password: &[u8]) -> bool {
        // All of them are compared, so that the time tells nothing of which one it was.
        let hash = PasswordHash::of(password);
        let known = self.passwords.iter();
        let is_known = known.fold(false, |found, known| found | (*known == hash));
        self.is_on && (self.nopass || is_known)
    }

    /// Its permissions, the ones without parentheses first.
    pub fn all_selectors(&self) -> impl Iterator<Item = &Selector> {
        std::iter::once(&self.root).chain(&self.selectors)
    }

    /// The permissions outside of parentheses.
    pub fn root(&self) -> &Selector {
        &self.root
    }

    /// The permissions in parentheses.
    pub fn selectors(&self) -> &[Selector] {
        &self.selectors
    }

    /// The hashes of its passwords.
    pub fn passwords(&self) -> &[PasswordHash] {
        &self.passwords
    }

    /// Whether some selector allows this channel, or with `is_pattern` all channels that it finds.
    pub fn allows_channel(&self, channel: &[u8], is_pattern: bool) -> bool {
        let mut selectors = self.all_selectors();
        selectors.any(|selector| selector.allows_channel(channel, is_pattern))
    }

    /// The channels that the user may still use when it becomes `new`, unless nothing was taken away.
    pub fn channels_left(&self, new: &User) -> Option<ChannelsLeft> {
        if new.all_selectors().any(Selector::allows_all_channels) {
            return None;
        }
        let left: Vec<Vec<u8>> = new
            .all_selectors()
            .flat_map(|selector| selector.channels().iter().cloned())
            .collect();
        let mut before = self.all_selectors();
        let lost_some = before.any(|selector| {
            let mut channels = selector.channels().iter();
            selector.allows_all_channels() || channels.any(|channel| !left.contains(channel))
        });
        lost_some.then_some(ChannelsLeft(left))
    }

    /// Applies rules in order, words of one selector joined before. The user is of no use if one is refused.
    pub fn apply_all<'r>(
        &mut self,
        rules: impl IntoIterator<Item = &'r [u8]>,
        terms: &mut Terms<'_>,
    ) -> Result<(), BadRule> {
        for rule in join_selectors(rules).map_err(BadRule::Unmatched)? {
            let applied = self.apply(&rule, terms);
            applied.map_err(|error| BadRule::Rule(rule.into_owned(), error))?;
        }
        Ok(())
    }

    /// Applies one rule. A refused one changes nothing.
    pub fn apply(&mut self, rule: &[u8], terms: &mut Terms<'_>) -> Result<(), RuleError> {
        let result = self.change(rule, terms);
        let is_unrestricted = self.all_selectors().any(Selector::is_unrestricted);
        self.is_unrestricted = is_unrestricted;
        result
    }

    fn change(&mut self, rule: &[u8], terms: &mut Terms<'_>) -> Result<(), RuleError> {
        let word = up_to_nul(rule);
        match word.to_ascii_lowercase().as_slice() {
            b"on" => self.is_on = true,
            b"off" => self.is_on = false,
            b"nopass" => {
                self.nopass = true;
                self.passwords.clear();
            }
            b"resetpass" => {
                self.nopass = false;
                self.passwords.clear();
            }
            b"skip-sanitize-payload" => self.skips_sanitize = true,
            b"sanitize-payload" => self.skips_sanitize = false,
            b"clearselectors" => self.selectors.clear(),
            b"reset" => *self = User::new(&self.name, terms.all_channels),
            _ => return self.change_by_value(rule, terms),
        }
        Ok(())
    }

    /// Rules that are more than one fixed word.
    fn change_by_value(&mut self, rule: &[u8], terms: &mut Terms<'_>) -> Result<(), RuleError> {
        match rule {
            [] => {}
            [b'>', password @ ..] => self.add_password(PasswordHash::of(password)),
            [b'<', password @ ..] => self.remove_password(PasswordHash::of(password))?,
            [b'#', hash @ ..] => {
                self.add_password(PasswordHash::parse(hash).ok_or(RuleError::BadHash)?);
            }
            [b'!', hash @ ..] => {
                self.remove_password(PasswordHash::parse(hash).ok_or(RuleError::BadHash)?)?;
            }
            [b'(', inside @ .., b')'] => {
                let mut selector = Selector::new(terms.all_channels);
                // What cannot be split, because a quote never closes, counts as nothing.
                for rule in split_args(inside).unwrap_or_default() {
                    selector.apply(&rule, terms)?;
                }
                self.selectors.push(selector);
            }
            _ => self.root.apply(rule, terms)?,
        }
        Ok(())
    }

    /// Makes this the only password; an empty one lets everybody in. Otherwise the user stays as it is.
    pub fn set_only_password(&mut self, password: &[u8]) {
        self.passwords.clear();
        self.nopass = password.is_empty();
        if !password.is_empty() {
            self.passwords.push(PasswordHash::of(password));
        }
    }

    fn add_password(&mut self, hash: PasswordHash) {
        self.nopass = false;
        if !self.passwords.contains(&hash) {
            self.passwords.push(hash);
        }
    }

    fn remove_password(&mut self, hash: PasswordHash) -> Result<(), RuleError> {
        let mut known = self.passwords.iter();
        let at = known.position(|known| *known == hash);
        self.passwords.remove(at.ok_or(RuleError::NoSuchPassword)?);
        Ok(())
    }

    /// Its flags by name, in the order in which they are shown.
    pub fn flag_names(&self) -> Vec<&'static str> {
        let mut names = vec![if self.is_on { "on" } else { "off" }];
        if self.nopass {
            names.push("nopass");
        }
        names.push(match self.skips_sanitize {
            true => "skip-sanitize-payload",
            false => "sanitize-payload",
        });
        names
    }

    /// The user as a line of ACL LIST, of an ACL file and of a configuration: `user NAME rules...`.
    pub fn describe(&self) -> Vec<u8> {
        let mut words = vec![b"user".to_vec(), self.name.clone()];
        words.extend(
            self.flag_names()
                .iter()
                .map(|name| name.as_bytes().to_vec()),
        );
        let hashes = self.passwords.iter();
        words.extend(hashes.map(|hash| format!("#{}", hash.hex()).into_bytes()));
        words.push(self.root.describe());
        let selectors = self.selectors.iter();
        words.extend(selectors.map(|selector| [b"(", &selector.describe()[..], b")"].concat()));
        words.join(&b' ')
    }
}

/// Channels that are left to a user who lost some: who listens to another has to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelsLeft(Vec<Vec<u8>>);

impl ChannelsLeft {
    /// Whether a subscription may stay.
    pub fn allow(&self, channel: &[u8], is_pattern: bool) -> bool {
        channel_is_among(&self.0, channel, is_pattern)
    }
}

/// Joins the words of each selector: from one that begins with `(` to one that ends with `)`. An error is the word
/// that begins a selector without end.
pub(super) fn join_selectors<'r>(
    words: impl IntoIterator<Item = &'r [u8]>,
) -> Result<Vec<Cow<'r, [u8]>>, Vec<u8>> {
    let mut rules: Vec<Cow<'r, [u8]>> = Vec::new();
    let mut open: Option<(&[u8], Vec<u8>)> = None;
    for word in words {
        match &mut open {
            Some((_, joined)) => {
                joined.push(b' ');
                joined.extend_from_slice(up_to_nul(word));
                if word.ends_with(b")")
                    && let Some((_, joined)) = open.take()
                {
                    rules.push(joined.into());
                }
            }
            None if word.starts_with(b"(") && !word.ends_with(b")") => {
                open = Some((word, word.to_vec()));
            }
            None => rules.push(word.into()),
        }
    }
    match open {
        Some((begin, _)) => Err(begin.to_vec()),
        None => Ok(rules),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Registry;

    /// What a fresh user is described as behind its flags, once these rules were applied, or the refusal.
    fn with(rules: &str) -> String {
        let registry = Registry::new(&[]).expect("no command is renamed");
        let mut terms = Terms::new(registry.catalogue(), false);
        let mut user = User::new(b"u", false);
        let words = rules.split(' ').map(str::as_bytes);
        match user.apply_all(words, &mut terms) {
            Ok(()) => {
                let line = String::from_utf8_lossy(&user.describe()).into_owned();
                line.replace("user u off sanitize-payload ", "")
            }
            Err(BadRule::Rule(rule, error)) => {
                format!("{}: {error}", String::from_utf8_lossy(&rule))
            }
            Err(BadRule::Unmatched(begin)) => {
                format!("unmatched {}", String::from_utf8_lossy(&begin))
            }
        }
    }

    #[test]
    fn rules_about_commands_leave_the_shortest_text() {
        for (rules, want) in [
            ("", "resetchannels -@all"),
            ("+get +GET", "resetchannels -@all +get"),
            ("+config|get +config", "resetchannels -@all +config"),
            (
                "+config -config|set +config|set",
                "resetchannels -@all +config +config|set",
            ),
            (
                "+@all -@hash -@slow +hget -@hash",
                "resetchannels +@all -@slow +hget -@hash",
            ),
            ("+@hash -@all -@string", "resetchannels -@all -@string"),
            (
                "+select|0 +SELECT|0 +select|1",
                "resetchannels -@all +select|0 +select|1",
            ),
            ("-@all +@READ", "resetchannels -@all +@read"),
            ("+select|a\tb", "+select|a\tb: Syntax error"),
            (
                "+get allkeys ~x",
                "~x: Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. Try 'resetkeys' to start with an empty list of patterns",
            ),
        ] {
            assert_eq!(with(rules), want, "{rules}");
        }
    }

    #[test]
    fn rules_about_keys_and_channels_join_what_they_allow() {
        for (rules, want) in [
            ("%R~a %W~a ~b %W~c", "~a ~b %W~c resetchannels -@all"),
            ("~* resetkeys %rw~x", "~x resetchannels -@all"),
            ("%R", "%R~ resetchannels -@all"),
            ("%RR~a", "%RR~a: Syntax error"),
            ("%~a", "%~a: Syntax error"),
            ("&a &b &a", "resetchannels &a &b -@all"),
            ("&a &*", "&* -@all"),
        ] {
            assert_eq!(with(rules), want, "{rules}");
        }
    }

    #[test]
    fn selectors_are_whole_or_refused() {
        for (rules, want) in [
            (
                "(+get ~a) ( ~b )",
                "resetchannels -@all (~a resetchannels -@all +get) (~b resetchannels -@all)",
            ),
            ("() clearselectors", "resetchannels -@all"),
            ("on (+get ~a", "unmatched (+get"),
            ("(x)", "(x): Syntax error"),
            (")", "): Syntax error"),
        ] {
            assert_eq!(with(rules), want, "{rules}");
        }
    }

    #[test]
    fn a_user_is_unrestricted_only_with_all_three() {
        let registry = Registry::new(&[]).expect("no command is renamed");
        let mut terms = Terms::new(registry.catalogue(), false);
        let mut user = User::new(b"u", false);
        for (rule, want) in [
            ("+@all", false),
            ("~*", false),
            ("&*", true),
            ("-get", false),
            ("+get", false), // a later version's commands are what it cannot know
            ("+@all", true),
            ("resetchannels", false),
            ("(+@all ~* &*)", true),
            ("reset", false),
        ] {
            user.apply(rule.as_bytes(), &mut terms)
                .expect("a sound rule");
            assert_eq!(user.is_unrestricted(), want, "{rule}");
        }
    }

    #[test]
    fn passwords_count_only_while_the_user_is_on() {
        let registry = Registry::new(&[]).expect("no command is renamed");
        let mut terms = Terms::new(registry.catalogue(), false);
        let mut user = User::new(b"u", false);
        for (rule, right, wrong) in [
            (">pw", false, false),
            ("on", true, false),
            ("nopass", true, true),
            ("resetpass", false, false),
            (">pw", true, false),
            ("<pw", false, false),
        ] {
            user.apply(rule.as_bytes(), &mut terms)
                .expect("a sound rule");
            assert_eq!(
                (user.accepts(b"pw"), user.accepts(b"no")),
                (right, wrong),
                "{rule}"
            );
        }
        assert_eq!(
            user.apply(b"<pw", &mut terms),
            Err(RuleError::NoSuchPassword)
        );
    }
}
