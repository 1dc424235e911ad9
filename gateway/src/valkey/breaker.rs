//! Keeps requests from a node that does not answer, so that whoever asks goes another way at once instead of waiting for
//! a timeout first.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

/// So many requests in a row without an answer, and only probes are let through.
const FAILURES_MAX: u32 = 5;
/// One probe in so long.
const PROBE_INTERVAL: Duration = Duration::from_millis(100);

/// One node's.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    probed: Option<Instant>,
}

impl Breaker {
    /// Whether a request may be sent now.
    pub(super) fn admits(&self, now: Instant) -> bool {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if state.failures < FAILURES_MAX {
            return true;
        }
        let due = state.probed.is_none_or(|probed| now.duration_since(probed) >= PROBE_INTERVAL);
        if due {
            state.probed = Some(now);
        }
        due
    }

    /// Whether the node answered, whatever it said.
    pub(super) fn note(&self, answered: bool) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if answered {
            *state = State::default();
        } else {
            state.failures = state.failures.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_after_silence_lets_probes_through_and_closes_with_an_answer() {
        let (breaker, now) = (Breaker::default(), Instant::now());
        for _ in 0..FAILURES_MAX {
            assert!(breaker.admits(now));
            breaker.note(false);
        }
        assert!(breaker.admits(now), "the first probe");
        assert!(!breaker.admits(now + PROBE_INTERVAL / 2));
        assert!(breaker.admits(now + PROBE_INTERVAL));
        assert!(!breaker.admits(now + PROBE_INTERVAL));
        breaker.note(true);
        assert!(breaker.admits(now + PROBE_INTERVAL) && breaker.admits(now + PROBE_INTERVAL));
    }
}
