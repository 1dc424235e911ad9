//! Lookups: ask the store, see how far it reaches, close the gap from Kafka if that is not far enough, and
//! give up with a problem rather than give a silent old answer.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::answer::{Event, Page};
use super::control::STALE_MAX;
use super::listing::{Cursor, Listing};
use super::record::event_id;
use super::view::{Hit, Need, View};
use super::{Counts, Recent, Topic, texts};
use crate::kafka::consumer::Sample;
use crate::kafka::partitioner::murmur2_partition;
use crate::ports::{LookupKey, Query, Slot};
use crate::problem::{Code, Problem};

/// How long a lookup may take before it is answered `behind`.
pub(super) const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// A position an answer must include, `<partition>:<offset>`, as receipts name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MinPosition {
    /// The partition.
    pub partition: i32,
    /// The offset of the record that must be included.
    pub offset: i64,
}

impl FromStr for MinPosition {
    type Err = Problem;

    fn from_str(text: &str) -> Result<MinPosition, Problem> {
        let parse = || {
            let (partition, offset) = text.split_once(':')?;
            let position = MinPosition { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
            // Offsets beyond 2^53 do not occur, and the store could not compare them.
            (position.partition >= 0 && (0..1 << 53).contains(&position.offset)).then_some(position)
        };
        parse().ok_or_else(|| Problem::new(Code::BadQuery, "min_position is <partition>:<offset>"))
    }
}

/// How far an answer reaches, beside any [`MinPosition`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// To the end of the log as it was at most a second ago.
    #[default]
    Bounded,
    /// To the end of the log as it is asked for after the lookup began.
    Strong,
}

/// A lookup by id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ById {
    /// The event's id.
    pub id: String,
    /// Its source; `None` for any.
    pub source: Option<String>,
    /// The answer must include this position.
    pub min_position: Option<MinPosition>,
    /// How far it must reach, if the event is not found.
    pub level: Level,
}

/// A lookup by key.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ByKey {
    /// `None` for the partition key, else the kind of lookup key.
    pub kind: Option<String>,
    /// The key's text.
    pub key: String,
    /// The most events to answer with.
    pub limit: usize,
    /// Only events of this type.
    pub type_: Option<String>,
    /// Only events received at or after this, in ms since 1970.
    pub since_ms: Option<i64>,
    /// Only events received before this, in ms since 1970.
    pub until_ms: Option<i64>,
    /// The answer must include this position.
    pub min_position: Option<MinPosition>,
    /// How far the answer must reach.
    pub level: Level,
    /// Where an earlier page ended.
    pub cursor: Option<String>,
}

impl ByKey {
    /// Whether nothing but the newest events is asked for.
    fn shows_the_newest(&self) -> bool {
        self.type_.is_none() && self.since_ms.is_none() && self.until_ms.is_none() && self.cursor.is_none()
    }
}

impl Recent {
    /// The newest events of a key, newest first.
    ///
    /// # Errors
    /// The codes of "Lookups" in [`Code`], `unknown-route` and `bad-query`.
    pub async fn by_key(&self, route: &str, ask: &ByKey) -> Result<Page, Problem> {
        let topic = self.topic(route)?;
        texts::keys(&[Some(&ask.key), ask.kind.as_deref()])?;
        texts::attributes(&[ask.type_.as_deref()])?;
        let after = ask.cursor.as_deref().map(Cursor::from_str).transpose()?;
        let slots = self.slots_of_key(topic, ask)?;
        let key = LookupKey { kind: ask.kind.clone().unwrap_or_default(), key: ask.key.clone() };
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let one_slot = slots.len() == 1;
        let sample = self.begin(ask.level, deadline).await?;
        let needs = self.needs(&slots, ask.min_position, sample.as_deref())?;
        let whole = Query::all_of(key, topic.settings.keep().per_key);
        let mut query = whole.clone();
        if let Query::Key { count, .. } = &mut query
            && ask.shows_the_newest()
        {
            // One more shows whether there is another page.
            *count = (*count).min(ask.limit + 1);
        }
        loop {
            let views = self.views(topic, &slots, &query, &needs, deadline).await?;
            let mut found = Listing::of(topic, views);
            found.keep(ask, after);
            let partial = found.partial;
            let page = found.page(self, topic, ask.limit, one_slot, deadline).await?;
            if !partial || page.events.len() >= ask.limit || query == whole {
                self.answered(page.from_log);
                return Ok(page);
            }
            // Some are hidden: those behind them come up in their place.
            query = whole.clone();
        }
    }

