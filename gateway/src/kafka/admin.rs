//! The routes' topics: what they are, what they should be, and making those that are missing.
//!
//! Never changes a topic that exists: it says what differs and leaves the change to its owner.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::MetadataTopic;

use super::settings::Settings;
use crate::secret::SecretError;

/// Below this many copies a topic is weak.
pub const REPLICATION_FACTOR_MIN: i32 = 3;
/// Below this many copies before the ack a topic is weak.
pub const MIN_INSYNC_REPLICAS_MIN: i32 = 2;

/// What a topic should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The topic.
    pub topic: String,
    /// The number of partitions.
    pub partitions: i32,
    /// The number of copies.
    pub replication_factor: i32,
    /// How long records are kept.
    pub retention_ms: i64,
    /// The least retention with which lookups can read bodies back; 0 = no lookups.
    pub window_ms: i64,
    /// `min.insync.replicas`.
    pub min_insync_replicas: i32,
    /// The largest record batch.
    pub max_message_bytes: usize,
    /// Whether only the last record of each key is kept, for ever; else all are, for `retention_ms`.
    pub compacted: bool,
}

/// What a topic is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// The number of partitions; 0 = there is no such topic.
    pub partitions: i32,
    /// The number of copies of the partition that has the fewest.
    pub replication_factor: i32,
    /// Its settings by Kafka's names; empty where the broker does not tell.
    pub settings: BTreeMap<String, String>,
}

/// One thing about a topic that is not as wanted.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The topic.
    pub topic: String,
    /// How bad it is.
    pub weight: Weight,
    /// What is, what should be, and what to do.
    pub message: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// The topic does not exist; `weir topics create` makes it.
    Missing,
    /// An acked event could be lost, or could not be stored; refused.
    Weak,
    /// Not as the config says, but safe.
    Differs,
}

/// Why Kafka could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// A secret is not there.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A property is refused by librdkafka. Its value is not repeated.
    #[error("the librdkafka property `{0}` is refused: {1}")]
    Property(String, String),
    /// Kafka does not answer, or refuses; with what librdkafka last said about it.
    #[error("Kafka does not answer: {cause} ({})", reason.as_deref().unwrap_or(NO_REASON))]
    Kafka {
        /// What the call ended with, often only a timeout.
        cause: KafkaError,
        /// What was said meanwhile, e.g. that the login failed.
        reason: Option<String>,
    },
    /// Kafka refuses to make a topic.
    #[error("Kafka does not make the topic {0}: {1}")]
    Create(String, RDKafkaErrorCode),
}

/// librdkafka does not tell an admin client why a login failed.
const NO_REASON: &str = "check `kafka.brokers`, `tls` and `sasl`: a refused login looks like this too";

impl From<KafkaError> for AdminError {
    fn from(error: KafkaError) -> Self {
        match error {
            KafkaError::ClientConfig(_, reason, name, value) => {
                let reason =
                    if reason.contains(&value) { "its value is not valid".to_owned() } else { reason };
                AdminError::Property(name, reason)
            }
            cause => AdminError::Kafka { cause, reason: None },
        }
    }
}

/// What differs between a topic and what it should be. Pure. With `allow_weak`, weak is only different.
pub fn judge(is: &Description, wanted: &Wanted, allow_weak: bool) -> Vec<Finding> {
    let finding = |weight, message: String| Finding { topic: wanted.topic.clone(), weight, message };
    if is.partitions == 0 {
        return vec![finding(
            Weight::Missing,
            "does not exist; make it with `weir topics create`".to_owned(),
        )];
    }
    let weak = if allow_weak { Weight::Differs } else { Weight::Weak };
    let mut findings = strength(is, weak, &finding);
    findings.extend(if wanted.compacted { compaction(is, &finding) } else { room(is, wanted, &finding) });
    if is.partitions != wanted.partitions {
        let message = format!("has {} partitions, the config says {}", is.partitions, wanted.partitions);
        findings.push(finding(Weight::Differs, message));
    }
    if is.replication_factor > REPLICATION_FACTOR_MIN - 1 && is.replication_factor < wanted.replication_factor
    {
        let message =
            format!("has {} copies, the config says {}", is.replication_factor, wanted.replication_factor);
        findings.push(finding(Weight::Differs, message));
    }
    findings
}

