//! The read model's parts: where it is kept, how it follows Kafka, and whether it is warm.

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::watch;

use super::{ReadModel, ServeError};
use crate::config::Config;
use crate::config::route_settings::RouteSettings;
use crate::recent::{Mode, Recent, Start, Topic};
use crate::valkey::Valkey;

/// The consumer group of all gateways that share a Kafka and a Valkey cluster.
const GROUP: &str = "weir-recent";

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
            ReadModel { store: Arc::new(store), mode: Mode::Group(GROUP.into()) }
        }
        (None, None) => return Ok(None),
    };
    let kafka = config.kafka.client_config().map_err(|error| ServeError::Config(error.to_string()))?;
    let start = Start { topics: topics(config), store: model.store, kafka, mode: model.mode, runtime };
    Recent::start(start).map(Some).map_err(|error| ServeError::Config(format!("kafka: {error}")))
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
