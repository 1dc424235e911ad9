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
use crate::ports::{Applied, Chunk, Floor, Generation, Keep, Query, Slot};

/// Stretches in hand at the same time, of all slots: they wait in memory until the store has taken them, and are not to
/// take all of its time.
const AT_ONCE_MAX: usize = 2;
/// One stretch, at most: to be assigned anew costs as much as some thousand records.
const OFFSETS_MAX: i64 = 8_192;
const BYTES_MAX: usize = 8 << 20;
/// A stretch that takes longer will not come.
const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than an event takes from its receipt into the log: a producer tries for 30 s, unless it is set otherwise.
const LATE_MAX_MS: i64 = 60_000;
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
/// The slot is in another life: [`Restart::Elsewhere`].
pub(super) async fn fill(
    source: &Source,
    slot: &Slot,
    keep: Keep,
    generation: Generation,
) -> Result<(), Restart> {
    let mut filler = Filler { source, slot, keep, generation, length: OFFSETS_MAX };
    let mut delay = RETRY;
    loop {
        match filler.next_stretch().await {
            Ok(Step::Down) => delay = RETRY,
            Ok(Step::End) => break,
            Err(Restart::Elsewhere) => return Err(Restart::Elsewhere),
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

/// What became of one stretch.
enum Step {
    /// It was filled in, or the floor turned out to stand elsewhere: there may be another below.
    Down,
    /// There is nothing to fill in, or no room for it.
    End,
}

struct Filler<'a> {
    source: &'a Source,
    slot: &'a Slot,
    keep: Keep,
    generation: Generation,
    /// How many offsets are tried at once.
    length: i64,
}

impl Filler<'_> {
    /// Looks where the floor is, reads the stretch below it, and hands it to the store.
    async fn next_stretch(&mut self) -> Result<Step, Restart> {
        let Filler { source, slot, generation, .. } = *self;
        // Given back with each stretch: a store that is away must not hold up the slots of others.
        let _permit = source.older.permits.acquire().await;
        // Asked each time: what the store did not confirm it may have taken, and another projector may be at it, too.
        let watermark = source.store.read(slot, &Query::Watermark).await?.watermark;
        let watermark = watermark.filter(|it| it.generation == generation).ok_or(Restart::Elsewhere)?;
        let floor = watermark.floor;
        source.stands.filling(slot, watermark.to_fill());
        if watermark.to_fill() == 0 {
            return Ok(Step::End);
        }
        // What retention took meanwhile is in no topic any more.
        let log_start = source.ends.latest().bounds.get(slot).ok_or(Restart::Unknown)?.start;
        let lowest = log_start.max(watermark.start).min(floor.offset);
        let from = (floor.offset - self.length).max(lowest);
        let stretch = match source.older.read(slot, from, floor.offset).await {
            Ok(stretch) => stretch,
            Err(RangeError::Limit) => {
                self.shorten();
                return Err(Restart::Unknown);
            }
            Err(RangeError::Kafka(error)) => return Err(error.into()),
        };
        for erasure in &stretch.erasures {
            // Before the events that it erases: they are older.
            let (id, fact) = source.control.note_erasure(slot, erasure);
            source.control.record(&id, fact).await?;
        }
        let reached = if from > lowest {
            // What is below came into the log before, and yet may have been received after all of these: they were late.
            let newest = stretch.events.iter().map(|event| event.at.time_ms + LATE_MAX_MS).max();
            Floor { offset: from, time_ms: newest.unwrap_or(floor.time_ms).min(floor.time_ms) }
        } else {
            Floor { offset: watermark.start, time_ms: 0 }
        };
        let shown = |event: &Logged| !source.control.hides(slot, event.at.offset, &event.body);
        let events = stretch.events.into_iter().filter(shown);
        let chunk = Chunk {
            generation,
            from: reached.offset,
            to: floor.offset,
            fresh_ms: None,
            floor: Some(reached),
            keep: self.keep,
            entries: events.filter_map(|event| event.entry(generation)).collect(),
        };
        match source.store.fill(slot, &chunk).await {
            Ok(Applied::Done) => {
                self.length = (self.length + self.length / 8 + 1).min(OFFSETS_MAX);
                let bytes = chunk.entries.iter().map(|entry| entry.body.len()).sum();
                source.count_applied(chunk.entries.len(), bytes, 0);
                Ok(Step::Down)
            }
            Ok(Applied::Full) => Ok(Step::End),
            Ok(Applied::Gap(_) | Applied::Elsewhere) => Ok(Step::Down),
            Err(error) => {
                // Less of it is read again in vain.
                self.shorten();
                Err(error.into())
            }
        }
    }

    fn shorten(&mut self) {
        self.length = (self.length / 2).max(1);
    }
}
