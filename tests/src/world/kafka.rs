//! Apache Kafka in KRaft mode: one combined broker and controller, or three.
//! Starts and stops brokers and knows their topics; the gateway's own Kafka code is not used here.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::{Message, OwnedMessage};
use rdkafka::metadata::Metadata;
use rdkafka::{Offset, TopicPartitionList};

use super::folder::Folder;
use super::tls::{self, Certificate};
use super::{Launch, Process, free_port, inputs, until};

const START_TIMEOUT: Duration = Duration::from_secs(90);
const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// Brokers here live for a minute: start fast, stay small.
const JAVA_FLAGS: [&str; 6] = [
    "-XX:TieredStopAtLevel=1",
    "-Xshare:auto",
    "-XX:+UseSerialGC",
    "-Xms64m",
    "-Xmx384m",
    "-Dlog4j2.level=WARN",
];
const SASL_USER: &str = "weir";
const SASL_PASSWORD: &str = "weir-secret";

/// What kind of cluster to start.
#[derive(Clone, Debug)]
pub struct KafkaOptions {
    /// 1 or 3; topics are replicated to all of them, up to 3.
    pub brokers: usize,
    /// Adds a SASL_SSL listener with SCRAM-SHA-512 to each broker; see [`Kafka::sasl`].
    pub sasl: bool,
    /// Broker properties on top of ours.
    pub properties: Vec<(String, String)>,
}

impl Default for KafkaOptions {
    fn default() -> Self {
        Self { brokers: 1, sasl: false, properties: Vec::new() }
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
        let files: Vec<PathBuf> = (0..options.brokers)
            .map(|broker| {
                let text = properties(&options, &ports, broker, folder.path(), certificate.as_ref());
                folder.write(&format!("broker-{broker}.properties"), &text)
            })
            .collect();
        format_storage(&files, options.sasl);
        let start = |(broker, file): (usize, &PathBuf)| Process::start(launch(broker, file, folder.path()));
        let kafka = Self {
            brokers: files.iter().enumerate().map(start).collect(),
            bootstrap: addresses(ports.iter().map(|ports| ports.plain)),
            sasl: certificate.map(|certificate| SaslAccess {
                bootstrap: addresses(ports.iter().map(|ports| ports.sasl)),
                ca: certificate.ca,
                mechanism: "SCRAM-SHA-512",
                user: SASL_USER,
                password: SASL_PASSWORD,
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

    /// Everything in a topic up to its end as of now, by partition, then by offset (read_uncommitted).
    pub async fn records(&self, topic: &str) -> Vec<OwnedMessage> {
        let (mut config, topic) = (self.client_config(), topic.to_owned());
        config.set("isolation.level", "read_uncommitted").set("group.id", "weir-test-unused");
        let mut records = tokio::task::spawn_blocking(move || read_all(&config, &topic)).await.unwrap();
        records.sort_by_key(|record| (record.partition(), record.offset()));
        records
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

#[derive(Debug)]
struct Ports {
    plain: u16,
    controller: u16,
    sasl: u16,
}

impl Ports {
    fn draw() -> Self {
        Self { plain: free_port(), controller: free_port(), sasl: free_port() }
    }
}

fn addresses(ports: impl Iterator<Item = u16>) -> String {
    ports.map(|port| format!("127.0.0.1:{port}")).collect::<Vec<_>>().join(",")
}

fn properties(
    options: &KafkaOptions,
    ports: &[Ports],
    broker: usize,
    folder: &Path,
    certificate: Option<&Certificate>,
) -> String {
    let own = &ports[broker];
    let voters = ports.iter().enumerate().map(|(id, ports)| format!("{id}@127.0.0.1:{}", ports.controller));
    let voters = voters.collect::<Vec<_>>().join(",");
    let replication = options.brokers.min(3);
    let mut listeners =
        format!("PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}", own.plain, own.controller);
    let mut secure = String::new();
    if let Some(certificate) = certificate {
        listeners += &format!(",SASL_SSL://127.0.0.1:{}", own.sasl);
        secure = format!(
            "sasl.enabled.mechanisms=SCRAM-SHA-512\n\
             listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
             org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
             ssl.keystore.type=PKCS12\nssl.keystore.location={}\nssl.keystore.password={}\n",
            certificate.key_store.display(),
            tls::PASSWORD,
        );
    }
    let more: String = options.properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
    format!(
        "process.roles=broker,controller\n\
         node.id={broker}\n\
         controller.quorum.voters={voters}\n\
         controller.listener.names=CONTROLLER\n\
         inter.broker.listener.name=PLAINTEXT\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL\n\
         listeners={listeners}\n\
         log.dirs={folder}/data-{broker}\n\
         auto.create.topics.enable=false\n\
         group.initial.rebalance.delay.ms=0\n\
         offsets.topic.num.partitions=4\n\
         offsets.topic.replication.factor={replication}\n\
         transaction.state.log.num.partitions=4\n\
         transaction.state.log.replication.factor={replication}\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.num.partitions=1\n\
         share.coordinator.state.topic.replication.factor={replication}\n\
         share.coordinator.state.topic.min.isr=1\n\
         num.network.threads=2\n\
         num.io.threads=4\n\
         log.cleaner.dedupe.buffer.size=4194304\n\
         broker.session.timeout.ms=6000\n\
         {secure}{more}",
        folder = folder.display(),
    )
}

fn java(class: &str) -> Vec<OsString> {
    let jars = inputs::kafka().join("*");
    let mut args: Vec<OsString> = JAVA_FLAGS.map(OsString::from).into();
    args.extend(["-cp".into(), jars.into_os_string(), class.into()]);
    args
}

fn launch(broker: usize, file: &Path, folder: &Path) -> Launch {
    let mut args = java("kafka.Kafka");
    args.push(file.into());
    let name = format!("kafka-{broker}");
    Launch { name, program: "java".into(), args, env: Vec::new(), folder: folder.to_owned() }
}

/// Writes the cluster's identity, and the SASL user, into each broker's empty data folder.
fn format_storage(files: &[PathBuf], sasl: bool) {
    let start = |file: &PathBuf| {
        let mut command = Command::new("java");
        command
            .args(java("kafka.tools.StorageTool"))
            .args(["format", "-t", "d2Vpci10ZXN0LWNsdXN0ZQ", "-c"])
            .arg(file);
        if sasl {
            let user = format!("SCRAM-SHA-512=[name={SASL_USER},password={SASL_PASSWORD}]");
            command.args(["--add-scram", &user]);
        }
        command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().expect("Java is there, see tests/setup.sh")
    };
    let running: Vec<_> = files.iter().map(start).collect();
    for child in running {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "cannot format: {}", String::from_utf8_lossy(&output.stderr));
    }
}

fn read_all(config: &ClientConfig, topic: &str) -> Vec<OwnedMessage> {
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), CALL_TIMEOUT).unwrap();
    let mut assignment = TopicPartitionList::new();
    let mut left = 0;
    for partition in metadata.topics()[0].partitions() {
        let (low, high) = consumer.fetch_watermarks(topic, partition.id(), CALL_TIMEOUT).unwrap();
        left += high - low;
        assignment.add_partition_offset(topic, partition.id(), Offset::Offset(low)).unwrap();
    }
    consumer.assign(&assignment).unwrap();
    let mut records = Vec::new();
    while left > 0 {
        let message = consumer.poll(CALL_TIMEOUT).expect("a record up to the end as of now").unwrap();
        records.push(message.detach());
        left -= 1;
    }
    records
}
