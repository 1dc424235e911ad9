//! Records to Kafka, idempotent and acknowledged by all in-sync replicas. The topic, the partition and the
//! headers were decided before; this file hands over, reports back, and replaces a producer that died.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::producer::{DeliveryResult, Producer as _, ProducerContext, PurgeConfig, ThreadedProducer};

use super::delivery::{Report, Slot};
use super::partitioner::murmur2_partition;
use super::sys::{Persistence, TopicHandle, persistence, produce, schedule_in_batches};
use crate::problem::Code;

/// How often partition counts are asked for again, and how long a producer that lost Kafka waits to retry.
const METADATA_INTERVAL: Duration = Duration::from_secs(10);
const METADATA_RETRY: Duration = Duration::from_millis(250);
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);

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
#[derive(Clone, Debug)]
pub struct Topic {
    handle: Arc<TopicHandle<Context>>,
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

/// The one producer of this process.
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    config: ClientConfig,
    current: ArcSwap<Current>,
    state: Arc<State>,
    topics: Vec<Arc<str>>,
}

/// A librdkafka producer, and the topics as it knows them.
struct Current {
    client: Arc<ThreadedProducer<Context>>,
    topics: HashMap<Arc<str>, Known>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// What the keeper thread is told.
#[derive(Debug, Default)]
struct State {
    fatal: AtomicBool,
    stopping: AtomicBool,
    wake: (Mutex<()>, Condvar),
}

#[derive(Clone, Debug)]
enum Known {
    Topic(Topic),
    /// Kafka says that there is no such topic.
    Missing,
}

impl Producer {
    /// Starts a producer for these topics; Kafka need not be there yet. Fails on a setting that librdkafka
    /// refuses.
    pub fn start(config: ClientConfig, topics: Vec<Arc<str>>) -> KafkaResult<Self> {
        let state = Arc::new(State::default());
        let current = Current { client: Arc::new(create(&config, &state)?), topics: HashMap::new() };
        let current = ArcSwap::from_pointee(current);
        let shared = Arc::new(Shared { config, current, state, topics });
        let keeper = std::thread::Builder::new().name("kafka-keeper".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep()
        });
        let keeper = keeper.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Producer { shared, keeper: Mutex::new(Some(keeper)) })
    }

    /// Whether every topic's partitions are known, which is whether Kafka was reached.
    pub fn ready(&self) -> bool {
        self.shared.complete(&self.shared.current.load().topics)
    }

    /// The producer as it is now, for the records of one chunk.
    pub fn sender(&self) -> Sender {
        Sender(self.shared.current.load())
    }

    /// Waits until everything is reported on, then gives up on the rest: their slots are settled as what
    /// librdkafka knows of them. Ends the producer's thread.
    pub fn stop(&self, timeout: Duration) {
        self.shared.state.stop();
        let client = Arc::clone(&self.shared.current.load().client);
        if client.flush(timeout).is_err() {
            tracing::error!(
                records = client.in_flight_count(),
                "stopped before Kafka acknowledged everything"
            );
            discard(&client);
        }
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if keeper.is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("the producer's keeper thread panicked");
        }
    }
}

/// The producer at one moment: what may change over time was looked up once.
pub struct Sender(Guard<Arc<Current>>);

impl Sender {
    /// A topic by name, if Kafka is known to have it.
    pub fn topic(&self, name: &str) -> Result<&Topic, Code> {
        match self.0.topics.get(name) {
            Some(Known::Topic(topic)) => Ok(topic),
            Some(Known::Missing) => Err(Code::TopicMissing),
            None => Err(Code::KafkaUnavailable),
        }
    }
}

impl State {
    fn notify(&self) {
        drop(self.wake.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.1.notify_all();
    }

    fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.notify();
    }

    fn urgent(&self) -> bool {
        self.stopping.load(Ordering::Acquire) || self.fatal.load(Ordering::Acquire)
    }

    fn wait(&self, timeout: Duration) {
        let guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.wake.1.wait_timeout_while(guard, timeout, |()| !self.urgent()));
    }
}

impl Shared {
    fn keep(&self) {
        while !self.state.stopping.load(Ordering::Acquire) {
            if self.state.fatal.swap(false, Ordering::AcqRel) {
                self.replace();
            }
            let complete = self.refresh();
            self.state.wait(if complete { METADATA_INTERVAL } else { METADATA_RETRY });
        }
    }

