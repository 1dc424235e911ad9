//! Arithmetic on what was measured: percentiles, shares, the search for the highest rate. Pure.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Instant;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::traffic::Sample;

/// Latency of many requests, from when they were due.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Latency {
    pub(super) requests: u64,
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    pub(super) statuses: BTreeMap<u16, u64>,
}

impl Latency {
    pub(super) fn of<'a>(samples: impl Iterator<Item = &'a Sample>) -> Latency {
        let mut histogram: Histogram<u64> = Histogram::new_with_bounds(1, 120_000_000, 3).expect("bounds");
        let mut statuses = BTreeMap::new();
        for sample in samples {
            histogram.saturating_record(u64::from(sample.latency_us));
            *statuses.entry(sample.status).or_default() += 1;
        }
        let ms = |quantile| match histogram.len() {
            0 => f64::NAN,
            _ => histogram.value_at_quantile(quantile) as f64 / 1e3,
        };
        Latency { requests: histogram.len(), p50_ms: ms(0.5), p99_ms: ms(0.99), max_ms: ms(1.0), statuses }
    }

    /// The share of requests that were answered 200 or 201.
    pub(super) fn answered_well(&self) -> f64 {
        let well: u64 = [200, 201].iter().filter_map(|status| self.statuses.get(status)).sum();
        ratio(well, self.requests)
    }
}

/// The samples of one stream that were due within a span.
pub(super) fn of_stream<'a>(
    samples: &'a [Sample],
    stream: u8,
    span: &Range<Instant>,
) -> impl Iterator<Item = &'a Sample> {
    let span = span.clone();
    samples.iter().filter(move |sample| sample.stream == stream && span.contains(&sample.due))
}

/// How many lookups were answered 200 from Valkey alone, of all that were asked.
pub(super) fn hit_rate<'a>(samples: impl Iterator<Item = &'a Sample>) -> f64 {
    let (mut hits, mut asked) = (0, 0);
    for sample in samples {
        asked += 1;
        hits += u64::from(sample.status == 200 && sample.hit);
    }
    ratio(hits, asked)
}

/// What a cache hits that forgets a key at each write to it, if keys are read and written alike, without order: the
/// last thing that happened to a key was a read.
pub(super) fn naive_hit_rate(reads_per_s: u64, writes_per_s: u64) -> f64 {
    ratio(reads_per_s, reads_per_s + writes_per_s)
}

/// NaN of nothing.
pub(super) fn ratio(part: u64, whole: u64) -> f64 {
    if whole == 0 { f64::NAN } else { part as f64 / whole as f64 }
}

/// The search for the highest rate that holds: upwards by halves until one fails, then by bisection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    from: u64,
    holds: Option<u64>,
    fails: Option<u64>,
}

impl Search {
    /// Rates this close are one.
    const RESOLUTION: f64 = 0.05;

    pub(super) fn from(rate: u64) -> Search {
        Search { from: rate.max(1), holds: None, fails: None }
    }

    /// The rate to try next; `None` once it is known well enough.
    pub(super) fn next(&self) -> Option<u64> {
        match (self.holds, self.fails) {
            (None, None) => Some(self.from),
            (Some(holds), None) => Some(holds + holds.div_ceil(2)),
            (None, Some(fails)) => Some(fails / 2).filter(|rate| *rate > 0),
            (Some(holds), Some(fails)) => {
                let wide = (fails - holds) as f64 > Self::RESOLUTION * holds as f64;
                Some(holds.midpoint(fails)).filter(|rate| wide && *rate > holds)
            }
        }
    }

    pub(super) fn note(&mut self, rate: u64, held: bool) {
        if held {
            self.holds = self.holds.max(Some(rate));
        } else {
            self.fails = Some(self.fails.map_or(rate, |fails| fails.min(rate)));
        }
    }

    /// The highest rate that held.
    pub(super) fn highest(&self) -> u64 {
        self.holds.unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(latency_us: u32, status: u16, hit: bool) -> Sample {
        Sample { due: Instant::now(), latency_us, stream: 0, status, hit, right: true, tag: 0 }
    }

    #[test]
    fn the_search_ends_just_below_the_limit() {
        for limit in [1, 3, 40, 999, 1_000, 1_001, 7_777] {
            let mut search = Search::from(1_000);
            let mut tries = 0;
            while let Some(rate) = search.next() {
                search.note(rate, rate <= limit);
                tries += 1;
                assert!(tries < 30, "limit {limit}: {search:?}");
            }
            let found = search.highest();
            assert!(found <= limit && found as f64 >= 0.94 * limit as f64, "limit {limit}: {found}");
        }
        let mut none = Search::from(8);
        while let Some(rate) = none.next() {
            none.note(rate, false);
        }
        assert_eq!(none.highest(), 0);
    }

    #[test]
    fn a_hit_is_a_200_from_the_store_alone() {
        let samples =
            [sample(1, 200, true), sample(1, 200, false), sample(1, 503, false), sample(1, 200, true)];
        assert_eq!(hit_rate(samples.iter()), 0.5);
        assert!(hit_rate([].iter()).is_nan());
        assert_eq!(naive_hit_rate(1_000, 1_000), 0.5);
        assert_eq!(naive_hit_rate(1_000, 0), 1.0);
    }

    #[test]
    fn percentiles_and_statuses() {
        let samples: Vec<_> =
            (1..=100).map(|ms| sample(ms * 1_000, if ms == 100 { 503 } else { 200 }, true)).collect();
        let latency = Latency::of(samples.iter());
        assert!((latency.p50_ms - 50.0).abs() < 0.5 && (latency.p99_ms - 99.0).abs() < 0.5, "{latency:?}");
        assert_eq!(latency.answered_well(), 0.99);
        assert!(Latency::of([].iter()).p99_ms.is_nan());
    }
}
