//! Check: `retrace check`, which says what is in a file on disk, whether it is sound, and where it breaks.
//!
//! Lives here: the command line, the choice by a file's first bytes, the progress bar, the repair of a torn append-only
//! file. Each kind of file has a file here. This is shell: it opens files and reads the clock. A file is read once from
//! its start to its end, and no more of it is in memory than one value.
//!
//! The exit codes are those of redis-check-rdb and redis-check-aof, so that scripts can call this instead: 0 for sound,
//! 1 for everything else.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this is the shell: files, the terminal and the clock are its business"
)]

/// Prints a line. A reader that has gone (`| head`) is an error like any other, not a panic.
macro_rules! say {
    ($($text:tt)*) => {
        writeln!(std::io::stdout(), $($text)*)?
    };
}

mod aof;
mod journal;
mod manifest;
mod progress;
mod rdb;

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use progress::{Progress, Watched};

/// What `retrace check` is.
pub const HELP: &str = "\
usage: retrace check [--fix] FILE

Says what is in an RDB file, an append-only file, its manifest (then of every part) or a journal of --record, whether
it is sound, and where it is not. Nothing is changed, but with --fix a torn append-only file is cut off where it is
sound, after a question.

exit code  0  sound
           1  anything else
";
/// So much is read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// The first bytes of a file, which say what it is.
const HEAD_BYTES: usize = 16;

/// What was found out about a file.
pub struct Report {
    /// What is in it, in lines.
    pub lines: Vec<String>,
    pub verdict: Verdict,
}

/// Whether a file is sound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Sound,
    Broken(Flaw),
}

/// What is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    pub pos: u64,
    pub what: String,
    /// When the file would be sound if it ended there.
    pub sound_bytes: Option<u64>,
}

/// What is to be done about a torn append-only file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Look,
    /// Cut it off, if the user agrees.
    Fix,
    /// The same, but it is a part of a whole that must not be cut off there.
    FixOther,
}

/// What a file is, by its name and its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Rdb,
    Aof,
    Journal,
    Unknown,
}

/// `retrace check` with these arguments; returns the exit code.
pub fn run(args: &[Vec<u8>]) -> u8 {
    let (path, fixes) = match args {
        [path] if !path.starts_with(b"--") => (path, false),
        [option, path] | [path, option] if option == b"--fix" => (path, true),
        _ => {
            eprint!("{HELP}");
            return 1;
        }
    };
    let path = PathBuf::from(OsString::from_vec(path.clone()));
    match check_path(&path, fixes) {
        Ok(is_sound) => u8::from(!is_sound),
        Err(error) => {
            eprintln!("retrace: {}: {error}", path.display());
            1
        }
    }
}

/// Checks a file, and repairs it if that is wanted and possible; says whether it is sound then.
fn check_path(path: &Path, fixes: bool) -> io::Result<bool> {
    let (mut file, size) = open(path)?;
    let head = head_of(&mut file)?;
    if manifest::is_manifest(path, &head) {
        return manifest::check(path, size, fixes);
    }
    file.rewind()?;
    let is_aof = path.extension().is_some_and(|ext| ext == "aof");
    let wish = if fixes { Wish::Fix } else { Wish::Look };
    check_file(path, file, size, is_aof, wish)
}

fn open(path: &Path) -> io::Result<(File, u64)> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    match about.is_file() {
        true => Ok((file, about.len())),
        false => Err(io::Error::other("not a regular file")),
    }
}

fn head_of(file: &mut File) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Checks a file that is no manifest. `is_aof` says what it is when its first bytes do not.
fn check_file(
    path: &Path,
    mut file: File,
    size: u64,
    is_aof: bool,
    wish: Wish,
) -> io::Result<bool> {
    let head = head_of(&mut file)?;
    let format = format_of(path, &head, is_aof);
    let mut source = BufReader::with_capacity(
        CHUNK_BYTES,
        Watched::new(io::Cursor::new(head).chain(file), Progress::new(size)),
    );
    let (name, report) = match format {
        Format::Rdb => ("RDB file", rdb::check(&mut source, size, now_ms())?),
        Format::Aof => ("append-only file", aof::check(&mut source, 0, size)?),
        Format::Journal => ("journal", journal::check(&mut source)?),
        Format::Unknown => {
            return Err(io::Error::other(
                "neither an RDB file, nor an append-only file, nor a manifest, nor a journal",
            ));
        }
    };
    drop(source);
    say!("{}: {name}, {size} bytes", path.display());
    for line in &report.lines {
        say!("{line}");
    }
    let Verdict::Broken(flaw) = report.verdict else {
        say!("sound");
        return Ok(true);
    };
    say!("broken at byte {}: {}", flaw.pos, flaw.what);
    match (flaw.sound_bytes, wish) {
        (Some(sound_bytes), Wish::Fix) => fix(path, size, sound_bytes),
        (Some(sound_bytes), Wish::Look) => {
            say!("the first {sound_bytes} bytes are sound; --fix cuts the file off there");
            Ok(false)
        }
        (Some(_), Wish::FixOther) => {
            say!("only the last part can be cut off");
            Ok(false)
        }
        (None, Wish::Look) => Ok(false),
        (None, _) => {
            say!("this cannot be fixed by cutting the file off");
            Ok(false)
        }
    }
}

