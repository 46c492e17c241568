//! Lua 5.1 for Retrace. Its functions are called through `mlua`, which takes them from what is linked (`mlua-sys` with the
//! feature `external`). What is changed in Lua is in `build/edits.rs`. Lives here: what the C side and Rust have to agree
//! about when memory ends.

use std::alloc::{Layout, alloc, dealloc};
use std::ffi::c_int;

use mlua_sys::lua_State;

unsafe extern "C" {
    /// Says whether large blocks that Lua asks for may fail from now on, with an error of Lua's; gives back what was said
    /// before. They may while a script runs, but not in what Rust does for it, which such an error would leave by a jump.
    ///
    /// # Safety
    /// The state is alive.
    #[link_name = "retrace_lua_may_fail"]
    pub fn may_fail(state: *mut lua_State, on: c_int) -> c_int;
}

/// Whether the allocator would give a block of this size. The one that `mlua` gives to Lua ends the process rather than say
/// that it does not.
#[unsafe(no_mangle)]
extern "C" fn retrace_lua_has_room(size: usize) -> c_int {
    let Ok(layout) = Layout::from_size_align(size.max(1), 16) else {
        return 0;
    };
    // SAFETY: the layout has a size, and the block is given back as it was taken.
    unsafe {
        let block = alloc(layout);
        if block.is_null() {
            return 0;
        }
        dealloc(block, layout);
    }
    1
}

#[cfg(test)]
#[path = "../build/apply.rs"]
mod apply;
