//! The web page: files that are part of the program.

use crate::http::{Body, with_type};
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue};
use hyper::{Response, StatusCode};

/// Path, media type and content.
const FILES: &[(&str, &str, &str)] = &[
    ("/", "text/html; charset=utf-8", include_str!("../ui/index.html")),
    ("/ui/style.css", "text/css; charset=utf-8", include_str!("../ui/style.css")),
    ("/ui/main.js", "text/javascript; charset=utf-8", include_str!("../ui/main.js")),
    ("/ui/chat.js", "text/javascript; charset=utf-8", include_str!("../ui/chat.js")),
    ("/ui/tree.js", "text/javascript; charset=utf-8", include_str!("../ui/tree.js")),
    ("/ui/markdown.js", "text/javascript; charset=utf-8", include_str!("../ui/markdown.js")),
    ("/ui/model.js", "text/javascript; charset=utf-8", include_str!("../ui/model.js")),
    ("/ui/form.js", "text/javascript; charset=utf-8", include_str!("../ui/form.js")),
    ("/ui/generate.js", "text/javascript; charset=utf-8", include_str!("../ui/generate.js")),
    ("/ui/chart.js", "text/javascript; charset=utf-8", include_str!("../ui/chart.js")),
    ("/ui/training.js", "text/javascript; charset=utf-8", include_str!("../ui/training.js")),
    ("/ui/elements.js", "text/javascript; charset=utf-8", include_str!("../ui/elements.js")),
    ("/ui/events.js", "text/javascript; charset=utf-8", include_str!("../ui/events.js")),
];

/// The file at a path.
pub fn file(path: &str) -> Option<Response<Body>> {
    let (_, media_type, content) = FILES.iter().find(|(known, ..)| *known == path)?;
    let mut response = with_type(StatusCode::OK, media_type, *content);
    // Nothing from elsewhere, nothing inline: what a model writes cannot run.
    let policy = HeaderValue::from_static(
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    );
    response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    Some(response)
}
