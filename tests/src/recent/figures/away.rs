//! Every Valkey node is away for a minute while events come in: what ingest notices, and what lookups answer meanwhile.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::asks::{ById, ByKey, ByPosition, Dice, Keys, Level, Writes};
use super::stage::{PATIENCE, ROUTE, Setup, Stage, caught_up, target};
use super::sums::{Latency, of_stream};
use super::traffic::{Stream, Traffic, span};
use super::{Figure, settle};
use crate::bench::Result;
use crate::bench::compare::median;
use crate::world::{Weir, until};

const EVENTS_PER_KEY: usize = 20;
const INGEST: u8 = 0;
const LOOKUPS: [&str; 3] = ["bounded by key", "by id", "by position"];
const BY_POSITION: &str = LOOKUPS[2];

/// How long and how much.
#[derive(Clone, Copy, Debug, clap::Args, Serialize)]
pub struct Effort {
    /// Pairs of a window with Valkey and one without; the order changes from pair to pair.
    #[arg(long, default_value_t = 5)]
    pub alternations: usize,
    /// Seconds of one window.
    #[arg(long, default_value_t = 60)]
    pub seconds: u64,
    /// Events stored a second, one in a request.
    #[arg(long, default_value_t = 1_000)]
    pub writes_per_s: u64,
    /// Lookups a second of each of three kinds.
    #[arg(long, default_value_t = 5)]
    pub reads_per_s: u64,
    /// Keys, each with 20 events at the start.
    #[arg(long, default_value_t = 1_000)]
    pub keys: usize,
}

/// One window.
#[derive(Debug, Serialize)]
struct Window {
    valkey_is_up: bool,
    ingest: Latency,
    lookups: BTreeMap<&'static str, Latency>,
}

impl Window {
    fn ingest_errors(&self) -> u64 {
        self.ingest.requests - self.ingest.statuses.get(&201).copied().unwrap_or(0)
    }

    fn unanswered_by_position(&self) -> u64 {
        let by_position = &self.lookups[BY_POSITION];
        by_position.requests - by_position.statuses.get(&200).copied().unwrap_or(0)
    }
}

/// Measures, prints, and fails if a figure is missed.
pub fn run(effort: &Effort) -> Result<()> {
    let stage = Stage::start(&Setup::default())?;
    let weir = stage.gateway()?;
    let keys = Keys::new(effort.keys, stage.partitions);
    stage.preload(&weir, &keys, EVENTS_PER_KEY)?;
    let old = Keys::new(effort.keys, stage.partitions);
    (0..keys.len()).for_each(|key| old.stored(key, keys.partition(key), keys.newest(key)));
    let count = effort.keys * EVENTS_PER_KEY;
    let streams = vec![
        Stream::new(Writes::new(&keys, 1, 1_000_000_000), effort.writes_per_s, 256),
        Stream::new(ByKey::new(&keys, Level::Bounded, 20), effort.reads_per_s, 32),
        Stream::new(ById { count, dice: Dice::new(2) }, effort.reads_per_s, 32),
        // Half the positions are of the start, half of lately.
        Stream::new(ByPosition { keys: old, dice: Dice::new(3) }, effort.reads_per_s.div_ceil(2), 32),
        Stream::new(ByPosition { keys, dice: Dice::new(4) }, effort.reads_per_s / 2, 32),
    ];
    let traffic = Traffic::start(vec![target(&weir)?], streams, stage.seat);
    span(Duration::from_secs(3));
    let (mut spans, mut is_up) = (Vec::new(), true);
    for number in 0..effort.alternations.max(1) {
        let first = number % 2 == 0;
        for up in [first, !first] {
            if up != is_up {
                switch(&stage, &weir, up)?;
                is_up = up;
            }
            spans.push((up, span(Duration::from_secs(effort.seconds))));
            eprintln!("alternation {number}, Valkey {}", if up { "up" } else { "away" });
        }
    }
    let samples = traffic.end()?;
    let window = |(up, span): &(bool, std::ops::Range<Instant>)| {
        let of = |streams: &[u8]| {
            let all = streams.iter().flat_map(|stream| of_stream(&samples, *stream, span));
            Latency::of(all)
        };
        let lookups = LOOKUPS.into_iter().zip([of(&[1]), of(&[2]), of(&[3, 4])]).collect();
        Window { valkey_is_up: *up, ingest: of(&[INGEST]), lookups }
    };
    let windows: Vec<Window> = spans.iter().map(window).collect();
    let wrong = samples.iter().filter(|sample| sample.stream >= 3 && !sample.right).count();
    settle("away", effort, &figures(&windows, wrong), &json!({"windows": windows, "wrong": wrong}))
}

