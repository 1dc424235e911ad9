//! The role that serves: makes every part from the config, joins them, and takes them down in order. Only
//! here do adapters and edges meet.

mod listen;
mod lookups;
mod strength;

pub use strength::evicts;

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::LocalSet;

use crate::admission::adaptive::adapt;
use crate::config::Config;
use crate::event::budget::Budget;
use crate::grpc::{self, Grpc, Ready};
use crate::http::access_log::AccessLog;
use crate::http::body::Reader;
use crate::http::gate::Gate;
use crate::http::workers::Workers;
use crate::http::{self, Edge, Limits, Rpc, admin};
use crate::metrics::Metrics;
use crate::parts::{self, Unusable};
use crate::pipeline::{Shared, Worker};
use crate::ports::RecentStore;
use crate::recent::{Mode, Recent};
use crate::traces::Traces;

/// Why serving could not begin, or ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Something in the config cannot be used; exit code 64.
    #[error("{0}")]
    Config(String),
    /// The machine refused something; exit code 1.
    #[error("{what}: {error}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        error: std::io::Error,
    },
}

impl From<Unusable> for ServeError {
    fn from(unusable: Unusable) -> Self {
        ServeError::Config(unusable.0)
    }
}

impl ServeError {
    fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> ServeError {
        let what = what.into();
        move |error| ServeError::System { what, error }
    }
}

/// Where a running gateway is reached.
#[derive(Clone, Copy, Debug)]
pub struct Addresses {
    /// Events and lookups.
    pub listen: SocketAddr,
    /// Health and metrics.
    pub admin: SocketAddr,
}

/// A read model that a role brings along instead of the config's Valkey.
pub struct ReadModel {
    /// Where it is kept.
    pub store: Arc<dyn RecentStore>,
    /// How it follows Kafka.
    pub mode: Mode,
}

/// A worker's loop that has not turned for so long is stuck.
const STALLED_AFTER: Duration = Duration::from_secs(10);

const CONTROL_UNREAD: &str =
    "the topic _weir_control could not be read yet: without it no lookup knows what was erased";

/// The read model is rebuilt from Kafka: leaving its group well is a courtesy, not worth more than this.
const RECENT_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until a signal, then stops without losing what was acknowledged.
pub fn run(
    config: &Config,
    read_model: Option<ReadModel>,
    announce: impl FnOnce(Addresses),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("rest")
        .enable_all()
        .build();
    let runtime = runtime.map_err(ServeError::system("the runtime cannot start"))?;
    LocalSet::new().block_on(&runtime, serve(config, read_model, announce))
}

