//! Open-loop traffic of several kinds at once, on a thread of its own: schedules say when each request is due, and
//! latency counts from then. Rates may change on the way, and a gateway may go and come back: a client-side choice
//! between those that are up. What is asked is the askers' business, what the samples mean is the caller's.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustix::thread::CpuSet;

use super::wire::{Answer, Wire};
use crate::bench::Result;
use crate::bench::pin::{Rank, on, rank_this_thread};
use crate::bench::timer::Timer;

const TIMER: Token = Token(usize::MAX);
/// The longest time without a look at rates and at the end.
const LOOK: Duration = Duration::from_millis(5);
/// How long answers may still come in after the end.
const DRAIN: Duration = Duration::from_secs(12);
/// Nobody is asked again so soon after a connection to it failed.
const DOWN_FOR: Duration = Duration::from_millis(100);
/// How often one request is sent, should connections break under it.
const ATTEMPTS_MAX: u8 = 4;
/// A run that would keep more is too long.
const SAMPLES_MAX: usize = 20_000_000;

/// Requests of one kind.
pub(super) trait Asker: Send {
    /// Writes the next request, whole, and gives the tag its sample shall have.
    fn ask(&mut self, into: &mut Vec<u8>) -> u32;

    /// Whether the answer is right, as far as this asker can tell.
    fn check(&mut self, _tag: u32, _answer: Answer<'_>) -> bool {
        true
    }
}

/// Requests a second; may be changed at any time.
#[derive(Clone)]
pub(super) struct Rate(Arc<AtomicU64>);

impl Rate {
    pub(super) fn new(per_s: u64) -> Rate {
        Rate(Arc::new(AtomicU64::new(per_s)))
    }

    pub(super) fn set(&self, per_s: u64) {
        self.0.store(per_s, Ordering::Relaxed);
    }

    fn interval(&self) -> Option<Duration> {
        let per_s = self.0.load(Ordering::Relaxed);
        (per_s > 0).then(|| Duration::from_nanos(1_000_000_000 / per_s))
    }
}

/// One kind of requests on a schedule of its own.
pub(super) struct Stream {
    pub(super) asker: Box<dyn Asker>,
    pub(super) rate: Rate,
    /// To each gateway, each with at most one request in flight.
    pub(super) connections: usize,
}

impl Stream {
    pub(super) fn new(asker: impl Asker + 'static, per_s: u64, connections: usize) -> Stream {
        Stream { asker: Box::new(asker), rate: Rate::new(per_s), connections }
    }
}

/// What became of one request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) due: Instant,
    pub(super) latency_us: u32,
    /// Which of the streams.
    pub(super) stream: u8,
    /// 0: never answered.
    pub(super) status: u16,
    pub(super) hit: bool,
    /// Its asker said so.
    pub(super) right: bool,
    pub(super) tag: u32,
}

/// A gateway, and whether the client may choose it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// As a load balancer knows it that watches `/readyz`.
    pub(super) ready: Arc<AtomicBool>,
}

impl Target {
    pub(super) fn new(address: SocketAddr) -> Target {
        Target { address, ready: Arc::new(AtomicBool::new(true)) }
    }
}

/// Where the traffic's thread runs, and before whom.
#[derive(Clone, Copy)]
pub(super) struct Seat {
    pub(super) cores: CpuSet,
    /// `None`: as any other.
    pub(super) rank: Option<Rank>,
}

/// Running traffic.
pub(super) struct Traffic {
    thread: JoinHandle<Result<Vec<Sample>>>,
    stop: Arc<AtomicBool>,
}

impl Traffic {
    pub(super) fn start(targets: Vec<Target>, streams: Vec<Stream>, seat: Seat) -> Traffic {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = Arc::clone(&stop);
        let run = move || {
            seat.rank.map_or(Ok(()), rank_this_thread)?;
            on(&seat.cores, || Engine::new(targets, streams)?.run(&stopping))
        };
        let thread = std::thread::Builder::new().name("traffic".to_owned()).spawn(run);
        Traffic { thread: thread.expect("a thread can be started"), stop }
    }

    /// Sends nothing more, waits for the answers that are still to come, and gives all samples.
    pub(super) fn end(self) -> Result<Vec<Sample>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the traffic does not panic")
    }
}

