//! INFO: what the server knows of itself, in sections of `name:value` lines.
//!
//! Names and order are those of Redis, because dashboards read them. What this server does not have yet is shown
//! as what it is: none, zero, never. May not: change anything.

use std::collections::BTreeSet;
use std::fmt::{Display, Write as _};

use crate::command::spec::{Arg, ArgKind, Categories, Flags, Group, Spec};
use crate::command::{CommandError, Ctx};
use crate::config::{Config, REDIS_VERSION};
use crate::keyspace::entry::Kind;
use crate::keyspace::object::ObjectRef;
use crate::resp::Args;
use crate::state::aof::AofState;
use crate::state::restraint::Restraint;
use crate::state::server::Recording;
use crate::state::subscriptions::Scope;
use crate::state::{Client, Server, UnixMicros};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[INFO];

/// With more keys than this, their sizes are counted only for who asks for that section by name.
const KEYSIZES_KEYS_MAX: usize = 100_000;

pub const INFO: Spec = Spec {
    name: "info",
    arity: -1,
    flags: Flags::LOADING.or(Flags::STALE).or(Flags::NEEDS_READING),
    acl: Categories::DANGEROUS,
    group: Group::Server,
    since: "1.0.0",
    summary: "Tells figures and facts about the server.",
    complexity: Some("O(1)"),
    args: &[Arg::new("section", ArgKind::String).optional().multiple()],
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    history: &[("7.0.0", &[])],
    handler: info,
    ..Spec::DEFAULT
};

/// `INFO [section ...]`: sections come in their own order, each once; unknown names are passed over.
fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    let text = text(ctx, args);
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

/// What INFO with these arguments says.
pub fn text(ctx: &mut Ctx<'_>, args: Args<'_>) -> String {
    let mut out = Report {
        ctx,
        text: String::new(),
    };
    for section in SECTIONS {
        if section.is_wanted(args) && (section.is_there)(out.server()) {
            if !out.text.is_empty() {
                out.text.push_str("\r\n");
            }
            let _ = write!(out.text, "# {}\r\n", section.title);
            let is_named = args.iter_from(1).any(|name| section.is_called(name));
            (section.write)(&mut out, is_named);
        }
    }
    out.text
}

/// When a section is shown without its name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    Default,
    All,
    Named,
}

struct Section {
    title: &'static str,
    shown: Shown,
    write: fn(&mut Report<'_, '_>, bool),
    /// Whether there is anything to say at the moment.
    is_there: fn(&Server) -> bool,
}

impl Section {
    const fn new(title: &'static str, shown: Shown, write: fn(&mut Report<'_, '_>, bool)) -> Self {
        Section {
            title,
            shown,
            write,
            is_there: |_| true,
        }
    }

    const fn shown_if(mut self, is_there: fn(&Server) -> bool) -> Self {
        self.is_there = is_there;
        self
    }

    fn is_called(&self, name: &[u8]) -> bool {
        name.eq_ignore_ascii_case(self.title.as_bytes())
    }

    fn is_wanted(&self, args: Args<'_>) -> bool {
        if args.len() == 1 {
            return self.shown == Shown::Default;
        }
        (1..args.len()).any(|at| {
            if args.is(at, "default") {
                self.shown == Shown::Default
            } else if args.is(at, "all") || args.is(at, "everything") {
                self.shown != Shown::Named
            } else {
                self.is_called(args.bytes(at))
            }
        })
    }
}

