//! Versions change under constant load: no event is lost, none is there twice, a key's order holds, and each event
//! names a version that was in force.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::leave;
use crate::bench::Result;
use crate::world::{Kafka, KafkaOptions, Weir, WeirOptions, fresh_name, inputs};

/// How much is done.
#[derive(Clone, Copy, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Versions put in force, one after the other.
    #[arg(long, default_value_t = 1_000)]
    pub reloads: usize,
    /// Files that come again and again. Every second reload is of a file that was never seen, which no cache helps.
    #[arg(long, default_value_t = 24)]
    pub files: usize,
    /// Each sends one key's events, and waits for each answer.
    #[arg(long, default_value_t = 4)]
    pub senders: usize,
    /// Events of one request; a sender begins one every 50 ms.
    #[arg(long, default_value_t = 10)]
    pub batch: usize,
}

const PERIOD: Duration = Duration::from_millis(50);

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Found {
    /// Versions put in force.
    pub reloads: usize,
    /// Different files among them.
    pub digests: usize,
    /// Bad files, each refused with a reason.
    pub refused: usize,
    /// Versions that events met.
    pub digests_met: usize,
    /// Events with a receipt.
    pub stored: usize,
    /// Receipts without their record.
    pub lost: usize,
    /// Records beyond the first of an event.
    pub duplicated: usize,
    /// Records behind a later one of their key.
    pub reordered: usize,
    /// Records that name a version that was not in force, or another than their receipt.
    pub of_no_version: usize,
    /// Answers that were not 200, and reloads that were not 201.
    pub bad_answers: usize,
    /// How long one reload took, in ms: median and longest, of files seen before and of new ones.
    pub reload_ms: BTreeMap<&'static str, f64>,
}

impl Found {
    /// Nothing went wrong, and there was something to go wrong.
    pub fn well(&self) -> bool {
        let wrong = [self.lost, self.duplicated, self.reordered, self.of_no_version, self.bad_answers];
        wrong == [0; 5] && self.refused == self.reloads && self.stored > 0 && self.digests_met > 1
    }
}

/// Runs against a Kafka of its own.
pub fn run(effort: &Effort) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let found = runtime.block_on(async {
        let kafka = Kafka::start(KafkaOptions::default()).await;
        reload(effort, &kafka, |done| {
            if done % 50 == 0 {
                eprintln!("{done} of {} reloads", effort.reloads);
            }
        })
        .await
    })?;
    println!("{}", serde_json::to_string_pretty(&found)?);
    println!("every figure: {}", leave("reloads", &json!({"effort": effort, "found": found}))?.display());
    if found.well() { Ok(()) } else { Err("reloads were not without consequences".into()) }
}

/// A module with another digest: a custom section (WebAssembly core 3.0, §5.5.3) with a number in it at its end.
pub fn another(module: &[u8], number: u32) -> Vec<u8> {
    [module, &[0, 7, 2, b'n', b'o'], &number.to_le_bytes()].concat()
}

struct Clients<'e> {
    effort: &'e Effort,
    weir: Weir,
    route: String,
    http: reqwest::Client,
    done: AtomicBool,
}

/// Changes versions while senders send, then reads the topic back.
pub async fn reload(effort: &Effort, kafka: &Kafka, progress: impl Fn(usize)) -> Result<Found> {
    let route = fresh_name("reloads");
    for topic in [&route, &format!("{route}.dead-letter")] {
        kafka.create_topic(topic, 3, &[]).await;
    }
    let weir = Weir::start(WeirOptions::serve(config(&route, kafka.bootstrap()))).await;
    let http = reqwest::Client::new();
    let clients = Clients { effort, weir, route, http, done: AtomicBool::new(false) };
    let sending = futures_util::future::join_all((0..effort.senders).map(|sender| clients.send(sender)));
    let (changed, sent) = tokio::join!(clients.change(progress), sending);
    let (mut found, live) = changed?;
    let sent = sent.into_iter().collect::<Result<Vec<_>>>()?;
    examine(&mut found, &sent, &live, kafka.records(&clients.route).await);
    Ok(found)
}

/// The receipts of one sender, in the order sent, and how many of its answers were not 200.
type Sent = (Vec<Value>, usize);

