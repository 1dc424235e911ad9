//! What operators ask of the read model, and order it to do: where it stands, what it hides, hide this, begin anew.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use http::{Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::doors::{Door, Doors};
use super::gate::Gate;
use super::recent::{Recents, enabled, parameters, path};
use super::reply;
use crate::problem::{Code, Problem};
use crate::recent::{Order, Positions, Recent, Target};

/// The most facts one answer lists.
const FACTS_MAX: usize = 1000;

/// The paths below `/admin/v1/recent`.
pub fn router(gate: &Arc<Gate>, recent: Option<Recent>) -> Router {
    Doors::new(gate)
        .open(Door::RecentStatus, status)
        .open(Door::ListInvalidations, invalidations)
        .open(Door::Invalidate, invalidate)
        .open(Door::Rebuild, rebuild)
        .with_state(recent)
}

async fn status(State(recent): Recents) -> Response<Body> {
    let answer = async { Ok(json!({"partitions": enabled(recent.as_ref())?.status().await})) };
    respond(answer.await)
}

async fn invalidations(State(recent): Recents, route: Result<Path<String>, PathRejection>) -> Response<Body> {
    let answer = || {
        let facts = enabled(recent.as_ref())?.invalidations(&path(route)?, FACTS_MAX)?;
        Ok(json!({"invalidations": facts}))
    };
    respond(answer())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OrderQuery {
    key: Option<String>,
    kind: Option<String>,
    id: Option<String>,
    source: Option<String>,
    partition: Option<i32>,
    plugin: Option<String>,
    schema: Option<String>,
    from: Option<String>,
    #[serde(default)]
    why: String,
}

async fn invalidate(
    State(recent): Recents,
    route: Result<Path<String>, PathRejection>,
    query: Result<Query<OrderQuery>, QueryRejection>,
) -> Response<Body> {
    let answer = async {
        let (route, order) = (path(route)?, order(parameters(query)?)?);
        let done = enabled(recent.as_ref())?.invalidate(&route, order).await?;
        Ok(serde_json::to_value(done).expect("it is JSON"))
    };
    respond(answer.await)
}

fn order(query: OrderQuery) -> Result<Order, Problem> {
    let bad = |detail: &'static str| Problem::new(Code::BadQuery, detail);
    let mut targets = [
        query.key.map(|key| Target::Key { kind: query.kind.clone().filter(|kind| !kind.is_empty()), key }),
        query.id.map(|id| Target::Id { source: query.source.clone(), id }),
        query.partition.map(Target::Partition),
        query.plugin.map(Target::Plugin),
        query.schema.map(Target::Schema),
    ]
    .into_iter()
    .flatten();
    let (Some(target), None) = (targets.next(), targets.next()) else {
        return Err(bad("say exactly one of `key`, `id`, `partition`, `plugin` and `schema`"));
    };
    if query.kind.is_some() && !matches!(target, Target::Key { .. })
        || query.source.is_some() && !matches!(target, Target::Id { .. })
    {
        return Err(bad("`kind` goes with `key`, and `source` with `id`"));
    }
    let from: Option<Positions> = query.from.map(|text| text.parse()).transpose()?;
    if from.is_some() && matches!(target, Target::Key { .. } | Target::Id { .. }) {
        return Err(bad("`from` goes with `partition`, `plugin` and `schema`"));
    }
    Ok(Order { target, from: from.unwrap_or_default(), why: query.why })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RebuildQuery {
    partition: Option<i32>,
}

async fn rebuild(
    State(recent): Recents,
    route: Result<Path<String>, PathRejection>,
    query: Result<Query<RebuildQuery>, QueryRejection>,
) -> Response<Body> {
    let answer = async {
        let (route, query) = (path(route)?, parameters(query)?);
        let partitions = enabled(recent.as_ref())?.rebuild(&route, query.partition).await?;
        Ok(json!({"partitions": partitions}))
    };
    respond(answer.await)
}

fn respond(answer: Result<Value, Problem>) -> Response<Body> {
    match answer {
        Ok(json) => reply::json(StatusCode::OK, "application/json", json.to_string().into_bytes()),
        Err(problem) => reply::problem(&problem),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Order, Problem> {
        let uri = format!("http://x/?{query}").parse().expect("a URI");
        let Query(query) = Query::<OrderQuery>::try_from_uri(&uri).expect("parameters");
        order(query)
    }

    #[test]
    fn an_order_names_one_target() {
        let key = |kind: Option<&str>| Target::Key { kind: kind.map(str::to_owned), key: "u".to_owned() };
        assert_eq!(asked("key=u&why=gone").expect("an order").target, key(None));
        assert_eq!(asked("key=u&kind=order").expect("an order").target, key(Some("order")));
        assert_eq!(asked("partition=3&from=3:7").expect("an order").from.of(3), Some(7));
        for bad in ["", "key=u&id=e", "id=e&kind=k", "key=u&source=s", "key=u&from=0:1", "plugin=p&from=x"] {
            assert_eq!(asked(bad).expect_err(bad).code, Code::BadQuery, "{bad}");
        }
    }
}
