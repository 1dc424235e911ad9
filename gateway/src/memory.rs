//! The read model's store in this process's memory: for `weir dev` and for tests. It keeps the contract that
//! the Valkey adapter keeps, and the same tests; it is never a per-node view beside a real cluster.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::future::ready;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;

use crate::ports::{
    Applied, Beginning, Chunk, Digest, Entry, EventId, Find, Floor, Generation, Later, LaterEach, LaterFound,
    LookupKey, Query, Reading, RecentStore, Ref, Slot, Watermark,
};

/// The store.
#[derive(Default)]
pub struct Memory {
    slots: Mutex<HashMap<Slot, Contents>>,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        Memory::default()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<Slot, Contents>> {
        // A panic elsewhere leaves a slot between two entries at worst, below its own watermark.
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One slot in its present life.
struct Contents {
    watermark: Watermark,
    /// Newest first.
    lists: HashMap<LookupKey, VecDeque<Ref>>,
    ids: HashMap<Digest, Ref>,
    entries: BTreeMap<i64, Entry>,
    bytes: u64,
}

impl Contents {
    fn open(generation: Generation, Beginning { floor, start, extent }: Beginning) -> Contents {
        let watermark = Watermark { generation, next: floor.offset, fresh_ms: 0, floor, start, extent };
        Contents { watermark, lists: HashMap::new(), ids: HashMap::new(), entries: BTreeMap::new(), bytes: 0 }
    }

    fn apply(&mut self, chunk: &Chunk) -> Applied {
        if self.watermark.generation != chunk.generation {
            return Applied::Elsewhere;
        }
        if chunk.from > self.watermark.next {
            return Applied::Gap(self.watermark.next);
        }
        let next = self.watermark.next;
        for entry in chunk.entries.iter().filter(|entry| entry.at.offset >= next) {
            self.insert(entry, chunk.keep.per_key);
        }
        self.watermark.next = next.max(chunk.to);
        self.watermark.fresh_ms = self.watermark.fresh_ms.max(chunk.fresh_ms.unwrap_or(0));
        if let Some(floor) = chunk.floor {
            self.raise(floor);
        }
        self.forget(chunk);
        Applied::Done
    }

    fn insert(&mut self, entry: &Entry, per_key: usize) {
        for key in &entry.keys {
            let list = self.lists.entry(key.clone()).or_default();
            list.push_front(entry.at);
            if list.len() > per_key + 1 {
                let cut = list.pop_back();
                note_cut(list, cut);
            }
        }
        for id in entry.ids {
            self.ids.entry(id).or_insert(entry.at);
        }
        self.bytes += cost(entry);
        self.entries.insert(entry.at.offset, entry.clone());
    }

    fn fill(&mut self, chunk: &Chunk) -> Applied {
        let floor = &mut self.watermark.floor;
        if self.watermark.generation != chunk.generation
            || chunk.to != floor.offset
            || chunk.from < self.watermark.start
        {
            return Applied::Elsewhere;
        }
        if self.bytes + chunk.entries.iter().map(cost).sum::<u64>() > chunk.keep.bytes_max {
            self.watermark.start = floor.offset;
            return Applied::Full;
        }
        *floor = chunk.floor.unwrap_or(Floor { offset: chunk.from, ..*floor });
        for entry in chunk.entries.iter().rev() {
            for key in &entry.keys {
                let list = self.lists.entry(key.clone()).or_default();
                // One that is full may have been cut: nothing follows behind a cut.
                if list.len() <= chunk.keep.per_key {
                    list.push_back(entry.at);
                } else {
                    note_cut(list, Some(entry.at));
                }
            }
            for id in entry.ids {
                self.ids.insert(id, entry.at);
            }
            self.bytes += cost(entry);
            self.entries.insert(entry.at.offset, entry.clone());
        }
        self.forget(chunk);
        Applied::Done
    }

    fn raise(&mut self, floor: Floor) {
        if floor.offset >= self.watermark.floor.offset {
            let time_ms = floor.time_ms.max(self.watermark.floor.time_ms);
            self.watermark.floor = Floor { offset: floor.offset, time_ms };
            self.watermark.start = floor.offset;
        }
    }

    /// Lets go of what left the window, what lies below the floor and, raising it, what is over the budget.
    fn forget(&mut self, chunk: &Chunk) {
        let expired = unix_ms().saturating_sub(chunk.keep.window_ms);
        while let Some(first) = self.entries.first_entry() {
            let at = first.get().at;
            let over_budget = self.bytes > chunk.keep.bytes_max;
            if at.time_ms >= expired && at.offset >= self.watermark.floor.offset && !over_budget {
                return;
            }
            let entry = first.remove();
            self.bytes -= cost(&entry);
            self.unlist(&entry, usize::MAX);
            if at.time_ms >= expired {
                self.raise(Floor { offset: at.offset + 1, time_ms: at.time_ms + 1 });
            }
        }
    }

    fn free(&mut self, entry: &Entry) {
        if let Some(kept) = self.entries.remove(&entry.at.offset) {
            self.bytes -= cost(&kept);
        }
        self.unlist(entry, self.watermark.extent.per_key);
    }

    /// Takes it out of its lists. One with more than `per_key` refs may have been cut, and must not look as if it was not.
    fn unlist(&mut self, entry: &Entry, per_key: usize) {
        for key in &entry.keys {
            if let Some(list) = self.lists.get_mut(key) {
                if list.len() > per_key {
                    list.iter_mut().filter(|at| **at == entry.at).for_each(|at| *at = at.freed());
                } else {
                    list.retain(|at| at.offset != entry.at.offset);
                }
                if list.is_empty() {
                    self.lists.remove(key);
                }
            }
        }
        for id in entry.ids {
            if self.ids.get(&id).is_some_and(|at| at.offset == entry.at.offset) {
                self.ids.remove(&id);
            }
        }
    }

    fn read(&self, query: &Query) -> Reading {
        let nothing = Reading::of(Some(self.watermark));
        match query {
            Query::Watermark => nothing,
            Query::Key { key, count, per_key } => self.lists.get(key).map_or(nothing, |list| {
                let most = self.watermark.extent.per_key.min(*per_key);
                Reading {
                    watermark: Some(self.watermark),
                    refs: list.iter().take(*count).copied().collect(),
                    listed: list.len(),
                    cut_ms: list.iter().skip(most).map(|at| at.time_ms).max(),
                }
            }),
            Query::Id(id) => {
                let refs: Vec<Ref> = self.ids.get(id.digest()).copied().into_iter().collect();
                Reading { listed: refs.len(), refs, ..nothing }
            }
        }
    }
}

/// The last ref of a full list is never shown: its time is the newest of all that were cut.
fn note_cut(list: &mut VecDeque<Ref>, cut: Option<Ref>) {
    if let (Some(last), Some(cut)) = (list.back_mut(), cut) {
        last.time_ms = last.time_ms.max(cut.time_ms);
    }
}

/// What an entry is charged with: its body and about what its names take.
fn cost(entry: &Entry) -> u64 {
    let bytes = entry.body.len() + 256 + 128 * entry.keys.len();
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

impl RecentStore for Memory {
    fn open<'a>(
        &'a self,
        slot: &'a Slot,
        seen: Option<Generation>,
        new: Generation,
        begin: Beginning,
    ) -> Later<'a, Watermark> {
        let mut slots = self.slots();
        let present = slots.get(slot).map(|contents| contents.watermark.generation);
        if present == seen {
            slots.insert(slot.clone(), Contents::open(new, begin));
        }
        let watermark = slots.entry(slot.clone()).or_insert_with(|| Contents::open(new, begin)).watermark;
        Box::pin(ready(Ok(watermark)))
    }

    fn apply<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied> {
        let applied = self.slots().get_mut(slot).map_or(Applied::Elsewhere, |contents| contents.apply(chunk));
        Box::pin(ready(Ok(applied)))
    }

    fn fill<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied> {
        let filled = self.slots().get_mut(slot).map_or(Applied::Elsewhere, |contents| contents.fill(chunk));
        Box::pin(ready(Ok(filled)))
    }

    fn free<'a>(
        &'a self,
        slot: &'a Slot,
        watermark: &'a Watermark,
        entries: &'a [Entry],
    ) -> Later<'a, Applied> {
        let (mut slots, generation) = (self.slots(), watermark.generation);
        let present = slots.get_mut(slot).filter(|contents| contents.watermark.generation == generation);
        let freed = present.map_or(Applied::Elsewhere, |contents| {
            entries.iter().for_each(|entry| contents.free(entry));
            Applied::Done
        });
        Box::pin(ready(Ok(freed)))
    }

    fn read<'a>(&'a self, slot: &'a Slot, query: &'a Query) -> Later<'a, Reading> {
        let reading = self.slots().get(slot).map(|contents| contents.read(query));
        Box::pin(ready(Ok(reading.unwrap_or_else(|| Reading::of(None)))))
    }

    fn read_each<'a>(&'a self, slots: &'a [Slot], query: &'a Query) -> LaterEach<'a, Reading> {
        let all = self.slots();
        let read =
            |slot| Ok(all.get(slot).map_or_else(|| Reading::of(None), |contents| contents.read(query)));
        Box::pin(ready(slots.iter().map(read).collect()))
    }

    fn find<'a>(&'a self, slots: &'a [Slot], id: &'a EventId) -> LaterFound<'a, Find> {
        let all = self.slots();
        let find = |slot: &Slot| {
            let contents = all.get(slot)?;
            let at = *contents.ids.get(id.digest())?;
            Some(Find { slot: slot.clone(), generation: contents.watermark.generation, at })
        };
        Box::pin(ready(slots.iter().find_map(find)))
    }

    fn bodies<'a>(
        &'a self,
        slot: &'a Slot,
        generation: Generation,
        offsets: &'a [i64],
    ) -> Later<'a, Vec<Option<Bytes>>> {
        let slots = self.slots();
        let present = slots.get(slot).filter(|contents| contents.watermark.generation == generation);
        let body = |offset: &i64| Some(present?.entries.get(offset)?.body.clone());
        Box::pin(ready(Ok(offsets.iter().map(body).collect())))
    }
}
