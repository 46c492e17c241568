//! Stack: Lua's own stack, for what every script and every one of its calls needs.
//!
//! `mlua` gives each value that crosses over to Rust a handle, which costs more than the value. Libraries can afford
//! that; the way of a script into Lua, of its calls out of it and of their replies back cannot (see
//! `docs/performance.md`). For them values lie where Lua itself has them. Lives here: the stack's operations, functions
//! of Rust that Lua calls, values kept by number. May not: know what a script is.
//!
//! Invariants:
//! 1. A [`Stack`] is of a state that lives: it borrows from the `Lua` or lives as long as Lua's call of its function.
//! 2. A value is pushed only where room for it was reserved, which `room` counts.
//! 3. No operation leaves by a jump of Lua's past frames of Rust: the allocator of `mlua` aborts rather than fail, large
//!    blocks fail in Lua's own frames alone ([`enter`]), what is called is called protected, finalizers are called
//!    protected (`lua/`), and an operation that could fail on a wrong type is refused before. Only [`enter`] jumps, when
//!    its frame holds nothing any more.
//! 4. Text is borrowed from the stack that it lies on, which cannot be changed meanwhile. Who suspends holds none.
#![allow(
    unsafe_code,
    reason = "measured: handles take more than half of a short script's time"
)]

use std::ffi::{c_char, c_int};
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::slice;

use mlua::{Function, IntoLua, Lua, ffi};

/// The stack of a state, or of one call of a function within it. Places are counted from 1.
pub struct Stack<'a> {
    state: NonNull<ffi::lua_State>,
    room: c_int,
    lua: PhantomData<&'a Lua>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Nil,
    Boolean,
    Number,
    String,
    Table,
    /// A function or what else there is.
    Other,
}

/// How a function ends.
pub enum Outcome {
    /// The value on top is its result.
    Returns,
    /// The value on top is raised as an error.
    Raises,
}

