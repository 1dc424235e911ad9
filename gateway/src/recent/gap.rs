//! Reads from Kafka what the store does not have yet, or has lost: the stretch between its watermark and where
//! an answer must reach, and single records whose body is absent. It gives up rather than overload Kafka.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use rdkafka::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::{Mutex as AsyncMutex, OwnedMutexGuard, Semaphore};

use super::control::Control;
use super::record::{Erasure, Logged};
use super::{CLIENT_GROUP, Counts};
use crate::kafka::consumer::{Limits, RangeError, Ranges};
use crate::ports::{Applied, Chunk, RecentStore, Slot};

/// Stretches read at the same time, and consumers kept for them.
const AT_ONCE_MAX: usize = 4;
const RECORDS_MAX: usize = 2_000;
/// The longest stretch read for a lookup. A projector that builds a slot anew reads ten times as much a second, if
/// lookups leave it the processor.
pub(super) const OFFSETS_MAX: i64 = 2_000;
const BYTES_MAX: usize = 8 << 20;
/// Records handed on at once.
const PIECE_RECORDS_MAX: usize = 256;

/// Reads stretches, one at a time per partition.
pub(super) struct Gaps {
    ranges: Arc<Ranges>,
    permits: Arc<Semaphore>,
    gates: Mutex<HashMap<Slot, Arc<AsyncMutex<()>>>>,
    store: Arc<dyn RecentStore>,
    control: Arc<Control>,
    runtime: Handle,
    counts: Arc<Counts>,
}

impl Gaps {
    pub(super) fn new(
        kafka: &ClientConfig,
        store: Arc<dyn RecentStore>,
        control: Arc<Control>,
        runtime: Handle,
        counts: Arc<Counts>,
    ) -> Gaps {
        Gaps {
            ranges: Arc::new(Ranges::new(kafka, CLIENT_GROUP, AT_ONCE_MAX)),
            permits: Arc::new(Semaphore::new(AT_ONCE_MAX)),
            gates: Mutex::default(),
            store,
            control,
            runtime,
            counts,
        }
    }

    /// Waits until nobody else closes this partition's gap. Whoever comes next finds it closed.
    pub(super) async fn gate(&self, slot: &Slot) -> OwnedMutexGuard<()> {
        let gate = {
            let mut gates = self.gates.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(gates.entry(slot.clone()).or_default())
        };
        gate.lock_owned().await
    }

    /// The events of `from..to`, all of them, in order, hidden or not; `None` if that is not to be had before the
    /// deadline. What the stretch erases is noted.
    pub(super) async fn read(
        &self,
        slot: &Slot,
        from: i64,
        to: i64,
        deadline: Instant,
    ) -> Option<Vec<Logged>> {
        // Offsets are dense but for a few markers: do not begin what cannot be ended.
        if to - from > OFFSETS_MAX {
            return None;
        }
        let permit = Arc::clone(&self.permits).acquire_owned().await.ok()?;
        let (ranges, control, slot) = (Arc::clone(&self.ranges), Arc::clone(&self.control), slot.clone());
        let reading = self.runtime.spawn_blocking(move || {
            let _permit = permit;
            let limits = Limits { records_max: RECORDS_MAX, bytes_max: BYTES_MAX, deadline };
            let mut events = Vec::new();
            ranges.read(&slot, from, to, limits, |record| {
                events.extend(Logged::read(record));
                if let Some(erasure) = Erasure::read(record) {
                    control.note_erasure(&slot, &erasure);
                }
            })?;
            Ok::<_, RangeError>(events)
        });
        match reading.await.ok()? {
            Ok(events) => Some(events),
            Err(error) => {
                tracing::debug!(%error, "a gap was not closed");
                None
            }
        }
    }

    /// Gives the store what was read, so that the next reader finds it there; nobody else closes this gap meanwhile. The
    /// answer in hand does not wait for it.
    pub(super) fn hand_on(&self, slot: &Slot, chunk: Chunk, alone: OwnedMutexGuard<()>) {
        Counts::add(&self.counts.gaps_closed, 1);
        let (store, slot) = (Arc::clone(&self.store), slot.clone());
        self.runtime.spawn(async move {
            let _alone = alone;
            for piece in pieces(chunk) {
                match store.apply(&slot, &piece).await {
                    Ok(Applied::Done) => {}
                    Ok(other) => {
                        return tracing::debug!(?other, "the store did not need what closed a gap");
                    }
                    Err(error) => return tracing::debug!(%error, "the store did not take what closed a gap"),
                }
            }
        });
    }
}

/// The same in pieces that the store takes well within its time: one behind a long one would wait too long.
fn pieces(mut chunk: Chunk) -> Vec<Chunk> {
    let mut pieces = Vec::new();
    while chunk.entries.len() > PIECE_RECORDS_MAX {
        let rest = chunk.entries.split_off(PIECE_RECORDS_MAX);
        let to = rest.first().map_or(chunk.to, |entry| entry.at.offset);
        let entries = std::mem::replace(&mut chunk.entries, rest);
        pieces.push(Chunk { to, fresh_ms: None, floor: None, entries, ..chunk });
        chunk.from = to;
    }
    pieces.push(chunk);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Entry, Generation, Keep, Ref};

    #[test]
    fn pieces_cover_the_whole_stretch_and_the_last_says_how_fresh_it_is() {
        let entry = |offset| Entry {
            at: Ref { offset, time_ms: 0, type_digest: [0; 8], id_digest: [0; 16] },
            keys: Vec::new(),
            ids: [[0; 16]; 2],
            body: bytes::Bytes::new(),
        };
        let count = 2 * PIECE_RECORDS_MAX + 1;
        // Only every second offset is a record of ours.
        let entries: Vec<Entry> =
            (0..i64::try_from(count).expect("few")).map(|n| entry(10 + 2 * n)).collect();
        let to = 10 + 2 * i64::try_from(count).expect("few");
        let keep = Keep { window_ms: 1, per_key: 1, bytes_max: 1 };
        let chunk =
            Chunk { generation: Generation(1), from: 5, to, fresh_ms: Some(7), floor: None, keep, entries };
        let pieces = pieces(chunk);
        assert_eq!(pieces.iter().map(|piece| piece.entries.len()).sum::<usize>(), count);
        assert_eq!((pieces[0].from, pieces[2].to, pieces.len()), (5, to, 3));
        for pair in pieces.windows(2) {
            assert_eq!(pair[0].to, pair[1].from);
        }
        for piece in &pieces {
            assert!(piece.entries.iter().all(|entry| (piece.from..piece.to).contains(&entry.at.offset)));
        }
        assert_eq!(pieces.iter().map(|piece| piece.fresh_ms).collect::<Vec<_>>(), [None, None, Some(7)]);
    }
}