const SECTIONS: &[Section] = &[
    Section::new("Server", Shown::Default, server),
    Section::new("Clients", Shown::Default, clients),
    Section::new("Memory", Shown::Default, memory),
    Section::new("Persistence", Shown::Default, persistence),
    Section::new("Threads", Shown::Default, threads),
    Section::new("Stats", Shown::Default, stats),
    Section::new("Replication", Shown::Default, replication),
    Section::new("CPU", Shown::Default, cpu),
    Section::new("Modules", Shown::Default, |_, _| {}),
    Section::new("Commandstats", Shown::All, commandstats),
    Section::new("Errorstats", Shown::Default, errorstats),
    Section::new("Latencystats", Shown::All, latencystats),
    Section::new("Cluster", Shown::Default, cluster),
    Section::new("Keyspace", Shown::Default, keyspace),
    Section::new("Keysizes", Shown::Default, keysizes),
    Section::new("Hotkeys", Shown::Default, hotkeys)
        .shown_if(|server| server.hotkeys.session().is_some()),
    Section::new("Debug", Shown::Named, debug),
];

/// The text so far, and where its facts come from.
struct Report<'a, 'b> {
    ctx: &'a Ctx<'b>,
    text: String,
}

impl<'a> Report<'a, '_> {
    fn server(&self) -> &'a Server {
        self.ctx.server
    }

    fn config(&self) -> &'a Config {
        &self.ctx.server.config
    }

    fn line(&mut self, name: &str, value: impl Display) {
        let _ = write!(self.text, "{name}:{value}\r\n");
    }

    /// Facts that are the same at all times.
    fn lines(&mut self, pairs: &[(&str, &str)]) {
        for (name, value) in pairs {
            self.line(name, value);
        }
    }

    /// A number of bytes, also in a form to read.
    fn bytes(&mut self, name: &str, bytes: u64) {
        self.line(name, bytes);
        self.line(&format!("{name}_human"), human(bytes));
    }

    /// All clients, the one that asks included.
    fn clients(&self) -> impl Iterator<Item = &'a Client> {
        let asking: &'a Client = self.ctx.client;
        self.server().clients.iter().chain([asking])
    }
}

fn server(out: &mut Report<'_, '_>, _: bool) {
    let (server, config) = (out.server(), out.config());
    let uptime = server.now.since(server.started) / 1_000_000;
    out.line("redis_version", REDIS_VERSION);
    out.line("retrace_version", env!("CARGO_PKG_VERSION"));
    out.lines(&[
        ("redis_git_sha1", "00000000"),
        ("redis_git_dirty", "0"),
        ("redis_build_id", "0"),
        ("redis_mode", "standalone"),
    ]);
    out.line("os", &server.process.os);
    out.line("arch_bits", usize::BITS);
    out.lines(&[
        (
            "monotonic_clock",
            "none, the system's clock drives the loop",
        ),
        ("multiplexing_api", "epoll"),
        ("atomicvar_api", "rust"),
        ("gcc_version", "0.0.0"),
    ]);
    out.line("process_id", server.process.pid);
    let supervised = config.get("supervised").unwrap_or_default();
    out.line("process_supervised", String::from_utf8_lossy(&supervised));
    out.line("run_id", &server.run_id);
    out.line("tcp_port", config.port);
    out.line("server_time_usec", server.now.0);
    out.line("uptime_in_seconds", uptime);
    out.line("uptime_in_days", uptime / 86400);
    out.line("hz", server.hz());
    out.line("configured_hz", config.hz);
    out.line("lru_clock", server.usage.secs);
    out.line("executable", &server.process.executable);
    let file = server.process.config_file.as_deref();
    out.line("config_file", file.unwrap_or_default());
    out.line("io_threads_active", 0);
    for (at, listener) in listeners(config).iter().enumerate() {
        out.line(&format!("listener{at}"), listener);
    }
}

/// What is listened on, one text for each kind of socket.
fn listeners(config: &Config) -> Vec<String> {
    let mut listeners = Vec::new();
    if config.port > 0 && !config.bind.is_empty() {
        let mut text = "name=tcp".to_owned();
        for address in &config.bind {
            let _ = write!(text, ",bind={}", String::from_utf8_lossy(address));
        }
        let _ = write!(text, ",port={}", config.port);
        listeners.push(text);
    }
    if !config.unixsocket.is_empty() {
        let path = String::from_utf8_lossy(&config.unixsocket);
        listeners.push(format!("name=unix,bind={path}"));
    }
    listeners
}

