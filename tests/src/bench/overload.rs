//! More than a gateway can do: what it takes in then, how fast, and what it says to all others.
//! The gateway is capped by its Kafka, whose answers take a fixed time, few records in each: that holds on any machine,
//! and leaves CPU to offer ten times as much.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use serde::Serialize;

use super::Result;
use super::cpu::Sample;
use super::load::{Moment, Plan, Tally, run as offer};
use super::payload::Shape;
use super::pin::{Cores, on};
use super::process::{Gateway, Sink, Workbench};

/// Records in one request to Kafka. librdkafka's idempotent producer sends the next one of a partition after the answer.
const BATCH_RECORDS: u32 = 10;
const CONNECTIONS: usize = 512;
const BUDGET_BYTES: u64 = 32 << 20;
/// What is promised.
const GOODPUT_MIN: f64 = 0.9;
/// The target is so many times the P99 at 0.8 of the peak: acks of a load that can be sustained are no sign of too much.
const TARGET_RATIO: f64 = 1.25;
const P99_RATIO_MAX: f64 = 2.0;
const MEMORY_RATIO_MAX: f64 = 1.3;

/// How long, and how slow the sink is.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    /// One measured window.
    pub window: Duration,
    /// The same load before it.
    pub warm_up: Duration,
    /// What each answer of the sink takes.
    pub delay: Duration,
}

/// What became of one load.
#[derive(Debug, Serialize)]
pub struct Load {
    /// Of the sustainable rate.
    pub times: f64,
    /// Events a second, one in each request.
    pub offered_per_s: f64,
    /// Stored.
    pub goodput_per_s: f64,
    /// From the due time to the answer, of those that were stored.
    pub accepted_p50_ms: f64,
    /// See `accepted_p50_ms`.
    pub accepted_p99_ms: f64,
    /// From the due time to the answer, of all.
    pub all_p99_ms: f64,
    /// Due and not sent, because every connection was waiting: the generator was behind.
    pub backlog_requests: u64,
    /// The share of one core the gateway used: near 1, the worker is the limit and not the sink.
    pub gateway_cores: f64,
    /// Answers by status, warm-up included.
    pub statuses: BTreeMap<u16, u64>,
    /// Refusals without `Retry-After`.
    pub untold_refusals: u64,
}

/// Everything one run found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// What the sink can take at most, by its delay.
    pub cap_per_s: f64,
    /// How the cap is made.
    pub cap: String,
    /// `limits.ack_target_ms`: from the P99 at 0.8 of the peak.
    pub ack_target_ms: u64,
    /// The most that was stored a second, with all connections kept busy.
    pub peak_per_s: f64,
    /// The loads, in the order they were offered.
    pub loads: Vec<Load>,
    /// Of the gateway, before the loads.
    pub base_bytes: u64,
    /// Of the gateway, at its highest.
    pub highest_bytes: u64,
    /// `limits.in_flight_bytes_max`.
    pub budget_bytes: u64,
    /// What was promised, and whether it was kept.
    pub promises: BTreeMap<String, bool>,
}

/// Finds the sustainable rate, then offers parts and multiples of it.
pub fn run(workbench: &Workbench, cores: &Cores, effort: Effort) -> Result<Report> {
    let delay_ms = effort.delay.as_millis();
    let sink = Sink::slow(workbench, &["orders"], effort.delay)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let start = |target_ms: u64| {
        let config = config(&workbench.config(&sink.bootstrap), target_ms);
        on(&cores.gateway, || runtime.block_on(Gateway::ours(config)))
    };
    let short = Effort { window: effort.window.min(Duration::from_secs(10)), ..effort };
    let mut first_event = 0;
    let mut at = |gateway: &Gateway, rate: Option<f64>, effort: Effort| -> Result<(Tally, f64)> {
        let mut samples = Vec::with_capacity(2);
        let tally = offer(&plan(gateway, rate, effort, first_event), |_: Moment| {
            samples.push(Sample::take(gateway.pid())?);
            Ok(())
        })?;
        first_event = tally.next_event;
        let [begin, end] = samples.as_slice() else { return Err("a load without its two moments".into()) };
        let spent = end.since(begin);
        Ok((tally, spent.cpu_s / spent.wall_s))
    };
    let unlimited = start(10_000)?;
    let (tally, _) = at(&unlimited, None, short)?;
    let peak_per_s = tally.acked_events as f64 / tally.window_s;
    let (tally, _) = at(&unlimited, Some(0.8 * peak_per_s), short)?;
    let ack_target_ms = whole((TARGET_RATIO * ms(&tally, 0.99)).ceil());
    drop(unlimited);

    let gateway = start(ack_target_ms)?;
    at(&gateway, Some(0.8 * peak_per_s), Effort { window: Duration::from_secs(1), ..effort })?;
    let base_bytes = memory_bytes(&gateway, "VmRSS")?;
    let mut loads = Vec::new();
    for times in [0.8, 2.0, 10.0, 0.8] {
        let rate = times * peak_per_s;
        let (tally, cores) = at(&gateway, Some(rate), effort)?;
        let load = Load::new(times, rate, &tally, cores);
        eprintln!("{}", load.line());
        loads.push(load);
    }
    let mut report = Report {
        cap_per_s: f64::from(BATCH_RECORDS) / effort.delay.as_secs_f64(),
        cap: format!(
            "the sink answers after {delay_ms} ms, one request at a time, {BATCH_RECORDS} records in each"
        ),
        ack_target_ms,
        peak_per_s,
        loads,
        base_bytes,
        highest_bytes: memory_bytes(&gateway, "VmHWM")?,
        budget_bytes: BUDGET_BYTES,
        promises: BTreeMap::new(),
    };
    report.promises = report.judge();
    Ok(report)
}

