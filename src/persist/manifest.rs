//! Manifest: which files an append-only file consists of.
//!
//! ```text
//! file <name> seq <number> type <b: base | i: incremental | h: history>
//! ```
//!
//! A line a file; more pairs of words may follow. Lines with `#` are comments. The data is the base, then the
//! incremental files in order; history files are on their way to be removed. May not: open files.

use crate::config::{quote, split_args};

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
        let mut lines = text.split(|byte| *byte == b'\n').peekable();
        let mut number = 0;
        if text.is_empty() {
            return Err((0, ManifestError::Empty));
        }
        while let Some(line) = lines.next() {
            number += 1;
            let is_last = lines.peek().is_none();
            if is_last && line.is_empty() {
                break;
            }
            if line.starts_with(b"#") {
                continue;
            }
            if line.len() + 1 > LINE_MAX {
                return Err((number, ManifestError::TooLong));
            }
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
        for pair in words.chunks_exact(2) {
            let value = &pair[1];
            if pair[0].eq_ignore_ascii_case(b"file") {
                let is_plain = !value.is_empty() && !value.contains(&b'/');
                name = Some(value.clone()).filter(|_| is_plain);
            } else if pair[0].eq_ignore_ascii_case(b"seq") {
                let text = std::str::from_utf8(value).ok();
                seq = text
                    .and_then(|text| text.parse().ok())
                    .filter(|seq| *seq > 0);
            } else if pair[0].eq_ignore_ascii_case(b"type") {
                kind = Some(match &value[..] {
                    b"b" => FileKind::Base,
                    b"i" => FileKind::Incremental,
                    b"h" => FileKind::History,
                    _ => return Err(ManifestError::Kind),
                });
            }
        }
        let (Some(name), Some(seq), Some(kind)) = (name, seq, kind) else {
            return Err(ManifestError::Format);
        };
        let file = AofFile { name, seq, kind };
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
            text.extend_from_slice(format!(" seq {} type {kind}\n", file.seq).as_bytes());
        }
        text
    }

    /// A new base takes the place of the one before, and of all incremental files but those that were begun with it.
    pub fn replace_base(&mut self, base: AofFile, keeps: usize) {
        self.base_seq = base.seq;
        let gone = self.incremental.len().saturating_sub(keeps);
        let old = self.base.replace(base).into_iter();
        let old = old.chain(self.incremental.drain(..gone));
        self.history.extend(old.map(|file| AofFile {
            kind: FileKind::History,
            ..file
        }));
    }

    /// The next base file's name, `name` being `appendfilename`.
    pub fn next_base(&self, name: &[u8], is_rdb: bool) -> AofFile {
        let seq = self.base_seq + 1;
        let format = if is_rdb { "rdb" } else { "aof" };
        AofFile {
            name: [name, format!(".{seq}.base.{format}").as_bytes()].concat(),
            seq,
            kind: FileKind::Base,
        }
    }

    /// Adds the next incremental file.
    pub fn add_incremental(&mut self, name: &[u8]) -> AofFile {
        self.incremental_seq += 1;
        let seq = self.incremental_seq;
        let file = AofFile {
            name: [name, format!(".{seq}.incr.aof").as_bytes()].concat(),
            seq,
            kind: FileKind::Incremental,
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
            base: Some(AofFile {
                name: name.to_vec(),
                seq: 1,
                kind: FileKind::Base,
            }),
            base_seq: 1,
            ..Manifest::default()
        }
    }

    /// The files with data, in the order in which they are loaded.
    pub fn files(&self) -> impl Iterator<Item = &AofFile> {
        self.base.iter().chain(&self.incremental)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_is_read_and_written() {
        let text = b"# a comment\nfile a.1.base.rdb seq 1 type b\nfile a.0.incr.aof seq 3 type h\n\
                     file a.4.incr.aof seq 4 type i startoffset 0\nfile \"a b.aof\" seq 7 type i\n";
        let mut manifest = Manifest::parse(text).expect("it is one");
        assert_eq!(manifest.files().count(), 3);
        let base = manifest.next_base(b"a", true);
        assert_eq!((&base.name[..], base.seq), (&b"a.2.base.rdb"[..], 2));
        let next = manifest.add_incremental(b"a");
        assert_eq!(next.name, b"a.8.incr.aof");
        manifest.replace_base(base, 1);
        let again = manifest.to_text();
        assert_eq!(Manifest::parse(&again), Ok(manifest));
        assert_eq!(
            String::from_utf8_lossy(&again),
            "file a.2.base.rdb seq 2 type b\nfile a.0.incr.aof seq 3 type h\nfile a.1.base.rdb seq 1 type h\n\
             file a.4.incr.aof seq 4 type h\nfile \"a b.aof\" seq 7 type h\nfile a.8.incr.aof seq 8 type i\n"
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
            ("file a/b seq 1 type i\n", 1, ManifestError::Format),
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
