//! Simulator: a whole server life, crashes included, from one seed.
//!
//! `world` has the network, the clock and the shell's part, `disk` the files, `model` the data as they should be. A run
//! is checked for: each reply as the model says, in its order; after a crash a state that was, whole transactions only, with
//! all that was promised; the same Inputs, repeated, with the same output.

#![allow(dead_code, reason = "the test and the example use a part of it each")]

mod disk;
mod model;
mod world;

pub use world::{Violation, World};

/// SplitMix64: small, and the same everywhere.
#[derive(Clone)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `n`.
    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }

    /// True once in `n` times.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

/// What one run is to be.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub seed: u64,
    pub steps: usize,
    pub syncs_always: bool,
    pub has_disk_faults: bool,
    /// A planted fault: the disk says that bytes are forced to it that are not.
    pub lies: bool,
}

impl Plan {
    /// The run of a seed: which faults there may be is drawn too.
    pub fn of(seed: u64, steps: usize) -> Plan {
        let mut rng = Rng::new(seed ^ 0x5eed);
        Plan {
            seed,
            steps,
            syncs_always: rng.one_in(2),
            has_disk_faults: rng.one_in(2),
            lies: false,
        }
    }
}

/// A run that went wrong: what, after how many steps at the least, and the last that happened.
pub struct Failure {
    pub plan: Plan,
    pub violation: Violation,
    pub events: Vec<String>,
}

/// Runs a plan; a run that goes wrong is made as short as its beginning allows.
pub fn run(plan: Plan) -> Result<World, Failure> {
    let mut world = World::new(plan);
    let Err(violation) = world.run() else {
        return Ok(world);
    };
    let mut failure = Failure {
        plan,
        violation,
        events: world.events,
    };
    // What happens does not depend on how long it goes on, so the shortest beginning that fails is found by halving.
    let (mut passes, mut fails) = (0, plan.steps);
    while passes + 1 < fails {
        let steps = passes + (fails - passes) / 2;
        let shorter = Plan { steps, ..plan };
        let mut world = World::new(shorter);
        match world.run() {
            Ok(()) => passes = steps,
            Err(violation) => {
                fails = steps;
                failure = Failure {
                    plan: shorter,
                    violation,
                    events: world.events,
                };
            }
        }
    }
    Err(failure)
}

/// What a failure looks like to the one who has to find its reason.
pub fn report(failure: &Failure) -> String {
    let from = failure.events.len().saturating_sub(40);
    format!(
        "{}\n\nthe last events:\n{}\n\nagain: cargo run --release --example sim -- --seed {} --steps {}",
        failure.violation,
        failure.events[from..].join("\n"),
        failure.plan.seed,
        failure.plan.steps
    )
}
