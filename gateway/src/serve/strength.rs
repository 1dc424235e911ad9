//! Whether the topics can keep what is acknowledged. Asked as soon as Kafka answers, because an
//! acknowledgement from a weak topic would promise what it cannot hold.

use std::time::Duration;

use crate::config::Config;
use crate::kafka::admin::{Admin, Finding, Weight, judge};

const TIMEOUT: Duration = Duration::from_secs(5);
const RETRY: Duration = Duration::from_secs(2);

/// Returns when a topic of the routes is known to be weak, saying which and why. Never returns if all are
/// strong, or if the config allows weak ones.
pub(super) async fn weak_topics(config: &Config) -> String {
    if config.kafka.allow_weak_topics {
        return std::future::pending().await;
    }
    loop {
        match look(config).await {
            Ok(findings) => {
                let weak: Vec<_> = findings.iter().filter(|finding| finding.weight == Weight::Weak).collect();
                if !weak.is_empty() {
                    let lines =
                        weak.iter().map(|finding| format!("topic {}: {}", finding.topic, finding.message));
                    return lines.collect::<Vec<_>>().join("\n");
                }
                if findings.iter().all(|finding| finding.weight != Weight::Missing) {
                    return std::future::pending().await;
                }
            }
            Err(error) => tracing::warn!(%error, "the topics cannot be checked yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn look(config: &Config) -> Result<Vec<Finding>, crate::kafka::admin::AdminError> {
    let wanted = config.topics_wanted();
    let names: Vec<_> = wanted.iter().map(|wanted| wanted.topic.as_str()).collect();
    let descriptions = Admin::new(&config.kafka, TIMEOUT)?.describe(&names).await?;
    Ok(descriptions.iter().zip(&wanted).flat_map(|(is, wanted)| judge(is, wanted, false)).collect())
}
