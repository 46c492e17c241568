//! Server: the whole state behind the commands, apart from who may run what and when.

pub mod aof;
pub mod eviction;
pub mod fields;
pub mod hotkeys;
pub mod keys;
pub mod loading;
pub mod monitor;
pub mod persistence;
pub mod pubsub;
pub mod push;
pub mod scripting;
pub mod slots;
pub mod snapshot;
pub mod tracking;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::acl::log::Log;
use crate::acl::{User, Users};
use crate::border::{LogLevel, Order, Reading, Want};
use crate::config::{self, Config, Guard};
use crate::keyspace::db::Db;
use crate::keyspace::garbage::Garbage;
use crate::keyspace::table::HashSeed;
use crate::keyspace::usage::{Usage, UsageClock};
use crate::state::aof::Aof;
use crate::state::blocking::Waiters;
use crate::state::client::Client;
use crate::state::clients::Clients;
use crate::state::debug::Switches;
use crate::state::effects::Effects;
use crate::state::eviction::Eviction;
use crate::state::hotkeys::Hotkeys;
use crate::state::latency::Latency;
use crate::state::meter::Meter;
use crate::state::multi::Watchers;
use crate::state::persistence::Persistence;
use crate::state::pubsub::PubSub;
use crate::state::push::Pushes;
use crate::state::restraint::Restraint;
use crate::state::rng::Rng;
use crate::state::scripting::Scripting;
use crate::state::secret::Secrets;
use crate::state::slowlog::SlowLog;
use crate::state::stats::{CommandStats, Rate, Stats};
use crate::state::tracking::Tracking;
use crate::state::{CommandError, CommandId, ConnId, UnixMicros};

/// Different first words of errors that are counted apart.
const ERROR_WORDS_MAX: usize = 128;

/// Stands among the errors once there are too many of them.
const ERRORS_DISABLED: &str = "ERRORSTATS_DISABLED";

/// With `dynamic-hz`, more clients than this for each tick of a second double the ticks, up to the limit behind it.
const CLIENTS_PER_TICK_MAX: i64 = 200;
const HZ_MAX: i64 = 500;

/// See [`Server::reply_peak_reset_ms`].
pub const REPLY_PEAK_RESET_MS: i64 = 5000;

/// Facts about the process that do not change while it runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    pub pid: u32,
    pub executable: String,
    pub os: String,
    pub config_file: Option<String>,
    /// What secrets are made from.
    pub secret: [u8; 32],
    pub recording: Recording,
}

/// Whether the run is recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Recording {
    #[default]
    Off,
    On,
    /// The journal could not be written any more, and has ended.
    Lost,
}

/// A command that sleeps until the shell answers: what its handler still has to do then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Continuation {
    /// Reply OK, or the error that the shell reported behind this prefix.
    Reply { error_prefix: &'static str },
    /// CONFIG SET goes on with the next thing to apply, or takes everything back.
    ConfigSet(ConfigChange),
    /// ACL LOAD has the file's text.
    AclLoad,
    /// ACL SAVE has written the file.
    AclSave,
    /// BGREWRITEAOF has a place for what comes behind the base.
    Rewrite,
}

/// A change of the configuration on its way to take effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// The parameters that changed, with their values before.
    pub before: Vec<(&'static str, Vec<u8>)>,
    /// The parameter that the shell applies now.
    pub applying: &'static str,
    /// Those it is still to apply, last one first.
    pub to_apply: Vec<&'static str>,
    /// Those it has applied.
    pub applied: Vec<&'static str>,
    /// They were set within a transaction.
    pub in_exec: bool,
}

/// Who waits for an answer of the shell, and for which.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Awaiting {
    pub ticket: u64,
    pub conn: ConnId,
    /// The client may have gone meanwhile, and its connection's number to another.
    pub client_id: u64,
    pub then: Continuation,
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pause {
    pub until_ms: i64,
    /// Only commands that may write are held back.
    pub writes_only: bool,
}

/// Everything that command handlers can reach.
pub struct Server {
    /// The time of the current Input.
    pub now: UnixMicros,
    pub now_ms: i64,
    /// What entries remember of their use, and the time as they remember it.
    pub usage: UsageClock,
    /// Whether memory suffices.
    pub meter: Meter,
    pub eviction: Eviction,
    /// What clients take of `maxmemory-clients`, all of them together; 0 while there is no such limit.
    pub clients_memory: usize,
    /// What messages have added to the room of output buffers since the start.
    pub pushed_bytes: u64,
    pub rng: Rng,
    /// The source of what must not be guessed.
    pub secrets: Secrets,
    pub hash_seed: HashSeed,
    pub config: Config,
    pub process: Process,
    pub run_id: String,
    /// Names the history of this data set, for replicas.
    pub replid: String,
    pub started: UnixMicros,

