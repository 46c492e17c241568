//! Params: one row for each parameter, sorted by name.
//!
//! A row is `field: type = default, kind, flags [alias "older-name"];` below its doc comment, which also is the
//! text of the reference page. The parameter's name is the field's with `-` for `_`.
//! May not: anything else; formats belong to `kinds.rs` and `values.rs`.

use super::kinds::{
    Choice, Int, Kind, Memory, MemoryLimit, MemoryOrPercent, NeverYes, OPTIONAL, Octal, TEXT,
    ValueError, WideMemory, YesNo,
};
use super::values::*;
use super::{Flags, Param};

const I32_MAX: i64 = i32::MAX as i64;
const U32_MAX: i64 = u32::MAX as i64;

/// Makes `Config`, its defaults and `PARAMS` from the rows.
macro_rules! params {
    ($($(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, $kind:expr,
       $flag:ident $(+ $more:ident)* $(alias $alias:literal)?;)+) => {
        /// The value of every parameter; fields are named as the parameters are, with `_` for `-`.
        #[derive(Debug, Clone, PartialEq)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $field: $type,)+
        }

        impl Default for Config {
            fn default() -> Config {
                Config { $($field: $default,)+ }
            }
        }

        /// Every parameter, sorted by name.
        pub static PARAMS: &[Param] = &[$(Param {
            name: {
                const LEN: usize = stringify!($field).len();
                const NAME: [u8; LEN] = dashed(stringify!($field));
                match std::str::from_utf8(&NAME) {
                    Ok(name) => name,
                    Err(_) => panic!("a field's name is ASCII"),
                }
            },
            alias: first(&[$($alias)?]),
            flags: Flags::$flag$(.and(Flags::$more))*,
            doc: concat!($($doc),+),
            parse: |config, args, stage| {
                config.$field = Kind::<$type>::parse(&$kind, args, &config.$field, stage)?;
                Ok(())
            },
            print: |config| Kind::<$type>::print(&$kind, &config.$field),
            lines: |config, default| Kind::<$type>::lines(&$kind, &config.$field, &default.$field),
            describe: || Kind::<$type>::describe(&$kind),
        }),+];
    };
}

/// A field's name with `-` for `_`.
const fn dashed<const LEN: usize>(field: &str) -> [u8; LEN] {
    let mut name = [0; LEN];
    let mut pos = 0;
    while pos < LEN {
        let byte = field.as_bytes()[pos];
        name[pos] = if byte == b'_' { b'-' } else { byte };
        pos += 1;
    }
    name
}

