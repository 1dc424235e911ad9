//! What more than one adapter provides: the store behind recent-event lookups, and the words it shares with
//! its callers. It is not the read model's logic: which records are kept, and what an answer proves, is
//! decided in `recent`.

mod generation;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;

pub use generation::Generation;

/// A place in the log: the next offset to read, or the offset of one record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The Kafka topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
    /// The offset in it, from 0.
    pub offset: i64,
}

/// One partition of one topic: the unit in which the read model is kept, applied and certified.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    /// The Kafka topic.
    pub topic: Arc<str>,
    /// The partition, from 0.
    pub partition: i32,
}

/// The first 16 bytes of a SHA-256.
pub type Digest = [u8; 16];

/// One kept record as the lists know it: where it is and what is needed to filter without its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ref {
    /// The record's offset in its slot.
    pub offset: i64,
    /// The record's timestamp, milliseconds since 1970: when a gateway received the event.
    pub time_ms: i64,
    /// The start of the digest of the event's type.
    pub type_digest: [u8; 8],
    /// The digest of the event's (source, id); the body must carry the same.
    pub id_digest: Digest,
}

impl Ref {
    /// The length of the stored form.
    pub const BYTES: usize = 40;

    /// What is left of it in a list that may have been cut, once the record was freed: where and when it was.
    #[must_use]
    pub fn freed(self) -> Ref {
        Ref { type_digest: [0; 8], id_digest: [0; 16], ..self }
    }

    /// Whether the record was freed.
    pub fn is_freed(&self) -> bool {
        self.id_digest == [0; 16]
    }

    /// The stored form, big-endian: offset, time, type digest, id digest.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.offset.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.time_ms.to_be_bytes());
        bytes[16..24].copy_from_slice(&self.type_digest);
        bytes[24..].copy_from_slice(&self.id_digest);
        bytes
    }

    /// Reads the stored form; `None` if it has another length.
    pub fn from_bytes(bytes: &[u8]) -> Option<Ref> {
        let bytes: &[u8; Self::BYTES] = bytes.try_into().ok()?;
        Some(Ref {
            offset: i64::from_be_bytes(bytes[..8].try_into().ok()?),
            time_ms: i64::from_be_bytes(bytes[8..16].try_into().ok()?),
            type_digest: bytes[16..24].try_into().ok()?,
            id_digest: bytes[24..].try_into().ok()?,
        })
    }
}

/// A name an event can be found by: its partition key (an empty kind) or a lookup key a plugin added.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LookupKey {
    /// Empty for the partition key, else the plugin's word, e.g. `order`.
    pub kind: String,
    /// The key's text.
    pub key: String,
}

/// One record to keep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What goes into every list.
    pub at: Ref,
    /// The lists it goes into.
    pub keys: Vec<LookupKey>,
    /// The digests it is found by: of (source, id), and of the id alone. The first record with a (source, id) wins; of
    /// several sources that share an id, any.
    pub ids: [Digest; 2],
    /// What is given back for its offset; opaque to the store.
    pub body: Bytes,
}

/// How much of a slot is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keep {
    /// How long a record is listed after its time.
    pub window_ms: i64,
    /// How many records one key lists.
    pub per_key: usize,
    /// The budget for one slot's bodies. Above it the floor rises.
    pub bytes_max: u64,
}

impl Keep {
    /// How far lists reach.
    pub fn extent(&self) -> Extent {
        Extent { window_ms: self.window_ms, per_key: self.per_key }
    }

    /// The same in a life with this extent.
    #[must_use]
    pub fn within(self, extent: Extent) -> Keep {
        Keep { window_ms: extent.window_ms, per_key: extent.per_key, ..self }
    }
}

/// How far the lists of a life reach. It is settled when the life begins: a list that was cut by one measure says
/// nothing to a reader who goes by another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// How long a record is listed after its time.
    pub window_ms: i64,
    /// How many records one key lists.
    pub per_key: usize,
}

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.window_ms, self.per_key)
    }
}

