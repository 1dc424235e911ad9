//! One connection, from its first byte to its end: HTTP/1 or HTTP/2, told apart by the first bytes or, under TLS, by what
//! its handshake agreed on (ALPN), with a time limit on every wait. It knows nothing of what is answered.

use std::convert::Infallible;
use std::future::pending;
use std::hash::{BuildHasher as _, RandomState};
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
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite, Interest};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Limits;
use super::head::{Heard, unfinished};
use super::lasting::Activity;
use super::tls::{Secured, Tls};
use crate::metrics::Closed;

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

/// Serves a connection until either side ends it: we do so once `leave` turns true or it is old, and it finishes its
/// requests then. Says why, if it was us. Must run inside a `LocalSet`.
pub async fn serve<F, A>(
    stream: TcpStream,
    tls: Option<Arc<Tls>>,
    answer: F,
    limits: Limits,
    leave: watch::Receiver<bool>,
) -> Option<Closed>
where
    F: Fn(Request<Incoming>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + 'static,
{
    let first = Duration::from_millis(limits.header_timeout_ms);
    if let Some(tls) = tls {
        // Boxed, so that a connection without TLS does not carry its size along.
        return Box::pin(serve_secured(stream, &tls, answer, limits, leave)).await;
    }
    let Ok(preferred) = tokio::time::timeout(first, prefers_h2(&stream)).await else {
        return Some(Closed::Head);
    };
    let activity = Arc::new(Activity::default());
    let heard = Heard::new(stream, Arc::clone(&activity));
    converse(heard, preferred.ok()?, activity, answer, limits, leave).await
}

/// The same after a handshake, with the names of the client's certificate at hand in each request.
async fn serve_secured<F, A>(
    stream: TcpStream,
    tls: &Tls,
    answer: F,
    limits: Limits,
    leave: watch::Receiver<bool>,
) -> Option<Closed>
where
    F: Fn(Request<Incoming>) -> A + 'static,
    A: Future<Output = Result<Response<Body>, Infallible>> + 'static,
{
    let activity = Arc::new(Activity::default());
    let heard = Heard::new(stream, Arc::clone(&activity));
    let limit = Duration::from_millis(limits.header_timeout_ms);
    let Secured { stream, h2, names } = tls.accept(heard, limit).await?;
    activity.spoke();
    let answer = move |mut request: Request<Incoming>| {
        if let Some(names) = &names {
            request.extensions_mut().insert(Arc::clone(names));
        }
        answer(request)
    };
    converse(stream, h2, activity, answer, limits, leave).await
}

/// Answers the requests of a connection that is ready for them.
async fn converse<I, F, A>(
    stream: I,
    h2: bool,
    activity: Arc<Activity>,
    answer: F,
    limits: Limits,
    leave: watch::Receiver<bool>,
) -> Option<Closed>
where
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
        drive(served, h2, leave, limits, &activity, pending()).await
    } else {
        let mut builder = http1::Builder::new();
        builder.header_read_timeout(None).max_buf_size(BUFFER_BYTES_MAX).writev(false);
        builder.max_header_size(HEADERS_BYTES_MAX as usize);
        let served = builder.serve_connection(TokioIo::new(stream), service);
        let slow = unfinished(&activity, Duration::from_millis(limits.header_timeout_ms));
        drive(served, h2, leave, limits, &activity, slow).await
    };
    served.unwrap_or_else(|error| {
        tracing::debug!(%error, "connection ended");
        None
    })
}

/// Serves until the connection has ended, and ends it when it is due; says why, then.
///
/// Idle is one where no request has begun for so long, or for up to twice as long. hyper's own limit is a timer set anew
/// for each request; here a request only leaves word that it was there, and a lasting answer that it waits. Any other
/// answer takes less than that, its own limits see to it. So one that is told to end for its age and begins no other
/// request has that long for those it has, and a lasting answer goes on to its own end. It also ends with `slow`.
async fn drive<C>(
    connection: C,
    h2: bool,
    mut leave: watch::Receiver<bool>,
    limits: Limits,
    activity: &Activity,
    slow: impl Future<Output = ()>,
) -> Result<Option<Closed>, hyper::Error>
where
    C: GracefulConnection<Error = hyper::Error>,
{
    let (mut connection, mut given_up, mut slow) = (pin!(connection), pin!(activity.given_up()), pin!(slow));
    let mut leave = pin!(leave.wait_for(|leave| *leave));
    let idle = Duration::from_millis(limits.idle_timeout_ms);
    let age = spread(Duration::from_millis(limits.connection_age_max_ms), RandomState::new().hash_one(()));
    let begun = Instant::now();
    let (mut left, mut look, mut retires) = (false, begun + idle, Some(begun + age));
    let mut why = None;
    loop {
        let next = retires.map_or(look, |at| at.min(look));
        tokio::select! {
            biased;
            served = &mut connection => return served.map(|()| why),
            () = &mut given_up => return Ok(why),
            () = &mut slow => return Ok(Some(Closed::Head)),
            _ = &mut leave, if !left => {
                left = true;
                connection.as_mut().graceful_shutdown();
            }
            () = sleep_until(next) => if retires == Some(next) {
                (retires, why) = (None, Some(Closed::Age));
                // HTTP/2 has a word that no request gets lost over: GOAWAY (RFC 9113 §6.8).
                if h2 { connection.as_mut().graceful_shutdown() } else { activity.retire() }
            } else if activity.was_idle() {
                return Ok(why.or(Some(Closed::Idle)));
            } else {
                look = next + idle;
            }
        }
    }
}

/// An age within a tenth of this, by chance: what began together does not end together.
fn spread(age: Duration, chance: u64) -> Duration {
    const PARTS: u32 = 1000;
    let parts = u32::try_from(chance % u64::from(PARTS / 5 + 1)).unwrap_or_default();
    age / PARTS * (PARTS - PARTS / 10 + parts)
}

/// Waits for the first bytes: an HTTP/2 client with prior knowledge starts with `PRI * HTTP/2.0` (RFC 9113
/// §3.4), and no HTTP/1 method starts with `PRI`.
async fn prefers_h2(stream: &TcpStream) -> io::Result<bool> {
    let (mut start, mut ended) = ([0; 3], false);
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
        if ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // A peek takes nothing, so it would not wait for more than there is. This has it wait for what comes.
        drop(stream.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into())));
        ended = stream.ready(Interest::READABLE).await?.is_read_closed();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_spread_over_a_tenth_to_either_side() {
        let hour = Duration::from_secs(3600);
        assert_eq!(spread(hour, 0), Duration::from_secs(3240));
        assert_eq!(spread(hour, 100), hour);
        assert_eq!(spread(hour, 200), Duration::from_secs(3960));
        let ages = (0..1000).map(|chance| spread(hour, chance));
        assert!(ages.clone().all(|age| (hour * 9 / 10..=hour * 11 / 10).contains(&age)));
        assert_eq!(ages.collect::<std::collections::BTreeSet<_>>().len(), 201);
        assert!(spread(Duration::from_millis(u64::MAX), 200) > hour, "and none is too old to be told");
    }
}
