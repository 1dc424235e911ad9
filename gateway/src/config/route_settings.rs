//! What the config says about one route.
//!
//! Only the words: what a selector finds in an event, and which route takes it, is the business of `route`.

use std::borrow::Cow;
use std::fmt::Display;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{Deserializer, Error, MapAccess, Visitor, value::MapAccessDeserializer};
use serde::Deserialize;

/// One route: which events it takes, what is done to them, and the topic they go to.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteSettings {
    /// The route's name: in `POST /v1/events/<name>`, in metrics, in the `weir-route` header.
    pub name: String,
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
    /// The Kafka topic. It belongs to this route alone.
    pub topic: String,
    /// Topics a plugin may choose instead.
    #[serde(default)]
    pub topics_allowed: Vec<String>,
    /// What `weir topics` makes and checks.
    #[serde(default)]
    pub topic_settings: TopicSettings,
    /// What is kept for recent-event lookups; `false`: nothing.
    #[serde(default)]
    pub recent: RecentSettings,
}

/// Which events a route takes. All that is given must fit; `*` stands for any text.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ChainSettings {
    /// Its name under `plugins`.
    pub plugin: String,
    /// Handed to the plugin as JSON.
    #[serde(default)]
    pub config: serde_json::Map<String, serde_json::Value>,
}

/// What a topic is to be.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
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
#[derive(Clone, Debug)]
pub struct RecentSettings(pub Option<WindowSettings>);

/// How much is kept for lookups.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct WindowSettings {
    /// How far back lookups reach.
    pub window_s: u64,
    /// The most events listed for one key.
    pub per_key: usize,
    /// The most bytes kept of one partition.
    pub partition_bytes_max: u64,
}

impl Default for WindowSettings {
    fn default() -> Self {
        WindowSettings { window_s: 3600, per_key: 64, partition_bytes_max: 64 << 20 }
    }
}

impl Default for RecentSettings {
    fn default() -> Self {
        RecentSettings(Some(WindowSettings::default()))
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
                WindowSettings::deserialize(MapAccessDeserializer::new(map)).map(|it| RecentSettings(Some(it)))
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
        let window = generator.subschema_for::<WindowSettings>();
        json_schema!({"description": "What is kept for lookups, or false.", "anyOf": [{"type": "boolean"}, window]})
    }
}

/// Where in an event a value is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub enum Selector {
    /// `data:/user/id`: a JSON pointer (RFC 6901) into the data.
    Data(String),
    /// `attr:type`: an attribute of the event.
    Attribute(String),
    /// `header:x-tenant`: a header of the request, in lower case.
    Header(String),
}

impl TryFrom<String> for Selector {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some(("data", pointer)) if pointer.is_empty() || pointer.starts_with('/') => {
                Ok(Selector::Data(pointer.to_owned()))
            }
            Some(("data", pointer)) => {
                Err(format!("`{text}`: a JSON pointer begins with `/`: write `data:/{pointer}`"))
            }
            Some(("attr", name)) if is_attribute(name) => Ok(Selector::Attribute(name.to_owned())),
            Some(("header", name)) if !name.is_empty() && name.bytes().all(is_header_byte) => {
                Ok(Selector::Header(name.to_owned()))
            }
            Some(("header", name)) if name.bytes().any(|byte| byte.is_ascii_uppercase()) => {
                Err(format!("`{text}`: header names are written in lower case: `header:{}`", name.to_lowercase()))
            }
            _ => Err(format!("`{text}` is not a selector: write `data:/json/pointer`, `attr:type` or `header:x-name`")),
        }
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Selector::Data(pointer) => write!(f, "data:{pointer}"),
            Selector::Attribute(name) => write!(f, "attr:{name}"),
            Selector::Header(name) => write!(f, "header:{name}"),
        }
    }
}

/// CloudEvents attribute names: lower-case letters and digits.
fn is_attribute(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn is_header_byte(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"!#$%&'*+-.^_`|~".contains(&byte)
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
            None => Selector::try_from(text).map(TypeSettings::Selected).map_err(|error| {
                format!("{error}, or `const:order.created` for a type that is always the same")
            }),
        }
    }
}

/// Text with attributes in it, e.g. `github.{type}`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(with = "String")]
pub struct Template(pub Vec<Part>);

/// A part of a [`Template`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Text(String),
    /// The attribute of this name.
    Attribute(String),
}

impl TryFrom<String> for Template {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text.as_str();
        while let Some((before, after)) = rest.split_once('{') {
            let (name, after) = after.split_once('}').ok_or_else(|| format!("`{text}`: a `{{` is not closed"))?;
            if !is_attribute(name) {
                return Err(format!("`{text}`: `{{{name}}}` is not an attribute such as `{{type}}`"));
            }
            parts.extend((!before.is_empty()).then(|| Part::Text(before.to_owned())));
            parts.push(Part::Attribute(name.to_owned()));
            rest = after;
        }
        parts.extend((!rest.is_empty()).then(|| Part::Text(rest.to_owned())));
        if parts.is_empty() { Err("a subject cannot be empty".to_owned()) } else { Ok(Template(parts)) }
    }
}

impl Template {
    /// The text itself, if it names no attribute.
    pub fn constant(&self) -> Option<&str> {
        match self.0.as_slice() {
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }
}

/// Which schema a plugin's changed data must pass.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub enum AfterPlugins {
    /// `same`: the one it passed before.
    #[default]
    Same,
    /// `off`: none.
    Off,
    /// The latest version of this subject.
    Subject(String),
}

impl From<String> for AfterPlugins {
    fn from(text: String) -> Self {
        match text.as_str() {
            "same" => AfterPlugins::Same,
            "off" => AfterPlugins::Off,
            _ => AfterPlugins::Subject(text),
        }
    }
}
