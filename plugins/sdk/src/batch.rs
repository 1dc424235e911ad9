//! Events as a plugin sees them: views over one batch's arena. Nothing here copies, and nothing is written.

use std::str;

/// The offset of a span that holds nothing.
pub(crate) const ABSENT: u32 = u32::MAX;

/// What a field's bytes are; the numbers are those of the contract (`wit/README.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A string, unescaped.
    Text,
    /// An integer's digits, as sent.
    Integer,
    /// A number with a fraction or an exponent, as sent.
    Float,
    /// `true` or `false`.
    Bool,
    /// `null`.
    Null,
    /// The source text of an array.
    Array,
    /// The source text of an object.
    Object,
    /// Bytes: a payload, or a kind of a later contract.
    Bytes,
}

impl Kind {
    pub(crate) fn of(number: u8) -> Kind {
        match number {
            1 => Kind::Text,
            2 => Kind::Integer,
            3 => Kind::Float,
            4 => Kind::Bool,
            5 => Kind::Null,
            6 => Kind::Array,
            7 => Kind::Object,
            _ => Kind::Bytes,
        }
    }
}

/// The columns of one batch, as they came over the boundary.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    pub(crate) arena: &'a [u8],
    pub(crate) spans: &'a [u32],
    pub(crate) kinds: &'a [u8],
    pub(crate) stride: usize,
    pub(crate) times: &'a [u64],
}

impl<'a> Columns<'a> {
    pub(crate) fn events(self) -> impl Iterator<Item = Event<'a>> {
        let rows = self.spans.chunks_exact(2 * self.stride).zip(self.kinds.chunks_exact(self.stride));
        let timed = rows.zip(self.times);
        timed.map(move |((spans, kinds), &time_ns)| Event { arena: self.arena, spans, kinds, time_ns })
    }
}

/// One event: the fields the plugin declared and, if it asked for it, the payload.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    arena: &'a [u8],
    spans: &'a [u32],
    kinds: &'a [u8],
    time_ns: u64,
}

impl<'a> Event<'a> {
    /// The field at this place of [`Plugin::fields`](crate::Plugin::fields); `None` if the event lacks it.
    pub fn field(&self, index: usize) -> Option<Field<'a>> {
        self.column(index + 1)
    }

    /// All declared fields, in order.
    pub fn fields(&self) -> impl Iterator<Item = Option<Field<'a>>> {
        let event = *self;
        (1..event.kinds.len()).map(move |column| event.column(column))
    }

    /// The original bytes; empty unless [`Plugin::needs_payload`](crate::Plugin::needs_payload).
    pub fn payload(&self) -> &'a [u8] {
        self.column(0).map_or(&[], Field::bytes)
    }

    /// When the gateway received it, in nanoseconds since 1970.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    fn column(&self, column: usize) -> Option<Field<'a>> {
        let (offset, length) = (*self.spans.get(2 * column)?, *self.spans.get(2 * column + 1)?);
        if offset == ABSENT {
            return None;
        }
        let bytes = self.arena.get(offset as usize..)?.get(..length as usize)?;
        Some(Field { bytes, offset, kind: Kind::of(*self.kinds.get(column)?) })
    }
}

/// One value of an event.
#[derive(Clone, Copy, Debug)]
pub struct Field<'a> {
    bytes: &'a [u8],
    pub(crate) offset: u32,
    kind: Kind,
}

impl<'a> Field<'a> {
    /// What it is: `5` and `"5"` have the same text and different kinds.
    pub fn kind(self) -> Kind {
        self.kind
    }

    /// Its bytes; see [`Kind`] for what they are.
    pub fn bytes(self) -> &'a [u8] {
        self.bytes
    }

    /// A string's characters, or the source text of anything else; `None` if it is not UTF-8.
    pub fn text(self) -> Option<&'a str> {
        str::from_utf8(self.bytes).ok()
    }

    /// Whether it can name an entity, as a partition key or lookup key does: a string that is not empty, or
    /// an integer.
    pub fn names_entity(self) -> bool {
        match self.kind {
            Kind::Text => !self.bytes.is_empty(),
            Kind::Integer => true,
            _ => false,
        }
    }
}
