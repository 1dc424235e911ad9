//! What the routes' topics should be.
//!
//! Not whether they are: `kafka::admin` asks and judges.

use super::{Config, RouteSettings};
use crate::kafka::admin::Wanted;
use crate::recent::CONTROL_TOPIC;

impl Config {
    /// Every topic of every route, as it should be.
    pub fn topics_wanted(&self) -> Vec<Wanted> {
        let record_bytes_max = self.limits.record_bytes_max();
        let of_route = |route| wanted(route, record_bytes_max);
        self.routes.iter().flat_map(of_route).chain(self.control_wanted()).collect()
    }

    /// The control topic, if there are lookups: as strong as the strongest of the routes' topics.
    pub fn control_wanted(&self) -> Option<Wanted> {
        let routes =
            || self.routes.iter().filter(|route| route.recent.0.is_some()).map(|route| &route.topic_settings);
        self.valkey.as_ref()?;
        Some(Wanted {
            topic: CONTROL_TOPIC.to_owned(),
            partitions: 1,
            replication_factor: routes().map(|topic| topic.replication_factor).max()?,
            retention_ms: -1,
            window_ms: 0,
            min_insync_replicas: routes().map(|topic| topic.min_insync_replicas).max()?,
            max_message_bytes: CONTROL_BYTES_MAX,
            compacted: true,
        })
    }
}

/// The largest batch of the control topic; a fact has at most about 150 KB.
const CONTROL_BYTES_MAX: usize = 1 << 20;

fn wanted(route: &RouteSettings, record_bytes_max: usize) -> impl Iterator<Item = Wanted> {
    let settings = &route.topic_settings;
    let window_s = route.recent.0.as_ref().map_or(0, |window| window.window_s);
    let window_ms = i64::try_from(window_s.saturating_mul(1000)).unwrap_or(i64::MAX);
    route.topics().map(move |topic| Wanted {
        topic: topic.into_owned(),
        partitions: settings.partitions,
        replication_factor: settings.replication_factor,
        retention_ms: settings.retention_ms,
        window_ms,
        min_insync_replicas: settings.min_insync_replicas,
        max_message_bytes: settings.max_message_bytes.unwrap_or(record_bytes_max),
        compacted: false,
    })
}