impl Extent {
    /// Reads what [`Display`](std::fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Extent> {
        let (window_ms, per_key) = text.split_once('/')?;
        Some(Extent { window_ms: window_ms.parse().ok()?, per_key: per_key.parse().ok()? })
    }
}

/// Where a life of a slot begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Beginning {
    /// Its floor, and the first offset to be applied.
    pub floor: Floor,
    /// What filling brings the floor down to: `floor.offset` if there is nothing to fill in.
    pub start: i64,
    /// How far its lists reach.
    pub extent: Extent,
}

/// A stretch of the log, in order and without holes, to be applied in one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chunk {
    /// The life it is meant for.
    pub generation: Generation,
    /// The first offset it covers.
    pub from: i64,
    /// One past the last offset it covers; offsets without an entry are records that are not kept.
    pub to: i64,
    /// When a high watermark that is not above `to` was asked for.
    pub fresh_ms: Option<i64>,
    /// Where the floor is to be: what lies below is no longer kept, or, in filling, not yet.
    pub floor: Option<Floor>,
    /// How much is kept.
    pub keep: Keep,
    /// The records to keep, by rising offset, all within `from..to`.
    pub entries: Vec<Entry>,
}

/// Below it nothing is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The lowest offset that is kept.
    pub offset: i64,
    /// Records before this time may be missing; 0 when none within the window are.
    pub time_ms: i64,
}

/// What became of a chunk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// The slot now reaches at least the chunk's `to`.
    Done,
    /// Nothing changed: the slot reaches only this offset, which is below the chunk's `from`.
    Gap(i64),
    /// Nothing changed: the slot is not open, or is open in another life; or its floor is not where the chunk ends.
    Elsewhere,
    /// Nothing was filled in, nor will be: the budget is spent.
    Full,
}

/// How far a slot has been read: the certificate every answer carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The slot's present life.
    pub generation: Generation,
    /// The next offset to read: everything below it is in, down to the floor.
    pub next: i64,
    /// The newest time at which `next` is known to have been the end of the log; 0 when never.
    pub fresh_ms: i64,
    /// Below it nothing is kept.
    pub floor: Floor,
    /// What filling brings the floor down to.
    pub start: i64,
    /// How far the lists reach.
    pub extent: Extent,
}

impl Watermark {
    /// How many offsets are still to be filled in.
    pub fn to_fill(&self) -> i64 {
        (self.floor.offset - self.start).max(0)
    }
}

/// What is asked of one slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// Only the watermark.
    Watermark,
    /// The newest records of a key.
    Key {
        /// Which.
        key: LookupKey,
        /// At most this many.
        count: usize,
        /// How many the caller shows of one key in all.
        per_key: usize,
    },
    /// The record of an event.
    Id(EventId),
}

/// An id that is asked for: of whatever source, or of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventId {
    /// The digest of the id alone.
    pub alone: Digest,
    /// That of (source, id), if it is known.
    pub sourced: Option<Digest>,
}

impl EventId {
    /// Which of [`Entry::ids`] it is.
    pub fn digest(&self) -> &Digest {
        self.sourced.as_ref().unwrap_or(&self.alone)
    }

    /// What a record that has it may be found under.
    pub fn digests(&self) -> impl Iterator<Item = &Digest> + Clone {
        [&self.alone].into_iter().chain(&self.sourced)
    }

    /// The first record that has it, of those found under these digests.
    pub fn first(&self, found: impl IntoIterator<Item = Ref>) -> Option<Ref> {
        let is_meant = |at: &Ref| self.sourced.is_none_or(|digest| at.id_digest == digest);
        found.into_iter().filter(is_meant).min_by_key(|at| at.offset)
    }
}

/// Where a record may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Find {
    /// The slot.
    pub slot: Slot,
    /// The life it was found in: as the client knew it, which may be over.
    pub generation: Generation,
    /// What is listed.
    pub at: Ref,
}

impl Query {
    /// All records that may be shown of a key, and one more.
    pub fn all_of(key: LookupKey, per_key: usize) -> Query {
        Query::Key { key, count: per_key + 1, per_key }
    }

