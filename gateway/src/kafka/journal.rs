//! Appending to a small topic with one partition whose records are facts by key. What they say is their owner's
//! business; they are read like any other log, with `consumer`.

use std::sync::Arc;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::producer::{FutureProducer, FutureRecord, Producer as _};

const ACK_TIMEOUT: Duration = Duration::from_secs(10);

/// The writing end. Seldom used: it favours a simple client over a fast one.
pub struct Journal {
    producer: FutureProducer,
    topic: Arc<str>,
}

impl Journal {
    /// The journal of this topic; `base` holds the connection settings.
    ///
    /// # Errors
    /// The client could not be made (a bad setting); an unreachable Kafka is not an error.
    pub fn new(base: &ClientConfig, topic: Arc<str>) -> Result<Journal, KafkaError> {
        let mut config = base.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("linger.ms", "0")
            .set("message.timeout.ms", ACK_TIMEOUT.as_millis().to_string())
            .set("socket.timeout.ms", "6000")
            .set("topic.metadata.propagation.max.ms", "2000")
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", "0");
        Ok(Journal { producer: config.create()?, topic })
    }

    /// Appends a fact, or with `None` the end of one, and waits until every in-sync replica has it: its offset.
    ///
    /// # Errors
    /// Kafka did not confirm it within ten seconds. It may be in the log all the same.
    pub async fn append(&self, key: &str, value: Option<&[u8]>) -> Result<i64, KafkaError> {
        let mut record = FutureRecord::to(&self.topic).partition(0).key(key);
        record.payload = value;
        let queued = self.producer.send_result(record).map_err(|(error, _)| error)?;
        let delivered = queued.await.map_err(|_| KafkaError::Canceled)?;
        delivered.map(|delivery| delivery.offset).map_err(|(error, _)| error)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        // What nobody waits for any more was not promised to anybody.
        self.producer.purge(rdkafka::producer::PurgeConfig::default().queue());
    }
}
