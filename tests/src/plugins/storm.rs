//! One event in a hundred brings its call down, in arrays of 100 at half the knee: what the others pay for it, and
//! where each event ends.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};
use serde::Serialize;

use super::leave;
use crate::bench::Result;
use crate::bench::compare::median;
use crate::bench::count::sequence;
use crate::bench::load::{Plan, Tally, run as load};
use crate::bench::payload::{Shape, is_marked};
use crate::bench::pin::{Cores, on};
use crate::bench::process::{Gateway, Sink, Workbench};
use crate::bench::window::{Mark, Pids, Window, measure};
use crate::world::{Kafka, KafkaOptions, inputs};

const CPU_RATIO_MAX: f64 = 1.5;

/// How long and how often.
#[derive(Clone, Copy, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Rounds of clean, storm, storm, clean; the first is dropped.
    #[arg(long, default_value_t = 9)]
    pub rounds: usize,
    /// Offered to a real Kafka on the same cores, where every event is counted.
    #[arg(long, default_value_t = 20_000)]
    pub counted_per_s: u64,
    /// For so long.
    #[arg(long, default_value_t = 5)]
    pub counted_s: u64,
}

/// Where the events of a counted run ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Ended {
    /// Events that do not break the plugin down, in requests that were answered well.
    pub good: u64,
    /// Of those: once in the topic and nowhere else.
    pub good_stored_once: u64,
    /// Events that do.
    pub bad: u64,
    /// Of those: once in the dead-letter topic, with the plugin, the code `trap` and a reason, and nowhere else.
    pub bad_kept_aside_once: u64,
}

impl Ended {
    /// Each event is where it belongs, once.
    pub fn well(&self) -> bool {
        self.good > 0
            && self.bad > 0
            && self.good == self.good_stored_once
            && self.bad == self.bad_kept_aside_once
    }
}

#[derive(Serialize)]
struct Figures {
    effort: Effort,
    knee_events_per_s: f64,
    offered_events_per_s: u64,
    clean: Vec<Window>,
    storm: Vec<Window>,
    cpu_ratio: f64,
    us_per_trap: f64,
    keeps_up: bool,
    ended: Ended,
}

/// Measures, prints, and fails if something is not as promised.
pub fn run(effort: &Effort) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (knee, offered, clean, storm) = cost(&runtime, effort)?;
    let ended = runtime.block_on(count(effort))?;
    let per_event = |windows: &[Window]| median(windows.iter().map(|it| it.cpu_s_per_million).collect());
    let (before, after) = (per_event(&clean), per_event(&storm));
    let kept_up = |window: &Window| {
        window.acked_per_s > 0.97 * offered as f64 && !window.marks.contains(&Mark::GatewayFull)
    };
    let figures = Figures {
        effort: *effort,
        knee_events_per_s: knee,
        offered_events_per_s: offered,
        cpu_ratio: after / before,
        us_per_trap: (after - before) * 100.0,
        keeps_up: storm.iter().filter(|window| kept_up(window)).count() * 2 > storm.len(),
        clean,
        storm,
        ended,
    };
    println!("arrays of 100, one event in each traps; the knee without it is {knee:.0} events/s");
    println!(
        "offered {offered}/s: CPU {before:.2} µs an event without, {after:.2} with: {:.2} (at most {CPU_RATIO_MAX})",
        figures.cpu_ratio
    );
    println!(
        "{:.0} µs for each event that traps; the gateway keeps up: {}",
        figures.us_per_trap, figures.keeps_up
    );
    println!("real Kafka: {:?}", figures.ended);
    println!("every window: {}", leave("storm", &figures)?.display());
    if figures.cpu_ratio <= CPU_RATIO_MAX && figures.keeps_up && figures.ended.well() {
        Ok(())
    } else {
        Err("the storm cost more than promised".into())
    }
}

type Cost = (f64, u64, Vec<Window>, Vec<Window>);

