//! Saying what is wrong with a JSON text, and where. Off the happy path but for the check of duplicate keys.

use simd_json::{ErrorType, Node as Entry};

use super::node::{Kind, Node};
use super::pointer::{cut_pointer, push_escaped};
use crate::problem::{Code, Problem};

/// Objects up to this size compare their keys in pairs; larger ones sort them.
const PAIRWISE_MAX: usize = 24;

/// Why a text is refused. Offsets are bytes from its beginning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Not JSON by RFC 8259; the offset may be one byte early.
    #[error("not valid JSON near byte {offset}")]
    InvalidJson { offset: usize },
    /// Bytes that are not UTF-8, or a byte order mark.
    #[error("not UTF-8 without a byte order mark at byte {offset}")]
    InvalidUtf8 { offset: usize },
    /// An escape that names half a surrogate pair: no character, so no text can hold it.
    #[error("half a surrogate pair in the escape at byte {offset}")]
    LoneSurrogate { offset: usize },
    /// More open objects and arrays than the limit.
    #[error("objects and arrays are nested too deeply")]
    TooDeep,
    /// More values and keys than the limit.
    #[error("more values than one event may hold")]
    TooManyNodes,
    /// Parsers disagree on which of two equal keys counts.
    #[error("the key at {pointer} is in its object twice")]
    DuplicateKey { pointer: String },
    /// An integer beyond `i64` and `u64`, or a number beyond `f64`.
    #[error("the number at byte {offset} cannot be represented")]
    NumberOutOfRange { offset: usize },
}

impl ParseError {
    /// The row of the table of failure.
    pub fn code(&self) -> Code {
        match self {
            ParseError::InvalidJson { .. } => Code::InvalidJson,
            ParseError::InvalidUtf8 { .. } | ParseError::LoneSurrogate { .. } => Code::InvalidUtf8,
            ParseError::TooDeep => Code::TooDeep,
            ParseError::TooManyNodes => Code::TooManyNodes,
            ParseError::DuplicateKey { .. } => Code::DuplicateKey,
            ParseError::NumberOutOfRange { .. } => Code::NumberOutOfRange,
        }
    }
}

impl From<ParseError> for Problem {
    fn from(error: ParseError) -> Self {
        Problem::new(error.code(), error.to_string())
    }
}

/// Names the fault behind the parser's error.
pub(super) fn explain(bytes: &[u8], error: &simd_json::Error) -> ParseError {
    if let Err(utf8) = std::str::from_utf8(bytes) {
        return ParseError::InvalidUtf8 { offset: utf8.valid_up_to() };
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return ParseError::InvalidUtf8 { offset: 0 };
    }
    match error.error() {
        ErrorType::DepthLimitExceeded => return ParseError::TooDeep,
        ErrorType::InputTooLarge => return ParseError::TooManyNodes,
        _ => {}
    }
    let near = error.index().min(bytes.len());
    match (syntax_offset(bytes), error.error()) {
        (Some(offset), _) => ParseError::InvalidJson { offset },
        (None, ErrorType::InvalidNumber) => {
            ParseError::NumberOutOfRange { offset: number_start(bytes, near) }
        }
        (None, _) => match lone_surrogate(bytes) {
            Some(offset) => ParseError::LoneSurrogate { offset },
            None => ParseError::InvalidJson { offset: near },
        },
    }
}

/// The parser does not tell the place of every fault; this second reading is asked only for that place.
fn syntax_offset(bytes: &[u8]) -> Option<usize> {
    let error = serde_json::from_slice::<serde::de::IgnoredAny>(bytes).err()?;
    let lines = bytes.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
    let line_start: usize = lines.map(<[u8]>::len).sum();
    let column = if error.is_eof() { error.column() } else { error.column().saturating_sub(1) };
    Some((line_start + column).min(bytes.len()))
}

/// The first byte of the number around `near`.
fn number_start(bytes: &[u8], near: usize) -> usize {
    let before = bytes.get(..near).unwrap_or_default();
    let in_number = |byte: &&u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    near - before.iter().rev().take_while(in_number).count()
}

/// The first escape that is half of a surrogate pair without the other half, in a text that is JSON otherwise.
fn lone_surrogate(bytes: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += memchr::memchr(b'\\', bytes.get(at..)?)?;
        at += match (unit(bytes, at), unit(bytes, at + 6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => return Some(at),
            _ => 2,
        };
    }
}

/// The UTF-16 unit a `\u` escape at `at` names.
fn unit(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Refuses the first object that has one name twice, however it is escaped.
pub(super) fn refuse_duplicate_keys(entries: &[Entry<'_>]) -> Result<(), ParseError> {
    for (at, entry) in entries.iter().enumerate() {
        if let Entry::Object { len, .. } = entry
            && *len > 1
            && let Some(name) = duplicate_key(Node::new(&entries[at..]))
        {
            return Err(ParseError::DuplicateKey { pointer: pointer_to(entries, at, name) });
        }
    }
    Ok(())
}

fn duplicate_key<'a>(object: Node<'a>) -> Option<&'a str> {
    if object.len() > PAIRWISE_MAX {
        // Sorted, not hashed: no choice of keys makes this quadratic.
        let mut names: Vec<&str> = object.members().map(|(name, _)| name).collect();
        names.sort_unstable();
        return names.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0]);
    }
    let mut seen = 0_u64;
    for (index, (name, _)) in object.members().enumerate() {
        let bit = 1 << filter_bit(name.as_bytes());
        if seen & bit != 0 && object.members().take(index).any(|(earlier, _)| earlier == name) {
            return Some(name);
        }
        seen |= bit;
    }
    None
}

/// A cheap guess at a name's identity, 0 to 63, so that most objects compare no names at all.
fn filter_bit(name: &[u8]) -> u32 {
    let [first, last] = [name.first(), name.last()].map(|byte| u32::from(byte.copied().unwrap_or(0)));
    #[expect(clippy::cast_possible_truncation, reason = "a guess may lose bits")]
    let length = name.len() as u32;
    (first ^ last.rotate_left(2) ^ length.wrapping_mul(11)) % 64
}

/// The pointer to member `name` of the object at entry `target`.
fn pointer_to(entries: &[Entry<'_>], target: usize, name: &str) -> String {
    let mut pointer = String::new();
    let (mut node, mut at) = (Node::new(entries), 0);
    while at != target {
        let Some((step, child, child_at)) = child_holding(node, at, target) else { break };
        push_escaped(&mut pointer, &step);
        (node, at) = (child, child_at);
    }
    push_escaped(&mut pointer, name);
    cut_pointer(pointer)
}

/// The child of `node` (at entry `at`) whose entries reach over `target`, with its step and its place.
fn child_holding<'a>(node: Node<'a>, at: usize, target: usize) -> Option<(String, Node<'a>, usize)> {
    let mut next = at + 1;
    if node.kind() == Kind::Object {
        for (name, value) in node.members() {
            next += 1;
            if target < next + value.extent() {
                return Some((name.to_owned(), value, next));
            }
            next += value.extent();
        }
        return None;
    }
    for (index, value) in node.elements().enumerate() {
        if target < next + value.extent() {
            return Some((index.to_string(), value, next));
        }
        next += value.extent();
    }
    None
}
