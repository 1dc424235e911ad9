//! Lookups: ask the store, see how far it reaches, close the gap from Kafka if that is not far enough, and
//! give up with a problem rather than give a silent old answer.

use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::{join_all, try_join_all};

use super::answer::{AsOf, Event, Page};
use super::record::{id_digest, type_digest};
use super::view::{Hit, Need, View};
use super::{Counts, Recent, Topic, unix_ms};
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

impl Recent {
    /// The newest events of a key, newest first.
    ///
    /// # Errors
    /// The codes of "Lookups" in [`Code`], `unknown-route` and `bad-query`.
    pub async fn by_key(&self, route: &str, ask: &ByKey) -> Result<Page, Problem> {
        let topic = self.topic(route)?;
        let after = ask.cursor.as_deref().map(Cursor::from_str).transpose()?;
        let slots = self.slots_of_key(topic, ask)?;
        let key = LookupKey { kind: ask.kind.clone().unwrap_or_default(), key: ask.key.clone() };
        let query = Query::Key(key, topic.settings.keep().per_key + 1);
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let one_slot = slots.len() == 1;
        let needs = self.needs(&slots, ask.min_position, ask.level, deadline).await?;
        let views =
            slots.iter().zip(needs).map(|(slot, need)| self.view(topic, slot, &query, need, deadline));
        let views: Vec<View> = try_join_all(views).await?;
        let mut found = Listing::of(topic, views);
        found.keep(ask, after);
        found.page(self, topic, ask.limit, one_slot, deadline).await
    }

