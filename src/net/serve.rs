//! The server's life around the loop: options, configuration, start, the end, and a crash.

use super::driver::Driver;
use super::listen::{self, ListenSocket, Opened, plain};
use super::settings::{self, Listening, Supervisor};
use super::shell::Shell;
use super::{log as server_log, process};
use crate::border::Boot;
use crate::config::Config;
use crate::disk;
use crate::engine::Engine;
use crate::journal::{Header, Recorder};
use log::{error, info, warn};
use std::backtrace::Backtrace;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// What the command line asks for beside the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// The configuration goes on at standard input (`-`).
    pub reads_stdin: bool,
    /// Directives of the command line as the lines of a configuration file.
    pub directives: String,
    pub auto_port: bool,
    pub port_file: Option<PathBuf>,
    pub record: Option<PathBuf>,
    pub seed: Option<u64>,
}

impl Options {
    /// Reads `[FILE] [--directive value ...] [-]`.
    pub fn parse(args: &[String]) -> Result<Options, String> {
        let mut options = Options::default();
        let mut args = args.iter().peekable();
        if let Some(file) = args.next_if(|arg| !arg.starts_with('-')) {
            options.file = Some(PathBuf::from(file));
        }
        while let Some(arg) = args.next() {
            if arg == "-" {
                options.reads_stdin = true;
                continue;
            }
            let Some(name) = arg.strip_prefix("--") else {
                return Err(format!(
                    "'{arg}' is not an option; a directive starts with --"
                ));
            };
            let mut own = |name: &str| {
                args.next()
                    .cloned()
                    .ok_or_else(|| format!("--{name} needs a value"))
            };
            match name {
                "port-file" => options.port_file = Some(own(name)?.into()),
                "record" => options.record = Some(own(name)?.into()),
                "seed" => {
                    let text = own(name)?;
                    options.seed = Some(
                        text.parse()
                            .map_err(|_| format!("--seed takes a number, not '{text}'"))?,
                    );
                }
                "port" if args.peek().is_some_and(|value| *value == "auto") => {
                    args.next();
                    options.auto_port = true;
                }
                _ => {
                    options.directives.push_str(name);
                    // A value may start with one dash (a number), even be a lone one only at the very end.
                    while let Some(value) =
                        args.next_if(|value| !value.starts_with("--") && *value != "-")
                    {
                        options.directives.push(' ');
                        quote(value, &mut options.directives);
                    }
                    options.directives.push('\n');
                }
            }
        }
        Ok(options)
    }
}

/// Puts a value between quotes, so that the configuration's parser reads back what was given.
fn quote(value: &str, into: &mut String) {
    into.push('"');
    for char in value.chars() {
        match char {
            '"' | '\\' => into.extend(['\\', char]),
            '\n' => into.push_str("\\n"),
            '\r' => into.push_str("\\r"),
            '\t' => into.push_str("\\t"),
            _ => into.push(char),
        }
    }
    into.push('"');
}

/// Runs the server; returns the exit code.
pub fn serve(options: &Options) -> i32 {
    let (mut config, loaded_file) = match load_config(options) {
        Ok(loaded) => loaded,
        Err(text) => {
            eprintln!(
                "\n*** FATAL CONFIG FILE ERROR (Retrace {}) ***\n{text}",
                env!("CARGO_PKG_VERSION")
            );
            return 1;
        }
    };
    let supervisor = settings::supervisor(&config);
    let is_background = settings::daemonize(&config) && supervisor == Supervisor::None;
    if is_background {
        match process::daemonize() {
            Ok(true) => {}
            Ok(false) => return 0,
            Err(error) => {
                eprintln!("Going to the background failed: {}", plain(&error));
                return 1;
            }
        }
    }
    server_log::init(settings::logfile(&config), settings::log_level(&config));
    install_panic_hook();
    info!("oO0OoO0OoO0Oo Retrace is starting oO0OoO0OoO0Oo");
    info!(
        "Retrace version={}, bits={}, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        usize::BITS,
        std::process::id()
    );
    if loaded_file.is_some()
        || !options.directives.is_empty()
        || options.reads_stdin
        || options.auto_port
    {
        info!("Configuration loaded");
    } else {
        warn!(
            "Warning: no config file specified, using the default config. In order to specify a config file use retrace /path/to/retrace.conf"
        );
    }
    server_log::set_started();
    match start(options, &mut config, loaded_file, is_background) {
        Ok(mut server) => server.run(supervisor),
        Err(text) => {
            warn!("{text}");
            1
        }
    }
}