/// A function that Lua calls with the arguments on the stack.
pub type Handler<T> = fn(&mut Stack<'_>, &T) -> Outcome;

/// A value that is kept in the state, by number, until it is let go.
#[derive(Clone, Copy, Debug)]
pub struct Anchor(c_int);

impl Anchor {
    /// Keeps a value.
    pub fn new(lua: &Lua, value: impl IntoLua) -> mlua::Result<Anchor> {
        let mut number = 0;
        let keep = |state| {
            // SAFETY: `exec_raw` gives a state with the value on top, which `luaL_ref` takes off.
            number = unsafe { ffi::luaL_ref(state, ffi::LUA_REGISTRYINDEX) };
        };
        // SAFETY: the closure owns nothing and leaves the stack balanced.
        unsafe { lua.exec_raw::<()>(value, keep) }?;
        Ok(Anchor(number))
    }

    /// Lets the value go.
    pub fn release(self, lua: &Lua) {
        let stack = Stack::of(lua);
        // SAFETY: by invariant 1; a number that is not in use is ignored.
        unsafe { ffi::luaL_unref(stack.state.as_ptr(), ffi::LUA_REGISTRYINDEX, self.0) }
    }
}

impl<'a> Stack<'a> {
    /// The stack of a state in which no function runs, or whose running function waits.
    pub fn of(lua: &'a Lua) -> Stack<'a> {
        let state = lua.exec_raw_lua(|raw| raw.state());
        Stack {
            state: NonNull::new(state).expect("a Lua state has an address"),
            room: 0,
            lua: PhantomData,
        }
    }

    fn raw(&self) -> *mut ffi::lua_State {
        self.state.as_ptr()
    }

    /// How many values there are.
    #[inline]
    pub fn len(&self) -> i32 {
        // SAFETY: by invariant 1.
        unsafe { ffi::lua_gettop(self.raw()) }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Removes what lies above the first `len` values.
    #[inline]
    pub fn truncate(&mut self, len: i32) {
        let above = self.len() - len;
        assert!(len >= 0 && above >= 0, "the stack is not that long");
        // SAFETY: by invariant 1; the new top lies within what is there.
        unsafe { ffi::lua_settop(self.raw(), len) };
        self.room += above;
    }

    /// Makes room for so many more values; false if there is no more to be had.
    #[inline]
    pub fn reserve(&mut self, values: i32) -> bool {
        if self.room >= values {
            return true;
        }
        // SAFETY: by invariant 1.
        let is_there = unsafe { ffi::lua_checkstack(self.raw(), values) } != 0;
        if is_there {
            self.room = values;
        }
        is_there
    }

    /// One value is about to be pushed.
    #[inline]
    fn take_room(&mut self) {
        assert!(self.room > 0, "room was reserved");
        self.room -= 1;
    }

    /// What lies at a place; nothing counts as nil.
    #[inline]
    pub fn kind(&self, at: i32) -> Kind {
        assert!(at > 0, "places are counted from 1");
        // SAFETY: by invariant 1; a place above the top is no value to Lua.
        match unsafe { ffi::lua_type(self.raw(), at) } {
            ffi::LUA_TNIL | ffi::LUA_TNONE => Kind::Nil,
            ffi::LUA_TBOOLEAN => Kind::Boolean,
            ffi::LUA_TNUMBER => Kind::Number,
            ffi::LUA_TSTRING => Kind::String,
            ffi::LUA_TTABLE => Kind::Table,
            _ => Kind::Other,
        }
    }

    /// A string's bytes. A number is none.
    #[inline]
    pub fn bytes(&self, at: i32) -> Option<&[u8]> {
        if self.kind(at) != Kind::String {
            return None;
        }
        let mut len = 0;
        // SAFETY: it is a string, so nothing is converted; the bytes stay while the value does (invariant 4).
        unsafe {
            let bytes = ffi::lua_tolstring(self.raw(), at, &mut len);
            Some(slice::from_raw_parts(bytes.cast(), len))
        }
    }

    /// A number. Text that reads as one is none.
    #[inline]
    pub fn number(&self, at: i32) -> Option<f64> {
        // SAFETY: by invariant 1; it is a number, so nothing is converted.
        (self.kind(at) == Kind::Number).then(|| unsafe { ffi::lua_tonumber(self.raw(), at) })
    }

    /// Whether a value counts as true.
    #[inline]
    pub fn is_true(&self, at: i32) -> bool {
        assert!(at > 0, "places are counted from 1");
        // SAFETY: by invariant 1.
        unsafe { ffi::lua_toboolean(self.raw(), at) != 0 }
    }

    #[inline]
    pub fn push_nil(&mut self) {
        self.take_room();
        // SAFETY: by invariants 1 and 2.
        unsafe { ffi::lua_pushnil(self.raw()) }
    }

    #[inline]
    pub fn push_bool(&mut self, value: bool) {
        self.take_room();
        // SAFETY: by invariants 1 and 2.
        unsafe { ffi::lua_pushboolean(self.raw(), c_int::from(value)) }
    }

    #[inline]
    pub fn push_number(&mut self, value: f64) {
        self.take_room();
        // SAFETY: by invariants 1 and 2.
        unsafe { ffi::lua_pushnumber(self.raw(), value) }
    }

    /// A string of these bytes.
    #[inline]
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.take_room();
        let text: *const c_char = bytes.as_ptr().cast();
        // SAFETY: by invariants 1 to 3; Lua copies so many bytes.
        unsafe { ffi::lua_pushlstring_(self.raw(), text, bytes.len()) }
    }

    /// A value that is kept.
    #[inline]
    pub fn push_anchored(&mut self, anchor: Anchor) {
        self.take_room();
        // SAFETY: by invariants 1 and 2; the registry is a table, and a number that is not in use is nil.
        unsafe { ffi::lua_rawgeti_(self.raw(), ffi::LUA_REGISTRYINDEX, anchor.0) }
    }

    /// A copy of the value at a place.
    #[inline]
    pub fn push_copy(&mut self, at: i32) {
        assert!(at > 0 && at <= self.len(), "there is a value");
        self.take_room();
        // SAFETY: by invariants 1 and 2.
        unsafe { ffi::lua_pushvalue(self.raw(), at) }
    }

    /// A new table with room for so many elements and fields; the result is its place.
    #[inline]
    pub fn push_table(&mut self, elements: usize, fields: usize) -> i32 {
        self.take_room();
        // More is a hint that Lua could not follow.
        let hint = |count: usize| count.min(1 << 24) as c_int;
        // SAFETY: by invariants 1 to 3.
        unsafe { ffi::lua_createtable(self.raw(), hint(elements), hint(fields)) };
        self.len()
    }

    fn assert_table(&self, at: i32) {
        assert!(self.kind(at) == Kind::Table, "there is a table");
    }

    /// Takes the value on top into a table as its element `index`.
    #[inline]
    pub fn set_element(&mut self, table: i32, index: i32) {
        self.assert_table(table);
        assert!(table < self.len(), "a value lies above the table");
        // SAFETY: by invariants 1 and 3: it is a table, and the value is there.
        unsafe { ffi::lua_rawseti_(self.raw(), table, index) };
        self.room += 1;
    }

    /// Takes the two values on top into a table, as a key and its value. Nil and NaN are no keys: with them nothing is
    /// set.
    pub fn set_pair(&mut self, table: i32) {
        self.assert_table(table);
        let key = self.len() - 1;
        assert!(table < key, "two values lie above the table");
        let is_key = self.kind(key) != Kind::Nil && !self.number(key).is_some_and(f64::is_nan);
        if !is_key {
            return self.truncate(key - 1);
        }
        // SAFETY: by invariants 1 and 3: it is a table, and key and value are there and allowed.
        unsafe { ffi::lua_rawset(self.raw(), table) };
        self.room += 2;
    }

    /// Takes the value on top into a table as a field. One more value has to have room.
    pub fn set_field(&mut self, table: i32, name: &str) {
        self.push_bytes(name.as_bytes());
        let at = self.len() - 1;
        assert!(table < at, "a value lies above the table");
        // SAFETY: by invariant 1: both values are there.
        unsafe { ffi::lua_insert(self.raw(), at) };
        self.set_pair(table);
    }

    /// Pushes a table's element, whatever its metatable says.
    #[inline]
    pub fn push_element(&mut self, table: i32, index: i32) {
        self.assert_table(table);
        self.take_room();
        // SAFETY: by invariants 1 and 2, and it is a table.
        unsafe { ffi::lua_rawgeti_(self.raw(), table, index) }
    }

    /// Pushes a table's field, whatever its metatable says; the result is its place.
    #[inline]
    pub fn push_field(&mut self, table: i32, name: &str) -> i32 {
        self.assert_table(table);
        self.push_bytes(name.as_bytes());
        // SAFETY: by invariant 1, and it is a table; the value takes the name's place.
        unsafe { ffi::lua_rawget_(self.raw(), table) };
        self.len()
    }

    /// Calls `f` for each pair of a table, with the place of the key; the value lies behind it. What `f` leaves above
    /// is removed. The table must not change meanwhile. Two values have to have room.
    pub fn each_pair(&mut self, table: i32, mut f: impl FnMut(&mut Self, i32)) {
        self.assert_table(table);
        self.push_nil();
        let key = self.len();
        loop {
            self.take_room();
            // SAFETY: by invariants 1 to 3: it is a table, and the key is nil or one of its own.
            if unsafe { ffi::lua_next(self.raw(), table) } == 0 {
                self.room += 2; // the last key is gone too
                return;
            }
            f(self, key);
            self.truncate(key);
        }
    }

    /// Calls the function below the `args` values on top, which give way to its `results`. False if it has failed: then
    /// the error is there in place of results.
    pub fn call(&mut self, args: i32, results: i32) -> bool {
        let room = self.room + args + 1;
        assert!(args >= 0 && results >= 1 && args < self.len() && results <= room);
        // SAFETY: by invariants 1 and 2; errors are caught.
        let status = unsafe { ffi::lua_pcall(self.raw(), args, results, 0) };
        let now = if status == 0 { results } else { 1 };
        self.room += args + 1 - now;
        status == 0
    }
}

/// A handler and what it works on.
struct Lent<T> {
    data: *const T,
    handler: Handler<T>,
}

/// Ends the loan of functions: from then on they fail.
struct Loan<'a, T> {
    functions: Vec<(Function, NonNull<*const Lent<T>>)>,
    lua: PhantomData<&'a Lua>,
}

impl<T> Drop for Loan<'_, T> {
    fn drop(&mut self) {
        for (_, cell) in &self.functions {
            // SAFETY: the function, which is held here, keeps the userdata with the cell.
            unsafe { cell.write(ptr::null()) }
        }
    }
}

