//! Threads beside the workers, for the routes whose plugins are slow: what waits there holds up no other route.

use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rustix::process::setpriority_process;
use tokio::sync::oneshot;

use super::accepted::{Accepted, Drafts};
use super::chunk::{Bench, refused};
use super::chunks;
use crate::event::Limits;
use crate::event::frame::frame;
use crate::kafka::sys::schedule_when_idle;
use crate::plugin::Versions;
use crate::problem::{Code, Problem};
use crate::route::Routes;

/// Requests that may wait for one thread.
const QUEUE_MAX: usize = 256;
/// Slow plugins come behind the workers, but they come (`nice(2)`).
const NICE: i32 = 10;
const TOO_SLOW: &str = "the route's plugins are slower than its events come; send it again in a moment";

/// The rest of a request, for another thread to go on with.
pub(super) struct Rest {
    pub(super) request: Accepted,
    /// How many events the whole of it has.
    pub(super) events: usize,
    /// Those of the events before the rest.
    pub(super) drafts: Drafts,
    /// Whoever sent them does not wait any longer.
    pub(super) deadline: Instant,
}

/// The threads of all routes; each is started when it is first needed, and stays.
#[derive(Debug, Default)]
pub struct Lanes(HashMap<Arc<str>, [OnceLock<Lane>; 2]>);

/// One thread, for one route.
#[derive(Debug)]
pub(super) struct Lane {
    /// Absent if the system gave no thread.
    queue: Option<SyncSender<Errand>>,
}

type Errand = (Rest, oneshot::Sender<Drafts>);

impl Lanes {
    /// None is started yet.
    pub fn new(routes: &Routes) -> Self {
        Lanes(routes.iter().map(|route| (Arc::clone(&route.name), Default::default())).collect())
    }

    /// A route's thread: for plugins that are only slow, or for those that overrun. These get what all others leave
    /// of the machine.
    pub(super) fn of(
        &self,
        route: &Arc<str>,
        overruns: bool,
        limits: Limits,
        plugins: &Arc<Versions>,
    ) -> Option<&Lane> {
        let start = || Lane::start(route, overruns, limits, Arc::clone(plugins));
        Some(self.0.get(route)?[usize::from(overruns)].get_or_init(start))
    }
}

impl Lane {
    fn start(route: &Arc<str>, overruns: bool, limits: Limits, plugins: Arc<Versions>) -> Lane {
        let (queue, errands) = sync_channel(QUEUE_MAX);
        let name = Arc::clone(route);
        let run = move || {
            if let Err(error) = step_back(overruns) {
                tracing::warn!(route = %name, %error, "its slow plugins have the workers' priority");
            }
            run(&errands, &name, limits, &plugins);
        };
        let started = std::thread::Builder::new().name(format!("slow-{route}")).spawn(run);
        let started =
            started.inspect_err(|error| tracing::error!(%route, %error, "no thread for slow plugins"));
        Lane { queue: started.is_ok().then_some(queue) }
    }

    /// Has the rest of a request done: to a draft for each of its events.
    pub(super) async fn finish(&self, rest: Rest) -> Result<Drafts, Problem> {
        let (reply, drafts) = oneshot::channel();
        let Some(queue) = &self.queue else { return Ok(turned_away(rest.drafts, rest.events)) };
        match queue.try_send((rest, reply)) {
            Ok(()) => {
                drafts.await.map_err(|_| Problem::new(Code::Internal, "the route's thread ended early"))
            }
            Err(TrySendError::Full((rest, _)) | TrySendError::Disconnected((rest, _))) => {
                Ok(turned_away(rest.drafts, rest.events))
            }
        }
    }
}

/// Behind the workers, with the thread that calls this.
fn step_back(overruns: bool) -> io::Result<()> {
    if overruns { schedule_when_idle() } else { Ok(setpriority_process(None, NICE)?) }
}

fn run(errands: &Receiver<Errand>, route: &Arc<str>, limits: Limits, plugins: &Versions) {
    let new = || Bench::aside(limits, Arc::clone(&plugins.generation()), Arc::clone(route));
    let mut bench = new();
    while let Ok((rest, reply)) = errands.recv() {
        // Who waits hears of a panic by the reply's end.
        match catch_unwind(AssertUnwindSafe(|| rest.finish(&mut bench, limits, plugins))) {
            Ok(drafts) => drop(reply.send(drafts)),
            Err(_) => bench = new(),
        }
    }
}

impl Rest {
    fn finish(mut self, bench: &mut Bench, limits: Limits, plugins: &Versions) -> Drafts {
        let mut drafts = std::mem::take(&mut self.drafts);
        // It was framed before, on the worker.
        let events = frame(&self.request.body, self.request.framing, &limits).map(|frames| frames.events);
        let events = events.unwrap_or_default();
        let (job, out) = (self.request.job(), self.request.out());
        for chunk in chunks(events.get(drafts.list.len()..).unwrap_or_default()) {
            if Instant::now() > self.deadline {
                break;
            }
            bench.chains.adopt(&plugins.generation());
            // Nothing is too slow here.
            if bench.work(&job, &out, chunk, &mut drafts).is_err() {
                break;
            }
        }
        turned_away(drafts, self.events)
    }
}

/// The events without a draft were not begun with, and never will be.
pub(super) fn turned_away(mut drafts: Drafts, events: usize) -> Drafts {
    drafts.list.resize_with(events, || refused(Problem::new(Code::Overloaded, TOO_SLOW)));
    drafts
}
