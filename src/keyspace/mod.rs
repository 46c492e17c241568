//! Stand-in until the real module is merged.

pub mod alloc {
    pub fn used_memory() -> usize {
        0
    }
}
