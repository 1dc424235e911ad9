//! From the tree to each module's typed settings, so that every refusal knows the place it speaks of.
//!
//! Not a check of what the settings mean together; that is `check`. Refusals never repeat a text value.

use std::fmt::Display;

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, Expected, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::tree::{Key, Node, Origin, Value};

/// Why a value is not what its place asks for.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) help: Option<String>,
    pub(crate) origin: Option<Origin>,
}

/// The typed value of a tree.
pub(crate) fn typed<T: DeserializeOwned>(node: &Node) -> Result<T, Refusal> {
    T::deserialize(node)
}

/// The candidate that `word` was probably meant to be.
pub(crate) fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|candidate| (strsim::jaro_winkler(word, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

impl Refusal {
    fn new(message: impl Into<String>, help: Option<String>) -> Self {
        Refusal { message: message.into(), help, origin: None }
    }

    fn unknown(what: &str, word: &str, known: &'static [&'static str]) -> Self {
        let help = match nearest(word, known.iter().copied()) {
            Some(meant) => format!("did you mean `{meant}`?"),
            None => format!("known here: {}", known.join(", ")),
        };
        Refusal::new(format!("unknown {what} `{word}`"), Some(help))
    }

    /// The same, blamed on `origin` unless something deeper was blamed already.
    fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }
}

impl Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

impl Error for Refusal {
    fn custom<T: Display>(message: T) -> Self {
        Refusal::new(plainly(&message.to_string()), None)
    }
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let expected = plainly(&expected.to_string());
        let quotes = matches!(found, Unexpected::Unsigned(_) | Unexpected::Bool(_)) && expected == "text";
        let help = quotes.then(|| "put the value in quotes".to_owned());
        Refusal::new(format!("expected {expected}, found {}", kind(&found)), help)
    }
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }
    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Refusal::unknown("key", field, known)
    }
    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Refusal::unknown("word", variant, known)
    }
    fn missing_field(field: &'static str) -> Self {
        Refusal::new(format!("`{field}` is missing here"), None)
    }
}

/// What serde says, in a config writer's words.
fn plainly(expected: &str) -> String {
    match expected {
        "a string" => "text".to_owned(),
        "a boolean" => "`true` or `false`".to_owned(),
        "a sequence" => "a list".to_owned(),
        "u16" | "u32" | "u64" | "usize" => "a whole number, not negative".to_owned(),
        "i32" | "i64" => "a whole number".to_owned(),
        "socket address" => "an address such as 127.0.0.1:8080".to_owned(),
        "invalid socket address syntax" => "not an address such as 127.0.0.1:8080".to_owned(),
        "path string" => "a path".to_owned(),
        _ if expected.starts_with("struct ") => "a map of settings".to_owned(),
        _ => expected.to_owned(),
    }
}

/// What was found, without its text.
fn kind(found: &Unexpected<'_>) -> String {
    match found {
        Unexpected::Str(_) | Unexpected::Char(_) | Unexpected::Bytes(_) => "text".to_owned(),
        Unexpected::Unit | Unexpected::Option => "nothing".to_owned(),
        Unexpected::Seq => "a list".to_owned(),
        Unexpected::Map => "a map".to_owned(),
        Unexpected::Unsigned(number) => format!("the number {number}"),
        Unexpected::Signed(number) => format!("the number {number}"),
        Unexpected::Float(number) => format!("the number {number}"),
        other => other.to_string(),
    }
}

impl Node {
    fn visit<'de, V: Visitor<'de>>(&self, visitor: V) -> Result<V::Value, Refusal> {
        match &self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Unsigned(value) => visitor.visit_u64(*value),
            Value::Signed(value) => visitor.visit_i64(*value),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(value) => visitor.visit_str(value),
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(Entries { rest: entries.iter(), value: None }),
        }
    }
}

impl<'de> Deserializer<'de> for &Node {
    type Error = Refusal;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        self.visit(visitor).map_err(|refusal| refusal.at(&self.origin))
    }
    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refusal> {
        if matches!(self.value, Value::Null) { visitor.visit_none() } else { visitor.visit_some(self) }
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        visitor.visit_newtype_struct(self)
    }
    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        // A section whose lines are all comments is an empty one.
        let empty = Entries { rest: [].iter(), value: None };
        match self.value {
            Value::Null => visitor.visit_map(empty).map_err(|refusal| refusal.at(&self.origin)),
            // serde would take a list for the fields in their order.
            Value::List(_) => Err(Refusal::invalid_type(Unexpected::Seq, &visitor).at(&self.origin)),
            _ => self.deserialize_any(visitor),
        }
    }
    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refusal> {
        let Value::Text(word) = &self.value else {
            return Err(Refusal::new(format!("expected one of {}", words.join(", ")), None).at(&self.origin));
        };
        let word: StrDeserializer<'_, Refusal> = word.as_str().into_deserializer();
        visitor.visit_enum(word).map_err(|refusal| refusal.at(&self.origin))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        seq tuple tuple_struct map identifier ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'_> {
    type Error = Refusal;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refusal> {
        self.0.next().map(|item| seed.deserialize(item)).transpose()
    }
}

struct Entries<'a> {
    rest: std::slice::Iter<'a, (Key, Node)>,
    value: Option<&'a Node>,
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Refusal;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refusal> {
        let Some((key, value)) = self.rest.next() else { return Ok(None) };
        self.value = Some(value);
        let name: StrDeserializer<'_, Refusal> = key.name.as_str().into_deserializer();
        seed.deserialize(name).map(Some).map_err(|refusal| refusal.at(&key.origin))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refusal> {
        let value =
            self.value.take().ok_or_else(|| Refusal::new("a value was asked for before its key", None))?;
        seed.deserialize(value).map_err(|refusal| refusal.at(&value.origin))
    }
}
