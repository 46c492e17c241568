//! Values: the parameters whose text has a format of its own, and the enums.
//!
//! Lives here: their types and kinds. May not: error texts (`kinds.rs`), rows (`params.rs`).

use super::kinds::{
    Kind, Lines, Stage, ValueError, find_name, named, one_line, parse_memory, print_memory, quote,
    text_of,
};

named! {
    /// Which channels a new ACL user may use.
    pub enum PubsubDefault { AllChannels = "allchannels", ResetChannels = "resetchannels" }
    /// When the append-only file is forced to disk.
    pub enum Appendfsync { Everysec = "everysec", Always = "always", No = "no" }
    /// What a cluster client is told to connect to.
    pub enum EndpointType { Ip = "ip", Hostname = "hostname", UnknownEndpoint = "unknown-endpoint" }
    /// Who may use a guarded feature.
    pub enum Guard { No = "no", Yes = "yes", Local = "local" }
    /// How much is logged.
    pub enum LogLevel {
        Debug = "debug", Verbose = "verbose", Notice = "notice", Warning = "warning", Nothing = "nothing",
    }
    /// What to evict when memory is full.
    pub enum EvictionPolicy {
        VolatileLru = "volatile-lru", VolatileLfu = "volatile-lfu", VolatileRandom = "volatile-random",
        VolatileTtl = "volatile-ttl", AllkeysLru = "allkeys-lru", AllkeysLfu = "allkeys-lfu",
        AllkeysRandom = "allkeys-random", NoEviction = "noeviction", VolatileLrm = "volatile-lrm",
        AllkeysLrm = "allkeys-lrm",
    }
    /// How the kernel's out-of-memory score is set.
    pub enum OomScoreAdj { No = "no", Yes = "yes", Relative = "relative", Absolute = "absolute" }
    /// What to do when a replicated command fails.
    pub enum PropagationError { Ignore = "ignore", Panic = "panic", PanicOnReplicas = "panic-on-replicas" }
    /// How a replica takes a snapshot that comes over the socket.
    pub enum DisklessLoad { Disabled = "disabled", OnEmptyDb = "on-empty-db", Swapdb = "swapdb" }
    /// Whose RESTORE payloads are checked in depth.
    pub enum SanitizePayload { No = "no", Yes = "yes", Clients = "clients" }
    /// The service manager that started us.
    pub enum Supervised { Upstart = "upstart", Systemd = "systemd", Auto = "auto", No = "no" }
    /// The syslog facility.
    pub enum SyslogFacility {
        User = "user", Local0 = "local0", Local1 = "local1", Local2 = "local2", Local3 = "local3",
        Local4 = "local4", Local5 = "local5", Local6 = "local6", Local7 = "local7",
    }
    /// Whether TLS clients must show a certificate.
    pub enum TlsAuthClients { No = "no", Yes = "yes", Optional = "optional" }
}

/// One snapshot rule: after `seconds`, when at least `changes` keys changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SaveRule {
    pub seconds: i64,
    pub changes: i32,
}

impl SaveRule {
    pub(super) fn defaults() -> Vec<SaveRule> {
        [(3600, 1), (300, 100), (60, 10_000)]
            .map(|(seconds, changes)| SaveRule { seconds, changes })
            .into()
    }
}

/// `save`: a list of rules; a file adds to it line by line, CONFIG SET replaces it.
pub struct SaveRules;

impl Kind<Vec<SaveRule>> for SaveRules {
    fn parse(
        &self,
        args: &[&[u8]],
        old: &Vec<SaveRule>,
        stage: Stage,
    ) -> Result<Vec<SaveRule>, ValueError> {
        if args.is_empty() {
            return Ok(Vec::new());
        }
        let mut rules = match stage {
            Stage::Startup { first: false } => old.clone(),
            _ => Vec::new(),
        };
        for pair in args.chunks(2) {
            let [seconds, changes] = pair else {
                return Err(ValueError::Save);
            };
            let seconds = parse_c_integer(seconds).filter(|value| *value >= 1);
            let changes = parse_c_integer(changes).filter(|value| *value >= 0);
            let (Some(seconds), Some(changes)) = (seconds, changes) else {
                return Err(ValueError::Save);
            };
            rules.push(SaveRule {
                seconds,
                changes: changes as i32,
            });
        }
        Ok(rules)
    }
    fn print(&self, value: &Vec<SaveRule>) -> Vec<u8> {
        join(value, |rule| format!("{} {}", rule.seconds, rule.changes)).into_bytes()
    }
    fn lines(&self, value: &Vec<SaveRule>, _: &Vec<SaveRule>) -> Lines {
        if value.is_empty() {
            return one_line("\"\"".into(), true);
        }
        Lines::Write(
            value
                .iter()
                .map(|rule| (format!("{} {}", rule.seconds, rule.changes), true))
                .collect(),
        )
    }
    fn describe(&self) -> String {
        "pairs of seconds and changes, or \"\" for none".into()
    }
}

