//! Pages in browsers (Fetch §3.2): whether a route lets a page's origin read its answers, and what the browser asks
//! before it sends. Who may send at all is not decided here: a browser keeps a page from reading, nothing else.

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};

use super::gate::Gate;

const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
const HEADERS: HeaderValue = HeaderValue::from_static(
    "authorization, x-api-key, content-type, content-encoding, accept, prefer, if-none-match, last-event-id, \
     traceparent, tracestate, ce-specversion, ce-id, ce-source, ce-type, ce-subject, ce-time, ce-dataschema",
);
const EXPOSED: HeaderValue = HeaderValue::from_static(
    "retry-after, etag, cache-status, preference-applied, ratelimit, ratelimit-policy",
);
/// A day, in seconds; browsers cut it to what they like.
const MAX_AGE_S: HeaderValue = HeaderValue::from_static("86400");

/// The origin of the page that a request comes from, if the route in its path lets that page read the answer.
pub(super) fn reader<B>(gate: &Gate, request: &Request<B>) -> Option<HeaderValue> {
    let origin = request.headers().get(ORIGIN)?;
    let route = request.uri().path().strip_prefix("/v1/events/")?.split('/').next()?;
    let browser = &gate.route(route)?.browser;
    origin.to_str().is_ok_and(|text| browser.allows(text)).then(|| origin.clone())
}

/// Whether a browser asks what it may send.
pub(super) fn asks(headers: &HeaderMap) -> bool {
    headers.contains_key(ORIGIN) && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// What a browser is told that asks first. Only with [`allow`] does it mean yes.
pub(super) fn preflight() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let told = [
        (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
        (ACCESS_CONTROL_ALLOW_HEADERS, HEADERS),
        (ACCESS_CONTROL_MAX_AGE, MAX_AGE_S),
    ];
    response.headers_mut().extend(told);
    response
}

/// Lets the page read the answer.
pub(super) fn allow(response: &mut Response<Body>, origin: HeaderValue) {
    let headers = response.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
    headers.append(VARY, HeaderValue::from_static("origin"));
}
