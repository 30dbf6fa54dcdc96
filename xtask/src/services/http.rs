//! As much HTTP as asking a local program takes.

use anyhow::{Context, Result, bail};
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// The body of an answer with status 200.
pub(crate) fn get(address: SocketAddr, path: &str) -> Result<String> {
    let timeout = Duration::from_secs(10);
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    // 1.0, so that the answer comes in one piece and ends the connection.
    write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("an answer without an end of its head")?;
    if head.split_ascii_whitespace().nth(1) != Some("200") {
        bail!("GET {path}: {}\n{body}", head.lines().next().unwrap_or_default());
    }
    Ok(body.to_owned())
}

/// A port of this machine.
pub(crate) fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A value of a query, with everything encoded that could mean something else.
pub(crate) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |encoded, byte| {
        let is_plain = byte.is_ascii_alphanumeric();
        encoded + &if is_plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_could_mean_something_else_is_encoded() {
        assert_eq!(super::encoded("a{b=\"c d\"}+1&é"), "a%7Bb%3D%22c%20d%22%7D%2B1%26%C3%A9");
    }
}
