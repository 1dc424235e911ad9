//! Events that were shown lately, in this process's memory, and where ids were found. An event never changes, and is asked
//! for by all that identifies it: what is here is never stale. Where it was found it is looked for first. Whether it is still
//! there, and may be shown, is for the watermark and the control log to say, each time.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::body::Body;
use crate::ports::{Digest, Find, Generation};

/// All of them together, about.
const BYTES_MAX: u64 = 32 << 20;
/// What one takes beside its texts and its data.
const OVERHEAD_BYTES: usize = 320;
/// At some 130 bytes each.
const PLACES_MAX: usize = 1 << 16;

/// The events shown lately.
pub(super) struct Shown {
    events: Cache<Identity, Arc<Body>, Bytes>,
    /// Where the first event of a topic with an id was found.
    places: Cache<(Arc<str>, Digest), Find>,
}

/// What identifies an event: the life it was read in, its place, and the digest of its (source, id).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Identity {
    pub(super) generation: Generation,
    pub(super) partition: i32,
    pub(super) offset: i64,
    pub(super) id_digest: Digest,
}

#[derive(Clone)]
struct Bytes;

impl Weighter<Identity, Arc<Body>> for Bytes {
    fn weight(&self, _: &Identity, body: &Arc<Body>) -> u64 {
        let optional = [&body.lookup_keys, &body.plugins].into_iter().flatten().map(String::len);
        let bytes = body.data.len() + body.id.len() + body.source.len() + optional.sum::<usize>();
        u64::try_from(OVERHEAD_BYTES + bytes).unwrap_or(u64::MAX)
    }
}

impl Shown {
    pub(super) fn new() -> Shown {
        let usual = u64::try_from(4 * OVERHEAD_BYTES).unwrap_or(1024);
        let about = usize::try_from(BYTES_MAX / usual).unwrap_or(1024);
        Shown { events: Cache::with_weighter(about, BYTES_MAX, Bytes), places: Cache::new(PLACES_MAX) }
    }

    pub(super) fn get(&self, identity: &Identity) -> Option<Arc<Body>> {
        self.events.get(identity)
    }

    pub(super) fn keep(&self, identity: Identity, body: &Arc<Body>) {
        self.events.insert(identity, Arc::clone(body));
    }

    /// Where an id of this topic was found last.
    pub(super) fn place(&self, topic: &Arc<str>, id: &Digest) -> Option<Find> {
        self.places.get(&(Arc::clone(topic), *id))
    }

    /// Notes where it was found now; `None`: not there any more.
    pub(super) fn note_place(&self, topic: &Arc<str>, id: &Digest, found: Option<Find>) {
        let key = (Arc::clone(topic), *id);
        match found {
            Some(found) => self.places.insert(key, found),
            None => drop(self.places.remove(&key)),
        }
    }
}
