//! Sorted sets as RDB files hold them: pairs in a listpack (once a ziplist), or members with scores one by one.

use std::borrow::Cow;

use super::{Limits, first_of_each, kind};
use crate::keyspace::object::zset::{ZSetLimits, score_of};
use crate::keyspace::object::{ZSet, ZSetRef};
use crate::persist::RdbError;
use crate::persist::piece::Piece;
use crate::persist::reader::Reader;
use crate::persist::writer::Writer;
use crate::persist::ziplist::Ziplist;
use crate::types::listpack::Listpack;

/// Elements of a sorted set that are looked up at a time.
const RUN: usize = 64;

const BAD_LISTPACK: RdbError = RdbError::Corrupt("Zset listpack integrity check failed");
const BAD_ZIPLIST: RdbError = RdbError::Corrupt("Zset ziplist integrity check failed");

/// Writes a sorted set in the form of its encoding, or a piece of it.
pub fn encode(zset: &ZSet, piece: Piece, writer: &mut Writer<'_>) -> Option<u64> {
    if let ZSetRef::Listpack(list) = zset.view() {
        writer.string(list.as_bytes());
        return None;
    }
    let len = zset.len();
    if piece.from == 0 {
        writer.count(len);
    }
    let mut digits = itoa::Buffer::new();
    let mut done = usize::try_from(piece.from).unwrap_or(len);
    while done < len {
        // From the greatest down, as real servers do it: who reads them adds each at the front.
        for (member, score) in zset.range(len - 1 - done, RUN, true) {
            writer.string(member.bytes(&mut digits));
            writer.double(score);
            done += 1;
        }
        if piece.is_full(writer) {
            break;
        }
    }
    (done < len).then_some(done as u64)
}

/// Reads a sorted set of any of its types.
pub fn decode(kind: u8, reader: &mut Reader<'_>, all: &Limits) -> Result<ZSet, RdbError> {
    let limits = &all.zset;
    let pairs = match kind {
        kind::ZSET_LISTPACK => Listpack::from_bytes(&reader.string()?).ok_or(BAD_LISTPACK),
        kind::ZSET_ZIPLIST => {
            let text = reader.string()?;
            let pairs = Ziplist::new(&text).and_then(Ziplist::to_listpack);
            pairs.ok_or(BAD_ZIPLIST)
        }
        _ => return elements(kind, reader, limits),
    };
    if kind == kind::ZSET_LISTPACK {
        all.look_at_packed();
    }
    let pairs = pairs?;
    if pairs.is_empty() {
        return Err(RdbError::Empty);
    }
    // A listpack that was saved stays one if it is not too many, however long its members are.
    let limits = ZSetLimits {
        value: usize::MAX,
        ..*limits
    };
    let bad = if kind == kind::ZSET_ZIPLIST {
        BAD_ZIPLIST
    } else {
        BAD_LISTPACK
    };
    let stays_packed = pairs.len() / 2 <= limits.entries;
    match kind == kind::ZSET_LISTPACK && !all.is_strict && stays_packed {
        true => lenient(first_of_each(pairs, 2, all)?, &limits, all),
        false => ZSet::from_listpack(pairs, &limits).ok_or(bad),
    }
}

/// A sorted set of a listpack that need not be in its order: real servers do not look.
fn lenient(pairs: Listpack, limits: &ZSetLimits, all: &Limits) -> Result<ZSet, RdbError> {
    if let Some(zset) = ZSet::from_listpack(pairs.clone(), limits) {
        return Ok(zset);
    }
    let items: Vec<_> = pairs.iter().collect();
    let mut elements = Vec::new();
    for pair in items.chunks(2) {
        let [member, score] = pair else {
            return Err(BAD_LISTPACK);
        };
        let score = score_of(*score).ok_or(BAD_LISTPACK)?;
        elements.push((member.to_vec(), score));
    }
    all.note_repair("its members were not in their order".to_owned());
    let elements = elements.iter().map(|(member, score)| (&member[..], *score));
    Ok(ZSet::from_elements(elements, limits))
}

fn elements(kind: u8, reader: &mut Reader<'_>, limits: &ZSetLimits) -> Result<ZSet, RdbError> {
    let count = reader.count_not_zero()?;
    let mut elements: Vec<(Cow<'_, [u8]>, f64)> = Vec::new();
    for _ in 0..count {
        let member = reader.string()?;
        let score = match kind {
            kind::ZSET => reader.double_text()?,
            _ => reader.double()?,
        };
        if score.is_nan() {
            return Err(RdbError::Corrupt("Zset with NAN score detected"));
        }
        elements.push((member, score));
    }
    let pairs = elements.iter().map(|(member, score)| (&member[..], *score));
    let zset = ZSet::from_elements(pairs, limits);
    if zset.len() != count {
        return Err(RdbError::Corrupt("Duplicate zset fields detected"));
    }
    Ok(zset)
}
