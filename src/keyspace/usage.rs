//! Usage: what an entry remembers of its use, and how that counts.
//!
//! An entry has 24 bits to remember its use. With an LFU policy they are the minute of the last use and a counter
//! that grows ever more slowly; otherwise they are the second of the last use (or, with LRM, change):
//!
//! ```text
//!   23                8 7        0          23                              0
//!  [minutes, mod 2^16 | counter ]          [seconds, mod 2^24               ]
//! ```

/// What a new key's counter starts with, so that it is not the next to go.
const LFU_START: u32 = 5;
/// The greatest counter.
pub const LFU_MAX: u32 = 255;

/// What an entry's 24 bits remember.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    /// When it was last used.
    LastUse,
    /// When it was last changed.
    LastChange,
    /// How often it is used.
    Frequency,
}

/// The time as entries remember it, and how they do: one for each moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UsageClock {
    pub usage: Usage,
    /// Seconds, 24 bits.
    pub secs: u32,
    /// Minutes, 16 bits.
    pub minutes: u32,
    /// What an entry that was used this moment holds already; no 24 bits are equal to it when every use counts.
    pub settled: u32,
    log_factor: u64,
    decay_minutes: u32,
}

impl UsageClock {
    /// The clock at a time, with the parameters `lfu-log-factor` and `lfu-decay-time`.
    pub fn new(usage: Usage, unix_secs: i64, log_factor: i64, decay_minutes: i64) -> UsageClock {
        let secs = (unix_secs & 0xff_ffff) as u32;
        UsageClock {
            usage,
            secs,
            minutes: (unix_secs.div_euclid(60) & 0xffff) as u32,
            settled: match usage {
                Usage::LastUse => secs,
                Usage::LastChange | Usage::Frequency => u32::MAX,
            },
            log_factor: u64::try_from(log_factor).unwrap_or(0),
            decay_minutes: u32::try_from(decay_minutes).unwrap_or(0),
        }
    }

    /// What a new entry remembers.
    #[inline]
    pub fn fresh(&self) -> u32 {
        match self.usage {
            Usage::Frequency => self.with_count(LFU_START),
            Usage::LastUse | Usage::LastChange => self.secs,
        }
    }

    /// An entry that has this counter now.
    pub fn with_count(&self, count: u32) -> u32 {
        self.minutes << 8 | count
    }

    /// What an entry remembers once it was used. `random` is any 64 bits.
    pub fn used(&self, before: u32, random: impl FnOnce() -> u64) -> u32 {
        match self.usage {
            Usage::LastUse => self.secs,
            Usage::LastChange => before,
            Usage::Frequency => {
                let count = self.count(before);
                self.with_count(if self.counts_up(count, random) {
                    count + 1
                } else {
                    count
                })
            }
        }
    }

    /// The counter of an entry now: less by one for each span of `lfu-decay-time` in which it was not used.
    pub fn count(&self, remembered: u32) -> u32 {
        (remembered & LFU_MAX).saturating_sub(self.decay(remembered))
    }

    /// How much of its counter an entry has lost since it was used.
    pub fn decay(&self, remembered: u32) -> u32 {
        let idle_minutes = self.minutes.wrapping_sub(remembered >> 8) & 0xffff;
        idle_minutes.checked_div(self.decay_minutes).unwrap_or(0)
    }

    /// One use in `(count - 5) * factor + 1` is counted.
    fn counts_up(&self, count: u32, random: impl FnOnce() -> u64) -> bool {
        let above = u64::from(count.saturating_sub(LFU_START));
        let odds = above.saturating_mul(self.log_factor).saturating_add(1);
        count < LFU_MAX && random() <= u64::MAX / odds
    }

    /// Seconds since an entry was used.
    pub fn idle_secs(&self, remembered: u32) -> u32 {
        self.secs.wrapping_sub(remembered) & 0xff_ffff
    }
}
