//! Driver: the engine with the journal in front. Every Input passes here, so that none can miss the journal.

use super::stream::Stream;
use crate::border::{Appended, CloseReason, Flush, Outcome, Peer, Signal, Want};
use crate::engine::Engine;
use crate::journal::Recorder;
use crate::journal::replay::recycle;
use crate::os::process;
use crate::state::aof::Batch;
use crate::state::{ConnId, UnixMicros};
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::time::Duration;

/// An engine and, when the run is recorded, its journal. After each Input the engine's wants are served.
pub struct Driver {
    engine: Engine,
    recorder: Option<Recorder>,
    /// Kept for its memory; empty between calls.
    slices: Vec<IoSlice<'static>>,
}

/// What came of a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadResult {
    /// Some bytes, and there is no more now.
    Short,
    /// As many bytes as there was space: more may wait.
    Full,
    Eof,
}

/// What came of a flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteResult {
    pub flush: Flush,
    /// The socket took less than it was offered.
    pub is_full: bool,
}

impl Driver {
    pub fn new(mut engine: Engine, recorder: Option<Recorder>) -> Driver {
        if recorder.is_some() {
            engine.note_findings();
        }
        Driver {
            engine,
            recorder,
            slices: Vec::new(),
        }
    }

    /// The engine, for what changes nothing in it.
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The engine, for the report of a crash, behind which it is not used any more.
    pub fn ask<R>(&mut self, ask: impl FnOnce(&mut Engine) -> R) -> R {
        ask(&mut self.engine)
    }

    pub fn poll_resumed(&mut self) -> Option<ConnId> {
        self.engine.poll_resumed()
    }

    pub fn poll_flush(&mut self) -> Option<ConnId> {
        self.engine.poll_flush()
    }

    pub fn poll_order(&mut self) -> Option<crate::border::Order> {
        self.engine.poll_order()
    }

    pub fn time(&mut self, now: UnixMicros) {
        if let Some(recorder) = &mut self.recorder {
            recorder.time(now);
        }
        self.engine.handle_time(now);
        self.serve_wants();
    }

    /// The turn ends: commands that were not timed one by one share the time it took, changes are broadcast.
    pub fn turn_end(&mut self) {
        if self.engine.wants_turn_end() {
            let now = process::clock();
            if let Some(recorder) = &mut self.recorder {
                recorder.turn_end(now);
            }
            self.engine.handle_turn_end(now);
            self.serve_wants();
        }
    }

    pub fn accept(&mut self, conn: ConnId, peer: Peer) {
        if let Some(recorder) = &mut self.recorder {
            recorder.accept(conn, &peer);
        }
        self.engine.handle_accept(conn, peer);
        self.serve_wants();
    }

    pub fn poll_left(&mut self) -> Option<ConnId> {
        self.engine.poll_left()
    }

    /// One read from the socket straight into the client's query buffer.
    #[inline]
    pub fn read(&mut self, conn: ConnId, stream: &mut Stream) -> io::Result<ReadResult> {
        let space = self.engine.read_buffer(conn);
        let len = match stream.read(space) {
            Ok(len) => len,
            Err(error) => {
                // Nothing came, but making room for it has grown a buffer, which CLIENT LIST shows.
                if let Some(recorder) = &mut self.recorder {
                    recorder.read(conn, b"");
                }
                return Err(error);
            }
        };
        if len == 0 {
            return Ok(ReadResult::Eof);
        }
        if let Some(recorder) = &mut self.recorder {
            recorder.read(conn, &space[..len]);
        }
        let is_full = len == space.len();
        self.engine.handle_read(conn, len);
        self.serve_wants();
        Ok(if is_full {
            ReadResult::Full
        } else {
            ReadResult::Short
        })
    }

    pub fn closed(&mut self, conn: ConnId, reason: CloseReason) {
        if let Some(recorder) = &mut self.recorder {
            recorder.closed(conn, reason);
        }
        self.engine.handle_closed(conn, reason);
        self.serve_wants();
    }

