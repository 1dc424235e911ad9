//! What one slot holds for a query, proven to reach far enough: the certificate is checked here, and the gap
//! closed here. How the parts become an answer is `lookup`'s business.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join, join_all, try_join_all};

use super::answer::AsOf;
use super::body::Body;
use super::gap::OFFSETS_MAX;
use super::listing::Listing;
use super::lookup::{MinPosition, not_in_window, position_unknown};
use super::record::Logged;
use super::shown::Identity;
use super::{Counts, Recent, Topic, unix_ms};
use crate::ports::{Chunk, Digest, EventId, Find, Generation, Query, Reading, Ref, Slot, Watermark};
use crate::problem::{Code, Problem};

/// An answer without `min_position` may be this old.
const FRESH_MS: i64 = 1000;
/// What a projector at work needs to catch up; longer is for the gap reader.
const PAUSES: [Duration; 3] = [Duration::from_millis(2), Duration::from_millis(4), Duration::from_millis(8)];
/// How long it is waited for a projector of this gateway, which says when it has caught up.
const APPLIED_SOON: Duration = Duration::from_millis(14);

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
    body: Option<Arc<Body>>,
}

impl Hit {
    fn place(&self, topic: &Topic) -> Find {
        let slot = Slot { topic: Arc::clone(&topic.topic), partition: self.partition };
        Find { slot, generation: self.generation, at: self.at }
    }

    fn identity(&self) -> Identity {
        let Hit { at, partition, generation, .. } = *self;
        Identity { generation, partition, offset: at.offset, id_digest: at.id_digest }
    }
}

/// What is seen of a slot that cannot show enough.
#[derive(Clone, Copy)]
enum Seen {
    /// It stands here.
    At(Watermark),
    /// The store has nothing of it: a projector has to open it first.
    Nothing,
    /// The store did not answer.
    Unknown,
}

impl Seen {
    fn of(reading: Option<&Reading>) -> Seen {
        match reading.map(|reading| reading.watermark) {
            Some(Some(watermark)) => Seen::At(watermark),
            Some(None) => Seen::Nothing,
            None => Seen::Unknown,
        }
    }
}

/// What one slot holds for a query.
pub(super) struct View {
    pub(super) watermark: Watermark,
    /// Whether the log was read for it, and not the store alone.
    pub(super) from_log: bool,
    /// By falling offset; may still hold some that left the window.
    pub(super) hits: Vec<Hit>,
    pub(super) as_of: AsOf,
    /// Nothing received since then is missing; 0 when nothing at all is.
    pub(super) complete_since_ms: i64,
    /// Whether more are listed than were asked for.
    pub(super) partial: bool,
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
        let partial = reading.refs.len() < reading.listed;
        let hit =
            |at: Ref, body| Hit { at, partition: slot.partition, generation: watermark.generation, body };
        let mut hits: Vec<Hit> = newer
            .into_iter()
            .flatten()
            .rev()
            .filter(|event| matches(query, event))
            .map(|event| hit(event.at, Some(Arc::new(event.body))))
            .collect();
        hits.extend(reading.refs.into_iter().map(|at| hit(at, None)));
        let mut complete_since_ms = watermark.floor.time_ms;
        let per_key = topic.settings.keep().per_key.min(watermark.extent.per_key);
        if matches!(query, Query::Key { .. }) {
            let cut = hits.split_off(per_key.min(hits.len()));
            let cut_ms = cut.iter().map(|hit| hit.at.time_ms).chain(reading.cut_ms).max();
            complete_since_ms = complete_since_ms.max(cut_ms.map_or(0, |newest| newest + 1));
        }
        let mut below_floor = Vec::new();
        // Of a freed record nothing is left to show.
        hits.retain(|hit| !hit.at.is_freed());
        hits.retain(|hit| {
            let kept = hit.at.offset >= watermark.floor.offset;
            below_floor.extend((!kept).then_some(hit.at.offset));
            kept
        });
        let as_of =
            AsOf { partition: slot.partition, offset: watermark.next - 1, time_ms: watermark.fresh_ms };
        Some(View { watermark, from_log, hits, as_of, complete_since_ms, partial, below_floor })
    }
}

