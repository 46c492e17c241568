//! Partial sort: as much of a sort as its first elements take, with the same order among equals as real servers have.
//!
//! The algorithm is quicksort as in Bentley and McIlroy, "Engineering a Sort Function" (1993): insertion sort below
//! seven elements, the median of three or of three medians as pivot, and equal elements gathered at both ends and
//! then moved to the middle. It departs from the paper in that parts that lie behind the wanted elements are left
//! as they are. Which of several equal elements comes first is part of the result, so no step may be reordered.

use std::cmp::Ordering;

/// Below this many elements insertion sort takes over.
const SMALL: usize = 7;
/// Above this many the pivot is a median of medians.
const LARGE: usize = 40;

/// Brings the first `wanted` elements into their places; those behind them are no smaller, in no particular order.
pub fn partial_sort<T>(
    items: &mut [T],
    wanted: usize,
    compare: &mut impl FnMut(&T, &T) -> Ordering,
) {
    let mut rest = items;
    // Of `rest` this many are wanted.
    let mut wanted = wanted;
    while wanted > 0 {
        let len = rest.len();
        if len < SMALL {
            return insertion_sort(rest, compare);
        }
        let pivot = pivot(rest, compare);
        rest.swap(0, pivot);
        let (smaller, larger) = partition(rest, compare);
        if smaller > 1 {
            partial_sort(&mut rest[..smaller], wanted.min(smaller), compare);
        }
        if larger <= 1 {
            return;
        }
        let before = len - larger;
        wanted = wanted.saturating_sub(before);
        rest = &mut rest[before..];
    }
}

fn insertion_sort<T>(items: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) {
    for end in 1..items.len() {
        let mut at = end;
        while at > 0 && compare(&items[at - 1], &items[at]).is_gt() {
            items.swap(at - 1, at);
            at -= 1;
        }
    }
}

/// Where the element is that the others are compared with.
fn pivot<T>(items: &[T], compare: &mut impl FnMut(&T, &T) -> Ordering) -> usize {
    let len = items.len();
    let (mut first, mut middle, mut last) = (0, len / 2, len - 1);
    if len == SMALL {
        return middle;
    }
    let mut median = |a, b, c| median_of_three(items, [a, b, c], compare);
    if len > LARGE {
        let step = len / 8;
        first = median(first, first + step, first + 2 * step);
        middle = median(middle - step, middle, middle + step);
        last = median(last - 2 * step, last - step, last);
    }
    median(first, middle, last)
}

fn median_of_three<T>(
    items: &[T],
    [a, b, c]: [usize; 3],
    compare: &mut impl FnMut(&T, &T) -> Ordering,
) -> usize {
    let mut is_before = |x: usize, y: usize| compare(&items[x], &items[y]).is_lt();
    if is_before(a, b) {
        match () {
            () if is_before(b, c) => b,
            () if is_before(a, c) => c,
            () => a,
        }
    } else {
        // The comparison from the other side: an equal element decides for the one named last.
        match () {
            () if is_before(c, b) => b,
            () if is_before(a, c) => a,
            () => c,
        }
    }
}

/// Splits by the first element into smaller, equal and larger ones; says how many are smaller and how many larger.
fn partition<T>(items: &mut [T], compare: &mut impl FnMut(&T, &T) -> Ordering) -> (usize, usize) {
    let len = items.len();
    // From both ends: equal ones in `..equal_low` and `equal_high..`, what is seen in `..low` and `high..`.
    let (mut equal_low, mut low) = (1, 1);
    let (mut high, mut equal_high) = (len, len);
    loop {
        while low < high {
            match compare(&items[low], &items[0]) {
                Ordering::Greater => break,
                Ordering::Equal => {
                    items.swap(equal_low, low);
                    equal_low += 1;
                }
                Ordering::Less => {}
            }
            low += 1;
        }
        while low < high {
            match compare(&items[high - 1], &items[0]) {
                Ordering::Less => break,
                Ordering::Equal => {
                    equal_high -= 1;
                    items.swap(high - 1, equal_high);
                }
                Ordering::Greater => {}
            }
            high -= 1;
        }
        if low >= high {
            break;
        }
        items.swap(low, high - 1);
        low += 1;
        high -= 1;
    }
    // The equal ones go to the middle, each end with the nearest of what it changes places with.
    let (smaller, larger) = (low - equal_low, equal_high - high);
    swap_runs(items, 0, low, equal_low.min(smaller));
    swap_runs(items, low, len, larger.min(len - equal_high));
    (smaller, larger)
}

/// Changes `count` elements from `start` on with the last `count` before `end`, in order.
fn swap_runs<T>(items: &mut [T], start: usize, end: usize, count: usize) {
    for at in 0..count {
        items.swap(start + at, end - count + at);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn the_first_elements_are_those_of_a_sort(
            items in prop::collection::vec(0..60u32, 0..200),
            wanted in 0..220usize,
        ) {
            let mut sorted = items.clone();
            sorted.sort_unstable();
            let mut partly = items;
            partial_sort(&mut partly, wanted, &mut u32::cmp);
            let wanted = wanted.min(sorted.len());
            prop_assert_eq!(&partly[..wanted], &sorted[..wanted]);
            partly.sort_unstable();
            prop_assert_eq!(partly, sorted);
        }
    }
}
