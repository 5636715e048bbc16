//! Who may ask: the host and the origin that a browser names, and the key.

use crate::problem::Problem;
use crate::settings::Settings;
use hyper::StatusCode;
use hyper::header::{AUTHORIZATION, HOST, HeaderMap, ORIGIN};
use sha2::{Digest, Sha256};
use std::net::IpAddr;

/// Refuses a request of a page that was led here by a name that is not ours (DNS rebinding), or of a foreign page.
///
/// # Errors
/// 403, saying which name and how to allow it.
pub fn check_source(headers: &HeaderMap, settings: &Settings) -> Result<(), Problem> {
    let host = text_of(headers, HOST.as_str()).unwrap_or_default();
    if !is_our_name(name_of(host), &settings.allowed_hosts) {
        return Err(forbidden(format!(
            "the request is for the host `{}`, which is not this server's; if it should be, start it with --allow-host NAME",
            shown(host)
        )));
    }
    match text_of(headers, ORIGIN.as_str()) {
        Some(origin) if !is_our_page(origin, host) && !is_allowed_origin(headers, settings) => Err(forbidden(format!(
            "pages of `{}` may not use this server; if they should, start it with --allow-origin ORIGIN",
            shown(origin)
        ))),
        _ => Ok(()),
    }
}

/// Whether a page of another origin asks that the settings allow.
pub fn is_allowed_origin(headers: &HeaderMap, settings: &Settings) -> bool {
    let origin = text_of(headers, ORIGIN.as_str());
    origin.is_some_and(|origin| settings.allowed_origins.iter().any(|allowed| allowed == origin))
}

/// Refuses a request without a key where there are keys: `Authorization: Bearer KEY`, `x-api-key: KEY`, or the password of
/// `Authorization: Basic`, which browsers ask for.
///
/// # Errors
/// 401.
///
/// # Determinism
/// The time does not depend on how much of a key is right: digests are compared, all of them, whole.
pub fn check_key(headers: &HeaderMap, keys: &[String]) -> Result<(), Problem> {
    if keys.is_empty() {
        return Ok(());
    }
    let given = key_of(headers).ok_or_else(|| {
        unauthorized("this server asks for a key; send `Authorization: Bearer KEY` or `x-api-key: KEY`")
    })?;
    let given = Sha256::digest(given.as_bytes());
    let is_known = keys.iter().fold(false, |found, key| found | is_equal(&Sha256::digest(key.as_bytes()), &given));
    if is_known { Ok(()) } else { Err(unauthorized("the key is not known to this server")) }
}

fn is_equal(a: &[u8], b: &[u8]) -> bool {
    std::hint::black_box(a.iter().zip(b).fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
}

fn key_of(headers: &HeaderMap) -> Option<String> {
    if let Some(key) = text_of(headers, "x-api-key") {
        return Some(key.to_owned());
    }
    let (scheme, rest) = text_of(headers, AUTHORIZATION.as_str())?.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(rest.trim().to_owned()),
        "basic" => {
            let text = String::from_utf8(super::base64::from_base64(rest.trim())?).ok()?;
            text.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

fn text_of<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    if let Some((name, _)) = host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        return name;
    }
    host.rsplit_once(':').map_or(host, |(name, _)| name)
}

/// Addresses are no names that a stranger's DNS could have led here.
fn is_our_name(name: &str, allowed: &[String]) -> bool {
    name.parse::<IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| name.eq_ignore_ascii_case(allowed))
}

fn is_our_page(origin: &str, host: &str) -> bool {
    let rest = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    rest.is_some_and(|rest| rest.eq_ignore_ascii_case(host))
}

fn shown(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).take(80).collect()
}

fn forbidden(message: String) -> Problem {
    Problem::new(StatusCode::FORBIDDEN, "forbidden_origin", message)
}

fn unauthorized(message: &str) -> Problem {
    Problem::new(StatusCode::UNAUTHORIZED, "invalid_api_key", message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let pair = |&(name, value): &(&'static str, &str)| {
            (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap())
        };
        pairs.iter().map(pair).collect()
    }

    fn settings() -> Settings {
        let mut settings = Settings::new(([127, 0, 0, 1], 8080).into());
        settings.allowed_hosts.push("genera.example".to_owned());
        settings.allowed_origins.push("https://friend.example".to_owned());
        settings
    }

    #[test]
    fn only_our_own_names_and_pages_may_ask() {
        let check = |pairs: &[(&'static str, &str)], expect: bool| {
            assert_eq!(check_source(&headers(pairs), &settings()).is_ok(), expect, "{pairs:?}");
        };
        check(&[("host", "localhost:8080")], true);
        check(&[("host", "127.0.0.1:8080")], true);
        check(&[("host", "[::1]:8080")], true);
        check(&[("host", "genera.example")], true);
        check(&[("host", "evil.example:8080")], false);
        check(&[("host", "localhost.evil.example")], false);
        check(&[("host", "127.0.0.1.evil.example")], false);
        check(&[], false);
        check(&[("host", "localhost:8080"), ("origin", "http://localhost:8080")], true);
        check(&[("host", "localhost:8080"), ("origin", "http://localhost:9090")], false);
        check(&[("host", "localhost:8080"), ("origin", "https://evil.example")], false);
        check(&[("host", "localhost:8080"), ("origin", "null")], false);
        check(&[("host", "localhost:8080"), ("origin", "https://friend.example")], true);
    }

    #[test]
    fn a_key_may_come_in_three_ways() {
        let keys = ["a-key-of-sixteen!".to_owned(), "another-key-of-it".to_owned()];
        let check = |pairs: &[(&'static str, &str)], expect: bool| {
            assert_eq!(check_key(&headers(pairs), &keys).is_ok(), expect, "{pairs:?}");
        };
        check(&[("authorization", "Bearer another-key-of-it")], true);
        check(&[("x-api-key", "a-key-of-sixteen!")], true);
        // "me:another-key-of-it"
        check(&[("authorization", "Basic bWU6YW5vdGhlci1rZXktb2YtaXQ=")], true);
        check(&[("authorization", "Basic !!")], false);
        check(&[("authorization", "Bearer a-key-of-sixteen")], false);
        check(&[("authorization", "Bearer ")], false);
        check(&[], false);
        assert!(check_key(&HeaderMap::new(), &[]).is_ok());
    }
}
