//! Entries against plain values.

use proptest::prelude::*;

use super::*;
use crate::keyspace::object::hash::{HashLimits, OldDeadline};
use crate::keyspace::object::list;
use crate::keyspace::object::set::SetLimits;
use crate::keyspace::object::zset::ZSetLimits;
use crate::keyspace::table::HashSeed;
use crate::types::digest::Digest;
use crate::types::quicklist::{End, NewElement};

fn text(entry: &Entry) -> Vec<u8> {
    match entry.value() {
        ValueRef::Int(value) => value.to_string().into_bytes(),
        ValueRef::Str(value) => value.to_vec(),
        ValueRef::Object(_) => unreachable!("no test makes one"),
    }
}

#[test]
fn common_entries_have_the_promised_sizes() {
    let key = [b'k'; 16];
    assert_eq!(
        Entry::new_str(&key, &[b'v'; 32], None, 0).memory_bytes(),
        56
    );
    assert_eq!(
        Entry::new_str(&key, &[b'v'; 32], Some(1), 0).memory_bytes(),
        64
    );
    assert_eq!(Entry::new_int(&key, 9, None, 0).memory_bytes(), 24);
    assert_eq!(Entry::new_int(&key, 1 << 20, None, 0).memory_bytes(), 32);
    assert_eq!(Entry::new_int(&key, 1 << 40, None, 0).memory_bytes(), 32);
    let hash = Entry::new_object(&key, Object::Hash(Hash::default()), None, 0);
    assert_eq!(hash.memory_bytes(), 32 + 8);
}

#[test]
fn size_classes_step_by_8_and_then_by_quarters() {
    for (bytes, class) in [
        (1, 8),
        (8, 8),
        (57, 64),
        (64, 64),
        (65, 80),
        (128, 128),
        (129, 160),
        (1073, 1280),
    ] {
        assert_eq!(class_size(bytes), class, "{bytes}");
    }
}

#[test]
fn an_edit_within_the_size_class_keeps_the_block() {
    let mut entry = Entry::new_str(b"key", &[1; 10], None, 0);
    let block = entry.base();
    entry.set_str(&[2; 13]);
    entry.set_int(7_000_000_000);
    entry.set_str(&[3; 9]);
    entry.append(&[3; 3]);
    assert_eq!(entry.base(), block);
    assert_eq!((entry.key(), text(&entry)), (&b"key"[..], vec![3; 12]));
}

#[test]
fn a_long_value_is_shared_and_an_edit_leaves_the_reader_alone() {
    let mut entry = Entry::new_str(b"key", &[1; SHARED_MIN], None, 0);
    let reply = entry.shared_bytes().expect("long enough");
    assert_eq!(entry.append(b"x"), Some(SHARED_MIN + 1));
    assert_eq!(reply.len(), SHARED_MIN);
    assert!(entry.shared_bytes().is_none());
    assert_eq!(entry.share().map(|bytes| bytes.len()), Some(SHARED_MIN + 1));
    entry.bytes_mut().expect("a string")[0] = 9;
    assert_eq!(text(&entry)[..2], [9, 1]);
}

/// A value in every encoding of every other type.
fn objects() -> Vec<Object> {
    let seed = HashSeed([3; 16]);
    let hash_limits = HashLimits {
        entries: 2,
        value_bytes: 64,
        seed,
    };
    let hash = |fields: usize, deadline| {
        let mut hash = Hash::default();
        for number in 0..fields {
            let field = format!("field {number}");
            hash.set(field.as_bytes(), b"value", OldDeadline::Clear, &hash_limits);
            if let Some(deadline) = deadline {
                hash.set_deadline(field.as_bytes(), Some(deadline));
            }
        }
        Object::Hash(hash)
    };
    let set_limits = SetLimits {
        intset_entries: 3,
        listpack_entries: 3,
        listpack_value: 64,
        seed,
    };
    let set = |members: &[&str]| {
        let mut set = Set::for_members(members[0].as_bytes(), 1, &set_limits);
        for member in members {
            set.add(member.as_bytes(), &set_limits);
        }
        Object::Set(set)
    };
    let zset_limits = ZSetLimits {
        entries: 2,
        value: 64,
        seed,
    };
    let zset = |members: &[&str]| {
        let pairs = members.iter().map(|member| (member.as_bytes(), 1.5));
        Object::ZSet(ZSet::from_elements(pairs, &zset_limits))
    };
    let list = |elements: usize| {
        let limits = list::Limits::new(2, 0, 0);
        let mut list = List::default();
        for number in 0..elements {
            let text = number.to_string();
            list.grow(&limits, text.len(), 1);
            list.push(End::Tail, NewElement::from(text.as_bytes()), &limits);
        }
        Object::List(list)
    };
    vec![
        hash(2, None),
        hash(2, Some(9)),
        hash(5, None),
        hash(5, Some(9)),
        set(&["1", "2"]),
        set(&["1", "a"]),
        set(&["a", "b", "c", "d"]),
        zset(&["a", "b"]),
        zset(&["a", "b", "c"]),
        list(2),
        list(5),
        Object::Stream(Stream::default()),
    ]
}

