//! Data types and small algorithms that know nobody above them.

pub mod glob;
pub mod bits;
pub mod long_double;
