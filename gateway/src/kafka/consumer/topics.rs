//! What is known of the topics beside where their logs end: how many partitions each has, its id, and where each log
//! begins. It is asked for on a thread of its own, so that whoever waits for the end of a log waits for nothing else.

use std::collections::HashMap;
use std::ffi::{CStr, CString};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, TrySendError};
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::topic_partition_list::Offset;

use super::super::sys::topic_ids;
use super::Quiet;
use super::ends::{ANSWER_TIMEOUT, TICK, ask, slots};
use crate::ports::Slot;

/// Partition counts and ids are asked for anew when they are as old as this.
const METADATA_AGE_MAX: Duration = Duration::from_secs(2);
/// Where the logs begin waits for this, too.
const IDS_TIMEOUT: Duration = Duration::from_millis(300);
/// A Kafka that does not tell ids, as the mock cluster, is not asked again at once.
const IDS_PAUSE: Duration = Duration::from_secs(60);

/// What was found out last. A topic or a log that Kafka does not know (yet) is absent.
#[derive(Clone, Debug, Default)]
pub(super) struct Topics {
    /// How many partitions each has; a known count never shrinks.
    pub(super) partitions: HashMap<Arc<str>, i32>,
    /// The id of each, where Kafka tells it.
    pub(super) ids: HashMap<Arc<str>, Arc<str>>,
    /// The first offset that each log still has.
    pub(super) starts: HashMap<Slot, i64>,
}

/// Asks Kafka again and again.
pub(super) struct Describer {
    consumer: Arc<BaseConsumer<Quiet>>,
    names: Vec<Arc<str>>,
    known: Topics,
    /// When partition counts and ids were asked for.
    described: Option<Instant>,
    /// When Kafka was asked for ids in vain.
    ids_unknown: Option<Instant>,
}

impl Describer {
    pub(super) fn new(consumer: Arc<BaseConsumer<Quiet>>, names: Vec<Arc<str>>) -> Describer {
        Describer { consumer, names, known: Topics::default(), described: None, ids_unknown: None }
    }

    /// Tells four times a second what is known, until nobody is there to be told. One who is busy is told next time.
    pub(super) fn run(mut self, tell: &SyncSender<Topics>) {
        loop {
            let outdated = self.described.is_none_or(|at| at.elapsed() >= METADATA_AGE_MAX);
            if outdated || self.known.partitions.len() < self.names.len() {
                self.described = Some(Instant::now());
                self.count_partitions();
                self.learn_ids();
            }
            match ask(&self.consumer, slots(&self.known.partitions), Offset::Beginning) {
                Ok(starts) => self.known.starts = starts,
                Err(error) => tracing::debug!(%error, "kafka does not say where the logs begin"),
            }
            if let Err(TrySendError::Disconnected(_)) = tell.try_send(self.known.clone()) {
                return;
            }
            std::thread::sleep(TICK);
        }
    }

    fn count_partitions(&mut self) {
        for topic in &self.names {
            match self.consumer.fetch_metadata(Some(topic), ANSWER_TIMEOUT) {
                Ok(metadata) => {
                    let found = metadata.topics().iter().find(|found| found.name() == &**topic);
                    let count = found.map_or(0, |found| found.partitions().len());
                    // A count of 0 is a topic that Kafka does not know (yet); a known count never shrinks to it.
                    if let (1.., Ok(count)) = (count, i32::try_from(count)) {
                        self.known.partitions.insert(Arc::clone(topic), count);
                    }
                }
                Err(error) => tracing::debug!(%error, topic = &**topic, "no metadata from kafka"),
            }
        }
    }

    fn learn_ids(&mut self) {
        let names: Vec<CString> =
            self.known.partitions.keys().filter_map(|topic| CString::new(&**topic).ok()).collect();
        if names.is_empty() || self.ids_unknown.is_some_and(|at| at.elapsed() < IDS_PAUSE) {
            return;
        }
        let names: Vec<&CStr> = names.iter().map(AsRef::as_ref).collect();
        let ids = topic_ids(self.consumer.client(), &names, IDS_TIMEOUT);
        self.ids_unknown = ids.is_empty().then(Instant::now);
        for (topic, id) in ids {
            self.known.ids.insert(topic.into(), id.into());
        }
    }
}
