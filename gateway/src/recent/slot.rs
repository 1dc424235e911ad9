//! One partition's projector: from the watermark on, in order, into the store. Whatever goes wrong ends in one
//! place: look where the store stands, and begin there again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::error::KafkaError;
use rdkafka::message::BorrowedMessage;
use tokio::sync::watch;

use super::control::{Control, RecordError};
use super::fill::{Older, fill};
use super::free::free;
use super::record::{Erasure, Logged};
use super::status::Stands;
use super::{Counts, unix_ms};
use crate::kafka::consumer::{Bounds, Ends, Log, Sample, Tail};
use crate::ports::{
    Applied, Beginning, Chunk, Floor, Generation, Keep, Query, RecentStore, Slot, StoreError, Watermark,
};

/// One chunk, at most.
const RECORDS_MAX: usize = 256;
const BYTES_MAX: usize = 1 << 20;
/// An idle slot is told that it is fresh no more often, however often the log's end is asked for.
const HEARTBEAT_MS: i64 = 200;
/// A slot begins so many offsets before the log's end, not more than one chunk: it is at the end at once, and lookups need
/// not close a gap meanwhile. What is older is filled in beside.
const BEHIND_END: i64 = 256;
const RETRY: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(2);
/// A tail from which nothing comes for so long, though the log has more, has lost its way.
const STALLED: Duration = Duration::from_secs(5);
/// While the store is away: lookups wait for what is in hand here.
const STORE_RETRY_MAX: Duration = Duration::from_millis(200);

/// What every partition's task shares.
pub(super) struct Source {
    pub(super) log: Arc<Log>,
    pub(super) ends: Arc<Ends>,
    pub(super) store: Arc<dyn RecentStore>,
    pub(super) control: Arc<Control>,
    pub(super) counts: Arc<Counts>,
    pub(super) stands: Arc<Stands>,
    pub(super) older: Older,
    /// The mock cluster: no lookup by time, so a cold slot begins where the log does.
    pub(super) manual: bool,
}

