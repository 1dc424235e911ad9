//! The bytes of events in the house, bounded: a permit is taken before a body is read and given back when
//! the last record made of it has been reported on by Kafka. Nothing waits here; who gets no permit is shed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What one event costs beside its bytes: headers, receipt, librdkafka's own struct.
pub const EVENT_OVERHEAD_BYTES: usize = 512;

/// Bytes allowed at once over all requests.
#[derive(Debug)]
pub struct Budget {
    used: AtomicUsize,
    bytes_max: usize,
}

/// A share of the budget; dropping it gives the share back.
#[derive(Debug)]
pub struct Permit {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Budget { used: AtomicUsize::new(0), bytes_max })
    }

    /// Bytes lent out now.
    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Takes the share of one event of a body of so many bytes: twice, because
    /// librdkafka copies what small bodies hold.
    pub fn permit(self: &Arc<Self>, body_bytes: usize) -> Option<Permit> {
        let bytes = body_bytes.saturating_mul(2).saturating_add(EVENT_OVERHEAD_BYTES);
        self.take(bytes).then(|| Permit { budget: Arc::clone(self), bytes })
    }

    fn take(&self, bytes: usize) -> bool {
        let taken = self.used.try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
            used.checked_add(bytes).filter(|total| *total <= self.bytes_max)
        });
        taken.is_ok()
    }
}

impl Permit {
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
        Permit { budget: Arc::clone(&self.budget), bytes }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
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
}
