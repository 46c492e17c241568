//! Piece: a part of a value, so that writing a very large one can be spread over time.
//!
//! Where a piece begins is a number that means something to the value's type: a scan cursor, a rank, a node.

use super::writer::Writer;

/// What part of a value is to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where the piece before ended; 0 for the first.
    pub from: u64,
    /// The piece ends when the buffer is this long.
    pub stop_at: usize,
}

impl Piece {
    /// All of it.
    pub const WHOLE: Piece = Piece {
        from: 0,
        stop_at: usize::MAX,
    };

    /// Whether enough was written.
    pub fn is_full(self, writer: &Writer<'_>) -> bool {
        writer.position() >= self.stop_at
    }

    /// Calls `scan` with a cursor and the writer, again and again, until it is through or enough was written.
    pub fn walk(
        self,
        writer: &mut Writer<'_>,
        mut scan: impl FnMut(u64, &mut Writer<'_>) -> u64,
    ) -> Option<u64> {
        let mut cursor = self.from;
        loop {
            cursor = scan(cursor, writer);
            if cursor == 0 {
                return None;
            }
            if self.is_full(writer) {
                return Some(cursor);
            }
        }
    }
}
