//! Reading the log for the read model: where it ends, who reads what, a live tail, and single stretches.
//! It knows nothing of what the records mean, and nothing here is on the path of an event going in.

mod ends;
mod member;
mod range;
mod tail;
mod topics;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

pub use ends::{Bounds, Ends, Sample};
pub use member::{Member, Owned};
pub use range::{Limits, RangeError, Ranges};
pub use tail::{Log, Tail};

/// The settings every consumer of ours shares, laid over the connection settings in `base`.
///
/// Positions are ours to choose (the read model holds its own), so nothing is committed or reset behind our
/// back; short waits and back-offs, because a new partition queues behind the running long poll.
fn settings(base: &ClientConfig, group_id: &str, isolation: &str) -> ClientConfig {
    let mut config = base.clone();
    config
        .set("group.id", group_id)
        .set("group.protocol", "classic")
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("isolation.level", isolation)
        .set("statistics.interval.ms", "0")
        .set("allow.auto.create.topics", "false")
        .set("socket.timeout.ms", "6000")
        .set("topic.metadata.propagation.max.ms", "2000")
        .set("reconnect.backoff.max.ms", "1000")
        .set("fetch.error.backoff.ms", "50")
        .set("fetch.queue.backoff.ms", "10")
        .set("queued.max.messages.kbytes", "16384");
    config
}

/// Keeps librdkafka's own report of ordinary conditions out of the error log.
struct Quiet;

impl ClientContext for Quiet {
    fn error(&self, error: KafkaError, reason: &str) {
        // PartitionEOF and truncation are conditions that the readers handle, not errors of the client.
        if !matches!(error, KafkaError::PartitionEOF(_)) {
            tracing::debug!(%error, reason, "kafka consumer");
        }
    }
}

impl ConsumerContext for Quiet {}
