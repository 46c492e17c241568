//! Replay: feeds a journal to a fresh engine and compares every reply with what was recorded.

use super::HEAD_BYTES_MAX;
use super::reader::{JournalError, JournalReader, Tail};
use super::record::{Check, Record};
use crate::border::{Flush, Input, Want};
use crate::engine::Engine;
use crate::state::ConnId;
use std::fmt;
use std::io::{IoSlice, Read, Seek};

/// What a replay found.
#[derive(Debug)]
pub struct Report {
    pub commands: u64,
    /// Inputs and checks.
    pub records: u64,
    /// Reply bytes compared.
    pub reply_bytes: u64,
    pub tail: Tail,
    pub difference: Option<Difference>,
}

/// The first place where the engine did not do what it did when it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    Reply {
        conn: ConnId,
        /// Bytes of this client's replies before the first one that differs, or before those that may.
        pos: u64,
        /// Whether `pos` is that byte itself: beyond the first bytes of a long flush only its digest is known.
        is_exact: bool,
        /// The command whose reply it is, if the engine can tell.
        command: Option<String>,
        expected: Vec<u8>,
        expected_len: usize,
        got: Vec<u8>,
        got_len: usize,
    },
    /// The engine asked for something the record does not answer, or did not ask for what it answers.
    Disagree { record: u64, what: String },
}

impl fmt::Display for Difference {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::Disagree { record, what } => {
                write!(
                    out,
                    "journal and engine disagree at record {record}: {what}"
                )
            }
            Difference::Reply {
                conn,
                pos,
                is_exact,
                command,
                expected,
                expected_len,
                got,
                got_len,
            } => {
                let at = if *is_exact { "at" } else { "after" };
                writeln!(
                    out,
                    "replies differ: client {}, {at} byte {pos} of its replies",
                    conn.0
                )?;
                writeln!(
                    out,
                    "command:  {}",
                    command.as_deref().unwrap_or("(not known)")
                )?;
                writeln!(
                    out,
                    "expected: \"{}\" ({expected_len} bytes in this flush)",
                    expected.escape_ascii()
                )?;
                write!(
                    out,
                    "got:      \"{}\" ({got_len} bytes in this flush)",
                    got.escape_ascii()
                )
            }
        }
    }
}

/// A journal cannot be replayed at all.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{0}")]
    Journal(#[from] JournalError),
    #[error("the engine does not start from the journal's header: {0}")]
    Start(String),
    #[error("record {record} names client {}, which is not connected", conn.0)]
    UnknownClient { record: u64, conn: ConnId },
}

/// Replays a journal from front to back, or to the first difference. To a difference it goes a second time, with an
/// engine that keeps a trace of its commands, which would slow down every replay that finds none.
pub fn replay<R: Read + Seek>(mut source: R) -> Result<Report, ReplayError> {
    let report = replay_once(&mut source, false)?;
    if report.difference.is_none() {
        return Ok(report);
    }
    source.rewind().map_err(JournalError::Io)?;
    replay_once(source, true)
}

fn replay_once<R: Read>(source: R, is_tracing: bool) -> Result<Report, ReplayError> {
    let (mut reader, header) = JournalReader::open(source)?;
    let boot = header.into_boot(is_tracing).map_err(ReplayError::Start)?;
    let mut engine = Engine::new(boot).map_err(ReplayError::Start)?;
    engine.repeat_findings();
    let mut replay = Replay {
        engine,
        replied: Vec::new(),
        want: None,
        slices: Vec::new(),
        records: 0,
        reply_bytes: 0,
    };
    replay.engine.handle_start();
    let mut difference = None;
    while let Some(record) = reader.next().map_err(JournalError::Io)? {
        difference = replay.step(record)?;
        if difference.is_some() {
            break;
        }
        replay.records += 1;
    }
    Ok(Report {
        commands: replay.engine.commands_processed(),
        records: replay.records,
        reply_bytes: replay.reply_bytes,
        tail: reader.tail(),
        difference,
    })
}

