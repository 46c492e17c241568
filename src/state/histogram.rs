//! Histogram: how often which duration was seen, to two significant digits.
//!
//! The classes are those of an HDR histogram: below 256 one for each value, above that 128 for each power of
//! two, so that a class is never wider than 1/128 of its values. Only powers of two that were seen own memory:
//!
//! ```text
//! octaves  [0..128) [128..256) [256..512) [512..1024) ...   128 counters each, absent until used
//! class width   1        1          2          4
//! ```

/// Counters in an octave.
const CLASSES: usize = 128;

/// The largest value that is kept apart: a second, in nanoseconds. Longer ones count as this.
const VALUE_MAX: u64 = 1_000_000_000;

/// Octaves up to the one that holds [`VALUE_MAX`].
const OCTAVES: usize = 24;

/// Counts of values.
#[derive(Clone, Debug, Default)]
pub struct Histogram {
    octaves: Vec<Option<Box<[u64; CLASSES]>>>,
    total: u64,
}

impl Histogram {
    /// Counts `value`, a number of nanoseconds, `times` times.
    pub fn record(&mut self, value: u64, times: u64) {
        let (octave, class) = place_of(value.clamp(1, VALUE_MAX));
        if self.octaves.is_empty() {
            self.octaves.resize(OCTAVES, None);
        }
        if let Some(slot) = self.octaves.get_mut(octave) {
            slot.get_or_insert_with(|| Box::new([0; CLASSES]))[class] += times;
            self.total += times;
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Forgets everything.
    pub fn reset(&mut self) {
        *self = Histogram::default();
    }

    /// The value that `percent` of all values do not exceed, rounded up to the end of its class.
    pub fn percentile(&self, percent: f64) -> u64 {
        let wanted = (percent.clamp(0.0, 100.0) / 100.0 * self.total as f64 + 0.5) as u64;
        let wanted = wanted.max(1);
        let mut seen = 0;
        for (lowest, highest, count) in self.classes() {
            seen += count;
            if seen >= wanted {
                return if percent == 0.0 { lowest } else { highest };
            }
        }
        0
    }

    /// How many values lie at or below 1024, 2048, 4096 ... (each up to the end of its class), for those steps
    /// at which there are more than at the one before.
    pub fn doublings(&self) -> Vec<(u64, u64)> {
        let mut steps = Vec::new();
        let mut classes = self.classes().peekable();
        let (mut seen, mut step) = (0, 1024);
        while seen < self.total {
            let end = class_end(step);
            let before = seen;
            while let Some((_, _, count)) = classes.next_if(|(_, highest, _)| *highest <= end) {
                seen += count;
            }
            if seen > before {
                steps.push((end, seen));
            }
            step *= 2;
        }
        steps
    }

    /// The classes in use: lowest value, highest value, count.
    fn classes(&self) -> impl Iterator<Item = (u64, u64, u64)> {
        let octaves = self.octaves.iter().enumerate();
        let used = octaves.filter_map(|(octave, counts)| Some((octave, counts.as_ref()?)));
        used.flat_map(|(octave, counts)| {
            let used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            used.map(move |(class, count)| {
                let lowest = lowest_of(octave, class);
                (lowest, lowest + width_of(octave) - 1, *count)
            })
        })
    }
}

/// Octave and class of a value.
fn place_of(value: u64) -> (usize, usize) {
    let bits = u64::BITS - value.leading_zeros();
    let octave = (bits as usize).saturating_sub(7);
    let class = if octave == 0 {
        value
    } else {
        (value >> (octave - 1)) - CLASSES as u64
    };
    (octave, class as usize)
}

fn lowest_of(octave: usize, class: usize) -> u64 {
    match octave {
        0 => class as u64,
        _ => ((CLASSES + class) as u64) << (octave - 1),
    }
}

fn width_of(octave: usize) -> u64 {
    1 << octave.saturating_sub(1)
}

/// The largest value in the class of `value`.
fn class_end(value: u64) -> u64 {
    let (octave, class) = place_of(value);
    lowest_of(octave, class) + width_of(octave) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_those_of_two_significant_digits() {
        for (value, end) in [
            (1, 1),
            (255, 255),
            (256, 257),
            (1000, 1003),
            (19_000, 19_071),
            (100_000, 100_351),
            (835_000, 835_583),
            (10_091_000, 10_092_543),
        ] {
            let (octave, class) = place_of(value);
            assert!(octave < OCTAVES && class < CLASSES, "{value}");
            assert!(lowest_of(octave, class) <= value, "{value}");
            assert_eq!(class_end(value), end);
        }
        assert!(place_of(VALUE_MAX).0 < OCTAVES);
    }

    #[test]
    fn percentiles_count_from_below() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.percentile(50.0), 0);
        for us in 1..=100u64 {
            histogram.record(us * 1000, 1);
        }
        assert_eq!(histogram.percentile(0.0), 1000);
        assert_eq!(histogram.percentile(50.0), 50_175);
        assert_eq!(histogram.percentile(100.0), 100_351);
        histogram.record(u64::MAX, 1);
        assert_eq!(histogram.percentile(100.0), class_end(VALUE_MAX));
    }

    #[test]
    fn doublings_show_growth_only() {
        let mut histogram = Histogram::default();
        for us in [1, 3, 3, 8, 30_155] {
            histogram.record(us * 1000, 1);
        }
        assert_eq!(
            histogram.doublings(),
            [(1031, 1), (4127, 3), (8255, 4), (33_816_575, 5)]
        );
    }
}
