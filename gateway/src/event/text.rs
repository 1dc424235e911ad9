//! Text as JSON, for the places where we write JSON by hand because it is on an event's path.

use std::io::Write;

/// Appends a JSON string (RFC 8259 §7) to a buffer in memory; most texts need no escape.
pub fn write_json_string(out: &mut impl Write, text: &str) {
    let written = if is_plain(text.as_bytes()) {
        [b"\"", text.as_bytes(), b"\""].into_iter().try_for_each(|part| out.write_all(part))
    } else {
        serde_json::to_writer(out, text).map_err(Into::into)
    };
    written.expect("memory takes every write");
}

/// Whether no byte needs an escape. Eight at once; the last eight may overlap those before.
fn is_plain(bytes: &[u8]) -> bool {
    match (bytes.as_chunks::<8>(), bytes.last_chunk::<8>()) {
        ((chunks, _), Some(last)) => chunks.iter().chain([last]).all(|chunk| is_plain_word(*chunk)),
        (_, None) => !bytes.iter().any(|byte| *byte < 0x20 || matches!(byte, b'"' | b'\\')),
    }
}

fn is_plain_word(bytes: [u8; 8]) -> bool {
    below(u64::from_le_bytes(bytes), 0x20) == 0 && quote_or_escape(bytes).is_none()
}

/// Where the first `"` or `\` of eight bytes is.
pub(in crate::event) fn quote_or_escape(bytes: [u8; 8]) -> Option<usize> {
    let word = u64::from_le_bytes(bytes);
    let equal = |byte: u8| below(word ^ (ONES * u64::from(byte)), 1);
    let hits = equal(b'"') | equal(b'\\');
    (hits != 0).then_some(hits.trailing_zeros() as usize / 8)
}

const ONES: u64 = u64::MAX / 255;
const TOPS: u64 = ONES << 7;

/// The usual bit trick: the top bit of each byte that is below `bound`, for subtracting the bound borrows into a
/// clear top bit. A borrow can spoil only bytes above a true hit, so "any" and "the first" are exact.
fn below(word: u64, bound: u8) -> u64 {
    word.wrapping_sub(ONES * u64::from(bound)) & !word & TOPS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place_is_seen() {
        for length in 0..20 {
            for place in 0..length {
                for byte in 0..=u8::MAX {
                    for around in [b'a', 0x20, 0x7f, 0x80, 0xff, b'!', b'#', b'[', b']'] {
                        let mut bytes = vec![around; length];
                        bytes[place] = byte;
                        let plain = byte >= 0x20 && byte != b'"' && byte != b'\\';
                        assert_eq!(is_plain(&bytes), plain, "{bytes:?}");
                        if let Ok(word) = bytes.as_slice().try_into() {
                            let first = bytes.iter().position(|byte| matches!(byte, b'"' | b'\\'));
                            assert_eq!(quote_or_escape(word), first, "{bytes:?}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn strings_are_escaped_when_they_must() {
        for text in ["", "plain", "q\"uote", "back\\slash", "line\nbreak", "é✓", "\u{1}", "\u{7f}"] {
            let mut out = Vec::new();
            write_json_string(&mut out, text);
            assert_eq!(serde_json::from_slice::<String>(&out).expect("valid JSON"), text);
        }
    }
}
