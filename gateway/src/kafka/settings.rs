//! How Kafka is reached, and the librdkafka properties of every client made from it.
//!
//! Not a client: producer, consumers and admin are made from the configurations built here.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rdkafka::ClientConfig;
use schemars::JsonSchema;
use serde::Deserialize;

use super::properties::{CONSUMER, EVERY_CLIENT, PRODUCER, Property};
use crate::secret::{Secret, SecretError};

/// Where Kafka is and how to log in.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Some brokers, as `host:port`; the others are learned from them.
    pub brokers: Vec<String>,
    /// TLS; absent: plaintext.
    pub tls: Option<TlsSettings>,
    /// How to log in; absent: not at all.
    pub sasl: Option<SaslSettings>,
    /// Any other librdkafka property, for every client; values may be `{env: …}` or `{file: …}`.
    pub properties: BTreeMap<String, Property>,
    /// Whether topics may have fewer than 3 copies or `min.insync.replicas` below 2.
    pub allow_weak_topics: bool,
}

/// TLS towards Kafka. Paths are PEM files.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TlsSettings {
    /// The authorities to trust; absent: the system's.
    pub ca: Option<PathBuf>,
    /// Our own certificate (chain), for mutual TLS.
    pub certificate: Option<PathBuf>,
    /// Our certificate's private key.
    pub key: Option<Secret>,
    /// The private key's password.
    pub key_password: Option<Secret>,
    /// Whether a broker's certificate must name its host.
    pub verify_hostname: bool,
}

impl Default for TlsSettings {
    fn default() -> Self {
        TlsSettings { ca: None, certificate: None, key: None, key_password: None, verify_hostname: true }
    }
}

/// SASL towards Kafka.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SaslSettings {
    /// How.
    pub mechanism: Mechanism,
    /// The user, for SCRAM and PLAIN.
    #[serde(default)]
    pub username: Option<String>,
    /// The user's password, for SCRAM and PLAIN.
    #[serde(default)]
    pub password: Option<Secret>,
    /// The token service, for OAUTHBEARER.
    #[serde(default)]
    pub oauthbearer: Option<OauthSettings>,
}

/// The SASL mechanisms we offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
pub enum Mechanism {
    /// Salted challenge-response, SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
    /// Salted challenge-response, SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// The password itself; only sensible under TLS.
    #[serde(rename = "plain")]
    Plain,
    /// A token from an OpenID Connect service (client credentials).
    #[serde(rename = "oauthbearer")]
    Oauthbearer,
}

impl Mechanism {
    /// As Kafka writes it.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::ScramSha512 => "SCRAM-SHA-512",
            Mechanism::ScramSha256 => "SCRAM-SHA-256",
            Mechanism::Plain => "PLAIN",
            Mechanism::Oauthbearer => "OAUTHBEARER",
        }
    }
}

/// An OpenID Connect token service.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OauthSettings {
    /// The token endpoint.
    pub token_endpoint_url: String,
    /// The client.
    pub client_id: String,
    /// The client's secret.
    pub client_secret: Secret,
    /// The scope to ask for.
    #[serde(default)]
    pub scope: Option<String>,
}

impl Settings {
    /// What every client needs: brokers, TLS, SASL and the config's `properties`. Reads the secrets.
    pub fn client_config(&self) -> Result<ClientConfig, SecretError> {
        self.config(&[])
    }

    /// The producer's configuration, for records of up to `record_bytes_max` bytes. Reads the secrets.
    pub fn producer_config(&self, record_bytes_max: usize) -> Result<ClientConfig, SecretError> {
        let mut config = self.config(PRODUCER)?;
        config.set("message.max.bytes", record_bytes_max.to_string());
        Ok(config)
    }

    /// A consumer's configuration; the caller adds `group.id`. Reads the secrets.
    pub fn consumer_config(&self) -> Result<ClientConfig, SecretError> {
        self.config(CONSUMER)
    }

    /// How long the producer keeps trying before it gives an event up, in milliseconds.
    pub fn message_timeout_ms(&self) -> Option<u64> {
        let written = ["message.timeout.ms", "delivery.timeout.ms"]
            .into_iter()
            .find_map(|name| self.properties.get(name));
        match written {
            Some(Property::Literal(text)) => text.parse().ok(),
            Some(Property::Secret(_)) => None,
            None => PRODUCER.iter().find(|(name, _)| *name == "message.timeout.ms")?.1.parse().ok(),
        }
    }

    /// Makes relative paths relative to `folder`.
    pub fn anchor(&mut self, folder: &Path) {
        if let Some(tls) = &mut self.tls {
            for path in [&mut tls.ca, &mut tls.certificate].into_iter().flatten() {
                *path = folder.join(&*path);
            }
        }
        self.secrets_mut().for_each(|secret| secret.anchor(folder));
    }

    /// Every secret the settings refer to.
    fn secrets_mut(&mut self) -> impl Iterator<Item = &mut Secret> {
        let tls = self.tls.iter_mut().flat_map(|tls| [&mut tls.key, &mut tls.key_password]).flatten();
        let sasl = self.sasl.iter_mut().flat_map(|sasl| {
            sasl.password.iter_mut().chain(sasl.oauthbearer.iter_mut().map(|oauth| &mut oauth.client_secret))
        });
        let properties = self.properties.values_mut().filter_map(|property| match property {
            Property::Secret(secret) => Some(secret),
            Property::Literal(_) => None,
        });
        tls.chain(sasl).chain(properties)
    }

