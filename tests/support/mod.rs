//! Support: what the tests that run the real binary share.
//!
//! Lives here: servers (ours and a real one to compare with), a raw RESP client, a small random generator. May not:
//! expectations about any command.

#![allow(dead_code, reason = "every test file uses a part of it")]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests stand outside the server, where sockets, files and clocks are"
)]

pub mod durable;
pub mod grammar;
pub mod pair;
pub mod picture;
pub mod rng;
pub mod samples;
pub mod variety;

use std::fmt;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use rng::Rng;

/// How long anything that must happen may take, on the slowest of machines.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The server under test.
pub const RETRACE: &str = env!("CARGO_BIN_EXE_retrace");

/// Asks `ready` until it answers; panics when [`PATIENCE`] is at its end.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ready() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A server process in a folder of its own; ends with it.
pub struct Server {
    pub dir: TempDir,
    child: Child,
    address: Address,
}

/// Where a server listens.
#[derive(Clone, Debug)]
pub enum Address {
    Tcp(u16),
    Unix(PathBuf),
}

impl Server {
    /// Starts Retrace with these arguments on a free port, and returns once it accepts connections.
    pub fn start(args: &[&str]) -> Server {
        Server::start_in(tempfile::tempdir().expect("a folder"), args)
    }

    /// The same in a folder that may hold files already.
    pub fn start_in(dir: TempDir, args: &[&str]) -> Server {
        let port_file = dir.path().join("port");
        let mut command = Command::new(RETRACE);
        command.args(args).args(["--port", "auto", "--port-file"]);
        command.arg(&port_file);
        let mut child = spawn(command, dir.path());
        let port = wait_for("the server's port file", || {
            if let Some(status) = child.try_wait().expect("our child") {
                panic!("the server ended at once: {status}\n{}", log_of(dir.path()));
            }
            fs::read_to_string(&port_file).ok()?.trim().parse().ok()
        });
        Server {
            dir,
            child,
            address: Address::Tcp(port),
        }
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        match self.address {
            Address::Tcp(port) => port,
            Address::Unix(_) => panic!("this server listens on a unix socket"),
        }
    }

    /// A new connection.
    pub fn connect(&self) -> Client {
        Client::connect(&self.address)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Everything that the server has logged.
    pub fn log(&self) -> String {
        log_of(self.dir.path())
    }

    /// A file's path in the server's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id() as i32).expect("a process id");
        kill_process(pid, signal).expect("our child");
    }

    /// Waits until the process has ended by itself.
    pub fn wait_for_end(&mut self) -> ExitStatus {
        wait_for("the server's end", || {
            self.child.try_wait().expect("our child")
        })
    }

    /// SIGTERM, and the clean end that must follow; returns the folder with what the server left.
    pub fn terminate(mut self) -> PathBuf {
        self.signal(Signal::TERM);
        let status = self.wait_for_end();
        assert!(status.success(), "{status}\n{}", self.log());
        self.dir.path().to_owned()
    }

    /// The folder of a server that was told to end, or was killed, once it has ended.
    pub fn into_dir(mut self) -> TempDir {
        self.wait_for_end();
        let _ = fs::remove_file(self.path("port"));
        let empty = tempfile::tempdir().expect("a folder");
        std::mem::replace(&mut self.dir, empty)
    }

    /// Whether the process still runs.
    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().expect("our child").is_none()
    }

    /// Resident memory in bytes.
    /// What it takes of the machine's memory, but for pages of files.
    pub fn own_rss_bytes(&self) -> u64 {
        self.status_bytes("RssAnon:")
    }

    pub fn rss_bytes(&self) -> u64 {
        self.status_bytes("VmRSS:")
    }

    fn status_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find(|line| line.starts_with(name));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        kib.unwrap_or(0) * 1024
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let ended = self.child.try_wait().ok().flatten();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(40).collect();
            eprintln!("--- the server ({ended:?}) last said:");
            for line in tail.iter().rev() {
                eprintln!("{line}");
            }
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(mut command: Command, dir: &Path) -> Child {
    let log = File::create(dir.join("log")).expect("a writable folder");
    command
        .current_dir(dir)
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a file"))
        .stderr(log)
        .spawn()
        .expect("the program starts")
}