/// Ours with one worker, its way to Kafka narrowed, and these limits.
fn config(ours: &str, ack_target_ms: u64) -> String {
    let narrow = format!("allow_weak_topics: true\n  properties: {{ batch.num.messages: {BATCH_RECORDS} }}");
    let limits = format!(
        "workers: 1\nlimits: {{ in_flight_bytes_max: {BUDGET_BYTES}, ack_target_ms: {ack_target_ms} }}\n"
    );
    limits + &ours.replace("allow_weak_topics: true", &narrow)
}

fn plan(gateway: &Gateway, rate: Option<f64>, effort: Effort, first_event: u64) -> Plan {
    Plan {
        target: gateway.address,
        shape: Shape::Single,
        events_per_s: rate.map(whole),
        connections: CONNECTIONS,
        warm_up: effort.warm_up,
        window: effort.window,
        first_event,
    }
}

fn ms(tally: &Tally, quantile: f64) -> f64 {
    tally.accepted_us.value_at_quantile(quantile) as f64 / 1e3
}

/// A line of the process's status, in bytes.
fn memory_bytes(gateway: &Gateway, name: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")).ok_or("a process without memory")?;
    Ok(1024 * kib.parse::<u64>()?)
}

impl Load {
    fn new(times: f64, offered_per_s: f64, tally: &Tally, gateway_cores: f64) -> Load {
        Load {
            times,
            offered_per_s,
            goodput_per_s: tally.acked_events as f64 / tally.window_s,
            accepted_p50_ms: ms(tally, 0.5),
            accepted_p99_ms: ms(tally, 0.99),
            all_p99_ms: tally.latency_us.value_at_quantile(0.99) as f64 / 1e3,
            backlog_requests: tally.backlog_requests,
            gateway_cores,
            statuses: tally.statuses.clone(),
            untold_refusals: tally.untold_refusals,
        }
    }

    fn line(&self) -> String {
        format!(
            "{:>5.1}x {:>8.0}/s offered {:>8.0}/s stored, P50 {:>7.1} ms P99 {:>7.1} ms, of all P99 {:>7.1} ms; {:?}, \
             {} without Retry-After, backlog {}, {:.2} cores",
            self.times,
            self.offered_per_s,
            self.goodput_per_s,
            self.accepted_p50_ms,
            self.accepted_p99_ms,
            self.all_p99_ms,
            self.statuses,
            self.untold_refusals,
            self.backlog_requests,
            self.gateway_cores,
        )
    }
}

impl Report {
    fn judge(&self) -> BTreeMap<String, bool> {
        let calm_ms = self.loads.first().map_or(f64::NAN, |load| load.accepted_p99_ms);
        let over = || self.loads.iter().filter(|load| load.times > 1.0);
        let goodput = over().all(|load| load.goodput_per_s >= GOODPUT_MIN * self.peak_per_s);
        let latency = over().all(|load| load.accepted_p99_ms <= P99_RATIO_MAX * calm_ms);
        let told = self.loads.iter().all(|load| load.untold_refusals == 0);
        let known = |status: &u16| matches!(status, 201 | 503);
        let honest = self.loads.iter().all(|load| load.statuses.keys().all(known));
        let grown = self.highest_bytes.saturating_sub(self.base_bytes) as f64;
        let [first, .., last] = self.loads.as_slice() else { return BTreeMap::new() };
        let recovered = last.goodput_per_s >= 0.99 * first.goodput_per_s;
        let promises = [
            ("goodput at least 0.9 of the peak", goodput),
            ("P99 of what is accepted at most twice that at 0.8", latency),
            ("every refusal says when to come again", told),
            ("every answer is 201 or 503", honest),
            ("memory within base and 1.3 times the budget", grown <= MEMORY_RATIO_MAX * BUDGET_BYTES as f64),
            ("afterwards all of 0.8 is stored again", recovered),
        ];
        promises.map(|(name, kept)| (name.to_owned(), kept)).into()
    }

    /// Whether every promise was kept.
    pub fn met(&self) -> bool {
        self.promises.values().all(|kept| *kept)
    }

    /// The table.
    pub fn print(&self) {
        println!("\ncap: {:.0}/s: {}; ack_target_ms: {}", self.cap_per_s, self.cap, self.ack_target_ms);
        println!("sustainable: {:.0}/s", self.peak_per_s);
        for load in &self.loads {
            println!("{}", load.line());
        }
        let [base, highest, budget] = [self.base_bytes, self.highest_bytes, self.budget_bytes]
            .map(|bytes| bytes as f64 / f64::from(1 << 20));
        println!("memory: {base:.0} MiB before, {highest:.0} at the highest; the budget is {budget:.0}");
        for (promise, kept) in &self.promises {
            println!("{}: {promise}", if *kept { "kept" } else { "MISSED" });
        }
    }

    /// Writes all of it to `overload.json` in `directory`.
    pub fn write(&self, directory: &Path) -> Result<()> {
        let path = directory.join("overload.json");
        fs::write(&path, serde_json::to_vec_pretty(self)?)?;
        println!("every figure: {}", path.display());
        Ok(())
    }
}

/// The whole part of a figure that was measured.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates and times are positive and small"
)]
fn whole(figure: f64) -> u64 {
    figure as u64
}