/// Defaults, then the file, then standard input, then the command line; later ones win.
fn load_config(options: &Options) -> Result<(Config, Option<String>), String> {
    let mut text = String::new();
    let mut loaded_file = None;
    if let Some(file) = &options.file {
        let whole = std::path::absolute(file).unwrap_or_else(|_| file.clone());
        text = std::fs::read_to_string(&whole).map_err(|error| {
            format!(
                "Can't open config file '{}': {}",
                file.display(),
                plain(&error)
            )
        })?;
        loaded_file = Some(whole.to_string_lossy().into_owned());
    }
    if options.reads_stdin {
        text.push('\n');
        io::stdin()
            .read_to_string(&mut text)
            .map_err(|error| format!("standard input: {}", plain(&error)))?;
    }
    text.push('\n');
    text.push_str(&options.directives);
    let mut config = Config::default();
    config.load(&text)?;
    if let Some(path) = settings::logfile(&config) {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| format!("Can't open the log file: {}", plain(&error)))?;
    }
    if let Some(dir) = settings::dir(&config) {
        let chdir = std::env::set_current_dir(&dir);
        chdir.map_err(|error| format!("Can't chdir to '{}': {}", dir.display(), plain(&error)))?;
    }
    if let Ok(dir) = std::env::current_dir() {
        config.set("dir", &dir.to_string_lossy())?; // the engine cannot ask where it stands
    }
    Ok((config, loaded_file))
}

/// A server that is ready to run, and what it leaves behind in the file system.
struct Server {
    shell: Shell,
    pidfile: Option<PathBuf>,
    port: u16,
    port_file: Option<PathBuf>,
    names_port: bool,
}

/// Opens and builds everything; an error is the line that the log ends with.
fn start(
    options: &Options,
    config: &mut Config,
    loaded_file: Option<String>,
    is_background: bool,
) -> Result<Server, String> {
    let limit = process::raise_file_limit(settings::max_clients(config))?;
    for (is_warning, line) in &limit.lines {
        if *is_warning {
            warn!("{line}");
        } else {
            info!("{line}");
        }
    }
    config.set("maxclients", &limit.max_clients.to_string())?;
    let default_pidfile = is_background.then(|| PathBuf::from("/var/run/redis.pid"));
    let pidfile = settings::pidfile(config).or(default_pidfile);
    if let Some(path) = &pidfile
        && let Err(error) = disk::write_pidfile(path)
    {
        warn!("Failed to write PID file: {}", plain(&error));
    }

    let mut wanted = Listening::of(config);
    wanted.auto_port = options.auto_port;
    let mut warnings = Vec::new();
    let opened = listen::open(&wanted, &mut Vec::new(), &mut warnings);
    let port = opened.as_ref().map_or(wanted.port, |opened| opened.port);
    print_banner(config, port);
    for warning in &warnings {
        warn!("{warning}");
    }
    warn_about_backlog(wanted.backlog);
    let opened = opened.map_err(|error| {
        pidfile.as_deref().into_iter().for_each(disk::remove);
        error.to_string()
    })?;
    config.set("port", &port.to_string())?;
    start_engine(options, config.clone(), loaded_file, opened, pidfile)
}

fn start_engine(
    options: &Options,
    config: Config,
    loaded_file: Option<String>,
    opened: Opened,
    pidfile: Option<PathBuf>,
) -> Result<Server, String> {
    let boot = Boot {
        config,
        config_file: loaded_file,
        rename_commands: Vec::new(),
        seed: options.seed.unwrap_or_else(process::random_seed),
        now: process::clock(),
        pid: std::process::id(),
        executable: std::env::current_exe()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        os: process::os(),
        replaying: false,
    };
    let recorder = match &options.record {
        None => None,
        Some(path) => Some(
            File::create(path)
                .and_then(|file| Recorder::start(Box::new(file), &Header::of(&boot)))
                .map_err(|error| {
                    format!("Can't record to {}: {}", path.display(), plain(&error))
                })?,
        ),
    };
    let engine = Engine::new(boot)?;
    let shell = Shell::new(Driver::new(engine, recorder), opened.listeners)
        .map_err(|error| format!("Can't start the poll loop: {}", plain(&error)))?;
    info!("Server initialized");
    Ok(Server {
        shell,
        pidfile,
        port: opened.port,
        port_file: options.port_file.clone(),
        names_port: options.auto_port,
    })
}

impl Server {
    fn run(&mut self, supervisor: Supervisor) -> i32 {
        if let Some(path) = &self.port_file
            && let Err(error) = disk::write_port_file(path, self.port)
        {
            warn!(
                "Can't write the port file {}: {}",
                path.display(),
                plain(&error)
            );
            self.clean_up();
            return 1;
        }
        self.say_ready(supervisor);
        let ended = panic::catch_unwind(AssertUnwindSafe(|| self.shell.run()));
        // Also after a panic: the journal then holds the Input that led to it.
        let journal_error =
            panic::catch_unwind(AssertUnwindSafe(|| self.shell.driver().flush_journal()));
        if let Ok(Some(error)) = journal_error {
            error!("The journal cannot be written: {}", plain(&error));
        }
        match ended {
            Ok(Ok(code)) => {
                self.clean_up();
                if code == 0 {
                    warn!("Retrace is now ready to exit, bye bye...");
                }
                code
            }
            Ok(Err(error)) => {
                error!("The poll loop failed: {}", plain(&error));
                self.clean_up();
                1
            }
            Err(_) => {
                self.report_crash();
                std::process::abort()
            }
        }
    }