fn log_of(dir: &Path) -> String {
    String::from_utf8_lossy(&fs::read(dir.join("log")).unwrap_or_default()).into_owned()
}

/// The folder of a real server's programs, or none.
///
/// `RETRACE_ORACLE` names a `redis-server`; else a set-up script beside the repository, or `PATH`, is asked.
pub fn oracle_dir() -> Option<PathBuf> {
    if let Some(path) = std::env::var_os("RETRACE_ORACLE") {
        return Path::new(&path).parent().map(Path::to_owned);
    }
    let setup = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/tools/oracle");
    if setup.exists()
        && let Ok(output) = Command::new(&setup).stderr(Stdio::inherit()).output()
        && output.status.success()
    {
        let dir = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        return Some(PathBuf::from(dir));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).find(|dir| dir.join("redis-server").is_file())
}

/// A program that comes with a real server, or none after having said so.
pub fn oracle_program(name: &str) -> Option<PathBuf> {
    let found = oracle_dir()
        .map(|dir| dir.join(name))
        .filter(|path| path.is_file());
    if found.is_none() {
        skipped(&format!(
            "no real {name}: set RETRACE_ORACLE to a redis-server's path"
        ));
    }
    found
}

/// Says so loudly, past the test harness that would swallow it.
pub fn skipped(why: &str) {
    let text = format!("SKIPPED: {why}\n");
    let _ = match fs::OpenOptions::new().append(true).open("/dev/stderr") {
        Ok(mut stderr) => stderr.write_all(text.as_bytes()),
        Err(_) => io::stderr().write_all(text.as_bytes()),
    };
}

/// A real server to compare with, on a unix socket; none, loudly, where there is none to be had.
pub fn oracle_server(args: &[&str]) -> Option<Server> {
    real_server_in("redis-server", tempfile::tempdir().expect("a folder"), args)
}

/// A real server of this program in a folder that may hold files already; it may still load them.
pub fn real_server_in(program: &str, dir: TempDir, args: &[&str]) -> Option<Server> {
    let path = oracle_program(program)?;
    let socket = dir.path().join("socket");
    let mut command = Command::new(path);
    if program == "valkey-server" {
        command.args(["--rdb-version-check", "relaxed"]); // else it takes no file of Redis' newer versions
    }
    command.args(["--port", "0", "--save", "", "--unixsocket"]);
    command.arg(&socket).args(args);
    let mut child = spawn(command, dir.path());
    wait_for("the real server's socket", || {
        if let Some(status) = child.try_wait().expect("our child") {
            panic!("{program} ended: {status}\n{}", log_of(dir.path()));
        }
        UnixStream::connect(&socket).ok()
    });
    Some(Server {
        dir,
        child,
        address: Address::Unix(socket),
    })
}

/// One reply.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    Double(String),
    Bool(bool),
    BigNumber(String),
    Verbatim(Vec<u8>),
}

impl Value {
    /// The error line, if it is one.
    pub fn error(&self) -> Option<&str> {
        match self {
            Value::Error(text) => Some(text),
            _ => None,
        }
    }