/// Takes Valkey away, or brings it back, empty, and waits until lookups are as before.
fn switch(stage: &Stage, weir: &Weir, up: bool) -> Result<()> {
    if !up {
        stage.valkey.stop_all();
        return Ok(());
    }
    stage.runtime.block_on(async {
        stage.valkey.start_all().await;
        let url = weir.url(&format!("/v1/events/{ROUTE}?limit=1&key=u-000000"));
        until("lookups are answered again", PATIENCE, async || {
            reqwest::get(&url).await.ok().filter(|answer| answer.status() == 200)
        })
        .await;
        caught_up(weir).await;
    });
    Ok(())
}

fn figures(windows: &[Window], wrong: usize) -> Vec<Figure> {
    let of = |up: bool| windows.iter().filter(move |window| window.valkey_is_up == up);
    // A pair's ratio, whichever of the two came first.
    let ratios = |figure: fn(&Latency) -> f64| {
        of(false).zip(of(true)).map(|(away, up)| figure(&away.ingest) / figure(&up.ingest)).collect()
    };
    let errors = |up| of(up).map(Window::ingest_errors).sum::<u64>() as f64;
    let middle =
        |up: bool, figure: fn(&Latency) -> f64| median(of(up).map(|window| figure(&window.ingest)).collect());
    let shortest = of(false).map(|window| window.ingest.requests).min().unwrap_or(0);
    let mut figures = vec![
        Figure::new("alternations", of(false).count() as f64).at_least(5.0),
        Figure::new("events in the shortest window without Valkey", shortest as f64),
        Figure::new("ingest errors, Valkey up", errors(true)).at_most(0.0),
        Figure::new("ingest errors, Valkey away", errors(false)).at_most(0.0),
        Figure::new("ingest P50, away over up (median)", median(ratios(|it| it.p50_ms))).at_most(1.1),
        Figure::new("ingest P99, away over up (median)", median(ratios(|it| it.p99_ms))).at_most(1.3),
        Figure::new("ingest P50 up, ms (median)", middle(true, |it| it.p50_ms)),
        Figure::new("ingest P50 away, ms (median)", middle(false, |it| it.p50_ms)),
        Figure::new("ingest P99 up, ms (median)", middle(true, |it| it.p99_ms)),
        Figure::new("ingest P99 away, ms (median)", middle(false, |it| it.p99_ms)),
    ];
    for (up, when) in [(true, "up"), (false, "away")] {
        let unanswered: u64 = of(up).map(Window::unanswered_by_position).sum();
        let name = format!("by position not answered 200, Valkey {when}");
        figures.push(Figure::new(name, unanswered as f64).at_most(0.0));
        for kind in LOOKUPS {
            let mut statuses: BTreeMap<u16, u64> = BTreeMap::new();
            for (status, count) in of(up).flat_map(|window| &window.lookups[kind].statuses) {
                *statuses.entry(*status).or_default() += count;
            }
            for (status, count) in statuses {
                figures
                    .push(Figure::new(format!("  {kind}, Valkey {when}, answered {status}"), count as f64));
            }
        }
    }
    figures.push(Figure::new("by position, another key's event", wrong as f64).at_most(0.0));
    figures
}
