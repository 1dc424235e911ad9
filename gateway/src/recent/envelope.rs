//! A CloudEvent in structured mode, as a record's value: an envelope in JSON (CloudEvents 1.0.2, Kafka §3.3), from
//! Weir or from others.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use crate::event::document::{Pointer, locate};
use crate::event::parse::is_json;

/// What lookups need of an envelope.
#[derive(Debug, Deserialize)]
pub(super) struct Envelope {
    pub(super) id: String,
    pub(super) source: String,
    #[serde(rename = "type")]
    pub(super) type_: String,
    pub(super) time: Option<String>,
    datacontenttype: Option<String>,
    data_base64: Option<String>,
}

/// Whether a record's content type says that its value is one.
pub(super) fn is_envelope(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/cloudevents+json")
}

impl Envelope {
    /// The envelope, the media type of its data (`None`: nothing says it), and the data: JSON as it stands there, text
    /// unescaped, base64 decoded. `None` if it is no envelope.
    pub(super) fn read(value: &[u8]) -> Option<(Envelope, Option<String>, Bytes)> {
        let mut envelope: Envelope = serde_json::from_slice(value).ok()?;
        let content_type = envelope.datacontenttype.take();
        if let Some(encoded) = envelope.data_base64.take() {
            return Some((envelope, content_type, STANDARD.decode(encoded).ok()?.into()));
        }
        let pointer = "/data".parse::<Pointer>().expect("a constant pointer");
        let Some(data) = locate(value, &pointer).map(|range| &value[range]) else {
            return Some((envelope, content_type, Bytes::new()));
        };
        let content_type = content_type.unwrap_or_else(|| "application/json".to_owned());
        let text = data.starts_with(b"\"") && !is_json(&content_type);
        let data = if text {
            serde_json::from_slice::<String>(data).ok()?.into()
        } else {
            Bytes::copy_from_slice(data)
        };
        Some((envelope, Some(content_type), data))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_what_was_sent() {
        let json = Some("application/json");
        let cases: [(&str, Option<&str>, &[u8]); 7] = [
            (r#","data": {"n": 1.50, "data":[ ]} "#, json, br#"{"n": 1.50, "data":[ ]}"#),
            (r#","data":null"#, json, b"null"),
            (r#","data":"a\n""#, json, br#""a\n""#),
            (r#","data":"a\n","datacontenttype":"text/plain""#, Some("text/plain"), b"a\n"),
            (r#","data_base64":"AP8=","datacontenttype":"image/png""#, Some("image/png"), &[0, 255]),
            (r#","data_base64":"AP8=""#, None, &[0, 255]),
            (r#","time":null,"unheard":{"of":[1]}"#, None, b""),
        ];
        for (members, content_type, data) in cases {
            let text = format!(r#" {{"id":"1","source":"/s","type":"t"{members}}}"#);
            let (envelope, told, read) = Envelope::read(text.as_bytes()).expect(members);
            assert_eq!(
                (envelope.id.as_str(), told.as_deref(), &read[..]),
                ("1", content_type, data),
                "{members}"
            );
        }
    }

    #[test]
    fn what_is_no_envelope_is_passed_over() {
        let cases = [
            "",
            "[]",
            r#"{"id":"1","source":"/s"}"#,
            r#"{"id":1,"source":"/s","type":"t"}"#,
            r#"{"id":"1","id":"2","source":"/s","type":"t"}"#,
            r#"{"id":"1","source":"/s","type":"t","data_base64":"?"}"#,
            r#"{"id":"1","source":"/s","type":"t"}{}"#,
        ];
        for text in cases {
            assert!(Envelope::read(text.as_bytes()).is_none(), "{text}");
        }
        let deep = format!(
            r#"{{"id":"1","source":"/s","type":"t","data":{}{}}}"#,
            "[".repeat(9_999),
            "]".repeat(9_999)
        );
        let (_, _, data) = Envelope::read(deep.as_bytes()).expect("however deep it is");
        assert_eq!(data.len(), 2 * 9_999);
    }
}
