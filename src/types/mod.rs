//! Data types and small algorithms that know nobody above them.

pub mod bits;
pub mod decimal;
pub mod digest;
pub mod glob;
pub mod hyperloglog;
pub mod listpack;
pub mod long_double;
pub mod lzf;
pub mod size_class;