    pub dbs: Vec<Db>,
    pub effects: Effects,
    /// The command that runs leaves no trace of use (CLIENT NO-TOUCH).
    pub no_touch: bool,
    /// DEBUG SET-ACTIVE-EXPIRE 0: the expire cycle rests.
    pub active_expire: bool,
    /// What DEBUG has switched for tests.
    pub debug: Switches,
    /// Deadlines are not looked at for the moment.
    pub expire_paused: bool,

    pub users: Users,
    /// What users were refused lately.
    pub acl_log: Log,
    pub clients: Clients,
    pub next_client_id: u64,
    pub pause: Option<Pause>,
    /// The pause was lifted by a command; held clients go on at the next tick.
    pub unpaused: bool,
    /// Scripts, their states and caches.
    pub scripting: Scripting,
    /// Clients to be told goodbye by the engine after this command.
    pub doomed: Vec<ConnId>,
    /// Who watches keys.
    pub watchers: Watchers,
    /// Who waits for keys.
    pub waiters: Waiters,
    /// Files of data: saving and loading.
    pub persistence: Persistence,
    pub aof: Aof,
    /// Why commands are refused or wait at the moment.
    pub restraint: Restraint,
    /// Clients whose wait CLIENT UNBLOCK ends after this command; with an error or as at a timeout.
    pub unblocked: Vec<(ConnId, bool)>,
    /// Clients with replies to offer to their sockets, which come first.
    pub flush_queue: VecDeque<ConnId>,
    /// Clients with nothing but messages to offer: who published to many shall not wait until all of them have it.
    pub push_queue: VecDeque<ConnId>,
    /// Who listens to which channels.
    pub pubsub: PubSub,
    /// Who tracks what.
    pub tracking: Tracking,
    /// Who sees every command.
    pub monitors: BTreeSet<ConnId>,
    /// Whose command runs, and that client's id.
    pub running: Option<(ConnId, u64)>,
    /// Messages that wait for the end of their receivers' commands.
    pub pushes: Pushes,

    pub stats: Stats,
    /// By command id.
    pub command_stats: Vec<CommandStats>,
    /// Error replies by their first word.
    pub error_stats: BTreeMap<String, u64>,
    pub ops_rate: Rate,
    pub input_rate: Rate,
    pub output_rate: Rate,
    pub cycle_rate: Rate,
    pub cycle_us_rate: Rate,
    pub peak_memory: u64,
    /// Share of keys with a deadline that have passed it and are still there, as the expire cycle finds them.
    pub stale_share: f64,
    /// Milliseconds after which a reply buffer's peak is forgotten (DEBUG REPLYBUFFER PEAK-RESET-TIME).
    pub reply_peak_reset_ms: i64,
    /// What was removed lazily, on its way to be freed in pieces.
    pub garbage: Garbage,
    /// Clients whose flush is answered when garbage is freed up to a mark: the mark, connection and client.
    pub flush_waiters: Vec<(u64, ConnId, u64)>,
    pub startup_memory: u64,
    pub slowlog: SlowLog,
    pub latency: Latency,
    /// Which keys cost most, while someone watches.
    pub hotkeys: Hotkeys,
    /// The last process reading; fresh for commands that asked for one.
    pub reading: Reading,
    pub cron_loops: u64,

    pub want: Option<Want>,
    pub orders: VecDeque<Order>,
    next_ticket: u64,
    pub awaiting: Vec<Awaiting>,
}

