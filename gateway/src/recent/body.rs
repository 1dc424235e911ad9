//! The stored form of one event: what a lookup answers with, kept so that it can be checked. It is not the
//! Kafka record: only what the answer needs is kept of the headers.
//!
//! A 40-byte header (big-endian): format (1), flags (1), spare (2), length of the texts (4), generation (8),
//! digest of (source, id) (16), length of the data (4), CRC-32C of all that follows (4). Then the texts: the
//! record's time in ms (8), and id, source, type, time, partition key, content type, schema, lookup keys, plugins,
//! each as its length (2, `0xffff`: absent) and its UTF-8. Then the data, as it came. A body that does not read back
//! under its own generation, digest and CRC is treated as absent, never as an error.

use std::sync::OnceLock;

use bytes::{BufMut, Bytes};
use serde::de::IgnoredAny;

use crate::ports::{Digest, Generation};

const FORMAT: u8 = 2;
const HEADER_BYTES: usize = 40;
const ABSENT: u16 = u16::MAX;

/// One event as lookups give it back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Body {
    /// The record's timestamp: when a gateway received the event.
    pub(crate) time_ms: i64,
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) type_: String,
    /// The event's own time, as it came.
    pub(crate) time: Option<String>,
    pub(crate) partition_key: Option<String>,
    pub(crate) content_type: Option<String>,
    /// `<subject>/<version>`.
    pub(crate) schema: Option<String>,
    /// The header `weir-lookup-keys`: pairs of kind and key, in JSON. Only to tell what was erased.
    pub(crate) lookup_keys: Option<String>,
    /// The header `weir-plugins`: `<name>@<version>+<digest>`, comma-joined. Only to tell what was erased.
    pub(crate) plugins: Option<String>,
    pub(crate) data: Bytes,
    /// See [`Body::is_json`]; found out when it is first asked for.
    pub(crate) json: OnceLock<bool>,
}

impl Body {
    /// Whether the data can stand in a JSON document as it is. It says so itself, and is checked: the topic takes
    /// records from others, too.
    pub(crate) fn is_json(&self) -> bool {
        *self.json.get_or_init(|| {
            let content_type = self.content_type.as_deref().unwrap_or_default();
            let essence = content_type.split(';').next().unwrap_or_default().trim();
            let claimed = essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json");
            claimed
                && std::str::from_utf8(&self.data).is_ok()
                && serde_json::from_slice::<IgnoredAny>(&self.data).is_ok()
        })
    }

    /// The stored form; `None` when a text is longer than 65 534 bytes or the data than 4 GiB.
    pub(crate) fn encode(&self, generation: Generation, id_digest: &Digest) -> Option<Bytes> {
        let mut texts = Vec::with_capacity(256);
        texts.put_i64(self.time_ms);
        for text in self.texts() {
            match text {
                None => texts.put_u16(ABSENT),
                Some(text) => {
                    texts.put_u16(u16::try_from(text.len()).ok().filter(|length| *length != ABSENT)?);
                    texts.put_slice(text.as_bytes());
                }
            }
        }
        let mut out = Vec::with_capacity(HEADER_BYTES + texts.len() + self.data.len());
        out.put_u8(FORMAT);
        out.put_bytes(0, 3);
        out.put_u32(u32::try_from(texts.len()).ok()?);
        out.put_u64(generation.0);
        out.put_slice(id_digest);
        out.put_u32(u32::try_from(self.data.len()).ok()?);
        out.put_u32(crc32c::crc32c_append(crc32c::crc32c(&texts), &self.data));
        out.put_slice(&texts);
        out.put_slice(&self.data);
        Some(Bytes::from(out))
    }

    /// Reads the stored form of the event with this digest; `None` for anything else.
    pub(crate) fn decode(bytes: &Bytes, generation: Generation, id_digest: &Digest) -> Option<Body> {
        let header = bytes.get(..HEADER_BYTES)?;
        let u32_at = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
        let rest = bytes.slice(HEADER_BYTES..);
        let texts_length = usize::try_from(u32_at(4)?).ok()?;
        let data_length = usize::try_from(u32_at(32)?).ok()?;
        let ours = header[0] == FORMAT
            && header[8..16] == generation.0.to_be_bytes()
            && header[16..32] == id_digest[..]
            && rest.len() == texts_length.checked_add(data_length)?
            && u32_at(36)? == crc32c::crc32c(&rest);
        if !ours {
            return None;
        }
        let mut texts = Texts { left: rest.get(..texts_length)? };
        Some(Body {
            time_ms: i64::from_be_bytes(texts.take(8)?.try_into().ok()?),
            id: texts.text()??,
            source: texts.text()??,
            type_: texts.text()??,
            time: texts.text()?,
            partition_key: texts.text()?,
            content_type: texts.text()?,
            schema: texts.text()?,
            lookup_keys: texts.text()?,
            plugins: texts.text()?,
            data: rest.slice(texts_length..),
            json: OnceLock::new(),
        })
    }

    /// The digest a stored form carries: for who knows an offset but no ref.
    pub(crate) fn digest(bytes: &Bytes) -> Option<Digest> {
        bytes.get(16..32)?.try_into().ok()
    }

    fn texts(&self) -> [Option<&str>; 9] {
        [
            Some(&self.id),
            Some(&self.source),
            Some(&self.type_),
            self.time.as_deref(),
            self.partition_key.as_deref(),
            self.content_type.as_deref(),
            self.schema.as_deref(),
            self.lookup_keys.as_deref(),
            self.plugins.as_deref(),
        ]
    }
}

/// The texts not read yet.
struct Texts<'a> {
    left: &'a [u8],
}

impl<'a> Texts<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.left.split_at_checked(length)?;
        self.left = left;
        Some(taken)
    }

    /// The outer `None`: unreadable; the inner: absent.
    #[expect(clippy::option_option, reason = "unreadable and absent are different answers")]
    fn text(&mut self) -> Option<Option<String>> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        if length == ABSENT {
            return Some(None);
        }
        String::from_utf8(self.take(usize::from(length))?.to_vec()).ok().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body() -> Body {
        Body {
            time_ms: 1_700_000_000_000,
            id: "e-1".to_owned(),
            source: "/shop".to_owned(),
            type_: "order.created".to_owned(),
            time: None,
            partition_key: Some(String::new()),
            content_type: Some("application/json".to_owned()),
            schema: Some("orders/1".to_owned()),
            lookup_keys: Some(r#"[["order","o-1"]]"#.to_owned()),
            plugins: None,
            data: Bytes::from_static(b"{\"a\":1}"),
            json: OnceLock::new(),
        }
    }

    #[test]
    fn reads_back_what_was_written() {
        let stored = body().encode(Generation(7), &[9; 16]).expect("it fits");
        assert_eq!(Body::decode(&stored, Generation(7), &[9; 16]), Some(body()));
    }

    #[test]
    fn another_life_another_event_and_any_flipped_byte_read_as_absent() {
        let stored = body().encode(Generation(7), &[9; 16]).expect("it fits");
        assert_eq!(Body::decode(&stored, Generation(8), &[9; 16]), None);
        assert_eq!(Body::decode(&stored, Generation(7), &[8; 16]), None);
        // Bytes 1 to 3 are spare: an older gateway may meet a newer one's flags there.
        for at in (0..stored.len()).filter(|at| !(1..4).contains(at)) {
            let mut flipped = stored.to_vec();
            flipped[at] ^= 0x10;
            assert_eq!(Body::decode(&Bytes::from(flipped), Generation(7), &[9; 16]), None, "byte {at}");
        }
    }
}
