//! Another config while the gateway runs: on SIGHUP, when its file changes, and when an operator asks. All of it holds or
//! nothing: what cannot be used changes nothing, and is told in the log, in a metric and to whoever asked.

use std::cell::RefCell;
use std::io;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, spawn_local};

use super::house::{Ground, House};
use super::strength;
use crate::admission::adaptive::adapt;
use crate::config::change::Change;
use crate::config::{Config, Loaded};
use crate::http::reload::Reload;
use crate::http::workers::Workers;
use crate::parts;
use crate::pipeline::Shared;
use crate::problem::{Code, Problem};

/// How often the file is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long Kafka may take to describe the topics of new routes.
const TOPICS_TIMEOUT: Duration = Duration::from_secs(10);
const TOPICS_RETRY: Duration = Duration::from_millis(50);
/// How long another read model may take to be as good as the one before.
const LOOKUPS_TIMEOUT: Duration = Duration::from_secs(20);
/// How long the workers may take to go over.
const MOVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Of why a config cannot be used, what is told to whoever asked; the log has all.
const TOLD_CHARS: usize = 2_000;

/// Where a config comes from.
pub struct Source {
    /// Its file, which is followed.
    pub file: PathBuf,
    /// Reads it, with the environment and the flags of the role on top; or says what is wrong with it.
    pub read: Arc<dyn Fn() -> Result<Loaded, String> + Send + Sync>,
    /// What the role does for a config before it is in force.
    pub prepare: Prepare,
}

/// Makes ready what a config needs, or says why it cannot.
pub type Prepare = Box<dyn Fn(&Config) -> Result<(), String>>;

/// Somebody who wants the config read again, and waits for what comes of it.
type Order = oneshot::Sender<Result<Vec<&'static str>, Problem>>;

/// What moves a gateway from one house to the next.
pub(super) struct Reloader {
    pub(super) source: Rc<Source>,
    /// The file as it was last read.
    pub(super) text: String,
    pub(super) ground: Arc<Ground>,
    pub(super) houses: watch::Sender<Arc<House>>,
    pub(super) workers: Arc<Workers>,
    /// What the admin listener answers with.
    pub(super) admin: Rc<RefCell<Router>>,
    /// Keeps what may wait for Kafka where its acks allow.
    pub(super) adapting: JoinHandle<()>,
}

