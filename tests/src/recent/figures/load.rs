//! Latency over HTTP: the highest open-loop rate of lookups that keeps its P99, the percentiles of each kind of lookup
//! at 70 % of it, and how long an acked event takes to be seen. Rate and percentiles are measured in turn, for the machine
//! is another one a minute later: percentiles at 70 % of what it could do before say little of what it does now.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};

use super::asks::{ById, ByKey, Dice, Event, Keys, Level, Nothing, Writes};
use super::stage::{Order, ROUTE, Receipt, Setup, Stage, Usage, target};
use super::sums::{Latency, Search, of_stream};
use super::traffic::{Asker, Stream, Traffic, span};
use super::{Figure, settle};
use crate::bench::Result;
use crate::bench::compare::median;
use crate::bench::pin::on;
use crate::world::Weir;

const EVENTS_PER_KEY: usize = 20;
const EVENTS_PER_WRITE: usize = 10;
const HIGHEST_P99_MS: f64 = 10.0;
const PERCENT_OF_HIGHEST: u64 = 70;
const CONNECTIONS: usize = 256;
const WARM_UP: Duration = Duration::from_millis(700);

/// How long and how much.
#[derive(Clone, Copy, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Seconds of one measured window.
    #[arg(long, default_value_t = 8)]
    pub seconds: u64,
    /// Rounds: the highest rate, and then a window of each kind of lookup at 70 % of it; medians count.
    #[arg(long, default_value_t = 5)]
    pub rounds: usize,
    /// Seconds of one try of a rate.
    #[arg(long, default_value_t = 3)]
    pub step_s: u64,
    /// The first rate tried, lookups a second; later rounds begin near the rate found last.
    #[arg(long, default_value_t = 1_000)]
    pub from: u64,
    /// Measure at this rate, and look for none.
    #[arg(long)]
    pub at: Option<u64>,
    /// Keys, each with 20 events at the start.
    #[arg(long, default_value_t = 2_000)]
    pub keys: usize,
    /// Events stored meanwhile a second, in arrays of ten.
    #[arg(long, default_value_t = 300)]
    pub writes_per_s: u64,
    /// Events whose way from ack to visible is measured.
    #[arg(long, default_value_t = 600)]
    pub visible: usize,
    /// Leave it to the kernel where Valkey and Kafka run, who of generator, Valkey and Kafka comes first, and whether a core
    /// falls asleep; otherwise they share the first core, come in this order (the first two in real time), which takes root,
    /// and no core does.
    #[arg(long)]
    pub no_ranks: bool,
}

/// One window of one kind of lookup.
#[derive(Debug, Serialize)]
struct Window {
    offered_per_s: u64,
    latency: Latency,
    /// Answers that were shorter than they must be.
    wrong: usize,
    usage: Usage,
}

impl Window {
    fn well(&self) -> bool {
        self.wrong == 0 && self.latency.answered_well() == 1.0
    }
}

/// A kind of lookup, and what its percentiles may be.
struct Kind {
    name: &'static str,
    asker: fn(&Arc<Keys>) -> Box<dyn Asker>,
    p99_ms_max: Option<f64>,
}

const KINDS: [Kind; 6] = [
    Kind { name: "floor, no lookup", asker: |_| Box::new(Nothing), p99_ms_max: None },
    Kind {
        name: "bounded, by key, 20 events",
        asker: |keys| Box::new(ByKey::new(keys, Level::Bounded, 20)),
        p99_ms_max: Some(5.0),
    },
    Kind {
        name: "token, by key, 20 events",
        asker: |keys| Box::new(ByKey::new(keys, Level::Token, 20)),
        p99_ms_max: Some(5.0),
    },
    Kind {
        name: "bounded, by key, 1 event",
        asker: |keys| Box::new(ByKey::new(keys, Level::Bounded, 1)),
        p99_ms_max: Some(2.0),
    },
    Kind {
        name: "by id",
        asker: |keys| Box::new(ById { count: keys.len() * EVENTS_PER_KEY, dice: Dice::new(1) }),
        p99_ms_max: Some(2.0),
    },
    Kind {
        name: "strong, by key, 20 events",
        asker: |keys| Box::new(ByKey::new(keys, Level::Strong, 20)),
        p99_ms_max: Some(50.0),
    },
];

