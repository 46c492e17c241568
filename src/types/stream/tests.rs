//! The stream's entries against a plain vector.

use super::*;

type Model = Vec<(StreamId, Vec<(String, String)>)>;

fn pairs_of(entry: &[(String, String)]) -> impl Iterator<Item = (&[u8], &[u8])> + Clone {
    entry
        .iter()
        .map(|(field, value)| (field.as_bytes(), value.as_bytes()))
}

fn shown(entry: Entry<'_>) -> (StreamId, Vec<(String, String)>) {
    let text = |item: crate::types::listpack::Item<'_>| {
        String::from_utf8(item.to_vec()).expect("texts went in")
    };
    let pairs = entry
        .pairs()
        .map(|(field, value)| (text(field), text(value)));
    (entry.id(), pairs.collect())
}

fn check(log: &Log, model: &Model) {
    assert_eq!(log.len(), model.len() as u64);
    let forwards: Model = log.range(StreamId::MIN, StreamId::MAX).map(shown).collect();
    assert_eq!(&forwards, model);
    let mut backwards: Model = log
        .range_back(StreamId::MIN, StreamId::MAX)
        .map(shown)
        .collect();
    backwards.reverse();
    assert_eq!(&backwards, model);
    assert_eq!(
        log.first_id(),
        model.first().map_or(StreamId::MIN, |(id, _)| *id)
    );
    let mut copy = Log::default();
    for block in log.blocks() {
        let block = Block::from_bytes(block.first(), block.as_bytes()).expect("blocks are sound");
        assert!(copy.push_block(block));
    }
    assert_eq!(copy.len(), log.len());
}

#[test]
fn edits_do_what_a_vector_does() {
    for (bytes, entries) in [(4096, 100), (0, 0), (200, 3), (0, 1), (0, 300)] {
        let limits = Limits { bytes, entries };
        let mut log = Log::default();
        let mut model: Model = Vec::new();
        let mut state = 99u64 + bytes as u64;
        let mut next = |n: usize| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            ((state >> 33) as usize) % n.max(1)
        };
        for step in 0..6000 {
            match next(12) {
                0 if !model.is_empty() => {
                    let (id, _) = model.remove(next(model.len()));
                    assert!(log.delete(id));
                    assert!(!log.delete(id));
                }
                1 if step % 7 == 0 => {
                    let keep = next(model.len() + 3) as u64;
                    let gone = log.trim(Keep::Newest(keep), false, 0, None);
                    let count = model.len().saturating_sub(keep as usize);
                    assert_eq!(gone, count as u64);
                    model.drain(..count);
                }
                2 if step % 7 == 0 && !model.is_empty() => {
                    let from = model[next(model.len())].0;
                    log.trim(Keep::From(from), false, 0, None);
                    model.retain(|(id, _)| *id >= from);
                }
                3 if step % 11 == 0 => {
                    let mut may_go = |id: StreamId| !id.seq.is_multiple_of(3);
                    let keep = model.len() as u64 / 2;
                    log.trim(Keep::Newest(keep), false, 0, Some(&mut may_go));
                    let mut left = model.len() as u64;
                    model.retain(|(id, _)| {
                        let stays = left <= keep || id.seq.is_multiple_of(3);
                        left -= u64::from(!stays);
                        stays
                    });
                }
                4 if !model.is_empty() => {
                    let (a, b) = (model[next(model.len())].0, model[next(model.len())].0);
                    let want: Vec<StreamId> = model
                        .iter()
                        .map(|(id, _)| *id)
                        .filter(|id| *id >= a && *id <= b)
                        .collect();
                    let got: Vec<StreamId> = log.range(a, b).map(|entry| entry.id()).collect();
                    assert_eq!(got, want);
                    let mut got: Vec<StreamId> =
                        log.range_back(a, b).map(|entry| entry.id()).collect();
                    got.reverse();
                    assert_eq!(got, want);
                    assert!(log.contains(a));
                }
                _ => {
                    let last = log.last_id;
                    let id = match next(3) {
                        0 => StreamId::new(last.ms + 1 + next(5000) as u64, next(3) as u64),
                        _ => StreamId::new(last.ms, last.seq + 1 + next(3) as u64),
                    };
                    let fields = 1 + next(3);
                    let pairs: Vec<(String, String)> = (0..fields)
                        .map(|at| {
                            let value = match next(3) {
                                0 => next(100_000).to_string(),
                                1 => "v".repeat(next(100)),
                                _ => format!("-{}", next(1 << 30)),
                            };
                            (format!("field{at}{}", next(10) / 9), value)
                        })
                        .collect();
                    log.push(id, pairs_of(&pairs), limits);
                    model.push((id, pairs));
                }
            }
            if step % 100 == 0 {
                check(&log, &model);
            }
        }
        check(&log, &model);
    }
}

