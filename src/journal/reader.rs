//! The journal's reader: takes any bytes, believes only what carries its checksum, and tells where that ends.

use super::header::Header;
use super::record::{Record, decode};
use super::varint::Cursor;
use super::{BLOCK_HEADER_BYTES, MAGIC, VERSION};
use std::io::{self, Read};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Why a file is not a journal that can be read at all.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("not a journal: it does not start as one")]
    NotAJournal,
    #[error("the journal has version {0}, this program reads version {VERSION}")]
    OtherVersion(u32),
    #[error("the journal's header is damaged")]
    BadHeader,
    #[error("the journal ends before its header does: nothing of the run is in it")]
    Empty,
}

/// How a journal ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// After a whole block.
    Clean,
    /// Within a block, which is left out: the writer was stopped while it wrote. `sound_bytes` are good.
    Torn { sound_bytes: u64 },
    /// With a block that is not what was written. `sound_bytes` are good.
    Corrupt { sound_bytes: u64 },
}

/// Reads a journal record by record.
pub struct JournalReader<R> {
    source: R,
    block: Vec<u8>,
    pos: usize,
    index: u64,
    last_us: i64,
    sound_bytes: u64,
    tail: Option<Tail>,
}

impl<R: Read> JournalReader<R> {
    /// Reads the header and stands before the first record.
    pub fn open(mut source: R) -> Result<(JournalReader<R>, Header), JournalError> {
        const START: usize = MAGIC.len() + 4;
        let mut start = Vec::new();
        source.by_ref().take(START as u64).read_to_end(&mut start)?;
        if start.len() < START {
            let begins = MAGIC.starts_with(&start) || start.starts_with(MAGIC);
            return Err(match begins {
                true => JournalError::Empty,
                false => JournalError::NotAJournal,
            });
        }
        let (magic, version) = start.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(JournalError::NotAJournal);
        }
        let version = u32::from_le_bytes([version[0], version[1], version[2], version[3]]);
        if version != VERSION {
            return Err(JournalError::OtherVersion(version));
        }
        let mut reader = JournalReader {
            source,
            block: Vec::new(),
            pos: 0,
            index: 0,
            last_us: 0,
            sound_bytes: start.len() as u64,
            tail: None,
        };
        if !reader.next_block()? {
            return Err(match reader.tail {
                Some(Tail::Corrupt { .. }) => JournalError::BadHeader,
                _ => JournalError::Empty,
            });
        }
        let header = Header::decode(&reader.block).map_err(|_| JournalError::BadHeader)?;
        reader.pos = reader.block.len();
        Ok((reader, header))
    }

    /// The next record, or none at the end of what is sound; [`JournalReader::tail`] then says how it ended.
    // Not an `Iterator`: a record borrows the block it lies in.
    #[allow(clippy::should_implement_trait)]
    pub fn next(&mut self) -> io::Result<Option<Record<'_>>> {
        while self.pos == self.block.len() {
            if self.tail.is_some() || !self.next_block()? {
                return Ok(None);
            }
        }
        let mut cursor = Cursor::new(&self.block[self.pos..]);
        match decode(&mut cursor, &mut self.last_us) {
            Ok(record) => {
                self.pos = self.block.len() - cursor.len();
                Ok(Some(record))
            }
            Err(_) => {
                // The checksum is right, so this was written so: by another program, or by hand.
                self.sound_bytes -= (self.block.len() - self.pos) as u64;
                self.pos = self.block.len();
                self.tail = Some(Tail::Corrupt {
                    sound_bytes: self.sound_bytes,
                });
                Ok(None)
            }
        }
    }

    /// How the journal ended; before the end: clean so far.
    pub fn tail(&self) -> Tail {
        self.tail.unwrap_or(Tail::Clean)
    }

    /// Bytes of the file that were read and found good.
    pub fn sound_bytes(&self) -> u64 {
        self.sound_bytes
    }

    /// Reads a block; false at the end, whichever way it came.
    fn next_block(&mut self) -> io::Result<bool> {
        self.pos = 0;
        self.block.clear();
        let mut header = [0; BLOCK_HEADER_BYTES];
        let got = read_up_to(&mut self.source, &mut header)?;
        if got < header.len() {
            let sound_bytes = self.sound_bytes;
            self.tail = Some(if got == 0 {
                Tail::Clean
            } else {
                Tail::Torn { sound_bytes }
            });
            return Ok(false);
        }
        let len = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
        let mut checksum = [0; 8];
        checksum.copy_from_slice(&header[4..]);
        // Grows with what is really there: a length out of garbage reserves nothing.
        let got = (&mut self.source)
            .take(u64::from(len))
            .read_to_end(&mut self.block)?;
        let sound_bytes = self.sound_bytes;
        if got < len as usize {
            self.block.clear();
            self.tail = Some(Tail::Torn { sound_bytes });
            return Ok(false);
        }
        if xxh3_64_with_seed(&self.block, self.index) != u64::from_le_bytes(checksum) {
            self.block.clear();
            self.tail = Some(Tail::Corrupt { sound_bytes });
            return Ok(false);
        }
        self.index += 1;
        self.sound_bytes += (BLOCK_HEADER_BYTES + self.block.len()) as u64;
        Ok(true)
    }
}

