//! Errors: every error text of a command stands here, once.

use std::borrow::Cow;

use crate::types::text::up_to_nul;

/// Why a command was refused; `Display` is the exact error line that the client reads.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum CommandError {
    #[error("WRONGTYPE Operation against a key holding the wrong kind of value")]
    WrongType,
    #[error("ERR syntax error")]
    Syntax,
    #[error("ERR value is not an integer or out of range")]
    NotInteger,
    #[error("ERR value is out of range")]
    OutOfRange,
    #[error("ERR value is out of range, must be positive")]
    NotPositive,
    #[error("ERR value is not a valid float")]
    NotFloat,
    #[error("ERR increment or decrement would overflow")]
    Overflow,
    #[error("ERR decrement would overflow")]
    DecrementOverflow,
    #[error("ERR increment would produce NaN or Infinity")]
    NanOrInfinity,
    #[error("ERR string exceeds maximum allowed size (proto-max-bulk-len)")]
    StringTooLong,
    #[error("ERR offset is out of range")]
    OffsetOutOfRange,
    #[error("ERR invalid expire time in '{0}' command")]
    InvalidExpire(&'static str),
    #[error("ERR wrong number of arguments for '{0}' command")]
    Arity(Cow<'static, str>),
    #[error("ERR value is out of range, value must between {0} and {1}")]
    NotBetween(i64, i64),
    #[error("ERR timeout is not an integer or out of range")]
    TimeoutNotInteger,
    #[error("UNBLOCKED client unblocked via CLIENT UNBLOCK")]
    Unblocked,
    #[error("ERR timeout is not a float or out of range")]
    TimeoutNotFloat,
    #[error("ERR timeout is negative")]
    TimeoutNegative,
    #[error("ERR timeout is out of range")]
    TimeoutOutOfRange,
    #[error("ERR source and destination objects are the same")]
    SameObject,
    #[error("ERR no such key")]
    NoSuchKey,
    #[error("ERR numkeys should be greater than 0")]
    NumKeysNotPositive,
    #[error("ERR count should be greater than 0")]
    CountNotPositive,
    #[error("ERR DB index is out of range")]
    DbIndex,
    #[error(
        "ERR Can't execute '{0}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this \
         context"
    )]
    NotForSubscribers(String),
    #[error("OOM command not allowed when used memory > 'maxmemory'.")]
    OutOfMemory,
    #[error("NOAUTH Authentication required.")]
    NoAuth,
    #[error("WRONGPASS invalid username-password pair or user is disabled.")]
    WrongPass,
    #[error("LOADING Redis is loading the dataset in memory")]
    Loading,
    #[error(
        "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands \
         that may modify the data set are disabled, because this instance is configured to report errors during \
         writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for \
         details about the RDB error."
    )]
    NotSaved,
    #[error("NOREPLICAS Not enough good replicas to write.")]
    NoReplicas,
    #[error("NOPROTO unsupported protocol version")]
    NoProto,
    #[error(
        "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it \
         from a local connection, otherwise you need to set this option in the configuration file, and then \
         restart the server."
    )]
    DebugNotAllowed,
    #[error("NOSCRIPT No matching script. Please use EVAL.")]
    NoScript,
    /// The error of a command that a script called and did not catch: it has been counted there.
    #[error("{}", String::from_utf8_lossy(.0))]
    Counted(Vec<u8>),
    /// An error that only one place gives; the text holds its own code.
    #[error("{0}")]
    Text(Cow<'static, str>),
    /// The same with a client's bytes in it, which need not be text.
    #[error("{}", String::from_utf8_lossy(.0))]
    Bytes(Vec<u8>),
}

/// How much of a client's bytes errors about unknown commands and subcommands repeat.
pub const QUOTED_MAX: usize = 128;

impl CommandError {
    /// An error with a text of its own, code included.
    pub fn text(text: impl Into<Cow<'static, str>>) -> CommandError {
        CommandError::Text(text.into())
    }

    /// An error that repeats a client's bytes, up to a NUL: there strings end for Redis' errors.
    pub fn quoting(before: &str, bytes: &[u8], after: &str) -> CommandError {
        CommandError::Bytes([before.as_bytes(), up_to_nul(bytes), after.as_bytes()].concat())
    }

    /// The answer to a subcommand with arguments that it does not know.
    pub fn subcommand_syntax(subcommand: &[u8], container: &str) -> CommandError {
        CommandError::quoting(
            "ERR unknown subcommand or wrong number of arguments for '",
            &subcommand[..subcommand.len().min(QUOTED_MAX)],
            &format!("'. Try {container} HELP."),
        )
    }

    /// The error line as the client reads it.
    pub fn line(&self) -> Cow<'_, [u8]> {
        let mut line: Cow<'_, [u8]> = match self {
            CommandError::Text(text) => Cow::Borrowed(text.as_bytes()),
            CommandError::Bytes(bytes) | CommandError::Counted(bytes) => Cow::Borrowed(bytes),
            other => Cow::Owned(other.to_string().into_bytes()),
        };
        let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
        let end = line.iter().rposition(|byte| !is_break(byte));
        let end = end.map_or(0, |at| at + 1);
        match &mut line {
            Cow::Borrowed(bytes) => *bytes = &bytes[..end],
            Cow::Owned(bytes) => bytes.truncate(end),
        }
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_bytes_end_at_a_nul_and_lines_before_their_breaks() {
        for (bytes, want) in [
            (&b"a\xffb"[..], &b"ERR a\xffb"[..]),
            (b"a\0b", b"ERR a"),
            (b"a\r\n \n", b"ERR a\r\n "),
            (b"\n", b"ERR "),
        ] {
            assert_eq!(*CommandError::quoting("ERR ", bytes, "").line(), *want);
        }
    }
}
