//! `POST …?dry_run=true`: what would become of a request's events, up to the record that would be produced. Nothing is
//! produced, and nothing is counted as an event.

use axum::body::Body;
use base64::Engine as _;
use http::Response;

use super::reply;
use crate::event::parse::is_json;
use crate::event::text::write_json_string;
use crate::pipeline::{Fate, Rehearsed};
use crate::problem::{Code, Problem};
use crate::route::Reason;

/// Whether a query asks for it. Any other parameter is a mistake that would else go unnoticed.
pub(super) fn is_wanted(query: Option<&str>) -> Result<bool, Problem> {
    let mut parameters = query.unwrap_or_default().split('&').filter(|parameter| !parameter.is_empty());
    parameters.try_fold(false, |wanted, parameter| match parameter {
        "dry_run" | "dry_run=true" | "dry_run=1" => Ok(true),
        "dry_run=false" | "dry_run=0" => Ok(wanted),
        _ => Err(Problem::new(Code::BadQuery, "the only query parameter here is `dry_run=true`")),
    })
}

/// The answer: of one event its fate, of a batch a list.
pub(super) fn answer(fates: &[Fate], batch: bool) -> Response<Body> {
    let mut out = Vec::with_capacity(1024);
    match (fates, batch) {
        ([Fate::Refused(problem)], false) => return reply::problem(problem),
        ([fate], false) => write_fate(&mut out, fate),
        (fates, _) => {
            out.extend_from_slice(b"{\"results\":[");
            for (index, fate) in fates.iter().enumerate() {
                out.extend_from_slice(if index > 0 { b"," } else { b"" });
                write_fate(&mut out, fate);
            }
            out.extend_from_slice(b"]}");
        }
    }
    reply::json_or_later(reply::batch_status(fates.iter().map(status)), out)
}

fn status(fate: &Fate) -> u16 {
    match fate {
        Fate::Stored(_) | Fate::DeadLettered(..) | Fate::Dropped { .. } => 200,
        Fate::Refused(problem) => problem.code.status(),
    }
}

fn write_fate(out: &mut Vec<u8>, fate: &Fate) {
    match fate {
        Fate::Stored(record) => {
            write_texts(out, &[("{\"dry_run\":true,\"outcome\"", "stored")]);
            write_record(out, record);
        }
        Fate::DeadLettered(record, Reason { plugin, code, text }) => {
            let outcome = ("{\"dry_run\":true,\"outcome\"", "dead-lettered");
            write_texts(out, &[outcome, (",\"plugin\"", plugin), (",\"code\"", code), (",\"reason\"", text)]);
            write_record(out, record);
        }
        Fate::Dropped { plugin, reason } => {
            write_texts(out, &[("{\"dry_run\":true,\"outcome\"", "dropped"), (",\"plugin\"", plugin)]);
            write_texts(out, &reason.as_deref().map_or(Vec::new(), |reason| vec![(",\"reason\"", reason)]));
        }
        Fate::Refused(problem) => return reply::write_refused(out, problem),
    }
    out.push(b'}');
}

/// The record as it would be produced, its value byte for byte if it is JSON.
fn write_record(out: &mut Vec<u8>, record: &Rehearsed) {
    write_texts(out, &[(",\"record\":{\"topic\"", &record.topic)]);
    match &record.key {
        Some(key) => write_texts(out, &[(",\"key\"", key)]),
        None => out.extend_from_slice(b",\"key\":null"),
    }
    out.extend_from_slice(b",\"headers\":{");
    for (index, (name, value)) in record.headers.iter().enumerate() {
        out.extend_from_slice(if index > 0 { b"," } else { b"" });
        write_json_string(out, name);
        out.push(b':');
        write_json_string(out, &String::from_utf8_lossy(value));
    }
    if !record.value.is_empty() && record.header("content-type").is_some_and(is_json) {
        out.extend_from_slice(b"},\"value\":");
        out.extend_from_slice(&record.value);
    } else {
        let encoded = base64::engine::general_purpose::STANDARD.encode(&record.value);
        write_texts(out, &[("},\"value_base64\"", &encoded)]);
    }
    out.push(b'}');
}

/// Members of an object: what stands before each colon, and a text.
fn write_texts(out: &mut Vec<u8>, texts: &[(&str, &str)]) {
    for (before, text) in texts {
        out.extend_from_slice(before.as_bytes());
        out.push(b':');
        write_json_string(out, text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_its_own_parameter_is_known() {
        assert_eq!(is_wanted(None), Ok(false));
        assert_eq!(is_wanted(Some("dry_run=true")), Ok(true));
        assert_eq!(is_wanted(Some("dry_run=false")), Ok(false));
        assert!(is_wanted(Some("dryrun=true")).is_err() && is_wanted(Some("dry_run=maybe")).is_err());
    }
}
