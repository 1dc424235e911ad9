//! The gRPC edge, on the connections of the HTTP one: calls to the pipeline's words and back. It decides nothing about
//! events. Messages are read by `message` and not by a server of tonic's, which would make room for a message before there is
//! a permit for it, and would want every part of a worker to be `Send`.

mod api;
mod deadline;
mod ingest;
mod lookups;
mod message;
mod reply;
mod services;
mod stream;
mod tail;

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use hyper::body::Incoming;
use tokio::sync::watch;
use tonic::Status;

use self::message::Messages;
use crate::http::body::Reader;
use crate::http::gate::Gate;
use crate::http::summary::Summary;
use crate::pipeline::Worker;
use crate::problem::Problem;
use crate::recent::Recent;

/// Whether the gateway is ready, as `/readyz` says.
#[derive(Clone)]
pub struct Ready(pub Arc<dyn Fn() -> bool + Send + Sync>);

impl fmt::Debug for Ready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ready")
    }
}

/// What a worker needs to answer the calls of its connections.
pub struct Grpc {
    /// The pipeline of this thread.
    pub worker: Rc<Worker>,
    /// Who comes in.
    pub gate: Arc<Gate>,
    /// How much may be read, and for how long.
    pub reader: Reader,
    /// The lookups of this thread.
    pub recent: Option<Recent>,
    /// The services of others; see [`services()`].
    pub services: Router,
    /// Turns true when the gateway stops; then streams end.
    pub stopping: watch::Receiver<bool>,
}

impl fmt::Debug for Grpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Grpc")
    }
}

impl Grpc {
    /// Answers one call; `request` has a content type of gRPC.
    pub async fn answer(self: Rc<Self>, request: Request<Incoming>) -> Response<Body> {
        if !is_protobuf(request.headers()) || request.method() != Method::POST {
            // As is due for what is no gRPC of ours (gRPC over HTTP/2, "Responses").
            let mut response = Response::new(Body::empty());
            *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
            return response;
        }
        let mut summary = Summary::default();
        let called = match request.uri().path() {
            "/weir.v1.Events/Publish" => self.publish(request, summary.calls("Publish")).await,
            "/weir.v1.Events/PublishStream" => self.publish_stream(request, summary.calls("PublishStream")),
            "/weir.v1.Events/GetEvent" => self.get_event(request, summary.calls("GetEvent")).await,
            "/weir.v1.Events/QueryEvents" => self.query_events(request, summary.calls("QueryEvents")).await,
            "/weir.v1.Events/TailEvents" => self.tail_events(request, summary.calls("TailEvents")).await,
            _ => return services::answer(self.services.clone(), self.stopping.clone(), request).await,
        };
        let mut response = called.unwrap_or_else(|refused| refused.into_http());
        response.extensions_mut().insert(summary);
        response
    }

    /// What a call's messages are read from.
    fn messages(&self, request: Request<Incoming>) -> Result<(Parts, Messages), Refused> {
        let (parts, body) = request.into_parts();
        let messages = Messages::new(&parts.headers, body, &self.reader)?;
        Ok((parts, messages))
    }
}

/// Health and reflection.
pub fn services(ready: Ready) -> Router {
    services::router(ready)
}

fn is_protobuf(headers: &HeaderMap) -> bool {
    let given = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let essence = given.split(';').next().unwrap_or_default().trim();
    matches!(essence, "application/grpc" | "application/grpc+proto")
}

/// Why a call is not answered with a message.
#[derive(Debug)]
enum Refused {
    /// By the table of codes.
    Problem(Problem),
    /// By gRPC's own rules.
    Status(Box<Status>),
}

impl From<Problem> for Refused {
    fn from(problem: Problem) -> Self {
        Refused::Problem(problem)
    }
}

impl Refused {
    fn into_http(self) -> Response<Body> {
        match self {
            Refused::Problem(problem) => {
                let mut response = reply::status(&problem).into_http();
                response.extensions_mut().insert(problem.code);
                response
            }
            Refused::Status(status) => status.into_http(),
        }
    }
}