fn clients(out: &mut Report<'_, '_>, _: bool) {
    let input = out.clients().map(|client| client.query_peak).max();
    let output = out.clients().map(|client| client.reply_peak).max();
    out.line("connected_clients", out.server().clients.len());
    out.line("cluster_connections", 0);
    out.line("maxclients", out.config().maxclients);
    out.line("client_recent_max_input_buffer", input.unwrap_or(0));
    out.line("client_recent_max_output_buffer", output.unwrap_or(0));
    out.line("blocked_clients", out.server().blocked_clients());
    out.line("tracking_clients", out.server().tracking.client_len());
    out.line("pubsub_clients", out.server().pubsub.client_len());
    let watchers = &out.server().watchers;
    out.line("watching_clients", watchers.client_len());
    let waiters = &out.server().waiters;
    out.line("clients_in_timeout_table", waiters.deadline_len());
    out.line("total_watched_keys", watchers.key_len());
    out.line("total_blocking_keys", waiters.key_len());
    let waits = out
        .clients()
        .filter_map(|client| Some((client.dbid, client.blocked()?)));
    let on_nokey: BTreeSet<_> = waits
        .filter(|(_, wait)| wait.on_any_change)
        .flat_map(|(dbid, wait)| wait.keys.iter().map(move |key| (dbid, key)))
        .collect();
    out.line("total_blocking_keys_on_nokey", on_nokey.len());
}

fn memory(out: &mut Report<'_, '_>, _: bool) {
    let (server, config) = (out.server(), out.config());
    let reading = server.reading;
    let (used, rss) = (reading.used_memory, reading.rss_bytes);
    let peak = server.peak_memory.max(used);
    let of_clients: usize = out.clients().map(Client::memory_bytes).sum();
    let of_tables: usize = server.dbs.iter().map(|db| db.table.memory_bytes()).sum();
    let of_watch = server.hotkeys.memory_bytes();
    let overhead = server.startup_memory + (of_clients + of_tables + of_watch) as u64;
    let dataset = used.saturating_sub(overhead);
    let net = used.saturating_sub(server.startup_memory);
    let fragmented = i128::from(rss) - i128::from(used);

    out.bytes("used_memory", used);
    out.bytes("used_memory_rss", rss);
    out.bytes("used_memory_peak", peak);
    out.line("used_memory_peak_perc", percent(used, peak));
    out.line("used_memory_overhead", overhead);
    out.line("used_memory_startup", server.startup_memory);
    out.line("used_memory_dataset", dataset);
    out.line("used_memory_dataset_perc", percent(dataset, net));
    out.line("allocator_allocated", used);
    out.line("allocator_active", rss);
    out.line("allocator_resident", rss);
    out.line("allocator_muzzy", 0);
    out.bytes("total_system_memory", reading.system_memory_bytes);
    let scripts = server.scripting.usage();
    out.line("used_memory_lua", scripts.vm_eval_bytes);
    out.line("used_memory_vm_eval", scripts.vm_eval_bytes);
    out.line("used_memory_lua_human", human(scripts.vm_eval_bytes));
    out.line("used_memory_scripts_eval", scripts.scripts_bytes);
    out.line("number_of_cached_scripts", scripts.scripts);
    out.line("number_of_functions", scripts.functions);
    out.line("number_of_libraries", scripts.libraries);
    out.line("used_memory_vm_functions", scripts.vm_functions_bytes);
    out.bytes("used_memory_vm_total", scripts.vm_bytes());
    out.line("used_memory_functions", scripts.functions_bytes);
    out.bytes(
        "used_memory_scripts",
        scripts.scripts_bytes + scripts.functions_bytes,
    );
    out.bytes("maxmemory", config.maxmemory);
    let policy = config.get("maxmemory-policy").unwrap_or_default();
    out.line("maxmemory_policy", String::from_utf8_lossy(&policy));
    out.line("allocator_frag_ratio", ratio(rss, used));
    out.line("allocator_frag_bytes", fragmented);
    out.line("allocator_rss_ratio", "1.00");
    out.line("allocator_rss_bytes", 0);
    out.line("rss_overhead_ratio", "1.00");
    out.line("rss_overhead_bytes", 0);
    out.line("mem_fragmentation_ratio", ratio(rss, used));
    out.line("mem_fragmentation_bytes", fragmented);
    out.line("mem_not_counted_for_evict", server.uncounted_memory());
    out.lines(&[
        ("mem_replication_backlog", "0"),
        ("mem_total_replication_buffers", "0"),
        ("mem_replica_full_sync_buffer", "0"),
        ("mem_clients_slaves", "0"),
    ]);
    out.line("mem_clients_normal", of_clients);
    out.lines(&[("mem_cluster_links", "0")]);
    out.line("mem_aof_buffer", server.aof.turn_bytes);
    out.line("mem_allocator", "mimalloc");
    let rehashing = server.dbs.iter().filter(|db| db.table.is_rehashing());
    let rehashing: usize = rehashing.map(|db| db.table.memory_bytes()).sum();
    out.line("mem_overhead_db_hashtable_rehashing", rehashing);
    out.line("active_defrag_running", 0);
    out.line("lazyfree_pending_objects", server.garbage.len());
    out.line("lazyfreed_objects", server.stats.lazyfreed_objects);
}

