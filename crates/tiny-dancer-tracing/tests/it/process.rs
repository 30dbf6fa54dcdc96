//! Tests that need a process of their own, since a process has one global subscriber.

use std::process::Command;

/// The output of a process.
pub(crate) struct Output {
    pub(crate) stderr: String,
    pub(crate) stdout: String,
}

/// Set in the process that runs a test's body.
const MARK: &str = "TINY_DANCER_TEST_PROCESS";

/// Runs `body`, a part of the test `module::name`, in a process of its own, with these variables in its
/// environment. In that process it returns `None`. In the test's process it checks that that process
/// succeeded, and returns its output.
pub(crate) fn in_own_process(
    module: &str,
    name: &str,
    variables: &[(&str, &str)],
    body: impl FnOnce(),
) -> Option<Output> {
    if std::env::var_os(MARK).is_some() {
        body();
        return None;
    }
    let name = format!("{}::{name}", module.trim_start_matches("it::"));
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([&*name, "--exact", "--nocapture"]).env(MARK, "");
    let own = |name: &str| {
        name == "RUST_LOG" || name.starts_with("OTEL_") || name.to_lowercase().ends_with("_proxy")
    };
    for (name, _) in std::env::vars().filter(|(name, _)| own(name)) {
        command.env_remove(name);
    }
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let output = Output {
        stderr: String::from_utf8(output.stderr).unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
    };
    assert!(output.stdout.contains("1 passed"), "{name}: {}{}", output.stdout, output.stderr);
    Some(output)
}
