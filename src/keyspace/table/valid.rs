//! Valid: whether the invariants of a table hold, all of them at once.

use super::bucket::{CHUNK, LINK, PRESENCE};
use super::{Element, Table, tag_of};

impl<E: Element> Table<E> {
    /// Panics when an invariant of this module does not hold. Walks the whole table.
    pub fn assert_valid(&self) {
        let (mut len, mut overflow) = (0, 0);
        assert!(
            self.rehashing || (self.migrated == 0 && self.arrays[1].block.is_null()),
            "invariant 1: idle rehash"
        );
        for (which, array) in self.arrays.iter().enumerate() {
            let mut chunks = 0;
            for index in 0..array.buckets() {
                let head = array.bucket(index);
                if index % CHUNK == 0 && !head.is_null() {
                    chunks += 1;
                    assert!(
                        which == 1 || index + CHUNK > self.migrated,
                        "invariant 5: chunk below `migrated`"
                    );
                }
                for (depth, bucket) in self.chain_buckets(head).enumerate() {
                    let count = bucket.count();
                    assert_eq!(bucket.meta & PRESENCE, (1 << count) - 1, "invariant 2: gap");
                    assert!(
                        !bucket.is_chained() || count == LINK,
                        "invariant 4: chained but not full"
                    );
                    assert!(
                        depth == 0 || bucket.is_chained() || count >= 2,
                        "invariant 4: sparse overflow bucket"
                    );
                    overflow += usize::from(depth > 0);
                    for slot in 0..count {
                        // SAFETY: invariant 2, as checked above.
                        let hash = self.seed.hash(unsafe { bucket.element(slot) }.key());
                        assert_eq!(bucket.tag(slot), tag_of(hash), "invariant 2: hash byte");
                        assert_eq!(array.index(hash), index, "invariant 1: chain");
                        let in_first = self.arrays[0].index(hash) >= self.migrated;
                        assert_eq!(in_first, which == 0, "invariant 1: array");
                        len += 1;
                    }
                }
            }
            assert_eq!(chunks, array.chunks, "invariant 6: chunks");
        }
        assert_eq!(
            (len, overflow),
            (self.len, self.overflow),
            "invariant 6: counts"
        );
    }
}
