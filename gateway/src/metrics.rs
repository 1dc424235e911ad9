//! Every metric of the gateway, by name. Handles are resolved when the config is loaded; labels come from
//! the config and from fixed tables, never from an event.

mod visible;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use prometheus::{
    Encoder as _, GaugeVec, Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

pub use self::visible::Visible;
use crate::problem::{Code, Outcome};

/// All metrics of one process.
#[derive(Clone, Debug)]
pub struct Metrics {
    registry: Registry,
    events_in: IntCounterVec,
    events_out: IntCounterVec,
    stage_seconds: HistogramVec,
    request_seconds: HistogramVec,
    answers: Arc<Answers>,
    recent: IntCounterVec,
    shed: IntCounterVec,
    throttled: IntCounterVec,
    closed: [IntCounter; Closed::ALL.len()],
    aside: IntGaugeVec,
    recent_lag: IntGaugeVec,
    recent_stale: GaugeVec,
    recent_to_fill: IntGaugeVec,
    config_reloads: IntCounterVec,
    config_usable: IntGauge,
    config_since: IntGauge,
    log_lines_dropped: IntCounterVec,
    /// Bytes of events in the house, of the limit `in_flight_bytes_max`.
    pub in_flight_bytes: IntGauge,
    /// Bytes that may wait for Kafka before newcomers are shed.
    pub waiting_bytes_allowed: IntGauge,
    /// Open connections of the ingest listener.
    pub connections: IntGauge,
    /// Clients that follow a route's events.
    pub tail_subscribers: IntGauge,
}

/// The answers of the ingest listener by status, each counter made when it is first needed.
#[derive(Debug)]
struct Answers {
    counters: IntCounterVec,
    by_status: [OnceLock<IntCounter>; 600],
}

/// The parts of the path whose time is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A request's head to the last byte of its body.
    Body,
    /// Framed bytes to valid events.
    Check,
    /// The plugin chain, checks of what it changed included.
    Plugin,
    /// The last record handed over to the last report.
    Kafka,
}