fn matches(query: &Query, event: &Logged) -> bool {
    match query {
        Query::Watermark => false,
        Query::Key { key, .. } => event.keys.contains(key),
        Query::Id(id) => event.ids.contains(id.digest()),
    }
}

impl Recent {
    /// What each slot holds, proven to reach as far as needed. Most need only be read, all at once.
    pub(super) async fn views(
        &self,
        topic: &Topic,
        slots: &[Slot],
        query: &Query,
        needs: &[Need],
        deadline: Instant,
    ) -> Result<Vec<View>, Problem> {
        let glances = async {
            let applied = slots.iter().zip(needs).filter_map(|(slot, need)| match need {
                Need::Upto(next) => Some(self.stands.reaches(slot, *next)),
                Need::Fresh => None,
            });
            // Not asked before it can have it: then it would be asked again.
            drop(tokio::time::timeout(APPLIED_SOON, join_all(applied)).await);
            self.glances(topic, slots, query).await
        };
        let views = tokio::time::timeout_at(deadline.into(), glances).await.map_err(|_| self.behind())?;
        let proven = views.into_iter().zip(slots).zip(needs).map(async |((view, slot), need)| match view {
            Ok(view) if need.is_met(&view.watermark) => Ok(view),
            seen => {
                let seen = seen.map_or_else(|seen| seen, |view| Seen::At(view.watermark));
                self.view(topic, slot, query, *need, seen, deadline).await
            }
        });
        try_join_all(proven).await
    }

    /// The event with this id, if the store finds it at first glance: in which slot it is, and then what that says of
    /// it, and its body beside.
    pub(super) async fn find(&self, topic: &Topic, slots: &[Slot], id: EventId) -> Listing {
        let find = match self.shown.place(&topic.topic, id.digest()) {
            Some(find) => Some(find),
            None => self.store.find(slots, &id).await,
        };
        let Some(Find { slot, generation, at }) = find else { return Listing::of(topic, Vec::new()) };
        let (places, query) = ([slot], Query::Id(id));
        let hit = Hit { at, partition: places[0].partition, generation, body: None };
        // The body is kept: whoever asks for it next has it at once.
        let (views, _) = join(self.glances(topic, &places, &query), self.bodies(topic, &[hit])).await;
        let found = Listing::of(topic, views.into_iter().filter_map(Result::ok).collect());
        let place = found.hits.first().map(|hit| hit.place(topic));
        self.shown.note_place(&topic.topic, id.digest(), place);
        found
    }

    /// What each slot holds, however far that reaches: good for what was found, not for what was not.
    async fn glances(&self, topic: &Topic, slots: &[Slot], query: &Query) -> Vec<Result<View, Seen>> {
        let readings = self.store.read_each(slots, query).await;
        let view = |(reading, slot): (Result<Reading, _>, &Slot)| {
            let reading = self.of_this_topic(slot, reading.map_err(|_| Seen::Unknown)?);
            View::new(topic, slot, query, reading, None).ok_or(Seen::Nothing)
        };
        readings.into_iter().zip(slots).map(view).collect()
    }

