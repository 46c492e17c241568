//! Manifest: which files an append-only file consists of.
//!
//! ```text
//! file <name> seq <number> type <b: base | i: incremental | h: history> [startoffset <number>] [endoffset <number>]
//! ```
//!
//! A line a file; more pairs of words may follow. The offsets are those of replication: where the file begins, and where
//! it ends if it was closed with care. Lines with `#` are comments. The data is the base, then the
//! incremental files in order; history files are on their way to be removed. May not: open files.

use crate::config::{quote, split_args};

/// So many bytes are a line at most, its end included; of a longer comment the rest is another line, as the real server
/// reads it.
const LINE_MAX: usize = 1024;

/// What a file is to the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    Base,
    Incremental,
    History,
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AofFile {
    pub name: Vec<u8>,
    pub seq: u64,
    pub kind: FileKind,
    /// The replication offset at which it begins, and at which it was closed.
    pub start_offset: Option<i64>,
    pub end_offset: Option<i64>,
}

impl AofFile {
    fn new(name: Vec<u8>, seq: u64, kind: FileKind) -> AofFile {
        AofFile {
            name,
            seq,
            kind,
            start_offset: None,
            end_offset: None,
        }
    }
}

/// All files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    pub base: Option<AofFile>,
    pub incremental: Vec<AofFile>,
    pub history: Vec<AofFile>,
    base_seq: u64,
    incremental_seq: u64,
}

/// Why a text is no manifest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("Found an empty AOF manifest")]
    Empty,
    #[error("The AOF manifest file contains too long line")]
    TooLong,
    #[error("Invalid AOF manifest file format")]
    Format,
    #[error("File can't be a path, just a filename")]
    Path,
    #[error("Unknown AOF file type")]
    Kind,
    #[error("Found duplicate base file information")]
    TwoBases,
    #[error("Found a non-monotonic sequence number")]
    Order,
}

impl Manifest {
    /// Reads a manifest; an error comes with the number of its line.
    pub fn parse(text: &[u8]) -> Result<Manifest, (usize, ManifestError)> {
        let mut manifest = Manifest::default();
        let mut rest = text;
        let mut number = 0;
        if text.is_empty() {
            return Err((0, ManifestError::Empty));
        }
        while !rest.is_empty() {
            number += 1;
            let head = &rest[..rest.len().min(LINE_MAX)];
            let end = head.iter().position(|byte| *byte == b'\n');
            let (line, tail) = rest.split_at(end.map_or(head.len(), |end| end + 1));
            rest = tail;
            if line.starts_with(b"#") {
                continue;
            }
            // A line without its end, be it torn off or behind a NUL, is one that is too long.
            let Some(line) = line.strip_suffix(b"\n").filter(|line| !line.contains(&0)) else {
                return Err((number, ManifestError::TooLong));
            };
            manifest.add_line(line).map_err(|error| (number, error))?;
        }
        Ok(manifest)
    }

