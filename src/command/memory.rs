//! MEMORY: where the memory goes, as far as the counting allocator and the tables know.

use crate::border::Order;
use crate::command::ctx::int_arg;
use crate::command::spec::{Arg, ArgKind, Flags, Group, KeyFlags, KeySpec, Spec};
use crate::command::syntax::container_help;
use crate::command::{CommandError, Ctx};
use crate::resp::{Args, Reply};
use crate::state::keys::Access;
use crate::state::{Client, Server};

/// The family's commands.
pub const COMMANDS: &[Spec] = &[MEMORY];

/// What a key takes in its table beside its entry: one slot.
const SLOT_BYTES: usize = 8;

/// Below this there is nothing that DOCTOR could judge.
const DOCTOR_MIN_BYTES: u64 = 5 << 20;

pub const MEMORY: Spec = Spec {
    name: "memory",
    arity: -2,
    group: Group::Server,
    since: "4.0.0",
    summary: "A container for commands about memory.",
    help: &[
        "DOCTOR",
        "MALLOC-STATS",
        "PURGE",
        "STATS",
        "USAGE <key> [SAMPLES <count>]",
    ],
    subcommands: &[
        MEMORY_DOCTOR,
        MEMORY_HELP,
        MEMORY_MALLOC_STATS,
        MEMORY_PURGE,
        MEMORY_STATS,
        MEMORY_USAGE,
    ],
    ..Spec::DEFAULT
};

pub const MEMORY_HELP: Spec = Spec {
    name: "help",
    arity: 2,
    flags: Flags::LOADING.or(Flags::STALE),
    group: Group::Server,
    since: "4.0.0",
    summary: "Explains the subcommands.",
    complexity: Some("O(1)"),
    handler: container_help,
    ..Spec::DEFAULT
};

pub const MEMORY_USAGE: Spec = Spec {
    name: "usage",
    arity: -3,
    flags: Flags::READONLY,
    group: Group::Server,
    since: "4.0.0",
    summary: "Tells how many bytes a key and its value take.",
    complexity: Some("O(N)"),
    key_specs: &[KeySpec::at(2, KeyFlags::RO)],
    args: &[
        Arg::key("key", 0),
        Arg::new("count", ArgKind::Integer)
            .token("SAMPLES")
            .optional(),
    ],
    handler: memory_usage,
    ..Spec::DEFAULT
};

/// `MEMORY USAGE key [SAMPLES count]`
fn memory_usage(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<(), CommandError> {
    for index in (3..args.len()).step_by(2) {
        if !args.is(index, "SAMPLES") || index + 1 >= args.len() {
            return Err(CommandError::Syntax);
        }
        if int_arg(args, index + 1)? < 0 {
            return Err(CommandError::Syntax);
        }
    }
    let key = ctx.key(args, 2);
    match ctx.lookup(key, Access::Peek).map(|e| e.memory_bytes()) {
        Some(bytes) => ctx.client.reply.len(bytes + SLOT_BYTES),
        None => ctx.client.reply.null(),
    }
    Ok(())
}

/// Where the memory is, in bytes.
struct Breakdown {
    total: u64,
    peak: u64,
    startup: u64,
    clients: u64,
    /// (dbid, table) of each database that is not empty.
    tables: Vec<(usize, u64)>,
    rehashing: u64,
    rehashing_count: usize,
    keys: u64,
    scripts: crate::state::scripting::Usage,
    /// What watching hot keys takes.
    hotkeys: u64,
}

impl Breakdown {
    /// `running` is the client whose command runs: it is not among the server's.
    fn take(server: &Server, running: &Client) -> Breakdown {
        let total = server.reading.used_memory;
        let clients = server.clients.iter().chain([running]);
        let used = server
            .dbs
            .iter()
            .enumerate()
            .filter(|(_, db)| !db.is_empty());
        let rehashing = server.dbs.iter().filter(|db| db.table.is_rehashing());
        Breakdown {
            total,
            peak: server.peak_memory.max(total),
            startup: server.startup_memory,
            clients: clients.map(Client::memory_bytes).sum::<usize>() as u64,
            tables: used
                .map(|(dbid, db)| (dbid, db.table.memory_bytes() as u64))
                .collect(),
            rehashing: rehashing
                .clone()
                .map(|db| db.table.bucket_counts().0 as u64 * 64)
                .sum(),
            rehashing_count: rehashing.count(),
            keys: server.dbs.iter().map(|db| db.len() as u64).sum(),
            scripts: server.scripting.usage(),
            hotkeys: server.hotkeys.memory_bytes() as u64,
        }
    }

    fn tables_bytes(&self) -> u64 {
        self.tables.iter().map(|(_, bytes)| bytes).sum()
    }

    fn overhead(&self) -> u64 {
        self.startup + self.clients + self.tables_bytes() + self.hotkeys
    }

    fn dataset(&self) -> u64 {
        self.total.saturating_sub(self.overhead())
    }

    /// All memory that came after the start.
    fn net(&self) -> u64 {
        self.total.saturating_sub(self.startup)
    }
}

fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64
}