/// How far a client's replies may pile up before it is disconnected; 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputBufferLimit {
    pub hard: i64,
    pub soft: i64,
    pub soft_seconds: i64,
}

/// The limit of each client class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputBufferLimits {
    pub normal: OutputBufferLimit,
    pub replica: OutputBufferLimit,
    pub pubsub: OutputBufferLimit,
}

impl OutputBufferLimits {
    pub(super) const DEFAULT: OutputBufferLimits = OutputBufferLimits {
        normal: OutputBufferLimit {
            hard: 0,
            soft: 0,
            soft_seconds: 0,
        },
        replica: OutputBufferLimit {
            hard: 256 << 20,
            soft: 64 << 20,
            soft_seconds: 60,
        },
        pubsub: OutputBufferLimit {
            hard: 32 << 20,
            soft: 8 << 20,
            soft_seconds: 60,
        },
    };
}

/// `client-output-buffer-limit`: a class given leaves the others as they are.
pub struct BufferLimits;

impl Kind<OutputBufferLimits> for BufferLimits {
    fn parse(
        &self,
        args: &[&[u8]],
        old: &OutputBufferLimits,
        _: Stage,
    ) -> Result<OutputBufferLimits, ValueError> {
        let mut limits = *old;
        if !args.len().is_multiple_of(4) {
            return Err(ValueError::BufferLimitArgs);
        }
        for group in args.chunks_exact(4) {
            let place = match group[0].to_ascii_lowercase().as_slice() {
                b"normal" => &mut limits.normal,
                b"slave" | b"replica" => &mut limits.replica,
                b"pubsub" => &mut limits.pubsub,
                _ => return Err(ValueError::ClientClass),
            };
            let seconds =
                parse_c_integer(group[3]).filter(|value| (0..=i64::from(i32::MAX)).contains(value));
            let (Some(hard), Some(soft), Some(soft_seconds)) =
                (parse_memory(group[1]), parse_memory(group[2]), seconds)
            else {
                return Err(ValueError::BufferLimit);
            };
            *place = OutputBufferLimit {
                hard,
                soft,
                soft_seconds,
            };
        }
        Ok(limits)
    }
    fn print(&self, value: &OutputBufferLimits) -> Vec<u8> {
        let classes = [
            ("normal", value.normal),
            ("slave", value.replica),
            ("pubsub", value.pubsub),
        ];
        join(&classes, |(name, limit)| {
            format!(
                "{name} {} {} {}",
                limit.hard, limit.soft, limit.soft_seconds
            )
        })
        .into_bytes()
    }
    fn lines(&self, value: &OutputBufferLimits, default: &OutputBufferLimits) -> Lines {
        let classes = [
            ("normal", value.normal, default.normal),
            ("replica", value.replica, default.replica),
            ("pubsub", value.pubsub, default.pubsub),
        ];
        let line = |(name, limit, default): (&str, OutputBufferLimit, OutputBufferLimit)| {
            let (hard, soft) = (
                print_memory(limit.hard as u64),
                print_memory(limit.soft as u64),
            );
            (
                format!("{name} {hard} {soft} {}", limit.soft_seconds),
                limit != default,
            )
        };
        Lines::Write(classes.into_iter().map(line).collect())
    }
    fn describe(&self) -> String {
        "groups of class (normal, replica, pubsub), hard limit, soft limit, soft seconds".into()
    }
}

/// Which keyspace events are published, as a set of bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct KeyspaceEvents(u32);

