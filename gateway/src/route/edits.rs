//! What becomes of an event's record beside the event: what plugins asked for, and what is settled once they are done.

use std::sync::Arc;

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;

use super::{ContentMode, KEY_BYTES_MAX, RECORD_OVERHEAD_BYTES, Route};
use crate::event::Selected;
use crate::event::structured::{envelope, holds_events};
use crate::problem::{Code, Problem};
use crate::schema::ValidEvent;

/// What plugins asked for, over the whole chain; the last word wins. Then it is [settled](Edits::settle). Kept in the
/// chunk's arena.
#[derive(Debug)]
pub struct Edits<'a> {
    /// The partition key.
    pub partition_key: Option<&'a str>,
    /// The event in structured mode, if its record is to hold it so.
    pub(super) envelope: Option<&'a [u8]>,
    /// Further keys that find the event: kind and key.
    pub lookup_keys: BumpVec<'a, (&'a str, &'a str)>,
    /// Headers to set, or with `None` to take away.
    pub headers: BumpVec<'a, (&'a str, Option<&'a str>)>,
    /// Another topic of the route's allow-list.
    pub topic: Option<Arc<str>>,
}

/// How far edits had come; see [`Edits::back_to`].
#[derive(Debug)]
pub struct Mark<'a> {
    partition_key: Option<&'a str>,
    lookup_keys: usize,
    headers: usize,
    topic: Option<Arc<str>>,
}

impl<'a> Edits<'a> {
    /// Where to go back to if what comes next must not count.
    pub fn mark(&self) -> Mark<'a> {
        Mark {
            partition_key: self.partition_key,
            lookup_keys: self.lookup_keys.len(),
            headers: self.headers.len(),
            topic: self.topic.clone(),
        }
    }

    /// Forgets what was asked for since.
    pub fn back_to(&mut self, mark: Mark<'a>) {
        self.partition_key = mark.partition_key;
        self.lookup_keys.truncate(mark.lookup_keys);
        self.headers.truncate(mark.headers);
        self.topic = mark.topic;
    }

    /// Settles what only an event tells that nothing changes any more: its partition key, where no plugin set it, and
    /// its envelope. Refuses a key with control characters, and what would be more than the largest event's record.
    pub fn settle(
        &mut self,
        arena: &'a Bump,
        route: &Route,
        event: &ValidEvent<'_>,
        event_bytes_max: usize,
    ) -> Result<(), Problem> {
        self.settle_key(arena, route, event)?;
        let inner = event.event();
        // In binary mode such an event's content type would say that its record is in structured mode.
        let structured =
            route.content_mode == ContentMode::Structured || holds_events(inner.attributes().content_type);
        if structured {
            let envelope = envelope(arena, inner.attributes(), inner.data());
            if envelope.len() > event_bytes_max.saturating_add(RECORD_OVERHEAD_BYTES / 2) {
                let detail =
                    "in structured mode the event is larger than a record may be; send smaller events";
                return Err(Problem::new(Code::RecordTooLarge, detail));
            }
            self.envelope = Some(envelope);
        }
        Ok(())
    }

    /// The partition key alone, for an event that is kept aside as it was sent.
    pub fn settle_key(
        &mut self,
        arena: &'a Bump,
        route: &Route,
        event: &ValidEvent<'_>,
    ) -> Result<(), Problem> {
        if let (None, Some(at)) = (self.partition_key, &route.key) {
            let own = event.event().select(at).and_then(Selected::entity);
            let own = own.filter(|key| (1..=KEY_BYTES_MAX).contains(&key.len()));
            self.partition_key = own.map(|key| &*arena.alloc_str(key));
        }
        match self.partition_key {
            Some(key) if key.chars().any(char::is_control) => Err(Problem::new(
                Code::InvalidAttribute,
                "the event's partition key holds control characters",
            )),
            _ => Ok(()),
        }
    }

    /// Nothing asked for yet.
    pub fn new_in(arena: &'a Bump) -> Self {
        Edits {
            partition_key: None,
            envelope: None,
            lookup_keys: BumpVec::new_in(arena),
            headers: BumpVec::new_in(arena),
            topic: None,
        }
    }
}
