//! ZSet: placeholder until the family's branch lands.

use crate::keyspace::entry::Encoding;
use crate::keyspace::table::ArrayStats;
use crate::types::digest::Digest;
use crate::types::listpack::Listpack;

/// A sorted set.
pub struct ZSet(pub Listpack);

impl ZSet {
    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        Encoding::Listpack
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A deep copy.
    pub fn duplicate(&self) -> ZSet {
        ZSet(self.0.clone())
    }

    /// Adds the value to a digest of the data set.
    pub fn digest(&self, digest: &mut Digest) {
        digest.mix(self.0.as_bytes());
    }

    /// The table that holds the elements.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        None
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        self.0.memory_bytes()
    }
}
