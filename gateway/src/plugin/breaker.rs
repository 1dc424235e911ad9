//! A version that fails on most of its events is not asked for a while: what it would do to them costs time, and
//! then again. After a pause, which doubles, one call may show that it is well again.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Failures are looked at over so long.
const WINDOW: Duration = Duration::from_secs(10);
/// Fewer say nothing.
const FAILURES_MIN: u64 = 16;
/// One failure among so many events, or more of them, is too many.
const EVENTS_PER_FAILURE: u64 = 2;
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The state of one version, shared by its instances. While nothing fails it is only read.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    /// When the first failure of this window was; 0: there was none.
    window_ms: AtomicU64,
    failures: AtomicU64,
    /// Events since that failure.
    events: AtomicU64,
    /// Until when nobody asks; 0: it is well.
    open_until_ms: AtomicU64,
    pause_ms: AtomicU64,
    /// A call was let through since it opened.
    asked: AtomicBool,
}

impl Breaker {
    /// Whether a call may be made now. While it is open: one, each time its pause is over.
    pub(super) fn admits(&self) -> bool {
        !self.is_open() || self.admits_at(now_ms())
    }

    /// Whether the version is in quarantine.
    pub(super) fn is_open(&self) -> bool {
        self.open_until_ms.load(Ordering::Relaxed) != 0
    }

    /// A call of so many events ended well.
    pub(super) fn well(&self, events: u64) {
        // Not by a call that was under way when it opened.
        if self.is_open() && self.asked.load(Ordering::Relaxed) {
            self.close();
        }
        self.counted(events);
    }

    /// So many events were judged after their call had failed with another one.
    pub(super) fn counted(&self, events: u64) {
        if self.window_ms.load(Ordering::Relaxed) != 0 {
            self.events.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// One event was not. Whether that was one too many: it is said once.
    pub(super) fn failed(&self) -> bool {
        self.failed_at(now_ms())
    }

    fn admits_at(&self, now_ms: u64) -> bool {
        let until = self.open_until_ms.load(Ordering::Relaxed);
        if until == 0 {
            return true;
        }
        let pause = (2 * self.pause_ms.load(Ordering::Relaxed)).min(millis(PAUSE_MAX));
        let won = now_ms >= until
            && self
                .open_until_ms
                .compare_exchange(until, now_ms + pause, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if won {
            self.pause_ms.store(pause, Ordering::Relaxed);
            self.asked.store(true, Ordering::Relaxed);
        }
        won
    }

    fn failed_at(&self, now_ms: u64) -> bool {
        if self.is_open() {
            return false;
        }
        let window = self.window_ms.load(Ordering::Relaxed);
        if window == 0 || now_ms.saturating_sub(window) > millis(WINDOW) {
            self.failures.store(0, Ordering::Relaxed);
            self.events.store(0, Ordering::Relaxed);
            self.window_ms.store(now_ms, Ordering::Relaxed);
        }
        let events = self.events.fetch_add(1, Ordering::Relaxed) + 1;
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        let too_many = failures >= FAILURES_MIN && failures * EVENTS_PER_FAILURE >= events;
        if too_many {
            self.open(now_ms);
        }
        too_many
    }

    fn open(&self, now_ms: u64) {
        self.asked.store(false, Ordering::Relaxed);
        self.pause_ms.store(millis(PAUSE_MIN), Ordering::Relaxed);
        self.open_until_ms.store(now_ms + millis(PAUSE_MIN), Ordering::Relaxed);
    }

    /// Whatever was is forgotten.
    pub(super) fn close(&self) {
        self.window_ms.store(0, Ordering::Relaxed);
        self.open_until_ms.store(0, Ordering::Relaxed);
    }
}

/// Since the first breaker was asked, and never 0.
fn now_ms() -> u64 {
    millis(STARTED.elapsed()) + 1
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fail(breaker: &Breaker, times: u64, now_ms: u64) -> bool {
        (0..times).any(|_| breaker.failed_at(now_ms))
    }

    #[test]
    fn few_failures_among_many_events_do_not_open_it() {
        let breaker = Breaker::default();
        for now_ms in 1..1_000 {
            breaker.well(99);
            assert!(!breaker.failed_at(now_ms));
        }
        assert!(breaker.admits_at(1_000));
    }

    #[test]
    fn failures_that_lie_apart_do_not_add_up() {
        let breaker = Breaker::default();
        for window in 0..10 {
            assert!(!fail(&breaker, FAILURES_MIN - 1, 1 + window * (millis(WINDOW) + 1)));
        }
    }

    #[test]
    fn it_opens_asks_again_after_pauses_that_grow_and_closes_when_one_is_well() {
        let breaker = Breaker::default();
        assert!(fail(&breaker, FAILURES_MIN, 1));
        let pause = millis(PAUSE_MIN);
        breaker.well(1);
        assert!(breaker.is_open() && !breaker.admits_at(pause), "what was under way does not close it");
        assert!(breaker.admits_at(1 + pause) && !breaker.admits_at(1 + pause), "one call");
        assert!(!breaker.failed_at(1 + pause), "it is said once");
        assert!(!breaker.admits_at(3 * pause) && breaker.admits_at(1 + 3 * pause), "twice as long");
        breaker.well(1);
        assert!(breaker.admits_at(2 + 3 * pause) && breaker.admits_at(2 + 3 * pause));
        assert!(!breaker.failed_at(3 + 3 * pause), "it begins anew");
    }
}
