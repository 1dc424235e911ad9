//! What the config says about one route.
//!
//! Only the words: what a selector finds in an event, and which route takes it, is the business of `route`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};

use super::route_tests::RouteTest;
use crate::access::Tenant;
use crate::access::signature::SignatureSettings;
use crate::event::Selector;
use crate::event::selector::SelectorError;
use crate::recent;
use crate::route::{AfterPlugins, Browser, ContentMode, OnError, Template, dead_letter_topic};

/// One route: which events it takes, what is done to them, and the topic they go to.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// The route's name: in `POST /v1/events/<name>`, in metrics, in the `weir-route` header.
    pub name: String,
    /// Whose it is; another tenant's credentials do not find it.
    #[serde(default)]
    pub tenant: Tenant,
    /// How its events are signed; absent: they are not, and a key says who sends them.
    #[serde(default)]
    pub signature: Option<SignatureSettings>,
    /// Which events it takes; absent: those sent to its name.
    #[serde(default, rename = "match")]
    pub matching: MatchSettings,
    /// Where the event's id is; absent: a UUIDv7 is made.
    #[serde(default)]
    pub id: Option<Selector>,
    /// Where the event's type is, or `const:` and the type itself; absent: the route's name.
    #[serde(default, rename = "type")]
    pub event_type: Option<TypeSettings>,
    /// The event's source; absent: `/v1/events/<name>`.
    #[serde(default)]
    pub source: Option<String>,
    /// Where the partition key is; a plugin may set another.
    #[serde(default)]
    pub key: Option<Selector>,
    /// The schema's subject, e.g. `github.{type}`; absent: no schema check.
    #[serde(default)]
    pub subject: Option<Template>,
    /// Which schema a plugin's changed data must pass.
    #[serde(default)]
    pub after_plugins: AfterPlugins,
    /// The plugins, in order.
    #[serde(default)]
    pub plugins: Vec<ChainSettings>,
    /// What becomes of an event that a plugin failed on: `dead-letter` (in `<topic>.dead-letter`), `refuse`, `pass`
    /// (as if the plugin were not there) or `drop`.
    #[serde(default)]
    pub on_error: OnError,
    /// The Kafka topic. It belongs to this route alone.
    pub topic: String,
    /// How its records hold events (CloudEvents, Kafka binding): `binary` (attributes are headers, the value is the
    /// data) or `structured` (the value is an envelope in JSON with all of it). Dead letters are always `binary`.
    #[serde(default)]
    pub kafka_content_mode: ContentMode,
    /// Topics a plugin may choose instead.
    #[serde(default)]
    pub topics_allowed: Vec<String>,
    /// Pages in browsers that may send to it and look into it.
    #[serde(default)]
    pub browser: Browser,
    /// What `weir topics` makes and checks.
    #[serde(default)]
    pub topic_settings: TopicSettings,
    /// What is kept for recent-event lookups; `false`: nothing.
    #[serde(default)]
    pub recent: RecentSettings,
    /// Events and what is to become of them; `weir test` runs them.
    #[serde(default)]
    pub tests: Vec<RouteTest>,
}

impl RouteSettings {
    /// Every topic that a record of it may go to.
    pub fn topics(&self) -> impl Iterator<Item = Cow<'_, str>> {
        let dead_letter = (!self.plugins.is_empty()).then(|| dead_letter_topic(&self.topic).into());
        let events = std::iter::once(&self.topic).chain(&self.topics_allowed);
        events.map(|topic| Cow::from(topic.as_str())).chain(dead_letter)
    }
}

/// Which events a route takes. All that is given must fit; `*` stands for any text.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct MatchSettings {
    /// The last part of `POST /v1/events/<path>`; absent: the route's name.
    pub path: Option<String>,
    /// The type of a CloudEvent sent to `POST /v1/events`, e.g. `com.github.*`.
    #[serde(rename = "type")]
    pub event_type: Option<String>,
    /// The source of a CloudEvent sent to `POST /v1/events`, e.g. `https://github.com/*`.
    pub source: Option<String>,
}

/// One plugin of a route's chain.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChainSettings {
    /// Its name under `plugins`.
    pub plugin: String,
    /// Handed to the plugin as JSON.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// What a topic is to be.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TopicSettings {
    /// The number of partitions.
    pub partitions: i32,
    /// The number of copies; below 3 the topic is weak.
    pub replication_factor: i32,
    /// How long records are kept.
    pub retention_ms: i64,
    /// How many copies must have a record before it is acked; below 2 the topic is weak.
    pub min_insync_replicas: i32,
    /// The largest record batch; absent: the largest event and 64 KiB.
    pub max_message_bytes: Option<usize>,
}

impl Default for TopicSettings {
    fn default() -> Self {
        TopicSettings {
            partitions: 6,
            replication_factor: 3,
            retention_ms: 7 * 24 * 3600 * 1000,
            min_insync_replicas: 2,
            max_message_bytes: None,
        }
    }
}

/// What is kept of a route's events for lookups: `false` or a window.
#[derive(Clone, Debug, PartialEq)]
pub struct RecentSettings(pub Option<recent::Settings>);

impl Default for RecentSettings {
    fn default() -> Self {
        RecentSettings(Some(recent::Settings::default()))
    }
}

impl<'de> Deserialize<'de> for RecentSettings {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FalseOrWindow;
        impl<'de> Visitor<'de> for FalseOrWindow {
            type Value = RecentSettings;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`false` or `{window_s: 3600, per_key: 64, partition_bytes_max: 67108864}`")
            }
            fn visit_bool<E: Error>(self, on: bool) -> Result<RecentSettings, E> {
                Ok(if on { RecentSettings::default() } else { RecentSettings(None) })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<RecentSettings, A::Error> {
                recent::Settings::deserialize(MapAccessDeserializer::new(map))
                    .map(|it| RecentSettings(Some(it)))
            }
        }
        deserializer.deserialize_any(FalseOrWindow)
    }
}

impl JsonSchema for RecentSettings {
    fn schema_name() -> Cow<'static, str> {
        "RecentSettings".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let window = generator.subschema_for::<recent::Settings>();
        json_schema!({"description": "What is kept for lookups, or false.", "anyOf": [{"type": "boolean"}, window]})
    }
}

/// Where an event's type comes from.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum TypeSettings {
    /// `const:order.created`: always this.
    Constant(String),
    /// Any selector.
    Selected(Selector),
}

impl TryFrom<String> for TypeSettings {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("const:") {
            Some("") => Err("`const:` needs the type behind it, e.g. `const:order.created`".to_owned()),
            Some(constant) => Ok(TypeSettings::Constant(constant.to_owned())),
            None => text.parse().map(TypeSettings::Selected).map_err(|error: SelectorError| {
                format!("{error}, or `const:order.created` for a type that is always the same")
            }),
        }
    }
}
