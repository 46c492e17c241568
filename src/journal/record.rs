//! One record of the journal: an Input, or the check of a flush.

use super::HEAD_BYTES_MAX;
use super::varint::{Cursor, Malformed, put, put_bytes, put_signed};
use crate::border::{Appended, CloseReason, Outcome, Peer, Reading, Signal};
use crate::state::meter::Finding;
use crate::state::{ConnId, UnixMicros};
use std::io::IoSlice;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

const TIME: u8 = 1;
const ACCEPT: u8 = 2;
const READ: u8 = 3;
const CLOSED: u8 = 4;
const WROTE_ALL: u8 = 5;
const WROTE_PART: u8 = 6;
const BLOCKED: u8 = 7;
const CLOCK: u8 = 8;
const READING: u8 = 9;
const DONE: u8 = 10;
const SIGNAL: u8 = 11;
const TURN_END: u8 = 12;
const FINDINGS: u8 = 13;
const CHUNK: u8 = 14;
const APPENDED: u8 = 15;

/// One record; bytes are borrowed from the block it was read from.
#[derive(Clone, Debug, PartialEq)]
pub enum Record<'a> {
    Time(UnixMicros),
    TurnEnd(UnixMicros),
    /// `conn` is the number that the connection has from now on.
    Accept {
        conn: ConnId,
        peer: Peer,
    },
    Read {
        conn: ConnId,
        bytes: &'a [u8],
    },
    Closed {
        conn: ConnId,
        reason: CloseReason,
    },
    /// The pending replies were offered to the socket, which took the first `taken` bytes.
    Wrote {
        conn: ConnId,
        check: Check<'a>,
        taken: usize,
    },
    /// The socket was known to be full, so nothing was offered: as if it had taken nothing.
    Blocked {
        conn: ConnId,
    },
    Clock(UnixMicros),
    Reading(Reading),
    Done {
        ticket: u64,
        outcome: Outcome,
    },
    Appended(Appended),
    Signal(Signal),
    /// A chunk of a file that was loaded, and the file's length if there was one.
    Chunk {
        ticket: u64,
        size: Option<u64>,
        bytes: &'a [u8],
    },
    /// What the meter found in the course of the Input whose record follows.
    Findings(Vec<Finding>),
}

/// What a flush offered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check<'a> {
    /// How many bytes.
    pub len: usize,
    /// The first of them, [`HEAD_BYTES_MAX`] at most.
    pub head: &'a [u8],
    /// xxh3-64 of all of them, when they are more than `head`.
    pub digest: Option<u64>,
}

impl Check<'_> {
    /// Whether the flush offered these bytes. Needs no memory of its own.
    pub fn matches(&self, offered: &[IoSlice<'_>]) -> bool {
        let len: usize = offered.iter().map(|slice| slice.len()).sum();
        if len != self.len {
            return false;
        }
        if let Some(digest) = self.digest {
            return digest == digest_of(offered);
        }
        let mut head = self.head;
        offered
            .iter()
            .all(|slice| match head.split_at_checked(slice.len()) {
                Some((start, rest)) => {
                    head = rest;
                    start == &slice[..]
                }
                None => false,
            })
    }
}

/// xxh3-64 over the bytes of all slices, the same however they are cut.
pub(super) fn digest_of(slices: &[IoSlice<'_>]) -> u64 {
    if let [only] = slices {
        return xxh3_64(only);
    }
    let mut hasher = Xxh3::new();
    for slice in slices {
        hasher.update(slice);
    }
    hasher.digest()
}

/// Appends records to a block; remembers the time that the next one counts from.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    last_us: i64,
}

impl Encoder {
    pub fn time(&mut self, out: &mut Vec<u8>, now: UnixMicros) {
        self.stamp(out, TIME, now);
    }

    pub fn turn_end(&mut self, out: &mut Vec<u8>, now: UnixMicros) {
        self.stamp(out, TURN_END, now);
    }

    pub fn clock(&mut self, out: &mut Vec<u8>, now: UnixMicros) {
        self.stamp(out, CLOCK, now);
    }

    pub fn appended(&mut self, out: &mut Vec<u8>, appended: Appended) {
        self.stamp(out, APPENDED, appended.now);
        put(out, appended.write_us);
        out.push(u8::from(appended.sync_us.is_some()));
        if let Some(sync_us) = appended.sync_us {
            put(out, sync_us);
        }
    }

