//! The harness itself: what the other tests stand on has to hold.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::message::Message;
use rdkafka::producer::{FutureProducer, FutureRecord};
use weir_tests::skip;
use weir_tests::world::{
    Canaries, Kafka, KafkaOptions, Launch, Process, Reply, Resp, Valkey, ValkeyOptions, Weir, WeirOptions,
    canaries, fresh_name, inputs, shared_kafka, shared_valkey, until,
};

const PATIENCE: Duration = Duration::from_secs(30);

async fn produce(config: &ClientConfig, topic: &str, value: &str) {
    let producer: FutureProducer = config.clone().set("message.timeout.ms", "20000").create().unwrap();
    producer.send(FutureRecord::<str, str>::to(topic).payload(value), PATIENCE).await.unwrap();
}

async fn values(kafka: &Kafka, topic: &str) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    kafka.records(topic).await.iter().filter_map(|record| record.payload().map(text)).collect()
}

#[tokio::test]
async fn kafka_gives_back_what_was_produced() {
    let kafka = shared_kafka().await;
    let topic = fresh_name("harness");
    kafka.create_topic(&topic, 3, &[("retention.ms", "3600000")]).await;
    produce(&kafka.client_config(), &topic, "one").await;
    assert_eq!(values(kafka, &topic).await, ["one"]);
}

#[tokio::test]
async fn kafka_speaks_sasl_over_tls_and_survives_a_kill() {
    let kafka = Kafka::start(KafkaOptions { sasl: true, ..KafkaOptions::default() }).await;
    kafka.create_topic("secured", 1, &[]).await;
    let sasl = kafka.sasl();
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &sasl.bootstrap).set("security.protocol", "SASL_SSL");
    config.set("ssl.ca.location", sasl.ca.display().to_string()).set("sasl.mechanism", sasl.mechanism);
    config.set("sasl.username", sasl.user).set("sasl.password", sasl.password);
    produce(&config, "secured", "one").await;

    kafka.broker(0).kill();
    kafka.broker(0).restart();
    kafka.ready().await;
    assert_eq!(values(&kafka, "secured").await, ["one"]);
}

#[tokio::test]
async fn three_brokers_go_on_without_one() {
    let kafka = Kafka::start(KafkaOptions { brokers: 3, ..KafkaOptions::default() }).await;
    kafka.create_topic("replicated", 3, &[("min.insync.replicas", "2")]).await;
    kafka.broker(2).kill();
    let config = kafka.client_config().set("acks", "all").clone();
    for value in ["one", "two", "three"] {
        produce(&config, "replicated", value).await;
    }
    assert_eq!(values(&kafka, "replicated").await.len(), 3);
}

#[tokio::test]
async fn valkey_serves_every_shard() {
    let valkey = shared_valkey().await;
    let prefix = fresh_name("harness");
    let mut asked = Vec::new();
    for index in 0..32 {
        let key = format!("{prefix}:{index}");
        let node = valkey.primary_of(&key).await.unwrap();
        assert_eq!(node.call(&["SET", &key, "here"]).await.unwrap(), Reply::Bytes(b"OK".to_vec()));
        assert_eq!(node.call(&["GET", &key]).await.unwrap().text(), "here");
        asked.push(node.address());
    }
    asked.sort_unstable();
    asked.dedup();
    assert_eq!(asked.len(), 3, "keys were spread over {asked:?}");
}

#[tokio::test]
async fn a_replica_takes_over_and_the_dead_come_back() {
    let valkey = Valkey::start(ValkeyOptions::default()).await;
    let primary = valkey.primary_of("key").await.unwrap();
    // WAIT speaks of the writes of its own connection.
    let mut connection = Resp::connect(primary.address(), None).await.unwrap();
    connection.call(&["SET", "key", "kept"]).await.unwrap();
    assert_eq!(connection.call(&["WAIT", "1", "1000"]).await.unwrap(), Reply::Integer(1));
    primary.process().kill();
    let next = until("another primary", PATIENCE, async || {
        valkey.primary_of("key").await.filter(|node| node.address() != primary.address())
    })
    .await;
    assert_eq!(next.call(&["GET", "key"]).await.unwrap().text(), "kept");

    primary.process().restart();
    valkey.ready().await;
    valkey.stop_all();
    valkey.start_all().await;
    let owner = valkey.primary_of("key").await.unwrap();
    assert_eq!(owner.call(&["GET", "key"]).await.unwrap(), Reply::Nil, "nothing is persisted");
}

#[tokio::test]
async fn the_oldest_valkey_we_promise_forms_a_cluster() {
    let Some(server) = inputs::valkey_minimum() else { skip!("Valkey 8.0 cannot be had on this machine") };
    let options = ValkeyOptions {
        server: Some(server),
        password: Some("secret".to_owned()),
        ..ValkeyOptions::default()
    };
    let valkey = Valkey::start(options).await;
    let node = valkey.primary_of("key").await.unwrap();
    assert!(node.call(&["INFO", "server"]).await.unwrap().text().contains("valkey_version:8.0"));
}

