//! What a Kafka broker needs before it starts: ports, properties, a formatted data folder, a command line.
//! Starting it and talking to it is `kafka`'s.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use super::tls::{self, Certificate};
use super::{KafkaOptions, Launch, canaries, free_port, inputs};

pub(super) const SASL_MECHANISM: &str = "SCRAM-SHA-512";
pub(super) const SASL_USER: &str = "weir";
pub(super) static SASL_PASSWORD: LazyLock<String> = LazyLock::new(|| canaries().secret("kafka"));
const CLUSTER_ID: &str = "d2Vpci10ZXN0LWNsdXN0ZQ";

/// Most brokers here live for a minute: start fast, stay small.
const BRIEF: [&str; 5] =
    ["-XX:TieredStopAtLevel=1", "-Xshare:auto", "-XX:+UseSerialGC", "-Xms64m", "-Xmx384m"];

/// As Kafka's own `kafka-server-start.sh` and `kafka-run-class.sh` have it. The small one stops a broker that is last in line
/// for its core for 30 to 150 ms; this one aims at 20 and stopped it for 96 at most.
const LASTING: [&str; 6] = [
    "-Xms1G",
    "-Xmx1G",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];

/// The same for every broker: few threads, small internal topics, no waiting for more members of a group, and a
/// killed broker missed after 3 s rather than 9.
const PROPERTIES: &str = "\
process.roles=broker,controller
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_SSL:SASL_SSL
auto.create.topics.enable=false
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
offsets.topic.num.partitions=4
transaction.state.log.num.partitions=4
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.min.isr=1
num.network.threads=2
num.io.threads=4
log.cleaner.dedupe.buffer.size=4194304
";

/// One broker's three listeners.
#[derive(Debug)]
pub(super) struct Ports {
    pub(super) plain: u16,
    pub(super) sasl: u16,
    controller: u16,
}

impl Ports {
    pub(super) fn draw() -> Self {
        Self { plain: free_port(), sasl: free_port(), controller: free_port() }
    }
}

/// What all brokers of one cluster share.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    pub(super) options: &'a KafkaOptions,
    pub(super) ports: &'a [Ports],
    pub(super) certificate: Option<&'a Certificate>,
    pub(super) folder: &'a Path,
}

impl Plan<'_> {
    /// Writes each broker's properties, formats its storage, and says how to start it.
    pub(super) fn prepare(&self) -> Vec<Launch> {
        let files: Vec<PathBuf> = (0..self.ports.len()).map(|broker| self.write_properties(broker)).collect();
        self.format_storage(&files);
        files.iter().enumerate().map(|(broker, file)| self.launch(broker, file)).collect()
    }

    fn write_properties(&self, broker: usize) -> PathBuf {
        let own = &self.ports[broker];
        let voter = |(id, ports): (usize, &Ports)| format!("{id}@127.0.0.1:{}", ports.controller);
        let voters = self.ports.iter().enumerate().map(voter).collect::<Vec<_>>().join(",");
        let replication = self.ports.len().min(3);
        let (secure_listener, secure) =
            self.certificate.map(|certificate| secure(own, certificate)).unwrap_or_default();
        let text = format!(
            "{PROPERTIES}\
             node.id={broker}\n\
             log.dirs={folder}/data-{broker}\n\
             controller.quorum.voters={voters}\n\
             listeners=PLAINTEXT://127.0.0.1:{},CONTROLLER://127.0.0.1:{}{secure_listener}\n\
             offsets.topic.replication.factor={replication}\n\
             transaction.state.log.replication.factor={replication}\n\
             share.coordinator.state.topic.replication.factor={replication}\n\
             {secure}{more}",
            own.plain,
            own.controller,
            folder = self.folder.display(),
            more = self
                .options
                .properties
                .iter()
                .map(|(key, value)| format!("{key}={value}\n"))
                .collect::<String>(),
        );
        let file = self.folder.join(format!("broker-{broker}.properties"));
        std::fs::write(&file, text).unwrap();
        file
    }

    /// Writes the cluster's identity, and the SASL user, into each broker's empty data folder.
    fn format_storage(&self, files: &[PathBuf]) {
        let user =
            format!("{SASL_MECHANISM}=[name={SASL_USER},password={password}]", password = *SASL_PASSWORD);
        let start = |file: &PathBuf| {
            let mut command = Command::new("java");
            command
                .args(java(&BRIEF, "kafka.tools.StorageTool"))
                .args(["format", "-t", CLUSTER_ID, "-c"])
                .arg(file);
            if self.options.sasl {
                command.args(["--add-scram", &user]);
            }
            let spawned = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
            spawned.expect("Java is there, see tests/setup.sh")
        };
        // All at once: each is a second of starting Java.
        let running: Vec<_> = files.iter().map(start).collect();
        for child in running {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "cannot format: {}", String::from_utf8_lossy(&output.stderr));
        }
    }

    fn launch(&self, broker: usize, file: &Path) -> Launch {
        let flags = if self.options.lasting { &LASTING[..] } else { &BRIEF };
        let mut args = java(flags, "kafka.Kafka");
        args.push(file.into());
        let name = format!("kafka-{broker}");
        Launch { name, program: "java".into(), args, env: Vec::new(), folder: self.folder.to_owned() }
    }
}

/// One more listener, and the properties that go with it.
fn secure(own: &Ports, certificate: &Certificate) -> (String, String) {
    let listener = format!(",SASL_SSL://127.0.0.1:{}", own.sasl);
    let properties = format!(
        "sasl.enabled.mechanisms={SASL_MECHANISM}\n\
         listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config=\
         org.apache.kafka.common.security.scram.ScramLoginModule required;\n\
         ssl.keystore.type=PKCS12\n\
         ssl.keystore.location={}\n\
         ssl.keystore.password={}\n",
        certificate.key_store.display(),
        tls::PASSWORD,
    );
    (listener, properties)
}

fn java(flags: &[&str], class: &str) -> Vec<OsString> {
    let jars = inputs::kafka().join("*");
    let mut args: Vec<OsString> = flags.iter().map(OsString::from).collect();
    args.extend(["-Dlog4j2.level=WARN".into(), "-cp".into(), jars.into_os_string(), class.into()]);
    args
}
