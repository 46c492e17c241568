//! Object: what an entry holds when its value is not a string.
//!
//! Lives here: the sum of those types and the questions every one of them answers. Each type chooses its own
//! encoding, in its file. May not: commands, replies, clocks.

pub mod hash;
pub mod list;
pub mod set;
pub mod stream;
pub mod zset;

use super::entry::{Encoding, Kind};
use super::member::{HashField, SetMember};
use super::table::{ArrayStats, Table};
use crate::types::digest::Digest;
pub use hash::Hash;
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use zset::ZSet;

/// A list, set, sorted set, hash or stream.
pub enum Object {
    List(List),
    Set(Set),
    ZSet(ZSet),
    Hash(Hash),
    Stream(Stream),
}

/// Calls the method of this name on whatever the object is.
macro_rules! each {
    ($object:expr, $value:ident => $call:expr) => {
        match $object {
            Object::List($value) => $call,
            Object::Set($value) => $call,
            Object::ZSet($value) => $call,
            Object::Hash($value) => $call,
            Object::Stream($value) => $call,
        }
    };
}

impl Object {
    /// The type that TYPE names; it never changes.
    #[inline]
    pub fn kind(&self) -> Kind {
        match self {
            Object::List(_) => Kind::List,
            Object::Set(_) => Kind::Set,
            Object::ZSet(_) => Kind::ZSet,
            Object::Hash(_) => Kind::Hash,
            Object::Stream(_) => Kind::Stream,
        }
    }

    /// What OBJECT ENCODING says now.
    pub fn encoding(&self) -> Encoding {
        each!(self, value => value.encoding())
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        each!(self, value => value.len())
    }

    /// Whether there is no element: a key that holds such a value is removed, unless it is a stream.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A deep copy, for COPY.
    pub fn duplicate(&self) -> Object {
        match self {
            Object::List(value) => Object::List(value.duplicate()),
            Object::Set(value) => Object::Set(value.duplicate()),
            Object::ZSet(value) => Object::ZSet(value.duplicate()),
            Object::Hash(value) => Object::Hash(value.duplicate()),
            Object::Stream(value) => Object::Stream(value.duplicate()),
        }
    }

    /// Adds the value to a digest of the data set (DEBUG DIGEST).
    pub fn digest(&self, digest: &mut Digest) {
        each!(self, value => value.digest(digest))
    }

    /// The table that holds the value's elements, for DEBUG HTSTATS-KEY.
    pub fn table_stats(&self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        each!(self, value => value.table_stats())
    }

    /// The table that elements are looked up in, if there is one. Its hash is the keyspace's.
    #[inline]
    pub fn elements(&self) -> Option<Elements<'_>> {
        match self {
            Object::Hash(hash) => hash.table().map(Elements::Fields),
            Object::Set(set) => set.table().map(Elements::Members),
            Object::ZSet(zset) => zset.table().map(Elements::Members),
            Object::List(_) | Object::Stream(_) => None,
        }
    }

    /// Frees about `budget` elements of a value that nobody will use again; returns how many. [`Object::is_freed`]
    /// says when what is left can be dropped in no time.
    pub fn free_some(&mut self, budget: usize) -> usize {
        each!(self, value => value.free_some(budget))
    }

    /// Whether [`Object::free_some`] has left nothing to speak of.
    pub fn is_freed(&self) -> bool {
        each!(self, value => value.is_freed())
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(&self) -> usize {
        each!(self, value => value.memory_bytes())
    }
}

/// The table of a collection that is not packed.
#[derive(Clone, Copy)]
pub enum Elements<'a> {
    Fields(&'a Table<HashField>),
    Members(&'a Table<SetMember>),
}

impl Elements<'_> {
    /// Asks for the bucket that an element of this hash would be in.
    #[inline]
    pub fn prefetch_bucket(self, hash: u64) {
        match self {
            Elements::Fields(table) => table.prefetch_bucket(hash),
            Elements::Members(table) => table.prefetch_bucket(hash),
        }
    }

    /// Asks for the element of this hash, whose bucket is at hand.
    #[inline]
    pub fn prefetch_element(self, hash: u64) {
        match self {
            Elements::Fields(table) => table.prefetch_element(hash),
            Elements::Members(table) => table.prefetch_element(hash),
        }
    }
}

/// One type among the objects, for look-ups that ask for it.
pub trait ObjectType: Sized {
    /// The type's name for TYPE.
    const KIND: Kind;

    /// The value inside, if the object is of this type.
    fn from_object(object: &mut Object) -> Option<&mut Self>;

    /// The object around a value.
    fn into_object(self) -> Object;
}

macro_rules! object_types {
    ($($name:ident),*) => {$(
        impl ObjectType for $name {
            const KIND: Kind = Kind::$name;

            #[inline]
            fn from_object(object: &mut Object) -> Option<&mut $name> {
                match object {
                    Object::$name(value) => Some(value),
                    _ => None,
                }
            }

            #[inline]
            fn into_object(self) -> Object {
                Object::$name(self)
            }
        }
    )*};
}

object_types!(List, Set, ZSet, Hash, Stream);