/// Reads until `buffer` is full or the source ends; returns how much there was.
fn read_up_to(source: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(len) => filled += len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::super::Recorder;
    use super::*;
    use crate::border::{Appended, CloseReason, Peer, Reading, Signal};
    use crate::state::{ConnId, UnixMicros};
    use std::io::{IoSlice, Write};
    use std::sync::{Arc, Mutex};

    /// A file in memory that outlives the recorder.
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("one thread").extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn header() -> Header {
        Header {
            program_version: "0.1.0".into(),
            config: vec![
                ("port".into(), b"6379".to_vec()),
                ("bind".into(), b"* -::*".to_vec()),
            ],
            config_file: Some("/etc/retrace.conf".into()),
            rename_commands: vec![("config".into(), "".into())],
            users: vec![vec![b"u".to_vec(), b"on".to_vec()], vec![b"v".to_vec()]],
            acl_file: Some(b"user x on\n".to_vec()),
            secret: [9; 32],
            seed: 0xfeed_f00d_dead_beef,
            now_us: 1_700_000_000_000_000,
            pid: 77,
            executable: "/usr/bin/retrace".into(),
            os: "Linux 6.1 x86_64".into(),
        }
    }

    fn journal(write: impl FnOnce(&mut Recorder)) -> Vec<u8> {
        let file = Shared::default();
        let mut recorder = Recorder::start(Box::new(file.clone()), &header()).expect("memory");
        write(&mut recorder);
        drop(recorder);
        file.0
            .lock()
            .map(|bytes| bytes.clone())
            .expect("one thread")
    }

    fn read_all(bytes: &[u8]) -> (Vec<String>, Tail) {
        let (mut reader, got) = JournalReader::open(bytes).expect("a journal");
        assert_eq!(got, header());
        let mut records = Vec::new();
        while let Some(record) = reader.next().expect("memory") {
            records.push(format!("{record:?}"));
        }
        (records, reader.tail())
    }

    #[test]
    fn every_kind_of_record_comes_back() {
        let peer = Peer {
            addr: "[::1]:5".into(),
            local_addr: "[::1]:6379".into(),
            is_unix: false,
            is_local: true,
            fd: 9,
        };
        let appended = |sync_us| Appended {
            now: UnixMicros(1_700_000_000_000_500),
            write_us: 300,
            sync_us,
        };
        let long = vec![b'x'; 300];
        let reading = Reading {
            used_memory: 1 << 40,
            cpu_user_main_thread_us: 3,
            ..Reading::default()
        };
        let bytes = journal(|to| {
            to.time(UnixMicros(1_700_000_000_000_010));
            to.accept(ConnId(3), &peer);
            to.read(ConnId(3), b"PING\r\n");
            to.clock(UnixMicros(1_700_000_000_000_005));
            to.wrote(
                ConnId(3),
                &[IoSlice::new(b"+PO"), IoSlice::new(b"NG\r\n")],
                7,
            );
            to.wrote(
                ConnId(3),
                &[IoSlice::new(&long), IoSlice::new(b"tail")],
                301,
            );
            to.wrote(ConnId(3), &[], 0);
            to.blocked(ConnId(300));
            to.reading(&reading);
            to.done(7, &Ok(b"found".to_vec()));
            to.done(8, &Err("no".into()));
            to.appended(appended(Some(70)));
            to.appended(appended(None));
            to.signal(Signal::Terminate);
            to.closed(ConnId(3), CloseReason::Error);
        });
        let (mut reader, _) = JournalReader::open(&bytes[..]).expect("a journal");
        let mut want = vec![
            Record::Time(UnixMicros(1_700_000_000_000_010)),
            Record::Accept {
                conn: ConnId(3),
                peer,
            },
            Record::Read {
                conn: ConnId(3),
                bytes: b"PING\r\n",
            },
            Record::Clock(UnixMicros(1_700_000_000_000_005)),
        ]
        .into_iter();
        for want in want.by_ref() {
            assert_eq!(reader.next().expect("memory"), Some(want));
        }
        match reader.next().expect("memory") {
            Some(Record::Wrote {
                conn: ConnId(3),
                check,
                taken: 7,
            }) => {
                assert_eq!(
                    (check.len, check.head, check.digest),
                    (7, &b"+PONG\r\n"[..], None)
                );
                assert!(check.matches(&[IoSlice::new(b"+"), IoSlice::new(b"PONG\r\n")]));
                assert!(!check.matches(&[IoSlice::new(b"+"), IoSlice::new(b"PANG\r\n")]));
                assert!(!check.matches(&[IoSlice::new(b"+PONG\r")]));
            }
            other => panic!("{other:?}"),
        }
        match reader.next().expect("memory") {
            Some(Record::Wrote {
                conn: ConnId(3),
                check,
                taken: 301,
            }) => {
                assert_eq!(
                    (check.len, check.head.len(), check.digest.is_some()),
                    (304, 256, true)
                );
                let whole = [&long[..], b"tail"].concat();
                assert!(check.matches(&[IoSlice::new(&whole)]));
                assert!(!check.matches(&[IoSlice::new(&long), IoSlice::new(b"toil")]));
            }
            other => panic!("{other:?}"),
        }
        assert!(matches!(
            reader.next(),
            Ok(Some(Record::Wrote { taken: 0, .. }))
        ));
        for want in [
            Record::Blocked { conn: ConnId(300) },
            Record::Reading(reading),
            Record::Done {
                ticket: 7,
                outcome: Ok("found".into()),
            },
            Record::Done {
                ticket: 8,
                outcome: Err("no".into()),
            },
            Record::Appended(appended(Some(70))),
            Record::Appended(appended(None)),
            Record::Signal(Signal::Terminate),
            Record::Closed {
                conn: ConnId(3),
                reason: CloseReason::Error,
            },
        ] {
            assert_eq!(reader.next().expect("memory"), Some(want));
        }
        assert_eq!(reader.next().expect("memory"), None);
        assert_eq!(reader.tail(), Tail::Clean);
        assert_eq!(reader.sound_bytes(), bytes.len() as u64);
    }

    fn long_journal() -> Vec<u8> {
        let payload = vec![b'p'; 5_000];
        journal(|to| {
            for turn in 0..60 {
                to.time(UnixMicros(1_700_000_000_000_000 + turn * 1_000));
                to.read(ConnId(turn as u32), &payload);
            }
            to.read(ConnId(1), &vec![b'q'; 200_000]);
        })
    }

    #[test]
    fn records_span_many_blocks() {
        let (records, tail) = read_all(&long_journal());
        assert_eq!((records.len(), tail), (121, Tail::Clean));
    }

    #[test]
    fn a_torn_tail_costs_the_last_block_only() {
        let whole = long_journal();
        let (all, _) = read_all(&whole);
        let start = JournalReader::open(&whole[..])
            .expect("a journal")
            .0
            .sound_bytes() as usize;
        for cut in (start..whole.len()).step_by(997) {
            let (records, tail) = read_all(&whole[..cut]);
            assert_eq!(records[..], all[..records.len()]);
            match tail {
                Tail::Torn { sound_bytes } => assert!(sound_bytes < cut as u64),
                Tail::Clean => assert!(cut == start),
                Tail::Corrupt { .. } => panic!("cut at {cut}"),
            }
        }
    }

    #[test]
    fn a_flipped_bit_ends_the_journal_before_its_block() {
        let whole = long_journal();
        let (all, _) = read_all(&whole);
        let start = JournalReader::open(&whole[..])
            .expect("a journal")
            .0
            .sound_bytes() as usize;
        for at in (start..whole.len()).step_by(1_009) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            let (records, tail) = read_all(&bytes);
            assert_eq!(records[..], all[..records.len()]);
            assert!(
                records.len() < all.len() && tail != Tail::Clean,
                "flipped at {at}"
            );
        }
    }

    #[test]
    fn garbage_is_refused_quietly() {
        let mut state = 0x9e37_79b9_7f4a_7c15u64;
        let mut random = move || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state
        };
        for len in 0..200 {
            let bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
            assert!(JournalReader::open(&bytes[..]).is_err());
            // Records with a right checksum around wrong contents.
            let mut sealed = journal(|_| {});
            sealed.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
            sealed.extend_from_slice(&xxh3_64_with_seed(&bytes, 1).to_le_bytes());
            sealed.extend_from_slice(&bytes);
            read_all(&sealed);
            // A header with a right checksum around wrong contents.
            let mut sealed = [
                &MAGIC[..],
                &VERSION.to_le_bytes(),
                &(bytes.len() as u32).to_le_bytes(),
            ]
            .concat();
            sealed.extend_from_slice(&xxh3_64_with_seed(&bytes, 0).to_le_bytes());
            sealed.extend_from_slice(&bytes);
            assert!(JournalReader::open(&sealed[..]).is_err());
        }
        // A block that claims four gigabytes.
        let mut claim = journal(|_| {});
        let sound_bytes = claim.len() as u64;
        claim.extend_from_slice(&[0xff; 40]);
        assert_eq!(read_all(&claim), (Vec::new(), Tail::Torn { sound_bytes }));
    }
}
