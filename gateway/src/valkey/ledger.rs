//! How many bytes each slot holds, as far as this process wrote them, so that the floor can rise before the
//! memory is full. What an earlier process wrote is not in it: that leaves with the window.

use std::collections::{HashMap, VecDeque};

use crate::ports::{Entry, Floor, Generation, Keep, Slot};

#[derive(Default)]
pub(super) struct Ledgers(HashMap<Slot, Ledger>);

#[derive(Default)]
struct Ledger {
    generation: Option<Generation>,
    written: VecDeque<Written>,
    bytes: u64,
}

/// What one call wrote.
struct Written {
    /// One past the last offset.
    to: i64,
    /// The newest time of its records.
    time_ms: i64,
    bytes: u64,
}

impl Ledgers {
    /// Notes what was written; answers where the floor must rise to, if the budget is exceeded.
    pub(super) fn note(
        &mut self,
        slot: &Slot,
        generation: Generation,
        written: (i64, i64, u64),
        keep: Keep,
        now_ms: i64,
    ) -> Option<Floor> {
        let ledger = self.of(slot, generation);
        let (to, time_ms, bytes) = written;
        ledger.written.push_back(Written { to, time_ms, bytes });
        ledger.bytes += bytes;
        let expired = now_ms.saturating_sub(keep.window_ms);
        let mut floor = None;
        while let Some(first) = ledger.written.front() {
            let over_budget = ledger.bytes > keep.bytes_max;
            if !over_budget && first.time_ms >= expired {
                break;
            }
            if over_budget && first.time_ms >= expired {
                floor = Some(Floor { offset: first.to, time_ms: first.time_ms + 1 });
            }
            ledger.bytes -= first.bytes;
            ledger.written.pop_front();
        }
        floor
    }

    /// Whether so many bytes more are within the budget.
    pub(super) fn has_room(&mut self, slot: &Slot, generation: Generation, bytes: u64, keep: Keep) -> bool {
        self.of(slot, generation).bytes + bytes <= keep.bytes_max
    }

    /// Notes what was filled in below all that is noted.
    pub(super) fn note_older(&mut self, slot: &Slot, generation: Generation, written: (i64, i64, u64)) {
        let (to, time_ms, bytes) = written;
        let ledger = self.of(slot, generation);
        ledger.written.push_front(Written { to, time_ms, bytes });
        ledger.bytes += bytes;
    }

    fn of(&mut self, slot: &Slot, generation: Generation) -> &mut Ledger {
        let ledger = self.0.entry(slot.clone()).or_default();
        if ledger.generation != Some(generation) {
            *ledger = Ledger { generation: Some(generation), ..Ledger::default() };
        }
        ledger
    }
}

/// About what an entry takes in Valkey: its body, and what names and refs cost.
pub(super) fn cost(entry: &Entry) -> u64 {
    u64::try_from(entry.body.len() + 400 + 50 * entry.keys.len()).unwrap_or(u64::MAX)
}

/// The newest time of these entries, in ms since 1970.
pub(super) fn newest_ms<'e>(entries: impl Iterator<Item = &'e Entry>) -> Option<i64> {
    entries.map(|entry| entry.at.time_ms).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_rises_when_the_budget_is_exceeded_and_not_for_what_expired() {
        let slot = Slot { topic: "t".into(), partition: 0 };
        let keep = Keep { window_ms: 1000, per_key: 4, bytes_max: 100 };
        let mut ledgers = Ledgers::default();
        let mut note =
            |to, time, bytes, now| ledgers.note(&slot, Generation(1), (to, time, bytes), keep, now);
        assert_eq!(note(10, 5000, 60, 5000), None);
        assert_eq!(note(20, 5100, 60, 5100), Some(Floor { offset: 10, time_ms: 5001 }));
        assert_eq!(note(30, 6500, 60, 6500), None, "the second had left the window");
    }
}
