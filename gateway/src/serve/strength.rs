//! Whether the topics can keep what is acknowledged, and Valkey what lookups rely on. Asked as soon as they answer:
//! an acknowledgement from a weak topic would promise what it cannot hold, and an evicted entry is an event that a
//! lookup would deny.

use std::time::Duration;

use tokio::runtime::Handle;

use crate::config::Config;
use crate::kafka::admin::{Admin, Finding, Weight, judge};
use crate::valkey::Valkey;

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
                let weak = told(&findings, Weight::Weak);
                if !weak.is_empty() {
                    return weak;
                }
                if told(&findings, Weight::Missing).is_empty() {
                    return std::future::pending().await;
                }
            }
            Err(error) => tracing::warn!(%error, "the topics cannot be checked yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Whether the topics are there and strong, or why not; asks once.
pub(super) async fn topics_are_strong(config: &Config) -> Result<(), String> {
    if config.kafka.allow_weak_topics {
        return Ok(());
    }
    let findings = look(config).await.map_err(|error| format!("the topics cannot be checked: {error}"))?;
    let lines = [Weight::Missing, Weight::Weak].map(|weight| told(&findings, weight));
    if lines.iter().all(String::is_empty) { Ok(()) } else { Err(lines.join("\n").trim().to_owned()) }
}

/// The findings of a weight, a line each.
fn told(findings: &[Finding], weight: Weight) -> String {
    let found = findings.iter().filter(|finding| finding.weight == weight);
    let lines: Vec<_> =
        found.map(|finding| format!("topic {}: {}", finding.topic, finding.message)).collect();
    lines.join("\n")
}

/// Returns when Valkey is known to evict, saying which node and why that must not be. Never returns if none does, or if
/// there is no Valkey for lookups.
pub(super) async fn evicting_valkey(config: &Config) -> String {
    let settings = config.valkey.as_ref().and_then(|valkey| valkey.reveal().ok());
    let store = settings.and_then(|settings| Valkey::connect(&settings, Handle::current()).ok());
    let Some(store) = store else { return std::future::pending().await };
    loop {
        match store.evicting().await {
            Ok(evicting) if evicting.is_empty() => return std::future::pending().await,
            Ok(evicting) => {
                let lines = evicting.iter().map(|(node, policy)| evicts(node, policy));
                return lines.collect::<Vec<_>>().join("\n");
            }
            Err(error) => tracing::debug!(%error, "valkey's policy is not known yet"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// What to do about a node that evicts.
pub fn evicts(node: &str, policy: &str) -> String {
    format!(
        "valkey {node}: `maxmemory-policy` is `{policy}`: an evicted entry is an event that lookups would deny; set \
         `noeviction` (and `maxmemory` above what the routes' `recent` may take)"
    )
}

async fn look(config: &Config) -> Result<Vec<Finding>, crate::kafka::admin::AdminError> {
    let wanted = config.topics_wanted();
    let names: Vec<_> = wanted.iter().map(|wanted| wanted.topic.as_str()).collect();
    let descriptions = Admin::new(&config.kafka, TIMEOUT)?.describe(&names).await?;
    Ok(descriptions.iter().zip(&wanted).flat_map(|(is, wanted)| judge(is, wanted, false)).collect())
}
