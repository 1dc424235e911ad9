//! Where each partition's log ends, sampled by one thread on behalf of everyone who asks. It reads no records; a
//! sample's time is when it was *requested*, so that "reaches the sample" proves freshness. What else a sample says is
//! `topics`' to find out: nobody waits for that.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::sync::watch;

use super::topics::{Describer, Topics};
use super::{Quiet, settings};
use crate::ports::Slot;

pub(super) const TICK: Duration = Duration::from_millis(250);
/// Between two samples at least: whoever asks meanwhile shares the next. Without a pause, strong lookups under load spent
/// more than a fifth of a core on samples, here and in Kafka, and were no sooner answered for it.
const SPACING: Duration = Duration::from_millis(10);
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// The first offset of a log and one past its last, not regarding transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The first offset still there.
    pub start: i64,
    /// The high watermark.
    pub end: i64,
}

/// One look at all partitions.
#[derive(Clone, Debug)]
pub struct Sample {
    /// When it was requested.
    pub requested: Instant,
    /// The same in milliseconds since 1970.
    pub requested_ms: i64,
    /// What the brokers said; partitions whose leader did not answer are absent.
    pub bounds: HashMap<Slot, Bounds>,
    /// How many partitions each topic has; unknown topics are absent.
    pub partitions: HashMap<Arc<str>, i32>,
    /// Each topic's id, which another one of the same name does not have; absent where Kafka does not tell.
    pub ids: HashMap<Arc<str>, Arc<str>>,
}

impl Sample {
    /// A topic's id, if it is known.
    pub fn id(&self, topic: &str) -> Option<&str> {
        self.ids.get(topic).map(AsRef::as_ref)
    }

    /// Every partition of every topic that is known.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        slots(&self.partitions)
    }
}

/// The sampler. Dropping it ends its threads.
pub struct Ends {
    latest: watch::Receiver<Arc<Sample>>,
    wake: SyncSender<()>,
    consumer: Arc<BaseConsumer<Quiet>>,
}

impl Ends {
    /// Starts sampling these topics, four times a second.
    ///
    /// # Errors
    /// The client could not be made (a bad setting); an unreachable Kafka is not an error.
    pub fn start(base: &ClientConfig, group_id: &str, topics: Vec<Arc<str>>) -> Result<Ends, KafkaError> {
        let config = settings(base, group_id, "read_uncommitted");
        let consumer = Arc::new(BaseConsumer::from_config_and_context(&config, Quiet)?);
        let (wake, woken) = sync_channel(1);
        let none = Sample {
            requested: Instant::now(),
            requested_ms: 0,
            bounds: HashMap::new(),
            partitions: HashMap::new(),
            ids: HashMap::new(),
        };
        let (publish, latest) = watch::channel(Arc::new(none));
        let (describe, described) = sync_channel(1);
        let describer = Describer::new(Arc::clone(&consumer), topics);
        let sampler = Sampler { consumer: Arc::clone(&consumer), topics: Topics::default() };
        thread("recent-topics", move || describer.run(&describe))?;
        thread("recent-ends", move || sampler.run(&described, &woken, &publish))?;
        Ok(Ends { latest, wake, consumer })
    }

    /// The newest sample, and a way to wait for the next.
    pub fn watch(&self) -> watch::Receiver<Arc<Sample>> {
        self.latest.clone()
    }

    /// The newest sample.
    pub fn latest(&self) -> Arc<Sample> {
        Arc::clone(&self.latest.borrow())
    }

    /// A sample requested after this call began. Callers at the same time share one. Waits as long as Kafka
    /// does not answer: put a deadline around it.
    pub async fn now(&self) -> Arc<Sample> {
        let began = Instant::now();
        let mut latest = self.latest.clone();
        loop {
            // A full channel means that a wake-up is already due, and it will be served after `began`.
            _ = self.wake.try_send(());
            let sample = Arc::clone(&latest.borrow_and_update());
            if sample.requested > began {
                return sample;
            }
            if latest.changed().await.is_err() {
                std::future::pending::<()>().await;
            }
        }
    }

