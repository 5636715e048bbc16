//! Requests to the hub, its redirects, and what its refusals mean.

use super::settings::{ENDPOINT, Settings};
use super::tls;
use crate::failure::{Failure, Outcome, printable};
use std::io::{ErrorKind, IsTerminal, Read};
use std::sync::mpsc;
use std::time::Duration;
use ureq::http::header::{AUTHORIZATION, HeaderName, LOCATION, RANGE, RETRY_AFTER, USER_AGENT};
use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body, Timeout};

/// Most addresses that one request is sent on to.
const MAX_REDIRECTS: usize = 10;
/// Time for a connection to be made, for an answer to begin, and between two pieces of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time after which it is said who is waited for.
const QUIET: Duration = Duration::from_millis(800);
/// Time for one answer to arrive. One that takes longer is asked to go on from where it was.
const MAX_TRANSFER: Duration = Duration::from_secs(300);
/// Longest text of the hub that is repeated.
const MAX_MESSAGE: usize = 300;

/// Why a request failed.
#[derive(Debug)]
pub enum Trouble {
    /// It may go well the next time.
    Passing(String),
    /// The hub, or who keeps its files, cannot answer now; after a while it may.
    Busy {
        /// What it answers.
        message: String,
        /// How long it asks to be left alone.
        asked: Option<Duration>,
        /// What a person can do when it goes on.
        advice: String,
    },
    /// There is no connection, and asking at once again would make none.
    Unconnected(String),
    /// It will not.
    Lasting(String),
}

impl From<Trouble> for Failure {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Busy { message, advice, .. } => Failure::new(format!("{message}; {advice}")),
            Trouble::Passing(message) | Trouble::Unconnected(message) | Trouble::Lasting(message) => {
                Failure::new(message)
            }
        }
    }
}

/// Speaks to one hub.
#[derive(Debug)]
pub struct Client {
    agent: Agent,
    settings: Settings,
}

impl Client {
    /// A client of the hub that the settings name.
    ///
    /// # Errors
    /// When nothing may be fetched, or the hub has to be spoken to by https and that cannot be done here.
    pub fn new(settings: Settings) -> Outcome<Self> {
        if let Some(variable) = settings.offline_by {
            return Err(Failure::new(format!("{variable} forbids to fetch anything; unset it")));
        }
        let mut config = Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .timeout_recv_body(Some(MAX_TRANSFER));
        if settings.endpoint.starts_with("https") {
            config = config.tls_config(tls::config()?);
        }
        Ok(Self { agent: config.build().into(), settings })
    }

    /// A text of at most `n_bytes_max` bytes, asked for again while the trouble is passing.
    ///
    /// # Errors
    /// When it cannot be had, or is longer.
    pub fn text(&self, path: &str, n_bytes_max: u64) -> Outcome<String> {
        super::download::persist(|| self.text_once(path, n_bytes_max))
    }

    fn text_once(&self, path: &str, n_bytes_max: u64) -> Result<String, Trouble> {
        let response = self.get(path, 0)?;
        let mut bytes = Vec::new();
        let mut reader = response.into_body().into_reader().take(n_bytes_max + 1);
        reader.read_to_end(&mut bytes).map_err(|error| Trouble::Passing(format!("the answer broke off: {error}")))?;
        if bytes.len() as u64 > n_bytes_max {
            return Err(Trouble::Lasting(format!("the hub's answer is longer than {n_bytes_max} bytes")));
        }
        String::from_utf8(bytes).map_err(|_| Trouble::Lasting("the hub's answer is not UTF-8".to_owned()))
    }

    /// What a path of the hub holds, from byte `from` on where the hub can do that.
    ///
    /// The token goes to the hub alone, never to another place that the hub sends us on to.
    ///
    /// # Errors
    /// When the hub cannot be reached or answers with anything but content.
    pub fn get(&self, path: &str, from: u64) -> Result<Response<Body>, Trouble> {
        let hub = parse(&self.settings.endpoint)?;
        let mut address = parse(&format!("{}/{path}", self.settings.endpoint))?;
        for _ in 0..=MAX_REDIRECTS {
            let is_hub = origin(&address) == origin(&hub);
            let response = self.send(&address, from, is_hub)?;
            if response.status().is_redirection() {
                let location = text(&response, &LOCATION).unwrap_or_default();
                address = next_address(&address, location)?;
            } else {
                return self.checked(response, &address, is_hub);
            }
        }
        Err(Trouble::Lasting(format!("the hub sends us on more than {MAX_REDIRECTS} times, last to {address}")))
    }

