//! The port's four methods as Valkey commands. Bodies go past the scripts: they are set before the refs that
//! name them and read after them, in the same pipeline or a later one.

use std::collections::HashMap;
use std::future::ready;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fred::types::Value;
use futures_util::future::join_all;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use tokio::runtime::Handle;

use super::Valkey;
use super::calls::split;
use super::cluster::away;
use super::ledger::{Ledgers, cost, newest_ms};
use super::names::Names;
use super::node::{Advice, Command, advice};
use super::reply::{array, outcome, refs, unexpected, watermark};
use super::scripts::{FLOOR, FREE, OPEN, READ, text};
use crate::ports::{
    Applied, Beginning, Chunk, Entry, EventId, Find, Floor, Generation, Later, LaterEach, LaterFound, Query,
    Reading, RecentStore, Ref, Slot, StoreError, Watermark,
};

/// Calls in one round trip: one behind a long one would wait too long.
const CALLS_AT_ONCE: usize = 16;
/// Records freed in one round trip.
const FREED_AT_ONCE: usize = 32;
/// Offsets pass through Lua numbers, which are exact up to here (285 years at a million a second).
const OFFSET_MAX: i64 = 1 << 53;
const FREED_PER_COMMAND: usize = 256;
/// The most bodies freed after one call; what is left expires.
const FREED_MAX: i64 = 65_536;

/// The generation each slot was last seen in: names cannot be made without it.
#[derive(Default)]
pub(super) struct Generations(Mutex<HashMap<Slot, Generation>>);

impl Generations {
    fn get(&self, slot: &Slot) -> Option<Generation> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(slot).copied()
    }

    fn set(&self, slot: &Slot, generation: Generation) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(slot.clone(), generation);
    }
}

impl Valkey {
    /// Runs commands that `make` builds by digest; where a script is not known, all of them again with the
    /// source. Sound in a pipeline, too: calls behind one that did not run answer GAP and change nothing.
    async fn run(
        &self,
        names: &Names,
        make: impl Fn(bool) -> Vec<Command>,
    ) -> Result<Vec<Value>, StoreError> {
        let mut replies = self.cluster.run(names.hash_slot(), &make(false)).await?;
        let unknown =
            |reply: &Result<Value, _>| matches!(reply.as_ref().map_err(advice), Err(Advice::NoScript));
        if replies.iter().any(unknown) {
            replies = self.cluster.run(names.hash_slot(), &make(true)).await?;
        }
        replies.into_iter().map(|reply| reply.map_err(away)).collect()
    }

    async fn run_one(&self, names: &Names, make: impl Fn(bool) -> Command) -> Result<Value, StoreError> {
        let replies = self.run(names, |with_source| vec![make(with_source)]).await?;
        replies.into_iter().next().ok_or_else(|| unexpected("no reply"))
    }

    async fn open_slot(
        &self,
        slot: &Slot,
        seen: Option<Generation>,
        new: Generation,
        begin: Beginning,
    ) -> Result<Watermark, StoreError> {
        let Beginning { floor, start, extent } = begin;
        exact(floor.offset)?;
        let names = Names::of(slot);
        let reply = self
            .run_one(&names, |with_source| {
                let seen = seen.map_or(String::new(), |seen| seen.to_string());
                let floor = [text(floor.offset), text(floor.time_ms)];
                let args = [text(seen), text(new)].into_iter().chain(floor);
                let args = args.chain([text(start), text(extent)]).collect();
                OPEN.call(with_source, vec![names.watermark()], args)
            })
            .await?;
        let opened = watermark(&reply)?;
        self.generations.set(slot, opened.generation);
        Ok(opened)
    }

