//! The process seen from outside: clock, readings, limits, and its way into the background.

use crate::border::Reading;
use crate::keyspace::alloc;
use crate::state::UnixMicros;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch. A clock that stands before it is taken for one that was set to it when that was first
/// seen, so that time goes on.
#[inline]
pub fn clock() -> UnixMicros {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(since) => whole_us(since),
        Err(_) => clock_before_epoch(),
    }
}

/// What can be added to without an overflow.
fn whole_us(since: Duration) -> UnixMicros {
    const CLOCK_MAX: i64 = i64::MAX / 2;
    UnixMicros(i64::try_from(since.as_micros()).map_or(CLOCK_MAX, |us| us.min(CLOCK_MAX)))
}

#[cold]
fn clock_before_epoch() -> UnixMicros {
    static SEEN: OnceLock<Instant> = OnceLock::new();
    whole_us(SEEN.get_or_init(Instant::now).elapsed())
}

/// A number that no one can foretell, from the system's randomness.
pub fn random_seed() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// What passwords are made from: nobody can guess it.
pub fn random_secret() -> Result<[u8; 32], String> {
    let mut secret = [0; 32];
    match getrandom::fill(&mut secret) {
        Ok(()) => Ok(secret),
        Err(error) => Err(format!("The system gives no random bytes: {error}")),
    }
}

/// Name, release and machine of the operating system.
pub fn os() -> String {
    let uname = rustix::system::uname();
    [uname.sysname(), uname.release(), uname.machine()]
        .map(|part| part.to_string_lossy())
        .join(" ")
}

/// Keeps the kernel from handing out memory in huge pages: clearing one takes longer than any command.
#[cfg(target_os = "linux")]
pub fn disable_huge_pages() -> io::Result<()> {
    Ok(rustix::thread::disable_transparent_huge_pages(true)?)
}

/// Memory and CPU of this process; what the system does not tell is 0.
pub fn reading() -> Reading {
    let process = cpu_times("/proc/self/stat");
    let main_thread = cpu_times("/proc/thread-self/stat");
    Reading {
        used_memory: alloc::used_memory() as u64,
        rss_bytes: rss_bytes(),
        system_memory_bytes: system_memory_bytes(),
        cpu_user_us: process[0],
        cpu_sys_us: process[1],
        cpu_user_children_us: process[2],
        cpu_sys_children_us: process[3],
        cpu_user_main_thread_us: main_thread[0],
        cpu_sys_main_thread_us: main_thread[1],
    }
}

/// What the process takes of the machine's memory; 0 where the system does not tell.
pub fn rss_bytes() -> u64 {
    resident_pages().0 * rustix::param::page_size() as u64
}

/// What of that is the process's own: without pages of files, such as the program itself.
pub fn own_rss_bytes() -> u64 {
    let (all, of_files) = resident_pages();
    all.saturating_sub(of_files) * rustix::param::page_size() as u64
}

/// How many pages are in memory, and how many of them are of files.
fn resident_pages() -> (u64, u64) {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let mut numbers = statm.split(' ').skip(1).map(|pages| pages.parse().ok());
    let mut next = || numbers.next().flatten().unwrap_or(0);
    (next(), next())
}

fn system_memory_bytes() -> u64 {
    static BYTES: OnceLock<u64> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kib = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.trim().strip_suffix(" kB"));
        kib.and_then(|kib| kib.trim().parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    })
}

/// User, system, children's user and children's system time in microseconds.
fn cpu_times(stat: &str) -> [u64; 4] {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    // The program's name comes second, in brackets, and may hold anything; utime is the 12th field behind it.
    let behind_name = text.rfind(')').map_or("", |end| &text[end + 1..]);
    let ticks_per_s = rustix::param::clock_ticks_per_second().max(1);
    let mut times = [0; 4];
    for (time, field) in times
        .iter_mut()
        .zip(behind_name.split_ascii_whitespace().skip(11))
    {
        *time = field.parse::<u64>().unwrap_or(0) * 1_000_000 / ticks_per_s;
    }
    times
}

/// Files that the server itself needs, beside one for each client.
const RESERVED_FILES: u64 = 32;

/// What came of making room for clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileLimit {
    /// So many clients have room.
    pub max_clients: usize,
    /// Lines for the log, each with whether it is a warning.
    pub lines: Vec<(bool, String)>,
}

/// Makes room for the files of `max_clients` clients, or says how many have room. An error means: none at all.
pub fn raise_file_limit(max_clients: usize) -> Result<FileLimit, String> {
    let needed = max_clients as u64 + RESERVED_FILES;
    let before = getrlimit(Resource::Nofile);
    let current = before.current.unwrap_or(u64::MAX);
    if current >= needed {
        return Ok(FileLimit {
            max_clients,
            lines: Vec::new(),
        });
    }
    let hard = before.maximum.unwrap_or(u64::MAX);
    let wanted = Rlimit {
        current: Some(needed),
        maximum: Some(hard.max(needed)),
    };
    let refusal = match setrlimit(Resource::Nofile, wanted) {
        Ok(()) => {
            let line = format!(
                "Increased maximum number of open files to {needed} (it was originally set to {current})."
            );
            return Ok(FileLimit {
                max_clients,
                lines: vec![(false, line)],
            });
        }
        Err(errno) => super::plain(&io::Error::from(errno)),
    };
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: before.maximum,
            maximum: before.maximum,
        },
    );
    let best = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    if best <= RESERVED_FILES {
        return Err(format!(
            "Your current 'ulimit -n' of {current} is not enough for the server to start. \
             Please increase your open file limit to at least {needed}. Exiting."
        ));
    }
    let max_clients_now = best - RESERVED_FILES;
    let lines = vec![
        format!(
            "You requested maxclients of {max_clients} requiring at least {needed} max file descriptors."
        ),
        format!("Server can't set maximum open files to {needed} because of OS error: {refusal}."),
        format!(
            "Current maximum open files is {best}. maxclients has been reduced to {max_clients_now} to compensate \
             for low ulimit. If you need higher maxclients increase 'ulimit -n'."
        ),
    ];
    let lines = lines.into_iter().map(|line| (true, line)).collect();
    Ok(FileLimit {
        max_clients: usize::try_from(max_clients_now).unwrap_or(usize::MAX),
        lines,
    })
}

/// Which of the two processes goes on.
pub enum Side {
    /// The one that was started, and how the server's start in the background went: nothing is left to do here.
    Foreground(Result<(), String>),
    /// The server. The other one waits to be told.
    Background(Parent),
}

/// The process that was started, which ends as soon as it is told how the start went.
pub struct Parent(UnixStream);

impl Parent {
    /// Says how the start went.
    pub fn tell(mut self, outcome: Result<(), &str>) {
        // Who is gone need not be told.
        let _ = self
            .0
            .write_all(outcome.err().unwrap_or(STARTED).as_bytes());
    }
}

/// What the process that was started hears when all is well.
const STARTED: &str = "started";

/// Goes to the background.
pub fn daemonize() -> io::Result<Side> {
    let (mut hears, tells) = UnixStream::pair()?;
    if let fork::Fork::Parent(_) = fork::fork()? {
        drop(tells);
        let mut text = String::new();
        hears.read_to_string(&mut text)?;
        return Ok(Side::Foreground(match text.as_str() {
            STARTED => Ok(()),
            "" => Err("The server has ended before it was ready.".to_owned()),
            _ => Err(text),
        }));
    }
    drop(hears);
    fork::setsid()?;
    fork::redirect_stdio()?;
    Ok(Side::Background(Parent(tells)))
}
