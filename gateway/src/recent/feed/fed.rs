//! One event on its way to subscribers, and which of them want it. It is made into JSON once, when the first of
//! them takes it.

use std::sync::OnceLock;

use bytes::Bytes;

use super::super::answer;
use super::super::record::Logged;
use crate::ports::Slot;

/// What a subscriber asks for. Nothing given: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only events with a lookup key of this kind; with `key`, that key of this kind.
    pub kind: Option<String>,
    /// Only events with this key: the partition key, unless a kind is given.
    pub key: Option<String>,
    /// Only events of this type.
    pub type_: Option<String>,
}

impl Filter {
    pub(super) fn wants(&self, event: &Logged) -> bool {
        let listed = match (&self.kind, &self.key) {
            (None, None) => true,
            (kind, Some(key)) => {
                let kind = kind.as_deref().unwrap_or_default();
                event.keys.iter().any(|listed| listed.kind == kind && listed.key == *key)
            }
            (Some(kind), None) => event.keys.iter().any(|listed| listed.kind == *kind),
        };
        listed && self.type_.as_ref().is_none_or(|type_| event.body.type_ == *type_)
    }
}

/// An event of a slot.
pub(super) struct Fed {
    pub(super) slot: Slot,
    pub(super) event: Logged,
    json: OnceLock<Bytes>,
}

impl Fed {
    pub(super) fn new(slot: Slot, event: Logged) -> Fed {
        Fed { slot, event, json: OnceLock::new() }
    }

    pub(super) fn offset(&self) -> i64 {
        self.event.at.offset
    }

    /// As a lookup gives it, but for data that holds a carriage return.
    pub(super) fn json(&self) -> &[u8] {
        self.json.get_or_init(|| answer::json_without_cr(&self.slot, self.offset(), &self.event.body).into())
    }

    /// The same, to be told in another form than JSON.
    pub(super) fn found(&self) -> answer::Found<'_> {
        let (topic, partition) = (&*self.slot.topic, self.slot.partition);
        answer::Found { topic, partition, offset: self.offset(), body: &self.event.body }
    }

    /// About what it takes in memory: its data and the same as JSON, and its texts.
    pub(super) fn cost(&self) -> usize {
        1024 + 2 * self.event.body.data.len()
    }
}
