//! Records to Kafka, idempotent and acknowledged by all in-sync replicas, and their reports back: a worker's own
//! producer. The topic, the partition and the headers were decided before; this file hands over and settles.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::{ArcSwap, Guard};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::metadata::Metadata;
use rdkafka::producer::{BaseProducer, DeliveryResult, Producer as _, ProducerContext, PurgeConfig};
use tokio::sync::Notify;

use super::delivery::{Report, Slot};
use super::partitioner::murmur2_partition;
use super::sys::{Persistence, Reports, TopicHandle, in_batches, persistence, produce};
use crate::problem::Code;

/// Reports come in batches; after so many of them a worker looks at its requests.
const BATCHES_AT_ONCE: usize = 16;

/// A record to be produced, borrowed from the chunk it was made in.
#[derive(Debug)]
pub struct Outgoing<'a> {
    /// The partition, from [`Topic::partition`].
    pub partition: i32,
    /// The record key.
    pub key: Option<&'a str>,
    /// Headers in order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// The record value.
    pub value: &'a [u8],
    /// The record timestamp, Unix time.
    pub time_ms: i64,
}

/// A topic that Kafka has.
#[derive(Debug)]
pub struct Topic {
    handle: TopicHandle<Context>,
    partitions: i32,
}

impl Topic {
    /// The partition of a record: by key as the Java client would, without a key the same one for everyone
    /// for a linger's time, so that unkeyed records share batches.
    pub fn partition(&self, key: Option<&str>, time_ms: i64) -> i32 {
        match key {
            Some(key) => murmur2_partition(key.as_bytes(), self.partitions),
            None => i32::try_from((time_ms / 4).rem_euclid(i64::from(self.partitions))).unwrap_or(0),
        }
    }

    /// Hands a record to librdkafka; the slot gets its report, here if the queue refuses it.
    pub fn enqueue(&self, record: &Outgoing<'_>, slot: Slot) {
        if let Err((error, slot)) = produce(&self.handle, record, Box::new(slot)) {
            slot.settle(Report::NotStored(refusal(Some(error))));
        }
    }
}

/// The producer of one worker. The worker makes the records and takes their reports: their memory is freed where
/// it was made, and no other thread stands between librdkafka and the request that waits.
pub struct Producer {
    current: ArcSwap<Current>,
    /// Rung when librdkafka has something to say.
    bell: Arc<Notify>,
}

/// A librdkafka producer, and the topics as it knows them.
struct Current {
    reports: Arc<Reports<Context>>,
    /// `None`: Kafka says that there is no such topic.
    topics: HashMap<Arc<str>, Option<Arc<Topic>>>,
}

impl std::fmt::Debug for Producer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

impl Producer {
    /// Makes a producer; Kafka need not be there yet. `failed` is called, on any thread, when librdkafka reports an
    /// error. Fails on a setting that librdkafka refuses.
    pub(super) fn new(config: &ClientConfig, failed: &Failed) -> KafkaResult<Self> {
        let bell = Arc::new(Notify::new());
        let current = Current::new(config, failed, &bell)?;
        Ok(Producer { current: ArcSwap::from_pointee(current), bell })
    }

    /// The producer as it is now, for the records of one chunk.
    pub fn sender(&self) -> Sender {
        Sender(self.current.load())
    }

    /// Runs on the worker for as long as it lives: takes librdkafka's reports and settles their slots.
    pub async fn settle_reports(&self) {
        loop {
            self.bell.notified().await;
            let reports = Arc::clone(&self.current.load().reports);
            let mut batches = 0;
            while reports.waiting() {
                reports.take_batch();
                batches += 1;
                if batches % BATCHES_AT_ONCE == 0 {
                    tokio::task::yield_now().await;
                }
            }
        }
    }

    /// Asks Kafka for a topic. Blocks.
    pub(super) fn metadata(&self, topic: &str, timeout: Duration) -> KafkaResult<Metadata> {
        self.client().client().fetch_metadata(Some(topic), timeout)
    }

    /// Takes over what Kafka says of the topics: their partition counts, 0 for one that it does not have.
    pub(super) fn describe(&self, partitions: &HashMap<Arc<str>, i32>) {
        let Current { reports, topics } = &*self.current.load_full();
        let described = |(name, &partitions): (&Arc<str>, &i32)| {
            let known = topics.get(name).cloned().flatten();
            let known = known.filter(|topic| topic.partitions == partitions);
            (
                Arc::clone(name),
                known.or_else(|| Topic::new(reports.producer(), name, partitions).map(Arc::new)),
            )
        };
        let topics = partitions.iter().map(described).collect();
        self.current.store(Arc::new(Current { reports: Arc::clone(reports), topics }));
    }

    /// Whether Kafka has every one of these topics, as far as this producer was told.
    pub(super) fn knows(&self, topics: &[Arc<str>]) -> bool {
        let current = self.current.load();
        topics.iter().all(|topic| matches!(current.topics.get(topic), Some(Some(_))))
    }

