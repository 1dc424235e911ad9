//! Reads one bounded stretch of one partition, from pooled consumers assigned at its first offset (a seek
//! costs 100 to 1000 ms, an assignment at most 50). It blocks its thread: call it from a blocking task.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::{Quiet, settings};
use crate::ports::Slot;

const POLL: Duration = Duration::from_millis(5);

/// What one stretch may cost.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The most records.
    pub records_max: usize,
    /// The most bytes of record values, about; one record is always read.
    pub bytes_max: usize,
    /// When to give up.
    pub deadline: Instant,
}

/// Why a stretch was not read to its end.
#[derive(Debug, thiserror::Error)]
pub enum RangeError {
    /// It is larger than its limits, or the deadline passed.
    #[error("the stretch was not read to its end within its limits")]
    Limit,
    /// Kafka or the client failed, or the stretch is outside of the log.
    #[error("kafka: {0}")]
    Kafka(#[from] KafkaError),
}

/// The pool.
pub struct Ranges {
    config: ClientConfig,
    idle: Mutex<Vec<BaseConsumer<Quiet>>>,
    idle_max: usize,
}

impl Ranges {
    /// A pool that keeps at most `idle_max` consumers connected.
    pub fn new(base: &ClientConfig, group_id: &str, idle_max: usize) -> Ranges {
        let mut config = settings(base, group_id, "read_committed");
        // What is asked for is there already: never wait for more.
        config.set("fetch.wait.max.ms", "5");
        // What is fetched beyond the stretch is thrown away.
        config.set("queued.max.messages.kbytes", "1024");
        Ranges { config, idle: Mutex::new(Vec::new()), idle_max }
    }

    /// Hands every record of `from..to` to `each`, in order; `Ok` means that all of it was seen.
    ///
    /// # Errors
    /// See [`RangeError`]; `each` may have seen some records.
    pub fn read(
        &self,
        slot: &Slot,
        from: i64,
        to: i64,
        limits: Limits,
        each: impl FnMut(&BorrowedMessage<'_>),
    ) -> Result<(), RangeError> {
        let pooled = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let consumer = match pooled {
            Some(consumer) => consumer,
            None => BaseConsumer::from_config_and_context(&self.config, Quiet)?,
        };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&slot.topic, slot.partition, Offset::Offset(from))?;
        consumer.assign(&list)?;
        let outcome = read_assigned(&consumer, slot, from, to, limits, each);
        consumer.unassign()?;
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        // One that met an error is not trusted with the next stretch.
        if !matches!(outcome, Err(RangeError::Kafka(_))) && idle.len() < self.idle_max {
            idle.push(consumer);
        }
        outcome
    }
}

fn read_assigned(
    consumer: &BaseConsumer<Quiet>,
    slot: &Slot,
    from: i64,
    to: i64,
    limits: Limits,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), RangeError> {
    let (mut position, mut records, mut bytes) = (from, 0, 0);
    // An earlier assignment's position of the same partition is forgotten only after a while, and is not ours.
    let mut own_position = false;
    while position < to {
        if Instant::now() >= limits.deadline {
            return Err(RangeError::Limit);
        }
        match consumer.poll(POLL) {
            // What an earlier assignment left in the queue is not ours.
            Some(Ok(record)) if record.topic() != &*slot.topic || record.partition() != slot.partition => {}
            Some(Ok(record)) if record.offset() >= to => return Ok(()),
            Some(Ok(record)) => {
                own_position = true;
                records += 1;
                bytes += record.payload_len();
                if records > limits.records_max || (bytes > limits.bytes_max && records > 1) {
                    return Err(RangeError::Limit);
                }
                each(&record);
                position = record.offset() + 1;
            }
            Some(Err(error)) if is_passing(&error) => {}
            Some(Err(error)) => return Err(error.into()),
            // Records may be followed by markers, which only the position shows.
            None => match position_of(consumer, slot)? {
                Some(passed) if own_position => position = position.max(passed),
                Some(_) => {}
                None => own_position = true,
            },
        }
    }
    Ok(())
}

fn position_of(consumer: &BaseConsumer<Quiet>, slot: &Slot) -> Result<Option<i64>, KafkaError> {
    let positions = consumer.position()?;
    Ok(positions.find_partition(&slot.topic, slot.partition).and_then(|element| match element.offset() {
        Offset::Offset(offset) => Some(offset),
        _ => None,
    }))
}

/// Whether librdkafka mends this by itself.
fn is_passing(error: &KafkaError) -> bool {
    use rdkafka::types::RDKafkaErrorCode as Code;
    matches!(
        error.rdkafka_error_code(),
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut | Code::Resolve)
    )
}
