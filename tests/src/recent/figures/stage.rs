//! Where the figures are measured: one Kafka broker, a Valkey cluster of 3+3, gateways with one route, and who runs on
//! which core. It measures nothing but CPU time.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::asks::{Event, Keys};
use super::traffic::{Seat, Target};
use crate::bench::Result;
use crate::bench::cpu::{Sample, Spent, machine};
use crate::bench::pin::{Awake, Cores, Rank, on, rank_process};
use crate::world::{Kafka, KafkaOptions, Node, Valkey, ValkeyOptions, Weir, WeirOptions, until};

/// The one route and its topic.
pub(super) const ROUTE: &str = "orders";
/// Until something that must come has come.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
const PRELOADED_PER_REQUEST: usize = 100;

/// What kind of stage.
pub(super) struct Setup {
    pub(super) partitions: i32,
    /// The budget of one partition in Valkey.
    pub(super) partition_bytes_max: u64,
    pub(super) order: Order,
}

/// Who waits for whom, where there are fewer cores than the machines a user has. All but the first take root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As the kernel likes.
    Kernel,
    /// Valkey first, on whatever core: what a command takes is what it takes Valkey.
    ValkeyFirst,
    /// Kafka and Valkey hold up nobody whom they would not hold up from machines of their own: both stay on the first
    /// core, Valkey's primaries give way to the generator alone, its replicas to the primaries, and Kafka gets what these
    /// leave. No core falls asleep.
    Apart,
}

impl Default for Setup {
    fn default() -> Setup {
        Setup { partitions: 6, partition_bytes_max: 64 << 20, order: Order::Kernel }
    }
}

/// Services, and how to start a gateway over them. Whatever it starts runs where [`Cores`] says: gateways on the last
/// core; the generator on the first; Kafka and Valkey on all of them, where the kernel finds room, unless [`Order`] says
/// otherwise. Gateways have no rank: what their own threads do to each other is theirs to answer for.
pub(super) struct Stage {
    pub(super) runtime: Runtime,
    pub(super) kafka: Kafka,
    pub(super) valkey: Valkey,
    pub(super) cores: Cores,
    pub(super) partitions: i32,
    /// Where the generator sits.
    pub(super) seat: Seat,
    config: String,
    _awake: Option<Awake>,
}

impl Stage {
    pub(super) fn start(setup: &Setup) -> Result<Stage> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let cores = Cores::split(true)?;
        let apart = setup.order == Order::Apart;
        let place = if apart { cores.load } else { Cores::split(false)?.load };
        let kafka = async {
            let kafka = Kafka::start(KafkaOptions { lasting: apart, ..KafkaOptions::default() }).await;
            kafka.create_topic(ROUTE, setup.partitions, &[]).await;
            kafka
        };
        let kafka = on(&place, || Ok(runtime.block_on(kafka)))?;
        let slow = ("slowlog-log-slower-than".to_owned(), "10000".to_owned());
        let options = ValkeyOptions { settings: vec![slow], ..ValkeyOptions::default() };
        let valkey = on(&place, || Ok(runtime.block_on(Valkey::start(options))))?;
        if setup.order != Order::Kernel {
            valkey.nodes().iter().try_for_each(|node| rank_process(node.process().pid(), Rank(1)))?;
        }
        if apart {
            for shard in runtime.block_on(valkey.shards_seen_by(&valkey.nodes()[0])).ok_or("no shards")? {
                rank_process(shard.primary.process().pid(), Rank(2))?;
            }
        }
        let seat = Seat { cores: cores.load, rank: apart.then_some(Rank(3)) };
        let _awake = if apart { Some(Awake::keep()?) } else { None };
        let config = config(setup, &kafka, &valkey);
        Ok(Stage { runtime, kafka, valkey, cores, partitions: setup.partitions, seat, config, _awake })
    }

    /// Starts a gateway on the gateways' core and waits until it is ready.
    pub(super) fn gateway(&self) -> Result<Weir> {
        let weir = self.launch()?;
        self.runtime.block_on(weir.ready());
        Ok(weir)
    }

    /// The same without waiting.
    pub(super) fn launch(&self) -> Result<Weir> {
        on(&self.cores.gateway, || Ok(Weir::launch(WeirOptions::serve(&self.config))))
    }

    /// Sends `per_key` events of each key through a gateway, and waits until they can be looked up.
    pub(super) fn preload(&self, weir: &Weir, keys: &Arc<Keys>, per_key: usize) -> Result<()> {
        let http = reqwest::Client::new();
        let mut number = 0;
        let all: Vec<usize> = (0..per_key).flat_map(|_| 0..keys.len()).collect();
        self.runtime.block_on(async {
            for some in all.chunks(PRELOADED_PER_REQUEST) {
                let mut body = Vec::new();
                for (i, key) in some.iter().enumerate() {
                    body.push(if i == 0 { b'[' } else { b',' });
                    Event { number, key: keys.text(*key) }.write(&mut body);
                    number += 1;
                }
                body.push(b']');
                let url = weir.url(&format!("/v1/events/{ROUTE}"));
                let request = http.post(url).header("content-type", "application/json").body(body);
                let answer = request.send().await?.error_for_status()?.bytes().await?;
                let receipts: Receipts = serde_json::from_slice(&answer)?;
                for (key, receipt) in some.iter().zip(receipts.results) {
                    keys.stored(*key, receipt.partition, receipt.offset);
                }
            }
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>(())
        })?;
        self.runtime.block_on(caught_up(weir));
        Ok(())
    }

    /// The Valkey node that serves a partition's slot.
    pub(super) async fn primary_of(&self, partition: i32) -> Option<&Node> {
        let tag = format!("{{w3:{}:{ROUTE}:{partition}}}", ROUTE.len());
        self.valkey.primary_of(&tag).await
    }

    /// CPU time so far, by who spent it.
    pub(super) fn readings(&self, gateways: &[&Weir]) -> Result<Readings> {
        let mut groups = BTreeMap::new();
        let gateways = gateways.iter().map(|weir| Sample::take(weir.process().pid()));
        groups.insert("gateway", gateways.collect::<Result<Vec<_>>>()?);
        groups.insert("kafka", vec![Sample::take(self.kafka.broker(0).pid())?]);
        let nodes = self.valkey.nodes().iter().map(|node| Sample::take(node.process().pid()));
        groups.insert("valkey", nodes.collect::<Result<Vec<_>>>()?);
        groups.insert("generator", vec![Sample::take(std::process::id())?]);
        Ok(Readings { groups, machine: machine()? })
    }
}

