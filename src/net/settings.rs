//! What the shell reads from the configuration, all in one place.

use crate::border::LogLevel;
use crate::config::Config;
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
    pub unix_socket: Option<PathBuf>,
    /// 0 leaves what the umask gives.
    pub unix_socket_mode: u32,
}

impl Listening {
    pub fn of(config: &Config) -> Listening {
        Listening {
            bind: text(config, "bind")
                .split_ascii_whitespace()
                .map(str::to_owned)
                .collect(),
            port: number(config, "port"),
            auto_port: false,
            backlog: number(config, "tcp-backlog"),
            unix_socket: path(config, "unixsocket"),
            unix_socket_mode: u32::from_str_radix(&text(config, "unixsocketperm"), 8).unwrap_or(0),
        }
    }
}

/// Seconds between keep-alive probes; 0 for none.
pub fn keepalive_s(config: &Config) -> u32 {
    number(config, "tcp-keepalive")
}

pub fn max_clients(config: &Config) -> usize {
    number(config, "maxclients")
}

pub fn daemonize(config: &Config) -> bool {
    text(config, "daemonize") == "yes"
}

pub fn always_show_logo(config: &Config) -> bool {
    text(config, "always-show-logo") == "yes"
}

pub fn pidfile(config: &Config) -> Option<PathBuf> {
    path(config, "pidfile")
}

pub fn logfile(config: &Config) -> Option<PathBuf> {
    path(config, "logfile")
}

pub fn dir(config: &Config) -> Option<PathBuf> {
    path(config, "dir")
}

/// What is loud enough to be logged; none for `nothing`.
pub fn log_level(config: &Config) -> Option<LogLevel> {
    match text(config, "loglevel").as_str() {
        "debug" => Some(LogLevel::Debug),
        "verbose" => Some(LogLevel::Verbose),
        "warning" => Some(LogLevel::Warning),
        "nothing" => None,
        _ => Some(LogLevel::Notice),
    }
}

/// Who started the server and wants to hear that it is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Supervisor {
    None,
    Upstart,
    Systemd,
    Auto,
}

pub fn supervisor(config: &Config) -> Supervisor {
    match text(config, "supervised").as_str() {
        "upstart" => Supervisor::Upstart,
        "systemd" => Supervisor::Systemd,
        "auto" => Supervisor::Auto,
        _ => Supervisor::None,
    }
}

fn text(config: &Config, name: &str) -> String {
    config.get(name).unwrap_or_default()
}

fn number<N: std::str::FromStr + Default>(config: &Config, name: &str) -> N {
    text(config, name).parse().unwrap_or_default()
}

fn path(config: &Config, name: &str) -> Option<PathBuf> {
    Some(text(config, name))
        .filter(|text| !text.is_empty())
        .map(PathBuf::from)
}
