//! TopKeys: which keys of a stream of weighted ones weigh most, in bounded memory.
//!
//! Space-Saving (Metwally, Agrawal and El Abbadi, 2005) with weights: a fixed number of counters; a key without one
//! takes over the lightest, its weight included, and remembers that weight as its error. A key that weighs more than
//! the whole stream divided by the number of counters always has one. Departure: what is told of a key is its weight
//! less its error, so that it never says more than the key has weighed while it had its counter.
//!
//! Invariants: 1. `by_key` and `by_weight` name the same counters. 2. No counter's error is above its weight.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

#[derive(Clone, Copy, Debug)]
struct Counter {
    weight: u64,
    error: u64,
}

/// The heaviest keys so far.
#[derive(Clone, Debug)]
pub struct TopKeys {
    counters_max: usize,
    by_key: BTreeMap<Rc<[u8]>, Counter>,
    by_weight: BTreeSet<(u64, Rc<[u8]>)>,
    key_bytes: usize,
}

impl TopKeys {
    /// Nothing seen yet; at most this many keys are kept.
    pub fn new(counters_max: usize) -> TopKeys {
        TopKeys {
            counters_max: counters_max.max(1),
            by_key: BTreeMap::new(),
            by_weight: BTreeSet::new(),
            key_bytes: 0,
        }
    }

    /// The key was used and weighed this much.
    pub fn add(&mut self, key: &[u8], weight: u64) {
        if let Some((known, counter)) = self.by_key.get_key_value(key) {
            let (known, before) = (known.clone(), counter.weight);
            let after = before.saturating_add(weight);
            if let Some(counter) = self.by_key.get_mut(key) {
                counter.weight = after;
            }
            self.by_weight.remove(&(before, known.clone()));
            self.by_weight.insert((after, known));
            return;
        }
        let mut error = 0;
        if self.by_key.len() >= self.counters_max {
            if weight == 0 {
                return; // it would push out a key that has weighed something
            }
            if let Some((lightest, gone)) = self.by_weight.pop_first() {
                self.by_key.remove(&gone);
                self.key_bytes -= gone.len();
                error = lightest;
            }
        }
        let key: Rc<[u8]> = Rc::from(key);
        self.key_bytes += key.len();
        let weight = error.saturating_add(weight);
        self.by_weight.insert((weight, key.clone()));
        self.by_key.insert(key, Counter { weight, error });
    }

    /// The heaviest keys, at most `count`, with what each weighed at least; the heaviest first.
    pub fn heaviest(&self, count: usize) -> Vec<(&[u8], u64)> {
        let counters = self.by_key.iter();
        let mut found: Vec<(&[u8], u64)> = counters
            .map(|(key, counter)| (&**key, counter.weight - counter.error))
            .collect();
        found.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        found.truncate(count);
        found
    }

    /// Memory that the counters and their keys take, about.
    pub fn memory_bytes(&self) -> usize {
        const REFS: usize = 2 * size_of::<usize>();
        let counter = size_of::<Counter>() + size_of::<u64>() + 2 * size_of::<Rc<[u8]>>();
        self.by_key.len() * (counter + REFS) + self.key_bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn with_few_keys_the_weights_are_exact() {
        let mut top = TopKeys::new(4);
        for (key, weight) in [("a", 3), ("b", 5), ("a", 4), ("c", 0)] {
            top.add(key.as_bytes(), weight);
        }
        let want: [(&[u8], u64); 3] = [(b"a", 7), (b"b", 5), (b"c", 0)];
        assert_eq!(top.heaviest(10), want);
        assert_eq!(top.heaviest(1), want[..1]);
    }

    #[test]
    fn heavy_keys_stay_among_many_light_ones_and_nothing_is_told_too_high() {
        let mut top = TopKeys::new(20);
        let mut real: BTreeMap<Vec<u8>, u64> = BTreeMap::new();
        for round in 0..10_000_u64 {
            let key = match round % 4 {
                0 => format!("hot{}", round % 3),
                _ => format!("cold{}", round * 7919 % 5000),
            };
            let weight = 1 + round % 5;
            top.add(key.as_bytes(), weight);
            *real.entry(key.into_bytes()).or_default() += weight;
        }
        assert_eq!(top.by_key.len(), 20);
        assert_eq!(top.by_weight.len(), 20);
        let heaviest = top.heaviest(3);
        for (key, weight) in &heaviest {
            assert!(key.starts_with(b"hot"), "{}", key.escape_ascii());
            assert!(*weight <= real[*key] && *weight > real[*key] / 2);
        }
        for (key, weight) in top.heaviest(20) {
            assert!(weight <= real[key]);
        }
    }

    #[test]
    fn what_weighs_nothing_pushes_nobody_out() {
        let mut top = TopKeys::new(1);
        top.add(b"a", 0);
        top.add(b"b", 0);
        assert_eq!(top.heaviest(9), [(&b"a"[..], 0)]);
        top.add(b"b", 1);
        assert_eq!(top.heaviest(9), [(&b"b"[..], 1)]);
    }
}
