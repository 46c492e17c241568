//! Size class: what the allocator really gives for a request. Packed blocks ask for whole classes, so that an edit
//! that stays in its class moves nothing.

/// The allocator's size class that `bytes` falls into: steps of 8 up to 64, then four to each doubling.
#[inline]
pub fn class_size(bytes: usize) -> usize {
    let step = if bytes <= 64 {
        8
    } else {
        1 << ((bytes - 1).ilog2() - 2)
    };
    bytes.next_multiple_of(step)
}
