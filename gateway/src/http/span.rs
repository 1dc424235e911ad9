//! What the span of a request tells: in the words of OpenTelemetry's semantic conventions for HTTP and RPC, of a server.
//! Paths are told as in the table of doors, never as they were asked for.

use std::time::Duration;

use axum::body::Body;
use http::{Response, Version};

use super::summary::{Head, Summary, code};
use crate::access::{Identity, Tenant};
use crate::problem::Code;
use crate::traces::{Span, number, text};

/// Ends the span of a request that is answered.
pub(super) fn end(span: &Span, head: &Head, summary: &Summary, response: &Response<Body>, took: Duration) {
    let (code, status) = (code(response), response.status().as_u16());
    let mut attributes = vec![
        text("http.request.method", head.method),
        number("http.response.status_code", status.into()),
        text("network.protocol.version", version(head.version)),
    ];
    let path = summary.door.map(|door| door.path()).filter(|_| summary.call.is_none());
    let tenant = summary.who.as_deref().and_then(Identity::tenant).map(Tenant::name);
    let known = [
        ("http.route", path),
        ("weir.route", summary.route.as_deref().map(|route| &*route.name)),
        ("weir.tenant", tenant),
        ("error.type", code.map(Code::name)),
    ];
    attributes.extend(known.into_iter().filter_map(|(name, value)| Some(text(name, value?))));
    let counted = [("http.request.body.size", summary.announced), ("weir.events", summary.events)];
    attributes.extend(counted.into_iter().filter_map(|(name, value)| Some(number(name, value?))));
    let name = match (summary.call, path) {
        (Some(method), _) => {
            let status = code.map_or(0, |code| code.grpc() as usize);
            attributes.extend([
                text("rpc.system", "grpc"),
                text("rpc.service", "weir.v1.Events"),
                text("rpc.method", method),
                number("rpc.grpc.status_code", status),
            ]);
            format!("weir.v1.Events/{method}")
        }
        (None, Some(path)) => format!("{} {path}", head.method),
        (None, None) => head.method.to_owned(),
    };
    // What is the client's fault is no error of a server.
    let failed = status >= 500 || code.is_some_and(|code| code.status() >= 500);
    span.end(name, took, attributes, failed);
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        _ => "2",
    }
}