pub const MEMORY_STATS: Spec = Spec {
    name: "stats",
    arity: 2,
    flags: Flags::NEEDS_READING,
    group: Group::Server,
    since: "4.0.0",
    summary: "Tells where the memory goes.",
    complexity: Some("O(1)"),
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    handler: memory_stats,
    ..Spec::DEFAULT
};

/// `MEMORY STATS`
fn memory_stats(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let memory = Breakdown::take(ctx.server, ctx.client);
    let rss = ctx.server.reading.rss_bytes;
    let unused = rss as i64 - memory.total as i64;
    let reply = &mut ctx.client.reply;
    let start = reply.array_begin();
    let mut fields = Fields { reply, len: 0 };
    fields.int("peak.allocated", memory.peak);
    fields.int("total.allocated", memory.total);
    fields.int("startup.allocated", memory.startup);
    fields.int("replication.backlog", 0);
    fields.int("replica.fullsync.buffer", 0);
    fields.int("clients.slaves", 0);
    fields.int("clients.normal", memory.clients);
    fields.int("cluster.links", 0);
    fields.int("aof.buffer", 0);
    fields.int("lua.caches", memory.scripts.scripts_bytes);
    fields.int("functions.caches", memory.scripts.functions_bytes);
    fields.int("script.VMs", memory.scripts.vm_bytes());
    for (dbid, bytes) in &memory.tables {
        fields.name(&format!("db.{dbid}"));
        fields.reply.map(2);
        fields.reply.text("overhead.hashtable.main");
        fields.reply.len(*bytes as usize);
        fields.reply.text("overhead.hashtable.expires");
        fields.reply.int(0);
    }
    fields.int("overhead.db.hashtable.lut", memory.tables_bytes());
    fields.int("overhead.db.hashtable.rehashing", memory.rehashing);
    fields.int("overhead.total", memory.overhead());
    fields.int("db.dict.rehashing.count", memory.rehashing_count as u64);
    fields.int("keys.count", memory.keys);
    let per_key = memory.net().checked_div(memory.keys).unwrap_or(0);
    fields.int("keys.bytes-per-key", per_key);
    fields.int("dataset.bytes", memory.dataset());
    let dataset_share = ratio(memory.dataset(), memory.net()) * 100.0;
    fields.double("dataset.percentage", dataset_share);
    fields.double("peak.percentage", ratio(memory.total, memory.peak) * 100.0);
    fields.int("allocator.allocated", memory.total);
    fields.int("allocator.active", memory.total);
    fields.int("allocator.resident", rss);
    fields.int("allocator.muzzy", 0);
    fields.double("allocator-fragmentation.ratio", 1.0);
    fields.int("allocator-fragmentation.bytes", 0);
    fields.double("allocator-rss.ratio", ratio(rss, memory.total));
    fields.signed("allocator-rss.bytes", unused);
    fields.double("rss-overhead.ratio", 1.0);
    fields.int("rss-overhead.bytes", 0);
    fields.double("fragmentation", ratio(rss, memory.total));
    fields.signed("fragmentation.bytes", unused);
    let len = fields.len;
    reply.map_end(start, len);
    Ok(())
}

