//! Types: data structures and the arithmetic of values.
//!
//! Lives here: what a value is made of, apart from where it is kept. May not: know the keyspace, commands or RESP.

pub mod bits;
pub mod long_double;
