//! ACL: who may log in, and what each user may run, touch and hear.
//!
//! - `password.rs`: passwords, of which only hashes are kept.
//! - `selector.rs`: one set of permissions: commands, keys, channels.
//! - `user.rs`: a user, its flags, passwords and selectors, and the rules that change them.
//! - `users.rs`: all users by name and number.
//! - `file.rs`: users as text: the ACL file, and `user` directives of the configuration.
//! - `log.rs`: what was refused lately.
//!
//! May not: know clients, requests or files. `command::permission` asks here about a whole request.

pub mod file;
pub mod log;
mod password;
mod selector;
mod user;
mod users;

pub use password::PasswordHash;
pub use selector::{KeyAccess, Selector, category};
pub use user::{BadRule, ChannelsLeft, RuleError, Terms, User, has_spaces};
pub use users::{DEFAULT_NAME, UserId, Users};