fn digest(object: ObjectRef<'_>) -> Digest {
    let mut digest = Digest::default();
    object.digest(&mut digest);
    digest
}

#[test]
fn objects_keep_through_every_move_of_their_entry() {
    let mut seen = Vec::new();
    for (object, like) in objects().into_iter().zip(objects()) {
        let (kind, encoding) = (object.kind(), object.as_ref().encoding());
        seen.push((kind, encoding));
        let mut entry = Entry::new_object(b"key", object, None, 7);
        let check = |entry: &Entry, key: &[u8], expire| {
            entry.assert_valid();
            assert_eq!((entry.key(), entry.expire()), (key, expire));
            assert_eq!((entry.kind(), entry.encoding()), (kind, encoding));
            let object = entry.object().expect("it is no string");
            assert_eq!(object.len(), like.as_ref().len());
            assert_eq!(digest(object), digest(like.as_ref()));
            assert!(entry.memory_bytes() >= object.memory_bytes() + key.len());
        };
        check(&entry, b"key", None);
        entry.set_expire(Some(5));
        check(&entry, b"key", Some(5));
        let long = [b'k'; 300];
        entry = entry.rename(&long);
        check(&entry, &long, Some(5));
        let copy = entry.duplicate(b"copy");
        check(&copy, b"copy", Some(5));
        entry.set_expire(None);
        check(&entry, &long, None);
        // The value gives way to strings of every form and comes back.
        for len in [3, 2000, SHARED_MIN] {
            entry.set_str(&vec![b'v'; len]);
            assert!(entry.object().is_none() && entry.str_len() == len);
            entry.set_object(like.as_ref().duplicate());
            check(&entry, &long, None);
        }
        entry.set_int(70_000);
        entry.set_object(copy.into_object().expect("it is no string"));
        check(&entry, &long, None);
        assert!(entry.object_mut().is_some() && entry.modify(|_| ()).is_none());
        let object = entry.into_object().expect("it is no string");
        assert_eq!(digest(object.as_ref()), digest(like.as_ref()));
    }
    seen.dedup();
    assert_eq!(seen.len(), 11, "every encoding was there: {seen:?}");
}

#[derive(Clone, Debug)]
enum Op {
    SetStr(Vec<u8>),
    SetBytes(Vec<u8>),
    SetInt(i64),
    Append(Vec<u8>),
    Modify(usize, u8),
    Write(usize, u8),
    Expire(Option<i64>),
    Lru(u32, bool),
    Rename(Vec<u8>),
    Duplicate(Vec<u8>),
    Share,
}

fn sized() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![4 => 0..100usize, 2 => 900..1200usize, 1 => 16_000..17_000usize];
    (len, any::<u8>()).prop_map(|(len, seed)| {
        (0..len)
            .map(|i| (i as u8).wrapping_mul(31) ^ seed)
            .collect()
    })
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![4 => 0..60usize, 1 => 250..300usize];
    (len, any::<u8>()).prop_map(|(len, seed)| (0..len).map(|i| i as u8 ^ seed).collect())
}

