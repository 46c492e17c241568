//! HyperLogLog: an estimate of how many distinct elements were seen, in at most 12 KiB.
//!
//! Lives here: the hash, the two representations, their edits and the estimate. May not: keys, replies, config (callers
//! pass the limit of the sparse form).
//!
//! The value is a string that clients can read and write, so every byte of it is checked wherever it is used:
//!
//! ```text
//! "HYLL" [form: 0 dense, 1 sparse] [zeros: 3] [estimate: u64 le, top bit set = stale] [registers]
//!
//! dense:  16384 registers of 6 bits, the low bits of a byte first
//! sparse: runs of equal registers
//!         00llllll            l+1 zeros           1vvvvvll   l+1 registers of value v+1
//!         01llllll llllllll   l+1 zeros
//! ```
//!
//! The estimator is that of Otmar Ertl, "New cardinality estimation algorithms for HyperLogLog sketches" (2017),
//! section 4, which needs neither bias tables nor linear counting.

/// Registers of a HyperLogLog.
pub const REGISTERS: usize = 1 << INDEX_BITS;
/// Bits of the hash that choose the register.
const INDEX_BITS: u32 = 14;
/// Bits of the hash whose trailing zeros a register counts.
const RANK_BITS: u32 = 64 - INDEX_BITS;
const REGISTER_BITS: usize = 6;
const REGISTER_MAX: u8 = (1 << REGISTER_BITS) - 1;

const MAGIC: &[u8; 4] = b"HYLL";
const FORM_AT: usize = 4;
const ESTIMATE_AT: usize = 8;
const HEADER: usize = 16;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
const DENSE_LEN: usize = HEADER + REGISTERS * REGISTER_BITS / 8;
/// In the last byte of the estimate: registers have changed since.
const STALE: u8 = 1 << 7;

const ZEROS_RUN_MAX: usize = 64;
const VALUE_RUN_MAX: usize = 4;
/// Largest register that a sparse HyperLogLog can hold.
const SPARSE_VALUE_MAX: u8 = 32;
/// How many runs are looked at for neighbours that have become equal: more cannot have, where one register changed.
const MERGE_RUNS: usize = 5;

const HASH_SEED: u64 = 0xadc8_3b19;

/// The registers of a value are not what its header promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// All registers, one a byte.
pub type Registers = [u8; REGISTERS];

/// A run of equal registers in the sparse form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// Zeros, in one byte.
    Zeros(usize),
    /// Zeros, in two bytes.
    LongZeros(usize),
    Value(u8, usize),
}

impl Run {
    /// The run whose first byte is at `pos`. The second byte of one that is cut off counts as zero.
    fn read(bytes: &[u8], pos: usize) -> Option<Run> {
        let first = *bytes.get(pos)?;
        let low = usize::from(first & 0x3f);
        Some(match first >> 6 {
            0 => Run::Zeros(low + 1),
            1 => Run::LongZeros(
                (low << 8 | usize::from(bytes.get(pos + 1).copied().unwrap_or(0))) + 1,
            ),
            _ => Run::Value((first >> 2 & 0x1f) + 1, usize::from(first & 3) + 1),
        })
    }

    /// The shortest run of zeros; `None` for no zero.
    fn zeros(len: usize) -> Option<Run> {
        match len {
            0 => None,
            1..=ZEROS_RUN_MAX => Some(Run::Zeros(len)),
            _ => Some(Run::LongZeros(len)),
        }
    }

    fn value(value: u8, len: usize) -> Option<Run> {
        (len > 0).then_some(Run::Value(value, len))
    }

    fn len(self) -> usize {
        match self {
            Run::Zeros(len) | Run::LongZeros(len) | Run::Value(_, len) => len,
        }
    }

    fn register(self) -> u8 {
        match self {
            Run::Zeros(_) | Run::LongZeros(_) => 0,
            Run::Value(value, _) => value,
        }
    }

    /// Bytes that the run takes.
    fn size(self) -> usize {
        match self {
            Run::LongZeros(_) => 2,
            _ => 1,
        }
    }

    fn write(self, out: &mut Vec<u8>) {
        match self {
            Run::Zeros(len) => out.push((len - 1) as u8),
            Run::LongZeros(len) => out.extend([0x40 | ((len - 1) >> 8) as u8, (len - 1) as u8]),
            Run::Value(value, len) => out.push(0x80 | (value - 1) << 2 | (len - 1) as u8),
        }
    }
}

