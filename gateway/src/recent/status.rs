//! Where every partition stands, for operators: what the store says, beside where its log ends.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::watch;

use super::{Recent, unix_ms};
use crate::ports::{Query, Slot};

/// One partition. `None` is what was not answered, or is not so yet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Standing {
    /// The route that belongs to the topic.
    pub route: Arc<str>,
    /// The topic.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The present life of its contents.
    pub generation: Option<String>,
    /// The next offset to be read into the store.
    pub next: Option<i64>,
    /// Where the log ended lately: one past its last offset.
    pub end: Option<i64>,
    /// How many offsets lie between the two.
    pub lag_events: Option<i64>,
    /// When `next` was last known to be the end (RFC 3339).
    pub fresh_at: Option<String>,
    /// The lowest offset that is kept.
    pub floor: Option<i64>,
    /// How many offsets below it are still to be filled in.
    pub to_fill: Option<i64>,
    /// Nothing received since then is missing (RFC 3339); `None`: nothing at all within the window.
    pub complete_since: Option<String>,
}

/// How far behind the partitions of a topic are that this gateway reads into the store.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lag {
    /// Offsets, all partitions together.
    pub events: i64,
    /// The longest time since one of them was known to be at its end, in milliseconds.
    pub stale_ms: i64,
    /// Offsets that are still to be filled in below their floors, all partitions together.
    pub to_fill: i64,
}

/// Where the projectors of this gateway stand.
#[derive(Debug, Default)]
pub(super) struct Stands(Mutex<BTreeMap<Slot, Stand>>);

#[derive(Debug, Default)]
struct Stand {
    /// The next offset to be read into the store.
    next: watch::Sender<i64>,
    /// When that was last known to be the end.
    fresh_ms: i64,
    to_fill: i64,
}

impl Stands {
    pub(super) fn at(&self, slot: &Slot, next: i64, fresh_ms: i64) {
        let mut stands = self.stands();
        let stand = stands.entry(slot.clone()).or_default();
        stand.next.send_if_modified(|before| std::mem::replace(before, next) != next);
        stand.fresh_ms = fresh_ms;
    }

    /// Waits until the store has been given all below `next`, if a projector of this gateway gives it.
    pub(super) async fn reaches(&self, slot: &Slot, next: i64) {
        let ahead = {
            let stands = self.stands();
            stands.get(slot).filter(|stand| *stand.next.borrow() < next).map(|stand| stand.next.subscribe())
        };
        if let Some(mut stand) = ahead {
            // An error: it is another gateway's now.
            drop(stand.wait_for(|at| *at >= next).await);
        }
    }

    /// Whether a projector of this gateway gives the store this slot.
    pub(super) fn feeds(&self, slot: &Slot) -> bool {
        self.stands().contains_key(slot)
    }

    pub(super) fn filling(&self, slot: &Slot, to_fill: i64) {
        self.stands().entry(slot.clone()).or_default().to_fill = to_fill;
    }

    pub(super) fn gone(&self, slot: &Slot) {
        self.stands().remove(slot);
    }

    fn stands(&self) -> MutexGuard<'_, BTreeMap<Slot, Stand>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    /// Where every partition stands, by route and partition. Partitions of a topic that Kafka has not told of are not
    /// listed.
    pub async fn status(&self) -> Vec<Standing> {
        let sample = self.ends.latest();
        let standing = async |route: Arc<str>, slot: Slot| {
            let watermark =
                self.store.read(&slot, &Query::Watermark).await.ok().and_then(|read| read.watermark);
            let end = sample.bounds.get(&slot).map(|bounds| bounds.end);
            let next = watermark.map(|watermark| watermark.next);
            let time = |ms: i64| {
                let time = Timestamp::from_millisecond(ms).ok().filter(|_| ms > 0);
                time.map(|time| time.to_string())
            };
            Standing {
                route,
                partition: slot.partition,
                topic: slot.topic,
                generation: watermark.map(|watermark| watermark.generation.to_string()),
                next,
                end,
                lag_events: next.zip(end).map(|(next, end)| (end - next).max(0)),
                fresh_at: watermark.and_then(|watermark| time(watermark.fresh_ms)),
                floor: watermark.map(|watermark| watermark.floor.offset),
                to_fill: watermark.map(|watermark| watermark.to_fill()),
                complete_since: watermark.and_then(|watermark| time(watermark.floor.time_ms)),
            }
        };
        let mut slots: Vec<_> = self
            .routes
            .values()
            .flat_map(|topic| {
                let of_topic = sample.slots().filter(|slot| slot.topic == topic.topic);
                of_topic.map(|slot| (Arc::clone(&topic.route), slot)).collect::<Vec<_>>()
            })
            .collect();
        slots.sort();
        join_all(slots.into_iter().map(|(route, slot)| standing(route, slot))).await
    }

    /// How far behind this gateway is with the partitions that it reads into the store, by topic.
    pub fn lag(&self) -> BTreeMap<Arc<str>, Lag> {
        let (sample, now_ms) = (self.ends.latest(), unix_ms());
        let mut lags: BTreeMap<Arc<str>, Lag> =
            self.routes.values().map(|topic| (Arc::clone(&topic.topic), Lag::default())).collect();
        for (slot, stand) in &*self.stands.stands() {
            let (Some(lag), Some(bounds)) = (lags.get_mut(&slot.topic), sample.bounds.get(slot)) else {
                continue;
            };
            lag.events += (bounds.end - *stand.next.borrow()).max(0);
            lag.stale_ms = lag.stale_ms.max(now_ms - stand.fresh_ms);
            lag.to_fill += stand.to_fill;
        }
        lags
    }
}