struct Replay {
    engine: Engine,
    /// For each connected client the bytes of replies it has taken.
    replied: Vec<Option<u64>>,
    /// What the engine waits for; the next record must answer it.
    want: Option<Want>,
    /// Kept for its memory; empty between calls.
    slices: Vec<IoSlice<'static>>,
    records: u64,
    reply_bytes: u64,
}

impl Replay {
    fn step(&mut self, record: Record<'_>) -> Result<Option<Difference>, ReplayError> {
        if let Some(what) = self.disagreement(&record) {
            return Ok(Some(self.disagree(what)));
        }
        match record {
            Record::Findings(findings) => {
                self.engine.feed_findings(&findings);
                return Ok(None);
            }
            Record::Time(now) => {
                // Behind each turn nobody was left to be flushed.
                while self.engine.poll_flush().is_some() {}
                self.drain();
                self.engine.handle_time(now);
            }
            Record::TurnEnd(now) => self.engine.handle_turn_end(now),
            Record::Accept { conn, peer } => {
                if !self.engine.can_accept(conn) {
                    let what = format!("client {} cannot come, its place is not free", conn.0);
                    return Ok(Some(self.disagree(what)));
                }
                self.engine.handle_accept(conn, peer);
                let index = conn.0 as usize;
                if index >= self.replied.len() {
                    self.replied.resize(index + 1, None);
                }
                self.replied[index] = Some(0);
            }
            Record::Read { conn, bytes } => {
                self.known(conn)?;
                self.engine.handle(&Input::Read { conn, bytes });
            }
            Record::Closed { conn, reason } => {
                self.known(conn)?;
                self.engine.handle_closed(conn, reason);
                self.replied[conn.0 as usize] = None;
            }
            Record::Wrote { conn, check, taken } => {
                let pos = self.known(conn)?;
                self.drain();
                self.engine.unqueue_flush(conn);
                if let Some(difference) = self.compare(conn, pos, &check) {
                    return Ok(Some(difference));
                }
                self.reply_bytes += taken as u64;
                self.replied[conn.0 as usize] = Some(pos + taken as u64);
                self.wrote(conn, taken);
            }
            Record::Blocked { conn } => {
                self.known(conn)?;
                self.drain();
                self.engine.unqueue_flush(conn);
                self.wrote(conn, 0);
            }
            Record::Clock(now) => self.engine.handle_clock(now),
            Record::Reading(reading) => self.engine.handle_reading(reading),
            Record::Done { ticket, outcome } => {
                self.drain();
                self.engine.handle_done(ticket, outcome);
            }
            Record::Appended(appended) => {
                self.drain();
                self.engine.handle_appended(appended);
            }
            Record::Signal(signal) => self.engine.handle_signal(signal),
            Record::Chunk {
                ticket,
                size,
                bytes,
            } => {
                self.drain();
                self.engine.handle_chunk(ticket, size, bytes);
            }
        }
        self.want = self.engine.poll_want();
        Ok(match self.engine.unasked_findings() {
            0 => None,
            count => Some(self.disagree(format!(
                "the engine did not look where the meter had found too much memory in use, {count} times"
            ))),
        })
    }

    /// What is wrong with this record coming now.
    fn disagreement(&self, record: &Record<'_>) -> Option<String> {
        let is_right = match self.want {
            _ if matches!(record, Record::Findings(_)) => true,
            None => !matches!(record, Record::Clock(_) | Record::Reading(_)),
            Some(Want::Clock | Want::Sleep { .. }) => matches!(record, Record::Clock(_)),
            Some(Want::Reading) => matches!(record, Record::Reading(_)),
        };
        (!is_right).then(|| match self.want {
            Some(want) => format!(
                "the engine wants {want:?}, the journal has {}",
                kind(record)
            ),
            None => format!(
                "the journal has {}, the engine did not ask for it",
                kind(record)
            ),
        })
    }

