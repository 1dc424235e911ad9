//! `POST /v1/events/{route}` and `POST /v1/events`: a request becomes the pipeline's request, and the
//! pipeline's answer a response. What a content type means is decided here, what an event is not.

use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request, Response};
use hyper::body::Incoming;

use super::body::discard;
use super::gate::{Entry, without_credentials};
use super::{Edge, reply};
use crate::event::frame::Framing;
use crate::event::parse::is_json;
use crate::pipeline::{self, Shape};
use crate::problem::{Code, Problem};

/// Answers one ingest request on the worker that accepted its connection. `route` is the path's last part.
pub async fn ingest(edge: &Edge, route: Option<&str>, request: Request<Incoming>) -> Response<Body> {
    match accept(edge, route, request).await {
        Ok(answer) => reply::answer(&answer),
        Err(problem) => reply::problem(&problem),
    }
}

async fn accept(
    edge: &Edge,
    route: Option<&str>,
    request: Request<Incoming>,
) -> Result<pipeline::Answer, Problem> {
    let (mut parts, body) = request.into_parts();
    let entry = edge.gate.enter(route, &parts.headers);
    let announced = entry.and_then(|entry| Ok((shape(&parts.headers, entry.route.is_some())?, entry)));
    let ((shape, framing), Entry { sender, route }) = match announced {
        Ok(announced) => announced,
        Err(problem) => {
            discard(&parts.headers, body).await;
            return Err(problem);
        }
    };
    let (body, permit) = edge.reader.read(&parts.headers, body).await?;
    without_credentials(&mut parts.headers);
    let headers = parts.headers;
    edge.worker.run(pipeline::Request { sender, route, shape, framing, headers, body, permit }).await
}

/// What a content type announces. The batch prefix comes first: it starts with the structured one.
fn shape(headers: &HeaderMap, has_route: bool) -> Result<(Shape, Framing), Problem> {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let refused = |detail: &'static str| Err(Problem::new(Code::UnsupportedMediaType, detail));
    if !charset_is_utf8(given) {
        return refused("JSON is UTF-8: leave the charset away");
    }
    match essence.as_str() {
        "application/cloudevents+json" => Ok((Shape::Structured, Framing::Single)),
        other if other.starts_with("application/cloudevents") => {
            refused("of CloudEvents, this gateway takes application/cloudevents+json")
        }
        _ if !has_route => {
            refused("send application/cloudevents+json here, or plain JSON to /v1/events/{route}")
        }
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
            Ok((Shape::Plain, Framing::Ndjson))
        }
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
        shape(&headers, has_route).ok()
    }

    #[test]
    fn content_types_say_what_a_body_is() {
        let structured = Some((Shape::Structured, Framing::Single));
        let json = Some((Shape::Plain, Framing::Json));
        assert_eq!(read("application/cloudevents+json; charset=utf-8", false), structured);
        assert_eq!(read("Application/JSON", true), json);
        assert_eq!(read("application/vnd.github+json", true), json);
        assert_eq!(read("application/x-ndjson", true), Some((Shape::Plain, Framing::Ndjson)));
        let refused =
            ["application/x-www-form-urlencoded", "application/cloudevents-batch+json", "text/plain", ""];
        assert!(refused.iter().all(|content_type| read(content_type, true).is_none()));
        assert_eq!(read("application/json", false), None);
        assert_eq!(read("application/json; charset=utf-16", true), None);
    }
}