#[test]
fn a_block_is_laid_out_as_a_real_server_saves_it() {
    let mut log = Log::default();
    let limits = Limits {
        bytes: 4096,
        entries: 100,
    };
    log.push(
        StreamId::new(5, 1),
        [(&b"f"[..], &b"1"[..])].into_iter(),
        limits,
    );
    log.push(
        StreamId::new(6, 0),
        [(&b"g"[..], &b"x"[..])].into_iter(),
        limits,
    );
    assert!(log.delete(StreamId::new(5, 1)));
    let block = log.blocks().next().expect("one entry is left");
    let wanted: &[u8] = &[
        // Head.
        1, 1, 1, 1, 1, 1, 0x81, b'f', 2, 0, 1, // The first entry, removed.
        3, 1, 0, 1, 0, 1, 1, 1, 4, 1, // The second, with other fields.
        0, 1, 1, 1, 0xdf, 0xff, 2, 1, 1, 0x81, b'g', 2, 0x81, b'x', 2, 6, 1, 0xff,
    ];
    assert_eq!(&block.as_bytes()[6..], wanted);
}

#[test]
fn whole_blocks_are_trimmed_within_a_budget() {
    let limits = Limits {
        bytes: 0,
        entries: 10,
    };
    let mut log = Log::default();
    for seq in 1..=100 {
        log.push(
            StreamId::new(0, seq),
            [(&b"f"[..], &b"v"[..])].into_iter(),
            limits,
        );
    }
    assert_eq!(log.trim(Keep::Newest(55), true, 30, None), 30);
    assert_eq!(log.trim(Keep::Newest(55), true, 0, None), 10);
    assert_eq!(
        log.trim(Keep::From(StreamId::new(0, 61)), true, 0, None),
        20
    );
    assert_eq!((log.len(), log.first_id()), (40, StreamId::new(0, 61)));
}

#[test]
fn damaged_blocks_are_refused_or_harmless() {
    let mut log = Log::default();
    let limits = Limits {
        bytes: 4096,
        entries: 100,
    };
    for seq in 1..=5 {
        let pairs = [(&b"f"[..], &b"value"[..]), (&b"g"[..], &b"12345"[..])];
        log.push(
            StreamId::new(3, seq),
            pairs.into_iter().take(1 + seq as usize % 2),
            limits,
        );
    }
    let good = log
        .blocks()
        .next()
        .expect("entries went in")
        .as_bytes()
        .to_vec();
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            let Some(block) = Block::from_bytes(StreamId::new(3, 1), &bad) else {
                continue;
            };
            let mut copy = Log::default();
            if copy.push_block(block) {
                let ids: Vec<StreamId> = copy
                    .range(StreamId::MIN, StreamId::MAX)
                    .map(|entry| entry.id())
                    .collect();
                let back = copy.range_back(StreamId::MIN, StreamId::MAX).count();
                assert_eq!((ids.len(), back), (copy.len() as usize, ids.len()));
                for id in ids {
                    assert!(copy.delete(id));
                }
                assert!(copy.is_empty());
            }
        }
    }
}
