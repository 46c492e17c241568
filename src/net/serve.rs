//! The server's life around the loop: options, configuration, start, the end, and a crash.

use super::driver::Driver;
use super::listen::{self, ListenSocket, Listener, Opened};
use super::look::{self, Witness};
use super::settings::{self, Listening};
use super::shell::Shell;
use super::supervisor::Supervisor;
use super::{crash, log as server_log, recording};
use crate::acl;
use crate::border::Boot;
use crate::command::Registry;
use crate::config::{self, Config, Host, Loaded, REDIS_VERSION};
use crate::disk;
use crate::disk::files::path_of;
use crate::engine::Engine;
use crate::journal::Header;
use crate::os::process::Side;
use crate::os::{plain, process, system, trap};
use log::{error, info, warn};
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};

/// Runs the server; returns the exit code.
pub fn serve(loaded: Loaded) -> i32 {
    let config_file = loaded
        .file
        .as_deref()
        .map(|path| String::from_utf8_lossy(path).into_owned());
    if let Err(text) = check_paths(&loaded) {
        return fatal(&text);
    }
    let config = &loaded.config;
    let supervisor = Supervisor::find(config.supervised);
    let is_background = config.daemonize && !supervisor.is_there();
    let mut parent = None;
    if is_background {
        match process::daemonize() {
            Ok(Side::Background(told)) => parent = Some(told),
            Ok(Side::Foreground(outcome)) => {
                return match outcome {
                    Ok(()) => 0,
                    Err(text) => {
                        eprintln!("{text}");
                        1
                    }
                };
            }
            Err(error) => {
                eprintln!("Going to the background failed: {}", plain(&error));
                return 1;
            }
        }
    }
    server_log::init(settings::logfile(config), settings::log_level(config));
    if config.syslog_enabled {
        let ident = String::from_utf8_lossy(&config.syslog_ident);
        server_log::use_syslog(&ident, config.syslog_facility);
    }
    if let Err(error) = crash::attend() {
        warn!("Crashes leave no report: {}", plain(&error));
    }
    say_start(&loaded, &supervisor);
    server_log::set_started();
    #[cfg(target_os = "linux")]
    if loaded.config.disable_thp
        && let Err(error) = process::disable_huge_pages()
    {
        warn!("Huge pages stay on: {}", plain(&error));
    }
    if let Err(why) = system::pin_to_cpus(&loaded.config.server_cpulist) {
        warn!("server-cpulist has no effect: {why}");
    }
    let started = start(loaded, config_file, is_background, supervisor);
    if let Some(parent) = parent {
        parent.tell(started.as_ref().map(|_| ()).map_err(String::as_str));
    }
    match started {
        Ok(server) => {
            // What has to be in order at the end is so when `run` is back. The system takes memory, files and sockets
            // back at once, and faster than a walk through all the data does.
            let mut server = ManuallyDrop::new(server);
            server.run()
        }
        Err(text) => {
            for line in text.lines() {
                warn!("{line}");
            }
            1
        }
    }
}

/// The first lines of the log.
fn say_start(loaded: &Loaded, supervisor: &Supervisor) {
    if loaded.reads_stdin {
        info!("Reading config from stdin");
    }
    supervisor.say();
    info!("oO0OoO0OoO0Oo Retrace is starting oO0OoO0OoO0Oo");
    info!(
        "Retrace version={}, bits={}, pid={}, just started",
        env!("CARGO_PKG_VERSION"),
        usize::BITS,
        std::process::id()
    );
    if loaded.is_configured {
        info!("Configuration loaded");
    } else {
        warn!(
            "Warning: no config file specified, using the default config. In order to specify a config file use retrace /path/to/retrace.conf"
        );
    }
    let in_vain = loaded.config.set_in_vain();
    if !in_vain.is_empty() {
        info!(
            "Configured, but without effect in this server: {}",
            in_vain.join(", ")
        );
    }
}

/// Reads the command line and the files that it names; an error is what to print before the end.
pub fn read_command_line(args: &[Vec<u8>]) -> Result<config::Command, String> {
    let registry = Registry::new(&[])?;
    // Names are told from where the server is started, whatever folder it goes to.
    let from = std::env::current_dir().unwrap_or_default();
    let mut host = Host {
        read: &mut disk::read_config_text,
        stdin: &mut || {
            let mut text = Vec::new();
            let read = io::stdin().read_to_end(&mut text);
            read.map(|_| text).map_err(|error| plain(&error))
        },
        enter_dir: &mut disk::change_dir,
        is_command: &|name| registry.by_name(name).is_some(),
        check_user: &|words| acl::file::check_declaration(words, registry.catalogue()),
    };
    let mut command = config::load(args, &mut host).map_err(|error| error.to_string())?;
    if let config::Command::Run(loaded) = &mut command
        && let Some(file) = &mut loaded.file
    {
        let path = from.join(disk::files::path_of(file));
        *file = path.into_os_string().into_encoded_bytes();
    }
    Ok(command)
}

