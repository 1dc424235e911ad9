//! NDJSON in, NDJSON out: a body of any length, answered line by line while it is still being sent
//! (`Accept: application/x-ndjson`). What has come by the time the last lines are answered is the next piece, so order
//! holds and no more is in the house than a piece.
//!
//! A stream of a tenant that sends too much waits until its next lines are due. Its client is still there and sends no
//! faster than we read, so waiting costs it nothing; lines refused would only come again.

use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use futures_util::FutureExt as _;
use futures_util::stream;
use http::header::{CACHE_CONTROL, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Response};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};

use super::Edge;
use super::body::{discard, overloaded};
use super::lasting::Lasting;
use super::preferences::asks_for;
use super::reply;
use crate::access::Identity;
use crate::admission::Quota;
use crate::event::budget::Permit;
use crate::event::frame::Framing;
use crate::pipeline::{Paid, Request, Shape, Worker};
use crate::problem::{Code, Problem};
use crate::route::Route;
use crate::traces::Span;

/// A piece ends at so many bytes, if one of its lines does.
const PIECE_BYTES: usize = 256 << 10;
/// A piece ends at so many lines.
const PIECE_LINES: usize = 4096;
const NDJSON: &str = "application/x-ndjson";

/// Whether a request wants its lines answered one by one. A compressed body is read whole.
pub(super) fn are_wanted(headers: &HeaderMap) -> bool {
    asks_for(headers, NDJSON) && !headers.contains_key(CONTENT_ENCODING)
}

/// Answers each line of a body with a line. `request` is what all its pieces have in common.
pub(super) fn answer(
    edge: &Edge,
    request: Request,
    body: Incoming,
    quota: Option<Arc<Quota>>,
) -> Response<Body> {
    let (out, answered) = mpsc::channel(1);
    let Request { sender, route, shape, headers, permit, paid, span, .. } = request;
    let template = Template { sender, route, shape, headers, paid, span, quota };
    let source = Source {
        body,
        held: BytesMut::new(),
        permit,
        line_bytes_max: edge.worker.limits().event_bytes_max,
        quiet_timeout: edge.reader.quiet_timeout,
        ended: false,
        stopping: edge.stopping.clone(),
    };
    drop(tokio::task::spawn_local(work(Rc::clone(&edge.worker), template, source, out)));
    let pieces = stream::unfold(answered, |mut answered| async move {
        answered.recv().await.map(|piece: Bytes| (Ok::<_, Infallible>(piece), answered))
    });
    let mut response = Response::new(Body::from_stream(pieces));
    response.extensions_mut().insert(Lasting(edge.stopping.clone()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(NDJSON));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// What the pieces of one request have in common.
struct Template {
    sender: Arc<Identity>,
    route: Option<Arc<Route>>,
    shape: Shape,
    headers: HeaderMap,
    paid: Paid,
    span: Option<Arc<Span>>,
    quota: Option<Arc<Quota>>,
}

/// Piece after piece, until the body ends or nobody listens any more.
async fn work(worker: Rc<Worker>, template: Template, mut source: Source, out: mpsc::Sender<Bytes>) {
    loop {
        match source.piece().await {
            Ok(Some((body, permit))) => {
                if let Some(quota) = &template.quota {
                    let wait = quota.reserve(lines(&body), body.len());
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        _ = source.stopping.wait_for(|stop| *stop) => {}
                        () = out.closed() => return,
                    }
                }
                let text = settle(&worker, &template, body, permit).await;
                if out.send(text.into()).await.is_err() {
                    return;
                }
            }
            Ok(None) => return,
            Err(problem) => {
                // The answer ends when the client has sent all, or had its time: else it may never see it.
                drop(out.send(reply::refused_lines(&problem, 1).into()).await);
                return discard(&template.headers, source.body).await;
            }
        }
    }
}

/// The lines that answer a piece.
async fn settle(worker: &Rc<Worker>, template: &Template, body: Bytes, permit: Permit) -> Vec<u8> {
    let lines = lines(&body);
    let request = Request {
        sender: Arc::clone(&template.sender),
        route: template.route.clone(),
        shape: template.shape,
        framing: Framing::Ndjson,
        strict: false,
        headers: template.headers.clone(),
        body,
        permit,
        paid: template.paid,
        span: template.span.clone(),
    };
    match worker.run(request).await {
        Ok(answer) => reply::lines(&answer),
        Err(problem) => reply::refused_lines(&problem, lines),
    }
}

/// How many lines hold something.
fn lines(body: &[u8]) -> usize {
    body.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace)).count()
}

/// A body on its way in.
struct Source {
    body: Incoming,
    /// What has come and is not part of a piece yet.
    held: BytesMut,
    /// For what is held.
    permit: Permit,
    line_bytes_max: usize,
    /// A client that has nothing to send for so long sends an empty line, or comes again.
    quiet_timeout: Duration,
    ended: bool,
    stopping: watch::Receiver<bool>,
}

impl Source {
    /// The next whole lines; `None` at the end. What has come already is taken with them, up to the bounds.
    async fn piece(&mut self) -> Result<Option<(Bytes, Permit)>, Problem> {
        while !self.ended {
            if memchr::memchr(b'\n', &self.held).is_none() {
                if self.held.len() > self.line_bytes_max {
                    let detail = format!("an event may have at most {} bytes", self.line_bytes_max);
                    return Err(Problem::new(Code::EventTooLarge, detail));
                }
                self.read().await?;
            } else if self.held.len() < PIECE_BYTES
                && let Some(read) = self.read().now_or_never()
            {
                read?;
            } else {
                break;
            }
        }
        let cut = cut(&self.held, self.ended);
        let body = self.held.split_to(cut).freeze();
        let permit = self.permit.split(2 * body.len());
        Ok((!body.is_empty()).then_some((body, permit)))
    }

    /// One more frame of the body; its end, if the gateway stops.
    async fn read(&mut self) -> Result<(), Problem> {
        let frame = tokio::select! {
            biased;
            _ = self.stopping.wait_for(|stop| *stop) => None,
            frame = tokio::time::timeout(self.quiet_timeout, self.body.frame()) => frame.map_err(|_| {
                let detail = format!("send a line, be it empty, every {} ms", self.quiet_timeout.as_millis());
                Problem::new(Code::BodyTimeout, detail)
            })?,
        };
        let Some(frame) = frame else {
            self.ended = true;
            return Ok(());
        };
        let incomplete = |_| Problem::new(Code::BodyIncomplete, "the connection ended inside the body");
        if let Ok(data) = frame.map_err(incomplete)?.into_data() {
            if !self.permit.grow(2 * data.len()) {
                return Err(overloaded());
            }
            self.held.extend_from_slice(&data);
        }
        Ok(())
    }
}

/// Where a piece ends: behind its last whole line, or behind what will not grow any more.
fn cut(held: &[u8], ended: bool) -> usize {
    let mut ends = memchr::memchr_iter(b'\n', held).map(|end| end + 1);
    let full = ends.clone().take(PIECE_LINES).last().unwrap_or(0);
    let more = ends.nth(PIECE_LINES).is_some();
    if ended && !more { held.len() } else { full }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_end_behind_lines() {
        assert_eq!(cut(b"1\n2\n3", false), 4);
        assert_eq!(cut(b"1\n2\n3", true), 5);
        assert_eq!(cut(b"123", false), 0);
        let many = "1\n".repeat(PIECE_LINES + 2);
        assert_eq!(cut(many.as_bytes(), true), 2 * PIECE_LINES);
        assert_eq!(lines(b"1\n \r\n2\n3"), 3);
    }
}
