//! Data types and small algorithms that know nobody above them.

pub mod bits;
pub mod block;
pub mod btree;
pub mod decimal;
pub mod digest;
pub mod geo;
pub mod glob;
pub mod grisu;
pub mod hyperloglog;
pub mod intset;
pub mod listpack;
pub mod long_double;
pub mod lzf;
pub mod one_of;
pub mod partial_sort;
pub mod quicklist;
pub mod size_class;
pub mod slot;
pub mod stream;
pub mod text;
pub mod top_keys;
