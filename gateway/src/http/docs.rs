//! What the public listener takes and answers: as OpenAPI 3.1, made from the tables of doors and codes, and as a page
//! for people. The page asks for nothing outside, and is told to ask for nothing.

mod openapi;

use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::response::IntoResponse;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_SECURITY_POLICY, CONTENT_TYPE};

use super::doors::{Door, Doors};
use super::gate::Gate;

/// `RapiDoc` 9.3.8 (MIT), as its npm package has it.
const VIEWER: &[u8] = include_bytes!("docs/rapidoc-min.js.gz");
const PAGE: &str = include_str!("docs/page.html");
/// Scripts and requests from here only; the viewer makes its own styles.
const POLICY: &str = "default-src 'none'; script-src 'self'; connect-src 'self'; style-src 'unsafe-inline'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const A_DAY: &str = "max-age=86400";

/// The page and what it shows.
pub fn router(gate: &Arc<Gate>) -> Router {
    Doors::new(gate)
        .open(Door::OpenApi, document)
        .open(Door::Docs, page)
        .open(Door::DocsViewer, viewer)
        .with_state(())
}

async fn document() -> impl IntoResponse {
    static TEXT: OnceLock<String> = OnceLock::new();
    let text = TEXT.get_or_init(|| openapi::document().to_string()).as_str();
    ([(CONTENT_TYPE, "application/json")], text)
}

async fn page() -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/html; charset=utf-8"), (CONTENT_SECURITY_POLICY, POLICY)], PAGE)
}

async fn viewer() -> impl IntoResponse {
    let headers = [(CONTENT_TYPE, "text/javascript"), (CONTENT_ENCODING, "gzip"), (CACHE_CONTROL, A_DAY)];
    (headers, VIEWER)
}