impl Stage {
    const ALL: [(Stage, &'static str); 4] =
        [(Stage::Body, "body"), (Stage::Check, "check"), (Stage::Plugin, "plugin"), (Stage::Kafka, "kafka")];
}

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// To send events.
    Ingest,
    /// To look some up.
    Lookup,
}

impl Kind {
    const ALL: [(Kind, &'static str); 2] = [(Kind::Ingest, "ingest"), (Kind::Lookup, "lookup")];
}

/// Why the gateway ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Closed {
    /// Its address had as many as it may.
    Address,
    /// A request's head did not get on.
    Head,
    /// Nothing was asked for too long.
    Idle,
    /// It was told to end, for its age.
    Age,
}

impl Closed {
    const ALL: [(Closed, &'static str); 4] =
        [(Closed::Address, "address"), (Closed::Head, "head"), (Closed::Idle, "idle"), (Closed::Age, "age")];
}

/// The metrics of one route.
#[derive(Debug)]
pub struct RouteMetrics {
    name: String,
    events_in: IntCounter,
    events_out: IntCounterVec,
    by_outcome: [OnceLock<IntCounter>; Outcome::ALL.len()],
    by_code: Box<[OnceLock<IntCounter>]>,
    stages: [Histogram; Stage::ALL.len()],
    requests: [Histogram; Kind::ALL.len()],
}

/// From 10 µs to 10 s.
const SECONDS_BUCKETS: [f64; 13] =
    [1e-5, 5e-5, 1e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 0.1, 0.5, 2.0, 10.0];

impl Metrics {
    /// A registry of its own with every metric in it.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone())).map(|()| counter)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone())).map(|()| gauge)
        };
        let gauges = |name: &str, help: &str, labels: &[&str]| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(gauges.clone())).map(|()| gauges)
        };
        let seconds = |name: &str, help: &str, labels: &[&str]| {
            let seconds = HistogramOpts::new(name, help).buckets(SECONDS_BUCKETS.to_vec());
            let seconds = HistogramVec::new(seconds, labels)?;
            registry.register(Box::new(seconds.clone())).map(|()| seconds)
        };
        let stale = Opts::new(
            "weir_recent_stale_seconds",
            "Longest time since one of these partitions was known to be at the log's end.",
        );
        let recent_stale = GaugeVec::new(stale, &["topic"])?;
        registry.register(Box::new(recent_stale.clone()))?;
        let closed = counter(
            "weir_connections_closed_total",
            "Connections of the ingest listener that the gateway ended, by reason.",
            &["reason"],
        )?;
        let closed = Closed::ALL.map(|(_, reason)| closed.with_label_values(&[reason]));
        Ok(Metrics {
            closed,
            events_in: counter("weir_events_in_total", "Events framed, by route.", &["route"])?,
            events_out: counter(
                "weir_events_out_total",
                "Events by how they ended; the sum equals weir_events_in_total.",
                &["route", "outcome", "code"],
            )?,
            recent: counter("weir_recent_total", "What the read model did.", &["what"])?,
            shed: counter("weir_shed_total", "Requests shed for load, by reason.", &["reason"])?,
            throttled: counter(
                "weir_throttled_total",
                "Requests of tenants that sent more than they may, by what it was too much of.",
                &["tenant", "unit"],
            )?,
            answers: Arc::new(Answers {
                counters: counter(
                    "weir_http_answers_total",
                    "HTTP answers of the ingest listener.",
                    &["status"],
                )?,
                by_status: [const { OnceLock::new() }; 600],
            }),
            in_flight_bytes: gauge("weir_in_flight_bytes", "Bytes of events in the house, copies counted.")?,
            waiting_bytes_allowed: gauge(
                "weir_waiting_bytes_allowed",
                "Bytes that may wait for Kafka before new requests are shed.",
            )?,
            connections: gauge("weir_connections", "Open connections of the ingest listener.")?,
            tail_subscribers: gauge("weir_tail_subscribers", "Clients that follow a route's events.")?,
            config_reloads: counter(
                "weir_config_reloads_total",
                "Times the config was read, the start included, by whether it is in force since.",
                &["result"],
            )?,
            config_usable: gauge(
                "weir_config_last_reload_successful",
                "1 if the config in force is what was last read, 0 if that could not be used.",
            )?,
            config_since: gauge(
                "weir_config_last_reload_success_timestamp_seconds",
                "When the config in force came into force, Unix time.",
            )?,
            log_lines_dropped: counter(
                "weir_log_lines_dropped_total",
                "Lines of the log that standard error did not take at once.",
                &[],
            )?,
            stage_seconds: seconds(
                "weir_stage_seconds",
                "Time a chunk of events spent in a stage, by route and stage.",
                &["route", "stage"],
            )?,
            request_seconds: seconds(
                "weir_request_seconds",
                "Time from a request's head to that of its answer, by route and what it was for.",
                &["route", "kind"],
            )?,
            recent_lag: gauges(
                "weir_recent_lag_events",
                "Events between the read model and the log's end, in the partitions that this gateway reads.",
                &["topic"],
            )?,
            recent_stale,
            recent_to_fill: gauges(
                "weir_recent_to_fill_events",
                "Events older than those in the read model that are still to be filled in.",
                &["topic"],
            )?,
            aside: gauges(
                "weir_route_aside",
                "1 while a route's plugins run on a thread of their own, for being slow.",
                &["route"],
            )?,
            registry,
        })
    }

    /// The registry, for modules that own metrics of their own.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// The handles of one route; `name` must come from the config.
    pub fn route(&self, name: &str) -> Arc<RouteMetrics> {
        let stage = |(_, label): (Stage, &str)| self.stage_seconds.with_label_values(&[name, label]);
        let request = |(_, label): (Kind, &str)| self.request_seconds.with_label_values(&[name, label]);
        Arc::new(RouteMetrics {
            name: name.to_owned(),
            events_in: self.events_in.with_label_values(&[name]),
            events_out: self.events_out.clone(),
            by_outcome: Default::default(),
            by_code: Code::ALL.iter().map(|_| OnceLock::new()).collect(),
            stages: Stage::ALL.map(stage),
            requests: Kind::ALL.map(request),
        })
    }

    /// Counts one answer of the ingest listener.
    pub fn answered(&self, status: u16) {
        let Answers { counters, by_status } = &*self.answers;
        if let Some(slot) = by_status.get(usize::from(status)) {
            slot.get_or_init(|| counters.with_label_values(&[&status.to_string()])).inc();
        }
    }

    /// Counts a connection that the gateway ended.
    pub fn closed(&self, why: Closed) {
        self.closed[why as usize].inc();
    }

