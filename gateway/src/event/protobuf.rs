//! CloudEvents in protobuf (CloudEvents 1.0.2, Protobuf Event Format), read in place: texts and data are slices of the
//! message. Wire format: protobuf.dev, "Encoding". Fields that are not known are passed over; of a field that is there
//! twice the last one counts; groups, which proto3 does not have, are refused. It recurses into nothing.

use base64::Engine as _;
use bumpalo::Bump;
use bytes::{BufMut as _, Bytes, BytesMut};

use super::Attributes;
use super::parse::attribute;
use crate::problem::{Code, Problem};

/// The value of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// An integer, a boolean or an enum.
    Number(u64),
    /// A text, bytes or a message.
    Bytes(&'a [u8]),
    /// Four or eight bytes; no field that is read here.
    Fixed,
}

/// The fields of a message in order. After an error there are no more.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

/// The fields of a message.
pub fn fields(message: &[u8]) -> Fields<'_> {
    Fields(message)
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), Problem>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.read();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field.ok_or_else(|| invalid("the message is not valid protobuf")))
    }
}

impl<'a> Fields<'a> {
    fn read(&mut self) -> Option<(u64, Value<'a>)> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return None,
        };
        (key >> 3 > 0).then_some((key >> 3, value))
    }

    fn varint(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first()?;
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                return None;
            }
            number |= bits << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
}

