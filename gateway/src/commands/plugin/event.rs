//! Events as their author writes them down, read by the gateway's own parser.

use bumpalo::Bump;
use serde_json::{Map, Value, json};

use crate::event::splice::json_set;
use crate::event::{Event, Headers, Limits, Parser, RawEvent, Selected, Selector};
use crate::plugin::{Plugin, Source};

/// What a plugin finds at any place where it looks, in an event that was made up for it.
const MADE_UP: &str = "u-12345678";
/// When events were received that do not say: 2026-01-01.
const TIME_NS: u64 = 1_767_225_600_000_000_000;

/// One event, not parsed yet: a CloudEvent and the headers of its request.
#[derive(Debug)]
pub(super) struct Written {
    envelope: Vec<u8>,
    headers: Headers,
}

impl Written {
    /// An event of which only the data matters, as plain JSON.
    pub(super) fn plain(data: &[u8]) -> Result<Self, String> {
        let checked = parser().document(&Bump::new(), data).map(drop);
        checked.map_err(|problem| problem.to_string())?;
        Written::new(data, Map::new(), [])
    }

    /// A CloudEvent in structured mode.
    pub(super) fn cloud_event(envelope: &[u8]) -> Self {
        Written { envelope: envelope.to_owned(), headers: Headers::new() }
    }

    /// An event with this data, which is JSON, and whatever else it says.
    pub(super) fn new<'h>(
        data: &[u8],
        attributes: Map<String, Value>,
        headers: impl IntoIterator<Item = (&'h str, &'h str)>,
    ) -> Result<Self, String> {
        let mut envelope = json!({"specversion": "1.0", "id": "1", "source": "/weir/plugin", "type": "test"});
        envelope.as_object_mut().into_iter().for_each(|all| all.extend(attributes.clone()));
        let place = "/data".parse().map_err(|_| "the data has no place")?;
        let envelope =
            json_set(envelope.to_string().as_bytes(), &place, data).map_err(|error| error.to_string())?;
        let header = |(name, value): (&str, &str)| {
            let parsed = (name.parse::<http::HeaderName>(), value.parse::<http::HeaderValue>());
            if let (Ok(name), Ok(value)) = parsed {
                Ok((name, value))
            } else {
                Err(format!("`{name}` is no header"))
            }
        };
        Ok(Written { envelope, headers: headers.into_iter().map(header).collect::<Result<_, _>>()? })
    }

    /// An event that has whatever a plugin reads.
    pub(super) fn made_up(plugin: &Plugin) -> Result<Self, String> {
        let (mut data, mut attributes, mut headers) = (json!({}), Map::new(), Vec::new());
        for field in plugin.fields() {
            match field {
                Selector::Data(pointer) => put(&mut data, pointer.as_str()),
                Selector::Header(name) => headers.push((name.as_str(), MADE_UP)),
                Selector::Attribute(name) => match name.as_str() {
                    "specversion" | "datacontenttype" | "data" => {}
                    "time" => drop(attributes.insert(name.clone(), "2026-01-01T00:00:00Z".into())),
                    _ => drop(attributes.insert(name.clone(), MADE_UP.into())),
                },
            }
        }
        Written::new(data.to_string().as_bytes(), attributes, headers)
    }

    /// Parses it.
    pub(super) fn read<'a>(&'a self, arena: &'a Bump) -> Result<Event<'a>, String> {
        let raw = RawEvent { bytes: &self.envelope, index: None };
        parser().structured(arena, raw, &self.headers).map_err(|problem| problem.to_string())
    }
}

/// A parser with the gateway's default limits.
pub(super) fn parser() -> Parser {
    Parser::new(Limits::default())
}

/// Puts a text where a pointer leads, in objects within objects.
fn put(data: &mut Value, pointer: &str) {
    let mut place = data;
    for token in pointer.split('/').skip(1) {
        if !place.is_object() {
            *place = json!({});
        }
        place = &mut place[token.replace("~1", "/").replace("~0", "~")];
    }
    if place.is_null() {
        *place = MADE_UP.into();
    }
}

/// Events for one call.
pub(super) struct Batch<'e, 'a> {
    events: &'e [Event<'a>],
    times_ns: Vec<u64>,
}

impl<'e, 'a> Batch<'e, 'a> {
    /// Each was received at the time that it names itself, so that it is the same in every run.
    pub(super) fn new(events: &'e [Event<'a>]) -> Self {
        let time_ns = |event: &Event<'_>| {
            let said: jiff::Timestamp = event.attributes().time?.parse().ok()?;
            u64::try_from(said.as_nanosecond()).ok()
        };
        let times_ns = events.iter().map(|event| time_ns(event).unwrap_or(TIME_NS)).collect();
        Batch { events, times_ns }
    }
}

impl Source for Batch<'_, '_> {
    fn len(&self) -> usize {
        self.events.len()
    }

    fn select(&self, event: usize, selector: &Selector) -> Option<Selected<'_>> {
        self.events[event].select(selector)
    }

    fn payload(&self, event: usize) -> &[u8] {
        self.events[event].data()
    }

    fn time_ns(&self, event: usize) -> u64 {
        self.times_ns[event]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_byte_for_byte_and_the_rest_as_said() {
        let attributes = json!({"type": "order", "time": "1970-01-01T00:00:01Z"}).as_object().cloned();
        let written = Written::new(b"{\"n\": 1.50}", attributes.unwrap_or_default(), [("x-tenant", "t1")])
            .expect("is written");
        let arena = Bump::new();
        let event = written.read(&arena).expect("is read");
        assert_eq!(event.data(), b"{\"n\": 1.50}");
        let select = |selector: &str| event.select(&selector.parse().expect("a selector"));
        assert_eq!(select("data:/n"), Some(Selected::Number(b"1.50")));
        assert_eq!(select("attr:type"), Some(Selected::Text("order")));
        assert_eq!(select("attr:source"), Some(Selected::Text("/weir/plugin")));
        assert_eq!(select("header:x-tenant"), Some(Selected::Text("t1")));
        assert_eq!(Batch::new(&[event]).time_ns(0), 1_000_000_000);
    }

    #[test]
    fn what_is_not_json_is_refused_as_the_gateway_refuses_it() {
        assert!(Written::plain(b"{\"a\": 1, \"a\": 2}").expect_err("is refused").contains("twice"));
        assert!(Written::plain(b"1, \"id\": \"x\"").is_err());
        assert!(Written::plain(b"[1]").is_ok());
    }

    #[test]
    fn what_is_made_up_lies_where_the_pointers_lead() {
        let mut data = json!({});
        ["/user/id", "/user", "/a~1b/0", ""].iter().for_each(|pointer| put(&mut data, pointer));
        assert_eq!(data, json!({"user": {"id": MADE_UP}, "a/b": {"0": MADE_UP}}));
    }
}
