//! How the server is to behave.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How the server is to behave.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to listen; port 0 takes any free one.
    pub address: SocketAddr,
    /// Who knows one of these may ask; anybody when there are none, which is allowed on a loopback address only.
    pub keys: Vec<String>,
    /// Answers of each model in progress at once.
    pub n_running: usize,
    /// Answers that may wait for each model; further ones are refused with 429.
    pub n_waiting: usize,
    /// Bytes for keys and values of each model: what answers in progress need, and what is kept for prompts that begin alike.
    /// When they are used up, the answers that came last wait and are read again.
    pub cache_bytes: usize,
    /// Tokens of prompt and answer together at most, where that is less than the model's context.
    pub context_len: Option<usize>,
    /// How long open answers may go on after the signal to stop.
    pub drain: Duration,
    /// Names under which browsers may know this server, besides localhost and plain addresses.
    pub allowed_hosts: Vec<String>,
    /// Origins of other pages that may ask.
    pub allowed_origins: Vec<String>,
    /// The directory whose runs the page shows.
    pub runs: Option<PathBuf>,
    /// Whether each request is reported with method, path, status and time.
    pub logs_requests: bool,
}

impl Settings {
    /// A server on a loopback address for anybody on this machine.
    pub fn new(address: SocketAddr) -> Self {
        Self {
            address,
            keys: Vec::new(),
            n_running: 64,
            n_waiting: 2048,
            cache_bytes: 1 << 30,
            context_len: None,
            drain: Duration::from_secs(30),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            runs: None,
            logs_requests: false,
        }
    }
}

/// Why the server cannot start or go on.
#[derive(Debug)]
pub enum Error {
    /// Settings that must not be together.
    Settings(String),
    /// The address cannot be listened at.
    Address {
        /// Where.
        address: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// Threads, signals or timers cannot be had.
    System(std::io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Settings(message) => f.write_str(message),
            Error::Address { address, source } if source.kind() == std::io::ErrorKind::AddrInUse => {
                let by = crate::http::owner_of_port(address.port()).map_or(String::new(), |who| format!(" by {who}"));
                write!(f, "port {} is in use{by}; end that program, or choose another with --port", address.port())
            }
            Error::Address { address, source } => write!(f, "cannot listen at {address}: {source}"),
            Error::System(source) => write!(f, "cannot serve: {source}"),
        }
    }
}

impl std::error::Error for Error {}
