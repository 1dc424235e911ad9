//! Lookups over HTTP: query parameters to the read model's words and its answers back. It knows nothing of how
//! an answer is found or proven.

use std::future::Future;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::routing::get;
use http::{Response, StatusCode};
use serde::Deserialize;

use super::reply;
use crate::problem::{Code, Problem};
use crate::recent::{ByKey, Event, Page, Recent};

const LIMIT_DEFAULT: usize = 20;
/// Longer texts are not keys of ours.
const TEXT_BYTES_MAX: usize = 512;

/// The lookup routes; without a read model they answer `recent-disabled`.
pub fn router(recent: Option<Recent>) -> Router {
    Router::new()
        .route("/v1/events/{route}", get(by_key))
        .route("/v1/events/{route}/{id}", get(by_id))
        .route("/v1/events/{route}/at/{partition}/{offset}", get(by_position))
        .with_state(recent)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyQuery {
    key: Option<String>,
    kind: Option<String>,
    limit: Option<usize>,
    #[serde(rename = "type")]
    type_: Option<String>,
    since: Option<String>,
    until: Option<String>,
    min_position: Option<String>,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdQuery {
    source: Option<String>,
    min_position: Option<String>,
}

type Recents = State<Option<Recent>>;

async fn by_key(
    State(recent): Recents,
    route: Result<Path<String>, PathRejection>,
    query: Result<Query<KeyQuery>, QueryRejection>,
) -> Response<Body> {
    answer(async move {
        let (route, ask) = (path(route)?, ask(parameters(query)?)?);
        let page: Page = enabled(recent.as_ref())?.by_key(&route, &ask).await?;
        Ok(page.to_json())
    })
    .await
}

async fn by_id(
    State(recent): Recents,
    route: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<IdQuery>, QueryRejection>,
) -> Response<Body> {
    answer(async move {
        let ((route, id), query) = (path(route)?, parameters(query)?);
        let min_position = query.min_position.map(|text| text.parse()).transpose()?;
        let recent = enabled(recent.as_ref())?;
        let event: Event = recent.by_id(&route, &id, query.source.as_deref(), min_position).await?;
        Ok(event.to_json())
    })
    .await
}

async fn by_position(
    State(recent): Recents,
    route: Result<Path<(String, i32, i64)>, PathRejection>,
) -> Response<Body> {
    answer(async move {
        let (route, partition, offset) = path(route)?;
        if partition < 0 || offset < 0 {
            return Err(Problem::new(Code::BadQuery, "a position is /<partition>/<offset>, from 0"));
        }
        let event = enabled(recent.as_ref())?.by_position(&route, partition, offset).await?;
        Ok(event.to_json())
    })
    .await
}

async fn answer(finding: impl Future<Output = Result<Vec<u8>, Problem>>) -> Response<Body> {
    match finding.await {
        Ok(json) => reply::json(StatusCode::OK, "application/json", json),
        Err(problem) => reply::problem(&problem),
    }
}

fn enabled(recent: Option<&Recent>) -> Result<&Recent, Problem> {
    recent.ok_or_else(|| Problem::new(Code::RecentDisabled, "this gateway has no `valkey` section"))
}

fn path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    let unusable = |_| Problem::new(Code::BadQuery, "a position is /<partition>/<offset>; a path is UTF-8");
    path.map(|Path(parts)| parts).map_err(unusable)
}

fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let unusable = |rejection: QueryRejection| Problem::new(Code::BadQuery, rejection.body_text());
    query.map(|Query(query)| query).map_err(unusable)
}

fn ask(query: KeyQuery) -> Result<ByKey, Problem> {
    let bad = |detail: &'static str| Problem::new(Code::BadQuery, detail);
    let key = query.key.ok_or_else(|| bad("`key` says whose events: ?key=…, or ?kind=order&key=…"))?;
    if key.len() > TEXT_BYTES_MAX || query.kind.as_ref().is_some_and(|kind| kind.len() > TEXT_BYTES_MAX) {
        return Err(bad("a key has at most 512 bytes"));
    }
    let limit = query.limit.unwrap_or(LIMIT_DEFAULT);
    if limit == 0 {
        return Err(bad("`limit` is at least 1"));
    }
    Ok(ByKey {
        // An empty kind is no kind.
        kind: query.kind.filter(|kind| !kind.is_empty()),
        key,
        limit,
        type_: query.type_,
        since_ms: query.since.map(|text| time(&text, "since")).transpose()?,
        until_ms: query.until.map(|text| time(&text, "until")).transpose()?,
        min_position: query.min_position.map(|text| text.parse()).transpose()?,
        cursor: query.cursor,
    })
}

/// A time as RFC 3339 or as milliseconds since 1970.
fn time(text: &str, name: &str) -> Result<i64, Problem> {
    let parsed = text.parse().ok().or_else(|| Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()));
    parsed
        .ok_or_else(|| Problem::new(Code::BadQuery, format!("`{name}` is an RFC 3339 time or milliseconds")))
}
