//! How much may wait for Kafka at once. While acks take longer than they should, less and less new work is let in; what
//! is in goes on, and when acks are quick again, the limit comes back by itself.
//!
//! A first slow moment only keeps what waits from growing, for it may be the machine's; if acks stay slow, an eighth goes at
//! a time, and each time it is seen what that does. A sixteenth of it comes back with every calm moment.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::event::budget::Budget;

/// How often the limit is looked at.
const TICK: Duration = Duration::from_millis(100);
/// Acks are too slow when more than one in so many is.
const SLOW_SHARE: u64 = 4;
/// The limit never falls below so many bytes, about a dozen small events: Kafka always has work.
const FLOOR_BYTES: usize = 16 << 10;
/// What the limit shrinks and grows by.
const CUT_PART: usize = 8;
const GROWTH_PART: usize = 16;

/// What the workers have seen of Kafka since the last look: requests answered, and those answered too slowly.
#[derive(Debug)]
pub struct Acks {
    target: Duration,
    /// Requests in the low half, slow ones in the high half: one addition for both.
    seen: AtomicU64,
}

impl Acks {
    /// For acks that should not take longer than this.
    pub fn new(target: Duration) -> Arc<Self> {
        Arc::new(Acks { target, seen: AtomicU64::new(0) })
    }

    /// A request's records were answered, or given up, so long after the last was handed over.
    pub fn answered(&self, after: Duration) {
        let slow = u64::from(after > self.target);
        self.seen.fetch_add(1 | slow << 32, Ordering::Relaxed);
    }

    /// How long they should take at most.
    pub fn target(&self) -> Duration {
        self.target
    }

    fn take(&self) -> (u64, u64) {
        let seen = self.seen.swap(0, Ordering::Relaxed);
        (seen & u64::from(u32::MAX), seen >> 32)
    }
}

/// Keeps the budget's limit where the acks allow; never ends.
pub async fn adapt(acks: Arc<Acks>, budget: Arc<Budget>) {
    let mut limit = Limit::new(budget.bytes_max(), acks.target);
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let (answered, slow) = acks.take();
        budget.allow(limit.step(Seen { answered, slow, waiting_bytes: budget.waiting_bytes() }));
    }
}

/// What one tick has seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    answered: u64,
    slow: u64,
    waiting_bytes: usize,
}

/// The limit, as a pure function of what the ticks have seen.
#[derive(Debug)]
struct Limit {
    floor: usize,
    ceiling: usize,
    allowed: usize,
    /// The most that waited lately.
    waited: usize,
    /// Ticks that what was let in under the last cut needs to show its effect.
    reaction: u32,
    /// Ticks until the limit may change again.
    resting: u32,
    /// Ticks without any answer although something waits.
    silent: u32,
}

impl Limit {
    fn new(ceiling: usize, target: Duration) -> Self {
        let floor = FLOOR_BYTES.min(ceiling);
        let reaction = u32::try_from(target.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u32::MAX);
        Limit { floor, ceiling, allowed: ceiling, waited: 0, reaction, resting: 0, silent: 0 }
    }

    /// The limit after another tick.
    fn step(&mut self, seen: Seen) -> usize {
        self.waited = seen.waiting_bytes.max(self.waited - self.waited / GROWTH_PART);
        self.silent = if seen.answered == 0 && seen.waiting_bytes > 0 { self.silent + 1 } else { 0 };
        let slow = seen.slow * SLOW_SHARE > seen.answered || self.silent > self.reaction;
        self.resting = self.resting.saturating_sub(1);
        if self.resting == 0 {
            self.allowed = if slow {
                self.resting = 1 + self.reaction;
                if self.allowed > self.waited { self.waited } else { self.allowed - self.allowed / CUT_PART }
            } else {
                self.allowed.saturating_add(self.allowed / GROWTH_PART)
            };
            self.allowed = self.allowed.clamp(self.floor, self.ceiling);
        }
        self.allowed
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CEILING: usize = 256 << 20;
    const TARGET: Duration = Duration::from_millis(200);

    fn limit() -> Limit {
        Limit::new(CEILING, TARGET)
    }

    const CALM: Seen = Seen { answered: 100, slow: 25, waiting_bytes: 1 << 20 };
    const SLOW: Seen = Seen { answered: 100, slow: 26, waiting_bytes: 1 << 20 };

    #[test]
    fn one_step_after_another() {
        let silent = Seen { answered: 0, slow: 0, waiting_bytes: 8 << 20 };
        let idle = Seen { answered: 0, slow: 0, waiting_bytes: 0 };
        let cases: [(&[Seen], usize, &str); 6] = [
            (&[CALM], CEILING, "a quarter may be slow"),
            (&[idle; 100], CEILING, "nothing to do is no sign"),
            (&[SLOW; 3], 1 << 20, "what waits may not grow, and then it is seen what that does"),
            (&[SLOW; 4], (1 << 20) * 7 / 8, "and if they stay slow, there is less"),
            (&[silent; 2], CEILING, "no answer for as long as one may take"),
            (&[silent; 3], 8 << 20, "no answer for longer"),
        ];
        for (ticks, expected, why) in cases {
            let mut limit = limit();
            let last = ticks.iter().map(|seen| limit.step(*seen)).last();
            assert_eq!(last, Some(expected), "{why}");
        }
    }

    proptest! {
        /// Whatever it sees, it stays between floor and ceiling, and from there a calm time brings all of it back.
        #[test]
        fn it_keeps_to_its_bounds_and_recovers(
            ticks in proptest::collection::vec((0..1000_u64, 0..1000_u64, 0..2 * CEILING), 0..300),
        ) {
            let mut limit = limit();
            for (answered, slow, waiting_bytes) in ticks {
                let allowed = limit.step(Seen { answered, slow: slow.min(answered), waiting_bytes });
                prop_assert!((FLOOR_BYTES..=CEILING).contains(&allowed));
            }
            let needed = (0..200).position(|_| limit.step(CALM) == CEILING);
            prop_assert!(needed.is_some(), "not after twenty seconds");
        }

        /// Offered any multiple of what Kafka takes, what waits settles where acks take about as long as they should,
        /// and Kafka is never without work.
        #[test]
        fn it_settles_where_acks_are_as_quick_as_they_should_be(
            bytes_per_tick in 1_usize << 20..64 << 20, offered in 2_usize..20,
        ) {
            let mut limit = limit();
            let (mut waiting, mut allowed) = (0_usize, CEILING);
            let (mut idle, mut slowest) = (0, 0.0_f64);
            for tick in 0..600 {
                waiting += (offered * bytes_per_tick).min(allowed.saturating_sub(waiting));
                // Who came last waits for all before him.
                let ticks = waiting as f64 / bytes_per_tick as f64;
                let slow = u64::from(ticks * TICK.as_secs_f64() > TARGET.as_secs_f64());
                allowed = limit.step(Seen { answered: 100, slow: 100 * slow, waiting_bytes: waiting });
                if tick >= 300 {
                    idle += usize::from(waiting < bytes_per_tick);
                    slowest = slowest.max(ticks * TICK.as_secs_f64());
                }
                waiting = waiting.saturating_sub(bytes_per_tick);
            }
            prop_assert_eq!(idle, 0);
            prop_assert!(slowest <= 1.5 * TARGET.as_secs_f64(), "{}", slowest);
        }
    }
}
