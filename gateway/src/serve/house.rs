//! What a config makes of a running gateway. A reload makes another one, beside it; a request ends in the one that it
//! began in.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use super::lookups::{self, Running};
use super::{ReadModel, ServeError};
use crate::access::Access;
use crate::config::Config;
use crate::event::budget::Budget;
use crate::grpc::{self, Grpc, Ready};
use crate::http::access_log::AccessLog;
use crate::http::admin::{Gauges, Reasons};
use crate::http::body::Reader;
use crate::http::gate::Gate;
use crate::http::reload::Reload;
use crate::http::workers::{Post, Workers};
use crate::http::{self, Edge, Limits, Rpc, admin};
use crate::metrics::Metrics;
use crate::parts::{self, Lasting};
use crate::pipeline::{Seat, Shared, Worker};
use crate::recent::Recent;
use crate::telemetry;

const CONTROL_UNREAD: &str =
    "the topic _weir_control could not be read yet: without it no lookup knows what was erased";

/// How often something is looked at that nobody tells of.
const LOOK: Duration = Duration::from_millis(20);
/// A worker's loop that has not turned for so long is stuck.
const STALLED_AFTER: Duration = Duration::from_secs(10);

/// What all houses stand on.
pub(super) struct Ground {
    pub(super) lasting: Lasting,
    pub(super) access: Arc<Access>,
    pub(super) budget: Arc<Budget>,
    /// Where the read model is kept, if it is anywhere.
    pub(super) place: Option<ReadModel>,
    /// Whether the gateway is to be left alone.
    pub(super) stopping: AtomicBool,
    /// Turns true when the gateway stops.
    pub(super) stopped: watch::Receiver<bool>,
}

/// One config's parts, joined.
pub(super) struct House {
    pub(super) config: Config,
    pub(super) shared: Arc<Shared>,
    gate: Arc<Gate>,
    pub(super) lookups: Option<Running>,
    /// A permit for each worker that has gone over to it.
    pub(super) moved_in: Semaphore,
}

impl Ground {
    fn metrics(&self) -> &Arc<Metrics> {
        &self.lasting.metrics
    }
}

impl House {
    /// Joins the parts of a config, which are made already as far as that takes long.
    pub(super) fn new(
        ground: &Ground,
        config: Config,
        shared: Shared,
        earlier: Option<&House>,
    ) -> Result<House, ServeError> {
        let shared = Arc::new(shared);
        let signatures = parts::signatures(&config)?;
        let running = earlier.and_then(|house| house.lookups.as_ref());
        let lookups = ground.place.as_ref().map(|place| lookups::start(&config, place, running));
        Ok(House {
            gate: Gate::new(Arc::clone(&ground.access), signatures, Arc::clone(&shared)),
            shared,
            lookups: lookups.transpose()?,
            config,
            moved_in: Semaphore::new(0),
        })
    }

    pub(super) fn recent(&self) -> Option<&Recent> {
        self.lookups.as_ref().map(|running| &running.recent)
    }

    /// Waits until lookups rest on as much as in the house before.
    pub(super) async fn lookups_as_good_as(&self, earlier: &House) {
        let (Some(before), Some(now)) = (&earlier.lookups, &self.lookups) else { return };
        let mut warm = now.warm.clone();
        let was_warm = *before.warm.borrow();
        while before.recent.controlled() && !now.recent.controlled() {
            tokio::time::sleep(LOOK).await;
        }
        if was_warm {
            drop(warm.wait_for(|warm| *warm).await);
        }
    }

    /// The bounds of the edge.
    pub(super) fn limits(&self) -> Limits {
        let limits = &self.config.limits;
        Limits {
            batch_bytes_max: limits.batch_bytes_max,
            connections_max: limits.connections_max,
            connections_per_address_max: limits.connections_per_address_max,
            connection_age_max_ms: limits.connection_age_max_ms,
            header_timeout_ms: limits.header_timeout_ms,
            body_timeout_ms: limits.body_timeout_ms,
            idle_timeout_ms: limits.idle_timeout_ms,
            shutdown_timeout_ms: limits.shutdown_timeout_ms,
        }
    }

    /// What a worker answers with, on its own thread.
    fn edge(&self, ground: &Arc<Ground>, seat: &Rc<Seat>) -> Rc<Edge> {
        let limits = self.limits();
        let reader = Reader {
            budget: Arc::clone(&ground.budget),
            body_bytes_max: limits.batch_bytes_max,
            body_timeout: Duration::from_millis(limits.body_timeout_ms),
            quiet_timeout: Duration::from_millis(limits.idle_timeout_ms),
        };
        let worker = Worker::new(Arc::clone(&self.shared), Rc::clone(seat));
        let recent = self.recent().map(Recent::on_this_runtime);
        let lookups = http::recent::router(&self.gate, recent.clone()).merge(http::docs::router(&self.gate));
        let (gate, stopping) = (Arc::clone(&self.gate), ground.stopped.clone());
        let ready = self.ready(ground);
        let grpc = Rc::new(Grpc {
            worker: Rc::clone(&worker),
            gate: Arc::clone(&gate),
            reader: reader.clone(),
            recent,
            services: grpc::services(Ready(Arc::new(move || ready().is_empty()))),
            stopping: stopping.clone(),
        });
        let rpc = Rpc(Box::new(move |request| Box::pin(Rc::clone(&grpc).answer(request))));
        let log = AccessLog::new(self.config.log.access_lines_per_s_max);
        Rc::new(Edge {
            worker,
            gate,
            reader,
            lookups,
            rpc,
            metrics: Arc::clone(ground.metrics()),
            log,
            traces: ground.lasting.traces.clone(),
            stopping,
            limits,
        })
    }