    /// A fatal error ends a librdkafka producer for good: goes on with a new one, which knows no topics yet, and
    /// settles what the old one held. Does nothing to a producer that is well; whether it did something.
    pub(super) fn replace_if_failed(&self, config: &ClientConfig, failed: &Failed) -> KafkaResult<bool> {
        let Some((error, reason)) = self.client().client().fatal_error() else { return Ok(false) };
        tracing::error!(%error, reason, "a Kafka producer met a fatal error and is replaced");
        let new = Current::new(config, failed, &self.bell)?;
        let old = self.current.swap(Arc::new(new));
        purge(old.reports.producer());
        Ok(true)
    }

    /// Waits until everything is reported on, then gives up on the rest: their slots are settled as what
    /// librdkafka knows of them. Blocks.
    pub(super) fn flush(&self, timeout: Duration) {
        let client = self.client();
        if client.flush(timeout).is_err() {
            let records = client.in_flight_count();
            tracing::error!(records, "stopped before Kafka acknowledged everything");
            purge(&client);
        }
    }

    fn client(&self) -> Arc<BaseProducer<Context>> {
        Arc::clone(self.current.load().reports.producer())
    }
}

impl Current {
    fn new(config: &ClientConfig, failed: &Failed, bell: &Arc<Notify>) -> KafkaResult<Self> {
        let context = Context { failed: Arc::clone(failed) };
        let client = in_batches(|| config.create_with_context::<_, BaseProducer<_>>(context));
        let client = Arc::new(client?);
        let reports = Arc::new(Reports::new(&client, bell));
        Ok(Current { reports, topics: HashMap::new() })
    }
}

impl Topic {
    /// No handle before there is a topic: librdkafka would go on asking for it.
    fn new(client: &Arc<BaseProducer<Context>>, name: &str, partitions: i32) -> Option<Self> {
        let name = CString::new(name).ok().filter(|_| partitions > 0)?;
        Some(Topic { handle: TopicHandle::new(client, &name)?, partitions })
    }
}

/// The producer at one moment: what may change over time was looked up once.
pub struct Sender(Guard<Arc<Current>>);

impl Sender {
    /// A topic by name, if Kafka is known to have it.
    pub fn topic(&self, name: &str) -> Result<&Topic, Code> {
        match self.0.topics.get(name) {
            Some(Some(topic)) => Ok(topic),
            Some(None) => Err(Code::TopicMissing),
            None => Err(Code::KafkaUnavailable),
        }
    }
}

/// Purges what a producer still holds, so that every slot gets its report before the producer is dropped.
fn purge(client: &BaseProducer<Context>) {
    client.purge(PurgeConfig::default().queue().inflight());
    if let Err(error) = client.flush(Duration::from_secs(1)) {
        tracing::error!(%error, "records left without a report");
    }
}

/// What to call when a librdkafka producer has met an error. That it is a fatal one is not told with it: the event
/// carries the error's own code, so the client has to be asked.
pub(super) type Failed = Arc<dyn Fn() + Send + Sync>;

pub(super) struct Context {
    failed: Failed,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::warn!(%error, reason, "kafka");
        (self.failed)();
    }

    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        match level {
            RDKafkaLogLevel::Emerg
            | RDKafkaLogLevel::Alert
            | RDKafkaLogLevel::Critical
            | RDKafkaLogLevel::Error => {
                tracing::error!(facility, message, "librdkafka");
            }
            RDKafkaLogLevel::Warning => tracing::warn!(facility, message, "librdkafka"),
            _ => tracing::debug!(facility, message, "librdkafka"),
        }
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = Box<Slot>;

    fn delivery(&self, result: &DeliveryResult<'_>, slot: Box<Slot>) {
        let report = match result {
            Ok(message) => Report::Stored(Some(message.offset()).filter(|offset| *offset >= 0)),
            Err((error, message)) => match persistence(message) {
                Persistence::No => Report::NotStored(refusal(error.rdkafka_error_code())),
                Persistence::Possibly => Report::Unknown,
                Persistence::Yes => Report::Stored(None),
            },
        };
        slot.settle(report);
    }
}

/// Why a record that is certainly not in the log was refused.
fn refusal(error: Option<RDKafkaErrorCode>) -> Code {
    match error {
        Some(RDKafkaErrorCode::MessageSizeTooLarge | RDKafkaErrorCode::InvalidMessageSize) => {
            Code::RecordTooLarge
        }
        Some(
            RDKafkaErrorCode::UnknownTopic
            | RDKafkaErrorCode::UnknownTopicOrPartition
            | RDKafkaErrorCode::UnknownPartition,
        ) => Code::TopicMissing,
        Some(RDKafkaErrorCode::QueueFull) => Code::Overloaded,
        _ => Code::KafkaUnavailable,
    }
}
