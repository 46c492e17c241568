//! Switches that DEBUG sets for tests.

/// What DEBUG has switched; each stands at its default unless a test said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Switches {
    /// Nothing happens on its own: no cron work runs (PAUSE-CRON).
    pub cron_paused: bool,
    /// How long the shell waits before it appends to the append-only file.
    pub aof_flush_sleep_us: u64,
    /// Ticks carry on with the resizing of tables (DICT-RESIZING).
    pub dict_resizing: bool,
    /// Ticks shrink reply buffers (REPLYBUFFER RESIZING).
    pub reply_buffer_resizing: bool,
    /// Scripts may call commands that are marked as not for them (SET-DISABLE-DENY-SCRIPTS).
    pub deny_scripts_disabled: bool,
    /// Checksums of RDB files and payloads are not looked at (SET-SKIP-CHECKSUM-VALIDATION).
    pub skip_checksum: bool,
    /// List elements from this size on get a node of their own; zero leaves it to `list-max-listpack-size`
    /// (QUICKLIST-PACKED-THRESHOLD).
    pub quicklist_packed_threshold: u64,
}

impl Default for Switches {
    fn default() -> Switches {
        Switches {
            cron_paused: false,
            aof_flush_sleep_us: 0,
            dict_resizing: true,
            reply_buffer_resizing: true,
            deny_scripts_disabled: false,
            skip_checksum: false,
            quicklist_packed_threshold: 0,
        }
    }
}