    /// The first offset whose record is not older than `time_ms`, or the end. Blocks its thread.
    ///
    /// # Errors
    /// Kafka did not answer within two seconds.
    pub fn offset_at(&self, slot: &Slot, time_ms: i64) -> Result<Option<i64>, KafkaError> {
        let answers = ask(&self.consumer, std::iter::once(slot.clone()), Offset::Offset(time_ms))?;
        Ok(answers.get(slot).copied())
    }
}

fn thread(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), KafkaError> {
    let started = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    started.map(drop).map_err(|error| KafkaError::ClientCreation(error.to_string()))
}

struct Sampler {
    consumer: Arc<BaseConsumer<Quiet>>,
    topics: Topics,
}

impl Sampler {
    fn run(
        mut self,
        described: &Receiver<Topics>,
        woken: &Receiver<()>,
        publish: &watch::Sender<Arc<Sample>>,
    ) {
        let Ok(topics) = described.recv() else { return };
        self.topics = topics;
        loop {
            if let Some(topics) = described.try_iter().last() {
                self.topics = topics;
            }
            match self.sample() {
                Ok(sample) => drop(publish.send_replace(Arc::new(sample))),
                Err(error) => tracing::debug!(%error, "no offsets from kafka"),
            }
            let sampled = Instant::now();
            // Serves librdkafka's own events; nothing is assigned, so no message comes.
            drop(self.consumer.poll(Duration::ZERO));
            if woken.recv_timeout(TICK) == Err(RecvTimeoutError::Disconnected) {
                return;
            }
            std::thread::sleep(SPACING.saturating_sub(sampled.elapsed()));
        }
    }

    fn sample(&self) -> Result<Sample, KafkaError> {
        let (requested, requested_ms) = (Instant::now(), unix_ms());
        let Topics { partitions, ids, starts } = &self.topics;
        let bounds = ask(&self.consumer, slots(partitions), Offset::End)?
            .into_iter()
            .filter_map(|(slot, end)| {
                // Asked for at another time: of a topic made anew it may be beyond.
                let start = (*starts.get(&slot)?).min(end);
                Some((slot, Bounds { start, end }))
            })
            .collect();
        let (partitions, ids) = (partitions.clone(), ids.clone());
        Ok(Sample { requested, requested_ms, bounds, partitions, ids })
    }
}

/// Every partition of the topics.
pub(super) fn slots(partitions: &HashMap<Arc<str>, i32>) -> impl Iterator<Item = Slot> + '_ {
    partitions.iter().flat_map(|(topic, count)| {
        (0..*count).map(move |partition| Slot { topic: Arc::clone(topic), partition })
    })
}

/// One ListOffsets per broker. `End` and `Beginning` are timestamps too, as the protocol has it.
pub(super) fn ask(
    consumer: &BaseConsumer<Quiet>,
    slots: impl Iterator<Item = Slot>,
    at: Offset,
) -> Result<HashMap<Slot, i64>, KafkaError> {
    let mut list = TopicPartitionList::new();
    let mut asked = Vec::new();
    for slot in slots {
        list.add_partition_offset(&slot.topic, slot.partition, at)?;
        asked.push(slot);
    }
    if asked.is_empty() {
        return Ok(HashMap::new());
    }
    let answer = consumer.offsets_for_times(list, ANSWER_TIMEOUT)?;
    let offset_of = |slot: &Slot| {
        let element = answer.find_partition(&slot.topic, slot.partition)?;
        element.error().ok()?;
        match element.offset() {
            Offset::Offset(offset) => Some(offset),
            // "No record is that young": the next one will be.
            Offset::End if matches!(at, Offset::Offset(_)) => Some(i64::MAX),
            _ => None,
        }
    };
    Ok(asked
        .into_iter()
        .filter_map(|slot| {
            let offset = offset_of(&slot)?;
            Some((slot, offset))
        })
        .collect())
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