/// Files of data. What is told of copied memory is zero: a snapshot here copies none.
fn persistence(out: &mut Report<'_, '_>, _: bool) {
    let server = out.server();
    let state = &server.persistence;
    let now = server.now;
    let secs_since = |started: UnixMicros| now.since(started) / 1_000_000;
    let (mut done, mut total) = (0, 0);
    if let Some(snapshot) = &state.snapshot {
        done = snapshot.keys_done(&server.dbs);
        total = snapshot.keys_total.max(done);
    }
    let share = match total {
        0 => 0.0,
        _ => done as f64 * 100.0 / total as f64,
    };
    let is_saving = state.is_saving();
    let saving_secs = state.snapshot.as_ref().filter(|_| is_saving);
    let saving_secs = saving_secs.map(|snapshot| secs_since(snapshot.started));
    let or_never = |secs: Option<i64>| secs.unwrap_or(-1);

    out.line("loading", u8::from(state.loading.is_some()));
    out.lines(&[
        ("async_loading", "0"),
        ("current_cow_peak", "0"),
        ("current_cow_size", "0"),
        ("current_cow_size_age", "0"),
    ]);
    out.line("current_fork_perc", format_args!("{share:.2}"));
    out.line("current_save_keys_processed", done);
    out.line("current_save_keys_total", total);
    out.line("rdb_changes_since_last_save", server.effects.dirty);
    out.line("rdb_bgsave_in_progress", u8::from(is_saving));
    out.line("rdb_last_save_time", state.last_save_secs);
    out.line(
        "rdb_last_bgsave_status",
        if state.last_save_ok { "ok" } else { "err" },
    );
    out.line(
        "rdb_last_bgsave_time_sec",
        or_never(state.last_duration_secs),
    );
    out.line(
        "rdb_current_bgsave_time_sec",
        or_never(saving_secs.and_then(|secs| i64::try_from(secs).ok())),
    );
    out.line("rdb_saves", state.saves);
    out.line("rdb_last_cow_size", 0);
    out.line("rdb_last_load_keys_expired", state.loaded.expired);
    out.line("rdb_last_load_keys_loaded", state.loaded.keys);
    let aof = &server.aof;
    let is_rewriting = server.is_rewriting();
    let rewriting_secs = state.snapshot.as_ref().filter(|_| is_rewriting);
    let rewriting_secs = rewriting_secs.map(|snapshot| secs_since(snapshot.started));
    let is_on = aof.state != AofState::Off;
    let status = |is_ok: bool| if is_ok { "ok" } else { "err" };
    let has_failed = server.restraint.has(Restraint::AOF_FAILED);
    out.line("aof_enabled", u8::from(is_on));
    out.line("aof_rewrite_in_progress", u8::from(is_rewriting));
    out.line("aof_rewrite_scheduled", u8::from(aof.is_scheduled));
    let last_secs = aof.last_rewrite_secs;
    out.line("aof_last_rewrite_time_sec", or_never(last_secs));
    out.line(
        "aof_current_rewrite_time_sec",
        or_never(rewriting_secs.and_then(|secs| i64::try_from(secs).ok())),
    );
    out.line("aof_last_bgrewrite_status", status(aof.last_rewrite_ok));
    out.line("aof_rewrites", aof.rewrites);
    out.line("aof_rewrites_consecutive_failures", aof.failures);
    out.line("aof_last_write_status", status(!has_failed));
    out.line("aof_last_cow_size", 0);
    out.lines(&[
        ("module_fork_in_progress", "0"),
        ("module_fork_last_cow_size", "0"),
    ]);
    if is_on {
        out.line("aof_current_size", aof.current_bytes);
        out.line("aof_base_size", aof.base_bytes);
        out.line("aof_pending_rewrite", u8::from(aof.is_scheduled));
        out.line("aof_buffer_length", aof.turn_bytes);
        out.line("aof_pending_bio_fsync", u8::from(aof.is_syncing()));
        out.line("aof_delayed_fsync", aof.delayed_syncs);
    }
    recording(out);
    if let Some(loading) = &state.loading {
        let (total, done) = (loading.file_bytes, loading.loaded_bytes());
        let elapsed = secs_since(loading.started);
        let left = match done {
            0 => 1,
            _ => elapsed.saturating_mul(total.saturating_sub(done)) / done,
        };
        let share = done as f64 * 100.0 / total.max(1) as f64;
        out.line("loading_start_time", loading.started.secs());
        out.line("loading_total_bytes", total);
        out.line("loading_rdb_used_mem", loading.used_memory);
        out.line("loading_loaded_bytes", done);
        out.line("loading_loaded_perc", format_args!("{share:.2}"));
        out.line("loading_eta_seconds", left);
    }
}