fn number() -> impl Strategy<Value = i64> {
    prop_oneof![
        -40_000..40_000i64,
        any::<i32>().prop_map(i64::from),
        any::<i64>()
    ]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => sized().prop_map(Op::SetStr),
        1 => sized().prop_map(Op::SetBytes),
        2 => number().prop_map(Op::SetInt),
        3 => sized().prop_map(Op::Append),
        2 => (0..20_000usize, any::<u8>()).prop_map(|(len, byte)| Op::Modify(len, byte)),
        2 => (any::<usize>(), any::<u8>()).prop_map(|(at, byte)| Op::Write(at, byte)),
        3 => any::<Option<i64>>().prop_map(Op::Expire),
        1 => (any::<u32>(), any::<bool>()).prop_map(|(lru, epoch)| Op::Lru(lru, epoch)),
        1 => key().prop_map(Op::Rename),
        1 => key().prop_map(Op::Duplicate),
        1 => Just(Op::Share),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn edits_agree_with_a_plain_model(first_key in key(), ops in prop::collection::vec(op(), 1..40)) {
        let mut entry = Entry::new_str(&first_key, b"", None, 0);
        let (mut key, mut value, mut expire, mut lru, mut epoch) = (first_key, Vec::new(), None, 0, false);
        let mut encoding = Encoding::EmbStr;
        let by_len = |len: usize| if len <= EMBSTR_MAX { Encoding::EmbStr } else { Encoding::Raw };
        for op in ops {
            match op {
                Op::SetStr(new) => {
                    entry.set_str(&new);
                    encoding = by_len(new.len());
                    value = new;
                }
                Op::SetBytes(new) => {
                    entry.set_bytes(Bytes::from(new.clone()));
                    encoding = by_len(new.len());
                    value = new;
                }
                Op::SetInt(new) => {
                    entry.set_int(new);
                    encoding = Encoding::Int;
                    value = new.to_string().into_bytes();
                }
                Op::Append(tail) => {
                    value.extend_from_slice(&tail);
                    prop_assert_eq!(entry.append(&tail), Some(value.len()));
                    encoding = Encoding::Raw;
                }
                Op::Modify(len, byte) => {
                    value.resize(len, byte);
                    prop_assert_eq!(entry.modify(|buffer| buffer.resize(len, byte)), Some(()));
                    encoding = Encoding::Raw;
                }
                Op::Write(at, byte) => {
                    let bytes = entry.bytes_mut().expect("a string");
                    prop_assert_eq!(bytes.len(), value.len());
                    if !value.is_empty() {
                        bytes[at % value.len()] = byte;
                        let at = at % value.len();
                        value[at] = byte;
                    }
                    encoding = Encoding::Raw;
                }
                Op::Expire(new) => {
                    entry.set_expire(new);
                    expire = new;
                }
                Op::Lru(new, bit) => {
                    entry.set_lru(new);
                    entry.set_epoch(bit);
                    (lru, epoch) = (new & 0xff_ffff, bit);
                }
                Op::Rename(new) => {
                    entry = entry.rename(&new);
                    key = new;
                }
                Op::Duplicate(new) => {
                    entry = entry.duplicate(&new);
                    key = new;
                }
                Op::Share => {
                    if let Some(bytes) = entry.share() {
                        prop_assert_eq!(&bytes[..], &value[..]);
                    }
                }
            }
            entry.assert_valid();
            prop_assert_eq!(entry.key(), &key[..]);
            prop_assert_eq!(text(&entry), &value[..]);
            prop_assert_eq!(entry.str_len(), value.len());
            prop_assert_eq!(entry.expire(), expire);
            prop_assert_eq!(entry.is_volatile(), expire.is_some());
            prop_assert_eq!((entry.lru(), entry.epoch(), entry.kind()), (lru, epoch, Kind::String));
            prop_assert_eq!(entry.encoding(), encoding);
            prop_assert!(entry.memory_bytes() >= key.len());
        }
    }

    #[test]
    fn integers_of_every_width_come_back(key in key(), value in number(), expire in any::<Option<i64>>()) {
        let entry = Entry::new_int(&key, value, expire, 5);
        prop_assert!(matches!(entry.value(), ValueRef::Int(read) if read == value));
        prop_assert_eq!((entry.key(), entry.expire(), entry.lru()), (&key[..], expire, 5));
    }
}