    fn send(&self, address: &Uri, from: u64, with_token: bool) -> Result<Response<Body>, Trouble> {
        let mut request = self.agent.get(address).header(USER_AGENT, concat!("genera/", env!("CARGO_PKG_VERSION")));
        if from > 0 {
            request = request.header(RANGE, format!("bytes={from}-"));
        }
        if let Some(token) = self.settings.token.as_ref().filter(|_| with_token) {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        let host = address.host().unwrap_or_default();
        let answer = say_if_slow(host, || request.call());
        answer.map_err(|error| match error {
            ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::BadUri(_) => {
                Trouble::Lasting(format!("{host} cannot be spoken to: {error}"))
            }
            error if is_unconnected(&error) => Trouble::Unconnected(format!(
                "{host} cannot be reached: {error}; check the network, and HF_ENDPOINT if it is set"
            )),
            error => Trouble::Passing(format!("{host} cannot be reached: {error}")),
        })
    }

    /// The answer if it has content, or what its status means.
    fn checked(&self, response: Response<Body>, address: &Uri, is_hub: bool) -> Result<Response<Body>, Trouble> {
        let status = response.status();
        if status.is_success() || status == StatusCode::RANGE_NOT_SATISFIABLE {
            return Ok(response);
        }
        let host = address.host().unwrap_or_default();
        if status.is_server_error() || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status) {
            let asked = text(&response, &RETRY_AFTER).and_then(|seconds| seconds.trim().parse().ok());
            return Err(Trouble::Busy {
                message: format!("{host} answers {status}"),
                asked: asked.map(Duration::from_secs),
                advice: self.advice_to_wait(status, is_hub),
            });
        }
        let header = |name| text(&response, &HeaderName::from_static(name)).unwrap_or_default();
        let said = printable(header("x-error-message"), MAX_MESSAGE);
        let said = if said.is_empty() { said } else { format!(" ({said})") };
        let advice = if is_hub { self.advice(status, header("x-error-code"), &page(address)) } else { String::new() };
        Err(Trouble::Lasting(format!("{host} answers {status}{said}{advice}")))
    }

    /// What to do where the hub, or who keeps its files, goes on to answer that it cannot.
    fn advice_to_wait(&self, status: StatusCode, is_hub: bool) -> String {
        let endpoint = &self.settings.endpoint;
        if status == StatusCode::TOO_MANY_REQUESTS {
            let token = match self.settings.token {
                None if is_hub => {
                    format!(
                        ", or set HF_TOKEN to a token from {endpoint}/settings/tokens, with which more may be asked for"
                    )
                }
                _ => String::new(),
            };
            return format!("too much was asked for from here: repeat the command in some minutes{token}");
        }
        let state = if endpoint == ENDPOINT { ", https://status.huggingface.co says how it is," } else { "" };
        let other = if is_hub { ", or name another hub by HF_ENDPOINT" } else { "" };
        format!("the fault is there, not here{state}: repeat the command later{other}")
    }

    /// What to do about a refusal of the hub.
    fn advice(&self, status: StatusCode, code: &str, page: &str) -> String {
        let endpoint = &self.settings.endpoint;
        let has_token = self.settings.token.is_some();
        match (status, code) {
            (_, "GatedRepo") | (StatusCode::FORBIDDEN, _) => {
                let token = if has_token { "HF_TOKEN has to be" } else { "set HF_TOKEN to" };
                format!(
                    ": the model is gated; accept its licence, or ask for access, on {endpoint}/{page} when you are signed in there; \
                     {token} a token of the same account, from {endpoint}/settings/tokens"
                )
            }
            (_, "RevisionNotFound") => ": the model has no such revision; see 'Files' on its page".to_owned(),
            (_, "EntryNotFound") => ": the model has no such file at this revision".to_owned(),
            (StatusCode::UNAUTHORIZED, _) if has_token => {
                format!(
                    ": there is no such model, or the token may not see it; check the name, and HF_TOKEN at {endpoint}/settings/tokens"
                )
            }
            (StatusCode::UNAUTHORIZED, _) => {
                format!(
                    ": there is no such model, or it is private; check the name, or set HF_TOKEN to a token from {endpoint}/settings/tokens"
                )
            }
            (StatusCode::NOT_FOUND, _) => {
                format!(": there is no such model or revision; search for it at {endpoint}/models")
            }
            _ => String::new(),
        }
    }
}

/// The page of the model that an address of the hub is about.
fn page(address: &Uri) -> String {
    let path = address.path().trim_start_matches('/');
    let path = path.strip_prefix("api/models/").unwrap_or(path);
    let end = ["/revision/", "/resolve/"].iter().filter_map(|part| path.find(part)).min();
    path[..end.unwrap_or(path.len())].to_owned()
}

