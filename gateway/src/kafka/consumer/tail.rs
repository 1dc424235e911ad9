//! A live tail of single partitions, each with a queue of its own so that a slow one holds up no other.
//! Where to begin is the caller's choice every time; to go back, drop the tail and open another.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::{FutureExt, StreamExt};
use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::stream_consumer::StreamPartitionQueue;
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

use super::{Quiet, settings};
use crate::ports::Slot;

/// One consumer with hand-assigned partitions.
pub struct Log {
    consumer: Arc<StreamConsumer<Quiet>>,
    events: AbortHandle,
}

impl Log {
    /// Opens the log. `fetch_wait_ms` is how long a broker may hold an empty fetch: a mock cluster does not
    /// wake it for new data.
    ///
    /// # Errors
    /// The client could not be made (a bad setting); an unreachable Kafka is not an error.
    pub fn open(
        base: &ClientConfig,
        group_id: &str,
        fetch_wait_ms: u32,
        runtime: &Handle,
    ) -> Result<Log, KafkaError> {
        let mut config = settings(base, group_id, "read_committed");
        config.set("fetch.wait.max.ms", fetch_wait_ms.to_string());
        let _entered = runtime.enter();
        let consumer: Arc<StreamConsumer<Quiet>> =
            Arc::new(StreamConsumer::from_config_and_context(&config, Quiet)?);
        let served = Arc::clone(&consumer);
        // Every partition has its own queue before it is assigned, so only events of the client come here.
        let events = runtime.spawn(async move {
            loop {
                match served.recv().await {
                    Ok(record) => {
                        let (topic, partition, offset) =
                            (record.topic(), record.partition(), record.offset());
                        tracing::warn!(topic, partition, offset, "a record came past its tail");
                    }
                    Err(error) => tracing::debug!(%error, "kafka log"),
                }
            }
        });
        Ok(Log { consumer, events: events.abort_handle() })
    }

    /// Reads one partition from `from` on. There must be no other tail of it.
    ///
    /// # Errors
    /// librdkafka refused the assignment.
    pub fn tail(&self, slot: &Slot, from: i64) -> Result<Tail, KafkaError> {
        let consumer = Arc::clone(&self.consumer);
        // The queue first: once assigned, records would go to the shared queue and be lost to the tail.
        let queue = consumer
            .split_partition_queue(&slot.topic, slot.partition)
            .ok_or_else(|| KafkaError::Subscription(slot.topic.to_string()))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&slot.topic, slot.partition, Offset::Offset(from))?;
        consumer.incremental_assign(&list)?;
        let own_position = AtomicBool::new(false);
        Ok(Tail { consumer, queue, slot: slot.clone(), from, own_position, pending: Mutex::default() })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.events.abort();
    }
}

/// One partition, read in order. Dropping it ends the assignment.
pub struct Tail {
    consumer: Arc<StreamConsumer<Quiet>>,
    queue: StreamPartitionQueue<Quiet>,
    slot: Slot,
    from: i64,
    /// Whether what librdkafka tells as position is of this assignment: it forgets that of an earlier one of the same
    /// partition only after a while, and who took that one for this would pass over records.
    own_position: AtomicBool,
    /// An error that came behind records, for the next call.
    pending: Mutex<Option<KafkaError>>,
}

impl Tail {
    /// Waits for records and takes those that are there, up to `records_max` or about `bytes_max`. Nothing is
    /// lost when the future is dropped.
    ///
    /// # Errors
    /// Among others, [`KafkaError::MessageConsumption`] when the position is outside of the log.
    pub async fn next(
        &self,
        records_max: usize,
        bytes_max: usize,
    ) -> Result<Vec<BorrowedMessage<'_>>, KafkaError> {
        if let Some(error) = self.pending.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return Err(error);
        }
        let mut stream = self.queue.stream();
        let first = stream.next().await.ok_or(KafkaError::Canceled)??;
        self.own_position.store(true, Ordering::Relaxed);
        let mut bytes = first.payload_len();
        let mut records = vec![first];
        while records.len() < records_max && bytes < bytes_max {
            match stream.next().now_or_never() {
                Some(Some(Ok(record))) => {
                    bytes += record.payload_len();
                    records.push(record);
                }
                Some(Some(Err(error))) => {
                    *self.pending.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                    break;
                }
                Some(None) | None => break,
            }
        }
        Ok(records)
    }

    /// The next offset to read. It also passes what the log holds besides records (transaction markers).
    ///
    /// # Errors
    /// librdkafka does not know the assignment.
    pub fn position(&self) -> Result<i64, KafkaError> {
        let positions = self.consumer.position()?;
        let element = positions.find_partition(&self.slot.topic, self.slot.partition);
        match element.map(|element| element.offset()) {
            Some(Offset::Offset(offset)) if self.own_position.load(Ordering::Relaxed) => {
                Ok(offset.max(self.from))
            }
            Some(Offset::Offset(_)) => Ok(self.from),
            _ => {
                // It has forgotten: what it tells from now on is new.
                self.own_position.store(true, Ordering::Relaxed);
                Ok(self.from)
            }
        }
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        let mut list = TopicPartitionList::new();
        list.add_partition(&self.slot.topic, self.slot.partition);
        if let Err(error) = self.consumer.incremental_unassign(&list) {
            tracing::debug!(%error, "a partition was not assigned any more");
        }
    }
}
