//! What one slot holds for a query, proven to reach far enough: the certificate is checked here, and the gap
//! closed here. How the parts become an answer is `lookup`'s business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;

use super::answer::AsOf;
use super::body::Body;
use super::gap::OFFSETS_MAX;
use super::lookup::{MinPosition, not_in_window, position_unknown};
use super::record::Logged;
use super::{Counts, Recent, Topic, unix_ms};
use crate::ports::{Chunk, Digest, Generation, Query, Reading, Ref, Slot, Watermark};
use crate::problem::{Code, Problem};

/// An answer without `min_position` may be this old.
const FRESH_MS: i64 = 1000;
/// What a projector at work needs to catch up; longer is for the gap reader.
const PAUSES: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(4), Duration::from_millis(8)];

/// How far an answer must reach.
#[derive(Clone, Copy, Debug)]
pub(super) enum Need {
    /// To the end of the log as it was at most a second ago.
    Fresh,
    /// To this next offset.
    Upto(i64),
}

impl Need {
    /// What a slot must show for this position: another partition's says nothing about it. With the end of its log as
    /// it was after the lookup began, it must show that, too.
    pub(super) fn of(slot: &Slot, min_position: Option<MinPosition>, end: Option<i64>) -> Need {
        let here = min_position.filter(|position| position.partition == slot.partition);
        match here.map(|position| position.offset + 1).max(end) {
            Some(next) => Need::Upto(next),
            None => Need::Fresh,
        }
    }

    fn is_met(self, watermark: &Watermark) -> bool {
        match self {
            Need::Fresh => unix_ms() - watermark.fresh_ms <= FRESH_MS,
            Need::Upto(next) => watermark.next >= next,
        }
    }
}

/// One record found.
pub(super) struct Hit {
    pub(super) at: Ref,
    pub(super) partition: i32,
    generation: Generation,
    /// From the log, if that is where it was found.
    body: Option<Body>,
}

/// What one slot holds for a query.
pub(super) struct View {
    pub(super) generation: Generation,
    /// Whether the log was read for it, and not the store alone.
    pub(super) from_log: bool,
    /// By falling offset; may still hold some that left the window.
    pub(super) hits: Vec<Hit>,
    pub(super) as_of: AsOf,
    /// Nothing received since then is missing; 0 when nothing at all is.
    pub(super) complete_since_ms: i64,
    /// Offsets found that are no longer kept.
    pub(super) below_floor: Vec<i64>,
}

impl View {
    /// `newer` are the events found in the log behind the watermark, by rising offset.
    fn new(
        topic: &Topic,
        slot: &Slot,
        query: &Query,
        reading: Reading,
        newer: Option<Vec<Logged>>,
    ) -> Option<View> {
        let from_log = newer.is_some();
        let watermark = reading.watermark?;
        let hit =
            |at: Ref, body| Hit { at, partition: slot.partition, generation: watermark.generation, body };
        let mut hits: Vec<Hit> = newer
            .into_iter()
            .flatten()
            .rev()
            .filter(|event| matches(query, event))
            .map(|event| hit(event.at, Some(event.body)))
            .collect();
        hits.extend(reading.refs.into_iter().map(|at| hit(at, None)));
        let mut complete_since_ms = watermark.floor.time_ms;
        let per_key = topic.settings.keep().per_key;
        if matches!(query, Query::Key(..)) && hits.len() > per_key {
            hits.truncate(per_key);
            complete_since_ms = complete_since_ms.max(hits.last().map_or(0, |hit| hit.at.time_ms));
        }
        let mut below_floor = Vec::new();
        hits.retain(|hit| {
            let kept = hit.at.offset >= watermark.floor.offset;
            below_floor.extend((!kept).then_some(hit.at.offset));
            kept
        });
        let as_of =
            AsOf { partition: slot.partition, offset: watermark.next - 1, time_ms: watermark.fresh_ms };
        Some(View { generation: watermark.generation, from_log, hits, as_of, complete_since_ms, below_floor })
    }
}

fn matches(query: &Query, event: &Logged) -> bool {
    match query {
        Query::Watermark => false,
        Query::Key(key, _) => event.keys.contains(key),
        Query::Id(digest) => event.ids.contains(digest),
    }
}

impl Recent {
    /// What the slot holds, proven to reach as far as needed.
    pub(super) async fn view(
        &self,
        topic: &Topic,
        slot: &Slot,
        query: &Query,
        need: Need,
        deadline: Instant,
    ) -> Result<View, Problem> {
        let looking = async {
            let mut pauses = PAUSES.into_iter();
            loop {
                let reading = self.reading(slot, query).await;
                let watermark = reading.as_ref().and_then(|reading| reading.watermark);
                match (reading, watermark) {
                    (Some(reading), Some(watermark)) if need.is_met(&watermark) => {
                        return View::new(topic, slot, query, reading, None).ok_or_else(|| self.behind());
                    }
                    (_, Some(watermark)) if self.is_far_behind(slot, &watermark) => return Err(self.behind()),
                    // Freshness comes with a heartbeat, four times a second: not worth waiting for.
                    (_, Some(_)) if matches!(need, Need::Fresh) => break,
                    _ => {}
                }
                match pauses.next() {
                    Some(pause) => tokio::time::sleep(pause).await,
                    None if watermark.is_none() => return Err(self.behind()),
                    None => break,
                }
            }
            self.close_gap(topic, slot, query, need, deadline).await
        };
        tokio::time::timeout_at(deadline.into(), looking).await.unwrap_or_else(|_| Err(self.behind()))
    }

