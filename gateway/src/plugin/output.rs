//! What a guest answered, checked: every count, span, text and pointer, and whether the plugin may ask for
//! it. Nothing of an answer is used before all of it was checked.

use std::ops::Range;
use std::str;
use std::sync::Arc;

use super::guest::Output;
use super::verdict::{Op, Verdict, Verdicts};
use crate::event::document::Pointer;

/// Bit 31 of an opcode: the value is in the batch's arena.
const IN_BATCH: u32 = 1 << 31;
const ROW: usize = 6;
/// The opcode of a row that is no op: why the event does not pass.
const REASON: u32 = 9;
const OUTSIDE: &str = "is outside its arena";
const KEY_BYTES_MAX: usize = 512;
const KIND_BYTES_MAX: usize = 32;
const HEADER_NAME_BYTES_MAX: usize = 64;
const HEADER_VALUE_BYTES_MAX: usize = 1 << 10;
const POINTER_BYTES_MAX: usize = 512;
const REASON_BYTES_MAX: usize = 256;
/// An answer may be so many times as large as the batch, and so many bytes more.
const GROWTH_MAX: usize = 4;
const GROWTH_BYTES: usize = 64 << 10;

/// What is wrong with an answer.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// Not one action per event.
    #[error("it gave {actions} actions for {events} events")]
    Actions {
        /// How many it gave.
        actions: usize,
        /// How many were due.
        events: usize,
    },
    /// More than a multiple of the input.
    #[error("its answer has {bytes} bytes; {max} are allowed for this batch")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// Not whole rows.
    #[error("its ops are not rows of six")]
    Ragged,
    /// Out of order, or for an event that is not there.
    #[error("op {row} is for event {event}, out of order or out of the batch")]
    Event {
        /// Which row.
        row: usize,
        /// Which event it names.
        event: u32,
    },
    /// More than `ops_per_event_max`.
    #[error("event {event} has more than {max} ops")]
    TooManyOps {
        /// Which event.
        event: usize,
        /// The limit.
        max: usize,
    },
    /// A number without a meaning.
    #[error("{what} {number} is not known to this host")]
    Unknown {
        /// Action or opcode.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// Beyond the plugin's roles.
    #[error("{what} is beyond its roles")]
    Role {
        /// The action or op.
        what: &'static str,
    },
    /// A change to an event that does not pass.
    #[error("event {event} is changed and yet does not pass")]
    ChangedAndStopped {
        /// Which event.
        event: usize,
    },
    /// A span that is not within its arena, or the wrong bytes in it.
    #[error("op {row}: the {what} {problem}")]
    Value {
        /// Which row.
        row: usize,
        /// Which of its values.
        what: &'static str,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// What a plugin may answer with.
#[derive(Clone, Debug, Default)]
pub(super) struct Rights {
    pub(super) filter: bool,
    pub(super) key: bool,
    pub(super) enrich: bool,
    pub(super) topics: Vec<Arc<str>>,
    pub(super) ops_per_event_max: usize,
}

/// Checks an answer for a batch of `events` over `batch_arena`.
pub(super) fn check<'a>(
    output: &'a Output,
    events: usize,
    batch_arena: &'a [u8],
    rights: &'a Rights,
) -> Result<Verdicts<'a>, OutputError> {
    if output.actions.len() != events {
        return Err(OutputError::Actions { actions: output.actions.len(), events });
    }
    let (bytes, max) = (output.arena.len(), GROWTH_MAX * batch_arena.len() + GROWTH_BYTES);
    if bytes > max {
        return Err(OutputError::TooLarge { bytes, max });
    }
    let (rows, rest) = output.ops.as_chunks::<ROW>();
    if !rest.is_empty() {
        return Err(OutputError::Ragged);
    }
    let arenas = Arenas { own: Arena::new(&output.arena), batch: Arena::new(batch_arena) };
    let (mut verdicts, mut ops) = (Vec::with_capacity(events), Vec::with_capacity(rows.len()));
    let mut next = 0;
    for (event, action) in output.actions.iter().enumerate() {
        let (first, unchanged) = (next, ops.len());
        let mut reason = "";
        while let Some(row) = rows.get(next).filter(|row| row[0] as usize == event) {
            if next - first == rights.ops_per_event_max {
                return Err(OutputError::TooManyOps { event, max: rights.ops_per_event_max });
            }
            let row = Row { row: next, fields: row, arenas: &arenas };
            if row.opcode() == REASON {
                reason = row.reason()?;
            } else {
                row.put_op(rights, &mut ops)?;
            }
            next += 1;
        }
        let verdict = verdict(*action, reason, rights)?;
        if ops.len() > unchanged && verdict != Verdict::Pass {
            return Err(OutputError::ChangedAndStopped { event });
        }
        verdicts.push((verdict, ops.len()));
    }
    match rows.get(next) {
        None => Ok(Verdicts { verdicts, ops }),
        Some(row) => Err(OutputError::Event { row: next, event: row[0] }),
    }
}