impl KeyspaceEvents {
    pub const GENERIC: KeyspaceEvents = KeyspaceEvents(1 << 0);
    pub const STRING: KeyspaceEvents = KeyspaceEvents(1 << 1);
    pub const LIST: KeyspaceEvents = KeyspaceEvents(1 << 2);
    pub const SET: KeyspaceEvents = KeyspaceEvents(1 << 3);
    pub const HASH: KeyspaceEvents = KeyspaceEvents(1 << 4);
    pub const ZSET: KeyspaceEvents = KeyspaceEvents(1 << 5);
    pub const EXPIRED: KeyspaceEvents = KeyspaceEvents(1 << 6);
    pub const EVICTED: KeyspaceEvents = KeyspaceEvents(1 << 7);
    pub const STREAM: KeyspaceEvents = KeyspaceEvents(1 << 8);
    pub const MODULE: KeyspaceEvents = KeyspaceEvents(1 << 9);
    pub const NEW: KeyspaceEvents = KeyspaceEvents(1 << 10);
    pub const KEYSPACE: KeyspaceEvents = KeyspaceEvents(1 << 11);
    pub const KEYEVENT: KeyspaceEvents = KeyspaceEvents(1 << 12);
    pub const KEY_MISS: KeyspaceEvents = KeyspaceEvents(1 << 13);
    pub const OVERWRITTEN: KeyspaceEvents = KeyspaceEvents(1 << 14);
    pub const TYPE_CHANGED: KeyspaceEvents = KeyspaceEvents(1 << 15);
    pub const NONE: KeyspaceEvents = KeyspaceEvents(0);
    const ALL: KeyspaceEvents = KeyspaceEvents(Self::NEW.0 - 1); // every class below NEW

    /// Each flag with its letter, in the order in which they print.
    const LETTERS: [(u8, KeyspaceEvents); 16] = [
        (b'g', Self::GENERIC),
        (b'$', Self::STRING),
        (b'l', Self::LIST),
        (b's', Self::SET),
        (b'h', Self::HASH),
        (b'z', Self::ZSET),
        (b'x', Self::EXPIRED),
        (b'e', Self::EVICTED),
        (b't', Self::STREAM),
        (b'd', Self::MODULE),
        (b'n', Self::NEW),
        (b'K', Self::KEYSPACE),
        (b'E', Self::KEYEVENT),
        (b'm', Self::KEY_MISS),
        (b'o', Self::OVERWRITTEN),
        (b'c', Self::TYPE_CHANGED),
    ];

    /// Whether every flag of `other` is set.
    #[inline]
    pub fn contains(self, other: KeyspaceEvents) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether no event can be published.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The set which `letters` name.
    pub fn parse(letters: &[u8]) -> Result<KeyspaceEvents, ValueError> {
        let mut flags = 0;
        for letter in letters {
            flags |= match Self::LETTERS.iter().find(|(known, _)| known == letter) {
                Some((_, flag)) => flag.0,
                None if *letter == b'A' => Self::ALL.0,
                None => return Err(ValueError::KeyspaceEvents),
            };
        }
        Ok(KeyspaceEvents(flags))
    }

    /// The letters of all flags, none hidden behind another: what parses to the same set.
    pub fn letters(self) -> String {
        let set = Self::LETTERS
            .iter()
            .filter(|(_, flag)| self.contains(*flag));
        set.map(|(letter, _)| char::from(*letter)).collect()
    }
}

impl std::fmt::Display for KeyspaceEvents {
    /// `A` stands for all classes and then also hides `n`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let all = self.contains(Self::ALL);
        if all {
            f.write_str("A")?;
        }
        for (letter, flag) in Self::LETTERS {
            let hidden = all && flag.0 <= Self::NEW.0;
            if self.contains(flag) && !hidden {
                write!(f, "{}", letter as char)?;
            }
        }
        Ok(())
    }
}

/// `notify-keyspace-events`.
pub struct EventLetters;

impl Kind<KeyspaceEvents> for EventLetters {
    fn parse(
        &self,
        args: &[&[u8]],
        _: &KeyspaceEvents,
        _: Stage,
    ) -> Result<KeyspaceEvents, ValueError> {
        KeyspaceEvents::parse(super::kinds::only(args)?)
    }
    fn print(&self, value: &KeyspaceEvents) -> Vec<u8> {
        value.to_string().into_bytes()
    }
    fn lines(&self, value: &KeyspaceEvents, default: &KeyspaceEvents) -> Lines {
        let printed = value.to_string();
        let is_exact = KeyspaceEvents::parse(printed.as_bytes()).as_ref() == Ok(value);
        let text = if is_exact { printed } else { value.letters() };
        one_line(quote(text.as_bytes()), value != default)
    }
    fn describe(&self) -> String {
        "letters out of Ag$lshzxeKEtmdnoc".into()
    }
}

