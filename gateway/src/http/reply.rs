//! Words for the client: receipts, problems, and the status of a batch. The table of codes lives in
//! [`crate::problem`]; here it only gets its wire form (RFC 9457 and design of receipts in `README.md`).

use axum::body::Body;
use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, ALLOW, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderName, HeaderValue, Response, StatusCode};

use super::decompress;
use super::preferences::PREFERENCE_APPLIED;
use crate::admission::Quota;
use crate::event::text::write_json_string;
use crate::pipeline::{Answer, Ending, Receipt, Share};
use crate::problem::{Code, Problem, some_seconds};

/// The fields of draft-ietf-httpapi-ratelimit-headers.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

const BEARER: HeaderValue = HeaderValue::from_static("Bearer");
const SIGNATURE: HeaderValue = HeaderValue::from_static("HMAC-SHA256");

/// The answer to an ingest request.
pub fn answer(answer: &Answer) -> Response<Body> {
    let mut out = Vec::with_capacity(512 * answer.endings.len().max(1));
    match (answer.batch, answer.endings.as_slice()) {
        (false, [Ending::Refused(refused)]) => return problem(refused),
        (false, [_]) => answer.each().for_each(|(share, ending)| write_ending(&mut out, share, ending)),
        _ => {
            out.extend_from_slice(b"{\"results\":[");
            for (index, (share, ending)) in answer.each().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_ending(&mut out, share, ending);
            }
            out.extend_from_slice(b"]}");
        }
    }
    json_or_later(status(answer), out)
}

/// A body of JSON that, under a status of failure, says when to come again.
pub(super) fn json_or_later(status: StatusCode, body: Vec<u8>) -> Response<Body> {
    let mut response = json(status, "application/json", body);
    if status.is_server_error() {
        response.headers_mut().insert(RETRY_AFTER, some_seconds().into());
    }
    response
}

/// The same answer, with what its sender's tenant may send and what of it is left.
pub(super) fn with_quota(mut response: Response<Body>, quota: &Quota) -> Response<Body> {
    for (name, value) in [(RATE_LIMIT_POLICY, quota.policy()), (RATE_LIMIT, &quota.left())] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}

/// The answer to a client that wants no receipts, if all ended well (RFC 7240 §4.2).
pub fn minimal(answer: &Answer) -> Option<Response<Body>> {
    if answer.endings.iter().any(|ending| ending_status(ending) >= 300) {
        return None;
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response.headers_mut().insert(PREFERENCE_APPLIED, HeaderValue::from_static("return=minimal"));
    Some(response)
}

/// One line for each event.
pub fn lines(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::with_capacity(512 * answer.endings.len());
    for (share, ending) in answer.each() {
        write_ending(&mut out, share, ending);
        out.push(b'\n');
    }
    out
}

/// So many lines that all say the same.
pub fn refused_lines(problem: &Problem, lines: usize) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    write_refused(&mut line, problem);
    line.push(b'\n');
    line.repeat(lines)
}

