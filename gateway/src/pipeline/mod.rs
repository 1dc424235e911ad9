//! The path of a request's events, from framed bytes to one ending each. Every step is another module's;
//! here is only their order, in chunks so that a large request does not starve its worker's neighbours.

mod accepted;
mod answer;
mod charge;
mod chunk;
mod enduring;
mod explain;
mod lane;
mod matching;
pub mod outcome;
mod plugins;
mod rehearsal;
mod shadows;
mod strict;

use std::cell::RefCell;
use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use futures_util::FutureExt as _;

use self::accepted::{Accepted, Draft, Drafts};
pub use self::answer::{Answer, Ending, Share};
pub use self::charge::Paid;
use self::chunk::Bench;
pub use self::enduring::Seat;
use self::enduring::{Enduring, Running};
use self::explain::{explain, violation};
pub use self::lane::Lanes;
use self::lane::{Rest, turned_away};
pub use self::outcome::{Common, Dropped, Receipt};
use self::outcome::{InFlight, by_report};
pub use self::rehearsal::{Fate, Rehearsal, Rehearsed, Scene};
pub use self::shadows::Shadows;
use crate::access::Identity;
use crate::admission::{Acks, Throttle};
use crate::event::budget::{EVENT_OVERHEAD_BYTES, Permit};
use crate::event::frame::{Framing, frame};
use crate::event::{Attributes, Headers, Limits, RawEvent};
use crate::kafka::delivery::Delivery;
use crate::kafka::producers::Producers;
use crate::metrics::{Metrics, RouteMetrics, Stage};
use crate::plugin::{Pace, Versions};
use crate::problem::{Code, Problem};
use crate::route::{Route, Routes};
use crate::schema::Schemas;
use crate::traces::{Span, Work};

/// A chunk ends at so many events or bytes; then the worker looks at its other requests.
const CHUNK_EVENTS_MAX: usize = 64;
const CHUNK_BYTES_MAX: usize = 256 << 10;

/// What all workers share.
#[derive(Debug)]
pub struct Shared {
    /// The routes.
    pub routes: Routes,
    /// The schemas.
    pub schemas: Schemas,
    /// Each route's plugins.
    pub plugins: Arc<Versions>,
    /// The ways to Kafka, one for each worker.
    pub producers: Arc<Producers>,
    /// By route name; `none` for events that no route takes.
    pub metrics: HashMap<Arc<str>, Arc<RouteMetrics>>,
    /// Where slow plugins run.
    pub lanes: Lanes,
    /// Where versions run that are not in force.
    pub shadows: Shadows,
    /// What tenants may send.
    pub throttle: Throttle,
    /// How quick Kafka is.
    pub acks: Arc<Acks>,
    /// Bounds on an event.
    pub limits: Limits,
    /// From the last record handed over to the answer.
    pub answer_timeout: Duration,
}

/// The metric label of events that no route takes.
pub const NO_ROUTE: &str = "none";

impl Shared {
    /// The metric handles for these routes.
    pub fn route_metrics(routes: &Routes, metrics: &Metrics) -> HashMap<Arc<str>, Arc<RouteMetrics>> {
        let names = routes.iter().map(|route| Arc::clone(&route.name)).chain([Arc::from(NO_ROUTE)]);
        names.map(|name| (Arc::clone(&name), metrics.route(&name))).collect()
    }

    fn metrics_of(&self, route: Option<&Arc<Route>>) -> &Arc<RouteMetrics> {
        &self.metrics[route.map_or(NO_ROUTE, |route| &route.name)]
    }
}

/// How a request carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// The body is the data; attributes come from the route's rules.
    Plain,
    /// The body holds CloudEvents in structured mode.
    Structured,
    /// The headers are a CloudEvent's attributes, the body is its data.
    Binary,
    /// Each event is a CloudEvent in protobuf.
    Protobuf,
}

impl Shape {
    /// The content type of an event's bytes as they were sent.
    fn content_type<'a>(self, attributes: &Attributes<'a>) -> &'a str {
        match self {
            Shape::Plain | Shape::Binary => attributes.content_type,
            Shape::Structured => "application/cloudevents+json",
            Shape::Protobuf => "application/cloudevents+protobuf",
        }
    }
}

/// A request's events before they are framed.
#[derive(Debug)]
pub struct Request {
    /// Who sends it.
    pub sender: Arc<Identity>,
    /// The route named by the path; a CloudEvent without one is matched.
    pub route: Option<Arc<Route>>,
    /// What the body is.
    pub shape: Shape,
    /// How it holds events.
    pub framing: Framing,
    /// Nothing of it is to be produced unless all of it can be.
    pub strict: bool,
    /// The headers that rules and plugins may read.
    pub headers: Headers,
    /// The body, one buffer.
    pub body: Bytes,
    /// The share of the byte budget taken for it.
    pub permit: Permit,
    /// What of it its tenant's quota has paid for already.
    pub paid: Paid,
    /// If it is traced.
    pub span: Option<Arc<Span>>,
}