/// A batch of these events, whose bytes stay as they are.
pub fn batch<'a>(events: impl Iterator<Item = &'a [u8]>) -> Bytes {
    let mut batch = BytesMut::new();
    for event in events {
        batch.put_u8(1 << 3 | 2);
        let mut length = event.len();
        while length >= 0x80 {
            batch.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        batch.put_u8(u8::try_from(length).unwrap_or_default());
        batch.put_slice(event);
    }
    batch.freeze()
}

/// The text of a field of a message; empty if it is not there.
pub fn text_of(message: &[u8], wanted: u64) -> Result<&str, Problem> {
    let mut found = "";
    for field in fields(message) {
        if let (number, Value::Bytes(bytes)) = field?
            && number == wanted
        {
            found = text(bytes)?;
        }
    }
    Ok(found)
}

/// The number in a field of a message; 0 if it is not there.
pub fn number_of(message: &[u8], wanted: u64) -> Result<u64, Problem> {
    let mut found = 0;
    for field in fields(message) {
        if let (number, Value::Number(value)) = field?
            && number == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

/// The attributes and the data of an `io.cloudevents.v1.CloudEvent`.
pub(super) fn cloud_event<'a>(
    arena: &'a Bump,
    message: &'a [u8],
) -> Result<(Attributes<'a>, &'a [u8]), Problem> {
    let (mut id, mut source, mut version, mut event_type) = ("", "", "", "");
    let mut data: &[u8] = &[];
    let mut optional = Optional::default();
    let mut extensions = bumpalo::collections::Vec::new_in(arena);
    for field in fields(message) {
        match field? {
            (1, Value::Bytes(bytes)) => id = text(bytes)?,
            (2, Value::Bytes(bytes)) => source = text(bytes)?,
            (3, Value::Bytes(bytes)) => version = text(bytes)?,
            (4, Value::Bytes(bytes)) => event_type = text(bytes)?,
            (5, Value::Bytes(entry)) => optional.take(arena, entry, &mut extensions)?,
            (6, Value::Bytes(bytes)) => data = bytes,
            (7, Value::Bytes(bytes)) => data = text(bytes)?.as_bytes(),
            (8, Value::Bytes(_)) => {
                let detail = "send binary_data and a datacontenttype instead of proto_data";
                return Err(Problem::new(Code::UnsupportedMediaType, detail));
            }
            (1..=8, _) => return Err(invalid("a field of the CloudEvent has another type")),
            _ => {}
        }
    }
    if version != "1.0" {
        return Err(invalid("`spec_version` must be \"1.0\""));
    }
    let attributes = Attributes {
        id: attribute("id", id)?,
        source: attribute("source", source)?,
        event_type: attribute("type", event_type)?,
        ce_subject: optional.ce_subject,
        time: optional.time,
        dataschema: optional.dataschema,
        content_type: optional.content_type.unwrap_or("application/json"),
        extensions: extensions.into_bump_slice(),
    };
    Ok((attributes, data))
}

/// The attributes that need not be there.
#[derive(Default)]
struct Optional<'a> {
    ce_subject: Option<&'a str>,
    time: Option<&'a str>,
    dataschema: Option<&'a str>,
    content_type: Option<&'a str>,
}

impl<'a> Optional<'a> {
    /// Takes one entry of the map `attributes`.
    fn take(
        &mut self,
        arena: &'a Bump,
        entry: &'a [u8],
        extensions: &mut bumpalo::collections::Vec<'a, (&'a str, &'a str)>,
    ) -> Result<(), Problem> {
        let (mut name, mut value): (&str, &[u8]) = ("", &[]);
        for field in fields(entry) {
            match field? {
                (1, Value::Bytes(bytes)) => name = text(bytes)?,
                (2, Value::Bytes(bytes)) => value = bytes,
                _ => {}
            }
        }
        let named = (1..=20).contains(&name.len())
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if !named {
            return Err(invalid("attribute names are 1 to 20 characters of a-z and 0-9"));
        }
        let Some(value) = attribute_text(arena, name, value)? else { return Ok(()) };
        let value = attribute(name, value)?;
        let place = match name {
            "subject" => &mut self.ce_subject,
            "time" => &mut self.time,
            "dataschema" => &mut self.dataschema,
            "datacontenttype" => &mut self.content_type,
            "id" | "source" | "type" | "specversion" | "data" => {
                return Err(invalid(format!("`{name}` is no optional attribute")));
            }
            _ => {
                let header = bumpalo::format!(in arena, "ce_{}", name).into_bump_str();
                if extensions.iter().any(|(known, _)| *known == header) {
                    return Err(twice(name));
                }
                extensions.push((header, value));
                return Ok(());
            }
        };
        if name == "time" && value.parse::<jiff::Timestamp>().is_err() {
            return Err(invalid("`time` must be a timestamp"));
        }
        if place.replace(value).is_some() { Err(twice(name)) } else { Ok(()) }
    }
}

fn twice(name: &str) -> Problem {
    Problem::new(Code::DuplicateKey, format!("the attribute `{name}` is there twice"))
}

/// The canonical text of an attribute's value (CloudEvents 1.0.2 §3.1); `None` if it has none.
fn attribute_text<'a>(arena: &'a Bump, name: &str, value: &'a [u8]) -> Result<Option<&'a str>, Problem> {
    let mut found = None;
    for field in fields(value) {
        found = Some(match field? {
            (1, Value::Number(0)) => "false",
            (1, Value::Number(_)) => "true",
            // An int32 is carried in as many as 64 bits, of which the lower ones count.
            (2, Value::Number(number)) => {
                let integer = u32::try_from(number & u64::from(u32::MAX)).unwrap_or_default().cast_signed();
                arena.alloc_str(itoa::Buffer::new().format(integer))
            }
            (3 | 5 | 6, Value::Bytes(bytes)) => text(bytes)?,
            (4, Value::Bytes(bytes)) => {
                arena.alloc_str(&base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            (7, Value::Bytes(bytes)) => timestamp(arena, name, bytes)?,
            (1..=7, _) => return Err(invalid(format!("attribute `{name}` has another type"))),
            _ => continue,
        });
    }
    Ok(found)
}

/// A `google.protobuf.Timestamp` as RFC 3339.
fn timestamp<'a>(arena: &'a Bump, name: &str, message: &[u8]) -> Result<&'a str, Problem> {
    let (seconds, nanos) = (number_of(message, 1)?.cast_signed(), number_of(message, 2)?);
    let nanos = i32::try_from(nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let time = nanos.and_then(|nanos| jiff::Timestamp::new(seconds, nanos).ok());
    let time = time.ok_or_else(|| invalid(format!("attribute `{name}` is no timestamp")))?;
    Ok(bumpalo::format!(in arena, "{}", time).into_bump_str())
}

fn text(bytes: &[u8]) -> Result<&str, Problem> {
    std::str::from_utf8(bytes)
        .map_err(|_| Problem::new(Code::InvalidUtf8, "a text of the message is not valid UTF-8"))
}

fn invalid(detail: impl Into<std::borrow::Cow<'static, str>>) -> Problem {
    Problem::new(Code::CloudEventsInvalid, detail)
}

#[cfg(test)]
mod tests;
