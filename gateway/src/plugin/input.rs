//! Events as columns: one arena, spans into it, and what each span holds. The buffers are kept from call to
//! call; nothing is decided here.

use super::Source;
use super::guest::Batch;
use crate::event::document::Kind;
use crate::event::{Selected, Selector};

/// The offset of a span that holds nothing.
const ABSENT: u32 = u32::MAX;
/// More than this does not go into one call.
const ARENA_BYTES_MAX: usize = 8 << 20;
/// Arenas that grew beyond this are not kept.
const ARENA_BYTES_KEPT: usize = 512 << 10;

/// The arena would be larger than a call takes.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the fields and payloads of one call come to more than {ARENA_BYTES_MAX} bytes")]
pub struct InputTooLarge;

/// A batch in the making.
#[derive(Debug, Default)]
pub(super) struct Input {
    pub(super) arena: Vec<u8>,
    spans: Vec<u32>,
    kinds: Vec<u8>,
    times: Vec<u64>,
    stride: u32,
}

impl Input {
    /// Fills the columns with the events of `source`.
    pub(super) fn fill<S: Source + ?Sized>(
        &mut self,
        source: &S,
        fields: &[Selector],
        needs_payload: bool,
    ) -> Result<(), InputTooLarge> {
        self.clear();
        let (events, stride) = (source.len(), fields.len() + 1);
        self.stride = u32::try_from(stride).map_err(|_| InputTooLarge)?;
        self.spans.resize(2 * stride * events, 0);
        self.kinds.resize(stride * events, 0);
        self.times.extend((0..events).map(|event| source.time_ns(event)));
        let arena = &mut self.arena;
        let rows = self.spans.as_chunks_mut().0.chunks_exact_mut(stride);
        for (event, (spans, kinds)) in rows.zip(self.kinds.chunks_exact_mut(stride)).enumerate() {
            let payload = needs_payload.then(|| (8, source.payload(event)));
            (spans[0], kinds[0]) = put(arena, payload)?;
            for ((selector, span), kind) in fields.iter().zip(&mut spans[1..]).zip(&mut kinds[1..]) {
                (*span, *kind) = put(arena, source.select(event, selector).map(wire))?;
            }
        }
        Ok(())
    }

    pub(super) fn events(&self) -> usize {
        self.times.len()
    }

    /// What a call takes over the boundary.
    pub(super) fn bytes(&self) -> usize {
        self.arena.len() + 4 * self.spans.len() + self.kinds.len() + 8 * self.times.len()
    }

    pub(super) fn batch(&self) -> Batch<'_> {
        Batch {
            arena: &self.arena,
            spans: &self.spans,
            kinds: &self.kinds,
            stride: self.stride,
            times: &self.times,
            // This host names none in its binding yet.
            schemas: &[],
        }
    }

    fn clear(&mut self) {
        if self.arena.capacity() > ARENA_BYTES_KEPT {
            self.arena = Vec::new();
        }
        self.arena.clear();
        self.spans.clear();
        self.kinds.clear();
        self.times.clear();
    }
}

/// Puts a value into the arena; its span and kind. Out of line, its answer would go through memory.
#[inline(always)]
fn put(arena: &mut Vec<u8>, found: Option<(u8, &[u8])>) -> Result<([u32; 2], u8), InputTooLarge> {
    let Some((kind, bytes)) = found else { return Ok(([ABSENT, 0], 0)) };
    if arena.len() + bytes.len() > ARENA_BYTES_MAX {
        return Err(InputTooLarge);
    }
    let narrow = |size: usize| u32::try_from(size).map_err(|_| InputTooLarge);
    let span = [narrow(arena.len())?, narrow(bytes.len())?];
    append(arena, bytes);
    Ok((span, kind))
}

/// Most fields are a few bytes: two moves, which may overlap, are a third of what a call to copy them costs.
#[inline(always)]
fn append(arena: &mut Vec<u8>, bytes: &[u8]) {
    let end = arena.len() + bytes.len();
    match (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        (Some(first), Some(last)) if bytes.len() <= 16 => {
            arena.extend_from_slice(first);
            arena.truncate(end - 8);
            arena.extend_from_slice(last);
        }
        (None, _) => match (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
            (Some(first), Some(last)) => {
                arena.extend_from_slice(first);
                arena.truncate(end - 4);
                arena.extend_from_slice(last);
            }
            _ => arena.extend(bytes),
        },
        _ => arena.extend_from_slice(bytes),
    }
}

/// The contract's number for a value, and its bytes.
#[inline]
fn wire(found: Selected<'_>) -> (u8, &[u8]) {
    match found {
        Selected::Text(text) => (1, text.as_bytes()),
        Selected::Number(digits) if digits.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') => {
            (2, digits)
        }
        Selected::Number(digits) => (3, digits),
        Selected::Other(kind, source) => (number(kind), source),
    }
}

fn number(kind: Kind) -> u8 {
    match kind {
        Kind::String => 1,
        Kind::Integer => 2,
        Kind::Float => 3,
        Kind::Boolean => 4,
        Kind::Null => 5,
        Kind::Array => 6,
        Kind::Object => 7,
    }
}

#[cfg(test)]
mod tests {
    use super::append;

    #[test]
    fn any_length_is_appended_whole() {
        let text: Vec<u8> = (0..40).collect();
        for start in [0, 3] {
            for length in 0..37 {
                let mut arena = text[..start].to_vec();
                append(&mut arena, &text[start..start + length]);
                assert_eq!(arena, text[..start + length]);
            }
        }
    }
}
