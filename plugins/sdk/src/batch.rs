//! Events as a plugin sees them: views over one batch's arena. Nothing here copies, and nothing is written.

use crate::field::{Field, Kind};

/// The offset of a span that holds nothing.
pub(crate) const ABSENT: u32 = u32::MAX;

/// The columns of one batch, as they came over the boundary.
#[derive(Clone, Copy, Debug)]
pub struct Columns<'a> {
    pub(crate) arena: &'a [u8],
    pub(crate) spans: &'a [[u32; 2]],
    pub(crate) kinds: &'a [u8],
    pub(crate) stride: usize,
    pub(crate) times: &'a [u64],
}

impl<'a> Columns<'a> {
    pub(crate) fn events(self) -> impl ExactSizeIterator<Item = Event<'a>> {
        let rows = self.spans.chunks_exact(self.stride).zip(self.kinds.chunks_exact(self.stride));
        let timed = rows.zip(self.times);
        timed.map(move |((spans, kinds), &time_ns)| Event { arena: self.arena, spans, kinds, time_ns })
    }
}

/// One event: the fields the plugin declared and, if it asked for it, the payload.
///
/// It borrows the batch and copies nothing. Fields are found by their place in the list of
/// [`Plugin::fields`](crate::Plugin::fields).
///
/// ```
/// use weir_plugin::Event;
///
/// fn is_large(event: &Event<'_>) -> bool {
///     event.field(0).and_then(|amount| amount.as_f64()).is_some_and(|amount| amount > 1e6)
/// }
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    arena: &'a [u8],
    spans: &'a [[u32; 2]],
    kinds: &'a [u8],
    time_ns: u64,
}

impl<'a> Event<'a> {
    /// The field at this place of [`Plugin::fields`](crate::Plugin::fields); `None` if the event lacks it, or
    /// if there is no such place.
    #[inline(always)]
    pub fn field(&self, index: usize) -> Option<Field<'a>> {
        self.column(index + 1)
    }

    /// The same, if it can name an entity ([`Field::names_entity`]): what partition keys and lookup keys are
    /// made of.
    #[inline(always)]
    pub fn entity(&self, index: usize) -> Option<Field<'a>> {
        self.field(index).filter(|field| field.names_entity())
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

    /// When the gateway received it, in nanoseconds since 1970. The same on every run over this event, unlike
    /// a clock.
    pub fn time_ns(&self) -> u64 {
        self.time_ns
    }

    #[inline(always)]
    fn column(&self, column: usize) -> Option<Field<'a>> {
        let &[offset, length] = self.spans.get(column)?;
        // The offset of an absent one is beyond every arena.
        let end = (offset as usize).checked_add(length as usize)?;
        let bytes = self.arena.get(offset as usize..end)?;
        Some(Field { bytes, offset, kind: Kind::of(*self.kinds.get(column)?) })
    }
}
