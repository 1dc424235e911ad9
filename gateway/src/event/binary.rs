//! CloudEvents in binary mode: each attribute is a header, the body is the data (CloudEvents 1.0.2, HTTP §3.1).

use bumpalo::Bump;
use bumpalo::collections::Vec as BumpVec;
use http::header::{CONTENT_TYPE, HeaderValue};

use super::parse::{attribute, attribute_name, invalid, timestamp};
use super::{Attributes, Headers};
use crate::problem::Problem;

const PREFIX: &str = "ce-";
/// Those that have a place of their own in [`Attributes`].
const CORE: [&str; 7] = ["specversion", "id", "source", "type", "subject", "time", "dataschema"];

/// Whether a request's headers hold an event's attributes.
pub fn is_binary(headers: &Headers) -> bool {
    headers.keys().any(|name| name.as_str().starts_with(PREFIX))
}

/// The attributes in a request's headers.
pub(super) fn attributes<'a>(arena: &'a Bump, headers: &'a Headers) -> Result<Attributes<'a>, Problem> {
    let optional = |name: &str| {
        let mut buffer = [0; PREFIX.len() + 20];
        let mut values = headers.get_all(header_name(name, &mut buffer)).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => attribute(name, decode(arena, name, value)?).map(Some),
            (Some(_), Some(_)) => Err(invalid(format!("there are two headers `{PREFIX}{name}`"))),
        }
    };
    let required = |name| optional(name)?.ok_or_else(|| invalid(format!("`{PREFIX}{name}` is required")));
    if required("specversion")? != "1.0" {
        return Err(invalid("`ce-specversion` must be 1.0"));
    }
    let mut extensions = BumpVec::new_in(arena);
    for name in headers.keys().filter_map(|name| name.as_str().strip_prefix(PREFIX)) {
        attribute_name(name)?;
        match name {
            "datacontenttype" => return Err(invalid("in binary mode `content-type` is the data's")),
            "data" => return Err(invalid("in binary mode the body is the data")),
            _ if CORE.contains(&name) => {}
            _ => {
                let header = bumpalo::format!(in arena, "ce_{}", name).into_bump_str();
                extensions.extend(optional(name)?.map(|value| (header, value)));
            }
        }
    }
    let time = optional("time")?;
    time.map_or(Ok(()), timestamp)?;
    Ok(Attributes {
        id: required("id")?,
        source: required("source")?,
        event_type: required("type")?,
        ce_subject: optional("subject")?,
        time,
        dataschema: optional("dataschema")?,
        content_type: content_type(headers)?,
        extensions: extensions.into_bump_slice(),
    })
}

/// What the data is; empty when nothing says it.
fn content_type(headers: &Headers) -> Result<&str, Problem> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok("") };
    let text = value.to_str().map_err(|_| invalid("`content-type` is no media type"))?;
    if text.is_empty() { Ok(text) } else { attribute("datacontenttype", text) }
}

fn header_name<'b>(attribute: &str, buffer: &'b mut [u8]) -> &'b str {
    let end = PREFIX.len() + attribute.len();
    buffer[..PREFIX.len()].copy_from_slice(PREFIX.as_bytes());
    buffer[PREFIX.len()..end].copy_from_slice(attribute.as_bytes());
    std::str::from_utf8(&buffer[..end]).expect("made of two texts")
}

/// A header's value as an attribute: a quoted string is unquoted, then percent-encoding is undone once
/// (CloudEvents 1.0.2, HTTP §3.1.3.2).
fn decode<'a>(arena: &'a Bump, name: &str, value: &'a HeaderValue) -> Result<&'a str, Problem> {
    let refused = || invalid(format!("`{PREFIX}{name}` is not percent-encoded UTF-8"));
    let text = value.to_str().map_err(|_| refused())?;
    let quoted = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    if quoted.is_none() && !text.contains('%') {
        return Ok(text);
    }
    let mut decoded = BumpVec::with_capacity_in(text.len(), arena);
    let mut bytes = quoted.unwrap_or(text).bytes();
    while let Some(byte) = bytes.next() {
        let plain = match byte {
            b'\\' if quoted.is_some() => bytes.next().ok_or_else(refused)?,
            byte => byte,
        };
        decoded.push(match plain {
            b'%' => {
                let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
                let (high, low) = (digit(bytes.next()), digit(bytes.next()));
                let value = high.zip(low).map(|(high, low)| high << 4 | low).ok_or_else(refused)?;
                u8::try_from(value).map_err(|_| refused())?
            }
            plain => plain,
        });
    }
    std::str::from_utf8(decoded.into_bump_slice()).map_err(|_| refused())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problem::Code;

    const WHOLE: [(&str, &str); 4] =
        [("ce-specversion", "1.0"), ("ce-id", "1"), ("ce-source", "/s"), ("ce-type", "t")];

    fn headers(more: &[(&'static str, &str)]) -> Headers {
        let mut headers = Headers::new();
        for (name, value) in WHOLE.iter().chain(more) {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).expect("a header value"));
        }
        headers
    }

    fn subject(value: &str) -> Result<String, Code> {
        let (arena, headers) = (Bump::new(), headers(&[("ce-subject", value)]));
        let found = attributes(&arena, &headers);
        found.map(|found| found.ce_subject.unwrap_or_default().to_owned()).map_err(|problem| problem.code)
    }

    #[test]
    fn values_are_unquoted_and_percent_decoded_once() {
        let cases = [
            ("plain", "plain"),
            ("Euro%20%E2%82%AC%20%F0%9F%98%80", "Euro \u{20ac} \u{1f600}"),
            ("%2520", "%20"),
            (r#""a \"b\" \\ %20c""#, r#"a "b" \  c"#),
            ("\"", "\""),
        ];
        for (value, text) in cases {
            assert_eq!(subject(value).as_deref(), Ok(text), "{value}");
        }
    }

    #[test]
    fn values_that_are_no_text_are_refused() {
        for value in ["%", "%2", "%zz", "%C0%A0", "%ED%A0%80", "%ff", "\u{20ac}", r#""a\""#] {
            assert_eq!(subject(value), Err(Code::CloudEventsInvalid), "{value}");
        }
        for value in ["%0d%0a", "%00", ""] {
            assert_eq!(subject(value), Err(Code::InvalidAttribute), "{value}");
        }
    }

    #[test]
    fn attributes_are_those_of_the_spec() {
        let arena = Bump::new();
        let headers = headers(&[("ce-traceparent", "00-1"), ("content-type", "text/plain")]);
        let found = attributes(&arena, &headers).expect("they are whole");
        assert_eq!((found.id, found.source, found.event_type), ("1", "/s", "t"));
        assert_eq!((found.content_type, found.extensions), ("text/plain", &[("ce_traceparent", "00-1")][..]));
    }

    #[test]
    fn what_is_missing_twice_or_misnamed_is_refused() {
        let cases: [(&'static str, &str); 6] = [
            ("ce-id", "2"),
            ("ce-datacontenttype", "text/plain"),
            ("ce-data", "x"),
            ("ce-my-name", "x"),
            ("ce-aname21characterslong", "x"),
            ("ce-time", "yesterday"),
        ];
        for (name, value) in cases {
            let (arena, headers) = (Bump::new(), headers(&[(name, value)]));
            let refused = attributes(&arena, &headers).expect_err(name);
            assert_eq!(refused.code, Code::CloudEventsInvalid, "{name}");
        }
        for (name, _) in WHOLE {
            let (arena, mut headers) = (Bump::new(), headers(&[]));
            headers.remove(name);
            assert!(attributes(&arena, &headers).is_err(), "{name}");
        }
    }
}