/// Why a partition begins again.
#[derive(Debug, thiserror::Error)]
pub(super) enum Restart {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
    #[error("kafka does not say where the partition begins and ends")]
    Unknown,
    #[error("the store stands elsewhere")]
    Elsewhere,
    #[error("what the log has does not come")]
    Stalled,
    #[error("an erasure was not recorded: {0}")]
    Erasure(#[from] RecordError),
}

/// Follows one partition until the task is aborted; tells when it has its whole window, up to the log's end as it was
/// when it began.
pub(super) async fn project(source: Arc<Source>, slot: Slot, keep: Keep, caught_up: watch::Sender<bool>) {
    let mut delay = RETRY;
    loop {
        let began = tokio::time::Instant::now();
        let Err(why) = follow(&source, &slot, keep, &caught_up).await;
        tracing::info!(topic = &*slot.topic, partition = slot.partition, %why, "the projector begins again");
        Counts::add(&source.counts.rewound, 1);
        if matches!(why, Restart::Elsewhere) || began.elapsed() > RETRY_MAX {
            delay = RETRY;
        }
        if !matches!(why, Restart::Elsewhere) {
            tokio::time::sleep(delay).await;
            delay = (delay * 2).min(RETRY_MAX);
        }
    }
}

async fn follow(
    source: &Source,
    slot: &Slot,
    keep: Keep,
    caught_up: &watch::Sender<bool>,
) -> Result<std::convert::Infallible, Restart> {
    let (watermark, bounds) = stand(source, slot, keep).await?;
    let filled = AtomicBool::new(false);
    let filling = async {
        fill(source, slot, keep, watermark.generation).await?;
        filled.store(true, Ordering::Relaxed);
        Ok(())
    };
    let following = async {
        let caught_up = || {
            filled.load(Ordering::Relaxed)
                && caught_up.send_if_modified(|told| !std::mem::replace(told, true))
        };
        follow_end(source, slot, keep, (watermark, bounds), caught_up).await
    };
    let (never, ()) = tokio::try_join!(following, filling)?;
    Ok(never)
}

async fn follow_end(
    source: &Source,
    slot: &Slot,
    keep: Keep,
    (watermark, bounds): (Watermark, Bounds),
    caught_up: impl Fn() -> bool,
) -> Result<std::convert::Infallible, Restart> {
    let mut follower = Follower {
        source,
        slot,
        keep,
        generation: watermark.generation,
        next: watermark.next,
        samples: source.ends.watch(),
        told_ms: watermark.fresh_ms,
        advanced: Instant::now(),
        waiting: None,
    };
    source.stands.at(slot, watermark.next, watermark.fresh_ms);
    follower.skip_to(bounds.start).await?;
    let tail = source.log.tail(slot, follower.next)?;
    loop {
        if follower.next >= bounds.end {
            caught_up();
        }
        follower.step(&tail).await?;
    }
}

/// Where the store stands, opened if need be, and what the log holds.
async fn stand(source: &Source, slot: &Slot, keep: Keep) -> Result<(Watermark, Bounds), Restart> {
    // The store before the log's end, so that a watermark beyond the end is not another projector's progress;
    // the end before the opening, so that a slot opened at or below it has missed nothing acked before.
    let reading = source.store.read(slot, &Query::Watermark).await?;
    let sample = source.ends.now().await;
    let bounds = *sample.bounds.get(slot).ok_or(Restart::Unknown)?;
    let seen = match reading.watermark {
        Some(watermark)
            if watermark.next <= bounds.end
                && watermark.generation.is_of(sample.id(&slot.topic))
                && watermark.extent == keep.extent() =>
        {
            return Ok((watermark, bounds));
        }
        // Beyond the end, of another topic of this name, or cut by another measure. What the slot holds is of no use.
        Some(watermark) => Some(watermark.generation),
        None => None,
    };
    let begin = beginning(&source.ends, source.manual, slot, keep, bounds).await?;
    let watermark = source.store.open(slot, seen, Generation::new(sample.id(&slot.topic)), begin).await?;
    Counts::add(&source.counts.opened, 1);
    if watermark.next > bounds.end { Err(Restart::Elsewhere) } else { Ok((watermark, bounds)) }
}

/// Where a slot begins: near the log's end, to be filled in down to the first record that can still be in the window.
pub(super) async fn beginning(
    ends: &Arc<Ends>,
    manual: bool,
    slot: &Slot,
    keep: Keep,
    bounds: Bounds,
) -> Result<Beginning, Restart> {
    let start = window_start(ends, manual, slot, keep, bounds).await?;
    let offset = start.max(bounds.end - BEHIND_END);
    // What is below may be of this very millisecond.
    let time_ms = if offset > start { unix_ms() + 1 } else { 0 };
    Ok(Beginning { floor: Floor { offset, time_ms }, start, extent: keep.extent() })
}

/// The first offset whose record can still be in the window.
async fn window_start(
    ends: &Arc<Ends>,
    manual: bool,
    slot: &Slot,
    keep: Keep,
    bounds: Bounds,
) -> Result<i64, Restart> {
    if manual {
        return Ok(bounds.start);
    }
    let (ends, slot) = (Arc::clone(ends), slot.clone());
    let since_ms = unix_ms().saturating_sub(keep.window_ms);
    let asked = tokio::task::spawn_blocking(move || ends.offset_at(&slot, since_ms)).await;
    let at = asked.map_err(|_| Restart::Unknown)??.ok_or(Restart::Unknown)?;
    Ok(at.clamp(bounds.start, bounds.end))
}

/// One partition in its present life, with a live tail.
struct Follower<'a> {
    source: &'a Source,
    slot: &'a Slot,
    keep: Keep,
    generation: Generation,
    next: i64,
    samples: watch::Receiver<Arc<Sample>>,
    /// The newest freshness the store was told.
    told_ms: i64,
    /// When `next` last moved.
    advanced: Instant,
    /// Since when the log has been known to have more, and nothing came.
    waiting: Option<Instant>,
}

