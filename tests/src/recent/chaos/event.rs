//! The events of the run: what number says which event, as JSON and as a digest. Who sends them when is the writer's.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use serde::{Deserialize, Serialize};

/// So long is the data of an event, about.
const PAD: &str =
    "fjords and glaciers, and whatever else an order may have to say for itself: a hundred bytes";
/// Events of any key belong to one of these.
pub const GROUPS: u32 = 500;

/// The data of an event. It names all of its own attributes, so that an answer that mixes two events shows it.
#[derive(Debug, Deserialize, Serialize)]
pub struct Data<'a> {
    id: &'a str,
    key: &'a str,
    group: &'a str,
    sequence: u32,
    pad: &'a str,
}

/// What the run calls an event by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its own, over all writers.
    pub number: u64,
    /// Whose it is.
    pub key: u32,
    /// The how-manieth of its key.
    pub sequence: u32,
}

/// The id of an event.
pub fn id(number: u64) -> String {
    format!("e-{number}")
}

/// The partition key.
pub fn key(key: u32) -> String {
    format!("k-{key}")
}

/// The lookup key of the other kind.
pub fn group(group: u32) -> String {
    format!("g-{group}")
}

impl Event {
    /// The group it belongs to.
    pub fn group(&self) -> u32 {
        u32::try_from(self.number % u64::from(GROUPS)).expect("below the number of groups")
    }

    /// What is sent.
    pub fn to_json(self) -> String {
        let (id, key, group) = (id(self.number), key(self.key), group(self.group()));
        let data = Data { id: &id, key: &key, group: &group, sequence: self.sequence, pad: PAD };
        serde_json::to_string(&data).expect("texts and a number")
    }
}

/// Reads back `k-7` as 7.
pub fn number_of<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.split_once('-')?.1.parse().ok()
}

impl Data<'_> {
    /// The same for the same event only. The attributes beside the data must be its own, else it is no event's.
    pub fn digest(&self, id: &str, key: Option<&str>) -> u64 {
        if id != self.id || key != Some(self.key) {
            return 0;
        }
        let mut hasher = DefaultHasher::new();
        (self.id, self.key, self.group, self.sequence, self.pad).hash(&mut hasher);
        hasher.finish().max(1)
    }

    /// What it says it is.
    pub fn event(&self) -> Option<Event> {
        Some(Event { number: number_of(self.id)?, key: number_of(self.key)?, sequence: self.sequence })
    }
}
