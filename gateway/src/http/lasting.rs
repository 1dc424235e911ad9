//! Answers that last: while one waits for what it is to say next, its connection is not idle; one that its client
//! does not read is, and does not hold up a gateway that stops. It knows nothing of what is said.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderValue, Response};
use hyper::body::Frame;
use tokio::sync::watch;

/// How long a client may take, when the gateway stops, for what it has not read yet.
const FAREWELL: Duration = Duration::from_secs(1);

/// Marks a response, in its extensions, that lasts until this turns true.
#[derive(Clone, Debug)]
pub(crate) struct Lasting(pub(crate) watch::Receiver<bool>);

/// What happens on one connection.
#[derive(Debug, Default)]
pub(super) struct Activity {
    busy: AtomicBool,
    waiting: AtomicUsize,
    /// A head was completed.
    begun: AtomicBool,
    /// Requests without an answer.
    open: AtomicUsize,
    /// Its next answer is its last.
    retired: AtomicBool,
    /// Bytes have come since the last request began.
    heard: AtomicBool,
    /// Set by a lasting answer that has the connection for itself.
    stopping: OnceLock<watch::Receiver<bool>>,
}

impl Activity {
    /// A request has begun: its head is complete.
    pub(super) fn begin(&self) {
        self.busy();
        self.begun.store(true, Ordering::Relaxed);
        self.open.fetch_add(1, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// A request has its answer.
    pub(super) fn end(&self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Bytes have come.
    pub(super) fn heard(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Bytes have gone: what was heard waits for that.
    pub(super) fn spoke(&self) {
        self.heard.store(false, Ordering::Relaxed);
    }

    /// Whether a head was completed since this was last asked.
    pub(super) fn took_a_head(&self) -> bool {
        self.begun.swap(false, Ordering::Relaxed)
    }

    /// Whether bytes have come that belong to no request we know of: a head that is not complete.
    pub(super) fn hears_a_head(&self) -> bool {
        self.heard.load(Ordering::Relaxed) && self.open.load(Ordering::Relaxed) == 0
    }

    /// A piece of a lasting answer was taken.
    fn busy(&self) {
        self.busy.store(true, Ordering::Relaxed);
    }

    /// Lets the connection end with its next answer, if it has one request after the other (HTTP/1.1, RFC 9112 §9.6): one
    /// that is closed while it is quiet may have its next request on the way.
    pub(super) fn retire(&self) {
        self.retired.store(true, Ordering::Relaxed);
    }

    /// Whether nothing has happened since this was last asked, and no lasting answer waits for us.
    pub(super) fn was_idle(&self) -> bool {
        !self.busy.swap(false, Ordering::Relaxed) && self.waiting.load(Ordering::Relaxed) == 0
    }

    /// Ends when the gateway stops and the client has had its time. On HTTP/2 other requests may be on the way, and
    /// this never ends. To be polled by the connection's own task, after the connection: only that sets `stopping`, so
    /// nobody needs to be woken.
    pub(super) async fn given_up(&self) {
        let set = |_: &mut Context<'_>| self.stopping.get().map_or(Poll::Pending, Poll::Ready);
        let mut stopping = poll_fn(set).await.clone();
        drop(stopping.wait_for(|stop| *stop).await);
        tokio::time::sleep(FAREWELL).await;
    }

    /// The response to a request that began, watched if it lasts: its request may still be coming in, then.
    pub(super) fn watch(self: &Arc<Self>, alone: bool, mut response: Response<Body>) -> Response<Body> {
        let lasting = response.extensions_mut().remove::<Lasting>();
        if alone && (lasting.is_some() || self.retired.load(Ordering::Relaxed)) {
            response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        }
        let Some(Lasting(stopping)) = lasting else {
            self.end();
            return response;
        };
        if alone {
            // The connection ends with it. It is set already if an answer came between two that last.
            drop(self.stopping.set(stopping));
        }
        response.map(|body| Body::new(Watched { body, activity: Arc::clone(self), waits: false }))
    }
}

struct Watched {
    body: Body,
    activity: Arc<Activity>,
    waits: bool,
}

impl Watched {
    fn set_waits(&mut self, waits: bool) {
        match (std::mem::replace(&mut self.waits, waits), waits) {
            (false, true) => drop(self.activity.waiting.fetch_add(1, Ordering::Relaxed)),
            (true, false) => drop(self.activity.waiting.fetch_sub(1, Ordering::Relaxed)),
            _ => {}
        }
    }
}

impl hyper::body::Body for Watched {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        self.set_waits(polled.is_pending());
        let frame = ready!(polled);
        self.activity.busy();
        Poll::Ready(frame)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.set_waits(false);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use http_body_util::BodyExt as _;
    use hyper::body::Body as _;

    use super::*;

    fn lasting(body: Body) -> Response<Body> {
        let mut response = Response::new(body);
        response.extensions_mut().insert(Lasting(watch::channel(true).1));
        response
    }

    #[tokio::test]
    async fn a_connection_is_idle_unless_a_lasting_answer_waits_or_was_read() {
        let activity = Arc::new(Activity::default());
        assert!(activity.was_idle());
        activity.busy();
        assert!(!activity.was_idle() && activity.was_idle());

        let pieces = stream::iter([Ok::<_, std::io::Error>(Bytes::from_static(b"a"))]);
        let body = Body::from_stream(stream::StreamExt::chain(pieces, stream::pending()));
        let mut response = activity.watch(false, lasting(body));
        assert!(activity.was_idle(), "nobody reads it");
        assert!(response.frame().await.is_some());
        assert!(!activity.was_idle(), "it was read");
        assert!(activity.was_idle(), "and not again");
        assert!(futures_util::FutureExt::now_or_never(response.frame()).is_none());
        assert!(!activity.was_idle() && !activity.was_idle(), "it waits for more");
        drop(response);
        assert!(activity.was_idle());
    }

    #[tokio::test]
    async fn one_that_nobody_reads_is_given_up_if_it_is_alone() {
        let (shared, alone) = (Arc::new(Activity::default()), Arc::new(Activity::default()));
        drop(shared.watch(false, lasting(Body::empty())));
        let response = alone.watch(true, lasting(Body::empty()));
        assert_eq!(response.headers().get(CONNECTION).map(HeaderValue::as_bytes), Some(&b"close"[..]));
        alone.given_up().await;
        assert!(futures_util::FutureExt::now_or_never(shared.given_up()).is_none());
    }

    #[test]
    fn other_answers_are_left_alone() {
        let activity = Arc::new(Activity::default());
        activity.begin();
        let response = activity.watch(true, Response::new(Body::from("x")));
        assert_eq!(response.body().size_hint().exact(), Some(1));
    }
}
