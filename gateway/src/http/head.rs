//! Request heads that do not get on (slowloris), on HTTP/1: bytes come, and no request begins. hyper's own limit on
//! that is a timer for each request, and it closes idle connections, too; here there is a timer only while a head is
//! incomplete, which for most requests is never. Under TLS it is the bytes of the records that count, so that a record
//! that does not get on is no way around.

use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::lasting::Activity;

/// A stream that leaves word when bytes come and go.
pub(super) struct Heard {
    stream: TcpStream,
    activity: Arc<Activity>,
}

impl Heard {
    pub(super) fn new(stream: TcpStream, activity: Arc<Activity>) -> Self {
        Heard { stream, activity }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = ready!(Pin::new(&mut self.stream).poll_read(context, buffer));
        if buffer.filled().len() > before {
            self.activity.heard();
        }
        Poll::Ready(read)
    }
}

impl AsyncWrite for Heard {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, bytes));
        self.activity.spoke();
        Poll::Ready(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.stream).poll_write_vectored(context, pieces));
        self.activity.spoke();
        Poll::Ready(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

/// Ends when a head has been incomplete for so long. To be polled by the connection's own task, after the connection:
/// only that hears bytes, so nobody needs to be woken.
pub(super) async fn unfinished(activity: &Activity, limit: Duration) {
    let mut timer: Option<Pin<Box<Sleep>>> = None;
    poll_fn(|context| {
        if activity.took_a_head() {
            timer = None;
        }
        if activity.hears_a_head() {
            timer.get_or_insert_with(|| Box::pin(sleep(limit))).as_mut().poll(context)
        } else {
            timer = None;
            Poll::Pending
        }
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_that_belong_to_no_request_are_an_incomplete_head() {
        let activity = Activity::default();
        let mut seen = Vec::new();
        let mut after = |step: &dyn Fn(&Activity)| {
            step(&activity);
            seen.push((activity.took_a_head(), activity.hears_a_head()));
        };
        after(&|_| {});
        after(&Activity::heard);
        after(&Activity::begin);
        // A body; the answer; the next head, which waits for that; the head after it.
        after(&Activity::heard);
        after(&Activity::end);
        after(&|activity| {
            activity.heard();
            activity.spoke();
        });
        after(&Activity::heard);
        let (quiet, hears) = ((false, false), (false, true));
        assert_eq!(seen, [quiet, hears, (true, false), quiet, quiet, quiet, hears]);
    }
}