    /// One write of what the client's reply buffers hold straight to the socket.
    #[inline]
    pub fn write(&mut self, conn: ConnId, stream: &mut Stream) -> io::Result<WriteResult> {
        let (offered, taken) = match self.engine.output_slice(conn) {
            Some(bytes) => {
                let slice = [IoSlice::new(bytes)];
                let slices = if bytes.is_empty() {
                    &[][..]
                } else {
                    &slice[..]
                };
                let taken = write_once(stream, slices)?;
                if let Some(recorder) = &mut self.recorder {
                    recorder.wrote(conn, slices, taken);
                }
                (bytes.len(), taken)
            }
            None => {
                let mut slices = recycle(std::mem::take(&mut self.slices));
                self.engine.output(conn, &mut slices);
                let taken = write_once(stream, &slices);
                if let (Some(recorder), Ok(taken)) = (&mut self.recorder, &taken) {
                    recorder.wrote(conn, &slices, *taken);
                }
                let offered = slices.iter().map(|slice| slice.len()).sum();
                self.slices = recycle(slices);
                (offered, taken?)
            }
        };
        let flush = self.engine.handle_wrote(conn, taken);
        self.serve_wants();
        Ok(WriteResult {
            flush,
            is_full: taken < offered,
        })
    }

    /// Tells the engine that the socket is still full, without offering anything to it.
    pub fn blocked(&mut self, conn: ConnId) -> Flush {
        if let Some(recorder) = &mut self.recorder {
            recorder.blocked(conn);
        }
        let flush = self.engine.handle_wrote(conn, 0);
        self.serve_wants();
        flush
    }

    /// What the append-only file gets before replies leave. The bytes follow from the Inputs, so they need no record.
    pub fn take_aof_batch(&mut self) -> Option<Batch> {
        self.engine.take_aof_batch()
    }

    /// The server starts. There is no record of it: every journal begins with it.
    pub fn start(&mut self) {
        self.engine.handle_start();
        self.serve_wants();
    }

    pub fn chunk(&mut self, ticket: u64, size: Option<u64>, bytes: &[u8]) {
        if let Some(recorder) = &mut self.recorder {
            recorder.chunk(ticket, size, bytes);
        }
        self.engine.handle_chunk(ticket, size, bytes);
        self.serve_wants();
    }

    pub fn done(&mut self, ticket: u64, outcome: Outcome) {
        if let Some(recorder) = &mut self.recorder {
            recorder.done(ticket, &outcome);
        }
        self.engine.handle_done(ticket, outcome);
        self.serve_wants();
    }

    /// A batch was appended.
    pub fn appended(&mut self, appended: Appended) {
        if let Some(recorder) = &mut self.recorder {
            recorder.appended(appended);
        }
        self.engine.handle_appended(appended);
        self.serve_wants();
    }

    pub fn signal(&mut self, signal: Signal) {
        if let Some(recorder) = &mut self.recorder {
            recorder.signal(signal);
        }
        self.engine.handle_signal(signal);
        self.serve_wants();
    }

    /// Brings the journal to disk; the server goes on when that fails, and the caller logs it.
    pub fn flush_journal(&mut self) -> Option<io::Error> {
        let recorder = self.recorder.as_mut()?;
        recorder.flush();
        recorder.take_error()
    }

    /// Why recording ended, once.
    pub fn take_journal_error(&mut self) -> Option<io::Error> {
        let error = self.recorder.as_mut()?.take_error()?;
        // A journal that has ended needs no record of it.
        self.engine.handle_journal_lost();
        Some(error)
    }

    #[inline]
    fn serve_wants(&mut self) {
        self.record_findings();
        while let Some(want) = self.engine.poll_want() {
            self.serve(want);
            self.record_findings();
        }
    }

    /// What the meter found in the course of the Input that the engine has just had.
    #[inline]
    fn record_findings(&mut self) {
        if self.engine.has_findings()
            && let Some(recorder) = &mut self.recorder
        {
            recorder.findings(&self.engine.take_findings());
        }
    }

    fn serve(&mut self, want: Want) {
        match want {
            Want::Reading => {
                let reading = process::reading();
                if let Some(recorder) = &mut self.recorder {
                    recorder.reading(&reading);
                }
                self.engine.handle_reading(reading);
                return;
            }
            Want::Sleep { us } => std::thread::sleep(Duration::from_micros(us)),
            Want::Clock => {}
        }
        let now = process::clock();
        if let Some(recorder) = &mut self.recorder {
            recorder.clock(now);
        }
        self.engine.handle_clock(now);
    }
}

/// One system call for all slices, none when there is nothing. A full socket takes 0.
fn write_once(stream: &mut Stream, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    loop {
        let taken = match slices {
            [] => return Ok(0),
            [only] => stream.write(only),
            _ => stream.write_vectored(slices),
        };
        match taken {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(0),
            other => return other,
        }
    }
}
