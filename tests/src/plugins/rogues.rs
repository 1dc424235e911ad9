//! Every rogue guest under load, beside good traffic: each ends as its row says, and the neighbour hardly notices.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio::time::{MissedTickBehavior, interval};

use super::{files, leave};
use crate::bench::Result;
use crate::bench::compare::median;
use crate::bench::load::{Plan, run as load};
use crate::bench::payload::Shape;
use crate::bench::process::{Gateway, Sink, Workbench};
use crate::world::inputs;

/// What becomes of the event that a rogue sins against.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// It meets the route's `on_error`, with one of these codes.
    OnError(&'static [&'static str]),
    /// It is stored; what was too much is dropped and counted.
    Stored,
    /// It is dropped, as the plugin wanted.
    Dropped,
}

/// The sins that are committed when an event asks for it; `tests/README.md` has the same table.
pub const ROWS: [(&str, Ending); 21] = [
    ("spin", Ending::OnError(&["deadline"])),
    ("fill", Ending::OnError(&["deadline"])),
    ("bloat", Ending::OnError(&["memory", "deadline"])),
    ("recurse", Ending::OnError(&["stack"])),
    ("panic", Ending::OnError(&["trap"])),
    ("span-outside", Ending::OnError(&["output"])),
    ("span-wraps", Ending::OnError(&["output"])),
    ("span-in-batch", Ending::OnError(&["output"])),
    ("bad-utf8", Ending::OnError(&["output"])),
    ("op-flood", Ending::OnError(&["output"])),
    ("op-for-nobody", Ending::OnError(&["output"])),
    ("op-unknown", Ending::OnError(&["output"])),
    ("output-flood", Ending::OnError(&["output"])),
    ("gateway-header", Ending::OnError(&["output"])),
    ("foreign-topic", Ending::OnError(&["output"])),
    ("bad-pointer", Ending::OnError(&["output"])),
    ("empty-key", Ending::OnError(&["output"])),
    ("long-key", Ending::OnError(&["output"])),
    ("log-flood", Ending::Stored),
    ("metric-flood", Ending::Stored),
    ("long-reason", Ending::Dropped),
];

const MEMORY_BYTES_MAX: u64 = 512 << 20;
const P99_RATIO_MAX: f64 = 1.5;
/// One event in so many of a rogue's route is sinned against; below the ratio that brings a plugin into quarantine.
const BATCH: usize = 20;
const PERIOD: Duration = Duration::from_millis(50);

/// How long and how much.
#[derive(Clone, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Seconds of a window with a rogue, after its first second, and of the quiet one before it.
    #[arg(long, default_value_t = 3)]
    pub seconds: u64,
    /// Good events a second, on another route.
    #[arg(long, default_value_t = 2_000)]
    pub good_per_s: u64,
    /// Only this sin.
    #[arg(long)]
    #[serde(skip)]
    pub only: Option<String>,
}

/// What one rogue did.
#[derive(Debug, Serialize)]
struct Row {
    sin: &'static str,
    expected: Ending,
    /// Events that were sinned against, by how they ended.
    sinful: BTreeMap<String, usize>,
    /// Their neighbours, by how they ended.
    neighbours: BTreeMap<String, usize>,
    quiet_p99_ms: f64,
    first_second_p99_ms: f64,
    p99_ms: f64,
    /// What the gateway said at its end runs on a thread of its own, those of the minute before included.
    routes_aside: Vec<String>,
    well: bool,
}

/// What was seen of all of them.
#[derive(Debug, Serialize)]
pub struct Seen {
    effort: Effort,
    rows: Vec<Row>,
    refused: Vec<files::Refused>,
    /// The most memory that the gateway ever had in RAM.
    pub peak_memory_bytes: u64,
}

impl Seen {
    /// Every event and every file ended as its row says, and memory stayed within bounds.
    pub fn well(&self) -> bool {
        self.rows.iter().all(|row| row.well)
            && self.refused.iter().all(|file| file.well)
            && self.peak_memory_bytes < MEMORY_BYTES_MAX
    }

    /// The neighbour's P99 beside each rogue after its first second, over its quiet P99: the highest.
    pub fn worst_ratio(&self) -> f64 {
        self.ratios().fold(0.0, f64::max)
    }

    fn ratios(&self) -> impl Iterator<Item = f64> {
        self.rows.iter().map(|row| row.p99_ms / row.quiet_p99_ms)
    }
}

