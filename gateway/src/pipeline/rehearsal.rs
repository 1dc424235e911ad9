//! The path of an event without its end: what would become of it, told and not done. For `weir test`, and for
//! versions that run in the shadow.

use std::sync::Arc;
use std::time::SystemTime;

use bumpalo::Bump;

use super::accepted::Draft;
use super::chunk::{Bench, Job, Passing, Step, Stopped};
use super::matching::{Part, batch_of};
use super::{Ending, Request, Shape, Worker, chunks, violation};
use crate::event::frame::{Framing, frame};
use crate::event::trace::Trace;
use crate::event::{Headers, Limits, Parser};
use crate::metrics::{Metrics, RouteMetrics};
use crate::plugin::Chains;
use crate::problem::{Code, Problem};
use crate::route::{Hop, Reason, Record, Route};
use crate::schema::Registry;

/// A place to rehearse: buffers and plugin instances of its own, for one route.
#[derive(Debug)]
pub struct Rehearsal {
    bench: Bench,
    limits: Limits,
    metrics: Arc<RouteMetrics>,
}

/// A request to rehearse.
#[derive(Debug)]
pub struct Scene<'s> {
    /// Its route.
    pub route: &'s Arc<Route>,
    /// The schemas.
    pub registry: &'s Registry,
    /// What its body is.
    pub shape: Shape,
    /// How it holds events.
    pub framing: Framing,
    /// Its headers.
    pub headers: &'s Headers,
    /// Its body.
    pub body: &'s [u8],
    /// When it came.
    pub time: SystemTime,
}

/// What would become of one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// This record would be produced.
    Stored(Box<Rehearsed>),
    /// This record would go to the dead-letter topic.
    DeadLettered(Box<Rehearsed>, Reason),
    /// A plugin would drop it.
    Dropped {
        /// Which.
        plugin: Arc<str>,
        /// In its words.
        reason: Option<Box<str>>,
    },
    /// The client would be told.
    Refused(Problem),
}

/// A record that nobody produced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// The topic.
    pub topic: Arc<str>,
    /// The partition key.
    pub key: Option<String>,
    /// Headers in order.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The value.
    pub value: Vec<u8>,
}

impl Rehearsal {
    /// A place for a route; fails only if metrics, which nobody reads here, cannot be made.
    pub fn new(limits: Limits, chains: Arc<Chains>, route: &Arc<str>) -> Result<Self, Problem> {
        let metrics = Metrics::new().map_err(|error| Problem::new(Code::Internal, error.to_string()))?;
        let metrics = metrics.route(route);
        Ok(Rehearsal { bench: Bench::aside(limits, chains, Arc::clone(route)), limits, metrics })
    }

    /// What would become of a request's events, in order. An error is of the request as a whole.
    pub fn run(&mut self, scene: &Scene<'_>) -> Result<Vec<Fate>, Problem> {
        let frames = frame(scene.body, scene.framing, &self.limits)?;
        let subject = scene.route.subject.as_ref().and_then(|subject| subject.constant());
        let job = Job {
            route: scene.route,
            registry: scene.registry,
            schema: subject.and_then(|subject| scene.registry.subject(subject)),
            shape: scene.shape,
            headers: scene.headers,
            trace: Trace::of(scene.headers),
            time: scene.time,
            metrics: &self.metrics,
            traced: None,
        };
        let mut fates = Vec::with_capacity(frames.events.len());
        for chunk in chunks(&frames.events) {
            let arena = Bump::new();
            let steps = self.bench.judge(&arena, &job, chunk);
            let steps =
                steps.map_err(|_| Problem::new(Code::Internal, "a plugin was too slow to rehearse"))?;
            let seen_by = self.bench.chains.seen_by(&scene.route.name);
            for (raw, step) in chunk.iter().zip(steps) {
                fates.push(fate(&arena, &job, raw.bytes, step, &seen_by.header, self.limits));
            }
        }
        Ok(fates)
    }
}

