//! `POST /v1/events/{route}` and `POST /v1/events`: a request becomes the pipeline's request, and the
//! pipeline's answer a response. What a content type means is decided here, what an event is not.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response};
use hyper::body::Incoming;

use super::body::{announced_bytes, discard, overloaded};
use super::gate::{Caller, Entry, Gate, without_credentials};
use super::preferences::{PREFERENCE_APPLIED, preference};
use super::summary::Summary;
use super::{Edge, dry_run, lines, reply};
use crate::admission::Quota;
use crate::event::binary::is_binary;
use crate::event::budget::Permit;
use crate::event::frame::Framing;
use crate::event::parse::is_json;
use crate::pipeline::{Paid, Request, Shape};
use crate::problem::{Code, Problem};
use crate::route::Browser;

/// Answers one ingest request on the worker that accepted its connection. `route` is the path's last part.
pub async fn ingest(
    edge: &Edge,
    route: Option<&str>,
    request: http::Request<Incoming>,
    summary: &mut Summary,
) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let asked = match Asked::of(&edge.gate, route, &parts, summary) {
        Ok(asked) => asked,
        Err(problem) => {
            summary.route = route.and_then(|path| edge.gate.route(path)).cloned();
            discard(&parts.headers, body).await;
            return reply::problem(&problem);
        }
    };
    let Some(quota) = edge.gate.quota(&asked.entry) else {
        let answer = accept(edge, asked, None, (parts, body), summary).await;
        return answer.unwrap_or_else(|problem| reply::problem(&problem));
    };
    let answer = accept(edge, asked, Some(quota), (parts, body), summary).await;
    reply::with_quota(answer.unwrap_or_else(|problem| reply::problem(&problem)), quota)
}

/// What a request asks for, before its body is read.
struct Asked {
    entry: Entry,
    shape: Shape,
    framing: Framing,
    dry_run: bool,
    strict: bool,
}

impl Asked {
    fn of(gate: &Gate, route: Option<&str>, parts: &Parts, summary: &mut Summary) -> Result<Self, Problem> {
        let entry = gate.enter(route, Caller::of(parts))?;
        summary.entered(&entry);
        let (shape, framing) = shape(&parts.headers, entry.route.as_deref().map(|route| &route.browser))?;
        let dry_run = dry_run::is_wanted(parts.uri.query())?;
        let strict = preference(&parts.headers, "handling") == Some("strict");
        Ok(Asked { entry, shape, framing, dry_run, strict })
    }

    fn request(self, head: Parts, (body, permit): (Bytes, Permit), paid: Paid) -> Request {
        let Parts { mut headers, mut extensions, .. } = head;
        without_credentials(&mut headers);
        let Asked { entry: Entry { sender, route, .. }, shape, framing, strict, .. } = self;
        let span = extensions.remove();
        Request { sender, route, shape, framing, strict, headers, body, permit, paid, span }
    }
}

async fn accept(
    edge: &Edge,
    asked: Asked,
    quota: Option<&Arc<Quota>>,
    (parts, body): (Parts, Incoming),
    summary: &mut Summary,
) -> Result<Response<Body>, Problem> {
    let (framing, dry_run, strict) = (asked.framing, asked.dry_run, asked.strict);
    summary.announced = announced_bytes(&parts.headers);
    // A signature is over the whole body: nothing of it is an event before.
    let piecemeal = framing == Framing::Ndjson && !dry_run && !strict && !asked.entry.is_signed();
    if piecemeal && lines::are_wanted(&parts.headers) {
        let permit = edge.reader.budget.permit(0).ok_or_else(overloaded)?;
        let request = asked.request(parts, (Bytes::new(), permit), Paid::All);
        return Ok(lines::answer(edge, request, body, quota.cloned()));
    }
    // What is too large for anybody is the reader's to refuse.
    let announced = summary.announced.filter(|bytes| *bytes <= edge.reader.body_bytes_max);
    let pay = |bytes| quota.map_or(Ok(()), |quota| quota.bytes(bytes));
    if let Err(problem) = announced.map_or(Ok(()), pay) {
        discard(&parts.headers, body).await;
        return Err(problem);
    }
    let judge = |body: &[u8]| {
        edge.gate.verify(&asked.entry, &parts.headers, body)?;
        if announced.is_none() { pay(body.len()) } else { Ok(()) }
    };
    let begun = Instant::now();
    let read = edge.reader.read(&parts.headers, body, judge).await?;
    summary.read = Some(begun.elapsed());
    let minimal = preference(&parts.headers, "return") == Some("minimal");
    let paid = if quota.is_some() { Paid::Bytes } else { Paid::Nothing };
    let request = asked.request(parts, read, paid);
    if dry_run {
        let (fates, batch) = Box::pin(edge.worker.rehearse(request)).await?;
        return Ok(dry_run::answer(&fates, batch));
    }
    let answer = edge.worker.run(request).await?;
    summary.settled(&answer);
    let short = minimal.then(|| reply::minimal(&answer)).flatten();
    let mut response = short.unwrap_or_else(|| reply::answer(&answer));
    if strict {
        response.headers_mut().append(PREFERENCE_APPLIED, HeaderValue::from_static("handling=strict"));
    }
    Ok(response)
}

