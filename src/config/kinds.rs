//! Kinds: how the text of a parameter's value is read, checked, printed and written back.
//!
//! Lives here: the general kinds (integer, memory size, flag, text, choice) and every error text.
//! May not: which parameter is of which kind (`params.rs`), values with a format of their own (`values.rs`).

use std::fmt::Write as _;

/// When a value is given: a repeated directive means something else in a file than in CONFIG SET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// From a file or the command line; `first` says that this directive was not seen before.
    Startup { first: bool },
    /// By CONFIG SET.
    Runtime,
}

/// What CONFIG REWRITE does with the lines of one parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lines {
    /// Delete every line: to be absent is the value.
    Drop,
    /// Write these values; each is `(value text, write it even where no line exists)`.
    Write(Vec<(String, bool)>),
}

/// One way to read and print values of type `T`.
pub trait Kind<T> {
    /// The value which `args` stand for; `old` is the one in force.
    fn parse(&self, args: &[&[u8]], old: &T, stage: Stage) -> Result<T, ValueError>;

    /// The value as CONFIG GET prints it.
    fn print(&self, value: &T) -> Vec<u8>;

    /// The value as CONFIG REWRITE writes it.
    fn lines(&self, value: &T, default: &T) -> Lines;

    /// Which values are allowed, for the reference page.
    fn describe(&self) -> String;
}

/// Why a value was refused; `Display` is the text that CONFIG SET and the start-up report show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ValueError {
    #[error("wrong number of arguments")]
    ArgCount,
    #[error("argument couldn't be parsed into an integer")]
    NotInteger,
    #[error("argument couldn't be parsed as an octal number")]
    NotOctal,
    #[error("argument must be a memory value")]
    NotMemory,
    #[error("argument must be a memory or percent value")]
    NotMemoryOrPercent,
    #[error("percentage argument must be less or equal to 100")]
    PercentTooLarge,
    #[error("argument must be between {0} and {1} inclusive")]
    Range(String, String),
    #[error("argument must be 'yes' or 'no'")]
    NotYesNo,
    #[error("argument(s) must be one of the following: {0}")]
    NotOneOf(String),
    #[error("Invalid save parameters")]
    Save,
    #[error("Invalid client class specified in buffer limit configuration.")]
    ClientClass,
    #[error("Wrong number of arguments in buffer limit configuration.")]
    BufferLimitArgs,
    #[error("Error in hard, soft or soft_seconds setting in buffer limit configuration.")]
    BufferLimit,
    #[error("Announced human node name contained invalid character")]
    Nodename,
    #[error("Invalid event class character. Use 'Ag$lshzxeKEtmdn'.")]
    KeyspaceEvents,
    #[error("Invalid oom-score-adj-values, elements must be between -2000 and 2000.")]
    OomScore,
    #[error("Invalid latency-tracking-info-percentiles parameters")]
    Percentile,
    #[error("latency-tracking-info-percentiles parameters should sit between [0.0,100.0]")]
    PercentileRange,
    #[error("Invalid locale name")]
    Locale,
    #[error("shutdown options SAVE and NOSAVE can't be used simultaneously")]
    SaveAndNosave,
    #[error("Too many bind addresses specified.")]
    TooManyAddresses,
    #[error("template format is invalid or contains unknown variables")]
    TitleTemplate,
    #[error("{0} can't be a path, just a {1}")]
    IsPath(&'static str, &'static str),
    #[error("{0} can't be empty")]
    IsEmpty(&'static str),
    #[error("Hostnames may only contain alphanumeric characters, hyphens or dots")]
    Hostname,
    #[error("Hostnames must be less than 256 characters")]
    HostnameLen,
    #[error("Invalid master port")]
    MasterPort,
    #[error(
        "Active defragmentation cannot be enabled: it requires a Redis server compiled with a modified \
         Jemalloc like the one shipped by default with the Redis source distribution"
    )]
    NoDefrag,
}

