//! A program of ours that serves HTTP on a port of its own choice.

use super::{http, process::Running};
use crate::workspace::{Workspace, built, cargo};
use anyhow::{Context as _, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How long it may take until it listens, and until it is healthy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program of an example, as the tests built it: with their features, so that nothing is built twice.
pub(crate) fn build(workspace: &Workspace, example: &str) -> Result<PathBuf> {
    let mut command =
        cargo("test --workspace --all-features --no-run --message-format json-render-diagnostics");
    built(command.current_dir(&workspace.root), example)
}

/// The running program. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Served {
    /// Held for its end.
    _running: Running,
    pub(crate) address: SocketAddr,
}

impl Served {
    /// Starts it with `--serve` and more arguments, and waits until it is healthy. What it writes for a while is in
    /// `folder`, and so is its log, which says its address.
    pub(crate) fn start(program: &Path, arguments: &[&str], root: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--serve", "127.0.0.1:0"]).args(arguments).current_dir(root).env("TMPDIR", folder);
        let mut running = Running::start(&mut command, &folder.join("served.log"))?;
        let address = running.wait(PATIENCE, "does not say where it listens", |running| {
            address(&running.said()?).context("no address yet")
        })?;
        running.wait(PATIENCE, "is not healthy", |_| http::get(address, "/healthz"))?;
        Ok(Self { _running: running, address })
    }

    /// The body of an answer with status 200.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        http::get(self.address, path)
    }
}

/// The first local address with a port that is printed completely.
fn address(said: &str) -> Option<SocketAddr> {
    const HOST: &str = "127.0.0.1:";
    said.match_indices(HOST).find_map(|(at, _)| {
        let rest = &said[at + HOST.len()..];
        let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let port: u16 = rest[..end].parse().ok()?;
        (port != 0).then(|| http::local(port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_once_its_line_is_complete() {
        let found = |said| address(said).map(|address| address.port());
        assert_eq!(found("listening on http://127.0.0.1:40123/metrics\n"), Some(40123));
        assert_eq!(found("--serve 127.0.0.1:0, listening on 127.0.0.1:8080\n"), Some(8080));
        assert_eq!(found("listening on http://127.0.0.1:401"), None);
        assert_eq!(found("starting\n"), None);
    }
}