fn status(answer: &Answer) -> StatusCode {
    match answer.endings.as_slice() {
        [ending] if !answer.batch => {
            StatusCode::from_u16(ending_status(ending)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
        }
        endings => batch_status(endings.iter().map(ending_status)),
    }
}

/// An error that answers a whole request.
pub fn problem(problem: &Problem) -> Response<Body> {
    let mut out = Vec::with_capacity(256);
    write_problem(&mut out, problem);
    let status = StatusCode::from_u16(problem.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = json(status, "application/problem+json", out);
    // For whoever tells of it; it does not go out.
    response.extensions_mut().insert(problem.code);
    if let Some(seconds) = problem.retry_after_s() {
        response.headers_mut().insert(RETRY_AFTER, seconds.into());
    }
    // RFC 9110 §11.6.1 asks for a challenge with every 401; for signatures nobody has registered one.
    match problem.code {
        Code::Unauthorized => drop(response.headers_mut().insert(WWW_AUTHENTICATE, BEARER)),
        Code::BadSignature => drop(response.headers_mut().insert(WWW_AUTHENTICATE, SIGNATURE)),
        _ => {}
    }
    if problem.code == Code::UnsupportedEncoding {
        // RFC 9110 §15.5.16: so that a client knows that it is not about the media type.
        response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static(decompress::ACCEPTED));
    }
    response
}

/// A body of JSON under a status.
pub fn json(status: StatusCode, content_type: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

fn ending_status(ending: &Ending) -> u16 {
    match ending {
        Ending::Stored(_) => 201,
        Ending::Dropped(_) | Ending::DeadLettered(..) => 200,
        Ending::Refused(problem) => problem.code.status(),
    }
}

/// 200 if all ended well, 207 if some did; else the one status they share, 422 if all are the client's
/// fault, 503 otherwise.
pub fn batch_status(statuses: impl Iterator<Item = u16> + Clone) -> StatusCode {
    let well = |status: u16| status < 300;
    let shared = |first: &u16| statuses.clone().all(|status| status == *first);
    let status = if statuses.clone().all(well) {
        200
    } else if statuses.clone().any(well) {
        207
    } else if let Some(shared) = statuses.clone().next().filter(shared) {
        shared
    } else if statuses.clone().all(|status| status < 500) {
        422
    } else {
        503
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

fn write_ending(out: &mut Vec<u8>, share: Option<&Share>, ending: &Ending) {
    match (ending, share) {
        (Ending::Stored(receipt), Some(share)) => {
            write_receipt(out, share, receipt);
            out.extend_from_slice(b",\"outcome\":\"stored\",\"duplicate\":false}");
        }
        (Ending::DeadLettered(receipt, reason), Some(share)) => {
            write_receipt(out, share, receipt);
            out.extend_from_slice(b",\"outcome\":\"dead-lettered\"");
            let texts = [("plugin", &*reason.plugin), ("code", reason.code), ("reason", &*reason.text)];
            for (name, text) in texts {
                out.extend_from_slice(b",\"");
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(b"\":");
                write_json_string(out, text);
            }
            out.push(b'}');
        }
        (Ending::Dropped(dropped), Some(share)) => {
            out.extend_from_slice(b"{\"id\":");
            write_json_string(out, &dropped.id);
            out.extend_from_slice(b",\"route\":");
            write_json_string(out, &share.route.name);
            out.extend_from_slice(b",\"outcome\":\"dropped\",\"plugin\":");
            write_json_string(out, &dropped.plugin);
            if let Some(reason) = &dropped.reason {
                out.extend_from_slice(b",\"reason\":");
                write_json_string(out, reason);
            }
            out.push(b'}');
        }
        (Ending::Refused(problem), _) => write_refused(out, problem),
        // No such ending is made without a route.
        (_, None) => write_refused(out, &Problem::new(Code::Internal, "an event ended without a route")),
    }
}

/// An event that was refused, in its place among the others.
pub fn write_refused(out: &mut Vec<u8>, problem: &Problem) {
    out.extend_from_slice(b"{\"problem\":");
    write_problem(out, problem);
    out.push(b'}');
}

/// A receipt but for its outcome.
fn write_receipt(out: &mut Vec<u8>, share: &Share, receipt: &Receipt) {
    let mut number = itoa::Buffer::new();
    let [id, source, event_type] = receipt.attributes(&share.common);
    let texts = [
        ("{\"id\":", id),
        (",\"source\":", source),
        (",\"type\":", event_type),
        (",\"route\":", &share.route.name),
        (",\"topic\":", receipt.topic(&share.common)),
    ];
    for (name, text) in texts {
        out.extend_from_slice(name.as_bytes());
        write_json_string(out, text);
    }
    out.extend_from_slice(b",\"partition\":");
    out.extend_from_slice(number.format(receipt.partition).as_bytes());
    out.extend_from_slice(b",\"offset\":");
    match receipt.offset {
        Some(offset) => out.extend_from_slice(number.format(offset).as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"key\":");
    match receipt.partition_key(&share.common) {
        Some(key) => write_json_string(out, key),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"schema\":");
    match receipt.schema(&share.common) {
        Some(schema) => out.extend_from_slice(schema.receipt().as_bytes()),
        None => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"plugins\":");
    out.extend_from_slice(receipt.plugins(&share.common).as_bytes());
}

fn write_problem(out: &mut Vec<u8>, problem: &Problem) {
    let code = problem.code;
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(b"{\"type\":\"/problems/");
    out.extend_from_slice(code.name().as_bytes());
    out.extend_from_slice(b"\",\"title\":");
    write_json_string(out, code.title());
    out.extend_from_slice(b",\"status\":");
    out.extend_from_slice(number.format(code.status()).as_bytes());
    out.extend_from_slice(b",\"detail\":");
    write_json_string(out, &problem.detail);
    for (name, text) in [(",\"code\":", code.name()), (",\"outcome\":", code.outcome().told())] {
        out.extend_from_slice(name.as_bytes());
        write_json_string(out, text);
    }
    if !problem.violations.is_empty() {
        out.extend_from_slice(b",\"errors\":");
        serde_json::to_writer(&mut *out, &problem.violations).expect("a Vec takes every write");
    }
    if let Some(window_start) = &problem.window_start {
        out.extend_from_slice(b",\"window_start\":");
        write_json_string(out, window_start);
    }
    out.push(b'}');
}

/// The answer to a path that does not exist.
pub fn not_found() -> Response<Body> {
    problem(&Problem::new(Code::NotFound, "see README.md for the paths"))
}

/// The answer to a path that does not take the method; `allow` lists those that it takes (RFC 9110 §15.5.6).
pub fn method_not_allowed(allow: &'static str) -> Response<Body> {
    let mut response = problem(&Problem::new(Code::MethodNotAllowed, format!("allowed: {allow}")));
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_has_one_status() {
        let (bad, too_large) = (Code::SchemaViolation, Code::EventTooLarge);
        let cases: [(&[Code], u16); 5] = [
            (&[], 200),
            (&[bad, bad], 422),
            (&[too_large, too_large], 413),
            (&[bad, too_large], 422),
            (&[bad, Code::KafkaUnavailable], 503),
        ];
        for (codes, status) in cases {
            let statuses = codes.iter().map(|code| code.status());
            assert_eq!(batch_status(statuses).as_u16(), status, "{codes:?}");
        }
    }
}
