//! Slots: what a cluster would refuse, counted while `cluster-compatibility-sample-ratio` asks for it.
//!
//! Here keys of any slots can be used together, and there are many databases. Who wants to move to a cluster learns from
//! `cluster_incompatible_ops` in INFO how often that is made use of. Lives here: the sample, the count, and what is known
//! of the slots of commands that belong together. May not: know which arguments are keys (`command::keys`).

use crate::state::Server;

/// What a command's keys have been, and those of the commands that it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Slots {
    /// There was no key so far.
    #[default]
    None,
    One(u16),
    /// It is counted already, or not in the sample: nothing more is looked at.
    Settled,
}

/// Keys of more than one slot came together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrossSlot;

impl Slots {
    /// The slots of some keys.
    pub fn of<'a>(keys: impl IntoIterator<Item = &'a [u8]>) -> Result<Slots, CrossSlot> {
        let slots = keys.into_iter().map(crate::types::slot::of_key);
        slots.map(Slots::One).try_fold(Slots::None, Slots::and)
    }

    /// With others.
    pub fn and(self, others: Slots) -> Result<Slots, CrossSlot> {
        match (self, others) {
            (Slots::None, others) => Ok(others),
            (Slots::One(of), Slots::One(other)) if of != other => Err(CrossSlot),
            (of, _) => Ok(of),
        }
    }
}

impl Server {
    /// Whether what a cluster would refuse is counted.
    #[inline]
    pub fn counts_incompatible(&self) -> bool {
        self.config.cluster_compatibility_sample_ratio > 0
    }

    /// Whether the sample takes this one.
    pub fn samples_incompatible(&mut self) -> bool {
        let ratio = self.config.cluster_compatibility_sample_ratio;
        match u64::try_from(ratio).unwrap_or(0) {
            0 => false,
            100.. => true,
            ratio => self.rng.below(100) < ratio,
        }
    }

    /// Something that a cluster would refuse was asked for: it counts if the sample takes it.
    pub fn note_incompatible(&mut self) {
        if self.counts_incompatible() && self.samples_incompatible() {
            self.stats.cluster_incompatible_ops += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_agree_if_they_have_one_slot() {
        let of = |keys: &[&'static str]| Slots::of(keys.iter().map(|key| key.as_bytes()));
        assert_eq!(of(&[]), Ok(Slots::None));
        assert_eq!(of(&["foo", "{foo}x"]), Ok(Slots::One(12182)));
        assert_eq!(of(&["foo", "{foo}x", "bar"]), Err(CrossSlot));
        assert_eq!(Slots::One(1).and(Slots::None), Ok(Slots::One(1)));
        assert_eq!(Slots::Settled.and(Slots::One(1)), Ok(Slots::Settled));
    }
}
