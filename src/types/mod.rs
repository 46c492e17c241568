//! Data types and small algorithms that know nobody above them.

pub mod digest;
pub mod glob;