impl Server {
    /// The state at the start.
    pub fn new(config: Config, process: Process, seed: u64, now: UnixMicros) -> Server {
        let mut rng = Rng::new(seed);
        let mut secrets = Secrets::new(process.secret);
        // Whoever knows it can make keys that meet in one bucket.
        let hash_seed = HashSeed(secrets.key());
        let run_id = rng.hex(40);
        let replid = rng.hex(40);
        let dbs = usize::try_from(config.databases).unwrap_or(16).max(1);
        let mut server = Server {
            now,
            now_ms: now.ms(),
            usage: UsageClock::new(Usage::LastUse, 0, 0, 0),
            meter: Meter::live(),
            eviction: Eviction::default(),
            clients_memory: 0,
            pushed_bytes: 0,
            rng,
            secrets,
            hash_seed,
            config,
            process,
            run_id,
            replid,
            started: now,
            dbs: (0..dbs).map(|_| Db::new(hash_seed)).collect(),
            effects: Effects::default(),
            no_touch: false,
            active_expire: true,
            debug: Switches::default(),
            expire_paused: false,
            users: Users::new(User::open_default()),
            acl_log: Log::default(),
            clients: Clients::default(),
            next_client_id: 1,
            pause: None,
            unpaused: false,
            scripting: Scripting::default(),
            doomed: Vec::new(),
            watchers: Watchers::default(),
            waiters: Waiters::default(),
            persistence: Persistence::new(now),
            aof: Aof::new(now),
            restraint: Restraint::default(),
            unblocked: Vec::new(),
            flush_queue: VecDeque::new(),
            push_queue: VecDeque::new(),
            pubsub: PubSub::default(),
            tracking: Tracking::default(),
            monitors: BTreeSet::new(),
            running: None,
            pushes: Pushes::default(),
            stats: Stats::default(),
            command_stats: Vec::new(),
            error_stats: BTreeMap::new(),
            ops_rate: Rate::default(),
            input_rate: Rate::default(),
            output_rate: Rate::default(),
            cycle_rate: Rate::default(),
            cycle_us_rate: Rate::default(),
            peak_memory: 0,
            stale_share: 0.0,
            reply_peak_reset_ms: REPLY_PEAK_RESET_MS,
            garbage: Garbage::default(),
            flush_waiters: Vec::new(),
            startup_memory: 0,
            slowlog: SlowLog::default(),
            latency: Latency::default(),
            hotkeys: Hotkeys::default(),
            reading: Reading::default(),
            cron_loops: 0,
            want: None,
            orders: VecDeque::new(),
            next_ticket: 0,
            awaiting: Vec::new(),
        };
        server.set_now(now);
        server
    }

    /// Moves the clock.
    #[inline]
    pub fn set_now(&mut self, now: UnixMicros) {
        self.now = now;
        self.now_ms = now.ms();
        self.usage = self.usage_clock();
    }

    /// Ticks a second: `hz`, and with `dynamic-hz` more of them while there are many clients.
    pub fn hz(&self) -> i64 {
        let mut hz = self.config.hz.clamp(1, HZ_MAX);
        let clients = i64::try_from(self.clients.len()).unwrap_or(i64::MAX);
        while self.config.dynamic_hz && hz < HZ_MAX && clients / hz > CLIENTS_PER_TICK_MAX {
            hz = (hz * 2).min(HZ_MAX);
        }
        hz
    }

    /// Says a line in the log, if `loglevel` lets it through.
    pub fn log(&mut self, level: LogLevel, text: impl Into<String>) {
        if self.logs(level) {
            let text = text.into();
            self.orders.push_back(Order::Log { level, text });
        }
    }

    /// Whether a line of this level would be written.
    pub fn logs(&self, level: LogLevel) -> bool {
        let least = match self.config.loglevel {
            config::LogLevel::Debug => LogLevel::Debug,
            config::LogLevel::Verbose => LogLevel::Verbose,
            config::LogLevel::Notice => LogLevel::Notice,
            config::LogLevel::Warning => LogLevel::Warning,
            config::LogLevel::Nothing => return false,
        };
        level >= least
    }

    /// Makes a client wait for the shell's answer to the order that `order` builds from the ticket.
    pub fn ask_shell(
        &mut self,
        (conn, client_id): (ConnId, u64),
        then: Continuation,
        order: impl FnOnce(u64) -> Order,
    ) {
        let ticket = self.await_shell((conn, client_id), then);
        self.orders.push_back(order(ticket));
    }

    /// A client waits for what the shell does; returns the ticket for an order about it.
    pub fn await_shell(&mut self, (conn, client_id): (ConnId, u64), then: Continuation) -> u64 {
        let ticket = self.next_ticket();
        self.awaiting.push(Awaiting {
            ticket,
            conn,
            client_id,
            then,
        });
        ticket
    }

