//! A value inside a checked JSON text: a slice of the tape that starts with the value itself and ends
//! with its last descendant. It reads only; numbers keep no source text (for that see [`super::locate`]).

use simd_json::{Node as Entry, StaticNode};

use super::pointer::Pointer;

/// One value of a [`super::Document`].
#[derive(Clone, Copy, Debug)]
pub struct Node<'a> {
    entries: &'a [Entry<'a>],
}

/// What a value is. Integers are those written without fraction and exponent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Null,
    Boolean,
    Integer,
    Float,
    String,
    Array,
    Object,
}

impl<'a> Node<'a> {
    /// The value that starts a slice of entries; what follows it is cut off.
    #[inline]
    pub(super) fn new(entries: &'a [Entry<'a>]) -> Self {
        Node { entries: &entries[..extent(&entries[0])] }
    }

    /// A string value that is in no document, e.g. a name checked as if it were a value.
    #[inline]
    pub(crate) fn of_string(entry: &'a [Entry<'a>; 1]) -> Self {
        Node { entries: entry }
    }

    /// The value's own entry on the tape.
    #[inline]
    pub(crate) fn entry(&self) -> &'a Entry<'a> {
        &self.entries[0]
    }

    /// How many entries of the tape the value takes.
    #[inline]
    pub(super) fn extent(&self) -> usize {
        self.entries.len()
    }

    /// What the value is.
    #[inline]
    pub fn kind(&self) -> Kind {
        match self.entry() {
            Entry::String(_) => Kind::String,
            Entry::Object { .. } => Kind::Object,
            Entry::Array { .. } => Kind::Array,
            Entry::Static(StaticNode::Null) => Kind::Null,
            Entry::Static(StaticNode::Bool(_)) => Kind::Boolean,
            Entry::Static(StaticNode::F64(_)) => Kind::Float,
            Entry::Static(_) => Kind::Integer,
        }
    }

    /// The unescaped text of a string.
    #[inline]
    pub fn as_str(&self) -> Option<&'a str> {
        match self.entry() {
            Entry::String(text) => Some(text),
            _ => None,
        }
    }

    /// The value of `true` and `false`.
    #[inline]
    pub fn as_bool(&self) -> Option<bool> {
        match self.entry() {
            Entry::Static(StaticNode::Bool(value)) => Some(*value),
            _ => None,
        }
    }

    /// A number with a fraction or an exponent that is whole all the same (`1.0`), as JSON Schema sees integers.
    pub fn as_whole(&self) -> Option<i64> {
        match self.entry() {
            #[expect(clippy::cast_possible_truncation, reason = "it is whole and below 2^53")]
            Entry::Static(StaticNode::F64(value))
                if value.fract() == 0.0 && value.abs() < (1_u64 << 53) as f64 =>
            {
                Some(*value as i64)
            }
            _ => None,
        }
    }

    /// An integer's digits exactly as sent; JSON allows only one spelling of each, and both zeros are kept apart.
    pub fn as_integer_text<'b>(&self, buffer: &'b mut itoa::Buffer) -> Option<&'b str> {
        match self.entry() {
            Entry::Static(StaticNode::U64(value)) => Some(buffer.format(*value)),
            // Only a written minus makes the entry signed.
            Entry::Static(StaticNode::I64(0)) => Some("-0"),
            Entry::Static(StaticNode::I64(value)) => Some(buffer.format(*value)),
            _ => None,
        }
    }

    /// How many members an object or elements an array has; 0 for the rest.
    #[inline]
    pub fn len(&self) -> usize {
        match self.entry() {
            Entry::Object { len, .. } | Entry::Array { len, .. } => *len,
            _ => 0,
        }
    }

    /// Whether there is no member or element.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// An object's members, in the order sent. Nothing for other kinds.
    #[inline]
    pub fn members(&self) -> Members<'a> {
        let rest = if self.kind() == Kind::Object { &self.entries[1..] } else { &[] };
        Members { rest }
    }

    /// An array's elements. Nothing for other kinds.
    #[inline]
    pub fn elements(&self) -> Elements<'a> {
        let rest = if self.kind() == Kind::Array { &self.entries[1..] } else { &[] };
        Elements { rest }
    }

    /// The object's value under `key`, by its unescaped name.
    #[inline]
    pub fn get(&self, key: &str) -> Option<Node<'a>> {
        self.members().find(|(name, _)| *name == key).map(|(_, value)| value)
    }

    /// The value a pointer leads to from here.
    pub fn pointer(&self, pointer: &Pointer) -> Option<Node<'a>> {
        pointer.tokens().iter().try_fold(*self, |node, token| match node.kind() {
            Kind::Object => node.get(&token.name),
            Kind::Array => node.elements().nth(token.index?),
            _ => None,
        })
    }
}

/// How many entries a value takes, itself included.
#[inline]
fn extent(entry: &Entry<'_>) -> usize {
    match entry {
        Entry::Object { count, .. } | Entry::Array { count, .. } => count + 1,
        _ => 1,
    }
}

/// The elements of an array.
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    rest: &'a [Entry<'a>],
}

impl<'a> Iterator for Elements<'a> {
    type Item = Node<'a>;

    #[inline]
    fn next(&mut self) -> Option<Node<'a>> {
        let (entries, rest) = self.rest.split_at_checked(extent(self.rest.first()?))?;
        self.rest = rest;
        Some(Node { entries })
    }
}

/// The members of an object: unescaped name and value.
#[derive(Clone, Debug)]
pub struct Members<'a> {
    rest: &'a [Entry<'a>],
}

impl<'a> Members<'a> {
    /// The next member with its name as a value of its own.
    #[inline]
    pub(crate) fn next_nodes(&mut self) -> Option<(Node<'a>, Node<'a>)> {
        let (name, rest) = self.rest.split_at_checked(1)?;
        let (entries, rest) = rest.split_at_checked(extent(rest.first()?))?;
        self.rest = rest;
        Some((Node { entries: name }, Node { entries }))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Node<'a>);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let (name, value) = self.next_nodes()?;
        Some((name.as_str()?, value))
    }
}