/// A plain integer from `.0` to `.1`.
pub struct Int(pub i64, pub i64);

impl Kind<i64> for Int {
    fn parse(&self, args: &[&[u8]], _: &i64, _: Stage) -> Result<i64, ValueError> {
        let value = parse_integer(only(args)?).ok_or(ValueError::NotInteger)?;
        check_range(value, self.0, self.1)
    }
    fn print(&self, value: &i64) -> Vec<u8> {
        value.to_string().into_bytes()
    }
    fn lines(&self, value: &i64, default: &i64) -> Lines {
        one_line(value.to_string(), value != default)
    }
    fn describe(&self) -> String {
        format!("integer, {} to {}", self.0, self.1)
    }
}

/// A file mode, written in octal, up to `.0`.
pub struct Octal(pub i64);

impl Kind<i64> for Octal {
    fn parse(&self, args: &[&[u8]], _: &i64, _: Stage) -> Result<i64, ValueError> {
        let text = text_of(only(args)?).ok_or(ValueError::NotOctal)?;
        let value = i64::from_str_radix(text, 8).map_err(|_| ValueError::NotOctal)?;
        if !(0..=self.0).contains(&value) {
            return Err(ValueError::Range("0".into(), format!("{:o}", self.0)));
        }
        Ok(value)
    }
    fn print(&self, value: &i64) -> Vec<u8> {
        format!("{value:o}").into_bytes()
    }
    fn lines(&self, value: &i64, default: &i64) -> Lines {
        one_line(format!("{value:o}"), value != default)
    }
    fn describe(&self) -> String {
        format!("octal number, 0 to {:o}", self.0)
    }
}

/// A size in bytes from `.0` to `.1`; a unit may follow (`1kb` = 1024, `1k` = 1000).
pub struct Memory(pub i64, pub i64);

impl Kind<i64> for Memory {
    fn parse(&self, args: &[&[u8]], _: &i64, _: Stage) -> Result<i64, ValueError> {
        let bytes = parse_memory_wide(only(args)?).ok_or(ValueError::NotMemory)?;
        check_range(bytes as i64, self.0, self.1) // past i64::MAX it turns negative, below every minimum
    }
    fn print(&self, value: &i64) -> Vec<u8> {
        value.to_string().into_bytes()
    }
    fn lines(&self, value: &i64, default: &i64) -> Lines {
        one_line(print_memory(*value as u64), value != default)
    }
    fn describe(&self) -> String {
        format!("memory size, {} to {}", self.0, self.1)
    }
}

/// A size in bytes up to `u64::MAX`.
pub struct WideMemory;

impl Kind<u64> for WideMemory {
    fn parse(&self, args: &[&[u8]], _: &u64, _: Stage) -> Result<u64, ValueError> {
        parse_memory_wide(only(args)?).ok_or(ValueError::NotMemory)
    }
    fn print(&self, value: &u64) -> Vec<u8> {
        value.to_string().into_bytes()
    }
    fn lines(&self, value: &u64, default: &u64) -> Lines {
        one_line(print_memory(*value), value != default)
    }
    fn describe(&self) -> String {
        "memory size".into()
    }
}

/// A limit given in bytes or as a share of `maxmemory`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryLimit {
    Bytes(i64),
    Percent(u8),
}

/// A memory size, or a percentage such as `10%`.
pub struct MemoryOrPercent;