    async fn apply_chunk(&self, slot: &Slot, chunk: &Chunk) -> Result<Applied, StoreError> {
        exact(chunk.to)?;
        let (names, now_ms) = (Names::of(slot), unix_ms());
        for calls in split(chunk).chunks(CALLS_AT_ONCE) {
            let make = |with_source| {
                calls.iter().flat_map(|call| call.apply(&names, chunk, now_ms, with_source)).collect()
            };
            match first_refusal(self.run(&names, make).await?)? {
                Applied::Done => {}
                refused => return Ok(refused),
            }
        }
        let floor = self.over_budget(slot, chunk, now_ms).or(chunk.floor);
        match floor {
            Some(floor) => self.raise_floor(slot, &names, chunk.generation, floor).await,
            None => Ok(Applied::Done),
        }
    }

    async fn fill_chunk(&self, slot: &Slot, chunk: &Chunk) -> Result<Applied, StoreError> {
        exact(chunk.to)?;
        let (names, generation, now_ms) = (Names::of(slot), chunk.generation, unix_ms());
        let mut calls = split(chunk);
        calls.reverse();
        for calls in calls.chunks(CALLS_AT_ONCE) {
            let bytes = calls.iter().flat_map(|call| call.entries).map(cost).sum();
            if !self.ledgers().has_room(slot, generation, bytes, chunk.keep) {
                let floor = Floor { offset: calls[0].to, time_ms: 0 };
                return Ok(match self.raise_floor(slot, &names, generation, floor).await? {
                    Applied::Done => Applied::Full,
                    refused => refused,
                });
            }
            let make = |with_source| {
                calls.iter().flat_map(|call| call.fill(&names, chunk, now_ms, with_source)).collect()
            };
            match first_refusal(self.run(&names, make).await?)? {
                Applied::Done => {}
                refused => return Ok(refused),
            }
            if let Some(newest_ms) = newest_ms(calls.iter().flat_map(|call| call.entries)) {
                self.ledgers().note_older(slot, generation, (calls[0].to, newest_ms, bytes));
            }
        }
        Ok(Applied::Done)
    }

    fn ledgers(&self) -> MutexGuard<'_, Ledgers> {
        self.ledgers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn over_budget(&self, slot: &Slot, chunk: &Chunk, now_ms: i64) -> Option<Floor> {
        let to = chunk.entries.last()?.at.offset + 1;
        let bytes = chunk.entries.iter().map(cost).sum();
        let written = (to, newest_ms(chunk.entries.iter())?, bytes);
        self.ledgers().note(slot, chunk.generation, written, chunk.keep, now_ms)
    }

    async fn raise_floor(
        &self,
        slot: &Slot,
        names: &Names,
        generation: Generation,
        floor: Floor,
    ) -> Result<Applied, StoreError> {
        exact(floor.offset)?;
        let reply = self
            .run_one(names, |with_source| {
                let args = vec![text(generation), text(floor.offset), text(floor.time_ms)];
                FLOOR.call(with_source, vec![names.watermark()], args)
            })
            .await?;
        let reply = array(reply)?;
        let raised = outcome(&reply)?;
        if raised == Applied::Done {
            let before = reply.get(1).and_then(Value::as_i64).ok_or_else(|| unexpected("no floor"))?;
            let freed: Vec<i64> = (before.max(floor.offset - FREED_MAX)..floor.offset).collect();
            for offsets in freed.chunks(FREED_PER_COMMAND) {
                let args = offsets.iter().map(|offset| names.body(generation, *offset)).collect();
                let freed = self.cluster.run(names.hash_slot(), &[Command { name: "UNLINK", args }]).await;
                if let Err(error) = freed {
                    tracing::debug!(%error, partition = slot.partition, "bodies below the floor were left to expire");
                }
            }
        }
        Ok(raised)
    }