/// What the headers announce, to a route that lets these pages in, or to none. The batch prefix comes first: it starts
/// with the structured one (CloudEvents 1.0.2, HTTP §3).
fn shape(headers: &HeaderMap, route: Option<&Browser>) -> Result<(Shape, Framing), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let refused = |detail: &'static str| Err(Problem::new(Code::UnsupportedMediaType, detail));
    if !essence.starts_with("application/cloudevents") && is_binary(headers) {
        return Ok((Shape::Binary, Framing::Single));
    }
    if !charset_is_utf8(given) {
        return refused("JSON is UTF-8: leave the charset away");
    }
    match essence.as_str() {
        "application/cloudevents-batch+json" => Ok((Shape::Structured, Framing::Batch)),
        "application/cloudevents+json" => Ok((Shape::Structured, Framing::Single)),
        "application/cloudevents-batch+protobuf" => Ok((Shape::Protobuf, Framing::Protobuf)),
        "application/cloudevents+protobuf" => Ok((Shape::Protobuf, Framing::Single)),
        other if other.starts_with("application/cloudevents") => {
            refused("of CloudEvents, this gateway takes the JSON and protobuf formats, and batches of them")
        }
        _ if route.is_none() => {
            refused("send CloudEvents here, in any mode, or plain JSON to /v1/events/{route}")
        }
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            Ok((Shape::Plain, Framing::Ndjson))
        }
        "text/plain" if route.is_some_and(|browser| browser.beacon) => Ok((Shape::Plain, Framing::Json)),
        other if is_json(other) => Ok((Shape::Plain, Framing::Json)),
        _ => refused(
            "send content-type: application/json, application/x-ndjson or application/cloudevents+json",
        ),
    }
}

fn charset_is_utf8(content_type: &str) -> bool {
    let charset = content_type.split(';').skip(1).find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("charset").then(|| value.trim_matches('"'))
    });
    charset.is_none_or(|charset| charset.eq_ignore_ascii_case("utf-8"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content_type: &str, has_route: bool) -> Option<(Shape, Framing)> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, content_type.parse().expect("a header value"));
        let browser = Browser { beacon: content_type.starts_with("text/plain;"), ..Browser::default() };
        shape(&headers, has_route.then_some(&browser)).ok()
    }

    #[test]
    fn content_types_say_what_a_body_is() {
        let structured = Some((Shape::Structured, Framing::Single));
        let json = Some((Shape::Plain, Framing::Json));
        assert_eq!(read("application/cloudevents+json; charset=utf-8", false), structured);
        assert_eq!(read("Application/JSON", true), json);
        assert_eq!(read("application/vnd.github+json", true), json);
        assert_eq!(read("application/x-ndjson", true), Some((Shape::Plain, Framing::Ndjson)));
        let batch = Some((Shape::Structured, Framing::Batch));
        assert_eq!(read("application/cloudevents-batch+json; charset=UTF-8", false), batch);
        let protobuf = Some((Shape::Protobuf, Framing::Single));
        assert_eq!(read("application/cloudevents+protobuf", false), protobuf);
        let refused = ["application/x-www-form-urlencoded", "application/cloudevents+xml", "text/plain", ""];
        assert!(refused.iter().all(|content_type| read(content_type, true).is_none()));
        assert_eq!(read("text/plain;charset=UTF-8", true), json, "what a beacon is, where it may");
        assert_eq!(read("application/json", false), None);
        assert_eq!(read("application/json; charset=utf-16", true), None);
        let mut headers = HeaderMap::new();
        headers.insert("ce-id", http::HeaderValue::from_static("1"));
        assert_eq!(shape(&headers, None).ok(), Some((Shape::Binary, Framing::Single)));
    }
}
