//! One connection: its requests one after another, each within bounds and apart from the others.

use super::body::{Body, refusal};
use super::guard;
use super::input::Room;
use super::timed::TimedStream;
use crate::limits::{HEAD_BYTES, HEAD_TIME};
use crate::problem::Problem;
use crate::routes;
use crate::state::{State, draining};
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;

/// Serves a connection until it ends. `place` is free again then.
pub async fn serve(stream: TcpStream, state: Arc<State>, room: Room, place: OwnedSemaphorePermit) {
    // Tokens are small and must not wait for each other.
    let _ = stream.set_nodelay(true);
    let mut stage = state.stage.clone();
    let service = service_fn(move |request| respond(request, state.clone(), room.clone()));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(HEAD_BYTES)
        .max_buf_size(2 * HEAD_BYTES)
        .serve_connection(TokioIo::new(TimedStream::new(stream)), service);
    tokio::pin!(connection);
    // A connection that breaks is no news: clients come and go.
    tokio::select! {
        _ = connection.as_mut() => {}
        () = draining(&mut stage) => {
            connection.as_mut().graceful_shutdown();
            let _ = connection.await;
        }
    }
    drop(place);
}

async fn respond(request: Request<Incoming>, state: Arc<State>, room: Room) -> Result<Response<Body>, Infallible> {
    let start = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let origin = request.headers().get(header::ORIGIN).cloned();
    let is_foreign = guard::is_allowed_origin(request.headers(), &state.settings);
    let is_anthropic = path.starts_with("/v1/messages");
    let answered = isolated(answer(request, &state, &room)).await;
    let answered = answered.unwrap_or_else(|| Err(Problem::internal("the server failed; its log says where")));
    let mut response = answered.unwrap_or_else(|problem| refusal(&problem, is_anthropic));
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if let Some(origin) = origin.filter(|_| is_foreign) {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::VARY, HeaderValue::from_static("Origin"));
    }
    if response.status() == StatusCode::UNAUTHORIZED {
        let challenge = HeaderValue::from_static("Basic realm=\"genera\", Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    if state.settings.logs_requests {
        // Neither query nor body: what people write is theirs.
        let shown: String = path.chars().filter(|character| !character.is_control()).take(80).collect();
        eprintln!("genera: {method} {shown} {} {} ms", response.status().as_u16(), start.elapsed().as_millis());
    }
    Ok(response)
}

async fn answer(request: Request<Incoming>, state: &Arc<State>, room: &Room) -> Result<Response<Body>, Problem> {
    if let Some(health) = routes::health(request.method(), request.uri().path(), state) {
        return Ok(health);
    }
    guard::check_source(request.headers(), &state.settings)?;
    if request.method() == Method::OPTIONS {
        return Ok(preflight());
    }
    guard::check_key(request.headers(), &state.settings.keys)?;
    routes::answer(request, state, room).await
}

/// What a browser asks before a page of another origin may ask.
fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::Whole(bytes::Bytes::new()));
    *response.status_mut() = StatusCode::NO_CONTENT;
    let headers = response.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST"));
    headers.insert(
        header::ACCESS_CONTROL_ALLOW_HEADERS,
        // What the official clients send besides.
        HeaderValue::from_static(
            "authorization, content-type, x-api-key, anthropic-version, anthropic-dangerous-direct-browser-access, \
             openai-organization, openai-project, x-stainless-arch, x-stainless-lang, x-stainless-os, \
             x-stainless-package-version, x-stainless-retry-count, x-stainless-runtime, x-stainless-runtime-version, \
             x-stainless-timeout",
        ),
    );
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    response
}

/// What a future gives, or `None` when it panics: the panic is one request's and nobody else's.
async fn isolated<T>(future: impl Future<Output = T>) -> Option<T> {
    tokio::pin!(future);
    poll_fn(|context| {
        // After a panic the future is not touched again.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(Poll::Ready(value)) => Poll::Ready(Some(value)),
            Ok(Poll::Pending) => Poll::Pending,
            Err(_) => Poll::Ready(None),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_stays_where_it_is() {
        assert_eq!(isolated(async { 1 }).await, Some(1));
        assert_eq!(isolated(async { panic!("on purpose") }).await, None::<()>);
    }
}
