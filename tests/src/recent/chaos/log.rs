//! The topic, read back to its end: what is where, and what each key has. It is the truth; what it says about an answer
//! is the checker's business.

use std::collections::{BTreeSet, HashMap};

use rdkafka::Message as _;
use rdkafka::message::{Headers as _, OwnedMessage};

use super::answer::{Position, Seen};
use super::event::{Data, Event};

/// One record.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    pub event: Event,
    pub digest: u64,
    pub time_ms: i64,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Log {
    partitions: Vec<Vec<Entry>>,
    /// The offsets of a key, rising, in its one partition.
    keys: HashMap<u32, (i32, Vec<i64>)>,
    /// The offsets of a group in each partition, rising.
    groups: HashMap<(u32, i32), Vec<i64>>,
    numbers: HashMap<u64, Position>,
    /// Numbers that are there more than once.
    pub twice: BTreeSet<u64>,
}

impl Log {
    /// Reads the records of a topic, by partition and offset.
    pub fn read(records: &[OwnedMessage], partitions: i32) -> Result<Self, String> {
        let mut log = Self::of(partitions);
        for record in records {
            let (partition, offset) = (record.partition(), record.offset());
            let strange = || format!("what is at {partition}:{offset} was not sent by this run");
            let data: Data<'_> =
                serde_json::from_slice(record.payload().unwrap_or_default()).map_err(|_| strange())?;
            let id = record.headers().and_then(|all| all.iter().find(|header| header.key == "ce_id")?.value);
            let id = std::str::from_utf8(id.unwrap_or_default()).map_err(|_| strange())?;
            let key = record.key().map(std::str::from_utf8).transpose().map_err(|_| strange())?;
            let digest = data.digest(id, key);
            let (Some(event), 1..) = (data.event(), digest) else { return Err(strange()) };
            let time_ms = record.timestamp().to_millis().ok_or_else(strange)?;
            if log.append(partition, Entry { event, digest, time_ms }) != offset {
                return Err(format!("there is a gap in the log before {partition}:{offset}"));
            }
        }
        Ok(log)
    }

    /// An empty one.
    pub fn of(partitions: i32) -> Self {
        Self { partitions: (0..partitions).map(|_| Vec::new()).collect(), ..Self::default() }
    }

    /// Adds a record at the end of a partition; gives its offset.
    pub fn append(&mut self, partition: i32, entry: Entry) -> i64 {
        let at = usize::try_from(partition).expect("partitions begin at 0");
        let entries = &mut self.partitions[at];
        let offset = i64::try_from(entries.len()).expect("a log that fits into memory");
        entries.push(entry);
        self.keys.entry(entry.event.key).or_insert((partition, Vec::new())).1.push(offset);
        self.groups.entry((entry.event.group(), partition)).or_default().push(offset);
        if self.numbers.insert(entry.event.number, Position { partition, offset }).is_some() {
            self.twice.insert(entry.event.number);
        }
        offset
    }

    /// How many partitions there are.
    pub fn count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("a few")
    }

    /// How many records.
    pub fn records(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }

    /// One past the last offset.
    pub fn end(&self, partition: i32) -> i64 {
        let entries = usize::try_from(partition).ok().and_then(|at| self.partitions.get(at));
        entries.map_or(0, |entries| i64::try_from(entries.len()).unwrap_or(i64::MAX))
    }

    /// What is there.
    pub fn at(&self, at: Position) -> Option<&Entry> {
        self.partitions.get(usize::try_from(at.partition).ok()?)?.get(usize::try_from(at.offset).ok()?)
    }

    /// Where an event is.
    pub fn find(&self, number: u64) -> Option<Position> {
        self.numbers.get(&number).copied()
    }

    /// The offsets of a key, if it has any in this partition.
    pub fn of_key(&self, key: u32, partition: i32) -> &[i64] {
        self.keys.get(&key).filter(|(own, _)| *own == partition).map_or(&[], |(_, offsets)| offsets)
    }

    /// The offsets of a group in a partition.
    pub fn of_group(&self, group: u32, partition: i32) -> &[i64] {
        self.groups.get(&(group, partition)).map_or(&[], Vec::as_slice)
    }

    /// What an answer shows of the record there.
    pub fn seen(&self, at: Position) -> Option<Seen> {
        Some(Seen { at, digest: self.at(at)?.digest })
    }
}