    /// The text of a string of any kind.
    pub fn text(&self) -> String {
        match self {
            Value::Bulk(bytes) | Value::Verbatim(bytes) => {
                String::from_utf8_lossy(bytes).into_owned()
            }
            Value::Simple(text) | Value::Error(text) => text.clone(),
            other => other.to_string(),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn list(out: &mut fmt::Formatter<'_>, marks: &str, items: &[Value]) -> fmt::Result {
            let (open, close) = marks.split_at(1);
            out.write_str(open)?;
            for (index, item) in items.iter().enumerate() {
                write!(out, "{}{item}", if index > 0 { " " } else { "" })?;
            }
            out.write_str(close)
        }
        match self {
            Value::Null => out.write_str("(nil)"),
            Value::Simple(text) | Value::Double(text) | Value::BigNumber(text) => {
                out.write_str(text)
            }
            Value::Error(text) => write!(out, "-{text}"),
            Value::Int(value) => write!(out, "{value}"),
            Value::Bool(value) => write!(out, "{value}"),
            Value::Bulk(bytes) | Value::Verbatim(bytes) => {
                write!(out, "\"{}\"", bytes.escape_ascii())
            }
            Value::Array(items) => list(out, "[]", items),
            Value::Set(items) => list(out, "{}", items),
            Value::Push(items) => list(out, "<>", items),
            Value::Map(pairs) => {
                let flat: Vec<Value> = pairs
                    .iter()
                    .flat_map(|(k, v)| [k.clone(), v.clone()])
                    .collect();
                list(out, "{}", &flat)
            }
        }
    }
}

/// Reads one reply from the start of `bytes`: it and its length; none while it is not whole.
pub fn parse_reply(bytes: &[u8]) -> Option<(Value, usize)> {
    let line_end = bytes.windows(2).position(|pair| pair == b"\r\n")?;
    let (line, mut at) = (&bytes[1..line_end], line_end + 2);
    let text = String::from_utf8_lossy(line).into_owned();
    let number = || {
        text.parse::<i64>()
            .unwrap_or_else(|_| panic!("no length: {text:?}"))
    };
    let body = |len: i64, at: &mut usize| -> Option<Vec<u8>> {
        let body = bytes.get(*at..*at + len as usize + 2)?;
        assert!(body.ends_with(b"\r\n"), "a bulk without an end");
        *at += body.len();
        Some(body[..len as usize].to_vec())
    };
    let items = |count: i64, at: &mut usize| -> Option<Vec<Value>> {
        let mut items = Vec::new();
        for _ in 0..count {
            let (item, len) = parse_reply(bytes.get(*at..)?)?;
            *at += len;
            items.push(item);
        }
        Some(items)
    };
    let value = match bytes[0] {
        b'+' => Value::Simple(text),
        b'-' => Value::Error(text),
        b':' => Value::Int(number()),
        b',' => Value::Double(text),
        b'(' => Value::BigNumber(text),
        b'#' => Value::Bool(line == b"t"),
        b'_' => Value::Null,
        b'$' | b'*' if number() < 0 => Value::Null,
        b'$' => Value::Bulk(body(number(), &mut at)?),
        b'!' => Value::Error(String::from_utf8_lossy(&body(number(), &mut at)?).into_owned()),
        b'=' => Value::Verbatim(body(number(), &mut at)?),
        b'*' => Value::Array(items(number(), &mut at)?),
        b'~' => Value::Set(items(number(), &mut at)?),
        b'>' => Value::Push(items(number(), &mut at)?),
        b'%' => {
            let flat = items(number() * 2, &mut at)?;
            let mut flat = flat.into_iter();
            let mut pairs = Vec::new();
            while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
                pairs.push((key, value));
            }
            Value::Map(pairs)
        }
        b'|' => {
            items(number() * 2, &mut at)?; // attributes belong to the reply behind them
            let (value, len) = parse_reply(bytes.get(at..)?)?;
            at += len;
            value
        }
        other => panic!("no reply starts with {:?}: {:?}", other as char, text),
    };
    Some((value, at))
}

/// A command as it goes over the wire.
pub fn request<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        let arg = arg.as_ref();
        bytes.extend_from_slice(format!("${}\r\n", arg.len()).as_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}

enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection that knows RESP and nothing else.
pub struct Client {
    stream: Stream,
    buffer: Vec<u8>,
    pos: usize,
}

impl Client {
    /// Connects; a reply that does not come within [`PATIENCE`] is a panic.
    pub fn connect(address: &Address) -> Client {
        Client::try_connect(address).expect("the server accepts")
    }

