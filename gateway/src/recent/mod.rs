//! Recent events: the last hour or so of every topic, found by key, by id and by position, with a certificate
//! of how far each answer reaches. It follows the log on its own; nothing on an event's way in waits for it.

mod answer;
mod body;
mod control;
mod envelope;
mod feed;
mod fill;
mod free;
mod gap;
mod invalidate;
mod listing;
mod lookup;
mod projector;
mod record;
mod shown;
mod slot;
mod status;
mod texts;
mod view;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;
use tokio::runtime::Handle;
use tokio::sync::watch;

use crate::kafka::consumer::{Ends, Log};
use crate::ports::{Keep, RecentStore};

pub use answer::{AsOf, Event, Found, Page};
pub use control::CONTROL_TOPIC;
pub use control::fact::{Fact, InForce, What};
pub use feed::{Begin, Cut, Filter, Follower, Next, Positions};
pub use invalidate::{Invalidated, Order, Target};
pub use lookup::{ById, ByKey, Level, MinPosition};
pub use status::{Lag, Standing};

use control::{Control, Following};
use feed::Feeds;
use fill::Older;
use gap::Gaps;
use projector::Projector;
use shown::Shown;
use slot::Source;
use status::Stands;

/// How much one route keeps for lookups.
#[derive(Clone, Debug, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long an event can be looked up after it was received, in seconds.
    pub window_s: u64,
    /// How many events one key lists, at most 1000.
    pub per_key: usize,
    /// The budget for the events of one partition. Above it the oldest go first, and answers say so.
    pub partition_bytes_max: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { window_s: 3600, per_key: 64, partition_bytes_max: 64 << 20 }
    }
}

const WINDOW_S_MAX: u64 = 10 * 366 * 86_400;
const PER_KEY_MAX: usize = 1000;

impl Settings {
    fn keep(&self) -> Keep {
        Keep {
            // Ten years stand for any longer window: the arithmetic on times must not overflow.
            window_ms: i64::try_from(self.window_s.min(WINDOW_S_MAX) * 1000).expect("ten years fit"),
            per_key: self.per_key.clamp(1, PER_KEY_MAX),
            bytes_max: self.partition_bytes_max,
        }
    }
}

/// One route's lookups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// The route's name, as it stands in the path.
    pub route: Arc<str>,
    /// The topic that belongs to this route alone.
    pub topic: Arc<str>,
    /// How much is kept.
    pub settings: Settings,
}

/// Who keeps which partitions up to date.
#[derive(Clone, Debug)]
pub enum Mode {
    /// The gateways share them out as a consumer group of this name.
    Group(Arc<str>),
    /// This process, all of them: for the mock cluster of `weir dev`, which has no lookup by time, no working
    /// groups, and does not wake a long poll.
    Manual,
}

impl Mode {
    /// How long a broker may hold a fetch that finds nothing.
    fn fetch_wait_ms(&self) -> u32 {
        if matches!(self, Mode::Manual) { 5 } else { 100 }
    }
}

/// What [`Recent::start`] needs.
pub struct Start {
    /// The routes with lookups.
    pub topics: Vec<Topic>,
    /// Where they are kept.
    pub store: Arc<dyn RecentStore>,
    /// The connection settings for Kafka (`bootstrap.servers`, TLS, SASL).
    pub kafka: ClientConfig,
    /// Who keeps which partitions up to date.
    pub mode: Mode,
    /// Where the projector's tasks run: not on a worker.
    pub runtime: Handle,
    /// What an earlier one has counted, to go on with.
    pub counts: Arc<Counts>,
}

/// What happened since the start, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Records kept.
    pub applied: AtomicU64,
    /// Bytes of those records, as they are kept.
    pub bytes: AtomicU64,
    /// Records passed over: no event of ours, or erased.
    pub skipped: AtomicU64,
    /// Times the store had less than we thought: a failover or another projector.
    pub rewound: AtomicU64,
    /// Generations begun.
    pub opened: AtomicU64,
    /// Lookups answered from the store alone.
    pub hits: AtomicU64,
    /// Lookups answered with what was read from Kafka.
    pub from_log: AtomicU64,
    /// Stretches read from Kafka for lookups, and handed on to the store.
    pub gaps_closed: AtomicU64,
    /// Lookups answered 503: nothing could show that they reach far enough.
    pub behind: AtomicU64,
    /// Readers begun for live tails.
    pub tail_readers: AtomicU64,
    /// Events handed on to subscribers of live tails.
    pub tail_sent: AtomicU64,
    /// Subscribers that lost their place.
    pub tail_cut: AtomicU64,
}