/// Runs `body` with functions for Lua that call these handlers with `data`. Behind it they fail.
pub fn lend<T, R, const N: usize>(
    lua: &Lua,
    data: &T,
    handlers: [Handler<T>; N],
    body: impl FnOnce([Function; N]) -> mlua::Result<R>,
) -> mlua::Result<R> {
    let lent = handlers.map(|handler| Lent { data, handler });
    let mut loan = Loan {
        functions: Vec::with_capacity(N),
        lua: PhantomData,
    };
    for lent in &lent {
        let mut address = None;
        let make = |state| {
            // SAFETY: `exec_raw` gives a state with room for three values; the userdata has room for the pointer, which
            // is as aligned as userdata are.
            unsafe {
                let cell: *mut *const Lent<T> =
                    ffi::lua_newuserdata(state, size_of::<*const Lent<T>>()).cast();
                cell.write(lent);
                address = NonNull::new(cell);
                ffi::lua_pushcclosure(state, enter::<T>, 1);
            }
        };
        // SAFETY: the closure owns nothing and leaves one value, the function.
        let function: Function = unsafe { lua.exec_raw((), make) }?;
        let cell = address.expect("userdata has an address");
        loan.functions.push((function, cell));
    }
    body(std::array::from_fn(|index| loan.functions[index].0.clone()))
}