async fn serve(
    config: &Config,
    read_model: Option<ReadModel>,
    announce: impl FnOnce(Addresses),
) -> Result<(), ServeError> {
    let metrics = Arc::new(Metrics::new().map_err(|error| ServeError::Config(error.to_string()))?);
    let shared = Arc::new(parts::shared(config, &metrics)?);
    let gate = Gate::new(parts::access(config, &metrics)?, parts::signatures(config)?, Arc::clone(&shared));
    let traces = parts::traces(config, &metrics)?;
    let [tls, admin_tls] = parts::tls(config, &metrics)?;
    let reads_valkey = read_model.is_none();
    let read_model = lookups::start(config, read_model)?;
    let (recent, warm) = read_model.unzip();
    let budget = Budget::new(config.limits.in_flight_bytes_max);
    let adapting = tokio::task::spawn_local(adapt(Arc::clone(&shared.acks), Arc::clone(&budget)));
    let limits = http_limits(config);
    let (stop, stopped) = watch::channel(false);
    let listener = bind(config.listen).await?;
    let admin_listener = bind(config.admin).await?;
    let addresses = Addresses {
        listen: listener.local_addr().map_err(ServeError::system("listen"))?,
        admin: admin_listener.local_addr().map_err(ServeError::system("admin"))?,
    };
    let stopping = Arc::new(AtomicBool::new(false));
    let ready = ready(&shared, &stopping, recent.clone(), warm);
    let is_ready = Ready(Arc::new({
        let ready = Arc::clone(&ready);
        move || ready().is_empty()
    }));
    let told = (Arc::clone(&metrics), traces.clone());
    let edge = edges(config, &shared, &gate, &budget, told, (recent.clone(), stopped.clone(), is_ready));
    let workers = Workers::start(config.worker_count(), limits, tls.as_ref(), &stopped, edge);
    let workers = Arc::new(workers.map_err(ServeError::system("the workers cannot start"))?);
    let admin = admin_router(
        &gate,
        &metrics,
        &workers,
        (&shared, config.plugin_limits.artifact_bytes_max),
        &budget,
        ready,
        recent.clone(),
    );
    let admin = tokio::task::spawn_local(listen::admin(admin_listener, admin_tls, admin, limits));
    let accepting = tokio::task::spawn_local({
        let workers = Arc::clone(&workers);
        async move { workers.accept(listener, stopped).await }
    });
    announce(addresses);
    tracing::info!(listen = %addresses.listen, admin = %addresses.admin, "serving");

    let ended = tokio::select! {
        signal = listen::signal() => signal.map(Ok).map_err(ServeError::system("signals cannot be received"))?,
        weak = strength::weak_topics(config) => Err(ServeError::Config(weak)),
        evicting = strength::evicting_valkey(config), if reads_valkey => Err(ServeError::Config(evicting)),
    };
    tracing::info!(?ended, connections = workers.connections(), "stopping");
    stopping.store(true, Ordering::Release);
    stop.send_replace(true);
    if let Some(recent) = &recent {
        recent.end_tails();
    }
    drop(accepting.await);
    let finished = tokio::task::spawn_blocking({
        let producers = Arc::clone(&shared.producers);
        let timeout = Duration::from_millis(config.limits.shutdown_timeout_ms / 2);
        move || {
            workers.close();
            producers.stop(timeout);
            traces.stop();
        }
    });
    drop(finished.await);
    if let Some(recent) = recent
        && tokio::time::timeout(RECENT_STOP_TIMEOUT, recent.stop()).await.is_err()
    {
        tracing::warn!("the read model did not stop in time; nothing is lost with it");
    }
    admin.abort();
    adapting.abort();
    tracing::info!("stopped");
    ended.map(|_signal| ())
}

fn http_limits(config: &Config) -> Limits {
    let limits = &config.limits;
    Limits {
        batch_bytes_max: limits.batch_bytes_max,
        connections_max: limits.connections_max,
        header_timeout_ms: limits.header_timeout_ms,
        body_timeout_ms: limits.body_timeout_ms,
        idle_timeout_ms: limits.idle_timeout_ms,
        shutdown_timeout_ms: limits.shutdown_timeout_ms,
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(ServeError::system(format!("cannot listen on {address}")))
}

/// What each worker makes for itself, on its own thread.
fn edges(
    config: &Config,
    shared: &Arc<Shared>,
    gate: &Arc<Gate>,
    budget: &Arc<Budget>,
    (metrics, traces): (Arc<Metrics>, Traces),
    (recent, stopping, ready): (Option<Recent>, watch::Receiver<bool>, Ready),
) -> impl Fn(Arc<AtomicUsize>) -> Rc<Edge> + Clone + Send + 'static {
    let (shared, budget) = (Arc::clone(shared), Arc::clone(budget));
    let gate = Arc::clone(gate);
    let (limits, log) = (http_limits(config), config.log.access_lines_per_s_max);
    move |running| {
        let reader = Reader {
            budget: Arc::clone(&budget),
            body_bytes_max: limits.batch_bytes_max,
            body_timeout: Duration::from_millis(limits.body_timeout_ms),
        };
        let (worker, metrics) = (Worker::new(Arc::clone(&shared), running), Arc::clone(&metrics));
        let recent = recent.as_ref().map(Recent::on_this_runtime);
        let lookups = http::recent::router(&gate, recent.clone()).merge(http::docs::router(&gate));
        let (gate, stopping) = (Arc::clone(&gate), stopping.clone());
        let grpc = Rc::new(Grpc {
            worker: Rc::clone(&worker),
            gate: Arc::clone(&gate),
            reader: reader.clone(),
            recent,
            services: grpc::services(ready.clone()),
            stopping: stopping.clone(),
        });
        let rpc = Rpc(Box::new(move |request| Box::pin(Rc::clone(&grpc).answer(request))));
        let (log, traces) = (AccessLog::new(log), traces.clone());
        Rc::new(Edge { worker, gate, reader, lookups, rpc, metrics, log, traces, stopping })
    }
}

