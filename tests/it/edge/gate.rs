//! A gateway for what is wrong at its edge: `weir dev` with routes of its own, and an outside look at what it stored,
//! what it costs and whether it still works.

use std::fs;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use tempfile::TempDir;
use weir_tests::world::{Weir, WeirOptions};

use super::wire::{Answer, Request, http1};

/// The topics of the routes below, each with one partition.
const TOPICS: [&str; 3] = ["plain", "named", "whole"];
const ROUTES: &str = "
  - {name: plain, topic: plain, type: 'const:edge.plain', match: {type: 'edge.*'}, topic_settings: {partitions: 1}}
  - {name: named, topic: named, id: 'data:/id', key: 'data:/key', topic_settings: {partitions: 1}}
  - {name: whole, topic: whole, subject: whole, topic_settings: {partitions: 1}}
";
/// One whole number beyond what an `f64` tells from its neighbours.
const WHOLE: &str =
    r#"{"type": "object", "properties": {"n": {"type": "integer"}, "big": {"const": 9007199254740993}}}"#;

pub(crate) struct Gate {
    pub(crate) weir: Weir,
    kafka: BaseConsumer,
    _schemas: TempDir,
}

impl Gate {
    /// `limits` is what stands in `limits: {…}`.
    pub(crate) async fn start(limits: &str) -> Gate {
        let schemas = tempfile::tempdir().unwrap();
        fs::create_dir(schemas.path().join("whole")).unwrap();
        fs::write(schemas.path().join("whole/1.json"), WHOLE).unwrap();
        let schemas_path = schemas.path().display();
        let config = format!("limits: {{{limits}}}\nschemas: \"{schemas_path}\"\nroutes:{ROUTES}");
        let weir = Weir::start(WeirOptions::dev_with(config)).await;
        let log = weir.process().log();
        let (_, bootstrap) = log.split_once("kcat -b ").expect("it says where its Kafka is");
        let bootstrap = bootstrap.split(' ').next().unwrap();
        let kafka = ClientConfig::new().set("bootstrap.servers", bootstrap).create().unwrap();
        Gate { weir, kafka, _schemas: schemas }
    }

    /// `127.0.0.1:port` of the public listener.
    pub(crate) fn address(&self) -> String {
        self.weir.url("").replace("http://", "")
    }

    /// How many records its topics hold, by Kafka's word.
    pub(crate) fn stored(&self) -> i64 {
        let end = |topic| self.kafka.fetch_watermarks(topic, 0, Duration::from_secs(10)).unwrap().1;
        TOPICS.into_iter().map(end).sum()
    }

    /// One request, on a connection of its own.
    pub(super) async fn ask(&self, request: &Request) -> Answer {
        http1::ask(&self.address(), request).await.expect("an answer")
    }

    /// Sends a good event on a new connection: whatever was done to the gateway before, it takes it.
    pub(crate) async fn still_works(&self) {
        let before = self.stored();
        let answer = self.ask(&Request::event("plain", r#"{"good": true}"#)).await;
        assert_eq!(answer.status, 201, "{answer:?}");
        assert_eq!(self.stored(), before + 1);
    }

    /// The value of this series of its metrics.
    pub(super) async fn metric(&self, series: &str) -> u64 {
        let text = reqwest::get(self.weir.admin_url("/metrics")).await.unwrap().text().await.unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        value.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    /// CPU time of the process so far.
    pub(super) fn cpu(&self) -> Duration {
        let path = format!("/proc/{}/stat", self.weir.process().pid());
        let stat = fs::read_to_string(path).unwrap();
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(10 * ticks)
    }

    /// A line of `/proc/PID/status`, in bytes: `VmRSS`, or `VmHWM`, the most that was.
    pub(super) fn memory_bytes(&self, name: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.weir.process().pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
        1024 * line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    }

    /// Forgets the most memory that was used.
    pub(super) fn reset_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.weir.process().pid()), "5").unwrap();
    }
}
