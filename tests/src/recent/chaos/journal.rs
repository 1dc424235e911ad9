//! What writers were told: receipts in the order they came, and the newest of each key, for whoever must name one.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use super::answer::Position;
use super::event::Event;

/// So many receipts of a key are at hand.
const AT_HAND_MAX: usize = 32;

/// The run's time.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    began: Instant,
    began_ms: i64,
}

impl Clock {
    /// Begins now.
    pub fn start() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), began_ms: i64::try_from(since.as_millis()).unwrap_or(i64::MAX) }
    }

    /// Microseconds since the run began.
    pub fn us(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since 1970 of such a time.
    pub fn unix_ms(&self, us: u64) -> i64 {
        self.began_ms + i64::try_from(us / 1_000).unwrap_or(i64::MAX)
    }
}

/// An event that is stored, and when the writer knew it.
#[derive(Clone, Copy, Debug)]
pub struct Receipt {
    pub event: Event,
    pub partition: i32,
    /// `None` where Kafka did not tell.
    pub offset: Option<i64>,
    pub acked_us: u64,
}

/// A receipt at hand.
#[derive(Clone, Copy, Debug)]
pub struct Acked {
    pub number: u64,
    pub at: Position,
    pub acked_us: u64,
}

/// All that the writers were told.
#[derive(Debug, Default)]
pub struct Told {
    pub receipts: Vec<Receipt>,
    /// Events that are in no topic and never will be, as the gateway said.
    pub refused: Vec<u64>,
    /// Events whose fate only the log knows.
    pub unknown: Vec<u64>,
    newest: HashMap<u32, VecDeque<Acked>>,
}

/// Shared by writers, readers and the control.
#[derive(Debug, Default)]
pub struct Journal(Mutex<Told>);

impl Journal {
    /// Files what one request's answer said.
    pub fn file(&self, receipts: &[Receipt], refused: &[u64], unknown: &[u64]) {
        let mut told = self.told();
        for receipt in receipts {
            told.receipts.push(*receipt);
            let Some(offset) = receipt.offset else { continue };
            let at = Position { partition: receipt.partition, offset };
            let newest = told.newest.entry(receipt.event.key).or_default();
            newest.push_back(Acked { number: receipt.event.number, at, acked_us: receipt.acked_us });
            if newest.len() > AT_HAND_MAX {
                newest.pop_front();
            }
        }
        told.refused.extend(refused);
        told.unknown.extend(unknown);
    }

    /// The newest receipts of a key, oldest first.
    pub fn newest(&self, key: u32) -> Vec<Acked> {
        self.told().newest.get(&key).map(|newest| newest.iter().copied().collect()).unwrap_or_default()
    }

    /// Any receipt, by a number that is taken modulo their count.
    pub fn any(&self, number: u64) -> Option<Acked> {
        let told = self.told();
        let at = number.checked_rem(told.receipts.len() as u64)?;
        let receipt = told.receipts.get(usize::try_from(at).ok()?)?;
        let at = Position { partition: receipt.partition, offset: receipt.offset? };
        Some(Acked { number: receipt.event.number, at, acked_us: receipt.acked_us })
    }

    /// How many events are stored.
    pub fn stored(&self) -> usize {
        self.told().receipts.len()
    }

    /// All of it, at the end.
    pub fn take(&self) -> Told {
        std::mem::take(&mut *self.told())
    }

    fn told(&self) -> MutexGuard<'_, Told> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
