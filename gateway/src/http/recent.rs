//! Lookups over HTTP: query parameters to the read model's words and its answers back. It knows nothing of how
//! an answer is found or proven.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::handler::Handler as _;
use http::header::{CACHE_CONTROL, ETAG, HeaderName, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Deserialize;

use super::conditional::Conditions;
use super::doors::{Door, Doors};
use super::gate::Gate;
use super::preferences::PREFERENCE_APPLIED;
use super::{reply, tail};
use crate::problem::{Code, Problem};
use crate::recent::{ById, ByKey, Event, Level, Recent};

const LIMIT_DEFAULT: usize = 20;
/// Between two looks of one that waits: whatever else is written, it is not looked for more often.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// The lookup routes; without a read model they answer `recent-disabled`.
pub fn router(gate: &Arc<Gate>, recent: Option<Recent>) -> Router {
    Doors::new(gate)
        .open(Door::GetEvents, of_route)
        .open(Door::GetEventById, by_id)
        .open(Door::GetEventAt, by_position)
        .with_state(recent)
        .fallback(|| async { reply::not_found() })
        .method_not_allowed_fallback(|| async { reply::method_not_allowed("GET, HEAD") })
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
    #[serde(default)]
    level: Level,
    cursor: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IdQuery {
    source: Option<String>,
    min_position: Option<String>,
    #[serde(default)]
    level: Level,
}

pub(super) type Recents = State<Option<Recent>>;

/// The latest events of a key, or those to come: as the client will take it.
async fn of_route(State(recent): Recents, request: Request) -> Response<Body> {
    let mut response = if tail::is_wanted(request.headers()) {
        tail::tail.call(request, recent).await
    } else {
        by_key.call(request, recent).await
    };
    response.headers_mut().insert(VARY, HeaderValue::from_static("accept"));
    response
}

async fn by_key(
    State(recent): Recents,
    headers: HeaderMap,
    route: Result<Path<String>, PathRejection>,
    query: Result<Query<KeyQuery>, QueryRejection>,
) -> Response<Body> {
    answer(async move {
        let (route, mut ask) = (path(route)?, ask(parameters(query)?)?);
        let (recent, conditions) = (enabled(recent.as_ref())?, Conditions::of(&headers));
        let until = Instant::now() + conditions.wait;
        loop {
            let next_look = Instant::now() + LOOK_PAUSE;
            let page = recent.by_key(&route, &ask).await?;
            if !conditions.knows(&page.etag) || !recent.grows(&route, &page, until).await {
                let json = (!conditions.knows(&page.etag)).then(|| page.to_json());
                return Ok(Found { json, etag: page.etag, from_log: page.from_log, wait: conditions.wait });
            }
            tokio::time::sleep_until(next_look.into()).await;
            // What has just come must be seen by the next look.
            ask.level = Level::Strong;
        }
    })
    .await
}

async fn by_id(
    State(recent): Recents,
    headers: HeaderMap,
    route: Result<Path<(String, String)>, PathRejection>,
    query: Result<Query<IdQuery>, QueryRejection>,
) -> Response<Body> {
    answer(async move {
        let ((route, id), query) = (path(route)?, parameters(query)?);
        let min_position = query.min_position.map(|text| text.parse()).transpose()?;
        let ask = ById { id, source: query.source, min_position, level: query.level };
        let event = enabled(recent.as_ref())?.by_id(&route, &ask).await?;
        Ok(Found::event(&event, &headers))
    })
    .await
}

async fn by_position(
    State(recent): Recents,
    headers: HeaderMap,
    route: Result<Path<(String, i32, i64)>, PathRejection>,
) -> Response<Body> {
    answer(async move {
        let (route, partition, offset) = path(route)?;
        if partition < 0 || offset < 0 {
            return Err(Problem::new(Code::BadQuery, "a position is /<partition>/<offset>, from 0"));
        }
        let event = enabled(recent.as_ref())?.by_position(&route, partition, offset).await?;
        Ok(Found::event(&event, &headers))
    })
    .await
}

/// What a lookup found.
struct Found {
    /// `None` if the client has it.
    json: Option<Vec<u8>>,
    etag: String,
    from_log: bool,
    /// What was granted of the wait that was asked for.
    wait: Duration,
}

impl Found {
    fn event(event: &Event, headers: &HeaderMap) -> Found {
        let etag = event.etag();
        let json = (!Conditions::of(headers).knows(&etag)).then(|| event.to_json());
        // An event does not change: there is nothing to wait for.
        Found { json, etag, from_log: event.from_log, wait: Duration::ZERO }
    }

    fn into_response(self) -> Response<Body> {
        let mut response = match self.json {
            Some(json) => reply::json(StatusCode::OK, "application/json", json),
            None => {
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                response
            }
        };
        let headers = response.headers_mut();
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(ETAG, etag);
        }
        // Whoever keeps an answer has to ask whether it still holds.
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("private, no-cache"));
        // RFC 9211: the log is what our store stands in front of.
        let status = if self.from_log { "weir; fwd=stale" } else { "weir; hit" };
        headers.insert(CACHE_STATUS, HeaderValue::from_static(status));
        let applied = HeaderValue::from_str(&format!("wait={}", self.wait.as_secs()));
        if let (Ok(applied), false) = (applied, self.wait.is_zero()) {
            headers.insert(PREFERENCE_APPLIED, applied);
        }
        response
    }
}

async fn answer(finding: impl Future<Output = Result<Found, Problem>>) -> Response<Body> {
    match finding.await {
        Ok(found) => found.into_response(),
        Err(problem) => reply::problem(&problem),
    }
}

pub(super) fn enabled(recent: Option<&Recent>) -> Result<&Recent, Problem> {
    recent.ok_or_else(|| Problem::new(Code::RecentDisabled, "this gateway has no `valkey` section"))
}

pub(super) fn path<T>(path: Result<Path<T>, PathRejection>) -> Result<T, Problem> {
    let unusable = |_| Problem::new(Code::BadQuery, "a position is /<partition>/<offset>; a path is UTF-8");
    path.map(|Path(parts)| parts).map_err(unusable)
}

pub(super) fn parameters<T>(query: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    let unusable = |rejection: QueryRejection| Problem::new(Code::BadQuery, rejection.body_text());
    query.map(|Query(query)| query).map_err(unusable)
}

fn ask(query: KeyQuery) -> Result<ByKey, Problem> {
    let bad = |detail: &'static str| Problem::new(Code::BadQuery, detail);
    let key = query.key.ok_or_else(|| bad("`key` says whose events: ?key=…, or ?kind=order&key=…"))?;
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
        level: query.level,
        cursor: query.cursor,
    })
}

/// A time as RFC 3339 or as milliseconds since 1970.
fn time(text: &str, name: &str) -> Result<i64, Problem> {
    let parsed = text.parse().ok().or_else(|| Some(text.parse::<jiff::Timestamp>().ok()?.as_millisecond()));
    parsed
        .ok_or_else(|| Problem::new(Code::BadQuery, format!("`{name}` is an RFC 3339 time or milliseconds")))
}
