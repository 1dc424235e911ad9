//! What the config says about a route's tests: an event in, and what is to become of it. `weir test` runs them.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

/// One event and what is expected of it. Of what is expected only the members given are compared.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouteTest {
    /// What it shows, in a few words.
    pub name: String,
    /// The event as plain JSON: its data.
    pub event: Option<Value>,
    /// The event as a CloudEvent in structured mode, instead.
    pub cloudevent: Option<Value>,
    /// The headers of its request.
    pub headers: BTreeMap<String, String>,
    /// It is stored, as this record.
    pub record: Option<ExpectedRecord>,
    /// It goes to the dead-letter topic.
    pub dead_letter: Option<ExpectedDeadLetter>,
    /// A plugin drops it.
    pub dropped: Option<ExpectedDrop>,
    /// It is refused.
    pub problem: Option<ExpectedProblem>,
}

/// What is expected of a record.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedRecord {
    /// The topic.
    pub topic: Option<String>,
    /// The partition key.
    pub key: Option<String>,
    /// Record headers by name; `null`: there is none.
    pub headers: BTreeMap<String, Option<String>>,
    /// The data.
    pub data: Option<Value>,
}

/// What is expected of a dead letter.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedDeadLetter {
    /// `verdict`, or how the plugin failed.
    pub code: Option<String>,
    /// The plugin's words.
    pub reason: Option<String>,
    /// The partition key.
    pub key: Option<String>,
}

/// What is expected of an event that is dropped.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedDrop {
    /// The plugin's own name.
    pub plugin: Option<String>,
    /// Its words.
    pub reason: Option<String>,
}

/// What is expected of an answer that refuses.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ExpectedProblem {
    /// E.g. `schema-violation`.
    pub code: Option<String>,
    /// JSON pointers into the data that its `errors` name, among others.
    pub pointers: Vec<String>,
}

impl RouteTest {
    /// What is wrong with it as a test, if something is.
    pub fn fault(&self) -> Option<&'static str> {
        let count = |parts: &[bool]| parts.iter().filter(|part| **part).count();
        let ends = [
            self.record.is_some(),
            self.dead_letter.is_some(),
            self.dropped.is_some(),
            self.problem.is_some(),
        ];
        if self.name.is_empty() {
            Some("it needs a `name`")
        } else if count(&[self.event.is_some(), self.cloudevent.is_some()]) != 1 {
            Some("it needs either `event` or `cloudevent`")
        } else if count(&ends) != 1 {
            Some("it needs one of `record`, `dead_letter`, `dropped` and `problem`")
        } else {
            None
        }
    }
}
