//! A program of ours that serves HTTP on a port of its own choice, for as long as a check needs it.

use crate::report::now;
use crate::workspace::{Workspace, cargo, output};
use anyhow::{Context, Result, bail};
use cargo_metadata::Message;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How long it may take until it listens, and until it is healthy.
const PATIENCE: Duration = Duration::from_secs(60);

/// The program of an example, as the tests built it: with their features, so that nothing is built twice.
pub(crate) fn build(workspace: &Workspace, example: &str) -> Result<PathBuf> {
    let mut command =
        cargo("test --workspace --all-features --no-run --message-format json-render-diagnostics");
    let messages = output(command.current_dir(&workspace.root))?;
    for message in Message::parse_stream(messages.as_bytes()) {
        if let Message::CompilerArtifact(artifact) = message?
            && artifact.target.name == example
            && let Some(program) = artifact.executable
        {
            return Ok(program.into());
        }
    }
    bail!("cargo built {example} and does not say where");
}

/// The running program. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Served {
    child: Child,
    address: SocketAddr,
}

impl Served {
    /// Starts it and waits until it is healthy. It writes what it says to `log`, its address among it.
    pub(crate) fn start(program: &Path, root: &Path, log: &Path) -> Result<Self> {
        let file = File::create(log).with_context(|| log.display().to_string())?;
        let child = Command::new(program)
            .args(["--serve", "127.0.0.1:0"])
            .current_dir(root)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut served = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        served.wait(log, "does not say where it listens", |served| {
            let said = fs::read_to_string(log)?;
            served.address = address(&said).context("no address yet")?;
            Ok(())
        })?;
        served.wait(log, "is not healthy", |served| served.get("/healthz").map(drop))?;
        Ok(served)
    }

    fn wait(
        &mut self,
        log: &Path,
        what: &str,
        mut is_there: impl FnMut(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let deadline = now() + PATIENCE;
        while let Err(error) = is_there(self) {
            let log = || fs::read_to_string(log).unwrap_or_default();
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended too early: {status}\n{}", log());
            }
            if now() > deadline {
                return Err(error.context(format!("after {PATIENCE:?} it {what}\n{}", log())));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }

    /// The body of an answer with status 200.
    pub(crate) fn get(&self, path: &str) -> Result<String> {
        let timeout = Duration::from_secs(5);
        let mut stream = TcpStream::connect_timeout(&self.address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        // 1.0, so that the answer comes in one piece and ends the connection.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
        let status = head.split_ascii_whitespace().nth(1);
        if status != Some("200") {
            bail!("GET {path}: {}", head.lines().next().unwrap_or_default());
        }
        Ok(body.to_owned())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The first local address with a port that is printed completely.
fn address(said: &str) -> Option<SocketAddr> {
    const HOST: &str = "127.0.0.1:";
    said.match_indices(HOST).find_map(|(at, _)| {
        let rest = &said[at + HOST.len()..];
        let end = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let port: u16 = rest[..end].parse().ok()?;
        (port != 0).then(|| SocketAddr::from(([127, 0, 0, 1], port)))
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

    #[test]
    fn a_program_that_ends_at_once_is_reported_with_what_it_said() {
        let folder = std::env::temp_dir().join(format!("xtask-served-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let program = Path::new("/bin/echo");
        let error = Served::start(program, &folder, &folder.join("log")).unwrap_err().to_string();
        fs::remove_dir_all(&folder).unwrap();
        assert!(error.starts_with("it ended too early: exit status: 0\n--serve 127.0.0.1:0"), "{error}");
    }
}
