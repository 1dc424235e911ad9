//! Whether Kafka's settings fit together and leave our promises whole.
//!
//! Whether Kafka can be reached with them is `weir validate`'s question.

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use super::{Config, Finding, addresses};
use crate::config::typed::nearest;
use crate::kafka::properties::{Property, RESERVED};
use crate::kafka::settings::{Mechanism, SaslSettings};

pub(super) fn check(config: &Config, findings: &mut Vec<Finding>) {
    let kafka = &config.kafka;
    if kafka.brokers.is_empty() {
        findings.push(
            Finding::error("kafka", "`kafka.brokers` is empty").help("name some brokers as `host:port`"),
        );
    }
    addresses("kafka/brokers", &kafka.brokers, findings);
    if let Some(tls) = &kafka.tls
        && tls.certificate.is_some() != tls.key.is_some()
    {
        findings.push(Finding::error("kafka/tls", "`certificate` and `key` are only useful together"));
    }
    if let Some(sasl) = &kafka.sasl {
        login(sasl, findings);
        if kafka.tls.is_none() {
            findings.push(
                Finding::warning("kafka/sasl", "logging in without TLS shows the login to the network")
                    .help("add `kafka.tls: {}` to trust the system's authorities"),
            );
        }
    }
    for (name, property) in &kafka.properties {
        findings.extend(check_property(name, property));
    }
    timeouts(config, findings);
}

fn login(sasl: &SaslSettings, findings: &mut Vec<Finding>) {
    let missing = match sasl.mechanism {
        Mechanism::Oauthbearer if sasl.oauthbearer.is_none() => "`oauthbearer`",
        Mechanism::Oauthbearer => return,
        _ if sasl.username.is_none() => "`username`",
        _ if sasl.password.is_none() => "`password`",
        _ => return,
    };
    findings.push(Finding::error("kafka/sasl", format!("{} needs {missing}", sasl.mechanism.name())));
}

/// A property that we keep for ourselves, that librdkafka does not know, or that is a secret in the open.
fn check_property(name: &str, property: &Property) -> Option<Finding> {
    let path = format!("kafka/properties/{name}");
    if let Some((_, reason)) = RESERVED.iter().find(|(reserved, _)| *reserved == name) {
        return Some(Finding::error(path, format!("`{name}` is not yours to set")).help(*reason));
    }
    let Property::Literal(value) = property else { return None };
    let secret = ["password", "secret", ".pem", "jaas"].iter().any(|part| name.contains(part));
    if secret {
        return Some(
            Finding::error(path, format!("`{name}` is a secret"))
                .help("write `{env: NAME}` or `{file: path}` instead of the value"),
        );
    }
    let mut trial = ClientConfig::new();
    trial.set(name, value);
    match trial.create_native_config() {
        Err(KafkaError::ClientConfig(_, reason, ..)) => {
            let known = RESERVED.iter().map(|(reserved, _)| *reserved).chain(COMMON);
            let finding = Finding::error(path, format!("librdkafka refuses `{name}`: {reason}"));
            let meant = nearest(name, known).filter(|_| reason.contains("No such"));
            Some(match meant {
                Some(meant) => finding.help(format!("did you mean `{meant}`?")),
                None => finding,
            })
        }
        _ => None,
    }
}

/// What people most often set, for "did you mean".
const COMMON: [&str; 14] = [
    "linger.ms",
    "batch.size",
    "batch.num.messages",
    "compression.type",
    "compression.level",
    "message.timeout.ms",
    "delivery.timeout.ms",
    "request.timeout.ms",
    "socket.timeout.ms",
    "socket.keepalive.enable",
    "queue.buffering.max.kbytes",
    "client.id",
    "client.rack",
    "debug",
];

fn timeouts(config: &Config, findings: &mut Vec<Finding>) {
    let answer = config.limits.answer_timeout_ms;
    match config.kafka.message_timeout_ms() {
        Some(message) if message == 0 || message > answer => {}
        Some(message) => findings.push(
            Finding::error(
                "limits/answer_timeout_ms",
                format!(
                    "`answer_timeout_ms` is {answer}, not below librdkafka's message.timeout.ms of {message}"
                ),
            )
            .help("an answer must give up first: set `kafka.properties` `message.timeout.ms` higher"),
        ),
        None => {}
    }
}
