//! An order that events are not to be shown any more: recorded in the control log, in force once that is acked, and
//! only then cleared from the store, as far as the store can be reached.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use uuid::Uuid;

use super::control::RecordError;
use super::control::fact::{Fact, Hex, IDS_MAX, InForce, What, key_digest};
use super::feed::Positions;
use super::free::{free, listed};
use super::record::{event_id, id_digest};
use super::{Recent, Topic, texts, unix_ms};
use crate::kafka::consumer::Sample;
use crate::ports::{Chunk, Floor, Generation, LookupKey, Query, Slot, StoreError};
use crate::problem::{Code, Problem};

const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest reason.
const WHY_BYTES_MAX: usize = 1024;

/// Which events of a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Those found by this key; no kind is the partition key.
    Key {
        /// The kind of lookup key.
        kind: Option<String>,
        /// The key's text.
        key: String,
    },
    /// Those with this id, from one source or from any.
    Id {
        /// The source; `None` for any.
        source: Option<String>,
        /// The id.
        id: String,
    },
    /// All of one partition.
    Partition(i32),
    /// Those that this plugin saw: `<name>`, `<name>@<version>`, or `<name>@<version>+<digest>`.
    Plugin(String),
    /// Those checked against this schema: `<subject>` or `<subject>/<version>`.
    Schema(String),
}

/// What is to be hidden, from where on, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Which events.
    pub target: Target,
    /// Only from these positions on; partitions without one from their beginning.
    pub from: Positions,
    /// The reason, for the record.
    pub why: String,
}

/// What an order did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invalidated {
    /// The fact's name in the control topic.
    pub id: String,
    /// Its offset there.
    pub control_offset: i64,
    /// Hidden: for each partition the first offset, and one past the last.
    pub spans: BTreeMap<i32, (i64, i64)>,
    /// How many events the store listed and has let go of; `null` where it was away: hidden, but still in its memory.
    pub freed: Option<usize>,
}

impl Recent {
    /// Hides events for good. What was acked before this was called is hidden in every answer of this gateway once it
    /// returns, and of the others once they have read the control topic: at once in `strong` answers.
    ///
    /// # Errors
    /// `bad-query`, `recent-disabled`; `behind` if Kafka does not say where the log ends; `invalidation-unknown` if it
    /// did not confirm the record: give the order again.
    pub async fn invalidate(&self, route: &str, order: Order) -> Result<Invalidated, Problem> {
        let topic = self.topic(route)?;
        order.target.within_bounds()?;
        if order.why.len() > WHY_BYTES_MAX {
            return Err(Problem::new(Code::BadQuery, "`why` has at most 1024 bytes"));
        }
        let deadline = Instant::now() + TIMEOUT;
        let sample = tokio::time::timeout_at(deadline.into(), self.ends.now()).await;
        let sample = sample.map_err(|_| self.behind())?;
        let spans = self.spans(topic, &sample, &order)?;
        let query = order.target.query(topic);
        let fact = Fact {
            topic: Arc::clone(&topic.topic),
            what: order.target.what(),
            ids: self.known_ids(topic, query.as_ref(), &spans).await,
            spans: spans.clone(),
            topic_id: sample.id(&topic.topic).map(Into::into),
            at_ms: unix_ms(),
            why: order.why,
        };
        let id = Uuid::now_v7().to_string();
        let control_offset = self.control.record(&id, fact).await.map_err(unrecorded)?;
        tracing::info!(topic = &*topic.topic, fact = id, control_offset, "events are hidden by order");
        let freed = match self.clear(topic, &order.target, query.as_ref(), &spans).await {
            Ok(freed) => Some(freed),
            Err(error) => {
                tracing::warn!(%error, fact = id, "hidden events are left in the store until they expire");
                None
            }
        };
        Ok(Invalidated { id, control_offset, spans, freed })
    }

    /// What is hidden of a route by order, and why: the facts in force, the newest first, at most `limit`.
    ///
    /// # Errors
    /// `recent-disabled`.
    pub fn invalidations(&self, route: &str, limit: usize) -> Result<Vec<InForce>, Problem> {
        let topic = self.topic(route)?;
        let mut facts = self.control.facts();
        facts.retain(|it| it.fact.topic == topic.topic);
        facts.truncate(limit);
        Ok(facts)
    }

    /// Begins the lists of a partition, or of all, anew: they are read from Kafka again.
    ///
    /// # Errors
    /// `recent-disabled`; `position-unknown` for a partition that is not there; `behind` if Kafka or the store does not
    /// answer.
    pub async fn rebuild(&self, route: &str, partition: Option<i32>) -> Result<usize, Problem> {
        let topic = self.topic(route)?;
        let mut slots = self.slots(topic)?;
        slots.retain(|slot| partition.is_none_or(|wanted| wanted == slot.partition));
        if slots.is_empty() {
            return Err(super::lookup::position_unknown());
        }
        for slot in &slots {
            let reading = self.store.read(slot, &Query::Watermark).await.map_err(|_| self.behind())?;
            let seen = reading.watermark.map(|watermark| watermark.generation);
            let sample = self.ends.now().await;
            let bounds = *sample.bounds.get(slot).ok_or_else(|| self.behind())?;
            let keep = topic.settings.keep();
            let begin = super::slot::beginning(&self.ends, self.manual, slot, keep, bounds).await;
            let begin = begin.map_err(|_| self.behind())?;
            let new = Generation::new(sample.id(&slot.topic));
            self.store.open(slot, seen, new, begin).await.map_err(|_| self.behind())?;
        }
        Ok(slots.len())
    }