    /// The config was read, and is in force since or cannot be used.
    pub fn config_was_read(&self, usable: bool) {
        self.config_reloads.with_label_values(&[if usable { "in-force" } else { "refused" }]).inc();
        self.config_usable.set(usable.into());
        if usable {
            let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.config_since.set(i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        }
    }

    /// Forgets the states of routes and topics, some of which may not be configured any more.
    pub fn forget_states(&self) {
        [&self.aside, &self.recent_lag, &self.recent_to_fill].iter().for_each(|gauge| gauge.reset());
        self.recent_stale.reset();
    }

    /// Takes over what the read model has counted since the start.
    pub fn recent(&self, counts: &[(&str, u64)]) {
        counts.iter().for_each(|(what, count)| take_over(&self.recent, &[what], *count));
    }

    /// Takes over how many requests were shed since the start.
    pub fn shed(&self, counts: &[(&str, u64)]) {
        counts.iter().for_each(|(reason, count)| take_over(&self.shed, &[reason], *count));
    }

    /// Takes over how many lines of the log were left away since the start.
    pub fn log_lines_dropped(&self, count: u64) {
        take_over(&self.log_lines_dropped, &[], count);
    }

    /// Takes over how often a tenant was refused since the start; its name must come from the config.
    pub fn throttled(&self, tenant: &str, unit: &str, count: u64) {
        take_over(&self.throttled, &[tenant, unit], count);
    }

    /// How far the read model is behind, and what it has still to fill in; `topic` must come from the config.
    pub fn recent_lag(&self, topic: &str, events: i64, stale: Duration, to_fill: i64) {
        self.recent_to_fill.with_label_values(&[topic]).set(to_fill);
        self.recent_lag.with_label_values(&[topic]).set(events);
        self.recent_stale.with_label_values(&[topic]).set(stale.as_secs_f64());
    }

    /// Whether a route's plugins run aside; `route` must come from the config.
    pub fn route_aside(&self, route: &str, aside: bool) {
        self.aside.with_label_values(&[route]).set(aside.into());
    }

    /// The text format that scrapers read: of all, or of what is visible to one.
    pub fn render(&self, visible: Option<&Visible<'_>>) -> Vec<u8> {
        let (all, mut text) = (self.registry.gather(), Vec::new());
        let shown = match visible {
            Some(visible) => visible.of(all),
            None => all,
        };
        if let Err(error) = TextEncoder::new().encode(&shown, &mut text) {
            tracing::error!(%error, "metrics cannot be rendered");
        }
        text
    }
}

/// Brings a counter to what was counted elsewhere.
fn take_over(counters: &IntCounterVec, labels: &[&str], count: u64) {
    let counter = counters.with_label_values(labels);
    counter.inc_by(count.saturating_sub(counter.get()));
}

impl RouteMetrics {
    /// So many events were framed.
    pub fn events_in(&self, events: u64) {
        self.events_in.inc_by(events);
    }

    /// So many events ended with an outcome that needs no code.
    pub fn ended(&self, outcome: Outcome, events: u64) {
        let place = Outcome::ALL.iter().position(|known| *known == outcome).unwrap_or_default();
        self.counter(&self.by_outcome[place], outcome, "").inc_by(events);
    }

    /// One event ended with a code.
    pub fn ended_with(&self, code: Code) {
        self.counter(&self.by_code[code as usize], code.outcome(), code.name()).inc();
    }

    /// A stage took so long.
    pub fn took(&self, stage: Stage, time: Duration) {
        self.stages[stage as usize].observe(time.as_secs_f64());
    }

    /// A request was answered after so long.
    pub fn answered(&self, kind: Kind, time: Duration) {
        self.requests[kind as usize].observe(time.as_secs_f64());
    }

    fn counter<'a>(&'a self, slot: &'a OnceLock<IntCounter>, outcome: Outcome, code: &str) -> &'a IntCounter {
        slot.get_or_init(|| self.events_out.with_label_values(&[&self.name, outcome.name(), code]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_went_in_and_how_it_ended_is_in_the_text() {
        let metrics = Metrics::new().expect("registers");
        let route = metrics.route("orders");
        route.events_in(3);
        route.ended(Outcome::Stored, 2);
        route.ended_with(Code::SchemaViolation);
        let text = String::from_utf8(metrics.render(None)).expect("text");
        for line in [
            r#"weir_events_in_total{route="orders"} 3"#,
            r#"weir_events_out_total{code="",outcome="stored",route="orders"} 2"#,
            r#"weir_events_out_total{code="schema-violation",outcome="refused",route="orders"} 1"#,
        ] {
            assert!(text.contains(line), "{line} not in\n{text}");
        }
    }
}