#[tokio::test]
async fn the_gateway_becomes_ready_and_ends_on_sigterm() {
    let weir = Weir::start(WeirOptions::dev()).await;
    assert_eq!(reqwest::get(weir.admin_url("/livez")).await.unwrap().status(), 200);
    weir.sigterm();
    assert_eq!(weir.wait(PATIENCE).await, Some(0), "its log:\n{}", weir.process().log());
}

/// Set in the process that [`nothing_is_left_of_a_killed_test_process`] starts and kills.
const HOLDING: &str = "WEIR_TEST_HOLDING";

fn sleeper(folder: &Path) -> Process {
    let name = "sleeper".to_owned();
    let args = vec!["600".into()];
    Process::start(Launch { name, program: "sleep".into(), args, env: Vec::new(), folder: folder.to_owned() })
}

fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

#[test]
fn nothing_is_left_after_a_drop() {
    let folder = tempfile::tempdir().unwrap();
    let process = sleeper(folder.path());
    let pid = process.pid();
    assert!(is_alive(pid));
    drop(process);
    assert!(!is_alive(pid));
}

#[tokio::test]
async fn nothing_is_left_of_a_killed_test_process() {
    if std::env::var_os(HOLDING).is_some() {
        let valkey = Valkey::start(ValkeyOptions::default()).await;
        let pids: Vec<String> = valkey.nodes().iter().map(|node| node.process().pid().to_string()).collect();
        let folder = std::fs::read_link(format!("/proc/{}/cwd", pids[0])).unwrap();
        println!("holding {} {}", folder.display(), pids.join(" "));
        std::future::pending::<()>().await;
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "--nocapture", "harness::nothing_is_left_of_a_killed_test_process"]);
    let mut child = command.env(HOLDING, "1").stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // libtest prints the test's name before what the test prints, on the same line.
    let line = lines.find_map(|line| line.split_once("holding ").map(|(_, rest)| rest.to_owned())).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();

    let mut words = line.split(' ');
    let folder = PathBuf::from(words.next().unwrap());
    let pids: Vec<u32> = words.map(|word| word.parse().unwrap()).collect();
    assert_eq!(pids.len(), 6);
    until("its services and folders are gone", PATIENCE, async || {
        let gone = !pids.iter().any(|pid| is_alive(*pid)) && !folder.exists();
        gone.then_some(())
    })
    .await;
}

/// Whether a folder's secrets are nowhere, and what the search says.
fn search(folder: &Path) -> (bool, String) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("canaries.sh");
    let output = Command::new("sh").arg(script).arg(folder).output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn a_secret_that_is_planted_is_found_with_its_file_and_line() {
    let folder = tempfile::tempdir().unwrap();
    let planted = Canaries::at(folder.path());
    let secret = planted.secret("planted");
    assert!(!search(folder.path()).0, "where there is nothing to search nothing is found");
    // A gateway shows where it was told of a plugin that nobody uses, and its log outlives it.
    let config =
        format!("plugins: {{lost: {{path: \"nowhere/{secret}\"}}}}\nroutes: [{{name: a, topic: a}}]");
    drop(Weir::start(WeirOptions::dev_with(config)).await);
    let kept = std::fs::read_dir(canaries().folder()).unwrap().map(|file| file.unwrap().path());
    let with = |path: &PathBuf| std::fs::read_to_string(path).is_ok_and(|text| text.contains(&secret));
    let log = kept.filter(|path| path.extension().is_some_and(|it| it == "log")).find(with);
    let log = std::fs::read_to_string(log.expect("the run keeps it")).unwrap();

    let clean = folder.path().join("clean.log");
    std::fs::write(&clean, log.replace(&secret, "…")).unwrap();
    planted.told("weir_events_in_total{route=\"a\"} 1\n{\"code\":\"internal\"}");
    let (well, said) = search(folder.path());
    assert!(well && said.starts_with("1 secrets sought in ") && said.ends_with(": 0 found\n"), "{said}");

    std::fs::write(folder.path().join("weir.log"), format!("fine\n{}", log.replace('\n', " "))).unwrap();
    planted.told(&format!("weir_events_in_total{{route=\"{secret}\"}} 1"));
    planted.note(&format!("-----BEGIN PRIVATE KEY-----\n{}\nshort\n", "k".repeat(64)));
    planted.told(&format!("{{\"detail\":\"{}\"}}", "k".repeat(64)));
    let (well, said) = search(folder.path());
    assert!(!well && said.ends_with(": 3 found\n") && !said.contains(&secret), "{said}");
    let told = format!("./{}.told", std::process::id());
    for place in ["./weir.log:2".to_owned(), format!("{told}:3"), format!("{told}:4")] {
        assert!(said.contains(&format!("a secret is in {place}\n")), "{place} not in {said}");
    }
}