    fn add_line(&mut self, line: &[u8]) -> Result<(), ManifestError> {
        let line = line.trim_ascii();
        let words = split_args(line).ok_or(ManifestError::Format)?;
        if words.len() < 6 || !words.len().is_multiple_of(2) {
            return Err(ManifestError::Format);
        }
        let (mut name, mut seq, mut kind) = (None, None, None);
        let (mut start_offset, mut end_offset) = (None, None);
        for pair in words.chunks_exact(2) {
            let value = &pair[1];
            if pair[0].eq_ignore_ascii_case(b"file") {
                if value.contains(&b'/') {
                    return Err(ManifestError::Path);
                }
                name = Some(value.clone()).filter(|value| !value.is_empty());
            } else if pair[0].eq_ignore_ascii_case(b"seq") {
                seq = Some(leading_number(value)).filter(|seq| *seq != 0);
            } else if pair[0].eq_ignore_ascii_case(b"type") {
                // What follows the letter is passed over.
                kind = match value.first() {
                    Some(b'b') => Some(FileKind::Base),
                    Some(b'i') => Some(FileKind::Incremental),
                    Some(b'h') => Some(FileKind::History),
                    Some(_) => return Err(ManifestError::Kind),
                    None => None,
                };
            } else if pair[0].eq_ignore_ascii_case(b"startoffset") {
                start_offset = Some(leading_number(value));
            } else if pair[0].eq_ignore_ascii_case(b"endoffset") {
                end_offset = Some(leading_number(value));
            }
        }
        let (Some(name), Some(seq), Some(kind)) = (name, seq, kind) else {
            return Err(ManifestError::Format);
        };
        // Numbers below one come before all others.
        let seq = u64::try_from(seq).map_err(|_| ManifestError::Order)?;
        let file = AofFile {
            name,
            seq,
            kind,
            start_offset,
            end_offset,
        };
        match kind {
            FileKind::Base if self.base.is_some() => return Err(ManifestError::TwoBases),
            FileKind::Base => {
                self.base_seq = seq;
                self.base = Some(file);
            }
            FileKind::History => self.history.push(file),
            FileKind::Incremental => {
                if seq <= self.incremental_seq {
                    return Err(ManifestError::Order);
                }
                self.incremental_seq = seq;
                self.incremental.push(file);
            }
        }
        Ok(())
    }

    /// The text of it.
    pub fn to_text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        let files = self
            .base
            .iter()
            .chain(&self.history)
            .chain(&self.incremental);
        for file in files {
            text.extend_from_slice(b"file ");
            let is_plain =
                |byte: &u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\' | b'\'');
            match file.name.iter().all(is_plain) {
                true => text.extend_from_slice(&file.name),
                false => text.extend_from_slice(quote(&file.name).as_bytes()),
            }
            let kind = match file.kind {
                FileKind::Base => 'b',
                FileKind::Incremental => 'i',
                FileKind::History => 'h',
            };
            text.extend_from_slice(format!(" seq {} type {kind}", file.seq).as_bytes());
            for (word, offset) in [
                ("startoffset", file.start_offset),
                ("endoffset", file.end_offset),
            ] {
                // Below zero there is none, as -1 says it.
                if let Some(offset) = offset.filter(|offset| *offset != -1) {
                    text.extend_from_slice(format!(" {word} {offset}").as_bytes());
                }
            }
            text.push(b'\n');
        }
        text
    }

    /// A new base takes the place of the one before, and of all incremental files but those that were begun with it.
    pub fn replace_base(&mut self, base: AofFile, keeps: usize) {
        self.base_seq = base.seq;
        let gone = self.incremental.len().saturating_sub(keeps);
        let old = self
            .incremental
            .drain(..gone)
            .chain(self.base.replace(base));
        let old = old.map(|file| AofFile {
            kind: FileKind::History,
            ..file
        });
        // The newest stand first, as a real server lists them.
        self.history.splice(..0, old);
    }

    /// The next base file's name, `name` being `appendfilename`.
    pub fn next_base(&self, name: &[u8], is_rdb: bool) -> AofFile {
        let seq = self.base_seq + 1;
        let format = if is_rdb { "rdb" } else { "aof" };
        let name = [name, format!(".{seq}.base.{format}").as_bytes()].concat();
        AofFile::new(name, seq, FileKind::Base)
    }

    /// Adds the next incremental file, which begins at this offset of replication.
    pub fn add_incremental(&mut self, name: &[u8], start_offset: i64) -> AofFile {
        self.incremental_seq += 1;
        let seq = self.incremental_seq;
        let name = [name, format!(".{seq}.incr.aof").as_bytes()].concat();
        let file = AofFile {
            start_offset: Some(start_offset),
            ..AofFile::new(name, seq, FileKind::Incremental)
        };
        self.incremental.push(file.clone());
        file
    }

    /// Takes back the incremental file that was added last.
    pub fn drop_incremental(&mut self) {
        if self.incremental.pop().is_some() {
            self.incremental_seq -= 1;
        }
    }

    /// An append-only file of one part, as servers before 7.0 had it, becomes the base.
    pub fn upgrade(name: &[u8]) -> Manifest {
        Manifest {
            base: Some(AofFile::new(name.to_vec(), 1, FileKind::Base)),
            base_seq: 1,
            ..Manifest::default()
        }
    }

    /// The files with data, in the order in which they are loaded.
    pub fn files(&self) -> impl Iterator<Item = &AofFile> {
        self.base.iter().chain(&self.incremental)
    }
}

