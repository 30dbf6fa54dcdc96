//! A collector that answers every request and keeps nothing.

use anyhow::{Context, Result, anyhow};
use std::io;
use std::net::SocketAddr;
use tiny_http::{Response, Server};

/// Listens on a port of this machine, on threads of its own, until the program ends.
///
/// # Errors
/// If there is no free port.
pub fn open() -> Result<SocketAddr> {
    let server = Server::http("127.0.0.1:0").map_err(|error| anyhow!(error))?;
    let address = server.server_addr().to_ip().context("a server without an address")?;
    std::thread::spawn(move || {
        for mut request in server.incoming_requests() {
            // A client that disconnects loses only its own request.
            let _ = io::copy(request.as_reader(), &mut io::sink());
            let _ = request.respond(Response::empty(200));
        }
    });
    Ok(address)
}
