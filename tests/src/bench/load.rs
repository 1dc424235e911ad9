//! An open-loop load generator: the schedule says when each request is due, whatever the gateway does meanwhile.
//! Latency counts from the due time, so a slow answer is charged to every request that had to wait behind it.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::ops::Range;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::Result;
use super::conn::{Connection, Told};
use super::payload::{Request, Shape};
use super::timer::Timer;

const TIMER: Token = Token(usize::MAX);
/// How long answers may still come in after the window's end.
const DRAIN: Duration = Duration::from_secs(12);

/// What to send, where and how fast.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The gateway.
    pub target: SocketAddr,
    /// Singles or arrays.
    pub shape: Shape,
    /// Events per second; `None` keeps every connection busy all the time (saturation).
    pub events_per_s: Option<u64>,
    /// Keep-alive connections, each with at most one request in flight.
    pub connections: usize,
    /// Load before the measured window.
    pub warm_up: Duration,
    /// The measured window.
    pub window: Duration,
    /// The number of the first event.
    pub first_event: u64,
}

/// The two moments at which whoever measures takes its samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// The warm-up is over.
    Begin,
    /// The window is over; answers to what was sent may still come.
    End,
}

/// What happened.
pub struct Tally {
    /// Seconds from [`Moment::Begin`] to [`Moment::End`] as they really were.
    pub window_s: f64,
    /// Events whose 200 or 201 came within the window.
    pub acked_events: u64,
    /// Requests that were due by the window's end and not sent, because every connection was waiting.
    pub backlog_requests: u64,
    /// Microseconds from due to answered, of requests due within the window.
    pub latency_us: Histogram<u64>,
    /// The same, of those that were answered 200 or 201.
    pub accepted_us: Histogram<u64>,
    /// Microseconds from due to sent, warm-up included: what the generator itself was late.
    pub late_us: Histogram<u64>,
    /// Refusals (429, 503, 504) that did not say when to come again, warm-up included.
    pub untold_refusals: u64,
    /// Answers by status, warm-up included.
    pub statuses: BTreeMap<u16, u64>,
    /// The first event of every request that was answered 200 or 201, warm-up included.
    pub acked_first: Vec<u64>,
    /// One past the last event sent: where the next run may begin.
    pub next_event: u64,
}

/// Runs the plan on this thread and calls `at` at both moments.
pub fn run(plan: &Plan, mut at: impl FnMut(Moment) -> Result<()>) -> Result<Tally> {
    let mut generator = Generator::connect(plan)?;
    generator.until(generator.schedule.start + plan.warm_up)?;
    at(Moment::Begin)?;
    let begin = Instant::now();
    generator.window = Some(begin..begin + plan.window);
    generator.until(begin + plan.window)?;
    generator.tally.window_s = begin.elapsed().as_secs_f64();
    at(Moment::End)?;
    generator.tally.backlog_requests = generator.schedule.backlog(begin + plan.window);
    generator.drain()?;
    Ok(generator.tally)
}

/// When each request is due.
struct Schedule {
    start: Instant,
    /// `None`: always now.
    interval_ns: Option<u64>,
    sent: u64,
}

impl Schedule {
    fn new(plan: &Plan) -> Schedule {
        let interval_ns = plan.events_per_s.map(|rate| (plan.shape.events() * 1_000_000_000 / rate).max(1));
        Schedule { start: Instant::now(), interval_ns, sent: 0 }
    }

    /// The due time of the next request.
    fn next(&self, now: Instant) -> Instant {
        self.interval_ns.map_or(now, |ns| self.start + Duration::from_nanos(ns * self.sent))
    }

    /// Requests due before `end` and not sent.
    fn backlog(&self, end: Instant) -> u64 {
        let Some(interval_ns) = self.interval_ns else { return 0 };
        let due = (end - self.start).as_nanos() / u128::from(interval_ns);
        u64::try_from(due).expect("a run is far shorter than 584 years").saturating_sub(self.sent)
    }
}

struct Generator {
    poll: Poll,
    events: Events,
    timer: Timer,
    connections: Vec<Connection>,
    /// When the request in flight on each connection was due.
    due: Vec<Option<Instant>>,
    idle: VecDeque<usize>,
    schedule: Schedule,
    window: Option<Range<Instant>>,
    events_per_request: u64,
    scratch: Vec<u8>,
    tally: Tally,
}