impl Kind<MemoryLimit> for MemoryOrPercent {
    fn parse(&self, args: &[&[u8]], _: &MemoryLimit, _: Stage) -> Result<MemoryLimit, ValueError> {
        let arg = only(args)?;
        let bytes = match arg.strip_suffix(b"%") {
            Some(digits) => {
                let share = parse_integer(digits).filter(|share| *share >= 0);
                -share.ok_or(ValueError::NotMemoryOrPercent)?
            }
            None => parse_memory_wide(arg).ok_or(ValueError::NotMemoryOrPercent)? as i64,
        };
        // One number holds both on the wire: a size past i64::MAX wraps and is taken for a percentage.
        match bytes {
            0.. => Ok(MemoryLimit::Bytes(bytes)),
            -100..0 => Ok(MemoryLimit::Percent(-bytes as u8)),
            _ => Err(ValueError::PercentTooLarge),
        }
    }
    fn print(&self, value: &MemoryLimit) -> Vec<u8> {
        match value {
            MemoryLimit::Bytes(bytes) => bytes.to_string().into_bytes(),
            MemoryLimit::Percent(share) => format!("{share}%").into_bytes(),
        }
    }
    fn lines(&self, value: &MemoryLimit, default: &MemoryLimit) -> Lines {
        let text = match value {
            MemoryLimit::Bytes(bytes) => print_memory(*bytes as u64),
            MemoryLimit::Percent(share) => format!("{share}%"),
        };
        one_line(text, value != default)
    }
    fn describe(&self) -> String {
        "memory size, or a percentage of maxmemory".into()
    }
}

/// `yes` or `no`.
pub struct YesNo;

impl Kind<bool> for YesNo {
    fn parse(&self, args: &[&[u8]], _: &bool, _: Stage) -> Result<bool, ValueError> {
        let arg = only(args)?;
        if arg.eq_ignore_ascii_case(b"yes") {
            Ok(true)
        } else if arg.eq_ignore_ascii_case(b"no") {
            Ok(false)
        } else {
            Err(ValueError::NotYesNo)
        }
    }
    fn print(&self, value: &bool) -> Vec<u8> {
        yes_no(*value).into()
    }
    fn lines(&self, value: &bool, default: &bool) -> Lines {
        one_line(yes_no(*value).into(), value != default)
    }
    fn describe(&self) -> String {
        "yes or no".into()
    }
}

/// A `YesNo` that this build can only leave at `no`.
pub struct NeverYes(pub ValueError);

impl Kind<bool> for NeverYes {
    fn parse(&self, args: &[&[u8]], old: &bool, stage: Stage) -> Result<bool, ValueError> {
        match YesNo.parse(args, old, stage)? {
            true => Err(self.0.clone()),
            false => Ok(false),
        }
    }
    fn print(&self, value: &bool) -> Vec<u8> {
        YesNo.print(value)
    }
    fn lines(&self, value: &bool, default: &bool) -> Lines {
        YesNo.lines(value, default)
    }
    fn describe(&self) -> String {
        "no".into()
    }
}

/// Any bytes that pass `check`.
pub struct Text {
    /// To be empty is to be unset: CONFIG REWRITE then deletes the line.
    pub unset_if_empty: bool,
    /// CONFIG REWRITE writes it even when it is the default.
    pub always_written: bool,
    pub check: fn(&[u8]) -> Result<(), ValueError>,
}

/// Text whose empty value is a value like any other.
pub const TEXT: Text = Text {
    unset_if_empty: false,
    always_written: false,
    check: |_| Ok(()),
};
/// Text that is unset while it is empty.
pub const OPTIONAL: Text = Text {
    unset_if_empty: true,
    always_written: false,
    check: |_| Ok(()),
};

impl Text {
    pub const fn checked(self, check: fn(&[u8]) -> Result<(), ValueError>) -> Text {
        Text { check, ..self }
    }
    pub const fn always_written(self) -> Text {
        Text {
            always_written: true,
            ..self
        }
    }
}

impl Kind<Vec<u8>> for Text {
    fn parse(&self, args: &[&[u8]], _: &Vec<u8>, _: Stage) -> Result<Vec<u8>, ValueError> {
        let arg = only(args)?;
        (self.check)(arg)?;
        Ok(arg.to_vec())
    }
    fn print(&self, value: &Vec<u8>) -> Vec<u8> {
        value.clone()
    }
    fn lines(&self, value: &Vec<u8>, default: &Vec<u8>) -> Lines {
        if self.unset_if_empty && value.is_empty() {
            return Lines::Drop;
        }
        one_line(quote(value), self.always_written || value != default)
    }
    fn describe(&self) -> String {
        "text".into()
    }
}

