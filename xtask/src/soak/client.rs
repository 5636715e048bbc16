//! A client of HTTP/1.1 that knows just enough: it can also be slow, and hang up.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Longer than anything takes that is answered at all.
const PATIENCE: Duration = Duration::from_secs(120);

/// A connection that was not used for so long may be ended by the server at any moment, so another one is opened.
const IDLE: Duration = Duration::from_secs(5);

/// What a server answered.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    pub fn json(&self) -> Result<serde_json::Value, String> {
        serde_json::from_str(&self.body).map_err(|error| format!("{error} in {:.200}", self.body))
    }
}

/// A connection that is used again and again.
pub struct Connection {
    address: SocketAddr,
    reader: BufReader<TcpStream>,
    used: Instant,
}

impl Connection {
    /// Connects.
    pub fn open(address: SocketAddr) -> Result<Self, String> {
        let stream =
            TcpStream::connect_timeout(&address, PATIENCE).map_err(|error| format!("no connection: {error}"))?;
        let ready = stream.set_read_timeout(Some(PATIENCE)).and_then(|()| stream.set_nodelay(true));
        ready.map_err(|error| error.to_string())?;
        Ok(Self { address, reader: BufReader::new(stream), used: Instant::now() })
    }

    /// Asks and reads the whole answer. A server may close the connection after an answer, or when it was idle; the next request
    /// opens another.
    pub fn ask(&mut self, method: &str, path: &str, body: &[u8]) -> Result<Answer, String> {
        if self.used.elapsed() > IDLE {
            *self = Self::open(self.address)?;
        }
        self.send(method, path, body)?;
        let (answer, closes) = self.receive()?;
        if closes {
            *self = Self::open(self.address)?;
        }
        self.used = Instant::now();
        Ok(answer)
    }

    /// Sends a request and does not wait.
    pub fn send(&mut self, method: &str, path: &str, body: &[u8]) -> Result<(), String> {
        self.send_part(method, path, body, body.len())
    }

    /// Sends a request with the first `n` bytes of its body.
    pub fn send_part(&mut self, method: &str, path: &str, body: &[u8], n: usize) -> Result<(), String> {
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n",
            self.address
        );
        let stream = self.reader.get_mut();
        stream.write_all(&[head.as_bytes(), &body[..n]].concat()).map_err(|error| format!("cannot send: {error}"))
    }

    /// The next line of what comes, without its end; `None` at the end of the connection.
    pub fn line(&mut self) -> Result<Option<String>, String> {
        let mut line = Vec::new();
        let n = self.reader.read_until(b'\n', &mut line).map_err(|error| format!("cannot read: {error}"))?;
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        Ok((n > 0).then_some(text))
    }

    /// The status of what comes, the length of its body where it is told, and whether the connection ends with it.
    pub fn head(&mut self) -> Result<(u16, Option<usize>, bool), String> {
        let first = self.line()?.ok_or("the connection ended without an answer")?;
        let status = first.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| format!("no answer of HTTP: {first:.100}"))?;
        let (mut length, mut closes) = (None, false);
        while let Some(line) = self.line()?.filter(|line| !line.is_empty()) {
            let line = line.to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok();
            }
            closes |= line == "connection: close";
        }
        Ok((status, length, closes))
    }

    fn receive(&mut self) -> Result<(Answer, bool), String> {
        let (status, length, closes) = self.head()?;
        let mut bytes = Vec::new();
        match length {
            Some(length) => {
                bytes.resize(length, 0);
                self.reader.read_exact(&mut bytes).map_err(|error| format!("the answer broke off: {error}"))?;
            }
            None => while self.chunk(&mut bytes)? {},
        }
        Ok((Answer { status, body: String::from_utf8_lossy(&bytes).into_owned() }, closes))
    }

    /// Reads a chunk of a body whose length is not told; whether there may be more.
    pub fn chunk(&mut self, bytes: &mut Vec<u8>) -> Result<bool, String> {
        let size = self.line()?.ok_or("the stream broke off")?;
        let size = usize::from_str_radix(&size, 16).map_err(|_| format!("no chunk: {size:.100}"))?;
        let start = bytes.len();
        bytes.resize(start + size, 0);
        self.reader.read_exact(&mut bytes[start..]).map_err(|error| format!("the stream broke off: {error}"))?;
        self.line()?;
        Ok(size > 0)
    }
}

/// Asks once, on a connection of its own.
pub fn post(address: SocketAddr, path: &str, body: &str) -> Result<Answer, String> {
    Connection::open(address)?.ask("POST", path, body.as_bytes())
}

/// Reads once, on a connection of its own.
pub fn get(address: SocketAddr, path: &str) -> Result<Answer, String> {
    Connection::open(address)?.ask("GET", path, b"")
}
