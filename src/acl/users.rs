//! Users: all of them, by name and by number. Clients hold numbers.
//!
//! Number zero is the default user, which is always there. A number is free again once its user was deleted, and
//! by then no client holds it: who deletes a user moves its clients to the default user before.

use std::collections::BTreeMap;

use super::user::User;
use slab::Slab;

/// Names a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct UserId(u32);

impl UserId {
    /// The user that everyone is at first.
    pub const DEFAULT: UserId = UserId(0);
}

/// All users.
#[derive(Clone, Debug)]
pub struct Users {
    users: Slab<User>,
    by_name: BTreeMap<Vec<u8>, UserId>,
    /// Stands for a number that nobody has: it may do nothing.
    nobody: User,
}

impl Users {
    /// The default user alone.
    pub fn new(default: User) -> Users {
        let mut users = Users {
            users: Slab::new(),
            by_name: BTreeMap::new(),
            nobody: User::new(b"", false),
        };
        users.put(default);
        users
    }

    /// The user with this number.
    #[inline]
    pub fn get(&self, id: UserId) -> &User {
        self.users.get(id.0 as usize).unwrap_or(&self.nobody)
    }

    /// The default user.
    pub fn default_user(&self) -> &User {
        self.get(UserId::DEFAULT)
    }

    /// The number of the user with this name.
    pub fn find(&self, name: &[u8]) -> Option<UserId> {
        self.by_name.get(name).copied()
    }

    /// Whether some user has this number.
    pub fn is_used(&self, id: UserId) -> bool {
        self.users.contains(id.0 as usize)
    }

    /// The user with this name.
    pub fn named(&self, name: &[u8]) -> Option<&User> {
        self.find(name).map(|id| self.get(id))
    }

    /// Adds a user, or puts it in the place of the one with its name.
    pub fn put(&mut self, user: User) -> UserId {
        if let Some(id) = self.find(user.name())
            && let Some(known) = self.users.get_mut(id.0 as usize)
        {
            *known = user;
            return id;
        }
        let name = user.name().to_vec();
        let id = UserId(self.users.insert(user) as u32);
        self.by_name.insert(name, id);
        id
    }

    /// Removes a user, which must not be the default one.
    pub fn remove(&mut self, id: UserId) {
        debug_assert!(id != UserId::DEFAULT, "the default user is always there");
        if let Some(user) = self.users.try_remove(id.0 as usize) {
            self.by_name.remove(user.name());
        }
    }

    /// All users, by name.
    pub fn iter(&self) -> impl Iterator<Item = &User> {
        self.by_name.values().map(|id| self.get(*id))
    }

    /// All numbers in use, by name.
    pub fn ids(&self) -> impl Iterator<Item = UserId> + '_ {
        self.by_name.values().copied()
    }
}
