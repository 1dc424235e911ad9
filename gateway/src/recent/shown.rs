//! Events that were shown lately, in this process's memory. An event never changes, and is asked for by all that
//! identifies it: what is here is never stale. Whether it may still be shown is for the watermark and the control log to
//! say, each time.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::body::Body;
use crate::ports::{Digest, Generation};

/// All of them together, about.
const BYTES_MAX: u64 = 32 << 20;
/// What one takes beside its texts and its data.
const OVERHEAD_BYTES: usize = 320;

/// The events shown lately.
pub(super) struct Shown(Cache<Identity, Arc<Body>, Bytes>);

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
        Shown(Cache::with_weighter(about, BYTES_MAX, Bytes))
    }

    pub(super) fn get(&self, identity: &Identity) -> Option<Arc<Body>> {
        self.0.get(identity)
    }

    pub(super) fn keep(&self, identity: Identity, body: &Arc<Body>) {
        self.0.insert(identity, Arc::clone(body));
    }
}