    fn disagree(&self, what: String) -> Difference {
        Difference::Disagree {
            record: self.records,
            what,
        }
    }

    /// How many bytes of replies the client has taken, if it is there.
    fn known(&self, conn: ConnId) -> Result<u64, ReplayError> {
        let replied = self.replied.get(conn.0 as usize).copied().flatten();
        replied.ok_or(ReplayError::UnknownClient {
            record: self.records,
            conn,
        })
    }

    /// Takes what the shell would have been told. Nothing depends on it here; who is still to be flushed is another
    /// matter, since CLIENT LIST shows it: the journal has a record for each one who was.
    fn drain(&mut self) {
        while self.engine.poll_left().is_some() {}
        while self.engine.poll_resumed().is_some() {}
        while self.engine.poll_order().is_some() {}
        while self.engine.take_aof_batch().is_some() {}
    }

    fn wrote(&mut self, conn: ConnId, taken: usize) {
        if self.engine.handle_wrote(conn, taken) == Flush::Close {
            self.replied[conn.0 as usize] = None;
        }
    }

    fn compare(&mut self, conn: ConnId, pos: u64, check: &Check<'_>) -> Option<Difference> {
        let mut slices = recycle(std::mem::take(&mut self.slices));
        match self.engine.output_slice(conn) {
            Some([]) => {}
            Some(bytes) => slices.push(IoSlice::new(bytes)),
            None => self.engine.output(conn, &mut slices),
        }
        let got = (!check.matches(&slices))
            .then(|| slices.iter().flat_map(|slice| slice.to_vec()).collect());
        self.slices = recycle(slices);
        got.map(|got| difference(conn, pos, check, got, self.engine.command_trace(conn)))
    }
}

fn difference(
    conn: ConnId,
    pos: u64,
    check: &Check<'_>,
    got: Vec<u8>,
    trace: Vec<(u64, String)>,
) -> Difference {
    let same = check
        .head
        .iter()
        .zip(&got)
        .take_while(|(expected, got)| expected == got)
        .count();
    let is_exact = same < check.head.len() || check.len <= HEAD_BYTES_MAX || got.len() == same;
    let at = pos + same as u64;
    let command = trace
        .into_iter()
        .take_while(|(start, _)| *start <= at)
        .last()
        .map(|(_, command)| command);
    // Some of what was right in front of it, to see what reply this is.
    let from = same.saturating_sub(32);
    let shown = |bytes: &[u8]| bytes.iter().skip(from).copied().take(160).collect();
    Difference::Reply {
        conn,
        pos: at,
        is_exact,
        command,
        expected: shown(check.head),
        expected_len: check.len,
        got: shown(&got),
        got_len: got.len(),
    }
}

fn kind(record: &Record<'_>) -> &'static str {
    match record {
        Record::Time(_) => "the time of a new turn",
        Record::TurnEnd(_) => "the end of a turn",
        Record::Accept { .. } => "a new client",
        Record::Read { .. } => "bytes from a client",
        Record::Closed { .. } => "the end of a client",
        Record::Wrote { .. } | Record::Blocked { .. } => "a flush",
        Record::Clock(_) => "a clock reading",
        Record::Reading(_) => "a process reading",
        Record::Done { .. } => "the outcome of an order",
        Record::Appended(_) => "an append to the append-only file",
        Record::Signal(_) => "a signal",
        Record::Chunk { .. } => "a chunk of a file",
        Record::Findings(_) => "what the meter found",
    }
}

/// Empties the vector and keeps its memory for slices of another lifetime (collecting in place allocates nothing).
pub(crate) fn recycle<'a>(mut slices: Vec<IoSlice<'_>>) -> Vec<IoSlice<'a>> {
    slices.clear();
    slices.into_iter().map(|_| IoSlice::new(&[])).collect()
}

#[cfg(test)]
#[allow(
    clippy::disallowed_types,
    reason = "the tests keep their journals in files"
)]
mod tests {
    use super::*;
    use crate::border::{Boot, Peer, Reading};
    use crate::config::Config;
    use crate::journal::{Header, Recorder};
    use crate::state::UnixMicros;
    use std::fs::File;

