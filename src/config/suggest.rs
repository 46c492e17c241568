//! Suggest: which name was meant by one that nobody knows.
//!
//! Lives here: the names that are no parameters, and how far two names are from each other. May not: judge values.

use super::PARAMS;

/// Directives that are no parameters and that files for a real server have.
pub(super) const DIRECTIVES: [&str; 5] = [
    "include",
    "rename-command",
    "user",
    "loadmodule",
    "sentinel",
];

/// Withdrawn long ago, still in old files, and read over.
pub(super) const WITHDRAWN: [&str; 4] = [
    "io-threads-do-reads",
    "list-max-ziplist-entries",
    "list-max-ziplist-value",
    "lua-replicate-commands",
];

/// Options of ours that are no parameters.
pub(super) const OWN_OPTIONS: [&str; 3] = ["port-file", "record", "seed"];

/// Whether `name` is one of `names`, in any case.
pub(super) fn is_named(name: &[u8], names: &[&str]) -> bool {
    let is_it = |known: &&str| name.eq_ignore_ascii_case(known.as_bytes());
    names.iter().any(is_it)
}

/// The known name that `name` was most likely meant to be, if one is near.
pub(super) fn nearest(name: &str) -> Option<&'static str> {
    let asked = name
        .trim_start_matches('-')
        .to_ascii_lowercase()
        .replace('_', "-");
    let params = PARAMS
        .iter()
        .flat_map(|param| [Some(param.name), param.alias]);
    let known = params
        .flatten()
        .chain(DIRECTIVES)
        .chain(OWN_OPTIONS)
        .map(|known| (distance(asked.as_bytes(), known.as_bytes()), known));
    let (far, meant) = known.min()?;
    (far <= asked.len() / 3).then_some(meant)
}

/// How many letters have to be added, left out, changed, or swapped with their neighbour to make one name the other.
fn distance(from: &[u8], to: &[u8]) -> usize {
    // Row `i` holds the distances between the first `i` letters of `from` and every beginning of `to`.
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for i in 1..=from.len() {
        let mut row = vec![i];
        for j in 1..=to.len() {
            let changed = above[j - 1] + usize::from(from[i - 1] != to[j - 1]);
            let mut least = changed.min(above[j] + 1).min(row[j - 1] + 1);
            let swaps = i > 1 && j > 1 && from[i - 1] == to[j - 2] && from[i - 2] == to[j - 1];
            if swaps {
                least = least.min(before[j - 2] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_found() {
        for (asked, meant) in [
            ("prot", Some("port")),
            ("--prot", Some("port")),
            ("maxmemmory", Some("maxmemory")),
            ("MAXMEMORY_POLCY", Some("maxmemory-policy")),
            ("append-only", Some("appendonly")),
            ("recrod", Some("record")),
            ("lodmodule", Some("loadmodule")),
            ("slave-read-onyl", Some("slave-read-only")),
            ("p", None),
            ("something-else-altogether", None),
            ("", None),
        ] {
            assert_eq!(nearest(asked), meant, "{asked}");
        }
    }

    #[test]
    fn distances_count_letters() {
        for (from, to, want) in [
            ("", "", 0),
            ("", "ab", 2),
            ("ab", "", 2),
            ("ab", "ba", 1),
            ("abc", "abd", 1),
            ("abc", "xabc", 1),
            ("port", "prot", 1),
        ] {
            assert_eq!(distance(from.as_bytes(), to.as_bytes()), want);
        }
    }
}