/// The pipeline on one thread, as one config wants it, with its own buffers and plugin instances.
#[derive(Debug)]
pub struct Worker {
    shared: Arc<Shared>,
    bench: RefCell<Bench>,
    seat: Rc<Seat>,
}

impl Worker {
    /// A worker for the thread that calls this, and whose seat this is.
    pub fn new(shared: Arc<Shared>, seat: Rc<Seat>) -> Rc<Self> {
        let bench = RefCell::new(Bench::new(shared.limits, Arc::clone(&shared.plugins.generation())));
        Rc::new(Worker { shared, bench, seat })
    }

    /// Bounds on an event.
    pub fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    /// The metrics of a route, or of what no route takes.
    pub fn metrics_of(&self, route: Option<&Arc<Route>>) -> &RouteMetrics {
        self.shared.metrics_of(route)
    }

    /// Takes a request's events to their endings. A client that goes away does not leave them half done.
    pub async fn run(self: &Rc<Self>, request: Request) -> Result<Answer, Problem> {
        self.run_until(request, None).await
    }

    /// The same for a client that waits until then: what is not handed over to Kafka by then never is, and what Kafka has
    /// not acknowledged by then is answered as unknown.
    pub async fn run_until(
        self: &Rc<Self>,
        request: Request,
        deadline: Option<Instant>,
    ) -> Result<Answer, Problem> {
        let running = Running::begin(self);
        let answered = async move { running.0.answer(request, deadline).await };
        let answered = Enduring::new(AssertUnwindSafe(answered).catch_unwind()).await;
        answered.unwrap_or_else(|_| Err(Problem::new(Code::Internal, "the request's task ended early")))
    }

    async fn answer(&self, request: Request, deadline: Option<Instant>) -> Result<Answer, Problem> {
        match &request.route {
            Some(route) => {
                let route = Arc::clone(route);
                self.accept(&route, request, deadline).await
            }
            // Boxed, as all that is rare below: the frequent path would carry its size along.
            None => Box::pin(self.match_routes(request, deadline)).await,
        }
    }

    /// Takes the events of one route to their endings.
    async fn accept(
        &self,
        route: &Arc<Route>,
        mut request: Request,
        deadline: Option<Instant>,
    ) -> Result<Answer, Problem> {
        let frames = frame(&request.body, request.framing, &self.shared.limits)?;
        let (events, batch) = (frames.events, frames.batch);
        let in_flight = InFlight::new(Arc::clone(self.shared.metrics_of(Some(route))), events.len());
        if !request.permit.grow(EVENT_OVERHEAD_BYTES * events.len().saturating_sub(1)) {
            let detail = "too many bytes in flight; try again in a moment";
            return Err(in_flight.refuse(Problem::new(Code::Overloaded, detail)));
        }
        if request.strict
            && let Err(problem) = strict::within_bounds(&request.body, &mut request.permit)
        {
            return Err(in_flight.refuse(problem));
        }
        if let Err(problem) = self.charge(&request, Some(&route.tenant), events.len()) {
            return Err(in_flight.refuse(problem));
        }
        let permit = request.permit.hand_over();
        let delivery = Delivery::new(events.len(), request.body.clone(), Some(permit));
        let traced = request.span.take().map(Work::of);
        let accepted = Accepted {
            route: Arc::clone(route),
            registry: self.shared.schemas.current(),
            shape: request.shape,
            framing: request.framing,
            headers: request.headers,
            body: request.body.clone(),
            time: SystemTime::now(),
            deadline,
            delivery: Arc::clone(&delivery),
            producer: Arc::clone(&self.seat.producer),
            metrics: Arc::clone(in_flight.metrics()),
            traced: traced.clone(),
        };
        let mut drafts = Drafts { list: Vec::with_capacity(events.len()), common: Common::default() };
        if request.strict {
            Box::pin(self.work_strictly(&accepted, &events, &mut drafts)).await;
        } else {
            self.work(&accepted, &events, &mut drafts).await;
        }
        if drafts.list.len() < events.len() {
            let deadline = Instant::now() + self.shared.answer_timeout;
            let rest = Rest { request: accepted, events: events.len(), drafts, deadline };
            drafts = Box::pin(self.finish_aside(rest)).await?;
        }
        let handed_over = Instant::now();
        let explained = explain(&drafts.list, self.shared.limits).await;
        // Whether all reports came or the time is over, each event is answered by what is known of it.
        let answer_by = handed_over + self.shared.answer_timeout;
        let answer_by = deadline.map_or(answer_by, |deadline| deadline.min(answer_by));
        let settled = tokio::time::timeout_at(answer_by.into(), delivery.settled()).await.is_ok();
        let waited = handed_over.elapsed();
        in_flight.metrics().took(Stage::Kafka, waited);
        if let Some(work) = traced {
            let sent = drafts.list.iter().filter(|draft| matches!(draft, Draft::Sent(..))).count();
            work.end(&route.name, (&route.topic, sent), waited, settled);
        }
        // A caller who waits no longer says nothing about Kafka.
        let tells = settled || waited >= self.shared.answer_timeout;
        if tells && drafts.list.iter().any(|draft| matches!(draft, Draft::Sent(..))) {
            self.shared.acks.answered(waited);
        }
        let endings: Vec<_> = settle(drafts.list, explained, &delivery);
        in_flight.settle(&endings);
        Ok(Answer::of_route(Share { route: Arc::clone(route), common: drafts.common }, batch, endings))
    }