/// What a signal asks of SHUTDOWN; no bit set is the default behaviour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ShutdownFlags(u8);

impl ShutdownFlags {
    pub const DEFAULT: ShutdownFlags = ShutdownFlags(0);
    pub const SAVE: ShutdownFlags = ShutdownFlags(1);
    pub const NOSAVE: ShutdownFlags = ShutdownFlags(2);
    pub const NOW: ShutdownFlags = ShutdownFlags(4);
    pub const FORCE: ShutdownFlags = ShutdownFlags(8);

    const NAMES: [(&'static str, ShutdownFlags); 5] = [
        ("default", Self::DEFAULT),
        ("save", Self::SAVE),
        ("nosave", Self::NOSAVE),
        ("now", Self::NOW),
        ("force", Self::FORCE),
    ];

    /// Whether every flag of `other` is set.
    /// These and those of `other`.
    pub fn with(self, other: ShutdownFlags) -> ShutdownFlags {
        ShutdownFlags(self.0 | other.0)
    }

    pub fn contains(self, other: ShutdownFlags) -> bool {
        self.0 & other.0 == other.0
    }
}

impl std::fmt::Display for ShutdownFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set: Vec<_> = Self::NAMES[1..]
            .iter()
            .filter(|(_, flag)| self.contains(*flag))
            .map(|(name, _)| *name)
            .collect();
        f.write_str(
            if set.is_empty() {
                "default".into()
            } else {
                set.join(" ")
            }
            .as_str(),
        )
    }
}

/// `shutdown-on-sigint`, `shutdown-on-sigterm`.
pub struct ShutdownWords;

impl Kind<ShutdownFlags> for ShutdownWords {
    fn parse(
        &self,
        args: &[&[u8]],
        _: &ShutdownFlags,
        _: Stage,
    ) -> Result<ShutdownFlags, ValueError> {
        if args.is_empty() {
            find_name(&ShutdownFlags::NAMES, b"")?;
        }
        let mut flags = ShutdownFlags::DEFAULT;
        for arg in args {
            flags.0 |= find_name(&ShutdownFlags::NAMES, arg)?.0;
        }
        if flags.contains(ShutdownFlags::SAVE) && flags.contains(ShutdownFlags::NOSAVE) {
            return Err(ValueError::SaveAndNosave);
        }
        Ok(flags)
    }
    fn print(&self, value: &ShutdownFlags) -> Vec<u8> {
        value.to_string().into_bytes()
    }
    fn lines(&self, value: &ShutdownFlags, default: &ShutdownFlags) -> Lines {
        one_line(value.to_string(), value != default)
    }
    fn describe(&self) -> String {
        "words out of default, save, nosave, now, force".into()
    }
}

/// `oom-score-adj-values`: for a primary, a replica and a saving child.
pub struct OomScores;

impl Kind<[i64; 3]> for OomScores {
    fn parse(&self, args: &[&[u8]], _: &[i64; 3], _: Stage) -> Result<[i64; 3], ValueError> {
        let [primary, replica, child] = args else {
            return Err(ValueError::ArgCount);
        };
        let score = |arg: &[u8]| {
            let value = parse_c_integer(arg).filter(|value| (-2000..=2000).contains(value));
            value.ok_or(ValueError::OomScore)
        };
        Ok([score(primary)?, score(replica)?, score(child)?])
    }
    fn print(&self, value: &[i64; 3]) -> Vec<u8> {
        join(value, i64::to_string).into_bytes()
    }
    fn lines(&self, value: &[i64; 3], default: &[i64; 3]) -> Lines {
        one_line(join(value, i64::to_string), value != default)
    }
    fn describe(&self) -> String {
        "three integers, -2000 to 2000".into()
    }
}

/// `latency-tracking-info-percentiles`.
pub struct Percentiles;

impl Kind<Vec<f64>> for Percentiles {
    fn parse(&self, args: &[&[u8]], _: &Vec<f64>, _: Stage) -> Result<Vec<f64>, ValueError> {
        let percentile = |arg: &&[u8]| {
            let value: f64 = text_of(arg)
                .and_then(|text| text.parse().ok())
                .ok_or(ValueError::Percentile)?;
            match value {
                value if value.is_nan() => Err(ValueError::Percentile),
                0.0..=100.0 => Ok(value),
                _ => Err(ValueError::PercentileRange),
            }
        };
        args.iter().map(percentile).collect()
    }
    fn print(&self, value: &Vec<f64>) -> Vec<u8> {
        join(value, f64::to_string).into_bytes()
    }
    fn lines(&self, value: &Vec<f64>, _: &Vec<f64>) -> Lines {
        one_line(
            if value.is_empty() {
                "\"\"".into()
            } else {
                join(value, f64::to_string)
            },
            true,
        )
    }
    fn describe(&self) -> String {
        "percentiles, 0 to 100, or \"\" for none".into()
    }
}

