//! What a plugin wants changed: ops as rows over one arena, written event by event. Whether an op is allowed
//! is the host's to decide.

use crate::field::Field;
use crate::rows::Row;

/// The value span points into the batch's arena.
const IN_BATCH: u32 = 1 << 31;
const NAMES_KEPT: usize = 4;
/// Rows per event that need no second allocation.
const ROWS_EXPECTED: usize = 3;

/// What the host gets back for one batch.
#[derive(Debug, Default)]
pub struct Answer {
    pub(crate) arena: Vec<u8>,
    pub(crate) actions: Vec<u8>,
    pub(crate) ops: Vec<u32>,
    /// Where the last names are: a batch repeats the same few.
    names: [(u32, u32); NAMES_KEPT],
    next_name: usize,
}

impl Answer {
    /// An answer on so many events, all of which pass.
    pub(crate) fn new(events: usize) -> Self {
        let ops = Vec::with_capacity(events * ROWS_EXPECTED * 6);
        Answer { actions: vec![0; events], ops, ..Answer::default() }
    }
}

/// A value for an op: a [`Field`] of the same event travels without a copy; text, bytes and a [`Row`] are copied.
#[derive(Clone, Copy, Debug)]
pub struct Value<'a>(Source<'a>);

#[derive(Clone, Copy, Debug)]
enum Source<'a> {
    Field(Field<'a>),
    Bytes(&'a [u8]),
}

impl<'a> Value<'a> {
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self.0 {
            Source::Field(field) => field.bytes(),
            Source::Bytes(bytes) => bytes,
        }
    }
}

impl<'a> From<Field<'a>> for Value<'a> {
    fn from(field: Field<'a>) -> Self {
        Value(Source::Field(field))
    }
}

impl<'a> From<&'a str> for Value<'a> {
    fn from(text: &'a str) -> Self {
        Value(Source::Bytes(text.as_bytes()))
    }
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Value(Source::Bytes(bytes))
    }
}

impl<'a> From<Row<'a>> for Value<'a> {
    fn from(row: Row<'a>) -> Self {
        Value(Source::Bytes(row.bytes()))
    }
}

/// The changes to one event. They apply in the order given, if the verdict is to pass.
#[derive(Debug)]
pub struct Patch<'o> {
    pub(crate) event: u32,
    pub(crate) answer: &'o mut Answer,
}

impl Patch<'_> {
    /// The partition key: not empty, at most 512 bytes. The last one wins.
    #[inline]
    pub fn partition_key<'v>(&mut self, key: impl Into<Value<'v>>) {
        self.op(1, "", Some(key.into()));
    }

    /// A key that finds this event in lookups by `kind`: `[a-z0-9_-]`, at most 32 bytes; the key as above.
    #[inline]
    pub fn lookup_key<'v>(&mut self, kind: &str, key: impl Into<Value<'v>>) {
        self.op(2, kind, Some(key.into()));
    }

    /// A record header in lower case. `weir-*`, `ce_*` and `content-type` are the gateway's own.
    pub fn set_header<'v>(&mut self, name: &str, value: impl Into<Value<'v>>) {
        self.op(3, name, Some(value.into()));
    }

    /// Takes a header away that an earlier plugin set.
    pub fn remove_header(&mut self, name: &str) {
        self.op(4, name, None);
    }

    /// Sets one place of the data, by JSON pointer, to a JSON text: a string comes with its quotes.
    pub fn json_set<'v>(&mut self, pointer: &str, json: impl Into<Value<'v>>) {
        self.op(5, pointer, Some(json.into()));
    }

    /// Removes one place of the data, by JSON pointer.
    pub fn json_remove(&mut self, pointer: &str) {
        self.op(6, pointer, None);
    }

    /// The data as a whole.
    pub fn replace_payload<'v>(&mut self, payload: impl Into<Value<'v>>) {
        self.op(7, "", Some(payload.into()));
    }

    /// Another topic, out of those the route allows.
    pub fn topic<'v>(&mut self, topic: impl Into<Value<'v>>) {
        self.op(8, "", Some(topic.into()));
    }

    pub(crate) fn reason(&mut self, reason: &str) {
        self.op(9, "", Some(reason.into()));
    }

    /// One row, numbers unchecked: for tests of hosts, which must refuse what is wrong with it.
    #[doc(hidden)]
    #[inline]
    pub fn raw(&mut self, row: [u32; 6]) {
        self.answer.ops.extend_from_slice(&row);
    }

    #[inline]
    fn op(&mut self, opcode: u32, name: &str, value: Option<Value<'_>>) {
        let (name_offset, name_length) = self.name(name.as_bytes());
        let (flag, offset, length) = match value.map(|value| value.0) {
            None => (0, 0, 0),
            Some(Source::Field(field)) => (IN_BATCH, field.offset, size(field.bytes().len())),
            Some(Source::Bytes(bytes)) => {
                let (offset, length) = self.store(bytes);
                (0, offset, length)
            }
        };
        self.raw([self.event, opcode | flag, name_offset, name_length, offset, length]);
    }

    #[inline]
    fn name(&mut self, name: &[u8]) -> (u32, u32) {
        if name.is_empty() {
            return (0, 0);
        }
        let Answer { arena, names, .. } = &*self.answer;
        // Byte by byte: names are short, and in WebAssembly comparing slices is a call.
        let same = |(offset, length): &&(u32, u32)| {
            let known = &arena[*offset as usize..][..*length as usize];
            known.len() == name.len() && known.iter().zip(name).all(|(known, byte)| known == byte)
        };
        if let Some(known) = names.iter().find(same) {
            return *known;
        }
        let stored = self.store(name);
        let answer = &mut *self.answer;
        answer.names[answer.next_name] = stored;
        answer.next_name = (answer.next_name + 1) % NAMES_KEPT;
        stored
    }

    fn store(&mut self, bytes: &[u8]) -> (u32, u32) {
        if bytes.is_empty() {
            return (0, 0);
        }
        let offset = size(self.answer.arena.len());
        self.answer.arena.extend_from_slice(bytes);
        (offset, size(bytes.len()))
    }
}

/// Sizes within a guest's memory, which is 32 bits wide.
pub(crate) fn size(length: usize) -> u32 {
    u32::try_from(length).expect("a guest's memory is at most 4 GiB")
}