impl Reloader {
    /// Opens the admin listener's paths; then follows signals, the file and orders, and never ends.
    pub(super) fn start(mut self) -> io::Result<impl Future<Output = ()> + 'static> {
        let mut hangups = signal(SignalKind::hangup())?;
        let (orders, mut ordered) = mpsc::channel(1);
        let reload = by_order(orders);
        let house = Arc::clone(&self.houses.borrow());
        *self.admin.borrow_mut() = house.admin(&self.ground, &self.workers, Arc::clone(&reload));
        self.ground.lasting.metrics.config_was_read(true);
        Ok(async move {
            loop {
                let order = self.next(&mut hangups, &mut ordered).await;
                let done = self.reload(&reload).await;
                self.ground.lasting.metrics.config_was_read(done.is_ok());
                match &done {
                    Ok(changed) => tracing::info!(?changed, "the config was read again, and is in force"),
                    Err(why) => tracing::error!(%why, "the config stays as it was"),
                }
                if let Some(order) = order {
                    let told = |why: String| why.chars().take(TOLD_CHARS).collect::<String>();
                    drop(order.send(done.map_err(|why| Problem::new(Code::ConfigUnusable, told(why)))));
                }
            }
        })
    }

    /// Waits for a reason to read the config again.
    async fn next(&mut self, hangups: &mut Signal, ordered: &mut mpsc::Receiver<Order>) -> Option<Order> {
        loop {
            tokio::select! {
                _ = hangups.recv() => return None,
                Some(order) = ordered.recv() => return Some(order),
                () = tokio::time::sleep(LOOK) => if self.file_changed().await { return None },
            }
        }
    }

    /// Whether the file is there and says something else. It is read each time: neither a clock that is too coarse nor a
    /// link that is turned to another file hides a change.
    async fn file_changed(&mut self) -> bool {
        let text = tokio::fs::read_to_string(&self.source.file).await;
        let changed = text.as_ref().is_ok_and(|text| *text != self.text);
        if let (true, Ok(text)) = (changed, text) {
            self.text = text;
        }
        changed
    }

    /// Goes over to what the config says now; the keys under which it differs.
    async fn reload(&mut self, reload: &Reload) -> Result<Vec<&'static str>, String> {
        let old = Arc::clone(&self.houses.borrow());
        let read = Arc::clone(&self.source.read);
        let Loaded { config, warnings, text } = off_the_runtime(move || read()).await?;
        self.text = text;
        for warning in warnings {
            tracing::warn!("{}", warning.trim());
        }
        let Change { live, restart } = Change::between(&old.config, &config);
        if !restart.is_empty() {
            return Err(format!("{}: that takes a restart", restart.join(", ")));
        }
        (self.source.prepare)(&config)?;
        let (ground, earlier) = (Arc::clone(&self.ground), Arc::clone(&old));
        let (config, shared) = off_the_runtime(move || {
            let shared = parts::shared(&config, &ground.lasting, Some(&earlier.shared));
            shared.map(|shared| (config, shared)).map_err(|error| error.to_string())
        })
        .await?;
        let house = self.house(config, shared, &old).await?;
        if tokio::time::timeout(LOOKUPS_TIMEOUT, house.lookups_as_good_as(&old)).await.is_err() {
            tracing::warn!("lookups are not warm yet under the new config: they ask Kafka for more");
        }
        self.move_to(Arc::new(house), &old, reload).await;
        Ok(live)
    }

    /// Builds the house beside the old one. The producers, which both share, go back to the old one's topics if it fails.
    async fn house(&self, config: Config, shared: Shared, old: &House) -> Result<House, String> {
        let producers = &self.ground.lasting.producers;
        let before = producers.topics();
        let built = match self.know_topics(&config).await {
            Ok(()) => House::new(&self.ground, config, shared, Some(old)).map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        if built.is_err() {
            producers.serve(before.to_vec());
        }
        built
    }

    /// Has Kafka describe the topics of all routes before an event is sent to one.
    async fn know_topics(&self, config: &Config) -> Result<(), String> {
        let producers = &self.ground.lasting.producers;
        let (before, now) = (producers.topics(), parts::topics(config));
        let new = now.iter().any(|topic| !before.contains(topic));
        if new {
            strength::topics_are_strong(config).await?;
        }
        producers.serve(now.clone());
        let known = async {
            while new && !producers.know(&now) {
                tokio::time::sleep(TOPICS_RETRY).await;
            }
        };
        tokio::time::timeout(TOPICS_TIMEOUT, known).await.map_err(|_| {
            "Kafka does not describe all topics: `weir topics create` makes those that are missing".to_owned()
        })
    }

    /// Puts a house in force, and leaves the old one to the requests that are in it.
    async fn move_to(&mut self, house: Arc<House>, old: &House, reload: &Reload) {
        *self.admin.borrow_mut() = house.admin(&self.ground, &self.workers, Arc::clone(reload));
        if !Arc::ptr_eq(&house.shared.acks, &old.shared.acks) {
            self.adapting.abort();
            let (acks, budget) = (Arc::clone(&house.shared.acks), Arc::clone(&self.ground.budget));
            self.adapting = spawn_local(adapt(acks, budget));
        }
        self.houses.send_replace(Arc::clone(&house));
        let workers = u32::try_from(self.workers.count()).unwrap_or(u32::MAX);
        if tokio::time::timeout(MOVE_TIMEOUT, house.moved_in.acquire_many(workers)).await.is_err() {
            tracing::warn!("a worker is busy and goes over to the new config later");
        }
        if let (Some(before), Some(now)) = (&old.lookups, &house.lookups)
            && !before.is_the_same_as(now)
        {
            let recent = before.recent.clone();
            drop(spawn_local(async move { recent.stop().await }));
        }
    }
}

/// The way to [`Reloader::start`] for the admin listener.
fn by_order(orders: mpsc::Sender<Order>) -> Reload {
    Arc::new(move || {
        let orders = orders.clone();
        Box::pin(async move {
            let stopping = || Problem::new(Code::ShuttingDown, "the gateway is stopping");
            let (order, done) = oneshot::channel();
            orders.send(order).await.map_err(|_| stopping())?;
            done.await.unwrap_or_else(|_| Err(stopping()))
        })
    })
}

/// Reading, compiling and checking take their time.
async fn off_the_runtime<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, String> + Send + 'static,
) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err("a defect of the gateway".to_owned()))
}
