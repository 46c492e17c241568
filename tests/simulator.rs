//! Seeds of the simulator, and the faults that are planted to see that it finds them.

mod sim;

use sim::{Plan, report, run};

#[test]
fn seeds_run_without_a_violation() {
    for seed in 1..=60 {
        if let Err(failure) = run(Plan::of(seed, 1500)) {
            panic!("seed {seed}: {}", report(&failure));
        }
    }
}

#[test]
fn a_disk_that_only_says_that_it_has_forced_bytes_is_found_out() {
    let found = (1..=20).any(|seed| {
        let plan = Plan {
            lies: true,
            syncs_always: true,
            ..Plan::of(seed, 1500)
        };
        run(plan).is_err()
    });
    assert!(found, "what was promised is lost, and nobody sees it");
}
