//! One JSON text, checked once: the tape that every stage reads instead of a tree of values.
//! It is not the event (that is `event/parse`) and it never changes or re-writes bytes (that is [`super::splice`]).
//!
//! The rules are stricter than RFC 8259 where two parsers could disagree: duplicate keys, numbers that no
//! `i64`, `u64` or `f64` holds, and lone surrogates are refused by name, each with its place.

mod blocks;
mod fault;
mod node;
mod pointer;
mod scan;

use bumpalo::Bump;
use bumpalo::collections::Vec as ArenaVec;
use simd_json::{Buffers, INPUT_PADDING, Tape};

pub use fault::ParseError;
pub use node::{Elements, Kind, Members, Node};
pub(crate) use pointer::cut_pointer;
pub use pointer::{BadPointer, Pointer};
pub use scan::{Frames, elements, locate};
pub(super) use scan::{place, skip_blanks};

/// Texts longer than this do not leave their buffers behind.
const RETAINED_BYTES_MAX: usize = 256 * 1024;
/// Tapes that grew beyond this many nodes (24 B each) are not kept.
const RETAINED_NODES_MAX: usize = 16 * 1024;

/// What one JSON text may cost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// How many objects and arrays may be open at once.
    pub depth_max: usize,
    /// How many values and keys a text may hold.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { depth_max: 64, nodes_max: 50_000 }
    }
}

/// Turns JSON texts into [`Document`]s. One per worker: its buffers are reused from text to text.
pub struct Parser {
    limits: Limits,
    buffers: Buffers,
    tape: Tape<'static>,
}

/// One checked JSON text. Cheap to copy: nodes and strings live in the arena it was parsed into.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    nodes: &'a [simd_json::Node<'a>],
}

impl<'a> Document<'a> {
    /// The value of the whole text.
    pub fn root(&self) -> Node<'a> {
        Node::new(self.nodes)
    }
}

impl Parser {
    /// A parser with empty buffers.
    pub fn new(limits: Limits) -> Self {
        let buffers = Buffers::with_max_depth(0, limits.depth_max);
        Parser { limits, buffers, tape: Tape(Vec::new()) }
    }

    /// Checks `bytes`, a whole JSON text, and lays its nodes and unescaped strings out in `arena`.
    pub fn parse<'a>(&mut self, arena: &'a Bump, bytes: &[u8]) -> Result<Document<'a>, ParseError> {
        scan::check_structure(bytes, self.limits)?;
        // The parser unescapes in place and reads past the end, so it gets a padded copy.
        let mut padded = ArenaVec::with_capacity_in(bytes.len() + INPUT_PADDING, arena);
        padded.extend_from_slices_copy(&[bytes, &[b' '; INPUT_PADDING]]);
        let padded = padded.into_bump_slice_mut();

        let mut tape: Tape<'a> = std::mem::replace(&mut self.tape, Tape(Vec::new()));
        let outcome = simd_json::fill_tape_padded(padded, bytes.len(), &mut self.buffers, &mut tape);
        let document =
            outcome.map_err(|error| fault::explain(bytes, &error)).and_then(|()| self.accept(arena, &tape));
        self.keep_buffers(bytes.len(), tape.reset());
        document
    }

    /// The checks that need the whole tape, then a copy of it that lives as long as the strings do.
    fn accept<'a>(&self, arena: &'a Bump, tape: &Tape<'a>) -> Result<Document<'a>, ParseError> {
        if tape.0.len() > self.limits.nodes_max {
            return Err(ParseError::TooManyNodes);
        }
        fault::refuse_duplicate_keys(&tape.0)?;
        Ok(Document { nodes: arena.alloc_slice_copy(&tape.0) })
    }

    /// One large text must not make every worker's buffers large for good.
    fn keep_buffers(&mut self, bytes: usize, tape: Tape<'static>) {
        if bytes > RETAINED_BYTES_MAX {
            self.buffers = Buffers::with_max_depth(0, self.limits.depth_max);
        }
        if tape.0.capacity() <= RETAINED_NODES_MAX {
            self.tape = tape;
        }
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
