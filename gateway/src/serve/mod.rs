//! The role that serves: makes every part from the config, joins them, and takes them down in order. Only
//! here do adapters and edges meet.

mod house;
mod listen;
mod lookups;
mod reload;
mod strength;

pub use reload::{Prepare, Source};
pub use strength::evicts;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};

use self::house::{Ground, House};
use self::reload::Reloader;
use crate::admission::adaptive::adapt;
use crate::config::Loaded;
use crate::event::budget::Budget;
use crate::http::workers::Workers;
use crate::kafka::sys::schedule_in_batches;
use crate::parts::{self, Unusable};
use crate::ports::RecentStore;
use crate::recent::Mode;

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
#[derive(Clone)]
pub struct ReadModel {
    /// Where it is kept.
    pub store: Arc<dyn RecentStore>,
    /// How it follows Kafka.
    pub mode: Mode,
}

/// The read model is rebuilt from Kafka: leaving its group well is a courtesy, not worth more than this.
const RECENT_STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// Serves until a signal, then stops without losing what was acknowledged. `source` is asked for the config again when
/// that is wanted.
pub fn run(
    loaded: Loaded,
    source: Source,
    read_model: Option<ReadModel>,
    announce: impl FnOnce(Addresses),
) -> Result<(), ServeError> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .thread_name("rest")
        .on_thread_start(schedule_in_batches)
        .enable_all()
        .build();
    let runtime = runtime.map_err(ServeError::system("the runtime cannot start"))?;
    LocalSet::new().block_on(&runtime, serve(loaded, source, read_model, announce))
}

async fn serve(
    Loaded { config, text, .. }: Loaded,
    source: Source,
    read_model: Option<ReadModel>,
    announce: impl FnOnce(Addresses),
) -> Result<(), ServeError> {
    // What the role made ready for its configs is given back last.
    let source = Rc::new(source);
    let lasting = parts::lasting(&config)?;
    let shared = parts::shared(&config, &lasting, None)?;
    let access = parts::access(&config, &lasting.metrics)?;
    let [tls, admin_tls] = parts::tls(&config, &lasting.metrics)?;
    let reads_valkey = read_model.is_none();
    let (stop, stopped) = watch::channel(false);
    let ground = Arc::new(Ground {
        access,
        budget: Budget::new(config.limits.in_flight_bytes_max),
        place: lookups::place(&config, read_model)?,
        stopping: AtomicBool::new(false),
        stopped: stopped.clone(),
        lasting,
    });
    let house = Arc::new(House::new(&ground, config, shared, None)?);
    let first = Arc::clone(&house);
    let config = &first.config;
    let listener = bind(config.listen).await?;
    let admin_listener = bind(config.admin).await?;
    let addresses = Addresses {
        listen: listener.local_addr().map_err(ServeError::system("listen"))?,
        admin: admin_listener.local_addr().map_err(ServeError::system("admin"))?,
    };
    let limits = house.limits();
    let adapting = spawn_local(adapt(Arc::clone(&house.shared.acks), Arc::clone(&ground.budget)));
    let (houses, in_force) = watch::channel(house);
    let posts = house::posts(&ground, &in_force);
    let workers = Workers::start(config.worker_count(), limits, tls.as_ref(), &stopped, posts);
    let workers = Arc::new(workers.map_err(ServeError::system("the workers cannot start"))?);
    let admin = Rc::new(RefCell::new(Router::new()));
    let reloader = Reloader {
        source: Rc::clone(&source),
        text,
        ground: Arc::clone(&ground),
        houses,
        workers: Arc::clone(&workers),
        admin: Rc::clone(&admin),
        adapting,
    };
    let reloading = spawn_local(reloader.start().map_err(ServeError::system("signals cannot be received"))?);
    let admin = spawn_local(listen::admin(admin_listener, admin_tls, admin, limits));
    let accepting = spawn_local({
        let (workers, ground) = (Arc::clone(&workers), Arc::clone(&ground));
        async move { workers.accept(listener, &ground.lasting.metrics, stopped).await }
    });
    announce(addresses);
    tracing::info!(listen = %addresses.listen, admin = %addresses.admin, "serving");

    let ended = tokio::select! {
        signal = listen::signal() => signal.map(Ok).map_err(ServeError::system("signals cannot be received"))?,
        weak = strength::weak_topics(config) => Err(ServeError::Config(weak)),
        evicting = strength::evicting_valkey(config), if reads_valkey => Err(ServeError::Config(evicting)),
    };
    tracing::info!(?ended, connections = workers.connections(), "stopping");
    reloading.abort();
    let last = Arc::clone(&in_force.borrow());
    ground.stopping.store(true, Ordering::Release);
    stop.send_replace(true);
    if let Some(recent) = last.recent() {
        recent.end_tails();
    }
    drop(accepting.await);
    let finished = tokio::task::spawn_blocking({
        let ground = Arc::clone(&ground);
        let timeout = Duration::from_millis(last.config.limits.shutdown_timeout_ms / 2);
        move || {
            workers.close();
            ground.lasting.producers.stop(timeout);
            ground.lasting.traces.stop();
        }
    });
    drop(finished.await);
    if let Some(recent) = last.recent()
        && tokio::time::timeout(RECENT_STOP_TIMEOUT, recent.stop()).await.is_err()
    {
        tracing::warn!("the read model did not stop in time; nothing is lost with it");
    }
    admin.abort();
    tracing::info!("stopped");
    ended.map(|_signal| ())
}

async fn bind(address: SocketAddr) -> Result<TcpListener, ServeError> {
    TcpListener::bind(address).await.map_err(ServeError::system(format!("cannot listen on {address}")))
}
