//! Source: Rust files read as text, as far as the rules of the house need it.
//!
//! Lives here: what of a text is code, a comment or a literal; words; what is imported and named; functions and their
//! lengths; which file a path leads to. May not: any rule of the house. It knows no more of the language than this
//! repository uses, and what it does know is held by the tests below.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// A word or a sign, and the line it stands in. `::` is one sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word {
    pub text: String,
    pub line: usize,
}

/// A path that a file names: `crate::keyspace::Db` is `["crate", "keyspace", "Db"]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    pub path: Vec<String>,
    pub line: usize,
    /// What it is called from then on, when it stands in a `use`; `*` for a glob.
    pub alias: Option<String>,
}

/// A function and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// One file, without its tests.
pub struct Source {
    /// From the root of the repository: `src/keyspace/db.rs`.
    pub path: String,
    /// `["keyspace", "db"]`; empty for `lib.rs`.
    pub module: Vec<String>,
    pub lines: usize,
    pub words: Vec<Word>,
    pub named: Vec<Named>,
    /// The modules that it declares, and whether for tests alone.
    pub declared: BTreeMap<String, bool>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Source {
        let parts = Parts::of(text);
        let all = words_of(&parts.code);
        let words = without_tests(&all);
        let declared_in = |words: &[Word]| -> Vec<String> {
            let is_declared = |three: &&[Word]| three[0].text == "mod" && three[2].text == ";";
            let found = words.windows(3).filter(is_declared);
            found.map(|three| three[1].text.clone()).collect()
        };
        let plain = declared_in(&words);
        let declared = declared_in(&all)
            .into_iter()
            .map(|name| (name.clone(), !plain.contains(&name)))
            .collect();
        let mut source = Source {
            path: path.to_string(),
            module: module_of(path),
            lines: text.lines().count(),
            words,
            named: Vec::new(),
            declared,
        };
        source.named = named_in(&source.words, &source.declared);
        source
    }

    /// Whether an item of this name is defined in it.
    fn defines(&self, name: &str) -> bool {
        const KINDS: [&str; 9] = [
            "fn", "struct", "enum", "const", "static", "type", "trait", "union", "mod",
        ];
        let mut pairs = self.words.windows(2);
        pairs.any(|pair| pair[1].text == name && KINDS.contains(&pair[0].text.as_str()))
    }

    pub fn functions(&self) -> Vec<Function> {
        functions_in(&self.words)
    }
}