    async fn free_entries(
        &self,
        slot: &Slot,
        watermark: &Watermark,
        entries: &[Entry],
    ) -> Result<Applied, StoreError> {
        let (names, generation) = (Names::of(slot), watermark.generation);
        let most = watermark.extent.per_key + 1;
        for some in entries.chunks(FREED_AT_ONCE) {
            let free = |with_source: bool, entry: &Entry| {
                let mut keys = vec![names.watermark(), names.body(generation, entry.at.offset)];
                keys.extend(entry.ids.iter().map(|id| names.id(generation, id)));
                keys.extend(entry.keys.iter().map(|key| names.list(generation, key)));
                let at = Value::Bytes(Bytes::copy_from_slice(&entry.at.to_bytes()));
                FREE.call(with_source, keys, vec![text(generation), at, text(most)])
            };
            let make = |with_source| some.iter().map(|entry| free(with_source, entry)).collect();
            for reply in self.run(&names, make).await? {
                match outcome(&array(reply)?)? {
                    Applied::Done => {}
                    refused => return Ok(refused),
                }
            }
        }
        Ok(Applied::Done)
    }

    async fn read_slot(&self, slot: &Slot, query: &Query) -> Result<Reading, StoreError> {
        let names = Names::of(slot);
        let mut reading = self.read_as(slot, &names, query, self.generations.get(slot)).await?;
        // `None`: the slot is in another life than the one we knew it in.
        if reading.is_none() {
            reading = self.read_as(slot, &names, query, self.generations.get(slot)).await?;
        }
        reading.ok_or_else(|| StoreError::Away("the slot changed its generation twice".to_owned()))
    }

    /// `None`: the slot is in another life than `known`.
    async fn read_as(
        &self,
        slot: &Slot,
        names: &Names,
        query: &Query,
        known: Option<Generation>,
    ) -> Result<Option<Reading>, StoreError> {
        let reply = self.run_one(names, |with_source| read_command(names, query, known, with_source)).await?;
        self.reading(slot, query, reply)
    }

    /// All slots at once; whatever does not come of it is asked for once more, by itself.
    async fn read_all(&self, slots: &[Slot], query: &Query) -> Vec<Result<Reading, StoreError>> {
        let command = |slot: &Slot| {
            let names = Names::of(slot);
            (names.hash_slot(), read_command(&names, query, self.generations.get(slot), false))
        };
        let replies = self.cluster.run_each(slots.iter().map(command).collect()).await;
        let read = slots.iter().zip(replies).map(async |(slot, reply)| {
            match reply.map(|reply| self.reading(slot, query, reply)) {
                Some(Ok(Some(reading))) => Ok(reading),
                _ => self.read_slot(slot, query).await,
            }
        });
        join_all(read).await
    }

    /// No script: what is found here is read again with its certificate, and a plain GET costs a third.
    async fn find_id(&self, slots: &[Slot], id: &EventId) -> Option<Find> {
        let look = async |slot: &Slot| {
            let (names, generation) = (Names::of(slot), self.generations.get(slot)?);
            let get = |name| (names.hash_slot(), Command { name: "GET", args: vec![name] });
            let gets = id.digests().map(|digest| get(names.id(generation, digest)));
            let replies = self.cluster.run_each(gets.collect()).await;
            let found = replies.iter().filter_map(|reply| Ref::from_bytes(reply.as_ref()?.as_bytes()?));
            Some(Find { slot: slot.clone(), generation, at: id.first(found)? })
        };
        let looks: FuturesUnordered<_> = slots.iter().map(look).collect();
        pin!(looks.filter_map(ready)).next().await
    }

    fn reading(&self, slot: &Slot, query: &Query, reply: Value) -> Result<Option<Reading>, StoreError> {
        let mut reply = array(reply)?.into_iter();
        let Some(text) = reply.next() else { return Ok(Some(Reading::of(None))) };
        let watermark = watermark(&text)?;
        self.generations.set(slot, watermark.generation);
        let (Some(listed), Some(found), Some(cut)) = (reply.next(), reply.next(), reply.next()) else {
            return Ok((*query == Query::Watermark).then(|| Reading::of(Some(watermark))));
        };
        let listed = listed.as_usize().ok_or_else(|| unexpected("no length"))?;
        let cut_ms = refs(&cut)?.iter().map(|at| at.time_ms).max();
        let (refs, listed) = match (query, refs(&found)?) {
            (Query::Id(id), found) => id.first(found).map_or((Vec::new(), 0), |first| (vec![first], 1)),
            (_, found) => (found, listed),
        };
        Ok(Some(Reading { watermark: Some(watermark), refs, listed, cut_ms }))
    }

