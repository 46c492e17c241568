//! ACL: who may log in, and what each user may run, touch and hear.
//!
//! - `password.rs`: passwords, of which only hashes are kept.
//! - `category.rs`, `catalogue.rs`: what permissions know of commands; the registry of commands hands it in.
//! - `rule.rs`: what rules are read against, and why one is refused.
//! - `selector.rs`: one set of permissions: commands, keys, channels.
//! - `user.rs`: a user, its flags, passwords and selectors, and the rules that change them.
//! - `users.rs`: all users by name and number.
//! - `file.rs`: users as text: the ACL file, and `user` directives of the configuration.
//! - `log.rs`: what was refused lately.
//!
//! May not: know clients, requests or files. `command::permission` asks here about a whole request.

mod catalogue;
pub mod category;
pub mod file;
pub mod log;
mod password;
mod rule;
mod selector;
mod user;
mod users;

pub use catalogue::{Catalogue, Known};
pub use category::category;
pub use password::PasswordHash;
pub use rule::{BadRule, RuleError, Terms};
pub use selector::{KeyAccess, Selector};
pub use user::{ChannelsLeft, DEFAULT_NAME, User};
pub use users::{UserId, Users};
