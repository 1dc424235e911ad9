//! Which partitions this gateway keeps the read model of, as a consumer group shares them out. A member never
//! fetches: its partitions are paused, because their positions are the store's business, not the group's.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::client::ClientContext;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use tokio::sync::watch;

use super::settings;
use crate::ports::Slot;

const POLL: Duration = Duration::from_millis(100);

/// The partitions a member owns; `None` before the group has said anything.
pub type Owned = Option<BTreeSet<Slot>>;

/// A membership in a consumer group.
pub struct Member {
    owned: watch::Receiver<Owned>,
    leaving: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Joins `group_id` for these topics, in the background.
    ///
    /// # Errors
    /// The client could not be made (a bad setting); an unreachable Kafka is not an error.
    pub fn join(base: &ClientConfig, group_id: &str, topics: &[Arc<str>]) -> Result<Member, KafkaError> {
        let mut config = settings(base, group_id, "read_committed");
        config
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("session.timeout.ms", "6000")
            .set("heartbeat.interval.ms", "1500")
            // Partitions that are added are found within seconds, not minutes.
            .set("topic.metadata.refresh.interval.ms", "5000")
            // The positions of a member mean nothing; an error about them would only be noise.
            .set("auto.offset.reset", "latest");
        let (publish, owned) = watch::channel(None);
        let consumer = BaseConsumer::from_config_and_context(&config, Rebalances { publish })?;
        let names: Vec<&str> = topics.iter().map(AsRef::as_ref).collect();
        consumer.subscribe(&names)?;
        let leaving = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&leaving);
        let thread = std::thread::Builder::new()
            .name("recent-member".to_owned())
            .spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    if let Some(Err(error)) = consumer.poll(POLL) {
                        tracing::debug!(%error, "consumer group");
                    }
                }
                // Dropping the consumer leaves the group.
            })
            .map_err(|error| KafkaError::ClientCreation(error.to_string()))?;
        Ok(Member { owned, leaving, thread: Some(thread) })
    }

    /// What this member owns, and a way to wait for a change.
    pub fn watch(&self) -> watch::Receiver<Owned> {
        self.owned.clone()
    }

    /// Leaves the group. Blocks its thread until the coordinator has been told.
    pub fn leave(mut self) {
        self.leaving.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the group member's thread ended badly");
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.leaving.store(true, Ordering::Relaxed);
    }
}

struct Rebalances {
    publish: watch::Sender<Owned>,
}

impl ClientContext for Rebalances {
    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "consumer group");
    }
}

impl ConsumerContext for Rebalances {
    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, _: &Rebalance<'_>) {
        let assignment = match consumer.assignment() {
            Ok(assignment) => assignment,
            Err(error) => return tracing::error!(%error, "no assignment after a rebalance"),
        };
        if let Err(error) = consumer.pause(&assignment) {
            tracing::error!(%error, "the group's partitions could not be paused");
        }
        let slot = |topic: &str, partition| Slot { topic: Arc::from(topic), partition };
        let owned = assignment.elements().iter().map(|e| slot(e.topic(), e.partition())).collect();
        self.publish.send_replace(Some(owned));
    }
}
