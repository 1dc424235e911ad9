//! Which route takes an event, and what record it becomes: pure decisions over values. Nothing here looks
//! inside the data, and nothing here talks to Kafka.

mod browser;
mod edits;
mod matching;
mod template;

use std::sync::Arc;

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

use crate::access::{Resource, Tenant};
use crate::event::structured::MEDIA_TYPE;
use crate::event::text::write_json_string;
use crate::event::trace::Trace;
use crate::event::{Attributes, Rules, Selector};
use crate::schema::ValidEvent;

pub use self::browser::Browser;
pub use self::edits::{Edits, Mark};
pub use self::matching::{Match, Routes};
pub use self::template::{Template, TemplateError};

/// The longest partition key or lookup key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;

/// What key, headers, an envelope and framing may add to an event's data in its record.
pub const RECORD_OVERHEAD_BYTES: usize = 64 * 1024;

/// One route: match → schema, plugins, topic.
#[derive(Clone, Debug)]
pub struct Route {
    /// Its name, also a metric label.
    pub name: Arc<str>,
    /// Whose it is.
    pub tenant: Tenant,
    /// Whether it takes signed events only, at its own path.
    pub signed: bool,
    /// The last part of its path, `/v1/events/{path}`.
    pub path: Arc<str>,
    /// Which CloudEvents it takes on `/v1/events`.
    pub matching: Match,
    /// How a plain event gets its attributes.
    pub rules: Rules,
    /// Where the partition key is, unless a plugin sets it.
    pub key: Option<Selector>,
    /// The registry subject of an event; no schema is asked without one.
    pub subject: Option<Template>,
    /// What an event that a plugin changed must match.
    pub after_plugins: AfterPlugins,
    /// How its records hold events.
    pub content_mode: ContentMode,
    /// Where its records go.
    pub topic: Arc<str>,
    /// Where else a plugin may send them.
    pub topics_allowed: Vec<Arc<str>>,
    /// What becomes of an event that a plugin failed on.
    pub on_error: OnError,
    /// Pages in browsers that may come to it.
    pub browser: Browser,
    /// Where events are kept aside; see [`dead_letter_topic`].
    pub dead_letter_topic: Arc<str>,
}

impl Route {
    /// It, as something that may be done something to.
    pub fn resource(&self) -> Resource<'_> {
        Resource::Route(&self.tenant, &self.name)
    }
}

/// Where the events of a topic are kept aside that a plugin failed on or did not want there.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dead-letter")
}

/// How a record holds a CloudEvent (CloudEvents 1.0.2, Kafka §3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ContentMode {
    /// Each attribute is a header, the value is the data.
    #[default]
    Binary,
    /// The value is an envelope in JSON, with all attributes and the data; no header is named `ce_`.
    Structured,
}

/// What becomes of an event that a plugin failed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It is kept aside, in `<topic>.dead-letter`, as it was sent and with the reason.
    #[default]
    DeadLetter,
    /// The client is told, and it is not stored.
    Refuse,
    /// It goes on as if the plugin were not there.
    Pass,
    /// It is not stored, and the client is told that this is well.
    Drop,
}

/// Why a plugin stopped an event, in words that leave the house: none of them is a value of the event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// `name@version+sha256:<hex>`.
    pub plugin: Arc<str>,
    /// `verdict` if it wanted to, or how it failed.
    pub code: &'static str,
    /// Its own words, or the host's.
    pub text: Box<str>,
}

/// The schema that a changed event must match.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize, schemars::JsonSchema)]
#[serde(from = "String")]
#[schemars(with = "String")]
pub enum AfterPlugins {
    /// `same`: the one it matched before.
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

/// What a record tells of its way through this gateway.
#[derive(Clone, Copy, Debug)]
pub struct Hop<'a> {
    /// The plugins that saw the event, as a header's value; empty for none.
    pub plugins: &'a str,
    /// The trace of the request that brought it.
    pub trace: Trace<'a>,
}

/// What goes to Kafka, but for its partition.
#[derive(Debug)]
pub struct Record<'a> {
    /// The topic.
    pub topic: &'a Arc<str>,
    /// Decides the partition, and is the record key.
    pub partition_key: Option<&'a str>,
    /// Headers in order; `weir-*` and `ce_*` are ours alone.
    pub headers: BumpVec<'a, (&'a str, &'a [u8])>,
    /// The data, or the envelope that holds it.
    pub value: &'a [u8],
}

