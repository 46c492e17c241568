//! Stream: the value of a stream's key.

use crate::keyspace::entry::Encoding;
use crate::keyspace::table::ArrayStats;
use crate::types::digest::Digest;
use crate::types::stream;

/// A stream, in a box because it is large and rare.
#[derive(Default)]
pub struct Stream(Box<stream::Stream>);

impl Stream {
    /// The value around a stream.
    pub fn new(stream: stream::Stream) -> Stream {
        Stream(Box::new(stream))
    }

    /// The stream itself.
    #[inline]
    pub fn get(&self) -> &stream::Stream {
        &self.0
    }

    /// The stream itself, to change it.
    #[inline]
    pub fn get_mut(&mut self) -> &mut stream::Stream {
        &mut self.0
    }

    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        Encoding::Stream
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        usize::try_from(self.0.log.len()).unwrap_or(usize::MAX)
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.log.is_empty()
    }

    /// A deep copy.
    pub fn duplicate(&self) -> Stream {
        Stream(self.0.clone())
    }

    /// Adds the value to a digest of the data set: the entries, not the groups.
    pub fn digest(&self, digest: &mut Digest) {
        let mut digits = (itoa::Buffer::new(), itoa::Buffer::new());
        let all = (stream::StreamId::MIN, stream::StreamId::MAX);
        for entry in self.0.log.range(all.0, all.1) {
            let id = entry.id();
            digest.mix(format!("{}.{}", id.ms, id.seq).as_bytes());
            for (field, value) in entry.pairs() {
                digest.mix(field.bytes(&mut digits.0));
                digest.mix(value.bytes(&mut digits.1));
            }
        }
    }

    /// The table that holds the elements: a stream has none.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        None
    }

    /// Frees about `budget` elements of a value that nobody will use again; returns how many.
    pub fn free_some(&mut self, budget: usize) -> usize {
        self.0.log.free_some(budget)
    }

    /// Whether `free_some` has left nothing to speak of.
    pub fn is_freed(&self) -> bool {
        self.0.log.is_freed()
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}