/// Whether an acked event survives the loss of a broker.
fn strength(is: &Description, weak: Weight, finding: &impl Fn(Weight, String) -> Finding) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is.replication_factor < REPLICATION_FACTOR_MIN {
        let message = format!(
            "has {} copies of each partition; below {REPLICATION_FACTOR_MIN} an acked event may be lost",
            is.replication_factor
        );
        findings.push(finding(weak, message));
    }
    if let Some(replicas) = is.number("min.insync.replicas") {
        if replicas < i64::from(MIN_INSYNC_REPLICAS_MIN) {
            let message = format!(
                "min.insync.replicas is {replicas}; below {MIN_INSYNC_REPLICAS_MIN} an ack may rest on one broker"
            );
            findings.push(finding(weak, message));
        } else if replicas > i64::from(is.replication_factor) {
            let message =
                format!("min.insync.replicas is {replicas}, more than there are copies: nothing is acked");
            findings.push(finding(Weight::Weak, message));
        }
    }
    if is.settings.get("unclean.leader.election.enable").is_some_and(|value| value == "true") {
        let message =
            "unclean.leader.election.enable is true: a stale broker may become leader and drop acked events";
        findings.push(finding(weak, message.to_owned()));
    }
    findings
}

/// Whether nothing but what was replaced is ever removed.
fn compaction(is: &Description, finding: &impl Fn(Weight, String) -> Finding) -> Vec<Finding> {
    let other = is.settings.get("cleanup.policy").filter(|policy| *policy != "compact");
    let message = |policy| format!("cleanup.policy is `{policy}`; only `compact` keeps every erasure");
    other.map(|policy| finding(Weight::Weak, message(policy))).into_iter().collect()
}

/// Whether the largest event fits, and stays as long as it should.
fn room(is: &Description, wanted: &Wanted, finding: &impl Fn(Weight, String) -> Finding) -> Vec<Finding> {
    let mut findings = Vec::new();
    if is.settings.get("cleanup.policy").is_some_and(|value| value.contains("compact")) {
        let message =
            "cleanup.policy has `compact`, which removes all but the last event of each partition key";
        findings.push(finding(Weight::Weak, message.to_owned()));
    }
    let bytes_wanted = i64::try_from(wanted.max_message_bytes).unwrap_or(i64::MAX);
    if let Some(bytes) = is.number("max.message.bytes").filter(|bytes| *bytes < bytes_wanted) {
        let message = format!(
            "max.message.bytes is {bytes}, the largest event needs {bytes_wanted}; larger ones would be refused"
        );
        findings.push(finding(Weight::Weak, message));
    }
    // -1 keeps records for ever.
    if let Some(kept) = is.number("retention.ms").filter(|kept| *kept >= 0) {
        if kept < wanted.window_ms {
            let message =
                format!("retention.ms is {kept}, shorter than the lookup window of {} ms", wanted.window_ms);
            findings.push(finding(Weight::Weak, message));
        } else if kept < wanted.retention_ms || wanted.retention_ms < 0 {
            let message = format!("retention.ms is {kept}, the config says {}", wanted.retention_ms);
            findings.push(finding(Weight::Differs, message));
        }
    }
    findings
}

impl Description {
    fn number(&self, name: &str) -> Option<i64> {
        self.settings.get(name)?.parse().ok()
    }
}

impl Wanted {
    /// What the topic would be if it were made now.
    pub fn description(&self) -> Description {
        let settings = self.settings().into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        Description { partitions: self.partitions, replication_factor: self.replication_factor, settings }
    }

