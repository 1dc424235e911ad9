//! What a plugin makes of an event: its verdict, and the event with its ops applied.

use std::collections::BTreeMap;

use bumpalo::Bump;
use serde_json::{Map, Value, json};

use super::event::{Batch, parser};
use crate::event::Event;
use crate::event::splice::{SpliceError, json_remove, json_set};
use crate::plugin::{CallError, Instance, Op, Verdict};

/// A verdict and what comes of it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Answer {
    verdict: &'static str,
    reason: Option<String>,
    partition_key: Option<String>,
    lookup_keys: Vec<(String, String)>,
    headers: BTreeMap<String, Option<String>>,
    topic: Option<String>,
    data: Vec<u8>,
    changed: bool,
    /// How the call broke down, in a word.
    pub(super) broke: Option<&'static str>,
}

/// The members of an answer as JSON, and of what is expected of one.
pub(super) const MEMBERS: [&str; 7] =
    ["verdict", "reason", "partition_key", "lookup_keys", "headers", "topic", "data"];

/// Lets a plugin judge events. As in the gateway, those of a call that breaks down get a call each.
pub(super) fn judge(instance: &mut Instance, events: &[Event<'_>]) -> Vec<Answer> {
    let error = match instance.call(&Batch::new(events)) {
        Ok(verdicts) => {
            let judged = events.iter().zip(verdicts.iter());
            return judged.map(|(event, (verdict, ops))| Answer::new(event, verdict, ops)).collect();
        }
        Err(error) => error,
    };
    if events.len() > 1 && error.is_of_its_events() {
        return events.chunks(1).flat_map(|one| judge(instance, one)).collect();
    }
    events.iter().map(|event| Answer::broken(event, &error)).collect()
}

impl Answer {
    fn new(event: &Event<'_>, verdict: Verdict<'_>, ops: &[Op<'_>]) -> Self {
        let (verdict, reason) = match verdict {
            Verdict::Pass => ("pass", ""),
            Verdict::Drop(reason) => ("drop", reason),
            Verdict::Refuse(reason) => ("refuse", reason),
            Verdict::DeadLetter(reason) => ("dead-letter", reason),
            Verdict::Failed(reason) => ("fail", reason),
        };
        let mut answer = Answer::plain(event, verdict, reason);
        match ops.iter().try_for_each(|op| answer.apply(op)).and_then(|()| answer.check_data()) {
            Ok(()) => answer,
            Err(why) => Answer { broke: Some("edit"), ..Answer::plain(event, "fail", &why) },
        }
    }

    fn broken(event: &Event<'_>, error: &CallError) -> Self {
        Answer { broke: Some(error.ending()), ..Answer::plain(event, "fail", &error.to_string()) }
    }

    fn plain(event: &Event<'_>, verdict: &'static str, reason: &str) -> Self {
        Answer {
            verdict,
            reason: (!reason.is_empty()).then(|| reason.to_owned()),
            partition_key: None,
            lookup_keys: Vec::new(),
            headers: BTreeMap::new(),
            topic: None,
            data: event.data().to_owned(),
            changed: false,
            broke: None,
        }
    }

    fn apply(&mut self, op: &Op<'_>) -> Result<(), String> {
        match op {
            Op::SetPartitionKey(key) => self.partition_key = Some((*key).to_owned()),
            Op::AddLookupKey { kind, key } => self.lookup_keys.push(((*kind).to_owned(), (*key).to_owned())),
            Op::SetHeader { name, value } => {
                drop(self.headers.insert((*name).to_owned(), Some((*value).to_owned())));
            }
            Op::RemoveHeader { name } => drop(self.headers.insert((*name).to_owned(), None)),
            Op::SetTopic(topic) => self.topic = Some(topic.to_string()),
            Op::JsonSet { pointer, value } => return self.edit(json_set(&self.data, pointer, value)),
            Op::JsonRemove { pointer } => return self.edit(json_remove(&self.data, pointer)),
            Op::ReplacePayload(data) => return self.edit(Ok(data.to_vec())),
        }
        Ok(())
    }

    fn edit(&mut self, edited: Result<Vec<u8>, SpliceError>) -> Result<(), String> {
        match edited {
            Ok(data) => (self.data, self.changed) = (data, true),
            Err(SpliceError::Absent { .. }) => {}
            Err(error) => return Err(format!("it asked for an edit that cannot be made: {error}")),
        }
        Ok(())
    }

    fn check_data(&self) -> Result<(), String> {
        if !self.changed {
            return Ok(());
        }
        let checked = parser().document(&Bump::new(), &self.data).map(drop);
        checked.map_err(|problem| format!("it made data that is not valid: {problem}"))
    }

    /// One member, also where it says nothing.
    pub(super) fn member(&self, name: &str) -> Value {
        match name {
            "verdict" => json!(self.verdict),
            "reason" => json!(self.reason),
            "partition_key" => json!(self.partition_key),
            "lookup_keys" => json!(self.lookup_keys),
            "headers" => json!(self.headers),
            "topic" => json!(self.topic),
            _ => serde_json::from_slice(&self.data)
                .unwrap_or_else(|_| json!(String::from_utf8_lossy(&self.data))),
        }
    }

    /// The members that say something; the data only if the plugin changed it.
    pub(super) fn to_json(&self) -> Map<String, Value> {
        let says = |(name, value): &(&str, Value)| match value {
            _ if *name == "data" => self.changed,
            Value::Array(list) => !list.is_empty(),
            Value::Object(members) => !members.is_empty(),
            other => !other.is_null(),
        };
        let members = MEMBERS.iter().map(|name| (*name, self.member(name))).filter(says);
        members.map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Written;
    use super::*;

    fn answer(data: &[u8], ops: &[Op<'_>]) -> Value {
        let written = Written::plain(data).expect("is JSON");
        let arena = Bump::new();
        Answer::new(&written.read(&arena).expect("is an event"), Verdict::Pass, ops).to_json().into()
    }

    #[test]
    fn ops_are_applied_in_order() {
        let pointer = |text: &str| Box::new(text.parse().expect("a pointer"));
        let ops = [
            Op::SetPartitionKey("a"),
            Op::SetPartitionKey("b"),
            Op::AddLookupKey { kind: "user", key: "u" },
            Op::SetHeader { name: "x-a", value: "1" },
            Op::RemoveHeader { name: "x-a" },
            Op::JsonSet { pointer: pointer("/b"), value: b"2" },
            Op::JsonRemove { pointer: pointer("/a") },
            Op::JsonRemove { pointer: pointer("/not/there") },
        ];
        let expected = json!({
            "verdict": "pass", "partition_key": "b", "lookup_keys": [["user", "u"]],
            "headers": {"x-a": null}, "data": {"b": 2},
        });
        assert_eq!(answer(b"{\"a\":1}", &ops), expected);
        assert_eq!(answer(b"{\"a\":1}", &[]), json!({"verdict": "pass"}));
    }

    #[test]
    fn an_edit_that_cannot_be_made_fails_the_event_and_nothing_else_counts() {
        let pointer = || Box::new("/a".parse().expect("a pointer"));
        for data in [&b"7"[..], b"{}"] {
            let set = Op::JsonSet { pointer: pointer(), value: b"no JSON" };
            let answer = answer(data, &[Op::SetPartitionKey("k"), set]);
            assert_eq!(
                (&answer["verdict"], &answer["partition_key"]),
                (&json!("fail"), &Value::Null),
                "{answer}"
            );
        }
    }
}