    /// A fatal error ends a librdkafka producer for good: settle what it held and go on with a new one.
    fn replace(&self) {
        tracing::error!("the Kafka producer met a fatal error and is replaced");
        match create(&self.config, &self.state) {
            Ok(client) => {
                let client = Arc::new(client);
                let again = |(name, known): (&Arc<str>, &Known)| {
                    (Arc::clone(name), Known::new(&client, name, known.partitions()))
                };
                let topics = self.current.load().topics.iter().map(again).collect();
                let old = self.current.swap(Arc::new(Current { client, topics }));
                discard(&old.client);
            }
            Err(error) => {
                tracing::error!(%error, "no new Kafka producer");
                self.state.fatal.store(true, Ordering::Release);
            }
        }
    }

    /// Asks for every topic's partition count; true when all are known.
    fn refresh(&self) -> bool {
        let current = self.current.load_full();
        let client = Arc::clone(&current.client);
        let mut topics = current.topics.clone();
        let started = Instant::now();
        for topic in &self.topics {
            if self.state.urgent() || started.elapsed() > 4 * METADATA_TIMEOUT {
                return false;
            }
            match client.client().fetch_metadata(Some(topic), METADATA_TIMEOUT) {
                Ok(metadata) => {
                    let described = metadata.topics().iter().find(|described| described.name() == &**topic);
                    let partitions = described.map_or(0, |described| described.partitions().len());
                    if topics.get(topic).map(Known::partitions) != Some(partitions) {
                        tracing::info!(%topic, partitions, "topic");
                        topics.insert(Arc::clone(topic), Known::new(&client, topic, partitions));
                    }
                }
                Err(error) => tracing::warn!(%topic, %error, "no metadata from Kafka"),
            }
        }
        let complete = self.complete(&topics);
        self.current.store(Arc::new(Current { client, topics }));
        complete
    }

    fn complete(&self, topics: &HashMap<Arc<str>, Known>) -> bool {
        self.topics.iter().all(|topic| matches!(topics.get(topic), Some(Known::Topic(_))))
    }
}

impl Known {
    fn new(client: &Arc<ThreadedProducer<Context>>, name: &str, partitions: usize) -> Self {
        // No handle before there is a topic: librdkafka would go on asking for it.
        let partitions = i32::try_from(partitions).ok().filter(|partitions| *partitions > 0);
        let topic = partitions.and_then(|partitions| {
            let handle = Arc::new(TopicHandle::new(client, &CString::new(name).ok()?)?);
            Some(Topic { handle, partitions })
        });
        topic.map_or(Known::Missing, Known::Topic)
    }

    fn partitions(&self) -> usize {
        match self {
            Known::Topic(topic) => usize::try_from(topic.partitions).unwrap_or(0),
            Known::Missing => 0,
        }
    }
}

/// librdkafka's threads inherit how the thread that makes them is scheduled. A core that they share with a worker
/// goes to and fro between them with every record batch and every report, unless they wait for its pauses: then
/// they do more at once (-10 % CPU per event on one core).
fn create(config: &ClientConfig, state: &Arc<State>) -> KafkaResult<ThreadedProducer<Context>> {
    let create = || {
        if let Err(error) = schedule_in_batches() {
            tracing::debug!(%error, "librdkafka's threads are scheduled like any");
        }
        config.create_with_context(Context { state: Arc::clone(state) })
    };
    let created = std::thread::scope(|scope| scope.spawn(create).join());
    created.unwrap_or_else(|_| Err(KafkaError::ClientCreation("its thread panicked".into())))
}

/// Purges what a producer still holds, so that every slot gets its report before the producer is dropped.
fn discard(client: &ThreadedProducer<Context>) {
    client.purge(PurgeConfig::default().queue().inflight());
    if let Err(error) = client.flush(Duration::from_secs(1)) {
        tracing::error!(%error, "records left without a report");
    }
}

pub(super) struct Context {
    state: Arc<State>,
}

impl ClientContext for Context {
    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) {
            self.state.fatal.store(true, Ordering::Release);
            self.state.notify();
        }
        tracing::warn!(%error, reason, "kafka");
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
