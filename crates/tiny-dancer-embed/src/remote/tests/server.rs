//! An HTTP server that misbehaves on purpose: it answers each request with the next of its answers.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

#[derive(Clone, Debug)]
pub(super) enum Answer {
    /// Closes the connection.
    Close,
    /// Sends a part of the body, and closes the connection.
    CloseInBody,
    /// Says that the connection stays, and closes it.
    Kept(Box<Answer>),
    Raw(Vec<u8>),
    /// Sends nothing, and keeps the connection.
    Silent,
    /// Sends a part of the body, and keeps the connection.
    SilentInBody,
}

const PART: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"data\": ";

impl Answer {
    pub(super) fn ok(body: &Value) -> Self {
        Self::body(&body.to_string())
    }

    pub(super) fn body(body: &str) -> Self {
        Self::raw(200, "", body)
    }

    pub(super) fn status(status: u16, headers: &str, body: &Value) -> Self {
        Self::raw(status, headers, &body.to_string())
    }

    fn raw(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!(
            "HTTP/1.1 {status} Status\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
        );
        Self::Raw(answer.into_bytes())
    }
}

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) head: String,
    pub(super) body: Value,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

/// Stops when it is dropped.
#[derive(Debug)]
pub(super) struct Server {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub(super) fn start(answers: impl IntoIterator<Item = Answer>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::default();
        let answers: Vec<_> = answers.into_iter().collect();
        let seen = Arc::clone(&requests);
        let thread = thread::spawn(move || serve(&listener, answers.into_iter(), &seen));
        Self { address, requests, thread: Some(thread) }
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A connection without a request is the end.
        drop(TcpStream::connect(self.address));
        let served = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(served, Some(Ok(()))));
    }
}

/// Each connection serves one request.
fn serve(listener: &TcpListener, mut answers: impl Iterator<Item = Answer>, requests: &Mutex<Vec<Request>>) {
    let mut kept = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().unwrap();
        let Some(request) = read(&stream) else { return };
        requests.lock().unwrap().push(request);
        match answers.next().expect("no more requests than answers") {
            Answer::Close => {}
            Answer::CloseInBody => stream.write_all(PART).unwrap(),
            Answer::Kept(answer) => {
                let Answer::Raw(bytes) = *answer else { panic!("{answer:?}") };
                let text = String::from_utf8(bytes).unwrap().replace("Connection: close\r\n", "");
                stream.write_all(text.as_bytes()).unwrap();
            }
            // The client may have read enough.
            Answer::Raw(bytes) => drop(stream.write_all(&bytes)),
            Answer::Silent => kept.push(stream.try_clone().unwrap()),
            Answer::SilentInBody => {
                stream.write_all(PART).unwrap();
                kept.push(stream.try_clone().unwrap());
            }
        }
        if kept.is_empty() {
            drop(stream.shutdown(Shutdown::Write));
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).unwrap() == 0 {
            return None;
        }
    }
    let request = Request { head, body: Value::Null };
    let length = request.header("content-length").unwrap().parse().unwrap();
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    Some(Request { body: serde_json::from_slice(&body).unwrap(), ..request })
}
