//! A token bucket as one number, the time at which it will be full again (the generic cell rate algorithm, ITU-T
//! I.371): to take from it is one compare-and-swap, whoever else takes from it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const SECOND_NS: u64 = 1_000_000_000;

/// So many units a second, and so many seconds' worth at once. Full at first.
#[derive(Debug)]
pub(super) struct Bucket {
    per_s: u64,
    burst_ns: u64,
    full_at_ns: AtomicU64,
}

/// Why nothing was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There will be enough after this time, if nobody else takes any.
    Wait(Duration),
    /// It is more than the bucket ever holds.
    Never,
}

impl Bucket {
    pub(super) fn new(per_s: u64, burst_s: u64) -> Self {
        let burst_ns = burst_s.saturating_mul(SECOND_NS);
        Bucket { per_s, burst_ns, full_at_ns: AtomicU64::new(0) }
    }

    /// The most it ever holds.
    pub(super) fn capacity(&self) -> u64 {
        self.per_s.saturating_mul(self.burst_ns / SECOND_NS)
    }

    /// Takes all of it or nothing. Times are nanoseconds since any moment, the same one for all calls.
    pub(super) fn take(&self, now_ns: u64, units: u64) -> Result<(), Refusal> {
        let cost_ns = self.cost_ns(units);
        if cost_ns > self.burst_ns {
            return Err(Refusal::Never);
        }
        let owed_ns = |full_at_ns: u64| (full_at_ns.max(now_ns) - now_ns).saturating_add(cost_ns);
        let taken = self.full_at_ns.try_update(Ordering::Relaxed, Ordering::Relaxed, |full_at_ns| {
            let owed_ns = owed_ns(full_at_ns);
            (owed_ns <= self.burst_ns).then(|| now_ns.saturating_add(owed_ns))
        });
        taken.map(drop).map_err(|full_at_ns| {
            Refusal::Wait(Duration::from_nanos(owed_ns(full_at_ns).saturating_sub(self.burst_ns)))
        })
    }

    /// Takes it whether it is there or not; the time after which it will have been.
    pub(super) fn reserve(&self, now_ns: u64, units: u64) -> Duration {
        let cost_ns = self.cost_ns(units);
        let owe = |full_at_ns: u64| full_at_ns.max(now_ns).saturating_add(cost_ns);
        let before_ns = self.full_at_ns.update(Ordering::Relaxed, Ordering::Relaxed, owe);
        Duration::from_nanos((owe(before_ns) - now_ns).saturating_sub(self.burst_ns))
    }

    /// The units in it, and the time until it is full.
    pub(super) fn level(&self, now_ns: u64) -> (u64, Duration) {
        let owed_ns = self.full_at_ns.load(Ordering::Relaxed).saturating_sub(now_ns);
        let held_ns = self.burst_ns.saturating_sub(owed_ns);
        let units = u128::from(held_ns) * u128::from(self.per_s) / u128::from(SECOND_NS);
        (u64::try_from(units).unwrap_or(u64::MAX), Duration::from_nanos(owed_ns))
    }

    /// Rounded up, so that a thousand small takings are no cheaper than a large one.
    fn cost_ns(&self, units: u64) -> u64 {
        let ns = (u128::from(units) * u128::from(SECOND_NS)).div_ceil(u128::from(self.per_s.max(1)));
        u64::try_from(ns).unwrap_or(u64::MAX)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn it_gives_its_burst_and_then_its_rate() {
        let bucket = Bucket::new(10, 2);
        assert_eq!(bucket.capacity(), 20);
        assert_eq!(bucket.take(0, 21), Err(Refusal::Never));
        assert_eq!(bucket.take(0, 15), Ok(()));
        assert_eq!(bucket.level(0), (5, Duration::from_millis(1500)));
        assert_eq!(bucket.take(0, 6), Err(Refusal::Wait(Duration::from_millis(100))));
        assert_eq!(bucket.take(100 * MS, 6), Ok(()), "what was refused took nothing");
        assert_eq!(bucket.take(100 * MS, 1), Err(Refusal::Wait(Duration::from_millis(100))));
        assert_eq!(bucket.take(10_000 * MS, 20), Ok(()), "and no more is saved up than the burst");
        assert_eq!(bucket.take(10_000 * MS, 1), Err(Refusal::Wait(Duration::from_millis(100))));
    }

    #[test]
    fn what_is_reserved_is_waited_for_by_all() {
        let bucket = Bucket::new(10, 1);
        assert_eq!(bucket.reserve(0, 10), Duration::ZERO);
        assert_eq!(bucket.reserve(0, 20), Duration::from_secs(2));
        assert_eq!(bucket.take(0, 1), Err(Refusal::Wait(Duration::from_millis(2100))));
        assert_eq!(bucket.take(2_100 * MS, 1), Ok(()));
        assert_eq!(bucket.level(2_100 * MS), (0, Duration::from_secs(1)));
    }

    proptest! {
        /// Over any time, no more than the burst and the rate times that time, whatever is asked for and when; and
        /// who comes again when he was told to, and alone, gets it.
        #[test]
        fn it_never_gives_more_than_its_rate(
            per_s in 1..100_000_u64, burst_s in 1..10_u64,
            asked in proptest::collection::vec((0..500 * MS, 1..50_000_u64), 1..200),
        ) {
            let bucket = Bucket::new(per_s, burst_s);
            let (mut now_ns, mut given) = (0, 0);
            for (later_ns, units) in asked {
                now_ns += later_ns;
                match bucket.take(now_ns, units) {
                    Ok(()) => given += units,
                    Err(Refusal::Never) => prop_assert!(units > bucket.capacity()),
                    Err(Refusal::Wait(wait)) => {
                        now_ns += u64::try_from(wait.as_nanos()).unwrap();
                        prop_assert_eq!(bucket.take(now_ns, units), Ok(()));
                        given += units;
                    }
                }
                let most = u128::from(bucket.capacity())
                    + u128::from(per_s) * u128::from(now_ns) / u128::from(SECOND_NS);
                prop_assert!(u128::from(given) <= most, "{} of {}", given, most);
            }
        }
    }

    #[test]
    fn workers_share_it_without_a_lock() {
        let bucket = Bucket::new(1_000, 1);
        let take = || (0..1_000).filter(|_| bucket.take(0, 1).is_ok()).count();
        let given = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(take)).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
        });
        assert_eq!(given, 1_000);
    }
}
