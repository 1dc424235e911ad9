//! Recent-event lookups: the store's contract on both adapters, the scripts word for word, and whole lookups
//! against a real log.

mod anew;
mod chaos;
mod contract;
mod erased;
mod http;
mod lookups;
mod model;
mod scripts;
pub(crate) mod tail;

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use weir::ports::{Beginning, Chunk, Entry, Extent, Floor, Generation, Keep, LookupKey, Ref};

const GENERATION: Generation = Generation(0xfeed);
const KEEP: Keep = Keep { window_ms: 3_600_000, per_key: 4, bytes_max: 1 << 30 };
const EXTENT: Extent = Extent { window_ms: KEEP.window_ms, per_key: KEEP.per_key };
const BOTTOM: Beginning = Beginning { floor: Floor { offset: 0, time_ms: 0 }, start: 0, extent: EXTENT };

fn now_ms() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn partition_key(key: &str) -> LookupKey {
    LookupKey { kind: String::new(), key: key.to_owned() }
}

/// An entry of the partition key `key`, received now, with ids made from its offset.
fn entry(offset: i64, key: &str) -> Entry {
    let own = u8::try_from(offset % 251).unwrap();
    let at = Ref { offset, time_ms: now_ms(), type_digest: [1; 8], id_digest: [own; 16] };
    let body = Bytes::from(format!("body of {offset}"));
    let mut alone = [own; 16];
    alone[0] = 255;
    Entry { at, keys: vec![partition_key(key)], ids: [at.id_digest, alone], body }
}

fn chunk(from: i64, to: i64, entries: Vec<Entry>) -> Chunk {
    Chunk { generation: GENERATION, from, to, fresh_ms: None, floor: None, keep: KEEP, entries }
}
