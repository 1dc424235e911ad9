//! Apache Kafka in KRaft mode: one combined broker and controller, or three.
//! Starts and stops brokers and knows their topics; the gateway's own Kafka code is not used here.

use std::collections::HashSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message, OwnedMessage};
use rdkafka::metadata::{Metadata, MetadataPartition};
use rdkafka::{Offset, TopicPartitionList};

use super::broker::{self, Plan, Ports};
use super::folder::Folder;
use super::tls::Certificate;
use super::{Process, canaries, until};

const START_TIMEOUT: Duration = Duration::from_secs(90);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_TIMEOUT: Duration = Duration::from_millis(100);

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// 1 or 3; topics are replicated to all of them, up to 3.
    pub brokers: usize,
    /// Adds a SASL_SSL listener with SCRAM-SHA-512 to each broker; see [`Kafka::sasl`].
    pub sasl: bool,
    /// Broker properties on top of ours.
    pub properties: Vec<(String, String)>,
    /// Its Java runs as Kafka's makers have it, for latencies; otherwise it is there soon, small, and done compiling.
    pub lasting: bool,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, sasl: false, properties: Vec::new(), lasting: false }
    }
}

/// How to reach the SASL_SSL listeners.
#[derive(Debug)]
pub struct SaslAccess {
    pub bootstrap: String,
    /// PEM.
    pub ca: PathBuf,
    pub mechanism: &'static str,
    pub user: &'static str,
    pub password: &'static str,
}

/// A Kafka cluster: ours, or somebody else's of which only the address is known.
#[derive(Debug)]
pub struct Kafka {
    brokers: Vec<Process>,
    bootstrap: String,
    sasl: Option<SaslAccess>,
    replication: i32,
    _folder: Option<Folder>,
}

impl Kafka {
    /// Starts a cluster of our own and waits until every broker has joined.
    pub async fn start(options: KafkaOptions) -> Self {
        let folder = Folder::new("kafka");
        let certificate = options.sasl.then(|| Certificate::create(folder.path()));
        let ports: Vec<Ports> = (0..options.brokers).map(|_| Ports::draw()).collect();
        let plan = Plan {
            options: &options,
            ports: &ports,
            certificate: certificate.as_ref(),
            folder: folder.path(),
        };
        let brokers = plan.prepare().into_iter().map(Process::start).collect();
        let kafka = Self {
            brokers,
            bootstrap: addresses(ports.iter().map(|ports| ports.plain)),
            sasl: certificate.map(|certificate| SaslAccess {
                bootstrap: addresses(ports.iter().map(|ports| ports.sasl)),
                ca: certificate.ca,
                mechanism: broker::SASL_MECHANISM,
                user: broker::SASL_USER,
                password: &broker::SASL_PASSWORD,
            }),
            replication: i32::try_from(options.brokers.min(3)).unwrap(),
            _folder: Some(folder),
        };
        kafka.ready().await;
        kafka
    }

    /// A cluster that runs already; it cannot be killed from here.
    pub fn at(bootstrap: &str) -> Self {
        Self {
            brokers: Vec::new(),
            bootstrap: bootstrap.to_owned(),
            sasl: None,
            replication: -1,
            _folder: None,
        }
    }

    /// `127.0.0.1:port`, comma-separated.
    pub fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    pub fn sasl(&self) -> &SaslAccess {
        self.sasl.as_ref().expect("started with KafkaOptions::sasl")
    }

    /// One broker's process: kill, stop, cont, restart it (then [`ready`](Self::ready)).
    pub fn broker(&self, index: usize) -> &Process {
        self.brokers.get(index).expect("a broker of ours")
    }

    /// Waits until every broker of ours answers and knows all the others.
    pub async fn ready(&self) {
        until("all Kafka brokers have joined", START_TIMEOUT, async || {
            self.brokers.iter().for_each(Process::assert_running);
            // The client complains of every refused connection, so look for open ports first.
            for address in self.bootstrap.split(',') {
                tokio::net::TcpStream::connect(address).await.ok()?;
            }
            let metadata = self.metadata(None).await?;
            (metadata.brokers().len() >= self.brokers.len()).then_some(())
        })
        .await;
    }

