//! The latency monitor: the slowest moments of each kind of event.

use std::collections::BTreeMap;

/// Samples kept of one event.
const SAMPLES: usize = 160;

/// The history of one event.
#[derive(Clone, Debug, Default)]
pub struct LatencySeries {
    /// (second, milliseconds), oldest first.
    pub samples: Vec<(i64, u64)>,
    /// The largest since the series began, kept or not.
    pub max_ms: u64,
}

/// All events by name.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    pub events: BTreeMap<&'static str, LatencySeries>,
}

impl Latency {
    /// Adds a sample; two in the same second become one, the larger.
    pub fn add(&mut self, event: &'static str, now_secs: i64, ms: u64) {
        let series = self.events.entry(event).or_default();
        series.max_ms = series.max_ms.max(ms);
        match series.samples.last_mut() {
            Some((at, last)) if *at == now_secs => *last = ms.max(*last),
            _ => series.samples.push((now_secs, ms)),
        }
        if series.samples.len() > SAMPLES {
            series.samples.remove(0);
        }
    }
}
