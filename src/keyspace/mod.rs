//! Keyspace: where the data lives.
//!
//! Lives here: the hash table, the entries in it, databases, and the allocator that counts their bytes.
//! May not: commands, replies, sockets.

pub mod alloc;
pub mod db;
pub mod entry;
pub mod eviction;
pub mod garbage;
pub mod kind;
pub mod member;
pub mod object;
pub mod saving;
pub mod table;
pub mod usage;
