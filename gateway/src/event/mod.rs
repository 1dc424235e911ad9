//! The event: what was received, and the same checked and with its attributes known. Nothing here knows
//! of schemas, topics or HTTP; a route's rules for finding attributes arrive as [`Rules`].

pub mod binary;
pub mod budget;
pub mod document;
pub mod frame;
pub mod parse;
pub mod protobuf;
pub mod selector;
pub mod splice;
pub mod structured;
pub mod text;
pub mod trace;

use self::document::{Document, Kind, Node, locate};
pub use self::parse::{Parser, Rules, TypeRule};
pub use self::selector::Selector;

/// Bounds on one event; each is a limit, not a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one event's JSON.
    pub event_bytes_max: usize,
    /// Events in one request.
    pub batch_events_max: usize,
    /// Nesting of arrays and objects.
    pub depth_max: usize,
    /// Values, keys and brackets in one event.
    pub nodes_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { event_bytes_max: 1 << 20, batch_events_max: 10_000, depth_max: 64, nodes_max: 50_000 }
    }
}

/// The headers of a request, as far as rules and plugins may read them.
pub type Headers = http::HeaderMap;

/// One event as received: its bytes are a slice of the request's one buffer.
#[derive(Clone, Copy, Debug)]
pub struct RawEvent<'a> {
    /// The JSON text, exactly as sent.
    pub bytes: &'a [u8],
    /// Its place in a batch; `None` when it came alone.
    pub index: Option<usize>,
}

/// The CloudEvents attributes of one event (CloudEvents 1.0.2 §3), borrowed from its chunk.
#[derive(Clone, Copy, Debug)]
pub struct Attributes<'a> {
    /// Unique within `source`.
    pub id: &'a str,
    /// Where it happened; a URI reference.
    pub source: &'a str,
    /// What kind of fact it is.
    pub event_type: &'a str,
    /// What within the source it is about; `ce_subject`, not the registry's subject.
    pub ce_subject: Option<&'a str>,
    /// When it happened, RFC 3339.
    pub time: Option<&'a str>,
    /// The client's word for the schema of the data; carried on, never fetched.
    pub dataschema: Option<&'a str>,
    /// The media type of the data; empty when nothing says it.
    pub content_type: &'a str,
    /// Extension attributes in the order sent: record header name (`ce_` and the attribute's) and value.
    pub extensions: &'a [(&'a str, &'a str)],
}

impl<'a> Attributes<'a> {
    /// An attribute by its CloudEvents name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        match name {
            "id" => Some(self.id),
            "source" => Some(self.source),
            "type" => Some(self.event_type),
            "subject" => self.ce_subject,
            "time" => self.time,
            "dataschema" => self.dataschema,
            "datacontenttype" => Some(self.content_type).filter(|text| !text.is_empty()),
            "specversion" => Some("1.0"),
            _ => {
                let named = |header: &str| header.strip_prefix("ce_") == Some(name);
                self.extensions.iter().find(|(header, _)| named(header)).map(|(_, value)| *value)
            }
        }
    }
}

/// A parsed event: attributes known, data checked as JSON, original bytes untouched.
#[derive(Clone, Copy, Debug)]
pub struct Event<'a> {
    attributes: Attributes<'a>,
    data: &'a [u8],
    document: Option<Document<'a>>,
    headers: &'a Headers,
}

/// A value that a selector found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Selected<'a> {
    /// A string, unescaped.
    Text(&'a str),
    /// A number, as its source text.
    Number(&'a [u8]),
    /// Anything else, as its source text.
    Other(Kind, &'a [u8]),
}

impl<'a> Selected<'a> {
    /// The text that names an entity: a string's characters or an integer's digits; anything else is none.
    pub fn entity(self) -> Option<&'a str> {
        match self {
            Selected::Text(text) => (!text.is_empty()).then_some(text),
            Selected::Number(digits) => {
                let integer = digits.iter().all(|b| b.is_ascii_digit() || *b == b'-');
                if integer { std::str::from_utf8(digits).ok() } else { None }
            }
            Selected::Other(..) => None,
        }
    }
}

impl<'a> Event<'a> {
    /// The attributes.
    pub fn attributes(&self) -> &Attributes<'a> {
        &self.attributes
    }

    /// The original bytes of the data.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// The root of the data's tape; `None` when the data is not JSON.
    pub fn root(&self) -> Option<Node<'_>> {
        self.document.as_ref().map(Document::root)
    }

    /// The value a selector points at, if it is there.
    pub fn select(&self, selector: &Selector) -> Option<Selected<'_>> {
        match selector {
            Selector::Attribute(name) => self.attributes.get(name).map(Selected::Text),
            Selector::Header(name) => self.headers.get(name)?.to_str().ok().map(Selected::Text),
            Selector::Data(pointer) => {
                let node = self.root()?.pointer(pointer)?;
                if let Some(text) = node.as_str() {
                    return Some(Selected::Text(text));
                }
                let source = self.data.get(locate(self.data, pointer)?)?;
                Some(match node.kind() {
                    Kind::Integer | Kind::Float => Selected::Number(source),
                    kind => Selected::Other(kind, source),
                })
            }
        }
    }
}