/// The runs of a sparse value, each with the byte and the register it begins at. They may pass the last register.
fn runs(value: &[u8]) -> impl Iterator<Item = (usize, usize, Run)> {
    let (mut pos, mut index) = (HEADER, 0);
    std::iter::from_fn(move || {
        let run = Run::read(value, pos)?;
        let found = (pos, index, run);
        pos += run.size();
        index += run.len();
        Some(found)
    })
}

/// An empty HyperLogLog.
pub fn new() -> Vec<u8> {
    let mut value = vec![0; HEADER];
    value[..FORM_AT].copy_from_slice(MAGIC);
    value[FORM_AT] = SPARSE;
    Run::LongZeros(REGISTERS).write(&mut value);
    value
}

/// An empty HyperLogLog in the dense form.
pub fn new_dense() -> Vec<u8> {
    let mut value = vec![0; DENSE_LEN];
    value[..FORM_AT].copy_from_slice(MAGIC);
    value[FORM_AT] = DENSE;
    value
}

/// Whether a string begins like a HyperLogLog, and has its length if it is dense.
pub fn is_valid(value: &[u8]) -> bool {
    value.len() >= HEADER
        && value.starts_with(MAGIC)
        && match value[FORM_AT] {
            DENSE => value.len() == DENSE_LEN,
            form => form == SPARSE,
        }
}

/// Whether a valid value is in the sparse form.
pub fn is_sparse(value: &[u8]) -> bool {
    value.get(FORM_AT) == Some(&SPARSE)
}

/// The register that an element changes, and what it raises it to.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur64a(element, HASH_SEED);
    let index = hash as usize & (REGISTERS - 1);
    // The bit behind those that count ends the search.
    let rank = (hash >> INDEX_BITS | 1 << RANK_BITS).trailing_zeros() + 1;
    (index, rank as u8)
}

/// Adds an element to a valid value; says whether a register changed.
pub fn add(value: &mut Vec<u8>, element: &[u8], sparse_len_max: usize) -> Result<bool, Corrupt> {
    let (index, rank) = place(element);
    raise(value, index, rank, sparse_len_max)
}

/// Adds an element to a valid value that is in the dense form.
pub fn add_dense(value: &mut [u8], element: &[u8]) -> bool {
    let (index, rank) = place(element);
    raise_dense(value, index, rank)
}

/// Raises a register to `rank` if it is lower; says whether it was.
fn raise(
    value: &mut Vec<u8>,
    index: usize,
    rank: u8,
    sparse_len_max: usize,
) -> Result<bool, Corrupt> {
    if !is_sparse(value) {
        return Ok(raise_dense(value, index, rank));
    }
    if rank <= SPARSE_VALUE_MAX
        && let Some(changed) = raise_sparse(value, index, rank, sparse_len_max)?
    {
        return Ok(changed);
    }
    to_dense(value)?;
    Ok(raise_dense(value, index, rank))
}

/// The register `index` of a dense value: the position of its first byte and the bits to pass over there.
fn dense_place(index: usize) -> (usize, usize) {
    let bit = index * REGISTER_BITS;
    (HEADER + bit / 8, bit % 8)
}

fn dense_register(value: &[u8], index: usize) -> u8 {
    let (pos, shift) = dense_place(index);
    let pair = u16::from(value[pos]) | u16::from(value.get(pos + 1).copied().unwrap_or(0)) << 8;
    (pair >> shift) as u8 & REGISTER_MAX
}

fn set_dense_register(value: &mut [u8], index: usize, register: u8) {
    let (pos, shift) = dense_place(index);
    let clear = !(u16::from(REGISTER_MAX) << shift).to_le_bytes()[0];
    value[pos] = value[pos] & clear | register << shift;
    if shift > 8 - REGISTER_BITS {
        let clear = !(REGISTER_MAX >> (8 - shift));
        value[pos + 1] = value[pos + 1] & clear | register >> (8 - shift);
    }
}

fn raise_dense(value: &mut [u8], index: usize, rank: u8) -> bool {
    let is_raised = dense_register(value, index) < rank;
    if is_raised {
        set_dense_register(value, index, rank);
    }
    is_raised
}