/// Every file below `src`, by path.
pub fn read_all(root: &Path) -> Vec<Source> {
    let mut sources: Vec<Source> = paths_below(root, "src", "rs")
        .iter()
        .map(|path| {
            let text = fs::read_to_string(root.join(path)).expect("a source file is text");
            Source::new(path, &text)
        })
        .collect();
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

/// The files with this extension below a folder, from the root of the repository, sorted.
pub fn paths_below(root: &Path, folder: &str, extension: &str) -> Vec<String> {
    let mut folders = vec![folder.to_string()];
    let mut paths = Vec::new();
    while let Some(folder) = folders.pop() {
        for item in fs::read_dir(root.join(&folder)).expect("a folder of the repository") {
            let item = item.expect("readable");
            let path = format!("{folder}/{}", item.file_name().to_string_lossy());
            match item.file_type().expect("known") {
                kind if kind.is_dir() => folders.push(path),
                _ if path.ends_with(&format!(".{extension}")) => paths.push(path),
                _ => {}
            }
        }
    }
    paths.sort();
    paths
}

fn module_of(path: &str) -> Vec<String> {
    let inner = path.strip_prefix("src/").unwrap_or(path);
    let inner = inner.strip_suffix(".rs").unwrap_or(inner);
    let mut module: Vec<String> = inner.split('/').map(str::to_string).collect();
    let last = module.last().map(String::as_str);
    if last == Some("mod") || inner == "lib" {
        module.pop();
    }
    module
}

/// A text in parts of the same length: everything that does not belong to a part is blank in it.
pub struct Parts {
    pub code: String,
    pub comments: String,
}

impl Parts {
    pub fn of(text: &str) -> Parts {
        let chars: Vec<char> = text.chars().collect();
        let (mut code, mut comments) = (String::new(), String::new());
        let mut pos = 0;
        while pos < chars.len() {
            let (len, kind) = piece(
                &chars[pos..],
                pos.checked_sub(1).map(|before| chars[before]),
            );
            for c in &chars[pos..pos + len] {
                let blank = if *c == '\n' { '\n' } else { ' ' };
                code.push(if kind == Piece::Code { *c } else { blank });
                comments.push(if kind == Piece::Comment { *c } else { blank });
            }
            pos += len;
        }
        Parts { code, comments }
    }
}

#[derive(PartialEq, Eq)]
enum Piece {
    Code,
    Comment,
    Literal,
}

/// How long the piece is that begins here, and of which kind.
fn piece(text: &[char], before: Option<char>) -> (usize, Piece) {
    let starts = |with: &str| text.iter().copied().take(with.len()).eq(with.chars());
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if starts("//") {
        let len = text.iter().position(|c| *c == '\n').unwrap_or(text.len());
        return (len, Piece::Comment);
    }
    if starts("/*") {
        return (nested_comment_len(text), Piece::Comment);
    }
    if let Some(len) = raw_len(text).filter(|_| !in_word) {
        return (len, Piece::Literal);
    }
    match text[0] {
        '"' => (quoted_len(text), Piece::Literal),
        '\'' if text.get(1) == Some(&'\\') => (1 + quoted_len_by(&text[1..], '\''), Piece::Literal),
        '\'' if text.get(2) == Some(&'\'') => (3, Piece::Literal),
        _ => (1, Piece::Code),
    }
}

fn nested_comment_len(text: &[char]) -> usize {
    let (mut depth, mut pos) = (0, 0);
    while pos < text.len() {
        match (text[pos], text.get(pos + 1)) {
            ('/', Some('*')) => (depth, pos) = (depth + 1, pos + 2),
            ('*', Some('/')) => (depth, pos) = (depth - 1, pos + 2),
            _ => pos += 1,
        }
        if depth == 0 {
            break;
        }
    }
    pos.min(text.len())
}

/// The length of `r"..."`, `br#"..."#` and the like, if that begins here.
fn raw_len(text: &[char]) -> Option<usize> {
    let prefix = text.iter().take_while(|c| matches!(c, 'b' | 'c')).count();
    if prefix > 1 || text.get(prefix) != Some(&'r') {
        return None;
    }
    let hashes = text[prefix + 1..].iter().take_while(|c| **c == '#').count();
    let opening = prefix + 1 + hashes;
    if text.get(opening) != Some(&'"') {
        return None;
    }
    let mut pos = opening + 1;
    while pos < text.len() {
        let closes =
            text[pos] == '"' && text[pos + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
        if closes {
            return Some(pos + 1 + hashes);
        }
        pos += 1;
    }
    Some(text.len())
}

fn quoted_len(text: &[char]) -> usize {
    1 + quoted_len_by(&text[1..], '"')
}

/// How far it is behind the closing quote.
fn quoted_len_by(text: &[char], quote: char) -> usize {
    let mut pos = 0;
    while pos < text.len() {
        match text[pos] {
            '\\' => pos += 2,
            c if c == quote => return pos + 1,
            _ => pos += 1,
        }
    }
    text.len()
}

pub fn words_of(code: &str) -> Vec<Word> {
    let mut words: Vec<Word> = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let is_letter = |c: char| c.is_alphanumeric() || c == '_';
            let len = match first {
                _ if is_letter(first) => rest.find(|c| !is_letter(c)).unwrap_or(rest.len()),
                _ if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            words.push(Word {
                text: rest[..len].to_string(),
                line: index + 1,
            });
            rest = rest[len..].trim_start();
        }
    }
    words
}

/// The words without items that are there for tests alone.
fn without_tests(words: &[Word]) -> Vec<Word> {
    const MARK: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut left = Vec::new();
    let mut pos = 0;
    while pos < words.len() {
        let here = &words[pos..];
        if here
            .iter()
            .map(|word| word.text.as_str())
            .take(MARK.len())
            .eq(MARK)
        {
            pos += item_len(here);
        } else {
            left.push(words[pos].clone());
            pos += 1;
        }
    }
    left
}

/// How many words an item has, its attributes included: up to its `;` or behind its closing brace.
fn item_len(words: &[Word]) -> usize {
    let mut depth = 0;
    for (index, word) in words.iter().enumerate() {
        match word.text.as_str() {
            "(" | "[" | "{" => depth += 1,
            ")" | "]" => depth -= 1,
            "}" => {
                depth -= 1;
                if depth == 0 {
                    return index + 1;
                }
            }
            ";" if depth == 0 => return index + 1,
            _ => {}
        }
    }
    words.len()
}

/// What is named by a path that leads into this repository: in `use`, and anywhere else.
fn named_in(words: &[Word], declared: &BTreeMap<String, bool>) -> Vec<Named> {
    let mut named = Vec::new();
    let mut pos = 0;
    while pos < words.len() {
        let text = words[pos].text.as_str();
        let before = pos.checked_sub(1).map_or("", |at| words[at].text.as_str());
        if text == "use" && words.get(pos + 1).is_some_and(|next| next.text != "<") {
            pos = use_tree(words, pos + 1, &[], &mut named);
            continue;
        }
        let begins_path = words.get(pos + 1).is_some_and(|next| next.text == "::");
        let leads_in = matches!(text, "crate" | "super" | "self" | "retrace")
            || declared.get(text) == Some(&false);
        if begins_path && leads_in && before != "::" && before != "." {
            let path = plain_path(&words[pos..]);
            let len = path.len();
            named.push(Named {
                path,
                line: words[pos].line,
                alias: None,
            });
            pos += 2 * len - 1;
            continue;
        }
        pos += 1;
    }
    named.retain(|named| {
        let first = named.path[0].as_str();
        matches!(first, "crate" | "super" | "self" | "retrace")
            || declared.get(first) == Some(&false)
    });
    named
}

fn plain_path(words: &[Word]) -> Vec<String> {
    let mut path = vec![words[0].text.clone()];
    let mut pos = 1;
    while let [sign, name, ..] = &words[pos..] {
        let is_name = name
            .text
            .starts_with(|c: char| c.is_alphabetic() || c == '_');
        if sign.text != "::" || !is_name {
            break;
        }
        path.push(name.text.clone());
        pos += 2;
    }
    path
}

/// Reads one tree of a `use`, and returns where it ends.
fn use_tree(words: &[Word], from: usize, prefix: &[String], named: &mut Vec<Named>) -> usize {
    let mut path = prefix.to_vec();
    let mut pos = from;
    let line = words.get(pos).map_or(0, |word| word.line);
    let mut alias = None;
    while let Some(word) = words.get(pos) {
        match word.text.as_str() {
            "::" => pos += 1,
            "{" => {
                pos += 1;
                while words.get(pos).is_some_and(|word| word.text != "}") {
                    pos = use_tree(words, pos, &path, named);
                    if words.get(pos).is_some_and(|word| word.text == ",") {
                        pos += 1;
                    }
                }
                return pos + 1;
            }
            "*" => {
                alias = Some("*".to_string());
                pos += 1;
            }
            "as" => {
                alias = words.get(pos + 1).map(|word| word.text.clone());
                pos += 2;
            }
            "," | "}" | ";" => break,
            // `a::{self}` is `a`.
            "self" if !path.is_empty() => pos += 1,
            name => {
                path.push(name.to_string());
                pos += 1;
            }
        }
    }
    if !path.is_empty() {
        let alias = alias.or_else(|| path.last().cloned());
        named.push(Named { path, line, alias });
    }
    pos
}

fn functions_in(words: &[Word]) -> Vec<Function> {
    let mut functions = Vec::new();
    for (index, pair) in words.windows(2).enumerate() {
        let is_name = pair[1]
            .text
            .starts_with(|c: char| c.is_alphabetic() || c == '_');
        if pair[0].text != "fn" || !is_name {
            continue;
        }
        let here = &words[index..];
        let len = item_len(here);
        let last = &here[len - 1];
        if last.text == "}" {
            functions.push(Function {
                name: pair[1].text.clone(),
                line: pair[0].line,
                lines: last.line - pair[0].line + 1,
            });
        }
    }
    functions
}

/// All files, and how paths lead from one to another.
pub struct House<'a> {
    sources: &'a [Source],
    by_module: BTreeMap<Vec<String>, usize>,
}