/// Measures, prints, and fails if a figure is missed.
pub fn run(effort: &Effort) -> Result<()> {
    let order = if effort.no_ranks { Order::Kernel } else { Order::Apart };
    let stage = Stage::start(&Setup { order, ..Setup::default() })?;
    let weir = stage.gateway()?;
    let keys = Keys::new(effort.keys, stage.partitions);
    stage.preload(&weir, &keys, EVENTS_PER_KEY)?;
    let mut bench = Bench { effort, stage: &stage, weir: &weir, keys, next_event: 1_000_000_000 };
    let (mut highest, mut offered, mut steps) = (Vec::new(), Vec::new(), Vec::new());
    let mut windows: BTreeMap<&str, Vec<Window>> = BTreeMap::new();
    for _ in 0..effort.rounds.max(1) {
        let found = match effort.at {
            Some(_) => 0,
            None => bench.highest(highest.last().map_or(effort.from, |last| last * 4 / 5), &mut steps)?,
        };
        let rate = effort.at.unwrap_or(found * PERCENT_OF_HIGHEST / 100).max(1);
        for kind in &KINDS {
            let window =
                bench.window((kind.asker)(&bench.keys), rate, Duration::from_secs(effort.seconds))?;
            eprintln!("{:<28} {:?}", kind.name, window.latency);
            windows.entry(kind.name).or_default().push(window);
        }
        highest.push(found);
        offered.push(rate);
    }
    let delays = on(&stage.cores.load, || bench.visible())?;
    let middle = |rates: &[u64]| median(rates.iter().map(|rate| *rate as f64).collect());
    let mut figures = vec![
        Figure::new("highest rate with P99 <= 10 ms and no 503, lookups/s", middle(&highest)),
        Figure::new("offered: 70 % of it, lookups/s", middle(&offered)),
    ];
    for kind in &KINDS {
        let of = &windows[kind.name];
        let middle = |figure: fn(&Window) -> f64| median(of.iter().map(figure).collect());
        figures.push(Figure::new(format!("{}: P50, ms", kind.name), middle(|it| it.latency.p50_ms)));
        let p99 = Figure::new(format!("{}: P99, ms", kind.name), middle(|it| it.latency.p99_ms));
        let Some(most) = kind.p99_ms_max else {
            figures.push(p99);
            continue;
        };
        figures.push(p99.at_most(most));
        let well = of.iter().filter(|window| window.well()).count() as f64 / of.len() as f64;
        figures.push(Figure::new(format!("{}: windows without a 503", kind.name), well).at_least(1.0));
    }
    figures.push(Figure::new("events from ack to visible", delays.latency.requests as f64).at_least(500.0));
    figures.push(Figure::new("ack to visible: P50, ms", delays.latency.p50_ms).at_most(10.0));
    figures.push(Figure::new("ack to visible: P99, ms", delays.latency.p99_ms).at_most(50.0));
    println!(
        "\ngenerator, Valkey, Kafka: {}",
        if effort.no_ranks {
            "as the kernel likes"
        } else {
            "on one core, in this order, and no core falls asleep"
        }
    );
    settle("load", effort, &figures, &json!({"steps": steps, "windows": windows, "visible": delays}))
}

struct Bench<'a> {
    effort: &'a Effort,
    stage: &'a Stage,
    weir: &'a Weir,
    keys: Arc<Keys>,
    next_event: u64,
}

/// From ack to visible.
#[derive(Debug, Serialize)]
struct Visible {
    latency: Latency,
    /// How often was asked until it was.
    lookups: usize,
}

