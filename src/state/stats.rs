//! Counters that INFO shows.

use crate::state::histogram::Histogram;

/// Counters since the start or the last CONFIG RESETSTAT.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections_received: u64,
    pub commands_processed: u64,
    /// Snapshots that were begun in the background.
    pub snapshots: u64,
    /// Microseconds of the step (a command, a tick) in which the last of them began.
    pub snapshot_start_us: u64,
    pub rejected_connections: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub reads_processed: u64,
    pub writes_processed: u64,
    pub expired_keys: u64,
    /// Fields of hashes.
    pub expired_subkeys: u64,
    pub expired_time_cap_reached: u64,
    pub expire_cycle_cpu_us: u64,
    pub lazy_expired_keys: u64,
    pub active_expired_keys: u64,
    pub keyspace_hits: u64,
    pub keyspace_misses: u64,
    pub evicted_keys: u64,
    pub evicted_clients: u64,
    pub lazyfreed_objects: u64,
    /// Scripts of EVAL that had to make room for others.
    pub evicted_scripts: u64,
    /// Packed values of payloads and files that were looked at in full.
    pub dump_payload_sanitizations: u64,
    pub unexpected_error_replies: u64,
    pub error_replies: u64,
    pub query_buffer_limit_disconnections: u64,
    pub output_buffer_limit_disconnections: u64,
    /// How often a client's buffer for replies was made smaller, or larger.
    pub reply_buffer_shrinks: u64,
    pub reply_buffer_expands: u64,
    pub acl_denied_auth: u64,
    pub acl_denied_cmd: u64,
    pub acl_denied_key: u64,
    pub acl_denied_channel: u64,
    /// What a cluster would have refused, as far as the sample has seen.
    pub cluster_incompatible_ops: u64,
    /// Loop turns, and the microseconds spent in them and in commands.
    pub cycles: u64,
    pub cycle_us: u64,
    pub cycle_us_max: u64,
    pub command_us: u64,
    pub cycle_commands_max: u64,
    /// Microseconds spent in ticks, and in appending to the append-only file.
    pub cron_us: u64,
    pub aof_us: u64,
}

impl Stats {
    /// All bytes that came in and went out.
    pub fn net_bytes(&self) -> u64 {
        self.net_input_bytes.wrapping_add(self.net_output_bytes)
    }
}

/// One command's figures.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub usec: u64,
    pub rejected_calls: u64,
    pub failed_calls: u64,
    /// Calls by nanoseconds, while `latency-tracking` is on.
    pub durations: Histogram,
}

/// A rate, as the mean of the last sixteen samples taken ten times a second.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    last: u64,
    samples: [u64; 16],
    next: usize,
}

impl Rate {
    /// Takes a sample of a counter, `elapsed_us` after the one before.
    pub fn sample(&mut self, counter: u64, elapsed_us: u64) {
        let delta = counter.saturating_sub(self.last);
        self.last = counter;
        self.samples[self.next] = delta.saturating_mul(1_000_000) / elapsed_us.max(1);
        self.next = (self.next + 1) % self.samples.len();
    }

    /// Units a second.
    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }

    /// Forgets the samples; the counter goes on from zero.
    pub fn reset(&mut self) {
        *self = Rate::default();
    }
}