/// Raises a register of a sparse value; `None` when the value would grow past its limit, and is as it was.
fn raise_sparse(
    value: &mut Vec<u8>,
    index: usize,
    rank: u8,
    len_max: usize,
) -> Result<Option<bool>, Corrupt> {
    let mut before = HEADER;
    let holds = |(_, first, run): &(usize, usize, Run)| index < first + run.len();
    let (pos, first, run) = runs(value)
        .inspect(|found| {
            if !holds(found) {
                before = found.0;
            }
        })
        .find(holds)
        .ok_or(Corrupt)?;
    if run.register() >= rank {
        return Ok(Some(false));
    }
    let old = run.register();
    let part = |len| match old {
        0 => Run::zeros(len),
        _ => Run::value(old, len),
    };
    let parts = [
        part(index - first),
        Run::value(rank, 1),
        part(first + run.len() - 1 - index),
    ];
    let mut bytes = Vec::with_capacity(5);
    parts
        .into_iter()
        .flatten()
        .for_each(|part| part.write(&mut bytes));
    let new_len = (value.len() + bytes.len()).saturating_sub(run.size());
    if bytes.len() > run.size() && new_len > len_max {
        return Ok(None);
    }
    let end = (pos + run.size()).min(value.len());
    value.splice(pos..end, bytes);
    // A run that was cut off counted with both its bytes, so one too many came in its place.
    value.truncate(new_len);
    merge_runs(value, before);
    mark_stale(value);
    Ok(Some(true))
}

/// Joins runs of the same value, from the one at `pos` on, as far as one run can hold them.
fn merge_runs(value: &mut Vec<u8>, mut pos: usize) {
    for _ in 0..MERGE_RUNS {
        let Some(run) = Run::read(value, pos) else {
            return;
        };
        let next = pos + run.size();
        pos = match (run, Run::read(value, next)) {
            (Run::Value(a, len), Some(Run::Value(b, more)))
                if a == b && len + more <= VALUE_RUN_MAX =>
            {
                value.remove(pos);
                // The joined run may take up the next one as well.
                value[pos] = 0x80 | (a - 1) << 2 | (len + more - 1) as u8;
                pos
            }
            _ => next,
        };
    }
}

/// Turns a valid value into the dense form, if it is not.
pub fn to_dense(value: &mut Vec<u8>) -> Result<(), Corrupt> {
    if !is_sparse(value) {
        return Ok(());
    }
    let mut dense = vec![0; DENSE_LEN];
    dense[..HEADER].copy_from_slice(&value[..HEADER]);
    dense[FORM_AT] = DENSE;
    each_run(value, |first, len, register| {
        if register > 0 {
            for index in first..first + len {
                set_dense_register(&mut dense, index, register);
            }
        }
    })?;
    *value = dense;
    Ok(())
}

/// Four registers of a dense value, which lie in three bytes.
fn unpack([a, b, c]: [u8; 3]) -> [u8; 4] {
    let bits = u32::from_le_bytes([a, b, c, 0]);
    let spread =
        bits & 0x3f | (bits & 0xfc0) << 2 | (bits & 0x3_f000) << 4 | (bits & 0xfc_0000) << 6;
    spread.to_le_bytes()
}

fn pack(quad: [u8; 4]) -> [u8; 3] {
    let [a, b, c, d] = quad.map(u32::from);
    let [x, y, z, _] = (a | b << 6 | c << 12 | d << 18).to_le_bytes();
    [x, y, z]
}

fn larger(a: [u8; 4], b: [u8; 4]) -> [u8; 4] {
    std::array::from_fn(|at| a[at].max(b[at]))
}

/// The registers of a dense value by fours.
fn dense_quads(value: &[u8]) -> impl Iterator<Item = [u8; 4]> {
    let (groups, _) = value[HEADER..].as_chunks::<3>();
    groups.iter().map(|group| unpack(*group))
}

/// Calls `f` with each run of equal registers of a valid sparse value, in order: the first one, how many, what they
/// hold.
fn each_run(value: &[u8], mut f: impl FnMut(usize, usize, u8)) -> Result<(), Corrupt> {
    let mut seen = 0;
    for (_, first, run) in runs(value) {
        seen = first + run.len();
        if seen > REGISTERS {
            return Err(Corrupt);
        }
        f(first, run.len(), run.register());
    }
    if seen == REGISTERS {
        Ok(())
    } else {
        Err(Corrupt)
    }
}

/// Raises `registers` to those of a valid value.
pub fn merge(registers: &mut Registers, value: &[u8]) -> Result<(), Corrupt> {
    if !is_sparse(value) {
        let (quads, _) = registers.as_chunks_mut::<4>();
        for (quad, other) in quads.iter_mut().zip(dense_quads(value)) {
            *quad = larger(*quad, other);
        }
        return Ok(());
    }
    each_run(value, |first, len, register| {
        for other in &mut registers[first..first + len] {
            *other = (*other).max(register);
        }
    })
}