impl Follower<'_> {
    /// Waits for records or for the next sample of the log's end, and applies what came.
    async fn step(&mut self, tail: &Tail) -> Result<(), Restart> {
        tokio::select! {
            records = tail.next(RECORDS_MAX, BYTES_MAX) => self.apply(&records?, tail.position()?).await,
            _ = self.samples.changed() => {
                self.check_log()?;
                self.check_tail()?;
                // The position passes what is no record; an idle partition only gets its heartbeat.
                let position = tail.position()?.max(self.next);
                let beat = |fresh_ms| fresh_ms - self.told_ms >= HEARTBEAT_MS;
                if position > self.next || self.fresh_ms(position).is_some_and(beat) {
                    self.send(self.chunk(position, Vec::new())).await
                } else {
                    Ok(())
                }
            }
        }
    }

    /// That the log is the one that was read so far: not made anew, and not cut.
    fn check_log(&self) -> Result<(), Restart> {
        let sample = self.samples.borrow();
        let cut = sample.requested > self.advanced
            && sample.bounds.get(self.slot).is_some_and(|bounds| bounds.end < self.next);
        if cut || !self.generation.is_of(sample.id(&self.slot.topic)) {
            Err(Restart::Elsewhere)
        } else {
            Ok(())
        }
    }

    /// That what the log has comes.
    fn check_tail(&mut self) -> Result<(), Restart> {
        let has_more = self.samples.borrow().bounds.get(self.slot).is_some_and(|it| it.end > self.next);
        self.waiting = has_more.then(|| self.waiting.unwrap_or_else(Instant::now));
        let stalled = self.waiting.is_some_and(|since| since.elapsed() > STALLED);
        if stalled { Err(Restart::Stalled) } else { Ok(()) }
    }

    async fn apply(&mut self, records: &[BorrowedMessage<'_>], position: i64) -> Result<(), Restart> {
        for erasure in records.iter().filter_map(Erasure::read) {
            // In the control log before the watermark passes it, so that no reader relies on it without knowing it.
            let (id, fact) = self.source.control.note_erasure(self.slot, &erasure);
            self.source.control.record(&id, fact).await?;
            let query = Query::all_of(erasure.key, self.keep.per_key);
            free(&*self.source.store, self.slot, &query, erasure.offset).await?;
        }
        let shown = |event: &Logged| !self.source.control.hides(self.slot, event.at.offset, &event.body);
        let events = records.iter().filter_map(Logged::read).filter(shown);
        let entries: Vec<_> = events.filter_map(|event| event.entry(self.generation)).collect();
        let bytes = entries.iter().map(|entry| entry.body.len()).sum();
        self.source.count_applied(entries.len(), bytes, records.len() - entries.len());
        self.send(self.chunk(position, entries)).await
    }

    /// What lies below the log's start is in no topic any more: pass it, and say so.
    async fn skip_to(&mut self, start: i64) -> Result<(), Restart> {
        if start <= self.next {
            return Ok(());
        }
        let floor = Some(Floor { offset: start, time_ms: unix_ms() });
        self.send(Chunk { floor, ..self.chunk(start, Vec::new()) }).await
    }

    fn chunk(&self, to: i64, entries: Vec<crate::ports::Entry>) -> Chunk {
        Chunk {
            generation: self.generation,
            from: self.next,
            to,
            fresh_ms: self.fresh_ms(to),
            floor: None,
            keep: self.keep,
            entries,
        }
    }

    /// When the newest sample that `to` reaches was requested, if that is news.
    fn fresh_ms(&self, to: i64) -> Option<i64> {
        let sample = self.samples.borrow();
        let reached = sample.bounds.get(self.slot).is_some_and(|bounds| bounds.end <= to);
        (reached && sample.requested_ms > self.told_ms).then_some(sample.requested_ms)
    }

    async fn send(&mut self, chunk: Chunk) -> Result<(), Restart> {
        let mut delay = RETRY;
        loop {
            match self.source.store.apply(self.slot, &chunk).await {
                Ok(Applied::Done) => {
                    if chunk.to > self.next {
                        (self.next, self.advanced, self.waiting) = (chunk.to, Instant::now(), None);
                    }
                    self.told_ms = self.told_ms.max(chunk.fresh_ms.unwrap_or(0));
                    self.source.stands.at(self.slot, self.next, self.told_ms);
                    return Ok(());
                }
                Ok(Applied::Gap(_) | Applied::Elsewhere | Applied::Full) => return Err(Restart::Elsewhere),
                // The chunk stays in hand: the log need not be read again when the store is back.
                Err(error) => {
                    tracing::debug!(%error, partition = self.slot.partition, "the store did not take a chunk");
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(STORE_RETRY_MAX);
                }
            }
        }
    }
}