/// Lets time pass while traffic runs: a span to be measured, never a wait for something.
pub(super) fn span(length: Duration) -> std::ops::Range<Instant> {
    let begin = Instant::now();
    std::thread::sleep(length);
    begin..begin + length
}

/// One request on its way.
struct Shot {
    due: Instant,
    tag: u32,
    attempts: u8,
}

struct Connection {
    wire: Wire,
    stream: usize,
    target: usize,
    shot: Option<Shot>,
}

struct Schedule {
    next: Option<Instant>,
    /// Broke with their connection, to be sent again.
    again: VecDeque<(Shot, Vec<u8>)>,
    /// By target.
    idle: Vec<Vec<usize>>,
    turn: usize,
}

struct Engine {
    poll: Poll,
    events: Events,
    timer: Timer,
    targets: Vec<Target>,
    down_until: Vec<Option<Instant>>,
    streams: Vec<Stream>,
    schedules: Vec<Schedule>,
    connections: Vec<Connection>,
    in_flight: usize,
    scratch: Vec<u8>,
    samples: Vec<Sample>,
}

impl Engine {
    fn new(targets: Vec<Target>, streams: Vec<Stream>) -> Result<Engine> {
        let poll = Poll::new()?;
        let timer = Timer::register(&poll, TIMER)?;
        let (mut connections, mut schedules) = (Vec::new(), Vec::new());
        for (stream, of) in streams.iter().enumerate() {
            let mut idle = vec![Vec::new(); targets.len()];
            for (target, idle) in idle.iter_mut().enumerate() {
                for _ in 0..of.connections {
                    idle.push(connections.len());
                    connections.push(Connection { wire: Wire::default(), stream, target, shot: None });
                }
            }
            schedules.push(Schedule { next: None, again: VecDeque::new(), idle, turn: 0 });
        }
        Ok(Engine {
            poll,
            events: Events::with_capacity(1024),
            timer,
            down_until: vec![None; targets.len()],
            targets,
            streams,
            schedules,
            connections,
            in_flight: 0,
            scratch: vec![0; 128 * 1024],
            samples: Vec::new(),
        })
    }

    fn run(mut self, stop: &AtomicBool) -> Result<Vec<Sample>> {
        while !stop.load(Ordering::Relaxed) {
            let now = Instant::now();
            let wake = (0..self.streams.len()).filter_map(|stream| self.send_due(stream, now)).min();
            self.wait(wake.unwrap_or(now + LOOK).min(now + LOOK))?;
            if self.samples.len() > SAMPLES_MAX {
                return Err("more samples than are kept".into());
            }
        }
        // What was due by now is still sent: left out, a queue that grows would look short.
        let ended = Instant::now();
        while Instant::now() < ended + DRAIN {
            for stream in 0..self.streams.len() {
                self.send_due(stream, ended);
            }
            if self.in_flight == 0 && (0..self.streams.len()).all(|stream| !self.is_behind(stream, ended)) {
                break;
            }
            self.wait(Instant::now() + LOOK)?;
        }
        // Whatever is left was asked and not answered.
        for index in 0..self.connections.len() {
            if let Some(shot) = self.connections[index].shot.take() {
                self.unanswered(self.connections[index].stream, &shot);
            }
        }
        for stream in 0..self.schedules.len() {
            while let Some((shot, _)) = self.schedules[stream].again.pop_front() {
                self.unanswered(stream, &shot);
            }
            self.never_sent(stream, ended);
        }
        Ok(self.samples)
    }

    /// Whether something was due at that time and has not been sent.
    fn is_behind(&self, stream: usize, at: Instant) -> bool {
        let schedule = &self.schedules[stream];
        !schedule.again.is_empty() || schedule.next.is_some_and(|next| next <= at)
    }

    /// What was due by the end counts as not answered.
    fn never_sent(&mut self, stream: usize, ended: Instant) {
        let Some(interval) = self.streams[stream].rate.interval() else { return };
        while let Some(due) = self.schedules[stream].next.filter(|next| *next <= ended) {
            self.schedules[stream].next = Some(due + interval);
            let tag = self.streams[stream].asker.ask(&mut Vec::new());
            self.unanswered(stream, &Shot { due, tag, attempts: 0 });
        }
    }