/// Raises the registers of a valid value to `registers`.
pub fn absorb(
    value: &mut Vec<u8>,
    registers: &Registers,
    sparse_len_max: usize,
) -> Result<(), Corrupt> {
    if !is_sparse(value) {
        let (groups, _) = value[HEADER..].as_chunks_mut::<3>();
        let (quads, _) = registers.as_chunks::<4>();
        for (group, quad) in groups.iter_mut().zip(quads) {
            *group = pack(larger(unpack(*group), *quad));
        }
        return Ok(());
    }
    for (index, register) in registers.iter().enumerate() {
        if *register > 0 {
            raise(value, index, *register, sparse_len_max)?;
        }
    }
    Ok(())
}

/// The registers of a valid value.
pub fn registers(value: &[u8]) -> Result<Box<Registers>, Corrupt> {
    let mut all = Box::new([0; REGISTERS]);
    merge(&mut all, value)?;
    Ok(all)
}

/// The runs of a sparse value in words.
pub fn describe(value: &[u8]) -> String {
    let words: Vec<String> = runs(value)
        .map(|(_, _, run)| match run {
            Run::Zeros(len) => format!("z:{len}"),
            Run::LongZeros(len) => format!("Z:{len}"),
            Run::Value(register, len) => format!("v:{register},{len}"),
        })
        .collect();
    words.join(" ")
}

/// The estimate that a valid value carries, unless registers have changed since.
pub fn stored_estimate(value: &[u8]) -> Option<u64> {
    let bytes = value.get(ESTIMATE_AT..HEADER)?.try_into().ok()?;
    let estimate = u64::from_le_bytes(bytes);
    (estimate >> 63 == 0).then_some(estimate)
}

/// Writes the estimate into a valid value.
pub fn store_estimate(value: &mut [u8], estimate: u64) {
    if let Some(place) = value.get_mut(ESTIMATE_AT..HEADER) {
        place.copy_from_slice(&estimate.to_le_bytes());
    }
}

/// Says in a valid value that its estimate no longer holds.
pub fn mark_stale(value: &mut [u8]) {
    if let Some(byte) = value.get_mut(HEADER - 1) {
        *byte |= STALE;
    }
}

/// How many distinct elements a valid value has seen.
pub fn estimate(value: &[u8]) -> Result<u64, Corrupt> {
    if !is_sparse(value) {
        return Ok(estimate_from(&count_quads(dense_quads(value))));
    }
    let mut counts = [0; REGISTER_MAX as usize + 1];
    each_run(value, |_, len, register| {
        counts[usize::from(register)] += len
    })?;
    Ok(estimate_from(&counts))
}

/// How many distinct elements made these registers.
pub fn estimate_registers(registers: &Registers) -> u64 {
    let quads = registers.as_chunks::<4>().0.iter();
    estimate_from(&count_quads(
        quads.map(|quad| quad.map(|register| register & REGISTER_MAX)),
    ))
}

/// How many registers hold each value. Each of a quad has a count of its own, as neighbours often hold the same, and a
/// count that has just been written is slow to read.
fn count_quads(quads: impl Iterator<Item = [u8; 4]>) -> [usize; REGISTER_MAX as usize + 1] {
    let mut lanes = [[0u32; REGISTER_MAX as usize + 1]; 4];
    for quad in quads {
        for (lane, register) in lanes.iter_mut().zip(quad) {
            lane[usize::from(register)] += 1;
        }
    }
    std::array::from_fn(|value| lanes.iter().map(|lane| lane[value] as usize).sum())
}

/// The estimate from how many registers hold each value: Ertl's algorithm 6.
fn estimate_from(counts: &[usize; REGISTER_MAX as usize + 1]) -> u64 {
    /// 1 / (2 ln 2).
    const ALPHA: f64 = 0.721_347_520_444_481_7;
    let m = REGISTERS as f64;
    let top = RANK_BITS as usize + 1;
    let mut z = m * tau((m - counts[top] as f64) / m);
    for count in counts[1..top].iter().rev() {
        z = (z + *count as f64) * 0.5;
    }
    z += m * sigma(counts[0] as f64 / m);
    let estimate = (ALPHA * m * m / z).round();
    if estimate.is_finite() {
        estimate as u64
    } else {
        // Registers that no elements can make: what the real server's conversion comes to.
        1 << 63
    }
}

/// Corrects for registers that are full.
fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        let last = z;
        x = x.sqrt();
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if z == last {
            return z / 3.0;
        }
    }
}

/// Corrects for registers that are empty.
fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        let last = z;
        x *= x;
        z += x * y;
        y += y;
        if z == last {
            return z;
        }
    }
}

