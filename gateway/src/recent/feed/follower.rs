//! One subscriber: first what lies between its positions and the ring, from Kafka in bounded stretches, then the
//! ring. It holds no more than it hands on at once, and only moves when it is asked for more.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, watch};

use super::super::Counts;
use super::super::answer::Found;
use super::super::record::Logged;
use super::fed::{Fed, Filter};
use super::positions::Positions;
use super::ring::{Bound, Cut, Entry, Taken};
use super::{Feed, Feeds};
use crate::kafka::consumer::{Limits, RangeError};
use crate::ports::Slot;

/// What is handed on at once.
const AT_ONCE: Bound = Bound { events_max: 128, bytes_max: 256 << 10 };
/// One stretch from Kafka.
const STRETCH_RECORDS_MAX: usize = 1000;
const STRETCH_BYTES_MAX: usize = 256 << 10;
const STRETCH_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_millis(500);

/// What came of waiting for more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Some events.
    Events,
    /// The subscriber lost its place. It may go on from its positions, if the log still has them.
    Cut(Cut),
    /// The gateway stops.
    Ended,
}

/// A part of a partition, read from Kafka.
enum Stretch {
    Read {
        events: Vec<Fed>,
        next: i64,
    },
    /// Kafka does not answer, or does not have it.
    Failed,
}

/// Takes what a subscriber is shown.
type Each<'e> = dyn FnMut(&Positions, &Fed) + Send + 'e;

type Reading = Pin<Box<dyn Future<Output = (Slot, Stretch)> + Send>>;

/// A subscriber. Dropping it ends the subscription.
pub struct Follower {
    feeds: Arc<Feeds>,
    feed: Arc<Feed>,
    filter: Filter,
    positions: Positions,
    /// In the ring; `None` until all before it is read.
    place: Option<u64>,
    reading: Option<Reading>,
    moved: watch::Receiver<()>,
    stopping: watch::Receiver<bool>,
    _seat: OwnedSemaphorePermit,
}

impl Follower {
    /// `feed` has counted this subscriber already.
    pub(super) fn new(
        feeds: Arc<Feeds>,
        feed: Arc<Feed>,
        filter: Filter,
        positions: Positions,
        seat: OwnedSemaphorePermit,
    ) -> Follower {
        let (moved, stopping) = (feed.ring.watch(), feeds.stop.subscribe());
        Follower { feeds, feed, filter, positions, place: None, reading: None, moved, stopping, _seat: seat }
    }

    /// Up to where this subscriber has seen everything that it wants.
    pub fn positions(&self) -> &Positions {
        &self.positions
    }