/// Cuts a file off where it is sound, if the user agrees.
fn fix(path: &Path, size: u64, sound_bytes: u64) -> io::Result<bool> {
    write!(
        io::stdout(),
        "Cut {} off at {sound_bytes} of its {size} bytes, {} bytes less? [y/N] ",
        path.display(),
        size.saturating_sub(sound_bytes)
    )?;
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    if !answer.starts_with(['y', 'Y']) {
        say!("left as it is");
        return Ok(false);
    }
    let file = OpenOptions::new().write(true).open(path)?;
    // A server may have written on meanwhile: then nothing that was read is true any more.
    if file.metadata()?.len() != size {
        return Err(io::Error::other("it has changed meanwhile"));
    }
    file.set_len(sound_bytes)?;
    file.sync_all()?;
    say!("cut off at byte {sound_bytes}");
    Ok(true)
}

fn format_of(path: &Path, head: &[u8], is_aof: bool) -> Format {
    let magics: [&[u8]; 2] = [b"REDIS", b"VALKEY"];
    // What is cut off within its first bytes is still told as what it was.
    let begins_as = |magic: &&[u8]| !head.is_empty() && magic.starts_with(head);
    match head.first() {
        _ if crate::persist::rdb::is_rdb(head) => Format::Rdb,
        _ if head.starts_with(crate::journal::MAGIC) => Format::Journal,
        _ if is_aof => Format::Aof,
        Some(b'*' | b'#') => Format::Aof,
        None => Format::Rdb,
        _ if magics.iter().any(begins_as) => Format::Rdb,
        _ if path.extension().is_some_and(|ext| ext == "rdb") => Format::Rdb,
        _ => Format::Unknown,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as i64)
}

/// Bytes from a file as a line shows them.
fn shown(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 128;
    let more = if bytes.len() > SHOWN_MAX { "..." } else { "" };
    let head = &bytes[..bytes.len().min(SHOWN_MAX)];
    format!("{}{more}", head.escape_ascii())
}

/// A count with its noun.
fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_start() {
        for (name, head, is_aof, want) in [
            ("dump.rdb", &b"REDIS0012"[..], false, Format::Rdb),
            ("x.aof", b"REDIS0012", true, Format::Rdb),
            ("x", b"VALKEY080", false, Format::Rdb),
            ("x", b"RED", false, Format::Rdb),
            ("dump.rdb", b"nonsense", false, Format::Rdb),
            ("x", b"", false, Format::Rdb),
            ("x.aof", b"", true, Format::Aof),
            ("x.aof", b"nonsense", true, Format::Aof),
            ("x", b"*1\r\n", false, Format::Aof),
            ("x", b"#TS:1\r\n", false, Format::Aof),
            ("x", b"RETRACEJ", false, Format::Journal),
            ("x", b"nonsense", false, Format::Unknown),
        ] {
            let got = format_of(Path::new(name), head, is_aof);
            assert_eq!(got, want, "{name} {head:?}");
        }
        assert!(manifest::is_manifest(Path::new("a.aof.manifest"), b""));
        assert!(manifest::is_manifest(Path::new("x"), b"file a.aof seq 1"));
        assert!(!manifest::is_manifest(Path::new("x.rdb"), b"REDIS0012"));
    }

    #[test]
    fn long_names_are_shown_in_part() {
        assert_eq!(shown(b"a\n"), "a\\n");
        assert_eq!(shown(&[b'x'; 200]), format!("{}...", "x".repeat(128)));
    }
}