/// MurmurHash2, 64-bit version A (Austin Appleby, public domain), the same on every platform.
fn murmur64a(bytes: &[u8], seed: u64) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const R: u32 = 47;
    let mut hash = seed ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> R;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash = (hash ^ hash >> R).wrapping_mul(M);
    hash ^ hash >> R
}

/// Tries the registers and the estimator on elements of its own (PFSELFTEST); says what is wrong.
pub fn self_test() -> Result<(), String> {
    const LIMIT: usize = 3000;
    let (mut sparse, mut dense) = (new(), new());
    to_dense(&mut dense).map_err(|Corrupt| "TESTFAILED an empty value is corrupt".to_owned())?;
    let mut plain = [0u8; REGISTERS];
    for number in 1..=50_000u64 {
        let element = number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes();
        let (index, rank) = place(&element);
        let want = plain[index] < rank;
        plain[index] = plain[index].max(rank);
        for value in [&mut sparse, &mut dense] {
            if add(value, &element, LIMIT) != Ok(want) {
                return Err(format!(
                    "TESTFAILED element {number} changed another register"
                ));
            }
        }
        if number.is_power_of_two() || number % 10_000 == 0 {
            let all = [&sparse, &dense].map(|value| registers(value).map(|all| *all));
            if all != [Ok(plain), Ok(plain)] {
                return Err(format!(
                    "TESTFAILED registers differ after {number} elements"
                ));
            }
            // Six standard errors, and what rounding makes of small numbers.
            let error_max = number as f64 * 6.0 * 1.04 / (REGISTERS as f64).sqrt() + 1.0;
            let error = estimate_registers(&plain) as f64 - number as f64;
            if error.abs() > error_max {
                return Err(format!(
                    "TESTFAILED the estimate for {number} is off by {error}"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn hashes_are_those_of_the_published_function() {
        // What the real server made of a, b and c.
        let mut value = new();
        for element in ["a", "b", "c"] {
            assert_eq!(add(&mut value, element.as_bytes(), 3000), Ok(true));
        }
        assert_eq!(
            describe(&value),
            "Z:8436 v:1,1 Z:4274 v:2,1 Z:3068 v:1,1 Z:603"
        );
        assert_eq!(estimate(&value), Ok(3));
    }

    #[test]
    fn the_self_test_passes() {
        assert_eq!(self_test(), Ok(()));
    }

    #[test]
    fn a_value_past_its_limit_becomes_dense_and_keeps_its_registers() {
        for limit in [0, 18, 19, 40, 300, 3000] {
            let mut value = new();
            let mut plain = [0u8; REGISTERS];
            for number in 0..3000u32 {
                let element = number.to_le_bytes();
                let (index, rank) = place(&element);
                plain[index] = plain[index].max(rank);
                add(&mut value, &element, limit).expect("it is sound");
                assert!(is_valid(&value));
                assert!(!is_sparse(&value) || value.len() <= limit);
            }
            assert_eq!(*registers(&value).expect("it is sound"), plain);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(tail in prop::collection::vec(any::<u8>(), 0..40), element: [u8; 3], form in 0u8..3) {
            let mut value = new();
            value.truncate(HEADER);
            value[FORM_AT] = form;
            value.extend(tail);
            if is_valid(&value) {
                let _ = (estimate(&value), registers(&value), describe(&value), to_dense(&mut value.clone()));
                let _ = add(&mut value, &element, 30);
            }
        }

        #[test]
        fn both_forms_hold_the_same(elements in prop::collection::vec(0u16..2000, 0..400)) {
            let (mut sparse, mut dense) = (new(), new());
            to_dense(&mut dense).expect("it is sound");
            for element in elements {
                let bytes = element.to_le_bytes();
                prop_assert_eq!(add(&mut sparse, &bytes, 1 << 20), add(&mut dense, &bytes, 0));
            }
            prop_assert!(is_sparse(&sparse));
            prop_assert_eq!(registers(&sparse), registers(&dense));
            prop_assert_eq!(estimate(&sparse), estimate(&dense));
            let all = registers(&dense).expect("it is sound");
            prop_assert_eq!(estimate(&sparse), Ok(estimate_registers(&all)));
            let (mut packed, mut plain) = (new(), new_dense());
            for element in [&b"one"[..], b"two", b"three"] {
                prop_assert!(add(&mut packed, element, 1 << 20) == add(&mut plain, element, 0));
            }
            absorb(&mut packed, &all, 1 << 20).expect("it is sound");
            absorb(&mut plain, &all, 0).expect("it is sound");
            prop_assert!(is_sparse(&packed) && !is_sparse(&plain));
            prop_assert_eq!(registers(&packed), registers(&plain));
        }
    }
}
