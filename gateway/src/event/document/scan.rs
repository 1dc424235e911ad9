//! Finding places in the bytes of a JSON text without parsing it: framing an array into elements, and the
//! source text a pointer leads to. It skips values; it never decides whether a value is valid JSON.

use std::ops::Range;

use super::blocks::{BLOCK, Brackets, Scanner};
use super::pointer::{Pointer, Token};
use super::{Limits, ParseError};
use crate::event::text::quote_or_escape;

/// Refuses texts whose tape would be large before any of it is reserved (24 B per structural character).
pub(super) fn check_structure(bytes: &[u8], limits: Limits) -> Result<(), ParseError> {
    // A value brings at most three structural characters with it: itself, a closing bracket and a separator.
    let structurals_max = limits.nodes_max.saturating_mul(3);
    if bytes.len() <= structurals_max {
        return Ok(());
    }
    let (mut at, mut structurals, mut depth) = (0, 0_usize, 0_usize);
    let mut begins_token = true;
    while let Some(&byte) = bytes.get(at) {
        let structural = matches!(byte, b'{' | b'[' | b'}' | b']' | b',' | b':' | b'"');
        let blank = is_blank(byte);
        structurals += usize::from(structural || (begins_token && !blank));
        begins_token = structural || blank;
        match byte {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > limits.depth_max {
            return Err(ParseError::TooDeep);
        }
        if structurals > structurals_max {
            return Err(ParseError::TooManyNodes);
        }
        at = if byte == b'"' { skip_string(bytes, at).unwrap_or(bytes.len()) } else { at + 1 };
    }
    Ok(())
}

/// Frames a top-level JSON array into the ranges of its elements, which are then parsed alone, so that a bad
/// element costs only itself. The array itself must balance: an `Err` ends the iteration.
pub fn elements(bytes: &[u8], depth_max: usize) -> Frames<'_> {
    Frames { bytes, depth_max, at: 0, state: State::Start }
}

/// The iterator of [`elements`].
pub struct Frames<'b> {
    bytes: &'b [u8],
    depth_max: usize,
    at: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Start,
    Element,
    End,
}

impl Iterator for Frames<'_> {
    type Item = Result<Range<usize>, ParseError>;

    fn next(&mut self) -> Option<Self::Item> {
        let framed = match self.state {
            State::Start => self.start(),
            State::Element => self.element().map(Some),
            State::End => return None,
        };
        if framed.is_err() {
            self.state = State::End;
        }
        framed.transpose()
    }
}

impl Frames<'_> {
    fn start(&mut self) -> Result<Option<Range<usize>>, ParseError> {
        self.skip_blanks();
        self.expect(b'[')?;
        self.skip_blanks();
        if self.bytes.get(self.at) == Some(&b']') {
            self.finish()?;
            return Ok(None);
        }
        self.state = State::Element;
        self.element().map(Some)
    }

    fn element(&mut self) -> Result<Range<usize>, ParseError> {
        self.skip_blanks();
        let range = match skip_value(self.bytes, self.at) {
            Ok(end) if end > self.at => self.at..end,
            Ok(_) => return Err(self.fault()),
            Err(depth) if depth > self.depth_max => return Err(ParseError::TooDeep),
            Err(_) => return Err(ParseError::InvalidJson { offset: self.bytes.len() }),
        };
        self.at = range.end;
        self.skip_blanks();
        match self.bytes.get(self.at) {
            Some(b',') => self.at += 1,
            Some(b']') => self.finish()?,
            _ => return Err(self.fault()),
        }
        Ok(range)
    }

    /// Steps over the closing bracket; only blanks may follow.
    fn finish(&mut self) -> Result<(), ParseError> {
        self.at += 1;
        self.skip_blanks();
        self.state = State::End;
        if self.at == self.bytes.len() { Ok(()) } else { Err(self.fault()) }
    }

    fn expect(&mut self, byte: u8) -> Result<(), ParseError> {
        if self.bytes.get(self.at) != Some(&byte) {
            return Err(self.fault());
        }
        self.at += 1;
        Ok(())
    }

    fn skip_blanks(&mut self) {
        self.at = skip_blanks(self.bytes, self.at);
    }

    fn fault(&self) -> ParseError {
        ParseError::InvalidJson { offset: self.at }
    }
}

/// Where the value a pointer leads to stands in `bytes`, which must have been parsed successfully.
pub fn locate(bytes: &[u8], pointer: &Pointer) -> Option<Range<usize>> {
    let start = skip_blanks(bytes, 0);
    let whole = start..skip_value(bytes, start).ok()?;
    pointer.tokens().iter().try_fold(whole, |range, token| Some(place(bytes, range.start, token)?.value))
}