    /// A number for an order; nobody needs to wait for its answer.
    pub fn next_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }

    /// Counts an error reply by its first word.
    pub fn count_error(&mut self, line: &[u8]) {
        self.stats.error_replies += 1;
        let word = line.split(|byte| *byte == b' ').next();
        let word = word.and_then(|word| std::str::from_utf8(word).ok());
        let word = word.unwrap_or("ERR");
        if let Some(count) = self.error_stats.get_mut(word) {
            *count += 1;
        } else if self.error_stats.len() < ERROR_WORDS_MAX {
            self.error_stats.insert(word.to_owned(), 1);
        } else if !self.error_stats.contains_key(ERRORS_DISABLED) {
            let known: Vec<&str> = self.error_stats.keys().map(String::as_str).collect();
            let known = known.join(", ");
            self.error_stats.insert(ERRORS_DISABLED.to_owned(), 1);
            self.log(
                LogLevel::Warning,
                format!(
                    "Errorstats stopped adding new errors because the number of errors reached the limit \
                     ({ERROR_WORDS_MAX})."
                ),
            );
            self.log(
                LogLevel::Warning,
                format!("Current errors code list: {known}"),
            );
        }
    }

    /// Adds a latency sample if it reaches the configured threshold.
    pub fn sample_latency(&mut self, event: &'static str, elapsed_us: u64) {
        let threshold = self.config.latency_monitor_threshold;
        let ms = elapsed_us / 1000;
        if threshold > 0 && ms >= threshold as u64 {
            self.latency.add(event, self.now.secs(), ms);
        }
    }

    /// Puts the client on the list of those with replies to offer.
    pub fn queue_flush(&mut self, conn: ConnId) {
        self.flush_queue.push_back(conn);
    }
}

impl Server {
    /// Adds a command's duration to its account.
    pub fn record_duration(&mut self, id: CommandId, elapsed_us: u64, calls: u64) {
        if let Some(stats) = self.command_stats.get_mut(usize::from(id.0)) {
            stats.usec += elapsed_us;
            if self.config.latency_tracking {
                let each_ns = elapsed_us.saturating_mul(1000) / calls.max(1);
                stats.durations.record(each_ns, calls);
            }
            self.stats.command_us += elapsed_us;
            self.hotkeys.spent(elapsed_us);
        }
    }

    /// How many slow commands are kept.
    pub fn slowlog_len_max(&self) -> usize {
        usize::try_from(self.config.slowlog_max_len).unwrap_or(usize::MAX)
    }

    /// Counters start again from zero.
    pub fn reset_stats(&mut self) {
        self.carry_hotkeys();
        self.stats = Stats::default();
        self.eviction.reset_stats(self.now);
        self.error_stats.clear();
        self.command_stats.fill(CommandStats::default());
        for rate in [
            &mut self.ops_rate,
            &mut self.input_rate,
            &mut self.output_rate,
            &mut self.cycle_rate,
            &mut self.cycle_us_rate,
        ] {
            rate.reset();
        }
    }

    /// Whether the client has to log in first. Taking the password away lets everyone in.
    #[inline]
    pub fn needs_auth(&self, client: &Client) -> bool {
        !client.authenticated && !self.users.default_user().is_open()
    }

    /// Clients whose next command waits for something; CLIENT PAUSE counts.
    pub fn blocked_clients(&self) -> usize {
        let clients = self.clients.iter();
        clients.filter(|client| client.counts_as_blocked()).count()
    }

    /// Whether a pause holds at the moment; keys that expire meanwhile are gone for readers and stay in memory.
    pub fn is_paused(&self) -> bool {
        self.pause.is_some_and(|pause| pause.until_ms > self.now_ms)
    }

    /// Refuses commands that need a setting to be allowed at all (`enable-debug-command`).
    pub fn refuses_protected(
        &self,
        client: &Client,
        name: &str,
        is_subcommand: bool,
    ) -> Result<(), CommandError> {
        if name != "debug" || is_subcommand {
            return Ok(());
        }
        match self.config.enable_debug_command {
            Guard::Yes => Ok(()),
            Guard::Local if client.is_local() => Ok(()),
            Guard::Local | Guard::No => Err(CommandError::DebugNotAllowed),
        }
    }

    /// An expire cycle looked at `seen` keys with a deadline, of which `expired` had passed it.
    pub fn expire_sample(&mut self, seen: u64, expired: u64) {
        let share = expired as f64 / seen.max(1) as f64;
        self.stale_share = self.stale_share * 0.95 + share * 0.05;
    }
}