/// `bind`: at most 16 addresses; a leading `-` makes one optional.
pub struct Addresses;

impl Kind<Vec<Vec<u8>>> for Addresses {
    fn parse(
        &self,
        args: &[&[u8]],
        _: &Vec<Vec<u8>>,
        _: Stage,
    ) -> Result<Vec<Vec<u8>>, ValueError> {
        if args.len() > 16 {
            return Err(ValueError::TooManyAddresses);
        }
        Ok(args.iter().map(|arg| arg.to_vec()).collect())
    }
    fn print(&self, value: &Vec<Vec<u8>>) -> Vec<u8> {
        value.join(&b' ')
    }
    fn lines(&self, value: &Vec<Vec<u8>>, default: &Vec<Vec<u8>>) -> Lines {
        if value == default {
            return Lines::Drop;
        }
        let text = String::from_utf8_lossy(&value.join(&b' ')).into_owned();
        one_line(
            if value.is_empty() {
                "\"\"".into()
            } else {
                text
            },
            true,
        )
    }
    fn describe(&self) -> String {
        "up to 16 addresses".into()
    }
}

/// The primary to follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Primary {
    pub host: Vec<u8>,
    pub port: u16,
}

/// `replicaof host port`, or `no one`.
pub struct HostPort;

impl Kind<Option<Primary>> for HostPort {
    fn parse(
        &self,
        args: &[&[u8]],
        _: &Option<Primary>,
        stage: Stage,
    ) -> Result<Option<Primary>, ValueError> {
        if args.is_empty() && stage == Stage::Runtime {
            return Ok(None); // as it prints
        }
        let [host, port] = args else {
            return Err(ValueError::ArgCount);
        };
        if host.eq_ignore_ascii_case(b"no") && port.eq_ignore_ascii_case(b"one") {
            return Ok(None);
        }
        let port = parse_c_integer(port)
            .and_then(|port| u16::try_from(port).ok())
            .ok_or(ValueError::MasterPort)?;
        Ok((!host.is_empty()).then(|| Primary {
            host: host.to_vec(),
            port,
        }))
    }
    fn print(&self, value: &Option<Primary>) -> Vec<u8> {
        match value {
            Some(primary) => [&primary.host[..], format!(" {}", primary.port).as_bytes()].concat(),
            None => Vec::new(),
        }
    }
    fn lines(&self, value: &Option<Primary>, _: &Option<Primary>) -> Lines {
        match value {
            Some(primary) => one_line(
                format!(
                    "{} {}",
                    String::from_utf8_lossy(&primary.host),
                    primary.port
                ),
                true,
            ),
            None => Lines::Drop,
        }
    }
    fn describe(&self) -> String {
        "host and port, or no one".into()
    }
}

/// Whether `locale` is one of those that sort by bytes or code points, which are all we have.
pub(super) fn check_locale(locale: &[u8]) -> Result<(), ValueError> {
    match locale {
        b"" | b"C" | b"POSIX" | b"C.UTF-8" | b"C.utf8" => Ok(()),
        _ => Err(ValueError::Locale),
    }
}

/// Signs that are not allowed in a node's name for people.
const NODENAME_FORBIDDEN: &[u8] = b"!#$%&()*+:;<>?@[]^{|}~\0";

pub(super) fn check_nodename(name: &[u8]) -> Result<(), ValueError> {
    match name.iter().any(|byte| NODENAME_FORBIDDEN.contains(byte)) {
        true => Err(ValueError::Nodename),
        false => Ok(()),
    }
}

pub(super) fn check_hostname(name: &[u8]) -> Result<(), ValueError> {
    if name.len() >= 256 {
        return Err(ValueError::HostnameLen);
    }
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    if name.iter().all(allowed) {
        Ok(())
    } else {
        Err(ValueError::Hostname)
    }
}

