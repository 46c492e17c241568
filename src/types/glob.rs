//! Glob patterns as KEYS, PSUBSCRIBE, CONFIG GET and ACLs understand them.
//!
//! Lives here: the matcher alone. `*` any run, `?` one byte, `[abc]`, `[a-z]`, `[^...]` classes, `\x` a
//! literal `x`. A class that never closes ends with the pattern; a lone trailing `\` stands for itself.
//!
//! Work is bounded by `pattern.len() * text.len()`: only the last `*` is ever resumed, because whatever an
//! earlier one could still try, the later one can reach too.

/// A pattern with more separate stars than this matches nothing, as in the real server, which tries them one
/// inside the other.
const STARS_MAX: usize = 1000;

/// Whether all of `text` matches `pattern`.
pub fn glob_match(pattern: &[u8], text: &[u8], nocase: bool) -> bool {
    let (mut p, mut t, mut stars) = (0, 0, 0);
    let mut resume: Option<(usize, usize)> = None; // just behind the last star, and the text it stands at
    loop {
        if pattern.get(p) == Some(&b'*') {
            while pattern.get(p) == Some(&b'*') {
                p += 1;
            }
            if p == pattern.len() {
                return true;
            }
            stars += 1;
            if stars > STARS_MAX {
                return false;
            }
            resume = Some((p, t));
            continue;
        }
        if let Some(&byte) = text.get(t) {
            if let Some(next) = step(&pattern[p..], byte, nocase) {
                p += next;
                t += 1;
                continue;
            }
        } else if p == pattern.len() {
            return true;
        } else {
            return false; // the text is used up and something other than a star is still to match
        }
        let Some((star, from)) = resume else {
            return false;
        };
        p = star;
        t = from + 1;
        resume = Some((star, t));
    }
}

/// Matches one byte against the first element of `pattern`; returns that element's length.
fn step(pattern: &[u8], byte: u8, nocase: bool) -> Option<usize> {
    match pattern {
        [] => None,
        [b'?', ..] => Some(1),
        [b'[', class @ ..] => {
            let (hit, len) = in_class(class, byte, nocase);
            hit.then_some(1 + len)
        }
        [b'\\', literal, ..] => same(*literal, byte, nocase).then_some(2),
        [literal, ..] => same(*literal, byte, nocase).then_some(1),
    }
}

/// Whether `byte` is in the class whose text (behind its `[`) is `class`, and how long that text is.
fn in_class(class: &[u8], byte: u8, nocase: bool) -> (bool, usize) {
    let negated = class.first() == Some(&b'^');
    let mut pos = usize::from(negated);
    let mut hit = false;
    loop {
        match &class[pos..] {
            [] => break,
            [b']', ..] => {
                pos += 1;
                break;
            }
            [b'\\', literal, ..] => {
                hit |= same(*literal, byte, nocase);
                pos += 2;
            }
            [low, b'-', high, ..] => {
                let (low, high, byte) =
                    (fold(*low, nocase), fold(*high, nocase), fold(byte, nocase));
                hit |= (low.min(high)..=low.max(high)).contains(&byte);
                pos += 3;
            }
            [literal, ..] => {
                hit |= same(*literal, byte, nocase);
                pos += 1;
            }
        }
    }
    (hit != negated, pos)
}

fn same(a: u8, b: u8, nocase: bool) -> bool {
    fold(a, nocase) == fold(b, nocase)
}

fn fold(byte: u8, nocase: bool) -> u8 {
    if nocase {
        byte.to_ascii_lowercase()
    } else {
        byte
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_documented() {
        for (pattern, text, want) in [
            ("", "", true),
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c", "abb", false),
            ("h?llo", "hello", true),
            ("h?llo", "hllo", false),
            ("h[ae]llo", "hallo", true),
            ("h[^e]llo", "hello", false),
            ("h[^e]llo", "hallo", true),
            ("h[a-c]llo", "hbllo", true),
            ("h[c-a]llo", "hbllo", true),
            ("h\\*llo", "h*llo", true),
            ("h\\*llo", "hello", false),
            ("[a", "a", true),
            ("[\\]]", "]", true),
            ("a\\", "a\\", true),
            ("**b", "aab", true),
            ("a?", "a", false),
        ] {
            assert_eq!(
                glob_match(pattern.as_bytes(), text.as_bytes(), false),
                want,
                "{pattern} {text}"
            );
        }
        assert!(glob_match(b"MAX*", b"maxmemory", true));
        assert!(!glob_match(b"MAX*", b"maxmemory", false));
    }

    #[test]
    fn a_pattern_of_countless_stars_matches_nothing() {
        for (stars, want) in [(STARS_MAX, true), (STARS_MAX + 1, false)] {
            let (pattern, text) = (b"*?".repeat(stars), b"a".repeat(5000));
            assert_eq!(glob_match(&pattern, &text, false), want, "{stars}");
        }
    }

    #[test]
    fn a_hostile_pattern_ends_soon() {
        let pattern = [b"a*".repeat(1000), b"b".to_vec()].concat();
        assert!(!glob_match(&pattern, &b"a".repeat(5000), false));
    }
}
