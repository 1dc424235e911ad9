//! The bytes of events in the house, bounded: a permit is taken before a body is read and given back when
//! the last record made of it has been reported on by Kafka. Nothing waits here; who gets no permit is shed.
//!
//! Of these bytes, those that wait for Kafka have a limit of their own that moves: once it is reached nobody new is let
//! in, and whoever is in may go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// What one event costs beside its bytes: headers, receipt, librdkafka's own struct.
pub const EVENT_OVERHEAD_BYTES: usize = 512;

/// Bytes allowed at once over all requests.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
    /// Of what is used, what was handed over to Kafka.
    waiting: AtomicUsize,
    /// While so much is waiting, nobody new is let in.
    allowed: AtomicUsize,
    shed: [AtomicU64; 2],
}

/// Why somebody was shed, in the order of [`Budget::shed`].
#[derive(Clone, Copy)]
enum Shed {
    Latency,
    Budget,
}

/// A share of the budget; dropping it gives the share back.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
    /// Whether it counts as waiting for Kafka.
    waits: bool,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Budget {
            used: AtomicUsize::new(0),
            bytes_max,
            waiting: AtomicUsize::new(0),
            allowed: AtomicUsize::new(bytes_max),
            shed: Default::default(),
        })
    }

    /// Bytes there are in all.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Bytes handed over to Kafka and not reported on.
    pub fn waiting_bytes(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Bytes that may wait for Kafka before newcomers are shed.
    pub fn allowed_bytes(&self) -> usize {
        self.allowed.load(Ordering::Relaxed)
    }

    /// Moves that limit.
    pub fn allow(&self, bytes: usize) {
        self.allowed.store(bytes, Ordering::Relaxed);
    }

    /// How many were shed, because too much waits for Kafka, or because all of the budget is lent out.
    pub fn shed(&self) -> [(&'static str, u64); 2] {
        [("latency", Shed::Latency), ("budget", Shed::Budget)]
            .map(|(name, why)| (name, self.shed[why as usize].load(Ordering::Relaxed)))
    }

    /// Bytes lent out now.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Lets somebody new in, with the share of one event of a body of so many bytes; `None` while too much waits for
    /// Kafka, however small the body is, so that large ones come in between small ones.
    pub fn permit(self: &Arc<Self>, body_bytes: usize) -> Option<Permit> {
        if self.waiting_bytes() >= self.allowed_bytes() {
            self.count(Shed::Latency);
            return None;
        }
        self.further_permit(body_bytes)
    }

    /// Takes the share of one event of a body of so many bytes for somebody who is in: twice, because
    /// librdkafka copies what small bodies hold.
    pub fn further_permit(self: &Arc<Self>, body_bytes: usize) -> Option<Permit> {
        let bytes = body_bytes.saturating_mul(2).saturating_add(EVENT_OVERHEAD_BYTES);
        self.take(bytes).then(|| Permit { budget: Arc::clone(self), bytes, waits: false })
    }

    fn count(&self, why: Shed) {
        self.shed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= self.bytes_max)
        });
        if taken.is_err() {
            self.count(Shed::Budget);
        }
        taken.is_ok()
    }
}

impl Permit {
    /// From now on it waits for Kafka. Nothing is added to it or split off any more.
    pub fn hand_over(mut self) -> Permit {
        self.budget.waiting.fetch_add(self.bytes, Ordering::Relaxed);
        self.waits = true;
        self
    }

    /// Grows the share, for a body that turned out to hold more; false when the budget is spent.
    pub fn grow(&mut self, bytes: usize) -> bool {
        let taken = self.budget.take(bytes);
        self.bytes += if taken { bytes } else { 0 };
        taken
    }

    /// Takes so many bytes of the share, at most all of it, to be given back by themselves.
    pub fn split(&mut self, bytes: usize) -> Permit {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Permit { budget: Arc::clone(&self.budget), bytes, waits: false }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        if self.waits {
            self.budget.waiting.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lends_no_more_than_it_has_and_takes_everything_back() {
        let budget = Budget::new(3 * EVENT_OVERHEAD_BYTES);
        let mut first = budget.permit(EVENT_OVERHEAD_BYTES / 2).expect("fits");
        assert!(budget.permit(EVENT_OVERHEAD_BYTES).is_none());
        assert!(first.grow(EVENT_OVERHEAD_BYTES));
        assert!(!first.grow(1));
        assert_eq!(budget.used_bytes(), 3 * EVENT_OVERHEAD_BYTES);
        drop(first.split(EVENT_OVERHEAD_BYTES));
        assert_eq!(budget.used_bytes(), 2 * EVENT_OVERHEAD_BYTES);
        assert_eq!(first.split(usize::MAX).bytes, 2 * EVENT_OVERHEAD_BYTES);
        drop(first);
        assert_eq!(budget.used_bytes(), 0);
        assert!(budget.permit(usize::MAX).is_none());
    }

    #[test]
    fn while_too_much_waits_nobody_new_is_let_in() {
        let budget = Budget::new(1 << 20);
        budget.allow(1000);
        let (first, second) = (budget.permit(200).expect("room"), budget.permit(200).expect("room"));
        let third = budget.permit(100_000).expect("what is not handed over does not wait");
        let (first, second) = (first.hand_over(), second.hand_over());
        assert_eq!(budget.waiting_bytes(), 2 * (400 + EVENT_OVERHEAD_BYTES));
        assert!(budget.permit(0).is_none());
        assert!(budget.further_permit(0).is_some(), "who is in goes on");
        assert_eq!(budget.shed(), [("latency", 1), ("budget", 0)]);
        drop(first);
        assert!(budget.permit(100_000).is_some(), "whatever its size");
        drop((second, third));
        assert_eq!((budget.waiting_bytes(), budget.used_bytes()), (0, 0));
    }
}