/// A template must use known variables only and print something even while the title is empty.
pub(super) fn check_title_template(template: &[u8]) -> Result<(), ValueError> {
    let mut prints = false;
    let mut rest = template;
    while let Some((&byte, tail)) = rest.split_first() {
        rest = tail;
        if byte != b'{' {
            prints |= !byte.is_ascii_whitespace();
            continue;
        }
        if let Some(literal) = tail.strip_prefix(b"{") {
            (prints, rest) = (true, literal);
            continue;
        }
        let end = tail
            .iter()
            .position(|byte| *byte == b'}')
            .ok_or(ValueError::TitleTemplate)?;
        match &tail[..end] {
            b"title" | b"unixsocket" => {}
            b"listen-addr" | b"server-mode" | b"port" | b"tls-port" | b"config-file" => {
                prints = true
            }
            _ => return Err(ValueError::TitleTemplate),
        }
        rest = &tail[end + 1..];
    }
    if prints {
        Ok(())
    } else {
        Err(ValueError::TitleTemplate)
    }
}

pub(super) fn check_dbfilename(name: &[u8]) -> Result<(), ValueError> {
    check_not_path(name, "dbfilename", "filename")
}

pub(super) fn check_appendfilename(name: &[u8]) -> Result<(), ValueError> {
    check_not_empty(name, "appendfilename")?;
    check_not_path(name, "appendfilename", "filename")
}

pub(super) fn check_appenddirname(name: &[u8]) -> Result<(), ValueError> {
    check_not_empty(name, "appenddirname")?;
    check_not_path(name, "appenddirname", "dirname")
}

fn check_not_empty(name: &[u8], param: &'static str) -> Result<(), ValueError> {
    if name.is_empty() {
        Err(ValueError::IsEmpty(param))
    } else {
        Ok(())
    }
}

fn check_not_path(name: &[u8], param: &'static str, what: &'static str) -> Result<(), ValueError> {
    let is_path = name.iter().any(|byte| matches!(byte, b'/' | b'\\'));
    if is_path {
        Err(ValueError::IsPath(param, what))
    } else {
        Ok(())
    }
}

/// An integer as C's `strtoll` takes it: a sign may lead, an overflow saturates.
fn parse_c_integer(bytes: &[u8]) -> Option<i64> {
    use std::num::IntErrorKind::{NegOverflow, PosOverflow};
    match text_of(bytes)?.parse() {
        Ok(value) => Some(value),
        Err(error) => match error.kind() {
            PosOverflow => Some(i64::MAX),
            NegOverflow => Some(i64::MIN),
            _ => None,
        },
    }
}

fn join<T>(values: &[T], print: impl Fn(&T) -> String) -> String {
    values.iter().map(print).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn event_letters_print_in_one_order() {
        for (letters, want) in [
            ("KEA", "AKE"),
            ("Eg", "gE"),
            ("$lshzxetd", "$lshzxetd"),
            ("g$lshzxetd", "A"),
            ("KEAn", "AKE"),
            ("nm", "nm"),
            ("mKA", "AKm"),
            ("", ""),
        ] {
            assert_eq!(
                KeyspaceEvents::parse(letters.as_bytes())
                    .unwrap()
                    .to_string(),
                want
            );
        }
        assert_eq!(
            KeyspaceEvents::parse(b"K A"),
            Err(ValueError::KeyspaceEvents)
        );
    }

    #[test]
    fn a_file_adds_save_rules_and_a_client_replaces_them() {
        let old = vec![SaveRule {
            seconds: 900,
            changes: 1,
        }];
        let parse = |stage| SaveRules.print(&SaveRules.parse(&[b"60", b"0"], &old, stage).unwrap());
        assert_eq!(parse(Stage::Runtime), b"60 0");
        assert_eq!(parse(Stage::Startup { first: true }), b"60 0");
        assert_eq!(parse(Stage::Startup { first: false }), b"900 1 60 0");
        for bad in [
            &[&b"60"[..]][..],
            &[b"0", b"1"],
            &[b"60", b"-1"],
            &[b"60", b"1x"],
            &[b"", b"60"],
        ] {
            assert_eq!(
                SaveRules.parse(bad, &old, Stage::Runtime),
                Err(ValueError::Save)
            );
        }
    }

    #[test]
    fn title_templates_name_known_variables() {
        for (template, good) in [
            ("{title} {listen-addr}", true),
            ("{title}", false),
            ("{x}", false),
            ("{title", false),
            ("", false),
            ("mine", true),
        ] {
            assert_eq!(
                check_title_template(template.as_bytes()).is_ok(),
                good,
                "{template}"
            );
        }
    }
}
