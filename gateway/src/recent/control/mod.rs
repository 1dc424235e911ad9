//! The control log: what was erased or invalidated, in a compacted Kafka topic that every gateway folds before it
//! answers a lookup. It only says what is hidden; the store is cleared elsewhere, and may lose or bring back
//! whatever it likes.

pub(crate) mod fact;
pub(crate) mod fold;

use std::collections::{BTreeMap, HashMap};
use std::convert::Infallible;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::task::AbortHandle;

use super::body::Body;
use super::record::Erasure;
use super::{Topic, unix_ms};
use crate::kafka::consumer::{Ends, Log, Sample};
use crate::kafka::journal::Journal;
use crate::ports::{Digest, Slot};
use fact::{Fact, Hex, InForce, Partitions, What, key_digest};
use fold::Fold;

/// The topic, shared by all gateways of a Kafka cluster.
pub const CONTROL_TOPIC: &str = "_weir_control";

/// The most facts in force at a time.
const FACTS_MAX: usize = 100_000;
/// An answer that need not be strong relies on what was folded at most so long ago.
pub(super) const STALE_MAX: Duration = Duration::from_secs(10);
const RECORDS_MAX: usize = 1024;
const BYTES_MAX: usize = 1 << 20;
const RETRY: Duration = Duration::from_millis(500);
/// Between two looks for facts that no record is left for.
const PRUNE_PAUSE: Duration = Duration::from_secs(60);
/// A fact outlives the window by this: the store keeps bodies a little longer than lists.
const OUTLIVE_MS: i64 = 300_000;