    /// Why the gateway is not ready.
    fn ready(&self, ground: &Arc<Ground>) -> Reasons {
        let (shared, ground, lookups) = (Arc::clone(&self.shared), Arc::clone(ground), self.lookups.clone());
        // Its own: the producers may be asked for those of a config that is not in force, or never will be.
        let topics = parts::topics(&self.config);
        Arc::new(move || {
            let absent = shared.plugins.tables_absent().join(", ");
            let tables = format!("tables could not be read yet: {absent}");
            let lookups = lookups.as_ref();
            let reasons = [
                (!absent.is_empty(), tables.as_str()),
                (ground.stopping.load(Ordering::Acquire), "stopping"),
                (!shared.producers.know(&topics), "Kafka has not described every topic of the routes"),
                (lookups.is_some_and(|running| !running.recent.controlled()), CONTROL_UNREAD),
                (lookups.is_some_and(|running| !*running.warm.borrow()), "the read model is not warm yet"),
            ];
            reasons.iter().filter(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned()).collect()
        })
    }

    /// What the admin listener answers with.
    pub(super) fn admin(&self, ground: &Arc<Ground>, workers: &Arc<Workers>, reload: Reload) -> axum::Router {
        let live: Reasons = Arc::new({
            let workers = Arc::clone(workers);
            move || {
                if workers.stalled(STALLED_AFTER) { vec!["a worker is stuck".to_owned()] } else { Vec::new() }
            }
        });
        let recent = self.recent().cloned();
        let artifact_bytes_max = self.config.plugin_limits.artifact_bytes_max;
        let others = http::plugins::router(&self.gate, Arc::clone(&self.shared), artifact_bytes_max)
            .merge(http::recent_admin::router(&self.gate, recent))
            .merge(http::reload::router(&self.gate, reload));
        let metrics = Arc::clone(ground.metrics());
        admin::router(&self.gate, metrics, live, self.ready(ground), self.gauges(ground, workers), others)
    }

    /// Brings the gauges up to date.
    fn gauges(&self, ground: &Arc<Ground>, workers: &Arc<Workers>) -> Gauges {
        let (shared, recent) = (Arc::clone(&self.shared), self.recent().cloned());
        let (ground, workers) = (Arc::clone(ground), Arc::clone(workers));
        Arc::new(move || {
            let (metrics, budget) = (ground.metrics(), &ground.budget);
            metrics.forget_states();
            let aside = shared.plugins.aside();
            for route in shared.routes.iter() {
                metrics.route_aside(&route.name, aside.contains(&route.name));
            }
            if let Some(recent) = &recent {
                metrics.recent(&recent.counts().named());
                metrics.tail_subscribers.set(i64::try_from(recent.subscribers()).unwrap_or(i64::MAX));
                for (topic, lag) in recent.lag() {
                    let stale = Duration::from_millis(lag.stale_ms.unsigned_abs());
                    metrics.recent_lag(&topic, lag.events, stale, lag.to_fill);
                }
            }
            metrics.shed(&budget.shed());
            metrics.log_lines_dropped(telemetry::lines_dropped());
            for (tenant, unit, count) in shared.throttle.refused() {
                metrics.throttled(tenant, unit, count);
            }
            metrics.connections.set(i64::try_from(workers.connections()).unwrap_or(i64::MAX));
            metrics.in_flight_bytes.set(i64::try_from(budget.used_bytes()).unwrap_or(i64::MAX));
            metrics.waiting_bytes_allowed.set(i64::try_from(budget.allowed_bytes()).unwrap_or(i64::MAX));
        })
    }
}

/// What each worker makes for itself, on its own thread: the edge of the house in force, and of each that follows.
pub(super) fn posts(
    ground: &Arc<Ground>,
    houses: &watch::Receiver<Arc<House>>,
) -> impl Fn(Arc<AtomicUsize>) -> Post + Clone + Send + 'static {
    let (ground, houses) = (Arc::clone(ground), houses.clone());
    move |running| {
        let seat = Seat::new(&ground.lasting.producers, running);
        let (ground, mut houses) = (Arc::clone(&ground), houses.clone());
        let first = Arc::clone(&houses.borrow_and_update());
        let edge = Rc::new(RefCell::new(first.edge(&ground, &seat)));
        let renewing = {
            let (edge, seat) = (Rc::clone(&edge), Rc::clone(&seat));
            async move {
                while houses.changed().await.is_ok() {
                    let house = Arc::clone(&houses.borrow_and_update());
                    edge.replace(house.edge(&ground, &seat));
                    house.moved_in.add_permits(1);
                }
            }
        };
        Post { seat, edge, renewing: Box::pin(renewing) }
    }
}