impl<'a> Record<'a> {
    /// The record of a valid event; its edits are settled.
    pub fn new(
        arena: &'a Bump,
        route: &'a Route,
        event: &'a ValidEvent<'_>,
        edits: &'a Edits<'_>,
        hop: Hop<'a>,
    ) -> Record<'a> {
        let inner = event.event();
        let (mut headers, value) = match edits.envelope {
            None => {
                (attribute_headers(arena, inner.attributes(), inner.attributes().content_type), inner.data())
            }
            Some(envelope) => (bumpalo::vec![in arena; ("content-type", MEDIA_TYPE.as_bytes())], envelope),
        };
        headers.push(("weir-route", route.name.as_bytes()));
        let schema = event.schema().map_or("", |schema| schema.header());
        let ours = [
            ("weir-schema", schema.as_bytes()),
            ("weir-plugins", hop.plugins.as_bytes()),
            ("weir-lookup-keys", lookup_keys_header(arena, &edits.lookup_keys)),
            ("traceparent", hop.trace.parent.unwrap_or_default().as_bytes()),
            ("tracestate", hop.trace.state.unwrap_or_default().as_bytes()),
        ];
        headers.extend(ours.into_iter().filter(|(_, value)| !value.is_empty()));
        for (name, value) in &edits.headers {
            headers.retain(|(known, _)| known != name);
            if let Some(value) = value {
                headers.push((name, value.as_bytes()));
            }
        }
        Record {
            topic: edits.topic.as_ref().unwrap_or(&route.topic),
            partition_key: edits.partition_key,
            headers,
            value,
        }
    }

    /// The record of an event that is kept aside: `sent` are its bytes as they came, of this content type. It has
    /// the key that it would have had so far, so that one key's dead letters keep their order.
    pub fn dead_letter(
        arena: &'a Bump,
        route: &'a Route,
        event: &'a ValidEvent<'_>,
        edits: &'a Edits<'_>,
        (sent, content_type): (&'a [u8], &'a str),
        reason: &'a Reason,
    ) -> Record<'a> {
        let mut headers = attribute_headers(arena, event.event().attributes(), content_type);
        let topic = edits.topic.as_ref().unwrap_or(&route.topic);
        headers.extend([
            ("weir-route", route.name.as_bytes()),
            ("weir-dead-letter-topic", topic.as_bytes()),
            ("weir-dead-letter-plugin", reason.plugin.as_bytes()),
            ("weir-dead-letter-code", reason.code.as_bytes()),
            ("weir-dead-letter-reason", reason.text.as_bytes()),
        ]);
        Record { topic: &route.dead_letter_topic, partition_key: edits.partition_key, headers, value: sent }
    }
}

/// The CloudEvents Kafka binding, binary mode (CloudEvents 1.0.2, Kafka §3.2).
fn attribute_headers<'a>(
    arena: &'a Bump,
    attributes: &'a Attributes<'_>,
    content_type: &'a str,
) -> BumpVec<'a, (&'a str, &'a [u8])> {
    let mut headers = BumpVec::with_capacity_in(14, arena);
    headers.extend([
        ("ce_specversion", b"1.0".as_slice()),
        ("ce_id", attributes.id.as_bytes()),
        ("ce_source", attributes.source.as_bytes()),
        ("ce_type", attributes.event_type.as_bytes()),
    ]);
    let optional = [
        ("ce_subject", attributes.ce_subject),
        ("ce_time", attributes.time),
        ("ce_dataschema", attributes.dataschema),
    ];
    headers.extend(optional.iter().filter_map(|(name, value)| value.map(|value| (*name, value.as_bytes()))));
    headers.extend(attributes.extensions.iter().map(|(name, value)| (*name, value.as_bytes())));
    if !content_type.is_empty() {
        headers.push(("content-type", content_type.as_bytes()));
    }
    headers
}

/// Lookup keys as a header: a JSON array of `[kind, key]` pairs, or nothing.
fn lookup_keys_header<'a>(arena: &'a Bump, keys: &[(&str, &str)]) -> &'a [u8] {
    let bytes: usize = keys.iter().map(|(kind, key)| kind.len() + key.len() + 8).sum();
    let mut header = BumpVec::with_capacity_in(bytes + 2, arena);
    for (kind, key) in keys {
        header.extend_from_slice_copy(if header.is_empty() { b"[[" } else { b",[" });
        write_json_string(&mut header, kind);
        header.push(b',');
        write_json_string(&mut header, key);
        header.push(b']');
    }
    if !header.is_empty() {
        header.push(b']');
    }
    header.into_bump_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_keys_travel_as_pairs() {
        let arena = Bump::new();
        assert_eq!(lookup_keys_header(&arena, &[]), b"");
        let keys = [("order", "o\"1"), ("user", "u")];
        assert_eq!(lookup_keys_header(&arena, &keys), br#"[["order","o\"1"],["user","u"]]"#);
    }
}