impl Worker {
    /// What would become of a request's events, in order, and whether they are a batch. Off the worker, with instances
    /// of its own, so that it may take its time.
    pub async fn rehearse(&self, request: Request) -> Result<(Vec<Fate>, bool), Problem> {
        let limits = self.shared.limits;
        let frames = frame(&request.body, request.framing, &limits)?;
        let (batch, count) = (frames.batch, frames.events.len());
        let whole = |route| {
            vec![(Part { route, indices: (0..count).collect() }, request.body.clone(), request.framing)]
        };
        let (parts, refused) = match (&request.route, frames.events.first()) {
            (Some(route), _) => (whole(Arc::clone(route)), Vec::new()),
            (None, Some(event)) if !batch => (whole(self.route_of(&request, *event)?), Vec::new()),
            (None, _) => {
                let (parts, refused) = self.divide(&request, &frames.events);
                let part = |part: Part| {
                    let (body, framing) = batch_of(request.shape, &part.indices, &frames.events);
                    (part, body, framing)
                };
                (parts.into_iter().map(part).collect(), refused)
            }
        };
        let (chains, registry) =
            (Arc::clone(&self.shared.plugins.generation()), self.shared.schemas.current());
        let (shape, headers) = (request.shape, request.headers.clone());
        let rehearsed = tokio::task::spawn_blocking(move || {
            let refused = refused.into_iter().map(|(index, problem)| (index, Fate::Refused(problem)));
            let mut fates: Vec<_> = refused.collect();
            for (Part { route, indices }, body, framing) in parts {
                let scene = Scene {
                    route: &route,
                    registry: &registry,
                    shape,
                    framing,
                    headers: &headers,
                    body: &body,
                    time: SystemTime::now(),
                };
                let of_route = Rehearsal::new(limits, Arc::clone(&chains), &route.name)?.run(&scene)?;
                fates.extend(indices.into_iter().zip(of_route));
            }
            fates.sort_by_key(|(index, _)| *index);
            Ok(fates.into_iter().map(|(_, fate)| fate).collect())
        });
        let ended_early = |_| Err(Problem::new(Code::Internal, "the dry run ended early"));
        rehearsed.await.unwrap_or_else(ended_early).map(|fates| (fates, batch))
    }
}

fn fate(arena: &Bump, job: &Job<'_>, sent: &[u8], step: Step<'_>, seen_by: &str, limits: Limits) -> Fate {
    match step {
        Ok(Passing { event, edits }) => {
            let hop = Hop { plugins: seen_by, trace: job.trace };
            Fate::Stored(Rehearsed::new(&Record::new(arena, job.route, &event, &edits, hop)))
        }
        Err(Stopped::DeadLetter(dead)) => {
            let Passing { event, edits } = &dead.passing;
            let bytes = (sent, job.shape.content_type(event.event().attributes()));
            let record = Record::dead_letter(arena, job.route, event, edits, bytes, &dead.reason);
            Fate::DeadLettered(Rehearsed::new(&record), dead.reason.clone())
        }
        Err(Stopped::Ended(Draft::Violation(schema, data))) => {
            let document = Parser::new(limits);
            let explained =
                { document }.document(arena, &data).map(|document| schema.explain(document.root()));
            Fate::Refused(violation(&schema).with_violations(explained.unwrap_or_default()))
        }
        Err(Stopped::Ended(Draft::Ended(ending))) => match ending {
            Ending::Dropped(dropped) => Fate::Dropped { plugin: dropped.plugin, reason: dropped.reason },
            Ending::Refused(problem) => Fate::Refused(problem),
            Ending::Stored(_) | Ending::DeadLettered(..) => sent_nowhere(),
        },
        Err(Stopped::Ended(Draft::Sent(..))) => sent_nowhere(),
    }
}

/// Nothing is sent from here.
fn sent_nowhere() -> Fate {
    Fate::Refused(Problem::new(Code::Internal, "an event was sent in a rehearsal"))
}

impl Rehearsed {
    fn new(record: &Record<'_>) -> Box<Self> {
        let headers = record.headers.iter().map(|(name, value)| ((*name).to_owned(), value.to_vec()));
        Box::new(Rehearsed {
            topic: Arc::clone(record.topic),
            key: record.partition_key.map(str::to_owned),
            headers: headers.collect(),
            value: record.value.to_vec(),
        })
    }

    /// A header's value, as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        let (_, value) = self.headers.iter().find(|(known, _)| known == name)?;
        std::str::from_utf8(value).ok()
    }
}