impl Generator {
    fn connect(plan: &Plan) -> Result<Generator> {
        let poll = Poll::new()?;
        let timer = Timer::register(&poll, TIMER)?;
        let request = Request::new(plan.shape, plan.target);
        let mut connections = Vec::with_capacity(plan.connections);
        for index in 0..plan.connections {
            let mut connection = Connection::new(TcpStream::connect(plan.target)?, request.clone());
            let interest = Interest::READABLE | Interest::WRITABLE;
            poll.registry().register(&mut connection.stream, Token(index), interest)?;
            connections.push(connection);
        }
        Ok(Generator {
            poll,
            events: Events::with_capacity(plan.connections + 1),
            timer,
            due: vec![None; connections.len()],
            idle: (0..connections.len()).collect(),
            connections,
            schedule: Schedule::new(plan),
            window: None,
            events_per_request: plan.shape.events(),
            scratch: vec![0; 128 * 1024],
            tally: Tally::new(plan.first_event)?,
        })
    }

    /// Sends what is due and takes answers until `end`.
    fn until(&mut self, end: Instant) -> Result<()> {
        loop {
            let now = Instant::now();
            if now >= end {
                return Ok(());
            }
            self.send_due(now)?;
            let wake = if self.idle.is_empty() { end } else { self.schedule.next(now).min(end) };
            self.wait(wake)?;
        }
    }

    /// Takes the answers that are still to come.
    fn drain(&mut self) -> Result<()> {
        let end = Instant::now() + DRAIN;
        while self.idle.len() < self.connections.len() {
            if Instant::now() >= end {
                let missing = self.connections.len() - self.idle.len();
                return Err(format!("{missing} requests were never answered").into());
            }
            self.wait(end)?;
        }
        Ok(())
    }

    fn send_due(&mut self, now: Instant) -> Result<()> {
        while let Some(&index) = self.idle.front() {
            let due = self.schedule.next(now);
            if due > now {
                break;
            }
            self.idle.pop_front();
            self.due[index] = Some(due);
            let late_us = u64::try_from((Instant::now() - due).as_micros()).unwrap_or(u64::MAX);
            self.tally.late_us.saturating_record(late_us);
            let connection = &mut self.connections[index];
            connection.request.number(self.tally.next_event);
            connection.start()?;
            self.schedule.sent += 1;
            self.tally.next_event += self.events_per_request;
        }
        Ok(())
    }

    fn wait(&mut self, wake: Instant) -> Result<()> {
        self.timer.arm(wake.saturating_duration_since(Instant::now()))?;
        self.poll.poll(&mut self.events, None)?;
        let now = Instant::now();
        for event in &self.events {
            let Token(index) = event.token();
            // The timer's event needs nothing: its purpose was to end the poll.
            let Some(connection) = self.connections.get_mut(index) else { continue };
            if let Some(told) = connection.drive(&mut self.scratch)? {
                let due = self.due[index].take().ok_or("an answer nobody asked for")?;
                let first = connection.request.first_event();
                self.idle.push_back(index);
                self.tally.answered(told, due, now, self.window.as_ref(), first, self.events_per_request);
            }
        }
        Ok(())
    }
}

impl Tally {
    /// Nothing yet.
    pub fn new(first_event: u64) -> Result<Tally> {
        Ok(Tally {
            window_s: 0.0,
            acked_events: 0,
            backlog_requests: 0,
            latency_us: Histogram::new_with_bounds(1, 120_000_000, 3)?,
            accepted_us: Histogram::new_with_bounds(1, 120_000_000, 3)?,
            late_us: Histogram::new_with_bounds(1, 120_000_000, 3)?,
            untold_refusals: 0,
            statuses: BTreeMap::new(),
            acked_first: Vec::new(),
            next_event: first_event,
        })
    }

    fn answered(
        &mut self,
        Told { status, retry_after }: Told,
        due: Instant,
        now: Instant,
        window: Option<&Range<Instant>>,
        first: u64,
        n: u64,
    ) {
        *self.statuses.entry(status).or_default() += 1;
        let acked = matches!(status, 200 | 201);
        if acked {
            self.acked_first.push(first);
        }
        self.untold_refusals += u64::from(matches!(status, 429 | 503 | 504) && !retry_after);
        let Some(window) = window else { return };
        if window.contains(&due) {
            let us = u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX);
            self.latency_us.saturating_record(us);
            if acked {
                self.accepted_us.saturating_record(us);
            }
        }
        if acked && window.contains(&now) {
            self.acked_events += n;
        }
    }
}
