//! What is older than a slot's beginning, filled in newest first while the projector follows the log's end: so that a
//! slot that is built anew answers for its newest events after moments, and for its whole window in the end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use super::CLIENT_GROUP;
use super::record::{Erasure, Logged};
use super::slot::{Restart, Source};
use crate::kafka::consumer::{Limits, RangeError, Ranges};
use crate::ports::{Applied, Chunk, Floor, Keep, Slot, Watermark};

/// Stretches in hand at the same time, of all slots: they wait in memory until the store has taken them, and are not to
/// take all of its time.
const AT_ONCE_MAX: usize = 2;
/// One stretch, at most: to be assigned anew costs as much as some thousand records.
const OFFSETS_MAX: i64 = 8_192;
const BYTES_MAX: usize = 8 << 20;
/// A stretch that takes longer will not come.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// Reads the stretches to be filled in.
pub(super) struct Older {
    ranges: Arc<Ranges>,
    permits: Semaphore,
    runtime: Handle,
}

/// What one stretch holds.
#[derive(Default)]
struct Stretch {
    events: Vec<Logged>,
    erasures: Vec<Erasure>,
}

impl Older {
    pub(super) fn new(kafka: &ClientConfig, runtime: Handle) -> Older {
        let ranges = Arc::new(Ranges::new(kafka, CLIENT_GROUP, AT_ONCE_MAX));
        Older { ranges, permits: Semaphore::new(AT_ONCE_MAX), runtime }
    }

    async fn read(&self, slot: &Slot, from: i64, to: i64) -> Result<Stretch, RangeError> {
        let (ranges, slot) = (Arc::clone(&self.ranges), slot.clone());
        let reading = self.runtime.spawn_blocking(move || {
            let deadline = Instant::now() + READ_TIMEOUT;
            let limits = Limits { records_max: usize::MAX, bytes_max: BYTES_MAX, deadline };
            let mut stretch = Stretch::default();
            ranges.read(&slot, from, to, limits, |record| {
                stretch.events.extend(Logged::read(record));
                stretch.erasures.extend(Erasure::read(record));
            })?;
            Ok(stretch)
        });
        reading.await.unwrap_or(Err(RangeError::Limit))
    }
}

/// Fills a slot in down to its start, and ends; or when the budget is spent.
///
/// # Errors
/// The slot is in another life, or its floor is not where it was left.
pub(super) async fn fill(
    source: &Source,
    slot: &Slot,
    keep: Keep,
    watermark: &Watermark,
) -> Result<(), Restart> {
    let mut filler = Filler { source, slot, keep, watermark, floor: watermark.floor, length: OFFSETS_MAX };
    let mut delay = RETRY;
    while filler.floor.offset > watermark.start {
        source.stands.filling(slot, filler.floor.offset - watermark.start);
        match filler.next_stretch().await {
            Ok(Applied::Done) => delay = RETRY,
            Ok(Applied::Full) => break,
            Ok(Applied::Gap(_) | Applied::Elsewhere) => return Err(Restart::Elsewhere),
            Err(why) => {
                tracing::debug!(%why, topic = &*slot.topic, partition = slot.partition, "a stretch was not filled in");
                tokio::time::sleep(delay).await;
                delay = (delay * 2).min(RETRY_MAX);
            }
        }
    }
    source.stands.filling(slot, 0);
    Ok(())
}

struct Filler<'a> {
    source: &'a Source,
    slot: &'a Slot,
    keep: Keep,
    watermark: &'a Watermark,
    /// As far as it has come down.
    floor: Floor,
    /// How many offsets are tried at once.
    length: i64,
}

impl Filler<'_> {
    /// Reads what lies below the floor and hands it to the store.
    async fn next_stretch(&mut self) -> Result<Applied, Restart> {
        let Filler { source, slot, watermark, .. } = *self;
        // Given back with each stretch: a store that is away must not hold up the slots of others.
        let _permit = source.older.permits.acquire().await;
        // What retention took meanwhile is in no topic any more.
        let log_start = source.ends.latest().bounds.get(slot).ok_or(Restart::Unknown)?.start;
        let lowest = log_start.max(watermark.start).min(self.floor.offset);
        let from = (self.floor.offset - self.length).max(lowest);
        let stretch = match source.older.read(slot, from, self.floor.offset).await {
            Ok(stretch) => stretch,
            Err(RangeError::Limit) => {
                self.length = (self.length / 2).max(1);
                return Err(Restart::Unknown);
            }
            Err(RangeError::Kafka(error)) => return Err(error.into()),
        };
        self.length = (self.length + self.length / 8 + 1).min(OFFSETS_MAX);
        for erasure in &stretch.erasures {
            // Before the events that it erases: they are older.
            let (id, fact) = source.control.note_erasure(slot, erasure);
            source.control.record(&id, fact).await?;
        }
        let reached = if from > lowest {
            // Clocks differ, and what is below may be a little newer than what is above: the whole stretch's newest.
            let newest = stretch.events.iter().map(|event| event.at.time_ms + 1).max();
            Floor { offset: from, time_ms: newest.unwrap_or(self.floor.time_ms) }
        } else {
            Floor { offset: watermark.start, time_ms: 0 }
        };
        let shown = |event: &Logged| !source.control.hides(slot, event.at.offset, &event.body);
        let events = stretch.events.into_iter().filter(shown);
        let chunk = Chunk {
            generation: watermark.generation,
            from: reached.offset,
            to: self.floor.offset,
            fresh_ms: None,
            floor: Some(reached),
            keep: self.keep,
            entries: events.filter_map(|event| event.entry(watermark.generation)).collect(),
        };
        let applied = source.store.fill(slot, &chunk).await?;
        if applied == Applied::Done {
            self.floor = reached;
            let bytes = chunk.entries.iter().map(|entry| entry.body.len()).sum();
            source.count_applied(chunk.entries.len(), bytes, 0);
        }
        Ok(applied)
    }
}
