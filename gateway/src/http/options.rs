//! `OPTIONS` on the ingest paths: what may be posted there, and the handshake by which a sender of webhooks asks
//! whether it may send at all (CloudEvents HTTP webhook 1.0.2 §4). Browsers ask here, too.

use axum::body::Body;
use http::header::{ALLOW, HeaderName};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::cors;

const ACCEPT_POST: HeaderName = HeaderName::from_static("accept-post");
const ACCEPTED: HeaderValue = HeaderValue::from_static(
    "application/json, application/x-ndjson, application/cloudevents+json, application/cloudevents-batch+json, \
     application/cloudevents+protobuf, application/cloudevents-batch+protobuf",
);
const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");
/// Any origin, any rate: who may send is decided at each request, and how much then, too.
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Answers `OPTIONS` on a path that takes these methods.
pub(super) fn options(asked: &HeaderMap, allowed: &'static str) -> Response<Body> {
    if cors::asks(asked) {
        return cors::preflight();
    }
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    headers.insert(ALLOW, HeaderValue::from_static(allowed));
    headers.insert(ACCEPT_POST, ACCEPTED);
    if asked.contains_key(REQUEST_ORIGIN) {
        headers.insert(ALLOWED_ORIGIN, ANY);
        headers.insert(ALLOWED_RATE, ANY);
    } else {
        *response.status_mut() = StatusCode::NO_CONTENT;
    }
    response
}
