//! `cargo xtask miri`: core's tests under Miri, which finds what the language does not allow, as far as it can run them.
//!
//! Core has no `unsafe` of its own. What Miri looks at is the plain kernel's way through `pulp`, and the breaker's word under
//! threads, whose loads and stores it lets come in other orders than this machine would. Under it `pulp` finds no vector
//! instructions. It can't run assembly, which the hash of a model file and the tick counter need, and is slow; so these are the modules
//! that neither load a model nor have tests of very many numbers.

use crate::report::Report;
use std::process::Command;

/// The modules of core whose tests it runs, and the one among these that makes two hundred thousand calls.
const TESTS: &str = "breaker:: kernel:: order:: similarity:: --skip a_slice_that_overflows_keeps_its_ratio";

pub(crate) fn run(report: &mut Report) {
    let rustup = |arguments: &str| {
        let mut command = Command::new("rustup");
        command.args(arguments.split(' '));
        command
    };
    // The one thing that this project installs for the whole user: Miri is part of no stable toolchain.
    report.command(
        "miri, installed by rustup",
        &mut rustup("toolchain install nightly --profile minimal --component miri,rust-src --no-self-update"),
    );
    let mut tests =
        rustup(&format!("run nightly cargo miri test --package tiny-dancer-core --lib -- {TESTS}"));
    tests.env("MIRIFLAGS", "-Zmiri-disable-isolation").env("PROPTEST_CASES", "1");
    report.command("core, under miri", &mut tests);
}
