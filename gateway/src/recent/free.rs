//! Taking out of the store what is hidden: for the memory's sake, and for that of who looks into the store. No answer
//! depends on it.

use super::body::Body;
use super::record::{id_digest, listed_keys};
use crate::ports::{Applied, Entry, LookupKey, Query, RecentStore, Ref, Slot, StoreError, Watermark};

/// What a slot lists for a query below an offset, each with every name it is listed under. Without bodies.
pub(super) async fn listed(
    store: &dyn RecentStore,
    slot: &Slot,
    query: &Query,
    below: i64,
) -> Result<Option<(Watermark, Vec<Entry>)>, StoreError> {
    let reading = store.read(slot, query).await?;
    let Some(watermark) = reading.watermark else { return Ok(None) };
    let refs: Vec<Ref> = reading.refs.into_iter().filter(|at| at.offset < below && !at.is_freed()).collect();
    let offsets: Vec<i64> = refs.iter().map(|at| at.offset).collect();
    let bodies = store.bodies(slot, watermark.generation, &offsets).await?;
    let entry = |(at, bytes): (Ref, Option<bytes::Bytes>)| {
        let body = bytes.and_then(|bytes| Body::decode(&bytes, watermark.generation, &at.id_digest));
        match body {
            Some(body) => Entry {
                at,
                keys: listed_keys(body.partition_key.as_deref(), body.lookup_keys.as_deref()),
                ids: [at.id_digest, id_digest(None, &body.id)],
                body: bytes::Bytes::new(),
            },
            // Its other names are not known; they lead to a body that is not there, and from there to the log.
            None => {
                let alone = if let Query::Id(id) = query { id.alone } else { at.id_digest };
                Entry { at, keys: key(query), ids: [at.id_digest, alone], body: bytes::Bytes::new() }
            }
        }
    };
    Ok(Some((watermark, refs.into_iter().zip(bodies).map(entry).collect())))
}

fn key(query: &Query) -> Vec<LookupKey> {
    match query {
        Query::Key { key, .. } => vec![key.clone()],
        Query::Id(_) | Query::Watermark => Vec::new(),
    }
}

/// Takes what a slot lists for a query below an offset out of it: how many entries.
pub(super) async fn free(
    store: &dyn RecentStore,
    slot: &Slot,
    query: &Query,
    below: i64,
) -> Result<usize, StoreError> {
    let Some((watermark, entries)) = listed(store, slot, query, below).await? else { return Ok(0) };
    match store.free(slot, &watermark, &entries).await? {
        Applied::Done => Ok(entries.len()),
        // Another life: what this one was about to free is unreachable.
        Applied::Gap(_) | Applied::Elsewhere | Applied::Full => Ok(0),
    }
}
