//! One chunk of a request on one thread, start to hand-over without a pause: parse, check, plugins, record.
//! Its events borrow from the thread's arena and are gone when it ends; what lives on are drafts.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bumpalo::Bump;

use super::accepted::{Draft, Drafts};
use super::outcome::advice;
use super::{Ending, Receipt, Shape};
use crate::event::trace::Trace;
use crate::event::{Event, Headers, Limits, Parser, RawEvent};
use crate::kafka::delivery::Delivery;
use crate::kafka::producer::{Outgoing, Producer, Sender, Topic};
use crate::metrics::{RouteMetrics, Stage};
use crate::plugin::{Chains, Pace, SeenBy, WorkerChains};
use crate::problem::{Code, Problem};
use crate::route::{Edits, Hop, Reason, Record, Route};
use crate::schema::{Registry, Schema, Unmatched, ValidEvent};
use crate::traces::Work;

/// An arena that grew past this is given back.
const ARENA_BYTES_KEPT: usize = 4 << 20;

/// What the chunks of one request have in common; see [`super::Accepted::job`].
pub(super) struct Job<'r> {
    pub(super) route: &'r Arc<Route>,
    pub(super) registry: &'r Registry,
    /// The schema of all its events, if they need not be looked into to know it.
    pub(super) schema: Option<&'r Arc<Schema>>,
    pub(super) shape: Shape,
    pub(super) headers: &'r Headers,
    pub(super) trace: Trace<'r>,
    pub(super) time: SystemTime,
    pub(super) metrics: &'r RouteMetrics,
    pub(super) traced: Option<&'r Work>,
}

impl Job<'_> {
    /// A stage of a chunk is over, which took so long.
    pub(super) fn took(&self, stage: Stage, time: Duration) {
        self.metrics.took(stage, time);
        if let Some(work) = self.traced {
            work.took(stage, time);
        }
    }
}

/// Where the records of one request go.
pub(super) struct Out<'r> {
    pub(super) delivery: &'r Arc<Delivery>,
    pub(super) producer: &'r Producer,
    /// After this nothing is handed over any more.
    pub(super) deadline: Option<Instant>,
}

/// The plugins of a chunk's route are too slow for a worker. Nothing of the chunk was handed over, so that it can be
/// begun anew on another thread.
#[derive(Debug)]
pub(super) struct TooSlow;

/// A thread's buffers and plugin instances.
pub(super) struct Bench {
    arena: Bump,
    pub(super) parser: Parser,
    limits: Limits,
    pub(super) chains: WorkerChains,
    pub(super) subject: String,
    /// It is not a worker's: slow plugins hold up nobody here.
    pub(super) aside: bool,
}

impl fmt::Debug for Bench {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bench").field("arena_bytes", &self.arena.allocated_bytes()).finish_non_exhaustive()
    }
}

/// An event on its way through a chunk.
pub(super) struct Passing<'a> {
    pub(super) event: ValidEvent<'a>,
    pub(super) edits: Edits<'a>,
}

/// Either still on its way or stopped.
pub(super) type Step<'a> = Result<Passing<'a>, Stopped<'a>>;

/// How an event left its way.
pub(super) enum Stopped<'a> {
    /// For good.
    Ended(Draft),
    /// To be kept aside, in its turn.
    DeadLetter(Box<DeadLetter<'a>>),
}

/// An event to be kept aside, as far as it came, and why.
pub(super) struct DeadLetter<'a> {
    pub(super) passing: Passing<'a>,
    pub(super) reason: Reason,
}

impl Bench {
    /// A worker's, for all routes.
    pub(super) fn new(limits: Limits, plugins: Arc<Chains>) -> Self {
        Bench::with(limits, WorkerChains::new(plugins, None), false)
    }

    /// That of a thread for one route.
    pub(super) fn aside(limits: Limits, plugins: Arc<Chains>, route: Arc<str>) -> Self {
        Bench::with(limits, WorkerChains::new(plugins, Some(route)), true)
    }

    fn with(limits: Limits, chains: WorkerChains, aside: bool) -> Self {
        Bench {
            arena: Bump::new(),
            parser: Parser::new(limits),
            limits,
            chains,
            subject: String::new(),
            aside,
        }
    }

