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
use crate::recent::{Mode, Recent, Start, Topic};
use crate::valkey::Valkey;

/// The consumer group of all gateways that share a Kafka and a Valkey cluster.
const GROUP: &str = "weir-recent";

const ADMIN_TIMEOUT: Duration = Duration::from_secs(5);
const ADMIN_RETRY: Duration = Duration::from_secs(2);

/// A running read model, and whether it has caught up with the log as it was at the start.
pub(super) type Running = (Recent, watch::Receiver<bool>);

/// Starts the read model, if there is a place for it: the role's own, or the config's Valkey.
pub(super) fn start(config: &Config, own: Option<ReadModel>) -> Result<Option<Running>, ServeError> {
    let runtime = Handle::current();
    let model = match (own, &config.valkey) {
        (Some(own), _) => own,
        (None, Some(valkey)) => {
            let settings = valkey.reveal().map_err(|error| ServeError::Config(format!("valkey: {error}")))?;
            let store = Valkey::connect(&settings, runtime.clone());
            let store = store.map_err(|error| ServeError::Config(format!("valkey: {error}")))?;
            drop(tokio::spawn(make_control_topic(config.kafka.clone(), config.control_wanted())));
            ReadModel { store: Arc::new(store), mode: Mode::Group(GROUP.into()) }
        }
        (None, None) => return Ok(None),
    };
    let kafka = config.kafka.client_config().map_err(|error| ServeError::Config(error.to_string()))?;
    let start = Start { topics: topics(config), store: model.store, kafka, mode: model.mode, runtime };
    Recent::start(start).map(Some).map_err(|error| ServeError::Config(format!("kafka: {error}")))
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
