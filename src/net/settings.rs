//! What the shell reads from the configuration, all in one place.

use crate::border::LogLevel;
use crate::config::{self, Config};
use std::path::PathBuf;

/// Where the server listens and with which socket options.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listening {
    /// As in `bind`: addresses, `*`, `::*`, host names; optional with a `-` in front.
    pub bind: Vec<String>,
    /// 0 for no TCP.
    pub port: u16,
    /// Picks a free port; `port` is then not looked at.
    pub auto_port: bool,
    pub backlog: i32,
    /// `SO_MARK` of TCP sockets; 0 for none.
    pub mark: u32,
    pub unix_socket: Option<PathBuf>,
    /// 0 leaves what the umask gives.
    pub unix_socket_mode: u32,
}

impl Listening {
    pub fn of(config: &Config) -> Listening {
        Listening {
            bind: config
                .bind
                .iter()
                .map(|address| String::from_utf8_lossy(address).into_owned())
                .collect(),
            port: u16::try_from(config.port).unwrap_or(0),
            auto_port: false,
            backlog: i32::try_from(config.tcp_backlog).unwrap_or(511),
            mark: u32::try_from(config.socket_mark_id).unwrap_or(0),
            unix_socket: unix_socket(config),
            unix_socket_mode: u32::try_from(config.unixsocketperm).unwrap_or(0),
        }
    }
}

/// Seconds between keep-alive probes; 0 for none.
pub fn keepalive_s(config: &Config) -> u32 {
    u32::try_from(config.tcp_keepalive).unwrap_or(0)
}

pub fn max_clients(config: &Config) -> usize {
    usize::try_from(config.maxclients).unwrap_or(usize::MAX)
}

/// Clients accepted in one turn of the loop; the others wait for the next.
pub fn accepts_max(config: &Config) -> usize {
    usize::try_from(config.max_new_connections_per_cycle).unwrap_or(1)
}

pub fn pidfile(config: &Config) -> Option<PathBuf> {
    path(&config.pidfile)
}

pub fn unix_socket(config: &Config) -> Option<PathBuf> {
    path(&config.unixsocket)
}

pub fn logfile(config: &Config) -> Option<PathBuf> {
    path(&config.logfile)
}

/// What is loud enough to be logged; none for `nothing`.
pub fn log_level(config: &Config) -> Option<LogLevel> {
    match config.loglevel {
        config::LogLevel::Debug => Some(LogLevel::Debug),
        config::LogLevel::Verbose => Some(LogLevel::Verbose),
        config::LogLevel::Notice => Some(LogLevel::Notice),
        config::LogLevel::Warning => Some(LogLevel::Warning),
        config::LogLevel::Nothing => None,
    }
}

fn path(bytes: &[u8]) -> Option<PathBuf> {
    let text = String::from_utf8_lossy(bytes);
    (!text.is_empty()).then(|| PathBuf::from(text.into_owned()))
}
