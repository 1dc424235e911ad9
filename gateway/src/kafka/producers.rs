//! The producers of this process, one for each worker, and the thread that keeps them: it asks Kafka for the
//! topics' partitions and replaces a producer that died. No record passes through here.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use rdkafka::config::ClientConfig;
use rdkafka::error::{KafkaError, KafkaResult};

use super::producer::{Failed, Producer};

/// How often partition counts are asked for again, and how long to wait for a Kafka that did not answer.
const METADATA_INTERVAL: Duration = Duration::from_secs(10);
const METADATA_RETRY: Duration = Duration::from_millis(250);
const METADATA_TIMEOUT: Duration = Duration::from_secs(2);
/// What each producer gets at the end to hand over the reports it has, when the others took all the time.
const FLUSH_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// All producers of this process.
#[derive(Debug)]
pub struct Producers {
    shared: Arc<Shared>,
    claimed: AtomicUsize,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

struct Shared {
    config: ClientConfig,
    topics: ArcSwap<Vec<Arc<str>>>,
    producers: Vec<Arc<Producer>>,
    failed: Failed,
    state: Arc<State>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").field("topics", &self.topics).finish_non_exhaustive()
    }
}

/// What the keeper thread is told.
#[derive(Debug, Default)]
struct State {
    /// A producer reported an error; whether it is fatal is still to be asked.
    failed: AtomicBool,
    /// There are other topics.
    asked: AtomicBool,
    stopping: AtomicBool,
    wake: (Mutex<()>, Condvar),
}

impl Producers {
    /// Starts `count` producers for these topics; Kafka need not be there yet. Fails on a setting that librdkafka
    /// refuses.
    pub fn start(config: ClientConfig, topics: Vec<Arc<str>>, count: usize) -> KafkaResult<Self> {
        let state = Arc::new(State::default());
        let failed: Failed = Arc::new({
            let state = Arc::clone(&state);
            move || state.set(&state.failed)
        });
        let producers = (0..count.max(1)).map(|_| Ok(Arc::new(Producer::new(&config, &failed)?)));
        let producers = producers.collect::<KafkaResult<_>>()?;
        let topics = ArcSwap::from_pointee(topics);
        let shared = Arc::new(Shared { config, topics, producers, failed, state });
        let keeper = std::thread::Builder::new().name("kafka-keeper".into()).spawn({
            let shared = Arc::clone(&shared);
            move || shared.keep()
        });
        let keeper = keeper.map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Producers { shared, claimed: AtomicUsize::new(0), keeper: Mutex::new(Some(keeper)) })
    }

    /// The next producer, for a worker that will settle its reports.
    pub fn claim(&self) -> Arc<Producer> {
        let claimed = self.claimed.fetch_add(1, Ordering::Relaxed);
        Arc::clone(&self.shared.producers[claimed % self.shared.producers.len()])
    }

    /// Goes over to these topics. The producers keep what they know of others.
    pub fn serve(&self, topics: Vec<Arc<str>>) {
        self.shared.topics.store(Arc::new(topics));
        self.shared.state.set(&self.shared.state.asked);
    }

    /// The topics that are asked for.
    pub fn topics(&self) -> Arc<Vec<Arc<str>>> {
        self.shared.topics.load_full()
    }

    /// Whether the partitions of all these topics are known, which is whether Kafka was reached.
    pub fn know(&self, topics: &[Arc<str>]) -> bool {
        self.shared.producers.iter().all(|producer| producer.knows(topics))
    }

    /// Waits until everything is reported on, then gives up on the rest: their slots are settled as what
    /// librdkafka knows of them. Ends the keeper's thread.
    pub fn stop(&self, timeout: Duration) {
        let deadline = Instant::now() + timeout;
        self.shared.state.set(&self.shared.state.stopping);
        for producer in &self.shared.producers {
            producer.flush(deadline.saturating_duration_since(Instant::now()).max(FLUSH_TIMEOUT_MIN));
        }
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if keeper.is_some_and(|keeper| keeper.join().is_err()) {
            tracing::error!("the producers' keeper thread panicked");
        }
    }
}

impl State {
    fn set(&self, flag: &AtomicBool) {
        flag.store(true, Ordering::Release);
        drop(self.wake.0.lock().unwrap_or_else(PoisonError::into_inner));
        self.wake.1.notify_all();
    }

    fn urgent(&self) -> bool {
        [&self.stopping, &self.failed, &self.asked].iter().any(|flag| flag.load(Ordering::Acquire))
    }

    fn wait(&self, timeout: Duration) {
        let guard = self.wake.0.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.wake.1.wait_timeout_while(guard, timeout, |()| !self.urgent()));
    }
}

