//! Data types and small algorithms that know nobody above them.

pub mod glob;