    fn config(&self, role: &[(&str, &str)]) -> Result<ClientConfig, SecretError> {
        let mut config = ClientConfig::new();
        for (name, value) in EVERY_CLIENT.iter().chain(role) {
            config.set(*name, *value);
        }
        config.set("bootstrap.servers", self.brokers.join(","));
        config.set("security.protocol", self.security_protocol());
        if let Some(tls) = &self.tls {
            tls.write(&mut config)?;
        }
        if let Some(sasl) = &self.sasl {
            sasl.write(&mut config)?;
        }
        for (name, property) in &self.properties {
            match property {
                Property::Literal(text) => config.set(name, text),
                Property::Secret(secret) => config.set(name, secret.reveal()?.as_str()),
            };
        }
        Ok(config)
    }

    fn security_protocol(&self) -> &'static str {
        match (&self.tls, &self.sasl) {
            (None, None) => "plaintext",
            (Some(_), None) => "ssl",
            (None, Some(_)) => "sasl_plaintext",
            (Some(_), Some(_)) => "sasl_ssl",
        }
    }
}

impl TlsSettings {
    fn write(&self, config: &mut ClientConfig) -> Result<(), SecretError> {
        let verify = if self.verify_hostname { "https" } else { "none" };
        config.set("ssl.endpoint.identification.algorithm", verify);
        for (name, path) in [("ssl.ca.location", &self.ca), ("ssl.certificate.location", &self.certificate)] {
            if let Some(path) = path {
                config.set(name, path.to_string_lossy());
            }
        }
        for (name, secret) in [("ssl.key.pem", &self.key), ("ssl.key.password", &self.key_password)] {
            if let Some(secret) = secret {
                config.set(name, secret.reveal()?.as_str());
            }
        }
        Ok(())
    }
}

impl SaslSettings {
    fn write(&self, config: &mut ClientConfig) -> Result<(), SecretError> {
        config.set("sasl.mechanism", self.mechanism.name());
        if let Some(username) = &self.username {
            config.set("sasl.username", username);
        }
        if let Some(password) = &self.password {
            config.set("sasl.password", password.reveal()?.as_str());
        }
        if let Some(oauth) = &self.oauthbearer {
            config.set("sasl.oauthbearer.method", "oidc");
            config.set("sasl.oauthbearer.token.endpoint.url", &oauth.token_endpoint_url);
            config.set("sasl.oauthbearer.client.id", &oauth.client_id);
            config.set("sasl.oauthbearer.client.secret", oauth.client_secret.reveal()?.as_str());
            if let Some(scope) = &oauth.scope {
                config.set("sasl.oauthbearer.scope", scope);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(json: serde_json::Value) -> Settings {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn librdkafka_knows_every_property_we_set() {
        let folder = std::env::temp_dir();
        let secret = folder.join(format!("weir-settings-{}", std::process::id()));
        std::fs::write(&secret, "hunter2\n").unwrap();
        let mut settings = settings(serde_json::json!({
            "brokers": ["a:9092", "b:9092"],
            "tls": {"ca": "ca.pem"},
            "sasl": {"mechanism": "oauthbearer", "oauthbearer": {
                "token_endpoint_url": "https://idp.example/token", "client_id": "weir",
                "client_secret": {"file": secret.file_name().unwrap().to_str().unwrap()}, "scope": "kafka"}},
            "properties": {"linger.ms": 5, "socket.keepalive.enable": true}
        }));
        settings.anchor(&folder);
        for config in
            [settings.client_config(), settings.producer_config(1 << 21), settings.consumer_config()]
        {
            let config = config.unwrap();
            config.create_native_config().unwrap();
            assert_eq!(config.get("bootstrap.servers"), Some("a:9092,b:9092"));
            assert_eq!(config.get("security.protocol"), Some("sasl_ssl"));
            assert_eq!(config.get("sasl.oauthbearer.client.secret"), Some("hunter2"));
            assert_eq!(config.get("linger.ms"), Some("5"));
            assert_eq!(config.get("socket.keepalive.enable"), Some("true"));
            assert!(!format!("{config:?} {settings:?}").contains("hunter2"));
        }
        std::fs::remove_file(secret).unwrap();
    }

    #[test]
    fn the_promises_are_in_the_producer() {
        let config = settings(serde_json::json!({"brokers": ["a:9092"]})).producer_config(2_000_000).unwrap();
        for (name, value) in [
            ("enable.idempotence", "true"),
            ("acks", "all"),
            ("partitioner", "murmur2_random"),
            ("message.max.bytes", "2000000"),
            ("allow.auto.create.topics", "false"),
        ] {
            assert_eq!(config.get(name), Some(value));
        }
    }

    #[test]
    fn a_secret_that_is_not_there_is_an_error() {
        let settings =
            settings(serde_json::json!({"properties": {"ssl.key.password": {"env": "WEIR_NO_SUCH"}}}));
        assert!(matches!(settings.client_config(), Err(SecretError::Env(name)) if name == "WEIR_NO_SUCH"));
    }
}
