//! Ids: the numbers by which every part of the house speaks of a connection, a command, a moment.
//!
//! May not: know what they name.

/// Names a connection. The shell chooses it, as low as its list of connections allows, and uses it again once the engine has
/// let it go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(pub u32);

/// Names a command or subcommand in the registry; stable for one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CommandId(pub u16);

/// Microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMicros(pub i64);

impl UnixMicros {
    /// Whole milliseconds since the epoch.
    #[inline]
    pub fn ms(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// Whole seconds since the epoch.
    #[inline]
    pub fn secs(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Microseconds from `earlier` to here; zero when the clock was set back.
    #[inline]
    pub fn since(self, earlier: UnixMicros) -> u64 {
        u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0)
    }
}