impl<'a> House<'a> {
    pub fn new(sources: &'a [Source]) -> House<'a> {
        let modules = sources.iter().enumerate();
        House {
            sources,
            by_module: modules
                .map(|(index, source)| (source.module.clone(), index))
                .collect(),
        }
    }

    /// The file in which that lies what a path in `from` names, whatever hands it on between.
    pub fn file_of(&self, from: usize, path: &[String]) -> Option<usize> {
        self.follow(from, path, 0)
    }

    fn follow(&self, from: usize, path: &[String], depth: usize) -> Option<usize> {
        const DEPTH_MAX: usize = 16;
        if depth > DEPTH_MAX {
            return None;
        }
        let mut module = match path.first().map(String::as_str)? {
            "crate" | "retrace" => Vec::new(),
            _ => self.sources[from].module.clone(),
        };
        let mut rest = path;
        while let Some(first) = rest.first() {
            match first.as_str() {
                "crate" | "retrace" | "self" => {}
                "super" => drop(module.pop()),
                _ => break,
            }
            rest = &rest[1..];
        }
        let mut at = *self.by_module.get(&module)?;
        while let [name, behind @ ..] = rest {
            module.push(name.clone());
            if let Some(below) = self.by_module.get(&module) {
                at = *below;
                rest = behind;
                continue;
            }
            return self.handed_on(at, rest, depth).or(Some(at));
        }
        Some(at)
    }

    /// The file to which `at` hands a name on that is not its own.
    fn handed_on(&self, at: usize, rest: &[String], depth: usize) -> Option<usize> {
        let source = &self.sources[at];
        let name = &rest[0];
        if source.defines(name) {
            return None;
        }
        let with_alias = |alias: &str| {
            let alias = alias.to_string();
            let named = source.named.iter();
            named.filter(move |named| named.alias.as_deref() == Some(&alias))
        };
        if let Some(named) = with_alias(name).next() {
            let whole: Vec<String> = [&named.path, &rest[1..]].concat();
            return self.follow(at, &whole, depth + 1);
        }
        with_alias("*").find_map(|named| {
            let whole: Vec<String> = [&named.path, rest].concat();
            let file = self.follow(at, &whole, depth + 1)?;
            (file != at && self.sources[file].defines(name)).then_some(file)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(text: &str) -> Vec<String> {
        let source = Source::new("src/a/b.rs", text);
        let named = source.named.iter();
        named.map(|named| named.path.join("::")).collect()
    }

    #[test]
    fn literals_and_comments_are_no_code() {
        for (text, code, comments) in [
            ("a // b\nc", "a     \nc", "  // b\n "),
            (
                "a /* b /* c */ d */ e",
                "a                   e",
                "  /* b /* c */ d */  ",
            ),
            (
                r#"a("b\"//", 'c', '\'', 'd)"#,
                "a(       ,    ,     , 'd)",
                "",
            ),
            (r###"br#"a"b"# + r"\" + c"###, "          +      + c", ""),
            ("number\"x\"", "number   ", ""),
        ] {
            let parts = Parts::of(text);
            assert_eq!(parts.code, code, "{text}");
            if !comments.is_empty() {
                assert_eq!(parts.comments, comments, "{text}");
            }
        }
    }

    #[test]
    fn every_form_of_import_is_found() {
        for (text, want) in [
            ("use crate::x::Y;", vec!["crate::x::Y"]),
            (
                "pub(crate) use crate::{x::{self, Y as Z}, w::*};",
                vec!["crate::x", "crate::x::Y", "crate::w"],
            ),
            ("use super::x; use self::y;", vec!["super::x", "self::y"]),
            ("use std::fmt; use bytes::Bytes;", vec![]),
            ("mod c; pub use c::D;", vec!["c::D"]),
            ("mod c; fn f() { c::g(); }", vec!["c::g"]),
            ("fn f() -> crate::x::Y<u8> {}", vec!["crate::x::Y"]),
            (
                "fn f() { super::super::g::<u8>() }",
                vec!["super::super::g"],
            ),
            ("// use crate::x;\nconst A: &str = \"crate::y\";", vec![]),
            (
                "#[cfg(test)] mod tests { use crate::x; } use crate::y;",
                vec!["crate::y"],
            ),
            (
                "#[cfg(test)] #[allow(a)] use crate::x; use crate::y;",
                vec!["crate::y"],
            ),
        ] {
            assert_eq!(paths(text), want, "{text}");
        }
    }

    #[test]
    fn an_import_leads_to_the_file_that_has_it() {
        let sources = [
            Source::new("src/lib.rs", "pub mod a; mod d;"),
            Source::new(
                "src/a/mod.rs",
                "mod b; mod c; pub use b::B; pub use c::*; pub struct A;",
            ),
            Source::new("src/a/b.rs", "pub struct B;"),
            Source::new("src/a/c.rs", "use super::B; pub fn c() {}"),
            Source::new("src/d.rs", "use crate::a;"),
        ];
        let house = House::new(&sources);
        for (path, want) in [
            ("crate::a::B::new", "src/a/b.rs"),
            ("crate::a::c", "src/a/c.rs"),
            ("crate::a::A", "src/a/mod.rs"),
            ("crate::a", "src/a/mod.rs"),
            ("super::a::b", "src/a/b.rs"),
        ] {
            let path: Vec<String> = path.split("::").map(str::to_string).collect();
            let file = house.file_of(4, &path).expect("it is there");
            assert_eq!(sources[file].path, want, "{path:?}");
        }
    }

    #[test]
    fn functions_are_measured() {
        let text = "fn a() {\n  if b {\n  }\n}\ntrait T { fn c(); fn d() {} }\ntype F = fn(u8);";
        let source = Source::new("src/a.rs", text);
        let functions = source.functions();
        let shown: Vec<_> = functions
            .iter()
            .map(|f| (f.name.as_str(), f.line, f.lines))
            .collect();
        assert_eq!(shown, [("a", 1, 4), ("d", 5, 1)]);
    }

    #[test]
    fn modules_for_tests_are_told_from_others() {
        let source = Source::new("src/a.rs", "mod b;\n#[cfg(test)]\nmod tests;");
        let declared: Vec<_> = source.declared.into_iter().collect();
        assert_eq!(
            declared,
            [("b".to_string(), false), ("tests".to_string(), true)]
        );
    }
}