    /// Chunk after chunk, as far as it may go here.
    async fn work<'r>(&self, request: &'r Accepted, events: &[RawEvent<'r>], drafts: &mut Drafts) {
        let (job, out) = (request.job(), request.out());
        for chunk in chunks(events) {
            if !drafts.list.is_empty() {
                tokio::task::yield_now().await;
            }
            let mut bench = self.bench.borrow_mut();
            bench.chains.adopt(&self.shared.plugins.generation());
            if drafts.list.is_empty()
                && let Some(shadow) = bench.chains.shadow(&job.route.name).filter(|shadow| shadow.wants())
            {
                let in_force = Arc::clone(bench.chains.generation());
                self.shared.shadows.look_at(request, shadow, in_force, self.shared.limits);
            }
            if bench.work(&job, &out, chunk, drafts).is_err() {
                return;
            }
        }
    }

    /// Has a request's rest done where it holds up nobody.
    async fn finish_aside(&self, rest: Rest) -> Result<Drafts, Problem> {
        let Shared { lanes, limits, plugins, .. } = &*self.shared;
        let route = &rest.request.route.name;
        let overruns = self.bench.borrow().chains.pace(route).is_some_and(Pace::has_overrun);
        match lanes.of(route, overruns, *limits, plugins) {
            Some(lane) => lane.finish(rest).await,
            None => Ok(turned_away(rest.drafts, rest.events)),
        }
    }
}

fn chunks<'e, 'b>(events: &'e [RawEvent<'b>]) -> impl Iterator<Item = &'e [RawEvent<'b>]> {
    let mut rest = events;
    std::iter::from_fn(move || {
        let mut bytes = 0;
        let within = rest.iter().take(CHUNK_EVENTS_MAX).take_while(|raw| {
            bytes += raw.bytes.len();
            bytes <= CHUNK_BYTES_MAX
        });
        let events = within.count().max(1).min(rest.len());
        let (chunk, behind) = rest.split_at(events);
        rest = behind;
        (!chunk.is_empty()).then_some(chunk)
    })
}

fn settle(drafts: Vec<Draft>, explained: Vec<Problem>, delivery: &Delivery) -> Vec<Ending> {
    let mut explained = explained.into_iter();
    let ending = |(index, draft)| match draft {
        Draft::Sent(receipt, reason) => by_report(receipt, reason, delivery.report(index)),
        Draft::Violation(schema, _) => {
            Ending::Refused(explained.next().unwrap_or_else(|| violation(&schema)))
        }
        Draft::Ended(ending) => ending,
    };
    drafts.into_iter().enumerate().map(ending).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_hold_every_event_once_and_keep_to_their_bounds() {
        let body = vec![b' '; CHUNK_BYTES_MAX + 1];
        let raw = |bytes: usize| RawEvent { bytes: &body[..bytes], index: None };
        let events: Vec<_> = [1, CHUNK_BYTES_MAX, CHUNK_BYTES_MAX + 1, 2].into_iter().map(raw).collect();
        let sizes: Vec<_> = chunks(&events).map(<[_]>::len).collect();
        assert_eq!(sizes, [1, 1, 1, 1]);
        let small: Vec<_> = (0..130).map(|_| raw(10)).collect();
        assert_eq!(chunks(&small).map(<[_]>::len).collect::<Vec<_>>(), [64, 64, 2]);
        assert_eq!(chunks(&[]).count(), 0);
    }
}