    /// Creates a topic and waits until each partition has a leader.
    pub async fn create_topic(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        let admin: AdminClient<DefaultClientContext> = self.client_config().create().unwrap();
        let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(self.replication));
        let topic = configs.iter().fold(topic, |topic, (key, value)| topic.set(key, value));
        let options = AdminOptions::new().operation_timeout(Some(CALL_TIMEOUT));
        for result in admin.create_topics([&topic], &options).await.unwrap() {
            result.unwrap_or_else(|(topic, code)| panic!("cannot create topic {topic}: {code}"));
        }
        until(&format!("topic {name} has leaders"), CALL_TIMEOUT, async || {
            let metadata = self.metadata(Some(name)).await?;
            let partitions = metadata.topics().first()?.partitions();
            (!partitions.is_empty() && partitions.iter().all(|partition| partition.leader() >= 0))
                .then_some(())
        })
        .await;
    }

    /// Everything in a topic up to its end, by partition, then by offset (read_uncommitted).
    pub async fn records(&self, topic: &str) -> Vec<OwnedMessage> {
        let (mut config, is_dead_letters) = (self.client_config(), topic.ends_with(".dead-letter"));
        let topic = topic.to_owned();
        config.set("isolation.level", "read_uncommitted").set("group.id", "weir-test-unused");
        config.set("enable.partition.eof", "true").set("enable.auto.commit", "false");
        let mut records = tokio::task::spawn_blocking(move || read_all(&config, &topic)).await.unwrap();
        records.sort_by_key(|record| (record.partition(), record.offset()));
        if is_dead_letters {
            records.iter().for_each(|record| canaries().told(&text(record)));
        }
        records
    }

    /// How many members a consumer group has, unless it is sharing partitions out just now.
    pub async fn members(&self, group: &str) -> Option<usize> {
        let (config, name) = (self.client_config(), group.to_owned());
        let ask = move || {
            let consumer: BaseConsumer = config.create().unwrap();
            let groups = consumer.fetch_group_list(Some(&name), CALL_TIMEOUT).ok()?;
            let group = groups.groups().iter().find(|group| group.name() == name)?;
            (group.state() == "Stable").then(|| group.members().len())
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }

    /// A plain client's configuration: the address, and nothing else set.
    pub fn client_config(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }

    async fn metadata(&self, topic: Option<&str>) -> Option<Metadata> {
        let (config, topic) = (self.client_config(), topic.map(str::to_owned));
        let ask = move || {
            let consumer: BaseConsumer = config.create().unwrap();
            consumer.fetch_metadata(topic.as_deref(), CALL_TIMEOUT).ok()
        };
        tokio::task::spawn_blocking(ask).await.unwrap()
    }
}

/// All of a record, for who looks for secrets in it.
fn text(record: &OwnedMessage) -> String {
    let headers = record.headers().into_iter().flat_map(|headers| headers.iter());
    let headers = headers.map(|header| (header.key, header.value.unwrap_or_default()));
    let parts = headers
        .chain([("key", record.key().unwrap_or_default()), ("value", record.payload().unwrap_or_default())]);
    parts.map(|(name, value)| format!("{name} = {}\n", String::from_utf8_lossy(value))).collect()
}

fn addresses(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

/// Polls until the end of every partition was met; a broker that is down is the client's to get over, in time.
fn read_all(config: &ClientConfig, topic: &str) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), CALL_TIMEOUT).unwrap();
    let mut unread: HashSet<i32> =
        metadata.topics()[0].partitions().iter().map(MetadataPartition::id).collect();
    let mut assignment = TopicPartitionList::new();
    for partition in &unread {
        assignment.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let (start, mut records, mut trouble) = (Instant::now(), Vec::new(), None);
    while !unread.is_empty() {
        assert!(start.elapsed() < READ_TIMEOUT, "{topic} cannot be read to its end: {trouble:?}");
        match consumer.poll(POLL_TIMEOUT) {
            Some(Ok(message)) => records.push(message.detach()),
            Some(Err(KafkaError::PartitionEOF(partition))) => drop(unread.remove(&partition)),
            Some(Err(error)) => trouble = Some(error),
            None => {}
        }
    }
    records
}
