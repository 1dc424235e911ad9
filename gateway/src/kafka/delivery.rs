//! One request's records on their way to Kafka: a slot for each report and one wake when the last is in.
//! Waking another thread costs more than all our work on an event, so the thread that reports wakes each
//! worker once for all the requests it finished meanwhile ([`Completions`]).

use std::future::poll_fn;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;

use crate::event::budget::Permit;
use crate::problem::Code;

/// What became of one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// Acknowledged by the leader and all in-sync replicas; the offset where Kafka tells it.
    Stored(Option<i64>),
    /// Not in the topic and never will be.
    NotStored(Code),
    /// Sent, and nobody knows.
    Unknown,
}

const PENDING: i64 = -1;
const STORED: i64 = -2;
const UNKNOWN: i64 = -3;
const NOT_STORED: [(i64, Code); 4] = [
    (-4, Code::KafkaUnavailable),
    (-5, Code::TopicMissing),
    (-6, Code::RecordTooLarge),
    (-7, Code::Overloaded),
];

impl Report {
    fn encode(self) -> i64 {
        match self {
            Report::Stored(Some(offset)) if offset >= 0 => offset,
            Report::Stored(_) => STORED,
            Report::Unknown => UNKNOWN,
            Report::NotStored(code) => NOT_STORED
                .iter()
                .find(|(_, known)| *known == code)
                .map_or(NOT_STORED[0].0, |(number, _)| *number),
        }
    }

    /// `None` while there is no report.
    fn decode(number: i64) -> Option<Report> {
        match number {
            0.. => Some(Report::Stored(Some(number))),
            STORED => Some(Report::Stored(None)),
            UNKNOWN => Some(Report::Unknown),
            PENDING => None,
            _ => NOT_STORED
                .iter()
                .find(|(known, _)| *known == number)
                .map(|(_, code)| Report::NotStored(*code)),
        }
    }
}

/// The records of one request. Holds the request's byte permit until the last report.
#[derive(Debug)]
pub struct Delivery {
    reports: Box<[AtomicI64]>,
    /// Reports to come, and one for the worker that is still enqueueing.
    pending: AtomicUsize,
    waiting: AtomicWaker,
    completions: Arc<Completions>,
    _permit: Option<Permit>,
}

/// One record's place in its delivery; travels through librdkafka as the message's opaque.
#[derive(Debug)]
pub struct Slot {
    delivery: Arc<Delivery>,
    index: usize,
}

impl Slot {
    /// Files the report. The last of a request wakes its worker.
    pub fn settle(self, report: Report) {
        self.delivery.reports[self.index].store(report.encode(), Ordering::Release);
        self.delivery.arrived();
    }
}

impl Delivery {
    /// For a request of so many events, answered on the worker that drains `completions`.
    pub fn new(events: usize, completions: Arc<Completions>, permit: Option<Permit>) -> Arc<Self> {
        let reports = (0..events).map(|_| AtomicI64::new(PENDING)).collect();
        Arc::new(Delivery {
            reports,
            pending: AtomicUsize::new(1),
            waiting: AtomicWaker::new(),
            completions,
            _permit: permit,
        })
    }

    /// Opens the slot of one event; each must be settled once, by Kafka's report or by who failed to enqueue.
    pub fn slot(self: &Arc<Self>, index: usize) -> Slot {
        self.pending.fetch_add(1, Ordering::Relaxed);
        Slot { delivery: Arc::clone(self), index }
    }

    /// Waits until every opened slot is settled. To be called once, after the last `slot`.
    pub async fn settled(&self) {
        self.arrived_quietly();
        poll_fn(|context| {
            self.waiting.register(context.waker());
            if self.pending.load(Ordering::Acquire) == 0 { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// What is known of an event now; a missing report is `Unknown`.
    pub fn report(&self, index: usize) -> Report {
        Report::decode(self.reports[index].load(Ordering::Acquire)).unwrap_or(Report::Unknown)
    }

    fn arrived(&self) {
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1
            && let Some(waker) = self.waiting.take()
        {
            self.completions.push(waker);
        }
    }

    fn arrived_quietly(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The finished requests of one worker, handed over in one wake.
#[derive(Debug, Default)]
pub struct Completions {
    finished: Mutex<Vec<Waker>>,
    notify: Notify,
}

impl Completions {
    /// An empty hand-over for one worker.
    pub fn new() -> Arc<Self> {
        Arc::new(Completions::default())
    }

    fn push(&self, waker: Waker) {
        let mut finished = self.finished.lock().unwrap_or_else(PoisonError::into_inner);
        let first = finished.is_empty();
        finished.push(waker);
        drop(finished);
        if first {
            self.notify.notify_one();
        }
    }

    /// Runs on the worker for as long as it lives: wakes its requests, from its own thread.
    pub async fn drain(&self) {
        let mut wakers = Vec::new();
        loop {
            self.notify.notified().await;
            std::mem::swap(&mut wakers, &mut *self.finished.lock().unwrap_or_else(PoisonError::into_inner));
            wakers.drain(..).for_each(Waker::wake);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_report_wakes_the_request() {
        let completions = Completions::new();
        let delivery = Delivery::new(3, Arc::clone(&completions), None);
        let (first, second) = (delivery.slot(0), delivery.slot(2));
        let waiting = tokio::spawn({
            let delivery = Arc::clone(&delivery);
            async move { delivery.settled().await }
        });
        let drained = tokio::spawn(async move { completions.drain().await });
        first.settle(Report::Stored(Some(7)));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        second.settle(Report::NotStored(Code::TopicMissing));
        waiting.await.expect("no panic");
        drained.abort();
        assert_eq!(delivery.report(0), Report::Stored(Some(7)));
        assert_eq!(delivery.report(1), Report::Unknown);
        assert_eq!(delivery.report(2), Report::NotStored(Code::TopicMissing));
    }

    #[test]
    fn reports_survive_their_encoding() {
        let codes = NOT_STORED.iter().map(|(_, code)| Report::NotStored(*code));
        for report in
            [Report::Stored(Some(0)), Report::Stored(None), Report::Unknown].into_iter().chain(codes)
        {
            assert_eq!(Report::decode(report.encode()), Some(report));
        }
        assert_eq!(Report::decode(PENDING), None);
    }
}