fn recording(out: &mut Report<'_, '_>) {
    let recording = out.server().process.recording;
    let status = match recording {
        Recording::Lost => "err",
        Recording::On | Recording::Off => "ok",
    };
    out.line("journal_enabled", u8::from(recording == Recording::On));
    out.line("journal_last_write_status", status);
}

fn threads(out: &mut Report<'_, '_>, _: bool) {
    let server = out.server();
    let value = format!(
        "clients={},reads={},writes={}",
        server.clients.len(),
        server.stats.reads_processed,
        server.stats.writes_processed
    );
    out.line("io_thread_0", value);
}

fn stats(out: &mut Report<'_, '_>, _: bool) {
    let server = out.server();
    let stats = &server.stats;
    let kib = |rate: u64| format!("{:.2}", rate as f64 / 1024.0);
    out.line("total_connections_received", stats.connections_received);
    out.line("total_commands_processed", stats.commands_processed);
    out.line("instantaneous_ops_per_sec", server.ops_rate.per_second());
    out.line("total_net_input_bytes", stats.net_input_bytes);
    out.line("total_net_output_bytes", stats.net_output_bytes);
    out.line("total_net_repl_input_bytes", 0);
    out.line("total_net_repl_output_bytes", 0);
    let (input, output) = (&server.input_rate, &server.output_rate);
    out.line("instantaneous_input_kbps", kib(input.per_second()));
    out.line("instantaneous_output_kbps", kib(output.per_second()));
    out.line("instantaneous_input_repl_kbps", "0.00");
    out.line("instantaneous_output_repl_kbps", "0.00");
    out.line("rejected_connections", stats.rejected_connections);
    out.line("sync_full", 0);
    out.line("sync_partial_ok", 0);
    out.line("sync_partial_err", 0);
    out.line("expired_subkeys", stats.expired_subkeys);
    out.line("expired_keys", stats.expired_keys);
    let stale = server.stale_share * 100.0;
    out.line("expired_stale_perc", format_args!("{stale:.2}"));
    out.line(
        "expired_time_cap_reached_count",
        stats.expired_time_cap_reached,
    );
    out.line(
        "expire_cycle_cpu_milliseconds",
        stats.expire_cycle_cpu_us / 1000,
    );
    out.line("evicted_keys", stats.evicted_keys);
    out.line("evicted_clients", stats.evicted_clients);
    out.line("evicted_scripts", stats.evicted_scripts);
    let (exceeded_ms, current_ms) = server.eviction.exceeded_ms(server.now);
    out.line("total_eviction_exceeded_time", exceeded_ms);
    out.line("current_eviction_exceeded_time", current_ms);
    out.line("keyspace_hits", stats.keyspace_hits);
    out.line("keyspace_misses", stats.keyspace_misses);
    out.line("pubsub_channels", server.pubsub.len(Scope::Channel));
    out.line("pubsub_patterns", server.pubsub.len(Scope::Pattern));
    out.line("pubsubshard_channels", server.pubsub.len(Scope::Shard));
    // A snapshot in the background stands for a fork: who watches for one finds the other.
    out.line("latest_fork_usec", stats.snapshot_start_us);
    out.line("total_forks", stats.snapshots);
    out.lines(&[
        ("migrate_cached_sockets", "0"),
        ("slave_expires_tracked_keys", "0"),
        ("active_defrag_hits", "0"),
        ("active_defrag_misses", "0"),
        ("active_defrag_key_hits", "0"),
        ("active_defrag_key_misses", "0"),
        ("total_active_defrag_time", "0"),
        ("current_active_defrag_time", "0"),
    ]);
    out.line("tracking_total_keys", server.tracking.key_len());
    out.line("tracking_total_items", server.tracking.item_len());
    out.line("tracking_total_prefixes", server.tracking.prefix_len());
    out.line("unexpected_error_replies", stats.unexpected_error_replies);
    out.line("total_error_replies", stats.error_replies);
    out.line(
        "dump_payload_sanitizations",
        stats.dump_payload_sanitizations,
    );
    out.line("total_reads_processed", stats.reads_processed);
    out.line("total_writes_processed", stats.writes_processed);
    out.line("io_threaded_reads_processed", 0);
    out.line("io_threaded_writes_processed", 0);
    let by_query = stats.query_buffer_limit_disconnections;
    let by_output = stats.output_buffer_limit_disconnections;
    out.line("client_query_buffer_limit_disconnections", by_query);
    out.line("client_output_buffer_limit_disconnections", by_output);
    out.line("reply_buffer_shrinks", stats.reply_buffer_shrinks);
    out.line("reply_buffer_expands", stats.reply_buffer_expands);
    out.line("eventloop_cycles", stats.cycles);
    out.line("eventloop_duration_sum", stats.cycle_us);
    out.line("eventloop_duration_cmd_sum", stats.command_us);
    let cycles = server.cycle_rate.per_second();
    let duration = server.cycle_us_rate.per_second() / cycles.max(1);
    out.line("instantaneous_eventloop_cycles_per_sec", cycles);
    out.line("instantaneous_eventloop_duration_usec", duration);
    out.line("acl_access_denied_auth", stats.acl_denied_auth);
    out.line("acl_access_denied_cmd", stats.acl_denied_cmd);
    out.line("acl_access_denied_key", stats.acl_denied_key);
    out.line("acl_access_denied_channel", stats.acl_denied_channel);
    if server.counts_incompatible() {
        out.line("cluster_incompatible_ops", stats.cluster_incompatible_ops);
    }
}

