//! Lua 5.1 for Retrace: being linked is all that this crate is for. Its functions are called through `mlua`, which takes
//! them from what is linked (`mlua-sys` with the feature `external`). What is changed in Lua is in `build/edits.rs`.

#[cfg(test)]
#[path = "../build/apply.rs"]
mod apply;
