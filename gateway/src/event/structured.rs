//! CloudEvents in structured mode: an envelope of JSON that holds attributes and data (CloudEvents 1.0.2, JSON
//! format §3). The data's bytes are taken out of it, and put into it, as they are.

use base64::Engine as _;
use bumpalo::Bump;

use super::Attributes;
use super::document::{Kind, Node, Pointer, locate};
use super::parse::{attribute, attribute_name, invalid, is_json, timestamp};
use super::text::write_json_string;
use crate::problem::Problem;

/// The media type of an envelope, as it is written.
pub const MEDIA_TYPE: &str = "application/cloudevents+json; charset=UTF-8";

/// Whether a media type says that the data is itself a CloudEvent, or several, in whatever format.
pub fn holds_events(content_type: &str) -> bool {
    const PREFIX: &str = "application/cloudevents";
    content_type.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// An event's envelope. Its data is a value of it byte for byte if it is JSON, a string if it is text, else in base64.
pub fn envelope<'a>(arena: &'a Bump, attributes: &Attributes<'_>, data: &[u8]) -> &'a [u8] {
    let mut out = bumpalo::collections::Vec::with_capacity_in(data.len() + 512, arena);
    let mut member = |name: &str, value: &str| {
        out.extend_from_slice_copy(if out.is_empty() { b"{" } else { b"," });
        write_json_string(&mut out, name);
        out.push(b':');
        write_json_string(&mut out, value);
    };
    let names = ["specversion", "id", "source", "type", "subject", "time", "dataschema", "datacontenttype"];
    names
        .iter()
        .filter_map(|name| Some((name, attributes.get(name)?)))
        .for_each(|(name, value)| member(name, value));
    for (header, value) in attributes.extensions {
        member(header.strip_prefix("ce_").unwrap_or(header), value);
    }
    if is_json(attributes.content_type) && !data.is_empty() {
        out.extend_from_slice_copy(b",\"data\":");
        out.extend_from_slice_copy(data);
    } else if !data.is_empty() {
        match std::str::from_utf8(data) {
            Ok(text) if is_text(attributes.content_type) => member("data", text),
            _ => member("data_base64", &base64::engine::general_purpose::STANDARD.encode(data)),
        }
    }
    out.push(b'}');
    out.into_bump_slice()
}

/// Whether a media type says that the data is text in UTF-8.
fn is_text(content_type: &str) -> bool {
    let lower = content_type.to_ascii_lowercase();
    let (essence, parameters) = lower.split_once(';').unwrap_or((&lower, ""));
    let essence = essence.trim();
    let charset = parameters.split(';').find_map(|parameter| parameter.trim().strip_prefix("charset="));
    (essence.starts_with("text/") || essence == "application/xml" || essence.ends_with("+xml"))
        && charset.is_none_or(|charset| matches!(charset.trim_matches('"'), "utf-8" | "us-ascii"))
}

/// The attributes of an envelope.
pub(super) fn attributes<'a>(arena: &'a Bump, envelope: Node<'_>) -> Result<Attributes<'a>, Problem> {
    if envelope.kind() != Kind::Object {
        return Err(invalid("a CloudEvent in structured mode is a JSON object"));
    }
    if envelope.get("specversion").and_then(|node| node.as_str()) != Some("1.0") {
        return Err(invalid("`specversion` must be \"1.0\""));
    }
    let required = |name: &str| {
        let text = envelope.get(name).and_then(|node| node.as_str());
        let text = text.ok_or_else(|| invalid(format!("`{name}` is required and must be a string")))?;
        attribute(name, arena.alloc_str(text))
    };
    let optional = |name: &str| match envelope.get(name) {
        None => Ok(None),
        Some(node) if node.kind() == Kind::Null => Ok(None),
        Some(node) => {
            let text = node.as_str().ok_or_else(|| invalid(format!("`{name}` must be a string")))?;
            attribute(name, &*arena.alloc_str(text)).map(Some)
        }
    };
    let time = optional("time")?;
    time.map_or(Ok(()), timestamp)?;
    Ok(Attributes {
        id: required("id")?,
        source: required("source")?,
        event_type: required("type")?,
        ce_subject: optional("subject")?,
        time,
        dataschema: optional("dataschema")?,
        content_type: optional("datacontenttype")?.unwrap_or("application/json"),
        extensions: extensions(arena, envelope)?,
    })
}

const CORE: [&str; 10] = [
    "specversion",
    "id",
    "source",
    "type",
    "subject",
    "time",
    "dataschema",
    "datacontenttype",
    "data",
    "data_base64",
];

fn extensions<'a>(arena: &'a Bump, envelope: Node<'_>) -> Result<&'a [(&'a str, &'a str)], Problem> {
    let mut found = bumpalo::collections::Vec::new_in(arena);
    let mut digits = itoa::Buffer::new();
    for (name, node) in envelope.members().filter(|(name, _)| !CORE.contains(name)) {
        attribute_name(name)?;
        let text = match node.kind() {
            Kind::Null => continue,
            Kind::Boolean if node.as_bool() == Some(true) => "true",
            Kind::Boolean => "false",
            _ => match (node.as_str(), node.as_integer_text(&mut digits), node.as_whole()) {
                (Some(text), ..) => &*arena.alloc_str(text),
                (None, Some(integer), _) => &*arena.alloc_str(integer),
                (None, None, Some(whole)) => bumpalo::format!(in arena, "{}", whole).into_bump_str(),
                (None, None, None) => {
                    return Err(invalid(format!("attribute `{name}` is no string, integer or boolean")));
                }
            },
        };
        let header = bumpalo::format!(in arena, "ce_{}", name).into_bump_str();
        found.push((header, attribute(name, text)?));
    }
    Ok(found.into_bump_slice())
}

/// The data as it will be stored: JSON untouched, text unescaped, base64 decoded.
pub(super) fn data<'a>(
    arena: &'a Bump,
    envelope: Node<'_>,
    bytes: &'a [u8],
    content_type: &str,
) -> Result<&'a [u8], Problem> {
    let encoded = envelope.get("data_base64").filter(|node| node.kind() != Kind::Null);
    match (envelope.get("data"), encoded) {
        (Some(_), Some(_)) => Err(invalid("`data` and `data_base64` exclude each other")),
        (None, None) => Ok(&[]),
        (None, Some(node)) => {
            let text = node.as_str().ok_or_else(|| invalid("`data_base64` must be a string"))?;
            let decoded = base64::engine::general_purpose::STANDARD.decode(text);
            decoded
                .map(|data| &*arena.alloc_slice_copy(&data))
                .map_err(|_| invalid("`data_base64` is not base64"))
        }
        (Some(node), None) => match node.as_str() {
            Some(text) if !is_json(content_type) => Ok(arena.alloc_str(text).as_bytes()),
            _ => {
                let pointer = "/data".parse::<Pointer>().expect("a constant pointer");
                let range = locate(bytes, &pointer).expect("the tape has it, so the text has it");
                Ok(&bytes[range])
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Headers, Limits, Parser, RawEvent};

    fn attributes(content_type: &'static str) -> Attributes<'static> {
        Attributes {
            id: "e-\"1\"",
            source: "/shop",
            event_type: "order.created",
            ce_subject: Some("\u{20ac}"),
            time: None,
            dataschema: None,
            content_type,
            extensions: &[("ce_traceparent", "00-1"), ("ce_count", "3")],
        }
    }

    fn written(content_type: &'static str, data: &[u8]) -> String {
        let arena = Bump::new();
        String::from_utf8(envelope(&arena, &attributes(content_type), data).to_vec()).expect("UTF-8")
    }

    #[test]
    fn an_envelope_holds_its_data_as_it_came() {
        let head = r#"{"specversion":"1.0","id":"e-\"1\"","source":"/shop","type":"order.created","subject":"\u{20ac}""#;
        let head = head.replace(r"\u{20ac}", "\u{20ac}");
        let rest = r#""traceparent":"00-1","count":"3""#;
        let cases: [(&str, &[u8], &str); 7] = [
            (
                "application/json",
                b"{ \"n\": 1.50,\n\"big\":9007199254740993 }",
                ",\"data\":{ \"n\": 1.50,\n\"big\":9007199254740993 }",
            ),
            ("application/vnd.x+json; v=1", b"null", ",\"data\":null"),
            ("text/plain", b"a \"b\"\n", r#","data":"a \"b\"\n""#),
            ("text/xml; charset=\"UTF-8\"", b"<a/>", r#","data":"<a/>""#),
            ("text/plain; charset=iso-8859-1", b"<a/>", r#","data_base64":"PGEvPg==""#),
            ("text/plain", b"\xff", r#","data_base64":"/w==""#),
            ("application/json", b"", ""),
        ];
        for (content_type, data, told) in cases {
            let quoted = serde_json::to_string(content_type).expect("a text");
            let expected = format!("{head},\"datacontenttype\":{quoted},{rest}{told}}}");
            assert_eq!(written(content_type, data), expected);
        }
        assert!(!written("", b"x").contains("datacontenttype"), "nothing says what it is");
    }

    #[test]
    fn what_is_written_reads_back() {
        let types = ["application/json", "text/plain", "application/octet-stream", "application/xml"];
        for (content_type, data) in
            types.into_iter().zip([&b"[1.0]"[..], b"\0\x7f\"", &[0, 255], b"<\xc3\xa9/>"])
        {
            let (arena, headers) = (Bump::new(), Headers::new());
            let bytes = envelope(&arena, &attributes(content_type), data);
            let raw = RawEvent { bytes, index: None };
            let read = Parser::new(Limits::default()).structured(&arena, raw, &headers).expect(content_type);
            assert_eq!((read.data(), read.attributes().content_type), (data, content_type));
            let (read, sent) = (*read.attributes(), attributes(content_type));
            assert_eq!(
                (read.id, read.ce_subject, read.extensions),
                (sent.id, sent.ce_subject, sent.extensions)
            );
        }
    }

    #[test]
    fn events_within_events_are_told_by_their_type() {
        for content_type in ["application/cloudevents+json", "Application/CloudEvents-batch+json; a=b"] {
            assert!(holds_events(content_type), "{content_type}");
        }
        for content_type in ["application/json", "", "application/cloudeventz"] {
            assert!(!holds_events(content_type), "{content_type}");
        }
    }
}
