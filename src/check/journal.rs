//! The check of a recorded run.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use super::{Flaw, Report, Verdict, counted, shown};
use crate::config::{Flags, Param};
use crate::journal::{JournalError, JournalReader, Record, Tail};

/// In place of passwords and of rules, which hold some.
const HIDDEN: &str = "(not shown)";

/// Reads a journal to its end.
pub fn check(source: &mut impl BufRead) -> io::Result<Report> {
    let (mut reader, header) = match JournalReader::open(source) {
        Ok(opened) => opened,
        Err(JournalError::Io(error)) => return Err(error),
        Err(error) => {
            return Ok(Report {
                lines: Vec::new(),
                verdict: Verdict::Broken(Flaw {
                    pos: 0,
                    what: error.to_string(),
                    sound_bytes: None,
                }),
            });
        }
    };
    let mut lines = vec![
        format!(
            "written by version {}",
            shown(header.program_version.as_bytes())
        ),
        format!("on {}, process {}", shown(header.os.as_bytes()), header.pid),
        format!("seed {}", header.seed),
    ];
    for (name, value) in &header.config {
        // An unknown name is another version's, and may be anything.
        let is_secret =
            Param::find(name.as_bytes()).is_none_or(|param| param.flags.contains(Flags::SENSITIVE));
        let value = match is_secret && !value.is_empty() {
            true => HIDDEN.to_owned(),
            false => shown(value),
        };
        lines.push(format!("{} {value}", shown(name.as_bytes())));
    }
    for user in &header.users {
        let name = user.first().map_or("".into(), |name| shown(name));
        lines.push(format!("user {name} {HIDDEN}"));
    }
    let (first_us, mut last_us) = (header.now_us, header.now_us);
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let (mut read_bytes, mut loaded_bytes, mut reply_bytes) = (0u64, 0u64, 0u64);
    while let Some(record) = reader.next()? {
        let name = match record {
            Record::Time(time) | Record::TurnEnd(time) | Record::Clock(time) => {
                last_us = last_us.max(time.0);
                "readings of the clock"
            }
            Record::Accept { .. } => "connections accepted",
            Record::Read { bytes, .. } => {
                read_bytes += bytes.len() as u64;
                "reads from connections"
            }
            Record::Closed { .. } => "connections closed",
            Record::Wrote { taken, .. } => {
                reply_bytes += taken as u64;
                "writes to connections"
            }
            Record::Blocked { .. } => "full sockets",
            Record::Reading(_) => "readings of the system",
            Record::Done { .. } => "answers of the disk",
            Record::Appended(_) => "appends to the append-only file",
            Record::Signal(_) => "signals",
            Record::Chunk { bytes, .. } => {
                loaded_bytes += bytes.len() as u64;
                "chunks of files"
            }
            Record::Findings(_) => "findings of the meter",
        };
        *counts.entry(name).or_default() += 1;
    }
    let seconds = last_us.saturating_sub(first_us) as f64 / 1e6;
    let records: u64 = counts.values().sum();
    lines.push(format!(
        "{} over {seconds:.3} s: {read_bytes} bytes read, {reply_bytes} written, {loaded_bytes} loaded from files",
        counted(records, "record", "records")
    ));
    lines.extend(
        counts
            .iter()
            .map(|(name, count)| format!("  {count} {name}")),
    );
    let broken = |pos: u64, what: &str| {
        Verdict::Broken(Flaw {
            pos,
            what: format!("{what}; it replays up to there"),
            sound_bytes: None,
        })
    };
    let verdict = match reader.tail() {
        Tail::Clean => Verdict::Sound,
        Tail::Torn { sound_bytes } => broken(sound_bytes, "the journal is cut off"),
        Tail::Corrupt { sound_bytes } => broken(sound_bytes, "the journal is damaged"),
    };
    Ok(Report { lines, verdict })
}