const fn first(names: &[&'static str]) -> Option<&'static str> {
    match names {
        [] => None,
        [name, ..] => Some(name),
    }
}

params! {
    /// Channels a new ACL user may use; keep resetchannels and grant by name.
    acl_pubsub_default: PubsubDefault = PubsubDefault::ResetChannels, Choice, MUTABLE;
    /// File that holds the ACL users; leave empty to keep users in the configuration file.
    aclfile: Vec<u8> = Vec::new(), TEXT, IMMUTABLE;
    /// Refused commands and logins that ACL LOG keeps; the default suits nearly everyone.
    acllog_max_len: i64 = 128, Int(0, i64::MAX), MUTABLE;
    /// Most CPU, in percent, that defragmentation may take; kept for compatibility.
    active_defrag_cycle_max: i64 = 25, Int(1, 99), MUTABLE;
    /// Least CPU, in percent, that defragmentation takes; kept for compatibility.
    active_defrag_cycle_min: i64 = 1, Int(1, 99), MUTABLE;
    /// Wasted bytes below which nothing is defragmented; kept for compatibility.
    active_defrag_ignore_bytes: i64 = 100 << 20, Memory(1, i64::MAX), MUTABLE;
    /// Fields of one collection that one defragmentation step handles; kept for compatibility.
    active_defrag_max_scan_fields: i64 = 1000, Int(1, i64::MAX), MUTABLE;
    /// Fragmentation, in percent, at which defragmentation starts; kept for compatibility.
    active_defrag_threshold_lower: i64 = 10, Int(0, 1000), MUTABLE;
    /// Fragmentation, in percent, at which it takes the most CPU; kept for compatibility.
    active_defrag_threshold_upper: i64 = 100, Int(0, 1000), MUTABLE;
    /// How hard expired keys are hunted: more frees memory earlier and costs CPU; stay at 1 when unsure.
    active_expire_effort: i64 = 1, Int(1, 10), MUTABLE;
    /// Active defragmentation, which this allocator does not offer.
    activedefrag: bool = false, NeverYes(ValueError::NoDefrag), MUTABLE;
    /// Use idle ticks to finish moving hash tables; say no only where every microsecond of latency counts.
    activerehashing: bool = true, YesNo, MUTABLE;
    /// Print the logo even when the log is not a terminal.
    always_show_logo: bool = false, YesNo, IMMUTABLE;
    /// Keep append-only files that are no longer in the manifest; for tests of persistence.
    aof_disable_auto_gc: bool = false, YesNo, HIDDEN;
    /// Start although the append-only file ends in the middle of a command; no makes you repair it first.
    aof_load_truncated: bool = true, YesNo, MUTABLE;
    /// CPUs for rewriting the append-only file; there is no such child here, so it has no effect.
    aof_rewrite_cpulist: Vec<u8> = Vec::new(), OPTIONAL, IMMUTABLE alias "aof_rewrite_cpulist";
    /// Force a rewritten append-only file to disk in portions, against one long stall at the end.
    aof_rewrite_incremental_fsync: bool = true, YesNo, MUTABLE;
    /// Annotate the append-only file with times for point-in-time repair; older readers refuse such a file.
    aof_timestamp_enabled: bool = false, YesNo, MUTABLE;
    /// Begin a rewritten append-only file with a snapshot: smaller and faster to load, so leave it on.
    aof_use_rdb_preamble: bool = true, YesNo, MUTABLE;
    /// Directory, below dir, for the append-only files.
    appenddirname: Vec<u8> = b"appendonlydir".to_vec(), TEXT.checked(check_appenddirname), IMMUTABLE;
    /// Base name of the append-only files.
    appendfilename: Vec<u8> = b"appendonly.aof".to_vec(), TEXT.checked(check_appendfilename), IMMUTABLE;
    /// When writes reach the disk: always is safest and slowest, no leaves it to the system, everysec loses a second at most.
    appendfsync: Appendfsync = Appendfsync::Everysec, Choice, MUTABLE;
    /// Log every write to disk: turn it on where losing the time since the last snapshot is too much.
    appendonly: bool = false, YesNo, MUTABLE;
    /// Size below which the append-only file is never rewritten by itself.
    auto_aof_rewrite_min_size: i64 = 64 << 20, Memory(0, i64::MAX), MUTABLE;
    /// Growth since the last rewrite, in percent, that starts the next one; 0 turns this off.
    auto_aof_rewrite_percentage: i64 = 100, Int(0, I32_MAX), MUTABLE;
    /// CPUs for background saving; there is no such child here, so it has no effect.
    bgsave_cpulist: Vec<u8> = Vec::new(), OPTIONAL, IMMUTABLE alias "bgsave_cpulist";
    /// Addresses to listen on; a leading - lets one be missing. Name the loopback addresses unless others must reach you.
    bind: Vec<Vec<u8>> = vec![b"*".to_vec(), b"-::*".to_vec()], Addresses, MULTI_ARG;
    /// Address that outgoing connections come from; empty lets the system choose.
    bind_source_addr: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// CPUs for the helper thread; empty leaves them to the system.
    bio_cpulist: Vec<u8> = Vec::new(), OPTIONAL, IMMUTABLE alias "bio_cpulist";
    /// Milliseconds after which a script counts as busy and others are told so.
    busy_reply_threshold: i64 = 5000, Int(0, i64::MAX), MUTABLE alias "lua-time-limit";
    /// Replies that may pile up for each class before the client is cut off; raise the replica class for large datasets.
    client_output_buffer_limit: OutputBufferLimits = OutputBufferLimits::DEFAULT, BufferLimits, MULTI_ARG;
    /// Most memory that one client's unparsed request may take; guards against broken clients.
    client_query_buffer_limit: i64 = 1 << 30, Memory(1048576, i64::MAX), MUTABLE;
    /// Serve sharded pub/sub while the cluster is down.
    cluster_allow_pubsubshard_when_down: bool = true, YesNo, MUTABLE;
    /// Serve reads while the cluster is down: answers may be stale, but there are answers.
    cluster_allow_reads_when_down: bool = false, YesNo, MUTABLE;
    /// Let a replica move to a primary that lost all of its own.
    cluster_allow_replica_migration: bool = true, YesNo, MUTABLE;
    /// Cluster bus port told to other nodes; 0 tells the real one. Needed behind address translation.
    cluster_announce_bus_port: i64 = 0, Int(0, 65535), MUTABLE;
    /// Host name told to clients and other nodes.
    cluster_announce_hostname: Vec<u8> = Vec::new(), OPTIONAL.checked(check_hostname), MUTABLE;
    /// Name of this node in logs, for people.
    cluster_announce_human_nodename: Vec<u8> = Vec::new(), OPTIONAL.checked(check_nodename), MUTABLE;
    /// Address told to other nodes; needed behind address translation.
    cluster_announce_ip: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Port told to other nodes; 0 tells the real one. Needed behind address translation.
    cluster_announce_port: i64 = 0, Int(0, 65535), MUTABLE;
    /// TLS port told to other nodes; 0 tells the real one.
    cluster_announce_tls_port: i64 = 0, Int(0, 65535), MUTABLE;
    /// Share of commands, in percent, looked at for what a cluster would refuse, which INFO then counts as
    /// `cluster_incompatible_ops`; 0 costs nothing.
    cluster_compatibility_sample_ratio: i64 = 0, Int(0, 100), MUTABLE;
    /// File in which the node keeps its view of the cluster; one for each node.
    cluster_config_file: Vec<u8> = b"nodes.conf".to_vec(), TEXT, IMMUTABLE;
    /// Run as a cluster node. Here only `no` is taken: this server is none yet.
    cluster_enabled: bool = false, YesNo, IMMUTABLE;
    /// Most memory for messages waiting on one cluster link; 0 is no limit.
    cluster_link_sendbuf_limit: u64 = 0, WideMemory, MUTABLE;
    /// Replicas a primary must keep before one may migrate away.
    cluster_migration_barrier: i64 = 1, Int(0, I32_MAX), MUTABLE;
    /// Milliseconds of silence after which a node counts as failing: less fails over sooner and by mistake more often.
    cluster_node_timeout: i64 = 15000, Int(0, i64::MAX), MUTABLE;
    /// Milliseconds between pings to random nodes; 0 is the built-in pace. For tests.
    cluster_ping_interval: i64 = 0, Int(0, i64::MAX), HIDDEN;
    /// Port of the cluster bus; 0 is the client port plus 10000.
    cluster_port: i64 = 0, Int(0, 65535), IMMUTABLE;
    /// What clients are redirected to: an address, a host name or neither.
    cluster_preferred_endpoint_type: EndpointType = EndpointType::Ip, Choice, MUTABLE;
    /// Never take over from a failed primary by itself; a manual failover still works.
    cluster_replica_no_failover: bool = false, YesNo, MUTABLE alias "cluster-slave-no-failover";
    /// How stale a replica may be and still take over; 0 lets any.
    cluster_replica_validity_factor: i64 = 10, Int(0, I32_MAX), MUTABLE alias "cluster-slave-validity-factor";
    /// Refuse all keys while some slot has no owner; no keeps serving the others.
    cluster_require_full_coverage: bool = true, YesNo, MUTABLE;
    /// Write a report to the log when the server crashes: where it was, INFO, its clients, the command that ran, what is
    /// configured. Without, it ends all the same.
    crash_log_enabled: bool = true, YesNo, MUTABLE;
    /// Test memory after a crash; a crash report here comes without such a test, so it has no effect.
    crash_memcheck_enabled: bool = true, YesNo, MUTABLE;
    /// Run in the background; say no under a service manager or in a container.
    daemonize: bool = false, YesNo, IMMUTABLE;
    /// Number of databases that SELECT can choose from.
    databases: i64 = 16, Int(1, I32_MAX), IMMUTABLE;
    /// File name of the snapshot.
    dbfilename: Vec<u8> = b"dump.rdb".to_vec(), TEXT.checked(check_dbfilename), PROTECTED;
    /// Working directory: snapshots and append-only files are written below it.
    dir: Vec<u8> = b".".to_vec(), TEXT.always_written(), PROTECTED + DENY_LOADING;
    /// Turn off transparent huge pages for this process.
    disable_thp: bool = true, YesNo, IMMUTABLE;
    /// Tick more often while many clients are connected.
    dynamic_hz: bool = true, YesNo, MUTABLE;
    /// Who may use DEBUG; no outside of tests.
    enable_debug_command: Guard = Guard::No, Choice, IMMUTABLE;
    /// Who may use MODULE LOAD, which is not there, so it has no effect.
    enable_module_command: Guard = Guard::No, Choice, IMMUTABLE;
    /// Who may set protected parameters; no, as they name files that are written.
    enable_protected_configs: Guard = Guard::No, Choice, IMMUTABLE + PROTECTED;
    /// Fields up to which a hash stays packed: more saves memory and costs time.
    hash_max_listpack_entries: i64 = 512, Int(0, i64::MAX), MUTABLE alias "hash-max-ziplist-entries";
    /// Bytes of a field or value up to which a hash stays packed.
    hash_max_listpack_value: i64 = 64, Memory(0, i64::MAX), MUTABLE alias "hash-max-ziplist-value";
    /// Keep what clients sent out of crash reports. Lines about broken requests, at the level verbose, show it all the same.
    hide_user_data_from_log: bool = false, YesNo, MUTABLE;
    /// Size up to which a HyperLogLog stays sparse: more saves memory and slows PFADD.
    hll_sparse_max_bytes: i64 = 3000, Memory(0, i64::MAX), MUTABLE;
    /// Ticks a second for background work, 1 to 500: more is smoother and costs idle CPU; stay at 10.
    hz: i64 = 10, Int(0, I32_MAX), MUTABLE;
    /// Start-up warnings not to stop at; none of those is given here, so it has no effect.
    ignore_warnings: Vec<u8> = Vec::new(), TEXT, MUTABLE;
    /// I/O threads; this server has one thread by design, so it has no effect.
    io_threads: i64 = 1, Int(1, 128), IMMUTABLE;
    /// Return memory in the background; this server returns it while it is idle, whatever this says, so it has no effect.
    jemalloc_bg_thread: bool = true, YesNo, MUTABLE;
    /// Microseconds to wait for each key while loading; negative: keys for each microsecond. For tests.
    key_load_delay: i64 = 0, Int(-I32_MAX - 1, I32_MAX), HIDDEN;
    /// Milliseconds from which an event is recorded for LATENCY; 0 is off.
    latency_monitor_threshold: i64 = 0, Int(0, i64::MAX), MUTABLE;
    /// Keep a latency histogram for each command; cheap enough to leave on.
    latency_tracking: bool = true, YesNo, MUTABLE;
    /// Percentiles that INFO latencystats shows.
    latency_tracking_info_percentiles: Vec<f64> = vec![50.0, 99.0, 99.9], Percentiles, MULTI_ARG;
    /// Free evicted values in slices instead of at once.
    lazyfree_lazy_eviction: bool = false, YesNo, MUTABLE;
    /// Free expired values in slices instead of at once.
    lazyfree_lazy_expire: bool = false, YesNo, MUTABLE;
    /// Free values that a command overwrites in slices instead of at once.
    lazyfree_lazy_server_del: bool = false, YesNo, MUTABLE;
    /// Make DEL behave as UNLINK.
    lazyfree_lazy_user_del: bool = false, YesNo, MUTABLE;
    /// Make FLUSHALL and FLUSHDB asynchronous unless they say SYNC.
    lazyfree_lazy_user_flush: bool = false, YesNo, MUTABLE;
    /// Minutes after which a key's use counter drops by one; 0 never lets it drop.
    lfu_decay_time: i64 = 1, Int(0, I32_MAX), MUTABLE;
    /// How slowly the use counter grows: more tells busy keys apart better.
    lfu_log_factor: i64 = 10, Int(0, I32_MAX), MUTABLE;
    /// Nodes at each end of a list that stay uncompressed; 0 compresses none.
    list_compress_depth: i64 = 0, Int(0, I32_MAX), MUTABLE;
    /// Size of one list node: -1 to -5 for 4 to 64 kb, or a number of elements; -2 is a good middle.
    list_max_listpack_size: i64 = -2, Int(-I32_MAX - 1, I32_MAX), MUTABLE alias "list-max-ziplist-size";
    /// Bytes loaded between two looks at the clients. For tests.
    loading_process_events_interval_bytes: i64 = 524_288, Int(1024, I32_MAX), HIDDEN;
    /// Collation for SORT ALPHA; only locales that sort by code point are known.
    locale_collate: Vec<u8> = Vec::new(), TEXT.checked(check_locale), MUTABLE;
    /// Log file; empty is standard output.
    logfile: Vec<u8> = Vec::new(), TEXT, IMMUTABLE;
    /// How much is logged; notice for production.
    loglevel: LogLevel = LogLevel::Notice, Choice, MUTABLE;
    /// Commands of one client parsed ahead so that their keys can be prefetched, 64 at most; more helps deep pipelines on large keyspaces.
    lookahead: i64 = 64, Int(1, I32_MAX), MUTABLE;
    /// Offer library functions to scripts that were withdrawn. For old scripts.
    lua_enable_deprecated_api: bool = false, YesNo, IMMUTABLE + HIDDEN;
    /// Password for the primary.
    masterauth: Vec<u8> = Vec::new(), OPTIONAL, SENSITIVE;
    /// ACL user for the primary; empty is the default user.
    masteruser: Vec<u8> = Vec::new(), OPTIONAL, SENSITIVE;
    /// Connections accepted in one turn: less keeps existing clients served in a storm.
    max_new_connections_per_cycle: i64 = 10, Int(1, 1000), MUTABLE;
    /// As above, for TLS connections, whose handshakes cost more.
    max_new_tls_connections_per_cycle: i64 = 1, Int(1, 1000), MUTABLE;
    /// Most clients at once; the open-file limit must allow it.
    maxclients: i64 = 10000, Int(1, U32_MAX), MUTABLE;
    /// Memory at which eviction starts or writes are refused; 0 is no limit. Set it wherever memory is shared.
    maxmemory: u64 = 0, WideMemory, MUTABLE;
    /// Most memory for all clients together, in bytes or percent of maxmemory; 0 is no limit.
    maxmemory_clients: MemoryLimit = MemoryLimit::Bytes(0), MemoryOrPercent, MUTABLE;
    /// How long eviction may go on at a stretch, 0 to 100: more holds the limit harder at the price of latency.
    maxmemory_eviction_tenacity: i64 = 10, Int(0, 100), MUTABLE;
    /// What to evict: allkeys-lru for a cache, noeviction for data you cannot lose.
    maxmemory_policy: EvictionPolicy = EvictionPolicy::NoEviction, Choice, MUTABLE;
    /// Keys compared for each eviction: 10 is close to true LRU, 3 is fast, 5 is enough for most.
    maxmemory_samples: i64 = 5, Int(1, 64), MUTABLE;
    /// Seconds within which a replica must have answered to count for min-replicas-to-write.
    min_replicas_max_lag: i64 = 10, Int(0, I32_MAX), MUTABLE alias "min-slaves-max-lag";
    /// Replicas without which writes are refused; 0 is off.
    min_replicas_to_write: i64 = 0, Int(0, I32_MAX), MUTABLE alias "min-slaves-to-write";
    /// Do not force writes to disk while saving: less latency, more loss when the machine fails.
    no_appendfsync_on_rewrite: bool = false, YesNo, MUTABLE;
    /// Keyspace events to publish, by letter; each costs a publish for each write, so name only what you need.
    notify_keyspace_events: KeyspaceEvents = KeyspaceEvents::NONE, EventLetters, MUTABLE;
    /// Adjust the kernel's out-of-memory score by role, so that replicas go before primaries.
    oom_score_adj: OomScoreAdj = OomScoreAdj::No, Choice, MUTABLE;
    /// Scores for primary, replica and saving child.
    oom_score_adj_values: [i64; 3] = [0, 200, 800], OomScores, MULTI_ARG;
    /// File to write the process id to; empty writes none unless daemonized.
    pidfile: Vec<u8> = Vec::new(), OPTIONAL, IMMUTABLE;
    /// TCP port; 0 does not listen on TCP.
    port: i64 = 6379, Int(0, 65535), MUTABLE;
    /// Process title, variables in braces: title, listen-addr, server-mode, port, tls-port, unixsocket, config-file.
    proc_title_template: Vec<u8> = b"{title} {listen-addr} {server-mode}".to_vec(), TEXT.checked(check_title_template), MUTABLE;
    /// What to do when a command from the primary or the append-only file fails; ignore in production.
    propagation_error_behavior: PropagationError = PropagationError::Ignore, Choice, MUTABLE;
    /// Refuse remote clients while no password is set; leave it on.
    protected_mode: bool = true, YesNo, MUTABLE;
    /// Longest string that a request may carry.
    proto_max_bulk_len: i64 = 512 << 20, Memory(1048576, i64::MAX), MUTABLE;
    /// Delete snapshot files that only replication needed when persistence is off.
    rdb_del_sync_files: bool = false, YesNo, MUTABLE;
    /// Microseconds to wait for each key while saving; negative: keys for each microsecond. For tests.
    rdb_key_save_delay: i64 = 0, Int(-I32_MAX - 1, I32_MAX), HIDDEN;
    /// Force a snapshot to disk in portions, against one long stall at the end.
    rdb_save_incremental_fsync: bool = true, YesNo, MUTABLE;
    /// Write and check the snapshot's checksum: about 10% slower, finds damage.
    rdbchecksum: bool = true, YesNo, IMMUTABLE;
    /// Compress long strings in snapshots: smaller files for some CPU.
    rdbcompression: bool = true, YesNo, MUTABLE;
    /// Bytes of the write stream kept for replicas that reconnect: size it for the longest cut you expect.
    repl_backlog_size: i64 = 1 << 20, Memory(1, i64::MAX), MUTABLE;
    /// Seconds without replicas after which the backlog is freed; 0 never.
    repl_backlog_ttl: i64 = 3600, Int(0, i64::MAX), MUTABLE;
    /// Gather small packets to replicas: less bandwidth, up to 40 ms more lag.
    repl_disable_tcp_nodelay: bool = false, YesNo, MUTABLE;
    /// Load a primary's snapshot from the socket; on-empty-db is safe, swapdb keeps the old data until it is done.
    repl_diskless_load: DisklessLoad = DisklessLoad::Disabled, Choice, MUTABLE;
    /// Send snapshots straight to replicas without a file.
    repl_diskless_sync: bool = true, YesNo, MUTABLE;
    /// Seconds to wait for more replicas before a diskless transfer starts.
    repl_diskless_sync_delay: i64 = 5, Int(0, I32_MAX), MUTABLE;
    /// Replicas at which a diskless transfer starts without waiting longer; 0 always waits.
    repl_diskless_sync_max_replicas: i64 = 0, Int(0, I32_MAX), MUTABLE;
    /// Seconds between pings to replicas.
    repl_ping_replica_period: i64 = 10, Int(1, I32_MAX), MUTABLE alias "repl-ping-slave-period";
    /// Send the snapshot on a second connection beside the write stream.
    repl_rdb_channel: bool = true, YesNo, HIDDEN;
    /// Seconds of silence after which a replication link is cut; keep it above the ping period.
    repl_timeout: i64 = 60, Int(1, I32_MAX), MUTABLE;
    /// Address that a replica reports to its primary; needed behind address translation.
    replica_announce_ip: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE alias "slave-announce-ip";
    /// Port that a replica reports to its primary; 0 reports the real one.
    replica_announce_port: i64 = 0, Int(0, 65535), MUTABLE alias "slave-announce-port";
    /// Let Sentinel report this replica to clients.
    replica_announced: bool = true, YesNo, MUTABLE;
    /// Bytes a replica may buffer during a full sync; 0 takes the replica output limit.
    replica_full_sync_buffer_limit: i64 = 0, Memory(0, i64::MAX), MUTABLE;
    /// Let a replica go on when it cannot write to disk; no stops it, so that data never differ unseen.
    replica_ignore_disk_write_errors: bool = false, YesNo, MUTABLE;
    /// Leave eviction to the primary.
    replica_ignore_maxmemory: bool = true, YesNo, MUTABLE alias "slave-ignore-maxmemory";
    /// Free the old data in slices when a full sync replaces them.
    replica_lazy_flush: bool = false, YesNo, MUTABLE alias "slave-lazy-flush";
    /// Sentinel prefers the lowest for promotion; 0 is never promoted.
    replica_priority: i64 = 100, Int(0, I32_MAX), MUTABLE alias "slave-priority";
    /// Refuse writes on a replica; leave it on.
    replica_read_only: bool = true, YesNo, MUTABLE alias "slave-read-only";
    /// Answer while the link to the primary is down; no refuses most commands instead.
    replica_serve_stale_data: bool = true, YesNo, MUTABLE alias "slave-serve-stale-data";
    /// The primary to follow. Here none is taken: this server does not replicate yet.
    replicaof: Option<Primary> = None, HostPort, IMMUTABLE + MULTI_ARG alias "slaveof";
    /// Password of the default user; choose a long one, as guessing is fast.
    requirepass: Vec<u8> = Vec::new(), OPTIONAL, SENSITIVE;
    /// Refuse sets in which a member comes twice, in RESTORE payloads and files; clients leaves files out, and users with
    /// `skip-sanitize-payload`. Here anything else that is damaged is refused whatever this says.
    sanitize_dump_payload: SanitizePayload = SanitizePayload::No, Choice, MUTABLE;
    /// Snapshot rules: seconds and changes; "" for none.
    save: Vec<SaveRule> = SaveRule::defaults(), SaveRules, MULTI_ARG;
    /// CPUs for the server thread; empty leaves them to the system.
    server_cpulist: Vec<u8> = Vec::new(), OPTIONAL, IMMUTABLE alias "server_cpulist";
    /// Members up to which a set of integers stays packed.
    set_max_intset_entries: i64 = 512, Int(0, i64::MAX), MUTABLE;
    /// Members up to which a small set stays packed.
    set_max_listpack_entries: i64 = 128, Int(0, i64::MAX), MUTABLE;
    /// Bytes of a member up to which a set stays packed.
    set_max_listpack_value: i64 = 64, Int(0, i64::MAX), MUTABLE;
    /// Give the process the title of proc-title-template, which shows where it listens. Only Linux lets it.
    set_proc_title: bool = true, YesNo, IMMUTABLE;
    /// What SIGINT does, in the words of SHUTDOWN.
    shutdown_on_sigint: ShutdownFlags = ShutdownFlags::DEFAULT, ShutdownWords, MULTI_ARG;
    /// What SIGTERM does, in the words of SHUTDOWN.
    shutdown_on_sigterm: ShutdownFlags = ShutdownFlags::DEFAULT, ShutdownWords, MULTI_ARG;
    /// Seconds a shutdown waits for replicas to catch up; 0 does not wait.
    shutdown_timeout: i64 = 10, Int(0, I32_MAX), MUTABLE;
    /// Microseconds from which a command enters the slow log; 0 logs all, -1 none.
    slowlog_log_slower_than: i64 = 10000, Int(-1, i64::MAX), MUTABLE;
    /// Commands that the slow log keeps.
    slowlog_max_len: i64 = 128, Int(0, i64::MAX), MUTABLE;
    /// Mark on every socket, for the firewall; 0 is none.
    socket_mark_id: i64 = 0, Int(0, U32_MAX), IMMUTABLE;
    /// Refuse writes after a failed snapshot, so that somebody notices.
    stop_writes_on_bgsave_error: bool = true, YesNo, MUTABLE;
    /// Seconds for which a stream remembers idempotent IDs, unless XCFGSET says otherwise: longer than producers retry.
    stream_idmp_duration: i64 = 100, Int(1, 86_400), MUTABLE;
    /// Idempotent IDs that a stream remembers of each producer, unless XCFGSET says otherwise.
    stream_idmp_maxsize: i64 = 100, Int(1, 10_000), MUTABLE;
    /// Bytes of one stream node; 0 is no limit.
    stream_node_max_bytes: i64 = 4 << 10, Memory(0, i64::MAX), MUTABLE;
    /// Entries of one stream node; 0 is no limit.
    stream_node_max_entries: i64 = 100, Int(0, i64::MAX), MUTABLE;
    /// How to tell the service manager that we are ready.
    supervised: Supervised = Supervised::No, Choice, IMMUTABLE;
    /// Log to syslog.
    syslog_enabled: bool = false, YesNo, IMMUTABLE;
    /// The syslog facility.
    syslog_facility: SyslogFacility = SyslogFacility::Local0, Choice, IMMUTABLE;
    /// Name in syslog.
    syslog_ident: Vec<u8> = b"redis".to_vec(), TEXT, IMMUTABLE;
    /// Connections the system may hold before they are accepted; its own limit applies too.
    tcp_backlog: i64 = 511, Int(0, I32_MAX), IMMUTABLE;
    /// Seconds between probes of idle connections; 0 is off.
    tcp_keepalive: i64 = 300, Int(0, I32_MAX), MUTABLE;
    /// Seconds after which an idle client is closed; 0 never.
    timeout: i64 = 0, Int(0, I32_MAX), MUTABLE;
    /// Whether clients must show a certificate.
    tls_auth_clients: TlsAuthClients = TlsAuthClients::Yes, Choice, MUTABLE;
    /// Directory of certificates of authority.
    tls_ca_cert_dir: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// File of certificates of authority.
    tls_ca_cert_file: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// This server's certificate.
    tls_cert_file: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Ciphers up to TLS 1.2.
    tls_ciphers: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Ciphers of TLS 1.3.
    tls_ciphersuites: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Certificate to show to a primary or another node.
    tls_client_cert_file: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Key of that certificate.
    tls_client_key_file: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Password of that key.
    tls_client_key_file_pass: Vec<u8> = Vec::new(), OPTIONAL, SENSITIVE;
    /// Use TLS on the cluster bus. Here only `no` is taken: this server speaks no TLS.
    tls_cluster: bool = false, YesNo, MUTABLE;
    /// Diffie-Hellman parameters, for old clients only.
    tls_dh_params_file: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Key of this server's certificate.
    tls_key_file: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Password of that key.
    tls_key_file_pass: Vec<u8> = Vec::new(), OPTIONAL, SENSITIVE;
    /// Port for TLS; 0 does not listen for TLS. Here only 0 is taken: this server speaks no TLS, and the other parameters of
    /// TLS have no effect.
    tls_port: i64 = 0, Int(0, 65535), MUTABLE;
    /// Let the server's order of ciphers decide.
    tls_prefer_server_ciphers: bool = false, YesNo, MUTABLE;
    /// TLS versions to accept; empty is the safe default.
    tls_protocols: Vec<u8> = Vec::new(), OPTIONAL, MUTABLE;
    /// Use TLS to the primary. Here only `no` is taken: this server speaks no TLS.
    tls_replication: bool = false, YesNo, MUTABLE;
    /// TLS sessions kept for resumption; 0 is no limit.
    tls_session_cache_size: i64 = 20480, Int(0, I32_MAX), MUTABLE;
    /// Seconds a TLS session can be resumed.
    tls_session_cache_timeout: i64 = 300, Int(0, I32_MAX), MUTABLE;
    /// Let clients resume TLS sessions.
    tls_session_caching: bool = true, YesNo, MUTABLE;
    /// Keys remembered for client-side caching; beyond it clients are told to forget some. 0 is no limit.
    tracking_table_max_keys: i64 = 1_000_000, Int(0, i64::MAX), MUTABLE;
    /// Path of a Unix socket to listen on; empty is none.
    unixsocket: Vec<u8> = Vec::new(), OPTIONAL, IMMUTABLE;
    /// Mode of the Unix socket, in octal; 0 leaves it to the umask.
    unixsocketperm: i64 = 0, Octal(0o777), IMMUTABLE;
    /// Exit instead of abort on a panic. For tests.
    use_exit_on_panic: bool = false, YesNo, HIDDEN;
    /// Milliseconds without a turn of the poll loop after which the log tells where it is, as for SIGALRM; 0 is off.
    watchdog_period: i64 = 0, Int(0, I32_MAX), HIDDEN;
    /// Members up to which a sorted set stays packed.
    zset_max_listpack_entries: i64 = 128, Int(0, i64::MAX), MUTABLE alias "zset-max-ziplist-entries";
    /// Bytes of a member up to which a sorted set stays packed.
    zset_max_listpack_value: i64 = 64, Memory(0, i64::MAX), MUTABLE alias "zset-max-ziplist-value";
}
