//! Data types and small algorithms that know nobody above them.

pub mod bits;
pub mod digest;
pub mod glob;
pub mod long_double;
