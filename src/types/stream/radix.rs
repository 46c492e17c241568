//! Radix: how many nodes a path-compressed tree over some keys has.
//!
//! XINFO STREAM shows this number. The tree itself is nowhere: it follows from the keys. Every run of bytes that
//! several keys, or one, share is one node; so is every place at which keys part, and every end of a key.

const KEY_LEN: usize = 16;

/// The nodes of the tree over keys that come in order.
pub fn count_nodes(keys: impl Iterator<Item = [u8; KEY_LEN]>) -> usize {
    let mut nodes = 0;
    // Depths at which the path to the last key parts from the keys before it.
    let mut forks: Vec<usize> = Vec::new();
    let mut last: Option<[u8; KEY_LEN]> = None;
    let is_run = |from: usize, to: usize| usize::from(to > from);
    for key in keys {
        let Some(before) = last.replace(key) else {
            continue;
        };
        let depth = before.iter().zip(&key).take_while(|(a, b)| a == b).count();
        // What hangs below the new fork, or below the forks that are deeper, is complete.
        let mut bottom = KEY_LEN;
        let mut has_leaf = true;
        while let Some(&fork) = forks.last().filter(|fork| **fork >= depth) {
            nodes += is_run(fork + 1, bottom) + usize::from(has_leaf);
            has_leaf = false;
            bottom = fork;
            if fork == depth {
                break;
            }
            nodes += 1;
            forks.pop();
        }
        if forks.last() != Some(&depth) {
            nodes += is_run(depth + 1, bottom) + usize::from(has_leaf);
            forks.push(depth);
        }
    }
    if last.is_none() {
        return 1;
    }
    let mut bottom = KEY_LEN;
    nodes += 1;
    while let Some(fork) = forks.pop() {
        nodes += is_run(fork + 1, bottom) + 1;
        bottom = fork;
    }
    nodes + is_run(0, bottom)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same by the definition.
    fn count_slowly(keys: &[[u8; KEY_LEN]], from: usize) -> usize {
        let (Some(first), Some(last)) = (keys.first(), keys.last()) else {
            return 1;
        };
        if from == KEY_LEN {
            return 1;
        }
        let shared = (from..KEY_LEN)
            .take_while(|at| first[*at] == last[*at])
            .count();
        if shared > 0 {
            return 1 + count_slowly(keys, from + shared);
        }
        1 + keys
            .chunk_by(|a, b| a[from] == b[from])
            .map(|part| count_slowly(part, from + 1))
            .sum::<usize>()
    }

    #[test]
    fn the_count_is_that_of_the_definition() {
        let mut state = 7u64;
        for round in 0..2000 {
            let mut keys: Vec<[u8; KEY_LEN]> = (0..round % 40)
                .map(|_| {
                    let mut key = [0; KEY_LEN];
                    for _ in 0..3 {
                        state = state
                            .wrapping_mul(6364136223846793005)
                            .wrapping_add(1442695040888963407);
                        key[(state >> 40) as usize % KEY_LEN] = (state >> 35) as u8 % 3;
                    }
                    key
                })
                .collect();
            keys.sort_unstable();
            keys.dedup();
            assert_eq!(
                count_nodes(keys.iter().copied()),
                count_slowly(&keys, 0),
                "{keys:?}"
            );
        }
    }
}