    /// Connects to a server that may not listen yet, or not any more.
    pub fn try_connect(address: &Address) -> io::Result<Client> {
        let stream = match address {
            Address::Tcp(port) => {
                let stream = TcpStream::connect(("127.0.0.1", *port))?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Stream::Tcp(stream)
            }
            Address::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                Stream::Unix(stream)
            }
        };
        Ok(Client {
            stream,
            buffer: Vec::new(),
            pos: 0,
        })
    }

    /// A second handle to the same socket, for a thread that writes while this one reads.
    pub fn another_handle(&self) -> Client {
        let stream = match &self.stream {
            Stream::Tcp(stream) => Stream::Tcp(stream.try_clone().expect("a socket")),
            Stream::Unix(stream) => Stream::Unix(stream.try_clone().expect("a socket")),
        };
        Client {
            stream,
            buffer: Vec::new(),
            pos: 0,
        }
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).expect("the server reads");
    }

    /// Sends bytes to a server that may have closed the connection.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Tcp(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
        }
    }

    fn read_more(&mut self) -> io::Result<usize> {
        if self.pos > 1 << 20 && self.pos * 2 > self.buffer.len() {
            self.buffer.drain(..self.pos);
            self.pos = 0;
        }
        let mut chunk = [0; 64 * 1024];
        let len = loop {
            let read = match &mut self.stream {
                Stream::Tcp(stream) => stream.read(&mut chunk),
                Stream::Unix(stream) => stream.read(&mut chunk),
            };
            match read {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error)
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) =>
                {
                    panic!("no reply within {PATIENCE:?}")
                }
                other => break other?,
            }
        };
        self.buffer.extend_from_slice(&chunk[..len]);
        Ok(len)
    }

    /// The next reply and its bytes, or none when the server closed the connection instead.
    pub fn next_reply(&mut self) -> Option<(Value, Vec<u8>)> {
        let mut need = 1;
        loop {
            let there = &self.buffer[self.pos..];
            if there.len() >= need {
                if let Some((value, len)) = parse_reply(there) {
                    let bytes = there[..len].to_vec();
                    self.pos += len;
                    if self.pos == self.buffer.len() {
                        self.buffer.clear();
                        self.pos = 0;
                    }
                    return Some((value, bytes));
                }
                // Parsing starts over each time; a long string is not looked at for every piece of it.
                need = bulk_len(there).unwrap_or(there.len() + 1);
            }
            if !matches!(self.read_more(), Ok(1..)) {
                return None;
            }
        }
    }

    /// The next reply.
    pub fn read(&mut self) -> Value {
        self.next_reply()
            .expect("a reply, not the end of the connection")
            .0
    }

    /// Sends a command and reads its reply.
    pub fn call<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.send(&request(args));
        self.read()
    }

    /// The same for a command whose words are split at spaces, for the ease of writing.
    pub fn run(&mut self, line: &str) -> Value {
        self.call(&line.split(' ').collect::<Vec<_>>())
    }

    /// All bytes up to the end of the connection, whether it ends in order or not.
    pub fn read_to_end(&mut self) -> Vec<u8> {
        while let Ok(1..) = self.read_more() {}
        let rest = self.buffer.split_off(self.pos);
        self.buffer.clear();
        self.pos = 0;
        rest
    }

    /// Says that nothing more will be sent.
    pub fn half_close(&mut self) {
        let _ = match &self.stream {
            Stream::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(Shutdown::Write),
        };
    }

    /// Whether the server closes the connection without another word.
    pub fn is_closed(&mut self) -> bool {
        self.pos == self.buffer.len() && !matches!(self.read_more(), Ok(1..))
    }
}

/// The length of the single bulk reply that `bytes` begins.
fn bulk_len(bytes: &[u8]) -> Option<usize> {
    let line_end = bytes.iter().take(32).position(|byte| *byte == b'\r')?;
    let digits = bytes[..line_end].strip_prefix(b"$")?;
    let len: usize = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(line_end + 2 + len + 2)
}

/// The seed of a randomised test: 1, as a check that lets changes in must say the same of the same sources;
/// `RETRACE_SEED` gives another, and `RETRACE_SEED=new` one that nobody has tried. Printed.
pub fn seed() -> u64 {
    let seed = match std::env::var("RETRACE_SEED") {
        Err(_) => 1,
        Ok(text) if text == "new" => {
            let now = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .expect("after 1970");
            now.as_nanos() as u64 ^ u64::from(std::process::id()) << 40
        }
        Ok(text) => text.parse().expect("RETRACE_SEED is a number, or new"),
    };
    println!("RETRACE_SEED={seed}");
    seed
}

/// A number from the environment, for tests that can be made longer.
pub fn count_from_env(name: &str, default: usize) -> usize {
    match std::env::var(name) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
        Err(_) => default,
    }
}
