//! A program that runs for as long as a check needs it, and a port for it.

use crate::report::now;
use anyhow::{Context, Result, bail};
use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running program, which writes what it says to a log. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    log: PathBuf,
}

impl Running {
    pub(crate) fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let child = command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Self { child, log: log.to_owned() })
    }

    /// What it has said so far.
    pub(crate) fn said(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())
    }

    /// Waits until something succeeds, but no longer than that, nor beyond the program's end.
    pub(crate) fn wait<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut attempt: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        let deadline = now() + patience;
        loop {
            match attempt(self) {
                Ok(value) => return Ok(value),
                Err(error) => {
                    let ended = self.child.try_wait()?;
                    let said = self.said().unwrap_or_default();
                    if let Some(status) = ended {
                        bail!("it ended too early: {status}\n{said}");
                    }
                    if now() > deadline {
                        return Err(error.context(format!("after {patience:?} it {what}\n{}", tail(&said))));
                    }
                }
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
fn tail(said: &str) -> String {
    let lines: Vec<_> = said.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// A port of this machine that was free a moment ago.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waits so long for what never comes.
    fn wait(program: &str, patience: Duration) -> String {
        let log =
            std::env::temp_dir().join(format!("xtask-running-{}-{}", std::process::id(), patience.as_secs()));
        let mut running = Running::start(Command::new("/bin/sh").args(["-c", program]), &log).unwrap();
        let result = running.wait(patience, "does not do it", |_| -> Result<()> { bail!("not ready") });
        fs::remove_file(log).unwrap();
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_program_that_ends_is_reported_with_what_it_said() {
        let error = wait("echo no such option; exit 3", Duration::from_secs(60));
        assert!(error.starts_with("it ended too early: exit status: 3\nno such option"), "{error}");
    }

    #[test]
    fn patience_ends_with_what_was_waited_for() {
        let error = wait("exec sleep 60", Duration::ZERO);
        assert!(error.starts_with("after 0ns it does not do it"), "{error}");
        assert!(error.ends_with("not ready"), "{error}");
    }
}