    fn settings(&self) -> [(&'static str, String); 5] {
        [
            ("cleanup.policy", if self.compacted { "compact" } else { "delete" }.to_owned()),
            ("max.message.bytes", self.max_message_bytes.to_string()),
            ("min.insync.replicas", self.min_insync_replicas.to_string()),
            ("retention.ms", self.retention_ms.to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
        ]
    }
}

/// Asks Kafka about topics and makes them. Blocking where librdkafka is: not for a worker.
pub struct Admin {
    client: AdminClient<LastReason>,
    timeout: Duration,
}

impl Admin {
    /// A client of the cluster that `settings` name; it connects on first use.
    pub fn new(settings: &Settings, timeout: Duration) -> Result<Self, AdminError> {
        let mut config = settings.client_config()?;
        // Why a login failed is only in librdkafka's log.
        config.set_log_level(RDKafkaLogLevel::Info);
        let client = config.create_with_context(LastReason::default())?;
        Ok(Admin { client, timeout })
    }

    /// What these topics are, in the order given.
    pub async fn describe(&self, topics: &[&str]) -> Result<Vec<Description>, AdminError> {
        self.ask(topics).await.map_err(|error| match error {
            AdminError::Kafka { cause, .. } => {
                AdminError::Kafka { cause, reason: self.client.inner().context().take() }
            }
            other => other,
        })
    }

    async fn ask(&self, topics: &[&str]) -> Result<Vec<Description>, AdminError> {
        // All topics at once: to ask for one by name may create it.
        let metadata = self.client.inner().fetch_metadata(None, self.timeout)?;
        let mut descriptions: Vec<Description> = topics
            .iter()
            .map(|name| metadata.topics().iter().find(|topic| topic.name() == *name))
            .map(|topic| topic.map(partitions).unwrap_or_default())
            .collect();
        let present = topics.iter().zip(&mut descriptions).filter(|(_, it)| it.partitions > 0);
        let (names, present): (Vec<_>, Vec<_>) =
            present.map(|(name, it)| (ResourceSpecifier::Topic(name), it)).unzip();
        if names.is_empty() {
            // librdkafka refuses to ask about nothing.
            return Ok(descriptions);
        }
        let resources = self.client.describe_configs(&names, &self.options()).await?;
        for (description, resource) in present.into_iter().zip(resources) {
            let resource = resource.map_err(KafkaError::AdminOp)?;
            description.settings =
                resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?))).collect();
        }
        Ok(descriptions)
    }

    /// Makes one topic. One that exists already is left as it is: `Ok(false)`.
    pub async fn create(&self, wanted: &Wanted) -> Result<bool, AdminError> {
        let settings = wanted.settings();
        let replication = TopicReplication::Fixed(wanted.replication_factor);
        let topic = settings
            .iter()
            .fold(NewTopic::new(&wanted.topic, wanted.partitions, replication), |topic, (name, value)| {
                topic.set(name, value)
            });
        for result in self.client.create_topics([&topic], &self.options()).await? {
            match result {
                Ok(_) => {}
                Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => return Ok(false),
                Err((name, code)) => return Err(AdminError::Create(name, code)),
            }
        }
        Ok(true)
    }

    fn options(&self) -> AdminOptions {
        AdminOptions::new().request_timeout(Some(self.timeout)).operation_timeout(Some(self.timeout))
    }
}

/// Keeps what librdkafka last complained of: a failed login shows only there, the call itself times out.
#[derive(Default)]
struct LastReason(Mutex<Option<String>>);

impl LastReason {
    fn take(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl ClientContext for LastReason {
    // Through the log, not `error`: nobody polls an admin client's error events.
    fn log(&self, _level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            // Before it stands the name of librdkafka's thread: `[thrd:…]: `.
            let reason = message.split_once("]: ").map_or(message, |(_thread, reason)| reason);
            *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.to_owned());
        }
    }
}

/// A topic's partitions and copies, as far as the metadata tell.
fn partitions(topic: &MetadataTopic) -> Description {
    let copies = topic.partitions().iter().map(|partition| partition.replicas().len()).min().unwrap_or(0);
    Description {
        partitions: i32::try_from(topic.partitions().len()).unwrap_or(i32::MAX),
        replication_factor: i32::try_from(copies).unwrap_or(i32::MAX),
        settings: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests;
