//! Lists as RDB files hold them.
//!
//! ```text
//! quicklist 2: [nodes] ([1: large element, 2: listpack] [string])*
//! quicklist:   [nodes] [string: ziplist]*
//! list:        [elements] [string]*
//! ```

use bytes::Bytes;

use super::{Limits, kind};
use crate::keyspace::object::list::LargeList;
use crate::keyspace::object::{List, ListRef};
use crate::persist::RdbError;
use crate::persist::piece::Piece;
use crate::persist::reader::Reader;
use crate::persist::writer::Writer;
use crate::persist::ziplist::Ziplist;
use crate::types::listpack::Listpack;
use crate::types::quicklist::{End, NewElement, NodeRef, Quicklist};

const PLAIN: u64 = 1;
const PACKED: u64 = 2;

/// Writes a list, or a piece of it; its type is [`kind::LIST_QUICKLIST_2`] whatever its encoding.
pub fn encode(list: &List, piece: Piece, writer: &mut Writer<'_>) -> Option<u64> {
    let list = match list.view() {
        ListRef::Listpack(list) => {
            writer.count(1);
            writer.number(PACKED);
            writer.string(list.as_bytes());
            return None;
        }
        ListRef::Quicklist(list) => list,
    };
    if piece.from == 0 {
        writer.count(list.node_count());
    }
    let mut at = piece.from;
    list.walk_nodes(usize::try_from(at).unwrap_or(usize::MAX), |node| {
        match node {
            NodeRef::Packed(list) => {
                writer.number(PACKED);
                writer.string(list.as_bytes());
            }
            NodeRef::Plain(bytes) => {
                writer.number(PLAIN);
                writer.string(bytes);
            }
        }
        at += 1;
        !piece.is_full(writer)
    });
    (at < list.node_count() as u64).then_some(at)
}

/// Reads a list of any of its types.
pub fn decode(kind: u8, reader: &mut Reader<'_>, all: &Limits) -> Result<List, RdbError> {
    let limits = &all.list;
    let mut list = Quicklist::new(limits.fill, limits.depth);
    let count = match kind {
        kind::LIST_ZIPLIST => 1,
        _ => reader.count_not_zero()?,
    };
    for _ in 0..count {
        match kind {
            kind::LIST => {
                let text = reader.string()?;
                let element = NewElement::from(&text[..]);
                list.push(End::Tail, element, limits.packed_threshold);
            }
            kind::LIST_QUICKLIST_2 => push_node(&mut list, reader, all)?,
            _ => {
                let text = reader.string()?;
                let node = Ziplist::new(&text).and_then(Ziplist::to_listpack);
                list.push_listpack(
                    node.ok_or(RdbError::Corrupt("Ziplist integrity check failed"))?,
                );
            }
        }
    }
    if list.is_empty() {
        return Err(RdbError::Empty);
    }
    let mut list = List::from(LargeList::new(list));
    // Real servers leave a list as it is that was one ziplist.
    if kind != kind::LIST_ZIPLIST {
        list.shrink_loaded(limits);
    }
    Ok(list)
}

fn push_node(list: &mut Quicklist, reader: &mut Reader<'_>, all: &Limits) -> Result<(), RdbError> {
    let container = reader.number()?;
    let text = reader.string()?;
    match container {
        // Real servers write none of these, and refuse them.
        PLAIN if text.is_empty() => {
            return Err(RdbError::Corrupt(
                "Quicklist integrity check failed: empty element",
            ));
        }
        PLAIN => list.push_plain(Bytes::from(text.into_owned())),
        PACKED => {
            all.look_at_packed();
            let node = Listpack::from_bytes(&text)
                .ok_or(RdbError::Corrupt("Listpack integrity check failed"))?;
            list.push_listpack(node);
        }
        _ => {
            return Err(RdbError::Corrupt(
                "Quicklist integrity check failed: unknown container",
            ));
        }
    }
    Ok(())
}
