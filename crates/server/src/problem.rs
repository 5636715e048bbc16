//! What is answered when a request cannot be met, in the shape of the OpenAI interface or of Anthropic's.

use hyper::StatusCode;
use serde_json::{Value, json};

/// A request that cannot be met: what happened, what was expected, how to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The HTTP status.
    pub status: StatusCode,
    /// The words for people.
    pub message: String,
    /// The field that is wrong.
    pub param: Option<String>,
    /// The word for programs.
    pub code: Option<&'static str>,
    /// Seconds after which to try again.
    pub retry_after: Option<u64>,
}

impl Problem {
    /// A problem without a field.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), param: None, code: Some(code), retry_after: None }
    }

    /// 400: a field that is wrong.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        let param = Some(param.into());
        Self { status: StatusCode::BAD_REQUEST, message: message.into(), param, code: None, retry_after: None }
    }

    /// 400: a field of the interface that means nothing to this server.
    pub fn without_effect(param: &str) -> Self {
        let message =
            format!("`{param}` has no effect on this server, so it is refused instead of ignored; leave it out");
        Self { code: Some("unsupported_parameter"), ..Self::invalid(param, message) }
    }

    /// 429: too much is asked at once.
    pub fn overloaded(message: impl Into<String>) -> Self {
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", message);
        Self { retry_after: Some(1), ..problem }
    }

    /// 503: the server is about to end.
    pub fn shutting_down() -> Self {
        let message = "the server is shutting down; ask again in a moment";
        Self { retry_after: Some(5), ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "shutting_down", message) }
    }

    /// 500: our own mistake.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", message)
    }

    fn kind(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            429 => "rate_limit_error",
            500.. => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// The body as the OpenAI interface has it.
    pub fn body(&self) -> Value {
        json!({ "error": {
            "message": self.message, "type": self.kind(), "param": self.param, "code": self.code,
        } })
    }

    /// The body as Anthropic's interface has it.
    pub fn anthropic_body(&self) -> Value {
        let kind = match self.status.as_u16() {
            413 => "request_too_large",
            503 => "overloaded_error",
            500.. => "api_error",
            _ => self.kind(),
        };
        json!({ "type": "error", "error": { "type": kind, "message": self.message }, "request_id": null })
    }
}
