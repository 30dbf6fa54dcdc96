//! A program that serves HTTP on a port of its own choice.

use super::process::{self, Running};
use crate::workspace::{Workspace, built, cargo};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The longest time until it listens, and until it is healthy.
const PATIENCE: Duration = Duration::from_secs(60);

/// An example or a program, as the tests built it: with their features, so that nothing is built twice.
pub(crate) fn build(workspace: &Workspace, program: &str) -> Result<PathBuf> {
    let mut command =
        cargo("test --workspace --all-features --no-run --message-format json-render-diagnostics");
    built(command.current_dir(&workspace.root), program)
}

/// The running program. Drop kills it.
#[derive(Debug)]
pub(crate) struct Served {
    _running: Running,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Starts it with `--serve` and `arguments`, and waits until it is healthy. Its temporary files and its log, which
    /// contains its address, are in `folder`.
    pub(crate) fn start(program: &Path, arguments: &[&str], root: &Path, folder: &Path) -> Result<Self> {
        Self::with_environment(program, arguments, &[], root, folder)
    }

    /// The same with variables.
    pub(crate) fn with_environment(
        program: &Path,
        arguments: &[&str],
        variables: &[(&str, &str)],
        root: &Path,
        folder: &Path,
    ) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--serve", "127.0.0.1:0"]).args(arguments).envs(variables.iter().copied());
        Self::run(&mut command, root, folder)
    }

    /// Starts the gateway's demonstration.
    pub(crate) fn demonstration(program: &Path, root: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--demo", "--listen", "127.0.0.1:0"]);
        Self::run(&mut command, root, folder)
    }

    fn run(command: &mut Command, root: &Path, folder: &Path) -> Result<Self> {
        command.current_dir(root).env("TMPDIR", folder);
        let mut running = Running::start(command, &folder.join("served.log"))?;
        let address = running.wait(PATIENCE, "does not print where it listens", |running| {
            address(&running.output()?).context("no address yet")
        })?;
        running.wait(PATIENCE, "is not healthy", |_| process::get(address, "/metrics", &[]))?;
        Ok(Self { _running: running, address })
    }
}

/// The address behind the word "Serving", once its line is printed completely.
fn address(output: &str) -> Option<SocketAddr> {
    let (_, served) = output.split_once("Serving http://")?;
    let (line, _) = served.split_once('\n')?;
    line.split(['/', ' ']).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_once_its_line_is_complete() {
        let found = |output| address(output).map(|address| address.port());
        let log = "spans go to http://127.0.0.1:4318/v1/traces\nServing http://127.0.0.1:40123/metrics until Ctrl-C\n";
        assert_eq!(found(log), Some(40123));
        assert_eq!(found("Serving http://127.0.0.1:40124 in mode live: a/b\n"), Some(40124));
        assert_eq!(found("Serving http://127.0.0.1:401"), None);
        assert_eq!(found("starting\n"), None);
    }
}
