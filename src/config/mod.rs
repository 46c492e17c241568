#[derive(Clone, Debug)]
pub struct Config {
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
}