/// The number that a text begins with, as far as it goes; zero if it begins with none.
fn leading_number(text: &[u8]) -> i64 {
    let text = text.trim_ascii_start();
    let (is_negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let digits = digits.iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold(0i64, |number, digit| {
        let digit = i64::from(digit - b'0');
        let digit = if is_negative { -digit } else { digit };
        number.saturating_mul(10).saturating_add(digit)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_and_written() {
        let text = b"# a comment\nfile a.1.base.rdb seq 1 type b\nfile a.0.incr.aof seq 3 type h\n\
                     file a.4.incr.aof seq 4 type i startoffset 0\nfile \"a b.aof\" seq 7 type i endoffset 9\n";
        let mut manifest = Manifest::parse(text).expect("it is one");
        assert_eq!(manifest.files().count(), 3);
        let base = manifest.next_base(b"a", true);
        assert_eq!((&base.name[..], base.seq), (&b"a.2.base.rdb"[..], 2));
        let next = manifest.add_incremental(b"a", 12);
        assert_eq!(next.name, b"a.8.incr.aof");
        manifest.replace_base(base, 1);
        let again = manifest.to_text();
        assert_eq!(Manifest::parse(&again), Ok(manifest));
        assert_eq!(
            String::from_utf8_lossy(&again),
            "file a.2.base.rdb seq 2 type b\nfile a.4.incr.aof seq 4 type h startoffset 0\n\
             file \"a b.aof\" seq 7 type h endoffset 9\nfile a.1.base.rdb seq 1 type h\nfile a.0.incr.aof seq 3 type h\n\
             file a.8.incr.aof seq 8 type i startoffset 12\n"
        );
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line, error) in [
            ("", 0, ManifestError::Empty),
            ("\n\n", 1, ManifestError::Format),
            (
                "file a seq 1 type b\n\nfile b seq 1 type i\n",
                2,
                ManifestError::Format,
            ),
            ("file a seq 1 type x\n", 1, ManifestError::Kind),
            ("file a seq 1\n", 1, ManifestError::Format),
            ("file a seq 1 type\n", 1, ManifestError::Format),
            ("file a seq 0 type i\n", 1, ManifestError::Format),
            ("file a/b seq 1 type i\n", 1, ManifestError::Path),
            ("file a seq -1 type i\n", 1, ManifestError::Order),
            ("file a seq x type i\n", 1, ManifestError::Format),
            ("file a seq 1 type \"\"\n", 1, ManifestError::Format),
            ("file a seq 1 type i", 1, ManifestError::TooLong),
            ("file a seq 1 type i\0\n", 1, ManifestError::TooLong),
            (
                &format!("#{}\nfile a seq 1 type i\n", "a".repeat(1023)),
                2,
                ManifestError::Format,
            ),
            (
                "file a seq 1 type b\nfile b seq 2 type b\n",
                2,
                ManifestError::TwoBases,
            ),
            (
                "file a seq 2 type i\nfile b seq 1 type i\n",
                2,
                ManifestError::Order,
            ),
            (
                &format!("file {} seq 1 type i\n", "a".repeat(1100)),
                1,
                ManifestError::TooLong,
            ),
        ] {
            assert_eq!(
                Manifest::parse(text.as_bytes()),
                Err((line, error)),
                "{text:?}"
            );
        }
    }
}