    /// Whether the gap is larger than what is read for a lookup: then nobody need wait for his turn to learn that.
    fn is_far_behind(&self, slot: &Slot, watermark: &Watermark) -> bool {
        let sample = self.ends.latest();
        sample.bounds.get(slot).is_some_and(|bounds| bounds.end - watermark.next > OFFSETS_MAX)
    }

    /// What the slot holds, however far that reaches: good for what was found, not for what was not.
    pub(super) async fn glance(&self, topic: &Topic, slot: &Slot, query: &Query) -> Option<View> {
        let reading = self.reading(slot, query).await?;
        View::new(topic, slot, query, reading, None)
    }

    /// What the store answers, unless it is of another topic of the same name.
    async fn reading(&self, slot: &Slot, query: &Query) -> Option<Reading> {
        let mut reading = self.store.read(slot, query).await.ok()?;
        let sample = self.ends.latest();
        reading.watermark = reading.watermark.filter(|it| it.generation.is_of(sample.id(&slot.topic)));
        Some(reading)
    }

    async fn close_gap(
        &self,
        topic: &Topic,
        slot: &Slot,
        query: &Query,
        need: Need,
        deadline: Instant,
    ) -> Result<View, Problem> {
        let alone = self.gaps.gate(slot).await;
        let mut reading = self.reading(slot, query).await.ok_or_else(|| self.behind())?;
        let watermark = reading.watermark.ok_or_else(|| self.behind())?;
        if need.is_met(&watermark) {
            return View::new(topic, slot, query, reading, None).ok_or_else(|| self.behind());
        }
        let sample = self.ends.now().await;
        let bounds = sample.bounds.get(slot).ok_or_else(|| self.behind())?;
        let to = match need {
            Need::Upto(next) if next > bounds.end => return Err(position_unknown()),
            Need::Upto(next) => next,
            Need::Fresh => bounds.end.max(watermark.next),
        };
        let from = watermark.next.max(bounds.start);
        let generation = watermark.generation;
        let mut events = match from < to {
            true => self.gaps.read(slot, from, to, deadline).await.ok_or_else(|| self.behind())?,
            false => Vec::new(),
        };
        events.retain(|event| !self.control.hides(slot, event.at.offset, &event.body));
        let entries = events.iter().cloned().filter_map(|event| event.entry(generation)).collect();
        let fresh_ms = (to >= bounds.end).then_some(sample.requested_ms);
        let keep = topic.settings.keep();
        let chunk = Chunk { generation, from: watermark.next, to, fresh_ms, floor: None, keep, entries };
        self.gaps.hand_on(slot, chunk, alone);
        let fresh_ms = watermark.fresh_ms.max(fresh_ms.unwrap_or(0));
        reading.watermark = Some(Watermark { next: to, fresh_ms, ..watermark });
        View::new(topic, slot, query, reading, Some(events)).ok_or_else(|| self.behind())
    }

    /// The bodies of the hits that the store has, in their order; one round trip per slot.
    pub(super) async fn bodies(&self, topic: &Topic, hits: &[Hit]) -> Vec<Option<Body>> {
        let mut by_slot: std::collections::BTreeMap<(i32, u64), Vec<usize>> =
            std::collections::BTreeMap::new();
        for (i, hit) in hits.iter().enumerate().filter(|(_, hit)| hit.body.is_none()) {
            by_slot.entry((hit.partition, hit.generation.0)).or_default().push(i);
        }
        let mut found: Vec<Option<Body>> = hits.iter().map(|hit| hit.body.clone()).collect();
        let asked = by_slot.into_iter().map(|((partition, generation), places)| async move {
            let slot = Slot { topic: Arc::clone(&topic.topic), partition };
            let offsets: Vec<i64> = places.iter().filter_map(|i| Some(hits.get(*i)?.at.offset)).collect();
            (places, self.store.bodies(&slot, Generation(generation), &offsets).await.unwrap_or_default())
        });
        for (places, bodies) in join_all(asked).await {
            for (place, bytes) in places.into_iter().zip(bodies) {
                let read = |bytes| Body::decode(&bytes, hits[place].generation, &hits[place].at.id_digest);
                found[place] = bytes.and_then(read);
            }
        }
        found
    }

    /// The event the store has for an offset.
    pub(super) async fn stored_at(&self, slot: &Slot, offset: i64) -> Option<Body> {
        let watermark = self.reading(slot, &Query::Watermark).await?.watermark?;
        let mut bodies = self.store.bodies(slot, watermark.generation, &[offset]).await.ok()?;
        let bytes = bodies.pop()??;
        let digest: Digest = Body::digest(&bytes)?;
        Body::decode(&bytes, watermark.generation, &digest)
    }

    /// The event the log has at an offset.
    pub(super) async fn logged_at(
        &self,
        slot: &Slot,
        offset: i64,
        deadline: Instant,
    ) -> Result<Body, Problem> {
        let sample = self.ends.now().await;
        let bounds = sample.bounds.get(slot).ok_or_else(|| self.behind())?;
        if offset >= bounds.end {
            return Err(position_unknown());
        }
        let gone = || not_in_window(unix_ms());
        if offset < bounds.start {
            return Err(gone());
        }
        let events = self.gaps.read(slot, offset, offset + 1, deadline).await;
        let event = events.ok_or_else(|| self.behind())?.pop();
        event.map(|event| event.body).ok_or_else(gone)
    }

    pub(super) fn behind(&self) -> Problem {
        Counts::add(&self.counts.behind, 1);
        Problem::new(Code::Behind, "the answer could not be shown to reach far enough in time; ask again")
    }
}
