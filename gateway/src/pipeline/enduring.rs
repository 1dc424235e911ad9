//! Work that is brought to its end whoever waits for it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use super::Worker;

/// A future that is brought to its end even if whoever awaits it is gone: then by a task of its own.
pub(super) struct Enduring<F: Future + 'static>(Option<Pin<Box<F>>>);

impl<F: Future + 'static> Enduring<F> {
    pub(super) fn new(future: F) -> Self {
        Enduring(Some(Box::pin(future)))
    }
}

impl<F: Future + 'static> Future for Enduring<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let Some(future) = &mut self.0 else { return Poll::Pending };
        let output = ready!(future.as_mut().poll(context));
        self.0 = None;
        Poll::Ready(output)
    }
}

impl<F: Future + 'static> Drop for Enduring<F> {
    fn drop(&mut self) {
        if let Some(future) = self.0.take() {
            drop(tokio::task::spawn_local(async move { drop(future.await) }));
        }
    }
}

/// A request that is not answered yet.
pub(super) struct Running(pub(super) Rc<Worker>);

impl Running {
    pub(super) fn begin(worker: &Rc<Worker>) -> Self {
        worker.running.fetch_add(1, Ordering::Relaxed);
        Running(Rc::clone(worker))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.0.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.0.idle.notify_waiters();
        }
    }
}
