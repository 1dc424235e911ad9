//! The port's four methods as Valkey commands. Bodies go past the scripts: they are set before the refs that
//! name them and read after them, in the same pipeline or a later one.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use fred::types::Value;

use super::Valkey;
use super::cluster::away;
use super::names::Names;
use super::node::{Advice, Command, advice};
use super::reply::{array, outcome, refs, unexpected, watermark};
use super::scripts::{APPLY, FLOOR, FREE, OPEN, READ};
use crate::ports::{
    Applied, Chunk, Entry, Floor, Generation, Keep, Later, Query, Reading, RecentStore, Slot, StoreError,
    Watermark,
};

/// The most records and keys of one `apply` call: at about 2 µs a key it stays under a millisecond.
const RECORDS_PER_CALL_MAX: usize = 32;
const KEYS_PER_CALL_MAX: usize = 256;
/// Bodies and ids outlive the refs by this, so that whoever reads a ref in time finds its body.
const OUTLIVE_MS: i64 = 60_000;
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
        floor: Floor,
    ) -> Result<Watermark, StoreError> {
        exact(floor.offset)?;
        let names = Names::of(slot);
        let reply = self
            .run_one(&names, |with_source| {
                let seen = seen.map_or(String::new(), |seen| seen.to_string());
                let args = vec![text(seen), text(new), text(floor.offset), text(floor.time_ms)];
                OPEN.call(with_source, vec![names.watermark()], args)
            })
            .await?;
        let opened = watermark(&array(reply)?)?;
        self.generations.set(slot, opened.generation);
        Ok(opened)
    }

    async fn apply_chunk(&self, slot: &Slot, chunk: &Chunk) -> Result<Applied, StoreError> {
        exact(chunk.to)?;
        let names = Names::of(slot);
        let now_ms = unix_ms();
        let calls = split(chunk);
        let replies = self
            .run(&names, |with_source| {
                calls.iter().flat_map(|call| call.commands(&names, chunk, now_ms, with_source)).collect()
            })
            .await?;
        for reply in replies {
            // A body's reply is the plain OK; a script's is an array.
            if let Value::Array(reply) = reply {
                match outcome(&reply)? {
                    Applied::Done => {}
                    refused => return Ok(refused),
                }
            }
        }
        let floor = self.over_budget(slot, chunk, now_ms).or(chunk.floor);
        match floor {
            Some(floor) => self.raise_floor(slot, &names, chunk.generation, floor).await,
            None => Ok(Applied::Done),
        }
    }

    fn over_budget(&self, slot: &Slot, chunk: &Chunk, now_ms: i64) -> Option<Floor> {
        let last = chunk.entries.last()?;
        let bytes = chunk.entries.iter().map(cost).sum();
        let written = (last.at.offset + 1, last.at.time_ms, bytes);
        let mut ledgers = self.ledgers.lock().unwrap_or_else(PoisonError::into_inner);
        ledgers.note(slot, chunk.generation, written, chunk.keep, now_ms)
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
        generation: Generation,
        entries: &[Entry],
    ) -> Result<Applied, StoreError> {
        let names = Names::of(slot);
        for some in entries.chunks(RECORDS_PER_CALL_MAX) {
            let free = |with_source: bool, entry: &Entry| {
                let mut keys = vec![names.watermark(), names.body(generation, entry.at.offset)];
                keys.extend(entry.ids.iter().map(|id| names.id(generation, id)));
                keys.extend(entry.keys.iter().map(|key| names.list(generation, key)));
                let at = Value::Bytes(Bytes::copy_from_slice(&entry.at.to_bytes()));
                FREE.call(with_source, keys, vec![text(generation), at])
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

    async fn read_as(
        &self,
        slot: &Slot,
        names: &Names,
        query: &Query,
        known: Option<Generation>,
    ) -> Result<Option<Reading>, StoreError> {
        let generation = known.unwrap_or(Generation(0));
        let reply = self
            .run_one(names, |with_source| {
                let mut keys = vec![names.watermark()];
                let mut args = vec![known.map_or(text(""), text)];
                match query {
                    Query::Watermark => args.push(text("none")),
                    Query::Key(key, count) => {
                        keys.push(names.list(generation, key));
                        args.extend([text("list"), text(count)]);
                    }
                    Query::Id(digest) => {
                        keys.push(names.id(generation, digest));
                        args.push(text("id"));
                    }
                }
                READ.call(with_source, keys, args)
            })
            .await?;
        let mut reply = array(reply)?.into_iter();
        let Some(fields) = reply.next() else {
            return Ok(Some(Reading { watermark: None, refs: Vec::new(), listed: 0 }));
        };
        let watermark = watermark(&array(fields)?)?;
        self.generations.set(slot, watermark.generation);
        match (reply.next(), reply.next()) {
            (Some(listed), Some(found)) => {
                let listed = listed.as_usize().ok_or_else(|| unexpected("no length"))?;
                Ok(Some(Reading { watermark: Some(watermark), refs: refs(array(found)?)?, listed }))
            }
            _ if *query == Query::Watermark => {
                Ok(Some(Reading { watermark: Some(watermark), refs: Vec::new(), listed: 0 }))
            }
            _ => Ok(None),
        }
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

impl RecentStore for Valkey {
    fn open<'a>(
        &'a self,
        slot: &'a Slot,
        seen: Option<Generation>,
        new: Generation,
        floor: Floor,
    ) -> Later<'a, Watermark> {
        Box::pin(self.open_slot(slot, seen, new, floor))
    }

    fn apply<'a>(&'a self, slot: &'a Slot, chunk: &'a Chunk) -> Later<'a, Applied> {
        Box::pin(self.apply_chunk(slot, chunk))
    }

    fn free<'a>(
        &'a self,
        slot: &'a Slot,
        generation: Generation,
        entries: &'a [Entry],
    ) -> Later<'a, Applied> {
        Box::pin(self.free_entries(slot, generation, entries))
    }

    fn read<'a>(&'a self, slot: &'a Slot, query: &'a Query) -> Later<'a, Reading> {
        Box::pin(self.read_slot(slot, query))
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

