//! Runs the simulator for long: `cargo run --release --example sim -- --seeds 10000`, or one seed again with
//! `--seed N --steps N`. The exit code says whether a run went wrong.

#[path = "../tests/sim/mod.rs"]
mod sim;

use std::process::ExitCode;

use sim::{Plan, report, run};

/// Steps of a run, unless told otherwise.
const STEPS: u64 = 3000;

fn number_after(args: &[String], name: &str) -> Option<u64> {
    let at = args.iter().position(|arg| arg == name)?;
    args.get(at + 1)?.parse().ok()
}

#[allow(
    clippy::disallowed_methods,
    reason = "a program of its own, which reads its command line"
)]
fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().collect();
    let steps = number_after(&args, "--steps").unwrap_or(STEPS) as usize;
    let seeds = match number_after(&args, "--seed") {
        Some(seed) => seed..=seed,
        None => 1..=number_after(&args, "--seeds").unwrap_or(1000),
    };
    let (mut runs, mut restarts) = (0, 0);
    for seed in seeds {
        match run(Plan::of(seed, steps)) {
            Ok(world) => restarts += world.restarts,
            Err(failure) => {
                println!("seed {seed}: {}", report(&failure));
                return ExitCode::FAILURE;
            }
        }
        runs += 1;
    }
    println!("{runs} runs of {steps} steps, {restarts} restarts, no violation");
    ExitCode::SUCCESS
}