/// Writes the pairs of a map and counts them.
struct Fields<'a> {
    reply: &'a mut Reply,
    len: usize,
}

impl Fields<'_> {
    fn name(&mut self, name: &str) {
        self.reply.text(name);
        self.len += 1;
    }

    fn int(&mut self, name: &str, value: u64) {
        self.signed(name, i64::try_from(value).unwrap_or(i64::MAX));
    }

    fn signed(&mut self, name: &str, value: i64) {
        self.name(name);
        self.reply.int(value);
    }

    fn double(&mut self, name: &str, value: f64) {
        self.name(name);
        self.reply.double(value);
    }
}

pub const MEMORY_DOCTOR: Spec = Spec {
    name: "doctor",
    arity: 2,
    flags: Flags::NEEDS_READING,
    group: Group::Server,
    since: "4.0.0",
    summary: "Tells in words what looks wrong about memory.",
    complexity: Some("O(1)"),
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    handler: memory_doctor,
    ..Spec::DEFAULT
};

/// `MEMORY DOCTOR`
fn memory_doctor(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let memory = Breakdown::take(ctx.server, ctx.client);
    let rss = ctx.server.reading.rss_bytes;
    let mut findings: Vec<&str> = Vec::new();
    if memory.total < DOCTOR_MIN_BYTES {
        findings.push(
            "This instance is empty or uses very little memory: there is nothing to judge yet.",
        );
    } else {
        if ratio(memory.peak, memory.total) > 1.5 {
            findings.push(
                "Peak: the peak was more than 1.5 times what is in use now. Unless much was deleted on purpose, \
                 this is where memory that the system still counts for the process comes from.",
            );
        }
        if ratio(rss, memory.total) > 1.4 {
            findings.push(
                "Fragmentation: the process holds more than 1.4 times what is in use. MEMORY PURGE may give \
                 some of it back.",
            );
        }
        if memory.clients / (ctx.server.clients.len() as u64).max(1) > 200 << 10 {
            findings.push(
                "Clients: their buffers take more than 200 KiB each on average. CLIENT LIST shows which ones.",
            );
        }
        if findings.is_empty() {
            findings.push("No problem was found.");
        }
    }
    let text = findings.join("\n\n");
    ctx.client.reply.verbatim("txt", text.as_bytes());
    Ok(())
}

pub const MEMORY_MALLOC_STATS: Spec = Spec {
    name: "malloc-stats",
    arity: 2,
    group: Group::Server,
    since: "4.0.0",
    summary: "Tells what the allocator says about itself.",
    tips: &[
        "nondeterministic_output",
        "request_policy:all_shards",
        "response_policy:special",
    ],
    handler: memory_malloc_stats,
    ..Spec::DEFAULT
};

/// `MEMORY MALLOC-STATS`
fn memory_malloc_stats(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    let text = b"The allocator keeps no statistics; MEMORY STATS counts every byte.";
    ctx.client.reply.verbatim("txt", text);
    Ok(())
}

pub const MEMORY_PURGE: Spec = Spec {
    name: "purge",
    arity: 2,
    group: Group::Server,
    since: "4.0.0",
    summary: "Asks the allocator to give unused memory back.",
    tips: &["request_policy:all_shards", "response_policy:all_succeeded"],
    handler: memory_purge,
    ..Spec::DEFAULT
};

/// `MEMORY PURGE`
fn memory_purge(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<(), CommandError> {
    ctx.server.orders.push_back(Order::PurgeMemory);
    ctx.client.reply.ok();
    Ok(())
}