    fn stamp(&mut self, out: &mut Vec<u8>, tag: u8, now: UnixMicros) {
        out.push(tag);
        put_signed(out, now.0.wrapping_sub(self.last_us));
        self.last_us = now.0;
    }
}

pub(super) fn put_accept(out: &mut Vec<u8>, conn: ConnId, peer: &Peer) {
    out.push(ACCEPT);
    put(out, u64::from(conn.0));
    put_bytes(out, peer.addr.as_bytes());
    put_bytes(out, peer.local_addr.as_bytes());
    out.push(u8::from(peer.is_unix) | u8::from(peer.is_local) << 1);
    put_signed(out, i64::from(peer.fd));
}

pub(super) fn put_read(out: &mut Vec<u8>, conn: ConnId, bytes: &[u8]) {
    out.push(READ);
    put(out, u64::from(conn.0));
    put_bytes(out, bytes);
}

pub(super) fn put_closed(out: &mut Vec<u8>, conn: ConnId, reason: CloseReason) {
    out.push(CLOSED);
    put(out, u64::from(conn.0));
    out.push(match reason {
        CloseReason::Eof => 0,
        CloseReason::Error => 1,
    });
}

pub(super) fn put_wrote(out: &mut Vec<u8>, conn: ConnId, offered: &[IoSlice<'_>], taken: usize) {
    let len: usize = offered.iter().map(|slice| slice.len()).sum();
    out.push(if taken == len { WROTE_ALL } else { WROTE_PART });
    put(out, u64::from(conn.0));
    put(out, len as u64);
    let mut room = HEAD_BYTES_MAX;
    for slice in offered {
        let part = &slice[..slice.len().min(room)];
        out.extend_from_slice(part);
        room -= part.len();
        if room == 0 {
            break;
        }
    }
    if len > HEAD_BYTES_MAX {
        out.extend_from_slice(&digest_of(offered).to_le_bytes());
    }
    if taken != len {
        put(out, taken as u64);
    }
}

pub(super) fn put_blocked(out: &mut Vec<u8>, conn: ConnId) {
    out.push(BLOCKED);
    put(out, u64::from(conn.0));
}

pub(super) fn put_reading(out: &mut Vec<u8>, reading: &Reading) {
    out.push(READING);
    for value in [
        reading.used_memory,
        reading.rss_bytes,
        reading.system_memory_bytes,
        reading.cpu_sys_us,
        reading.cpu_user_us,
        reading.cpu_sys_children_us,
        reading.cpu_user_children_us,
        reading.cpu_sys_main_thread_us,
        reading.cpu_user_main_thread_us,
    ] {
        put(out, value);
    }
}

pub(super) fn put_done(out: &mut Vec<u8>, ticket: u64, outcome: &Outcome) {
    out.push(DONE);
    put(out, ticket);
    match outcome {
        Ok(found) => {
            out.push(0);
            put_bytes(out, found);
        }
        Err(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
    }
}

pub(super) fn put_signal(out: &mut Vec<u8>, signal: Signal) {
    out.push(SIGNAL);
    out.push(match signal {
        Signal::Interrupt => 0,
        Signal::Terminate => 1,
    });
}

pub(super) fn put_chunk(out: &mut Vec<u8>, ticket: u64, size: Option<u64>, bytes: &[u8]) {
    out.push(CHUNK);
    put(out, ticket);
    out.push(u8::from(size.is_some()));
    put(out, size.unwrap_or(0));
    put_bytes(out, bytes);
}

pub(super) fn put_findings(out: &mut Vec<u8>, findings: &[Finding]) {
    out.push(FINDINGS);
    put(out, findings.len() as u64);
    let mut last = 0;
    for finding in findings {
        put(out, finding.looks_before);
        put_signed(out, (finding.used_bytes as i64).wrapping_sub(last));
        last = finding.used_bytes as i64;
    }
}

fn findings(cursor: &mut Cursor) -> Result<Vec<Finding>, Malformed> {
    let mut left = cursor.number()?;
    let mut last = 0i64;
    // Grows with what is really there.
    let mut findings = Vec::new();
    while left > 0 {
        let looks_before = cursor.number()?;
        last = last.wrapping_add(cursor.signed()?);
        findings.push(Finding {
            looks_before,
            used_bytes: last as u64,
        });
        left -= 1;
    }
    Ok(findings)
}

/// Reads the next record of a payload. `last_us` is the time that the record counts from.
pub(super) fn decode<'a>(
    cursor: &mut Cursor<'a>,
    last_us: &mut i64,
) -> Result<Record<'a>, Malformed> {
    let tag = cursor.byte()?;
    let mut time = |cursor: &mut Cursor<'a>| {
        *last_us = last_us.wrapping_add(cursor.signed()?);
        Ok(UnixMicros(*last_us))
    };
    Ok(match tag {
        TIME => Record::Time(time(cursor)?),
        TURN_END => Record::TurnEnd(time(cursor)?),
        CLOCK => Record::Clock(time(cursor)?),
        APPENDED => Record::Appended(Appended {
            now: time(cursor)?,
            write_us: cursor.number()?,
            sync_us: match cursor.byte()? {
                0 => None,
                1 => Some(cursor.number()?),
                _ => return Err(Malformed),
            },
        }),
        ACCEPT => Record::Accept {
            conn: conn(cursor)?,
            peer: peer(cursor)?,
        },
        READ => Record::Read {
            conn: conn(cursor)?,
            bytes: cursor.bytes()?,
        },
        CLOSED => Record::Closed {
            conn: conn(cursor)?,
            reason: match cursor.byte()? {
                0 => CloseReason::Eof,
                1 => CloseReason::Error,
                _ => return Err(Malformed),
            },
        },
        WROTE_ALL | WROTE_PART => wrote(cursor, tag == WROTE_ALL)?,
        BLOCKED => Record::Blocked {
            conn: conn(cursor)?,
        },
        READING => Record::Reading(Reading {
            used_memory: cursor.number()?,
            rss_bytes: cursor.number()?,
            system_memory_bytes: cursor.number()?,
            cpu_sys_us: cursor.number()?,
            cpu_user_us: cursor.number()?,
            cpu_sys_children_us: cursor.number()?,
            cpu_user_children_us: cursor.number()?,
            cpu_sys_main_thread_us: cursor.number()?,
            cpu_user_main_thread_us: cursor.number()?,
        }),
        DONE => Record::Done {
            ticket: cursor.number()?,
            outcome: match cursor.byte()? {
                0 => Ok(cursor.bytes()?.to_vec()),
                1 => Err(cursor.text()?),
                _ => return Err(Malformed),
            },
        },
        SIGNAL => Record::Signal(match cursor.byte()? {
            0 => Signal::Interrupt,
            1 => Signal::Terminate,
            _ => return Err(Malformed),
        }),
        CHUNK => Record::Chunk {
            ticket: cursor.number()?,
            size: match (cursor.byte()?, cursor.number()?) {
                (0, _) => None,
                (1, size) => Some(size),
                _ => return Err(Malformed),
            },
            bytes: cursor.bytes()?,
        },
        FINDINGS => Record::Findings(findings(cursor)?),
        _ => return Err(Malformed),
    })
}

