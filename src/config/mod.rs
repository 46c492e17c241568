//! Stand-in.
use std::collections::BTreeMap;
#[derive(Clone, Debug)]
pub struct Config {
    values: BTreeMap<String, String>,
    pub databases: i64,
    pub requirepass: Vec<u8>,
    pub maxclients: i64,
    pub protected_mode: bool,
    pub client_query_buffer_limit: i64,
    pub proto_max_bulk_len: i64,
    pub slowlog_log_slower_than: i64,
    pub slowlog_max_len: i64,
    pub latency_monitor_threshold: i64,
    pub hz: i64,
    pub activerehashing: bool,
    pub active_expire_effort: i64,
    pub timeout: i64,
    pub enable_debug_command: Local,
}
#[derive(Clone, Debug)]
pub struct Local;
impl Local {
    pub fn allows(&self, l: bool) -> bool {
        l
    }
}
impl Config {
    pub fn log_level(&self) -> crate::border::LogLevel {
        crate::border::LogLevel::Notice
    }
    pub fn notifies(&self, _: char) -> bool {
        false
    }
    pub fn get(&self, name: &str) -> Option<String> {
        self.values.get(name).cloned()
    }
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.values.insert(name.to_owned(), value.to_owned());
        Ok(())
    }
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.values.clone().into_iter().collect()
    }
    pub fn rewrite(&self, before: &str) -> String {
        before.to_owned()
    }
    pub fn load(&mut self, text: &str) -> Result<(), String> {
        for line in text
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with('#'))
        {
            let (name, value) = line.split_once(' ').unwrap_or((line, ""));
            self.set(name, value.trim().trim_matches('"').trim_matches('\''))?;
        }
        Ok(())
    }
}
impl Default for Config {
    fn default() -> Config {
        let values = [
            ("bind", "* -::*"),
            ("port", "6379"),
            ("unixsocket", ""),
            ("unixsocketperm", "0"),
            ("tcp-backlog", "511"),
            ("tcp-keepalive", "300"),
            ("maxclients", "10000"),
            ("daemonize", "no"),
            ("supervised", "no"),
            ("pidfile", ""),
            ("logfile", ""),
            ("loglevel", "notice"),
            ("dir", "."),
            ("always-show-logo", "no"),
        ];
        Config {
            values: values
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            databases: 16,
            requirepass: vec![],
            maxclients: 10000,
            protected_mode: true,
            client_query_buffer_limit: 1 << 30,
            proto_max_bulk_len: 512 << 20,
            slowlog_log_slower_than: 10000,
            slowlog_max_len: 128,
            latency_monitor_threshold: 0,
            hz: 10,
            activerehashing: true,
            active_expire_effort: 1,
            timeout: 0,
            enable_debug_command: Local,
        }
    }
}
