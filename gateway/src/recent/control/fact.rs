//! One fact of the control log: which events are not to be shown any more. In the log it is JSON, and digests stand
//! for keys and ids: an erasure must not keep what it erases.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::ports::{Digest, LookupKey};
use crate::recent::record::truncated;

/// The most ids one fact lists.
pub(crate) const IDS_MAX: usize = 4096;

/// Which events of one topic are hidden, since when and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// The topic.
    pub topic: Arc<str>,
    /// The topic's id; a topic made anew under the same name is not touched. `None` if Kafka did not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<Arc<str>>,
    /// Which of the events within `spans`.
    pub what: What,
    /// For each partition the first offset, and one past the last. Other partitions are not touched.
    pub spans: BTreeMap<i32, (i64, i64)>,
    /// Events that were known to be hidden by this, by their ids: a lookup of them says `erased`, not `not-in-window`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ids: Vec<Hex>,
    /// When it was ordered, in ms since 1970.
    pub at_ms: i64,
    /// Why, in the words of who ordered it.
    pub why: String,
}

/// A fact in force, under the name it has in the control topic.
#[derive(Clone, Debug, Serialize)]
pub struct InForce {
    /// The name.
    pub id: Arc<str>,
    /// What it hides.
    pub fact: Arc<Fact>,
}

/// Which events a fact hides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum What {
    /// Those found by this key (see `key_digest`).
    Key(Hex),
    /// Those with this id, or this source and id.
    Id(Hex),
    /// Those that this plugin saw: `<name>`, `<name>@<version>`, or with the digest of its file.
    Plugin(String),
    /// Those checked against this schema: `<subject>`, or `<subject>/<version>`.
    Schema(String),
    /// All.
    All,
}

/// How many partitions a topic has, and when that was last seen to change: until the window has passed, a key's events
/// may be in another partition than its hash tells.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Partitions {
    pub(crate) topic: Arc<str>,
    pub(crate) partitions: i32,
    /// In ms since 1970; 0 for never.
    pub(crate) changed_ms: i64,
}

impl Partitions {
    /// What the names of such records begin with; then comes the topic.
    pub(crate) const PREFIX: &str = "partitions/";
}

/// A digest, as 32 hex digits in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Hex(pub Digest);

impl From<Hex> for String {
    fn from(Hex(digest): Hex) -> String {
        format!("{:032x}", u128::from_be_bytes(digest))
    }
}

impl TryFrom<String> for Hex {
    type Error = std::num::ParseIntError;

    fn try_from(text: String) -> Result<Hex, Self::Error> {
        u128::from_str_radix(&text, 16).map(|number| Hex(number.to_be_bytes()))
    }
}

/// What stands for a key in facts.
pub(crate) fn key_digest(key: &LookupKey) -> Digest {
    let mut hash = Sha256::new();
    hash.update(key.kind.len().to_be_bytes());
    hash.update(&key.kind);
    hash.update(&key.key);
    truncated(&hash.finalize())
}

impl Fact {
    pub(crate) fn spans(&self, partition: i32, offset: i64) -> bool {
        self.spans.get(&partition).is_some_and(|(from, to)| (*from..*to).contains(&offset))
    }
}

/// Whether one of the links of a header `weir-plugins` is the plugin named.
pub(super) fn names_plugin(header: &str, named: &str) -> bool {
    let ends_a_part = |rest: &str| rest.is_empty() || rest.starts_with('@') || rest.starts_with('+');
    header.split(',').any(|link| link.trim().strip_prefix(named).is_some_and(ends_a_part))
}

/// Whether `<subject>/<version>` is the schema named.
pub(super) fn names_schema(schema: &str, named: &str) -> bool {
    schema == named || schema.rsplit_once('/').is_some_and(|(subject, _)| subject == named)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_survives_its_json() {
        let fact = Fact {
            topic: "orders".into(),
            topic_id: None,
            what: What::Key(Hex([7; 16])),
            spans: BTreeMap::from([(0, (0, 17)), (1, (0, 3))]),
            ids: vec![Hex([0xab; 16])],
            at_ms: 5,
            why: "request 12".to_owned(),
        };
        let json = serde_json::to_string(&fact).expect("JSON");
        assert!(json.contains(r#""key":"07070707070707070707070707070707""#), "{json}");
        assert_eq!(serde_json::from_str::<Fact>(&json).expect("a fact"), fact);
        assert!(fact.spans(1, 2) && !fact.spans(1, 3) && !fact.spans(2, 0));
    }

    #[test]
    fn a_plugin_is_named_with_or_without_version_and_digest() {
        let header = "geo@1.2.0+sha256:ab, keys@0.1.0+sha256:cd";
        for named in ["geo", "geo@1.2.0", "keys", "keys@0.1.0+sha256:cd"] {
            assert!(names_plugin(header, named), "{named}");
        }
        for named in ["ge", "geo@1", "geo@1.2.0+sha256:a", "0.1.0"] {
            assert!(!names_plugin(header, named), "{named}");
        }
        assert!(names_schema("a/b/2", "a/b") && names_schema("a/2", "a/2") && !names_schema("a/b/2", "a"));
    }

    #[test]
    fn keys_of_two_kinds_never_share_a_digest() {
        let key =
            |kind: &str, key: &str| key_digest(&LookupKey { kind: kind.to_owned(), key: key.to_owned() });
        assert_ne!(key("a", "bc"), key("ab", "c"));
        assert_ne!(key("", "a"), key("a", ""));
    }
}