fn conn(cursor: &mut Cursor) -> Result<ConnId, Malformed> {
    cursor.u32().map(ConnId)
}

fn peer(cursor: &mut Cursor) -> Result<Peer, Malformed> {
    let addr = cursor.text()?;
    let local_addr = cursor.text()?;
    let flags = cursor.byte()?;
    if flags > 3 {
        return Err(Malformed);
    }
    let fd = i32::try_from(cursor.signed()?).map_err(|_| Malformed)?;
    Ok(Peer {
        addr,
        local_addr,
        is_unix: flags & 1 != 0,
        is_local: flags & 2 != 0,
        fd,
    })
}

fn wrote<'a>(cursor: &mut Cursor<'a>, all: bool) -> Result<Record<'a>, Malformed> {
    let conn = conn(cursor)?;
    let len = usize::try_from(cursor.number()?).map_err(|_| Malformed)?;
    let head = cursor.take(len.min(HEAD_BYTES_MAX))?;
    let digest = if len > HEAD_BYTES_MAX {
        Some(cursor.u64_fixed()?)
    } else {
        None
    };
    let taken = if all {
        len
    } else {
        usize::try_from(cursor.number()?).map_err(|_| Malformed)?
    };
    if taken > len {
        return Err(Malformed);
    }
    Ok(Record::Wrote {
        conn,
        check: Check { len, head, digest },
        taken,
    })
}
