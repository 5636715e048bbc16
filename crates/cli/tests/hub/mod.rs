//! A server on this machine that plays the hub, with its manners and its failures.

use sha1::Sha1;
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// The commit of all files.
pub const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

/// What the server does otherwise than it should.
#[derive(Clone, Debug, Default)]
pub struct Behaviour {
    /// Closes the connection after so many bytes of content.
    pub cut_after: Option<usize>,
    /// Answers so many requests for content, then closes the connection without an answer.
    pub n_content: Option<usize>,
    /// Answers the first requests with 503.
    pub n_unavailable: usize,
    /// Says with these answers after how many seconds to come back.
    pub retry_after: Option<u32>,
    pub ignores_ranges: bool,
    pub flips_a_bit: bool,
    /// Sends so many bytes more than it promised.
    pub n_longer: i64,
    /// Does not say in advance how much it sends.
    pub is_chunked: bool,
    /// Sends requests for content on to another host; to another path of its own when empty.
    pub redirects_to: Option<String>,
    pub redirects_in_circles: bool,
    /// Answers everything with 429 and a request to come back after so many seconds.
    pub asks_to_wait: Option<u32>,
    /// Answers everything with a status and the hub's own code for it.
    pub refuses_with: Option<(&'static str, &'static str)>,
    /// Lists this in place of its files.
    pub lists: Option<String>,
}

/// A request that came.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(its, _)| its.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The byte from which it asks for content.
    pub fn range(&self) -> Option<u64> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

/// The server, which ends with the test.
pub struct Hub {
    address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

struct Served {
    files: Vec<(String, Vec<u8>)>,
    behaviour: Behaviour,
    n_requests: AtomicUsize,
    n_content: AtomicUsize,
}

impl Hub {
    /// Serves files as those of `org/name`.
    pub fn start(files: &[(&str, Vec<u8>)], behaviour: Behaviour) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests: Arc<Mutex<Vec<Request>>> = Arc::default();
        let files = files.iter().map(|(name, content)| ((*name).to_owned(), content.clone())).collect();
        let served = Served { files, behaviour, n_requests: AtomicUsize::new(0), n_content: AtomicUsize::new(0) };
        let (log, served) = (requests.clone(), Arc::new(served));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (log, served) = (log.clone(), served.clone());
                // A client that has gone is no failure of the server.
                std::thread::spawn(move || drop(served.answer(stream, &log)));
            }
        });
        Self { address, requests }
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Served {
    fn answer(&self, mut stream: TcpStream, log: &Mutex<Vec<Request>>) -> std::io::Result<()> {
        let request = read_request(&stream)?;
        log.lock().unwrap().push(request.clone());
        let n_before = self.n_requests.fetch_add(1, Ordering::SeqCst);
        if n_before < self.behaviour.n_unavailable {
            let wait = self.behaviour.retry_after.map(|seconds| format!("Retry-After: {seconds}\r\n"));
            return respond(&mut stream, "503 Service Unavailable", &wait.unwrap_or_default(), b"");
        }
        if let Some(seconds) = self.behaviour.asks_to_wait {
            return respond(&mut stream, "429 Too Many Requests", &format!("Retry-After: {seconds}\r\n"), b"");
        }
        if let Some((status, code)) = self.behaviour.refuses_with {
            return respond(&mut stream, status, &format!("X-Error-Code: {code}\r\n"), b"");
        }
        if request.path.starts_with("/api/models/org/name/revision/") && request.path.ends_with("?blobs=true") {
            let list = self.behaviour.lists.clone().unwrap_or_else(|| self.list());
            return respond(&mut stream, "200 OK", "", list.as_bytes());
        }
        let content = request.path.trim_start_matches("/moved").strip_prefix(&format!("/org/name/resolve/{COMMIT}/"));
        match content.and_then(|name| self.files.iter().find(|(its, _)| its == name)) {
            Some((_, content)) => self.send(&mut stream, &request, content),
            None => respond(&mut stream, "404 Not Found", "", b""),
        }
    }

    fn list(&self) -> String {
        let file = |(name, content): &(String, Vec<u8>)| {
            let mut sha1 = Sha1::new_with_prefix(format!("blob {}\0", content.len()));
            sha1.update(content);
            let mut file = serde_json::json!({
                "rfilename": name, "size": content.len(), "blobId": digits(&sha1.finalize())
            });
            if content.len() > 100 {
                let sum = digits(&Sha256::digest(content));
                file["lfs"] = serde_json::json!({ "sha256": sum, "size": content.len(), "pointerSize": 130 });
            }
            file
        };
        let files: Vec<serde_json::Value> = self.files.iter().map(file).collect();
        serde_json::json!({ "id": "org/name", "sha": COMMIT, "siblings": files }).to_string()
    }

    fn send(&self, stream: &mut TcpStream, request: &Request, content: &[u8]) -> std::io::Result<()> {
        let Behaviour { redirects_to, redirects_in_circles, n_content, .. } = &self.behaviour;
        if *redirects_in_circles {
            return respond(stream, "307 Temporary Redirect", &format!("Location: {}\r\n", request.path), b"");
        }
        if let Some(to) = redirects_to.as_ref().filter(|_| !request.path.starts_with("/moved")) {
            let prefix = if to.is_empty() { "/moved" } else { to };
            return respond(stream, "302 Found", &format!("Location: {prefix}{}\r\n", request.path), b"");
        }
        let n_before = self.n_content.fetch_add(1, Ordering::SeqCst);
        if n_content.is_some_and(|n| n_before >= n) {
            return Ok(());
        }
        self.send_content(stream, request, content)
    }

    fn send_content(&self, stream: &mut TcpStream, request: &Request, content: &[u8]) -> std::io::Result<()> {
        let Behaviour { cut_after, ignores_ranges, flips_a_bit, n_longer, is_chunked, .. } = self.behaviour;
        let from = request.range().filter(|_| !ignores_ranges).unwrap_or(0) as usize;
        let mut body = content[from..].to_vec();
        body.resize((body.len() as i64 + n_longer) as usize, 0);
        if flips_a_bit {
            body[0] ^= 1;
        }
        let (status, range) = match from {
            0 => ("200 OK", String::new()),
            _ => {
                let n = content.len();
                ("206 Partial Content", format!("Content-Range: bytes {from}-{}/{n}\r\n", n - 1))
            }
        };
        if is_chunked {
            write!(stream, "HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n{range}\r\n")?;
            write!(stream, "{:x}\r\n", body.len())?;
            stream.write_all(&body)?;
            return stream.write_all(b"\r\n0\r\n\r\n");
        }
        write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{range}\r\n", body.len())?;
        body.truncate(cut_after.unwrap_or(usize::MAX));
        stream.write_all(&body)
    }
}

fn read_request(stream: &TcpStream) -> std::io::Result<Request> {
    let mut lines = BufReader::new(stream).lines();
    let first = lines.next().transpose()?.unwrap_or_default();
    let path = first.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut headers = Vec::new();
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else { break };
        headers.push((name.to_owned(), value.to_owned()));
    }
    Ok(Request { path, headers })
}

fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &[u8]) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{headers}\r\n", body.len())?;
    stream.write_all(body)
}

fn digits(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