/// An enum whose every value has a name.
pub trait Named: Copy + PartialEq + 'static {
    const VALUES: &'static [(&'static str, Self)];

    fn name(self) -> &'static str {
        let found = Self::VALUES.iter().find(|(_, value)| *value == self);
        found.map_or("", |(name, _)| name)
    }
}

/// Declares an enum and the name of each of its values.
macro_rules! named {
    ($($(#[$meta:meta])* pub enum $type:ident { $($value:ident = $name:literal),+ $(,)? })+) => {$(
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $type { $($value),+ }

        impl $crate::config::kinds::Named for $type {
            const VALUES: &'static [(&'static str, Self)] = &[$(($name, $type::$value)),+];
        }
    )+};
}
pub(super) use named;

/// One of the names of an enum.
pub struct Choice;

impl<T: Named> Kind<T> for Choice {
    fn parse(&self, args: &[&[u8]], _: &T, _: Stage) -> Result<T, ValueError> {
        find_name(T::VALUES, only(args)?)
    }
    fn print(&self, value: &T) -> Vec<u8> {
        value.name().into()
    }
    fn lines(&self, value: &T, default: &T) -> Lines {
        one_line(value.name().into(), value != default)
    }
    fn describe(&self) -> String {
        format!("one of {}", join_names(T::VALUES))
    }
}

/// The value named `arg`, in any case.
pub(super) fn find_name<T: Copy>(values: &[(&str, T)], arg: &[u8]) -> Result<T, ValueError> {
    let found = values
        .iter()
        .find(|(name, _)| arg.eq_ignore_ascii_case(name.as_bytes()));
    found
        .map(|(_, value)| *value)
        .ok_or_else(|| ValueError::NotOneOf(join_names(values)))
}

fn join_names<T>(values: &[(&str, T)]) -> String {
    values
        .iter()
        .map(|(name, _)| *name)
        .collect::<Vec<_>>()
        .join(", ")
}

/// The one argument of a parameter that takes one.
pub(super) fn only<'a>(args: &[&'a [u8]]) -> Result<&'a [u8], ValueError> {
    match args {
        [arg] => Ok(arg),
        _ => Err(ValueError::ArgCount),
    }
}

pub(super) fn one_line(value: String, force: bool) -> Lines {
    Lines::Write(vec![(value, force)])
}

fn check_range(value: i64, min: i64, max: i64) -> Result<i64, ValueError> {
    if (min..=max).contains(&value) {
        return Ok(value);
    }
    Err(ValueError::Range(min.to_string(), max.to_string()))
}

fn yes_no(value: bool) -> &'static str {
    if value { "yes" } else { "no" }
}

pub(super) fn text_of(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// An integer in the one form that an integer prints in: no `+`, no leading zero, no blanks.
pub(super) fn parse_integer(bytes: &[u8]) -> Option<i64> {
    let value: i64 = text_of(bytes)?.parse().ok()?;
    (value.to_string().as_bytes() == bytes).then_some(value)
}

/// A size such as `1gb`, `100mb`, `64k` or `512`, in bytes; `None` when it is none or passes `i64::MAX`.
pub fn parse_memory(text: &[u8]) -> Option<i64> {
    parse_memory_wide(text)?.try_into().ok()
}

/// As `parse_memory`, with C's habits on overflow: the digits saturate, the unit multiplies modulo 2^64.
pub(super) fn parse_memory_wide(text: &[u8]) -> Option<u64> {
    let digits_len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, unit) = text.split_at(digits_len);
    let factor: u64 = match unit.to_ascii_lowercase().as_slice() {
        b"" | b"b" => 1,
        b"k" => 1000,
        b"kb" => 1 << 10,
        b"m" => 1_000_000,
        b"mb" => 1 << 20,
        b"g" => 1_000_000_000,
        b"gb" => 1 << 30,
        _ => return None,
    };
    let number = digits.iter().fold(0u64, |sum, digit| {
        sum.saturating_mul(10)
            .saturating_add(u64::from(digit - b'0'))
    });
    Some(number.wrapping_mul(factor))
}