    /// What the slot holds, proven to reach as far as needed, which what was seen of it does not.
    async fn view(
        &self,
        topic: &Topic,
        slot: &Slot,
        query: &Query,
        need: Need,
        mut seen: Seen,
        deadline: Instant,
    ) -> Result<View, Problem> {
        let looking = async {
            for pause in PAUSES {
                match &seen {
                    // To ask again would only keep the store from what it lacks.
                    Seen::Nothing => return Err(self.behind()),
                    Seen::At(watermark) if self.is_far_behind(slot, watermark) => return Err(self.behind()),
                    // Freshness comes with a heartbeat, four times a second: not worth waiting for.
                    Seen::At(_) if matches!(need, Need::Fresh) => break,
                    Seen::At(_) | Seen::Unknown => tokio::time::sleep(pause).await,
                }
                let reading = self.reading(slot, query).await;
                seen = Seen::of(reading.as_ref());
                if let Some(reading) = reading
                    && reading.watermark.is_some_and(|watermark| need.is_met(&watermark))
                {
                    return View::new(topic, slot, query, reading, None).ok_or_else(|| self.behind());
                }
            }
            match &seen {
                Seen::At(watermark) if !self.is_far_behind(slot, watermark) => {
                    self.close_gap(topic, slot, query, need, deadline).await
                }
                _ => Err(self.behind()),
            }
        };
        tokio::time::timeout_at(deadline.into(), looking).await.unwrap_or_else(|_| Err(self.behind()))
    }

    /// Whether the gap is larger than what is read for a lookup: then nobody need wait for his turn to learn that.
    fn is_far_behind(&self, slot: &Slot, watermark: &Watermark) -> bool {
        let sample = self.ends.latest();
        sample.bounds.get(slot).is_some_and(|bounds| bounds.end - watermark.next > OFFSETS_MAX)
    }

    async fn reading(&self, slot: &Slot, query: &Query) -> Option<Reading> {
        Some(self.of_this_topic(slot, self.store.read(slot, query).await.ok()?))
    }

    /// What the store answers, unless it is of another topic of the same name.
    fn of_this_topic(&self, slot: &Slot, reading: Reading) -> Reading {
        let sample = self.ends.latest();
        let watermark = reading.watermark.filter(|it| it.generation.is_of(sample.id(&slot.topic)));
        Reading { watermark, ..reading }
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
        // What is read is put in front: then any number of those listed may be too many.
        let query = &query.whole();
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
        let keep = topic.settings.keep().within(watermark.extent);
        let chunk = Chunk { generation, from: watermark.next, to, fresh_ms, floor: None, keep, entries };
        self.gaps.hand_on(slot, chunk, alone, self.stands.feeds(slot));
        let fresh_ms = watermark.fresh_ms.max(fresh_ms.unwrap_or(0));
        reading.watermark = Some(Watermark { next: to, fresh_ms, ..watermark });
        View::new(topic, slot, query, reading, Some(events)).ok_or_else(|| self.behind())
    }

    /// The bodies of the hits, in their order, as far as they are known or the store has them; one round trip per slot.
    pub(super) async fn bodies(&self, topic: &Topic, hits: &[Hit]) -> Vec<Option<Arc<Body>>> {
        let mut by_slot: std::collections::BTreeMap<(i32, u64), Vec<usize>> =
            std::collections::BTreeMap::new();
        let known = |hit: &Hit| hit.body.clone().or_else(|| self.shown.get(&hit.identity()));
        let mut found: Vec<Option<Arc<Body>>> = hits.iter().map(known).collect();
        for (i, hit) in hits.iter().enumerate().filter(|(i, _)| found[*i].is_none()) {
            by_slot.entry((hit.partition, hit.generation.0)).or_default().push(i);
        }
        let asked = by_slot.into_iter().map(|((partition, generation), places)| async move {
            let slot = Slot { topic: Arc::clone(&topic.topic), partition };
            let offsets: Vec<i64> = places.iter().filter_map(|i| Some(hits.get(*i)?.at.offset)).collect();
            (places, self.store.bodies(&slot, Generation(generation), &offsets).await.unwrap_or_default())
        });
        for (places, bodies) in join_all(asked).await {
            for (place, bytes) in places.into_iter().zip(bodies) {
                let identity = hits[place].identity();
                let read = |bytes| Body::decode(&bytes, identity.generation, &identity.id_digest);
                let body = bytes.and_then(read).map(Arc::new);
                body.iter().for_each(|body| self.shown.keep(identity, body));
                found[place] = body;
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
