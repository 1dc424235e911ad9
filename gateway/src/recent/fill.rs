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
/// Records handed to the store at once.
const PIECE_RECORDS_MAX: usize = 256;
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
        for piece in pieces(chunk) {
            match source.store.fill(slot, &piece).await? {
                Applied::Done => {
                    self.floor = piece.floor.unwrap_or(Floor { offset: piece.from, ..self.floor })
                }
                refused => return Ok(refused),
            }
            let bytes = piece.entries.iter().map(|entry| entry.body.len()).sum();
            source.count_applied(piece.entries.len(), bytes, 0);
        }
        Ok(Applied::Done)
    }
}

/// The same from its end on, in pieces that the store takes well within its time. Only the last one reaches what the
/// chunk's time is of.
fn pieces(mut chunk: Chunk) -> Vec<Chunk> {
    let mut pieces = Vec::new();
    while chunk.entries.len() > PIECE_RECORDS_MAX {
        let entries = chunk.entries.split_off(chunk.entries.len() - PIECE_RECORDS_MAX);
        let from = entries.first().map_or(chunk.to, |entry| entry.at.offset);
        pieces.push(Chunk { from, to: chunk.to, floor: None, entries, ..chunk });
        chunk.to = from;
    }
    pieces.push(chunk);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::{Entry, Generation, Ref};

    #[test]
    fn pieces_cover_the_stretch_from_its_end_and_the_last_has_its_time() {
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
        let to = 12 + 2 * i64::try_from(count).expect("few");
        let (keep, floor) =
            (Keep { window_ms: 1, per_key: 1, bytes_max: 1 }, Some(Floor { offset: 5, time_ms: 7 }));
        let chunk = Chunk { generation: Generation(1), from: 5, to, fresh_ms: None, floor, keep, entries };
        let pieces = pieces(chunk);
        assert_eq!(pieces.iter().map(|piece| piece.entries.len()).sum::<usize>(), count);
        assert_eq!((pieces[0].to, pieces[2].from, pieces.len()), (to, 5, 3));
        for pair in pieces.windows(2) {
            assert_eq!(pair[0].from, pair[1].to);
        }
        for piece in &pieces {
            assert!(piece.entries.iter().all(|entry| (piece.from..piece.to).contains(&entry.at.offset)));
        }
        assert_eq!(pieces.iter().map(|piece| piece.floor).collect::<Vec<_>>(), [None, None, floor]);
    }
}