    fn say_ready(&self, supervisor: Supervisor) {
        let listeners = self.shell.listeners();
        if listeners
            .iter()
            .any(|listener| matches!(listener.socket, ListenSocket::Tcp { .. }))
        {
            match self.names_port {
                true => info!("Ready to accept connections tcp port={}", self.port),
                false => info!("Ready to accept connections tcp"),
            }
        }
        if listeners.iter().any(|listener| listener.path().is_some()) {
            info!("Ready to accept connections unix");
        }
        if matches!(supervisor, Supervisor::Systemd | Supervisor::Auto)
            && let Err(error) =
                process::notify_supervisor("STATUS=Ready to accept connections\nREADY=1\n")
        {
            warn!("The service manager cannot be told: {}", plain(&error));
        }
    }

    fn clean_up(&self) {
        for path in self
            .shell
            .listeners()
            .iter()
            .filter_map(|listener| listener.path())
        {
            info!("Removing the unix socket file.");
            disk::remove(path);
        }
        if let Some(path) = &self.pidfile {
            info!("Removing the pid file.");
            disk::remove(path);
        }
    }

    fn report_crash(&mut self) {
        // The engine may be in any state; a second panic must not hide the first.
        let running = panic::catch_unwind(AssertUnwindSafe(|| {
            self.shell
                .driver()
                .engine()
                .running_command()
                .map(str::to_owned)
        }));
        let command = match running {
            Ok(Some(command)) => command,
            Ok(None) => "none".to_owned(),
            Err(_) => "unknown".to_owned(),
        };
        error!("Command that was running: {command}");
        error!("=== END OF RETRACE CRASH REPORT ===");
        self.shell
            .listeners()
            .iter()
            .filter_map(|listener| listener.path())
            .for_each(disk::remove);
    }
}

/// The first half of a crash report: what happened and where. The second half is written once the stack is unwound.
fn install_panic_hook() {
    panic::set_hook(Box::new(|info| {
        error!("=== RETRACE CRASH REPORT ===");
        error!(
            "Retrace {} on {}: {info}",
            env!("CARGO_PKG_VERSION"),
            process::os()
        );
        server_log::raw(&format!("{}\n", Backtrace::force_capture()));
    }));
}

/// The logo, or one line where nobody looks at it.
fn print_banner(config: &Config, port: u16) {
    use std::io::IsTerminal;
    let is_watched = settings::logfile(config).is_none() && io::stdout().is_terminal();
    if !is_watched && !settings::always_show_logo(config) {
        info!("Running mode=standalone, port={port}.");
        return;
    }
    let (version, bits, pid) = (env!("CARGO_PKG_VERSION"), usize::BITS, std::process::id());
    server_log::raw(&format!(
        "\n   .--->---.\n  /  .-<-.  \\     Retrace {version} {bits} bit\n \
         |  | o-+->|-->  Running in standalone mode\n  \\  '->-'  /     Port: {port}\n   \
         '---<---'      PID: {pid}\n\n"
    ));
}

/// The system caps the queue of clients that wait to be accepted.
fn warn_about_backlog(backlog: i32) {
    let path = Path::new("/proc/sys/net/core/somaxconn");
    let cap = std::fs::read_to_string(path)
        .ok()
        .and_then(|text| text.trim().parse::<i32>().ok());
    if let Some(cap) = cap.filter(|&cap| cap > 0 && cap < backlog) {
        warn!(
            "WARNING: The TCP backlog setting of {backlog} cannot be enforced because {} is set to the lower value \
             of {cap}.",
            path.display()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn the_command_line() {
        let options =
            parse("a.conf --port auto --port-file p --save 900 1 --maxmemory -1 --seed 7 -")
                .expect("right");
        assert_eq!(options.file, Some("a.conf".into()));
        assert_eq!(options.port_file, Some("p".into()));
        assert_eq!(
            (options.auto_port, options.seed, options.reads_stdin),
            (true, Some(7), true)
        );
        assert_eq!(options.directives, "save \"900\" \"1\"\nmaxmemory \"-1\"\n");
        assert_eq!(
            parse("--port 7000").expect("right").directives,
            "port \"7000\"\n"
        );
        for wrong in ["--seed", "--seed x", "--record", "a b"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_quoted() {
        let mut out = String::new();
        quote("a \"b\"\\\n", &mut out);
        assert_eq!(out, r#""a \"b\"\\\n""#);
    }
}
