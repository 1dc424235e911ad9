//! The one reader of a topic's live tail: every partition from the log's present end on, new partitions from
//! their beginning, into the ring. It ends some seconds after the last subscriber has gone.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::error::KafkaError;
use tokio::task::JoinSet;
use tokio::time::{interval, sleep};

use super::super::record::Logged;
use super::super::{CLIENT_GROUP, Counts};
use super::fed::Fed;
use super::{Feed, Feeds};
use crate::kafka::consumer::Log;
use crate::ports::Slot;

const TICK: Duration = Duration::from_secs(1);
/// So many ticks without a subscriber: one that reconnects should find the ring as it was.
const LONELY_TICKS_MAX: u32 = 10;
/// One piece, at most.
const RECORDS_MAX: usize = 256;
const BYTES_MAX: usize = 1 << 20;
const RETRY: Duration = Duration::from_millis(250);

/// Reads until nobody follows, or until the feeds stop.
pub(super) async fn run(feeds: Arc<Feeds>, feed: Arc<Feed>) {
    Counts::add(&feeds.counts.tail_readers, 1);
    let mut stopping = feeds.stop.subscribe();
    tokio::select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        read = read(&feeds, &feed) => if let Err(error) = read {
            tracing::warn!(%error, topic = &*feed.topic, "a live tail cannot be read");
        },
    }
    // Whoever follows nevertheless does not wait for ever, and begins another reader.
    feeds.forget(&feed);
    feed.ring.clear();
}

async fn read(feeds: &Arc<Feeds>, feed: &Arc<Feed>) -> Result<(), KafkaError> {
    let log = Arc::new(Log::open(&feeds.kafka, CLIENT_GROUP, feeds.fetch_wait_ms, &feeds.runtime)?);
    let mut samples = feeds.ends.watch();
    let mut sample = feeds.ends.now().await;
    let (mut partitions, mut lonely_ticks) = (0, 0);
    let mut readers = JoinSet::new();
    let mut tick = interval(TICK);
    loop {
        let slots = feed.slots(&sample);
        if slots.iter().all(|slot| sample.bounds.contains_key(slot)) && slots.len() > partitions {
            for slot in slots.into_iter().skip(partitions) {
                let Some(bounds) = sample.bounds.get(&slot) else { continue };
                // What was not there at first is new: all of it came after us.
                feed.ring.open(slot.partition, if partitions == 0 { bounds.end } else { bounds.start });
                let reader = follow(Arc::clone(feeds), Arc::clone(feed), Arc::clone(&log), slot);
                readers.spawn_on(reader, &feeds.runtime);
            }
            partitions = readers.len();
            feed.ready.send_replace(true);
        }
        tokio::select! {
            _ = tick.tick() => {
                lonely_ticks = if feed.is_lonely() { lonely_ticks + 1 } else { 0 };
                if lonely_ticks > LONELY_TICKS_MAX && feeds.forget_if_lonely(feed) {
                    return Ok(());
                }
            }
            _ = samples.changed() => sample = Arc::clone(&samples.borrow_and_update()),
            // A partition's reader never ends by itself.
            Some(ended) = readers.join_next() => {
                let why = ended.err().map(|error| error.to_string()).unwrap_or_default();
                return Err(KafkaError::Subscription(why));
            }
        }
    }
}

/// One partition, for as long as the reader runs.
async fn follow(feeds: Arc<Feeds>, feed: Arc<Feed>, log: Arc<Log>, slot: Slot) {
    loop {
        let Some(at) = feed.ring.next_of(slot.partition) else { return };
        let Err(error) = pass_on(&feeds, &feed, &log, &slot, at).await;
        tracing::debug!(%error, partition = slot.partition, "a live tail begins again");
        sleep(RETRY).await;
        let (at, sample) = (feed.ring.next_of(slot.partition), feeds.ends.now().await);
        let (Some(at), Some(bounds)) = (at, sample.bounds.get(&slot)) else { continue };
        if at < bounds.start || at > bounds.end {
            feed.ring.break_off(slot.partition, at.clamp(bounds.start, bounds.end));
        }
    }
}

async fn pass_on(
    feeds: &Feeds,
    feed: &Feed,
    log: &Log,
    slot: &Slot,
    at: i64,
) -> Result<std::convert::Infallible, KafkaError> {
    let tail = log.tail(slot, at)?;
    let mut samples = feeds.ends.watch();
    loop {
        tokio::select! {
            records = tail.next(RECORDS_MAX, BYTES_MAX) => {
                let read = |record| Some(Fed::new(slot.clone(), Logged::read(record)?));
                let events: Vec<Fed> = records?.iter().filter_map(read).collect();
                feed.ring.push(slot.partition, events, tail.position()?);
            }
            // The position passes what is no record.
            _ = samples.changed() => feed.ring.pass(slot.partition, tail.position()?),
        }
    }
}