    /// Takes one chunk as far as it goes without Kafka's word; adds one draft for each of its events.
    pub(super) fn work<'r>(
        &mut self,
        job: &Job<'r>,
        out: &Out<'r>,
        chunk: &[RawEvent<'r>],
        drafts: &mut Drafts,
    ) -> Result<(), TooSlow> {
        let arena = mem::take(&mut self.arena);
        let judged = self.judge(&arena, job, chunk).map(|steps| {
            let late = out.deadline.is_some_and(|deadline| Instant::now() >= deadline);
            let sender = out.producer.sender();
            let exit = Exit::new(job, out.delivery, self.chains.seen_by(&job.route.name), &sender);
            for (raw, step) in chunk.iter().zip(steps) {
                let draft = match step {
                    Ok(_) | Err(Stopped::DeadLetter(_)) if late => refused(too_late()),
                    Ok(passing) => exit.hand_over(&arena, &passing, drafts),
                    Err(Stopped::DeadLetter(dead)) => exit.keep_aside(&arena, *raw, *dead, drafts),
                    Err(Stopped::Ended(draft)) => draft,
                };
                drafts.list.push(draft);
            }
        });
        self.give_back(arena);
        judged
    }

    /// Parses, checks, lets the plugins judge, and settles what goes into the records.
    pub(super) fn judge<'a>(
        &mut self,
        arena: &'a Bump,
        job: &Job<'a>,
        chunk: &[RawEvent<'a>],
    ) -> Result<Vec<Step<'a>>, TooSlow> {
        if !self.aside && self.chains.pace(&job.route.name).is_some_and(Pace::is_aside) {
            return Err(TooSlow);
        }
        let started = Instant::now();
        let mut steps: Vec<Step<'a>> = chunk.iter().map(|raw| self.check(arena, job, *raw)).collect();
        job.took(Stage::Check, started.elapsed());
        super::plugins::run(self, arena, job, &mut steps)?;
        steps.iter_mut().for_each(|step| self.settle(arena, job.route, step));
        Ok(steps)
    }

    /// Settles the record of an event that goes on, or is kept aside; what cannot be one is refused.
    fn settle<'a>(&self, arena: &'a Bump, route: &Route, step: &mut Step<'a>) {
        let settled = match step {
            Ok(Passing { event, edits }) => edits.settle(arena, route, event, self.limits.event_bytes_max),
            Err(Stopped::DeadLetter(dead)) => {
                let Passing { event, edits } = &mut dead.passing;
                edits.settle_key(arena, route, event)
            }
            Err(Stopped::Ended(_)) => return,
        };
        if let Err(problem) = settled {
            *step = Err(Stopped::Ended(refused(problem)));
        }
    }

    fn check<'a>(&mut self, arena: &'a Bump, job: &Job<'a>, raw: RawEvent<'a>) -> Step<'a> {
        self.valid(arena, job, raw)
            .map(|event| Passing { event, edits: Edits::new_in(arena) })
            .map_err(Stopped::Ended)
    }

    fn valid<'a>(
        &mut self,
        arena: &'a Bump,
        job: &Job<'a>,
        raw: RawEvent<'a>,
    ) -> Result<ValidEvent<'a>, Draft> {
        let parsed = match job.shape {
            Shape::Plain => self.parser.plain(arena, raw, job.headers, &job.route.rules),
            Shape::Structured => self.parser.structured(arena, raw, job.headers),
            Shape::Binary => self.parser.binary(arena, raw, job.headers),
            Shape::Protobuf => self.parser.protobuf(arena, raw, job.headers),
        };
        let event = parsed.map_err(refused)?;
        match_schema(job, event, &mut self.subject)
    }

    fn give_back(&mut self, mut arena: Bump) {
        if arena.allocated_bytes() <= ARENA_BYTES_KEPT {
            arena.reset();
            self.arena = arena;
        }
    }
}

/// The way out of a chunk: to Kafka, by a producer and a topic looked up once.
pub(super) struct Exit<'j, 'r> {
    job: &'j Job<'r>,
    delivery: &'j Arc<Delivery>,
    plugins: &'j SeenBy,
    time_ms: i64,
    sender: &'j Sender,
    /// The route's own topic.
    topic: Result<&'j Topic, Code>,
}

