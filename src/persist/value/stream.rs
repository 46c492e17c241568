//! Streams as RDB files hold them.
//!
//! ```text
//! [blocks] ([string: ID of 16 bytes] [string: listpack])*
//! [entries] [last ID] [first ID] [greatest deleted ID] [entries ever added]
//! [groups] ([string: name] [last ID] [entries read]
//!     [pending] ([ID of 16 bytes] [delivered: millis] [deliveries])*
//!     [consumers] ([string: name] [seen: millis] [active: millis] [pending] [ID of 16 bytes]*)*)*
//! ```
//!
//! IDs are two numbers where not said otherwise. The first version lacks what tells how far groups have read, and the
//! second when consumers were active.

use std::collections::BTreeMap;

use super::{Limits, kind};
use crate::keyspace::object::Stream;
use crate::persist::RdbError;
use crate::persist::piece::Piece;
use crate::persist::reader::Reader;
use crate::persist::writer::Writer;
use crate::types::stream::{self, Block, Group, NOBODY, StreamId};

/// How many entries a group has read, where that is not known.
const UNKNOWN_COUNT: u64 = u64::MAX;

/// Writes a stream, or a piece of it; its type is [`kind::STREAM_3`]. What follows the blocks is one piece.
pub fn encode(stream: &stream::Stream, piece: Piece, writer: &mut Writer<'_>) -> Option<u64> {
    let log = &stream.log;
    let blocks = log.blocks().len() as u64;
    if piece.from == 0 {
        writer.number(blocks);
    }
    let mut done = piece.from;
    for block in log
        .blocks()
        .skip(usize::try_from(done).unwrap_or(usize::MAX))
    {
        writer.string(&block.first().to_bytes());
        writer.string(block.as_bytes());
        done += 1;
        if piece.is_full(writer) {
            return Some(done);
        }
    }
    writer.number(log.len());
    for id in [log.last_id, log.first_id(), log.max_deleted_id] {
        writer.number(id.ms);
        writer.number(id.seq);
    }
    writer.number(log.entries_added);
    writer.count(stream.groups.len());
    for (name, group) in &stream.groups {
        writer.string(name);
        encode_group(group, writer);
    }
    None
}

fn encode_group(group: &Group, writer: &mut Writer<'_>) {
    writer.number(group.last_id.ms);
    writer.number(group.last_id.seq);
    writer.number(group.entries_read.unwrap_or(UNKNOWN_COUNT));
    writer.count(group.pending().len());
    for (id, nack) in group.pending() {
        writer.bytes(&id.to_bytes());
        writer.millis(nack.delivered_ms);
        writer.number(nack.deliveries);
    }
    writer.count(group.consumers().len());
    for (_, consumer) in group.consumers() {
        writer.string(consumer.name());
        writer.millis(consumer.seen_ms);
        writer.millis(consumer.active_ms);
        writer.count(consumer.pending().len());
        for id in consumer.pending() {
            writer.bytes(&id.to_bytes());
        }
    }
}

fn id_of(reader: &mut Reader<'_>) -> Result<StreamId, RdbError> {
    Ok(StreamId::new(reader.number()?, reader.number()?))
}

/// Reads a stream of any of its types.
pub fn decode(kind: u8, reader: &mut Reader<'_>, limits: &Limits) -> Result<Stream, RdbError> {
    let mut stream = stream::Stream::default();
    decode_blocks(reader, limits, &mut stream.log)?;
    let log = &mut stream.log;
    let said = reader.number()?;
    if said != log.len() {
        if log.is_empty() {
            return Err(RdbError::Corrupt(
                "Stream length inconsistent with its entries",
            ));
        }
        let counted = log.len();
        limits.note_repair(format!(
            "its length was said to be {said}, and it has {counted} entries"
        ));
    }
    log.last_id = id_of(reader)?;
    if kind == kind::STREAM {
        log.entries_added = log.len();
    } else {
        let _first = id_of(reader)?;
        log.max_deleted_id = id_of(reader)?;
        log.entries_added = reader.number()?;
    }
    if log.edge_id(true) > log.last_id {
        limits.note_repair(format!(
            "its last ID was said to be {}, and an entry has {}",
            log.last_id,
            log.edge_id(true)
        ));
        log.last_id = log.edge_id(true);
    }
    for _ in 0..reader.count()? {
        let name = reader.string()?;
        let group = decode_group(kind, reader, &stream.log, limits)?;
        if stream.groups.insert(name[..].into(), group).is_some() {
            return Err(RdbError::Corrupt(
                "Duplicated consumer group name loading the stream",
            ));
        }
    }
    Ok(Stream::new(stream))
}

