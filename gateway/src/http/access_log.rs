//! The access log: at most one line for each request of the public listener, and under load for as many as a worker may
//! write. Refusals and failures have lines of their own number, so that a flood of the ones hides none of the others.
//! Routes are told by their names, never by the path that was asked for; nothing of a body or a query is.

use std::cell::Cell;
use std::time::{Duration, Instant};

use axum::body::Body;
use http::Response;

use super::summary::{Head, Summary, code};
use crate::access::Identity;
use crate::event::trace::Parent;
use crate::problem::Code;

/// Which requests have a line. One that has none is counted, and the next line says of how many it is the last.
///
/// Lines are due at even distances, and may come ahead of that by what there is in a second: a few requests have all of
/// theirs, and of many each part of a second is shown.
#[derive(Clone, Copy, Debug)]
struct Sampler {
    pause: Duration,
    due: Instant,
    skipped: u64,
}

impl Sampler {
    /// As many lines in a second; at least one.
    fn new(lines_per_s_max: u32, now: Instant) -> Self {
        Sampler { pause: Duration::from_secs(1) / lines_per_s_max.max(1), due: now, skipped: 0 }
    }

    /// Whether a request that ends now has a line: then how many before it had none.
    fn take(&mut self, now: Instant) -> Option<u64> {
        let due = self.due.max(now) + self.pause;
        if due > now + Duration::from_secs(1) {
            self.skipped += 1;
            return None;
        }
        self.due = due;
        Some(std::mem::take(&mut self.skipped))
    }
}

/// The access log of one worker.
#[derive(Debug)]
pub struct AccessLog(Option<Samplers>);

#[derive(Debug)]
struct Samplers {
    well: Cell<Sampler>,
    others: Cell<Sampler>,
}

impl AccessLog {
    /// A log of so many lines in a second for what went well, and as many for the rest; 0: none.
    pub fn new(lines_per_s_max: u32) -> Self {
        let sampler = || Cell::new(Sampler::new(lines_per_s_max, Instant::now()));
        AccessLog((lines_per_s_max > 0).then(|| Samplers { well: sampler(), others: sampler() }))
    }

    /// A request that began at `begun` is answered now.
    pub(super) fn answered(
        &self,
        head: &Head,
        summary: &Summary,
        response: &Response<Body>,
        (begun, now): (Instant, Instant),
    ) {
        let Some(Samplers { well, others }) = &self.0 else { return };
        let (code, status) = (code(response), response.status().as_u16());
        let sampler = if code.is_none() && (status < 400 && status != 207) { well } else { others };
        let mut turn = sampler.get();
        let skipped = turn.take(now);
        sampler.set(turn);
        if let Some(skipped) = skipped {
            write(head, summary, (status, code), now.saturating_duration_since(begun), skipped);
        }
    }
}

fn write(head: &Head, summary: &Summary, (status, code): (u16, Option<Code>), took: Duration, skipped: u64) {
    let who = summary.who.as_deref();
    tracing::info!(
        target: "access",
        method = head.method,
        route = summary.route.as_deref().map_or("none", |route| &route.name),
        status,
        code = code.map(Code::name),
        who = who.map(Identity::name),
        tenant = who.and_then(Identity::tenant).map(crate::access::Tenant::name),
        events = summary.events,
        bytes = summary.announced,
        duration_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        version = ?head.version,
        trace = head.traceparent().and_then(Parent::of).map(|parent| parent.trace),
        skipped,
        "request"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn at_a_low_rate_every_request_has_a_line() {
        let mut now = Instant::now();
        let mut sampler = Sampler::new(50, now);
        for _ in 0..200 {
            now += SECOND / 50;
            assert_eq!(sampler.take(now), Some(0));
        }
    }

    #[test]
    fn of_a_flood_lines_are_bounded_spread_and_say_how_many_they_stand_for() {
        let start = Instant::now();
        let mut sampler = Sampler::new(50, start);
        let (mut lines, mut told) = (Vec::new(), 0);
        for request in 0..100_000_u32 {
            // 10 s of 10 000 a second.
            let now = start + request * (SECOND / 10_000);
            if let Some(skipped) = sampler.take(now) {
                lines.push(now);
                told += 1 + skipped;
            }
        }
        assert!((545..=550).contains(&lines.len()), "50 at once and 50 a second: {}", lines.len());
        assert_eq!(told + sampler.skipped, 100_000);
        let later = lines.iter().filter(|line| **line >= start + SECOND);
        let gaps: Vec<_> = later.clone().zip(later.skip(1)).map(|(one, next)| *next - *one).collect();
        assert!(gaps.iter().all(|gap| (SECOND / 60..SECOND / 40).contains(gap)), "{gaps:?}");
        // When it is over, the next one tells of those before.
        assert_eq!(sampler.take(start + 60 * SECOND), Some(100_000 - told));
        assert_eq!(sampler.take(start + 60 * SECOND), Some(0));
    }

    #[test]
    fn one_line_a_second_is_the_least() {
        let now = Instant::now();
        let mut sampler = Sampler::new(1, now);
        let took = [0, 1, 999, 1000, 1001].map(|ms| sampler.take(now + Duration::from_millis(ms)));
        assert_eq!(took, [Some(0), None, None, Some(2), None]);
    }
}
