//! Checkup: `--test-memory` and `--check-system`, which look at the machine and start no server.

use std::io::{self, Write};
use std::path::Path;

/// `--test-memory MEGABYTES`: writes patterns to so much memory and reads them back. The exit code.
pub fn test_memory(args: &[Vec<u8>]) -> u8 {
    let [size] = args else {
        eprintln!("How many megabytes are to be tested? Example: retrace --test-memory 4096");
        return 1;
    };
    let size = std::str::from_utf8(size)
        .ok()
        .and_then(|size| size.parse::<usize>().ok());
    let words = size
        .filter(|size| *size > 0)
        .and_then(|size| size.checked_mul((1 << 20) / size_of::<u64>()));
    let mut memory: Vec<u64> = Vec::new();
    match words.map(|words| memory.try_reserve_exact(words).map(|()| words)) {
        Some(Ok(words)) => memory.resize(words, 0),
        Some(Err(error)) => {
            eprintln!("So much memory is not to be had: {error}");
            return 1;
        }
        None => {
            eprintln!("This is no number of megabytes.");
            return 1;
        }
    }
    let mut bad = 0;
    for (name, pattern) in PATTERNS {
        print!("{name}... ");
        let _ = io::stdout().flush();
        let found = errors_with(&mut memory, *pattern);
        println!("{}", if found == 0 { "ok" } else { "BAD" });
        bad += found;
    }
    match bad {
        0 => {
            println!(
                "The memory passed. A test without an operating system (memtest86) sees more of it."
            );
            0
        }
        _ => {
            println!("{bad} words of memory did not keep what was written to them.");
            1
        }
    }
}

/// What is written to a word, from its place.
type Pattern = fn(usize) -> u64;

const PATTERNS: &[(&str, Pattern)] = &[
    ("addresses", |place| place as u64),
    ("addresses, inverted", |place| !(place as u64)),
    ("zeros and ones by turns", |place| match place % 2 {
        0 => 0,
        _ => u64::MAX,
    }),
    ("a checkerboard", |place| match place % 2 {
        0 => 0x5555_5555_5555_5555,
        _ => 0xaaaa_aaaa_aaaa_aaaa,
    }),
    // Neighbours have nothing in common: the multiplier is odd, and near the golden section of 2^64.
    ("a mixture", |place| {
        let mixed = (place as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        mixed ^ (mixed >> 29)
    }),
];

/// How many words do not hold what was written to them.
fn errors_with(memory: &mut [u64], pattern: Pattern) -> usize {
    for (place, word) in memory.iter_mut().enumerate() {
        *word = pattern(place);
    }
    // What is read is read from memory, not taken for known.
    let memory = std::hint::black_box(memory);
    let words = memory.iter().enumerate();
    words
        .filter(|(place, word)| **word != pattern(*place))
        .count()
}

/// What is wrong with one setting of the system.
type Check = fn() -> Option<String>;

const CHECKS: &[(&str, Check)] = &[
    ("clock", slow_clock),
    ("backlog", short_backlog),
    ("huge pages", huge_pages),
];

/// `--check-system`: 0 when nothing is found that slows a server down, else 1.
pub fn check_system() -> u8 {
    let mut code = 0;
    for (name, check) in CHECKS {
        match check() {
            None => println!("[{name}]...OK"),
            Some(text) => {
                println!("[{name}]...WARNING:\n{text}\n");
                code = 1;
            }
        }
    }
    code
}

fn read(path: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new(path)).ok()?;
    Some(text.trim().to_owned())
}

/// The clock is read once or twice for each turn of the loop: it must not take a system call.
fn slow_clock() -> Option<String> {
    let folder = "/sys/devices/system/clocksource/clocksource0";
    let source = read(&format!("{folder}/current_clocksource"))?;
    let is_slow =
        ["acpi_pm", "hpet", "xen", "jiffies", "refined-jiffies"].contains(&source.as_str());
    is_slow.then(|| {
        format!(
            "Reading the clock is slow with the clock source '{source}'. Which ones there are is told by \
             {folder}/available_clocksource; choose tsc if it is among them."
        )
    })
}

fn short_backlog() -> Option<String> {
    let path = "/proc/sys/net/core/somaxconn";
    let cap = read(path)?.parse::<i64>().ok()?;
    let wanted = crate::config::Config::default().tcp_backlog;
    (cap < wanted).then(|| {
        format!(
            "Of clients that come all at once no more than {cap} wait to be accepted, where tcp-backlog is {wanted}: \
             raise {path}."
        )
    })
}

/// Harmless with `disable-thp`, which is on by default, where the system lets a process switch them off.
fn huge_pages() -> Option<String> {
    let path = "/sys/kernel/mm/transparent_hugepage/enabled";
    let is_on = read(path)?.contains("[always]");
    #[cfg(target_os = "linux")]
    let is_on = is_on && crate::os::process::disable_huge_pages().is_err();
    is_on.then(|| {
        format!(
            "Huge pages are handed out without being asked for, and cannot be switched off for one process: latency \
             suffers. Write 'madvise' to {path}."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_memory_keeps_every_pattern() {
        for (name, pattern) in PATTERNS {
            assert_eq!(errors_with(&mut vec![0; 10_000], *pattern), 0, "{name}");
        }
    }
}
