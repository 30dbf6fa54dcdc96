//! A collector that takes everything and keeps nothing.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};

/// Listens on a port of this machine, on threads of its own, until the program ends.
///
/// # Errors
/// If there is no free port.
pub fn open() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that goes away in the middle of a request loses only its own.
            std::thread::spawn(move || take(&stream));
        }
    });
    Ok(address)
}

/// Answers each request with "200 OK", after its last byte, until the client goes away.
fn take(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().map_err(io::Error::other)?;
        } else if line.trim().is_empty() {
            io::copy(&mut reader.by_ref().take(length), &mut io::sink())?;
            (&*stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")?;
            length = 0;
        }
    }
}
