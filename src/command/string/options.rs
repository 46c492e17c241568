//! The options that SET, GETEX and MSETEX share: a condition, what to do about the deadline, and GET.
//!
//! Lives here: parsing them, and deadlines. May not: change anything.

use super::condition::Condition;
use crate::command::CommandError;
use crate::keyspace::entry::{Entry, Kind};
use crate::resp::Args;
use crate::types::decimal::parse_i64;

/// What a command's options say about the deadline. All but the last two are followed by a number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    Seconds,
    Milliseconds,
    UnixSeconds,
    UnixMilliseconds,
    Keep,
    Persist,
}

impl Time {
    const WORDS: [(&'static str, Time); 6] = [
        ("EX", Time::Seconds),
        ("PX", Time::Milliseconds),
        ("EXAT", Time::UnixSeconds),
        ("PXAT", Time::UnixMilliseconds),
        ("KEEPTTL", Time::Keep),
        ("PERSIST", Time::Persist),
    ];

    /// The option that argument `index` names.
    pub fn at(args: Args<'_>, index: usize) -> Option<Time> {
        let found = Time::WORDS.iter().find(|(word, _)| args.is(index, word));
        found.map(|(_, time)| *time)
    }

    /// Whether a number follows.
    pub fn takes_number(self) -> bool {
        !matches!(self, Time::Keep | Time::Persist)
    }

    /// The deadline in milliseconds since the epoch that `number` means; `command` appears in the error.
    pub fn deadline(
        self,
        number: &[u8],
        now_ms: i64,
        command: &'static str,
    ) -> Result<i64, CommandError> {
        let number = parse_i64(number).ok_or(CommandError::NotInteger)?;
        let unit = match self {
            Time::Seconds | Time::UnixSeconds => 1000,
            _ => 1,
        };
        let start = match self {
            Time::Seconds | Time::Milliseconds => now_ms,
            _ => 0,
        };
        Some(number)
            .filter(|number| *number > 0)
            .and_then(|number| number.checked_mul(unit))
            .and_then(|ms| ms.checked_add(start))
            .ok_or(CommandError::InvalidExpire(command))
    }
}

/// Which options a command knows.
#[derive(Clone, Copy, Debug)]
pub struct Accepts {
    get: bool,
    keep: bool,
    persist: bool,
    conditions: bool,
    comparisons: bool,
}

impl Accepts {
    pub const SET: Accepts = Accepts {
        get: true,
        keep: true,
        persist: false,
        conditions: true,
        comparisons: true,
    };
    pub const GETEX: Accepts = Accepts {
        get: false,
        keep: false,
        persist: true,
        conditions: false,
        comparisons: false,
    };
    pub const MSETEX: Accepts = Accepts {
        get: false,
        keep: true,
        persist: false,
        conditions: true,
        comparisons: false,
    };

    fn time(&self, time: Time) -> bool {
        match time {
            Time::Keep => self.keep,
            Time::Persist => self.persist,
            _ => true,
        }
    }

    fn condition(&self, condition: Condition) -> bool {
        if condition.compares() {
            self.comparisons
        } else {
            self.conditions
        }
    }
}

/// Parsed options; operands are kept as the index of their argument.
#[derive(Clone, Copy, Debug, Default)]
pub struct Options {
    pub get: bool,
    pub time: Option<Time>,
    time_at: usize,
    pub condition: Option<Condition>,
    operand_at: usize,
}

impl Options {
    /// Reads the arguments from `start` on. Options of one kind exclude each other; a repeated one counts as
    /// it was given last.
    pub fn parse(args: Args<'_>, start: usize, accepts: Accepts) -> Result<Options, CommandError> {
        let mut options = Options::default();
        let mut index = start;
        while index < args.len() {
            let has_next = index + 1 < args.len();
            if accepts.get && args.is(index, "GET") {
                options.get = true;
            } else if let Some(time) = Time::at(args, index) {
                let is_alone = options.time.is_none_or(|other| other == time);
                if !accepts.time(time) || !is_alone || (time.takes_number() && !has_next) {
                    return Err(CommandError::Syntax);
                }
                options.time = Some(time);
                if time.takes_number() {
                    index += 1;
                    options.time_at = index;
                }
            } else if let Some(condition) = Condition::at(args, index) {
                let is_alone = options.condition.is_none_or(|other| other == condition);
                if !accepts.condition(condition) || !is_alone || (condition.compares() && !has_next)
                {
                    return Err(CommandError::Syntax);
                }
                options.condition = Some(condition);
                if condition.compares() {
                    index += 1;
                    options.operand_at = index;
                }
            } else {
                return Err(CommandError::Syntax);
            }
            index += 1;
        }
        Ok(options)
    }

    /// The deadline that the options give, if any.
    pub fn deadline(
        &self,
        args: Args<'_>,
        now_ms: i64,
        command: &'static str,
    ) -> Result<Option<i64>, CommandError> {
        match self.time {
            Some(time) if time.takes_number() => time
                .deadline(args.bytes(self.time_at), now_ms, command)
                .map(Some),
            _ => Ok(None),
        }
    }

    /// Whether anything depends on what is there already.
    pub fn reads_old_value(&self) -> bool {
        self.get || self.condition.is_some() || self.time == Some(Time::Keep)
    }

    /// Whether the condition, if there is one, holds for what is at the key.
    pub fn condition_holds(
        &self,
        args: Args<'_>,
        found: Option<&Entry>,
    ) -> Result<bool, CommandError> {
        match (self.condition, found) {
            (None, _) => Ok(true),
            (Some(condition), None) => Ok(condition.holds_for_none()),
            (Some(condition), Some(entry)) => {
                if condition.compares() && entry.kind() != Kind::String {
                    return Err(CommandError::WrongType);
                }
                condition.holds_for(entry, args.bytes(self.operand_at))
            }
        }
    }
}