/// Why the gateway is not ready.
fn ready(
    shared: &Arc<Shared>,
    stopping: &Arc<AtomicBool>,
    recent: Option<Recent>,
    warm: Option<watch::Receiver<bool>>,
) -> admin::Reasons {
    let (shared, stopping) = (Arc::clone(shared), Arc::clone(stopping));
    Arc::new(move || {
        let absent = shared.plugins.tables_absent().join(", ");
        let tables = format!("tables could not be read yet: {absent}");
        let reasons = [
            (!absent.is_empty(), tables.as_str()),
            (stopping.load(Ordering::Acquire), "stopping"),
            (!shared.producers.ready(), "Kafka has not described every topic of the routes"),
            (recent.as_ref().is_some_and(|recent| !recent.controlled()), CONTROL_UNREAD),
            (warm.as_ref().is_some_and(|warm| !*warm.borrow()), "the read model is not warm yet"),
        ];
        reasons.iter().filter(|(holds, _)| *holds).map(|(_, reason)| (*reason).to_owned()).collect()
    })
}

fn admin_router(
    gate: &Arc<Gate>,
    metrics: &Arc<Metrics>,
    workers: &Arc<Workers>,
    (shared, plugin_bytes_max): (&Arc<Shared>, usize),
    budget: &Arc<Budget>,
    ready: admin::Reasons,
    recent: Option<Recent>,
) -> axum::Router {
    let live: admin::Reasons = Arc::new({
        let workers = Arc::clone(workers);
        move || if workers.stalled(STALLED_AFTER) { vec!["a worker is stuck".to_owned()] } else { Vec::new() }
    });
    let others = http::recent_admin::router(gate, recent.clone());
    let gauges: admin::Gauges = Arc::new({
        let (metrics, workers, budget) = (Arc::clone(metrics), Arc::clone(workers), Arc::clone(budget));
        let shared = Arc::clone(shared);
        move || {
            let aside = shared.plugins.aside();
            for route in shared.routes.iter() {
                metrics.route_aside(&route.name, aside.contains(&route.name));
            }
            if let Some(recent) = &recent {
                metrics.recent(&recent.counts().named());
                metrics.tail_subscribers.set(i64::try_from(recent.subscribers()).unwrap_or(i64::MAX));
                for (topic, lag) in recent.lag() {
                    metrics.recent_lag(
                        &topic,
                        lag.events,
                        Duration::from_millis(lag.stale_ms.unsigned_abs()),
                        lag.to_fill,
                    );
                }
            }
            metrics.shed(&budget.shed());
            for (tenant, unit, count) in shared.throttle.refused() {
                metrics.throttled(tenant, unit, count);
            }
            metrics.connections.set(i64::try_from(workers.connections()).unwrap_or(i64::MAX));
            metrics.in_flight_bytes.set(i64::try_from(budget.used_bytes()).unwrap_or(i64::MAX));
            metrics.waiting_bytes_allowed.set(i64::try_from(budget.allowed_bytes()).unwrap_or(i64::MAX));
        }
    });
    let plugins = http::plugins::router(gate, Arc::clone(shared), plugin_bytes_max);
    admin::router(gate, Arc::clone(metrics), live, ready, gauges, plugins.merge(others))
}