/// A member of an object or an element of an array, in source bytes.
pub(in crate::event) struct Place {
    /// Where it starts: at the member's key, or at the element.
    pub(in crate::event) start: usize,
    /// Its value.
    pub(in crate::event) value: Range<usize>,
}

/// The member or element `token` names in the container that starts at `start` of checked bytes.
pub(in crate::event) fn place(bytes: &[u8], start: usize, token: &Token) -> Option<Place> {
    let is_object = match bytes.get(start)? {
        b'{' => true,
        b'[' => false,
        _ => return None,
    };
    let mut at = skip_blanks(bytes, start + 1);
    for index in 0.. {
        if matches!(bytes.get(at)?, b'}' | b']') {
            return None;
        }
        let place_start = at;
        let mut wanted = token.index == Some(index);
        if is_object {
            let key_end = skip_string(bytes, at)?;
            wanted = key_is(&bytes[at..key_end], &token.name);
            let colon = skip_blanks(bytes, key_end);
            at = skip_blanks(bytes, colon + 1);
        }
        let value = at..skip_value(bytes, at).ok()?;
        if wanted {
            return Some(Place { start: place_start, value });
        }
        at = skip_blanks(bytes, value.end);
        if bytes.get(at) == Some(&b',') {
            at = skip_blanks(bytes, at + 1);
        }
    }
    None
}

/// Whether a key in its quotes reads `name` once unescaped.
fn key_is(quoted: &[u8], name: &str) -> bool {
    let raw = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    if memchr::memchr(b'\\', raw).is_none() {
        return raw == name.as_bytes();
    }
    serde_json::from_slice::<String>(quoted).is_ok_and(|key| key == name)
}

/// The end of the value at `at`. `Err` holds how many containers were open when the bytes ran out.
fn skip_value(bytes: &[u8], at: usize) -> Result<usize, usize> {
    match bytes.get(at) {
        Some(b'"') => skip_string(bytes, at).ok_or(0),
        Some(b'{' | b'[') => skip_container(bytes, at),
        _ => {
            let rest = bytes.get(at..).unwrap_or_default();
            Ok(rest.iter().position(|&byte| ends_scalar(byte)).map_or(bytes.len(), |length| at + length))
        }
    }
}

fn skip_container(bytes: &[u8], start: usize) -> Result<usize, usize> {
    let (mut scanner, mut depth, mut deepest) = (Scanner::default(), 0_usize, 0_usize);
    let (blocks, rest) = bytes[start..].as_chunks::<BLOCK>();
    let mut last = [b' '; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    for (index, block) in blocks.iter().chain([&last]).enumerate() {
        let Brackets { opens, closes } = scanner.next(block);
        let mut brackets = opens | closes;
        while brackets != 0 {
            let bit = brackets & brackets.wrapping_neg();
            brackets ^= bit;
            if opens & bit != 0 {
                depth += 1;
                deepest = deepest.max(depth);
            } else {
                // The first bracket opens, so there is one to close.
                depth -= 1;
                if depth == 0 {
                    return Ok(start + index * BLOCK + bit.trailing_zeros() as usize + 1);
                }
            }
        }
    }
    Err(deepest)
}

/// The place after the closing quote of the string that opens at `at`.
fn skip_string(bytes: &[u8], at: usize) -> Option<usize> {
    let mut from = at + 1;
    loop {
        let found = from + next_quote_or_escape(bytes.get(from..)?)?;
        if bytes[found] == b'"' {
            return Some(found + 1);
        }
        from = found + 2;
    }
}

/// Most strings end before a vectorized search has begun.
fn next_quote_or_escape(bytes: &[u8]) -> Option<usize> {
    let (words, _) = bytes.as_chunks::<8>();
    let near = words.iter().take(2).enumerate();
    let mut found = near.filter_map(|(index, word)| Some(8 * index + quote_or_escape(*word)?));
    found.next().or_else(|| memchr::memchr2(b'"', b'\\', bytes))
}

pub(in crate::event) fn skip_blanks(bytes: &[u8], at: usize) -> usize {
    let rest = bytes.get(at..).unwrap_or_default();
    rest.iter().position(|&byte| !is_blank(byte)).map_or(bytes.len(), |length| at + length)
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn ends_scalar(byte: u8) -> bool {
    is_blank(byte) || matches!(byte, b'{' | b'[' | b'}' | b']' | b',' | b':' | b'"')
}