impl Counts {
    /// Each count by the name it has in the metrics.
    pub fn named(&self) -> [(&'static str, u64); 12] {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        [
            ("applied", get(&self.applied)),
            ("bytes", get(&self.bytes)),
            ("skipped", get(&self.skipped)),
            ("rewound", get(&self.rewound)),
            ("opened", get(&self.opened)),
            ("hit", get(&self.hits)),
            ("from-log", get(&self.from_log)),
            ("gaps-closed", get(&self.gaps_closed)),
            ("behind", get(&self.behind)),
            ("tail-readers", get(&self.tail_readers)),
            ("tail-sent", get(&self.tail_sent)),
            ("tail-cut", get(&self.tail_cut)),
        ]
    }

    fn add(counter: &AtomicU64, count: usize) {
        counter.fetch_add(u64::try_from(count).unwrap_or(u64::MAX), Ordering::Relaxed);
    }
}

/// The read model: lookups, and the projector that feeds them. Cheap to clone.
#[derive(Clone)]
pub struct Recent {
    routes: Arc<HashMap<Arc<str>, Topic>>,
    store: Arc<dyn RecentStore>,
    manual: bool,
    ends: Arc<Ends>,
    gaps: Arc<Gaps>,
    counts: Arc<Counts>,
    stands: Arc<Stands>,
    shown: Arc<Shown>,
    control: Arc<Control>,
    _following: Arc<Following>,
    feeds: Arc<Feeds>,
    projector: Arc<Projector>,
}

impl Recent {
    /// Starts following the topics. The watch turns true when lookups are warm (caught up with the log as it
    /// was at the start), or after 60 seconds at the latest: a lookup is never wrong before, only slower.
    ///
    /// # Errors
    /// A Kafka client could not be made (a bad setting); an unreachable Kafka or store is not an error.
    pub fn start(start: Start) -> Result<(Recent, watch::Receiver<bool>), KafkaError> {
        let mut names: Vec<Arc<str>> = start.topics.iter().map(|topic| Arc::clone(&topic.topic)).collect();
        names.push(CONTROL_TOPIC.into());
        let ends = Arc::new(Ends::start(&start.kafka, CLIENT_GROUP, names)?);
        let counts = Arc::clone(&start.counts);
        let routes = start.topics.iter().map(|topic| (Arc::clone(&topic.route), topic.clone())).collect();
        let control = Arc::new(Control::new(&start.kafka, &start.topics)?);
        let (store, runtime) = (Arc::clone(&start.store), start.runtime.clone());
        let gaps = Gaps::new(
            &start.kafka,
            Arc::clone(&store),
            Arc::clone(&control),
            runtime.clone(),
            Arc::clone(&counts),
        );
        let shared = (Arc::clone(&ends), Arc::clone(&control), Arc::clone(&counts));
        let feeds = Feeds::new(&start.kafka, start.mode.fetch_wait_ms(), runtime.clone(), shared);
        let stands = Arc::new(Stands::default());
        let manual = matches!(start.mode, Mode::Manual);
        let fetch_wait_ms = start.mode.fetch_wait_ms();
        let log = Arc::new(Log::open(&start.kafka, CLIENT_GROUP, fetch_wait_ms, &runtime)?);
        let following = Following::start(&control, &log, &ends, &runtime);
        let source = Source {
            log,
            ends: Arc::clone(&ends),
            store: Arc::clone(&store),
            control: Arc::clone(&control),
            counts: Arc::clone(&counts),
            stands: Arc::clone(&stands),
            older: Older::new(&start.kafka, runtime),
            manual,
        };
        let (projector, ready) = Projector::start(start, source)?;
        let recent = Recent {
            routes: Arc::new(routes),
            store,
            manual,
            ends,
            gaps: Arc::new(gaps),
            counts,
            stands,
            shown: Arc::new(Shown::new()),
            control,
            _following: Arc::new(following),
            feeds,
            projector: Arc::new(projector),
        };
        Ok((recent, ready))
    }

    /// The same for lookups of one worker, which asks the store on its own runtime.
    #[must_use]
    pub fn on_this_runtime(&self) -> Recent {
        let store = self.store.on_this_runtime().unwrap_or_else(|| Arc::clone(&self.store));
        Recent { store, ..self.clone() }
    }

    /// Stops following the log and leaves the group; ends live tails. Lookups go on, from what is there and from Kafka.
    pub async fn stop(&self) {
        self.end_tails();
        self.projector.stop().await;
    }

    /// Whether what was erased is known here: no lookup is answered before.
    pub fn controlled(&self) -> bool {
        self.control.known()
    }

    /// What happened since the start.
    pub fn counts(&self) -> &Arc<Counts> {
        &self.counts
    }
}

/// librdkafka wants a group id for any assignment. Nothing is ever committed under this one, nor joined.
const CLIENT_GROUP: &str = "weir-recent-reader";

/// Milliseconds since 1970.
fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