    /// Sends what is due of a stream, as far as connections are idle; the time of the next, if it can be sent then.
    fn send_due(&mut self, stream: usize, now: Instant) -> Option<Instant> {
        loop {
            let interval = self.streams[stream].rate.interval();
            let schedule = &mut self.schedules[stream];
            schedule.next = interval.map(|_| schedule.next.unwrap_or(now));
            let due = schedule.next.filter(|next| *next <= now);
            if schedule.again.is_empty() && due.is_none() {
                return schedule.next;
            }
            let index = self.take_idle(stream)?;
            let schedule = &mut self.schedules[stream];
            let connection = &mut self.connections[index];
            match (schedule.again.pop_front(), due, interval) {
                (Some((shot, request)), ..) => {
                    connection.wire.request = request;
                    connection.shot = Some(shot);
                }
                (None, Some(due), Some(interval)) => {
                    connection.wire.request.clear();
                    let tag = self.streams[stream].asker.ask(&mut connection.wire.request);
                    connection.shot = Some(Shot { due, tag, attempts: 0 });
                    schedule.next = Some(due + interval);
                }
                _ => {
                    schedule.idle[connection.target].push(index);
                    return None;
                }
            }
            self.in_flight += 1;
            self.launch(index);
        }
    }

    /// An idle connection to a gateway that is up, each in its turn.
    fn take_idle(&mut self, stream: usize) -> Option<usize> {
        let schedule = &mut self.schedules[stream];
        let count = self.targets.len();
        let chosen = (0..count).map(|step| (schedule.turn + step) % count).find(|&target| {
            let up = self.down_until[target].is_none_or(|until| until <= Instant::now());
            up && self.targets[target].ready.load(Ordering::Relaxed) && !schedule.idle[target].is_empty()
        })?;
        schedule.turn = (chosen + 1) % count;
        schedule.idle[chosen].pop()
    }

    fn launch(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let address = self.targets[connection.target].address;
        let opened = match connection.wire.is_open() {
            true => Ok(()),
            false => connection.wire.open(address, self.poll.registry(), Token(index)),
        };
        if opened.and_then(|()| connection.wire.start()).is_err() {
            self.broke(index);
        }
    }

    /// The connection is of no use any more; what it carried is sent again, elsewhere if there is an elsewhere.
    fn broke(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        connection.wire.close();
        let (stream, target) = (connection.stream, connection.target);
        let Some(mut shot) = connection.shot.take() else { return };
        let request = std::mem::take(&mut connection.wire.request);
        self.down_until[target] = Some(Instant::now() + DOWN_FOR);
        self.in_flight -= 1;
        self.schedules[stream].idle[target].push(index);
        shot.attempts += 1;
        if shot.attempts < ATTEMPTS_MAX {
            self.schedules[stream].again.push_back((shot, request));
        } else {
            self.unanswered(stream, &shot);
        }
    }

    fn wait(&mut self, wake: Instant) -> Result<()> {
        self.timer.arm(wake.saturating_duration_since(Instant::now()))?;
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        self.poll.poll(&mut events, None)?;
        for event in &events {
            let Token(index) = event.token();
            // The timer's event needs nothing: its purpose was to end the poll.
            let Some(connection) = self.connections.get_mut(index) else { continue };
            match connection.wire.drive(&mut self.scratch) {
                Ok(true) => self.answered(index),
                Ok(false) => {}
                Err(_) => self.broke(index),
            }
        }
        self.events = events;
        Ok(())
    }

    fn answered(&mut self, index: usize) {
        let connection = &mut self.connections[index];
        let Some(shot) = connection.shot.take() else { return };
        let latency_us = micros(shot.due.elapsed());
        let answer = connection.wire.answer();
        let right = self.streams[connection.stream].asker.check(shot.tag, answer);
        self.samples.push(Sample {
            due: shot.due,
            latency_us,
            stream: number(connection.stream),
            status: answer.status,
            hit: answer.hit,
            right,
            tag: shot.tag,
        });
        self.in_flight -= 1;
        self.schedules[connection.stream].idle[connection.target].push(index);
    }

    fn unanswered(&mut self, stream: usize, shot: &Shot) {
        let latency_us = micros(shot.due.elapsed());
        let stream = number(stream);
        let lost =
            Sample { due: shot.due, latency_us, stream, status: 0, hit: false, right: true, tag: shot.tag };
        self.samples.push(lost);
    }
}

fn micros(time: Duration) -> u32 {
    u32::try_from(time.as_micros()).unwrap_or(u32::MAX)
}

fn number(stream: usize) -> u8 {
    u8::try_from(stream).expect("a handful of streams")
}
