//! Text: what bytes of clients are as words.

/// A client's bytes as far as Redis' errors show them.
pub fn up_to_nul(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == 0);
    &bytes[..end.unwrap_or(bytes.len())]
}

/// Whether there is white space or a NUL in it, which no name and no pattern may have.
pub fn has_spaces(text: &[u8]) -> bool {
    let is_space = |byte: &u8| matches!(byte, 0 | b'\t'..=b'\r' | b' ');
    text.iter().any(is_space)
}
