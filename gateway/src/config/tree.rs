//! The config as a tree of values that remember where they were written: the file's bytes or a variable.
//!
//! Not typed: what a key means is said by each module's `Settings` (see `typed`).

use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Location, Spanned};

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// In the file: byte offset and length (0 = only the start is known).
    File { offset: usize, length: usize },
    /// In this environment variable.
    Variable(Arc<str>),
}

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A YAML value.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Key, Node)>),
}

/// A key of a map and where it was written.
#[derive(Clone, Debug)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

impl Node {
    /// The value under `step`: a key of a map (in any case) or an index of a list.
    pub(crate) fn child(&self, step: &str) -> Option<(&Origin, &Node)> {
        match &self.value {
            Value::Map(entries) => entries
                .iter()
                .find(|(key, _)| key.name.eq_ignore_ascii_case(step))
                .map(|(key, node)| (&key.origin, node)),
            Value::List(items) => items.get(step.parse::<usize>().ok()?).map(|node| (&node.origin, node)),
            _ => None,
        }
    }

    /// Where the value at a path was written, or else the nearest thing around it.
    pub(crate) fn locate<'a>(&'a self, path: impl IntoIterator<Item = &'a str>) -> &'a Origin {
        let (mut origin, mut node) = (&self.origin, self);
        for step in path {
            let Some((key, next)) = node.child(step) else { return origin };
            node = next;
            origin = if matches!(node.value, Value::Map(_) | Value::List(_)) { key } else { &node.origin };
        }
        origin
    }

    /// Puts `value` at `path`, making the maps on the way. Errors with why the path leads nowhere.
    pub(crate) fn put(&mut self, path: &[&str], value: Node) -> Result<(), String> {
        let [step, rest @ ..] = path else {
            *self = value;
            return Ok(());
        };
        let origin = value.origin.clone();
        if matches!(self.value, Value::Null) {
            self.value = Value::Map(Vec::new());
        }
        match &mut self.value {
            Value::Map(entries) => {
                let known = entries.iter().position(|(key, _)| key.name.eq_ignore_ascii_case(step));
                let at = known.unwrap_or_else(|| {
                    let key = Key { name: step.to_ascii_lowercase(), origin: origin.clone() };
                    entries.push((key, Node { value: Value::Null, origin }));
                    entries.len() - 1
                });
                entries[at].1.put(rest, value)
            }
            Value::List(items) => {
                let length = items.len();
                match step.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                    Some(item) => item.put(rest, value),
                    None => Err(format!("`{step}` is not an index of a list of {length}")),
                }
            }
            _ => Err(format!("there is nothing to set below, where `{step}` is looked for")),
        }
    }
}

/// Reads YAML text. `variable` names the environment variable it comes from, if it is not the file.
pub(crate) fn parse(text: &str, variable: Option<&Arc<str>>) -> Result<Node, serde_saphyr::Error> {
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let mut node = Node::spanned(serde_saphyr::from_str_with_options(text, options)?);
    if let Some(name) = variable {
        attribute(&mut node, name);
    }
    Ok(node)
}

fn attribute(node: &mut Node, name: &Arc<str>) {
    node.origin = Origin::Variable(name.clone());
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| attribute(item, name)),
        Value::Map(entries) => entries.iter_mut().for_each(|(key, item)| {
            key.origin = Origin::Variable(name.clone());
            attribute(item, name);
        }),
        _ => {}
    }
}

fn origin(location: &Location) -> Origin {
    let span = location.span();
    let bytes = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
    Origin::File { offset: bytes(span.byte_offset()), length: bytes(span.byte_len()) }
}

impl Node {
    fn spanned(spanned: Spanned<Raw>) -> Node {
        Node { origin: origin(&spanned.referenced), value: spanned.value.0 }
    }
}

/// A value on its way from the parser.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Build).map(Raw)
    }
}

struct Build;

impl<'de> Visitor<'de> for Build {
    type Value = Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a YAML value")
    }
    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }
    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Unsigned(value))
    }
    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(u64::try_from(value).map_or(Value::Signed(value), Value::Unsigned))
    }
    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Float(value))
    }
    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element::<Spanned<Raw>>()? {
            list.push(Node::spanned(item));
        }
        Ok(Value::List(list))
    }
    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut map = Vec::new();
        while let Some((key, item)) = entries.next_entry::<Spanned<String>, Spanned<Raw>>()? {
            map.push((Key { origin: origin(&key.referenced), name: key.value }, Node::spanned(item)));
        }
        Ok(Value::Map(map))
    }
}

/// Where the text stops being YAML.
pub(crate) fn error_origin(error: &serde_saphyr::Error) -> Option<Origin> {
    error.location().map(|location| origin(&location))
}

/// Why the text is not YAML, without its place.
pub(crate) fn error_text(error: &serde_saphyr::Error) -> String {
    serde_saphyr::MessageFormatter::format_message(&serde_saphyr::UserMessageFormatter, error).into_owned()
}
