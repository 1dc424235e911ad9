//! Raw events to events: the JSON is checked once, the attributes are found by the route's rules or read
//! from a CloudEvents envelope. Whether the data is what a schema promises is not asked here.

use bumpalo::Bump;

use super::document::{self, Document};
use super::{Attributes, Event, Headers, Limits, RawEvent, Selected, Selector, binary, protobuf, structured};
use crate::problem::{Code, Problem};

/// How a route finds the attributes of a plain JSON event.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Where the id is; minted as a UUIDv7 when `None` or absent.
    pub id: Option<Selector>,
    /// What type an event has.
    pub event_type: TypeRule,
    /// The `source` of every event of the route.
    pub source: String,
}

/// How a plain event gets its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TypeRule {
    /// The same for all.
    Constant(String),
    /// From the event or its request; an event without it is refused.
    From(Selector),
}

/// The longest `id`, `source` or `type`, in bytes.
pub const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// Turns raw events into events, reusing its buffers. One per worker.
pub struct Parser {
    documents: document::Parser,
    limits: Limits,
}

impl Parser {
    /// A parser with these bounds.
    pub fn new(limits: Limits) -> Self {
        let documents = document::Parser::new(document::Limits {
            depth_max: limits.depth_max,
            nodes_max: limits.nodes_max,
        });
        Parser { documents, limits }
    }

    /// Parses a plain JSON event; its attributes come from the route's rules.
    pub fn plain<'a>(
        &mut self,
        arena: &'a Bump,
        raw: RawEvent<'a>,
        headers: &'a Headers,
        rules: &'a Rules,
    ) -> Result<Event<'a>, Problem> {
        let document = self.document(arena, raw.bytes)?;
        let unnamed = Attributes {
            id: "",
            source: &rules.source,
            event_type: "",
            ce_subject: None,
            time: None,
            dataschema: None,
            content_type: "application/json",
            extensions: &[],
        };
        let mut event = Event { attributes: unnamed, data: raw.bytes, document: Some(document), headers };
        event.attributes.id = plain_id(arena, &event, rules, raw.index)?;
        event.attributes.event_type = plain_type(arena, &event, rules)?;
        Ok(event)
    }

    /// Parses a CloudEvent in structured mode (CloudEvents 1.0.2, JSON format §3).
    pub fn structured<'a>(
        &mut self,
        arena: &'a Bump,
        raw: RawEvent<'a>,
        headers: &'a Headers,
    ) -> Result<Event<'a>, Problem> {
        let envelope = self.document(arena, raw.bytes)?;
        let attributes = structured::attributes(arena, envelope.root())?;
        let data = structured::data(arena, envelope.root(), raw.bytes, attributes.content_type)?;
        self.carried(arena, attributes, data, headers)
    }

    /// Reads a CloudEvent in binary mode: its attributes are headers, the body is its data.
    pub fn binary<'a>(
        &mut self,
        arena: &'a Bump,
        raw: RawEvent<'a>,
        headers: &'a Headers,
    ) -> Result<Event<'a>, Problem> {
        let attributes = binary::attributes(arena, headers)?;
        self.carried(arena, attributes, raw.bytes, headers)
    }

    /// An event whose attributes came with it. Its data is looked into only if it says that it is JSON.
    fn carried<'a>(
        &mut self,
        arena: &'a Bump,
        attributes: Attributes<'a>,
        data: &'a [u8],
        headers: &'a Headers,
    ) -> Result<Event<'a>, Problem> {
        self.within_limit(data)?;
        let json = is_json(attributes.content_type) && !data.is_empty();
        let document = if json { Some(self.document(arena, data)?) } else { None };
        Ok(Event { attributes, data, document, headers })
    }

    /// Parses a CloudEvent in protobuf (CloudEvents 1.0.2, Protobuf Event Format).
    pub fn protobuf<'a>(
        &mut self,
        arena: &'a Bump,
        raw: RawEvent<'a>,
        headers: &'a Headers,
    ) -> Result<Event<'a>, Problem> {
        self.within_limit(raw.bytes)?;
        let (attributes, data) = protobuf::cloud_event(arena, raw.bytes)?;
        let json = is_json(attributes.content_type) && !data.is_empty();
        let document = if json { Some(self.document(arena, data)?) } else { None };
        Ok(Event { attributes, data, document, headers })
    }

    /// Checks bytes that a plugin made of an event, within the same limits.
    pub fn reparse<'a>(
        &mut self,
        arena: &'a Bump,
        event: Event<'a>,
        data: &'a [u8],
    ) -> Result<Event<'a>, Problem> {
        let document = self.document(arena, data)?;
        let replaced = Event { data, document: Some(document), ..event };
        Ok(replaced)
    }

    /// Checks one JSON text within the limits.
    pub fn document<'a>(&mut self, arena: &'a Bump, bytes: &[u8]) -> Result<Document<'a>, Problem> {
        self.within_limit(bytes)?;
        self.documents.parse(arena, bytes).map_err(|error| Problem::new(error.code(), error.to_string()))
    }

    fn within_limit(&self, bytes: &[u8]) -> Result<(), Problem> {
        if bytes.len() <= self.limits.event_bytes_max {
            return Ok(());
        }
        let detail = format!("an event may have at most {} bytes", self.limits.event_bytes_max);
        Err(Problem::new(Code::EventTooLarge, detail))
    }
}

