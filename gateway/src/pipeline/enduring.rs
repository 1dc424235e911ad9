//! Work that is brought to its end whoever waits for it, and the seat that counts it.

use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::sync::Notify;

use super::Worker;
use crate::kafka::producer::Producer;
use crate::kafka::producers::Producers;

/// What a worker's thread keeps from one config to the next: its way to Kafka, and the count of what it has not answered.
#[derive(Debug)]
pub struct Seat {
    pub(super) producer: Arc<Producer>,
    running: Arc<AtomicUsize>,
    idle: Notify,
}

impl Seat {
    /// The seat of the thread that calls this. It keeps `running` at the number of unanswered requests.
    pub fn new(producers: &Producers, running: Arc<AtomicUsize>) -> Rc<Self> {
        Rc::new(Seat { producer: producers.claim(), running, idle: Notify::new() })
    }

    /// Runs beside the requests for as long as the thread lives: wakes those that Kafka has answered.
    pub async fn settle_reports(&self) {
        self.producer.settle_reports().await;
    }

    /// Waits until no request is running, or until the limit.
    pub async fn idle(&self, limit: Duration) {
        let idle = self.idle.notified();
        let running = || self.running.load(Ordering::Relaxed);
        if running() > 0 && tokio::time::timeout(limit, idle).await.is_err() {
            tracing::warn!(
                requests = running(),
                "requests were still running at the end of the shutdown time"
            );
        }
    }
}

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
        worker.seat.running.fetch_add(1, Ordering::Relaxed);
        Running(Rc::clone(worker))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let seat = &self.0.seat;
        if seat.running.fetch_sub(1, Ordering::Relaxed) == 1 {
            seat.idle.notify_waiters();
        }
    }
}