/// One `apply` call: a part of a chunk, and the bodies before it.
struct Call<'a> {
    entries: &'a [Entry],
    from: i64,
    to: i64,
    last: bool,
}

impl Call<'_> {
    fn commands(&self, names: &Names, chunk: &Chunk, now_ms: i64, with_source: bool) -> Vec<Command> {
        let generation = chunk.generation;
        let expiry = |entry: &Entry| expiry_ms(entry, chunk.keep, now_ms);
        let mut commands = Vec::with_capacity(self.entries.len() + 1);
        let (mut keys, mut refs) = (vec![names.watermark()], Vec::new());
        let mut list = |key: Value, entry: &Entry, expiry: i64| {
            keys.push(key);
            refs.extend([Value::Bytes(Bytes::copy_from_slice(&entry.at.to_bytes())), text(expiry)]);
        };
        for entry in self.entries {
            let body = names.body(generation, entry.at.offset);
            let until = text(expiry(entry) + OUTLIVE_MS);
            let args = vec![body, Value::Bytes(entry.body.clone()), text("PXAT"), until];
            commands.push(Command { name: "SET", args });
            for key in &entry.keys {
                list(names.list(generation, key), entry, expiry(entry));
            }
        }
        for entry in self.entries {
            for id in &entry.ids {
                list(names.id(generation, id), entry, expiry(entry) + OUTLIVE_MS);
            }
        }
        let lists: usize = self.entries.iter().map(|entry| entry.keys.len()).sum();
        // Only the end of the chunk reaches what the fresh sample saw.
        let fresh = chunk.fresh_ms.filter(|_| self.last).map_or(text(""), text);
        // One ref more than a reader is ever given shows that older ones were cut.
        let most = text(chunk.keep.per_key + 1);
        let mut args = vec![text(generation), text(self.from), text(self.to), fresh, most, text(lists)];
        args.extend(refs);
        commands.push(APPLY.call(with_source, keys, args));
        commands
    }
}

fn split(chunk: &Chunk) -> Vec<Call<'_>> {
    let mut calls = Vec::new();
    let (mut rest, mut from) = (&chunk.entries[..], chunk.from);
    loop {
        let mut keys = 0;
        let fits = |entry: &&Entry| {
            keys += entry.keys.len() + entry.ids.len();
            keys <= KEYS_PER_CALL_MAX
        };
        let count = rest.iter().take(RECORDS_PER_CALL_MAX).take_while(fits).count().max(1).min(rest.len());
        let (entries, left) = rest.split_at(count);
        let to = match (left.is_empty(), entries.last()) {
            (false, Some(last)) => last.at.offset + 1,
            _ => chunk.to,
        };
        calls.push(Call { entries, from, to, last: left.is_empty() });
        if left.is_empty() {
            return calls;
        }
        (rest, from) = (left, to);
    }
}

/// A record from the future is kept no longer than one from now.
fn expiry_ms(entry: &Entry, keep: Keep, now_ms: i64) -> i64 {
    entry.at.time_ms.clamp(0, now_ms).saturating_add(keep.window_ms).max(1)
}

/// About what an entry takes in Valkey: its body, and what names and refs cost.
fn cost(entry: &Entry) -> u64 {
    u64::try_from(entry.body.len() + 400 + 50 * entry.keys.len()).unwrap_or(u64::MAX)
}

fn exact(offset: i64) -> Result<(), StoreError> {
    if (0..=OFFSET_MAX).contains(&offset) { Ok(()) } else { Err(unexpected("an offset beyond 2^53")) }
}

fn text(value: impl ToString) -> Value {
    Value::from(value.to_string())
}

fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
