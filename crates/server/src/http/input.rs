//! Bodies of requests, bounded in size, in time and in sum.

use crate::limits::{BODY_BYTES, BODY_TIME};
use crate::problem::Problem;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE};
use hyper::{Request, StatusCode};
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The places for bodies, one for each KiB.
pub type Room = Arc<Semaphore>;

/// A body, and the room that it takes as long as it is worked on.
pub struct Input {
    /// The bytes.
    pub bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// Reads a body of JSON.
///
/// # Errors
/// 415 for another type, 413 for too many bytes, 408 when it does not come in time, 503 when other bodies fill the memory
/// that is set aside.
pub async fn read_json(request: Request<Incoming>, room: &Room) -> Result<Input, Problem> {
    check_type(&request)?;
    let hint = request.body().size_hint();
    if hint.lower() > BODY_BYTES as u64 {
        return Err(too_large());
    }
    let read = tokio::time::timeout(BODY_TIME, read_all(request.into_body(), room)).await;
    read.map_err(|_| {
        let seconds = BODY_TIME.as_secs();
        let message = format!("the body of the request did not come within {seconds} seconds");
        Problem::new(StatusCode::REQUEST_TIMEOUT, "request_timeout", message)
    })?
}

/// Takes room for what has come, not for what is announced: a slow client holds no more than it sends.
async fn read_all(mut body: Incoming, room: &Room) -> Result<Input, Problem> {
    let take = |n_bytes: usize| {
        room.clone().try_acquire_many_owned(n_bytes.div_ceil(1024) as u32).map_err(|_| {
            let message = "the server works on too many large requests; ask again in a moment";
            Problem { retry_after: Some(1), ..Problem::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded", message) }
        })
    };
    let (mut taken, mut bytes) = (take(1)?, BytesMut::new());
    while let Some(frame) = body.frame().await {
        let broken = |_| Problem::new(StatusCode::BAD_REQUEST, "broken_body", "the body of the request broke off");
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let n_bytes = bytes.len() + data.len();
        if n_bytes > BODY_BYTES {
            return Err(too_large());
        }
        let n_held = 1024 * taken.num_permits();
        if n_bytes > n_held {
            taken.merge(take(n_bytes - n_held)?);
        }
        bytes.extend_from_slice(&data);
    }
    Ok(Input { bytes: bytes.freeze(), _room: taken })
}

/// Browsers send this type across origins only after they have asked, which a foreign page does not survive.
fn check_type(request: &Request<Incoming>) -> Result<(), Problem> {
    let headers = request.headers();
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    let wrong =
        |message: &str| Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", message));
    if !essence.eq_ignore_ascii_case("application/json") {
        return wrong("the body must be JSON and say so: send the header `Content-Type: application/json`");
    }
    if headers.contains_key(CONTENT_ENCODING) {
        return wrong("compressed bodies are not read; send the JSON as it is");
    }
    Ok(())
}

fn too_large() -> Problem {
    let message = format!("the body of the request has more than {BODY_BYTES} bytes, which is the most that is read");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "request_too_large", message)
}
