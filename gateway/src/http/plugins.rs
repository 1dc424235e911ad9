//! Plugin versions, on the admin listener: what there is, another one in, another one in force, back again.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::BytesRejection;
use axum::extract::{DefaultBodyLimit, Path, Query, State};
use axum::handler::Handler as _;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use super::doors::{Door, Doors};
use super::gate::Gate;
use super::reply;
use crate::pipeline::Shared;
use crate::plugin::{VersionDescription, VersionError};
use crate::problem::{Code, Problem};

/// The paths below `/admin/v1/plugins`. A version has at most so many bytes.
pub fn router(gate: &Arc<Gate>, shared: Arc<Shared>, bytes_max: usize) -> Router {
    Doors::new(gate)
        .open(Door::ListPlugins, list)
        .open(Door::AddVersion, add.layer(DefaultBodyLimit::max(bytes_max)))
        .open(Door::ActivateVersion, activate)
        .open(Door::RollBackVersion, roll_back)
        .open(Door::BeginShadow, shadow)
        .open(Door::EndShadow, end_shadow)
        .with_state(shared)
}

/// How a version may come into force.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Wish {
    /// At once, if it is well.
    activate: bool,
    /// Although events may move to other partitions.
    allow_key_changes: bool,
}

/// Which version is to be in force.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Choice {
    /// SHA-256 of its file, in hex.
    digest: String,
    #[serde(default)]
    allow_key_changes: bool,
}

/// Which version is to run in the shadow.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct InShadow {
    /// SHA-256 of its file, in hex.
    digest: String,
    /// One request in so many.
    #[serde(default = "ten")]
    every: u32,
}

fn ten() -> u32 {
    10
}

async fn list(State(shared): State<Arc<Shared>>) -> Response {
    let (plugins, routes_aside) = (shared.plugins.list(), shared.plugins.aside());
    json(StatusCode::OK, &serde_json::json!({"plugins": plugins, "routes_aside": routes_aside}))
}

async fn add(
    State(shared): State<Arc<Shared>>,
    Path(plugin): Path<String>,
    Query(wish): Query<Wish>,
    file: Result<Bytes, BytesRejection>,
) -> Response {
    let file = match file {
        Ok(file) => file,
        Err(rejection) => {
            let too_large = rejection.status() == StatusCode::PAYLOAD_TOO_LARGE;
            let code = if too_large { Code::BodyTooLarge } else { Code::BodyTimeout };
            let detail =
                "the file has more bytes than `plugin_limits.artifact_bytes_max`, or did not come whole";
            return reply::problem(&Problem::new(code, detail));
        }
    };
    off_the_runtime(StatusCode::CREATED, move || {
        let versions = &shared.plugins;
        let staged = versions.stage(&plugin, &file)?;
        match wish.activate {
            true => versions.activate(&plugin, &staged.digest, wish.allow_key_changes),
            false => Ok(staged),
        }
    })
    .await
}

async fn activate(State(shared): State<Arc<Shared>>, Path(plugin): Path<String>, body: Bytes) -> Response {
    with_choice(&body, move |Choice { digest, allow_key_changes }| {
        shared.plugins.activate(&plugin, bare(&digest), allow_key_changes)
    })
    .await
}

async fn shadow(State(shared): State<Arc<Shared>>, Path(plugin): Path<String>, body: Bytes) -> Response {
    with_choice(&body, move |InShadow { digest, every }| shared.plugins.shadow(&plugin, bare(&digest), every))
        .await
}

async fn end_shadow(State(shared): State<Arc<Shared>>, Path(plugin): Path<String>) -> Response {
    match shared.plugins.end_shadow(&plugin) {
        Ok(()) => list(State(shared)).await,
        Err(error) => reply::problem(&Problem::new(error.code(), error.to_string())),
    }
}

/// Does what a body of JSON asks for.
async fn with_choice<T: serde::de::DeserializeOwned + Send + 'static>(
    body: &[u8],
    work: impl FnOnce(T) -> Result<VersionDescription, VersionError> + Send + 'static,
) -> Response {
    match serde_json::from_slice(body) {
        Ok(choice) => off_the_runtime(StatusCode::OK, move || work(choice)).await,
        Err(error) => {
            let detail = format!("send {{\"digest\": \"…\"}}: {error}");
            reply::problem(&Problem::new(Code::InvalidJson, detail))
        }
    }
}

/// A digest without its algorithm.
fn bare(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

async fn roll_back(
    State(shared): State<Arc<Shared>>,
    Path(plugin): Path<String>,
    Query(wish): Query<Wish>,
) -> Response {
    off_the_runtime(StatusCode::OK, move || shared.plugins.roll_back(&plugin, wish.allow_key_changes)).await
}

fn json(status: StatusCode, value: &impl serde::Serialize) -> Response {
    let body = serde_json::to_vec(value).expect("plain values have a JSON form");
    reply::json(status, "application/json", body)
}

/// Compiling takes seconds, and a lock may be held as long.
async fn off_the_runtime(
    status: StatusCode,
    work: impl FnOnce() -> Result<VersionDescription, VersionError> + Send + 'static,
) -> Response {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(description)) => json(status, &description),
        Ok(Err(error)) => {
            tracing::warn!(%error, "a plugin version is not taken");
            reply::problem(&Problem::new(error.code(), error.to_string()))
        }
        Err(_) => reply::problem(&Problem::new(Code::Internal, "the version could not be judged")),
    }
}
