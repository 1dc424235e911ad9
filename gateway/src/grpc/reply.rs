//! Words for the caller: results, and statuses with their details. The table of codes lives in [`crate::problem`]; here it
//! only gets its form in gRPC.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use bytes::{BufMut as _, Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};
use prost::Message;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

use super::api;
use crate::pipeline::{Answer, Ending, Receipt, Share};
use crate::problem::{self, Problem, Violation};

/// Details travel as a header, of which clients take 8 KiB in all; in base64 this becomes a third more.
const VIOLATIONS_BYTES_MAX: usize = 4 << 10;
const DOMAIN: &str = "weir";

/// The status of a call that ended with a problem.
pub(super) fn status(problem: &Problem) -> Status {
    let code = problem.code;
    let mut metadata = HashMap::from([("outcome".to_owned(), code.outcome().told().to_owned())]);
    if let Some(window_start) = &problem.window_start {
        metadata.insert("window_start".to_owned(), window_start.to_string());
    }
    let mut details = ErrorDetails::new();
    details.set_error_info(code.name(), DOMAIN, metadata);
    let mut violations = within(&problem.violations).map(|violation| {
        let Violation { pointer, keyword, detail } = violation.clone();
        FieldViolation { reason: keyword, ..FieldViolation::new(pointer, detail) }
    });
    if let Some(first) = violations.next() {
        details.set_bad_request([first].into_iter().chain(violations).collect::<Vec<_>>());
    }
    if let Some(seconds) = problem.retry_after_s() {
        details.set_retry_info(Some(Duration::from_secs(seconds)));
    }
    Status::with_error_details(grpc(problem), problem.detail.as_ref(), details)
}

fn grpc(problem: &Problem) -> Code {
    Code::from_i32(problem.code.grpc() as i32)
}

/// As many violations as a header has room for.
fn within(violations: &[Violation]) -> impl Iterator<Item = &Violation> {
    let mut bytes = 0;
    violations.iter().take_while(move |violation| {
        bytes += violation.pointer.len() + violation.keyword.len() + violation.detail.len();
        bytes <= VIOLATIONS_BYTES_MAX
    })
}

/// The answer of a call that has one message.
pub(super) fn message(message: &impl Message) -> Response<Body> {
    let trailers = trailers(&Status::ok(""));
    let body = Full::new(framed(message)).with_trailers(async { Some(Ok::<_, Infallible>(trailers)) });
    response(Body::new(body))
}

/// What ends an answer that has messages.
pub(super) fn trailers(status: &Status) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    if status.add_header(&mut trailers).is_err() {
        // Only a text of ours that is no header could be why.
        trailers.insert("grpc-status", HeaderValue::from(Code::Internal as i32));
    }
    trailers
}

/// The status of what ends because the gateway does.
pub(super) fn shutting_down() -> Status {
    status(&Problem::new(problem::Code::ShuttingDown, "go on with another gateway"))
}

/// The head of an answer, whose status comes at its end.
pub(super) fn response(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// A message and its prefix.
pub(super) fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut out = BytesMut::with_capacity(5 + length);
    out.put_u8(0);
    // Answers are in proportion to requests, which are far smaller than 4 GiB.
    out.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    message.encode(&mut out).expect("there is room for it");
    out.freeze()
}

/// One result for each event, in order.
pub(super) fn results(answer: &Answer) -> Vec<api::Result> {
    let mut plugins = Plugins::default();
    let result = |(share, ending): (Option<&Share>, &Ending)| {
        use api::result::End;
        let end = match ending {
            Ending::Stored(receipt) => End::Receipt(self::receipt(share, receipt, "stored", &mut plugins)),
            Ending::DeadLettered(receipt, reason) => {
                let receipt = self::receipt(share, receipt, "dead-lettered", &mut plugins);
                let reason = api::Reason {
                    plugin: reason.plugin.to_string(),
                    code: reason.code.to_string(),
                    text: reason.text.to_string(),
                };
                End::Receipt(api::Receipt { reason: Some(reason), ..receipt })
            }
            Ending::Dropped(dropped) => End::Receipt(api::Receipt {
                id: dropped.id.to_string(),
                route: share.map(|share| share.route.name.to_string()).unwrap_or_default(),
                outcome: "dropped".to_owned(),
                reason: Some(api::Reason {
                    plugin: dropped.plugin.to_string(),
                    code: String::new(),
                    text: dropped.reason.as_deref().unwrap_or_default().to_owned(),
                }),
                ..api::Receipt::default()
            }),
            Ending::Refused(refused) => End::Problem(problem(refused)),
        };
        api::Result { end: Some(end) }
    };
    answer.each().map(result).collect()
}