    const START: UnixMicros = UnixMicros(1_700_000_000_000_000);

    /// Records a client that sends PING and takes `reply`, then replays it.
    fn replay_ping(reply: &[u8], extra: impl FnOnce(&mut Recorder)) -> Result<Report, ReplayError> {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("journal");
        let boot = Boot {
            config: Config::default(),
            config_file: None,
            rename_commands: Vec::new(),
            seed: 1,
            now: START,
            pid: 1,
            executable: "retrace".into(),
            os: "Linux".into(),
            is_recorded: true,
            replaying: false,
            ..Boot::default()
        };
        let file = File::create(&path).expect("writable");
        let mut to = Recorder::start(Box::new(file), &Header::of(&boot)).expect("writable");
        let peer = Peer {
            addr: "/s:0".into(),
            local_addr: "/s:0".into(),
            is_unix: true,
            is_local: true,
            fd: 9,
        };
        to.time(UnixMicros(START.0 + 10));
        // The first tick asks how long it took, and for a reading.
        to.clock(UnixMicros(START.0 + 11));
        to.reading(&Reading::default());
        // There is no file to load.
        to.chunk(1, None, b"");
        to.chunk(2, None, b"");
        to.accept(ConnId(0), &peer);
        to.read(ConnId(0), b"PING\r\n");
        to.turn_end(UnixMicros(START.0 + 20));
        to.wrote(ConnId(0), &[IoSlice::new(reply)], reply.len());
        extra(&mut to);
        drop(to);
        replay(File::open(&path).expect("readable"))
    }

    #[test]
    fn the_same_replies_are_identical() {
        let report = replay_ping(b"+PONG\r\n", |_| {}).expect("replays");
        assert_eq!(
            (report.difference, report.reply_bytes, report.commands),
            (None, 7, 1)
        );
        assert_eq!(report.tail, Tail::Clean);
    }

    #[test]
    fn the_first_difference_is_named() {
        let report = replay_ping(b"+PANG\r\n", |_| {}).expect("replays");
        match report.difference {
            Some(Difference::Reply {
                conn: ConnId(0),
                pos: 2,
                is_exact: true,
                expected,
                got,
                ..
            }) => {
                assert_eq!(
                    (&expected[..], &got[..]),
                    (&b"+PANG\r\n"[..], &b"+PONG\r\n"[..])
                );
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_client_whose_place_is_not_free_is_a_difference() {
        let peer = Peer {
            addr: "/s:0".into(),
            local_addr: "/s:0".into(),
            is_unix: true,
            is_local: true,
            fd: 9,
        };
        for place in [0, 2, u32::MAX - 1, u32::MAX] {
            let report = replay_ping(b"+PONG\r\n", |to| to.accept(ConnId(place), &peer));
            match report.expect("replays").difference {
                Some(Difference::Disagree { what, .. }) => {
                    assert_eq!(
                        what,
                        format!("client {place} cannot come, its place is not free")
                    );
                }
                other => panic!("{other:?}"),
            }
        }
        let report = replay_ping(b"+PONG\r\n", |to| to.accept(ConnId(1), &peer));
        assert_eq!(report.expect("replays").difference, None);
    }

    #[test]
    fn an_answer_without_a_question_is_a_difference() {
        let report = replay_ping(b"+PONG\r\n", |to| to.clock(START)).expect("replays");
        assert!(
            matches!(
                report.difference,
                Some(Difference::Disagree { record: 9, .. })
            ),
            "{report:?}"
        );
    }

    #[test]
    fn a_client_that_never_came_is_refused() {
        let error = replay_ping(b"+PONG\r\n", |to| to.read(ConnId(7), b"PING\r\n"))
            .expect_err("nobody there");
        assert_eq!(
            error.to_string(),
            "record 9 names client 7, which is not connected"
        );
    }
}
