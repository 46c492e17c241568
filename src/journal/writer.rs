//! The journal's writer. Buffers records and hands whole blocks to what the shell opened.

use super::header::Header;
use super::record::{self, Encoder};
use super::{BLOCK_BYTES, BLOCK_HEADER_BYTES, MAGIC, VERSION};
use crate::border::{Appended, CloseReason, Outcome, Peer, Reading, Signal};
use crate::state::meter::Finding;
use crate::state::{ConnId, UnixMicros};
use std::io::{self, IoSlice, Write};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// A block is also written when it has waited this long, so that a journal on disk is never far behind.
const BLOCK_AGE_US_MAX: i64 = 1_000_000;

/// Appends the Inputs of a running engine to a journal.
///
/// A failing disk does not stop the server: recording ends at the first error, which [`Recorder::take_error`] gives
/// out once.
pub struct Recorder {
    sink: Box<dyn Write + Send>,
    /// Room for the block's header, then the payload so far.
    block: Vec<u8>,
    /// Where the last Input's record begins.
    input_at: usize,
    index: u64,
    encoder: Encoder,
    written_at: UnixMicros,
    error: Option<io::Error>,
    failed: bool,
}

impl Recorder {
    /// Starts a journal: writes the magic, the version and the header.
    pub fn start(mut sink: Box<dyn Write + Send>, header: &Header) -> io::Result<Recorder> {
        sink.write_all(MAGIC)?;
        sink.write_all(&VERSION.to_le_bytes())?;
        let mut recorder = Recorder {
            sink,
            block: Vec::with_capacity(BLOCK_BYTES * 2),
            input_at: 0,
            index: 0,
            encoder: Encoder::default(),
            written_at: UnixMicros(header.now_us),
            error: None,
            failed: false,
        };
        recorder.open_block();
        recorder.block.extend_from_slice(&header.encode());
        recorder.flush();
        match recorder.error.take() {
            Some(error) => Err(error),
            None => Ok(recorder),
        }
    }

    /// The clock at the start of a turn. Writes the block when it has waited long enough.
    pub fn time(&mut self, now: UnixMicros) {
        let age = now.0.wrapping_sub(self.written_at.0);
        if !(0..BLOCK_AGE_US_MAX).contains(&age) {
            self.written_at = now;
            self.flush();
        }
        self.begin_record();
        self.encoder.time(&mut self.block, now);
    }

    /// A connection, which is called `conn` from now on.
    pub fn accept(&mut self, conn: ConnId, peer: &Peer) {
        self.begin_record();
        record::put_accept(&mut self.block, conn, peer);
    }

    pub fn read(&mut self, conn: ConnId, bytes: &[u8]) {
        self.begin_record();
        record::put_read(&mut self.block, conn, bytes);
    }

    pub fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        self.begin_record();
        record::put_closed(&mut self.block, conn, reason);
    }

    /// `offered` went to the socket, which took the first `taken` bytes.
    pub fn wrote(&mut self, conn: ConnId, offered: &[IoSlice<'_>], taken: usize) {
        self.begin_record();
        record::put_wrote(&mut self.block, conn, offered, taken);
    }

    /// The socket is known to be full and was offered nothing.
    pub fn blocked(&mut self, conn: ConnId) {
        self.begin_record();
        record::put_blocked(&mut self.block, conn);
    }

    pub fn turn_end(&mut self, now: UnixMicros) {
        self.begin_record();
        self.encoder.turn_end(&mut self.block, now);
    }

    pub fn clock(&mut self, now: UnixMicros) {
        self.begin_record();
        self.encoder.clock(&mut self.block, now);
    }

    pub fn reading(&mut self, reading: &Reading) {
        self.begin_record();
        record::put_reading(&mut self.block, reading);
    }

    pub fn done(&mut self, ticket: u64, outcome: &Outcome) {
        self.begin_record();
        record::put_done(&mut self.block, ticket, outcome);
    }

    pub fn appended(&mut self, appended: Appended) {
        self.begin_record();
        self.encoder.appended(&mut self.block, appended);
    }

    pub fn signal(&mut self, signal: Signal) {
        self.begin_record();
        record::put_signal(&mut self.block, signal);
    }

    /// A chunk of a file that is loaded.
    pub fn chunk(&mut self, ticket: u64, size: Option<u64>, bytes: &[u8]) {
        self.begin_record();
        record::put_chunk(&mut self.block, ticket, size, bytes);
    }

    /// Writes the block begun, if it holds anything.
    pub fn flush(&mut self) {
        if self.block.len() > BLOCK_HEADER_BYTES {
            self.write_block();
        }
    }

    /// Why recording ended, once.
    pub fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// What the meter found in the course of the Input that was recorded last: it goes in front of its record, so that
    /// a replay has it before the Input.
    pub fn findings(&mut self, findings: &[Finding]) {
        let mut record = Vec::new();
        record::put_findings(&mut record, findings);
        self.block.splice(self.input_at..self.input_at, record);
    }

    /// A full block is written before the next record, not behind the last, which may still get its findings.
    #[inline]
    fn begin_record(&mut self) {
        if self.block.len() >= BLOCK_BYTES {
            self.write_block();
        }
        self.input_at = self.block.len();
    }

    fn write_block(&mut self) {
        if !self.failed
            && let Err(error) = self.seal_and_write()
        {
            self.failed = true;
            self.error = Some(error);
        }
        self.index += 1;
        self.open_block();
    }

    fn seal_and_write(&mut self) -> io::Result<()> {
        let (header, payload) = self.block.split_at_mut(BLOCK_HEADER_BYTES);
        let len = u32::try_from(payload.len())
            .map_err(|_| io::Error::from(io::ErrorKind::FileTooLarge))?;
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4..].copy_from_slice(&xxh3_64_with_seed(payload, self.index).to_le_bytes());
        self.sink.write_all(&self.block)?;
        self.sink.flush()
    }

    fn open_block(&mut self) {
        self.block.clear();
        self.block.shrink_to(BLOCK_BYTES * 2);
        self.block.resize(BLOCK_HEADER_BYTES, 0);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.flush();
    }
}