/// The layout of every error in the configuration, for standard error.
fn fatal(text: &str) -> i32 {
    eprintln!("\n*** FATAL CONFIG FILE ERROR (Redis {REDIS_VERSION}) ***\n{text}");
    1
}

/// Opens the log file once, to fail early, and looks whether the files that are written are different ones.
fn check_paths(loaded: &Loaded) -> Result<(), String> {
    recording::check_names(loaded)?;
    if let Some(path) = settings::logfile(&loaded.config) {
        let opened = OpenOptions::new().create(true).append(true).open(path);
        opened.map_err(|error| format!("Can't open the log file: {}", plain(&error)))?;
    }
    Ok(())
}

/// A server that is ready to run, and what it leaves behind in the file system.
pub(super) struct Server {
    shell: Shell,
    pidfile: Option<PathBuf>,
    is_background: bool,
    port: u16,
    port_file: Option<PathBuf>,
    names_port: bool,
    supervisor: Supervisor,
}

/// Opens and builds everything; an error is the line that the log ends with.
fn start(
    mut loaded: Loaded,
    config_file: Option<String>,
    is_background: bool,
    supervisor: Supervisor,
) -> Result<Server, String> {
    let port_file = loaded.options.port_file.as_deref().map(path_of);
    if let Some(path) = &port_file {
        disk::clear_port_file(path)
            .map_err(|why| format!("Can't use the port file {}: {why}", path.display()))?;
    }
    let config = &mut loaded.config;
    let limit = process::raise_file_limit(settings::max_clients(config))?;
    for (is_warning, line) in &limit.lines {
        if *is_warning {
            warn!("{line}");
        } else {
            info!("{line}");
        }
    }
    config.maxclients = limit.max_clients as i64;
    let default_pidfile = is_background.then(|| PathBuf::from("/var/run/redis.pid"));
    let pidfile = settings::pidfile(config).or(default_pidfile);
    if let Some(path) = &pidfile
        && let Err(error) = disk::write_pidfile(path)
    {
        warn!("Failed to write PID file: {}", plain(&error));
    }

    let mut wanted = Listening::of(config);
    wanted.auto_port = loaded.options.port_auto;
    let mut warnings = Vec::new();
    let opened = listen::open(&wanted, &mut Vec::new(), &mut warnings);
    let port = opened.as_ref().map_or(wanted.port, |opened| opened.port);
    print_banner(config, port);
    warn_about_backlog(wanted.backlog);
    let opened = opened.map_err(|error| {
        pidfile.as_deref().into_iter().for_each(disk::remove);
        warnings.push(error.to_string());
        warnings.join("\n")
    })?;
    for warning in &warnings {
        warn!("{warning}");
    }
    config.port = i64::from(port);
    let (port, names_port) = (opened.port, loaded.options.port_auto);
    let shell = start_engine(loaded, config_file, opened)?;
    let server = Server {
        shell,
        pidfile,
        is_background,
        port,
        port_file,
        names_port,
        supervisor,
    };
    if let Some(path) = &server.port_file {
        disk::write_port_file(path, port).map_err(|error| {
            format!(
                "Can't write the port file {}: {}",
                path.display(),
                plain(&error)
            )
        })?;
    }
    Ok(server)
}

fn start_engine(
    loaded: Loaded,
    config_file: Option<String>,
    opened: Opened,
) -> Result<Shell, String> {
    let options = &loaded.options;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let acl_file = read_acl_file(&loaded)?;
    let boot = Boot {
        config: loaded.config,
        config_file,
        rename_commands: loaded
            .renames
            .iter()
            .map(|(old, new)| (text(old), text(new)))
            .collect(),
        users: loaded.users,
        acl_file,
        secret: options
            .seed
            .map_or_else(process::random_secret, |seed| Ok(secret_of(seed)))?,
        seed: options.seed.unwrap_or_else(process::random_seed),
        now: process::clock(),
        pid: std::process::id(),
        executable: std::env::current_exe()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        os: process::os(),
        is_recorded: options.record.is_some(),
        replaying: false,
    };
    let header = Header::of(&boot);
    // What the engine refuses to start with needs no recording.
    let engine = Engine::new(boot)?;
    let recorder = match options.record.as_deref().map(path_of) {
        None => None,
        Some(path) => Some(recording::begin(&path, &header)?),
    };
    let mut shell = Shell::new(Driver::new(engine, recorder), opened.listeners)
        .map_err(|error| format!("Can't start the poll loop: {}", plain(&error)))?;
    if options.port_auto {
        shell.set_auto_port(opened.port);
    }
    info!("Server initialized");
    Ok(shell)
}

