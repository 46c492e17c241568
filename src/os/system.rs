//! System: settings of the process that the kernel keeps: its place among the victims of a memory shortage, and the
//! CPUs it may run on.

use crate::config::{Config, OomScoreAdj};
use crate::os::plain;
use log::warn;
use rustix::thread::{CpuSet, sched_setaffinity};
use std::io;

const OOM_FILE: &str = "/proc/self/oom_score_adj";

/// What the kernel accepts in [`OOM_FILE`].
const OOM_RANGE: std::ops::RangeInclusive<i64> = -1000..=1000;

/// `oom-score-adj`: how likely the kernel ends this process first when memory runs out.
#[derive(Debug, Default)]
pub struct OomScore {
    /// The score before it was changed for the first time, to which it returns when the parameter is switched off.
    base: Option<i64>,
}

impl OomScore {
    /// Makes the score what the configuration says. While the parameter is off, and has been, the file is left alone.
    pub fn apply(&mut self, config: &Config) -> Result<(), String> {
        let wanted = config.oom_score_adj;
        if wanted == OomScoreAdj::No && self.base.is_none() {
            return Ok(());
        }
        let set = || -> io::Result<i64> {
            let base = match self.base {
                Some(base) => base,
                None => read_score()?,
            };
            let [own, ..] = config.oom_score_adj_values;
            let score = match wanted {
                OomScoreAdj::No => base,
                OomScoreAdj::Yes | OomScoreAdj::Relative => base + own,
                OomScoreAdj::Absolute => own,
            };
            let score = score.clamp(*OOM_RANGE.start(), *OOM_RANGE.end());
            std::fs::write(OOM_FILE, score.to_string())?;
            Ok(base)
        };
        match set() {
            Ok(base) => {
                self.base = (wanted != OomScoreAdj::No).then_some(base);
                Ok(())
            }
            Err(error) => {
                warn!("Unable to write oom_score_adj: {}", plain(&error));
                Err("Failed to set current oom_score_adj. Check server logs.".to_owned())
            }
        }
    }
}

fn read_score() -> io::Result<i64> {
    let text = std::fs::read_to_string(OOM_FILE)?;
    text.trim()
        .parse()
        .map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
}

/// Keeps the calling thread on the CPUs of a list such as `0,2-5:2`; an empty list leaves it where it is.
pub fn pin_to_cpus(list: &[u8]) -> Result<(), String> {
    let list = String::from_utf8_lossy(list);
    if list.is_empty() {
        return Ok(());
    }
    let cpus = parse_cpus(&list).ok_or_else(|| format!("not a list of CPUs: '{list}'"))?;
    let mut set = CpuSet::new();
    cpus.into_iter().for_each(|cpu| set.set(cpu));
    sched_setaffinity(None, &set).map_err(|errno| plain(&errno.into()))
}

/// The CPUs of a list: numbers, ranges and ranges with a step, with commas between them.
fn parse_cpus(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (range, step) = part.split_once(':').unwrap_or((part, "1"));
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let (first, last, step) = (number(first)?, number(last)?, number(step)?);
        if first > last || step == 0 || last >= CpuSet::MAX_CPU {
            return None;
        }
        cpus.extend((first..=last).step_by(step));
    }
    Some(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        for (list, want) in [
            ("3", Some(vec![3])),
            ("0,2", Some(vec![0, 2])),
            ("1-3", Some(vec![1, 2, 3])),
            ("0-6:2,9", Some(vec![0, 2, 4, 6, 9])),
            ("3-1", None),
            ("1-4:0", None),
            ("a", None),
            ("1,", None),
            ("1-100000", None),
        ] {
            assert_eq!(parse_cpus(list), want, "{list}");
        }
    }
}