    fn spans(
        &self,
        topic: &Topic,
        sample: &Sample,
        order: &Order,
    ) -> Result<BTreeMap<i32, (i64, i64)>, Problem> {
        let mut spans = BTreeMap::new();
        for slot in self.slots(topic)? {
            if matches!(order.target, Target::Partition(wanted) if wanted != slot.partition) {
                continue;
            }
            let end = sample.bounds.get(&slot).ok_or_else(|| self.behind())?.end;
            let from = order.from.of(slot.partition).unwrap_or(0);
            spans.insert(slot.partition, (from.min(end), end));
        }
        let asked = match order.target {
            Target::Partition(partition) => Some(partition),
            _ => None,
        };
        let mut asked = order.from.iter().map(|(partition, _)| partition).chain(asked);
        match asked.find(|partition| !spans.contains_key(partition)) {
            Some(partition) => {
                Err(Problem::new(Code::BadQuery, format!("partition {partition} is none of those asked for")))
            }
            None => Ok(spans),
        }
    }

    /// The ids of the events that the store lists, so that a lookup of them can say what became of them.
    async fn known_ids(
        &self,
        topic: &Topic,
        query: Option<&Query>,
        spans: &BTreeMap<i32, (i64, i64)>,
    ) -> Vec<Hex> {
        let mut ids = Vec::new();
        let Some(query) = query else { return ids };
        for (partition, (_, below)) in spans {
            let slot = Slot { topic: Arc::clone(&topic.topic), partition: *partition };
            let found = listed(&*self.store, &slot, query, *below).await;
            let found = found.ok().flatten().map(|(_, entries)| entries).unwrap_or_default();
            ids.extend(found.into_iter().flat_map(|entry| entry.ids).map(Hex));
        }
        ids.truncate(IDS_MAX);
        ids
    }

    async fn clear(
        &self,
        topic: &Topic,
        target: &Target,
        query: Option<&Query>,
        spans: &BTreeMap<i32, (i64, i64)>,
    ) -> Result<usize, StoreError> {
        let mut freed = 0;
        for (partition, (from, below)) in spans {
            let slot = Slot { topic: Arc::clone(&topic.topic), partition: *partition };
            match query {
                Some(query) => freed += free(&*self.store, &slot, query, *below).await?,
                None if matches!(target, Target::Partition(_)) && *from == 0 => {
                    freed += self.raise_floor(topic, &slot, *below).await?;
                }
                // There is no list of them: they are hidden, and leave with the window.
                None => {}
            }
        }
        Ok(freed)
    }

    /// Lets go of everything below an offset.
    async fn raise_floor(&self, topic: &Topic, slot: &Slot, below: i64) -> Result<usize, StoreError> {
        let Some(watermark) = self.store.read(slot, &Query::Watermark).await?.watermark else { return Ok(0) };
        let below = below.min(watermark.next);
        let chunk = Chunk {
            generation: watermark.generation,
            from: watermark.next,
            to: watermark.next,
            fresh_ms: None,
            floor: Some(Floor { offset: below, time_ms: unix_ms() }),
            keep: topic.settings.keep(),
            entries: Vec::new(),
        };
        self.store.apply(slot, &chunk).await?;
        Ok(usize::try_from((below - watermark.floor.offset).max(0)).unwrap_or(usize::MAX))
    }
}

impl Target {
    fn within_bounds(&self) -> Result<(), Problem> {
        match self {
            Target::Key { kind, key } => texts::keys(&[kind.as_deref(), Some(key)]),
            Target::Id { source, id } => texts::attributes(&[source.as_deref(), Some(id)]),
            Target::Partition(_) => Ok(()),
            Target::Plugin(name) | Target::Schema(name) => texts::attributes(&[Some(name)]),
        }
    }

    fn what(&self) -> What {
        match self {
            Target::Key { kind, key } => {
                let kind = kind.clone().unwrap_or_default();
                What::Key(Hex(key_digest(&LookupKey { kind, key: key.clone() })))
            }
            Target::Id { source, id } => What::Id(Hex(id_digest(source.as_deref(), id))),
            Target::Partition(_) => What::All,
            Target::Plugin(plugin) => What::Plugin(plugin.clone()),
            Target::Schema(schema) => What::Schema(schema.clone()),
        }
    }

    /// How the store finds them, if it can.
    fn query(&self, topic: &Topic) -> Option<Query> {
        match self {
            Target::Key { kind, key } => {
                let kind = kind.clone().unwrap_or_default();
                let key = LookupKey { kind, key: key.clone() };
                Some(Query::all_of(key, topic.settings.keep().per_key))
            }
            Target::Id { source, id } => Some(Query::Id(event_id(source.as_deref(), id))),
            Target::Partition(_) | Target::Plugin(_) | Target::Schema(_) => None,
        }
    }
}

fn unrecorded(error: RecordError) -> Problem {
    match error {
        RecordError::Full => Problem::new(Code::TooManyInvalidations, error.to_string()),
        RecordError::Kafka(error) => {
            tracing::warn!(%error, "an invalidation was not confirmed");
            let detail = "the control topic did not confirm it; give the order again: twice does no harm";
            Problem::new(Code::InvalidationUnknown, detail)
        }
    }
}