    /// The same, with all that may be shown.
    #[must_use]
    pub fn whole(&self) -> Query {
        match self {
            Query::Key { key, per_key, .. } => Query::all_of(key.clone(), *per_key),
            other => other.clone(),
        }
    }
}

/// What a slot answers, all of it as of its watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How far the slot has been read; `None` when it is not open.
    pub watermark: Option<Watermark>,
    /// The records found, newest first. May still hold some that left the window or lie below the floor.
    pub refs: Vec<Ref>,
    /// How many records the key's list holds. One more than `per_key` shows that older ones were cut.
    pub listed: usize,
    /// The newest time of the key's records that are not shown because there are too many, in ms since 1970; `None`
    /// where all are. What comes later into the log need not have been received later.
    pub cut_ms: Option<i64>,
}

impl Reading {
    /// Only how far the slot has been read.
    pub fn of(watermark: Option<Watermark>) -> Reading {
        Reading { watermark, refs: Vec::new(), listed: 0, cut_ms: None }
    }
}

/// Why the store did not answer. To a lookup all of them mean the same: it is behind.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No answer in time, no connection, or a server that says it cannot now.
    #[error("the store did not answer: {0}")]
    Away(String),
    /// An answer that is none of ours.
    #[error("the store answered something unexpected: {0}")]
    Unexpected(String),
}

/// The answer of a store, later.
pub type Later<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// What a store finds, later.
pub type LaterFound<'a, T> = Pin<Box<dyn Future<Output = Option<T>> + Send + 'a>>;

/// The answers of a store, later.
pub type LaterEach<'a, T> = Pin<Box<dyn Future<Output = Vec<Result<T, StoreError>>> + Send + 'a>>;

/// Keeps slots. Each method is one atomic step on one slot, or several of them where a chunk is large; except for bodies,
/// which are immutable.
pub trait RecentStore: Send + Sync {
    /// Begins the life `new` at `begin` if the present life is `seen` (`None`: not open). Answers the watermark that
    /// is in force afterwards, whoever opened it.
    fn open<'a>(
        &'a self,
        slot: &'a Slot,
        seen: Option<Generation>,
        new: Generation,
        begin: Beginning,
    ) -> Later<'a, Watermark>;

    /// Applies a chunk: skips what the slot has, refuses what would leave a hole. Safe to repeat.
    fn apply<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied>;

    /// Applies a chunk that ends at the floor, behind what is listed, and brings the floor down to where the chunk
    /// says. Its parts are applied from the end on, so that a fill that breaks off leaves no hole. Safe to repeat.
    fn fill<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied>;

    /// Takes records out of every list and id they are named with, and lets their bodies go. Safe to repeat.
    fn free<'a>(
        &'a self,
        slot: &'a Slot,
        watermark: &'a Watermark,
        entries: &'a [Entry],
    ) -> Later<'a, Applied>;

    /// Answers a query together with the watermark of the same moment.
    fn read<'a>(&'a self, slot: &'a Slot, query: &'a Query) -> Later<'a, Reading>;

    /// Answers a query of several slots, each for itself, in their order: one round trip for each server.
    fn read_each<'a>(&'a self, slots: &'a [Slot], query: &'a Query) -> LaterEach<'a, Reading>;

    /// Where a record with an id may be, as far as this client knows the lives of the slots: the first that turns up. Quick,
    /// and proves nothing. One round trip to each server, and no waiting for the slower ones once it is found.
    fn find<'a>(&'a self, slots: &'a [Slot], id: &'a EventId) -> LaterFound<'a, Find>;

    /// The bodies at these offsets, in their order; `None` where none is kept.
    fn bodies<'a>(
        &'a self,
        slot: &'a Slot,
        generation: Generation,
        offsets: &'a [i64],
    ) -> Later<'a, Vec<Option<Bytes>>>;

    /// The same store for a caller who stays on the current runtime: an answer that comes on another thread costs
    /// two wake-ups, more than the rest of a lookup. `None`: this one is as good.
    fn on_this_runtime(&self) -> Option<Arc<dyn RecentStore>> {
        None
    }
}