    /// Turns true when [`next`](Self::next) has ended because the gateway stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.stopping.clone()
    }

    /// Waits for events and hands the JSON of each to `each` with the positions after it. Nothing is lost when the
    /// future is dropped.
    pub async fn next(&mut self, each: &mut (dyn FnMut(&Positions, &[u8]) + Send)) -> Next {
        self.next_fed(&mut |positions, fed| each(positions, fed.json())).await
    }

    /// The same for events that are told in another form.
    pub async fn next_found(&mut self, each: &mut (dyn FnMut(&Positions, Found<'_>) + Send)) -> Next {
        self.next_fed(&mut |positions, fed| each(positions, fed.found())).await
    }

    async fn next_fed(&mut self, each: &mut Each<'_>) -> Next {
        let mut stopping = self.stopping.clone();
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stop| *stop) => Next::Ended,
            next = self.advance(each) => next,
        }
    }

    async fn advance(&mut self, each: &mut Each<'_>) -> Next {
        loop {
            if let Some(reading) = &mut self.reading {
                let (slot, stretch) = reading.await;
                self.reading = None;
                match stretch {
                    Stretch::Read { events, next } => {
                        let shown = self.deliver(events.iter(), each);
                        self.positions.raise(slot.partition, next);
                        if shown > 0 {
                            return Next::Events;
                        }
                    }
                    Stretch::Failed if self.is_gone(&slot) => return self.cut(Cut::Broken),
                    Stretch::Failed => {}
                }
            }
            self.moved.mark_unchanged();
            let Some(place) = self.place else {
                match self.feed.ring.enter(&mut self.positions) {
                    Entry::At(place) => self.place = Some(place),
                    Entry::Behind { partition, from, to } => {
                        let slot = Slot { topic: Arc::clone(&self.feed.topic), partition };
                        self.reading = Some(Box::pin(stretch(Arc::clone(&self.feeds), slot, from, to)));
                    }
                }
                continue;
            };
            match self.feed.ring.take(place, AT_ONCE, &mut self.positions) {
                Taken::Events(events) => {
                    self.place = Some(place + u64::try_from(events.len()).unwrap_or(u64::MAX));
                    if self.deliver(events.iter().map(AsRef::as_ref), each) > 0 {
                        return Next::Events;
                    }
                }
                // The sender lives as long as the feed that we hold.
                Taken::Nothing => drop(self.moved.changed().await),
                Taken::Lost(why) => return self.cut(why),
            }
        }
    }

    /// Hands on what is new to this subscriber, and wanted.
    fn deliver<'a>(&mut self, events: impl Iterator<Item = &'a Fed>, each: &mut Each<'_>) -> usize {
        let mut shown = 0;
        for fed in events {
            let partition = fed.slot.partition;
            if self.positions.of(partition).is_some_and(|next| fed.offset() < next) {
                continue;
            }
            self.positions.raise(partition, fed.offset() + 1);
            if self.filter.wants(&fed.event) && self.feeds.shown(&fed.slot, &fed.event) {
                each(&self.positions, fed);
                shown += 1;
            }
        }
        Counts::add(&self.feeds.counts.tail_sent, shown);
        shown
    }

    /// Whether the log does not reach where this subscriber would go on.
    fn is_gone(&self, slot: &Slot) -> bool {
        let sample = self.feeds.ends.latest();
        let at = self.positions.of(slot.partition).unwrap_or_default();
        sample.bounds.get(slot).is_some_and(|bounds| at < bounds.start || at > bounds.end)
    }

    fn cut(&self, why: Cut) -> Next {
        // The reader may have stopped with the gateway a moment before we heard of it.
        if *self.stopping.borrow() {
            return Next::Ended;
        }
        Counts::add(&self.feeds.counts.tail_cut, 1);
        Next::Cut(why)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.feed.leave();
    }
}

/// Reads the beginning of `from..to`, or all of it.
async fn stretch(feeds: Arc<Feeds>, slot: Slot, from: i64, to: i64) -> (Slot, Stretch) {
    let Ok(permit) = Arc::clone(&feeds.reads).acquire_owned().await else { return (slot, Stretch::Failed) };
    let (ranges, read_slot) = (Arc::clone(&feeds.ranges), slot.clone());
    let reading = feeds.runtime.spawn_blocking(move || {
        let _permit = permit;
        let deadline = Instant::now() + STRETCH_TIMEOUT;
        let limits = Limits { records_max: STRETCH_RECORDS_MAX, bytes_max: STRETCH_BYTES_MAX, deadline };
        let (mut events, mut next) = (Vec::new(), from);
        let outcome = ranges.read(&read_slot, from, to, limits, |record| {
            next = rdkafka::Message::offset(record) + 1;
            events.extend(Logged::read(record).map(|event| Fed::new(read_slot.clone(), event)));
        });
        match outcome {
            Ok(()) => Stretch::Read { events, next: to },
            Err(RangeError::Limit) if next > from => Stretch::Read { events, next },
            Err(error) => {
                tracing::debug!(%error, partition = read_slot.partition, "a stretch could not be read");
                Stretch::Failed
            }
        }
    });
    let read = reading.await.unwrap_or(Stretch::Failed);
    if matches!(read, Stretch::Failed) {
        tokio::time::sleep(RETRY).await;
    }
    (slot, read)
}