impl Bench<'_> {
    /// The highest rate that holds, from a first try on; every step on the way there is noted.
    fn highest(&mut self, from: u64, steps: &mut Vec<Value>) -> Result<u64> {
        let mut search = Search::from(from);
        while let Some(rate) = search.next() {
            let mut held = [0, 0];
            // Two tries that agree decide: one that somebody else disturbed does not.
            while held.iter().all(|tries| *tries < 2) {
                let asker = Box::new(ByKey::new(&self.keys, Level::Bounded, 20));
                let window = self.window(asker, rate, Duration::from_secs(self.effort.step_s))?;
                let holds = window.well() && window.latency.p99_ms <= HIGHEST_P99_MS;
                let latency = &window.latency;
                let cores = &window.usage.cores;
                eprintln!(
                    "{rate}/s: P50 {:.2} P99 {:.2} ms, gateway {:.2} of a core: {holds}",
                    latency.p50_ms, latency.p99_ms, cores["gateway"]
                );
                steps.push(json!({"rate": rate, "holds": holds, "window": window}));
                held[usize::from(holds)] += 1;
            }
            search.note(rate, held[1] == 2);
        }
        Ok(search.highest())
    }

    /// Offers lookups, and some writes beside them, for as long as that.
    fn window(&mut self, asker: Box<dyn Asker>, per_s: u64, length: Duration) -> Result<Window> {
        let lookups = Stream { asker, rate: super::traffic::Rate::new(per_s), connections: CONNECTIONS };
        let traffic = Traffic::start(vec![target(self.weir)?], vec![lookups, self.writes()], self.stage.seat);
        span(WARM_UP);
        let begin = self.stage.readings(&[self.weir])?;
        let window = span(length);
        let usage = begin.until(&self.stage.readings(&[self.weir])?);
        let samples = traffic.end()?;
        Ok(Window {
            offered_per_s: per_s,
            latency: Latency::of(of_stream(&samples, 0, &window)),
            wrong: of_stream(&samples, 0, &window).filter(|sample| !sample.right).count(),
            usage,
        })
    }

    fn writes(&mut self) -> Stream {
        self.next_event += 10_000_000;
        let writes = Writes::new(&self.keys, EVENTS_PER_WRITE, self.next_event);
        Stream::new(writes, self.effort.writes_per_s / EVENTS_PER_WRITE as u64, 64)
    }

    /// Stores one event after the other, and asks for each until it is there.
    fn visible(&mut self) -> Result<Visible> {
        let traffic = Traffic::start(vec![target(self.weir)?], vec![self.writes()], self.stage.seat);
        let delays = self.stage.runtime.block_on(delays(self.weir, self.effort.visible));
        traffic.end()?;
        let (delays, lookups) = delays?;
        let sample = |delay: &Duration| super::traffic::Sample {
            due: Instant::now(),
            latency_us: u32::try_from(delay.as_micros()).unwrap_or(u32::MAX),
            stream: 0,
            status: 200,
            hit: true,
            right: true,
            tag: 0,
        };
        let samples: Vec<_> = delays.iter().map(sample).collect();
        Ok(Visible { latency: Latency::of(samples.iter()), lookups })
    }
}

/// The time from each ack to the first answer that reaches the event, and the lookups it took.
async fn delays(weir: &Weir, count: usize) -> Result<(Vec<Duration>, usize)> {
    let http = reqwest::Client::new();
    let (mut delays, mut lookups) = (Vec::new(), 0);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 0..count {
        ticks.tick().await;
        let key = format!("visible-{}", number % 100);
        let mut body = Vec::new();
        Event { number: 900_000_000_000 + number as u64, key: &key }.write(&mut body);
        let request = http.post(weir.url(&format!("/v1/events/{ROUTE}")));
        let answer = request.header("content-type", "application/json").body(body).send().await?;
        let answer = answer.error_for_status()?.bytes().await?;
        let acked = Instant::now();
        let receipt: Receipt = serde_json::from_slice(&answer)?;
        let url = weir.url(&format!("/v1/events/{ROUTE}?limit=1&key={key}"));
        loop {
            lookups += 1;
            let page = http.get(&url).send().await?.error_for_status()?.bytes().await?;
            let page: Value = serde_json::from_slice(&page)?;
            if page["as_of"]["offset"].as_i64().is_some_and(|reaches| reaches >= receipt.offset) {
                delays.push(acked.elapsed());
                let newest = page["events"][0]["offset"].as_i64();
                if newest != Some(receipt.offset) {
                    return Err(format!("{key} at {}: its newest event is {newest:?}", receipt.offset).into());
                }
                break;
            }
            if acked.elapsed() > Duration::from_secs(10) {
                return Err(format!("{key} at {} is not to be seen", receipt.offset).into());
            }
        }
    }
    Ok((delays, lookups))
}
