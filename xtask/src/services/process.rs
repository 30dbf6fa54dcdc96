//! Programs that run while a check needs them, and requests to them.

use crate::report::now;
use anyhow::{Context, Result, bail, ensure};
use std::fs::{self, File};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running program whose output goes to a log. Drop kills it.
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

    /// Its output so far.
    pub(crate) fn output(&self) -> Result<String> {
        fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())
    }

    /// The memory that it has in use.
    pub(crate) fn resident_megabytes(&self) -> Result<f64> {
        let file = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&file).context(file)?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kilobytes: f64 =
            line.and_then(|line| line.split_whitespace().next()?.parse().ok()).context("no VmRSS")?;
        Ok(kilobytes * 1024.0 / 1e6)
    }

    /// Retries until an attempt succeeds, the patience ends or the program ends. `what` completes "after 60s it ...".
    pub(crate) fn wait<T>(
        &mut self,
        patience: Duration,
        what: &str,
        mut attempt: impl FnMut(&Self) -> Result<T>,
    ) -> Result<T> {
        let deadline = now() + patience;
        loop {
            let error = match attempt(self) {
                Ok(value) => return Ok(value),
                Err(error) => error,
            };
            let output = self.output().unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended too early: {status}\n{output}");
            }
            if now() > deadline {
                return Err(error.context(format!("after {patience:?} it {what}\n{}", tail(&output))));
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail where it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log.
fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}

/// An address of this machine whose port was free a moment ago.
pub(crate) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The body of a response with status 200.
pub(crate) fn get(address: SocketAddr, path: &str, query: &[(&str, &str)]) -> Result<String> {
    get_as(address, path, query, None)
}

/// The same for a client that accepts only this media type.
pub(crate) fn get_as(
    address: SocketAddr,
    path: &str,
    query: &[(&str, &str)],
    accept: Option<&str>,
) -> Result<String> {
    let mut request = ureq::get(format!("http://{address}{path}")).query_pairs(query.iter().copied());
    if let Some(accept) = accept {
        request = request.header("accept", accept);
    }
    let request = request.config();
    // The body of an error says what is wrong.
    let request =
        request.http_status_as_error(false).proxy(None).timeout_global(Some(Duration::from_secs(10)));
    let mut response = request.build().call()?;
    let body = response.body_mut().read_to_string()?;
    ensure!(response.status() == 200, "GET {path}: {}\n{body}", response.status());
    Ok(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The error of a wait that never succeeds.
    fn wait(program: &str, patience: Duration) -> String {
        let log =
            std::env::temp_dir().join(format!("xtask-running-{}-{}", std::process::id(), patience.as_secs()));
        let mut running = Running::start(Command::new("/bin/sh").args(["-c", program]), &log).unwrap();
        let result = running.wait(patience, "is not ready", |_| -> Result<()> { bail!("not yet") });
        fs::remove_file(log).unwrap();
        format!("{:#}", result.unwrap_err())
    }

    #[test]
    fn a_program_that_ends_is_reported_with_its_output() {
        let error = wait("echo no such option; exit 3", Duration::from_secs(60));
        assert!(error.starts_with("it ended too early: exit status: 3\nno such option"), "{error}");
    }

    #[test]
    fn the_end_of_patience_is_reported_with_the_last_error() {
        let error = wait("exec sleep 60", Duration::ZERO);
        assert!(error.starts_with("after 0ns it is not ready"), "{error}");
        assert!(error.ends_with("not yet"), "{error}");
    }
}
