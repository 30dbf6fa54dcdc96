//! `cargo xtask miri`: core's tests under Miri, which detects undefined behaviour.
//!
//! Core has no `unsafe` of its own. Miri checks the plain kernel's path through `pulp`, and the breaker's word under threads,
//! whose loads and stores it reorders more than this machine does. Under Miri `pulp` finds no vector instructions. Miri
//! can't run assembly, which the hash of a model file and the tick counter need, and it is slow. So only modules are tested
//! that neither load a model nor have tests of many numbers.

use crate::report::Report;
use std::process::Command;

/// The tested modules of core, without one test of two hundred thousand calls.
const TESTS: &str = "breaker:: kernel:: order:: similarity:: --skip a_slice_that_overflows_keeps_its_ratio";

pub(crate) fn run(report: &mut Report) {
    let rustup = |arguments: &str| {
        let mut command = Command::new("rustup");
        command.args(arguments.split(' '));
        command
    };
    // No stable toolchain has Miri. It is the only installation outside of `target`.
    report.command(
        "installation of miri by rustup",
        &mut rustup("toolchain install nightly --profile minimal --component miri,rust-src --no-self-update"),
    );
    let mut tests =
        rustup(&format!("run nightly cargo miri test --package tiny-dancer-core --lib -- {TESTS}"));
    tests.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "1");
    report.command("core, under miri", &mut tests);
}