fn verdict<'a>(action: u8, reason: &'a str, rights: &Rights) -> Result<Verdict<'a>, OutputError> {
    match action {
        0 => Ok(Verdict::Pass),
        4 => Ok(Verdict::Failed(reason)),
        1..=3 if !rights.filter => Err(OutputError::Role { what: "to stop an event" }),
        1 => Ok(Verdict::Drop(reason)),
        2 => Ok(Verdict::Refuse(reason)),
        3 => Ok(Verdict::DeadLetter(reason)),
        unknown => Err(OutputError::Unknown { what: "action", number: unknown.into() }),
    }
}

/// Bytes that spans point into. As a rule they are text from end to end, which is cheaper to find out at once than
/// span by span.
struct Arena<'a> {
    bytes: &'a [u8],
    text: Option<&'a str>,
}

impl<'a> Arena<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Arena { bytes, text: str::from_utf8(bytes).ok() }
    }
}

struct Arenas<'a> {
    own: Arena<'a>,
    batch: Arena<'a>,
}

/// One row with the arenas that its spans point into.
struct Row<'r, 'a> {
    row: usize,
    fields: &'r [u32; ROW],
    arenas: &'r Arenas<'a>,
}

impl<'a> Row<'_, 'a> {
    #[inline]
    fn opcode(&self) -> u32 {
        self.fields[1] & !IN_BATCH
    }

    #[inline]
    fn put_op(&self, rights: &'a Rights, ops: &mut Vec<Op<'a>>) -> Result<(), OutputError> {
        let opcode = self.opcode();
        let may = |right: bool, what| if right { Ok(()) } else { Err(OutputError::Role { what }) };
        match opcode {
            1 | 2 => may(rights.key, "to set a key")?,
            3..=8 => may(rights.enrich, "to change an event")?,
            _ => {}
        }
        match opcode {
            1 => ops.push(Op::SetPartitionKey(self.key()?)),
            2 => ops.push(Op::AddLookupKey { kind: self.kind()?, key: self.key()? }),
            _ => ops.push(self.change(opcode, rights)?),
        }
        Ok(())
    }

    fn change(&self, opcode: u32, rights: &'a Rights) -> Result<Op<'a>, OutputError> {
        Ok(match opcode {
            3 => Op::SetHeader { name: self.header()?, value: self.header_value()? },
            4 => Op::RemoveHeader { name: self.header()? },
            5 => Op::JsonSet { pointer: self.pointer()?, value: self.text("value", usize::MAX)?.as_bytes() },
            6 => Op::JsonRemove { pointer: self.pointer()? },
            7 => Op::ReplacePayload(self.value()?),
            8 => Op::SetTopic(self.topic(&rights.topics)?),
            number => return Err(OutputError::Unknown { what: "opcode", number }),
        })
    }

    #[inline]
    fn key(&self) -> Result<&'a str, OutputError> {
        let key = self.text("key", KEY_BYTES_MAX)?;
        if key.is_empty() { Err(self.wrong("key", "is empty")) } else { Ok(key) }
    }

    #[inline]
    fn kind(&self) -> Result<&'a str, OutputError> {
        let kind = self.name("kind", KIND_BYTES_MAX)?;
        let fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_' || byte == b'-';
        if !kind.is_empty() && kind.bytes().all(fits) {
            Ok(kind)
        } else {
            Err(self.wrong("kind", "is not [a-z0-9_-]"))
        }
    }

    fn header(&self) -> Result<&'a str, OutputError> {
        let name = self.name("header name", HEADER_NAME_BYTES_MAX)?;
        let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(fits) {
            return Err(self.wrong("header name", "is not a name in lower case"));
        }
        if name.starts_with("weir-") || name.starts_with("ce_") || name == "content-type" {
            return Err(self.wrong("header name", "belongs to the gateway"));
        }
        Ok(name)
    }

    fn header_value(&self) -> Result<&'a str, OutputError> {
        let value = self.text("header value", HEADER_VALUE_BYTES_MAX)?;
        if value.chars().any(char::is_control) {
            Err(self.wrong("header value", "has control characters"))
        } else {
            Ok(value)
        }
    }

    fn pointer(&self) -> Result<Box<Pointer>, OutputError> {
        let text = self.name("pointer", POINTER_BYTES_MAX)?;
        text.parse().map(Box::new).map_err(|_| self.wrong("pointer", "is not a JSON pointer"))
    }

    fn topic(&self, allowed: &'a [Arc<str>]) -> Result<&'a Arc<str>, OutputError> {
        let name = self.text("topic", HEADER_VALUE_BYTES_MAX)?;
        allowed
            .iter()
            .find(|topic| &***topic == name)
            .ok_or_else(|| self.wrong("topic", "is not in the route's `topics_allowed`"))
    }

    fn reason(&self) -> Result<&'a str, OutputError> {
        let text = self.text("reason", usize::MAX)?;
        let (kept, _) = text.split_at(text.floor_char_boundary(REASON_BYTES_MAX));
        Ok(kept)
    }

    #[inline]
    fn name(&self, what: &'static str, bytes_max: usize) -> Result<&'a str, OutputError> {
        self.utf8(what, &self.arenas.own, span(self.fields[2], self.fields[3]), bytes_max)
    }

    #[inline]
    fn text(&self, what: &'static str, bytes_max: usize) -> Result<&'a str, OutputError> {
        self.utf8(what, self.arena(), span(self.fields[4], self.fields[5]), bytes_max)
    }

    fn value(&self) -> Result<&'a [u8], OutputError> {
        let found = self.arena().bytes.get(span(self.fields[4], self.fields[5]));
        found.ok_or_else(|| self.wrong("value", OUTSIDE))
    }

    /// The arena of its value.
    #[inline]
    fn arena(&self) -> &Arena<'a> {
        if self.fields[1] & IN_BATCH == 0 { &self.arenas.own } else { &self.arenas.batch }
    }

    #[inline]
    fn utf8(
        &self,
        what: &'static str,
        arena: &Arena<'a>,
        span: Range<usize>,
        bytes_max: usize,
    ) -> Result<&'a str, OutputError> {
        if let Some(text) =
            arena.text.and_then(|text| text.get(span.clone())).filter(|it| it.len() <= bytes_max)
        {
            return Ok(text);
        }
        let bytes = arena.bytes.get(span).ok_or_else(|| self.wrong(what, OUTSIDE))?;
        if bytes.len() > bytes_max {
            return Err(self.wrong(what, "is too long"));
        }
        str::from_utf8(bytes).map_err(|_| self.wrong(what, "is not UTF-8"))
    }

    #[cold]
    fn wrong(&self, what: &'static str, problem: &'static str) -> OutputError {
        OutputError::Value { row: self.row, what, problem }
    }
}

/// Where a span is; one beyond all memory is beyond its arena too.
fn span(offset: u32, length: u32) -> Range<usize> {
    let start = offset as usize;
    start..start.saturating_add(length as usize)
}
