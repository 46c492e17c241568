//! Object: what an entry holds when its value is not a string.
//!
//! Lives here: the sum of those types and the questions every one of them answers. Each type chooses its own
//! encoding, in its file. May not: commands, replies, clocks.

pub mod hash;
pub mod list;
pub mod set;
pub mod stream;
pub mod zset;

use super::kind::{Encoding, Kind};
use super::member::{HashField, SetMember};
use super::table::{ArrayStats, Table};
use crate::types::digest::Digest;
pub use hash::{Hash, HashMut, HashRef};
pub use list::{List, ListMut, ListRef};
pub use set::{Set, SetMut, SetRef};
pub use stream::Stream;
pub use zset::{ZSet, ZSetMut, ZSetRef};

/// A list, set, sorted set, hash or stream, on its way into an entry or out of one. There it is one word, whose type
/// the entry's header names.
pub enum Object {
    List(List),
    Set(Set),
    ZSet(ZSet),
    Hash(Hash),
    Stream(Stream),
}

/// A look at the object of an entry.
#[derive(Clone, Copy)]
pub enum ObjectRef<'a> {
    List(&'a List),
    Set(&'a Set),
    ZSet(&'a ZSet),
    Hash(&'a Hash),
    Stream(&'a Stream),
}

/// The object of an entry, to change it. It stays of its type.
pub enum ObjectMut<'a> {
    List(&'a mut List),
    Set(&'a mut Set),
    ZSet(&'a mut ZSet),
    Hash(&'a mut Hash),
    Stream(&'a mut Stream),
}

/// Calls the method of this name on whatever the object is.
macro_rules! each {
    ($type:ident, $object:expr, $value:ident => $call:expr) => {
        match $object {
            $type::List($value) => $call,
            $type::Set($value) => $call,
            $type::ZSet($value) => $call,
            $type::Hash($value) => $call,
            $type::Stream($value) => $call,
        }
    };
}
pub(super) use each;

impl Object {
    /// The type that TYPE names; it never changes.
    #[inline]
    pub fn kind(&self) -> Kind {
        self.as_ref().kind()
    }

    /// A look at it.
    #[inline]
    pub fn as_ref(&self) -> ObjectRef<'_> {
        match self {
            Object::List(value) => ObjectRef::List(value),
            Object::Set(value) => ObjectRef::Set(value),
            Object::ZSet(value) => ObjectRef::ZSet(value),
            Object::Hash(value) => ObjectRef::Hash(value),
            Object::Stream(value) => ObjectRef::Stream(value),
        }
    }

    /// Frees about `budget` elements of a value that nobody will use again; returns how many. [`Object::is_freed`]
    /// says when what is left can be dropped in no time.
    pub fn free_some(&mut self, budget: usize) -> usize {
        each!(Object, self, value => value.free_some(budget))
    }

    /// Whether [`Object::free_some`] has left nothing to speak of.
    pub fn is_freed(&self) -> bool {
        each!(Object, self, value => value.is_freed())
    }
}

impl<'a> ObjectRef<'a> {
    /// The type that TYPE names.
    #[inline]
    pub fn kind(self) -> Kind {
        match self {
            ObjectRef::List(_) => Kind::List,
            ObjectRef::Set(_) => Kind::Set,
            ObjectRef::ZSet(_) => Kind::ZSet,
            ObjectRef::Hash(_) => Kind::Hash,
            ObjectRef::Stream(_) => Kind::Stream,
        }
    }

    /// What OBJECT ENCODING says now.
    pub fn encoding(self) -> Encoding {
        each!(ObjectRef, self, value => value.encoding())
    }

    /// How many elements there are.
    pub fn len(self) -> usize {
        each!(ObjectRef, self, value => value.len())
    }

    /// Whether there is no element: a key that holds such a value is removed, unless it is a stream.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// A deep copy, for COPY.
    pub fn duplicate(self) -> Object {
        match self {
            ObjectRef::List(value) => Object::List(value.duplicate()),
            ObjectRef::Set(value) => Object::Set(value.duplicate()),
            ObjectRef::ZSet(value) => Object::ZSet(value.duplicate()),
            ObjectRef::Hash(value) => Object::Hash(value.duplicate()),
            ObjectRef::Stream(value) => Object::Stream(value.duplicate()),
        }
    }

    /// Adds the value to a digest of the data set (DEBUG DIGEST).
    pub fn digest(self, digest: &mut Digest) {
        each!(ObjectRef, self, value => value.digest(digest))
    }

    /// The table that holds the value's elements, for DEBUG HTSTATS-KEY.
    pub fn table_stats(self) -> Option<(ArrayStats, Option<ArrayStats>)> {
        each!(ObjectRef, self, value => value.table_stats())
    }

    /// The table that elements are looked up in, if there is one. Its hash is the keyspace's.
    #[inline]
    pub fn elements(self) -> Option<Elements<'a>> {
        match self {
            ObjectRef::Hash(hash) => hash.table().map(Elements::Fields),
            ObjectRef::Set(set) => set.table().map(Elements::Members),
            ObjectRef::ZSet(zset) => zset.table().map(Elements::Members),
            ObjectRef::List(_) | ObjectRef::Stream(_) => None,
        }
    }

    /// Bytes that the value owns beyond its handle.
    pub fn memory_bytes(self) -> usize {
        each!(ObjectRef, self, value => value.memory_bytes())
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
    fn from_object(object: ObjectMut<'_>) -> Option<&mut Self>;

    /// The object around a value.
    fn into_object(self) -> Object;
}

macro_rules! object_types {
    ($($name:ident),*) => {$(
        impl ObjectType for $name {
            const KIND: Kind = Kind::$name;

            #[inline]
            fn from_object(object: ObjectMut<'_>) -> Option<&mut $name> {
                match object {
                    ObjectMut::$name(value) => Some(value),
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