    async fn get_bodies(
        &self,
        slot: &Slot,
        generation: Generation,
        offsets: &[i64],
    ) -> Result<Vec<Option<Bytes>>, StoreError> {
        if offsets.is_empty() {
            return Ok(Vec::new());
        }
        let names = Names::of(slot);
        let args = offsets.iter().map(|offset| names.body(generation, *offset)).collect();
        let command = Command { name: "MGET", args };
        let bodies = array(self.run_one(&names, |_| command.clone()).await?)?;
        if bodies.len() != offsets.len() {
            return Err(unexpected("another number of bodies"));
        }
        Ok(bodies.into_iter().map(|body| if body.is_null() { None } else { body.into_bytes() }).collect())
    }
}

fn read_command(names: &Names, query: &Query, known: Option<Generation>, with_source: bool) -> Command {
    let generation = known.unwrap_or(Generation(0));
    let mut keys = vec![names.watermark()];
    let mut args = vec![known.map_or(text(""), text)];
    match query {
        Query::Watermark => args.push(text("none")),
        Query::Key { key, count, per_key } => {
            keys.push(names.list(generation, key));
            args.extend([text("list"), text(count), text(per_key)]);
        }
        Query::Id(id) => {
            keys.extend(id.digests().map(|digest| names.id(generation, digest)));
            args.push(text("id"));
        }
    }
    READ.call(with_source, keys, args)
}

impl RecentStore for Valkey {
    fn open<'a>(
        &'a self,
        slot: &'a Slot,
        seen: Option<Generation>,
        new: Generation,
        begin: Beginning,
    ) -> Later<'a, Watermark> {
        Box::pin(self.open_slot(slot, seen, new, begin))
    }

    fn apply<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied> {
        Box::pin(self.apply_chunk(slot, chunk))
    }

    fn fill<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied> {
        Box::pin(self.fill_chunk(slot, chunk))
    }

    fn free<'a>(
        &'a self,
        slot: &'a Slot,
        watermark: &'a Watermark,
        entries: &'a [Entry],
    ) -> Later<'a, Applied> {
        Box::pin(self.free_entries(slot, watermark, entries))
    }

    fn read<'a>(&'a self, slot: &'a Slot, query: &'a Query) -> Later<'a, Reading> {
        Box::pin(self.read_slot(slot, query))
    }

    fn read_each<'a>(&'a self, slots: &'a [Slot], query: &'a Query) -> LaterEach<'a, Reading> {
        Box::pin(self.read_all(slots, query))
    }

    fn find<'a>(&'a self, slots: &'a [Slot], id: &'a EventId) -> LaterFound<'a, Find> {
        Box::pin(self.find_id(slots, id))
    }

    fn on_this_runtime(&self) -> Option<Arc<dyn RecentStore>> {
        Some(Arc::new(self.on(Handle::current())))
    }

    fn bodies<'a>(
        &'a self,
        slot: &'a Slot,
        generation: Generation,
        offsets: &'a [i64],
    ) -> Later<'a, Vec<Option<Bytes>>> {
        Box::pin(self.get_bodies(slot, generation, offsets))
    }
}

/// What the first script that changed nothing says.
fn first_refusal(replies: Vec<Value>) -> Result<Applied, StoreError> {
    for reply in replies {
        // A body's reply is the plain OK; a script's is an array.
        if let Value::Array(reply) = reply {
            match outcome(&reply)? {
                Applied::Done => {}
                refused => return Ok(refused),
            }
        }
    }
    Ok(Applied::Done)
}

fn exact(offset: i64) -> Result<(), StoreError> {
    if (0..=OFFSET_MAX).contains(&offset) { Ok(()) } else { Err(unexpected("an offset beyond 2^53")) }
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