/// What is true of a primary without replicas.
fn replication(out: &mut Report<'_, '_>, _: bool) {
    out.lines(&[("role", "master"), ("connected_slaves", "0")]);
    if out.server().lacks_replicas() {
        out.line("min_slaves_good_slaves", 0);
    }
    out.line("master_failover_state", "no-failover");
    out.line("master_replid", &out.server().replid);
    out.line("master_replid2", "0".repeat(40));
    out.line("master_repl_offset", out.server().aof.repl_offset);
    out.lines(&[("second_repl_offset", "-1"), ("repl_backlog_active", "0")]);
    out.line("repl_backlog_size", out.config().repl_backlog_size);
    out.line("repl_backlog_first_byte_offset", 0);
    out.line("repl_backlog_histlen", 0);
}

fn cpu(out: &mut Report<'_, '_>, _: bool) {
    let reading = out.server().reading;
    for (name, us) in [
        ("used_cpu_sys", reading.cpu_sys_us),
        ("used_cpu_user", reading.cpu_user_us),
        ("used_cpu_sys_children", reading.cpu_sys_children_us),
        ("used_cpu_user_children", reading.cpu_user_children_us),
        ("used_cpu_sys_main_thread", reading.cpu_sys_main_thread_us),
        ("used_cpu_user_main_thread", reading.cpu_user_main_thread_us),
    ] {
        out.line(
            name,
            format_args!("{}.{:06}", us / 1_000_000, us % 1_000_000),
        );
    }
}

