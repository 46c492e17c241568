//! Restraint: what keeps all commands, or all that write, from running.

/// Reasons for which commands are refused or wait; most of the time there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restraint(u8);

impl Restraint {
    /// Data is being loaded.
    pub const LOADING: Restraint = Restraint(1);
    /// The last snapshot could not be saved.
    pub const SAVE_FAILED: Restraint = Restraint(2);
    /// The append-only file cannot be written.
    pub const AOF_FAILED: Restraint = Restraint(4);
    /// Clients wait until something that concerns all data is done.
    pub const HELD: Restraint = Restraint(8);
    /// A transaction or a script waits in its middle for what the shell does about a command of it: nobody else is to
    /// see half of what it does.
    pub const MIDWAY: Restraint = Restraint(16);

    #[inline]
    pub fn is_none(self) -> bool {
        self.0 == 0
    }

    pub fn has(self, other: Restraint) -> bool {
        self.0 & other.0 != 0
    }

    pub fn set(&mut self, other: Restraint, on: bool) {
        match on {
            true => self.0 |= other.0,
            false => self.0 &= !other.0,
        }
    }
}