/// Runs every row, prints, and fails if one is not as it should be.
pub fn run(effort: &Effort) -> Result<()> {
    let seen = look(effort)?;
    seen.print();
    println!("every figure: {}", leave("rogues", &seen)?.display());
    let well = seen.well() && seen.worst_ratio() <= P99_RATIO_MAX;
    if well { Ok(()) } else { Err("a rogue did what it should not".into()) }
}

/// Lets each rogue loose beside good traffic, and offers each bad file.
pub fn look(effort: &Effort) -> Result<Seen> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let rows: Vec<_> =
        ROWS.iter().filter(|(sin, _)| effort.only.as_ref().is_none_or(|only| only == sin)).collect();
    let names: Vec<_> = rows.iter().map(|(sin, _)| format!("rogue-{sin}")).collect();
    let topics: Vec<_> = names.iter().map(String::as_str).chain(["orders"]).collect();
    let sink = Sink::start(&Workbench::find()?, &topics)?;
    let sins: Vec<_> = rows.iter().map(|(sin, _)| *sin).collect();
    let gateway = runtime.block_on(Gateway::ours(config(&sink.bootstrap, &sins)))?;
    let mut good = Good { target: gateway.address, effort: effort.clone(), next_event: 0 };
    good.p99_ms(2, 0)?;
    let mut table = Vec::new();
    for (sin, expected) in rows {
        table.push(row(&mut good, sin, *expected, || runtime.block_on(routes_aside(&gateway)))?);
        eprintln!("{:?}", table.last());
    }
    let refused = runtime.block_on(files::refused(&gateway))?;
    let peak_memory_bytes = peak_memory(gateway.pid())?;
    Ok(Seen { effort: effort.clone(), rows: table, refused, peak_memory_bytes })
}

impl Seen {
    fn print(&self) {
        println!("{:<16} {:>8} {:>10} {:>8} {:>7}  ended", "sin", "quiet", "first s", "P99 ms", "ratio");
        for row in &self.rows {
            let Row { sin, quiet_p99_ms, first_second_p99_ms, p99_ms, sinful, neighbours, .. } = row;
            let mark = if row.well { "" } else { "  NOT AS IT SHOULD BE" };
            let ratio = p99_ms / quiet_p99_ms;
            println!(
                "{sin:<16} {quiet_p99_ms:>8.2} {first_second_p99_ms:>10.2} {p99_ms:>8.2} {ratio:>7.2}  \
                 {sinful:?} {neighbours:?}{mark}"
            );
        }
        for file in &self.refused {
            let mark = if file.well { "" } else { "NOT AS IT SHOULD BE: " };
            println!(
                "{:<40} {mark}{} {} in {:.0} ms: {}",
                file.name, file.status, file.code, file.ms, file.detail
            );
        }
        println!(
            "P99 over quiet: median {:.2}, worst {:.2}, at most {P99_RATIO_MAX}; memory at most {} MiB",
            median(self.ratios().collect()),
            self.worst_ratio(),
            self.peak_memory_bytes >> 20
        );
    }
}

/// The neighbour: another route's traffic.
struct Good {
    target: SocketAddr,
    effort: Effort,
    next_event: u64,
}

impl Good {
    fn p99_ms(&mut self, seconds: u64, warm_up_ms: u64) -> Result<f64> {
        let plan = Plan {
            target: self.target,
            shape: Shape::Single,
            events_per_s: Some(self.effort.good_per_s),
            connections: 32,
            warm_up: Duration::from_millis(warm_up_ms),
            window: Duration::from_secs(seconds),
            first_event: self.next_event,
        };
        let tally = load(&plan, |_| Ok(()))?;
        self.next_event = tally.next_event;
        if tally.statuses.keys().any(|status| *status != 201) {
            return Err(format!("the neighbour's events were not all stored: {:?}", tally.statuses).into());
        }
        Ok(tally.latency_us.value_at_quantile(0.99) as f64 / 1e3)
    }
}