/// What Lua calls for each function that is lent.
unsafe extern "C-unwind" fn enter<T>(state: *mut ffi::lua_State) -> c_int {
    // SAFETY: `lend` alone makes such functions: the upvalue is a userdata with a pointer, which is null or, until
    // `Loan` ends, to what lives in `lend`'s frame.
    let lent = unsafe {
        let cell: *const *const Lent<T> =
            ffi::lua_touserdata(state, ffi::lua_upvalueindex(1)).cast();
        (*cell).as_ref()
    };
    let outcome = match (lent, NonNull::new(state)) {
        (Some(lent), Some(state)) => {
            let mut stack = Stack {
                state,
                room: 0,
                lua: PhantomData,
            };
            // SAFETY: as above.
            let data = unsafe { &*lent.data };
            // SAFETY: the state is alive, as it calls this.
            let before = unsafe { retrace_lua::may_fail(state.as_ptr(), 0) };
            let outcome = (lent.handler)(&mut stack, data);
            // SAFETY: as above.
            unsafe { retrace_lua::may_fail(state.as_ptr(), before) };
            assert!(!stack.is_empty(), "there is a value to return");
            outcome
        }
        _ => {
            // SAFETY: Lua has room for twenty values in each call.
            unsafe { ffi::lua_pushnil(state) };
            Outcome::Raises
        }
    };
    match outcome {
        Outcome::Returns => 1,
        // SAFETY: the error is on top, and nothing in this frame has to be dropped.
        Outcome::Raises => unsafe { ffi::lua_error(state) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_cross_both_ways() {
        let lua = Lua::new();
        let before = Stack::of(&lua).len();
        let mut stack = Stack::of(&lua);
        assert!(stack.reserve(8));
        let table = stack.push_table(2, 1);
        stack.push_bytes(b"a\0b");
        stack.set_element(table, 1);
        stack.push_number(-7.5);
        stack.set_field(table, "x");
        stack.push_nil();
        stack.push_bool(true);
        stack.set_pair(table); // nil is no key
        stack.push_number(f64::NAN);
        stack.push_bool(true);
        stack.set_pair(table);
        stack.push_element(table, 1);
        assert_eq!(stack.bytes(table + 1), Some(&b"a\0b"[..]));
        let x = stack.push_field(table, "x");
        assert_eq!((stack.number(x), stack.bytes(x)), (Some(-7.5), None));
        stack.truncate(table);
        let mut pairs = 0;
        assert!(stack.reserve(2));
        stack.each_pair(table, |stack, key| {
            pairs += 1;
            assert!(stack.kind(key) != Kind::Nil && stack.kind(key + 1) != Kind::Nil);
        });
        assert_eq!((pairs, stack.len()), (2, table));
        stack.truncate(table - 1);
        assert_eq!(stack.len(), before);
    }

    #[test]
    fn lent_functions_return_raise_and_end() {
        let lua = Lua::new();
        let double: Handler<f64> = |stack, factor| {
            let product = stack.number(1).map(|number| number * factor);
            stack.truncate(0);
            stack.reserve(1);
            match product {
                Some(number) => {
                    stack.push_number(number);
                    Outcome::Returns
                }
                None => {
                    stack.push_bytes(b"no number");
                    Outcome::Raises
                }
            }
        };
        let functions = lend(&lua, &2.0, [double], |[double]| {
            lua.globals().set("double", &double)?;
            assert_eq!(lua.load("return double(21)").eval::<i64>()?, 42);
            let text = "local ok, error = pcall(double, 'x'); return error";
            assert_eq!(lua.load(text).eval::<String>()?, "no number");
            Ok(())
        });
        functions.expect("nothing failed");
        let is_over = lua.load("return (pcall(double, 1))").eval::<bool>();
        assert!(!is_over.expect("the call is protected"));
    }

    #[test]
    fn what_is_kept_is_called_by_number() {
        let lua = Lua::new();
        let function = lua.load("local a, b = ...; if a then return a + b end; error('none')");
        let anchor = Anchor::new(&lua, function.into_function().expect("it compiles"));
        let anchor = anchor.expect("there is room");
        let mut stack = Stack::of(&lua);
        let base = stack.len();
        assert!(stack.reserve(4));
        stack.push_anchored(anchor);
        stack.push_number(1.0);
        stack.push_number(2.0);
        assert!(stack.call(2, 1));
        assert_eq!(stack.number(base + 1), Some(3.0));
        stack.truncate(base);
        stack.push_anchored(anchor);
        assert!(!stack.call(0, 1));
        assert_eq!(
            (stack.len(), stack.kind(base + 1)),
            (base + 1, Kind::String)
        );
        stack.truncate(base);
        anchor.release(&lua);
    }

    #[test]
    fn room_ends() {
        let lua = Lua::new();
        assert!(!Stack::of(&lua).reserve(1_000_000));
    }
}
