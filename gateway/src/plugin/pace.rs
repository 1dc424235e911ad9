//! Whether a route's plugins are quick enough for the workers. Those that are not run on a thread of their own,
//! where they hold up nobody's requests but their own.

use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::guest::thread_cpu_time;

/// A worker that is busy with one chunk for longer keeps its other requests waiting.
const LONG: Duration = Duration::from_millis(1);
/// Chunks looked at for their P99: with a second long one it is over.
const LOOKED_AT: u32 = 128;
const TOO_MANY: u32 = 2;
/// So long after the last long chunk the workers take the route back.
const CLEAN: Duration = Duration::from_secs(60);

static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

/// The pace of a route's chain, over all workers. While nothing takes long it is only read.
///
/// By the clock on the wall a plugin looks slow whenever its thread had to wait for a core. So that one only
/// raises suspicion; the chunks after it are measured in CPU time, which costs a system call each.
#[derive(Debug, Default)]
pub struct Pace {
    /// Until when the chain runs aside; 0: it does not.
    aside_until_ms: AtomicU64,
    /// Until when it is one that met its deadline, and not only a slow one.
    overran_until_ms: AtomicU64,
    /// Chunks still to be measured in CPU time.
    looking: AtomicU32,
    /// The long ones among those measured.
    long: AtomicU32,
}

/// The time of one chunk in a chain, from its beginning.
#[derive(Debug)]
pub struct Lap<'p> {
    pace: &'p Pace,
    aside: bool,
    begun: Instant,
    cpu_begun: Option<Duration>,
}

impl Lap<'_> {
    /// Whether a worker is to leave it: it took too long already.
    pub fn holds_up(&self) -> bool {
        !self.aside && self.begun.elapsed() > LONG
    }

    /// A plugin met its deadline: off the workers with the chain, for a while. Whether that is news.
    pub fn overran(&self) -> bool {
        self.pace.overran_until_ms.store(clean_ms(), Ordering::Relaxed);
        self.pace.put_aside()
    }

    /// It is over: how long it took, and whether the chain has just been put aside for it.
    pub fn end(self) -> (Duration, bool) {
        let (wall, cpu_begun) = (self.begun.elapsed(), self.cpu_begun);
        let cpu = cpu_begun.map(|begun| thread_cpu_time().saturating_sub(begun));
        (wall, self.pace.took(wall, cpu))
    }
}

impl Pace {
    /// Whether the chain is to run aside now.
    pub fn is_aside(&self) -> bool {
        let until = self.aside_until_ms.load(Ordering::Relaxed);
        until != 0 && now_ms() < until
    }

    /// Whether one of its plugins met its deadline lately.
    pub fn has_overrun(&self) -> bool {
        now_ms() < self.overran_until_ms.load(Ordering::Relaxed)
    }

    fn put_aside(&self) -> bool {
        self.aside_until_ms.swap(clean_ms(), Ordering::Relaxed) <= now_ms()
    }

    /// A chunk begins; `aside`: not on a worker, where its CPU time is always measured.
    pub fn begin(&self, aside: bool) -> Lap<'_> {
        let measured = aside || self.looking.load(Ordering::Relaxed) > 0;
        Lap { pace: self, aside, begun: Instant::now(), cpu_begun: measured.then(thread_cpu_time) }
    }

    fn took(&self, wall: Duration, cpu: Option<Duration>) -> bool {
        let Some(cpu) = cpu else {
            if wall > LONG {
                self.long.store(0, Ordering::Relaxed);
                self.looking.store(LOOKED_AT, Ordering::Relaxed);
            }
            return false;
        };
        // Workers may count past each other here: then it is a few chunks more or less.
        let looking = self.looking.load(Ordering::Relaxed);
        self.looking.store(looking.saturating_sub(1), Ordering::Relaxed);
        if cpu <= LONG {
            return false;
        }
        let long = self.long.fetch_add(1, Ordering::Relaxed) + 1;
        // A single one aside keeps it there.
        (long >= TOO_MANY || self.is_aside()) && self.put_aside()
    }
}

/// When a chain is clean that is not now.
fn clean_ms() -> u64 {
    now_ms() + u64::try_from(CLEAN.as_millis()).unwrap_or(u64::MAX)
}

/// Since the first chain was asked, and never 0.
fn now_ms() -> u64 {
    u64::try_from(STARTED.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(20);

    #[test]
    fn having_waited_for_a_core_is_not_slow() {
        let pace = Pace::default();
        for _ in 0..10 * LOOKED_AT {
            assert!(!pace.took(10 * LONG, Some(SHORT)) && !pace.took(10 * LONG, None));
        }
        assert!(!pace.is_aside());
    }

    #[test]
    fn a_second_long_chunk_among_a_hundred_puts_it_aside() {
        let pace = Pace::default();
        assert!(!pace.took(2 * LONG, None));
        assert!(pace.begin(false).cpu_begun.is_some(), "suspicion: it is measured");
        assert!(!pace.took(2 * LONG, Some(2 * LONG)));
        assert!(!pace.is_aside());
        assert!(pace.took(2 * LONG, Some(2 * LONG)), "said once");
        assert!(pace.is_aside() && !pace.took(2 * LONG, Some(2 * LONG)));
    }

    #[test]
    fn a_long_chunk_now_and_then_does_not() {
        let pace = Pace::default();
        for _ in 0..10 {
            pace.took(2 * LONG, None);
            pace.took(2 * LONG, Some(2 * LONG));
            for _ in 1..LOOKED_AT {
                assert!(!pace.took(SHORT, Some(SHORT)));
            }
            assert!(pace.begin(false).cpu_begun.is_none(), "it is not measured any more");
        }
        assert!(!pace.is_aside());
    }

    #[test]
    fn a_minute_after_the_last_long_chunk_the_workers_take_it_back() {
        let pace = Pace::default();
        assert!(pace.begin(false).overran());
        assert!(pace.is_aside() && pace.has_overrun());
        for until in [&pace.aside_until_ms, &pace.overran_until_ms] {
            assert!(until.load(Ordering::Relaxed) > now_ms() + 59_000);
            until.store(now_ms(), Ordering::Relaxed);
        }
        assert!(!pace.is_aside() && !pace.has_overrun());
        assert!(!pace.took(2 * LONG, Some(2 * LONG)), "one alone does not put it aside again");
    }
}