    /// The first event with this id, and source if one is given; of several partitions that have one, that of any.
    ///
    /// # Errors
    /// The codes of "Lookups" in [`Code`] and `unknown-route`.
    pub async fn by_id(&self, route: &str, ask: &ById) -> Result<Event, Problem> {
        let topic = self.topic(route)?;
        texts::attributes(&[Some(&ask.id), ask.source.as_deref()])?;
        let id = event_id(ask.source.as_deref(), &ask.id);
        let query = Query::Id(id);
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let slots = self.slots(topic)?;
        let sample = self.begin(ask.level, deadline).await?;
        // Found in one partition is enough; that it is in none must be certain of all.
        let quick = tokio::time::timeout_at(deadline.into(), self.find(topic, &slots, id)).await;
        let quick = quick.map_err(|_| self.behind())?;
        if let Some(event) = self.first(topic, quick, deadline).await? {
            return Ok(event);
        }
        let needs = self.needs(&slots, ask.min_position, sample.as_deref())?;
        let views = self.views(topic, &slots, &query, &needs, deadline).await?;
        let all_hidden = |view: &View| {
            let partition = view.as_of.partition;
            view.below_floor.iter().any(|offset| self.control.hides_all(&topic.topic, partition, *offset))
        };
        let hidden = views.iter().any(all_hidden);
        let found = Listing::of(topic, views);
        let (since_ms, filling) = (found.complete_since_ms, found.filling);
        let hidden = hidden || !found.hits.is_empty();
        match self.first(topic, found, deadline).await? {
            Some(event) => Ok(event),
            None if hidden || self.control.erased(&topic.topic, id.digest()) => Err(erased()),
            // It may be among what is not filled in yet.
            None if filling => Err(self.behind()),
            None => Err(not_in_window(since_ms)),
        }
    }

    /// The first of the events found that is not hidden. They are listed newest first.
    async fn first(
        &self,
        topic: &Topic,
        found: Listing,
        deadline: Instant,
    ) -> Result<Option<Event>, Problem> {
        let from_log = found.from_log;
        let event = self.events(topic, found.hits, deadline).await?.pop();
        Ok(event.map(|event| {
            let from_log = from_log || event.from_log;
            self.answered(from_log);
            Event { from_log, ..event }
        }))
    }

    /// The event at a position, from the read model or from the log itself.
    ///
    /// # Errors
    /// The codes of "Lookups" in [`Code`] and `unknown-route`.
    pub async fn by_position(&self, route: &str, partition: i32, offset: i64) -> Result<Event, Problem> {
        let topic = self.topic(route)?;
        let slots = self.slots(topic)?;
        let slot = slots.into_iter().find(|slot| slot.partition == partition).ok_or_else(position_unknown)?;
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        self.begin(Level::Bounded, deadline).await?;
        let (body, from_log) = match self.stored_at(&slot, offset).await {
            Some(body) => (body, false),
            None => {
                let logged = self.logged_at(&slot, offset, deadline);
                let logged = tokio::time::timeout_at(deadline.into(), logged).await;
                (logged.unwrap_or_else(|_| Err(self.behind()))?, true)
            }
        };
        if self.control.hides(&slot, offset, &body) {
            return Err(erased());
        }
        self.answered(from_log);
        Ok(Event { topic: slot.topic, partition, offset, from_log, body: Arc::new(body) })
    }

    /// Waits until the log may hold more than a page does; false if it did not until then.
    pub async fn grows(&self, route: &str, page: &Page, until: Instant) -> bool {
        let Ok(topic) = self.topic(route) else { return false };
        let mut samples = self.ends.watch();
        let grown = samples.wait_for(|sample| {
            page.as_of.iter().any(|as_of| {
                let slot = Slot { topic: Arc::clone(&topic.topic), partition: as_of.partition };
                sample.bounds.get(&slot).is_some_and(|bounds| bounds.end > as_of.offset + 1)
            })
        });
        tokio::time::timeout_at(until.into(), grown).await.is_ok_and(|grown| grown.is_ok())
    }

    /// What an answer of this level rests on: that what was erased is known far enough, and for `strong` where the
    /// log ended after the lookup began.
    pub(super) async fn begin(
        &self,
        level: Level,
        deadline: Instant,
    ) -> Result<Option<Arc<Sample>>, Problem> {
        let now = Instant::now();
        let (sample, since) = match level {
            Level::Bounded => (None, now.checked_sub(STALE_MAX)),
            Level::Strong => {
                let sample = tokio::time::timeout_at(deadline.into(), self.ends.now()).await;
                (Some(sample.map_err(|_| self.behind())?), Some(now))
            }
        };
        if self.control.is_folded(since, deadline).await { Ok(sample) } else { Err(self.behind()) }
    }

