//! Tests of the tree.

use super::*;

impl Named for &'static [u8] {
    fn name(&self) -> &[u8] {
        self
    }
}

fn names(count: usize) -> Vec<&'static [u8]> {
    (0..count)
        .map(|i| &*format!("m{i:06}").into_bytes().leak())
        .collect()
}

struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % n.max(1)
    }
}

/// A tree and a sorted vector, edited alike.
struct Both {
    tree: OrderTree<&'static [u8]>,
    model: Vec<(f64, &'static [u8])>,
}

impl Both {
    fn new() -> Both {
        Both {
            tree: OrderTree::new(),
            model: Vec::new(),
        }
    }

    fn place(&self, score: f64, name: &[u8]) -> Result<usize, usize> {
        self.model
            .binary_search_by(|(s, n)| s.partial_cmp(&score).unwrap().then((*n).cmp(name)))
    }

    fn insert(&mut self, score: f64, member: &'static [u8]) {
        if let Err(at) = self.place(score, member) {
            self.model.insert(at, (score, member));
            self.tree.insert(Scored { score, member });
        }
    }

    fn check(&self) {
        self.tree.assert_valid();
        let all: Vec<_> = self
            .tree
            .range(0, usize::MAX)
            .map(|e| (e.score, e.member))
            .collect();
        assert_eq!(all, self.model);
        let last = self.model.len().saturating_sub(1);
        let mut down: Vec<_> = self
            .tree
            .range_down(last, usize::MAX)
            .map(|e| (e.score, e.member))
            .collect();
        down.reverse();
        assert_eq!(down, self.model);
    }
}

#[test]
fn random_edits_do_what_a_sorted_vector_does() {
    let names = names(3000);
    for (seed, spread) in [(1, 10), (2, 100_000), (3, 1)] {
        let mut dice = Dice(seed);
        let mut both = Both::new();
        for step in 0..30_000 {
            let score = dice.below(spread) as f64 - 5.0;
            let name = names[dice.below(names.len())];
            let phase = step / 6000 % 2;
            match dice.below(10) {
                0..5 if phase == 0 => both.insert(score, name),
                0..2 => both.insert(score, name),
                2..6 if !both.model.is_empty() => {
                    let (score, name) = both.model[dice.below(both.model.len())];
                    assert!(both.tree.remove(score, name));
                    let at = both.place(score, name).unwrap();
                    both.model.remove(at);
                }
                6 if !both.model.is_empty() => {
                    let (old, name) = both.model[dice.below(both.model.len())];
                    let new = if dice.below(2) == 0 { old + 0.5 } else { score };
                    if both.place(new, name).is_err() {
                        both.tree.change_score(old, name, new);
                        let at = both.place(old, name).unwrap();
                        both.model.remove(at);
                        let at = both.place(new, name).unwrap_err();
                        both.model.insert(at, (new, name));
                    }
                }
                7 if step % 50 == 0 => {
                    let from = dice.below(both.model.len() + 1);
                    let count = dice.below(300);
                    let end = (from + count).min(both.model.len());
                    let gone: Vec<_> = both.model.drain(from..end).collect();
                    let mut drained = Vec::new();
                    both.tree
                        .drain(from, count, |e| drained.push((e.score, e.member)));
                    assert_eq!(drained, gone);
                }
                _ => {
                    let place = both.place(score, name).unwrap_or_else(|at| at);
                    assert_eq!(both.tree.rank(score, name), place);
                    assert_eq!(
                        both.tree.get(place).map(|e| (e.score, e.member)),
                        both.model.get(place).copied()
                    );
                    let part: Vec<_> = both.tree.range(place, 70).map(|e| e.member).collect();
                    let want: Vec<_> = both
                        .model
                        .iter()
                        .skip(place)
                        .take(70)
                        .map(|(_, n)| *n)
                        .collect();
                    assert_eq!(part, want);
                    let scores = both.model.iter().map(|(s, _)| *s);
                    let below = scores.clone().filter(|s| *s < score).count();
                    let not_above = scores.filter(|s| *s <= score).count();
                    assert_eq!(both.tree.count_scores(score, false), below);
                    assert_eq!(both.tree.count_scores(score, true), not_above);
                }
            }
            if step % 500 == 0 {
                both.check();
            }
        }
        both.check();
        both.tree.drain(0, usize::MAX, |_| {});
        both.model.clear();
        both.check();
    }
}

#[test]
fn a_tree_built_at_once_holds_the_same_and_can_be_edited() {
    let names = names(4000);
    let mut dice = Dice(4);
    for len in [0, 1, 2, 55, 56, 57, 112, 113, 3136, 3137, 4000] {
        for (upwards, spread) in [(true, 1_000_000), (false, 1_000_000), (true, 3), (false, 1)] {
            let mut model: Vec<_> = names[..len]
                .iter()
                .map(|name| (dice.below(spread) as f64, *name))
                .collect();
            let scored = |&(score, member): &(f64, _)| Scored { score, member };
            let shuffled = OrderTree::from_entries(model.iter().map(scored).collect());
            model.sort_by(|a, b| a.partial_cmp(b).unwrap());
            let mut entries: Vec<_> = model.iter().map(scored).collect();
            if !upwards {
                entries.reverse();
            }
            let tree = OrderTree::from_entries(entries);
            // Entries are wider here than those of a sorted set, of which 56 are a class.
            let bytes = tree.memory_bytes();
            assert!(bytes <= 400 + len * 24 * 5 / 4, "{len} entries: {bytes}");
            let mut both = Both { tree, model };
            both.check();
            both.tree = shuffled;
            both.check();
            for _ in 0..300 {
                both.insert(dice.below(spread) as f64 + 0.5, names[dice.below(4000)]);
                if !both.model.is_empty() {
                    let (score, name) = both.model.remove(dice.below(both.model.len()));
                    assert!(both.tree.remove(score, name));
                }
            }
            both.check();
        }
    }
}

#[test]
fn entries_in_any_order_are_kept_dense() {
    let names = names(100_000);
    let mut dice = Dice(9);
    let mut orders: [Vec<usize>; 3] = std::array::from_fn(|_| (0..names.len()).collect());
    orders[1].reverse();
    for at in (1..names.len()).rev() {
        orders[2].swap(at, dice.below(at + 1));
    }
    for order in &orders {
        let mut tree = OrderTree::new();
        for at in order {
            tree.insert(Scored {
                score: *at as f64,
                member: names[*at],
            });
        }
        tree.assert_valid();
        // The handles here are twice as wide as those of a sorted set.
        let per_entry = tree.memory_bytes() as f64 / names.len() as f64;
        assert!(per_entry < 24.0 * 1.19, "{per_entry}");
        assert!(tree.depth() <= 4);
        let mut left = names.len();
        while left > 0 {
            tree.drain(0, 1, |_| left -= 1);
            if left.is_multiple_of(9999) {
                tree.assert_valid();
            }
        }
    }
}
