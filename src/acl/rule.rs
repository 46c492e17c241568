//! Rule: what rules are read against, and why one is refused. Selectors and users read them.

use super::catalogue::Catalogue;

/// Why a rule was refused; `Display` is the reason as clients read it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    #[error("Unknown command or category name in ACL")]
    UnknownName,
    #[error("Syntax error")]
    Syntax,
    #[error(
        "Adding a pattern after the * pattern (or the 'allkeys' flag) is not valid and does not have any effect. \
         Try 'resetkeys' to start with an empty list of patterns"
    )]
    KeysAfterAll,
    #[error(
        "Adding a pattern after the * pattern (or the 'allchannels' flag) is not valid and does not have any \
         effect. Try 'resetchannels' to start with an empty list of channels"
    )]
    ChannelsAfterAll,
    #[error("The password you are trying to remove from the user does not exist")]
    NoSuchPassword,
    #[error(
        "The password hash must be exactly 64 characters and contain only lowercase hexadecimal characters"
    )]
    BadHash,
    #[error("Allowing first-arg of a subcommand is not supported")]
    FirstArgOfSubcommand,
}

/// The rule of a list that cannot be applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadRule {
    /// A selector that begins with this word never ends.
    Unmatched(Vec<u8>),
    Rule(Vec<u8>, RuleError),
}

/// What rules are read against.
pub struct Terms<'a> {
    pub catalogue: &'a Catalogue,
    /// `acl-pubsub-default`: what has no rules yet may use all channels.
    pub all_channels: bool,
    /// Rules that were applied and are discouraged, without their sign: `command|firstarg`.
    pub deprecated: Vec<Vec<u8>>,
}

impl<'a> Terms<'a> {
    pub fn new(catalogue: &'a Catalogue, all_channels: bool) -> Terms<'a> {
        Terms {
            catalogue,
            all_channels,
            deprecated: Vec::new(),
        }
    }
}
