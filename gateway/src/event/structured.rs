//! CloudEvents in structured mode: an envelope of JSON that holds attributes and data (CloudEvents 1.0.2, JSON
//! format §3). The data's bytes are taken out of it as they are.

use base64::Engine as _;
use bumpalo::Bump;

use super::Attributes;
use super::document::{Kind, Node, Pointer, locate};
use super::parse::{attribute, attribute_name, invalid, is_json, timestamp};
use crate::problem::Problem;

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
