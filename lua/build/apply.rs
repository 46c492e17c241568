//! How an edit is applied: its anchor must occur exactly once, with any white space between its words.

/// One change to a file of Lua's.
#[derive(Debug, Clone, Copy)]
pub struct Edit {
    pub file: &'static str,
    /// What the change brings; a failure shows it.
    pub name: &'static str,
    /// A few tokens that occur exactly once in the file.
    pub anchor: &'static str,
    pub place: Place,
    pub text: &'static str,
}

/// Where an edit's text goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Before,
    After,
    /// In place of the anchor.
    Instead,
}

/// The text of the file `name` with the edits that are meant for it, or what keeps one of them from being applied.
/// Anchors are looked for in the text as it came, so that no edit depends on another.
pub fn apply(name: &str, text: &str, edits: &[Edit]) -> Result<String, String> {
    let mut cuts = Vec::new();
    for edit in edits.iter().filter(|edit| edit.file == name) {
        let (start, end) = only_place(text, edit)?;
        cuts.push(match edit.place {
            Place::Before => (start, start, edit),
            Place::After => (end, end, edit),
            Place::Instead => (start, end, edit),
        });
    }
    cuts.sort_by_key(|(start, ..)| *start);
    let (mut edited, mut done) = (String::with_capacity(text.len() + 1024), 0);
    for (start, end, edit) in cuts {
        let Some(kept) = text.get(done..start) else {
            return Err(failure(edit, "its anchor lies in that of another edit"));
        };
        edited.push_str(kept);
        edited.push_str(edit.text);
        done = end;
    }
    edited.push_str(&text[done..]);
    Ok(edited)
}

fn failure(edit: &Edit, what: &str) -> String {
    format!("{}: \"{}\": {what}: {}", edit.file, edit.name, edit.anchor)
}

/// Where the anchor lies.
fn only_place(text: &str, edit: &Edit) -> Result<(usize, usize), String> {
    let words: Vec<&str> = edit.anchor.split_whitespace().collect();
    let Some((first, rest)) = words.split_first() else {
        return Err(failure(edit, "it has no anchor"));
    };
    let mut places = text
        .match_indices(first)
        .filter_map(|(start, _)| Some((start, end_of(text, start + first.len(), rest)?)));
    match (places.next(), places.next()) {
        (Some(place), None) => Ok(place),
        (None, _) => Err(failure(edit, "its anchor is not there")),
        (Some(_), Some(_)) => Err(failure(edit, "its anchor is there more than once")),
    }
}

/// Where `words` end if they follow at `pos`, each behind white space.
fn end_of(text: &str, mut pos: usize, words: &[&str]) -> Option<usize> {
    for word in words {
        let rest = &text[pos..];
        let found = rest.trim_start();
        if found.len() == rest.len() || !found.starts_with(word) {
            return None;
        }
        pos = text.len() - found.len() + word.len();
    }
    Some(pos)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "int a;\nint b;\n  return a;\n";

    fn edit(anchor: &'static str, place: Place, text: &'static str) -> Edit {
        Edit {
            file: "a.c",
            name: "what it is for",
            anchor,
            place,
            text,
        }
    }

    #[test]
    fn edits_go_where_their_anchors_are_in_the_text_as_it_came() {
        let edits = [
            edit("return a;", Place::Instead, "return b;"),
            edit("int a; int b;", Place::After, " /* return a; */"),
            edit("int a;", Place::Before, "static "),
        ];
        let edited = apply("a.c", TEXT, &edits).expect("they apply");
        assert_eq!(
            edited,
            "static int a;\nint b; /* return a; */\n  return b;\n"
        );
        assert_eq!(apply("b.c", TEXT, &edits).expect("none of them"), TEXT);
    }

    #[test]
    fn an_anchor_that_is_not_there_exactly_once_is_named_with_its_edit() {
        for (anchor, want) in [
            ("int c;", "is not there"),
            ("int b; int a;", "is not there"),
            ("inta;", "is not there"),
            ("int", "more than once"),
            ("", "no anchor"),
        ] {
            let edits = [edit(anchor, Place::Before, "x")];
            let failure = apply("a.c", TEXT, &edits).expect_err(anchor);
            assert!(failure.contains(want), "{anchor:?}: {failure}");
            assert!(failure.contains("a.c: \"what it is for\""), "{failure}");
        }
    }

    #[test]
    fn edits_that_overlap_are_refused() {
        let edits = [
            edit("int a; int b;", Place::Instead, "x"),
            edit("int b;", Place::Instead, "y"),
        ];
        assert!(apply("a.c", TEXT, &edits).is_err());
    }
}
