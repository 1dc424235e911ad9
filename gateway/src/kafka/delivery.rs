//! One request's records on their way to Kafka: a slot for each report and one wake when the last is in.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};
use std::task::Poll;

use bytes::Bytes;
use futures_util::task::AtomicWaker;

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

/// A smaller body is not held on to, and its events are copied: it may be a small part of a connection's buffer.
const BODY_BYTES_KEPT_MIN: usize = 32 << 10;

/// The records of one request. Holds the request's body, if it is large, and its byte permit until
/// the last report.
#[derive(Debug)]
pub struct Delivery {
    reports: Box<[AtomicI64]>,
    body: Bytes,
    /// Reports to come, and one for the worker that is still enqueueing.
    pending: AtomicUsize,
    waiting: AtomicWaker,
    _permit: Option<Permit>,
}

/// One record's place in its delivery; travels through librdkafka as the message's opaque.
#[derive(Debug)]
pub struct Slot {
    delivery: Arc<Delivery>,
    index: usize,
}

impl Slot {
    /// Files the report. The last of a request wakes it.
    pub fn settle(self, report: Report) {
        self.delivery.reports[self.index].store(report.encode(), Ordering::Release);
        self.delivery.arrived();
    }

    /// Whether these bytes are part of the request's body, and so stay where they are until this slot is settled.
    pub fn keeps(&self, bytes: &[u8]) -> bool {
        let (body, bytes) = (self.delivery.body.as_ptr_range(), bytes.as_ptr_range());
        body.start <= bytes.start && bytes.end <= body.end
    }
}

impl Delivery {
    /// For a request of so many events in this body.
    pub fn new(events: usize, body: Bytes, permit: Option<Permit>) -> Arc<Self> {
        let reports = (0..events).map(|_| AtomicI64::new(PENDING)).collect();
        let body = if body.len() >= BODY_BYTES_KEPT_MIN { body } else { Bytes::new() };
        Arc::new(Delivery {
            reports,
            body,
            pending: AtomicUsize::new(1),
            waiting: AtomicWaker::new(),
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
        if self.pending.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.waiting.wake();
        }
    }

    fn arrived_quietly(&self) {
        self.pending.fetch_sub(1, Ordering::AcqRel);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_report_wakes_the_request() {
        let delivery = Delivery::new(3, Bytes::new(), None);
        let (first, second) = (delivery.slot(0), delivery.slot(2));
        let waiting = tokio::spawn({
            let delivery = Arc::clone(&delivery);
            async move { delivery.settled().await }
        });
        first.settle(Report::Stored(Some(7)));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        second.settle(Report::NotStored(Code::TopicMissing));
        waiting.await.expect("no panic");
        assert_eq!(delivery.report(0), Report::Stored(Some(7)));
        assert_eq!(delivery.report(1), Report::Unknown);
        assert_eq!(delivery.report(2), Report::NotStored(Code::TopicMissing));
    }

    #[test]
    fn a_slot_keeps_its_requests_body_and_nothing_else() {
        let (body, other) = (Bytes::from(vec![1; BODY_BYTES_KEPT_MIN]), [1; 8]);
        let slot = Delivery::new(1, body.clone(), None).slot(0);
        assert!(slot.keeps(&body) && slot.keeps(&body[3..5]));
        assert!(!slot.keeps(&other) && !slot.keeps(&other[3..5]));
        let small = body.slice(..8);
        assert!(!Delivery::new(1, small.clone(), None).slot(0).keeps(&small));
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