fn row(
    good: &mut Good,
    sin: &'static str,
    expected: Ending,
    routes_aside: impl FnOnce() -> Result<Vec<String>>,
) -> Result<Row> {
    let seconds = good.effort.seconds;
    let quiet_p99_ms = good.p99_ms(seconds, 200)?;
    let rogue = Rogue::start(good.target, sin)?;
    let first_second_p99_ms = good.p99_ms(1, 0)?;
    let p99_ms = good.p99_ms(seconds, 0)?;
    let (sinful, neighbours) = rogue.stop()?;
    let all = |endings: &BTreeMap<String, usize>, wanted: &[&str]| {
        !endings.is_empty() && endings.keys().all(|ending| wanted.contains(&ending.as_str()))
    };
    let as_expected = match expected {
        Ending::OnError(codes) => all(&sinful, codes),
        Ending::Stored => all(&sinful, &["stored"]),
        Ending::Dropped => all(&sinful, &["dropped"]),
    };
    // What overruns is listed; what fails at once stays with the workers, and so does the neighbour.
    let routes_aside = routes_aside()?;
    let is_aside = |route: &str| routes_aside.iter().any(|aside| aside == route);
    let where_expected = (expected != Ending::OnError(&["deadline"]) || is_aside(&format!("rogue-{sin}")))
        && !is_aside("orders");
    let well = as_expected && where_expected && all(&neighbours, &["stored"]);
    Ok(Row {
        sin,
        expected,
        sinful,
        neighbours,
        quiet_p99_ms,
        first_second_p99_ms,
        p99_ms,
        routes_aside,
        well,
    })
}

type Endings = BTreeMap<String, usize>;

/// The sender of one rogue's events.
struct Rogue {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(Endings, Endings)>>,
}

impl Rogue {
    fn start(target: SocketAddr, sin: &'static str) -> Result<Rogue> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let thread = std::thread::spawn(move || send(&runtime, target, sin, &stopping));
        Ok(Rogue { stop, thread })
    }

    /// How the events ended: those sinned against by code or outcome, their neighbours by outcome.
    fn stop(self) -> Result<(Endings, Endings)> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| "the rogue's sender panicked")?
    }
}

fn send(runtime: &Runtime, target: SocketAddr, sin: &str, stop: &AtomicBool) -> Result<(Endings, Endings)> {
    let (mut sinful, mut neighbours) = (Endings::new(), Endings::new());
    let url = format!("http://{target}/v1/events/rogue-{sin}");
    let http = reqwest::Client::new();
    let event = |n| if n == BATCH / 2 { json!({"n": n, "sin": "yes"}) } else { json!({"n": n}) };
    let batch = Value::from_iter((0..BATCH).map(event)).to_string();
    runtime.block_on(async {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !stop.load(Ordering::Relaxed) {
            ticks.tick().await;
            let request = http.post(&url).header("content-type", "application/json");
            let answer = request.body(batch.clone()).send().await?;
            let body: Value = serde_json::from_slice(&answer.bytes().await?)?;
            for (n, result) in body["results"].as_array().into_iter().flatten().enumerate() {
                let text = |name: &str| result[name].as_str().map(str::to_owned);
                let ending = text("code").or_else(|| text("outcome"));
                let ending = ending.unwrap_or_else(|| result["problem"]["code"].to_string());
                let endings = if n == BATCH / 2 { &mut sinful } else { &mut neighbours };
                *endings.entry(ending).or_default() += 1;
            }
        }
        Ok((sinful, neighbours))
    })
}

async fn routes_aside(gateway: &Gateway) -> Result<Vec<String>> {
    let url = gateway.admin_url("/admin/v1/plugins").ok_or("not a weir")?;
    let list: Value = serde_json::from_slice(&reqwest::get(url).await?.bytes().await?)?;
    Ok(serde_json::from_value(list["routes_aside"].clone())?)
}

/// The most memory that a process ever had in RAM, in bytes.
fn peak_memory(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
}

/// A good route, and one for each sin.
fn config(bootstrap: &str, sins: &[&str]) -> String {
    let rogue = |sin: &&str| {
        format!(
            r#"  - name: rogue-{sin}
    plugins: [{{plugin: rogue, config: {{sin: {sin}}}}}]
    topic: rogue-{sin}
    topic_settings: {{partitions: 6, replication_factor: 1, min_insync_replicas: 1}}
    recent: false
"#
        )
    };
    format!(
        r#"listen: {{listen}}
admin: {{admin}}
log: {{level: warn}}
schemas: "{schemas}"
plugins:
  entity-key: {{path: "{entity_key}"}}
  rogue: {{path: "{rogue}"}}
plugin_limits: {{compile_cpu_s_max: 1}}
kafka: {{brokers: ["{bootstrap}"], allow_weak_topics: true}}
routes:
  - name: orders
    subject: orders.created
    plugins: [{{plugin: entity-key, config: {{keys: [{{kind: user, pointer: /customer/user_id}}]}}}}]
    topic: orders
    topic_settings: {{partitions: 6, replication_factor: 1, min_insync_replicas: 1}}
    recent: false
{rogues}"#,
        schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas"),
        entity_key = inputs::plugin("entity_key").display(),
        rogue = inputs::plugin("rogue").display(),
        rogues = sins.iter().map(rogue).collect::<String>(),
    )
}
