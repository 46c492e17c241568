//! Meter: whether the memory in use is above a limit, asked before every command while there is one; and the same of
//! the memory of Lua states, asked behind every script.
//!
//! The engine may not look outside, and this is outside; but an Input for each command would cost more than the
//! command. So the meter looks for itself, and notes the looks that found too much: what they found, and how many
//! in between found nothing. The journal holds these notes in front of the Input in whose course they were made;
//! a replay feeds them to its own meter, which then gives the same answers to the same questions. As long as
//! memory suffices, there is nothing to note.
//!
//! Lives here: the looking, the notes, their replay. May not: decide what follows (`state::eviction`).

use std::collections::VecDeque;

use crate::keyspace::alloc::used_memory;

/// A look that found more in use than was allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Looks since the finding before this one, which found enough room.
    pub looks_before: u64,
    pub used_bytes: u64,
}

/// Where the answers come from.
enum Source {
    /// The counting allocator.
    Allocator { is_noting: bool },
    /// A journal's findings, oldest first.
    Journal(VecDeque<Finding>),
}

/// See the module's text.
pub struct Meter {
    source: Source,
    /// Looks since the last finding.
    looks: u64,
    noted: Vec<Finding>,
}

impl Meter {
    /// A meter that asks the allocator.
    pub fn live() -> Meter {
        Meter {
            source: Source::Allocator { is_noting: false },
            looks: 0,
            noted: Vec::new(),
        }
    }

    /// A meter that knows only what it is fed.
    pub fn replaying() -> Meter {
        Meter {
            source: Source::Journal(VecDeque::new()),
            looks: 0,
            noted: Vec::new(),
        }
    }

    /// From now on findings are noted for a journal, which takes them after each Input.
    pub fn start_noting(&mut self) {
        if let Source::Allocator { is_noting } = &mut self.source {
            *is_noting = true;
        }
    }

    /// The bytes in use, if they are more than `limit`.
    #[inline]
    pub fn above(&mut self, limit: u64) -> Option<u64> {
        self.finds(limit, || used_memory() as u64)
    }

    /// The same of another size that no replay has to the byte, which `read` reads.
    #[inline]
    pub fn finds(&mut self, limit: u64, read: impl FnOnce() -> u64) -> Option<u64> {
        match &mut self.source {
            Source::Allocator { is_noting } => {
                let used_bytes = read();
                if used_bytes <= limit {
                    self.looks += 1;
                    return None;
                }
                if *is_noting {
                    self.noted.push(Finding {
                        looks_before: self.looks,
                        used_bytes,
                    });
                }
                self.looks = 0;
                Some(used_bytes)
            }
            Source::Journal(findings) => {
                if findings.front().map(|finding| finding.looks_before) != Some(self.looks) {
                    self.looks += 1;
                    return None;
                }
                self.looks = 0;
                findings.pop_front().map(|finding| finding.used_bytes)
            }
        }
    }

    /// Whether something was noted since the last [`Meter::take_noted`].
    #[inline]
    pub fn has_noted(&self) -> bool {
        !self.noted.is_empty()
    }

    /// What was noted.
    pub fn take_noted(&mut self) -> Vec<Finding> {
        std::mem::take(&mut self.noted)
    }

    /// What the journal noted about the Input that comes next.
    pub fn feed(&mut self, findings: impl IntoIterator<Item = Finding>) {
        if let Source::Journal(queue) = &mut self.source {
            queue.extend(findings);
        }
    }

    /// How many findings of a journal nobody has asked for.
    pub fn unasked(&self) -> usize {
        match &self.source {
            Source::Allocator { .. } => 0,
            Source::Journal(findings) => findings.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replay_finds_what_was_found_at_the_same_look() {
        let mut meter = Meter::replaying();
        assert_eq!(meter.above(5), None, "looks before the first feed count");
        let finding = |looks_before, used_bytes| Finding {
            looks_before,
            used_bytes,
        };
        meter.feed([finding(2, 70), finding(0, 60)]);
        let found: Vec<_> = (0..5).map(|_| meter.above(5)).collect();
        assert_eq!(found, [None, Some(70), Some(60), None, None]);
        assert_eq!(meter.unasked(), 0);
        meter.feed([finding(3, 9)]);
        assert_eq!((meter.above(5), meter.unasked()), (None, 1));
        assert_eq!((meter.above(5), meter.unasked()), (Some(9), 0));
    }
}