/// Waits until the read model has everything that is in the log.
pub(super) async fn caught_up(weir: &Weir) {
    until("the read model has caught up", PATIENCE, async || lag(weir).await.filter(|lag| *lag == 0)).await;
}

/// How many events the read model does not have yet, if every partition's store and log say where they stand.
pub(super) async fn lag(weir: &Weir) -> Option<i64> {
    let answer = reqwest::get(weir.admin_url("/admin/v1/recent")).await.ok()?;
    let status: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
    let partitions = status["partitions"].as_array().filter(|all| !all.is_empty())?;
    let missing =
        |partition: &Value| Some(partition["lag_events"].as_i64()? + partition["to_fill"].as_i64()?);
    partitions.iter().map(missing).sum()
}

/// Where it listens, for the traffic.
pub(super) fn target(weir: &Weir) -> Result<Target> {
    let url = weir.url("");
    let address: SocketAddr = url.strip_prefix("http://").ok_or("an address that is not http")?.parse()?;
    Ok(Target::new(address))
}

#[derive(Deserialize)]
struct Receipts {
    results: Vec<Receipt>,
}

/// What of a receipt is used.
#[derive(Deserialize)]
pub(super) struct Receipt {
    pub(super) partition: i32,
    pub(super) offset: i64,
}

/// CPU time of everybody at one moment.
pub(super) struct Readings {
    groups: BTreeMap<&'static str, Vec<Sample>>,
    machine: (f64, f64),
}

/// Shares of one core between two moments.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Usage {
    /// Gateways, Kafka, Valkey, and this program.
    pub(super) cores: BTreeMap<&'static str, f64>,
    /// Whatever else runs on this machine.
    pub(super) others_cores: f64,
    /// What the hypervisor took.
    pub(super) stolen_cores: f64,
    /// Of the gateways, by kind of thread.
    pub(super) gateway_threads: BTreeMap<String, f64>,
}

impl Readings {
    pub(super) fn until(&self, end: &Readings) -> Usage {
        let spent = |group: &str| -> Vec<Spent> {
            self.groups[group].iter().zip(&end.groups[group]).map(|(begin, end)| end.since(begin)).collect()
        };
        let mut gateway_threads: BTreeMap<String, f64> = BTreeMap::new();
        for spent in spent("gateway") {
            for (kind, cpu_s) in spent.threads {
                *gateway_threads.entry(kind).or_default() += cpu_s / spent.wall_s;
            }
        }
        let share = |spent: &Spent| spent.cpu_s / spent.wall_s;
        let cores: BTreeMap<_, f64> =
            self.groups.keys().map(|group| (*group, spent(group).iter().map(share).sum())).collect();
        let wall_s = spent("generator").first().map_or(f64::NAN, |spent| spent.wall_s);
        let busy_cores = (end.machine.0 - self.machine.0) / wall_s;
        let stolen_cores = (end.machine.1 - self.machine.1) / wall_s;
        Usage { others_cores: busy_cores - cores.values().sum::<f64>(), cores, stolen_cores, gateway_threads }
    }
}

/// One route without schema and plugins.
fn config(setup: &Setup, kafka: &Kafka, valkey: &Valkey) -> String {
    let quoted = |texts: &mut dyn Iterator<Item = &str>| {
        texts.map(|text| format!("\"{text}\"")).collect::<Vec<_>>().join(", ")
    };
    format!(
        r#"listen: {{listen}}
admin: {{admin}}
log: {{level: warn}}
kafka: {{brokers: [{brokers}], allow_weak_topics: true}}
valkey: {{nodes: [{nodes}]}}
routes:
  - name: {ROUTE}
    id: data:/id
    key: data:/user
    type: const:order.created
    topic: {ROUTE}
    topic_settings: {{partitions: {partitions}, replication_factor: 1, min_insync_replicas: 1}}
    recent: {{partition_bytes_max: {partition_bytes_max}}}
"#,
        brokers = quoted(&mut kafka.bootstrap().split(',')),
        nodes = quoted(&mut valkey.addresses().iter().map(String::as_str)),
        partitions = setup.partitions,
        partition_bytes_max = setup.partition_bytes_max,
    )
}