    /// What each slot must show.
    fn needs(
        &self,
        slots: &[Slot],
        min_position: Option<MinPosition>,
        sample: Option<&Sample>,
    ) -> Result<Vec<Need>, Problem> {
        let need = |slot: &Slot| {
            let end = match sample {
                None => None,
                Some(sample) => Some(sample.bounds.get(slot).ok_or_else(|| self.behind())?.end),
            };
            Ok(Need::of(slot, min_position, end))
        };
        slots.iter().map(need).collect()
    }

    /// Counts an answer by where it came from.
    pub(super) fn answered(&self, from_log: bool) {
        let counter = if from_log { &self.counts.from_log } else { &self.counts.hits };
        Counts::add(counter, 1);
    }

    /// The events of the hits, in their order and without those that are hidden: from the store, else from the log. A
    /// list is never silently shorter than it should be.
    pub(super) async fn events(
        &self,
        topic: &Topic,
        hits: Vec<Hit>,
        deadline: Instant,
    ) -> Result<Vec<Event>, Problem> {
        let bodies = self.bodies(topic, &hits).await;
        let mut events = Vec::with_capacity(hits.len());
        for (hit, body) in hits.into_iter().zip(bodies) {
            let slot = Slot { topic: Arc::clone(&topic.topic), partition: hit.partition };
            let from_log = body.is_none();
            let body = match body {
                Some(body) => body,
                None => {
                    tokio::time::timeout_at(deadline.into(), self.logged_at(&slot, hit.at.offset, deadline))
                        .await
                        .ok()
                        .and_then(Result::ok)
                        .map(Arc::new)
                        .ok_or_else(|| self.behind())?
                }
            };
            let (partition, offset) = (hit.partition, hit.at.offset);
            if self.control.hides(&slot, offset, &body) {
                continue;
            }
            events.push(Event { topic: slot.topic, partition, offset, from_log, body });
        }
        Ok(events)
    }

    pub(super) fn topic(&self, route: &str) -> Result<&Topic, Problem> {
        let unknown = || Problem::new(Code::RecentDisabled, "no route of this name has lookups");
        self.routes.get(route).ok_or_else(unknown)
    }

    pub(super) fn slots(&self, topic: &Topic) -> Result<Vec<Slot>, Problem> {
        let sample = self.ends.latest();
        let count = sample.partitions.get(&topic.topic).copied().ok_or_else(|| self.behind())?;
        Ok((0..count).map(|partition| Slot { topic: Arc::clone(&topic.topic), partition }).collect())
    }

    /// Where events of this key can be: one partition for the partition key, any for the other kinds and for a while
    /// after the number of partitions changed.
    fn slots_of_key(&self, topic: &Topic, ask: &ByKey) -> Result<Vec<Slot>, Problem> {
        let mut slots = self.slots(topic)?;
        let count = i32::try_from(slots.len()).unwrap_or(i32::MAX);
        if ask.kind.is_none() && !self.control.moved(&topic.topic) {
            let partition = murmur2_partition(ask.key.as_bytes(), count);
            slots.retain(|slot| slot.partition == partition);
        }
        match ask.min_position {
            Some(position) if position.partition >= count => Err(position_unknown()),
            Some(position) if slots.iter().all(|slot| slot.partition != position.partition) => {
                let here = slots.first().map_or(0, |slot| slot.partition);
                let detail = format!("events of this key are in partition {here}");
                Err(Problem::new(Code::PositionElsewhere, detail))
            }
            _ => Ok(slots),
        }
    }
}

pub(super) fn position_unknown() -> Problem {
    Problem::new(Code::PositionUnknown, "the topic does not reach this position; was it made anew?")
}

pub(super) fn erased() -> Problem {
    Problem::new(Code::Erased, "the event was erased, or invalidated, by order")
}

pub(super) fn not_in_window(window_start_ms: i64) -> Problem {
    let since = jiff::Timestamp::from_millisecond(window_start_ms).map(|time| time.to_string());
    let since = since.unwrap_or_default();
    let problem = Problem::new(Code::NotInWindow, format!("the window begins at {since}"));
    Problem { window_start: Some(since.into()), ..problem }
}
