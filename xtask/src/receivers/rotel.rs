//! rotel, an OpenTelemetry collector, and what it prints of the spans that it takes.

use super::Span;
use crate::report::now;
use anyhow::{Context, Result, bail};
use std::fs::{self, File, Permissions};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The running collector. Dropped, it is ended.
#[derive(Debug)]
pub(crate) struct Rotel {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

impl Rotel {
    /// Starts it and waits until it listens.
    pub(crate) fn start(program: &Path, log: &Path) -> Result<Self> {
        // As data of a Python package it is no program yet.
        fs::set_permissions(program, Permissions::from_mode(0o755))?;
        let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
        let (address, grpc) = (free()?, free()?);
        let file = File::create(log)?;
        let child = Command::new(program)
            .args(["start", "--exporter", "blackhole", "--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed", "--batch-timeout", "100ms"])
            .args(["--otlp-http-endpoint", &address.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()])
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| program.display().to_string())?;
        let mut rotel = Self { child, address, log: log.to_owned() };
        let deadline = now() + Duration::from_secs(60);
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if let Some(status) = rotel.child.try_wait()? {
                bail!("rotel ended: {status}\n{}", fs::read_to_string(log)?);
            }
            if now() > deadline {
                bail!("rotel does not listen at {address}\n{}", fs::read_to_string(log)?);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(rotel)
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans that it has printed so far.
    pub(crate) fn spans(&mut self) -> Result<Vec<Span>> {
        Ok(spans(&fs::read_to_string(&self.log)?))
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The spans in what it printed: those whose name has been printed, since that comes after the ids.
fn spans(printed: &str) -> Vec<Span> {
    let mut spans = Vec::new();
    let (mut trace, mut parent, mut id) = (String::new(), None, String::new());
    let whole = printed.rfind('\n').map_or("", |end| &printed[..end]);
    for line in whole.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        match key.trim() {
            "Trace ID" => value.clone_into(&mut trace),
            "Parent ID" => parent = (!value.is_empty()).then(|| value.to_owned()),
            "ID" => value.clone_into(&mut id),
            "Name" => spans.push(Span {
                trace: trace.clone(),
                id: id.clone(),
                parent: parent.clone(),
                name: value.to_owned(),
            }),
            _ => {}
        }
    }
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_read_as_they_are_printed() {
        let printed = "Span #0\n    Trace ID       : 94\n    Parent ID      : d3\n    ID             : de\n    \
                       Name           : circuit_breaker_check\n    Kind           : SPAN_KIND_INTERNAL\nSpan #1\n    \
                       Trace ID       : 94\n    Parent ID      : \n    ID             : d3\n    Name           : routing_requ";
        let one = Span {
            trace: "94".to_owned(),
            id: "de".to_owned(),
            parent: Some("d3".to_owned()),
            name: "circuit_breaker_check".to_owned(),
        };
        assert_eq!(spans(printed), [one]);
        let both = spans(&format!("{printed}est\n"));
        assert_eq!((both[1].parent.as_ref(), &*both[1].name), (None, "routing_request"));
    }
}
