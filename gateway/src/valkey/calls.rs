//! A chunk as calls of the scripts that list records: small enough for each to stay under a millisecond, with the
//! bodies before them.

use bytes::Bytes;
use fred::types::Value;

use super::names::Names;
use super::node::Command;
use super::scripts::{APPLY, FILL, Script, text};
use crate::ports::{Chunk, Entry, Generation, Keep};

/// The most records and keys of one call: at about 2 µs a key it stays under a millisecond.
const RECORDS_PER_CALL_MAX: usize = 16;
const KEYS_PER_CALL_MAX: usize = 256;
/// Bodies and ids outlive the refs by this, so that whoever reads a ref in time finds its body.
const OUTLIVE_MS: i64 = 60_000;

/// One call of `apply` or `fill`: a part of a chunk, and the bodies before it.
pub(super) struct Call<'a> {
    pub(super) entries: &'a [Entry],
    from: i64,
    pub(super) to: i64,
    first: bool,
    last: bool,
}

impl Call<'_> {
    pub(super) fn apply(&self, names: &Names, chunk: &Chunk, now_ms: i64, with_source: bool) -> Vec<Command> {
        // Only the end of the chunk reaches what the fresh sample saw.
        let fresh = chunk.fresh_ms.filter(|_| self.last).map_or(text(""), text);
        let listing = Listing::of(self.entries.iter(), names, chunk, now_ms);
        listing.call(&APPLY, [text(self.from), text(self.to), fresh], with_source)
    }

    pub(super) fn fill(&self, names: &Names, chunk: &Chunk, now_ms: i64, with_source: bool) -> Vec<Command> {
        // Only the beginning of the chunk is where its time is.
        let time = chunk.floor.filter(|_| self.first).map_or(text(""), |floor| text(floor.time_ms));
        let listing = Listing::of(self.entries.iter().rev(), names, chunk, now_ms);
        listing.call(&FILL, [text(self.from), text(self.to), time], with_source)
    }
}

/// The parts of one call.
struct Listing {
    /// The bodies to be set before.
    commands: Vec<Command>,
    keys: Vec<Value>,
    refs: Vec<Value>,
    lists: usize,
    generation: Generation,
    per_key: usize,
}

impl Listing {
    /// Of the entries in the order in which they are to be listed.
    fn of<'e>(
        entries: impl Iterator<Item = &'e Entry> + Clone,
        names: &Names,
        chunk: &Chunk,
        now_ms: i64,
    ) -> Listing {
        let (generation, per_key) = (chunk.generation, chunk.keep.per_key);
        let (commands, keys, refs) = (Vec::new(), vec![names.watermark()], Vec::new());
        let mut listing = Listing { commands, keys, refs, lists: 0, generation, per_key };
        let expiry = |entry: &Entry| expiry_ms(entry, chunk.keep, now_ms);
        for entry in entries.clone() {
            let body = names.body(generation, entry.at.offset);
            let until = text(expiry(entry) + OUTLIVE_MS);
            let args = vec![body, Value::Bytes(entry.body.clone()), text("PXAT"), until];
            listing.commands.push(Command { name: "SET", args });
            for key in &entry.keys {
                listing.add(names.list(generation, key), entry, expiry(entry));
            }
        }
        listing.lists = listing.keys.len() - 1;
        for entry in entries {
            let [sourced, alone] = entry.ids.map(|id| names.id(generation, &id));
            listing.add(alone, entry, expiry(entry) + OUTLIVE_MS);
            listing.keys.push(sourced);
        }
        listing
    }

    fn add(&mut self, key: Value, entry: &Entry, expiry: i64) {
        self.keys.push(key);
        self.refs.extend([Value::Bytes(Bytes::copy_from_slice(&entry.at.to_bytes())), text(expiry)]);
    }

    /// The bodies, and then the script.
    fn call(mut self, script: &Script, [from, to, time]: [Value; 3], with_source: bool) -> Vec<Command> {
        // One ref more than a reader is ever given shows that older ones were cut.
        let most = text(self.per_key + 1);
        let mut args = vec![text(self.generation), from, to, time, most, text(self.lists)];
        args.extend(self.refs);
        self.commands.push(script.call(with_source, self.keys, args));
        self.commands
    }
}

/// The calls of a chunk, in the order of the log.
pub(super) fn split(chunk: &Chunk) -> Vec<Call<'_>> {
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
        calls.push(Call { entries, from, to, first: calls.is_empty(), last: left.is_empty() });
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