impl Clients<'_> {
    async fn send(&self, sender: usize) -> Result<Sent> {
        let (mut receipts, mut bad) = (Vec::new(), 0);
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !self.done.load(Ordering::Relaxed) {
            ticks.tick().await;
            let next = receipts.len();
            let batch: Vec<_> = (next..next + self.effort.batch)
                .map(|n| json!({"user": format!("u-{sender}"), "n": n, "card": 1}))
                .collect();
            let url = self.weir.url(&format!("/v1/events/{}", self.route));
            let request = self.http.post(url).header("content-type", "application/json");
            let answer = request.body(json!(batch).to_string()).send().await?;
            bad += usize::from(answer.status() != 200);
            let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
            receipts.extend(body["results"].as_array().cloned().unwrap_or_default());
        }
        Ok((receipts, bad))
    }

    /// Puts one version after the other in force; gives every digest that was.
    async fn change(&self, progress: impl Fn(usize)) -> Result<(Found, HashSet<String>)> {
        let module = std::fs::read(inputs::plugin("redact"))?;
        let list = self.http.get(self.weir.admin_url("/admin/v1/plugins")).send().await?.bytes().await?;
        let first: Value = serde_json::from_slice(&list)?;
        let first = first["plugins"]["redact"][0]["digest"].as_str().unwrap_or_default().to_owned();
        let (mut found, mut live) = (Found::default(), HashSet::from([first]));
        let mut times: [Vec<f64>; 2] = Default::default();
        for round in 0..self.effort.reloads {
            let fresh = round % 2 == 1;
            let number = if fresh { self.effort.files + round } else { round / 2 % self.effort.files };
            let begun = Instant::now();
            let (status, version) = self.post(another(&module, u32::try_from(number)?)).await?;
            times[usize::from(fresh)].push(begun.elapsed().as_secs_f64() * 1e3);
            let active = status == 201 && version["stage"] == "active";
            found.bad_answers += usize::from(!active);
            found.reloads += 1;
            live.insert(version["digest"].as_str().unwrap_or_default().to_owned());
            let (status, refused) = self.post(b"no wasm".to_vec()).await?;
            found.refused += usize::from(status == 422 && refused["code"] == "plugin-unusable");
            progress(round + 1);
        }
        self.done.store(true, Ordering::Relaxed);
        found.digests = live.len();
        for (name, times) in ["seen before", "new"].into_iter().zip(times) {
            let longest = times.iter().copied().fold(0.0, f64::max);
            found
                .reload_ms
                .insert(if name == "new" { "new, longest" } else { "seen before, longest" }, longest);
            found.reload_ms.insert(name, crate::bench::compare::median(times));
        }
        Ok((found, live))
    }

    async fn post(&self, file: Vec<u8>) -> Result<(u16, Value)> {
        let url = self.weir.admin_url("/admin/v1/plugins/redact/versions?activate=true");
        let answer = self.http.post(url).body(file).send().await?;
        let status = answer.status().as_u16();
        Ok((status, serde_json::from_slice(&answer.bytes().await?)?))
    }
}

fn examine(found: &mut Found, sent: &[Sent], live: &HashSet<String>, records: Vec<OwnedMessage>) {
    let mut met = HashSet::new();
    let mut in_order: HashMap<String, Vec<u64>> = HashMap::new();
    let mut labels = HashMap::new();
    for record in records {
        let stored: Value = serde_json::from_slice(record.payload().unwrap_or_default()).unwrap_or_default();
        let key = stored["user"].as_str().unwrap_or_default().to_owned();
        in_order.entry(key).or_default().push(stored["n"].as_u64().unwrap_or(u64::MAX));
        let header = record.headers().and_then(|headers| {
            let plugins = headers.iter().find(|header| header.key == "weir-plugins")?;
            String::from_utf8(plugins.value?.to_vec()).ok()
        });
        labels.insert((i64::from(record.partition()), record.offset()), header.unwrap_or_default());
    }
    for (sender, (receipts, bad)) in sent.iter().enumerate() {
        found.stored += receipts.len();
        found.bad_answers += bad;
        let numbers = in_order.remove(&format!("u-{sender}")).unwrap_or_default();
        let distinct: HashSet<_> = numbers.iter().collect();
        found.lost += (0..receipts.len() as u64).filter(|number| !distinct.contains(number)).count();
        found.duplicated += numbers.len() - distinct.len();
        found.reordered += numbers.windows(2).filter(|pair| pair[0] > pair[1]).count();
        for receipt in receipts {
            let position =
                (receipt["partition"].as_i64().unwrap_or(-1), receipt["offset"].as_i64().unwrap_or(-1));
            let label = labels.get(&position).map(String::as_str).unwrap_or_default();
            let digest = label.strip_prefix("redact@0.1.0+sha256:").unwrap_or_default();
            let named = receipt["plugins"][0]["digest"].as_str().unwrap_or_default();
            let agreed = live.contains(digest) && named == format!("sha256:{digest}");
            found.of_no_version += usize::from(!agreed);
            met.insert(digest.to_owned());
        }
    }
    found.digests_met = met.len();
}

fn config(route: &str, bootstrap: &str) -> String {
    let brokers: Vec<_> = bootstrap.split(',').map(|broker| format!("\"{broker}\"")).collect();
    format!(
        r#"listen: {{listen}}
admin: {{admin}}
plugins: {{redact: {{path: "{redact}"}}}}
kafka: {{brokers: [{brokers}], allow_weak_topics: true}}
routes:
  - name: {route}
    key: data:/user
    plugins: [{{plugin: redact, config: {{remove: [/card]}}}}]
    topic: {route}
    topic_settings: {{partitions: 3, replication_factor: 1, min_insync_replicas: 1}}
    recent: false
"#,
        brokers = brokers.join(", "),
        redact = inputs::plugin("redact").display(),
    )
}