/// Does something, and says who is waited for when it takes long.
fn say_if_slow<T>(host: &str, work: impl FnOnce() -> T) -> T {
    let (done, is_done) = mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            if is_done.recv_timeout(QUIET) == Err(mpsc::RecvTimeoutError::Timeout) {
                say(&format!("waiting for {host}"));
            }
        });
        let answer = work();
        drop(done);
        answer
    })
}

/// A line for who waits, in the place of one that says how far it is.
pub(super) fn say(message: &str) {
    let clear = if std::io::stderr().is_terminal() { "\r\x1b[K" } else { "" };
    eprintln!("{clear}genera: {message}");
}

/// Whether no connection came about because there is nobody, or no way to them.
fn is_unconnected(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::HostNotFound | ureq::Error::ConnectionFailed => true,
        ureq::Error::Timeout(timeout) => matches!(timeout, Timeout::Resolve | Timeout::Connect),
        ureq::Error::Io(error) => {
            use ErrorKind::{AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable};
            let kinds = [AddrNotAvailable, ConnectionRefused, HostUnreachable, NetworkDown, NetworkUnreachable];
            // The standard library has no kind for a name that cannot be resolved.
            kinds.contains(&error.kind()) || error.to_string().starts_with("failed to lookup address")
        }
        _ => false,
    }
}

fn parse(address: &str) -> Result<Uri, Trouble> {
    let is_usable = |uri: &Uri| matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some();
    let uri = address.parse().ok().filter(is_usable);
    uri.ok_or_else(|| {
        Trouble::Lasting(format!("'{}' is no address that can be asked", printable(address, MAX_MESSAGE)))
    })
}

/// Scheme, host and port: who is spoken to.
fn origin(address: &Uri) -> (Option<&str>, Option<String>, u16) {
    let default = if address.scheme_str() == Some("https") { 443 } else { 80 };
    (address.scheme_str(), address.host().map(str::to_ascii_lowercase), address.port_u16().unwrap_or(default))
}

/// Where an answer from `address` sends us on to.
fn next_address(address: &Uri, location: &str) -> Result<Uri, Trouble> {
    let (scheme, authority) = (address.scheme_str().unwrap_or_default(), address.authority());
    let next = match (location.starts_with('/'), authority) {
        (true, Some(authority)) if !location.starts_with("//") => parse(&format!("{scheme}://{authority}{location}"))?,
        _ => parse(location)?,
    };
    if scheme == "https" && next.scheme_str() != Some("https") {
        return Err(Trouble::Lasting(format!("{authority:?} sends us on to {next}, which is not encrypted")));
    }
    Ok(next)
}

/// A header's text.
pub(super) fn text<'r>(response: &'r Response<Body>, name: &HeaderName) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_lead_where_they_may() {
        let from: Uri = "https://hub.co:444/a/b".parse().unwrap();
        let check = |location: &str, expect: Option<&str>| {
            let next = next_address(&from, location).ok().map(|uri| uri.to_string());
            assert_eq!(next.as_deref(), expect, "{location}");
        };
        check("/c?d=1", Some("https://hub.co:444/c?d=1"));
        check("https://cdn.co/x", Some("https://cdn.co/x"));
        check("http://cdn.co/x", None);
        check("file:///etc/passwd", None);
        check("//cdn.co/x", None);
        check("c", None);
        check("", None);
    }

    #[test]
    fn where_nobody_is_nothing_is_asked_again() {
        let lookup = std::io::Error::other("failed to lookup address information: Name or service not known");
        for error in [ErrorKind::ConnectionRefused.into(), ErrorKind::NetworkUnreachable.into(), lookup] {
            assert!(is_unconnected(&ureq::Error::Io(error)));
        }
        assert!(is_unconnected(&ureq::Error::HostNotFound) && is_unconnected(&ureq::Error::Timeout(Timeout::Connect)));
        assert!(!is_unconnected(&ureq::Error::Timeout(Timeout::PerRead)));
        assert!(!is_unconnected(&ureq::Error::Io(ErrorKind::ConnectionReset.into())));
    }

    #[test]
    fn another_port_is_another_place() {
        let origin_of = |text: &str| {
            let uri: Uri = text.parse().unwrap();
            let (scheme, host, port) = origin(&uri);
            (scheme.map(str::to_owned), host, port)
        };
        assert_eq!(origin_of("https://hub.co/a"), origin_of("https://HUB.co:443/b"));
        assert_ne!(origin_of("https://hub.co/"), origin_of("http://hub.co/"));
        assert_ne!(origin_of("http://hub.co/"), origin_of("http://hub.co:81/"));
        assert_ne!(origin_of("http://hub.co/"), origin_of("http://hub.co.evil/"));
    }
}