    /// The first event with this id, and source if one is given.
    ///
    /// # Errors
    /// The codes of "Lookups" in [`Code`] and `unknown-route`.
    pub async fn by_id(&self, route: &str, ask: &ById) -> Result<Event, Problem> {
        let topic = self.topic(route)?;
        let query = Query::Id(id_digest(ask.source.as_deref(), &ask.id));
        let deadline = Instant::now() + LOOKUP_TIMEOUT;
        let slots = self.slots(topic)?;
        // Found in one partition is enough; that it is in none must be certain of all.
        let quick = join_all(slots.iter().map(|slot| self.glance(topic, slot, &query))).await;
        let mut found = Listing::of(topic, quick.into_iter().flatten().collect());
        if found.hits.is_empty() {
            let needs = self.needs(&slots, ask.min_position, ask.level, deadline).await?;
            let views =
                slots.iter().zip(needs).map(|(slot, need)| self.view(topic, slot, &query, need, deadline));
            found = Listing::of(topic, try_join_all(views).await?);
        }
        // Newest first: the first event with an id is the last.
        found.hits.drain(..found.hits.len().saturating_sub(1));
        let (window_start_ms, from_log) = (found.window_start_ms, found.from_log);
        let mut events = self.events(topic, found.hits, deadline).await?;
        let event = events.pop().ok_or_else(|| not_in_window(window_start_ms))?;
        let from_log = from_log || event.from_log;
        self.answered(from_log);
        Ok(Event { from_log, ..event })
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
        if let Some(body) = self.stored_at(&slot, offset).await {
            self.answered(false);
            return Ok(Event { topic: slot.topic, partition, offset, from_log: false, body });
        }
        let found = tokio::time::timeout_at(deadline.into(), self.logged_at(&slot, offset, deadline)).await;
        let body = found.unwrap_or_else(|_| Err(self.behind()))?;
        self.answered(true);
        Ok(Event { topic: slot.topic, partition, offset, from_log: true, body })
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

    /// What each slot must show.
    async fn needs(
        &self,
        slots: &[Slot],
        min_position: Option<MinPosition>,
        level: Level,
        deadline: Instant,
    ) -> Result<Vec<Need>, Problem> {
        if level == Level::Bounded {
            return Ok(slots.iter().map(|slot| Need::of(slot, min_position, None)).collect());
        }
        let sample = tokio::time::timeout_at(deadline.into(), self.ends.now()).await;
        let sample = sample.map_err(|_| self.behind())?;
        let need = |slot: &Slot| {
            let end = sample.bounds.get(slot).ok_or_else(|| self.behind())?.end;
            Ok(Need::of(slot, min_position, Some(end)))
        };
        slots.iter().map(need).collect()
    }

    /// Counts an answer by where it came from.
    fn answered(&self, from_log: bool) {
        let counter = if from_log { &self.counts.from_log } else { &self.counts.hits };
        Counts::add(counter, 1);
    }

    /// Bodies for the hits, in their order: from the store, else from the log. A list is never silently
    /// shorter than it should be.
    async fn events(&self, topic: &Topic, hits: Vec<Hit>, deadline: Instant) -> Result<Vec<Event>, Problem> {
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
                        .ok_or_else(|| self.behind())?
                }
            };
            let (partition, offset) = (hit.partition, hit.at.offset);
            events.push(Event { topic: slot.topic, partition, offset, from_log, body });
        }
        Ok(events)
    }

    pub(super) fn topic(&self, route: &str) -> Result<&Topic, Problem> {
        let unknown = || Problem::new(Code::RecentDisabled, "no route of this name has lookups");
        self.routes.get(route).ok_or_else(unknown)
    }

    fn slots(&self, topic: &Topic) -> Result<Vec<Slot>, Problem> {
        let sample = self.ends.latest();
        let count = sample.partitions.get(&topic.topic).copied().ok_or_else(|| self.behind())?;
        Ok((0..count).map(|partition| Slot { topic: Arc::clone(&topic.topic), partition }).collect())
    }

    /// Where events of this key can be: one partition for the partition key, any for the other kinds.
    fn slots_of_key(&self, topic: &Topic, ask: &ByKey) -> Result<Vec<Slot>, Problem> {
        let mut slots = self.slots(topic)?;
        let count = i32::try_from(slots.len()).unwrap_or(i32::MAX);
        if ask.kind.is_none() {
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

/// What was found in one or several slots.
struct Listing {
    /// Of all slots in one: another where any of them begins a new life.
    generation: u64,
    from_log: bool,
    hits: Vec<Hit>,
    as_of: Vec<AsOf>,
    window_start_ms: i64,
    complete_since_ms: i64,
}

impl Listing {
    /// The hits within the window, newest first.
    fn of(topic: &Topic, views: Vec<View>) -> Listing {
        let window_start_ms = unix_ms().saturating_sub(topic.settings.keep().window_ms);
        let mut listing = Listing {
            generation: 0,
            from_log: false,
            hits: Vec::new(),
            as_of: Vec::new(),
            window_start_ms,
            complete_since_ms: window_start_ms,
        };
        let one_slot = views.len() == 1;
        for view in views {
            listing.generation = listing.generation.rotate_left(1) ^ view.generation.0;
            listing.from_log |= view.from_log;
            listing.as_of.push(view.as_of);
            listing.complete_since_ms = listing.complete_since_ms.max(view.complete_since_ms);
            listing.hits.extend(view.hits.into_iter().filter(|hit| hit.at.time_ms >= window_start_ms));
        }
        // One partition has an order of its own, offsets; several only have time.
        if !one_slot {
            listing.hits.sort_unstable_by_key(|hit| std::cmp::Reverse(Cursor::at(hit).place()));
        }
        listing
    }

    fn keep(&mut self, ask: &ByKey, after: Option<Cursor>) {
        let one_slot = self.as_of.len() == 1;
        let wanted_type = ask.type_.as_deref().map(type_digest);
        self.hits.retain(|hit| {
            let at = Cursor::at(hit);
            wanted_type.is_none_or(|wanted| hit.at.type_digest == wanted)
                && ask.since_ms.is_none_or(|since| hit.at.time_ms >= since)
                && ask.until_ms.is_none_or(|until| hit.at.time_ms < until)
                && after.is_none_or(|after| {
                    if one_slot { hit.at.offset < after.offset } else { at.place() < after.place() }
                })
        });
    }

    async fn page(
        mut self,
        recent: &Recent,
        topic: &Topic,
        limit: usize,
        one_slot: bool,
        deadline: Instant,
    ) -> Result<Page, Problem> {
        let more = self.hits.len() > limit;
        self.hits.truncate(limit);
        let last = self.hits.last().filter(|_| more).map(Cursor::at);
        let cursor = last.map(|last| if one_slot { last.offset.to_string() } else { last.to_string() });
        let newest = self.hits.first().map_or((-1, -1), |hit| (hit.partition, hit.at.offset));
        let etag = format!("W/\"{:016x}-{}.{}\"", self.generation, newest.0, newest.1);
        let events = recent.events(topic, self.hits, deadline).await?;
        let from_log = self.from_log || events.iter().any(|event| event.from_log);
        recent.answered(from_log);
        Ok(Page {
            events,
            etag,
            from_log,
            as_of: self.as_of,
            window_start_ms: self.window_start_ms,
            truncated: self.complete_since_ms > self.window_start_ms,
            complete_since_ms: self.complete_since_ms,
            cursor,
        })
    }
}

/// Where a page ended: an offset, or `<time>.<partition>.<offset>` where pages run over several partitions.
#[derive(Clone, Copy)]
struct Cursor {
    time_ms: i64,
    partition: i32,
    offset: i64,
}

impl Cursor {
    fn at(hit: &Hit) -> Cursor {
        Cursor { time_ms: hit.at.time_ms, partition: hit.partition, offset: hit.at.offset }
    }

    fn place(self) -> (i64, i32, i64) {
        (self.time_ms, self.partition, self.offset)
    }
}

impl std::fmt::Display for Cursor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}.{}", self.time_ms, self.partition, self.offset)
    }
}

impl FromStr for Cursor {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Cursor, Problem> {
        let parse = || {
            if let Ok(offset) = text.parse() {
                return Some(Cursor { time_ms: i64::MAX, partition: 0, offset });
            }
            let mut parts = text.splitn(3, '.');
            let time_ms = parts.next()?.parse().ok()?;
            let partition = parts.next()?.parse().ok()?;
            Some(Cursor { time_ms, partition, offset: parts.next()?.parse().ok()? })
        };
        parse().ok_or_else(|| Problem::new(Code::BadQuery, "cursor is not one that an answer gave"))
    }
}

pub(super) fn position_unknown() -> Problem {
    Problem::new(Code::PositionUnknown, "the topic does not reach this position; was it made anew?")
}

pub(super) fn not_in_window(window_start_ms: i64) -> Problem {
    let since = jiff::Timestamp::from_millisecond(window_start_ms).map(|time| time.to_string());
    let since = since.unwrap_or_default();
    let problem = Problem::new(Code::NotInWindow, format!("the window begins at {since}"));
    Problem { window_start: Some(since.into()), ..problem }
}