fn commandstats(out: &mut Report<'_, '_>, _: bool) {
    for (command, stats) in out.ctx.registry.all().zip(&out.server().command_stats) {
        if stats.calls + stats.rejected_calls + stats.failed_calls == 0 {
            continue;
        }
        let each = stats.usec as f64 / stats.calls.max(1) as f64;
        let value = format!(
            "calls={},usec={},usec_per_call={each:.2},rejected_calls={},failed_calls={}",
            stats.calls, stats.usec, stats.rejected_calls, stats.failed_calls
        );
        out.line(&format!("cmdstat_{}", command.full_name), value);
    }
}

fn errorstats(out: &mut Report<'_, '_>, _: bool) {
    for (word, count) in &out.server().error_stats {
        out.line(&format!("errorstat_{word}"), format_args!("count={count}"));
    }
}

fn latencystats(out: &mut Report<'_, '_>, _: bool) {
    if !out.config().latency_tracking {
        return;
    }
    let percentiles = &out.config().latency_tracking_info_percentiles;
    for (command, stats) in out.ctx.registry.all().zip(&out.server().command_stats) {
        if stats.durations.total() == 0 {
            continue;
        }
        let values: Vec<String> = percentiles
            .iter()
            .map(|percent| {
                let ns = stats.durations.percentile(*percent);
                format!("p{percent}={}.{:03}", ns / 1000, ns % 1000)
            })
            .collect();
        let name = format!("latency_percentiles_usec_{}", command.full_name);
        out.line(&name, values.join(","));
    }
}

fn cluster(out: &mut Report<'_, '_>, _: bool) {
    out.line("cluster_enabled", 0);
}

fn keyspace(out: &mut Report<'_, '_>, _: bool) {
    for (dbid, db) in out.server().dbs.iter().enumerate() {
        if !db.is_empty() {
            let value = format!(
                "keys={},expires={},avg_ttl={},subexpiry={}",
                db.len(),
                db.volatile_len(),
                db.avg_ttl_ms,
                db.field_volatile_len()
            );
            out.line(&format!("db{dbid}"), value);
        }
    }
}

