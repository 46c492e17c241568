//! The check of commands as append-only files hold them.
//!
//! ```text
//! *<arguments>\r\n ($<bytes>\r\n<argument>\r\n)*
//! #<annotation>\r\n
//! ```
//!
//! Unlike the loader this says what was expected where it breaks, and holds no command in memory: arguments behind the
//! name are skipped. The file is sound up to the last whole command outside a transaction, because a server takes a
//! transaction as a whole or not at all.

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read};

use super::{Flaw, Report, Verdict, counted, shown};

/// Lines, without their end, are not longer.
const LINE_MAX: u64 = 1024;
/// A name that is longer is no command's.
const NAME_MAX: u64 = 64;
/// So many different names are counted one by one.
const NAMES_MAX: usize = 1024;
/// More arguments no command has.
const ARGS_MAX: u64 = 1 << 31;

/// Why reading stopped.
enum Stop {
    Io(io::Error),
    /// The file ends.
    Cut(String),
    /// What is there is something else.
    Format(String),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Io(error)
    }
}

#[derive(Default)]
struct Contents {
    commands: u64,
    names: BTreeMap<Vec<u8>, u64>,
    other_names: u64,
    transactions: u64,
    /// The first and the last time that an annotation tells.
    times: Option<(i64, i64)>,
}

/// Reads commands that begin at `pos` of a file of `size` bytes to its end.
pub fn check(source: &mut impl BufRead, pos: u64, size: u64) -> io::Result<Report> {
    let mut tape = Tape { source, pos, size };
    let mut contents = Contents::default();
    let (mut sound_bytes, mut multi_at) = (pos, None);
    let flaw = loop {
        let start = tape.pos;
        let trouble = match contents.read_part(&mut tape) {
            Ok(None) => match multi_at {
                None => break None,
                Some(at) => (
                    start,
                    format!("the file ends within the transaction that begins at byte {at}"),
                ),
            },
            Ok(Some(part)) => match (part, multi_at) {
                (Part::Multi, None) => {
                    multi_at = Some(start);
                    continue;
                }
                (Part::Multi, Some(_)) => (start, "MULTI within a transaction".to_owned()),
                (Part::Exec, None) => (start, "EXEC without a transaction".to_owned()),
                (Part::Exec, Some(_)) => {
                    multi_at = None;
                    contents.transactions += 1;
                    sound_bytes = tape.pos;
                    continue;
                }
                (Part::Other, Some(_)) => continue,
                (Part::Other, None) => {
                    sound_bytes = tape.pos;
                    continue;
                }
            },
            Err(Stop::Io(error)) => return Err(error),
            Err(Stop::Cut(what)) => (tape.pos, format!("the file ends too early: {what}")),
            Err(Stop::Format(what)) => (tape.pos, what),
        };
        break Some(Flaw {
            pos: trouble.0,
            what: trouble.1,
            sound_bytes: Some(sound_bytes),
        });
    };
    Ok(Report {
        lines: contents.lines(),
        verdict: flaw.map_or(Verdict::Sound, Verdict::Broken),
    })
}

/// What a part of the file is to transactions.
enum Part {
    Multi,
    Exec,
    Other,
}

impl Contents {
    /// Reads a command or an annotation; nothing at the end.
    fn read_part<R: BufRead>(&mut self, tape: &mut Tape<'_, R>) -> Result<Option<Part>, Stop> {
        let Some(first) = tape.peek()? else {
            return Ok(None);
        };
        if first == b'#' {
            let line = tape.line("an annotation")?;
            let secs = line.strip_prefix(b"#TS:");
            let secs = secs.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
            if let Some(secs) = secs {
                let first = self.times.map_or(secs, |(first, _)| first);
                self.times = Some((first, secs));
            }
            return Ok(Some(Part::Other));
        }
        let count = tape.number(b'*', "a number of arguments")?;
        if !(1..=ARGS_MAX).contains(&count) {
            return Err(Stop::Format(format!("a command of {count} arguments")));
        }
        let mut name = Vec::new();
        for index in 0..count {
            let len = tape.number(b'$', "the length of an argument")?;
            match index {
                0 if len <= NAME_MAX => name = tape.bytes(len)?,
                _ => tape.skip(len)?,
            }
            tape.line_end()?;
        }
        name.make_ascii_uppercase();
        let part = match &name[..] {
            b"MULTI" => Part::Multi,
            b"EXEC" => Part::Exec,
            _ => Part::Other,
        };
        self.commands += 1;
        if self.names.len() < NAMES_MAX || self.names.contains_key(&name) {
            *self.names.entry(name).or_default() += 1;
        } else {
            self.other_names += 1;
        }
        Ok(Some(part))
    }

    fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!(
            "{}, {}",
            counted(self.commands, "command", "commands"),
            counted(self.transactions, "transaction", "transactions")
        )];
        if let Some((first, last)) = self.times {
            lines.push(format!("written from Unix second {first} to {last}"));
        }
        for (name, count) in &self.names {
            lines.push(format!("  {} {count}", shown(name)));
        }
        if self.other_names > 0 {
            lines.push(format!("  others {}", self.other_names));
        }
        lines
    }
}

/// The file, with the place of the next byte.
struct Tape<'a, R> {
    source: &'a mut R,
    pos: u64,
    size: u64,
}

impl<R: BufRead> Tape<'_, R> {
    fn peek(&mut self) -> io::Result<Option<u8>> {
        Ok(self.source.fill_buf()?.first().copied())
    }

    /// A line, without its end. It must end with CR and LF.
    fn line(&mut self, what: &str) -> Result<Vec<u8>, Stop> {
        let mut line = Vec::new();
        // The end has two bytes more.
        let len = Read::take(&mut *self.source, LINE_MAX + 2).read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(text) => {
                self.pos += len as u64;
                Ok(text.to_vec())
            }
            None if line.ends_with(b"\n") => {
                Err(Stop::Format(format!("{what} does not end with CR LF")))
            }
            None if len as u64 == LINE_MAX + 2 => Err(Stop::Format(format!(
                "{what} is longer than {LINE_MAX} bytes"
            ))),
            None => Err(Stop::Cut(format!("{what} was expected"))),
        }
    }

    fn number(&mut self, mark: u8, what: &str) -> Result<u64, Stop> {
        match self.peek()? {
            Some(byte) if byte == mark => {}
            Some(byte) => {
                let found = byte.escape_ascii();
                let mark = mark.escape_ascii();
                let what = format!("'{mark}' and {what} were expected, and there is '{found}'");
                return Err(Stop::Format(what));
            }
            None => return Err(Stop::Cut(format!("{what} was expected"))),
        }
        let before = self.pos;
        let line = self.line(what)?;
        let text = std::str::from_utf8(&line[1..]).ok();
        // The plus sign that Rust reads is none of the format.
        let text = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        text.and_then(|text| text.parse().ok()).ok_or_else(|| {
            self.pos = before;
            Stop::Format(format!("'{}' is not {what}", shown(&line[1..])))
        })
    }

    /// Refuses a length that the file does not have.
    fn expect(&self, len: u64) -> Result<(), Stop> {
        let there = self.size.saturating_sub(self.pos);
        match len <= there {
            true => Ok(()),
            false => Err(Stop::Cut(format!(
                "{len} bytes were expected, and there are {there}"
            ))),
        }
    }

    fn bytes(&mut self, len: u64) -> Result<Vec<u8>, Stop> {
        self.expect(len)?;
        let mut bytes = Vec::new();
        Read::take(&mut *self.source, len).read_to_end(&mut bytes)?;
        self.pos += bytes.len() as u64;
        match bytes.len() as u64 == len {
            true => Ok(bytes),
            false => Err(Stop::Cut(format!("{len} bytes were expected"))),
        }
    }

    fn skip(&mut self, len: u64) -> Result<(), Stop> {
        self.expect(len)?;
        let mut left = len;
        while left > 0 {
            let there = self.source.fill_buf()?.len() as u64;
            if there == 0 {
                return Err(Stop::Cut(format!("{left} bytes were expected")));
            }
            let now = there.min(left);
            self.source.consume(now as usize);
            self.pos += now;
            left -= now;
        }
        Ok(())
    }

    fn line_end(&mut self) -> Result<(), Stop> {
        for want in *b"\r\n" {
            match self.peek()? {
                Some(byte) if byte == want => self.source.consume(1),
                Some(byte) => {
                    let found = byte.escape_ascii();
                    let what =
                        format!("CR LF were expected behind an argument, and there is '{found}'");
                    return Err(Stop::Format(what));
                }
                None => {
                    let what = "CR LF were expected behind an argument";
                    return Err(Stop::Cut(what.to_owned()));
                }
            }
            self.pos += 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: &[u8]) -> Verdict {
        let report = check(&mut &bytes[..], 0, bytes.len() as u64);
        report.expect("memory").verdict
    }

    fn flaw(bytes: &[u8]) -> (u64, Option<u64>, String) {
        match verdict(bytes) {
            Verdict::Sound => panic!("{} is sound", bytes.escape_ascii()),
            Verdict::Broken(flaw) => (flaw.pos, flaw.sound_bytes, flaw.what),
        }
    }

    const PING: &str = "*1\r\n$4\r\nPING\r\n";
    const MULTI: &str = "*1\r\n$5\r\nmulti\r\n";
    const EXEC: &str = "*1\r\n$4\r\nEXEC\r\n";

    #[test]
    fn whole_commands_are_sound() {
        let set = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$4\r\n\r\n\r\n\r\n";
        let file = [
            PING,
            "#TS:7\r\n",
            "#note\r\n",
            MULTI,
            set,
            EXEC,
            "#TS:9\r\n",
            set,
        ]
        .concat();
        assert_eq!(verdict(file.as_bytes()), Verdict::Sound);
        let report = check(&mut file.as_bytes(), 0, file.len() as u64).expect("memory");
        assert_eq!(
            report.lines.join(" | "),
            "5 commands, 1 transaction | written from Unix second 7 to 9 |   EXEC 1 |   MULTI 1 |   PING 1 |   SET 2"
        );
        assert_eq!(verdict(b""), Verdict::Sound);
    }

    #[test]
    fn every_cut_is_told_and_what_is_before_it_is_sound() {
        let file = [PING, "#TS:7\r\n", MULTI, PING, EXEC, PING].concat();
        let exec_end = file.len() - PING.len();
        let ends = [0, PING.len(), PING.len() + 7, exec_end, file.len()];
        for cut in 0..file.len() {
            let before = ends.iter().rev().find(|end| **end <= cut).copied();
            if before == Some(cut) {
                assert_eq!(verdict(&file.as_bytes()[..cut]), Verdict::Sound, "{cut}");
                continue;
            }
            let (pos, sound_bytes, what) = flaw(&file.as_bytes()[..cut]);
            assert_eq!(sound_bytes, before.map(|end| end as u64), "{cut}");
            assert!(
                pos <= cut as u64 && what.contains("the file ends"),
                "{what}"
            );
        }
    }

    #[test]
    fn what_is_no_command_is_told_with_its_place() {
        for (bytes, pos, what) in [
            ("garbage", 0, "'*' and a number of arguments"),
            ("*x\r\n", 0, "'x' is not a number of arguments"),
            ("*+1\r\n", 0, "'+1' is not a number of arguments"),
            ("*0\r\n", 4, "a command of 0 arguments"),
            ("*99999999999\r\n", 14, "a command of 99999999999 arguments"),
            ("*1\n", 0, "does not end with CR LF"),
            ("*1\r\n:1\r\n", 4, "'$' and the length of an argument"),
            ("*1\r\n$4\r\nPINGxx", 12, "CR LF were expected"),
            ("*1\r\n$4\r\nPING\rx", 13, "CR LF were expected"),
            (
                "*1\r\n$999999999999\r\nPING",
                19,
                "999999999999 bytes were expected",
            ),
            (EXEC, 0, "EXEC without"),
        ] {
            let (at, sound_bytes, why) = flaw(bytes.as_bytes());
            assert!(why.contains(what), "{bytes:?}: {why}");
            assert_eq!((at, sound_bytes), (pos, Some(0)), "{bytes:?}");
        }
        let (at, _, why) = flaw([MULTI, MULTI].concat().as_bytes());
        assert_eq!((at, &why[..]), (15, "MULTI within a transaction"));
        let long = format!("#{}", "x".repeat(4096));
        assert!(flaw(long.as_bytes()).2.contains("longer than"));
    }

    #[test]
    fn positions_count_from_the_start_of_the_file() {
        let tail = &PING.as_bytes()[..10];
        let report = check(&mut &tail[..], 100, 110).expect("memory");
        let Verdict::Broken(flaw) = report.verdict else {
            panic!("it is cut");
        };
        assert_eq!((flaw.pos, flaw.sound_bytes), (108, Some(100)));
    }
}
