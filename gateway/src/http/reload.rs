//! Reading the config again, on the admin listener: what changed, or why all stays as it is.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use futures_util::future::BoxFuture;
use http::{Response, StatusCode};

use super::doors::{Door, Doors};
use super::gate::Gate;
use super::reply;
use crate::problem::Problem;

/// Has the config read again; the keys under which it changed. The edge does not know how.
pub type Reload = Arc<dyn Fn() -> BoxFuture<'static, Result<Vec<&'static str>, Problem>> + Send + Sync>;

/// The path `/admin/v1/reload`.
pub fn router(gate: &Arc<Gate>, reload: Reload) -> Router {
    Doors::new(gate).open(Door::Reload, answer).with_state(reload)
}

async fn answer(State(reload): State<Reload>) -> Response<Body> {
    match reload().await {
        Ok(changed) => {
            let body = serde_json::json!({"changed": changed}).to_string();
            reply::json(StatusCode::OK, "application/json", body.into())
        }
        Err(problem) => reply::problem(&problem),
    }
}
