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
/// Records of a stretch that are handed on, and stretches at the same time: a store that lacks many is busy, and does not
/// become less so by more of them.
const HANDED_ON_RECORDS_MAX: usize = 256;
const HANDED_ON_MAX: usize = 4;

/// Reads stretches, one at a time per partition.
pub(super) struct Gaps {
    ranges: Arc<Ranges>,
    permits: Arc<Semaphore>,
    handing_on: Arc<Semaphore>,
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
            handing_on: Arc::new(Semaphore::new(HANDED_ON_MAX)),
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

    /// Gives the store what was read, so that the next reader finds it there, unless enough others are being given; nobody
    /// else closes this gap meanwhile. The answer in hand does not wait for it. Of a long stretch only the beginning is
    /// given, and nothing if a projector of this gateway is about to give it (`fed`).
    pub(super) fn hand_on(&self, slot: &Slot, mut chunk: Chunk, alone: OwnedMutexGuard<()>, fed: bool) {
        if let Some(next) = chunk.entries.get(HANDED_ON_RECORDS_MAX) {
            if fed {
                return;
            }
            (chunk.to, chunk.fresh_ms) = (next.at.offset, None);
            chunk.entries.truncate(HANDED_ON_RECORDS_MAX);
        }
        let Ok(permit) = Arc::clone(&self.handing_on).try_acquire_owned() else { return };
        Counts::add(&self.counts.gaps_closed, 1);
        let (store, slot) = (Arc::clone(&self.store), slot.clone());
        self.runtime.spawn(async move {
            let _held = (alone, permit);
            match store.apply(&slot, &chunk).await {
                Ok(Applied::Done) => {}
                Ok(other) => tracing::debug!(?other, "the store did not need what closed a gap"),
                Err(error) => tracing::debug!(%error, "the store did not take what closed a gap"),
            }
        });
    }
}
