//! One connection, from its first byte to its end: HTTP/1 or HTTP/2, told apart by the first bytes or, under TLS, by what
//! its handshake agreed on (ALPN), with a time limit on every wait. It knows nothing of what is answered.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use futures_util::TryFutureExt as _;
use http::{Request, Response};
use hyper::body::Incoming;

use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::Watcher;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::Limits;
use super::head::{Heard, unfinished};
use super::lasting::Activity;
use super::tls::{Secured, Tls};

/// The largest header block, in bytes.
const HEADERS_BYTES_MAX: u32 = 32 << 10;
/// What one HTTP/1 connection buffers, in bytes: a header block, or a piece of a body.
const BUFFER_BYTES_MAX: usize = 128 << 10;
/// Requests at once on one HTTP/2 connection.
const STREAMS_MAX: u32 = 256;
/// Streams that were reset before we looked at them. Past it the connection ends (CVE-2023-44487, rapid reset).
const RESET_BY_PEER_MAX: usize = 20;
/// Streams that we had to reset. Past it the connection ends (CVE-2025-8671, "made you reset"): an honest client
/// resets none, and hyper's default of 1 024 is as many requests that nobody waits for.
const RESET_BY_US_MAX: usize = 64;
/// Of one answer, what waits for the client's window: hyper's 400 KiB times the streams would be 100 MiB for a client
/// that never opens it.
const SEND_BYTES_MAX: usize = 64 << 10;

/// Serves a connection until either side ends it or a shutdown lets it finish its requests.
/// Must run inside a `LocalSet`.
pub async fn serve<F, A>(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    answer: F,
    limits: Limits,
    shutdown: Watcher,
) where
    F: Fn(Request<Incoming>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + 'static,
{
    let first = Duration::from_millis(limits.header_timeout_ms);
    if let Some(tls) = tls {
        // Boxed, so that a connection without TLS does not carry its size along.
        Box::pin(serve_secured(stream, &tls, answer, limits, shutdown)).await;
    } else if let Ok(Ok(h2)) = tokio::time::timeout(first, prefers_h2(&stream)).await {
        let activity = Arc::new(Activity::default());
        let heard = Heard::new(stream, Arc::clone(&activity));
        converse(heard, h2, activity, answer, limits, shutdown).await;
    }
}

/// The same after a handshake, with the names of the client's certificate at hand in each request.
async fn serve_secured<F, A>(stream: TcpStream, tls: &Tls, answer: F, limits: Limits, shutdown: Watcher)
where
    F: Fn(Request<Incoming>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + 'static,
{
    let activity = Arc::new(Activity::default());
    let heard = Heard::new(stream, Arc::clone(&activity));
    let limit = Duration::from_millis(limits.header_timeout_ms);
    let Some(Secured { stream, h2, names }) = tls.accept(heard, limit).await else { return };
    activity.spoke();
    let answer = move |mut request: Request<Incoming>| {
        if let Some(names) = &names {
            request.extensions_mut().insert(Arc::clone(names));
        }
        answer(request)
    };
    converse(stream, h2, activity, answer, limits, shutdown).await;
}

/// Answers the requests of a connection that is ready for them.
async fn converse<I, F, A>(
    stream: I,
    h2: bool,
    activity: Arc<Activity>,
    answer: F,
    limits: Limits,
    shutdown: Watcher,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    F: Fn(Request<Incoming>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + 'static,
{
    let service = service_fn({
        let activity = Arc::clone(&activity);
        move |request| {
            activity.begin();
            let activity = Arc::clone(&activity);
            answer(request).map_ok(move |response| activity.watch(!h2, response))
        }
    });
    let idle = Duration::from_millis(limits.idle_timeout_ms);
    let served = if h2 {
        let mut builder = http2::Builder::new(LocalExecutor);
        builder.timer(TokioTimer::new());
        builder.max_concurrent_streams(STREAMS_MAX).max_header_list_size(HEADERS_BYTES_MAX);
        builder.max_pending_accept_reset_streams(RESET_BY_PEER_MAX);
        builder.max_local_error_reset_streams(RESET_BY_US_MAX).max_send_buf_size(SEND_BYTES_MAX);
        // A client that is gone without a word answers no PING.
        builder.keep_alive_interval(idle / 4).keep_alive_timeout(idle / 4);
        let served = builder.serve_connection(TokioIo::new(stream), service);
        until_idle(shutdown.watch(served), idle, &activity, pending()).await
    } else {
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX).writev(false);
        builder.max_header_size(HEADERS_BYTES_MAX as usize);
        let served = builder.serve_connection(TokioIo::new(stream), service);
        let slow = unfinished(&activity, Duration::from_millis(limits.header_timeout_ms));
        until_idle(shutdown.watch(served), idle, &activity, slow).await
    };
    if let Err(error) = served {
        tracing::debug!(%error, "connection ended");
    }
}

/// Serves until no request has begun for so long, or for up to twice as long. hyper's own limit is a timer set
/// anew for each request; here a request only leaves word that it was there, and a lasting answer that it waits.
/// Any other answer takes less than `idle`, its own limits see to that. It also ends with `slow`.
async fn until_idle<C>(
    connection: C,
    idle: Duration,
    activity: &Activity,
    slow: impl Future<Output = ()>,
) -> Result<(), hyper::Error>
where
    C: Future<Output = Result<(), hyper::Error>>,
{
    let (mut connection, mut given_up, mut slow) = (pin!(connection), pin!(activity.given_up()), pin!(slow));
    loop {
        tokio::select! {
            biased;
            served = &mut connection => return served,
            () = &mut given_up => return Ok(()),
            () = &mut slow => return Ok(()),
            () = tokio::time::sleep(idle) => if activity.was_idle() { return Ok(()) },
        }
    }
}

/// Waits for the first bytes: an HTTP/2 client with prior knowledge starts with `PRI * HTTP/2.0` (RFC 9113
/// §3.4), and no HTTP/1 method starts with `PRI`.
async fn prefers_h2(stream: &TcpStream) -> io::Result<bool> {
    let mut start = [0; 3];
    loop {
        let read = stream.peek(&mut start).await?;
        let seen = start.get(..read).unwrap_or_default();
        if seen.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if !b"PRI".starts_with(seen) {
            return Ok(false);
        }
        if seen.len() == start.len() {
            return Ok(true);
        }
        // A peek does not wait for more than it has; a lone `P` is rare enough to look again later.
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Runs the streams of an HTTP/2 connection on their worker.
#[derive(Clone, Copy, Debug)]
struct LocalExecutor;

impl<F> hyper::rt::Executor<F> for LocalExecutor
where
    F: Future + 'static,
{
    fn execute(&self, future: F) {
        drop(tokio::task::spawn_local(async move {
            drop(future.await);
        }));
    }
}