impl<'j, 'r> Exit<'j, 'r> {
    pub(super) fn new(
        job: &'j Job<'r>,
        delivery: &'j Arc<Delivery>,
        plugins: &'j SeenBy,
        sender: &'j Sender,
    ) -> Self {
        let time_ms = job
            .time
            .duration_since(UNIX_EPOCH)
            .map_or(0, |time| i64::try_from(time.as_millis()).unwrap_or(i64::MAX));
        Exit { job, delivery, plugins, time_ms, sender, topic: sender.topic(&job.route.topic) }
    }

    pub(super) fn hand_over(&self, arena: &Bump, passing: &Passing<'_>, drafts: &mut Drafts) -> Draft {
        let hop = Hop { plugins: &self.plugins.header, trace: self.job.trace };
        let record = Record::new(arena, self.job.route, &passing.event, &passing.edits, hop);
        match self.send(&record, &passing.event, drafts) {
            Ok(receipt) => Draft::Sent(receipt, None),
            Err(ended) => ended,
        }
    }

    /// Keeps an event aside as it was sent.
    fn keep_aside(
        &self,
        arena: &Bump,
        raw: RawEvent<'_>,
        dead: DeadLetter<'_>,
        drafts: &mut Drafts,
    ) -> Draft {
        let DeadLetter { passing: Passing { event, edits }, reason } = dead;
        let content_type = self.job.shape.content_type(event.event().attributes());
        let sent = {
            let bytes = (raw.bytes, content_type);
            let record = Record::dead_letter(arena, self.job.route, &event, &edits, bytes, &reason);
            self.send(&record, &event, drafts)
        };
        match sent {
            Ok(receipt) => Draft::Sent(receipt, Some(Box::new(reason))),
            Err(ended) => ended,
        }
    }

    fn send(
        &self,
        record: &Record<'_>,
        event: &ValidEvent<'_>,
        drafts: &mut Drafts,
    ) -> Result<Receipt, Draft> {
        let own = Arc::ptr_eq(record.topic, &self.job.route.topic);
        let topic = match if own { self.topic } else { self.sender.topic(record.topic) } {
            Ok(topic) => topic,
            Err(code) => return Err(refused(Problem::new(code, advice(code)))),
        };
        let partition = topic.partition(record.partition_key, self.time_ms);
        let outgoing = Outgoing {
            partition,
            key: record.partition_key,
            headers: &record.headers,
            value: record.value,
            time_ms: self.time_ms,
        };
        topic.enqueue(&outgoing, self.delivery.slot(drafts.list.len()));
        Ok(Receipt::new(&mut drafts.common, record, event, &self.plugins.receipt, partition))
    }
}

/// Checks an event against its route's subject, if the route names one.
pub(super) fn match_schema<'a>(
    job: &Job<'a>,
    event: Event<'a>,
    subject: &mut String,
) -> Result<ValidEvent<'a>, Draft> {
    match (&job.route.subject, job.schema) {
        (None, _) => Ok(ValidEvent::without_schema(event)),
        (Some(_), Some(schema)) => check(event, schema),
        (Some(template), None) => {
            let filled = template.fill(event.attributes(), subject);
            check_subject(job.registry, event, filled)
        }
    }
}

/// Checks an event against a subject of the registry.
pub(super) fn check_subject<'a>(
    registry: &'a Registry,
    event: Event<'a>,
    subject: Option<&str>,
) -> Result<ValidEvent<'a>, Draft> {
    let schema = subject.and_then(|subject| registry.subject(subject)).ok_or_else(|| {
        let named = subject.unwrap_or("(an attribute of the subject is absent)");
        refused(Problem::new(Code::UnknownSchema, format!("the registry has no subject `{named}`")))
    })?;
    check(event, schema)
}

fn check<'a>(event: Event<'a>, schema: &'a Arc<Schema>) -> Result<ValidEvent<'a>, Draft> {
    ValidEvent::check(event, schema).map_err(|unmatched| match unmatched {
        Unmatched::NotJson => {
            refused(Problem::new(Code::UnsupportedMediaType, "this route's schema asks for JSON data"))
        }
        Unmatched::Violation(schema, data) => Draft::Violation(Arc::clone(schema), data.into()),
    })
}

/// The draft of an event that ends with a problem.
pub(super) fn refused(problem: Problem) -> Draft {
    Draft::Ended(Ending::Refused(problem))
}

fn too_late() -> Problem {
    Problem::new(Code::DeadlinePassed, "the event was not handed over in time; give the call more of it")
}
