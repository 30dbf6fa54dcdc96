//! rotel, an OpenTelemetry collector, and the spans that it prints.

use super::Span;
use crate::services::process::{Running, free_address};
use anyhow::Result;
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// The running collector. Drop kills it.
#[derive(Debug)]
pub(crate) struct Rotel {
    pub(crate) running: Running,
    address: SocketAddr,
}

impl Rotel {
    /// Starts it and waits until it listens.
    pub(crate) fn start(program: &Path, log: &Path) -> Result<Self> {
        // The Python package has it as data, which is not executable.
        fs::set_permissions(program, Permissions::from_mode(0o755))?;
        let (address, grpc) = (free_address()?, free_address()?);
        let mut command = Command::new(program);
        command
            .args(["start", "--exporter", "blackhole", "--debug-log", "traces"])
            .args(["--debug-log-verbosity", "detailed", "--batch-timeout", "100ms"])
            .args(["--otlp-http-endpoint", &address.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()])
            .env("NO_COLOR", "1");
        let mut running = Running::start(&mut command, log)?;
        running.wait(Duration::from_secs(60), "does not listen", |_| Ok(TcpStream::connect(address)?))?;
        Ok(Self { running, address })
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// The spans in its output: those with a name, which is printed after the ids.
pub(crate) fn spans(printed: &str) -> Vec<Span> {
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
