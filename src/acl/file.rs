//! Users as text: the ACL file, and `user` directives of the configuration.
//!
//! A line of the file is `user NAME rule ...`, split at single spaces; there are no comments and no quotes. May not:
//! open files; callers bring the text.

use super::catalogue::Catalogue;
use super::rule::{BadRule, RuleError, Terms};
use super::user::{User, join_selectors};
use super::users::Users;
use crate::types::text::{has_spaces, up_to_nul};

/// Ends every report about an ACL file.
const NOTHING_CHANGED: &str =
    "WARNING: ACL errors detected, no change to the previously active ACL rules was performed";

/// The users of an ACL file, all of them or none; an error names everything that is wrong. Where it has no default
/// user, that is one who may do everything.
pub fn parse(text: &[u8], path: &str, terms: &mut Terms<'_>) -> Result<Users, String> {
    let mut users = Users::new(User::open_default());
    let mut names_seen: Vec<Vec<u8>> = Vec::new();
    let mut errors = String::new();
    for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
        let number = at + 1;
        let line = trim(line);
        if up_to_nul(line).is_empty() {
            continue;
        }
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(b"user"), Some(name)) = (words.next(), words.next()) else {
            errors += &format!(
                "{path}:{number} should start with user keyword followed by the username. "
            );
            continue;
        };
        let shown = String::from_utf8_lossy(up_to_nul(name));
        if has_spaces(name) {
            errors +=
                &format!("'{path}:{number}: username '{shown}' contains invalid characters. ");
            continue;
        }
        if names_seen.iter().any(|seen| seen == name) {
            errors += &format!("WARNING: Duplicate user '{shown}' found on line {number}. ");
            continue;
        }
        names_seen.push(name.to_vec());
        let mut user = User::new(name, terms.all_channels);
        errors += &apply_line(&mut user, words, &format!("{path}:{number}"), terms);
        users.put(user);
    }
    if errors.is_empty() {
        Ok(users)
    } else {
        Err(errors + NOTHING_CHANGED)
    }
}

/// Applies the rules of one line; says what is wrong with them: every unknown name, and the first of other errors.
fn apply_line<'r>(
    user: &mut User,
    rules: impl Iterator<Item = &'r [u8]>,
    place: &str,
    terms: &mut Terms<'_>,
) -> String {
    let rules = match join_selectors(rules) {
        Ok(rules) => rules,
        Err(begin) => {
            let begin = String::from_utf8_lossy(&begin);
            return format!(
                "{place}: Unmatched parenthesis in acl selector starting at '{begin}'. "
            );
        }
    };
    let mut errors = String::new();
    let mut has_other = false;
    for rule in rules {
        match user.apply(trim(&rule), terms) {
            Ok(()) => {}
            Err(error @ RuleError::UnknownName) => {
                let rule = String::from_utf8_lossy(up_to_nul(&rule));
                errors += &format!("{place}: Error in applying operation '{rule}': {error}. ");
            }
            Err(error) if !has_other => {
                has_other = true;
                errors += &format!("{place}: {error}. ");
            }
            Err(_) => {}
        }
    }
    errors
}

/// Without the blanks around it. A form feed is no blank here.
fn trim(text: &[u8]) -> &[u8] {
    let is_blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let Some(start) = text.iter().position(|byte| !is_blank(byte)) else {
        return b"";
    };
    let end = text.iter().rposition(|byte| !is_blank(byte));
    &text[start..=end.unwrap_or(start)]
}

/// The text of an ACL file with these users.
pub fn print(users: &Users) -> Vec<u8> {
    let lines = users.iter();
    let lines = lines.map(|user| [&user.describe()[..], b"\n"].concat());
    lines.collect::<Vec<_>>().concat()
}

/// What is wrong with the rules of a `user` directive, apart from names that are unknown: the server looks for those
/// when it starts.
pub fn check_declaration(words: &[Vec<u8>], catalogue: &Catalogue) -> Result<(), String> {
    let mut terms = Terms::new(catalogue, false);
    let mut user = User::new(b"", false);
    let rules = words.iter().skip(1).map(Vec::as_slice);
    let rules = join_selectors(rules).map_err(|_| "Wrong format")?;
    for rule in rules {
        match user.apply(&rule, &mut terms) {
            Ok(()) | Err(RuleError::UnknownName) => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// Adds the users that the configuration declares: each a name and its rules.
pub fn declare(
    users: &mut Users,
    declarations: &[Vec<Vec<u8>>],
    terms: &mut Terms<'_>,
) -> Result<(), String> {
    for words in declarations {
        let Some((name, rules)) = words.split_first() else {
            continue;
        };
        if has_spaces(name) {
            return Err("Spaces not allowed in ACL usernames".to_owned());
        }
        let mut user = User::new(name, terms.all_channels);
        user.apply_all(rules.iter().map(Vec::as_slice), terms)
            .map_err(|bad| {
                let name = String::from_utf8_lossy(name);
                match bad {
                    BadRule::Rule(rule, error) => format!(
                        "Error loading ACL rule '{}' for the user named '{name}': {error}",
                        String::from_utf8_lossy(up_to_nul(&rule))
                    ),
                    BadRule::Unmatched(begin) => format!(
                        "Error loading ACL rules for the user named '{name}': Unmatched parenthesis in acl \
                         selector starting at '{}'",
                        String::from_utf8_lossy(up_to_nul(&begin))
                    ),
                }
            })?;
        users.put(user);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::Registry;

    fn read(text: &str) -> Result<String, String> {
        let registry = Registry::new(&[]).expect("no command is renamed");
        let users = parse(
            text.as_bytes(),
            "f",
            &mut Terms::new(registry.catalogue(), false),
        )?;
        Ok(String::from_utf8_lossy(&print(&users)).into_owned())
    }

    #[test]
    fn what_is_printed_is_read_again() {
        let text = "user a on sanitize-payload %R~x resetchannels &c -@all +get (~y resetchannels -@all)\n\
                    user default off sanitize-payload resetchannels -@all\n";
        assert_eq!(read(text), Ok(text.to_owned()));
        let alone = "user default on nopass sanitize-payload ~* &* +@all\n";
        assert_eq!(read("\n \r\n"), Ok(alone.to_owned()));
    }

    #[test]
    fn all_errors_of_a_file_are_named() {
        let text =
            "# no comments\nuser\nuser a xx yy +nosuch\nuser a on\nuser b\tc on\nuser d (+get\n";
        assert_eq!(
            read(text),
            Err(format!(
                "f:1 should start with user keyword followed by the username. f:2 should start with user keyword \
                 followed by the username. f:3: Syntax error. f:3: Error in applying operation '+nosuch': Unknown \
                 command or category name in ACL. WARNING: Duplicate user 'a' found on line 4. 'f:5: username \
                 'b\tc' contains invalid characters. f:6: Unmatched parenthesis in acl selector starting at \
                 '(+get'. {NOTHING_CHANGED}"
            ))
        );
    }
}