fn cost(runtime: &tokio::runtime::Runtime, effort: &Effort) -> Result<Cost> {
    let workbench = Workbench::find()?;
    let cores = Cores::split(true)?;
    on(&cores.load, || {
        let sink = Sink::start(&workbench, &["orders"])?;
        let gateway = on(&cores.gateway, || runtime.block_on(Gateway::ours(config(&sink.bootstrap))))?;
        let pids = Pids { gateway: gateway.pid(), sink: Some(sink.pid()) };
        let mut next_event = 0;
        let mut window = |shape, events_per_s| -> Result<Window> {
            let plan = Plan {
                target: gateway.address,
                shape,
                events_per_s,
                connections: 64,
                warm_up: Duration::from_millis(500),
                window: Duration::from_secs(1),
                first_event: next_event,
            };
            let (window, tally) = measure(&plan, pids)?;
            next_event = tally.next_event;
            Ok(window)
        };
        let knees = (0..5).map(|_| window(Shape::Array, None)).collect::<Result<Vec<_>>>()?;
        let knee = median(knees.iter().map(|window| window.acked_per_s).collect());
        let knee_per_s = knees.iter().map(|window| window.acked_events).sum::<u64>() / knees.len() as u64;
        let offered = knee_per_s / 2_000 * 1_000;
        let (mut clean, mut storm) = (Vec::new(), Vec::new());
        for round in 0..effort.rounds.max(2) {
            let first = window(Shape::Array, Some(offered))?;
            let bad = [Shape::MarkedArray; 2].map(|shape| window(shape, Some(offered)));
            let last = window(Shape::Array, Some(offered))?;
            if round > 0 {
                clean.extend([first, last]);
                storm.extend(bad.into_iter().collect::<Result<Vec<_>>>()?);
            }
        }
        Ok((knee, offered, clean, storm))
    })
}

/// Sends through a gateway into a Kafka of its own, and looks where everything is.
pub async fn count(effort: &Effort) -> Result<Ended> {
    let kafka = Kafka::start(KafkaOptions::default()).await;
    for topic in ["orders", "orders.dead-letter"] {
        kafka.create_topic(topic, 6, &[]).await;
    }
    let gateway = Gateway::ours(config(kafka.bootstrap())).await?;
    let plan = Plan {
        target: gateway.address,
        shape: Shape::MarkedArray,
        events_per_s: Some(effort.counted_per_s),
        connections: 32,
        warm_up: Duration::ZERO,
        window: Duration::from_secs(effort.counted_s),
        first_event: 0,
    };
    let tally = load(&plan, |_| Ok(()))?;
    let (stored, aside) = (kafka.records("orders").await, kafka.records("orders.dead-letter").await);
    Ok(ended(&tally, &stored, &aside))
}

fn ended(tally: &Tally, stored: &[OwnedMessage], aside: &[OwnedMessage]) -> Ended {
    let times = |records: &[OwnedMessage]| {
        let mut times: HashMap<u64, u32> = HashMap::new();
        records.iter().filter_map(sequence).for_each(|number| *times.entry(number).or_default() += 1);
        times
    };
    let (in_topic, in_dead_letter) = (times(stored), times(aside));
    let with_reason: HashMap<u64, bool> =
        aside.iter().filter_map(|record| Some((sequence(record)?, says_why(record)))).collect();
    let mut ended = Ended::default();
    for number in tally.acked_first.iter().flat_map(|first| *first..first + 100) {
        let places = (in_topic.get(&number).copied(), in_dead_letter.get(&number).copied());
        if is_marked(number) {
            ended.bad += 1;
            let well = places == (None, Some(1)) && with_reason.get(&number) == Some(&true);
            ended.bad_kept_aside_once += u64::from(well);
        } else {
            ended.good += 1;
            ended.good_stored_once += u64::from(places == (Some(1), None));
        }
    }
    ended
}

fn says_why(record: &OwnedMessage) -> bool {
    let header = |name: &str| {
        let headers = record.headers()?;
        headers.iter().find(|header| header.key == name)?.value.map(<[u8]>::to_vec)
    };
    let plugin = header("weir-dead-letter-plugin").unwrap_or_default();
    header("weir-dead-letter-code").as_deref() == Some(b"trap")
        && header("weir-dead-letter-reason").is_some_and(|reason| !reason.is_empty())
        && plugin.starts_with(b"rogue@")
}

/// One route with a schema, and a plugin that traps on orders from the app.
fn config(bootstrap: &str) -> String {
    format!(
        r#"listen: {{listen}}
admin: {{admin}}
log: {{level: warn}}
schemas: "{schemas}"
plugins: {{rogue: {{path: "{rogue}"}}}}
kafka: {{brokers: ["{bootstrap}"], allow_weak_topics: true}}
routes:
  - name: orders
    key: data:/customer/user_id
    subject: orders.created
    plugins: [{{plugin: rogue, config: {{sin: panic, sign: {{field: "data:/channel", text: app}}}}}}]
    topic: orders
    topic_settings: {{partitions: 6, replication_factor: 1, min_insync_replicas: 1}}
    recent: false
"#,
        schemas = concat!(env!("CARGO_MANIFEST_DIR"), "/../schemas"),
        rogue = inputs::plugin("rogue").display(),
    )
}