/// Why a fact was not recorded.
#[derive(Debug, thiserror::Error)]
pub(super) enum RecordError {
    #[error("there are {FACTS_MAX} erasures and invalidations in force already")]
    Full,
    #[error("{0}")]
    Kafka(#[from] KafkaError),
}

/// Whoever follows the control log, until this is dropped.
pub(super) struct Following(AbortHandle);

impl Following {
    pub(super) fn start(
        control: &Arc<Control>,
        log: &Arc<Log>,
        ends: &Arc<Ends>,
        runtime: &Handle,
    ) -> Following {
        let following = Arc::clone(control).follow(Arc::clone(log), Arc::clone(ends));
        Following(runtime.spawn(following).abort_handle())
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// This gateway's fold of the control log.
pub(super) struct Control {
    fold: RwLock<Fold>,
    journal: Journal,
    slot: Slot,
    windows_ms: HashMap<Arc<str>, i64>,
    /// The newest time at which all of the log is known to have been folded.
    folded: watch::Sender<Option<Instant>>,
}

impl Control {
    pub(super) fn new(kafka: &ClientConfig, topics: &[Topic]) -> Result<Control, KafkaError> {
        let topic: Arc<str> = CONTROL_TOPIC.into();
        let window = |topic: &Topic| (Arc::clone(&topic.topic), topic.settings.keep().window_ms);
        Ok(Control {
            fold: RwLock::default(),
            journal: Journal::new(kafka, Arc::clone(&topic))?,
            slot: Slot { topic, partition: 0 },
            windows_ms: topics.iter().map(window).collect(),
            folded: watch::Sender::new(None),
        })
    }

    /// Folds the log and goes on following it, until the task is aborted.
    async fn follow(self: Arc<Self>, log: Arc<Log>, ends: Arc<Ends>) {
        loop {
            let Err(error) = self.fold_from_start(&log, &ends).await;
            tracing::warn!(%error, "the control topic is read anew");
            tokio::time::sleep(RETRY).await;
        }
    }

    async fn fold_from_start(&self, log: &Log, ends: &Ends) -> Result<Infallible, KafkaError> {
        let mut samples = ends.watch();
        let known = samples.wait_for(|sample| sample.bounds.contains_key(&self.slot)).await;
        let start =
            known.map_err(|_| KafkaError::Canceled)?.bounds.get(&self.slot).map_or(0, |bounds| bounds.start);
        let tail = log.tail(&self.slot, start)?;
        let mut pruned = Instant::now();
        loop {
            tokio::select! {
                records = tail.next(RECORDS_MAX, BYTES_MAX) => {
                    records?.iter().for_each(|record| self.fold_one(record));
                }
                changed = samples.changed() => changed.map_err(|_| KafkaError::Canceled)?,
            }
            let sample = Arc::clone(&samples.borrow_and_update());
            let end = sample.bounds.get(&self.slot).map(|bounds| bounds.end);
            let next = tail.position()?;
            if end.is_some_and(|end| next >= end) {
                self.write().learn_ids(&sample.ids);
                self.note_partitions(&sample).await;
                self.folded.send_replace(Some(sample.requested));
                if pruned.elapsed() > PRUNE_PAUSE {
                    pruned = Instant::now();
                    self.prune(&sample).await;
                }
            }
        }
    }

    fn fold_one(&self, record: &impl Message) {
        let Some(id) = record.key().and_then(|key| std::str::from_utf8(key).ok()) else { return };
        let read = match record.payload() {
            None => {
                self.write().forget(id);
                Ok(())
            }
            Some(json) if id.starts_with(Partitions::PREFIX) => {
                serde_json::from_slice(json).map(|partitions| self.write().note_partitions(partitions))
            }
            Some(json) => serde_json::from_slice(json).map(|fact| self.write().note(id, fact)),
        };
        // A newer gateway's, or nobody's: what it hides is not known here.
        if let Err(error) = read {
            tracing::error!(id, %error, "a record of the control topic cannot be read");
        }
    }

    /// Records how many partitions the topics have, where the log does not say so already.
    async fn note_partitions(&self, sample: &Sample) {
        for topic in self.windows_ms.keys() {
            let Some(count) = sample.partitions.get(topic).copied() else { continue };
            let known = self.read().partitions(topic).map(|known| known.partitions);
            if known == Some(count) {
                continue;
            }
            let changed_ms = if known.is_some() { unix_ms() } else { 0 };
            let partitions = Partitions { topic: Arc::clone(topic), partitions: count, changed_ms };
            let json = serde_json::to_vec(&partitions).expect("it is JSON");
            self.write().note_partitions(partitions);
            if let Err(error) =
                self.journal.append(&format!("{}{topic}", Partitions::PREFIX), Some(&json)).await
            {
                tracing::warn!(%error, topic = &**topic, "the number of partitions was not recorded");
            }
        }
    }

    /// Whether the topic's number of partitions changed so lately that a key's events may be in any of them.
    pub(super) fn moved(&self, topic: &str) -> bool {
        let window_ms = self.windows_ms.get(topic).copied().unwrap_or(0);
        let changed_ms = self.read().partitions(topic).map_or(0, |partitions| partitions.changed_ms);
        changed_ms > 0 && changed_ms.saturating_add(window_ms) > unix_ms()
    }

    /// Ends facts whose events are gone from the log and the window.
    async fn prune(&self, sample: &Sample) {
        let now_ms = unix_ms();
        let gone: Vec<Arc<str>> = {
            let fold = self.read();
            let over = |(id, fact): (&Arc<str>, &Arc<Fact>)| {
                let window_ms = self.windows_ms.get(&fact.topic)?;
                let slot = |partition| Slot { topic: Arc::clone(&fact.topic), partition };
                let left_log = |(partition, (_, to)): (&i32, &(i64, i64))| {
                    sample.bounds.get(&slot(*partition)).is_some_and(|bounds| bounds.start >= *to)
                };
                let left_window = fact.at_ms.saturating_add(window_ms + OUTLIVE_MS) < now_ms;
                (left_window && fact.spans.iter().all(left_log)).then(|| Arc::clone(id))
            };
            fold.facts().filter_map(over).collect()
        };
        for id in gone {
            if let Err(error) = self.journal.append(&id, None).await {
                tracing::debug!(%error, "a fact that is over stays in the control topic for now");
                return;
            }
            self.write().forget(&id);
        }
    }

    /// Records a fact; it holds here once this returns, and everywhere once the others have read it.
    pub(super) async fn record(&self, id: &str, fact: Fact) -> Result<i64, RecordError> {
        if self.read().len() >= FACTS_MAX {
            return Err(RecordError::Full);
        }
        let json = serde_json::to_vec(&fact).expect("a fact is JSON");
        let offset = self.journal.append(id, Some(&json)).await?;
        self.write().note(id, fact);
        Ok(offset)
    }

    /// A record of the log itself erases its key: that holds here at once. Answers the fact as it is to be recorded.
    pub(super) fn note_erasure(&self, slot: &Slot, erasure: &Erasure) -> (String, Fact) {
        let Erasure { offset, time_ms, ref key } = *erasure;
        let fact = Fact {
            topic: Arc::clone(&slot.topic),
            topic_id: self.read().id(&slot.topic),
            what: What::Key(Hex(key_digest(key))),
            spans: BTreeMap::from([(slot.partition, (0, offset))]),
            ids: Vec::new(),
            at_ms: time_ms,
            why: "a record with the header weir-erase".to_owned(),
        };
        let id = format!("{}/{}:{offset}", slot.topic, slot.partition);
        self.write().note(&id, fact.clone());
        (id, fact)
    }

    /// Whether the fold is of the log as it was at `since` or later; waits for that until the deadline.
    pub(super) async fn is_folded(&self, since: Option<Instant>, deadline: Instant) -> bool {
        let enough =
            |folded: &Option<Instant>| folded.is_some_and(|at| since.is_none_or(|since| at >= since));
        let mut folded = self.folded.subscribe();
        if enough(&folded.borrow()) {
            return true;
        }
        tokio::time::timeout_at(deadline.into(), folded.wait_for(enough))
            .await
            .is_ok_and(|folded| folded.is_ok())
    }

    /// Whether the whole log has been folded once.
    pub(super) fn known(&self) -> bool {
        self.folded.borrow().is_some()
    }

    /// Whether the event at this place is not to be shown.
    pub(super) fn hides(&self, slot: &Slot, offset: i64, body: &Body) -> bool {
        self.read().hides(&slot.topic, slot.partition, offset, body)
    }

    /// See [`Fold::hides_all`].
    pub(super) fn hides_all(&self, topic: &str, partition: i32, offset: i64) -> bool {
        self.read().hides_all(topic, partition, offset)
    }

    /// See [`Fold::erased`].
    pub(super) fn erased(&self, topic: &str, id: &Digest) -> bool {
        self.read().erased(topic, id)
    }

    /// See [`Fold::version`].
    pub(super) fn version(&self, topic: &str) -> u64 {
        self.read().version(topic)
    }

    /// The facts in force, the newest first.
    pub(super) fn facts(&self) -> Vec<InForce> {
        let in_force =
            |(id, fact): (&Arc<str>, &Arc<Fact>)| InForce { id: Arc::clone(id), fact: Arc::clone(fact) };
        let mut facts: Vec<_> = self.read().facts().map(in_force).collect();
        facts.sort_by_key(|it| std::cmp::Reverse(it.fact.at_ms));
        facts
    }

    fn read(&self) -> std::sync::RwLockReadGuard<'_, Fold> {
        self.fold.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Fold> {
        self.fold.write().unwrap_or_else(PoisonError::into_inner)
    }
}
