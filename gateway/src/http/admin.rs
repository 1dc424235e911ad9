//! The admin listener: alive, ready, metrics. Never on the ingest listener, never with an event in it.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse as _, Response};
use axum::{Extension, Router};
use http::{StatusCode, header};

use super::doors::{Door, Doors};
use super::gate::Gate;
use super::reply;
use crate::access::Identity;
use crate::metrics::Metrics;
use crate::problem::{Code, Problem};

/// Why the gateway is not live, or not ready; empty when it is.
pub type Reasons = Arc<dyn Fn() -> Vec<String> + Send + Sync>;

/// Brings the gauges up to date before they are rendered.
pub type Gauges = Arc<dyn Fn() + Send + Sync>;

/// The admin paths, and those of other modules.
pub fn router(
    gate: &Arc<Gate>,
    metrics: Arc<Metrics>,
    live: Reasons,
    ready: Reasons,
    gauges: Gauges,
    others: Router,
) -> Router {
    others
        .layer(middleware::from_fn(not_from_a_page))
        .merge(Doors::new(gate).open(Door::Live, health).with_state(live))
        .merge(Doors::new(gate).open(Door::Ready, health).with_state(ready))
        .merge(Doors::new(gate).open(Door::Metrics, render).with_state((Arc::clone(gate), metrics, gauges)))
        .fallback(|| async { reply::not_found() })
}

/// A page in an operator's browser may send to any address that the browser reaches; it cannot hide its origin.
async fn not_from_a_page(request: Request, next: Next) -> Response {
    if request.headers().contains_key(header::ORIGIN) {
        return reply::problem(&Problem::new(Code::Forbidden, "send it without an `origin` header"));
    }
    next.run(request).await
}

async fn health(State(reasons): State<Reasons>) -> Response {
    match reasons().as_slice() {
        [] => "ok\n".into_response(),
        reasons => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("; "))).into_response(),
    }
}

async fn render(
    State((gate, metrics, gauges)): State<(Arc<Gate>, Arc<Metrics>, Gauges)>,
    Extension(identity): Extension<Arc<Identity>>,
) -> Response {
    gauges();
    let text = metrics.render(gate.visible(&identity).as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}