/// A run that repeats another one's chance makes the same passwords.
fn secret_of(seed: u64) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&seed.to_le_bytes());
    secret
}

/// The text of the ACL file, if one is configured. Users in the configuration rule it out, and the engine says so.
fn read_acl_file(loaded: &Loaded) -> Result<Option<Vec<u8>>, String> {
    let path = &loaded.config.aclfile;
    if path.is_empty() {
        return Ok(None);
    }
    if !loaded.users.is_empty() {
        return Ok(Some(Vec::new()));
    }
    let text = disk::read_acl_file(path).map_err(|why| {
        format!(
            "Aborting Redis startup because of ACL errors: Error loading ACLs, opening file '{}': {why}",
            String::from_utf8_lossy(path)
        )
    })?;
    Ok(Some(text))
}

impl Server {
    fn run(&mut self) -> i32 {
        let ended = panic::catch_unwind(AssertUnwindSafe(|| {
            look::shown(self, |server| server.serve_clients())
        }));
        match ended {
            Ok(ended) => {
                let code = ended.unwrap_or_else(|error| {
                    error!("The poll loop failed: {}", plain(&error));
                    1
                });
                self.clean_up();
                code
            }
            Err(_) => {
                let exits = self.shell.driver().engine().config().use_exit_on_panic;
                self.end_at_once();
                self.remove_files();
                crash::tell_rest(self);
                if exits {
                    return 1;
                }
                // It is told already.
                trap::set_reports(false);
                std::process::abort()
            }
        }
    }

    /// From loading to the end; the exit code.
    fn serve_clients(&mut self) -> io::Result<i32> {
        let (port, names_port) = (self.port, self.names_port);
        let supervisor = self.supervisor;
        self.shell.set_on_ready(Box::new(move |listeners| {
            say_ready(listeners, port, names_port);
            supervisor.tell("STATUS=Ready to accept connections\n");
            supervisor.tell("READY=1\n");
        }));
        self.shell
            .set_on_stop(Box::new(move || supervisor.tell("STOPPING=1\n")));
        self.shell.run()
    }

    /// Brings what is left to its end, and removes what is not to be left behind.
    fn clean_up(&mut self) {
        if let Some(error) = self.shell.driver().flush_journal() {
            error!("The journal cannot be written: {}", plain(&error));
        }
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
        self.remove_port_file();
    }
}

impl Server {
    /// Nobody is to look for a server where there is none, but where another one has written meanwhile, it may be.
    fn remove_port_file(&self) {
        if let Some(path) = &self.port_file {
            disk::remove_port_file(path, self.port);
        }
    }
}

impl Witness for Server {
    fn end_at_once(&mut self) {
        if let Some(error) = self.shell.driver().flush_journal() {
            server_log::urgent(&format!("The journal cannot be written: {}", plain(&error)));
        }
        self.remove_port_file();
    }

    fn remove_files(&mut self) {
        self.shell
            .listeners()
            .iter()
            .filter_map(|listener| listener.path())
            .for_each(disk::remove);
        if let Some(path) = self.pidfile.as_ref().filter(|_| self.is_background) {
            disk::remove(path);
        }
    }

    fn driver(&mut self) -> &mut Driver {
        self.shell.driver()
    }
}

/// Says in the log that clients are served now.
fn say_ready(listeners: &[Listener], port: u16, names_port: bool) {
    if listeners
        .iter()
        .any(|listener| matches!(listener.socket, ListenSocket::Tcp { .. }))
    {
        match names_port {
            true => info!("Ready to accept connections tcp port={port}"),
            false => info!("Ready to accept connections tcp"),
        }
    }
    if listeners.iter().any(|listener| listener.path().is_some()) {
        info!("Ready to accept connections unix");
    }
}

/// The logo, or one line where nobody looks at it.
fn print_banner(config: &Config, port: u16) {
    use std::io::IsTerminal;
    let is_watched = settings::logfile(config).is_none() && io::stdout().is_terminal();
    if !is_watched && !config.always_show_logo {
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