/// How many values of each type lie in which power of two by their length. All keys are walked for it: to keep the counts
/// up to date, every write would have to look at its value's length before and behind, which costs a SET or an RPUSH
/// more than all others of its effects, for figures that few ask for.
fn keysizes(out: &mut Report<'_, '_>, is_named: bool) {
    let keys: usize = out.server().dbs.iter().map(|db| db.len()).sum();
    if keys > KEYSIZES_KEYS_MAX && !is_named {
        return;
    }
    const SIZED: [(Kind, &str); 5] = [
        (Kind::String, "strings_sizes"),
        (Kind::List, "lists_items"),
        (Kind::Set, "sets_items"),
        (Kind::ZSet, "zsets_items"),
        (Kind::Hash, "hashes_items"),
    ];
    for (dbid, db) in out.server().dbs.iter().enumerate() {
        // Class 0 counts what is empty, class `i` lengths from 2^(i-1) to below 2^i.
        let mut classes = [[0u64; 65]; SIZED.len()];
        for entry in db.table.iter() {
            let kind = entry.kind();
            let len = entry
                .object()
                .map_or_else(|| entry.str_len(), ObjectRef::len) as u64;
            if let Some(row) = SIZED.iter().position(|(of, _)| *of == kind) {
                classes[row][(u64::BITS - len.leading_zeros()) as usize] += 1;
            }
        }
        for ((_, name), counts) in SIZED.iter().zip(classes) {
            let used = counts.iter().enumerate().filter(|(_, count)| **count > 0);
            let values: Vec<String> = used
                .map(|(class, count)| format!("{}={count}", size_label(class)))
                .collect();
            if !values.is_empty() {
                out.line(&format!("db{dbid}_distrib_{name}"), values.join(","));
            }
        }
    }
}

/// The smallest length of a class: `0`, `1`, `2` ... `512`, `1K` ...
fn size_label(class: usize) -> String {
    match class {
        0 => "0".to_owned(),
        _ => {
            let bits = class - 1;
            let unit = ["", "K", "M", "G", "T", "P", "E"][bits / 10];
            format!("{}{unit}", 1u64 << (bits % 10))
        }
    }
}

/// The watch over what keys cost, once there has been one.
fn hotkeys(out: &mut Report<'_, '_>, _: bool) {
    let is_active = u8::from(out.server().hotkeys.is_active());
    out.line("hotkeys-tracking-active", is_active);
}

fn debug(out: &mut Report<'_, '_>, _: bool) {
    let stats = &out.server().stats;
    out.line("eventloop_duration_aof_sum", stats.aof_us);
    out.line("eventloop_duration_cron_sum", stats.cron_us);
    out.line("eventloop_duration_max", stats.cycle_us_max);
    out.line("eventloop_cmd_per_cycle_max", stats.cycle_commands_max);
}

/// A number of bytes in its largest unit: `12B`, `686.48K`, `7.29M`.
pub fn human(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["K", "M", "G", "T", "P", "E"];
    if bytes < 1024 {
        return format!("{bytes}B");
    }
    let mut value = bytes as f64 / 1024.0;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.2}{}", UNITS[unit])
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2}%", part as f64 * 100.0 / whole.max(1) as f64)
}

fn ratio(part: u64, whole: u64) -> String {
    format!("{:.2}", part as f64 / whole.max(1) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_their_largest_unit() {
        for (bytes, text) in [
            (0, "0B"),
            (1023, "1023B"),
            (1024, "1.00K"),
            (702_952, "686.48K"),
            (25_276_502_016, "23.54G"),
            (u64::MAX, "16.00E"),
        ] {
            assert_eq!(human(bytes), text);
        }
        let labels: Vec<String> = [0, 1, 2, 10, 11, 13, 21, 64].map(size_label).into();
        assert_eq!(labels.join(" "), "0 1 2 512 1K 4K 1M 8E");
    }
}
