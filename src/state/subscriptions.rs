//! Subscriptions: what one client listens to.

use std::collections::BTreeSet;
use std::sync::Arc;

/// What a subscription names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    Channel,
    Pattern,
    /// A channel of SPUBLISH, which has nothing to do with one of PUBLISH of the same name.
    Shard,
}

/// A name, shared between the views.
pub type Name = Arc<[u8]>;

/// What one map entry takes beside its name, in bytes: a share of the tree's nodes.
const ENTRY_BYTES: usize = 48;

/// What one client listens to.
#[derive(Default)]
pub struct Subscriptions {
    pub(super) names: [BTreeSet<Name>; 3],
}

impl Subscriptions {
    /// How many names of this scope.
    pub fn len(&self, scope: Scope) -> usize {
        self.names[scope as usize].len()
    }

    /// Whether there is none of any scope.
    pub fn is_empty(&self) -> bool {
        self.names.iter().all(BTreeSet::is_empty)
    }

    /// The names of a scope, in order.
    pub fn names(&self, scope: Scope) -> impl Iterator<Item = &Name> {
        self.names[scope as usize].iter()
    }

    /// Memory that they take, without the names themselves, which the server's view shares.
    pub fn memory_bytes(&self) -> usize {
        size_of::<Subscriptions>()
            + self.names.iter().map(BTreeSet::len).sum::<usize>() * ENTRY_BYTES
    }
}