/// Reads the entries. Real servers sort the blocks as they come, so these are sorted as well.
fn decode_blocks(
    reader: &mut Reader<'_>,
    limits: &Limits,
    log: &mut stream::Log,
) -> Result<(), RdbError> {
    let mut blocks: Vec<Block> = Vec::new();
    for _ in 0..reader.count()? {
        let id = reader.string()?;
        let id = <[u8; 16]>::try_from(&id[..])
            .map_err(|_| RdbError::Corrupt("Stream node key is no stream ID"))?;
        let bytes = reader.string()?;
        limits.look_at_packed();
        let block = Block::from_bytes(StreamId::from_bytes(id), &bytes);
        let block = block.ok_or(RdbError::Corrupt("Stream listpack integrity check failed"))?;
        if block.as_bytes() != &bytes[..] {
            if limits.is_strict {
                return Err(RdbError::Corrupt("Stream listpack integrity check failed"));
            }
            limits.note_repair("a block's counts were not those of its entries".to_owned());
        }
        match block.is_empty() {
            true => limits.note_repair("a block had removed entries alone".to_owned()),
            false => blocks.push(block),
        }
    }
    if !blocks.is_sorted_by_key(Block::first) {
        blocks.sort_by_key(Block::first);
        limits.note_repair("its entries were not in their order".to_owned());
    }
    match blocks.into_iter().all(|block| log.push_block(block)) {
        true => Ok(()),
        false => Err(RdbError::Corrupt("Stream nodes overlap")),
    }
}

fn decode_group(
    kind: u8,
    reader: &mut Reader<'_>,
    log: &stream::Log,
    limits: &Limits,
) -> Result<Group, RdbError> {
    let last_id = id_of(reader)?;
    let entries_read = match kind {
        kind::STREAM => log.position_of(last_id),
        _ => Some(reader.number()?).filter(|count| *count != UNKNOWN_COUNT),
    };
    let mut group = Group::new(last_id, entries_read);
    // Pending entries become the group's with their consumers, which come later.
    let mut unowned: BTreeMap<StreamId, (i64, u64)> = BTreeMap::new();
    for _ in 0..reader.count()? {
        let id = StreamId::from_bytes(reader.array()?);
        let delivery = (reader.millis()?, reader.number()?);
        if unowned.insert(id, delivery).is_some() {
            return Err(RdbError::Corrupt(
                "Duplicated global PEL entry loading stream consumer group",
            ));
        }
    }
    for _ in 0..reader.count()? {
        let name = reader.string()?;
        if group.find(&name).is_some() {
            return Err(RdbError::Corrupt("Duplicate stream consumer detected"));
        }
        let seen_ms = reader.millis()?;
        let index = group.add_consumer(&name, seen_ms);
        if let Some(consumer) = group.consumer_mut(index) {
            consumer.active_ms = match kind {
                kind::STREAM_3 => reader.millis()?,
                _ => seen_ms,
            };
        }
        for _ in 0..reader.count()? {
            let id = StreamId::from_bytes(reader.array()?);
            // Each entry is pending once, so it is gone from here when a second consumer names it.
            let delivery = unowned.remove(&id);
            let (delivered_ms, deliveries) = delivery.ok_or(RdbError::Corrupt(
                "Consumer entry not found in group global PEL",
            ))?;
            group.assign(id, index, delivered_ms, deliveries);
        }
    }
    // Only servers that write the latest type have a command that gives an entry back.
    if kind != kind::STREAM_3 && !unowned.is_empty() {
        if limits.is_strict {
            return Err(RdbError::Corrupt("Pending entries that are no consumer's"));
        }
        limits.note_repair(format!(
            "{} pending entries of a group are no consumer's: any may claim them",
            unowned.len()
        ));
    }
    for (id, (delivered_ms, deliveries)) in unowned {
        group.assign(id, NOBODY, delivered_ms, deliveries);
    }
    Ok(group)
}
