//! What the routes' topics should be.
//!
//! Not whether they are: `kafka::admin` asks and judges.

use super::{Config, RouteSettings};
use crate::kafka::admin::Wanted;

impl Config {
    /// Every topic of every route, as it should be.
    pub fn topics_wanted(&self) -> Vec<Wanted> {
        let record_bytes_max = self.limits.record_bytes_max();
        let of_route = |route| wanted(route, record_bytes_max);
        self.routes.iter().flat_map(of_route).collect()
    }
}

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
    })
}