impl Shared {
    fn keep(&self) {
        let mut partitions = HashMap::new();
        let mut due = Instant::now();
        while !self.state.stopping.load(Ordering::Acquire) {
            self.state.failed.store(false, Ordering::Release);
            let asked = self.state.asked.swap(false, Ordering::AcqRel);
            let replaced = self.replace_failed();
            if asked || replaced != Ok(false) || due <= Instant::now() {
                let answered = self.ask(&mut partitions);
                self.producers.iter().for_each(|producer| producer.describe(&partitions));
                let complete =
                    answered && self.topics.load().iter().all(|topic| partitions.get(topic) > Some(&0));
                let well = complete && replaced.is_ok();
                due = Instant::now() + if well { METADATA_INTERVAL } else { METADATA_RETRY };
            }
            self.state.wait(due.saturating_duration_since(Instant::now()));
        }
    }

    /// Whether there was a producer to replace.
    fn replace_failed(&self) -> KafkaResult<bool> {
        let mut replaced = false;
        for producer in &self.producers {
            let done = producer.replace_if_failed(&self.config, &self.failed);
            replaced |= done.inspect_err(|error| tracing::error!(%error, "no new Kafka producer"))?;
        }
        Ok(replaced)
    }

    /// Asks for every topic's partition count; whether Kafka answered for each.
    fn ask(&self, partitions: &mut HashMap<Arc<str>, i32>) -> bool {
        let started = Instant::now();
        let mut answered = true;
        for topic in self.topics.load().iter() {
            if self.state.stopping.load(Ordering::Acquire) || started.elapsed() > 4 * METADATA_TIMEOUT {
                return false;
            }
            let known = partitions.get(topic).copied().unwrap_or(i32::MAX);
            match self.count(topic, known) {
                Ok(count) => {
                    if partitions.insert(Arc::clone(topic), count) != Some(count) {
                        tracing::info!(%topic, partitions = count, "topic");
                    }
                }
                Err(error) => {
                    tracing::warn!(%topic, %error, "no metadata from Kafka");
                    answered = false;
                }
            }
        }
        answered
    }

    /// How many partitions a topic has; 0 if Kafka does not have it. Each librdkafka producer refuses partitions that it
    /// has not heard of itself, so if there are more than were known, all are to hear of them before one is used.
    fn count(&self, topic: &str, known: i32) -> KafkaResult<i32> {
        let count = |producer: &Producer| -> KafkaResult<i32> {
            let metadata = producer.metadata(topic, METADATA_TIMEOUT)?;
            let described = metadata.topics().iter().find(|described| described.name() == topic);
            let count = described.map_or(0, |described| described.partitions().len());
            Ok(i32::try_from(count).unwrap_or(i32::MAX))
        };
        let (first, others) = (count(&self.producers[0])?, &self.producers[1..]);
        if first <= known {
            return Ok(first);
        }
        others.iter().try_fold(first, |least, producer| Ok(least.min(count(producer)?)))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use rdkafka::mocking::MockCluster;
    use rdkafka_sys::types::{RDKafkaApiKey, RDKafkaRespErr};

    use super::*;
    use crate::kafka::delivery::{Delivery, Report};
    use crate::kafka::producer::Outgoing;

    const PATIENCE: Duration = Duration::from_secs(20);

    async fn send(producer: &Producer) -> Report {
        let delivery = Delivery::new(1, Bytes::new(), None);
        let record = Outgoing { partition: 0, key: None, headers: &[], value: b"1", time_ms: 0 };
        match producer.sender().topic("t") {
            Ok(topic) => topic.enqueue(&record, delivery.slot(0)),
            Err(code) => return Report::NotStored(code),
        }
        delivery.settled().await;
        delivery.report(0)
    }

    /// Sends until a record is stored.
    async fn until_stored(producer: &Producer) {
        let sending = async {
            while !matches!(send(producer).await, Report::Stored(Some(_))) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(PATIENCE, sending).await.expect("a record is stored");
    }

    #[tokio::test]
    async fn a_producer_that_met_a_fatal_error_is_replaced() {
        let kafka = MockCluster::new(1).expect("a mock cluster");
        kafka.create_topic("t", 1, 1).expect("a topic");
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", kafka.bootstrap_servers()).set("enable.idempotence", "true");
        let producers = Producers::start(config, vec!["t".into()], 1).expect("a producer");
        let producer = producers.claim();
        let settling = tokio::spawn({
            let producer = Arc::clone(&producer);
            async move { producer.settle_reports().await }
        });
        until_stored(&producer).await;
        // The first batch in flight out of order: librdkafka can only have lost count, and gives up for good.
        let lost_count = RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER;
        kafka.request_errors(RDKafkaApiKey::Produce, &[lost_count]);
        assert!(!matches!(send(&producer).await, Report::Stored(_)));
        until_stored(&producer).await;
        settling.abort();
        producers.stop(PATIENCE);
    }
}
