//! Thrift: memory that the data does not need any more goes back to the system.
//!
//! The allocator keeps what is freed for a while, and looks at it again only when more is allocated or freed; a server that
//! has freed much and then has nothing to do would keep it for good. So the shell compares, now and then, what the process
//! takes with what is in use, and returns the difference: first whole blocks, by the thread that writes files, which nobody
//! waits for, then what is left in pages of the main thread's own, when nothing else is to be done. Replies do not
//! depend on any of it, so no journal has it.

use crate::state::UnixMicros;

/// How often it is looked at. It takes one small file of the system's to read.
const INTERVAL_US: u64 = 100_000;
/// So much may be in excess: the program itself, and what the allocator keeps to be quick.
const EXCESS_MIN: u64 = 16 << 20;
/// And a part of what is in use: rounding, and gaps between what stays.
const EXCESS_SHARE: u64 = 4;
/// A server that is never idle returns memory after so many looks: what it frees it may well need again at once.
const LOOKS_WHILE_BUSY: u32 = 100;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Another thread returns whole blocks.
    Aside,
    /// The main thread returns the pages that it has emptied.
    Here,
}

/// What was found at the last looks.
#[derive(Debug, Default)]
pub struct Thrift {
    looked_at: Option<UnixMicros>,
    /// Looks in a row that found too much in excess.
    found: u32,
    last: Option<Step>,
    /// What was still in excess when all was done: gaps that cannot be returned.
    kept: u64,
}

impl Thrift {
    /// Whether it is time for a look.
    pub fn is_due(&self, now: UnixMicros) -> bool {
        self.looked_at
            .is_none_or(|at| now.0 < at.0 || now.since(at) >= INTERVAL_US)
    }

    /// What is to be done, when so much is in use, the process takes `rss_bytes`, and there was nothing to do just now.
    pub fn look(
        &mut self,
        now: UnixMicros,
        used_bytes: u64,
        rss_bytes: u64,
        is_idle: bool,
    ) -> Option<Step> {
        self.looked_at = Some(now);
        let excess = rss_bytes.saturating_sub(used_bytes);
        let fair = EXCESS_MIN + used_bytes / EXCESS_SHARE;
        if self.last == Some(Step::Here) {
            self.last = None;
            self.kept = excess;
        }
        self.kept = self.kept.min(excess);
        if excess <= fair + self.kept {
            self.found = 0;
            self.last = None;
            return None;
        }
        self.found += 1;
        if !is_idle && self.found < LOOKS_WHILE_BUSY {
            return None;
        }
        let step = match self.last {
            None => Step::Aside,
            Some(_) => Step::Here,
        };
        self.last = Some(step);
        if step == Step::Here {
            self.found = 0;
        }
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MB: u64 = 1 << 20;

    #[test]
    fn an_idle_server_returns_what_it_freed_and_is_content_with_what_cannot_be() {
        let mut thrift = Thrift::default();
        let mut now = UnixMicros(0);
        let mut look = |used: u64, rss: u64, is_idle: bool| {
            now.0 += INTERVAL_US as i64;
            assert!(thrift.is_due(now));
            thrift.look(now, used * MB, rss * MB, is_idle)
        };
        assert_eq!(look(600, 640, true), None);
        assert_eq!(look(1, 640, true), Some(Step::Aside));
        assert_eq!(look(1, 640, true), Some(Step::Here));
        assert_eq!(look(1, 100, true), None, "it cannot be less");
        assert_eq!(look(1, 105, true), None);
        assert_eq!(look(1, 140, true), Some(Step::Aside));
        assert_eq!(look(1, 10, true), None);
        assert_eq!(look(1, 40, true), Some(Step::Aside));
        assert_eq!(look(1, 10, true), None);
    }

    #[test]
    fn a_busy_one_waits() {
        let mut thrift = Thrift::default();
        let steps: Vec<_> = (1..=2 * LOOKS_WHILE_BUSY)
            .filter_map(|n| {
                let now = UnixMicros(i64::from(n) * INTERVAL_US as i64);
                thrift.look(now, MB, 640 * MB, false).map(|step| (n, step))
            })
            .collect();
        assert_eq!(steps[..2], [(100, Step::Aside), (101, Step::Here)]);
        assert_eq!(steps.len(), 2, "{steps:?}");
    }
}