/// A size with the largest unit that divides it.
pub(super) fn print_memory(bytes: u64) -> String {
    for (unit, shift) in [("gb", 30), ("mb", 20), ("kb", 10)] {
        if bytes != 0 && bytes.trailing_zeros() >= shift {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

/// `bytes` in double quotes, so that `split_args` reads them back.
pub fn quote(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for &byte in bytes {
        match byte {
            b'\\' | b'"' => out.extend(['\\', byte as char]),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            0x07 => out.push_str("\\a"),
            0x08 => out.push_str("\\b"),
            b' '..=b'~' => out.push(byte as char),
            _ => {
                let _ = write!(out, "\\x{byte:02x}"); // writing to a String cannot fail
            }
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_sizes_take_decimal_and_binary_units() {
        for (text, want) in [
            ("0", Some(0)),
            ("1k", Some(1000)),
            ("1KB", Some(1024)),
            ("2m", Some(2_000_000)),
            ("1gb", Some(1 << 30)),
            ("7b", Some(7)),
            ("", Some(0)),
            ("k", Some(0)),
            ("-1", None),
            ("1t", None),
            ("1.5gb", None),
            (" 1", None),
            ("18446744073709551616", None),
        ] {
            assert_eq!(parse_memory(text.as_bytes()), want, "{text:?}");
        }
        assert_eq!(parse_memory_wide(b"18446744073709551616"), Some(u64::MAX));
        assert_eq!(parse_memory_wide(b"17179869184gb"), Some(0));
        for (bytes, want) in [
            (0, "0"),
            (1 << 20, "1mb"),
            (1000, "1000"),
            (3 << 30, "3gb"),
            (16 << 10, "16kb"),
        ] {
            assert_eq!(print_memory(bytes), want);
        }
    }

    #[test]
    fn percentages_end_at_a_hundred() {
        let parse = |text: &str| {
            MemoryOrPercent.parse(&[text.as_bytes()], &MemoryLimit::Bytes(0), Stage::Runtime)
        };
        assert_eq!(parse("10%"), Ok(MemoryLimit::Percent(10)));
        assert_eq!(parse("0%"), Ok(MemoryLimit::Bytes(0)));
        assert_eq!(parse("1mb"), Ok(MemoryLimit::Bytes(1 << 20)));
        assert_eq!(parse("101%"), Err(ValueError::PercentTooLarge));
        assert_eq!(
            parse("9223372036854775808"),
            Err(ValueError::PercentTooLarge)
        );
        assert_eq!(parse("-1%"), Err(ValueError::NotMemoryOrPercent));
    }

    #[test]
    fn only_canonical_integers_parse() {
        for (text, want) in [
            ("-7", Some(-7)),
            ("07", None),
            ("+7", None),
            ("", None),
            (" 1", None),
            ("-0", None),
        ] {
            assert_eq!(parse_integer(text.as_bytes()), want, "{text:?}");
        }
    }

    #[test]
    fn modes_are_octal() {
        assert_eq!(Octal(0o777).parse(&[b"700"], &0, Stage::Runtime), Ok(0o700));
        assert_eq!(
            Octal(0o777).parse(&[b"8"], &0, Stage::Runtime),
            Err(ValueError::NotOctal)
        );
        let error = Octal(0o777)
            .parse(&[b"1777"], &0, Stage::Runtime)
            .unwrap_err();
        assert_eq!(
            error.to_string(),
            "argument must be between 0 and 777 inclusive"
        );
    }
}
