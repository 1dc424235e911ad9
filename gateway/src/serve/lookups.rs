//! The read model's parts: where it is kept, how it follows Kafka, and whether it is warm.

use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{ReadModel, ServeError};
use crate::config::Config;
use crate::config::route_settings::RouteSettings;
use crate::kafka;
use crate::kafka::admin::{Admin, Wanted};
use crate::kafka::sys::in_batches;
use crate::recent::{Counts, Mode, Recent, Start, Topic};
use crate::valkey::Valkey;

/// The consumer group of all gateways that share a Kafka and a Valkey cluster.
const GROUP: &str = "weir-recent";

const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
const ADMIN_RETRY: Duration = Duration::from_secs(2);

/// A running read model, and what it was started with.
#[derive(Clone)]
pub(super) struct Running {
    pub(super) recent: Recent,
    /// Whether it has caught up with the log as it was at the start.
    pub(super) warm: watch::Receiver<bool>,
    topics: Vec<Topic>,
}

impl Running {
    /// Whether the other one follows the same topics, and so is the same.
    pub(super) fn is_the_same_as(&self, other: &Running) -> bool {
        self.topics == other.topics
    }
}

/// Where the read model is kept: the role's own place, or the config's Valkey; absent: nowhere.
pub(super) fn place(config: &Config, own: Option<ReadModel>) -> Result<Option<ReadModel>, ServeError> {
    let unusable = |error: &dyn std::fmt::Display| ServeError::Config(format!("valkey: {error}"));
    let (None, Some(valkey)) = (&own, &config.valkey) else { return Ok(own) };
    let settings = valkey.reveal().map_err(|error| unusable(&error))?;
    let store = Valkey::connect(&settings, Handle::current()).map_err(|error| unusable(&error))?;
    drop(tokio::spawn(make_control_topic(config.kafka.clone(), config.control_wanted())));
    Ok(Some(ReadModel { store: Arc::new(store), mode: Mode::Group(GROUP.into()) }))
}

/// Starts the read model of a config, unless the one that is running does as well.
pub(super) fn start(
    config: &Config,
    place: &ReadModel,
    running: Option<&Running>,
) -> Result<Running, ServeError> {
    let topics = topics(config);
    if let Some(running) = running.filter(|running| running.topics == topics) {
        return Ok(running.clone());
    }
    let kafka = config.kafka.client_config().map_err(|error| ServeError::Config(error.to_string()))?;
    let counts = running.map_or_else(Arc::<Counts>::default, |running| Arc::clone(running.recent.counts()));
    let ReadModel { store, mode } = place.clone();
    let runtime = Handle::current();
    let start = Start { topics: topics.clone(), store, kafka, mode, runtime, counts };
    let started = in_batches(|| Recent::start(start));
    let (recent, warm) = started.map_err(|error| ServeError::Config(format!("kafka: {error}")))?;
    Ok(Running { recent, warm, topics })
}

/// Makes the control topic if it is not there: lookups need it, and nobody else has a use for it.
async fn make_control_topic(kafka: kafka::settings::Settings, wanted: Option<Wanted>) {
    let Some(wanted) = wanted else { return };
    loop {
        let made = async { Admin::new(&kafka, ADMIN_TIMEOUT)?.create(&wanted).await };
        match made.await {
            Ok(true) => return tracing::info!(topic = wanted.topic, "made the topic of erasures"),
            Ok(false) => return,
            Err(error) => {
                tracing::warn!(%error, topic = wanted.topic, "the topic of erasures cannot be made yet")
            }
        }
        tokio::time::sleep(ADMIN_RETRY).await;
    }
}

fn topics(config: &Config) -> Vec<Topic> {
    let topic = |route: &RouteSettings| {
        Some(Topic {
            route: route.matching.path.as_deref().unwrap_or(&route.name).into(),
            topic: route.topic.as_str().into(),
            settings: route.recent.0.clone()?,
        })
    };
    config.routes.iter().filter_map(topic).collect()
}
