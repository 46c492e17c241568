//! Progress: how far a file is read, as a bar on a terminal. Elsewhere nothing is shown.

use std::io::{self, IsTerminal, Read, Write};
use std::time::{Duration, Instant};

/// The bar is drawn as often as this, and not at all for what is done sooner.
const EVERY: Duration = Duration::from_millis(100);
const BAR_CHARS: u64 = 40;

/// The bar.
pub struct Progress {
    size: u64,
    drawn: Option<Instant>,
    has_bar: bool,
}

impl Progress {
    /// The bar of a file of so many bytes.
    pub fn new(size: u64) -> Progress {
        Progress {
            size,
            drawn: io::stderr().is_terminal().then(Instant::now),
            has_bar: false,
        }
    }

    fn at(&mut self, pos: u64) {
        let Some(drawn) = self.drawn else {
            return;
        };
        if drawn.elapsed() >= EVERY {
            self.drawn = Some(Instant::now());
            self.has_bar = true;
            // A terminal that cannot be written to shows no bar, which is no reason to stop.
            let _ = write!(io::stderr(), "\r{}", bar(pos, self.size));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.has_bar {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

fn bar(pos: u64, size: u64) -> String {
    let of = |parts: u64| {
        (u128::from(pos.min(size)) * u128::from(parts) / u128::from(size.max(1))) as usize
    };
    let done = of(BAR_CHARS);
    let left = BAR_CHARS as usize - done;
    format!("[{}{}] {:3}%", "#".repeat(done), ".".repeat(left), of(100))
}

/// A source whose reading the bar shows.
pub struct Watched<R> {
    source: R,
    pos: u64,
    progress: Progress,
}

impl<R: Read> Watched<R> {
    /// Watches `source` from its start.
    pub fn new(source: R, progress: Progress) -> Watched<R> {
        Watched {
            source,
            pos: 0,
            progress,
        }
    }
}

impl<R: Read> Read for Watched<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let len = self.source.read(buffer)?;
        self.pos += len as u64;
        self.progress.at(self.pos);
        Ok(len)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_grows_with_what_is_read() {
        assert_eq!(bar(0, 10), format!("[{}]   0%", ".".repeat(40)));
        assert_eq!(
            bar(5, 10),
            format!("[{}{}]  50%", "#".repeat(20), ".".repeat(20))
        );
        assert_eq!(bar(11, 10), format!("[{}] 100%", "#".repeat(40)));
        assert_eq!(
            bar(u64::MAX, u64::MAX),
            format!("[{}] 100%", "#".repeat(40))
        );
        assert_eq!(bar(0, 0), format!("[{}]   0%", ".".repeat(40)));
    }
}