/// Whether a media type says that the data is JSON (RFC 6839 §3.1).
pub fn is_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || essence.eq_ignore_ascii_case("text/json")
        || essence.to_ascii_lowercase().ends_with("+json")
}

fn plain_id<'a>(
    arena: &'a Bump,
    event: &Event<'a>,
    rules: &Rules,
    index: Option<usize>,
) -> Result<&'a str, Problem> {
    let selector = rules.id.as_ref();
    let given = selector.and_then(|selector| event.select(selector)).and_then(Selected::entity);
    let from_header = matches!(selector, Some(Selector::Header(_)));
    let id: &str = match (given, index) {
        (Some(text), Some(index)) if from_header => {
            bumpalo::format!(in arena, "{}#{}", text, index).into_bump_str()
        }
        (Some(text), _) => arena.alloc_str(text),
        (None, _) => {
            let mut buffer = [0; uuid::fmt::Hyphenated::LENGTH];
            arena.alloc_str(uuid::Uuid::now_v7().hyphenated().encode_lower(&mut buffer))
        }
    };
    attribute("id", id)
}

fn plain_type<'a>(arena: &'a Bump, event: &Event<'a>, rules: &'a Rules) -> Result<&'a str, Problem> {
    match &rules.event_type {
        TypeRule::Constant(constant) => Ok(constant),
        TypeRule::From(selector) => {
            let found = event.select(selector).and_then(Selected::entity).ok_or_else(|| {
                let detail = format!("this route takes the event's type from `{selector}`, which is absent");
                Problem::new(Code::InvalidAttribute, detail)
            })?;
            attribute("type", arena.alloc_str(found))
        }
    }
}

/// Refuses texts that no consumer could carry on: empty, too long, or with control characters.
pub(super) fn attribute<'a>(name: &str, text: &'a str) -> Result<&'a str, Problem> {
    let refused =
        |why: &str| Err(Problem::new(Code::InvalidAttribute, format!("the event's `{name}` {why}")));
    if text.is_empty() {
        refused("is empty")
    } else if text.len() > ATTRIBUTE_BYTES_MAX {
        refused("is longer than 1024 bytes")
    } else if text.chars().any(char::is_control) {
        refused("holds control characters")
    } else {
        Ok(text)
    }
}

/// Refuses a name that is no CloudEvents attribute's (CloudEvents 1.0.2 §3.1).
pub(super) fn attribute_name(name: &str) -> Result<(), Problem> {
    let named = (1..=20).contains(&name.len())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    if named { Ok(()) } else { Err(invalid("attribute names are 1 to 20 characters of a-z and 0-9")) }
}

/// Refuses a `time` that is no RFC 3339 timestamp.
pub(super) fn timestamp(time: &str) -> Result<(), Problem> {
    let parsed = time.parse::<jiff::Timestamp>();
    parsed.map(drop).map_err(|_| invalid("`time` must be an RFC 3339 timestamp"))
}

pub(super) fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::CloudEventsInvalid, detail)
}
