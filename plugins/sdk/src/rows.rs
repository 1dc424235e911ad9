//! Rows of the host's tables: what the events of a batch want of them, gathered into one question per table,
//! and what came back.

use serde::Deserialize;

use crate::batch::ABSENT;
use crate::error::Error;
use crate::host::{Clock as _, Hits, Host, Lookup as _};
use crate::patch::{Value, size};

/// The place of an event that wants no row.
const NOT_ASKED: usize = usize::MAX;

/// All keys that one batch wants of one table.
#[derive(Debug)]
pub(crate) struct Question {
    table: u32,
    /// Only the keys, so that the host copies nothing else.
    arena: Vec<u8>,
    spans: Vec<u32>,
    /// Per event, the place of its key among those asked for.
    places: Vec<usize>,
}

impl Question {
    pub(crate) fn new(table: u32, events: usize) -> Self {
        let (spans, places) = (Vec::with_capacity(2 * events), Vec::with_capacity(events));
        Question { table, arena: Vec::new(), spans, places }
    }

    pub(crate) fn next_event(&mut self) {
        self.places.push(NOT_ASKED);
    }

    pub(crate) fn ask(self) -> Result<Answered, Error> {
        let nothing = self.spans.is_empty();
        let hits =
            if nothing { Hits::default() } else { Host::get_many(self.table, &self.arena, &self.spans)? };
        Ok(Answered { hits, places: self.places })
    }

    fn put(&mut self, key: &[u8]) {
        if let Some(place) = self.places.last_mut() {
            *place = self.spans.len() / 2;
            self.spans.extend([size(self.arena.len()), size(key.len())]);
            self.arena.extend_from_slice(key);
        }
    }
}

/// What a table gave for one batch.
#[derive(Debug)]
pub(crate) struct Answered {
    hits: Hits,
    places: Vec<usize>,
}

impl Answered {
    fn row(&self, event: usize) -> Option<Row<'_>> {
        let place = *self.places.get(event)?;
        let span = self.hits.spans.as_chunks::<2>().0.get(place)?;
        let [offset, length] = *span;
        if offset == ABSENT {
            return None;
        }
        let bytes = self.hits.arena.get(offset as usize..)?.get(..length as usize)?;
        Some(Row { bytes })
    }
}

/// Takes down which rows one event wants, for [`Enricher::wants`](crate::Enricher::wants).
#[derive(Debug)]
pub struct Wanted<'o> {
    pub(crate) questions: &'o mut [Question],
}

impl Wanted<'_> {
    /// The row under this key, of the table at this place of [`Enricher::tables`](crate::Enricher::tables). One
    /// per table and event, the last counts; a table that is listed twice can be asked for two.
    ///
    /// # Panics
    /// If there is no table at this place.
    pub fn row<'v>(&mut self, table: usize, key: impl Into<Value<'v>>) {
        let question = self.questions.get_mut(table).expect("`tables` lists every table asked for a row");
        question.put(key.into().bytes());
    }
}

/// What an enricher knows beside the event: the rows it wanted, and the time.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    pub(crate) event: usize,
    pub(crate) answered: &'a [Answered],
}

impl<'a> Known<'a> {
    /// The row of the table at this place of [`Enricher::tables`](crate::Enricher::tables); `None` if the table
    /// has none under that key, or was not asked.
    pub fn row(&self, table: usize) -> Option<Row<'a>> {
        self.answered.get(table)?.row(self.event)
    }

    /// The host's time, in nanoseconds since 1970. Differs when the host runs an event twice; where the time
    /// of receipt will do, take [`Event::time_ns`](crate::Event::time_ns).
    pub fn now_ns(&self) -> u64 {
        Host::now_ns()
    }

    /// Nanoseconds since some moment, never going back: for durations.
    pub fn monotonic_ns(&self) -> u64 {
        Host::monotonic_ns()
    }
}

/// One row of a table: bytes, whose meaning is between the table and the plugin. A [`Patch`](crate::Patch) takes
/// it as a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    bytes: &'a [u8],
}

impl<'a> Row<'a> {
    /// As it is.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// As text; `None` if it is not UTF-8.
    pub fn text(self) -> Option<&'a str> {
        str::from_utf8(self.bytes).ok()
    }

    /// As JSON, of any type that serde can read; it may borrow from the row.
    ///
    /// # Errors
    /// If the row is not JSON, or of another shape.
    pub fn json<T: Deserialize<'a>>(self) -> Result<T, Error> {
        serde_json::from_slice(self.bytes)
            .map_err(|error| Error::new(format!("a row has another shape than expected: {error}")))
    }
}
