//! What is sent: a whole text, or parts as they come.

use crate::problem::Problem;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::Value;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::Receiver;

/// The body of an answer.
pub enum Body {
    /// All of it.
    Whole(Bytes),
    /// Parts, until the sender is gone.
    Parts(Receiver<Bytes>),
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let part = match &mut *self {
            Body::Whole(bytes) if bytes.is_empty() => None,
            Body::Whole(bytes) => Some(std::mem::take(bytes)),
            Body::Parts(receiver) => std::task::ready!(receiver.poll_recv(context)),
        };
        Poll::Ready(part.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Body::Whole(bytes) if bytes.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Parts(_) => SizeHint::default(),
        }
    }
}

/// An answer of a media type.
pub fn with_type(status: StatusCode, media_type: &'static str, bytes: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Whole(bytes.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// JSON.
pub fn json(value: &Value) -> Response<Body> {
    json_status(StatusCode::OK, value)
}

/// JSON with a status.
pub fn json_status(status: StatusCode, value: &Value) -> Response<Body> {
    with_type(status, "application/json", value.to_string())
}

/// What cannot be met, in one of the two shapes.
pub fn refusal(problem: &Problem, is_anthropic: bool) -> Response<Body> {
    let body = if is_anthropic { problem.anthropic_body() } else { problem.body() };
    let mut response = json_status(problem.status, &body);
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}