fn receipt(share: Option<&Share>, receipt: &Receipt, outcome: &str, plugins: &mut Plugins) -> api::Receipt {
    // What has a receipt has been taken by a route.
    let Some(Share { route, common }) = share else { return api::Receipt::default() };
    let [id, source, event_type] = receipt.attributes(common).map(str::to_owned);
    let schema = receipt.schema(common);
    api::Receipt {
        id,
        source,
        r#type: event_type,
        route: route.name.to_string(),
        outcome: outcome.to_owned(),
        duplicate: false,
        topic: receipt.topic(common).to_owned(),
        partition: receipt.partition,
        offset: receipt.offset,
        key: receipt.partition_key(common).map(str::to_owned),
        schema: schema
            .map(|schema| api::Schema { subject: schema.subject().to_string(), version: schema.version() }),
        plugins: plugins.of(receipt.plugins(common)),
        reason: None,
    }
}

/// A problem within a batch.
pub(super) fn problem(problem: &Problem) -> api::Problem {
    let code = problem.code;
    let violation = |violation: &Violation| {
        let Violation { pointer, keyword, detail } = violation.clone();
        api::Violation { pointer, keyword, detail }
    };
    api::Problem {
        status: code.grpc() as i32,
        code: code.name().to_owned(),
        outcome: code.outcome().told().to_owned(),
        detail: problem.detail.to_string(),
        violations: problem.violations.iter().map(violation).collect(),
        retryable: code.retryable(),
    }
}

/// The plugins of receipts, which are the same for nearly all of a request.
#[derive(Default)]
struct Plugins {
    json: String,
    read: Vec<api::Plugin>,
}

#[derive(serde::Deserialize)]
struct Plugin {
    name: String,
    version: String,
    digest: String,
}

impl Plugins {
    fn of(&mut self, json: &str) -> Vec<api::Plugin> {
        if self.json != json {
            // We wrote it ourselves.
            let read: Vec<Plugin> = serde_json::from_str(json).unwrap_or_default();
            self.read = read
                .into_iter()
                .map(|Plugin { name, version, digest }| api::Plugin { name, version, digest })
                .collect();
            json.clone_into(&mut self.json);
        }
        self.read.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    #[test]
    fn a_status_carries_its_details() {
        let violation = Violation { pointer: "/a".into(), keyword: "type".into(), detail: "integer".into() };
        let refused = Problem::new(Code::SchemaViolation, "no").with_violations(vec![violation]);
        let status = status(&refused);
        let details = status.get_error_details();
        let info = details.error_info().expect("it has one");
        assert_eq!(
            (status.code(), info.reason.as_str(), info.domain.as_str()),
            (tonic::Code::InvalidArgument, "schema-violation", "weir")
        );
        assert_eq!(info.metadata.get("outcome").map(String::as_str), Some("refused"));
        let field = &details.bad_request().expect("it has one").field_violations[0];
        assert_eq!((field.field.as_str(), field.reason.as_str()), ("/a", "type"));
        assert!(details.retry_info().is_none());

        let unknown = super::status(&Problem::new(Code::DeliveryUnknown, "again"));
        let details = unknown.get_error_details();
        assert_eq!(unknown.code(), tonic::Code::DeadlineExceeded);
        assert_eq!(
            details.error_info().and_then(|info| info.metadata.get("outcome")).map(String::as_str),
            Some("unknown")
        );
        assert!(details.retry_info().is_some() && details.bad_request().is_none());
    }

    #[test]
    fn no_status_is_larger_than_a_clients_headers() {
        let long = Violation { pointer: "/".repeat(300), keyword: "k".into(), detail: "d".repeat(300) };
        let refused = Problem::new(Code::SchemaViolation, "no").with_violations(vec![long; 20]);
        let status = status(&refused);
        assert!(!status.get_error_details().bad_request().expect("some").field_violations.is_empty());
        assert!(status.details().len() < 6 << 10, "{}", status.details().len());
    }
}
