//! The HTTP edge: bytes of a request to the pipeline's words and back. It decides nothing about events.

pub mod access_log;
pub mod admin;
pub mod audit;
pub mod body;
pub mod connection;
pub mod docs;
pub mod doors;
pub mod gate;
pub mod ingest;
pub mod plugins;
pub mod recent;
pub mod recent_admin;
pub mod reload;
pub mod reply;
mod span;
pub mod summary;
pub mod tls;
pub mod workers;

mod addresses;
mod conditional;
mod cors;
pub(crate) mod decompress;
mod dry_run;
mod head;
pub(crate) mod lasting;
mod lines;
mod options;
mod preferences;
mod tail;

use std::convert::Infallible;
use std::fmt;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Body;
use futures_util::future::LocalBoxFuture;
use http::{Request, Response, Version, header};
use hyper::body::Incoming;
use tokio::sync::watch;
use tower::ServiceExt as _;

use self::access_log::AccessLog;
use self::body::Reader;
use self::doors::{Door, Listener};
use self::gate::Gate;
use self::lasting::Lasting;
use self::summary::{Head, Summary};
use crate::access::Action;
use crate::metrics::{Kind, Metrics, Stage};
use crate::pipeline::Worker;
use crate::problem::{Code, Problem};
use crate::traces::Traces;

/// Bounds on connections and requests; each is a limit, not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one request's body.
    pub batch_bytes_max: usize,
    /// Open connections; past it new ones wait in the kernel's backlog.
    pub connections_max: usize,
    /// Of them, those of one address; past it new ones are closed.
    pub connections_per_address_max: usize,
    /// From a connection's first byte until it is told to end, give or take a tenth.
    pub connection_age_max_ms: u64,
    /// From the accepted connection to its first byte.
    pub header_timeout_ms: u64,
    /// From the end of the headers to the end of the body.
    pub body_timeout_ms: u64,
    /// Between two requests of a connection: never closed before, at the latest after twice as long.
    pub idle_timeout_ms: u64,
    /// From SIGTERM to exit.
    pub shutdown_timeout_ms: u64,
}

/// The longest request target, in bytes.
const URI_BYTES_MAX: usize = 8192;

/// What a worker needs to answer the requests of its connections.
#[derive(Debug)]
pub struct Edge {
    /// The pipeline of this thread.
    pub worker: Rc<Worker>,
    /// Who comes in.
    pub gate: Arc<Gate>,
    /// The reader of bodies.
    pub reader: Reader,
    /// Everything that is not an ingest.
    pub lookups: Router,
    /// Whoever answers calls of gRPC.
    pub rpc: Rpc,
    /// Where answers are counted.
    pub metrics: Arc<Metrics>,
    /// Where requests are told of.
    pub log: AccessLog,
    /// Which of them are traced.
    pub traces: Traces,
    /// Turns true when the gateway stops.
    pub stopping: watch::Receiver<bool>,
    /// Bounds on its connections.
    pub limits: Limits,
}

/// Answers requests with a content type of gRPC. The edge does not know how.
pub struct Rpc(pub Box<dyn Fn(Request<Incoming>) -> LocalBoxFuture<'static, Response<Body>>>);

impl fmt::Debug for Rpc {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Rpc")
    }
}

impl Edge {
    /// Answers one request.
    pub async fn answer(
        self: Rc<Self>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let begun = Instant::now();
        let (head, mut summary) = (Head::of(&request), Summary::default());
        let span = self.traces.begin(head.traceparent());
        if let Some(span) = &span {
            request.extensions_mut().insert(Arc::clone(span));
        }
        let reader = cors::reader(&self.gate, &request);
        let mut response = if request
            .uri()
            .path_and_query()
            .is_some_and(|target| target.as_str().len() > URI_BYTES_MAX)
        {
            reply::problem(&Problem::new(Code::UriTooLong, "a request target may have at most 8192 bytes"))
        } else {
            self.dispatch(request, &mut summary).await
        };
        if let Some(origin) = reader {
            cors::allow(&mut response, origin);
        }
        self.metrics.answered(response.status().as_u16());
        // Whoever answered behind the router, or over gRPC, left it there.
        let summary = response.extensions_mut().remove().unwrap_or(summary);
        let now = Instant::now();
        self.log.answered(&head, &summary, &response, (begun, now));
        self.measure(&summary, &response, now - begun);
        if let Some(span) = span {
            span::end(&span, &head, &summary, &response, now - begun);
        }
        Ok(response)
    }

    fn measure(&self, summary: &Summary, response: &Response<Body>, took: Duration) {
        let kind = match summary.door.map(Door::action) {
            Some(Action::Ingest) => Kind::Ingest,
            Some(Action::Lookup) => Kind::Lookup,
            _ => return,
        };
        // What lasts is hardly answered when its head is.
        if response.extensions().get::<Lasting>().is_none() {
            let metrics = self.worker.metrics_of(summary.route.as_ref());
            metrics.answered(kind, took);
            summary.read.iter().for_each(|read| metrics.took(Stage::Body, *read));
        }
    }

    async fn dispatch(&self, request: Request<Incoming>, summary: &mut Summary) -> Response<Body> {
        if is_grpc(&request) {
            return (self.rpc.0)(request).await;
        }
        let path = request.uri().path();
        let rest = path.strip_prefix("/v1/events").and_then(|rest| match rest {
            "" => Some(None),
            _ => rest.strip_prefix('/').filter(|name| !name.is_empty() && !name.contains('/')).map(Some),
        });
        let table = rest.map(|name| name.map_or("/v1/events", |_| "/v1/events/{route}"));
        let door = table.and_then(|path| Door::at(Listener::Public, request.method(), path));
        summary.door = door;
        match (door, rest) {
            (Some(Door::PostCloudEvent | Door::PostEvents), Some(name)) => {
                let name = name.map(str::to_owned);
                ingest::ingest(self, name.as_deref(), request, summary).await
            }
            (Some(Door::AskCloudEvent | Door::AskEvents), Some(name)) => {
                options::options(request.headers(), methods(name))
            }
            (Some(_), _) | (_, None) => {
                // Boxed, so that the frequent path does not carry its size along.
                let Ok(response) = Box::pin(self.lookups.clone().oneshot(request.map(Body::new))).await;
                response
            }
            (_, Some(name)) => reply::method_not_allowed(methods(name)),
        }
    }
}

/// gRPC needs HTTP/2, and says what it is.
fn is_grpc(request: &Request<Incoming>) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    request.version() == Version::HTTP_2
        && content_type.is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
}

/// What an ingest path takes, with a route's name or without.
fn methods(name: Option<&str>) -> &'static str {
    if name.is_some() { "GET, POST, OPTIONS" } else { "POST, OPTIONS" }
}
